"""The whole course at once: build what changed, preview, or check what is committed.

Two builds of the same sources give the same bytes: labs always; an executed notebook as long as its
stamp holds, because it is then not run again (with `force` it is, but cells tagged
`nbval-ignore-output`, whose timings differ by nature, keep the outputs that are stored).
"""

from __future__ import annotations

import os
import time
from importlib import metadata
from pathlib import Path

import nbformat

from utils.build.notebooks import FOLDERS, Built, PointsOf, as_text, build_source
from utils.build.outputs import normalise_cell
from utils.build.sources import REAL, BuildError, read_source, source_paths
from utils.build.stamp import pins, stale_parts, stamp_of


def points_of_checks(unit: str) -> dict[str, int]:
    """Return the points of each exercise of a unit, as its checks give them."""
    from utils.labs.api import points_of_unit

    return points_of_unit(unit)


def build_all(root: Path, units: list[str], points_of: PointsOf | None) -> list[Built]:
    """Return every notebook of the chosen units (all where none is named), without outputs.

    `points_of` says what checks there are; None leaves that comparison out.

    Raises:
        BuildError: with the faults of all sources, or for a unit that has no source.
    """
    paths = [path for path in source_paths(root) if is_wanted(path.stem, units)]
    for unit in units:
        if not any(is_wanted(path.stem, [unit]) for path in paths):
            there = ", ".join(sorted({path.stem for path in source_paths(root)})) or "none"
            raise BuildError([f"no source for unit {unit!r}; the sources are: {there}"])
    found, problems = [], []
    for path in paths:
        try:
            found += build_source(root, read_source(root, path), points_of)
        except BuildError as error:
            problems += error.problems
    if problems:
        raise BuildError(problems)
    return found


def is_wanted(stem: str, units: list[str]) -> bool:
    """Return whether a source belongs to the chosen units.

    >>> is_wanted("01_tokens", ["1"]), is_wanted("01_tokens", ["02"]), is_wanted("01_tokens", [])
    (True, False, True)
    """
    return not units or any(stem == unit or stem[:2] == unit.zfill(2) for unit in units)


def build(
    root: Path,
    units: list[str] | None = None,
    *,
    points_of: PointsOf = points_of_checks,
    force: bool = False,
    workers: int = 2,
) -> list[str]:
    """Write the notebooks of the chosen units; return the paths that were run.

    Raises:
        BuildError: for faults in sources (nothing is written), or for notebooks that fail when run
            (the others are written).
    """
    start = time.perf_counter()
    notebooks = build_all(root, units or [], points_of)
    jobs, written, stamps = [], [], {}
    for built in notebooks:
        if built.kind == "lab":
            written += write(root / built.path, as_text(built.notebook()))
            continue
        stamp = stamps[built.path] = stamp_of(root, built)  # of the code before the run
        stored = read_notebook(root / built.path)
        if force or stored is None or not is_current(stored, built, stamp):
            jobs.append(built)
        else:
            written += write(root / built.path, as_text(with_stored(built, stored, stamp)))
    ran: list[str] = []

    def finished(built: Built, notebook: nbformat.NotebookNode, seconds: float) -> None:
        stamp = stamps[built.path]
        stored = read_notebook(root / built.path)
        if stored is not None and is_current(stored, built, stamp):
            keep_ignored_outputs(notebook, stored)
        notebook.metadata = built.notebook({"stamp": stamp}).metadata
        write(root / built.path, as_text(notebook))
        ran.append(built.path)
        print(f"built    {built.path} in {seconds:.0f} s", flush=True)

    if jobs:
        from utils.build.execute import execute_all

        require_pinned_versions(root)
        require_real_model(jobs)
        failures = execute_all(root, jobs, finished, workers)
        if failures:
            raise BuildError(failures)
    n_same = len(notebooks) - len(ran) - len(written)
    print(
        f"{len(notebooks)} notebooks: {len(ran)} run, {len(written)} rewritten, "
        f"{n_same} up to date, {time.perf_counter() - start:.1f} s"
    )
    return ran


def preview(root: Path, units: list[str] | None = None) -> Path:
    """Write notebooks without outputs to artifacts/preview/, checks or not; return the folder."""
    folder = root / "artifacts" / "preview"
    for built in build_all(root, units or [], None):
        write(folder / built.path, as_text(built.notebook()))
        print(f"preview  {(folder / built.path).relative_to(root).as_posix()}")
    return folder


def check(
    root: Path, units: list[str] | None = None, points_of: PointsOf = points_of_checks
) -> None:
    """Compare what is committed with its sources, cell by cell, without running anything.

    Raises:
        BuildError: with every difference: a missing, stale, unexecuted or hand-edited notebook, or
            one that no source stands for.
    """
    notebooks = build_all(root, units or [], points_of)
    problems = [problem for built in notebooks for problem in differences(root, built)]
    if not units:
        expected = {built.path for built in notebooks}
        for folder in FOLDERS.values():
            for path in sorted((root / folder).glob("*.ipynb")):
                if f"{folder}/{path.name}" not in expected:
                    problems.append(f"{folder}/{path.name}: no source stands for it; remove it")
    if problems:
        problems[-1] += "\nrun make build, and commit what it writes"
        raise BuildError(problems)
    print(f"{len(notebooks)} notebooks agree with their sources")


