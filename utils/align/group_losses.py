"""Learning from groups: several responses to one prompt, each compared with the others.

No value function and no reward model of its own: the mean of a group is the baseline. Rows come
group after group: row n belongs to group n // group_size. What a row's sum over tokens is divided
by decides what length costs; the four usual choices are in `row_lengths`.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

LENGTHS = ("sequence", "micro_batch", "batch", "constant")


def group_advantages(
    rewards: Tensor, group_size: int, divide_by_std: bool = True, eps: float = 1e-4
) -> Tensor:
    """Return how much better each response is than its group, in the group's own units.

    The reward less the mean of its group, divided by the group's standard deviation plus `eps`.
    That is the one with group_size - 1 in its denominator. In a group where all rewards are equal,
    a group of one among them, there is nothing to learn: exactly 0.

    Args:
        rewards: (B,) of responses that come group after group.
        group_size: responses to one prompt; divides B.
        divide_by_std: False leaves the division out: a group that is nearly always right or nearly
            always wrong then counts no more than others.
        eps: added to the standard deviation.

    Returns:
        (B,) floating point, without a gradient.

    Raises:
        ValueError: for rewards that are not (B,), none, a size below 1 or that does not divide B,
            or a reward that is NaN or infinite.

    >>> group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0, 5.0, 5.0, 5.0, 5.0]), 4, False)
    tensor([ 0.7500, -0.2500, -0.2500, -0.2500,  0.0000,  0.0000,  0.0000,  0.0000])
    >>> group_advantages(torch.tensor([1.0, 0.0]), 2)  # 0.5 / (0.7071 + 0.0001)
    tensor([ 0.7070, -0.7070])

    Source: Shao et al. 2024, "DeepSeekMath", section 4.1.2; without the division Liu et al. 2025,
    "Understanding R1-Zero-Like Training", section 3.1.
    """
    if rewards.dim() != 1 or group_size < 1 or not len(rewards) or len(rewards) % group_size:
        raise ValueError(
            f"expected rewards (B,) in whole groups of {group_size}, got {tuple(rewards.shape)}"
        )
    if not bool(torch.isfinite(rewards).all()):
        place = int((~torch.isfinite(rewards)).nonzero()[0])
        raise ValueError(
            f"reward {place} is {rewards[place].item()}: every response needs a number"
        )
    groups = rewards.detach().float().view(-1, group_size)  # (B / group_size, group_size)
    advantages = groups - groups.mean(dim=1, keepdim=True)
    if divide_by_std and group_size > 1:
        advantages = advantages / (groups.std(dim=1, keepdim=True) + eps)
    is_flat = groups.amax(dim=1, keepdim=True) == groups.amin(dim=1, keepdim=True)
    return advantages.masked_fill(is_flat, 0.0).flatten()  # a mean of equal numbers may be rounded


def leave_one_out_advantages(rewards: Tensor, group_size: int) -> Tensor:
    """Return each reward less the mean of the others of its group (RLOO).

    That is group_size / (group_size - 1) times the reward less the mean of the whole group, and
    the baseline is independent of the response that it is taken off from.

    Args:
        rewards: (B,) of responses that come group after group.
        group_size: responses to one prompt; in a group of one there are no others: 0.

    Raises:
        ValueError: as `group_advantages`.

    >>> leave_one_out_advantages(torch.tensor([1.0, 0.0, 0.5]), 3)
    tensor([ 0.7500, -0.7500,  0.0000])

    Source: Ahmadian et al. 2024, "Back to Basics", section 3.
    """
    centred = group_advantages(rewards, group_size, divide_by_std=False)
    return centred * (group_size / max(group_size - 1, 1))


def grpo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    lengths: Tensor | float | None = None,
    ref_logprobs: Tensor | None = None,
    kl_coef: float = 0.0,
    clip_eps: float = 0.2,
) -> Tensor:
    """Return the clipped policy loss of group-relative policy optimisation, a mean over rows.

    Each response token has the ratio r = exp(logprobs - old_logprobs) and its row's advantage A,
    and loses -min(r A, clip(r, 1 - clip_eps, 1 + clip_eps) A). A row's value is the sum over its
    response tokens divided by a length; the loss is the mean of the rows' values.

    Args:
        logprobs: (B, T) of the policy that learns.
        old_logprobs: (B, T) of the policy that drew the tokens, a constant.
        advantages: (B,) one for each response.
        response_mask: (B, T) bool, True for response tokens. What stands elsewhere, NaN too,
            changes neither loss nor gradient.
        lengths: what each row's sum is divided by: None for its own number of response tokens, a
            tensor (B,) or one number for all rows (see `row_lengths`).
        ref_logprobs: (B, T) of the reference; with it, kl_coef * (exp(d) - d - 1) is added to each
            token's loss, where d = ref_logprobs - logprobs.
        kl_coef: weight of that term.
        clip_eps: how far a ratio may move a token's loss.

    Returns:
        A scalar to minimise. Where logprobs equal old_logprobs its value is minus the weighted
        mean of the advantages, often 0, and its gradient is not.

    Raises:
        ValueError: for shapes that do not fit (`lengths` that are neither one number nor (B,),
            too), no rows, a mask that is not bool, a row without a response token, a length that is
            not positive, or a negative clip_eps.

    >>> logprobs, old = torch.tensor([[-1.0, -1.0]]), torch.tensor([[-1.0, -2.0]])
    >>> mask = torch.ones(1, 2, dtype=torch.bool)
    >>> grpo_loss(logprobs, old, torch.tensor([1.0]), mask)  # -(1 + 1.2) / 2: e is cut to 1.2
    tensor(-1.1000)
    >>> grpo_loss(logprobs, old, torch.tensor([1.0]), mask, lengths=4.0)
    tensor(-0.5500)

    Source: Shao et al. 2024, "DeepSeekMath", equations 3 and 4; lengths: Yu et al. 2025, "DAPO",
    section 3.3, and Liu et al. 2025, section 3.1.
    """
    B, T = response_mask.shape if response_mask.dim() == 2 else (0, 0)
    others = [logprobs, old_logprobs, *([] if ref_logprobs is None else [ref_logprobs])]
    if B == 0 or any(t.shape != (B, T) for t in others) or advantages.shape != (B,):
        raise ValueError(
            f"expected (B, T) log-probabilities and mask, and (B,) advantages; got "
            f"{[tuple(t.shape) for t in others]}, {tuple(response_mask.shape)} and "
            f"{tuple(advantages.shape)}"
        )
    if response_mask.dtype != torch.bool or not bool(response_mask.any(dim=1).all()):
        raise ValueError("response_mask must be bool and keep one token at least in every row")
    if clip_eps < 0:
        raise ValueError(f"clip_eps must not be negative, got {clip_eps}")
    lengths = response_mask.sum(dim=1) if lengths is None else lengths
    lengths = torch.as_tensor(lengths, device=logprobs.device)
    if lengths.shape not in ((), (B,)):
        raise ValueError(f"lengths must be one number or ({B},), got {tuple(lengths.shape)}")
    lengths = lengths.expand(B)
    if not bool((lengths > 0).all()):
        raise ValueError(f"lengths must be positive, got {lengths.tolist()}")
    # Filled before anything is computed: 0 * NaN in a gradient is NaN.
    logprobs = logprobs.masked_fill(~response_mask, 0.0)
    ratio = (logprobs - old_logprobs.detach().masked_fill(~response_mask, 0.0)).exp()  # (B, T)
    advantage = advantages.unsqueeze(1)  # (B, 1)
    clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps)
    loss = -torch.minimum(ratio * advantage, clipped * advantage)
    if ref_logprobs is not None:
        gap = ref_logprobs.detach().masked_fill(~response_mask, 0.0) - logprobs
        loss = loss + kl_coef * (gap.exp() - gap - 1)
    return (loss.masked_fill(~response_mask, 0.0).sum(dim=1) / lengths).mean()


def row_lengths(
    how: str,
    response_mask: Tensor,
    batch_mask: Tensor | None = None,
    max_new_tokens: int | None = None,
) -> Tensor:
    """Return what the rows' sums are divided by, for one of the four usual normalisations.

    Args:
        how: "sequence" (each row's own length: every response counts alike, so a token of a long
            one counts less), "batch" (the mean length in the batch of one update: every token
            counts alike), "micro_batch" (the mean length in the part of the batch that is computed
            at a time: the same until a batch is split), "constant" (max_new_tokens: every token
            counts alike in every batch).
        response_mask: (B, T) bool, of the rows at hand.
        batch_mask: bool, of the whole batch that one update is made of; where it is left out the
            rows at hand are the batch.
        max_new_tokens: most tokens of a response.

    Returns:
        (B,) in tokens.

    Raises:
        ValueError: for another name, or "constant" without a number of tokens.

    >>> mask = torch.tensor([[True, False, False, False], [True, True, True, False]])
    >>> [row_lengths(how, mask, max_new_tokens=4).tolist() for how in LENGTHS]
    [[1.0, 3.0], [2.0, 2.0], [2.0, 2.0], [4.0, 4.0]]

    Source: Shao et al. 2024 ("sequence"), Yu et al. 2025 ("batch"), Liu et al. 2025 ("constant").
    """
    own = response_mask.sum(dim=1).float()
    if how == "sequence":
        return own
    if how == "micro_batch":
        return own.mean().expand(len(own))
    if how == "batch":
        mask = response_mask if batch_mask is None else batch_mask
        return mask.sum(dim=1).float().mean().expand(len(own))
    if how == "constant" and max_new_tokens is not None and max_new_tokens > 0:
        return own.new_full(own.shape, float(max_new_tokens))
    raise ValueError(f'how must be one of {LENGTHS}, "constant" with max_new_tokens; got {how!r}')


def rloo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    lengths: Tensor | float | None = None,
    clip_eps: float = 0.2,
) -> Tensor:
    """Return the clipped policy loss with a whole response as one action, a mean over rows.

    The ratio is that of the response, so its logarithm is a sum over tokens and no length divides
    it. It leaves the clipping range sooner than a token's ratio does.

    Args:
        logprobs, old_logprobs, response_mask: (B, T) as in `grpo_loss`.
        advantages: (B,).
        lengths: not used; the loop passes them to every loss.
        clip_eps: how far a ratio may move a response's loss.

    >>> two = torch.full((1, 2), -1.0)
    >>> rloo_loss(two, two, torch.tensor([3.0]), torch.ones(1, 2, dtype=torch.bool))
    tensor(-3.)

    Source: Ahmadian et al. 2024, "Back to Basics", section 3.
    """
    kept = [t.masked_fill(~response_mask, 0.0).sum(dim=1) for t in (logprobs, old_logprobs)]
    ratio = (kept[0] - kept[1].detach()).exp()  # (B,)
    clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()
