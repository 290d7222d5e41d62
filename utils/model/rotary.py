"""Rotary positions: queries and keys are turned by an angle that grows with their position.

The score of a query and a key then depends on their distance alone. Channel i is paired with
channel i + K/2, the halves convention of Llama and Hugging Face; the paper pairs neighbours, which
is the same up to a fixed order of channels.

Shapes: T tokens, K d_head. Source: Su et al. 2021, "RoFormer", section 3.2.2, equation 15.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def rope_table(n_positions: int, d_head: int, theta: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the angles by which pairs of channels are turned.

    Pair i at position t is turned by t * theta ** (-2 i / d_head) radians.

    Args:
        n_positions: T; positions are counted from 0.
        d_head: K, width of a head; i runs from 0 to K/2 - 1.
        theta: the larger, the slower the last pairs turn.

    Returns:
        (T, K/2) cosines and (T, K/2) sines, in float32.

    Raises:
        ValueError: where `d_head` is odd or below 2: its channels can't be paired.

    >>> cos, sin = rope_table(3, 4, theta=100.0)
    >>> torch.atan2(sin, cos)
    tensor([[0.0000, 0.0000],
            [1.0000, 0.1000],
            [2.0000, 0.2000]])

    Source: Su et al. 2021, equation 15.
    """
    if d_head < 2 or d_head % 2:
        raise ValueError(f"d_head must be even, so that channels can be paired, got {d_head}")
    exponents = torch.arange(0, d_head, 2, dtype=torch.float32) / d_head  # (K/2,)
    # 1 / theta ** e and not theta ** -e: the last bit is then that of the checkpoints' library.
    speeds = 1.0 / theta**exponents  # (K/2,) radians per position
    angles = torch.outer(torch.arange(n_positions, dtype=torch.float32), speeds)
    return angles.cos(), angles.sin()  # (T, K/2) each


@contextmanager
def float_tables(module: nn.Module) -> Iterator[None]:
    """Move or cast a module inside; its tables `cos` and `sin` move along and are never cast.

    In bfloat16 the angle of position 257 would be that of 256.
    """
    before = module.cos, module.sin
    yield
    after = module.cos, module.sin
    module.cos, module.sin = (
        new if new.dtype == old.dtype else old.to(new.device)
        for old, new in zip(before, after, strict=True)
    )


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of channels of `x` by the angle of its position.

    Channel i and channel i + K/2 are the two coordinates of pair i.

    Args:
        x: (..., T, K) queries or keys.
        cos: (T, K/2) cosines of the angles, one row per token of `x`. More axes may stand before
            these two, as long as they broadcast with those of `x`; these two must fit exactly.
        sin: the sines, of the shape of `cos`.

    Returns:
        (..., T, K) in the dtype of `x`, each pair (a, b) turned to (a cos - b sin, a sin + b cos).

    Raises:
        ValueError: where `cos` and `sin` differ in shape, or don't fit `x` in tokens or channels.

    >>> quarter = torch.tensor([[torch.pi / 2]])
    >>> apply_rope(torch.tensor([[1.0, 0.0]]), quarter.cos(), quarter.sin()).round(decimals=3).abs()
    tensor([[0., 1.]])

    Source: Su et al. 2021, equation 34.
    """
    if cos.shape != sin.shape or cos.shape[-2:] != (x.shape[-2], x.shape[-1] // 2):
        raise ValueError(
            f"x {tuple(x.shape)} needs cos and sin of shape (..., {x.shape[-2]}, "
            f"{x.shape[-1] // 2}), got {tuple(cos.shape)} and {tuple(sin.shape)}"
        )
    a, b = x.chunk(2, dim=-1)  # (..., T, K/2) each
    turned = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)  # (..., T, K)
    return turned.to(x.dtype)
