"""A reward that is computed, not learned: is the last number of a response the right one?

Whoever learns from a checker learns what the checker checks. This one reads the last number alone,
so that a response has one guess and can't win by listing candidates.
"""

from __future__ import annotations

import re
from decimal import Decimal


def verify_answer(response: str, answer: str) -> float:
    """Return 1.0 where the last number of a response equals the answer, else 0.0.

    A number is a run of the digits 0 to 9, perhaps with a comma before every three of them (1,234)
    and with a decimal part (.5). A sign straight before it belongs to it, unless a digit or a
    letter stands before the sign, as in 7-5. Numbers are compared by value, exactly: 12, +12, 12.0
    and 012 are the same, 0.1 and 0.10 too, and 12 is not 12.0000000000000000001.

    Args:
        response: what the model wrote, without the prompt; may be empty or hold no number.
        answer: the right number, as text.

    Raises:
        ValueError: where the answer is not one number and nothing else but blanks around it.

    >>> verify_answer("7+5=12.", "12"), verify_answer("It is 12, no, 13.", "12")
    (1.0, 0.0)
    >>> verify_answer("1,234.50", "1234.5"), verify_answer("", "3"), verify_answer("7-5", "-5")
    (1.0, 0.0, 0.0)

    Source: Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", section 2 (an
    answer is right if its final number is).
    """
    number = r"(?:(?<![0-9A-Za-z])[-+])?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
    if not re.fullmatch(number, answer.strip()):
        raise ValueError(f"the answer must be one number, got {answer!r}")
    found = re.findall(number, response)
    if not found:
        return 0.0
    last, right = (Decimal(text.replace(",", "")) for text in (found[-1], answer))
    return float(last == right)
