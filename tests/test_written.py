"""Written answers: rubric and model answer open once something is written, and the board counts."""

import json
import shutil

import pytest

from utils.labs import api, board, progress
from utils.labs.written import is_written, written_answer
from utils.settings import project_root

LAB = "02_attention"
ANSWER = (
    "I think that the mask leaks by one place, since the loss is far too low for what the model "
    "writes: it copies a token in training that is not there when it writes."
)


@pytest.fixture
def copy(monkeypatch, tmp_path):
    """The learner's copy of a lab, in a folder work/ where the notebook runs."""
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    path = tmp_path / "work" / f"{LAB}.ipynb"
    path.parent.mkdir()
    shutil.copy(project_root() / "labs" / path.name, path)
    monkeypatch.chdir(path.parent)
    api.start_lab(LAB, {})
    return path


def write(path, text):
    notebook = json.loads(path.read_text("utf-8"))
    (cell,) = [c for c in notebook["cells"] if "*Your answer here.*" in "".join(c["source"])]
    cell["source"] = "".join(cell["source"]).replace("*Your answer here.*", text)
    path.write_text(json.dumps(notebook), "utf-8")


def test_nothing_opens_before_something_is_written(copy, capsys):
    written_answer(1)
    written_answer(1, points=3)
    assert capsys.readouterr().out.count("Write your answer in the cell above and save") == 2
    write(copy, "later")
    assert not is_written(LAB, 1)
    assert progress.load() == {}


def test_the_rubric_opens_and_the_board_counts(copy, capsys):
    write(copy, ANSWER)
    written_answer(1)
    told = capsys.readouterr().out
    assert "Rubric" in told and "written_answer(1, points=...)" in told
    written_answer(1, points=4)
    assert "whole number from 0 to 3" in capsys.readouterr().out
    written_answer(1, points=2)
    assert progress.load()[LAB]["written 1"] == [2, 3, progress.BY_YOURSELF]
    assert "[/] written 1  2/3 (your own count)" in board.progress_text()


def test_the_file_that_jupyter_names_is_read(copy, monkeypatch, capsys):
    other = copy.with_name("my own name.ipynb")
    copy.rename(other)
    write(other, ANSWER)
    assert not is_written(LAB, 1)
    monkeypatch.setenv("JPY_SESSION_NAME", str(other))
    assert is_written(LAB, 1)


@pytest.mark.parametrize("content", ["", "[]", '{"cells": 3}', "\udcff"])
def test_a_file_that_is_no_notebook_counts_as_unwritten(copy, content):
    copy.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert not is_written(LAB, 1)


def test_wrong_numbers_and_places_are_told(copy, capsys, monkeypatch):
    written_answer(2)
    assert "1 written answers; there is no 2" in capsys.readouterr().out
    monkeypatch.chdir(copy.parents[1])
    written_answer(1)
    assert "In a learner's copy" in capsys.readouterr().out
