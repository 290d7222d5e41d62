"""How `make test` runs its stages: what was printed is shown, and lost kernels are told apart."""

import os
import sys

from tests.__main__ import run

PRINTED = """___ ERROR at setup of labs/05_generation.ipynb::Cell 0 ___
E   RuntimeError: Kernel died before replying to kernel_info
___ labs/01_tokens.ipynb::Cell 3 ___
E   AssertionError
"""


def command(status: int) -> list[str]:
    return [sys.executable, "-c", f"import sys; print({PRINTED!r}); sys.exit({status})"]


def test_a_notebook_whose_kernel_never_came_is_named_and_one_that_failed_is_not(capfd):
    assert run(command(1), dict(os.environ)) == (1, ["labs/05_generation.ipynb"])
    assert PRINTED in capfd.readouterr().out


def test_a_stage_that_passes_loses_nothing():
    assert run([sys.executable, "-c", "print('12 passed')"], dict(os.environ)) == (0, [])
