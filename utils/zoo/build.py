"""Trains a shipped model: `python -m utils.zoo.build base [--seed N] [--out DIR]`.

World text -> tokenizer -> stream of tokens -> training -> questions -> three files. With
`--replicas`, other seeds are trained by the same recipe, as processes of one thread side by side,
and their numbers are put into `recipe.json`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import torch

from utils.evaluate.text_loss import stream_loss
from utils.evaluate.world_qa import world_accuracy
from utils.model.decoder import Decoder, count_parameters
from utils.runtime import n_threads
from utils.settings import artifacts_dir
from utils.tokens.batches import block_batches, pack_documents
from utils.tokens.tokenizer import Tokenizer
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import warmup_stable_decay
from utils.world.datasheet import text_hash
from utils.world.documents import pretraining_documents
from utils.world.facts import World, build_world
from utils.world.stand_ins import stand_in_documents
from utils.zoo.files import save_model
from utils.zoo.recipe import BARS, BASE, Recipe

VALIDATION_SEED = 1_000_000  # no seed of a recipe
N_VALIDATION_DOCUMENTS = 1000


def token_stream(tokenizer: Tokenizer, documents: Sequence[str]) -> torch.Tensor:
    """Return all documents as one row of token ids, each after an end token.

    Returns:
        (n_tokens,) int64; it ends with an end token.
    """
    end = tokenizer.end_id
    return torch.cat([torch.tensor([end]), pack_documents(tokenizer.encode_batch(documents), end)])


def train_base(recipe: Recipe, description: str = "base") -> tuple[Decoder, Tokenizer, dict]:
    """Return a base model, its tokenizer and the record of how it was made and how good it is.

    Args:
        recipe: what to make; the same recipe gives the same model on one machine.
        description: text before the progress bar.
    """
    start = time.perf_counter()
    world = build_world(recipe.world_seed)
    tokenizer = Tokenizer.train(
        stand_in_documents(world, recipe.n_tokenizer_documents), recipe.vocab_size
    )
    documents = pretraining_documents(world, recipe.n_documents, recipe.seed)
    stream = token_stream(tokenizer, documents)
    torch.manual_seed(recipe.seed)
    model = Decoder(recipe.config())
    records = train(
        model,
        block_batches(stream, recipe.batch_size, recipe.context_length, recipe.seed),
        cross_entropy,
        adamw(model, recipe.learning_rate, weight_decay=recipe.weight_decay, betas=recipe.betas),
        recipe.n_steps,
        schedule=warmup_stable_decay(
            recipe.n_steps,
            warmup_steps=recipe.warmup_steps,
            decay_steps=round(recipe.decay_share * recipe.n_steps),
            final=recipe.final,
        ),
        description=description,
    )
    trained_seconds = time.perf_counter() - start
    metrics = world_accuracy(model, tokenizer, world, recipe.n_questions)
    n_validation = min(N_VALIDATION_DOCUMENTS, recipe.n_documents)
    metrics["validation_loss_nats"] = validation_loss(model, tokenizer, world, n_validation)
    record = {
        "recipe": asdict(recipe),
        "data": {
            "n_documents": len(documents),
            "n_tokens": len(stream),
            "sha256": text_hash(documents),
        },
        "metrics": {name: round(value, 4) for name, value in metrics.items()},
        "n_parameters": count_parameters(model),
        "trained_tokens": records[-1]["tokens"],
        "seconds": round(trained_seconds, 1),
        "seconds_with_questions": round(time.perf_counter() - start, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return model, tokenizer, record


def validation_loss(
    model: Decoder, tokenizer: Tokenizer, world: World, n_documents: int = N_VALIDATION_DOCUMENTS
) -> float:
    """Return the mean loss in nats per token on documents that no recipe trains on."""
    documents = pretraining_documents(world, n_documents, VALIDATION_SEED)
    stream = token_stream(tokenizer, documents)
    return stream_loss(model, stream, model.config.context_length)


def build_base(
    folder: Path | str,
    recipe: Recipe = BASE,
    replicas: Sequence[Recipe] = (),
    report: Callable[[str], None] | None = None,
) -> dict:
    """Train a base model into a folder and return its record.

    Args:
        folder: gets `model.safetensors`, `tokenizer.json` and `recipe.json`, each written whole.
        recipe: what to make.
        replicas: recipes that are trained for their numbers alone.
        report: called with a line about each model, for example `print`.
    """
    report = report or (lambda line: None)
    model, tokenizer, record = train_base(recipe)
    report(describe(record))
    record |= {"bars": BARS, "replicas": []}
    save_model(folder, model, tokenizer, record)
    if replicas:
        record["replicas"] = measure_replicas(replicas)
        for replica in record["replicas"]:
            report(describe(replica))
        save_model(folder, model, tokenizer, record)
    return record


def describe(record: dict) -> str:
    """Return one line with what a model was made from and what it reaches."""
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in record["metrics"].items())
    recipe, seconds = record["recipe"], record["seconds"]
    return (
        f"seed {recipe['seed']}, world {recipe['world_seed']}: {numbers}; "
        f"{seconds:.0f} s with {record['threads']} threads"
    )


def measure_replicas(recipes: Sequence[Recipe]) -> list[dict]:
    """Train each recipe in a process of one thread and return the records."""
    workers = min(len(recipes), n_threads())
    context = multiprocessing.get_context("spawn")  # the same on every platform
    with ProcessPoolExecutor(workers, context, initializer=one_thread) as pool:
        return list(pool.map(replica_record, recipes))


def one_thread() -> None:
    """Make a process of replicas use one thread."""
    torch.set_num_threads(1)


def replica_record(recipe: Recipe) -> dict:
    """Return the record of a recipe's training, without the model."""
    name = f"seed {recipe.seed}, world {recipe.world_seed}"
    return train_base(recipe, description=name)[2]


def read_replica(text: str, recipe: Recipe) -> Recipe:
    """Return the recipe for "SEED" or "SEED:WORLD".

    >>> read_replica("2:1", BASE).seed, read_replica("2:1", BASE).world_seed
    (2, 1)
    """
    seed, _, world_seed = text.partition(":")
    try:
        numbers = int(seed), int(world_seed) if world_seed else recipe.world_seed
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"a replica is SEED or SEED:WORLD in whole numbers, got {text!r}"
        ) from None
    return replace(recipe, seed=numbers[0], world_seed=numbers[1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Build a shipped model from the command line."""
    parser = argparse.ArgumentParser(description="train a shipped model")
    parser.add_argument("model", choices=["base"], help="which model")
    parser.add_argument("--seed", type=int, default=0, help="weights, documents and their order")
    parser.add_argument("--world-seed", type=int, default=0, help="which world")
    parser.add_argument("--out", type=Path, help="folder (default: artifacts/zoo/base)")
    parser.add_argument(
        "--replicas",
        nargs="*",
        default=[],
        metavar="SEED[:WORLD]",
        help="seeds trained besides, for their numbers",
    )
    options = parser.parse_args(arguments)
    recipe = replace(BASE, seed=options.seed, world_seed=options.world_seed)
    folder = options.out or artifacts_dir() / "zoo" / options.model
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {folder} can't be made ({error.strerror}): name another folder")
    torch.set_num_threads(n_threads())
    build_base(folder, recipe, [read_replica(text, BASE) for text in options.replicas], print)
    print(f"written to {folder}")


if __name__ == "__main__":
    main()
