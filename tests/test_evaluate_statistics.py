"""The statistics of evaluation against SciPy, scikit-learn and statsmodels, and by simulation."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.proportion import power_proportions_2indep, proportion_confint

from utils.evaluate.ab import ab_sample_size, sequential_test
from utils.evaluate.agreement import cohen_kappa
from utils.evaluate.calibration import expected_calibration_error, reliability
from utils.evaluate.intervals import bootstrap_interval, normal_quantile, wilson_interval
from utils.evaluate.judging import judge_position_bias, longer, swapped_choice
from utils.evaluate.paired import paired_permutation_test


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# calibration


@pytest.mark.parametrize("n_bins", [1, 5, 10, 15])
def test_calibration_equals_the_sum_over_scikit_learns_bins(n_bins):
    confidence = torch.rand(500, generator=draws(), dtype=torch.float64)
    correct = torch.rand(500, generator=draws(1), dtype=torch.float64) < confidence**2
    accuracy, mean = calibration_curve(correct, confidence, n_bins=n_bins, strategy="uniform")
    counts = np.histogram(confidence, bins=n_bins, range=(0, 1))[0]
    theirs = (counts[counts > 0] / 500 * np.abs(accuracy - mean)).sum()
    assert expected_calibration_error(confidence, correct, n_bins) == pytest.approx(theirs)
    assert sum(b.n for b in reliability(confidence, correct, n_bins)) == 500


def test_borders_belong_to_the_bin_below_and_zero_to_the_first():
    confidence = torch.tensor([0.0, 0.1, 0.2, 0.2000001, 1.0], dtype=torch.float64)
    assert [b.n for b in reliability(confidence, torch.ones(5), 10)] == [2, 1, 1, 1]


def test_a_calibrated_model_has_almost_no_error_and_a_sure_wrong_one_all():
    confidence = torch.rand(20_000, generator=draws())
    correct = torch.rand(20_000, generator=draws(1)) < confidence
    assert expected_calibration_error(confidence, correct) < 0.02
    assert expected_calibration_error(torch.ones(9), torch.zeros(9)) == 1


@pytest.mark.parametrize(
    ("confidence", "correct", "words"),
    [
        (torch.ones(2), torch.ones(3), "rows of one length"),
        (torch.ones(0), torch.ones(0), "at least 1"),
        (torch.tensor([1.5]), torch.ones(1), "probabilities, not logits"),
        (torch.tensor([float("nan")]), torch.ones(1), "probabilities, not logits"),
    ],
)
def test_calibration_refuses(confidence, correct, words):
    with pytest.raises(ValueError, match=words):
        expected_calibration_error(confidence, correct)


# intervals


def test_bootstrap_is_near_scipys():
    values = torch.rand(80, generator=draws(), dtype=torch.float64) ** 2
    ours = bootstrap_interval(values, n_resamples=20_000, generator=draws(1))
    theirs = scipy.stats.bootstrap(
        (values.numpy(),), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_bootstrap_takes_any_statistic_and_any_size():
    values = torch.randn(101, generator=draws())
    low, high = bootstrap_interval(
        values, statistic=lambda r: r.median(dim=-1).values, generator=draws()
    )
    assert low < values.median() < high
    low, high = bootstrap_interval(torch.randn(3_000_000), n_resamples=3, generator=draws())
    assert -0.01 < low < high < 0.01, "chunked: no table of all draws"


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_bootstrap_intervals_hold_the_truth_95_times_in_100(share):
    """2,000 evaluations of 200 questions each; the spread of the count is half a percent."""
    generator, n_held = draws(7), 0
    for _ in range(2000):
        right = (torch.rand(200, generator=generator) < share).double()
        low, high = bootstrap_interval(right, n_resamples=500, generator=generator)
        n_held += low <= share <= high
    assert 0.93 <= n_held / 2000 <= 0.97


@given(st.integers(1, 400), st.data())
def test_wilson_equals_statsmodels(n, data):
    n_right = data.draw(st.integers(0, n))
    theirs = proportion_confint(n_right, n, method="wilson")
    assert wilson_interval(n_right, n) == pytest.approx(theirs, abs=1e-9)


def test_quantiles_are_those_of_the_normal_distribution():
    for share in (0.001, 0.2, 0.5, 0.975):
        assert normal_quantile(share) == pytest.approx(scipy.stats.norm.ppf(share), abs=1e-9)


@pytest.mark.parametrize(
    ("values", "level", "words"),
    [
        (torch.ones(1), 0.95, "at least 2"),
        (torch.ones(2, 2), 0.95, "one row"),
        (torch.tensor([1.0, float("nan")]), 0.95, "NaN"),
        (torch.ones(5), 95, "between 0 and 1"),
    ],
)
def test_intervals_refuse(values, level, words):
    with pytest.raises(ValueError, match=words):
        bootstrap_interval(values, level=level)
    if words != "between 0 and 1":
        with pytest.raises(ValueError, match="n_right must be"):
            wilson_interval(3, 2)


# paired test


def by_all_patterns(differences: list[float]) -> float:
    total = abs(sum(differences))
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    as_far = [abs(math.fsum(s * d for s, d in zip(p, differences, strict=True))) for p in patterns]
    return sum(far >= total - 1e-9 for far in as_far) / len(patterns)


@settings(deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=1, max_size=9))
def test_few_pairs_are_counted_exactly(differences):
    a = torch.tensor(differences)
    assert paired_permutation_test(a, torch.zeros(len(a))) == pytest.approx(
        by_all_patterns(differences)
    )


def test_many_pairs_are_near_scipys():
    a = torch.randn(60, generator=draws(), dtype=torch.float64)
    b = a + 0.25 + torch.randn(60, generator=draws(1), dtype=torch.float64)
    ours = paired_permutation_test(a, b, 20_000, draws(2))
    theirs = scipy.stats.permutation_test(
        (a.numpy(), b.numpy()),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=3,
    ).pvalue
    assert ours == pytest.approx(theirs, abs=0.015) and ours == pytest.approx(
        paired_permutation_test(b, a, 20_000, draws(4)), abs=0.015
    )


def test_alike_is_one_and_never_zero():
    same = torch.rand(30, generator=draws())
    assert paired_permutation_test(same, same) == 1.0
    assert paired_permutation_test(same + 1, same, 99, draws()) == pytest.approx(1 / 100)


@pytest.mark.slow
def test_false_alarms_of_the_paired_test_are_five_in_a_hundred():
    generator, alarms = draws(3), 0
    for _ in range(1500):
        a, b = torch.randn(2, 40, generator=generator)
        alarms += paired_permutation_test(a, b, 400, generator) < 0.05
    assert 0.03 <= alarms / 1500 <= 0.07


def test_the_paired_test_refuses():
    with pytest.raises(ValueError, match="rows of one length"):
        paired_permutation_test(torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match="leave those examples out"):
        paired_permutation_test(torch.tensor([float("inf")]), torch.ones(1))


# agreement


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_kappa_equals_scikit_learn(pairs):
    first, second = zip(*pairs, strict=True)
    if len(set(first) | set(second)) == 1:
        with pytest.raises(ValueError, match="not defined"):
            cohen_kappa(first, second)
    else:
        assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))


def test_kappa_refuses():
    with pytest.raises(ValueError, match="same items"):
        cohen_kappa([1], [1, 2])
    with pytest.raises(ValueError, match="same items"):
        cohen_kappa([], [])


# A/B


@pytest.mark.parametrize(("p_a", "p_b"), [(0.5, 0.55), (0.1, 0.2), (0.9, 0.8), (0.02, 0.04)])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_sample_size_gives_the_power_by_statsmodels(p_a, p_b, power):
    n = ab_sample_size(p_a, p_b, power=power)
    for size, side in ((n, 0.005), (n // 2, -0.05)):
        theirs = power_proportions_2indep(p_b - p_a, p_a, size, alternative="two-sided").power
        assert theirs >= power - side if side > 0 else theirs < power + side


@pytest.mark.slow
def test_sample_size_gives_the_power_in_simulation():
    n, generator = ab_sample_size(0.5, 0.6), np.random.default_rng(0)
    a, b = generator.binomial(n, 0.5, 4000) / n, generator.binomial(n, 0.6, 4000) / n
    middle = (a + b) / 2
    z = (b - a) / np.sqrt(2 * middle * (1 - middle) / n)
    assert 0.77 < (np.abs(z) > 1.96).mean() < 0.83


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"p_a": 0.5, "p_b": 0.5}, "no number of people"),
        ({"p_a": -0.1, "p_b": 0.5}, "p_a must be a share"),
        ({"p_a": 0.4, "p_b": 0.5, "alpha": 0}, "alpha must be"),
        ({"p_a": 0.4, "p_b": 0.5, "power": 1}, "power must be"),
    ],
)
def test_sample_size_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        ab_sample_size(**arguments)


def arms(n_runs: int, n: int, p_a: float, p_b: float, seed: int) -> torch.Tensor:
    """Differences b - a of paired visitors: (n_runs, n)."""
    a, b = torch.rand(2, n_runs, n, generator=draws(seed))
    return (b < p_b).double() - (a < p_a).double()


@pytest.mark.slow
def test_peeking_raises_false_alarms_and_the_sequential_test_does_not():
    runs = arms(1000, 1000, 0.5, 0.5, seed=0)
    n = torch.arange(1, 1001)
    z = runs.cumsum(1) / (n * 0.5).sqrt()  # variance of a difference: .25 + .25
    looks = z[:, 99::100].abs() > 1.96  # after 100, 200, ... visitors
    assert (z[:, -1].abs() > 1.96).double().mean() < 0.07, "one look, at the end"
    assert looks.any(dim=1).double().mean() > 0.15
    for variance in (0.5, None):
        p = torch.stack([sequential_test(run, 0.1, variance) for run in runs[:400]])
        assert (p[:, -1] < 0.05).double().mean() <= 0.05, "looked at after every visitor"


def test_the_sequential_test_finds_a_difference():
    found = [sequential_test(run, 0.1, 0.5)[-1] < 0.05 for run in arms(50, 2000, 0.5, 0.65, 1)]
    assert sum(found) >= 48


def test_sequential_p_values_by_hand_and_when_nothing_varies():
    y = torch.tensor([0.5, 1.0, -0.25], dtype=torch.float64)
    p = sequential_test(y, tau=0.7, variance=0.9)
    best = 1.0
    for n in (1, 2, 3):
        mean, spread = y[:n].mean().item(), 0.9 + n * 0.49
        ratio = math.sqrt(0.9 / spread) * math.exp(n**2 * 0.49 * mean**2 / (2 * 0.9 * spread))
        best = min(best, 1 / ratio)
        assert p[n - 1].item() == pytest.approx(best)
    assert torch.equal(sequential_test(torch.ones(9), tau=1.0), torch.ones(9).double())


@pytest.mark.parametrize("settings", [{"tau": 0}, {"tau": 1, "variance": 0}])
def test_the_sequential_test_refuses(settings):
    with pytest.raises(ValueError, match="must be above 0"):
        sequential_test(torch.ones(3), **settings)


# judges


def test_position_bias_adds_up_and_a_swap_removes_it():
    pairs = [("short", "much longer"), ("same", "size"), ("a", "b"), ("word", "words words")]

    def place(one, other):
        return "first"

    assert judge_position_bias(pairs, place) == (0, 1, 0, 0)
    assert judge_position_bias(pairs, lambda one, other: "second") == (0, 0, 1, 0)
    assert judge_position_bias(pairs, longer) == (1, 0, 0, 0)
    assert {swapped_choice(*pair, place) for pair in pairs} == {"tie"}
    assert swapped_choice("a", "bb", longer) == "second"
    mixed = judge_position_bias([("a", "b")], lambda x, y: "first" if x == "a" else "tie")
    assert mixed == (0, 0, 0, 1)


def test_judges_that_answer_with_prose_are_refused():
    with pytest.raises(ValueError, match="the judge chose 'I think A'"):
        judge_position_bias([("a", "b")], lambda x, y: "I think A")
    with pytest.raises(ValueError, match="pairs is empty"):
        judge_position_bias([], longer)
