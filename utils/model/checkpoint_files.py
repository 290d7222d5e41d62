"""The files of a Hugging Face checkpoint, read with suspicion: JSON and safetensors.

Whatever is wrong with a file is said with its path. What the numbers and the tensors mean is the
matter of `pretrained.py`. Left out on purpose: pickled weights, which may run any code.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
POINTER = b"version https://git-lfs"  # how a file begins whose content git has not fetched


class UnsupportedCheckpoint(ValueError):
    """A checkpoint that the decoder can't represent; the message says what in it, and where."""


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Return the first `most` bytes of a file, or all; refuse what is no content."""
    try:
        with path.open("rb") as file:
            content = file.read(-1 if most is None else most)
    except OSError as error:
        raise UnsupportedCheckpoint(f"{path} can't be read: {error.strerror}") from None
    if content.startswith(POINTER):
        raise UnsupportedCheckpoint(
            f"{path} is a pointer of git LFS, not the file itself: run `git lfs pull` there"
        )
    return content


def read_json(path: Path) -> dict:
    """Return the object that a JSON file holds.

    Raises:
        UnsupportedCheckpoint: where it is no JSON object, says a thing twice, or holds a number
            that JSON does not know (NaN, Infinity).
    """

    def once(pairs: list[tuple[str, object]]) -> dict:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{twice!r} stands in it twice")
        return dict(pairs)

    def no_number(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    content = read_bytes(path)
    if content.startswith(b"\xef\xbb\xbf"):
        raise UnsupportedCheckpoint(f"{path} begins with a byte-order mark: save it without one")
    try:
        content = json.loads(
            content.decode("utf-8"), object_pairs_hook=once, parse_constant=no_number
        )
    except (ValueError, RecursionError) as error:
        raise UnsupportedCheckpoint(f"{path} is no JSON file that can be used: {error}") from None
    if not isinstance(content, dict):
        raise UnsupportedCheckpoint(
            f"{path} holds a {type(content).__name__}, expected an object with names"
        )
    return content


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint folder.

    Raises:
        FileNotFoundError: where there are no safetensors, or a shard is missing.
        UnsupportedCheckpoint: where a file is damaged, holds other tensors than the index says, or
            holds tensors that are no plain finite floats.
    """
    places = shards(folder)
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(places.values())) if places else [SINGLE]:
        path = folder / file
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} lacks {file}: the course reads safetensors alone, never pickled weights"
            )
        read_bytes(path, most=len(POINTER))
        try:
            found = load_file(path)
        except (SafetensorError, ValueError, KeyError) as error:  # a dtype that torch lacks
            raise UnsupportedCheckpoint(f"{path} is damaged: {error}; fetch it again") from None
        wanted = {name for name, place in places.items() if place == file}
        if places and set(found) != wanted:
            raise UnsupportedCheckpoint(
                f"{folder / INDEX} and {path} disagree on {sorted(set(found) ^ wanted)[:3]}: the "
                "index is of another checkpoint"
            )
        for name, tensor in found.items():
            check_tensor(path, name, tensor)
        tensors |= found
    return tensors


def shards(folder: Path) -> dict[str, str]:
    """Return the file that holds each tensor, by the index, or {} where there is none."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    places = read_json(path).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UnsupportedCheckpoint(f"{path} has no weight_map, which names each tensor's file")
    for file in places.values():
        if not isinstance(file, str) or not file or file != Path(file).name or "\\" in file:
            raise UnsupportedCheckpoint(f"{path} names {file!r}, which is outside the folder")
    if (folder / SINGLE).is_file() and set(places.values()) != {SINGLE}:
        raise UnsupportedCheckpoint(
            f"{folder} holds {SINGLE} and {INDEX}, which names other files: one of them is stale, "
            "remove it"
        )
    return places


def check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse a tensor that is no plain finite float."""
    if tensor.dtype not in FLOATS:
        raise UnsupportedCheckpoint(
            f"{path}: {name} is {tensor.dtype}: quantised weights are not read, and without their "
            "scales they mean nothing"
        )
    if tensor.numel() and not bool(torch.stack(torch.aminmax(tensor)).isfinite().all()):
        raise UnsupportedCheckpoint(f"{path}: {name} holds NaN or infinity")
