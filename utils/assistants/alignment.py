"""The assistant aligned with a preference, into a folder: what `course align` does.

The preference is given by pairs that differ in one thing. DPO learns from the pairs themselves; PPO
and GRPO learn from a reward model that was trained on them. What decides a run is written down
before it begins, so that a run which was killed goes on, and never as another one. Gold utility, on
entities that no preference was ever asked about, is measured on the way and never trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from utils.align.grpo import train_grpo
from utils.align.kl import FixedKLController
from utils.align.ppo import ActorCritic, PPOSettings, ppo
from utils.align.preference import dpo, token_pairs, train_preferences
from utils.align.reward import RewardModel, score_rollouts
from utils.assistants.chat_models import question_prompt
from utils.assistants.reward_models import (
    REWARD,
    load_reward_model,
    read_reward_model,
    save_reward_model,
    tune_reward_model,
)
from utils.assistants.safety import MAX_NEW_TOKENS, draw_answers
from utils.evaluate.world_qa import judge_answers, share
from utils.runtime import generator
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.world.facts import World
from utils.world.preferences import DIFFERENCES, is_held_out, preference_pairs
from utils.world.questions import Question, questions
from utils.zoo.files import RECIPE

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.tokenizer import Tokenizer

METHODS = ("dpo", "ppo", "grpo")
PREFERENCES = {"brevity": ("length",), "politeness": ("tone",), "all": DIFFERENCES}
STEPS = {"dpo": 100, "ppo": 40, "grpo": 30}  # updates of DPO, iterations of the others
REAL = "smollm2"
REAL_STEPS = {"dpo": 40, "ppo": 20, "grpo": 20}  # about half an hour on two cores
KL_PRICES = {"base": 0.3, REAL: 0.03}  # a reward model's points are wider than right or wrong
CHECKPOINTS, REWARD_FOLDER = "checkpoints", "reward"
BATCH = 16  # pairs in an update of DPO
N_PROMPTS, GROUP = 64, 8  # responses of an iteration; of a group in GRPO
N_MEASURED = 64
DRAW_SEED = 9
MEASURES = {"gold": "utility", "words": "n_words", "rude": "rude", "right": "correct"}


@dataclass(frozen=True)
class Alignment:
    """All that decides an alignment.

    Args:
        model: "base": the course's assistant, tuned from its base model; or "smollm2".
        method: "dpo", "ppo" or "grpo".
        prefer: "brevity", "politeness", or "all" of the world's differences; "brevity" alone for a
            real model, whose answers nobody judges by anything else.
        n_steps: updates of DPO, iterations of PPO and GRPO; None for those of `STEPS`, or of
            `REAL_STEPS`.
        kl_coef: price of a nat of divergence in PPO, in points of the reward; None for that of
            `KL_PRICES`.
        likelihood_coef: weight of the chosen answers' likelihood beside DPO.
        checkpoint_every: updates or iterations.
    """

    model: str = "base"
    method: str = "dpo"
    prefer: str = "brevity"
    n_steps: int | None = None
    kl_coef: float | None = None
    likelihood_coef: float = 1.0
    seed: int = 0
    checkpoint_every: int = 5

    def __post_init__(self):
        for name, known in (("method", METHODS), ("prefer", tuple(PREFERENCES))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if self.model not in KL_PRICES:
            raise ValueError(
                f"model must be 'base', the course's assistant, or {REAL!r}, got {self.model!r}: "
                "other models have no judge of their answers here"
            )
        if self.model == REAL and self.prefer != "brevity":
            raise ValueError(
                f"prefer must be 'brevity' for {REAL}, got {self.prefer!r}: what else there is to "
                "prefer is told apart in the course's world alone, --model base"
            )
        if self.n_steps is not None and self.n_steps < 1:
            raise ValueError(f"n_steps must be at least 1, got {self.n_steps}")

    @property
    def steps(self) -> int:
        """The updates or iterations that the run has."""
        return self.n_steps or (REAL_STEPS if self.model == REAL else STEPS)[self.method]

    @property
    def kl_price(self) -> float:
        """The price of a nat that the run has."""
        return KL_PRICES[self.model] if self.kl_coef is None else self.kl_coef


def exam(world: World, n: int = N_MEASURED, seed: int = 7) -> list[Question]:
    """Return questions about entities that are kept out of all preference training."""
    asked = questions(world, "trained", 12 * n, seed)
    return [question for question in asked if is_held_out(world, question.entity)][:n]


def gold_of(
    world: World, tokenizer: Tokenizer, asked: Sequence[Question]
) -> Callable[[Decoder], dict[str, float]]:
    """Return the function that measures a policy's answers to some questions by the exact judge."""

    def measure(policy: Decoder) -> dict[str, float]:
        verdicts = judge_answers(world, asked, draw_answers(policy, tokenizer, asked, DRAW_SEED))
        return {name: share(verdicts, field) for name, field in MEASURES.items()}

    return measure


