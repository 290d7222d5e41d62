"""Measure claims at all their seeds and record them: `python -m tests.claims [NAME ...]`.

Without names (`make claims`), those whose record is missing or stale;
`--all` measures every one again.
"""

from __future__ import annotations

import argparse
import sys

import torch

from tests.claims.registry import Claim, all_claims, read, run, stamp_of, write


def is_current(found: Claim) -> bool:
    """Return whether a claim's record was measured by the code as it is."""
    return found.path.is_file() and read(found)["stamp"] == stamp_of(found)


def main(arguments: list[str]) -> int:
    """Measure and record; return 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.claims", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="claims; default: stale ones")
    parser.add_argument("--all", action="store_true", help="every claim")
    chosen, claims = parser.parse_args(arguments), all_claims()
    unknown = set(chosen.names) - set(claims)
    if unknown:
        parser.error(f"no claim {sorted(unknown)}; there are: {', '.join(claims)}")
    torch.set_num_threads(1)
    broken = []
    for name, found in claims.items():
        if name not in chosen.names and (chosen.names or not chosen.all and is_current(found)):
            continue
        record = run(found, lambda line: print(line, flush=True))
        write(record)
        try:
            found.holds(list(record["runs"].values()))
        except AssertionError as error:
            broken.append(name)
            print(f"{name} does not hold: {error}", file=sys.stderr)
    print(f"{len(claims)} claims; {', '.join(broken) or 'none'} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
