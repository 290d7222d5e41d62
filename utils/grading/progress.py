"""What a learner has done so far: one small JSON file under artifacts/.

Written whole or not at all; a damaged file is set aside under another name, never overwritten.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from utils.runtime import artifacts_dir


def progress_file() -> Path:
    """Return the path of the learner's progress."""
    return artifacts_dir() / "progress.json"


def load() -> dict[str, dict[str, list[int]]]:
    """Return lab -> exercise -> [best points so far, points of the exercise]."""
    path = progress_file()
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            lab: {name: [int(earned), int(points)] for name, (earned, points) in entries.items()}
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


def record(lab: str, exercise: str, earned: int, points: int) -> None:
    """Keep the best result of an exercise; a disk that is full costs the record, not the lab."""
    content = load()
    best = content.setdefault(lab, {}).get(exercise, [0, points])[0]
    content[lab][exercise] = [min(points, max(best, earned)), points]
    path = progress_file()
    new = path.with_suffix(".new.json")
    try:
        new.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(new, path)
    except OSError as error:
        print(f"Progress could not be saved ({error}); free some disk and check again.")
