"""Widgets: the attention explorer, in which layer, head and token are chosen.

What is drawn is computed by `attended` and drawn by `draw_attention`; the widget only chooses.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from utils.report.plots import MAP, PALETTE, heat_map


def visible_names(tokens: Sequence[str]) -> list[str]:
    """Return tokens as labels: spaces and line ends are shown.

    >>> visible_names([" mg", "\\n"])
    ['·mg', '↵']
    """
    return [token.replace(" ", "·").replace("\n", "↵") or "∅" for token in tokens]


def attended(maps: np.ndarray, layer: int, head: int, token: int, top: int = 5) -> list[tuple]:
    """Return the tokens that one token attends to most, as (position, weight), largest first.

    Args:
        maps: (L, H, T, T) attention of one sequence.

    >>> attended(np.array([[[[1.0, 0.0], [0.25, 0.75]]]]), layer=0, head=0, token=1)
    [(1, 0.75), (0, 0.25)]
    """
    row = np.asarray(maps)[layer, head, token, : token + 1]
    order = sorted(range(len(row)), key=lambda k: (-row[k], -k))[:top]
    return [(k, round(float(row[k]), 4)) for k in order]


def draw_attention(
    maps: np.ndarray, tokens: Sequence[str], layer: int, head: int, token: int
) -> Figure:
    """Draw one head's whole map, and beside it the row of one token as bars over the text."""
    names = visible_names(tokens)
    weights = np.asarray(maps)[layer, head]  # (T, T)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.4), layout="constrained")
    heat_map(
        weights,
        title=f"Layer {layer}, head {head}: all tokens",
        x_names=names,
        y_names=names,
        axes=left,
        limits=(0.0, 1.0),
        value_label="weight",
    )
    left.axhline(token - 0.5, color=PALETTE[1], linewidth=1)
    left.axhline(token + 0.5, color=PALETTE[1], linewidth=1)
    shades = plt.get_cmap(MAP)(weights[token])
    right.barh(range(len(names)), weights[token], color=shades, edgecolor="#555555", linewidth=0.4)
    right.set_yticks(range(len(names)), names, fontsize=8)
    right.invert_yaxis()
    right.set(xlabel="weight", xlim=(0, 1))
    best, weight = attended(maps, layer, head, token)[0]
    right.set_title(f"{names[token]!r} looks at {names[best]!r} most ({weight:.2f})", wrap=True)
    return figure


def as_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def attention_explorer(maps: np.ndarray, tokens: Sequence[str]):
    """Return a widget that shows the attention of a chosen layer, head and token.

    Args:
        maps: (L, H, T, T), for example `model.attention_maps(ids)[:, 0]`.
        tokens: T texts.

    Raises:
        ValueError: where maps and tokens don't fit.
    """
    import ipywidgets as widgets

    maps = np.asarray(maps)
    if maps.ndim != 4 or maps.shape[2:] != (len(tokens), len(tokens)):
        raise ValueError(f"maps must be (L, H, {len(tokens)}, {len(tokens)}), got {maps.shape}")
    n_layers, n_heads, n_tokens, _ = maps.shape
    names = [f"{k}: {name}" for k, name in enumerate(visible_names(tokens))]
    layer = widgets.IntSlider(0, 0, n_layers - 1, description="Layer")
    head = widgets.IntSlider(0, 0, n_heads - 1, description="Head")
    token = widgets.Dropdown(
        options=list(zip(names, range(n_tokens), strict=True)),
        value=n_tokens - 1,
        description="Token",
    )
    picture = widgets.Image(format="png")

    def redraw(change=None) -> None:
        figure = draw_attention(maps, tokens, layer.value, head.value, token.value)
        picture.value = as_png(figure)
        plt.close(figure)

    for control in (layer, head, token):
        control.observe(redraw, names="value")
    redraw()
    return widgets.VBox([widgets.HBox([layer, head, token]), picture])
