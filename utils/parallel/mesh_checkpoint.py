"""Checkpoints of a decoder on a mesh, which any other mesh reads, and one process.

Where a rank's numbers lie in the whole decoder is not written down a second time: a decoder whose
weights are their own places is cut as the real one is, and what the rank then holds says it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from utils.model.config import TransformerConfig
from utils.parallel.hybrid import Hybrid
from utils.parallel.reshard import STATE, Box, Piece, load_boxes, save_pieces, with_state

BITS = 32  # a place in a tensor; the tensor's number stands above


class Place(NamedTuple):
    """Which tensor of the whole decoder a weight is a part of: its name, shape and boxes."""

    name: str
    shape: tuple[int, ...]
    boxes: list[Box]


def boxes_of(index: Tensor, shape: tuple[int, ...]) -> list[Box]:
    """Return the boxes of a tensor whose entries are their own places in a whole one.

    Rows that are neighbours in the whole make a box; the columns of all rows are the same.

    >>> boxes_of(torch.tensor([[1, 2], [4, 5], [10, 11]]), (4, 3))
    [Box(offset=(0, 1), size=(2, 2)), Box(offset=(3, 1), size=(1, 2))]
    """
    width = shape[1] if len(shape) == 2 else 1
    first = index[:, 0] if index.dim() == 2 else index
    rows, column = (first // width).tolist(), int(first[0]) % width
    starts = [k for k, row in enumerate(rows) if k == 0 or row != rows[k - 1] + 1]
    ends = [*starts[1:], len(rows)]
    rest = [(column, index.shape[1])] if index.dim() == 2 else []
    return [
        Box((rows[a], *(o for o, _ in rest)), (b - a, *(n for _, n in rest)))
        for a, b in zip(starts, ends, strict=True)
    ]


def places_of(
    hybrid: Hybrid, config: TransformerConfig, shapes: dict[str, tuple[int, ...]]
) -> dict[str, Place]:
    """Return for each weight of this rank's part where it comes from.

    Args:
        hybrid: the rank's part.
        config: of the whole decoder.
        shapes: of the whole decoder's weights, by name.
    """
    names = list(shapes)
    coded = {
        name: ((k << BITS) + torch.arange(torch.Size(shapes[name]).numel()))
        .double()  # exact up to 2 ** 53
        .reshape(shapes[name])
        for k, name in enumerate(names)
    }
    found = {}
    for own, weight in hybrid.part_of(config, coded).named_parameters():
        codes = weight.detach().long()
        name = names[int(codes.flatten()[0]) >> BITS]
        shape = tuple(shapes[name])
        found[own] = Place(name, shape, boxes_of(codes & ((1 << BITS) - 1), shape))
    return found


def save_mesh(
    folder: Path | str,
    hybrid: Hybrid,
    places: dict[str, Place],
    optimizer: torch.optim.Optimizer,
    info: dict,
) -> Path:
    """Write weights and AdamW's state, all ranks together; the first replica writes them.

    Raises:
        OSError, RuntimeError: see `save_pieces`.
    """
    pieces: dict[str, list[Piece]] = {}
    for own, weight in hybrid.part.named_parameters() if hybrid.mesh.dp == 0 else ():
        place = places[own]
        held = [weight, *(optimizer.state[weight][key] for key in STATE)]
        for name, tensor in zip(with_state(place.name), held, strict=True):
            parts = tensor.detach().split([box.size[0] for box in place.boxes])
            pieces[name] = [
                Piece(part, box.offset, place.shape)
                for part, box in zip(parts, place.boxes, strict=True)
            ]
    rank, n_ranks = dist.get_rank(), dist.get_world_size()
    return save_pieces(folder, rank, n_ranks, pieces, info, dist.barrier)


def load_mesh(
    folder: Path | str,
    hybrid: Hybrid,
    places: dict[str, Place],
    optimizer: torch.optim.Optimizer,
) -> dict:
    """Read this rank's part of a checkpoint of any mesh; return what was saved beside it.

    Raises:
        KeyError, CorruptCheckpoint: see `load_boxes`.
    """
    wanted = {part: place.boxes for place in places.values() for part in with_state(place.name)}
    tensors, info = load_boxes(folder, wanted)
    with torch.no_grad():
        for own, weight in hybrid.part.named_parameters():
            name = places[own].name
            weight.copy_(torch.cat(tensors[name]))
            state = {key: torch.cat(tensors[f"{name}/{key}"]) for key in STATE}
            optimizer.state[weight] = {"step": torch.tensor(float(info["step"])), **state}
    return info
