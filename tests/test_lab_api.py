"""A lab's notebook as a learner uses it: own functions, faults below, hints, borrowed functions."""

import functools

import pytest
import torch

from utils.labs import api, progress, run
from utils.labs.board import labs
from utils.labs.checking import Check, in_case, same
from utils.labs.examples import UpToRounding, try_examples
from utils.labs.exercises import body_of, examples_of, is_the_courses_own, model_answers
from utils.labs.student import LearnerError, LocalStudent
from utils.labs.unchanged import unchanged
from utils.model import attention, norm
from utils.model.attention import causal_mask
from utils.model.norm import rms_norm

LAB = "02_attention"


def wrong_mask(n):
    return torch.ones(n, n, dtype=torch.bool)


def unsolved(*args, **kwargs):
    raise NotImplementedError("your code: ...")


@pytest.fixture
def lab(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    names = {}
    api.start_lab(LAB, names)
    return names


@pytest.mark.parametrize(
    "answer",
    [
        causal_mask,
        functools.partial(causal_mask),
        lambda n: causal_mask(n),
        lambda n: attention.causal_mask(n),
        functools.wraps(causal_mask)(lambda n: causal_mask(n)),
    ],
    ids=["imported", "partial", "called", "called by module", "wrapped"],
)
def test_the_courses_own_function_earns_nothing_and_is_named(lab, capsys, answer):
    lab["causal_mask"] = answer
    api.check("causal_mask")
    assert "this is the course's own function" in capsys.readouterr().out
    assert progress.load() == {}


def test_an_answer_of_ones_own_is_not_taken_for_the_courses():
    def mine(n):
        return torch.ones(n, n, dtype=torch.bool).tril()

    assert not is_the_courses_own(mine, LAB, "causal_mask")
    assert not is_the_courses_own(None, LAB, "causal_mask")
    assert not is_the_courses_own(mine, "no lab", "causal_mask")


def test_the_first_failure_stands_in_full_and_the_same_again_is_one_line(capsys):
    results = [run.CheckResult("f", title, 1, "error", "ValueError: no") for title in ("a", "b")]
    api.print_results(results)
    told = capsys.readouterr().out
    assert told.count("ValueError: no") == 1 and "the same as for 'a'" in told


def test_an_exercise_below_that_is_not_written_is_named():
    def half_done(x):
        return deeper(x)

    def deeper(x):
        raise NotImplementedError("your code: ...")

    student = LocalStudent({"half_done": half_done, "deeper": deeper})
    with pytest.raises(LearnerError, match="`deeper`, which your `half_done` calls, is not writ"):
        student.half_done(1)


def decoder_block(x, gain, *rest):
    return rms_norm(x, gain)  # of the lab's names, when it is checked


def test_an_exercise_below_that_fails_is_named_and_can_be_borrowed(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path))
    names = {"rms_norm": lambda x, weight, eps=1e-5: x, "decoder_block": decoder_block}
    api.start_lab("03_decoder", names)
    api.check("decoder_block")
    told = capsys.readouterr().out
    assert "`rms_norm`, which your `decoder_block` calls, fails its check" in told
    api.borrow("rms_norm")
    assert names["rms_norm"] is norm.rms_norm
    assert "is now the course's own" in capsys.readouterr().out
    api.borrow("no_such")
    assert "no exercise 'no_such'" in capsys.readouterr().out


def test_hints_climb_to_the_answer_after_three_tries(lab, capsys):
    lab["causal_mask"] = wrong_mask
    said = []
    for _ in range(4):
        api.hint("causal_mask")
        said.append(capsys.readouterr().out)
    assert said[0].startswith("Hint 1 of 3") and said[1].startswith("Hint 2 of 3")
    assert "opens after 3 different tries that you have checked (0 so far)" in said[3]
    for k in range(3):
        exec(f"def causal_mask(n):\n    return n * {k}", lab)
        api.check("causal_mask")
        api.check("causal_mask")  # the same again is no further try
    capsys.readouterr()
    api.hint("causal_mask")
    told = capsys.readouterr().out
    assert body_of(LAB, "causal_mask").splitlines()[-1] in told
    assert progress.load()[LAB]["causal_mask"] == [0, 2, progress.WITH_HELP]


