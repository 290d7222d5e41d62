"""What a check is made of: requirements with hints, and the list of a lab's checks.

A check module `utils/labs/checks/NN_topic.py` looks like this:

    CHECKS: list[Check] = []
    exercise_check = collector(CHECKS)
    HINTS = {"causal_mask": ("the idea", "a smaller step by hand", "the outline")}

    @exercise_check("causal_mask", points=2, title="who may see whom")
    def _(student, rng):
        n = int(rng.integers(5, 12))
        mask = student.causal_mask(n)              # plain values and NumPy arrays, in and out
        same(mask, np.tril(np.ones((n, n), bool)), "row i must be True for columns 0..i")

`rng` is a NumPy generator, drawn afresh when graded. The oracle is independent of `utils`. The
first requirement that fails decides the hint. A mistake is named only where the result equals what
it would give (`recognise`); all other hints say what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from utils.labs.student import LearnerError, Student, call_of


class Rejected(AssertionError):
    """A requirement that does not hold; its text is the hint that the learner reads."""


@dataclass(frozen=True)
class Check:
    """One part of what an exercise is checked for."""

    exercise: str
    title: str
    points: int
    run: Callable
    is_core: bool = True


def collector(checks: list[Check]) -> Callable:
    """Return the decorator that appends checks to a module's list.

    A part that is not `is_core` (an error that must be raised, an odd size) earns its points, and
    the experiments of the lab don't wait for it.
    """

    def exercise_check(exercise: str, *, points: int, title: str, is_core: bool = True) -> Callable:
        def add(run: Callable) -> Callable:
            if any(c.exercise == exercise and c.title == title for c in checks):
                raise ValueError(f"{exercise} has two checks titled {title!r}")
            checks.append(Check(exercise, title, points, run, is_core))
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


def not_the_mistake(holds: object, hint: str) -> None:
    """Reject with the name of a mistake, for a result that only this mistake gives.

    >>> not_the_mistake(False, "the pairs are counted once")
    Traceback (most recent call last):
    ...
    utils.labs.checking.Rejected: the pairs are counted once
    """
    if not bool(holds):
        raise Rejected(hint)


def refused(
    call: Callable[[], object], hint: str, kind: str = "ValueError", names: Sequence[str] = ()
) -> None:
    """Reject unless a call of the learner's code raises an error of a kind.

    Args:
        call: without arguments.
        hint: what was tried that can't be.
        kind: name of the error that the docstring asks for.
        names: what its message must name, where the docstring says that it does.

    >>> refused(lambda: 0, "a step of 0")
    Traceback (most recent call last):
    ...
    utils.labs.checking.Rejected: a step of 0: raise a ValueError that says so; nothing was raised
    """
    try:
        call()
    except LearnerError as error:
        require(kind in str(error), f"{hint}: raise a {kind} that says so, got {error}")
        text = str(error)
        message = text.rpartition(" (line ")[0] or text  # less the learner's line that raised it
        lost = [name for name in names if name not in message]
        require(not lost, f"{hint}: the message names {', '.join(names)}, got {message}")
    else:
        require(False, f"{hint}: raise a {kind} that says so; nothing was raised")


@contextmanager
def in_case(case: str) -> Iterator[None]:
    """Add to an error that the learner's code raises inside which case it was.

    Args:
        case: what was tried, true whatever the error is; no guess at its cause.

    >>> with in_case("a batch of one row"):
    ...     raise LearnerError("IndexError: too many indices")
    Traceback (most recent call last):
    ...
    utils.labs.student.LearnerError: IndexError: too many indices. The case: a batch of one row
    """
    try:
        yield
    except LearnerError as error:
        raise LearnerError(f"{error}. The case: {case}", error.arguments) from None


def readable(value: object) -> object:
    """Return a plain value whose floats have five digits.

    >>> readable({"a": [0.30000001192, 1]})
    {'a': [0.3, 1]}
    """
    if isinstance(value, np.ndarray):
        return readable(value.tolist())
    if type(value) is float:
        return float(f"{value:.5g}")
    if type(value) in (list, tuple):
        return type(value)(readable(item) for item in value)
    if type(value) is dict:
        return {key: readable(item) for key, item in value.items()}
    return value


def brief(value: object, limit: int = 160) -> str:
    """Return a value as a short text for a hint, cut between two of its parts; it never raises.

    >>> brief(np.array([[True, False]])), brief(list(range(99)), 20)
    ('[[True, False]]', '[0, 1, 2, 3, 4, ...')
    >>> brief(10**5000)
    'an int too long to print'
    """
    try:
        return cut(repr(readable(value)), limit)
    except ValueError:  # Python prints no whole number of more than 4300 digits
        return f"an {type(value).__name__} too long to print"


def cut(text: str, limit: int) -> str:
    """Return a text, or as many of its words as there is room for, and three points.

    >>> cut("one two three", 9)
    'one ...'
    """
    if len(text) <= limit:
        return text
    start = text[: limit - 4]
    return (start.rpartition(" ")[0] or start) + " ..."


def asked(hint: str, got: object) -> str:
    """Return a hint with the call that gave `got`, where it is known."""
    call = call_of(got)
    return f"{hint}; tried {call}" if call else hint


def where_they_differ(want: object, got: object, limit: int = 160) -> str:
    """Return what was expected and what came, cut around the first place that differs.

    >>> where_they_differ([1, 2], [2, 1])
    'expected [1, 2], got [2, 1]'
    >>> where_they_differ(list(range(99)), [*range(50), 0, *range(51, 99)])[:46]
    'from place 47 on expected [47, 48, 49, 50, 51,'
    """
    long = max(len(repr(want)), len(repr(got))) > limit
    if long and isinstance(want, str | bytes | list | tuple) and type(got) is type(want):
        pairs = enumerate(zip(want, got, strict=False))
        first = next((k for k, (a, b) in pairs if a != b), min(len(want), len(got)))
        start = max(0, first - 3)
        lengths = "" if len(want) == len(got) else f", of {len(want)}, got {len(got)} items"
        return (
            f"from place {start} on expected {brief(want[start : first + 8])}, "
            f"got {brief(got[start : first + 8])}{lengths}"
        )
    if long and isinstance(want, dict) and isinstance(got, dict):
        keys = [key for key in {**want, **got} if key not in got or key not in want]
        keys += [key for key in want if key in got and want[key] != got[key]]
        shown = [{k: d[k] for k in keys[:3] if k in d} for d in (want, got)]
        return f"of {len(want)} entries {len(keys)} differ: expected {shown[0]}, got {shown[1]}"
    if brief(want) == brief(got):  # what differs is a digit that is not shown
        return f"expected {cut(repr(want), limit)}, got {cut(repr(got), limit)}"
    return f"expected {brief(want)}, got {brief(got)}"


def same(got: object, want: object, hint: str) -> None:
    """Reject unless two plain values are equal, types of numbers and all.

    >>> same([1, 2], [2, 1], "smallest first")
    Traceback (most recent call last):
    ...
    utils.labs.checking.Rejected: smallest first (expected [2, 1], got [1, 2])
    """
    hint = asked(hint, got)
    if isinstance(want, np.ndarray):
        array = as_array(got, hint)
        if array.shape != want.shape:
            raise Rejected(f"{hint} (expected shape {want.shape}, got {array.shape})")
        if array.dtype.kind != want.dtype.kind:
            raise Rejected(f"{hint} (expected {want.dtype}, got {array.dtype})")
        wrong = array != want
        if wrong.any() and array.size > (4 if array.dtype.kind == "f" else 12):
            raise Rejected(f"{hint} ({first_of(wrong, want, array)})")
        equal = not wrong.any()
    else:
        equal = type(got) is type(want) and got == want
    if not equal:
        raise Rejected(f"{hint} ({where_they_differ(want, got)})")


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
    utils.labs.checking.Rejected: halve it (1 of 2 values differs; at [1]: expected 2, got 2.5)
    """
    want, hint = np.asarray(want), asked(hint, got)
    array = as_array(got, hint)
    if array.shape != want.shape:
        raise Rejected(f"{hint} (expected shape {want.shape}, got {array.shape})")
    if np.isfinite(want).all() and not np.isfinite(array).all():
        raise Rejected(f"{hint} (the result holds NaN or infinity)")
    wrong = ~np.isclose(array, want, atol=atol, rtol=rtol, equal_nan=True)
    if wrong.any():
        raise Rejected(f"{hint} ({first_of(wrong, want, array)})")


