"""Meshes: which rank is where, when several kinds of parallelism share the ranks.

A mesh of pipeline, data and tensor parallel is a box of ranks, numbered with tensor parallel
running fastest: neighbours in number share a matrix, since they talk most and should share a node.
`group_members` says who talks with whom along an axis; `make_groups` opens the groups.

Source: Narayanan et al. 2021, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch.distributed as dist

AXES = ("pp", "dp", "tp")


def coordinates(rank: int, sizes: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return where a rank is: its pipeline stage, its replica, its part of each matrix.

    Args:
        rank: from 0.
        sizes: of pipeline, data and tensor parallel.

    Raises:
        ValueError: for a rank outside the mesh.

    >>> [coordinates(rank, (2, 2, 2)) for rank in (0, 1, 2, 4)]
    [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    """
    n_pp, n_dp, n_tp = sizes
    if not 0 <= rank < n_pp * n_dp * n_tp:
        raise ValueError(f"there is no rank {rank} in a mesh of {n_pp} x {n_dp} x {n_tp}")
    rest, tp = divmod(rank, n_tp)
    pp, dp = divmod(rest, n_dp)
    return pp, dp, tp


def group_members(sizes: tuple[int, int, int], axis: str) -> list[list[int]]:
    """Return the groups of ranks that differ along one axis alone.

    Args:
        sizes: of pipeline, data and tensor parallel.
        axis: "pp", "dp" or "tp".

    >>> group_members((2, 2, 2), "tp"), group_members((2, 2, 2), "pp")
    ([[0, 1], [2, 3], [4, 5], [6, 7]], [[0, 4], [1, 5], [2, 6], [3, 7]])
    """
    place = AXES.index(axis)
    found: dict[tuple[int, ...], list[int]] = {}
    for rank, where in enumerate(product(*(range(n) for n in sizes))):
        others = where[:place] + where[place + 1 :]
        found.setdefault(others, []).append(rank)
    return list(found.values())


@dataclass(frozen=True)
class Mesh:
    """A rank's place in a mesh, and its group along each axis."""

    sizes: tuple[int, int, int]
    pp: int
    dp: int
    tp: int
    groups: dict[str, dist.ProcessGroup]


def make_groups(sizes: tuple[int, int, int]) -> Mesh:
    """Open the groups of a mesh over all ranks; return this rank's place and groups.

    Every rank opens every group, in the same order, also those that it is no member of: that is
    how `torch.distributed` gives a group its name.

    Raises:
        ValueError: where the mesh has another number of ranks than there are.
    """
    n_ranks = sizes[0] * sizes[1] * sizes[2]
    if n_ranks != dist.get_world_size():
        raise ValueError(
            f"a mesh of {sizes[0]} x {sizes[1]} x {sizes[2]} needs {n_ranks} ranks, there are "
            f"{dist.get_world_size()}"
        )
    rank, groups = dist.get_rank(), {}
    for axis in AXES:
        for members in group_members(sizes, axis):
            group = dist.new_group(members)
            if rank in members:
                groups[axis] = group
    return Mesh(sizes, *coordinates(rank, sizes), groups)


def seed_of(seed: int, where: tuple[int, int, int], is_cut: bool) -> int:
    """Return the seed that a rank draws with, for dropout or for new weights.

    What every tensor-parallel rank holds whole must be drawn alike on all of them; what is cut
    must be drawn apart, or the parts are copies of each other. Stages and replicas always differ.

    Args:
        seed: of the run.
        where: coordinates of the rank.
        is_cut: whether the tensor is a part, such as the heads of one rank.

    >>> seed_of(1, (0, 0, 0), False) == seed_of(1, (0, 0, 1), False)
    True
    >>> seed_of(1, (0, 0, 0), True) == seed_of(1, (0, 0, 1), True)
    False
    """
    pp, dp, tp = where
    place = ((pp * 65_521 + dp) * 65_521 + (1 + tp if is_cut else 0)) % 2**31
    return (seed * 2_654_435_761 + place) % 2**63
