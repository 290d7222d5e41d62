"""Batches: token ids and, one place to the left, the targets that they predict.

The shift happens here and nowhere else: `logits[b, t]` scores `targets[b, t]`. The batch of a step
is a pure function of (seed, step), so that a resumed run reads on without any iterator's state.

Shapes: B batch, T tokens (context length), N tokens in a stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

IGNORE_INDEX = -100  # PyTorch's default; the loss skips these targets


class Batch(NamedTuple):
    """Inputs and targets of one step, (B, T) int64 each; IGNORE_INDEX where none is scored."""

    token_ids: Tensor
    targets: Tensor


def shift_targets(token_ids: Tensor, response_mask: Tensor | None = None) -> Batch:
    """Return inputs and the tokens that follow them.

    Args:
        token_ids: (..., T + 1).
        response_mask: (..., T + 1) bool, True for tokens that count as targets; None for all.

    Returns:
        Batch of (..., T); a target that doesn't count is IGNORE_INDEX.

    >>> shift_targets(torch.tensor([5, 6, 7]), torch.tensor([False, False, True]))
    Batch(token_ids=tensor([5, 6]), targets=tensor([-100,    7]))
    """
    targets = token_ids[..., 1:]
    if response_mask is not None:
        targets = targets.masked_fill(~response_mask[..., 1:], IGNORE_INDEX)
    return Batch(token_ids[..., :-1], targets)


def pack_documents(documents: Sequence[Sequence[int]], end_id: int) -> Tensor:
    """Return documents one after the other as one stream of ids, each closed by `end_id`.

    Raises:
        ValueError: where there is no document.

    >>> pack_documents([[1, 2], [3]], end_id=9)
    tensor([1, 2, 9, 3, 9])
    """
    if not documents:
        raise ValueError("documents is empty: give one document at least")
    flat: list[int] = []
    for document in documents:
        flat += document
        flat.append(end_id)
    return torch.tensor(flat, dtype=torch.int64)


def check_step(step: int) -> int:
    """Return the step, or refuse a negative one, which would name a batch from the end."""
    if step < 0:
        raise ValueError(f"step must be 0 or more, got {step}")
    return step


@lru_cache(maxsize=8)  # an epoch's order serves all of its steps
def epoch_order(n: int, epoch: int, seed: int) -> Tensor:
    """Return a shuffled order of n items that depends on seed and epoch alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(n, generator=generator)


def block_batches(
    stream: Tensor, batch_size: int, context_length: int, seed: int = 0
) -> Callable[[int], Batch]:
    """Return batches of equal blocks of a stream, each block once an epoch, in a new order each.

    The start of the first block differs from epoch to epoch (`first_start`), so that borders fall
    elsewhere and each token but the very first becomes a target. Blocks that fill no batch at an
    epoch's end are left out, other ones each time.

    Args:
        stream: (N,) token ids.
        batch_size: B.
        context_length: T.
        seed: decides order and starts.

    Returns:
        A function from the step's number (from 0) to its batch. Its `facts()` say what the batches
        are made of, so that a resumed run can compare.

    Raises:
        ValueError: where the stream is too short for one batch.

    >>> batches = block_batches(torch.arange(9), batch_size=1, context_length=2)
    >>> batch = batches(0)
    >>> bool((batch.targets == batch.token_ids + 1).all())
    True
    """
    if stream.ndim != 1 or stream.dtype != torch.int64:
        raise ValueError(
            f"stream must be one row of int64 ids, got {stream.dtype} of shape "
            f"{tuple(stream.shape)}: make it with pack_documents"
        )
    if batch_size < 1 or context_length < 1:
        raise ValueError(
            f"batch_size and context_length must be at least 1, got {batch_size} and "
            f"{context_length}"
        )
    n_blocks = (len(stream) - context_length) // context_length  # one block is kept for the offset
    steps_per_epoch = n_blocks // batch_size
    if steps_per_epoch < 1:
        raise ValueError(
            f"a stream of {len(stream)} tokens is too short for a batch of {batch_size} blocks of "
            f"{context_length}: give more text, or a smaller batch or context"
        )
    last_start = len(stream) - 1 - n_blocks * context_length  # then the last token is a target
    within = torch.arange(context_length + 1)

    def batch_of(step: int) -> Batch:
        epoch, place = divmod(check_step(step), steps_per_epoch)
        order = epoch_order(n_blocks, epoch, seed)
        first = first_start(epoch, context_length, last_start, seed + 1)
        rows = order[place * batch_size : (place + 1) * batch_size]
        starts = first + rows * context_length  # (B,)
        return shift_targets(stream[starts.unsqueeze(-1) + within])  # (B, T + 1)

    batch_of.facts = lambda: {
        "batch_size": batch_size,
        "context_length": context_length,
        "data_seed": seed,
        "data_sha256": hash_of([stream]),
    }
    return batch_of


