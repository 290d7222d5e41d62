"""Root-mean-square normalisation: each token's vector is scaled to unit mean square.

Shapes: any leading ones, D the last. Left out on purpose: mean subtraction and bias (LayerNorm).
Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", equation 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """Return `x` divided by its root mean square over the last axis, times `weight`.

    Args:
        x: (..., D).
        weight: (D,) one gain per channel.
        eps: added to the mean square, so that a zero vector stays zero.

    Returns:
        (..., D) in the dtype of `x`; the mean is taken in float32 at least.

    >>> rms_norm(torch.tensor([3.0, 4.0]), torch.ones(2), eps=0.0)
    tensor([0.8485, 1.1314])

    Source: Zhang and Sennrich 2019, equation 4.
    """
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)  # (..., 1)
    return (wide * scale * weight).to(x.dtype)


class RMSNorm(nn.Module):
    """`rms_norm` with a learned gain that starts at one."""

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of `x` (..., D)."""
        return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.eps)
