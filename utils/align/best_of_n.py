"""Best of n: draw n answers, keep the one that a reward model likes best. Nothing is trained.

It is the simplest way to use a reward, and the simplest way to see one exploited.

Shapes: Q questions, S answers to each, M reward models.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def best_of_n(scores: Tensor, values: Tensor, n: int) -> Tensor:
    """Return the expected value of the answer with the highest score among n of those drawn.

    The n answers are drawn without replacement from the S at hand, and the expectation runs over
    all such draws, exactly: of C(S, n) equally likely draws, those count for an answer in which it
    has the highest score. A tie at the top is broken at random, each tied answer of the draw being
    as likely as another.

    Args:
        scores: (Q, S) what the answers are chosen by.
        values: (Q, S) what the chosen answers are worth: the scores themselves, or the gold
            utility, words, or anything else.
        n: from 1, which gives the mean of the values, to S, which gives the value at the top.

    Returns:
        (Q,) in the dtype of the values.

    Raises:
        ValueError: for shapes that differ or are not (Q, S), an n outside 1 to S, or scores that
            are NaN or infinite (an argmax would choose them).

    >>> scores, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 1.0, 0.3]])
    >>> [round(best_of_n(scores, values, n).item(), 4) for n in (1, 2, 3)]
    [0.4333, 0.5333, 0.3]

    Source: Nakano et al. 2021, "WebGPT", appendix I (the estimator); Gao et al. 2022, "Scaling
    Laws for Reward Model Overoptimization", section 2.2.
    """
    if scores.ndim != 2 or scores.shape != values.shape:
        raise ValueError(
            f"scores and values must have one shape (Q, S), got {tuple(scores.shape)} and "
            f"{tuple(values.shape)}"
        )
    S = scores.shape[1]
    if not 1 <= n <= S:
        raise ValueError(f"n must be from 1 to the {S} answers of each question, got {n}")
    if not bool(scores.isfinite().all()):
        raise ValueError("scores hold NaN or infinity, which would be chosen: look at them first")
    # The highest of n is at most the k-th lowest of S with probability C(k, n) / C(S, n).
    at_most = [math.comb(k, n) / math.comb(S, n) for k in range(S + 1)]
    at_most = torch.tensor(at_most, dtype=torch.float64, device=scores.device)
    own, others = scores.unsqueeze(2), scores.unsqueeze(1)  # (Q, S, 1), (Q, 1, S)
    below, tied = (others < own).sum(dim=2), (others == own).sum(dim=2)  # (Q, S)
    weights = (at_most[below + tied] - at_most[below]) / tied
    return (weights * values.double()).sum(dim=1).to(values.dtype)


def kl_of_best_of_n(n: int) -> float:
    """Return log n - (n - 1) / n: how far best of n is from the policy it draws from, in nats.

    It is the KL divergence where no answer can be drawn twice, and an upper bound otherwise.

    Raises:
        ValueError: for an n below 1.

    >>> [round(kl_of_best_of_n(n), 2) for n in (1, 2, 16, 64)]
    [0.0, 0.19, 1.84, 3.17]

    Source: Stiennon et al. 2020, "Learning to summarize from human feedback", appendix G.3; the
    bound: Beirami et al. 2024, "Theoretical guarantees on the best-of-n alignment policy".
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return math.log(n) - (n - 1) / n


def conservative_score(scores: Tensor, weight: float = 1.0) -> Tensor:
    """Return the mean of several reward models' scores less their standard deviation.

    Where the models disagree none of them can be trusted, so disagreement costs.

    Args:
        scores: (M, ...) standardised scores of two models or more.
        weight: how much a standard deviation costs; 0 gives the plain ensemble.

    Raises:
        ValueError: for fewer than two models.

    >>> conservative_score(torch.tensor([[1.0, 2.0], [1.0, 0.0]]))
    tensor([ 1.0000, -0.4142])

    Source: Coste et al. 2023, "Reward Model Ensembles Help Mitigate Overoptimization", section 3.
    """
    if len(scores) < 2:
        raise ValueError(
            f"got the scores of {len(scores)} model(s): one can't disagree with itself"
        )
    return scores.mean(dim=0) - weight * scores.std(dim=0)
