"""Estimators of the divergence: bias, variance and gradient by the sum over all tokens; control."""

import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from utils.align.kl import AdaptiveKLController, FixedKLController, k1, k2, k3, sequence_kl


def pair(seed, distance, V=6):
    """Return the log-probabilities of a policy and a reference over V tokens."""
    source = torch.Generator().manual_seed(seed)
    policy, other = (torch.randn(V, dtype=torch.float64, generator=source) for _ in range(2))
    return policy.log_softmax(-1), (policy + distance * other).log_softmax(-1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("distance", [0.1, 1.0, 3.0])
def test_k1_and_k3_are_unbiased_k2_is_not_and_only_k1_goes_below_zero(seed, distance):
    p, q = pair(seed, distance)
    true = kl_divergence(Categorical(logits=p), Categorical(logits=q))
    mean = {f.__name__: (p.exp() * f(p, q)).sum() for f in (k1, k2, k3)}
    assert torch.allclose(mean["k1"], true) and torch.allclose(mean["k3"], true)
    assert k1(p, q).min() < 0 <= min(k2(p, q).min(), k3(p, q).min())
    bias = (mean["k2"] / true - 1).abs()
    assert bias < 0.1 if distance == 0.1 else bias > 1e-3


def test_near_the_reference_k2_and_k3_vary_far_less_than_k1():
    p, q = pair(0, 0.1)
    variance = [(p.exp() * (f(p, q) - (p.exp() * f(p, q)).sum()) ** 2).sum() for f in (k1, k2, k3)]
    assert variance[0] > 20 * max(variance[1:])


@pytest.mark.parametrize("seed", range(4))
def test_as_a_loss_k1_has_no_gradient_k2_the_right_one_and_k3_that_of_the_other_divergence(seed):
    p, q = pair(seed, 1.0)
    logits = p.clone().requires_grad_()
    logp = logits.log_softmax(-1)

    def gradient(value):
        return torch.autograd.grad(value, logits, retain_graph=True)[0]

    def as_loss(estimator):  # tokens drawn from the policy: the draw itself gives no gradient
        return gradient((logp.exp().detach() * estimator(logp, q)).sum())

    forward = gradient((logp.exp() * (logp - q)).sum())
    backward = gradient((q.exp() * (q - logp)).sum())
    assert as_loss(k1).abs().max() < 1e-12
    assert torch.allclose(as_loss(k2), forward)
    assert torch.allclose(as_loss(k3), backward) and not torch.allclose(backward, forward)


def test_the_reported_divergence_sums_over_tokens_and_never_sees_padding():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    logprobs = torch.tensor([[-1.0, -2.0, math.nan], [-1.0, math.inf, 5.0]])
    ref_logprobs = torch.tensor([[-2.0, -1.5, 3.0], [-1.0, 0.0, math.nan]])
    assert sequence_kl(logprobs, ref_logprobs, mask) == pytest.approx((1.0 - 0.5 + 0.0) / 2)


def test_temperature_left_out_reports_a_divergence_below_zero():
    """Drawn at 0.5, scored at 1: the policy looks less sure than its reference is."""
    logits = torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64)
    drawn = (logits / 0.5).softmax(-1)
    right = (drawn * k1((logits / 0.5).log_softmax(-1), logits.log_softmax(-1))).sum()
    wrong = (drawn * k1(logits.log_softmax(-1), (logits / 0.5).log_softmax(-1))).sum()
    assert right > 0.05 and wrong < -0.05


def test_the_adaptive_weight_follows_the_divergence():
    controller = AdaptiveKLController(1.0, target=2.0, horizon=100)
    for kl, n, wanted in ((2.0, 50, 1.0), (2.2, 100, 1.1), (9.0, 50, 1.21), (-5.0, 100, 0.968)):
        controller.update(kl, n)
        assert controller.kl_coef == pytest.approx(wanted)
    for kl, n in ((math.nan, 1), (math.inf, 1), (1.0, -1), (1.0, 101)):
        with pytest.raises(ValueError):
            controller.update(kl, n)
    assert controller.kl_coef == pytest.approx(0.968)


@pytest.mark.parametrize("name", ["kl_coef", "target", "horizon"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_controller_refuses_settings(name, value):
    with pytest.raises(ValueError, match=name):
        AdaptiveKLController(**{"kl_coef": 1.0, "target": 1.0, "horizon": 10} | {name: value})


def test_a_fixed_weight_stays_and_may_be_zero():
    controller = FixedKLController(0.0)
    controller.update(50.0, 10)
    assert controller.kl_coef == 0.0
    for value in (-0.1, math.nan):
        with pytest.raises(ValueError):
            FixedKLController(value)
