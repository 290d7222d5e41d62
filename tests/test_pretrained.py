"""Checkpoints of Llama and Qwen3, both ways, against transformers."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.pretrained import UnsupportedCheckpoint, load_hugging_face, save_hugging_face

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
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "rotary positions are scaled"),
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
    with pytest.raises(UnsupportedCheckpoint, match="llama checkpoint"):
        save_hugging_face(Decoder(config), tmp_path, kind="qwen3")
