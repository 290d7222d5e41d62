"""`course grade LAB SUBMISSIONS... --out DIR`: a class, submission by submission.

Collects the submissions, draws the class's secret once, has an engine grade what has no record yet,
and keeps the records. A run that was stopped goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from utils.grading import engines
from utils.grading.collect import find_submissions
from utils.grading.grade import Job
from utils.grading.records import fingerprint, load_record, save_record
from utils.grading.sandbox import Limits
from utils.labs import run
from utils.runtime import progress


def class_seed(secret: bytes, lab: str) -> int:
    """Return the seed of a lab's inputs: HMAC-SHA256 of the lab's name, keyed with the secret.

    >>> class_seed(b"a", "01_tokens") == class_seed(b"b", "01_tokens")
    False
    """
    return int.from_bytes(hmac.digest(secret, lab.encode(), "sha256")[:8], "big")


def secret_of(out: Path, file: Path | None) -> bytes:
    """Return the class's secret, from a file or from one that is made in the output folder."""
    path = file or out / "secret"
    if file is None and not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as new:
            new.write(secrets.token_hex(32) + "\n")
    secret = path.read_bytes().strip()
    if len(secret) < 16:
        raise ValueError(
            f"the secret in {path} is shorter than 16 letters: delete it or lengthen it"
        )
    return secret


def grade_class(
    lab: str,
    paths: Iterable[Path],
    out: Path,
    *,
    secret: Path | None = None,
    limits: Limits | None = None,
    trusted: bool = False,
    n_jobs: int | None = None,
    only: Iterable[str] = (),
    engine: str = "local",
) -> list[dict]:
    """Grade submissions to a lab, write records, and return them in the order of the learners.

    Args:
        lab: name such as "01_tokens".
        paths: notebooks, or folders with a notebook or a folder per learner.
        out: folder for records and the class's secret.
        secret: file that holds the class's secret; None for one in `out`.
        limits: what a submission may use.
        trusted: run without a sandbox.
        n_jobs: submissions at once; None for what the engine finds fit.
        only: exercises to grade; none for all.
        engine: one of `engines.ENGINES`.

    Raises:
        NoSandbox: where there is none on this machine.
        ValueError: for a lab without checks, or an engine that is not there.
    """
    only = tuple(only)
    if unknown := set(only) - set(run.exercises_of(lab)):
        raise ValueError(f"lab {lab} has no exercise {', '.join(sorted(unknown))}")
    engines.require(engine, trusted)
    found = find_submissions(lab, paths)
    records = out / "records"
    records.mkdir(parents=True, exist_ok=True)
    seed = class_seed(secret_of(out, secret), lab)
    done: dict[str, dict] = {}
    waiting: dict[str, tuple[Job, str]] = {}
    for learner, path, note, identity in found:
        place = None if path is None else str(path.absolute())
        job = Job(lab, learner, place, seed, limits or Limits(), trusted, note, only)
        job = replace(job, identity=identity)
        key = fingerprint(job)
        record = load_record(records, learner, key)
        if record is None:
            waiting[learner] = (job, key)
        else:
            done[learner] = record
    bar = progress(total=len(found), description=f"grade {lab}", unit="notebook")
    bar.update(len(done))
    with bar, contextlib.closing(engines.ENGINES[engine](waiting, n_jobs, out)) as graded:
        for learner, record in graded:
            key = waiting[learner][1]
            save_record(records, record, key)
            done[learner] = record | {"key": key}
            bar.update(1)
    return [done[learner] for learner, *_ in found]
