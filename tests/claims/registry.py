"""Claims that need several seeds: measured once by `make claims`, recorded, and held by a test.

A claim is a function `measure(seed) -> {name: number}` and a function `holds(runs)` that asserts
the bar over the numbers of all its seeds. Where one seed takes long, `probe(seed)` is a cheaper
part of the same measurement, whose numbers are recorded, too. `make test` refuses a record whose
code has changed, checks the bar on what is recorded, and measures one seed or its probe again.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from utils.build.measured import measured_by
from utils.build.stamp import data_hash
from utils.settings import project_root

RECORDS = Path(__file__).with_name("records")
Numbers = dict[str, float]


@dataclass(frozen=True)
class Claim:
    """One claim: what it says, over which seeds, how it is measured, and when it holds."""

    name: str
    says: str
    seeds: tuple[int, ...]
    measure: Callable[[int], Numbers]
    holds: Callable[[list[Numbers]], None]
    probe: Callable[[int], Numbers] | None = None
    rtol: float = 0.1  # of a number measured again: on another processor a training parts ways
    atol: float = 0.02
    of: str | None = None  # the claim that is measured once more under other conditions

    @property
    def path(self) -> Path:
        """Where its record is."""
        return RECORDS / f"{self.name}.json"


CLAIMS: dict[str, Claim] = {}


def claim(name: str, says: str, seeds=(0, 1, 2), *, holds, probe=None, **tolerance) -> Callable:
    """Return the decorator that makes a claim of its measurement."""

    def add(measure: Callable[[int], Numbers]) -> Callable[[int], Numbers]:
        if name in CLAIMS:
            raise ValueError(f"two claims are called {name!r}")
        CLAIMS[name] = Claim(name, says, tuple(seeds), measure, holds, probe, **tolerance)
        return measure

    return add


def all_claims() -> dict[str, Claim]:
    """Return the claims of all units by name."""
    package = importlib.import_module("tests.claims")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("unit"):
            importlib.import_module(f"tests.claims.{module.name}")
    return dict(sorted(CLAIMS.items()))


def stamp_of(found: Claim) -> dict[str, str]:
    """Return what a record depends on: hashes of the measurement and of what it uses of utils.

    Of the shipped data a measurement reads the base model; the sweep is a record of its own.
    """
    measure = getattr(found.measure, "func", found.measure)  # of a partial
    stamp = measured_by(measure, *([found.probe] if found.probe else []))
    if found.of:
        first = stamp_of(CLAIMS[found.of])
        stamp = first | stamp | {found.of: first["measurement"]}
    if "utils.zoo.load" in stamp:
        stamp["utils/zoo/base/*"] = data_hash(project_root() / "utils" / "zoo" / "base")
    return stamp


def run(found: Claim, say: Callable[[str], None] = print) -> dict:
    """Measure a claim at all its seeds and return its record."""
    start, runs, probes = time.process_time(), {}, {}
    for seed in found.seeds:
        runs[str(seed)] = rounded(found.measure(seed))
        say(f"{found.name}, seed {seed}: {runs[str(seed)]}")
    if found.probe:
        probes = {str(found.seeds[0]): rounded(found.probe(found.seeds[0]))}
    return {
        "claim": found.name,
        "says": found.says,
        "runs": runs,
        "probes": probes,
        "cpu_seconds": round(time.process_time() - start, 1),
        "command": f"python -m tests.claims {found.name}",
        "versions": {"torch": torch.__version__.partition("+")[0]},
        "stamp": stamp_of(found),
    }


def rounded(numbers: Numbers) -> Numbers:
    """Return numbers with six digits, which is more than any of them is worth."""
    return {name: float(f"{value:.6g}") for name, value in numbers.items()}


def write(record: dict) -> None:
    """Write a record beside the others."""
    RECORDS.mkdir(exist_ok=True)
    text = json.dumps(record, indent=1) + "\n"
    (RECORDS / f"{record['claim']}.json").write_text(text, encoding="utf-8")


def read(found: Claim) -> dict:
    """Return the record of a claim.

    Raises:
        FileNotFoundError: where it was never measured.
    """
    if not found.path.is_file():
        raise FileNotFoundError(f"{found.name} was never measured: make claims")
    return json.loads(found.path.read_text(encoding="utf-8"))
