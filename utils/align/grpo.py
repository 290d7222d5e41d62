"""The loop of group-relative policy optimisation: draw groups, reward, compare, update, record.

Four functions in order: `draw_rollouts`, `rewards_of`, an advantage over groups, `update`. There is
no value function. Each iteration's draws come from a generator of its own, made of the seed and the
iteration's number, so that a resumed run draws what it would have drawn.

Left out on purpose: prompts that are filtered for spread, several reward functions, sharding.

Shapes: B responses of an iteration, T tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from utils.align.group_losses import group_advantages, grpo_loss, row_lengths
from utils.align.logprobs import masked_mean, token_entropy, token_logprobs
from utils.align.preference import check_reference
from utils.align.resume import resume_run
from utils.align.rollouts import Rollouts, draw_rollouts, response_logprobs
from utils.model.decoder import Decoder
from utils.model.generate import evaluating
from utils.runtime import progress
from utils.train.checkpoints import save_run
from utils.train.loop import NonFiniteLoss
from utils.train.optimizers import clip_gradients

CLIP_EPS = 0.2  # of the record's clip_fraction


def train_grpo(
    policy: Decoder,
    prompts: Callable[[int], Sequence[Sequence[int]]],
    reward_fn: Callable[[Rollouts], Tensor],
    optimizer: torch.optim.Optimizer,
    n_iterations: int,
    *,
    group_size: int = 8,
    max_new_tokens: int,
    pad_id: int,
    end_id: int,
    temperature: float = 1.0,
    advantage_fn: Callable[[Tensor, int], Tensor] = group_advantages,
    loss_fn: Callable[..., Tensor] = grpo_loss,
    lengths: str = "batch",
    ref_policy: Decoder | None = None,
    n_epochs: int = 2,
    minibatch_size: int = 128,
    micro_batch_size: int | None = None,
    clip_norm: float = 1.0,
    seed: int = 0,
    measure: Callable[[Decoder], dict] | None = None,
    measure_every: int = 0,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 0,
    resume: bool = True,
    description: str = "grpo",
) -> list[dict]:
    """Train a policy in place on its own responses and return one record per iteration.

    Args:
        policy: learns; ends in the mode it was in.
        prompts: gives the prompts of an iteration, a pure function of its number.
        reward_fn: (B,) numbers for the rollouts, group after group.
        n_iterations: in the whole run, those of a resumed checkpoint included.
        group_size: responses to each prompt, 2 at least.
        advantage_fn: of rewards (B,) and the group size.
        loss_fn: called with logprobs, old_logprobs, advantages, response_mask and lengths, and with
            the reference's log-probabilities where there is a `ref_policy`.
        lengths: the normalisation, a name that `row_lengths` knows.
        ref_policy: for a KL term in the loss, and for the record's `kl`.
        n_epochs: how often the responses of an iteration are gone through.
        minibatch_size: responses of one update.
        micro_batch_size: responses computed at a time; None for all of an update.
        measure: called with the policy every `measure_every` iterations and after the last, for
            what must not be trained on; its numbers go into the record under their own names.
        checkpoint: folder of this run, written every `checkpoint_every` iterations, at the end, and
            before an error of the reward function is passed on.

    Returns:
        Records with iteration, reward, reward_std, flat (share of groups without spread), kl (to
        the reference, where there is one: nats, a mean over responses), entropy, length,
        truncated, clip_fraction, approx_kl, loss, gradient_norm, tokens, seconds,
        tokens_per_second.

    Raises:
        ValueError: for groups of one, a reference of another vocabulary, or rewards that are not
            one finite number for each response.
        RuntimeError: where the reward function raises; the iterations before it are kept.
        NonFiniteLoss: at the first loss or gradient that is NaN or infinite, before the update.
    """
    if group_size < 2:
        raise ValueError(
            f"group_size must be at least 2, got {group_size}: a response is compared with the "
            "others to its prompt, and alone its advantage is 0"
        )
    if ref_policy is not None:
        check_reference(policy, ref_policy)
    settings = {"group_size": group_size, "max_new_tokens": max_new_tokens, "seed": seed}
    settings |= {"temperature": temperature, "lengths": lengths, "n_epochs": n_epochs}
    settings |= {"minibatch_size": minibatch_size, "micro_batch_size": micro_batch_size}
    settings |= {"clip_norm": clip_norm, "learning_rate": optimizer.param_groups[0]["lr"]}
    done, records = resume_run(checkpoint, policy, optimizer, settings, n_iterations, resume)
    seconds, was_training = records[-1]["seconds"] if records else 0.0, policy.training
    bar = progress(total=n_iterations, description=description, unit="iteration")
    bar.update(done)
    with bar:
        for iteration in range(done, n_iterations):
            start = time.perf_counter()
            draws = torch.Generator(device=policy.embedding.weight.device)
            draws.manual_seed(1_000_003 * seed + iteration)
            asked = [list(p) for p in prompts(iteration) for _ in range(group_size)]
            rollouts = draw_rollouts(
                policy,
                asked,
                max_new_tokens,
                pad_id=pad_id,
                end_id=end_id,
                temperature=temperature,
                generator=draws,
            )
            try:
                rewards = rewards_of(reward_fn, rollouts, iteration)
            except (ValueError, RuntimeError):
                if checkpoint and iteration:
                    save_run(checkpoint, policy, optimizer, iteration, records, settings)
                raise
            record = {"iteration": iteration, **_rollout_numbers(rollouts, rewards, group_size)}
            record |= update(
                policy,
                optimizer,
                rollouts,
                advantage_fn(rewards, group_size),
                loss_fn,
                ref_policy,
                lengths=lengths,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                n_epochs=n_epochs,
                minibatch_size=minibatch_size,
                micro_batch_size=micro_batch_size,
                clip_norm=clip_norm,
                order_seed=1_000_003 * seed + iteration,
            )
            n_seconds = time.perf_counter() - start
            seconds += n_seconds
            record |= {"tokens": int(rollouts.lengths.sum()), "seconds": seconds}
            record["tokens_per_second"] = record["tokens"] / n_seconds
            is_last = iteration + 1 == n_iterations
            if measure and (is_last or measure_every and (iteration + 1) % measure_every == 0):
                record |= measure(policy)
            records.append(record)
            far = f"KL {record['kl']:.2f}" if "kl" in record else f"entropy {record['entropy']:.2f}"
            bar.set_postfix_str(f"reward {record['reward']:.3f}, {far}", refresh=False)
            bar.update(1)
            due = checkpoint_every and (iteration + 1) % checkpoint_every == 0
            if checkpoint and (is_last or due):
                save_run(checkpoint, policy, optimizer, iteration + 1, records, settings)
    policy.train(was_training)
    return records


def rewards_of(
    reward_fn: Callable[[Rollouts], Tensor], rollouts: Rollouts, iteration: int
) -> Tensor:
    """Return the rewards of an iteration as (B,) float32, after a look at them.

    Raises:
        RuntimeError: where the function raises.
        ValueError: for another number of values, or one that is NaN or infinite.
    """
    B = len(rollouts.responses)
    try:
        given = reward_fn(rollouts)
    except Exception as error:
        raise RuntimeError(
            f"the reward function failed in iteration {iteration}: {type(error).__name__}: "
            f"{error}. No weight was changed in this iteration"
        ) from error
    rewards = torch.as_tensor(given, dtype=torch.float32).detach()
    if rewards.shape != (B,):
        raise ValueError(
            f"the reward function gave shape {tuple(rewards.shape)} in iteration {iteration}, "
            f"expected ({B},): one number for each response"
        )
    if not bool(torch.isfinite(rewards).all()):
        place = int((~torch.isfinite(rewards)).nonzero()[0])
        raise ValueError(
            f"the reward of response {place} in iteration {iteration} is {rewards[place].item()}: "
            "no weight was changed in this iteration"
        )
    return rewards.to(rollouts.token_ids.device)


def update(
    policy: Decoder,
    optimizer: torch.optim.Optimizer,
    rollouts: Rollouts,
    advantages: Tensor,
    loss_fn: Callable[..., Tensor],
    ref_policy: Decoder | None = None,
    *,
    lengths: str,
    max_new_tokens: int,
    temperature: float,
    n_epochs: int,
    minibatch_size: int,
    micro_batch_size: int | None,
    clip_norm: float,
    order_seed: int,
) -> dict[str, float]:
    """Improve the policy on some rollouts and return what the record says of it.

    Each update's batch is computed in micro-batches whose losses count by their share of rows, so
    that with lengths "sequence", "batch" or "constant" their size changes nothing but memory.
    """
    B = len(rollouts.responses)
    tensors = (rollouts.token_ids, rollouts.targets, rollouts.response_mask, rollouts.logprobs)
    ref_logprobs = None
    if ref_policy is not None:
        with evaluating(ref_policy):
            ref_logprobs = response_logprobs(ref_policy, *tensors[:3], temperature).clone()
    order = torch.Generator().manual_seed(order_seed)
    found: list[dict[str, float]] = []
    policy.train()
    for _ in range(n_epochs):
        for rows in torch.randperm(B, generator=order).split(minibatch_size):
            optimizer.zero_grad(set_to_none=True)
            batch_mask, total = rollouts.response_mask[rows], 0.0
            for part in rows.split(micro_batch_size or len(rows)):
                token_ids, targets, mask, old_logprobs = (t[part] for t in tensors)
                logits = policy(token_ids)  # (B, T, V)
                logprobs = token_logprobs(logits, targets, temperature)
                divide_by = row_lengths(lengths, mask, batch_mask, max_new_tokens)
                refs = () if ref_logprobs is None else (ref_logprobs[part],)
                loss = loss_fn(logprobs, old_logprobs, advantages[part], mask, divide_by, *refs)
                loss = loss * (len(part) / len(rows))
                loss.backward()
                total += loss.item()
                ratio = (logprobs.detach() - old_logprobs).masked_fill(~mask, 0.0)
                entropy = token_entropy(logits.detach(), temperature)
                found.append(_update_numbers(ratio, entropy, mask))
            norm = clip_gradients(policy.parameters(), clip_norm)
            if not (math.isfinite(total) and math.isfinite(norm)):
                raise NonFiniteLoss(
                    f"loss {total} with gradient norm {norm}; the weights are those before this "
                    "update. Lower the learning rate"
                )
            optimizer.step()
            found[-1] |= {"loss": total, "gradient_norm": norm}
    policy.eval()
    numbers = {name: _mean([f[name] for f in found if name in f]) for name in found[-1]}
    if ref_logprobs is not None:
        gap = (ref_logprobs - rollouts.logprobs).masked_fill(~rollouts.response_mask, 0.0)
        numbers["kl"] = (gap.exp() - gap - 1).sum(dim=1).mean().item()
    return numbers


def _update_numbers(log_ratio: Tensor, entropy: Tensor, mask: Tensor) -> dict[str, float]:
    """Return means over response tokens of one micro-batch."""
    ratio = log_ratio.exp()
    return {
        "entropy": masked_mean(entropy, mask).item(),
        "clip_fraction": masked_mean(((ratio - 1).abs() > CLIP_EPS).float(), mask).item(),
        "approx_kl": masked_mean(ratio - 1 - log_ratio, mask).item(),
    }


def _rollout_numbers(rollouts: Rollouts, rewards: Tensor, group_size: int) -> dict[str, float]:
    """Return what the record says of an iteration's responses."""
    groups = rewards.view(-1, group_size)
    return {
        "reward": rewards.mean().item(),
        "reward_std": groups.std(dim=1).mean().item(),
        "flat": (groups.amax(dim=1) == groups.amin(dim=1)).float().mean().item(),
        "length": rollouts.lengths.float().mean().item(),
        "truncated": 1.0 - rollouts.ended.float().mean().item(),
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
