"""A linear layer that multiplies by oneDNN where that is faster.

torch multiplies float32 matrices on a CPU by MKL, which keeps to half-width instructions on
processors of other makers; oneDNN, which torch carries too, uses AVX512 wherever it is. The result
is the same float32 product up to rounding. Which way is taken depends on what the processor has and
on shapes, never on a clock, so that a run can be repeated.

Measured with one thread, MKL's time over oneDNN's, on a processor with AVX512 of half width: 1.0 to
1.1 from 512 rows on, 0.7 at 16 rows. With AVX2 alone: 0.96 to 1.1, and 0.6. The gradient of a
weight has both arguments transposed: 0.8 as it is, above 1 asked for transposed where there are
more outputs than inputs. So that is where oneDNN is taken; everywhere else (another processor,
device or dtype, autocast, few rows) this is nn.Linear.

Shapes: N rows (all leading axes together), I inputs, O outputs.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MIN_ROWS = 512  # below, preparing the call costs more than it saves


@cache
def has_onednn() -> bool:
    """Whether oneDNN's linear operator is there and the processor has what makes it faster."""
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def onednn(x: Tensor, weight: Tensor) -> Tensor:
    """Return x @ weight.T for x (..., I) and weight (O, I), by oneDNN, without gradients."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")  # (..., O)


def weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """Return gradient.T @ x (O, I) for gradient (N, O) and x (N, I), the faster way."""
    if gradient.shape[1] > x.shape[1]:
        return Product.apply(x.T, gradient.T).T
    return gradient.T @ x


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
            weight_gradient(gradient, x) if wants_weight else None,  # (O, I)
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
