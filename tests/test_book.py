"""The reading edition: two lectures are built whole, and all are read; what a checker finds."""

import json
import re
from dataclasses import replace

import pytest

from utils.book import browser as browsers
from utils.book import costs, formulas, lectures, slides
from utils.book.glossary import BOLD, STRESSED, bold_terms, glossary
from utils.book.lectures import CAPTION, Prose, captioned, course_map, plain, read_lectures
from utils.book.links import broken_links, foreign_loads, read_page
from utils.book.site import build_site
from utils.book.typst_text import markup
from utils.cli import main
from utils.settings import project_root

UNITS = ["02", "15"]
ALL = read_lectures()


@pytest.fixture(scope="module")
def builders():
    for name in ("furo", "myst_parser", "sphinx", "sphinx_revealjs", "typst"):
        pytest.importorskip(name, reason="the extra `book` is not installed: run make book")


@pytest.fixture(scope="module")
def built(builders, tmp_path_factory):
    out = tmp_path_factory.mktemp("book")
    two = read_lectures(only=UNITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lectures, "read_lectures", lambda: two)
        assert main(["book", "--out", str(out)]) == 0
    return two, out / "html", out / "course.pdf"


def test_every_link_of_the_site_leads_somewhere_and_nothing_comes_from_elsewhere(built):
    _, site, _ = built
    assert broken_links(site) == []
    assert list(foreign_loads(site)) == []


def test_every_figure_of_the_site_has_an_alternative_and_a_caption(built):
    read, site, _ = built
    for lecture in read:
        page = site / f"{lecture.name}.html"
        alternatives = read_page(page).alternatives
        assert len(alternatives) == len(lecture.figures) > 3
        assert [a for a in alternatives] == [f.alternative for f in lecture.figures]
        assert page.read_text("utf-8").count("<figcaption>") == len(lecture.figures)


def test_the_site_lists_units_by_part_with_minutes_and_labs(built):
    read, site, _ = built
    page = site.joinpath("index.html").read_text("utf-8")
    for lecture in read:
        assert lecture.part in page and f">{lecture.minutes}<" in re.sub(r"</?p>", "", page)
    labs = [link for link in read_page(site / "index.html").links if link.endswith(".ipynb")]
    assert len(labs) == len(UNITS)
    lecture_links = read_page(site / "02_attention.html").links
    assert any(link.endswith("02_attention.ipynb") for link in lecture_links)


def test_the_site_can_be_searched_and_read_in_the_dark(built):
    _, site, _ = built
    index = site.joinpath("searchindex.js").read_text("utf-8")
    assert "softmax" in index and "micro" in index
    assert "theme-toggle" in site.joinpath("02_attention.html").read_text("utf-8")


def test_formulas_are_drawn_and_none_is_left_as_source(built):
    _, site, _ = built
    page = site.joinpath("02_attention.html").read_text("utf-8")
    assert page.count("<math ") > 20 and "<mfrac>" in page
    prose = re.sub(r"<pre.*?</pre>", "", page, flags=re.S)
    assert "\\frac" not in prose and "$" not in re.sub(r"<[^>]+>", "", prose)


def test_what_a_guess_reveals_is_folded(built):
    _, site, _ = built
    page = site.joinpath("02_attention.html").read_text("utf-8")
    assert page.count("guess first)</summary>") > 2
    assert page.count("<details>") == page.count("</details>")


def test_terms_and_glossary_link_both_ways(built):
    read, site, _ = built
    words = site.joinpath("glossary.html").read_text("utf-8")
    terms = glossary(read)
    assert len(terms) > 30
    for term in terms:
        assert (
            f'id="{term.anchor}" class="term" href="{term.unit}.html#term-{term.anchor}"' in words
        )
        back = f'id="term-{term.anchor}" class="term" href="glossary.html#{term.anchor}"'
        assert site.joinpath(f"{term.unit}.html").read_text("utf-8").count(back) == 1


def test_the_pdf_has_contents_page_numbers_figures_and_alternatives(built):
    pypdf = pytest.importorskip("pypdf")
    read, _, path = built
    pdf = pypdf.PdfReader(path)
    assert len(pdf.pages) > 30
    contents = pdf.pages[1].extract_text()
    for lecture in read:
        (line,) = [row for row in contents.splitlines() if lecture.title in row]
        number = int(re.search(r"(\d+)\s*$", line)[1])
        text = pdf.pages[number - 1].extract_text()
        assert lecture.title in text and text.rstrip().endswith(str(number))
    n_images = sum(len(page.images) for page in pdf.pages)
    assert n_images == sum(len(lecture.figures) for lecture in read)
    assert pdf.outline and pdf.metadata.title


def test_a_link_to_nowhere_stops_the_build(builders, tmp_path):
    (lecture,) = read_lectures(only=["02"])
    wrong = replace(lecture, blocks=(Prose("# 02 Attention\n\nSee [there](nowhere.md)."),))
    with pytest.raises(RuntimeError, match=r"02_attention\.md:3: .*nowhere"):
        build_site([wrong], tmp_path)


