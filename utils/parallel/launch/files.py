"""The files that start a planned run: written for the tools, from one plan."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from utils.parallel.job import JobConfig
from utils.parallel.launch.deepspeed import deepspeed_config
from utils.parallel.launch.megatron import megatron_arguments
from utils.parallel.launch.ray_train import ray_script
from utils.parallel.launch.ray_tune import ray_tune_script
from utils.parallel.launch.slurm import sbatch_script
from utils.parallel.launch.torchrun import torchrun_command
from utils.parallel.planner.plan import Plan

TINY = JobConfig("runs/tiny", steps=12)  # the same job for a laptop: tries the launcher out
RATES = (1e-3, 3e-3, 1e-2)  # that it is tried with


def launch_files(plan: Plan) -> dict[str, str]:
    """Return name -> text of each file.

    `megatron.args` and `deepspeed.json` hold what the layout asks for; data, tokenizer and the
    model's code are yours. `tiny.*` start the course's small job in the same way.

    Raises:
        ValueError: where a tool has no way to say what the plan says.
    """
    job, layout = plan.job, plan.option.layout
    n_steps = max(1, round(job.n_tokens / (job.batch * job.seq_len)))
    n_nodes = max(1, job.n_gpus // job.gpus_per_node)
    per_node = min(job.gpus_per_node, job.n_gpus)
    arguments = megatron_arguments(job.model, layout, job.seq_len, job.batch, n_steps)
    save_every = max(1, round(plan.interval_seconds["usual"] / plan.option.seconds["total"]))
    arguments += ["--save", "checkpoints", "--load", "checkpoints"]
    arguments += ["--save-interval", str(save_every), "--exit-signal-handler"]
    train = ["pretrain_gpt.py", *arguments]
    tiny = ["-m", "utils.parallel.job", "--folder", TINY.folder, "--steps", str(TINY.steps)]
    address = "HEAD:29500"  # name of the first node
    by_hand = torchrun_command(train, per_node, n_nodes, address if n_nodes > 1 else None)
    files = {
        "train.sbatch": sbatch_script(train, n_nodes, per_node, name=job.model.name),
        "megatron.args": "\n".join(shlex.quote(word) for word in arguments) + "\n",
        "torchrun.sh": f"#!/bin/sh\n# on every node; HEAD is the name of the first\n"
        f"exec {shlex.join(by_hand)}\n",
        "tiny.sbatch": sbatch_script(tiny, 2, processes_per_node=1, name="tiny", hours=0.5),
        "tiny_ray.py": ray_script(TINY, 2, "runs/ray", use_gpu=False, address=None),
        "tiny_tune.py": ray_tune_script(TINY, RATES, "runs/ray", use_gpu=False, address=None),
    }
    if layout.tp == layout.pp == layout.cp == 1:  # what DeepSpeed alone shares out
        config = deepspeed_config(job.batch, layout.micro_batch, layout.dp, layout.zero_stage)
        files["deepspeed.json"] = json.dumps(config, indent=1) + "\n"
    return files


def write_files(plan: Plan, folder: Path | str) -> list[Path]:
    """Write the files of a plan into a folder; return their paths.

    Raises:
        FileExistsError: where one of them is there already.
    """
    folder = Path(folder)
    files = launch_files(plan)
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise FileExistsError(f"{folder} holds {', '.join(there)} already: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]
