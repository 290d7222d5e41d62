"""`course plan`: what a large training run would take, before anybody pays for it."""

from __future__ import annotations

import json
import sys
from argparse import Namespace


def main(chosen: Namespace) -> int:
    """Print a plan; return 0, or 2 where there is none."""
    from utils.parallel.planner.plan import explanation, make_plan, short_text

    try:
        plan = make_plan(
            job_of(chosen),
            only=given(chosen),
            usd_per_gpu_hour=price_of(chosen.price),
            save_seconds=chosen.save_seconds,
        )
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if chosen.write is not None:
        from utils.parallel.launch.files import write_files

        try:
            written = write_files(plan, chosen.write)
        except (ValueError, OSError) as error:
            print(error, file=sys.stderr)
            return 2
        print("\n".join(f"wrote {path}" for path in written), file=sys.stderr)
    if chosen.json:
        print(json.dumps(plan.as_dict(), indent=1))
        return 0
    print(short_text(plan))
    if chosen.explain:
        print(explanation(plan))
    return 0


def job_of(chosen: Namespace):
    """Return the job that the options describe.

    Raises:
        ValueError: for a model, a GPU or a number that can't be.
        FileNotFoundError: where there is no such config.json.
    """
    from dataclasses import replace

    from utils.parallel.planner.hardware import find_gpu
    from utils.parallel.planner.models import find_model, read_config
    from utils.parallel.planner.plan import Job

    gpu = find_gpu(chosen.gpu)
    if chosen.network is not None:
        if chosen.network <= 0:
            raise ValueError(f"--network is in Gb/s and above 0, got {chosen.network}")
        gpu = replace(gpu, network=chosen.network / 8 * 1e9)
    model = read_config(chosen.config) if chosen.config else find_model(chosen.model)
    per_node = gpu.gpus_per_node if chosen.gpus_per_node is None else chosen.gpus_per_node
    if chosen.gpus_per_node and gpu.domain <= 8:
        gpu = replace(gpu, domain=per_node)
    batch = chosen.batch
    if batch is None:  # four million tokens, a usual step at this size
        batch = max(1, 2**22 // max(1, chosen.context_length))
    return Job(
        model,
        gpu,
        chosen.gpus,
        chosen.tokens,
        chosen.context_length,
        batch,
        chosen.precision,
        per_node,
    )


def given(chosen: Namespace) -> dict[str, int]:
    """Return what the options say about the layout.

    >>> given(Namespace(tp=8, pp=None, micro_batch=None))
    {'tp': 8}
    """
    names = ("tp", "pp", "micro_batch")
    return {name: getattr(chosen, name) for name in names if getattr(chosen, name) is not None}


def price_of(price: list[float] | None) -> tuple[float, float] | None:
    """Return a range of prices from one number or two.

    >>> price_of([2.5]), price_of([3.0, 2.0]), price_of(None)
    ((2.5, 2.5), (2.0, 3.0), None)
    """
    return (min(price), max(price)) if price else None
