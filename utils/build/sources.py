"""Read notebook sources: py:percent text into cells that know their lines, strict about markers.

A source is the only thing that an author edits. Whatever looks like a marker and is not one stops
the build with file and line, so that a typing slip can never publish an answer.
Left out on purpose: running anything, and knowing what an exercise is (see `exercises`).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat

BEGIN_CODE, END_CODE = "# BEGIN SOLUTION", "# END SOLUTION"
BEGIN_TEXT, END_TEXT = "<!-- BEGIN SOLUTION -->", "<!-- END SOLUTION -->"
PLAIN_TAGS = {"nbval-ignore-output", "raises-exception", "reveals"}
REAL = "real"  # code of a lecture that needs the real model: it waits until that is prepared
RESULT = "result"  # text of a lab that says what an experiment shows: folded until it is run
CELL_START = re.compile(r"^\s*#\s*%%+(?!\S)|^\s*#\s*%%+\[")
NOTE = {"code": re.compile(r"^\s*#+(.*)$"), "markdown": re.compile(r"^\s*<!-*(.*?)-*>?\s*$")}
EXERCISE_LIKE = re.compile(
    r"^[\W_]*ex[a-z]{3,7}s?\s*[:=]|\bpoints\s*=\s*\d|\bdifficulty\s*=\s*\d", re.I
)


class BuildError(Exception):
    """What stops a build: one line per fault, each with file and line."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Cell:
    """One cell of a source; `line` is the line of the file where its text begins."""

    kind: str  # "code" or "markdown"
    text: str
    line: int
    tags: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The exercises without which this cell can't run (tags `needs:NAME`)."""
        return tuple(tag.removeprefix("needs:") for tag in self.tags if tag.startswith("needs:"))


@dataclass(frozen=True)
class Source:
    """A notebook source: where it is and what it holds."""

    path: str  # relative to the course, with forward slashes
    kind: str  # "lecture" or "lab"
    cells: tuple[Cell, ...]

    @property
    def unit(self) -> str:
        """The name of the unit, for example `01_tokens`."""
        return Path(self.path).stem

    def at(self, line: int, message: str) -> str:
        """Return `message` with the file and line that it is about."""
        return f"{self.path}:{line}: {message}"


def source_paths(root: Path) -> list[Path]:
    """Return all sources of the course at `root`: lectures first, then labs, each by number."""
    return [
        path
        for folder in ("notebooks", "solutions")
        for path in sorted((root / folder / "source").glob("*.py"))
    ]


def read_source(root: Path, path: Path) -> Source:
    """Return the source at `path`, checked for form and markers.

    Raises:
        BuildError: with every fault found, each with file and line.
    """
    relative = path.relative_to(root).as_posix()
    kind = "lecture" if relative.startswith("notebooks/") else "lab"
    source = Source(relative, kind, tuple(read_cells(relative, path.read_text("utf-8"))))
    problems = [problem for cell in source.cells for problem in cell_problems(source, cell)]
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", source.unit):
        problems.insert(0, source.at(1, "a source is called NN_topic.py, for example 01_tokens.py"))
    if problems:
        raise BuildError(problems)
    return source


