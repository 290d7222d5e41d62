"""The six fitted constants, and how well the planner does on runs that they were not fitted to.

`python -m utils.parallel.planner.fit` fits, tests each source with constants fitted without it,
and prints both; `--rows FILE` tries other rows with the constants as they are. Time has four
constants (`Rates`), fitted to core rows, each weighted by 1 / sqrt(rows of its source). Memory has
two, fitted to readings of `nvidia-smi`; what fits of the 80 GB grid is not used for them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from utils.parallel.planner.layout import Layout
from utils.parallel.planner.memory import plan_memory
from utils.parallel.planner.runs import (
    bytes_read,
    gpu_of,
    is_allocated,
    layout_of,
    model_of,
    n_micro_of,
    published_runs,
    recipe_of,
    seconds_of,
    why_unusable,
)
from utils.parallel.planner.time import Rates, plan_time

FITTED = Rates(matmul=0.679, memory=0.357, network=0.503, layer_seconds=8.53e-4)
FRAGMENTATION, OVERHEAD_GIB = 1.109, 9.33
TIME_BOUNDS = ((0.3, 0.95), (0.05, 1.0), (0.1, 1.0), (1e-6, 5e-3))
MEMORY_BOUNDS = ((1.0, 1.4), (0.5, 15.0))


def predicted_seconds(row: dict, rates: Rates = FITTED, layout: Layout | None = None) -> float:
    """Return the seconds of a step that the planner expects of a row, in its layout or another."""
    n_micro = n_micro_of(row)
    if layout is not None:
        n_micro = row["global_batch_seqs"] // layout.dp // layout.micro_batch
    return plan_time(
        model_of(row),
        layout or layout_of(row),
        gpu_of(row),
        row["seq_len"],
        n_micro,
        recipe_of(row),
        row["precision"],
        rates,
    )["total"]


def predicted_bytes(
    row: dict, fragmentation: float = FRAGMENTATION, overhead_gib: float = OVERHEAD_GIB
) -> float:
    """Return the bytes that the planner expects the fullest GPU of a row to hold."""
    return plan_memory(
        model_of(row),
        layout_of(row),
        row["seq_len"],
        n_micro_of(row),
        recipe_of(row),
        fragmentation=fragmentation,
        overhead_gib=overhead_gib,
    )["total"]


def fit(
    errors: Callable[[np.ndarray], np.ndarray],
    start: Sequence[float],
    bounds: Sequence[tuple[float, float]],
    weights: np.ndarray,
) -> np.ndarray:
    """Return the constants with the least sum of |error| (squared below .1), by Gauss-Newton.

    Args:
        errors: constants -> logarithms of predicted over published.
        start: first constants.
        bounds: (low, high) of each.
        weights: of the rows.
    """
    low, high = np.log(np.array(bounds)).T
    x, damping = np.log(np.array(start)), 1e-3

    def loss(e: np.ndarray) -> float:
        a = np.abs(e)
        return float((weights * np.where(a < 0.1, 5 * a * a, a - 0.05)).sum())

    e = errors(np.exp(x))
    for _ in range(30):
        slopes = np.stack(
            [(errors(np.exp(x + step)) - e) / 1e-4 for step in 1e-4 * np.eye(len(x))], axis=1
        )
        w = weights / np.maximum(np.abs(e), 0.1)
        normal = (slopes * w[:, None]).T @ slopes
        gradient = (slopes * w[:, None]).T @ e
        ridge = damping * normal.diagonal().max() * np.eye(len(x))
        new = np.clip(x - np.linalg.solve(normal + ridge, gradient), low, high)
        then = errors(np.exp(new))
        if loss(then) < loss(e):
            is_done = loss(e) - loss(then) < 1e-6
            x, e, damping = new, then, damping / 3
            if is_done:
                break
        else:
            damping *= 5
            if damping > 1e4:
                break
    return np.exp(x)


def throughput_rows(rows: Sequence[dict] | None = None) -> list[dict]:
    """Return the core rows that can be compared with the plan."""
    rows = published_runs() if rows is None else rows
    return [row for row in rows if row.get("core") and why_unusable(row) is None]


def memory_rows(rows: Sequence[dict] | None = None) -> list[dict]:
    """Return the rows whose memory was read and whose recipe of bytes is known.

    A shape that can't be split evenly (`atypical-config`) is slow, and its bytes are what they are.
    """
    rows = published_runs() if rows is None else rows
    rows = [{**row, "flag": None} if row["flag"] == "atypical-config" else row for row in rows]
    return [row for row in rows if row["peak_mem"] is not None and why_unusable(row) is None]


def grid_rows() -> list[dict]:
    """Return the rows of the 80 GB grid, those that fit and those that don't."""
    return [row for row in published_runs() if row["source_id"] == "aleph-alpha"]


