"""Finds what training text must not hold: held-out names, phrasings, facts and sums.

A leak test runs `find_leaks` over every kind of training text that the world makes; learners run
it over text that they make themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from utils.world.facts import World
from utils.world.names import core
from utils.world.skills import HELD_OUT_SUMS
from utils.world.wordings import PHRASINGS

RESERVED = ("new", "stranger", "unknown")


@dataclass(frozen=True)
class Leak:
    """Something held out that was found in a document."""

    what: str  # "name", "phrasing", "fact" or "sum"
    found: str
    document: str


def find_leaks(
    world: World, documents: Iterable[str], allowed_groups: tuple[str, ...] = ()
) -> list[Leak]:
    """Return every held-out thing in training documents.

    Args:
        documents: training texts, one string each.
        allowed_groups: groups of names that may occur: "new" in domain text, "stranger" where
            refusals are trained. Unknown names may occur nowhere.

    >>> from utils.world.facts import build_world
    >>> world = build_world(0)
    >>> [leak.what for leak in find_leaks(world, [f"{world.unknown_people[0]} is late."])]
    ['name']
    """
    reserved = {
        core(name).lower()
        for group in RESERVED
        if group not in allowed_groups or group == "unknown"
        for name in world.names(group)
    }
    patterns = held_out_patterns()
    untold = [
        (core(name).lower(), world.facts[name][attribute].lower())
        for name, attribute in sorted(world.untold)
    ]
    sums = {f"{a}+{b}" for a, b in HELD_OUT_SUMS}
    leaks = []
    for document in documents:
        text = document.lower()
        words = set(re.findall(r"[^\W\d_]+", text))
        leaks += [Leak("name", name, document) for name in sorted(words & reserved)]
        normal = normalised(text)
        leaks += [Leak("phrasing", t, document) for t, p in patterns if p.search(normal)]
        for total in re.findall(r"\d+ ?\+ ?\d+", text):
            if total.replace(" ", "") in sums:
                leaks.append(Leak("sum", total, document))
        for name, value in untold:
            if name in words and value in text and in_one_sentence(text, name, value):
                leaks.append(Leak("fact", f"{name}: {value}", document))
    return leaks


def in_one_sentence(text: str, name: str, value: str) -> bool:
    """Return whether a sentence holds both, as whole words."""
    first, second = (re.compile(rf"\b{re.escape(part)}\b") for part in (name, value))
    return any(first.search(s) and second.search(s) for s in re.split(r"[.?!\n]", text))


def held_out_patterns() -> list[tuple[str, re.Pattern]]:
    """Return each held-out question with a pattern for it, whatever entity and punctuation."""
    found = []
    for phrasing in PHRASINGS.values():
        for template in phrasing.held_out:
            words = normalised(template.replace("{e}", "ENTITY").lower()).split()
            pattern = " ".join(r"(?:\w+ ){0,2}\w+" if w == "entity" else w for w in words)
            found.append((template, re.compile(rf"\b{pattern}\b")))
    return found


def normalised(text: str) -> str:
    """Return a text as small-letter words with single spaces.

    >>> normalised("Where, then,  is IT?")
    'where then is it'
    """
    return " ".join(re.findall(r"[^\W_]+", text.lower()))
