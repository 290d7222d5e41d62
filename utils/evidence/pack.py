"""The pack: all documents of a project as data, and the files that are made of them."""

from __future__ import annotations

import hashlib
import json
import platform
import struct
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from math import prod
from pathlib import Path

from utils.capstone.records import RECORD, read_json, read_rows
from utils.evidence.annex_iv import technical_documentation
from utils.evidence.card import card_metadata, model_card_page
from utils.evidence.data_sheet import data_sheet
from utils.evidence.derived import derive
from utils.evidence.energy import energy_page
from utils.evidence.evaluation import evaluation_report
from utils.evidence.facts import FOLDER, STAGES, Facts, questions_and_pairs, read_records
from utils.evidence.front import front_page
from utils.evidence.governance import read_governance, with_answers
from utils.evidence.licences import PROJECT, licences_page, package_table, project_licence
from utils.evidence.lineage import lineage_page
from utils.evidence.markdown import page_markdown
from utils.evidence.page import Page, page_from, to_data
from utils.evidence.pdf import has_typst, pdf_bytes
from utils.evidence.risks import risk_register
from utils.evidence.safety import safety_report
from utils.evidence.web import pack_html
from utils.zoo.files import file_hash, write_atomically

FORMAT = 1
PACK, HTML, CARD, PDF = "pack.json", "pack.html", "README.md", "pack.pdf"
FILES = (PACK, HTML, CARD)  # what every machine makes; the PDF needs the extra `ops`
DOCUMENTS = (
    model_card_page,
    data_sheet,
    evaluation_report,
    safety_report,
    risk_register,
    technical_documentation,
    lineage_page,
    energy_page,
    licences_page,
)
SHAPE = ("n_layers", "d_model", "n_heads", "context_length", "vocab_size")


def environment() -> dict:
    """Return what the pack says of the machine and the packages that it is made with."""
    return {
        "machine": platform.machine() or "an unnamed processor",
        "system": platform.system() or "an unnamed system",
        "packages": package_table(),
        "course": {"version": version(PROJECT), "licence": project_licence()},
    }


def n_parameters(path: Path) -> int:
    """Return how many numbers a file of weights holds, by its head alone."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        head = json.loads(file.read(length))
    return sum(prod(entry["shape"]) for name, entry in head.items() if name != "__metadata__")


def derived_of(root: Path, records: Mapping[str, Mapping], answers: Sequence[Mapping]) -> dict:
    """Return the numbers of the pack that follow from a project's files."""
    questions, safety_texts = questions_and_pairs(root)
    recipe = read_json(root / "safety" / "recipe.json")
    if recipe is None:
        raise FileNotFoundError(
            f"{root / 'safety' / 'recipe.json'} can't be read: run safety again"
        )
    return derive(records, answers, questions, safety_texts) | {
        "parameters": n_parameters(root / "safety" / "model.safetensors"),
        "shape": {name: recipe["config"][name] for name in SHAPE},
    }


def facts_of(root: Path, derived: Mapping) -> Facts:
    """Return what documents are made from.

    Args:
        root: a project whose stages have run.
        derived: the metrics of the stage `report`.
    """
    hashes = {name: file_hash(root / name / RECORD) for name in STAGES}
    records = read_records(root) | {FOLDER: {"metrics": derived}}
    answers = read_rows(root / "evaluate" / "answers.jsonl")
    return Facts(records, answers, hashes, read_governance(root))


def build_pages(facts: Facts) -> list[Page]:
    """Return all documents, the front page first.

    Raises:
        ValueError: where the lineage is broken, a record lacks a number, or somebody answered a
            point that is not open.
    """
    pages = with_answers([make(facts) for make in DOCUMENTS], facts.governance)
    return [front_page(facts, pages), *pages]


def pack_data(facts: Facts, pages: Sequence[Page]) -> dict:
    """Return the pack as JSON holds it."""
    method = facts.find("align", "params", "method")
    subject = {
        name: str(facts.find("text", "params", name)) for name in ("domain", "budget", "seed")
    }
    return {
        "format": FORMAT,
        "title": "Evidence pack",
        "subject": subject | {"method": str(method), "measured": measured(facts)},
        "records": dict(facts.record_hashes),
        "pages": [to_data(page) for page in pages],
    }


def measured(facts: Facts) -> str:
    """Return when the last stage that was measured had begun; a pack has no other date."""
    return max(str(facts.find(name, "started")) for name in STAGES)


def pack_bytes(data: Mapping) -> bytes:
    """Return the bytes of `pack.json`."""
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def read_pack(path: Path) -> tuple[dict, list[Page]]:
    """Return a pack's data and its pages.

    Raises:
        ValueError: where the file is missing, damaged or of another format.
    """
    data = read_json(path)
    if data is None or data.get("format") != FORMAT or not isinstance(data.get("pages"), list):
        raise ValueError(
            f"{path.name} can't be read as a pack: course capstone report makes it anew"
        )
    return data, [page_from(page) for page in data["pages"]]


def card_text(facts: Facts, pages: Sequence[Page]) -> str:
    """Return the text of the model card with its metadata."""
    page = next(page for page in pages if page.id == "model_card")
    return f"---\n{card_metadata(facts).to_yaml().strip()}\n---\n\n{page_markdown(page)}\n"


def write_pack(root: Path, folder: Path) -> dict:
    """Write the pack of a project, and return what its record shall hold.

    Args:
        root: a project whose stages have run.
        folder: where the files go.

    Raises:
        FileNotFoundError: for a stage that has not run.
        ValueError: where the lineage is broken, or a record lacks a number.
    """
    records = read_records(root)
    answers = read_rows(root / "evaluate" / "answers.jsonl")
    derived = derived_of(root, records, answers) | {"environment": environment()}
    facts = facts_of(root, json.loads(json.dumps(derived)))
    pages = build_pages(facts)
    data = pack_data(facts, pages)
    content = pack_bytes(data)
    digest = hashlib.sha256(content).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / HTML, pack_html(data, pages, digest).encode("utf-8"))
    write_atomically(folder / CARD, card_text(facts, pages).encode("utf-8"))
    if has_typst():
        printed = pdf_bytes(data, pages, digest)
        write_atomically(folder / PDF, printed.data)
        derived["pdf"] = {"sha256": file_hash(folder / PDF), "standard": printed.standard}
    else:
        (folder / PDF).unlink(missing_ok=True)
    write_atomically(folder / PACK, content)
    return derived
