"""Compute and energy: what each stage cost, by which formula, and how far that may be off."""

from __future__ import annotations

from utils.evidence.data_sheet import plain
from utils.evidence.facts import STAGES, Facts
from utils.evidence.page import (
    Bullets,
    Name,
    Open,
    Page,
    Paragraph,
    Section,
    Table,
    sentence,
)


def energy_page(facts: Facts) -> Page:
    """Return compute and energy of a project."""
    return Page(
        "energy",
        "Compute and energy",
        plain("What each stage cost, by which formula, and how far the estimate may be off."),
        (stages(facts), formula(facts), compared(facts)),
    )


def stages(facts: Facts) -> Section:
    """Return the costs of each stage and their sum."""
    rows = [
        (
            plain(name),
            (facts.num(name, "seconds", decimals=1),),
            (facts.num(name, "cpu_seconds", decimals=1),),
            (facts.num(name, "tokens"),),
            facts.range(name, "energy_wh", decimals=3),
        )
        for name in STAGES
    ]
    rows.append(
        (
            plain("sum"),
            (facts.num("report", "metrics", "sum", "seconds", decimals=1),),
            (facts.num("report", "metrics", "sum", "cpu_seconds", decimals=1),),
            (facts.num("report", "metrics", "sum", "tokens"),),
            facts.range("report", "metrics", "sum", "energy_wh", decimals=3),
        )
    )
    header = ("stage", "seconds", "CPU seconds", "tokens", "energy, Wh")
    blocks: list = [Table(header, tuple(rows), (14, 16, 18, 18, 34))]
    resumed = [name for name in STAGES if facts.records[name]["resumed"]]
    if resumed:
        blocks.append(
            Open(
                "resumed",
                plain(
                    f"Of {', '.join(resumed)} only the time since the last start is counted, since "
                    "the stage was stopped and went on. What did the part before cost?"
                ),
                "operations lead",
            )
        )
    return Section("Stage by stage", tuple(blocks))


def formula(facts: Facts) -> Section:
    """Return the formula with its range."""
    return Section(
        "Formula and error",
        (
            Paragraph(
                sentence(
                    "Energy is CPU seconds times the power of a busy core with its share of the "
                    "machine: {watts} W. Nobody measured that power; it is a guess with a range "
                    "wide enough for laptops and servers. It is one guess for all stages, so the "
                    "range of the sum is the sum of the ranges.",
                    watts=facts.range("report", "metrics", "watts", decimals=0),
                )
            ),
            Paragraph(
                sentence(
                    "Emissions are energy times that of the grid: {grid} g of {gas} a Wh, from "
                    "wind to lignite. The two errors are independent, so their logarithms add in "
                    "quadrature: {grams} g.",
                    grid=facts.range("report", "metrics", "grams a watt-hour"),
                    gas=Name("CO2-equivalent"),
                    grams=facts.range("report", "metrics", "sum", "grams", decimals=3),
                )
            ),
            Bullets(
                (
                    plain("Left out: what made the computer and what cools it."),
                    plain("Left out: runs before this one by which settings were chosen."),
                    plain("Left out: the training of the base model that this run began from."),
                )
            ),
            Open(
                "power",
                plain("Which power does the machine draw, by a meter, and which grid feeds it?"),
                "operations lead",
            ),
        ),
    )


def compared(facts: Facts) -> Section:
    """Return the sum in terms of a kettle."""
    return Section(
        "For comparison",
        (
            Paragraph(
                sentence(
                    "To heat a litre of water from room temperature until it boils takes {one} Wh, "
                    "without losses. This run took as much as {litres} litres of water.",
                    one=facts.num("report", "metrics", "watt-hours a litre", decimals=1),
                    litres=facts.range("report", "metrics", "sum", "litres", decimals=4),
                )
            ),
        ),
    )
