"""Trainings of the real model: too long for a notebook, so run once by `make real` and recorded.

An experiment is a function `measure(run) -> result` with a bar `holds(results)` over the results of
all its seeds. It trains with checkpoints in `run.folder`, so that a run which was stopped goes on.
With four steps and `run.is_smoke` the same function is the short version that CI runs.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from utils.build.measured import measured_by
from utils.build.stamp import short_hash
from utils.experiments.records import write_record
from utils.settings import artifacts_dir
from utils.zoo.real import real_record


@dataclass(frozen=True)
class Run:
    """What one run of an experiment is told."""

    folder: Path  # for checkpoints
    seed: int
    n_steps: int
    is_smoke: bool = False  # evaluate as little as shows that it works


@dataclass(frozen=True)
class Experiment:
    """One experiment: what it asks, how it is run, and when its claim holds."""

    name: str  # the unit's number and a word
    says: str
    seeds: tuple[int, ...]
    n_steps: int
    minutes: int  # on two idle cores
    measure: Callable[[Run], dict]  # gives {"losses": one per step, ...}, what fits into JSON
    holds: Callable[[list[dict]], None]


EXPERIMENTS: dict[str, Experiment] = {}


def experiment(
    name: str, says: str, *, n_steps: int, minutes: int, holds, seeds: tuple[int, ...] = (0,)
) -> Callable:
    """Return the decorator that makes an experiment of its measurement."""

    def add(measure: Callable[[Run], dict]) -> Callable[[Run], dict]:
        if name in EXPERIMENTS:
            raise ValueError(f"two experiments are called {name!r}")
        EXPERIMENTS[name] = Experiment(name, says, seeds, n_steps, minutes, measure, holds)
        return measure

    return add


def all_experiments() -> dict[str, Experiment]:
    """Return the experiments of all units by name."""
    package = importlib.import_module("utils.experiments")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("unit"):
            importlib.import_module(f"utils.experiments.{module.name}")
    return dict(sorted(EXPERIMENTS.items()))


def stamp_of(found: Experiment) -> dict[str, str]:
    """Return hashes of the experiment's code and of all that it uses of `utils`."""
    return measured_by(found.measure)


def run_and_record(found: Experiment, say: Callable[[str], None] = print) -> dict:
    """Run an experiment at all its seeds, write its record and return it.

    The record is written before the bar is asked, so that a number which breaks it is kept, too.
    Checkpoints lie under the code's stamp, so that a run goes on by the code that began it alone,
    and go once the record is written: a finished run would be read back, not measured again.

    Raises:
        AssertionError: where the bar does not hold.
    """
    wall, work, results = time.perf_counter(), time.process_time(), {}
    stamp = stamp_of(found)
    place = artifacts_dir() / "experiments" / found.name
    code = short_hash(json.dumps(stamp).encode())
    for seed in found.seeds:
        folder = place / code / f"seed{seed}"
        say(f"{found.name}, seed {seed}: about {found.minutes} minutes; stop it and it goes on")
        results[str(seed)] = rounded(found.measure(Run(folder, seed, found.n_steps)))
    record = {
        "experiment": found.name,
        "says": found.says,
        "command": f"python -m utils.experiments {found.name}",
        "seeds": list(found.seeds),
        "n_steps": found.n_steps,
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - work, 1),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__.partition("+")[0],
        },
        "model": real_record(),
        "results": results,
        "stamp": stamp,
    }
    say(f"{found.name}: {write_record(record).name} written")
    shutil.rmtree(place, ignore_errors=True)
    found.holds(list(results.values()))
    return record


def rounded(value):
    """Return numbers, in lists and dictionaries too, with six digits.

    >>> rounded({"losses": [1.23456789, 2], "text": "x"})
    {'losses': [1.23457, 2], 'text': 'x'}
    """
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
