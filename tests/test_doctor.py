"""Every fault that the doctor knows is shown to it, and each answer names a mend."""

import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from utils import doctor
from utils.doctor import Finding


def missing_folder():
    raise FileNotFoundError("COURSE_DATA_DIR names 'x', which is not a folder")


def not_a_number():
    raise ValueError("COURSE_THREADS must be a whole number from 1, got 'x'")


FAULTS = {
    "old python": (doctor.check_python("3.10.4", ">=3.11,<3.14"), "3.10.4", "install a Python"),
    "new python": (doctor.check_python("3.14.0", ">=3.11,<3.14"), "3.14.0", "install a Python"),
    "old package": (doctor.check_package("torch>=2.11", "2.9.1"), "2.9.1", "torch>=2.11"),
    "no package": (doctor.check_package("trl>=1.0", None), "missing", "make lab"),
    "unknown tier": (doctor.check_device("huge", None), "'huge'", "cpu, gpu, full"),
    "no gpu": (doctor.check_device("gpu", None), "torch sees none", "unset COURSE_TIER"),
    "no memory": (doctor.check_memory(0.4), "0.4 GB free", "close other programs"),
    "full disk": (doctor.check_disk(0.1), "0.10 GB free", "COURSE_ARTIFACTS"),
    "threads": (doctor.check_threads(not_a_number, 4), "got 'x'", "unset COURSE_THREADS"),
    "no data": (doctor.check_data(missing_folder), "not a folder", "COURSE_DATA_DIR"),
    "no hub": (doctor.check_hub("timed out", tried=True, needed=True), "timed out", "COURSE_MODEL"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_says_what_is_wrong_and_names_its_mend(name):
    finding, detail, mend = FAULTS[name]
    assert finding.state == "fault"
    assert detail in finding.detail
    assert mend in finding.mend


def test_notes_do_not_stop_a_learner_and_name_a_mend_too():
    notes = [
        doctor.check_memory(2.5),
        doctor.check_threads(lambda: 8, cores=4),
        doctor.check_device("gpu", "Small GPU", cuda_gb=8),
        doctor.check_hub("timed out", tried=True, needed=False),
        doctor.check_unwanted("torchvision", "0.20.0"),
    ]
    assert [note.state for note in notes] == ["note"] * len(notes)
    assert all(note.mend for note in notes)
    assert "No faults" in doctor.report(notes)


def test_sound_facts_are_ok_without_a_mend():
    well = [
        doctor.check_python("3.12.4", ">=3.11,<3.14"),
        doctor.check_package("torch>=2.11", "2.13.0+cpu"),
        doctor.check_device(None, None),
        doctor.check_device("full", "Large GPU", cuda_gb=80),
        doctor.check_package("trl>=1.0", "1.2rc1"),
        doctor.check_memory(8),
        doctor.check_disk(20),
        doctor.check_threads(lambda: 4, cores=4),
        doctor.check_data(lambda: None),
        doctor.check_hub(None, tried=False, needed=False),
        doctor.check_hub(None, tried=True, needed=True),
    ]
    assert [(f.name, f.state, f.mend) for f in well] == [(f.name, "ok", "") for f in well]
    assert doctor.check_unwanted("torchvision", None) is None


def test_a_folder_that_cannot_be_made_or_written_is_a_fault(tmp_path):
    (tmp_path / "file").write_text("in the way")

    def make():
        (tmp_path / "file" / "artifacts").mkdir(parents=True)

    finding = doctor.check_folder(make)
    assert finding.state == "fault" and "COURSE_ARTIFACTS" in finding.mend
    assert doctor.check_folder(lambda: tmp_path).state == "ok"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["notebooks/utils.py", "work/utils"])
def test_a_file_that_hides_the_library_is_a_fault(tmp_path, name):
    assert doctor.check_shadow(tmp_path).state == "ok"
    (tmp_path / name).mkdir(parents=True)
    finding = doctor.check_shadow(tmp_path)
    assert finding.state == "fault" and name in finding.detail and name in finding.mend


def test_a_real_model_that_is_named_and_not_prepared_is_noted_with_the_command(tmp_path):
    finding = doctor.check_model("some/model", None)
    assert finding.state == "note" and "course model some/model" in finding.mend
    assert doctor.check_model(None, None).state == doctor.check_model("none", None).state == "ok"
    assert doctor.check_model(None, tmp_path).detail == f"{tmp_path.name} is prepared"


class Refuses(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_):
        pass


class Hangs(Refuses):
    released = threading.Event()

    def do_HEAD(self):
        self.released.wait(120)


@pytest.fixture
def server():
    """Start a server of this machine with a handler; return its address."""
    started = []

    def start(handler) -> str:
        Hangs.released.clear()
        started.append(HTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=started[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{started[-1].server_port}"

    yield start
    Hangs.released.set()
    for one in started:
        one.shutdown()
        one.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_hub_that_answers_anything_is_there(server):
    assert doctor.ask_hub(server(Refuses)) is None


def test_a_hub_that_hangs_is_given_up_in_time(server):
    start = time.perf_counter()
    reason = doctor.ask_hub(server(Hangs), seconds=0.2)
    assert time.perf_counter() - start < 60
    assert "0.2 s" in reason or "timed out" in reason


def test_a_hub_that_is_not_there_gives_the_reason(server):
    address = server(Refuses)
    free = doctor.ask_hub(address.rsplit(":", 1)[0] + ":1", seconds=5)
    assert free is not None
    assert doctor.ask_hub(None) == "HF_HUB_OFFLINE is set"


def test_the_hub_is_not_asked_unless_wanted(monkeypatch):
    asked = []
    monkeypatch.setattr(doctor, "ask_hub", lambda address: asked.append(address))
    monkeypatch.setattr(doctor, "hub_address", lambda: "http://hub")
    for name in ("COURSE_TIER", "COURSE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    doctor.examine()
    assert asked == []
    doctor.examine(hub=True)
    monkeypatch.setenv("COURSE_MODEL", "some/model")
    doctor.examine()
    assert asked == ["http://hub"] * 2


def test_a_local_model_needs_no_hub(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("COURSE_MODEL", str(tmp_path))
    monkeypatch.delenv("COURSE_TIER", raising=False)
    (hub,) = [f for f in doctor.examine() if f.name == "hub"]
    assert hub.detail.startswith("not tried")


def test_a_python_without_the_course_gets_the_mend(monkeypatch):
    monkeypatch.setattr(doctor, "PROJECT", "a-project-that-is-not-installed")
    (finding,) = doctor.check_packages()
    assert finding.state == "fault" and "make lab" in finding.mend
    assert doctor.check_python("3.11.1", doctor.declared_python()).state == "ok"


def test_report_puts_faults_last_and_counts_them():
    findings = [Finding("a", "fault", "bad", "do this"), Finding("b", "ok", "fine")]
    lines = doctor.report(findings).splitlines()
    assert lines[0].startswith("ok") and lines[1].startswith("fault")
    assert "do this" in lines[2] and lines[-1].startswith("One fault")
    assert doctor.report(findings * 2).splitlines()[-1].startswith("2 faults")


def test_command_ends_with_one_where_there_is_a_fault():
    env = {**os.environ, "COURSE_TIER": "huge", "OMP_WAIT_POLICY": "PASSIVE"}
    run = subprocess.run(
        [sys.executable, "-m", "utils.doctor"], env=env, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "COURSE_TIER is 'huge'" in run.stdout and run.stderr == ""
