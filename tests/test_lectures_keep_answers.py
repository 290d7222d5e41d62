"""Lectures give no lab's answers away: whatever they show or print earns no point.

Every function that stands in a lecture's cells or outputs, up to and including the lab's unit, is
tried as the answer to every exercise of the lab, under the exercise's name; and no run of
statements of a lecture is an exercise's body with other names.
"""

import __future__

import ast
import builtins
import importlib
import inspect
import json
import re
import textwrap

import pytest

from utils.build.names import without_magics
from utils.labs import run
from utils.labs.board import labs
from utils.labs.exercises import body_of, exercises_in_source
from utils.labs.student import LocalStudent
from utils.settings import project_root

LECTURES = sorted((project_root() / "notebooks").glob("*.ipynb"))
FENCED = re.compile(r"```(?:python)?\n(.*?)```", re.S)
MIN_NODES = 25  # a smaller body (`return q @ k.T`) is a formula that a lecture may well show


def code_shown(path) -> list[str]:
    """Return every text of a lecture that may be Python: cells, fenced text, outputs."""
    texts = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            texts += FENCED.findall(source)
            continue
        texts.append(without_magics(source))
        for output in cell["outputs"]:
            texts.append("".join(output.get("text", "")))
            texts += ["".join(v) for k, v in output.get("data", {}).items() if k == "text/plain"]
    return texts


def trees_of(texts: list[str]) -> list[ast.Module]:
    """Return the texts that are Python, parsed."""
    trees = []
    for text in texts:
        try:
            trees.append(ast.parse(textwrap.dedent(text)))
        except (SyntaxError, ValueError):
            continue
    return trees


def up_to(lab: str) -> list[ast.Module]:
    """Return what lectures up to and including a lab's unit show, parsed."""
    return trees_of([t for p in LECTURES if p.stem[:2] <= lab[:2] for t in code_shown(p)])


class OtherNames(ast.NodeTransformer):
    """Gives names numbers in the order of their first use; built-ins keep theirs."""

    def __init__(self):
        self.numbers: dict[str, str] = {}

    def visit_Name(self, node):  # noqa: N802
        if hasattr(builtins, node.id):
            return node
        number = self.numbers.setdefault(node.id, f"n{len(self.numbers)}")
        return ast.Name(number, ast.Load())

    def visit_arg(self, node):
        return ast.arg(self.numbers.setdefault(node.arg, f"n{len(self.numbers)}"))


def normalised(statements: list[ast.stmt]) -> str:
    """Return statements as text in which names are numbers."""
    module = ast.parse(ast.unparse(ast.Module(statements, [])))
    return ast.dump(OtherNames().visit(module), annotate_fields=False)


def runs(tree: ast.Module, length: int):
    """Yield every run of `length` statements that stand one after the other in a tree."""
    for node in ast.walk(tree):
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                for start in range(len(block) - length + 1):
                    yield block[start : start + length]


def answers(lab: str) -> dict[str, list[list[ast.stmt]]]:
    """Return exercise -> the bodies that a learner writes, without docstrings and checks."""
    found = {}
    for dotted in exercises_in_source(lab):
        name = dotted.rpartition(".")[2]
        (whole,) = ast.parse(textwrap.dedent(body_of(lab, name))).body
        methods = whole.body if isinstance(whole, ast.ClassDef) else [whole]
        bodies = [m.body for m in methods if isinstance(m, ast.FunctionDef)]
        found[name] = [
            [s for s in body if not any(isinstance(n, ast.Raise) for n in ast.walk(s))]
            for body in bodies
        ]
    return found


@pytest.mark.parametrize("lab", labs())
def test_no_lecture_holds_the_body_of_an_exercise(lab):
    shown = up_to(lab)
    for exercise, bodies in answers(lab).items():
        for body in bodies:
            if sum(1 for s in body for _ in ast.walk(s)) < MIN_NODES:
                continue
            wanted = normalised(body)
            for tree in shown:
                assert all(normalised(part) != wanted for part in runs(tree, len(body))), exercise


def functions_shown(lab: str) -> dict[str, str]:
    """Return the text of every function that lectures up to a lab show, by text."""
    return {
        ast.unparse(node): node.name
        for tree in up_to(lab)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def defined(text: str, name: str, module: str):
    """Return the names of a module and, among them, what a text of a lecture defines; or None."""
    scope = {**vars(importlib.import_module(module))}
    flags = __future__.annotations.compiler_flag
    try:
        exec(compile(text, "<lecture>", "exec", flags=flags), scope)
    except NameError:  # a default or a base class that the lecture alone has
        return None
    return scope


def could_stand_for(shown, own) -> bool:
    """Return whether a function takes as many arguments as an exercise's function."""
    n_shown, n_own = (len(inspect.signature(f).parameters) for f in (shown, own))
    return n_shown == n_own


@pytest.mark.parametrize("lab", labs())
def test_what_lectures_show_earns_no_point(lab):
    earned = []
    for text, name in functions_shown(lab).items():
        for dotted in exercises_in_source(lab):
            module, _, exercise = dotted.rpartition(".")
            scope = defined(text, name, module)
            own = vars(importlib.import_module(module))[exercise]
            if scope is None or not could_stand_for(scope[name], own):
                continue
            student = LocalStudent({**scope, exercise: scope[name]}, seconds=2.0)
            results = run.run_checks(lab, student, 0, exercise)
            earned += [(exercise, name, r.title) for r in results if r.earned]
    assert not earned
