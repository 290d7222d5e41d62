"""Checking facts while generating: an answer is given only where passages bear out what it says.

A claim here is a value from a closed list, such as a dose or a town, that an answer mentions. It is
borne out by a passage that names the entity asked about and holds the same value. Left out on
purpose: denials, claims in free words, and passages that are wrong themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def mentions(text: str, phrases: Sequence[str]) -> list[str]:
    """Return the phrases that a text holds as whole words, in the order in which they occur.

    Capitals make no difference. Where one phrase is part of a longer one at the same place, only
    the longer counts; a number is never found inside another number.

    >>> mentions("Take 15 mg of the eye drops.", ["5 mg", "drops", "eye drops", "15 mg"])
    ['15 mg', 'eye drops']
    """
    longest_first = sorted(phrases, key=len, reverse=True)
    by_form = {phrase.casefold(): phrase for phrase in reversed(longest_first) if phrase}
    if not by_form:
        return []
    any_of = "|".join(re.escape(form) for form in sorted(by_form, key=len, reverse=True))
    pattern = rf"(?<!\w)(?<!\d\.)(?:{any_of})(?!\w)(?!\.\d)"
    return list(dict.fromkeys(by_form[found] for found in re.findall(pattern, text.casefold())))


def check_facts(
    answer: str, passages: Sequence[str], values: Sequence[str], entity: str
) -> list[tuple[str, bool]]:
    """Return each value that an answer mentions, and whether a passage bears it out.

    A value is borne out where one and the same passage mentions the entity and the value. Words are
    compared whole and without capitals: "5 mg" is not in "15 mg" nor in "2.5 mg", and where one
    value is part of a longer one at the same place, the longer one is meant.

    Args:
        answer: what the model wants to say.
        passages: texts that are taken for true, for example retrieved ones.
        values: all values that could be claimed.
        entity: whom the question is about.

    Returns:
        (value, is borne out), each value once, in the order in which the answer mentions them; an
        empty list for an answer that mentions none.

    Raises:
        ValueError: for an empty entity or one of blanks, which every passage would name.

    >>> passages = ["Take 15 mg of Brunal.", "Tolvane: 5 mg."]
    >>> check_facts("It is 15 mg, not 5 mg.", passages, ["5 mg", "15 mg", "20 mg"], "Brunal")
    [('15 mg', True), ('5 mg', False)]

    Source: Gao et al. 2023, "RARR: Researching and Revising What Language Models Say", section 3.
    """
    if not entity.strip():
        raise ValueError("entity is empty: name whom the question is about")
    about = [passage for passage in passages if mentions(passage, [entity])]
    known = {value for passage in about for value in mentions(passage, values)}
    return [(value, value in known) for value in mentions(answer, values)]


def answer_with_facts(
    drafts: Sequence[str],
    passages: Sequence[str],
    values: Sequence[str],
    entity: str,
    refusal: str,
) -> str:
    """Return the first draft whose every claim is borne out, or a refusal where none is.

    Args:
        drafts: answers that the model drew, in the order in which it did.
        passages, values, entity: as in `check_facts`.
        refusal: what is said instead; it is returned where there is no draft, too.

    Returns:
        The draft as it is. One that claims nothing, such as a refusal of the model's own, has
        nothing to be checked and is returned.

    Raises:
        ValueError: for an empty entity or one of blanks.

    >>> passages, towns = ["Brunal lives in Tolben."], ["Tolben", "Quill"]
    >>> drafts = ["Brunal lives in Quill.", "Brunal lives in Tolben."]
    >>> answer_with_facts(drafts, passages, towns, "Brunal", "I do not know.")
    'Brunal lives in Tolben.'
    >>> answer_with_facts(drafts[:1], passages, towns, "Brunal", "I do not know.")
    'I do not know.'
    """
    if not entity.strip():
        raise ValueError("entity is empty: name whom the question is about")
    for draft in drafts:
        if all(is_borne_out for _, is_borne_out in check_facts(draft, passages, values, entity)):
            return draft
    return refusal
