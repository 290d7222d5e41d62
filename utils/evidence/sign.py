"""Signing a pack: who, when, the hashes of all its files, and which open points were accepted.

It is a record and no cryptographic signature: who can write into the folder can write another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from utils.capstone.records import read_json, write_json
from utils.evidence.facts import FOLDER
from utils.evidence.pack import FILES, PACK, PDF, read_pack
from utils.evidence.page import open_points, text_of
from utils.zoo.files import file_hash

SIGNATURE = "signature.json"
STATEMENT = (
    "I have read this pack. I know which points are open and who owes the answer. The tools found "
    "that its claims are supported by the records."
)


def sign_pack(root: Path, name: str, role: str) -> dict:
    """Write the signature of a pack that was checked, and return it.

    Args:
        root: the project; the caller has found no fault with its pack.
        name, role: of the person who signs.

    Raises:
        ValueError: for an empty name or role, or a pack that can't be read.
    """
    for what, value in (("name", name), ("role", role)):
        if not value.strip() or not value.isprintable():
            raise ValueError(f"--{what} must be words on one line, such as --{what} 'Ann Example'")
    folder = root / FOLDER
    _, pages = read_pack(folder / PACK)
    files = [*FILES, PDF] if (folder / PDF).is_file() else FILES
    signature = {
        "name": name.strip(),
        "role": role.strip(),
        "signed": datetime.now(UTC).isoformat(timespec="seconds"),
        "statement": STATEMENT,
        "files": {f"{FOLDER}/{file}": file_hash(folder / file) for file in files},
        "open points accepted": {
            point.open: {"question": text_of(point.what), "owner": point.owner}
            for point in open_points(pages)
        },
    }
    signature["sha256"] = own_hash(signature)
    write_json(folder / SIGNATURE, signature)
    return signature


def own_hash(signature: Mapping) -> str:
    """Return the SHA-256 of a signature without its own hash."""
    others = {name: value for name, value in signature.items() if name != "sha256"}
    text = json.dumps(others, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def signature_faults(root: Path) -> list[str]:
    """Return why a signature no longer holds; nothing where there is none, or it holds."""
    path = root / FOLDER / SIGNATURE
    if not path.is_file():
        return []
    signature = read_json(path)
    again = f"sign again with course capstone sign, or remove {FOLDER}/{SIGNATURE}"
    if signature is None or not isinstance(signature.get("files"), dict):
        return [f"{FOLDER}/{SIGNATURE} is damaged: {again}"]
    if signature.get("sha256") != own_hash(signature):
        return [f"{FOLDER}/{SIGNATURE} was changed after it was written: {again}"]
    faults = []
    for name, digest in signature["files"].items():
        now = file_hash(root / name) if (root / name).is_file() else None
        if now != digest:
            what = "is missing" if now is None else "has changed"
            faults.append(
                f"the signature of {signature['name']} no longer holds: {name} {what} since then; "
                f"{again}"
            )
    return faults
