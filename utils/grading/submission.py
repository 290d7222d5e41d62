"""A submitted notebook, read as text: nothing of it is imported, unpickled or run here.

Code cells are taken in their order, whatever their ids, metadata, outputs or the kernel's name
say. Python is read where the learner's code runs (`needed`): parsing hostile code can crash it.
"""

from __future__ import annotations

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
HEADING = re.compile(r"^##? .")
WRITTEN = re.compile(r"^#{1,6} .*written answer \((\d+) points?\)", re.I | re.M)
MAX_HEADING = 300
MAX_SECTIONS = 100
MAX_ANSWER = 20_000


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
        # No whole number of a notebook matters here, and a long one takes the square of its digits.
        notebook = json.loads(text, parse_int=lambda digits: int(digits[:18]))
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


def written_answers(texts: tuple[str, ...], lab_texts: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return (points, what the learner wrote) for each written answer of the lab, in its order.

    Args:
        texts: text cells of the submission.
        lab_texts: text cells of the lab as it was given out; their lines are left out.
    """
    asked = {line.strip() for text in lab_texts for line in text.splitlines()}
    wanted = [points for points, _ in sections(lab_texts)]
    headings = {line for line in asked if HEADING.match(line)}
    answers = [""] * len(wanted)
    for k, (_, section) in enumerate(sections(texts, headings, len(wanted))):
        own = [line for line in section.splitlines() if line.strip() not in asked or not line]
        answers[k] = "\n".join(own).strip()[:MAX_ANSWER]
    return list(zip(wanted, answers, strict=True))


def sections(
    texts: tuple[str, ...], ends: set[str] | None = None, at_most: int = MAX_SECTIONS
) -> list[tuple[int, str]]:
    """Return (points, text up to the next heading) after each heading of a written answer.

    Each line is looked at once, however many headings there are.

    Args:
        texts: text cells.
        ends: headings that end a section, since learners write headings of their own; None for all.
        at_most: sections that are returned, the first ones.

    >>> sections(("## Written answer (3 points)\\nBecause.\\n## The end\\nBye.",))
    [(3, 'Because.')]
    """
    found: list[tuple[int, list[str]]] = []
    is_open = False
    for line in "\n\n".join(texts).splitlines():
        if not line.startswith("#"):
            if is_open:
                found[-1][1].append(line)
            continue
        asks = WRITTEN.match(line[:MAX_HEADING])
        if asks and len(found) == at_most:
            break
        if asks:
            found.append((int(asks.group(1)[:4]), []))
            is_open = True
        elif HEADING.match(line) and (ends is None or line.strip() in ends):
            is_open = False
        elif is_open:
            found[-1][1].append(line)
    return [(points, "\n".join(lines)) for points, lines in found]
