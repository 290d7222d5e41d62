"""The sweep behind the scaling law: `python -m utils.zoo.scaling [--workers N] [--out FILE]`.

Decoders of eight widths are trained on the source text of Python's standard library, each text
read once at most, at four budgets of operations. All have the same depth and the same rule for the
learning rate. The record of three seeds is shipped, so that a law can be fitted in a second.

The library differs a little between versions of Python, and so do the losses. Left out on purpose:
the world's text, whose loss falls in jumps, as one skill after another is learned.

Letters: N weights (the tied table counted once), D tokens.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import random
import sysconfig
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from utils.evaluate.text_loss import stream_loss
from utils.model.accounting import count_parameters, sizes_of
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.settings import artifacts_dir
from utils.tokens.batches import block_batches, pack_documents
from utils.tokens.tokenizer import Tokenizer
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.zoo.build import one_thread
from utils.zoo.files import write_atomically

SHIPPED = Path(__file__).parent / "sweep" / "sweep.json"
SEEDS = (0, 1, 2)
PLAN = {  # operations: widths whose run has at least 400 updates and reads no text twice
    1.2e11: (16, 32, 48),
    3.6e11: (16, 32, 48, 64, 96),
    1.08e12: (32, 48, 64, 96, 128),
    3.24e12: (64, 96, 128, 192, 256),
}
N_LAYERS, D_HEAD, VOCAB_SIZE = 2, 16, 512
BATCH_SIZE, CONTEXT_LENGTH = 8, 64
RATE = 0.25  # over the width: the rule for all, chosen on widths 16 to 128 at 205,000 tokens
WARMUP_SHARE = 0.1
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "encodings", "idlelib", "lib2to3"}


class Text(NamedTuple):
    """Two streams of token ids, (n_tokens,) int64."""

    training: Tensor
    validation: Tensor


def library_pieces(n_lines: int = 40) -> list[str]:
    """Return the source of Python's standard library in pieces of some lines, always in one order.

    Args:
        n_lines: length of a piece.

    Raises:
        FileNotFoundError: where this Python has no source of its library.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    pieces = []
    for path in sorted(root.rglob("*.py")):
        if LEFT_OUT & set(path.relative_to(root).parts):
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        pieces += ["\n".join(lines[k : k + n_lines]) for k in range(0, len(lines), n_lines)]
    if not pieces:
        raise FileNotFoundError(
            f"{root} holds no source of the standard library (zipped, or left out): run the sweep "
            "with a Python that has it; the shipped record needs none"
        )
    random.Random(0).shuffle(pieces)
    return pieces


@lru_cache(maxsize=1)
def library_text(n_validation: int = 150) -> Text:
    """Return the library as tokens: a few hundred pieces for validation, the others to train on."""
    pieces = library_pieces()
    tokenizer = Tokenizer.train(pieces[::6], VOCAB_SIZE)
    encoded = tokenizer.encode_batch(pieces)
    parts = encoded[n_validation:], encoded[:n_validation]
    return Text(*(pack_documents(part, tokenizer.end_id) for part in parts))


def config_of(width: int) -> TransformerConfig:
    """Return the shape of a width; all else is the same for all.

    >>> config_of(64).n_heads, config_of(64).n_layers
    (4, 2)
    """
    return TransformerConfig(
        VOCAB_SIZE, CONTEXT_LENGTH, d_model=width, n_layers=N_LAYERS, n_heads=width // D_HEAD
    )


def n_steps_of(width: int, flops: float) -> int:
    """Return how many updates 6 N D operations allow.

    >>> n_steps_of(64, 3.6e11)
    840
    """
    tokens = flops / 6 / count_parameters(**sizes_of(config_of(width)))
    return round(tokens / (BATCH_SIZE * CONTEXT_LENGTH))


