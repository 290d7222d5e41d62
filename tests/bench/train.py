"""Our model and loop against the public nanoGPT CPU recipe, at equal CPU seconds.

The recipe: tiny shakespeare by characters, 4 layers, 4 heads, width 128, context 64, batch 12,
2000 steps, dropout 0, AdamW 1e-3 down to 1e-4 with 100 steps of warm-up and betas (.9, .99); the
published validation loss is 1.88. The peer here is that recipe on a plain GPT-2-style model written
for this benchmark (LayerNorm, GELU, learned positions, no biases), not the public code itself.

Ours may choose its size and settings; they were chosen with seed 0. Both train in one process with
one thread, in turns of a few seconds, so that a busy machine slows them alike; ours gets as many
steps as fit into the peer's CPU seconds. Losses are means over the whole validation split (the last
tenth), in blocks of 64 characters, in nats per character.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder, count_parameters
from utils.runtime import generator
from utils.settings import data_dir, project_root
from utils.tokens.batches import block_batches
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import Schedule, constant, cosine

TEXT = "tinyshakespeare.txt"
SEEDS = (0, 1, 2)
PEER_STEPS, PEER_BATCH, PEER_CONTEXT = 2000, 12, 64
TURNS = 25
MARGIN = 0.95
BAR_LOSS = 1.75

OUR_MODEL = TransformerConfig(
    vocab_size=65,
    context_length=64,
    d_model=64,
    n_layers=3,
    n_heads=2,
    qk_norm=True,
)
OUR_RATE, OUR_WARMUP, OUR_BATCH = 5e-3, 100, 12


class PeerBlock(nn.Module):
    """A GPT-2 block: LayerNorm, attention, LayerNorm, GELU of four times the width."""

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.norm1 = nn.LayerNorm(d_model, bias=False)
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.mix = nn.Linear(d_model, d_model, bias=False)
        self.norm2 = nn.LayerNorm(d_model, bias=False)
        self.up = nn.Linear(d_model, 4 * d_model, bias=False)
        self.down = nn.Linear(4 * d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.n_heads, -1).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # (B, H, T, K)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(heads.transpose(1, 2).reshape(B, T, D))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Peer(nn.Module):
    """The recipe's model: learned positions, tied embeddings, GPT-2's initialisation."""

    def __init__(
        self,
        vocab_size: int,
        d_model: int = 128,
        n_layers: int = 4,
        n_heads: int = 4,
        context_length: int = PEER_CONTEXT,
    ):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.places = nn.Embedding(context_length, d_model)
        self.blocks = nn.Sequential(*[PeerBlock(d_model, n_heads) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                residual = name.endswith(("mix.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * n_layers) if residual else 0.02)

    def forward(self, token_ids: Tensor) -> Tensor:
        places = torch.arange(token_ids.shape[1], device=token_ids.device)
        x = self.blocks(self.tokens(token_ids) + self.places(places))
        return F.linear(self.norm(x), self.tokens.weight)  # (B, T, V)


def load_characters() -> tuple[Tensor, Tensor, int]:
    """Return training ids, validation ids (the last tenth) and the number of characters.

    Raises:
        FileNotFoundError: where COURSE_DATA_DIR does not hold the text.
    """
    folder = data_dir()
    if folder is None or not (folder / TEXT).is_file():
        raise FileNotFoundError(f"COURSE_DATA_DIR names no folder with {TEXT}")
    text = (folder / TEXT).read_text(encoding="utf-8")
    number = {character: i for i, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([number[character] for character in text])
    split = int(0.9 * len(ids))
    return ids[:split], ids[split:], len(number)


def random_blocks(ids: Tensor, batch_size: int, context_length: int, seed: int) -> Callable:
    """Return batches of blocks cut at random places, a pure function of the step."""
    window = torch.arange(context_length + 1)

    def batch(step: int) -> SimpleNamespace:
        g = generator(seed * 1_000_003 + step)
        starts = torch.randint(len(ids) - context_length, (batch_size, 1), generator=g)
        block = ids[starts + window]  # (B, T + 1)
        return SimpleNamespace(token_ids=block[:, :-1], targets=block[:, 1:])

    return batch


@torch.inference_mode()
def validation_loss(model: nn.Module, ids: Tensor, context_length: int) -> float:
    """Return the mean loss over all whole blocks of the split, in nats per character."""
    n_blocks = (len(ids) - 1) // context_length
    inputs = ids[: n_blocks * context_length].view(n_blocks, -1)
    targets = ids[1 : n_blocks * context_length + 1].view(n_blocks, -1)
    total = 0.0
    for rows, its in zip(inputs.split(64), targets.split(64), strict=True):
        total += cross_entropy(model(rows), its).item() * len(rows)
    return total / n_blocks


class PeerRun:
    """The recipe, in its own plain loop of torch's parts, trained in turns."""

    def __init__(self, ids: Tensor, vocab_size: int, seed: int):
        torch.manual_seed(seed)
        self.model = Peer(vocab_size)
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        gains = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": 0.1},
            {"params": gains, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
        self.batches = random_blocks(ids, PEER_BATCH, PEER_CONTEXT, seed)
        self.steps, self.cpu_seconds = 0, 0.0

    def turn(self, n_steps: int) -> None:
        start = time.process_time()
        for step in range(self.steps, self.steps + n_steps):
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate(step)
            batch = self.batches(step)
            logits = self.model(batch.token_ids)
            loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
        self.steps += n_steps
        self.cpu_seconds += time.process_time() - start

    @staticmethod
    def learning_rate(step: int) -> float:
        if step < 100:
            return 1e-3 * (step + 1) / 101
        done = (step - 100) / (PEER_STEPS - 100)
        return 1e-4 + 0.5 * (1 + math.cos(math.pi * done)) * (1e-3 - 1e-4)


class OurRun:
    """Our decoder, optimizer and loop, trained in turns."""

    def __init__(self, ids: Tensor, vocab_size: int, seed: int):
        torch.manual_seed(seed)
        self.model = Decoder(replace(OUR_MODEL, vocab_size=vocab_size))
        self.optimizer = adamw(self.model, OUR_RATE, weight_decay=0.1, betas=(0.9, 0.99))
        self.batches = block_batches(ids, OUR_BATCH, OUR_MODEL.context_length, seed)
        self.steps, self.cpu_seconds = 0, 0.0

    def turn(self, n_steps: int, schedule: Schedule) -> None:
        start, first = time.process_time(), self.steps
        train(
            self.model,
            lambda step: self.batches(first + step),
            cross_entropy,
            self.optimizer,
            n_steps,
            schedule=lambda step: schedule(first + step),
        )
        self.steps += n_steps
        self.cpu_seconds += time.process_time() - start


def measure(seed: int) -> dict:
    """Train both in turns with one thread; return losses, steps and CPU seconds."""
    torch.set_num_threads(1)
    ids, held_out, vocab_size = load_characters()
    n_steps = affordable_steps(ids, vocab_size)
    schedule = cosine(n_steps, warmup_steps=OUR_WARMUP, final=0.0)
    peer, ours = PeerRun(ids, vocab_size, seed), OurRun(ids, vocab_size, seed)
    for turn in range(1, TURNS + 1):
        peer.turn(PEER_STEPS * turn // TURNS - peer.steps)
        ours.turn(n_steps * turn // TURNS - ours.steps, schedule)
    return {
        "seed": seed,
        "loss": validation_loss(ours.model, held_out, OUR_MODEL.context_length),
        "peer_loss": validation_loss(peer.model, held_out, PEER_CONTEXT),
        "steps": ours.steps,
        "n_weights": count_parameters(ours.model),
        "peer_n_weights": count_parameters(peer.model),
        "cpu_seconds": ours.cpu_seconds,
        "peer_cpu_seconds": peer.cpu_seconds,
    }


def affordable_steps(ids: Tensor, vocab_size: int) -> int:
    """Return how many of our steps fit into the peer's time, with a margin for noise."""
    peer, ours = PeerRun(ids, vocab_size, 0), OurRun(ids, vocab_size, 0)
    peer.turn(5)
    ours.turn(5, constant())
    peer.cpu_seconds = ours.cpu_seconds = 0.0
    for _ in range(8):
        peer.turn(5)
        ours.turn(5, constant())
    return int(PEER_STEPS * peer.cpu_seconds / ours.cpu_seconds * MARGIN)


def measure_apart(seed: int) -> dict:
    """Return `measure(seed)` of a process of its own, with one thread."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.train", "--seed", str(seed)],
        cwd=project_root(),
        env={**os.environ, "COURSE_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"seed {seed}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def rows() -> Iterator[dict]:
    """Yield the loss at equal CPU seconds, and how equal they were, over three seeds."""
    name, peer = "validation loss of the nanoGPT CPU recipe", "GPT-2-style, same recipe"
    try:
        load_characters()
    except FileNotFoundError as error:
        yield {"row": name, "skipped": f"{error}; set it to a folder that has the text"}
        return
    at_once = max(1, min(len(SEEDS), (os.cpu_count() or 1) // 2))
    with ThreadPoolExecutor(at_once) as pool:
        runs = list(pool.map(measure_apart, SEEDS))
    losses = [run["loss"] for run in runs]
    shares = [run["cpu_seconds"] / run["peer_cpu_seconds"] for run in runs]
    yield {
        "row": name,
        "peer": peer,
        "measured": statistics.mean(losses),
        "unit": "nats/char",
        "bar": BAR_LOSS,
        "at_least": False,
        "details": (
            f"{len(SEEDS)} seeds, mean (range): ours {spread(losses)}, {runs[0]['n_weights']:,} "
            f"weights, {runs[0]['steps']:,} steps; peer "
            f"{spread([run['peer_loss'] for run in runs])}, {runs[0]['peer_n_weights']:,} weights, "
            f"{PEER_STEPS:,} steps in {spread([run['peer_cpu_seconds'] for run in runs], 0)} CPU "
            "seconds (the public code: 1.88)"
        ),
        "runs": runs,
    }
    yield {
        "row": "CPU seconds of that training, ours / peer",
        "peer": peer,
        "measured": max(shares),
        "unit": "x",
        "bar": 1.0,
        "at_least": False,
        "details": f"the largest of the seeds; mean (range) {spread(shares)}",
    }


def spread(values: list[float], digits: int = 3) -> str:
    """Return mean and range.

    >>> spread([1.0, 2.0, 4.5], 1)
    '2.5 (1.0 to 4.5)'
    """
    mean, low, high = statistics.mean(values), min(values), max(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(measure(parser.parse_args().seed)))
