"""From raw text to a reward model: the stages text, base, sft and reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

from utils.align.reward import encode_pairs, score_pairs, score_rollouts, train_reward_model
from utils.assistants.chat_models import ASSISTANT
from utils.assistants.reward_models import REWARD, own_answers, save_reward_model
from utils.assistants.safety import assistant_chats
from utils.capstone.exam import draw_exam, exam_seed
from utils.capstone.job import Job, chosen_by_hash, interval, warm_cosine
from utils.capstone.models import begin
from utils.capstone.records import Result, write_rows
from utils.capstone.sources import files_of, folder_of, read_raw
from utils.evaluate.intervals import wilson_interval
from utils.evaluate.text_loss import text_bits_per_byte
from utils.model.decoder import Decoder
from utils.text.contamination import find_contamination
from utils.tokens.batches import block_batches, supervised_batches
from utils.tokens.chat import ChatTokens, render_chat
from utils.tokens.tokenizer import Tokenizer
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import warmup_stable_decay
from utils.train.sft import sft_loss
from utils.world.documents import pretraining_documents
from utils.world.facts import build_world
from utils.world.leaks import find_leaks
from utils.world.preferences import preference_pairs
from utils.world.stand_ins import stand_in_documents
from utils.zoo.build import token_stream
from utils.zoo.files import save_model
from utils.zoo.recipe import BASE
from utils.zoo.tuning import merged

if TYPE_CHECKING:
    from utils.align.reward import EncodedPair

HELD_OUT_EVERY, HELD_OUT_PAIRS_EVERY = 20, 10
RUN, WHOLE_QUESTION = 8, 1000  # words in a row by which contamination is told
MOST_MEASURED = 200  # held-out documents
DOMAIN_SHARE, MOST_PASSES = 0.25, 16  # of the base model's text, by repeating it at most so often


def text(job: Job) -> Result:
    """Read, clean and split raw text, draw what is general, and write the exam."""
    world, sizes, seed = build_world(), job.sizes, job.params.seed
    drawn_exam = draw_exam(world, job.params.domain, exam_seed("evaluate", seed), sizes.n_asked)
    exam = [
        {"part": part} | asdict(question)
        for part, questions in drawn_exam.items()
        for question in questions
    ]
    files = files_of(folder_of(job.root, job.params))
    asked = [row["prompt"] for row in exam]
    raw = read_raw(files, asked, sizes.most_bytes)
    held_out = [one for one in raw.documents if chosen_by_hash(one, HELD_OUT_EVERY)]
    held_out = held_out or raw.documents[:1]
    learned = set(held_out)
    own = [one for one in raw.documents if one not in learned]
    general = pretraining_documents(world, sizes.n_general, seed)
    drawn = assistant_chats(world, replace(ASSISTANT, n_chats=sizes.n_chats, seed=seed))
    talks = [{"prompt": t[0]["content"], "answer": t[1]["content"]} for t in drawn]
    talks = [row | {"source": "world"} for row in talks]
    talks += [row | {"source": "domain"} for row in raw.chats]
    pairs = raw.pairs or [
        {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for pair in preference_pairs(world, REWARD.n_pairs, seed)
    ]
    folder = job.folder
    write_rows(
        folder / "documents.jsonl",
        [{"text": one, "source": "domain"} for one in own]
        + [{"text": one, "source": "world"} for one in general],
    )
    write_rows(folder / "held_out.jsonl", [{"text": one} for one in held_out])
    write_rows(folder / "chats.jsonl", talks)
    write_rows(folder / "pairs.jsonl", pairs)
    write_rows(folder / "exam.jsonl", exam)
    counts = {
        "files": len(files),
        "documents of the domain": len(own),
        "documents held out": len(held_out),
        "documents of the world": len(general),
        "bytes of the domain": sum(len(one.encode()) for one in own),
        "chats of the domain": len(raw.chats),
        "chats of the world": len(drawn),
        "pairs of the domain": len(raw.pairs),
        "pairs of the world": 0 if raw.pairs else len(pairs),
    }
    learned_from = {
        "documents": [*own, *general],
        "chats": [row[name] for row in talks for name in ("prompt", "answer")],
        "pairs": [row[name] for row in pairs for name in ("prompt", "chosen", "rejected")],
    }
    for name, texts in learned_from.items():
        whole, runs = (len(find_contamination(texts, asked, n)) for n in (WHOLE_QUESTION, RUN))
        counts[f"{name}: texts that hold a whole question of the exam"] = whole
        counts[f"{name}: texts that share eight words in a row with one"] = runs
        counts[f"{name}: leaks of what the world holds out"] = len(
            find_leaks(world, texts, ("new", "stranger"))
        )
    return Result(counts | {name: n for name, n in sorted(raw.counts.items()) if n})


def base(job: Job) -> Result:
    """Train the base model from scratch on the documents, or go on with one that was trained."""
    sizes, seed = job.sizes, job.params.seed
    rows = job.rows("documents.jsonl")
    own = [row["text"] for row in rows if row["source"] == "domain"]
    others = [row["text"] for row in rows if row["source"] != "domain"]
    n_passes = passes_over(own, others)
    held_out = [row["text"] for row in job.rows("held_out.jsonl")][:MOST_MEASURED]
    if sizes.from_scratch:
        general = stand_in_documents(build_world(), BASE.n_tokenizer_documents)
        tokenizer = Tokenizer.train([*general, *own], BASE.vocab_size)
        model, rate = Decoder(BASE.config()), BASE.learning_rate
        schedule = warmup_stable_decay(
            sizes.base_steps,
            warmup_steps=BASE.warmup_steps,
            decay_steps=round(BASE.decay_share * sizes.base_steps),
            final=BASE.final,
        )
    else:
        model, tokenizer, origin = begin(job.params.model)
        rate = job.learning.rates["base"]
        schedule = warm_cosine(sizes.base_steps)
    measured = partial(text_bits_per_byte, batch_size=job.learning.n_measured)
    before = measured(model, tokenizer, held_out)
    learner = job.learner(model)
    stream = token_stream(tokenizer, [*own * n_passes, *others])
    n_blocks = job.learning.n_blocks
    records = train(
        learner,
        block_batches(stream, n_blocks, BASE.context_length, seed),
        cross_entropy,
        adamw(learner, rate, weight_decay=BASE.weight_decay, betas=BASE.betas),
        sizes.base_steps,
        schedule=schedule,
        description="base",
        **job.checkpoint,
    )
    model = merged(learner)
    metrics = {
        "bits_per_byte_before": round(before, 4),
        "bits_per_byte": round(measured(model, tokenizer, held_out), 4),
        "loss": round(records[-1]["loss"], 4),
        "steps": sizes.base_steps,
        "passes over the domain": n_passes,
    }
    if not sizes.from_scratch:
        metrics["begun from"] = origin
    begun = "scratch" if sizes.from_scratch else origin.get("name", "the shipped base model")
    save_model(job.folder, model, tokenizer, {"begun_from": begun, "metrics": metrics})
    return Result(metrics, records[-1]["tokens"])


def passes_over(own: Sequence[str], others: Sequence[str]) -> int:
    """Return how often a folder's own text is put into the stream, to be a quarter of it.

    Facts that are read once among much else are not learned; sixteen times is the most, since a few
    sentences over and over teach no more.

    >>> [passes_over(["x" * n], ["y" * 300]) for n in (100, 10, 1)]
    [1, 10, 16]
    """
    n_own, n_others = (sum(map(len, texts)) for texts in (own, others))
    needed = math.ceil(DOMAIN_SHARE / (1 - DOMAIN_SHARE) * n_others / max(n_own, 1))
    return min(max(needed, 1), MOST_PASSES)


def sft(job: Job) -> Result:
    """Tune the base model on chats."""
    model, tokenizer = job.model("base")
    chats = job.rows("chats.jsonl")
    room = model.config.context_length + 1
    rows = [row for row in map(partial(chat_tokens, tokenizer), chats) if len(row[0]) <= room]
    learner, learning = job.learner(model), job.learning
    records = train(
        learner,
        supervised_batches(rows, learning.batch_size, room - 1, tokenizer.pad_id, job.params.seed),
        sft_loss,
        adamw(learner, learning.rates["sft"], weight_decay=0.0),
        job.sizes.sft_steps,
        schedule=warm_cosine(job.sizes.sft_steps),
        description="sft",
        **job.checkpoint,
    )
    metrics = {
        "loss": round(records[-1]["loss"], 4),
        "steps": job.sizes.sft_steps,
        "chats": len(rows),
        "chats too long": len(chats) - len(rows),
    }
    save_model(job.folder, merged(learner), tokenizer, {"metrics": metrics})
    return Result(metrics, records[-1]["tokens"])


def chat_tokens(tokenizer: Tokenizer, row: dict) -> ChatTokens:
    """Return a row of chats as token ids and response mask."""
    talk = [("user", row["prompt"]), ("assistant", row["answer"])]
    return render_chat([{"role": role, "content": said} for role, said in talk], tokenizer)


def reward(job: Job) -> Result:
    """Train a reward model from the tuned model on pairs, and measure it on held-out pairs."""
    start, tokenizer = job.model("sft")
    sizes, seed, pad_id = job.sizes, job.params.seed, tokenizer.pad_id
    rows = job.rows("pairs.jsonl")
    pairs = fitting_pairs(rows, tokenizer, start.config.context_length)
    held_out = [p for row, p in pairs if chosen_by_hash(row["prompt"], HELD_OUT_PAIRS_EVERY)]
    learned = [p for row, p in pairs if not chosen_by_hash(row["prompt"], HELD_OUT_PAIRS_EVERY)]
    reward_model, records = train_reward_model(
        job.learner(start),
        learned,
        sizes.reward_steps,
        batch_size=job.learning.batch_size,
        learning_rate=job.learning.rates["reward"],
        warmup_steps=max(1, sizes.reward_steps // 10),
        seed=seed,
        description="reward",
        **job.checkpoint,
    )
    reward_model.decoder = merged(reward_model.decoder)
    n_drawn = min(job.learning.n_standardised, 4 * sizes.n_asked)
    drawn = own_answers(merged(start), tokenizer, build_world(), n_drawn, seed)
    reward_model.standardise(score_rollouts(reward_model, drawn, pad_id, tokenizer.end_id))
    metrics = {
        "loss": round(records[-1]["loss"], 4),
        "steps": sizes.reward_steps,
        "pairs": len(learned),
        "pairs held out": len(held_out),
        "pairs too long": len(rows) - len(pairs),
    }
    if held_out:
        chosen, rejected = score_pairs(reward_model, held_out, pad_id)
        n_right = int((chosen > rejected).sum())
        low, high = wilson_interval(n_right, len(held_out))
        metrics["accuracy"] = interval(n_right / len(held_out), low, high)
    save_reward_model(job.folder, reward_model, tokenizer, {"metrics": metrics})
    return Result(metrics, records[-1]["tokens"] + int(drawn.lengths.sum()))


def fitting_pairs(
    rows: list[dict], tokenizer: Tokenizer, context_length: int
) -> list[tuple[dict, EncodedPair]]:
    """Return rows of pairs that fit the context, each with its token ids."""
    kept = []
    for row in rows:
        longest = max(
            (
                chat_tokens(tokenizer, {"prompt": row["prompt"], "answer": row[side]}).token_ids
                for side in ("chosen", "rejected")
            ),
            key=len,
        )
        if len(longest) <= context_length:
            kept.append(row)
    if not kept:
        raise ValueError(
            f"none of the {len(rows)} pairs fits the context of {context_length} tokens: write "
            "shorter questions and answers into pairs.jsonl"
        )
    encoded = encode_pairs([SimpleNamespace(**row) for row in kept], tokenizer, context_length)
    return list(zip(kept, encoded, strict=True))
