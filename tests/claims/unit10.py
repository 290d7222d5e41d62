"""Unit 10: what a reward model learns first, what it picks up unasked, and best of n against it."""

from functools import lru_cache

import torch

from tests.claims.registry import claim
from utils.align.best_of_n import best_of_n
from utils.align.labellers import with_label_noise, with_length_habit
from utils.align.reward import (
    encode_pairs,
    score_pairs,
    score_rollouts,
    train_reward_model,
)
from utils.align.rollouts import draw_rollouts
from utils.assistants.chat_models import load_assistant, question_prompt
from utils.assistants.reward_models import REWARD, reward_metrics, world_pairs
from utils.evaluate.rewards import preference_accuracy
from utils.world.facts import build_world
from utils.world.judge import judge
from utils.world.preferences import is_held_out, preference_pairs
from utils.world.questions import questions

CONTEXT = 128


def learned(seed, pairs, n_steps, batch_size=8):
    """Return a reward model learned from pairs of texts, beginning as the assistant."""
    assistant, tokenizer = load_assistant()
    encoded = encode_pairs(pairs, tokenizer, CONTEXT)
    model, _ = train_reward_model(
        assistant, encoded, n_steps, batch_size=batch_size, warmup_steps=10, seed=seed
    )
    return model


def style_first(runs):
    for run in runs:
        style = [f"{kind}_{which}" for kind in ("tone", "length") for which in ("seen", "unseen")]
        assert min(run[f"all: {name}"] for name in style) >= 0.9, run
        facts = max(run["all: fact_seen"], run["all: fact_unseen"])
        assert min(run[f"50 steps: {name}"] for name in style) > facts, run
        assert run["all: fact_unseen"] <= 0.65, run


def measured_after(seed, name, n_steps):
    """Return the accuracies by kind of pair and by entities after a number of steps."""
    assistant, tokenizer = load_assistant()
    pairs = world_pairs(build_world(), tokenizer, REWARD.n_pairs, seed)
    model, _ = train_reward_model(assistant, pairs, n_steps, seed=seed)
    found = reward_metrics(model, tokenizer, build_world())
    return {f"{name}: {kind}": share for kind, share in found.items()}


@claim(
    "10_style_before_truth",
    "tone and length 90 % right, facts near chance; style after 50 steps beats facts after 250",
    holds=style_first,
    probe=lambda seed: measured_after(seed, "50 steps", 50),
    atol=0.08,
)
def style_before_truth(seed):
    return measured_after(seed, "50 steps", 50) | measured_after(seed, "all", REWARD.n_steps)


def habit_is_learned(runs):
    for run in runs:
        assert run["longer of two equal answers preferred"] >= 0.8, run


@claim(
    "10_length_habit",
    "where the better answer tends to be the longer, the longer of two equal ones is preferred",
    holds=habit_is_learned,
    atol=0.1,
)
def length_habit(seed):
    world, tokenizer = build_world(), load_assistant()[1]
    pairs = with_length_habit(preference_pairs(world, 1000, seed, ("tone", "fact")), 0.8, seed)
    model = learned(seed, pairs, 80)
    equal = world_pairs(world, tokenizer, 200, 7, ("length",), held_out=True)
    short, wordy = score_pairs(model, equal, tokenizer.pad_id)
    tone = world_pairs(world, tokenizer, 200, 7, ("tone",), held_out=True)
    return {
        "longer of two equal answers preferred": preference_accuracy(wordy, short)[0],
        "polite preferred": preference_accuracy(*score_pairs(model, tone, tokenizer.pad_id))[0],
    }


def turns_over(runs):
    for run in runs:
        sizes = [2**k for k in range(7)]
        score, gold = ([run[f"{name}, n={n}"] for n in sizes] for name in ("score", "gold"))
        assert score == sorted(score), run
        assert 0 < gold.index(max(gold)) < len(sizes) - 1, run
        assert max(gold) - gold[-1] >= 0.05 and max(gold) - gold[0] >= 0.05, run


@lru_cache(maxsize=1)
def many_answers(seed, n_questions=40, n_answers=64):
    """Return answers of the assistant to questions, and their gold utilities, (Q, S)."""
    policy, tokenizer = load_assistant()
    world = build_world()
    asked = [
        question
        for question in questions(world, "trained", 4 * n_questions, 100 + seed)
        if not is_held_out(world, question.entity)
    ][:n_questions]
    rollouts = draw_rollouts(
        policy,
        [question_prompt(tokenizer, q) for q in asked for _ in range(n_answers)],
        64,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id,
        generator=torch.Generator().manual_seed(seed),
    )
    texts = [tokenizer.decode(r, skip_special=True).strip() for r in rollouts.responses]
    gold = [judge(world, asked[i // n_answers], t).utility for i, t in enumerate(texts)]
    return rollouts, torch.tensor(gold).view(n_questions, n_answers)


@claim(
    "10_best_of_n",
    "taught manners alone: best of n raises the score, gold utility rises and falls again",
    holds=turns_over,
    probe=lambda seed: manners_alone(seed)[1],
    atol=0.1,
)
def best_of_many(seed):
    model, found = manners_alone(seed)
    rollouts, gold = many_answers(seed)
    tokenizer = load_assistant()[1]
    scores = score_rollouts(model, rollouts, tokenizer.pad_id, tokenizer.end_id).view(gold.shape)
    scores = (scores - scores.mean()) / scores.std()
    for n in (2**k for k in range(7)):
        found[f"score, n={n}"] = best_of_n(scores, scores, n).mean().item()
        found[f"gold, n={n}"] = best_of_n(scores, gold, n).mean().item()
    return found


def manners_alone(seed):
    """Return a reward model that was taught tone alone, and its accuracy there."""
    world, tokenizer = build_world(), load_assistant()[1]
    model = learned(seed, preference_pairs(world, 800, seed, ("tone",)), 100)
    tone = world_pairs(world, tokenizer, 200, 7, ("tone",), held_out=True)
    right = preference_accuracy(*score_pairs(model, tone, tokenizer.pad_id))[0]
    return model, {"polite preferred": right}


def noise_is_a_ceiling(runs):
    for run in runs:
        assert run["right by the truth"] >= 0.9, run
        assert run["right by the labels"] <= 0.8, run
        assert 0.55 <= run["mean confidence"] <= 0.8, run


@claim(
    "10_label_noise",
    "30 % wrong labels: nearly all pairs are ordered right, the labels agree with 70 %",
    holds=noise_is_a_ceiling,
    atol=0.08,
)
def label_noise(seed):
    world, tokenizer = build_world(), load_assistant()[1]
    style = ("tone", "length")
    pairs = with_label_noise(preference_pairs(world, 1600, 30 + seed, style), 0.3, seed)
    model = learned(seed, pairs, 100, batch_size=16)
    tests = preference_pairs(world, 400, 9, style, held_out=True)
    by_truth, by_labels = (
        score_pairs(model, encode_pairs(labelled, tokenizer, CONTEXT), tokenizer.pad_id)
        for labelled in (tests, with_label_noise(tests, 0.3, 50 + seed))
    )
    gaps = (by_truth[0] - by_truth[1]).abs()
    return {
        "right by the truth": preference_accuracy(*by_truth)[0],
        "right by the labels": preference_accuracy(*by_labels)[0],
        "mean confidence": torch.sigmoid(gaps).mean().item(),
    }
