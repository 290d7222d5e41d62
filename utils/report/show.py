"""Showing the course's own code in a notebook, from where it is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from IPython.display import Code


def show(thing: Callable) -> Code:
    """Return the source of a function or class of `utils`, highlighted in a notebook.

    Raises:
        TypeError: for what has no Python source, such as a built-in function.

    >>> "def show" in show(show).data
    True
    """
    return Code(inspect.getsource(thing), language="python")
