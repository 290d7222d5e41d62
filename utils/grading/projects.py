"""`course grade 17_capstone --projects FOLDERS --out DIR`: the projects of a class.

Each learner's project is graded by itself (`project`); here are the class's exam, the baseline that
it is held against, the table and the pages. A project whose files are as they were is not graded
again.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from utils.capstone.baseline import BASELINE
from utils.grading.classroom import class_seed, secret_of
from utils.grading.collect import is_system_file, visible
from utils.grading.gradebook import defused
from utils.grading.project import N_ASKED, NEEDED, grade_project
from utils.grading.records import record_name, write_whole
from utils.grading.sandbox import Limits, NoSandbox
from utils.runtime import progress
from utils.zoo.files import file_hash

LARGEST_SEED = 2**31
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 16px/1.5 sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }}
td, th {{ text-align: left; padding: .3rem .8rem .3rem 0; vertical-align: top }}</style></head>
<body><h1>{title}</h1><p>{summary}</p>{body}</body></html>
"""


def find_projects(paths: Iterable[Path]) -> dict[str, Path]:
    """Return learner -> folder of a project, for projects and folders with one for each learner.

    Raises:
        FileNotFoundError: for a path that is no folder.
        ValueError: for two learners of one name.
    """
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise FileNotFoundError(f"there is no folder {str(path)!r}")
        inside = [path] if is_project(path) else sorted(path.iterdir())
        for entry in inside:
            if entry.is_symlink() or not entry.is_dir() or is_system_file(entry.name):
                continue
            nested = [entry, *(sub for sub in sorted(entry.iterdir()) if sub.is_dir())]
            place = next((one for one in nested if is_project(one)), entry)
            if entry.name in found:
                raise ValueError(f"two projects are called {entry.name}: rename one")
            found[entry.name] = place
    return found


def is_project(folder: Path) -> bool:
    """Return whether a folder looks like a project of the capstone."""
    return (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file()


def key_of(folder: Path, seed: int) -> str:
    """Return what decides a grade: the files that are read, the exam and the baseline."""
    digest = hashlib.sha256(f"{seed} {BASELINE}".encode())
    for name in NEEDED:
        path = folder / name
        plain = path.is_file() and not path.is_symlink()
        digest.update(f"{name} {file_hash(path) if plain else 'none'}\n".encode())
    return digest.hexdigest()[:24]


def totals(record: dict) -> tuple[float, float]:
    """Return points earned and points there are."""
    return (
        sum(finding["earned"] for finding in record["findings"]),
        sum(finding["points"] for finding in record["findings"]),
    )


def table_of(records: dict[str, dict]) -> str:
    """Return the class's table as CSV, in which nothing can be taken for a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["learner", "earned", "points", "right", "made up", "refused because"])
    for learner, record in records.items():
        earned, points = totals(record)
        results = record["results"]
        part = "domain" if "domain" in results else "known"
        shares = [
            results.get(where, {}).get(name, [""])[0]
            for where, name in ((part, "right"), ("unknown", "made up"))
        ]
        row = [visible(learner), earned, points, *shares, record["refused"]]
        writer.writerow([defused(cell) for cell in row])
    return out.getvalue()


def page_of(learner: str, record: dict) -> str:
    """Return a learner's page as HTML, in which nothing of the learner's is anything but text."""
    earned, points = totals(record)
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(cell)}</td>"
            for cell in (
                finding["what"],
                f"{finding['earned']:g} of {finding['points']:g}",
                finding["why"],
            )
        )
        + "</tr>"
        for finding in record["findings"]
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in record["notes"])
    body = f"<table><tr><th>what</th><th>points</th><th>why</th></tr>{rows}</table>"
    body += f"<h2>To know</h2><ul>{notes}</ul>" if notes else ""
    if record["refused"]:
        body = f"<p>Not graded: {html.escape(record['refused'])}</p>"
    return PAGE.format(
        title=html.escape(f"Capstone: {visible(learner)}"),
        summary=f"{earned:g} of {points:g} points",
        body=body,
    )


def grade_projects(
    paths: Iterable[Path],
    out: Path,
    *,
    limits: Limits,
    trusted: bool = False,
    secret: Path | None = None,
    n_asked: int = N_ASKED,
) -> dict[str, dict]:
    """Grade projects, write records, a table and pages, and return learner -> record.

    Raises:
        FileNotFoundError, ValueError: for paths or a secret that nothing can be done with.
        NoSandbox: where there is none on this machine.
    """
    found = find_projects(paths)
    records = out / "projects"
    records.mkdir(parents=True, exist_ok=True)
    seed = class_seed(secret_of(out, secret), "17_capstone") % LARGEST_SEED
    done: dict[str, dict] = {}
    with progress(total=len(found), description="grade projects", unit="project") as bar:
        for learner, folder in found.items():
            path = records / f"{record_name(learner)}.json"
            key = key_of(folder, seed)
            record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            if record.get("key") != key:
                record = grade_project(folder, seed, limits, trusted, n_asked)
                record |= {"key": key, "learner": learner}
                write_whole(path, json.dumps(record, indent=1) + "\n")
            done[learner] = record
            write_whole(path.with_suffix(".html"), page_of(learner, record))
            bar.update(1)
    write_whole(out / "projects.csv", table_of(done))
    return done


def grade_and_report(
    paths: Iterable[Path],
    out: Path,
    *,
    limits: Limits,
    trusted: bool = False,
    secret: Path | None = None,
) -> int:
    """Grade projects and print where the table is; return 0, or 2 where it can't begin."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        done = grade_projects(paths, out, limits=limits, trusted=trusted, secret=secret)
    except (OSError, ValueError, NoSandbox) as error:
        print(error, file=sys.stderr)
        return 2
    for learner, record in done.items():
        earned, points = totals(record)
        told = f"not graded: {record['refused']}" if record["refused"] else f"{earned:g}/{points:g}"
        print(f"{visible(learner)}: {told}")
    print(f"{out / 'projects.csv'} holds the table, {out / 'projects'} a page for each learner")
    return 0
