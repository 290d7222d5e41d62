"""The committed notebooks: really run, clean, readable, and without answers where learners look.

Whether their outputs are still true is nbval's part (`python -m tests`, stage notebooks): it runs
every lecture and solution in a fresh kernel and compares cell by cell, and every released lab with
`--nbval-lax`. nbval passes a notebook that was never run, and a `raises-exception` that raises
nothing: these tests don't. Whether a notebook follows from its source is `utils.build --check`.
"""

import ast
import getpass
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from utils.build.exercises import telling_lines
from utils.build.names import without_magics
from utils.build.notebooks import as_text
from utils.labs.run import NOT_STARTED, run_checks
from utils.labs.student import LocalStudent
from utils.settings import project_root

ROOT = project_root()
LECTURES = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "solutions").glob("*.ipynb"))
LABS = sorted((ROOT / "labs").glob("*.ipynb"))
MAX_LINES = 30


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def each(paths: list[Path]):
    return pytest.mark.parametrize("path", paths, ids=name_of)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def output_text(cell) -> str:
    """All that a cell shows as text: streams, errors, and the text forms of rich outputs."""
    pieces = []
    for output in cell.outputs:
        pieces += [output.get("text", ""), output.get("evalue", "")]
        pieces += output.get("traceback", [])
        for mime, value in output.get("data", {}).items():
            if not mime.startswith("image/") or mime == "image/svg+xml":
                pieces.append(value if isinstance(value, str) else json.dumps(value))
    return "\n".join(pieces)


def calls_at_the_top(cell) -> set[str]:
    """The functions that a cell calls as statements, whatever its data; the real model is there."""
    if cell.source.startswith("%%"):
        return set()
    body = ast.parse(without_magics(cell.source)).body
    for statement in list(body):
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "has_real()":
            body += statement.body
    return {
        ast.unparse(statement.value.func)
        for statement in body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    }


def test_every_lab_has_its_solution():
    assert [path.name for path in LABS] == [path.name for path in SOLUTIONS]


@each(LECTURES + SOLUTIONS)
def test_every_cell_was_run_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts and counts == list(range(1, len(counts) + 1))


@each(LECTURES + SOLUTIONS)
def test_a_cell_that_prints_or_draws_has_its_output(path):
    for cell in code_cells(path):
        called = calls_at_the_top(cell)
        if "print" in called and "raises-exception" not in tags(cell):
            assert output_text(cell).strip(), f"nothing printed by:\n{cell.source}"
        if "plt.show" in called:
            mimes = {mime for output in cell.outputs for mime in output.get("data", {})}
            assert mimes & {"image/png", "image/svg+xml"}, f"no figure from:\n{cell.source}"


@each(LECTURES + SOLUTIONS)
def test_errors_stand_only_where_a_mistake_is_shown(path):
    for cell in code_cells(path):
        raised = any(output.output_type == "error" for output in cell.outputs)
        assert raised == ("raises-exception" in tags(cell)), cell.source


@each(LECTURES + SOLUTIONS)
def test_outputs_name_no_folder_or_person_of_the_machine(path):
    private = [str(ROOT), str(Path.home()), r"/home/\w", r"/Users/\w", r"[A-Z]:\\\\?Users", "/tmp/"]
    user = getpass.getuser()
    patterns = [p if "\\" in p else re.escape(p) for p in private if len(p) > 3]
    patterns += [rf"\b{re.escape(user)}@"]
    for cell in code_cells(path):
        found = re.search("|".join(patterns), output_text(cell))
        assert not found, f"{found[0]!r} in the output of:\n{cell.source}"


@each(LECTURES + SOLUTIONS)
def test_no_output_is_long(path):
    for cell in code_cells(path):
        lines = [o.text.count("\n") for o in cell.outputs if o.output_type == "stream"]
        assert sum(lines) <= 60, f"{sum(lines)} lines printed by:\n{cell.source}"
        assert all(o.get("name") != "stderr" for o in cell.outputs), cell.source


@each(LECTURES)
def test_code_cells_of_lectures_fit_on_a_screen(path):
    for cell in code_cells(path):
        assert cell.source.count("\n") < MAX_LINES, f"over {MAX_LINES} lines:\n{cell.source}"


@each(LABS)
def test_labs_have_no_outputs(path):
    for cell in code_cells(path):
        assert not cell.outputs and cell.execution_count is None, cell.source


@each(LABS)
def test_labs_show_no_line_of_an_answer(path):
    lab = {cell.id: cell.source for cell in read(path).cells}
    solved = {cell.id: cell for cell in read(ROOT / "solutions" / path.name).cells}
    assert list(lab) == list(solved)
    answers = {
        telling
        for key, cell in solved.items()
        if cell.cell_type == "code" and cell.source != lab[key]
        for line in set(cell.source.splitlines()) - set(lab[key].splitlines())
        for telling in telling_lines(line)
    }
    assert answers, "lab and solution are the same"
    for key, source in lab.items():
        shown = {telling for line in source.splitlines() for telling in telling_lines(line)}
        if solved[key].cell_type == "code":
            assert not shown & answers, f"{shown & answers} in cell {key}"
        assert "SOLUTION" not in source


@each(LABS)
def test_every_exercise_of_a_lab_is_a_stub(path):
    cells = {cell.id: cell.source for cell in read(path).cells}
    exercises = [key.removesuffix("-check") for key in cells if key.endswith("-check")]
    assert exercises
    for name in exercises:
        assert 'raise NotImplementedError("your code: ' in cells[name]
        compile(cells[name], name, "exec")


def definitions(path: Path) -> dict:
    """The names that a notebook imports and defines, its other statements left out."""
    wanted = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef
    body = [
        statement
        for cell in code_cells(path)
        if not cell.source.startswith("%%")
        for statement in ast.parse(without_magics(cell.source)).body
        if isinstance(statement, wanted)
    ]
    namespace = {"__name__": "__main__"}
    exec(compile(ast.Module(body, []), path.name, "exec"), namespace)
    return namespace


@each(LABS)
def test_an_unsolved_lab_earns_nothing(path):
    results = run_checks(path.stem, LocalStudent(definitions(path)))
    assert results and {result.status for result in results} == {NOT_STARTED}
    assert sum(result.earned for result in results) == 0


@each(SOLUTIONS)
def test_a_solution_earns_every_point(path):
    results = run_checks(path.stem, LocalStudent(definitions(path)), seed=1)
    missed = [f"{r.exercise}, {r.title}: {r.hint}" for r in results if r.earned != r.points]
    assert results and not missed


@each(LECTURES + LABS + SOLUTIONS)
def test_files_are_written_in_one_form(path):
    notebook = read(path)
    assert path.read_bytes() == as_text(notebook).encode()
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert set(notebook.metadata) == {"course", "kernelspec", "language_info"}
    assert notebook.metadata["course"]["source"] in notebook.cells[0].source
    assert (ROOT / notebook.metadata["course"]["source"]).is_file()


@pytest.mark.parametrize("folder", ["notebooks", "labs", "solutions", "work"])
def test_utils_is_the_library_from_every_folder(folder):
    if not (ROOT / folder).is_dir():
        pytest.skip(f"no folder {folder}/ yet")
    code = "import importlib.util as u; print(u.find_spec('utils').origin)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / folder, capture_output=True, text=True
    )
    assert Path(done.stdout.strip()) == ROOT / "utils" / "__init__.py", done.stderr
