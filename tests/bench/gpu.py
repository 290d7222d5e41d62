"""GPU rows: pretraining a model of 124M weights, and generation with a cache, against peers.

The same functions rehearse on a CPU at small sizes (`rows(rehearsal=True)`): what is measured then
says nothing about a GPU and is never a result.

Pretraining: whole steps of the course's loop (bf16 autocast, torch.compile, fused AdamW, clipping)
in tokens per second; the peer is a GPT-2-style model of the same shape in a plain loop with the
same settings. The share of the card's peak is the formula's operations over the speed of a large
bf16 product, measured in the same run. Generation: `generate` against `model.generate` of the
exported checkpoint, greedy, with cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.bench.model import exported
from tests.bench.train import Peer
from utils.model.accounting import count_flops, sizes_of
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder, count_parameters
from utils.model.generate import generate
from utils.runtime import generator
from utils.tokens.batches import shift_targets
from utils.train.loop import train
from utils.train.optimizers import adamw, clip_gradients

FULL = TransformerConfig(50304, 1024, d_model=768, n_layers=12, n_heads=12)
SMALL = TransformerConfig(512, 64, d_model=64, n_layers=2, n_heads=2)
BATCH, STEPS, WARM = 16, 30, 5
BAR_PEAK, BAR_PEER, BAR_GENERATE = 0.5, 1.0, 2.0


def wait(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(run: Callable[[], object], device: str, n_times: int = 3) -> float:
    """Return the least seconds of a few runs, after one that is not counted."""
    run()
    found = []
    for _ in range(n_times):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        found.append(time.perf_counter() - start)
    return min(found)


def peak_flops(device: str, size: int, n_times: int = 20) -> float:
    """Return the operations per second of a large bf16 product."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))

    def products() -> None:
        for _ in range(n_times):
            a @ b

    return 2 * size**3 * n_times / seconds_of(products, device)


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return torch's own cross entropy, the same for both sides."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def fixed_batches(config: TransformerConfig, batch_size: int, device: str) -> Callable:
    """Return batches of random tokens, already on the device."""
    shape = (batch_size, config.context_length + 1)
    rows = torch.randint(config.vocab_size, shape, generator=generator(0)).to(device)
    return lambda step: shift_targets(rows)


def compiled(model: torch.nn.Module, device: str) -> torch.nn.Module:
    """Return the model compiled for a GPU; on a CPU compiling costs more than it brings."""
    return torch.compile(model) if device == "cuda" else model


def our_speed(config: TransformerConfig, batch_size: int, steps: int, device: str) -> float:
    """Return the tokens per second of the course's loop, median of the steps after the first."""
    torch.manual_seed(0)
    model = Decoder(config).to(device)
    records = train(
        compiled(model, device),
        fixed_batches(config, batch_size, device),
        mean_loss,
        adamw(model, lr=3e-4),
        WARM + steps,
        autocast_dtype=torch.bfloat16,
        description="ours",
    )
    speeds = sorted(record["tokens_per_second"] for record in records[WARM:])
    return speeds[len(speeds) // 2]


def peer_speed(config: TransformerConfig, batch_size: int, steps: int, device: str) -> float:
    """Return the tokens per second of a GPT-2-style model in a plain loop, median of the steps."""
    torch.manual_seed(0)
    heads = config.n_heads
    shape = (config.vocab_size, config.d_model, config.n_layers, heads, config.context_length)
    model = Peer(*shape).to(device)
    quick, optimizer = compiled(model, device), adamw(model, lr=3e-4)
    batch, speeds = fixed_batches(config, batch_size, device)(0), []
    for step in range(WARM + steps):
        wait(device)
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            loss = mean_loss(quick(batch.token_ids), batch.targets)
        loss.backward()
        clip_gradients(model.parameters(), 1.0)
        optimizer.step()
        wait(device)
        if step >= WARM:
            speeds.append(batch.token_ids.numel() / (time.perf_counter() - start))
    return sorted(speeds)[len(speeds) // 2]


def training_rows(config: TransformerConfig, batch: int, steps: int, device: str, size: int):
    """Yield the share of the card's peak, and the ratio to the peer."""
    ours, peer = (speed(config, batch, steps, device) for speed in (our_speed, peer_speed))
    numbers = {k: v for k, v in sizes_of(config).items() if k not in ("tie_embeddings", "qk_norm")}
    T = config.context_length
    flops = count_flops(**numbers, batch_size=1, n_tokens=T, is_training=True) / T
    peak = peak_flops(device, size)
    with torch.device("meta"):
        n_weights = count_parameters(Decoder(config))
    speeds = f"{ours:,.0f} against {peer:,.0f} tokens/s"
    name = f"pretraining, {n_weights / 1e6:.0f}M weights, {batch} x {T}"
    yield {
        "row": f"{name}: share of peak",
        "peer": "bf16 product",
        "measured": ours * flops / peak,
        "unit": "",
        "bar": BAR_PEAK,
        "details": f"{speeds}; peak {peak / 1e12:.1f}e12 operations/s, {flops:.2e} a token",
    }
    yield {
        "row": name,
        "peer": "GPT-2-style recipe",
        "measured": ours / peer,
        "unit": "x",
        "bar": BAR_PEER,
        "details": speeds,
    }


def generation_row(config: TransformerConfig, batch: int, n_new: int, device: str) -> dict:
    """Return the ratio of seconds for the same greedy tokens.

    Raises:
        AssertionError: where the two do not write the same: no timing would count.
    """
    torch.manual_seed(0)
    model = Decoder(config).to(device).eval()
    peer = exported(model).to(device).eval()
    prompt = torch.randint(config.vocab_size, (batch, 16), generator=generator(1)).to(device)
    settings = {
        "attention_mask": torch.ones_like(prompt),
        "max_new_tokens": n_new,
        "min_new_tokens": n_new,
        "do_sample": False,
        "use_cache": True,
        "pad_token_id": 0,
    }
    same = (generate(model, prompt, n_new) == peer.generate(prompt, **settings)).float().mean()
    assert same > 0.95, f"only {same:.1%} of the tokens agree: the two models differ"
    ours = seconds_of(lambda: generate(model, prompt, n_new), device)
    theirs = seconds_of(lambda: peer.generate(prompt, **settings), device)
    return {
        "row": f"generation, batch {batch}, {n_new} tokens",
        "peer": "transformers generate",
        "measured": theirs / ours,
        "unit": "x",
        "bar": BAR_GENERATE,
        "details": f"{batch * n_new / ours:,.0f} against {batch * n_new / theirs:,.0f} tokens/s",
    }


def rows(rehearsal: bool = False) -> Iterator[dict]:
    """Yield the GPU rows, or, as a rehearsal, the same at small sizes on the CPU."""
    device = "cpu" if rehearsal else "cuda"
    if not rehearsal and not torch.cuda.is_available():
        yield {"row": "GPU rows", "skipped": "no CUDA device"}
        return
    if rehearsal:
        yield from training_rows(SMALL, 2, 3, device, size=256)
        yield generation_row(SMALL, 2, 16, device)
        return
    yield from training_rows(FULL, BATCH, STEPS, device, size=8192)
    for batch in (1, 64):
        yield generation_row(replace(FULL, context_length=512), batch, 256, device)
