"""The update: AdamW for one tensor, the optimizer that the loop uses, and gradient clipping.

`adamw_step` is the formula, to be read; `adamw` returns torch's fused implementation of the same
formula (a test holds them together). Left out on purpose: other optimizers, schedules (see
`schedules.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def adamw_step(
    parameter: Tensor,
    gradient: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    step: int,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return parameter, first moment and second moment after one AdamW update; changes nothing.

    Args:
        parameter: the weights, any shape, in float32, float64 or bfloat16 (float16 has no 1e-8).
        gradient: their gradient, same shape.
        first_moment: running mean of the gradients, zeros before the first update.
        second_moment: running mean of the squared gradients, zeros before the first update.
        step: number of this update, from 1.
        lr: learning rate of this update.
        betas: how much of each running mean is kept.
        eps: added to the denominator.
        weight_decay: share of the weight, times `lr`, that is taken off before the update.

    Raises:
        ValueError: for a step below 1, where the bias correction would divide by zero.

    >>> zero = torch.zeros(1)
    >>> adamw_step(torch.ones(1), torch.tensor([5.0]), zero, zero, 1, lr=0.1, weight_decay=0.0)[0]
    tensor([0.9000])

    Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
    """
    if step < 1:
        raise ValueError(f"step counts updates from 1, got {step}")
    beta1, beta2 = betas
    first_moment = beta1 * first_moment + (1 - beta1) * gradient
    second_moment = beta2 * second_moment + (1 - beta2) * gradient**2
    # Both means start at zero; dividing by 1 - beta**step undoes that pull in the first steps.
    mean = first_moment / (1 - beta1**step)
    scale = (second_moment / (1 - beta2**step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * mean / scale
    return parameter, first_moment, second_moment


def adamw(
    model: nn.Module,
    lr: float,
    *,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
) -> torch.optim.AdamW:
    """Return torch's fused AdamW over the trainable parameters of `model`.

    Matrices (embeddings too) decay; gains and biases, which have one axis, do not: pulling a gain
    to zero would shrink the stream that it scales.

    Args:
        model: parameters with `requires_grad` are trained, tied ones once.
        lr: the peak learning rate; a schedule multiplies it.
        weight_decay: decay of matrices.
        betas: how much of the running means is kept.
        eps: added to the denominator.

    Raises:
        ValueError: where nothing is trainable.

    >>> [group["weight_decay"] for group in adamw(nn.Linear(2, 3), lr=1e-3).param_groups]
    [0.1, 0.0]
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("the model has no trainable parameters: set requires_grad on some")
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients, in place, so that their joint norm is at most `max_norm`.

    Args:
        parameters: those without a gradient are passed over.
        max_norm: the largest norm allowed; `math.inf` measures and changes nothing.

    Returns:
        The norm before clipping. Where it is not finite, nothing is changed.

    Raises:
        ValueError: for a `max_norm` that is not positive.

    >>> weight = nn.Parameter(torch.zeros(2)); weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_gradients([weight], max_norm=1.0), weight.grad.norm().item()
    (5.0, 1.0)

    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks",
    algorithm 1.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return 0.0
    # Half precision can't hold the square of 256, nor a long sum: norms are taken in float32.
    wide = [torch.promote_types(gradient.dtype, torch.float32) for gradient in gradients]
    norms = [torch.linalg.vector_norm(g, dtype=d) for g, d in zip(gradients, wide, strict=True)]
    norm = torch.linalg.vector_norm(torch.stack(norms)).item()
    if norm > max_norm and math.isfinite(norm):
        for gradient in gradients:
            gradient.mul_(max_norm / norm)
    return norm
