"""Unit 07 on the real model: the tuning of unit 06 once more, beside weights of four bits."""

from __future__ import annotations

from itertools import chain

from torch import nn

from utils.experiments.records import recorded
from utils.experiments.registry import Run, experiment
from utils.experiments.unit06 import tuned_on_medquad
from utils.model.nf4 import quantize_model_nf4
from utils.zoo.tuning import load_model


def held_bytes(model: nn.Module) -> int:
    """Return the bytes of all weights and buffers that a model holds, each counted once.

    >>> held_bytes(nn.Linear(2, 3, bias=False))
    24
    """
    held = {id(t): t for t in chain(model.parameters(), model.buffers())}
    return sum(t.numel() * t.element_size() for t in held.values())


def as_good_as_lora(results: list[dict]) -> None:
    """The bar: the loss is within 2 % of that beside float32 weights, in .35 of their memory."""
    lora = recorded("06_medquad")["results"]["0"]["after"]
    for result in results:
        assert result["after"] <= 1.02 * lora, (result["after"], lora)
        assert result["bytes"]["NF4"] <= 0.35 * result["bytes"]["float32"], result["bytes"]


@experiment(
    "07_medquad",
    "SmolLM2 in NF4 tuned on MedQuAD with adapters (QLoRA): loss beside that of LoRA, and memory",
    n_steps=210,
    minutes=25,
    holds=as_good_as_lora,
)
def qlora(run: Run) -> dict:
    """Tune with QLoRA on the tokens that unit 06 read."""
    model, _ = load_model("smollm2")
    held = {"float32": held_bytes(model), "NF4": held_bytes(quantize_model_nf4(model))}
    return tuned_on_medquad(run, "qlora") | {"bytes": held}
