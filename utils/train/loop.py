"""The supervised loop: batch, logits, loss, backward, clip, step, record.

`loss_fn` is an argument, so any loss runs in the real loop; records are returned, never printed.
A batch is a pure function of the step's number, so that a resumed run needs no iterator state.

Left out on purpose: evaluation (call `train` in stretches), several devices, early stopping.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from utils.runtime import progress
from utils.train import same_run
from utils.train.checkpoints import (
    check_run,
    checkpoints_in,
    read_run,
    restore_run,
    save_run,
    set_aside,
)
from utils.train.losses import IGNORE_INDEX
from utils.train.optimizers import clip_gradients

if TYPE_CHECKING:
    from utils.tokens.batches import Batch


class NonFiniteLoss(ArithmeticError):
    """The loss or its gradient is NaN or infinite; raised before weights or checkpoints change."""


class TrainingInterrupted(KeyboardInterrupt):
    """The learner pressed stop; `records` holds the steps that were finished."""

    def __init__(self, message: str, records: list[dict]):
        super().__init__(message)
        self.records = records


def train(
    model: nn.Module,
    batches: Callable[[int], Batch],
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    n_steps: int,
    *,
    schedule: Callable[[int], float] | None = None,
    clip_norm: float | None = 1.0,
    accumulate: int = 1,
    autocast_dtype: torch.dtype | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 0,
    resume: bool = True,
    description: str = "train",
) -> list[dict]:
    """Train `model` in place for `n_steps` updates and return one record per step.

    Args:
        model: `model(token_ids) -> logits`; trained on the device where it is.
        batches: gives the batch of a number; step s takes s * accumulate and those that follow. A
            micro-batch without a counted target is passed over where others of its step have some.
        loss_fn: `loss_fn(logits, targets)`, a mean over the targets that are not ignored.
        optimizer: its `lr` is the peak rate, and is the same before and after.
        n_steps: number of updates in the whole run, those of a resumed checkpoint included.
        schedule: multiplies the peak rate, by the number of the step from 0.
        clip_norm: largest norm of the gradient; None for no clipping.
        accumulate: micro-batches per update, each weighted by its number of counted targets.
        autocast_dtype: dtype of matrix work in the forward pass; None for the model's own.
        checkpoint: folder of this run; written every `checkpoint_every` steps and at the end.
        resume: go on from the newest checkpoint there; False sets the old run aside. What decides
            the run is compared first: model, optimizer, batches and their data, schedule, clipping.
        description: text before the progress bar.

    Returns:
        Records with step (from 0), loss (nats), learning_rate, gradient_norm (before clipping),
        tokens and seconds (both since step 0), tokens_per_second.

    Raises:
        ValueError: before the first step where arguments do not belong together, or the checkpoint
            is of another run; at a step without any counted target.
        NonFiniteLoss: at the first loss or gradient that is NaN or infinite.
        TrainingInterrupted: on an interrupt, after the running step and a checkpoint.

    >>> from types import SimpleNamespace as Batch
    >>> model, ids = nn.Embedding(4, 4), torch.tensor([[1, 2, 3]])
    >>> sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    >>> mse = lambda logits, targets: logits.square().mean()
    >>> len(train(model, lambda step: Batch(token_ids=ids, targets=ids), mse, sgd, n_steps=2))
    2
    """
    _check_numbers(n_steps, accumulate, clip_norm, autocast_dtype)
    _check_run(model, optimizer, checkpoint, checkpoint_every)
    settings = same_run.run_settings(
        batches if checkpoint is not None else None,
        schedule,
        n_steps,
        accumulate=accumulate,
        clip_norm=clip_norm,
        autocast_dtype=autocast_dtype,
        loss_fn=loss_fn,
    )
    run = (batches, schedule, n_steps, settings)
    first, records, last_good = _start_run(model, optimizer, checkpoint, run, resume)
    tokens, seconds = (records[-1]["tokens"], records[-1]["seconds"]) if records else (0, 0.0)
    device = next(model.parameters()).device
    bar = progress(total=n_steps, description=description)
    with bar, _training_mode(model), _stop_after_step() as stop:
        bar.update(first)
        for step in range(first, n_steps):
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            micro_batches = [batches(step * accumulate + i) for i in range(accumulate)]
            loss = 0.0
            for batch, share in zip(micro_batches, _shares(micro_batches, step), strict=True):
                if share == 0:
                    continue  # a mean over nothing
                with torch.autocast(device.type, autocast_dtype, autocast_dtype is not None):
                    logits = model(batch.token_ids.to(device))  # (B, T, V)
                    part = loss_fn(logits, batch.targets.to(device)) * share
                part.backward()
                loss += part.item()
            norm = clip_gradients(model.parameters(), math.inf if clip_norm is None else clip_norm)
            multiplier = 1.0 if schedule is None else schedule(step)
            rate = optimizer.param_groups[0]["lr"] * multiplier
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise NonFiniteLoss(_describe_failure(step, loss, norm, rate, last_good))
            _update(optimizer, multiplier)

            elapsed = time.perf_counter() - start
            n_tokens = sum(batch.token_ids.numel() for batch in micro_batches)
            tokens, seconds, speed = tokens + n_tokens, seconds + elapsed, n_tokens / elapsed
            records.append(
                {"step": step, "loss": loss, "learning_rate": rate, "gradient_norm": norm}
                | {"tokens": tokens, "seconds": seconds, "tokens_per_second": speed}
            )
            bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)
            bar.update(1)

            done, stopped = step + 1, stop.is_set()
            due = checkpoint_every and done % checkpoint_every == 0
            if checkpoint is not None and (step == 0 or due or stopped or done == n_steps):
                _note_batch(settings, step * accumulate, micro_batches[0])
            if checkpoint is not None and (due or stopped or done == n_steps):
                last_good = save_run(checkpoint, model, optimizer, done, records, settings)
            if stopped:
                raise TrainingInterrupted(_describe_stop(done, n_steps, last_good), records)
    return records


def _update(optimizer: torch.optim.Optimizer, multiplier: float) -> None:
    """Step with each group's peak rate times `multiplier`; the peak stays what it was."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak * multiplier
    optimizer.step()
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak


