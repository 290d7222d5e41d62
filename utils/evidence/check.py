"""Checks a pack: everything that it says is held against records and files, fault by fault.

What a check can't tell is whether a record is true; that is for the reader who signs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from utils.capstone.claims import unsupported_claims
from utils.capstone.lineage import trace_lineage
from utils.capstone.records import RECORD, read_json, read_rows
from utils.evidence.annex_iv import POINTS
from utils.evidence.card import card_faults
from utils.evidence.facts import FOLDER, STAGES, Facts, read_records
from utils.evidence.licences import PROJECT
from utils.evidence.pack import (
    CARD,
    FILES,
    HTML,
    PACK,
    PDF,
    build_pages,
    card_text,
    derived_of,
    facts_of,
    pack_data,
    read_pack,
)
from utils.evidence.page import (
    Entry,
    Page,
    claims_of,
    open_points,
    sentences_of,
)
from utils.evidence.pdf import HOW, has_typst
from utils.evidence.risks import read_risks, register_faults
from utils.evidence.sign import signature_faults
from utils.evidence.web import loads, pack_html
from utils.zoo.files import file_hash

AGAIN = "course capstone report makes the pack anew"
DOCUMENT_IDS = (
    "front", "model_card", "data_sheet", "evaluation", "safety", "risks", "annex_iv", "lineage",
    "energy", "licences",
)  # fmt: skip
TOLERANCE = 1e-3  # of numbers that are resampled anew: another processor may round otherwise


def check_pack(root: Path) -> list[str]:
    """Return what is wrong with the pack of a project, a line for each fault; none for a good one.

    Args:
        root: the project, with the pack in its folder `report`.
    """
    folder = root / FOLDER
    missing = [
        f"{FOLDER}/{name} is missing: {AGAIN}" for name in FILES if not (folder / name).is_file()
    ]
    record = read_json(folder / RECORD)
    if record is None:
        missing.append(f"{FOLDER}/{RECORD} is missing or damaged: {AGAIN}")
    if missing or record is None:
        return missing
    try:
        records = read_records(root)
        data, pages = read_pack(folder / PACK)
    except (FileNotFoundError, ValueError) as error:
        return [str(error)]
    made_with = record["metrics"].get("environment", {}).get("course", {}).get("version")
    if made_with != version(PROJECT):
        return [
            f"the pack was made with version {made_with} of the course, and this is "
            f"{version(PROJECT)}: check it with that version, or {AGAIN}"
        ]
    faults = [*file_faults(root, records | {FOLDER: record}), *lineage_faults(records)]
    faults += record_faults(root, data)
    faults += derived_faults(root, records, record["metrics"])
    faults += [*document_faults(pages), *open_faults(pages), *digit_faults(pages)]
    faults += register_faults(read_risks())
    try:
        facts = facts_of(root, record["metrics"])
    except ValueError as error:
        return [*faults, str(error)]
    faults += claim_faults(pages, facts)
    faults += rebuilt_faults(pages, data, facts)
    faults += printed_faults(folder, data, pages, facts)
    faults += pdf_faults(folder, record["metrics"])
    faults += signature_faults(root)
    return list(dict.fromkeys(faults))


def file_faults(root: Path, records: Mapping[str, Mapping]) -> Iterator[str]:
    """Yield files whose hash is not the one that a record says."""
    for name, record in records.items():
        for kind, told in (("inputs", "read"), ("outputs", "wrote")):
            for path, digest in record[kind].items():
                if path.endswith(RECORD):
                    continue  # told of by record_faults in words of its own
                if not (root / path).is_file():
                    yield f"{path} is missing, which the stage {name} {told}"
                elif file_hash(root / path) != digest:
                    yield f"{path} has another hash than the one that the stage {name} {told}"


def record_faults(root: Path, data: Mapping) -> Iterator[str]:
    """Yield records that are no longer those that the pack was made from."""
    for name in STAGES:
        if data["records"].get(name) != file_hash(root / name / RECORD):
            yield f"{name}/{RECORD} is not the record that the pack was made from: {AGAIN}"


def lineage_faults(records: Mapping[str, Mapping]) -> Iterator[str]:
    """Yield artefacts that can't be traced to raw text by the hashes of the records."""
    for record in records.values():
        for path in record["outputs"]:
            try:
                found = trace_lineage(records, path)
            except (KeyError, ValueError) as error:
                yield f"lineage of {path}: {error.args[0]}"
                continue
            if not set(found.raw) <= set(records["text"]["inputs"]):
                odd = sorted(set(found.raw) - set(records["text"]["inputs"]))[0]
                yield f"lineage of {path}: {odd} is no raw text, and no stage made it"


def derived_faults(root: Path, records: Mapping[str, Mapping], metrics: Mapping) -> list[str]:
    """Return derived numbers that don't follow from the records and the answers."""
    try:
        answers = read_rows(root / "evaluate" / "answers.jsonl")
        wanted = derived_of(root, records, answers)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"what follows from the records can't be computed: {error!r}"]
    found = {name: value for name, value in metrics.items() if name in wanted}
    return [f"{FOLDER}/{RECORD}: {line}" for line in unequal(wanted, found, ())]


