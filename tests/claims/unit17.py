"""Unit 17: what the small budget reaches from raw text, and what safety costs the domain."""

import tempfile
from pathlib import Path

from tests.claims.registry import claim
from utils.capstone.params import PARAMS, Params, params_text
from utils.capstone.sources import write_world
from utils.capstone.stages import MODELLING, run_work
from utils.world.facts import build_world

PARTS = ("domain", "known", "unknown")
SHARES = ("right", "made up", "rude", "refused", "utility")


def records_of_run(params: Params, stages) -> dict[str, dict]:
    """Return the records of some stages of a project in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_world(root / params.domain, build_world(), params.domain)
        (root / PARAMS).write_text(params_text(params), encoding="utf-8")
        return {name: run_work(name, root, MODELLING[name], say=str) for name in stages}


def fewer_inventions_at_a_price(runs):
    for run in runs:
        assert run["unknown: made up, safety"] < run["unknown: made up, sft"], run
        assert run["domain: right, safety"] < run["domain: right, sft"], run


def first_losses(seed):
    """Return what the first stages measure after three steps each."""
    stages = ("text", "base", "sft", "reward")
    records = records_of_run(Params(budget="smoke", seed=seed), stages)
    found = {name: records[name]["metrics"] for name in stages}
    return {
        "smoke: bits per byte before": found["base"]["bits_per_byte_before"],
        "smoke: bits per byte": found["base"]["bits_per_byte"],
        "smoke: loss of sft": found["sft"]["loss"],
        "smoke: loss of the reward model": found["reward"]["loss"],
    }


def measured(params: Params) -> dict[str, float]:
    """Return what the exam says of a run before and after safety."""
    records = records_of_run(params, MODELLING)
    metrics = records["evaluate"]["metrics"]
    numbers = {
        f"{part}: {share}, {stage}": metrics[f"{part}: {share}, {stage}"]["value"]
        for part in PARTS
        for share in SHARES
        for stage in ("sft", "safety")
    }
    for stage in ("base", "sft", "safety"):
        numbers[f"bits per byte, {stage}"] = metrics[f"bits per byte, {stage}"]
    numbers["reward model: accuracy"] = records["reward"]["metrics"]["accuracy"]["value"]
    return numbers


@claim(
    "17_clinic",
    "The small budget on the clinic by DPO, three seeds: alignment and safety lower made-up "
    "answers about entities that do not exist at every seed, and right ones about the domain, too",
    holds=fewer_inventions_at_a_price,
    probe=first_losses,
)
def clinic(seed):
    return measured(Params(seed=seed))


@claim(
    "17_contracts",
    "The same recipe on the contracts, three seeds: made-up answers about strangers fall at every "
    "seed, and right ones about the domain, too",
    holds=fewer_inventions_at_a_price,
    probe=first_losses,
)
def contracts(seed):
    return measured(Params(domain="contracts", seed=seed))
