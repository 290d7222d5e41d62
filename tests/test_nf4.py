"""NF4 against bitsandbytes, and by its properties: levels, blocks, bytes, gradients, bad input."""

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it greets
import bitsandbytes.functional as bnb  # noqa: E402

from utils.model.config import TransformerConfig  # noqa: E402
from utils.model.decoder import Decoder  # noqa: E402
from utils.model.lora import add_lora, lora_layers  # noqa: E402
from utils.model.nf4 import (  # noqa: E402
    NF4Linear,
    dequantize_nf4,
    double_quantize,
    nf4_levels,
    quantize_model_nf4,
    quantize_nf4,
    restore_scales,
)
from utils.train.losses import cross_entropy  # noqa: E402


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_levels_are_those_of_bitsandbytes():
    theirs = bnb.get_4bit_type("nf4", device="cpu")
    assert (nf4_levels() - theirs).abs().max() < 1e-6
    assert nf4_levels()[7] == 0 and nf4_levels()[0] == -1 and nf4_levels()[15] == 1


@pytest.mark.parametrize("shape", [(8, 128), (64, 64), (3, 1000), (2, 33)])
@pytest.mark.parametrize("block_size", [64, 128])
def test_codes_and_scales_equal_bitsandbytes(shape, block_size):
    weight = normal(*shape, seed=sum(shape))
    codes, scales = quantize_nf4(weight, block_size)
    theirs, state = bnb.quantize_4bit(weight, blocksize=block_size, quant_type="nf4")
    assert torch.equal(scales, state.absmax)
    assert torch.equal(codes, theirs.flatten())
    if shape[1] % block_size == 0:  # their fast way on a CPU mixes scales of blocks across rows
        ours_back = dequantize_nf4(codes, scales, shape, block_size)
        theirs_back = bnb.dequantize_4bit(theirs, state)
        torch.testing.assert_close(ours_back, theirs_back, rtol=1e-6, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.sampled_from([1, 2, 7, 64]), st.floats(1e-6, 1e6))
def test_each_weight_becomes_the_nearest_level_of_its_block(n_pairs, block_size, size):
    weight = size * normal(2 * n_pairs, seed=n_pairs)
    codes, scales = quantize_nf4(weight, block_size)
    back = dequantize_nf4(codes, scales, (2 * n_pairs,), block_size)
    scale = scales.repeat_interleave(block_size)[: 2 * n_pairs]
    best = (weight.unsqueeze(1) - scale.unsqueeze(1) * nf4_levels()).abs().amin(dim=1)
    assert bool(((weight - back).abs() <= best + 1e-5 * scale).all())


def test_normal_weights_use_the_inner_levels_most():
    """Not equally: a block is scaled by its largest weight, not by its spread."""
    codes, _ = quantize_nf4(normal(200_000))
    both = torch.cat([codes >> 4, codes & 15]).long()
    shares = torch.bincount(both, minlength=16) / len(both)
    assert shares.min() > 0.01 and shares.max() < 0.11  # an even share is .0625
    assert shares[4:11].min() > 2 * shares[[0, 15]].max()


def test_nf4_loses_less_than_even_steps_on_normal_weights():
    weight = normal(256, 256)
    codes, scales = quantize_nf4(weight)
    error = (dequantize_nf4(codes, scales, (256, 256)) - weight).square().mean()
    blocks = weight.view(-1, 64)
    steps = blocks.abs().amax(dim=1, keepdim=True) / 7
    even = ((blocks / steps).round() * steps - blocks).square().mean()
    assert error < 0.85 * even


def test_zeros_stay_zero():
    codes, scales = quantize_nf4(torch.zeros(64))
    assert torch.equal(dequantize_nf4(codes, scales, (64,)), torch.zeros(64))
    assert bool((scales == 0).all())