def first_of(wrong: np.ndarray, want: np.ndarray, got: np.ndarray) -> str:
    """Return how many values differ, and the first of them.

    >>> first_of(np.array([False, True]), np.array([1, 2]), np.array([1, 3]))
    '1 of 2 values differs; at [1]: expected 2, got 3'
    """
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    expected, came = apart(float(want[first]), float(got[first]))
    found = f"expected {expected}, got {came}"
    if wrong.size == 1:
        return found
    place, n = "".join(f"[{i}]" for i in first), int(wrong.sum())
    return f"{n} of {wrong.size} values differ{'s' * (n == 1)}; at {place}: {found}"


def apart(a: float, b: float) -> tuple[str, str]:
    """Return two different numbers with as many digits as tell them apart, three at least.

    >>> apart(0.123456, 0.2), apart(0.123456, 0.123457), apart(1024.0, 3.0)
    (('0.123', '0.2'), ('0.123456', '0.123457'), ('1024', '3'))
    """
    pairs = (tuple(shortly(x, digits) for x in (a, b)) for digits in range(3, 18))
    return next((pair for pair in pairs if pair[0] != pair[1]), (repr(a), repr(b)))


def shortly(x: float, digits: int) -> str:
    """Return a number with so many digits, or with all that stand before its point.

    >>> shortly(3000.18, 3), shortly(0.5, 3), shortly(1e12, 3)
    ('3000', '0.5', '1e+12')
    """
    if abs(x) < 1e9:
        digits = max(digits, len(str(int(abs(x)))))
    return f"{x:.{digits}g}"


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


