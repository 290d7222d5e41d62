"""Reading and writing Hugging Face checkpoints of the Llama and Qwen3 families.

The only module where foreign names appear: TRANSLATION turns numbers, `tensor_names` weights.
Weights are safetensors, in one file or sharded. Left out on purpose: other families, scaled rotary
positions, biases; a checkpoint that has them is refused, since its logits would be wrong.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder

# Ours -> Hugging Face (GPT-2 says n_embd, n_layer, n_head; the Llama paper's code dim).
TRANSLATION = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "d_head": "head_dim",
    "d_ff": "intermediate_size",
    "norm_eps": "rms_norm_eps",
    "tie_embeddings": "tie_word_embeddings",
}
KINDS = ("llama", "qwen3")
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}


class UnsupportedCheckpoint(ValueError):
    """A checkpoint that the decoder can't represent; the message says what in it."""


def read_config(content: dict) -> TransformerConfig:
    """Return our configuration for the content of a config.json.

    Raises:
        UnsupportedCheckpoint: for another family, or a feature that the decoder lacks.
    """
    kind = content.get("model_type")
    if kind not in KINDS:
        raise UnsupportedCheckpoint(f"model_type is {kind!r}; the decoder reads {KINDS}")
    rope = content.get("rope_parameters") or content.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise UnsupportedCheckpoint(f"rotary positions are scaled ({rope}); plain ones are read")
    for name in ("attention_bias", "mlp_bias"):
        if content.get(name):
            raise UnsupportedCheckpoint(f"{name} is set; the decoder has no biases")
    if content.get("use_sliding_window"):
        raise UnsupportedCheckpoint("use_sliding_window is set; the decoder attends to all tokens")
    if content.get("hidden_act", "silu") != "silu":
        raise UnsupportedCheckpoint(f"hidden_act is {content['hidden_act']!r}; silu is read")
    numbers = {ours: content[theirs] for ours, theirs in TRANSLATION.items() if theirs in content}
    theta = content.get("rope_theta", rope.get("rope_theta", 10000.0))
    return TransformerConfig(**numbers, rope_theta=float(theta), qk_norm=kind == "qwen3")


