"""Rotary positions for longer contexts: the rules of the papers, and the checkpoints' library."""

import dataclasses
import json
import math

import pytest
import torch

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.rope_scaling import RopeScaling, scaled_rope_table, scaled_speeds
from utils.model.rotary import rope_table

LLAMA3 = RopeScaling("llama3", 8.0, original_context=8192, fast_turns=4.0)
YARN = RopeScaling("yarn", 4.0, original_context=32768)
RULES = {
    "linear": (RopeScaling("linear", 4.0), {"factor": 4.0}),
    "llama 3.1": (
        LLAMA3,
        {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        | {"original_max_position_embeddings": 8192},
    ),
    "llama3 by an odd factor": (
        RopeScaling("llama3", 3.3, original_context=700, slow_turns=0.7, fast_turns=9.1),
        {"factor": 3.3, "low_freq_factor": 0.7, "high_freq_factor": 9.1}
        | {"original_max_position_embeddings": 700},
    ),
    "yarn": (YARN, {"factor": 4.0, "original_max_position_embeddings": 32768}),
    "yarn, all set": (
        RopeScaling(
            "yarn", 2.7, 700, slow_turns=2.0, fast_turns=20.0, attention_factor=1.2, truncate=False
        ),
        {"factor": 2.7, "original_max_position_embeddings": 700, "beta_slow": 2, "beta_fast": 20}
        | {"attention_factor": 1.2, "truncate": False},
    ),
    "yarn without a ramp": (
        RopeScaling("yarn", 4.0, original_context=3),
        {"factor": 4.0, "original_max_position_embeddings": 3},
    ),
}


def tables_of_the_library(rule, d_head, theta, n_positions):
    import transformers
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    scaling, names = RULES[rule]
    config = transformers.LlamaConfig(
        hidden_size=2 * d_head,
        num_attention_heads=2,
        rope_parameters={"rope_type": scaling.kind, "rope_theta": theta, **names},
    )
    cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1), torch.arange(n_positions)[None])
    return cos[0, :, : d_head // 2], sin[0, :, : d_head // 2]  # (T, K/2): halves are alike


@pytest.mark.parametrize("d_head, theta", [(16, 10000.0), (64, 500000.0), (128, 1e6), (96, 77.7)])
@pytest.mark.parametrize("rule", RULES)
def test_scaled_tables_are_those_of_the_checkpoints_library_to_the_last_bit(rule, d_head, theta):
    cos, sin = scaled_rope_table(9000, d_head, theta, RULES[rule][0])
    assert cos.dtype == sin.dtype == torch.float32 and cos.shape == (9000, d_head // 2)
    theirs = tables_of_the_library(rule, d_head, theta, 9000)
    assert torch.equal(cos, theirs[0]) and torch.equal(sin, theirs[1])


def test_without_scaling_the_table_is_the_plain_one():
    for ours, plain in zip(scaled_rope_table(50, 8, 99.0), rope_table(50, 8, 99.0), strict=True):
        assert torch.equal(ours, plain)


@pytest.mark.parametrize("scaling", [LLAMA3, YARN], ids=["llama3", "yarn"])
def test_fast_pairs_keep_their_speed_and_slow_ones_lose_the_whole_factor(scaling):
    d_head, theta = 128, 500000.0
    plain = 1 / theta ** (torch.arange(0, d_head, 2) / d_head)
    speeds = scaled_speeds(d_head, theta, scaling)
    turns = scaling.original_context * plain / (2 * math.pi)
    # YaRN's ramp begins and ends at whole pairs, so a pair at each end is left out.
    fast, slow = turns > 1.3 * scaling.fast_turns, turns < scaling.slow_turns / 1.3
    assert fast.sum() > 10 and slow.sum() > 10
    torch.testing.assert_close(speeds[fast], plain[fast], rtol=1e-6, atol=0)
    torch.testing.assert_close(speeds[slow], plain[slow] / scaling.factor, rtol=1e-6, atol=0)
    between = speeds[~fast & ~slow] / plain[~fast & ~slow]
    assert (between.diff() < 1e-6).all() and between.min() > 0.99 / scaling.factor


def test_the_attention_factor_is_that_of_the_paper_and_scales_both_tables():
    assert YARN.attention_factor == pytest.approx(0.1 * math.log(4) + 1)
    assert LLAMA3.attention_factor == RopeScaling("linear", 4.0).attention_factor == 1.0
    cos, sin = scaled_rope_table(100, 16, 1e6, YARN)
    lengths = (cos.square() + sin.square()).sqrt()
    torch.testing.assert_close(lengths, torch.full_like(lengths, YARN.attention_factor))


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"kind": "dynamic"}, "kind"),
        ({"factor": 0.5}, "factor"),
        ({"factor": math.inf}, "factor"),
        ({"original_context": None}, "original_context"),
        ({"original_context": 0}, "original_context"),
        ({"slow_turns": 40.0}, "slow_turns"),
        ({"slow_turns": 0.0}, "slow_turns"),
        ({"attention_factor": 0.0}, "attention_factor"),
    ],
)
def test_impossible_rules_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        RopeScaling(**({"kind": "yarn", "factor": 2.0, "original_context": 8} | settings))


def test_a_theta_without_slower_pairs_is_refused_for_yarn():
    with pytest.raises(ValueError, match="theta must be above 1"):
        scaled_speeds(8, 1.0, YARN)


def test_a_configuration_with_scaling_survives_a_record_in_json():
    config = TransformerConfig(
        vocab_size=11, context_length=40, d_model=16, rope_scaling=YARN, qkv_bias=True
    )
    record = json.loads(json.dumps(dataclasses.asdict(config)))
    assert TransformerConfig(**record) == config and hash(config)
    plain = TransformerConfig(vocab_size=11, context_length=40, d_model=16)
    earlier = {k: v for k, v in vars(plain).items() if k not in ("rope_scaling", "qkv_bias")}
    assert TransformerConfig(**earlier) == plain
    # What an earlier edition's record lacks reads as None, and compares equal.
    assert all(earlier.get(name) == value for name, value in vars(plain).items())
    assert dataclasses.replace(plain, qkv_bias=False) == plain


@pytest.mark.parametrize("rule", RULES)
def test_a_decoder_turns_by_its_scaled_table(rule):
    scaling = RULES[rule][0]
    shape = {"vocab_size": 11, "context_length": 50, "d_model": 32, "n_heads": 2, "n_layers": 1}
    cos, sin = scaled_rope_table(50, 16, 10000.0, scaling)
    torch.manual_seed(0)
    model = Decoder(TransformerConfig(**shape, rope_scaling=scaling))
    assert torch.equal(model.cos[:, 0], cos) and torch.equal(model.sin[:, 0], sin)
    torch.manual_seed(0)
    plain = Decoder(TransformerConfig(**shape))
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)  # scaling changes no weight that is drawn
