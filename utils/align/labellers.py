"""What goes wrong with labels: noise, and a habit that nobody asked for.

Both work on any preference pairs (dataclasses with `prompt`, `chosen`, `rejected`) and return new
ones; the same seed gives the same pairs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from utils.world.styles import VERBOSE_OPENINGS, verbose

Pair = TypeVar("Pair")


def with_label_noise(pairs: Sequence[Pair], share: float, seed: int = 0) -> list[Pair]:
    """Return the pairs as a careless labeller gives them: each is swapped with a probability.

    Args:
        share: of wrong labels; at 0.5 the labels say nothing.

    Raises:
        ValueError: for a share outside 0 to 1.

    >>> from utils.world.facts import build_world
    >>> from utils.world.preferences import preference_pairs
    >>> pair = preference_pairs(build_world(0), 1)[0]
    >>> with_label_noise([pair], 1.0)[0].chosen == pair.rejected
    True
    """
    check_share(share)
    rng = random.Random(seed)
    return [
        replace(pair, chosen=pair.rejected, rejected=pair.chosen) if rng.random() < share else pair
        for pair in pairs
    ]


def with_length_habit(pairs: Sequence[Pair], share: float, seed: int = 0) -> list[Pair]:
    """Return pairs in which the better answer tends to be the longer one.

    The chosen answer gets a wordy opening and closing with probability `share`, the rejected one
    with probability 1 - share. What the pair was labelled for stays true; at 0.5 length says
    nothing. Pairs whose two answers are wordy already stay as they are.

    Raises:
        ValueError: for a share outside 0 to 1.

    >>> from utils.world.facts import build_world
    >>> from utils.world.preferences import preference_pairs
    >>> pair = with_length_habit(preference_pairs(build_world(0), 1, differ=("fact",)), 1.0)[0]
    >>> len(pair.chosen) > len(pair.rejected)
    True
    """
    check_share(share)
    rng = random.Random(seed)
    found = []
    for pair in pairs:
        chosen = verbose(rng, pair.chosen) if rng.random() < share else pair.chosen
        rejected = verbose(rng, pair.rejected) if rng.random() < 1 - share else pair.rejected
        is_wordy = any(opening in pair.chosen for opening in VERBOSE_OPENINGS)
        found.append(pair if is_wordy else replace(pair, chosen=chosen, rejected=rejected))
    return found


def check_share(share: float) -> None:
    """Refuse what is no share.

    Raises:
        ValueError: for a number outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}")
