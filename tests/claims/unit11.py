"""Claims of unit 11: PPO with a moderate price of the divergence, and without one.

Gold utility is measured on entities that neither the reward model nor PPO was asked about, on
greedy answers, as the assistant gives them, and at temperature 1, as PPO draws them. No run sees
it.
"""

from __future__ import annotations

import time
from copy import deepcopy
from functools import lru_cache, partial

import torch

from tests.claims.registry import claim
from utils.align.kl import FixedKLController
from utils.align.ppo import ActorCritic, PPOSettings, ppo
from utils.align.reward import score_rollouts
from utils.align.rollouts import draw_rollouts
from utils.assistants.chat_models import load_assistant, question_prompt
from utils.assistants.reward_models import load_reward_model
from utils.evaluate.world_qa import answer_questions, judge_answers, share
from utils.runtime import generator
from utils.world.facts import build_world
from utils.world.preferences import is_held_out
from utils.world.questions import questions

N_ITERATIONS = 40
MODERATE = 0.3  # price of a nat, in standard deviations of the reward
SETTINGS = PPOSettings()


@lru_cache(maxsize=1)
def parts():
    """Return world, assistant, tokenizer and reward model."""
    assistant, tokenizer = load_assistant()
    return build_world(), assistant, tokenizer, load_reward_model()[0]


def asked(n, seed, held_out):
    """Return questions about entities that are kept out of preference training, or about others."""
    world = parts()[0]
    drawn = questions(world, "trained", 12 * n if held_out else 3 * n, seed)
    return [q for q in drawn if is_held_out(world, q.entity) == held_out][:n]


def prompts_of(seed, n_prompts=64):
    """Return the prompts of an iteration as a function of its number."""
    tokenizer = parts()[2]
    pool = [question_prompt(tokenizer, q) for q in asked(1000, 100 + seed, False)]

    def prompts(iteration):
        source = generator(1000 * seed + iteration)
        return [pool[i] for i in torch.randint(len(pool), (n_prompts,), generator=source)]

    return prompts


def gold(policy, n=200, seed=5):
    """Return what the judge says of greedy answers about held-out entities."""
    world, _, tokenizer, _ = parts()
    chosen = asked(n, seed, True)
    answers = answer_questions(policy, tokenizer, chosen, render=question_prompt, max_new_tokens=64)
    verdicts = judge_answers(world, chosen, answers)
    names = {"gold": "utility", "words": "n_words", "rude": "rude", "right": "correct"}
    return {name: share(verdicts, field) for name, field in names.items()}


def at_temperature_1(policy, n=200, seed=5):
    """Return gold utility and reward of drawn answers about held-out entities."""
    world, _, tokenizer, reward_model = parts()
    chosen = asked(n, seed, True)
    drawn = draw_rollouts(
        policy,
        [question_prompt(tokenizer, q) for q in chosen],
        SETTINGS.max_new_tokens,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id,
        generator=generator(seed),
    )
    texts = [tokenizer.decode(r, skip_special=True).strip() for r in drawn.responses]
    rewards = score_rollouts(reward_model, drawn, tokenizer.pad_id, tokenizer.end_id)
    return {
        "gold, drawn": share(judge_answers(world, chosen, texts), "utility"),
        "reward": rewards.mean().item(),
    }


def run(kl_coef, seed, n_iterations=N_ITERATIONS, n_prompts=64, **more):
    """Return the agent after a run, its records and its seconds of processor time."""
    _, assistant, tokenizer, reward_model = parts()
    agent = ActorCritic(deepcopy(assistant))
    begin = time.process_time()
    records = ppo(
        agent,
        assistant,
        prompts_of(seed, n_prompts),
        partial(score_rollouts, reward_model, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id),
        FixedKLController(kl_coef),
        n_iterations,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id,
        seed=seed,
        **{"settings": SETTINGS} | more,
    )
    return agent, records, time.process_time() - begin


def mean_of_last(records, key, n=5):
    """Return the mean of a key over the last iterations."""
    return sum(record[key] for record in records[-n:]) / n


DIAGNOSTICS = ("kl", "entropy", "length", "clip_fraction", "approx_kl", "explained_variance")


def shorter_better_and_hacked(runs):
    for run in runs:
        before, moderate, free = (
            {
                what: run[f"{name}: {what}"]
                for what in ("gold", "words", "reward", "KL")
                if f"{name}: {what}" in run
            }
            for name in ("before", "moderate", "KL 0")
        )
        assert moderate["words"] <= 0.6 * before["words"], run
        assert moderate["gold"] >= before["gold"] + 0.2, run
        assert free["reward"] > moderate["reward"], run
        assert free["gold"] < 0.2, run
        # What tells them apart without a judge.
        assert free["KL"] > 2 * moderate["KL"], run


def first_two(seed):
    agent, records, _ = run(MODERATE, seed, n_iterations=2, n_prompts=16)
    return {"reward, second iteration": records[1]["reward"], "entropy": records[1]["entropy"]}


@claim(
    "11_ppo",
    "at a moderate price answers are 40 % shorter and gold utility is up by 0.2; without a price "
    "the reward rises above that and gold utility falls below 0.2",
    holds=shorter_better_and_hacked,
    probe=first_two,
)
def moderate_and_free(seed):
    assistant = parts()[1]
    whole = gold(assistant) | at_temperature_1(assistant)
    found = {f"before: {k}": v for k, v in whole.items()}
    for name, kl_coef in (("moderate", MODERATE), ("KL 0", 0.0)):
        agent, records, seconds = run(
            kl_coef, seed, measure=partial(gold, n=64, seed=6), measure_every=5
        )
        whole = gold(agent.policy) | at_temperature_1(agent.policy)
        found |= {f"{name}: {k}": v for k, v in whole.items()}
        found[f"{name}: KL"] = mean_of_last(records, "kl")
        for key in DIAGNOSTICS[1:]:
            found[f"{name}: {key}"] = mean_of_last(records, key)
        for record in records:
            if "gold" in record:
                found[f"{name}: gold at {record['iteration']}"] = record["gold"]
                found[f"{name}: KL at {record['iteration']}"] = record["kl"]
        found[f"{name}: CPU seconds"] = seconds
    return found
