"""ROUGE-L: how much of two texts is the same words in the same order.

Left out on purpose: stemming, n-gram variants, several references (take the best of each).

Source: Lin 2004, "ROUGE", section 3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    subsequence keeps the order and may leave out words. F1 weighs both shares alike.

    Args:
        prediction: what was written; the common words over its length are the precision.
        reference: what should stand there; the common words over its length are the recall.

    Returns:
        All zeros where either text has no word, or none in common.

    >>> rouge_l("The dose is 15 mg.", "Take 15 mg")
    Rouge(precision=0.4, recall=0.6666666666666666, f1=0.5)

    Source: Lin 2004, "ROUGE", equations 2 to 4 with beta 1.
    """
    ours, theirs = WORD.findall(prediction.lower()), WORD.findall(reference.lower())
    common = longest_common(ours, theirs)
    if common == 0:
        return Rouge(0.0, 0.0, 0.0)
    precision, recall = common / len(ours), common / len(theirs)
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall))


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, in time len(a) * len(b).

    >>> longest_common("abcbdab", "bdcaba")
    4
    """
    row = [0] * (len(b) + 1)  # row[j]: longest of what was read of a, and b[:j]
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], diagonal + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]
