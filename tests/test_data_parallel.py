"""Data parallel training in real processes: against sums, one process, and torch's own DDP."""

import math

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.parallel.collectives import ring_all_gather, ring_all_reduce, ring_reduce_scatter
from utils.parallel.data_parallel import (
    Buckets,
    broadcast_weights,
    ddp_step,
    rows_of_rank,
    sent_before_the_end,
)
from utils.parallel.processes import RankError, run_ranks
from utils.parallel.wire import bytes_sent, traffic
from utils.train.losses import IGNORE_INDEX

CONFIG = TransformerConfig(vocab_size=32, context_length=12, d_model=16, n_layers=2, n_heads=2)


def small_model(seed=0):
    torch.manual_seed(seed)
    return Decoder(CONFIG)


def batch_of(step, n_rows=8):
    """Return a batch in which rows differ in how many targets count."""
    source = torch.Generator().manual_seed(step)
    ids = torch.randint(0, 32, (n_rows, 13), generator=source)
    ids[:, 1::2] = (ids[:, 0:-1:2] * 7 + 3) % 32  # something to learn
    places, lengths = torch.arange(12), torch.randint(2, 13, (n_rows, 1), generator=source)
    return ids[:, :-1], ids[:, 1:].masked_fill(places >= lengths, IGNORE_INDEX)


def mean_loss(model, batch):
    ids, targets = batch
    return functional.cross_entropy(
        model(ids).flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX
    )


def gradient_of(model):
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


# collectives


def collectives(shape, dtype):
    rank, n = dist.get_rank(), dist.get_world_size()
    mine = torch.arange(math.prod(shape)).view(shape).to(dtype) * (rank + 1)
    before = mine.clone()
    with traffic() as operations:
        total = ring_all_reduce(mine)
    assert torch.equal(mine, before)
    shard = ring_reduce_scatter(mine.flatten().repeat(n))
    return total, operations, shard, ring_all_gather(shard)


@pytest.mark.parametrize("n", (1, 2, 3, 4))
def test_collectives_sum_what_the_ranks_hold(n):
    for shape, dtype in (((3, 8), torch.float32), ((2,), torch.int64), ((0,), torch.float64)):
        numbers = torch.arange(math.prod(shape)).view(shape).to(dtype)
        want = numbers * (n * (n + 1) // 2)
        for total, operations, shard, whole in run_ranks(collectives, n, shape, dtype):
            assert total.dtype == dtype and torch.equal(total, want)
            assert torch.equal(shard, want.flatten())
            assert torch.equal(whole, want.flatten().repeat(n))
            assert {o.name for o in operations} <= {"isend", "recv"}
            if numbers.numel() % n == 0:
                payload = numbers.numel() * numbers.element_size()
                assert bytes_sent(operations) == 2 * (n - 1) * payload // n


def in_a_subgroup():
    groups = [dist.new_group([0, 2]), dist.new_group([1, 3])]
    mine = groups[dist.get_rank() % 2]
    x = torch.full((3,), float(dist.get_rank()))
    shard = ring_reduce_scatter(x.repeat(2), mine)
    return ring_all_reduce(x, mine), shard, ring_all_gather(x, mine)


def test_collectives_run_in_a_group_of_some_ranks():
    for rank, (total, shard, whole) in enumerate(run_ranks(in_a_subgroup, 4)):
        first, second = (0.0, 2.0) if rank % 2 == 0 else (1.0, 3.0)
        assert total.tolist() == shard.tolist() == [first + second] * 3
        assert whole.tolist() == [first] * 3 + [second] * 3


def blocking_ring(n_numbers):
    n, rank = dist.get_world_size(), dist.get_rank()
    dist.send(torch.zeros(n_numbers), (rank + 1) % n)
    dist.recv(torch.zeros(n_numbers), (rank - 1) % n)


def test_a_ring_in_which_all_send_first_waits_for_ever_and_is_ended():
    with pytest.raises(RankError, match="rank"):
        run_ranks(blocking_ring, 2, 10_000_000, show=False)


def refuse():
    with pytest.raises(ValueError, match="pad it"):
        ring_reduce_scatter(torch.zeros(3))
    with pytest.raises(ValueError, match="flat"):
        ring_all_gather(torch.zeros(3, 1))


def test_collectives_refuse_what_does_not_fit():
    run_ranks(refuse, 2)


# one step


def one_step(n_micro, max_norm):
    model = small_model()
    mine = rows_of_rank(batch_of(0), dist.get_rank(), dist.get_world_size())
    pieces = zip(*(tensor.chunk(n_micro) for tensor in mine), strict=True)
    with traffic() as operations:
        loss, norm = ddp_step(model, list(pieces), max_norm)
    return loss, norm, gradient_of(model), sum(o.n_bytes for o in operations)


@pytest.mark.parametrize("max_norm", (None, 0.1))
def test_four_ranks_have_the_gradient_of_one_process(max_norm):
    model = small_model()
    loss = mean_loss(model, batch_of(0))
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm or math.inf).item()
    found = run_ranks(one_step, 4, 2, max_norm)
    for their_loss, their_norm, gradient, n_bytes in found:
        assert (gradient - gradient_of(model)).abs().max() < 1e-6
        assert abs(their_loss - loss.item()) < 1e-6 and abs(their_norm - norm) < 1e-5
        assert torch.equal(gradient, found[0][2])  # the very same on every rank
        assert n_bytes == gradient.numel() * 4 + 16  # once, whatever the number of micro-batches


