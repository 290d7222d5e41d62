"""What holds for every exercise of the model: each dtype that its docstring allows, gradients,
a batch of one and of more, and arguments that stay as they were."""

import pytest
import torch

from utils.model.accounting import count_flops, count_parameters
from utils.model.attention import (
    attention_weights,
    causal_mask,
    multi_head_attention,
    scaled_dot_product_attention,
    streaming_attention,
)
from utils.model.block import decoder_block
from utils.model.experts import route_top_k
from utils.model.feedforward import swiglu
from utils.model.norm import rms_norm
from utils.model.rotary import apply_rope, rope_table

B, T, D, H, KV, K, F = 3, 5, 16, 4, 2, 4, 24


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def heads():
    weights = (draw(H * K, D), draw(KV * K, D, seed=1), draw(KV * K, D, seed=2), draw(D, H * K))
    return tuple(weight / D**0.5 for weight in weights)


def blocks(x, *weights):
    cos, sin = rope_table(T, K)
    return decoder_block(x, *weights, H, KV, cos, sin)


# name -> (function, its tensors in float64, whether the first has a row per text)
CASES = {
    "rms_norm": (rms_norm, (draw(B, T, D), draw(D)), True),
    "swiglu": (swiglu, (draw(B, T, D), draw(F, D) / 4, draw(F, D) / 4, draw(D, F) / 5), True),
    "apply_rope": (lambda x: apply_rope(x, *rope_table(T, K)), (draw(B, T, K),), True),
    "attention_weights": (
        lambda q, k: attention_weights(q, k, causal_mask(T)),
        (draw(T, K), draw(T, K, seed=1)),
        False,
    ),
    "scaled_dot_product_attention": (
        lambda q, k, v: scaled_dot_product_attention(q, k, v, causal_mask(T)),
        (draw(T, K), draw(T, K, seed=1), draw(T, 3)),
        False,
    ),
    "streaming_attention": (
        lambda q, k, v: streaming_attention(q, k, v, block_size=2),
        (draw(T, K), draw(T, K, seed=1), draw(T, 3)),
        False,
    ),
    "multi_head_attention": (
        lambda x, *w: multi_head_attention(x, *w, H, KV, *rope_table(T, K)),
        (draw(B, T, D), *heads()),
        True,
    ),
    "decoder_block": (
        blocks,
        (draw(B, T, D), draw(D), *heads(), draw(D, seed=1))
        + (draw(F, D) / 4, draw(F, D, seed=1) / 4, draw(D, F) / 5),
        True,
    ),
    "route_top_k": (lambda logits: route_top_k(logits, 2)[1], (draw(B, T, 6),), True),
}
NAMES = pytest.mark.parametrize("name", CASES)


@NAMES
@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 1e-6), (torch.float32, 1e-5), (torch.bfloat16, 0.15)]
)
def test_the_result_has_the_dtype_of_its_arguments_and_is_right_in_it(name, dtype, tolerance):
    function, tensors, _ = CASES[name]
    got = function(*(tensor.to(dtype) for tensor in tensors))
    assert got.dtype == dtype
    want = function(*tensors)
    torch.testing.assert_close(got.double(), want, atol=tolerance, rtol=tolerance)


@NAMES
def test_gradients_are_those_of_finite_differences(name):
    function, tensors, _ = CASES[name]
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(function, tensors, fast_mode=True)


@NAMES
def test_arguments_stay_as_they_were(name):
    function, tensors, _ = CASES[name]
    copies = [tensor.clone() for tensor in tensors]
    function(*copies)
    assert all(torch.equal(a, b) for a, b in zip(copies, tensors, strict=True))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2]])
def test_a_row_alone_is_the_row_of_a_batch(name):
    function, (x, *others), _ = CASES[name]
    whole = function(x, *others)
    for row in range(B):
        alone = function(x[row : row + 1], *others)
        torch.testing.assert_close(alone, whole[row : row + 1], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("x_dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("gain_dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_rms_norm_answers_in_the_dtype_of_x_whatever_the_gain(x_dtype, gain_dtype):
    x, gain = 300 * draw(B, T, D).to(x_dtype), draw(D).to(gain_dtype)
    got = rms_norm(x, gain)
    assert got.dtype == x_dtype
    want = rms_norm(x.double(), gain.double()).to(x_dtype)  # rounded once
    step = torch.finfo(x_dtype).eps
    torch.testing.assert_close(got.double(), want.double(), atol=2 * step, rtol=2 * step)


def test_counts_beyond_2_to_the_31_are_exact_whole_numbers():
    sizes = dict(vocab_size=10**6 + 3, d_model=2**17 + 1, n_layers=1001, n_heads=129)
    sizes |= dict(n_kv_heads=43, d_head=1023, d_ff=2**19 + 7)
    V, D, L, H, KV, K, F = sizes.values()
    layer = D * H * K + 2 * D * KV * K + H * K * D + 3 * D * F
    n = count_parameters(**sizes, tie_embeddings=False, qk_norm=True)
    assert type(n) is int and n == 2 * V * D + L * (layer + 2 * D + 2 * K) + D
    rows, tokens = 4097, 2**20 + 1
    flops = count_flops(**sizes, batch_size=rows, n_tokens=tokens, is_training=True)
    assert type(flops) is int
    assert flops == 6 * rows * tokens * (L * layer + V * D + 2 * L * H * K * tokens)