def test_the_checkers_find_what_they_look_for(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"></a><a href="b.html#there"></a><a href="c.html"></a>'
        '<a href="https://example.org/"></a><img src="d.png">'
        '<script src="//cdn.example.org/x.js"></script>'
        "<script>import x from 'https://cdn.example.org/y.js'</script>"
    )
    (tmp_path / "b.html").write_text('<p id="here"></p>')
    (tmp_path / "s.css").write_text("@import url(https://fonts.example.org/f.css);")
    assert broken_links(tmp_path) == ["a.html: b.html#there", "a.html: c.html", "a.html: d.png"]
    assert sorted(f.split(": ")[1] for f in foreign_loads(tmp_path)) == [
        "//cdn.example.org/x.js",
        "https://cdn.example.org/y.js",
        "https://fonts.example.org/f.css",
    ]


@pytest.mark.parametrize("lecture", ALL, ids=lambda lecture: lecture.name)
def test_every_figure_of_every_lecture_has_a_sentence_for_those_who_do_not_see_it(lecture):
    numbers = [figure.number for figure in lecture.figures]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))
    for figure in lecture.figures:
        assert len(figure.alternative.split()) >= 4 and figure.alternative.endswith((".", "?"))
        assert not re.search(r"[$*`{}]", figure.alternative), figure.alternative
        assert len(figure.caption.split()) >= 8, "a caption says what is to be seen"


@pytest.mark.parametrize("lecture", ALL, ids=lambda lecture: lecture.name)
def test_every_formula_and_all_prose_of_every_lecture_can_be_set(lecture):
    for block in lecture.blocks:
        if isinstance(block, Prose):
            assert slides.rendered(block.text) and markup(block.text)


def test_mathml_and_typst_say_the_same():
    latex = r"\frac{1}{n} \sum_{i} \pi_{old}(x_i)^2"
    assert re.findall(r"<m[ion][^>]*>([^<]+)<", formulas.mathml(latex)) == [
        *("1", "n", "∑", "i", "π", "o", "l", "d", "(", "x", "i", ")", "2"),
    ]
    assert formulas.typst(latex) == r'$frac("1", n) ∑_(i) π_(o l d) \( x_(i) \)^("2")$'
    assert formulas.typst("(a, b)") == r"$( a \, b )$", "brackets that close are drawn to size"
    with pytest.raises(ValueError, match="nosuch"):
        formulas.mathml(r"\nosuch")


def test_each_term_is_defined_in_a_sentence_of_its_lecture():
    terms = glossary(ALL)
    assert len(terms) > 200 and len({term.anchor for term in terms}) == len(terms)
    by_name = {lecture.name: lecture for lecture in ALL}
    for term in terms:
        prose = " ".join(b.text for b in by_name[term.unit].blocks if isinstance(b, Prose))
        assert f"**{term.name}**" in " ".join(prose.split()), term.name
        assert f"**{term.name}**" in term.definition
        assert len(term.definition.split()) >= 6, f"{term.name}: {term.definition}"


def test_what_is_listed_as_stressed_is_still_there():
    for unit, names in STRESSED.items():
        (lecture,) = [lecture for lecture in ALL if lecture.number == unit]
        prose = "\n\n".join(b.text for b in lecture.blocks if isinstance(b, Prose))
        bold = {" ".join(found[1].split()) for found in BOLD.finditer(prose)}
        assert names <= bold, f"unit {unit} no longer has {sorted(names - bold)}: take them out"


def test_tables_boxes_and_leads_hold_no_terms():
    text = "| a **b012** |\n\n> **Box** of sorts\n\n- **So it is.** A **mask** says who sees."
    assert [found[1] for found in bold_terms(text, "02")] == ["mask"]


def test_an_alternative_is_the_finding_or_what_the_caption_says():
    figure = ALL[1].figures[0]
    caption = CAPTION.search("*Figure 3. Two *thin* lines over $x$. They cross in the middle.*")
    with_title = captioned(replace(figure, finding="The loss falls"), caption)
    assert with_title.alternative == "The loss falls."
    without = captioned(replace(figure, finding=""), caption)
    assert without.number == 3
    assert without.alternative == plain("Two thin lines over x. They cross in the middle.")


def test_a_figure_without_words_is_refused_by_name(tmp_path):
    (folder := tmp_path / "notebooks").mkdir()
    (tmp_path / "README.md").write_text("| 42 | New | 200 | there |")
    (source,) = (project_root() / "notebooks").glob("02_*.ipynb")
    text = source.read_text("utf-8").replace("*Figure 1. ", "*Picture 1. ")
    (folder / "42_new.ipynb").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="42_new.ipynb: no caption below a figure"):
        read_lectures(tmp_path)


def test_a_lecture_without_a_row_in_the_map_is_refused(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "42_new.ipynb").write_text("{}")
    (tmp_path / "README.md").write_text("| 01 | Tokens | 200 | there |")
    with pytest.raises(ValueError, match="no row for unit 42"):
        read_lectures(tmp_path)


