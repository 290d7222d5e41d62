"""Colours as other eyes see them: contrast, two colour-vision deficiencies, distance.

Contrast is that of WCAG 2.2 (1.4.3: text needs 4.5; 1.4.11: what is not text needs 3). Simulations
are those of Machado, Oliveira and Fernandes 2009 at full severity, in linear RGB. Distances are
CIE 1976 in L*a*b* under D65; from 10 on two colours are told apart at a glance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

MACHADO = {  # rows of linear RGB
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}
TO_XYZ = (  # IEC 61966-2-1, D65
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE = (0.95047, 1.0, 1.08883)

Triple = tuple[float, float, float]


def linear(colour: str) -> Triple:
    """Return `#rrggbb` or `#rgb` as linear light, each from 0 to 1.

    Raises:
        ValueError: for what is no such colour.

    >>> linear("#fff")
    (1.0, 1.0, 1.0)
    """
    digits = colour.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    if len(digits) != 6 or not colour.startswith("#"):
        raise ValueError(f"colour must be #rrggbb or #rgb, got {colour!r}")
    values = (int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4))
    return tuple(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)


def transformed(rows: Sequence[Triple], values: Triple) -> Triple:
    """Return a matrix of three rows times three values."""
    return tuple(sum(a * b for a, b in zip(row, values, strict=True)) for row in rows)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, from 1 to 21.

    >>> round(contrast("#000000", "#ffffff"), 1)
    21.0
    """
    light, dark = sorted((transformed(TO_XYZ, linear(c))[1] for c in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def blended(colour: str, alpha: float, ground: str = "#ffffff") -> str:
    """Return what a colour looks like that lies half-transparent on a ground.

    >>> blended("#000000", 0.5)
    '#808080'
    """
    pairs = ((int(c[k : k + 2], 16) for c in (colour, ground)) for k in (1, 3, 5))
    return "#" + "".join(f"{round(alpha * a + (1 - alpha) * b):02x}" for a, b in pairs)


def lab(values: Triple) -> Triple:
    """Return linear RGB as L*, a* and b*."""

    def bent(t: float) -> float:
        return t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29

    xyz = transformed(TO_XYZ, values)
    x, y, z = (bent(max(0.0, v) / w) for v, w in zip(xyz, WHITE, strict=True))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def seen(colour: str, deficiency: str | None) -> Triple:
    """Return a colour in linear RGB as somebody with a deficiency sees it, cut to 0 to 1.

    Raises:
        KeyError: for a deficiency that is not in `MACHADO`.
    """
    values = linear(colour)
    if deficiency is not None:
        values = transformed(MACHADO[deficiency], values)
    return tuple(min(1.0, max(0.0, v)) for v in values)


def distance(one: str, other: str, deficiency: str | None = None) -> float:
    """Return how far two colours are apart in L*a*b*, for all eyes or with a deficiency.

    >>> distance("#ff0000", "#ff0000"), distance("#000000", "#ffffff") > 99
    (0.0, True)
    """
    return math.dist(lab(seen(one, deficiency)), lab(seen(other, deficiency)))


def closest(colours: Sequence[str], deficiency: str | None = None) -> tuple[float, str, str]:
    """Return the least distance between any two of the colours, and which two they are."""
    return min((distance(a, b, deficiency), a, b) for a, b in combinations(colours, 2))
