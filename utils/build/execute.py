"""Run generated notebooks in fresh kernels of this environment, two at a time.

Each kernel starts in its notebook's folder with the settings of `make test`: the cpu tier, one
thread, no hub, an artifacts folder of its own that is thrown away, so that neither the
learner's progress nor an earlier run can show in the outputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from utils.build.notebooks import Built
from utils.build.outputs import normalise_cell

SETTINGS = {
    "COURSE_TIER": "cpu",
    "COURSE_THREADS": "1",
    "COURSE_MODEL": "",
    "COURSE_DATA_DIR": "",
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
CELL_SECONDS = 300


class NotebookFailed(Exception):
    """A cell that failed, ran too long or lost its kernel; the message has file and line."""


class EnvironmentKernel(AsyncKernelManager):
    """A kernel of the Python that runs the build, whatever kernels the account has installed."""

    def __init__(self, folder: str, root: Path):
        super().__init__(kernel_name="python3")
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        self._kernel_spec = KernelSpec(
            argv=[*command, "--HistoryManager.enabled=False", "--log-level=50"],
            env={
                **SETTINGS,
                "COURSE_ARTIFACTS": f"{folder}/artifacts",
                "IPYTHONDIR": f"{folder}/ipython",
                "PYTHONPATH": str(root),
            },
            display_name="Python 3 (ipykernel)",
            language="python",
        )


def execute_all(root: Path, jobs: list[Built], done, workers: int = 2) -> list[str]:
    """Run every notebook of `jobs`; call `done(built, notebook, seconds)` for each that ran well.

    Returns:
        One message for each notebook that failed; the others are not affected.
    """
    import matplotlib.font_manager  # noqa: F401  writes its cache now, not as a warning in a cell

    return asyncio.run(execute_side_by_side(root, jobs, done, workers))


async def execute_side_by_side(root: Path, jobs: list[Built], done, workers: int) -> list[str]:
    """Run the notebooks of `jobs`, at most `workers` at once."""
    room = asyncio.Semaphore(workers)
    failures = []

    async def run(built: Built) -> None:
        async with room:
            start = time.perf_counter()
            n_cells = sum(cell.cell_type == "code" for cell in built.cells)
            print(f"running  {built.path} ({n_cells} cells)", flush=True)
            try:
                notebook = await execute(root, built)
            except NotebookFailed as error:
                failures.append(str(error))
                print(f"failed   {built.path}", flush=True)
            else:
                done(built, notebook, time.perf_counter() - start)

    await asyncio.gather(*(run(built) for built in jobs))
    return failures


async def execute(root: Path, built: Built) -> nbformat.NotebookNode:
    """Return the notebook with the outputs of one run from top to bottom, normalised.

    Raises:
        NotebookFailed: for an error, a cell that takes too long, a dead kernel, or a cell that
            writes to stderr (a warning would differ from machine to machine).
    """
    notebook = built.notebook()
    folder = (root / built.path).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="course-build-", ignore_cleanup_errors=True) as scratch:
        client = NotebookClient(
            notebook,
            km=EnvironmentKernel(scratch, root),
            timeout=CELL_SECONDS,
            store_widget_state=False,
            resources={"metadata": {"path": str(folder)}},
            on_notebook_start=leave_interrupts_alone,
        )
        client.owns_km = True  # so that the kernel ends with the run
        try:
            await client.async_execute()
        except CellExecutionError as error:
            raise NotebookFailed(failure(built, notebook, error.ename, error.evalue)) from error
        except CellTimeoutError as error:
            what = f"over {CELL_SECONDS} s in one cell"
            raise NotebookFailed(failure(built, notebook, "Timeout", what)) from error
        except DeadKernelError as error:
            what = "the kernel died (out of memory, or killed)"
            raise NotebookFailed(failure(built, notebook, "DeadKernel", what)) from error
    for cell in notebook.cells:
        if cell.cell_type == "code":
            normalise_cell(cell)
    notebook.metadata = built.notebook().metadata
    complaints = output_problems(built, notebook)
    if complaints:
        raise NotebookFailed("\n".join(complaints))
    return notebook


def leave_interrupts_alone(notebook) -> None:
    """Give Ctrl-C back to Python, which then ends every notebook and not the last one alone."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.remove_signal_handler(number)


def failure(built: Built, notebook: nbformat.NotebookNode, ename: str, evalue: str) -> str:
    """Return the message for the cell at which a run ended: source line, cell, end of the trace."""
    ran = [k for k, cell in enumerate(notebook.cells) if cell.get("execution_count")]
    code = [k for k, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    errors = [
        (k, output)
        for k in code
        for output in notebook.cells[k].outputs
        if output.output_type == "error"
    ]
    number = errors[-1][0] if errors else next((k for k in code if k not in ran), code[-1])
    cell = notebook.cells[number]
    shown = "\n".join("    | " + line for line in cell.source.splitlines()[:12])
    trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(errors[-1][1].traceback)) if errors else ""
    tail = "\n".join("    " + line for line in trace.splitlines()[-12:])
    row = re.search(r"Cell In\[\d+\], line (\d+)", trace)
    lines = built.lines[number]
    where = f"{built.source}:{lines[min(int(row[1]), len(lines)) - 1] if row else lines[0]}"
    return f"{where}: {ename}: {evalue.strip()[:500]}  (in {built.path})\n{shown}\n{tail}".rstrip()


def output_problems(built: Built, notebook: nbformat.NotebookNode) -> list[str]:
    """Return what is wrong with the outputs of a notebook that ran to its end."""
    problems = []
    for cell, (line, *_) in zip(notebook.cells, built.lines, strict=True):
        if cell.cell_type != "code":
            continue
        where = f"{built.source}:{line}"
        errors = [o for o in cell.outputs if o.output_type == "error"]
        if "raises-exception" in cell.metadata.get("tags", []) and not errors:
            problems.append(f"{where}: tagged raises-exception, but nothing is raised")
        if built.kind == "solution" and cell.id.endswith("-check"):
            name = cell.id.removesuffix("-check")
            said = "".join(output.get("text", "") for output in cell.outputs)
            if not re.match(rf"{name}: (\d+) of \1 points", said):
                problems.append(f"{where}: the solution of {name} does not pass: {said.strip()}")
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                text = output.text.strip()[:300]
                problems.append(f"{where}: the cell writes to stderr: mend its cause: {text}")
    return problems
