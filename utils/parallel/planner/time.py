"""How long a training step takes: compute, links, bubble, what is hidden.

Four constants are fitted to published runs (`fit.py`), all others are physical. Sources: Narayanan
et al. (arXiv:2104.04473) sections 2 and 3 for pipelines and their bubble; Korthikanti et al.
(arXiv:2205.05198) for tensor and sequence parallelism. Left out: the traffic of experts,
stragglers, data loading.
"""

from __future__ import annotations

from dataclasses import dataclass

from utils.parallel.planner.hardware import Gpu, peak
from utils.parallel.planner.layout import Layout
from utils.parallel.planner.memory import Recipe, stage_layers
from utils.parallel.planner.models import (
    Architecture,
    attention_weights,
    expert_weights,
    forward_flops,
    layer_weights,
)

NVLINK_SHARE = 0.8  # of the link's rate, in large all-reduces inside a node
HIDDEN_FSDP = 0.9  # share of the compute that gathering of shards can hide behind
HIDDEN_MODERN = 0.5  # the same for gradients, in frameworks that overlap them with the backward


@dataclass(frozen=True)
class Rates:
    """The fitted constants of time.

    Args:
        matmul: share of the peak that matrix products reach.
        memory: share of the memory's rate that all other kernels reach.
        network: share of the network's rate that gradients reach.
        layer_seconds: of one pass through one layer, whatever its size: launches, waits.
    """

    matmul: float
    memory: float
    network: float
    layer_seconds: float


def step_time(
    flops: float,
    moved_bytes: float,
    tp_bytes: float,
    pp_bytes: float,
    dp_bytes: float,
    n_micro: int,
    *,
    pp: int = 1,
    vp: int = 1,
    flops_per_second: float,
    memory_per_second: float,
    nvlink_per_second: float,
    network_per_second: float,
    fixed_seconds: float = 0.0,
    overlap: float = 0.0,
) -> dict[str, float]:
    """Return the seconds of a training step on the slowest pipeline stage, by term.

    - "compute": for each micro-batch the matrix products, then the kernels that only move memory,
      then `fixed_seconds`; one after the other.
    - "tensor": for each micro-batch its all-reduces inside the node, which nothing hides.
    - "bubble": while a pipeline fills and drains a stage waits (pp - 1) / (vp * n_micro) of
      compute and tensor together.
    - "pipeline": for each micro-batch the activations that go to the next stage over the network.
    - "data": the gradients over the network, once a step, less what `overlap` times "compute"
      hides; never below 0.

    Args:
        flops: of one micro-batch on one GPU, forward and backward, with what is recomputed.
        moved_bytes: to and from the GPU's memory, for one micro-batch.
        tp_bytes, pp_bytes: sent by one GPU for one micro-batch.
        dp_bytes: sent by one GPU for one step.
        n_micro: micro-batches of a step.
        pp, vp: pipeline stages, and chunks of each (1: not interleaved).
        flops_per_second, memory_per_second, nvlink_per_second, network_per_second: real rates.
        fixed_seconds: of one micro-batch.
        overlap: from 0 to 1.

    Returns:
        the five terms and their sum "total", in seconds.

    Raises:
        ValueError: for a rate that is not above 0, micro-batches, stages or chunks below 1, or an
            overlap outside 0 to 1.

    >>> rates = dict(flops_per_second=3e12, memory_per_second=1e12)
    >>> rates |= dict(nvlink_per_second=1e11, network_per_second=1e9)
    >>> found = step_time(6e12, 0, 0, 0, 1e9, 4, pp=2, **rates)
    >>> found["compute"], found["bubble"], found["data"], found["total"]
    (8.0, 2.0, 1.0, 11.0)
    """
    rates = (flops_per_second, memory_per_second, nvlink_per_second, network_per_second)
    if not min(rates) > 0:
        raise ValueError(f"rates are above 0, got {rates}")
    if n_micro < 1 or pp < 1 or vp < 1:
        raise ValueError(f"counts start at 1: {n_micro} micro-batches, {pp} stages, {vp} chunks")
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is from 0 to 1, got {overlap}")
    one = flops / flops_per_second + moved_bytes / memory_per_second + fixed_seconds
    compute = n_micro * one
    tensor = n_micro * tp_bytes / nvlink_per_second
    terms = {
        "compute": compute,
        "tensor": tensor,
        "bubble": (compute + tensor) * (pp - 1) / (vp * n_micro),
        "pipeline": n_micro * pp_bytes / network_per_second,
        "data": max(0.0, dp_bytes / network_per_second - overlap * compute),
    }
    return {**terms, "total": sum(terms.values())}


