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

PLAIN = re.compile(r"[a-z0-9_][a-z0-9._-]{0,78}[a-z0-9_]|[a-z0-9_]")
DIGEST = re.compile(r"-[0-9a-f]{32}$")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
GRADERS = ("utils.grading.grade", "utils.grading.kit", "utils.grading.worker")


def record_name(learner: str) -> str:
    """Return a file name for a learner, on any system, distinct for distinct learners.

    A name that could be another's on some system (capital letters, signs beyond ASCII, what Windows
    keeps for itself) ends with a digest, and no name that is its own file name ends like one.

    >>> record_name("ada"), record_name("../ada")
    ('ada', '_.._ada-60088279524e0fd6cf5994c645ddd1f0')
    """
    if PLAIN.fullmatch(learner) and not DIGEST.search(learner) and not RESERVED.match(learner):
        return learner
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", learner)[:60]
    if not plain[:1].isalnum() or RESERVED.match(plain.lower()):
        plain = f"_{plain}"
    return f"{plain}-{hashlib.sha256(learner.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


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
        json.dumps([asdict(job.limits), job.only, job.problem, job.identity]).encode()
        + str(job.seed).encode()
    )
    for name in sorted(kit.closure({f"utils.labs.checks.{job.lab}", *GRADERS})):
        digest.update(kit.module_file(name).read_bytes())
    if job.path is not None:
        try:
            digest.update(submission.read_bytes(Path(job.path)))
        except submission.Unreadable as error:
            digest.update(str(error).encode("utf-8", "replace"))
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
