"""Records for other tools: Weights & Biases reads what `train` returned, without a network.

The records stay the course's own; a tool is a reader beside the loop and not a part of it.
Left out on purpose: a server, an account, and writing while training goes on.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.settings import environment


def log_to_wandb(
    records: Sequence[dict], folder: Path | str, name: str, config: dict | None = None
) -> Path:
    """Write records as an offline run of Weights & Biases; nothing is sent anywhere.

    Args:
        records: of `train`; numbers are logged at the record's "step", or at its place in the list.
        folder: gets a folder `wandb` with the run; made if missing.
        name: of the run.
        config: settings to keep with the run, what fits into JSON.

    Returns:
        The run's file, which `wandb sync` would send to a server, should you want that.

    Raises:
        ModuleNotFoundError: where wandb is not installed.
        ValueError: where there is no record.
    """
    if not records:
        raise ValueError("records is empty: train for one step at least")
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    quiet = {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",  # no reports about wandb's own faults either
        "WANDB_CACHE_DIR": str(folder / "wandb" / "cache"),
        "WANDB_CONFIG_DIR": str(folder / "wandb" / "config"),
        "WANDB_DATA_DIR": str(folder / "wandb" / "data"),
    }
    with environment(**quiet):
        wandb = import_wandb()
        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            host="",
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        run = wandb.init(
            project="llm-workbook",
            name=name,
            config=config,
            dir=folder,
            settings=settings,
            reinit="create_new",
        )
        for place, record in enumerate(records):
            numbers = {key: value for key, value in record.items() if is_number(value)}
            run.log(numbers, step=record.get("step", place))
        path = Path(run.settings.sync_file)
        run.finish()
        if wandb.run is None:
            wandb.teardown()  # the helper process would outlive the folder that it logs to
    return path


def read_wandb(path: Path | str) -> list[dict]:
    """Return what an offline run of Weights & Biases holds, read by its own command line.

    Args:
        path: the run's file, as `log_to_wandb` returns it.

    Returns:
        One dictionary of numbers per step; names with `_` in front are wandb's own.

    Raises:
        ModuleNotFoundError: where wandb is not installed.
        ValueError: where the file is no such run.
    """
    import_wandb()
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    with environment(WANDB_ERROR_REPORTING="false"):
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode != 0:
        raise ValueError(f"{path} can't be read as a run of wandb: {done.stderr.strip()}")
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    return [entry["history"]["item"] for entry in entries if entry["type"] == "history"]


def is_number(value: object) -> bool:
    """Return whether a value is a finite number, and not a bool."""
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def import_wandb():
    """Return the module wandb, or raise with what to install."""
    try:
        import wandb
    except ModuleNotFoundError as error:
        if error.name != "wandb":
            raise
        raise ModuleNotFoundError(
            "wandb is not installed; it is in the extra `ops`: run `make env` again, or "
            'pip install --editable ".[ops]" -c constraints.txt',
            name="wandb",
        ) from None
    return wandb
