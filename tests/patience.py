"""A plugin of pytest for the notebooks: how long to wait for the next output of a running cell.

nbval waits five seconds between two messages of a kernel once a cell has ended, and knows no option
for it; on a busy machine that is too short. What a cell may take in all is --nbval-cell-timeout.
"""

SECONDS = 120


def pytest_collection_modifyitems(items):
    """Raise the wait of every notebook cell."""
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = SECONDS
