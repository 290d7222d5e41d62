"""The build of a whole course: really run, the same bytes twice, and nothing stale gets past."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from tests.tiny_course import LAB, LECTURE, make_course, points_of
from utils.build import course
from utils.build.__main__ import main
from utils.build.sources import BuildError
from utils.settings import project_root

NOTEBOOKS = ["notebooks/01_tiny.ipynb", "labs/01_tiny.ipynb", "solutions/01_tiny.ipynb"]


def contents(root) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in NOTEBOOKS if (root / name).exists()}


def faults(action, root, **settings) -> str:
    with pytest.raises(BuildError) as caught:
        action(root, **settings)
    return str(caught.value)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A course that was built, with kernels and all; tests copy it before they change it."""
    root = make_course(tmp_path_factory.mktemp("finished"))
    assert sorted(course.build(root, points_of=points_of)) == sorted([NOTEBOOKS[0], NOTEBOOKS[2]])
    return root


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


@pytest.mark.slow
def test_two_builds_give_the_same_bytes(finished, tmp_path):
    other = make_course(tmp_path / "other")
    course.build(other, points_of=points_of)
    for name in NOTEBOOKS:
        one, two = json.loads(contents(finished)[name]), json.loads(contents(other)[name])
        for notebook in (one, two):  # a timing is what no build can repeat
            for cell in notebook["cells"]:
                if "nbval-ignore-output" in cell["metadata"].get("tags", []):
                    assert cell.pop("outputs")
        assert one == two
    before = contents(other)
    course.build(other, points_of=points_of, force=True)
    assert contents(other) == before  # even the timing, which is kept while the stamp holds


def test_outputs_are_stored_and_clean(finished):
    lecture = nbformat.read(finished / NOTEBOOKS[0], as_version=4)
    code = [cell for cell in lecture.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4, 5]
    assert code[1].outputs[0].text == "4.0 <object object at 0x...>\n"
    assert code[3].outputs[0].ename == "TypeError"
    assert "image/png" in code[4].outputs[0].data
    assert str(finished) not in (finished / NOTEBOOKS[0]).read_text("utf-8")
    nbformat.validate(lecture)
    solution = nbformat.read(finished / NOTEBOOKS[2], as_version=4)
    printed = "".join(o.get("text", "") for c in solution.cells for o in c.get("outputs", []))
    assert "double: 2 of 2 points" in printed and "6.0" in printed and "True" in printed
    assert lecture.metadata["language_info"] == {"file_extension": ".py", "name": "python"}


def test_a_lab_has_no_outputs_and_no_answers(finished):
    lab = nbformat.read(finished / NOTEBOOKS[1], as_version=4)
    assert all(not c.outputs and not c.execution_count for c in lab.cells if c.cell_type == "code")
    text = "\n".join(cell.source for cell in lab.cells if cell.cell_type == "code")
    assert text.count("raise NotImplementedError") == 2
    assert "total_of_both" not in text and 'choice = "b"' not in text


def nbval(root, option: str, *names: str) -> str:
    """Run nbval over notebooks of a course as `make test` does; return what pytest prints."""
    config = project_root() / "tests/nbval.cfg"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", option]
    command += ["--nbval-current-env", f"--nbval-sanitize-with={config}", f"--rootdir={root}"]
    env = {**os.environ, "PYTHONPATH": str(root), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [*command, *names], cwd=root, env=env, capture_output=True, text=True, timeout=120
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_nbval_agrees_with_what_was_stored_and_an_unsolved_lab_runs(copy):
    text = nbval(copy, "--nbval", NOTEBOOKS[0], NOTEBOOKS[2])
    assert "12 passed" in text and "failed" not in text, text
    text = nbval(copy, "--nbval-lax", NOTEBOOKS[1])
    assert "7 passed" in text and "failed" not in text, text
    path = copy / NOTEBOOKS[2]
    path.write_text(path.read_text("utf-8").replace('"6.0\\n"', '"7.0\\n"'), "utf-8")
    assert "1 failed" in nbval(copy, "--nbval", NOTEBOOKS[2])


def test_what_is_up_to_date_is_not_run_again(copy, monkeypatch):
    before = contents(copy)
    assert course.build(copy, points_of=points_of) == []
    assert contents(copy) == before
    course.check(copy, points_of=points_of)


def test_new_prose_is_built_without_a_run(copy):
    source = copy / "notebooks/source/01_tiny.py"
    source.write_text(LECTURE.replace("# # Multiples", "# # Twice and thrice"), "utf-8")
    assert "differs from notebooks/source/01_tiny.py" in faults(
        course.check, copy, points_of=points_of
    )
    assert course.build(copy, points_of=points_of) == []
    course.check(copy, points_of=points_of)
    lecture = nbformat.read(copy / NOTEBOOKS[0], as_version=4)
    assert lecture.cells[1].source == "# Twice and thrice"
    assert lecture.cells[3].outputs


def change_cell(path, position, **changes):
    notebook = json.loads(path.read_text("utf-8"))
    notebook["cells"][position].update(changes)
    path.write_text(json.dumps(notebook, indent=1, sort_keys=True) + "\n", "utf-8")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_check_finds_an_edited_cell(copy, name):
    change_cell(copy / name, 2, source="edited = 1")
    message = faults(course.check, copy, points_of=points_of)
    assert f"{name}: differs from" in message and "cell 2" in message and "make build" in message


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_check_finds_a_missing_or_broken_notebook(copy, name):
    (copy / name).write_text("<<<<<<< not json", "utf-8")
    assert f"{name}: not a notebook" in faults(course.check, copy, points_of=points_of)
    (copy / name).unlink()
    assert f"{name}: missing" in faults(course.check, copy, points_of=points_of)


def test_check_finds_a_notebook_that_was_not_run(copy):
    change_cell(copy / NOTEBOOKS[0], 2, execution_count=None)
    message = faults(course.check, copy, points_of=points_of)
    assert f"{NOTEBOOKS[0]}: was not run from top to bottom" in message


def test_check_names_what_made_a_stamp_stale(copy):
    module = copy / "utils/model/sums.py"
    module.write_text(module.read_text().replace("x, x, 0.0", "x, x, 0.0, 0.0"))
    message = faults(course.check, copy, points_of=points_of)
    assert f"{NOTEBOOKS[0]}: stale: utils.model.sums changed" in message
    assert f"{NOTEBOOKS[2]}: stale: its code cells changed" in message


def test_check_finds_a_notebook_without_a_source(copy):
    (copy / "labs/09_lost.ipynb").write_bytes((copy / NOTEBOOKS[1]).read_bytes())
    assert "labs/09_lost.ipynb: no source stands for it" in faults(
        course.check, copy, points_of=points_of
    )


def failing(tmp_path, cell: str) -> str:
    root = make_course(tmp_path, lab="", lecture=f"# %% [markdown]\n# # A\n\n# %%\n{cell}\n")
    message = faults(course.build, root, points_of=points_of)
    assert not (root / NOTEBOOKS[0]).exists()
    return message


def test_a_failing_cell_is_named_with_its_line_and_error(tmp_path, capsys):
    message = failing(tmp_path, 'x = 1\nraise ValueError("a reason")')
    assert message.startswith("notebooks/source/01_tiny.py:6: ValueError: a reason")
    assert "    | x = 1" in message
    assert "failed   notebooks/01_tiny.ipynb" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("import sys\n\nprint('careful', file=sys.stderr)", ":5: the cell writes to stderr"),
        ("import os\n\nos._exit(3)", ":5: DeadKernel"),
    ],
)
def test_runs_that_must_not_be_stored(tmp_path, cell, message):
    assert message in failing(tmp_path, cell)


