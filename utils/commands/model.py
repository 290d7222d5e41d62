"""`course model`: prepare a real model once, and say what it is."""

from __future__ import annotations

import sys
import time

from utils.zoo.fetch import NotPrepared, prepare
from utils.zoo.real import SOURCES, card


def main(wanted: str) -> int:
    """Prepare a model; return 0, or 2 with the reason where it can't be."""
    start = time.perf_counter()
    try:
        folder = prepare(wanted)
    except NotPrepared as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was downloaded whole is kept, run it again to go on", file=sys.stderr)
        return 130
    print(f"{folder.name} is ready ({time.perf_counter() - start:.1f} s).")
    if wanted in SOURCES:
        print(card(SOURCES[wanted]))
    else:
        print(f"Set COURSE_MODEL={wanted} to use it in the lectures.")
    return 0
