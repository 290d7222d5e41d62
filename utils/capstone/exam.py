"""The questions that a project's numbers come from: none that anybody looked at while choosing.

The settings of the budgets and of unit 13 were chosen while looking at answers to the exams of
LOOKED_AT. A number from those exams would be too good, so a project draws its own from other seeds,
and leaves out each question that an earlier exam asked.
"""

from __future__ import annotations

from pathlib import Path

from utils.capstone.params import WORLDS
from utils.world.facts import World
from utils.world.questions import Question, questions

LOOKED_AT = {  # seed of an exam by which settings were chosen -> the splits that it asks; None: all
    17_000: None,  # the budgets of the capstone
    11: ("held_out_phrasing", "unknown_entity"),  # unit 13
}
KINDS_OF_EXAM = ("evaluate", "safety")
DRAWN = 6  # times as many questions are drawn as are asked, since some are left out


def exam_seed(stage: str, seed: int) -> int:
    """Return the seed of a stage's exam, which is none that anything else of a project draws by.

    Args:
        stage: one of KINDS_OF_EXAM.
        seed: of the project, below 2 ** 31.

    >>> exam_seed("evaluate", 0) - 2**31, exam_seed("safety", 0) - 2**31
    (0, 1)
    """
    return 2**31 + (2 * seed + KINDS_OF_EXAM.index(stage)) % 2**31


def fresh_questions(
    world: World, split: str, n: int, seed: int, *, held_out_phrasing: bool | None = None
) -> list[Question]:
    """Return different questions of a split that no exam of LOOKED_AT asks.

    Args:
        n: how many; fewer come back where the split holds no more.
        seed: from `exam_seed`.
        held_out_phrasing: as `questions` takes it.

    >>> from utils.world.facts import build_world
    >>> world = build_world()
    >>> old = {q.prompt for q in questions(world, "unknown_entity", 50, 17_000)}
    >>> drawn = fresh_questions(world, "unknown_entity", 50, exam_seed("safety", 0))
    >>> len(drawn), len(old & {q.prompt for q in drawn})
    (50, 0)
    """
    asked = {
        question.prompt
        for looked_at, splits in LOOKED_AT.items()
        if splits is None or split in splits
        for question in questions(world, split, n, looked_at, held_out_phrasing=held_out_phrasing)
    }
    chosen = []
    for question in questions(world, split, DRAWN * n, seed, held_out_phrasing=held_out_phrasing):
        if question.prompt not in asked:
            asked.add(question.prompt)
            chosen.append(question)
    return chosen[:n]


def exam_parts(domain: str) -> dict[str, tuple[str, bool | None]]:
    """Return part of an exam -> the split that it asks, and whether in held-out phrasings alone.

    Known and unknown things are asked of every project; a domain only where the world has a judge
    for it, so not of a folder of one's own.

    Args:
        domain: as `params.yaml` names it.

    >>> list(exam_parts("clinic")), list(exam_parts("a folder of mine"))
    (['known', 'unknown', 'domain'], ['known', 'unknown'])
    """
    parts: dict[str, tuple[str, bool | None]] = {
        "known": ("held_out_phrasing", None),
        "unknown": ("unknown_entity", None),
    }
    if kind := WORLDS.get(Path(domain).as_posix()):
        parts["domain"] = (f"new_{kind}", True)
    return parts


def draw_exam(world: World, domain: str, seed: int, n: int) -> dict[str, list[Question]]:
    """Return the questions of each part of an exam.

    Args:
        world: that is asked about.
        domain: as `params.yaml` names it.
        seed: from `exam_seed`, or one that a class keeps secret.
        n: of each part, fewer where a split holds no more.

    >>> from utils.world.facts import build_world
    >>> {part: len(asked) for part, asked in draw_exam(build_world(), "clinic", 5, 3).items()}
    {'known': 3, 'unknown': 3, 'domain': 3}
    """
    return {
        part: fresh_questions(world, split, n, seed, held_out_phrasing=held_out)
        for part, (split, held_out) in exam_parts(domain).items()
    }
