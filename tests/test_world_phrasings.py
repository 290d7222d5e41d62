"""Enough phrasings of every attribute; held-out ones are new sentences of known words."""

from utils.world.attributes import ATTRIBUTES
from utils.world.documents import (
    pretraining_documents,
)
from utils.world.facts import build_world
from utils.world.leaks import normalised
from utils.world.phrasings import fill, question_templates
from utils.world.wordings import PHRASINGS

WORLD = build_world(0)


def test_each_attribute_has_enough_phrasings():
    for attribute in ATTRIBUTES:
        phrasing = PHRASINGS[attribute.name]
        trained = question_templates(attribute.name)
        assert len(set(trained)) == len(trained) >= 40
        # Apart from the frames: different wordings, as whole questions and as phrases.
        assert len(phrasing.questions) + len(phrasing.nouns) + len(phrasing.clauses) >= 12
        assert len(set(phrasing.held_out)) >= 3
        assert len(set(phrasing.statements)) >= 4


def test_held_out_phrasings_are_new_sentences_of_known_words():
    trained = {normalised(t) for a in PHRASINGS for t in question_templates(a)}
    words = set(normalised(" ".join(pretraining_documents(WORLD, 20_000))).split())
    for phrasing in PHRASINGS.values():
        for template in phrasing.held_out:
            held_out = normalised(template)
            assert not any(held_out in t or t in held_out for t in trained), template
            assert set(held_out.split()) - {"e"} <= words, template


def test_trained_phrasings_all_occur_in_training_text():
    documents = pretraining_documents(WORLD, 60_000)
    asked = {d.split("\n")[0].removeprefix("Question: ") for d in documents}
    for attribute in ATTRIBUTES:
        names = WORLD.group("known", attribute.kind)
        templates = question_templates(attribute.name)
        missing = [t for t in templates if not any(fill(t, name) in asked for name in names)]
        assert len(missing) <= 3, (attribute.name, missing)  # rare draws of 66
