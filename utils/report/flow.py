"""A drawing of what was made from what: boxes in columns, arrows to those that read them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from matplotlib.axes import Axes

from utils.report.plots import FULL, PALETTE, ink, new_axes


def columns_of(links: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the column of each box: one right of the last that it reads from.

    Args:
        links: name -> what it was made from; what was made from nothing may be left out.

    Raises:
        ValueError: where boxes were made from each other in a circle.

    >>> columns_of({"c": ["b", "a"], "b": ["a"]})
    {'a': 0, 'b': 1, 'c': 2}
    """
    names = {name: links.get(name, ()) for name in (*links, *sum(map(list, links.values()), []))}
    columns: dict[str, int] = {}
    while len(columns) < len(names):
        ready = [n for n in names if n not in columns and all(b in columns for b in names[n])]
        if not ready:
            raise ValueError(f"a circle among {', '.join(n for n in names if n not in columns)}")
        columns |= {n: 1 + max((columns[b] for b in names[n]), default=-1) for n in ready}
    return columns


def draw_flow(
    links: Mapping[str, Sequence[str]],
    *,
    title: str,
    marked: Collection[str] = (),
    below: Mapping[str, str] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw boxes and arrows, from left to right.

    Args:
        links: name -> what it was made from.
        title: the finding, in a sentence.
        marked: boxes in colour; the others are grey.
        below: name -> a second, smaller line in its box, such as the beginning of a hash.
    """
    columns = columns_of(links)
    rows: dict[int, list[str]] = {}
    for name, column in columns.items():
        rows.setdefault(column, []).append(name)
    tallest = max(len(names) for names in rows.values())
    axes = axes or new_axes((FULL[0], 1.4 + 0.7 * tallest))
    places = {
        name: (column, (len(names) - 1) / 2 - k)
        for column, names in rows.items()
        for k, name in enumerate(names)
    }
    for name, made_from in links.items():
        for before in made_from:
            far = places[name][0] - places[before][0] > 1
            axes.annotate(
                "",
                places[name],
                places[before],
                arrowprops={
                    "arrowstyle": "->",
                    "color": "#999999",
                    "shrinkA": 26,
                    "shrinkB": 26,
                    "connectionstyle": f"arc3,rad={-0.32 if far else 0}",
                },
            )
    for name, (x, y) in places.items():
        colour = PALETTE[0] if name in marked else "#999999"
        text = name if not below or name not in below else f"{name}\n{below[name]}"
        box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": colour}
        axes.text(x, y, text, ha="center", va="center", fontsize=8, color=ink(colour), bbox=box)
    axes.set(xlim=(-0.6, max(rows) + 0.6), ylim=(-tallest / 2, tallest / 2 + 0.4))
    axes.set_axis_off()
    axes.set_title(title, loc="left", wrap=True)
    return axes
