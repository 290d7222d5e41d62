"""How much memory torch code holds at its peak: counted, not sampled, so the same each time.

Counts the storage of every tensor that torch makes while the code runs and drops it when the last
tensor lets go of it. Buffers inside one operation of torch are not seen.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are made and still held while the mode is active."""

    def __init__(self):
        super().__init__()
        self.held: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Run one operation of torch and count the storage that it makes."""
        given = {id_of(tensor) for tensor in tensors_in((args, kwargs or {}))}
        result = function(*args, **(kwargs or {}))
        self.held = {key: held for key, held in self.held.items() if not held[0].expired()}
        for tensor in tensors_in(result):
            if id_of(tensor) not in given:
                storage = tensor.untyped_storage()
                self.held[id_of(tensor)] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, sum(n_bytes for _, n_bytes in self.held.values()))
        return result


def id_of(tensor: torch.Tensor) -> int:
    """Return a number that tensors share where they share storage."""
    return tensor.untyped_storage()._cdata


def tensors_in(value: object) -> list[torch.Tensor]:
    """Return the tensors in nested tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in tensors_in(item)]
    return []


def peak_bytes(run: Callable[[], object]) -> int:
    """Return the most bytes of new tensors that `run()` holds at once, its result included.

    >>> peak_bytes(lambda: (torch.ones(1000) + 1).sum())  # two vectors of 4,000 bytes at once
    8000
    """
    with torch.no_grad(), LiveBytes() as live:
        run()
    return live.peak
