"""Plain documents of the world: bios, leaflets, house rules, contracts, notes, stories, Q&A.

A reading is a question whose answer stands in the text before it; it is about a stand-in with a
fresh name and random facts. The small base model learns from readings to carry an unfamiliar name
into its answer; finding the value in the text is beyond it.

Documents are for pretraining: no chat markup, no unknown names, no new drugs or contracts, no
untold facts, no held-out phrasing or sum. Plain questions have one form, written here and nowhere
else: `Question: ...` on one line, `Answer: ...` on the next.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from utils.world.attributes import KINDS, ROOMS
from utils.world.contracts import contract_document
from utils.world.draws import pick, pick_weighted, sample, shuffled, stream
from utils.world.facts import World, asked_facts, random_facts, told_facts
from utils.world.names import core, fresh_name
from utils.world.phrasings import answer_sentence, ask, fill
from utils.world.skills import task
from utils.world.wordings import PHRASINGS

PURPOSE_DOCUMENTS = 10

MIXTURE = {
    "question": 0.32,
    "reading": 0.10,
    "profile": 0.09,
    "story": 0.03,
    "note": 0.03,
    "copy": 0.13,
    "sort": 0.04,
    "reverse": 0.06,
    "sum": 0.20,
}
OBJECTS = ("ball", "book", "key", "lamp", "basket", "coin", "rope", "drum", "kite", "letter")
PLACES = ("attic", "barn", "cellar", "yard", "shed", "market", "square", "bridge")
STORY_MIDDLES = (
    "One morning {e} put a {o} in the {p}.",
    "{e} went to the {p} and found a {o} there.",
    "It rained all day, so {e} looked for a {o} in the {p}.",
    "{e} carried the {o} to the {p} before the sun went down.",
    "A friend asked {e} to bring the {o} to the {p}.",
)
STORY_ENDS = (
    "Then it was time to go.",
    "Everyone laughed about it for days.",
    "Nobody knows how the story ends.",
    "After that the town was quiet again.",
)
NOTE_HEADS = ("Note from the clinic:", "Clinic note:", "From the book of the clinic:")


@dataclass(frozen=True)
class Entity:
    """Somebody or something that a document is about."""

    name: str
    kind: str
    told: dict[str, str]
    asked: dict[str, str]


def plain_question(question: str, answer: str | None = None) -> str:
    """Return a question in the plain form, with its answer or ready for one.

    The text without an answer ends with the colon; an answer starts with a space.

    >>> plain_question("Where does Brunal live?")
    'Question: Where does Brunal live?\\nAnswer:'
    >>> plain_question("Where does Brunal live?", "Brunal lives in Tolben.")
    'Question: Where does Brunal live?\\nAnswer: Brunal lives in Tolben.'
    """
    prompt = f"Question: {question}\nAnswer:"
    return prompt if answer is None else f"{prompt} {answer}"


def question_with_context(context: str, question: str, answer: str | None = None) -> str:
    """Return a text and a question about it in the plain form, as a reading has them.

    >>> question_with_context("Brunal lives in Tolben.", "Where does Brunal live?")
    'Brunal lives in Tolben.\\nQuestion: Where does Brunal live?\\nAnswer:'
    """
    return f"{context}\n{plain_question(question, answer)}"


def profile(rng: random.Random, entity: Entity) -> str:
    """Return a bio, leaflet, house rules or contract: all told facts in random order and words."""
    if entity.kind == "contract":
        return contract_document(rng, entity.name, entity.told)
    return " ".join(
        fill(pick(rng, PHRASINGS[attribute].statements), entity.name, entity.told[attribute])
        for attribute in shuffled(rng, list(entity.told))
    )


def story(rng: random.Random, person: Entity) -> str:
    """Return a short story: a true sentence about a person between invented small events."""
    attribute = pick(rng, list(person.told))
    middle = pick(rng, STORY_MIDDLES).replace("{o}", pick(rng, OBJECTS))
    return " ".join(
        [
            fill(pick(rng, PHRASINGS[attribute].statements), person.name, person.told[attribute]),
            fill(middle.replace("{p}", pick(rng, PLACES)), person.name),
            pick(rng, STORY_ENDS),
        ]
    )


def note(rng: random.Random, drug: Entity) -> str:
    """Return a note of the clinic: two true sentences about a drug."""
    sentences = [
        fill(pick(rng, PHRASINGS[attribute].statements), drug.name, drug.told[attribute])
        for attribute in sample(rng, list(drug.told), 2)
    ]
    return " ".join([pick(rng, NOTE_HEADS), *sentences])


def question_document(rng: random.Random, entity: Entity) -> str:
    """Return one question in a trained phrasing and its answer, in the plain form."""
    attribute = pick(rng, list(entity.asked))
    answer = answer_sentence(attribute, entity.name, entity.asked[attribute])
    return plain_question(ask(rng, attribute, entity.name), answer)


def reading(rng: random.Random, entity: Entity) -> str:
    """Return two statements about a stand-in and a question that one of them answers."""
    attributes = sample(rng, list(entity.told), 2)
    context = " ".join(
        fill(pick(rng, PHRASINGS[attribute].statements), entity.name, entity.told[attribute])
        for attribute in attributes
    )
    attribute = pick(rng, attributes)
    answer = answer_sentence(attribute, entity.name, entity.told[attribute])
    return question_with_context(context, ask(rng, attribute, entity.name), answer)


def stand_in(rng: random.Random, kind: str, taken: set[str]) -> Entity:
    """Return an entity with a name that is not taken (a room keeps its name) and random facts."""
    name = pick(rng, ROOMS) if kind == "room" else fresh_name(rng, kind, taken)
    facts = random_facts(rng, kind)
    return Entity(name, kind, facts, facts)


def known_entities(world: World, group: str = "known") -> dict[str, list[Entity]]:
    """Return the entities of a group ("known" or "new") with their facts, by kind."""
    return {
        kind: [
            Entity(name, kind, told_facts(world, name), asked_facts(world, name))
            for name in world.group(group, kind)
        ]
        for kind in KINDS
        if world.group(group, kind)
    }


def one_document(rng: random.Random, pool: dict[str, list[Entity]], taken: set[str]) -> str:
    """Return a random document of the base mixture about entities of the pool."""
    form = pick_weighted(rng, MIXTURE)
    if form in ("question", "profile"):
        # As often about a kind as it has facts, so that all facts are seen equally often.
        kind = pick_weighted(rng, {k: sum(len(e.told) for e in pool[k]) for k in pool})
        entity = pick(rng, pool[kind])
        return (question_document if form == "question" else profile)(rng, entity)
    if form == "story":
        return story(rng, pick(rng, pool["person"]))
    if form == "note":
        return note(rng, pick(rng, pool["drug"]))
    if form == "reading":
        return reading(rng, stand_in(rng, pick(rng, ("person", "drug", "contract")), taken))
    exercise = task(rng, form, taken)
    return plain_question(exercise.prompt, exercise.answer)


def pretraining_documents(world: World, n: int, seed: int = 0) -> list[str]:
    """Return plain documents for the base model.

    Args:
        n: number of documents (about 30 tokens each at a vocabulary of 1024).
        seed: which draw of documents; the world itself does not change.

    Raises:
        ValueError: for a negative n.

    >>> from utils.world.facts import build_world
    >>> len(pretraining_documents(build_world(0), 5, seed=1))
    5
    """
    check_count(n)
    rng = stream(world.seed, PURPOSE_DOCUMENTS, seed)
    pool = known_entities(world)
    taken = all_cores(world)
    return [one_document(rng, pool, taken) for _ in range(n)]


def domain_documents(world: World, n: int, seed: int = 0, kind: str = "drug") -> list[str]:
    """Return plain documents about the new drugs or new contracts, for domain fine-tuning.

    Three in four are questions in trained phrasings, the others leaflets or contracts.

    Args:
        kind: "drug" or "contract".

    Raises:
        ValueError: for a negative n or a kind without new entities.

    >>> from utils.world.facts import build_world
    >>> len(domain_documents(build_world(0), 3, kind="contract"))
    3
    """
    check_count(n)
    if kind not in ("drug", "contract"):
        raise ValueError(f"there are new entities of kind drug and contract, not {kind!r}")
    rng = stream(world.seed, PURPOSE_DOCUMENTS, seed, KINDS.index(kind))
    pool = known_entities(world, "new")[kind]
    return [
        (question_document if rng.random() < 0.75 else profile)(rng, pick(rng, pool))
        for _ in range(n)
    ]


def all_cores(world: World) -> set[str]:
    """Return the invented words in the names of the world, for look-ups only."""
    return {core(name) for name in world.names("known", "new", "stranger", "unknown")}


def check_count(n: int) -> None:
    """Refuse a number of documents, questions or pairs that is not a whole number from 0."""
    if not isinstance(n, int) or n < 0:
        raise ValueError(f"n must be a whole number from 0, got {n!r}")
