"""The capstone on a real model: adapters learn in every stage, and the pack says whose it was."""

import json
import shutil
from dataclasses import asdict, replace

import pytest
import torch

from utils.align import preference
from utils.assistants.safety import draw_answers
from utils.capstone import models
from utils.capstone.baseline import main as baseline
from utils.capstone.models import LEARNING, adapted, begin
from utils.capstone.params import BUDGETS, MODELS, PARAMS, REAL, Params, WrongParams, params_text
from utils.capstone.project import run_project, runs_table, sizes_text
from utils.capstone.records import RECORD, read_json
from utils.capstone.stages import STAGES, records_of, run_stage
from utils.capstone.trial import trial_run
from utils.evidence.check import check_pack
from utils.train import loop
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.files import load_model
from utils.zoo.load import load_base
from utils.zoo.real import has_real, how_to_get_real
from utils.zoo.tuning import merged

ORIGIN = {
    "weights": "0" * 64,
    "name": "another model",
    "licence": "MIT",
    "made_by": "somebody",
    "trained_on": "much",
    "limits": "many",
}


@pytest.fixture
def stand_in(monkeypatch):
    """The course's own model in place of the real one, which takes minutes."""

    def begun(model):
        assert model == REAL
        return *load_base(), ORIGIN

    monkeypatch.setattr("utils.capstone.making.begin", begun)


def test_every_budget_has_sizes_for_every_model_and_every_stage_a_rate():
    for of_models in BUDGETS.values():
        assert set(of_models) == set(MODELS)
    assert set(LEARNING) == set(MODELS)
    trained = {"base", "sft", "reward", "align", "safety"}
    assert all(set(learning.rates) == trained for learning in LEARNING.values())
    assert all("model" in stage.params for name, stage in STAGES.items() if name != "report")
    told = {line.partition(":")[0] for line in sizes_text().splitlines()[1:]}
    assert told == {"course", *BUDGETS}


def test_a_model_that_is_not_prepared_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "real_folder", lambda wanted: None)
    (tmp_path / PARAMS).write_text(params_text(Params(budget="smoke")), "utf-8")
    with pytest.raises(WrongParams, match="smollm2 is not prepared .* run course model once"):
        run_project(tmp_path, {"model": REAL}, say=str)
    assert [path.name for path in tmp_path.iterdir()] == [PARAMS]  # and that is as it was
    assert "smollm2" not in (tmp_path / PARAMS).read_text("utf-8").partition("\nmodel:")[2]
    with pytest.raises(WrongParams, match="course model"):
        begin(REAL)


@pytest.mark.parametrize("method", ["dpo", "ppo", "grpo"])
def test_adapters_learn_in_every_stage_and_whole_models_are_written(method, stand_in, tmp_path):
    ran = trial_run(tmp_path, model=REAL, method=method)
    assert ran == list(STAGES)
    start = dict(load_base()[0].named_parameters())
    before = start
    for stage in ("base", "sft", "align", "safety"):
        after = dict(load_model(tmp_path / stage)[0].named_parameters())
        assert after.keys() == start.keys()
        changed = {name for name in after if not torch.equal(after[name], before[name])}
        assert changed, stage
        adapters = {"qkv", "output", "gate_up", "down"}  # and no table, no norm
        assert all(name.split(".")[-2] in adapters for name in changed), (stage, changed)
        before = after
    assert records_of(tmp_path)["base"]["metrics"]["begun from"] == ORIGIN
    assert check_pack(tmp_path) == []
    pack = (tmp_path / "report" / "pack.html").read_text("utf-8")
    for told in ("another model", "MIT", "somebody", "much", "many", "a model of others"):
        assert told in pack, told
    assert trial_run(tmp_path, model=REAL, method=method) == []


def test_the_table_tells_models_apart_and_the_baseline_is_of_one(stand_in, tmp_path, capsys):
    trial_run(tmp_path, model=REAL)
    (tmp_path / "runs").mkdir()
    for name in MODELS:
        params = asdict(Params(budget="smoke", model=name))
        run = {"params": params, "records": records_of(tmp_path)}
        (tmp_path / "runs" / f"{name}.json").write_text(json.dumps(run), "utf-8")
    table = runs_table(tmp_path)
    assert "model" in table and "smollm2" in table and "base" in table
    (tmp_path / PARAMS).write_text(params_text(Params(model=REAL)), "utf-8")
    assert baseline([str(tmp_path)]) == 2
    assert "of smollm2 on clinic" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["base", "align"])
def test_a_stage_that_was_stopped_ends_with_the_weights_of_a_calm_one(
    stage, stand_in, tmp_path, monkeypatch
):
    sizes = replace(BUDGETS["smoke"][REAL], base_steps=4, align_steps={"dpo": 4})
    sizes = replace(sizes, checkpoint_every=1)
    monkeypatch.setitem(BUDGETS["smoke"], REAL, sizes)
    calm, broken = tmp_path / "calm", tmp_path / "broken"
    trial_run(calm, model=REAL)
    names = list(STAGES)
    shutil.copytree(calm, broken, ignore=lambda folder, found: set(names[names.index(stage) :]))
    module = {"base": loop, "align": preference}[stage]
    clip, calls = module.clip_gradients, []

    def stops(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return clip(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "clip_gradients", stops)
        with pytest.raises(KeyboardInterrupt):
            run_stage(stage, broken, say=str)
    told = []
    record = run_stage(stage, broken, say=told.append)
    assert record["resumed"] and told == [f"{stage}: goes on from its last checkpoint"]
    assert record["outputs"] == read_json(calm / stage / RECORD)["outputs"]


def test_the_own_model_learns_with_all_its_weights():
    model = adapted(load_base()[0], "base", 0)
    assert all(weight.requires_grad for weight in model.parameters())
    assert merged(model) is model and not model.training


@pytest.mark.slow
@pytest.mark.weekly
@pytest.mark.skipif(not has_real(), reason=how_to_get_real())
def test_the_real_model_goes_through_all_stages(tmp_path, monkeypatch):
    assert trial_run(tmp_path, model=REAL) == list(STAGES)
    metrics = read_json(tmp_path / "base" / RECORD)["metrics"]
    assert metrics["begun from"]["name"] == REAL
    assert metrics["bits_per_byte"] < metrics["bits_per_byte_before"]
    assert check_pack(tmp_path) == []
    model, tokenizer = load_model(tmp_path / "safety")
    asked = questions(build_world(), "trained", 2, 0)
    assert len(draw_answers(model, tokenizer, asked)) == 2
