"""The three files of a shipped model, written so that damage is always noticed.

`recipe.json` is written last and holds the SHA-256 of the other two and of itself, so that an
interrupted or damaged copy never passes for a whole one.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load, save

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.tokens.tokenizer import Tokenizer

MODEL, TOKENIZER, RECIPE = "model.safetensors", "tokenizer.json", "recipe.json"


class CorruptModel(RuntimeError):
    """A shipped model is missing, truncated or changed."""


def save_model(folder: Path | str, model: Decoder, tokenizer: Tokenizer, record: dict) -> None:
    """Write model, tokenizer and record; each file appears whole or not at all.

    Args:
        folder: made if it is missing.
        record: what `recipe.json` shall hold besides shape and hashes.

    Raises:
        OSError: where the disk is full or the folder can't be written; what was there is kept.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().contiguous() for name, weight in model.named_parameters()}
    write_atomically(folder / MODEL, save(weights))
    temporary = folder / f"{TOKENIZER}.new"
    tokenizer.save(temporary)
    os.replace(temporary, folder / TOKENIZER)
    record = record | {"config": asdict(model.config)}
    record["sha256"] = {name: file_hash(folder / name) for name in (MODEL, TOKENIZER)}
    record["sha256"][RECIPE] = record_hash(record)
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / RECIPE, text.encode("utf-8"))


def load_model(folder: Path | str) -> tuple[Decoder, Tokenizer]:
    """Return the model, in evaluation mode, and its tokenizer; hashes are verified first.

    Raises:
        CorruptModel: where a file is missing, truncated or changed.
    """
    folder = Path(folder)
    record = read_record(folder)
    for name in (MODEL, TOKENIZER):
        path = folder / name
        if not path.is_file():
            raise CorruptModel(f"{path} is missing")
        if file_hash(path) != record["sha256"][name]:
            raise CorruptModel(
                f"{path} is damaged: its {path.stat().st_size} bytes do not have the SHA-256 "
                f"that {RECIPE} names"
            )
    model = Decoder(TransformerConfig(**record["config"]))
    weights = load((folder / MODEL).read_bytes())
    own = dict(model.named_parameters())
    assert own.keys() == weights.keys(), "hashes fit, so the code's model must have changed"
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(weights[name])
    return model.eval(), Tokenizer.load(folder / TOKENIZER)


def read_record(folder: Path | str) -> dict:
    """Return what `recipe.json` holds.

    Raises:
        CorruptModel: where it is missing, no JSON, or changed.
    """
    path = Path(folder) / RECIPE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        stored = record["sha256"][RECIPE]
    except FileNotFoundError as error:
        raise CorruptModel(f"{path} is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptModel(f"{path} is damaged: it can't be read as a record") from error
    if stored != record_hash(record):
        raise CorruptModel(f"{path} is damaged: it was changed after it was written")
    return record


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file; of JSON with plain line ends, which git on Windows changes."""
    data = path.read_bytes()
    if path.suffix == ".json":
        data = data.replace(b"\r\n", b"\n")
    return hashlib.sha256(data).hexdigest()


def record_hash(record: dict) -> str:
    """Return the SHA-256 of a record without its own hash."""
    others = {name: digest for name, digest in record["sha256"].items() if name != RECIPE}
    text = json.dumps(record | {"sha256": others}, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under another name, wait for the disk, then give it its name."""
    temporary = path.with_name(f"{path.name}.new")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
