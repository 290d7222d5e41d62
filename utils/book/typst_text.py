"""Markdown of a lecture as Typst's markup, by the tokens of markdown-it.

What a lecture uses is translated: headings, paragraphs, emphasis, code, lists, quotes, tables,
links, formulas. Anything else stops the build with its name, so that nothing is lost in silence.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

from utils.book.formulas import quoted, typst

SPECIAL = re.compile(r"([\\#*_`$<>@\[\]~=/\-+'\"])")
OPENING = {
    "paragraph_open": "",
    "blockquote_open": "#quote(block: true)[",
    "bullet_list_open": "#list(",
    "ordered_list_open": "#enum(",
    "list_item_open": "[",
    "strong_open": "#strong[",
    "em_open": "#emph[",
    "thead_open": "table.header(",
    "tbody_open": "",
    "tr_open": "",
    "th_open": "[#strong[",
    "td_open": "[",
}
CLOSING = {
    "paragraph_close": "\n\n",
    "blockquote_close": "]\n\n",
    "bullet_list_close": ")\n\n",
    "ordered_list_close": ")\n\n",
    "list_item_close": "],\n",
    "strong_close": "]",
    "em_close": "]",
    "link_close": "]",
    "heading_close": "]\n\n",
    "thead_close": "),\n",
    "tbody_close": "",
    "tr_close": "\n",
    "th_close": "]],",
    "td_close": "],",
    "table_close": ")\n\n",
}


def reader() -> MarkdownIt:
    """Return the parser of lectures: CommonMark with tables and formulas between dollars."""
    parser = MarkdownIt("commonmark").enable("table")
    return parser.use(dollarmath_plugin, double_inline=True)


def markup(markdown: str, raised: int = 0) -> str:
    """Return Markdown as Typst's markup.

    Args:
        raised: levels to add to each heading.

    Raises:
        ValueError: for a kind of Markdown that has no translation.

    >>> markup("A **bold** word and `code`.").strip()
    'A #strong[bold] word and #raw("code").'
    """
    return "".join(of_token(token, raised) for token in reader().parse(markdown))


def of_token(token: Token, raised: int) -> str:
    """Return the markup of one token."""
    kind = token.type
    if kind == "inline":
        return "".join(of_token(child, raised) for child in token.children)
    if kind in OPENING:
        return OPENING[kind]
    if kind in CLOSING:
        return CLOSING[kind]
    match kind:
        case "text":
            return escaped(token.content)
        case "softbreak":
            return "\n"
        case "hardbreak":
            return " \\\n"
        case "code_inline":
            return f"#raw({quoted(token.content)})"
        case "fence" | "code_block":
            return code(token.content.rstrip("\n"), token.info.strip() or "text")
        case "heading_open":
            return f"#heading(level: {int(token.tag[1]) + raised})["
        case "link_open":
            return f"#link({quoted(str(token.attrGet('href')))})["
        case "math_inline" | "math_inline_double":
            return typst(token.content, is_block=kind.endswith("double"))
        case "math_block":
            return f"{typst(token.content.strip(), is_block=True)}\n\n"
        case "table_open":
            return "#table(columns: COLUMNS, "
        case "hr":
            return "#line(length: 100%)\n\n"
    raise ValueError(f"Markdown of the kind {kind} has no translation: add it to of_token")


def with_columns(text: str) -> str:
    """Return markup in which each table has the count of its header's cells as columns."""
    pieces = text.split("COLUMNS")
    for k in range(1, len(pieces)):
        header = pieces[k].split("),\n")[0]
        pieces[k - 1] += str(header.count("[#strong["))
    return "".join(pieces)


def escaped(text: str) -> str:
    """Return plain text so that Typst reads it as itself.

    >>> escaped("a_b #1")
    'a\\\\_b \\\\#1'
    """
    return SPECIAL.sub(r"\\\1", text)


def code(text: str, language: str) -> str:
    """Return a block of code."""
    return f"#raw({quoted_lines(text)}, block: true, lang: {quoted(language)})\n\n"


def quoted_lines(text: str) -> str:
    """Return several lines as one string of Typst."""
    return quoted(text).replace("\n", "\\n").replace("\t", "\\t")
