"""Figures of the course: one style, lines labelled at their ends, titles that state the finding.

Functions take records or arrays, return the axes and compute nothing. Colours are Okabe and
Ito's, told apart by people with any colour vision; lines differ by dash as well. Maps use cividis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb

FULL, HALF = (7.2, 3.4), (3.6, 3.0)  # inches
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MAP = "cividis"
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.dpi": 100,
    "font.size": 10,
    "lines.linewidth": 1.8,
    "savefig.bbox": "tight",
}


def ink(colour: str, share: float = 0.65) -> str:
    """Return the dark tone of a colour in which words are written: it can be read on white.

    Args:
        share: of the colour's light that is left.

    >>> ink("#E69F00")
    '#966700'
    """
    return to_hex([share * part for part in to_rgb(colour)])


def use_style() -> None:
    """Set the course's style for all figures of this notebook."""
    plt.rcParams.update(STYLE)


def new_axes(size: tuple[float, float] = FULL) -> Axes:
    """Return the axes of a new figure."""
    with plt.rc_context(STYLE):
        _, axes = plt.subplots(figsize=size, layout="constrained")
    return axes


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    axes: Axes | None = None,
    log_x: bool = False,
    log_y: bool = False,
    points: bool = False,
) -> Axes:
    """Draw lines with their names at their right ends.

    Args:
        series: name -> (x, y).
        title: the finding, in a sentence.
        points: mark each point as well.
    """
    axes = axes or new_axes()
    ends = []
    for k, (name, (x, y)) in enumerate(series.items()):
        colour = PALETTE[k % len(PALETTE)]
        axes.plot(
            x,
            y,
            color=colour,
            linestyle=DASHES[k % len(DASHES)],
            marker="o" * points,
            linewidth=1.8,
        )
        ends.append((x[-1], y[-1], name, colour))
    if log_x:
        axes.set_xscale("log")
        places = sorted({x for xs, _ in series.values() for x in xs})
        if len(places) <= 10:  # a tick at each measurement says more than powers of ten
            axes.set_xticks(places, [f"{x:,g}" for x in places])
            axes.minorticks_off()
    if log_y:
        axes.set_yscale("log")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, loc="left", wrap=True)
    label_ends(axes, ends)
    return axes


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names beside the last points (x, y, name, colour), moved apart where they collide."""
    axes.figure.canvas.draw()
    to_pixels = axes.transData.transform
    least = 13 * axes.figure.dpi / 72  # height of a line of text, in pixels
    last = -np.inf
    for x, y, name, colour in sorted(ends, key=lambda end: to_pixels(end[:2])[1]):
        here = to_pixels((x, y))[1]
        there = max(here, last + least)
        last = there
        axes.annotate(
            name,
            (x, y),
            xytext=(6, (there - here) * 72 / axes.figure.dpi),
            textcoords="offset points",
            color=ink(colour),
            va="center",
            annotation_clip=False,
        )


def loss_curve(
    runs: Mapping[str, Sequence[Mapping]],
    *,
    title: str,
    key: str = "loss",
    axes: Axes | None = None,
) -> Axes:
    """Draw a key of the records of one or more runs against the step.

    Args:
        runs: name -> records as `train` returns them.
    """
    series = {
        name: ([r["step"] for r in records], [r[key] for r in records])
        for name, records in runs.items()
    }
    labels = {"loss": "loss (nats per token)", "learning_rate": "learning rate"}
    return lines(series, title=title, xlabel="step", ylabel=labels.get(key, key), axes=axes)


def bars(
    values: Mapping[str, float],
    *,
    title: str,
    xlabel: str,
    axes: Axes | None = None,
    text: str = "{:,.4g}",
) -> Axes:
    """Draw one horizontal bar for each name, from zero, first name on top, its number beside it."""
    axes = axes or new_axes((FULL[0], 0.7 + 0.32 * len(values)))
    drawn = axes.barh(list(values), list(values.values()), color=PALETTE[0], height=0.65)
    axes.bar_label(drawn, [text.format(v) for v in values.values()], padding=3)
    axes.set(xlabel=xlabel, xlim=(0, 1.12 * max(values.values())))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_title(title, loc="left", wrap=True)
    return axes


def grouped_bars(
    groups: Mapping[str, Mapping[str, float]],
    *,
    title: str,
    ylabel: str,
    axes: Axes | None = None,
    text: str = "{:.2f}",
) -> Axes:
    """Draw a group of bars for each name, one bar for each member, from zero.

    Args:
        groups: group -> member -> value; all groups have the same members.
    """
    axes = axes or new_axes()
    members = list(next(iter(groups.values())))
    width = 0.8 / len(members)
    for k, member in enumerate(members):
        places = np.arange(len(groups)) + (k - (len(members) - 1) / 2) * width
        heights = [group[member] for group in groups.values()]
        colour = PALETTE[k % len(PALETTE)]
        drawn = axes.bar(places, heights, width * 0.92, color=colour, label=member)
        axes.bar_label(drawn, [text.format(h) for h in heights], padding=2, fontsize=9)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set(ylabel=ylabel, ylim=(0, 1.3 * max(max(g.values()) for g in groups.values())))
    axes.legend(frameon=False, ncols=min(len(members), 3), loc="upper left")
    axes.grid(visible=False, axis="x")
    axes.set_title(title, loc="left", wrap=True)
    return axes


def dots_on_bars(axes: Axes, groups: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw the values behind each bar of `grouped_bars` as dots on its right half.

    Args:
        groups: group -> member -> values, in the order of the bars.
    """
    for place, members in enumerate(groups.values()):
        width = 0.8 / len(members)
        for k, values in enumerate(members.values()):
            x = place + (k - (len(members) - 1) / 2 + 0.375) * width
            axes.plot([x] * len(values), values, "ko", markersize=3.5, zorder=3)


