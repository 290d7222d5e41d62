"""By how much something became rarer, and how sure that is: what an A/B test promises."""

from __future__ import annotations

import math
from typing import NamedTuple

from utils.evaluate.intervals import normal_quantile


class Reduction(NamedTuple):
    """A relative reduction with its interval; 0.5 is half as often, negative is more often."""

    value: float
    low: float
    high: float


def relative_reduction(
    flags_before: int, n_before: int, flags_after: int, n_after: int, level: float = 0.95
) -> Reduction:
    """Return 1 - (share after) / (share before), with an interval by the logarithm of the ratio.

    The logarithm of the ratio of two shares is close to normal, with variance
    1 / flags_before - 1 / n_before + 1 / flags_after - 1 / n_after.

    Args:
        flags_before, n_before: how many of how many answers were flagged before the change.
        flags_after, n_after: the same after it, of other answers (independent draws).
        level: of the interval, between 0 and 1.

    Raises:
        ValueError: for a count that is not between 1 and its n (without a flag on either side the
            logarithm has no variance: ask more questions), or a level outside.

    >>> [round(x, 3) for x in relative_reduction(80, 200, 40, 200)]
    [0.5, 0.308, 0.639]

    Source: Katz et al. 1978, "Obtaining confidence intervals for the risk ratio in cohort studies",
    method C.
    """
    for flags, n in ((flags_before, n_before), (flags_after, n_after)):
        if not 1 <= flags <= n:
            raise ValueError(f"{flags} flags of {n} answers: from 1 to all are needed")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    ratio = (flags_after / n_after) / (flags_before / n_before)
    variance = 1 / flags_before - 1 / n_before + 1 / flags_after - 1 / n_after
    spread = math.exp(normal_quantile(0.5 + level / 2) * math.sqrt(variance))
    return Reduction(1 - ratio, 1 - ratio * spread, 1 - ratio / spread)
