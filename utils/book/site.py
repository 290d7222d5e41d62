"""The reading edition: a static site of all lectures, built by Sphinx from blocks, offline.

Each lecture becomes a page of MyST Markdown beside its pictures; Sphinx adds search, navigation and
the dark mode of its theme. Formulas are MathML, so no page loads anything from another host.
"""

from __future__ import annotations

import html
import io
import re
import shutil
from contextlib import redirect_stderr
from itertools import groupby
from pathlib import Path

from utils.book.glossary import Term, bold_terms, glossary
from utils.book.lectures import (
    Block,
    Code,
    Figure,
    Lecture,
    Printed,
    Prose,
    is_python,
    without_imports,
)
from utils.settings import project_root

MOST_COLUMNS = 110  # of an output; what is wider is sentences, and wraps
LINK, LINK_ON_DARK = "#005a8c", "#7cc4f0"
USES = ("primary", "content", "visited")
LOOK = """
.units table { margin-left: 0; width: 100%; }
details { margin: .6em 0; }
summary { cursor: pointer; color: var(--color-brand-content); }
.md-figure img { background: white; border-radius: 4px; padding: 6px; max-width: 100%; }
.md-figure figcaption, .md-figure figcaption p { font-size: .95em; text-align: left; }
@media (max-width: 600px) {
  .md-figure { overflow-x: auto; }
  .md-figure img { min-width: 34rem; }
}
.printed, .frame { overflow-x: auto; }
.printed pre { border-left: 3px solid var(--color-brand-primary); background: none; }
.printed.wraps pre { white-space: pre-wrap; }
.frame table { border-collapse: collapse; font-size: .85em; }
.frame th, .frame td { padding: .15em .6em; border-bottom: 1px solid var(--color-table-border); }
math[display="block"] { overflow-x: auto; overflow-y: hidden; padding: .4em 0; }
a.term { font-weight: 600; text-decoration-style: dotted; }
article { overflow-wrap: break-word; }
"""


def build_site(lectures: list[Lecture], out: Path, pdf: Path | None = None) -> Path:
    """Write the site of some lectures and return its front page.

    Args:
        out: folder of the site; what stood there from an earlier build is replaced.
        pdf: a PDF of the same lectures to offer on the front page.

    Raises:
        RuntimeError: where Sphinx warns, above all of a link that leads nowhere; all warnings are
            in the message.
        ModuleNotFoundError: where Sphinx or its parts are not installed.
    """
    source, pages = out / "source", out / "html"
    for folder in (source, pages):
        shutil.rmtree(folder, ignore_errors=True)
    write_sources(lectures, source, pdf)
    from sphinx.application import Sphinx

    warnings, errors = io.StringIO(), io.StringIO()
    with redirect_stderr(errors):
        app = Sphinx(
            srcdir=source,
            confdir=None,
            outdir=pages,
            doctreedir=out / "doctrees",
            buildername="html",
            confoverrides=settings(),
            status=None,
            warning=warnings,
            freshenv=True,
        )
        app.build()
    shutil.rmtree(out / "doctrees", ignore_errors=True)
    if told := warnings.getvalue().strip():
        raise RuntimeError(f"the site was built with warnings; mend what they name:\n{told}")
    return pages / "index.html"


def settings() -> dict:
    """Return Sphinx's settings for the site."""
    return {
        "project": "Large language models, from the inside",
        "html_title": "Large language models, from the inside",
        "extensions": ["myst_parser", "utils.book.sphinx_mathml"],
        "myst_enable_extensions": ["dollarmath", "attrs_inline", "colon_fence", "deflist"],
        "myst_dmath_double_inline": True,
        "html_theme": "furo",
        "html_static_path": ["_static"],
        "html_css_files": ["course.css"],
        "html_math_renderer": "mathml",
        "html_copy_source": False,
        "html_show_sphinx": False,
        "html_show_copyright": False,
        "html_theme_options": {
            "light_css_variables": {f"color-brand-{use}": LINK for use in USES},
            "dark_css_variables": {f"color-brand-{use}": LINK_ON_DARK for use in USES},
        },
        "language": "en",
        "nitpicky": True,
        "suppress_warnings": ["misc.highlighting_failure"],
    }


