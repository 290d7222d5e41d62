"""Unit 08 on the real model: medical answers are learned, and an old text is read before and after.

One experiment for each way to learn, so that a method that is changed is measured again alone. All
of them read the same medical rows in the same order, and start from the same weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from utils.evaluate.text_loss import text_bits_per_byte
from utils.experiments.records import recorded
from utils.experiments.registry import Run, experiment
from utils.text.corpora import python_reference
from utils.text.qa_rows import question_answer_rows
from utils.tokens.batches import Batch, block_batches, pack_documents, supervised_batches
from utils.train.forgetting import (
    ewc_penalty,
    fisher_diagonal,
    mix_replay,
    weights_of,
    with_penalty,
)
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.train.sft import sft_loss
from utils.zoo.tuning import Tuning, adapt, answer_loss, load_model, merged, prepare

N_STEPS, MINUTES = 40, 8
CONTEXT = 256  # tokens of a row, old or new
N_FISHER = 32  # rows of the old text, on which the Fisher is estimated


def as_long_as(new: Callable[[int], Batch], old: Callable[[int], Batch]) -> Callable[[int], Batch]:
    """Return the old batches, cut to the length of the new batch of the same step."""

    def batch_of(step: int) -> Batch:
        T = new(step).token_ids.shape[1]
        return Batch(*(rows[:, :T] for rows in old(step)))

    return batch_of


def learned(run: Run, method: str = "full", share: float = 0.0, strength: float = 0.0) -> dict:
    """Tune the real model on MedQuAD; measure the new and the old before and after.

    Args:
        run: where, with which seed, how long.
        method: of `Tuning`: which weights learn.
        share: of the rows of a batch that are old text (replay).
        strength: of elastic weight consolidation.

    Returns:
        "losses" of training; "new": nats per token of held-out answers before and after; "old":
        bits per byte of topics of Python's reference that were never trained on.
    """
    settings, wanted = Tuning(method=method, seed=run.seed, context_length=CONTEXT), "medquad"
    topics = python_reference()
    unseen, seen = topics[::10], [topic for k, topic in enumerate(topics) if k % 10]
    n_fisher = N_FISHER
    if run.is_smoke:  # the world's rows need neither a folder nor a network
        settings = Tuning(
            data="world", method=method, context_length=64, n_tokens=500, n_held_out=2
        )
        wanted, unseen, n_fisher = "world", [unseen[0][:500]], 1
    rows, columns = question_answer_rows(wanted)
    model, tokenizer = load_model("smollm2")
    prepared = prepare(rows, columns, tokenizer, settings)

    def measured() -> tuple[float, float]:
        return (
            answer_loss(model, prepared.held_out, tokenizer.pad_id),
            text_bits_per_byte(model, tokenizer, unseen, CONTEXT, batch_size=4),
        )

    before = measured()
    model = adapt(model, settings)
    if run.is_smoke and method == "full":  # a checkpoint with the state of all has 1.6 GB
        model.requires_grad_(False)
        model.blocks[-1].requires_grad_(True)
    stream = pack_documents(tokenizer.encode_batch(seen), tokenizer.end_id)  # (N,)
    old = block_batches(stream, settings.batch_size, settings.context_length, seed=run.seed)
    batches = supervised_batches(
        prepared.examples,
        settings.batch_size,
        settings.context_length,
        tokenizer.pad_id,
        run.seed,
    )
    if share:
        batches = mix_replay(batches, as_long_as(batches, old), share)
    loss_fn = sft_loss
    if strength:
        start = weights_of(model)
        read = [old(step).token_ids for step in range(-(-n_fisher // settings.batch_size))]
        chance = torch.Generator().manual_seed(run.seed)
        fisher = fisher_diagonal(model, torch.cat(read)[:n_fisher], chance)
        loss_fn = with_penalty(sft_loss, lambda: ewc_penalty(model, start, fisher), strength)
    records = train(
        model,
        batches,
        loss_fn,
        adamw(model, lr=settings.peak_rate, weight_decay=0.01),
        run.n_steps,
        schedule=cosine(run.n_steps, warmup_steps=2),
        checkpoint=run.folder,
        checkpoint_every=0 if run.is_smoke else 20,
        description=f"SmolLM2 on MedQuAD, {method}",
    )
    model = merged(model)
    return {
        "losses": [record["loss"] for record in records],
        **dict(zip(("new", "old"), zip(before, measured(), strict=True), strict=True)),
        "tokens": records[-1]["tokens"],
        "tokens_per_second": records[-1]["tokens"] / records[-1]["seconds"],
    }


def learns(results: list[dict]) -> None:
    """The bar: held-out answers get likelier, by a twentieth of their loss at least."""
    for result in results:
        assert result["new"][1] <= 0.95 * result["new"][0], result["new"]


def keeps_half(results: list[dict]) -> None:
    """The bar: it learns, and gives up at most half as much of the old text as full tuning."""
    learns(results)
    before, after = recorded("08_full")["results"]["0"]["old"]
    for result in results:
        rise = result["old"][1] - result["old"][0]
        assert rise <= 0.5 * (after - before), (rise, after - before)


@experiment(
    "08_full",
    "SmolLM2 tuned on MedQuAD with all weights: answers held out, and the old text",
    n_steps=N_STEPS,
    minutes=MINUTES,
    holds=learns,
)
def full(run: Run) -> dict:
    """Tune all weights with nothing that holds the old."""
    return learned(run)


@experiment(
    "08_lora",
    "SmolLM2 tuned on MedQuAD with adapters of rank 16: answers held out, and the old text",
    n_steps=N_STEPS,
    minutes=MINUTES,
    holds=keeps_half,
)
def lora(run: Run) -> dict:
    """Tune adapters."""
    return learned(run, "lora")


@experiment(
    "08_replay",
    "SmolLM2 tuned on MedQuAD with a quarter of the rows old: answers held out, and the old text",
    n_steps=N_STEPS,
    minutes=MINUTES,
    holds=keeps_half,
)
def replay(run: Run) -> dict:
    """Tune all weights; one row of four is old text."""
    return learned(run, share=0.25)


@experiment(
    "08_ewc",
    "SmolLM2 tuned on MedQuAD with springs of strength 100: answers held out, and the old text",
    n_steps=N_STEPS,
    minutes=MINUTES,
    holds=keeps_half,
)
def ewc(run: Run) -> dict:
    """Tune all weights with elastic weight consolidation."""
    return learned(run, strength=100.0)
