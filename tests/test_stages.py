"""`make test` runs a notebook once more whose kernel died at its start, and that notebook alone."""

import os
import sys

import pytest

from tests.__main__ import run_stage

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
