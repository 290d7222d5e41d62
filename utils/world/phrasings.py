"""Fills the wordings: statements and answers about an entity, questions in random phrasings.

A trained question is a whole question or a phrase in a frame ("Tell me " + "the home town of
{e}"); a held-out question is a whole sentence of its own.
"""

from __future__ import annotations

import random

from utils.world.draws import pick
from utils.world.wordings import PHRASINGS

NOUN_FRAMES = (
    "What is {x}?",
    "Tell me {x}.",
    "Please name {x}.",
    "Can you tell me {x}?",
    "Do you know {x}?",
    "I would like to know {x}.",
    "I need to know {x}.",
    "Who can tell me {x}?",
    "Let me know {x}.",
    "Give me {x}.",
)
CLAUSE_FRAMES = (
    "Tell me {x}.",
    "Can you say {x}?",
    "Do you know {x}?",
    "I would like to know {x}.",
    "Please say {x}.",
    "Could you find out {x}?",
    "I need to know {x}.",
    "Who can tell me {x}?",
    "Let me know {x}.",
    "I forgot {x}.",
)


def fill(template: str, entity: str, value: str = "") -> str:
    """Return the sentence with the names filled in and a capital at its start.

    >>> fill("{e} opens at {v}.", "the ward", "8 o'clock")
    "The ward opens at 8 o'clock."
    """
    sentence = template.replace("{e}", entity).replace("{v}", value)
    return sentence[0].upper() + sentence[1:]


def answer_sentence(attribute: str, entity: str, value: str) -> str:
    """Return the short form of the answer, which every right answer of the course has.

    >>> answer_sentence("town", "Brunal", "Tolben")
    'Brunal lives in Tolben.'
    """
    return fill(PHRASINGS[attribute].statements[0], entity, value)


def question_templates(attribute: str, held_out: bool = False) -> list[str]:
    """Return all trained, or all held-out, question templates of an attribute.

    >>> len(question_templates("town")), len(question_templates("town", held_out=True))
    (66, 4)
    """
    phrasing = PHRASINGS[attribute]
    if held_out:
        return list(phrasing.held_out)
    return (
        list(phrasing.questions)
        + [frame.replace("{x}", noun) for frame in NOUN_FRAMES for noun in phrasing.nouns]
        + [frame.replace("{x}", clause) for frame in CLAUSE_FRAMES for clause in phrasing.clauses]
    )


def ask(rng: random.Random, attribute: str, entity: str, held_out: bool = False) -> str:
    """Return a question about an entity in a random trained, or held-out, phrasing.

    A trained question is a whole question as often as a phrase in one of the two sets of frames.
    """
    phrasing = PHRASINGS[attribute]
    if held_out:
        template = pick(rng, phrasing.held_out)
    else:
        source = pick(rng, ("questions", "nouns", "clauses"))
        template = pick(rng, getattr(phrasing, source))
        if source == "nouns":
            template = pick(rng, NOUN_FRAMES).replace("{x}", template)
        elif source == "clauses":
            template = pick(rng, CLAUSE_FRAMES).replace("{x}", template)
    return fill(template, entity)
