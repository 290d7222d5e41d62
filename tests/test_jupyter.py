"""Opening the course: copies that are never overwritten, a free port, JupyterLab that answers."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from utils import cli, jupyter


@pytest.fixture
def course(tmp_path):
    (tmp_path / "labs").mkdir()
    for name in ("01_tokens", "02_attention"):
        (tmp_path / "labs" / f"{name}.ipynb").write_text(f"released {name}")
    return tmp_path


def test_copies_are_made_once_and_never_overwritten(course):
    assert [path.name for path in jupyter.copy_labs(course)] == [
        "01_tokens.ipynb",
        "02_attention.ipynb",
    ]
    (course / "work" / "01_tokens.ipynb").write_text("my answer")
    (course / "labs" / "01_tokens.ipynb").write_text("a newer release")
    assert jupyter.copy_labs(course) == []
    assert (course / "work" / "01_tokens.ipynb").read_text() == "my answer"


def test_reset_makes_a_fresh_copy_beside_the_old_one(course):
    jupyter.copy_labs(course)
    (course / "work" / "01_tokens.ipynb").write_text("my answer")
    first, second = jupyter.reset_lab("1", course), jupyter.reset_lab("01", course)
    assert [first.name, second.name] == ["01_tokens_fresh2.ipynb", "01_tokens_fresh3.ipynb"]
    assert first.read_text() == "released 01_tokens"
    assert (course / "work" / "01_tokens.ipynb").read_text() == "my answer"


def test_reset_of_an_unknown_lab_names_the_labs_there_are(course):
    with pytest.raises(FileNotFoundError, match="no lab '09'.*01_tokens, 02_attention"):
        jupyter.reset_lab("09", course)


def test_a_busy_port_is_answered_with_the_next_free_one():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        chosen = jupyter.free_port(port)
        assert port < chosen < port + 50
        with pytest.raises(OSError, match="are all in use"):
            jupyter.free_port(port, tries=1)


def test_without_a_screen_no_browser_is_looked_for(monkeypatch):
    monkeypatch.setattr(jupyter, "has_display", lambda: False)
    assert not jupyter.has_browser()
    assert "--no-browser" in jupyter.lab_command(8888, browser=False)
    assert "--no-browser" not in jupyter.lab_command(8888, browser=True)


def test_news_are_switched_off_once_and_own_settings_stay(tmp_path):
    jupyter.disable_news(tmp_path)
    (path,) = tmp_path.rglob("page_config.json")
    assert json.loads(path.read_text())["disabledExtensions"] == {jupyter.NEWS_EXTENSION: True}
    path.write_text("{}")
    jupyter.disable_news(tmp_path)
    assert path.read_text() == "{}"


def test_course_command_lists_its_subcommands(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(word in text for word in ("lab", "doctor", "progress", "reset"))


@pytest.mark.slow
def test_jupyterlab_starts_and_serves_the_first_notebook(tmp_path):
    port = jupyter.free_port(18888)
    command = jupyter.lab_command(port, browser=False) + ["--IdentityProvider.token=test-token"]
    env = {**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_DATA_DIR": str(tmp_path)}
    server = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/api/contents/{jupyter.FIRST_NOTEBOOK}?content=0&token=test-token"
        answer = wait_for(url, server)
        assert answer["type"] == "notebook"
        kernels = wait_for(f"http://127.0.0.1:{port}/api/kernelspecs?token=test-token", server)
        assert "python3" in kernels["kernelspecs"]
    finally:
        server.terminate()
        server.wait(20)


def wait_for(url: str, server: subprocess.Popen, seconds: float = 60) -> dict:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, f"JupyterLab stopped with status {server.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"no answer from {url} in {seconds} s")


def test_module_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "utils.cli", "reset", "99"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "no lab '99'" in done.stderr