def source_weights(rows: Sequence[dict]) -> np.ndarray:
    """Return 1 / sqrt(rows of its source) for each row."""
    names = [row["source_id"] for row in rows]
    return np.array([1 / names.count(name) ** 0.5 for name in names])


def fit_time(rows: Sequence[dict]) -> Rates:
    """Return the constants of time fitted to rows."""

    def errors(x: np.ndarray) -> np.ndarray:
        rates = Rates(*x)
        return np.log([predicted_seconds(row, rates) / seconds_of(row) for row in rows])

    return Rates(*fit(errors, astuple(FITTED), TIME_BOUNDS, source_weights(rows)).tolist())


def fit_memory(rows: Sequence[dict]) -> tuple[float, float]:
    """Return fragmentation and overhead (GiB) fitted to rows."""
    read = np.array([bytes_read(row) for row in rows])
    used = np.array([predicted_bytes(row, 1.0, 0.0) for row in rows])

    def errors(x: np.ndarray) -> np.ndarray:
        return np.log((used * x[0] + x[1] * 2**30) / read)

    start = (FRAGMENTATION, OVERHEAD_GIB)
    return tuple(fit(errors, start, MEMORY_BOUNDS, np.ones(len(rows))).tolist())


def throughput_errors(rows: Sequence[dict], rates: Rates = FITTED) -> list[float]:
    """Return predicted over published throughput, less 1, for each row."""
    return [seconds_of(row) / predicted_seconds(row, rates) - 1 for row in rows]


def leave_one_source_out(rows: Sequence[dict] | None = None) -> list[tuple[dict, float, Rates]]:
    """Return (row, error, constants) for each core row, fitted to all other sources."""
    rows = throughput_rows() if rows is None else rows
    found = []
    for name in dict.fromkeys(row["source_id"] for row in rows):
        rates = fit_time([row for row in rows if row["source_id"] != name])
        held_out = [row for row in rows if row["source_id"] == name]
        errors = throughput_errors(held_out, rates)
        found += [(row, error, rates) for row, error in zip(held_out, errors, strict=True)]
    return found


def memory_errors(rows: Sequence[dict], constants: tuple[float, float]) -> list[float]:
    """Return predicted over published bytes, less 1, for each row."""
    return [
        predicted_bytes(row, *((1.0, 0.0) if is_allocated(row) else constants)) / bytes_read(row)
        - 1
        for row in rows
    ]


def fits_or_not(
    rows: Sequence[dict], constants: tuple[float, float] = (FRAGMENTATION, OVERHEAD_GIB)
) -> list[tuple[bool, bool, float]]:
    """Return (fits by the plan, did fit, predicted bytes over the GPU's) for each row."""
    found = []
    for row in rows:
        share = predicted_bytes(row, *constants) / (gpu_of(row).memory_gib * 2**30)
        found.append((share <= 1, row["status"] == "ok", share))
    return found


