"""Every name that a config.json may hold, removed or set to another value, one at a time.

The bar: the decoder's logits equal those of `transformers`, or the checkpoint is refused in words
that name the reason. There is no third case.
"""

import dataclasses
import json

import pytest
import torch
import transformers

from utils.model.checkpoint_files import UnsupportedCheckpoint
from utils.model.families import HARMLESS, read_config
from utils.model.pretrained import load_hugging_face

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "rms_norm_eps": 1e-4,
}
FAMILIES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
}
OLDER_AND_ODD = (
    "rope_theta rope_scaling torch_dtype partial_rotary_factor head_dim mlp_bias attention_bias "
    "sliding_window use_sliding_window max_window_layers layer_types quantization_config "
    "num_labels output_attentions attn_implementation _attn_implementation is_causal "
    "per_layer_config attribute_map auto_map text_config rope_interleaved transformers_weights "
    "use_mrope qkv_bias configuration_files "
    "original_max_position_embeddings attention_chunk_size logit_scale "
    "residual_multiplier final_logit_softcapping to_dict get_text_config tie_last_hidden_states "
    "no_such_name model_type"
).split()
VALUES = (
    [None, True, False, 0, 1, -1, 2, 3, 7, 8, 16, 60, 61, -61, -62, 10**6, 10**12, 10**30]
    + [0.0, 0.5, 1e-6, -0.5, 1.0, 2.5, 1e12, "", "silu", "gelu", "swish", "llama", "qwen3"]
    + ["float32", "bfloat16", "float16", "float64", "Tensor", "eager", "flash_attention_2"]
    + ["5.0.0", "regression", [], [1], [None], ["full_attention"] * 2, ["sliding_attention"] * 2]
    + [["LlamaForCausalLM"], ["Qwen3ForCausalLM"], ["LlamaModel"], {}, {"a": 1}, {"0": "a"}]
    + [["MistralForCausalLM"], ["Qwen2ForCausalLM"], "mistral", "qwen2"]
    + [{"rope_type": "default"}, {"rope_theta": 50.0}, {"type": "linear", "factor": 2.0}]
    + [{"rope_type": "default", "rope_theta": 50.0}, {"rope_type": "default", "factor": 3.0}]
    + [{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}]
    + [{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10}]
    + [{"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5}]
    + [{"full_attention": {"rope_type": "default", "rope_theta": 50.0}}]
)
LISTED = {name for names in HARMLESS.values() for name in names.split()}


def names_of(kind):
    family = FAMILIES[kind][0]
    known = {field.name for field in dataclasses.fields(family)} | set(family().to_dict())
    return sorted(known | LISTED | set(OLDER_AND_ODD))


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request, tmp_path_factory):
    """A folder with a tiny checkpoint whose every weight matters, and its configuration."""
    folder = tmp_path_factory.mktemp(request.param)
    family, architecture = FAMILIES[request.param]
    extra = {"qwen3": {"head_dim": 16}, "mistral": {"sliding_window": None}}.get(request.param, {})
    torch.manual_seed(3)
    model = architecture(family(**SIZES, **extra, bos_token_id=None, eos_token_id=None))
    for weight in model.parameters():  # far from the initial values, gains included
        weight.data.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(folder)
    content = json.loads((folder / "config.json").read_text()) | SIZES | extra
    return request.param, folder, content


def ids(n_tokens):
    return torch.randint(0, 61, (2, n_tokens), generator=torch.Generator().manual_seed(0))


def verdict(folder, content, n_tokens=7):
    """Write a configuration; return "refused: why", or how far both libraries are apart."""
    (folder / "config.json").write_text(json.dumps(content))
    try:
        ours = load_hugging_face(folder)
    except (UnsupportedCheckpoint, FileNotFoundError) as error:
        assert str(folder) in str(error)
        return f"refused: {error}"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    assert ours.embedding.weight.dtype == theirs.dtype
    with torch.inference_mode():
        if ours.config.context_length < n_tokens:
            with pytest.raises(ValueError, match="exceed the context"):
                ours(ids(n_tokens))
            n_tokens = ours.config.context_length
        logits = theirs(ids(n_tokens), return_dict=True).logits
        difference = (ours(ids(n_tokens)) - logits).abs().max().item()
    assert difference <= 1e-4
    return "equal"


@pytest.mark.parametrize("name", sorted({name for kind in FAMILIES for name in names_of(kind)}))
def test_each_name_is_equal_or_refused(checkpoint, name):
    kind, folder, content = checkpoint
    removed = {key: value for key, value in content.items() if key != name}
    # Loading by `transformers` is what costs: a harmless name, which is accepted, takes fewer.
    asked = {*SIZES, "rope_parameters", "rope_scaling", "rope_theta", "dtype", "head_dim"}
    values = VALUES if name in asked else VALUES[::4] if name in LISTED else VALUES[::2]
    if kind not in ("llama", "qwen3"):  # much of the code is that of the other two
        values = VALUES[::2] if name in asked or "window" in name else values[::3]
    variants = [removed] + [content | {name: value} for value in values]
    if name in ("rope_parameters", "rope_scaling", "rope_theta"):  # said in two places
        plain = {key: value for key, value in removed.items() if key != "rope_parameters"}
        variants += [plain | {name: value} for value in values]
        variants += [plain | {"rope_theta": 7.0, name: value} for value in values]
    for variant in variants:
        answer = verdict(folder, variant)
        if answer.startswith("refused"):
            words = (name, name.removesuffix("_parameters"), "weight", "rope", "rotary", "heads")
            assert any(word in answer for word in words), answer


LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
ROPES = {
    "default": {"rope_type": "default", "rope_theta": 50.0},
    "linear": {"rope_type": "linear", "factor": 3.0, "rope_theta": 50.0},
    "llama3": LLAMA3 | {"factor": 8.0, "original_max_position_embeddings": 16, "rope_theta": 50.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 50.0}
    | {"original_max_position_embeddings": 10, "beta_fast": 4.0, "beta_slow": 0.5}
    | {"mscale": 0.7, "mscale_all_dim": 0.9, "attention_factor": 1.3, "truncate": False},
}
ROPE_NAMES = (
    "rope_type type rope_theta factor original_max_position_embeddings low_freq_factor "
    "high_freq_factor beta_fast beta_slow mscale mscale_all_dim attention_factor truncate "
    "finetuned partial_rotary_factor short_factor long_factor mrope_section no_such_name"
).split()
ROPE_VALUES = (
    [None, True, False, 0, 1, 2, 3, 10, 24, 40, 10**6, 10**30, -1, 0.0, 0.25, 0.5, 1.0, 2.5, 50.0]
    + [50, 1e-30, 1e12, "", "1", [], [1.0] * 4, {}, "default", "linear", "llama3", "yarn"]
    + ["dynamic", "longrope", "proportional", "axial", "mrope", "no_such_rule"]
)


@pytest.mark.parametrize("rule", ROPES)
def test_each_name_of_a_rule_of_rotary_positions_is_equal_or_refused(checkpoint, rule):
    """Removed, set to other values, in each spelling, and said otherwise in both."""
    kind, folder, content = checkpoint
    content = {name: value for name, value in content.items() if not name.startswith("rope_")}
    seen = set()
    # Rules are computed by the same code in all families: one takes all, the others a sample.
    step = 1 if kind == "llama" else 7
    for number, name in enumerate(ROPE_NAMES):
        without = {key: value for key, value in ROPES[rule].items() if key != name}
        values = ROPE_VALUES[number % step :: step]
        for rope in [without, *({**without, name: value} for value in values)]:
            older = {key: value for key, value in rope.items() if key != "rope_theta"}
            theta = {key: value for key, value in rope.items() if key == "rope_theta"}
            both = {"rope_parameters": ROPES[rule], "rope_scaling": older, "rope_theta": 50.0}
            variants = [{"rope_parameters": rope}, {"rope_scaling": older} | theta, both]
            for variant in variants if kind == "llama" else [variants[number % 3]]:
                answer = verdict(folder, content | variant, n_tokens=24)
                seen.add(answer.partition(":")[0])
                assert answer == "equal" or name in answer or "rope_type" in answer, answer
    assert seen == {"equal", "refused"}


@pytest.mark.parametrize("rule", ROPES)
def test_each_rule_is_taken_as_it_stands_past_the_original_context(checkpoint, rule):
    _, folder, content = checkpoint
    content = {name: value for name, value in content.items() if not name.startswith("rope_")}
    rope = {"rope_parameters": ROPES[rule]}
    assert verdict(folder, content | rope, n_tokens=40) == "equal"
    assert verdict(folder, content | rope | {"rope_scaling": ROPES[rule]}, n_tokens=40) == "equal"
    scaling = load_hugging_face(folder).config.rope_scaling
    assert (scaling.kind if scaling else "default") == rule


@pytest.mark.parametrize("rule", ["dynamic", "longrope", "proportional"])
def test_rules_that_depend_on_the_length_are_refused_by_name(checkpoint, rule):
    _, folder, content = checkpoint
    for rope in ({"rope_type": rule, "factor": 2.0}, {"type": rule, "factor": 2.0}):
        for spelling in ("rope_scaling", "rope_parameters"):
            assert f"rope_type ['{rule}']" in verdict(folder, content | {spelling: rope})


def test_real_configurations_are_taken():
    """The names and values that checkpoints of both families are published with."""
    llama = SIZES | {
        "_name_or_path": "somewhere",
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        "hidden_act": "silu",
        "initializer_range": 0.041666666666666664,
        "is_llama_config": True,
        "mlp_bias": False,
        "model_type": "llama",
        "pad_token_id": 2,
        "pretraining_tp": 1,
        "rope_interleaved": False,
        "rope_scaling": None,
        "rope_theta": 100000,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers.js_config": {"dtype": "q4"},
        "transformers_version": "4.42.3",
        "use_cache": True,
    }
    assert read_config(llama).rope_theta == 100000.0
    qwen = SIZES | {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "head_dim": 16,
        "max_window_layers": 36,
        "model_type": "qwen3",
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "use_sliding_window": False,
    }
    assert read_config(qwen).d_head == 16 and read_config(qwen).rope_theta == 1e6
    with pytest.raises(UnsupportedCheckpoint, match="rope_interleaved"):
        read_config(llama | {"rope_interleaved": True})
