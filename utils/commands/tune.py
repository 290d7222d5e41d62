"""`course tune`: tune a model on questions and answers, into a folder that others can load.

Checkpoints are written on the way: the same command after a kill goes on where the last one was.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from utils.settings import artifacts_dir
from utils.zoo import tuning
from utils.zoo.tuning import CHECKPOINTS, RECORD, NoRoom, Tuning

N_SHOWN = 4  # questions answered before and after, for the card
MAX_NEW_TOKENS = 80


def main(settings: Tuning, out: Path | None) -> int:
    """Tune; return 0, 2 where it can't begin, 130 where it was stopped."""
    from utils.text.corpora import HubUnreachable
    from utils.train.loop import NonFiniteLoss, TrainingInterrupted
    from utils.zoo.real import ModelMissing

    folder = out or artifacts_dir() / "tuned" / folder_name(settings)
    try:
        record = tune_into(settings, folder)
    except TrainingInterrupted as error:
        print(f"{error}\nThe same command goes on from there.", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("stopped before the first step; nothing is lost", file=sys.stderr)
        return 130
    except (ModelMissing, HubUnreachable, FileNotFoundError, ValueError, NoRoom) as error:
        print(error, file=sys.stderr)
        return 2
    except NonFiniteLoss as error:
        print(f"{error}\nTry a lower --learning-rate in another --out.", file=sys.stderr)
        return 2
    print(f"{folder} holds the model, its card (README.md) and {RECORD}.")
    print(f"Loss per held-out token: {record['before']:.3f} before, {record['after']:.3f} after.")
    print(f"Talk to it: course chat --model {folder}")
    return 0


def tune_into(settings: Tuning, folder: Path, say=print) -> dict:
    """Tune a model into a folder and return the record, which is written last."""
    import psutil
    import torch

    from utils.runtime import describe, start
    from utils.text.qa_rows import question_answer_rows

    tuning.was_begun(folder, settings)  # refused before the model and the data are read
    rows, columns = question_answer_rows(settings.data)
    if not rows:
        raise ValueError(f"{settings.data} holds no rows: is it the right file?")
    tier = start(settings.seed)
    say(f"{settings.model} on {settings.data} | {describe(tier)}")
    model, tokenizer = tuning.load_model(settings.model)
    if settings.context_length > model.config.context_length:
        raise ValueError(
            f"context_length {settings.context_length} is more than the model reads "
            f"({model.config.context_length}): pass --context {model.config.context_length}"
        )
    planned = tuning.planned_memory(model, settings)
    weights = planned["weights"]  # they are there already
    is_cuda = torch.device(tier.device).type == "cuda"
    free = torch.cuda.mem_get_info()[0] if is_cuda else psutil.virtual_memory().available + weights
    tuning.check_room(planned, free)
    say(f"about {sum(planned.values()) / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free")
    prepared = tuning.prepare(rows, columns, tokenizer, settings)
    dropped = ", ".join(f"{n:,} {why}" for why, n in prepared.report.counts().items()) or "none"
    say(
        f"{len(rows):,} rows: {prepared.n_kept:,} fit to learn from, of which "
        f"{len(prepared.examples):,} are read; {len(prepared.report.shortened):,} shortened; "
        f"dropped: {dropped}"
    )
    if tuning.claim_folder(folder, settings):
        say(f"going on with the run in {folder}")
    asked = prepared.held_out_rows[:N_SHOWN]
    questions = [row[columns.question].strip() for row in asked]
    model = model.to(tier.device)
    before = answers(model, tokenizer, questions)
    model, result = tuning.tune(settings, model, tokenizer, prepared, folder, say)
    after = answers(model, tokenizer, questions)
    tuning.write_model(model, tokenizer, settings.model, folder)
    record = result | {
        "settings": asdict(settings),
        "learning_rate": settings.peak_rate,
        "base": tuning.origin_of(settings.model),
        "data": {"name": settings.data, **asdict(columns), "sha256": hash_of_rows(rows)},
        "rows": {"in the file": len(rows), "fit": prepared.n_kept}
        | {"learned from": len(prepared.examples)}
        | {"shortened": len(prepared.report.shortened), "held out": len(prepared.held_out)}
        | {f"dropped, {why}": n for why, n in prepared.report.counts().items()},
        "planned_bytes": planned,
        "examples": [list(one) for one in zip(questions, before, after, strict=True)],
        "weights_sha256": sha256(folder / "model.safetensors"),
        "command": command_of(settings),
        "versions": {"torch": torch.__version__.partition("+")[0]},
    }
    (folder / "README.md").write_text(card_of(record), encoding="utf-8")
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return record


def answers(model, tokenizer, questions: Sequence[str]) -> list[str]:
    """Return greedy answers to questions, asked in the model's own template."""
    from utils.model.generate import generate_batch

    prompts = [
        tokenizer.chat([{"role": "user", "content": question}], add_prompt=True).token_ids
        for question in questions
    ]
    room = model.config.context_length - MAX_NEW_TOKENS
    kept = [prompt for prompt in prompts if len(prompt) <= room]
    if not kept:
        return ["(the question is too long)"] * len(questions)
    ids = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}
    written = iter(generate_batch(model, kept, MAX_NEW_TOKENS, **ids))
    return [
        tokenizer.decode(next(written), skip_special=True).strip()
        if len(prompt) <= room
        else "(the question is too long)"
        for prompt in prompts
    ]


def card_of(record: dict) -> str:
    """Return the card of a record."""
    from utils.report.model_card import model_card

    settings = record["settings"]
    return model_card(
        f"{settings['model']} tuned on {settings['data']}",
        base=record["base"],
        data=record["data"],
        counts=record["rows"],
        settings={name: settings[name] for name in ("method", "rank", "batch_size", "seed")}
        | {"learning rate": record["learning_rate"], "tokens read": f"{record['tokens']:,}"}
        | {"steps": record["n_steps"], "weights that learned": f"{record['trainable']:,}"},
        measured=[
            ("loss per held-out token of answers, before (nats)", f"{record['before']:.3f}"),
            ("after", f"{record['after']:.3f}"),
        ],
        examples=record["examples"],
        weights_sha256=record["weights_sha256"],
        command=record["command"],
    )


def command_of(settings: Tuning) -> str:
    """Return the command that makes this tuning.

    >>> command_of(Tuning(model="base", data="my rows.jsonl", n_tokens=100))
    "course tune --model base --data 'my rows.jsonl' --tokens 100"
    """
    words = ["course", "tune", "--model", settings.model, "--data", settings.data]
    names = {"method": "--method", "n_tokens": "--tokens", "context_length": "--context"}
    names |= {"batch_size": "--batch-size", "learning_rate": "--learning-rate", "rank": "--rank"}
    names |= {"alpha": "--alpha", "seed": "--seed"}
    for name, option in names.items():
        value = getattr(settings, name)
        if value != getattr(Tuning(), name):
            words += [option, str(value)]
    return shlex.join(words)


def folder_name(settings: Tuning) -> str:
    """Return what the folder of a tuning is called where none is given.

    >>> folder_name(Tuning(model="models/mine", data="a/rows.jsonl"))
    'mine-rows-lora'
    """
    model, data = Path(settings.model).name, Path(settings.data).name.split(".")[0]
    return f"{model}-{data}-{settings.method}"


def hash_of_rows(rows: Sequence[dict]) -> str:
    """Return a sha256 over rows as JSON."""
    text = "\n".join(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
