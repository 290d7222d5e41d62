"""Nothing is said by colour alone, and what is written can be read: palette, maps, lines, texts.

Where something falls short today it is listed with its number, and the list is held to what is
there: mended, it must be taken off.
"""

import ast
import re

import matplotlib.pyplot as plt
import pytest

from tests.test_repository import SOURCES, name_of, parsed_source
from utils.book import site, slides
from utils.book.colours import MACHADO, blended, closest, contrast, distance, lab, linear, seen
from utils.report import plots
from utils.settings import project_root

TOLD_APART = 10  # in L*a*b*: a common bar for colours that are told apart at a glance
TEXT, NO_TEXT = 4.5, 3.0  # WCAG 2.2, 1.4.3 and 1.4.11
EYES = [None, *MACHADO]
ROOT = project_root()


@pytest.fixture(autouse=True)
def no_figures_stay_open():
    yield
    plt.close("all")


def test_contrast_and_distance_are_those_of_the_standards():
    # WCAG's own example: #777777 on white just fails; CIE: red of sRGB is L 53.2, a 80.1, b 67.2.
    assert 4.47 < contrast("#777777", "#ffffff") < 4.49
    assert lab(linear("#ff0000")) == pytest.approx((53.24, 80.09, 67.20), abs=0.05)
    assert distance("#ffffff", "#ffffff") == 0


def test_a_deficiency_makes_red_and_green_alike_and_leaves_greys():
    for deficiency in MACHADO:
        normal = distance("#b2182b", "#6b6b00")
        assert distance("#b2182b", "#6b6b00", deficiency) < 0.6 * normal
        assert seen("#808080", deficiency) == pytest.approx(linear("#808080"), abs=1e-3)


@pytest.mark.parametrize("deficiency", EYES)
def test_colours_of_lines_are_told_apart_by_all_eyes(deficiency):
    least, one, other = closest(plots.PALETTE, deficiency)
    assert least >= TOLD_APART, f"{one} and {other} are {least:.1f} apart"


@pytest.mark.parametrize("deficiency", EYES)
def test_the_map_of_colours_rises_in_lightness_for_all_eyes(deficiency):
    colours = [plt.get_cmap(plots.MAP)(k / 20) for k in range(21)]
    hexes = ["#" + "".join(f"{round(255 * v):02x}" for v in c[:3]) for c in colours]
    lightness = [lab(seen(h, deficiency))[0] for h in hexes]
    assert all(b > a for a, b in zip(lightness, lightness[1:], strict=False))


def test_lines_differ_by_dash_and_carry_their_names():
    series = {f"line {k}": ([0, 1], [k, 2 * k]) for k in range(len(plots.PALETTE))}
    axes = plots.lines(series, title="Seven lines", xlabel="x", ylabel="y")
    styles = [(line.get_linestyle(), line._dash_pattern) for line in axes.lines]
    assert len(set(map(str, styles))) == len(series)
    assert {text.get_text() for text in axes.texts} == set(series)


def test_lines_of_a_dashboard_differ_by_dash():
    runs = {f"run {k}": [{"iteration": i, "reward": k * i} for i in range(20)] for k in range(4)}
    (panel,) = plots.rlhf_dashboard(runs, title="Four runs")
    assert len({str(line._dash_pattern) for line in panel.lines}) == len(runs)


DRAWS = {"plot", "scatter", "bar", "barh", "hist"}
APART = {"marker", "markers", "linestyle", "hatch"}
TOLD_BY = {  # a lecture colours without dash, marker or hatch: what else tells apart
    "notebooks/source/04_pretraining.py": ["dots lie on lines that differ by dash and name"],
    "notebooks/source/07_lora.py": [
        "order in the stack, the same as in the legend",
        "one histogram alone",
        "height, with a name beside it",
    ],
    "notebooks/source/09_evaluation.py": ["whether the bar crosses the level line"],
    "notebooks/source/16_70b_run.py": ["order in the stack, the same as in the legend"],
    "solutions/source/01_tokens.py": ["dots against a line"],
}


