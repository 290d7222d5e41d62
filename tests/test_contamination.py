"""Contamination: copies of questions are found whatever stands around them, strangers are not."""

import random

import pytest

from utils.text.contamination import find_contamination
from utils.text.corpora import world_corpus
from utils.world.facts import build_world
from utils.world.questions import questions


def test_case_punctuation_and_place_do_not_matter():
    asked = ["What is the dose of Tegevane for a child under ten?"]
    hit = find_contamination(["So: what IS the dose, of Tegevane for a child?"], asked)
    assert [h.document for h in hit] == [0]
    assert find_contamination(["The dose of Tegevane is high for a child."], asked) == []


def test_a_shorter_question_counts_as_a_whole():
    assert find_contamination(["So who is Ann then"], ["Who is Ann?"])[0].words == "who is ann"
    assert find_contamination(["So who is", "is Ann who"], ["Who is Ann?"]) == []


@pytest.mark.parametrize("split", ["held_out_phrasing", "trained", "stranger"])
def test_planted_questions_are_found_and_their_number_is_right(split):
    asked = [q.prompt for q in questions(build_world(0), split, 40, seed=1)]
    rng = random.Random(0)
    documents = world_corpus(200, seed=2)
    planted = sorted(rng.sample(range(200), 40))
    for place, question in zip(planted, asked, strict=True):
        documents[place] += f" {question.upper()} Nobody knew."
    hits = {hit.document: hit for hit in find_contamination(documents, asked)}
    assert set(planted) <= set(hits)
    for hit in hits.values():
        words = "".join(c if c.isalnum() else " " for c in asked[hit.question].lower())
        assert hit.words in " ".join(words.split())


def test_training_text_of_the_world_asks_no_held_out_phrasing():
    asked = [q.prompt for q in questions(build_world(0), "held_out_phrasing", 100, seed=0)]
    hits = find_contamination(world_corpus(1000, seed=5), asked, n_words=20)
    assert hits == []


def test_what_can_not_be_searched_is_refused():
    with pytest.raises(ValueError, match="no words"):
        find_contamination(["x"], ["?!"])
    with pytest.raises(ValueError, match="n_words"):
        find_contamination(["x"], ["Who?"], n_words=0)
