"""A model tuned to a domain: from questions and answers to a folder that others can load.

The steps of units 06 and 07 in one function: rows are filtered, rendered by the model's own
template, and learned by all weights, by adapters, or by adapters beside weights in four bits. What
decides a run is written down before it begins, so that a run which was killed goes on, and never as
another one. Measured is the loss per token of answers about topics that were held out.

Left out on purpose: packing (the loop passes ids alone), several devices, a search for settings.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from utils.model.finetune_memory import finetune_memory
from utils.model.lora import add_lora, count_trainable, lora_layers, merge_lora
from utils.model.nf4 import NF4Linear, floats_of, quantize_model_nf4
from utils.model.pretrained import save_hugging_face
from utils.text.filtering import FilterReport, check_choices, filter_examples
from utils.text.qa_rows import Columns, is_held_out
from utils.tokens.batches import IGNORE_INDEX, supervised_batches
from utils.tokens.chat import ChatTokens, training_example
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.train.sft import sft_loss
from utils.zoo.load import load_base
from utils.zoo.real import load_real, real_folder, real_record

if TYPE_CHECKING:
    from utils.model.decoder import Decoder

BASE = "base"
METHODS = ("full", "lora", "qlora")
RATES = {"full": 5e-5, "lora": 5e-4, "qlora": 5e-4}  # peak learning rates
SETTINGS, RECORD, CHECKPOINTS = "tuning.json", "record.json", "checkpoints"
WEIGHTS_FILES = (".safetensors", ".bin", ".gguf", ".index.json")
AT_BORDERS = 2  # tokens that a text may have more inside its template than by itself
MOST_CHARACTERS = 8  # of a token, on average over a text; a longer text is taken for too long
FEWEST_TOKENS = 64  # of an example, when it is decided how many a run can read
OWN_FILES = ("config.json", "generation_config.json", "origin.json", "README.md", RECORD, SETTINGS)


class NoRoom(MemoryError):
    """The tuning would need more memory than there is; the message has the terms."""


class OtherRun(ValueError):
    """The folder holds a tuning with other settings, or one that is finished."""


@dataclass(frozen=True)
class Tuning:
    """All that decides a tuning.

    Args:
        model: "smollm2", "base" (the course's own), a folder or a hub id that is prepared.
        data: a name of `utils.text.qa_rows.KNOWN`, or a JSON Lines file.
        method: "full", "lora" or "qlora".
        n_tokens: about how many tokens are read in training, questions and padding included.
        context_length: most tokens of a question with its answer; longer answers are shortened by
            whole sentences, and left out where the first is too long.
        learning_rate: the peak; None for that of `RATES`.
    """

    model: str = "smollm2"
    data: str = "medquad"
    method: str = "lora"
    n_tokens: int = 200_000
    context_length: int = 256
    batch_size: int = 4
    learning_rate: float | None = None
    rank: int = 16
    alpha: float = 32.0
    seed: int = 0
    checkpoint_every: int = 25
    n_held_out: int = 64

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {self.method!r}")
        for name in ("n_tokens", "batch_size", "rank", "n_held_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.context_length < 16:
            raise ValueError(f"context_length must be at least 16, got {self.context_length}")

    @property
    def peak_rate(self) -> float:
        """The learning rate that the run has."""
        return RATES[self.method] if self.learning_rate is None else self.learning_rate


@dataclass(frozen=True)
class Prepared:
    """Examples to learn from and to measure with, and what became of all rows."""

    examples: list[ChatTokens]
    held_out_rows: list[dict]
    held_out: list[ChatTokens]
    n_kept: int  # rows that are fit to learn from, of which the examples were drawn
    report: FilterReport


def load_model(wanted: str) -> tuple[Decoder, Any]:
    """Return a model to tune, in float32, and its tokenizer.

    Raises:
        utils.zoo.real.ModelMissing: where it is not prepared.
    """
    return load_base() if wanted == BASE else load_real(wanted)


def prepare(rows: Sequence[dict], columns: Columns, tokenizer: Any, settings: Tuning) -> Prepared:
    """Return examples of the rows that are fit to learn from, and the held-out ones.

    A row that holds a held-out question is dropped from training, and the report says so. Of what
    is kept no more is rendered than the run can read, spread evenly over the rows.

    Raises:
        ValueError: where a column is missing, no row is left to learn from, or none is held out.
    """
    names = (columns.question, columns.answer)
    check_choices(rows, names, "keep", "cut")

    def as_chat(row: dict) -> list[dict[str, str]]:
        return [
            {"role": "user", "content": row[names[0]].strip()},
            {"role": "assistant", "content": row[names[1]].strip()},
        ]

    around = len(tokenizer.chat(as_chat({names[0]: "a", names[1]: "a"})).token_ids)
    room = settings.context_length + 1 - around - AT_BORDERS

    def fits(question: str, answer: str) -> bool:
        """Without the template, which takes longer than the text that stands in it."""
        if len(question) + len(answer) > MOST_CHARACTERS * room:
            return False
        return len(tokenizer.encode(question)) + len(tokenizer.encode(answer)) <= room

    choices = {"conflicts": "keep", "fits": fits, "too_long": "cut"}
    aside = [row for row in rows if is_held_out(row, columns)]
    kept_aside = filter_examples(aside, names, **choices)[0] if aside else []
    if not kept_aside:
        raise ValueError(
            f"none of the {len(rows)} rows is held out, so nothing could be measured: give more "
            "rows, about more topics"
        )
    chosen = evenly(kept_aside, settings.n_held_out)
    rest = [row for row in rows if not is_held_out(row, columns)]
    if not rest:
        raise ValueError("all rows are held out: give rows about more topics")
    questions = [row[names[0]] for row in chosen]
    kept, report = filter_examples(rest, names, test_questions=questions, **choices)
    if len(kept) < settings.batch_size:
        raise ValueError(
            f"{len(kept)} rows are left to learn from, fewer than a batch of "
            f"{settings.batch_size}; dropped were {report.counts()}"
        )
    drawn = evenly(kept, max(settings.batch_size, settings.n_tokens // FEWEST_TOKENS))
    return Prepared(
        [training_example(as_chat(row), tokenizer) for row in drawn],
        chosen,
        [training_example(as_chat(row), tokenizer) for row in chosen],
        len(kept),
        report,
    )


def evenly(items: Sequence, n: int) -> list:
    """Return n items, spread evenly over all, or all where there are fewer.

    >>> evenly(range(10), 5), evenly(range(3), 5)
    ([0, 2, 4, 6, 8], [0, 1, 2])
    """
    if len(items) <= n:
        return list(items)
    return [items[k * len(items) // n] for k in range(n)]


def planned_memory(model: Decoder, settings: Tuning) -> dict[str, int]:
    """Return the bytes that the tuning will hold, term by term."""
    config = model.config
    names = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_head", "d_ff")
    return finetune_memory(
        **{name: getattr(config, name) for name in names},
        tie_embeddings=config.tie_embeddings,
        batch_size=settings.batch_size,
        n_tokens=settings.context_length,
        rank=None if settings.method == "full" else settings.rank,
        is_quantized=settings.method == "qlora",
    )


def check_room(planned: dict[str, int], available: int) -> None:
    """Refuse a tuning that would need more bytes than there are, with the numbers.

    Raises:
        NoRoom: with all terms.

    >>> check_room({"weights": 2 * 10**9}, available=10**9)
    Traceback (most recent call last):
    ...
    utils.zoo.tuning.NoRoom: the tuning needs about 2.0 GB and 1.0 GB are free: weights 2.0. ...
    """
    total = sum(planned.values())
    if total > available:
        terms = ", ".join(f"{name} {n / 1e9:.1f}" for name, n in planned.items() if n >= 5e7)
        raise NoRoom(
            f"the tuning needs about {total / 1e9:.1f} GB and {available / 1e9:.1f} GB are free: "
            f"{terms}. Take --method qlora, a smaller --batch-size or --context, or another machine"
        )


def adapt(model: Decoder, settings: Tuning) -> Decoder:
    """Return the model with just the weights that the method lets learn."""
    if settings.method == "full":
        return model.requires_grad_(True)
    if settings.method == "qlora":
        model = quantize_model_nf4(model)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)  # the adapters' first half is drawn
        return add_lora(model, settings.rank, settings.alpha)


def merged(model: Decoder) -> Decoder:
    """Return the model with its adapters in its weights, floats in place of codes.

    An adapter that learned beside four-bit weights belongs to the floats that these stand for.
    """
    for layer in lora_layers(model).values():
        if isinstance(layer.linear, NF4Linear):
            layer.linear = floats_of(layer.linear)
    return merge_lora(model).eval()


@torch.inference_mode()
def answer_loss(model: nn.Module, examples: Sequence[ChatTokens], pad_id: int) -> float:
    """Return the mean loss per token of the answers, in nats.

    Raises:
        ValueError: for no examples.
    """
    was_training, total, counted = model.training, 0.0, 0
    longest = max(len(ids) for ids, _ in examples)
    device = next(model.parameters()).device
    ordered = sorted(examples, key=lambda example: len(example[0]))
    model.eval()
    for start in range(0, len(ordered), 8):
        part = ordered[start : start + 8]
        batch = supervised_batches(part, len(part), longest, pad_id)(0)
        n = int((batch.targets != IGNORE_INDEX).sum())
        logits = model(batch.token_ids.to(device))
        total, counted = total + n * sft_loss(logits, batch.targets.to(device)).item(), counted + n
    model.train(was_training)
    return total / counted


def steps_of(examples: Sequence[ChatTokens], settings: Tuning) -> int:
    """Return how many updates read about `n_tokens` tokens."""
    batches = supervised_batches(
        examples, settings.batch_size, settings.context_length, 0, settings.seed
    )
    looked_at = min(50, len(examples) // settings.batch_size)
    each = sum(batches(step).token_ids.numel() for step in range(looked_at)) / looked_at
    return max(1, math.ceil(settings.n_tokens / each))


def was_begun(folder: Path, settings: Tuning) -> bool:
    """Return whether a run with the very same settings was begun in a folder.

    Raises:
        OtherRun: where the folder holds another run, a finished one, or files of something else.
    """
    path = folder / SETTINGS
    if (folder / RECORD).is_file():
        raise OtherRun(f"{folder} holds a finished tuning: give another folder, or remove it")
    if path.is_file():
        found, wanted = json.loads(path.read_text(encoding="utf-8")), asdict(settings)
        other = [f"{k} {found.get(k)!r}, now {v!r}" for k, v in wanted.items() if found.get(k) != v]
        if other:
            raise OtherRun(
                f"{folder} holds a tuning that was begun with {'; '.join(other)}: go on with the "
                "same settings, or give another folder"
            )
        return True
    if folder.is_dir() and any(folder.iterdir()):
        raise OtherRun(f"{folder} holds other files: give a new folder")
    return False


def claim_folder(folder: Path, settings: Tuning) -> bool:
    """Note the settings in a folder; return as `was_begun`, and refuse what it refuses."""
    begun = was_begun(folder, settings)
    if not begun:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(settings), indent=1) + "\n"
        (folder / SETTINGS).write_text(text, encoding="utf-8")
    return begun


def tune(
    settings: Tuning,
    model: Decoder,
    tokenizer: Any,
    prepared: Prepared,
    folder: Path,
    say: Callable[[str], None] = print,
    n_steps: int | None = None,
) -> tuple[Decoder, dict]:
    """Tune a model on prepared examples and return it, merged, with what was measured.

    Args:
        settings: as noted by `claim_folder`.
        model, tokenizer: of `load_model`; the model is changed.
        folder: gets the checkpoints; the newest is gone on from.
        say: told what happens, a line each.
        n_steps: updates; None for as many as read about `settings.n_tokens` tokens.

    Returns:
        The model, in evaluation mode, and {"before", "after" (nats per held-out token of answers),
        "losses", "tokens", "seconds", "n_steps", "trainable"}.
    """
    before = answer_loss(model, prepared.held_out, tokenizer.pad_id)
    model = adapt(model, settings)
    n_steps = n_steps or steps_of(prepared.examples, settings)
    trainable = count_trainable(model.parameters())
    say(
        f"{settings.method}: {trainable:,} weights learn in {n_steps} steps of "
        f"{settings.batch_size} examples; held-out loss {before:.3f} before"
    )
    records = train(
        model,
        supervised_batches(
            prepared.examples,
            settings.batch_size,
            settings.context_length,
            tokenizer.pad_id,
            settings.seed,
        ),
        sft_loss,
        adamw(model, lr=settings.peak_rate, weight_decay=0.01),
        n_steps,
        schedule=cosine(n_steps, warmup_steps=min(n_steps, max(1, n_steps // 20))),
        checkpoint=folder / CHECKPOINTS,
        checkpoint_every=settings.checkpoint_every,
        description="tuning",
    )
    model = merged(model)
    after = answer_loss(model, prepared.held_out, tokenizer.pad_id)
    say(f"held-out loss {after:.3f} after ({after / before - 1:+.1%})")
    return model, {
        "before": before,
        "after": after,
        "losses": [record["loss"] for record in records],
        "tokens": records[-1]["tokens"],
        "seconds": records[-1]["seconds"],
        "n_steps": n_steps,
        "trainable": trainable,
    }


def write_model(model: Decoder, tokenizer: Any, wanted: str, folder: Path) -> None:
    """Write weights, configuration and tokenizer, so that `transformers` and `course chat` read it.

    The tokenizer's files are those of the model that was tuned, byte for byte.
    """
    ids = {"end_id": tokenizer.end_id, "pad_id": tokenizer.pad_id}
    save_hugging_face(model.cpu(), folder, **ids)
    if wanted == BASE:
        tokenizer.to_hugging_face().save_pretrained(folder)
        return
    for path in sorted(real_folder(wanted).iterdir()):
        if path.is_file() and path.name not in OWN_FILES:
            if not path.name.endswith(WEIGHTS_FILES):
                shutil.copyfile(path, folder / path.name)


def origin_of(wanted: str) -> dict:
    """Return what is known of the model that is tuned: name, licence, where it comes from."""
    if wanted == BASE:
        return {"name": "the course's base model", "licence": "Apache-2.0"}
    return real_record(wanted)
