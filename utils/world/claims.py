"""Finds what an answer claims: about whom, which values it affirms, which it denies.

The text is read sentence by sentence and clause by clause; values come from closed lists, names
from the world or by their looks. Left out: numbers in words, pronouns across sentences, irony.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from utils.world.attributes import ATTRIBUTES, BY_NAME, Attribute, attributes_of
from utils.world.facts import World
from utils.world.names import core, looks_invented
from utils.world.questions import Question
from utils.world.styles import (
    REFUSALS,
    RUDE_CLOSINGS,
    RUDE_OPENINGS,
    VERBOSE_CLOSINGS,
    VERBOSE_OPENINGS,
)
from utils.world.wordings import PHRASINGS

REFUSAL = re.compile(
    r"\b(?:(?:do|does|did|can|could) ?n[o']t (?:know|say|tell)|cannot (?:know|say|tell)"
    r"|(?:do|can)n't (?:know|say|tell)|can't (?:know|say|tell)"
    r"|no (?:information|record|idea|knowledge)|not (?:know|known|sure)|never heard of"
    r"|(?:is|are) unknown)\b"
)
# Sentences of the world that hold a negation and affirm all the same.
AFFIRMING = re.compile(r"\bno meal is better\b|\bno more than\b|\bnobody may enter\b|\bno doubt\b")
NEGATION = re.compile(r"\b(?:not|no|never|nor|neither|without|nobody|none|cannot)\b|n't\b")
PERMISSION = re.compile(r"\b(?:safe|fine|allowed|harmless|can|may|could)\b")
WARNING = re.compile(r"\b(?:avoid|clash|clashes|unsafe|dangerous|harmful)\b")
CLAUSE_END = re.compile(r",|;|:|\bbut\b|\binstead\b")
SENTENCE_END = re.compile(r"[!\n]|\.(?!\d)")
ASKING = re.compile(r"[^.!?\n]*\?")  # a question claims nothing
# Units that a wrong answer may use; a number before any other word is a bare number.
OTHER_UNITS = frozenset(
    "g gram grams kg ml l mcg drop drops percent euro euros dollar dollars pound pounds cent cents "
    "hour hours week weeks month months year years minute minutes am pm people guests".split()
)
NUMBER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*([^\W\d_]+(?:'[^\W\d_]+)?)?")


@dataclass
class Claims:
    """The values of one attribute that a sentence affirms and denies about somebody."""

    affirmed: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)


def is_false(world: World, entity: str, attribute: str, claim: Claims) -> bool:
    """Return whether a claim contradicts the facts, or is about an entity that has none."""
    truth = world.facts.get(entity, {}).get(attribute)
    if truth is None:
        return bool(claim.affirmed)
    return bool(claim.affirmed - {truth}) or truth in claim.denied


def find_claims(world: World, question: Question, text: str) -> dict[tuple[str, str], Claims]:
    """Return what an answer claims, as (entity, attribute) -> values affirmed and denied.

    A sentence without a name is about the entity asked about; one with other names only is about
    the first of them.
    """
    kind = BY_NAME[question.attribute].kind
    found: dict[tuple[str, str], Claims] = {}
    for sentence in SENTENCE_END.split(ASKING.sub(" ", text)):
        names = names_in(world, sentence, kind)
        entity = question.entity if not names or question.entity in names else names[0]
        for clause in CLAUSE_END.split(plain(sentence)):
            for attribute in attributes_of(kind):
                for value, position in values_in(clause, attribute, question.attribute):
                    if REFUSAL.search(clause[:position]):  # "I do not know whether ... Tolben"
                        continue
                    claim = found.setdefault((entity, attribute.name), Claims())
                    is_denied = denies(clause, position, attribute)
                    (claim.denied if is_denied else claim.affirmed).add(value)
    return found


def denies(clause: str, position: int, attribute: Attribute) -> bool:
    """Return whether a clause denies the value that stands at this position.

    A warning ("must not be taken with milk") is denied by a permission without a negation.
    """
    if attribute.is_warning:
        warns = NEGATION.search(clause) or WARNING.search(clause)
        return bool(PERMISSION.search(clause)) and not warns
    return bool(NEGATION.search(AFFIRMING.sub(lambda m: " " * len(m[0]), clause[:position])))


def values_in(clause: str, attribute: Attribute, asked: str) -> list[tuple[str, int]]:
    """Return the values of an attribute in a clause, each with its position.

    A number counts for the attribute whose unit follows it. A number with a unit of no attribute
    counts for the attribute asked about: "20 g" is a wrong dose. A bare number counts only where no
    value has this number, so that "20" for "20 mg" is neither right nor made up.
    """
    if not attribute.unit:
        return [
            (value, match.start())
            for value in attribute.values
            for match in value_pattern(value).finditer(clause)
        ]
    units = {other.unit for other in attributes_of(attribute.kind) if other.unit}
    found = []
    for match in NUMBER.finditer(clause):
        number, unit = match[1], singular_or_plural(match[2] or "", units)
        if unit in units:
            if unit == attribute.unit:
                found.append((f"{number} {unit}", match.start()))
        elif attribute.name == asked:
            bare = f"{number} {attribute.unit}"
            is_bare = match[2] is None or match[2] not in OTHER_UNITS
            if not (is_bare and bare in attribute.values):
                found.append((match[0].strip(), match.start()))
    return found


def singular_or_plural(unit: str, units: set[str]) -> str:
    """Return the unit of the world that a word stands for, or the word itself.

    >>> singular_or_plural("day", {"days"}), singular_or_plural("g", {"mg"})
    ('days', 'g')
    """
    return f"{unit}s" if f"{unit}s" in units else unit


def names_in(world: World, sentence: str, kind: str) -> list[str]:
    """Return the entities that a sentence names, in its order, known to the world or not.

    Counted are the world's names of this kind of entity and capitalised words that are built like
    invented names and are no words of the world's own sentences.
    """
    if kind == "room":
        lowered = sentence.lower()
        found = [(lowered.find(room), room) for room in world.rooms if has(lowered, room)]
        return [room for _, room in sorted(found)]
    by_core = names_by_core(world)
    names = []
    for word in re.findall(r"[^\W\d_]+", sentence):
        if word.lower() in by_core:
            names.append(by_core[word.lower()])
        elif word[0].isupper() and word.lower() not in ordinary_words() and looks_invented(word):
            names.append(word)
    return names


def has(text: str, phrase: str) -> bool:
    """Return whether a phrase stands in a text as whole words."""
    return re.search(rf"\b{re.escape(phrase)}\b", text) is not None


def names_by_core(world: World) -> dict[str, str]:
    """Return the names of the world by their invented word in small letters."""
    names = world.names("known", "new", "stranger", "unknown")
    return _names_by_core(tuple(name for name in names if name not in world.rooms))


@lru_cache(maxsize=8)
def _names_by_core(names: tuple[str, ...]) -> dict[str, str]:
    return {core(name).lower(): name for name in names}


@lru_cache(maxsize=1)
def ordinary_words() -> frozenset[str]:
    """Return words that are no names: those of the world's sentences and a few common ones."""
    texts = [value for attribute in ATTRIBUTES for value in attribute.values]
    texts += [*VERBOSE_OPENINGS, *VERBOSE_CLOSINGS, *RUDE_OPENINGS, *RUDE_CLOSINGS, *REFUSALS]
    texts += ["However besides later here there these those never ever maybe therefore whatever"]
    for phrasing in PHRASINGS.values():
        texts += phrasing.statements + phrasing.questions + phrasing.held_out
    text = " ".join(texts).replace("{e}", " ").replace("{v}", " ")
    return frozenset(re.findall(r"[a-z]+", text.lower()))


@lru_cache(maxsize=512)
def value_pattern(value: str) -> re.Pattern:
    """Return the pattern that finds a value, in the singular or plural, in small letters."""
    return re.compile(rf"\b{re.escape(value.lower())}(?:s|es)?\b")


def plain(text: str) -> str:
    """Return a text in small letters with straight apostrophes."""
    return text.lower().replace("\u2019", "'")
