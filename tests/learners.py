"""A learner's code in each of the places where it may run: the notebook, a pipe, the sandbox."""

from collections.abc import Iterator

import pytest

from tests.hostile import corpus
from utils.grading import grade, kit, sandbox
from utils.labs.student import LocalStudent, Student

PLACES = ["notebook", "pipe", "sandbox"]


def defined_here(source: str) -> Student:
    """Return the proxy of functions that run in this process."""
    scope: dict = {}
    cell = corpus.code(source)
    exec(cell if isinstance(cell, str) else "\n".join(cell), scope)
    return LocalStudent(scope)


def defined_in(place: str, lab: str, source: str, tmp_path_factory) -> Iterator[Student]:
    """Yield the proxy of the same functions in a place, for a fixture."""
    if place == "notebook":
        yield defined_here(source)
        return
    if place == "sandbox" and sandbox.refusal():
        pytest.skip(sandbox.refusal())
    folder = kit.make_kit(lab, tmp_path_factory.mktemp("kit"))
    job = grade.Job(lab, "ada", None, 0, kit=str(folder), trusted=place == "pipe")
    worker = grade.Worker(job, (corpus.code(source),), tmp_path_factory.mktemp("scratch"))
    yield Student(grade.RemoteBackend(worker))
    worker.close()
