"""Cleaning of single documents: what is mended, and what is thrown away with a reason.

Rules of thumb, not truth: each is short enough to be read, and counted in the pipeline's table.
Left out on purpose: language detection, and quality scores by a trained model.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter

PROGRAM = re.compile(r"<(script|style)\b[^<>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
BLOCK = re.compile(
    r"</?(?:html|body|div|p|br|hr|ul|ol|li|h[1-6]|table|tr)(?:\s[^<>]*)?/?>", re.IGNORECASE
)
CELL = re.compile(r"</?t[dh](?:\s[^<>]*)?/?>", re.IGNORECASE)
INLINE = re.compile(r"</?(?:span|a|b|i|em|strong|script|style)(?:\s[^<>]*)?/?>", re.IGNORECASE)
LINE_ENDS = re.compile(r"\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
UNSEEN = "\ufeff\u200b\u2060\u00ad"  # byte order mark, blanks of no width, soft hyphen
BLANKS = re.compile(r"[ \t\u00a0]+")
EMPTY_LINES = re.compile(r"\n{3,}")
WORD = re.compile(r"\w+")


def clean_text(text: str) -> str:
    """Return a text without markup, control characters and needless blanks, in Unicode's form NFC.

    What ends a block or a page becomes a line end, so that no two words grow together. Indentation
    goes, too; a pipeline for programs would keep it.

    >>> clean_text("<p>Dose:&nbsp;15  mg</p>\\r\\n\\x00")
    'Dose: 15 mg'
    >>> clean_text("one<br>two\\x0cthree")
    'one\\ntwo\\nthree'
    """
    text = INLINE.sub("", CELL.sub(" ", BLOCK.sub("\n", PROGRAM.sub("\n", text))))
    text = LINE_ENDS.sub("\n", html.unescape(text))
    text = "".join(c for c in text if c in "\n\t" or not is_unseen(c))
    text = unicodedata.normalize("NFC", text)  # last: what stood between two signs is gone now
    lines = (BLANKS.sub(" ", line).strip() for line in text.split("\n"))
    return EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()


def is_unseen(character: str) -> bool:
    """Return whether a character is a control character, half a pair, or a blank of no width.

    >>> is_unseen("\\x00"), is_unseen("e")
    (True, False)
    """
    return character in UNSEEN or unicodedata.category(character) in ("Cc", "Cs")


def rejection_reason(
    text: str,
    *,
    min_words: int = 12,
    max_symbols: float = 0.35,
    max_repeated: float = 0.3,
    max_garbled: float = 0.005,
) -> str | None:
    """Return why a cleaned text should not be learned from, or None where it may stay.

    For languages that put blanks between words.

    Args:
        text: what `clean_text` returned.
        min_words: fewest words.
        max_symbols: largest share of characters that are neither letters nor blanks.
        max_repeated: largest share of lines that occur more than once.
        max_garbled: largest share of characters that a wrong decoding leaves behind.

    >>> rejection_reason("Home | Login | Help")
    'too short'
    >>> rejection_reason("A page of some length that says what it has to say, and then it ends.")

    Source: Rae et al. 2021, "Scaling Language Models" (Gopher), appendix A.1.1.
    """
    n_words = len(WORD.findall(text))
    if n_words < min_words:
        return "too short"
    garbled = sum(text.count(sign) for sign in ("\ufffd", "Ã", "â€", "Â"))
    if garbled > max_garbled * len(text):
        return "wrong encoding"
    if sum(not (c.isalpha() or c.isspace()) for c in text) > max_symbols * len(text):
        return "mostly symbols"
    lines = [line for line in text.split("\n") if line]
    counts = Counter(lines)
    if len(lines) > 3 and sum(n for n in counts.values() if n > 1) > max_repeated * len(lines):
        return "repeated lines"
    return None
