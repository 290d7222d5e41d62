"""Model parallel: schedules, stages and cut matrices against one process and torch's own."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.parallel.checkpointing import (
    SavedBytes,
    checkpoint_block,
    checkpointed,
    decoder_logits,
    kept_bytes,
)
from utils.parallel.hybrid import Hybrid
from utils.parallel.mesh import coordinates, group_members, make_groups, seed_of
from utils.parallel.pipeline import (
    cut_batch,
    cut_decoder,
    layers_of,
    run_schedule,
    run_stage,
    sum_tied,
)
from utils.parallel.processes import RankError, run_ranks
from utils.parallel.schedules import (
    PipelineDeadlock,
    bubble_fraction,
    ideal_bubble,
    most_alive,
    replay,
    schedule_1f1b,
    schedule_gpipe,
    schedule_interleaved,
    schedule_of,
)
from utils.parallel.tensor_parallel import (
    check_divides,
    column_parallel_linear,
    replicated,
    row_parallel_linear,
    shard,
    split_decoder,
    sum_replicated,
)
from utils.parallel.vocabulary import vocab_parallel_cross_entropy
from utils.parallel.wire import traffic
from utils.train.losses import cross_entropy

SHAPE = TransformerConfig(
    vocab_size=64, context_length=16, d_model=32, n_layers=4, n_heads=4, n_kv_heads=2
)


def example(shape=SHAPE, n_rows=8):
    torch.manual_seed(0)
    model = Decoder(shape)
    source = torch.Generator().manual_seed(1)
    ids = torch.randint(0, shape.vocab_size, (n_rows, 17), generator=source)
    targets = ids[:, 1:].clone()
    targets[n_rows // 2, :9] = -100  # counts differ between micro-batches
    return model, ids[:, :-1].contiguous(), targets


def whole_gradients(model, ids, targets):
    model.zero_grad()
    loss = cross_entropy(model(ids), targets)
    loss.backward()
    return loss.item(), {name: w.grad.clone() for name, w in model.named_parameters()}


def weights_of(model):
    return {name: w.detach().clone() for name, w in model.named_parameters()}


# Schedules


@pytest.mark.parametrize("name", ["GPipe", "1F1B", "interleaved"])
@pytest.mark.parametrize("n_ranks", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("n_micro_batches", [1, 2, 3, 8, 16])
def test_replay_has_the_formulas_bubble(name, n_ranks, n_micro_batches):
    v = 3 if name == "interleaved" else 1
    if v > 1 and n_micro_batches % n_ranks:
        with pytest.raises(ValueError, match="groups"):
            schedule_of(name, n_ranks, n_micro_batches, v)
        return
    schedule = schedule_of(name, n_ranks, n_micro_batches, v)
    wanted = ideal_bubble(n_ranks, n_micro_batches, v)
    for lengths in ((1, 2), (1, 1), (0.3, 0.7)):
        assert bubble_fraction(replay(schedule, *lengths)) == pytest.approx(wanted)
    for rank, order in enumerate(schedule):
        stages = range(rank, v * n_ranks, n_ranks)
        each = {(k, s, m) for k in "FB" for s in stages for m in range(n_micro_batches)}
        assert set(order) == each and len(order) == len(each)


def test_1f1b_holds_as_many_micro_batches_as_stages_behind():
    assert [most_alive(order) for order in schedule_1f1b(4, 9)] == [4, 3, 2, 1]
    assert [most_alive(order) for order in schedule_1f1b(4, 2)] == [2, 2, 2, 1]
    assert [most_alive(order) for order in schedule_gpipe(4, 9)] == [9] * 4


def torchs_order(p, m, rank):
    """Return the order in which torch runs two chunks on a rank, or None where it hides it."""
    schedules = pytest.importorskip("torch.distributed.pipelining.schedules")
    if not hasattr(schedules, "_get_1f1b_rank_ops"):
        return None
    n_warm = min(2 * (p - 1 - rank) + p, 2 * m)

    def forward_stage(k):
        return k % (2 * p) // p * p + rank

    def backward_stage(k):
        return (1 - (k - n_warm) % (2 * p) // p) * p + rank

    counts = (n_warm, 2 * m - n_warm, n_warm)
    found = schedules._get_1f1b_rank_ops(2, p, *counts, rank, forward_stage, backward_stage)
    kinds = {"FORWARD": "F", "FULL_BACKWARD": "B", "BACKWARD": "B"}
    return [
        (kinds[action.computation_type.name], action.stage_index, action.microbatch_index)
        for action in found
        if action is not None
    ]


@pytest.mark.parametrize("p, m", [(2, 4), (4, 8)])
def test_torch_interleaves_in_the_same_order(p, m):
    for rank, ours in enumerate(schedule_interleaved(p, m, 2)):
        theirs = torchs_order(p, m, rank)
        if theirs is None:
            pytest.skip("this torch does not show its orders")
        assert theirs == ours


def test_an_order_that_can_not_go_on_is_named():
    wrong = [[("F", 0, 0), ("B", 0, 0), ("F", 0, 1)], [("F", 1, 0), ("F", 1, 1), ("B", 1, 0)]]
    with pytest.raises(PipelineDeadlock, match="rank 0 before B0 of stage 0 for B0 of stage 1"):
        replay(wrong)


# Pipelines in ranks


def pipelined(name, n_ranks, n_micro_batches, n_chunks):
    model, ids, targets = example(n_rows=7)
    rank = dist.get_rank()
    schedule = schedule_of(name, n_ranks, n_micro_batches, n_chunks)
    n_stages = 1 + max(stage for order in schedule for _, stage, _ in order)
    parts = {
        s: cut_decoder(copy.deepcopy(model), s, n_stages) for s in {s for _, s, _ in schedule[rank]}
    }
    stages = {s: lambda x, part=part: run_stage(part, x, 16) for s, part in parts.items()}
    loss, events = run_schedule(schedule, stages, ids, targets, 32)
    first, last = parts.get(0), parts.get(n_stages - 1)
    table = first.embedding.weight if first else last.unembedding.weight if last else None
    sum_tied(table, n_ranks)
    gradients = {}
    for s, part in parts.items():
        for key, w in part.named_parameters():
            if key.startswith("blocks."):
                _, k, rest = key.split(".", 2)
                key = f"blocks.{layers_of(s, n_stages, 4)[int(k)]}.{rest}"
            gradients["embedding.weight" if key == "unembedding.weight" else key] = w.grad
    return loss, events, gradients


@pytest.mark.parametrize(
    "name, n_ranks, n_micro_batches, n_chunks",
    [
        ("GPipe", 2, 3, 1),  # the last micro-batch is smaller
        ("1F1B", 3, 7, 1),  # blocks do not divide by stages
        ("1F1B", 4, 2, 1),  # fewer micro-batches than stages
        ("interleaved", 2, 4, 2),
    ],
)
def test_a_pipeline_gives_loss_and_gradients_of_one_process(
    name, n_ranks, n_micro_batches, n_chunks
):
    model, ids, targets = example(n_rows=7)
    loss, wanted = whole_gradients(model, ids, targets)
    replies = run_ranks(pipelined, n_ranks, name, n_ranks, n_micro_batches, n_chunks)
    assert sum(reply[0] for reply in replies) == pytest.approx(loss, abs=1e-5)
    seen = set()
    for _, _, gradients in replies:
        for key, gradient in gradients.items():
            assert (gradient - wanted[key]).abs().max() < 1e-6, key
            seen.add(key)
    assert seen == set(wanted)
    order = [[event[:3] for event in events] for _, events, _ in replies]
    assert order == schedule_of(name, n_ranks, n_micro_batches, n_chunks)


def test_what_does_not_fit_a_pipeline_is_said():
    with pytest.raises(ValueError, match="5 stages can't share 4 blocks"):
        layers_of(0, 5, 4)
    with pytest.raises(ValueError, match="no stage 2 of 2"):
        layers_of(2, 2, 4)
    with pytest.raises(ValueError, match="3 rows"):
        cut_batch(3, 4)
    assert [r.stop - r.start for r in cut_batch(8, 3)] == [3, 3, 2]


# Checkpointing


def test_checkpointed_decoders_give_the_same_bits_and_keep_what_is_predicted():
    model, ids, targets = example()
    found = {}
    for n in (0, 2, 4):
        model.zero_grad()
        with SavedBytes(model) as saved:
            loss = cross_entropy(decoder_logits(model, ids, lambda k, n=n: k < n), targets)
        assert saved.now == pytest.approx(kept_bytes(SHAPE, ids.numel(), n), rel=0.02)
        loss.backward()
        found[n] = [w.grad.clone() for w in model.parameters()]
    for n in (2, 4):
        assert all(torch.equal(a, b) for a, b in zip(found[0], found[n], strict=True))


@pytest.mark.parametrize("x_learns", [True, False])
def test_checkpoints_with_dropout_equal_torchs(x_learns):
    torch.manual_seed(3)
    block = nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.GELU(), nn.Linear(32, 8))
    x = torch.randn(5, 8, requires_grad=x_learns)
    results = []
    for run in (
        lambda: torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False),
        lambda: checkpointed(block, x),
        lambda: block(x),
    ):
        torch.manual_seed(7)
        block.zero_grad()
        x.grad = None
        y = run()
        after = torch.get_rng_state()
        (y**2).sum().backward()
        assert torch.equal(after, torch.get_rng_state())  # later draws are not moved
        gradients = [w.grad.clone() for w in block.parameters()]
        results.append([y.detach(), *gradients, *([x.grad.clone()] if x_learns else [])])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_checkpoints_of_nothing_that_learns_run_once():
    calls = []
    checkpoint_block(torch.ones(2), block=lambda x: calls.append(1) or x * 2)
    assert calls == [1]


# Tensor parallel


def tensor_parallel(sequence_parallel, is_summed=True):
    model, ids, targets = example()
    model = split_decoder(model, None, sequence_parallel)
    with traffic() as operations:
        loss = vocab_parallel_cross_entropy(model(ids), targets)
        loss.backward()
    if sequence_parallel and is_summed:
        sum_replicated(model)
    norms = {name: w.grad for name, w in replicated(model).items()}
    return loss.item(), norms, [o.name for o in operations]


def test_norms_have_whole_gradients_on_every_rank():
    model, ids, targets = example()
    loss, wanted = whole_gradients(model, ids, targets)
    for is_cut in (False, True):
        for found, norms, _ in run_ranks(tensor_parallel, 2, is_cut):
            assert found == pytest.approx(loss, abs=1e-5)
            for name, gradient in norms.items():
                assert (gradient - wanted[name]).abs().max() < 1e-6
    (_, first, _), (_, second, _) = run_ranks(tensor_parallel, 2, True, False)
    assert any((first[name] - second[name]).abs().max() > 1e-4 for name in first)  # control


def test_sequence_parallel_puts_two_halves_in_place_of_each_all_reduce():
    plain = run_ranks(tensor_parallel, 2, False)[0][2]
    cut = run_ranks(tensor_parallel, 2, True, False)[0][2]
    assert plain.count("all_reduce") == 4 * 4 + 2 + 2  # blocks, embedding and logits, the loss
    assert cut.count("all_reduce") == 2  # the loss
    assert cut.count("reduce_scatter") == cut.count("all_gather") == 4 * 4 + 2


def with_dtensor(x, up, down, targets):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        loss_parallel,
        parallelize_module,
    )

    theirs = nn.Sequential(
        nn.Linear(8, 16, bias=False),
        nn.ReLU(),
        nn.Linear(16, 8, bias=False),
        nn.Linear(8, 16, bias=False),
    )
    with torch.no_grad():
        for k, weight in ((0, up), (2, down), (3, up)):
            theirs[k].weight.copy_(weight)
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    plan["3"] = ColwiseParallel(use_local_output=False)
    parallelize_module(theirs, init_device_mesh("cpu", (2,)), plan)
    ours_x, their_x = (x.clone().requires_grad_() for _ in range(2))
    with loss_parallel():
        their_loss = nn.functional.cross_entropy(theirs(their_x), targets)
        their_loss.backward()
    rank = dist.get_rank()
    mine = shard(up, 2, rank), shard(down, 2, rank, axis=1)
    inner = torch.relu(column_parallel_linear(ours_x, mine[0]))
    logits = column_parallel_linear(row_parallel_linear(inner, mine[1]), mine[0])
    loss = vocab_parallel_cross_entropy(logits, targets)
    loss.backward()
    return loss.item(), their_loss.full_tensor().item(), ours_x.grad, their_x.grad


def test_layers_and_loss_equal_dtensors():
    source = torch.Generator().manual_seed(0)
    x, up, down = (torch.randn(*s, generator=source) for s in ((5, 8), (16, 8), (8, 16)))
    targets = torch.tensor([0, 15, 7, 8, 3])
    for ours, theirs, gradient, their_gradient in run_ranks(with_dtensor, 2, x, up, down, targets):
        assert ours == pytest.approx(theirs, rel=1e-5)
        torch.testing.assert_close(gradient, their_gradient, rtol=1e-4, atol=1e-4)


def test_what_does_not_divide_is_said():
    for n, name in ((3, "n_heads 4"), (4, "n_kv_heads 2")):
        with pytest.raises(ValueError, match=name):
            check_divides(SHAPE, n)
    with pytest.raises(ValueError, match="an axis of 5"):
        shard(torch.ones(5), 2, 0)


def in_other_order():
    groups = [dist.new_group([0, 1]) for _ in range(2)]
    for group in groups if dist.get_rank() == 0 else reversed(groups):
        dist.all_reduce(torch.ones(2), group=group)


def test_collectives_in_another_order_are_found_and_named():
    with pytest.raises(RankError, match="rank 0 at line .* in_other_order.*rank 1 at line"):
        run_ranks(in_other_order, 2)


# Meshes


def test_torch_lays_out_a_mesh_the_same_way():
    for sizes in ((2, 2, 2), (4, 1, 2), (1, 3, 2)):
        theirs = torch.arange(sizes[0] * sizes[1] * sizes[2]).view(sizes)
        for rank in range(theirs.numel()):
            assert theirs[coordinates(rank, sizes)] == rank
        for axis, name in enumerate(("pp", "dp", "tp")):
            rows = theirs.movedim(axis, -1).reshape(-1, sizes[axis]).tolist()
            assert sorted(group_members(sizes, name)) == sorted(rows)
    with pytest.raises(ValueError, match="no rank 8"):
        coordinates(8, (2, 2, 2))


def wrong_mesh():
    make_groups((2, 2, 2))


def test_a_mesh_of_another_size_is_refused_by_the_rank_that_saw_it():
    with pytest.raises(RankError, match="needs 8 ranks, there are 2"):
        run_ranks(wrong_mesh, 2)


def test_ranks_draw_alike_what_is_whole_and_apart_what_is_cut():
    places = [coordinates(rank, (2, 2, 4)) for rank in range(16)]
    assert len({seed_of(5, place, True) for place in places}) == 16
    assert len({seed_of(5, place, False) for place in places}) == 4
    both = {seed_of(5, p, True) for p in places} & {seed_of(5, p, False) for p in places}
    assert not both


def on_mesh(sizes, sequence_parallel):
    model, ids, targets = example()
    loss, wanted = whole_gradients(model, ids, targets)
    hybrid = Hybrid(SHAPE, weights_of(model), sizes, sequence_parallel)
    return hybrid.step(ids, targets, 3) - loss, hybrid.worst_gradient(wanted)


@pytest.mark.parametrize(
    "sizes, is_cut", [((1, 1, 2), True), ((2, 1, 2), False), ((1, 2, 2), True), ((2, 2, 2), True)]
)
def test_meshes_give_loss_and_gradients_of_one_process(sizes, is_cut):
    replies = run_ranks(on_mesh, sizes[0] * sizes[1] * sizes[2], sizes, is_cut)
    assert max(abs(off) for off, _ in replies) < 1e-5
    assert max(worst for _, worst in replies) < 1e-6


def test_megatron_names_its_settings_as_the_lecture_says():
    transformer = pytest.importorskip(
        "megatron.core.transformer", reason="Megatron-Core is not installed"
    )
    known = set(transformer.TransformerConfig.__dataclass_fields__)
    assert {
        *("tensor_model_parallel_size", "pipeline_model_parallel_size", "sequence_parallel"),
        *("virtual_pipeline_model_parallel_size", "recompute_granularity", "recompute_num_layers"),
    } <= known
    settings = {"num_layers": 4, "hidden_size": 32, "num_attention_heads": 4}
    with pytest.raises((ValueError, AssertionError)):  # heads that the ranks do not divide
        transformer.TransformerConfig(**settings, tensor_model_parallel_size=3)


def feed_forward_beside_megatron():
    """Return how far Megatron-Core's two layers are from ours: outputs, then three gradients.

    It asks CUDA for the current device, which is the processor here; nothing else is pretended.
    """
    torch.cuda.current_device = lambda: torch.device("cpu")
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
    from megatron.core.transformer import TransformerConfig as MegatronConfig

    rank, n_ranks = dist.get_rank(), dist.get_world_size()
    parallel_state.initialize_model_parallel(tensor_model_parallel_size=n_ranks)
    config = MegatronConfig(
        num_layers=1,
        hidden_size=8,
        num_attention_heads=4,
        tensor_model_parallel_size=n_ranks,
        use_cpu_initialization=True,
        gradient_accumulation_fusion=False,
    )
    shared = {"config": config, "init_method": nn.init.zeros_, "bias": False}
    up = ColumnParallelLinear(8, 12, gather_output=False, **shared)
    down = RowParallelLinear(12, 8, input_is_parallel=True, skip_bias_add=True, **shared)
    torch.manual_seed(0)
    x, w_up, w_down, towards = (torch.randn(*size) for size in ((5, 8), (12, 8), (8, 12), (5, 8)))
    mine = [x, shard(w_up, n_ranks, rank), shard(w_down, n_ranks, rank, axis=1)]
    mine = [part.clone().requires_grad_() for part in mine]
    with torch.no_grad():
        up.weight.copy_(mine[1])
        down.weight.copy_(mine[2])
    their_x = x.clone().requires_grad_()
    theirs = down(up(their_x)[0].relu())[0]
    ours = row_parallel_linear(column_parallel_linear(*mine[:2]).relu(), mine[2])
    for out in (ours, theirs):
        out.backward(towards)
    pairs = [(ours, theirs), (mine[0].grad, their_x.grad)]
    pairs += [(mine[1].grad, up.weight.grad), (mine[2].grad, down.weight.grad)]
    assert all(bool(ours.any()) for ours, _ in pairs)
    return [(ours - theirs).abs().max().item() for ours, theirs in pairs]


@pytest.mark.slow
def test_megatrons_own_layers_give_our_outputs_and_gradients():
    pytest.importorskip("megatron.core", reason="Megatron-Core is not installed")
    for off in run_ranks(feed_forward_beside_megatron, 2, seconds=300, show=False):
        assert max(off) < 1e-5, off
