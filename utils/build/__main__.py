"""Build the course: `python -m utils.build [--check] [--no-execute] [--force] [UNIT ...]`.

Without arguments every notebook, lab and solution is made from its source; what did not change is
not run again. A unit is named by its number (01) or its name (01_tokens).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from utils.build.sources import BuildError
from utils.settings import project_root


def parser() -> argparse.ArgumentParser:
    """Return the parser of the build command."""
    top = argparse.ArgumentParser(prog="python -m utils.build", description=__doc__.splitlines()[0])
    top.add_argument("units", nargs="*", metavar="UNIT", help="01 or 01_tokens; default: all")
    top.add_argument("--check", action="store_true", help="compare with what is committed")
    top.add_argument(
        "--no-execute",
        action="store_true",
        help="a quick preview without outputs, in artifacts/preview/",
    )
    top.add_argument("--force", action="store_true", help="run notebooks that are up to date, too")
    top.add_argument("--workers", type=int, default=2, help="notebooks run side by side (2)")
    return top


def main(arguments: list[str] | None = None, root: Path | None = None) -> int:
    """Build, preview or check; return 0 where all is well, 1 for faults in the sources."""
    chosen = parser().parse_args(arguments)
    root = root or project_root()
    from utils.build import course

    try:
        if chosen.check:
            course.check(root, chosen.units)
        elif chosen.no_execute:
            course.preview(root, chosen.units)
        else:
            course.build(root, chosen.units, force=chosen.force, workers=chosen.workers)
    except BuildError as error:
        print(error, file=sys.stderr)
        print(f"{len(error.problems)} fault(s)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the notebooks that were finished are written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
