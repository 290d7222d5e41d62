"""Whether every cell of a lab finds its names in a lab that nobody has solved yet.

Cells that wait for an exercise define their names only for cells that wait for it, too.
"""

from __future__ import annotations

from utils.build.answers import Opened
from utils.build.exercises import Definition, Exercise
from utils.build.library import import_line
from utils.build.names import names_left_behind, names_needed
from utils.build.sources import Cell, Source


class Scope:
    """The names that a lab's cells can rely on, cell by cell, in an unsolved lab."""

    def __init__(self, source: Source):
        self.source = source
        self.names: set[str] = set()
        self.conditional: list[tuple[set[str], set[str]]] = []  # needs, names
        self.problems: list[str] = []

    def check_exercise(self, exercise: Exercise, definition: Definition) -> None:
        """Note an exercise; report the names that its body needs and the lab does not define."""
        known = self.names | names_left_behind(definition.solution)
        needed = names_needed(definition.solution)
        module = exercise.target.rpartition(".")[0]
        for name in [name for name in needed if name not in known]:
            self.problems.append(
                self.source.at(
                    exercise.line,
                    f"{exercise.name} ({definition.where}) uses {name}, which no earlier cell of "
                    f"the lab defines: `{import_line(module, definition.module_text, name)}`",
                )
            )
            self.names.add(name)  # one report is enough
        for helper in ("check", "hint"):
            if helper not in self.names:
                self.problems.append(
                    self.source.at(
                        exercise.line,
                        f"no earlier cell of the lab imports {helper}: "
                        f"`from utils.labs.api import {helper}`",
                    )
                )
                self.names.add(helper)
        self.names |= names_left_behind(definition.solution)

    def check_cell(self, cell: Cell, opened: Opened) -> None:
        """Note a cell of the lab; report the names it needs that an unsolved lab lacks."""
        text = opened.text
        if text.startswith("%%") or "raises-exception" in cell.tags:
            return
        needs, known = set(cell.needs), set(self.names)
        for other, names in self.conditional:
            if other <= needs:
                known |= names
        wanted = ({"done": 1} if needs else {}) | names_needed(text)
        for name, row in wanted.items():
            if name not in known:
                self.problems.append(
                    self.source.at(
                        opened.lines[row - 1],
                        f"{name} is not defined in an unsolved lab: define it in an earlier cell, "
                        "or tag this cell needs:NAME",
                    )
                )
                self.names.add(name)  # one report is enough
        if needs:
            self.conditional.append((needs, names_left_behind(text)))
        else:
            self.names |= names_left_behind(text)
