"""PPO's losses: brute force, finite differences, padding, and what an update did."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from tests.test_advantages import NAN, case
from utils.align.policy_losses import approximate_kl, clip_fraction, ppo_clip_loss, value_loss


def objective(new, old, advantages, mask, eps):
    """Return the loss token by token, in Python's own numbers."""
    total, n = 0.0, 0
    for x, o, a, kept in zip(*(t.flatten() for t in (new, old, advantages, mask)), strict=True):
        if kept:
            ratio = np.exp(x - o)
            bounded = min(max(ratio, 1 - eps), 1 + eps)
            total, n = total - min(ratio * a, bounded * a), n + 1
    return total / n


def squared(values, old, returns, mask, room):
    total, n = 0.0, 0
    for v, o, r, kept in zip(*(t.flatten() for t in (values, old, returns, mask)), strict=True):
        if kept:
            near = min(max(v, o - room), o + room)
            total, n = total + max((v - r) ** 2, (near - r) ** 2) / 2, n + 1
    return total / n


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("loss", "formula"), [(ppo_clip_loss, objective), (value_loss, squared)])
def test_losses_and_gradients_equal_brute_force_and_finite_differences(seed, loss, formula):
    first, second, mask = case(seed)
    third = np.where(mask, case(seed + 100, *mask.shape)[0], NAN)
    third = np.where(mask, np.nan_to_num(third, nan=0.7), NAN)
    arrays = (0.3 * first, 0.3 * second, third, mask)
    tensors = [torch.from_numpy(a) for a in arrays]
    tensors[0].requires_grad_()
    found = loss(*tensors, 0.2)
    assert found.item() == pytest.approx(formula(*arrays, 0.2))
    (gradient,) = torch.autograd.grad(found, tensors[0])
    step = 1e-6
    for place in np.ndindex(mask.shape):
        above, below = arrays[0].copy(), arrays[0].copy()
        above[place] += step
        below[place] -= step
        slope = (formula(above, *arrays[1:], 0.2) - formula(below, *arrays[1:], 0.2)) / (2 * step)
        assert gradient[place].item() == pytest.approx(slope if mask[place] else 0.0, abs=1e-6)


def test_at_the_first_step_the_gradient_is_that_of_plain_policy_gradient():
    mask = torch.tensor([[True, True, False]])
    old = torch.tensor([[-1.0, -2.0, 0.0]])
    new = old.clone().requires_grad_()
    advantages = torch.tensor([[2.0, -4.0, 9.0]])
    (gradient,) = torch.autograd.grad(ppo_clip_loss(new, old, advantages, mask), new)
    assert gradient.tolist() == [[-1.0, 2.0, 0.0]]


@pytest.mark.parametrize(
    ("advantage", "ratio", "learns"),
    [(1, 1.3, False), (1, 0.7, True), (-1, 0.7, False), (-1, 1.3, True), (1, 1.1, True)],
)
def test_clipping_stops_what_has_moved_far_enough_and_never_the_way_back(advantage, ratio, learns):
    new = torch.tensor([[ratio]]).log().requires_grad_()
    mask = torch.tensor([[True]])
    loss = ppo_clip_loss(new, torch.zeros(1, 1), torch.tensor([[float(advantage)]]), mask)
    assert bool(torch.autograd.grad(loss, new)[0].item() != 0) == learns


def test_a_long_response_counts_by_its_tokens():
    mask = torch.tensor([[True, False, False], [True, True, True]])
    old = torch.zeros(2, 3)
    advantages = torch.tensor([[4.0, 0, 0], [0.0, 0, 0]])
    assert ppo_clip_loss(old, old, advantages, mask).item() == -1.0


@pytest.mark.parametrize("loss", [ppo_clip_loss, value_loss])
def test_losses_refuse_an_empty_mask_and_a_range_of_zero(loss):
    zeros, mask = torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="no token"):
        loss(zeros, zeros, zeros, ~mask)
    for value in (0.0, -0.1, NAN):
        with pytest.raises(ValueError, match="above 0"):
            loss(zeros, zeros, zeros, mask, value)
    one = torch.ones(1, 1, dtype=torch.bool)
    assert torch.isfinite(loss(zeros[:1, :1], zeros[:1, :1], zeros[:1, :1], one))


def test_the_approximate_divergence_is_that_from_the_old_policy_to_the_new_one():
    old, new = (torch.randn(5, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    draws = Categorical(logits=old).sample((200_000,))
    found = approximate_kl(new[draws], old[draws], torch.ones(200_000, dtype=torch.bool))
    assert found == pytest.approx(
        kl_divergence(Categorical(logits=old), Categorical(logits=new)).item(), rel=0.05
    )
    assert approximate_kl(new[:1], old[:1], torch.tensor([True])) >= 0


def test_the_clip_fraction_never_counts_padding():
    ratio = torch.tensor([[1.3, 1.1, 0.7, 5.0]])
    mask = torch.tensor([[True, True, True, False]])
    assert clip_fraction(ratio.log(), torch.zeros(1, 4), mask) == pytest.approx(2 / 3)
