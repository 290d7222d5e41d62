"""Whether this machine multiplies matrices faster in bfloat16, found out by doing it.

What a processor says of itself differs between makers and systems; two timings do not.
"""

from __future__ import annotations

import time

import torch


def bfloat16_speedup(device: str = "cpu", size: int = 512, n_times: int = 7) -> float:
    """Return how many times as fast a matrix product is in bfloat16 as in float32.

    Above 1, `autocast_dtype=torch.bfloat16` is likely to save time in training; less than this
    number, since only the products get faster. The best of several timings counts for each.

    Args:
        device: where to measure.
        size: rows and columns of the matrices.
        n_times: products to time in each dtype.

    >>> bfloat16_speedup(size=64, n_times=2) > 0
    True
    """
    best = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(size, size, dtype=dtype, device=device)
        (matrix @ matrix)[0, 0].item()  # the first product prepares what later ones use
        seconds = []
        for _ in range(n_times):
            start = time.perf_counter()
            (matrix @ matrix)[0, 0].item()  # waits for the device
            seconds.append(time.perf_counter() - start)
        best[dtype] = min(seconds)
    return best[torch.float32] / best[torch.bfloat16]
