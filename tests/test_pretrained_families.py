"""Published configurations, shrunk: read, compared with transformers far out, written, read again.

Every size that decides an angle is the real one: contexts, theta, scaling; heads are 16 wide, and
the ratios of heads to key-value heads and of widths are kept. Weights are drawn.
"""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from utils.model.checkpoint_files import UnsupportedCheckpoint
from utils.model.generate import generate
from utils.model.pretrained import load_hugging_face, save_hugging_face

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "mlp_bias": False,
    "model_type": "llama",
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "transformers_version": "4.43.0.dev0",
    "use_cache": True,
}
LLAMA31_ROPE = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "model_type": "qwen2",
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "transformers_version": "4.40.1",
    "use_cache": True,
    "use_sliding_window": False,
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 32768}


def sizes(d_model, n_heads, n_kv_heads, d_ff, context):
    return {
        "hidden_size": d_model,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv_heads,
        "intermediate_size": d_ff,
        "max_position_embeddings": context,
    }


PUBLISHED = {
    "SmolLM2 135M": LLAMA
    | sizes(576, 9, 3, 1536, 8192)
    | {
        "initializer_range": 0.041666666666666664,
        "is_llama_config": True,
        "rope_interleaved": False,
        "rope_scaling": None,
        "rope_theta": 100000,
        "tie_word_embeddings": True,
    },
    "Llama 3.1 8B": LLAMA | sizes(4096, 32, 8, 14336, 131072) | {"rope_scaling": LLAMA31_ROPE},
    "Llama 3.2 1B": LLAMA
    | sizes(2048, 32, 8, 8192, 131072)
    | {
        "rope_scaling": LLAMA31_ROPE | {"factor": 32.0},
        "head_dim": 64,
        "tie_word_embeddings": True,
    },
    "DeepSeek Coder 6.7B": LLAMA
    | sizes(4096, 32, 32, 11008, 16384)
    | {"rms_norm_eps": 1e-06, "rope_theta": 100000}
    | {"rope_scaling": {"factor": 4.0, "type": "linear"}},
    "Yarn Llama 2 7B 64k": {name: LLAMA[name] for name in LLAMA if name != "rope_theta"}
    | sizes(4096, 32, 32, 11008, 65536)
    | {
        "rope_scaling": {"factor": 16.0, "original_max_position_embeddings": 4096}
        | {"type": "yarn", "finetuned": True}
    },
    "Qwen2 7B": QWEN2
    | sizes(3584, 28, 4, 18944, 131072)
    | {"max_window_layers": 28, "sliding_window": 131072, "tie_word_embeddings": False},
    "Qwen2.5 0.5B": QWEN2
    | sizes(896, 14, 2, 4864, 32768)
    | {"max_window_layers": 24, "sliding_window": 32768, "tie_word_embeddings": True}
    | {"use_mrope": False},
    "Qwen2.5 7B with YaRN": QWEN2
    | sizes(3584, 28, 4, 18944, 131072)
    | {"max_window_layers": 28, "sliding_window": 131072, "tie_word_embeddings": False}
    | {"rope_scaling": YARN | {"type": "yarn"}},
    "Qwen3 0.6B": QWEN2
    | sizes(1024, 16, 8, 3072, 40960)
    | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 128}
    | {"attention_bias": False, "max_window_layers": 28, "sliding_window": None}
    | {"rope_scaling": None, "tie_word_embeddings": True},
    "Qwen3 0.6B with YaRN": QWEN2
    | sizes(1024, 16, 8, 3072, 40960)
    | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 128}
    | {"attention_bias": False, "max_window_layers": 28, "sliding_window": None}
    | {"rope_scaling": YARN | {"rope_type": "yarn"}, "tie_word_embeddings": True},
    "Mistral 7B v0.3": {
        "architectures": ["MistralForCausalLM"],
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "model_type": "mistral",
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "transformers_version": "4.42.0.dev0",
        "use_cache": True,
    }
    | sizes(4096, 32, 8, 14336, 32768),
}


def shrunk(name):
    """A published configuration with heads of width 16, two key-value heads and two layers."""
    content = dict(PUBLISHED[name])
    group = content["num_attention_heads"] // content["num_key_value_heads"]
    width, old = 16 * 2 * group, content["hidden_size"]
    if "head_dim" in content:  # Qwen3's heads are wider than d_model / n_heads
        content["head_dim"] = 16 * content["head_dim"] * content["num_attention_heads"] // old
    content |= {
        "hidden_size": width,
        "num_attention_heads": 2 * group,
        "num_key_value_heads": 2,
        "intermediate_size": content["intermediate_size"] * width // old,
        "num_hidden_layers": 2,
        "vocab_size": 61,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    }
    return content


