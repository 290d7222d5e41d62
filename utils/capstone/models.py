"""The two models that a run may begin from, and how each of them learns.

The course's own learns with all its weights. Of the real one, over a hundred times as large,
adapters learn, and are merged at the end of a stage: so each stage reads and writes one whole
model, and no other module asks which of the two it is. Adapters are drawn by the run's seed;
batches are smaller, since a row of logits is 48 times as long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetensors.torch import save

from utils.assistants.chat_models import ASSISTANT
from utils.assistants.reward_models import REWARD
from utils.assistants.safety import DPO_RATE
from utils.capstone.params import BASE, REAL, WrongParams
from utils.zoo import recipe, tuning
from utils.zoo.files import MODEL, CorruptModel, read_record
from utils.zoo.load import SHIPPED, load_base
from utils.zoo.own_format import in_own_format
from utils.zoo.real import load_real, real_folder, real_record

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.tokenizer import Tokenizer

CONTEXT = 256  # of the real model in a run; its own 8192 would need gigabytes of logits
KEPT = ("name", "licence", "made_by", "trained_on", "limits")  # of what is known of a model


@dataclass(frozen=True)
class Learning:
    """How a model learns.

    Args:
        method: "full", or "lora" for adapters.
        n_blocks: blocks of documents in an update.
        batch_size: chats or pairs in an update.
        at_once: responses that GRPO computes at a time; None for all of an update.
        n_standardised: answers by whose scores those of the reward model are standardised, at most.
        n_measured: blocks of held-out text read at a time.
        rates: stage -> peak learning rate, where weights go on from others.
    """

    method: str
    n_blocks: int
    batch_size: int
    at_once: int | None
    n_standardised: int
    n_measured: int
    rates: Mapping[str, float]


LEARNING = {
    BASE: Learning(
        method="full",
        n_blocks=recipe.BASE.batch_size,
        batch_size=ASSISTANT.batch_size,
        at_once=None,
        n_standardised=REWARD.n_standardised,
        n_measured=64,
        rates={
            "base": 1e-3,
            "sft": ASSISTANT.learning_rate,
            "reward": REWARD.learning_rate,
            "align": 3e-4,
            "safety": DPO_RATE,
        },
    ),
    REAL: Learning(
        method="lora",
        n_blocks=4,
        batch_size=4,
        at_once=4,
        n_standardised=32,  # drawn together: each is a row of logits
        n_measured=4,
        rates=dict.fromkeys(("base", "sft", "reward", "align", "safety"), tuning.RATES["lora"]),
    ),
}


def check_model(model: str) -> None:
    """Refuse a run whose model is not on this machine, before anything is computed.

    Raises:
        WrongParams: with the command that prepares it.
    """
    if model == REAL and real_folder(REAL) is None:
        raise WrongParams(
            f"model: {REAL} is not prepared on this machine; run course model once (93 MB to "
            f"download), or write {BASE}"
        )


def begin(model: str) -> tuple[Decoder, Tokenizer, dict]:
    """Return the model that a run begins from, its tokenizer, and what is known of its origin.

    Raises:
        WrongParams: where the real model is not prepared.
    """
    if model == BASE:
        decoder, tokenizer = load_base()
        return decoder, tokenizer, shipped_origin(decoder)
    check_model(model)
    decoder, tokenizer = in_own_format(*load_real(model), CONTEXT)
    record = real_record(model)
    origin = {name: record[name] for name in KEPT if name in record}
    return decoder, tokenizer, {"weights": weights_hash(decoder)} | origin


def adapted(decoder: Decoder, model: str, seed: int) -> Decoder:
    """Return a decoder with what learns of it: all weights, or adapters; changed in place."""
    return tuning.adapt(decoder, tuning.Tuning(method=LEARNING[model].method, seed=seed))


def shipped_origin(decoder: Decoder) -> dict[str, str]:
    """Return the SHA-256 of a model's weights as a file, and of what the shipped one has read.

    The second is left out where the weights are not those of the shipped model.
    """
    found = {"weights": weights_hash(decoder)}
    try:
        shipped = read_record(SHIPPED)
    except CorruptModel:  # load_base has warned, and loaded a copy that was trained again
        return found
    if shipped["sha256"][MODEL] == found["weights"]:
        found["training text"] = shipped["data"]["sha256"]
    return found


def weights_hash(decoder: Decoder) -> str:
    """Return the SHA-256 of a model's weights as a file."""
    weights = {name: weight.detach().contiguous() for name, weight in decoder.named_parameters()}
    return hashlib.sha256(save(weights)).hexdigest()
