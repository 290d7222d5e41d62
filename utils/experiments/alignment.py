"""The real model aligned with brevity, into a folder: what `course align --model smollm2` does.

The sixty short questions have answers that a word decides, so no reward model is needed. DPO learns
from short and long right answers of the model's own; PPO and GRPO are paid for an answer that is
right, and more the shorter it is. Measured is on forty other questions. Adapters learn, and are
merged at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from utils.align.grpo import train_grpo
from utils.align.kl import FixedKLController
from utils.align.ppo import ActorCritic, PPOSettings, ppo
from utils.align.preference import dpo, train_preferences
from utils.align.rollouts import Rollouts
from utils.assistants.alignment import CHECKPOINTS, Alignment
from utils.assistants.short_questions import TRAINING, ShortQuestion, is_right
from utils.experiments.unit06 import answered
from utils.experiments.unit12 import ALPHA, N_DRAWS, N_NEW, RANK, RATE, pairs_of
from utils.model.lora import add_lora, merge_lora
from utils.runtime import generator
from utils.train.optimizers import adamw
from utils.train.schedules import cosine

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.tokenizer import Tokenizer

BATCH = 4  # pairs in an update of DPO
N_PROMPTS, GROUP = 8, 4  # questions of an iteration; responses to each
MINIBATCH = 8  # responses computed at a time


def measure_of(
    tokenizer: Tokenizer, asked: Sequence[ShortQuestion]
) -> Callable[[Decoder], dict[str, float]]:
    """Return the function that counts words and right answers of a policy, asked greedily."""

    def measure(policy: Decoder) -> dict[str, float]:
        answers = answered(policy, tokenizer, [question.text for question in asked], N_NEW)
        pairs = list(zip(asked, answers, strict=True))
        return {
            "words": sum(len(answer.split()) for _, answer in pairs) / len(pairs),
            "right": sum(is_right(question, answer) for question, answer in pairs) / len(pairs),
        }

    return measure


def brevity_reward(
    asked: dict[tuple[int, ...], ShortQuestion], tokenizer: Tokenizer, limit: int
) -> Callable[[Rollouts], Tensor]:
    """Return the reward of rollouts: nothing for a wrong answer, and less for a longer right one.

    A right answer of n tokens is worth 1 - n / (limit + 1); one that was cut at the limit nothing.

    Args:
        asked: the question of each prompt, by its token ids.
        limit: most tokens of a response.
    """

    def reward(rollouts: Rollouts) -> Tensor:
        values = []
        for prompt, response, ended in zip(
            rollouts.prompts, rollouts.responses, rollouts.ended.tolist(), strict=True
        ):
            text = tokenizer.decode(response, skip_special=True)
            is_paid = ended and is_right(asked[tuple(prompt)], text)
            values.append((1 - len(response) / (limit + 1)) * is_paid)
        return torch.tensor(values)

    return reward


def align_real(
    settings: Alignment,
    reference: Decoder,
    tokenizer: Tokenizer,
    folder: Path,
    measure: Callable[[Decoder], dict[str, float]],
) -> tuple[Decoder, list[dict]]:
    """Return the model aligned with brevity, its adapters merged, and the records of its training.

    Args:
        reference: the model as it is; it does not change.
        folder: gets the checkpoints; the newest is gone on from.
        measure: of a policy, for the records alone.
    """
    policy = deepcopy(reference)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        policy = add_lora(policy, RANK, ALPHA)
    shared = {
        "pad_id": tokenizer.pad_id,
        "seed": settings.seed,
        "measure": measure,
        "measure_every": max(1, settings.steps // 4),
        "checkpoint": folder / CHECKPOINTS,
        "checkpoint_every": settings.checkpoint_every,
        "description": settings.method,
    }
    if settings.method == "dpo":
        pairs = pairs_of(reference, tokenizer, list(TRAINING), N_DRAWS, N_NEW, settings.seed)
        if len(pairs) < BATCH:
            raise ValueError(
                f"the model gave {len(pairs)} pairs of a short and a long right answer, and an "
                f"update takes {BATCH}: try another --seed, or --method grpo"
            )
        records = train_preferences(
            policy,
            reference,
            pairs,
            dpo,
            adamw(policy, RATE, weight_decay=0.0),
            settings.steps,
            batch_size=BATCH,
            likelihood_coef=settings.likelihood_coef,
            schedule=cosine(settings.steps, warmup_steps=min(4, settings.steps)),
            **shared,
        )
        return merge_lora(policy).eval(), records
    ids = [
        tokenizer.chat([{"role": "user", "content": q.text}], add_prompt=True).token_ids
        for q in TRAINING
    ]
    reward_fn = brevity_reward(
        {tuple(prompt): q for prompt, q in zip(ids, TRAINING, strict=True)}, tokenizer, N_NEW
    )
    shared["end_id"] = tokenizer.end_id

    def prompts(n: int) -> Callable[[int], list[list[int]]]:
        """Return the prompts of an iteration as a function of its number."""

        def of_iteration(iteration: int) -> list[list[int]]:
            source = generator(1000 * settings.seed + iteration)
            return [list(ids[i]) for i in torch.randperm(len(ids), generator=source)[:n]]

        return of_iteration

    if settings.method == "ppo":
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            agent = ActorCritic(policy)
        records = ppo(
            agent,
            reference,
            prompts(N_PROMPTS * GROUP),
            reward_fn,
            FixedKLController(settings.kl_price),
            settings.steps,
            settings=PPOSettings(
                max_new_tokens=N_NEW, policy_lr=RATE, minibatch_size=MINIBATCH, cut_reward=None
            ),
            **shared,
        )
    else:
        records = train_grpo(
            policy,
            prompts(N_PROMPTS),
            reward_fn,
            adamw(policy, RATE, weight_decay=0.0),
            settings.steps,
            group_size=GROUP,
            max_new_tokens=N_NEW,
            ref_policy=reference,
            minibatch_size=MINIBATCH,
            **shared,
        )
    return merge_lora(policy).eval(), records