def write_sources(lectures: list[Lecture], source: Path, pdf: Path | None = None) -> None:
    """Write the MyST pages, pictures, labs and style that Sphinx reads."""
    terms = glossary(lectures)
    images, static, labs = (source / name for name in ("images", "_static", "labs"))
    for folder in (images, static, labs):
        folder.mkdir(parents=True)
    (static / "course.css").write_text(LOOK, "utf-8")
    for lecture in lectures:
        for k, figure in enumerate(lecture.figures):
            (images / f"{lecture.name}_{k}.png").write_bytes(figure.png)
        if lecture.has_lab:
            lab = project_root() / "labs" / f"{lecture.name}.ipynb"
            shutil.copy(lab, labs / lab.name)
        page = lecture_page(lecture, terms, lectures)
        (source / f"{lecture.name}.md").write_text(page, "utf-8")
    if pdf is not None:
        shutil.copy(pdf, source / pdf.name)
    (source / "glossary.md").write_text(glossary_page(terms), "utf-8")
    (source / "index.md").write_text(front_page(lectures, pdf), "utf-8")


def lecture_page(lecture: Lecture, terms: list[Term], lectures: list[Lecture]) -> str:
    """Return a lecture as MyST Markdown; terms that it defines link to the glossary."""
    own = {term.name: term for term in terms if term.unit == lecture.name}
    parts, k_figure, anchored = [], 0, set()
    for reveals, group in groupby(lecture.blocks, lambda b: getattr(b, "reveals", False)):
        blocks = list(group)
        if reveals:
            parts.append(folded_open("What was measured (guess first)"))
        for block in blocks:
            name = f"images/{lecture.name}_{k_figure}.png"
            k_figure += isinstance(block, Figure)
            if isinstance(block, Prose):
                text = with_links(block.text, lecture, lectures)
                parts.append(with_anchors(text, lecture, own, anchored))
            else:
                parts.append(block_text(block, name))
        if reveals:
            parts.append(raw("</details>"))
    if lecture.has_lab:
        parts.append(f"```{{admonition}} The lab of this unit\n{lab_link(lecture)}\n```")
    return "\n\n".join(parts) + "\n"


def lab_link(lecture: Lecture) -> str:
    """Return the sentence that leads from a lecture to its lab."""
    return (
        f"{{download}}`{lecture.name}.ipynb <labs/{lecture.name}.ipynb>` to look at; to work on it "
        f"with its checks, run `course lab` and open `work/{lecture.name}.ipynb`."
    )


def block_text(block: Block, image: str) -> str:
    """Return what is not prose as MyST Markdown."""
    match block:
        case Code(source, is_shown):
            imports, rest = without_imports(source)
            if imports.count("\n") >= 2:
                folded = f"{fenced(imports, 'python')}\n\n{raw('</details>')}"
                folded = f"{folded_open('Imports')}\n\n{folded}"
                return f"{folded}\n\n{fenced(rest, 'python')}" if rest else folded
            text = fenced(source, "python" if is_python(source) else "text")
            return f"*From the library:*\n\n{text}" if is_shown else text
        case Figure():
            caption = f"**Figure {block.number}.** {block.caption}"
            alt = block.alternative.replace("\n", " ")
            return f":::{{figure}} {image}\n:alt: {alt}\n:figclass: md-figure\n\n{caption}\n:::"
        case Printed(_, table) if table:
            return raw(f'<div class="frame" tabindex="0">{table}</div>')
        case Printed(text):
            wraps = " wraps" * (max(map(len, text.splitlines())) > MOST_COLUMNS)
            return f"::::{{div}} printed{wraps}\n{fenced(text, 'text')}\n::::"
    raise TypeError(f"no page for {block}")


