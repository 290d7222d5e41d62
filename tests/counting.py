"""Counts the work of Python code, so that a test of cost does not depend on a clock."""

from __future__ import annotations

import sys
from collections.abc import Callable


def lines_run(call: Callable[[], object]) -> int:
    """Return how many lines of Python of `utils` run while `call` does, loops' turns each.

    What one line does inside C is not seen: a test chooses code whose loops are Python's.
    """
    n_lines = 0

    def trace(frame, event, argument):
        nonlocal n_lines
        if "utils" not in frame.f_code.co_filename:
            return None
        n_lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return n_lines