def prompts_of(
    world: World, tokenizer: Tokenizer, n: int, seed: int
) -> Callable[[int], list[list[int]]]:
    """Return the prompts of an iteration as a function of its number."""
    asked = questions(world, "trained", 1500, 100 + seed)
    pool = [question_prompt(tokenizer, q) for q in asked if not is_held_out(world, q.entity)]

    def prompts(iteration: int) -> list[list[int]]:
        source = generator(1000 * seed + iteration)
        return [pool[i] for i in torch.randint(len(pool), (n,), generator=source)]

    return prompts


def reward_model_of(
    settings: Alignment, assistant: Decoder, tokenizer: Tokenizer, world: World, folder: Path
) -> RewardModel:
    """Return the reward model of a preference: the shipped one, or one trained into the folder."""
    if settings.prefer == "all":
        return load_reward_model()[0]
    place = folder / REWARD_FOLDER
    if not (place / RECIPE).is_file():
        recipe = replace(REWARD, differ=PREFERENCES[settings.prefer], seed=settings.seed)
        model, records = tune_reward_model(assistant, tokenizer, world, recipe)
        save_reward_model(place, model, tokenizer, {"loss": records[-1]["loss"]})
    return read_reward_model(place)[0]


def align(
    settings: Alignment,
    assistant: Decoder,
    tokenizer: Tokenizer,
    world: World,
    folder: Path,
    measure: Callable[[Decoder], dict[str, float]],
) -> tuple[Decoder, list[dict]]:
    """Return the assistant aligned with a preference, and the records of its training.

    Args:
        assistant: is left as it is, and is the reference.
        folder: gets the checkpoints, and the reward model that was trained for the run; the newest
            checkpoint is gone on from.
        measure: of a policy, for the records alone; such as `gold_of` gives.
    """
    policy = deepcopy(assistant)
    shared = {
        "pad_id": tokenizer.pad_id,
        "seed": settings.seed,
        "measure": measure,
        "measure_every": max(1, settings.steps // 8),
        "checkpoint": folder / CHECKPOINTS,
        "checkpoint_every": settings.checkpoint_every,
        "description": settings.method,
    }
    if settings.method == "dpo":
        differ = PREFERENCES[settings.prefer]
        drawn = preference_pairs(world, BATCH * settings.steps, settings.seed, differ)
        pairs = token_pairs(drawn, tokenizer, policy.config.context_length)
        records = train_preferences(
            policy,
            assistant,
            pairs,
            dpo,
            adamw(policy, 3e-4, weight_decay=0.0),
            settings.steps,
            batch_size=BATCH,
            likelihood_coef=settings.likelihood_coef,
            schedule=cosine(settings.steps, warmup_steps=min(10, settings.steps)),
            **shared,
        )
        return policy.eval(), records
    reward_model = reward_model_of(settings, assistant, tokenizer, world, folder)
    ids = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}
    reward_fn = partial(score_rollouts, reward_model, **ids)
    shared["end_id"] = tokenizer.end_id
    if settings.method == "ppo":
        records = ppo(
            ActorCritic(policy),
            assistant,
            prompts_of(world, tokenizer, N_PROMPTS, settings.seed),
            reward_fn,
            FixedKLController(settings.kl_price),
            settings.steps,
            settings=PPOSettings(max_new_tokens=MAX_NEW_TOKENS),
            **shared,
        )
        return policy.eval(), records
    records = train_grpo(
        policy,
        prompts_of(world, tokenizer, N_PROMPTS // GROUP, settings.seed),
        reward_fn,
        adamw(policy, 3e-4, weight_decay=0.0),
        settings.steps,
        group_size=GROUP,
        max_new_tokens=MAX_NEW_TOKENS,
        ref_policy=assistant,
        **shared,
    )
    return policy.eval(), records
