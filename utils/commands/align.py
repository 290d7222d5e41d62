"""`course align`: align a model with a preference, into a folder that others can load.

Checkpoints are written on the way: the same command after a kill goes on where the last one was.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from utils.assistants.alignment import (
    BATCH,
    CHECKPOINTS,
    N_PROMPTS,
    REAL,
    REWARD_FOLDER,
    Alignment,
)
from utils.commands.tune import sha256
from utils.settings import artifacts_dir
from utils.zoo import tuning
from utils.zoo.tuning import RECORD

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.tokenizer import Tokenizer

N_SHOWN = 5  # questions answered before and after
DASHBOARD = "dashboard.png"


def main(settings: Alignment, out: Path | None) -> int:
    """Align; return 0, 2 where it can't begin or go on, 130 where it was stopped."""
    from utils.align.ppo import RewardError
    from utils.train.loop import NonFiniteLoss

    name = "-".join([*[settings.model] * (settings.model == REAL), settings.method])
    folder = out or artifacts_dir() / "aligned" / f"{name}-{settings.prefer}"
    try:
        record = align_into(settings, folder)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (FileNotFoundError, ValueError, NonFiniteLoss, RewardError) as error:
        print(error, file=sys.stderr)
        return 2
    print(side_by_side(record["examples"]), end="\n\n")
    for name in record["before"]:
        print(f"{name:6} {record['before'][name]:.2f} before, {record['after'][name]:.2f} after")
    print(f"{folder} holds the model, its card (README.md), {RECORD} and {DASHBOARD}.")
    print(f"Talk to it: course chat --model {folder}")
    return 0


def side_by_side(examples: list[list[str]], width: int = 34) -> str:
    """Return questions with the answers before and after as a table of three columns.

    >>> print(side_by_side([["Who?", "One of many.", "Ann."]], width=8))
    question before   after
    <BLANKLINE>
    Who?     One of   Ann.
             many.
    """
    rows = [["question", "before", "after"], *examples]
    lines: list[str] = []
    for row in rows:
        columns = [textwrap.wrap(cell, width) or ["(nothing)"] for cell in row]
        for cells in zip_longest(*columns, fillvalue=""):
            lines.append(" ".join(cell.ljust(width) for cell in cells).rstrip())
        lines.append("")
    return "\n".join(lines[:-1])


@dataclass(frozen=True)
class Task:
    """A model to align, and how its answers are measured and shown."""

    says: str  # which model
    wanted: str  # what `course tune` calls the model, whose tokenizer's files are written
    reference: Decoder
    tokenizer: Tokenizer
    questions: list[str]  # to be answered before and after
    answers: Callable[[Decoder], list[str]]
    measure: Callable[[Decoder], dict[str, float]]
    align: Callable[[Path], tuple[Decoder, list[dict]]]


def world_task(settings: Alignment) -> Task:
    """Return the alignment of the course's assistant, on its invented world."""
    from utils.assistants.alignment import DRAW_SEED, align, exam, gold_of
    from utils.assistants.chat_models import load_assistant
    from utils.assistants.safety import draw_answers
    from utils.world.facts import build_world

    assistant, tokenizer = load_assistant()
    world = build_world()
    asked = exam(world)
    measure, shown = gold_of(world, tokenizer, asked), asked[:N_SHOWN]
    return Task(
        "the assistant",
        tuning.BASE,
        assistant,
        tokenizer,
        [question.prompt for question in shown],
        lambda model: draw_answers(model, tokenizer, shown, DRAW_SEED),
        measure,
        lambda folder: align(settings, assistant, tokenizer, world, folder, measure),
    )


def real_task(settings: Alignment) -> Task:
    """Return the alignment of a real model with brevity, on short questions about this world."""
    from utils.assistants.short_questions import TEST
    from utils.experiments.alignment import N_NEW, align_real, measure_of
    from utils.experiments.unit06 import answered

    model, tokenizer = tuning.load_model(settings.model)
    measure, shown = measure_of(tokenizer, TEST), [question.text for question in TEST[:N_SHOWN]]
    return Task(
        settings.model,
        settings.model,
        model,
        tokenizer,
        shown,
        lambda policy: answered(policy, tokenizer, shown, N_NEW),
        measure,
        lambda folder: align_real(settings, model, tokenizer, folder, measure),
    )


