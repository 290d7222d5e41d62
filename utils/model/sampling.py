"""Choosing the next token from logits.

Filters are applied in the usual order: temperature, top-k, top-p. Source: Fan et al. 2018 (top-k),
Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1 (top-p).
"""

from __future__ import annotations

import torch
from torch import Tensor


def sample_next_token(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw one token per row.

    Args:
        logits: (B, V).
        temperature: divides the logits; 0 takes the most likely token, whatever the generator.
        top_k: keep the k most likely tokens.
        top_p: keep the most likely tokens that together have at least this probability.
        generator: source of randomness.

    Returns:
        (B,) int64.

    Raises:
        ValueError: for a negative temperature, a top_k or top_p out of range, or logits of
            another shape.

    >>> sample_next_token(torch.tensor([[0.1, 0.9, 0.2]]), temperature=0)
    tensor([1])
    """
    check_settings(temperature, top_k, top_p)
    if logits.dim() != 2:
        raise ValueError(f"logits must have shape (B, V), got {tuple(logits.shape)}")
    if temperature == 0:
        return logits.argmax(dim=-1)  # (B,)
    logits = logits.float() / temperature  # (B, V)
    if top_k is not None:
        best = logits.topk(min(top_k, logits.shape[-1]))  # of equals, some: k tokens, never more
        logits = torch.full_like(logits, float("-inf")).scatter(-1, best.indices, best.values)
    probabilities = logits.softmax(dim=-1)  # (B, V)
    if top_p is not None:
        ordered, order = probabilities.sort(descending=True, dim=-1)
        before = ordered.cumsum(dim=-1) - ordered  # (B, V) mass of the more likely tokens
        ordered = ordered.masked_fill(before >= top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)  # (B,)


def check_settings(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Refuse settings out of range, used or not."""
    if not temperature >= 0:  # not "< 0": this way round, NaN is refused too
        raise ValueError(f"temperature must be at least 0, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}: None keeps all tokens")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
