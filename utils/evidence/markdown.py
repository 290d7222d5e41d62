"""A page as Markdown, for the model card that hubs show."""

from __future__ import annotations

import re

from utils.evidence.page import (
    Answered,
    Block,
    Bullets,
    Drawing,
    Open,
    Page,
    Paragraph,
    Quote,
    Sentence,
    Table,
    printed,
)

SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")


def escaped(text: str) -> str:
    """Return a text whose marks are read as they are.

    >>> print(escaped("a*b <i>"))
    a\\*b \\<i\\>
    """
    return SPECIAL.sub(r"\\\1", " ".join(text.split(" ")).replace("\n", " "))


def inline(parts: Sentence) -> str:
    """Return a sentence as Markdown."""
    return "".join(
        f"“{escaped(part.quote)}”" if isinstance(part, Quote) else escaped(printed(part))
        for part in parts
    )


def block_lines(block: Block) -> list[str]:
    """Return a block as lines."""
    if isinstance(block, Paragraph):
        return [inline(block.paragraph)]
    if isinstance(block, Bullets):
        return [f"- {inline(one)}" for one in block.bullets]
    if isinstance(block, Open):
        return [f"> **Open** ({escaped(block.owner)}): {inline(block.what)}"]
    if isinstance(block, Answered):
        answer = inline((Quote(block.answer),))
        return [f"> {inline(block.what)} {answer} ({escaped(block.by)})"]
    if isinstance(block, Drawing):
        return [escaped(block.told)]
    assert isinstance(block, Table)
    lines = [[escaped(name) for name in block.header], ["---"] * len(block.header)]
    lines += [[inline(cell) for cell in row] for row in block.rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def page_markdown(page: Page) -> str:
    """Return a page as Markdown.

    >>> from utils.evidence.page import Section
    >>> print(page_markdown(Page("p", "P", ("Why.",), (Section("S", (Paragraph(("So.",)),)),))))
    # P
    <BLANKLINE>
    Why.
    <BLANKLINE>
    ## S
    <BLANKLINE>
    So.
    """
    parts = [f"# {escaped(page.title)}", inline(page.about)]
    for section in page.sections:
        parts.append(f"## {escaped(' '.join(filter(None, (section.point, section.title))))}")
        parts += ["\n".join(block_lines(block)) for block in section.blocks]
    return "\n\n".join(parts)
