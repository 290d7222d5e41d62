"""One job under torchrun, SLURM and Ray: killed in mid-run, it ends with the losses of a run that
was left in peace; and each file that is written is read by the tool that it is for."""

import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from tests import slurm
from utils import cli
from utils.parallel.job import (
    DONE,
    LOSSES,
    PREEMPTED,
    JobConfig,
    JobError,
    losses_of,
    tracker_names,
    train,
)
from utils.parallel.launch.deepspeed import deepspeed_config, unknown_keys
from utils.parallel.launch.megatron import megatron_arguments
from utils.parallel.launch.ray_train import ray_script
from utils.parallel.launch.ray_tune import ray_tune_script
from utils.parallel.launch.slurm import sbatch_script
from utils.parallel.launch.torchrun import ENVIRONMENT, torchrun_command
from utils.parallel.planner.layout import Layout
from utils.parallel.planner.models import find_model
from utils.parallel.processes import RankError, run_ranks
from utils.parallel.reshard import checkpoints, whole
from utils.settings import environment, project_root

needs_slurm = pytest.mark.skipif(bool(slurm.missing()), reason=str(slurm.missing()))
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
STEPS = 9
SETTLED = 15.0  # seconds until SLURM has forgotten an attempt


def has(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package above it is missing
        return False


def job(folder, **changes):
    return replace(JobConfig(str(folder), steps=STEPS, batch_size=8), **changes)


def words(config):
    """Return the arguments of `utils.parallel.job` for a configuration."""
    given = ["-m", "utils.parallel.job"]
    for name in ("folder", "steps", "pause", "die_at", "die_rank"):
        value = getattr(config, name)
        given += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    return given


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Return the losses of two ranks that nobody disturbs, and the folder of the run."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert run_ranks(train, 2, job(folder), show=False) == ["done", "done"]
    return losses_of(folder), folder


def test_the_loss_falls_and_a_finished_job_is_left_as_it_is(unbroken):
    losses, folder = unbroken
    assert len(losses) == STEPS and losses[-1] < losses[0] - 0.3
    before = (folder / LOSSES).read_text()
    assert run_ranks(train, 2, job(folder), show=False) == ["done", "done"]
    assert (folder / LOSSES).read_text() == before


@pytest.mark.parametrize("n_ranks", [1, 4])
def test_a_checkpoint_of_two_ranks_goes_on_at_another_world_size(unbroken, tmp_path, n_ranks):
    losses, folder = unbroken
    shutil.copytree(folder / "step-000003", tmp_path / "run" / "step-000003")
    run_ranks(train, n_ranks, job(tmp_path / "run"), show=False)
    ours = losses_of(tmp_path / "run")
    assert len(ours) == STEPS - 3
    assert max(abs(a - b) for a, b in zip(ours, losses[3:], strict=True)) < 1e-5
    there, here = whole(folder / "step-000009")[0], whole(tmp_path / "run" / "step-000009")[0]
    assert there.keys() == here.keys()
    assert all((there[name] - here[name]).abs().max() < 1e-4 for name in there)


def test_without_the_optimizer_state_the_losses_would_differ(unbroken, tmp_path):
    """The control of the tests above: they can fail."""
    losses, _ = unbroken
    run_ranks(train, 2, job(tmp_path, learning_rate=3.03e-3), show=False)
    assert max(abs(a - b) for a, b in zip(losses_of(tmp_path), losses, strict=True)) > 1e-4


def test_a_torn_checkpoint_is_named_and_passed_over(unbroken, tmp_path, capsys):
    losses, folder = unbroken
    for step in ("step-000003", "step-000006"):
        shutil.copytree(folder / step, tmp_path / step)
    torn = tmp_path / "step-000006" / "rank-00001.safetensors"
    torn.write_bytes(torn.read_bytes()[:-50])
    run_ranks(train, 2, job(tmp_path))
    said = capsys.readouterr().out
    assert "rank-00001.safetensors is damaged" in said and "the checkpoint before" in said
    assert losses_of(tmp_path) == losses[3:]
    (tmp_path / "step-000009" / "rank-00000.safetensors").unlink()
    run_ranks(train, 2, job(tmp_path))
    assert "rank-00000.safetensors is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"batch_size": 9}, "9 sequences can't be shared by 2 ranks"),
        ({"seed": 1}, "holds a run with"),
    ],
)
def test_what_can_t_go_on_says_why(unbroken, changes, message):
    with pytest.raises(RankError, match=message):
        run_ranks(train, 2, job(unbroken[1], steps=12, **changes), show=False)


