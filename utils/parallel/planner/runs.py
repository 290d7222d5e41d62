"""Published training runs as rows, and what the planner makes of one.

Rows are facts with their source (`data/sources.jsonl`), in the columns of the tables that they are
from; null is "not published". `flag` marks rows that contradict themselves or lack a layout.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from utils.parallel.planner.hardware import GPUS, Gpu
from utils.parallel.planner.layout import Layout
from utils.parallel.planner.memory import RECIPES, RECOMPUTE, Recipe
from utils.parallel.planner.models import Architecture

DATA = Path(__file__).with_name("data")
NEEDED = ("n_layers", "d_model", "d_ff", "vocab_size", "seq_len", "global_batch_seqs")
NEEDED += ("micro_batch", "n_gpus", "tp", "pp", "dp", "accelerator", "precision")


def lines_of(name: str) -> list:
    """Return the JSON values of a data file, one a line."""
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


@cache
def published_runs() -> tuple[dict, ...]:
    """Return all rows, those that ran out of memory included (`status` is "oom").

    >>> rows = published_runs()
    >>> len(rows), sum(row["status"] == "oom" for row in rows)
    (914, 337)
    """
    names, *shapes = lines_of("shapes.jsonl")
    columns, *rows = lines_of("runs.jsonl")
    found = []
    for values in rows:
        row = dict(zip(columns, values, strict=True))
        row |= dict(zip(names, shapes[row.pop("shape")], strict=True))
        found.append(row | {"source_id": row["id"].rpartition("-")[0]})
    return tuple(found)


def sources() -> dict[str, dict]:
    """Return the documents that rows are from, by `source_id`."""
    return {source["id"]: source for source in lines_of("sources.jsonl")}


def why_unusable(row: dict) -> str | None:
    """Return why a row can't be compared with the plan; None where it can."""
    if row.get("flag"):
        return row["flag"]
    row = filled(row)
    absent = [name for name in NEEDED if row.get(name) is None]
    if absent:
        return f"not published: {', '.join(absent)}"
    if gpu_name(row) not in GPUS:
        return f"{row['accelerator']} is not in the table of GPUs"
    return None


def filled(row: dict) -> dict:
    """Return a row with what follows from its other columns.

    Sharded parameters (FSDP) alone mean stage 3 without tensor parallelism or stages, and the
    data-parallel ranks are those that are left. What lies between no and full recompute is
    selective.

    >>> filled({"fsdp": True, "n_gpus": 64})["dp"]
    64
    """
    row = dict(row)
    if row.get("fsdp"):
        for name, value in (("tp", 1), ("pp", 1), ("zero_stage", 3)):
            row[name] = value if row.get(name) is None else row[name]
    if row.get("dp") is None and all(row.get(name) for name in ("n_gpus", "tp", "pp")):
        row["dp"] = row["n_gpus"] // row["tp"] // row["pp"] // (row.get("cp") or 1) or None
    if row.get("recompute") not in (None, *RECOMPUTE):
        row["recompute"] = "selective"
    return row


def gpu_name(row: dict) -> str:
    """Return what our table calls the accelerator of a row.

    >>> gpu_name({"accelerator": "A100-80GB"})
    'a100'
    """
    return str(row["accelerator"]).split("-")[0].split(" ")[0].lower()


def gpu_of(row: dict) -> Gpu:
    """Return the GPU of a row, with the memory and the network that the row states."""
    gpu = GPUS[gpu_name(row)]
    if row.get("inter_node_gbps_per_gpu"):
        gpu = replace(gpu, network=row["inter_node_gbps_per_gpu"] / 8 * 1e9)
    if row.get("accelerator_mem_gb"):
        gpu = replace(gpu, memory_gib=row["accelerator_mem_gb"])
    return gpu


def model_of(row: dict) -> Architecture:
    """Return the sizes of a row's model; heads of 128 where their number is not published."""
    n_heads = row.get("n_heads") or max(1, row["d_model"] // 128)
    return Architecture(
        row.get("model") or "",
        row["n_layers"],
        row["d_model"],
        n_heads,
        row.get("n_kv_heads") or n_heads,
        row["d_ff"],
        row["vocab_size"],
        bool(row.get("gated_mlp")),
        bool(row.get("tied_embeddings")),
        row.get("n_experts") or 1,
        row.get("top_k") or 1,
    )


def layout_of(row: dict) -> Layout:
    """Return the layout of a row; what is not published is off."""
    row = filled(row)
    return Layout(
        row["tp"],
        row["pp"],
        row["dp"],
        row["micro_batch"],
        row.get("vp") or 1,
        row.get("cp") or 1,
        row.get("ep") or 1,
        row.get("zero_stage") or 0,
        row.get("recompute") or "none",
        bool(row.get("sp")),
    )


def n_micro_of(row: dict) -> int:
    """Return the micro-batches of a row's step."""
    row = filled(row)
    return max(1, round(row["global_batch_seqs"] / row["dp"] / row["micro_batch"]))


def recipe_of(row: dict) -> Recipe:
    """Return the recipe of a row's framework, by the kernels that it states."""
    if row.get("recipe"):
        return RECIPES[row["recipe"]]
    kernel = (row.get("attention_kernel") or "flash").lower()
    if "flash" not in kernel or "no flash" in kernel:
        return RECIPES["megatron-2021"]
    if kernel.startswith("flash_attention2"):
        return RECIPES["aleph-rms" if "rms" in kernel else "aleph"]
    is_megatron = kernel in ("flash", "cudnn flash")
    return RECIPES["fsdp" if row.get("fsdp") and not is_megatron else "megatron"]


def seconds_of(row: dict) -> float:
    """Return the published seconds of a row's step, from its tokens per second."""
    tokens = row["global_batch_seqs"] * row["seq_len"] / row["n_gpus"]
    return tokens / row["tokens_per_s_per_gpu"]


def bytes_read(row: dict) -> float:
    """Return the published memory of a row in bytes; nvidia-smi's GB are GiB.

    >>> bytes_read({"peak_mem": 1.0, "mem_unit": "GB"}), bytes_read({"peak_mem": 1.0})
    (1000000000.0, 1073741824.0)
    """
    unit = row.get("mem_unit") or "GiB"
    is_decimal = unit.startswith("GB") and "smi" not in unit
    return row["peak_mem"] * (1e9 if is_decimal else 2**30)


def is_allocated(row: dict) -> bool:
    """Return whether a reading counts tensors alone, without what the framework takes."""
    return "alloc" in (row.get("mem_kind") or "")
