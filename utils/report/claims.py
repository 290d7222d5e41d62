"""Claims of a notebook: what it says, what it measured, the bar, and whether it holds.

The table prints verdicts and rounded numbers, the same on every machine, and fails the
notebook where a claim does not hold.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from utils.report.tables import text_table


@dataclass(frozen=True)
class Claim:
    """One measured statement."""

    text: str
    measured: str
    bar: str
    holds: bool


@dataclass
class Claims:
    """The measured statements of one notebook, in the order in which they were made.

    >>> claims = Claims()
    >>> claims.add("two and two make four", measured=2 + 2, bar="= 4", holds=2 + 2 == 4)
    >>> claims.table()
    claim                  measured  bar  holds
    ---------------------  --------  ---  -----
    two and two make four  4         = 4  yes
    """

    claims: list[Claim] = field(default_factory=list)

    def add(self, text: str, measured: object, bar: str, holds: bool) -> None:
        """Record a claim; a claim of the same text is replaced, so a cell may run twice."""
        claim = Claim(text, str(measured), bar, bool(holds))
        self.claims = [c for c in self.claims if c.text != text] + [claim]

    def table(self) -> None:
        """Print all claims.

        Raises:
            AssertionError: naming the claims that don't hold.
        """
        rows = []
        for claim in self.claims:
            lines = textwrap.wrap(claim.text, 58) or [""]
            rows.append([lines[0], claim.measured, claim.bar, "yes" if claim.holds else "NO"])
            rows += [[line, "", "", ""] for line in lines[1:]]
        print(text_table(["claim", "measured", "bar", "holds"], rows))
        failed = [claim for claim in self.claims if not claim.holds]
        if failed:
            raise AssertionError(
                "; ".join(f"{c.text}: {c.measured}, the bar is {c.bar}" for c in failed)
            )
