"""A graph of stages as SVG: boxes in a column, an arrow for each file that is read."""

from __future__ import annotations

from html import escape

from utils.evidence.page import Drawing

WIDTH, HEIGHT, GAP, LEFT = 120, 26, 18, 20  # of a box, between boxes, and beside them
COLOURS = {"box": "#f2f4f7", "line": "#44546a", "text": "#1a1a1a"}


def svg(drawing: Drawing) -> str:
    """Return a drawing as SVG.

    >>> svg(Drawing((("a", 0), ("b", 1)), (("a", "b"),), "a is read by b")).count("<rect")
    2
    """
    tops = {label: 10 + row * (HEIGHT + GAP) for label, row in drawing.nodes}
    rows = dict(drawing.nodes)
    height = max(tops.values()) + HEIGHT + 10
    longest = max((rows[b] - rows[a] for a, b in drawing.edges), default=1)
    width = LEFT + WIDTH + 30 + 22 * longest
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<title>{escape(drawing.told)}</title>",
    ]
    for before, after in drawing.edges:
        lines.append(arrow(tops[before], tops[after], rows[after] - rows[before]))
    for label, top in tops.items():
        lines.append(
            f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" rx="4" '
            f'fill="{COLOURS["box"]}" stroke="{COLOURS["line"]}"/>'
            f'<text x="{LEFT + WIDTH / 2}" y="{top + 17}" text-anchor="middle" font-size="12" '
            f'font-family="sans-serif" fill="{COLOURS["text"]}">{escape(label)}</text>'
        )
    return "\n".join([*lines, "</svg>"])


def arrow(top: int, end: int, rows: int) -> str:
    """Return an arrow from a box to a later one: straight to the next, else around on the right."""
    stroke = f'fill="none" stroke="{COLOURS["line"]}" stroke-width="1.2"'
    if rows == 1:
        x, y = LEFT + WIDTH / 2, end
        path = f"M {x} {top + HEIGHT} L {x} {y - 5}"
        head = f"{x - 4},{y - 6} {x + 4},{y - 6} {x},{y}"
    else:
        x, far = LEFT + WIDTH, LEFT + WIDTH + 22 * rows
        start, y = top + HEIGHT / 2 + 2 * rows - 8, end + HEIGHT / 2 - 2 * rows + 8
        path = f"M {x} {start} C {far} {start}, {far} {y}, {x + 6} {y}"
        head = f"{x + 7},{y - 4} {x + 7},{y + 4} {x},{y}"
    return f'<path d="{path}" {stroke}/><polygon points="{head}" fill="{COLOURS["line"]}"/>'
