"""The notebook side of grading: what crosses, what a check sees, what a learner reads."""

import functools
import json
import pkgutil
import re
import threading
import time

import numpy as np
import pytest
import torch

from utils.labs import api, board, progress, quiz, quizzes, run
from utils.labs.checking import Check, Rejected, close, collector, require, same
from utils.labs.student import LearnerError, LocalStudent, NotStarted, Undefined
from utils.labs.values import NotPlain, to_learner, to_plain
from utils.settings import project_root


@pytest.fixture(autouse=True)
def own_artifacts(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path / "artifacts"))


# What crosses


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2.5, "a", b"a", [1, [2]], (1, "b"), {"a": 1, (1, 2): [3]}, {}, float("inf")],
)
def test_plain_values_cross_unchanged(value):
    assert to_plain(value) == value and type(to_plain(value)) is type(value)
    assert to_learner(to_plain(value)) == value


@pytest.mark.parametrize(
    "value", [10**5000, (10**5000,), {"a": [10**5000]}], ids=["alone", "in a tuple", "deeper"]
)
def test_a_number_too_long_to_print_is_an_answer_like_others(value):
    student = LocalStudent({"count_parameters": lambda *_, **__: value})
    for result in run.run_checks("03_decoder", student, 0, "count_parameters"):
        assert result.status != run.PASSED and result.hint, result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_tensors_become_arrays_and_back(dtype):
    tensor = torch.tensor([[0, 1], [1, 1]]).to(dtype)
    array = to_plain(tensor)
    assert isinstance(array, np.ndarray) and array.tolist() == tensor.tolist()
    assert torch.equal(to_learner(array), tensor)


