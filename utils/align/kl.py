"""How far a policy is from its reference, estimated from its own responses, and what that costs.

All estimators take log-probabilities of tokens that were *drawn from the policy*. With
x = log p(token) - log q(token), p the policy and q the reference:

- k1 = x: unbiased; single values, and means of few, may be negative.
- k2 = x^2 / 2: never negative, biased, with the right gradient.
- k3 = exp(-x) - 1 + x: never negative, unbiased; of large variance where q is far above p.

Left out on purpose: the exact divergence over the vocabulary, which needs both models' logits.
Source: Schulman 2020, "Approximating KL Divergence" (joschu.net/blog/kl-approx.html).
"""

from __future__ import annotations

import math

from torch import Tensor


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return the difference of the log-probabilities, whose mean over draws is the divergence.

    >>> import torch
    >>> k1(torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -1.0]))
    tensor([ 1., -1.])
    """
    return logprobs - ref_logprobs


def k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return half the square of the difference.

    >>> import torch
    >>> k2(torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -1.0]))
    tensor([0.5000, 0.5000])
    """
    return 0.5 * (logprobs - ref_logprobs).square()


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return exp(-x) - 1 + x of the difference x: k1 plus what has mean 0 and makes it positive.

    >>> import torch
    >>> k3(torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -1.0])).round(decimals=2)
    tensor([0.3700, 0.7200])
    """
    difference = logprobs - ref_logprobs
    return (-difference).expm1() + difference


def sequence_kl(logprobs: Tensor, ref_logprobs: Tensor, response_mask: Tensor) -> float:
    """Return the estimated divergence of whole responses, in nats: k1 summed over their tokens.

    This is the very quantity that `kl_rewards` charges: what is reported is what is trained.

    Args:
        logprobs, ref_logprobs: (B, T); what stands outside the responses never counts.
        response_mask: (B, T) bool.

    >>> import torch
    >>> mask = torch.tensor([[True, True, False]])
    >>> sequence_kl(torch.tensor([[-1.0, -1.0, 9.0]]), torch.tensor([[-2.0, -1.5, 0.0]]), mask)
    1.5
    """
    kept = k1(logprobs, ref_logprobs).masked_fill(~response_mask, 0.0)
    return kept.sum(dim=1).mean().item()


class FixedKLController:
    """A weight of the divergence that stays.

    >>> controller = FixedKLController(0.1)
    >>> controller.update(99.0, 64)
    >>> controller.kl_coef
    0.1
    """

    def __init__(self, kl_coef: float):
        if not (math.isfinite(kl_coef) and kl_coef >= 0):
            raise ValueError(f"kl_coef must be 0 or more, got {kl_coef}")
        self.kl_coef = kl_coef

    def update(self, kl: float, n: int) -> None:
        """Do nothing, whatever the divergence was."""


class AdaptiveKLController:
    """A weight of the divergence that grows where the divergence is above its target.

    `update` multiplies `kl_coef` by 1 + error * n / horizon, where
    error = kl / target - 1, but not below -0.2 and not above 0.2.

    Args:
        kl_coef: the weight to begin with, above 0.
        target: divergence of whole responses that is aimed at, in nats, above 0.
        horizon: responses over which the weight may change by a fifth, above 0.

    Raises:
        ValueError: where one of them is not above 0 and finite; in `update`, where kl is NaN or
            infinite or n is not from 0 to horizon. The weight is then what it was.

    >>> controller = AdaptiveKLController(0.5, target=4.0, horizon=100)
    >>> controller.update(kl=4.4, n=50)
    >>> round(controller.kl_coef, 4)
    0.525
    >>> controller.update(kl=40.0, n=100)
    >>> round(controller.kl_coef, 4)
    0.63

    Source: Ziegler et al. 2019, "Fine-Tuning Language Models from Human Preferences", section 2.2.
    """

    def __init__(self, kl_coef: float, target: float, horizon: float):
        for name, value in (("kl_coef", kl_coef), ("target", target), ("horizon", horizon)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be above 0, got {value}")
        self.kl_coef, self.target, self.horizon = kl_coef, target, horizon

    def update(self, kl: float, n: int) -> None:
        """Change the weight after n responses with this divergence."""
        if not math.isfinite(kl):
            raise ValueError(f"kl is {kl}: something broke before")
        if not 0 <= n <= self.horizon:
            raise ValueError(f"n is from 0 to the horizon {self.horizon}, got {n}")
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.kl_coef = self.kl_coef * (1 + error * n / self.horizon)
