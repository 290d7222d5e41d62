"""From a source to its notebooks: a lecture, or a lab without answers and a solution with them.

Both notebooks of a lab come from the same cells in one pass, so they differ in the answers alone.
Cell ids follow from the text, metadata is minimal and sorted: the same source gives the same bytes.
Left out on purpose: outputs (see `execute`) and the stamp (see `stamp`).
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from utils.build.answers import Opened, with_answers, without_answers, wrap
from utils.build.exercises import Exercise, exercise_of, find_definition, telling_lines
from utils.build.names import without_magics
from utils.build.scope import Scope
from utils.build.sources import RESULT, BuildError, Cell, Source

FOLDERS = {"lecture": "notebooks", "lab": "labs", "solution": "solutions"}
REVEALS = "reveals"  # a cell that tells a number asked for above: shipped collapsed
WRITTEN = re.compile(r"^#+\s.*written answer \(\d+ points?\)", re.I | re.M)
MIN_TEXT = 40  # a shorter line of a written answer gives nothing away
PointsOf = Callable[[str], dict[str, int]]  # unit -> exercise -> points of its checks


@dataclass
class Built:
    """One generated notebook, with the source line of each line of its cells, for messages."""

    unit: str
    kind: str  # "lecture", "lab" or "solution"
    source: str
    cells: list[nbformat.NotebookNode] = field(default_factory=list)
    lines: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Where the notebook goes, relative to the course."""
        return f"{FOLDERS[self.kind]}/{self.unit}.ipynb"

    def add(self, kind: str, text: str, lines, anchor: str = "", tags=()) -> None:
        """Append one cell; `anchor` names it for good, else its id follows from its text.

        `lines` is the source line of each line of `text`, or one line for all of them.
        """
        make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
        cell = make(text)
        metadata: dict = {"tags": sorted(tags)} if tags else {}
        if REVEALS in tags:
            metadata["jupyter"] = {"outputs_hidden": True}
        cell.metadata = nbformat.from_dict(metadata)
        cell["id"] = self.fresh_id(anchor or digest(self.unit, kind, text))
        self.cells.append(cell)
        n_lines = text.count("\n") + 1
        self.lines.append((lines,) * n_lines if isinstance(lines, int) else tuple(lines))

    def fresh_id(self, wanted: str) -> str:
        """Return `wanted` made fit for an id, numbered where it is taken."""
        wanted = re.sub(r"[^A-Za-z0-9_-]", "-", wanted)[:56]
        taken, k, unique = {cell["id"] for cell in self.cells}, 1, wanted
        while unique in taken:
            k += 1
            unique = f"{wanted}-{k}"
        return unique

    def notebook(self, metadata: dict | None = None) -> nbformat.NotebookNode:
        """Return the notebook itself, without outputs."""
        course = {"kind": self.kind, "source": self.source, "unit": self.unit} | (metadata or {})
        return nbformat.from_dict(
            {
                "cells": [dict(cell) for cell in self.cells],
                "metadata": {
                    "course": course,
                    "kernelspec": {
                        "display_name": "Python 3 (ipykernel)",
                        "language": "python",
                        "name": "python3",
                    },
                    "language_info": {"file_extension": ".py", "name": "python"},
                },
                "nbformat": 4,
                "nbformat_minor": 5,
            }
        )


def digest(*parts: str) -> str:
    """Return 12 hexadecimal digits that follow from the given texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def as_text(notebook: nbformat.NotebookNode) -> str:
    """Return the bytes of a notebook file: sorted keys, one final newline."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def notice(built: Built) -> str:
    """Return the text of the first cell: where the source is, and what not to edit."""
    if built.kind == "lab":
        return (
            f"*Your copy of this lab is `work/{built.unit}.ipynb`: `make lab` made it, and updates "
            f"never touch it. The file in `labs/` is generated from `{built.source}`; "
            "do not edit it. What is graded are your functions with everything that they use by "
            "name: imports, functions, classes, constants, and statements that make or fill what "
            "they read; prints, plots, checks and experiments are not run.*"
        )
    return (
        f"*This notebook is generated from `{built.source}`; do not edit it. "
        "Change the source and run `make build`.*"
    )


def build_source(root: Path, source: Source, points_of: PointsOf | None) -> list[Built]:
    """Return the notebooks of a source: one lecture, or lab and solution.

    Raises:
        BuildError: with every fault found, each with file and line.
    """
    if source.kind == "lecture":
        return [build_lecture(source)]
    return build_lab(root, source, points_of)


