"""A Ray Tune script that runs the job at several learning rates, each in a process of its own.

Source: Ray's guide "Running Basic Experiments" (Tuner, grid_search).
"""

from __future__ import annotations

from collections.abc import Sequence

from utils.parallel.job import JobConfig
from utils.parallel.launch.ray_train import settings_of, start_of_ray

SCRIPT = '''\
"""Try {n} learning rates, {at_once} at a time: python {{this file}}"""

from dataclasses import replace
from pathlib import Path

import ray
from ray import tune

from utils.parallel.job import JobConfig, losses_of

CONFIG = JobConfig(**{settings})


def trial(choice):
    import torch
    import torch.distributed as dist

    from utils.parallel.job import train

    rate = choice["learning_rate"]
    config = replace(CONFIG, learning_rate=rate, folder=f"{{CONFIG.folder}}/lr-{{rate:g}}")
    torch.set_num_threads(1)
    dist.init_process_group("{backend}", store=dist.HashStore(), rank=0, world_size=1)
    try:
        train(config)  # goes on from the newest checkpoint in its folder
    finally:
        dist.destroy_process_group()
    tune.report({{"loss": losses_of(config.folder)[-1]}})


if __name__ == "__main__":
    ray.init({init})
    tuner = tune.Tuner(
        tune.with_resources(trial, {{{resources}}}),
        param_space={{"learning_rate": tune.grid_search({rates})}},
        tune_config=tune.TuneConfig(metric="loss", mode="min", max_concurrent_trials={at_once}),
        run_config=tune.RunConfig(name="{name}", storage_path=str(Path({storage!r}).resolve())),
    )
    found = tuner.fit()
    if found.errors:
        raise SystemExit(f"{{len(found.errors)}} of {n} trials failed: run it again")
    for result in sorted(found, key=lambda one: one.config["learning_rate"]):
        rate = result.config["learning_rate"]
        print(f"learning rate {{rate:g}}: loss {{result.metrics['loss']}}")
    print(f"best learning rate: {{found.get_best_result().config['learning_rate']:g}}")
'''


def ray_tune_script(
    config: JobConfig,
    learning_rates: Sequence[float],
    storage: str,
    use_gpu: bool = True,
    name: str = "course-rates",
    at_once: int = 2,
    address: str | None = "auto",
) -> str:
    """Return a Python script that tries learning rates on Ray and names the best.

    Args:
        config: of the job; each rate gets a folder of its own below the job's.
        learning_rates: to try, each once.
        storage: folder where Ray keeps its own results, which all nodes share.
        use_gpu: one for each trial; else a core, over gloo.
        name: of the experiment.
        at_once: how many trials run at the same time.
        address: of a running cluster; None starts one on this machine.

    Raises:
        ValueError: for no learning rate, or one that is there twice or not positive.

    >>> script = ray_tune_script(JobConfig("runs/tiny"), [1e-3, 3e-3], "runs/ray")
    >>> compile(script, "ray", "exec").co_name
    '<module>'
    """
    rates = [float(rate) for rate in learning_rates]
    if not rates or len(set(rates)) < len(rates) or min(rates) <= 0:
        raise ValueError(f"learning_rates must be different positive numbers, got {rates}")
    return SCRIPT.format(
        n=len(rates),
        at_once=at_once,
        settings=settings_of(config),
        backend="nccl" if use_gpu else "gloo",
        init=start_of_ray(address, at_once),
        resources='"GPU": 1' if use_gpu else '"CPU": 1',
        rates=rates,
        name=name,
        storage=storage,
    )
