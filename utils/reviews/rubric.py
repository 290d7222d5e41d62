"""Rubrics of design reviews as data: criteria with what earns their points, and graded samples.

A rubric is one JSON file, `utils/reviews/rubrics/NN_name.json`. Its criteria are graded none, half
or full, so that two graders can be compared by one scale. Sample answers and their points are the
course's own examples, which each file says. Left out on purpose: a total that anybody computed
without reading, which is what a judge is for and what nobody should sign.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("rubrics")
GRADERS = ("A", "B")
N_LEVELS = 3  # none, half, full


class WrongRubric(ValueError):
    """A rubric that can't be graded by; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Criterion:
    """One thing that an answer is graded for: what earns all, half and none of its points."""

    id: str
    asks: str
    points: int
    full: str
    half: str
    none: str

    @property
    def scale(self) -> tuple[float, float, float]:
        """The points that can be given: none, half, full."""
        return (0.0, self.points / 2, float(self.points))


@dataclass(frozen=True)
class Grade:
    """The points of one criterion, and why."""

    points: float
    why: str


@dataclass(frozen=True)
class Sample:
    """A sample answer with the grades of two graders: grader -> criterion -> grade."""

    name: str
    answer: str
    grades: Mapping[str, Mapping[str, Grade]]

    def total(self, grader: str) -> float:
        """Return the points that a grader gave."""
        return sum(grade.points for grade in self.grades[grader].values())


@dataclass(frozen=True)
class Rubric:
    """The rubric of a written answer; `question` is its number in the lab."""

    name: str
    unit: str
    question: int
    title: str
    task: str
    points: int
    criteria: tuple[Criterion, ...]
    model_answer: str
    samples: tuple[Sample, ...]
    note: str


def rubrics_of(unit: str) -> list[Rubric]:
    """Return the rubrics of a unit, in the order of its lab's questions.

    Args:
        unit: its number, or a name that begins with it.

    Raises:
        FileNotFoundError: where the unit has none.
        WrongRubric: where one can't be graded by.

    >>> [rubric.question for rubric in rubrics_of("17")]
    [1, 2]
    """
    number = unit.split("_")[0].zfill(2)
    found = sorted(FOLDER.glob(f"{number}_*.json")) if number.isdigit() else []
    if not found:
        there = ", ".join(sorted({path.name[:2] for path in FOLDER.glob("*.json")}))
        raise FileNotFoundError(f"unit {unit!r} has no design review; units that have: {there}")
    return sorted(map(read_rubric, found), key=lambda rubric: rubric.question)


