"""Packing: documents of different lengths into rows of one length, without a place left empty.

Left out on purpose: packing that never cuts a document (unit 06 needs it for conversations).

Shapes: N rows, T tokens (context length).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pack_sequences(
    documents: Sequence[Sequence[int]], context_length: int, end_id: int
) -> tuple[Tensor, Tensor]:
    """Return documents, each closed by `end_id`, joined and cut into rows of T + 1 ids.

    The last id of a row is also the first of the next, so that every token but the very first is
    the target of exactly one place. What is left at the end and fills no row is left out.

    Args:
        documents: token ids of each document, without end token.
        context_length: T, the tokens that a model reads at once.
        end_id: the token that closes a document.

    Returns:
        token_ids (N, T + 1) int64, and positions (N, T + 1) int64: the place of each token in its
        own document, from 0; a document that is cut goes on counting in the next row.

    Raises:
        ValueError: where the documents do not fill one row.

    >>> token_ids, positions = pack_sequences([[1, 2], [3], [4, 5, 6]], 3, end_id=9)
    >>> token_ids.tolist(), positions.tolist()
    ([[1, 2, 9, 3], [3, 9, 4, 5]], [[0, 1, 2, 0], [0, 1, 0, 1]])

    Source: Brown et al. 2020, "Language Models are Few-Shot Learners", appendix B.
    """
    ids, places = [], []
    for document in documents:
        ids += [*document, end_id]
        places += range(len(document) + 1)
    n_rows = (len(ids) - 1) // context_length
    if n_rows < 1:
        raise ValueError(
            f"{len(ids)} tokens do not fill a row of context_length={context_length} and its last "
            "target: give more text or a shorter context"
        )
    starts = torch.arange(n_rows).unsqueeze(-1) * context_length  # (N, 1)
    index = starts + torch.arange(context_length + 1)  # (N, T + 1)
    return torch.tensor(ids, dtype=torch.int64)[index], torch.tensor(places)[index]