def recognise(got: object, want: object, slips: list, atol: float = 2e-5) -> None:
    """Reject a result that equals what a known mistake gives, with that mistake's hint.

    Args:
        got: the result.
        want: the right result; a mistake that gives the same here is not recognised.
        slips: pairs of what a mistake would give and the hint that names it.
        atol: how near the result must be.

    >>> recognise([3.0], [2.0], [([3.0], "one is added")])
    Traceback (most recent call last):
    ...
    utils.labs.checking.Rejected: one is added (expected 2, got 3)
    >>> recognise([4.0], [2.0], [([3.0], "one is added")])
    """
    if resembles(got, want, atol):
        return
    found = {
        hint
        for wrong, hint in slips
        if resembles(got, wrong, atol) and not resembles(wrong, want, 10 * atol)
    }
    if name := sole(found):
        close(got, want, name, atol)


def sole(found: Collection[str]) -> str:
    """Return the one name among names, or "": what two mistakes would give names neither.

    >>> sole({"half"}), sole({"half", "twice"}), sole([])
    ('half', '', '')
    """
    return next(iter(found)) if len(found) == 1 else ""


def compare_cases(cases: list[tuple[object, object, list, str]], atol: float = 2e-5) -> None:
    """Reject the first of several results that is wrong, with the mistake that all of them equal.

    One result alone may meet a mistake's number by chance.

    Args:
        cases: (result, right result, slips, hint) of each; slips as in `recognise`, in one order.
        atol: how near the results must be.

    >>> one, two = (2.0, 2.0, [(2.0, "half")], "of 1"), (3.0, 4.0, [(3.0, "half")], "of 2")
    >>> compare_cases([one, two])
    Traceback (most recent call last):
    ...
    utils.labs.checking.Rejected: half; of 2 (expected 4, got 3)
    >>> compare_cases([(2.0, 2.0, [(9.0, "half")], "of 1"), two])
    Traceback (most recent call last):
    ...
    utils.labs.checking.Rejected: of 2 (expected 4, got 3)
    """
    found = {
        slips[0][1]
        for slips in zip(*(case[2] for case in cases), strict=True)
        if all(resembles(case[0], slip[0], atol) for case, slip in zip(cases, slips, strict=True))
    }
    named = [name] if (name := sole(found)) else []
    for got, want, _, hint in cases:
        if not resembles(got, want, atol):
            close(got, want, "; ".join([*named, hint]), atol, 0)


def left_alone(student: Student, **given: np.ndarray) -> None:
    """Reject where the last call changed an argument.

    Args:
        student: whose function was called.
        given: the positional arguments in their order, by name.
    """
    for after, (name, before) in zip(student.arguments_after, given.items(), strict=False):
        not_the_mistake(
            np.array_equal(after, before),
            f"`{name}` was changed in place: make new tensors, y = x * 2 and not x *= 2",
        )


def same_gradients(
    student: Student,
    exercise: str,
    formula: Callable,
    rng: np.random.Generator,
    others: tuple = (),
    tolerance: float = 1e-3,
    **given: np.ndarray,
) -> None:
    """Reject unless the gradient of each array is that of the formula, worked out in float64.

    Args:
        student: whose function is called.
        exercise: its name.
        formula: the same with torch's own functions.
        rng: draws how much each number of the result counts.
        others: positional arguments behind the arrays.
        tolerance: allowed difference, relative and absolute.
        given: the arrays in their order, by name.
    """
    leaves = [torch.from_numpy(a).double().requires_grad_() for a in given.values()]
    result = formula(*leaves, *others)
    upstream = rng.standard_normal(tuple(result.shape))
    wanted = torch.autograd.grad((result * torch.from_numpy(upstream)).sum(), leaves)
    got = student.gradients(
        exercise, *given.values(), *others, upstream=upstream.astype(np.float32)
    )
    for name, gradient, want in zip(given, got, wanted, strict=True):
        close(
            gradient,
            want.numpy(),
            f"the gradient of `{name}` is not that of the formula: every step from `{name}` to the "
            "result counts",
            atol=tolerance,
            rtol=tolerance,
        )
