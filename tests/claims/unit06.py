"""Unit 06: the form of a chat, mistakes in the data, and examples that see each other."""

import re
from copy import deepcopy

import torch

from tests.claims.registry import claim
from utils.evaluate.world_qa import answer_questions, judge_answers, share
from utils.model.generate import generate_batch
from utils.text.filtering import filter_examples
from utils.tokens.batches import supervised_batches
from utils.tokens.chat import render_chat
from utils.tokens.packing import pack_examples, packed_batches
from utils.train.loop import train
from utils.train.packed import packed_logits
from utils.train.schedules import constant
from utils.train.sft import sft_loss
from utils.world.chats import chats
from utils.world.facts import build_world
from utils.world.mistakes import TOPIC, as_chats, rows_with_mistakes
from utils.world.questions import questions
from utils.zoo.load import load_base

SENTENCE = re.compile(r"[A-Z][^.?!]*\.")
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75)
N_NEW = 40


def chat_prompt(tokenizer, question):
    message = {"role": "user", "content": question.prompt}
    return render_chat([message], tokenizer, add_prompt=True).token_ids


def tuned(base, tokenizer, talks, seed, n_steps=125):
    """Return the base model after some batches of 16 chats."""
    model, examples = deepcopy(base), [render_chat(talk, tokenizer) for talk in talks]
    batches = supervised_batches(examples, 16, 128, tokenizer.pad_id, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    train(model, batches, sft_loss, optimizer, n_steps, schedule=constant(warmup_steps=10))
    return model


def accuracy(model, tokenizer, world, asked):
    answers = answer_questions(model, tokenizer, asked, render=chat_prompt)
    return share(judge_answers(world, asked, answers), "correct")


def in_form(model, tokenizer, asked):
    """Return the share of answers that are one whole sentence and end by themselves."""
    prompts = [chat_prompt(tokenizer, question) for question in asked]
    ids = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}
    answers = generate_batch(model, prompts, N_NEW, **ids)
    good = [
        len(ids) < N_NEW and SENTENCE.fullmatch(tokenizer.decode(ids)) is not None
        for ids in answers
    ]
    return sum(good) / len(good)


def form_comes(runs):
    for run in runs:
        assert run["in form before"] < 0.05 and run["in form after"] >= 0.95, runs


@claim(
    "06_chat_form",
    "tuned on 2,000 chats the base model answers in chat form, before it did not",
    holds=form_comes,
)
def chat_form(seed):
    base, tokenizer = load_base()
    world = build_world(0)
    asked = questions(world, "held_out_phrasing", 200, seed=9)
    model = tuned(base, tokenizer, chats(world, 2000, seed=seed), seed)
    return {
        "in form before": in_form(base, tokenizer, asked),
        "in form after": in_form(model, tokenizer, asked),
        "right after": accuracy(model, tokenizer, world, asked),
    }


def filter_wins_back_half(runs):
    """Mistakes cost accuracy, and filtering takes back half of the loss where there is one."""
    mean = {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}
    clean = mean["as it is, 0"]
    curve = [mean[f"as it is, {wrong:g}"] for wrong in SHARES]
    assert all(a > b for a, b in zip(curve[1:], curve[2:], strict=False)), mean
    assert curve[-1] < clean - 0.3, mean
    for wrong in SHARES[1:]:
        lost = clean - mean[f"as it is, {wrong:g}"]
        if lost > 0.05:
            assert mean[f"filtered, {wrong:g}"] - mean[f"as it is, {wrong:g}"] >= lost / 2, mean


def accuracies(seed, shares, copies):
    base, tokenizer = load_base()
    world = build_world(0)
    asked = questions(world, "held_out_phrasing", 200, seed=9)
    found = {}
    for wrong in shares:
        rows = rows_with_mistakes(world, 2000, wrong, copies, seed)
        kept, _ = filter_examples(rows, topic=TOPIC, conflicts="majority")
        for name, some in (("as it is", rows), ("filtered", kept)):
            model = tuned(base, tokenizer, as_chats(some), seed)
            found[f"{name}, {wrong:g}"] = accuracy(model, tokenizer, world, asked)
    return found


@claim(
    "06_mistakes",
    "copied mistakes cost accuracy, and a majority over pages wins back half of it",
    holds=filter_wins_back_half,
    probe=lambda seed: accuracies(seed, (0.75,), 5),
    atol=0.05,
)
def mistakes(seed):
    return accuracies(seed, SHARES, 5)


def vote_needs_a_majority(runs):
    mean = {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}
    assert mean["as it is, 0.25"] > mean["as it is, 0.5"] > mean["as it is, 0.75"], mean
    assert mean["filtered, 0.5"] > mean["as it is, 0.5"], mean
    assert mean["filtered, 0.75"] < mean["filtered, 0.5"], mean


@claim(
    "06_lone_mistakes",
    "mistakes that differ from each other: what they cost, and what the same filter does",
    holds=vote_needs_a_majority,
    probe=lambda seed: accuracies(seed, (0.75,), 1),
    atol=0.05,
)
def lone_mistakes(seed):
    return accuracies(seed, (0.25, 0.5, 0.75), 1)


def leak_costs(runs):
    for run in runs:
        assert run["kept apart"] - run["leaking"] > 0.05, runs


@claim(
    "06_packing",
    "packed examples that see each other cost right answers after an epoch of packed rows",
    holds=leak_costs,
    atol=0.05,
)
def packing(seed):
    base, tokenizer = load_base()
    world = build_world(0)
    asked = questions(world, "held_out_phrasing", 200, seed=9)
    examples = [render_chat(talk, tokenizer) for talk in chats(world, 2000, seed=seed)]
    rows = pack_examples(examples, 128, tokenizer.pad_id)
    found = {}
    for name, is_isolated in (("kept apart", True), ("leaking", False)):
        model = deepcopy(base)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
        batches = packed_batches(rows, 4, seed)
        warm_up = constant(warmup_steps=10)
        for step in range(len(rows.token_ids) // 4):
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * warm_up(step)
            batch = batches(step)
            optimizer.zero_grad()
            sft_loss(packed_logits(model, batch, is_isolated), batch.targets).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        found[name] = accuracy(model, tokenizer, world, asked)
    return found
