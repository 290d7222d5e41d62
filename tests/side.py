"""Where nbgrader is: in this environment, or in the one that `make test` makes beside it."""

import importlib.util
import sys
from pathlib import Path

from utils.bootstrap import ROOT, venv_python


def nbgrader_python() -> str | None:
    """Return the interpreter that can run nbgrader, or None."""
    if importlib.util.find_spec("nbgrader") is not None:
        return sys.executable
    beside = venv_python(Path(ROOT) / ".venv" / "grading")
    return str(beside) if beside.is_file() else None