def read_cells(relative: str, text: str) -> list[Cell]:
    """Return the cells of a py:percent text as jupytext reads them, with their line numbers."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines, 1) if CELL_START.match(line)]
    if not starts:
        raise BuildError([f"{relative}:1: no cells: a cell begins with `# %%`"])
    header = [line for line in lines[: starts[0] - 1] if not line.startswith("#") and line.strip()]
    if header:
        raise BuildError([f"{relative}:1: text before the first cell: begin it with `# %%`"])
    for start in starts:
        lines[start - 1] = split_needs(lines[start - 1])
    body = "\n".join(lines[starts[0] - 1 :]) + "\n"
    try:
        found = jupytext.reads(body, fmt="py:percent").cells
    except (ValueError, nbformat.ValidationError) as error:
        raise BuildError([f"{relative}:{starts[0]}: jupytext can't read it: {error}"]) from error
    if len(found) != len(starts):
        raise BuildError(
            [
                f"{relative}:{starts[0]}: {len(starts)} lines look like the start of a cell, but "
                f"jupytext reads {len(found)} cells: is a `# %%` inside a string?"
            ]
        )
    cells = []
    for start, cell in zip(starts, found, strict=True):
        unknown = set(cell.metadata) - {"tags", "lines_to_next_cell"}
        if unknown or cell.cell_type not in {"code", "markdown"}:
            what = ", ".join(sorted(unknown)) or f"[{cell.cell_type}]"
            raise BuildError(
                [
                    f"{relative}:{start}: unknown cell setting {what}: a cell is `# %%` or "
                    '`# %% [markdown]`, with tags=["..."] where it needs them'
                ]
            )
        line = start + 1
        while line <= len(lines) and not lines[line - 1].strip("# \t"):
            line += 1
        tags = tuple(cell.metadata.get("tags", ()))
        cells.append(Cell(cell.cell_type, cell.source.strip("\n"), line, tags))
    return cells


def split_needs(line: str) -> str:
    """Return a cell's first line with one tag for each name needed: notebook tags hold no commas.

    >>> split_needs('# %% tags=["needs:a,b"]')
    '# %% tags=["needs:a", "needs:b"]'
    """
    return re.sub(
        r'"needs:([^"]*)"',
        lambda tag: ", ".join(f'"needs:{name.strip()}"' for name in tag[1].split(",")),
        line,
    )


def cell_problems(source: Source, cell: Cell) -> list[str]:
    """Return what is wrong with one cell by itself: tags, emptiness, markers."""
    problems = []
    if not cell.text.strip():
        problems.append(source.at(cell.line, f"an empty {cell.kind} cell: remove it"))
    for tag in cell.tags:
        if tag.startswith("needs:") and source.kind == "lab" and cell.kind == "code":
            continue
        if tag == REAL and source.kind == "lecture" and cell.kind == "code":
            continue
        if tag == RESULT and source.kind == "lab" and cell.kind == "markdown":
            continue
        if tag not in PLAIN_TAGS or cell.kind != "code":
            problems.append(
                source.at(
                    cell.line - 1,
                    f"unknown tag {tag!r}: a code cell may carry {', '.join(sorted(PLAIN_TAGS))}, "
                    f"in a lecture {REAL}, in a lab needs:NAME[,NAME]; a text cell of a lab "
                    f"{RESULT}",
                )
            )
    return problems + marker_problems(source, cell)


def marker_problems(source: Source, cell: Cell) -> list[str]:
    """Return every unpaired, nested, misspelt or misplaced marker of a cell."""
    begin, end = (BEGIN_CODE, END_CODE) if cell.kind == "code" else (BEGIN_TEXT, END_TEXT)
    problems, open_line, indent = [], None, ""
    for number, line in enumerate(cell.text.splitlines(), cell.line):
        word = line.strip()
        if word == begin:
            if open_line is not None:
                problems.append(
                    source.at(number, f"{begin} inside the region opened at line {open_line}")
                )
            open_line, indent = number, line[: len(line) - len(line.lstrip())]
        elif word == end:
            if open_line is None:
                problems.append(source.at(number, f"{end} without {begin} before it in its cell"))
            elif not line.startswith(indent) or line[len(indent)] != end[0]:
                problems.append(
                    source.at(
                        number, f"{end} must stand as far in as its {begin} (line {open_line})"
                    )
                )
            open_line = None
        elif looks_like_region_marker(cell.kind, line):
            problems.append(
                source.at(
                    number, f"{word!r} looks like a marker; write {begin!r} or {end!r} exactly"
                )
            )
    if open_line is not None:
        problems.append(source.at(open_line, f"{begin} without {end} after it in its cell"))
    if problems or source.kind == "lab":
        return problems
    if any(line.strip() in {begin, end} for line in cell.text.splitlines()):
        return [source.at(cell.line, "solution markers belong in solutions/source")]
    return []


def looks_like_region_marker(kind: str, line: str) -> bool:
    """Return whether a line seems meant as a solution marker (exact ones are found before this).

    >>> looks_like_region_marker("code", "#BEGIN SOLUTON")
    True
    >>> looks_like_region_marker("code", "# the solution of a linear system")
    False
    """
    if re.search(r"\b(begin|end)[\s_-]*solution", line, re.I):
        return True
    note = NOTE["code"].match(line) or NOTE["markdown"].match(line)
    if not note:
        return False
    letters = re.sub(r"[^A-Z]", "", note[1].upper())
    wanted = ("BEGINSOLUTION", "ENDSOLUTION", "BEGINSOLUTIONS", "ENDSOLUTIONS")
    return bool(difflib.get_close_matches(letters, wanted, n=1, cutoff=0.8))
