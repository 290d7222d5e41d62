"""The key-value cache: the same logits as without it, padding, and running out of room."""

import pytest
import torch

from tests.test_decoder import decoder, every_variant, ids
from utils.model.cache import KVCache, update_cache

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def in_pieces(model, token_ids, sizes, capacity=None):
    cache = KVCache(model.config, len(token_ids), capacity or token_ids.shape[1])
    return torch.cat([model(piece, cache) for piece in token_ids.split(sizes, dim=1)], dim=1)


@every_variant
@pytest.mark.parametrize("sizes", [[1] * 9, [4, 1, 1, 3], [9], [3, 6]])
def test_cached_logits_equal_uncached(config, sizes):
    model = decoder(config)
    with torch.inference_mode():
        got = in_pieces(model, ids(), sizes)
        torch.testing.assert_close(got, model(ids()), **TOLERANCE)


def test_a_cache_with_room_to_spare_changes_nothing():
    model = decoder()
    with torch.inference_mode():
        got = in_pieces(model, ids(), [4, 1, 4], capacity=20)
        torch.testing.assert_close(got, model(ids()), **TOLERANCE)


@every_variant
def test_left_padded_rows_equal_single_rows(config):
    model = decoder(config)
    rows = [ids(1, 9)[0], ids(1, 5, seed=1)[0]]
    token_ids = torch.stack([rows[0], torch.cat([torch.zeros(4, dtype=torch.int64), rows[1]])])
    keep = torch.ones(2, 9, dtype=torch.bool)
    keep[1, :4] = False
    positions = (keep.cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        whole = model(token_ids, positions=positions, attention_mask=keep)
        cache = KVCache(config, 2, 9)
        pieces = []
        for start, stop in ((0, 6), (6, 7), (7, 9)):
            part = slice(start, stop)
            mask = keep[:, :stop]
            pieces.append(model(token_ids[:, part], cache, positions[:, part], mask))
        assert whole.isfinite().all()  # padding sees itself
        for logits in (whole, torch.cat(pieces, dim=1)):
            torch.testing.assert_close(logits[0], model(rows[0][None])[0], **TOLERANCE)
            torch.testing.assert_close(logits[1, 4:], model(rows[1][None])[0], **TOLERANCE)


def test_too_many_tokens_for_the_cache_is_an_error_before_any_work():
    model = decoder()
    cache = KVCache(model.config, 2, 6)
    model(ids(2, 4), cache)
    keys, length = cache.keys.clone(), cache.length
    calls = []
    model.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(ValueError, match="4 of 6 tokens and 3 more do not fit"):
        model(ids(2, 3), cache)
    assert not calls and cache.length == length and torch.equal(cache.keys, keys)
    model(ids(2, 2), cache)  # exactly full
    assert cache.length == 6


def test_another_batch_size_than_the_cache_is_an_error():
    model = decoder()
    cache = KVCache(model.config, 2, 6)
    with pytest.raises(ValueError, match="2 rows.*3"):
        model(ids(3, 2), cache)
    assert cache.length == 0


def test_a_cache_longer_than_the_context_is_refused():
    with pytest.raises(ValueError, match="21 tokens is longer than the context of 20"):
        KVCache(decoder().config, 1, 21)


def test_memory_is_what_the_formula_says():
    cache = KVCache(decoder().config, batch_size=2, capacity=10)
    assert (cache.length, cache.capacity) == (0, 10)
    assert cache.n_bytes == 2 * 3 * 2 * 4 * 10 * 4 * 4  # k and v, L, B, heads, S, K, bytes


def test_update_appends_and_returns_all_so_far():
    cache = KVCache(decoder().config, batch_size=1, capacity=5)
    first, second = torch.randn(1, 4, 3, 4), torch.randn(1, 4, 1, 4)
    cache.update(1, first, -first)
    cache.length = 3
    k, v = cache.update(1, second, -second)
    want = torch.cat([first, second], dim=2)
    assert torch.equal(k, want) and torch.equal(v, -want)


def test_update_cache_writes_in_place_and_refuses_what_does_not_fit():
    keys, values = torch.zeros(2, 3, 5, 4), torch.zeros(2, 3, 5, 4)
    new = torch.randn(2, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    all_keys, all_values = update_cache(keys, values, new, -new, length=2)
    assert all_keys.shape == (2, 3, 4, 4)
    assert all_keys.data_ptr() == keys.data_ptr() and all_values.data_ptr() == values.data_ptr()
    assert torch.equal(keys[:, :, 2:4], new) and torch.equal(values[:, :, 2:4], -new)
    assert not keys[:, :, :2].any() and not keys[:, :, 4:].any()
    before = keys.clone()
    with pytest.raises(ValueError, match="do not fit"):
        update_cache(keys, values, new, new, length=4)
    assert torch.equal(keys, before)
