"""Licences of data, model, code and the packages that a run used."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

from utils.evidence.data_sheet import plain
from utils.evidence.facts import Facts
from utils.evidence.page import Name, Open, Page, Paragraph, Section, Table, sentence

PROJECT = "llm-workbook"
USED = ("torch", "numpy", "safetensors", "tokenizers", "huggingface-hub", "pyyaml")
ADDED = ("dvc", "typst")  # where they are installed
LONGEST = 60  # characters of a licence's name in a free field; a longer one holds its text
UNKNOWN = "not stated"


def package_licence(name: str) -> str:
    """Return the licence that a package's metadata states, "not stated" where it states none.

    >>> package_licence("safetensors").startswith("Apache")
    True
    """
    metadata = importlib.metadata.metadata(name)
    if expression := metadata.get("License-Expression"):
        return expression
    stated = metadata.get("License") or ""
    first = stated.strip().splitlines()[0].strip() if stated.strip() else ""
    if first and len(stated) <= LONGEST:
        return first
    classes = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: ")
    ]
    return "; ".join(classes) or first[:LONGEST] or UNKNOWN


def package_table() -> dict[str, dict[str, str]]:
    """Return version and licence of the packages that a run uses, by name."""
    found = {}
    for name in (*USED, *ADDED):
        try:
            version = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            if name in USED:
                raise
            continue
        found[name] = {"version": version, "licence": package_licence(name)}
    return found


def project_licence() -> str:
    """Return the licence of the course."""
    return package_licence(PROJECT)


def licences_page(facts: Facts) -> Page:
    """Return the licences of a project."""
    data: list = []
    if facts.is_shipped:
        data.append(
            Paragraph(
                sentence(
                    "The raw text and the text of the world are the course's own: {licence}.",
                    licence=Name("CC BY 4.0"),
                )
            )
        )
    else:
        data.append(
            Open(
                "own-data-licence",
                plain("Which licence allows training on the raw text? The folder doesn't say."),
                "legal counsel",
            )
        )
    packages = facts.find("report", "metrics", "environment", "packages")
    assert isinstance(packages, Mapping)
    rows = tuple(
        (
            (Name(name),),
            (facts.entry("report", "metrics", "environment", "packages", name, "version"),),
            (facts.entry("report", "metrics", "environment", "packages", name, "licence"),),
        )
        for name in packages
    )
    missing = [name for name, found in packages.items() if found["licence"] == UNKNOWN]
    used: list = [
        Table(("package", "version", "licence as its metadata states"), rows, (26, 22, 52))
    ]
    if missing:
        asked = f"Which licence have {', '.join(missing)}? Their metadata doesn't state one."
        used.append(Open("package-licence", (Name(asked),), "legal counsel"))
    used.append(
        Open(
            "indirect-packages",
            plain("Which licences have the packages that these packages bring along?"),
            "legal counsel",
        )
    )
    return Page(
        "licences",
        "Licences",
        plain("Under which terms data, model, code and packages may be used and passed on."),
        (
            Section("Data", tuple(data)),
            Section("Model", tuple(model_blocks(facts))),
            Section("Code", (code_block(facts),)),
            Section("Packages", tuple(used)),
        ),
    )


def code_block(facts: Facts) -> Paragraph:
    """Return the licence of the course's code."""
    return Paragraph(
        sentence(
            "The course is under {licence}: the first for code, the second for text.",
            licence=facts.entry("report", "metrics", "environment", "course", "licence"),
        )
    )


def model_blocks(facts: Facts) -> list:
    """Return what is known of the licence of the weights."""
    asked = "Under which licence are the weights of this run passed on, if at all?"
    passed_on = Open("model-licence", plain(asked), "model owner")
    others = facts.model_of_others
    if others:
        told = "The run began from {name}, whose makers give it under {licence}."
        known = {key: others.get(key, Name(UNKNOWN)) for key in ("name", "licence")}
        return [Paragraph(sentence(told, **known)), passed_on]
    shipped = sentence(
        "The shipped base model, from which the run may begin, is part of the course ({licence}).",
        licence=facts.entry("report", "metrics", "environment", "course", "licence"),
    )
    return [Paragraph(shipped), passed_on]
