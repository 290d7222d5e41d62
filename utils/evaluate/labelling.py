"""Human labels of pairs: blinded, in random order, kept line by line as they are given.

A session belongs to one labeller and one file of JSON Lines. Each label is on disk before the next
pair is shown, so whoever stops half-way loses nothing and goes on at the same place. Nothing is
ever rewritten: an undo is a line of its own. The widget is in `utils.report.labelling`.
Left out on purpose: several people writing one file, and labels that are not choices.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from utils.evaluate.agreement import cohen_kappa

CHOICES = ("one", "other", "tie")


class Pair(NamedTuple):
    """Two answers to one question, from two systems that the labeller must not know."""

    prompt: str
    one: str  # of the first system, wherever it is shown
    other: str


class Shown(NamedTuple):
    """What a labeller sees."""

    number: int  # of the pair among those given
    prompt: str
    left: str
    right: str


class LabelFileError(ValueError):
    """A file of labels that is damaged, or belongs to other pairs or another labeller."""


class Labelling:
    """One labeller's session; a session on the same file goes on where the last one stopped.

    Args:
        pairs: what is labelled, the same in every session on the file.
        path: of the JSON Lines; made with its folder where it is missing.
        labeller: name or number; decides the order and the sides.
        seed: of order and sides, together with the labeller.

    Raises:
        LabelFileError: where the file was written for other pairs, another labeller or seed, or
            a line other than a torn last one can't be read.
        ValueError: for no pairs.
    """

    def __init__(self, pairs: Sequence[Pair], path: Path | str, labeller: str, seed: int = 0):
        if not pairs:
            raise ValueError("pairs is empty: give one pair of answers at least")
        self.pairs, self.path = [Pair(*pair) for pair in pairs], Path(path)
        rng = random.Random(f"{seed}/{labeller}")
        self.order = rng.sample(range(len(pairs)), len(pairs))
        self.is_turned = [rng.random() < 0.5 for _ in pairs]  # `other` stands on the left
        self.head = {"labeller": labeller, "seed": seed, "pairs": hash_of(self.pairs)}
        self.labels: dict[int, str] = {}  # number of a pair -> choice, in the order given
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size:
            self.labels = replay(self.path, self.head)
        else:
            self.append(self.head)

    def current(self) -> Shown | None:
        """Return the pair to label next, or None where all are labelled."""
        number = next((k for k in self.order if k not in self.labels), None)
        if number is None:
            return None
        prompt, one, other = self.pairs[number]
        left, right = (other, one) if self.is_turned[number] else (one, other)
        return Shown(number, prompt, left, right)

    def label(self, side: str) -> None:
        """Keep which answer of the current pair is better, by the side on which it stands.

        Args:
            side: "left", "right" or "tie".

        Raises:
            ValueError: for another side, or where nothing is left to label.
        """
        shown = self.current()
        if side not in ("left", "right", "tie"):
            raise ValueError(f"side must be left, right or tie, got {side!r}")
        if shown is None:
            raise ValueError("all pairs are labelled: undo takes the last label back")
        choice = "tie"
        if side != "tie":
            choice = "one" if (side == "left") != self.is_turned[shown.number] else "other"
        self.append({"pair": shown.number, "choice": choice, "side": side})
        self.labels[shown.number] = choice

    def undo(self) -> None:
        """Take the last label back, if there is one; its pair is shown again."""
        if self.labels:
            number = next(reversed(self.labels))
            self.append({"pair": number, "undo": True})
            del self.labels[number]

    def append(self, line: dict) -> None:
        """Write one line and have it on the disk before anything else happens."""
        with self.path.open("ab") as file:
            if file.tell() and not ends_a_line(self.path):
                file.write(b"\n")  # after a line that was torn
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def hash_of(pairs: Sequence[Pair]) -> str:
    """Return a short hash of pairs, which changes with any of their texts or their order."""
    text = json.dumps([list(pair) for pair in pairs])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def ends_a_line(path: Path) -> bool:
    """Return whether the last byte of a file is a line's end."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_lines(path: Path | str) -> list[dict]:
    """Return the lines of a file of labels; one that was torn by a kill is left out.

    Raises:
        LabelFileError: for another line that can't be read, or a file without a first line.
    """
    raw = Path(path).read_bytes().split(b"\n")
    lines = []
    for number, text in enumerate(raw, 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except ValueError:
            if number == len(raw):  # no line end behind it
                continue
            if any(rest.strip() for rest in raw[number:]) and text.startswith(b'{"'):
                continue  # torn, and the session went on behind it
            raise LabelFileError(f"{path}, line {number}: no JSON, {text[:40]!r}") from None
        if not isinstance(line, dict):
            raise LabelFileError(f"{path}, line {number}: no label, {text[:40]!r}")
        lines.append(line)
    if not lines or "pairs" not in lines[0]:
        raise LabelFileError(f"{path} does not begin as a file of labels does")
    return lines


def replay(path: Path | str, head: dict | None = None) -> dict[int, str]:
    """Return the labels of a file, number of a pair -> "one", "other" or "tie".

    Args:
        path: of the file.
        head: what its first line must say; None for anything.

    Raises:
        LabelFileError: for a damaged file, or where its first line says something else.
    """
    first, *lines = read_lines(path)
    for name, wanted in (head or {}).items():
        if first.get(name) != wanted:
            raise LabelFileError(
                f"{path} was written with {name} {first.get(name)!r}, not {wanted!r}: give "
                "each labeller and each set of pairs a file of its own"
            )
    labels: dict[int, str] = {}
    for line in lines:
        if line.get("undo"):
            labels.pop(line["pair"], None)
        elif line.get("choice") in CHOICES and isinstance(line.get("pair"), int):
            labels[line["pair"]] = line["choice"]
        else:
            raise LabelFileError(f"{path} holds a line that is no label: {line}")
    return labels


class Agreement(NamedTuple):
    """How far two labellers agree on the pairs that both have labelled."""

    n_pairs: int
    seen: float  # share of pairs with the same label
    kappa: float


def agreement(first: Path | str, second: Path | str) -> Agreement:
    """Return the agreement of two files of labels over the pairs that both have labelled.

    Raises:
        LabelFileError: for files of different pairs, or a damaged one.
        ValueError: where no pair is in both, or kappa is not defined (see `cohen_kappa`).
    """
    heads = [read_lines(path)[0]["pairs"] for path in (first, second)]
    if heads[0] != heads[1]:
        raise LabelFileError(f"{first} and {second} were written for different pairs")
    ours, theirs = replay(first), replay(second)
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        raise ValueError("no pair was labelled by both: let them label the same ones")
    a, b = [ours[k] for k in both], [theirs[k] for k in both]
    return Agreement(
        len(both), sum(x == y for x, y in zip(a, b, strict=True)) / len(both), cohen_kappa(a, b)
    )