def unequal(wanted: object, found: object, path: tuple[str, ...]) -> Iterator[str]:
    """Yield the entries in which two trees of numbers differ.

    >>> list(unequal({"a": {"b": 1}}, {"a": {"b": 2}}, ()))
    ['a > b is 2, and 1 follows from the records']
    """
    if isinstance(wanted, Mapping):
        for name, value in wanted.items():
            inside = found.get(name) if isinstance(found, Mapping) else None
            yield from unequal(value, inside, (*path, str(name)))
    elif isinstance(wanted, float) and isinstance(found, int | float):
        if not math.isclose(wanted, found, abs_tol=TOLERANCE):
            yield f"{' > '.join(path)} is {found}, and {wanted} follows from the records"
    elif wanted != found:
        yield f"{' > '.join(path)} is {found}, and {wanted} follows from the records"


def document_faults(pages: Sequence[Page]) -> Iterator[str]:
    """Yield documents, headings and points that are missing or empty."""
    found = {page.id: page for page in pages}
    for name in DOCUMENT_IDS:
        if name not in found:
            yield f"the document {name} is missing"
    for place, page in enumerate(pages):
        if page.id not in DOCUMENT_IDS or page.id in [other.id for other in pages[:place]]:
            told = "is none that a pack has, or is there twice"
            yield f"the document {page.id} ({page.title}) {told}"
    for page in pages:
        for section in page.sections:
            if not section.blocks:
                yield f"{page.title} > {section.title}: nothing stands under this heading"
    if "annex_iv" in found:
        there = [section.point for section in found["annex_iv"].sections]
        for point, title in POINTS.items():
            if point not in there:
                yield f"Annex IV, point {point} ({title}) is missing"


def open_faults(pages: Sequence[Page]) -> Iterator[str]:
    """Yield open points that nobody owns, or that bear the same name as another."""
    seen = set()
    for point in open_points(pages):
        if not point.owner.strip():
            yield f"the open point {point.open} has no owner"
        if point.open in seen:
            yield f"two open points are called {point.open}"
        seen.add(point.open)


def digit_faults(pages: Sequence[Page]) -> Iterator[str]:
    """Yield sentences in which a digit stands that no claim covers."""
    for page in pages:
        for where, one in sentences_of(page):
            for part in one:
                if isinstance(part, str) and any(c.isdigit() for c in part):
                    yield f"{where}: a number that no record supports in {part.strip()!r}"
        for title in (page.title, *(section.title for section in page.sections)):
            if any(c.isdigit() for c in title):
                yield f"{page.title}: a number that no record supports in the heading {title!r}"


def claim_faults(pages: Sequence[Page], facts: Facts) -> Iterator[str]:
    """Yield claims and words that their records don't support."""
    claims, records = claims_of(pages), facts.records
    for claim in claims:
        try:
            float(claim.number)
        except ValueError:
            yield f"{claim.text}: {claim.number!r} is no number"
            return
    yield from unsupported_claims(claims, records)
    for page in pages:
        for where, one in sentences_of(page):
            for part in one:
                if isinstance(part, Entry) and facts.find(part.record, *part.path) != part.entry:
                    at = " > ".join(part.path)
                    yield f"{where}: the record {part.record} does not say {part.entry!r} at {at}"


def rebuilt_faults(pages: Sequence[Page], data: Mapping, facts: Facts) -> list[str]:
    """Return where the pack differs from the one that the records give now."""
    try:
        wanted = build_pages(facts)
    except (ValueError, KeyError) as error:
        return [f"the pack can't be made from the records: {error.args[0]}"]
    faults = []
    found = {page.id: page for page in pages}
    for page in wanted:
        if page.id not in found or found[page.id] == page:
            continue  # a missing one is told of by document_faults
        there = {(section.point, section.title): section for section in found[page.id].sections}
        lines = [
            f"{page.title} > {section.title} is not what the records say: {AGAIN}"
            for section in page.sections
            if there.get((section.point, section.title)) != section
        ]
        faults += lines or [f"{page.title} is not what the records say: {AGAIN}"]
    wanted_data = pack_data(facts, wanted)
    if any(data.get(name) != wanted_data[name] for name in ("title", "subject")):
        faults.append(f"the pack's title or subject is not what the records say: {AGAIN}")
    return faults


def printed_faults(
    folder: Path, data: Mapping, pages: Sequence[Page], facts: Facts
) -> Iterator[str]:
    """Yield what is wrong with the HTML and the card."""
    text = (folder / HTML).read_text(encoding="utf-8", errors="replace")
    for one in loads(text):
        yield f"{FOLDER}/{HTML} loads or runs something: {one}"
    digest = hashlib.sha256((folder / PACK).read_bytes()).hexdigest()
    if text != pack_html(data, pages, digest):
        yield f"{FOLDER}/{HTML} does not show what {PACK} says: {AGAIN}"
    card = (folder / CARD).read_text(encoding="utf-8", errors="replace")
    yield from card_faults(card, facts)
    if any(page.id == "model_card" for page in pages) and card != card_text(facts, pages):
        yield f"{FOLDER}/{CARD} does not show what {PACK} says: {AGAIN}"


def pdf_faults(folder: Path, metrics: Mapping) -> Iterator[str]:
    """Yield what is wrong with the PDF, where there should be one or is one."""
    recorded = metrics.get("pdf")
    path = folder / PDF
    if recorded is None and path.is_file():
        yield f"{FOLDER}/{PDF} is there, and the record knows of none: {AGAIN}"
    elif recorded is not None and not path.is_file():
        yield f"{FOLDER}/{PDF} is missing: {AGAIN if has_typst() else HOW}"
    elif recorded is not None and file_hash(path) != recorded["sha256"]:
        yield f"{FOLDER}/{PDF} is not the PDF of this pack: {AGAIN}"
