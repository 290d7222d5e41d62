"""Money, energy and CO2 of a run, each as a range: nobody knows these to two digits.

Prices change by the month; each has its date. Left out: storage, network, people, embodied carbon,
failed experiments, which are often more than the run itself.
"""

from __future__ import annotations

from collections.abc import Sequence

# dollars for a GPU-hour (low, high), with date and source
PRICES = {
    "a100": ((1.1, 3.0), "2026-05, mercatus-ai.com/blog/cloud-gpu-pricing"),
    "h100": ((2.0, 5.0), "2026-05, mercatus-ai.com/blog/cloud-gpu-pricing"),
    "h200": ((2.5, 7.0), "2026-05, mercatus-ai.com/blog/cloud-gpu-pricing"),
}
# share of the rated power that training draws: .76 of a node (arXiv:2506.14551), 1 in LLaMA's table
LOAD = (0.7, 1.0)
# a node draws more than its GPUs: 8 x 700 W of 10.2 kW rated (arXiv:2412.08602)
NODE_OVER_GPUS = 1.8
# building over computers: 1.09 of Meta's in 2022; 1.57 the 2021 average of large data centres
PUE = (1.09, 1.57)
# grams of CO2 for a kWh: 57 France (BLOOM), 475 world average
GRID = (57.0, 475.0)


def run_cost(
    n_tokens: float,
    tokens_per_second: float,
    n_gpus: int,
    *,
    goodput: float = 1.0,
    usd_per_gpu_hour: Sequence[float],
    watts_per_gpu: Sequence[float],
    pue: Sequence[float],
    grams_per_kwh: Sequence[float],
) -> dict[str, float | tuple[float, float]]:
    """Return the days, GPU-hours, money, energy and CO2 of a run.

    Every price is a pair (low, high), and so is what follows from it: low with all low, high with
    all high. GPUs are paid and powered for the whole time, kept training or not.

    Args:
        n_tokens: to train on.
        tokens_per_second: of all GPUs together, while training.
        n_gpus: that are paid.
        goodput: share of the time that is training which is kept.
        usd_per_gpu_hour: dollars.
        watts_per_gpu: with its share of the node, without the building.
        pue: power of the building over that of its computers.
        grams_per_kwh: CO2 of the grid.

    Returns:
        "days" and "gpu_hours", numbers; "usd", "mwh" (with the building) and "tonnes_co2", pairs.

    Raises:
        ValueError: for tokens, a speed or GPUs not above 0, goodput not above 0 or above 1, a pair
            whose first number is below 0 or above its second, or a PUE below 1.

    >>> run_cost(3.6e9, 1e5, 10, usd_per_gpu_hour=(2, 4), watts_per_gpu=(500, 1000), pue=(1, 2),
    ...     grams_per_kwh=(100, 500))["usd"]
    (200.0, 400.0)
    """
    if not (n_tokens > 0 and tokens_per_second > 0 and n_gpus > 0):
        raise ValueError("tokens, tokens per second and GPUs are above 0")
    if not 0 < goodput <= 1:
        raise ValueError(f"goodput is above 0 and at most 1, got {goodput}")
    for name, pair in (
        ("usd_per_gpu_hour", usd_per_gpu_hour),
        ("watts_per_gpu", watts_per_gpu),
        ("pue", pue),
        ("grams_per_kwh", grams_per_kwh),
    ):
        if not 0 <= pair[0] <= pair[1]:
            raise ValueError(f"{name} is (low, high), got {tuple(pair)}")
    if pue[0] < 1:
        raise ValueError(f"a building draws at least what its computers draw: PUE {pue[0]}")
    hours = n_tokens / tokens_per_second / goodput / 3600
    gpu_hours = hours * n_gpus
    mwh = tuple(gpu_hours * w * p / 1e6 for w, p in zip(watts_per_gpu, pue, strict=True))
    return {
        "days": hours / 24,
        "gpu_hours": gpu_hours,
        "usd": tuple(gpu_hours * price for price in usd_per_gpu_hour),
        "mwh": mwh,
        "tonnes_co2": tuple(e * g / 1000 for e, g in zip(mwh, grams_per_kwh, strict=True)),
    }
