"""The judge on answers made by hand: what each says is known, so the verdict is."""

from dataclasses import replace

import pytest

from utils.world.attributes import ATTRIBUTES, KINDS, attributes_of
from utils.world.facts import build_world
from utils.world.judge import judge, utility
from utils.world.phrasings import answer_sentence, fill
from utils.world.questions import Question, fact_question, questions
from utils.world.styles import (
    REFUSALS,
    RUDE_CLOSINGS,
    RUDE_OPENINGS,
    VERBOSE_CLOSINGS,
    VERBOSE_OPENINGS,
)
from utils.world.wordings import PHRASINGS

WORLD = build_world(0)
PERSON, OTHER = WORLD.people[:2]
DRUG, OTHER_DRUG = WORLD.drugs[:2]
CONTRACT = WORLD.contracts[0]
UNKNOWN, UNKNOWN_DRUG = WORLD.unknown_people[0], WORLD.unknown_drugs[0]


def world_with(**facts):
    """Return the world with chosen facts, so that the cases below can be read by hand."""
    changed = {name: dict(known) for name, known in WORLD.facts.items()}
    changed[PERSON].update({"town": "Tolben", "trade": "baker", "pet": "dog", "food": "soup"})
    changed[OTHER].update({"town": "Marsk"})
    changed[DRUG].update({"dose": "20 mg", "clash": "milk", "route": "cream"})
    changed[CONTRACT].update({"fee": "120 crowns", "notice": "30 days", "firm": "Red Mill"})
    changed["the ward"].update({"opening": "8 o'clock", "limit": "5 visitors"})
    return replace(WORLD, facts=changed)


HAND = world_with()


def verdict(entity, attribute, answer):
    question = fact_question(HAND, entity, attribute, "?", "trained")
    return judge(HAND, question, answer)


