"""Unit 12: what DPO and GRPO do to the assistant, and six methods at equal compute."""

from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache

import torch

from tests.claims.registry import claim
from utils.align.group_losses import (
    group_advantages,
    grpo_loss,
    leave_one_out_advantages,
    rloo_loss,
)
from utils.align.grpo import train_grpo
from utils.align.kl import FixedKLController
from utils.align.ppo import ActorCritic, PPOSettings, RewardError, ppo
from utils.align.preference import TokenPair, dpo, token_pairs, train_preferences
from utils.align.reward import score_rollouts
from utils.align.rollouts import draw_rollouts
from utils.align.verify import verify_answer
from utils.assistants.chat_models import chat_prompt, load_assistant
from utils.assistants.reward_models import load_reward_model
from utils.evaluate.world_qa import judge_answers, share
from utils.model.generate import evaluating
from utils.runtime import generator
from utils.tokens.batches import supervised_batches
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.train.sft import sft_loss
from utils.world.facts import build_world
from utils.world.preferences import is_held_out, preference_pairs
from utils.world.questions import questions

MAX_NEW_TOKENS, RATE = 64, 3e-4


@lru_cache(maxsize=1)
def start():
    """Return the assistant, its tokenizer, the world, and the ids that drawing needs."""
    assistant, tokenizer = load_assistant()
    ids = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}
    return assistant, tokenizer, build_world(), ids


@lru_cache(maxsize=1)
def reward_model():
    """Return the shipped reward model."""
    return load_reward_model()[0]


def texts_of(rollouts):
    """Return responses as texts."""
    tokenizer = start()[1]
    return [tokenizer.decode(r, skip_special=True).strip() for r in rollouts.responses]


def measured(policy, n=200):
    """Return what the exact judge says of drawn answers, and the KL from the assistant.

    The questions are about entities that are kept out of all preference training. The KL is the sum
    over a response's tokens of the divergence between both next-token distributions, whole.
    """
    assistant, tokenizer, world, ids = start()
    asked = [q for q in questions(world, "trained", 8 * n, seed=7) if is_held_out(world, q.entity)]
    asked = asked[:n]
    prompts = [chat_prompt(tokenizer, q.prompt) for q in asked]
    drawn = draw_rollouts(policy, prompts, MAX_NEW_TOKENS, **ids, generator=generator(9))
    verdicts = judge_answers(world, asked, texts_of(drawn))
    names = {"gold": "utility", "words": "n_words", "rude": "rude", "right": "correct"}
    found = {name: share(verdicts, field) for name, field in names.items()}
    with evaluating(policy):
        ours = policy(drawn.token_ids).log_softmax(-1)
        theirs = assistant(drawn.token_ids).log_softmax(-1)
    each = (ours.exp() * (ours - theirs)).sum(-1).masked_fill(~drawn.response_mask, 0.0)
    return found | {"KL": each.sum(1).mean().item()}


def dpo_works(runs):
    for run in runs:
        assert run["with likelihood: gold"] > run["assistant: gold"] + 0.1, run
        assert run["with likelihood: words"] <= 0.6 * run["assistant: words"], run


def both_fall(runs):
    for run in runs:
        assert run["plain: pairs told apart"] >= 0.9, run
        assert run["plain: chosen ratio"] < -10, run
        assert run["plain: gold"] < run["assistant: gold"], run


def dpo_of(seed, likelihood_coef, n_steps=100):
    """Return numbers of a policy after DPO on the world's pairs, and its last records' means."""
    assistant, tokenizer, world, ids = start()
    pairs = token_pairs(preference_pairs(world, 16 * n_steps, seed), tokenizer, 128)
    policy = deepcopy(assistant)
    records = train_preferences(
        policy,
        assistant,
        pairs,
        dpo,
        adamw(policy, RATE, weight_decay=0.0),
        n_steps,
        pad_id=ids["pad_id"],
        seed=seed,
        likelihood_coef=likelihood_coef,
        schedule=cosine(n_steps, warmup_steps=10),
    )
    last = records[-10:]
    names = {"chosen ratio": "chosen_ratio", "rejected ratio": "rejected_ratio"}
    names |= {"pairs told apart": "accuracy", "loss": "loss"}
    means = {k: sum(r[name] for r in last) / len(last) for k, name in names.items()}
    return measured(policy) | means | {"tokens": records[-1]["tokens"]}


def named(name, numbers):
    """Return numbers under names that begin with a method's."""
    return {f"{name}: {k}": v for k, v in numbers.items()}


