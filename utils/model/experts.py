"""Mixture of experts: many feed-forward parts, of which each token uses a few.

Written to be read: experts run one after the other. Left out on purpose: capacity limits, experts
on several devices, kernels that run all experts at once.

Shapes: N tokens (all leading axes together), D d_model, E experts, k experts per token.
Source: Shazeer et al. 2017, "Outrageously Large Neural Networks", section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from utils.model.feedforward import FeedForward
from utils.model.linear import Linear


def route_top_k(router_logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return for each token the `k` experts of the highest score, and their shares.

    Args:
        router_logits: (..., E) score of each expert.
        k: experts per token, from 1 to E.

    Returns:
        Numbers of the experts (..., k), highest score first, and their shares (..., k): the
        softmax over the scores of the chosen ones alone, so that a token's shares sum to one.

    Raises:
        ValueError: where `k` is not between 1 and E.

    >>> route_top_k(torch.tensor([0.0, 2.0, 2.0, 1.0]).log(), k=3)[1]
    tensor([0.4000, 0.4000, 0.2000])

    Source: Shazeer et al. 2017, equations 3 and 5; Jiang et al. 2024, "Mixtral", section 2.1.
    """
    if not 1 <= k <= router_logits.shape[-1]:
        raise ValueError(f"k must be between 1 and {router_logits.shape[-1]} experts, got {k}")
    scores, experts = router_logits.topk(k, dim=-1)  # (..., k) each
    return experts, scores.softmax(dim=-1)


def balance_loss(router_logits: Tensor, experts: Tensor) -> Tensor:
    """Return how unevenly tokens are spread: 1 where all experts get alike, E where one gets all.

    Args:
        router_logits: (N, E).
        experts: (N, k) of `route_top_k`.

    Returns:
        A scalar; its gradient makes crowded experts less likely.

    >>> even = torch.tensor([[9.0, -9.0], [-9.0, 9.0]])
    >>> balance_loss(even, torch.tensor([[0], [1]])).item()
    1.0

    Source: Fedus et al. 2021, "Switch Transformers", equations 4 to 6.
    """
    n_experts = router_logits.shape[-1]
    used = torch.bincount(experts.flatten(), minlength=n_experts) / experts.numel()  # (E,)
    return n_experts * (used * router_logits.softmax(-1).mean(0)).sum()


class MixtureOfExperts(nn.Module):
    """A feed-forward part made of experts; takes the place of `FeedForward` in a block."""

    def __init__(self, d_model: int, d_ff: int, n_experts: int, k: int):
        super().__init__()
        self.k = k
        self.router = Linear(d_model, n_experts)
        self.experts = nn.ModuleList(FeedForward(d_model, d_ff) for _ in range(n_experts))

    def forward(self, x: Tensor) -> Tensor:
        """Apply to each token of `x` (..., D) its experts, weighted by their shares."""
        tokens = x.reshape(-1, x.shape[-1])  # (N, D)
        chosen, shares = route_top_k(self.router(tokens), self.k)  # (N, k) each
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            token, place = (chosen == number).nonzero(as_tuple=True)  # those who chose it
            answer = expert(tokens[token]) * shares[token, place, None]
            out = out.index_add(0, token, answer.to(out.dtype))
        return out.view_as(x)
