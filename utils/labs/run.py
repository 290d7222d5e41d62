"""Running a lab's checks against a learner's functions.

The same in a notebook, in CI and in the grader: only the `student` differs. Never raises for
anything that the learner did.
"""

from __future__ import annotations

import importlib
import zlib
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from utils.labs.checking import Check, Recognised, Rejected
from utils.labs.examples import try_examples
from utils.labs.student import LearnerError, NotStarted, Student, Undefined
from utils.runtime import one_thread

PASSED, FAILED, ERROR, NOT_STARTED, UNDEFINED = (
    "passed",
    "failed",
    "error",
    "not started",
    "undefined",
)
MAX_HINT = 800  # characters


@dataclass(frozen=True)
class CheckResult:
    """What became of one check."""

    exercise: str
    title: str
    points: int
    status: str
    hint: str = ""
    is_core: bool = True  # whether experiments wait for it

    @property
    def earned(self) -> int:
        """Points for this check: all or none."""
        return self.points if self.status == PASSED else 0


def checks_module(lab: str) -> ModuleType:
    """Return the module with the checks of a lab such as "01_tokens".

    Raises:
        ValueError: for a lab without checks.
    """
    name = f"utils.labs.checks.{lab}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(f"there are no checks for a lab called {lab!r}") from None


def checks_of(lab: str) -> list[Check]:
    """Return the checks of a lab in their order."""
    return checks_module(lab).CHECKS


def exercises_of(lab: str) -> list[str]:
    """Return the exercises of a lab in the order of their checks."""
    return list(dict.fromkeys(check.exercise for check in checks_of(lab)))


def run_checks(
    lab: str,
    student: Student,
    seed: int = 0,
    only: str | None = None,
    title: str | None = None,
) -> list[CheckResult]:
    """Run the checks of a lab, or those of one exercise, or one of these.

    Args:
        lab: name such as "01_tokens".
        student: proxy of the learner's functions.
        seed: decides all random inputs, each check having its own.
        only: name of an exercise.
        title: of the one check to run.
    """
    results = []
    first = {}  # the part of each exercise that tries the docstring's examples, too
    for check in checks_of(lab):
        first.setdefault(check.exercise, check)
        if only not in (None, check.exercise) or title not in (None, check.title):
            continue
        label = f"{lab}/{check.exercise}/{check.title}"
        rng = np.random.default_rng([seed, zlib.crc32(label.encode())])
        tries_examples = check is first[check.exercise] and check.exercise not in unshown(lab)
        results.append(run_one(check, student, rng, lab if tries_examples else None))
    return results


def unshown(lab: str) -> dict[str, str]:
    """Return the exercises whose examples can't be tried with plain values, each with the reason.

    A module of checks names them in `EXAMPLES_NOT_TRIED`; its checks try the like instead.
    """
    return getattr(checks_module(lab), "EXAMPLES_NOT_TRIED", {})


def try_both(check: Check, student: Student, rng: np.random.Generator, lab: str) -> None:
    """Try the docstring's examples, then the check; a mistake that the check names is told first.

    Raises:
        Rejected: for the first of them that fails.
    """
    try:
        try_examples(student, lab, check.exercise)
    except Rejected as shown:
        try:
            check.run(student, rng)
        except Recognised as named:
            raise Rejected(f"{named}; {shown}") from None
        except Exception:
            raise shown from None  # whatever else fails, the example is easier to read
        raise
    check.run(student, rng)


def run_one(
    check: Check, student: Student, rng: np.random.Generator, examples_of: str | None = None
) -> CheckResult:
    """Run one check and say what became of it.

    Args:
        check: one part of an exercise.
        student: proxy of the learner's functions.
        rng: for the inputs.
        examples_of: lab whose docstring's examples are tried first; None for none.
    """
    status, hint = PASSED, ""
    try:
        with one_thread():  # cases are tiny
            if examples_of is not None:
                try_both(check, student, rng, examples_of)
            else:
                check.run(student, rng)
    except Rejected as error:
        status, hint = FAILED, str(error)
    except NotStarted:
        status, hint = NOT_STARTED, "replace the line `raise NotImplementedError(...)`"
    except Undefined as error:
        status, hint = UNDEFINED, str(error)
    except LearnerError as error:
        status, hint = ERROR, str(error)
    except Exception as error:
        # The check could not work with what came back: another type, structure or value. That the
        # check itself is sound is proved by its tests, where the reference passes over many seeds.
        status = FAILED
        hint = f"the result has another structure than the docstring says ({error})"
    return CheckResult(
        check.exercise, check.title, check.points, status, hint[:MAX_HINT], check.is_core
    )
