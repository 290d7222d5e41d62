"""From one reward for a response to an advantage for each of its tokens.

Everything is aligned to the targets, as in `rollouts.py`: [b, t] belongs to `targets[b, t]` and to
the state in which that token was chosen. What stands outside the response never counts.

Left out on purpose: advantages within a group of responses (`group_losses.py`), bootstrapping from
a value behind the last token: a response that is cut has ended for whoever reads it, see
`cut_rewards`.

Shapes: B responses, T targets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from utils.align.logprobs import masked_mean


def kl_rewards(
    rewards: Tensor,
    logprobs: Tensor,
    ref_logprobs: Tensor,
    response_mask: Tensor,
    kl_coef: float,
) -> Tensor:
    """Return the reward of each token: the price of leaving the reference, and a score at the end.

    Each token of a response gets -kl_coef * (logprobs - ref_logprobs). The last one, where
    `response_mask` is True for the last time in its row, gets the row's reward on top. All other
    places are 0, whatever stands there in the arguments.

    Args:
        rewards: (B,) one for each whole response.
        logprobs: (B, T) of the policy that drew the responses.
        ref_logprobs: (B, T) of the reference policy.
        response_mask: (B, T) bool, one run of True in each row.
        kl_coef: weight of the divergence, from 0.

    Returns:
        (B, T).

    Raises:
        ValueError: where `rewards` is not (B,) or holds NaN or infinity, or a row of the mask keeps
            no token.

    >>> mask = torch.tensor([[False, True, True, False]])
    >>> logprobs = torch.tensor([[0.0, -1.0, -2.0, 0.0]])
    >>> ref_logprobs = torch.tensor([[0.0, -2.0, -1.0, 0.0]])
    >>> kl_rewards(torch.tensor([5.0]), logprobs, ref_logprobs, mask, kl_coef=0.5)
    tensor([[ 0.0000, -0.5000,  5.5000,  0.0000]])

    Source: Ziegler et al. 2019, "Fine-Tuning Language Models from Human Preferences", equation 2.
    """
    B, T = response_mask.shape
    if rewards.shape != (B,):
        raise ValueError(f"rewards must be one for each of {B} responses, got {rewards.shape}")
    if not bool(rewards.isfinite().all()):
        raise ValueError("rewards holds NaN or infinity: the reward function is at fault")
    if not bool(response_mask.any(dim=1).all()):
        raise ValueError("a row of response_mask keeps no token: a response has one at least")
    per_token = (-kl_coef * (logprobs - ref_logprobs)).masked_fill(~response_mask, 0.0)  # (B, T)
    places = torch.arange(T, device=response_mask.device)
    last = places.where(response_mask, -1).amax(dim=1)  # (B,)
    at_last = places == last.unsqueeze(1)  # (B, T)
    return per_token + at_last * rewards.unsqueeze(1)


def gae(
    rewards: Tensor,
    values: Tensor,
    response_mask: Tensor,
    discount: float = 1.0,
    lam: float = 0.95,
) -> tuple[Tensor, Tensor]:
    """Return the generalised advantage estimates of the tokens of responses, and their returns.

    From the last token of a response to its first, with value and advantage 0 behind the last:

        delta[t] = rewards[t] + discount * values[t + 1] - values[t]
        advantages[t] = delta[t] + discount * lam * advantages[t + 1]
        returns[t] = advantages[t] + values[t]

    Args:
        rewards: (B, T) of each token, as `kl_rewards` gives them.
        values: (B, T) what the value head expects of the rewards from this token on.
        response_mask: (B, T) bool, one run of True in each row; where it is False, rewards and
            values may be anything, NaN too.
        discount: from 0 to 1; 1 for responses, whose end counts as much as their beginning.
        lam: from 0 (trust the next value) to 1 (trust the rewards that came).

    Returns:
        advantages and returns, (B, T) both, 0 where the mask is False.

    Raises:
        ValueError: for unequal shapes, a mask that is not bool, a discount or lam not from 0 to 1
            (NaN is not).

    >>> rewards = torch.tensor([[0.0, 1.0, 9.0]])
    >>> values = torch.tensor([[0.5, 0.75, 9.0]])
    >>> mask = torch.tensor([[True, True, False]])
    >>> gae(rewards, values, mask, discount=1.0, lam=0.5)
    (tensor([[0.3750, 0.2500, 0.0000]]), tensor([[0.8750, 1.0000, 0.0000]]))

    Source: Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage
    Estimation", equations 11 to 16.
    """
    if not rewards.shape == values.shape == response_mask.shape:
        raise ValueError(
            f"rewards {tuple(rewards.shape)}, values {tuple(values.shape)} and response_mask "
            f"{tuple(response_mask.shape)} must have one shape"
        )
    if response_mask.dtype != torch.bool:
        raise ValueError(f"response_mask must be bool, got {response_mask.dtype}")
    if not (0 <= discount <= 1 and 0 <= lam <= 1):
        raise ValueError(f"discount and lam are from 0 to 1, got {discount} and {lam}")
    rewards = rewards.masked_fill(~response_mask, 0.0)
    values = values.masked_fill(~response_mask, 0.0)
    B, T = rewards.shape
    advantages = torch.zeros_like(values)
    next_value = next_advantage = values.new_zeros(B)
    for t in reversed(range(T)):
        delta = rewards[:, t] + discount * next_value - values[:, t]  # (B,)
        # Behind a response all is 0, so that its last token sees an end and no padding.
        next_advantage = (delta + discount * lam * next_advantage) * response_mask[:, t]
        next_value = values[:, t]
        advantages[:, t] = next_advantage
    return advantages, advantages + values


def whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Return values with mean 0 and variance 1 over the places that the mask keeps.

    Each becomes (value - mean) / sqrt(variance + 1e-8); mean and variance (divided by the number of
    kept places, not by one less) are those of the kept places alone. A single kept place, or equal
    values, become 0.

    Args:
        values: any shape; what stands where the mask is False changes nothing, NaN too.
        mask: bool of the same shape.
        shift_mean: False to add the mean again, so that the variance alone changes.

    Returns:
        the same shape, 0 where the mask is False.

    Raises:
        ValueError: where the mask keeps nothing, is not bool, or has another shape.

    >>> whiten(torch.tensor([1.0, 3.0, 99.0]), torch.tensor([True, True, False]))
    tensor([-1.,  1.,  0.])
    >>> whiten(torch.tensor([5.0]), torch.tensor([True]))
    tensor([0.])

    Source: Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO", section 2.
    """
    if mask.dtype != torch.bool or mask.shape != values.shape:
        raise ValueError(f"mask must be bool of shape {tuple(values.shape)}")
    if not bool(mask.any()):
        raise ValueError("the mask keeps nothing, so there is no mean")
    kept = values[mask]
    mean, variance = kept.mean(), kept.var(unbiased=False)
    white = (values - mean) / (variance + 1e-8).sqrt()
    if not shift_mean:
        white = white + mean
    return white.masked_fill(~mask, 0.0)


