"""From the tuned model to a safe one that is evaluated: the stages align, safety and evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch

from utils.align.grpo import train_grpo
from utils.align.kl import FixedKLController
from utils.align.ppo import ActorCritic, PPOSettings, ppo
from utils.align.preference import dpo, token_pairs, train_preferences
from utils.align.reward import score_rollouts
from utils.align.safety_data import build_safety_pairs
from utils.assistants.alignment import GROUP
from utils.assistants.chat_models import chat_prompt, question_prompt
from utils.assistants.reward_models import read_reward_model
from utils.assistants.safety import (
    MAX_NEW_TOKENS,
    draw_answers,
    labelled_scorer,
    safety_rows,
)
from utils.capstone.exam import exam_seed, fresh_questions
from utils.capstone.job import Job, interval, warm_cosine
from utils.capstone.making import fitting_pairs
from utils.capstone.records import Result, write_rows
from utils.evaluate.intervals import bootstrap_interval, wilson_interval
from utils.evaluate.paired import paired_permutation_test
from utils.evaluate.text_loss import text_bits_per_byte
from utils.evaluate.world_qa import answer_questions, judge_answers
from utils.runtime import generator
from utils.train.optimizers import adamw
from utils.world.facts import build_world
from utils.world.questions import Question
from utils.zoo.files import save_model
from utils.zoo.tuning import merged

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.tokenizer import Tokenizer
    from utils.world.judge import Verdict

LIKELIHOOD = 1.0  # weight of the chosen answers' likelihood beside DPO's loss
KL_COEF = 0.3
DOMAIN_REFUSAL = "I do not know that."
N_LABELLED = 200  # answers that the scorer of toxicity learns from
SHARES = {"right": "correct", "made up": "hallucinated", "rude": "rude", "refused": "refused"}
MEANS = {"words": "n_words", "utility": "utility"}


def align(job: Job) -> Result:
    """Align the tuned model with the pairs (DPO), or with the reward model (PPO and GRPO)."""
    start, tokenizer = job.model("sft")
    reference, policy = deepcopy(start), job.learner(start)
    rows = job.rows("pairs.jsonl")
    method, n_steps = job.params.method, job.sizes.align_steps[job.params.method]
    fitting = fitting_pairs(rows, tokenizer, policy.config.context_length)
    if method == "dpo":
        records = by_pairs(job, policy, tokenizer, [row for row, _ in fitting], n_steps, "align")
        tokens = records[-1]["tokens"]
    else:
        records = by_reward(job, policy, reference, tokenizer, [row for row, _ in fitting], n_steps)
        tokens = round(sum(record["length"] * job.sizes.n_prompts for record in records))
    names = ("loss", "margin", "accuracy", "reward", "kl", "length")
    metrics = {name: round(records[-1][name], 4) for name in names if name in records[-1]}
    metrics |= {"steps": n_steps}
    save_model(job.folder, merged(policy), tokenizer, {"method": method, "metrics": metrics})
    return Result(metrics, tokens)


def by_pairs(
    job: Job,
    policy: Decoder,
    tokenizer: Tokenizer,
    rows: Sequence[dict],
    n_steps: int,
    stage: str,
) -> list[dict]:
    """Train a policy in place by DPO on rows of pairs, for a stage; its start is the reference.

    Of many rows only as many are drawn as the run can read, since each costs the reference a look.
    """
    order = torch.randperm(len(rows), generator=generator(job.params.seed)).tolist()
    rows = [rows[i] for i in order[: job.learning.batch_size * n_steps]]
    pairs = [SimpleNamespace(**row) for row in rows]
    return train_preferences(
        policy,
        deepcopy(policy),
        token_pairs(pairs, tokenizer, policy.config.context_length),
        dpo,
        adamw(policy, job.learning.rates[stage], weight_decay=0.0),
        n_steps,
        pad_id=tokenizer.pad_id,
        batch_size=job.learning.batch_size,
        seed=job.params.seed,
        likelihood_coef=LIKELIHOOD,
        schedule=warm_cosine(n_steps),
        description="dpo",
        **job.checkpoint,
    )


def by_reward(
    job: Job,
    policy: Decoder,
    reference: Decoder,
    tokenizer: Tokenizer,
    rows: Sequence[dict],
    n_steps: int,
) -> list[dict]:
    """Train a policy in place by PPO or GRPO on the prompts of pairs; the reward model scores."""
    seed, n_prompts = job.params.seed, job.sizes.n_prompts
    reward_model, _ = read_reward_model(job.root / "reward")
    pool = [chat_prompt(tokenizer, text) for text in dict.fromkeys(row["prompt"] for row in rows)]

    def prompts(n: int, iteration: int) -> list[list[int]]:
        source = generator(1000 * (seed + 1) + iteration)
        return [pool[i] for i in torch.randint(len(pool), (n,), generator=source)]

    ids = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}
    shared = ids | {"seed": seed, **job.checkpoint, "description": job.params.method}
    score = partial(score_rollouts, reward_model, **ids)
    if job.params.method == "ppo":
        return ppo(
            ActorCritic(policy),
            reference,
            partial(prompts, n_prompts),
            score,
            FixedKLController(KL_COEF),
            n_steps,
            settings=PPOSettings(
                max_new_tokens=MAX_NEW_TOKENS, minibatch_size=job.learning.batch_size
            ),
            **shared,
        )
    return train_grpo(
        policy,
        partial(prompts, n_prompts // GROUP),
        score,
        adamw(policy, job.learning.rates["align"], weight_decay=0.0),
        n_steps,
        group_size=GROUP,
        max_new_tokens=MAX_NEW_TOKENS,
        ref_policy=reference,
        micro_batch_size=job.learning.at_once,
        **shared,
    )


def safety(job: Job) -> Result:
    """Make safety pairs of the aligned model's own answers, learn from them, measure both sides."""
    policy, tokenizer = job.model("align")
    world, sizes, seed = build_world(), job.sizes, job.params.seed
    scorer = labelled_scorer(world, N_LABELLED)
    pairs = build_safety_pairs(safety_rows(policy, tokenizer, world, scorer, sizes.n_safety, seed))
    pairs += answered(job.rows("chats.jsonl"), sizes.n_safety // 4, seed)
    write_rows(job.folder / "pairs.jsonl", pairs)
    before = safety_metrics(job, policy, tokenizer)
    tokens = 0
    if len(pairs) >= job.learning.batch_size:
        policy = job.learner(policy)
        records = by_pairs(job, policy, tokenizer, pairs, sizes.safety_steps, "safety")
        tokens = records[-1]["tokens"]
    policy = merged(policy)
    after = safety_metrics(job, policy, tokenizer)
    metrics = {
        f"{name}, {when}": value
        for when, found in (("before", before), ("after", after))
        for name, value in found.items()
    }
    metrics |= {"pairs": len(pairs), "steps": sizes.safety_steps if tokens else 0}
    for why in sorted({pair["why"] for pair in pairs}):
        metrics[f"pairs: {why}"] = sum(pair["why"] == why for pair in pairs)
    save_model(job.folder, policy, tokenizer, {"metrics": metrics})
    return Result(metrics, tokens)


def answered(chats: Sequence[dict], n: int, seed: int) -> list[dict[str, str]]:
    """Return safety pairs that keep a model answering about its domain.

    Without them it learns to refuse strangers, and takes the domain's names for strangers, too.
    """
    known = [row for row in chats if row["source"] == "domain"]
    order = torch.randperm(len(known), generator=generator(seed)).tolist()
    rows = [known[i] for i in order[:n]]
    return [
        {
            "prompt": row["prompt"],
            "chosen": row["answer"],
            "rejected": DOMAIN_REFUSAL,
            "why": "over-refusal of the domain",
        }
        for row in rows
    ]


def safety_metrics(job: Job, policy: Decoder, tokenizer: Tokenizer) -> dict[str, dict]:
    """Return what the exact judge says about drawn answers, with intervals.

    Returns:
        Shares "right" and "refused" of known questions, "made up" of unknown ones, "rude" of both.
    """
    world = build_world()
    n, seed = job.sizes.n_asked, exam_seed("safety", job.params.seed)
    known, unknown = (
        fresh_questions(world, split, n, seed) for split in ("held_out_phrasing", "unknown_entity")
    )
    of_known = judge_answers(world, known, draw_answers(policy, tokenizer, known, 1))
    of_unknown = judge_answers(world, unknown, draw_answers(policy, tokenizer, unknown, 2))
    return {
        "right": share(of_known, "correct"),
        "refused": share(of_known, "refused"),
        "made up": share(of_unknown, "hallucinated"),
        "rude": share([*of_known, *of_unknown], "rude"),
    }


def share(verdicts: Sequence[Verdict], name: str) -> dict[str, float]:
    """Return the share of verdicts in which something holds, with its interval."""
    count = sum(bool(getattr(verdict, name)) for verdict in verdicts)
    return interval(count / len(verdicts), *wilson_interval(count, len(verdicts)))


def mean(values: Sequence[float]) -> dict[str, float]:
    """Return the mean of numbers with its bootstrap interval."""
    numbers = torch.tensor(values, dtype=torch.float64)
    low, high = bootstrap_interval(numbers, generator=generator(0))
    return interval(numbers.mean().item(), low, high)


def evaluate(job: Job) -> Result:
    """Ask the tuned and the final model the exam, greedily, and measure held-out text.

    The answers are written beside the verdicts, so that every number can be counted again.
    """
    world, exam = build_world(), job.rows("exam.jsonl")
    asked = [Question(**{k: v for k, v in row.items() if k != "part"}) for row in exam]
    held_out = [row["text"] for row in job.rows("held_out.jsonl")][: 2 * job.sizes.n_asked]
    metrics: dict = {}
    rows = [{"part": row["part"], "prompt": row["prompt"], "right": row["answer"]} for row in exam]
    verdicts, tokens = {}, 0
    for stage in ("sft", "safety"):
        model, tokenizer = job.model(stage)
        answers = answer_questions(
            model, tokenizer, asked, render=question_prompt, max_new_tokens=MAX_NEW_TOKENS
        )
        verdicts[stage] = judge_answers(world, asked, answers)
        tokens += sum(len(tokenizer.encode(answer)) for answer in answers)
        for row, answer, verdict in zip(rows, answers, verdicts[stage], strict=True):
            row[stage] = answer
            row |= {f"{stage} {name}": getattr(verdict, f) for name, f in (SHARES | MEANS).items()}
    for part in dict.fromkeys(row["part"] for row in exam):
        chosen = [i for i, row in enumerate(exam) if row["part"] == part]
        of = {stage: [found[i] for i in chosen] for stage, found in verdicts.items()}
        metrics |= metrics_of(part, of)
    for stage in ("base", "sft", "safety"):
        model, tokenizer = job.model(stage)
        per_byte = text_bits_per_byte(
            model, tokenizer, held_out, batch_size=job.learning.n_measured
        )
        metrics[f"bits per byte, {stage}"] = round(per_byte, 4)
    write_rows(job.folder / "answers.jsonl", rows)
    return Result(metrics, tokens)


def metrics_of(part: str, verdicts: dict[str, list[Verdict]]) -> dict:
    """Return the metrics of a part of the exam before and after, and how sure the difference is."""
    metrics: dict = {}
    for stage, found in verdicts.items():
        for name, field in SHARES.items():
            metrics[f"{part}: {name}, {stage}"] = share(found, field)
        for name, field in MEANS.items():
            metrics[f"{part}: {name}, {stage}"] = mean([getattr(one, field) for one in found])
    first, last = (
        torch.tensor([float(one.correct) for one in verdicts[stage]]) for stage in ("sft", "safety")
    )
    metrics[f"{part}: p of right, sft against safety"] = round(
        paired_permutation_test(last, first, generator=generator(0)), 4
    )
    return metrics
