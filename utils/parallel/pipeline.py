"""A pipeline in real ranks: stages of a decoder, and the loop that runs a schedule.

`cut_decoder` leaves of a decoder what one stage computes. `run_schedule` walks through a rank's
list of operations: a forward takes its input from the stage before and sends its result on, a
backward takes the gradient from the stage behind and sends its own back. Sends never wait; the
order of the receives is the schedule's, so that what `replay` can play ends here, too.

The loss is the mean over all targets of the batch. Micro-batches of different sizes are therefore
summed and divided once, never averaged one by one.

Left out on purpose: overlap of sending and computing, schedules that split the backward.
Shapes: B batch, T tokens, D d_model.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from utils.model.decoder import Decoder
from utils.parallel.schedules import Schedule
from utils.parallel.tensor_parallel import Group
from utils.train.losses import IGNORE_INDEX, cross_entropy


class Passed(nn.Module):
    """Stands where a stage has no embedding, norm or unembedding, and returns what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return x


def layers_of(stage: int, n_stages: int, n_layers: int) -> range:
    """Return the blocks of a stage; where they do not divide, the first stages have one more.

    Raises:
        ValueError: for more stages than blocks, or a stage that is not there.

    >>> [list(layers_of(stage, 3, 8)) for stage in range(3)]
    [[0, 1, 2], [3, 4, 5], [6, 7]]
    """
    if not 0 <= stage < n_stages:
        raise ValueError(f"there is no stage {stage} of {n_stages}")
    if n_stages > n_layers:
        raise ValueError(
            f"{n_stages} stages can't share {n_layers} blocks: a stage would have none. Use "
            f"{n_layers} stages at most"
        )
    return even_parts(n_layers, n_stages)[stage]


def even_parts(n: int, n_parts: int) -> list[range]:
    """Return 0 to n - 1 in parts that differ by one at most, the larger ones first.

    >>> even_parts(5, 2)
    [range(0, 3), range(3, 5)]
    """
    each, more = divmod(n, n_parts)
    starts = [k * each + min(k, more) for k in range(n_parts + 1)]
    return [range(*bounds) for bounds in zip(starts, starts[1:], strict=False)]


def cut_decoder(model: Decoder, stage: int, n_stages: int) -> Decoder:
    """Leave of a decoder the part that one stage computes, in place, and return it.

    The first stage keeps the embedding, the last one the norm and the unembedding. Tied, both keep
    the table: `sum_tied` adds up its gradients.

    Raises:
        ValueError: as `layers_of`.
    """
    kept = layers_of(stage, n_stages, model.config.n_layers)
    model.blocks = nn.ModuleList(model.blocks[k] for k in kept)
    if stage > 0:
        model.embedding = Passed()
    if stage < n_stages - 1:
        model.norm = model.unembedding = Passed()
    return model


def run_stage(model: Decoder, x: Tensor, n_tokens: int) -> Tensor:
    """Return what a stage makes of token ids (B, T), or of the stream of the stage before."""
    cos, sin = model.cos[:n_tokens], model.sin[:n_tokens]
    x = model.embedding(x)
    for block in model.blocks:
        x = block(x, cos, sin)
    return model.unembedding(model.norm(x))


def cut_batch(n_rows: int, n_micro_batches: int) -> list[slice]:
    """Return the rows of each micro-batch; where they do not divide, the last ones are smaller.

    Raises:
        ValueError: where a micro-batch would have no row.

    >>> [(rows.start, rows.stop) for rows in cut_batch(7, 3)]
    [(0, 3), (3, 5), (5, 7)]
    """
    if not 1 <= n_micro_batches <= n_rows:
        raise ValueError(f"{n_rows} rows can't be cut into {n_micro_batches} micro-batches")
    return [slice(part.start, part.stop) for part in even_parts(n_rows, n_micro_batches)]


