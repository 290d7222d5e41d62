"""Quiz questions with an explanation for every answer, and proofs that the keys are right.

A unit's questions are the list QUIZ of `utils/labs/quizzes/NN_topic.py`. A question may carry a
proof: a function that computes the right option; a test runs all proofs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question; `options` maps a letter to (text, what to say to who chose it)."""

    name: str
    text: str
    options: dict[str, tuple[str, str]]
    key: str
    proof: Callable[[], str] | None = None

    def __post_init__(self):
        if self.key not in self.options:
            raise ValueError(f"the key {self.key!r} of {self.name} is none of its options")


def quiz_of(unit: str) -> list[Question]:
    """Return the questions of a unit such as "01_tokens"."""
    return importlib.import_module(f"utils.labs.quizzes.{unit}").QUIZ


def ask(unit: str, name: str, answer: str | None = None) -> None:
    """Print a question, or say whether an answer is right and why.

    Args:
        unit: such as "01_tokens".
        name: of the question.
        answer: a letter; None to be asked.
    """
    found = [question for question in quiz_of(unit) if question.name == name]
    if not found:
        print(f"There is no question {name!r}; there are: {[q.name for q in quiz_of(unit)]}.")
        return
    (question,) = found
    if answer is None:
        print(question.text)
        for letter, (text, _) in question.options.items():
            print(f"  {letter}. {text}")
        return
    letter = str(answer).strip().lower()
    if letter not in question.options:
        print(f"Answer with one of {', '.join(question.options)}.")
        return
    verdict = "Right." if letter == question.key else "Not quite."
    print(f"{verdict} {question.options[letter][1]}")