def write_checkpoint(folder, content, seed=3):
    """Write drawn weights by `transformers`, and the configuration as it is published."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**json.loads(json.dumps(content)))
    )
    for weight in model.parameters():  # far from the initial values, gains and biases included
        weight.data.add_(torch.randn_like(weight) * 0.05)
    model.save_pretrained(folder)
    written = (folder / "config.json").read_text()
    (folder / "config.json").write_text(json.dumps(content))
    return json.loads(written)


def theirs_from(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def windows(content):
    """First positions of short texts: at the start, across the original context, at the end."""
    context = content["max_position_embeddings"]
    rope = content.get("rope_scaling") or {}
    original = rope.get("original_max_position_embeddings")
    if rope and original is None:  # linear
        original = int(context / rope["factor"])
    starts = {0, context - 20} | ({original - 10, original + 1000} if original else {context // 2})
    return sorted(start for start in starts if start + 20 <= context)


def assert_equal_logits(ours, theirs, starts):
    token_ids = torch.randint(0, 61, (2, 20), generator=torch.Generator().manual_seed(0))
    ours.eval()
    with torch.inference_mode():
        for start in starts:
            positions = torch.arange(start, start + 20).expand(2, -1)
            want = theirs(token_ids, position_ids=positions).logits
            difference = (ours(token_ids, positions=positions) - want).abs().max().item()
            assert difference <= 1e-4, (start, difference)


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request, tmp_path_factory):
    """A folder with a shrunk published model, its configuration, and how transformers writes it."""
    folder, content = tmp_path_factory.mktemp("published"), shrunk(request.param)
    return folder, content, write_checkpoint(folder, content)


def test_logits_are_those_of_transformers_past_the_original_context(published):
    folder, content, _ = published
    ours, starts = load_hugging_face(folder), windows(content)
    assert len(starts) >= 3
    assert_equal_logits(ours, theirs_from(folder), starts)
    if content.get("rope_scaling"):  # the comparison would notice plain positions
        (folder / "plain").mkdir()
        save_file(load_file(folder / "model.safetensors"), folder / "plain/model.safetensors")
        plain = {name: value for name, value in content.items() if name != "rope_scaling"}
        (folder / "plain/config.json").write_text(json.dumps(plain))
        with pytest.raises(AssertionError):
            assert_equal_logits(load_hugging_face(folder / "plain"), theirs_from(folder), starts)


def test_both_spellings_say_the_same(published):
    folder, content, written = published
    assert "rope_parameters" in written and "rope_scaling" not in written
    config = load_hugging_face(folder).config
    (folder / "config.json").write_text(json.dumps(written))
    assert load_hugging_face(folder).config == config
    (folder / "config.json").write_text(json.dumps(content))


def test_what_is_written_is_read_by_transformers_and_by_us(published, tmp_path):
    folder, content, _ = published
    ours, kind = load_hugging_face(folder), content["model_type"]
    save_hugging_face(ours, tmp_path, kind, end_id=2)
    theirs = theirs_from(tmp_path)
    assert theirs.config.model_type == kind
    assert_equal_logits(ours, theirs, windows(content))
    again = load_hugging_face(tmp_path)
    assert again.config == ours.config
    first, second = (
        load_file(folder / "model.safetensors"),
        load_file(tmp_path / "model.safetensors"),
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for (name, a), (_, b) in zip(ours.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b) and a.dtype == b.dtype and b.requires_grad, name


SHORT = ("Llama 3.2 1B", "DeepSeek Coder 6.7B", "Qwen2.5 7B with YaRN")


@pytest.mark.parametrize("name", SHORT)
def test_generated_tokens_are_those_of_transformers_beyond_a_short_original_context(name, tmp_path):
    """The cached, written-out step turns keys by the same tables, and biases are not left out."""
    content = shrunk(name) | {"max_position_embeddings": 96, "eos_token_id": None}
    content["rope_scaling"] = dict(content["rope_scaling"])
    if "original_max_position_embeddings" in content["rope_scaling"]:
        content["rope_scaling"]["original_max_position_embeddings"] = 24
    write_checkpoint(tmp_path, content)
    ours, theirs = load_hugging_face(tmp_path).eval(), theirs_from(tmp_path)
    prompt = torch.randint(3, 61, (1, 30), generator=torch.Generator().manual_seed(1))
    settings = {"max_new_tokens": 60, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    want = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
    got = generate(ours, prompt, max_new_tokens=60)
    assert torch.equal(want, got)
    with torch.inference_mode():
        difference = (ours(want) - theirs(want).logits).abs().max().item()
    assert difference <= 1e-4


@pytest.mark.parametrize("name", ["Mistral 7B v0.3"])
def test_a_sliding_window_is_refused_by_name_also_as_a_default(name, tmp_path):
    content = shrunk(name)
    write_checkpoint(tmp_path, content)
    del content["sliding_window"]
    for change in ({}, {"sliding_window": 4096}, {"sliding_window": 10**6}):
        (tmp_path / "config.json").write_text(json.dumps(content | change))
        with pytest.raises(UnsupportedCheckpoint, match="sliding_window"):
            load_hugging_face(tmp_path)


def test_biases_that_are_missing_or_too_many_are_named(tmp_path):
    content = shrunk("Qwen2.5 0.5B")
    write_checkpoint(tmp_path, content)
    path, bias = tmp_path / "model.safetensors", "model.layers.1.self_attn.k_proj.bias"
    tensors = load_file(path)
    wrong = {
        "missing tensors": {name: w for name, w in tensors.items() if name != bias},
        "unexpected": tensors | {"model.layers.1.self_attn.o_proj.bias": torch.zeros(224)},
        "k_proj.bias has shape": tensors | {bias: torch.zeros(33)},
    }
    for words, other in wrong.items():
        save_file(other, path)
        with pytest.raises(UnsupportedCheckpoint, match=words):
            load_hugging_face(tmp_path)


def test_loading_draws_no_random_number_and_ties_one_parameter(tmp_path):
    content = shrunk("SmolLM2 135M")
    write_checkpoint(tmp_path, content)
    before = torch.get_rng_state()
    model = load_hugging_face(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.unembedding.weight is model.embedding.weight and model.training
    assert not any(part.is_meta for part in (*model.parameters(), *model.buffers()))
    model(torch.tensor([[1, 2]])).sum().backward()  # to be trained further
    assert all(weight.grad is not None for weight in model.parameters())