def align_into(settings: Alignment, folder: Path, say=print) -> dict:
    """Align a model into a folder and return the record, which is written last."""
    import torch

    from utils.runtime import describe, start

    tuning.was_begun(folder, settings)  # refused before the model is read
    tier = start(settings.seed)
    task = (real_task if settings.model == REAL else world_task)(settings)
    if tuning.claim_folder(folder, settings):
        say(f"going on with the run in {folder}")
    say(f"{task.says}, {settings.method} for {settings.prefer} | {describe(tier)}")
    before, answers = task.measure(task.reference), task.answers(task.reference)
    model, records = task.align(folder)
    after, others = task.measure(model), task.answers(model)
    tuning.write_model(model, task.tokenizer, task.wanted, folder)
    draw_dashboard(settings, records, folder / DASHBOARD)
    record = {
        "settings": asdict(settings),
        "steps": settings.steps,
        "before": before,
        "after": after,
        "records": records,
        "examples": [list(one) for one in zip(task.questions, answers, others, strict=True)],
        "weights_sha256": sha256(folder / "model.safetensors"),
        "command": command_of(settings),
        "versions": {"torch": torch.__version__.partition("+")[0]},
    }
    (folder / "README.md").write_text(card_of(record), encoding="utf-8")
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for name in (CHECKPOINTS, REWARD_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
    return record


def draw_dashboard(settings: Alignment, records: list[dict], path: Path) -> None:
    """Draw what was recorded on the way into a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from utils.report import plots

    title = f"{settings.method} for {settings.prefer}, {settings.steps} steps"
    if settings.method == "dpo":
        steps = [record["step"] for record in records]
        plots.lines(
            {
                side: (steps, [record[f"{side}_ratio"] for record in records])
                for side in ("chosen", "rejected")
            },
            title=title,
            xlabel="step",
            ylabel="log-probability, less the reference's (nats)",
        )
    else:
        plots.rlhf_dashboard({settings.method: records}, title=title)
    plt.savefig(path, dpi=120, bbox_inches="tight")
    plt.close("all")


def world_facts(record: dict) -> dict:
    """Return what a card says of the course's assistant and of what it learned from."""
    steps, method = record["steps"], record["settings"]["method"]
    return {
        "title": "The course's assistant",
        "judge": "exact judge, answers drawn",
        "base": {"name": "the course's assistant", "licence": "Apache-2.0"},
        "data": "preference pairs of the course's invented world",
        "counts": {"preference pairs": BATCH * steps}
        if method == "dpo"
        else {"responses drawn": N_PROMPTS * steps},
    }


def real_facts(record: dict) -> dict:
    """Return what a card says of a real model and of what it learned from."""
    from utils.experiments.alignment import BATCH, GROUP, N_PROMPTS

    steps, method = record["steps"], record["settings"]["method"]
    return {
        "title": record["settings"]["model"],
        "judge": "a word decides, answers greedy",
        "base": tuning.origin_of(record["settings"]["model"]),
        "data": "the model's own answers to sixty short questions",
        "counts": {"pairs read": BATCH * steps}
        if method == "dpo"
        else {"responses drawn": N_PROMPTS * GROUP * steps},
    }


def card_of(record: dict) -> str:
    """Return the card of a record."""
    from utils.report.model_card import model_card

    settings = record["settings"]
    facts = (real_facts if settings["model"] == REAL else world_facts)(record)
    return model_card(
        f"{facts['title']}, aligned by {settings['method']} (prefer: {settings['prefer']})",
        base=facts["base"],
        data={"name": facts["data"], "licence": "CC BY 4.0", "made_by": "the course"},
        counts=facts["counts"],
        settings={name: settings[name] for name in ("method", "prefer", "seed")}
        | {"updates or iterations": record["steps"]},
        measured=[
            (f"{name}, {when} ({facts['judge']})", f"{record[when][name]:.3f}")
            for name in record["before"]
            for when in ("before", "after")
        ],
        examples=record["examples"],
        weights_sha256=record["weights_sha256"],
        command=record["command"],
        tags=["preference", settings["method"]],
    )


def command_of(settings: Alignment) -> str:
    """Return the command that makes this alignment.

    >>> command_of(Alignment(method="ppo", n_steps=3))
    'course align --method ppo --steps 3'
    """
    words = ["course", "align"]
    options = {"n_steps": "steps", "kl_coef": "kl", "likelihood_coef": "likelihood"}
    for field in fields(Alignment):
        value = getattr(settings, field.name)
        if value != field.default and field.name != "checkpoint_every":
            words += [f"--{options.get(field.name, field.name)}", str(value)]
    return shlex.join(words)
