"""The record of a stage: what went in and came out by hash, what it cost, and with which versions.

It is written last, so that a folder without one holds an unfinished stage. What a stage began with
is noted before, so that a stage which was killed goes on where it was, and never as another one.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from utils.zoo.files import file_hash, write_atomically

RECORD, BEGUN, CHECKPOINTS = "record.json", "begun.json", "checkpoints"
WATTS = {"value": 10.0, "low": 4.0, "high": 20.0}  # of a busy core with its share of the machine
ENERGY_FORMULA = (
    "cpu_seconds * watts of a busy core / 3600, watts 10 (4 to 20): an estimate, not a measurement;"
    " what made the computer and cools it is left out"
)
VERSIONS = ("torch", "numpy", "safetensors", "tokenizers")


@dataclass
class Result:
    """What a stage says of itself: metrics, and the tokens that it read or wrote."""

    metrics: dict[str, Any] = field(default_factory=dict)
    tokens: int = 0


def energy_wh(cpu_seconds: float) -> dict[str, float]:
    """Return an estimate of the energy of computing on a CPU, in watt-hours, with its range.

    >>> energy_wh(3600)
    {'value': 10.0, 'low': 4.0, 'high': 20.0}
    """
    return {name: round(cpu_seconds * watts / 3600, 6) for name, watts in WATTS.items()}


def versions() -> dict[str, str]:
    """Return the versions of what a stage's numbers depend on, without local build tags."""
    found = {name: version(name).partition("+")[0] for name in VERSIONS}
    return {"python": platform.python_version()} | found


def hashes(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of files by their paths relative to a project, in the order of names.

    Raises:
        FileNotFoundError: for a file that an earlier stage has not written.
    """
    found = {}
    for path in sorted(paths):
        if not path.is_file():
            raise FileNotFoundError(
                f"{name_in(root, path)} is missing: run the stage {path.parent.name} before"
            )
        found[name_in(root, path)] = file_hash(path)
    return found


def name_in(root: Path, path: Path) -> str:
    """Return a path relative to a project, with slashes; a file elsewhere begins with `..`."""
    return Path(os.path.relpath(path, root)).as_posix()


def read_json(path: Path) -> dict | None:
    """Return what a JSON file holds; None where it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_json(path: Path, content: Mapping) -> None:
    """Write a JSON file whole or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode("utf-8"))


def write_rows(path: Path, rows: Iterable[Mapping]) -> None:
    """Write a JSON Lines file whole or not at all."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(path, text.encode("utf-8"))


def read_rows(path: Path) -> list[dict]:
    """Return the rows of a JSON Lines file that a stage wrote."""
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def begin(folder: Path, what: Mapping) -> bool:
    """Note what a stage begins with; return whether the very same was begun and not finished.

    Checkpoints of another beginning are removed: they would be gone on from as if they were this
    one's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    begun = json.loads(json.dumps(what))  # as it will be read: no tuples
    same = read_json(folder / BEGUN) == begun
    if not same:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        write_json(folder / BEGUN, begun)
    return same and (folder / CHECKPOINTS).is_dir()


def record_stage(
    name: str,
    root: Path,
    params: Mapping,
    sizes: Mapping,
    inputs: Iterable[Path],
    outputs: Iterable[Path],
    work: Callable[[Path], Result],
    say: Callable[[str], None] = print,
) -> dict:
    """Do the work of a stage in its folder, write its record last, and return it.

    Args:
        name: of the stage and its folder.
        root: the project.
        params, sizes: all that decides the stage, besides its inputs: what the learner chose,
            and what its budget stands for.
        inputs, outputs: files; the outputs are there when the work is done.
        work: called with the stage's folder.
        say: told what happens.

    Raises:
        FileNotFoundError: where an input is missing.
    """
    folder = root / name
    started, clock, cpu = datetime.now(UTC), time.perf_counter(), time.process_time()
    used = hashes(root, inputs)
    code = versions()
    resumed = begin(folder, {"params": params, "sizes": sizes, "inputs": used, "versions": code})
    if resumed:
        say(f"{name}: goes on from its last checkpoint")
    result = work(folder)
    cpu_seconds = time.process_time() - cpu
    record = {
        "stage": name,
        "command": f"python -m utils.capstone {name}",
        "params": dict(params),
        "sizes": dict(sizes),
        "inputs": used,
        "outputs": hashes(root, outputs),
        "metrics": result.metrics,
        "tokens": result.tokens,
        "seconds": round(time.perf_counter() - clock, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "energy_wh": energy_wh(cpu_seconds),
        "energy_formula": ENERGY_FORMULA,
        "resumed": resumed,  # then the seconds are those since the last start alone
        "versions": code,
        "started": started.isoformat(timespec="seconds"),
    }
    write_json(folder / RECORD, record)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    (folder / BEGUN).unlink(missing_ok=True)
    return record


def is_done(root: Path, name: str, params: Mapping, sizes: Mapping, inputs: Iterable[Path]) -> bool:
    """Return whether a stage's record is of these parameters and inputs, and its outputs stand."""
    record = read_json(root / name / RECORD)
    wanted = json.loads(json.dumps([params, sizes]))
    if record is None or [record["params"], record["sizes"]] != wanted:
        return False
    try:
        return record["inputs"] == hashes(root, inputs) and record["outputs"] == hashes(
            root, [root / path for path in record["outputs"]]
        )
    except FileNotFoundError:
        return False