def first_start(epoch: int, context_length: int, last_start: int, seed: int) -> int:
    """Return where an epoch's first block starts.

    Every other epoch it is drawn from 0 to T - 1. The epochs between end with the stream's last
    token and start with its first, in turn: a drawn start alone would hardly ever reach these.

    >>> [first_start(epoch, 4, 6, seed=0) for epoch in (1, 3, 5, 7)]
    [6, 0, 6, 0]
    >>> sorted(first_start(epoch, 4, 6, seed=0) for epoch in (0, 2, 4, 6))
    [0, 1, 2, 3]
    """
    if epoch % 2:
        return last_start if epoch % 4 == 1 else 0
    turn, place = divmod(epoch // 2, context_length)  # each start comes once before any comes again
    return int(epoch_order(context_length, turn, seed)[place])


def hash_of(tensors: Sequence[Tensor]) -> str:
    """Return a sha256 over the shapes and bytes of tensors.

    >>> hash_of([torch.arange(2)]) == hash_of([torch.arange(2)]) != hash_of([torch.arange(3)])
    True
    """
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return sha.hexdigest()


def supervised_batches(
    examples: Sequence[tuple[Sequence[int], Sequence[bool]]],
    batch_size: int,
    context_length: int,
    pad_id: int,
    seed: int = 0,
) -> Callable[[int], Batch]:
    """Return batches of examples padded on the right; only their responses are targets.

    Args:
        examples: pairs of token ids and response mask, such as `render_chat` gives.
        batch_size: B; the last batch of an epoch may not be full and is left out.
        context_length: longest example less one.
        pad_id: fills the rest; never a target.

    Returns:
        A function from the step's number (from 0) to its batch, with `facts()` as `block_batches`.

    Raises:
        ValueError: for no examples, an example that is too long, or one without a response.

    >>> batches = supervised_batches([([5, 6, 7], [False, True, True])], 1, 4, pad_id=0)
    >>> batches(0)
    Batch(token_ids=tensor([[5, 6]]), targets=tensor([[6, 7]]))
    """
    if len(examples) < batch_size or batch_size < 1:
        raise ValueError(
            f"batch_size must be from 1 to the number of examples ({len(examples)}), got "
            f"{batch_size}: give more examples, or a smaller batch"
        )
    check_examples(examples, context_length)
    rows = [torch.as_tensor(token_ids, dtype=torch.int64) for token_ids, _ in examples]
    masks = [torch.as_tensor(mask, dtype=torch.bool) for _, mask in examples]
    steps_per_epoch = len(rows) // batch_size

    def batch_of(step: int) -> Batch:
        epoch, place = divmod(check_step(step), steps_per_epoch)
        order = epoch_order(len(rows), epoch, seed)
        chosen = order[place * batch_size : (place + 1) * batch_size].tolist()
        return shift_targets(
            pad_sequence([rows[i] for i in chosen], batch_first=True, padding_value=pad_id),
            pad_sequence([masks[i] for i in chosen], batch_first=True),  # (B, longest)
        )

    batch_of.facts = lambda: {
        "batch_size": batch_size,
        "context_length": context_length,
        "data_seed": seed,
        "data_sha256": hash_of([*rows, *masks]),
    }
    return batch_of


def check_examples(
    examples: Sequence[tuple[Sequence[int], Sequence[bool]]], context_length: int
) -> None:
    """Refuse examples that can't be learned from whole, with the number of the first such one.

    >>> check_examples([([5, 6], [False, True])], context_length=1)
    """
    if not examples:
        raise ValueError("examples is empty: give one example at least")
    for number, (token_ids, mask) in enumerate(examples):
        if len(token_ids) != len(mask):
            raise ValueError(f"example {number}: {len(token_ids)} ids and {len(mask)} mask entries")
        if len(token_ids) - 1 > context_length:
            raise ValueError(
                f"example {number} has {len(token_ids)} tokens, more than the context of "
                f"{context_length} and its last target: shorten it or leave it out"
            )
        if not any(mask[1:]):
            raise ValueError(f"example {number} has no response to learn from: leave it out")
