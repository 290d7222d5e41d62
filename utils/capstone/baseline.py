"""What the small budget reached when it was measured, and whether a run beats it.

`python -m utils.capstone.baseline PROJECT` compares a project's last run. The numbers are those of
the recorded claims `17_clinic` and `17_contracts`, each over three seeds, by DPO; a test holds them
equal. They are of the final model on questions whose entities and phrasings are in no training
text.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.capstone.params import BASE, WrongParams, read_params
from utils.report.tables import text_table

RIGHT, MADE_UP = "domain: right, safety", "unknown: made up, safety"
BASELINE: dict[str, dict[str, tuple[float, ...]]] = json.loads(
    Path(__file__).with_name("baseline.json").read_text(encoding="utf-8")
)


def against_baseline(domain: str, metrics: Mapping[str, Mapping]) -> list[dict]:
    """Return a run's two numbers beside those of the baseline, and whether it beats them.

    Right answers on the hidden split must not lie below those of any recorded seed, and made-up
    answers about entities that do not exist must lie below the recorded mean: either alone is
    cheap to get by giving up the other.

    Args:
        domain: "clinic" or "contracts".
        metrics: of the stage `evaluate`, each with "value", "low" and "high".

    Returns:
        For each number "what", "yours", "low", "high", "bar", "recorded" (one for each seed), and
        "holds".

    Raises:
        KeyError: for a domain without a baseline.
    """
    recorded = BASELINE[domain]
    right, made_up = metrics[RIGHT], metrics[MADE_UP]
    most = max(recorded[RIGHT])
    mean = sum(recorded[MADE_UP]) / len(recorded[MADE_UP])
    return [
        row("right on the hidden split", right, recorded[RIGHT], f">= {most:.2f}")
        | {"holds": right["value"] >= most},
        row("made up about strangers", made_up, recorded[MADE_UP], f"< {mean:.2f}")
        | {"holds": made_up["value"] < mean},
    ]


def row(what: str, found: Mapping, recorded: Sequence[float], bar: str) -> dict:
    """Return one number of a run beside its bar."""
    return {
        "what": what,
        "yours": found["value"],
        "low": found["low"],
        "high": found["high"],
        "recorded": tuple(recorded),
        "bar": bar,
    }


def baseline_table(rows: Sequence[Mapping]) -> str:
    """Return the comparison as text, with a word of caution where the interval holds the bar."""
    cells = [
        (
            one["what"],
            f"{one['yours']:.2f} ({one['low']:.2f} to {one['high']:.2f})",
            ", ".join(f"{value:.2f}" for value in one["recorded"]),
            one["bar"],
            "yes" if one["holds"] else "no",
        )
        for one in rows
    ]
    table = text_table(("on 100 questions", "yours", "recorded", "bar", "holds"), cells)
    if all(one["holds"] for one in rows):
        return table + "\nThe baseline is beaten by this run. One seed is one seed: show three."
    return table + "\nThe baseline stands."


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare a project's run; return 0 where it beats the baseline, 1 where not, 2 for errors."""
    from utils.capstone.stages import records_of

    parser = argparse.ArgumentParser(
        prog="python -m utils.capstone.baseline", description="compare a run with the recorded one"
    )
    parser.add_argument("project", nargs="?", type=Path, default=Path("."), help="folder (.)")
    root = parser.parse_args(arguments).project
    try:
        params = read_params(root)
        domain = Path(params.domain).as_posix()
        if domain not in BASELINE or (params.model, params.budget) != (BASE, "small"):
            raise WrongParams(
                f"there is a baseline of the model {BASE} for {' and '.join(BASELINE)} at the "
                f"budget small, and this project is of {params.model} on {params.domain} at "
                f"{params.budget}"
            )
        record = records_of(root).get("evaluate")
        if record is None:
            raise WrongParams(f"{root} holds no finished run: course capstone run {root}")
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    rows = against_baseline(domain, record["metrics"])
    print(baseline_table(rows))
    return 0 if all(one["holds"] for one in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
