"""Which names a piece of notebook code needs, and which it leaves behind; nothing is run.

Left out on purpose: names made by `exec`, `globals()` or star imports, which the house forbids.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable

KNOWN = set(dir(builtins)) | {"display", "get_ipython", "__name__"}
MAGIC = re.compile(r"^\s*[%!]")


def without_magics(code: str) -> str:
    """Return notebook code with lines of IPython magic made into `pass`, line for line.

    >>> without_magics("%matplotlib inline")
    'pass'
    """
    return "\n".join("pass" if MAGIC.match(line) else line for line in code.splitlines())


def names_left_behind(code: str) -> set[str]:
    """Return the names that a cell defines for the cells after it.

    >>> sorted(names_left_behind("import math as m; [a for a in 'xy']; b = 1"))
    ['b', 'm']
    """
    table = symtable.symtable(without_magics(code), "cell", "exec")
    return {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
    }


def names_needed(code: str) -> dict[str, int]:
    """Return the names that code looks up outside itself, each with the first line that does.

    >>> names_needed("def f(x):\\n    return math.sqrt(x) + g(x)")
    {'g': 2, 'math': 2}
    """
    code = without_magics(code)
    table = symtable.symtable(code, "cell", "exec")
    own = names_left_behind(code)
    wanted = global_lookups(table) - own - KNOWN
    lines: dict[str, int] = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in wanted:
            lines[node.id] = min(node.lineno, lines.get(node.id, node.lineno))
    return dict(sorted(lines.items(), key=lambda item: (item[1], item[0])))


def global_lookups(table: symtable.SymbolTable) -> set[str]:
    """Return all names that a scope and the scopes inside it look up globally."""
    at_top = table.get_type() == "module"
    found = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (at_top or symbol.is_global())
    }
    for child in table.get_children():
        found |= global_lookups(child)
    return found