def _shares(micro_batches: list[Batch], step: int) -> list[float]:
    """Return each micro-batch's share of the counted targets, so that parts add up to the mean."""
    counts = [int((batch.targets != IGNORE_INDEX).sum()) for batch in micro_batches]
    if sum(counts) == 0:
        n_targets = sum(batch.targets.numel() for batch in micro_batches)
        raise ValueError(
            f"step {step} has nothing to learn from: all {n_targets} targets of its "
            f"{len(micro_batches)} micro-batch(es) are IGNORE_INDEX; the weights are those before "
            "this step. Check the response masks and the context length"
        )
    return [count / sum(counts) for count in counts]


def _note_batch(settings: dict, number: int, batch: Batch) -> None:
    """Put what the first and the newest micro-batch hold into the settings of a checkpoint."""
    first = {name: facts for name, facts in settings["batches"].items() if name == "0"}
    settings["batches"] = first | {str(number): same_run.batch_facts(batch)}


def _check_numbers(
    n_steps: int, accumulate: int, clip_norm: float | None, autocast_dtype: torch.dtype | None
) -> None:
    for name, value, least in (("n_steps", n_steps, 0), ("accumulate", accumulate, 1)):
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}: give a whole number")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm must be positive, got {clip_norm}: None does not clip")
    if autocast_dtype not in (None, torch.bfloat16, torch.float16):
        raise ValueError(
            f"autocast_dtype must be torch.bfloat16 or torch.float16, got {autocast_dtype}: None "
            "computes in the model's own dtype"
        )


def _check_run(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    checkpoint: Path | str | None,
    checkpoint_every: int,
) -> None:
    if not isinstance(checkpoint_every, Integral) or checkpoint_every < 0:
        raise ValueError(
            f"checkpoint_every must be at least 0, got {checkpoint_every}: 0 writes at the end"
        )
    if checkpoint_every and checkpoint is None:
        raise ValueError(
            f"checkpoint_every={checkpoint_every} needs a folder: pass checkpoint=PATH too"
        )
    if checkpoint is not None and Path(checkpoint).is_file():
        raise ValueError(f"checkpoint={str(checkpoint)!r} is a file: give the folder of the run")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(p) in held for p in model.parameters() if p.requires_grad):
        raise ValueError(
            "the optimizer holds no trainable parameter of this model, so training would change "
            "nothing: make the optimizer from the model that is trained, after its last change"
        )


def _start_run(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    checkpoint: Path | str | None,
    run: tuple,
    resume: bool,
) -> tuple[int, list[dict], Path | None]:
    """Return the first step to run, the records before it and the checkpoint they came from.

    `run` holds batches, schedule, number of steps and settings; what the checkpoint noted of the
    first micro-batch is put into the settings.
    """
    if checkpoint is None or not checkpoints_in(checkpoint):
        return 0, [], None
    if not resume:
        set_aside(checkpoint)
        return 0, [], None
    batches, schedule, n_steps, settings = run
    tensors, info, path = read_run(checkpoint)
    step, records, saved = info["step"], info["records"], info.get("settings", {})
    if step > n_steps:
        raise ValueError(
            f"{path} has {step} steps, more than n_steps={n_steps}: raise n_steps, use another "
            "checkpoint folder, or pass resume=False to train again"
        )
    check_run(tensors, info, model, optimizer, path)
    if step < n_steps:  # a finished run is read back, whatever would have come next
        same_run.check_settings(saved, settings, path)
        peak = optimizer.param_groups[0]["lr"]
        same_run.check_schedule(records, saved, schedule, peak, path)
        same_run.check_batches(saved, batches, path)
        settings["batches"] = saved.get("batches", {})
    restore_run(tensors, info, model, optimizer, path)
    return step, records, path


@contextmanager
def _training_mode(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.train()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def _stop_after_step() -> Iterator[threading.Event]:
    """Turn the first interrupt into an event, so that no update is cut in half.

    A second interrupt stops at once. Signals reach the main thread alone; in another thread, or
    where interrupts are ignored, nothing changes.
    """
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield stop
        return

    def on_interrupt(number, frame):
        if stop.is_set():
            before(number, frame)
        stop.set()

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _describe_failure(
    step: int, loss: float, norm: float, rate: float, last_good: Path | None
) -> str:
    kept = f"the last good checkpoint is {last_good}" if last_good else "there is no checkpoint"
    return (
        f"loss {loss} with gradient norm {norm} at step {step} (learning rate {rate:.3g}); the "
        f"weights are those before this step, and {kept}. Lower the learning rate, warm up "
        "longer, or look at the batch of this step"
    )


def _describe_stop(done: int, n_steps: int, last_good: Path | None) -> str:
    if last_good is None:
        return (
            f"stopped after {done} of {n_steps} steps; the model keeps what it learned, the "
            "error's .records hold the steps. Pass checkpoint=PATH to be able to go on next time"
        )
    return f"stopped after {done} of {n_steps} steps, saved in {last_good}; run again to go on"
