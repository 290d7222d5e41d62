"""What a lab calls: `check`, `done`, `hint` and `borrow`, after `start_lab` in its first cell.

They report and never raise, so that an unsolved lab runs from top to bottom. Output is plain text
without times, the same on every machine; so inputs are those of seed 0 here and drawn afresh only
when a lab is graded.
"""

from __future__ import annotations

import hashlib
import inspect
import textwrap
import time
import types
from dataclasses import dataclass, field
from pathlib import Path

from utils.labs import progress, run
from utils.labs.exercises import body_of, exercises_in_source, is_lab, is_the_courses_own, reference
from utils.labs.student import SLEEP_FACTOR, LearnerError, LocalBackend, Student
from utils.labs.unchanged import unchanged

LEARNER_FOLDERS = ("labs", "work")
EXERCISE_SECONDS = 30.0  # for all calls of one exercise; the references take under 0.1
TRIES_BEFORE_THE_ANSWER = 3  # different ones, each checked


@dataclass
class Session:
    """The lab that this notebook is, whose functions it defines, and what is known about them."""

    lab: str | None = None
    namespace: dict | None = None
    known: dict = field(default_factory=dict)  # (exercise, fingerprint) -> its core passed
    hints_shown: dict = field(default_factory=dict)
    tries: dict = field(default_factory=dict)  # exercise -> fingerprints of answers that failed
    last_failure: dict = field(default_factory=dict)  # exercise -> result that failed last
    helped: set = field(default_factory=set)  # exercises whose answer was opened


SESSION = Session()


def start_lab(lab: str, namespace: dict | None = None) -> None:
    """Say which lab this notebook is; the learner's functions are looked up in the notebook.

    Args:
        lab: name such as "01_tokens".
        namespace: where functions are; None for the notebook's own names.

    Raises:
        ValueError: for a lab without checks.
    """
    run.checks_of(lab)
    if namespace is None:
        namespace = notebook_namespace()
    SESSION.lab, SESSION.namespace = lab, namespace
    SESSION.known, SESSION.hints_shown, SESSION.tries = {}, {}, {}
    SESSION.last_failure, SESSION.helped = {}, set()


def notebook_namespace() -> dict:
    """Return the names that the running notebook has defined.

    Raises:
        RuntimeError: outside a notebook.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        raise RuntimeError("no notebook is running: pass the namespace with the functions")
    return shell.user_ns


def results_of(exercise: str) -> list[run.CheckResult] | None:
    """Return the results of an exercise's checks, or None after saying what is missing."""
    if SESSION.lab is None or SESSION.namespace is None:
        print('Run the first cell of the lab: it holds start_lab("...").')
        return None
    names = run.exercises_of(SESSION.lab)
    if exercise not in names:
        print(f"There is no exercise {exercise!r} in this lab; there are: {', '.join(names)}.")
        return None
    return tried(exercise)


class NotebookBackend(LocalBackend):
    """Calls the notebook's functions; those that are slow all along don't keep the learner waiting.

    One call that never ends is `LocalBackend`'s business.
    """

    def __init__(self, namespace: dict):
        super().__init__(namespace)
        self.end = time.process_time() + EXERCISE_SECONDS  # of work: a busy machine costs none
        self.clock_end = time.monotonic() + SLEEP_FACTOR * EXERCISE_SECONDS

    def _run(self, function, name, *rest):
        if time.process_time() > self.end or time.monotonic() > self.clock_end:
            raise LearnerError(
                f"`{name}` takes too long to be tried further: its cases so far are small and took "
                f"more than {EXERCISE_SECONDS:.0f} s together. Look which of your lines run most "
                "often, and whether they have to; on a machine that is busy, check once more"
            )
        return super()._run(function, name, *rest)


def tried(exercise: str, seed: int = 0, title: str | None = None) -> list[run.CheckResult]:
    """Return the results of an exercise's checks, or of one; the notebook stays as it was."""
    with unchanged() as changed:
        student = Student(NotebookBackend(SESSION.namespace))
        results = run.run_checks(SESSION.lab, student, seed, exercise, title)
    for what in changed:
        print(f"{exercise} changes {what} for the whole notebook; that was undone.")
    return results


def check(exercise: str) -> None:
    """Try the learner's function and print what holds, what doesn't, and what to do next."""
    if is_borrowed(exercise):
        print(f"{exercise}: this is the course's own function, which earns nothing. Write yours.")
        return
    results = results_of(exercise)
    if results is None:
        return
    earned, points = sum(r.earned for r in results), sum(r.points for r in results)
    passed = all(r.status == run.PASSED for r in results)
    SESSION.known[exercise, fingerprint(SESSION.namespace)] = core_passed(results)
    if all(r.status == run.NOT_STARTED for r in results):
        print(f"{exercise}: not started. Replace `raise NotImplementedError(...)` with your code.")
        return
    print(f"{exercise}: {earned} of {points} points")
    print_results(results)
    if not passed:
        note_failure(exercise, results)
        for line in faults_below(exercise):
            print(f"  {line}")
        print(f'  Stuck? hint("{exercise}") gives an idea; call it again for the next step.')
    if is_learner_notebook():
        progress.record(SESSION.lab, exercise, earned, points, exercise in SESSION.helped)