def tensor_names(config: TransformerConfig) -> dict[str, list[str]]:
    """Return our weight names, each with the names whose tensors are stacked into it.

    >>> config = TransformerConfig(vocab_size=8, context_length=8, d_model=8, n_layers=1, n_heads=2)
    >>> tensor_names(config)["blocks.0.feed_forward.down.weight"]
    ['model.layers.0.mlp.down_proj.weight']
    """
    names = {
        "embedding.weight": ["model.embed_tokens.weight"],
        "norm.weight": ["model.norm.weight"],
    }
    if not config.tie_embeddings:
        names["unembedding.weight"] = ["lm_head.weight"]
    for layer in range(config.n_layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        parts = {
            "attention_norm": ["input_layernorm"],
            "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            "attention.output": ["self_attn.o_proj"],
            "feed_forward_norm": ["post_attention_layernorm"],
            "feed_forward.gate_up": ["mlp.gate_proj", "mlp.up_proj"],
            "feed_forward.down": ["mlp.down_proj"],
        }
        if config.qk_norm:
            parts |= {"attention.q_norm": ["self_attn.q_norm"]}
            parts |= {"attention.k_norm": ["self_attn.k_norm"]}
        for part, sources in parts.items():
            names[f"{ours}.{part}.weight"] = [f"{theirs}.{source}.weight" for source in sources]
    return names


def stacked_sizes(config: TransformerConfig, name: str) -> list[int] | None:
    """Return how many rows each source has in a stacked weight, or None where there is one."""
    if name.endswith("attention.qkv.weight"):
        kv = config.n_kv_heads * config.d_head
        return [config.n_heads * config.d_head, kv, kv]
    return [config.d_ff, config.d_ff] if name.endswith("gate_up.weight") else None


def load_hugging_face(folder: Path | str) -> Decoder:
    """Return a decoder with the weights of a Llama or Qwen3 checkpoint, in its dtype.

    Args:
        folder: holds config.json and safetensors, in one file or sharded with an index.

    Raises:
        FileNotFoundError: where a file is missing.
        UnsupportedCheckpoint: where the decoder can't represent the checkpoint, or tensors are
            missing, left over, damaged or of another shape.
    """
    folder = Path(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no config.json: is it the checkpoint's folder?")
    config = read_config(json.loads(path.read_text(encoding="utf-8")))
    tensors = read_tensors(folder)
    names = tensor_names(config)
    wanted = {source for sources in names.values() for source in sources}
    if config.tie_embeddings:
        tensors.pop("lm_head.weight", None)  # some files store the tied matrix twice
    tensors = {k: v for k, v in tensors.items() if not k.endswith("rotary_emb.inv_freq")}
    missing, surplus = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
    if missing or surplus:
        raise UnsupportedCheckpoint(
            f"{folder}: missing tensors {missing[:3]} and unexpected ones {surplus[:3]}"
        )
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in Decoder(config).named_parameters()}
    weights = {}
    for name, sources in names.items():
        try:
            weight = torch.cat([tensors[source] for source in sources])
        except RuntimeError as error:
            raise UnsupportedCheckpoint(f"{sources} can't be stacked: {error}") from None
        if weight.shape != shapes[name]:
            raise UnsupportedCheckpoint(
                f"{sources} have shape {tuple(weight.shape)}, expected {tuple(shapes[name])}"
            )
        weights[name] = weight
    model = Decoder(config).to(weights["embedding.weight"].dtype)
    if config.tie_embeddings:
        weights["unembedding.weight"] = weights["embedding.weight"]
    model.load_state_dict(weights)
    return model


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint folder.

    Raises:
        FileNotFoundError: where there are no safetensors, or a shard is missing.
        UnsupportedCheckpoint: where a file is damaged.
    """
    index = folder / "model.safetensors.index.json"
    files = ["model.safetensors"]
    if index.is_file():
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    tensors: dict[str, Tensor] = {}
    for file in files:
        path = folder / file
        if path.parent.resolve() != folder.resolve():
            raise UnsupportedCheckpoint(f"the index names {file!r}, which is outside the folder")
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} lacks {file}: the course reads safetensors alone, never pickled weights"
            )
        try:
            tensors |= load_file(path)
        except SafetensorError as error:
            raise UnsupportedCheckpoint(f"{path} is damaged: {error}; fetch it again") from None
    return tensors


def save_hugging_face(model: Decoder, folder: Path | str, kind: str | None = None) -> None:
    """Write a checkpoint that `transformers` loads with AutoModelForCausalLM.

    Args:
        model: a decoder.
        folder: made if missing.
        kind: "llama" or "qwen3"; None for the one that fits.

    Raises:
        UnsupportedCheckpoint: where the family has no such feature.
    """
    config = model.config
    fits = "qwen3" if config.qk_norm else "llama"
    if kind not in (None, fits):
        raise UnsupportedCheckpoint(
            f"a decoder with qk_norm={config.qk_norm} is a {fits} checkpoint, not {kind!r}"
        )
    content = {theirs: getattr(config, ours) for ours, theirs in TRANSLATION.items()}
    content |= {
        "model_type": fits,
        "architectures": [ARCHITECTURES[fits]],
        "hidden_act": "silu",
        "attention_bias": False,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "dtype": str(model.embedding.weight.dtype).removeprefix("torch."),
        "bos_token_id": None,
        "eos_token_id": None,
    }
    weights, tensors = dict(model.named_parameters()), {}
    for name, sources in tensor_names(config).items():
        sizes = stacked_sizes(config, name)
        parts = weights[name].split(sizes) if sizes else [weights[name]]
        for source, part in zip(sources, parts, strict=True):
            tensors[source] = part.detach().cpu().clone().contiguous()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.dumps(content, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
