"""Retrieval by BM25: which passages speak of what was asked.

`retrieve` is the formula, written out for a few thousand passages; `passage_index` gives the same
ranking from a library that prepares all passages once. Words are those of `utils.text.words`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import bm25s
import numpy as np

from utils.text.words import words_of


def retrieve(
    query: str, passages: Sequence[str], k: int, *, k1: float = 1.5, b: float = 0.75
) -> list[tuple[int, float]]:
    """Return the k passages that fit a query best, by BM25.

    score = sum over the words w of the query of
        log(1 + (N - n_w + 0.5) / (n_w + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length))

    N is the number of passages, n_w of those that hold w, f how often the passage holds w, and
    lengths are counted in words. A word that the query says twice counts twice.

    Args:
        query: the question.
        passages: texts; their words are those of `words_of`.
        k: most passages to return.
        k1: how soon a repeated word stops counting, 0 or more.
        b: how much long passages are marked down, from 0 to 1.

    Returns:
        (index, score) of at most k passages, best first; equal scores in the order of the passages.
        A passage that shares no word with the query is never returned.

    Raises:
        ValueError: for a k below 1, a negative k1, or a b outside 0 to 1.

    >>> passages = ["Brunal lives in Tolben.", "The ward opens at 8.", "Tolben has a ward."]
    >>> [(i, round(score, 2)) for i, score in retrieve("Where does Brunal live?", passages, 2)]
    [(0, 0.41)]
    >>> [index for index, _ in retrieve("ward in Tolben", passages, 3)]
    [0, 2, 1]

    Source: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond",
    section 3; the logarithm with 1 added, which is never negative, as in Lucene.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if k1 < 0 or not 0 <= b <= 1:
        raise ValueError(f"k1 must be 0 or more and b from 0 to 1, got k1={k1} and b={b}")
    counts = [Counter(words_of(passage)) for passage in passages]
    lengths = [count.total() for count in counts]
    mean_length = sum(lengths) / max(len(lengths), 1)
    scores = [0.0] * len(counts)
    for word in words_of(query):
        n_with = sum(word in count for count in counts)
        weight = math.log(1 + (len(counts) - n_with + 0.5) / (n_with + 0.5))
        for index, count in enumerate(counts):
            if word in count:
                long = 1 - b + b * lengths[index] / mean_length
                scores[index] += weight * count[word] / (count[word] + k1 * long)
    ranked = sorted((i for i, score in enumerate(scores) if score > 0), key=lambda i: -scores[i])
    return [(index, scores[index]) for index in ranked[:k]]


def passage_index(
    passages: Sequence[str], *, k1: float = 1.5, b: float = 0.75
) -> Callable[[str, int], list[tuple[int, float]]]:
    """Return a function that retrieves from passages which are prepared once, by the library bm25s.

    Args:
        passages: one text at least.
        k1, b: as in `retrieve`.

    Returns:
        search(query, k), with the results of `retrieve(query, passages, k)`.

    Raises:
        ValueError: for no passages, or passages without any word.

    >>> search = passage_index(["Brunal lives in Tolben.", "The ward opens at 8."])
    >>> search("Who is Brunal?", 3)[0][0]
    0
    """
    words = [words_of(passage) for passage in passages]
    if not any(words):
        raise ValueError("the passages hold no word: give one text at least")
    index = bm25s.BM25(k1=k1, b=b, method="lucene", dtype="float64")
    index.index(words, show_progress=False)

    def search(query: str, k: int) -> list[tuple[int, float]]:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        known = [word for word in words_of(query) if word in index.vocab_dict]
        if not known:
            return []
        scores = index.get_scores(known)
        order = np.argsort(-scores, kind="stable")[:k]
        return [(int(i), float(scores[i])) for i in order if scores[i] > 0]

    return search
