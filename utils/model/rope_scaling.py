"""Rotary positions for a context longer than the one that a model was trained with first.

At positions never seen, pairs of channels reach angles never seen. Each rule slows pairs down, so
that the longer context turns them no further than the old one did:

- "linear": all pairs, by the same factor, as if positions were divided by it.
- "yarn": only those that turn less than a few times within the old context, as they tell far
  positions apart; fast ones, which tell neighbours apart, keep their speed, and between both there
  is a ramp over the pairs. Scores are made a little larger, too.
- "llama3": the same with a ramp over the number of turns, and scores as they were.

Left out on purpose: rules that depend on how long the text is ("dynamic" NTK, LongRoPE), under
which keys in a cache would have to be turned again.

Shapes: T positions, K d_head. Sources: Chen et al. 2023, "Extending Context Window of Large
Language Models via Positional Interpolation", section 2.3; Peng et al. 2023, "YaRN", sections 3.1
to 3.4; the code published with Llama 3.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from utils.model.rotary import rope_table

RULES = ("linear", "llama3", "yarn")


@dataclass(frozen=True)
class RopeScaling:
    """By which rule pairs of channels are slowed down, and how much.

    `slow_turns` and `fast_turns` are counted within the original context: pairs that turn less
    often than the first are slowed down by the whole factor, those that turn more often than the
    second not at all.

    >>> RopeScaling("yarn", factor=4.0, original_context=4096).attention_factor
    1.138629436111989
    """

    kind: str  # "linear", "llama3" or "yarn"
    factor: float  # the context has grown this many times
    original_context: int | None = None  # tokens; "linear" needs none
    slow_turns: float = 1.0  # alpha of the YaRN paper
    fast_turns: float = 32.0  # beta of the YaRN paper; Llama 3.1 has 4
    attention_factor: float | None = None  # both tables times this; None for the rule's own
    truncate: bool = True  # "yarn": the ramp begins and ends at whole pairs

    def __post_init__(self):
        if self.kind not in RULES:
            raise ValueError(f"kind must be one of {RULES}, got {self.kind!r}")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"factor must be at least 1, got {self.factor}")
        if self.kind != "linear" and (self.original_context is None or self.original_context < 1):
            raise ValueError(
                f"{self.kind!r} needs original_context, the number of tokens that the model was "
                f"trained with first; got {self.original_context}"
            )
        if not 0 < self.slow_turns < self.fast_turns < math.inf:
            raise ValueError(
                "slow_turns must be above 0 and below fast_turns, got "
                f"{self.slow_turns} and {self.fast_turns}"
            )
        if self.attention_factor is None:
            own = yarn_attention_factor(self.factor) if self.kind == "yarn" else 1.0
            object.__setattr__(self, "attention_factor", own)
        if not 0 < self.attention_factor < math.inf:
            raise ValueError(f"attention_factor must be above 0, got {self.attention_factor}")


def yarn_attention_factor(factor: float, weight: float = 1.0) -> float:
    """Return what YaRN multiplies queries and keys by: 0.1 weight ln(factor) + 1.

    Scores grow by its square, which sharpens the softmax over more keys.

    Args:
        factor: how many times the context has grown; up to 1 there is nothing to mend.
        weight: 1 in the paper.

    >>> yarn_attention_factor(1.0), round(yarn_attention_factor(math.e), 3)
    (1.0, 1.1)

    Source: Peng et al. 2023, "YaRN", section 3.4.
    """
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def scaled_speeds(d_head: int, theta: float, scaling: RopeScaling) -> Tensor:
    """Return by how many radians each pair of channels turns per position.

    Args:
        d_head: K, width of a head.
        theta: as in `rope_table`.
        scaling: the rule; for "yarn", theta must be above 1.

    Returns:
        (K/2,) float32.

    Raises:
        ValueError: where theta is too small for "yarn".

    >>> scaled_speeds(4, 100.0, RopeScaling("linear", factor=2.0))
    tensor([0.5000, 0.0500])
    >>> scaled_speeds(4, 1e4, RopeScaling("llama3", 2.0, original_context=100, fast_turns=4.0))
    tensor([1.0000, 0.0050])

    Source: Chen et al. 2023, section 2.3 ("linear"); Peng et al. 2023, section 3.2 ("yarn"); the
    code published with Llama 3.1 ("llama3").
    """
    slowness = theta ** (torch.arange(0, d_head, 2, dtype=torch.float32) / d_head)  # (K/2,)
    speeds = 1.0 / slowness
    if scaling.kind == "linear":
        return speeds / scaling.factor
    if scaling.kind == "llama3":
        turns = scaling.original_context / (2 * math.pi / speeds)  # within the original context
        kept = (turns - scaling.slow_turns) / (scaling.fast_turns - scaling.slow_turns)
        kept = kept.clamp(0, 1)  # (K/2,) share of the old speed
        return (1 - kept) * speeds / scaling.factor + kept * speeds
    first, last = yarn_ramp(d_head, theta, scaling)
    pairs = torch.arange(d_head // 2, dtype=torch.float32)
    kept = 1 - ((pairs - first) / (last - first)).clamp(0, 1)
    return 1.0 / (scaling.factor * slowness) * (1 - kept) + speeds * kept


def yarn_ramp(d_head: int, theta: float, scaling: RopeScaling) -> tuple[float, float]:
    """Return the last pair that keeps its speed, and the first that is slowed down fully.

    The paper lets the share fall with the number of turns. Its authors' code, which checkpoints are
    trained with, lets it fall with the number of the pair, between those that turn `fast_turns` and
    `slow_turns` times.

    >>> yarn_ramp(128, 10000.0, RopeScaling("yarn", 4.0, original_context=4096))
    (20, 46)

    Source: Peng et al. 2023, section 3.2.
    """
    if theta <= 1:
        raise ValueError(f"theta must be above 1 for 'yarn', got {theta}")
    first, last = (
        # The pair that turns so many times within the original context, solved for its number.
        d_head * math.log(scaling.original_context / (turns * 2 * math.pi)) / (2 * math.log(theta))
        for turns in (scaling.fast_turns, scaling.slow_turns)
    )
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, d_head - 1)
    return first, last + 0.001 if first == last else last  # a ramp of no width divides by zero


def scaled_rope_table(
    n_positions: int, d_head: int, theta: float = 10000.0, scaling: RopeScaling | None = None
) -> tuple[Tensor, Tensor]:
    """Return the tables of `rope_table`, scaled for a longer context.

    Args:
        n_positions: T; positions are counted from 0.
        d_head: K, width of a head.
        theta: the larger, the slower the last pairs turn.
        scaling: None for `rope_table` as it is.

    Returns:
        (T, K/2) cosines and (T, K/2) sines, in float32, times `attention_factor`.

    >>> half = RopeScaling("linear", factor=2.0)
    >>> torch.equal(scaled_rope_table(5, 8, scaling=half)[0][::2], rope_table(3, 8)[0])
    True

    Source: that of `scaled_speeds`; Peng et al. 2023, section 3.4, for `attention_factor`.
    """
    if scaling is None:
        return rope_table(n_positions, d_head, theta)
    positions = torch.arange(n_positions, dtype=torch.float32)
    angles = torch.outer(positions, scaled_speeds(d_head, theta, scaling))  # (T, K/2)
    return angles.cos() * scaling.attention_factor, angles.sin() * scaling.attention_factor
