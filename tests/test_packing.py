"""Rows of packed documents: every token is a target once, positions restart with each document."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.tokens.batches import IGNORE_INDEX, pack_documents, shift_targets
from utils.tokens.packing import (
    PADDING,
    document_mask,
    fit_rows,
    pack_examples,
    pack_sequences,
    packed_batches,
)

documents = st.lists(st.lists(st.integers(0, 9), max_size=7), min_size=1, max_size=9)


@settings(deadline=None, max_examples=80)
@given(documents=documents, context_length=st.integers(1, 6))
def test_rows_cover_the_stream_without_gap_or_overlap_of_targets(documents, context_length):
    stream = pack_documents(documents, end_id=99)
    if len(stream) <= context_length:
        with pytest.raises(ValueError, match="do not fill"):
            pack_sequences(documents, context_length, 99)
        return
    token_ids, positions = pack_sequences(documents, context_length, 99)
    n = len(token_ids)
    assert token_ids.shape == positions.shape == (n, context_length + 1)
    assert torch.equal(token_ids[:, 1:].flatten(), stream[1 : n * context_length + 1])
    assert torch.equal(token_ids[:, :-1].flatten(), stream[: n * context_length])
    assert len(stream) - 1 - n * context_length < context_length
    flat = torch.cat([positions[:, :-1].flatten(), positions[-1, -1:]])
    starts = [0] + [i + 1 for i, token in enumerate(stream.tolist()) if token == 99]
    for i, place in enumerate(flat.tolist()):
        assert place == i - max(start for start in starts if start <= i)


def test_one_row_that_just_fits_and_one_token_too_few():
    token_ids, positions = pack_sequences([[1, 2, 3]], 3, 9)
    assert token_ids.tolist() == [[1, 2, 3, 9]] and positions.tolist() == [[0, 1, 2, 3]]
    for documents in ([], [[]], [[1, 2]], [[1], []]):
        with pytest.raises(ValueError, match="do not fill a row of context_length=3"):
            pack_sequences(documents, 3, 9)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.int64])
def test_ids_from_any_source_become_int64_and_documents_stay(dtype):
    documents = [np.array([1, 2], dtype=dtype), (3,), [70_000], torch.tensor([4, 5])]
    token_ids, positions = pack_sequences(documents, 2, 9)
    assert token_ids.dtype == positions.dtype == torch.int64
    assert token_ids.tolist() == [[1, 2, 9], [9, 3, 9], [9, 70_000, 9], [9, 4, 5]]
    assert documents[0].tolist() == [1, 2] and documents[2] == [70_000]


def an_example(ids):
    """Return ids of 2 tokens or more, the last half of which is the response."""
    return ids, [k >= len(ids) // 2 for k in range(len(ids))]


examples = st.lists(
    st.lists(st.integers(1, 50), min_size=2, max_size=9).map(an_example), min_size=1, max_size=12
)


@settings(deadline=None, max_examples=80)
@given(examples=examples, spare=st.integers(0, 9))
def test_each_example_stands_in_one_row_whole_and_once(examples, spare):
    context_length = max(len(ids) for ids, _ in examples) - 1 + spare
    rows = pack_examples(examples, context_length, pad_id=0)
    assert {part.dtype for part in rows} == {torch.int64}
    assert {tuple(part.shape) for part in rows} == {(len(rows.token_ids), context_length)}
    found = []
    for ids, targets, positions, documents in zip(*rows, strict=True):
        for document in range(int(documents.max()) + 1):
            places = (documents == document).nonzero().flatten()
            assert torch.equal(places, torch.arange(len(places)) + places[0])  # side by side
            assert torch.equal(positions[places], torch.arange(len(places)))
            found.append((ids[places].tolist(), targets[places].tolist()))
        padding = documents == PADDING
        assert (ids[padding] == 0).all() and (targets[padding] == IGNORE_INDEX).all()
        assert not padding[0]  # no row is empty
    want = []
    for ids, mask in examples:
        batch = shift_targets(torch.tensor(ids), torch.tensor(mask))
        want.append((batch.token_ids.tolist(), batch.targets.tolist()))
    assert sorted(found) == sorted(want)


@settings(deadline=None, max_examples=80)
@given(lengths=st.lists(st.integers(1, 10), max_size=30), spare=st.integers(0, 10))
def test_rows_hold_each_item_once_and_no_two_rows_fit_into_one(lengths, spare):
    row_length = max(lengths, default=1) + spare
    rows = fit_rows(lengths, row_length)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    sums = [sum(lengths[number] for number in row) for row in rows]
    assert all(0 < total <= row_length for total in sums)
    if len(rows) > 1:  # two rows that fit into one would be one
        first, second = sorted(sums)[:2]
        assert first + second > row_length


def test_fewer_rows_than_examples_and_the_fullest_row_first():
    assert fit_rows([6, 4, 5, 5], 10) == [[0, 1], [2, 3]]
    assert fit_rows([5, 4, 1], 6) == [[0, 2], [1]]  # 1 goes where just 1 is left
    assert fit_rows([], 4) == []


def by_hand(documents):
    """Return the mask of one row of document ids, by two loops."""
    T = len(documents)
    return [[j <= i and documents[i] == documents[j] for j in range(T)] for i in range(T)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(-1, 3), min_size=4, max_size=4), min_size=1, max_size=3))
def test_a_token_sees_itself_and_what_came_before_in_its_document(documents):
    mask = document_mask(torch.tensor(documents))
    assert mask.dtype == torch.bool and mask.tolist() == [by_hand(row) for row in documents]
    assert mask.any(-1).all()  # a query without a key would be NaN


GOOD = ([1, 2, 3], [False, True, True])


@pytest.mark.parametrize(
    "wrong, words",
    [
        ([], "examples is empty"),
        ([GOOD, ([1, 2], [True])], "example 1: 2 ids and 1 mask entries"),
        ([GOOD, ([1] * 6, [True] * 6)], "example 1 has 6 tokens, more than the context of 4"),
        ([GOOD, ([1, 2], [True, False])], "example 1 has no response"),
        ([([], [])], "example 0 has no response"),
    ],
)
def test_examples_that_can_not_be_learned_whole_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        pack_examples(wrong, 4, 0)


def test_one_example_and_one_that_just_fits():
    rows = pack_examples([([1, 2, 3, 4, 5], [False] * 3 + [True] * 2)], 4, pad_id=9)
    assert rows.token_ids.tolist() == [[1, 2, 3, 4]] and rows.document_ids.tolist() == [[0] * 4]
    assert rows.targets.tolist() == [[IGNORE_INDEX, IGNORE_INDEX, 4, 5]]


def test_a_batch_is_a_function_of_the_step_and_an_epoch_holds_each_row_once():
    rows = pack_examples([([k, k + 1, k + 2], [True] * 3) for k in range(1, 7)], 2, pad_id=0)
    batches = packed_batches(rows, 2, seed=3)
    epoch = [batches(step).token_ids for step in (2, 0, 1)]
    assert sorted(torch.cat(epoch).tolist()) == sorted(rows.token_ids.tolist())
    again = packed_batches(rows, 2, seed=3)
    assert torch.equal(again(0).document_ids, batches(0).document_ids)
    assert torch.equal(again(1).targets, batches(1).targets)
    orders = [torch.cat([batches(3 * e + s).token_ids for s in range(3)]).tolist() for e in (0, 1)]
    assert orders[0] != orders[1]
    assert batches.facts() == again.facts() != packed_batches(rows, 2, seed=4).facts()
    for size in (0, 7):
        with pytest.raises(ValueError, match=r"batch_size must be from 1 to .* rows \(6\)"):
            packed_batches(rows, size)
