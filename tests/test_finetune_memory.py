"""The memory of a fine-tuning against tensors that are counted, and a peak that is measured."""

import pytest
import torch

from utils.model.accounting import LLAMA_8B, count_parameters, sizes_of
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.finetune_memory import finetune_memory
from utils.model.lora import add_lora, lora_layers
from utils.model.nf4 import NF4Linear, quantize_model_nf4
from utils.report.memory import LiveBytes
from utils.train.losses import cross_entropy

SHAPES = [
    {"d_model": 64, "n_heads": 4, "n_kv_heads": 2, "d_ff": 96},
    {"d_model": 48, "n_heads": 4, "n_kv_heads": 4, "d_ff": 160},
    {"d_model": 96, "n_heads": 6, "n_kv_heads": 1, "d_ff": 64, "tie_embeddings": False},
]
WAYS = [(None, False), (3, False), (3, True)]


def config_of(shape, n_layers=6):
    return TransformerConfig(vocab_size=90, context_length=64, n_layers=n_layers, **shape)


def terms(config, **settings):
    sizes = {name: value for name, value in sizes_of(config).items() if name != "qk_norm"}
    return finetune_memory(**sizes, **{"batch_size": 4, "n_tokens": 32} | settings)


def prepared(config, rank, is_quantized):
    torch.manual_seed(0)
    model = Decoder(config)
    if is_quantized:
        model = quantize_model_nf4(model)
    return model if rank is None else add_lora(model, rank, alpha=1)


def n_bytes(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def step(model, config):
    ids = torch.randint(config.vocab_size, (4, 33))
    loss = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    loss.backward()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("rank", "is_quantized"), WAYS)
def test_weights_gradients_and_moments_are_those_that_are_there(shape, rank, is_quantized):
    config = config_of(shape, n_layers=2)
    model = prepared(config, rank, is_quantized)
    told = terms(config, rank=rank, is_quantized=is_quantized)
    optimizer = torch.optim.AdamW(w for w in model.parameters() if w.requires_grad)
    step(model, config)
    optimizer.step()
    small = [layer for layer in model.modules() if isinstance(layer, NF4Linear)]
    adapters = [w for lora in lora_layers(model).values() for w in (lora.down, lora.up)]
    assert told["adapters"] == n_bytes(adapters)
    assert told["weights"] == n_bytes(model.parameters()) - n_bytes(adapters)
    assert told["codes"] == n_bytes(layer.codes for layer in small)
    assert told["scales"] + told["codes"] == sum(layer.n_bytes for layer in small)
    assert told["gradients"] == n_bytes(w.grad for w in model.parameters() if w.grad is not None)
    moments = [t for state in optimizer.state.values() for t in state.values() if t.dim()]
    assert told["optimizer"] == n_bytes(moments)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [None, 1, 8])
def test_activations_are_within_a_tenth_of_what_is_held_before_the_backward_pass(shape, rank):
    config = config_of(shape)
    model = prepared(config, rank, False)
    ids = torch.randint(config.vocab_size, (4, 33))
    with LiveBytes() as live:
        cross_entropy(model(ids[:, :-1]), ids[:, 1:]).backward()
    # The first gradients of weights come when most activations are still there.
    first = 0 if rank else 4 * (config.vocab_size * config.d_model)
    told = terms(config, rank=rank)["activations"]
    assert abs(told / (live.peak - first) - 1) < 0.10, told / (live.peak - first)


def test_a_full_fine_tuning_in_half_precision_takes_sixteen_bytes_for_each_weight():
    told = terms(LLAMA_8B, float_bytes=2)
    n_weights = count_parameters(**sizes_of(LLAMA_8B))
    assert told["weights"] + told["gradients"] + told["optimizer"] == 16 * n_weights


def test_quantised_matrices_take_just_above_four_bits():
    told, plain = (terms(LLAMA_8B, rank=8, is_quantized=q) for q in (True, False))
    n_matrices = (plain["weights"] - told["weights"]) // 4
    assert 4.126 < 8 * (told["codes"] + told["scales"]) / n_matrices < 4.128


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"is_quantized": True}, "is_quantized needs a rank"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"float_bytes": 8}, "float_bytes must be 2"),
    ],
)
def test_what_does_not_belong_together_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        terms(config_of(SHAPES[0]), **settings)
