"""A course model in lm-evaluation-harness: our own loop's verdicts, question by question."""

import importlib.util
import random
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from utils.evaluate.choices import Scored, choose, continuation_logprobs
from utils.evaluate.harness import (
    choice_rows,
    harness_model,
    import_harness,
    run_task,
    write_task,
)
from utils.evaluate.world_qa import answer_questions, plain_prompt
from utils.model.pretrained import save_hugging_face
from utils.tokens.special import END
from utils.world.documents import plain_question
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.load import load_base
from utils.zoo.real import has_real, how_to_get_real, load_real

needs_harness = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-evaluation-harness is not installed: python -m utils.bootstrap evaluate",
)


@pytest.fixture(scope="module")
def world():
    return build_world(0)


@pytest.fixture(scope="module")
def base():
    return load_base()


def request(*args):
    """Return what the harness asks a model: an object with `args`."""
    return SimpleNamespace(args=args)


def own_loop(model, tokenizer, prompts, rows):
    """Return per question the log-probabilities, and whether sum and characters choose right."""
    found = []
    for prompt, row in zip(prompts, rows, strict=True):
        ends = tokenizer.encode_batch([" " + text for text in row.choices])
        logprobs = continuation_logprobs(model, [prompt] * len(ends), ends).tolist()
        scored = [
            Scored(logprob, len(ids), len(text))
            for logprob, ids, text in zip(logprobs, ends, row.choices, strict=True)
        ]
        right = [choose(scored, per) == row.label for per in ("answer", "character")]
        found.append((logprobs, *right))
    return found


def assert_equal(outcomes, ours):
    """Hold the harness's verdicts against our own, one question after the other."""
    assert len(outcomes) == len(ours)
    for outcome, (logprobs, acc, acc_norm) in zip(outcomes, ours, strict=True):
        assert outcome.logprobs == pytest.approx(logprobs, abs=1e-3)
        assert (outcome.acc, outcome.acc_norm) == (acc, acc_norm), outcome.prompt


@needs_harness
def test_the_base_model_is_right_where_our_loop_says_so(base, world, tmp_path):
    model, tokenizer = base
    asked = questions(world, "held_out_phrasing", 60, 5) + questions(world, "untold", 40, 5)
    task, rows = write_task(tmp_path, asked)
    lm = harness_model(model, tokenizer, starts_with=[tokenizer.end_id])
    outcomes = run_task(task, lm)
    assert [outcome.prompt for outcome in outcomes] == [plain_question(q.prompt) for q in asked]
    assert_equal(
        outcomes, own_loop(model, tokenizer, [plain_prompt(tokenizer, q) for q in asked], rows)
    )
    # Both verdicts occur under both rules, and the rules differ: equality is no accident.
    assert {o.acc for o in outcomes} == {o.acc_norm for o in outcomes} == {True, False}
    assert any(o.acc != o.acc_norm for o in outcomes)


@needs_harness
def test_examples_stand_before_each_question_and_come_from_elsewhere(base, world, tmp_path):
    model, tokenizer = base
    asked = questions(world, "new_drug", 20, 5)
    facts = {(q.entity, q.attribute) for q in asked}
    drawn = questions(world, "new_drug", 40, 6)
    others = [q for q in drawn if (q.entity, q.attribute) not in facts][:2]
    task, rows = write_task(tmp_path, asked, examples=others)
    outcomes = run_task(task, harness_model(model, tokenizer, starts_with=[tokenizer.end_id]))
    shown = "".join(
        f"{plain_question(row.question, row.choices[row.label])}\n" for row in choice_rows(others)
    )
    texts = [shown + plain_question(q.prompt) for q in asked]
    assert [outcome.prompt for outcome in outcomes] == texts
    prompts = [[tokenizer.end_id, *tokenizer.encode(text)] for text in texts]
    assert_equal(outcomes, own_loop(model, tokenizer, prompts, rows))


def test_examples_from_the_test_are_refused(world, tmp_path):
    asked = questions(world, "new_drug", 20, 5)
    with pytest.raises(ValueError, match="gives the answer to a question of the test"):
        write_task(tmp_path, asked, examples=asked[3:4])
    other_words = next(
        q
        for q in questions(world, "new_drug", 2000, 7, held_out_phrasing=True)
        if (q.entity, q.attribute) == (asked[0].entity, asked[0].attribute)
    )
    assert other_words.prompt != asked[0].prompt
    with pytest.raises(ValueError, match="gives the answer to a question of the test"):
        write_task(tmp_path, asked[:1], examples=[other_words])
    assert not list(tmp_path.iterdir())


