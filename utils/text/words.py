"""Words of a text for comparing: the same whatever way the text was written down.

Two texts that a reader sees as equal give the same words: composed and decomposed letters, wide and
narrow forms, soft hyphens, signs of no width, entities and capitals make no difference. Scripts
that put no spaces between words (Chinese, Japanese, Thai, ...) are cut into characters.
Left out on purpose: cutting such scripts into real words, which needs a dictionary.
"""

from __future__ import annotations

import html
import unicodedata

import regex

SPACELESS = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
)
CHARACTER = rf"[[{SPACELESS}]&&\p{{L}}]\p{{M}}*"
WORD = regex.compile(rf"(?V1){CHARACTER}|[[\p{{L}}\p{{M}}\p{{N}}_]--[{SPACELESS}]]+")
PIECE = regex.compile(rf"(?V1){CHARACTER}|[^{SPACELESS}]+|.")
UNSEEN = regex.compile(r"[\p{Cf}\p{Cs}\p{Cc}--[\t\n\r\f\v\x1c-\x1f\x85]]", regex.V1)


def words_of(text: str) -> list[str]:
    """Return the words of a text in one normal form, without punctuation.

    The form is NFKC without entities, invisible signs and capitals.

    >>> words_of("Who is Ann? <Ann&rsquo;s> re\\u00adturned!")
    ['who', 'is', 'ann', 'ann', 's', 'returned']
    >>> words_of("剂量 15")
    ['剂', '量', '15']
    """
    text = unicodedata.normalize("NFKC", html.unescape(text))
    text = unicodedata.normalize("NFKC", UNSEEN.sub("", text).casefold())
    return WORD.findall(text)


def pieces(text: str) -> list[str]:
    """Return what blanks part in a text, and of scripts without blanks each character.

    >>> pieces("take 15 mg,  现在")
    ['take', '15', 'mg,', '现', '在']
    """
    return [piece for part in text.split() for piece in PIECE.findall(part)]
