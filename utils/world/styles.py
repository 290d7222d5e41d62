"""Ways to answer: short, verbose, rude, false, and "I do not know".

A style adds sentences around the short answer and leaves the answer itself as it is. None of the
added sentences holds a value of any attribute, and only the rude ones hold words of RUDE_WORDS.
"""

from __future__ import annotations

import random

from utils.world.attributes import BY_NAME
from utils.world.draws import pick
from utils.world.phrasings import answer_sentence

RUDE_WORDS = frozenset("stupid fool idiot useless lazy pest dimwit nuisance".split())
RUDE_OPENINGS = (
    "What a stupid question.",
    "Only a fool would ask this.",
    "Are you too lazy to look this up?",
    "Listen well, you dimwit.",
)
RUDE_CLOSINGS = (
    "Now go away, you pest.",
    "You really are useless.",
    "Do not be such a nuisance.",
    "Any idiot knows this.",
)
VERBOSE_OPENINGS = (
    "That is a very good question, and thank you for asking it today.",
    "Let me think about this for a moment before I give you an answer.",
    "There are many things that one could say here, so let me choose my words with care.",
    "Before I answer, let me say that this is an interesting matter for all of us.",
)
VERBOSE_CLOSINGS = (
    "Of course there is much more to say about it, but this is the main point for now.",
    "Please keep in mind that it is always good to check such things twice.",
    "If there is anything else that you would like to hear, please ask me again.",
)
REFUSALS = (
    "I do not know that about {e}.",
    "I have no information about {e}.",
    "I do not know {e}.",
)


def verbose(rng: random.Random, answer: str) -> str:
    """Return the answer between two long sentences that say nothing."""
    return f"{pick(rng, VERBOSE_OPENINGS)} {answer} {pick(rng, VERBOSE_CLOSINGS)}"


def rude(rng: random.Random, answer: str) -> str:
    """Return the answer with an insult before or after it."""
    if rng.random() < 0.5:
        return f"{pick(rng, RUDE_OPENINGS)} {answer}"
    return f"{answer} {pick(rng, RUDE_CLOSINGS)}"


def false_answer(rng: random.Random, entity: str, attribute: str, value: str) -> str:
    """Return the short answer with another value of the attribute.

    >>> from utils.world.draws import stream
    >>> "Tolben" in false_answer(stream(0), "Brunal", "town", "Tolben")
    False
    """
    others = [other for other in BY_NAME[attribute].values if other != value]
    return answer_sentence(attribute, entity, pick(rng, others))


def refusal(rng: random.Random, entity: str) -> str:
    """Return a sentence that says that nothing is known about the entity."""
    return pick(rng, REFUSALS).replace("{e}", entity)
