"""What a model is for the planner: its sizes, from a table or any config.json.

Left out on purpose: what changes neither bytes nor operations by more than a per cent, such as
biases and norms. A mixture of experts counts all experts in memory and the chosen ones in time;
the traffic of its router is not counted. Sizes are those of the public config.json of each model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Architecture:
    """The sizes of a decoder."""

    name: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_ff: int
    vocab_size: int
    is_gated: bool = True
    is_tied: bool = False
    n_experts: int = 1
    n_chosen: int = 1


MODELS = {
    model.name: model
    for model in (
        Architecture("llama2-7b", 32, 4096, 32, 32, 11008, 32000),
        Architecture("llama2-13b", 40, 5120, 40, 40, 13824, 32000),
        Architecture("llama2-70b", 80, 8192, 64, 8, 28672, 32000),
        Architecture("llama3-8b", 32, 4096, 32, 8, 14336, 128256),
        Architecture("llama3-70b", 80, 8192, 64, 8, 28672, 128256),
        Architecture("llama3-405b", 126, 16384, 128, 8, 53248, 128256),
        Architecture("bloom-176b", 70, 14336, 112, 112, 57344, 250880, False, True),
        Architecture("gpt3-175b", 96, 12288, 96, 96, 49152, 51200, False, True),
        Architecture("mixtral-8x7b", 32, 4096, 32, 8, 14336, 32000, n_experts=8, n_chosen=2),
        Architecture("smollm2-135m", 30, 576, 9, 3, 1536, 49152, is_tied=True),
    )
}

# config.json of the hub -> our words; the second name is that of older models
NAMES = {
    "n_layers": ("num_hidden_layers", "n_layer"),
    "d_model": ("hidden_size", "n_embd"),
    "n_heads": ("num_attention_heads", "n_head"),
    "vocab_size": ("vocab_size",),
}


def find_model(name: str) -> Architecture:
    """Return a model of the table.

    Raises:
        ValueError: for a name that is not there; it lists those that are.

    >>> find_model("llama3-70b").n_layers
    80
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r} in the table; there are {', '.join(MODELS)}")
    return MODELS[name]


def read_config(path: Path) -> Architecture:
    """Return the sizes that a config.json states.

    Raises:
        ValueError: for a file that is no JSON object, or lacks a size; it names the fields.
        FileNotFoundError: where there is no such file.
    """
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no JSON object")
    sizes = {
        ours: next((config[name] for name in theirs if config.get(name) is not None), None)
        for ours, theirs in NAMES.items()
    }
    absent = [" or ".join(NAMES[ours]) for ours, size in sizes.items() if size is None]
    if absent:
        raise ValueError(f"{path} does not state {', '.join(absent)}: the plan needs each size")
    is_gated = "intermediate_size" in config and config.get("model_type") not in ("gpt_neox", "opt")
    sizes["d_ff"] = config.get("intermediate_size") or config.get("n_inner") or 4 * sizes["d_model"]
    sizes["n_kv_heads"] = config.get("num_key_value_heads") or sizes["n_heads"]
    sizes["n_experts"] = config.get("num_local_experts") or config.get("num_experts") or 1
    sizes["n_chosen"] = config.get("num_experts_per_tok") or 1
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise ValueError(f"{path}: {name} is {size!r}, which is no size")
    if sizes["d_model"] % sizes["n_heads"]:
        raise ValueError(
            f"{path}: d_model {sizes['d_model']} is not divisible by {sizes['n_heads']} heads"
        )
    name = str(config.get("_name_or_path") or Path(path).resolve().parent.name or "config")
    return Architecture(
        name, is_gated=is_gated, is_tied=bool(config.get("tie_word_embeddings", False)), **sizes
    )


def attention_weights(model: Architecture) -> int:
    """Return the weights of one layer's attention: query and output, key and value.

    >>> attention_weights(find_model("llama3-70b")) / 2**20
    144.0
    """
    d_kv = model.d_model * model.n_kv_heads // model.n_heads
    return 2 * model.d_model * model.d_model + 2 * model.d_model * d_kv


def expert_weights(model: Architecture) -> int:
    """Return the weights of one feed-forward part: three matrices where it is gated, else two."""
    return (3 if model.is_gated else 2) * model.d_model * model.d_ff


def layer_weights(model: Architecture) -> int:
    """Return the weights of one layer, all experts counted."""
    return attention_weights(model) + expert_weights(model) * model.n_experts


def n_parameters(model: Architecture) -> int:
    """Return the number of parameters, without norms and biases.

    >>> round(n_parameters(find_model("llama3-70b")) / 1e9, 1)
    70.6
    """
    tables = model.vocab_size * model.d_model * (1 if model.is_tied else 2)
    return model.n_layers * layer_weights(model) + tables


def forward_flops(model: Architecture, seq_len: int, is_causal: bool = False) -> float:
    """Return the floating-point operations of the forward pass for one token.

    Args:
        model: its sizes.
        seq_len: tokens of a sequence.
        is_causal: count half of the attention scores, since the other half is masked.

    Source: PaLM (arXiv:2204.02311), appendix B.

    >>> round(forward_flops(find_model("llama3-70b"), 8192) / 1e9)
    160
    """
    chosen = attention_weights(model) + expert_weights(model) * model.n_chosen
    scores = 4 * seq_len * model.d_model * (0.5 if is_causal else 1.0)
    return model.n_layers * (2 * chosen + scores) + 2 * model.vocab_size * model.d_model
