"""Timelines of pipelines, drawn, and a widget to try schedules with."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from utils.parallel.schedules import (
    SCHEDULES,
    Timeline,
    bubble_fraction,
    most_alive,
    replay,
    schedule_of,
)
from utils.report.plots import FULL, PALETTE, new_axes
from utils.report.widgets import as_png

MAX_LABELLED = 24  # micro-batches, above which the boxes are too narrow for numbers


def draw_timeline(
    timeline: Timeline, *, title: str, xlabel: str = "time (forwards)", axes: Axes | None = None
) -> Axes:
    """Draw what each rank does when: a box for each operation, with its micro-batch.

    Forwards are blue and backwards orange; with several stages on a rank, later ones are darker and
    hatched. The number in a box is the micro-batch, from 0.

    Args:
        timeline: one list for each rank of (kind, stage, micro_batch, start, end).
        title: the finding, in a sentence.
    """
    n_ranks = len(timeline)
    axes = axes or new_axes((FULL[0], 0.9 + 0.42 * n_ranks))
    operations = [operation for order in timeline for operation in order]
    first = min(start for *_, start, _ in operations)
    n_micro_batches = 1 + max(k for _, _, k, _, _ in operations)
    for rank, order in enumerate(timeline):
        for kind, stage, k, start, end in order:
            chunk = stage // n_ranks
            axes.barh(
                rank,
                end - start,
                left=start - first,
                height=0.86,
                color=PALETTE[0] if kind == "F" else PALETTE[4],
                alpha=0.55 + 0.35 * (chunk > 0),
                hatch="//" if chunk else None,
                edgecolor="white",
                linewidth=0.8,
            )
            if n_micro_batches <= MAX_LABELLED:
                axes.text((start + end) / 2 - first, rank, k, ha="center", va="center", fontsize=8)
    axes.set_yticks(range(n_ranks), [f"rank {rank}" for rank in range(n_ranks)])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=xlabel, xlim=(0, max(op[4] for op in operations) - first))
    axes.set_title(title, loc="left", wrap=True)
    patches = [Patch(color=PALETTE[0], alpha=0.55, label="forward")]
    patches.append(Patch(color=PALETTE[4], alpha=0.55, label="backward"))
    axes.legend(handles=patches, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def draw_schedule(name: str, n_ranks: int, n_micro_batches: int, n_chunks: int = 2) -> Axes:
    """Draw a schedule by the logical clock, with its bubble and what its ranks hold as the title.

    What is held is counted in whole stages' activations of one micro-batch: a chunk is a part.

    Raises:
        ValueError: as `schedule_of`.
    """
    schedule = schedule_of(name, n_ranks, n_micro_batches, n_chunks)
    parts = n_chunks if name == "interleaved" else 1
    timeline = replay(schedule, 1 / parts, 2 / parts)
    held = max(most_alive(order) for order in schedule) / parts
    bubble = bubble_fraction(timeline)
    return draw_timeline(
        timeline, title=f"{name}: bubble {bubble:.0%}, rank 0 holds {held:g} micro-batches"
    )


def schedule_explorer():
    """Return a widget that draws the timeline of a chosen schedule, with bubble and memory."""
    import ipywidgets as widgets

    name = widgets.Dropdown(options=SCHEDULES, value="1F1B", description="schedule")
    ranks = widgets.IntSlider(4, 1, 8, description="ranks")
    batches = widgets.IntSlider(8, 1, 32, description="micro-batches")
    chunks = widgets.IntSlider(2, 1, 4, description="chunks")
    picture, words = widgets.Image(format="png"), widgets.HTML()

    def redraw(change=None) -> None:
        chunks.disabled = name.value != "interleaved"
        try:
            axes = draw_schedule(name.value, ranks.value, batches.value, chunks.value)
        except ValueError as error:
            words.value = f"<b>Not possible</b>: {error}"
            return
        words.value = ""
        picture.value = as_png(axes.figure)
        plt.close(axes.figure)

    for control in (name, ranks, batches, chunks):
        control.observe(redraw, names="value")
    redraw()
    controls = widgets.HBox([name, ranks]), widgets.HBox([batches, chunks])
    return widgets.VBox([*controls, words, picture])
