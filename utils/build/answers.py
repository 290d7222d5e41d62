"""What a learner gets in place of an answer, and cells that wait until something is there.

A region between BEGIN SOLUTION and END SOLUTION becomes a blank that leaves the lab runnable: each
name that the answer assigns is there, with `...` as its value. A cell that needs exercises is put
under `if done(...):`, in lab and solution alike; a lecture's cell that needs the real model under
`if has_real():`.
"""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass

from utils.build.names import MAGIC, without_magics
from utils.build.sources import (
    BEGIN_CODE,
    BEGIN_TEXT,
    END_CODE,
    END_TEXT,
    REAL,
    BuildError,
    Cell,
    Source,
)

ASKS_ITSELF = "has_real()"  # a cell that holds this question is left as it is
YOUR_CODE, YOUR_TEXT = "...  # your code here", "*Your answer here.*"


@dataclass(frozen=True)
class Opened:
    """What a notebook shows of a cell, the answers taken out, and the source line of each line."""

    text: str
    answers: str
    lines: tuple[int, ...]


def without_answers(cell: Cell) -> Opened:
    """Return what a learner sees of a cell, and the answers that were taken out."""
    begin, end = (BEGIN_CODE, END_CODE) if cell.kind == "code" else (BEGIN_TEXT, END_TEXT)
    kept: list[tuple[str, int]] = []
    answers: list[str] = []
    region: list[str] | None = None
    for number, line in enumerate(cell.text.splitlines(), cell.line):
        if line.strip() == begin:
            region, opened = [], number
            indent = line[: len(line) - len(line.lstrip())]
        elif line.strip() == end:
            kept += [(indent + text, opened) for text in blanks(cell.kind, region)]
            answers += region
            region = None
        elif region is None:
            kept.append((line, number))
        else:
            region.append(line)
    texts = [text for text, _ in kept]
    return Opened("\n".join(texts), "\n".join(answers), tuple(number for _, number in kept))


def blanks(kind: str, region: list[str]) -> list[str]:
    """Return what a learner finds where an answer stood: the names it must define, still empty.

    >>> blanks("code", ["choice = 'b'"])
    ['choice = ...  # your code here']
    """
    if kind == "markdown":
        return [YOUR_TEXT]
    margin = min((len(t) - len(t.lstrip()) for t in region if t.strip()), default=0)
    try:
        tree = ast.parse(without_magics("\n".join(text[margin:] for text in region)))
    except SyntaxError:
        return [YOUR_CODE]
    names = [
        node.id
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    return [f"{name} = {YOUR_CODE}" for name in dict.fromkeys(names)] or [YOUR_CODE]


def with_answers(cell: Cell) -> Opened:
    """Return a cell with its answers, without the marker lines."""
    markers = {BEGIN_CODE, END_CODE, BEGIN_TEXT, END_TEXT}
    numbered = enumerate(cell.text.splitlines(), cell.line)
    kept = [(line, number) for number, line in numbered if line.strip() not in markers]
    return Opened("\n".join(line for line, _ in kept), "", tuple(number for _, number in kept))


def wrap(source: Source, cell: Cell, opened: Opened) -> Opened:
    """Return the cell under the condition that it waits for, if it waits for one.

    Raises:
        BuildError: where moving the lines to the right would change what they mean.
    """
    if REAL in cell.tags and ASKS_ITSELF not in opened.text:
        condition, tag = ASKS_ITSELF, f"the tag {REAL}"
    elif cell.needs:
        names = ", ".join(f'"{name}"' for name in cell.needs)
        condition, tag = f"done({names})", "needs:"
    else:
        return opened
    for line, number in zip(opened.text.splitlines(), opened.lines, strict=True):
        if MAGIC.match(line):
            raise BuildError(
                [source.at(number, f"a cell with {tag} can't hold a magic; give it its own cell")]
            )
    for row in rows_inside_strings(opened.text):
        message = f"a cell with {tag} can't hold a string over several lines; define it above"
        raise BuildError([source.at(opened.lines[row - 1], message)])
    body = "\n".join("    " + line if line.strip() else "" for line in opened.text.splitlines())
    return Opened(f"if {condition}:\n{body}", opened.answers, (cell.line, *opened.lines))


def rows_inside_strings(code: str) -> list[int]:
    """Return the rows (from 1) where a string begins that ends on a later row."""
    rows, opened = [], []
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            name = tokenize.tok_name[token.type]
            if name in {"FSTRING_START", "TSTRING_START"}:  # from Python 3.12 on
                opened.append(token.start[0])
            elif name in {"FSTRING_END", "TSTRING_END"}:
                start = opened.pop()
                if start != token.end[0]:
                    rows.append(start)
            elif name == "STRING" and token.start[0] != token.end[0]:
                rows.append(token.start[0])
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return rows  # the syntax is reported elsewhere
    return rows
