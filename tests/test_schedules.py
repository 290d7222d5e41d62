"""Schedules: shape, ends, warm-up, and agreement with torch's own schedulers."""

import pytest
import torch

from utils.train.schedules import constant, cosine, learning_rate, linear, warmup_stable_decay


def torch_rates(scheduler_class, n_steps, **settings):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = scheduler_class(optimizer, **settings)
    rates = []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_equals_torch_without_warm_up():
    ours = [cosine(40, final=0.1)(step) for step in range(40)]
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR
    assert ours == pytest.approx(torch_rates(scheduler, 40, T_max=40, eta_min=0.1), abs=1e-6)


def test_linear_equals_torch_without_warm_up():
    ours = [linear(40, final=0.2)(step) for step in range(40)]
    scheduler = torch.optim.lr_scheduler.LinearLR
    theirs = torch_rates(scheduler, 40, start_factor=1.0, end_factor=0.2, total_iters=40)
    assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("make", [cosine, linear, warmup_stable_decay])
def test_warm_up_rises_in_equal_steps_from_above_zero_to_the_peak(make):
    schedule = make(100, warmup_steps=10)
    assert [schedule(step) for step in range(10)] == pytest.approx(
        [(step + 1) / 10 for step in range(10)]
    )
    assert max(schedule(step) for step in range(100)) == pytest.approx(1.0)


@pytest.mark.parametrize("make", [cosine, linear, warmup_stable_decay])
def test_after_the_warm_up_a_rate_never_rises_and_ends_at_final(make):
    rates = [make(50, warmup_steps=5, final=0.25)(step) for step in range(5, 60)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.25)


def test_warmup_stable_decay_is_flat_until_the_fall():
    schedule = warmup_stable_decay(100, warmup_steps=10, decay_steps=20)
    assert {schedule(step) for step in range(9, 81)} == {1.0}
    assert schedule(90) == pytest.approx(0.5)


def test_constant_stays():
    assert {constant()(step) for step in (0, 1, 10**6)} == {1.0}


def test_learning_rate_is_the_multiplier_times_the_peak():
    for step in range(0, 30, 3):
        rate = learning_rate(step, peak=3e-4, n_steps=25, warmup_steps=7, final=0.2)
        assert rate == pytest.approx(3e-4 * cosine(25, warmup_steps=7, final=0.2)(step))


@pytest.mark.parametrize("make", [cosine, linear, warmup_stable_decay])
def test_numbers_that_do_not_fit_are_named(make):
    with pytest.raises(ValueError, match=r"warmup_steps must lie in 0..n_steps \(10\), got 11"):
        make(10, warmup_steps=11)
    with pytest.raises(ValueError, match="final is a share"):
        make(10, final=1.5)


def test_decay_longer_than_the_run_is_named():
    with pytest.raises(ValueError, match=r"decay_steps must lie in 0..8 .* got 9"):
        warmup_stable_decay(10, warmup_steps=2, decay_steps=9)


@pytest.mark.parametrize("n_steps, warmup_steps", [(0, 0), (1, 0), (1, 1), (5, 5), (5, 4), (7, 2)])
def test_at_the_last_step_and_past_it_the_rate_is_the_final_one(n_steps, warmup_steps):
    settings = dict(n_steps=n_steps, warmup_steps=warmup_steps, final=0.25)
    for step in (n_steps, n_steps + 1, n_steps + 100):
        assert learning_rate(step, peak=2.0, **settings) == 0.5
        for make in (cosine, linear, warmup_stable_decay):
            assert make(**settings)(step) == 0.25
    for step in range(n_steps):
        assert 0.5 <= learning_rate(step, peak=2.0, **settings) <= 2.0 or step < warmup_steps
    if warmup_steps:
        assert learning_rate(warmup_steps - 1, peak=2.0, **settings) == 2.0


@pytest.mark.parametrize("final", [0.0, 1.0])
def test_both_ends_of_final_are_allowed(final):
    assert learning_rate(4, peak=3.0, n_steps=4, final=final) == 3.0 * final


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"warmup_steps": 5}, "warmup_steps must lie in"),
        ({"warmup_steps": -1}, "warmup_steps must lie in"),
        ({"final": -0.1}, "final is a share"),
        ({"final": 1.1}, "final is a share"),
        ({"final": float("nan")}, "final is a share"),
    ],
)
def test_learning_rate_refuses_each_number_that_does_not_fit(settings, words):
    with pytest.raises(ValueError, match=words):
        learning_rate(0, peak=1.0, n_steps=4, **settings)
