"""Runs one stage of a project of the capstone: `python -m utils.capstone STAGE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a stage; return 0, 2 where it can't begin or go on, 130 where it was stopped."""
    from utils.align.ppo import RewardError
    from utils.capstone.stages import STAGES, run_stage
    from utils.train.loop import NonFiniteLoss
    from utils.zoo.files import CorruptModel

    parser = argparse.ArgumentParser(
        prog="python -m utils.capstone", description="run one stage of a project of the capstone"
    )
    parser.add_argument("stage", choices=tuple(STAGES), help="which stage")
    parser.add_argument(
        "--project", type=Path, default=Path("."), help="folder with params.yaml (this one)"
    )
    chosen = parser.parse_args(arguments)
    try:
        record = run_stage(chosen.stage, chosen.project)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (OSError, ValueError, CorruptModel, NonFiniteLoss, RewardError) as error:
        print(f"{chosen.stage}: {error}", file=sys.stderr)
        return 2
    print(
        f"{chosen.stage}: {record['seconds']:.1f} s, {record['tokens']:,} tokens, "
        f"{record['energy_wh']['value']:.3f} Wh "
        f"({record['energy_wh']['low']:.3f} to {record['energy_wh']['high']:.3f})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
