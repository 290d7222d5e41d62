"""The risk register, along the functions Govern, Map, Measure and Manage of the NIST AI RMF.

Its rows are data in `risks.json`; a row's evidence is taken from a record, or the row is open. What
a category means is said there in words of our own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.evidence.data_sheet import plain
from utils.evidence.facts import Facts
from utils.evidence.page import Name, Open, Page, Section, Sentence, Table, sentence

FUNCTIONS = {  # function -> category -> how many subcategories NIST AI 100-1 has
    "GOVERN": {1: 7, 2: 3, 3: 2, 4: 3, 5: 2, 6: 2},
    "MAP": {1: 6, 2: 3, 3: 5, 4: 2, 5: 2},
    "MEASURE": {1: 3, 2: 13, 3: 3, 4: 3},
    "MANAGE": {1: 4, 2: 4, 3: 2, 4: 3},
}
SCALES = {"likelihood": ("rare", "possible", "likely"), "severity": ("low", "medium", "high")}
FEWEST = 12
TITLES = {
    "GOVERN": "who answers for what",
    "MAP": "what it is for, and what may go wrong",
    "MEASURE": "what was measured, and how well",
    "MANAGE": "what is done about it",
}


def read_risks() -> list[dict]:
    """Return the rows of the register."""
    path = Path(__file__).with_name("risks.json")
    return json.loads(path.read_text(encoding="utf-8"))


def register_faults(rows: Sequence[Mapping]) -> list[str]:
    """Return what is wrong with a register, a line for each fault.

    >>> register_faults([{"id": "R-01", "function": "MAP", "code": "1.9", "owner": ""}])[:2]
    ['R-01: MAP 1.9 is no subcategory of the NIST AI RMF', 'R-01: the risk has no owner']
    """
    faults = []
    for row in rows:
        category, _, number = row["code"].partition(".")
        many = FUNCTIONS.get(row["function"], {}).get(int(category), 0)
        if not 1 <= int(number) <= many:
            code = f"{row['function']} {row['code']}"
            faults.append(f"{row['id']}: {code} is no subcategory of the NIST AI RMF")
        if not row["owner"].strip():
            faults.append(f"{row['id']}: the risk has no owner")
        for name, scale in SCALES.items():
            if row.get(name) not in scale:
                faults.append(f"{row['id']}: {name} must be one of {', '.join(scale)}")
    missing = set(FUNCTIONS) - {row["function"] for row in rows}
    faults += [f"no risk stands under {name}" for name in sorted(missing)]
    if len(rows) < FEWEST:
        faults.append(f"{len(rows)} risks are fewer than {FEWEST}")
    if len({row["id"] for row in rows}) < len(rows):
        faults.append("two risks have the same id")
    return faults


def evidence_of(facts: Facts, row: Mapping) -> Sentence | None:
    """Return the evidence of a row as a sentence; None where no record has it."""
    found = row["evidence"]
    if found is None:
        return None
    parts = {}
    for name, part in found["parts"].items():
        if facts.find(part["record"], *part["path"]) is None:
            return None
        take = facts.range if part["kind"] == "range" else facts.num
        parts[name] = take(part["record"], *part["path"], decimals=part["decimals"])
    return sentence(found["says"] + ".", **parts)


def risk_register(facts: Facts) -> Page:
    """Return the register with its evidence, one section a function."""
    sections = []
    for function in FUNCTIONS:
        rows, open_rows = [], []
        for row in read_risks():
            if row["function"] != function:
                continue
            evidence = evidence_of(facts, row)
            if evidence is None:
                open_rows.append(
                    Open(
                        f"risk {row['id']}",
                        plain(f"No record answers: {row['risk']}"),
                        row["owner"],
                    )
                )
            rows.append(
                (
                    (Name(f"{row['id']} {function} {row['code']}"), f": {row['meant']}"),
                    plain(row["risk"]),
                    plain("Open.") if evidence is None else evidence,
                    plain(f"{row['likelihood']}, {row['severity']}"),
                    plain(f"{row['treatment']} Left over: {row['residual']}."),
                    plain(row["owner"]),
                )
            )
        header = ("what is meant", "risk", "evidence", "likely, severe", "treatment", "owner")
        widths = (18, 18, 18, 13, 20, 13)
        sections.append(
            Section(TITLES[function], (Table(header, tuple(rows), widths), *open_rows), function)
        )
    return Page(
        "risks",
        "Risk register",
        sentence(
            "What may go wrong with this model, along the functions and subcategories of {rmf}.",
            rmf=Name("the NIST AI Risk Management Framework 1.0 (NIST AI 100-1)"),
        ),
        tuple(sections),
    )
