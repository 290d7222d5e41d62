"""Energy and emissions of a training run from what is known of it, each with its range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Estimate(NamedTuple):
    """A number with its range: best guess, lowest, highest."""

    value: float
    low: float
    high: float


def product_of(factors: Sequence[Estimate], independent: bool = False) -> Estimate:
    """Return the product of factors that are known within ranges.

    Where errors may go together, the range is from the product of all lowest to that of all highest
    factors. Where they are independent, the distances of the logarithms from the best guess add in
    quadrature (the root of the sum of their squares), on each side by itself; that range is never
    wider.

    Args:
        factors: each (value, low, high), positive, with low <= value <= high; at least one.
        independent: that no factor's error says anything about another's.

    Raises:
        ValueError: for no factors, or one that is not positive or lies outside its own range.

    >>> hours, kilowatts = (100, 100, 100), (0.4, 0.2, 0.8)
    >>> [round(x, 1) for x in product_of([hours, kilowatts])]
    [40.0, 20.0, 80.0]
    >>> [round(x, 2) for x in product_of([kilowatts, kilowatts], independent=True)]
    [0.16, 0.06, 0.43]
    """
    if not factors:
        raise ValueError("a product needs at least one factor")
    for value, low, high in factors:
        if not 0 < low <= value <= high:
            raise ValueError(f"{value} ({low} to {high}) must be positive and lie in its own range")
    values, lows, highs = zip(*factors, strict=True)
    value = math.prod(values)
    if not independent:
        return Estimate(value, math.prod(lows), math.prod(highs))
    down = math.hypot(*(math.log(v / low) for v, low in zip(values, lows, strict=True)))
    up = math.hypot(*(math.log(high / v) for v, high in zip(values, highs, strict=True)))
    return Estimate(value, value * math.exp(-down), value * math.exp(up))


def training_energy(
    device_hours: Estimate, kilowatts: Estimate, overhead: Estimate, independent: bool = True
) -> Estimate:
    """Return the energy of a run in kWh: device hours times power times the centre's overhead.

    Args:
        device_hours: of all devices together.
        kilowatts: of a device with its share of its machine.
        overhead: energy of the whole centre per energy of its computers (PUE), at least 1.

    >>> round(training_energy(Estimate(1e6, 1e6, 1e6), Estimate(0.4, 0.3, 0.4),
    ...     Estimate(1.2, 1.1, 1.3)).value)
    480000

    Source: Patterson et al. 2021, "Carbon Emissions and Large Neural Network Training", section 2.
    """
    if overhead.low < 1:
        raise ValueError(f"an overhead below 1 is impossible, got {overhead}")
    return product_of([device_hours, kilowatts, overhead], independent)
