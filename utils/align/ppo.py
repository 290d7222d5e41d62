"""PPO on a language model: draw responses, score them, work out advantages, update, record.

The policy and its value head share the trunk. The head reads the last norm's features through a
stop of the gradient, so it can learn fast without moving the policy. Rewards, prompts and what is
measured on the way are functions that the caller gives; the loop sees no text and no judge.

Left out on purpose: several devices, a value model of its own, micro-batches within a minibatch.

Shapes: B responses, T targets, D d_model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from utils.align.advantages import cut_rewards, explained_variance, gae, kl_rewards, whiten
from utils.align.kl import AdaptiveKLController, FixedKLController, sequence_kl
from utils.align.logprobs import masked_mean, token_entropy, token_logprobs
from utils.align.policy_losses import approximate_kl, clip_fraction, ppo_clip_loss, value_loss
from utils.align.rollouts import Rollouts, draw_rollouts, response_logprobs
from utils.model.decoder import Decoder
from utils.model.generate import evaluating
from utils.model.hidden import logits_and_hidden
from utils.runtime import progress
from utils.train.checkpoints import checkpoints_in, load_run, read_run, save_run
from utils.train.loop import NonFiniteLoss
from utils.train.optimizers import clip_gradients
from utils.train.same_run import refuse_difference


class RewardError(ValueError):
    """The reward function raised, or gave what can't be learned from; nothing has changed."""


@dataclass(frozen=True)
class PPOSettings:
    """All that decides a run, besides policy, prompts, rewards and controller.

    Args:
        max_new_tokens: most tokens of a response.
        temperature: of the draws and of all log-probabilities.
        policy_lr, value_lr: learning rates; the head starts at zero and needs the larger one.
        decays: both fall in a straight line, to nothing at the end of the run.
        n_epochs: how often each response is used.
        minibatch_size: responses in one step of the optimizer.
        clip_eps, clip_range: how far ratios and values may move in one update.
        discount, lam: of the advantages.
        max_norm: of the gradient.
        cut_reward: what a response without an end is worth; None for what it is scored.
    """

    max_new_tokens: int = 64
    temperature: float = 1.0
    policy_lr: float = 5e-4
    value_lr: float = 3e-3
    decays: bool = True
    n_epochs: int = 2
    minibatch_size: int = 16
    clip_eps: float = 0.2
    clip_range: float = math.inf
    discount: float = 1.0
    lam: float = 0.95
    max_norm: float = 1.0
    cut_reward: float | None = -1.0


