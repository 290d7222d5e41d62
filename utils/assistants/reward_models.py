"""The shipped reward model: the assistant with a head, trained on pairs of all three kinds.

Its pairs are about entities that are not held out, its scores are standardised on the assistant's
own answers. `python -m utils.assistants.reward_models` trains it again in about 70 seconds.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from utils.align.reward import (
    EncodedPair,
    RewardModel,
    encode_pairs,
    score_pairs,
    score_rollouts,
    train_reward_model,
)
from utils.align.rollouts import Rollouts, draw_rollouts
from utils.assistants.chat_models import load_assistant, question_prompt
from utils.runtime import n_threads
from utils.settings import artifacts_dir
from utils.world.facts import World, build_world
from utils.world.preferences import DIFFERENCES, is_held_out, preference_pairs
from utils.world.questions import questions
from utils.zoo.files import CorruptModel, load_model, read_record, save_model

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.tokenizer import Tokenizer

SHIPPED = Path(__file__).parent / "reward"
N_MEASURED = 200
MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class RewardRecipe:
    """All that decides a reward model, besides the decoder that it begins as."""

    world_seed: int = 0
    seed: int = 0
    n_pairs: int = 4000
    differ: tuple[str, ...] = DIFFERENCES
    n_steps: int = 250
    batch_size: int = 16
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    n_standardised: int = 256


REWARD = RewardRecipe()


def world_pairs(
    world: World,
    tokenizer: Tokenizer,
    n: int,
    seed: int = 0,
    differ: tuple[str, ...] = DIFFERENCES,
    *,
    held_out: bool = False,
    context_length: int = 128,
) -> list[EncodedPair]:
    """Return pairs of the world as token ids; the arguments are those of `preference_pairs`."""
    pairs = preference_pairs(world, n, seed, differ, held_out=held_out)
    return encode_pairs(pairs, tokenizer, context_length)


def own_answers(
    policy: Decoder, tokenizer: Tokenizer, world: World, n: int, seed: int = 0
) -> Rollouts:
    """Return what a policy answers, at temperature 1, to questions of preference training."""
    asked = [
        q for q in questions(world, "trained", 2 * n, seed) if not is_held_out(world, q.entity)
    ]
    return draw_rollouts(
        policy,
        [question_prompt(tokenizer, question) for question in asked[:n]],
        MAX_NEW_TOKENS,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id,
        generator=torch.Generator().manual_seed(seed),
    )


def tune_reward_model(
    start: Decoder,
    tokenizer: Tokenizer,
    world: World,
    recipe: RewardRecipe = REWARD,
    description: str = "reward model",
) -> tuple[RewardModel, list[dict]]:
    """Return a reward model by a recipe, standardised, and the records of its training.

    Args:
        start: the policy that is to be aligned; it is left as it is, and its own answers decide
            mean and spread of the scores.
        world: what the pairs are about.
    """
    pairs = world_pairs(world, tokenizer, recipe.n_pairs, recipe.seed, recipe.differ)
    reward_model, records = train_reward_model(
        start,
        pairs,
        recipe.n_steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup_steps,
        seed=recipe.seed,
        description=description,
    )
    drawn = own_answers(start, tokenizer, world, recipe.n_standardised)
    reward_model.standardise(
        score_rollouts(reward_model, drawn, tokenizer.pad_id, tokenizer.end_id)
    )
    return reward_model, records


def reward_metrics(
    reward_model: RewardModel, tokenizer: Tokenizer, world: World, n: int = N_MEASURED
) -> dict[str, float]:
    """Return the share of pairs ordered as they should be, by difference and by entities."""
    measured = {}
    for held_out, which in ((False, "seen"), (True, "unseen")):
        for name in DIFFERENCES:
            pairs = world_pairs(world, tokenizer, n, 7, (name,), held_out=held_out)
            chosen, rejected = score_pairs(reward_model, pairs, tokenizer.pad_id)
            right = (chosen > rejected).float() + 0.5 * (chosen == rejected).float()
            measured[f"{name}_{which}"] = round(right.mean().item(), 4)
    return measured


def save_reward_model(
    folder: Path | str, reward_model: RewardModel, tokenizer: Tokenizer, record: dict
) -> None:
    """Write a reward model as a decoder's three files; the head's 130 numbers are in the record.

    Raises:
        OSError: where the disk is full or the folder can't be written; what was there is kept.
    """
    names = ("head.weight", "head.bias", "mean", "std")
    state = reward_model.state_dict()
    head = {name: state[name].flatten().tolist() for name in names}
    save_model(folder, reward_model.decoder, tokenizer, record | {"head": head})


def read_reward_model(folder: Path | str) -> tuple[RewardModel, Tokenizer]:
    """Return the reward model of a folder, in evaluation mode; hashes are verified first.

    Raises:
        CorruptModel: where a file is missing, truncated or changed.
    """
    decoder, tokenizer = load_model(folder)
    reward_model, head = RewardModel(decoder), read_record(folder)["head"]
    state = reward_model.state_dict()
    with torch.no_grad():
        for name, numbers in head.items():
            state[name].copy_(torch.tensor(numbers).view_as(state[name]))
    return reward_model.eval(), tokenizer


def build_reward_model(folder: Path | str, recipe: RewardRecipe = REWARD) -> dict:
    """Train the reward model from the shipped assistant into a folder and return its record."""
    assistant, tokenizer = load_assistant()
    world = build_world(recipe.world_seed)
    reward_model, records = tune_reward_model(assistant, tokenizer, world, recipe)
    record = {
        "recipe": asdict(recipe) | {"differ": list(recipe.differ)},
        "metrics": reward_metrics(reward_model, tokenizer, world),
        "seconds": round(records[-1]["seconds"], 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    save_reward_model(folder, reward_model, tokenizer, record)
    return record


def load_reward_model(*, rebuild: bool = True) -> tuple[RewardModel, Tokenizer]:
    """Return the shipped reward model, in evaluation mode, and its tokenizer (the assistant's).

    The shipped copy is tried first, then the one under `artifacts/zoo/reward`. Where both are
    missing or damaged, a warning says what is wrong and it is trained again into the latter, which
    takes about 70 seconds.

    Args:
        rebuild: False to raise instead of training again.

    Raises:
        CorruptModel: where no whole copy is found and `rebuild` is False.
    """
    own, damage = artifacts_dir() / "zoo" / "reward", []
    for place in (SHIPPED, own):
        try:
            return read_reward_model(place)
        except CorruptModel as error:
            damage.append(str(error))
    message = "; ".join(damage)
    if not rebuild:
        raise CorruptModel(
            f"{message}. Restore the file (git checkout), or call load_reward_model() with "
            "rebuild=True to train it again"
        )
    warnings.warn(f"{message}. Training the reward model again into {own}", stacklevel=2)
    build_reward_model(own)
    return read_reward_model(own)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the shipped reward model from the command line."""
    parser = argparse.ArgumentParser(description="train the shipped reward model")
    parser.add_argument("--out", type=Path, help="folder (default: artifacts/zoo/reward)")
    options = parser.parse_args(arguments)
    folder = options.out or artifacts_dir() / "zoo" / "reward"
    torch.set_num_threads(n_threads())
    record = build_reward_model(folder)
    print(", ".join(f"{name} {share:.3f}" for name, share in record["metrics"].items()))
    print(f"{record['seconds']:.0f} s with {record['threads']} threads; written to {folder}")


if __name__ == "__main__":
    main()
