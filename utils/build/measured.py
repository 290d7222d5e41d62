"""What a recorded measurement depends on: its own code, and what that uses of `utils`.

A record carries this stamp, so that a number that was measured by other code is noticed and
measured again.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable

from utils.build.library import code_tokens, parse_module
from utils.build.stamp import module_hashes
from utils.settings import project_root


def measured_by(*functions: Callable) -> dict[str, str]:
    """Return hashes of functions of one module, and of the definitions of `utils` that they use.

    Data files beside modules are left out: a measurement names those that it reads.
    """
    code = code_of(*functions)
    own = hashlib.sha256("".join(code_tokens(code)).encode()).hexdigest()[:12]
    used = module_hashes(project_root(), code, set())
    return {"measurement": own} | {k: v for k, v in used.items() if not k.endswith("/*")}


def code_of(*functions: Callable) -> str:
    """Return functions with all that they use of their own module, however deep."""
    module = parse_module(inspect.getsource(sys.modules[functions[0].__module__]))
    waiting = [function.__name__ for function in functions]
    used: set[int] = set()
    while waiting:
        for k in module.binding(waiting.pop()):
            if k not in used:
                used.add(k)
                waiting += list(module.statements[k].uses)
    return "".join(without_decorators(module.statements[k].text) for k in sorted(used))


def without_decorators(text: str) -> str:
    """Return a definition without its decorators: the words of a claim are no measurement."""
    tree = ast.parse(text)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
    return ast.unparse(tree) + "\n"
