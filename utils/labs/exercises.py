"""What the course itself knows of an exercise: which function it is, and what its docstring shows.

The markers in `solutions/source/NN_topic.py` name the functions; see `utils.build.exercises`, which
makes labs of them and refuses what is malformed.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import types
from functools import cache

from utils.settings import project_root

MARKER = re.compile(r"^# exercise: (\S+) ", re.M)
BONUS = re.compile(r"^# exercise: \S+\.(\w+) .* bonus$", re.M)
SOLUTION = re.compile(r"<!-- BEGIN SOLUTION -->\n(.*?)\n?# <!-- END SOLUTION -->", re.S)
BEFORE_A_WRITTEN_ANSWER = re.compile(r"^# #+\s.*written answer \((\d+) points?\)", re.I | re.M)


@cache
def exercises_in_source(lab: str) -> tuple[str, ...]:
    """Return the dotted names of the functions that a lab asks for.

    Raises:
        ValueError: for a lab that the course does not have.
    """
    return tuple(MARKER.findall(source_of(lab)))


def source_of(lab: str) -> str:
    """Return the text that a lab is made from.

    Raises:
        ValueError: for a lab that the course does not have.
    """
    source = project_root() / "solutions" / "source" / f"{lab}.py"
    if not source.is_file():
        raise ValueError(f"there is no lab called {lab!r} (no file {source.name} in its sources)")
    return source.read_text(encoding="utf-8")


def reference(lab: str, exercise: str) -> object:
    """Return the course's own function or class for an exercise of a lab, or None.

    >>> reference("02_attention", "causal_mask").__module__
    'utils.model.attention'
    """
    for dotted in exercises_in_source(lab) if is_lab(lab) else ():
        module, _, name = dotted.rpartition(".")
        if name == exercise:
            return getattr(importlib.import_module(module), name)
    return None


def is_bonus(lab: str, exercise: str) -> bool:
    """Return whether an exercise counts extra: its points are earned and never missed.

    >>> is_bonus("02_attention", "causal_mask")
    False
    """
    return is_lab(lab) and exercise in BONUS.findall(source_of(lab))


def is_lab(lab: str) -> bool:
    """Return whether the course has a source for a lab of that name."""
    return (project_root() / "solutions" / "source" / f"{lab}.py").is_file()


def is_the_courses_own(thing: object, lab: str, exercise: str) -> bool:
    """Return whether what the learner calls `exercise` is the course's answer under that name.

    >>> from utils.model.attention import causal_mask
    >>> is_the_courses_own(causal_mask, "02_attention", "causal_mask")
    True
    """
    own = reference(lab, exercise)
    if own is None or thing is None:
        return False
    while hasattr(thing, "func") and callable(thing.func):  # functools.partial
        thing = thing.func
    try:
        thing = inspect.unwrap(thing) if callable(thing) else thing
    except ValueError:  # a wrapper that wraps itself
        return False
    if thing is own:
        return True
    if isinstance(thing, type) and isinstance(own, type):
        return issubclass(thing, own)
    if not isinstance(thing, types.FunctionType):
        return False
    return thing.__code__ is getattr(own, "__code__", None) or is_a_call_of(thing, own)


def is_a_call_of(function: types.FunctionType, own: object) -> bool:
    """Return whether a function does nothing but call the course's own, under whatever name."""
    names = function.__code__.co_names
    reached = [function.__globals__.get(name) for name in names]
    if any(found is own for found in reached):
        return True
    modules = [found for found in reached if isinstance(found, types.ModuleType)]
    return any(getattr(module, name, None) is own for module in modules for name in names)


def body_of(lab: str, exercise: str) -> str:
    """Return the course's answer to an exercise as text, without its docstring."""
    source = inspect.getsource(reference(lab, exercise))
    tree = ast.parse(source)
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            docstring = node.body[0]
            for row in range(docstring.lineno - 1, docstring.end_lineno):
                lines[row] = None
    return "\n".join(line for line in lines if line is not None)


def examples_of(lab: str, exercise: str) -> list[doctest.Example]:
    """Return the worked examples in the docstring of an exercise, in their order.

    >>> [example.source for example in examples_of("02_attention", "causal_mask")]
    ['causal_mask(3).int()\\n']
    """
    text = inspect.getdoc(reference(lab, exercise)) or ""
    return doctest.DocTestParser().get_examples(text, exercise)


def model_answers(lab: str) -> list[tuple[int, str]]:
    """Return (points, model answer and rubric) of each written answer of a lab, in its order."""
    text = source_of(lab)
    found = []
    for heading in BEFORE_A_WRITTEN_ANSWER.finditer(text):
        answer = SOLUTION.search(text, heading.end())
        if answer:
            lines = [re.sub(r"^# ?", "", line) for line in answer[1].splitlines()]
            found.append((int(heading[1]), "\n".join(lines).strip()))
    return found
