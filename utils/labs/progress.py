"""What a learner has done so far: one small JSON file under artifacts/.

Written whole or not at all, by one notebook at a time; a damaged file is set aside under another
name, never overwritten.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from utils.settings import artifacts_dir

LOCK_SECONDS = 3.0  # to wait for another notebook, which needs a few milliseconds
ABANDONED_SECONDS = 10.0  # a lock this old is of a kernel that was killed


def progress_file() -> Path:
    """Return the path of the learner's progress."""
    return artifacts_dir() / "progress.json"


WITH_HELP, BY_YOURSELF = "with help", "your own count"  # what the board says beside an entry


def load() -> dict[str, dict[str, list]]:
    """Return lab -> exercise -> [best points so far, points of the exercise, notes ...].

    A note is WITH_HELP where the learner opened the answer before the points were earned, or
    BY_YOURSELF for a written answer that the learner counted.
    """
    path = progress_file()
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            lab: {
                name: [int(earned), int(points), *map(str, notes)]
                for name, (earned, points, *notes) in entries.items()
            }
            for lab, entries in content.items()
        }
    except (ValueError, TypeError, AttributeError):
        aside, k = path.with_suffix(".damaged.json"), 1
        while aside.exists():
            k += 1
            aside = path.with_suffix(f".damaged{k}.json")
        os.replace(path, aside)
        print(f"The progress file was damaged; it is kept as {aside.name}. Progress starts anew.")
        return {}


def load_to_show() -> dict[str, dict[str, list]]:
    """Return what `load` does, or nothing after saying why the file can't be read."""
    try:
        return load()
    except OSError as error:
        print(f"Progress could not be read ({error}).")
        return {}


def record(
    lab: str,
    exercise: str,
    earned: int,
    points: int,
    with_help: bool = False,
    note: str | None = None,
) -> None:
    """Keep the best result of an exercise; a disk that is full costs the record, not the lab.

    Args:
        lab: name such as "01_tokens".
        exercise: name of the exercise.
        earned: points of this try.
        points: points of the exercise.
        with_help: whether the answer was opened. It is kept, unless all points were earned before.
        note: anything else to say beside the entry.
    """
    try:
        with locked():
            content = load()
            best, _, *notes = content.setdefault(lab, {}).get(exercise, [0, points])
            if with_help and best < points:
                notes.append(WITH_HELP)
            notes = sorted({*notes, *([note] if note else [])})
            content[lab][exercise] = [min(points, max(best, earned)), points, *notes]
            path = progress_file()
            new = path.with_suffix(f".{os.getpid()}.new.json")
            text = json.dumps(content, indent=1, sort_keys=True) + "\n"
            try:
                new.write_text(text, encoding="utf-8")
                os.replace(new, path)
            finally:
                new.unlink(missing_ok=True)
    except OSError as error:
        print(f"Progress could not be saved ({error}); free some disk and check again.")


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the progress file, so that two notebooks at once don't lose each other's results.

    A lock is a file that only one can make; one that a killed kernel left is taken over.
    """
    lock = progress_file().with_suffix(".lock")
    end = time.monotonic() + LOCK_SECONDS
    made = False
    while not made and time.monotonic() < end:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            made = True
        except (FileExistsError, PermissionError):  # Windows: it is just being removed
            with contextlib.suppress(OSError):
                if time.time() - lock.stat().st_mtime > ABANDONED_SECONDS:
                    lock.unlink()
            time.sleep(0.01)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                lock.unlink()