def print_results(results: list[run.CheckResult]) -> None:
    """Print a line for each part; a fault that two parts share is told once."""
    told: dict[str, str] = {}
    for result in results:
        print(f"  {result.status:<11}  {result.title}")
        if result.hint in told:
            print(f"               the same as for {told[result.hint]!r}")
        elif result.hint:
            told[result.hint] = result.title
            print(f"               {result.hint}")


def core_passed(results: list[run.CheckResult]) -> bool:
    """Return whether an exercise works well enough for the experiments that use it."""
    return all(r.status == run.PASSED for r in results if r.is_core)


def is_borrowed(exercise: str) -> bool:
    """Return whether the notebook has the course's own function under an exercise's name."""
    if SESSION.lab is None or SESSION.namespace is None:
        return False
    return is_the_courses_own(SESSION.namespace.get(exercise), SESSION.lab, exercise)


def note_failure(exercise: str, results: list[run.CheckResult]) -> None:
    """Remember a try that failed, and why, for the hints."""
    first = next(r for r in results if r.status != run.PASSED)
    SESSION.last_failure[exercise] = first
    digest = hashlib.sha256()
    function = SESSION.namespace.get(exercise)
    if isinstance(function, types.FunctionType):
        add_function(digest, function)
    SESSION.tries.setdefault(exercise, set()).add(digest.hexdigest())


def faults_below(exercise: str) -> list[str]:
    """Return, for an answer that failed, which other exercises it calls that fail as well."""
    lines = []
    for other in called_by(exercise):
        if is_borrowed(other):
            continue
        results = tried(other)
        if core_passed(results):
            continue
        state = "is not written yet" if results[0].status == run.NOT_STARTED else "fails its check"
        lines.append(
            f"`{other}`, which your `{exercise}` calls, {state}. Mend it first, or put the "
            f'course\'s in its place for now: borrow("{other}").'
        )
    return lines


def called_by(exercise: str) -> list[str]:
    """Return the other exercises of the lab that the learner's function refers to by name."""
    found, waiting = set(), [exercise]
    others = [name for name in run.exercises_of(SESSION.lab) if name != exercise]
    while waiting:
        function = SESSION.namespace.get(waiting.pop())
        if isinstance(function, type):
            parts = [part for part in vars(function).values()]
        else:
            parts = [function]
        names = {
            n for p in parts if isinstance(p, types.FunctionType) for n in names_in(p.__code__)
        }
        waiting += [name for name in others if name in names and name not in found]
        found |= names & set(others)
    return [name for name in others if name in found]


def names_in(code: types.CodeType) -> set[str]:
    """Return the names that a piece of code looks up, those of functions inside it included."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*(names_in(one) for one in inner))


def borrow(exercise: str) -> None:
    """Put the course's own function in the place of an unsolved exercise, so that others can go on.

    It earns nothing, and when the lab is graded the learner's own function stands there.
    """
    if SESSION.lab is None or SESSION.namespace is None:
        print('Run the first cell of the lab: it holds start_lab("...").')
        return
    own = reference(SESSION.lab, exercise)
    if own is None:
        print(f"There is no exercise {exercise!r} in this lab.")
        return
    SESSION.namespace[exercise] = own
    print(
        f"{exercise} is now the course's own, in this notebook alone, until you run your cell "
        "again. It earns no points; when the lab is graded, yours stands in its place."
    )


class CheckFailed(AssertionError):
    """A part of an exercise that does not hold; a notebook shows its text and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return textwrap.wrap(str(self), 80)


def require_check(exercise: str, part: int, seed: int = 0) -> None:
    """Raise unless one part of an exercise holds: what the grading cells for nbgrader call.

    Args:
        exercise: name of the learner's function.
        part: number of the check among those of the exercise, from 1.
        seed: decides all random inputs.

    Raises:
        CheckFailed: with the hint, where the part does not hold.
        ValueError: before `start_lab`, or for a part that is not there.
    """
    if SESSION.lab is None or SESSION.namespace is None:
        raise ValueError('run the first cell of the lab: it holds start_lab("...")')
    own = [c for c in run.checks_of(SESSION.lab) if c.exercise == exercise]
    if not 1 <= part <= len(own):
        raise ValueError(f"{exercise} of {SESSION.lab} has {len(own)} parts; there is no {part}")
    (result,) = tried(exercise, seed, own[part - 1].title)
    if result.status != run.PASSED:
        raise CheckFailed(f"{exercise}, {result.title}: {result.status}. {result.hint}")


