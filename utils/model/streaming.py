"""Text as it is written: the tokens of one row, one after the other, on a cache that stays.

A conversation keeps the cache from turn to turn, so that only what is new is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from utils.model.cache import KVCache
from utils.model.decoder import Decoder
from utils.model.decoding import Step
from utils.model.generate import evaluating, is_plain
from utils.model.sampling import sample_next_token


def stream(
    model: Decoder,
    cache: KVCache,
    token_ids: Sequence[int],
    max_new_tokens: int,
    *,
    end_id: int | None = None,
    temperature: float = 0.0,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Read new tokens behind those in the cache, then yield the tokens that the model writes.

    A token is yielded before it is read: when the caller stops, the cache holds all tokens but the
    last one yielded.

    Args:
        model: a decoder.
        cache: of one row, with the tokens so far.
        token_ids: the tokens to read first, one at least.
        max_new_tokens: most tokens to write; less where the cache is full.
        end_id: ends the answer and is not yielded.
        temperature, top_p, generator: as in `sample_next_token`.

    Raises:
        ValueError: where the new tokens don't fit into the cache, or there are none.

    >>> from utils.model.config import TransformerConfig
    >>> model = Decoder(TransformerConfig(vocab_size=7, context_length=9, d_model=8, n_layers=1))
    >>> cache = KVCache(model.config, batch_size=1, capacity=9)
    >>> len(list(stream(model, cache, [1, 2], max_new_tokens=3))), cache.length
    (3, 4)
    """
    device = model.embedding.weight.device
    read = torch.tensor([list(token_ids)], dtype=torch.int64, device=device)  # (1, T)
    with evaluating(model):
        logits = model(read, cache, last_only=True)[:, -1]  # (1, V)
        step = Step(model, cache) if is_plain(model) else None
    for number in range(max_new_tokens):
        token = sample_next_token(logits, temperature, None, top_p, generator)  # (1,)
        if end_id is not None and int(token) == end_id:
            return
        yield int(token)
        if number + 1 == max_new_tokens or cache.length == cache.capacity:
            return
        with evaluating(model):  # not around the yield: the caller may want gradients
            logits = step(token) if step else model(token.unsqueeze(-1), cache)[:, -1]


def shared_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two rows begin with alike.

    >>> shared_prefix([1, 2, 3], [1, 2, 4, 5])
    2
    """
    n = min(len(a), len(b))
    return next((k for k in range(n) if a[k] != b[k]), n)
