"""Wrong answers that real learners give; every check must reject them with words that help."""

from typing import NamedTuple


class Wrong(NamedTuple):
    """A wrong answer: the exercise, what is wrong, the code, and words that its hint must hold."""

    exercise: str
    why: str
    code: str
    words: str


def changed(code: str, old: str, new: str) -> str:
    """Return a right answer with one place changed."""
    assert old in code, old
    return code.replace(old, new)


def slips(exercise: str, code: str, *cases: tuple[str, str, str, str]) -> list[Wrong]:
    """Return a wrong answer for each (why, old, new, words)."""
    return [Wrong(exercise, why, changed(code, old, new), words) for why, old, new, words in cases]
