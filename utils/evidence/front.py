"""The front page, for the person who signs: what is claimed, what is open, what to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from utils.evidence.data_sheet import plain
from utils.evidence.evaluation import difference_words
from utils.evidence.facts import Facts
from utils.evidence.page import (
    Bullets,
    Name,
    Page,
    Paragraph,
    Section,
    Sentence,
    Table,
    open_points,
    sentence,
)
from utils.evidence.safety import SHOWN

ASK = {
    "text": "May we use this text? What was dropped, and who looked at what was left?",
    "base": "What had the model read before our text, and can that be traced?",
    "sft": "Who wrote the answers that it imitates, and are they true?",
    "reward": "Whose preference is learned, and on how many held-out pairs was it tried?",
    "align": "What got worse while the wanted thing got better?",
    "safety": "Does it still answer what it should? Who tried to break it?",
    "evaluate": "Would another exam, another seed or another judge say the same?",
}
PHRASES = {
    "better": "better after alignment",
    "worse": "worse after alignment",
    "perhaps better": "perhaps better after alignment, by its interval alone",
    "perhaps worse": "perhaps worse after alignment, by its interval alone",
    "no difference shown": "no difference shown by alignment",
}


def front_page(facts: Facts, pages: Sequence[Page]) -> Page:
    """Return the front page of a pack.

    Args:
        pages: all other documents.
    """
    return Page(
        "front",
        "For the signer",
        plain(
            "Who signs says: I have read this pack, I know what is open and who owes the answer, "
            "and the claims below are supported by records that were checked. Nothing more."
        ),
        (
            claims_section(facts),
            open_section(pages),
            Section(
                "What to ask at each stage",
                (
                    Table(
                        ("stage", "question"),
                        tuple((plain(name), plain(words)) for name, words in ASK.items()),
                        (16, 84),
                    ),
                ),
            ),
            limits_of_signature(),
        ),
    )


def claims_section(facts: Facts) -> Section:
    """Return the claims of the pack in short, each as sure as its numbers are."""
    bullets = [compared(facts, part, name) for part in facts.parts for name in ("right", "made up")]
    for key, label in (
        ("reduction", "the safety stage"),
        ("whole reduction", "alignment as a whole"),
    ):
        for name in ("made up", "rude"):
            bullets.append(half(facts, key, name, label))
    bullets.append(
        sentence(
            "All stages together took about {wh} Wh.",
            wh=facts.range("report", "metrics", "sum", "energy_wh", decimals=2),
        )
    )
    return Section("What is claimed", (Bullets(tuple(bullets)),))


def compared(facts: Facts, part: str, name: str) -> Sentence:
    """Return a metric of the final model, and what is shown of the change by alignment."""
    found = facts.find("report", "metrics", "difference", part, name)
    assert isinstance(found, Mapping)
    words = difference_words(found, name, float(facts.num("report", "metrics", "alpha").number))
    return sentence(
        "{name}, part {part}: {value} of answers, {words}.",
        name=name.capitalize(),
        part=part,
        value=facts.range("evaluate", "metrics", f"{part}: {name}, safety"),
        words=PHRASES[words],
    )


def half(facts: Facts, key: str, name: str, label: str) -> Sentence:
    """Return whether half as many are left, with the reduction where there is one."""
    found = facts.find("report", "metrics", key, name)
    assert isinstance(found, Mapping)
    verdict = SHOWN[found["shown"]].partition(":")[0].lower()
    told = f"Half as many {name} answers by {label}: {verdict}"
    if "value" not in found:
        return plain(f"{told}.")
    return sentence(
        "{told}, relative reduction {value}.",
        told=told,
        value=facts.range("report", "metrics", key, name),
    )


def open_section(pages: Sequence[Page]) -> Section:
    """Return all open points with their owners."""
    rows = tuple(
        ((Name(point.open),), point.what, plain(point.owner)) for point in open_points(pages)
    )
    told = plain(
        "Signing accepts that these are open. Each has an owner by role; write the person's name "
        "beside it."
    )
    return Section(
        "What is open", (Paragraph(told), Table(("id", "question", "owner"), rows, (18, 60, 22)))
    )


def limits_of_signature() -> Section:
    """Return what a signature of this pack is not."""
    return Section(
        "What the signature is",
        (
            Bullets(
                (
                    plain(
                        "A record with name, role, time and the hashes of all files of the pack. A "
                        "later change of one of them makes the check say that it no longer holds."
                    ),
                    plain(
                        "It is no cryptographic signature: who can write into the folder can write "
                        "another. Where that matters, sign the file of the signature with your own "
                        "key."
                    ),
                    plain(
                        "The tools check that the pack says what the records say. Whether the "
                        "records tell the truth about the world is for people to judge."
                    ),
                )
            ),
        ),
    )
