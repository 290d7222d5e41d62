"""What a check is made of: requirements with hints, and the list of a lab's checks.

A check module `utils/labs/checks/NN_topic.py` looks like this:

    CHECKS: list[Check] = []
    exercise_check = collector(CHECKS)
    HINTS = {"causal_mask": ("the idea, in a sentence", "the shape of the answer")}

    @exercise_check("causal_mask", points=2, title="who may see whom")
    def _(student, rng):
        n = int(rng.integers(5, 12))
        mask = student.causal_mask(n)              # plain values and NumPy arrays, in and out
        same(mask, np.tril(np.ones((n, n), bool)), "row i must be True for columns 0..i")

`rng` is a NumPy generator, drawn afresh when graded. The oracle is independent of `utils`. The
first requirement that fails decides the hint: typical mistakes come first, `close` comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from utils.labs.student import LearnerError


class Rejected(AssertionError):
    """A requirement that does not hold; its text is the hint that the learner reads."""


@dataclass(frozen=True)
class Check:
    """One part of what an exercise is checked for."""

    exercise: str
    title: str
    points: int
    run: Callable


def collector(checks: list[Check]) -> Callable:
    """Return the decorator that appends checks to a module's list."""

    def exercise_check(exercise: str, *, points: int, title: str) -> Callable:
        def add(run: Callable) -> Callable:
            if any(c.exercise == exercise and c.title == title for c in checks):
                raise ValueError(f"{exercise} has two checks titled {title!r}")
            checks.append(Check(exercise, title, points, run))
            return run

        return add

    return exercise_check


def require(holds: object, hint: str) -> None:
    """Reject with `hint` unless the condition holds.

    >>> require(1 + 1 == 3, "one and one make two")
    Traceback (most recent call last):
    ...
    utils.labs.checking.Rejected: one and one make two
    """
    if not bool(holds):
        raise Rejected(hint)


@contextmanager
def hinting(hint: str) -> Iterator[None]:
    """Add a hint to an error that the learner's code raises inside."""
    try:
        yield
    except LearnerError as error:
        raise LearnerError(f"{hint} ({error})") from None


def brief(value: object, limit: int = 160) -> str:
    """Return a value as a short text for a hint.

    >>> brief(np.array([[True, False]]))
    '[[True, False]]'
    """
    text = repr(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) <= limit else text[: limit - 4] + " ..."


def same(got: object, want: object, hint: str) -> None:
    """Reject unless two plain values are equal, types of numbers and all.

    >>> same([1, 2], [2, 1], "smallest first")
    Traceback (most recent call last):
    ...
    utils.labs.checking.Rejected: smallest first (expected [2, 1], got [1, 2])
    """
    if isinstance(want, np.ndarray):
        array = as_array(got, hint)
        if array.shape != want.shape:
            raise Rejected(f"{hint} (expected shape {want.shape}, got {array.shape})")
        if array.dtype.kind != want.dtype.kind:
            raise Rejected(f"{hint} (expected {want.dtype}, got {array.dtype})")
        equal = np.array_equal(array, want)
    else:
        equal = type(got) is type(want) and got == want
    if not equal:
        raise Rejected(f"{hint} (expected {brief(want)}, got {brief(got)})")


def as_array(got: object, hint: str) -> np.ndarray:
    """Return an array of numbers, or reject what is none."""
    if not isinstance(got, np.ndarray | bool | int | float | list | tuple):
        raise Rejected(f"{hint} (expected a tensor of numbers, got {type(got).__name__})")
    try:
        array = np.asarray(got)
    except ValueError:
        raise Rejected(f"{hint} (expected a tensor, got rows of different lengths)") from None
    if array.dtype.kind not in "fiub":
        raise Rejected(f"{hint} (expected numbers, got {array.dtype})")
    return array


def close(got: object, want: object, hint: str, atol: float = 1e-5, rtol: float = 1e-4) -> None:
    """Reject unless an array of numbers has the wanted shape and values.

    >>> close([1.0, 2.5], [1.0, 2.0], "halve it")
    Traceback (most recent call last):
    ...
    utils.labs.checking.Rejected: halve it (1 of 2 values differ; at [1]: expected 2, got 2.5)
    """
    want = np.asarray(want)
    array = as_array(got, hint)
    if array.shape != want.shape:
        raise Rejected(f"{hint} (expected shape {want.shape}, got {array.shape})")
    if np.isfinite(want).all() and not np.isfinite(array).all():
        raise Rejected(f"{hint} (the result holds NaN or infinity)")
    wrong = ~np.isclose(array, want, atol=atol, rtol=rtol, equal_nan=True)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        place = "".join(f"[{i}]" for i in first) or "the value"
        raise Rejected(
            f"{hint} ({int(wrong.sum())} of {wrong.size} values differ; at {place}: "
            f"expected {float(want[first]):.5g}, got {float(array[first]):.5g})"
        )


def resembles(got: object, other: object, atol: float = 1e-4) -> bool:
    """Return whether a result has another array's shape and values: to recognise a mistake.

    >>> resembles([1.0, 2.0], [1.0, 2.0]), resembles("x", [1.0])
    (True, False)
    """
    try:
        array, other = as_array(got, ""), np.asarray(other)
    except Rejected:
        return False
    return array.shape == other.shape and np.allclose(array, other, atol=atol, equal_nan=True)
