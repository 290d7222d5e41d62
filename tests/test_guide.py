"""The instructor's guide: every block of commands in it runs, in its order, on a small class."""

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from tests import slurm
from tests.side import nbgrader_python
from utils.cli import parser
from utils.grading import sandbox, unproven
from utils.labs import run
from utils.settings import project_root

ROOT = project_root()
GUIDE = ROOT / "solutions" / "README.md"
LAB = "02_attention"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
BLOCKS = [body for kind, body in FENCE.findall(GUIDE.read_text("utf-8")) if kind == "sh"]
COMMANDS = {
    "course",
    "python",
    "nbgrader",
    "make",
    "cp",
    "mkdir",
    "cd",
    "rm",
    "cat",
    "sbatch",
    "ray",
}


def missing(block):
    """Return why a block can't run here, or None."""
    if "nbgrader " in block.replace("export-nbgrader", "") and nbgrader_python() is None:
        return "nbgrader is not installed: python -m utils.bootstrap grading"
    if "course grade" in block and "--trust" not in block and sandbox.refusal():
        return str(sandbox.refusal())
    if "--engine slurm" in block and slurm.missing():
        return slurm.missing()
    if "--engine ray" in block:
        try:
            import ray  # noqa: F401
        except ImportError:
            return 'Ray is not installed: the extra "cluster"'
    return None


def copy_course(root):
    """Write what the guide's commands read of the course, with lab 02 alone."""
    skip = shutil.ignore_patterns("__pycache__", "0[013-9]_*", "1[0-9]_*")
    for folder in ("utils", "labs", "solutions", "notebooks/source", "tests/wrong_answers"):
        shutil.copytree(ROOT / folder, root / folder, ignore=skip)
    for name in ("tests/__init__.py", "tests/mutants.py", "tests/test_checks.py"):
        shutil.copyfile(ROOT / name, root / name)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, root / name)
    tools = root / "tools"
    tools.mkdir()
    side = nbgrader_python() or sys.executable
    for name, line in (
        ("course", f'"{sys.executable}" -m utils.cli'),
        ("python", f'"{sys.executable}"'),
        ("nbgrader", f'"{side}" -m nbgrader'),
    ):
        (tools / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (tools / name).chmod(0o755)
    return tools, Path(side).parent


def hand_in(root):
    """Write three submissions: solved, the lab as it was given out, and one that is partly done."""
    lab = nbformat.read(ROOT / "labs" / f"{LAB}.ipynb", as_version=4)
    solution = nbformat.read(ROOT / "solutions" / f"{LAB}.ipynb", as_version=4)
    (root / "submissions/ada").mkdir(parents=True)
    (root / "submissions/bob").mkdir()
    nbformat.write(solution, root / f"submissions/ada/{LAB}.ipynb")
    nbformat.write(lab, root / f"submissions/bob/{LAB}.ipynb")
    bodies = {cell["id"]: cell.source for cell in solution.cells}
    for cell in lab.cells:
        if cell["id"] in ("causal_mask", "apply_rope"):
            cell.source = bodies[cell["id"]]
        cell.source = cell.source.replace("*Your answer here.*", "The mask is open.")
    nbformat.write(lab, root / "submissions/eve.ipynb")


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return {row["learner"]: row for row in csv.DictReader(file)}


def mark(root):
    """Do what section 4 asks a person to do: fill in points and a comment."""
    sheet = root / "grades/written.csv"
    with sheet.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        table, names = list(reader), reader.fieldnames
    for row in table:
        row["points"], row["comment"] = "2.5", "a good start"
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(table)


def hand_in_to_nbgrader(root):
    """Put the release into the folder where nbgrader looks for what learners hand in."""
    place = root / "formgrader/submitted/ada" / LAB
    place.mkdir(parents=True)
    shutil.copyfile(root / f"formgrader/release/{LAB}/{LAB}.ipynb", place / f"{LAB}.ipynb")


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """Follow the guide from top to bottom; return the folder and what each block said."""
    root = tmp_path_factory.mktemp("course")
    tools, side_bin = copy_course(root)
    hand_in(root)
    path = os.pathsep.join([str(tools), str(side_bin), os.environ.get("PATH", "")])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(root), "HOME": str(root)}
    env |= {"COURSE_ARTIFACTS": str(root / "artifacts"), "IPYTHONDIR": str(root / "ipython")}
    env |= {"RAY_ADDRESS": "local"}
    env |= {"JUPYTER_PATH": str(Path(sys.prefix) / "share/jupyter")}
    said, marked = {}, False
    for number, block in enumerate(BLOCKS):
        if reason := missing(block):
            said[number] = (None, reason)
            continue
        if "nbgrader autograde" in block:
            hand_in_to_nbgrader(root)
        if block in BLOCKS[:number] and not marked and (root / "grades/written.csv").exists():
            mark(root)
            marked = True
        begin = time.monotonic()
        needs_cluster = "--engine slurm" in block
        with slurm.cluster() if needs_cluster else contextlib.nullcontext({}) as found:
            done = subprocess.run(
                ["bash", "-e", "-c", block], cwd=root, text=True, timeout=600,
                env={**env, **{k: v for k, v in found.items() if k == "SLURM_CONF"}},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        said[number] = (done.returncode, done.stdout)
        print(f"{time.monotonic() - begin:.1f} s: {block.splitlines()[-1]}")
        if marked and "marked" not in said:
            said["marked"] = rows(root / "grades/grades.csv")
    return root, said


pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the guide's commands are a shell's"
)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=lambda k: BLOCKS[k].split("\n")[-2][:40])
def test_every_command_of_the_guide_runs(walked, number):
    status, output = walked[1][number]
    if status is None:
        pytest.skip(output)
    assert status == 0, f"{BLOCKS[number]}\n{output}"
    if "nbgrader validate" in BLOCKS[number]:
        assert "Success! Your notebook passes all the tests." in output


