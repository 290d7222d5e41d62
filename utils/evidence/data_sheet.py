"""The data sheet: what the model has read, where it is from, and what was done to it.

Sections and questions follow Gebru et al. 2018, "Datasheets for Datasets", in words of our own.
"""

from __future__ import annotations

from utils.evidence.facts import Facts
from utils.evidence.page import (
    Bullets,
    Name,
    Open,
    Page,
    Paragraph,
    Section,
    Sentence,
    Table,
    sentence,
)

MOST_FILES = 30  # raw files that are listed; the lineage holds all
SECTIONS = (
    "Motivation",
    "Composition",
    "Collection",
    "Cleaning and labelling",
    "Uses",
    "Distribution",
    "Maintenance",
)
LISTED_ELSEWHERE = ("texts that", "leaks of")


def plain(words: str) -> Sentence:
    """Return a sentence without a number."""
    return (words,)


def label(name: str) -> Sentence:
    """Return a name that stands in a record: as words, unless it holds a digit."""
    return (Name(name),) if any(c.isdigit() for c in name) else (name,)


def data_sheet(facts: Facts) -> Page:
    """Return the data sheet of a project."""
    blocks = {
        "Motivation": motivation(facts),
        "Composition": composition(facts),
        "Collection": collection(facts),
        "Cleaning and labelling": cleaning(facts),
        "Uses": uses(facts),
        "Distribution": distribution(facts),
        "Maintenance": maintenance(facts),
    }
    return Page(
        "data_sheet",
        "Data sheet",
        sentence(
            "What the model has read, where it comes from and what was done to it; in the order of "
            "Gebru et al. {year}, Datasheets for Datasets.",
            year=Name("2018"),
        ),
        tuple(Section(title, tuple(blocks[title])) for title in SECTIONS),
    )


def motivation(facts: Facts) -> list:
    """Return why the data is there."""
    told = sentence(
        "The raw text of the folder {domain} was put together so that a small model learns to "
        "answer questions about its subject. Text of the course's invented world is read beside "
        "it, so that the model doesn't forget what it knew.",
        domain=facts.entry("text", "params", "domain"),
    )
    if facts.is_shipped:
        return [
            Paragraph(told),
            Paragraph(
                plain(
                    "The course made the raw text from a seed, for teaching. It stands for "
                    "nothing outside the classroom."
                )
            ),
        ]
    return [
        Paragraph(told),
        Open(
            "data-purpose",
            plain("For which purpose was the raw text made, by whom, and who paid for it?"),
            "data steward",
        ),
    ]


def composition(facts: Facts) -> list:
    """Return what the data holds, by the counts of the text stage."""
    metrics = facts.records["text"]["metrics"]
    rows = [
        (label(name), (facts.num("text", "metrics", name),))
        for name in metrics
        if " dropped" not in name and not any(words in name for words in LISTED_ELSEWHERE)
    ]
    exam = [
        (
            plain(f"questions of the exam, part {part}"),
            (facts.num("report", "metrics", "asked", part),),
        )
        for part in facts.parts
    ]
    blocks: list = [Table(("what", "how many"), (*rows, *exam), (70, 30))]
    if facts.is_shipped:
        people = (
            "No person is described: names, drugs, doses and contracts are invented. There are no "
            "confidential entries and no groups of people."
        )
        return [*blocks, Paragraph(plain(people))]
    return [
        *blocks,
        Open(
            "data-people",
            plain(
                "Does the raw text hold personal, confidential or offensive entries, and which "
                "groups of people does it speak of? No tool of this pack has looked for them."
            ),
            "data steward",
        ),
    ]


def collection(facts: Facts) -> list:
    """Return where the raw text is from, file by file."""
    inputs = facts.records["text"]["inputs"]
    rows = tuple(
        ((Name(path),), (facts.entry("text", "inputs", path),))
        for path in list(inputs)[:MOST_FILES]
    )
    blocks: list = [
        Paragraph(
            sentence(
                "The text stage read {n} files; each is known by its {sha}.",
                n=facts.num("report", "metrics", "raw files"),
                sha=Name("SHA-256"),
            )
        ),
        Table(("file", "hash"), rows, (30, 70)),
    ]
    if len(inputs) > MOST_FILES:
        blocks.append(
            Paragraph(
                plain("The first of them are listed; the record of the text stage holds them all.")
            )
        )
    if facts.is_shipped:
        made = "Nothing was collected: course capstone init draws every row from templates."
        return [*blocks, Paragraph(plain(made))]
    asked = "How was the raw text collected, over which time, and did those concerned consent?"
    return [*blocks, Open("data-collection", plain(asked), "data steward")]


def cleaning(facts: Facts) -> list:
    """Return what was dropped, held out and searched for."""
    metrics = facts.records["text"]["metrics"]
    dropped = [name for name in metrics if " dropped" in name]
    searched = [name for name in metrics if any(words in name for words in LISTED_ELSEWHERE)]
    blocks: list = [
        Paragraph(
            plain(
                "Text is brought into one form, near-copies and rows that are no text are dropped, "
                "and so is what shares a run of eight words with a question of the exam."
            )
        )
    ]
    if dropped:
        rows = tuple((label(name), (facts.num("text", "metrics", name),)) for name in dropped)
        blocks.append(Table(("dropped", "how many"), rows, (70, 30)))
    else:
        blocks.append(Paragraph(plain("Nothing was dropped.")))
    derived = [
        "safety pairs: texts that hold a whole question of the exam",
        "safety pairs: texts that share eight words in a row with one",
    ]
    rows = tuple(
        (label(name), (facts.num(record, "metrics", name),))
        for record, names in (("text", searched), ("report", derived))
        for name in names
    )
    return [
        *blocks,
        Paragraph(
            plain(
                "After that, everything that is learned from was searched once more, the general "
                "text of the world too. A shared run of eight words without the whole question is "
                "a wording that the exam asks of somebody else. Paraphrases are not found by this "
                "search."
            )
        ),
        Table(("found in what is learned from", "how many"), rows, (70, 30)),
        Paragraph(
            sentence(
                "Documents held out from training: {n}. They measure the loss on text of the "
                "domain. No label was set by hand; answers are judged by the facts of the world.",
                n=facts.num("text", "metrics", "documents held out"),
            )
        ),
    ]


def uses(facts: Facts) -> list:
    """Return what the data is good for and what not."""
    return [
        Bullets(
            (
                plain("Good for: training and testing the small models of this course."),
                plain(
                    "Not good for: any statement about people, health or law, or about how a model "
                    "does on text of another kind."
                ),
            )
        )
    ]


def distribution(facts: Facts) -> list:
    """Return under which terms the data is passed on."""
    if facts.is_shipped:
        return [
            Paragraph(
                sentence(
                    "The texts of the world are under {licence}; the course makes them where they "
                    "are needed, and nothing has to be passed on.",
                    licence=Name("CC BY 4.0"),
                )
            )
        ]
    asked = "Under which licence may the raw text be used for training, and passed on?"
    return [Open("data-licence", plain(asked), "legal counsel")]


def maintenance(facts: Facts) -> list:
    """Return who keeps the data."""
    return [
        Paragraph(
            plain(
                "A change of a raw file changes its hash, and with it every stage that read it has "
                "to run again; the check of this pack fails until then."
            )
        ),
        Open(
            "data-keeper",
            plain("Who keeps the raw text, answers questions about it and removes entries?"),
            "data steward",
        ),
    ]