def run_schedule(
    schedule: Schedule,
    stages: dict[int, Callable[[Tensor], Tensor]],
    token_ids: Tensor,
    targets: Tensor,
    width: int,
    group: Group = None,
    mean_loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    n_targets: int | None = None,
    n_tokens: int | None = None,
) -> tuple[float, list[tuple]]:
    """Run one step of a pipeline on this rank, up to the gradients of its stages' weights.

    Args:
        schedule: one list of operations for each rank of the group.
        stages: number -> stage, for the stages of this rank.
        token_ids: (B, T) of the whole batch, the same on all ranks of the group; the first stage
            reads them, the others their shape.
        targets: (B, T); the last stage reads them, the others count them.
        width: D of the stream between stages.
        group: the ranks of the pipeline; None for all.
        mean_loss: of logits and targets, over the targets that count.
        n_targets: by how many targets the loss is divided; None for those of this batch. With
            several replicas it is the count of all of them together.
        n_tokens: of the stream between stages; None for T. With sequence parallel, T/n.

    Returns:
        The sum of this rank's part of the loss (0 but on the last stage), and the operations as
        (kind, stage, micro_batch, start, end) with times of `time.monotonic`, which is one clock
        for all processes of a machine. Waiting for an input is no part of an operation.
    """
    order = schedule[dist.get_rank(group)]
    where = {stage: rank for rank, ops in enumerate(schedule) for _, stage, _ in ops}
    last_stage = max(where)
    n_micro_batches = 1 + max(micro_batch for *_, micro_batch in order)
    rows = cut_batch(len(token_ids), n_micro_batches)
    n_targets = n_targets or int((targets != IGNORE_INDEX).sum())
    post = Post(group, where, n_micro_batches)
    alive: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    loss_sum, events = 0.0, []
    for kind, stage, k in order:
        part = token_ids[rows[k]]
        shape = (len(part), n_tokens or part.shape[1], width)
        if kind == "F":
            x = part if stage == 0 else post.take("F", stage - 1, stage, k, shape)
            start = time.monotonic()
            if stage > 0:
                x.requires_grad_()
            y = stages[stage](x)
            if stage == last_stage:
                asked = targets[rows[k]]
                share = int((asked != IGNORE_INDEX).sum()) / n_targets
                y = mean_loss(y, asked) * share if share else 0.0 * y.sum()
                loss_sum += y.item()
            alive[stage, k] = x, y
            events.append((kind, stage, k, start, time.monotonic()))
            if stage < last_stage:
                post.send("F", stage, stage + 1, k, y.detach())
        else:
            x, y = alive.pop((stage, k))
            gradient = None
            if stage < last_stage:
                gradient = post.take("B", stage + 1, stage, k, tuple(y.shape))
            start = time.monotonic()
            y.backward(gradient)
            events.append((kind, stage, k, start, time.monotonic()))
            if stage > 0:
                post.send("B", stage, stage - 1, k, x.grad)
    post.flush()
    return loss_sum, events


class Post:
    """Sends and receives between stages; a tag for each message, so that none is mistaken."""

    def __init__(self, group: Group, where: dict[int, int], n_micro_batches: int):
        self.group, self.where, self.n_micro_batches = group, where, n_micro_batches
        self.me = dist.get_rank(group)
        self.on_the_way: list = []  # sends and their tensors, kept until they are through
        self.here: dict[tuple, Tensor] = {}  # between two stages of one rank

    def tag(self, kind: str, to: int, k: int) -> int:
        """Return the number of a message."""
        return 2 * (to * self.n_micro_batches + k) + (kind == "B")

    def send(self, kind: str, stage: int, to: int, k: int, tensor: Tensor) -> None:
        """Send a stage's result or gradient on, without waiting."""
        if self.where[to] == self.me:
            self.here[kind, to, k] = tensor
            return
        tensor = tensor.contiguous()
        work = dist.isend(
            tensor, group_dst=self.where[to], group=self.group, tag=self.tag(kind, to, k)
        )
        self.on_the_way.append((work, tensor))

    def take(self, kind: str, stage: int, to: int, k: int, shape: tuple[int, ...]) -> Tensor:
        """Wait for what another stage sends, and return it."""
        if self.where[stage] == self.me:
            return self.here.pop((kind, to, k))
        tensor = torch.empty(shape)
        dist.recv(tensor, group_src=self.where[stage], group=self.group, tag=self.tag(kind, to, k))
        return tensor

    def flush(self) -> None:
        """Wait until everything has been sent."""
        for work, _ in self.on_the_way:
            work.wait()


def sum_tied(weight: Tensor | None, n_stages: int, group: Group = None) -> None:
    """Add up the gradients of a table that the first and the last stage share.

    To be called on every rank of a pipeline after its backwards; the ranks between have no part.

    Args:
        weight: the table on the first and the last rank; None on others.
        n_stages: ranks of the pipeline.
        group: the pipeline's ranks.
    """
    rank = dist.get_rank(group)
    if n_stages == 1 or rank not in (0, n_stages - 1) or weight is None:
        return
    other = n_stages - 1 - rank
    mine, theirs = weight.grad.contiguous(), torch.empty_like(weight.grad)
    work = dist.isend(mine, group_dst=other, group=group)
    dist.recv(theirs, group_src=other, group=group)
    work.wait()
    weight.grad = mine + theirs