def test_scales_in_a_byte_are_within_half_a_step_and_no_worse_than_bitsandbytes():
    weight = normal(512, 512)
    _, scales = quantize_nf4(weight)
    quantized = double_quantize(scales)
    back = restore_scales(quantized)
    steps = quantized.steps.repeat_interleave(256)[: len(scales)]
    assert bool(((back - scales).abs() <= steps / 2 + 1e-6).all())
    codes, state = bnb.quantize_blockwise(scales - scales.mean(), blocksize=256)
    theirs = bnb.dequantize_blockwise(codes, state) + scales.mean()
    assert (back - scales).square().mean() <= (theirs - scales).square().mean()
    assert quantized.n_bytes < 0.27 * 4 * len(scales)


def test_equal_scales_survive():
    assert torch.equal(
        restore_scales(double_quantize(torch.full((300,), 2.5))), torch.full((300,), 2.5)
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_has_no_scale_is_refused(bad):
    weight = torch.ones(64)
    weight[5] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        quantize_nf4(weight)
    with pytest.raises(ValueError, match="NaN or infinity"):
        double_quantize(weight)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 weights are no pairs"):
        quantize_nf4(torch.ones(3))
    with pytest.raises(ValueError, match="block_size must be at least 1"):
        quantize_nf4(torch.ones(4), 0)
    codes, scales = quantize_nf4(torch.ones(128))
    with pytest.raises(ValueError, match="128 codes and 2 scales do not make weights"):
        dequantize_nf4(codes, scales, (64,))
    with pytest.raises(ValueError, match="one row"):
        double_quantize(torch.ones(2, 2))


CONFIG = TransformerConfig(vocab_size=31, context_length=16, d_model=64, n_layers=2)


def test_a_quantised_model_is_smaller_close_and_trains_its_adapters_alone():
    torch.manual_seed(0)
    model = Decoder(CONFIG)
    small = quantize_model_nf4(model)
    layers = [part for part in small.modules() if isinstance(part, NF4Linear)]
    full = sum(4 * layer.out_features * layer.in_features for layer in layers)
    assert sum(layer.n_bytes for layer in layers) < 0.135 * full  # 4.127 bits of 32, and steps
    block = torch.randint(31, (4, 12), generator=torch.Generator().manual_seed(0))
    assert (small(block) - model(block)).abs().max() < 0.1 * model(block).abs().max()
    add_lora(small, rank=4, alpha=8)
    before = {name: buffer.clone() for name, buffer in small.named_buffers()}
    optimizer = torch.optim.AdamW([w for w in small.parameters() if w.requires_grad], lr=1e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = cross_entropy(small(block[:, :-1]), block[:, 1:])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert all(torch.equal(before[name], buffer) for name, buffer in small.named_buffers())


def test_gradients_are_those_of_the_floats_and_no_floats_are_kept_for_them():
    layer, saved = NF4Linear(normal(48, 32)), []
    x, y = (normal(2, 5, 32).requires_grad_() for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        out = layer(x)
    assert not saved
    wanted = torch.nn.functional.linear(y, layer.weight)
    torch.testing.assert_close(out, wanted)
    upstream = normal(2, 5, 48, seed=1)
    out.backward(upstream)
    wanted.backward(upstream)
    torch.testing.assert_close(x.grad, y.grad)


def test_an_evaluation_in_between_changes_no_training():
    """The trap of the libraries: repacked for inference, four-bit weights pass no gradient on."""
    torch.manual_seed(0)
    small = add_lora(quantize_model_nf4(Decoder(CONFIG)), rank=4, alpha=8)
    block = torch.randint(31, (4, 12), generator=torch.Generator().manual_seed(0))

    def gradients() -> list[torch.Tensor]:
        small.zero_grad()
        cross_entropy(small.train()(block[:, :-1]), block[:, 1:]).backward()
        return [layer.up.grad.clone() for layer in lora_layers(small).values()]

    before = gradients()
    with torch.no_grad():
        small.eval()(block)
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(), strict=True))
    assert all(bool((g != 0).any()) for g in before)
