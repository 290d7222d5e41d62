"""Going on with a run that was stopped: the same settings, or a clear no."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from utils.train.checkpoints import check_run, checkpoints_in, read_run, restore_run, set_aside
from utils.train.same_run import refuse_difference


def resume_run(
    folder: Path | str | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict,
    n_steps: int,
    resume: bool = True,
) -> tuple[int, list[dict]]:
    """Restore the newest checkpoint of a run and return its finished steps and their records.

    Args:
        folder: of the run; None, or one without checkpoints, starts at 0.
        settings: what decides the run, fit for JSON, as `save_run` was given them.
        n_steps: length of the whole run.
        resume: False sets an old run aside and starts at 0.

    Raises:
        ValueError: where the checkpoint is of another model, optimizer or setting, or has more
            steps than the run; nothing is changed then.

    >>> resume_run(None, nn.Linear(1, 1), None, {}, 3)
    (0, [])
    """
    if folder is None or not checkpoints_in(folder):
        return 0, []
    if not resume:
        set_aside(folder)
        return 0, []
    tensors, info, path = read_run(folder)
    if info["step"] > n_steps:
        raise ValueError(
            f"{path} has {info['step']} steps, more than the {n_steps} of this run: ask for more, "
            "use another checkpoint folder, or pass resume=False to train again"
        )
    refuse_difference(info.get("settings", {}), json.loads(json.dumps(settings)), "", path)
    check_run(tensors, info, model, optimizer, path)
    found = restore_run(tensors, info, model, optimizer, path)
    return found.step, found.records
