"""The gated feed-forward part of a block.

Shapes: D d_model, F d_ff. Source: Shazeer 2020, "GLU Variants Improve Transformer", equation 6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.model.linear import Linear


def swiglu(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """Return the SwiGLU feed-forward of `x`: down(silu(gate(x)) * up(x)).

    Args:
        x: (..., D).
        w_gate: (F, D) as in nn.Linear.
        w_up: (F, D).
        w_down: (D, F).

    Returns:
        (..., D).

    >>> one = torch.ones(1, 1)
    >>> swiglu(torch.tensor([[2.0]]), one, one, one)  # 2 * sigmoid(2) * 2
    tensor([[3.5232]])

    Source: Shazeer 2020, equation 6.
    """
    gate = x @ w_gate.T  # (..., F)
    return (gate * torch.sigmoid(gate) * (x @ w_up.T)) @ w_down.T  # (..., D)


class FeedForward(nn.Module):
    """SwiGLU with gate and up projections in one matrix: one matmul instead of two."""

    def __init__(self, d_model: int, d_ff: int):
        super().__init__()
        self.gate_up = Linear(d_model, 2 * d_ff)
        self.down = Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the feed-forward to each token of `x` (..., D)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # (..., F) each
        return self.down(F.silu(gate) * up)  # (..., D)
