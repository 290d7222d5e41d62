"""A/B tests: how many people it takes, and a test that may be looked at while it runs.

Shapes: N observations, in the order in which they came.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from utils.evaluate.intervals import normal_quantile


def ab_sample_size(p_a: float, p_b: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return how many people each arm needs to tell two shares apart.

    For a two-sided test of equal shares that raises a false alarm with probability `alpha` and
    finds the difference with probability `power`. With m = (p_a + p_b) / 2:
    n = (z(1 - alpha/2) sqrt(2 m (1 - m)) + z(power) sqrt(p_a (1 - p_a) + p_b (1 - p_b)))^2 /
    (p_a - p_b)^2, rounded up.

    Raises:
        ValueError: for shares outside 0 to 1 or equal ones, or alpha or power outside 0 to 1.

    >>> ab_sample_size(0.50, 0.55), ab_sample_size(0.50, 0.60)  # half the difference, four times
    (1565, 388)

    Source: Fleiss, Levin and Paik 2003, "Statistical Methods for Rates and Proportions",
    equation 4.14.
    """
    check_plan(p_a, p_b, alpha, power)
    middle = (p_a + p_b) / 2
    if_equal = normal_quantile(1 - alpha / 2) * math.sqrt(2 * middle * (1 - middle))
    if_not = normal_quantile(power) * math.sqrt(p_a * (1 - p_a) + p_b * (1 - p_b))
    return math.ceil(((if_equal + if_not) / (p_a - p_b)) ** 2)


def check_plan(p_a: float, p_b: float, alpha: float, power: float) -> None:
    """Refuse shares and probabilities that no sample size belongs to.

    Raises:
        ValueError: for shares outside 0 to 1 or equal ones, or alpha or power outside 0 to 1.
    """
    for name, value in {"p_a": p_a, "p_b": p_b}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be a share from 0 to 1, got {value}")
    for name, value in {"alpha": alpha, "power": power}.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must be between 0 and 1, got {value}")
    if p_a == p_b:
        raise ValueError(f"p_a and p_b are both {p_a}: no number of people tells them apart")


def sequential_test(differences: Tensor, tau: float, variance: float | None = None) -> Tensor:
    """Return a p-value after each observation that stays valid however often you look.

    Whatever the moment at which you stop, the chance that the p-value has ever been below alpha is
    at most alpha where there is no difference. It is the smallest of 1 / L_1, ..., 1 / L_n so far,
    with the mixture likelihood ratio of n observations with mean y:
    L_n = sqrt(v / (v + n tau^2)) exp(n^2 tau^2 y^2 / (2 v (v + n tau^2))).

    Args:
        differences: (N,) of pairs, one from each arm, such as 1, 0 or -1 for answers that are
            right or wrong; floats or whole numbers.
        tau: size of the differences that it looks for; any value is valid, a fitting one is quick.
        variance: v of one difference; None to estimate it anew at each observation, from those
            that have come, with n - 1 in the denominator, which is valid where there are many.

    Returns:
        (N,) p-values, which never rise. Without a variance (one observation, or all alike) 1.

    Raises:
        ValueError: for no differences, or where tau or the variance is not above 0.

    >>> p = sequential_test(torch.tensor([1.0, 1.0, 0.0, 1.0] * 25), tau=0.5, variance=1.0)
    >>> bool((p.diff() <= 0).all()), p[-1].item() < 1e-6
    (True, True)

    Source: Johari, Koomen, Pekelis and Walsh 2017, "Peeking at A/B Tests", section 4, equation 12.
    """
    check_stream(differences, tau, variance)
    y = differences.double()
    n = torch.arange(1, len(y) + 1, dtype=torch.float64)  # (N,)
    mean = y.cumsum(0) / n
    if variance is None:
        v = (y.square().cumsum(0) - n * mean.square()) / (n - 1).clamp(min=1)
    else:
        v = torch.full_like(y, variance)
    spread = v + n * tau**2
    log_ratio = 0.5 * (v / spread).log() + n**2 * tau**2 * mean**2 / (2 * v * spread)
    p = (-log_ratio).exp().clamp(max=1.0)
    p = p.masked_fill(v <= 1e-12, 1.0)  # nothing varies: no evidence of how much is chance
    return p.cummin(0).values


def check_stream(differences: Tensor, tau: float, variance: float | None) -> None:
    """Refuse a row or settings that the sequential test can't work with.

    Raises:
        ValueError: for no differences, or where tau or the variance is not above 0.
    """
    if differences.ndim != 1 or len(differences) == 0:
        raise ValueError(f"differences must be one row, got shape {tuple(differences.shape)}")
    if not tau > 0:
        raise ValueError(f"tau must be above 0, got {tau}")
    if variance is not None and not variance > 0:
        raise ValueError(f"variance must be above 0, got {variance}: None estimates it")
