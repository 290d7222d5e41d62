"""Scaling laws: the loss of a model from its size and the tokens that it is trained on.

The form is Hoffmann et al.'s: a floor that no model gets below, a part that falls with the number
of weights, and a part that falls with the number of tokens. Left out on purpose: repeated data,
and what a loss means for answers.

Letters: N weights, D tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class ScalingLaw(NamedTuple):
    """loss = irreducible + a / N**alpha + b / D**beta, in nats per token.

    >>> law = ScalingLaw(1.5, 100.0, 0.5, 100.0, 0.5)
    >>> law.loss(n_parameters=10_000, n_tokens=40_000)
    3.0
    """

    irreducible: float
    a: float
    alpha: float
    b: float
    beta: float

    def loss(self, n_parameters: float, n_tokens: float) -> float:
        """Return the predicted loss, in nats per token, of a size trained on a number of tokens."""
        return self.irreducible + self.a / n_parameters**self.alpha + self.b / n_tokens**self.beta

    def best_size(self, flops: float) -> tuple[float, float]:
        """Return the weights and tokens of the least loss where 6 N D operations may be spent.

        Source: Hoffmann et al. 2022, "Training Compute-Optimal Large Language Models", equation 4.
        """
        ratio = self.alpha * self.a / (self.beta * self.b)
        n_parameters = (ratio * (flops / 6) ** self.beta) ** (1 / (self.alpha + self.beta))
        return n_parameters, flops / 6 / n_parameters


def fit_scaling_law(
    n_parameters: Sequence[float], n_tokens: Sequence[float], losses: Sequence[float]
) -> ScalingLaw:
    """Return the law that fits measured losses best, by the Huber loss of their logarithms.

    Fitted are log floor, log a, alpha, log b and beta, so that floor, a and b stay positive, by
    `descend` from each of `starts`; the end with the least distance is the law. `starts` and
    `distance_of` take the logarithms of the three columns, as float64 tensors.

    Args:
        n_parameters: N of each run.
        n_tokens: D of each run.
        losses: final loss of each run, in nats per token.

    Raises:
        ValueError: for lists of different lengths, fewer than five runs, numbers that are not
            positive, or a single size or a single number of tokens.

    >>> law = ScalingLaw(1.0, 50.0, 0.4, 400.0, 0.5)
    >>> runs = [(n, d) for n in (1e4, 4e4, 2e5) for d in (1e5, 4e5, 1e6)]
    >>> fitted = fit_scaling_law(*zip(*runs), [law.loss(n, d) for n, d in runs])
    >>> abs(fitted.loss(1e6, 4e6) - law.loss(1e6, 4e6)) < 0.01
    True

    Source: Hoffmann et al. 2022, "Training Compute-Optimal Large Language Models", equations 2, 3.
    """
    check_runs(n_parameters, n_tokens, losses)
    columns = [n_parameters, n_tokens, losses]
    n, d, target = (torch.tensor(list(c), dtype=torch.float64).log() for c in columns)
    ends = [
        descend(lambda x: distance_of(x, n, d, target), start) for start in starts(n, d, target)
    ]
    distance, x = min(ends, key=lambda end: end[0] if math.isfinite(end[0]) else math.inf)
    floor, log_a, alpha, log_b, beta = x.tolist()
    return ScalingLaw(math.exp(floor), math.exp(log_a), alpha, math.exp(log_b), beta)


def descend(distance: Callable[[Tensor], Tensor], start: Tensor) -> tuple[float, Tensor]:
    """Return where L-BFGS ends from a start, and the distance there.

    Args:
        distance: of a point (5,), a single number with a gradient.
        start: (5,); it is not changed.

    Returns:
        The distance at the end, and the point (5,).

    >>> distance, x = descend(lambda x: (x - 2).square().sum() / 1e3, torch.zeros(5))
    >>> x.round(decimals=3)
    tensor([2., 2., 2., 2., 2.])
    """
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([x], max_iter=400, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        scaled = 1e6 * distance(x)  # as it is, 1e-6 would count as arrived
        scaled.backward()
        return scaled

    optimizer.step(closure)
    return distance(x).item(), x.detach()


def distance_of(x: Tensor, n: Tensor, d: Tensor, target: Tensor) -> Tensor:
    """Return the mean Huber loss between predicted and measured log losses.

    Args:
        x: (..., 5) log floor, log a, alpha, log b, beta.
        n, d, target: (R,) logarithms of size, tokens and loss of R runs.

    Returns:
        (...), one distance for each law.

    >>> x = torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0])  # 1 + 1/N + 1/D
    >>> distance_of(x, torch.zeros(1), torch.zeros(1), torch.tensor([3.0]).log()).item() < 1e-12
    True
    """
    floor, log_a, alpha, log_b, beta = x.unsqueeze(-1).unbind(-2)  # (..., 1) each
    terms = torch.stack([floor.expand_as(alpha * n), log_a - alpha * n, log_b - beta * d])
    log_loss = terms.logsumexp(0)  # (..., R): the log of the sum of the three parts
    # Beyond 0.001 the distance grows in a straight line: one bad run can't bend the law.
    huber = nn.functional.huber_loss(log_loss, target.expand_as(log_loss), "none", delta=1e-3)
    return huber.mean(-1)


def starts(n: Tensor, d: Tensor, target: Tensor, n_best: int = 3) -> list[Tensor]:
    """Return where to start a fit from: the best few of a grid of exponents and floors.

    Each point of the grid gives half of what is above its floor to either part at the mean run.

    Args:
        n, d, target: (R,) logarithms of size, tokens and loss of R runs.
        n_best: how many to return.

    Returns:
        (5,) each: log floor, log a, alpha, log b, beta.
    """
    exponents = torch.tensor([0.15, 0.25, 0.4, 0.6, 1.0, 1.5], dtype=target.dtype)
    shares = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 0.97], dtype=target.dtype)
    alpha, beta, share = torch.cartesian_prod(exponents, exponents, shares).unbind(-1)  # (216,)
    floor = target.min().exp() * share
    half = ((target.mean().exp() - floor) / 2).log()
    rows = [floor.log(), half + alpha * n.mean(), alpha, half + beta * d.mean(), beta]
    grid = torch.stack(rows, dim=-1)  # (216, 5)
    return list(grid[distance_of(grid, n, d, target).argsort()[:n_best]])


class Valley(NamedTuple):
    """One budget's runs: losses against the logarithm of size, and the parabola through them.

    >>> round(valley([1e4, 1e5, 1e6], [3.0, 2.0, 3.0]).best_size)
    100000
    """

    curvature: float  # of the parabola in log10 of the size
    best_size: float  # weights where it is lowest
    least_loss: float

    def loss(self, n_parameters: float) -> float:
        """Return the height of the parabola at a size."""
        away = math.log10(n_parameters / self.best_size)
        return self.least_loss + self.curvature * away**2


def valley(n_parameters: Sequence[float], losses: Sequence[float]) -> Valley:
    """Return the parabola through the runs of one budget of operations, an IsoFLOP profile.

    Args:
        n_parameters: at least three sizes.
        losses: final loss of each, in nats per token.

    Raises:
        ValueError: for fewer than three sizes, or where the parabola has no minimum: then the best
            size is not between those that were tried.

    Source: Hoffmann et al. 2022, section 3.2 (approach 2).
    """
    if len(set(n_parameters)) < 3 or len(n_parameters) != len(losses):
        raise ValueError(
            f"a parabola needs three sizes and a loss for each, got {len(set(n_parameters))} "
            f"sizes and {len(losses)} losses"
        )
    x = torch.tensor(list(n_parameters), dtype=torch.float64).log10()
    y = torch.tensor(list(losses), dtype=torch.float64)
    middle = x.mean()
    columns = torch.stack([(x - middle) ** 2, x - middle, torch.ones_like(x)], dim=-1)  # (R, 3)
    curvature, slope, height = torch.linalg.lstsq(columns, y.unsqueeze(-1)).solution[:, 0].tolist()
    if curvature <= 0:
        raise ValueError(
            f"the losses {[round(loss, 3) for loss in y.tolist()]} have no minimum between these "
            "sizes: add smaller or larger ones at this budget"
        )
    lowest = -slope / (2 * curvature)
    best = 10 ** (middle.item() + lowest)
    return Valley(curvature, best, height + slope * lowest / 2)


def check_runs(
    n_parameters: Sequence[float], n_tokens: Sequence[float], losses: Sequence[float]
) -> None:
    """Raise a ValueError where runs can't decide a law, and say why."""
    lengths = {len(n_parameters), len(n_tokens), len(losses)}
    if len(lengths) > 1:
        raise ValueError(
            "n_parameters, n_tokens and losses need one entry a run, got "
            f"{len(n_parameters)}, {len(n_tokens)} and {len(losses)}"
        )
    if len(losses) < 5:
        raise ValueError(f"a law has five numbers, so it needs at least 5 runs, got {len(losses)}")
    for name, values in (
        ("n_parameters", n_parameters),
        ("n_tokens", n_tokens),
        ("losses", losses),
    ):
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise ValueError(f"{name} must all be positive numbers, got {list(values)}")
    for name, values in (("n_parameters", n_parameters), ("n_tokens", n_tokens)):
        if len(set(values)) < 2:
            raise ValueError(
                f"all runs have the same {name}, so its part can't be told from the floor: add "
                "runs of another size"
            )
