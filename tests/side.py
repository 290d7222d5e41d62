"""Where tools are that the course does not need: in this environment, or in one beside it."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.bootstrap import ROOT, venv_python


def python_with(beside: str, modules: Sequence[str]) -> str | None:
    """Return an interpreter that can import some modules, or None.

    Args:
        beside: name of the environment that `python -m utils.bootstrap NAME` makes in `.venv`.
        modules: that this environment may have itself.
    """
    if all(importlib.util.find_spec(name) is not None for name in modules):
        return sys.executable
    python = venv_python(Path(ROOT) / ".venv" / beside)
    return str(python) if python.is_file() else None


def nbgrader_python() -> str | None:
    """Return the interpreter that can run nbgrader, or None."""
    return python_with("grading", ["nbgrader"])
