"""What the pack knows of a project: the records of its stages, its answers, and what follows.

Documents take numbers from here alone. Each comes with the record and the keys where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils.capstone.records import RECORD, read_json, read_rows
from utils.evidence.page import Entry, Number, Sentence

STAGES = ("text", "base", "sft", "reward", "align", "safety", "evaluate")
WORK = {
    "text": "reads the raw text, cleans it, splits it and writes the exam",
    "base": "trains the base model on documents",
    "sft": "tunes the base model on chats",
    "reward": "learns from pairs which answer people would prefer",
    "align": "aligns the tuned model with the pairs or with the reward model",
    "safety": "teaches the aligned model to refuse what it can't know, and measures both sides",
    "evaluate": "asks the tuned and the final model the exam",
}
FOLDER = "report"
SHIPPED = ("clinic", "contracts")  # domains whose raw text the course itself makes


@dataclass(frozen=True)
class Facts:
    """What documents are made from.

    Args:
        records: stage -> its record; "report" holds what was derived from the others.
        answers: rows of `evaluate/answers.jsonl`.
        record_hashes: stage -> SHA-256 of its record's file.
        governance: open point -> "answer" and "by", which people wrote.
    """

    records: Mapping[str, Mapping]
    answers: Sequence[Mapping]
    record_hashes: Mapping[str, str]
    governance: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def domain(self) -> str:
        """The folder of raw text."""
        return self.records["text"]["params"]["domain"]

    @property
    def is_shipped(self) -> bool:
        """Whether the raw text is one that the course makes."""
        return Path(self.domain).as_posix() in SHIPPED

    @property
    def model_of_others(self) -> Mapping[str, Entry]:
        """What is known of a model that others made and the run began from; empty for the course's.

        Keys are "name", "licence", "made_by", "trained_on" and "limits", as far as they are known.
        """
        begun = ("metrics", "begun from")
        known = self.find("base", *begun)
        if not isinstance(known, Mapping) or "name" not in known:
            return {}
        told = ("name", "licence", "made_by", "trained_on", "limits")
        return {key: self.entry("base", *begun, key) for key in told if key in known}

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the exam."""
        return tuple(dict.fromkeys(row["part"] for row in self.answers))

    def find(self, record: str, *path: str) -> object:
        """Return what stands in a record; None where there is no such entry."""
        found: object = self.records.get(record)
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def num(self, record: str, *path: str, decimals: int | None = None) -> Number:
        """Return a number of a record, whole numbers as such, others with 2 decimals or as asked.

        Raises:
            ValueError: where there is none; the message says which.
        """
        value = self.find(record, *path)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(
                f"the record {record} has no number at {' > '.join(path)}: run the stage {record} "
                "again with this version of the course"
            )
        if decimals is None:
            decimals = 0 if isinstance(value, int) else 2
        return Number(f"{value:.{decimals}f}", record, path)

    def range(self, record: str, *path: str, decimals: int = 2) -> Sentence:
        """Return a number of a record with its interval, as in "0.50 (0.40 to 0.60)"."""
        value, low, high = (
            self.num(record, *path, end, decimals=decimals) for end in ("value", "low", "high")
        )
        return (value, " (", low, " to ", high, ")")

    def entry(self, record: str, *path: str) -> Entry:
        """Return a word of a record."""
        value = self.find(record, *path)
        if not isinstance(value, str):
            raise ValueError(f"the record {record} has no word at {' > '.join(path)}")
        return Entry(value, record, path)


def read_records(root: Path) -> dict[str, dict]:
    """Return the records of a project's stages, by name, in the order of the stages.

    Raises:
        FileNotFoundError: for a stage that has none.
    """
    found = {name: read_json(root / name / RECORD) for name in STAGES}
    missing = [name for name, record in found.items() if record is None]
    if missing:
        raise FileNotFoundError(
            f"there is no record of {', '.join(missing)}: course capstone run {root}"
        )
    return {name: record for name, record in found.items() if record is not None}


def questions_and_pairs(root: Path) -> tuple[list[str], list[str]]:
    """Return the exam's questions, and the texts of the pairs that the safety stage made."""
    exam = [row["prompt"] for row in read_rows(root / "text" / "exam.jsonl")]
    pairs = read_rows(root / "safety" / "pairs.jsonl")
    return exam, [row[name] for row in pairs for name in ("prompt", "chosen", "rejected")]
