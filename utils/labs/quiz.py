"""Quiz questions with an explanation for every answer, and proofs that the keys are right.

A unit's questions are the list QUIZ of `utils/labs/quizzes/NN_topic.py`. A question may carry a
proof: a function that computes the right option; a test runs all proofs.
"""

from __future__ import annotations

import importlib
import random
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


def order_shown(question: Question) -> dict[str, str]:
    """Return the letters as they are shown, each with the one of the question's file.

    Shuffled, always in the same way: whoever writes questions likes to put the right option second.

    >>> order_shown(Question("half", "1/2?", {"a": ("0.5", ""), "b": ("2", "")}, "a"))
    {'a': 'b', 'b': 'a'}
    """
    letters = list(question.options)
    drawn = random.Random(question.name).sample(letters, len(letters))
    return dict(zip(letters, drawn, strict=True))


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
    order = order_shown(question)
    if answer is None:
        print(question.text)
        for letter, own in order.items():
            print(f"  {letter}. {question.options[own][0]}")
        return
    letter = str(answer).strip().lower()
    if letter not in order:
        print(f"Answer with one of {', '.join(order)}.")
        return
    verdict = "Right." if order[letter] == question.key else "Not quite."
    print(f"{verdict} {question.options[order[letter]][1]}")
