"""Tensor parallel: one matrix on several ranks, cut by its outputs, its inputs or its vocabulary.

A linear layer whose outputs are cut (column parallel) followed by one whose inputs are cut (row
parallel) needs one all-reduce forward and one backward for the pair. Where these stand is said by
two functions that are each other's mirror: f, which does nothing forward and sums backward (in
`column_parallel_linear`), and g, which sums forward and does nothing backward
(`reduce_from_ranks`). With sequence parallel the
stream between the pairs is cut along the tokens, and each all-reduce becomes an all-gather and a
reduce-scatter.

The paper writes y = x A with A (inputs, outputs), whence "column" for the outputs. Our weights are
(outputs, inputs) as those of nn.Linear, so that column parallel holds rows of the array.

Left out on purpose: overlap of communication and products, attention cut along the tokens.
Shapes: B batch, T tokens, D d_model, I inputs, O outputs, V vocabulary, n ranks.
Source: Shoeybi et al. 2019, "Megatron-LM", section 3; Korthikanti et al. 2022, "Reducing Activation
Recomputation in Large Transformer Models", section 4.2.2.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.linear import linear

Group = dist.ProcessGroup | None


def shard(whole: Tensor, n_ranks: int, rank: int, axis: int = 0) -> Tensor:
    """Return a rank's part of a tensor: one of n equal pieces along an axis, copied.

    Raises:
        ValueError: where the pieces would not be equal.

    >>> shard(torch.tensor([1, 2, 3, 4]), 2, 1)
    tensor([3, 4])
    """
    size = whole.shape[axis]
    if size % n_ranks:
        raise ValueError(
            f"an axis of {size} can't be cut into {n_ranks} equal parts: pad it, or use a number "
            "of ranks that divides it"
        )
    return whole.chunk(n_ranks, axis)[rank].clone()


def sum_over_ranks(x: Tensor, group: Group = None) -> Tensor:
    """Return the sum of the ranks' tensors as a new tensor on every rank; no gradient passes."""
    total = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total


class ReduceFromRanks(torch.autograd.Function):
    """g: the sum over the ranks, on every rank; each summand's gradient is that of the sum."""

    @staticmethod
    def forward(ctx, x: Tensor, group: Group) -> Tensor:
        return sum_over_ranks(x, group)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class GatherTokens(torch.autograd.Function):
    """Each rank's tokens (B, T/n, D) become all tokens; gradients are added up and cut again."""

    @staticmethod
    def forward(ctx, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return all_gather_tokens(x, group)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return reduce_scatter_tokens(gradient, ctx.group), None


class ScatterSum(torch.autograd.Function):
    """The sum over the ranks, of which each keeps its tokens; gradients are gathered."""

    @staticmethod
    def forward(ctx, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return reduce_scatter_tokens(x, group)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return all_gather_tokens(gradient, ctx.group), None


def all_gather_tokens(x: Tensor, group: Group = None) -> Tensor:
    """Return the ranks' tokens (B, T/n, D) one behind the other, (B, T, D)."""
    pieces = [torch.empty_like(x) for _ in range(dist.get_world_size(group))]
    dist.all_gather(pieces, x.contiguous(), group=group)
    return torch.cat(pieces, dim=1)


def reduce_scatter_tokens(x: Tensor, group: Group = None) -> Tensor:
    """Return a rank's tokens (B, T/n, D) of the sum of all ranks' (B, T, D).

    Raises:
        ValueError: where the ranks do not divide the tokens.
    """
    n = dist.get_world_size(group)
    if x.shape[1] % n:
        raise ValueError(f"{x.shape[1]} tokens can't be cut into {n} equal parts")
    pieces = [piece.contiguous() for piece in x.chunk(n, dim=1)]
    mine = torch.empty_like(pieces[0])
    dist.reduce_scatter(mine, pieces, group=group)
    return mine


def reduce_from_ranks(x: Tensor, group: Group = None) -> Tensor:
    """Return the sum of the ranks' tensors; the backward passes the gradient on as it is (g)."""
    return ReduceFromRanks.apply(x, group)


def column_parallel_linear(x: Tensor, weight: Tensor, group: Group = None) -> Tensor:
    """Return this rank's outputs of a linear layer whose outputs are cut over the ranks.

    Every rank reads the whole input and holds O/n of the layer's outputs. The forward sends
    nothing. In the backward each rank knows a part of the input's gradient, that of its own
    outputs: the parts are summed over the ranks, so that every rank has the whole gradient. The
    gradient of the weight is each rank's own.

    Args:
        x: (..., I), the same on every rank of the group.
        weight: (O/n, I), this rank's rows of the weight.
        group: the ranks that share the layer; None for all.

    Returns:
        (..., O/n); the ranks' results one behind the other are the whole layer's.

    Raises:
        ValueError: where the last axes of x and weight are not of one length; before anything is
            sent.

    On two ranks, x = [[1, 2]] on both: rank 0 with the weight [[3, 4]] returns [[11]], rank 1 with
    [[5, 6]] returns [[17]]. Where both results have the gradient 1, the gradient of x is
    [3, 4] + [5, 6] = [[8, 10]] on both ranks.

    >>> from utils.parallel.processes import run_ranks
    >>> x, rows = torch.tensor([[1.0, 2.0]]), [([[3.0, 4.0]],), ([[5.0, 6.0]],)]
    >>> run_ranks(lambda weight: column_parallel_linear(x, torch.tensor(weight)), 2, each=rows)
    [tensor([[11.]]), tensor([[17.]])]

    Source: Shoeybi et al. 2019, section 3, figure 3a.
    """
    check_widths(x, weight)

    class CopyToRanks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, gradient):
            return sum_over_ranks(gradient, group)

    return linear(CopyToRanks.apply(x), weight)


def row_parallel_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, group: Group = None
) -> Tensor:
    """Return the outputs of a linear layer whose inputs are cut over the ranks.

    Every rank holds a part of the input and the columns of the weight that belong to it. Each
    computes a summand of every output; the forward sums them over the ranks, so that every rank
    has the whole output. The backward sends nothing: the gradient of a sum is that of each summand.

    Args:
        x: (..., I/n), this rank's part of the input.
        weight: (O, I/n), this rank's columns of the weight.
        bias: (O,), the same on every rank; it counts once in the output, and its gradient is the
            whole one on every rank.
        group: the ranks that share the layer; None for all.

    Returns:
        (..., O), the same on every rank. The arguments are not changed.

    Raises:
        ValueError: where the last axes of x and weight are not of one length, or the bias is not
            (O,); before anything is sent.

    On two ranks: rank 0 has x = [[1]] and the weight [[3]], rank 1 x = [[2]] and [[4]], both the
    bias [10]. Both return [[1 * 3 + 2 * 4 + 10]] = [[21]].

    >>> from utils.parallel.processes import run_ranks
    >>> parts = [(torch.tensor([[1.0]]), torch.tensor([[3.0]]), torch.tensor([10.0]))]
    >>> parts += [(torch.tensor([[2.0]]), torch.tensor([[4.0]]), torch.tensor([10.0]))]
    >>> run_ranks(row_parallel_linear, 2, each=parts)
    [tensor([[21.]]), tensor([[21.]])]

    Source: Shoeybi et al. 2019, section 3, figure 3a.
    """
    check_widths(x, weight)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"a bias for {weight.shape[0]} outputs, got {tuple(bias.shape)}")

    class SumOfRanks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, summand):
            return sum_over_ranks(summand, group)

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    y = SumOfRanks.apply(linear(x, weight))  # (..., O)
    return y if bias is None else y + bias


