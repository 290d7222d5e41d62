"""Run the experiments on the real model and record them: `python -m utils.experiments [NAME ...]`.

Without names (`make real`), those whose record is missing or was made by other code; `--all` runs
every one again. Each shows a progress bar, and one that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys

from utils.experiments.records import RECORDS, recorded
from utils.experiments.registry import Experiment, all_experiments, run_and_record, stamp_of
from utils.runtime import start
from utils.zoo.real import has_real, how_to_get_real


def is_current(found: Experiment) -> bool:
    """Return whether an experiment's record was made by the code as it is."""
    there = (RECORDS / f"{found.name}.json").is_file()
    return there and recorded(found.name)["stamp"] == stamp_of(found)


def main(arguments: list[str]) -> int:
    """Run and record; return 1 where a claim does not hold, 2 where the model is missing."""
    parser = argparse.ArgumentParser(prog="python -m utils.experiments", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments; default: stale ones")
    parser.add_argument("--all", action="store_true", help="every experiment")
    chosen, experiments = parser.parse_args(arguments), all_experiments()
    unknown = set(chosen.names) - set(experiments)
    if unknown:
        parser.error(f"no experiment {sorted(unknown)}; there are: {', '.join(experiments)}")
    wanted = [
        found
        for name, found in experiments.items()
        if name in chosen.names or not chosen.names and (chosen.all or not is_current(found))
    ]
    if wanted and not has_real():
        print(how_to_get_real(), file=sys.stderr)
        return 2
    start()
    broken = []
    for found in wanted:
        try:
            run_and_record(found)
        except AssertionError as error:
            broken.append(found.name)
            print(f"{found.name} does not hold: {error}", file=sys.stderr)
    print(
        f"{len(experiments)} experiments, {len(wanted)} run; {', '.join(broken) or 'none'} broken"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
