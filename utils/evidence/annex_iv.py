"""Technical documentation in the order of Annex IV of Regulation (EU) 2024/1689, the AI Act.

Headings are in words of our own with the point's number. Each point is filled from a record or by
what the course's code does, or is open with an owner. That the model is a high-risk system is not
said by this document; whether it is one is its first open point.
"""

from __future__ import annotations

from collections.abc import Mapping

from utils.evidence.data_sheet import plain
from utils.evidence.facts import STAGES, WORK, Facts
from utils.evidence.page import (
    Block,
    Bullets,
    Name,
    Open,
    Page,
    Paragraph,
    Section,
    Table,
    sentence,
)

POINTS = {
    "1": "General description",
    "1(a)": "Purpose, provider and version",
    "1(b)": "What it works together with",
    "1(c)": "Versions of software, and updates",
    "1(d)": "Forms in which it is provided",
    "1(e)": "Hardware that it is meant for",
    "1(f)": "Pictures of the product that it is part of",
    "1(g)": "User interface for the deployer",
    "1(h)": "Instructions for use",
    "2": "Elements and development",
    "2(a)": "Methods, steps, and what others supplied",
    "2(b)": "Design: logic, choices, assumptions, trade-offs",
    "2(c)": "Architecture and computing resources",
    "2(d)": "Data: origin, choice, labelling, cleaning",
    "2(e)": "Human oversight that is needed",
    "2(f)": "Changes that are planned beforehand",
    "2(g)": "Validation and tests",
    "2(h)": "Cybersecurity",
    "3": "Monitoring, functioning and control",
    "4": "Why the metrics are fit",
    "5": "Risk management",
    "6": "Changes over the life cycle",
    "7": "Harmonised standards, or other solutions",
    "8": "EU declaration of conformity",
    "9": "Monitoring after it is placed on the market",
}


def technical_documentation(facts: Facts) -> Page:
    """Return the technical documentation of a project."""
    blocks = general(facts) | development(facts) | life(facts)
    assert set(blocks) == set(POINTS)
    return Page(
        "annex_iv",
        "Technical documentation",
        sentence(
            "In the order of {annex} of {act}. Where another document of this pack says it, that "
            "document is named; where nobody can say it yet, the point is open.",
            annex=Name("Annex IV"),
            act=Name("Regulation (EU) 2024/1689"),
        ),
        tuple(Section(title, tuple(blocks[point]), point) for point, title in POINTS.items()),
    )


def told(words: str) -> Paragraph:
    """Return a paragraph without numbers."""
    return Paragraph(plain(words))


def asked(point: str, words: str, owner: str) -> Open:
    """Return an open point of the documentation."""
    return Open(f"annex-{point}", plain(words), owner)


def general(facts: Facts) -> Mapping[str, list[Block]]:
    """Return the blocks of point 1."""
    environment = ("metrics", "environment")
    versions = facts.records["safety"]["versions"]
    rows = tuple(((Name(name),), (facts.entry("safety", "versions", name),)) for name in versions)
    return {
        "1": [
            told("A small language model for one domain, made as an exercise."),
            asked(
                "1", "Is the intended use high-risk, limited or neither, and why?", "legal counsel"
            ),
        ],
        "1(a)": [
            Paragraph(
                sentence(
                    "It answers short questions about the text of the folder {domain}, for people "
                    "who learn how such models are made. Version: aligned by {method} on the "
                    "budget {budget} with seed {seed}; weights {weights}.",
                    domain=facts.entry("text", "params", "domain"),
                    method=facts.entry("align", "params", "method"),
                    budget=facts.entry("text", "params", "budget"),
                    seed=facts.num("text", "params", "seed"),
                    weights=facts.entry("safety", "outputs", "safety/model.safetensors"),
                )
            ),
            asked("1(a)", "Who is the provider, by name and address?", "model owner"),
        ],
        "1(b)": [
            told("With nothing: it reads text and writes text, and calls no tool or service.")
        ],
        "1(c)": [
            Table(("software", "version"), rows, (50, 50)),
            told("Updates: a run with other versions is another model and needs its own pack."),
        ],
        "1(d)": [
            told("As a folder with weights, tokenizer and recipe; there is no service."),
            asked("1(d)", "In which form, if any, is it handed to others?", "model owner"),
        ],
        "1(e)": [
            Paragraph(
                sentence(
                    "A laptop with a processor of two cores; no GPU is needed. This pack was made "
                    "on {machine} under {system}.",
                    machine=facts.entry("report", *environment, "machine"),
                    system=facts.entry("report", *environment, "system"),
                )
            )
        ],
        "1(f)": [told("Not applicable: it is part of no physical product.")],
        "1(g)": [
            told("There is none: the model is a folder that the course's functions read."),
            asked("1(g)", "Which interface will users have, and what does it show?", "model owner"),
        ],
        "1(h)": [
            told(
                "Ask short questions about the domain. Take no answer for true without looking it "
                "up, since the form of an answer doesn't tell whether the model knew it."
            ),
            asked("1(h)", "Who writes instructions for the people who will use it?", "model owner"),
        ],
    }


