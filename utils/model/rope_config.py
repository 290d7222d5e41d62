"""What a config.json says of rotary positions, in both spellings, and back.

New files have `rope_parameters`, older ones `rope_scaling` beside `rope_theta`; both may be there
if they agree. What `RopeScaling` does not compute as `transformers` does is refused by name.
"""

from __future__ import annotations

from utils.model.checkpoint_files import UnsupportedCheckpoint
from utils.model.rope_scaling import RopeScaling, yarn_attention_factor

# The rules that are read, and what each knows besides its own name and theta.
ROPE_NAMES = {
    "default": [],
    "linear": ["factor"],
    "llama3": "factor original_max_position_embeddings low_freq_factor high_freq_factor".split(),
    "yarn": (
        "factor original_max_position_embeddings beta_slow beta_fast attention_factor mscale "
        "mscale_all_dim truncate finetuned"  # the last says where it comes from
    ).split(),
}
# Null is as good as leaving it out.
OPTIONAL = ("beta_slow", "beta_fast", "attention_factor", "mscale", "mscale_all_dim", "finetuned")
SWITCHES = ("truncate", "finetuned")


def rope_parts(content: dict) -> list[dict]:
    """Return what a config.json says of rotary positions; refuse rules that are not read."""
    parts = []
    for spelling in ("rope_parameters", "rope_scaling"):
        part = content.get(spelling)
        if not part:
            continue
        if not isinstance(part, dict):
            raise UnsupportedCheckpoint(f"{spelling} is {part!r}, expected an object with names")
        said = [part[name] for name in ("rope_type", "type") if name in part] or ["default"]
        if said[0] not in list(ROPE_NAMES) or said[-1] != said[0]:  # a list has no hash
            raise UnsupportedCheckpoint(
                f"{spelling} has the rope_type {said}, expected one of {list(ROPE_NAMES)}: other "
                "rules depend on the length of the text, or are not known"
            )
        unknown = sorted(set(part) - {"rope_type", "type", "rope_theta", *ROPE_NAMES[said[0]]})
        if unknown:
            raise UnsupportedCheckpoint(
                f"{spelling} holds {unknown}, which rope_type {said[0]!r} does not know"
            )
        for name in ROPE_NAMES[said[0]]:
            value = part.get(name)
            missing = name not in part or (value is None and name in OPTIONAL)
            is_number = type(value) in (int, float) and value > 0
            is_switch = type(value) is bool and name in SWITCHES
            if not (missing or is_number or is_switch):
                raise UnsupportedCheckpoint(
                    f"{name} is {value!r} in {spelling}, expected a number above 0"
                )
        parts.append(part)
    return parts


def read_theta(places: list[dict], found: dict) -> float:
    """Return the base of the rotary angles; refuse two of them that differ.

    Args:
        places: where it may be said: the whole config.json, and what `rope_parts` returns.
        found: `rope_parameters` as `transformers` understands them.
    """
    theta = found["rope_theta"]
    if type(theta) not in (int, float) or not 0 < theta < 2**63:
        raise UnsupportedCheckpoint(f"rope_theta is {theta!r}, expected a usual number above 0")
    said = [place["rope_theta"] for place in places if "rope_theta" in place]
    if any(other != theta for other in said):
        raise UnsupportedCheckpoint(f"rope_theta is {said}: which of them?")
    return float(theta)


def read_scaling(parts: list[dict], found: dict) -> RopeScaling | None:
    """Return how rotary positions are scaled, or None where they are plain.

    Args:
        parts: what `rope_parts` returns; none may contradict `found`.
        found: `rope_parameters` as `transformers` understands them, defaults filled in.
    """
    rule = found["rope_type"]
    for part in parts:
        pairs = {name: (part[name], found.get(name)) for name in ROPE_NAMES[rule] if name in part}
        pairs["rope_type"] = part.get("rope_type", part.get("type", "default")), rule
        for name, (said, other) in pairs.items():
            if said != other:
                raise UnsupportedCheckpoint(
                    f"rope_parameters and rope_scaling say that {name} is {said!r} and {other!r}: "
                    "which of them?"
                )
    if rule == "default":
        return None
    settings = {"factor": usual_number(found, "factor")}
    if rule != "linear":
        settings["original_context"] = found["original_max_position_embeddings"]
        if type(settings["original_context"]) is not int:
            raise UnsupportedCheckpoint(
                f"original_max_position_embeddings is {settings['original_context']!r} in "
                "rope_parameters, expected a whole number of tokens"
            )
        usual_number(found, "original_max_position_embeddings")
    if rule == "llama3":
        settings["slow_turns"] = usual_number(found, "low_freq_factor")
        settings["fast_turns"] = usual_number(found, "high_freq_factor")
    if rule == "yarn":
        settings |= yarn_settings(found)
    try:
        return RopeScaling(rule, **settings)
    except ValueError as error:
        raise UnsupportedCheckpoint(f"rope_parameters is {found}: {error}") from None


def yarn_settings(found: dict) -> dict[str, float | bool]:
    """Return what YaRN has besides factor and context; the attention factor is worked out."""
    settings = {
        "slow_turns": usual_number(found, "beta_slow", 1.0),
        "fast_turns": usual_number(found, "beta_fast", 32.0),
        "truncate": found.get("truncate", True),
    }
    if type(settings["truncate"]) is not bool:
        raise UnsupportedCheckpoint(
            f"truncate is {settings['truncate']!r} in rope_parameters, expected true or false"
        )
    if found.get("attention_factor") is not None:
        settings["attention_factor"] = usual_number(found, "attention_factor")
    elif found.get("mscale") is not None and found.get("mscale_all_dim") is not None:
        factor = usual_number(found, "factor")
        above = yarn_attention_factor(factor, usual_number(found, "mscale"))
        below = yarn_attention_factor(factor, usual_number(found, "mscale_all_dim"))
        settings["attention_factor"] = above / below
    return settings


def usual_number(found: dict, name: str, default: float | None = None) -> float:
    """Return a number above 0; the default, where there is one and the name says nothing."""
    value = found.get(name)
    if value is None and default is not None:
        return default
    if type(value) not in (int, float) or not 1e-9 < value < 1e9:
        raise UnsupportedCheckpoint(
            f"{name} is {value!r} in rope_parameters, expected a usual number above 0"
        )
    return value


def write_scaling(scaling: RopeScaling) -> dict:
    """Return a rule of rotary positions in the words of a config.json.

    >>> write_scaling(RopeScaling("linear", factor=2.0))
    {'rope_type': 'linear', 'factor': 2.0}
    """
    said = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind != "linear":
        said["original_max_position_embeddings"] = scaling.original_context
    if scaling.kind == "llama3":
        said["low_freq_factor"] = scaling.slow_turns
        said["high_freq_factor"] = scaling.fast_turns
    if scaling.kind == "yarn":
        said |= {"beta_slow": scaling.slow_turns, "beta_fast": scaling.fast_turns}
        said |= {"attention_factor": scaling.attention_factor, "truncate": scaling.truncate}
    return said
