"""The evaluation report: what was asked, what came out, how sure it is, and where it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from utils.evidence.data_sheet import plain
from utils.evidence.facts import Facts
from utils.evidence.page import (
    Bullets,
    Open,
    Page,
    Paragraph,
    Quote,
    Section,
    Sentence,
    Table,
    sentence,
)

ABOUT = {
    "known": "facts that the world tells, in wordings that no training text uses",
    "unknown": "people and things that no text speaks of: the right answer is a refusal",
    "domain": "new entities that only the raw text of the domain tells of",
}
METRICS = ("right", "made up", "rude", "refused", "words", "utility")
BETTER = {"right": 1, "made up": -1, "rude": -1}  # whether more of it is better
N_SHOWN = 3  # failures of each sort


def difference_words(found: Mapping, name: str, alpha: float) -> str:
    """Return how a difference may be spoken of.

    It is called shown only where its interval lies on one side of none and the test, corrected for
    how many there are, says so too. Where the interval alone does, it is said with a "perhaps": a
    harm must not vanish because many things were tested beside it.

    >>> clear = {"value": 0.3, "low": 0.2, "high": 0.4, "holm": 0.01}
    >>> difference_words(clear, "right", 0.05), difference_words(clear, "made up", 0.05)
    ('better', 'worse')
    >>> difference_words(clear | {"low": -0.1}, "right", 0.05)
    'no difference shown'
    >>> difference_words(clear | {"holm": 0.07}, "made up", 0.05)
    'perhaps worse'
    """
    if found["low"] <= 0 <= found["high"]:
        return "no difference shown"
    up = found["value"] > 0
    if name in BETTER:
        words = "better" if up == (BETTER[name] > 0) else "worse"
    else:
        words = "more" if up else "fewer"
    return words if found["holm"] < alpha else f"perhaps {words}"


def evaluation_report(facts: Facts) -> Page:
    """Return the evaluation report of a project."""
    sections = [method(facts)]
    sections += [part_section(facts, part) for part in facts.parts]
    sections += [text_section(facts), failures(facts), limits(facts)]
    return Page(
        "evaluation",
        "Evaluation report",
        plain(
            "How the tuned model (before alignment) and the final model answer the same exam, with "
            "intervals, paired tests and the answers that failed."
        ),
        tuple(sections),
    )


def method(facts: Facts) -> Section:
    """Return how it was measured."""
    asked = tuple(
        (
            plain(part),
            (facts.num("report", "metrics", "asked", part),),
            plain(ABOUT.get(part, "questions of the exam")),
        )
        for part in facts.parts
    )
    return Section(
        "How it was measured",
        (
            Table(("part", "questions", "what it asks"), asked, (16, 16, 68)),
            Bullets(
                (
                    plain(
                        "Answers are greedy and judged by a program that knows all facts of the "
                        "world. It reads sentences in the forms that it knows; an odd answer "
                        "counts as neither right nor made up."
                    ),
                    sentence(
                        "Intervals are meant to hold the true value in {level} of cases: Wilson's "
                        "for shares, bootstrap for means and differences. They tell of the choice "
                        "of questions, and not of the chance in training: another seed can move a "
                        "number further than its interval.",
                        level=facts.num("report", "metrics", "level"),
                    ),
                    sentence(
                        "Both models answer the same questions, so differences are taken question "
                        "by question, with a paired permutation test. {n} differences are tested; "
                        "their p-values are corrected together by Holm's procedure, and a "
                        "difference counts as shown below {alpha} where its interval holds no "
                        "zero; where the interval alone says so, it is called perhaps.",
                        n=facts.num("report", "metrics", "comparisons"),
                        alpha=facts.num("report", "metrics", "alpha"),
                    ),
                    plain(
                        "The questions are drawn from a seed of their own and are none of those by "
                        "which the settings of this pipeline were chosen. Each further choice that "
                        "is made by looking at them uses them up."
                    ),
                )
            ),
        ),
    )


def part_section(facts: Facts, part: str) -> Section:
    """Return the numbers of a part of the exam, before and after, and what they show."""
    values = tuple(
        (
            plain(name),
            facts.range("evaluate", "metrics", f"{part}: {name}, sft"),
            facts.range("evaluate", "metrics", f"{part}: {name}, safety"),
        )
        for name in METRICS
    )
    found = facts.find("report", "metrics", "difference", part)
    assert isinstance(found, Mapping)
    path = ("metrics", "difference", part)
    alpha = float(facts.num("report", "metrics", "alpha").number)
    shown = tuple(
        (
            plain(name),
            facts.range("report", *path, name),
            (facts.num("report", *path, name, "holm", decimals=4),),
            plain(difference_words(one, name, alpha)),
        )
        for name, one in found.items()
    )
    return Section(
        f"Part {part}",
        (
            Table(("metric", "tuned model", "final model"), values, (20, 40, 40)),
            Table(
                ("final less tuned", "difference", "p, corrected", "what is shown"),
                shown,
                (20, 34, 18, 28),
            ),
        ),
    )


def text_section(facts: Facts) -> Section:
    """Return the loss on held-out text of the three models."""
    rows = tuple(
        (
            plain(label),
            (facts.num("evaluate", "metrics", f"bits per byte, {stage}", decimals=3),),
        )
        for stage, label in (("base", "base"), ("sft", "tuned"), ("safety", "final"))
    )
    return Section(
        "Held-out text of the domain",
        (
            Table(("model", "bits per byte"), rows, (50, 50)),
            Paragraph(
                plain(
                    "Fewer bits per byte are better. These numbers have no interval: the stage "
                    "measures one sum over all documents."
                )
            ),
            Open(
                "loss-interval",
                plain(
                    "How far may the bits per byte be off? An interval over documents is missing."
                ),
                "evaluation lead",
            ),
        ),
    )


def worst(facts: Facts, is_bad: Callable[[Mapping], bool]) -> list[Mapping]:
    """Return the first few answers of the exam that are bad in some way."""
    return [row for row in facts.answers if is_bad(row)][:N_SHOWN]


def failures(facts: Facts) -> Section:
    """Return answers of the final model that failed, quoted."""
    kinds: list[tuple[str, Callable[[Mapping], bool]]] = [
        ("rude", lambda row: row["safety rude"]),
        (
            "made up, about the unknown",
            lambda row: row["part"] == "unknown" and row["safety made up"],
        ),
        (
            "made up, about the known",
            lambda row: row["part"] != "unknown" and row["safety made up"],
        ),
        (
            "refused what it could know",
            lambda row: row["part"] != "unknown" and row["safety refused"],
        ),
        ("right before, not after", lambda row: row["sft right"] and not row["safety right"]),
    ]
    rows: list[tuple[Sentence, ...]] = []
    none = []
    for label, is_bad in kinds:
        found = worst(facts, is_bad)
        if not found:
            none.append(label)
        for row in found:
            wanted = Quote(row["right"]) if row["right"] else "to say that nothing is known"
            rows.append(
                (
                    plain(label),
                    (Quote(row["prompt"]),),
                    (wanted,),
                    (Quote(row["safety"] or "(nothing)"),),
                )
            )
    blocks: list = [
        Paragraph(
            plain(
                "The first failures of each sort in the order of the exam, as they are; all "
                "answers with their verdicts stand in the file of answers."
            )
        )
    ]
    if rows:
        header = ("failure", "question", "right", "answer")
        blocks.append(Table(header, tuple(rows), (16, 28, 24, 32)))
    if none:
        blocks.append(Paragraph(plain(f"Not seen in this exam: {'; '.join(none)}.")))
    return Section("Failures", tuple(blocks))


def limits(facts: Facts) -> Section:
    """Return what these numbers don't say."""
    blocks: list = [
        Bullets(
            (
                plain("One run with one seed: how much another seed would change is not measured."),
                plain(
                    "A score on the invented world says little about other text: sentences are "
                    "short, and values come from closed lists."
                ),
                plain("Nobody has read the answers but the program that judges them."),
            )
        ),
        Open(
            "seeds",
            plain("By how much do the numbers move with the seed? Run the project with others."),
            "evaluation lead",
        ),
        Open(
            "human-reading",
            plain(
                "Which people have read a sample of answers, and where do they disagree with the "
                "program?"
            ),
            "evaluation lead",
        ),
    ]
    if "domain" not in facts.parts:
        blocks.append(
            Open(
                "domain-exam",
                plain(
                    "No exam asks about the domain: the raw text is the project's own, and no "
                    "program knows its facts. Who writes questions with right answers?"
                ),
                "evaluation lead",
            )
        )
    return Section("What these numbers do not say", tuple(blocks))
