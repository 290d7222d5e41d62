"""The progress board: which exercises of which lab are done, as text or in a notebook."""

from __future__ import annotations

import html
import pkgutil

from utils.labs import checks, progress
from utils.labs.api import points_of_unit


def labs() -> list[str]:
    """Return the names of all labs that have checks."""
    return sorted(m.name for m in pkgutil.iter_modules(checks.__path__) if m.name[:2].isdigit())


def rows() -> list[tuple[str, str, int, int]]:
    """Return (lab, exercise, points earned, points) for every exercise of the course."""
    earned = progress.load_to_show()
    return [
        (lab, exercise, min(points, earned.get(lab, {}).get(exercise, [0])[0]), points)
        for lab in labs()
        for exercise, points in points_of_unit(lab).items()
    ]


def progress_text() -> str:
    """Return the board as plain text."""
    lines, everything = [], rows()
    for lab in labs():
        own = [row for row in everything if row[0] == lab]
        got, points = sum(row[2] for row in own), sum(row[3] for row in own)
        lines.append(f"{lab}: {got} of {points} points")
        lines += [f"  [{mark(e, p)}] {name}  {e}/{p}" for _, name, e, p in own]
    return "\n".join(lines) or "There are no labs yet."


def mark(earned: int, points: int) -> str:
    """Return x for done, / for begun, a space for not started."""
    return "x" if earned == points else "/" if earned else " "


class Board:
    """The board as a notebook shows it."""

    def __repr__(self) -> str:
        return progress_text()

    def _repr_html_(self) -> str:
        cells = []
        for lab, name, earned, points in rows():
            share = 100 * earned / points
            bar = (
                '<div style="background:#ddd;width:120px;height:10px">'
                f'<div style="background:#0072B2;width:{share:.0f}%;height:10px"></div></div>'
            )
            cells.append(
                f"<tr><td>{html.escape(lab)}</td><td>{html.escape(name)}</td><td>{bar}</td>"
                f"<td>{earned} of {points}</td></tr>"
            )
        head = "<tr><th>lab</th><th>exercise</th><th></th><th>points</th></tr>"
        return f"<table>{head}{''.join(cells)}</table>"


def show_board() -> Board:
    """Return the board, drawn where a notebook shows the last value of a cell."""
    return Board()
