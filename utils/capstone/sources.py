"""Raw text of a project: what `init` writes of the world, and what is read from any folder.

A folder holds plain text (`.txt`, `.md`), rows (`documents.jsonl` with `text`), and, if somebody
wrote them, `chats.jsonl` (`prompt`, `answer`) and `pairs.jsonl` (`prompt`, `chosen`, `rejected`).
Files come as people have them: in other encodings, empty, or as one line of megabytes.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from utils.capstone.params import WORLDS, Params, WrongParams
from utils.capstone.records import write_rows
from utils.text.cleaning import clean_text, rejection_reason
from utils.text.contamination import find_contamination
from utils.text.pipeline import run_pipeline
from utils.world.chats import chats
from utils.world.documents import domain_documents
from utils.world.facts import World
from utils.world.preferences import preference_pairs

TEXT_FILES = (".txt", ".md")
OWN_FOLDERS = (
    "text", "base", "sft", "reward", "align", "safety", "evaluate", "report", "runs", "store",
)  # fmt: skip
ROW_FILES = {
    "documents.jsonl": ("text",),
    "chats.jsonl": ("prompt", "answer"),
    "pairs.jsonl": ("prompt", "chosen", "rejected"),
}
N_RAW = {"documents": 3000, "chats": 1000, "pairs": 1500}
MOST_MEGABYTES = 50
LEAST_BYTES = 20_000  # of text that is left after cleaning; about 50 rows of the base model's
PIECE = 1200  # characters of a document that is cut from a longer text
FEWEST_WORDS = 4  # of a row that somebody wrote as a document
BLANK_LINE = re.compile(r"\n\s*\n")


@dataclass
class Raw:
    """What a folder holds: documents, rows, and what became of its files."""

    documents: list[str] = field(default_factory=list)
    chats: list[dict] = field(default_factory=list)
    pairs: list[dict] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)


def write_world(folder: Path, world: World, domain: str) -> None:
    """Write the raw text of a domain of the world into a folder, as rows that can be edited."""
    kind = WORLDS[domain]
    folder.mkdir(parents=True, exist_ok=True)
    documents = domain_documents(world, N_RAW["documents"], kind=kind)
    write_rows(folder / "documents.jsonl", ({"text": text} for text in documents))
    talks = chats(world, N_RAW["chats"], split=f"new_{kind}", about=(kind,), skill_share=0.0)
    rows = ({"prompt": talk[0]["content"], "answer": talk[1]["content"]} for talk in talks)
    write_rows(folder / "chats.jsonl", rows)
    names = ROW_FILES["pairs.jsonl"]
    known = map(asdict, preference_pairs(world, N_RAW["pairs"] // 2))
    pairs = domain_pairs(world, kind, N_RAW["pairs"] // 2)
    pairs += [{name: pair[name] for name in names} for pair in known]
    write_rows(folder / "pairs.jsonl", pairs)


def domain_pairs(world: World, kind: str, n: int) -> list[dict]:
    """Return pairs about new entities: a short true answer before a wordy, rude or false one."""
    about = {"split": f"new_{kind}", "about": (kind,), "skill_share": 0.0}
    styles = ("verbose_share", "rude_share", "false_share")
    rows = []
    for seed in range(n):  # a share changes only what it names: prompt and fact stay the same
        [(asked, better)] = chats(world, 1, seed, **about)
        [(_, worse)] = chats(world, 1, seed, **about, **{styles[seed % len(styles)]: 1.0})
        answers = {"chosen": better["content"], "rejected": worse["content"]}
        rows.append({"prompt": asked["content"]} | answers)
    return rows


def folder_of(root: Path, params: Params) -> Path:
    """Return the folder of raw text.

    Raises:
        WrongParams: where there is no such folder.
    """
    folder = root / params.domain
    if not folder.is_dir():
        what = "a file" if folder.is_file() else "not there"
        raise WrongParams(
            f"domain: {params.domain!r} is {what}; write clinic or contracts, which "
            "course capstone init writes, or the folder that holds your own text"
        )
    if folder.resolve() == root.resolve() or root.resolve().is_relative_to(folder.resolve()):
        raise WrongParams(
            f"domain: {params.domain!r} holds this project itself, whose results would become its "
            "own raw text; put the text into a folder of its own"
        )
    inside = os.path.relpath(folder, root).split(os.sep)[0]
    if inside in OWN_FOLDERS:
        raise WrongParams(
            f"domain: {params.domain!r} belongs to a stage, which writes there; put the text into "
            "a folder with another name"
        )
    return folder


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder that are read, hidden ones left out, in the order of names.

    Raises:
        WrongParams: where there are none, or they are too many megabytes.
    """
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (path.suffix.lower() in TEXT_FILES or path.name in ROW_FILES)
    ]
    if not found:
        raise WrongParams(
            f"domain: {folder.name!r} holds no text; put files ending in "
            f"{', '.join(TEXT_FILES)} there, or {', '.join(ROW_FILES)}"
        )
    megabytes = sum(path.stat().st_size for path in found) / 1e6
    if megabytes > MOST_MEGABYTES:
        raise WrongParams(
            f"domain: {folder.name!r} holds {megabytes:.0f} MB of text, and a run reads at most "
            f"{MOST_MEGABYTES}; take a part of it"
        )
    return found


