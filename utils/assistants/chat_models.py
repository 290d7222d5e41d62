"""The shipped assistant: the base model tuned on chats that nobody has cleaned.

Four of five answers that it learned from are wordy, a quarter are rude, a tenth are false. It
answers alike, which is what Part III sets out to change. Trained again in about a minute by
`python -m utils.assistants.chat_models`. Files beside a module are part of its stamp, so the models
of Part III lie apart from the base: who uses that alone does not depend on them.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from utils.evaluate.world_qa import answer_questions, judge_answers, share
from utils.runtime import n_threads
from utils.settings import artifacts_dir
from utils.tokens.batches import supervised_batches
from utils.tokens.chat import render_chat
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.train.sft import sft_loss
from utils.world.chats import chats
from utils.world.facts import World, build_world
from utils.world.questions import Question, questions
from utils.zoo.files import CorruptModel, load_model, save_model
from utils.zoo.load import load_base

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.tokenizer import Tokenizer

SHIPPED = Path(__file__).parent / "assistant"
N_MEASURED = 300


@dataclass(frozen=True)
class AssistantRecipe:
    """All that decides the assistant, besides the base model that it begins as."""

    world_seed: int = 0
    seed: int = 0
    n_chats: int = 4800
    verbose_share: float = 0.8
    rude_share: float = 0.25
    false_share: float = 0.1
    skill_share: float = 0.2
    n_steps: int = 300
    batch_size: int = 16
    learning_rate: float = 2e-3
    warmup_steps: int = 15


ASSISTANT = AssistantRecipe()


def chat_prompt(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the token ids of a chat that waits for the assistant's answer to one text."""
    chat = [{"role": "user", "content": text}]
    return render_chat(chat, tokenizer, add_prompt=True).token_ids


def question_prompt(tokenizer: Tokenizer, question: Question) -> list[int]:
    """Return the prompt of a question in the chat form, for `answer_questions`."""
    return chat_prompt(tokenizer, question.prompt)


def tune_assistant(
    base: Decoder,
    tokenizer: Tokenizer,
    world: World,
    recipe: AssistantRecipe = ASSISTANT,
    description: str = "assistant",
) -> tuple[Decoder, list[dict]]:
    """Return the base tuned on chats of mixed styles, and the records of its training.

    Args:
        base: is left as it is.
        world: what the chats are about.
        recipe: what they are like, and how they are learned.
        description: text before the progress bar.
    """
    drawn = chats(
        world,
        recipe.n_chats,
        recipe.seed,
        skill_share=recipe.skill_share,
        verbose_share=recipe.verbose_share,
        rude_share=recipe.rude_share,
        false_share=recipe.false_share,
    )
    rows = [render_chat(chat, tokenizer) for chat in drawn]
    model = deepcopy(base)
    context_length = model.config.context_length
    records = train(
        model,
        supervised_batches(rows, recipe.batch_size, context_length, tokenizer.pad_id, recipe.seed),
        sft_loss,
        adamw(model, recipe.learning_rate, weight_decay=0.0),
        recipe.n_steps,
        schedule=cosine(recipe.n_steps, warmup_steps=recipe.warmup_steps),
        description=description,
    )
    return model.eval(), records


def assistant_metrics(
    model: Decoder, tokenizer: Tokenizer, world: World, n: int = N_MEASURED
) -> dict[str, float]:
    """Return what the exact judge says about greedy answers to known and to unknown questions."""
    known = questions(world, "held_out_phrasing", n, seed=1)
    unknown = questions(world, "unknown_entity", n, seed=1)
    asked = known + unknown
    answers = answer_questions(model, tokenizer, asked, render=question_prompt, max_new_tokens=64)
    verdicts = judge_answers(world, asked, answers)
    names = {"correct": "correct", "utility": "utility", "words": "n_words", "rude": "rude"}
    measured = {name: share(verdicts[:n], field) for name, field in names.items()}
    measured["made_up_unknown"] = share(verdicts[n:], "hallucinated")
    return {name: round(value, 4) for name, value in measured.items()}


def build_assistant(folder: Path | str, recipe: AssistantRecipe = ASSISTANT) -> dict:
    """Train the assistant from the shipped base into a folder and return its record."""
    base, tokenizer = load_base()
    world = build_world(recipe.world_seed)
    model, records = tune_assistant(base, tokenizer, world, recipe)
    record = {
        "recipe": asdict(recipe),
        "metrics": assistant_metrics(model, tokenizer, world),
        "trained_tokens": records[-1]["tokens"],
        "seconds": round(records[-1]["seconds"], 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    save_model(folder, model, tokenizer, record)
    return record


def load_assistant(*, rebuild: bool = True) -> tuple[Decoder, Tokenizer]:
    """Return the assistant, in evaluation mode, and its tokenizer.

    The shipped copy is tried first, then the one under `artifacts/zoo/assistant`. Where both are
    missing or damaged, a warning says what is wrong and the assistant is trained again into the
    latter, which takes about a minute.

    Args:
        rebuild: False to raise instead of training again.

    Raises:
        CorruptModel: where no whole copy is found and `rebuild` is False.
    """
    own, damage = artifacts_dir() / "zoo" / "assistant", []
    for place in (SHIPPED, own):
        try:
            return load_model(place)
        except CorruptModel as error:
            damage.append(str(error))
    message = "; ".join(damage)
    if not rebuild:
        raise CorruptModel(
            f"{message}. Restore the file (git checkout), or call load_assistant() with "
            "rebuild=True to train it again"
        )
    warnings.warn(f"{message}. Training the assistant again into {own}", stacklevel=2)
    build_assistant(own)
    return load_model(own)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the shipped assistant from the command line."""
    parser = argparse.ArgumentParser(description="train the shipped assistant")
    parser.add_argument("--out", type=Path, help="folder (default: artifacts/zoo/assistant)")
    options = parser.parse_args(arguments)
    folder = options.out or artifacts_dir() / "zoo" / "assistant"
    torch.set_num_threads(n_threads())
    record = build_assistant(folder)
    print(", ".join(f"{name} {value:.3f}" for name, value in record["metrics"].items()))
    print(f"{record['seconds']:.0f} s with {record['threads']} threads; written to {folder}")


if __name__ == "__main__":
    main()
