"""Written answers: rubric and model answer, once the learner has written something.

A kernel does not see the text cells of its notebook, so the saved file is read.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from utils.labs import api, progress
from utils.labs.exercises import BEFORE_A_WRITTEN_ANSWER, model_answers
from utils.settings import notebook_path, project_root

HEADING = re.compile(BEFORE_A_WRITTEN_ANSWER.pattern.replace("^# #+", r"^#+"), re.I | re.M)
MIN_LETTERS = 60  # shorter than any answer to "in four to seven sentences"


def written_answer(number: int, points: int | None = None) -> None:
    """Open the rubric and the model answer of a written answer; take the learner's own count.

    Args:
        number: of the written answer in the lab, from 1.
        points: what the learner gives the own answer by the rubric; None to read the rubric first.
    """
    lab = api.SESSION.lab
    if lab is None:
        print('Run the first cell of the lab: it holds start_lab("...").')
        return
    answers = model_answers(lab)
    if not 1 <= number <= len(answers):
        print(f"This lab has {len(answers)} written answers; there is no {number}.")
        return
    most, text = answers[number - 1]
    if not api.is_learner_notebook():
        print("In a learner's copy this cell opens the rubric and the model answer.")
        return
    if not is_written(lab, number):
        print("Write your answer in the cell above and save the notebook (Ctrl+S or Cmd+S) first.")
        return
    if points is None:
        print(text)
        print(f"\nCount your points by the rubric, then run written_answer({number}, points=...).")
        return
    if not (isinstance(points, int) and 0 <= points <= most):
        print(f"Give yourself a whole number from 0 to {most}.")
        return
    progress.record(lab, f"written {number}", points, most, note=progress.BY_YOURSELF)
    print(f"The board has {points} of {most} points, counted by yourself.")


def is_written(lab: str, number: int) -> bool:
    """Return whether the saved notebook holds an answer that is more than the released text."""
    path = notebook_path() or Path.cwd() / f"{lab}.ipynb"
    own = sections(path)
    given = sections(project_root() / "labs" / f"{lab}.ipynb")
    if len(own) < number or len(given) < number:
        return False
    return letters(own[number - 1]) >= letters(given[number - 1]) + MIN_LETTERS


def sections(path: Path) -> list[str]:
    """Return the text from each heading of a written answer to the next heading of its level.

    A file that can't be read has none.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    whole = "\n\n".join(texts)
    found = []
    for heading in HEADING.finditer(whole):
        rest = whole[heading.end() :]
        end = re.search(r"^##? ", rest, re.M)
        found.append(rest[: end.start()] if end else rest)
    return found


def letters(text: str) -> int:
    """Return how many letters a text has.

    >>> letters("*Your answer here.*")
    14
    """
    return sum(character.isalpha() for character in text)
