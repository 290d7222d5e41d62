"""Unit 12 on the real model: fewer words, and still right, by DPO on the model's own answers.

To sixty short questions the model draws answers of its own. Of those that are right the shortest is
preferred to the longest; what is false or alone teaches nothing. Measured is on forty others.
"""

from __future__ import annotations

from copy import deepcopy

import torch

from utils.align.preference import TokenPair, dpo, train_preferences
from utils.align.rollouts import draw_rollouts, response_logprobs
from utils.assistants.short_questions import TEST, TRAINING, ShortQuestion, is_right
from utils.evaluate.paired import paired_permutation_test
from utils.experiments.registry import Run, experiment
from utils.experiments.unit06 import answered
from utils.model.generate import evaluating
from utils.model.lora import add_lora, merge_lora
from utils.runtime import generator
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.zoo.tuning import load_model

N_DRAWS, N_NEW, BATCH = 6, 64, 16
LEAST_RATIO = 1.5  # words of the longer right answer over those of the shorter
RATE, RANK, ALPHA = 5e-4, 16, 32.0


def draw(model, tokenizer, asked: list[ShortQuestion], n_new: int, seed: int):
    """Return rollouts of one answer to each question, in parts."""
    prompts = [
        tokenizer.chat([{"role": "user", "content": q.text}], add_prompt=True).token_ids
        for q in asked
    ]
    draws = generator(seed)
    for first in range(0, len(prompts), BATCH):
        yield draw_rollouts(
            model,
            prompts[first : first + BATCH],
            n_new,
            pad_id=tokenizer.pad_id,
            end_id=tokenizer.end_id,
            generator=draws,
        )


def pairs_of(model, tokenizer, asked, n_draws: int, n_new: int, seed: int) -> list[TokenPair]:
    """Return pairs of a short and a long answer of the model's own, both right."""
    drawn: dict[str, list] = {q.text: [] for q in asked}
    prompts = {}
    for k in range(n_draws):
        number = 0
        for part in draw(model, tokenizer, asked, n_new, 100 * seed + k):
            for prompt, response in zip(part.prompts, part.responses, strict=True):
                text = tokenizer.decode(response, skip_special=True).strip()
                question = asked[number]
                prompts[question.text] = prompt
                if is_right(question, text):
                    drawn[question.text].append((len(text.split()), response))
                number += 1
    pairs = []
    for text, right in drawn.items():
        right.sort(key=lambda one: one[0])
        if len(right) > 1 and right[-1][0] >= LEAST_RATIO * max(right[0][0], 1):
            ids = [
                response + [tokenizer.end_id] * (len(response) < n_new)
                for response in (right[0][1], right[-1][1])
            ]
            pairs.append(TokenPair(prompts[text], *ids))
    return pairs


def divergence(model, reference, tokenizer, asked, n_new: int) -> float:
    """Return the KL of a model from its reference over answers that the model draws, in nats."""
    sums = []
    for part in draw(model, tokenizer, asked, n_new, seed=9):
        batch = (part.token_ids, part.targets, part.response_mask)
        with evaluating(reference):
            sums.append((part.logprobs - response_logprobs(reference, *batch)).sum(1))
    return torch.cat(sums).mean().item()


def shorter_and_right(results: list[dict]) -> None:
    """The bar: two fifths of the words go, and at most five points of right answers."""
    for result in results:
        before, after = result["test"]["before"], result["test"]["after"]
        assert after["words"] <= 0.6 * before["words"], (before, after)
        assert after["right"] >= before["right"] - 0.05, (before, after)


@experiment(
    "12_brevity",
    "SmolLM2 aligned by DPO on short and long right answers of its own: words, and right answers",
    n_steps=40,
    minutes=25,
    holds=shorter_and_right,
    seeds=(0, 1),
)
def brevity(run: Run) -> dict:
    """Draw, pair, align with adapters, and measure on other questions."""
    training, test, n_draws, n_new = list(TRAINING), list(TEST), N_DRAWS, N_NEW
    if run.is_smoke:
        training, test, n_draws, n_new = training[:4], test[:2], 2, 12
    reference, tokenizer = load_model("smollm2")
    pairs = pairs_of(reference, tokenizer, training, n_draws, n_new, run.seed)
    if run.is_smoke:  # so few draws may hold no pair: two answers of any kind show that it works
        ask = tokenizer.chat([{"role": "user", "content": "Hi"}], add_prompt=True).token_ids
        texts = ("Hi.", "Hello there, my friend.")
        pairs += [TokenPair(ask, *([*tokenizer.encode(t), tokenizer.end_id] for t in texts))] * 2
    asked = {"training": training, "test": test}
    answers = {
        name: [answered(reference, tokenizer, [q.text for q in some], n_new)]
        for name, some in asked.items()
    }
    policy = deepcopy(reference)
    with torch.random.fork_rng():
        torch.manual_seed(run.seed)
        policy = add_lora(policy, RANK, ALPHA)
    learning = [weight for weight in policy.parameters() if weight.requires_grad]
    records = train_preferences(
        policy,
        reference,
        pairs,
        dpo,
        adamw(policy, RATE, weight_decay=0.0),
        run.n_steps,
        pad_id=tokenizer.pad_id,
        batch_size=4,
        seed=run.seed,
        likelihood_coef=0.5,
        schedule=cosine(run.n_steps, warmup_steps=min(4, run.n_steps)),
        checkpoint=run.folder,
        checkpoint_every=1 if run.is_smoke else 10,
        description=f"DPO, seed {run.seed}",
    )
    policy = merge_lora(policy).eval()
    result = {
        "losses": [record["loss"] for record in records],
        "margins": [record["margin"] for record in records],
        "pairs": len(pairs),
        "trainable": sum(weight.numel() for weight in learning),
        "KL": divergence(policy, reference, tokenizer, test, n_new),
    }
    for name, some in asked.items():
        answers[name].append(answered(policy, tokenizer, [q.text for q in some], n_new))
        right = [
            torch.tensor([float(is_right(q, a)) for q, a in zip(some, given, strict=True)])
            for given in answers[name]
        ]
        words = [sum(len(a.split()) for a in given) / len(some) for given in answers[name]]
        result[name] = {
            when: {"words": words[k], "right": right[k].mean().item()}
            for k, when in enumerate(("before", "after"))
        }
        result[name]["p"] = paired_permutation_test(right[1], right[0], generator=generator(0))
    result["examples"] = [
        [q.text, *both]
        for q, *both in zip(test[:8], *(given[:8] for given in answers["test"]), strict=True)
    ]
    return result
