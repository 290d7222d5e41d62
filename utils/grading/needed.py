"""Which statements of a notebook are run when it is graded: those that its answers need.

Needed is what defines a function that is asked for, a name that such a function uses, or a name
that this in turn is made from; and what changes one of them: `TABLE[3] = 5`, `fill(TABLE)`,
`with lock: register(f)`. The kind of a statement does not matter. Prints, plots, checks and
experiments are not run. All imports, functions, classes and constants are: they cost nothing.

Runs where the learner's code runs. Cells that are no Python as they stand are translated first, by
the translator that a notebook uses for its own commands (`%time`, `!ls`, `name?`).
"""

from __future__ import annotations

import ast
import dis
import importlib.util
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MAX_DEPTH = 3  # of commands that hold code that holds commands
CELL_CODE = ("time", "timeit", "capture", "prun")  # commands whose cell is code as well
LINE_CODE = ("time", "prun")  # commands whose line is code that may assign
DEFINES = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
READERS = frozenset("assert_equal check display done hint print repr show str type".split())
READING = frozenset("copy count endswith format get index items join keys split values".split())
DYNAMIC = frozenset("eval exec globals vars locals __import__".split())
PARSING = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass
class Step:
    """A statement with its cell, what it uses, what it defines, and what it may change."""

    cell: int
    node: ast.stmt
    uses: set[str] = field(default_factory=set)
    binds: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    sets: set[str] = field(default_factory=set)  # parts of these: `Table.rows = 3`
    asks: set[str] = field(default_factory=set)  # methods of these: `Table.fill()`
    calls: set[str] = field(default_factory=set)
    is_needed: bool = False

    @property
    def is_definition(self) -> bool:
        """Whether it is an import, a function or a class, or an import with a substitute."""
        if isinstance(self.node, ast.Try):
            return all(isinstance(inner, DEFINES) for inner in self.node.body)
        return isinstance(self.node, DEFINES)

    @property
    def is_constant(self) -> bool:
        """Whether it is an assignment of something that calls nothing."""
        is_assignment = isinstance(self.node, ast.Assign | ast.AnnAssign)
        return is_assignment and not any(isinstance(n, ast.Call) for n in ast.walk(self.node))


def translator() -> types.ModuleType | None:
    """Return IPython's module that translates cells, or None where there is no IPython.

    It is read by itself: the whole package takes half a second.
    """
    name = "IPython.core.inputtransformer2"
    if name in sys.modules:
        return sys.modules[name]
    package = importlib.util.find_spec("IPython")
    if package is None or not package.submodule_search_locations:
        return None
    root = Path(package.submodule_search_locations[0])
    for part in ("IPython", "IPython.utils", "IPython.core"):
        if part not in sys.modules:
            module = types.ModuleType(part)
            module.__path__ = [str(root.joinpath(*part.split(".")[1:]))]
            sys.modules[part] = module
    try:
        return importlib.import_module(name)
    finally:
        for part in ("IPython", "IPython.utils", "IPython.core"):
            if not hasattr(sys.modules.get(part), "__file__"):
                sys.modules.pop(part, None)  # a submission that imports IPython gets the whole one


def statements_of(source: str, depth: int = 0) -> list[ast.stmt]:
    """Return the statements of a cell; those within a notebook's commands stand in their place.

    Raises:
        SyntaxError: where the cell is no Python, translated or not.

    >>> [ast.unparse(s) for s in statements_of("%time x = 1\\ny = (7\\n%3)")]
    ['x = 1', 'y = 7 % 3']
    """
    try:
        return ast.parse(source).body
    except SyntaxError:
        module = translator()
        if module is None:
            raise
    body = ast.parse(module.TransformerManager().transform_cell(source)).body
    first = next((k for k, line in enumerate(source.splitlines()) if line.strip()), 0)
    for statement in body:
        ast.increment_lineno(statement, first)  # the translator drops empty lines at the beginning
    return [inner for statement in body for inner in within_command(statement, depth)]


