"""Attention: the readable functions and the fused module, against torch's own kernel."""

import pytest
import torch
from torch.nn import functional as F

from utils.model.attention import (
    Attention,
    attention_weights,
    causal_mask,
    multi_head_attention,
    scaled_dot_product_attention,
    streaming_attention,
)
from utils.model.config import TransformerConfig
from utils.model.rotary import rope_table

TOLERANCE = 1e-5


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def qkv(T, S, heads=3, width=8):
    return random(2, heads, T, width), random(2, heads, S, width, seed=1), random(2, heads, S, 5)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_causal_mask_lets_each_token_see_itself_and_the_past(n):
    mask = causal_mask(n)
    assert mask.dtype == torch.bool and mask.shape == (n, n)
    assert all(bool(mask[i, j]) == (j <= i) for i in range(n) for j in range(n))


@pytest.mark.parametrize("T, S", [(1, 1), (5, 5), (1, 13), (7, 13)])
def test_attention_equals_torch(T, S):
    q, k, v = qkv(T, S)
    torch.testing.assert_close(
        scaled_dot_product_attention(q, k, v),
        F.scaled_dot_product_attention(q, k, v),
        atol=TOLERANCE,
        rtol=0,
    )


@pytest.mark.parametrize("T, S", [(5, 5), (7, 13)])
def test_masked_attention_equals_torch(T, S):
    q, k, v = qkv(T, S)
    mask = random(2, 1, T, S, seed=3) > 0
    mask[..., 0] = True  # no query without a key
    torch.testing.assert_close(
        scaled_dot_product_attention(q, k, v, mask),
        F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
        atol=TOLERANCE,
        rtol=0,
    )


def test_large_scores_do_not_overflow():
    q, k, v = qkv(4, 4)
    got = scaled_dot_product_attention(1e4 * q, k, v, causal_mask(4))
    assert got.isfinite().all()


def test_attention_leaves_its_arguments_alone():
    arguments = (*qkv(4, 4), causal_mask(4))
    before = [argument.clone() for argument in arguments]
    scaled_dot_product_attention(*arguments)
    assert all(torch.equal(a, b) for a, b in zip(arguments, before, strict=True))


@pytest.mark.parametrize("attend", [scaled_dot_product_attention, attention_weights])
def test_a_query_that_may_see_nothing_is_refused(attend):
    q, k, v = qkv(3, 3)
    mask = causal_mask(3)
    mask[1] = False
    arguments = (q, k, v) if attend is scaled_dot_product_attention else (q, k)
    with pytest.raises(ValueError, match="hides every key"):
        attend(*arguments, mask)


