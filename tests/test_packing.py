"""Rows of packed documents: every token is a target once, positions restart with each document."""

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
