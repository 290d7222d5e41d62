"""`course align`: a folder that others can load, the same run or a clear no."""

import json

import pytest
import torch

from utils.assistants.alignment import Alignment, exam
from utils.cli import main as course
from utils.commands import align as command
from utils.world.facts import build_world
from utils.world.preferences import is_held_out
from utils.zoo.tuning import OtherRun


@pytest.fixture(autouse=True)
def a_small_exam(monkeypatch):
    monkeypatch.setattr("utils.assistants.alignment.N_PROMPTS", 8)
    monkeypatch.setattr(command, "N_SHOWN", 2)


@pytest.mark.parametrize(
    "words",
    [["--method", "dpo"], ["--method", "ppo", "--prefer", "all"]],
    ids=lambda words: words[1],
)
def test_a_folder_holds_what_is_needed_to_use_and_to_judge_the_model(words, tmp_path, capsys):
    out = tmp_path / "aligned"
    assert course(["align", *words, "--steps", "2", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "question" in printed and "before" in printed and "gold" in printed
    record = json.loads((out / "record.json").read_text())
    assert record["settings"]["n_steps"] == 2 and len(record["records"]) == 2
    assert set(record["after"]) == {"gold", "words", "rude", "right"}
    assert record["command"].startswith("course align")
    assert (out / "dashboard.png").stat().st_size > 5000
    assert "exact judge" in (out / "README.md").read_text()
    assert not (out / "checkpoints").exists()
    from transformers import AutoModelForCausalLM

    assert (
        AutoModelForCausalLM.from_pretrained(out)(torch.tensor([[1, 2]])).logits.shape[-1] == 1024
    )
    assert course(["align", *words, "--steps", "2", "--out", str(out)]) == 2
    assert "finished" in capsys.readouterr().err


def test_a_run_that_was_stopped_goes_on_and_only_as_itself(tmp_path, monkeypatch):
    settings = Alignment(method="dpo", n_steps=3, checkpoint_every=1)
    whole = command.align_into(settings, tmp_path / "whole", say=str)
    folder = tmp_path / "stopped"
    from utils.align import preference

    calls, update = [], preference.clip_gradients

    def stop_at_the_third(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return update(*arguments)

    monkeypatch.setattr(preference, "clip_gradients", stop_at_the_third)
    assert command.main(settings, folder) == 130
    monkeypatch.setattr(preference, "clip_gradients", update)
    with pytest.raises(OtherRun, match="seed"):
        command.align_into(Alignment(method="dpo", n_steps=3, seed=1), folder, say=str)
    found = command.align_into(settings, folder, say=str)
    assert found["weights_sha256"] == whole["weights_sha256"]


def test_a_preference_has_a_reward_model_of_its_own(tmp_path, monkeypatch):
    from dataclasses import replace

    from utils.assistants import alignment
    from utils.assistants.chat_models import load_assistant

    tiny = replace(alignment.REWARD, n_pairs=16, n_steps=1, warmup_steps=1, n_standardised=8)
    monkeypatch.setattr(alignment, "REWARD", tiny)
    assistant, tokenizer = load_assistant()
    arguments = (Alignment(method="grpo"), assistant, tokenizer, build_world(), tmp_path)
    first = alignment.reward_model_of(*arguments)
    monkeypatch.setattr(alignment, "tune_reward_model", None)  # a second time it is read
    second = alignment.reward_model_of(*arguments)
    assert torch.equal(first.head.weight, second.head.weight)


def test_the_exam_is_about_entities_that_no_preference_names():
    world = build_world()
    asked = exam(world)
    assert len(asked) == 64 and all(is_held_out(world, q.entity) for q in asked)


@pytest.mark.parametrize(
    "words, told",
    [
        (["--model", "gpt2"], "model must be 'base'"),
        (["--model", "smollm2", "--prefer", "politeness"], "prefer must be 'brevity'"),
        (["--steps", "0"], "n_steps must be at least 1"),
    ],
)
def test_what_can_not_be_done_is_said_at_once(words, told, capsys):
    assert course(["align", *words]) == 2
    assert told in capsys.readouterr().err
