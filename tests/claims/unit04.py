"""Unit 04: warm-up, resumes, mixed precision, and what is learned by heart."""

import statistics
import tempfile
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch

from tests.claims.registry import claim
from utils.evaluate.extraction import extraction_rate, plant, private_notes
from utils.model.decoder import Decoder
from utils.text.corpora import world_corpus
from utils.text.duplicates import without_near_duplicates
from utils.tokens.batches import block_batches, pack_documents
from utils.train.checkpoints import load_run, save_run
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import constant, cosine
from utils.zoo.load import load_base


@lru_cache(maxsize=1)
def base_config_and_stream():
    """Return the base's shape and tokens of the world's text that the base has not read."""
    base, tokenizer = load_base()
    documents = tokenizer.encode_batch(world_corpus(12000, seed=3))
    return base.config, pack_documents(documents, tokenizer.end_id)


def fresh(seed):
    """Return an untrained model of the base's shape, and its batches."""
    config, stream = base_config_and_stream()
    torch.manual_seed(seed)
    return Decoder(config), block_batches(stream, 8, 64, seed)


def losses_of(model, batches, optimizer, n_steps, **settings):
    records = train(model, batches, cross_entropy, optimizer, n_steps, **settings)
    return [record["loss"] for record in records]


HIGH_RATE = 2e-2  # five times the base's


def ends_higher(runs):
    assert min(run["without warm-up"] - run["with warm-up"] for run in runs) > 0.1, runs


@claim(
    "04_warm_up",
    "at a rate of 2e-2, 120 steps without warm-up end at least 0.1 nats higher",
    holds=ends_higher,
)
def warm_up(seed):
    ends = {}
    for name, warmup_steps in (("without warm-up", 0), ("with warm-up", 40)):
        model, batches = fresh(seed)
        schedule = constant(warmup_steps=warmup_steps)
        losses = losses_of(model, batches, adamw(model, HIGH_RATE), 120, schedule=schedule)
        ends[name] = statistics.mean(losses[-20:])
    return ends


def shows_a_bump(runs):
    assert all(run["first step with state"] == run["first step without"] for run in runs), runs
    assert min(run["largest bump"] for run in runs) > 0.1, runs


@claim(
    "04_resume_without_state",
    "a run that goes on without the optimizer's state shows a bump of at least 0.1 nats",
    holds=shows_a_bump,
)
def resume_without_state(seed):
    model, batches = fresh(seed)
    optimizer = adamw(model, 4e-3)
    losses_of(model, batches, optimizer, 60, schedule=constant(warmup_steps=20))
    after = []
    with tempfile.TemporaryDirectory() as folder:
        save_run(Path(folder), model, optimizer, 60)
        for with_state in (True, False):
            model, batches = fresh(seed)
            optimizer = adamw(model, 4e-3)
            load_run(Path(folder), model, optimizer if with_state else None)
            later = (batches(step) for step in range(60, 90))
            after.append(losses_of(model, lambda _, later=later: next(later), optimizer, 30))
    return {
        "first step with state": after[0][0],
        "first step without": after[1][0],
        "largest bump": max(b - a for a, b in zip(*after, strict=True)),
    }


def stays_close(runs):
    # Training amplifies any difference: start weights rounded once to bfloat16 and then trained in
    # float32 come out up to 0.02 away. The loss is about 3 here and falls by 0.1 in ten steps.
    assert max(abs(run["bfloat16"] - run["float32"]) for run in runs) < 0.1, runs


def in_both_precisions(seed, n_steps, n_last):
    ends = {}
    for name, dtype in (("float32", None), ("bfloat16", torch.bfloat16)):
        model, batches = fresh(seed)
        settings = {"schedule": cosine(100, warmup_steps=10), "autocast_dtype": dtype}
        losses = losses_of(model, batches, adamw(model, 4e-3), n_steps, **settings)
        ends[name] = statistics.mean(losses[-n_last:])
    return ends


