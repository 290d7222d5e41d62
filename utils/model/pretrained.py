"""Reading and writing Hugging Face checkpoints of the Llama and Qwen3 families.

The only module where foreign names appear: TRANSLATION turns numbers, `tensor_names` weights. What
a configuration leaves out takes the default of the family's own class in `transformers`; a name
that is not known to leave the logits alone is refused. Left out on purpose: other families, scaled
rotary positions, biases, quantised weights.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from utils.model.checkpoint_files import SINGLE, UnsupportedCheckpoint, read_json, read_tensors
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

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
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
KINDS = tuple(ARCHITECTURES)

# Names that can't change a logit, whatever they say, by the reason why.
HARMLESS = {
    "they say where the file comes from": (
        "_name_or_path name_or_path _commit_hash transformers_version transformers.js_config "
        "is_llama_config unsloth_version unsloth_fixed _attn_implementation_autoset"
    ),
    "they start or disturb a training": "initializer_range attention_dropout",
    "they say what else a call returns": "output_attentions use_cache",
    "they cut a computation in pieces": "chunk_size_feed_forward pretraining_tp",
    "they matter with use_sliding_window alone, which is refused": "max_window_layers",
    "they are ids that text is made with": "bos_token_id eos_token_id",
    "they belong to a classifier's last layer": "id2label label2id num_labels problem_type",
    "they choose a token once the logits are there": (
        "do_sample temperature top_k top_p typical_p max_length min_length num_beams "
        "repetition_penalty length_penalty no_repeat_ngram_size num_return_sequences"
    ),
}
KNOWN = {name for names in HARMLESS.values() for name in names.split()} | {*TRANSLATION.values()}
# Names that are judged together with others, by a function of their own.
KNOWN |= {"model_type", "rope_parameters", "rope_scaling", "rope_theta", "dtype", "torch_dtype"}
KNOWN |= {"pad_token_id"}
MAX_TABLE = 2**28  # numbers in the rotary tables, a gigabyte
MAX_LISTED = 100_000  # layers and labels: the family's class makes lists of them


def read_config(content: dict) -> TransformerConfig:
    """Return our configuration for the content of a config.json.

    Raises:
        UnsupportedCheckpoint: for another family, what the family's own class refuses, a name that
            is not known to leave the logits alone, or names that contradict each other.
    """
    kind = content.get("model_type")
    if kind not in KINDS:
        raise UnsupportedCheckpoint(f"model_type is {kind!r}; the decoder reads {KINDS}")
    rope_parts(content)
    theirs = family_config(content)
    refuse_unknown(content, theirs)
    numbers = {ours: getattr(theirs, name) for ours, name in TRANSLATION.items()}
    for ours, number in numbers.items():
        kind, least = {"norm_eps": (float, 0), "tie_embeddings": (bool, 0)}.get(ours, (int, 1))
        if type(number) is not kind or not least <= number < 2**31:
            raise UnsupportedCheckpoint(
                f"{TRANSLATION[ours]} is {number!r}, expected a usual {kind.__name__}"
            )
    if numbers["context_length"] * numbers["d_head"] > MAX_TABLE:
        raise UnsupportedCheckpoint(
            f"max_position_embeddings is {numbers['context_length']}: the rotary tables would hold "
            f"more than {MAX_TABLE} numbers"
        )
    pad_id = theirs.pad_token_id
    if pad_id is not None and not -theirs.vocab_size <= pad_id < theirs.vocab_size:
        raise UnsupportedCheckpoint(f"pad_token_id is {pad_id}, which is outside the vocabulary")
    theta = read_theta(content, theirs)
    try:
        return TransformerConfig(**numbers, rope_theta=theta, qk_norm=theirs.model_type == "qwen3")
    except ValueError as error:
        raise UnsupportedCheckpoint(str(error)) from None


def family_config(content: dict) -> PreTrainedConfig:
    """Return the configuration as `transformers` itself understands it, defaults filled in."""
    import transformers

    for name in ("num_hidden_layers", "num_labels"):
        number = content.get(name)
        if isinstance(number, int | float) and number > MAX_LISTED:
            raise UnsupportedCheckpoint(f"{name} is {number}, expected at most {MAX_LISTED}")
    is_llama = content["model_type"] == "llama"
    family = transformers.LlamaConfig if is_llama else transformers.Qwen3Config
    reason = refusal(family, content)
    if reason:
        accepted = (name for name in content if not refusal(family, content, without=name))
        raise UnsupportedCheckpoint(
            f"transformers refuses it ({reason}); without {next(accepted, 'one name')} it does not"
        )
    return family(**copy.deepcopy(content))


def refusal(family: type[PreTrainedConfig], content: dict, without: str | None = None) -> str:
    """Return why a family's class refuses a configuration, or "" where it takes it."""
    content = {name: copy.deepcopy(value) for name, value in content.items() if name != without}
    try:
        family(**content)
    except Exception as error:  # the class has no error of its own: anything is a refusal
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def refuse_unknown(content: dict, theirs: PreTrainedConfig) -> None:
    """Refuse what may change the logits: names that are neither known nor say the default."""
    plain = type(theirs)(num_hidden_layers=theirs.num_hidden_layers)
    for name in content:
        if name == "quantization_config":
            raise UnsupportedCheckpoint("quantization_config is set; plain weights are read")
        if name == "rope_interleaved" and content[name] is False:
            continue  # what `transformers` computes; True would say otherwise than it does
        if name == "architectures":
            if content[name] not in (None, [ARCHITECTURES[theirs.model_type]]):
                raise UnsupportedCheckpoint(
                    f"architectures is {content[name]}, but model_type is {theirs.model_type!r}"
                )
        elif name not in KNOWN and (
            not hasattr(plain, name)
            or getattr(theirs, name) != getattr(plain, name)
            or type(getattr(theirs, name)) is not type(getattr(plain, name))  # 0.0 is no False
        ):
            raise UnsupportedCheckpoint(
                f"{name} is {content[name]!r}, which may change what the model computes: the "
                "decoder has no such feature"
            )


