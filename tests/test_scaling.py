"""Scaling laws: known laws are found again, with noise and with a run gone wrong."""

import math

import pytest
import torch

from utils.runtime import generator
from utils.train import scaling
from utils.train.scaling import (
    ScalingLaw,
    distance_of,
    fit_scaling_law,
    starts,
    valley,
)

LAWS = [
    ScalingLaw(1.0, 50.0, 0.4, 400.0, 0.5),
    ScalingLaw(1.69, 406.4, 0.34, 410.7, 0.28),  # Hoffmann et al. 2022, equation 10
    ScalingLaw(0.6, 8.0, 0.25, 3e5, 1.0),
    ScalingLaw(2.5, 3e3, 0.8, 30.0, 0.3),
]
SIZES, TOKENS = (2e4, 6e4, 1.5e5, 4e5), (1e5, 3e5, 1e6, 3e6)
RUNS = [(n, d) for n in SIZES for d in TOKENS]


def measured(law, runs, noise=0.0, seed=0):
    """Return N, D and losses of runs that follow a law, each loss off by a share of itself."""
    draws = torch.randn(len(runs), generator=generator(seed)).tolist()
    losses = [law.loss(n, d) * math.exp(noise * x) for (n, d), x in zip(runs, draws, strict=True)]
    return [n for n, _ in runs], [d for _, d in runs], losses


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_a_law_without_noise_is_found_again(law):
    found = fit_scaling_law(*measured(law, RUNS))
    for n, d in [*RUNS, (4e6, 3e7)]:
        assert found.loss(n, d) == pytest.approx(law.loss(n, d), rel=2e-3)
    assert found.alpha == pytest.approx(law.alpha, abs=0.03)
    assert found.beta == pytest.approx(law.beta, abs=0.03)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_noise_of_half_a_percent_four_times_the_size_is_predicted(law, seed):
    found = fit_scaling_law(*measured(law, RUNS, noise=0.005, seed=seed))
    n, d = 4 * max(SIZES), 4 * max(TOKENS)
    assert found.loss(n, d) == pytest.approx(law.loss(n, d), rel=0.03)


def test_one_run_gone_wrong_does_not_bend_the_law():
    law = LAWS[0]
    n, d, losses = measured(law, RUNS, noise=0.002)
    losses[5] *= 2
    found = fit_scaling_law(n, d, losses)
    assert found.loss(1.6e6, 1e7) == pytest.approx(law.loss(1.6e6, 1e7), rel=0.03)


def test_no_point_nearby_is_better():
    law = LAWS[1]
    n, d, losses = measured(law, RUNS, noise=0.01)
    found = fit_scaling_law(n, d, losses)
    logs = [torch.tensor(values, dtype=torch.float64).log() for values in (n, d, losses)]
    x = torch.tensor(
        [math.log(found.irreducible), math.log(found.a), found.alpha, math.log(found.b)]
        + [found.beta],
        dtype=torch.float64,
    )
    least = distance_of(x, *logs)
    steps = 1e-3 * torch.randn(2000, 5, generator=generator(0), dtype=torch.float64)
    assert distance_of(x + steps, *logs).min() > 0.9999 * least


def test_the_distance_is_the_huber_loss_of_the_logarithms_by_hand():
    law, (n, d, losses) = LAWS[0], measured(LAWS[0], RUNS[:3], noise=0.001)
    total = 0.0
    for size, tokens, loss in zip(n, d, losses, strict=True):
        gap = abs(math.log(law.loss(size, tokens)) - math.log(loss))
        total += gap**2 / 2 if gap < 1e-3 else 1e-3 * (gap - 5e-4)
    logs = [torch.tensor(values, dtype=torch.float64).log() for values in (n, d, losses)]
    x = torch.tensor(
        [math.log(law.irreducible), math.log(law.a), law.alpha, math.log(law.b), law.beta],
        dtype=torch.float64,
    )
    assert distance_of(x, *logs).item() == pytest.approx(total / 3)


def test_a_fit_is_the_same_twice_and_costs_a_few_hundred_looks_at_the_runs(monkeypatch):
    runs, calls = measured(LAWS[0], RUNS, noise=0.01), []

    def counted(*arguments):
        calls.append(1)
        return distance_of(*arguments)

    monkeypatch.setattr(scaling, "distance_of", counted)
    assert fit_scaling_law(*runs) == fit_scaling_law(*runs)
    assert len(calls) < 2 * 2000


