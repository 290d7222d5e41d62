"""Plain-text tables, the same on every machine and readable in a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows under a header, columns aligned, without trailing spaces.

    Raises:
        ValueError: for a row with another number of columns than the header.

    >>> print(text_table(["n", "name"], [[1, "one"], [10, "ten"]]))
    n   name
    --  ----
    1   one
    10  ten
    """
    cells = [[str(cell) for cell in row] for row in rows]
    for row in cells:
        if len(row) != len(header):
            raise ValueError(f"a row has {len(row)} columns and the header {len(header)}: {row}")
    table = [list(header), *cells]
    widths = [max(len(row[k]) for row in table) for k in range(len(header))]
    table.insert(1, ["-" * width for width in widths])
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)
