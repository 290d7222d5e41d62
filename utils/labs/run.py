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

from utils.labs.checking import Check, Rejected, brief, cut
from utils.labs.examples import try_examples
from utils.labs.exercises import exercises_in_source, is_lab
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
    """Return the checks of a lab, in the order of its exercises."""
    checks = checks_module(lab).CHECKS
    if not is_lab(lab):
        return checks
    places = {d.rpartition(".")[2]: k for k, d in enumerate(exercises_in_source(lab))}
    return sorted(checks, key=lambda check: places.get(check.exercise, len(places)))


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

    Where all parts of an exercise hold, its docstring's examples are tried as well: an answer that
    fails them loses the first part. (An answer that fails a part has a message already.)

    Args:
        lab: name such as "01_tokens".
        student: proxy of the learner's functions.
        seed: decides all random inputs, each check having its own.
        only: name of an exercise.
        title: of the one check to run.
    """
    results = []
    for check in checks_of(lab):
        if only not in (None, check.exercise) or title not in (None, check.title):
            continue
        label = f"{lab}/{check.exercise}/{check.title}"
        rng = np.random.default_rng([seed, zlib.crc32(label.encode())])
        results.append(run_one(check, student, rng))
    return [with_examples(lab, result, results, student) for result in results]


def with_examples(
    lab: str, result: CheckResult, results: list[CheckResult], student: Student
) -> CheckResult:
    """Return a result, failed where it is an exercise's first, all hold and an example does not."""
    own = [check for check in checks_of(lab) if check.exercise == result.exercise]
    if own[0].title != result.title or result.exercise in unshown(lab):
        return result
    if any(r.status != PASSED for r in results if r.exercise == result.exercise):
        return result
    example = Check(
        own[0].exercise,
        own[0].title,
        own[0].points,
        lambda student, rng: try_examples(student, lab, result.exercise),
        own[0].is_core,
    )
    return run_one(example, student, np.random.default_rng(0))


def unshown(lab: str) -> dict[str, str]:
    """Return the exercises whose examples can't be tried with plain values, each with the reason.

    A module of checks names them in `EXAMPLES_NOT_TRIED`; its checks try the like instead.
    """
    return getattr(checks_module(lab), "EXAMPLES_NOT_TRIED", {})


def run_one(check: Check, student: Student, rng: np.random.Generator) -> CheckResult:
    """Run one check and say what became of it."""
    status, hint = PASSED, ""
    student.last_call = None
    try:
        with one_thread():  # cases are tiny
            check.run(student, rng)
    except Rejected as error:
        status, hint = FAILED, str(error)
    except NotStarted:
        status, hint = NOT_STARTED, "replace the line `raise NotImplementedError(...)`"
    except Undefined as error:
        status, hint = UNDEFINED, str(error)
    except LearnerError as error:
        status, hint = ERROR, str(error)
    except Exception:
        # The check could not work with what came back: another type, structure or value. That the
        # check itself is sound is proved by its tests, where the reference passes over many seeds.
        status = FAILED
        hint = "the check can't work with what came back: compare its structure with the docstring"
        if student.last_call:
            result, call = student.last_call
            hint += f"; the last call was {call}, and it returned {brief(result)}"
    return CheckResult(
        check.exercise, check.title, check.points, status, cut(hint, MAX_HINT), check.is_core
    )
