"""The progress file among restarts, kills, and several notebooks at once."""

import os
import subprocess
import sys
import time

import pytest

from utils.labs import board, progress
from utils.settings import project_root

RECORD = """
from utils.labs import progress
for k in range({n}):
    progress.record("{lab}", f"exercise {{k:03d}}", 1, 2)
"""


@pytest.fixture(autouse=True)
def own_artifacts(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path))


def another_notebook(lab, n):
    code = RECORD.format(lab=lab, n=n)
    return subprocess.Popen([sys.executable, "-c", code], cwd=project_root())


@pytest.mark.parametrize("second", ["02_attention", "01_tokens"])
def test_two_notebooks_at_once_lose_nothing(second):
    running = [another_notebook("01_tokens", 60), another_notebook(second, 60)]
    assert [process.wait(60) for process in running] == [0, 0]
    found = progress.load()
    assert set(found) == {"01_tokens", second}
    assert all(len(exercises) == 60 for exercises in found.values())
    assert [path.name for path in progress.progress_file().parent.iterdir()] == ["progress.json"]


def test_a_killed_kernel_leaves_a_whole_file_and_no_lock_for_long(monkeypatch):
    process = another_notebook("01_tokens", 100_000)
    end = time.monotonic() + 60
    while not progress.progress_file().exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    process.kill()
    process.wait()
    before = progress.load()["01_tokens"]
    assert before
    lock = progress.progress_file().with_suffix(".lock")
    lock.touch()
    old = time.time() - 60
    os.utime(lock, (old, old))
    monkeypatch.setattr(progress, "LOCK_SECONDS", 1000.0)  # what waiting for it would take
    begin = time.monotonic()
    progress.record("02_attention", "causal_mask", 2, 2)
    assert time.monotonic() - begin < 30
    assert progress.load() == {"01_tokens": before, "02_attention": {"causal_mask": [2, 2]}}
    assert not lock.exists()


def test_a_lock_that_is_held_delays_a_check_and_never_stops_it(monkeypatch):
    monkeypatch.setattr(progress, "LOCK_SECONDS", 0.1)
    lock = progress.progress_file().with_suffix(".lock")
    lock.touch()
    progress.record("02_attention", "causal_mask", 2, 2)
    assert progress.load() == {"02_attention": {"causal_mask": [2, 2]}}
    assert lock.exists(), "it is another notebook's"


def test_the_board_survives_a_restart_and_a_half_written_file(capsys):
    assert another_notebook("02_attention", 0).wait(60) == 0
    code = 'from utils.labs import progress; progress.record("02_attention", "causal_mask", 2, 2)'
    subprocess.run([sys.executable, "-c", code], cwd=project_root(), check=True)
    assert "[x] causal_mask  2/2" in board.progress_text()
    whole = progress.progress_file().read_text()
    progress.progress_file().write_text(whole[: len(whole) // 2])
    assert "[ ] causal_mask  0/2" in board.progress_text()
    assert "kept as progress.damaged.json" in capsys.readouterr().out
    progress.record("02_attention", "causal_mask", 1, 2)
    assert "[/] causal_mask  1/2" in board.progress_text()


def test_a_place_that_can_not_be_written_costs_the_record_and_not_the_lab(tmp_path, capsys):
    progress.progress_file().mkdir()
    progress.record("02_attention", "causal_mask", 1, 2)
    assert "Progress could not be saved" in capsys.readouterr().out
    assert "[ ] causal_mask  0/2" in board.progress_text()
    assert "could not be read" in capsys.readouterr().out
