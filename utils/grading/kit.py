"""What of `utils` a submission may import when graded, and what it may not.

A lab asks for functions that `utils` has already, so a submission could import them. When graded,
`utils` is therefore a folder made for the lab:

1. modules that the lab's answers need: those from which a reference body takes a name by way of
   the lab's imports (`split_words` in lab 01), and `utils.runtime`, with all that they import;
2. in these modules, the functions that the lab asks for raise instead of answering;
3. any other name of `utils` can be imported and raises when it is used (see `worker.py`);
4. where a check passes a `SmallModel` or `Merges`, the decoder or the tokenizer is there, less what
   the lab asks for;
5. a function that is given and built on what the lab asks for has a substitute (`SUBSTITUTES`).

So an answer that calls the reference, or anything built on it, earns nothing and says why.
"""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Sequence
from pathlib import Path

from utils.labs.exercises import exercises_in_source
from utils.settings import project_root

ALWAYS = ("utils.runtime", "utils.grading.worker")
SUBSTITUTES = {  # lab -> module -> {function: module with the function that stands in its place}
    "05_generation": {"utils.model.generate": {"generate": "utils.grading.plain_generate"}}
}
RANKS = "utils.labs.ranks"
MADE_BY = {
    "SmallModel": "utils.model.decoder",
    "Merges": "utils.tokens.tokenizer",
    "in_ranks": RANKS,
}
EXCUSE = "is the course's own answer and not there when graded: write yours"


def module_file(name: str) -> Path | None:
    """Return the file of a module of the course, or None where there is none."""
    path = project_root().joinpath(*name.split("."))
    if path.is_dir():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None


def imported_names(tree: ast.AST) -> dict[str, list[str]]:
    """Return name -> modules of utils that it may come from, for the imports in a tree."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.setdefault(alias.asname or alias.name.split(".")[0], []).append(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                modules = [node.module, f"{node.module}.{alias.name}"]
                found.setdefault(alias.asname or alias.name, []).extend(modules)
    return {
        name: [m for m in modules if m.split(".")[0] == "utils" and module_file(m)]
        for name, modules in found.items()
    }


def needed_modules(lab: str, exercises: Sequence[str]) -> set[str]:
    """Return the modules of utils from which the reference bodies of a lab take names."""
    notebook = json.loads((project_root() / "labs" / f"{lab}.ipynb").read_text(encoding="utf-8"))
    imports: dict[str, list[str]] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            try:
                imports |= imported_names(ast.parse("".join(cell["source"])))
            except SyntaxError:
                continue  # a cell with a magic imports nothing that a function needs
    needed = set()
    for dotted in exercises:
        module, _, function = dotted.rpartition(".")
        for node in ast.parse(module_file(module).read_text(encoding="utf-8")).body:
            if getattr(node, "name", None) == function:
                used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                needed |= {m for name in used & set(imports) for m in imports[name]}
    return needed


@functools.cache
def modules_of_checks(lab: str) -> frozenset[str]:
    """Return the modules of utils from which a lab's checks have objects made for the learner."""
    checks = module_file(f"utils.labs.checks.{lab}").read_text(encoding="utf-8")
    names = imported_names(ast.parse(checks))
    return frozenset(module for stand_in, module in MADE_BY.items() if stand_in in names)


def closure(modules: set[str]) -> set[str]:
    """Return modules together with every module of utils that they import."""
    done: set[str] = set()
    waiting = set(modules)
    while waiting:
        name = waiting.pop()
        done.add(name)
        tree = ast.parse(module_file(name).read_text(encoding="utf-8"))
        waiting |= {m for found in imported_names(tree).values() for m in found} - done
    return done


def without_answers(source: str, functions: set[str]) -> str:
    """Return a module's source with the bodies of some of its functions taken out.

    >>> print(without_answers("def f(x):\\n    return x", {"f"}))
    def f(x):
        raise RuntimeError("`f` is the course's own answer and not there when graded: write yours")
    """
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in functions:
            message = f"`{node.name}` {EXCUSE}"
            body = ast.parse(f"raise RuntimeError({message!r})").body
            if isinstance(node, ast.ClassDef):
                body = ast.parse(
                    f"def __init__(self, *a, **k): raise RuntimeError({message!r})"
                ).body
            node.body = body
    return ast.unparse(ast.fix_missing_locations(tree))


def with_substitutes(source: str, modules: dict[str, str]) -> str:
    """Return a module's source with functions replaced by those of their name in other modules."""
    tree = ast.parse(source)
    for place, node in enumerate(tree.body):
        name = getattr(node, "name", None)
        if name in modules:
            other = ast.parse(module_file(modules[name]).read_text(encoding="utf-8"))
            tree.body[place] = next(n for n in other.body if getattr(n, "name", None) == name)
    return ast.unparse(tree)


def make_kit(lab: str, folder: Path) -> Path:
    """Write the `utils` that a submission to a lab may import into a folder; return the folder."""
    exercises = exercises_in_source(lab)
    asked: dict[str, set[str]] = {}
    for dotted in exercises:
        module, _, function = dotted.rpartition(".")
        asked.setdefault(module, set()).add(function)
    wanted = needed_modules(lab, exercises) | modules_of_checks(lab) | set(ALWAYS)
    for name in closure(wanted):
        source = module_file(name)
        target = folder / source.relative_to(project_root())
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8")
        if name in SUBSTITUTES.get(lab, {}):
            text = with_substitutes(text, SUBSTITUTES[lab][name])
        target.write_text(
            without_answers(text, asked[name]) if name in asked else text, encoding="utf-8"
        )
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for inner in [p for p in folder.rglob("*") if p.is_dir()]:
        (inner / "__init__.py").touch(0o644)
    return folder