@claim(
    "12_dpo",
    "DPO with a likelihood term raises gold utility by more than .1 and takes 40 % of the words",
    holds=dpo_works,
    probe=lambda seed: named("with likelihood, 10 steps", dpo_of(seed, 1.0, 10)),
    atol=0.08,
)
def dpo_with_likelihood(seed):
    return named("assistant", measured(start()[0])) | named("with likelihood", dpo_of(seed, 1.0))


@claim(
    "12_dpo_alone",
    "DPO alone tells nine of ten pairs apart while chosen answers lose 10 nats and gold falls",
    holds=both_fall,
    probe=lambda seed: named("plain, 10 steps", dpo_of(seed, 0.0, 10)),
    atol=0.08,
)
def dpo_alone(seed):
    return named("assistant", measured(start()[0])) | named("plain", dpo_of(seed, 0.0))


def ten_points(runs):
    for run in runs:
        assert run["held-out sums after"] >= run["held-out sums before"] + 0.10, run


def right_sums(policy, n=400):
    """Return the share of held-out sums that a drawn answer gets right."""
    _, tokenizer, world, ids = start()
    asked = questions(world, "held_out_sum", n, seed=5)
    prompts = [chat_prompt(tokenizer, q.prompt) for q in asked]
    drawn = draw_rollouts(policy, prompts, 16, **ids, generator=generator(3))
    pairs = zip(texts_of(drawn), asked, strict=True)
    return sum(verify_answer(text, q.value) for text, q in pairs) / n


def asked_with_values(seed, split, n, **more):
    """Return prompts of an iteration as a function of its number, and where values are noted."""
    _, tokenizer, world, _ = start()
    values = {}

    def prompts(iteration):
        asked = questions(world, split, n, seed=1000 * (seed + 1) + iteration, **more)
        found = [chat_prompt(tokenizer, q.prompt) for q in asked]
        values.update({tuple(p): q.value for p, q in zip(found, asked, strict=True)})
        return found

    return prompts, values


def grpo_on_sums(seed, n_iterations):
    """Return a policy after GRPO on sums that training may use, and the records."""
    assistant, _, _, ids = start()
    prompts, values = asked_with_values(seed, "trained", 32, kinds=("sum",))

    def reward(rollouts):
        pairs = zip(texts_of(rollouts), rollouts.prompts, strict=True)
        return torch.tensor([verify_answer(text, values[tuple(p)]) for text, p in pairs])

    policy = deepcopy(assistant)
    optimizer = adamw(policy, RATE, weight_decay=0.0)
    records = train_grpo(
        policy, prompts, reward, optimizer, n_iterations, max_new_tokens=16, seed=seed, **ids
    )
    return policy, records


def first_iterations(seed):
    records = grpo_on_sums(seed, 2)[1]
    return {"reward of the first iteration": records[0]["reward"], "length": records[1]["length"]}


@claim(
    "12_grpo_sums",
    "GRPO raises pass@1 on held-out sums by at least 10 points",
    holds=ten_points,
    probe=first_iterations,
    atol=0.08,
)
def grpo_sums(seed):
    policy, records = grpo_on_sums(seed, 60)
    return {
        "held-out sums before": right_sums(start()[0]),
        "held-out sums after": right_sums(policy),
        "reward, first": records[0]["reward"],
        "reward, last five": sum(r["reward"] for r in records[-5:]) / 5,
    }


def no_trend_in_so_short_a_run(runs):
    gaps = [run["sequence: length"] - run["batch: length"] for run in runs]
    assert max(map(abs, gaps)) < 5, gaps
    assert all(abs(run["sequence: reward"] - run["batch: reward"]) < 0.1 for run in runs), runs


def lengths_after(seed, how, n_iterations=14):
    """Return the mean length after GRPO with "holds the right value" as the reward."""
    assistant, _, _, ids = start()
    prompts, values = asked_with_values(seed, "trained", 16)

    def reward(rollouts):
        pairs = zip(texts_of(rollouts), rollouts.prompts, strict=True)
        return torch.tensor([float(values[tuple(p)].lower() in t.lower()) for t, p in pairs])

    policy = deepcopy(assistant)
    records = train_grpo(
        policy,
        prompts,
        reward,
        adamw(policy, RATE, weight_decay=0.0),
        n_iterations,
        max_new_tokens=MAX_NEW_TOKENS,
        minibatch_size=32,
        lengths=how,
        seed=seed,
        **ids,
    )
    found = {f"length {k}": r["length"] for k, r in enumerate(records)}
    last = records[-5:]
    found["length"] = sum(r["length"] for r in last) / len(last)
    return found | {"reward": sum(r["reward"] for r in last) / len(last)}


@claim(
    "12_lengths",
    "lengths after 14 iterations with the sequence and with the token mean, at equal rewards",
    holds=no_trend_in_so_short_a_run,
    probe=lambda seed: named("batch, 1 iteration", lengths_after(seed, "batch", 1)),
    atol=0.5,
)
def lengths(seed):
    found = {}
    for how in ("sequence", "batch"):
        found |= named(how, lengths_after(seed, how))
    return found


