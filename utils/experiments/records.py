"""The records of experiments on the real model, as lectures read them.

A record is one JSON file: what was asked, the command, seeds, seconds, threads, versions, hashes of
code, data and weights, and the numbers. Lectures draw their figures from it and say so.
"""

from __future__ import annotations

import json
from pathlib import Path

RECORDS = Path(__file__).with_name("records")


def recorded(name: str) -> dict:
    """Return the record of an experiment.

    Raises:
        FileNotFoundError: where it was never run.
    """
    path = RECORDS / f"{name}.json"
    if not path.is_file():
        there = ", ".join(sorted(path.stem for path in RECORDS.glob("*.json"))) or "none"
        raise FileNotFoundError(
            f"there is no record {name!r}; the records are: {there}. "
            "`make real` runs what is missing"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def write_record(record: dict) -> Path:
    """Write a record beside the others; return its file."""
    RECORDS.mkdir(exist_ok=True)
    path = RECORDS / f"{record['experiment']}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def told(record: dict) -> str:
    """Return one line that says where a figure's numbers come from.

    >>> told({"command": "make real", "seeds": [0], "seconds": 90.4, "threads": 2})
    'recorded by `make real`: seed 0, 90 s on 2 threads'
    """
    seeds = ", ".join(str(seed) for seed in record["seeds"])
    word = "seed" if len(record["seeds"]) == 1 else "seeds"
    cores = "thread" if record["threads"] == 1 else "threads"
    return (
        f"recorded by `{record['command']}`: {word} {seeds}, {record['seconds']:.0f} s on "
        f"{record['threads']} {cores}"
    )
