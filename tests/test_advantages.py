"""Rewards of tokens, GAE, whitening: brute force, and what must not leak into them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.align.advantages import cut_rewards, explained_variance, gae, kl_rewards, whiten

NAN = float("nan")


def case(seed, B=4, T=9):
    """Return values of tokens, rewards of tokens and a mask, with NaN outside the mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((B, T), bool)
    for row in mask:
        start = rng.integers(0, T)
        row[start : rng.integers(start + 1, T + 1)] = True
    rewards, values = (np.where(mask, rng.standard_normal((B, T)), NAN) for _ in range(2))
    return rewards, values, mask


def brute_force(rewards, values, mask, discount, lam):
    """Return GAE by its definition: a weighted mean of all k-step estimates, row by row."""
    advantages = np.zeros(mask.shape)
    for b, row in enumerate(mask):
        places = np.flatnonzero(row)
        r, v = rewards[b, places], [*values[b, places], 0.0]
        n = len(places)
        for t in range(n):
            estimates = []
            for k in range(1, n - t + 1):
                sums = sum(discount**i * r[t + i] for i in range(k))
                estimates.append(sums + discount**k * v[t + k] - v[t])
            # Behind the end all k-step estimates are the same one: they share the tail's weight.
            weights = [(1 - lam) * lam ** (k - 1) for k in range(1, n - t)] + [lam ** (n - t - 1)]
            advantages[b, places[t]] = float(np.dot(weights, estimates))
    return advantages


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_gae_is_the_weighted_mean_of_all_k_step_estimates(seed, discount, lam):
    rewards, values, mask = case(seed)
    given_tensors = [torch.from_numpy(a) for a in (rewards, values, mask)]
    advantages, returns = gae(*given_tensors, discount, lam)
    wanted = brute_force(rewards, values, mask, discount, lam)
    assert np.abs(advantages.numpy() - wanted).max() < 1e-9
    assert np.abs(returns.numpy() - wanted - np.where(mask, values, 0)).max() < 1e-9
    for tensor, array in zip(given_tensors, (rewards, values, mask), strict=True):
        assert np.array_equal(tensor.numpy(), array, equal_nan=True)


def test_gae_at_its_two_ends():
    rewards, values, mask = (torch.from_numpy(a) for a in case(3))
    rewards = rewards.nan_to_num()
    to_come = rewards.flip(1).cumsum(1).flip(1)
    advantages, returns = gae(rewards, values, mask, 1.0, 1.0)
    assert torch.allclose(returns[mask], to_come[mask])  # lam 1: what did come
    advantages, _ = gae(rewards, torch.zeros_like(values), mask, 1.0, 0.0)
    assert torch.allclose(advantages[mask], rewards[mask])  # lam 0 and no values: one reward


def test_gae_of_a_row_does_not_depend_on_its_neighbours_or_its_padding():
    rewards, values, mask = (torch.from_numpy(a) for a in case(5))
    together, _ = gae(rewards, values, mask)
    wide = [torch.nn.functional.pad(t, (0, 4), value=v) for t, v in ((rewards, 7.0), (values, 7.0))]
    padded, _ = gae(*wide, torch.nn.functional.pad(mask, (0, 4)))
    assert torch.equal(padded[:, :9], together) and padded[:, 9:].eq(0).all()
    for b in range(4):
        alone, _ = gae(rewards[b : b + 1], values[b : b + 1], mask[b : b + 1])
        assert torch.equal(alone[0], together[b])


@pytest.mark.parametrize("slip", ["shape", "dtype", "discount", "lam"])
def test_gae_refuses(slip):
    rewards, values, mask = torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    more = {}
    if slip == "shape":
        values = values[:, :2]
    elif slip == "dtype":
        mask = mask.float()
    else:
        more = {slip: 1.1}
    with pytest.raises(ValueError):
        gae(rewards, values, mask, **more)


