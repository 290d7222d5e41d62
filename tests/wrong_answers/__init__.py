"""Wrong answers that real learners give; every check must reject them with words that help."""

from typing import NamedTuple


class Wrong(NamedTuple):
    """A wrong answer: the exercise, what is wrong, the code, and words that its hint must hold."""

    exercise: str
    why: str
    code: str
    words: str
