"""Claims of unit 15: a model cut in three ways trains as one process does, for twenty steps.

The base model on a batch that has something to learn; losses after each step of AdamW, gradients of
the first step. Eight processes on a mesh of 2 x 2 x 2 take seconds a step on two cores, so it is
measured here and not in the lecture.
"""

from __future__ import annotations

import torch

from tests.claims.registry import claim
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.parallel.hybrid import Hybrid
from utils.parallel.processes import run_ranks
from utils.runtime import generator
from utils.train.losses import cross_entropy

N_STEPS = 20
SHAPE = TransformerConfig(vocab_size=128, context_length=32, d_model=64, n_layers=4, n_heads=4)
MESHES = {
    "TP 2": ((1, 1, 2), False),
    "TP 2 with sequence parallel": ((1, 1, 2), True),
    "PP 2": ((2, 1, 1), False),
    "2 x 2 x 2": ((2, 2, 2), False),
    "2 x 2 x 2 with sequence parallel": ((2, 2, 2), True),
}


def batch_of(step: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch in which every second token follows from the one before."""
    ids = torch.randint(SHAPE.vocab_size, (8, 33), generator=generator(1000 * seed + step))
    ids[:, 1::2] = (7 * ids[:, 0:-1:2] + 3) % SHAPE.vocab_size
    targets = ids[:, 1:].clone()
    targets[-1, 5:] = -100  # the last micro-batch counts fewer
    return ids[:, :-1].contiguous(), targets


def alone(weights: dict, seed: int) -> tuple[list[float], dict]:
    """Return the losses of one process, and its first gradients."""
    model = Decoder(SHAPE)
    model.load_state_dict(weights, strict=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses, first = [], {}
    for step in range(N_STEPS):
        ids, targets = batch_of(step, seed)
        optimizer.zero_grad()
        loss = cross_entropy(model(ids), targets)
        loss.backward()
        first = first or {name: w.grad.clone() for name, w in model.named_parameters()}
        optimizer.step()
        losses.append(loss.item())
    return losses, first


def on_mesh(weights: dict, first: dict, seed: int, sizes: tuple, is_cut: bool) -> tuple:
    """Return this rank's losses, and how far its first gradients are off."""
    hybrid = Hybrid(SHAPE, weights, sizes, is_cut)
    optimizer = torch.optim.AdamW(hybrid.part.parameters(), lr=3e-3)
    losses, off = [], 0.0
    for step in range(N_STEPS):
        optimizer.zero_grad()
        losses.append(hybrid.step(*batch_of(step, seed), n_micro_batches=3))
        off = off if step else hybrid.worst_gradient(first)
        optimizer.step()
    return losses, off


def measured_on(seed: int, names: tuple) -> dict[str, float]:
    """Return for each mesh whether it stays within 1e-5 of one process (1.0) or not (0.0)."""
    torch.manual_seed(seed)
    weights = {name: w.detach().clone() for name, w in Decoder(SHAPE).named_parameters()}
    wanted, first = alone(weights, seed)
    found = {"loss falls by": wanted[0] - wanted[-1]}
    for name in names:
        sizes, is_cut = MESHES[name]
        n_ranks = sizes[0] * sizes[1] * sizes[2]
        replies = run_ranks(on_mesh, n_ranks, weights, first, seed, sizes, is_cut, seconds=300.0)
        off = max(abs(a - b) for a, b in zip(replies[0][0], wanted, strict=True))
        found[f"{name}: losses off by"] = off
        found[f"{name}: gradients off by"] = max(reply[1] for reply in replies)
    return found


def one_process(runs: list[dict]) -> None:
    """Losses of 20 steps and gradients of the first are one process's within 1e-5."""
    for run in runs:
        for name, value in run.items():
            assert "off by" not in name or value < 1e-5, (name, value)
        assert run["loss falls by"] > 0.1


def smallest(seed: int) -> dict[str, float]:
    """Measure two ranks alone."""
    return measured_on(seed, ("TP 2", "PP 2"))


@claim(
    "15_model_parallel",
    "TP 2, PP 2 and 2 x 2 x 2 give the losses of one process over 20 steps, and its gradients",
    holds=one_process,
    probe=smallest,
    atol=1e-4,
)
def model_parallel(seed: int) -> dict[str, float]:
    """Measure every mesh."""
    return measured_on(seed, tuple(MESHES))
