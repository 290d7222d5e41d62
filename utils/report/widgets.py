"""Widgets: explorers of attention (layer, head, token) and of sampling (temperature, top-p, min-p).

`draw_attention` and `draw_sampling` draw; the widgets only choose.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from utils.model.sampling import sample_next_token
from utils.report.plots import FULL, MAP, PALETTE, heat_map
from utils.runtime import generator

N_SHOWN = 16  # bars of the sampling explorer


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


def draw_sampling(
    logits: Tensor, names: Sequence[str], settings: Mapping[str, float], seed: int, n_draws: int
) -> Figure:
    """Return a figure of how often each of the likeliest tokens is drawn, beside its probability.

    Args:
        logits: (V,).
        names: texts of the V tokens.
        settings: temperature, top_p and min_p of `sample_next_token`.
        seed: of the draws.
        n_draws: how many tokens are drawn.
    """
    probabilities = logits.softmax(-1)
    drawn = sample_next_token(
        logits.expand(n_draws, -1), generator=generator(seed), **settings
    )  # (n_draws,)
    shares = torch.bincount(drawn, minlength=len(logits)) / n_draws
    shown = probabilities.topk(min(N_SHOWN, len(logits))).indices.tolist()
    figure, axes = plt.subplots(figsize=FULL, layout="constrained")
    places = np.arange(len(shown))
    for offset, values, colour, label in (
        (-0.2, probabilities, PALETTE[1], "the model's probability"),
        (0.2, shares, PALETTE[0], f"share of {n_draws:,} draws"),
    ):
        axes.bar(places + offset, values[shown].tolist(), 0.38, color=colour, label=label)
    axes.set_xticks(places, visible_names([names[i] for i in shown]), rotation=60, fontsize=9)
    axes.set(ylabel="share", ylim=(0, None))
    axes.legend(frameon=False)
    kept = int((shares > 0).sum())
    most = float(shares.max())
    axes.set_title(
        f"{kept} of {len(names):,} tokens are ever drawn, the most frequent {most:.0%} of the time",
        loc="left",
    )
    return figure


def sampling_explorer(logits: Tensor, names: Sequence[str], n_draws: int = 2000):
    """Return a widget that draws the next token at a chosen temperature, top-p, min-p and seed.

    Args:
        logits: (V,) of the next token.
        names: texts of the V tokens.
        n_draws: tokens drawn for each picture.

    Raises:
        ValueError: where logits and names don't fit.
    """
    import ipywidgets as widgets

    if logits.shape != (len(names),):
        raise ValueError(f"logits must be ({len(names)},), one a name, got {tuple(logits.shape)}")
    sliders = {
        "temperature": widgets.FloatSlider(1.0, min=0.0, max=3.0, step=0.1),
        "top_p": widgets.FloatSlider(1.0, min=0.05, max=1.0, step=0.05),
        "min_p": widgets.FloatSlider(0.0, min=0.0, max=1.0, step=0.05),
    }
    for name, slider in sliders.items():
        slider.description = name
    seed = widgets.BoundedIntText(0, min=0, max=9999, description="seed")
    picture = widgets.Image(format="png")

    def redraw(change=None) -> None:
        settings = {name: slider.value for name, slider in sliders.items()}
        figure = draw_sampling(logits, names, settings, seed.value, n_draws)
        picture.value = as_png(figure)
        plt.close(figure)

    for control in (*sliders.values(), seed):
        control.observe(redraw, names="value")
    redraw()
    return widgets.VBox([widgets.HBox([*sliders.values()]), seed, picture])
