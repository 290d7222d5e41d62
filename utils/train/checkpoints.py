"""Checkpoints that survive a killed process, a full disk and a damaged file.

Two layers. `save_checkpoint` and `load_checkpoint` write and verify one file: tensors as
safetensors (never pickle), facts about them as JSON in its header, one sha256 over all. It is
written under another name, flushed to the disk and then renamed, so a file under its final name is
complete. `save_run` and `load_run` keep the checkpoints of a run, `step-00000100.safetensors`:
weights, optimizer state, random number generators, records and what decides the run
(`same_run.py`). The newest and the one before it are kept.

Left out on purpose: sharded checkpoints, and writing while training goes on.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from utils.train.optimizer_state import check_optimizer, restore_optimizer, split_optimizer
from utils.train.same_run import model_facts, plain_name, refuse_difference

UNFINISHED = ".unfinished-"  # a file that is being written, or whose writer was killed


class CorruptCheckpoint(RuntimeError):
    """A checkpoint is truncated or was changed; says what to do."""


class Checkpoint(NamedTuple):
    """What `load_run` read: the number of finished steps, the records, the file, the settings."""

    step: int
    records: list[dict]
    path: Path
    settings: dict


def save_checkpoint(path: Path | str, tensors: dict[str, Tensor], info: dict) -> None:
    """Write tensors and facts about them to one file, which appears whole or not at all.

    The bytes go to another name beside `path`, are flushed to the disk, and get their final name by
    `os.replace`. Until then, a file that was there under that name stays as it is.

    Args:
        path: the file; its folder must exist.
        tensors: any shapes, and any dtypes that safetensors has, by name, views such as a
            transposed matrix and tensors with a gradient too; no two may share memory.
        info: what must fit into JSON: the step, settings, records.

    Raises:
        OSError: where the disk is full or the folder can't be written; no part of a file stays.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/new", {"weight": torch.ones(2)}, {"step": 3})
    ...     load_checkpoint(f"{folder}/new")
    ({'weight': tensor([1., 1.])}, {'step': 3})

    Source: Pillai et al. 2014, "All File Systems Are Not Created Equal", section 2 (write to
    another file, flush, rename).
    """
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(info)
    data = save(tensors, metadata={"info": text, "sha256": content_hash(tensors, text)})
    unfinished = path.with_name(UNFINISHED + path.name)
    try:
        write_flushed(unfinished, data)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    flush_folder(path.parent)


def load_checkpoint(path: Path | str) -> tuple[dict[str, Tensor], dict]:
    """Return the tensors and the facts that `save_checkpoint` wrote, after verifying them.

    Args:
        path: the file.

    Returns:
        tensors: by name, on the CPU; info: as it was given.

    Raises:
        FileNotFoundError: where there is no such file.
        CorruptCheckpoint: where it is truncated, was changed, or is no checkpoint.
    """
    data = Path(path).read_bytes()
    try:
        tensors, metadata = load(data), read_metadata(data)
    except (SafetensorError, ValueError) as error:
        raise CorruptCheckpoint(f"{path} is damaged: {error} ({len(data)} bytes)") from error
    text = metadata.get("info", "")
    if metadata.get("sha256") != content_hash(tensors, text):
        raise CorruptCheckpoint(
            f"{path} is damaged: its content does not have the sha256 that its header names"
        )
    return tensors, json.loads(text)


def content_hash(tensors: dict[str, Tensor], text: str) -> str:
    """Return a sha256 over names, dtypes, shapes and bytes of tensors, and a text.

    The order of the names does not matter; any other change does.

    >>> ones = {"weight": torch.ones(2)}
    >>> content_hash(ones, "") == content_hash({"weight": torch.ones(2)}, "")
    True
    >>> content_hash(ones, "") == content_hash({"weight": torch.ones(2, 1)}, "")
    False
    """
    sha = hashlib.sha256(json.dumps(text).encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        sha.update(raw.numpy())
    return sha.hexdigest()


def read_metadata(data: bytes) -> dict[str, str]:
    """Return what stands in the header of a safetensors file beside the tensors: texts by name.

    Args:
        data: the whole file: 8 bytes with the header's length, the header as JSON, the tensors.

    Raises:
        ValueError: where the header is no JSON.

    >>> read_metadata(save({"weight": torch.ones(1)}, metadata={"info": "{}"}))
    {'info': '{}'}
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return header.get("__metadata__", {})


