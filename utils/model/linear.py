"""A linear layer that multiplies by oneDNN where that is faster.

torch multiplies float32 matrices on a CPU by MKL, which keeps to half-width instructions on
processors of other makers; oneDNN, which torch carries too, uses all of them: about twice as fast
there, the same elsewhere. The result is the same float32 product up to rounding. Wherever oneDNN
does not apply (another device or dtype, autocast, few rows, a build without it) this is nn.Linear.

Shapes: N rows (all leading axes together), I inputs, O outputs.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MIN_ROWS = 16  # below, preparing the call costs more than it saves


@cache
def has_onednn() -> bool:
    """Whether this build of torch has oneDNN's linear operator."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def onednn(x: Tensor, weight: Tensor) -> Tensor:
    """Return x @ weight.T for x (..., I) and weight (O, I), by oneDNN, without gradients."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")  # (..., O)


class Product(torch.autograd.Function):
    """x @ weight.T for x (N, I) and weight (O, I), by oneDNN; its gradients are products too."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn(x, weight)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad
        return (
            Product.apply(gradient, weight.T) if wants_x else None,  # (N, I)
            Product.apply(gradient.T, x.T) if wants_weight else None,  # (O, I)
        )


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return x @ weight.T.

    Args:
        x: (..., I).
        weight: (O, I).

    Returns:
        (..., O).

    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[11.,  2.]])
    """
    suits = (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.numel() >= MIN_ROWS * x.shape[-1]
        and has_onednn()
        and not torch.is_autocast_enabled("cpu")
    )
    if not suits:
        return F.linear(x, weight)
    if not torch.is_grad_enabled():
        return onednn(x, weight)
    rows = x.reshape(-1, x.shape[-1])  # (N, I)
    return Product.apply(rows, weight).view(*x.shape[:-1], weight.shape[0])


class Linear(nn.Linear):
    """nn.Linear without bias, by `linear`."""

    def __init__(self, n_inputs: int, n_outputs: int):
        super().__init__(n_inputs, n_outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return x @ weight.T for `x` (..., I)."""
        return linear(x, self.weight)
