"""Slides of a lecture, for instructors: one idea a slide, the prose in the speaker's notes.

Made from a lecture's blocks by rule. A section begins a stack; in it each definition, each formula,
each figure, each short output and each question to guess is a slide of its own. nbconvert writes
them for reveal.js, which is copied beside them, so that they run from a folder without a network.
Press S for the notes, which hold the lecture's own words.
"""

from __future__ import annotations

import base64
import html
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from utils.book.formulas import mathml
from utils.book.glossary import bold_terms, cleaned, sentences
from utils.book.lectures import Code, Figure, Lecture, Printed, Prose
from utils.book.typst_text import reader

MOST_LINES, MOST_COLUMNS = 16, 88  # of an output that fits on a slide
MOST_WORDS = 60  # of a text; what is longer is set smaller
REVEAL = ("LICENSE", "dist/reveal.js", "dist/reveal.css", "dist/theme/white.css")
REVEAL += ("dist/theme/fonts/source-sans-pro", "plugin/notes/notes.js")
REVEAL += ("plugin/notes/speaker-view.html",)
LONG_FORMULA = 45  # signs, a command counting as one; what is longer is set smaller
TEMPLATE = """
{%- extends 'reveal/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block notebook_css -%}<style>LOOK</style>{%- endblock -%}
{%- block rawcell -%}{{ cell.source }}{%- endblock -%}
{%- block footer_js -%}
<script src="reveal/dist/reveal.js"></script>
<script src="reveal/plugin/notes/notes.js"></script>
<script>
Reveal.initialize({controls: true, progress: true, hash: true, transition: "none",
  slideNumber: "c/t", width: 1280, height: 720, margin: 0.03, center: true,
  plugins: [RevealNotes]});
</script>
{%- endblock -%}
"""
LOOK = """
html, body, main { height: 100%; margin: 0; }
.reveal { font-size: 38px; }
.reveal .slides section { text-align: left; }
.reveal .slides h1 { font-size: 2em; text-transform: none; }
.reveal .slides h2 { font-size: 1.5em; text-transform: none; }
.reveal .where { font-size: .6em; color: #595959; margin: 0 0 1.2em; }
.reveal .small { font-size: .72em; line-height: 1.35; }
.reveal img.wide { display: block; margin: 0 auto; max-width: 100%; height: 600px;
  object-fit: contain; }
.reveal .slides pre { width: 100%; box-shadow: none; font-size: 24px; line-height: 1.3; }
.reveal .slides pre.short { font-size: 30px; }
.reveal pre code { max-height: none; }
.reveal math[display="block"] { font-size: 1.25em; margin: .8em auto; }
.reveal math[display="block"].long { font-size: 1em; }
.reveal .guess { border-left: 8px solid #005a8c; padding-left: .6em; }
.reveal blockquote { width: 96%; font-style: normal; box-shadow: none; }
.reveal table { font-size: .6em; }
"""


@dataclass
class Slide:
    """One slide: HTML, whether it begins a section, and the speaker's notes in Markdown."""

    body: str
    begins: bool = False
    notes: list[str] = field(default_factory=list)


def slides_of(lecture: Lecture) -> list[Slide]:
    """Return the slides of a lecture, in its order."""
    head = f"<h1>{html.escape(lecture.title)}</h1><p>Unit {lecture.number}</p>"
    slides = [Slide(head, begins=True)]
    where = lecture.title
    asks = ""
    for block in lecture.blocks:
        match block:
            case Prose(text):
                for piece in re.split(r"(?m)^(?=#{1,3} )", text):
                    title = re.match(r"#{2,3} (.+)\n*", piece)
                    if title:
                        where = plain_title(title[1])
                        if where == "Sources":
                            break
                        slides.append(section_slide(title[1], piece[title.end() :]))
                    slides[-1].notes.append(piece)
                    slides += slides_of_prose(piece, lecture, where)
                asks = question(text)
            case Code(source):
                if re.match(r"my_\w+ = None", source) and asks:
                    body = f'<div class="guess"><p>{rendered_line(asks)}</p></div>'
                    slides.append(Slide(with_place(where, f"{body}<p>Your guess?</p>")))
            case Printed(text, _, reveals) if fits(text) or reveals:
                slides.append(Slide(with_place(where, output_html(measured(text)))))
            case Figure():
                slides.append(Slide(picture_html(block), notes=[block.caption]))
    if lecture.has_lab:
        lab = f"work/{lecture.name}.ipynb"
        slides.append(Slide(f"<h2>The lab</h2><p><code>{lab}</code></p>", begins=True))
    return slides


def section_slide(title: str, text: str) -> Slide:
    """Return the slide that begins a section: its title, and its first sentence where it has one.

    A sentence that defines a term or leads to a formula is left to the slide of that.
    """
    first = text[slice(*sentences(text)[0])] if text.strip() else ""
    lead = "" if "**" in first or first.rstrip().endswith((":", ",")) else cleaned(first)
    body = f"<h2>{rendered_line(title)}</h2>"
    return Slide(body + (sized(rendered(lead), lead) if lead else ""), begins=True)


