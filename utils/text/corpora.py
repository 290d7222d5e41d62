"""Where text comes from: the world, CPython's language reference, a folder, or a hub.

Each function returns a list of documents (str). Only `hub_texts` may use a network, and only where
COURSE_DATA_DIR does not hold the data set.
Left out on purpose: cleaning and near-duplicates (unit 04).
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from utils.runtime import data_dir
from utils.world.documents import pretraining_documents
from utils.world.facts import build_world

# Hub id (and configuration) -> file of COURSE_DATA_DIR with the hub's columns.
LOCAL_FILES = {
    "qiaojin/PubMedQA": "pubmedqa_{split}.jsonl.gz",
    "medquad": "medquad.jsonl.gz",
    "legal_plain_english": "legal_plain_english.jsonl.gz",
    "openai/gsm8k": "gsm8k_{split}.jsonl.gz",
    "Anthropic/hh-rlhf": "hh_rlhf_harmless_{split}.jsonl.gz",
    "cais/mmlu": "mmlu_medicine_law.jsonl.gz",
}


class HubUnreachable(OSError):
    """The hub gave no answer; the message names the setting that does without it."""


def world_corpus(n_documents: int, seed: int = 0, world_seed: int = 0) -> list[str]:
    """Return plain documents of the invented world.

    >>> len(world_corpus(3))
    3
    """
    return pretraining_documents(build_world(world_seed), n_documents, seed)


def python_reference() -> list[str]:
    """Return the topics of Python's language reference that ship with CPython, about 0.7 MB.

    The text differs a little between Python versions.

    >>> any("lambda" in topic for topic in python_reference())
    True
    """
    from pydoc_data import topics

    return [text for _, text in sorted(topics.topics.items())]


def local_folder(folder: Path | str, pattern: str = "**/*.txt") -> list[str]:
    """Return the text of each file of a folder, in the order of their names.

    Raises:
        FileNotFoundError: where the folder is missing or holds no such file.
        ValueError: where a file is no UTF-8, or all are empty.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {str(folder)!r} is not there: check the path")
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not paths:
        raise FileNotFoundError(f"folder {str(folder)!r} holds no file that matches {pattern!r}")
    texts = []
    for path in paths:
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is no UTF-8 text (byte {error.start}): convert it, or leave it out"
            ) from None
    return not_empty([text for text in texts if text.strip()], f"folder {str(folder)!r}")


def hub_texts(dataset: str, column: str, split: str = "train", config: str | None = None):
    """Return one column of a data set: from COURSE_DATA_DIR where it holds it, else from the hub.

    Args:
        dataset: hub id, for example "openai/gsm8k".
        column: name of a column with text.
        split: "train" or "test".
        config: the hub's configuration name, for data sets that have several.

    Raises:
        HubUnreachable: where the hub can't be reached and there is no local file.
        KeyError: where the data set has no such column.
        ValueError: where it is empty.
    """
    rows = local_rows(dataset, split)
    if rows is None:
        rows = hub_rows(dataset, split, config)
    rows = not_empty(list(rows), f"data set {dataset!r}")
    if column not in rows[0]:
        raise KeyError(
            f"data set {dataset!r} has no column {column!r}; its columns are {sorted(rows[0])}"
        )
    return [row[column] for row in rows]


def local_rows(dataset: str, split: str) -> list[dict] | None:
    """Return the rows of a data set in COURSE_DATA_DIR, or None where it is not there.

    Raises:
        ValueError: where the file is damaged, with its line.
    """
    folder = data_dir()
    if folder is None or dataset not in LOCAL_FILES:
        return None
    path = folder / LOCAL_FILES[dataset].format(split=split)
    if not path.is_file():
        return None
    rows: list[dict] = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                rows.append(json.loads(line))
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged after row {len(rows)}: {error}; copy it anew"
        ) from None
    return rows


def hub_rows(dataset: str, split: str, config: str | None):
    """Return the rows of a data set of the hub.

    Raises:
        HubUnreachable: where the hub, or the data set on it, can't be had.
    """
    import datasets

    try:
        return datasets.load_dataset(dataset, config, split=split)
    except (OSError, ValueError, RuntimeError) as error:  # what the library raises without network
        raise HubUnreachable(
            f"data set {dataset!r} can't be had from the hub ({type(error).__name__}). Set "
            "COURSE_DATA_DIR to a folder that holds "
            f"{LOCAL_FILES.get(dataset, 'its files').format(split=split)}, or go on without it"
        ) from error


def not_empty(items: list, name: str) -> list:
    """Return the items, or refuse an empty list with the name of what is empty.

    Raises:
        ValueError: for no items.
    """
    if not items:
        raise ValueError(f"{name} is empty: there is nothing to read")
    return items
