"""What the suite adds to pytest: patience with notebooks, and a list of the dearest files.

nbval waits five seconds between two messages of a kernel once a cell has ended, and knows no option
for it; on a busy machine that is too short. What a cell may take in all is --nbval-cell-timeout.
"""

from collections import Counter

SECONDS = 120
N_SHOWN = 10


def pytest_collection_modifyitems(items):
    """Raise the wait of every notebook cell."""
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = SECONDS


def pytest_terminal_summary(terminalreporter):
    """Print the files that took longest, all their tests or cells together."""
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
