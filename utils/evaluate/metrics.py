"""Measures of a language model's loss that do not depend on its tokens.

Left out on purpose: answers and their scores (`world_qa.py`).
"""

from __future__ import annotations

import math


def bits_per_byte(loss_nats: float, n_tokens: int, n_bytes: int) -> float:
    """Return a mean loss per token as bits per byte of text, comparable between tokenizers.

    Args:
        loss_nats: mean negative log-probability per token, in nats.
        n_tokens: tokens that the mean is over.
        n_bytes: UTF-8 bytes of the text that these tokens spell.

    Returns:
        The loss of the whole text in bits, over its bytes.

    Raises:
        ValueError: where there are no bytes or no tokens.

    >>> bits_per_byte(math.log(256), n_tokens=10, n_bytes=10)  # guessing bytes at random
    8.0

    Source: Gao et al. 2020, "The Pile", section 3.1.
    """
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(f"n_tokens and n_bytes must be at least 1, got {n_tokens} and {n_bytes}")
    return loss_nats * n_tokens / (math.log(2) * n_bytes)


def perplexity(loss_nats: float) -> float:
    """Return exp of a mean loss in nats: among how many tokens the model is as good as guessing.

    >>> round(perplexity(math.log(50)), 6)
    50.0
    """
    return math.exp(loss_nats)
