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
from utils.align.best_of_n import conservative_score
from utils.align.kl import FixedKLController
from utils.align.labellers import with_length_habit
from utils.align.ppo import ActorCritic, PPOSettings, ppo
from utils.align.reward import encode_pairs, score_rollouts, train_reward_model
from utils.align.rollouts import draw_rollouts
from utils.assistants.chat_models import load_assistant, question_prompt
from utils.assistants.reward_models import load_reward_model, own_answers
from utils.evaluate.world_qa import answer_questions, judge_answers, share
from utils.runtime import generator
from utils.world.facts import build_world
from utils.world.preferences import is_held_out, preference_pairs
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
    return {
        "gold, drawn": share(judge_answers(world, chosen, texts), "utility"),
        "reward": score(reward_model, drawn).mean().item(),
    }


def score(reward_model, rollouts):
    """Return a reward model's scores of rollouts."""
    tokenizer = parts()[2]
    return score_rollouts(reward_model, rollouts, tokenizer.pad_id, tokenizer.end_id)


def run(kl_coef, seed, n_iterations=N_ITERATIONS, n_prompts=64, reward_fn=None, **more):
    """Return the agent after a run, its records and its seconds of processor time.

    The shipped reward model decides where no other `reward_fn` is given.
    """
    _, assistant, tokenizer, reward_model = parts()
    agent = ActorCritic(deepcopy(assistant))
    begin = time.process_time()
    records = ppo(
        agent,
        assistant,
        prompts_of(seed, n_prompts),
        reward_fn or partial(score, reward_model),
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


HIGHER = 1.0  # price of a nat


def close_and_right(runs):
    for run in runs:
        assert run["price 1: KL"] < 1.5, run
        assert run["price 1: words"] < run["before: words"], run
        assert run["price 1: right"] > run["before: right"] - 0.1, run
        assert run["price 1: gold"] > run["before: gold"], run


@claim(
    "11_higher_price",
    "at three times the price the policy stays within a nat and a half and keeps its right "
    "answers; they are somewhat shorter, and gold utility rises",
    holds=close_and_right,
    probe=first_two,
)
def higher_price(seed):
    found = {f"before: {k}": v for k, v in gold(parts()[1]).items()}
    agent, records, _ = run(HIGHER, seed)
    found |= {f"price 1: {k}": v for k, v in gold(agent.policy).items()}
    return found | {"price 1: KL": mean_of_last(records, "kl")}


# Cures of a reward that likes long answers: in the reward, in the price, or by stopping.

A_WORD = 0.1  # standard deviations of the reward
CURES = {  # reward models, what a word costs, price of the divergence
    "habit, no price": (1, 0.0, 0.0),
    "habit, price": (1, 0.0, MODERATE),
    "penalty, no price": (1, A_WORD, 0.0),
    "penalty, price": (1, A_WORD, MODERATE),
    "ensemble, no price": (3, 0.0, 0.0),
    "ensemble, price": (3, 0.0, MODERATE),
}
WATCHED = "habit, no price"  # the run that early stopping chooses from


def models_with_habit(seed, n=3):
    """Return standardised reward models of other seeds, from pairs where the better is longer."""
    world, assistant, tokenizer, _ = parts()
    drawn, found = own_answers(assistant, tokenizer, world, 256, seed), []
    for k in range(n * seed, n * seed + n):
        lessons = with_length_habit(preference_pairs(world, 1000, k, ("tone", "fact")), 0.8, k)
        pairs = encode_pairs(lessons, tokenizer, 128)
        model, _ = train_reward_model(assistant, pairs, 80, batch_size=8, warmup_steps=10, seed=k)
        model.standardise(score(model, drawn))
        found.append(model)
    return found


def pressed(models, word_price, rollouts):
    """Return the reward of rollouts: what models agree on, less the price of the words."""
    scores = torch.stack([score(model, rollouts) for model in models])
    agreed = conservative_score(scores) if len(models) > 1 else scores[0]
    texts = [parts()[2].decode(r, skip_special=True) for r in rollouts.responses]
    return agreed - word_price * torch.tensor([len(text.split()) for text in texts])


def two_measures(policy):
    """Return gold utility on questions to choose a place to stop by, and on others."""
    return {"gold": gold(policy, 64, 6)["gold"], "gold, others": gold(policy, 100, 5)["gold"]}


def cured_by(name, models, seed, n_iterations=N_ITERATIONS, **more):
    """Return what a cure leaves of a run against the habit, and the run's records."""
    n_models, word_price, kl_coef = CURES[name]
    reward_fn = partial(pressed, models[:n_models], word_price)
    agent, records, _ = run(kl_coef, seed, n_iterations, reward_fn=reward_fn, **more)
    numbers = {k: v for k, v in gold(agent.policy).items() if k != "rude"}
    numbers |= {"KL": mean_of_last(records, "kl"), "reward": mean_of_last(records, "reward")}
    return {f"{name}: {k}": v for k, v in numbers.items()}, records


def first_two_with_habit(seed):
    found, _ = cured_by("habit, price", models_with_habit(seed, 1), seed, 2, n_prompts=16)
    return {name: value for name, value in found.items() if "reward" in name or "KL" in name}


def a_price_is_needed(runs):
    for run in runs:
        for reward in ("habit", "penalty", "ensemble"):
            free, priced = run[f"{reward}, no price: gold"], run[f"{reward}, price: gold"]
            assert free < 0.3 and priced > free + 0.1, run
            assert run[f"{reward}, no price: KL"] > 5 * run[f"{reward}, price: KL"], run


@claim(
    "11_cures",
    "PPO against a reward that likes long answers: with a length penalty or an ensemble it ends "
    "below a gold utility of 0.3 where the divergence costs nothing, and above that with a price",
    holds=a_price_is_needed,
    probe=first_two_with_habit,
    atol=0.1,
)
def cures(seed):
    models = models_with_habit(seed)
    found = {f"before: {k}": v for k, v in gold(parts()[1]).items()}
    for name in CURES:
        watched = {"measure": two_measures, "measure_every": 5} if name == WATCHED else {}
        numbers, records = cured_by(name, models, seed, **watched)
        found |= numbers
        if watched:
            path = [record for record in records if "gold" in record]
            best = max(path, key=lambda record: record["gold"])
            found["early stopping: gold"] = best["gold, others"]
            found["early stopping: KL"] = best["kl"]
            found["early stopping: iteration"] = best["iteration"]
    return found
