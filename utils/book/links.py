"""What a built site loads and where its links lead: nothing from elsewhere, and never nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
LOADS |= {"audio": "src", "video": "src", "object": "data", "embed": "src"}
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*['"]?((?:https?:)?//[^'")\s]+)""")
IN_SCRIPT = re.compile(r"""\bimport\b[^;"']{0,80}["'](https?://[^"']+)""")
FOREIGN = re.compile(r"^(?:[a-z]+:)?//", re.I)


@dataclass
class Page(HTMLParser):
    """What one page of HTML names."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    alternatives: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids, links, what is loaded, and the alternatives of pictures."""
        given = dict(attrs)
        self.ids |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        is_hint = tag == "link" and given.get("rel") in {"canonical", "prev", "next", "author"}
        if tag in LOADS and given.get(LOADS[tag]) and not is_hint:
            self.loads.append(given[LOADS[tag]])
        if tag == "img":
            self.alternatives.append(given.get("alt"))


def read_page(path: Path) -> Page:
    """Return what a page of HTML names."""
    page = Page()
    page.feed(path.read_text("utf-8"))
    return page


def broken_links(folder: Path) -> list[str]:
    """Return `page: address` for each link or load inside a site that leads to nothing.

    Args:
        folder: with the site's pages; links to other hosts are not followed.
    """
    pages = {path: read_page(path) for path in sorted(folder.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        for address in dict.fromkeys([*page.links, *page.loads]):
            parts = urlsplit(address)
            if parts.scheme or FOREIGN.match(address):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            known = {p.resolve(): found for p, found in pages.items()}.get(target)
            lost = known and parts.fragment and unquote(parts.fragment) not in known.ids
            if not target.exists() or lost:
                broken.append(f"{path.relative_to(folder).as_posix()}: {address}")
    return broken


def foreign_loads(folder: Path) -> Iterator[str]:
    """Yield `file: address` for whatever a site would load from another host.

    Style sheets, and the scripts that stand in a page, are searched for what they load as well.
    """
    for path in sorted([*folder.rglob("*.html"), *folder.rglob("*.css")]):
        text = path.read_text("utf-8")
        found = IN_STYLE.findall(text)
        if path.suffix == ".html":
            found += IN_SCRIPT.findall(text)
            found += [address for address in read_page(path).loads if FOREIGN.match(address)]
        yield from (f"{path.relative_to(folder).as_posix()}: {address}" for address in found)
