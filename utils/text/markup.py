"""The text of a page of HTML, or of a text with some remnants of HTML in it.

The standard library's parser takes the page apart. What it would take for tags and is none, as in
`a<b and c>d`, `List<int>` or `#include <stdio.h>`, is written as text before it sees the page.
Source: WHATWG, "HTML" (living standard), section 13.1.2 (how tags are written).
"""

from __future__ import annotations

import re
from collections import defaultdict
from html.parser import HTMLParser

BREAKS = frozenset(  # a line ends where one of these begins or ends
    "address article aside blockquote body br caption center dd details dialog div dl dt fieldset "
    "figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav "
    "ol option p pre search section summary table tbody tfoot thead tr ul".split()
)
CELLS = frozenset(("td", "th"))
DROPPED = frozenset(("head", "script", "style", "template", "title"))  # with all that they hold
# Without an end tag, attributes or a page around it, `<p>` is markup and `<source>` a placeholder.
SURE_ALONE = frozenset(
    "body br dd div dt h1 h2 h3 h4 h5 h6 hr html li ol p td th tr ul wbr".split()
)
# The standard's other elements (and some that it calls obsolete), which stand alone on pages only.
LONELY = (SURE_ALONE | BREAKS) | frozenset(
    "a abbr area audio b base bdi bdo big button canvas cite code col colgroup data datalist "
    "del dfn em embed font frame i iframe img input ins kbd label link map mark math meta meter "
    "noscript object optgroup output param picture progress q rp rt ruby s samp select slot "
    "small source span strike strong sub sup svg textarea time track tt u var video".split()
)
BOOLEAN = frozenset(  # attributes that are written without a value
    "allowfullscreen async autofocus autoplay checked compact controls default defer disabled "
    "formnovalidate hidden inert ismap itemscope loop multiple muted nomodule noshade novalidate "
    "nowrap open playsinline readonly required reversed selected".split()
)

NAME = r"[a-zA-Z][\w:.-]*+"
ATTRIBUTE = r"""[^\s"'<>/=]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s"'=<>`]++))?+"""
TAG = re.compile(
    rf"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<!doctype\b[^<>]*+>|<\?[^<>]*+>"
    rf"|<(?P<end>/?)(?P<name>{NAME})(?P<attributes>(?:\s++{ATTRIBUTE})*+)\s*+(?P<closed>/?)>",
    re.IGNORECASE | re.DOTALL,
)
ONE_ATTRIBUTE = re.compile(ATTRIBUTE)


def text_of(page: str) -> str:
    """Return the text of a page without comments, doctype, head, scripts and tags.

    Entities become what they stand for. Blocks end with a line end, cells of a table with a blank.

    >>> text_of("<!-- menu --><h2>Dose</h2><p>15 mg &lt; 20 mg")
    '\\nDose\\n\\n15 mg < 20 mg'
    >>> text_of("if a<b and c>d: List<int>")
    'if a<b and c>d: List<int>'
    """
    parser = _Text()
    parser.feed(_only_markup(page))
    parser.close()
    return "".join(parser.parts)


def _only_markup(page: str) -> str:
    """Return a page in which each `<` that begins no tag is written as an entity."""
    for begin, end in (("<!--", "-->"), ("<![CDATA[", "]]>")):  # those without an end are text
        place = page.rfind(end) + 1
        page = page[:place] + page[place:].replace(begin, begin.replace("<", "&lt;"))
    found = list(TAG.finditer(page))
    paired = _paired(found)
    is_page = bool(paired) or any(tag["name"] is None for tag in found)
    parts, done = [], 0
    for number, tag in enumerate(found):
        parts.append(page[done : tag.start()].replace("<", "&lt;"))
        before = page[tag.start() - 1 : tag.start()]
        glued = before.isalnum() or before == "_"
        kept = number in paired or _is_tag_alone(tag, glued, is_page)
        parts.append(tag[0] if kept else tag[0].replace("<", "&lt;"))
        done = tag.end()
    parts.append(page[done:].replace("<", "&lt;"))
    return "".join(parts)


def _paired(found: list[re.Match]) -> set[int]:
    """Return the places in `found` of start tags that have an end tag, and of these end tags."""
    open_tags: dict[str, list[int]] = defaultdict(list)
    paired: set[int] = set()
    for number, tag in enumerate(found):
        name = (tag["name"] or "").lower()
        if tag["end"]:
            if open_tags[name]:
                paired |= {number, open_tags[name].pop()}
        elif name:
            open_tags[name].append(number)
            if name == "body" and open_tags["head"]:  # a head may end without saying so
                paired.add(open_tags["head"].pop())
    return paired


def _is_tag_alone(tag: re.Match, glued: bool, is_page: bool) -> bool:
    """Return whether what looks like a tag, and has no partner, is markup."""
    if tag["name"] is None:
        return True  # a comment, a doctype, an instruction
    name = tag["name"].lower()
    if name in DROPPED:
        return name == "title" and bool(tag["end"])  # else all that follows would be dropped
    if tag["end"]:
        return name in LONELY or "-" in name
    attributes = ONE_ATTRIBUTE.findall(tag["attributes"])
    if not all("=" in a or "-" in a or a.lower() in BOOLEAN for a in attributes):
        return False
    if tag["closed"] or (attributes and (name in LONELY or not glued)):
        return True
    return name in SURE_ALONE or (name in LONELY and not glued and is_page)


class _Text(HTMLParser):
    """Collects the text of a page in `parts`."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.dropping: str | None = None  # the element that is being left out

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if self.dropping == "head" and tag == "body":
            self.dropping = None
        if self.dropping is None and tag in DROPPED:
            self.dropping = tag
        self.note(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.note(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == self.dropping:
            self.dropping = None
            self.parts.append("\n")
        self.note(tag)

    def handle_data(self, data: str) -> None:
        if self.dropping is None:
            self.parts.append(data)

    def unknown_decl(self, data: str) -> None:
        if data.startswith("CDATA[") and self.dropping is None:
            self.parts.append(data.removeprefix("CDATA["))

    def note(self, tag: str) -> None:
        if self.dropping is None and (tag in BREAKS or tag in CELLS):
            self.parts.append("\n" if tag in BREAKS else " ")