def run_point(width: int, flops: float, seed: int) -> dict:
    """Train one model of the sweep and return its record.

    Args:
        width: d_model.
        flops: the budget; what was used differs by less than one step's.
        seed: of weights and of the order of the text.

    Raises:
        ValueError: where the run would read a text twice.
    """
    text = library_text()
    n_steps = n_steps_of(width, flops)
    n_tokens = n_steps * BATCH_SIZE * CONTEXT_LENGTH
    if n_tokens > len(text.training) - 2 * CONTEXT_LENGTH:
        raise ValueError(
            f"width {width} at {flops:.2g} operations reads {n_tokens:,} tokens and the text has "
            f"{len(text.training):,}: choose a larger width or a smaller budget"
        )
    start = time.perf_counter()
    torch.manual_seed(seed)
    model = Decoder(config_of(width))
    train(
        model,
        block_batches(text.training, BATCH_SIZE, CONTEXT_LENGTH, seed),
        cross_entropy,
        adamw(model, RATE / width),
        n_steps,
        schedule=cosine(n_steps, warmup_steps=round(WARMUP_SHARE * n_steps), final=0.0),
        description=f"width {width}, seed {seed}",
    )
    seconds = time.perf_counter() - start
    return {
        "seed": seed,
        "flops": flops,
        "d_model": width,
        "n_parameters": count_parameters(**sizes_of(model.config)),
        "n_tokens": n_tokens,
        "loss": round(stream_loss(model, text.validation, CONTEXT_LENGTH), 5),
        "seconds": round(seconds, 2),
    }


def points(seeds: Sequence[int] = SEEDS) -> list[tuple[int, float, int]]:
    """Return (width, operations, seed) of each run, the longest first."""
    plan = [(w, flops, s) for flops, widths in PLAN.items() for w in widths for s in seeds]
    return sorted(plan, key=lambda point: -point[1])


def run_sweep(seeds: Sequence[int] = SEEDS, n_workers: int = 2) -> dict:
    """Run the whole sweep in processes of one thread and return its record."""
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")  # the same on every platform
    with ProcessPoolExecutor(n_workers, context, initializer=one_thread) as pool:
        runs = list(pool.map(run_point, *zip(*points(seeds), strict=True)))
    text = library_text()
    return {
        "recipe": {
            "text": "source of Python's standard library, pieces of 40 lines, read at most once",
            "training_tokens": len(text.training),
            "validation_tokens": len(text.validation),
            "n_layers": N_LAYERS,
            "d_head": D_HEAD,
            "vocab_size": VOCAB_SIZE,
            "batch_size": BATCH_SIZE,
            "context_length": CONTEXT_LENGTH,
            "learning_rate": f"{RATE} / d_model, warm-up {WARMUP_SHARE} of the steps, cosine to 0",
            "optimizer": "adamw, weight decay 0.1, betas 0.9 and 0.95, gradients clipped to 1",
            "command": "python -m utils.zoo.scaling",
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "workers": n_workers,
        "seconds": round(time.perf_counter() - start, 1),
        "runs": sorted(runs, key=lambda r: (r["seed"], r["flops"], r["d_model"])),
    }


def sweep_record(path: Path | str | None = None) -> dict:
    """Return the shipped record of the sweep: recipe, versions, seconds and runs.

    Args:
        path: another record.

    Raises:
        RuntimeError: where the record is missing or is no record of a sweep.
    """
    path = SHIPPED if path is None else Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        whole = all(math.isfinite(run["loss"]) for run in record["runs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RuntimeError(
            f"{path} is missing or damaged ({error}): restore it (git checkout), or make it again "
            "(python -m utils.zoo.scaling)"
        ) from error
    assert whole, "a loss that is not finite stops the sweep"
    return record


def load_sweep(path: Path | str | None = None) -> list[dict]:
    """Return the runs of the shipped sweep.

    Returns:
        Records with seed, flops (the budget), d_model, n_parameters, n_tokens, loss (nats per
        token of held-out text) and seconds (one thread).

    >>> sorted({run["seed"] for run in load_sweep()})
    [0, 1, 2]
    """
    return sweep_record(path)["runs"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sweep from the command line."""
    parser = argparse.ArgumentParser(description="train the models behind the scaling law")
    parser.add_argument("--workers", type=int, default=2, help="processes side by side")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--out", type=Path, help="file (default: artifacts/zoo/sweep.json)")
    options = parser.parse_args(arguments)
    out = options.out or artifacts_dir() / "zoo" / "sweep.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    record = run_sweep(options.seeds, options.workers)
    write_atomically(out, (json.dumps(record, indent=1) + "\n").encode("utf-8"))
    print(f"{len(record['runs'])} runs in {record['seconds']:.0f} s, written to {out}")


if __name__ == "__main__":
    main()