def test_starts_are_the_best_of_the_grid_in_order():
    logs = [torch.tensor(v, dtype=torch.float64).log() for v in measured(LAWS[0], RUNS)]
    few, many = starts(*logs, n_best=3), starts(*logs, n_best=20)
    distances = [distance_of(x, *logs).item() for x in many]
    assert distances == sorted(distances)
    assert all(map(torch.equal, few, many))


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_best_size_spends_the_budget_and_nothing_nearby_is_better(law):
    flops = 1e14
    n, d = law.best_size(flops)
    assert 6 * n * d == pytest.approx(flops)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert law.loss(n * factor, d / factor) > law.loss(n, d)


def test_too_few_or_impossible_runs_are_refused():
    n, d, losses = measured(LAWS[0], RUNS)
    with pytest.raises(ValueError, match="at least 5 runs, got 4"):
        fit_scaling_law(n[:4], d[:4], losses[:4])
    with pytest.raises(ValueError, match="one entry a run, got 16, 15 and 16"):
        fit_scaling_law(n, d[:-1], losses)
    with pytest.raises(ValueError, match="losses must all be positive"):
        fit_scaling_law(n, d, [math.nan, *losses[1:]])
    with pytest.raises(ValueError, match="same n_tokens"):
        fit_scaling_law(n, [1e6] * len(n), losses)
    with pytest.raises(ValueError, match="same n_parameters"):
        fit_scaling_law([1e6] * len(n), d, losses)


NAMES = ("n_parameters", "n_tokens", "losses")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 7, 15])
def test_each_number_that_is_not_positive_is_refused_wherever_it_stands(name, wrong, place):
    columns = [list(column) for column in measured(LAWS[0], RUNS)]
    columns[NAMES.index(name)][place] = wrong
    copies = [list(column) for column in columns]
    with pytest.raises(ValueError, match=f"{name} must all be positive"):
        fit_scaling_law(*columns)
    assert str(columns) == str(copies)


@pytest.mark.parametrize("short", range(3))
def test_each_list_that_is_too_short_is_refused(short):
    columns = list(measured(LAWS[0], RUNS))
    columns[short] = columns[short][:-1]
    with pytest.raises(ValueError, match="one entry a run"):
        fit_scaling_law(*columns)


def test_five_runs_in_tuples_of_whole_numbers_are_enough_and_stay_as_they_are():
    n, d = (20_000, 20_000, 60_000, 150_000, 400_000), (100_000, 10**6, 300_000, 10**6, 3 * 10**6)
    losses = tuple(LAWS[0].loss(*run) for run in zip(n, d, strict=True))
    found = fit_scaling_law(n, d, losses)
    for size, tokens, loss in zip(n, d, losses, strict=True):
        assert found.loss(size, tokens) == pytest.approx(loss, rel=1e-2)
    assert isinstance(found, ScalingLaw) and all(isinstance(x, float) for x in found)


def test_equal_losses_have_a_law_too():
    n, d, _ = measured(LAWS[0], RUNS)
    assert fit_scaling_law(n, d, [2.0] * len(n)).loss(1e5, 1e6) == pytest.approx(2.0, rel=1e-2)


def test_valley_finds_the_minimum_of_a_parabola():
    sizes = [2e4, 5e4, 9e4, 3e5]
    losses = [2 + 0.3 * (math.log10(n) - 5) ** 2 for n in sizes]
    found = valley(sizes, losses)
    assert found.best_size == pytest.approx(1e5)
    assert found.least_loss == pytest.approx(2)
    assert found.curvature == pytest.approx(0.3)
    for n, loss in zip(sizes, losses, strict=True):
        assert found.loss(n) == pytest.approx(loss)


def test_valley_refuses_runs_without_a_minimum():
    with pytest.raises(ValueError, match="no minimum between these sizes"):
        valley([1e4, 1e5, 1e6], [2.0, 3.0, 3.5])
    with pytest.raises(ValueError, match="three sizes"):
        valley([1e4, 1e5], [2.0, 3.0])


def test_valleys_of_a_law_lie_where_the_law_says():
    law = LAWS[1]
    for flops in (1e12, 1e14):
        best, _ = law.best_size(flops)
        sizes = [best * factor for factor in (0.5, 0.8, 1.25, 2)]
        found = valley(sizes, [law.loss(n, flops / 6 / n) for n in sizes])
        assert found.best_size == pytest.approx(best, rel=0.05)
