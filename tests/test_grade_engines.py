"""The engines: the same records wherever they were made, and a killed worker costs nothing."""

import contextlib
import importlib.util
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from tests import slurm
from tests.hostile import corpus
from utils.cli import main
from utils.grading import classroom, engines, grade, records, sandbox
from utils.ray_cluster import ray_cluster

LAB = "02_attention"
SLOW = (
    "import time\nimport torch\ndef causal_mask(n):\n    time.sleep(0.7)\n"
    "    return torch.ones(n, n, dtype=torch.bool).tril()"
)
SUBMISSIONS = {
    "ada": (corpus.IMPORTS, corpus.RIGHT),
    "bob": (corpus.IMPORTS, corpus.WRONG),
    "é x": (corpus.IMPORTS, SLOW),
}
QUICK = sandbox.Limits(call_seconds=3.0, grace_seconds=1.0, load_seconds=30.0)

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray: the extra cluster"
)
needs_slurm = pytest.mark.skipif(bool(slurm.missing()), reason=str(slurm.missing()))
ELSEWHERE = [
    pytest.param("ray", marks=[needs_ray, pytest.mark.slow]),
    pytest.param("slurm", marks=[needs_slurm, pytest.mark.slow]),
]
EVERYWHERE = [pytest.param("local", marks=pytest.mark.slow), *ELSEWHERE]


@pytest.fixture(scope="module")
def class_folder(tmp_path_factory):
    """Return a folder with submissions that are right, wrong, broken, or no files at all."""
    folder = tmp_path_factory.mktemp("class")
    for learner, cells in SUBMISSIONS.items():
        (folder / f"{learner}.ipynb").write_bytes(corpus.notebook(*cells))
    (folder / "no notebook.ipynb").write_bytes(b"\x89PNG")
    (folder / "link.ipynb").symlink_to(folder / "ada.ipynb")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def ray_here():
    """Start Ray once; the guide's test has the engine start it by itself."""
    with ray_cluster("local", n_cpus=2):
        yield


@contextlib.contextmanager
def at_hand(engine, request, monkeypatch):
    """Have the engine's cluster there, and no other."""
    if engine == "ray":
        request.getfixturevalue("ray_here")
    if engine != "slurm":
        yield
        return
    with slurm.cluster(n_cpus=2) as found:
        monkeypatch.setenv("SLURM_CONF", found["SLURM_CONF"])
        yield


def grade_all(folder, out, engine, secret="s" * 32):
    """Grade a class; return its records as they lie in the folder."""
    out.mkdir(exist_ok=True)
    file = out / "secret-of-the-class"
    file.write_text(secret)
    classroom.grade_class(
        LAB,
        [folder],
        out,
        secret=file,
        limits=QUICK,
        trusted=bool(sandbox.refusal()),
        n_jobs=2,
        only=["causal_mask"],
        engine=engine,
    )
    return {path.name: path.read_bytes() for path in (out / "records").iterdir()}


@pytest.fixture(scope="module")
def expected(class_folder, tmp_path_factory):
    """Return the records that the local engine writes."""
    found = grade_all(class_folder, tmp_path_factory.mktemp("local"), "local")
    assert len(found) == len(SUBMISSIONS) + 3
    return found


def graders(engine, out):
    """Return the processes of this test that grade and have a learner's code at work."""
    marks = {"local": "spawn_main", "ray": "ray::grade_content", "slurm": str(out)}
    candidates = psutil.process_iter() if engine == "slurm" else psutil.Process().children(True)
    found = []
    for process in candidates:
        with contextlib.suppress(psutil.Error):
            if marks[engine] in " ".join(process.cmdline()) and process.name() != "sbatch":
                if any("utils.grading.worker" in " ".join(p.cmdline()) for p in process.children()):
                    found.append(process)
    return found


@pytest.mark.parametrize("engine", EVERYWHERE)
def test_a_worker_killed_at_work_is_replaced_and_the_records_are_the_same(
    engine, class_folder, expected, tmp_path, monkeypatch, request
):
    killed, over = [], threading.Event()

    def kill_one():
        while not over.wait(0.2):
            for process in graders(engine, tmp_path)[:1]:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
                    killed.append(process.pid)
                    return

    killer = threading.Thread(target=kill_one)
    with at_hand(engine, request, monkeypatch):
        killer.start()
        try:
            found = grade_all(class_folder, tmp_path, engine)
        finally:
            over.set()
            killer.join()
    assert killed and found == expected  # byte for byte those of the local engine
    assert sorted(p.name for p in tmp_path.iterdir()) == ["records", "secret-of-the-class"]


