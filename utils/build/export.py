"""A lab as a course folder for nbgrader: `course export-nbgrader LAB --out DIR`.

From the same source as lab and solution: each exercise is a solution cell with its answer between
the marks that nbgrader takes out, each check a grading cell with its points, each written answer a
cell that is marked by hand; text and given code are read-only. A grading cell tries inputs that the
learner can see, and others, drawn at the export, that nbgrader leaves out of the release.

nbgrader runs a submission and its grading cells in one process, so a submission can give itself
points. `course grade` is the one to trust; this is for schools that use Formgrader.
"""

from __future__ import annotations

import re
import secrets
import sys
from pathlib import Path

import nbformat

from utils.build.answers import YOUR_TEXT
from utils.build.course import points_of_checks
from utils.build.notebooks import Built, as_text, build_source
from utils.build.sources import BuildError, read_source
from utils.grading.submission import WRITTEN
from utils.labs import run
from utils.labs.checking import Check
from utils.settings import project_root

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
STUB = 'raise NotImplementedError("your code")'
PLACEHOLDER = re.compile(r'^\s*raise NotImplementedError\("your code: ')
WARNING = (
    "nbgrader runs submissions in the process that also computes their points, so a submission "
    "can give itself any points. Where grades count, use: course grade"
)
CONFIG = '''"""Settings of nbgrader for this course folder; run nbgrader from here."""

from pathlib import Path

c = get_config()  # noqa: F821  nbgrader defines it
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.CourseDirectory.course_id = "llm-workbook"
c.ClearSolutions.code_stub = {{"python": {stub!r}}}
c.ClearSolutions.text_stub = {text!r}
c.Execute.timeout = {seconds}  # seconds per cell; nbgrader has no limit for a whole notebook
'''
CELL_SECONDS = 300
GUIDE = """# A course folder for nbgrader

{warning} (it runs them in a sandbox).

In this folder, with the environment of the course, which holds `utils`, and nbgrader 0.9.5 or
later; LAB is the name of a folder in `source/`:

- `nbgrader generate_assignment LAB` writes what learners get to `release/`;
- submissions go to `submitted/LEARNER/LAB/LAB.ipynb`;
- `nbgrader autograde LAB`, then Formgrader (`jupyter lab`, here) for the written answers;
- `nbgrader generate_feedback LAB` writes a page for each learner; `nbgrader export` a table.

`source/` holds the answers and the hidden inputs: keep it from learners.
"""


def export_nbgrader(lab: str, out: Path, root: Path | None = None, seed: int | None = None) -> Path:
    """Write a lab into a course folder for nbgrader; return the path of its source notebook.

    Args:
        lab: name, or path of the lab's notebook with or without its ending.
        out: course folder, which may hold other labs.
        root: folder of the course.
        seed: of the hidden inputs; None draws one.

    Raises:
        ValueError: for a lab that the course does not have.
        FileExistsError: where the folder has this lab already, since it may have been edited.
        BuildError: for faults in the lab's source.
    """
    root = root or project_root()
    lab = Path(lab).name.removesuffix(".ipynb")
    source = root / "solutions" / "source" / f"{lab}.py"
    if not source.is_file():
        there = ", ".join(sorted(path.stem for path in source.parent.glob("*.py")))
        raise ValueError(f"there is no lab called {lab!r}; the labs are: {there}")
    target = out / "source" / lab / f"{lab}.ipynb"
    if target.exists():
        raise FileExistsError(f"{target} is there already: remove it, or name another folder")
    released, solved = build_source(root, read_source(root, source), points_of_checks)
    if seed is None:
        seed = secrets.randbelow(2**31)
    text = as_text(nbgrader_notebook(released, solved, run.checks_of(lab), seed))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8", newline="\n")
    config = CONFIG.format(stub=STUB, text=YOUR_TEXT, seconds=CELL_SECONDS)
    for name, content in (
        ("nbgrader_config.py", config),
        ("README.md", GUIDE.format(warning=WARNING)),
    ):
        if not (out / name).exists():
            (out / name).write_text(content, encoding="utf-8", newline="\n")
    return target


