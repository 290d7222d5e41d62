"""ZeRO: optimizer state, gradients and weights in shards, one for each rank.

Data parallel holds everything n times. Each stage takes one thing away: stage 1 the optimizer's
state (`shard_optimizer`), stage 2 the gradients (`fsdp_reduce`), stage 3 the weights
(`fsdp_gather`; `Sharded` makes a module of it). Numbers are counted along the flattened tensor and
padded with zeros to n equal shards. Left out on purpose: offload, mixed precision, prefetching.

Shapes: P numbers in all, S = ceil(P / n) in a shard.
Source: Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter
Models", section 5; Zhao et al. 2023, "PyTorch FSDP", section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from utils.parallel.collectives import ring_all_gather, ring_reduce_scatter
from utils.train.optimizers import adamw_step


def shard_of(tensor: Tensor, rank: int, n_ranks: int) -> Tensor:
    """Return a rank's shard of a tensor that every rank has.

    Args:
        tensor: any shape, P numbers.
        rank: from 0.
        n_ranks: how many shards there are.

    Returns:
        (S,): the numbers rank S to rank S + S of the flattened tensor, zeros behind its end.

    >>> [shard_of(torch.arange(1, 6), rank, 3).tolist() for rank in range(3)]
    [[1, 2], [3, 4], [5, 0]]
    """
    size = math.ceil(tensor.numel() / n_ranks)
    part = tensor.detach().flatten()[rank * size : rank * size + size]
    return functional.pad(part, (0, size - part.numel()))


def shard_optimizer(
    weights: Tensor,
    gradient: Tensor,
    state: dict,
    lr: float,
    weight_decay: float = 0.1,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, dict]:
    """Take a step of AdamW whose state is kept in shards (ZeRO, stage 1); changes nothing in place.

    Each rank updates its own shard of the weights, for which it has the state, and then all ranks
    put their shards together. The step is that of `utils.train.optimizers.adamw_step` with its own
    `betas` and `eps`. Only shards are handed to a collective.

    Args:
        weights: (P,), the same on every rank.
        gradient: (P,), the same on every rank: the average, as `ddp_step` leaves it.
        state: {} before the first step; then what the last call returned.
        lr: learning rate.
        weight_decay: as in `adamw_step`.
        group: the ranks that share the state; None for all.

    Returns:
        weights: (P,), the new ones, the same on every rank.
        state: "step", the number of steps taken, and this rank's "first_moment" and
            "second_moment", (S,) each; S = ceil(P / n), and behind the end of the weights they
            are 0.

    Raises:
        ValueError: on every rank, before anything is sent, where weights and gradient are not both
            of the same shape (P,).

    >>> from utils.parallel.processes import run_ranks
    >>> def one_step(weights, gradient):
    ...     weights, state = shard_optimizer(weights, gradient, {}, lr=0.1, weight_decay=0.0)
    ...     return weights, state["first_moment"]
    >>> gradient = torch.tensor([1.0, 2.0, -4.0])
    >>> for weights, moment in run_ranks(one_step, 2, torch.ones(3), gradient):
    ...     print(weights, moment)
    tensor([0.9000, 0.9000, 1.1000]) tensor([0.1000, 0.2000])
    tensor([0.9000, 0.9000, 1.1000]) tensor([-0.4000,  0.0000])

    Source: Rajbhandari et al. 2020, section 5.1.
    """
    if weights.dim() != 1 or weights.shape != gradient.shape:
        raise ValueError(f"weights {tuple(weights.shape)} and gradient {tuple(gradient.shape)}")
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    mine, slope = shard_of(weights, rank, n), shard_of(gradient, rank, n)
    first, second = (state.get(name, mine * 0) for name in ("first_moment", "second_moment"))
    step = state.get("step", 0) + 1
    mine, first, second = adamw_step(
        mine, slope, first, second, step, lr=lr, weight_decay=weight_decay
    )
    state = {"step": step, "first_moment": first, "second_moment": second}
    return ring_all_gather(mine, group)[: weights.numel()], state


def fsdp_gather(
    shard: Tensor, shape: Sequence[int], group: dist.ProcessGroup | None = None
) -> Tensor:
    """Return a whole weight from the shards of all ranks.

    Args:
        shard: (S,), this rank's; S = ceil(P / n), where P is the number of numbers in `shape`.
        shape: of the weight, () for a single number. Rank after rank its shards hold its numbers in
            their order, and zeros behind the last.
        group: the ranks that have the shards; None for all.

    Returns:
        The weight, of this shape and the shard's dtype, the same on every rank. Only the shard is
        handed to a collective.

    Raises:
        ValueError: before anything is sent, for a shard that is not (S,).

    >>> from utils.parallel.processes import run_ranks
    >>> shards = [(torch.tensor([1.0, 2.0]), [3]), (torch.tensor([3.0, 0.0]), [3])]
    >>> run_ranks(fsdp_gather, 2, each=shards)
    [tensor([1., 2., 3.]), tensor([1., 2., 3.])]

    Source: Rajbhandari et al. 2020, section 5.3.
    """
    n, n_numbers = dist.get_world_size(group), math.prod(shape)
    if shard.shape != (math.ceil(n_numbers / n),):
        raise ValueError(f"{n} shards of {tuple(shard.shape)} do not make {tuple(shape)}")
    return ring_all_gather(shard, group)[:n_numbers].view(tuple(shape))


def fsdp_reduce(gradient: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Return this rank's shard of the average of all ranks' gradients.

    The counterpart of `fsdp_gather`: where the weights came from, their gradients go.

    Args:
        gradient: any shape, P numbers, the same shape on every rank; it is left as it is.
        group: the ranks that have the shards; None for all.

    Returns:
        (S,), S = ceil(P / n), in the gradient's dtype: rank after rank the numbers of the average
        in their order, and zeros behind the last. Sums are taken in float32 where the gradient is
        in float16 or bfloat16, which could not hold them. No rank gets the whole sum, as
        `all_reduce` and `all_gather` would give it.

    >>> from utils.parallel.processes import run_ranks
    >>> gradients = [(torch.tensor([1.0, 2.0, 3.0]),), (torch.tensor([3.0, 4.0, 5.0]),)]
    >>> run_ranks(fsdp_reduce, 2, each=gradients)
    [tensor([2., 3.]), tensor([4., 0.])]

    Source: Rajbhandari et al. 2020, section 5.2.
    """
    n = dist.get_world_size(group)
    flat = gradient.detach().flatten()
    wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
    total = ring_reduce_scatter(functional.pad(wide, (0, -len(wide) % n)), group)
    return (total / n).to(gradient.dtype)


