"""Lectures as the book sees them: prose, code, outputs and figures with their alternatives.

A lecture is read from its built notebook, with the outputs that are stored there; nothing is run.
Site, PDF and slides are made of the same blocks. Left out: progress bars, and the line that says
where a notebook comes from.
"""

from __future__ import annotations

import ast
import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from utils.settings import project_root

CAPTION = re.compile(r"\*Figure (\d+)\. (.+?)\*(?=\n\n|\s*\Z)", re.S)
MAP_PART = re.compile(r"^\|\s*\| \*\*(.+?)\*\* \|", re.M)
MAP_ROW = re.compile(r"^\| (\d\d) \| ([^|]+) \| (\d+) \|", re.M)


@dataclass(frozen=True)
class Prose:
    """Markdown, with formulas between dollars."""

    text: str


@dataclass(frozen=True)
class Code:
    """Source that is run in the lecture, or that it shows (`is_shown`)."""

    source: str
    is_shown: bool = False


@dataclass(frozen=True)
class Printed:
    """What a cell printed, or the table that it returned (`html`); `reveals` a guess's answer."""

    text: str
    html: str = ""
    reveals: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture with its caption (Markdown) and its text alternative (plain)."""

    png: bytes
    number: int = 0
    caption: str = ""
    alternative: str = ""
    finding: str = ""
    reveals: bool = False


Block = Prose | Code | Printed | Figure


@dataclass(frozen=True)
class Lecture:
    """One lecture, and where it stands in the course."""

    name: str  # 02_attention
    title: str  # Attention
    part: str
    minutes: int  # of lecture and lab, as the README's map says
    blocks: tuple[Block, ...]
    has_lab: bool

    @property
    def number(self) -> str:
        """The unit, in two digits."""
        return self.name[:2]

    @property
    def figures(self) -> list[Figure]:
        """All figures, in order."""
        return [block for block in self.blocks if isinstance(block, Figure)]


@dataclass(frozen=True)
class Row:
    """A unit of the README's map."""

    number: str
    title: str
    part: str
    minutes: int


def course_map(readme: str) -> list[Row]:
    """Return the units of the README's map, in order, each with its part.

    >>> rows = course_map("|  | **Part I. Inside** |  |\\n| 01 | Tokens | 200 | there |")
    >>> rows[0].part, rows[0].minutes
    ('Part I. Inside', 200)
    """
    rows, part = [], ""
    for line in readme.splitlines():
        if found := MAP_PART.match(line):
            part = found[1]
        elif found := MAP_ROW.match(line):
            rows.append(Row(found[1], found[2].strip(), part, int(found[3])))
    return rows


def read_lectures(root: Path | None = None, only: list[str] | None = None) -> list[Lecture]:
    """Return all lectures that are there, in the order of the map.

    Args:
        root: of the course; None for this one.
        only: numbers of units, for a part of the course.

    Raises:
        ValueError: where the README's map lacks a lecture, or a lecture has no stored outputs.
        FileNotFoundError: where a wanted unit has no lecture.
    """
    root = root or project_root()
    rows = {row.number: row for row in course_map((root / "README.md").read_text("utf-8"))}
    lectures = []
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        number = path.name[:2]
        if only and number not in only:
            continue
        if number not in rows:
            raise ValueError(f"README.md's map has no row for unit {number}: add it")
        lectures.append(read_lecture(path, rows[number]))
    if missing := set(only or []) - {lecture.number for lecture in lectures}:
        raise FileNotFoundError(f"there is no lecture of unit {', '.join(sorted(missing))}")
    return lectures


def read_lecture(path: Path, row: Row) -> Lecture:
    """Return the lecture of a built notebook.

    Raises:
        ValueError: where no cell has an output (`make build` stores them), or a figure no caption.
    """
    cells = json.loads(path.read_text("utf-8"))["cells"]
    if not any(cell.get("outputs") for cell in cells):
        raise ValueError(f"{path} has no stored outputs: run `make build` first")
    blocks = [block for cell in cells for block in blocks_of(cell)]
    lab = path.parents[1] / "labs" / path.name
    try:
        described = tuple(with_captions(blocks))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return Lecture(
        name=path.stem,
        title=row.title,
        part=row.part,
        minutes=row.minutes,
        blocks=described,
        has_lab=lab.is_file(),
    )


def blocks_of(cell: dict) -> Iterator[Block]:
    """Yield the blocks of one cell of a notebook, as nbformat 4 stores it."""
    source = "".join(cell["source"]).strip()
    if cell["cell_type"] == "markdown":
        if source and cell.get("id") != "source":
            yield Prose(source)
        return
    if cell["cell_type"] != "code":
        return
    yield Code(source)
    reveals = "reveals" in cell["metadata"].get("tags", [])
    for output in cell.get("outputs", []):
        yield from blocks_of_output(output, source, reveals)


