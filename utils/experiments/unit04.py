"""Unit 04 on the real model: a few steps on a text that it has to read at work."""

from __future__ import annotations

from utils.evaluate.text_loss import text_bits_per_byte
from utils.experiments.registry import Run, experiment
from utils.text.corpora import python_reference
from utils.tokens.batches import block_batches, hash_of, pack_documents
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.zoo.real import load_real

CONTEXT = 256  # tokens in a block, in training and in evaluation


def reads_better(results: list[dict]) -> None:
    """The bar: after the steps, topics that it never saw need fewer bits."""
    for result in results:
        assert result["after"] < result["before"], (result["before"], result["after"])


@experiment(
    "04_python_reference",
    "SmolLM2 reads most of Python's language reference: bits per byte of topics it did not read",
    n_steps=20,
    minutes=6,
    seeds=(0, 1, 2),
    holds=reads_better,
)
def continued_pretraining(run: Run) -> dict:
    """Train all weights on nine of ten topics; measure on the tenth before and after."""
    topics = python_reference()
    unseen, seen = topics[::10], [topic for k, topic in enumerate(topics) if k % 10]
    batch_size, context_length = 4, CONTEXT
    if run.is_smoke:
        unseen, batch_size, context_length = [unseen[0][:1000]], 2, 64
    model, tokenizer = load_real()
    if run.is_smoke:  # a checkpoint with the state of all weights has 1.6 GB
        model.requires_grad_(False)
        model.blocks[-1].requires_grad_(True)

    def bits() -> float:
        return text_bits_per_byte(model, tokenizer, unseen, CONTEXT, batch_size=4)

    before = bits()
    stream = pack_documents(tokenizer.encode_batch(seen), tokenizer.end_id)  # (N,)
    records = train(
        model,
        block_batches(stream, batch_size, context_length, seed=run.seed),
        cross_entropy,
        adamw(model, lr=1e-4),
        n_steps=run.n_steps,
        schedule=cosine(run.n_steps, warmup_steps=2),
        checkpoint=run.folder,
        checkpoint_every=0 if run.is_smoke else 10,
        description="SmolLM2, Python reference",
    )
    return {
        "losses": [record["loss"] for record in records],
        "before": before,
        "after": bits(),
        "tokens": records[-1]["tokens"],
        "tokens_per_second": records[-1]["tokens"] / records[-1]["seconds"],
        "data": {"tokens_in_all": len(stream), "hash": hash_of([stream])},
    }