def with_torch(token_average):
    """Return DDP's gradient: of each rank's own mean, or weighed by the number of tokens."""
    n = dist.get_world_size()
    ids, targets = batch_of(0)
    mine = rows_of_rank((ids, targets), dist.get_rank(), n)
    model = DistributedDataParallel(small_model())
    loss = mean_loss(model, mine)
    if token_average:
        kept, everyone = (mine[1] != IGNORE_INDEX).sum(), (targets != IGNORE_INDEX).sum()
        loss = loss * kept * n / everyone
    loss.backward()
    return gradient_of(model)


def test_the_step_is_that_of_ddp_where_tokens_are_weighed():
    ours = run_ranks(one_step, 2, 1, None)[0][2]
    weighed, plain = (run_ranks(with_torch, 2, kind)[0] for kind in (True, False))
    assert (ours - weighed).abs().max() < 1e-6
    # DDP's average of means is another gradient where ranks have different numbers of tokens.
    assert (ours - plain).norm() > 1e-3 * ours.norm()  # rounding is a thousand times less


def without_micro_batches():
    model = small_model()
    model.unused = nn.Parameter(torch.ones(3))
    mine = [batch_of(0)] if dist.get_rank() == 1 else []
    loss, _ = ddp_step(model, mine)
    nothing = (torch.zeros(1, 2).long(), torch.full((1, 2), IGNORE_INDEX))
    with pytest.raises(ValueError, match="no rank"):
        ddp_step(model, [nothing])
    return loss, model.unused.grad is not None


def test_a_rank_may_have_nothing_and_a_weight_take_no_part():
    want = mean_loss(small_model(), batch_of(0)).item()
    for loss, _ in run_ranks(without_micro_batches, 2):
        assert abs(loss - want) < 1e-6


# what goes wrong


def clipped_apart(max_norm):
    model, n = small_model(), dist.get_world_size()
    mean_loss(model, rows_of_rank(batch_of(0), dist.get_rank(), n)).backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    return ring_all_reduce(gradient_of(model)) / n


def test_clipping_before_the_sum_turns_the_gradient():
    right = run_ranks(one_step, 4, 1, 0.1)[0][2]
    apart = run_ranks(clipped_apart, 4, 0.1)[0]
    assert functional.cosine_similarity(right, apart, dim=0) < 0.999
    assert (right - apart).norm() > 0.05 * right.norm()


