"""Showing the course's own code in a notebook, from where it is written.

What a lab asks for is shown by its interface alone: signature and docstring.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from functools import cache

from IPython.display import Code

from utils.settings import project_root

MARKER = re.compile(r"^# exercise: (\S+) ", re.M)


def show(thing: Callable) -> Code:
    """Return the source of a function or class of `utils`, highlighted in a notebook.

    An exercise of a lab shows its interface: the body is what the lab asks for.

    Raises:
        TypeError: for what has no Python source, such as a built-in function.

    >>> "def show" in show(show).data
    True
    >>> from utils.model.attention import causal_mask
    >>> show(causal_mask).data.splitlines()[-1]
    '    ...'
    """
    source = textwrap.dedent(inspect.getsource(thing))
    if f"{thing.__module__}.{thing.__qualname__}" in exercises():
        source = interface(source)
    return Code(source, language="python")


@cache
def exercises() -> frozenset[str]:
    """Return the dotted names of all functions that labs ask for."""
    folder = project_root() / "solutions" / "source"
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))]
    return frozenset(name for text in texts for name in MARKER.findall(text))


def interface(source: str) -> str:
    """Return the text of a function or class with `...` for the body of whatever has a docstring.

    >>> print(interface('def double(x):\\n    "Return 2 x."\\n    return 2 * x  # easy'))
    def double(x):
        "Return 2 x."
        ...
    """
    lines, kept, done_to = source.splitlines(), [], 0
    whole = ast.parse(source).body[0]
    methods = [whole]
    if isinstance(whole, ast.ClassDef):
        methods = [m for m in whole.body if isinstance(m, ast.FunctionDef)]
    for method in methods:
        if ast.get_docstring(method):
            head = method.body[0].end_lineno
        else:
            head = method.body[0].lineno - 1
        kept += lines[done_to:head] + [" " * method.body[0].col_offset + "..."]
        done_to = method.end_lineno
    return "\n".join(kept + lines[done_to:])
