"""What a config.json says, in our words and back: the families Llama, Mistral, Qwen2 and Qwen3.

Here, in `rope_config.py` and in `pretrained.py` alone foreign names appear. What a configuration
leaves out takes the default of the family's own class in `transformers`; a name that is not known
to leave the logits alone is refused, and so is what contradicts itself.

Read: rotary positions, plain or scaled ("linear", "llama3", "yarn"), in both spellings
(`rope_parameters`; `rope_scaling` and `rope_theta`); biases of Qwen2; norms of Qwen3. Refused:
other families, sliding windows, rotary positions that depend on a text's length ("dynamic",
"longrope"), other biases and activations, quantised weights.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from utils.model.checkpoint_files import UnsupportedCheckpoint
from utils.model.config import TransformerConfig
from utils.model.rope_config import read_scaling, read_theta, rope_parts, write_scaling

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
# The classes of `transformers` are called LlamaConfig and LlamaForCausalLM.
CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
FAMILIES = tuple(CLASSES)
# What a family has and others lack, in our words; and what is written for readers of a file, so
# that they need not know the family's defaults.
FEATURES = {"llama": {}, "mistral": {}, "qwen2": {"qkv_bias": True}, "qwen3": {"qk_norm": True}}
WRITTEN = {
    "llama": {"attention_bias": False, "mlp_bias": False},
    "mistral": {"sliding_window": None},
    "qwen2": {"use_sliding_window": False},
    "qwen3": {"attention_bias": False, "use_sliding_window": False},
}

# Names that can't change a logit, whatever they say, by the reason why.
HARMLESS = {
    "they say where the file comes from": (
        "_name_or_path name_or_path _model_name_or_path _commit_hash transformers_version "
        "transformers.js_config is_llama_config unsloth_version unsloth_fixed "
        "_attn_implementation_autoset"
    ),
    "they start or disturb a training": "initializer_range attention_dropout",
    "they say what else a call returns": "output_attentions use_cache",
    "they cut a computation in pieces": "chunk_size_feed_forward pretraining_tp",
    "they matter with use_sliding_window alone, which is refused": "max_window_layers",
    "they are ids that text is made with": "bos_token_id eos_token_id unk_token_id",
    "they belong to a classifier's last layer": "id2label label2id num_labels problem_type",
    "they choose a token once the logits are there": (
        "do_sample temperature top_k top_p typical_p max_length min_length num_beams "
        "repetition_penalty length_penalty no_repeat_ngram_size num_return_sequences"
    ),
}
KNOWN = {name for names in HARMLESS.values() for name in names.split()} | {*TRANSLATION.values()}
# Names that are judged together with others, by a function of their own.
KNOWN |= {"model_type", "rope_parameters", "rope_scaling", "rope_theta", "dtype", "torch_dtype"}
KNOWN |= {"pad_token_id", "sliding_window"}
# `transformers` computes what False says, and does not read the name: True says otherwise.
ONLY_FALSE = ("rope_interleaved", "use_mrope")
MAX_TABLE = 2**28  # numbers in the rotary tables, a gigabyte
MAX_LISTED = 100_000  # layers and labels: the family's class makes lists of them


def read_config(content: dict) -> TransformerConfig:
    """Return our configuration for the content of a config.json.

    Raises:
        UnsupportedCheckpoint: for another family, what the family's own class refuses, a name that
            is not known to leave the logits alone, or names that contradict each other.
    """
    family = content.get("model_type")
    if family not in FAMILIES:
        raise UnsupportedCheckpoint(f"model_type is {family!r}; the decoder reads {FAMILIES}")
    rope_parts(content)
    theirs = family_config(content)
    refuse_unknown(content, theirs)
    numbers = read_numbers(theirs)
    pad_id = theirs.pad_token_id
    if pad_id is not None and not -theirs.vocab_size <= pad_id < theirs.vocab_size:
        raise UnsupportedCheckpoint(f"pad_token_id is {pad_id}, which is outside the vocabulary")
    window = getattr(theirs, "sliding_window", None)
    if window is not None:
        whose = "" if "sliding_window" in content else f", the default of {family}"
        raise UnsupportedCheckpoint(
            f"sliding_window is {window!r}{whose}: the decoder sees all tokens before"
        )
    parts = rope_parts(content)
    theta = read_theta([content, *parts], theirs.rope_parameters)
    scaling = read_scaling(parts, theirs.rope_parameters)
    if scaling is not None and scaling.kind == "yarn" and theta <= 1:
        raise UnsupportedCheckpoint(f"rope_theta is {theta}, expected above 1 for 'yarn'")
    try:
        return TransformerConfig(
            **numbers, rope_theta=theta, rope_scaling=scaling, **FEATURES[family]
        )
    except ValueError as error:
        raise UnsupportedCheckpoint(str(error)) from None


def read_numbers(theirs: PreTrainedConfig) -> dict[str, int | float | bool]:
    """Return the sizes and constants of a configuration under our names; refuse odd ones."""
    numbers = {}
    for ours, name in TRANSLATION.items():
        kind, least = {"norm_eps": (float, 0), "tie_embeddings": (bool, 0)}.get(ours, (int, 1))
        if ours == "d_head" and not hasattr(theirs, name):  # Qwen2's class has no such name
            name = "hidden_size // num_attention_heads"
            number = theirs.hidden_size // theirs.num_attention_heads
        else:
            number = getattr(theirs, name)
        if type(number) is not kind or not least <= number < 2**31:
            raise UnsupportedCheckpoint(f"{name} is {number!r}, expected a usual {kind.__name__}")
        numbers[ours] = number
    if numbers["context_length"] * numbers["d_head"] > MAX_TABLE:
        raise UnsupportedCheckpoint(
            f"max_position_embeddings is {numbers['context_length']}: the rotary tables would hold "
            f"more than {MAX_TABLE} numbers"
        )
    return numbers


def family_config(content: dict) -> PreTrainedConfig:
    """Return the configuration as `transformers` itself understands it, defaults filled in."""
    import transformers

    for name in ("num_hidden_layers", "num_labels"):
        number = content.get(name)
        if isinstance(number, int | float) and number > MAX_LISTED:
            raise UnsupportedCheckpoint(f"{name} is {number}, expected at most {MAX_LISTED}")
    family = getattr(transformers, f"{CLASSES[content['model_type']]}Config")
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
        if name in ONLY_FALSE and content[name] is False:
            continue
        if name == "architectures":
            if content[name] not in (None, [f"{CLASSES[theirs.model_type]}ForCausalLM"]):
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


def family_of(config: TransformerConfig, family: str | None = None) -> str:
    """Return the family that has what a decoder has; refuse one that hasn't.

    Args:
        family: the one that is wished; None for the first that fits.
    """
    own = {"qkv_bias": config.qkv_bias or False, "qk_norm": config.qk_norm}
    lacks = dict.fromkeys(own, False)
    fitting = [name for name, features in FEATURES.items() if lacks | features == own]
    if not fitting or family not in (None, *fitting):
        raise UnsupportedCheckpoint(
            f"a decoder with {own} fits {fitting or 'no family that we write'}, not {family!r}"
        )
    return family or fitting[0]


def write_config(config: TransformerConfig, family: str) -> dict:
    """Return the content of a config.json that says what a configuration says.

    Raises:
        UnsupportedCheckpoint: where `read_config` would not give the same configuration.
    """
    plain = {"rope_type": "default", "rope_theta": config.rope_theta}
    content = {theirs: getattr(config, ours) for ours, theirs in TRANSLATION.items()}
    content |= WRITTEN[family] | {
        "model_type": family,
        "architectures": [f"{CLASSES[family]}ForCausalLM"],
        "hidden_act": "silu",
        "rope_theta": config.rope_theta,
        "rope_parameters": plain,
    }
    if config.rope_scaling is not None:
        scaling = write_scaling(config.rope_scaling)
        # An older `transformers` reads rope_scaling, and would take positions for plain without.
        content |= {"rope_scaling": scaling, "rope_parameters": plain | scaling}
    if read_config(content) != config:
        raise UnsupportedCheckpoint(f"{config} can't be said in a config.json of {family}")
    return content
