"""How `make test` runs its stages: lost kernels, stages that hang, cells that print a lot."""

import os
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from tests.__main__ import MINUTES, run_stage
from utils.settings import project_root

CELL = "_____ ERROR at setup of {}::Cell 3 _____"
DIED = "E   RuntimeError: Kernel died before replying to kernel_info"


@pytest.mark.parametrize(
    ("first", "second", "expected", "n_runs"),
    [
        ([CELL.format("a.ipynb"), DIED], 0, 0, 2),
        ([CELL.format("a.ipynb"), DIED], 1, 1, 2),  # it dies again
        ([CELL.format("a.ipynb"), DIED, CELL.format("b.ipynb")], 0, 1, 2),  # another one is wrong
        ([CELL.format("b.ipynb")], 0, 1, 1),
    ],
)
def test_only_a_lost_kernel_is_tried_again(first, second, expected, n_runs, tmp_path):
    runs = tmp_path / "runs"
    script = tmp_path / "stage.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        f"runs = Path({str(runs)!r})\n"
        "said = runs.read_text().splitlines() if runs.exists() else []\n"
        "runs.write_text('\\n'.join([*said, ' '.join(sys.argv[1:])]))\n"
        f"if said:\n    sys.exit({second})\n"
        f"print('\\n'.join({first!r}))\nsys.exit(1)\n"
    )
    status = run_stage([sys.executable, str(script), "a.ipynb", "b.ipynb"], dict(os.environ))
    asked = runs.read_text().splitlines()
    assert (status, len(asked)) == (expected, n_runs)
    assert asked[1:] == ["a.ipynb"] * (n_runs - 1)


def has_ended(pid: int) -> bool:
    """Return whether a process has ended, be it collected or not."""
    try:
        psutil.Process(pid).wait(timeout=10)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.parametrize("lasts", [0, 600])
def test_what_outlives_a_stage_is_killed_and_what_takes_too_long_is_stopped(lasts, tmp_path, capfd):
    child, stage = tmp_path / "child", tmp_path / "stage.py"
    stage.write_text(
        "import subprocess, sys, time\nfrom pathlib import Path\n"
        "daemon = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "child = subprocess.Popen(daemon, start_new_session=True)  # it keeps the output open\n"
        f"Path({str(child)!r}).write_text(str(child.pid))\n"
        f"print('begun', flush=True)\ntime.sleep({lasts})\n"
    )
    start = time.monotonic()
    status = run_stage([sys.executable, str(stage)], dict(os.environ), start + 5)
    printed = capfd.readouterr()
    assert status == (lasts > 0)
    assert (f"{MINUTES} minutes at most" in printed.err) == (lasts > 0)
    assert "begun" in printed.out and "left behind by this stage" in printed.err
    assert has_ended(int(child.read_text()))
    assert time.monotonic() - start < 300


def test_a_cell_that_says_more_than_a_socket_holds_is_heard_to_its_end(tmp_path):
    cell = nbformat.v4.new_code_cell(
        "from IPython.display import display\nfor k in range(6000):\n    display(k)",
        execution_count=1,
    )
    cell.outputs = [
        nbformat.v4.new_output("display_data", {"text/plain": str(k)}) for k in range(6000)
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "much.ipynb")
    nbval = ["--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-p", "tests.plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *nbval, str(tmp_path / "much.ipynb")]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
