"""The real model's weights in our decoder against transformers: reading, writing, loading.

Both sides run the same prepared folder in float32, in one process, in turns. Writing is greedy with
a cache and no early end; the tokens must be the same, or no timing would count.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tests.bench.model import in_turns, products_of_a_pass, seconds_of, writing_in_turns
from utils.model.decoder import Decoder
from utils.runtime import generator
from utils.zoo.real import has_real, how_to_get_real, load_real, real_folder

PROMPT, READ, NEW_TOKENS = 32, 256, 64
BAR_READ, BARS_WRITE, BAR_LOAD = 1.0, {1: 1.5, 8: 1.0}, 3.0
N_TURNS = 5


def words(n_rows: int, n_tokens: int, model: Decoder) -> Tensor:
    """Return random token ids (n_rows, n_tokens) that are not special."""
    return torch.randint(100, model.config.vocab_size, (n_rows, n_tokens), generator=generator(0))


@torch.inference_mode()
def reading_row(model: Decoder, peer: nn.Module) -> dict:
    """Compare the logits of all tokens of a prompt, and the time that they take."""
    ids = words(1, READ, model)
    off = (model(ids) - peer(ids).logits).abs().max().item()
    assert off < 1e-3, f"the logits differ by {off:.2g}"
    ours, theirs, ratio = in_turns(lambda: model(ids), lambda: peer(ids).logits, N_TURNS)
    return {
        "row": f"SmolLM2: logits of {READ} tokens",
        "peer": "transformers Llama",
        "measured": ratio,
        "unit": "x",
        "bar": BAR_READ,
        "details": f"{READ / ours:.0f} against {READ / theirs:.0f} tokens/s; logits differ by at "
        f"most {off:.1g} (medians of {N_TURNS} turns)",
    }


def writing_row(model: Decoder, peer: nn.Module, batch_size: int) -> dict:
    """Write the same greedy tokens with both and compare tokens per second."""
    prompt = words(batch_size, PROMPT, model)
    same, our_seconds, their_seconds, ratio = writing_in_turns(
        model, peer, prompt, NEW_TOKENS, N_TURNS
    )
    n_tokens, products = batch_size * NEW_TOKENS, products_of_a_pass(model, batch_size)
    floor = min(seconds_of(products) for _ in range(N_TURNS))
    return {
        "row": f"SmolLM2: writing, batch {batch_size}",
        "peer": "transformers generate",
        "measured": ratio,
        "unit": "x",
        "bar": BARS_WRITE[batch_size],
        "details": f"{n_tokens / our_seconds:.0f} against {n_tokens / their_seconds:.0f} tokens/s "
        f"({NEW_TOKENS} new tokens; {same:.1%} of the tokens equal; the products of the weights "
        f"alone would allow {n_tokens / (NEW_TOKENS * floor):.0f})",
    }


def loading_row() -> dict:
    """Time the loading of the prepared folder."""
    seconds = [seconds_of(load_real) for _ in range(3)]
    return {
        "row": "SmolLM2: loading the prepared folder",
        "peer": "none",
        "measured": sorted(seconds)[1],
        "unit": "s",
        "bar": BAR_LOAD,
        "at_least": False,
        "details": "model in float32 and tokenizer; median of 3",
    }


def rows() -> Iterator[dict]:
    """Yield the rows on the real model, or one that says how to get it."""
    if not has_real():
        yield {"row": "SmolLM2", "skipped": how_to_get_real()}
        return
    from transformers import AutoModelForCausalLM

    yield loading_row()
    model, _ = load_real()
    peer = AutoModelForCausalLM.from_pretrained(real_folder(), dtype=torch.float32).eval()
    yield reading_row(model, peer)
    for batch_size in BARS_WRITE:
        yield writing_row(model, peer, batch_size)
