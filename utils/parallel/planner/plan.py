"""A whole plan: the layout, its memory and time, failures, money; and the arithmetic in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product

from utils.parallel.planner.cost import GRID, LOAD, NODE_OVER_GPUS, PRICES, PUE, run_cost
from utils.parallel.planner.failures import (
    FAILURES_PER_GPU_DAY,
    checkpoint_interval,
    goodput,
    mean_time_between,
)
from utils.parallel.planner.fit import FITTED, FRAGMENTATION, OVERHEAD_GIB
from utils.parallel.planner.hardware import Gpu, peak
from utils.parallel.planner.layout import Layout, check_cluster, choose_layout, why_not
from utils.parallel.planner.memory import RECIPES, RECOMPUTE, Recipe, plan_memory
from utils.parallel.planner.models import Architecture, n_parameters
from utils.parallel.planner.time import NVLINK_SHARE, Rates, plan_time, utilisation, work_of

SAVE_SECONDS = 40.0  # BLOOM: 2.3 TB by 384 writers
RESTART_SECONDS = 600.0  # to notice, to replace a node, to load
ROOM = 0.95  # of the memory; the plan's own error is about 5 %
NAMES = {"memory": f"needs more than {ROOM:.0%} of the memory of a GPU"}


class NoLayout(ValueError):
    """No layout fits; the message says what was refused, and why."""


@dataclass(frozen=True)
class Job:
    """What is to be trained on what."""

    model: Architecture
    gpu: Gpu
    n_gpus: int
    n_tokens: float
    seq_len: int
    batch: int  # sequences of a step
    precision: str = "bf16"
    gpus_per_node: int = 8


@dataclass(frozen=True)
class Option:
    """A layout with its bytes and seconds."""

    layout: Layout
    n_micro: int
    memory: dict[str, float]
    seconds: dict[str, float]

    @property
    def candidate(self) -> dict[str, float]:
        """Return what `choose_layout` reads."""
        sizes = {name: getattr(self.layout, name) for name in ("tp", "pp", "dp", "micro_batch")}
        sizes["tp"] *= self.layout.cp  # both send for every layer, and stay inside a node
        return sizes | {"bytes": self.memory["total"], "seconds": self.seconds["total"]}


def powers_of_two(up_to: int) -> list[int]:
    """Return 1, 2, 4, ... up to a number.

    >>> powers_of_two(9)
    [1, 2, 4, 8]
    """
    return [2**k for k in range(max(1, up_to).bit_length())]


def layouts(model: Architecture, n_gpus: int, domain: int, seq_len: int) -> Iterator[Layout]:
    """Yield the layouts that the search tries, some of which can't be run."""
    for tp in powers_of_two(min(2 * domain, n_gpus, 16)):
        for pp in range(1, n_gpus // tp + 1):
            if n_gpus % (tp * pp):
                continue
            ranks = n_gpus // tp // pp
            per_stage = [n // pp for n in (model.n_layers, model.n_layers + 2) if n % pp == 0]
            chunks = [v for v in range(2, 13) if pp > 1 and any(n % v == 0 for n in per_stage)]
            kinds = [(vp, 1) for vp in (1, *chunks)] + ([(1, 3)] if pp == 1 else [])
            contexts = [1] + ([2] if seq_len >= 8192 and ranks % 2 == 0 else [])
            for (vp, zero), micro_batch, cp in product(kinds, (1, 2, 4, 8), contexts):
                for recompute in RECOMPUTE:
                    yield Layout(
                        tp,
                        pp,
                        ranks // cp,
                        micro_batch,
                        vp,
                        cp,
                        zero_stage=zero,
                        recompute=recompute,
                        sequence_parallel=tp > 1,
                    )


def weigh(job: Job, layout: Layout, recipe: Recipe, rates: Rates = FITTED) -> Option:
    """Return the bytes and seconds of a layout."""
    n_micro = max(1, job.batch // layout.dp // layout.micro_batch)
    memory = plan_memory(
        job.model,
        layout,
        job.seq_len,
        n_micro,
        recipe,
        fragmentation=FRAGMENTATION,
        overhead_gib=OVERHEAD_GIB,
    )
    seconds = plan_time(
        job.model, layout, job.gpu, job.seq_len, n_micro, recipe, job.precision, rates
    )
    return Option(layout, n_micro, memory, seconds)


def search(
    job: Job,
    recipe: Recipe = RECIPES["megatron"],
    room: float = ROOM,
    only: Mapping[str, int] | None = None,
) -> tuple[Option, list[Option], Counter]:
    """Return the fastest layout that fits, all that were weighed, and how many were refused why.

    Args:
        job: what is to be trained.
        recipe: the framework's bytes.
        room: share of the memory that a plan may fill.
        only: fields of `Layout` that are given, for example {"tp": 8}.

    Raises:
        NoLayout: where none fits.
        ValueError: for a cluster that there can't be.
    """
    check_cluster(job.n_gpus, job.gpus_per_node)
    refused: Counter = Counter()
    options = []
    only = dict(only or {})
    tried = [
        layout
        for layout in layouts(job.model, job.n_gpus, job.gpu.domain, job.seq_len)
        if all(getattr(layout, name) == value for name, value in only.items())
    ]
    if not tried:  # let the layout that was given say what is wrong with it
        if min(only.values()) < 1:
            raise ValueError(f"counts start at 1, got {only}")
        ranks = only.get("tp", 1) * only.get("pp", 1)
        tried = [replace(Layout(dp=max(1, job.n_gpus // ranks)), **only)]
    for layout in tried:
        reason = why_not(job.model, layout, job.n_gpus, job.gpu.domain, job.batch)
        if reason:
            refused[reason] += 1
        else:
            options.append(weigh(job, layout, recipe))
    limit = room * job.gpu.memory_gib * 2**30
    best, reasons = choose_layout(
        [option.candidate for option in options],
        n_gpus=job.n_gpus,
        gpus_per_node=max(k for k in range(1, job.gpu.domain + 1) if job.n_gpus % k == 0),
        n_heads=job.model.n_heads,
        n_layers=job.model.n_layers,
        batch=job.batch,
        bytes_limit=limit,
    )
    refused.update(NAMES.get(reason, reason) for reason in reasons if reason)
    if best is None:
        least = min((o.memory["total"] for o in options), default=None)
        text = (
            f"{job.model.name} with {job.batch} sequences of {job.seq_len} has no layout on "
            f"{job.n_gpus} {job.gpu.name}"
        )
        if least is not None:
            text += f": the smallest needs {least / 2**30:.0f} GiB of {job.gpu.memory_gib:g} a GPU"
        else:
            text += f"; most often, {refused.most_common(1)[0][0]}"
        raise NoLayout(text)
    return options[best], options, refused


@dataclass(frozen=True)
class Plan:
    """A job with its layout and all that follows from it."""

    job: Job
    recipe: Recipe
    option: Option
    refused: dict[str, int]
    n_weighed: int
    tokens_per_second: float
    mfu: float
    hfu: float
    save_seconds: float
    interval_seconds: dict[str, float]
    goodput: dict[str, float]
    cost: dict
    usd_per_gpu_hour: tuple[float, float]
    prices_from: str

    def as_dict(self) -> dict:
        """Return all of it as plain data for JSON."""
        return asdict(self)


def make_plan(
    job: Job,
    *,
    recipe: Recipe = RECIPES["megatron"],
    only: Mapping[str, int] | None = None,
    usd_per_gpu_hour: tuple[float, float] | None = None,
    save_seconds: float = SAVE_SECONDS,
    restart_seconds: float = RESTART_SECONDS,
) -> Plan:
    """Return the plan of a job.

    Raises:
        NoLayout: where no layout fits.
        ValueError: for sizes that can't be, or a GPU whose price is not known and not given.
    """
    if min(job.n_tokens, job.seq_len, job.batch) <= 0:
        raise ValueError("tokens, sequence length and batch are above 0")
    option, weighed, refused = search(job, recipe, only=only)
    speed = job.batch * job.seq_len / option.seconds["total"]
    mfu, hfu = utilisation(
        job.model,
        job.seq_len,
        speed / job.n_gpus,
        peak(job.gpu, job.precision),
        option.layout.recompute,
    )
    intervals, kept = {}, {}
    for name, (rate, _) in FAILURES_PER_GPU_DAY.items():
        between = mean_time_between(rate, job.n_gpus)
        intervals[name] = checkpoint_interval(save_seconds, between)
        kept[name] = goodput(intervals[name], save_seconds, between, restart_seconds)
    prices, origin = PRICES.get(job.gpu.name, (None, "given"))
    if usd_per_gpu_hour is not None:
        prices, origin = usd_per_gpu_hour, "given"
    if prices is None:
        raise ValueError(
            f"no price of a {job.gpu.name} hour is known here: give one, for example --price 2.5"
        )
    watts = tuple(share * job.gpu.watts * NODE_OVER_GPUS for share in LOAD)
    cost = run_cost(
        job.n_tokens,
        speed,
        job.n_gpus,
        goodput=kept["usual"],
        usd_per_gpu_hour=prices,
        watts_per_gpu=watts,
        pue=PUE,
        grams_per_kwh=GRID,
    )
    return Plan(
        job,
        recipe,
        option,
        dict(refused),
        len(weighed),
        speed,
        mfu,
        hfu,
        save_seconds,
        intervals,
        kept,
        cost,
        prices,
        origin,
    )


def short_text(plan: Plan) -> str:
    """Return a plan in a few lines."""
    job, cost, option = plan.job, plan.cost, plan.option
    held = option.memory["total"] / 2**30
    lines = [
        f"{job.model.name} ({n_parameters(job.model) / 1e9:.1f} billion parameters), "
        f"{job.n_tokens:.3g} tokens on {job.n_gpus} {job.gpu.name}",
        f"layout      {option.layout}",
        f"batch       {job.batch} sequences of {job.seq_len}; "
        f"micro-batches of a rank: {option.n_micro}",
        f"memory      {held:.0f} of {job.gpu.memory_gib:g} GiB on the fullest GPU",
        f"step        {option.seconds['total']:.2f} s, {plan.tokens_per_second:,.0f} tokens/s, "
        f"MFU {plan.mfu:.0%}" + (f" (HFU {plan.hfu:.0%})" if plan.hfu > plan.mfu else ""),
        f"save every  {plan.interval_seconds['usual'] / 60:.0f} minutes "
        f"({plan.interval_seconds['high'] / 60:.0f} to {plan.interval_seconds['low'] / 60:.0f}); "
        f"goodput {plan.goodput['usual']:.1%} ({plan.goodput['high']:.1%} to "
        f"{plan.goodput['low']:.1%})",
        f"time        {cost['days']:.1f} days, {cost['gpu_hours']:,.0f} GPU-hours",
        f"money       {span(cost['usd'], 1e6, 'million dollars')}",
        f"energy      {span(cost['mwh'], 1, 'MWh')}",
        f"CO2         {span(cost['tonnes_co2'], 1, 'tonnes')}",
    ]
    return "\n".join(lines)


def span(pair: tuple[float, float], unit: float, name: str) -> str:
    """Return a range with two digits or more.

    >>> span((1234567.0, 3e6), 1e6, "million dollars")
    '1.2 to 3 million dollars'
    """

    def two(x: float) -> str:
        return f"{x:,.0f}" if x >= 100 else f"{x:.2g}"

    return f"{two(pair[0] / unit)} to {two(pair[1] / unit)} {name}"


def explanation(plan: Plan) -> str:
    """Return the arithmetic of a plan, with units."""
    job, option, layout = plan.job, plan.option, plan.option.layout
    work = work_of(job.model, layout, job.gpu, job.seq_len, option.n_micro, plan.recipe)
    top = peak(job.gpu, job.precision)
    lines = ["", "Memory of the fullest GPU (GiB)"]
    for name, n in option.memory.items():
        lines.append(f"  {name:12} {n / 2**30:8.2f}")
    lines += [
        f"  framework = {FRAGMENTATION - 1:.1%} of the rest (allocator) + {OVERHEAD_GIB} GiB "
        "(context, communication)",
        "",
        f"Time of a step (seconds); micro-batches of a rank: {option.n_micro}",
    ]
    for name, seconds in option.seconds.items():
        lines.append(f"  {name:12} {seconds:8.3f}")
    lines += [
        f"  matrix products: {work.matmul_flops / 1e12:.1f} TFLOP a micro-batch and GPU at "
        f"{FITTED.matmul:.3f} x {top / 1e12:.0f} TFLOP/s",
        f"  attention scores: {work.attention_flops / 1e12:.1f} TFLOP at {FITTED.matmul:.3f} x "
        f"{job.gpu.bf16 / 1e12:.0f} TFLOP/s",
        f"  other kernels: {work.moved_bytes / 1e9:.1f} GB at {FITTED.memory:.3f} x "
        f"{job.gpu.memory_rate / 1e12:.2f} TB/s",
        f"  fixed: {work.passes:.0f} passes through a layer x {FITTED.layer_seconds * 1e3:.2f} ms",
        f"  tensor: {work.tp_bytes / 1e9:.2f} GB a micro-batch at {NVLINK_SHARE} x "
        f"{job.gpu.nvlink / 1e9:.0f} GB/s",
        f"  bubble: (compute + tensor) x ({layout.pp} - 1) / ({layout.vp} x {option.n_micro})",
        f"  pipeline: {work.pp_bytes / 1e9:.3f} GB a micro-batch at {FITTED.network:.3f} x "
        f"{job.gpu.network / 1e9:.0f} GB/s",
        f"  data: {work.dp_bytes / 1e9:.2f} GB a step at {FITTED.network:.3f} x "
        f"{job.gpu.network / 1e9:.0f} GB/s, less what compute hides",
        "",
        f"Failures of a job on {job.n_gpus} GPUs, {plan.save_seconds:g} s to save, "
        f"{RESTART_SECONDS:g} s to restart",
    ]
    for name, (rate, origin) in FAILURES_PER_GPU_DAY.items():
        hours = mean_time_between(rate, job.n_gpus) / 3600
        lines.append(
            f"  {name:6} {rate:.5f} a GPU-day -> one in {hours:.1f} h; save every "
            f"{plan.interval_seconds[name] / 60:.0f} min; goodput {plan.goodput[name]:.3f}\n"
            f"         {origin}"
        )
    low, high = plan.usd_per_gpu_hour
    lines += [
        "",
        "Money and energy",
        f"  {job.n_tokens:.3g} tokens / {plan.tokens_per_second:,.0f} tokens/s / "
        f"{plan.goodput['usual']:.3f} = {plan.cost['days']:.1f} days",
        f"  x {job.n_gpus} GPUs x {low:g} to {high:g} dollars an hour ({plan.prices_from})",
        f"  x {LOAD[0]:g} to {LOAD[1]:g} of {job.gpu.watts:g} W x {NODE_OVER_GPUS} (the node) x "
        f"{PUE[0]} to {PUE[1]} (the building)",
        f"  x {GRID[0]:g} to {GRID[1]:g} g CO2 a kWh",
        "",
        f"{plan.n_weighed} layouts weighed; refused:",
    ]
    common = sorted(plan.refused.items(), key=lambda item: -item[1])
    lines += [f"  {count:4} {reason}" for reason, count in common[:8]]
    return "\n".join(lines)
