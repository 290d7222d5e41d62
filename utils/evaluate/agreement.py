"""Do two labellers agree more than chance would have them?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Return the agreement of two labellers beyond chance: 1 for all, 0 for what chance gives.

    kappa = (seen - expected) / (1 - expected), where `seen` is the share of items that both label
    alike, and `expected` what it would be if each kept to their own shares of labels but knew
    nothing of the item.

    Args:
        first, second: labels of the same items, of any kind that can be compared.

    Raises:
        ValueError: for no items, different numbers of them, or where both give one and the same
            label to all, so that chance agrees as well and kappa is not defined.

    >>> cohen_kappa(["good", "good", "bad", "bad"], ["good", "good", "bad", "good"])
    0.5

    Source: Cohen 1960, "A Coefficient of Agreement for Nominal Scales", equation 1.
    """
    if len(first) != len(second) or not first:
        raise ValueError(
            f"both must label the same items, at least one; got {len(first)} and {len(second)}"
        )
    n = len(first)
    seen = sum(a == b for a, b in zip(first, second, strict=True)) / n
    ours, theirs = Counter(first), Counter(second)
    expected = sum(ours[label] * theirs[label] for label in ours) / n**2
    if expected == 1:
        raise ValueError(
            f"both labelled every item {first[0]!r}: kappa is not defined. Report the agreement "
            "itself, and label items that differ"
        )
    return (seen - expected) / (1 - expected)
