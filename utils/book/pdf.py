"""All lectures as one PDF: cover, contents with page numbers, figures, formulas; by Typst, offline.

Typst comes as one wheel with its fonts. Left out, against the site: outputs that reveal the answer
of a guess stand in place, since paper can't fold.
"""

from __future__ import annotations

import shutil
from itertools import groupby
from pathlib import Path

from utils.book.formulas import quoted
from utils.book.lectures import Code, Figure, Lecture, Printed, Prose, without_imports
from utils.book.typst_text import code, escaped, markup, with_columns

HEAD = """
#set document(title: "Large language models, from the inside")
#set page(paper: "a4", margin: (x: 2.4cm, top: 2.4cm, bottom: 2.2cm))
#set text(font: "Libertinus Serif", size: 10.5pt, lang: "en")
#set par(justify: true, leading: 0.62em)
#set list(indent: 0.6em)
#set heading(numbering: none)
#show heading.where(level: 1): it => {
  pagebreak(weak: true)
  v(5cm)
  text(24pt, it)
  pagebreak()
}
#show heading.where(level: 2): it => { pagebreak(weak: true); text(20pt, it); v(0.4em) }
#show heading.where(level: 3): it => { v(0.5em); text(13pt, it) }
#show raw: set text(font: "DejaVu Sans Mono", size: 0.95em)
#show raw.where(block: true): it => block(
  width: 100%, fill: luma(246), inset: 7pt, radius: 2pt, text(0.9em, it),
)
#show link: set text(fill: rgb("#005a8c"))
#show figure.caption: it => align(left, text(9.5pt, it.body))
#set figure(supplement: none, numbering: none)
#set table(stroke: 0.4pt + luma(180), inset: 4pt)
#show table: set text(9pt)
#show quote: it => block(inset: (left: 10pt), stroke: (left: 2pt + luma(200)), it.body)
#let printed(body) = block(inset: (left: 8pt), stroke: (left: 2pt + rgb("#005a8c")), body)
#align(center + horizon)[
  #text(30pt, weight: "bold")[Large language models,\\ from the inside]
  #v(1cm)
  #text(13pt)[All lectures of the course, with the outputs of their last build]
  #v(0.6cm)
  #text(10pt)[Text under CC BY 4.0, code under Apache-2.0.]
]
#pagebreak()
#text(20pt, weight: "bold")[Contents]
#v(0.6cm)
#outline(depth: 2, title: none)
#set page(numbering: "1", number-align: center)
"""


def build_pdf(lectures: list[Lecture], out: Path) -> Path:
    """Write all lectures as one PDF and return its path.

    Args:
        out: folder; Typst's source stays beside the PDF in `typst/`.

    Raises:
        ValueError: for Markdown or a formula that has no translation.
        ModuleNotFoundError: where typst is not installed.
    """
    import typst

    folder = out / "typst"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parts = [HEAD]
    for part, group in groupby(lectures, lambda lecture: lecture.part):
        parts.append(f"#heading(level: 1)[{escaped(part)}]\n")
        parts += [lecture_markup(lecture, folder) for lecture in group]
    source = folder / "course.typ"
    source.write_text("\n".join(parts), "utf-8")
    typst.compile(source, output=folder / "new.pdf")
    return (folder / "new.pdf").replace(out / "course.pdf")


def lecture_markup(lecture: Lecture, folder: Path) -> str:
    """Return a lecture as Typst's markup; its pictures are written to the folder."""
    parts, k = [], 0
    for block in lecture.blocks:
        match block:
            case Prose(text):
                parts.append(with_columns(markup(text, raised=1)))
            case Code(source):
                imports, rest = without_imports(source)
                many = imports.count("\n") >= 2
                parts.append(code(rest if many else source, "python") if rest else "")
            case Printed(text):
                parts.append(f"#printed[{code(text, 'text').strip()}]\n\n")
            case Figure():
                name = f"{lecture.name}_{k}.png"
                (folder / name).write_bytes(block.png)
                parts.append(figure_markup(block, name))
                k += 1
    return "".join(parts)


def figure_markup(figure: Figure, name: str) -> str:
    """Return a figure with caption and alternative; pictures are 100 pixels an inch."""
    caption = f"#strong[Figure {figure.number}.] {with_columns(markup(figure.caption)).strip()}"
    return (
        f"#figure(image({quoted(name)}, alt: {quoted(figure.alternative)}, width: 92%), "
        f"alt: {quoted(figure.alternative)}, caption: [{caption}])\n\n"
    )