def read_rubric(path: Path) -> Rubric:
    """Return a rubric, after seeing that its points add up and every sample is graded whole.

    Raises:
        WrongRubric: for a file that is no JSON, lacks a field, or does not add up.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        criteria = tuple(Criterion(**row) for row in found["criteria"])
        rubric = Rubric(
            **{key: found[key] for key in ("name", "unit", "question", "title", "points", "note")},
            task=text_of(found["task"]),
            criteria=criteria,
            model_answer=text_of(found["model_answer"]),
            samples=tuple(sample_of(row) for row in found["samples"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongRubric(f"{path.name}: {type(error).__name__}: {error}") from None
    for fault in faults_of(rubric):
        raise WrongRubric(f"{path.name}: {fault}")
    return rubric


def sample_of(row: Mapping) -> Sample:
    """Return a sample from its row of JSON."""
    grades = {
        grader: {name: Grade(**grade) for name, grade in given.items()}
        for grader, given in row["grades"].items()
    }
    return Sample(row["name"], text_of(row["answer"]), grades)


def text_of(paragraphs: list[str]) -> str:
    """Return paragraphs as one text.

    Raises:
        TypeError: for anything but a list of texts.
    """
    if not isinstance(paragraphs, list) or not all(isinstance(p, str) for p in paragraphs):
        raise TypeError(f"a list of paragraphs is wanted, got {str(paragraphs)[:60]!r}")
    return "\n\n".join(paragraphs)


def faults_of(rubric: Rubric) -> list[str]:
    """Return what is wrong with a rubric: sums, names, and grades that are not on the scale."""
    faults = []
    names = [criterion.id for criterion in rubric.criteria]
    if len(set(names)) != len(names):
        faults.append(f"two criteria of one name among {', '.join(names)}")
    total = sum(criterion.points for criterion in rubric.criteria)
    if total != rubric.points:
        faults.append(f"its criteria have {total} points together, and the answer {rubric.points}")
    scales = {criterion.id: criterion.scale for criterion in rubric.criteria}
    for sample in rubric.samples:
        if tuple(sample.grades) != GRADERS:
            faults.append(f"sample {sample.name!r} is graded by {tuple(sample.grades)}")
        for grader, given in sample.grades.items():
            where = f"sample {sample.name!r}, grader {grader}"
            if list(given) != names:
                faults.append(f"{where}: graded are {list(given)}, the criteria are {names}")
                continue
            for name, grade in given.items():
                if grade.points not in scales[name] or not grade.why.strip():
                    faults.append(
                        f"{where}, {name}: {grade.points} points with reason {grade.why!r}; give "
                        f"one of {shown(scales[name])} and a reason"
                    )
    return faults


def shown(scale: Sequence[float]) -> str:
    """Return the points of a scale as text.

    >>> shown((0.0, 1.0, 2.0)), shown((0.0, 0.5, 1.0))
    ('0, 1 or 2', '0, 0.5 or 1')
    """
    *rest, last = (f"{points:g}" for points in scale)
    return f"{', '.join(rest)} or {last}"


def level(criterion: Criterion, points: float) -> int:
    """Return points as a level: 0 for none, 1 for half, 2 for full."""
    return criterion.scale.index(points)


def levels_of(rubrics: Sequence[Rubric], grader: str) -> list[int]:
    """Return a grader's levels of all criteria of all samples, in one order for both graders.

    >>> len(levels_of(rubrics_of("17"), "A"))
    30
    """
    return [
        level(criterion, sample.grades[grader][criterion.id].points)
        for rubric in rubrics
        for sample in rubric.samples
        for criterion in rubric.criteria
    ]


def criterion_lines(criterion: Criterion) -> list[str]:
    """Return what a grader reads of a criterion, a line for each level."""
    none, half, full = (f"{points:g}" for points in criterion.scale)
    return [
        f"{criterion.asks}.",
        f"{full}: {criterion.full};",
        f"{half}: {criterion.half};",
        f"{none}: {criterion.none}.",
    ]


def solution_text(rubric: Rubric) -> str:
    """Return model answer, rubric and sample totals as they stand in the lab's solution."""
    parts = [f"*Model answer.* {rubric.model_answer}"]
    lines = [
        f"{'*Rubric.* ' if k == 0 else ''}{' '.join(criterion_lines(criterion))}"
        for k, criterion in enumerate(rubric.criteria)
    ]
    totals = ", ".join(
        f"{sample.name} {sample.total('A'):g} and {sample.total('B'):g}"
        for sample in rubric.samples
    )
    number = rubric.unit[:2]
    closing = (
        f"*Three sample answers* with the points that each earns and why: `course review {number} "
        f"--question {rubric.question} --samples`. Two graders gave {totals} of {rubric.points}."
    )
    return "\n\n".join([*parts, *lines, closing])


def as_source(text: str, width: int = 86) -> str:
    """Return text as comment lines of a notebook's source.

    >>> print(as_source("One.\\n\\nTwo."))
    # One.
    #
    # Two.
    """
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        wrapped = textwrap.wrap(paragraph, width - 2, break_on_hyphens=False)
        lines += ["#"] * bool(lines) + [f"# {line}" for line in wrapped]
    return "\n".join(lines)
