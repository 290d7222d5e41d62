"""Questions, chats and preference pairs are what was asked for."""

import re

import pytest

from utils.world.chats import chats
from utils.world.facts import build_world
from utils.world.leaks import find_leaks
from utils.world.phrasings import answer_sentence
from utils.world.preferences import DIFFERENCES, is_held_out, preference_pairs
from utils.world.questions import SPLITS, facts_of_split, questions
from utils.world.skills import HELD_OUT_SUMS
from utils.world.styles import RUDE_WORDS

WORLD = build_world(0)


def test_questions_of_each_split_are_about_that_split():
    for split in SPLITS:
        found = questions(WORLD, split, 40)
        assert len(found) == 40 and {question.split for question in found} == {split}
        if split == "held_out_sum":
            assert all(
                tuple(map(int, q.answer.split("=")[0].split("+"))) in HELD_OUT_SUMS for q in found
            )
            continue
        allowed = set(facts_of_split(WORLD, split))
        assert all((q.entity, q.attribute) in allowed for q in found)
        has_answer = split not in ("stranger", "unknown_entity")
        assert all(bool(q.answer) == bool(q.value) == has_answer for q in found)
        leaks = find_leaks(WORLD, [q.prompt for q in found], ("new", "stranger"))
        is_held_out = {leak.what for leak in leaks} == {"phrasing"}
        assert is_held_out == (split == "held_out_phrasing")


def test_question_arguments_are_checked():
    with pytest.raises(ValueError, match="unknown split 'test'"):
        questions(WORLD, "test", 1)
    with pytest.raises(ValueError, match="unknown kind 'story'"):
        questions(WORLD, "trained", 1, kinds=("story",))
    with pytest.raises(ValueError, match="skill 'copy' has no split 'untold'"):
        questions(WORLD, "untold", 1, kinds=("copy",))


def test_chats_have_the_shares_asked_for():
    talks = chats(WORLD, 1000, skill_share=0.0, rude_share=0.3, verbose_share=0.5)
    answers = [talk[1]["content"] for talk in talks]
    rude = sum(bool(RUDE_WORDS & set(re.findall(r"[a-z]+", a.lower()))) for a in answers)
    assert 250 < rude < 350
    assert 400 < sum(len(a.split()) > 20 for a in answers) < 600
    plain = chats(WORLD, 200)
    assert all(len(talk[1]["content"].split()) <= 12 for talk in plain)
    with pytest.raises(ValueError, match="rude_share must be between 0 and 1, got 2"):
        chats(WORLD, 1, rude_share=2)
    with pytest.raises(ValueError, match="chats are made from the splits"):
        chats(WORLD, 1, split="unknown_entity")


def test_preference_pairs_differ_in_one_thing():
    for differs_in in DIFFERENCES:
        for pair in preference_pairs(WORLD, 200, differ=(differs_in,)):
            assert pair.differs_in == differs_in and pair.chosen != pair.rejected
            value = WORLD.facts[pair.entity][pair.attribute]
            right = answer_sentence(pair.attribute, pair.entity, value)
            is_rude = [
                bool(RUDE_WORDS & set(re.findall(r"[a-z]+", t.lower())))
                for t in (pair.chosen, pair.rejected)
            ]
            is_long = [len(t.split()) > 25 for t in (pair.chosen, pair.rejected)]
            is_true = [right in t for t in (pair.chosen, pair.rejected)]
            differs = {
                "tone": is_rude == [False, True],
                "length": is_long == [False, True],
                "fact": is_true == [True, False],
            }
            same = {
                "tone": is_rude[0] == is_rude[1],
                "length": is_long[0] == is_long[1],
                "fact": is_true[0] == is_true[1],
            }
            for name in DIFFERENCES:
                assert differs[name] if name == differs_in else same[name], pair


def test_preference_entities_are_split():
    train, test = (
        {pair.entity for pair in preference_pairs(WORLD, 600, held_out=held_out)}
        for held_out in (False, True)
    )
    assert not train & test and len(test) >= 12
    assert all(is_held_out(WORLD, name) for name in test)
    with pytest.raises(ValueError, match="differ must name one or more"):
        preference_pairs(WORLD, 1, differ=("mood",))
