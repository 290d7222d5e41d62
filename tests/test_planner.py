"""The planner: closed formulas against other counts, properties, bad input, the back-test."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import cli
from utils.parallel.planner import fit, runs
from utils.parallel.planner.failures import checkpoint_interval, goodput
from utils.parallel.planner.hardware import GPUS, find_gpu
from utils.parallel.planner.layout import Layout, check_cluster, why_not
from utils.parallel.planner.memory import RECIPES, memory_per_gpu, plan_memory, stage_layers
from utils.parallel.planner.models import (
    MODELS,
    find_model,
    forward_flops,
    n_parameters,
    read_config,
)
from utils.parallel.planner.plan import Job, NoLayout, explanation, make_plan, search, short_text
from utils.parallel.planner.runs import published_runs, sources, why_unusable
from utils.parallel.planner.time import Rates, plan_time

LLAMA, H100 = find_model("llama3-70b"), find_gpu("h100")


def job(**changes):
    return replace(Job(LLAMA, H100, 512, 2e12, 8192, 512), **changes)


def test_parameters_are_those_of_the_public_model():
    norms = 80 * 2 * 8192 + 8192
    assert n_parameters(LLAMA) + norms == 70_553_706_496


def test_parameters_are_those_that_transformers_makes(tmp_path):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=500,
        tie_word_embeddings=False,
    )
    config.save_pretrained(tmp_path)
    model = read_config(tmp_path / "config.json")
    with torch.device("meta"):
        other = LlamaForCausalLM(config)
    matrices = sum(p.numel() for p in other.parameters() if p.dim() > 1)
    assert n_parameters(model) == matrices


def test_flops_are_twice_the_weights_and_four_times_the_scores():
    weights = n_parameters(LLAMA) - LLAMA.vocab_size * LLAMA.d_model
    scores = 4 * 8192 * 8192 * 80
    assert forward_flops(LLAMA, 8192) == 2 * weights + scores


def test_activations_of_a_gpt_layer_are_korthikantis():
    gpt = find_model("gpt3-175b")
    s, h, a = 2048, gpt.d_model, gpt.n_heads
    scores = 5 * a * s * s
    found = memory_per_gpu(0, 1, h, s, 1, 1, scores=scores)["activations"]
    assert found == pytest.approx(s * h * (34 + 5 * a * s / h))


def test_adam_in_float32_of_torch_takes_the_bytes_of_the_formula():
    import torch

    weight = torch.nn.Parameter(torch.zeros(1000, dtype=torch.float32))
    adam = torch.optim.AdamW([weight], lr=1e-3)
    weight.grad = torch.zeros_like(weight)
    adam.step()
    moments = [t for t in adam.state[weight].values() if t.numel() > 1]
    held = sum(t.numel() * t.element_size() for t in (weight, *moments))
    assert held == memory_per_gpu(1000, 1, 1, 1, 1, 1)["optimizer"]


@given(
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from(["none", "selective", "full"]),
)
@settings(max_examples=40, deadline=None)
def test_more_ranks_never_hold_more_and_recompute_saves(tp, pp, micro_batch, recompute):
    def held(**changes):
        layout = replace(
            Layout(tp, pp, 8, micro_batch, recompute=recompute, sequence_parallel=True), **changes
        )
        recipe = RECIPES["megatron"]
        constants = {"fragmentation": 1.1, "overhead_gib": 9.0}
        return plan_memory(LLAMA, layout, 4096, 64, recipe, **constants)["total"]

    assert held(dp=16) <= held()
    assert held(zero_stage=3) <= held(zero_stage=2) * 1.2  # the gathered layer comes on top
    assert held(zero_stage=2) <= held(zero_stage=1) <= held(zero_stage=0)
    assert held(recompute="full") <= held(recompute="none")
    assert held(micro_batch=2 * micro_batch) > held()


@given(st.sampled_from(sorted(GPUS)), st.sampled_from(sorted(MODELS)), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_time_is_positive_and_falls_with_better_rates(gpu, model, n_micro):
    args = (MODELS[model], Layout(), GPUS[gpu], 2048, n_micro, RECIPES["megatron"], "bf16")
    slow = plan_time(*args, Rates(0.5, 0.3, 0.5, 1e-3))
    fast = plan_time(*args, Rates(0.7, 0.4, 0.8, 5e-4))
    assert 0 < fast["total"] < slow["total"]
    assert math.isclose(slow["total"], sum(v for k, v in slow.items() if k != "total"))


def test_stages_deal_out_all_layers():
    for n_layers in (1, 30, 80, 126):
        for pp in range(1, 9):
            most, _ = stage_layers(n_layers, pp)
            assert most * pp >= n_layers


@given(st.floats(0.1, 500), st.floats(100, 1e6))
def test_daly_keeps_at_least_what_young_keeps(save, between):
    kept = [
        goodput(max(checkpoint_interval(save, between, way), 1e-9), save, between, 60)
        for way in ("young", "daly")
    ]
    assert kept[1] >= kept[0] - 1e-3


# bad input, each a sentence


@pytest.mark.parametrize(
    "text, words",
    [
        ("no json", "is no JSON"),
        ("[1]", "holds no JSON object"),
        ("{}", "does not state num_hidden_layers or n_layer"),
        ('{"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2}', "vocab_size"),
        (
            '{"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 3, "vocab_size": 9}',
            "not divisible by 3 heads",
        ),
        (
            '{"n_layer": 2, "n_embd": "8", "n_head": 2, "vocab_size": 9, "n_inner": 4}',
            "is no size",
        ),
    ],
)
def test_a_config_without_its_sizes_is_refused(tmp_path, capsys, text, words):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_config(path)
    assert cli.main(["plan", "--config", str(path)]) == 2
    told = capsys.readouterr()
    assert words in told.err and not told.out


@pytest.mark.parametrize(
    "layout, n_gpus, batch, words",
    [
        (Layout(8, 1, 63), 512, 512, "504, and there are 512"),
        (Layout(3, 1, 4), 12, 12, "64 heads do not divide by TP 3"),
        (Layout(16, 1, 2), 32, 32, "TP 16 leaves the 8 GPUs"),
        (Layout(1, 128, 1), 128, 512, "128 stages are more than 80 layers"),
        (Layout(1, 3, 4), 12, 12, "do not divide by 3 stages"),
        (Layout(1, 1, 12), 12, 13, "13 sequences do not divide by DP 12"),
        (Layout(1, 8, 2), 16, 8, "4 micro-batches are fewer than 8 stages"),
        (Layout(1, 4, 2, vp=2), 8, 12, "interleaving needs micro-batches"),
    ],
)
def test_layouts_that_do_not_divide_say_why(layout, n_gpus, batch, words):
    assert words in why_not(LLAMA, layout, n_gpus, 8, batch)


def test_nodes_that_are_not_full_and_models_that_do_not_fit_say_so(capsys):
    with pytest.raises(ValueError, match="take 96 or 104"):
        check_cluster(100, 8)
    with pytest.raises(NoLayout, match="the smallest needs"):
        search(job(n_gpus=8))
    for words, sentence in (
        (["--gpus", "100"], "100 GPUs do not fill nodes of 8"),
        (["--gpus", "0"], "a cluster needs GPUs"),
        (["--gpu", "abacus"], "no GPU 'abacus'"),
        (["--model", "abacus"], "no model 'abacus'"),
        (["--tokens", "0"], "above 0"),
        (["--context", "0"], "above 0"),
        (["--network", "0"], "above 0"),
        (["--config", "nowhere.json"], "nowhere.json"),
        (["--gpu", "b200"], "no price"),
        (["--save-seconds", "0"], "seconds are above 0"),
        (["--tp", "3"], "TP x PP x DP x CP = 510, and there are 512 GPUs"),
        (["--tp", "3", "--gpus", "24"], "64 heads do not divide by TP 3"),
        (["--tp", "16"], "TP 16 leaves the 8 GPUs"),
        (["--pp", "32"], "do not divide by 32 stages"),
        (["--pp", "8", "--batch", "64", "--tp", "1"], "1 micro-batches are fewer than 8 stages"),
        (["--micro-batch", "3"], "512 sequences do not divide by DP 512"),
        (["--tp", "0"], "counts start at 1"),
    ):
        assert cli.main(["plan", *words]) == 2, words
        told = capsys.readouterr()
        assert sentence in told.err and not told.out, (words, told.err)


# plans


@pytest.mark.parametrize("n_gpus", [64, 128, 256, 512])
def test_70b_on_h100s_fits_and_keeps_tensor_parallelism_inside_nodes(n_gpus):
    option, _, refused = search(job(n_gpus=n_gpus))
    assert option.layout.tp <= 8
    assert option.memory["total"] <= 0.95 * 80 * 2**30
    assert any("leaves the 8 GPUs" in reason for reason in refused)


def test_the_command_prints_a_plan_its_arithmetic_and_json(capsys):
    words = ["plan", "--model", "llama3-70b", "--gpus", "512", "--gpu", "h100", "--tokens", "2e12"]
    assert cli.main([*words, "--explain"]) == 0
    told = capsys.readouterr().out
    for unit in ("GiB", "TFLOP/s", "GB/s", "million dollars", "MWh", "tonnes", "g CO2"):
        assert unit in told, unit
    assert cli.main([*words, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["option"]["seconds"]["total"] > 0
    assert plan["cost"]["usd"][0] < plan["cost"]["usd"][1]


def test_a_layout_that_is_given_is_kept(capsys):
    assert cli.main(["plan", "--tp", "8", "--pp", "4", "--micro-batch", "1"]) == 0
    assert "TP 8, PP 4, DP 16" in capsys.readouterr().out


def test_what_is_explained_adds_up():
    plan = make_plan(job())
    seconds = plan.option.seconds
    assert seconds["total"] == pytest.approx(sum(v for k, v in seconds.items() if k != "total"))
    memory = plan.option.memory
    assert memory["total"] == pytest.approx(sum(v for k, v in memory.items() if k != "total"))
    text = short_text(plan) + explanation(plan)
    assert f"{plan.cost['days']:.1f} days" in text


# published runs


def test_every_row_has_a_source_and_every_source_a_row():
    assert {row["source_id"] for row in published_runs()} == set(sources())
    assert all(source["document"] and source["where"] for source in sources().values())


def test_rows_that_can_not_be_compared_say_why():
    reasons = {why_unusable(row) for row in published_runs()}
    assert None in reasons and any(r and r.startswith("not published") for r in reasons)


def test_the_constants_are_those_that_the_fit_gives():
    found = fit.fit_time(fit.throughput_rows())
    for name in ("matmul", "memory", "network", "layer_seconds"):
        assert getattr(fit.FITTED, name) == pytest.approx(getattr(found, name), rel=0.01), name
    memory = fit.fit_memory(fit.memory_rows())
    assert (fit.FRAGMENTATION, fit.OVERHEAD_GIB) == pytest.approx(memory, rel=0.01)


def test_constants_are_physical():
    for name in ("matmul", "memory", "network"):
        assert 0.1 < getattr(fit.FITTED, name) < 0.95, name
    assert 1e-5 < fit.FITTED.layer_seconds < 5e-3 and 1 < fit.FRAGMENTATION < 1.4


def test_the_backtest_holds_its_bars():
    found = fit.summary([error for _, error, _ in fit.leave_one_source_out()])
    assert found["median"] <= 0.12 and found["within 20 %"] >= 0.75
    constants = (fit.FRAGMENTATION, fit.OVERHEAD_GIB)
    assert fit.summary(fit.memory_errors(fit.memory_rows(), constants))["median"] <= 0.08
    verdicts = fit.fits_or_not(fit.grid_rows())
    assert sum(planned == did for planned, did, _ in verdicts) >= 0.88 * len(verdicts)
    assert all(share > 1 / 1.1 for planned, did, share in verdicts if planned and not did)


def test_other_rows_are_tried_by_one_command(tmp_path):
    rows = [row for row in published_runs() if row["source_id"] == "bloom"]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    done = subprocess.run(
        [sys.executable, "-m", "utils.parallel.planner.fit", "--rows", tmp_path / "rows.json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "1 rows, 1 comparable" in done.stdout


def test_rows_of_other_tables_are_read_as_far_as_they_go():
    row = {"fsdp": True, "n_gpus": 64, "recompute": "block"}
    full = runs.filled(row)
    assert (full["tp"], full["pp"], full["dp"], full["zero_stage"]) == (1, 1, 64, 3)
    assert full["recompute"] == "selective" and row["recompute"] == "block"
    assert runs.is_allocated({"mem_kind": "max allocated"}) and not runs.is_allocated({})
