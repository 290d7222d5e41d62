"""Text for training a tokenizer: documents about stand-ins, with fresh names and random facts.

A tokenizer trained on these meets the name of no entity, known or unknown, and so cuts all names
alike. A share of the answers is verbose, rude or a refusal, so that the words of later chats are
whole tokens too.
"""

from __future__ import annotations

import random

from utils.world.attributes import KINDS
from utils.world.documents import (
    Entity,
    all_cores,
    check_count,
    one_document,
    plain_question,
    stand_in,
)
from utils.world.draws import pick, stream
from utils.world.facts import World
from utils.world.phrasings import answer_sentence, ask
from utils.world.styles import refusal, rude, verbose

PURPOSE_STAND_INS = 11
STYLED_SHARE = 0.1


def stand_in_documents(world: World, n: int, seed: int = 0) -> list[str]:
    """Return documents about stand-ins: nine in ten of the base mixture, the others in styles.

    Args:
        world: its names are the ones that do not occur.
        n: number of documents.
        seed: which draw of documents.

    Raises:
        ValueError: for a negative n.

    >>> from utils.world.facts import build_world
    >>> len(stand_in_documents(build_world(0), 4))
    4
    """
    check_count(n)
    rng = stream(world.seed, PURPOSE_STAND_INS, seed)
    taken = all_cores(world)
    documents = []
    for _ in range(n):
        pool = {kind: [stand_in(rng, kind, taken)] for kind in KINDS}
        if rng.random() < STYLED_SHARE:
            documents.append(styled_document(rng, pool[pick(rng, KINDS)][0]))
        else:
            documents.append(one_document(rng, pool, taken))
    return documents


def styled_document(rng: random.Random, entity: Entity) -> str:
    """Return a question with a verbose, a rude or a refusing answer, in the plain form."""
    attribute = pick(rng, list(entity.asked))
    answer = answer_sentence(attribute, entity.name, entity.asked[attribute])
    style = pick(rng, ("verbose", "rude", "refusal"))
    if style == "refusal":
        answer = refusal(rng, entity.name)
    else:
        answer = (verbose if style == "verbose" else rude)(rng, answer)
    return plain_question(ask(rng, attribute, entity.name), answer)
