"""`course book` and `course slides 02`: the lectures to read, and to teach from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from utils.settings import artifacts_dir

MISSING = (
    "The book needs the extra `book`, and {} is not installed: run `make book`, or "
    '`pip install --editable ".[book]" -c constraints.txt`.'
)


def book(out: Path | None = None, with_pdf: bool = True) -> int:
    """Build the site of all lectures, and the PDF; return the exit status."""

    def build() -> list[Path]:
        from utils.book.lectures import read_lectures
        from utils.book.pdf import build_pdf
        from utils.book.site import build_site

        folder = out or artifacts_dir() / "book"
        folder.mkdir(parents=True, exist_ok=True)
        lectures = read_lectures()
        pdf = build_pdf(lectures, folder) if with_pdf else None
        return [build_site(lectures, folder, pdf), *([pdf] if pdf else [])]

    return told(build)


def slides(number: str, out: Path | None = None) -> int:
    """Write the slides of a unit's lecture; return the exit status."""

    def build() -> list[Path]:
        from utils.book.lectures import read_lectures
        from utils.book.slides import write_slides

        (lecture,) = read_lectures(only=[number.split("_")[0].zfill(2)])
        return [write_slides(lecture, out or artifacts_dir() / "slides")]

    return told(build)


def told(build: Callable[[], list[Path]]) -> int:
    """Build and print what was written; say what is wrong where something is."""
    try:
        print("\n".join(f"wrote {path}" for path in build()))
    except ModuleNotFoundError as error:
        print(MISSING.format(error.name), file=sys.stderr)
        return 2
    except (FileNotFoundError, ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
