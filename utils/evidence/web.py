"""The pack as one HTML file: no scripts, nothing from other hosts, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from html.parser import HTMLParser
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
    Section,
    Sentence,
    Table,
    printed,
)

LOADING = {  # attributes by which a page loads something, or leads elsewhere by itself
    "src", "srcset", "data", "poster", "background", "action", "formaction", "manifest", "ping",
    "xlink:href", "archive", "codebase", "cite", "longdesc",
}  # fmt: skip
FORBIDDEN = {"script", "iframe", "frame", "object", "embed", "base", "form", "link"}
SIGNED_BY = ("Name", "Role", "Date", "Signature")  # lines for a signature by hand


def part_html(part: Part) -> str:
    """Return a part of a sentence as HTML; a number says on request where it stands."""
    text = escape(printed(part))
    if isinstance(part, Number | Entry):
        where = escape(f"{part.record}: {' > '.join(part.path)}")
        kind = "n" if isinstance(part, Number) else "hash"
        return f'<span class="{kind}" title="{where}">{text}</span>'
    if isinstance(part, Quote):
        return f'<q class="quote" dir="auto">{text}</q>'
    if isinstance(part, Name):
        return f'<span class="name">{text}</span>'
    return text


def sentence_html(parts: Sentence) -> str:
    """Return a sentence as HTML.

    >>> sentence_html(("a < b", Name("<img>")))
    'a &lt; b<span class="name">&lt;img&gt;</span>'
    """
    return "".join(map(part_html, parts))


def block_html(block: Block) -> str:
    """Return a block as HTML."""
    if isinstance(block, Paragraph):
        return f"<p>{sentence_html(block.paragraph)}</p>"
    if isinstance(block, Bullets):
        items = "".join(f"<li>{sentence_html(one)}</li>\n" for one in block.bullets)
        return f"<ul>\n{items}</ul>"
    if isinstance(block, Open):
        return (
            f'<div class="open" id="{escape(anchor(block.open))}"><b>Open</b> '
            f"({escape(block.owner)}): {sentence_html(block.what)}</div>"
        )
    if isinstance(block, Answered):
        return (
            f'<div class="answered" id="{escape(anchor(block.answered))}">'
            f"{sentence_html(block.what)} {part_html(Quote(block.answer))} "
            f"<b>{escape(block.by)}</b></div>"
        )
    if isinstance(block, Drawing):
        return f"<figure>{svg(block)}</figure>"
    return table_html(block)


def table_html(table: Table) -> str:
    """Return a table as HTML."""
    total = sum(table.widths)
    columns = "".join(f'<col style="width:{100 * w / total:.1f}%">' for w in table.widths)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{sentence_html(cell)}</td>" for cell in row) + "</tr>\n"
        for row in table.rows
    )
    return (
        f"<table>\n<colgroup>{columns}</colgroup>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}</tbody>\n</table>"
    )


def anchor(name: str) -> str:
    """Return a name as it stands in a link within the page.

    >>> anchor("annex-1(a)")
    'annex-1-a-'
    """
    return "".join(c if c.isalnum() else "-" for c in name)


def section_html(page: Page, section: Section) -> str:
    """Return a section as HTML."""
    title = " ".join(filter(None, (section.point, section.title)))
    blocks = "\n".join(map(block_html, section.blocks))
    name = anchor(f"{page.id}-{section.point or section.title}")
    return f'<h3 id="{escape(name)}">{escape(title)}</h3>\n{blocks}'


def page_html(page: Page) -> str:
    """Return a document as HTML."""
    sections = "\n".join(section_html(page, section) for section in page.sections)
    return (
        f'<section class="document" id="{escape(page.id)}">\n<h2>{escape(page.title)}</h2>\n'
        f'<p class="about">{sentence_html(page.about)}</p>\n{sections}\n</section>'
    )


def pack_html(data: Mapping, pages: Sequence[Page], digest: str) -> str:
    """Return the whole pack as an HTML document.

    Args:
        data: of the pack, for its title and subject.
        digest: SHA-256 of `pack.json`, which the first page shows.
    """
    css = Path(__file__).with_name("pack.css").read_text(encoding="utf-8")
    subject = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n'
        for name, value in data["subject"].items()
    )
    contents = "".join(
        f'<li><a href="#{escape(page.id)}">{escape(page.title)}</a></li>\n' for page in pages
    )
    lines = "".join(f"<tr><td>{name}:</td><td></td></tr>\n" for name in SIGNED_BY)
    title = escape(f"{data['title']}: {data['subject']['domain']}, {data['subject']['method']}")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{css}</style>
</head>
<body>
<h1>{escape(data["title"])}</h1>
<table>
<tbody>
{subject}<tr><th scope="row">SHA-256 of pack.json</th><td class="hash">{escape(digest)}</td></tr>
</tbody>
</table>
<nav aria-label="Contents">
<ol>
{contents}</ol>
</nav>
<table class="sign">
<tbody>
{lines}</tbody>
</table>
{"".join(page_html(page) + chr(10) for page in pages)}</body>
</html>
"""


class Loads(HTMLParser):
    """Collects what an HTML page would load, run or be sent to."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note tags and attributes that load or run something."""
        self.in_style = tag == "style"
        if tag in FORBIDDEN:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            value = (value or "").strip()
            if name in LOADING or name.startswith("on"):
                self.found.append(f"<{tag} {name}={value!r}>")
            elif name in ("href", "xlink:href") and not value.startswith("#"):
                self.found.append(f"<{tag} {name}={value!r}>")
            elif name == "http-equiv":
                self.found.append(f"<{tag} {name}={value!r}>")
            elif name == "style":
                self.look_at_style(value)

    def handle_data(self, data: str) -> None:
        """Note what a style sheet loads."""
        if self.in_style:
            self.look_at_style(data)

    def handle_endtag(self, tag: str) -> None:
        """Leave a style sheet."""
        self.in_style = False

    def look_at_style(self, css: str) -> None:
        """Note addresses and imports in a style."""
        for word in ("url(", "@import", "image-set(", "src("):
            if word in css.lower():
                self.found.append(f"a style with {word}")


def loads(text: str) -> list[str]:
    """Return what an HTML text would load from elsewhere, run or send; nothing for a pack.

    >>> loads('<p>a</p><img src="https://example.org/a.png">')
    ["<img src='https://example.org/a.png'>"]
    >>> loads('<a href="#a">a</a>')
    []
    """
    parser = Loads()
    parser.feed(text)
    parser.close()
    return parser.found
