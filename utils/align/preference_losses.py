"""Losses on preferences that need no reward model: DPO, IPO and KTO.

A response counts as one thing here: its log-probability is the sum over its tokens, end token
included. The reference's are computed once, without gradients, by the model that training began
with. Left out on purpose: the many cousins of DPO, which change the function of the margin.

Shapes: B pairs, or B responses.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dpo_loss(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    ref_chosen_logprobs: Tensor,
    ref_rejected_logprobs: Tensor,
    beta: float = 0.1,
) -> Tensor:
    """Return the loss of direct preference optimisation, a mean over pairs.

    A response's implied reward is beta times how much likelier the policy makes it than the
    reference does. The loss is that of Bradley and Terry on the difference of the two rewards.

    Args:
        chosen_logprobs, rejected_logprobs: (B,) log-probability of each whole response under the
            policy, a sum over its tokens.
        ref_chosen_logprobs, ref_rejected_logprobs: (B,) the same under the reference.
        beta: weight of the KL divergence in the objective that this solves; a larger one keeps the
            policy closer to the reference.

    Returns:
        A scalar in nats; log 2 where policy and reference agree. It and its gradient are finite for
        any finite margin.

    Raises:
        ValueError: for a beta that is not positive (NaN is not), no pairs, or tensors that are not
            all (B,).

    >>> one, two, three = torch.tensor([-1.0]), torch.tensor([-2.0]), torch.tensor([-3.0])
    >>> round(dpo_loss(one, three, two, two, beta=0.5).item(), 4)  # softplus(-0.5 * (1 + 1))
    0.3133

    Source: Rafailov et al. 2023, "Direct Preference Optimization", equation 7.
    """
    logprobs = (chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs)
    shapes = [tuple(t.shape) for t in logprobs]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or shapes[0] == (0,):
        raise ValueError(
            f"expected four tensors (B,) with one pair at least, got {shapes}: sum the "
            "log-probabilities of a response's tokens first"
        )
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    chosen_reward = beta * (chosen_logprobs - ref_chosen_logprobs)  # (B,)
    rejected_reward = beta * (rejected_logprobs - ref_rejected_logprobs)
    return -F.logsigmoid(chosen_reward - rejected_reward).mean()


def ipo_loss(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    ref_chosen_logprobs: Tensor,
    ref_rejected_logprobs: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    beta: float = 0.1,
) -> Tensor:
    """Return the loss of identity preference optimisation, a mean over pairs.

    The margin per token is pulled to 1 / (2 beta) and no further, so that a pair which is already
    told apart stops pulling: a pair's loss is the squared distance of its margin from there.
    Log-ratios are means over the tokens of a response: the target would otherwise mean less the
    longer the response.

    Args:
        chosen_logprobs, rejected_logprobs: (B,) log-probability of each whole response under the
            policy, a sum over its tokens.
        ref_chosen_logprobs, ref_rejected_logprobs: (B,) the same under the reference.
        chosen_lengths, rejected_lengths: (B,) tokens of each response, 1 at least.
        beta: a smaller one wants a larger margin.

    Returns:
        A scalar, at least 0; 0 where each margin is 1 / (2 beta).

    Raises:
        ValueError: for a beta that is not positive (NaN is not), no pairs, tensors that are not all
            (B,), or a length below 1.

    >>> ref, two = torch.tensor([-4.0]), torch.tensor([2])
    >>> ipo_loss(torch.tensor([-2.0]), ref, ref, ref, two, two, beta=0.25)  # (2/2 - 0 - 2)^2
    tensor(1.)

    Source: Azar et al. 2023, "A General Theoretical Paradigm to Understand Learning from Human
    Preferences", equation 17, with log-ratios per token as in the authors' own experiments.
    """
    tensors = (chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs)
    shapes = [tuple(t.shape) for t in (*tensors, chosen_lengths, rejected_lengths)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or shapes[0] == (0,):
        raise ValueError(f"expected six tensors (B,) with one pair at least, got {shapes}")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    if bool((chosen_lengths < 1).any()) or bool((rejected_lengths < 1).any()):
        raise ValueError("a response has one token at least, its end token: got a length below 1")
    chosen_score = (chosen_logprobs - ref_chosen_logprobs) / chosen_lengths  # (B,)
    rejected_score = (rejected_logprobs - ref_rejected_logprobs) / rejected_lengths
    return (chosen_score - rejected_score - 1 / (2 * beta)).square().mean()


def kto_loss(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    is_desirable: Tensor,
    mismatched_logprobs: Tensor,
    ref_mismatched_logprobs: Tensor,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Return the loss of Kahneman-Tversky optimisation, a mean over responses.

    It needs no pairs: each response is marked as wanted or not. A response's log-ratio is compared
    with a reference point, the KL divergence of the policy from the reference, estimated on
    responses that belong to other prompts: the mean of their log-ratios, where that is negative
    0, and without a gradient. With g = beta * (log-ratio - reference point), a response that is
    wanted loses desirable_weight * (1 - sigmoid(g)), one that is not undesirable_weight *
    (1 - sigmoid(-g)).

    Args:
        logprobs, ref_logprobs: (B,) log-probability of each whole response under policy and
            reference, a sum over its tokens.
        is_desirable: (B,) bool.
        mismatched_logprobs, ref_mismatched_logprobs: (M,) those of responses set behind prompts
            that they do not answer.
        beta: how fast satisfaction saturates.
        desirable_weight, undesirable_weight: weight of each kind, to even out unequal numbers.

    Returns:
        A scalar; 0.5 where policy and reference agree and the weights are 1.

    Raises:
        ValueError: for a beta that is not positive (NaN is not), tensors of other shapes, no
            responses, no mismatched ones, or an `is_desirable` that is not bool.

    >>> zero, up = torch.zeros(2), torch.tensor([1.0, -1.0])
    >>> wanted = torch.tensor([True, False])
    >>> round(kto_loss(up, zero, wanted, zero, zero, beta=1.0).item(), 4)  # 1 - sigmoid(1), twice
    0.2689

    Source: Ethayarajh et al. 2024, "KTO: Model Alignment as Prospect Theoretic Optimization",
    equations 7 and 8.
    """
    if logprobs.dim() != 1 or not len(logprobs) or mismatched_logprobs.numel() == 0:
        raise ValueError(
            f"expected logprobs (B,) and mismatched ones (M,), one at least of each, got "
            f"{tuple(logprobs.shape)} and {tuple(mismatched_logprobs.shape)}"
        )
    if not logprobs.shape == ref_logprobs.shape == is_desirable.shape:
        raise ValueError(
            f"logprobs {tuple(logprobs.shape)}, ref_logprobs {tuple(ref_logprobs.shape)} and "
            f"is_desirable {tuple(is_desirable.shape)} must have one shape"
        )
    if mismatched_logprobs.dim() != 1 or mismatched_logprobs.shape != ref_mismatched_logprobs.shape:
        raise ValueError("mismatched_logprobs and ref_mismatched_logprobs must both be (M,)")
    if is_desirable.dtype != torch.bool:
        raise ValueError(f"is_desirable must be bool, got {is_desirable.dtype}")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    point = (mismatched_logprobs - ref_mismatched_logprobs).mean().clamp(min=0).detach()
    gain = beta * (logprobs - ref_logprobs - point)  # (B,)
    liked = desirable_weight * (1 - torch.sigmoid(gain))
    disliked = undesirable_weight * (1 - torch.sigmoid(-gain))
    return torch.where(is_desirable, liked, disliked).mean()