@given(st.integers(0, 10**6), st.floats(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_rows_rewards_add_up_to_its_reward_less_its_divergence(seed, kl_coef):
    logprobs, ref_logprobs, mask = (torch.from_numpy(a) for a in case(seed))
    rewards = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = kl_rewards(rewards, logprobs, ref_logprobs, mask, kl_coef)
    divergence = (logprobs - ref_logprobs).masked_fill(~mask, 0.0).sum(1)
    assert torch.allclose(found.sum(1), rewards - kl_coef * divergence)
    assert found[~mask].eq(0).all()  # a reward behind the end would be lost, with NaN for company
    without = kl_rewards(0 * rewards, logprobs, ref_logprobs, mask, kl_coef)
    there = (found - without).abs() > 1e-9
    assert there.sum(1).le(1).all()
    assert torch.equal(there & mask, there)


def test_a_reward_for_the_end_reaches_every_token_of_its_row_and_no_other():
    mask = torch.tensor([[False, True, True, True, False], [True, True, False, False, False]])
    zeros = torch.zeros(2, 5)
    per_token = kl_rewards(torch.tensor([1.0, 0.0]), zeros, zeros, mask, 0.1)
    advantages, _ = gae(per_token, zeros, mask, 1.0, 1.0)
    assert torch.equal(advantages, torch.tensor([[0.0, 1, 1, 1, 0], [0.0] * 5]))


@pytest.mark.parametrize(
    "rewards", [[1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]], [NAN, 0.0], [math.inf, 0.0]]
)
def test_rewards_that_do_not_fit_are_refused(rewards):
    zeros, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="rewards"):
        kl_rewards(torch.tensor(rewards), zeros, zeros, mask, 0.1)


def test_a_response_without_a_token_is_refused():
    mask = torch.tensor([[True, False], [False, False]])
    zeros = torch.zeros(2, 2)
    with pytest.raises(ValueError, match="no token"):
        kl_rewards(torch.zeros(2), zeros, zeros, mask, 0.1)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_whitening_looks_at_kept_places_alone(seed):
    values, _, mask = (torch.from_numpy(a) for a in case(seed))
    found = whiten(values, mask)
    kept = values[mask].numpy()
    wanted = (kept - kept.mean()) / np.sqrt(kept.var() + 1e-8)
    assert np.allclose(found[mask].numpy(), wanted)
    assert found[~mask].eq(0).all()
    if len(kept) > 1:
        scaled = whiten(values, mask, shift_mean=False)[mask].numpy()
        assert np.allclose(scaled - scaled.mean(), wanted)
        assert np.isclose(scaled.mean(), kept.mean())


def test_whitening_of_one_place_or_of_equal_values_is_zero_and_of_none_refused():
    one = torch.tensor([[False, True]])
    assert whiten(torch.tensor([[NAN, 3.0]]), one).tolist() == [[0.0, 0.0]]
    assert whiten(torch.full((2, 2), 2.5), torch.ones(2, 2, dtype=torch.bool)).eq(0).all()
    with pytest.raises(ValueError, match="nothing"):
        whiten(torch.ones(2), torch.zeros(2, dtype=torch.bool))
    for mask in (torch.ones(2), torch.ones(1, 2, dtype=torch.bool)):
        with pytest.raises(ValueError, match="bool of shape"):
            whiten(torch.ones(2), mask)


def test_whitening_per_minibatch_gives_other_signs():
    """Two minibatches, one all good and one all bad: whitened apart, half of each is bad."""
    values, mask = torch.tensor([[1.0, 2.0], [-1.0, -2.0]]), torch.ones(2, 2, dtype=torch.bool)
    together = whiten(values, mask)
    apart = torch.stack([whiten(v, m) for v, m in zip(values, mask, strict=True)])
    assert together[0].gt(0).all() and together[1].lt(0).all()
    assert apart[0].min() < 0 < apart[1].max()


def test_a_cut_response_is_not_rewarded_as_if_it_had_ended():
    rewards, ended = torch.tensor([2.0, -3.0, 5.0]), torch.tensor([True, False, False])
    assert cut_rewards(rewards, ended, -1.0).tolist() == [2.0, -1.0, -1.0]
    assert cut_rewards(rewards, ended, None) is rewards


def test_explained_variance_of_a_head_that_knows_nothing_is_zero():
    returns, mask = torch.tensor([[1.0, 2.0, 4.0, NAN]]), torch.tensor([[True, True, True, False]])
    assert explained_variance(torch.full((1, 4), 7.0), returns, mask) == pytest.approx(
        0.0, abs=1e-6
    )
    assert explained_variance(torch.zeros(1, 4), torch.ones(1, 4), mask) == 0.0
    assert explained_variance(0.5 * returns, returns, mask) == pytest.approx(0.75)
