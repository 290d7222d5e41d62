"""Asking and judging: with models whose answers are known beforehand."""

import pytest
import torch

from utils.evaluate.world_qa import (
    answer_questions,
    judge_answers,
    plain_prompt,
    share,
    world_accuracy,
)
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.tokens.tokenizer import Tokenizer
from utils.world.documents import plain_question, pretraining_documents
from utils.world.facts import build_world
from utils.world.questions import questions

WORLD = build_world(0)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(pretraining_documents(WORLD, 200), 400)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    return Decoder(
        TransformerConfig(
            vocab_size=tokenizer.vocab_size, context_length=160, d_model=16, n_layers=1, n_heads=2
        )
    )


def test_a_prompt_is_the_end_token_and_the_plain_form(tokenizer):
    question = questions(WORLD, "trained", 1)[0]
    first, *rest = plain_prompt(tokenizer, question)
    assert first == tokenizer.end_id
    assert tokenizer.decode(rest) == plain_question(question.prompt)


def test_answers_come_in_the_order_of_the_questions_whatever_the_batch(model, tokenizer):
    asked = questions(WORLD, "trained", 9)
    together = answer_questions(model, tokenizer, asked, max_new_tokens=6)
    in_pairs = answer_questions(model, tokenizer, asked, max_new_tokens=6, batch_size=2)
    alone = [answer_questions(model, tokenizer, [q], max_new_tokens=6)[0] for q in asked]
    assert together == in_pairs == alone
    assert answer_questions(model, tokenizer, []) == []


def test_the_mode_of_the_model_is_kept(model, tokenizer):
    for is_training in (True, False):
        model.train(is_training)
        answer_questions(model, tokenizer, questions(WORLD, "trained", 1), max_new_tokens=2)
        assert model.training == is_training


def test_the_prompt_form_is_an_argument(model, tokenizer):
    asked = questions(WORLD, "trained", 2)
    seen = []

    def render(tokenizer, question):
        seen.append(question)
        return [tokenizer.user_id, *tokenizer.encode(question.prompt), tokenizer.assistant_id]

    answer_questions(model, tokenizer, asked, render=render, max_new_tokens=1)
    assert seen == asked


def test_right_and_wrong_answers_are_counted():
    asked = questions(WORLD, "trained", 4)
    answers = [q.answer for q in asked[:3]] + ["I do not know."]
    verdicts = judge_answers(WORLD, asked, answers)
    assert share(verdicts, "correct") == 0.75
    assert share(verdicts, "refused") == 0.25
    with pytest.raises(ValueError, match="got 1 answers to 4 questions"):
        judge_answers(WORLD, asked, ["Yes."])
    with pytest.raises(ValueError, match="no verdicts"):
        share([], "correct")
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        answer_questions(None, None, asked, batch_size=0)


def test_accuracy_of_an_untrained_model_is_near_zero(model, tokenizer):
    measured = world_accuracy(model, tokenizer, WORLD, n=4)
    assert set(measured) == {
        *("trained", "held_out_phrasing", "told_only", "copy", "sort", "reverse", "sum"),
        *("held_out_sum", "made_up_unknown"),
    }
    assert all(0 <= value <= 0.5 for value in measured.values())
