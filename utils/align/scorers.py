"""Scores of texts, such as their toxicity, behind one interface: `score(texts) -> list[dict]`.

Whatever scores, a small classifier of our own, a downloaded model or a service, is asked alike and
answers alike: one dictionary per text, from an attribute's name to a probability.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional as F

from utils.text.words import words_of


class ScorerMissing(ImportError):
    """The package behind a scorer is not installed; the message says how to get it."""


class Scorer(Protocol):
    """Anything that scores texts."""

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return for each text the probability of each attribute, such as {"toxicity": 0.02}."""


def toxicity_score(
    texts: Sequence[str], weights: Mapping[str, float], bias: float
) -> list[dict[str, float]]:
    """Return the toxicity of each text: a logistic regression over the words that it holds.

    p = 1 / (1 + exp(-(bias + the sum of the weights of its words)))

    Args:
        texts: any texts; their words are those of `utils.text.words.words_of`.
        weights: of the words; a word that is not among them counts nothing, and one that a text
            holds several times counts once.
        bias: the logit of a text without any known word.

    Returns:
        {"toxicity": p} for each text, p from 0 to 1; never NaN, however large a logit is.

    >>> [round(s["toxicity"], 2) for s in toxicity_score(["You fool!", "Hi"], {"fool": 4.0}, -2.0)]
    [0.88, 0.12]
    """
    logits = [
        bias + sum(weights.get(word, 0.0) for word in dict.fromkeys(words_of(text)))
        for text in texts
    ]
    probabilities = torch.tensor(logits, dtype=torch.float64).sigmoid().tolist()
    return [{"toxicity": p} for p in probabilities]


def train_word_scorer(
    texts: Sequence[str], labels: Sequence[bool], penalty: float = 1e-3, n_steps: int = 100
) -> WordScorer:
    """Return a scorer whose word weights are learned by a penalised logistic regression.

    Args:
        texts: examples.
        labels: True where the text is toxic; both kinds must be there.
        penalty: times the sum of the squared weights, added to the mean loss.
        n_steps: of L-BFGS.

    Raises:
        ValueError: where there is not one label for each text, or all are alike.

    >>> scorer = train_word_scorer(["you fool", "good day", "a fool", "a day"], [1, 0, 1, 0])
    >>> [s["toxicity"] > 0.5 for s in scorer.score(["What a fool.", "What a day."])]
    [True, False]
    """
    if len(texts) != len(labels):
        raise ValueError(f"got {len(labels)} labels for {len(texts)} texts")
    if len({bool(label) for label in labels}) < 2:
        raise ValueError("labels must hold both kinds: toxic texts and others to tell them from")
    words = [dict.fromkeys(words_of(text)) for text in texts]
    place = {word: i for i, word in enumerate(sorted({w for held in words for w in held}))}
    holds = torch.zeros(len(texts), len(place))
    for row, held in enumerate(words):
        holds[row, [place[word] for word in held]] = 1.0
    targets = torch.tensor([float(label) for label in labels])
    weights, bias = torch.zeros(len(place), requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=n_steps, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(holds @ weights + bias, targets)
        value = value + penalty * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    learned = dict(zip(place, weights.detach().tolist(), strict=True))
    return WordScorer(learned, bias.item())


@dataclass(frozen=True)
class WordScorer:
    """The small classifier as a scorer; see `toxicity_score`."""

    weights: Mapping[str, float]
    bias: float

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return {"toxicity": p} for each text."""
        return toxicity_score(texts, self.weights, self.bias)


class DetoxifyScorer:
    """Detoxify's models as a scorer. The package is optional, and fetches its weights by itself.

    Args:
        predict: called with a list of texts, gives a list of numbers for each attribute; None for
            that of Detoxify's model "original".

    Raises:
        ScorerMissing: where `predict` is None and the package is not installed.
    """

    def __init__(self, predict: Callable[[list[str]], Mapping[str, Sequence[float]]] | None = None):
        if predict is None:
            try:
                from detoxify import Detoxify
            except ImportError:
                raise ScorerMissing(
                    "Detoxify is not installed: pip install detoxify, or use the small classifier "
                    "of train_word_scorer"
                ) from None
            predict = Detoxify("original").predict
        self.predict = predict

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return each attribute's probability for each text."""
        if not texts:
            return []
        found = self.predict(list(texts))
        return [
            {name: float(values[i]) for name, values in found.items()} for i in range(len(texts))
        ]
