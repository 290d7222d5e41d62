"""Choosing the next token from logits.

Filters are applied in the usual order: temperature, top-k, top-p, min-p. Left out on purpose:
penalties for repetition, which change the model's opinion and not the choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

COLDEST, HOTTEST = 1e-30, 1e30  # beyond them float32 divides by zero or by infinity


def sample_next_token(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    min_p: float | None = None,
) -> Tensor:
    """Draw one token per row from the softmax of its logits, after filters.

    Filters act in this order, each on what the ones before it left: temperature, top_k, top_p,
    min_p. What is left is drawn in proportion to its probability.

    Args:
        logits: (B, V).
        temperature: divides the logits; 0 takes the most likely token, whatever the generator.
        top_k: keep the k most likely tokens; of equals some, so that never more than k stay. 0 or
            None keeps all.
        top_p: keep the fewest of the most likely tokens that together have at least this
            probability, the probabilities of what top_k left being scaled to a sum of 1. 1 or None
            keeps all.
        generator: source of randomness.
        min_p: keep tokens at least this many times as likely as the most likely one.

    Returns:
        (B,) int64.

    Raises:
        ValueError: for a negative temperature, a top_k, top_p or min_p out of range, logits of
            another shape, or a row that holds NaN, infinity or nothing above -infinity.

    >>> sample_next_token(torch.tensor([[0.1, 0.9, 0.2]]), temperature=0)
    tensor([1])

    Source: Fan et al. 2018, "Hierarchical Neural Story Generation", section 5.1 (top-k); Holtzman
    et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1 (top-p); Nguyen et al.
    2025, "Turning Up the Heat: Min-p Sampling", section 3 (min-p).
    """
    check_settings(temperature, top_k, top_p, min_p)
    check_logits(logits)
    if temperature == 0:
        return logits.argmax(dim=-1)  # (B,)
    logits = over_temperature(logits, temperature)  # (B, V)
    if top_k:
        best = logits.topk(min(top_k, logits.shape[-1]))  # of equals, some: k tokens, never more
        logits = torch.full_like(logits, float("-inf")).scatter(-1, best.indices, best.values)
    probabilities = logits.softmax(dim=-1)  # (B, V)
    if top_p is not None and top_p < 1:
        ordered, order = probabilities.sort(descending=True, dim=-1)
        before = ordered.cumsum(dim=-1) - ordered  # (B, V) mass of the more likely tokens
        ordered = ordered.masked_fill(before >= top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered)
    if min_p is not None:
        least = min_p * probabilities.amax(dim=-1, keepdim=True)  # (B, 1)
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)  # (B,)


def over_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Return logits over a temperature above 0, in float32; the largest of each row becomes 0.

    Near a temperature of zero a plain division gives infinities, and their softmax NaN.

    >>> over_temperature(torch.tensor([[3.0, 1.0]]), 1e-300).softmax(-1)
    tensor([[1., 0.]])
    """
    assert temperature > 0, temperature
    below = logits.float() - logits.float().amax(dim=-1, keepdim=True)  # (..., V), at most 0
    return below / max(temperature, COLDEST)


def check_logits(logits: Tensor) -> None:
    """Refuse logits of another shape than (B, V), and rows that no token can be drawn from."""
    if logits.dim() != 2:
        raise ValueError(f"logits must have shape (B, V), got {tuple(logits.shape)}")
    best = logits.amax(dim=-1)  # NaN where there is one
    if not bool(best.isfinite().all()):
        row = int(best.isfinite().int().argmin())
        raise ValueError(
            f"the largest logit of row {row} is {float(best[row])}: no token can be drawn from it"
        )


def check_settings(
    temperature: float, top_k: int | None, top_p: float | None, min_p: float | None = None
) -> None:
    """Refuse settings out of range, used or not."""
    if not 0 <= temperature <= HOTTEST:  # this way round, NaN is refused too
        raise ValueError(f"temperature must be from 0 to {HOTTEST:g}, got {temperature}")
    if top_k is not None and top_k < 0:
        raise ValueError(f"top_k must be at least 1, or 0 or None for all tokens, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
    if min_p is not None and not 0 <= min_p <= 1:
        raise ValueError(f"min_p must be from 0 to 1, got {min_p}: it is a share of the largest")