class Gathered(torch.autograd.Function):
    """The whole weight from its shards; in the backward pass its gradient goes back in shards."""

    @staticmethod
    def forward(ctx, shard: Tensor, shape: tuple, group, gather, reduce) -> Tensor:
        """Gather the weight."""
        ctx.group, ctx.reduce = group, reduce
        return gather(shard, shape, group)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        """Reduce its gradient."""
        return ctx.reduce(gradient, ctx.group), None, None, None, None


class Sharded(nn.Module):
    """A module of whose weights each rank keeps a shard; they are whole while it computes.

    Wrap the blocks of a model first, then the model, which then shards the rest. The weights of
    one wrapped module travel together, as one flat tensor. What learns afterwards (`requires_grad`)
    is the `shard` of each wrapped module.

    Args:
        module: its weights that are not sharded yet, the same on every rank.
        group: the ranks that have the shards; None for all.
        gather_again: do not keep whole weights from the forward to the backward pass, but gather
            them anew.
        gather: moves the numbers, as `fsdp_gather`.
        reduce: moves their gradients, as `fsdp_reduce`.
    """

    def __init__(
        self,
        module: nn.Module,
        group: dist.ProcessGroup | None = None,
        gather_again: bool = False,
        gather: Callable = fsdp_gather,
        reduce: Callable = fsdp_reduce,
    ):
        super().__init__()
        self.group, self.gather_again, self.moves = group, gather_again, (gather, reduce)
        learning = {name: w for name, w in module.named_parameters() if w.requires_grad}
        named = {n: w for n, w in learning.items() if n.rpartition(".")[2] != "shard"}
        self.shapes = {name: weight.shape for name, weight in named.items()}
        whole = torch.cat([weight.detach().flatten() for weight in named.values()])
        for weight in named.values():  # its numbers are in the shards now
            weight.requires_grad_(False)
            weight.data = weight.new_empty(0)
        rank, n = dist.get_rank(group), dist.get_world_size(group)
        self.n_numbers = whole.numel()
        self.shard = nn.Parameter(shard_of(whole, rank, n).clone())
        self.module = module

    def forward(self, *args: object, **kwargs: object) -> object:
        """Gather the weights, compute, and forget them."""
        shape = (self.n_numbers,)
        flat = Gathered.apply(self.shard, shape, self.group, *self.moves)
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        named = zip(self.shapes.items(), parts, strict=True)
        weights = {name: part.view(shape) for (name, shape), part in named}
        if not self.gather_again or not flat.requires_grad:
            return functional_call(self.module, weights, args, kwargs)
        here, held = flat.untyped_storage().data_ptr(), []
        flat.register_hook(lambda gradient: held.clear())  # all that needed the weights is done

        def pack(tensor: Tensor) -> object:
            if tensor.untyped_storage().data_ptr() != here:
                return tensor
            return tensor.size(), tensor.stride(), tensor.storage_offset()

        def unpack(kept: object) -> Tensor:
            if isinstance(kept, Tensor):
                return kept
            if not held:
                held.append(self.moves[0](self.shard, shape, self.group))
            return held[0].as_strided(*kept)

        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            return functional_call(self.module, weights, args, kwargs)


def whole_norm(shards: Iterable[Tensor], group: dist.ProcessGroup | None = None) -> float:
    """Return the norm of the gradient of which each rank has a shard of every part.

    Args:
        shards: this rank's weights, with their gradients.
        group: the ranks that have the other shards; None for all.
    """
    total = torch.zeros((), dtype=torch.float64)
    for shard in shards:
        if shard.grad is not None:
            total += shard.grad.double().square().sum()
    dist.all_reduce(total, group=group)
    return total.sqrt().item()


def clip_shards(
    shards: Iterable[Tensor], max_norm: float, group: dist.ProcessGroup | None = None
) -> float:
    """Scale this rank's gradients, in place, so that the whole gradient's norm is at most max_norm.

    Returns:
        The norm of the whole gradient before clipping.
    """
    shards = [shard for shard in shards if shard.grad is not None]
    norm = whole_norm(shards, group)
    if norm > max_norm and math.isfinite(norm):
        for shard in shards:
            shard.grad.mul_(max_norm / norm)
    return norm
