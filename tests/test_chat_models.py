"""The shipped assistant: as it is recorded, whole, and made again by its recipe."""

from dataclasses import asdict, replace

import pytest
import torch

import utils.assistants.chat_models as module
from utils.align.rollouts import draw_rollouts
from utils.assistants.chat_models import (
    ASSISTANT,
    SHIPPED,
    assistant_metrics,
    build_assistant,
    chat_prompt,
    load_assistant,
    question_prompt,
    tune_assistant,
)
from utils.evaluate.world_qa import judge_answers, share
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.files import CorruptModel, read_record
from utils.zoo.load import load_base


def test_shipped_assistant_has_the_recipe_and_the_numbers_of_its_record():
    record = read_record(SHIPPED)
    assert record["recipe"] == asdict(ASSISTANT)
    model, tokenizer = load_assistant(rebuild=False)
    assert not model.training
    measured = assistant_metrics(model, tokenizer, build_world(0), 60)
    for name, slack in (("correct", 0.15), ("utility", 0.15), ("words", 5), ("rude", 0.1)):
        assert abs(measured[name] - record["metrics"][name]) < slack, name


def test_what_it_draws_is_wordy_rude_at_times_and_made_to_be_improved():
    model, tokenizer = load_assistant(rebuild=False)
    world = build_world(0)
    asked = questions(world, "trained", 96, seed=3)
    prompts = [question_prompt(tokenizer, question) for question in asked]
    found = draw_rollouts(
        model,
        prompts,
        64,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id,
        generator=torch.Generator().manual_seed(0),
    )
    answers = [tokenizer.decode(r, skip_special=True).strip() for r in found.responses]
    verdicts = judge_answers(world, asked, answers)
    assert share(verdicts, "n_words") > 25
    assert 0.1 < share(verdicts, "rude") < 0.4
    assert 0.15 < share(verdicts, "utility") < 0.45


def test_prompts_wait_for_the_assistant():
    _, tokenizer = load_base()
    ids = chat_prompt(tokenizer, "Where does Brunal live?")
    assert ids[0] == tokenizer.user_id and ids[-1] == tokenizer.assistant_id


def test_the_base_is_left_as_it_is_and_the_same_recipe_gives_the_same_assistant():
    base, tokenizer = load_base()
    before = base.embedding.weight.detach().clone()
    recipe = replace(ASSISTANT, n_chats=32, n_steps=2, warmup_steps=1)
    first, second = (
        tune_assistant(base, tokenizer, build_world(0), recipe)[0].embedding.weight
        for _ in range(2)
    )
    assert torch.equal(base.embedding.weight, before)
    assert torch.equal(first, second) and not torch.equal(first, before)


def test_a_damaged_assistant_is_refused_and_built_again(tmp_path, monkeypatch):
    tiny = replace(ASSISTANT, n_chats=32, n_steps=1, warmup_steps=1)
    build_assistant(tmp_path / "one", tiny)
    (tmp_path / "one" / "model.safetensors").write_bytes(b"broken")
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "one")
    monkeypatch.setattr(module, "artifacts_dir", lambda: tmp_path)
    monkeypatch.setattr(module, "build_assistant", lambda folder: build_assistant(folder, tiny))
    with pytest.raises(CorruptModel, match="load_assistant"):
        load_assistant(rebuild=False)
    with pytest.warns(UserWarning, match="Training the assistant again"):
        model, _ = load_assistant()
    assert model.config.d_model == 128
