"""Claims of unit 04 on training that are exact or recorded: accumulation, kills, scaling.

What takes three trainings is in tests/claims/unit04.py. That accumulation also weights uneven
micro-batches is in test_loop.py, that runs killed at random moments go on in test_checkpoints.py.
"""

import subprocess
import sys

import pytest
import torch

from tests.claims.unit04 import fresh, losses_of
from tests.test_checkpoints import newest_step, tiny_run
from utils.settings import project_root
from utils.tokens.batches import Batch
from utils.train.scaling import fit_scaling_law, valley
from utils.zoo.scaling import PLAN, SEEDS, load_sweep, run_point, sweep_record


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_micro_batches_give_loss_and_gradient_of_the_large_batch(seed):
    def one_step(accumulate):
        model, batches = fresh(seed)
        whole, n_rows = batches(0), 8 // accumulate
        rows = [slice(k * n_rows, (k + 1) * n_rows) for k in range(accumulate)]
        parts = [Batch(whole.token_ids[part], whole.targets[part]) for part in rows]
        descent = torch.optim.SGD(model.parameters(), lr=1.0)  # a step is the gradient itself
        losses = losses_of(
            model, parts.__getitem__, descent, 1, accumulate=accumulate, clip_norm=None
        )
        return losses[0], [p.detach() for p in model.parameters()]

    loss, weights = one_step(1)
    for k in (2, 4, 8):
        its_loss, its_weights = one_step(k)
        gap = max((a - b).abs().max().item() for a, b in zip(weights, its_weights, strict=True))
        print(
            f"seed {seed}, {k} micro-batches: loss {abs(loss - its_loss):.1e}, gradient {gap:.1e}"
        )
        assert abs(loss - its_loss) < 1e-6
        assert gap < 1e-6


VICTIM = """
import os, sys
import torch
from tests import test_checkpoints as run
from utils.train import checkpoints, loop

torch.set_num_threads(1)
folder, moment, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
calls = []


def die(*_):
    if sys.platform == "win32":
        os._exit(1)
    os.kill(os.getpid(), 9)  # SIGKILL, which no program can catch


def on_call(number, function, last_act):
    def called(*arguments):
        calls.append(1)
        return last_act(*arguments) if len(calls) == number else function(*arguments)

    return called


def in_backward(logits, targets):
    logits.register_hook(die)
    return run_loss(logits, targets)


def in_update(optimizer, multiplier):
    group = optimizer.param_groups[0]["params"]
    for parameter in group[len(group) // 2 :]:
        parameter.grad = None
    update(optimizer, multiplier)  # half of the matrices are changed
    die()


def in_write(path, data):
    path.write_bytes(data[: len(data) // 2])
    die()


run_loss, update, write = run.cross_entropy, loop._update, checkpoints.write_flushed
if moment == "backward":
    run.cross_entropy = on_call(at, run_loss, in_backward)
elif moment == "update":
    loop._update = on_call(at, update, in_update)
elif moment == "write":
    checkpoints.write_flushed = on_call(at // 10, write, in_write)
elif moment == "rename":
    checkpoints.os.replace = on_call(at // 10, os.replace, die)
run.tiny_run(folder, 10, 60)
"""


@pytest.fixture(scope="module")
def never_killed():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tiny_run(n_steps=60)
    torch.set_num_threads(n_threads)


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment, at, kept", [("backward", 37, 30), ("update", 37, 30), ("write", 40, 30)]
    + [("rename", 40, 30)]
)  # fmt: skip
def test_killed_in_mid_step_and_resumed_gives_the_very_same_losses(
    tmp_path, never_killed, moment, at, kept
):
    command = [sys.executable, "-c", VICTIM, str(tmp_path), moment, str(at)]
    victim = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    assert victim.returncode == (1 if sys.platform == "win32" else -9), victim.stderr
    assert newest_step(tmp_path) == kept
    assert tiny_run(tmp_path, 10, 60) == never_killed


HELD_OUT = 128  # widths from here on are predicted by a law that has not seen them


def columns(runs):
    return [[run[name] for run in runs] for name in ("n_parameters", "n_tokens", "loss")]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_law_of_the_smaller_sizes_predicts_the_larger(seed):
    runs = [run for run in load_sweep() if run["seed"] == seed]
    small = [run for run in runs if run["d_model"] < HELD_OUT]
    law = fit_scaling_law(*columns(small))
    times, off = [], []
    for run in (run for run in runs if run["d_model"] >= HELD_OUT):
        times.append(run["n_parameters"] / max(r["n_parameters"] for r in small))
        off.append(law.loss(run["n_parameters"], run["n_tokens"]) / run["loss"] - 1)
    pairs = zip(times, off, strict=True)
    print(f"seed {seed}:", ", ".join(f"{n:.1f} times {100 * gap:+.1f} %" for n, gap in pairs))
    assert max(times) > 6 and len(times) == 4
    assert all(abs(gap) < 0.03 for gap in off), off


def test_the_record_holds_what_the_plan_says():
    record, runs = sweep_record(), load_sweep()
    planned = {(w, flops, s) for flops, widths in PLAN.items() for w in widths for s in SEEDS}
    assert {(r["d_model"], r["flops"], r["seed"]) for r in runs} == planned
    assert len(runs) == len(planned)
    for run in runs:
        assert 6 * run["n_parameters"] * run["n_tokens"] == pytest.approx(run["flops"], rel=0.01)
        assert run["n_tokens"] < record["recipe"]["training_tokens"]  # each text once at most
    assert record["seconds"] < 15 * 60 and record["workers"] == 2


@pytest.mark.slow
def test_two_small_runs_come_out_as_recorded():
    recorded = {(r["d_model"], r["flops"], r["seed"]): r for r in load_sweep()}
    for width in (32, 48):
        again = run_point(width, 1.2e11, seed=0)
        before = recorded[width, 1.2e11, 0]
        assert again["n_tokens"] == before["n_tokens"]
        # Other versions of Python have other text in their library, and other sums round elsewhere.
        assert again["loss"] == pytest.approx(before["loss"], rel=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_size_grows_with_the_budget(seed):
    best = []
    for flops in PLAN:
        runs = [r for r in load_sweep() if r["seed"] == seed and r["flops"] == flops]
        best.append(valley([r["n_parameters"] for r in runs], [r["loss"] for r in runs]).best_size)
    print(f"seed {seed}: {[round(n) for n in best]}")
    assert best == sorted(best)


def test_a_damaged_record_is_refused(tmp_path):
    for text in (None, "{", '{"runs": [{}]}', "[]"):
        path = tmp_path / "sweep.json"
        if text is not None:
            path.write_text(text)
        with pytest.raises(RuntimeError, match="missing or damaged.*git checkout"):
            load_sweep(path)
