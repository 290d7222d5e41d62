"""The glossary, made of the lectures: a bold term is defined in the sentence that it stands in.

The rule for authors: the first time that a lecture sets a noun of the field in bold, the same
sentence says what it is. Bold that only stresses, opens a list item or names a step is no term:
what ends in a full stop or colon, stands in a table or a box, or is listed in `STRESSED`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from utils.book.lectures import Lecture, Prose

BOLD = re.compile(r"\*\*([^*]+?)\*\*")
BORDER = re.compile(r"[.?!][\")*]*\s+(?=[A-Z*`$\"(0-9])|\n\n(?:#.*\n\n)?|\n(?=\s*(?:[-*]|\d+\.) )")
ABBREVIATED = re.compile(r"(?:\bal|\b[A-Z]|\be\.g|\bi\.e)\.$")
POINTS_BACK = re.compile(r"(?:So )?(?:This|These|That|It|They|Both|In it|Kirkpatrick)\b")
SHORT = 60  # characters; a sentence below says too little alone
STRESSED = {  # unit -> bold that is no term of the field
    "00": {
        "tokens",
        "model",
        "loss",
        "Check",
        "Write",
        "lecture",
        "lab",
        "hub",
        "tier",
        "documents",
        "judge",
        "steps",
    },
    "01": {"SmolLM2-135M-Instruct"},
    "02": {"by place", "search", "SmolLM2-135M-Instruct", "probabilities", "heads"},
    "03": {"normalised", "copying heads"},
    "04": {"warms up", "W", "validation", "pipeline"},
    "05": {"left", "positions", "target", "batch", "sample", "decode"},
    "06": {"another row contradicts it", "positions", "card", "chat", "instructions"},
    "07": {"gained", "kept", "Merged", "scale", "update", "Full tuning at a third of the rate"}
    | {"With the table of tokens", "Replay", "rank"},
    "08": {"drawn from the model", "own text", "Own text", "LoRA learns less and forgets less"}
    | {"EWC", "Replay", "L2 to the start", "general suite", "general loss"},
    "09": {"reference", "resample", "task", "scenarios", "metrics", "confidence"},
    "10": {"score", "Better data", "ceiling", "head", "held out", "Length penalty", "reward"},
    "11": {"price", "score", "targets", "cut", "whitened"},
    "12": {"sequence", "batch", "micro_batch", "constant", "reference", "held-out", "group"},
    "13": {"borne out"},
    "14": {"overlaps"},
    "15": {"f", "g", "stage", "The last micro-batch is smaller", "selective"},
    "16": {"Sequence parallelism", "bubble", "logits", "back into the queue", "moments"},
}
ANYWHERE = {"Next"}


@dataclass(frozen=True)
class Term:
    """A term of the field, and where a lecture defines it."""

    name: str  # as the lecture writes it
    unit: str  # 02_attention
    title: str  # of the unit
    definition: str  # the lecture's own sentence, in Markdown

    @property
    def anchor(self) -> str:
        """What links point to: letters, digits and hyphens."""
        return slug(self.name)


def slug(name: str) -> str:
    """Return a name as part of an address.

    >>> slug("Warm-up, stable, decay")
    'warm-up-stable-decay'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def is_term(name: str, unit: str) -> bool:
    """Return whether bold text is a term by its form, and is not listed as stressed.

    >>> is_term("softmax", "02"), is_term("Words are counted once.", "01"), is_term("left", "05")
    (True, False, False)
    """
    stands_alone = not name.endswith((".", ":", "?", "!")) and not re.match(r"\d+ minutes", name)
    return stands_alone and name not in ANYWHERE | STRESSED.get(unit, set())


def bold_terms(text: str, unit: str) -> Iterator[re.Match]:
    """Yield the matches of bold terms in Markdown, left to right; tables and boxes are passed over.

    Args:
        text: of one Markdown cell.
        unit: its number.
    """
    for found in BOLD.finditer(text):
        line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
        name = " ".join(found[1].split())
        if not line.startswith(("|", ">")) and is_term(name, unit):
            yield found


def sentences(text: str) -> list[tuple[int, int]]:
    """Return where each sentence of Markdown begins and ends; a list item begins a new one.

    A full stop after a single capital or `al.` ends nothing.
    """
    ends = [m.end() for m in BORDER.finditer(text) if not ABBREVIATED.search(text[: m.start() + 1])]
    starts = [0, *ends]
    return list(zip(starts, [*ends, len(text)], strict=True))


def sentence_around(text: str, start: int, end: int) -> str:
    """Return the sentence of Markdown that holds text[start:end], on one line.

    Where it points back (*This is ...*) the one before in its paragraph comes along; where it is
    short and opens with the term, or nothing stands before it, the one behind.

    >>> text = "One comes first here. A **mask** of Vu et al. 2020 says which query sees which key."
    >>> sentence_around(text, 24, 32)
    'A **mask** of Vu et al. 2020 says which query sees which key.'
    >>> sentence_around("Shares are positive. This is a **softmax**.", 31, 42)
    'Shares are positive. This is a **softmax**.'
    """
    parts = sentences(text)
    here = next(k for k, (first, last) in enumerate(parts) if first <= start < last)
    last_part = next(k for k, (_, last) in enumerate(parts) if end <= last)
    sentence = cleaned(text[parts[here][0] : parts[last_part][1]])
    points_back = POINTS_BACK.match(sentence)
    if not points_back and len(sentence) >= SHORT:
        return sentence
    before = text[slice(*parts[here - 1])] if here else "\n\n"
    behind = text[slice(*parts[last_part + 1])] if last_part + 1 < len(parts) else "#"
    opens = sentence.startswith("**") and not points_back
    if not opens and "\n\n" not in before:
        return f"{cleaned(before)} {sentence}"
    return sentence if behind.startswith(("#", "$$")) else f"{sentence} {cleaned(behind)}"


def cleaned(sentence: str) -> str:
    """Return a sentence on one line, without the mark of a list."""
    sentence = re.sub(r"\n\n#.*", "", sentence)
    return re.sub(r"^(?:[-*>]|\d+\.)\s+", "", " ".join(sentence.split()))


def glossary(lectures: list[Lecture]) -> list[Term]:
    """Return all terms in alphabetical order, each where it first stands in bold."""
    terms: dict[str, Term] = {}
    for lecture in lectures:
        for block in lecture.blocks:
            if not isinstance(block, Prose):
                continue
            for found in bold_terms(block.text, lecture.number):
                name = " ".join(found[1].split())
                definition = sentence_around(block.text, *found.span())
                term = Term(name, lecture.name, lecture.title, definition)
                terms.setdefault(term.anchor, term)
    return sorted(terms.values(), key=lambda term: term.anchor)
