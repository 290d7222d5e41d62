"""The worked examples of an exercise's docstring, run on the learner's function.

A learner reads them first, so they are tried first. They run here, beside the checks; only the
function itself is called where the learner's code runs, with plain values as in every check.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import math
import re
from collections.abc import Callable

import numpy as np
import torch

from utils.labs.checking import Rejected
from utils.labs.exercises import examples_of, exercises_in_source, is_lab
from utils.labs.student import LearnerError, NotStarted, Student, Undefined
from utils.labs.values import Merges

# A word such as float32 holds no number; a number that is written with a point may differ in
# rounding, one without must be the same.
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d*)?(?:e[-+]?\d+)?")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SHOWN = "shown by the example"  # a name that no code can have
PLAIN = (type(None), bool, int, float, str, bytes, np.ndarray)


def try_examples(student: Student, lab: str, exercise: str) -> None:
    """Run the examples of an exercise's docstring on the learner's function.

    Raises:
        Rejected: for the first that gives something else, with what came.
    """
    examples = examples_of(lab, exercise) if is_lab(lab) else []
    if not examples:
        return
    (dotted,) = (d for d in exercises_in_source(lab) if d.rpartition(".")[2] == exercise)
    module = importlib.import_module(dotted.rpartition(".")[0])
    names = {**vars(module), exercise: called_with_tensors(student, exercise)}
    for example in examples:
        got = shown_by(example, names)
        if not UpToRounding().check_output(example.want, got, FLAGS):
            raise Rejected(
                f"the docstring's example `{example.source.strip()}` gives "
                f"{one_line(example.want)}, yours {one_line(got)}"
            )


def shown_by(example: doctest.Example, names: dict) -> str:
    """Return what Python shows of an example: the last expression's value, nothing for None.

    Nothing of this process is changed on the way, such as where prints go: a grader runs several
    submissions side by side.

    Raises:
        LearnerError: what the learner's code raised, with the example.
        Rejected: where the example can't be worked out with what it returned.
    """
    source = example.source.strip()
    tree = ast.parse(source)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.Assign([ast.Name(SHOWN, ast.Store())], last.value)
    names[SHOWN] = None
    try:
        exec(compile(ast.fix_missing_locations(tree), "<example>", "exec"), names)
        return "" if names[SHOWN] is None else f"{names[SHOWN]!r}\n"
    except LearnerError as error:
        text = f"{error}. Tried: the docstring's example `{source}`"
        raise LearnerError(text, error.arguments) from None
    except (NotStarted, Undefined, Rejected):
        raise
    except Exception as error:
        raise Rejected(
            f"the docstring's example `{source}` can't be worked out with what you return "
            f"({type(error).__name__}: {error})"
        ) from None


class UpToRounding(doctest.OutputChecker):
    """Takes an output for the docstring's where numbers differ by no more than sums can."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        """Return whether `got` is `want`, but for the last digits of numbers with a point."""
        if super().check_output(want, got, optionflags):
            return True
        frames = ["".join(NUMBER.sub("#", text).split()) for text in (want, got)]
        if frames[0] != frames[1] or "'" in want:
            return False
        pairs = zip(NUMBER.findall(want), NUMBER.findall(got), strict=True)
        return all(a == b or ("." in a and "." in b and near(a, b)) for a, b in pairs)


def near(a: str, b: str) -> bool:
    """Return whether two written numbers are the same up to rounding.

    >>> near("2.", "2.0001"), near("2.", "2.01")
    (True, False)
    """
    return math.isclose(float(a), float(b), rel_tol=1e-4, abs_tol=2e-4)


def one_line(text: str) -> str:
    """Return a printed value on one line.

    >>> one_line("tensor([[1.],\\n        [2.]])")
    'tensor([[1.], [2.]])'
    """
    return " ".join(text.split()) or "nothing"


def called_with_tensors(student: Student, exercise: str) -> Callable:
    """Return the learner's function as an example calls it: with tensors, for tensors."""

    def function(*args: object, **kwargs: object) -> object:
        return tensors(getattr(student, exercise)(*arrays(list(args)), **arrays(kwargs)))

    return function


def arrays(value: object) -> object:
    """Return a value with NumPy arrays for tensors, and what stands for a tokenizer for it.

    Raises:
        TypeError: for an object that is neither plain nor a tensor.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    if hasattr(value, "merges"):
        return Merges(value.merges)
    if isinstance(value, list | tuple):
        return type(value)(arrays(item) for item in value)
    if isinstance(value, dict):
        return {arrays(key): arrays(item) for key, item in value.items()}
    if isinstance(value, set):
        return {arrays(item) for item in value}
    if not isinstance(value, PLAIN):
        raise TypeError(f"an example passes a {type(value).__name__}, which is no plain value")
    return value


def tensors(value: object) -> object:
    """Return a value with tensors for NumPy arrays."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, list | tuple):
        return type(value)(tensors(item) for item in value)
    if isinstance(value, dict):
        return {key: tensors(item) for key, item in value.items()}
    return value
