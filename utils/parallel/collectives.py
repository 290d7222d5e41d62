"""Collectives made of send and receive alone: the ring, in which each rank talks to two others.

A rank is one process of a group of n. In a ring it sends to the next rank and receives from the
one before, and a tensor travels in n parts, so that all ranks send at the same time. Left out on
purpose: trees (fewer rounds for small tensors) and hierarchies of nodes.

Shapes: S numbers in a rank's part, n ranks.
Source: Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of
workstations", section 3.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def ring_all_reduce(tensor: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Return the sum of all ranks' tensors, by `dist.isend`, `send`, `irecv`, `recv` alone.

    Every rank calls it with a tensor of the same shape and dtype, and gets the same sum. The
    numbers, in their order, are cut into n parts of nearly equal size (`tensor_split`); there may
    be empty ones. For n - 1 rounds each rank sends one part to rank + 1 (the last one to 0), and
    adds the part that comes from rank - 1 to its own; then every part's sum is on one rank. For
    n - 1 more rounds the sums are passed on. So a rank sends about 2 (n - 1) / n times the
    payload, whatever n is.

    Args:
        tensor: any shape, floats or whole numbers; it is left as it is.
        group: the ranks that take part, numbered from 0; None for all. `send` takes such a number
            as `group_dst`, `recv` as `group_src`.

    Returns:
        A new tensor of the same shape and dtype; with one rank a copy.

    >>> from utils.parallel.processes import run_ranks
    >>> each = [(torch.tensor([1, 2, 3]),), (torch.tensor([10, 20, 30]),)]
    >>> run_ranks(ring_all_reduce, 2, each=each)
    [tensor([11, 22, 33]), tensor([11, 22, 33])]
    """
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    total = tensor.detach().flatten().clone()
    parts = total.tensor_split(n)  # views: what is added to a part is added to the total
    for step in range(2 * (n - 1)):
        leaving, kept = parts[(rank - step) % n], parts[(rank - step - 1) % n]
        arrived = torch.empty_like(kept)
        # isend comes back at once. Were it send, each rank could wait for the next one to receive.
        sending = dist.isend(leaving, group=group, group_dst=(rank + 1) % n)
        dist.recv(arrived, group=group, group_src=(rank - 1) % n)
        sending.wait()
        kept.copy_(kept + arrived if step < n - 1 else arrived)
    return total.view(tensor.shape)


def exchange(leaving: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Send a tensor to the next rank and return the one of the same shape from the rank before."""
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    arrived = torch.empty_like(leaving)
    sending = dist.isend(leaving, group=group, group_dst=(rank + 1) % n)
    dist.recv(arrived, group=group, group_src=(rank - 1) % n)
    sending.wait()
    return arrived


def ring_reduce_scatter(flat: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Return this rank's part of the sum of all ranks' tensors.

    Args:
        flat: (n S,) on each rank; part r of its sum, numbers r S to r S + S, goes to rank r.
        group: the ranks that take part; None for all.

    Returns:
        (S,), for which this rank has sent (n - 1) S numbers.

    Raises:
        ValueError: where the numbers can't be shared out evenly.
    """
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    if flat.dim() != 1 or flat.numel() % n:
        raise ValueError(f"{tuple(flat.shape)} can't be cut into {n} equal parts: pad it first")
    parts = flat.detach().view(n, -1)
    total = parts[(rank - 1) % n]
    for step in range(2, n + 1):  # the sum of part r begins at rank r + 1 and ends its way at r
        total = exchange(total, group) + parts[(rank - step) % n]
    return total.clone() if n == 1 else total


def ring_all_gather(shard: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Return all ranks' shards one after the other.

    Args:
        shard: (S,), of the same size on each rank.
        group: the ranks that take part; None for all.

    Returns:
        (n S,), for which this rank has sent (n - 1) S numbers.

    Raises:
        ValueError: for a shard that has another number of axes than one.
    """
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    if shard.dim() != 1:
        raise ValueError(f"a shard is flat, got {tuple(shard.shape)}")
    shards = {rank: shard.detach().contiguous()}
    for step in range(n - 1):
        shards[(rank - step - 1) % n] = exchange(shards[(rank - step) % n], group)
    return torch.cat([shards[r] for r in range(n)])
