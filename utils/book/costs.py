"""What each notebook takes of a machine: `python -m utils.book.costs [NN ...]`.

Runs lectures and solutions one after the other in kernels of their own, as the build does, and
samples the kernel and all processes that it starts. Each measurement is kept in `docs/costs.json`
at once; `docs/costs.md` is the table made of them. Seconds of a clock depend on what else runs (the
load is kept beside them); seconds of the processor and memory hardly do.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient

from utils.build.execute import CELL_SECONDS, EnvironmentKernel
from utils.settings import project_root

FOLDERS = ("notebooks", "solutions")
RECORD, TABLE = "docs/costs.json", "docs/costs.md"
SAMPLE_SECONDS = 0.25
HEAD = """# What each notebook takes

Measured by `python -m utils.book.costs`: one notebook at a time, tier `cpu`, one torch thread, with
the real model where it is prepared, as in CI; without it lectures that read it (05, 07 and others)
need less memory. Processor seconds are those of the kernel and of every process that it starts,
together; memory is the most that they held at once (shared pages counted once where the system
tells). The load says how many processes wanted a core at the end, other work included: where it is
above the cores, seconds of the clock are longer than on an idle machine.

| notebook | processor seconds | seconds | load | peak memory (MB) |
| --- | ---: | ---: | ---: | ---: |
"""


class Sampler(threading.Thread):
    """Watches all descendants of this process until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.is_over = threading.Event()
        self.cpu: dict[int, float] = {}
        self.peak = 0

    def run(self) -> None:
        """Sample until told to stop."""
        while not self.is_over.wait(SAMPLE_SECONDS):
            held = 0
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    used = process.cpu_times()
                    self.cpu[process.pid] = used.user + used.system
                    held += memory_of(process)
            self.peak = max(self.peak, held)


def memory_of(process: psutil.Process) -> int:
    """Return the bytes that a process holds, its part of shared pages where the system tells."""
    whole = process.memory_full_info()
    return getattr(whole, "pss", whole.rss)


def measure(path: Path) -> dict:
    """Run a notebook and return its seconds, processor seconds, load and peak memory in MB.

    Raises:
        nbclient.exceptions.CellExecutionError: where a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    sampler, start = Sampler(), time.perf_counter()
    sampler.start()
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            client = NotebookClient(
                notebook,
                km=EnvironmentKernel(scratch, project_root()),
                timeout=2 * CELL_SECONDS,
                store_widget_state=False,
                resources={"metadata": {"path": str(path.parent)}},
            )
            client.owns_km = True
            asyncio.run(client.async_execute())
    finally:
        sampler.is_over.set()
        sampler.join()
    return {
        "cpu_seconds": round(sum(sampler.cpu.values())),
        "seconds": round(time.perf_counter() - start),
        "load": round(psutil.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "peak_mb": round(sampler.peak / 1e6),
    }


def table(record: dict[str, dict], missing: Sequence[str] = ()) -> str:
    """Return the page made of a record: notebook -> what `measure` returned.

    Args:
        missing: notebooks that are there and were not measured; they are named below the table.

    >>> one = {"cpu_seconds": 61, "seconds": 40, "load": 1.5, "cores": 2, "peak_mb": 800}
    >>> table({"notebooks/01_tokens.ipynb": one}).splitlines()[-3]
    '| notebooks/01_tokens.ipynb | 61 | 40 | 1.5 | 800 |'
    """
    rows = [
        f"| {name} | {r['cpu_seconds']} | {r['seconds']} | {r['load']} | {r['peak_mb']} |"
        for name, r in sorted(record.items())
    ]
    total = sum(r["cpu_seconds"] for r in record.values())
    cores = " or ".join(sorted({str(r["cores"]) for r in record.values()})) or "no"
    foot = f"\n{len(record)} notebooks, {total / 60:.0f} processor minutes, on {cores} cores.\n"
    if missing:
        foot += f"\nNot measured yet: {', '.join(missing)}.\n"
    return HEAD + "\n".join(rows) + "\n" + foot


def notebooks(root: Path) -> list[str]:
    """Return the lectures and solutions of the course, as paths below its root."""
    found = (sorted((root / folder).glob("[0-9][0-9]_*.ipynb")) for folder in FOLDERS)
    return [path.relative_to(root).as_posix() for paths in found for path in paths]


def write_table(root: Path) -> None:
    """Write the table of the record that is there."""
    record = json.loads((root / RECORD).read_text("utf-8"))
    missing = [name for name in notebooks(root) if name not in record]
    (root / TABLE).write_text(table(record, missing), "utf-8")


def main(numbers: list[str]) -> int:
    """Measure the notebooks of some units, or all, and write record and table."""
    root = project_root()
    record_path = root / RECORD
    record_path.parent.mkdir(exist_ok=True)
    record = json.loads(record_path.read_text("utf-8")) if record_path.is_file() else {}
    for name in notebooks(root):
        if numbers and Path(name).name[:2] not in numbers:
            continue
        record[name] = measure(root / name)
        print(name, record[name], flush=True)
        record_path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")
        write_table(root)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
