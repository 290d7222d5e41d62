"""The `course` command: open the course, see your progress, start a lab afresh, find faults.

Each subcommand is one function of `utils`; heavy modules are imported when a command needs them.
"""

from __future__ import annotations

import argparse
import sys


def parser() -> argparse.ArgumentParser:
    """Return the parser of the `course` command."""
    top = argparse.ArgumentParser(prog="course", description=__doc__.splitlines()[0])
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    lab = commands.add_parser("lab", help="copy the labs to work/ and open JupyterLab")
    lab.add_argument("--port", type=int, default=8888, help="first port to try (8888)")
    commands.add_parser("doctor", help="check this machine and say how to mend each fault")
    commands.add_parser("progress", help="show which exercises are done")
    reset = commands.add_parser("reset", help="make a fresh copy of a lab beside your own")
    reset.add_argument("number", help="number of the lab, for example 01")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    chosen = parser().parse_args(arguments)
    if chosen.command == "lab":
        from utils.lab import open_lab

        return open_lab(chosen.port)
    if chosen.command == "doctor":
        from utils.doctor import main as doctor

        return doctor()
    if chosen.command == "progress":
        from utils.grading.board import progress_text

        print(progress_text())
        return 0
    from utils.lab import reset_lab

    try:
        print(f"A fresh copy: {reset_lab(chosen.number)}; your own copies are as they were.")
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
