"""What a GPU is for the planner: rates, memory, links, power.

Rates are the vendors' dense peaks, links one direction. `domain` is how many GPUs the fast links
join: a node of 4 or 8, a rack of 72 for GB200 and GB300. `network` is a usual platform's and can be
replaced.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One accelerator and the links that it comes with."""

    name: str
    memory_gib: float
    bf16: float  # operations a second
    fp8: float
    fp4: float
    memory_rate: float  # bytes a second
    nvlink: float
    network: float
    gpus_per_node: int
    domain: int
    watts: float


T, G = 1e12, 1e9
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("mi300x", 192, 1307 * T, 2615 * T, 2615 * T, 5.3 * T, 448 * G, 50 * G, 8, 8, 750),
        Gpu("h800", 80, 989 * T, 1979 * T, 1979 * T, 3.35 * T, 200 * G, 50 * G, 8, 8, 700),
        Gpu("a800", 80, 312 * T, 312 * T, 312 * T, 2.0 * T, 200 * G, 25 * G, 8, 8, 400),
        Gpu("v100", 32, 125 * T, 125 * T, 125 * T, 0.9 * T, 150 * G, 12.5 * G, 4, 4, 300),
        Gpu("a100", 80, 312 * T, 312 * T, 312 * T, 2.0 * T, 300 * G, 25 * G, 8, 8, 400),
        Gpu("h100", 80, 989 * T, 1979 * T, 1979 * T, 3.35 * T, 450 * G, 50 * G, 8, 8, 700),
        Gpu("h200", 141, 989 * T, 1979 * T, 1979 * T, 4.8 * T, 450 * G, 50 * G, 8, 8, 700),
        Gpu("b200", 180, 2250 * T, 4500 * T, 9000 * T, 7.7 * T, 900 * G, 50 * G, 8, 8, 1000),
        Gpu("gb200", 186, 2450 * T, 4900 * T, 9800 * T, 8.0 * T, 900 * G, 50 * G, 4, 72, 1200),
        Gpu("b300", 270, 2250 * T, 4500 * T, 13500 * T, 8.0 * T, 900 * G, 100 * G, 8, 8, 1000),
        Gpu("gb300", 278, 2450 * T, 4900 * T, 14700 * T, 8.0 * T, 900 * G, 100 * G, 4, 72, 1400),
    )
}


def find_gpu(name: str) -> Gpu:
    """Return a GPU of the table.

    Raises:
        ValueError: for a name that is not there; it lists those that are.

    >>> find_gpu("h100").gpus_per_node
    8
    """
    if name.lower() not in GPUS:
        raise ValueError(f"no GPU {name!r} in the table; there are {', '.join(GPUS)}")
    return GPUS[name.lower()]


def peak(gpu: Gpu, precision: str) -> float:
    """Return the peak rate of matrix products in a precision, by its usual names.

    >>> peak(find_gpu("h100"), "fp8-current-scaling") / 1e12
    1979.0
    """
    if "fp8" in precision:
        return gpu.fp8
    return gpu.fp4 if "fp4" in precision else gpu.bf16
