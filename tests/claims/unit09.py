"""Unit 09: what intervals hold, what peeking costs, what a trained judge has learned."""

from collections import Counter
from copy import deepcopy

import torch

from tests.claims.registry import claim
from utils.evaluate.ab import sequential_test
from utils.evaluate.intervals import bootstrap_interval
from utils.evaluate.judging import judge_position_bias, swapped_choice
from utils.evaluate.pair_judge import (
    as_function,
    hasty_labels,
    judged_pairs,
    train_pair_judge,
    without_repeats,
)
from utils.runtime import generator
from utils.world.facts import build_world
from utils.zoo.load import load_base


def covers(runs):
    for run in runs:
        assert all(0.93 <= share <= 0.97 for share in run.values()), runs


@claim(
    "09_coverage",
    "95 % intervals of 200 questions hold the truth in 95 % of evaluations, give or take 2",
    seeds=(7, 8, 9),
    holds=covers,
    atol=0.01,
)
def coverage(seed, n_runs=2000):
    found = {}
    for truth in (0.5, 0.8):
        draws, n_held = generator(seed), 0
        for _ in range(n_runs):
            right = (torch.rand(200, generator=draws) < truth).double()
            low, high = bootstrap_interval(right, n_resamples=500, generator=draws)
            n_held += low <= truth <= high
        found[f"truth {truth}"] = n_held / n_runs
    return found


def fooled(runs):
    for run in runs:
        assert run["usual, 20 looks"] > 0.15 and run["usual, one look"] < 0.07, runs
        assert run["sequential, 2000 looks"] <= 0.05, runs


@claim(
    "09_peeking",
    "20 looks raise false alarms above 15 %; a sequential test with 2,000 looks holds 5 %",
    seeds=(0, 1, 2),
    holds=fooled,
    atol=0.01,
)
def peeking(seed, n_runs=1000, n=2000):
    a, b = torch.rand(2, n_runs, n, generator=generator(seed))
    streams = (b < 0.5).double() - (a < 0.5).double()
    z = streams.cumsum(1) / (0.5 * torch.arange(1, n + 1)).sqrt()
    last = [sequential_test(row, 0.1, 0.5)[-1].item() for row in streams]
    return {
        "usual, one look": (z[:, -1].abs() > 1.96).double().mean().item(),
        "usual, 20 looks": (z[:, 99::100].abs() > 1.96).any(1).double().mean().item(),
        "sequential, 2000 looks": sum(p < 0.05 for p in last) / n_runs,
    }


def has_habits(runs):
    for run in runs:
        assert run["fact: first in both orders"] > 0.5, runs
        assert run["swapped: verdicts that depend on the order"] == 0, runs
        assert run["length: for the long one"] > 9 * run["length: for the short one"], runs


@claim(
    "09_judge",
    "a judge trained on hasty labels prefers the first place and length; a swap removes the first",
    seeds=(1, 2, 3),
    holds=has_habits,
    atol=0.25,
)
def judge_habits(seed):
    base, tokenizer = load_base()
    world = build_world()
    labelled = hasty_labels(judged_pairs(world, tokenizer, 6000, seed=seed), seed=seed)
    model = deepcopy(base)
    train_pair_judge(model, tokenizer, labelled, seed=seed)
    tested = without_repeats(judged_pairs(world, tokenizer, 900, seed=seed + 50, held_out=True))
    judge = as_function(model, tokenizer, tested)
    found, n_depends = {}, 0
    for kind in ("tone", "length", "fact"):
        pairs = [(p.chosen, p.rejected) for p in tested if p.differs_in == kind]
        found[f"{kind}: first in both orders"] = judge_position_bias(pairs, judge).first
        verdicts = Counter(swapped_choice(*pair, judge) for pair in pairs)
        turned = [swapped_choice(other, one, judge) for one, other in pairs]
        again = Counter({"first": "second", "second": "first"}.get(t, t) for t in turned)
        n_depends += sum((verdicts - again).values())
        if kind == "length":
            found["length: for the short one"] = verdicts["first"] / len(pairs)
            found["length: for the long one"] = verdicts["second"] / len(pairs)
    return found | {"swapped: verdicts that depend on the order": n_depends}