def done(*exercises: str) -> bool:
    """Return whether all of these exercises pass; print the ones that don't yet.

    A function that has not changed since it was last tried is not tried again.
    """
    missing = []
    for exercise in exercises:
        key = (exercise, fingerprint(SESSION.namespace or {}))
        if key not in SESSION.known:
            results = results_of(exercise)
            if results is None:
                return False
            SESSION.known[key] = core_passed(results)
        if not SESSION.known[key]:
            missing.append(exercise)
    if missing:
        print(f"Skipped until solved: {', '.join(missing)}.")
    return not missing


def hint(exercise: str, reveal: bool = False) -> None:
    """Print the next hint for an exercise: idea, a step that fits the last try, outline, answer.

    Args:
        exercise: name of the learner's function.
        reveal: open the answer now. Otherwise it opens after three different tries; either way the
            board then says "with help".
    """
    if SESSION.lab is None or SESSION.namespace is None:
        print('Run the first cell of the lab: it holds start_lab("...").')
        return
    ladder = run.checks_module(SESSION.lab).HINTS.get(exercise)
    if ladder is None:
        print(f"There is no exercise {exercise!r} in this lab.")
        return
    if reveal:
        show_answer(exercise)
        return
    idea, *steps = ladder
    rungs = [idea, middle_rung(exercise, steps), steps[-1]]
    rung = SESSION.hints_shown.get(exercise, 0)
    SESSION.hints_shown[exercise] = rung + 1
    if rung < len(rungs):
        print(f"Hint {rung + 1} of {len(rungs)}: {rungs[rung]}")
    elif len(SESSION.tries.get(exercise, ())) >= TRIES_BEFORE_THE_ANSWER:
        show_answer(exercise)
    else:
        print(f"Hint {len(rungs)} of {len(rungs)}: {rungs[-1]}")
        n_tries = len(SESSION.tries.get(exercise, ()))
        print(
            f"The answer opens after {TRIES_BEFORE_THE_ANSWER} different tries that you have "
            f'checked ({n_tries} so far), or at once with hint("{exercise}", reveal=True).'
        )


def middle_rung(exercise: str, steps: list[str]) -> str:
    """Return the hint between idea and outline: what the last try lacked, and how to look at it."""
    failed = SESSION.last_failure.get(exercise)
    if failed is None:
        return steps[0] if len(steps) > 1 else f'Write a first try and run check("{exercise}").'
    look = steps[0] if len(steps) > 1 else "Work that case out by hand, line by line of your code."
    return f"Your last try, in {failed.title!r}: {failed.hint}\n{look}"


def show_answer(exercise: str) -> None:
    """Print the course's answer to an exercise; the board says so from now on."""
    if not is_lab(SESSION.lab):
        print("This exercise is for practice; its answer is not kept.")
        return
    SESSION.helped.add(exercise)
    if is_learner_notebook():
        points = points_of_unit(SESSION.lab)[exercise]
        progress.record(SESSION.lab, exercise, 0, points, with_help=True)
    (dotted,) = (d for d in exercises_in_source(SESSION.lab) if d.endswith(f".{exercise}"))
    print(f"The course's answer, from {dotted.rpartition('.')[0]}. Read it, close it, write yours:")
    print(body_of(SESSION.lab, exercise))


def fingerprint(namespace: dict) -> str:
    """Return what a notebook's functions, classes and constants are now, to see if one changed."""
    digest = hashlib.sha256()
    for name in sorted(key for key in namespace if isinstance(key, str) and key[:1] != "_"):
        value = inspect.unwrap(namespace[name]) if callable(namespace[name]) else namespace[name]
        digest.update(name.encode())
        if isinstance(value, types.FunctionType):
            add_function(digest, value)
        elif isinstance(value, type) and value.__module__ == "__main__":
            digest.update(str(id(value)).encode())
        elif isinstance(value, bool | int | float | str | bytes | tuple):
            digest.update(repr(value)[:2000].encode())
    return digest.hexdigest()


def add_function(digest, function: types.FunctionType) -> None:
    """Add a function's code, defaults and closed-over functions and values to a digest."""
    add_code(digest, function.__code__)
    digest.update(f"{function.__defaults__}{function.__kwdefaults__}".encode())
    for cell in function.__closure__ or ():
        held = cell.cell_contents
        if isinstance(held, types.FunctionType) and held is not function:
            add_code(digest, held.__code__)
        else:
            digest.update(str(id(held)).encode())


def add_code(digest, code: types.CodeType) -> None:
    """Add the instructions and constants of a function, nested ones included, to a digest."""
    digest.update(code.co_code + repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            add_code(digest, constant)
        else:
            digest.update(repr(constant).encode())


def is_learner_notebook() -> bool:
    """Return whether the notebook runs from labs/ or work/, so that results are the learner's."""
    return Path.cwd().name in LEARNER_FOLDERS


def points_of_unit(unit: str) -> dict[str, int]:
    """Return the points of each exercise of a unit: the sum over its checks.

    >>> points_of_unit("99_nothing")
    {}
    """
    try:
        checks = run.checks_of(unit)
    except ValueError:
        return {}
    points: dict[str, int] = {}
    for one in checks:
        points[one.exercise] = points.get(one.exercise, 0) + one.points
    return points
