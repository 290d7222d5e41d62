"""Data parallel training: the same weights on every rank, other rows of the batch on each.

Three things make n processes compute what one would: the same weights at the start
(`broadcast_weights`), rows that no other rank has (`rows_of_rank`), and the gradient of the whole
batch on every rank before the optimizer sees it (`ddp_step`, or `Buckets`, which starts sending
while the backward pass is still at work). The optimizer knows nothing of all this. Left out on
purpose: buffers (batch norm), weights that are used on some ranks only.

Source: Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training",
sections 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from utils.train.losses import IGNORE_INDEX
from utils.train.optimizers import clip_gradients


def broadcast_weights(
    model: nn.Module, source: int = 0, group: dist.ProcessGroup | None = None
) -> None:
    """Overwrite every rank's weights and buffers, in place, with those of one rank."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.detach(), group=group, group_src=source)


def rows_of_rank(batch: Sequence[Tensor], rank: int, n_ranks: int) -> tuple[Tensor, ...]:
    """Return a rank's rows of a batch: of n consecutive pieces of nearly equal size its own.

    The batch is a function of the step alone. So all ranks together see the same rows of a step
    however many there are, and a run that goes on with another number of ranks sees those that it
    would have seen.

    Args:
        batch: tensors with the same number of rows.
        rank: from 0.
        n_ranks: how many share the batch.

    Raises:
        ValueError: for a rank that is not there, or fewer rows than ranks.

    >>> ids = torch.arange(5)
    >>> [rows_of_rank([ids], rank, 2)[0].tolist() for rank in range(2)]
    [[0, 1, 2], [3, 4]]
    """
    if not 0 <= rank < n_ranks:
        raise ValueError(f"rank {rank} of {n_ranks}: ranks count from 0")
    if len(batch[0]) < n_ranks:
        raise ValueError(f"{len(batch[0])} rows for {n_ranks} ranks leave some without any")
    return tuple(tensor.tensor_split(n_ranks)[rank] for tensor in batch)