def heat_map(
    matrix: np.ndarray,
    *,
    title: str,
    xlabel: str = "key",
    ylabel: str = "query",
    x_names: Sequence[str] | None = None,
    y_names: Sequence[str] | None = None,
    axes: Axes | None = None,
    value_label: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw a matrix as colours, row 0 at the top, with a scale where `value_label` names one."""
    axes = axes or new_axes(HALF)
    low, high = limits or (None, None)
    image = axes.imshow(matrix, cmap=MAP, vmin=low, vmax=high, aspect="auto")
    axes.grid(visible=False)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, loc="left", wrap=True)
    if x_names is not None:
        axes.set_xticks(range(len(x_names)), x_names, rotation=90, fontsize=8)
    if y_names is not None:
        axes.set_yticks(range(len(y_names)), y_names, fontsize=8)
    if value_label is not None:
        axes.figure.colorbar(image, ax=axes, label=value_label)
    return axes


DASHBOARD = {  # key of a record -> title of its panel
    "reward": "proxy reward",
    "gold": "gold utility (never trained on)",
    "kl": "KL to the reference (nats)",
    "entropy": "entropy (nats per token)",
    "length": "tokens per response",
    "clip_fraction": "clip fraction",
    "approx_kl": "approximate KL of an update",
    "explained_variance": "explained variance",
    "truncated": "share cut at the limit",
}


def rlhf_dashboard(runs: Mapping[str, Sequence[Mapping]], *, title: str) -> np.ndarray:
    """Draw the diagnostics of runs that learn from rewards, a panel for each, runs as lines.

    Args:
        runs: name -> records with "iteration" and keys of DASHBOARD; a record that lacks a key
            (gold is not measured at each) is passed over, a panel that no record has is left out.
        title: the finding, in a sentence.

    Returns:
        The axes of the panels, in the order of DASHBOARD.
    """
    records = [record for run in runs.values() for record in run]
    keys = [key for key in DASHBOARD if any(key in record for record in records)]
    n_rows = -(-len(keys) // 3)
    with plt.rc_context(STYLE | {"font.size": 8, "axes.titlesize": 9}):
        figure, panels = plt.subplots(
            n_rows, 3, figsize=(FULL[0] + 1.4, 1.75 * n_rows + 0.5), layout="constrained"
        )
    panels = np.atleast_1d(panels).flatten()
    for panel in panels[len(keys) :]:
        panel.set_axis_off()
    for panel, key in zip(panels, keys, strict=False):
        for k, (name, run) in enumerate(runs.items()):
            known = [record for record in run if key in record]
            panel.plot(
                [record["iteration"] for record in known],
                [record[key] for record in known],
                color=PALETTE[k % len(PALETTE)],
                linestyle=DASHES[k % len(DASHES)],
                marker="o" if 0 < len(known) < 12 else "",
                markersize=3,
                label=name,
            )
        panel.set_title(DASHBOARD[key], loc="left")
    for panel in panels[max(0, len(keys) - 3) : len(keys)]:
        panel.set_xlabel("iteration")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(runs), frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return panels[: len(keys)]
