"""Contamination: evaluation questions that stand in the training text.

Compares runs of words, so it finds copies and light edits, not paraphrases. Pages and questions
go through one normal form (`words_of`); in scripts without spaces a character counts as a word.
`utils.world.leaks` is exact where the facts are known; this is what one does where they are not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from utils.text.words import words_of


class Hit(NamedTuple):
    """A document that holds a run of words of a question."""

    document: int
    question: int
    words: str


def find_contamination(
    documents: Sequence[str], questions: Sequence[str], n_words: int = 8
) -> list[Hit]:
    """Return for each contaminated document the first run of words that a question shares with it.

    Args:
        documents: training texts.
        questions: evaluation questions.
        n_words: length of the run; a shorter question counts as a whole.

    Raises:
        ValueError: for a question without words, or `n_words` below 1.

    >>> find_contamination(["He asked: Who is Ann? Nobody knew."], ["Who is Ann?", "Who is Bob?"])
    [Hit(document=0, question=0, words='who is ann')]

    Source: Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C (13 words there).
    """
    if n_words < 1:
        raise ValueError(f"n_words must be at least 1, got {n_words}")
    runs: dict[int, dict[tuple, int]] = defaultdict(dict)  # length -> run -> question
    for number, question in enumerate(questions):
        words = words_of(question)
        if not words:
            raise ValueError(f"question {number} has no words: leave it out")
        length = min(n_words, len(words))
        for i in range(len(words) - length + 1):
            runs[length].setdefault(tuple(words[i : i + length]), number)
    by_length = sorted(runs.items())
    hits = []
    for number, document in enumerate(documents):
        words = words_of(document)
        found = (
            Hit(number, known[run], " ".join(run))
            for length, known in by_length
            for run in zip(*(words[k:] for k in range(length)), strict=False)
            if run in known
        )
        hit = next(found, None)
        if hit is not None:
            hits.append(hit)
    return hits