def coloured_alone(path) -> list[int]:
    """Return the lines that draw in a colour with neither marker, dash, hatch nor format."""
    found = []
    for node in ast.walk(parsed_source(path)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        given = {keyword.arg for keyword in node.keywords}
        is_dashed = any("DASHES" in ast.unparse(argument) for argument in node.args)
        if node.func.attr in DRAWS and "color" in given and not given & APART and not is_dashed:
            is_format = len(node.args) > 2 and re.search(r"\[", ast.unparse(node.args[2]))
            if not is_format:
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_lecture_tells_by_colour_alone(path):
    told = TOLD_BY.get(name_of(path), [])
    lines = coloured_alone(path)
    assert len(lines) == len(told), f"lines {lines}: add a marker, dash or hatch, or say what tells"


WIDGETS = {  # what is written or drawn in a widget: colour, ground, the bar
    "text of figures": ("#000000", "#ffffff", TEXT),
    "numbers in a timeline, forward": ("#000000", blended(plots.PALETTE[0], 0.55), TEXT),
    "numbers in a timeline, backward": ("#000000", blended(plots.PALETTE[4], 0.55), TEXT),
    "numbers in a timeline, backward of a later chunk": (
        *("#000000", blended(plots.PALETTE[4], 0.9)),
        TEXT,
    ),
    "numbers in a timeline, forward of a later chunk": (
        *("#000000", blended(plots.PALETTE[0], 0.9)),
        TEXT,
    ),
    "bar of the progress board": ("#0072B2", "#dddddd", NO_TEXT),
    "the token that is chosen in a map": (plots.PALETTE[1], "#00224e", NO_TEXT),
    "link of the book": (site.LINK, "#ffffff", TEXT),
    "link of the book in the dark": (site.LINK_ON_DARK, "#131416", TEXT),
    "small text of a slide": (re.search(r"where \{.*?color: (#\w+)", slides.LOOK)[1], "#fff", TEXT),
}


@pytest.mark.parametrize("what", WIDGETS)
def test_what_widgets_write_can_be_read(what):
    colour, ground, bar = WIDGETS[what]
    assert contrast(colour, ground) >= bar, f"{what}: {contrast(colour, ground):.2f}"


@pytest.mark.parametrize("colour", [*plots.PALETTE, "#999999"])
def test_names_of_lines_and_of_stages_can_be_read(colour):
    assert contrast(plots.ink(colour), "#ffffff") >= TEXT


def test_the_names_of_lines_are_written_in_ink():
    series = {f"line {k}": ([0, 1], [k, 2 * k]) for k in range(len(plots.PALETTE))}
    axes = plots.lines(series, title="Seven lines", xlabel="x", ylabel="y")
    assert [text.get_color() for text in axes.texts] == [plots.ink(c) for c in plots.PALETTE]


WORDS = {"annotate", "text"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_word_of_a_figure_is_pale(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        colours = [k.value for k in node.keywords if k.arg == "color"]
        if node.func.attr in WORDS and colours:
            written = ast.unparse(colours[0])
            assert "ink(" in written or contrast(ast.literal_eval(written), "#ffffff") >= TEXT


ALIKE = {  # colours of a lecture that are not the palette's: the least distance, to all eyes
    "notebooks/source/16_70b_run.py": {"#999999": 7.1},  # a stack in the order of its legend
}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_colours_that_a_lecture_adds_are_told_apart_too(path):
    added = set(re.findall(r"#[0-9A-Fa-f]{6}\b", path.read_text("utf-8"))) - set(plots.PALETTE)
    found = {
        colour: round(min(distance(colour, p, d) for p in plots.PALETTE for d in EYES), 1)
        for colour in added
    }
    too_near = {colour: apart for colour, apart in found.items() if apart < TOLD_APART}
    assert too_near == ALIKE.get(name_of(path), {})
