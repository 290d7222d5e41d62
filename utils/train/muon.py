"""Muon: momentum whose matrices are made orthogonal before they are applied.

A gradient of a matrix is usually large in a few directions and tiny in the others. Muon keeps its
directions and makes all of them about equally long, by matrix products alone. It fits the matrices
inside the blocks; the embedding, the output and all vectors go through AdamW, in one optimizer.

Left out on purpose: sharding, matrices stacked in tensors of more axes. The steps run in the dtype
of the matrix (bfloat16 does where the hardware is fast at it).

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from utils.train.optimizers import adamw_step

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of s, s**3, s**5: steep at 0, and near 1 stays near 1


def orthogonalise(matrix: Tensor, n_steps: int = 5) -> Tensor:
    """Return a matrix with the singular vectors of `matrix` and singular values near 1.

    Each step takes every singular value s to 3.4445 s - 4.775 s**3 + 2.0315 s**5. Small ones grow
    more than threefold a step; in five, all that are at least about 1/100 of the norm arrive
    between 0.65 and 1.25, and do not settle at 1.

    Args:
        matrix: (N, M), any scale.
        n_steps: number of steps.

    Returns:
        (N, M) in the dtype of `matrix`; zeros for zeros.

    Raises:
        ValueError: where `matrix` does not have two axes.

    >>> matrix = torch.diag(torch.tensor([100.0, 3.0]))
    >>> [round(value, 2) for value in orthogonalise(matrix).diagonal().tolist()]
    [0.7, 1.12]

    Source: Jordan et al. 2024, "Muon", section "Newton-Schulz iteration".
    """
    if matrix.ndim != 2:
        raise ValueError(f"matrix must have two axes (N, M), got shape {tuple(matrix.shape)}")
    a, b, c = COEFFICIENTS
    x = matrix / matrix.norm().clamp(min=1e-7)  # (N, M), singular values of at most 1
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x  # the product below is then of the smaller side
    for _ in range(n_steps):
        gram = x @ x.T  # (N, N): the squares of the singular values
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if is_tall else x


class Muon(torch.optim.Optimizer):
    """Muon on the groups whose `kind` is "muon", AdamW on those whose `kind` is "adamw"."""

    def __init__(self, groups: list[dict]):
        super().__init__(groups, defaults={})
        for group in self.param_groups:
            if group["kind"] not in ("muon", "adamw"):
                raise ValueError(f"kind must be 'muon' or 'adamw', got {group['kind']!r}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = self._muon_update if group["kind"] == "muon" else self._adamw_update
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update(parameter, group)
        return loss

    def _muon_update(self, parameter: Tensor, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        kept = group["momentum"]
        momentum = state["momentum"].lerp_(parameter.grad, 1 - kept)
        ahead = parameter.grad.lerp(momentum, kept)  # Nesterov: where the momentum leads next
        # A tall matrix has fewer directions than rows; this keeps the change of each entry alike.
        n, m = parameter.shape
        scale = max(1.0, n / m) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_(orthogonalise(ahead, group["n_steps"]), alpha=group["lr"] * scale)

    def _adamw_update(self, parameter: Tensor, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["first_moment"] = torch.zeros_like(parameter)
            state["second_moment"] = torch.zeros_like(parameter)
        state["step"] += 1
        new = adamw_step(
            parameter,
            parameter.grad,
            state["first_moment"],
            state["second_moment"],
            state["step"],
            lr=group["lr"],
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
        )
        names = ("first_moment", "second_moment")
        for old, value in zip((parameter, *(state[name] for name in names)), new, strict=True):
            old.copy_(value)


def muon(
    model: nn.Module,
    lr: float,
    *,
    adamw_lr: float = 4e-3,
    momentum: float = 0.95,
    n_steps: int = 5,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
) -> Muon:
    """Return Muon for the matrices of `model.blocks` and AdamW for all other parameters.

    Args:
        model: has its blocks in `model.blocks`; parameters with `requires_grad` are trained.
        lr: peak rate of the matrices, about how far a step moves each direction.
        adamw_lr: peak rate of embedding, output and gains.
        momentum: how much of the running mean of the gradients is kept.
        n_steps: steps of `orthogonalise`.
        weight_decay: decay of matrices (the embedding too), as in `adamw`.
        betas: of AdamW.
        eps: of AdamW.

    Raises:
        ValueError: where the blocks hold no trainable matrix.

    >>> model = nn.Module(); model.blocks, model.out = nn.Linear(2, 3), nn.Linear(3, 4)
    >>> [(g["kind"], g["weight_decay"], len(g["params"])) for g in muon(model, 0.02).param_groups]
    [('muon', 0.1, 1), ('adamw', 0.1, 1), ('adamw', 0.0, 2)]
    """
    trained = [p for p in model.parameters() if p.requires_grad]  # tied ones once
    in_blocks = {id(p) for p in model.blocks.parameters()}
    matrices = [p for p in trained if p.ndim == 2 and id(p) in in_blocks]
    if not matrices:
        raise ValueError("model.blocks has no trainable matrix: set requires_grad, or use adamw")
    muons = {id(p) for p in matrices}
    rest = [p for p in trained if id(p) not in muons]
    adam = {"kind": "adamw", "lr": adamw_lr, "betas": betas, "eps": eps}
    groups = [
        {"kind": "muon", "lr": lr, "momentum": momentum, "n_steps": n_steps}
        | {"weight_decay": weight_decay, "params": matrices},
        adam | {"weight_decay": weight_decay, "params": [p for p in rest if p.ndim >= 2]},
        adam | {"weight_decay": 0.0, "params": [p for p in rest if p.ndim < 2]},
    ]
    return Muon([group for group in groups if group["params"]])