class ActorCritic(nn.Module):
    """A policy with a value head on its features.

    Args:
        policy: a decoder; it is trained in place.
        value_gradient: share of the value loss's gradient that reaches the trunk, from 0 to 1.
    """

    def __init__(self, policy: Decoder, value_gradient: float = 0.0):
        super().__init__()
        self.policy, self.value_gradient = policy, value_gradient
        self.value_head = nn.Linear(policy.config.d_model, 1, device=policy.embedding.weight.device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, V) and values (B, T)."""
        logits, hidden = logits_and_hidden(self.policy, token_ids)
        share = self.value_gradient
        features = share * hidden + (1 - share) * hidden.detach() if share else hidden.detach()
        return logits, self.value_head(features).squeeze(-1)

    def optimizer(self, policy_lr: float, value_lr: float) -> torch.optim.Optimizer:
        """Return AdamW without decay, with a learning rate for each of the two."""
        policy = [p for p in self.policy.parameters() if p.requires_grad]
        groups = [
            {"params": policy, "lr": policy_lr},
            {"params": list(self.value_head.parameters()), "lr": value_lr},
        ]
        return torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=True)


@dataclass(frozen=True)
class Experience:
    """Rollouts with all that an update needs, (B, T) each."""

    rollouts: Rollouts
    advantages: Tensor
    returns: Tensor
    values: Tensor


def checked_rewards(reward_fn: Callable[[Rollouts], Tensor], rollouts: Rollouts) -> Tensor:
    """Return the rewards (B,) of rollouts, in the rollouts' float type, without a gradient.

    Raises:
        RewardError: where the function raises, gives another number of values, NaN or infinity.
    """
    n = len(rollouts.responses)
    try:
        with torch.no_grad():
            rewards = torch.as_tensor(reward_fn(rollouts)).to(rollouts.logprobs)
    except Exception as error:
        raise RewardError(f"the reward function raised {type(error).__name__}: {error}") from error
    if rewards.shape != (n,):
        raise RewardError(
            f"the reward function gave shape {tuple(rewards.shape)} for {n} responses: it must "
            f"give ({n},), one number for each"
        )
    if not bool(rewards.isfinite().all()):
        row = int((~rewards.isfinite()).nonzero()[0])
        raise RewardError(f"the reward of response {row} of {n} is {rewards[row].item()}")
    return rewards


def compute_advantages(
    agent: ActorCritic,
    ref_policy: Decoder,
    rollouts: Rollouts,
    rewards: Tensor,
    kl_coef: float,
    settings: PPOSettings,
) -> tuple[Experience, dict]:
    """Return what an update needs, and what the record says of these responses."""
    mask, batch = rollouts.response_mask, (rollouts.token_ids, rollouts.targets)
    with evaluating(agent), evaluating(ref_policy):
        ref_logprobs = response_logprobs(ref_policy, *batch, mask, settings.temperature)
        logits, values = agent(rollouts.token_ids)
        entropy = masked_mean(token_entropy(logits, settings.temperature), mask).item()
    paid = cut_rewards(rewards, rollouts.ended, settings.cut_reward)
    per_token = kl_rewards(paid, rollouts.logprobs, ref_logprobs, mask, kl_coef)
    advantages, returns = gae(per_token, values, mask, settings.discount, settings.lam)
    # Once over the whole batch: whitening each minibatch would move its zero.
    experience = Experience(rollouts, whiten(advantages, mask), returns, values)
    return experience, {
        "reward": rewards.mean().item(),
        "kl": sequence_kl(rollouts.logprobs, ref_logprobs, mask),
        "kl_coef": kl_coef,
        "entropy": entropy,
        "length": rollouts.lengths.float().mean().item(),
        "truncated": 1.0 - rollouts.ended.float().mean().item(),
        "explained_variance": explained_variance(values, returns, mask),
    }


def update(
    agent: ActorCritic,
    optimizer: torch.optim.Optimizer,
    experience: Experience,
    settings: PPOSettings,
    generator: torch.Generator,
    policy_loss: Callable[..., Tensor] = ppo_clip_loss,
) -> dict:
    """Take the steps of one iteration and return what they did, as means over the last epoch.

    The agent is in evaluation mode all the time: with dropout, ratios would not begin at 1.
    """
    rollouts, n = experience.rollouts, len(experience.rollouts.responses)
    was_training = agent.training
    agent.eval()
    for _ in range(settings.n_epochs):
        found = []
        for rows in torch.randperm(n, generator=generator).split(settings.minibatch_size):
            mask, old = rollouts.response_mask[rows], rollouts.logprobs[rows]
            logits, values = agent(rollouts.token_ids[rows])
            logprobs = token_logprobs(logits, rollouts.targets[rows], settings.temperature)
            loss = policy_loss(logprobs, old, experience.advantages[rows], mask, settings.clip_eps)
            of_values = value_loss(
                values,
                experience.values[rows],
                experience.returns[rows],
                mask,
                settings.clip_range,
            )
            optimizer.zero_grad(set_to_none=True)
            (loss + of_values).backward()
            norms = [
                clip_gradients(part.parameters(), settings.max_norm)
                for part in (agent.policy, agent.value_head)
            ]
            if not all(math.isfinite(v) for v in (loss.item(), of_values.item(), *norms)):
                raise NonFiniteLoss(f"losses {loss.item()}, {of_values.item()}, norms {norms}")
            optimizer.step()
            with torch.no_grad():
                clipped = clip_fraction(logprobs, old, mask, settings.clip_eps)
                moved = approximate_kl(logprobs, old, mask)
            found.append((loss.item(), of_values.item(), clipped, moved))
    agent.train(was_training)
    names = ("loss", "value_loss", "clip_fraction", "approx_kl")
    return dict(zip(names, torch.tensor(found, dtype=torch.float64).mean(0).tolist(), strict=True))


def ppo(
    agent: ActorCritic,
    ref_policy: Decoder,
    prompts: Callable[[int], list[list[int]]],
    reward_fn: Callable[[Rollouts], Tensor],
    controller: FixedKLController | AdaptiveKLController,
    n_iterations: int,
    *,
    pad_id: int,
    end_id: int,
    settings: PPOSettings = PPOSettings(),
    seed: int = 0,
    policy_loss: Callable[..., Tensor] = ppo_clip_loss,
    collect: Callable[..., Rollouts] = draw_rollouts,
    measure: Callable[[Decoder], dict] | None = None,
    measure_every: int = 5,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 5,
    description: str = "ppo",
) -> list[dict]:
    """Train the agent in place and return one record per iteration.

    Args:
        agent: policy and value head.
        ref_policy: the policy that the divergence is measured from; it does not change.
        prompts: gives the prompts of an iteration by its number, always the same ones.
        reward_fn: one finite number for each response of some rollouts.
        controller: holds the weight of the divergence and is told each iteration's.
        n_iterations: of the whole run, those before a resume included.
        pad_id, end_id: of the tokenizer.
        settings: see `PPOSettings`.
        seed: of draws and of minibatches.
        policy_loss: takes what `ppo_clip_loss` takes.
        collect: takes what `draw_rollouts` takes.
        measure: what else to record of the policy, before the first iteration's update and every
            `measure_every` iterations; training never sees it.
        checkpoint: folder of the run; written every `checkpoint_every` iterations and at the end.
            Where it holds one, the run goes on from there.

    Raises:
        RewardError, NonFiniteLoss: with the number of the iteration; the last checkpoint stands.
        ValueError: where the checkpoint is of a run with other settings.
    """
    optimizer = agent.optimizer(settings.policy_lr, settings.value_lr)
    generator = torch.Generator().manual_seed(seed)
    run = {"seed": seed, "controller": type(controller).__name__} | asdict(settings)
    run |= {"n_iterations": n_iterations} if settings.decays else {}
    first, records = 0, []
    if checkpoint is not None and checkpoints_in(checkpoint):
        first, records = _resume(checkpoint, agent, optimizer, generator, controller, run)
    with progress(total=n_iterations, description=description, unit="iteration") as bar:
        bar.update(first)
        for iteration in range(first, n_iterations):
            start = time.perf_counter()
            _set_rates(optimizer, settings, iteration / n_iterations)
            rollouts = collect(
                agent.policy,
                prompts(iteration),
                settings.max_new_tokens,
                pad_id=pad_id,
                end_id=end_id,
                temperature=settings.temperature,
                generator=generator,
            )
            extra = measure(agent.policy) if measure and iteration % measure_every == 0 else {}
            try:
                rewards = checked_rewards(reward_fn, rollouts)
                experience, record = compute_advantages(
                    agent, ref_policy, rollouts, rewards, controller.kl_coef, settings
                )
                did = update(agent, optimizer, experience, settings, generator, policy_loss)
            except (RewardError, NonFiniteLoss) as error:
                raise type(error)(f"iteration {iteration}: {error}. {_kept(checkpoint)}") from error
            controller.update(record["kl"], len(rewards))
            speed = int(rollouts.lengths.sum()) / (time.perf_counter() - start)
            records.append(
                {"iteration": iteration} | record | did | {"tokens_per_second": speed} | extra
            )
            bar.set_postfix_str(f"reward {record['reward']:.2f}, KL {record['kl']:.2f}")
            bar.update(1)
            done = iteration + 1
            if checkpoint is not None and (done % checkpoint_every == 0 or done == n_iterations):
                _set_rates(optimizer, settings, 0.0)
                state = {"kl_coef": controller.kl_coef, "generator": _to_text(generator)}
                kept = {"run": run, "state": state}
                save_run(checkpoint, agent, optimizer, done, records, kept)
    return records


def _set_rates(optimizer: torch.optim.Optimizer, settings: PPOSettings, done: float) -> None:
    """Set both learning rates for the share of the run that is done; checkpoints hold the first."""
    left = 1.0 - done if settings.decays else 1.0
    for group, rate in zip(
        optimizer.param_groups, (settings.policy_lr, settings.value_lr), strict=True
    ):
        group["lr"] = rate * left


def _resume(
    folder: Path | str,
    agent: ActorCritic,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    controller: FixedKLController | AdaptiveKLController,
    run: dict,
) -> tuple[int, list[dict]]:
    """Put everything back to where the newest checkpoint was; return its iteration and records."""
    _, info, path = read_run(folder)
    refuse_difference(info["settings"]["run"], run, "", path)  # before anything is changed
    found = load_run(folder, agent, optimizer)
    controller.kl_coef = found.settings["state"]["kl_coef"]
    text = found.settings["state"]["generator"]
    generator.set_state(torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8))
    return found.step, found.records


def _to_text(generator: torch.Generator) -> str:
    return bytes(generator.get_state().tolist()).hex()


def _kept(checkpoint: Path | str | None) -> str:
    paths = checkpoints_in(checkpoint) if checkpoint is not None else []
    if paths:
        return f"The checkpoint {paths[-1]} is good: mend the cause and run again to go on from it"
    return "There is no checkpoint: pass checkpoint=PATH to lose nothing next time"