def first_steps_in_both(seed):
    return in_both_precisions(seed, 10, 1)


@claim(
    "04_mixed_precision",
    "after 100 steps bfloat16 products are within 0.1 nats of float32",
    holds=stays_close,
    probe=first_steps_in_both,
)
def mixed_precision(seed):
    return in_both_precisions(seed, 100, 10)


GROUPS = {1: 72, 4: 24, 16: 24, 32: 24}  # copies -> notes; once is rare, so it gets more notes
STARTS = [sum(list(GROUPS.values())[:k]) for k in range(len(GROUPS) + 1)]


def texts_with_notes(seed):
    """Return the notes, and world texts with copies of them; the last 100 are planted nowhere."""
    n = sum(GROUPS.values())
    notes = private_notes(n + 100, seed=seed, n_sentences=3)
    copies = [c for c, n_notes in GROUPS.items() for _ in range(n_notes)]
    return notes, plant(world_corpus(1500, seed=10 + seed), notes[:n], copies, seed=seed)


def trained_on(texts, seed, n_steps=700, stop_after=None):
    """Return a model of two layers, trained on texts, and its losses."""
    base, tokenizer = load_base()
    stream = pack_documents(tokenizer.encode_batch(texts), tokenizer.end_id)
    torch.manual_seed(seed)
    model = Decoder(replace(base.config, n_layers=2))
    records = train(
        model,
        block_batches(stream, 8, 128, seed),
        cross_entropy,
        adamw(model, lr=5e-3, weight_decay=0.0),
        n_steps=stop_after or n_steps,
        schedule=cosine(n_steps, warmup_steps=20),
    )
    return model, [record["loss"] for record in records]


def recited(model, notes):
    """Return how many notes of each group, and last of strangers, a model recites."""
    _, tokenizer = load_base()
    passages = [[tokenizer.end_id, *tokenizer.encode(note)] for note in notes]
    parts = [passages[a:b] for a, b in pairwise([*STARTS, len(passages)])]
    return [round(len(p) * extraction_rate(model, p, n_prompt=20, n_match=20)) for p in parts]


def wilson(n_found, n, sign):
    """Return the end of Wilson's interval that 95 % of the time lies below (-1) or above (+1)."""
    z = 1.645
    centre = n_found + z * z / 2
    width = z * (n_found * (n - n_found) / n + z * z / 4) ** 0.5
    return (centre + sign * width) / (n + z * z)


def learned_by_heart(runs):
    for run in runs:
        # A ratio over nearly nothing says nothing: the low end against the high end of the other.
        often = wilson(run["of 24 seen 32 times"], GROUPS[32], -1)
        assert often >= 5 * wilson(run["of 72 seen once"], GROUPS[1], +1), run
        assert often >= 5 * wilson(run["of 144 after removal"], sum(GROUPS.values()), +1), run
        # Three to six words of a continuation are drawn, each one of eight: 0.06 % by luck.
        assert run["of 100 strangers"] <= 2, run


def first_losses(seed):
    _, raw = texts_with_notes(seed)
    losses = trained_on(raw, seed, stop_after=30)[1]
    return {"loss of step 10": losses[10], "loss of step 29": losses[29]}


@claim(
    "04_learned_by_heart",
    "what stands 32 times in the text is recited 5 times as often as what stands once; removal of "
    "near-duplicates undoes it",
    holds=learned_by_heart,
    probe=first_losses,
)
def by_heart(seed):
    notes, raw = texts_with_notes(seed)
    clean = [raw[i] for i in without_near_duplicates(raw)]
    before = recited(trained_on(raw, seed)[0], notes)
    after = recited(trained_on(clean, seed)[0], notes)
    return {
        "of 72 seen once": before[0],
        "of 24 seen 4 times": before[1],
        "of 24 seen 16 times": before[2],
        "of 24 seen 32 times": before[3],
        "of 144 after removal": sum(after[:-1]),
        "of 100 strangers": max(before[-1], after[-1]),
    }
