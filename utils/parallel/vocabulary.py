"""The cross-entropy of logits that are cut along the vocabulary.

The unembedding is the widest matrix of a model, and its outputs, the logits, the largest tensor of
a step. Cut column parallel, they stay where they are: what travels is a few numbers a position.

Left out on purpose: padded vocabularies, whose last ids would have to be kept out of the sum.
Shapes: V vocabulary, n ranks.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from utils.parallel.tensor_parallel import Group, reduce_from_ranks
from utils.train.losses import IGNORE_INDEX


def vocab_parallel_cross_entropy(logits: Tensor, targets: Tensor, group: Group = None) -> Tensor:
    """Return the mean cross-entropy of targets whose logits are cut along the vocabulary.

    Rank r of n holds the logits of the token ids r V/n up to, but not with, (r + 1) V/n. The ranks
    exchange numbers for each position alone (a largest logit, a sum, the target's logit), never the
    logits themselves. Every rank returns the same loss, and its own logits get their part of the
    gradient of one cross-entropy over the whole vocabulary.

    Args:
        logits: (..., V/n) of this rank, equally many on each.
        targets: (...) token ids of the whole vocabulary, the same on every rank; -100 where a
            position does not count.
        group: the ranks that share the vocabulary; None for all.

    Returns:
        A scalar: the mean over the positions that count, in nats. It is finite for logits of any
        finite size.

    Raises:
        ValueError: where shapes do not fit, no position counts, or a target that counts is no id of
            the whole vocabulary; on every rank alike, before anything is sent.

    On two ranks with two ids each, all logits 0 and the targets [3, -100]: both return ln 4 =
    1.3863. The gradient of the logits of position 0 is [0.25, 0.25] on rank 0, and [0.25, -0.75]
    on rank 1, which holds the target.

    >>> from utils.parallel.processes import run_ranks
    >>> run_ranks(vocab_parallel_cross_entropy, 2, torch.zeros(2, 2), torch.tensor([3, -100]))
    [tensor(1.3863), tensor(1.3863)]

    Source: Shoeybi et al. 2019, section 3 (the output embedding).
    """
    n_local = logits.shape[-1]
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} need targets of shape {tuple(logits.shape[:-1])}, got "
            f"{tuple(targets.shape)}"
        )
    kept = targets != IGNORE_INDEX  # (...)
    if not kept.any():
        raise ValueError("no target counts: the mean over nothing is undefined")
    n_ids = n_local * dist.get_world_size(group)
    if not ((targets[kept] >= 0) & (targets[kept] < n_ids)).all():
        raise ValueError(f"a target is no token id from 0 to {n_ids - 1}")
    largest = logits.detach().amax(dim=-1)  # (...)
    dist.all_reduce(largest, dist.ReduceOp.MAX, group=group)
    shifted = logits - largest.unsqueeze(-1)  # (..., V/n)
    local = targets - dist.get_rank(group) * n_local  # (...), an id of this rank from 0 to V/n - 1
    is_mine = kept & (local >= 0) & (local < n_local)
    index = local.where(is_mine, 0).unsqueeze(-1)
    chosen = shifted.gather(-1, index).squeeze(-1).where(is_mine, 0)
    both = torch.stack([shifted.exp().sum(dim=-1), chosen])  # (2, ...)
    total, chosen = reduce_from_ranks(both, group)
    return (total.log() - chosen)[kept].mean()
