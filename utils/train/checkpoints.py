"""Checkpoints that survive a killed process, a full disk and a damaged file.

A checkpoint is a folder `step-00000100-1a2b3c4d` inside the run's folder: weights and optimizer
state as safetensors (never pickle), the state of torch's random number generators, the records so
far, and a manifest with the sha256 of each file. It is written under another name, flushed to the
disk and then renamed, so a folder under its final name is complete; the name ends with the
manifest's own hash. The newest checkpoint and the one before it are kept.

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
from safetensors.torch import load, save
from torch import Tensor, nn

MANIFEST = "manifest.json"
UNFINISHED = ".unfinished-"  # a checkpoint that is being written, or whose writer was killed


class CorruptCheckpoint(RuntimeError):
    """A checkpoint's files are missing, truncated or changed; says what to do."""


class Checkpoint(NamedTuple):
    """What `load_checkpoint` read: the number of finished steps, the records, the folder."""

    step: int
    records: list[dict]
    path: Path


def save_checkpoint(
    folder: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    records: Sequence[dict] = (),
) -> Path:
    """Write model, optimizer, random state and records to a new folder inside `folder`.

    The checkpoint before it is kept, older ones go, and none goes before the new one is complete.

    Args:
        folder: the run's folder, made if missing; one run and one writer at a time.
        model: parameters and buffers are saved, tied ones once.
        optimizer: its state is saved with the step counters, its settings for comparison.
        step: number of finished steps.
        records: what `train` has recorded so far; must fit into JSON.

    Returns:
        The folder of the new checkpoint.

    Raises:
        OSError: where the disk is full or the folder can't be written; earlier checkpoints stay.

    >>> import tempfile; model = nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(folder, model, torch.optim.SGD(model.parameters()), 3).name[:13]
    'step-00000003'
    """
    folder = Path(folder)
    slots, numbers = _split_optimizer(optimizer)
    files = {
        "model.safetensors": save(_contiguous(_unique_tensors(model))),
        "optimizer.safetensors": save(_contiguous(slots)),
        "random.safetensors": save(_random_state()),
        "records.json": json.dumps(list(records)).encode(),
    }
    manifest = {
        "step": step,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "optimizer": numbers,
    }
    files[MANIFEST] = json.dumps(manifest, indent=1).encode()
    target = folder / f"step-{step:08d}-{hashlib.sha256(files[MANIFEST]).hexdigest()[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove(folder.glob(UNFINISHED + "*"))
        new = folder / f"{UNFINISHED}{target.name}"
        new.mkdir()
        try:
            for name, data in files.items():
                _write(new / name, data)
            _flush_folder(new)
            if target.exists() and not _is_good(target):
                _remove([target])
            if not target.exists():  # the same name has the same content
                os.replace(new, target)
            _flush_folder(folder)
        finally:
            _remove([new])
    except OSError as error:
        n_bytes = sum(len(data) for data in files.values())
        raise _explain(error, folder, n_bytes) from error
    others = [path for path in checkpoints_in(folder) if path != target]
    older = [path for path in others if _step_of(path) < step]
    _remove(path for path in others if path not in older[-1:])
    return target


def load_checkpoint(
    folder: Path | str, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> Checkpoint:
    """Restore the newest good checkpoint into model, optimizer and torch's random generators.

    A damaged one is passed over with a warning, where the one before it is good. All files are
    verified before the first tensor is changed. Without `optimizer`, the model alone is restored.

    Raises:
        FileNotFoundError: where `folder` holds no checkpoint.
        CorruptCheckpoint: where each checkpoint in it is damaged.
        ValueError: where a checkpoint was written by another model or other optimizer settings.

    >>> import tempfile; model = nn.Linear(2, 1); optimizer = torch.optim.SGD(model.parameters())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_checkpoint(folder, model, optimizer, 3, [{"step": 2, "loss": 0.5}])
    ...     load_checkpoint(folder, model, optimizer)[:2]
    (3, [{'step': 2, 'loss': 0.5}])
    """
    paths = checkpoints_in(folder)
    if not paths:
        raise FileNotFoundError(f"no checkpoint in {folder}: save one first, or correct the path")
    damage = []
    for path in reversed(paths):
        try:
            files, manifest = _read_verified(path)
        except CorruptCheckpoint as error:
            damage.append(str(error))
            continue
        if damage:
            warnings.warn(f"{damage[0]}; going on from {path.name} instead", stacklevel=2)
        _restore(files, manifest, model, optimizer, path)
        return Checkpoint(manifest["step"], json.loads(files["records.json"]), path)
    raise CorruptCheckpoint(
        f"{'; '.join(damage)}; no good checkpoint is left: "
        f"delete {folder} (or pass resume=False) to train again from the start"
    )


def checkpoints_in(folder: Path | str) -> list[Path]:
    """Return the complete checkpoints in `folder`, oldest first; none where it is missing.

    >>> checkpoints_in("no/such/folder")
    []
    """
    paths = Path(folder).glob("step-????????-????????")
    return sorted(path for path in paths if path.is_dir())  # the name begins with the step


def set_aside(folder: Path | str) -> Path | None:
    """Rename a run's folder to NAME.old, so that a new run starts empty and nothing is lost.

    An earlier NAME.old is deleted. Returns the new place, or None where there was no checkpoint.
    """
    folder = Path(folder)
    if not checkpoints_in(folder):
        return None
    old = folder.with_name(folder.name + ".old")
    _remove([old])
    os.replace(folder, old)
    return old


def _restore(
    files: dict[str, bytes],
    manifest: dict,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    path: Path,
) -> None:
    """Put verified files into model, optimizer and generators; compares all before it changes."""
    weights = load(files["model.safetensors"])
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
    if optimizer is not None:
        _restore_optimizer(optimizer, load(files["optimizer.safetensors"]), manifest, path)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])
    if optimizer is not None:  # with the model alone, there is no run to continue
        random = load(files["random.safetensors"])
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"])


