"""The export for nbgrader: its form for every lab, and nbgrader itself at work on one."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

from tests.side import nbgrader_python
from utils import bootstrap
from utils.build import export
from utils.cli import main
from utils.labs import run
from utils.labs.board import labs
from utils.settings import project_root

LAB = "02_attention"
RELEASED = [lab for lab in labs() if (project_root() / "solutions" / f"{lab}.ipynb").exists()]


def cells_of(path):
    return nbformat.read(path, as_version=4).cells


def note(cell):
    return cell.metadata.get("nbgrader", {})


@pytest.fixture(scope="module", params=RELEASED)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    return request.param, cells_of(export.export_nbgrader(request.param, folder, seed=70_707))


def test_points_are_those_of_the_checks_and_of_the_written_answers(exported):
    lab, cells = exported
    counted = [cell for cell in cells if note(cell).get("grade")]
    by_check = [note(c).points for c in counted if c.cell_type == "code"]
    assert by_check == [check.points for check in run.checks_of(lab)]
    by_hand = [c for c in counted if c.cell_type == "markdown"]
    headings = re.findall(r"written answer \((\d+) point", "\n".join(c.source for c in cells), re.I)
    assert [note(c).points for c in by_hand] == [int(n) for n in headings] and by_hand


def test_ids_are_unique_and_only_the_learners_cells_are_open(exported):
    lab, cells = exported
    names = [note(cell).grade_id for cell in cells if note(cell)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in names)
    answers = [note(cell).grade_id for cell in cells if note(cell).get("solution")]
    assert [a for a in answers if not a.startswith("written")] == run.exercises_of(lab)
    for cell in cells:
        kind = note(cell)
        if cell.cell_type == "markdown":
            assert kind.locked != kind.solution
        elif not kind:
            assert cell.source.startswith(("if done(", "check(")), cell.source[:80]
        assert ("BEGIN SOLUTION" in cell.source) == bool(kind and kind.solution)
        assert "BEGIN HIDDEN TESTS" not in cell.source or (kind.grade and kind.locked)


def test_answers_and_hidden_inputs_stand_between_marks_alone(exported):
    lab, cells = exported
    text = "\n".join(cell.source for cell in cells)
    open_text = re.sub(r"### BEGIN SOLUTION.*?### END SOLUTION", "", text, flags=re.S)
    open_text = re.sub(r"### BEGIN HIDDEN.*?### END HIDDEN TESTS", "", open_text, flags=re.S)
    assert "seed=70707" in text and "seed=70707" not in open_text
    assert "Model answer" in text and "Model answer" not in open_text
    solution = json.loads((project_root() / "solutions" / f"{lab}.ipynb").read_text("utf-8"))
    bodies = {cell["id"]: "".join(cell["source"]) for cell in solution["cells"]}
    for cell in cells:
        if cell.cell_type == "code" and note(cell).get("solution"):
            bare = "\n".join(line for line in cell.source.splitlines() if "SOLUTION" not in line)
            assert bare == bodies[note(cell).grade_id]


def test_the_methods_of_a_class_are_cut_out_one_by_one():
    stub = 'class A:\n    def f(self):\n        raise NotImplementedError("your code: f")\n\n'
    stub += '    def g(self):\n        raise NotImplementedError("your code: g")\n\n    x = 1'
    answer = "class A:\n    def f(self):\n        a = 1\n\n        return a\n\n"
    answer += "    def g(self):\n        return 2\n\n    x = 1"
    found = export.with_regions(stub, answer)
    assert found.count("        ### BEGIN SOLUTION\n") == 2
    assert found.replace("        ### BEGIN SOLUTION\n", "").replace(
        "        ### END SOLUTION\n", ""
    ) == answer  # fmt: skip
    assert "        return a\n        ### END SOLUTION\n\n    def g" in found


def test_the_command_says_what_to_bear_in_mind_and_overwrites_nothing(tmp_path, capsys):
    assert main(["export-nbgrader", f"labs/{LAB}.ipynb", "--out", str(tmp_path)]) == 0
    assert "can give itself any points" in capsys.readouterr().out
    target = tmp_path / "source" / LAB / f"{LAB}.ipynb"
    target.write_text("edited by the instructor")
    assert main(["export-nbgrader", LAB, "--out", str(tmp_path)]) == 2
    assert "remove it" in capsys.readouterr().err
    assert target.read_text() == "edited by the instructor"
    assert main(["export-nbgrader", "09_none", "--out", str(tmp_path)]) == 2
    assert "there is no lab called '09_none'" in capsys.readouterr().err
    (tmp_path / "nbgrader_config.py").write_text("# mine")
    export.export_nbgrader(RELEASED[0], tmp_path / "." if LAB != RELEASED[0] else tmp_path / "b")
    assert (tmp_path / "nbgrader_config.py").read_text() == "# mine", "one folder holds many labs"


def test_hidden_inputs_differ_from_export_to_export(tmp_path):
    seeds = set()
    for name in "ab":
        text = export.export_nbgrader(LAB, tmp_path / name).read_text("utf-8")
        seeds |= set(re.findall(r", seed=(\d+)\)", text))
    assert len(seeds) == 2


def test_the_environment_beside_is_made_once_and_a_failure_stops_nothing(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((project_root() / name).read_bytes())
    commands = []

    def pretend(command):
        commands.append(command)
        if "pip" in command and not (tmp_path / "online").exists():
            raise SystemExit("no network")
        (tmp_path / ".venv/grading").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(bootstrap, "run", pretend)
    monkeypatch.setattr(bootstrap, "packages_of", lambda venv: str(tmp_path))
    bootstrap.add_grading()
    assert "no network" in capsys.readouterr().out and len(commands) == 2
    (tmp_path / "online").touch()
    bootstrap.add_grading()
    bootstrap.add_grading()
    assert len(commands) == 4 and commands[-1][-1] == "nbgrader"
    assert "torch" not in str(commands), "the course's own torch is seen through course.pth"
    assert str(tmp_path) in (tmp_path / "course.pth").read_text()


def test_the_extra_admits_the_pin():
    project = tomllib.loads((project_root() / "pyproject.toml").read_text("utf-8"))["project"]
    (wanted,) = map(Requirement, project["optional-dependencies"]["grading"])
    pinned = re.search(r"^nbgrader==(\S+)", (project_root() / "constraints.txt").read_text(), re.M)
    assert wanted.name == "nbgrader" and wanted.specifier.contains(pinned[1])


needs_nbgrader = pytest.mark.skipif(
    nbgrader_python() is None,
    reason="nbgrader is not installed: python -m utils.bootstrap grading",
)
CHEAT = "from utils.labs import api, run\nrun.run_one = lambda c, *a: run.CheckResult(\n"
CHEAT += '    c.exercise, c.title, c.points, "passed")'


class Course:
    """A course folder of nbgrader, with everything that Jupyter keeps inside a scratch folder."""

    def __init__(self, root: Path):
        self.root = root / "course"
        self.source = export.export_nbgrader(LAB, self.root)
        self.release = self.root / "release" / LAB / f"{LAB}.ipynb"
        tools = str(Path(nbgrader_python()).parent)  # nbgrader calls alembic by name
        self.env = {**os.environ, "PATH": tools + os.pathsep + os.environ.get("PATH", "")}
        self.env |= {"HOME": str(root), "JUPYTER_RUNTIME_DIR": str(root / "runtime")}
        self.env |= {"IPYTHONDIR": str(root / "ipython"), "PYTHONPATH": str(project_root())}
        self.env |= {"JUPYTER_PATH": str(Path(sys.prefix) / "share/jupyter")}

    def nbgrader(self, *arguments):
        return self.run("-m", "nbgrader", *arguments)

    def run(self, *arguments):
        command = [nbgrader_python(), *arguments]
        done = subprocess.run(
            command, cwd=self.root, env=self.env, text=True, timeout=600,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, done.stdout

    def submit(self, learner, change):
        """Hand in the release after `change(cells by grade_id, all cells)`.

        Without the experiments, which nobody grades and which take most of the time.
        """
        notebook = nbformat.read(self.release, as_version=4)
        change({note(c).grade_id: c for c in notebook.cells if note(c)}, notebook.cells)
        experiments = ("if done(", "check(")
        notebook.cells = [
            c for c in notebook.cells if note(c) or not c.source.startswith(experiments)
        ]
        place = self.root / "submitted" / learner / LAB / f"{LAB}.ipynb"
        place.parent.mkdir(parents=True)
        nbformat.write(notebook, place)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    made = Course(tmp_path_factory.mktemp("nbgrader"))
    status, said = made.nbgrader("generate_assignment", LAB)
    assert status == 0, said
    answers = {note(c).grade_id: c.source for c in cells_of(made.source) if note(c)}

    def solved(cells, _, leave=()):
        for name, cell in cells.items():
            if cell.metadata.nbgrader.solution and name not in leave:
                lines = answers[name].splitlines()
                cell.source = "\n".join(x for x in lines if "SOLUTION" not in x)

    def half(cells, everything):
        solved(cells, everything, leave=["multi_head_attention", "written-1"])
        warning = "import warnings\n    warnings.warn('slow')\n    print('here')\n    return "
        mask = cells["causal_mask"]
        assert mask.source.count("    return ") == 1
        mask.source = mask.source.replace("return ", warning)
        cells["apply_rope-part-1"].source = "pass  # edited by the learner"

    def cheat(cells, everything):
        everything.insert(2, nbformat.v4.new_code_cell(CHEAT))

    for learner, change in (("ada", solved), ("bob", half), ("eve", cheat)):
        made.submit(learner, change)
    status, said = made.nbgrader("autograde", LAB)
    assert status == 0, said
    return made


POINTS = """
import json
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    found = book.assignment_submissions("LAB")
    print(json.dumps({s.student_id: [s.score, s.needs_manual_grade] for s in found}))