def differences(root: Path, built: Built) -> list[str]:
    """Return how the committed notebook differs from what its source gives."""
    stored = read_notebook(root / built.path)
    if stored is None:
        what = "not a notebook" if (root / built.path).exists() else "missing"
        return [f"{built.path}: {what} (its source is {built.source})"]
    if built.kind == "lab":
        same = (root / built.path).read_text("utf-8") == as_text(built.notebook())
        return (
            []
            if same
            else [f"{built.path}: differs from {built.source}{first_change(built, stored)}"]
        )
    problems = []
    stamp = stamp_of(root, built)
    changed = stale_parts(stored.metadata.get("course", {}).get("stamp", {}), stamp)
    if changed:
        problems.append(f"{built.path}: stale: {', '.join(changed)} changed since it was run")
    change = first_change(built, stored)
    if change or stored.metadata != built.notebook({"stamp": stamp}).metadata:
        problems.append(f"{built.path}: differs from {built.source}{change}")
    if not ran_from_top_to_bottom(stored):
        problems.append(f"{built.path}: was not run from top to bottom")
    return problems[:1] if changed else problems


def first_change(built: Built, stored: nbformat.NotebookNode) -> str:
    """Return where the first difference between cells is, in words, or an empty string."""
    for number, (cell, lines) in enumerate(zip(built.cells, built.lines, strict=True)):
        if number >= len(stored.cells):
            return f": cell {number} is missing (line {lines[0]})"
        other = stored.cells[number]
        if (cell.id, cell.cell_type, cell.source, cell.metadata) != (
            other.get("id"),
            other.cell_type,
            other.source,
            other.metadata,
        ):
            return f": cell {number} (line {lines[0]})"
    if len(stored.cells) > len(built.cells):
        return f": cell {len(built.cells)} is not in the source"
    return ""


def read_notebook(path: Path) -> nbformat.NotebookNode | None:
    """Return the notebook at `path`, or None where there is none, or a file that is not one."""
    try:
        return nbformat.read(path, as_version=4) if path.is_file() else None
    except (ValueError, AttributeError, KeyError):
        return None


def is_current(stored: nbformat.NotebookNode, built: Built, stamp: dict) -> bool:
    """Return whether a stored notebook was run, whole, on what the stamp describes."""
    ran = [cell for cell in stored.cells if cell.cell_type == "code"]
    code = [cell.source for cell in built.cells if cell.cell_type == "code"]
    return (
        not stale_parts(stored.metadata.get("course", {}).get("stamp", {}), stamp)
        and [cell.source for cell in ran] == code
        and ran_from_top_to_bottom(stored)
    )


def ran_from_top_to_bottom(notebook: nbformat.NotebookNode) -> bool:
    """Return whether the execution counts of the code cells are 1, 2, 3 and so on."""
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    return counts == list(range(1, len(counts) + 1))


def with_stored(built: Built, stored: nbformat.NotebookNode, stamp: dict) -> nbformat.NotebookNode:
    """Return the notebook with new prose and the stored outputs of its unchanged code cells.

    What today's rules take out of outputs is taken out of stored ones, too.
    """
    notebook = built.notebook({"stamp": stamp})
    ran = [cell for cell in stored.cells if cell.cell_type == "code"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell, before in zip(code, ran, strict=True):
        cell.outputs, cell.execution_count = before.outputs, before.execution_count
        normalise_cell(cell)
    return notebook


def keep_ignored_outputs(notebook: nbformat.NotebookNode, stored: nbformat.NotebookNode) -> None:
    """Keep the stored outputs of cells whose outputs differ by nature (timings)."""
    before = {cell.get("id"): cell for cell in stored.cells}
    for cell in notebook.cells:
        if "nbval-ignore-output" in cell.metadata.get("tags", []) and cell.id in before:
            cell.outputs = before[cell.id].outputs
            normalise_cell(cell)


def require_pinned_versions(root: Path) -> None:
    """Refuse to store outputs of other versions than the pinned ones, which the stamp names.

    Raises:
        BuildError: where an installed version differs from constraints.txt.
    """
    problems = []
    for pin in pins(root).split():
        name, _, wanted = pin.partition("==")
        installed = metadata.version(name).partition("+")[0]
        if installed != wanted:
            problems.append(
                f"constraints.txt: {name} {wanted} is pinned and {installed} is installed: "
                "run make env, then build"
            )
    if problems:
        raise BuildError(problems)


def require_real_model(jobs: list[Built]) -> None:
    """Refuse to store outputs of a lecture that shows a real model where there is none.

    Raises:
        BuildError: with the notebooks, and the command that prepares the model.
    """
    waiting = [
        built.path
        for built in jobs
        if any(REAL in cell.metadata.get("tags", []) for cell in built.cells)
    ]
    if not waiting:
        return
    from utils.zoo.real import has_real, how_to_get_real

    if not has_real():
        raise BuildError([f"{path}: needs the real model. {how_to_get_real()}" for path in waiting])


def write(path: Path, text: str) -> list[str]:
    """Write `text` where it differs from what is there, under a new name first; return the path.

    A build that is interrupted leaves the old notebook or the new one, never a piece.
    """
    if path.is_file() and path.read_bytes() == text.encode():
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.write_bytes(text.encode())
    os.replace(draft, path)
    return [path.as_posix()]
