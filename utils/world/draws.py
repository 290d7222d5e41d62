"""Random choices that come out the same on every platform and Python version.

Python promises a stable sequence for `random.Random(int).random()` alone, so every draw of the
world goes through that one method. Seeds are whole numbers made from whole numbers: no string is
hashed and no set is iterated.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def stream(*numbers: int) -> random.Random:
    """Return a generator of its own for the whole numbers given, for example a seed and a purpose.

    Args:
        numbers: non-negative whole numbers below 2**32; their order matters.

    Raises:
        ValueError: for a number that is negative, too large or not whole.

    >>> stream(0, 1).random() == stream(0, 1).random()
    True
    >>> stream(0, 1).random() == stream(1, 0).random()
    False
    """
    seed = 1
    for number in numbers:
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**32:
            raise ValueError(f"a seed must be a whole number from 0 to 2**32 - 1, got {number!r}")
        seed = (seed << 32) | number
    return random.Random(seed)


def below(rng: random.Random, n: int) -> int:
    """Return a whole number from 0 to n - 1."""
    return int(rng.random() * n)


def pick(rng: random.Random, items: Sequence[Item]) -> Item:
    """Return one of the items.

    Raises:
        ValueError: for no items.
    """
    if not items:
        raise ValueError("nothing to pick from: the list of items is empty")
    return items[below(rng, len(items))]


def pick_weighted(rng: random.Random, weights: dict[Item, float]) -> Item:
    """Return one of the keys, each as often as its weight says."""
    left = rng.random() * sum(weights.values())
    for item, weight in weights.items():
        left -= weight
        if left < 0:
            return item
    return next(reversed(weights))


def sample(rng: random.Random, items: Sequence[Item], n: int) -> list[Item]:
    """Return n different items in random order.

    Raises:
        ValueError: where there are fewer than n.

    >>> sorted(sample(stream(0), "abc", 3))
    ['a', 'b', 'c']
    """
    if n > len(items):
        raise ValueError(f"can't sample {n} of {len(items)} items: ask for fewer")
    rest = list(items)
    for i in range(n):
        j = i + below(rng, len(rest) - i)
        rest[i], rest[j] = rest[j], rest[i]
    return rest[:n]


def shuffled(rng: random.Random, items: Sequence[Item]) -> list[Item]:
    """Return all items in random order."""
    return sample(rng, items, len(items))