def check_widths(x: Tensor, weight: Tensor) -> None:
    """Refuse a weight that does not read what `x` holds.

    Raises:
        ValueError: where the last axes of x and weight are not of one length.
    """
    if x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"the layer reads {weight.shape[-1]} inputs on this rank, x has {x.shape[-1]}: are "
            "both this rank's part?"
        )


class ColumnParallel(nn.Module):
    """A linear layer that holds O/n of its outputs.

    With `reads_whole` its input has passed `GatherTokens` before, once for all
    the layers that read it.
    """

    def __init__(self, weight: Tensor, group: Group, reads_whole: bool = False):
        super().__init__()
        self.weight, self.group, self.reads_whole = nn.Parameter(weight), group, reads_whole

    def forward(self, x: Tensor) -> Tensor:
        """Return this rank's outputs (..., O/n) for `x` (..., I)."""
        if self.reads_whole:
            return linear(x, self.weight)
        return column_parallel_linear(x, self.weight, self.group)


class RowParallel(nn.Module):
    """A linear layer that holds I/n of its inputs; with `scatters` each rank keeps T/n tokens."""

    def __init__(self, weight: Tensor, group: Group, scatters: bool = False):
        super().__init__()
        self.weight, self.group, self.scatters = nn.Parameter(weight), group, scatters

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., O), or (B, T/n, O), for `x` (..., I/n)."""
        if self.scatters:
            return ScatterSum.apply(linear(x, self.weight), self.group)
        return row_parallel_linear(x, self.weight, None, self.group)


class VocabParallelEmbedding(nn.Module):
    """An embedding table that holds V/n of its rows: ids of others give 0, and all are added."""

    def __init__(self, weight: Tensor, group: Group, scatters: bool = False):
        super().__init__()
        self.weight, self.group, self.scatters = nn.Parameter(weight), group, scatters

    def forward(self, token_ids: Tensor) -> Tensor:
        """Return (B, T, D), or (B, T/n, D), for ids (B, T) of the whole vocabulary."""
        n_local = self.weight.shape[0]
        local = token_ids - dist.get_rank(self.group) * n_local
        is_mine = (local >= 0) & (local < n_local)
        rows = self.weight[local.where(is_mine, 0)] * is_mine.unsqueeze(-1)  # (B, T, D)
        function = ScatterSum if self.scatters else ReduceFromRanks
        return function.apply(rows, self.group)


class Gathered(nn.Module):
    """A part of a decoder that reads all tokens where the stream around it holds T/n of them."""

    def __init__(self, part: nn.Module, group: Group):
        super().__init__()
        self.part, self.group = part, group

    def forward(self, x: Tensor, *others: object) -> Tensor:
        """Gather `x` (B, T/n, D) and call the part with it."""
        return self.part(GatherTokens.apply(x, self.group), *others)


def check_divides(config: TransformerConfig, n_ranks: int) -> None:
    """Refuse a number of ranks that can't share a decoder evenly.

    Raises:
        ValueError: naming what does not divide.

    >>> check_divides(TransformerConfig(vocab_size=10, context_length=8, d_model=16), 4)
    Traceback (most recent call last):
    ...
    ValueError: 4 ranks can't share vocab_size 10 evenly
    """
    if config.qk_norm or config.qkv_bias:
        raise ValueError("norms of queries and keys, and biases, are not cut here")
    for name in ("n_heads", "n_kv_heads", "d_ff", "vocab_size"):
        if getattr(config, name) % n_ranks:
            raise ValueError(f"{n_ranks} ranks can't share {name} {getattr(config, name)} evenly")


def split_decoder(model: Decoder, group: Group = None, sequence_parallel: bool = False) -> Decoder:
    """Cut a decoder's matrices over the ranks of a group, in place, and return it.

    Each rank keeps n_heads/n heads with their keys and values, d_ff/n of the feed-forward width and
    vocab_size/n rows of the embedding; norms are on every rank. The decoder's logits are then this
    rank's part of the vocabulary, as `vocab_parallel_cross_entropy` takes them.

    Args:
        model: whole, with the same weights on every rank. A pipeline's stage without embedding or
            unembedding will do.
        group: the ranks; None for all.
        sequence_parallel: the stream between the pairs is cut along the tokens. After the
            backward, `sum_replicated` must then add up the gradients of the norms.

    Raises:
        ValueError: where the ranks do not divide heads, feed-forward width or vocabulary.
    """
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    check_divides(model.config, n)

    def rows(weight: Tensor, *widths: int) -> Tensor:
        parts = weight.detach().split(widths)
        return torch.cat([shard(part, n, rank) for part in parts])

    for block in model.blocks:
        attention, feed_forward = block.attention, block.feed_forward
        queries, keys = (
            heads * attention.d_head for heads in (attention.n_heads, attention.n_kv_heads)
        )
        weight = rows(attention.qkv.weight, queries, keys, keys)
        attention.qkv = ColumnParallel(weight, group, sequence_parallel)
        weight = shard(attention.output.weight.detach(), n, rank, axis=1)
        attention.output = RowParallel(weight, group, sequence_parallel)
        attention.n_heads //= n
        attention.n_kv_heads //= n
        weight = feed_forward.gate_up.weight
        weight = rows(weight, len(weight) // 2, len(weight) // 2)
        feed_forward.gate_up = ColumnParallel(weight, group, sequence_parallel)
        weight = shard(feed_forward.down.weight.detach(), n, rank, axis=1)
        feed_forward.down = RowParallel(weight, group, sequence_parallel)
        if sequence_parallel:
            block.attention = Gathered(attention, group)
            block.feed_forward = Gathered(feed_forward, group)
    split_vocabulary(model, group, sequence_parallel)
    return model


def split_vocabulary(model: Decoder, group: Group, sequence_parallel: bool) -> None:
    """Cut the embedding and the unembedding of a decoder, if there; tied ones stay tied."""
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    if isinstance(model.embedding, nn.Embedding):
        weight = shard(model.embedding.weight.detach(), n, rank)
        model.embedding = VocabParallelEmbedding(weight, group, sequence_parallel)
    if isinstance(model.unembedding, nn.Linear):
        weight = shard(model.unembedding.weight.detach(), n, rank)
        unembedding = ColumnParallel(weight, group, sequence_parallel)
        if model.config.tie_embeddings and isinstance(model.embedding, VocabParallelEmbedding):
            unembedding.weight = model.embedding.weight
        model.unembedding = Gathered(unembedding, group) if sequence_parallel else unembedding


def replicated(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that every tensor-parallel rank holds whole, by name: the norms' gains."""
    return {name: weight for name, weight in model.named_parameters() if weight.dim() == 1}


def sum_replicated(model: nn.Module, group: Group = None) -> None:
    """Add up over the ranks the gradients of what every rank holds whole; with sequence parallel.

    Each rank's norms have seen that rank's tokens alone. Without the sum every rank steps by a
    gradient of its own, and weights that should be one drift apart.
    """
    for weight in replicated(model).values():
        if weight.grad is not None:
            dist.all_reduce(weight.grad, group=group)
