"""`course grade LAB SUBMISSIONS... --out DIR`: a class, submission by submission.

Finds the submissions, draws the class's secret once, has an engine grade what has no record yet,
and keeps the records. A run that was stopped goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from utils.grading import engines
from utils.grading.grade import Job
from utils.grading.records import fingerprint, load_record, save_record
from utils.grading.sandbox import Limits
from utils.labs import run
from utils.runtime import progress


def find_submissions(lab: str, paths: Iterable[Path]) -> list[tuple[str, Path | None, str]]:
    """Return (learner, notebook, why there is none) for files, and folders with one per learner.

    Raises:
        FileNotFoundError: for a path that does not exist.
    """
    found: list[tuple[str, Path | None, str]] = []
    for path in map(Path, paths):
        if path.is_file() or path.is_symlink():
            found.append((path.stem, path, ""))
            continue
        if not path.is_dir():
            raise FileNotFoundError(f"there is no submission {str(path)!r}")
        for entry in sorted(path.iterdir()):
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and not entry.is_symlink():
                found.append((entry.name, *notebook_in(entry, lab)))
            elif entry.suffix == ".ipynb":
                found.append((entry.stem, entry, ""))
    names: dict[str, int] = {}
    result = []
    for learner, path, problem in found:
        names[learner] = names.get(learner, 0) + 1
        unique = learner if names[learner] == 1 else f"{learner} ({names[learner]})"
        result.append((unique, path, problem))
    return result


def notebook_in(folder: Path, lab: str) -> tuple[Path | None, str]:
    """Return the notebook of a learner's folder: the one with the lab's name, or the only one."""
    notebooks = sorted(p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    named = [p for p in notebooks if p.name == f"{lab}.ipynb"]
    for candidates in (named, notebooks):
        if len(candidates) == 1:
            return candidates[0], ""
    if not notebooks:
        return None, "there is no notebook in the learner's folder"
    return None, f"there are {len(notebooks)} notebooks: which one is {lab}.ipynb?"


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
    for learner, path, problem in found:
        place = None if path is None else str(path.absolute())
        job = Job(lab, learner, place, seed, limits or Limits(), trusted, problem, only)
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