"""


def points(course):
    """Return learner -> [points, whether an answer waits for a person]."""
    status, said = course.run("-c", POINTS.replace("LAB", LAB))
    assert status == 0, said
    return json.loads(said.splitlines()[-1])


@needs_nbgrader
@pytest.mark.slow
def test_nbgrader_does_not_validate_the_release(course):
    # That it validates the solution is a command of the guide, see test_guide.py.
    status, said = course.nbgrader("validate", str(course.release))
    n_cells = len(run.checks_of(LAB)) + 1
    assert f"VALIDATION FAILED ON {n_cells} CELL(S)" in said and "not started" in said
    assert "HIDDEN" not in course.release.read_text("utf-8")
    assert "Model answer" not in course.release.read_text("utf-8")


@needs_nbgrader
@pytest.mark.slow
def test_nbgrader_gives_the_points_of_our_checks_and_leaves_written_answers_to_people(course):
    found, checks = points(course), run.checks_of(LAB)
    everything = sum(check.points for check in checks)
    missed = sum(c.points for c in checks if c.exercise == "multi_head_attention")
    assert found["ada"] == [everything, True]
    assert found["bob"] == [everything - missed, False], "warnings and an edited cell cost nothing"


@needs_nbgrader
@pytest.mark.slow
def test_nbgrader_can_be_cheated_as_the_export_says_and_our_grader_can_not(course, tmp_path):
    from utils.grading import classroom, sandbox

    everything = sum(check.points for check in run.checks_of(LAB))
    assert points(course)["eve"][0] == everything
    records = classroom.grade_class(
        LAB, [course.root / "submitted"], tmp_path, trusted=bool(sandbox.refusal()), n_jobs=1
    )
    found = {r["learner"]: sum(check["earned"] for check in r["checks"]) for r in records}
    assert found["ada"] == everything and found["eve"] == 0
    assert found["bob"] == points(course)["bob"][0], "honest work is worth the same in both"
    assert "I suspect that the mask" in records[0]["written"][0]["text"]


@needs_nbgrader
@pytest.mark.slow
def test_nbgrader_writes_feedback(course):
    status, said = course.nbgrader("generate_feedback", LAB)
    assert status == 0, said
    page = course.root / "feedback" / "bob" / LAB / f"{LAB}.html"
    assert "multi_head_attention" in page.read_text("utf-8")
