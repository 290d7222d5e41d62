"""Where text comes from: the world, CPython's language reference, a folder, or a hub.

Each function returns a list of documents (str). Only `hub_texts` may use a network, and only where
COURSE_DATA_DIR does not hold the data set.
Left out on purpose: cleaning and near-duplicates (unit 04).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.settings import data_dir
from utils.world.documents import pretraining_documents
from utils.world.facts import build_world


@dataclass(frozen=True)
class DataSet:
    """Where a data set is: its file in COURSE_DATA_DIR, and what the hub must be asked for."""

    file: str  # {split} where each split has a file of its own
    config: str | None = None
    folder: str | None = None


DATA_SETS = {
    "qiaojin/PubMedQA": DataSet("pubmedqa_{split}.jsonl.gz", config="pqa_labeled"),
    "openai/gsm8k": DataSet("gsm8k_{split}.jsonl.gz", config="main"),
    "Anthropic/hh-rlhf": DataSet("hh_rlhf_harmless_{split}.jsonl.gz", folder="harmless-base"),
    "cais/mmlu": DataSet("mmlu_medicine_law.jsonl.gz", config="all"),
    "medquad": DataSet("medquad.jsonl.gz"),
    "legal_plain_english": DataSet("legal_plain_english.jsonl.gz"),
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
    """Return the topics of Python's language reference that ship with CPython, about 0.5 MB.

    The text differs a little between Python versions; nothing that is asserted depends on that.

    >>> any('The "for" statement' in topic for topic in python_reference())
    True
    """
    from pydoc_data import topics

    return [text for _, text in sorted(topics.topics.items())]


def local_folder(folder: Path | str, pattern: str = "**/*.txt") -> list[str]:
    """Return the text of each file of a folder that is not blank, in the order of their names.

    Args:
        folder: where the files are.
        pattern: which files, `**` for those in folders within it, too.

    Raises:
        FileNotFoundError: where the folder is missing or holds no such file.
        ValueError: where a file is not UTF-8, or all are blank.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {str(folder)!r} is not there: correct the path")
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not paths:
        raise FileNotFoundError(
            f"folder {str(folder)!r} holds no file that matches {pattern!r}: put texts there, or "
            "give another pattern"
        )
    texts = []
    for path in paths:
        try:
            texts.append(path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not UTF-8 text (byte {error.start}): convert it, or take it out"
            ) from None
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError(f"folder {str(folder)!r}: each of its {len(paths)} files is blank")
    return texts


def hub_texts(dataset: str, column: str, split: str = "train") -> list[str]:
    """Return one column of a data set: from COURSE_DATA_DIR where it holds it, else from the hub.

    Args:
        dataset: hub id such as "openai/gsm8k", or another name of `DATA_SETS`.
        column: name of a column with text.
        split: "train" or "test".

    Raises:
        HubUnreachable: where there is no local file and the hub can't be reached.
        KeyError: where the data set has no such column.
        ValueError: where it is empty, damaged, or the column holds no text.
    """
    rows = local_rows(dataset, split)
    if rows is None:
        rows = hub_rows(dataset, split)
    if len(rows) == 0:
        raise ValueError(f"data set {dataset!r} has no rows in split {split!r}: try another split")
    first = rows[0]
    if column not in first:
        raise KeyError(
            f"data set {dataset!r} has no column {column!r}; its columns are {', '.join(first)}"
        )
    texts = [row[column] for row in rows]
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"column {column!r} of {dataset!r} holds {type(text).__name__} in row {number}, "
                "expected text: choose another column"
            )
    return texts


def local_rows(dataset: str, split: str) -> list[dict] | None:
    """Return the rows of a data set in COURSE_DATA_DIR, or None where it is not there.

    Raises:
        FileNotFoundError: where COURSE_DATA_DIR names no folder.
        ValueError: where the file is damaged, with the row.
    """
    folder = data_dir()
    if folder is None or dataset not in DATA_SETS:
        return None
    path = folder / DATA_SETS[dataset].file.format(split=split)
    if not path.is_file():
        return None
    rows: list[dict] = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                rows.append(json.loads(line))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged after row {len(rows)} ({error}): copy it anew, or remove it to "
            "use the hub"
        ) from None
    return [row for row in rows if row.get("split", split) == split]


def hub_rows(dataset: str, split: str) -> Sequence[dict]:
    """Return the rows of a data set of the hub.

    Raises:
        HubUnreachable: where the hub, or the data set on it, can't be had.
    """
    import datasets
    from huggingface_hub import constants, get_session

    known = DATA_SETS.get(dataset, DataSet(f"{dataset.rpartition('/')[2]}.jsonl.gz"))
    try:
        if not constants.HF_HUB_OFFLINE:  # ask once: the library itself would retry for 20 seconds
            get_session().head(constants.ENDPOINT, timeout=5)
        return datasets.load_dataset(dataset, known.config, data_dir=known.folder, split=split)
    except Exception as error:
        if isinstance(error, ValueError):  # an unknown split or configuration: says so itself
            raise
        raise HubUnreachable(
            f"data set {dataset!r} can't be had from the hub ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no answer'}). Set COURSE_DATA_DIR to "
            f"a folder that holds {known.file.format(split=split)}, or HF_HUB_OFFLINE=1 where it "
            "was downloaded before, or go on without it"
        ) from error
