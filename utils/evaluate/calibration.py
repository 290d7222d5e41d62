"""Calibration: of the answers given with 80 % confidence, are 80 % right?

Shapes: N answers. Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Bin(NamedTuple):
    """The answers whose confidence lies in one interval."""

    confidence: float  # mean
    accuracy: float
    n: int


def expected_calibration_error(confidence: Tensor, correct: Tensor, n_bins: int = 10) -> float:
    """Return the mean distance between confidence and accuracy over bins of equal width.

    Bin k holds the confidences above k / n_bins and up to (k + 1) / n_bins; the first holds 0,
    too. Each bin counts as much as it has answers; empty ones don't count.

    Args:
        confidence: (N,) floats from 0 to 1.
        correct: (N,) bool, or 0 and 1.
        n_bins: at least 1.

    Raises:
        ValueError: for no answers, other shapes, or confidences outside 0 to 1.

    >>> sure, right = torch.tensor([0.9, 0.9, 0.6, 0.6]), torch.tensor([True, True, True, False])
    >>> round(expected_calibration_error(sure, right), 3)  # (.1 + .1 + .1 + .1) / 4
    0.1

    Source: Guo et al. 2017, equation 3.
    """
    check_answers(confidence, correct, n_bins)
    confidence, correct = confidence.double(), correct.double()
    place = ((confidence * n_bins).ceil().long() - 1).clamp(min=0)  # (N,)
    # The mean gap of a bin, times its answers, is the sum of their gaps.
    gaps = torch.zeros(n_bins, dtype=torch.float64).index_add(0, place, confidence - correct)
    return gaps.abs().sum().item() / len(confidence)


def check_answers(confidence: Tensor, correct: Tensor, n_bins: int) -> None:
    """Refuse what is no row of answers with a confidence each.

    Raises:
        ValueError: for no answers, other shapes, no bins, or confidences outside 0 to 1.
    """
    if confidence.ndim != 1 or confidence.shape != correct.shape or len(confidence) == 0:
        raise ValueError(
            f"confidence and correct must be rows of one length, at least 1; got "
            f"{tuple(confidence.shape)} and {tuple(correct.shape)}"
        )
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    if not bool(((confidence >= 0) & (confidence <= 1)).all()):
        raise ValueError("confidence must be from 0 to 1: give probabilities, not logits")


def reliability(confidence: Tensor, correct: Tensor, n_bins: int = 10) -> list[Bin]:
    """Return the bins that are not empty, in order: what a reliability diagram shows.

    Raises:
        ValueError: as `expected_calibration_error`.
    """
    check_answers(confidence, correct, n_bins)
    confidence, correct = confidence.double(), correct.double()
    place = ((confidence * n_bins).ceil().long() - 1).clamp(min=0)  # (N,)
    return [
        Bin(confidence[here].mean().item(), correct[here].mean().item(), int(here.sum()))
        for here in (place == k for k in range(n_bins))
        if bool(here.any())
    ]
