"""Judges that choose between two answers: which place they like, and how to take it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

CHOICES = ("first", "second", "tie")


class PositionBias(NamedTuple):
    """Shares of pairs, each judged in both orders; they add up to 1."""

    consistent: float  # the same answer wins, or both times none does
    first: float  # whichever stands first wins
    second: float  # whichever stands second wins
    mixed: float  # a tie in one order and a winner in the other


def judge_position_bias(
    pairs: Sequence[tuple[str, str]], choose: Callable[[str, str], str]
) -> PositionBias:
    """Ask a judge about each pair in both orders, and return how its place decided.

    A pair counts as consistent where the same answer wins both times, or both are ties; as first or
    second where the same place wins both times; as mixed where one of the two is a tie.

    Args:
        pairs: two answers to one question each; the result has shares of them.
        choose: gives "first", "second" or "tie" for two answers in the order shown; it is asked
            once about each pair as it stands, and once with its answers swapped.

    Raises:
        ValueError: for no pairs, or a choice that is none of the three.

    >>> judge_position_bias([("a", "b"), ("c", "d")], lambda x, y: "first")
    PositionBias(consistent=0.0, first=1.0, second=0.0, mixed=0.0)

    Source: Zheng et al. 2023, "Judging LLM-as-a-Judge", section 3.3 and table 2.
    """
    if not pairs:
        raise ValueError("pairs is empty: give one pair of answers at least")
    counts = dict.fromkeys(PositionBias._fields, 0)
    for one, other in pairs:
        choices = checked(choose(one, other)), checked(choose(other, one))
        if choices in (("first", "second"), ("second", "first"), ("tie", "tie")):
            counts["consistent"] += 1
        elif "tie" in choices:
            counts["mixed"] += 1
        else:
            counts[choices[0]] += 1
    return PositionBias(**{name: count / len(pairs) for name, count in counts.items()})


def swapped_choice(one: str, other: str, choose: Callable[[str, str], str]) -> str:
    """Return the choice of a judge that is asked in both orders: a winner has to win both.

    >>> swapped_choice("a", "b", lambda x, y: "first"), swapped_choice("a", "bb", longer)
    ('tie', 'second')
    """
    choices = checked(choose(one, other)), checked(choose(other, one))
    return choices[0] if choices in (("first", "second"), ("second", "first")) else "tie"


def longer(one: str, other: str) -> str:
    """Choose the longer answer: the judge that length bias leads to."""
    if len(one) == len(other):
        return "tie"
    return "first" if len(one) > len(other) else "second"


def checked(choice: str) -> str:
    """Return a judge's choice, or refuse one that is none."""
    if choice not in CHOICES:
        raise ValueError(f"the judge chose {choice!r}; it must be one of {', '.join(CHOICES)}")
    return choice