def slides_of_prose(text: str, lecture: Lecture, where: str) -> list[Slide]:
    """Return a slide for each definition, formula and box in prose, in its order."""
    found: list[tuple[int, str]] = []
    shown: set[str] = set()
    for term in bold_terms(text, lecture.number):
        first, last = next(p for p in sentences(text) if p[0] <= term.start() < p[1])
        sentence = cleaned(text[first:last])
        if sentence not in shown and len(sentence) > 25:
            shown.add(sentence)
            found.append((first, sized(rendered(sentence), sentence)))
    for formula in re.finditer(r"\$\$(.+?)\$\$", text, re.S):
        before = text[: formula.start()].split("$$")[-1].rstrip()
        lead = cleaned(before[sentences(before)[-1][0] :]) if before else ""
        already = lead in shown
        drawn = large_formula(formula[1].strip())
        if already:
            found = [f for f in found if sized(rendered(lead), lead) != f[1]]
        found.append((formula.start(), sized(rendered(lead), lead) + drawn))
    for box in re.finditer(r"(?m)^> \*\*Governance.*(?:\n>.*)*", text):
        found.append((box.start(), sized(rendered(box[0]), box[0])))
    return [Slide(with_place(where, body)) for _, body in sorted(found)]


def large_formula(latex: str) -> str:
    """Return a formula for a slide; a long one is set smaller, its parts below each other."""
    n_signs = len(re.sub(r"\\[a-zA-Z]+|\s", "x", latex))
    if n_signs <= LONG_FORMULA:
        return mathml(latex, is_block=True)
    parts = [mathml(part.strip(), is_block=True) for part in latex.split(r"\qquad")]
    return "".join(part.replace("<math ", '<math class="long" ', 1) for part in parts)


def rendered(markdown: str) -> str:
    """Return Markdown as HTML, formulas as MathML.

    >>> rendered("a **b**").strip()
    '<p>a <strong>b</strong></p>'
    """
    parser = reader()
    rules = {"math_inline": False, "math_inline_double": True, "math_block": True}
    for kind, is_block in rules.items():
        parser.renderer.rules[kind] = drawer(is_block)
    return parser.render(markdown)


def drawer(is_block: bool):
    """Return markdown-it's rule that draws a formula."""
    return lambda tokens, k, options, env: mathml(tokens[k].content.strip(), is_block)


def rendered_line(markdown: str) -> str:
    """Return one line of Markdown as HTML without a paragraph around it."""
    return re.sub(r"^<p>|</p>\s*$", "", rendered(markdown))


def plain_title(title: str) -> str:
    """Return a title without Markdown's marks."""
    return re.sub(r"[`*$]", "", title)


def question(text: str) -> str:
    """Return the last question of prose with what it needs to be understood, or nothing.

    >>> question("One thing. Take ten. How many are left?")
    'Take ten. How many are left?'
    """
    parts = [cleaned(text[a:b]) for a, b in sentences(text)]
    asked = [k for k, part in enumerate(parts) if part.endswith("?")]
    return " ".join(parts[max(0, asked[-1] - 1) : asked[-1] + 1]) if asked else ""


def with_place(where: str, body: str) -> str:
    """Return a slide's body below the name of its section."""
    return f'<p class="where">{html.escape(where)}</p>{body}'


def sized(body: str, text: str) -> str:
    """Return a body that is set smaller where its text is long."""
    return f'<div class="small">{body}</div>' if len(text.split()) > MOST_WORDS else body


def fits(text: str) -> bool:
    """Return whether an output can be read on a slide."""
    lines = text.splitlines()
    return 1 < len(lines) <= MOST_LINES and max(map(len, lines)) <= MOST_COLUMNS


def measured(text: str) -> str:
    """Return an output without its request to guess first.

    >>> measured("guess first, in the cell above (measured 23%)")
    'measured 23%'
    """
    return re.sub(r"guess first, in the cell above \((measured .*?)\)(?=\n|$)", r"\1", text)


def output_html(text: str) -> str:
    """Return what a cell printed, larger where it is small."""
    lines = text.splitlines()
    is_short = len(lines) <= 10 and max(map(len, lines)) <= 64
    return f"<pre{' class=short' * is_short}><code>{html.escape(text)}</code></pre>"


def picture_html(figure: Figure) -> str:
    """Return a figure that fills a slide, with its alternative."""
    data = base64.b64encode(figure.png).decode()
    alternative = html.escape(figure.alternative, quote=True)
    return f'<img class="wide" alt="{alternative}" src="data:image/png;base64,{data}">'


def write_slides(lecture: Lecture, out: Path) -> Path:
    """Write the slides of a lecture and all that they load; return the page.

    Args:
        out: folder, made if missing; an earlier page in it is replaced.

    Raises:
        ModuleNotFoundError: where the extra `book`, which brings reveal.js, is not installed.
    """
    import nbformat
    from nbconvert import SlidesExporter

    notebook = nbformat.v4.new_notebook(metadata={"title": f"{lecture.number} {lecture.title}"})
    raw = {"raw_mimetype": "text/html"}
    for slide in slides_of(lecture):
        kind = {"slideshow": {"slide_type": "slide" if slide.begins else "subslide"}}
        notebook.cells.append(nbformat.v4.new_raw_cell(slide.body, metadata=raw | kind))
        if slide.notes:
            kind = {"slideshow": {"slide_type": "notes"}}
            text = rendered("\n\n".join(slide.notes))
            notebook.cells.append(nbformat.v4.new_raw_cell(text, metadata=raw | kind))
    exporter = SlidesExporter(raw_template=TEMPLATE.replace("LOOK", LOOK))
    exporter.reveal_url_prefix = "reveal"
    exporter.reveal_theme = "white"
    page, _ = exporter.from_notebook_node(notebook)
    out.mkdir(parents=True, exist_ok=True)
    copy_reveal(out / "reveal")
    path = out / f"{lecture.name}.html"
    path.write_text(page, "utf-8")
    return path


def copy_reveal(folder: Path) -> None:
    """Copy what slides load of reveal.js (MIT licence) out of the package that brings it."""
    import sphinx_revealjs

    assets = Path(sphinx_revealjs.__file__).parent / "_static" / "revealjs"
    for name in REVEAL:
        source, target = assets / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