def blocks_of_output(output: dict, source: str, reveals: bool) -> Iterator[Block]:
    """Yield the block of one stored output; progress bars yield none."""
    kind = output["output_type"]
    if kind == "stream":
        if text := "".join(output["text"]).rstrip():
            yield Printed(text, reveals=reveals)
        return
    if kind == "error":
        yield Printed(f"{output['ename']}: {output['evalue']}", reveals=reveals)
        return
    data = {mime: "".join(value) for mime, value in output["data"].items()}
    if "image/png" in data:
        png = base64.b64decode(data["image/png"])
        yield Figure(png, finding=finding_of(source), reveals=reveals)
    elif "text/latex" in data:  # IPython's `Code`: the library's source, shown
        yield Code(data["text/plain"].strip(), is_shown=True)
    elif "text/html" in data:
        html = re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.S)
        yield Printed(data.get("text/plain", ""), html.strip(), reveals)
    elif kind == "execute_result":
        yield Printed(data["text/plain"], reveals=reveals)


def finding_of(source: str) -> str:
    """Return the title that code gives a figure where it is a plain string, else nothing.

    >>> finding_of('plots.lines(x, title="The loss falls")')
    'The loss falls'
    >>> finding_of('plt.title(f"The loss falls by {share}")')
    ''
    """
    titles = []
    for node in ast.walk(ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.M))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")[-1]
            given = [k.value for k in node.keywords if k.arg == "title"]
            if called in {"title", "set_title", "suptitle"}:
                given += node.args[:1]
            titles += [v.value for v in given if isinstance(v, ast.Constant)]
    return str(titles[-1]) if len(set(titles)) == 1 else ""


def with_captions(blocks: list[Block]) -> Iterator[Block]:
    """Yield the blocks with captions moved from the prose below to the figures above.

    Raises:
        ValueError: for a figure that no `*Figure N. ...*` describes.
    """
    waiting: list[Figure] = []
    held: list[Block] = []
    for block in blocks:
        if isinstance(block, Figure):
            waiting.append(block)
            held.append(block)
        elif not waiting:
            yield block
        elif isinstance(block, Prose):
            captions = list(CAPTION.finditer(block.text))
            if not captions:
                raise ValueError(f"no caption below a figure; below it stands: {block.text[:60]}")
            # One caption may describe several pictures: it then stands at the last of them.
            shared = [captions[0]] * (len(waiting) - len(captions))
            described = dict(zip(map(id, waiting), shared + captions, strict=False))
            for each in held:
                is_figure = isinstance(each, Figure)
                yield captioned(each, described[id(each)]) if is_figure else each
            rest = CAPTION.sub("", block.text, count=len(captions)).strip()
            waiting, held = [], []
            if rest:
                yield Prose(rest)
        else:
            held.append(block)
    if waiting:
        raise ValueError("no caption below the last figure")


def captioned(figure: Figure, caption: re.Match) -> Figure:
    """Return a figure with its number, its caption and a text alternative.

    The alternative is the finding that its title states; where the title holds a computed number,
    what the caption says is to be seen.
    """
    text = " ".join(caption[2].split())
    alternative = figure.finding or first_sentences(plain(text))
    return replace(
        figure, number=int(caption[1]), caption=text, alternative=alternative.rstrip(".") + "."
    )


def plain(markdown: str) -> str:
    """Return Markdown without its marks.

    >>> plain("*Write* the `code` of **this** $x_i$")
    'Write the code of this x_i'
    """
    return re.sub(r"\$|`|\*\*|(?<!\w)\*|\*(?!\w)", "", markdown)


def first_sentences(text: str, at_least: int = 40) -> str:
    """Return the first sentences of a text that have so many characters together.

    >>> first_sentences("Two lines. They cross where the loss is least, and part again. More.")
    'Two lines. They cross where the loss is least, and part again.'
    """
    end = 0
    for found in re.finditer(r"[.?!](?=\s|\Z)", text):
        end = found.end()
        if end >= at_least:
            break
    return text[:end] if end else text


def is_python(source: str) -> bool:
    """Return whether source is Python and no command of the notebook."""
    return not re.search(r"^\s*[%!]", source, re.M)


def without_imports(source: str) -> tuple[str, str]:
    """Return the imports that source begins with, and the rest.

    >>> without_imports("import torch\\nimport math\\n\\nx = 1")
    ('import torch\\nimport math', 'x = 1')
    """
    if not is_python(source):
        return "", source
    last = 0
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            break
        last = node.end_lineno
    lines = source.splitlines()
    return "\n".join(lines[:last]), "\n".join(lines[last:]).strip("\n")
