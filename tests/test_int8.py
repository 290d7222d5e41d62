"""int8 weights: nearest codes, one scale a row, and a model that hardly notices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.model.decoder import Decoder
from utils.model.int8 import Int8Linear, dequantize_int8, quantize_int8, quantize_model
from utils.runtime import generator
from utils.zoo.load import load_base


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 6), m=st.integers(1, 9), seed=st.integers(0, 999), size=st.integers(-6, 6))
def test_every_weight_is_within_half_a_scale(n, m, seed, size):
    weight = torch.randn(n, m, generator=generator(seed)) * 10.0**size
    codes, scales = quantize_int8(weight)
    assert codes.dtype == torch.int8 and scales.shape == (n, 1)
    gap = (dequantize_int8(codes, scales) - weight).abs()
    assert bool((gap <= 0.5001 * scales).all())
    assert codes.abs().amax(dim=1).tolist() == [127] * n


def test_agreement_with_torchs_quantised_tensors():
    weight = torch.randn(4, 16, generator=generator(0))
    codes, scales = quantize_int8(weight)
    zeros = torch.zeros(4, dtype=torch.int64)
    theirs = torch.fake_quantize_per_channel_affine(
        weight, scales.squeeze(-1), zeros.int(), 0, -127, 127
    )
    assert torch.allclose(dequantize_int8(codes, scales), theirs, atol=1e-6)


def test_one_outlier_spoils_its_own_row_alone():
    weight = torch.randn(3, 64, generator=generator(0))
    weight[1, 5] = 1000.0
    gap = (dequantize_int8(*quantize_int8(weight)) - weight).abs().mean(1)
    assert gap[1] > 50 * gap[0] and gap[2] < 0.01


def test_zeros_and_half_precision():
    codes, scales = quantize_int8(torch.zeros(2, 3))
    assert codes.tolist() == [[0] * 3] * 2 and scales.tolist() == [[1.0]] * 2
    codes, scales = quantize_int8(torch.tensor([[-2.0, 1.0]], dtype=torch.bfloat16))
    assert codes.tolist() == [[-127, 64]] and scales.dtype == torch.float32


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.tensor([[float("nan")]])])
def test_what_has_no_scale_is_refused(bad):
    with pytest.raises(ValueError, match="weight"):
        quantize_int8(bad)


def test_a_quantised_model_is_a_copy_that_generates_and_saves():
    base, tokenizer = load_base()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    small = quantize_model(base)
    layers = [m for m in small.modules() if isinstance(m, Int8Linear)]
    assert len(layers) == 4 * base.config.n_layers
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    ids = torch.tensor([tokenizer.encode("Question: Write r5m1 again.\nAnswer:")])
    with torch.inference_mode():
        gap = (small(ids) - base(ids)).abs().max()
    assert 0 < gap < 1.0
    again = quantize_model(Decoder(base.config))
    again.load_state_dict(small.state_dict())
    with torch.inference_mode():
        assert torch.equal(again(ids), small(ids))
