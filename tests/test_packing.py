"""Rows of packed documents: every token is a target once, positions restart with each document."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.tokens.batches import pack_documents
from utils.tokens.packing import pack_sequences

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
