"""ROUGE-L against the reference implementation of its field."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from utils.evaluate.rouge import rouge_l

SCORER = RougeScorer(["rougeL"], use_stemmer=False)
WORDS = st.lists(st.sampled_from(["dose", "15", "mg", "the", "The", "of", "Zolpar", "café"]))
TEXTS = st.one_of(st.text(max_size=40), WORDS.map(" ".join), WORDS.map("\n-".join))


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_equals_rouge_score(prediction, reference):
    theirs = SCORER.score(reference, prediction)["rougeL"]
    assert rouge_l(prediction, reference) == pytest.approx(tuple(theirs), abs=1e-12)


@given(WORDS, WORDS)
def test_the_same_either_way_round(a, b):
    ours, swapped = rouge_l(" ".join(a), " ".join(b)), rouge_l(" ".join(b), " ".join(a))
    assert (ours.precision, ours.recall) == (swapped.recall, swapped.precision)


def test_edges():
    assert rouge_l("", "a") == rouge_l("a", "") == rouge_l("!!", "a") == (0, 0, 0)
    assert rouge_l("A b, c", "a B c!") == (1, 1, 1)
    assert rouge_l("a b c b d a b", "b d c a b a").precision == 4 / 7


def test_rouge_prefers_the_wrong_answer():
    """Why it does not decide alone: one word is wrong, and it is the word that counts."""
    reference = "The dose of Zolpar is 15 mg."
    assert rouge_l("The dose of Zolpar is 150 mg.", reference).f1 > rouge_l("15 mg", reference).f1
