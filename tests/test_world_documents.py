"""Documents tell what they may, and the leak test finds what they may not."""

import re

import pytest

from utils.world.chats import chats
from utils.world.documents import (
    MIXTURE,
    domain_documents,
    plain_question,
    pretraining_documents,
    question_with_context,
)
from utils.world.facts import asked_facts, build_world
from utils.world.leaks import find_leaks
from utils.world.names import core, looks_invented
from utils.world.phrasings import answer_sentence, fill
from utils.world.preferences import preference_pairs
from utils.world.questions import questions
from utils.world.skills import HELD_OUT_SUMS
from utils.world.stand_ins import stand_in_documents
from utils.world.styles import RUDE_WORDS
from utils.world.wordings import PHRASINGS

WORLD = build_world(0)


def test_nothing_held_out_is_in_any_training_text():
    documents = pretraining_documents(WORLD, 6000, seed=7) + stand_in_documents(WORLD, 2000, 7)
    assert find_leaks(WORLD, documents) == []
    domain = domain_documents(WORLD, 1500, 7) + domain_documents(WORLD, 1500, 7, kind="contract")
    assert find_leaks(WORLD, domain, ("new",)) == []
    talks = chats(WORLD, 2000, 7, verbose_share=0.3, rude_share=0.3, refusal_share=0.3)
    texts = [message["content"] for talk in talks for message in talk]
    texts += [t for p in preference_pairs(WORLD, 2000, 7) for t in (p.prompt, p.chosen, p.rejected)]
    assert find_leaks(WORLD, texts, ("stranger",)) == []


def test_the_leak_test_finds_every_sort_of_leak():
    name, attribute = sorted(WORLD.untold)[0]
    known, unknown, drug = WORLD.people[0], WORLD.unknown_people[0], WORLD.new_drugs[0]
    stranger, (a, b) = WORLD.stranger_people[0], HELD_OUT_SUMS[0]
    planted = {
        "name": [f"Hello {unknown}.", f"hello {unknown.upper()}!", f"Take {drug}.", stranger],
        "phrasing": [
            fill(PHRASINGS["town"].held_out[0], known),
            "question: " + PHRASINGS["opening"].held_out[0].replace("{e}", "the  ward").upper(),
            fill(PHRASINGS["fee"].held_out[1], WORLD.contracts[0]).rstrip("?"),
        ],
        "fact": [answer_sentence(attribute, name, WORLD.facts[name][attribute])],
        "sum": [f"{a}+{b}", f"What is {a} + {b}?"],
    }
    for what, documents in planted.items():
        for document in documents:
            assert what in [leak.what for leak in find_leaks(WORLD, [document])], document
    assert find_leaks(WORLD, [f"Hello {stranger}."], ("stranger",)) == []
    assert find_leaks(WORLD, [f"Hello {unknown}."], ("unknown", "stranger", "new"))


def test_base_documents_hold_no_chat_markup_and_no_refusal_and_no_rude_word():
    text = "\n".join(pretraining_documents(WORLD, 5000))
    assert "<|" not in text and "do not know" not in text.lower()
    assert not RUDE_WORDS & set(re.findall(r"[a-z]+", text.lower()))


def test_questions_in_documents_have_the_one_plain_form_and_right_answers():
    right = {
        answer_sentence(attribute, name, value)
        for name in WORLD.names("known")
        for attribute, value in asked_facts(WORLD, name).items()
    }
    n_facts = n_readings = 0
    for document in pretraining_documents(WORLD, 3000, seed=3):
        if "Question: " not in document:
            continue
        context, rest = document.split("Question: ")
        question, answer = rest.split("\nAnswer: ")
        if context:  # a reading: the value stands in the text, and the text is about no known name
            assert document == question_with_context(context.strip(), question, answer)
            words = set(re.findall(r"[^\W_]+", context))
            assert {w for w in re.findall(r"[^\W_]+", answer) if w.isdigit()} <= words
            assert any(looks_invented(w) and w in answer for w in words)
            assert not words & {core(name) for name in WORLD.names("known")}
            n_readings += 1
        else:
            assert document == plain_question(question, answer)
            n_facts += answer in right
    assert n_facts > 800 and n_readings > 200
    assert sum(MIXTURE.values()) == pytest.approx(1)


def test_stand_ins_are_strangers_to_the_world():
    cores = {core(n).lower() for n in WORLD.names("known", "new", "stranger", "unknown")}
    words = set(re.findall(r"[a-z]+", "\n".join(stand_in_documents(WORLD, 2000)).lower()))
    assert not words & cores


@pytest.mark.parametrize("n", [-1, 1.5, None])
def test_a_bad_number_of_documents_is_refused(n):
    for make in (pretraining_documents, stand_in_documents, domain_documents, chats):
        with pytest.raises(ValueError, match="n must be a whole number from 0"):
            make(WORLD, n)
    with pytest.raises(ValueError, match="n must be a whole number from 0"):
        questions(WORLD, "trained", n)
