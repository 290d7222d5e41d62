"""What travels between ranks: the operations that a rank calls, and the bytes on its sockets.

`traffic()` notes each call of `torch.distributed` with its payload, before any algorithm turns it
into messages. `bytes_on_wire()` asks the kernel what this process has really sent (Linux): what an
algorithm costs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

POINT_TO_POINT = ("send", "recv", "isend", "irecv")
COLLECTIVES = ("all_reduce", "reduce", "broadcast", "all_gather", "gather", "scatter")
COLLECTIVES += ("reduce_scatter", "all_to_all", "all_gather_into_tensor", "reduce_scatter_tensor")
COLLECTIVES += ("all_gather_single", "reduce_scatter_single", "all_to_all_single", "barrier")
TCP_INFO_BYTES, ACKED, RECEIVED = 192, 120, 128  # places in the kernel's struct tcp_info


class Operation(NamedTuple):
    """One call of `torch.distributed`: its name, the bytes of its tensors, the other rank."""

    name: str
    n_bytes: int
    peer: int | None = None


@contextlib.contextmanager
def traffic() -> Iterator[list[Operation]]:
    """Yield a list that gets an entry for each operation this rank calls, in order.

    For point to point the bytes are those of the one tensor; for collectives those of the tensors
    that this rank puts in. What DDP and FSDP call in C++ is not seen: see `bytes_on_wire`.

    >>> with traffic() as operations:
    ...     dist.is_initialized()
    False
    >>> operations
    []
    """
    noted: list[Operation] = []
    inside = [False]
    before = {}
    for name in (*POINT_TO_POINT, *COLLECTIVES):
        original = getattr(dist, name, None)
        if original is not None:
            before[name] = original
            noting = noted_call(name, original, noted, inside)
            for module in (dist, distributed_c10d):
                setattr(module, name, noting)
    try:
        yield noted
    finally:
        for name, original in before.items():
            for module in (dist, distributed_c10d):
                setattr(module, name, original)


def noted_call(name: str, original: Callable, noted: list, inside: list[bool]) -> Callable:
    """Return a function of `torch.distributed` that notes each call which no other one makes."""

    @functools.wraps(original)
    def call(*args, **kwargs):
        if inside[0]:
            return original(*args, **kwargs)
        noted.append(Operation(name, payload(name, args, kwargs), peer_of(name, args, kwargs)))
        inside[0] = True
        try:
            return original(*args, **kwargs)
        finally:
            inside[0] = False

    return call


def payload(name: str, args: tuple, kwargs: dict) -> int:
    """Return the bytes that a rank puts into an operation.

    >>> payload("all_reduce", (torch.zeros(3),), {})
    12
    >>> payload("all_gather_into_tensor", (torch.zeros(4), torch.zeros(2)), {})
    8
    """
    given = [*args, *kwargs.values()]
    if name not in POINT_TO_POINT and name not in ("all_reduce", "reduce", "broadcast"):
        given = given[1:2]  # behind the place for the result
    tensors = [t for t in given if isinstance(t, torch.Tensor)]
    for lists in (t for t in given if isinstance(t, list | tuple)):
        tensors += [t for t in lists if isinstance(t, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def peer_of(name: str, args: tuple, kwargs: dict) -> int | None:
    """Return the other rank of a message, as it was given.

    >>> peer_of("send", (None, 3), {}), peer_of("irecv", (None,), {"group_src": 0})
    (3, 0)
    """
    if name not in POINT_TO_POINT:
        return None
    side = "dst" if name.endswith("send") else "src"
    found = kwargs.get(side, args[1] if len(args) > 1 else None)
    return kwargs.get(f"group_{side}") if found is None else found


def bytes_sent(operations: list[Operation]) -> int:
    """Return the bytes of the messages that a rank sent one by one.

    >>> bytes_sent([Operation("isend", 8, 1), Operation("irecv", 8, 3), Operation("send", 4, 1)])
    12
    """
    return sum(o.n_bytes for o in operations if o.name in ("send", "isend"))


def bytes_on_wire() -> tuple[int, int] | None:
    """Return the bytes that this process's TCP sockets have sent and received so far.

    None where the kernel does not tell (other than Linux). Bytes that are still on their way don't
    count: wait a moment after a barrier.
    """
    if sys.platform != "linux":
        return None
    sent = received = 0
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as found:
                is_tcp = found.family in (socket.AF_INET, socket.AF_INET6)
                if not is_tcp or found.type != socket.SOCK_STREAM or not found.getpeername():
                    continue
                info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            sent += struct.unpack_from("Q", info, ACKED)[0]
            received += struct.unpack_from("Q", info, RECEIVED)[0]
    return sent, received
