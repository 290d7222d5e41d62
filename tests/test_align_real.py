"""`course align --model smollm2`: paid for right and short answers, by three methods."""

import json

import pytest
import torch

from utils.align.preference import TokenPair
from utils.align.rollouts import Rollouts
from utils.assistants import short_questions
from utils.assistants.alignment import Alignment
from utils.assistants.chat_models import load_assistant
from utils.assistants.short_questions import TRAINING
from utils.cli import main as course
from utils.experiments import alignment
from utils.model.lora import lora_layers
from utils.zoo.real import has_real, how_to_get_real

LIMIT = 9


@pytest.fixture(scope="module")
def assistant():
    return load_assistant()


@pytest.fixture
def small(monkeypatch):
    for name, value in {"N_NEW": 6, "N_PROMPTS": 2, "GROUP": 2, "MINIBATCH": 2}.items():
        monkeypatch.setattr(alignment, name, value)


def drawn(tokenizer, answers):
    """Return rollouts of one prompt with answers, (text, whether it ended)."""
    none = torch.empty(len(answers), 0)
    return Rollouts(
        [[1, 2]] * len(answers),
        [tokenizer.encode(text)[:LIMIT] for text, _ in answers],
        torch.tensor([ended for _, ended in answers]),
        *[none] * 4,
    )


def test_a_right_answer_is_worth_more_the_shorter_it_is_and_a_wrong_or_cut_one_nothing(assistant):
    _, tokenizer = assistant
    reward = alignment.brevity_reward({(1, 2): TRAINING[0]}, tokenizer, LIMIT)
    answers = [("Paris", True), ("It is Paris", True), ("Rome", True), ("Paris", False)]
    rollouts = drawn(tokenizer, answers)
    short, longer, wrong, cut = reward(rollouts).tolist()
    n = len(rollouts.responses[0])
    assert 0 < longer < short == pytest.approx(1 - n / (LIMIT + 1))
    assert wrong == cut == 0


@pytest.mark.parametrize("method", ["dpo", "ppo", "grpo"])
def test_adapters_learn_the_reference_stays_and_a_stopped_run_ends_as_a_whole_one(
    method, assistant, small, tmp_path, monkeypatch
):
    reference, tokenizer = assistant
    before = {name: w.clone() for name, w in reference.named_parameters()}
    pair = TokenPair([1, 5, 6], [7, 8], [9, 10, 11])
    monkeypatch.setattr(alignment, "pairs_of", lambda *arguments: [pair] * 4)

    def by_length(rollouts):
        return -rollouts.lengths.float() + torch.arange(4) / 8

    monkeypatch.setattr(alignment, "brevity_reward", lambda *arguments: by_length)

    def run(folder, n_calls=None):
        """Align in a folder; stop where the reward, or the measurement, was asked so often."""
        calls = []

        def measure(policy):
            calls.append(1)
            if len(calls) == n_calls:
                raise KeyboardInterrupt
            return {"words": 1.0}

        settings = Alignment("smollm2", method, n_steps=3, checkpoint_every=1)
        return alignment.align_real(settings, reference, tokenizer, folder, measure)

    model, records = run(tmp_path / "whole")
    assert len(records) == 3 and not lora_layers(model)
    assert any(not torch.equal(w, before[n]) for n, w in model.named_parameters())
    assert all(torch.equal(w, before[n]) for n, w in reference.named_parameters())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", n_calls=2)
    again, _ = run(tmp_path / "stopped")
    pairs = zip(model.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_too_few_pairs_are_refused_with_what_to_do(assistant, tmp_path, monkeypatch):
    reference, tokenizer = assistant
    monkeypatch.setattr(alignment, "pairs_of", lambda *arguments: [])
    with pytest.raises(ValueError, match="0 pairs .* an update takes 4: try another --seed"):
        alignment.align_real(Alignment("smollm2"), reference, tokenizer, tmp_path, None)


@pytest.mark.slow
@pytest.mark.skipif(not has_real(), reason=how_to_get_real())
def test_the_command_writes_a_folder_that_transformers_loads(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(short_questions, "TEST", short_questions.TEST[:2])
    out = tmp_path / "aligned"
    words = ["align", "--model", "smollm2", "--method", "grpo", "--steps", "1", "--out", str(out)]
    assert course(words) == 0
    printed = capsys.readouterr().out
    assert "words" in printed and f"course chat --model {out}" in printed
    record = json.loads((out / "record.json").read_text())
    assert record["command"] == "course align --model smollm2 --method grpo --steps 1"
    assert set(record["after"]) == {"words", "right"} and len(record["examples"]) == 2
    assert "own answers to sixty short questions" in (out / "README.md").read_text()
    from transformers import AutoModelForCausalLM

    read = AutoModelForCausalLM.from_pretrained(out)
    assert read(torch.tensor([[1, 2]])).logits.shape[-1] == 49152