def test_bfloat16_gradients_and_views_cross():
    assert to_plain(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32
    assert to_plain(torch.ones(2, requires_grad=True) * 2).tolist() == [2.0, 2.0]
    assert to_plain(torch.arange(6).view(2, 3).T).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_copies_are_independent():
    tensor = torch.zeros(2)
    array = to_plain(tensor)
    tensor += 1
    assert array.tolist() == [0, 0]
    again = to_learner(array)
    again += 1
    assert array.tolist() == [0, 0]


class AlwaysEqual:
    def __eq__(self, other):
        return True

    __hash__ = None


@pytest.mark.parametrize(
    "value, words",
    [
        ((i for i in range(3)), "generator; return list"),
        ({1, 2}, "sorted list"),
        (AlwaysEqual(), "AlwaysEqual"),
        ([AlwaysEqual()], "AlwaysEqual"),
        (np.array([object()]), "array of objects"),
        (print, "builtin_function_or_method"),
    ],
)
def test_anything_else_is_refused_with_advice(value, words):
    with pytest.raises(NotPlain, match=words):
        to_plain(value)


def test_endless_nesting_is_refused():
    nested = []
    nested.append(nested)
    with pytest.raises(NotPlain, match="levels deep"):
        to_plain(nested)


def test_a_number_that_claims_to_equal_anything_loses_its_methods():
    class Sly(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    plain = to_plain(Sly(3))
    assert type(plain) is int and plain != 4


# The proxy


def student(seconds=8.0, **functions):
    return LocalStudent(functions, seconds=seconds)


def test_arguments_are_copies_and_changes_are_seen():
    def spoil(x):
        x += 1
        return x * 0

    x = np.zeros(3, np.float32)
    proxy = student(spoil=spoil)
    proxy.spoil(x)
    assert x.tolist() == [0, 0, 0]
    assert proxy.arguments_after[0].tolist() == [1, 1, 1]


def test_missing_and_unfinished_functions_are_told_apart():
    def stub():
        raise NotImplementedError("your code")

    with pytest.raises(NotStarted):
        student(f=stub).f()
    with pytest.raises(Undefined, match="run the cell"):
        student().f()
    with pytest.raises(Undefined):
        student(f=3).f()


def test_endless_loops_end_even_where_they_swallow_exceptions():
    def endless():
        while True:
            try:
                while True:
                    time.sleep(0.001)
            except Exception:
                continue

    begin = time.monotonic()
    with pytest.raises(LearnerError, match="took more than"):
        student(seconds=0.3, f=endless).f()
    assert time.monotonic() - begin < 60


class OwnExit(BaseException):
    pass


@pytest.mark.parametrize(
    "error, words",
    [
        (OwnExit("x"), "OwnExit: x"),
        (GeneratorExit(), "GeneratorExit"),
        (SystemExit(3), "SystemExit"),
        (RecursionError("deep"), "RecursionError"),
    ],
)
def test_no_class_of_exception_escapes(error, words):
    def fail():
        raise error

    with pytest.raises(LearnerError, match=words):
        student(f=fail).f()


def test_the_stop_button_is_the_learners():
    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        student(f=stopped).f()


def test_time_limit_holds_in_other_threads():
    def endless():
        while True:
            pass

    seen = []

    def call():
        try:
            student(seconds=0.3, f=endless).f()
        except LearnerError as error:
            seen.append(str(error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(10)
    assert seen and "took more than" in seen[0]


def test_a_flood_of_prints_is_kept_small():
    def flood():
        for _ in range(300):
            print("x" * 10_000)
        return 1

    assert student(f=flood).f() == 1


def test_what_is_put_into_an_argument_must_be_plain_too():
    def spoil(items):
        items.append(AlwaysEqual())
        return 1

    with pytest.raises(LearnerError, match="AlwaysEqual"):
        student(f=spoil).f([1])


def test_global_state_of_torch_is_restored_and_prints_are_swallowed(capsys):
    def noisy():
        print("hello")
        torch.manual_seed(1)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(3)
        return 1

    before, n_threads = torch.random.get_rng_state(), torch.get_num_threads()
    assert student(f=noisy).f() == 1
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_default_dtype() is torch.float32 and torch.is_grad_enabled()
    assert torch.get_num_threads() == n_threads
    assert capsys.readouterr().out == ""


def test_gradients_of_functions():
    proxy = student(f=lambda x, n: (x**n).sum())
    (gradient,) = proxy.gradients("f", np.array([1.0, 3.0], np.float32), 2)
    assert gradient.tolist() == [2.0, 6.0]
    upstream = np.array([1.0, 0.5], np.float32)
    (gradient,) = student(f=lambda x: x * x).gradients("f", upstream, upstream=upstream)
    assert gradient.tolist() == [2.0, 0.5]


@pytest.mark.parametrize("cut", [lambda x: x.detach() * 2, lambda x: float(x.sum())])
def test_a_cut_gradient_is_explained(cut):
    with pytest.raises(LearnerError, match="cuts the gradient"):
        student(f=cut).gradients("f", np.ones(2, np.float32))


def test_an_argument_without_gradient_is_named():
    x = np.ones(2, np.float32)
    with pytest.raises(LearnerError, match="no gradient reaches `b`, float tensor 2 of 2"):
        student(f=lambda a, b: a * 2).gradients("f", x, x)


def test_largest_tensor_sees_what_is_made_on_the_way():
    proxy = student(f=lambda x: torch.outer(x, x).sum(), g=lambda x: (x * x).sum())
    x = np.ones(50, np.float32)
    assert proxy.largest_tensor("f", x) == 2500
    assert proxy.largest_tensor("g", x) == 50


class Doubler(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((width,), 2.0))

    def forward(self, x):
        return x * self.weight


def test_handles_construct_load_run_and_give_gradients():
    handle = student(Doubler=Doubler).make("Doubler", 2)
    x = np.array([1.0, 2.0], np.float32)
    assert handle.forward(x).tolist() == [2.0, 4.0]
    handle.load({"weight": np.array([3.0, 5.0], np.float32)})
    assert handle.forward(x).tolist() == [3.0, 10.0]
    (gradient,) = handle.gradients(x)
    assert gradient.tolist() == [3.0, 5.0]
    with pytest.raises(Undefined, match="no method backwards"):
        handle.backwards()
    with pytest.raises(LearnerError, match="RuntimeError"):
        handle.load({"weight": np.ones(3, np.float32)})


# Requirements


@pytest.mark.parametrize(
    "got, words",
    [
        (np.array([1.0, 2.5]), r"1 of 2 values differs; at \[1\]: expected 2, got 2.5"),
        (np.array([1.0]), r"expected shape \(2,\), got \(1,\)"),
        (np.array([np.nan, 2.0]), "NaN"),
        ("text", "got str"),
        ([[1.0], [1.0, 2.0]], "rows of different lengths"),
        (["a", "b"], "expected numbers"),
    ],
)
def test_close_says_what_differs(got, words):
    with pytest.raises(Rejected, match=words):
        close(got, [1.0, 2.0], "hint")


def test_close_takes_values_within_its_tolerance():
    close([1.0, 2.0 + 1e-6], [1.0, 2.0], "hint")
    close(3, 3.0, "hint")


@pytest.mark.parametrize("got, want", [(True, 1), (1, 1.0), ([1], (1,)), ("1", 1)])
def test_same_tells_types_apart(got, want):
    with pytest.raises(Rejected):
        same(got, want, "hint")


def test_titles_are_unique_within_an_exercise():
    checks: list[Check] = []
    exercise_check = collector(checks)
    exercise_check("f", points=1, title="a")(print)
    with pytest.raises(ValueError, match="two checks titled"):
        exercise_check("f", points=1, title="a")(print)


def test_results_of_a_wrong_structure_are_failures_not_crashes():
    check = Check("f", "t", 1, lambda student, rng: require(student.f()["a"] == 1, "a is 1"))
    for result in (None, 3, [1], {"b": 1}):
        outcome = run.run_one(check, student(f=lambda r=result: r), np.random.default_rng(0))
        assert outcome.status == run.FAILED and "structure" in outcome.hint, result


def test_a_check_that_stumbles_over_a_result_is_a_failure():
    check = Check("f", "t", 1, lambda student, rng: require(1 / student.f() > 0, "positive"))
    outcome = run.run_one(check, student(f=lambda: 0), np.random.default_rng(0))
    assert outcome.status == run.FAILED and "it returned 0" in outcome.hint


def test_unknown_lab_is_named():
    with pytest.raises(ValueError, match="no checks for a lab called '77_nothing'"):
        run.checks_of("77_nothing")


# The notebook


def right_mask(n_tokens):
    return torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()


def test_check_reports_done_remembers_and_hints_climb(capsys, monkeypatch, tmp_path):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    functions = {"causal_mask": lambda n: torch.ones(n, n, dtype=torch.bool)}
    api.start_lab("02_attention", functions)
    api.check("causal_mask")
    text = capsys.readouterr().out
    assert "causal_mask: 1 of 2 points" in text and "hides nothing" in text
    assert 'hint("causal_mask")' in text
    assert not api.done("causal_mask")
    assert "Skipped until solved: causal_mask." in capsys.readouterr().out
    api.hint("causal_mask")
    api.hint("causal_mask")
    api.hint("causal_mask")
    hints = re.findall(r"^Hint \d of \d", capsys.readouterr().out, re.M)
    assert hints == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3"]
    functions["causal_mask"] = right_mask
    assert api.done("causal_mask")
    api.check("causal_mask")
    assert "2 of 2 points" in capsys.readouterr().out
    assert progress.load() == {"02_attention": {"causal_mask": [2, 2]}}
    assert "[x] causal_mask  2/2" in board.progress_text()
    assert "causal_mask" in board.show_board()._repr_html_()


def test_done_does_not_run_an_unchanged_function_again(capsys):
    calls = []

    def mask(n_tokens):
        calls.append(n_tokens)
        return right_mask(n_tokens)

    api.start_lab("02_attention", {"causal_mask": mask})
    api.check("causal_mask")
    n_calls = len(calls)
    assert api.done("causal_mask") and len(calls) == n_calls


@pytest.mark.parametrize(
    "before, after",
    [
        ({"f": functools.cache(lambda: 1)}, {"f": functools.cache(lambda: 2)}),
        ({"SIZE": 1}, {"SIZE": 2}),
        ({"f": lambda *, a=1: a}, {"f": lambda *, a=2: a}),
        ({"f": (lambda k: lambda: k)("a")}, {"f": (lambda k: lambda: k)("b")}),
        ({"f": lambda: [i + 1 for i in (1,)]}, {"f": lambda: [i + 2 for i in (1,)]}),
    ],
)
def test_a_change_that_matters_is_noticed(before, after):
    assert api.fingerprint(before) != api.fingerprint(after)
    assert api.fingerprint(before) == api.fingerprint(dict(before))


def test_stub_unknown_exercise_and_missing_setup_are_told(capsys):
    def causal_mask(n_tokens):
        raise NotImplementedError("your code")

    api.start_lab("02_attention", {"causal_mask": causal_mask})
    api.check("causal_mask")
    api.check("casual_mask")
    api.hint("casual_mask")
    out = capsys.readouterr().out
    assert "causal_mask: not started" in out
    assert "no exercise 'casual_mask' in this lab; there are: causal_mask" in out
    api.SESSION.lab = None
    api.check("causal_mask")
    api.hint("causal_mask")
    assert capsys.readouterr().out.count("Run the first cell of the lab") == 2


def test_check_answers_in_under_a_second():
    api.start_lab("02_attention", {"causal_mask": right_mask})
    begin = time.process_time()
    api.check("causal_mask")
    assert time.process_time() - begin < 1


def test_results_outside_learners_folders_are_not_recorded(monkeypatch, tmp_path, capsys):
    (tmp_path / "solutions").mkdir()
    monkeypatch.chdir(tmp_path / "solutions")
    api.start_lab("02_attention", {"causal_mask": right_mask})
    api.check("causal_mask")
    assert progress.load() == {}


# Progress


def test_progress_keeps_the_best_result():
    progress.record("02_attention", "causal_mask", 2, 2)
    progress.record("02_attention", "causal_mask", 0, 2)
    assert progress.load()["02_attention"]["causal_mask"] == [2, 2]


def test_progress_never_shows_more_points_than_there_are():
    progress.record("02_attention", "causal_mask", 3, 3)
    progress.record("02_attention", "causal_mask", 1, 2)
    assert progress.load()["02_attention"]["causal_mask"] == [2, 2]


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 3}', '{"a": {"b": [1]}}', "\0\0"])
def test_damaged_progress_is_set_aside_and_kept(content, capsys):
    progress.progress_file().write_text(content)
    assert progress.load() == {}
    assert "kept as" in capsys.readouterr().out
    (aside,) = progress.progress_file().parent.glob("progress.damaged*")
    assert aside.read_text() == content
    progress.record("02_attention", "causal_mask", 1, 2)
    assert json.loads(progress.progress_file().read_text())


def test_full_disk_costs_the_record_not_the_lab(monkeypatch, capsys):
    progress.record("02_attention", "causal_mask", 1, 2)

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    progress.record("02_attention", "causal_mask", 2, 2)
    assert "could not be saved" in capsys.readouterr().out
    assert progress.load()["02_attention"]["causal_mask"] == [1, 2]


# Quizzes

UNITS_WITH_A_QUIZ = sorted(
    module.name for module in pkgutil.iter_modules(quizzes.__path__) if module.name[:2].isdigit()
)
QUESTIONS = [(unit, q) for unit in UNITS_WITH_A_QUIZ for q in quiz.quiz_of(unit)]


@pytest.mark.parametrize("unit, question", QUESTIONS, ids=[q.name for _, q in QUESTIONS])
def test_quiz_keys_are_proved(unit, question):
    assert question.proof is not None and question.proof() == question.key
    assert len(question.options) >= 2
    assert all(len(why) > 15 for _, why in question.options.values())


def test_every_lecture_has_a_quiz_whose_keys_are_proved():
    lectures = {path.stem for path in (project_root() / "notebooks/source").glob("*.py")}
    assert lectures == set(UNITS_WITH_A_QUIZ)


def test_asking_answers_and_bad_letters(capsys):
    quiz.ask("02_attention", "softmax-axis")
    (question,) = (q for q in quiz.quiz_of("02_attention") if q.name == "softmax-axis")
    shown = {own: letter for letter, own in quiz.order_shown(question).items()}
    assert sorted(shown) == sorted(shown.values())
    for own in shown:
        quiz.ask("02_attention", "softmax-axis", f" {shown[own].upper()} ")
        assert capsys.readouterr().out.count("Right.") == (own == question.key)
    quiz.ask("02_attention", "softmax-axis")
    quiz.ask("02_attention", "softmax-axis", "a")
    quiz.ask("02_attention", "softmax-axis", "z")
    quiz.ask("02_attention", "nothing")
    out = capsys.readouterr().out
    for words in (". axis 0", "Answer with one of a, b, c", "no question"):
        assert words in out


def test_no_letter_is_right_in_half_of_the_questions():
    shown = [
        next(letter for letter, own in quiz.order_shown(q).items() if own == q.key)
        for _, q in QUESTIONS
    ]
    assert max(map(shown.count, "abc")) < len(shown) / 2


@pytest.mark.parametrize("unit, question", QUESTIONS, ids=[q.name for _, q in QUESTIONS])
def test_each_question_is_asked(unit, question):
    sources = [
        project_root() / f"{folder}/source/{unit}.py" for folder in ("notebooks", "solutions")
    ]
    cells = "".join(path.read_text("utf-8") for path in sources if path.exists())
    assert f'ask("{unit}", "{question.name}"' in cells
