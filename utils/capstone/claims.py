"""Sentences of a report and the records that support them: what no record says is not claimed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Claim(NamedTuple):
    """A number as a text states it.

    Args:
        text: the sentence.
        number: as printed in it, such as "0.83" or "12".
        record: name of the record that it is taken from.
        path: the keys that lead to the number inside the record.
    """

    text: str
    number: str
    record: str
    path: tuple[str, ...]


def unsupported_claims(claims: Sequence[Claim], records: Mapping[str, Mapping]) -> list[str]:
    """Return what is wrong with claims, a line for each that its record does not support.

    Returns:
        Lines "sentence: reason" in the order of the claims; see `reason_against`.

    >>> records = {"evaluate": {"metrics": {"right": 0.8349}}}
    >>> good = Claim("It is right in 0.83 of cases.", "0.83", "evaluate", ("metrics", "right"))
    >>> bad = Claim("It is right in 0.9 of cases.", "0.9", "evaluate", ("metrics", "right"))
    >>> unsupported_claims([good, bad], records)
    ['It is right in 0.9 of cases.: differs from the record, which says 0.8349']
    """
    found = [(claim.text, reason_against(claim, records)) for claim in claims]
    return [f"{text}: {reason}" for text, reason in found if reason]


def reason_against(claim: Claim, records: Mapping[str, Mapping]) -> str:
    """Return why a record does not support a claim, or an empty text where it does.

    A claim is supported where the record's number, rounded to as many decimals as the claim prints,
    is the claim's, and where that stands in the sentence as a number by itself: 0.8 does not stand
    in "0.83" nor in "-0.8" or "10.8". A value that lies exactly between two may be rounded either
    way. True, False and NaN are no numbers.

    Args:
        claim: the four fields of a `Claim` in their order, perhaps as a plain tuple: unpack it.
        records: name -> record, dictionaries inside dictionaries.

    Returns:
        Words that begin with "no record", "no entry", "not a number", "differs" or "not in the
        sentence": the first of these that applies.

    >>> records = {"evaluate": {"metrics": {"right": 0.8349}}}
    >>> path = ("metrics", "right")
    >>> reason_against(("It is right in 0.83 of cases.", "0.83", "evaluate", path), records)
    ''
    >>> reason_against(("It is right in 0.9 of cases.", "0.9", "evaluate", path), records)[:7]
    'differs'
    """
    text, number, record, path = claim
    if record not in records:
        return f"no record is called {record}"
    entry: object = records[record]
    for key in path:
        if not isinstance(entry, Mapping) or key not in entry:
            return f"no entry {' > '.join(path)} in the record {record}"
        entry = entry[key]
    if isinstance(entry, bool) or not isinstance(entry, int | float) or entry != entry:
        return f"not a number stands at {' > '.join(path)}: {entry!r}"
    decimals = len(number.partition(".")[2])
    if abs(entry - float(number)) > 0.5 * 10**-decimals * (1 + 1e-9):
        return f"differs from the record, which says {entry}"
    if not re.search(rf"(?<![\d.\-]){re.escape(number)}(?!\.?\d)", text):
        return f"not in the sentence: {number}"
    return ""
