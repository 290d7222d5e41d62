"""The lineage: every artefact by hash, and the raw text that it comes from."""

from __future__ import annotations

from utils.capstone.lineage import trace_lineage
from utils.evidence.data_sheet import MOST_FILES, plain
from utils.evidence.facts import STAGES, WORK, Facts
from utils.evidence.page import (
    Bullets,
    Drawing,
    Name,
    Open,
    Page,
    Paragraph,
    Section,
    Sentence,
    Table,
    sentence,
)

FINAL = ("safety/model.safetensors", "evaluate/answers.jsonl")


def lineage_page(facts: Facts) -> Page:
    """Return the lineage of a project's artefacts.

    Raises:
        ValueError: where a stage read another version of a file than its maker wrote.
    """
    records = {name: facts.records[name] for name in STAGES}
    for record in records.values():
        for path in record["outputs"]:
            trace_lineage(records, path)
    return Page(
        "lineage",
        "Lineage",
        plain("Every artefact by its hash, the stages whose work is in it, and the raw text."),
        (
            graph(facts),
            way(facts),
            artefacts(facts),
            started_from(facts),
            record_hashes(facts),
        ),
    )


def edges_of(facts: Facts) -> list[tuple[str, str]]:
    """Return which stage read a file of which; "raw text" is no stage."""
    maker = {path: name for name in STAGES for path in facts.records[name]["outputs"]}
    found = {
        (maker.get(path, "raw text"), name)
        for name in STAGES
        for path in facts.records[name]["inputs"]
    }
    order = ["raw text", *STAGES]
    return sorted(found, key=lambda edge: (order.index(edge[0]), order.index(edge[1])))


def graph(facts: Facts) -> Section:
    """Return the graph of stages."""
    edges = edges_of(facts)
    nodes = ["raw text", *STAGES]
    told = "; ".join(
        f"{before} is read by {', '.join(b for a, b in edges if a == before)}"
        for before in nodes
        if any(a == before for a, _ in edges)
    )
    rows = tuple((plain(name), plain(WORK[name])) for name in STAGES)
    drawn = Drawing(tuple((name, row) for row, name in enumerate(nodes)), tuple(edges), told + ".")
    return Section("Who read what", (drawn, Table(("stage", "what it does"), rows, (20, 80))))


def way(facts: Facts) -> Section:
    """Return for the final artefacts the stages and raw files behind them."""
    records = {name: facts.records[name] for name in STAGES}
    blocks: list = []
    for path in FINAL:
        found = trace_lineage(records, path)
        blocks.append(
            Paragraph(
                sentence(
                    "In {path} is the work of the stages {stages}.",
                    path=Name(path),
                    stages=plain(", ".join(found.stages)),
                )
            )
        )
    raw = trace_lineage(records, FINAL[-1]).raw
    rows: list[tuple[Sentence, ...]] = [
        ((Name(path),), (facts.entry("text", "inputs", path),)) for path in list(raw)[:MOST_FILES]
    ]
    blocks.append(Table(("raw file", "hash"), tuple(rows), (30, 70)))
    return Section("Back to the raw text", tuple(blocks))


def artefacts(facts: Facts) -> Section:
    """Return all artefacts with their hashes."""
    rows = tuple(
        ((Name(path),), (facts.entry(name, "outputs", path),))
        for name in STAGES
        for path in facts.records[name]["outputs"]
    )
    told = sentence(
        "The stages wrote {n} files; a file with another hash is not the one meant here.",
        n=facts.num("report", "metrics", "artefacts"),
    )
    return Section("Artefacts", (Paragraph(told), Table(("file", "hash"), rows, (30, 70))))


def started_from(facts: Facts) -> Section:
    """Return where the base model came from."""
    if facts.find("base", "sizes", "from_scratch"):
        told = plain("The base model began with random weights, drawn by the seed.")
        return Section("Before the first stage", (Paragraph(told),))
    weights = facts.entry("base", "metrics", "begun from", "weights")
    others = facts.model_of_others
    if others:
        told = sentence(
            "The base model did not begin from nothing, but from {name}, a model of others. With "
            "the ids of its tokens in the order of the course's format its weights have the hash "
            "{weights}.",
            name=others["name"],
            weights=weights,
        )
        known = tuple(
            sentence("{what}: {told}.", what=Name(what.replace("_", " ")), told=others[what])
            for what in ("made_by", "trained_on", "limits")
            if what in others
        )
        asked = plain("What exactly did that model read? Its makers name sources and no more.")
        return Section(
            "Before the first stage",
            (Paragraph(told), Bullets(known), Open("base-origin", asked, "model owner")),
        )
    blocks: list = [
        Paragraph(
            sentence(
                "The base model did not begin from nothing, but from the course's shipped model, "
                "whose weights have the hash {weights}.",
                weights=weights,
            )
        )
    ]
    if facts.find("base", "metrics", "begun from", "training text") is not None:
        blocks.append(
            Paragraph(
                sentence(
                    "That model read text of the invented world with the hash {text}, which the "
                    "course draws again from its recipe.",
                    text=facts.entry("base", "metrics", "begun from", "training text"),
                )
            )
        )
    else:
        blocks.append(
            Open(
                "base-origin",
                plain("The weights are not those that the course ships: what did they read?"),
                "model owner",
            )
        )
    return Section("Before the first stage", tuple(blocks))


def record_hashes(facts: Facts) -> Section:
    """Return the records that this pack was made from, by hash."""
    rows = tuple(
        ((Name(f"{name}/record.json"),), (Name(facts.record_hashes[name]),)) for name in STAGES
    )
    told = plain("All numbers of this pack come from these records and from the file of answers.")
    return Section("Records", (Paragraph(told), Table(("record", "hash"), rows, (30, 70))))
