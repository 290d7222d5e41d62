"""What a notebook uses of `utils`, definition by definition, read from the source text.

From the names that a notebook imports the search follows every function, class and constant to
those it uses itself, through lazy imports too. Where a name can't be followed (a module passed
around as a value), the whole module counts: the search may take too much, never too little.
Left out on purpose: modules imported by a computed name (the checks of a lab are added by `stamp`).
"""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
LAYOUT = {tokenize.NEWLINE: "\n", tokenize.INDENT: "\t", tokenize.DEDENT: "\b"}
PLAIN = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom


@dataclass
class Statement:
    """One statement at the top of a module: what it binds, what it uses, what it imports."""

    node: ast.stmt
    text: str

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Names that imports inside bind, each with (module, name); name "" for a module."""
        found = {}
        for node in ast.walk(self.node):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {a.asname or a.name: (node.module, a.name) for a in node.names}
            elif isinstance(node, ast.Import):
                found |= {a.asname or a.name.split(".")[0]: (a.name, "") for a in node.names}
        return found

    @cached_property
    def binds(self) -> set[str]:
        """The names that the statement leaves in its module."""
        if isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return {self.node.name}
        stored = {
            node.id
            for node in ast.walk(self.node)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        inner = {
            node.name
            for node in ast.walk(self.node)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        return stored | inner | set(self.imports)

    @cached_property
    def is_effect(self) -> bool:
        """Whether it does something when the module is imported, beside binding names."""
        if isinstance(self.node, ast.Assign | ast.AnnAssign):
            targets = getattr(self.node, "targets", None) or [self.node.target]
            return not all(isinstance(target, ast.Name | ast.Tuple) for target in targets)
        return not isinstance(self.node, PLAIN) or self.binds == {"_"}

    @cached_property
    def uses(self) -> dict[str, set[str]]:
        """Names looked up, each with the attributes asked of it ("" for the name as a whole)."""
        found: dict[str, set[str]] = {}
        dotted = set()
        for node in ast.walk(self.node):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found.setdefault(node.value.id, set()).add(node.attr)
                dotted.add(id(node.value))
            elif isinstance(node, ast.Name) and id(node) not in dotted:
                found.setdefault(node.id, set()).add("")
        return found


@dataclass
class Module:
    """The statements of a module, without docstrings."""

    statements: list[Statement]
    used: set[int] = field(default_factory=set)
    used_imports: set[str] = field(default_factory=set)

    def binding(self, name: str) -> list[int]:
        """Return the positions of the statements that bind `name`."""
        return [k for k, statement in enumerate(self.statements) if name in statement.binds]


def parse_module(text: str) -> Module:
    """Return the statements of Python source text."""
    lines = text.splitlines()
    statements = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        statements.append(Statement(node, "\n".join(lines[first - 1 : node.end_lineno]) + "\n"))
    return Module(statements)


class Library:
    """The modules of `utils` at `root`, and what of them is used so far."""

    def __init__(self, root: Path):
        self.root = root
        self.modules: dict[str, Module] = {}

    def use_code(self, text: str) -> None:
        """Follow everything that a piece of code uses."""
        module = parse_module(text)
        for position in range(len(module.statements)):
            self.use_statement(module, position)

    def use_module(self, name: str) -> None:
        """Follow a whole module."""
        module = self.module(name)
        for position in range(len(module.statements) if module else 0):
            self.use_statement(module, position)

    def use_name(self, module_name: str, name: str) -> None:
        """Follow one name of a module; a submodule or an unknown name counts whole."""
        if module_path(self.root, f"{module_name}.{name}"):
            self.use_module(f"{module_name}.{name}")
            return
        module = self.module(module_name)
        if module is None:
            return
        positions = module.binding(name)
        if not positions:
            self.use_module(module_name)
        for position in positions:
            self.use_statement(module, position)

    def use_statement(self, module: Module, position: int) -> None:
        """Follow what one statement uses, once."""
        if position in module.used:
            return
        module.used.add(position)
        for k, other in enumerate(module.statements):
            if other.is_effect:
                self.use_statement(module, k)
        statement = module.statements[position]
        for name, attributes in statement.uses.items():
            if name in statement.imports:
                self.use_import(*statement.imports[name], attributes)
                continue
            for k in module.binding(name):
                binder = module.statements[k]
                if isinstance(binder.node, ast.Import | ast.ImportFrom):
                    origin = ".".join(binder.imports[name])
                    module.used_imports.add(f"import {origin} as {name}\n")
                    self.use_import(*binder.imports[name], attributes)
                elif k != position:
                    self.use_statement(module, k)

    def shown(self, text: str) -> list[str]:
        """Return, word for word, the definitions that a piece of code shows with `show(...)`."""
        imports: dict[str, tuple[str, str]] = {}
        found = []
        for statement in parse_module(text).statements:
            imports |= statement.imports
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or ast.unparse(node.func).split(".")[-1] != "show":
                continue
            for argument in node.args:
                first, _, rest = ast.unparse(argument).partition(".")
                module_name, name = imports.get(first, ("", ""))
                if rest:
                    module_name, name = f"{module_name}.{name}".rstrip("."), rest.split(".")[0]
                module = self.module(module_name)
                places = module.binding(name) if module else []
                found += [module.statements[k].text for k in places]
        return found

    def use_import(self, module_name: str, name: str, attributes: set[str]) -> None:
        """Follow an imported name, or of an imported module the attributes that are asked."""
        if module_name.split(".")[0] != "utils":
            return
        target = f"{module_name}.{name}" if name else module_name
        if name and not module_path(self.root, target):
            self.use_name(module_name, name)
        elif not name or "" in attributes:
            self.use_module(target)
        else:
            for attribute in sorted(attributes):
                self.use_name(target, attribute)

    def module(self, name: str) -> Module | None:
        """Return a module of `utils`, parsed once, or None where there is no such module."""
        path = module_path(self.root, name)
        if path is None:
            return None
        if name not in self.modules:
            self.modules[name] = parse_module(path.read_text("utf-8"))
        return self.modules[name]

    def used_code(self) -> dict[str, str]:
        """Return the normalised text of what is used of each module."""
        return {
            name: "".join(sorted(module.used_imports))
            + "".join("".join(code_tokens(module.statements[k].text)) for k in sorted(module.used))
            for name, module in sorted(self.modules.items())
            if module.used
        }


def import_line(module_name: str, text: str, name: str) -> str:
    """Return the line that imports `name` as the module with this text knows it.

    >>> import_line("utils.a", "import numpy as np\\nfrom b import c\\nd = 1", "np")
    'import numpy as np'
    """
    for statement in parse_module(text).statements:
        if name in statement.imports and isinstance(statement.node, ast.Import | ast.ImportFrom):
            origin, original = statement.imports[name]
            alias = "" if name in {original, origin.split(".")[0]} else f" as {name}"
            return (
                f"from {origin} import {original}{alias}" if original else f"import {origin}{alias}"
            )
    return f"from {module_name} import {name}"


def module_path(root: Path, name: str) -> Path | None:
    """Return the file of a module of `utils`, or None where there is no such module."""
    if name.split(".")[0] != "utils":
        return None
    base = root.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def code_tokens(text: str) -> list[str]:
    """Return the tokens of code without comments, docstrings and layout, alike on every Python.

    >>> code_tokens('def f():\\n    "Docstring."\\n    return 1  # why') == code_tokens(
    ...     "def f():\\n  return 1")
    True
    """
    kept: list[str] = []
    statement: list[str] = []
    only_strings = True
    for kind, value in joined_tokens(text):
        if kind in SKIPPED:
            continue
        if kind in LAYOUT:
            if statement and not only_strings:
                kept += [*statement, "\n"]
            if kind != tokenize.NEWLINE:
                kept.append(LAYOUT[kind])
            statement, only_strings = [], True
        else:
            statement.append(value + " ")
            only_strings &= kind == tokenize.STRING
    return kept


def joined_tokens(text: str) -> list[tuple[int, str]]:
    """Return the tokens of code, f-strings as one string token as Python 3.11 has them."""
    lines = text.splitlines(keepends=True)
    found, starts = [], []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name in {"FSTRING_START", "TSTRING_START"}:
            starts.append(token.start)
        elif name in {"FSTRING_END", "TSTRING_END"}:
            start = starts.pop()
            if not starts:
                found.append((tokenize.STRING, between(lines, start, token.end)))
        elif not starts:
            found.append((token.type, token.string))
    return found


def between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """Return the text between two positions (row from 1, column from 0)."""
    (first, left), (last, right) = start, end
    if first == last:
        return lines[first - 1][left:right]
    return lines[first - 1][left:] + "".join(lines[first : last - 1]) + lines[last - 1][:right]
