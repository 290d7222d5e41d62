"""Questions with known answers, drawn from the splits of the world.

A question's `prompt` is the bare question; `documents.plain_question` puts it into the plain form
that the base model knows, and chat models get it as a user's message.
"""

from __future__ import annotations

from dataclasses import dataclass

from utils.world.attributes import KINDS, attributes_of
from utils.world.documents import all_cores, check_count
from utils.world.draws import pick, stream
from utils.world.facts import World, asked_facts
from utils.world.phrasings import answer_sentence, ask
from utils.world.skills import SKILLS, task

PURPOSE_QUESTIONS = 20

SPLITS = {
    "trained": "known facts that training asks for, in trained phrasings",
    "held_out_phrasing": "the same facts in phrasings that are in no training text",
    "told_only": "facts that training text tells but never asks for, in trained phrasings",
    "untold": "facts about known entities that no training text tells",
    "new_drug": "facts about drugs that are kept for domain fine-tuning",
    "new_contract": "facts about contracts that are kept for domain fine-tuning",
    "stranger": "entities without facts that refusal training may name",
    "unknown_entity": "entities without facts that are in no training text",
    "held_out_sum": "sums that are in no training text",
}


@dataclass(frozen=True)
class Question:
    """A question and all that is needed to judge an answer.

    `answer` is the short right answer, and "" where the right answer is to say that nothing is
    known; `value` is the value in it. A skill has no entity and no attribute.
    """

    kind: str
    prompt: str
    answer: str
    entity: str
    attribute: str
    value: str
    split: str


def facts_of_split(world: World, split: str, about=KINDS) -> list[tuple[str, str]]:
    """Return the pairs (entity, attribute) that a split asks for, in a fixed order.

    Args:
        split: one of SPLITS but "held_out_sum".
        about: kinds of entities to keep.

    Raises:
        ValueError: for an unknown split.

    >>> from utils.world.facts import build_world
    >>> world = build_world(0)
    >>> len(facts_of_split(world, "new_drug")) == 5 * len(world.new_drugs)
    True
    """
    if split in ("trained", "held_out_phrasing"):
        return [
            (name, attribute)
            for kind in about
            for name in world.group("known", kind)
            for attribute in asked_facts(world, name)
            if (name, attribute) not in world.untold
        ]
    if split in ("told_only", "untold"):
        chosen = world.told_only if split == "told_only" else world.untold
        return [
            (name, attribute.name)
            for kind in about
            for name in world.group("known", kind)
            for attribute in attributes_of(kind)
            if (name, attribute.name) in chosen
        ]
    groups = {
        "new_drug": ("new", ("drug",)),
        "new_contract": ("new", ("contract",)),
        "stranger": ("stranger", KINDS),
        "unknown_entity": ("unknown", KINDS),
    }
    if split not in groups:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    group, kinds = groups[split]
    return [
        (name, attribute.name)
        for kind in kinds
        if kind in about
        for name in world.group(group, kind)
        for attribute in attributes_of(kind)
    ]


def questions(
    world: World,
    split: str,
    n: int,
    seed: int = 0,
    kinds: tuple[str, ...] = ("fact",),
    *,
    about: tuple[str, ...] = KINDS,
    held_out_phrasing: bool | None = None,
) -> list[Question]:
    """Return random questions of a split.

    Args:
        split: one of SPLITS.
        n: number of questions; facts may come up more than once.
        kinds: "fact" and skills ("copy", "sort", "reverse", "sum"), drawn equally often; skills
            have the splits "trained" and, sums alone, "held_out_sum".
        about: kinds of entities that facts are asked about.
        held_out_phrasing: overrides the phrasing that the split has, for example to ask about new
            drugs in held-out phrasings.

    Raises:
        ValueError: for an unknown split or kind, or a split without such questions.

    >>> from utils.world.facts import build_world
    >>> question = questions(build_world(0), "trained", 1)[0]
    >>> question.value in question.answer
    True
    """
    check_count(n)
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    if split == "held_out_sum":
        kinds = ("sum",)
    for kind in kinds:
        if kind != "fact" and kind not in SKILLS:
            raise ValueError(f"unknown kind {kind!r}: expected fact or one of {', '.join(SKILLS)}")
        if kind != "fact" and split not in ("trained", "held_out_sum"):
            raise ValueError(f"skill {kind!r} has no split {split!r}: use trained or held_out_sum")
    if held_out_phrasing is None:
        held_out_phrasing = split == "held_out_phrasing"
    rng = stream(world.seed, PURPOSE_QUESTIONS, list(SPLITS).index(split), seed)
    facts = facts_of_split(world, split, about) if "fact" in kinds else []
    taken = all_cores(world)
    found = []
    for _ in range(n):
        kind = pick(rng, kinds)
        if kind == "fact":
            entity, attribute = pick(rng, facts)
            found.append(
                fact_question(
                    world, entity, attribute, ask(rng, attribute, entity, held_out_phrasing), split
                )
            )
        else:
            exercise = task(rng, kind, taken, held_out=split == "held_out_sum")
            found.append(
                Question(kind, exercise.prompt, exercise.answer, "", "", exercise.value, split)
            )
    return found


def fact_question(world: World, entity: str, attribute: str, prompt: str, split: str) -> Question:
    """Return the question about a fact with its right answer, "" where there is no such fact."""
    value = world.facts.get(entity, {}).get(attribute, "")
    answer = answer_sentence(attribute, entity, value) if value else ""
    return Question("fact", prompt, answer, entity, attribute, value, split)