def main(lab: str, out: Path) -> int:
    """Export a lab, print where it is and what to bear in mind; return the exit status."""
    try:
        target = export_nbgrader(lab, out)
    except (BuildError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{target}\nNext: cd {out} && nbgrader generate_assignment {target.stem}\n{WARNING}.")
    return 0


def nbgrader_notebook(
    released: Built, solved: Built, checks: list[Check], seed: int
) -> nbformat.NotebookNode:
    """Return a lab's notebook with nbgrader's metadata, answers and grading cells.

    Args:
        released: the lab without answers.
        solved: the same cells with answers.
        checks: of the lab, in their order.
        seed: of the hidden inputs.
    """
    exercises = {check.exercise for check in checks}
    notebook = released.notebook()
    cells: list[nbformat.NotebookNode] = []
    n_written = 0
    for shown, answer in zip(notebook.cells, solved.cells, strict=True):
        name = shown["id"]
        if name == "source":
            continue  # where the course's own copies are
        if name in exercises:
            shown.source = with_regions(shown.source, answer.source)
            cells.append(marked(shown, name, solution=True))
        elif shown.cell_type == "markdown" and shown.source != answer.source:
            n_written += 1
            cells += written_cells(shown, answer.source, n_written)
        else:
            # What needs an exercise is an experiment, and a blank is filled in: the learner's own.
            free = shown.source.startswith("if done(") or shown.source != answer.source
            free |= name.endswith("-check")
            cells.append(shown if free else marked(shown, name, locked=True))
        if name.endswith("-check"):
            own = [check for check in checks if f"{check.exercise}-check" == name]
            cells += [grading_cell(check, k, len(own), seed) for k, check in enumerate(own, 1)]
    notebook.cells = cells
    return notebook


def marked(
    cell: nbformat.NotebookNode,
    name: str,
    *,
    solution: bool = False,
    locked: bool = False,
    points: int | None = None,
) -> nbformat.NotebookNode:
    """Give a cell nbgrader's metadata; `points` makes it count."""
    note = {"grade_id": name, "schema_version": 3, "task": False}
    note |= {"grade": points is not None, "solution": solution, "locked": locked}
    if points is not None:
        note["points"] = points
    cell.metadata["nbgrader"] = nbformat.from_dict(note)
    return cell


def with_regions(stub: str, answer: str) -> str:
    """Return an answer with nbgrader's marks around what the stub leaves out.

    >>> print(with_regions('def f():\\n    raise NotImplementedError("your code: do")',
    ...                    'def f():\\n    return 1'))
    def f():
        ### BEGIN SOLUTION
        return 1
        ### END SOLUTION
    """
    given: list[list[str]] = [[]]
    for line in stub.splitlines():
        if PLACEHOLDER.match(line):
            given.append([line[: len(line) - len(line.lstrip())]])  # how far in the answer stands
        else:
            given[-1].append(line)
    lines = answer.splitlines()
    result, place = given[0], len(given[0])
    for k, (indent, *after) in enumerate(given[1:], 1):
        end = len(lines) - len(after)
        if k < len(given) - 1:
            starts = range(place, end + 1)
            end = next(i for i in starts if lines[i : i + len(after)] == after)
        result += [indent + BEGIN, *lines[place:end], indent + END, *after]
        place = end + len(after)
    return "\n".join(result)


def written_cells(
    shown: nbformat.NotebookNode, answer: str, number: int
) -> list[nbformat.NotebookNode]:
    """Return a question, read-only, and the cell for its answer, which is marked by hand.

    A blank without points in its heading is the learner's own and stays as it is.
    """
    question, _, rest = shown.source.partition(YOUR_TEXT)
    found = WRITTEN.search(shown.source)
    if not found:
        return [shown]
    model = answer.removeprefix(question).removesuffix(rest).strip()
    name = shown["id"]
    asked = nbformat.v4.new_markdown_cell((question.rstrip() + "\n\n" + rest.strip()).strip())
    asked["id"] = name
    reply = nbformat.v4.new_markdown_cell(f"{BEGIN}\n{model}\n{END}")
    reply["id"] = f"written-{number}"
    return [
        marked(asked, name, locked=True),
        marked(reply, f"written-{number}", solution=True, points=int(found.group(1))),
    ]


def grading_cell(check: Check, part: int, n_parts: int, seed: int) -> nbformat.NotebookNode:
    """Return the cell that raises unless a check passes, with inputs seen and hidden."""
    name = f"{check.exercise}-part-{part}"
    points = f"{check.points} point{'' if check.points == 1 else 's'}"
    cell = nbformat.v4.new_code_cell(
        f"# {check.exercise}, part {part} of {n_parts}, {points}: {check.title}\n"
        "from utils.labs.api import require_check\n\n"
        f"require_check({check.exercise!r}, {part})\n"
        "### BEGIN HIDDEN TESTS\n"
        f"require_check({check.exercise!r}, {part}, seed={seed})\n"
        "### END HIDDEN TESTS"
    )
    cell["id"] = name
    return marked(cell, name, locked=True, points=check.points)
