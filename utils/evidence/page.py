"""Documents as data: what a reader sees, and where each number of it comes from.

A sentence is a row of parts. Plain words must not hold a digit: a number stands in a part of its
own that names the record it was taken from, and a name that holds digits (a hash, a date, the
number of an article) in one that says so. What is printed and what is checked are thus one thing.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from utils.capstone.claims import Claim


@dataclass(frozen=True)
class Number:
    """A number as it is printed, and the record and keys that it was taken from."""

    number: str
    record: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A word of a record, such as a hash or the name of a method, and where it stands."""

    entry: str
    record: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class Name:
    """A name that may hold digits and measures nothing: an article, a file, a version, a date."""

    name: str


@dataclass(frozen=True)
class Quote:
    """Words that somebody else wrote, such as an answer of the model."""

    quote: str


Part = str | Number | Entry | Name | Quote
Sentence = tuple[Part, ...]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of one sentence or more."""

    paragraph: Sentence


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    bullets: tuple[Sentence, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a header, each cell a sentence; `widths` are shares of the page's width."""

    header: tuple[str, ...]
    rows: tuple[tuple[Sentence, ...], ...]
    widths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Open:
    """A question that no record answers, and the role that must answer it."""

    open: str
    what: Sentence
    owner: str


@dataclass(frozen=True)
class Answered:
    """An open point that a person has answered, in that person's words."""

    answered: str
    what: Sentence
    answer: str
    by: str


@dataclass(frozen=True)
class Drawing:
    """A drawn graph: nodes with a label and a row, edges between nodes, and words that tell it."""

    nodes: tuple[tuple[str, int], ...]
    edges: tuple[tuple[str, str], ...]
    told: str


Block = Paragraph | Bullets | Table | Open | Answered | Drawing
BLOCKS = {"paragraph": Paragraph, "bullets": Bullets, "header": Table, "open": Open}
BLOCKS |= {"answered": Answered, "nodes": Drawing}
PARTS = {"number": Number, "entry": Entry, "name": Name, "quote": Quote}


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; `point` is the number that a law or a framework gives it."""

    title: str
    blocks: tuple[Block, ...]
    point: str = ""


@dataclass(frozen=True)
class Page:
    """A document of the pack.

    Args:
        id: short and unique, such as "data_sheet".
        title: for people.
        about: one sentence: what it is for, and whose form it follows.
        sections: in the order of reading.
    """

    id: str
    title: str
    about: Sentence
    sections: tuple[Section, ...]


def sentence(template: str, **parts: Part | Sentence) -> Sentence:
    """Return a sentence from a template in which each {name} stands for a part or several.

    >>> sentence("Of {n} questions.", n=Number("3", "text", ("metrics", "files")))
    ('Of ', Number(number='3', record='text', path=('metrics', 'files')), ' questions.')
    """
    found: list[Part] = []
    for words, name, _, _ in string.Formatter().parse(template):
        if words:
            found.append(words)
        if name:
            part = parts[name]
            found.extend(part if isinstance(part, tuple) else [part])
    return tuple(found)


def text_of(parts: Sentence) -> str:
    """Return a sentence as it is read.

    >>> text_of(("See ", Name("article 11"), "."))
    'See article 11.'
    """
    return "".join(part if isinstance(part, str) else printed(part) for part in parts)


def printed(part: Part) -> str:
    """Return what is printed of a part."""
    return part if isinstance(part, str) else getattr(part, fields(part)[0].name)


def sentences_of(page: Page) -> Iterator[tuple[str, Sentence]]:
    """Yield each sentence of a page with the words that say where it stands."""
    yield page.title, page.about
    for section in page.sections:
        where = f"{page.title} > {section.title}"
        for block in section.blocks:
            for one in sentences_in(block):
                yield where, one


def sentences_in(block: Block) -> Iterator[Sentence]:
    """Yield the sentences of a block; headers and labels count as sentences of plain words."""
    if isinstance(block, Paragraph):
        yield block.paragraph
    elif isinstance(block, Bullets):
        yield from block.bullets
    elif isinstance(block, Open | Answered):
        yield block.what
    elif isinstance(block, Drawing):
        yield (block.told,)
    else:
        yield from ((name,) for name in block.header)
        for row in block.rows:
            yield from row


def claims_of(pages: Sequence[Page]) -> list[Claim]:
    """Return a claim for each number of the pages."""
    return [
        Claim(text_of(one), part.number, part.record, part.path)
        for page in pages
        for _, one in sentences_of(page)
        for part in one
        if isinstance(part, Number)
    ]


def open_points(pages: Sequence[Page]) -> list[Open]:
    """Return the open points of pages, in the order of reading."""
    blocks = (block for page in pages for section in page.sections for block in section.blocks)
    return [block for block in blocks if isinstance(block, Open)]


def to_data(page: Page) -> dict:
    """Return a page as plain data, as JSON holds it."""
    return asdict(page)


def page_from(data: Mapping) -> Page:
    """Return a page from plain data.

    Raises:
        ValueError: for data that is no page; the message says which part.

    >>> page = Page("a", "A", ("One ", Name("2")), (Section("S", (Paragraph(("x",)),)),))
    >>> page_from(to_data(page)) == page
    True
    """
    try:
        sections = tuple(
            Section(s["title"], tuple(map(block_from, s["blocks"])), s["point"])
            for s in data["sections"]
        )
        return Page(data["id"], data["title"], parts_from(data["about"]), sections)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a page of the pack can't be read: {error!r}") from None


def block_from(data: Mapping) -> Block:
    """Return a block from plain data."""
    kind = next((BLOCKS[name] for name in BLOCKS if name in data), None)
    if kind is Paragraph:
        return Paragraph(parts_from(data["paragraph"]))
    if kind is Bullets:
        return Bullets(tuple(map(parts_from, data["bullets"])))
    if kind is Table:
        rows = tuple(tuple(map(parts_from, row)) for row in data["rows"])
        return Table(tuple(data["header"]), rows, tuple(data["widths"]))
    if kind is Open:
        return Open(data["open"], parts_from(data["what"]), data["owner"])
    if kind is Answered:
        what = parts_from(data["what"])
        return Answered(data["answered"], what, data["answer"], data["by"])
    if kind is Drawing:
        nodes = tuple((label, row) for label, row in data["nodes"])
        return Drawing(nodes, tuple((a, b) for a, b in data["edges"]), data["told"])
    raise ValueError(f"a block of the pack can't be read: {sorted(data)}")


def parts_from(data: Sequence) -> Sentence:
    """Return a sentence from plain data."""
    return tuple(one if isinstance(one, str) else part_from(one) for one in data)


def part_from(data: Mapping) -> Part:
    """Return a part from plain data."""
    kind = next((PARTS[name] for name in PARTS if name in data), None)
    if kind is None:
        raise ValueError(f"a part of a sentence can't be read: {dict(data)}")
    if kind in (Number, Entry):
        return kind(next(iter(data.values())), data["record"], tuple(data["path"]))
    return kind(next(iter(data.values())))
