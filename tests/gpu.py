"""The course on a GPU: `make gpu`, or `python -m tests.gpu [--dry-run] [--only NAME ...]`.

Runs every notebook and solution under COURSE_TIER=gpu, then the GPU rows of the bench, and writes
one record, `gpu.json` in the artifacts folder: device, versions, commit, seconds, memory, rows.
Needs no network and installs nothing: what is missing is listed by the environment doctor.

`--dry-run` proves the same path without a GPU: the tier "rehearsal" has the gpu tier's settings at
small sizes on the CPU, and the record says that it is a rehearsal and no result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.bench.__main__ import lines, verdict
from utils.doctor import examine, report
from utils.settings import artifacts_dir, environment, project_root

CELL_SECONDS = 900
MEMORY_CELL = """import psutil, torch
gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
memory = psutil.Process().memory_info()
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
except ImportError:
    peak = memory.peak_wset
print(gpu, peak)"""


def notebooks(only: Sequence[str] = ()) -> list[Path]:
    """Return lectures and solutions in the order of the units; of some, where names are given."""
    root = project_root()
    found = [*(root / "notebooks").glob("*.ipynb"), *(root / "solutions").glob("*.ipynb")]
    chosen = [path for path in found if not only or any(name in str(path) for name in only)]
    return sorted(chosen, key=lambda path: (path.name, path.parent.name))


def run_notebook(path: Path, folder: Path) -> dict:
    """Run a copy of a notebook from top to bottom; return its seconds, memory and first fault."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(MEMORY_CELL))
    place = folder / path.parent.name
    place.mkdir(parents=True, exist_ok=True)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(place)}},
    )
    found = {
        "notebook": f"{path.parent.name}/{path.name}",
        "fault": None,
        "gpu_bytes": 0,
        "host_bytes": 0,
    }
    start = time.perf_counter()
    try:
        client.execute()
        said = notebook.cells[-1].outputs[0]["text"].split()
        found["gpu_bytes"], found["host_bytes"] = map(int, said)
    except CellExecutionError as error:
        found["fault"] = str(error)[-2000:]
    except Exception as error:  # a kernel that died, a cell that took too long
        found["fault"] = f"{type(error).__name__}: {str(error)[:500]}"
    return found | {"seconds": round(time.perf_counter() - start, 1)}


def commit() -> str:
    """Return the commit of the working tree, with a mark where it was changed."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    said = subprocess.run(
        [git, "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=project_root(),
        capture_output=True,
        text=True,
    )
    return said.stdout.strip() or "unknown"


def machine() -> dict:
    """Return device and versions, nothing that names the machine."""
    import transformers

    there = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if there else "CPU",
        "gpu_memory_bytes": torch.cuda.get_device_properties(0).total_memory if there else 0,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write the record; return 1 where a notebook or a row failed."""
    parser = argparse.ArgumentParser(description="run the course and its bench on a GPU")
    parser.add_argument("--dry-run", action="store_true", help="rehearse on the CPU, small sizes")
    parser.add_argument("--only", nargs="+", default=[], help='parts of names, or "bench"')
    options = parser.parse_args(arguments)
    print(report(examine()))
    if not options.dry_run and not torch.cuda.is_available():
        print("\nThis machine has no CUDA GPU: `--dry-run` rehearses the same path on the CPU.")
        return 1

    names = [name for name in options.only if name != "bench"]
    wanted = notebooks(names) if names or not options.only else []
    found, start = [], time.perf_counter()
    tier = "rehearsal" if options.dry_run else "gpu"
    with tempfile.TemporaryDirectory() as scratch:
        settings = {
            "COURSE_TIER": tier,
            "COURSE_ARTIFACTS": f"{scratch}/artifacts",
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": os.pathsep.join([str(project_root()), *sys.path[1:]]),
        }
        if options.dry_run:
            settings["COURSE_THREADS"] = "1"  # several are slow where others use the cores
        with environment(**settings):
            for path in wanted:
                found.append(run_notebook(path, Path(scratch)))
                fault = found[-1]["fault"]
                print(
                    f"{found[-1]['notebook']:34} {found[-1]['seconds']:7.1f} s "
                    f"{found[-1]['gpu_bytes'] / 1e9:6.2f} GB on the device "
                    f"{found[-1]['host_bytes'] / 1e9:6.2f} GB  {'FAILED' if fault else 'ok'}",
                    flush=True,
                )
                if fault:
                    print(fault)
    rows = bench_rows(options.dry_run) if not names else []
    record = {
        "rehearsal": options.dry_run,
        "tier": tier,
        **machine(),
        "commit": commit(),
        "seconds": round(time.perf_counter() - start, 1),
        "notebooks": found,
        "rows": rows,
    }
    path = artifacts_dir() / ("gpu-rehearsal.json" if options.dry_run else "gpu.json")
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"\nrecord: {path}")
    if options.dry_run:
        print("This was a rehearsal on the CPU: the path runs, the numbers mean nothing.")
    failed = [n for n in found if n["fault"]] + [r for r in rows if "failed" in r]
    return 1 if failed else 0


def bench_rows(rehearsal: bool) -> list[dict]:
    """Return the GPU rows with their verdicts, printed as they come."""
    from tests.bench import gpu

    rows = []
    try:
        for row in gpu.rows(rehearsal):
            rows.append(row | {"verdict": "rehearsed" if rehearsal else verdict(row)})
            print("\n".join(lines(row)), flush=True)
    except Exception as error:  # the record of the notebooks is still worth having
        rows.append({"row": "GPU rows", "failed": f"{type(error).__name__}: {error}"})
        print(rows[-1])
    return rows


if __name__ == "__main__":
    sys.exit(main())