def intervals(n_draws: int = 40, seed: int = 0) -> list[tuple[float, float]]:
    """Return for each of the six constants what 90 % of fits to resampled sources give."""
    rng = np.random.default_rng(seed)
    rows, read = throughput_rows(), memory_rows()
    names = list(dict.fromkeys(row["source_id"] for row in rows))
    drawn = []
    for _ in range(n_draws):
        chosen = rng.choice(names, len(names))
        sample = [row for name in chosen for row in rows if row["source_id"] == name]
        memory = [read[k] for k in rng.integers(0, len(read), len(read))]
        drawn.append((*astuple(fit_time(sample)), *fit_memory(memory)))
    low, high = np.quantile(np.array(drawn), (0.05, 0.95), axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def summary(errors: Sequence[float]) -> dict[str, float]:
    """Return the median of absolute errors and the shares within 10 and 20 %.

    >>> summary([0.1, -0.3, 0.15, 0.15])
    {'median': 0.15, 'within 10 %': 0.25, 'within 20 %': 0.75, 'rows': 4}
    """
    a = np.abs(np.array(errors))
    shares = {f"within {p} %": float((a <= p / 100).mean()) for p in (10, 20)}
    return {"median": float(np.median(a)), **shares, "rows": len(a)}


def report(say: Callable[[str], None] = print) -> None:
    """Fit, test, and print what came out."""
    left_out = leave_one_source_out()
    say("throughput, each source predicted by constants fitted without it")
    for name in dict.fromkeys(row["source_id"] for row, _, _ in left_out):
        errors = [error for row, error, _ in left_out if row["source_id"] == name]
        say(f"  {name:18} {say_summary(errors)}, middle {np.median(errors):+.3f}")
    say(f"  {'all':18} {say_summary([error for _, error, _ in left_out])}")
    rows, read = throughput_rows(), memory_rows()
    rates, memory = fit_time(rows), fit_memory(read)
    say(f"memory             {say_summary(memory_errors(read, memory))}")
    for kind in ("", "RMS"):
        grid = [row for row in grid_rows() if ("RMS" in row["attention_kernel"]) == bool(kind)]
        found = fits_or_not(grid, memory)
        right = sum(fits == did for fits, did, _ in found) / len(found)
        lowest = min((share for fits, did, share in found if fits and not did), default=1.0)
        say(
            f"fits or not, {kind or 'other':5} {right:.3f} right of {len(found)}; of those called "
            f"fit that did not, the lowest plan is {lowest:.2f} of the memory"
        )
    say("constants, and what 90 % of fits to resampled sources give")
    names = ("matmul", "memory", "network", "layer_seconds", "fragmentation", "overhead_gib")
    values = (*astuple(rates), *memory)
    for name, value, (low, high) in zip(names, values, intervals(), strict=True):
        say(f"  {name:14} {value:.4g}  ({low:.4g} to {high:.4g})")


def say_summary(errors: Sequence[float]) -> str:
    """Return a summary as text."""
    found = summary(errors)
    return (
        f"median {found['median']:.3f}, within 20 % {found['within 20 %']:.3f}, "
        f"{found['rows']} rows"
    )


def main(arguments: Sequence[str]) -> int:
    """Fit and test, or try other rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, help="JSON list of rows in the columns of the data")
    chosen = parser.parse_args(arguments)
    if chosen.rows is None:
        report()
        return 0
    rows = json.loads(chosen.rows.read_text("utf-8"))
    usable = [row for row in rows if row.get("tokens_per_s_per_gpu") and not why_unusable(row)]
    print(f"{len(rows)} rows, {len(usable)} comparable")
    if usable:
        print(f"throughput: {say_summary(throughput_errors(usable))}")
    read = [r for r in rows if r.get("peak_mem") and not why_unusable({**r, "flag": None})]
    if read:
        print(f"memory: {say_summary(memory_errors(read, (FRAGMENTATION, OVERHEAD_GIB)))}")
    with_oom = {row["source_id"] for row in rows if row.get("status") == "oom"}
    grid = [r for r in rows if r["source_id"] in with_oom and not why_unusable({**r, "flag": None})]
    if grid:
        verdicts = fits_or_not(grid)
        right = sum(planned == did for planned, did, _ in verdicts)
        print(f"fits or not: {right} right of {len(grid)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
