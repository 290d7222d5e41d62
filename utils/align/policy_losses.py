"""The losses of PPO, over the tokens of responses, and the numbers that say what an update did.

Means are over all response tokens of a batch: a long response counts more than a short one.
Everything is aligned to the targets, (B, T); what stands outside the responses never counts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from utils.align.kl import k3
from utils.align.logprobs import masked_mean


def ppo_clip_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    clip_eps: float = 0.2,
) -> Tensor:
    """Return PPO's clipped loss, the mean over the tokens that the mask keeps.

    With ratio = exp(logprobs - old_logprobs), a token's loss is the negative of the smaller one of
    ratio * advantage and clip(ratio, 1 - clip_eps, 1 + clip_eps) * advantage.

    Args:
        logprobs: (B, T) of the policy that learns; gradients flow through it.
        old_logprobs: (B, T) of the policy that drew the tokens, a constant.
        advantages: (B, T), a constant.
        response_mask: (B, T) bool; where it is False the others may be anything, NaN too, and the
            gradient is 0.
        clip_eps: how far the ratio may move from 1 before more of it stops paying, above 0.

    Returns:
        a scalar.

    Raises:
        ValueError: where clip_eps is not above 0 (NaN is not), or the mask keeps no token.

    >>> old, mask = torch.zeros(1, 3), torch.tensor([[True, True, False]])
    >>> logprobs = torch.tensor([[1.5, 0.5, 7.0]]).log()
    >>> ppo_clip_loss(logprobs, old, torch.tensor([[1.0, -1.0, 7.0]]), mask)
    tensor(-0.2000)

    Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", equation 7.
    """
    if not clip_eps > 0:
        raise ValueError(f"clip_eps must be above 0, got {clip_eps}")
    if not bool(response_mask.any()):
        raise ValueError("response_mask keeps no token, so there is no mean")
    # Filled before exp: NaN or infinity times a gradient of 0 would be NaN.
    log_ratio = (logprobs - old_logprobs).masked_fill(~response_mask, 0.0)
    advantages = advantages.masked_fill(~response_mask, 0.0)
    ratio = log_ratio.exp()
    free = ratio * advantages
    clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps) * advantages
    return -torch.minimum(free, clipped).sum() / response_mask.sum()


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    response_mask: Tensor,
    clip_range: float = 0.2,
) -> Tensor:
    """Return the loss of the value head, the mean over the tokens that the mask keeps.

    A token's loss is half of the larger one of (values - returns)^2 and (clipped - returns)^2,
    where clipped is the value, kept within clip_range of the old one.

    Args:
        values: (B, T) of the head that learns; gradients flow through it.
        old_values: (B, T) of the head before the update, a constant.
        returns: (B, T), a constant.
        response_mask: (B, T) bool; where it is False the others may be anything, NaN too, and the
            gradient is 0.
        clip_range: in units of the returns, above 0; infinity for half the plain squared error.

    Returns:
        a scalar.

    Raises:
        ValueError: where clip_range is not above 0 (NaN is not), or the mask keeps no token.

    >>> values, old = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5, 0.0]])
    >>> mask = torch.tensor([[True, True]])
    >>> value_loss(values, old, torch.tensor([[2.0, 1.0]]), mask, clip_range=0.5)
    tensor(0.5000)

    Source: Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO", section 2.
    """
    if not clip_range > 0:
        raise ValueError(f"clip_range must be above 0, got {clip_range}")
    if not bool(response_mask.any()):
        raise ValueError("response_mask keeps no token, so there is no mean")
    # Filled first: NaN times a gradient of 0 would be NaN.
    values, old_values, returns = (
        tensor.masked_fill(~response_mask, 0.0) for tensor in (values, old_values, returns)
    )
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    errors = torch.maximum((values - returns).square(), (clipped - returns).square())
    return 0.5 * errors.sum() / response_mask.sum()


def clip_fraction(
    logprobs: Tensor, old_logprobs: Tensor, response_mask: Tensor, clip_eps: float = 0.2
) -> float:
    """Return the share of tokens whose ratio has left the range from 1 - clip_eps to 1 + clip_eps.

    >>> new, old = torch.tensor([[1.5, 1.1]]).log(), torch.zeros(1, 2)
    >>> clip_fraction(new, old, torch.tensor([[True, True]]))
    0.5
    """
    ratio = (logprobs - old_logprobs).exp()
    return masked_mean(((ratio - 1).abs() > clip_eps).float(), response_mask).item()


def approximate_kl(logprobs: Tensor, old_logprobs: Tensor, response_mask: Tensor) -> float:
    """Return how far the policy has moved from the one that drew, in nats per token, by k3.

    >>> same = torch.tensor([[-1.0, -2.0]])
    >>> approximate_kl(same, same, torch.tensor([[True, True]]))
    0.0
    """
    return masked_mean(k3(old_logprobs, logprobs), response_mask).item()
