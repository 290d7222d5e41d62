"""The progress board: which exercises of which lab are done, as text or in a notebook."""

from __future__ import annotations

import html
import pkgutil
from dataclasses import dataclass

from utils.labs import checks, progress
from utils.labs.api import points_of_unit
from utils.labs.exercises import is_bonus, model_answers


def labs() -> list[str]:
    """Return the names of all labs that have checks."""
    return sorted(m.name for m in pkgutil.iter_modules(checks.__path__) if m.name[:2].isdigit())


@dataclass(frozen=True)
class Row:
    """One line of the board."""

    lab: str
    name: str
    earned: int
    points: int
    notes: tuple[str, ...] = ()
    is_bonus: bool = False

    @property
    def remark(self) -> str:
        """What is said behind the points, in brackets."""
        return f" ({', '.join(self.notes)})" if self.notes else ""


def rows() -> list[Row]:
    """Return a row for every exercise and every written answer of the course."""
    known = progress.load_to_show()
    found = []
    for lab in labs():
        wanted = points_of_unit(lab)
        wanted |= {f"written {k}": p for k, (p, _) in enumerate(model_answers(lab), 1)}
        for name, points in wanted.items():
            earned, _, *notes = known.get(lab, {}).get(name, [0, points])
            bonus = is_bonus(lab, name)
            notes = (*notes, *(["bonus"] if bonus else []))
            found.append(Row(lab, name, min(points, earned), points, notes, bonus))
    return found


def progress_text() -> str:
    """Return the board as plain text."""
    lines, everything = [], rows()
    for lab in labs():
        own = [row for row in everything if row.lab == lab]
        got, points = (
            sum(row.earned for row in own),
            sum(row.points for row in own if not row.is_bonus),
        )
        lines.append(f"{lab}: {got} of {points} points")
        lines += [
            f"  [{mark(r.earned, r.points)}] {r.name}  {r.earned}/{r.points}{r.remark}" for r in own
        ]
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
        for row in rows():
            share = 100 * row.earned / row.points
            bar = (
                '<div style="background:#ddd;width:120px;height:10px">'
                f'<div style="background:#0072B2;width:{share:.0f}%;height:10px"></div></div>'
            )
            cells.append(
                f"<tr><td>{html.escape(row.lab)}</td><td>{html.escape(row.name)}</td><td>{bar}</td>"
                f"<td>{row.earned} of {row.points}{html.escape(row.remark)}</td></tr>"
            )
        head = "<tr><th>lab</th><th>exercise</th><th></th><th>points</th></tr>"
        return f"<table>{head}{''.join(cells)}</table>"


def show_board() -> Board:
    """Return the board, drawn where a notebook shows the last value of a cell."""
    return Board()
