"""Cleaning of single documents: what is mended, and what is thrown away with a reason.

Rules of thumb, not truth: each is short enough to be read, and counted in the pipeline's table.
Left out on purpose: language detection, and quality scores by a trained model.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from utils.text.markup import text_of
from utils.text.words import WORD

LINE_ENDS = re.compile(r"\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
UNSEEN = "\ufeff\u200b\u2060\u00ad"  # byte order mark, blanks of no width, soft hyphen
BLANKS = re.compile(r"[ \t\u00a0]+")
EMPTY_LINES = re.compile(r"\n{3,}")

# UTF-8 read as Windows' Latin: what the bytes 80 to BF become behind the first byte of a character.
LATER = bytes(range(0x80, 0xC0)).decode("cp1252", "ignore") + "\x81\x8d\x8f\x90\x9d"
CLOSING = "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u00a0\u00bb\u203a"  # may end good text
SEQUENCE = rf"[\u00c2-\u00df][{LATER}]|[\u00e0-\u00ef][{LATER}]{{2}}|[\u00f0-\u00f4][{LATER}]{{3}}"
MOJIBAKE = re.compile(
    "\u00e2[\u20ac\u201a\u201e\u2020\u02c6\u2030]"  # of a quote, a dash or the euro sign
    rf"|[\u00c2\u00c3](?:(?![{CLOSING}])[{LATER}]|[{CLOSING}](?=\w))"  # of an accented letter
    rf"|(?:{SEQUENCE}){{2,}}"  # of two letters or more of another script
)


def clean_text(text: str) -> str:
    """Return a text without markup, control characters and needless blanks, in Unicode's form NFC.

    What ends a block or a page becomes a line end, so that no two words grow together; comments,
    scripts and a page's head go with all that they hold. Signs that are no markup, as in `a<b` and
    `List<int>`, stay. Indentation goes, too; a pipeline for programs would keep it.

    >>> clean_text("<p>Dose:&nbsp;15  mg</p>\\r\\n\\x00")
    'Dose: 15 mg'
    >>> clean_text("one<br>two\\x0cthree")
    'one\\ntwo\\nthree'
    """
    text = LINE_ENDS.sub("\n", text_of(text))
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

    Args:
        text: what `clean_text` returned.
        min_words: fewest words; in scripts without spaces each character counts as one.
        max_symbols: largest share of characters that are neither letters, marks on letters, nor
            blanks.
        max_repeated: largest share of lines that occur more than once.
        max_garbled: largest share of characters that a wrong decoding leaves behind: sequences such
            as "Ã©" for "é", not single letters, which Portuguese and Vietnamese need.

    >>> rejection_reason("Home | Login | Help")
    'too short'
    >>> rejection_reason("A page of some length that says what it has to say, and then it ends.")

    Source: Rae et al. 2021, "Scaling Language Models" (Gopher), appendix A.1.1.
    """
    n_words = len(WORD.findall(text))
    if n_words < min_words:
        return "too short"
    garbled = text.count("\ufffd") + sum(len(found) // 2 for found in MOJIBAKE.findall(text))
    if garbled > max_garbled * len(text):
        return "wrong encoding"
    if sum(unicodedata.category(c)[0] not in "LMZC" for c in text) > max_symbols * len(text):
        return "mostly symbols"
    lines = [line for line in text.split("\n") if line]
    counts = Counter(lines)
    if len(lines) > 3 and sum(n for n in counts.values() if n > 1) > max_repeated * len(lines):
        return "repeated lines"
    return None
