"""How good a reward model is: does it order pairs as the labels do, and does it pay for length?

Shapes: P pairs, N answers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from utils.evaluate.intervals import wilson_interval


def preference_accuracy(
    chosen: Tensor, rejected: Tensor, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the share of pairs whose chosen answer has the higher score, and its interval.

    A pair whose two scores are equal counts half: a model that gives all answers the same score
    knows nothing and gets 0.5.

    Args:
        chosen, rejected: (P,) scores of the answers that were preferred, and of the others.
        level: of the interval.

    Returns:
        share, low, high: the interval is Wilson's (`utils.evaluate.intervals.wilson_interval`)
        for that share of P, as Python floats.

    Raises:
        ValueError: for no pairs, scores that are not rows of one length, or NaN or infinity.

    >>> scores = torch.tensor([2.0, 1.0, 0.0, 3.0]), torch.tensor([1.0, 1.0, 0.5, 0.0])
    >>> [round(number, 3) for number in preference_accuracy(*scores)]
    [0.625, 0.219, 0.908]

    Source: Lambert et al. 2024, "RewardBench", section 4 (the share); Brown, Cai and DasGupta
    2001, "Interval Estimation for a Binomial Proportion", equation 4.
    """
    if chosen.ndim != 1 or chosen.shape != rejected.shape or len(chosen) == 0:
        raise ValueError(
            f"give one score for each answer of each pair, at least one pair; got "
            f"{tuple(chosen.shape)} and {tuple(rejected.shape)}"
        )
    if not bool((torch.isfinite(chosen) & torch.isfinite(rejected)).all()):
        raise ValueError("a score is NaN or infinite: such a pair is neither right nor wrong")
    n_right = ((chosen > rejected).double() + 0.5 * (chosen == rejected).double()).sum().item()
    low, high = wilson_interval(n_right, len(chosen), level)
    return n_right / len(chosen), low, high


def length_bias(scores: Tensor, lengths: Tensor, groups: Tensor) -> tuple[float, float]:
    """Return how often the longer of two answers of one worth scores higher, and the pay per token.

    Only answers of one group are compared: over all answers together, what is longer may also be
    better or worse, and the number would mix both.

    Args:
        scores: (N,) floats.
        lengths: (N,) whole numbers, such as tokens or words.
        groups: (N,) whole numbers in any order; answers with the same number are worth the same,
            such as the short and the wordy form of one answer. Groups may have any size from 1.

    Returns:
        share: over all pairs of answers of one group whose lengths differ, the share in which the
        longer has the higher score; a pair of equal scores counts half.
        slope: the least-squares slope of the scores over the lengths with an intercept of its own
        for each group: sum of (length - its group's mean) * (score - its group's mean), over all
        answers, divided by the sum of (length - its group's mean)^2. Both are Python floats.

    Raises:
        ValueError: for shapes that are not one row each of one length, scores that are NaN or
            infinite, or where no two answers of a group differ in length.

    >>> scores, lengths = torch.tensor([1.0, 2.0, 5.0, 4.0]), torch.tensor([10, 20, 10, 30])
    >>> share, slope = length_bias(scores, lengths, torch.tensor([0, 0, 1, 1]))
    >>> share, round(slope, 3)  # (5 * 0.5 + 5 * 0.5 - 10 * 0.5 - 10 * 0.5) / (50 + 200)
    (0.5, -0.02)

    Source: Singhal et al. 2023, "A Long Way to Go: Investigating Length Correlations in RLHF",
    section 3.
    """
    if scores.ndim != 1 or not scores.shape == lengths.shape == groups.shape:
        raise ValueError(
            f"scores, lengths and groups must be rows of one length, got {tuple(scores.shape)}, "
            f"{tuple(lengths.shape)} and {tuple(groups.shape)}"
        )
    if not bool(scores.isfinite().all()):
        raise ValueError("scores hold NaN or infinity: look at those answers first")
    scores, lengths = scores.double(), lengths.double()
    same = groups.unsqueeze(1) == groups.unsqueeze(0)  # (N, N)
    longer = same & (lengths.unsqueeze(1) > lengths.unsqueeze(0))  # the row's answer is longer
    n_pairs = int(longer.sum())
    if n_pairs == 0:
        raise ValueError(
            "no two answers of one group differ in length, so there is nothing to compare: give "
            "answers of the same worth in a short and a long form"
        )
    gaps = scores.unsqueeze(1) - scores.unsqueeze(0)
    wins = (gaps > 0).double() + 0.5 * (gaps == 0).double()
    sizes = same.sum(dim=1)
    own_length = lengths - (same * lengths).sum(dim=1) / sizes
    slope = (own_length * scores).sum() / own_length.square().sum()  # own_length sums to 0
    return wins[longer].sum().item() / n_pairs, slope.item()