def build_lecture(source: Source) -> Built:
    """Return the lecture notebook of a source."""
    built = Built(source.unit, "lecture", source.path)
    built.add("markdown", notice(built), 1, anchor="source")
    problems = []
    for cell in source.cells:
        try:
            exercise_of(source, cell)
        except BuildError as error:
            problems += error.problems
        problems += syntax_problems(source, cell, without_answers(cell))
        try:
            shown = wrap(source, cell, with_answers(cell))
        except BuildError as error:
            problems += error.problems
            continue
        built.add(cell.kind, shown.text, shown.lines, tags=cell.tags)
    if problems:
        raise BuildError(problems)
    return built


def build_lab(root: Path, source: Source, points_of: PointsOf | None) -> list[Built]:
    """Return the lab and the solution of a source."""
    lab = Built(source.unit, "lab", source.path)
    solution = Built(source.unit, "solution", source.path)
    for built in (lab, solution):
        built.add("markdown", notice(built), 1, anchor="source")
    exercises: dict[str, Exercise] = {}
    scope = Scope(source)
    secrets: list[tuple[str, str]] = []  # a telling line, and whose answer it is
    problems: list[str] = []
    for cell in source.cells:
        try:
            exercise = exercise_of(source, cell)
            if exercise is None:
                secrets += add_cell(source, cell, exercises, scope, lab, solution)
                continue
            if exercise.name in exercises:
                again = f"a second exercise called {exercise.name}"
                raise BuildError([source.at(cell.line, again)])
            definition = find_definition(root, source, exercise)
            exercises[exercise.name] = exercise
            add_exercise(lab, exercise, definition.stub, len(exercises))
            add_exercise(solution, exercise, definition.solution, len(exercises))
            scope.check_exercise(exercise, definition)
            secrets += [(line, exercise.name) for line in definition.secret_lines]
        except BuildError as error:
            problems += error.problems
    problems += scope.problems
    problems += point_problems(source, exercises, points_of)
    problems += call_problems(source, exercises)
    if not problems:
        problems += leak_problems(source, lab, secrets)
    if problems:
        raise BuildError(problems)
    return [lab, solution]


def add_cell(
    source: Source,
    cell: Cell,
    exercises: dict[str, Exercise],
    scope: Scope,
    lab: Built,
    solution: Built,
) -> list[tuple[str, str]]:
    """Append a cell that is no exercise to both notebooks; return its answers' telling lines.

    Raises:
        BuildError: for a fault of syntax, of needs: or of what can't be wrapped.
    """
    opened = without_answers(cell)
    problems = need_problems(source, cell, exercises) + syntax_problems(source, cell, opened)
    if problems:
        raise BuildError(problems)
    tags = [tag for tag in cell.tags if not tag.startswith("needs:") and tag != RESULT]
    anchor = digest(source.unit, cell.kind, cell.text)
    for built, shown in ((lab, opened), (solution, with_answers(cell))):
        wrapped = folded(shown) if RESULT in cell.tags else wrap(source, cell, shown)
        built.add(cell.kind, wrapped.text, wrapped.lines, anchor=anchor, tags=tags)
    if cell.kind == "code":
        scope.check_cell(cell, opened)
    elif opened.answers and WRITTEN.search(cell.text):
        add_self_assessment(cell, lab, solution)
    where = f"the answer at {source.path}:{cell.line}"
    return [(line, where) for line in telling(cell.kind, opened.answers)]


def folded(shown: Opened) -> Opened:
    """Return a text that is closed until the reader opens it."""
    summary = "<details><summary>When you have run it: what it shows</summary>"
    text = f"{summary}\n\n{shown.text}\n\n</details>"
    first, last = shown.lines[0], shown.lines[-1]
    return Opened(text, shown.answers, (first, first, *shown.lines, last, last))


def add_self_assessment(cell: Cell, lab: Built, solution: Built) -> None:
    """Append the cell that opens rubric and model answer once the learner has written something."""
    number = 1 + sum("written_answer(" in one.source for one in lab.cells)
    code = (
        "from utils.labs.written import written_answer\n\n"
        "# Opens the rubric and the model answer once yours is written and saved.\n"
        f"written_answer({number})"
    )
    for built in (lab, solution):
        built.add("code", code, cell.line, anchor=f"written-{number}-rubric")