def fenced(text: str, language: str) -> str:
    """Return text between fences longer than any that it holds."""
    fence = "`" * max(3, 1 + max((len(m) for m in re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def raw(text: str) -> str:
    """Return HTML that is passed through."""
    return f"```{{raw}} html\n{text}\n```"


def folded_open(summary: str) -> str:
    """Return the beginning of what is shown on demand."""
    return raw(f"<details><summary>{html.escape(summary)}</summary>")


def with_links(text: str, lecture: Lecture, lectures: list[Lecture]) -> str:
    """Return prose in which `unit 05` leads to the page of that unit, outside code and titles."""
    names = {other.number: other.name for other in lectures if other is not lecture}

    def linked(found: re.Match) -> str:
        target = names.get(found[2])
        return f"[{found[0]}]({target}.md)" if target else found[0]

    pieces = re.split(r"(```.*?```|`[^`]*`|^#.*$|\$\$.*?\$\$)", text, flags=re.S | re.M)
    pieces[::2] = [re.sub(r"\b([Uu]nit)\s(\d\d)\b", linked, piece) for piece in pieces[::2]]
    return "".join(pieces)


def with_anchors(text: str, lecture: Lecture, own: dict[str, Term], anchored: set[str]) -> str:
    """Return prose in which the first bold of a term is a link's target and leads to the glossary.

    Args:
        own: name -> term that this lecture defines.
        anchored: names that have got their anchor; added to.
    """
    pieces, done_to = [], 0
    for found in bold_terms(text, lecture.number):
        name = " ".join(found[1].split())
        if name not in own or name in anchored:
            continue
        anchored.add(name)
        anchor = own[name].anchor
        pieces.append(text[done_to : found.start()])
        pieces.append(term_link(name, f"glossary.html#{anchor}", f"term-{anchor}"))
        done_to = found.end()
    return "".join(pieces) + text[done_to:]


def term_link(text: str, address: str, own_id: str = "") -> str:
    """Return a link of HTML that can be a target too, which Markdown's links can't.

    Sphinx does not check these links; `broken_links` does.
    """
    name = f' id="{own_id}"' if own_id else ""
    return f'<a{name} class="term" href="{address}">{html.escape(text)}</a>'


def where(term: Term) -> str:
    """Return the address of the sentence that defines a term."""
    return f"{term.unit}.html#term-{term.anchor}"


def glossary_page(terms: list[Term]) -> str:
    """Return the glossary as MyST Markdown, a heading for each letter."""
    parts = [
        "# Glossary",
        f"{len(terms)} terms of the field, each with the sentence in which a lecture defines it. "
        "The unit behind a term leads to that sentence; a term in a lecture leads back here.",
    ]
    for letter, group in groupby(terms, lambda term: term.anchor[0].upper()):
        parts.append(f"## {letter if letter.isalpha() else '0-9'}")
        parts += [
            f"{term_link(term.name, where(term), term.anchor)}\n: {term.definition} "
            f"{term_link(f'Unit {term.unit[:2]}, {term.title}', where(term))}"
            for term in group
        ]
    return "\n\n".join(parts) + "\n"


def front_page(lectures: list[Lecture], pdf: Path | None) -> str:
    """Return the first page: what the course is, and its units by part with minutes and labs."""
    parts = [
        "# Large language models, from the inside",
        "The reading edition of the course: all lectures with the outputs of their last build. "
        "Nothing runs here. To predict, write, check and measure yourself, install the course "
        "and run `course lab`; minutes are a learner's, for lecture and lab together.",
    ]
    if pdf is not None:
        parts.append(f"All lectures in one file: {{download}}`PDF <{pdf.name}>`.")
    for part, group in groupby(lectures, lambda lecture: lecture.part):
        units = list(group)
        rows = [
            f"| {u.number} | [{u.title}]({u.name}.md) | {u.minutes} | {lab_cell(u)} |"
            for u in units
        ]
        table = ["| unit | lecture | minutes | lab |", "| --- | --- | ---: | --- |", *rows]
        parts += [f"## {part}", "::::{div} units\n" + "\n".join(table) + "\n::::"]
        tree = "\n".join(unit.name for unit in units)
        parts.append(f"```{{toctree}}\n:hidden:\n:caption: {part}\n\n{tree}\n```")
    parts.append("## Terms\n\nThe [glossary](glossary.md) holds every term of the lectures.")
    parts.append("```{toctree}\n:hidden:\n:caption: Terms\n\nglossary\n```")
    return "\n\n".join(parts) + "\n"


def lab_cell(lecture: Lecture) -> str:
    """Return the cell of a table that leads to a lab."""
    return f"{{download}}`lab <labs/{lecture.name}.ipynb>`" if lecture.has_lab else "not graded"
