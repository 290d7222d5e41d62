"""A pretrained model in the course's own format: the same numbers, the token ids in another order.

A byte-level vocabulary is bytes and merges, whatever order its ids stand in. So the merges of the
model's file make a tokenizer of the course, and each row of the embedding table goes where its
token's new id is. What reads and writes the course's models then reads and writes this one.

Its own chat template is not kept: turns are opened by the course's two markers, each of which
begins as the mean of the template's opening token and the tokens of the role's name.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from utils.model.decoder import decoder_of
from utils.tokens.tokenizer import Tokenizer, printable_bytes

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.pretrained import PretrainedTokenizer

TABLES = ("embedding.weight", "unembedding.weight")
SAMPLE = "It's 25 mg of Tramosal,  twice:\n\n\tnaïve Zoë doesn't pay €3.50 (or <|im_end|>)! 漢字"


class OtherVocabulary(ValueError):
    """The vocabulary is none of bytes and merges, or cuts a text by other rules than ours."""


def in_own_format(
    model: Decoder, tokenizer: PretrainedTokenizer, context_length: int
) -> tuple[Decoder, Tokenizer]:
    """Return a pretrained model, in evaluation mode, with a tokenizer of the course.

    Args:
        model: as `load_real` gives it; it is left as it is, and shares its weights with the result.
        tokenizer: the model's own.
        context_length: of the result, at most the model's.

    Raises:
        OtherVocabulary: where the course's tokenizer would give other tokens.
    """
    own, old_ids = own_tokenizer(tokenizer)
    weights = dict(model.named_parameters())
    for name in TABLES:
        if name in weights:
            weights[name] = reordered(weights[name].detach(), old_ids)
    config = replace(model.config, vocab_size=own.vocab_size, context_length=context_length)
    return decoder_of(config, weights).eval(), own


def own_tokenizer(tokenizer: PretrainedTokenizer) -> tuple[Tokenizer, list[list[int]]]:
    """Return the course's tokenizer of a pretrained vocabulary, and what each of its ids was.

    Returns:
        For each new id the old ids of which it is the mean: one for a token that there was, none
        for padding and for a byte that the vocabulary lacks, some for the two markers of a chat.
    """
    content = json.loads((Path(tokenizer.folder) / "tokenizer.json").read_text(encoding="utf-8"))
    found = content["model"]
    if found.get("type") != "BPE" or not found["merges"]:
        raise OtherVocabulary(f"{tokenizer.folder.name} has no vocabulary of byte-pair merges")
    names = printable_bytes()
    new_ids = {name: token_id for token_id, name in enumerate(names)}
    pairs: list[tuple[int, int]] = []
    for merge in found["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        if left not in new_ids or right not in new_ids or left + right in new_ids:
            raise OtherVocabulary(f"{tokenizer.folder.name} merges {left!r} and {right!r} anew")
        pairs.append((new_ids[left], new_ids[right]))
        new_ids[left + right] = len(names)
        names.append(left + right)
    own = Tokenizer(pairs)
    old_ids = [[found["vocab"][name]] if name in found["vocab"] else [] for name in names]
    # Padding is never read; where it shared the end's row, its logit would be the end's, too.
    old_ids += [[], [tokenizer.end_id]]
    opening = tokenizer.chat([{"role": "user", "content": "a"}]).token_ids[0]
    old_ids += [[opening, *tokenizer.encode(role)] for role in ("user", "assistant")]
    if [old_ids[k] for k in own.encode(SAMPLE)] != [[k] for k in tokenizer.encode(SAMPLE)]:
        raise OtherVocabulary(f"{tokenizer.folder.name} cuts text into words by other rules")
    return own, old_ids


def reordered(table: Tensor, old_ids: list[list[int]]) -> Tensor:
    """Return a table of one row per new id: the mean of the rows of its old ids, or zeros.

    >>> reordered(torch.tensor([[1.0], [3.0]]), [[1], [], [0, 1]]).flatten()
    tensor([3., 0., 2.])
    """
    empty = table.new_zeros(table.shape[1])
    return torch.stack([table[ids].mean(dim=0) if ids else empty for ids in old_ids])
