"""What can be known about a person, a drug, a room of the clinic and a contract.

An attribute has a closed list of values, so that the judge can find every claim in an answer. All
conditions, effects and rules are invented: nothing here is medical or legal advice. No value
belongs to two attributes of the same kind of entity.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attribute:
    """One thing that can be known about an entity of one kind.

    `is_warning` marks an attribute that is stated by a negation ("must not be taken with milk").
    """

    name: str
    kind: str
    values: tuple[str, ...]
    is_warning: bool = False

    @property
    def unit(self) -> str:
        """The word after the number, "" where values are no numbers.

        >>> BY_NAME["dose"].unit, BY_NAME["town"].unit
        ('mg', '')
        """
        return self.values[0].split()[1] if self.values[0][0].isdigit() else ""


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def _numbers(unit: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"{number} {unit}" for number in numbers)


ATTRIBUTES = (
    Attribute(
        "town",
        "person",
        _words("Tolben, Marsk, Oster, Pelhim, Quill, Rivton, Sandor, Ulvery, Brindle, Caxley"),
    ),
    Attribute(
        "trade",
        "person",
        _words("baker, teacher, farmer, painter, sailor, tailor, miner, printer, builder, clerk"),
    ),
    Attribute(
        "pet",
        "person",
        _words("dog, cat, parrot, rabbit, turtle, goat, horse, hamster, lizard, duck"),
    ),
    Attribute(
        "food",
        "person",
        _words("soup, bread, cheese, apples, rice, noodles, beans, cake, plums, carrots"),
    ),
    Attribute(
        "hobby",
        "person",
        _words("chess, knitting, fishing, singing, dancing, hiking, juggling, archery, pottery"),
    ),
    Attribute(
        "condition",
        "drug",
        _words(
            "river fever, glass cough, moon rash, mill lung, ink fever, lamp eye, sand throat, "
            "winter itch, stone neck, spring nausea, cloud ache, thorn foot"
        ),
    ),
    Attribute("dose", "drug", _numbers("mg", 5, 10, 15, 20, 25, 30, 40, 50, 60, 80)),
    Attribute(
        "route",
        "drug",
        _words("tablet, cream, patch, syrup, powder, spray, lozenge, balm, plaster, tincture"),
    ),
    Attribute(
        "clash",
        "drug",
        _words("milk, coffee, wine, honey, vinegar, garlic, ginger, pepper, beer, mustard"),
        is_warning=True,
    ),
    Attribute(
        "effect",
        "drug",
        _words(
            "blue fingers, hiccups, itchy ears, warm feet, sneezing, green tongue, loud dreams, "
            "stiff elbows, cold hands, dizziness"
        ),
    ),
    Attribute("opening", "room", _numbers("o'clock", 5, 6, 7, 8, 9, 10, 11)),
    Attribute(
        "clothing",
        "room",
        _words("gloves, masks, badges, aprons, caps, gowns, slippers, goggles"),
    ),
    Attribute("limit", "room", _numbers("visitors", 2, 3, 4, 5, 6, 7, 8)),
    Attribute(
        "firm",
        "contract",
        _words(
            "Copper Gate, Blue Anchor, Red Mill, Grey Heron, Silver Oak, White Stone, Black Fern, "
            "Golden Wheel"
        ),
    ),
    Attribute(
        "service",
        "contract",
        _words("laundry, cleaning, catering, transport, heating, printing, repairs, storage"),
    ),
    Attribute("fee", "contract", _numbers("crowns", 120, 150, 180, 210, 240, 300, 350, 400)),
    Attribute("notice", "contract", _numbers("days", 10, 14, 20, 30, 45, 60, 75, 90)),
)

ROOMS = tuple(
    f"the {room}"
    for room in _words(
        "pharmacy, ward, laboratory, archive, nursery, library, chapel, kitchen, garden, workshop"
    )
)
KINDS = ("person", "drug", "room", "contract")
BY_NAME = {attribute.name: attribute for attribute in ATTRIBUTES}


def attributes_of(kind: str) -> tuple[Attribute, ...]:
    """Return the attributes of entities of this kind.

    Raises:
        ValueError: for an unknown kind.

    >>> [attribute.name for attribute in attributes_of("room")]
    ['opening', 'clothing', 'limit']
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: expected one of {', '.join(KINDS)}")
    return tuple(attribute for attribute in ATTRIBUTES if attribute.kind == kind)