@needs_harness
def test_it_answers_as_the_harness_s_own_model_of_the_same_weights(base, world, tmp_path):
    """The oracle: transformers' Llama with our weights, in the harness's own wrapper of it."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM

    model, tokenizer = base
    save_hugging_face(model, tmp_path, end_id=tokenizer.end_id, pad_id=tokenizer.pad_id)
    theirs = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(tmp_path),
        tokenizer=tokenizer.to_hugging_face(),
        batch_size=8,
        device="cpu",
    )
    ours = harness_model(model, tokenizer, starts_with=[tokenizer.end_id], batch_size=7)
    rows = choice_rows(questions(world, "held_out_phrasing", 12, 5))
    pairs = [(plain_question(row.question), f" {text}") for row in rows for text in row.choices]
    pairs += [(plain_question(row.question), "") for row in rows[:1]]
    found = ours.loglikelihood([request(*pair) for pair in pairs])
    # Their tokenizer makes the end token of what spells it, ours does not.
    wanted = theirs.loglikelihood(
        [request(END + prompt, text) for prompt, text in pairs[:-1]], disable_tqdm=True
    )
    assert [x for x, _ in found[:-1]] == pytest.approx([x for x, _ in wanted], abs=1e-3)
    assert [greedy for _, greedy in found[:-1]] == [greedy for _, greedy in wanted]
    assert found[-1] == (0.0, True)
    settings = {"until": ["."], "max_gen_toks": 12, "do_sample": False}
    texts = [plain_question(row.question) for row in rows]
    wanted = theirs.generate_until(
        [request(END + text, dict(settings)) for text in texts], disable_tqdm=True
    )
    assert ours.generate_until([request(text, dict(settings)) for text in texts]) == wanted


@needs_harness
def test_written_answers_are_those_of_our_loop(base, world):
    model, tokenizer = base
    asked = questions(world, "trained", 8, 5)
    lm = harness_model(model.train(), tokenizer, starts_with=[tokenizer.end_id], batch_size=3)
    wanted = answer_questions(model, tokenizer, asked)
    requests = [request(plain_question(q.prompt), {"until": []}) for q in asked]
    assert [text.strip() for text in lm.generate_until(requests)] == wanted
    assert model.training
    model.eval()
    cut = lm.generate_until([request(plain_question(q.prompt), {"until": "."}) for q in asked])
    assert cut == [" " + text.split(".")[0] for text in wanted]
    # Limits of their own in one batch, and the greedy answer is greedy by likelihood, too.
    short = lm.generate_until(
        [request(r.args[0], {"max_gen_toks": k}) for k, r in enumerate(requests[:3], start=1)]
    )
    for k, part in enumerate(short, start=1):
        assert (" " + wanted[k - 1]).startswith(part) and len(tokenizer.encode(part)) == k
    found = lm.loglikelihood(
        [request(r.args[0], " " + text) for r, text in zip(requests, wanted, strict=True)]
    )
    assert all(greedy for _, greedy in found)


@needs_harness
def test_it_says_what_it_does_not_do(base):
    model, tokenizer = base
    lm = harness_model(model, tokenizer)
    assert isinstance(lm, import_harness().api.model.LM)
    (logprob, _), (same, _) = (
        harness_model(model, tokenizer, starts_with=first).loglikelihood([request("", "Hello")])[0]
        for first in ((), [tokenizer.end_id])
    )
    assert logprob == same < 0  # an empty prompt is an end token in any case
    with pytest.raises(ValueError, match="it answers greedily"):
        lm.generate_until([request("Question:", {"do_sample": True, "temperature": 1.0})])
    with pytest.raises(NotImplementedError, match="text_loss"):
        lm.loglikelihood_rolling([request("Hello")])
    with pytest.raises(ValueError, match="context"):
        lm.loglikelihood([request("word " * 500, " end")])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        harness_model(model, tokenizer, batch_size=0)


@needs_harness
def test_nothing_is_printed_asked_of_a_hub_or_left_behind(
    base, world, tmp_path, monkeypatch, capfd
):
    model, tokenizer = base
    called = []

    def refuse(*args, **kwargs):
        called.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    lm = harness_model(model, tokenizer, starts_with=[tokenizer.end_id])
    task, _ = write_task(tmp_path / "here", questions(world, "trained", 3, 5), name="of three")
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    capfd.readouterr()
    assert len(run_task(task, lm)) == 3
    assert capfd.readouterr() == ("", "")
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert before == after
    assert called == []
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@needs_harness
@pytest.mark.skipif(not has_real(), reason=how_to_get_real())
def test_smollm2_is_right_where_our_loop_says_so(world, tmp_path):
    model, tokenizer = load_real()
    task, rows = write_task(tmp_path, questions(world, "new_drug", 10, 3), n_choices=2)
    outcomes = run_task(task, harness_model(model, tokenizer, batch_size=6))
    prompts = [tokenizer.encode(plain_question(row.question)) for row in rows]
    assert_equal(outcomes, own_loop(model, tokenizer, prompts, rows))
    # What is encoded apart is what the whole text gives: the border falls between two words.
    for row, prompt in zip(rows, prompts, strict=True):
        for text in row.choices:
            whole = tokenizer.encode(plain_question(row.question, text))
            assert whole == prompt + tokenizer.encode(" " + text)


def test_rows_have_the_right_choice_somewhere_and_no_value_twice(world):
    asked = questions(world, "trained", 60, 5)
    rows = choice_rows(asked, n_choices=3, seed=1)
    assert rows == choice_rows(asked, n_choices=3, seed=1) != choice_rows(asked, n_choices=3)
    assert {row.label for row in rows} == {0, 1, 2}
    for question, row in zip(asked, rows, strict=True):
        assert question.prompt == row.question and len(set(row.choices)) == 3
        has_value = [question.value in text for text in row.choices]
        assert has_value[row.label], row


def test_questions_that_can_t_be_choices_are_named(world, tmp_path):
    sums = questions(world, "trained", 1, kinds=("sum",))
    with pytest.raises(ValueError, match="asks for no value to choose from"):
        write_task(tmp_path, sums)
    with pytest.raises(ValueError, match="one question at least"):
        write_task(tmp_path, [])
    fact = questions(world, "trained", 1)
    for n_choices in (1, 10_000):
        with pytest.raises(ValueError, match=f"n_choices must be 2 to .* got {n_choices}"):
            write_task(tmp_path, fact, n_choices=n_choices)
    with pytest.raises(FileNotFoundError, match="write it with write_task"):
        run_task(tmp_path / "none.yaml", None)


def test_a_missing_harness_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # an import then fails as if it were missing
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '\.\[evaluate\]'"):
        harness_model(None, None)