@pytest.mark.slow
def test_a_solution_that_fails_its_check_is_not_stored(tmp_path):
    root = make_course(tmp_path, lecture="")
    path = root / "utils/model/sums.py"
    path.write_text(path.read_text().replace("return double(x) +", "return -double(x) -"))
    message = faults(course.build, root, points_of=points_of)
    assert "01_tiny.py:43: the solution of triple does not pass: " in message
    assert not (root / NOTEBOOKS[2]).exists()


@pytest.mark.slow
def test_a_demonstrated_error_must_happen(tmp_path):
    text = '# %% tags=["raises-exception"]\nx = 1\n'
    root = make_course(tmp_path, lab="", lecture=text)
    assert "nothing is raised" in faults(course.build, root, points_of=points_of)


@pytest.mark.slow
def test_a_cell_that_never_ends_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.build.execute.CELL_SECONDS", 1)
    assert "over 1 s in one cell" in failing(tmp_path, "import time\n\ntime.sleep(60)")


def test_the_kernel_is_this_python_with_the_settings_of_the_tests(tmp_path):
    cell = (
        "import os\nimport sys\n\n"
        "print(sys.executable)\n"
        'names = ("COURSE_TIER", "COURSE_THREADS", "OMP_WAIT_POLICY")\n'
        "print(*(os.environ[name] for name in names))\n"
        'print(os.path.basename(os.getcwd()), os.path.basename(os.environ["COURSE_ARTIFACTS"]))\n'
    )
    root = make_course(tmp_path, lab="", lecture=f"# %%\n{cell}")
    course.build(root, points_of=points_of)
    code = nbformat.read(root / NOTEBOOKS[0], as_version=4).cells[1]
    assert code.outputs[0].text.splitlines() == [
        sys.executable,
        "cpu 1 PASSIVE",
        "notebooks artifacts",
    ]


def test_faults_in_one_source_leave_every_notebook_as_it_was(copy):
    before = contents(copy)
    (copy / "solutions/source/01_tiny.py").write_text(LAB.replace("points=2", "points=7"), "utf-8")
    (copy / "notebooks/source/01_tiny.py").write_text(LECTURE + "# %%\nprint(1)\n", "utf-8")
    assert "points=7" in faults(course.build, copy, points_of=points_of)
    assert contents(copy) == before


def test_a_preview_never_touches_the_notebooks(copy):
    before = contents(copy)
    folder = course.preview(copy)
    assert contents(copy) == before
    shown = nbformat.read(folder / NOTEBOOKS[0], as_version=4)
    assert all(not cell.get("outputs") for cell in shown.cells)


def test_unpinned_versions_are_not_stored(tmp_path):
    root = make_course(tmp_path, lab="")
    (root / "constraints.txt").write_text("torch==0.0.1\n")
    assert "torch 0.0.1 is pinned" in faults(course.build, root, points_of=points_of)


def test_the_command_says_what_is_wrong_and_fails(tmp_path, capsys):
    root = make_course(tmp_path, lab="", lecture="# %%\nx = (\n")
    assert main(["--check"], root) == 1
    assert "notebooks/source/01_tiny.py:2: syntax error" in capsys.readouterr().err
    assert main(["--check", "07"], root) == 1
    assert "no source for unit '07'; the sources are: 01_tiny" in capsys.readouterr().err
    assert main(["--check"], make_course(tmp_path / "empty", lab="", lecture="")) == 0
