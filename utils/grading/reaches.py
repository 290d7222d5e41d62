"""Where a submission's code reaches further than an exercise needs: a list for a person to look at.

No points depend on it, and it proves nothing: honest code may import `sys`, and who wants to hide
can. It is made in the sandbox before any of the code runs, so that the code can't change it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from utils.grading.needed import parsed

MAX_FOUND = 20
MODULES = frozenset(
    "builtins ctypes gc importlib inspect marshal mmap multiprocessing os pickle ptrace resource "
    "runpy signal socket subprocess sys threading types".split()
)
ROOMS = ("utils.grading", "utils.labs")
COURSE = ("utils.labs.api", "utils.labs.quiz")  # what labs themselves import of these rooms
NAMES = frozenset("__import__ compile delattr eval exec globals locals setattr vars".split())
ATTRIBUTES = frozenset(
    "__bases__ __builtins__ __closure__ __code__ __dict__ __globals__ __mro__ __self__ "
    "__subclasses__ __torch_dispatch__ __torch_function__ _getframe f_back f_locals get_objects "
    "_call_impl _forward_hooks _forward_pre_hooks after_call forward gradients_of modules "
    "register_forward_pre_hook setprofile settrace shapes_read shared_memory table".split()
)
OF_MODELS = ("forward", "table")  # of a class's own object they are no reach
OWN = ("self", "super", "cls")


def reaches(cells: Iterable[str]) -> list[str]:
    """Return what in the code of a notebook reaches out, each with its cell and line.

    A cell that is no Python is passed over.

    >>> reaches(["import gc, math", "def f(x):\\n    return eval(x)"])
    ['cell 1, line 1: imports gc', 'cell 2, line 2: uses eval']
    >>> reaches(["import torch", "torch.equal = torch.allclose = lambda *a: True"])[0]
    'cell 2, line 1: changes torch.equal'
    """
    trees = parsed(list(cells))[0]
    nodes = [(k, node) for k, tree in trees for node in ast.walk(tree)]
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for _, node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    found = [(k, node, what) for k, node in nodes if (what := reach_of(node, imported))]
    found.sort(key=lambda entry: (entry[0], entry[1].lineno, entry[1].col_offset))
    lines = [f"cell {k}, line {node.lineno}: {what}" for k, node, what in found]
    return list(dict.fromkeys(lines))[:MAX_FOUND]


def reach_of(node: ast.AST, imported: set[str]) -> str | None:
    """Return what a node reaches for, or None.

    Args:
        node: of a syntax tree.
        imported: names that the notebook has from imports; to assign to their parts is a reach.
    """
    if isinstance(node, ast.Import):
        names = [a.name for a in node.names if a.name.split(".")[0] in MODULES or grading(a.name)]
        return f"imports {', '.join(names)}" if names else None
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if module.split(".")[0] in MODULES or grading(module):
            return f"imports from {module}"
        return f"imports from {module}" if module in ROOMS else None
    if isinstance(node, ast.Name):
        return f"uses {node.id}" if node.id in NAMES else None
    if isinstance(node, ast.Attribute):
        base = node.value
        while isinstance(base, ast.Attribute):
            base = base.value
        changed = isinstance(node.ctx, ast.Store | ast.Del)
        if changed and isinstance(base, ast.Name) and base.id in imported:
            return f"changes {ast.unparse(node)}"
        if node.attr in OF_MODELS and own(base):
            return None
        return f"uses {node.attr}" if node.attr in ATTRIBUTES else None
    return None


def own(base: ast.AST) -> bool:
    """Return whether an expression is a method's own object: `self`, `super()`."""
    return any(isinstance(node, ast.Name) and node.id in OWN for node in ast.walk(base))


def grading(module: str) -> bool:
    """Return whether a module is the grader's or the checks' and no part of what labs import.

    >>> grading("utils.labs.student"), grading("utils.labs.api"), grading("utils.model")
    (True, False, False)
    """
    return module.startswith(tuple(f"{room}." for room in ROOMS)) and module not in COURSE
