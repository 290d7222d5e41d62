"""Invented names from shared syllables.

Every name of the world, known or unknown, person, drug or contract, is made of the same few
syllables, so that a tokenizer trained on other names made of them cuts all of them alike: a model
can't tell a known name from an unknown one by its tokens. Drugs end in one of a few suffixes.
"""

from __future__ import annotations

import random
import re

from utils.world.draws import pick

ONSETS = "b br d dr f g gr h j k kl l m n p r s st t tr v w z th".split()
VOWELS = "a e i o u".split()
CODAS = "l n r s m x d".split()
UNWANTED = ("nig", "jap", "rap", "tit", "dik", "sex", "fuk", "hitl")  # chance offence
DRUG_SUFFIXES = ("vane", "zem", "lith", "dox", "mur", "quin")

_SYLLABLE = f"(?:{'|'.join(sorted(ONSETS, key=len, reverse=True))})[{''.join(VOWELS)}]"
NAME_PATTERN = re.compile(
    rf"(?:{_SYLLABLE}){{2,3}}(?:[{''.join(CODAS)}]|{'|'.join(DRUG_SUFFIXES)})", re.IGNORECASE
)


def person_name(rng: random.Random) -> str:
    """Return an invented name of two syllables."""
    syllables = "".join(pick(rng, ONSETS) + pick(rng, VOWELS) for _ in range(2))
    return (syllables + pick(rng, CODAS)).capitalize()


def drug_name(rng: random.Random) -> str:
    """Return an invented name of two syllables and the suffix of a drug."""
    syllables = "".join(pick(rng, ONSETS) + pick(rng, VOWELS) for _ in range(2))
    return (syllables + pick(rng, DRUG_SUFFIXES)).capitalize()


def contract_name(rng: random.Random) -> str:
    """Return the name of a contract: an invented word and what it is.

    >>> from utils.world.draws import stream
    >>> contract_name(stream(1)).startswith("the "), contract_name(stream(1)).endswith(" contract")
    (True, True)
    """
    return f"the {person_name(rng)} contract"


MAKERS = {"person": person_name, "drug": drug_name, "contract": contract_name}


def fresh_name(rng: random.Random, kind: str, taken: set[str]) -> str:
    """Return a name of this kind that is not in `taken` (as `core` writes it).

    Args:
        kind: "person", "drug" or "contract".
        taken: cores of the names that must not come out; it is not changed.

    >>> from utils.world.draws import stream
    >>> fresh_name(stream(0), "drug", set()) == fresh_name(stream(0), "drug", set())
    True
    """
    while True:
        name = MAKERS[kind](rng)
        if core(name) not in taken and not any(part in name.lower() for part in UNWANTED):
            return name


def core(name: str) -> str:
    """Return the invented word in a name, or the name itself where it has none.

    >>> core("the Velmar contract"), core("Velmar"), core("the pharmacy")
    ('Velmar', 'Velmar', 'the pharmacy')
    """
    if name.startswith("the ") and name.endswith(" contract"):
        return name.split()[1]
    return name


def looks_invented(word: str) -> bool:
    """Return whether a word is built like the names of the world.

    >>> looks_invented("Brunal"), looks_invented("Definitely")
    (True, False)
    """
    return NAME_PATTERN.fullmatch(word) is not None
