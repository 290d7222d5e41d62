"""Packed rows through a decoder: each example as if alone, and the leak without the mask."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.tokens.batches import IGNORE_INDEX, shift_targets, supervised_batches
from utils.tokens.packing import PackedRows, pack_examples
from utils.train.packed import packed_logits
from utils.train.sft import sft_loss

SHAPES = [dict(n_kv_heads=4), dict(n_kv_heads=2), dict(n_kv_heads=1, qk_norm=True)]


def a_model(seed=0, **shape):
    """Return a decoder whose attention is not flat: weights ten times as wide as at a start."""
    torch.manual_seed(seed)
    config = TransformerConfig(
        vocab_size=40, context_length=24, d_model=32, n_layers=3, n_heads=4, **shape
    )
    model = Decoder(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5 if weight.dim() > 1 else 1)
    return model


MODELS = [a_model(**shape) for shape in SHAPES]
examples = st.lists(
    st.lists(st.integers(1, 39), min_size=3, max_size=12), min_size=2, max_size=6
).map(lambda rows: [(ids, [k > 0 for k in range(len(ids))]) for ids in rows])


def places_of(rows: PackedRows):
    """Yield row, places and inputs of each example."""
    for row, documents in enumerate(rows.document_ids):
        for document in range(int(documents.max()) + 1):
            places = documents == document
            yield row, places, rows.token_ids[row, places]


@pytest.mark.parametrize("model", MODELS)
@settings(deadline=None, max_examples=25)
@given(examples=examples)
@torch.no_grad()
def test_the_logits_of_a_packed_document_are_those_of_the_document_alone(model, examples):
    rows = pack_examples(examples, 24, pad_id=0)
    logits = packed_logits(model, rows)
    assert logits.isfinite().all()
    for row, places, ids in places_of(rows):
        torch.testing.assert_close(logits[row, places], model(ids[None])[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_positions_that_restart_do_not_isolate_documents():
    """The leak: with a causal mask alone the second example sees the first."""
    first, second = [3, 4, 5, 6, 7], [8, 9, 10, 11]
    examples = [(ids, [True] * len(ids)) for ids in (first, second)]
    rows = pack_examples(examples, 24, pad_id=0)
    alone = MODELS[0](torch.tensor([second[:-1]]))[0]
    place = rows.document_ids[0] == 1
    apart = packed_logits(MODELS[0], rows)[0, place]
    leaking = packed_logits(MODELS[0], rows, is_isolated=False)[0, place]
    assert (apart - alone).abs().max() <= 1e-5
    assert (leaking - alone).abs().max() > 0.1
    # What the first says decides the second's logits, which is what a leak is.
    others = rows._replace(token_ids=rows.token_ids.clone())
    others.token_ids[0, :4] = torch.tensor([20, 21, 22, 23])
    moved = packed_logits(MODELS[0], others, is_isolated=False)[0, place] - leaking
    still = packed_logits(MODELS[0], others)[0, place] - apart
    assert moved.abs().max() > 0.1 and still.abs().max() == 0


@settings(deadline=None, max_examples=15)
@given(examples=examples)
def test_loss_and_gradient_of_packed_rows_are_those_of_padded_examples(examples):
    rows = pack_examples(examples, 24, pad_id=0)
    padded = supervised_batches(examples, len(examples), 24, pad_id=0)(0)
    model, grads = MODELS[1], []
    for logits, targets in (
        (packed_logits(model, rows), rows.targets),
        (model(padded.token_ids), padded.targets),
    ):
        loss = sft_loss(logits, targets)
        grads.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_padding_teaches_nothing_and_a_row_that_is_too_long_is_refused():
    rows = pack_examples([([3, 4, 5], [True] * 3)], 24, pad_id=0)
    other = rows._replace(token_ids=rows.token_ids.where(rows.document_ids >= 0, 17))
    with torch.no_grad():
        losses = [sft_loss(packed_logits(MODELS[0], r), r.targets) for r in (rows, other)]
    assert losses[0] == losses[1]
    assert int((rows.targets != IGNORE_INDEX).sum()) == 2
    assert shift_targets(torch.tensor([3, 4, 5])).targets.tolist() == rows.targets[0, :2].tolist()
    with pytest.raises(ValueError, match="25 tokens exceed the context of 24"):
        packed_logits(MODELS[0], pack_examples([([3, 4, 5], [True] * 3)], 25, pad_id=0))
