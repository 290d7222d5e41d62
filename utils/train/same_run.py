"""What decides how a run goes on: written with each checkpoint, and compared before it is resumed.

A resumed run should be the run that was never stopped. So whatever would have made its finished
steps different is refused by name, and what changes only the steps to come is told.

Left out on purpose: versions of torch and of the machine, which change the last bits.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import dtype, nn

from utils.tokens.batches import hash_of

if TYPE_CHECKING:
    from utils.tokens.batches import Batch

COMPILED = "_orig_mod."  # what torch.compile puts before the names of a module that it wraps
WHAT_TO_DO = (
    "use the same setting to resume, another checkpoint folder, or resume=False to train again"
)


def plain_name(name: str) -> str:
    """Return the name of a tensor or module as it is without torch.compile.

    >>> plain_name("_orig_mod.blocks.0._orig_mod.weight")
    'blocks.0.weight'
    """
    return f"{name}.".replace(COMPILED, "").removesuffix(".")


def model_facts(model: nn.Module) -> dict:
    """Return what decides a model besides its tensors: its config, and each module's settings.

    >>> model_facts(nn.Sequential(nn.Dropout(0.5)))["modules"]["0"]
    'Dropout(p=0.5, inplace=False)'
    """
    config = getattr(model, "config", None)
    facts = {
        "config": asdict(config) if is_dataclass(config) else {},
        "modules": {
            plain_name(name): f"{type(module).__name__}({module.extra_repr()})"
            for name, module in model.named_modules()
            if "_orig_mod" not in module._modules  # the wrapper; what it wraps comes next
        },
    }
    return json.loads(json.dumps(facts, default=str))  # as it comes back from a file


def run_settings(
    batches: Callable[[int], Batch],
    schedule: Callable[[int], float] | None,
    n_steps: int,
    *,
    accumulate: int,
    clip_norm: float | None,
    autocast_dtype: dtype | None,
    loss_fn: Callable,
) -> dict:
    """Return the settings of `train` that decide a run, fit for JSON.

    Args:
        batches: where they have `facts()`, these are part of the settings.
        schedule: written down as its values at a few steps.
        n_steps: length of the run.
        accumulate, clip_norm, autocast_dtype, loss_fn: as `train` takes them.

    Raises:
        ValueError: for a schedule that gives a negative number or none.
    """
    facts = getattr(batches, "facts", dict)()
    probes = sorted({(n_steps - 1) * k // 16 for k in range(17)}) if n_steps else []
    rates = [[step, 1.0 if schedule is None else float(schedule(step))] for step in probes]
    for step, rate in rates:
        if not (math.isfinite(rate) and rate >= 0):
            raise ValueError(f"the schedule gives {rate} at step {step}: expected 0 or more")
    decisive = {"accumulate": accumulate, "clip_norm": clip_norm} | {
        "autocast_dtype": None if autocast_dtype is None else str(autocast_dtype)
    }
    return {
        "same": decisive | facts,
        "loss_fn": getattr(loss_fn, "__qualname__", type(loss_fn).__name__),
        "schedule": rates,
        "batches": {},  # number of a micro-batch -> batch_facts, put in by the loop
    }


def batch_facts(batch: Batch) -> dict:
    """Return shape and hash of a batch."""
    return {
        "shape": list(batch.token_ids.shape),
        "sha256": hash_of([batch.token_ids, batch.targets]),
    }


def refuse_difference(saved: Mapping, own: Mapping, where: str, path: Path) -> None:
    """Raise a ValueError that names the first setting that a checkpoint has otherwise.

    >>> refuse_difference({"seed": 1}, {"seed": 2}, "", Path("run"))
    Traceback (most recent call last):
    ...
    ValueError: run was written with seed=1, here it is 2: use the same setting to resume, ...
    """
    names = [name for name in saved | own if saved.get(name) != own.get(name)]
    if names:
        name = names[0]
        raise ValueError(
            f"{path} was written with {name}={saved.get(name)}{where}, here it is "
            f"{own.get(name)}: {WHAT_TO_DO}"
        )


def check_settings(saved: Mapping, own: Mapping, path: Path) -> None:
    """Refuse settings that a checkpoint has otherwise; another loss gets a warning.

    Args:
        saved: `run_settings` of the checkpoint; empty where none were written.
        own: those of this call.
        path: the checkpoint.
    """
    refuse_difference(saved.get("same", own["same"]), own["same"], "", path)
    if saved.get("loss_fn", own["loss_fn"]) != own["loss_fn"]:
        warnings.warn(
            f"{path} was trained with the loss {saved['loss_fn']}, the run goes on with "
            f"{own['loss_fn']}",
            stacklevel=4,
        )


def check_schedule(
    records: list[dict],
    saved: Mapping,
    schedule: Callable[[int], float] | None,
    peak: float,
    path: Path,
) -> None:
    """Refuse a schedule that would have changed a finished step; warn where later ones change.

    Args:
        records: of the finished steps.
        saved: `run_settings` of the checkpoint.
        schedule: of this call.
        peak: the learning rate that it multiplies.
        path: the checkpoint.
    """
    multiplier = schedule or (lambda step: 1.0)
    for record in records:
        step, rate, own = record["step"], record["learning_rate"], peak * multiplier(record["step"])
        if not math.isclose(rate, own, rel_tol=1e-6, abs_tol=1e-15):
            raise ValueError(
                f"{path} was written with another schedule: step {step} had a learning rate of "
                f"{rate:.6g}, here it would have {own:.6g}; {WHAT_TO_DO}"
            )
    for step, share in saved.get("schedule", []):
        if step >= len(records) and not math.isclose(share, multiplier(step), abs_tol=1e-9):
            warnings.warn(
                f"{path} was begun with a schedule that gives {share:.4g} of the peak at step "
                f"{step}, here it gives {multiplier(step):.4g}: from here on the run is the one "
                "with the new schedule",
                stacklevel=4,
            )
            return


def check_batches(saved: Mapping, batches: Callable[[int], Batch], path: Path) -> None:
    """Refuse batches that are not those that the finished steps have read."""
    for number, facts in saved.get("batches", {}).items():
        own = batch_facts(batches(int(number)))
        if own["shape"] != facts["shape"]:
            raise ValueError(
                f"{path} was written with batches of shape {tuple(facts['shape'])}, here they are "
                f"{tuple(own['shape'])}: {WHAT_TO_DO}"
            )
        if own != facts:
            raise ValueError(
                f"{path} was written with other data: micro-batch {number} has other tokens here, "
                f"so the texts, their order or the seed differ; {WHAT_TO_DO}"
            )
