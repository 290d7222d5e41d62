"""The shipped reward model: as it is recorded, whole, and made again by its recipe."""

from dataclasses import replace

import pytest
import torch

import utils.assistants.reward_models as module
from utils.align.reward import score_rollouts
from utils.assistants.chat_models import load_assistant
from utils.assistants.reward_models import (
    REWARD,
    SHIPPED,
    RewardRecipe,
    build_reward_model,
    load_reward_model,
    own_answers,
    reward_metrics,
)
from utils.world.facts import build_world
from utils.world.preferences import is_held_out, preference_pairs
from utils.zoo.files import CorruptModel, read_record


def test_shipped_reward_model_has_the_recipe_and_the_numbers_of_its_record():
    record = read_record(SHIPPED)
    recipe = record["recipe"]
    assert RewardRecipe(**recipe | {"differ": tuple(recipe["differ"])}) == REWARD
    model, tokenizer = load_reward_model(rebuild=False)
    assert not model.training
    measured = reward_metrics(model, tokenizer, build_world(0), 40)
    for name, share in measured.items():
        slack = 0.25 if "fact" in name else 0.05
        assert abs(share - record["metrics"][name]) < slack, name


def test_scores_of_the_assistants_own_answers_are_standardised():
    model, tokenizer = load_reward_model(rebuild=False)
    drawn = own_answers(load_assistant()[0], tokenizer, build_world(0), 96, seed=5)
    scores = score_rollouts(model, drawn, tokenizer.pad_id, tokenizer.end_id)
    assert abs(scores.mean().item()) < 0.3 and 0.7 < scores.std().item() < 1.3


def test_no_held_out_entity_was_seen():
    world = build_world(0)
    pairs = preference_pairs(world, 300, REWARD.seed, REWARD.differ)
    assert not any(is_held_out(world, pair.entity) for pair in pairs)


def test_a_damaged_reward_model_is_refused_and_built_again(tmp_path, monkeypatch):
    tiny = replace(REWARD, n_pairs=16, n_steps=2, warmup_steps=1, n_standardised=8)
    monkeypatch.setattr(module, "N_MEASURED", 4)
    monkeypatch.setattr(module, "reward_metrics", lambda *args: {})
    first = build_reward_model(tmp_path / "one", tiny)
    assert first["recipe"]["n_steps"] == 2
    text = (tmp_path / "one" / "recipe.json").read_text("utf-8")
    (tmp_path / "one" / "recipe.json").write_text(text.replace("head.bias", "head.bios"), "utf-8")
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "one")
    monkeypatch.setattr(module, "artifacts_dir", lambda: tmp_path)
    monkeypatch.setattr(
        module, "build_reward_model", lambda folder: build_reward_model(folder, tiny)
    )
    with pytest.raises(CorruptModel, match="load_reward_model"):
        load_reward_model(rebuild=False)
    with pytest.warns(UserWarning, match="Training the reward model again"):
        model, _ = load_reward_model()
    assert torch.equal(
        model.head.weight, module.read_reward_model(tmp_path / "zoo" / "reward")[0].head.weight
    )
