"""Rows of random tokens that repeat: the task that shows induction.

The next token can be known only by finding where the current one stood before and reading its
successor. The period differs from row to row, so that looking back by a fixed distance does not
help.

Shapes: B rows, T tokens. Source: Olsson et al. 2022, "In-context Learning and Induction Heads".
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from utils.tokens.batches import IGNORE_INDEX, Batch


def repeated_rows(
    n_rows: int, n_tokens: int, vocab_size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return rows of random tokens that repeat, and which of them can be known.

    Args:
        n_rows: B.
        n_tokens: T; each row has a period of its own between T / 4 and T / 2.
        vocab_size: tokens are drawn from all of it, evenly.
        generator: source of the draws.

    Returns:
        Token ids (B, T) and a bool mask (B, T), True at tokens whose predecessor has been
        seen before in the row, at the same place of the period.

    >>> rows, known = repeated_rows(1, 8, 100, torch.Generator().manual_seed(0))
    >>> period = 7 - int(known.sum())  # one token is new, all others but it follow a known one
    >>> torch.equal(rows[0, period:], rows[0, :-period])
    True
    """
    periods = torch.randint(n_tokens // 4, n_tokens // 2 + 1, (n_rows, 1), generator=generator)
    draws = torch.randint(vocab_size, (n_rows, n_tokens), generator=generator)  # (B, T)
    places = torch.arange(n_tokens).expand(n_rows, -1)
    return draws.gather(1, places % periods), places > periods  # (B, T) each


def repeated_batches(
    batch_size: int, n_tokens: int, vocab_size: int, seed: int
) -> Callable[[int], Batch]:
    """Return the batch of each step: repeated rows, where the targets that count can be known.

    >>> batch = repeated_batches(2, 8, 100, seed=0)(0)
    >>> batch.token_ids.shape, bool((batch.targets[:, :2] == IGNORE_INDEX).all())
    (torch.Size([2, 7]), True)
    """

    def batch_of(step: int) -> Batch:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        rows, known = repeated_rows(batch_size, n_tokens, vocab_size, generator)
        return Batch(rows[:, :-1], rows.masked_fill(~known, IGNORE_INDEX)[:, 1:])

    return batch_of
