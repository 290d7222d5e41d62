"""Sharded checkpoints that any number of ranks can read: pieces of tensors, each with its place.

Every rank writes one file with the pieces that it holds and says where in the whole tensor each one
lies. An index, written last, makes the folder a checkpoint. A rank of any other layout asks for the
boxes that it needs; they are put together from the pieces that touch them. So a checkpoint of 2x2x2
ranks loads on 4x1x2, and on one process.

Source: PyTorch's distributed checkpoint, whose idea this is; the files here are safetensors with a
hash, and nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from utils.train.checkpoints import CorruptCheckpoint, load_checkpoint, save_checkpoint

INDEX = "index.json"
PARTIAL = ".partial"
STATE = ("exp_avg", "exp_avg_sq")  # of AdamW, for each weight; its step is that of the checkpoint


class Box(NamedTuple):
    """A part of a whole tensor: its first index and its size along each axis."""

    offset: tuple[int, ...]
    size: tuple[int, ...]


class Piece(NamedTuple):
    """What a rank holds of a tensor: the values, where they lie, and the whole tensor's shape."""

    values: Tensor
    offset: tuple[int, ...]
    shape: tuple[int, ...]


def chunk(length: int, n_parts: int, part: int) -> tuple[int, int]:
    """Return (first, size) of one of n parts of an axis, as `torch.chunk` cuts it.

    Parts have ceil(length / n) each, as long as there is something left: the last may be smaller,
    or empty.

    Raises:
        ValueError: for a part that is none.

    >>> [chunk(10, 4, k) for k in range(4)]
    [(0, 3), (3, 3), (6, 3), (9, 1)]
    >>> [chunk(2, 4, k) for k in range(4)]
    [(0, 1), (1, 1), (2, 0), (2, 0)]
    """
    if not 0 <= part < n_parts:
        raise ValueError(f"there is no part {part} of {n_parts}")
    step = -(-length // n_parts)
    first = min(part * step, length)
    return first, min(step, length - first)


def cut(whole: Tensor, box: Box) -> Tensor:
    """Return the part of a tensor that a box names.

    >>> cut(torch.arange(6).reshape(2, 3), Box((0, 1), (2, 2))).tolist()
    [[1, 2], [4, 5]]
    """
    return whole[tuple(slice(o, o + n) for o, n in zip(box.offset, box.size, strict=True))]


def overlap(one: Box, other: Box) -> Box | None:
    """Return what two boxes share, or None.

    >>> overlap(Box((0,), (4,)), Box((3,), (4,)))
    Box(offset=(3,), size=(1,))
    >>> overlap(Box((0,), (2,)), Box((2,), (2,))) is None
    True
    """
    first = [max(a, b) for a, b in zip(one.offset, other.offset, strict=True)]
    ends = zip(one.offset, one.size, other.offset, other.size, strict=True)
    last = [min(a + n, b + m) for a, n, b, m in ends]
    size = tuple(end - start for start, end in zip(first, last, strict=True))
    return Box(tuple(first), size) if all(n > 0 for n in size) else None


def with_state(name: str) -> tuple[str, ...]:
    """Return the names under which a weight and AdamW's state of it are kept.

    >>> with_state("norm.weight")
    ('norm.weight', 'norm.weight/exp_avg', 'norm.weight/exp_avg_sq')
    """
    return (name, *(f"{name}/{key}" for key in STATE))


def save_pieces(
    folder: Path | str,
    rank: int,
    n_ranks: int,
    pieces: dict[str, list[Piece]],
    info: dict,
    wait: Callable[[], None] = lambda: None,
) -> Path:
    """Write what this rank holds; after all have, rank 0 makes the folder a checkpoint.

    Args:
        folder: the checkpoint; until it is whole its name ends in `.partial`.
        rank, n_ranks: who writes, and how many do.
        pieces: by the name of the whole tensor; a rank may hold several of one, and ranks the same.
        info: what must fit into JSON, the same on all ranks: the step above all.
        wait: returns when all ranks have called it (`dist.barrier`).

    Raises:
        OSError: where the disk is full; the folder stays partial.
        RuntimeError: on rank 0, where another rank was at another step, or a file is missing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     whole = torch.arange(4.0)
    ...     for r in (1, 0):
    ...         part = Piece(whole[2 * r : 2 * r + 2], (2 * r,), (4,))
    ...         folder = save_pieces(f"{place}/step-3", r, 2, {"w": [part]}, {"step": 3})
    ...     load_boxes(folder, {"w": [Box((1,), (2,))]})
    ({'w': [tensor([1., 2.])]}, {'step': 3})
    """
    folder = Path(folder)
    partial = folder.with_name(folder.name + PARTIAL)
    partial.mkdir(parents=True, exist_ok=True)
    places = {
        name: [[list(p.offset), list(p.values.shape), list(p.shape)] for p in parts]
        for name, parts in pieces.items()
    }
    tensors = {
        key_of(name, k): part.values.detach().clone()
        for name, parts in pieces.items()
        for k, part in enumerate(parts)
    }
    save_checkpoint(
        partial / file_of(rank), tensors, {"info": info, "places": places, "n_ranks": n_ranks}
    )
    wait()
    if rank == 0:
        write_index(partial, n_ranks, info)
        if folder.exists():  # of a run that was killed between two names
            shutil.rmtree(folder)
        os.replace(partial, folder)
    wait()
    return folder


def file_of(rank: int) -> str:
    """Return the name of a rank's file."""
    return f"rank-{rank:05d}.safetensors"


def key_of(name: str, k: int) -> str:
    """Return the name in a rank's file of the k-th piece that it holds of a tensor.

    >>> key_of("embedding.weight", 0)
    'embedding.weight#0'
    """
    return f"{name}#{k}"


def write_index(partial: Path, n_ranks: int, info: dict) -> None:
    """Write which file holds which piece of which tensor.

    Raises:
        RuntimeError: where a file is missing or was written at another step.
    """
    index: dict[str, dict] = {}
    for rank in range(n_ranks):
        path = partial / file_of(rank)
        if not path.exists():
            raise RuntimeError(f"rank {rank} has written nothing to {partial}")
        _, told = load_checkpoint(path)
        if told["info"] != info or told["n_ranks"] != n_ranks:
            raise RuntimeError(
                f"rank {rank} saved {told['info']} of {told['n_ranks']} ranks and rank 0 {info} of "
                f"{n_ranks}: all ranks must save at the same step"
            )
        for name, parts in told["places"].items():
            for k, (offset, size, shape) in enumerate(parts):
                entry = index.setdefault(name, {"shape": shape, "pieces": []})
                entry["pieces"].append([path.name, key_of(name, k), offset, size])
    text = json.dumps({"info": info, "n_ranks": n_ranks, "tensors": index}, indent=1)
    (partial / INDEX).write_text(text, encoding="utf-8")


def read_index(folder: Path | str) -> dict:
    """Return the index of a checkpoint: info, n_ranks, and for each tensor shape and pieces.

    Raises:
        FileNotFoundError: where the folder is no checkpoint.
        CorruptCheckpoint: where the index can't be read.
    """
    path = Path(folder) / INDEX
    if not path.exists():
        raise FileNotFoundError(f"{folder} is no checkpoint: it has no {INDEX}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptCheckpoint(f"{path} is damaged: {error}") from error


def load_boxes(
    folder: Path | str, wanted: dict[str, list[Box]]
) -> tuple[dict[str, list[Tensor]], dict]:
    """Return parts of a checkpoint's tensors, and what was saved beside them.

    Args:
        folder: a checkpoint of any number of ranks.
        wanted: parts of each tensor, by name.

    Raises:
        KeyError: for a tensor that the checkpoint does not hold.
        CorruptCheckpoint: where a rank's file is missing or damaged, or pieces leave a gap.
    """
    folder = Path(folder)
    index = read_index(folder)
    files: dict[str, dict[str, Tensor]] = {}
    found: dict[str, list[Tensor]] = {}
    for name, boxes in wanted.items():
        if name not in index["tensors"]:
            raise KeyError(f"{folder} holds no tensor {name!r}")
        pieces = index["tensors"][name]["pieces"]
        found[name] = [assemble(folder, name, pieces, box, files) for box in boxes]
    return found, index["info"]


def assemble(folder: Path, name: str, pieces: list, box: Box, files: dict) -> Tensor:
    """Return one part of a tensor from the pieces that touch it.

    Args:
        folder: the checkpoint.
        name: of the tensor.
        pieces: file, key in it, offset and size of each piece; equal ones are copies.
        box: the part.
        files: those that were read already, by name; more are added.

    Raises:
        CorruptCheckpoint: see `load_boxes`.
    """
    part, covered = torch.empty(box.size), 0
    done: set[Box] = set()
    for file, key, offset, size in pieces:
        held = Box(tuple(offset), tuple(size))
        shared = overlap(held, box)
        if shared is None or held in done:
            continue
        if file not in files:
            files[file] = read_file(folder / file)
        values = files[file][key]
        part = part if done else part.to(values.dtype)
        done.add(held)
        cut(part, moved(shared, box)).copy_(cut(values, moved(shared, held)))
        covered += torch.Size(shared.size).numel()
    if covered < part.numel():
        raise CorruptCheckpoint(f"{folder} lacks a piece of {name!r} inside {box}")
    return part


def read_file(path: Path) -> dict[str, Tensor]:
    """Return the pieces of one rank.

    Raises:
        CorruptCheckpoint: where the file is missing or damaged.
    """
    if not path.exists():
        raise CorruptCheckpoint(f"{path} is missing: the checkpoint can't be read without it")
    return load_checkpoint(path)[0]


def moved(box: Box, origin: Box) -> Box:
    """Return a box as seen from the first index of another.

    >>> moved(Box((3,), (1,)), Box((2,), (4,)))
    Box(offset=(1,), size=(1,))
    """
    offset = tuple(a - b for a, b in zip(box.offset, origin.offset, strict=True))
    return Box(offset, box.size)


def whole(folder: Path | str) -> tuple[dict[str, Tensor], dict]:
    """Return all tensors of a checkpoint whole, for one process."""
    tensors = read_index(folder)["tensors"]
    boxes = {n: [Box((0,) * len(t["shape"]), tuple(t["shape"]))] for n, t in tensors.items()}
    found, info = load_boxes(folder, boxes)
    return {name: parts[0] for name, parts in found.items()}, info


def checkpoints(folder: Path | str) -> list[Path]:
    """Return the whole checkpoints in a folder, the newest step last; partial ones are left out."""
    found = [path.parent for path in Path(folder).glob(f"*/{INDEX}")]
    found = [path for path in found if not path.name.endswith(PARTIAL)]
    return sorted(found, key=lambda path: read_index(path)["info"].get("step", 0))