def rope_parts(content: dict) -> list[dict]:
    """Return what a config.json says of rotary positions; refuse all but plain ones."""
    parts = [content[name] for name in ("rope_parameters", "rope_scaling") if content.get(name)]
    for part in parts:
        plain = isinstance(part, dict) and set(part) <= {"rope_type", "type", "rope_theta"}
        if not plain or {part.get(name, "default") for name in ("rope_type", "type")} != {
            "default"
        }:
            raise UnsupportedCheckpoint(
                f"rotary positions are scaled ({part}); plain ones are read"
            )
    return parts


def read_theta(content: dict, theirs: PreTrainedConfig) -> float:
    """Return the base of the rotary angles; refuse two of them that differ."""
    theta = theirs.rope_parameters["rope_theta"]
    if type(theta) not in (int, float) or not 0 < theta < 2**63:
        raise UnsupportedCheckpoint(f"rope_theta is {theta!r}, expected a usual number above 0")
    said = [part["rope_theta"] for part in [content, *rope_parts(content)] if "rope_theta" in part]
    if any(other != theta for other in said):
        raise UnsupportedCheckpoint(f"rope_theta is {said}: which of them?")
    return float(theta)


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
    dtype = check_dtype(path, content, tensors)
    weights = translate_tensors(folder, config, tensors)
    model = Decoder(config).to(dtype)
    if config.tie_embeddings:
        weights["unembedding.weight"] = weights["embedding.weight"]
    model.load_state_dict(weights)
    return model


def check_dtype(path: Path, content: dict, tensors: dict[str, Tensor]) -> torch.dtype:
    """Return the one dtype that all tensors have, and that config.json names if it names one."""
    found = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    said = [content[name] for name in ("dtype", "torch_dtype") if content.get(name) is not None]
    if len(found) != 1 or any(name != found[0] for name in said):
        raise UnsupportedCheckpoint(
            f"{path} says that the weights are {said}, and the tensors are {found}: rounded "
            "weights give other logits, so make them agree"
        )
    return getattr(torch, found[0])


def translate_tensors(
    folder: Path, config: TransformerConfig, tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint under our names, stacked as the decoder has them."""
    names = tensor_names(config)
    table, output = tensors.get("model.embed_tokens.weight"), tensors.get("lm_head.weight")
    if config.tie_embeddings and None not in (table, output):  # some files store it twice
        if not torch.equal(table, output):
            raise UnsupportedCheckpoint(
                f"{folder}: tie_word_embeddings is set, but lm_head.weight is not "
                "model.embed_tokens.weight"
            )
        tensors = {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}
    tensors = {k: v for k, v in tensors.items() if not k.endswith("rotary_emb.inv_freq")}
    wanted = {source for sources in names.values() for source in sources}
    missing, surplus = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
    if missing or surplus:
        raise UnsupportedCheckpoint(
            f"{folder}: missing tensors {missing[:3]} and unexpected ones {surplus[:3]}"
        )
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in Decoder(config).named_parameters()}
    weights = {}
    for name, sources in names.items():
        rows = stacked_sizes(config, name) or [shapes[name][0]]
        for source, n_rows in zip(sources, rows, strict=True):
            expected = (n_rows, *shapes[name][1:])
            if tensors[source].shape != expected:
                raise UnsupportedCheckpoint(
                    f"{folder}: {source} has shape {tuple(tensors[source].shape)}, expected "
                    f"{expected} by config.json"
                )
        weights[name] = torch.cat([tensors[source] for source in sources])
    return weights


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
        kind: "llama" or "qwen3"; None for the one that fits.
        end_id: the token that ends a text, for `generate` of `transformers`.
        pad_id: the token that stands where there is none.

    Raises:
        UnsupportedCheckpoint: where the family has no such feature, or its own class refuses the
            sizes; nothing is written.
    """
    config = model.config
    fits = "qwen3" if config.qk_norm else "llama"
    if kind not in (None, fits):
        raise UnsupportedCheckpoint(
            f"a decoder with qk_norm={config.qk_norm} is a {fits} checkpoint, not {kind!r}"
        )
    ids = {"bos_token_id": None, "eos_token_id": end_id, "pad_token_id": pad_id}
    for name, number in ids.items():
        if number is not None and not 0 <= number < config.vocab_size:
            raise UnsupportedCheckpoint(f"{name} {number} is outside of the vocabulary")
    content = {theirs: getattr(config, ours) for ours, theirs in TRANSLATION.items()}
    content |= ids | {
        "model_type": fits,
        "architectures": [ARCHITECTURES[fits]],
        "hidden_act": "silu",
        "attention_bias": False,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "dtype": str(model.embedding.weight.dtype).removeprefix("torch."),
    }
    if read_config(content) != config:
        raise UnsupportedCheckpoint(f"{config} can't be said in a config.json of {fits}")
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
    for name, sources in tensor_names(model.config).items():
        sizes = stacked_sizes(model.config, name)
        parts = weights[name].split(sizes) if sizes else [weights[name]]
        for source, part in zip(sources, parts, strict=True):
            tensors[source] = part.detach().cpu().clone().contiguous()
    return tensors