@pytest.mark.skipif(os.name == "nt", reason="files are locked by POSIX's calls")
def test_two_jobs_in_one_folder_are_refused(tmp_path):
    import fcntl

    with open(tmp_path / "job.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RankError, match="another job is at work"):
            run_ranks(train, 2, job(tmp_path), show=False)
    assert run_ranks(train, 2, job(tmp_path), show=False) == ["done", "done"]


def test_a_full_disk_on_one_rank_ends_all_and_older_checkpoints_stay(unbroken, tmp_path):
    losses, folder = unbroken
    shutil.copytree(folder / "step-000003", tmp_path / "step-000003")

    def on_a_full_disk(config):
        import torch.distributed as dist

        from utils.parallel import reshard

        def full(*args):
            raise OSError(28, "No space left on device")

        if dist.get_rank() == 1:
            reshard.save_checkpoint = full
        return train(config)

    with pytest.raises(RankError, match="No space left|could not write"):
        run_ranks(on_a_full_disk, 2, job(tmp_path), show=False, seconds=30)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000003"]
    run_ranks(train, 2, job(tmp_path), show=False)
    assert losses_of(tmp_path) == losses[3:]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_torchrun_replaces_a_killed_worker_and_the_losses_are_the_same(unbroken, tmp_path):
    config = job(tmp_path, die_at=7)
    command = torchrun_command(words(config), 2, max_restarts=3, python=sys.executable)
    with environment(**ENVIRONMENT):
        done = subprocess.run(command, cwd=project_root(), capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "killed").exists() and losses_of(tmp_path) == unbroken[0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
def test_a_job_that_is_told_to_end_saves_and_goes_on_later(unbroken, tmp_path):
    config = job(tmp_path, pause=0.5)
    command = [sys.executable, *words(config)]
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    with environment(**alone, MASTER_PORT=str(slurm.free_port())):
        process = subprocess.Popen(command, cwd=project_root(), stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (tmp_path / LOSSES).exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == PREEMPTED
    saved = checkpoints(tmp_path)
    assert len(saved) == 1 and not (tmp_path / DONE).exists()
    run_ranks(train, 2, replace(config, pause=0.0), show=False)
    assert max(abs(a - b) for a, b in zip(losses_of(tmp_path), unbroken[0], strict=True)) < 1e-5


def on_slurm(folder) -> tuple[str, str]:
    """Run a job that kills itself on three nodes; return its log, and what SLURM says at the end.

    The second is empty where the job is done.
    """
    config, script, log = job(folder / "run", die_at=7), folder / "job.sbatch", folder / "job.log"
    script.write_text(
        sbatch_script(
            words(config),
            n_nodes=2,
            processes_per_node=1,
            hours=0.2,
            grace_seconds=60,
            port=slurm.free_port(),
            python=sys.executable,
            output=str(log),
        )
    )
    done, back = folder / "run" / DONE, math.inf
    with slurm.cluster(n_cpus=1, n_nodes=3) as found:
        tried = subprocess.run(
            ["sbatch", "--test-only", script], env=found, capture_output=True, text=True
        )
        assert tried.returncode == 0, tried.stderr
        sent = ["sbatch", "--parsable", f"--chdir={project_root()}", str(script)]
        number = slurm.said(found, *sent).strip()
        end = time.monotonic() + 300
        while not done.exists() and time.monotonic() < end:
            time.sleep(0.5)
            if math.isinf(back) and log.exists() and "back into the queue" in log.read_text():
                back = time.monotonic()
            # A job that went back waits two minutes, unless it is told to start. Told too early, it
            # fails: the word that its old attempt has ended is taken for that of the new one.
            if time.monotonic() > back + SETTLED:
                slurm.said(found, "scontrol", "update", f"JobId={number}", "StartTime=now")
                back = end
        return log.read_text(), "" if done.exists() else slurm.story(found, number)


@needs_slurm
def test_slurm_puts_a_killed_job_back_and_the_losses_are_the_same(unbroken, tmp_path):
    told, stuck = on_slurm(tmp_path)
    assert not stuck, f"{told[-1500:]}\n{stuck}"
    assert "back into the queue" in told and "attempt 1 on" in told
    assert losses_of(tmp_path / "run") == unbroken[0]


def run_on_ray(script, folder):
    """Run a script of Ray's and return what it says."""
    path = folder / "run_on_ray.py"
    path.write_text(script)
    variables = {"RAY_AUTH_MODE": "disabled", "RAY_agent_register_timeout_ms": "120000"}
    variables |= {"PYTHONPATH": str(project_root()), "RAY_TRAIN_V2_ENABLED": "1"}
    with environment(**variables):
        for _ in range(2):  # on a busy machine its first start may not come up in its 30 seconds
            done = subprocess.run(
                [sys.executable, str(path)], capture_output=True, text=True, timeout=400
            )
            if "timed out during startup" not in done.stderr:
                break
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@needs_ray
@pytest.mark.slow
def test_ray_replaces_a_killed_worker_and_the_losses_are_the_same(unbroken, tmp_path):
    config = job(tmp_path / "run", die_at=7)
    storage = str(tmp_path / "ray")
    run_on_ray(
        ray_script(config, 2, storage, use_gpu=False, address=None, max_failures=2), tmp_path
    )
    assert (tmp_path / "run" / "killed").exists() and losses_of(tmp_path / "run") == unbroken[0]


@needs_ray
@pytest.mark.slow
def test_ray_tune_tries_three_learning_rates_and_names_the_best(unbroken, tmp_path):
    config, rates = job(tmp_path / "run"), (1e-4, 3e-3, 1e-2)
    assert config.learning_rate in rates
    script = ray_tune_script(config, rates, str(tmp_path / "ray"), use_gpu=False, address=None)
    said = run_on_ray(script, tmp_path)
    losses = {rate: losses_of(tmp_path / "run" / f"lr-{rate:g}") for rate in rates}
    assert losses[config.learning_rate] == pytest.approx(unbroken[0], abs=1e-5)
    for rate in rates:
        assert f"learning rate {rate:g}: loss {losses[rate][-1]}" in said
    best = min(rates, key=lambda rate: losses[rate][-1])
    assert said.splitlines()[-1] == f"best learning rate: {best:g}"


@pytest.mark.parametrize("rates", [(), (1e-3, 1e-3), (0.0, 1e-3)])
def test_learning_rates_that_say_nothing_are_refused(rates):
    with pytest.raises(ValueError, match="different positive numbers"):
        ray_tune_script(JobConfig("runs/tiny"), rates, "ray")


@pytest.mark.skipif(not has("wandb"), reason="needs W&B: the extra `ops`")
def test_rank_0_alone_logs_to_w_and_b_offline(tmp_path):
    run_ranks(train, 2, job(tmp_path, track="wandb", steps=3), show=False, seconds=120)
    runs = list((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 1 and list(runs[0].glob("*.wandb"))[0].stat().st_size > 0


@pytest.mark.skipif(not has("tensorboard"), reason="needs TensorBoard: the extra `tracking`")
def test_rank_0_alone_logs_to_tensorboard_and_a_later_attempt_takes_over(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first, folder = job(tmp_path, track="tensorboard", steps=5, save_every=3), tmp_path
    run_ranks(train, 2, first, show=False, seconds=120)
    assert len(list((folder / "tensorboard").iterdir())) == 1, "one rank writes, one file"
    last = checkpoints(folder)[-1]
    shutil.rmtree(last)  # the run goes on from the one before and does steps 3 and 4 again
    run_ranks(train, 2, replace(first, steps=7), show=False, seconds=120)
    read = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert read.Tags()["scalars"] == ["loss"]
    assert [event.step for event in read.Scalars("loss")] == list(range(7))
    assert [event.value for event in read.Scalars("loss")] == pytest.approx(losses_of(folder))


@pytest.mark.parametrize("track, error", [("paper", "choose among"), ("wandb", "extra `ops`")])
def test_a_tracker_that_is_not_there_is_named_before_anything_runs(track, error, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises((ValueError, JobError), match=error):
        tracker_names(track)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_sbatch_script_is_a_script(tmp_path):
    script = tmp_path / "x.sbatch"
    script.write_text(sbatch_script(["-m", "a module"], 64, 8, hours=23.5))
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    text = script.read_text()
    assert "#SBATCH --time=23:30:00" in text and "--nnodes=64" in text
    assert "--nproc-per-node=8" in text and "'a module'" in text
    with pytest.raises(ValueError, match="give gpus_per_node"):
        sbatch_script(["x"], 2)
    with pytest.raises(ValueError, match="leave no time"):
        sbatch_script(["x"], 2, 8, hours=0.01)


@pytest.mark.skipif(not has("deepspeed"), reason="needs DeepSpeed: the extra `cluster`")
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_deepspeed_reads_its_configuration(tmp_path, stage):
    config = deepspeed_config(512, 1, 64, stage, recompute=True, offload_optimizer=stage == 3)
    assert unknown_keys(config) == []
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(config))
    code = PARSE.format(path=str(path), batch=512)
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert told.returncode == 0, told.stderr[-2000:]
    assert told.stdout.splitlines()[-1] == f"512 1 8 {stage}"
    path.write_text(json.dumps(config | {"train_batch_size": 500}))
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert told.returncode != 0 and "500" in told.stderr


@pytest.mark.parametrize(
    "model, gpus", [("llama3-70b", 512), ("llama3-70b", 64), ("llama3-8b", 16), ("gpt3-175b", 1024)]
)
def test_a_plan_is_written_for_the_tools(model, gpus, tmp_path, capsys):
    command = ["plan", "--model", model, "--gpus", str(gpus), "--write", str(tmp_path / "run")]
    assert cli.main(command) == 0
    written = {path.name: path.read_text() for path in (tmp_path / "run").iterdir()}
    assert {"train.sbatch", "megatron.args", "torchrun.sh", "tiny.sbatch"} <= set(written)
    for name in ("train.sbatch", "tiny.sbatch", "torchrun.sh"):
        assert subprocess.run(["bash", "-n", str(tmp_path / "run" / name)]).returncode == 0
    for name in ("tiny_ray.py", "tiny_tune.py"):
        compile(written[name], name, "exec")
    assert f"--nodes={gpus // 8}" in written["train.sbatch"]
    if "deepspeed.json" in written:
        assert unknown_keys(json.loads(written["deepspeed.json"])) == []
    assert cli.main(command) == 2 and "choose another folder" in capsys.readouterr().err


# Arguments of pretrain_gpt.py that are fields of Megatron-Core's configuration; it checks them.
FIELDS = {
    "num-layers": "num_layers",
    "hidden-size": "hidden_size",
    "ffn-hidden-size": "ffn_hidden_size",
    "num-attention-heads": "num_attention_heads",
    "num-query-groups": "num_query_groups",
    "normalization": "normalization",
    "tensor-model-parallel-size": "tensor_model_parallel_size",
    "pipeline-model-parallel-size": "pipeline_model_parallel_size",
    "context-parallel-size": "context_parallel_size",
    "recompute-granularity": "recompute_granularity",
    "recompute-method": "recompute_method",
    "recompute-num-layers": "recompute_num_layers",
}


@pytest.mark.skipif(not has("megatron.core"), reason="needs Megatron-Core: the extra `parallel`")
@pytest.mark.filterwarnings("ignore")
def test_megatron_core_accepts_what_is_written_and_refuses_what_we_refuse():
    import torch
    from megatron.core.transformer import TransformerConfig

    def megatron(words):
        values = dict(zip(words, words[1:], strict=False))
        fields = {}
        for name, field in FIELDS.items():
            if f"--{name}" in words:
                value = values[f"--{name}"]
                fields[field] = int(value) if value.isdigit() else value
        if fields["pipeline_model_parallel_size"] > 1:
            fields["pipeline_dtype"] = torch.bfloat16
        if "--sequence-parallel" in words:
            fields["sequence_parallel"] = True
        return TransformerConfig(gated_linear_unit="--swiglu" in words, **fields)

    llama = find_model("llama3-70b")
    for layout in (
        Layout(8, 4, 16, vp=5, sequence_parallel=True),
        Layout(4, 1, 128, zero_stage=3, recompute="full"),
        Layout(8, 8, 8, recompute="selective", cp=2, sequence_parallel=True),
    ):
        found = megatron(megatron_arguments(llama, layout, 8192, 512, 10))
        assert (found.num_layers, found.num_query_groups) == (80, 8)
        assert found.tensor_model_parallel_size == layout.tp
    with pytest.raises(ValueError, match="can't be shared by 16 tensor-parallel ranks"):
        megatron_arguments(llama, Layout(16, 1, 32), 8192, 512, 10)
    good = megatron_arguments(llama, Layout(8, 1, 64), 8192, 512, 10)
    with pytest.raises(Exception):  # noqa: B017 (the tool's own kind of error)
        megatron(
            [
                "3" if a == "--tensor-model-parallel-size" else b
                for a, b in zip(["", *good], good, strict=False)
            ]
        )
    with pytest.raises(ValueError, match="80 layers can't be shared by 3 stages"):
        megatron_arguments(llama, Layout(8, 3, 16), 8192, 512, 10)
    with pytest.raises(ValueError, match="at least 2 stages"):
        megatron_arguments(llama, Layout(8, 1, 64, vp=2), 8192, 512, 10)


# DeepSpeed asks the process group for the number of ranks, and takes 1 where there is none.
PARSE = """
import deepspeed, torch.distributed as dist
from deepspeed.runtime.config import DeepSpeedConfig
import deepspeed.ops
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
dist.init_process_group("gloo", init_method="file://{path}.store", rank=0, world_size=1)
deepspeed.init_distributed("gloo")
class Mesh:
    def get_data_parallel_world_size(self): return 64
found = DeepSpeedConfig({path!r}, mpu=Mesh())
print(found.train_batch_size, found.train_micro_batch_size_per_gpu,
      found.gradient_accumulation_steps, found.zero_config.stage)
"""
