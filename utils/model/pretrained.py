"""Reading and writing Hugging Face checkpoints: Llama, Mistral, Qwen2 and Qwen3.

SmolLM2 and Llama 3.x are checkpoints of the Llama family, Qwen2.5 of Qwen2. What config.json says
is the matter of `families.py`, which lists what is read and what is refused; here are the tensors,
and `tensor_names` says which of theirs are stacked into each of ours. Left out on purpose: other
families, adapters, quantised and pickled weights.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from utils.model.checkpoint_files import SINGLE, UnsupportedCheckpoint, read_json, read_tensors
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder, decoder_of
from utils.model.families import family_of, read_config, write_config


def tensor_names(config: TransformerConfig) -> dict[str, list[str]]:
    """Return our weight names, each with the names whose tensors are stacked into it.

    Stacked along the first axis, in this order: queries, keys and values; gate and up. A matrix is
    (outputs, inputs) on both sides, and heads come in the same order, so nothing is turned round.
    A tied table has one name, that of the embedding.

    >>> config = TransformerConfig(vocab_size=8, context_length=8, d_model=8, n_layers=1, n_heads=2)
    >>> tensor_names(config)["blocks.0.feed_forward.down.weight"]
    ['model.layers.0.mlp.down_proj.weight']
    """
    return {ours: list(sources) for ours, sources in tensor_shapes(config).items()}


def tensor_shapes(config: TransformerConfig) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return our weight names, each with the tensors that are stacked into it and their shapes.

    >>> config = TransformerConfig(vocab_size=8, context_length=8, d_model=8, n_layers=1, n_heads=2)
    >>> tensor_shapes(config)["norm.weight"]
    {'model.norm.weight': (8,)}
    """
    D, table = config.d_model, (config.vocab_size, config.d_model)
    q, kv = config.n_heads * config.d_head, config.n_kv_heads * config.d_head
    shapes = {
        "embedding.weight": {"model.embed_tokens.weight": table},
        "norm.weight": {"model.norm.weight": (D,)},
    }
    if not config.tie_embeddings:
        shapes["unembedding.weight"] = {"lm_head.weight": table}
    rows = {"self_attn.q_proj": q, "self_attn.k_proj": kv, "self_attn.v_proj": kv}
    parts = {
        "attention_norm": {"input_layernorm.weight": (D,)},
        "attention.qkv": {f"{name}.weight": (n, D) for name, n in rows.items()},
        "attention.output": {"self_attn.o_proj.weight": (D, q)},
        "feed_forward_norm": {"post_attention_layernorm.weight": (D,)},
        "feed_forward.gate_up": {
            f"mlp.{name}_proj.weight": (config.d_ff, D) for name in ("gate", "up")
        },
        "feed_forward.down": {"mlp.down_proj.weight": (D, config.d_ff)},
    }
    if config.qk_norm:
        parts["attention.q_norm"] = {"self_attn.q_norm.weight": (config.d_head,)}
        parts["attention.k_norm"] = {"self_attn.k_norm.weight": (config.d_head,)}
    if config.qkv_bias:
        parts["attention.qkv_bias"] = {f"{name}.bias": (n,) for name, n in rows.items()}
    for layer in range(config.n_layers):
        for part, sources in parts.items():
            shapes[f"blocks.{layer}.{part}.weight"] = {
                f"model.layers.{layer}.{source}": shape for source, shape in sources.items()
            }
    return shapes


