"""Agreement of two graders on points, where being one off is better than being three off."""

from __future__ import annotations

from collections.abc import Sequence


def weighted_kappa(first: Sequence[int], second: Sequence[int], n_levels: int) -> float:
    """Return Cohen's kappa with quadratic weights: 1 is full agreement, 0 is that of chance.

    With d the difference of the two grades of an answer, it is 1 - E[d ** 2] / E'[d ** 2]; the
    second mean is over all pairs of a grade of the first grader and a grade of the second, which
    is what independent graders with the same habits would show.

    Args:
        first, second: grades of the same answers by two graders, whole numbers from 0 to
            `n_levels` - 1.
        n_levels: how many grades there are, at least 2.

    Returns:
        NaN where both give one and the same grade to everything: nothing can be said then.

    Raises:
        ValueError: for different numbers of grades, none, fewer than 2 levels, or a grade outside
            0 to `n_levels` - 1 or between two of them, such as 1.5.

    >>> weighted_kappa([0, 1, 2, 3], [0, 1, 2, 3], 4)
    1.0
    >>> weighted_kappa([0, 1, 2, 3], [1, 2, 3, 3], 4)
    0.7

    Source: Cohen 1968, "Weighted kappa", Psychological Bulletin 70 (4).
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} grades and {len(second)}: grade the same answers twice")
    if not first or n_levels < 2:
        raise ValueError(f"{len(first)} grades on {n_levels} levels: at least 1 and 2 are needed")
    for grade in (*first, *second):
        if grade != int(grade) or not 0 <= grade < n_levels:
            raise ValueError(f"grade {grade} is none of 0 to {n_levels - 1}")
    seen = sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) / len(first)
    chance = sum((a - b) ** 2 for a in first for b in second) / len(first) ** 2
    return 1 - seen / chance if chance else float("nan")