def steps_apart(average, n_steps):
    """Return whether ranks have the same weights after steps with or without the average."""
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(n_steps):
        mine = [rows_of_rank(batch_of(step), dist.get_rank(), dist.get_world_size())]
        if average:
            ddp_step(model, mine)
        else:
            optimizer.zero_grad()
            mean_loss(model, mine[0]).backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def test_without_the_average_ranks_drift_apart():
    for average in (True, False):
        first, second = run_ranks(steps_apart, 2, average, 3)
        assert torch.equal(first, second) == average


def start_apart(broadcast):
    model = small_model(seed=dist.get_rank())
    if broadcast:
        broadcast_weights(model)
    ddp_step(model, [batch_of(0)])
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def test_the_start_is_broadcast_from_rank_0():
    first, second = run_ranks(start_apart, 2, False)
    assert not torch.equal(first, second)
    same = run_ranks(start_apart, 2, True)
    want = nn.utils.parameters_to_vector(small_model(0).parameters())
    assert all(torch.equal(found, want) for found in same)


def test_all_ranks_together_see_the_rows_of_the_batch_whatever_their_number():
    """A run that goes on with another world size sees what it would have seen."""
    batch = batch_of(3)
    for n in (1, 2, 3, 5, 8):
        pieces = [rows_of_rank(batch, rank, n) for rank in range(n)]
        for k in range(2):
            assert torch.equal(torch.cat([piece[k] for piece in pieces]), batch[k])
    with pytest.raises(ValueError, match="some without any"):
        rows_of_rank(batch, 0, 9)
    with pytest.raises(ValueError, match="count from 0"):
        rows_of_rank(batch, 2, 2)


# buckets


def bucketed(bucket_bytes, n_micro, forget=None):
    model, n = small_model(), dist.get_world_size()
    buckets = Buckets(model, bucket_bytes)
    mine = rows_of_rank(batch_of(0), dist.get_rank(), n)
    pieces = list(zip(*(tensor.chunk(n_micro) for tensor in mine), strict=True))
    with traffic() as operations:
        for k, piece in enumerate(pieces):
            buckets.is_local = k < n_micro - 1 if forget is None else forget == "the end"
            loss = functional.cross_entropy(
                model(piece[0]).flatten(0, 1),
                piece[1].flatten(),
                ignore_index=IGNORE_INDEX,
                reduction="sum",
            )
            loss.backward()
        buckets.finish(float((batch_of(0)[1] != IGNORE_INDEX).sum()))
    return gradient_of(model), len(buckets.buckets), buckets.events, operations


@pytest.mark.parametrize("bucket_bytes, n_micro", ((1, 1), (4000, 1), (4000, 2), (1 << 30, 1)))
def test_buckets_give_the_same_gradient_and_send_it_once(bucket_bytes, n_micro):
    want = run_ranks(one_step, 2, 1, None)[0][2]
    for gradient, n_buckets, events, operations in run_ranks(bucketed, 2, bucket_bytes, n_micro):
        assert (gradient - want).abs().max() < 1e-6
        assert len(operations) == n_buckets
        assert sum(o.n_bytes for o in operations) == gradient.numel() * 4
        share = sent_before_the_end(events)
        assert (share == 0) == (n_buckets == 1)


def test_a_forgotten_no_sync_sends_too_early_and_one_too_long_is_refused():
    with pytest.raises(RankError, match="was the last micro-batch of the step local"):
        run_ranks(bucketed, 2, 4000, 2, "the end", show=False)
    want = run_ranks(one_step, 2, 1, None)[0][2]
    for gradient, _, _, operations in run_ranks(bucketed, 2, 1 << 30, 1, "nothing"):
        assert (gradient - want).abs().max() < 1e-6
        assert len(operations) == 1
