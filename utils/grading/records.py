"""Records of graded submissions: one file for each learner, written whole.

A record holds points, hints and notes, and the key of all that they depend on. Nothing in it says
when or where it was graded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict
from pathlib import Path

from utils.grading import kit, submission
from utils.grading.grade import FAILED, Job

GRADERS = ("utils.grading.grade", "utils.grading.kit", "utils.grading.worker")


def record_name(learner: str) -> str:
    """Return a file name for a learner, on any system, distinct for distinct learners.

    >>> record_name("ada"), record_name("../ada")
    ('ada', '.._ada-60088279')
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", learner)[:80]
    if plain == learner and not learner.startswith("."):
        return plain
    return f"{plain}-{hashlib.sha256(learner.encode('utf-8', 'replace')).hexdigest()[:8]}"


def write_whole(path: Path, text: str) -> None:
    """Write a file under a new name, then give it its own."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        new.write_text(text, encoding="utf-8", newline="")
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def save_record(folder: Path, record: dict, key: str) -> None:
    """Write a learner's record into a folder, with the key of all that it depends on."""
    text = json.dumps(record | {"key": key}, indent=1, sort_keys=True) + "\n"
    write_whole(folder / f"{record_name(record['learner'])}.json", text)


def fingerprint(job: Job) -> str:
    """Return what a record depends on: the submission, the checks, the seed, the limits."""
    digest = hashlib.sha256(
        json.dumps([asdict(job.limits), job.only]).encode() + str(job.seed).encode()
    )
    for name in sorted(kit.closure({f"utils.labs.checks.{job.lab}", *GRADERS})):
        digest.update(kit.module_file(name).read_bytes())
    if job.path is None:
        digest.update(job.problem.encode())
    else:
        try:
            digest.update(submission.read_bytes(Path(job.path)))
        except submission.Unreadable as error:
            digest.update(str(error).encode())
    return digest.hexdigest()


def load_record(folder: Path, learner: str, key: str, failed: bool = False) -> dict | None:
    """Return a learner's record if it depends on the same as this key, else None.

    Args:
        folder: with the records.
        learner: name.
        key: what `fingerprint` returns for the job.
        failed: take a record that says that the grader failed, too.
    """
    path = folder / f"{record_name(learner)}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        fits = record["key"] == key and (failed or record["status"] != FAILED)
        return record if fits else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