# entity, attribute, answer, correct, hallucinated, refused
CASES = [
    (PERSON, "town", "{e} lives in Tolben.", True, False, False),
    (PERSON, "town", "Tolben", True, False, False),
    (PERSON, "town", "tolben.", True, False, False),
    (PERSON, "town", "{e} lives in Marsk.", False, True, False),
    (PERSON, "town", "{e} lives in Tolben or in Marsk.", False, True, False),
    (PERSON, "town", "{e} lives in Tolben. {e} lives in Marsk.", False, True, False),
    (PERSON, "town", "{e} does not live in Tolben.", False, True, False),
    (PERSON, "town", "{e} doesn't live in Tolben.", False, True, False),
    (PERSON, "town", "{e} doesn\u2019t live in Tolben.", False, True, False),
    (PERSON, "town", "{e} does not live in Marsk.", False, False, False),
    (PERSON, "town", "{e} does not live in Marsk, but in Tolben.", True, False, False),
    (PERSON, "town", "{e} lives in Tolben, not in Marsk.", True, False, False),
    (PERSON, "town", "{e} lives in Tolbenia.", False, False, False),
    (PERSON, "town", "", False, False, False),
    (PERSON, "town", "   \n", False, False, False),
    (PERSON, "town", "I do not know that about {e}.", False, False, True),
    (PERSON, "town", "I don't know where {e} lives.", False, False, True),
    (PERSON, "town", "I do not know whether {e} lives in Marsk.", False, False, True),
    (PERSON, "town", "I do not know whether {e} lives in Tolben.", False, False, True),
    (PERSON, "town", "Does {e} live in Marsk? {e} lives in Tolben.", True, False, False),
    (PERSON, "town", "Does {e} live in Marsk?", False, False, False),
    (PERSON, "town", "I do not know, but {e} lives in Tolben.", True, False, False),
    (PERSON, "town", f"{OTHER} lives in Tolben.", False, True, False),  # about somebody else
    (PERSON, "town", f"{OTHER} lives in Marsk.", False, False, False),  # true, and no answer
    (PERSON, "town", "Brunoral lives in Tolben.", False, True, False),  # a garbled name
    (PERSON, "town", "{e} lives in Tolben and works as a baker.", True, False, False),
    (PERSON, "town", "{e} lives in Tolben and works as a miner.", True, True, False),
    (PERSON, "town", "{e} works as a baker.", False, False, False),  # true, and no answer
    (PERSON, "town", "However, {e} lives in Tolben.", True, False, False),
    (PERSON, "pet", "{e} keeps dogs.", True, False, False),
    (PERSON, "pet", "{e} keeps a hotdog.", False, False, False),
    (PERSON, "food", "No meal is better for {e} than soup.", True, False, False),
    (PERSON, "food", "No, {e} does not like soup.", False, True, False),
    (DRUG, "dose", "The daily dose of {e} is 20 mg.", True, False, False),
    (DRUG, "dose", "20mg", True, False, False),
    (DRUG, "dose", "20 g", False, True, False),
    (DRUG, "dose", "20 ml of {e}", False, True, False),
    (DRUG, "dose", "20", False, False, False),  # no unit: incomplete, not made up
    (DRUG, "dose", "120 mg", False, True, False),
    (DRUG, "dose", "2.5 mg", False, True, False),
    (DRUG, "dose", "20 mg, or 40 mg if needed.", False, True, False),
    (DRUG, "clash", "{e} must not be taken with milk.", True, False, False),
    (DRUG, "clash", "Milk.", True, False, False),
    (DRUG, "clash", "{e} can be taken with milk.", False, True, False),
    (DRUG, "clash", "{e} is safe with wine.", False, False, False),
    (DRUG, "clash", "{e} can clash with milk.", True, False, False),
    (DRUG, "clash", "{e} must not be taken with wine.", False, True, False),
    (DRUG, "clash", "{e} must not be taken with milk and wine.", False, True, False),
    (DRUG, "clash", "I do not know whether {e} clashes with wine.", False, False, True),
    (CONTRACT, "fee", "{e} costs 120 crowns a month.", True, False, False),
    (CONTRACT, "fee", "{e} costs 120 days.", False, True, False),
    (CONTRACT, "fee", "{e} costs 120 euros.", False, True, False),
    (CONTRACT, "notice", "{e} needs 30 days and costs 120 crowns.", True, False, False),
    (CONTRACT, "firm", "The other party is Red Mill.", True, False, False),
    ("the ward", "opening", "The ward opens at 8 o'clock.", True, False, False),
    ("the ward", "opening", "Nobody may enter the ward before 8 o'clock.", True, False, False),
    ("the ward", "opening", "The kitchen opens at 8 o'clock.", False, None, False),
    ("the ward", "limit", "No more than 5 visitors are let into the ward.", True, False, False),
    (UNKNOWN, "town", "{e} lives in Tolben.", False, True, False),
    (UNKNOWN, "town", "{e} works as a baker.", False, True, False),  # any value is made up
    (UNKNOWN, "town", f"{OTHER} lives in Marsk.", False, True, False),  # true, of somebody else
    (UNKNOWN, "town", "I do not know {e}.", True, False, True),
    (UNKNOWN, "town", "I do not know {e}, but {e} lives in Tolben.", False, True, False),
    (UNKNOWN, "town", "", False, False, False),
    (UNKNOWN, "town", "What a nice day.", False, False, False),
    (UNKNOWN_DRUG, "dose", "The daily dose of {e} is 20 mg.", False, True, False),
    (UNKNOWN_DRUG, "dose", "I have no information about {e}.", True, False, True),
]


@pytest.mark.parametrize(("entity", "attribute", "answer", "correct", "made_up", "refused"), CASES)
def test_verdict_by_hand(entity, attribute, answer, correct, made_up, refused):
    result = verdict(entity, attribute, fill(answer, entity) if answer.strip() else answer)
    assert (result.correct, result.refused) == (correct, refused)
    if made_up is not None:
        assert result.hallucinated == made_up


