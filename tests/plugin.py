"""What the suite adds to pytest: patience with notebooks, the real model, the dearest files.

nbval waits five seconds between two messages of a kernel once a cell has ended, and knows no option
for it; on a busy machine that is too short. What a cell may take in all is --nbval-cell-timeout.

Cells tagged `real` need the real model. Where it is not prepared they are run, since a learner
without it runs them, too, but not compared, and the last words of each stage say so.

Kernels that start at one moment on several processes may choose the same TCP port, and one of them
dies. Where sockets with a name are at hand, they are used: two kernels never share one.

nbval reads what a cell said once it has ended, and a socket keeps a thousand messages and drops the
rest, with them the word that the cell has ended. A training with a progress bar says more.
"""

import atexit
import itertools
import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import nbval.kernel
import zmq

from utils.build.sources import REAL
from utils.zoo.real import has_real, how_to_get_real

SECONDS = 120
N_SHOWN = 10
LECTURES = Path(__file__).resolve().parents[1] / "notebooks"
LONGEST_FOLDER = 50  # of the 107 characters that a socket's name may have


def pytest_configure():
    """Let nbval's kernels say all that they have to, over named sockets where there are any."""
    folder = Path(tempfile.mkdtemp(prefix="k"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    names = itertools.count()
    is_named = os.name == "posix" and len(str(folder)) <= LONGEST_FOLDER

    class Manager(nbval.kernel.KernelManager):
        """As its base, but two kernels never meet at one address, and no message is dropped."""

        def __init__(self, **options):
            if is_named:
                options |= {"transport": "ipc", "ip": str(folder / str(next(names)))}
            super().__init__(**options)

        def client(self, **options):
            made = super().client(**options)
            made.context.setsockopt(zmq.RCVHWM, 0)  # no limit
            return made

    nbval.kernel.KernelManager = Manager


def pytest_collection_modifyitems(items):
    """Raise the wait of every notebook cell; compare none that lacks the model it needs."""
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = SECONDS
            if is_real(item.cell) and not has_real():
                item.options["check"] = False


def is_real(cell: dict) -> bool:
    """Return whether a notebook's cell needs the real model."""
    return REAL in cell["metadata"].get("tags", [])


def pytest_terminal_summary(terminalreporter):
    """Print what was left out, and the files that took longest, all their tests together."""
    if not has_real():
        terminalreporter.section("without the real model", sep="-")
        terminalreporter.line(words_on_what_is_left_out())
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            file = str(getattr(report, "nodeid", "")).split("::")[0]
            seconds[file] += getattr(report, "duration", 0.0)
    dearest = [(file, total) for file, total in seconds.most_common(N_SHOWN) if total >= 1]
    if dearest:
        terminalreporter.section("dearest files, seconds of all their tests", sep="-")
        for file, total in dearest:
            terminalreporter.line(f"{total:7.0f} s  {file}")


def words_on_what_is_left_out() -> str:
    """Return how many cells were not compared, and how that would change."""
    counts = [
        sum(is_real(cell) for cell in json.loads(path.read_text("utf-8"))["cells"])
        for path in sorted(LECTURES.glob("*.ipynb"))
    ]
    return (
        f"{sum(counts)} cells of {sum(n > 0 for n in counts)} lectures were not compared, and "
        f"tests that need the model were skipped. {how_to_get_real()}"
    )
