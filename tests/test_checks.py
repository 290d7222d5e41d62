"""The checks under test: references pass, stubs are not started, wrong answers and mutants fail.

For every lab: its exercises are the markers in `solutions/source/NN_topic.py`, its wrong answers
are in `tests/wrong_answers/NN_topic.py`.
"""

import importlib
import inspect
import os
import re
import time

import pytest

from tests.mutants import mutants
from utils.labs import run
from utils.labs.board import labs
from utils.labs.student import LocalStudent
from utils.settings import project_root

MARKER = re.compile(
    r"^# exercise: (\S+) points=(\d+) minutes=(\d+) difficulty=([123])(?: bonus)?$", re.M
)
LABS = labs()
DEAR = ("04_pretraining", "14_data_parallel", "15_model_parallel")  # seconds for each seed
IN_RANKS = ("14_data_parallel", "15_model_parallel")  # each part starts processes, many times
SEEDS_OF_A_MUTANT = (0, 1, 2)
ALL = "COURSE_TESTS_ALL" in os.environ  # the weekly run
SECONDS_OF_A_WRONG_ANSWER = 10  # ranks that wait for each other for ever take seconds at each seed


def seeds_of_a_wrong_answer(lab):
    """Return the seeds at which all parts are tried, and those at which one must reject."""
    if ALL:
        return (0, 1), range(2, 8)
    return ((0,), (1,)) if lab in IN_RANKS else ((0, 1), (2, 3))


def markers(lab):
    source = project_root() / "solutions/source" / f"{lab}.py"
    return MARKER.findall(source.read_text("utf-8"))


def references(lab):
    """Return exercise -> (function, its module)."""
    found = {}
    for dotted, *_ in markers(lab):
        module = importlib.import_module(dotted.rpartition(".")[0])
        found[dotted.rpartition(".")[2]] = (getattr(module, dotted.rpartition(".")[2]), module)
    return found


def namespace_of(lab):
    return {name: function for name, (function, _) in references(lab).items()}


def defined_by(code, lab, exercise):
    """Return the lab's reference namespace with one exercise defined by other code."""
    function, module = references(lab)[exercise]
    scope = {**vars(module), **namespace_of(lab)}
    exec(compile(code, "<learner>", "exec"), scope)
    return {**namespace_of(lab), exercise: scope[exercise]}


def verdicts(lab, namespace, exercise, seeds, seconds=10.0):
    student = LocalStudent(namespace, seconds=seconds)
    return [r for s in seeds for r in run.run_checks(lab, student, s, only=exercise)]


def first_failure(lab, namespace, exercise, seeds, seconds=10.0, first=None):
    """Return the first result that is no pass, or None; later parts and seeds are not run.

    `first` is the title of the part to try first: what rejected an answer once mostly does again.
    """
    titles = [check.title for check in run.checks_of(lab) if check.exercise == exercise]
    titles.sort(key=lambda title: title != first)
    for seed in seeds:
        for title in titles:
            student = LocalStudent(namespace, seconds=seconds)
            (result,) = run.run_checks(lab, student, seed, exercise, title)
            if result.status != "passed":
                return result
    return None


def wrong_answers(lab):
    return importlib.import_module(f"tests.wrong_answers.{lab}")


def pairs(of):
    return [(lab, item) for lab in LABS for item in of(lab)]


@pytest.mark.parametrize("lab", LABS)
def test_markers_checks_points_and_hints_agree(lab):
    points = {dotted.rpartition(".")[2]: int(p) for dotted, p, *_ in markers(lab)}
    summed = {}
    for check in run.checks_of(lab):
        summed[check.exercise] = summed.get(check.exercise, 0) + check.points
    assert summed == points
    hints = run.checks_module(lab).HINTS
    assert set(hints) == set(points)
    assert all(len(ladder) == 3 and all(len(h) > 20 for h in ladder) for ladder in hints.values())


@pytest.mark.parametrize(
    "lab, n_seeds",
    [(lab, 5 if lab in DEAR else 20) for lab in LABS]
    + [pytest.param(lab, 20, marks=pytest.mark.weekly) for lab in DEAR],
)
def test_references_pass_over_many_seeds(lab, n_seeds):
    results = verdicts(lab, namespace_of(lab), None, range(n_seeds))
    failed = [r for r in results if r.status != "passed"]
    assert not failed, failed[:3]


@pytest.mark.parametrize("lab", LABS)
def test_stubs_are_not_started(lab):
    def stub(*args, **kwargs):
        raise NotImplementedError("your code: ...")

    namespace = {name: stub for name in namespace_of(lab)}
    assert {r.status for r in verdicts(lab, namespace, None, [0])} == {"not started"}
    assert {r.status for r in verdicts(lab, {}, None, [0])} == {"undefined"}


