"""Skills that need no facts: copy codes and names, sort and reverse letters, small sums.

Sums are split once and for all: a tenth of all pairs is held out of every training text.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from utils.world.draws import pick, sample, shuffled, stream
from utils.world.names import fresh_name

LETTERS = "abcdefgh"
CODE_LETTERS = "bcdfghjkmnpqrtvwxz"
LARGEST_TERM = 20
N_HELD_OUT_SUMS = 44
SHARE_OF_CODES = 0.3  # of what is copied; names take longer to learn
SKILLS = ("copy", "sort", "reverse", "sum")

REQUESTS = {
    "copy": ("Copy {x}.", "Repeat {x}.", "Say {x} once more.", "Write {x} again."),
    "sort": ("Sort the letters {x}.", "Put the letters {x} in order."),
    "reverse": ("Reverse the letters {x}.", "Write the letters {x} backwards."),
    "sum": ("What is {x}?", "How much is {x}?", "Add {x}."),
}


@dataclass(frozen=True)
class Task:
    """One exercise of a skill: what is asked, the whole right answer, and its value."""

    kind: str
    prompt: str
    answer: str
    value: str


def split_sums() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the pairs of terms for training and the held-out ones.

    The order of the terms does not matter for the split: if 3+5 is held out, 5+3 is too.

    >>> trained, held_out = split_sums()
    >>> len(trained) + len(held_out), {(b, a) for a, b in held_out} == set(held_out)
    (441, True)
    """
    pairs = [(a, b) for a in range(LARGEST_TERM + 1) for b in range(a, LARGEST_TERM + 1)]
    held_out: set[tuple[int, int]] = set()
    for a, b in shuffled(stream(4), pairs):
        if len(held_out) >= N_HELD_OUT_SUMS:
            break
        held_out |= {(a, b), (b, a)}
    everything = [(a, b) for a in range(LARGEST_TERM + 1) for b in range(LARGEST_TERM + 1)]
    return (
        [pair for pair in everything if pair not in held_out],
        [pair for pair in everything if pair in held_out],
    )


TRAINED_SUMS, HELD_OUT_SUMS = split_sums()


def code(rng: random.Random) -> str:
    """Return a code of letters and digits in turn.

    >>> from utils.world.draws import stream
    >>> len(code(stream(0)))
    4
    """
    return "".join(pick(rng, CODE_LETTERS) + str(int(rng.random() * 10)) for _ in range(2))


def task(rng: random.Random, kind: str, taken: set[str], held_out: bool = False) -> Task:
    """Return a random exercise.

    Args:
        kind: "copy", "sort", "reverse" or "sum".
        taken: cores of the names of the world, which a copied name must not be.
        held_out: for sums, draw from the held-out pairs; the other skills are drawn from spaces so
            large that new draws are new exercises.

    Raises:
        ValueError: for an unknown skill.

    >>> from utils.world.draws import stream
    >>> task(stream(0), "sum", set()).answer.count("=")
    1
    """
    if kind not in SKILLS:
        raise ValueError(f"unknown skill {kind!r}: expected one of {', '.join(SKILLS)}")
    if kind == "copy":
        if rng.random() < SHARE_OF_CODES:
            content = value = code(rng)
        else:
            content = value = fresh_name(rng, pick(rng, ("person", "drug")), taken)
        answer = f"{value}."
    elif kind == "sum":
        a, b = pick(rng, HELD_OUT_SUMS if held_out else TRAINED_SUMS)
        content, value = f"{a}+{b}", str(a + b)
        answer = f"{a}+{b}={value}."
    else:
        letters = sample(rng, LETTERS, 4)
        value = " ".join(sorted(letters) if kind == "sort" else letters[::-1])
        content, answer = " ".join(letters), f"{value}."
    return Task(kind, pick(rng, REQUESTS[kind]).replace("{x}", content), answer, value)