@pytest.mark.parametrize("engine", EVERYWHERE)
def test_what_kills_every_worker_costs_itself_and_says_so(engine, tmp_path, monkeypatch, request):
    folder = tmp_path / "in"
    folder.mkdir()
    names = ("ada", "eve") if engine == "local" else ("eve",)  # a pool is for more than one
    for learner in names:
        (folder / f"{learner}.ipynb").write_bytes(corpus.notebook(*SUBMISSIONS["ada"]))
    over = threading.Event()

    def kill_all():
        while not over.wait(0.05):
            for process in graders(engine, tmp_path):
                with contextlib.suppress(psutil.Error):
                    process.kill()

    killer = threading.Thread(target=kill_all)
    monkeypatch.setattr(engines, "MAX_TRIES", 2)
    with at_hand(engine, request, monkeypatch):
        killer.start()
        try:
            grade_all(folder, tmp_path / "out", engine)
        finally:
            over.set()
            killer.join()
        text = (tmp_path / "out/records/eve.json").read_text("utf-8")
        assert '"status": "failed"' in text and "stopped" in text
        grade_all(folder, tmp_path / "out", engine)  # and a fault of the grader is not kept
    text = (tmp_path / "out/records/eve.json").read_text("utf-8")
    assert '"status": "graded"' in text


@pytest.mark.parametrize("engine", ELSEWHERE)
def test_a_node_with_another_version_refuses(
    engine, class_folder, tmp_path, monkeypatch, capsys, request
):
    monkeypatch.setattr(classroom, "fingerprint", lambda job: "0" * 64)
    arguments = ["grade", LAB, str(class_folder / "ada.ipynb"), "--out", str(tmp_path / "out")]
    with at_hand(engine, request, monkeypatch):
        assert main([*arguments, "--engine", engine]) == 2
    assert "another version of the course" in capsys.readouterr().err


@pytest.mark.slow
@needs_slurm
def test_a_refusal_is_forgotten_and_the_seed_is_nobodys(
    class_folder, tmp_path, monkeypatch, capsys, request
):
    arguments = ["grade", LAB, str(class_folder / "ada.ipynb"), "--out", str(tmp_path)]
    arguments += ["--engine", "slurm", "--trust"]
    real = classroom.fingerprint
    with at_hand("slurm", request, monkeypatch):
        monkeypatch.setattr(classroom, "fingerprint", lambda job: "0" * 64)
        assert main(arguments) == 2
        assert (tmp_path / "slurm").stat().st_mode & 0o077 == 0
        (tmp_path / "slurm" / "9.log").write_text("refused: long ago")
        monkeypatch.setattr(classroom, "fingerprint", real)
        assert main(arguments) == 0


@pytest.mark.slow
@needs_slurm
def test_slurm_says_why_it_does_not_take_a_job(
    class_folder, tmp_path, monkeypatch, capsys, request
):
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    arguments = ["grade", LAB, str(class_folder / "ada.ipynb"), "--out", str(tmp_path / "out")]
    with at_hand("slurm", request, monkeypatch):
        assert main([*arguments, "--engine", "slurm"]) == 2
    assert "invalid partition" in capsys.readouterr().err


@pytest.mark.slow
@needs_slurm
def test_a_stopped_run_cancels_its_array_and_goes_on(
    class_folder, expected, tmp_path, monkeypatch, request
):
    seen = []
    real = classroom.save_record

    def save_and_stop(folder, record, key):
        real(folder, record, key)
        seen.append(record["learner"])
        if len(seen) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(classroom, "save_record", save_and_stop)
    with at_hand("slurm", request, monkeypatch):
        with pytest.raises(KeyboardInterrupt):
            grade_all(class_folder, tmp_path, "slurm")
        deadline = time.monotonic() + 20
        while subprocess.run(["squeue", "-h"], capture_output=True).stdout.strip():
            assert time.monotonic() < deadline, "the array job was not cancelled"
            time.sleep(0.2)
        assert grade_all(class_folder, tmp_path, "slurm") == expected
    assert len(seen) == len(set(seen)) == len(expected)


def test_an_engine_that_is_not_there_says_what_to_do(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="sbatch"):
        engines.require("slurm", trusted=True)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"\.\[cluster\]"):
        engines.require("ray", trusted=True)
    with pytest.raises(ValueError, match="local, ray, slurm"):
        engines.require("abacus", trusted=True)
    monkeypatch.setattr(sandbox, "refusal", lambda: "needs bwrap")
    with pytest.raises(sandbox.NoSandbox):
        engines.require("local", trusted=False)


def test_a_task_of_the_array_grades_its_share(tmp_path, monkeypatch):
    graded = []

    def grade_here(job, key):
        graded.append(job.learner)
        return {"learner": job.learner, "status": grade.GRADED}

    monkeypatch.setattr(engines, "grade_here", grade_here)
    (tmp_path / "done").mkdir()
    jobs = [grade.Job(LAB, f"l{k}", None, 0) for k in range(5)]
    entries = [{"job": engines.asdict(job), "key": job.learner} for job in jobs]
    (tmp_path / "jobs.json").write_text(engines.json.dumps(entries))
    assert engines.main([str(tmp_path / "jobs.json"), "1", "2"]) == 0
    assert graded == ["l1", "l3"]
    assert records.load_record(tmp_path / "done", "l3", "l3")["learner"] == "l3"
