"""What the course runs on: tier, device, dtype, threads, generators, folders, progress bars.

The only module that reads the environment. Nothing happens at import: a notebook calls `start()`,
which picks the tier, sets the number of threads in this one place and seeds torch.

Left out on purpose: mixed precision (explicit at the call, unit 04) and several devices (Part IV).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

SETTINGS = {
    "COURSE_TIER": "cpu (default), gpu or full: how much machine a notebook may use",
    "COURSE_MODEL": "hub id or folder of a real model, for the sections that use one",
    "COURSE_DATA_DIR": "folder with real data sets in the hub's columns, instead of the hub",
    "COURSE_ARTIFACTS": "folder for checkpoints and progress (default: artifacts/ of the course)",
    "COURSE_THREADS": "number of CPU threads for torch (default: up to 4)",
}


@dataclass(frozen=True)
class Tier:
    """One setting of the course's dial for cost.

    Sizes are read by notebooks (`tier.n_steps`), so that no cell asks which device it is on.
    `device` is where models go; `dtype` is the dtype of matrix work (float32 on the CPU). On a Mac
    whose torch has it, tier gpu means Apple's device `mps`, in float32: written, never run by CI.
    """

    name: str
    device: str
    dtype: torch.dtype
    d_model: int
    n_layers: int
    context_length: int
    batch_size: int
    n_steps: int
    minutes: int  # all notebooks together, on the machine that DESIGN.md names


TIERS = {
    "cpu": Tier("cpu", "cpu", torch.float32, 128, 4, 128, 16, 150, 30),
    "gpu": Tier("gpu", "cuda", torch.bfloat16, 384, 6, 256, 64, 1000, 40),
    "full": Tier("full", "cuda", torch.bfloat16, 768, 12, 1024, 64, 5000, 600),
}

# The gpu tier's way of working on a machine without one, to prove the path (`tests/gpu.py`).
REHEARSAL = replace(
    TIERS["gpu"], name="rehearsal", device="cpu", d_model=64, n_layers=2, batch_size=8, n_steps=120
)


def setting(name: str) -> str | None:
    """Return the course setting `name` from the environment, or None where it is unset or empty.

    Raises:
        KeyError: for a name that is not a setting of the course.

    >>> setting("COURSE_COLOUR")
    Traceback (most recent call last):
    ...
    KeyError: "no setting 'COURSE_COLOUR'; the settings are COURSE_TIER, COURSE_MODEL, ..."
    """
    if name not in SETTINGS:
        raise KeyError(f"no setting {name!r}; the settings are {', '.join(SETTINGS)}")
    return os.environ.get(name) or None


def pick_tier(name: str | None = None) -> Tier:
    """Return the tier called `name`, or the one that COURSE_TIER names, or `cpu`.

    Raises:
        ValueError: for an unknown tier.
        RuntimeError: where the tier needs a GPU and torch finds none.

    >>> pick_tier("cpu").device
    'cpu'
    """
    name = name or setting("COURSE_TIER") or "cpu"
    if name == REHEARSAL.name:
        return REHEARSAL
    if name not in TIERS:
        raise ValueError(
            f"unknown tier {name!r}: set COURSE_TIER to one of {', '.join(TIERS)}, "
            "or leave it unset for cpu"
        )
    tier = TIERS[name]
    if name == "gpu" and not torch.cuda.is_available() and torch.backends.mps.is_available():
        return replace(tier, device="mps", dtype=torch.float32)  # Apple's GPU; not tried by CI
    if tier.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            f"tier {name!r} needs a CUDA GPU and torch {torch.__version__} finds none: "
            "unset COURSE_TIER to run on the CPU, or install a CUDA build of torch"
        )
    return tier


def n_threads() -> int:
    """Return how many threads torch may use: COURSE_THREADS, else the cores at hand, at most 4."""
    wanted = setting("COURSE_THREADS")
    if wanted is not None:
        if not wanted.isdigit() or int(wanted) < 1:
            raise ValueError(f"COURSE_THREADS must be a whole number from 1, got {wanted!r}")
        return int(wanted)
    affinity = getattr(os, "sched_getaffinity", None)  # what a container allows; Linux only
    return min(4, len(affinity(0)) if affinity else os.cpu_count() or 1)


def start(seed: int = 0, tier: str | None = None) -> Tier:
    """Make this process ready for a notebook: threads, seed and tier; prints nothing."""
    chosen = pick_tier(tier)
    torch.set_num_threads(n_threads())
    torch.manual_seed(seed)
    return chosen


def describe(tier: Tier) -> str:
    """Return one line that says what this notebook runs on."""
    return (
        f"tier {tier.name} | device {tier.device} | {str(tier.dtype).removeprefix('torch.')} | "
        f"{torch.get_num_threads()} threads | torch {torch.__version__}"
    )


def generator(seed: int, device: str = "cpu") -> torch.Generator:
    """Return a random number generator of its own, seeded.

    >>> bool(torch.rand(1, generator=generator(3)) == torch.rand(1, generator=generator(3)))
    True
    """
    return torch.Generator(device=device).manual_seed(seed)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables of the environment for libraries that read no other settings, then undo it.

    >>> with environment(COURSE_TIER="gpu"):
    ...     setting("COURSE_TIER")
    'gpu'
    """
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside: in small products threads wait longer than they work.

    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def notebook_path() -> Path | None:
    """Return the file of the notebook that is running, where Jupyter's server tells it."""
    told = os.environ.get("JPY_SESSION_NAME")
    path = Path(told) if told else None
    return path if path is not None and path.suffix == ".ipynb" and path.is_file() else None


def has_display() -> bool:
    """Return whether this machine has a screen that a browser could open on."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def project_root() -> Path:
    """Return the folder of the course: the one that holds `utils/` and `notebooks/`."""
    return Path(__file__).resolve().parents[1]


def artifacts_dir() -> Path:
    """Return the folder for checkpoints, progress and caches, made if it is missing."""
    wanted = setting("COURSE_ARTIFACTS")
    folder = Path(wanted).expanduser() if wanted else project_root() / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def data_dir() -> Path | None:
    """Return the folder that COURSE_DATA_DIR names, or None where it is unset.

    Raises:
        FileNotFoundError: where the setting names a folder that is not there.
    """
    wanted = setting("COURSE_DATA_DIR")
    if wanted is None:
        return None
    folder = Path(wanted).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"COURSE_DATA_DIR names {wanted!r}, which is not a folder: correct the setting, "
            "or unset it to use the hub"
        )
    return folder


def progress(
    steps: Iterable | None = None, *, total: int | None = None, description: str = "", unit="step"
) -> tqdm:
    """Return a progress bar over `steps` (or one to update by hand) that suits the front end."""
    return tqdm(steps, total=total, desc=description, unit=unit, leave=True, dynamic_ncols=True)
