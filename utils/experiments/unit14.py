"""Unit 14 on the real model: three steps on two ranks, copied and sharded, against one process."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from utils.experiments.registry import Run, experiment
from utils.parallel.processes import run_ranks
from utils.train.losses import cross_entropy
from utils.world.documents import pretraining_documents
from utils.world.facts import build_world
from utils.zoo.tuning import load_model

N_ROWS, N_TOKENS, RATE = 4, 64, 1e-5
WAYS = ("copied", "sharded")  # DistributedDataParallel and fully_shard (FSDP2)


def local(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def n_bytes(tensors) -> int:
    """Return the bytes that this rank holds of some tensors."""
    return sum(local(t).numel() * t.element_size() for t in tensors if t.dim())


def steps_of(way: str, token_ids: list[list[int]], n_steps: int) -> dict:
    """Train in this rank; return losses, the gradient of some weights, and the bytes held."""
    model, _ = load_model("smollm2")
    model.train()
    rank, n_ranks = dist.get_rank(), dist.get_world_size()
    wrapped = model
    if way == "copied":
        wrapped = DistributedDataParallel(model)
    elif way == "sharded":
        for block in model.blocks:
            fully_shard(block)
        fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    rows = torch.tensor(token_ids).chunk(n_ranks)[rank]
    losses, gradients = [], {}
    for _ in range(n_steps):
        loss = cross_entropy(wrapped(rows[:, :-1]), rows[:, 1:])
        loss.backward()
        if not gradients:
            for name, weight in list(model.named_parameters())[1:6]:
                whole = weight.grad.full_tensor() if way == "sharded" else weight.grad
                gradients[name] = whole.clone()
            held = n_bytes(weight.grad for weight in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        total = loss.detach().clone()
        dist.all_reduce(total)
        losses.append(total.item() / n_ranks)
    state = [value for entry in optimizer.state.values() for value in entry.values()]
    return {
        "losses": losses,
        "gradients": gradients,
        "bytes": {
            "weights": n_bytes(model.parameters()),
            "gradients": held,
            "optimizer": n_bytes(state),
        },
    }


def equal_and_halved(results: list[dict]) -> None:
    """The bar: losses and gradients of one process, and half of each byte where it is sharded."""
    for result in results:
        assert result["largest difference of a loss"] <= 1e-5, result
        assert result["largest difference of a gradient"] <= 1e-5 * result["largest gradient"]
        one, copied, sharded = (result["bytes"][way] for way in ("alone", *WAYS))
        assert copied == one
        assert all(abs(sharded[k] / one[k] - 0.5) <= 0.05 for k in one), (sharded, one)


@experiment(
    "14_sharded",
    "SmolLM2 for three steps on two ranks, copied (DDP) and sharded (FSDP2), against one process",
    n_steps=3,
    minutes=4,
    holds=equal_and_halved,
)
def sharded(run: Run) -> dict:
    """Train in three ways on the same rows, and compare."""
    _, tokenizer = load_model("smollm2")
    text = "\n\n".join(pretraining_documents(build_world(run.seed), 60))
    ids = tokenizer.encode(text)
    n_tokens = 16 if run.is_smoke else N_TOKENS
    rows = [ids[k * (n_tokens + 1) : (k + 1) * (n_tokens + 1)] for k in range(N_ROWS)]
    arguments = (rows, run.n_steps)
    found = {"alone": run_ranks(steps_of, 1, "alone", *arguments, seconds=600, show=False)}
    for way in WAYS:
        found[way] = run_ranks(steps_of, 2, way, *arguments, seconds=900, show=False)
    alone = found["alone"][0]
    others = [one for way in WAYS for one in found[way]]
    return {
        "losses": alone["losses"],
        "losses of ways": {way: found[way][0]["losses"] for way in WAYS},
        "largest difference of a loss": max(
            abs(a - b) for o in others for a, b in zip(alone["losses"], o["losses"], strict=True)
        ),
        "largest difference of a gradient": max(
            (o["gradients"][name] - gradient).abs().max().item()
            for o in others
            for name, gradient in alone["gradients"].items()
        ),
        "largest gradient": max(g.abs().max().item() for g in alone["gradients"].values()),
        "bytes": {way: found[way][0]["bytes"] for way in ("alone", *WAYS)},
    }
