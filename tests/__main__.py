"""Run everything that CI runs: `make test`, or `python -m tests` in the course's environment.

Stages, in order: style, unit tests with doctests, the build comparison, the notebooks (nbval).
All stages run even where one fails, so that one run shows every fault; the exit status is the worst
of them, and the last line printed is pytest's. `--unpinned` leaves out what compares with the exact
versions of constraints.txt, for the weekly run on the newest releases.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def n_workers() -> int:
    """Return how many test processes to run: the cores at hand, 2 to 4."""
    affinity = getattr(os, "sched_getaffinity", None)
    return max(2, min(4, len(affinity(0)) if affinity else os.cpu_count() or 2))


def stages(unpinned: bool = False) -> list[tuple[str, list[str]]]:
    """Return the name and the command of each stage."""
    python = [sys.executable, "-m"]
    parallel = ["-q", "-n", str(n_workers()), "--dist", "loadfile"]
    nbval = ["--nbval-sanitize-with", "tests/nbval.cfg", "--nbval-cell-timeout=300"]
    marks = ["-m", "not pinned"] if unpinned else []
    notebooks = [
        str(path.relative_to(ROOT))
        for folder in ("notebooks", "solutions")
        for path in sorted((ROOT / folder).glob("*.ipynb"))
    ]
    return [
        ("style", python + ["ruff", "check", "."]),
        ("format", python + ["ruff", "format", "--check", "."]),
        ("build", python + ["utils.build", "--check"]),
        ("unit", python + ["pytest", "tests", "utils", "--doctest-modules", *parallel, *marks]),
        ("notebooks", python + ["pytest", "--nbval", *nbval, *parallel, *notebooks]),
    ]


def main() -> int:
    """Run the stages; return 0 where all passed."""
    env = {**os.environ, "COURSE_TIER": "cpu", "COURSE_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    env |= {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
    failed = []
    for name, command in stages(unpinned="--unpinned" in sys.argv[1:]):
        start = time.perf_counter()
        print(f"== {name}: {' '.join(command[1:4])}", flush=True)
        status = subprocess.run(command, cwd=ROOT, env=env).returncode
        print(f"== {name}: {time.perf_counter() - start:.0f} s", flush=True, file=sys.stderr)
        if status != 0:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
