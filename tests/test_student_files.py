"""Weights, iterators and files that a check sends: in the notebook, over the pipe, in the sandbox.

What became of them is plain data, and of a file it is there even where the learner's code raised.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.hostile import corpus
from tests.learners import PLACES, defined_here, defined_in
from utils.grading import classroom, grade, kit, sandbox, wire
from utils.labs.student import LearnerError
from utils.labs.values import File, Once, Weight
from utils.settings import project_root

LAB = "04_pretraining"
SOURCE = """
    import os
    import tempfile
    from pathlib import Path

    def halve(parameters):
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(0.5)
        return len(list(parameters))
    def read(path): return path.read_bytes()
    def is_text(path): return [isinstance(path, str), Path(path).read_text()]
    def spoiled(numbers):
        numbers[0] = 0
        return 1 // 0
    def in_place(path): path.write_bytes(b"new")
    def replaced(path):
        other = path.with_name("other")
        with open(other, "wb") as file:
            file.write(b"new")
            os.fsync(file.fileno())
        os.replace(other, path)
    def removed(path):
        path.unlink()
        path.write_bytes(b"new")
    def from_elsewhere(path):
        other = path.parent.with_suffix(".elsewhere")
        other.write_bytes(b"new")
        os.rename(other, path)
    def lost(path):
        path.with_name("other").mkdir()
        path.unlink()
        raise ValueError("after all")
    def folder_gone(path):
        path.unlink()
        for other in path.parent.iterdir():
            other.unlink()
        path.parent.rmdir()
        raise ValueError("all gone")
    def blocked(path): replaced(path)
"""


@pytest.fixture(scope="module", params=PLACES)
def student(request, tmp_path_factory):
    """Return the proxy of the same functions in each of the three places."""
    yield from defined_in(request.param, LAB, SOURCE, tmp_path_factory)


def test_weights_come_back_with_their_gradients(student):
    value, gradient = np.arange(3, dtype=np.float32), np.full(3, 4, np.float32)
    assert student.halve([Weight(value, gradient), Weight(value, None)]) == 2
    (kept, halved, first), (_, none, _) = student.arguments_after[0]
    assert np.array_equal(kept, value) and np.array_equal(halved, gradient / 2) and none is None
    assert np.array_equal(first, halved)  # in place, in the memory of the first gradient


def test_an_iterator_can_be_gone_through_once_and_is_seen_afterwards(student):
    weights = [Weight(np.zeros(2), np.ones(2)) for _ in range(3)]
    assert student.halve(Once(weights)) == 0
    assert [gradient.tolist() for _, gradient, _ in student.arguments_after[0]] == [[0.5, 0.5]] * 3


def test_a_file_is_there_with_its_content_or_is_not(student):
    assert student.read(File(b"abc")) == b"abc"
    after = student.arguments_after[0]
    assert after == {"content": b"abc", "names": ["checkpoint"], "kept": b"abc", "calls": []}
    with pytest.raises(LearnerError, match="FileNotFoundError"):
        student.read(File())
    assert student.arguments_after[0]["content"] is None


def test_a_path_as_text_is_one(student):
    assert student.is_text(File(b"abc", is_text=True)) == [True, "abc"]
    assert student.arguments_after[0]["content"] == b"abc"
    assert student.is_text(File(b"abc")) == [False, "abc"]


def test_a_tensor_is_seen_after_an_error(student):
    with pytest.raises(LearnerError, match="ZeroDivisionError"):
        student.spoiled(np.ones(2))
    assert student.arguments_after[0].tolist() == [0.0, 1.0]


def test_a_link_tells_writing_in_place_from_replacing(student):
    student.in_place(File(b"old"))
    assert student.arguments_after[0]["kept"] == b"new"
    student.replaced(File(b"old"))
    after = student.arguments_after[0]
    assert (after["content"], after["kept"]) == (b"new", b"old")
    assert [tuple(call) for call in after["calls"]] == [
        ("fsync", ["checkpoint", "other"], True),
        ("replace", ["checkpoint", "other"], True),
    ]


def test_a_moment_without_the_file_is_seen(student):
    student.removed(File(b"old"))
    assert [tuple(c) for c in student.arguments_after[0]["calls"]] == [
        ("unlink", ["checkpoint"], False)
    ]


def test_a_file_moved_in_from_elsewhere_is_seen(student):
    student.from_elsewhere(File(b"old"))
    assert student.arguments_after[0]["calls"][0][1] == ["checkpoint"]


def test_what_a_failure_leaves_behind_is_seen(student):
    with pytest.raises(LearnerError, match="after all"):
        student.lost(File(b"old"))
    after = student.arguments_after[0]
    assert after["content"] is None and after["names"] == ["other"] and after["kept"] == b"old"
    with pytest.raises(LearnerError, match="all gone"):
        student.folder_gone(File(b"old"))
    assert student.arguments_after[0]["names"] == []


def test_a_blocked_path_can_not_be_replaced(student):
    with pytest.raises(LearnerError, match="Error"):
        student.blocked(File(blocked=True))
    assert student.arguments_after[0]["names"] == ["checkpoint", "other"]


def test_folders_go_when_a_call_is_over(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    student = defined_here(SOURCE)
    student.read(File(b"x"))
    for name in ("lost", "read"):
        with contextlib.suppress(LearnerError):
            getattr(student, name)(File(None))
    assert not list(tmp_path.iterdir())


def test_another_profiler_goes_on_afterwards():
    seen = []

    def profiler(frame, event, argument):
        seen.append(event)

    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        defined_here(SOURCE).replaced(File(b"x"))
        now = sys.getprofile()
    finally:
        sys.setprofile(before)
    assert now is profiler and seen


def test_stand_ins_travel_from_the_scorer_only():
    for value in (Once([1, Weight(np.ones(1), None)]), File(b"a"), File(blocked=True)):
        message = wire.encode([value])
        (back,) = wire.decode(message, from_scorer=True)
        assert type(back) is type(value)
        with pytest.raises(wire.WireError, match="no type"):
            wire.decode(message)


def test_a_worker_that_lies_about_a_file_earns_nothing_by_it(tmp_path):
    folder = kit.make_kit(LAB, tmp_path / "kit")
    lie = """
    import utils.labs.values
    def save_checkpoint(path, tensors, info):
        raise ValueError("no")
    class Liar(dict):
        pass
    import utils.labs.student
    utils.labs.student.after_call = lambda *a: "anything at all"
    """
    job = grade.Job(LAB, "eve", None, 0, kit=str(folder), trusted=True)
    worker = grade.Worker(job, (corpus.code(lie),), tmp_path / "scratch")
    try:
        checks = grade.check_exercise(job, worker, "save_checkpoint")
    finally:
        worker.close()
    assert sum(check.earned for check in checks) == 0


@pytest.mark.slow
@pytest.mark.skipif(bool(sandbox.refusal()), reason=str(sandbox.refusal()))
def test_the_solution_gets_all_points_in_the_sandbox_and_the_lab_none(tmp_path):
    paths: list[Path] = [
        project_root() / folder / f"{LAB}.ipynb" for folder in ("solutions", "labs")
    ]
    records = classroom.grade_class(LAB, paths, tmp_path / "out", n_jobs=1)
    solved, released = (record["checks"] for record in records)
    assert all(check["earned"] == check["points"] for check in solved), solved
    assert not any(check["earned"] for check in released)