A_SHORT_ONE = 14  # words at most


def long_ones_are_right_more_often(runs):
    for run in runs:
        assert run["right, of the long"] > run["right, of the short"] + 0.1, run


@claim(
    "12_forms",
    "the assistant's drawn answers, before any preference: the long ones are right more often than "
    "the short ones by over 10 points",
    holds=long_ones_are_right_more_often,
    atol=0.08,
)
def forms(seed, n=600):
    assistant, tokenizer, world, ids = start()
    asked = [
        q for q in questions(world, "trained", 15 * n, seed=5) if is_held_out(world, q.entity)
    ][:n]
    prompts = [chat_prompt(tokenizer, q.prompt) for q in asked]
    drawn = draw_rollouts(assistant, prompts, MAX_NEW_TOKENS, **ids, generator=generator(seed))
    verdicts = judge_answers(world, asked, texts_of(drawn))
    short = [verdict for verdict in verdicts if verdict.n_words <= A_SHORT_ONE]
    long = [verdict for verdict in verdicts if verdict.n_words > A_SHORT_ONE]
    return {
        "short ones": len(short) / len(verdicts),
        "right, of the short": share(short, "correct"),
        "right, of the long": share(long, "correct"),
    }


# Six methods at equal compute, counted in tokens that pass forward through the policy's layers; a
# pass backward counts twice. The reward model is as large as the policy.

BUDGET = 600_000
GROUP = 8


class Spent:
    """Counts what a method has spent."""

    def __init__(self):
        self.passes = 0

    def add(self, n_tokens, forward=1, trained=0):
        """Count tokens read `forward` times, and `trained` times forward and backward."""
        self.passes += n_tokens * (forward + 3 * trained)


def n_read(rollouts):
    """Return the tokens of prompts and responses, without padding."""
    return sum(map(len, rollouts.prompts)) + int(rollouts.lengths.sum())


def fact_prompts(seed, iteration, n):
    """Return prompts about entities that preference training may use."""
    _, tokenizer, world, _ = start()
    number = 1000 * (seed + 1) + iteration
    asked = questions(world, "trained", 2 * n, seed=number)
    kept = [q for q in asked if not is_held_out(world, q.entity)][:n]
    return [chat_prompt(tokenizer, q.prompt) for q in kept]


def scored(rollouts):
    """Return the reward model's scores; an answer cut at the limit gets the lowest of them."""
    _, _, _, ids = start()
    scores = score_rollouts(reward_model(), rollouts, **ids)
    return scores.where(rollouts.ended, scores.min())


def drawn_groups(seed, share_of_budget, spent):
    """Return groups of answers of the assistant with scores, until a share is spent."""
    assistant, _, _, ids = start()
    end_id, found, k = ids["end_id"], [], 0
    while spent.passes < share_of_budget * BUDGET:
        prompts = [p for p in fact_prompts(seed, k, 32) for _ in range(GROUP)]
        draws = generator(100 * seed + k)
        rollouts = draw_rollouts(assistant, prompts, MAX_NEW_TOKENS, **ids, generator=draws)
        spent.add(n_read(rollouts), forward=2)
        scores = scored(rollouts).view(-1, GROUP)
        for n, row in enumerate(scores):
            answers = rollouts.responses[n * GROUP : (n + 1) * GROUP]
            best, worst = int(row.argmax()), int(row.argmin())
            closed = [[*answers[i], end_id] for i in (best, worst)]
            if closed[0] != closed[1]:
                found.append(TokenPair(prompts[n * GROUP], *closed))
        k += 1
    return found


def by_sft(seed):
    """Tune on the best of eight answers."""
    policy, spent, ids = deepcopy(start()[0]), Spent(), start()[3]
    pairs = drawn_groups(seed, 0.75, spent)
    rows = [(p.prompt + p.chosen, [False] * len(p.prompt) + [True] * len(p.chosen)) for p in pairs]
    each = 3 * 16 * sum(len(ids_of) for ids_of, _ in rows) / len(rows)
    n_steps = max(1, int((BUDGET - spent.passes) / each))
    train(
        policy,
        supervised_batches(rows, 16, 128, ids["pad_id"], seed),
        sft_loss,
        adamw(policy, RATE, weight_decay=0.0),
        n_steps,
        schedule=cosine(n_steps, warmup_steps=min(5, n_steps)),
    )
    return policy, spent.passes + n_steps * each


