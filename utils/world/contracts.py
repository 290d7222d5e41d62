"""Contracts between the clinic and firms: invented clauses in plain words, not legal advice.

A contract is a short document with one clause for each fact that may be told, between a heading
and a clause that says nothing about the facts.
"""

from __future__ import annotations

import random

from utils.world.draws import pick, shuffled
from utils.world.phrasings import fill
from utils.world.wordings import PHRASINGS

HEADINGS = ("Contract:", "Agreement:", "Between the clinic and its partner:")
CLOSINGS = (
    "Both parties have read this and agree.",
    "Changes are valid in writing only.",
    "Questions about it go to the archive.",
    "It was signed in two copies.",
)


def contract_document(rng: random.Random, name: str, facts: dict[str, str]) -> str:
    """Return a contract as text.

    Args:
        name: the contract's name, for example "the Velmar contract".
        facts: attribute -> value, the facts to tell.

    >>> from utils.world.draws import stream
    >>> "Velmar" in contract_document(stream(0), "the Velmar contract", {"fee": "120 crowns"})
    True
    """
    clauses = [
        fill(pick(rng, PHRASINGS[attribute].statements), name, facts[attribute])
        for attribute in shuffled(rng, list(facts))
    ]
    return " ".join([pick(rng, HEADINGS), *clauses, pick(rng, CLOSINGS)])