@dataclass(frozen=True)
class Work:
    """What one GPU of the fullest stage does for a micro-batch, and for the data-parallel part.

    Args:
        matmul_flops: in the precision of the run.
        attention_flops: of attention scores, always in bfloat16.
        moved_bytes, tp_bytes, pp_bytes: for a micro-batch.
        dp_bytes: over the network, for a step.
        passes: passes through a layer, counting the backward as two.
    """

    matmul_flops: float
    attention_flops: float
    moved_bytes: float
    tp_bytes: float
    pp_bytes: float
    dp_bytes: float
    passes: float


def work_of(
    model: Architecture,
    layout: Layout,
    gpu: Gpu,
    seq_len: int,
    n_micro: int,
    recipe: Recipe,
) -> Work:
    """Return what the fullest stage does for one micro-batch.

    A backward pass is two forward passes of matrix products; full recompute adds a third. Flash
    attention recomputes its scores in the backward by itself, half a forward pass more. Tensor
    parallelism all-reduces twice in the forward; of the two in the backward one is hidden behind
    the weights' gradient.
    """
    tp, cp, d = layout.tp, layout.cp, model.d_model
    tokens = layout.micro_batch * seq_len / cp
    n_layers, has_head = stage_layers(model.n_layers, layout.pp, layout.vp)
    is_full = layout.recompute == "full"
    passes = 4.0 if is_full else 3.0
    if layout.recompute == "selective" and recipe.has_flash:
        passes = 3.5  # half of the layers are recomputed
    weights = attention_weights(model) + expert_weights(model) * model.n_chosen
    matmul = n_layers * passes * 2 * tokens * weights / tp
    if has_head:
        matmul += 3 * 2 * tokens * d * model.vocab_size / tp
    scores = 4 * tokens * seq_len * d / tp * (0.5 if recipe.has_flash else 1.0)
    extra = 0.5  # flash attention's own recompute
    if not recipe.has_flash:
        extra = 1.0 if layout.recompute == "selective" else 0.0
    moved = moved_bytes(model, layout, tokens, seq_len, recipe)
    ring = 2 * (tp - 1) / tp * 2 * tokens * d  # bytes of one all-reduce
    in_domain = tp * layout.pp <= gpu.domain and tp * layout.pp * layout.dp * cp <= gpu.domain
    sent = 2 * tokens * d / tp * layout.vp * 2 if layout.pp > 1 else 0.0
    if recipe.has_flash:
        sent /= 2  # half is hidden behind the other micro-batches
    if in_domain or tp * layout.pp <= gpu.domain:
        sent *= gpu.network / gpu.nvlink
    d_kv = d * model.n_kv_heads / model.n_heads
    keys = passes * 4 * tokens * cp * d_kv / tp * (cp - 1) / cp
    return Work(
        matmul,
        n_layers * scores * (passes + extra),
        n_layers * passes * moved,
        n_layers * ((passes - 1.5) * 2 * ring + keys),
        sent,
        gradient_traffic(model, layout, gpu, n_layers, n_micro),
        n_layers * passes,
    )


