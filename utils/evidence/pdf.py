"""The pack as a PDF, typeset by Typst from data: no text of a document is ever read as markup.

Typst and its fonts come with the package `typst` (extra `ops`). The same pack gives the same bytes.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from utils.evidence.drawing import svg
from utils.evidence.page import (
    Answered,
    Block,
    Bullets,
    Drawing,
    Entry,
    Name,
    Number,
    Open,
    Page,
    Paragraph,
    Part,
    Quote,
    Sentence,
    printed,
)
from utils.evidence.web import SIGNED_BY

STANDARDS = (["a-2a", "ua-1"], [])  # for archives and screen readers; else as it comes
LONGEST, PIECE = (
    28,
    14,
)  # characters of a word that is left whole, and of the pieces of a longer one
NONE = "none"
HOW = "the PDF needs the extra `ops`: pip install typst, then course capstone report"


@dataclass(frozen=True)
class Printed:
    """A PDF and the standard that it keeps, such as "PDF/A-2a, PDF/UA-1", or "none"."""

    data: bytes
    standard: str


def has_typst() -> bool:
    """Return whether Typst is installed."""
    return importlib.util.find_spec("typst") is not None


def soft(text: str) -> str:
    """Return a text whose long words may be broken, by spaces of no width.

    >>> soft("a" * 40).count("\\u200b")
    2
    """
    words = text.split(" ")
    return " ".join(
        word
        if len(word) <= LONGEST
        else "\u200b".join(word[i : i + PIECE] for i in range(0, len(word), PIECE))
        for word in words
    )


def part_data(part: Part) -> list[str]:
    """Return a part as its kind and its text."""
    if isinstance(part, str):
        return ["words", soft(part)]
    kinds = {Number: "number", Entry: "name", Name: "name", Quote: "quote"}
    text = printed(part)
    return [kinds[type(part)], text if is_hash(text) else soft(text)]


def is_hash(text: str) -> bool:
    """Return whether a text is a SHA-256, which is printed in one line of small type."""
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)


def parts_data(parts: Sentence) -> list[list[str]]:
    """Return a sentence as rows of kind and text."""
    return [part_data(part) for part in parts]


def block_data(block: Block) -> dict:
    """Return a block as the template reads it."""
    if isinstance(block, Paragraph):
        return {"kind": "paragraph", "parts": parts_data(block.paragraph)}
    if isinstance(block, Bullets):
        return {"kind": "bullets", "items": [parts_data(one) for one in block.bullets]}
    if isinstance(block, Open):
        return {"kind": "open", "owner": block.owner, "parts": parts_data(block.what)}
    if isinstance(block, Answered):
        answer = part_data(Quote(block.answer))
        return {
            "kind": "answered",
            "parts": [*parts_data(block.what), ["words", " "], answer],
            "by": block.by,
        }
    if isinstance(block, Drawing):
        return {"kind": "drawing", "svg": svg(block), "told": block.told}
    return {
        "kind": "table",
        "header": list(block.header),
        "widths": list(block.widths) or [1] * len(block.header),
        "rows": [[parts_data(cell) for cell in row] for row in block.rows],
    }


def print_data(data: Mapping, pages: Sequence[Page], digest: str) -> dict:
    """Return all that the template prints."""
    return {
        "title": data["title"],
        "subject": [[name, soft(value)] for name, value in data["subject"].items()],
        "digest": digest,
        "signed_by": list(SIGNED_BY),
        "pages": [
            {
                "title": page.title,
                "about": parts_data(page.about),
                "sections": [
                    {
                        "title": " ".join(filter(None, (section.point, section.title))),
                        "blocks": [block_data(block) for block in section.blocks],
                    }
                    for section in page.sections
                ],
            }
            for page in pages
        ],
    }


def template() -> bytes:
    """Return the template."""
    return Path(__file__).with_name("pack.typ").read_bytes()


def pdf_bytes(data: Mapping, pages: Sequence[Page], digest: str) -> Printed:
    """Return the pack as a PDF.

    Where a text holds a letter that no font has, the standards for archives and screen readers
    can't be kept; then the PDF is made without, and says so.

    Args:
        data: of the pack, for its title and subject.
        digest: SHA-256 of `pack.json`, which the cover shows.
    """
    import typst

    content = json.dumps(print_data(data, pages, digest), ensure_ascii=False)
    made_at = int(datetime.fromisoformat(data["subject"]["measured"]).timestamp())
    for standards in STANDARDS:
        options = {"pdf_standards": standards} if standards else {}
        try:
            made = typst.compile(
                template(),
                format="pdf",
                sys_inputs={"pack": content},
                timestamp=made_at,
                **options,
            )
        except typst.TypstError:
            if not standards:
                raise
            continue
        return Printed(made, ", ".join(f"PDF/{s.upper()}" for s in standards) or NONE)
    raise AssertionError("the last attempt keeps no standard and raises what is wrong")


def png_pages(data: Mapping, pages: Sequence[Page], digest: str, ppi: int = 70) -> list[bytes]:
    """Return the pages of the PDF as pictures, to look at them."""
    import typst

    content = json.dumps(print_data(data, pages, digest), ensure_ascii=False)
    made = typst.compile(template(), format="png", ppi=ppi, sys_inputs={"pack": content})
    return made if isinstance(made, list) else [made]
