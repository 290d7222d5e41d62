"""The data pipeline: from raw pages to text worth training on, with a table of what was removed.

Stages: clean, drop what is no text, drop near-copies, drop contaminated pages. `mix` then draws
from several sources. Tokens and rows come after (`utils/tokens`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from utils.text.cleaning import clean_text, rejection_reason
from utils.text.contamination import find_contamination
from utils.text.duplicates import THRESHOLD, without_near_duplicates


@dataclass(frozen=True)
class Stage:
    """What one stage left and what it removed.

    `kept` holds numbers of raw pages, `texts` what they say after this stage, `removed` a reason
    for each page that this stage dropped.
    """

    name: str
    kept: list[int]
    texts: list[str] = field(repr=False)
    removed: dict[int, str] = field(default_factory=dict, repr=False)

    @property
    def n_bytes(self) -> int:
        """Bytes of text that are left, in UTF-8."""
        return sum(len(text.encode()) for text in self.texts)


def run_pipeline(
    pages: Sequence[str],
    questions: Sequence[str] = (),
    *,
    threshold: float = THRESHOLD,
    n_words: int = 8,
) -> list[Stage]:
    """Return the stages of the pipeline over raw pages, from collected to decontaminated.

    Args:
        pages: raw texts.
        questions: evaluation questions that must not stand in the result.
        threshold: estimated Jaccard similarity from which on two pages are near-copies.
        n_words: length of a run of words that makes a page contaminated.

    Raises:
        ValueError: where there are no pages, or none is left.

    >>> page = "A page of some length that says what it has to say, and then it ends."
    >>> [len(stage.kept) for stage in run_pipeline([page, "menu", page])]
    [3, 3, 2, 1, 1]
    """
    if not pages:
        raise ValueError("pages is empty: give one page at least")
    everything = list(range(len(pages)))
    stages = [Stage("collected", everything, list(pages))]
    stages.append(Stage("cleaned", everything, [clean_text(page) for page in pages]))
    reasons = map(rejection_reason, stages[-1].texts)
    stages.append(drop(stages[-1], "is text", {i: r for i, r in enumerate(reasons) if r}))

    stay = set(without_near_duplicates(stages[-1].texts, threshold))
    copies = {i: "near-copy" for i in range(len(stages[-1].texts)) if i not in stay}
    stages.append(drop(stages[-1], "near-copies out", copies))

    asked = [clean_text(question) for question in questions]  # as the pages were
    hits = find_contamination(stages[-1].texts, asked, n_words)
    found = {hit.document: f"holds: {hit.words}" for hit in hits}
    stages.append(drop(stages[-1], "decontaminated", found))
    return stages


def drop(before: Stage, name: str, reasons: Mapping[int, str]) -> Stage:
    """Return the stage after `before` without the texts at some places, and their reasons.

    Raises:
        ValueError: where nothing is left.
    """
    left = [i for i in range(len(before.texts)) if i not in reasons]
    if not left:
        raise ValueError(
            f"stage {name!r} removed all {len(before.texts)} pages "
            f"({Counter(reasons.values()).most_common(1)[0][0]}): look at its rule, or at the pages"
        )
    return Stage(
        name,
        [before.kept[i] for i in left],
        [before.texts[i] for i in left],
        {before.kept[i]: reason for i, reason in reasons.items()},
    )


def stage_rows(stages: Sequence[Stage]) -> list[list[str]]:
    """Return the rows of a table: stage, pages, bytes, pages removed, the most frequent reason."""
    rows = []
    for stage in stages:
        reasons = Counter(reason.split(":")[0] for reason in stage.removed.values())
        most = ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items()))
        row = [stage.name, f"{len(stage.kept):,}", f"{stage.n_bytes:,}", f"{len(stage.removed):,}"]
        rows.append([*row, most])
    return rows


def mix(
    sources: Mapping[str, Sequence[str]],
    weights: Mapping[str, float],
    n_documents: int,
    seed: int = 0,
) -> tuple[list[str], dict[str, float]]:
    """Return documents drawn from sources by weight, and how often each source was gone through.

    Each source is read in a shuffled order, and again from its start where it is used up.

    Args:
        sources: name -> documents.
        weights: name -> share of the documents drawn, in any unit.
        n_documents: documents to draw in all.
        seed: of order and draw.

    Raises:
        ValueError: for a source without documents or weights that do not fit the sources.

    >>> texts, epochs = mix({"a": ["x", "y"], "b": ["z"]}, {"a": 3, "b": 1}, n_documents=400)
    >>> texts.count("z") == 400 * epochs["b"] / 400, 60 < texts.count("z") < 140
    (True, True)
    """
    if set(sources) != set(weights) or not all(weight > 0 for weight in weights.values()):
        raise ValueError(
            f"weights must give each source a number above 0: sources {sorted(sources)}, weights "
            f"{dict(weights)}"
        )
    empty = [name for name, documents in sources.items() if not documents]
    if empty:
        raise ValueError(f"source {empty[0]!r} has no documents: leave it out")
    rng = random.Random(seed)
    orders = {name: rng.sample(range(len(docs)), len(docs)) for name, docs in sources.items()}
    drawn: Counter = Counter()
    mixed = []
    for name in rng.choices(list(weights), list(weights.values()), k=n_documents):
        order = orders[name]
        mixed.append(sources[name][order[drawn[name] % len(order)]])
        drawn[name] += 1
    return mixed, {name: drawn[name] / len(sources[name]) for name in sources}