def by_dpo(seed):
    """Learn from the best and the worst of eight answers."""
    assistant, _, _, ids = start()
    policy, spent = deepcopy(assistant), Spent()
    pairs = drawn_groups(seed, 0.5, spent)
    read = [2 * len(p.prompt) + len(p.chosen) + len(p.rejected) for p in pairs]
    spent.add(sum(read))  # the reference's log-probabilities
    each = 3 * 8 * sum(read) / len(read)
    n_steps = max(1, int((BUDGET - spent.passes) / each))
    train_preferences(
        policy,
        assistant,
        pairs,
        dpo,
        adamw(policy, RATE, weight_decay=0.0),
        n_steps,
        pad_id=ids["pad_id"],
        batch_size=8,
        seed=seed,
        likelihood_coef=1.0,
        schedule=cosine(n_steps, warmup_steps=min(5, n_steps)),
    )
    return policy, spent.passes + n_steps * each


def by_groups(seed, advantage_fn, loss_fn):
    """Learn from groups until the budget is spent, one iteration at a time."""
    assistant, _, _, ids = start()
    policy, spent, k = deepcopy(assistant), Spent(), 0
    optimizer = adamw(policy, RATE, weight_decay=0.0)

    def reward(rollouts):
        spent.add(n_read(rollouts), forward=3, trained=2)
        return scored(rollouts)

    while spent.passes < BUDGET:
        train_grpo(
            policy,
            lambda i, k=k: fact_prompts(seed, k, 16),
            reward,
            optimizer,
            1,
            group_size=GROUP,
            max_new_tokens=MAX_NEW_TOKENS,
            advantage_fn=advantage_fn,
            loss_fn=loss_fn,
            minibatch_size=64,
            seed=1000 * seed + k,
            **ids,
        )
        k += 1
    return policy, spent.passes


class Enough(Exception):
    """The budget is spent."""


def by_ppo(seed):
    """Learn from single answers with a value head, at a moderate price."""
    assistant, _, _, ids = start()
    agent, spent = ActorCritic(deepcopy(assistant)), Spent()

    def reward(rollouts):
        if spent.passes >= BUDGET:
            raise Enough
        spent.add(n_read(rollouts), forward=4, trained=2)
        return scored(rollouts)

    try:
        ppo(
            agent,
            assistant,
            lambda iteration: fact_prompts(seed, iteration, 64),
            reward,
            FixedKLController(0.3),
            1000,
            settings=PPOSettings(decays=False),
            seed=seed,
            **ids,
        )
    except RewardError:
        if spent.passes < BUDGET:
            raise
    return agent.policy, spent.passes


METHODS: dict[str, Callable] = {
    "SFT on best of 8": by_sft,
    "DPO": by_dpo,
    "PPO": by_ppo,
    "GRPO": lambda seed: by_groups(seed, group_advantages, grpo_loss),
    "RLOO": lambda seed: by_groups(seed, leave_one_out_advantages, rloo_loss),
}


def best_of(n):
    """Return the numbers of the answer with the highest score among n, for held-out questions."""
    assistant, tokenizer, world, ids = start()
    asked = [q for q in questions(world, "trained", 800, seed=7) if is_held_out(world, q.entity)]
    asked = asked[:100]
    prompts = [chat_prompt(tokenizer, q.prompt) for q in asked for _ in range(n)]
    drawn = draw_rollouts(assistant, prompts, MAX_NEW_TOKENS, **ids, generator=generator(9))
    best = scored(drawn).view(-1, n).argmax(dim=1).tolist()
    texts = texts_of(drawn)
    chosen = [texts[row * n + place] for row, place in enumerate(best)]
    verdicts = judge_answers(world, asked, chosen)
    kl = torch.tensor(float(n)).log().item() - (n - 1) / n
    return {"gold": share(verdicts, "utility"), "words": share(verdicts, "n_words"), "KL": kl}


def compared(seed, methods=METHODS):
    """Return gold utility, KL and compute of methods by name, and of best of n."""
    found = named("assistant", measured(start()[0]))
    for n in (4, 16):
        found |= named(f"best of {n}", best_of(n))
    for name, method in methods.items():
        policy, passes = method(seed)
        found |= named(name, measured(policy) | {"passes": passes})
    return found


def spent_alike(runs):
    for run in runs:
        for name in METHODS:
            assert abs(run[f"{name}: passes"] / BUDGET - 1) < 0.15, (name, run)


def first_numbers(seed):
    pairs = drawn_groups(seed, 0.01, Spent())
    return {"pairs of the first groups": len(pairs)} | named("best of 4", best_of(4))


@claim(
    "12_equal_compute",
    "gold utility and divergence of SFT on best of 8, DPO, PPO, GRPO and RLOO at equal compute",
    holds=spent_alike,
    probe=first_numbers,
    atol=0.15,
)
def equal_compute(seed):
    return compared(seed)
