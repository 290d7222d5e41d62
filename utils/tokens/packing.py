"""Packing: texts of different lengths into rows of one length.

`pack_sequences` joins documents and cuts them where a row ends, as for pretraining: no place is
left empty. `pack_examples` never cuts: a row holds whole examples and some padding, and says which
token belongs to which example, from which `document_mask` keeps them apart.

Shapes: B batch, N rows, T tokens (context length).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from utils.tokens.batches import (
    IGNORE_INDEX,
    check_examples,
    check_step,
    epoch_order,
    hash_of,
    shift_targets,
)

PADDING = -1  # the document id of places that are filled up


class PackedRows(NamedTuple):
    """Rows of several examples each; all (N, T) int64.

    token_ids: what the model reads; targets: the token after each, within its example, or
    IGNORE_INDEX; positions: the place of each token in its own example, from 0; document_ids: the
    number of the example in its row, from 0, and PADDING where there is none.
    """

    token_ids: Tensor
    targets: Tensor
    positions: Tensor
    document_ids: Tensor


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


def pack_examples(
    examples: Sequence[tuple[Sequence[int], Sequence[bool]]], context_length: int, pad_id: int
) -> PackedRows:
    """Return short examples in as few rows as `fit_rows` finds, each example whole and in one row.

    Targets are shifted within each example before it is packed, so that no token is ever the target
    of another example's last one.

    Args:
        examples: pairs of token ids and response mask, such as `render_chat` gives.
        context_length: T; an example of n ids takes n - 1 places.
        pad_id: fills the rest of a row; never a target.

    Returns:
        Rows of T tokens. Keep the examples of a row apart with `document_mask`: positions that
        restart do not hide one example from the next.

    Raises:
        ValueError: for no examples, one that is too long, one without a response, or one whose ids
            and mask differ in length.

    >>> mask = [False, True, True]
    >>> ids, targets, positions, document_ids = pack_examples(
    ...     [([5, 6, 7], mask), ([8, 9, 7], mask)], context_length=5, pad_id=0
    ... )
    >>> ids.tolist(), targets.tolist()
    ([[5, 6, 8, 9, 0]], [[6, 7, 9, 7, -100]])
    >>> positions.tolist(), document_ids.tolist()
    ([[0, 1, 0, 1, 0]], [[0, 0, 1, 1, -1]])

    Source: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination", sec. 3.1.
    """
    check_examples(examples, context_length)
    rows = fit_rows([len(token_ids) - 1 for token_ids, _ in examples], context_length)
    shape = (len(rows), context_length)
    packed = PackedRows(
        token_ids=torch.full(shape, pad_id, dtype=torch.int64),
        targets=torch.full(shape, IGNORE_INDEX, dtype=torch.int64),
        positions=torch.zeros(shape, dtype=torch.int64),
        document_ids=torch.full(shape, PADDING, dtype=torch.int64),
    )
    for row, numbers in enumerate(rows):
        start = 0
        for document, number in enumerate(numbers):
            ids, mask = examples[number]
            batch = shift_targets(
                torch.as_tensor(ids, dtype=torch.int64), torch.as_tensor(mask, dtype=torch.bool)
            )
            stop = start + len(batch.token_ids)
            packed.token_ids[row, start:stop] = batch.token_ids
            packed.targets[row, start:stop] = batch.targets
            packed.positions[row, start:stop] = torch.arange(stop - start)
            packed.document_ids[row, start:stop] = document
            start = stop
    return packed


def fit_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Return which items share a row: the longest first, each into the fullest row with room.

    Args:
        lengths: of each item, from 1 to `row_length`.
        row_length: what a row holds.

    Returns:
        The numbers of the items in each row, which together are all items, each once.

    >>> fit_rows([3, 5, 2, 4], row_length=7)
    [[1, 2], [3, 0]]

    Source: Johnson et al. 1974, "Worst-Case Performance Bounds for Simple One-Dimensional Packing
    Algorithms" (best fit decreasing).
    """
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(row_length + 1)]  # room -> rows that have it
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[number]
        room = next((room for room in range(length, row_length + 1) if with_room[room]), None)
        if room is None:
            rows.append([])
            row, room = len(rows) - 1, row_length
        else:
            row = with_room[room].pop()
        rows[row].append(number)
        with_room[room - length].append(row)
    return rows


def document_mask(document_ids: Tensor) -> Tensor:
    """Return which token may see which: itself and those before it in its own document.

    Args:
        document_ids: (B, T) int; tokens of one document have one number. Padding is a document of
            its own, so that no row is without a key.

    Returns:
        (B, T, T) bool; [b, i, j] is True where query i may see key j.

    >>> document_mask(torch.tensor([[0, 0, 1]])).int().tolist()
    [[[1, 0, 0], [1, 1, 0], [0, 0, 1]]]

    Source: Krell et al. 2021, sec. 3.2 (block-diagonal mask).
    """
    same = document_ids.unsqueeze(-1) == document_ids.unsqueeze(-2)  # (B, T, T)
    return same.tril()


def packed_batches(rows: PackedRows, batch_size: int, seed: int = 0) -> Callable[[int], PackedRows]:
    """Return batches of packed rows, each row once an epoch, in a new order each.

    Args:
        rows: what `pack_examples` returned.
        batch_size: B; the last batch of an epoch may not be full and is left out.
        seed: decides the order.

    Returns:
        A function from the step's number (from 0) to its B rows, with `facts()` for resumed runs.

    Raises:
        ValueError: for a batch size that is not from 1 to the number of rows.

    >>> rows = pack_examples([([5, 6, 7], [False, True, True])], context_length=4, pad_id=0)
    >>> packed_batches(rows, batch_size=1)(0).targets
    tensor([[   6,    7, -100, -100]])
    """
    n_rows = len(rows.token_ids)
    if not 1 <= batch_size <= n_rows:
        raise ValueError(
            f"batch_size must be from 1 to the number of rows ({n_rows}), got {batch_size}: give "
            "more examples, or a smaller batch"
        )

    def batch_of(step: int) -> PackedRows:
        epoch, place = divmod(check_step(step), n_rows // batch_size)
        chosen = epoch_order(n_rows, epoch, seed)[place * batch_size : (place + 1) * batch_size]
        return PackedRows(*(part[chosen] for part in rows))

    batch_of.facts = lambda: {
        "batch_size": batch_size,
        "context_length": rows.token_ids.shape[-1],
        "data_seed": seed,
        "data_sha256": hash_of(rows),
    }
    return batch_of