def decode(data: bytes) -> tuple[str, str]:
    """Return bytes as text, and how they were read.

    Bytes that are no UTF-8 become U+FFFD where the rest is; a text of which most letters with
    accents are no UTF-8 is read as Windows' Latin.

    >>> decode("Müller".encode("cp1252"))
    ('Müller', 'read as cp1252')
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace"), "read as utf-16"
    if b"\0" in data:
        return "", "no text (zero bytes)"
    try:
        return data.decode("utf-8-sig"), "read as utf-8"
    except UnicodeDecodeError:
        text = data.decode("utf-8-sig", "replace")
    broken = text.count("\ufffd")
    if broken <= sum(character > "\x7f" for character in text) - broken:
        return text, "read as utf-8, some bytes broken"
    try:
        return data.decode("cp1252"), "read as cp1252"
    except UnicodeDecodeError:
        return text, "read as utf-8, some bytes broken"


def pieces(text: str, most: int = PIECE) -> list[str]:
    """Return a text in documents of at most some characters, cut at blank lines, else at blanks.

    >>> pieces("one\\n\\ntwo\\n\\nthree four", most=9)
    ['one\\n\\ntwo', 'three', 'four']
    """
    found: list[str] = []
    for paragraph in BLANK_LINE.split(text.replace("\r\n", "\n").replace("\r", "\n")):
        start = 0
        while start < len(paragraph):
            end = start + most
            if end < len(paragraph):
                cut = max(paragraph.rfind(blank, start + 1, end) for blank in "\n ")
                end = cut if cut > start else end
            part = paragraph[start:end].strip()
            start = end
            if not part:
                continue
            if found and len(found[-1]) + 2 + len(part) <= most:
                found[-1] += "\n\n" + part
            else:
                found.append(part)
    return found


def read_rows_of(path: Path, names: Sequence[str]) -> list[dict]:
    """Return the rows of a JSON Lines file that somebody edited.

    Raises:
        WrongParams: for a row that is no JSON, or lacks a text, with its number.
    """
    rows = []
    text, how = decode(path.read_bytes())
    if how not in ("read as utf-8", "read as utf-16"):
        raise WrongParams(f"{path.name} is not UTF-8 text ({how}): rows must be; convert the file")
    for number, line in enumerate(text.splitlines() if "\n" not in text else text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise WrongParams(f"{path.name}, line {number} is no JSON: {error}") from None
        for name in names:
            value = row.get(name) if isinstance(row, dict) else None
            if not isinstance(value, str) or not value.strip():
                raise WrongParams(
                    f"{path.name}, line {number}: {name!r} must be a text that is not empty; each "
                    f"row has {', '.join(names)}"
                )
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise WrongParams(
                    f"{path.name}, line {number}: {name!r} holds half a character (an escape such "
                    "as \\ud83d alone); write the whole character"
                ) from None
        if "rejected" in names and row["chosen"].strip() == row["rejected"].strip():
            raise WrongParams(
                f"{path.name}, line {number}: chosen and rejected are equal, so nothing can be "
                "learned from the pair; leave it out"
            )
        rows.append({name: row[name] for name in names})
    return rows


def read_raw(files: Sequence[Path], questions: Sequence[str], most_bytes: int) -> Raw:
    """Return what files hold: cleaned, without near-copies, and without questions of the exam.

    Args:
        files: from `files_of`.
        questions: of the exam; a document or row that holds one is dropped and counted.
        most_bytes: of plain text; more is thinned out evenly before it is cleaned.

    Raises:
        WrongParams: where a row is wrong, or too little text is left; the message counts why.
    """
    raw, texts = Raw(), []
    for path in files:
        if path.name in ROW_FILES:
            rows = read_rows_of(path, ROW_FILES[path.name])
            if path.name == "documents.jsonl":
                raw.documents += [row["text"] for row in rows]
            else:
                getattr(raw, path.name.removesuffix(".jsonl")).extend(rows)
            continue
        text, how = decode(path.read_bytes())
        raw.counts[f"files {how}" if text.strip() or "zero" in how else "files without text"] += 1
        texts += pieces(text)
    documents = clean_rows(raw) + clean_pages(raw, texts, most_bytes)
    hits = {hit.document for hit in find_contamination(documents, questions)}
    raw.counts["documents dropped: hold a question of the exam"] += len(hits)
    raw.documents = [text for i, text in enumerate(documents) if i not in hits]
    for name in ("chats", "pairs"):
        rows = getattr(raw, name)
        hits = {hit.document for hit in find_contamination([r["prompt"] for r in rows], questions)}
        raw.counts[f"{name} dropped: ask a question of the exam"] += len(hits)
        setattr(raw, name, [row for i, row in enumerate(rows) if i not in hits])
    left = sum(len(text.encode()) for text in raw.documents)
    if left < LEAST_BYTES:
        why = "; ".join(f"{name} {count}" for name, count in raw.counts.items() if count)
        raise WrongParams(
            f"domain: {left:,} bytes of text are left after cleaning, and at least "
            f"{LEAST_BYTES:,} are needed. What was found: {why or 'nothing'}"
        )
    return raw


def clean_rows(raw: Raw) -> list[str]:
    """Return the cleaned documents of rows that are text, and count the others."""
    kept = []
    for text in map(clean_text, raw.documents):
        reason = rejection_reason(text, min_words=FEWEST_WORDS)
        if reason is None:
            kept.append(text)
        else:
            raw.counts[f"documents dropped: {reason}"] += 1
    return kept


def clean_pages(raw: Raw, texts: Sequence[str], most_bytes: int) -> list[str]:
    """Return documents cut from plain text that passed the pipeline, and count the others."""
    n_bytes = sum(len(text.encode("utf-8", "replace")) for text in texts)
    every = -(-n_bytes // most_bytes)
    if every > 1:
        raw.counts["documents left out: the budget reads evenly spread ones"] += len(texts) - len(
            texts[::every]
        )
        texts = texts[::every]
    if not texts:
        return []
    try:
        stages = run_pipeline(texts)
    except ValueError as error:
        raise WrongParams(f"domain: no text is left after cleaning: {error}") from None
    for stage in stages:
        for reason, count in Counter(stage.removed.values()).items():
            raw.counts[f"documents dropped: {reason}"] += count
    return stages[-1].texts
