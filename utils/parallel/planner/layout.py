"""How a model is cut over GPUs: what can't be, and which cut is fastest.

Left out on purpose: stages of unequal length beyond those of embedding and head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utils.parallel.planner.models import Architecture


@dataclass(frozen=True)
class Layout:
    """Ranks of each kind and what goes with them."""

    tp: int = 1
    pp: int = 1
    dp: int = 1
    micro_batch: int = 1
    vp: int = 1
    cp: int = 1
    ep: int = 1
    zero_stage: int = 1
    recompute: str = "none"
    sequence_parallel: bool = False

    def __str__(self) -> str:
        parts = [f"TP {self.tp}", f"PP {self.pp}", f"DP {self.dp}"]
        if self.vp > 1:
            parts.append(f"{self.vp} virtual stages")
        if self.cp > 1:
            parts.append(f"CP {self.cp}")
        parts += [f"micro-batch {self.micro_batch}", f"ZeRO {self.zero_stage}"]
        parts.append(f"recompute {self.recompute}")
        return ", ".join(parts)


def check_cluster(n_gpus: int, gpus_per_node: int) -> None:
    """Refuse a cluster that there can't be.

    Raises:
        ValueError: for counts below 1, or GPUs that don't fill nodes.

    >>> check_cluster(100, 8)
    Traceback (most recent call last):
    ...
    ValueError: 100 GPUs do not fill nodes of 8: take 96 or 104
    """
    if n_gpus < 1 or gpus_per_node < 1:
        raise ValueError(f"a cluster needs GPUs: got {n_gpus}, {gpus_per_node} a node")
    if n_gpus > gpus_per_node and n_gpus % gpus_per_node:
        low = n_gpus // gpus_per_node * gpus_per_node
        raise ValueError(
            f"{n_gpus} GPUs do not fill nodes of {gpus_per_node}: "
            f"take {low} or {low + gpus_per_node}"
        )


def why_not(
    model: Architecture, layout: Layout, n_gpus: int, domain: int, batch: int
) -> str | None:
    """Return why a layout can't be run whatever the memory; None where it can.

    Args:
        model: its sizes.
        layout: the cut.
        n_gpus: all GPUs.
        domain: GPUs that fast links join.
        batch: sequences of a step.
    """
    tp, pp, dp, vp = layout.tp, layout.pp, layout.dp, layout.vp
    ranks = tp * pp * dp * layout.cp
    if ranks != n_gpus:
        return f"TP x PP x DP x CP = {ranks}, and there are {n_gpus} GPUs"
    if model.n_heads % tp:
        return f"{model.n_heads} heads do not divide by TP {tp}"
    if model.n_kv_heads % tp and tp % model.n_kv_heads:
        return f"{model.n_kv_heads} key heads do not divide by TP {tp}"
    if tp * layout.cp > domain:
        group = f"TP {tp}" + (f" x CP {layout.cp}" if layout.cp > 1 else "")
        return f"{group} leaves the {domain} GPUs that fast links join"
    if pp * vp > model.n_layers:
        return f"{pp * vp} stages are more than {model.n_layers} layers"
    if model.n_layers % (pp * vp) and (model.n_layers + 2) % (pp * vp):
        return (
            f"{model.n_layers} layers (with embedding and head {model.n_layers + 2}) "
            f"do not divide by {pp * vp} stages"
        )
    if batch % (dp * layout.micro_batch):
        return (
            f"{batch} sequences do not divide by DP {dp} times a micro-batch of "
            f"{layout.micro_batch}"
        )
    n_micro = batch // dp // layout.micro_batch
    if n_micro < pp:
        return f"{n_micro} micro-batches are fewer than {pp} stages"
    if vp > 1 and n_micro % pp:
        return f"interleaving needs micro-batches ({n_micro}) that divide by {pp} stages"
    return None


def choose_layout(
    candidates: Sequence[Mapping],
    *,
    n_gpus: int,
    gpus_per_node: int,
    n_heads: int,
    n_layers: int,
    batch: int,
    bytes_limit: float,
) -> tuple[int | None, list[str]]:
    """Return which candidate is fastest among those that can run, and why each other can't.

    A candidate is a dictionary with "tp", "pp", "dp", "micro_batch" (counts), "bytes" (held by the
    fullest GPU) and "seconds" (of a step). It is refused for the first of these that holds:

    - "world": tp * pp * dp is not `n_gpus`;
    - "node": tp is more than `gpus_per_node`, so that its all-reduces would cross nodes;
    - "heads": `n_heads` does not divide by tp;
    - "layers": neither `n_layers` nor `n_layers + 2` (embedding and head count) divides by pp;
    - "batch": `batch` does not divide by dp * micro_batch;
    - "bubble": there are fewer micro-batches (batch / dp / micro_batch) than stages;
    - "memory": "bytes" is more than `bytes_limit`.

    Returns:
        (index, reasons): the index of the fastest that is not refused, the first of equals, None
        where all are; and for each candidate its reason, "" for none.

    Raises:
        ValueError: where `n_gpus` is more than `gpus_per_node` and no multiple of it.

    >>> one = {"tp": 2, "pp": 1, "dp": 4, "micro_batch": 1, "bytes": 50.0, "seconds": 3.0}
    >>> room = dict(n_gpus=8, gpus_per_node=8, n_heads=4, n_layers=6, batch=8, bytes_limit=80.0)
    >>> choose_layout([one, one | {"seconds": 2.0, "bytes": 90.0}], **room)
    (0, ['', 'memory'])
    """
    if n_gpus > gpus_per_node and n_gpus % gpus_per_node:
        raise ValueError(f"{n_gpus} GPUs do not fill nodes of {gpus_per_node}")
    reasons = []
    for one in candidates:
        tp, pp, dp, micro_batch = (one[name] for name in ("tp", "pp", "dp", "micro_batch"))
        tests = {
            "world": tp * pp * dp != n_gpus,
            "node": tp > gpus_per_node,
            "heads": n_heads % tp,
            "layers": n_layers % pp and (n_layers + 2) % pp,
            "batch": batch % (dp * micro_batch),
            "bubble": batch // dp // micro_batch < pp,
            "memory": one["bytes"] > bytes_limit,
        }
        reasons.append(next((name for name, fails in tests.items() if fails), ""))
    left = [k for k, reason in enumerate(reasons) if not reason]
    best = min(left, key=lambda k: candidates[k]["seconds"], default=None)
    return best, reasons