def load_hugging_face(folder: Path | str) -> Decoder:
    """Return a decoder with the weights of a checkpoint, in its dtype.

    Args:
        folder: holds config.json and safetensors, in one file or sharded with an index.

    Raises:
        FileNotFoundError: where a file is missing.
        UnsupportedCheckpoint: where the decoder can't represent the checkpoint, or its files are
            damaged or contradict each other.
    """
    folder = Path(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no config.json: is it the checkpoint's folder?")
    if (folder / "adapter_config.json").is_file():
        raise UnsupportedCheckpoint(f"{folder} holds an adapter: merge it into the weights first")
    content = read_json(path)
    try:
        config = read_config(content)
    except UnsupportedCheckpoint as error:
        raise UnsupportedCheckpoint(f"{path}: {error}") from None
    tensors = read_tensors(folder)
    check_dtype(path, content, tensors)
    return decoder_of(config, translate_tensors(folder, config, tensors))


def check_dtype(path: Path, content: dict, tensors: dict[str, Tensor]) -> None:
    """Refuse tensors of several dtypes, or of another than config.json names if it names one."""
    found = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    said = [content[name] for name in ("dtype", "torch_dtype") if content.get(name) is not None]
    if len(found) != 1 or any(name != found[0] for name in said):
        raise UnsupportedCheckpoint(
            f"{path} says that the weights are {said}, and the tensors are {found}: rounded "
            "weights give other logits, so make them agree"
        )


def translate_tensors(
    folder: Path, config: TransformerConfig, tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint under our names, stacked as the decoder has them."""
    shapes = tensor_shapes(config)
    table, output = tensors.get("model.embed_tokens.weight"), tensors.get("lm_head.weight")
    if config.tie_embeddings and None not in (table, output):  # some files store it twice
        if not torch.equal(table, output):
            raise UnsupportedCheckpoint(
                f"{folder}: tie_word_embeddings is set, but lm_head.weight is not "
                "model.embed_tokens.weight"
            )
        tensors = {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}
    tensors = {k: v for k, v in tensors.items() if not k.endswith("rotary_emb.inv_freq")}
    wanted = {source: shape for sources in shapes.values() for source, shape in sources.items()}
    missing, surplus = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or surplus:
        raise UnsupportedCheckpoint(
            f"{folder}: missing tensors {missing[:3]} and unexpected ones {surplus[:3]}"
        )
    for source, expected in wanted.items():
        if tensors[source].shape != expected:
            raise UnsupportedCheckpoint(
                f"{folder}: {source} has shape {tuple(tensors[source].shape)}, expected {expected} "
                "by config.json"
            )
    return {
        name: torch.cat([tensors[source] for source in sources]) for name, sources in shapes.items()
    }


def save_hugging_face(
    model: Decoder,
    folder: Path | str,
    kind: str | None = None,
    *,
    end_id: int | None = None,
    pad_id: int | None = None,
) -> None:
    """Write a checkpoint that `transformers` loads with AutoModelForCausalLM.

    Args:
        model: a decoder, compiled or not.
        folder: made if missing.
        kind: "llama", "mistral", "qwen2" or "qwen3"; None for the one that fits, and llama where
            mistral fits as well.
        end_id: the token that ends a text, for `generate` of `transformers`.
        pad_id: the token that stands where there is none.

    Raises:
        UnsupportedCheckpoint: where the family has no such feature, or its own class refuses the
            sizes; nothing is written.
    """
    config = model.config
    family = family_of(config, kind)
    ids = {"bos_token_id": None, "eos_token_id": end_id, "pad_token_id": pad_id}
    for name, number in ids.items():
        if number is not None and not 0 <= number < config.vocab_size:
            raise UnsupportedCheckpoint(f"{name} {number} is outside of the vocabulary")
    dtype = str(model.embedding.weight.dtype).removeprefix("torch.")
    content = write_config(config, family) | ids | {"dtype": dtype}
    tensors = foreign_tensors(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
    for file, what in (("config.json", content), ("generation_config.json", ids)):
        text = json.dumps(what, indent=2, sort_keys=True)
        (folder / file).write_text(text + "\n", encoding="utf-8")


def foreign_tensors(model: Decoder) -> dict[str, Tensor]:
    """Return the weights of a decoder under the family's names, as copies on the CPU."""
    # torch.compile puts this word into the names of what it wraps
    weights = {name.replace("_orig_mod.", ""): w for name, w in model.named_parameters()}
    tensors = {}
    for name, sources in tensor_shapes(model.config).items():
        parts = weights[name].split([shape[0] for shape in sources.values()])
        for source, part in zip(sources, parts, strict=True):
            tensors[source] = part.detach().cpu().clone().contiguous()
    return tensors