def within_command(statement: ast.stmt, depth: int) -> list[ast.stmt]:
    """Return the statements that a notebook's command runs, or none; others as they are."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return [statement]
    texts = [a.value for a in call.args if isinstance(a, ast.Constant) and type(a.value) is str]
    shell = call.func.value
    is_shell = isinstance(shell, ast.Call) and getattr(shell.func, "id", "") == "get_ipython"
    if not is_shell or depth >= MAX_DEPTH:
        return [statement]
    found: list[ast.stmt] = []
    if call.func.attr == "run_line_magic" and len(texts) == 2 and texts[0] in LINE_CODE:
        found = statements_of(texts[1], depth + 1)
        for node in [n for inner in found for n in ast.walk(inner)]:
            if hasattr(node, "lineno"):
                node.lineno = node.end_lineno = statement.lineno
    elif call.func.attr == "run_cell_magic" and len(texts) == 3 and texts[0] in CELL_CODE:
        found = statements_of(texts[2], depth + 1)
        for inner in found:
            ast.increment_lineno(inner, 1)
    return found


def parsed(cells: Iterable[str]) -> tuple[list[tuple[int, ast.stmt]], list[str]]:
    """Return (cell, statement) for all of a notebook, and which of its cells are no Python."""
    found: list[tuple[int, ast.stmt]] = []
    problems: list[str] = []
    for k, source in enumerate(cells, 1):
        try:
            found += [(k, statement) for statement in statements_of(source)]
        except PARSING as error:
            problems.append(f"cell {k} is no Python and was left out: {error}"[:300])
    return found, problems


def is_stub(statement: ast.stmt) -> bool:
    """Return whether a function is still as the lab gave it: it raises NotImplementedError.

    >>> is_stub(ast.parse("def f(x):\\n    'Text.'\\n    raise NotImplementedError('do')").body[0])
    True
    """
    if not isinstance(statement, ast.FunctionDef):
        return False
    body = statement.body[1:] if ast.get_docstring(statement) is not None else statement.body
    return (
        len(body) == 1
        and isinstance(body[0], ast.Raise)
        and body[0].exc is not None
        and "NotImplementedError" in ast.unparse(body[0].exc)
    )


def step_of(cell: int, node: ast.stmt) -> Step:
    """Return a statement with the names that it uses, binds and may change.

    >>> step = step_of(1, ast.parse("for k in range(3): fill(TABLE, k)").body[0])
    >>> sorted(step.binds), sorted(step.changes), sorted(step.calls)
    (['k'], ['TABLE', 'k'], ['fill', 'range'])
    """
    step = Step(cell, node)
    try:
        code = compile(ast.Module([node], []), "<cell>", "exec", dont_inherit=True)
    except PARSING:
        return step  # running it says why
    pieces = [code]
    while pieces:
        piece = pieces.pop()
        pieces += [c for c in piece.co_consts if isinstance(c, types.CodeType)]
        for instruction in dis.get_instructions(piece):
            operation = instruction.opname
            if operation in ("STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "DELETE_GLOBAL"):
                if operation.endswith("GLOBAL") or piece is code:
                    step.binds.add(instruction.argval)
            elif operation.startswith("LOAD_") and operation.endswith(
                ("GLOBAL", "GLOBALS", "NAME")
            ):
                step.uses.add(instruction.argval)
    roots: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            name = root_of(inner.func)
            step.calls |= {name} - {""}
            if isinstance(inner.func, ast.Attribute) and inner.func.attr not in READING:
                roots.add(name)  # a method may change its object
                step.asks |= {root_of(inner.func, through_calls=False)} - {""}
            if name in ("setattr", "delattr") and inner.args:
                step.sets |= {root_of(inner.args[0])} - {""}
            if name not in READERS or isinstance(inner.func, ast.Attribute):
                roots |= {root_of(a) for a in [*inner.args, *(k.value for k in inner.keywords)]}
        elif isinstance(inner, ast.Attribute | ast.Subscript):
            if not isinstance(inner.ctx, ast.Load):
                roots.add(root_of(inner))
                step.sets |= {root_of(inner)} - {""}
        elif isinstance(inner, ast.AugAssign):
            roots.add(root_of(inner.target))
    step.changes = roots & (step.uses | step.binds)
    return step


def root_of(node: ast.AST, through_calls: bool = True) -> str:
    """Return the name that an expression begins with, or an empty text.

    >>> root_of(ast.parse("a.b[1].c", mode="eval").body)
    'a'
    """
    kinds = (ast.Attribute, ast.Subscript, ast.Starred, *([ast.Call] if through_calls else []))
    while isinstance(node, kinds):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def split(steps: list[Step], wanted: Iterable[str]) -> tuple[list[Step], list[Step]]:
    """Return the steps that are run, and those that are not, for the functions that are asked for.

    >>> source = ["T = {}", "def f(x): return T[x]", "def g(): T[1] = 2", "g()", "print(f(1))"]
    >>> steps = [step_of(k, ast.parse(cell).body[0]) for k, cell in enumerate(source, 1)]
    >>> [[step.cell for step in part] for part in split(steps, ["f"])]
    [[1, 2, 3, 4], [5]]
    """
    defined = {
        name
        for step in steps
        if step.is_definition  # less the globals that a function writes when it is called
        for name in step.binds & {getattr(step.node, "name", None) or name for name in step.binds}
    }
    imported = {
        name
        for step in steps
        if isinstance(step.node, ast.Import | ast.ImportFrom)
        for name in step.binds
    }
    by_function: dict[str, list[Step]] = {}
    for step in steps:
        for name in step.binds:
            by_function.setdefault(name, []).append(step)
    wanted = set(wanted)
    names, taken = set(wanted), set()
    by_helper = {name: found for name, found in by_function.items() if name not in wanted}
    grown = True
    while grown:
        grown = False
        for number, step in enumerate(steps):
            if number in taken or not affects(step, names, defined, imported, by_helper):
                continue
            taken.add(number)
            step.is_needed = True
            names |= step.uses & set(by_function)  # what is built in is nobody's to change
            grown = True
    if any(DYNAMIC & steps[number].uses for number in taken):
        return steps, []  # what looks names up by itself may use any of them
    free = [step.is_definition or step.is_constant for step in steps]
    run = [step for number, step in enumerate(steps) if number in taken or free[number]]
    kept = set(map(id, run))
    return run, [step for step in steps if id(step) not in kept]


def affects(step: Step, names: set[str], defined: set[str], imported: set[str], by_name) -> bool:
    """Return whether a step makes or changes one of some names, itself or by what it calls.

    That it calls a function that is asked for is no reason: an answer needs no call before.
    """
    if step.binds & names:
        return True
    if step.is_definition:
        return False
    if (step.changes & names) - defined:
        return True
    if step.sets & names or step.asks & names - imported:
        return True
    if is_setting(step, imported):
        return True
    waiting, seen = [name for name in step.calls if name not in READERS], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for other in by_name.get(name, []):
            if not other.is_definition or name in imported:
                continue
            written = other.binds - {name}
            if ((other.changes | written) & names) - defined:
                return True
            waiting += [call for call in other.calls if call in defined]
    return False


def is_setting(step: Step, imported: set[str]) -> bool:
    """Return whether a step calls a module with nothing but constants: `sys.setrecursionlimit(9)`.

    >>> is_setting(step_of(1, ast.parse("torch.manual_seed(0)").body[0]), {"torch"})
    True
    """
    call = step.node.value if isinstance(step.node, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return False
    arguments = [*call.args, *(k.value for k in call.keywords)]
    plain = all(isinstance(a, ast.Constant | ast.Attribute) for a in arguments) and arguments
    return bool(plain) and root_of(call.func) in imported and step.uses <= imported


def places(steps: list[Step], limit: int = 60) -> str:
    """Return where steps are: cells, and lines where only a part of a cell is meant.

    >>> places([step_of(3, ast.parse("x = 1").body[0])])
    'cell 3, line 1'
    """
    lines: dict[int, list[int]] = {}
    for step in steps:
        lines.setdefault(step.cell, []).append(step.node.lineno)
    shown = []
    for cell, numbers in list(lines.items())[:limit]:
        few = ", ".join(map(str, numbers[:8])) + (" ..." if len(numbers) > 8 else "")
        shown.append(f"cell {cell}, line{'s' if len(numbers) > 1 else ''} {few}")
    more = len(lines) - limit
    return "; ".join(shown) + (f"; and {more} more cells" if more > 0 else "")