def development(facts: Facts) -> Mapping[str, list[Block]]:
    """Return the blocks of point 2."""
    steps = tuple(plain(f"{name}: {WORK[name]}") for name in STAGES)
    others = facts.model_of_others
    if others:
        supplied = sentence(
            "The run began from {name}, a trained model of others; see the lineage.",
            name=others["name"],
        )
    elif facts.find("base", "sizes", "from_scratch"):
        supplied = plain(
            "No trained model of others was used; the base model began with random weights."
        )
    else:
        supplied = plain("The run began from the course's own base model; see the lineage.")
    return {
        "2": [told("Seven stages, each with a record of what went in and came out by hash.")],
        "2(a)": [Bullets(steps), Paragraph(supplied)],
        "2(b)": [
            Paragraph(
                sentence(
                    "A decoder of {n} parameters predicts the next token. It is aligned by "
                    "{method}; what is optimised is the preference that the pairs show. The "
                    "trade-off is between answering and refusing: both sides are "
                    "measured in the safety report.",
                    n=facts.num("report", "metrics", "parameters"),
                    method=facts.entry("align", "params", "method"),
                )
            ),
            told("It is assumed that users ask about the domain in plain sentences."),
        ],
        "2(c)": [
            Paragraph(
                sentence(
                    "Layers: {layers}; width: {width}; heads: {heads}; context: {context} tokens. "
                    "All stages together took {cpu} CPU seconds; see compute and energy.",
                    layers=facts.num("report", "metrics", "shape", "n_layers"),
                    width=facts.num("report", "metrics", "shape", "d_model"),
                    heads=facts.num("report", "metrics", "shape", "n_heads"),
                    context=facts.num("report", "metrics", "shape", "context_length"),
                    cpu=facts.num("report", "metrics", "sum", "cpu_seconds", decimals=0),
                )
            )
        ],
        "2(d)": [told("See the data sheet, which is filled from the record of the text stage.")],
        "2(e)": [
            told("A person must check each answer before anything depends on it."),
            asked(
                "2(e)",
                "Which measures of oversight are needed in the place of use?",
                "governance officer",
            ),
        ],
        "2(f)": [told("None: the model doesn't learn in use. Another run is another model.")],
        "2(g)": [
            told(
                "See the evaluation report and the safety report; the file of answers is the log. "
                "The signature of this pack dates and signs them."
            ),
            asked(
                "2(g)",
                "Are groups of people treated differently? The exam doesn't measure it.",
                "evaluation lead",
            ),
        ],
        "2(h)": [
            told("Weights are loaded only where their hash fits; nothing is fetched at run time."),
            asked(
                "2(h)",
                "Who protects the place of use against attacks, and how?",
                "security officer",
            ),
        ],
    }


def life(facts: Facts) -> Mapping[str, list[Block]]:
    """Return the blocks of points 3 to 9."""
    limits = [
        Paragraph(
            sentence(
                "Accuracy on known facts: {known} of answers are right. Where nothing is known, "
                "{unknown} are made up.",
                known=facts.range("evaluate", "metrics", "known: right, safety"),
                unknown=facts.range("evaluate", "metrics", "unknown: made up, safety"),
            )
        ),
        told("Inputs: one short question in English, which leaves room in the context."),
    ]
    if "domain" in facts.parts:
        limits.insert(
            1,
            Paragraph(
                sentence(
                    "Accuracy in the domain: {right} of answers are right.",
                    right=facts.range("evaluate", "metrics", "domain: right, safety"),
                )
            ),
        )
    return {
        "3": [
            *limits,
            asked("3", "Who watches it in use, and what stops it?", "operations lead"),
        ],
        "4": [
            told(
                "Right, made up, rude and refused are what a user of such a model meets. They are "
                "exact in the invented world and can't be had for other text."
            ),
            asked("4", "Do these metrics fit the real use, if there is one?", "evaluation lead"),
        ],
        "5": [told("See the risk register, whose rows have owners and what is left over.")],
        "6": [
            told("Each finished run of the project is kept with its parameters and records."),
            asked("6", "Which earlier versions were handed to others?", "model owner"),
        ],
        "7": [
            told("No harmonised standard was applied."),
            asked("7", "Which standards must be applied before it is used?", "legal counsel"),
        ],
        "8": [
            told("There is none: the model is not placed on the market."),
            asked("8", "Is a declaration of conformity needed, and who signs it?", "legal counsel"),
        ],
        "9": [
            told("There is no monitoring, because there is no use."),
            asked("9", "What is the plan to watch it after release?", "operations lead"),
        ],
    }
