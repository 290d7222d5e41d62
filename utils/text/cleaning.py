"""Cleaning of single documents: what is mended, and what is thrown away with a reason.

Rules of thumb, not truth: each is short enough to be read, and counted in the pipeline's table.
Left out on purpose: language detection, and quality scores by a trained model.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter

TAG = re.compile(
    r"</?(?:html|body|div|span|p|br|hr|ul|ol|li|a|b|i|em|strong|h[1-6]|table|tr|td|script|style)"
    r"(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
BLANKS = re.compile(r"[ \t\u00a0]+")
EMPTY_LINES = re.compile(r"\n{3,}")
WORD = re.compile(r"\w+")


def clean_text(text: str) -> str:
    """Return a text without markup, control characters and needless blanks, in Unicode's form NFC.

    Indentation goes, too; a pipeline for programs would keep it.

    >>> clean_text("<p>Dose:&nbsp;15  mg</p>\\r\\n\\x00")
    'Dose: 15 mg'
    """
    text = html.unescape(TAG.sub("", text))
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    lines = (BLANKS.sub(" ", line).strip() for line in text.split("\n"))
    return EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()


def rejection_reason(
    text: str,
    *,
    min_words: int = 12,
    max_symbols: float = 0.35,
    max_repeated: float = 0.3,
    max_garbled: float = 0.005,
) -> str | None:
    """Return why a cleaned text should not be learned from, or None where it may stay.

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