def moved_bytes(
    model: Architecture, layout: Layout, tokens: float, seq_len: int, recipe: Recipe
) -> float:
    """Return the bytes that the forward of one layer moves outside matrix products.

    Each kernel that is none reads and writes 2 bytes a number; the fused softmax of 2021 does so
    once for each score.
    """
    per_token = 20.0 if recipe.has_flash else 24.0  # two norms, two residuals, dropout's masks
    if not recipe.has_fused_norm:
        per_token += 20.0
    split = layout.tp if layout.sequence_parallel else 1
    whole = per_token * model.d_model * tokens / split
    inner = (8 if model.is_gated else 6) * model.d_ff + 8 * model.d_model
    scores = 0.0 if recipe.has_flash else 4 * model.n_heads * tokens * seq_len / layout.tp
    return whole + inner * tokens / layout.tp + scores


def gradient_traffic(
    model: Architecture, layout: Layout, gpu: Gpu, n_layers: int, n_micro: int
) -> float:
    """Return the bytes that one GPU sends for gradients, in terms of the network's rate.

    Ranks that share a node reduce there first, so each sends its part only; inside the fast links'
    domain nothing crosses the network, and the bytes are scaled to its rate.
    """
    tp, dp, cp = layout.tp, layout.dp, layout.cp
    held = layer_weights(model) * n_layers / tp + model.vocab_size * model.d_model / tp * (
        2 if layout.pp == 1 and not model.is_tied else 1
    )
    ranks = tp * layout.pp * dp * cp
    local = max(1, min(dp, gpu.domain // (tp * cp)))
    rate = gpu.nvlink if ranks <= gpu.domain else min(gpu.nvlink, gpu.network * local)
    scale = gpu.network / rate
    if layout.zero_stage == 3:
        gathers = 3 if layout.recompute == "full" else 2
        return (n_micro * gathers + 1) * 2 * held * (dp - 1) / dp * scale
    return 2 * (dp - 1) / dp * 2 * held * scale


def plan_time(
    model: Architecture,
    layout: Layout,
    gpu: Gpu,
    seq_len: int,
    n_micro: int,
    recipe: Recipe,
    precision: str,
    rates: Rates,
) -> dict[str, float]:
    """Return the seconds of a step, by term."""
    work = work_of(model, layout, gpu, seq_len, n_micro, recipe)
    top = peak(gpu, precision)
    overlap = 0.0
    if layout.zero_stage == 3:
        overlap = HIDDEN_FSDP
    elif recipe.has_flash:
        overlap = HIDDEN_MODERN
    return step_time(
        work.matmul_flops + work.attention_flops * top / gpu.bf16,
        work.moved_bytes,
        work.tp_bytes,
        work.pp_bytes,
        work.dp_bytes,
        n_micro,
        pp=layout.pp,
        vp=layout.vp,
        flops_per_second=top * rates.matmul,
        memory_per_second=gpu.memory_rate * rates.memory,
        nvlink_per_second=gpu.nvlink * NVLINK_SHARE,
        network_per_second=gpu.network * rates.network,
        fixed_seconds=work.passes * rates.layer_seconds,
        overlap=overlap,
    )


def utilisation(
    model: Architecture,
    seq_len: int,
    tokens_per_second_per_gpu: float,
    peak_flops: float,
    recompute: str = "none",
) -> tuple[float, float]:
    """Return model and hardware utilisation (MFU, HFU): without and with what is recomputed.

    >>> from utils.parallel.planner.models import find_model
    >>> mfu, hfu = utilisation(find_model("llama3-70b"), 8192, 800, 989e12, "full")
    >>> f"{mfu:.2f} {hfu:.2f}"
    '0.39 0.52'
    """
    forward = forward_flops(model, seq_len)
    again = 2 * model.vocab_size * model.d_model  # the head is not recomputed
    passes = 3 * forward + (forward - again if recompute == "full" else 0)
    rate = tokens_per_second_per_gpu / peak_flops
    return 3 * forward * rate, passes * rate