def raises(error):
    def answer(*args, **kwargs):
        raise error("no")

    return answer


TRIVIAL = {
    **{kind.__name__: raises(kind) for kind in (ValueError, TypeError, OSError, IndexError)},
    "nothing": lambda *args, **kwargs: None,
    "the first argument": lambda *args, **kwargs: (*args, *kwargs.values(), None)[0],
    "the last argument": lambda *args, **kwargs: (None, *args, *kwargs.values())[-1],
    "zero": lambda *args, **kwargs: 0,
    "one": lambda *args, **kwargs: 1.0,
    "yes": lambda *args, **kwargs: True,
    "an empty list": lambda *args, **kwargs: [],
    "an empty text": lambda *args, **kwargs: "",
    "an empty dictionary": lambda *args, **kwargs: {},
}


@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize("answer", TRIVIAL)
def test_an_answer_without_any_work_earns_no_point(lab, answer):
    namespace = dict.fromkeys(namespace_of(lab), TRIVIAL[answer])
    assert not [r for r in verdicts(lab, namespace, None, [0, 1]) if r.status == "passed"]


@pytest.mark.parametrize("lab", LABS)
def test_every_exercise_has_three_wrong_answers_of_its_own(lab):
    wrong = wrong_answers(lab).WRONG
    for exercise in namespace_of(lab):
        codes = [w.code for w in wrong if w.exercise == exercise]
        assert len(codes) >= 3 and len(set(codes)) == len(codes), exercise
    assert {w.exercise for w in wrong} <= set(namespace_of(lab))
    assert [w.why for w in wrong if not w.words.strip()] == [], "no words: any hint would do"


@pytest.mark.parametrize(
    "lab, wrong",
    pairs(lambda lab: wrong_answers(lab).WRONG),
    ids=lambda v: v if isinstance(v, str) else f"{v.exercise}-{v.why}".replace(" ", "_"),
)
def test_wrong_answer_is_rejected_with_words_that_help(lab, wrong):
    start = time.monotonic()
    seeds, more_seeds = seeds_of_a_wrong_answer(lab)
    results = verdicts(lab, defined_by(wrong.code, lab, wrong.exercise), wrong.exercise, seeds)
    rejected = [r for r in results if r.status != "passed"]
    assert rejected, f"accepted: {wrong.why}"
    assert "not started" not in {r.status for r in rejected}
    hints = [r.hint for r in rejected]
    assert any(wrong.words.lower() in hint.lower() for hint in hints), hints
    for seed in more_seeds:  # not by luck of one draw
        if time.monotonic() - start > SECONDS_OF_A_WRONG_ANSWER:
            break
        namespace = defined_by(wrong.code, lab, wrong.exercise)
        again = first_failure(lab, namespace, wrong.exercise, [seed], first=rejected[0].title)
        assert again, f"accepted with seed {seed}: {wrong.why}"


@pytest.mark.parametrize("lab, exercise", pairs(lambda lab: list(namespace_of(lab))))
def test_mutants_are_rejected_or_listed(lab, exercise):
    function, _ = references(lab)[exercise]
    source = inspect.getsource(function)
    start = time.process_time()
    unchanged = verdicts(lab, defined_by(source, lab, exercise), exercise, SEEDS_OF_A_MUTANT)
    # Enough for a call on a busy machine, and soon over where a mutant never ends.
    seconds = max(0.7, (time.process_time() - start) / len(SEEDS_OF_A_MUTANT))
    assert all(r.status == "passed" for r in unchanged), "the reference itself fails"
    listed = {label for name, label in wrong_answers(lab).EQUIVALENT if name == exercise}
    survived, n_mutants, killer = set(), 0, None
    for label, code in mutants(source):
        n_mutants += 1
        namespace = defined_by(code, lab, exercise)
        rejected = first_failure(lab, namespace, exercise, SEEDS_OF_A_MUTANT, seconds, killer)
        if rejected and label in listed:  # said to be equivalent: no clock may say otherwise
            namespace = defined_by(code, lab, exercise)
            rejected = first_failure(lab, namespace, exercise, SEEDS_OF_A_MUTANT)
        if rejected is None:
            survived.add(label)
        else:
            killer = rejected.title
    assert n_mutants
    assert survived <= listed, f"accepted: {sorted(survived - listed)}"
    assert listed <= survived, f"listed as equivalent and rejected: {sorted(listed - survived)}"


@pytest.mark.parametrize("lab", LABS)
def test_equivalent_mutants_have_reasons(lab):
    assert all(len(reason) > 15 for reason in wrong_answers(lab).EQUIVALENT.values())