def test_the_middle_hint_is_about_the_last_try(lab, capsys):
    lab["causal_mask"] = wrong_mask
    api.check("causal_mask")
    api.hint("causal_mask")
    capsys.readouterr()
    api.hint("causal_mask")
    assert "Your last try" in capsys.readouterr().out


def test_an_answer_on_request_is_marked_and_points_before_it_are_not(lab, capsys):
    lab["causal_mask"] = lambda n: torch.ones(n, n, dtype=torch.bool).tril()
    api.check("causal_mask")
    api.hint("causal_mask", reveal=True)
    assert progress.load()[LAB]["causal_mask"] == [2, 2]
    api.hint("apply_rope", reveal=True)
    assert progress.load()[LAB]["apply_rope"][2:] == [progress.WITH_HELP]
    assert "torch.cat" in capsys.readouterr().out


def test_experiments_wait_for_the_core_alone(monkeypatch):
    checks = [
        Check("f", "core", 1, lambda student, rng: same(student.f(1), 1, "one")),
        Check("f", "edge", 1, lambda student, rng: same(student.f(0), 0, "zero"), is_core=False),
    ]
    results = [run.run_one(c, LocalStudent({"f": lambda x: 1}), None) for c in checks]
    assert [r.status for r in results] == ["passed", "failed"]
    assert api.core_passed(results)
    assert not api.core_passed([run.CheckResult("f", "core", 1, "failed")])


def test_the_docstrings_examples_are_tried_on_the_learners_function():
    def shifted(n):
        return torch.ones(n, n, dtype=torch.bool).tril(1)

    with pytest.raises(AssertionError, match="the docstring's example `causal_mask.3..int..`"):
        try_examples(LocalStudent({"causal_mask": shifted}), LAB, "causal_mask")
    right = {"causal_mask": causal_mask}
    with unchanged() as changed:
        try_examples(LocalStudent(right), LAB, "causal_mask")
    assert not changed


def test_an_example_holds_up_to_rounding_and_no_further():
    name = "scaled_dot_product_attention"
    attend = attention.scaled_dot_product_attention
    try_examples(LocalStudent({name: lambda *args: attend(*args) * (1 + 1e-6)}), LAB, name)
    with pytest.raises(AssertionError, match="the docstring's example"):
        try_examples(LocalStudent({name: lambda *args: attend(*args) * 1.01}), LAB, name)
    compare = UpToRounding().check_output
    assert compare("tensor([[1.],\n        [2.]])\n", "tensor([[1.0000],\n        [2.0000]])\n", 0)
    for want, got in (("8.0", "8"), ("3", "3.0"), ("'a b'", "'ab'"), ("[1.]", "[1., 2.]")):
        assert not compare(want + "\n", got + "\n", 0)


def raising(n):
    raise KeyError("no")


@pytest.mark.parametrize(
    "answer, words",
    [
        (raising, "Tried: the docstring's example `causal_mask(3).int()`"),
        (lambda n: [[True]], "can't be worked out with what you return"),
    ],
)
def test_an_example_that_fails_says_which_and_why(answer, words):
    with pytest.raises((AssertionError, LearnerError)) as caught:
        try_examples(LocalStudent({"causal_mask": answer}), LAB, "causal_mask")
    assert words in str(caught.value)


@pytest.mark.parametrize("lab_name", labs())
def test_every_exercise_has_examples_and_those_not_tried_have_reasons(lab_name):
    unshown = run.unshown(lab_name)
    for exercise in run.exercises_of(lab_name):
        assert examples_of(lab_name, exercise), exercise
    assert set(unshown) <= set(run.exercises_of(lab_name))
    assert all(len(reason) > 15 for reason in unshown.values())


def test_a_hint_says_the_case_and_the_call():
    with pytest.raises(LearnerError, match="^IndexError: no. The case: one row$"):
        with in_case("one row"):
            raise LearnerError("IndexError: no")
    student = LocalStudent({"f": lambda x: [3]})
    with pytest.raises(AssertionError, match=r"; tried f\(\(1, 2\)\) \(expected \[2\], got \[3\]"):
        same(student.f((1, 2)), [2], "twice")


def test_model_answers_come_with_their_points():
    (answer,) = model_answers(LAB)
    assert answer[0] == 3 and "Rubric" in answer[1] and "# " not in answer[1][:2]
