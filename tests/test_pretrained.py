"""Checkpoints of Llama and Qwen3, both ways, against transformers."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.induction import AttentionOnly
from utils.model.pretrained import UnsupportedCheckpoint, load_hugging_face, save_hugging_face
from utils.model.rotary import rope_table

SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "rope_theta": 5000.0,
    "rms_norm_eps": 1e-6,
}


def foreign_model(kind, tied):
    import transformers

    torch.manual_seed(3)
    extra = {"tie_word_embeddings": tied, "bos_token_id": None, "eos_token_id": None}
    if kind == "llama":
        config = transformers.LlamaConfig(**SMALL, **extra)
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.Qwen3Config(**SMALL, **extra, head_dim=16)
        model = transformers.Qwen3ForCausalLM(config)
    for weight in model.parameters():  # far from the initial values, gains included
        weight.data.add_(torch.randn_like(weight) * 0.1)
    return model.eval()


def ids():
    return torch.randint(0, 61, (3, 17), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_imported_logits_equal_those_of_transformers(tmp_path, kind, tied):
    theirs = foreign_model(kind, tied)
    theirs.save_pretrained(tmp_path)
    ours = load_hugging_face(tmp_path)
    with torch.inference_mode():
        difference = (ours(ids()) - theirs(ids()).logits).abs().max()
    assert difference <= 1e-4
    assert ours.config.rope_theta == 5000.0 and ours.config.norm_eps == 1e-6


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_exported_checkpoint_is_read_back_by_transformers(tmp_path, kind, tied):
    import transformers

    config = TransformerConfig(
        vocab_size=61,
        context_length=40,
        d_model=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=1,
        d_head=16 if kind == "qwen3" else None,
        rope_theta=500.0,
        norm_eps=1e-6,
        tie_embeddings=tied,
        qk_norm=kind == "qwen3",
    )
    torch.manual_seed(1)
    ours = Decoder(config)
    for weight in ours.parameters():
        weight.data.add_(torch.randn_like(weight) * 0.1)
    save_hugging_face(ours, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(theirs).__name__.lower().startswith(kind)
    with torch.inference_mode():
        assert (ours(ids()) - theirs(ids()).logits).abs().max() <= 1e-4
    again = load_hugging_face(tmp_path)
    assert again.config == config
    for (name, a), (_, b) in zip(ours.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_sharded_checkpoint_is_read(tmp_path):
    theirs = foreign_model("llama", False)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    with torch.inference_mode():
        difference = (load_hugging_face(tmp_path)(ids()) - theirs(ids()).logits).abs().max()
    assert difference <= 1e-4


@pytest.fixture
def written(tmp_path):
    config = TransformerConfig(vocab_size=11, context_length=8, d_model=8, n_layers=1, n_heads=2)
    save_hugging_face(Decoder(config), tmp_path)
    return tmp_path


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'"),
        ({"attention_bias": True}, "attention_bias"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 8}}, "rope_type"),
        ({"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0]}}, "rope_type"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "low_freq_factor"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"num_hidden_layers": 2}, "missing tensors"),
        ({"intermediate_size": 64}, "expected"),
    ],
)
def test_what_the_decoder_lacks_is_refused(written, changes, words):
    change_config(written, **changes)
    with pytest.raises(UnsupportedCheckpoint, match=words):
        load_hugging_face(written)


def test_surplus_damaged_and_missing_files_are_named(written):
    path = written / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"model.layers.0.extra": torch.ones(1)}, path)
    with pytest.raises(UnsupportedCheckpoint, match="model.layers.0.extra"):
        load_hugging_face(written)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UnsupportedCheckpoint, match="damaged"):
        load_hugging_face(written)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="safetensors alone"):
        load_hugging_face(written)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_hugging_face(written / "nowhere")


def test_index_that_leads_out_of_the_folder_is_refused(written):
    index = {"weight_map": {"model.norm.weight": "../model.safetensors"}}
    (written / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnsupportedCheckpoint, match="outside the folder"):
        load_hugging_face(written)


def test_wrong_kind_is_refused(tmp_path):
    config = TransformerConfig(vocab_size=11, context_length=8, d_model=8, n_layers=1, n_heads=2)
    with pytest.raises(UnsupportedCheckpoint, match="fits .'llama', 'mistral'., not 'qwen3'"):
        save_hugging_face(Decoder(config), tmp_path, kind="qwen3")


@pytest.mark.parametrize(
    "sizes, words",
    [
        ({"d_model": 10, "n_heads": 4, "d_head": 4}, "not a multiple"),
        ({"d_model": 12, "n_heads": 4, "d_head": 4, "rope_theta": -1.0}, "rope_theta"),
    ],
)
def test_what_transformers_would_refuse_is_not_written(tmp_path, sizes, words):
    model = Decoder(TransformerConfig(vocab_size=11, context_length=8, n_layers=1, **sizes))
    with pytest.raises(UnsupportedCheckpoint, match=words):
        save_hugging_face(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cast_or_compiled_model_is_written_with_its_ids(tmp_path, dtype):
    import transformers

    config = TransformerConfig(vocab_size=11, context_length=8, d_model=8, n_layers=1, n_heads=2)
    model = Decoder(config).to(dtype)
    save_hugging_face(torch.compile(model), tmp_path, end_id=3, pad_id=4)
    settings = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (settings.eos_token_id, settings.pad_token_id) == (3, 4)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.dtype == dtype and theirs.config.eos_token_id == 3
    for name, weight in load_hugging_face(tmp_path).named_parameters():
        assert torch.equal(weight, model.get_parameter(name)) and weight.dtype == dtype
    with pytest.raises(UnsupportedCheckpoint, match="eos_token_id 11"):
        save_hugging_face(model, tmp_path, end_id=11)


def test_rotary_tables_stay_exact_in_bfloat16():
    config = TransformerConfig(vocab_size=11, context_length=600, d_model=8, n_layers=1, n_heads=2)
    cos, sin = rope_table(600, 4)
    for kind in (Decoder, AttentionOnly):
        model = kind(config)
        for cast in (model.to(torch.bfloat16), model.half(), model.double()):
            assert cast.cos.dtype == cast.sin.dtype == torch.float32
            assert cast(torch.tensor([[1, 2, 3]])).dtype == cast.embedding.weight.dtype
        assert torch.equal(model.cos[:, 0], cos) and torch.equal(model.sin[:, 0], sin)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[1, 2]", "holds a list"),
        (b"null", "holds a NoneType"),
        (b"\xef\xbb\xbf{}", "byte-order mark"),
        (b"\xff\xfe{}", "no JSON"),
        (LFS, "git LFS"),
        (b'{"rms_norm_eps": NaN}', "NaN"),
        (b'{"rope_theta": Infinity}', "Infinity"),
        (b'{"vocab_size": 1, "vocab_size": 2}', "twice"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_a_broken_json_file_is_named(written, file, content, words):
    (written / file).write_bytes(content)
    with pytest.raises(UnsupportedCheckpoint, match=words) as caught:
        load_hugging_face(written)
    assert str(written / file) in str(caught.value)


@pytest.mark.parametrize(
    "weight_map", [None, [], {}, "a", {"a": 1}, {"a": ""}, {"a": "/etc/x"}, {"a": "x/../y"}]
)
def test_an_index_without_a_map_of_files_is_refused(written, weight_map):
    index = written / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(UnsupportedCheckpoint, match=r"index\.json"):
        load_hugging_face(written)


def test_a_stale_index_is_refused(written):
    index, single = written / "model.safetensors.index.json", written / "model.safetensors"
    names = list(load_file(single))
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "part-1.safetensors")}))
    with pytest.raises(UnsupportedCheckpoint, match="stale"):  # beside a single file
        load_hugging_face(written)
    single.rename(written / "part-1.safetensors")
    assert load_hugging_face(written)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names[1:], "part-1.safetensors")}))
    with pytest.raises(UnsupportedCheckpoint, match="disagree on"):  # names fewer tensors
        load_hugging_face(written)


@pytest.mark.parametrize("n_bytes", [0, 4, 8, 100, -1])
def test_truncated_tensors_are_named(written, n_bytes):
    path = written / "model.safetensors"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(UnsupportedCheckpoint, match="damaged") as caught:
        load_hugging_face(written)
    assert str(path) in str(caught.value)


def test_pointers_and_adapters_are_named(written):
    (written / "adapter_config.json").write_text("{}")
    with pytest.raises(UnsupportedCheckpoint, match="adapter"):
        load_hugging_face(written)
    (written / "adapter_config.json").unlink()
    (written / "model.safetensors").write_bytes(LFS)
    with pytest.raises(UnsupportedCheckpoint, match="git LFS"):
        load_hugging_face(written)


DOWN = "model.layers.0.mlp.down_proj.weight"


@pytest.mark.parametrize(
    "name, change, words",
    [
        (DOWN, lambda w: w.to(torch.int8), f"{DOWN} is torch.int8: quantised"),
        (DOWN, lambda w: w.to(torch.float8_e4m3fn), "quantised"),
        (DOWN, lambda w: w * float("nan"), f"{DOWN} holds NaN"),
        (DOWN, lambda w: w.bfloat16(), "bfloat16"),
        (DOWN, lambda w: w[:, 1:], f"{DOWN} has shape"),
        ("model.layers.0.self_attn.k_proj.weight", lambda w: w[1:], "k_proj.weight has shape"),
        ("lm_head.weight", lambda w: w + 1, "tie_word_embeddings"),
    ],
)
def test_tensors_that_contradict_the_configuration_are_named(written, name, change, words):
    path = written / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path)
    load_hugging_face(written)  # the tied matrix stored twice, and equal
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, path)
    with pytest.raises(UnsupportedCheckpoint, match=words):
        load_hugging_face(written)


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_a_dtype_that_the_tensors_do_not_have_is_refused(written, name):
    change_config(written, **{name: "bfloat16"})
    with pytest.raises(UnsupportedCheckpoint, match="bfloat16"):
        load_hugging_face(written)
