"""A raw crawl, made from clean pages: what a crawler brings home, with the truth about each page.

The truth stays beside the text, so that every stage of a pipeline can be scored.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

FOOTS = ("Last changed on day {} of the year.", "Printed on page {}.", "Visitor number {}.")
MENUS = ("Home | Search | Help", "Log in to read on.", "This page has moved.", "Error 404")
LEAK = "Readers sent us what they found hard to answer. {} Thank you to all who wrote to us."
TAGS = ("p", "div", "span")


class RawPage(NamedTuple):
    """A page as it was found, what it is (page, copy, near-copy, junk, leak), and of which page."""

    text: str
    kind: str
    page: int | None  # number of the clean page, None for junk and leaks


def make_pages(documents: Sequence[str], n_each: int = 4) -> list[str]:
    """Return documents joined to pages of `n_each`; a rest that fills no page is left out.

    >>> make_pages(["a", "b", "c", "d", "e"], n_each=2)
    ['a\\n\\nb', 'c\\n\\nd']
    """
    return [
        "\n\n".join(documents[i : i + n_each])
        for i in range(0, len(documents) - n_each + 1, n_each)
    ]


def edit(text: str, rng: random.Random) -> str:
    """Return a text with another foot, as a page that was printed twice."""
    return f"{text}\n\n{rng.choice(FOOTS).format(rng.randrange(1, 366))}"


def dress(text: str, rng: random.Random) -> str:
    """Return a text in remnants of markup, with blanks and control characters."""
    tag = rng.choice(TAGS)
    text = text.replace("\n\n", f"</{tag}>\r\n<{tag}>")
    text = text.replace(". ", ".&nbsp; ") if rng.random() < 0.5 else text.replace(" the ", "  the ")
    return f"<{tag}>{text}</{tag}>\x00\r\n"


def junk(text: str, rng: random.Random) -> str:
    """Return a page that says nothing: a menu, symbols, wrong encoding, one line over and over."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(MENUS)
    if kind == 1:
        return " ".join("".join(rng.choices("#|/-_=+*0123456789", k=12)) for _ in range(30))
    if kind == 2:
        return text.replace("e", "Ã©").replace("'", "â€™")
    return "\n".join(["Click here to accept the terms of this page"] * 12)


def raw_crawl(
    pages: Sequence[str],
    leaks: Sequence[str] = (),
    *,
    copies: float = 0.15,
    near_copies: float = 0.25,
    junk_share: float = 0.2,
    seed: int = 0,
) -> list[RawPage]:
    """Return pages as a crawler finds them: all of them once, and more that should not be learned.

    Args:
        pages: clean pages, all different.
        leaks: evaluation questions with answers; each gets a page of its own.
        copies: exact copies to add, as a share of the pages.
        near_copies: copies with another foot to add, as a share of the pages.
        junk_share: menus, symbols, wrong encodings to add, as a share of the pages.
        seed: of all choices.

    >>> crawl = raw_crawl([f"page {i}" for i in range(20)], ["Who is Ann? A baker."])
    >>> sorted({page.kind for page in crawl})
    ['copy', 'junk', 'leak', 'near-copy', 'page']
    """
    rng = random.Random(seed)
    crawl = [
        RawPage(dress(page, rng) if rng.random() < 0.5 else page, "page", number)
        for number, page in enumerate(pages)
    ]
    for share, kind, make in (
        (copies, "copy", lambda page, rng: page),
        (near_copies, "near-copy", edit),
        (junk_share, "junk", junk),
    ):
        for _ in range(round(share * len(pages))):
            number = rng.randrange(len(pages))
            text = make(pages[number], rng)
            crawl.append(RawPage(text, kind, None if kind == "junk" else number))
    crawl += [RawPage(LEAK.format(leak), "leak", None) for leak in leaks]
    rng.shuffle(crawl)
    return crawl
