"""The model card: a page for people, and the metadata that hubs read, both from the same records.

Sections follow Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from utils.evidence.data_sheet import plain
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

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

SECTIONS = (
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
)
RESULTS = {"right": "accuracy", "made up": "hallucination", "rude": "toxicity"}
TASK, DATA_SET, DATA_NAME = "question-answering", "llm-workbook/exam", "exam of the course's world"


def model_card_page(facts: Facts) -> Page:
    """Return the model card of a project."""
    blocks = {
        "Model details": details(facts),
        "Intended use": use(),
        "Factors": [
            Paragraph(
                plain(
                    "What matters most is whether the model has read about the thing it is asked "
                    "for; so known, unknown and, where the course knows them, new facts of the "
                    "domain are measured apart. Groups of people are no factor in an invented "
                    "world, and were not examined."
                )
            )
        ],
        "Metrics": [
            Paragraph(
                plain(
                    "Shares of answers that are right, made up, rude or refusals, each with its "
                    "interval; see the evaluation report for how they are judged."
                )
            )
        ],
        "Evaluation data": [
            Paragraph(
                plain(
                    "Questions in wordings that no training text uses, drawn from a seed of their "
                    "own; none of them served to choose a setting."
                )
            )
        ],
        "Training data": [
            Paragraph(
                sentence(
                    "Documents of the domain: {own}; of the course's world: {general}. Chats: "
                    "{chats} of the domain, {talks} of the world. See the data sheet.",
                    own=facts.num("text", "metrics", "documents of the domain"),
                    general=facts.num("text", "metrics", "documents of the world"),
                    chats=facts.num("text", "metrics", "chats of the domain"),
                    talks=facts.num("text", "metrics", "chats of the world"),
                )
            )
        ],
        "Quantitative analyses": [results_table(facts)],
        "Ethical considerations": [
            Paragraph(
                plain(
                    "It makes things up in fluent sentences. Medical and legal words in its "
                    "answers come from invented text, or from text that nobody has examined."
                )
            )
        ],
        "Caveats and recommendations": caveats(),
    }
    return Page(
        "model_card",
        "Model card",
        sentence(
            "The model in short; in the order of Mitchell et al. {year}, Model Cards for Model "
            "Reporting.",
            year=Name("2019"),
        ),
        tuple(Section(title, tuple(blocks[title])) for title in SECTIONS),
    )


def details(facts: Facts) -> list:
    """Return what the model is."""
    begun: list = []
    others = facts.model_of_others
    if "limits" in others:
        told = "The run began from {name}, a model of others with limits of its own: {limits}."
        begun.append(Paragraph(sentence(told, name=others["name"], limits=others["limits"])))
    return [
        Paragraph(
            sentence(
                "A decoder of {n} parameters with a context of {context} tokens, aligned by "
                "{method}; seed {seed}. Its weights have the hash {weights}.",
                n=facts.num("report", "metrics", "parameters"),
                context=facts.num("report", "metrics", "shape", "context_length"),
                method=facts.entry("align", "params", "method"),
                seed=facts.num("align", "params", "seed"),
                weights=facts.entry("safety", "outputs", "safety/model.safetensors"),
            )
        ),
        *begun,
        Open("card-contact", plain("Whom does one write to about this model?"), "model owner"),
    ]


def use() -> list:
    """Return what the model is for and what not."""
    return [
        Bullets(
            (
                plain("For: learning how a model is made, aligned, measured and documented."),
                plain("Not for: advice on health or law, and no decision about a person."),
                plain("Not for: the public, or anything where a wrong answer costs somebody."),
            )
        )
    ]


def results_table(facts: Facts) -> Table:
    """Return the final model's results by part."""
    rows: list[tuple[Sentence, ...]] = [
        (
            plain(part),
            *(facts.range("evaluate", "metrics", f"{part}: {name}, safety") for name in RESULTS),
        )
        for part in facts.parts
    ]
    return Table(("part", *RESULTS), tuple(rows), (16, 28, 28, 28))


def caveats() -> list:
    """Return what a user must know."""
    return [
        Bullets(
            (
                plain("Look up each answer: its form doesn't tell whether the model knew it."),
                plain("One seed was run; numbers of another seed will differ."),
                plain("Small exams have wide intervals; read them before a single number."),
            )
        )
    ]


def card_metadata(facts: Facts) -> ModelCardData:
    """Return the metadata of the card, with a result for each part and metric."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=DATA_SET,
            dataset_name=DATA_NAME,
            dataset_config=part,
            dataset_split="test",
            metric_type=kind,
            metric_name=f"{part}: {name}, safety",
            metric_value=facts.find("evaluate", "metrics", f"{part}: {name}, safety", "value"),
        )
        for part in facts.parts
        for name, kind in RESULTS.items()
    ]
    return ModelCardData(
        language="en",
        license="other",
        license_name="undecided",
        library_name="llm-workbook",
        pipeline_tag="text-generation",
        tags=[str(facts.find("align", "params", "method")), "course", "small"],
        model_name="capstone",
        eval_results=results,
    )


def card_faults(text: str, facts: Facts) -> list[str]:
    """Return what is wrong with a card's text: metadata unreadable, or not what records say.

    It is read as a hub's reader reads it, without the network.
    """
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    try:
        found = ModelCard(text).data
    except (YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        return [f"the card's metadata can't be read: {' '.join(str(error).split())[:200]}"]
    wanted = card_metadata(facts)
    faults = [
        f"the card's metadata says {name}: {getattr(found, name)!r}, and not "
        f"{getattr(wanted, name)!r}"
        for name in ("language", "license", "library_name", "pipeline_tag", "model_name", "tags")
        if getattr(found, name) != getattr(wanted, name)
    ]
    results = {one.metric_name: one.metric_value for one in found.eval_results or []}
    for one in wanted.eval_results:
        if results.get(one.metric_name) != one.metric_value:
            faults.append(
                f"the card's metadata says {results.get(one.metric_name)} for {one.metric_name}, "
                f"and the record of evaluate {one.metric_value}"
            )
    return faults
