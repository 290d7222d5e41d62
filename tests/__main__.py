"""Run everything that CI runs: `make test`, or `python -m tests` in the course's environment.

Stages, in order: style, the build comparison, released labs, lectures and solutions (nbval), unit
tests with doctests.
All stages run even where one fails, so that one run shows every fault; the exit status is the worst
of them, and the last line printed is pytest's. A run that takes longer than MINUTES is stopped, so
that its log still says what was slow. `--all` adds the tests that are marked weekly, and has no
such end; `--unpinned` leaves out what compares with the exact versions of constraints.txt. The
weekly run on the newest releases takes both.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
MINUTES = 80  # CI has 90, and needs some to install
MARK = "COURSE_TESTS_STAGE"  # in the environment of all that a stage starts
FAILING_CELL = re.compile(r"_+ (?:ERROR at setup of )?(\S+\.ipynb)::Cell \d+ _+")


def n_workers() -> int:
    """Return how many test processes to run: the cores at hand, 2 to 4."""
    affinity = getattr(os, "sched_getaffinity", None)
    return max(2, min(4, len(affinity(0)) if affinity else os.cpu_count() or 2))


def n_workers_of_units() -> int:
    """Return how many processes run the unit tests: one more, where there is memory for it.

    Some of the tests wait for clusters and ranks; each process grows to about 3 GB.
    """
    return n_workers() + (psutil.virtual_memory().total > 14e9)


def notebooks(*folders: str) -> list[str]:
    """Return the notebooks of some folders; none would make pytest collect everything else."""
    found = [path for folder in folders for path in sorted((ROOT / folder).glob("*.ipynb"))]
    if not found:
        raise SystemExit(f"there are no notebooks in {', '.join(folders)}: run make build")
    return [str(path.relative_to(ROOT)) for path in found]


def stages(unpinned: bool = False, weekly: bool = False) -> list[tuple[str, list[str]]]:
    """Return the name and the command of each stage."""
    python = [sys.executable, "-m"]
    shown = ["-q", "-p", "tests.plugin", "--durations=10", "--durations-min=3"]
    parallel = [*shown, "-n", str(n_workers()), "--dist", "loadfile"]  # see tests/conftest.py
    units = [*shown, "-n", str(n_workers_of_units()), "--dist", "loadfile"]
    nbval = ["--nbval-current-env", "--nbval-sanitize-with", "tests/nbval.cfg"]
    nbval += ["--nbval-cell-timeout=600", "-p", "no:cacheprovider", *parallel]
    left_out = ["pinned"] * unpinned + ["weekly"] * (not weekly)
    marks = ["-m", " and ".join(f"not {mark}" for mark in left_out)] if left_out else []
    executed, released = notebooks("notebooks", "solutions"), notebooks("labs")
    return [
        ("style", python + ["ruff", "check", "."]),
        ("format", python + ["ruff", "format", "--check", "."]),
        ("build", python + ["utils.build", "--check"]),
        ("labs", python + ["pytest", "--nbval-lax", *nbval, *released]),
        ("notebooks", python + ["pytest", "--nbval", *nbval, *executed]),
        ("unit", python + ["pytest", "tests", "utils", "--doctest-modules", *units, *marks]),
    ]


def end_survivors(mark: str) -> None:
    """Kill what a stage started and left behind, and name it.

    A daemon that outlives its test may hold the output open, and whoever reads it waits for ever.
    """
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                print(f"left behind by this stage, killed: {process.cmdline()}", file=sys.stderr)
                process.kill()
        except psutil.Error:
            continue  # it has ended, or is another user's


def show(lines: Iterable[str], failing: list[str], lost: set[str]) -> None:
    """Print what a stage prints; note the notebooks that fail, and those without a kernel."""
    for line in lines:
        print(line, end="", flush=True)
        if found := FAILING_CELL.match(line):
            failing.append(found[1])
        if "Kernel died before replying to kernel_info" in line and failing:
            lost.add(failing[-1])


def run(
    command: list[str], env: dict[str, str], ends: float = math.inf
) -> tuple[int, set[str], set[str]]:
    """Run a command, showing what it prints.

    Args:
        command: the command.
        env: its environment.
        ends: when it is stopped, by `time.monotonic()`.

    Returns:
        Its status, the notebooks that fail, and those of them whose kernel died at its start, which
        says nothing about the notebook: where kernels meet by TCP, two may choose the same port.
    """
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env | {MARK: mark},
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    failing: list[str] = []
    lost: set[str] = set()
    reader = threading.Thread(target=show, args=(process.stdout, failing, lost), daemon=True)
    reader.start()
    try:
        status = process.wait(timeout=max(0.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        print(f"stopped: the whole run is to take {MINUTES} minutes at most", file=sys.stderr)
        status = 1
    end_survivors(mark)
    process.wait()
    reader.join(timeout=10)
    return status, set(failing), lost


def run_stage(command: list[str], env: dict[str, str], ends: float = math.inf) -> int:
    """Run a stage, notebooks without a kernel once more; return the worst status."""
    status, failing, lost = run(command, env, ends)
    if not lost:
        return status
    print(f"kernels that died at their start; once more: {sorted(lost)}", file=sys.stderr)
    alone = [part for part in command if not part.endswith(".ipynb")] + sorted(lost)
    again = run(alone, env, ends)[0]
    return again if failing == lost else max(status, again)


def main() -> int:
    """Run the stages; return 0 where all passed."""
    weekly = "--all" in sys.argv[1:]
    ends = math.inf if weekly else time.monotonic() + 60 * MINUTES
    with tempfile.TemporaryDirectory() as artifacts:
        env = {**os.environ, "COURSE_TIER": "cpu", "COURSE_ARTIFACTS": artifacts}
        env |= {"COURSE_THREADS": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        env |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
        env |= {"COURSE_TESTS_ALL": "1"} if weekly else {}
        # The first figure on a machine makes a font cache and says so on stderr.
        warm = [sys.executable, "-c", "import matplotlib.font_manager"]
        subprocess.run(warm, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
        failed = []
        for name, command in stages("--unpinned" in sys.argv[1:], weekly):
            start = time.perf_counter()
            print(f"== {name}", flush=True)
            status = run_stage(command, env, ends)
            seconds = f"{time.perf_counter() - start:.0f} s"
            print(f"== {name}: {'failed' if status else 'passed'} in {seconds}", file=sys.stderr)
            if status != 0:
                failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