def _split_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict]:
    """Return the optimizer's tensors under flat names, and its settings and plain numbers."""
    state = optimizer.state_dict()
    tensors, values = {}, {}
    for index, slots in state["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            elif value is None or isinstance(value, bool | int | float):
                values[f"{index}.{name}"] = value
            else:
                raise TypeError(
                    f"optimizer state {name!r} is a {type(value).__name__}; checkpoints hold "
                    "tensors and numbers: use an optimizer whose state is made of these"
                )
    # Through JSON, so that what is compared on loading has the types that JSON gives back.
    return tensors, json.loads(json.dumps({"values": values, "groups": state["param_groups"]}))


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], manifest: dict, path: Path
) -> None:
    """Load the state of the optimizer, or raise where its settings are not those of the run."""
    numbers = manifest["optimizer"]
    groups = _split_optimizer(optimizer)[1]["groups"]
    for mine, saved in zip(groups, numbers["groups"], strict=False):
        names = [name for name in mine | saved if mine.get(name) != saved.get(name)]
        if names:
            name = names[0]
            raise ValueError(
                f"{path} was written with {name}={saved.get(name)} in the optimizer, here it is "
                f"{mine.get(name)}: use the same setting to resume, another checkpoint folder, or "
                "resume=False to train again"
            )
    if len(groups) != len(numbers["groups"]):
        raise ValueError(
            f"{path} was written with {len(numbers['groups'])} parameter groups, the optimizer "
            f"has {len(groups)}: use the same optimizer, or resume=False to train again"
        )
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict] = {}
    for flat_name, value in {**tensors, **numbers["values"]}.items():
        index, name = flat_name.split(".", 1)
        like = parameters[int(index)]
        if isinstance(value, Tensor) and value.shape == like.shape:
            # Fused updates walk raw memory: the state must lie as its parameter lies.
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    own_groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": own_groups})


def _unique_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's tensors by name, each shared (tied) tensor under its first name alone."""
    unique, seen = {}, set()
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() == 0 or key not in seen:
            unique[name] = tensor
            seen.add(key)
    return unique


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _random_state() -> dict[str, Tensor]:
    """Return the state of torch's global generators, as byte tensors."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _read_verified(path: Path) -> tuple[dict[str, bytes], dict]:
    """Return the files and the manifest of a checkpoint, or raise CorruptCheckpoint."""
    try:
        raw = (path / MANIFEST).read_bytes()
        if hashlib.sha256(raw).hexdigest()[:8] != path.name[-8:]:
            raise CorruptCheckpoint(f"{path / MANIFEST} is damaged (its hash is not in the name)")
        manifest = json.loads(raw)
        files = {name: (path / name).read_bytes() for name in manifest["files"]}
    except FileNotFoundError as error:
        raise CorruptCheckpoint(f"{error.filename} is missing") from error
    for name, digest in manifest["files"].items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise CorruptCheckpoint(
                f"{path / name} is damaged: {len(files[name])} bytes whose sha256 is not the one "
                "in the manifest"
            )
    return files, manifest


def _is_good(path: Path) -> bool:
    try:
        _read_verified(path)
    except CorruptCheckpoint:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk (Windows has no such call)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(folders) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _step_of(path: Path) -> int:
    return int(path.name.split("-")[1])


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
