"""`course capstone`: a project from raw text to an aligned model and its evidence pack."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

ACTIONS = ("init", "run", "table", "report", "check", "sign")


def main(
    action: str,
    folder: Path,
    changes: Sequence[str] = (),
    name: str = "",
    role: str = "",
    engine: str = "here",
    git: bool = False,
) -> int:
    """Make, run, compare, report, check or sign.

    Args:
        action: one of ACTIONS.
        folder: of the project.
        changes: of parameters, such as "method=ppo"; for "run" alone.
        name, role: of who signs; for "sign" alone.
        engine: where stages run, "here", "slurm" or "ray"; for "run" alone.
        git: make the folder a git repository, for `dvc exp run`; for "init" alone.

    Returns:
        0; 1 where a check found faults; 2 where it can't begin or go on; 130 where it was stopped.
    """
    from utils.align.ppo import RewardError
    from utils.capstone.clusters import ClusterFailed
    from utils.capstone.project import (
        StageFailed,
        init_project,
        read_change,
        report_project,
        run_project,
        runs_table,
    )
    from utils.train.loop import NonFiniteLoss
    from utils.zoo.files import CorruptModel

    try:
        if action == "init":
            init_project(folder, git=git)
            return 0
        if action == "run":
            run_project(folder, dict(map(read_change, changes)), engine=engine)
        if action == "report":
            told = report_project(folder)
            print(f"{told} holds the evidence pack: {', '.join(sorted(files_of(told)))}")
            print(f"Check it: course capstone check {folder}")
            return 0
        if action in ("check", "sign"):
            return check(folder) if action == "check" else sign(folder, name, role)
        print(runs_table(folder))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (
        OSError,
        ValueError,
        StageFailed,
        ClusterFailed,
        CorruptModel,
        NonFiniteLoss,
        RewardError,
    ) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def files_of(folder: Path) -> list[str]:
    """Return the names of the files of a pack; say what its PDF lacks, or how to get one."""
    from utils.capstone.records import RECORD, read_json
    from utils.evidence.pack import FILES, PDF
    from utils.evidence.pdf import HOW, NONE

    if not (folder / PDF).is_file():
        print(HOW)
        return list(FILES)
    if (read_json(folder / RECORD) or {})["metrics"]["pdf"]["standard"] == NONE:
        print("The PDF is not for archives: a text holds letters that no installed font has.")
    return [*FILES, PDF]


def check(folder: Path) -> int:
    """Print what is wrong with a project's pack; return 1 where anything is."""
    from utils.evidence.check import check_pack

    faults = check_pack(folder)
    for fault in faults:
        print(fault)
    if faults:
        print(f"{len(faults)} faults: the pack can't be signed")
        return 1
    print("No fault found: what the pack says is what the records say, and all files are theirs.")
    return 0


def sign(folder: Path, name: str, role: str) -> int:
    """Sign a pack without faults, and list what is accepted as open."""
    from utils.evidence.sign import FOLDER, SIGNATURE, sign_pack

    (folder / FOLDER / SIGNATURE).unlink(missing_ok=True)
    if check(folder):
        return 1
    signature = sign_pack(folder, name, role)
    for point, told in signature["open points accepted"].items():
        print(f"open, {told['owner']}: {told['question']} [{point}]")
    print(f"Signed by {signature['name']}, {signature['role']}, at {signature['signed']}.")
    print(f"{folder / FOLDER / SIGNATURE} holds it; a later change of a file ends it.")
    return 0
