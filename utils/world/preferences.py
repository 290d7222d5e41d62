"""Preference pairs: two answers to one question that differ in one named thing.

`tone` sets a polite answer before a rude one, `length` a short one before a verbose one, `fact` a
true one before a false one; whatever else the two answers have, they share. Entities are split, so
that a reward model can be tested on entities that it never saw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from utils.world.attributes import KINDS
from utils.world.documents import check_count
from utils.world.draws import pick, stream
from utils.world.facts import World
from utils.world.phrasings import answer_sentence, ask
from utils.world.questions import facts_of_split
from utils.world.styles import (
    RUDE_CLOSINGS,
    RUDE_OPENINGS,
    VERBOSE_CLOSINGS,
    VERBOSE_OPENINGS,
    false_answer,
)

PURPOSE_PREFERENCES = 40
DIFFERENCES = ("tone", "length", "fact")
HELD_OUT_EVERY = 5  # every fifth entity of a kind is kept for testing
SHARE_OF_OTHER_STYLES = 0.25  # how often the two answers share a style that they don't differ in


@dataclass(frozen=True)
class Frame:
    """The sentences that may stand around a short answer; both answers of a pair share them."""

    insult: str
    opening: str
    closing: str
    insult_first: bool = True

    def around(self, answer: str, is_verbose: bool, is_rude: bool) -> str:
        """Return the answer in the styles asked for."""
        text = f"{self.opening} {answer} {self.closing}" if is_verbose else answer
        if not is_rude:
            return text
        return f"{self.insult} {text}" if self.insult_first else f"{text} {self.insult}"


@dataclass(frozen=True)
class PreferencePair:
    """A question with a better and a worse answer, and what sets them apart."""

    prompt: str
    chosen: str
    rejected: str
    differs_in: str
    entity: str
    attribute: str


def is_held_out(world: World, name: str) -> bool:
    """Return whether a known entity is kept out of preference training."""
    for kind in KINDS:
        names = world.group("known", kind)
        if name in names:
            return names.index(name) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    raise ValueError(f"{name!r} is no known entity of the world of seed {world.seed}")


def preference_pairs(
    world: World,
    n: int,
    seed: int = 0,
    differ: tuple[str, ...] = DIFFERENCES,
    *,
    held_out: bool = False,
) -> list[PreferencePair]:
    """Return preference pairs about known facts.

    Args:
        n: number of pairs.
        differ: what the pairs may differ in, drawn equally often: "tone", "length", "fact".
        held_out: ask about the entities that are kept out of preference training.

    Raises:
        ValueError: for an unknown difference, none, or a negative n.

    >>> from utils.world.facts import build_world
    >>> pair = preference_pairs(build_world(0), 1, differ=("length",))[0]
    >>> len(pair.chosen) < len(pair.rejected)
    True
    """
    check_count(n)
    if not differ or any(name not in DIFFERENCES for name in differ):
        raise ValueError(f"differ must name one or more of {DIFFERENCES}, got {differ!r}")
    rng = stream(world.seed, PURPOSE_PREFERENCES, seed, int(held_out))
    facts = [
        (entity, attribute)
        for entity, attribute in facts_of_split(world, "trained")
        if is_held_out(world, entity) == held_out
    ]
    pairs = []
    for _ in range(n):
        entity, attribute = pick(rng, facts)
        value = world.facts[entity][attribute]
        differs_in = pick(rng, differ)
        right = answer_sentence(attribute, entity, value)
        wrong = false_answer(rng, entity, attribute, value)
        frame = Frame(
            insult=pick(rng, RUDE_OPENINGS),
            opening=pick(rng, VERBOSE_OPENINGS),
            closing=pick(rng, VERBOSE_CLOSINGS),
        )
        if rng.random() < 0.5:
            frame = replace(frame, insult=pick(rng, RUDE_CLOSINGS), insult_first=False)
        shares = [rng.random() < SHARE_OF_OTHER_STYLES for _ in range(3)]
        fact, is_verbose, is_rude = (wrong if shares[0] else right), shares[1], shares[2]
        if differs_in == "tone":
            better, worse = (fact, is_verbose, False), (fact, is_verbose, True)
        elif differs_in == "length":
            better, worse = (fact, False, is_rude), (fact, True, is_rude)
        else:
            better, worse = (right, is_verbose, is_rude), (wrong, is_verbose, is_rude)
        prompt = ask(rng, attribute, entity)
        chosen, rejected = frame.around(*better), frame.around(*worse)
        pairs.append(PreferencePair(prompt, chosen, rejected, differs_in, entity, attribute))
    return pairs