@pytest.mark.slow
def test_the_class_gets_what_it_earned_and_the_marks_by_hand(walked):
    root, said = walked
    if "marked" not in said:
        pytest.skip("nothing was graded here: see the skipped commands")
    for table in (said["marked"], rows(root / "grades/grades.csv")):
        assert {name: int(row["points"]) for name, row in table.items()} == {
            "ada": int(table["ada"]["of"]),
            "bob": 0,
            "eve": 7,
        }
        assert {row["written points"] for row in table.values()} == {"2.5"}
    assert "a good start" in (root / "give-back/ada/ada.html").read_text("utf-8")
    appeal = rows(root / "appeal/grades.csv")[LAB]
    assert appeal["points"] == appeal["of"], "the same file under appeal has the same points"
    for engine in ("ray", "slurm"):
        if (root / f"grades-{engine}").exists():
            graded = rows(root / f"grades-{engine}/grades.csv")
            assert {name: row["points"] for name, row in graded.items()} == {
                name: row["points"] for name, row in said["marked"].items()
            }
    answers = json.loads((root / "grades/records/eve.json").read_text("utf-8"))["written"]
    assert [answer["text"] for answer in answers] == ["The mask is open."]


def test_no_command_hides_outside_the_blocks_that_are_run():
    text = GUIDE.read_text("utf-8")
    assert BLOCKS and text.count("```") == 2 * len(FENCE.findall(text))
    for kind, body in FENCE.findall(text):
        if kind != "sh":
            words = {line.split()[0] for line in body.splitlines() if line.strip()}
            assert not words & COMMANDS, f"a command in a block that no test runs: {body}"
    for line in "".join(BLOCKS).splitlines():
        assert line.split()[0] in COMMANDS, f"say in `missing` what {line!r} needs"
    for line in FENCE.sub("", text).splitlines():
        assert not line.startswith(("    ", "\t", "$ ")), f"an indented block: {line!r}"


def test_the_guides_limits_are_those_of_the_command():
    commands = parser()._subparsers._group_actions[0].choices
    grade = commands["grade"]
    defaults = {a.option_strings[0]: a.default for a in grade._actions if a.option_strings}
    found = re.findall(r"^\| `(--[\w-]+)` \| ([\d.]+) \|", GUIDE.read_text("utf-8"), re.M)
    assert len(found) >= 3
    for option, value in found:
        assert float(value) == defaults[option], option
    options = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", GUIDE.read_text("utf-8")))
    known = {
        name
        for command in commands.values()
        for action in command._actions
        for name in action.option_strings
    }
    assert options - known <= {"--no-execute"}


def test_the_guide_lists_whatever_a_check_reads_at_the_learners_side():
    said = " ".join(GUIDE.read_text("utf-8").split())
    for line in unproven.guide_lines():
        assert line in said, (
            f"python -m utils.grading.unproven prints the list for the guide: {line}"
        )
    for lab, exercise, title in unproven.WEIGHTLESS:
        assert any((c.exercise, c.title) == (exercise, title) for c in run.checks_of(lab))


def test_the_guides_links_and_files_exist():
    text = GUIDE.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (GUIDE.parent / target).exists(), target
    for name in re.findall(r"`((?:utils|solutions|labs|tests)/[\w/.]+)`", text):
        assert (ROOT / name).exists(), name
