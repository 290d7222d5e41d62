"""Answers of people to open points: a project's `governance.yaml`, which the pack quotes.

No tool can know who the provider is or which law applies. Who knows writes it there with a name;
the point is then shown as answered, in that person's words, and is open no longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from utils.evidence.page import Answered, Block, Open, Page, Section, open_points

GOVERNANCE = "governance.yaml"
EXAMPLE = """\
# What no record can know: answers to the open points of the evidence pack, each with who gives it.
# The pack lists the points with their ids. One answer is two lines under its id, such as:
#
# annex-1(a):
#   answer: Example School, 1 Example Street
#   by: Ann Example
"""


def read_governance(root: Path) -> dict[str, dict[str, str]]:
    """Return the answers of a project, id -> "answer" and "by"; none where there is no file.

    Raises:
        ValueError: for a file that is no list of answers; the message says where.
    """
    from yaml import YAMLError, safe_load

    path = root / GOVERNANCE
    try:
        found = safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f" in line {line + 1}"
        raise ValueError(
            f"{GOVERNANCE} can't be read as YAML{where}: write it as its first lines say"
        ) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{GOVERNANCE} must hold ids of open points with an answer under each")
    for point, told in found.items():
        good = isinstance(told, dict) and set(told) == {"answer", "by"}
        if not good or not all(isinstance(v, str) and v.strip() for v in told.values()):
            raise ValueError(
                f"{GOVERNANCE}: {point!r} needs two lines under it, answer and by, each with words"
            )
    return {str(point): {k: v.strip() for k, v in told.items()} for point, told in found.items()}


def with_answers(pages: Sequence[Page], answers: Mapping[str, Mapping[str, str]]) -> list[Page]:
    """Return pages in which the open points that somebody answered are answered.

    Raises:
        ValueError: for an answer to a point that is not open in these pages.
    """
    ids = [point.open for point in open_points(pages)]
    for point in answers:
        if point not in ids:
            near = get_close_matches(point, ids, 1)
            raise ValueError(
                f"{GOVERNANCE}: {point!r} is no open point of this pack"
                + (f" ({near[0]} is closest)" if near else "")
            )

    def answered(block: Block) -> Block:
        told = answers.get(block.open) if isinstance(block, Open) else None
        if told is None or not isinstance(block, Open):
            return block
        return Answered(block.open, block.what, told["answer"], told["by"])

    def section(one: Section) -> Section:
        return replace(one, blocks=tuple(map(answered, one.blocks)))

    return [replace(page, sections=tuple(map(section, page.sections))) for page in pages]