def ddp_step(
    model: nn.Module,
    micro_batches: Sequence[tuple[Tensor, Tensor]],
    max_norm: float | None = None,
    group: dist.ProcessGroup | None = None,
) -> tuple[float, float]:
    """Leave in every rank's weights the gradient of the mean loss over the tokens of all ranks.

    What follows is what one process does: `optimizer.step()`, the same on each rank. A gradient
    that was there before the call is dropped. Gradients cross the wire once, behind the last
    micro-batch, as sums over tokens: ranks and micro-batches may have different numbers of tokens,
    and each token counts the same. A rank may have no micro-batch, or none with a target.

    Args:
        model: `model(token_ids) -> logits`; each rank has the same weights. Of those that learn
            (`requires_grad`) each gets a gradient; one that took no part gets zeros.
        micro_batches: this rank's, each (token_ids, targets) of (B, T); a target that is -100
            (IGNORE_INDEX) does not count.
        max_norm: the largest norm of the whole gradient, to which it is scaled down, the same on
            every rank; None for no clipping.
        group: the ranks that take part; None for all.

    Returns:
        The mean loss over the tokens of all ranks, in nats, and the norm of its gradient before
        clipping: two numbers, the same on every rank.

    Raises:
        ValueError: on every rank, where no rank has a target that counts.

    A model with one weight for each of two ids, all 0, and a token more on rank 1:

    >>> from utils.parallel.processes import run_ranks
    >>> def losses(token_ids, targets):
    ...     model = nn.Embedding.from_pretrained(torch.zeros(2, 2), freeze=False)
    ...     loss, norm = ddp_step(model, [(token_ids, targets)])
    ...     return round(loss, 4), round(norm, 4), model.weight.grad[0].tolist()
    >>> each = [(torch.tensor([[0]]), torch.tensor([[1]]))]
    >>> each += [(torch.tensor([[0, 0, 0]]), torch.tensor([[0, 0, 0]]))]
    >>> run_ranks(losses, 2, each=each)
    [(0.6931, 0.3536, [-0.25, 0.25]), (0.6931, 0.3536, [-0.25, 0.25])]

    Source: Li et al. 2020, sections 3.1 and 3.2.4.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in weights:
        weight.grad = None
    counted = torch.zeros(2, dtype=torch.float64)  # nats and tokens of this rank
    for token_ids, targets in micro_batches:
        logits = model(token_ids)  # (B, T, V)
        nats = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
        )
        nats.backward()
        counted += torch.tensor([nats.item(), (targets != IGNORE_INDEX).sum()])
    dist.all_reduce(counted, group=group)
    nats, n_tokens = counted.tolist()
    if n_tokens == 0:
        raise ValueError("no rank has a target that counts: check the masks of this step")
    for weight in weights:
        if weight.grad is None:  # every rank must take part in every collective
            weight.grad = torch.zeros_like(weight)
    bucket = torch.cat([weight.grad.flatten() for weight in weights])
    dist.all_reduce(bucket, group=group)
    sizes = [weight.numel() for weight in weights]
    for weight, total in zip(weights, bucket.split(sizes), strict=True):
        weight.grad.copy_(total.view_as(weight) / n_tokens)
    # Behind the sum: each rank clips the same gradient by the same norm.
    norm = clip_gradients(weights, math.inf if max_norm is None else max_norm)
    return nats / n_tokens, norm


class Buckets:
    """Sums gradients over the ranks while the backward pass is still at work.

    Weights are put into buckets in the reverse of their order, since the last layer's gradients
    come first. When the last gradient of a bucket is there, its all-reduce starts; `finish` waits
    for all of them. As long as `is_local`, gradients are only added up where they are: torch's
    `no_sync`, for all micro-batches of a step but the last.

    Args:
        model: its weights that learn.
        bucket_bytes: a bucket is closed when it holds so much; torch's default is 25 MB.
        group: the ranks that take part; None for all.
    """

    def __init__(
        self,
        model: nn.Module,
        bucket_bytes: int = 25 << 20,
        group: dist.ProcessGroup | None = None,
    ):
        self.group, self.is_local = group, False
        self.buckets: list[list[nn.Parameter]] = [[]]
        for weight in reversed([w for w in model.parameters() if w.requires_grad]):
            held = sum(w.numel() * w.element_size() for w in self.buckets[-1])
            if held >= bucket_bytes:
                self.buckets.append([])
            self.buckets[-1].append(weight)
        self.bucket_of = {w: k for k, bucket in enumerate(self.buckets) for w in bucket}
        self.missing = [len(bucket) for bucket in self.buckets]
        self.under_way: list[tuple] = []
        # What happened in which order: ("gradient", numbers) and ("send", numbers).
        self.events: list[tuple[str, int]] = []
        for weight in self.bucket_of:
            weight.register_post_accumulate_grad_hook(self._arrived)

    def _arrived(self, weight: nn.Parameter) -> None:
        self.events.append(("gradient", weight.numel()))
        number = self.bucket_of[weight]
        if self.is_local:
            return
        self.missing[number] -= 1
        if self.missing[number] == 0:
            flat = torch.cat([w.grad.flatten() for w in self.buckets[number]])
            self.events.append(("send", flat.numel()))
            work = dist.all_reduce(flat, group=self.group, async_op=True)
            self.under_way.append((number, flat, work))

    def finish(self, divide_by: float) -> None:
        """Wait for all buckets, and put their sums, divided, into the gradients.

        Raises:
            RuntimeError: where a bucket was never sent: a weight without a gradient, or a last
                micro-batch that was local.
        """
        sent = {number for number, *_ in self.under_way}
        if len(sent) < len(self.buckets):
            raise RuntimeError(
                f"{len(self.buckets) - len(sent)} of {len(self.buckets)} buckets were not sent: "
                "was the last micro-batch of the step local, or has a weight no gradient?"
            )
        for number, flat, work in self.under_way:
            work.wait()
            sizes = [w.numel() for w in self.buckets[number]]
            for weight, total in zip(self.buckets[number], flat.split(sizes), strict=True):
                weight.grad.copy_(total.view_as(weight) / divide_by)
        self.under_way = []
        self.missing = [len(bucket) for bucket in self.buckets]


def sent_before_the_end(events: Sequence[tuple[str, int]]) -> float:
    """Return the share of all numbers whose sending began before the last gradient was there.

    >>> sent_before_the_end([("gradient", 1), ("send", 1), ("gradient", 3), ("send", 3)])
    0.25
    """
    last = max(k for k, (what, _) in enumerate(events) if what == "gradient")
    sent = sum(size for what, size in events if what == "send")
    return sum(size for what, size in events[:last] if what == "send") / sent
