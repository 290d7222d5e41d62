"""Best of n by listing every draw, accuracy and length bias by other libraries and by hand."""

from itertools import combinations
from math import log

import numpy as np
import pytest
import torch
from scipy import stats

from utils.align.best_of_n import best_of_n, conservative_score, kl_of_best_of_n
from utils.evaluate.rewards import length_bias, preference_accuracy
from utils.runtime import generator


def by_listing(scores, values, n):
    """Return the mean over all draws of n; a tie at the top counts the mean of the tied."""
    found = []
    for s, v in zip(scores.tolist(), values.tolist(), strict=True):
        tops = []
        for drawn in combinations(range(len(s)), n):
            top = max(s[i] for i in drawn)
            tops.append(np.mean([v[i] for i in drawn if s[i] == top]))
        found.append(np.mean(tops))
    return found


@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("kinds", [3, 1000])
def test_best_of_n_is_the_mean_over_all_draws_ties_and_all(n, kinds):
    scores = torch.randint(kinds, (3, 7), generator=generator(n)).float()
    values = torch.randn(3, 7, generator=generator(n))
    got = best_of_n(scores, values, n)
    assert got.tolist() == pytest.approx(by_listing(scores, values, n), abs=1e-6)
    assert got.dtype == values.dtype


def test_best_of_one_is_the_mean_and_of_all_the_top_even_of_many():
    scores, values = torch.randn(2, 5, 400, generator=generator(0))
    torch.testing.assert_close(best_of_n(scores, values, 1), values.mean(1), atol=1e-6, rtol=0)
    top = values.gather(1, scores.argmax(1, keepdim=True)).flatten()
    torch.testing.assert_close(best_of_n(scores, values, 400), top)
    by_score = [best_of_n(scores, scores, n).mean().item() for n in (1, 4, 40, 400)]
    assert by_score == sorted(by_score)


def test_best_of_n_refuses_what_argmax_would_take():
    scores = torch.zeros(2, 3)
    for n in (0, 4):
        with pytest.raises(ValueError, match="n must be from 1 to the 3"):
            best_of_n(scores, scores, n)
    with pytest.raises(ValueError, match="NaN"):
        best_of_n(torch.tensor([[0.0, float("nan")]]), torch.zeros(1, 2), 1)
    with pytest.raises(ValueError, match="one shape"):
        best_of_n(scores, torch.zeros(2, 4), 1)


def test_kl_of_best_of_n_is_that_of_a_policy_with_endless_answers():
    for n in (1, 3, 10):
        u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000  # rank of an answer
        density = n * u ** (n - 1)
        kl = torch.special.xlogy(density, density).mean().item()
        assert kl_of_best_of_n(n) == pytest.approx(kl, abs=1e-3)
    assert kl_of_best_of_n(2) == log(2) - 0.5
    with pytest.raises(ValueError, match="at least 1"):
        kl_of_best_of_n(0)


def test_disagreement_costs():
    scores = torch.tensor([[1.0, 4.0], [1.0, 0.0], [1.0, 2.0]])
    assert conservative_score(scores).tolist() == [1.0, 0.0]
    assert conservative_score(scores, weight=0.0).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="1 model"):
        conservative_score(scores[:1])


def test_accuracy_has_the_interval_of_scipy_and_ties_count_half():
    chosen, rejected = torch.randn(2, 60, generator=generator(1))
    n_right = int((chosen > rejected).sum())
    for level in (0.95, 0.8):
        want = stats.binomtest(n_right, 60).proportion_ci(level, method="wilson")
        got = preference_accuracy(chosen, rejected, level)
        assert got == pytest.approx((n_right / 60, want.low, want.high), abs=1e-6)
    assert preference_accuracy(torch.zeros(8), torch.zeros(8))[0] == 0.5
    one = torch.tensor([1.0])
    for bad in (
        (one, torch.zeros(2)),
        (one[:0], one[:0]),
        (one, one * float("nan")),
        (one * float("inf"), one),
    ):
        with pytest.raises(ValueError):
            preference_accuracy(*bad)


def bias_by_hand(scores, lengths, groups):
    wins, n = 0.0, 0
    for i, j in combinations(range(len(scores)), 2):
        if groups[i] == groups[j] and lengths[i] != lengths[j]:
            longer, shorter = (i, j) if lengths[i] > lengths[j] else (j, i)
            n += 1
            wins += (scores[longer] > scores[shorter]) + 0.5 * (scores[longer] == scores[shorter])
    dummies = (np.array(groups)[:, None] == np.unique(groups)).astype(float)
    design = np.column_stack([lengths, dummies])
    return wins / n, np.linalg.lstsq(design, np.array(scores), rcond=None)[0][0]


@pytest.mark.parametrize("seed", range(5))
def test_length_bias_is_that_of_a_regression_with_an_intercept_for_each_group(seed):
    rng = np.random.default_rng(seed)
    groups, lengths = rng.integers(-3, 4, 24), rng.integers(3, 9, 24)
    scores = rng.integers(0, 5, 24).astype(float)
    got = length_bias(*(torch.from_numpy(a) for a in (scores, lengths, groups)))
    assert got == pytest.approx(bias_by_hand(scores, lengths, groups), abs=1e-9)


def test_length_bias_refuses_nothing_to_compare():
    two = torch.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="differ in length"):
        length_bias(two, torch.tensor([3, 4]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="differ in length"):
        length_bias(two, torch.tensor([3, 3]), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="rows of one length"):
        length_bias(two, torch.tensor([3]), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="NaN"):
        length_bias(two * float("nan"), torch.tensor([3, 4]), torch.tensor([0, 0]))
