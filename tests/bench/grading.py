"""How many submissions the grader takes in a minute on a core: `python -m tests.bench.grading [N]`.

The class is made from lab 02: as many solutions as labs that were never begun, and four times as
many solutions in which one exercise is a wrong answer, each of the tests' wrong answers in turn.
No peer grades the same, so this is no row of the table: the number is printed and written to
`bench-grading.json` in the artifacts folder.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import nbformat

from utils.grading.classroom import grade_class
from utils.settings import artifacts_dir, project_root

LAB = "02_attention"


def submissions(n: int, target: Path) -> None:
    """Write n submissions into a folder."""
    root = project_root()
    lab, solution = (
        nbformat.read(root / folder / f"{LAB}.ipynb", as_version=4)
        for folder in ("labs", "solutions")
    )
    wrong = importlib.import_module(f"tests.wrong_answers.{LAB}").WRONG
    for k in range(n):
        notebook = nbformat.from_dict(lab if k % 6 == 0 else solution)
        if k % 6 > 1:
            answer = wrong[(k * 7) % len(wrong)]
            added = nbformat.v4.new_code_cell(answer.code, id=f"wrong-{k}")
            notebook = nbformat.from_dict({**solution, "cells": [*solution.cells, added]})
        nbformat.write(notebook, target / f"learner-{k:04d}.ipynb")


def main(arguments: list[str]) -> int:
    """Grade a class and say how fast it was."""
    n = int(arguments[0]) if arguments else 500
    n_jobs = max(1, (os.cpu_count() or 2) - 1)
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "in", Path(place) / "out"
        folder.mkdir()
        out.mkdir()
        submissions(n, folder)
        begin = time.perf_counter()
        records = grade_class(LAB, [folder], out, n_jobs=n_jobs)
        seconds = time.perf_counter() - begin
    points = Counter(sum(check["earned"] for check in record["checks"]) for record in records)
    result = {
        "lab": LAB,
        "submissions": n,
        "jobs": n_jobs,
        "seconds": round(seconds, 1),
        "per_minute_and_core": round(n / (seconds / 60) / n_jobs, 1),
        "status": dict(Counter(record["status"] for record in records)),
        "points": {str(k): points[k] for k in sorted(points)},
    }
    path = artifacts_dir() / "bench-grading.json"
    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
