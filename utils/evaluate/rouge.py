"""ROUGE-L: how much of two texts is the same words in the same order.

Left out on purpose: stemming, n-gram variants, several references (take the best of each).

Source: Lin 2004, "ROUGE", section 3.
"""

from __future__ import annotations

import re
from typing import NamedTuple

WORD = re.compile(r"[a-z0-9]+")


class Rouge(NamedTuple):
    """Shares from 0 to 1."""

    precision: float
    recall: float
    f1: float


def rouge_l(prediction: str, reference: str) -> Rouge:
    """Return precision, recall and F1 of the longest common subsequence of words.

    Words are runs of the letters a to z and digits in the lower-cased text; all else separates. A
    subsequence keeps the order and may leave out words. F1 is 2 P R / (P + R) of precision P and
    recall R. The time grows with the product of the two lengths, so texts of hundreds of words take
    no second.

    Args:
        prediction: what was written; the common words over its length are the precision.
        reference: what should stand there; the common words over its length are the recall.

    Returns:
        All zeros where either text has no word, or none in common.

    >>> tuple(rouge_l("The dose is 15 mg.", "Take 15 mg"))
    (0.4, 0.6666666666666666, 0.5)

    Source: Lin 2004, "ROUGE", equations 2 to 4 with beta 1.
    """
    ours, theirs = WORD.findall(prediction.lower()), WORD.findall(reference.lower())
    row = [0] * (len(theirs) + 1)  # row[j]: longest of what was read of ours, and theirs[:j]
    for word in ours:
        diagonal = 0
        for j, other in enumerate(theirs, 1):
            longest = diagonal + 1 if word == other else max(row[j], row[j - 1])
            diagonal, row[j] = row[j], longest
    common = row[-1]
    if common == 0:
        return Rouge(0.0, 0.0, 0.0)
    precision, recall = common / len(ours), common / len(theirs)
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall))
