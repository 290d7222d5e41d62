"""`course review`: a design review's rubric as a form, sample answers, and a judge's proposal.

Only a person's points are recorded: each has to be typed, and a proposal is never taken over by an
empty line.
"""

from __future__ import annotations

import hashlib
import json
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

from utils.reviews.rubric import (
    GRADERS,
    Grade,
    Rubric,
    WrongRubric,
    criterion_lines,
    rubrics_of,
    shown,
)

MOST_CHARACTERS = 40_000  # of an answer; a review of 350 words has some 2,500
JUDGE_WARNING = (
    "A judge proposes and does not decide: it can be talked into points by the answer, and it "
    "prefers long ones. Read the answer, then type your own points."
)


def main(
    unit: str,
    answer: Path | None,
    question: int | None = None,
    *,
    samples: bool = False,
    judge: str | None = None,
    model: str = "local",
    remote: bool = False,
    record: bool = False,
    read: Callable[[str], str] = input,
) -> int:
    """Print the form, with proposals where a judge is asked; return 0, or 2 with a reason.

    Args:
        unit: its number.
        answer: file with a learner's answer.
        question: which of the unit's reviews.
        samples: print the sample answers with their points.
        judge: address of a chat server that proposes points.
        model: name that it knows.
        remote: the judge may run on another machine.
        record: ask a person for points, and write them beside the answer.
        read: asks the person.
    """
    from utils.reviews.judge import JudgeError, ask_judge, pleas

    try:
        rubric = chosen(unit, question)
        if samples:
            print(samples_text(rubric))
        if answer is None:
            if judge or record:
                raise ValueError("name the file with the answer: course review 17 ANSWER.md")
            if not samples:
                print(form_text(rubric))
            return 0
        text = answer_of(answer)
        proposals = None
        if judge:
            proposals = ask_judge(judge, rubric, text, model=model, may_leave=remote)
        print(form_text(rubric, proposals))
        if found := pleas(text):
            print(f"\nThe answer speaks to its grader ({', '.join(map(repr, found))}): look there.")
        if record:
            print(f"\nrecorded: {write_points(rubric, answer, text, proposals, read)}")
    except (OSError, ValueError, WrongRubric, JudgeError, EOFError) as error:
        print(str(error) or "no points were given, and none are recorded", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: no points are recorded", file=sys.stderr)
        return 130
    return 0


def chosen(unit: str, question: int | None) -> Rubric:
    """Return the rubric of a unit's question; of two reviews one has to be named."""
    found = rubrics_of(unit)
    listed = "; ".join(f"--question {rubric.question}: {rubric.title}" for rubric in found)
    if question is None and len(found) > 1:
        raise ValueError(f"unit {unit} has {len(found)} reviews, choose one: {listed}")
    fitting = [rubric for rubric in found if question in (None, rubric.question)]
    if not fitting:
        raise ValueError(f"unit {unit} has no question {question}: {listed}")
    return fitting[0]


def answer_of(path: Path) -> str:
    """Return a learner's answer.

    Raises:
        ValueError: for a file that is no text, empty or far too long.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no UTF-8 text") from None
    if not text.strip() or len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"{path} holds {len(text):,} characters; an answer has 1 to {MOST_CHARACTERS:,}"
        )
    return text


def form_text(rubric: Rubric, proposals: Mapping[str, Grade] | None = None) -> str:
    """Return the rubric as a form to fill in, with a judge's proposals beside the criteria."""
    lines = [f"{rubric.title} ({rubric.points} points)"]
    for criterion in rubric.criteria:
        asks, *levels = criterion_lines(criterion)
        lines += ["", f"[ ] {criterion.id}: {asks}"]
        for level in levels:
            lines += textwrap.wrap(level, 92, initial_indent="    ", subsequent_indent="       ")
        if proposals:
            grade = proposals[criterion.id]
            told = f"proposed {grade.points:g}: {grade.why}"
            lines += textwrap.wrap(told, 92, initial_indent="    > ", subsequent_indent="    > ")
    if proposals:
        total = sum(grade.points for grade in proposals.values())
        lines += ["", f"proposed together: {total:g} of {rubric.points}"]
        lines += textwrap.wrap(JUDGE_WARNING, 92)
    return "\n".join(lines)


def samples_text(rubric: Rubric) -> str:
    """Return the sample answers, each with what two graders gave for it and why."""
    lines = [rubric.title, *textwrap.wrap(rubric.note, 92)]
    for sample in rubric.samples:
        lines += ["", f"--- {sample.name} ---"]
        for paragraph in sample.answer.split("\n\n"):
            lines += [*textwrap.wrap(paragraph, 92), ""]
        for criterion in rubric.criteria:
            for grader in GRADERS:
                grade = sample.grades[grader][criterion.id]
                told = f"{criterion.id}, grader {grader}: {grade.points:g}. {grade.why}"
                lines += textwrap.wrap(told, 92, initial_indent="  ", subsequent_indent="    ")
        totals = " and ".join(f"{sample.total(grader):g}" for grader in GRADERS)
        lines.append(f"  together: {totals} of {rubric.points}")
    return "\n".join(lines)


def write_points(
    rubric: Rubric,
    path: Path,
    text: str,
    proposals: Mapping[str, Grade] | None,
    read: Callable[[str], str],
) -> Path:
    """Ask a person for the points of each criterion and write them; return the file.

    Nothing is written before the last question is answered with yes.

    Raises:
        ValueError: where the person does not confirm.
    """
    from utils.zoo.files import write_atomically

    points = {c.id: points_typed(c.id, c.scale, read) for c in rubric.criteria}
    total = sum(points.values())
    said = read(f"{total:g} of {rubric.points} points. Record them as yours? yes or no: ")
    if said.strip().lower() != "yes":
        raise ValueError("not confirmed: no points are recorded")
    content = {
        "rubric": rubric.name,
        "answer_sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
        "points": points,
        "total": total,
        "of": rubric.points,
        "given_by": "a person",
        "proposed": {name: grade.points for name, grade in (proposals or {}).items()},
    }
    out = path.with_name(f"{path.stem}.review.json")
    write_atomically(out, (json.dumps(content, indent=1) + "\n").encode("utf-8"))
    return out


def points_typed(name: str, scale: tuple[float, ...], read: Callable[[str], str]) -> float:
    """Return the points that a person types; an empty line is no answer."""
    while True:
        said = read(f"{name}: points ({shown(scale)}): ").strip()
        found = [points for points in scale if said == f"{points:g}"]
        if found:
            return found[0]
        print(f"type {shown(scale)}")
