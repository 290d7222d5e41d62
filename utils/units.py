"""Where everything of a unit is: `course unit 05` lists its files, found by its number."""

from __future__ import annotations

from pathlib import Path

from utils.settings import project_root

OWNED = {  # what it is: where it lies, {unit} being its number
    "lecture": "notebooks/{unit}_*.ipynb",
    "lecture's source": "notebooks/source/{unit}_*.py",
    "lab": "labs/{unit}_*.ipynb",
    "solution": "solutions/{unit}_*.ipynb",
    "lab's source": "solutions/source/{unit}_*.py",
    "checks and hints": "utils/labs/checks/{unit}_*.py",
    "quiz": "utils/labs/quizzes/{unit}_*.py",
    "rubrics": "utils/reviews/rubrics/{unit}_*.json",
    "wrong answers": "tests/wrong_answers/{unit}_*.py",
    "right answers": "tests/right_answers/{unit}_*.py",
    "hints followed": "tests/hints_followed/{unit}_*.py",
    "claims": "tests/claims/unit{unit}.py",
    "claims, recorded": "tests/claims/records/{unit}_*.json",
    "tests of claims": "tests/test_claims_{unit}*.py",
    "tests of bridges": "tests/test_bridges_{unit}*.py",
}


def files_of_unit(unit: str, root: Path | None = None) -> dict[str, list[str]]:
    """Return what a unit owns -> its files, relative to the course.

    Args:
        unit: its number, or a name that begins with it.
        root: of the course; None for this one.

    Raises:
        FileNotFoundError: for a number that no unit has.

    >>> files_of_unit("2")["lecture"]
    ['notebooks/02_attention.ipynb']
    """
    root = root or project_root()
    number = unit.split("_")[0].zfill(2)
    found = {
        what: [path.relative_to(root).as_posix() for path in sorted(root.glob(where))]
        for what, where in ((k, v.format(unit=number)) for k, v in OWNED.items())
    }
    if not number.isdigit() or not any(found.values()):
        there = sorted(path.stem for path in (root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
        raise FileNotFoundError(f"there is no unit {unit!r}; there are: {', '.join(there)}")
    return {what: paths for what, paths in found.items() if paths}


def unit_text(unit: str) -> str:
    """Return the page about a unit: a line for each of its files, and its exercises.

    Raises:
        FileNotFoundError: for a number that no unit has.
    """
    owned = files_of_unit(unit)
    lines = [f"{what:18} {path}" for what, paths in owned.items() for path in paths]
    if "lab's source" in owned:
        from utils.labs.exercises import exercises_in_source

        lab = Path(owned["lab's source"][0]).stem
        lines += [f"{'exercise':18} {dotted}" for dotted in exercises_in_source(lab)]
    return "\n".join(lines)