@pytest.mark.parametrize("lecture", ALL, ids=lambda lecture: lecture.name)
def test_a_slide_holds_one_idea(lecture):
    made = slides.slides_of(lecture)
    pictures = [slide.body.count("<img") for slide in made]
    assert max(pictures) == 1 and sum(pictures) == len(lecture.figures)
    for slide in made:
        n_formulas = len(re.findall(r'<math[^>]* display="block"', slide.body))
        assert n_formulas <= 3 and not (n_formulas and pictures[0])
        words = re.sub(r"<math.*?</math>|<[^>]+>", " ", slide.body, flags=re.S).split()
        assert len(words) <= 170, slide.body[:200]
    notes = " ".join(" ".join(slide.notes) for slide in made)
    assert sum(slide.begins for slide in made) >= 5 and len(notes.split()) > 500


def test_slides_are_offline_and_none_is_cut_off(builders, tmp_path):
    assert main(["slides", "15", "--out", str(tmp_path)]) == 0
    page = tmp_path / "15_model_parallel.html"
    assert list(foreign_loads(tmp_path)) == [] and broken_links(tmp_path) == []
    html = page.read_text("utf-8")
    assert html.count("<section") > 50 and '<aside class="notes">' in html
    if browsers.find_browser() is None:
        pytest.skip("no Chromium here: whether slides are cut off can't be seen")
    with browsers.browser() as tab:
        tab.open(page.as_uri(), 1280, 720)
        tab.wait_for("Reveal.isReady()")
        assert tab.evaluate(CUT_OFF) == []


CUT_OFF = """Reveal.getSlides().filter(slide => {
  const place = Reveal.getIndices(slide);
  Reveal.slide(place.h, place.v);
  return slide.scrollHeight > 722 || slide.scrollWidth > 1282;
}).map(slide => slide.innerText.slice(0, 80))"""


def test_no_page_is_wider_than_a_phone(built):
    if browsers.find_browser() is None:
        pytest.skip("no Chromium here: how wide a page is can't be seen")
    _, site, _ = built
    with browsers.browser() as tab:
        for page in ("index.html", "02_attention.html", "glossary.html"):
            tab.open((site / page).as_uri(), 390, 844)
            assert tab.evaluate("document.documentElement.scrollWidth") <= 390, page


def test_commands_say_what_is_wrong(tmp_path, capsys):
    assert main(["slides", "99", "--out", str(tmp_path)]) == 2
    assert "there is no lecture of unit 99" in capsys.readouterr().err


def test_hours_of_the_paths_are_those_of_the_map():
    readme = (project_root() / "README.md").read_text("utf-8")
    minutes = {row.number: row.minutes for row in course_map(readme)}
    paths = re.findall(r"^\| (an? [^|]+) \| ((?:\d\d(?:, )?)+) \| (\d+) \|$", readme, re.M)
    assert len(paths) == 3
    for reader, units, hours in paths:
        assert int(hours) == round(sum(minutes[u] for u in units.split(", ")) / 60), reader


def test_the_table_of_costs_is_made_of_its_record():
    root = project_root()
    record = json.loads((root / costs.RECORD).read_text("utf-8"))
    written = (root / costs.TABLE).read_text("utf-8")
    assert written.split("\nNot measured yet")[0] == costs.table(record)
    for name, row in record.items():
        assert (root / name).is_file(), f"{name} is gone: take it out and make the table again"
        assert row["cpu_seconds"] > 0 and 100 < row["peak_mb"] < 4000, "the README promises 4 GB"


def test_a_notebook_is_measured_with_the_processes_that_it_starts(tmp_path):
    source = (
        "import subprocess, sys\n"
        "held = bytearray(200_000_000)\n"
        "code = 'import time; t = time.process_time()\\nwhile time.process_time() < t + 1: pass'\n"
        "subprocess.run([sys.executable, '-c', code], check=True)"
    )
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": source}
    cell |= {"outputs": [], "execution_count": None}
    path = tmp_path / "one.ipynb"
    whole = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(whole))
    told = costs.measure(path)
    assert told["cpu_seconds"] >= 1 and told["peak_mb"] >= 200


def test_lectures_alone_are_about_half_of_the_officers_path():
    readme = (project_root() / "README.md").read_text("utf-8")
    units = re.search(r"^\| a governance officer [^|]+ \| ([\d, ]+) \|", readme, re.M)[1].split(
        ", "
    )
    chosen = [lecture for lecture in ALL if lecture.number in units]
    prose = [
        "\n".join(b.text for b in lecture.blocks if isinstance(b, Prose)) for lecture in chosen
    ]
    minutes = [int(re.search(r"\*\*(\d+) minutes\*\*", text)[1]) for text in prose]
    assert 0.4 < sum(minutes) / sum(lecture.minutes for lecture in chosen) < 0.6
