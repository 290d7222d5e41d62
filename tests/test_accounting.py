"""Formulas of weights and operations against the models themselves, on the meta device."""

import json

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from utils.model.accounting import (
    MODELS,
    cache_bytes,
    count_biases,
    count_flops,
    count_parameters,
    sizes_of,
    weight_bytes,
)
from utils.model.cache import KVCache
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.families import TRANSLATION
from utils.model.rope_scaling import RopeScaling

PUBLISHED = {
    "Qwen3 0.6B": 596_049_920,
    "Llama 3.1 8B": 8_030_261_248,
    "Llama 3.1 70B": 70_553_706_496,
    "Llama 3.1 405B": 405_853_388_800,
}


def small(**changes):
    shape = {"vocab_size": 37, "context_length": 16, "d_model": 24, "n_layers": 3, "n_heads": 4}
    return TransformerConfig(**{**shape, **changes})


SMALL = [
    small(),
    small(n_kv_heads=1),
    small(n_kv_heads=2, d_head=10, d_ff=44),
    small(tie_embeddings=False),
    small(qk_norm=True, n_layers=1),
    small(qkv_bias=True, n_kv_heads=2),
    small(rope_scaling=RopeScaling("linear", 2.0)),
]


def on_meta(config):
    with torch.device("meta"):
        return Decoder(config)


def flops_counted(config, batch_size, n_tokens, is_training):
    model = on_meta(config)
    token_ids = torch.zeros(batch_size, n_tokens, dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as counter:
        logits = model(token_ids)
        if is_training:
            F.cross_entropy(logits.flatten(0, 1), token_ids.flatten()).backward()
    return counter.get_total_flops()


def flops_by_formula(config, **passes):
    numbers = sizes_of(config)
    del numbers["tie_embeddings"], numbers["qk_norm"]
    return count_flops(**numbers, **passes)


@pytest.mark.parametrize("config", SMALL)
def test_the_formula_counts_the_weights_of_a_decoder(config):
    n_weights = sum(w.numel() for w in Decoder(config).parameters())
    assert count_parameters(**sizes_of(config)) + count_biases(config) == n_weights
    assert weight_bytes(config, 4) == 4 * n_weights
    assert (count_biases(config) > 0) == bool(config.qkv_bias)


@pytest.mark.parametrize("name", MODELS)
def test_the_formula_is_exact_for_published_models(name):
    config = MODELS[name]
    counted = count_parameters(**sizes_of(config))
    assert counted == PUBLISHED[name]
    assert counted == sum(w.numel() for w in on_meta(config).parameters())


@pytest.mark.parametrize("name", MODELS)
def test_published_models_are_as_large_in_transformers(name):
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

    config = MODELS[name]
    numbers = {theirs: getattr(config, ours) for ours, theirs in TRANSLATION.items()}
    kind = Qwen3Config if config.qk_norm else LlamaConfig
    with torch.device("meta"):
        theirs = AutoModelForCausalLM.from_config(kind(**json.loads(json.dumps(numbers))))
    assert theirs.num_parameters() == count_parameters(**sizes_of(config))


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("config", SMALL)
def test_operations_are_within_a_percent_of_the_counter(config, is_training):
    passes = {"batch_size": 2, "n_tokens": 13, "is_training": is_training}
    counted = flops_counted(config, **passes)
    assert counted > 0
    assert abs(flops_by_formula(config, **passes) / counted - 1) < 0.01


@pytest.mark.parametrize("name", MODELS)
def test_operations_of_published_models_are_within_a_percent(name):
    passes = {"batch_size": 1, "n_tokens": 2048, "is_training": False}
    counted = flops_counted(MODELS[name], **passes)
    assert abs(flops_by_formula(MODELS[name], **passes) / counted - 1) < 0.01


def test_bytes_are_those_of_weights_and_cache():
    config = small(n_kv_heads=2)
    model = Decoder(config)
    assert weight_bytes(config, 4) == sum(w.nbytes for w in model.parameters())
    assert cache_bytes(config, 16, 4) == KVCache(config, 1, 16).n_bytes