def write_flushed(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk (Windows has no such call)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def save_run(
    folder: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    records: Sequence[dict] = (),
    settings: dict | None = None,
) -> Path:
    """Write model, optimizer, random state and records to a new checkpoint in `folder`.

    The checkpoint before it is kept, older ones go, and none goes before the new one is complete.

    Args:
        folder: the run's folder, made if missing; one run and one writer at a time.
        model: parameters and buffers are saved, tied ones once, under the same names whether or not
            torch.compile wraps it; its config and its modules' settings for comparison.
        optimizer: its state is saved with the step counters, its settings for comparison.
        step: number of finished steps.
        records: what `train` has recorded so far; must fit into JSON.
        settings: what else decides the run (`run_settings`); must fit into JSON.

    Returns:
        The file of the new checkpoint.

    Raises:
        OSError: where the disk is full or the folder can't be written; earlier checkpoints stay.

    >>> import tempfile; model = nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_run(folder, model, torch.optim.SGD(model.parameters()), 3).name
    'step-00000003.safetensors'
    """
    folder = Path(folder)
    slots, numbers = split_optimizer(optimizer)
    parts = {"model": _unique_tensors(model), "optimizer": slots, "random": _random_state()}
    tensors = {f"{part}/{name}": t for part, named in parts.items() for name, t in named.items()}
    info = {"step": step, "optimizer": numbers, "records": list(records)}
    info |= {"model": model_facts(model), "settings": settings or {}}
    path = folder / f"step-{step:08d}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove(folder.glob(UNFINISHED + "*"))
        save_checkpoint(path, tensors, info)
    except OSError as error:
        n_bytes = sum(tensor.nbytes for tensor in tensors.values())
        raise _explain(error, folder, n_bytes) from error
    others = [other for other in checkpoints_in(folder) if other != path]
    older = [other for other in others if other.name < path.name]
    _remove(other for other in others if other not in older[-1:])
    return path


def load_run(
    folder: Path | str, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> Checkpoint:
    """Restore the newest good checkpoint into model, optimizer and torch's random generators.

    A damaged one is passed over with a warning, where the one before it is good. All is verified
    before the first tensor is changed. Without `optimizer`, the model alone is restored, and
    another configuration of it gets a warning.

    Raises:
        FileNotFoundError: where `folder` holds no checkpoint.
        CorruptCheckpoint: where each checkpoint in it is damaged.
        ValueError: where a checkpoint was written by another model, by one of another
            configuration, or with another optimizer or other settings of it.

    >>> import tempfile; model = nn.Linear(2, 1); optimizer = torch.optim.SGD(model.parameters())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_run(folder, model, optimizer, 3, [{"step": 2, "loss": 0.5}])
    ...     load_run(folder, model, optimizer)[:2]
    (3, [{'step': 2, 'loss': 0.5}])
    """
    tensors, info, path = read_run(folder)
    check_run(tensors, info, model, optimizer, path)
    return restore_run(tensors, info, model, optimizer, path)


def read_run(folder: Path | str) -> tuple[dict[str, Tensor], dict, Path]:
    """Return tensors, facts and file of the newest good checkpoint; raises as `load_run` does."""
    paths = checkpoints_in(folder)
    if not paths:
        raise FileNotFoundError(f"no checkpoint in {folder}: save one first, or correct the path")
    damage = []
    for path in reversed(paths):
        try:
            tensors, info = load_checkpoint(path)
        except CorruptCheckpoint as error:
            damage.append(str(error))
            continue
        if damage:
            warnings.warn(f"{damage[0]}; going on from {path.name} instead", stacklevel=3)
        return tensors, info, path
    raise CorruptCheckpoint(
        f"{'; '.join(damage)}; no good checkpoint is left: "
        f"delete {folder} (or pass resume=False) to train again from the start"
    )


def checkpoints_in(folder: Path | str) -> list[Path]:
    """Return the complete checkpoints in `folder`, oldest first; none where it is missing.

    >>> checkpoints_in("no/such/folder")
    []
    """
    return sorted(Path(folder).glob("step-????????.safetensors"))  # the name holds the step


def set_aside(folder: Path | str) -> Path | None:
    """Rename a run's folder to NAME.old, so that a new run starts empty and nothing is lost.

    An earlier NAME.old is deleted. Returns the new place, or None where there was no checkpoint.
    """
    folder = Path(folder)
    if not checkpoints_in(folder):
        return None
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    os.replace(folder, old)
    return old


def check_run(
    tensors: dict[str, Tensor],
    info: dict,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    path: Path,
) -> None:
    """Raise a ValueError where model or optimizer are not those of a checkpoint; change nothing."""
    weights = _model_part(tensors)
    own = _unique_tensors(model)
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    saved = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if shapes != saved:
        names = sorted(name for name in shapes | saved if shapes.get(name) != saved.get(name))
        raise ValueError(
            f"{path} was written by another model: {names[0]} is {saved.get(names[0])} there and "
            f"{shapes.get(names[0])} here ({len(names)} tensors differ); use another checkpoint "
            "folder, or pass resume=False"
        )
    facts, there = model_facts(model), info.get("model")  # None in files of an earlier edition
    if optimizer is not None:
        if there is not None:
            refuse_difference(there["config"], facts["config"], " in the model's config", path)
            refuse_difference(there["modules"], facts["modules"], " in the model", path)
        check_optimizer(optimizer, info["optimizer"], path)
    elif there is not None and there["config"] != facts["config"]:
        try:
            refuse_difference(there["config"], facts["config"], " in the model's config", path)
        except ValueError as error:  # the weights may be wanted in another model, knowingly
            warnings.warn(str(error), stacklevel=3)


def restore_run(
    tensors: dict[str, Tensor],
    info: dict,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    path: Path,
) -> Checkpoint:
    """Put tensors that `check_run` has let pass into model, optimizer and generators."""
    weights = _model_part(tensors)
    if optimizer is not None:
        restore_optimizer(optimizer, _part(tensors, "optimizer"), info["optimizer"])
    with torch.no_grad():
        for name, tensor in _unique_tensors(model).items():
            tensor.copy_(weights[name])
    if optimizer is not None:  # with the model alone, there is no run to continue
        random = _part(tensors, "random")
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"])
    return Checkpoint(info["step"], info["records"], path, info.get("settings", {}))


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the tensors of one part of a run's checkpoint, under their own names."""
    prefix = part + "/"
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def _model_part(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the model's tensors of a checkpoint, by the names they have without torch.compile."""
    return {plain_name(name): tensor for name, tensor in _part(tensors, "model").items()}


def _unique_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's tensors by name, each shared (tied) tensor under its first name alone."""
    unique, seen = {}, set()
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() == 0 or key not in seen:
            unique[plain_name(name)] = tensor
            seen.add(key)
    return unique


def _random_state() -> dict[str, Tensor]:
    """Return the state of torch's global generators, as byte tensors."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _remove(paths) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _explain(error: OSError, folder: Path, n_bytes: int) -> OSError:
    """Return an error of the same kind that says what is kept and what to do."""
    full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
    reason = "the disk is full" if full else (error.strerror or str(error))
    kept = checkpoints_in(folder)
    return OSError(
        error.errno,
        f"checkpoint of {n_bytes / 1e6:.1f} MB not written, {reason}; kept: "
        f"{kept[-1].name if kept else 'none before it'}. Free some space or choose another "
        "folder, then run again to go on from there",
        str(folder),
    )
