"""The grader without a sandbox: what the pipe, the records and the run do on any machine."""

import json
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from tests.hostile import corpus
from utils.cli import main
from utils.grading import classroom, grade, kit, records, sandbox
from utils.labs import run
from utils.labs.student import LearnerError, NotStarted, Student, Undefined
from utils.settings import project_root

LAB = "02_attention"
CELLS = corpus.code(
    """
    import torch
    from torch import nn

    class Scale(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(width))
        def forward(self, x):
            return x * self.weight

    state = []
    def twice(x): return 2 * x
    def changes(x):
        x[0] = 7
        return len(x)
    def counts():
        state.append(1)
        return len(state)
    def stub(): raise NotImplementedError("your code")
    def fails(): raise ValueError("no <b>")
    def leaves(): import os; os._exit(3)
    def surrogate(text): return text + chr(0xD800)
    def borrowed():
        from utils.model.attention import causal_mask
        return causal_mask(3)
    """
)


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    """Return a worker with the functions above, outside a sandbox."""
    folder = kit.make_kit(LAB, tmp_path_factory.mktemp("kit"))
    job = grade.Job(LAB, "ada", None, 0, kit=str(folder), trusted=True)
    worker = grade.Worker(job, (CELLS,), tmp_path_factory.mktemp("scratch"))
    yield worker, Student(grade.RemoteBackend(worker))
    worker.close()


def test_functions_gradients_and_arguments_travel(learner):
    _, student = learner
    assert student.twice(3) == 6
    assert student.twice(np.ones(2, np.float32)).tolist() == [2, 2]
    assert student.changes([1, 2]) == 2 and student.arguments_after == [[7, 2]]
    (gradient,) = student.gradients("twice", np.ones(3, np.float32))
    assert gradient.tolist() == [2, 2, 2]
    assert student.largest_tensor("twice", np.ones(9, np.float32)) >= 9
    assert student.surrogate("a") == "a\ud800"


def test_modules_are_made_loaded_run_and_differentiated(learner):
    _, student = learner
    scale = student.make("Scale", 3)
    scale.load({"weight": np.array([1, 2, 3], np.float32)})
    x = np.ones((2, 3), np.float32)
    assert scale.forward(x).tolist() == [[1, 2, 3]] * 2
    (gradient,) = scale.gradients(x)
    assert gradient.tolist() == [[1, 2, 3]] * 2


def test_errors_keep_their_kind(learner):
    _, student = learner
    with pytest.raises(NotStarted):
        student.stub()
    with pytest.raises(Undefined):
        student.nothing()
    with pytest.raises(LearnerError, match="ValueError: no <b>"):
        student.fails()
    with pytest.raises(LearnerError, match="your own code"):
        student.borrowed()


def test_a_crash_costs_a_call_and_state_does_not_outlive_a_group(learner):
    worker, student = learner
    worker.fresh()
    assert [student.counts(), student.counts()] == [1, 2]
    with pytest.raises(LearnerError, match="ended the Python process"):
        student.leaves()
    assert student.counts() == 1
    worker.fresh()
    assert student.counts() == 1


def test_the_seed_depends_on_secret_and_lab_alone(tmp_path):
    secret = classroom.secret_of(tmp_path, None)
    assert classroom.secret_of(tmp_path, None) == secret and len(secret) == 64
    assert classroom.class_seed(secret, "01_tokens") != classroom.class_seed(secret, LAB)
    short = tmp_path / "short"
    short.write_text("abc")
    with pytest.raises(ValueError, match="16"):
        classroom.secret_of(tmp_path, short)


def submit(folder, **cells):
    folder.mkdir(exist_ok=True)
    for name, source in cells.items():
        (folder / f"{name}.ipynb").write_bytes(corpus.notebook(corpus.IMPORTS, source))
    return folder


def test_a_run_goes_on_where_it_stopped_and_a_change_is_graded_anew(tmp_path, monkeypatch):
    class_folder = submit(tmp_path / "in", ada=corpus.RIGHT, bob=corpus.WRONG)
    graded = []
    real = grade.grade_one

    def counted(job):
        graded.append(job.learner)
        if job.learner == "bob" and len(graded) == 2:
            raise KeyboardInterrupt
        return real(job)

    monkeypatch.setattr(grade, "grade_one", counted)
    options = {"trusted": True, "n_jobs": 1, "only": ["causal_mask"]}
    with pytest.raises(KeyboardInterrupt):
        classroom.grade_class(LAB, [class_folder], tmp_path / "out", **options)
    first = classroom.grade_class(LAB, [class_folder], tmp_path / "out", **options)
    assert graded == ["ada", "bob", "bob"]
    assert [sum(c["earned"] for c in r["checks"]) for r in first] == [2, 0]
    (tmp_path / "out/records/ada.json").write_text("{broken")
    submit(class_folder, bob=corpus.RIGHT)
    second = classroom.grade_class(LAB, [class_folder], tmp_path / "out", **options)
    assert graded[3:] == ["ada", "bob"] and first[0] == second[0]
    assert sum(c["earned"] for c in second[1]["checks"]) == 2
    assert not list((tmp_path / "out").rglob("*.new"))


def test_a_fault_of_the_grader_costs_one_submission_and_is_not_kept(tmp_path, monkeypatch):
    class_folder = submit(tmp_path / "in", ada=corpus.RIGHT, bob=corpus.RIGHT)

    def broken(*args):
        raise RuntimeError("a fault of ours")

    options = {"trusted": True, "n_jobs": 1, "only": ["causal_mask"]}
    monkeypatch.setattr(grade, "written", broken)
    records = classroom.grade_class(LAB, [class_folder], tmp_path / "out", **options)
    assert {r["status"] for r in records} == {grade.FAILED} and len(records) == 2
    monkeypatch.undo()
    records = classroom.grade_class(LAB, [class_folder], tmp_path / "out", **options)
    assert {r["status"] for r in records} == {grade.GRADED}


