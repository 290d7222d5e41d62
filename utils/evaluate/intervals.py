"""How far a measured mean may be from the true one: intervals by resampling, and for shares.

Shapes: N values, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CHUNK = 2**22  # numbers drawn at once, so that many values don't need much memory


def bootstrap_interval(
    values: Tensor,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    statistic: Callable[[Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> tuple[float, float]:
    """Return an interval for a statistic of the values, from resamples of them.

    A resample draws N of the values with replacement. The interval runs from the (1 - level) / 2
    quantile of the statistic over the resamples to the (1 + level) / 2 quantile.

    Args:
        values: (N,) one for each example, for example 1 where an answer is right; floats or whole
            numbers.
        level: share of such intervals that should hold the true value.
        n_resamples: R.
        statistic: takes (R, N) and gives (R,); None for the mean.
        generator: source of the draws.

    Raises:
        ValueError: for fewer than two values, values that are not finite, or a level outside 0
            to 1.

    >>> draws = torch.Generator().manual_seed(0)
    >>> low, high = bootstrap_interval(torch.tensor([0.0, 1.0] * 50), generator=draws)
    >>> round(low, 1), round(high, 1)
    (0.4, 0.6)

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.
    """
    check_values(values, level)
    values = values.double()
    statistic = statistic or (lambda resamples: resamples.mean(dim=-1))
    rows, found = max(1, CHUNK // len(values)), []
    for start in range(0, n_resamples, rows):
        shape = (min(rows, n_resamples - start), len(values))
        picked = torch.randint(len(values), shape, generator=generator)  # (R, N)
        found.append(statistic(values[picked]))
    spread = torch.cat(found).sort().values  # (R,)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = spread.quantile(ends).tolist()
    return low, high


def check_values(values: Tensor, level: float) -> None:
    """Refuse values that no interval can be made of.

    Raises:
        ValueError: for fewer than two values, values that are not finite, or a level outside 0
            to 1.
    """
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values must be one row of at least 2, got {tuple(values.shape)}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, such as 0.95, got {level}")
    if not bool(values.isfinite().all()):
        raise ValueError("values hold NaN or infinity: leave those examples out and say how many")


def wilson_interval(n_right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return an interval for a share of which `n_right` of `n` were seen; good at 0 and 1, too.

    Raises:
        ValueError: where the counts are not 0 <= n_right <= n with n at least 1.

    >>> [round(end, 3) for end in wilson_interval(0, 20)]
    [0.0, 0.161]

    Source: Wilson 1927; Brown, Cai and DasGupta 2001, "Interval Estimation for a Binomial
    Proportion", equation 4.
    """
    if not 0 <= n_right <= n or n < 1:
        raise ValueError(f"n_right must be from 0 to n and n at least 1, got {n_right} of {n}")
    z = normal_quantile((1 + level) / 2)
    share = n_right / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def normal_quantile(share: float) -> float:
    """Return below which number this share of a standard normal distribution lies.

    >>> round(normal_quantile(0.975), 3)
    1.96
    """
    return torch.special.ndtri(torch.tensor(share, dtype=torch.float64)).item()