def test_weights_are_those_that_the_values_are_averaged_with():
    q, k, v = qkv(6, 6)
    weights = attention_weights(q, k, causal_mask(6))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 6))
    assert (weights >= 0).all() and (weights.triu(1) == 0).all()
    attended = scaled_dot_product_attention(q, k, v, causal_mask(6))
    torch.testing.assert_close(weights @ v, attended, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("block_size", [1, 3, 13, 64])
@pytest.mark.parametrize("is_causal", [True, False])
def test_streaming_equals_the_table(block_size, is_causal):
    q, k, v = qkv(13, 13)
    q = 20 * q  # sharp: the running maximum matters
    mask = causal_mask(13) if is_causal else None
    torch.testing.assert_close(
        streaming_attention(q, k, v, block_size, is_causal),
        scaled_dot_product_attention(q, k, v, mask),
        atol=TOLERANCE,
        rtol=0,
    )


def test_streaming_takes_fewer_queries_than_keys():
    q, k, v = qkv(3, 10)
    torch.testing.assert_close(
        streaming_attention(q, k, v, block_size=4, is_causal=False),
        F.scaled_dot_product_attention(q, k, v),
        atol=TOLERANCE,
        rtol=0,
    )


def weights_for(n_heads, n_kv_heads, d_model=12, d_head=4):
    rows = [n_heads, n_kv_heads, n_kv_heads]
    projections = [random(n * d_head, d_model, seed=i) / 3 for i, n in enumerate(rows)]
    return [*projections, random(d_model, n_heads * d_head, seed=9) / 3]


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])  # multi-head, grouped-query, multi-query
@pytest.mark.parametrize("T", [1, 7])
def test_multi_head_attention_equals_torch(n_kv_heads, T):
    x = random(2, T, 12, seed=5)
    w_q, w_k, w_v, w_o = weights_for(4, n_kv_heads)
    q, k, v = (F.linear(x, w).unflatten(-1, (-1, 4)).transpose(1, 2) for w in (w_q, w_k, w_v))
    heads = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(
        multi_head_attention(x, w_q, w_k, w_v, w_o, 4, n_kv_heads),
        F.linear(heads.transpose(1, 2).flatten(2), w_o),
        atol=TOLERANCE,
        rtol=0,
    )


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
@pytest.mark.parametrize("T", [1, 9])
def test_the_fused_module_equals_the_readable_function(n_kv_heads, T):
    config = TransformerConfig(
        vocab_size=5, context_length=16, d_model=12, n_heads=4, d_head=4, n_kv_heads=n_kv_heads
    )
    torch.manual_seed(0)
    module = Attention(config)
    x = random(2, T, 12, seed=5)
    cos, sin = rope_table(T, 4)
    sizes = [16, 4 * n_kv_heads, 4 * n_kv_heads]
    want = multi_head_attention(
        x, *module.qkv.weight.split(sizes), module.output.weight, 4, n_kv_heads, cos, sin
    )
    got = module(x, cos.unsqueeze(1), sin.unsqueeze(1))
    torch.testing.assert_close(got, want, atol=TOLERANCE, rtol=0)


def test_gradients_of_the_fused_module_equal_those_of_the_function():
    config = TransformerConfig(vocab_size=5, context_length=16, d_model=12, n_heads=3, d_head=4)
    torch.manual_seed(0)
    module = Attention(config)
    cos, sin = rope_table(6, 4)
    x = random(2, 6, 12, seed=5).requires_grad_()
    wanted = (x, module.qkv.weight, module.output.weight)
    by_hand = multi_head_attention(
        x, *module.qkv.weight.split([12] * 3), module.output.weight, 3, 3, cos, sin
    )
    fused = module(x, cos.unsqueeze(1), sin.unsqueeze(1))
    signal = random(2, 6, 12, seed=6)
    for a, b in zip(
        torch.autograd.grad((fused * signal).sum(), wanted),
        torch.autograd.grad((by_hand * signal).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=0)


def test_attention_is_exactly_causal():
    x = random(1, 8, 12, seed=5)
    changed = x.clone()
    changed[:, 5:] += 1.0
    weights = weights_for(4, 2)
    before = multi_head_attention(x, *weights, 4, 2)
    after = multi_head_attention(changed, *weights, 4, 2)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5:], after[:, 5:])


def test_without_positions_the_order_of_the_past_does_not_matter():
    x = random(1, 6, 12, seed=5)
    shuffled = x[:, [3, 1, 0, 2, 4, 5]]
    weights = weights_for(4, 4)
    torch.testing.assert_close(
        multi_head_attention(x, *weights, 4, 4)[:, 4:],
        multi_head_attention(shuffled, *weights, 4, 4)[:, 4:],
        atol=TOLERANCE,
        rtol=0,
    )


@pytest.mark.parametrize("T, S", [(3, 10), (10, 3)])
def test_streaming_refuses_a_causal_mask_that_is_no_square(T, S):
    with pytest.raises(ValueError, match=f"{T} queries and {S} keys"):
        streaming_attention(*qkv(T, S))


@pytest.mark.parametrize("block_size", [0, -1])
def test_streaming_refuses_blocks_without_keys(block_size):
    with pytest.raises(ValueError, match="block_size"):
        streaming_attention(*qkv(4, 4), block_size=block_size)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
@pytest.mark.parametrize("attend", [scaled_dot_product_attention, attention_weights])
def test_masks_of_numbers_are_refused(attend, dtype):
    q, k, v = qkv(3, 3)
    arguments = (q, k, v) if attend is scaled_dot_product_attention else (q, k)
    with pytest.raises(ValueError, match="not bool"):
        attend(*arguments, causal_mask(3).to(dtype))
