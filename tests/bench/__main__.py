"""The table of `make bench`: ratios, each measured in one run against a peer that does the same.

    python -m tests.bench [--only NAME ...]

Each module beside this one yields its rows as it measures them: dictionaries with `row`, `peer`,
`measured`, `unit`, `bar`, `at_least` (False where the bar is an upper bound) and `details`, or
`row` and `skipped` (the reason). All rows go into `bench.json` in the artifacts folder, too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import textwrap
import time
from collections.abc import Iterator

import torch

from utils.runtime import start
from utils.settings import artifacts_dir

NAMES = ("bpe", "model", "train", "tune", "align", "real")
WIDTHS = (44, 26, 20, 20)


def verdict(row: dict) -> str:
    """Return "holds", "falls short", "skipped" or "failed".

    >>> verdict({"row": "speed", "measured": 1.4, "bar": 1.3, "at_least": True})
    'holds'
    """
    for word in ("skipped", "failed"):
        if word in row:
            return word
    above = row["measured"] >= row["bar"]
    below = row["measured"] <= row["bar"]
    return "holds" if (above if row.get("at_least", True) else below) else "falls short"


def collect(names: tuple[str, ...]) -> Iterator[dict]:
    """Yield the rows of the modules; one that breaks yields a row that says so."""
    for name in names:
        try:
            for row in importlib.import_module(f"tests.bench.{name}").rows():
                yield {"module": name, **row}
        except Exception as error:  # the other modules' rows are still worth having
            yield {"module": name, "row": name, "failed": f"{type(error).__name__}: {error}"}


def lines(row: dict) -> list[str]:
    """Return the lines of the table for one row: the row itself, its details below.

    >>> lines({"row": "a", "measured": 2.0, "unit": "x", "bar": 1.5, "details": "b"})[1]
    '    b'
    """
    cells = [row["row"], row.get("peer", ""), "", ""]
    if "measured" in row:
        sign = ">=" if row.get("at_least", True) else "<="
        cells[2:] = f"{row['measured']:.2f} {row['unit']}", f"{sign} {row['bar']:g} {row['unit']}"
    first = " ".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
    details = str(row.get("details") or row.get("skipped") or row.get("failed") or "")
    indent = "    "
    rest = textwrap.wrap(details, 100, initial_indent=indent, subsequent_indent=indent)
    return [f"{first} {verdict(row)}", *rest]


def main(arguments: list[str] | None = None) -> int:
    """Print the table, write bench.json; return 1 where a bar is missed or a module fails."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    chosen = tuple(parser.parse_args(arguments).only)
    start()
    machine = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    print(" | ".join(f"{name} {value}" for name, value in machine.items()))
    header = zip(("row", "peer", "measured", "bar"), WIDTHS, strict=True)
    print(" ".join(f"{word:<{width}}" for word, width in header), "verdict", flush=True)
    begin, rows = time.perf_counter(), []
    for row in collect(chosen):
        rows.append({**row, "verdict": verdict(row)})
        print("\n".join(lines(row)), flush=True)
    record = machine | {"seconds": round(time.perf_counter() - begin, 1), "rows": rows}
    path = artifacts_dir() / "bench.json"
    path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    print(f"{record['seconds']:.0f} s; written to {path.name} in the artifacts folder")
    return int(any(row["verdict"] in ("falls short", "failed") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
