"""Unit 12 on the real model: an answer in the form that was asked for, by GRPO and a rule.

The model is asked for sums and to reply in one form. A rule reads whether the reply has the form
and `verify_answer` whether its number is right; each is half of the reward. Answers are drawn at
temperature 0.7, in training and in measuring: at 1 hardly any has the form, and without a reward
there is nothing to learn from. Measured is on other numbers.
"""

from __future__ import annotations

import random
import re
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor

from utils.align.grpo import train_grpo
from utils.align.preference import rows_of_step
from utils.align.rollouts import Rollouts, draw_rollouts
from utils.align.verify import verify_answer
from utils.evaluate.intervals import wilson_interval
from utils.evaluate.paired import paired_permutation_test
from utils.experiments.registry import Run, experiment
from utils.experiments.unit12 import BATCH, divergence
from utils.model.lora import add_lora, merge_lora
from utils.runtime import generator
from utils.train.optimizers import adamw
from utils.zoo.tuning import load_model

N_TRAINING, N_TEST, N_NEW, N_KL = 32, 48, 12, 12
TEMPERATURE = 0.7
N_ASKED, GROUP, MINIBATCH = 4, 8, 16  # prompts and draws of an iteration, draws of an update
RATE, RANK, ALPHA = 5e-4, 16, 32.0  # those of 12_brevity
FORM = re.compile(r"The answer is -?[0-9]+\.?")
ASK = "What is {}? Reply with one line that begins with: The answer is"


class Sum(NamedTuple):
    """A question with a number for an answer."""

    text: str
    answer: str


def sums(seed: int = 0) -> list[Sum]:
    """Return sums, differences and products of small numbers in a fixed random order."""
    found = []
    for a in range(2, 31):
        for b in range(2, 31):
            found.append(Sum(ASK.format(f"{a} plus {b}"), str(a + b)))
            found.append(Sum(ASK.format(f"{a + b} minus {b}"), str(a)))
            if a <= 10 and b <= 10:
                found.append(Sum(ASK.format(f"{a} times {b}"), str(a * b)))
    random.Random(seed).shuffle(found)
    return found


def has_form(reply: str) -> bool:
    """Return whether a reply is what was asked for: one line with a number, and nothing else.

    >>> has_form("The answer is 12."), has_form("The answer is 12, I think.")
    (True, False)
    """
    return FORM.fullmatch(reply.strip()) is not None


def scores_of(replies: list[str], ended: list[bool], answers: list[str]) -> dict[str, Tensor]:
    """Return for each reply 1 or 0: has it the form, and is its last number right?

    A reply that was cut at the limit has no form, since it did not end there.
    """
    form = [float(has_form(r) and e) for r, e in zip(replies, ended, strict=True)]
    right = [verify_answer(r, a) for r, a in zip(replies, answers, strict=True)]
    return {"form": torch.tensor(form), "right": torch.tensor(right)}


def prompt_of(question: Sum, tokenizer) -> list[int]:
    """Return the token ids that ask a question in the model's own template."""
    return tokenizer.chat([{"role": "user", "content": question.text}], add_prompt=True).token_ids


def measured(model, tokenizer, asked: list[Sum], n_new: int) -> tuple[dict[str, Tensor], list[str]]:
    """Return the scores of one drawn answer to each question, and the answers."""
    replies, ended, draws = [], [], generator(1)
    for start in range(0, len(asked), BATCH):
        part = draw_rollouts(
            model,
            [prompt_of(q, tokenizer) for q in asked[start : start + BATCH]],
            n_new,
            pad_id=tokenizer.pad_id,
            end_id=tokenizer.end_id,
            temperature=TEMPERATURE,
            generator=draws,
        )
        replies += [tokenizer.decode(r, skip_special=True).strip() for r in part.responses]
        ended += part.ended.tolist()
    return scores_of(replies, ended, [q.answer for q in asked]), replies


def share_of(values: Tensor) -> dict:
    """Return the share of ones, and its 95 % interval."""
    n = int(values.sum())
    return {"share": n / len(values), "interval": list(wilson_interval(n, len(values)))}


def thirty_points_more(results: list[dict]) -> None:
    """The bar: thirty points more of the answers to new questions have the form, p < .05."""
    for result in results:
        before, after = (result["test"]["form"][when]["share"] for when in ("before", "after"))
        assert after - before >= 0.3, (before, after)
        assert result["test"]["form"]["p"] < 0.05, result["test"]["form"]["p"]


@experiment(
    "12_format",
    "SmolLM2 trained by GRPO to reply in the form that is asked for: share of replies that have it",
    n_steps=8,
    minutes=10,
    holds=thirty_points_more,
)
def in_form(run: Run) -> dict:
    """Draw, reward by rules, train adapters, and measure on other numbers."""
    n_new, n_kl, group = N_NEW, N_KL, GROUP
    asked = sums()
    training, test = asked[:N_TRAINING], asked[N_TRAINING : N_TRAINING + N_TEST]
    if run.is_smoke:
        training, test, n_new, n_kl, group = training[:N_ASKED], test[:2], 6, 2, 2
    reference, tokenizer = load_model("smollm2")
    before, replies_before = measured(reference, tokenizer, test, n_new)
    policy = deepcopy(reference)
    with torch.random.fork_rng():
        torch.manual_seed(run.seed)
        policy = add_lora(policy, RANK, ALPHA)
    learning = [weight for weight in policy.parameters() if weight.requires_grad]
    prompts = [prompt_of(q, tokenizer) for q in training]
    answer_to = {tuple(p): q.answer for p, q in zip(prompts, training, strict=True)}

    def reward(rollouts: Rollouts) -> Tensor:
        replies = [tokenizer.decode(r, skip_special=True) for r in rollouts.responses]
        answers = [answer_to[tuple(prompt)] for prompt in rollouts.prompts]
        found = scores_of(replies, rollouts.ended.tolist(), answers)
        return (found["form"] + found["right"]) / 2

    records = train_grpo(
        policy,
        lambda step: [prompts[k] for k in rows_of_step(step, len(prompts), N_ASKED, run.seed)],
        reward,
        adamw(policy, RATE, weight_decay=0.0),
        run.n_steps,
        group_size=group,
        max_new_tokens=n_new,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id,
        temperature=TEMPERATURE,
        n_epochs=1,
        minibatch_size=MINIBATCH,
        seed=run.seed,
        checkpoint=run.folder,
        checkpoint_every=1 if run.is_smoke else 2,
        description=f"GRPO, seed {run.seed}",
    )
    policy = merge_lora(policy).eval()
    after, replies_after = measured(policy, tokenizer, test, n_new)
    names = ("reward", "entropy", "length", "flat")
    return {
        "losses": [record["loss"] for record in records],  # of the policy: no measure of success
        "records": {name: [record[name] for record in records] for name in names},
        "trainable": sum(weight.numel() for weight in learning),
        "KL": divergence(policy, reference, tokenizer, test[:n_kl], n_new),
        "asked": {"training": len(training), "test": len(test)},
        "test": {
            name: {"before": share_of(before[name]), "after": share_of(after[name])}
            | {"p": paired_permutation_test(after[name], before[name], generator=generator(0))}
            for name in ("form", "right")
        },
        "examples": [
            [q.text, *both]
            for q, *both in zip(test[:8], replies_before[:8], replies_after[:8], strict=True)
        ],
    }
