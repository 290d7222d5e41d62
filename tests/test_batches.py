"""Batches: targets are the next tokens, a batch depends on seed and step alone, bad input."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.tokens.batches import (
    IGNORE_INDEX,
    block_batches,
    pack_documents,
    shift_targets,
    supervised_batches,
)
from utils.train import losses

PAD = 99
FIRST_EPOCH = [[800, 380], [250, 910], [470, 750]]


def test_there_is_one_ignore_index():
    assert IGNORE_INDEX == losses.IGNORE_INDEX == torch.nn.CrossEntropyLoss().ignore_index


def test_targets_are_the_next_tokens():
    batch = shift_targets(torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]))
    assert batch.token_ids.tolist() == [[1, 2, 3], [5, 6, 7]]
    assert batch.targets.tolist() == [[2, 3, 4], [6, 7, 8]]


def test_the_mask_belongs_to_the_token_that_is_predicted():
    ids = torch.tensor([1, 2, 3, 4])
    mask = torch.tensor([True, False, True, True])
    assert shift_targets(ids, mask).targets.tolist() == [IGNORE_INDEX, 3, 4]
    assert ids.tolist() == [1, 2, 3, 4]


@given(
    st.integers(1, 4), st.integers(1, 7), st.integers(0, 60), st.integers(0, 3), st.integers(0, 9)
)
@settings(max_examples=100, deadline=None)
def test_blocks_are_runs_of_the_stream(batch_size, context_length, extra, seed, step):
    stream = torch.arange((batch_size + 1) * context_length + extra)
    batches = block_batches(stream, batch_size, context_length, seed)
    ids, targets = batches(step)
    assert ids.shape == targets.shape == (batch_size, context_length)
    assert ids.dtype == targets.dtype == torch.int64
    assert (targets == ids + 1).all()  # the stream counts up: the next token is one more
    assert (ids.diff() == 1).all()
    assert ids.flatten().unique().numel() == ids.numel()  # no token twice in a batch


def targets_of(stream, batch_size, context_length, n_epochs, seed):
    """Return every target of some epochs of a stream that counts up."""
    batches = block_batches(stream, batch_size, context_length, seed)
    steps_per_epoch = (len(stream) - context_length) // context_length // batch_size
    seen = [batches(step).targets.flatten() for step in range(n_epochs * steps_per_epoch)]
    return set(torch.cat(seen).tolist())


@given(st.integers(1, 4), st.integers(1, 7), st.integers(0, 60), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_every_token_but_the_first_becomes_a_target(batch_size, context_length, extra, seed):
    stream = torch.arange((batch_size + 1) * context_length + extra)
    # Half of the blocks at least are used in an epoch: forty chances leave one in 1e12 out.
    seen = targets_of(stream, batch_size, context_length, 4 * max(40, context_length), seed)
    assert seen == set(range(1, len(stream)))


@pytest.mark.parametrize("batch_size", [1, 2, 4, 6])
def test_both_ends_of_a_stream_are_read_within_a_few_epochs(batch_size):
    # 1,000 tokens, context 128: tokens 896 to 999 were never targets, whatever the epoch.
    for seed in range(5):
        assert targets_of(torch.arange(1000), batch_size, 128, 40, seed) == set(range(1, 1000))


def test_the_first_epoch_is_the_one_of_the_shipped_models():
    # Written down once: the base model and the sweep read less than one epoch, and are rebuilt to
    # the bit only while its batches stay what they were.
    batches = block_batches(torch.arange(1000), 2, 10, seed=3)
    starts = [batches(step).token_ids[:, 0].tolist() for step in (0, 1, 48)]
    assert starts == FIRST_EPOCH


def test_facts_differ_where_batches_do():
    stream, rows = torch.arange(500), [([1, 2], [False, True]), ([3, 4], [False, True])]
    other = torch.cat([stream[:-1], torch.tensor([7])])
    made = [
        block_batches(stream, 2, 8),
        block_batches(stream, 3, 8),
        block_batches(stream, 2, 9),
        block_batches(stream, 2, 8, seed=1),
        block_batches(other, 2, 8),
        supervised_batches(rows, 1, 4, PAD),
        supervised_batches(rows[::-1], 1, 4, PAD),
    ]
    facts = [batches.facts() for batches in made]
    assert all(a != b for a, b in combinations(facts, 2))
    assert block_batches(stream.clone(), 2, 8).facts() == facts[0]


def test_an_epoch_shows_each_block_once_and_the_next_shuffles_anew():
    stream = torch.arange(1000)
    batches = block_batches(stream, 4, 10, seed=1)
    steps_per_epoch = 99 // 4
    epochs = [
        torch.cat(
            [batches(e * steps_per_epoch + s).token_ids[:, 0] for s in range(steps_per_epoch)]
        )
        for e in range(3)
    ]
    for starts in epochs:
        assert starts.unique().numel() == len(starts)
        assert (starts % 10).unique().numel() == 1
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])
    assert len({int(starts[0] % 10) for starts in epochs}) > 1  # borders fall elsewhere


def test_a_batch_depends_on_seed_and_step_alone():
    stream = torch.arange(500)
    forward = [block_batches(stream, 2, 8, seed=3)(step) for step in range(40)]
    again = block_batches(stream, 2, 8, seed=3)
    torch.manual_seed(5)
    for step in (17, 3, 39, 0):
        assert torch.equal(again(step).token_ids, forward[step].token_ids)
    other = block_batches(stream, 2, 8, seed=4)
    assert not all(torch.equal(other(s).token_ids, forward[s].token_ids) for s in range(5))


def test_changing_a_batch_leaves_the_stream_alone():
    stream = torch.arange(50)
    batches = block_batches(stream, 2, 4)
    batches(0).token_ids.fill_(-1)
    assert torch.equal(stream, torch.arange(50))


@pytest.mark.parametrize(
    "stream, batch_size, words",
    [
        (torch.arange(0), 1, "a stream of 0 tokens is too short"),
        (torch.arange(8), 1, "a stream of 8 tokens is too short"),
        (torch.arange(80), 0, "at least 1, got 0"),
        (torch.zeros(80), 1, "int64"),
        (torch.zeros(4, 20, dtype=torch.int64), 1, "one row"),
    ],
)
def test_a_stream_that_gives_no_batch_is_refused(stream, batch_size, words):
    with pytest.raises(ValueError, match=words):
        block_batches(stream, batch_size, 8)


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="step must be 0 or more, got -1"):
        block_batches(torch.arange(50), 2, 4)(-1)


def test_documents_are_closed_by_the_end_token():
    assert pack_documents([[1, 2], [], [3]], end_id=0).tolist() == [1, 2, 0, 0, 3, 0]
    with pytest.raises(ValueError, match="documents is empty"):
        pack_documents([], end_id=0)


@st.composite
def examples(draw):
    rows = draw(
        st.lists(st.lists(st.integers(0, 50), min_size=2, max_size=9), min_size=2, max_size=7)
    )
    return [(row, [False, True, *draw_mask(draw, len(row) - 2)]) for row in rows]


def draw_mask(draw, n):
    return draw(st.lists(st.booleans(), min_size=n, max_size=n))


@given(examples(), st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_responses_alone_are_targets(rows, step):
    batch = supervised_batches(rows, 2, 8, PAD, seed=1)(step)
    remaining = [(ids, mask) for ids, mask in rows]
    for ids, targets in zip(batch.token_ids.tolist(), batch.targets.tolist(), strict=True):
        want = next((ids_, m) for ids_, m in remaining if fits(ids, targets, ids_, m))
        remaining.remove(want)


def fits(ids, targets, row, mask):
    """Whether a row of a batch is this example, padded, with the mask's targets."""
    n = len(row) - 1
    scored = [t if m else IGNORE_INDEX for t, m in zip(row[1:], mask[1:], strict=True)]
    padded = row[:-1] if len(ids) == n else [*row, *[PAD] * (len(ids) - n - 1)]
    return ids == padded and targets == scored + [IGNORE_INDEX] * (len(ids) - n)


def test_each_example_comes_once_an_epoch():
    rows = [([i, 50 + i], [False, True]) for i in range(6)]
    batches = supervised_batches(rows, 2, 4, PAD, seed=2)
    orders = [
        [int(i) for s in range(3) for i in batches(3 * e + s).token_ids[:, 0]] for e in (0, 1)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(6))
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    "rows, words",
    [
        ([], "number of examples"),
        ([([1, 2], [False, True])], "number of examples"),
        ([([1, 2], [False, True]), ([1] * 6, [True] * 6)], "example 1 has 6 tokens, more than"),
        ([([1, 2], [False, True]), ([1, 2], [True, False])], "example 1 has no response"),
        ([([1, 2], [False, True]), ([1, 2], [True])], "example 1: 2 ids and 1 mask"),
    ],
)
def test_examples_that_teach_nothing_are_refused(rows, words):
    with pytest.raises(ValueError, match=words):
        supervised_batches(rows, 2, 4, PAD)


def test_the_longest_example_that_fits_is_taken():
    rows = [([1, 2, 3, 4, 5], [True] * 5)]
    assert supervised_batches(rows, 1, 4, PAD)(0).targets.tolist() == [[2, 3, 4, 5]]