def cut_rewards(rewards: Tensor, ended: Tensor, cut_reward: float | None) -> Tensor:
    """Return the rewards with another one for responses that were cut at the limit.

    A reward model has only seen responses that end, and what it says of a half one means nothing.
    Nor would a value behind the cut help: no reader ever sees what would have come.

    Args:
        rewards: (B,).
        ended: (B,) bool.
        cut_reward: what a cut response is worth; None leaves it what it was scored.

    >>> cut_rewards(torch.tensor([2.0, 2.0]), torch.tensor([True, False]), -1.0)
    tensor([ 2., -1.])

    Source: Huang et al. 2024, section 2 ("EOS trick").
    """
    return rewards if cut_reward is None else rewards.where(ended, cut_reward)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """Return the share of the returns' variance that the values explain, over kept places.

    1 for values that are the returns, 0 for any constant, below 0 for values that are worse than
    a constant; 0 where the returns do not vary.

    >>> returns, mask = torch.tensor([1.0, 2.0, 3.0]), torch.ones(3, dtype=torch.bool)
    >>> explained_variance(returns, returns, mask), explained_variance(-returns, returns, mask)
    (1.0, -3.0)
    """
    variance = _variance(returns, mask)
    return 1.0 - _variance(returns - values, mask) / variance if variance > 0 else 0.0


def _variance(values: Tensor, mask: Tensor) -> float:
    return masked_mean((values - masked_mean(values, mask)).square(), mask).item()