def test_the_check_itself_may_stumble_over_a_result(monkeypatch, tmp_path):
    def stumble(*args, **kwargs):
        raise RecursionError

    monkeypatch.setattr(run, "run_checks", stumble)
    job = grade.Job(LAB, "ada", None, 0, kit=str(tmp_path), trusted=True)
    worker = grade.Worker(job, (), tmp_path)
    worker.fatal = "not started"
    results = grade.check_exercise(job, worker, "causal_mask")
    worker.close()
    assert {r.status for r in results} == {run.FAILED} and results[0].points == 1


def test_without_a_sandbox_the_grader_refuses_with_the_line_that_mends_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sandbox, "refusal", lambda: f"needs bwrap: {sandbox.INSTALL}. Or --trust.")
    solution = project_root() / "solutions" / f"{LAB}.ipynb"
    arguments = ["grade", f"labs/{LAB}.ipynb", str(solution), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "apt-get install bubblewrap" in said and "--trust" in said
    assert not (tmp_path / "out/records").exists()


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_other_systems_are_told_what_to_do(platform, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    said = sandbox.refusal.__wrapped__()
    assert "WSL 2" in said and "--trust" in said


@pytest.mark.slow
@pytest.mark.parametrize("lab", ["01_tokens", LAB])
def test_the_command_gives_a_solution_all_points_and_the_lab_none(lab, tmp_path, capsys):
    paths = [project_root() / folder / f"{lab}.ipynb" for folder in ("solutions", "labs")]
    trust = ["--trust"] if sandbox.refusal() else []
    out = tmp_path / "out"
    assert main(["grade", lab, *map(str, paths), "--out", str(out), "--jobs", "2", *trust]) == 0
    assert "2 graded" in capsys.readouterr().out
    names = [lab, f"{lab} (2)"]
    files = [out / "records" / f"{records.record_name(name)}.json" for name in names]
    solved, released = (json.loads(file.read_text("utf-8")) for file in files)
    assert [c for c in solved["checks"] if c["earned"] != c["points"]] == []
    assert {c["status"] for c in released["checks"]} == {"not started"}
    assert main(["grade", "99_nothing", str(paths[0]), "--out", str(out), *trust]) == 2


@pytest.mark.slow
def test_two_processes_grade_as_one_does(tmp_path):
    cells = {"ada": corpus.RIGHT, "bob": corpus.WRONG, "eve": "import os\nx = os._exit(1)"}
    class_folder = submit(tmp_path / "in", **cells)
    secret = tmp_path / "secret"
    secret.write_text("s" * 32)
    written = []
    for n_jobs in (1, 2):
        out = tmp_path / f"out{n_jobs}"
        options = {"trusted": True, "only": ["causal_mask"], "secret": secret}
        records = classroom.grade_class(LAB, [class_folder], out, n_jobs=n_jobs, **options)
        assert [sum(c["earned"] for c in r["checks"]) for r in records] == [2, 0, 0]
        written.append({p.name: p.read_bytes() for p in (out / "records").iterdir()})
    assert written[0] == written[1] and len(written[0]) == 3


@pytest.mark.slow
@pytest.mark.skipif(bool(sandbox.refusal()), reason=str(sandbox.refusal()))
def test_a_killed_run_leaves_no_process_and_goes_on(tmp_path):
    class_folder = submit(
        tmp_path / "in", ada=corpus.RIGHT, bob="def causal_mask(n):\n    while 1: n"
    )
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "utils.cli",
        "grade",
        LAB,
        str(class_folder),
        "--out",
        str(out),
    ]
    run_one = subprocess.Popen(
        [*command, "--jobs", "1"], cwd=project_root(), stderr=subprocess.PIPE
    )
    record = out / "records" / "ada.json"
    deadline = time.monotonic() + 60
    while not record.exists() or not (started := psutil.Process(run_one.pid).children(True)):
        assert time.monotonic() < deadline and run_one.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    run_one.kill()
    run_one.communicate()
    gone, alive = psutil.wait_procs(started, timeout=10)
    assert not alive and len(gone) >= 1
    written = record.stat().st_mtime_ns
    submit(class_folder, bob=corpus.RIGHT)
    assert main([*command[3:], "--jobs", "1"]) == 0
    assert record.stat().st_mtime_ns == written
    points = json.loads((out / "records/bob.json").read_text("utf-8"))["checks"]
    assert sum(check["earned"] for check in points) == 2


@pytest.mark.slow
def test_what_reaches_out_is_listed_before_any_of_it_runs(tmp_path):
    hides = """
        import gc
        def hide():
            from utils.grading import worker
            worker.reaches = lambda cells: []
            return True
        class Runs: value = hide()
    """
    cells = {"ada": corpus.RIGHT, "eve": corpus.code(hides) + "\n" + corpus.RIGHT}
    class_folder = submit(tmp_path / "in", **cells, deep="x = " + "-" * 200_000 + "1")
    options = {"trusted": True, "n_jobs": 1, "only": ["causal_mask"]}
    ada, deep, eve = classroom.grade_class(LAB, [class_folder], tmp_path / "out", **options)
    assert ada["look at"] == [] and deep["status"] == grade.GRADED
    assert eve["look at"][:2] == [
        "cell 2, line 1: imports gc",
        "cell 2, line 3: imports from utils.grading",
    ]
