"""What the course runs on: tier, device, dtype, threads, generators, progress bars.

Nothing happens at import: a notebook calls `start()`, which picks the tier, sets the number of
threads in this one place and seeds torch. Settings and folders are in `settings`.

Left out on purpose: mixed precision (explicit at the call, unit 04) and several devices (Part IV).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from tqdm.auto import tqdm

from utils.settings import setting


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


def progress(
    steps: Iterable | None = None, *, total: int | None = None, description: str = "", unit="step"
) -> tqdm:
    """Return a progress bar over `steps` (or one to update by hand) that suits the front end."""
    return tqdm(steps, total=total, desc=description, unit=unit, leave=True, dynamic_ncols=True)
