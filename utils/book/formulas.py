"""Formulas without a network: LaTeX to MathML, which browsers draw, and MathML to Typst.

One parser serves both, that of docutils. MathML needs no script and no fonts of ours, and screen
readers can read it. A command that the parser does not know stops the build.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml

OPENING = r"[(\[{]|\\\{|\\[lL]angle"
PAIRS = {"(": "", ")": "(", "[": "", "]": "["}
ACCENTS = {"¯": "macron", "‾": "macron", "^": "hat", "ˆ": "hat", "~": "tilde", "˜": "tilde"}


def mathml(latex: str, is_block: bool = False) -> str:
    r"""Return a formula as MathML.

    Raises:
        ValueError: for what can't be read, with the formula.

    >>> "<mfrac>" in mathml(r"\frac{1}{2}")
    True
    >>> mathml(r"\nosuch{x}")
    Traceback (most recent call last):
    ...
    ValueError: the formula \nosuch{x} can't be read: Unknown LaTeX command "\nosuch".
    """
    sided = re.sub(rf"\\(big|Big)(?=\s*({OPENING}))", r"\\\1l", latex)
    sided = re.sub(r"\\(big|Big)(?![a-zA-Z])", r"\\\1r", sided)
    sided = re.sub(r"\\bar\\ell", r"\\bar{\\ell}", sided)
    sided = re.sub(r"\\tfrac\s*(\d)(\d)", r"\\tfrac{\1}{\2}", sided)
    try:
        drawn = tex2mathml(sided, as_block=is_block)
    except (MathError, SyntaxError, IndexError) as error:
        raise ValueError(f"the formula {latex} can't be read: {error}") from error
    return drawn.replace("&ApplyFunction;", "&#x2061;")  # XML knows entities by number alone


def typst(latex: str, is_block: bool = False) -> str:
    r"""Return a formula as Typst's markup, dollars included.

    >>> typst(r"\frac{a}{2}")
    '$frac(a, "2")$'
    """
    tree = ElementTree.fromstring(re.sub(r' xmlns="[^"]+"', "", mathml(latex, is_block)))
    inside = typst_of(tree)
    return f"$ {inside} $" if is_block else f"${inside}$"


def typst_of(node: ElementTree.Element) -> str:
    """Return Typst's markup for one node of MathML.

    Raises:
        ValueError: for an element that is not translated.
    """
    stretches = is_nested([(child.text or "").strip() for child in node if child.tag == "mo"])
    parts = [
        (child.text or "").strip()
        if stretches and child.tag == "mo" and (child.text or "").strip() in PAIRS
        else typst_of(child)
        for child in node
    ]
    text = (node.text or "").strip()
    match node.tag:
        case "math" | "mrow" | "mstyle" | "mpadded" | "mphantom":
            return " ".join(parts)
        case "mi":
            upright = node.get("mathvariant") == "normal" or len(text) > 1
            return f"upright({quoted(text)})" if upright and len(text) > 1 else symbol(text)
        case "mn" | "mtext":
            return quoted(node.text or "") if (node.text or "").strip() else "space"
        case "mo":
            is_word = len(text) > 1 and text.isalpha()
            if is_word:
                return f"op({quoted(text)}, limits: #true)"
            return symbol(text)
        case "mspace":
            width = node.get("width", "0em")
            return "" if width.startswith("-") else f"#h({width})"
        case "mfrac":
            return f"frac({parts[0]}, {parts[1]})"
        case "msqrt":
            return f"sqrt({' '.join(parts)})"
        case "msub" | "munder":
            return f"{base(parts[0])}_({parts[1]})"
        case "msup":
            return f"{base(parts[0])}^({parts[1]})"
        case "mover":
            accent = ACCENTS.get((node[1].text or "").strip())
            return f"{accent}({parts[0]})" if accent else f"{base(parts[0])}^({parts[1]})"
        case "msubsup" | "munderover":
            return f"{base(parts[0])}_({parts[1]})^({parts[2]})"
        case "mtable":
            return f"mat(delim: #none, {'; '.join(parts)})"
        case "mtr":
            return ", ".join(parts)
        case "mtd":
            return " ".join(parts)
    raise ValueError(f"<{node.tag}> of MathML has no translation: add it to typst_of")


def is_nested(signs: list[str]) -> bool:
    """Return whether brackets among signs open and close in turn; Typst then draws them to size.

    >>> is_nested(["(", "+", "[", "]", ")"]), is_nested([")", "("])
    (True, False)
    """
    still_open = []
    for sign in signs:
        if sign in "([" and sign:
            still_open.append(sign)
        elif sign in PAIRS and (not still_open or still_open.pop() != PAIRS[sign]):
            return False
    return not still_open


def base(part: str) -> str:
    """Return what an index hangs on, as one thing."""
    return part if part and " " not in part else f"attach({part or quoted('')})"


def symbol(text: str) -> str:
    """Return one character so that Typst reads it as itself.

    A letter stands as it is, in italics; a sign that Typst would read as markup is escaped.
    """
    if not text:
        return ""
    if text in {"\u2061", "\u2062", "\u2063"}:  # invisible: applied to, times, comma
        return ""
    if len(text) == 1 and (text.isalpha() or ord(text) > 127):
        return text
    return "".join(rf"\{character}" for character in text)


def quoted(text: str) -> str:
    """Return a text as Typst's string."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'
