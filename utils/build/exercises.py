"""Exercises: a function or class of `utils`, found by name in the source text, never imported.

The lab gets signature and docstring with one line that raises; the solution gets the whole text.
Of a class, the methods that have a docstring are asked for; the others are given.
"""

from __future__ import annotations

import ast
import io
import json
import re
import textwrap
import tokenize
from dataclasses import dataclass
from pathlib import Path

from utils.build.sources import EXERCISE_LIKE, BuildError, Cell, Source

MARKER = re.compile(
    r"# exercise: (utils(?:\.[A-Za-z_]\w*)+) points=(\d+) minutes=(\d+) difficulty=([123])"
    r"( bonus)?"
)
EXAMPLE = "# exercise: utils.model.attention.causal_mask points=2 minutes=10 difficulty=1"
MIN_TOKENS, MIN_LETTERS = 8, 20  # a shorter line of a body says nothing that gives it away


@dataclass(frozen=True)
class Exercise:
    """What one exercise marker says, and where it says it."""

    target: str  # dotted name, for example utils.model.attention.causal_mask
    points: int
    minutes: int
    difficulty: int
    line: int
    is_bonus: bool = False  # its points count extra, never against

    @property
    def name(self) -> str:
        """The name that the learner sees."""
        return self.target.rpartition(".")[2]

    def headline(self, number: int) -> str:
        """Return the line of text that stands above the exercise."""
        points = f"{self.points} point{'' if self.points == 1 else 's'}"
        extra = " · a bonus: it counts extra, and nothing is lost without it"
        return (
            f"**Exercise {number}** · `{self.name}` · {points} · {self.minutes} minutes · "
            f"difficulty {self.difficulty} of 3{extra if self.is_bonus else ''}"
        )


@dataclass(frozen=True)
class Definition:
    """The two texts of an exercise, and the lines that must not reach a learner."""

    solution: str
    stub: str
    secret_lines: tuple[str, ...]
    where: str  # file:line in utils
    module_text: str


def exercise_of(source: Source, cell: Cell) -> Exercise | None:
    """Return the exercise that a cell names, or None where it names none.

    Raises:
        BuildError: where something looks like an exercise marker and is not one.
    """
    lines = cell.text.splitlines()
    likely = [k for k, line in enumerate(lines) if is_marker_like(cell.kind, line)]
    if not likely:
        return None
    line = cell.line + likely[0]
    if source.kind == "lecture":
        raise BuildError([source.at(line, "exercise markers belong in solutions/source")])
    if cell.kind != "code":
        raise BuildError([source.at(line, "an exercise marker stands in a code cell of its own")])
    found = MARKER.fullmatch(lines[likely[0]].strip())
    if not found:
        raise BuildError([source.at(line, f"malformed exercise marker; write {EXAMPLE!r}")])
    if len([text for text in lines if text.strip()]) > 1:
        raise BuildError([source.at(line, "an exercise marker stands alone in its cell")])
    if cell.tags:
        raise BuildError([source.at(line, "an exercise cell carries no tags")])
    numbers = (int(found[k]) for k in (2, 3, 4))
    return Exercise(found[1], *numbers, line, is_bonus=found[5] is not None)


def is_marker_like(kind: str, line: str) -> bool:
    """Return whether a line is, or seems meant to be, an exercise marker.

    >>> is_marker_like("code", "#Exercice: utils.model.attention.causal_mask")
    True
    >>> is_marker_like("code", "# the exercise asks for a mask")
    False
    """
    text = line.strip()
    if kind == "code" and not text.startswith("#"):
        return False
    return bool(EXERCISE_LIKE.search(text)) and ("utils." in text or kind == "code")


def find_definition(root: Path, source: Source, exercise: Exercise) -> Definition:
    """Return the texts of the function or class that `exercise` names.

    Raises:
        BuildError: where the module or the name is not there, or the docstring is missing.
    """
    *parts, name = exercise.target.split(".")
    path = root.joinpath(*parts).with_suffix(".py")
    if not path.is_file():
        path = root.joinpath(*parts, "__init__.py")
    if not path.is_file():
        raise BuildError(
            [source.at(exercise.line, f"no module {'.'.join(parts)} for {exercise.target}")]
        )
    text = path.read_text("utf-8")
    nodes = [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    found = next((node for node in nodes if node.name == name), None)
    if found is None:
        there = ", ".join(node.name for node in nodes) or "nothing"
        raise BuildError(
            [source.at(exercise.line, f"{'.'.join(parts)} has no {name}; it defines {there}")]
        )
    where = f"{path.relative_to(root).as_posix()}:{found.lineno}"
    if not ast.get_docstring(found):
        raise BuildError([source.at(exercise.line, f"{name} ({where}) has no docstring to show")])
    return make_definition(text, found, where)


def make_definition(
    text: str, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, where: str
) -> Definition:
    """Return the solution and the stub of a parsed definition."""
    lines = text.splitlines()
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    methods = [node]
    if isinstance(node, ast.ClassDef):
        methods = [
            item
            for item in node.body
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(item)
        ]
    stub, secret, kept_to = [], [], first - 1
    for method in methods:
        docstring = method.body[0]
        indent = " " * docstring.col_offset
        stub += lines[kept_to : docstring.end_lineno]
        stub.append(indent + placeholder(ast.get_docstring(method)))
        secret += lines[docstring.end_lineno : method.end_lineno]
        kept_to = method.end_lineno
    stub += lines[kept_to : node.end_lineno]
    return Definition(
        textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno])),
        textwrap.dedent("\n".join(stub)),
        tuple(telling_lines("\n".join(secret))),
        where,
        text,
    )


def placeholder(docstring: str) -> str:
    """Return the one line that stands where the learner's code goes.

    >>> placeholder("Return the mask. Longer text.")
    'raise NotImplementedError("your code: return the mask")'
    """
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\s", paragraph, maxsplit=1)[0]
    sentence = sentence.rstrip(".")
    if not sentence[:2].isupper():
        sentence = sentence[:1].lower() + sentence[1:]
    return f"raise NotImplementedError({json.dumps(f'your code: {sentence}', ensure_ascii=False)})"


def telling_lines(code: str) -> list[str]:
    """Return the lines of an answer that would give it away, comments and small change left out.

    Imports and the checks of arguments are small change, and so are lines of under 8 tokens.

    >>> telling_lines("import math\\ntotal = sum(x * w for x, w in pairs)  # why\\nreturn total")
    ['total=sum(x*wforx,winpairs)']
    """
    telling = []
    for line in code.splitlines():
        bare = normalised(line)
        if re.match(r"\s*(import|from|raise|assert|if|elif|def|class|@)\b", line):
            continue
        if ".shape" in line.partition("=")[2] and "(" not in line:
            continue
        if len(bare) >= MIN_TOKENS and len("".join(bare)) >= MIN_LETTERS:
            telling.append("".join(bare))
    return telling


def normalised(line: str) -> list[str]:
    """Return the tokens of one line of code, without comments and spacing."""
    kept = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(line.strip()).readline):
            if token.type not in {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE}:
                kept.append(token.string)
    except (tokenize.TokenError, IndentationError, SyntaxError):
        pass  # a line of a longer statement: what was read so far is what counts
    return [text for text in kept if text.strip()]
