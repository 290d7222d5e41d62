"""A Ray Train script that runs the job on several workers and starts them again when one dies.

Source: Ray's guide "Handling failures and node preemption" (FailureConfig).
"""

from __future__ import annotations

import json
from dataclasses import asdict

from utils.parallel.job import JobConfig

SCRIPT = '''\
"""Train on {n_workers} Ray workers: python {{this file}}"""

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from utils.parallel.job import losses_of

SETTINGS = {settings}


def loop(settings):
    import torch

    from utils.parallel.job import JobConfig, train

    torch.set_num_threads(1)
    train(JobConfig(**settings))  # goes on from the newest checkpoint in its folder


if __name__ == "__main__":
    ray.init({init})
    trainer = TorchTrainer(
        loop,
        train_loop_config=SETTINGS,
        torch_config=TorchConfig(backend="{backend}"),
        scaling_config=ScalingConfig(
            num_workers={n_workers}, use_gpu={use_gpu}, resources_per_worker={{{resources}}}
        ),
        run_config=RunConfig(
            name="{name}",
            storage_path={storage!r},  # a folder that all nodes share
            failure_config=FailureConfig(max_failures={max_failures}),
        ),
    )
    trainer.fit()  # raises where the workers died too often
    print("last loss", losses_of(SETTINGS["folder"])[-1])
'''


def ray_script(
    config: JobConfig,
    n_workers: int,
    storage: str,
    use_gpu: bool = True,
    name: str = "course",
    max_failures: int = 20,
    address: str | None = "auto",
) -> str:
    """Return a Python script that trains a job on Ray.

    Args:
        config: of the job; its folder is one that all nodes share.
        n_workers: processes, one for each GPU.
        storage: folder where Ray keeps its own results, which all nodes share.
        use_gpu: one for each worker; else a core, over gloo.
        name: of the run.
        max_failures: how often the workers are started again.
        address: of a running cluster; None starts one on this machine.

    Raises:
        ValueError: for no worker.

    >>> compile(ray_script(JobConfig("runs/tiny"), 2, "runs"), "ray", "exec").co_name
    '<module>'
    """
    if n_workers < 1:
        raise ValueError(f"n_workers must be at least 1, got {n_workers}")
    return SCRIPT.format(
        n_workers=n_workers,
        settings=settings_of(config),
        init=start_of_ray(address, n_workers),
        backend="nccl" if use_gpu else "gloo",
        use_gpu=use_gpu,
        resources="" if use_gpu else '"CPU": 1',
        storage=storage,
        name=name,
        max_failures=max_failures,
    )


def settings_of(config: JobConfig) -> str:
    """Return the settings of a job as a script writes them; those that are None are left out.

    >>> settings_of(JobConfig("runs/tiny"))[:36]
    "{'folder': 'runs/tiny', 'steps': 12,"
    """
    settings = {key: value for key, value in asdict(config).items() if value is not None}
    return repr(json.loads(json.dumps(settings)))


def start_of_ray(address: str | None, n_cpus: int) -> str:
    """Return the arguments of `ray.init` in a script.

    Args:
        address: of a running cluster; None starts one on this machine.
        n_cpus: cores of the one that is started.

    >>> start_of_ray("auto", 2)
    "address='auto'"
    """
    if address is not None:
        return f"address={address!r}"
    local = f"num_cpus={n_cpus}, include_dashboard=False, log_to_driver=False"
    return f"{local}, object_store_memory={100 << 20}"
