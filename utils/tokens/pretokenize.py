"""Cutting text into words before byte-pair encoding, so that no token crosses a word's border.

A word is a run of letters or of other signs, with the one space before it; each digit stands alone,
so that numbers are read digit by digit. Nothing is lost: the words joined are the text.
Source: Radford et al. 2019 (GPT-2), section 2.2; digits as in Touvron et al. 2023, section 2.1.
"""

from __future__ import annotations

import regex

# `\s+(?!\S)` leaves the last space of a run to the word behind it.
WORD_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
WORD = regex.compile(WORD_PATTERN)


def split_words(text: str) -> list[str]:
    """Return the words of a text; joined they give the text back.

    Args:
        text: any Unicode text.

    Raises:
        ValueError: for a lone surrogate, half of a character, which no UTF-8 text can hold.

    >>> split_words("Take 25 mg,  don't wait.")
    ['Take', ' 2', '5', ' mg', ',', ' ', ' don', "'t", ' wait', '.']
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text has a lone surrogate {text[error.start]!r} at position {error.start}, half of a "
            "character: read the source with errors='replace', or take it out"
        ) from None
    return WORD.findall(text)
