"""The world: who and what there is, and every fact about them, from one seed.

Groups of entities: *known* ones are in the base model's training text; *new* ones are kept for
domain fine-tuning; *strangers* have no facts and may be named where a model is taught to say that
it does not know; *unknown* ones have no facts and are in no training text at all.
Groups of facts of the known: *asked* (told in documents and asked in questions), *told only*
(never asked in training) and *untold* (true, but in no training text).
"""

from __future__ import annotations

from dataclasses import dataclass

from utils.world.attributes import KINDS, ROOMS, attributes_of
from utils.world.draws import pick, stream
from utils.world.names import core, fresh_name

PURPOSE_NAMES, PURPOSE_FACTS, PURPOSE_GROUPS = 1, 2, 3

N_PEOPLE, N_DRUGS, N_CONTRACTS = 40, 24, 12
N_NEW_DRUGS, N_NEW_CONTRACTS = 48, 24
N_UNKNOWN, N_STRANGERS = 100, 100  # of each kind but rooms
SHARE_TOLD_ONLY, SHARE_UNTOLD = 0.10, 0.05  # of the facts about known people and drugs


@dataclass(frozen=True)
class World:
    """A town with a clinic: names by group, and facts as entity -> attribute -> value."""

    seed: int
    people: tuple[str, ...]
    drugs: tuple[str, ...]
    rooms: tuple[str, ...]
    contracts: tuple[str, ...]
    new_drugs: tuple[str, ...]
    new_contracts: tuple[str, ...]
    unknown_people: tuple[str, ...]
    unknown_drugs: tuple[str, ...]
    unknown_contracts: tuple[str, ...]
    stranger_people: tuple[str, ...]
    stranger_drugs: tuple[str, ...]
    stranger_contracts: tuple[str, ...]
    facts: dict[str, dict[str, str]]
    told_only: frozenset[tuple[str, str]]
    untold: frozenset[tuple[str, str]]

    def group(self, name: str, kind: str) -> tuple[str, ...]:
        """Return the names of one kind in a group: "known", "new", "stranger" or "unknown".

        >>> len(build_world(0).group("known", "drug"))
        24
        """
        plural = {"person": "people", "drug": "drugs", "room": "rooms", "contract": "contracts"}
        if kind not in KINDS or name not in ("known", "new", "stranger", "unknown"):
            raise ValueError(
                f"no group {name!r} of kind {kind!r}: groups are known, new, stranger, unknown; "
                f"kinds are {', '.join(KINDS)}"
            )
        field = plural[kind] if name == "known" else f"{name}_{plural[kind]}"
        return getattr(self, field, ())

    def names(self, *groups: str) -> list[str]:
        """Return the names of all kinds in these groups, in a fixed order."""
        return [name for group in groups for kind in KINDS for name in self.group(group, kind)]


def build_world(seed: int = 0) -> World:
    """Return the world of a seed; the same seed gives the same world everywhere.

    Args:
        seed: a whole number from 0.

    >>> world = build_world(0)
    >>> len(world.people), len(world.new_drugs), world == build_world(0)
    (40, 48, True)
    """
    rng = stream(seed, PURPOSE_NAMES)
    taken: set[str] = set()
    starts: set[str] = set()  # names with facts differ within their first four letters

    def names(kind: str, n: int, with_facts: bool) -> tuple[str, ...]:
        found: list[str] = []
        while len(found) < n:
            name = fresh_name(rng, kind, taken)
            if with_facts and core(name)[:4] in starts:
                continue
            taken.add(core(name))
            if with_facts:
                starts.add(core(name)[:4])
            found.append(name)
        return tuple(found)

    groups = {
        "people": names("person", N_PEOPLE, True),
        "drugs": names("drug", N_DRUGS, True),
        "rooms": ROOMS,
        "contracts": names("contract", N_CONTRACTS, True),
        "new_drugs": names("drug", N_NEW_DRUGS, True),
        "new_contracts": names("contract", N_NEW_CONTRACTS, True),
    }
    for group, n in (("unknown", N_UNKNOWN), ("stranger", N_STRANGERS)):
        groups[f"{group}_people"] = names("person", n, False)
        groups[f"{group}_drugs"] = names("drug", n, False)
        groups[f"{group}_contracts"] = names("contract", n, False)

    rng = stream(seed, PURPOSE_FACTS)
    facts = {}
    for group, kind in (
        ("people", "person"),
        ("drugs", "drug"),
        ("rooms", "room"),
        ("contracts", "contract"),
        ("new_drugs", "drug"),
        ("new_contracts", "contract"),
    ):
        for name in groups[group]:
            facts[name] = random_facts(rng, kind)

    rng = stream(seed, PURPOSE_GROUPS)
    told_only, untold = [], []
    for name in groups["people"] + groups["drugs"]:
        for attribute in facts[name]:
            draw = rng.random()
            if draw < SHARE_TOLD_ONLY:
                told_only.append((name, attribute))
            elif draw < SHARE_TOLD_ONLY + SHARE_UNTOLD:
                untold.append((name, attribute))
    return World(
        seed=seed, facts=facts, told_only=frozenset(told_only), untold=frozenset(untold), **groups
    )


def random_facts(rng, kind: str) -> dict[str, str]:
    """Return a random value for every attribute of a kind of entity."""
    return {attribute.name: pick(rng, attribute.values) for attribute in attributes_of(kind)}


def told_facts(world: World, name: str) -> dict[str, str]:
    """Return the facts about an entity that training text may tell.

    >>> world = build_world(0)
    >>> any(attribute in told_facts(world, name) for name, attribute in world.untold)
    False
    """
    facts = world.facts.get(name, {})
    return {
        attribute: value
        for attribute, value in facts.items()
        if (name, attribute) not in world.untold
    }


def asked_facts(world: World, name: str) -> dict[str, str]:
    """Return the facts about an entity that training questions may ask for."""
    told = told_facts(world, name)
    return {
        attribute: value
        for attribute, value in told.items()
        if (name, attribute) not in world.told_only
    }


def kind_of(world: World, name: str) -> str:
    """Return the kind of an entity of the world.

    Raises:
        ValueError: for a name that is not of this world.
    """
    for group in ("known", "new", "stranger", "unknown"):
        for kind in KINDS:
            if name in world.group(group, kind):
                return kind
    raise ValueError(f"{name!r} is no entity of the world of seed {world.seed}")