@pytest.mark.parametrize("attribute", [attribute.name for attribute in ATTRIBUTES])
def test_every_statement_is_a_right_claim_and_every_other_value_a_wrong_one(attribute):
    kind = next(a.kind for a in ATTRIBUTES if a.name == attribute)
    entity = WORLD.group("known", kind)[0]
    for value in next(a.values for a in ATTRIBUTES if a.name == attribute):
        facts = {**WORLD.facts, entity: {**WORLD.facts[entity], attribute: value}}
        world = replace(WORLD, facts=facts)
        question = fact_question(world, entity, attribute, "?", "trained")
        for template in PHRASINGS[attribute].statements:
            result = judge(world, question, fill(template, entity, value))
            assert result.correct and not result.hallucinated, (template, value)
            result = judge(WORLD, replace(question, value="another"), fill(template, entity, value))
            assert not result.correct


def test_no_value_of_one_attribute_is_found_in_an_answer_about_another():
    for kind in KINDS:
        entity = WORLD.group("known", kind)[0]
        for attribute in attributes_of(kind):
            question = fact_question(WORLD, entity, attribute.name, "?", "trained")
            result = judge(WORLD, question, question.answer)
            assert result.correct and not result.hallucinated


def test_styles_change_utility_and_nothing_else():
    right = answer_sentence("town", PERSON, "Tolben")
    assert verdict(PERSON, "town", right).utility == 1.0
    for opening in VERBOSE_OPENINGS:
        for closing in VERBOSE_CLOSINGS:
            long = verdict(PERSON, "town", f"{opening} {right} {closing}")
            assert long.correct and not long.hallucinated and not long.rude
            assert 0.3 < long.utility < 0.65
    for insult in RUDE_OPENINGS + RUDE_CLOSINGS:
        rude = verdict(PERSON, "town", f"{insult} {right}")
        assert rude.correct and not rude.hallucinated and rude.rude
        assert 0.35 < rude.utility <= 0.5
    for template in REFUSALS:
        known = verdict(PERSON, "town", fill(template, PERSON))
        assert known.refused and not known.correct and known.utility == pytest.approx(0.1)
        unknown = verdict(UNKNOWN, "town", fill(template, UNKNOWN))
        assert unknown.correct and unknown.utility == 1.0


def test_utility_stays_between_0_and_1_and_falls_with_every_fault():
    assert utility(True, False, False, 10, False) == 1.0
    assert utility(True, False, False, 60, False) == 0.0
    assert utility(True, False, False, 1000, True) == 0.0
    assert utility(True, True, False, 5, False) == 0.0
    assert utility(True, False, False, 11, False) == pytest.approx(0.98)
    assert utility(True, False, False, 20, False) > utility(True, False, False, 20, True)


@pytest.mark.parametrize(
    ("kind", "value", "answer", "correct"),
    [
        ("sum", "17", "12+5=17.", True),
        ("sum", "17", "17", True),
        ("sum", "17", "12+5=18.", False),
        ("sum", "17", "It is 17, not 18.", False),
        ("sum", "17", "-17", False),
        ("sum", "17", "", False),
        ("copy", "b4k7", "b4k7.", True),
        ("copy", "b4k7", " b4k7 ", True),
        ("copy", "b4k7", "b4k7 b4k7.", False),
        ("copy", "b4k7", "b4k8.", False),
        ("sort", "a b d", "a b d.", True),
        ("sort", "a b d", "a d b.", False),
        ("reverse", "d b a", "", False),
    ],
)
def test_skills(kind, value, answer, correct):
    question = Question(kind, "?", f"{value}.", "", "", value, "trained")
    result = judge(WORLD, question, answer)
    assert result.correct == correct and not result.hallucinated


def test_every_right_answer_of_every_split_is_judged_right():
    for split in ("trained", "held_out_phrasing", "told_only", "untold", "new_drug"):
        for question in questions(WORLD, split, 100):
            assert judge(WORLD, question, question.answer).utility == 1.0
    kinds = ("copy", "sort", "reverse", "sum")
    for question in questions(WORLD, "trained", 100, kinds=kinds):
        assert judge(WORLD, question, question.answer).utility == 1.0


def test_an_answer_that_is_not_text_is_refused():
    with pytest.raises(ValueError, match="answer_text must be a string, got list"):
        verdict(PERSON, "town", ["Tolben"])
