"""Unit 13's world: passages hold the facts, rows fit the pairs, checked answers are borne out."""

import pytest

from utils.align.fact_check import check_facts
from utils.align.retrieval import passage_index
from utils.align.safety_data import build_safety_pairs
from utils.assistants.chat_models import load_assistant
from utils.assistants.safety import (
    VALUES,
    answers_in,
    checked_answers,
    draw_answers,
    exam_questions,
    fact_passages,
    honest_chats,
    labelled_scorer,
    safety_numbers,
    safety_rows,
)
from utils.world.facts import build_world
from utils.world.judge import is_rude
from utils.world.questions import questions

WORLD = build_world(0)


@pytest.fixture(scope="module")
def assistant():
    return load_assistant(rebuild=False)


def test_each_fact_has_a_passage_that_bears_it_out_and_strangers_have_none():
    passages = fact_passages(WORLD)
    assert len(passages) == sum(len(facts) for facts in WORLD.facts.values())
    for entity, facts in list(WORLD.facts.items())[::7]:
        for value in facts.values():
            assert (value, True) in check_facts(value, passages, VALUES, entity)
    for question in questions(WORLD, "unknown_entity", 20):
        assert not any(question.entity in passage for passage in passages)


def test_the_exam_asks_half_about_what_exists_and_half_about_what_does_not():
    known, unknown = exam_questions(WORLD, 30)
    assert all(q.value for q in known) and not any(q.value for q in unknown)
    assert {q.prompt for q in known} == {q.prompt for q in exam_questions(WORLD, 30)[0]}


def test_honest_chats_are_polite_short_and_half_of_them_refuse():
    answers = answers_in(honest_chats(WORLD, 300))
    refusing = [a for a in answers if "not know" in a or "no information" in a]
    assert 0.4 < len(refusing) / 300 < 0.6
    assert not any(is_rude(a) for a in answers) and max(len(a.split()) for a in answers) < 20
    unknown = {q.entity for q in questions(WORLD, "unknown_entity", 300)}
    assert not any(entity in answer for entity in unknown for answer in answers)


def test_rows_are_those_that_pairs_are_built_from(assistant):
    model, tokenizer = assistant
    scorer = labelled_scorer(WORLD, 200)
    rows = safety_rows(model, tokenizer, WORLD, scorer, 8, seed=1)
    assert [bool(row["truth"]) for row in rows] == [False] * 4 + [True] * 4
    pairs = build_safety_pairs(rows)
    assert {pair["why"] for pair in pairs} >= {"made up", "over-refusal"}
    assert rows == safety_rows(model, tokenizer, WORLD, scorer, 8, seed=1)


def test_checked_answers_claim_nothing_that_is_not_borne_out(assistant):
    model, tokenizer = assistant
    _, unknown = exam_questions(WORLD, 24)
    passages = fact_passages(WORLD)
    drafts = [draw_answers(model, tokenizer, unknown, k) for k in range(2)]
    answers = checked_answers(drafts, unknown, passages, passage_index(passages))
    for question, answer in zip(unknown, answers, strict=True):
        found = check_facts(answer, passages, VALUES, question.entity)
        assert all(held for _, held in found)
    before = safety_numbers(WORLD, unknown, drafts[0], unknown, drafts[0])["made up"]
    after = safety_numbers(WORLD, unknown, answers, unknown, answers)["made up"]
    assert after < before
