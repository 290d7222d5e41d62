"""The layouts that the planner would choose for published runs, beside those that were chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from utils.parallel.planner.fit import predicted_seconds, throughput_rows
from utils.parallel.planner.layout import Layout
from utils.parallel.planner.plan import Job, NoLayout, search
from utils.parallel.planner.runs import gpu_of, layout_of, model_of, recipe_of


@dataclass(frozen=True)
class Choice:
    """A published run and what the planner makes of its job.

    Args:
        row: of the data.
        published: its layout.
        chosen: the planner's, None where it finds none.
        published_seconds, chosen_seconds: of a step, both by the planner's model.
    """

    row: dict
    published: Layout
    chosen: Layout | None
    published_seconds: float
    chosen_seconds: float

    @property
    def is_as_fast(self) -> bool:
        """Return whether the planner's layout is at least as fast as the published one."""
        return self.chosen_seconds <= self.published_seconds * 1.001

    @property
    def is_same_family(self) -> bool:
        """Return whether both keep tensor parallelism inside the fast links, or neither does."""
        if self.chosen is None:
            return False
        domain = gpu_of(self.row).domain
        return (self.chosen.tp <= domain) == (self.published.tp <= domain)


def job_of(row: dict) -> Job:
    """Return the job of a published row."""
    gpu = gpu_of(row)
    return Job(
        model_of(row),
        gpu,
        row["n_gpus"],
        1e12,
        row["seq_len"],
        row["global_batch_seqs"],
        row["precision"],
        min(gpu.gpus_per_node, row["n_gpus"]),
    )


def choices(rows: Sequence[dict] | None = None) -> list[Choice]:
    """Return what the planner chooses for core rows of one kind of model each, experts left out.

    The batch is rounded to what the published data-parallel ranks divide. The published layout
    is not among the candidates unless the search comes upon it.
    """
    found = []
    for row in throughput_rows() if rows is None else rows:
        if row.get("n_experts"):
            continue
        published = layout_of(row)
        step = published.dp * published.micro_batch
        batch = max(step, row["global_batch_seqs"] // step * step)
        rounded = {**row, "global_batch_seqs": batch}
        try:
            best, _, _ = search(replace(job_of(row), batch=batch), recipe_of(row), room=1.0)
            chosen, seconds = best.layout, best.seconds["total"]
        except NoLayout:
            chosen, seconds = None, float("inf")
        found.append(Choice(row, published, chosen, predicted_seconds(rounded), seconds))
    return found
