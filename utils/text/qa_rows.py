"""Questions with answers to tune on: rows of a data set that the course knows, or of a file.

What is fit to learn from is another question, see `filtering`. Which rows are held out hangs on
what they are about, so that no topic stands on both sides.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

from utils.text.corpora import hub_rows, local_rows
from utils.world.facts import build_world
from utils.world.mistakes import rows_with_mistakes

N_WORLD = 2000
PARTS = 20  # one of so many topics is held out


@dataclass(frozen=True)
class Columns:
    """What the columns of a data set are called, and what is said about its makers."""

    question: str = "question"
    answer: str = "answer"
    about: str = "question"  # what a row is about: held out together
    licence: str = "unknown: ask whoever made the file"
    made_by: str = "the file's author"


KNOWN = {
    "medquad": Columns(
        "Question", "Answer", "focus", "CC BY 4.0", "Ben Abacha and Demner-Fushman 2019"
    ),
    "legal_plain_english": Columns(
        "original_text", "reference_summary", "doc", "Apache-2.0", "Manor and Li 2019"
    ),
    "qiaojin/PubMedQA": Columns("question", "long_answer", "pubid", "MIT", "Jin et al. 2019"),
    "world": Columns("question", "answer", "question", "Apache-2.0", "this course"),
}


def question_answer_rows(wanted: str) -> tuple[list[dict], Columns]:
    """Return rows of questions and answers, and what their columns are called.

    Args:
        wanted: a name of `KNOWN`, or the path of a file with a JSON object a line (also .gz) that
            has the columns question and answer.

    Raises:
        FileNotFoundError: where there is neither such a name nor such a file.
        ValueError: where a line is no JSON object.
        utils.text.corpora.HubUnreachable: where a known set is neither in COURSE_DATA_DIR nor to
            be had from the hub.

    >>> rows, columns = question_answer_rows("world")
    >>> len(rows), columns.question in rows[0]
    (2000, True)
    """
    if wanted == "world":
        return rows_with_mistakes(build_world(0), N_WORLD, 0.0), KNOWN[wanted]
    if wanted in KNOWN:
        rows = local_rows(wanted, "train")
        return list(hub_rows(wanted, "train") if rows is None else rows), KNOWN[wanted]
    path = Path(wanted).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no data set and no file {wanted!r}; the course knows {', '.join(KNOWN)}. "
            "A file of your own has a JSON object with question and answer on each line"
        )
    return read_rows(path), Columns()


def read_rows(path: Path) -> list[dict]:
    """Return the rows of a JSON Lines file, compressed or not.

    Raises:
        ValueError: where it is damaged, no UTF-8, or a line is no JSON object, with the line.
    """
    rows: list[dict] = []
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as lines:
            for line in lines:
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"{type(row).__name__}, expected an object {{...}}")
                rows.append(row)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path}: line {len(rows) + 1} can't be read ({error})") from None
    return rows


def is_held_out(row: dict, columns: Columns) -> bool:
    """Return whether a row is kept for the evaluation: by a hash of what it is about.

    The same row is held out in every run and on every machine, however many rows there are.

    >>> rows = [{"question": f"Who is {n}?"} for n in range(1000)]
    >>> 20 < sum(is_held_out(row, Columns()) for row in rows) < 80
    True
    """
    about = str(row.get(columns.about, row.get(columns.question, "")))
    digest = hashlib.sha256(" ".join(about.casefold().split()).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") % PARTS == 0