def add_exercise(built: Built, exercise: Exercise, code: str, number: int) -> None:
    """Append headline, code and check of one exercise."""
    name, line = exercise.name, exercise.line
    built.add("markdown", exercise.headline(number), line, anchor=f"{name}-exercise")
    built.add("code", code, line, anchor=name)
    call = f'check("{name}")\n# Stuck? Run hint("{name}") in a new cell, once for each hint.'
    built.add("code", call, line, anchor=f"{name}-check")


def syntax_problems(source: Source, cell: Cell, opened: Opened) -> list[str]:
    """Return the syntax error of a code cell, if it has one."""
    if cell.kind != "code" or opened.text.startswith("%%"):
        return []
    every_line = range(cell.line, cell.line + cell.text.count("\n") + 1)
    for text, lines in ((cell.text, every_line), (opened.text, opened.lines)):
        try:
            ast.parse(without_magics(text))
        except SyntaxError as error:
            row = min(error.lineno or 1, len(lines))
            return [source.at(lines[row - 1], f"syntax error: {error.msg}")]
    return []


def need_problems(source: Source, cell: Cell, exercises: dict[str, Exercise]) -> list[str]:
    """Return the names in needs: that are not exercises above the cell."""
    return [
        source.at(cell.line, f"needs:{name} names no exercise above this cell")
        for name in cell.needs
        if name not in exercises
    ]


def point_problems(
    source: Source, exercises: dict[str, Exercise], points_of: PointsOf | None
) -> list[str]:
    """Return where exercises and checks disagree: missing on either side, or in points."""
    if points_of is None:
        return []
    checked = points_of(source.unit)
    problems = []
    for name, exercise in exercises.items():
        if name not in checked:
            where = f"utils/labs/checks/{source.unit}.py"
            problems.append(source.at(exercise.line, f"{name} has no check in {where}"))
        elif checked[name] != exercise.points:
            problems.append(
                source.at(
                    exercise.line,
                    f"{name} has points={exercise.points} but its checks give {checked[name]}",
                )
            )
    for name in sorted(set(checked) - set(exercises)):
        problems.append(source.at(1, f"there is a check for {name} but no exercise of that name"))
    return problems


def call_problems(source: Source, exercises: dict[str, Exercise]) -> list[str]:
    """Return the calls of check, done and hint that name no exercise, and of start_lab no lab."""
    code = [cell for cell in source.cells if cell.kind == "code"]
    started = [
        (cell.line + cell.text[: call.start()].count("\n"), call[1])
        for cell in code
        for call in re.finditer(r"^start_lab\(['\"]([^'\"]*)['\"]\)", cell.text, re.M)
    ]
    problems = [
        source.at(line, f"start_lab names {name!r}; this lab is {source.unit!r}")
        for line, name in started
        if name != source.unit
    ]
    if not started and exercises:
        line = code[0].line if code else 1
        problems.append(source.at(line, f'the setup cell lacks start_lab("{source.unit}")'))
    for cell in source.cells:
        for row, line in enumerate(cell.text.splitlines(), cell.line):
            for call in re.finditer(r"\b(check|done|hint)\(((?:\s*['\"][^'\"]*['\"],?)+)\)", line):
                for name in re.findall(r"['\"]([^'\"]*)['\"]", call[2]):
                    if name not in exercises:
                        problems.append(
                            source.at(row, f"{call[1]}({name!r}) names no exercise of this lab")
                        )
    return problems


def telling(kind: str, text: str) -> list[str]:
    """Return the lines of an answer, or of a lab, that can give an answer away.

    >>> telling("markdown", "Yes.\\nThe discount changes  the bill, and nothing else at all.")
    ['The discount changes the bill, and nothing else at all.']
    """
    if kind == "code":
        return telling_lines(text)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return [line for line in lines if len(line) >= MIN_TEXT]


def leak_problems(source: Source, lab: Built, secrets: list[tuple[str, str]]) -> list[str]:
    """Return the lines of answers that a learner could read in the lab, in code or in text."""
    owners = dict(secrets)
    problems = []
    for cell, numbers in zip(lab.cells, lab.lines, strict=True):
        for line, row in zip(cell.source.split("\n"), numbers, strict=True):
            found = [t for kind in ("code", "markdown") for t in telling(kind, line)]
            for owner in {owners[t] for t in found if t in owners}:
                shown = f"the lab would show a line of {owner}: {line.strip()!r}"
                problems.append(source.at(row, shown))
    return problems
