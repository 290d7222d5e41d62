"""A submitted notebook, read as text: nothing of it is imported, unpickled or run here.

Code cells are taken in their order, whatever their ids, metadata, outputs or the kernel's name
say. `definitions` runs where the learner's code runs, since parsing hostile code can crash Python.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

MAX_FILE = 20 << 20
MAX_CELLS = 2000
MAX_SOURCE = 1 << 20
CELL_MAGICS_WITH_CODE = ("%%time", "%%timeit", "%%capture", "%%prun")
MAGIC_LINE = re.compile(r"^\s*(?:[\w, ]+=\s*)?[%!](?!=)|^\s*\??[\w.]+\?{1,2}\s*$|^\s*\?{1,2}[\w.]+")
HEADING = re.compile(r"^##? .*$", re.M)
WRITTEN = re.compile(r"^#+\s.*written answer \((\d+) points?\)", re.I | re.M)


class Unreadable(ValueError):
    """A submission that is no notebook; the text says what to do."""


@dataclass(frozen=True)
class Submission:
    """What a notebook says: the sources of its code cells and of its text cells."""

    digest: str
    code: tuple[str, ...]
    text: tuple[str, ...]


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a regular file; a link is refused, since it may point anywhere.

    Raises:
        Unreadable: for a link, a folder, a device, or a file that is too large.
    """
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        if path.is_symlink():
            raise Unreadable("the submission is a symbolic link: hand in the file itself")
        handle = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise Unreadable(f"the file can't be opened ({error.strerror})") from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise Unreadable("the submission is not a regular file")
    with os.fdopen(handle, "rb") as file:
        if status.st_size > MAX_FILE:
            raise Unreadable(f"the file is larger than {MAX_FILE >> 20} MB: clear its outputs")
        return file.read(MAX_FILE + 1)


def read_submission(path: Path) -> Submission:
    """Return what a submitted notebook says.

    Args:
        path: of an .ipynb file, of nbformat 3, 4 or later.

    Raises:
        Unreadable: where it is no notebook.
    """
    content = read_bytes(path)
    notebook = parse_notebook(decode_text(content))
    code, text = [], []
    for cell in cells_of(notebook):
        kind, source = cell.get("cell_type"), source_of(cell)
        if kind == "code":
            code.append(source)
        elif kind in ("markdown", "raw", "heading"):
            text.append(source)
    if len(code) + len(text) > MAX_CELLS or sum(map(len, code + text)) > MAX_SOURCE:
        raise Unreadable(
            f"the notebook has {len(code) + len(text)} cells with {sum(map(len, code + text)):,} "
            f"letters; at most {MAX_CELLS} cells and {MAX_SOURCE:,} letters are graded"
        )
    return Submission(hashlib.sha256(content).hexdigest(), tuple(code), tuple(text))


def decode_text(content: bytes) -> str:
    """Return bytes as text: UTF-8, or UTF-16 where its mark says so."""
    if not content.strip():
        raise Unreadable("the file is empty")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"the file is not UTF-8 text (byte {error.start}): save the notebook in JupyterLab"
        ) from None


def parse_notebook(text: str) -> dict:
    """Return the JSON object of a notebook."""
    try:
        notebook = json.loads(text)
    except RecursionError:
        raise Unreadable("the file's JSON is nested too deeply") from None
    except ValueError as error:
        raise Unreadable(
            f"the file is not a notebook, its JSON is invalid ({error}): hand in the .ipynb file"
        ) from None
    if not isinstance(notebook, dict):
        raise Unreadable("the file is not a notebook: its JSON is no object")
    return notebook


def cells_of(notebook: dict) -> list[dict]:
    """Return the cells of a notebook; before nbformat 4 they were in worksheets."""
    cells = notebook.get("cells")
    if cells is None and isinstance(notebook.get("worksheets"), list):
        sheets = [s.get("cells") for s in notebook["worksheets"] if isinstance(s, dict)]
        cells = [cell for sheet in sheets if isinstance(sheet, list) for cell in sheet]
    if not isinstance(cells, list):
        raise Unreadable("the notebook has no cells")
    return [cell for cell in cells if isinstance(cell, dict)]


def source_of(cell: dict) -> str:
    """Return the source of a cell: a text or a list of lines, "input" before nbformat 4."""
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    return source if isinstance(source, str) else ""


def without_magics(source: str) -> str:
    """Return a cell's source without the commands that only a notebook knows.

    >>> without_magics("%%time\\n%matplotlib inline\\nx = 1\\nx?")
    '\\n\\nx = 1\\n'
    """
    lines = source.splitlines()
    first = next((k for k, line in enumerate(lines) if line.strip()), 0)
    if lines and lines[first].lstrip().startswith("%%"):
        if not lines[first].split()[0].startswith(CELL_MAGICS_WITH_CODE):
            return ""
        lines[first] = ""
    return "\n".join("" if MAGIC_LINE.match(line) else line for line in lines)


def definitions(source: str) -> list[ast.stmt]:
    """Return what is run of a cell: imports, definitions and assignments, in their order.

    Raises:
        SyntaxError: where the cell is no Python.

    >>> [type(s).__name__ for s in definitions("import math\\nprint(1)\\nx = 2")]
    ['Import', 'Assign']
    """
    try:
        body = ast.parse(source).body
    except SyntaxError:
        body = ast.parse(without_magics(source)).body
    return [statement for statement in body if is_kept(statement)]


KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
KEPT += (ast.Assign, ast.AnnAssign, ast.AugAssign)


def is_kept(statement: ast.stmt) -> bool:
    """Return whether a statement is run; `try: import a` with a substitute is, as a whole."""
    if isinstance(statement, ast.Try):
        return all(isinstance(inner, KEPT) for inner in statement.body)
    return isinstance(statement, KEPT)


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


def written_answers(texts: tuple[str, ...], lab_texts: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return (points, what the learner wrote) for each written answer of the lab, in its order.

    Args:
        texts: text cells of the submission.
        lab_texts: text cells of the lab as it was given out; their lines are left out.
    """
    asked = {line.strip() for text in lab_texts for line in text.splitlines()}
    answers = []
    for points, _ in sections(lab_texts):
        answers.append([points, ""])
    headings = {line for line in asked if HEADING.match(line)}
    for k, (_, section) in enumerate(sections(texts, headings)[: len(answers)]):
        own = [line for line in section.splitlines() if line.strip() not in asked or not line]
        answers[k][1] = "\n".join(own).strip()[:20_000]
    return [(points, text) for points, text in answers]


def sections(texts: tuple[str, ...], ends: set[str] | None = None) -> list[tuple[int, str]]:
    """Return (points, text up to the next heading) after each heading of a written answer.

    Args:
        texts: text cells.
        ends: headings that end a section, since learners write headings of their own; None for all.
    """
    whole = "\n\n".join(texts)
    found = []
    for match in WRITTEN.finditer(whole):
        rest = whole[match.end() :]
        headings = [m for m in HEADING.finditer(rest) if ends is None or m.group().strip() in ends]
        text = rest[: headings[0].start()] if headings else rest
        found.append((int(match.group(1)[:4]), text))
    return found
