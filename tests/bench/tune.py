"""Steps of tuning against TRL's and PEFT's, and four bits against bitsandbytes.

Both sides have the same model, the same rows and the same update (AdamW); what TRL's trainer does
around a step (collation, hooks, logging) is part of what its users wait for, and of what is timed.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Iterator

import torch
from torch import nn

from tests.bench.model import exported, in_turns
from utils.model.decoder import Decoder
from utils.model.lora import add_lora
from utils.model.nf4 import dequantize_nf4, quantize_nf4
from utils.model.pretrained import save_hugging_face
from utils.runtime import generator
from utils.tokens.batches import Batch, supervised_batches
from utils.tokens.chat import render_chat
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.sft import sft_loss
from utils.world.chats import chats
from utils.world.facts import build_world
from utils.zoo.load import load_base

B, N_STEPS, N_TURNS, RANK, ALPHA = 16, 30, 5, 8, 16
BAR_SFT, BAR_LORA, BAR_NF4 = 1.5, 1.2, 1.0
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SIZE = (4096, 1024)


def talks(n: int) -> list[list[dict[str, str]]]:
    """Return chats of the world."""
    return chats(build_world(0), n, seed=0)


def seconds_of_trl(folder: str, tokenizer, rows: list) -> list[float]:
    """Return the seconds of each step of TRL's trainer."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            marks.append(time.perf_counter())

    config = SFTConfig(
        output_dir=f"{folder}/run",
        assistant_only_loss=True,
        per_device_train_batch_size=B,
        max_steps=N_STEPS,
        max_length=128,
        learning_rate=1e-3,
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=N_STEPS,
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        args=config,
        train_dataset=Dataset.from_list([{"messages": talk} for talk in rows]),
        processing_class=tokenizer.to_hugging_face(),
        callbacks=[Clock()],
    )
    trainer.train()
    return [after - before for before, after in zip(marks, marks[1:], strict=False)]


def sft_row() -> dict:
    """Compare the time from step to step, ours and TRL's, over chats of the world."""
    model, tokenizer = load_base()
    rows = talks(B * N_STEPS)
    examples = [render_chat(talk, tokenizer) for talk in rows]
    batches = supervised_batches(examples, B, 128, tokenizer.pad_id)
    ids = {"end_id": tokenizer.end_id, "pad_id": tokenizer.pad_id}
    with tempfile.TemporaryDirectory() as folder:
        save_hugging_face(model, folder, **ids)
        records = train(model, batches, sft_loss, adamw(model, lr=1e-3), N_STEPS)
        theirs = statistics.median(seconds_of_trl(folder, tokenizer, rows))
    total = [record["seconds"] for record in records]
    ours = statistics.median(b - a for a, b in zip(total, total[1:], strict=False))
    return {
        "row": f"SFT step, {B} chats",
        "peer": "TRL SFTTrainer",
        "measured": theirs / ours,
        "unit": "x",
        "bar": BAR_SFT,
        "details": f"{1000 * ours:.0f} against {1000 * theirs:.0f} ms a step (medians of "
        f"{N_STEPS}); the base model, rows padded to the longest of a batch",
    }


def lora_step(model: nn.Module, batch: Batch, is_theirs: bool):
    """Return one update of a model with adapters, as a function."""
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad], lr=1e-4
    )

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        logits = model(batch.token_ids)
        loss = sft_loss(logits.logits if is_theirs else logits, batch.targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def lora_row() -> dict:
    """Compare an update of adapters on all matrices, ours and PEFT's, on the same rows."""
    from peft import LoraConfig, get_peft_model

    model, tokenizer = load_base()
    peer = exported(model)
    examples = [render_chat(talk, tokenizer) for talk in talks(B)]
    batch = supervised_batches(examples, B, 128, tokenizer.pad_id)(0)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, lora_dropout=0.0)
    theirs = lora_step(get_peft_model(peer, config).train(), batch, is_theirs=True)
    ours = lora_step(adapted(model).train(), batch, is_theirs=False)
    first = ours(), theirs()
    assert abs(first[0] - first[1]) < 1e-4, f"another loss: {first}"
    our_seconds, their_seconds, ratio = in_turns(ours, theirs, 4 * N_TURNS)
    return {
        "row": f"LoRA step, rank {RANK}, {B} chats",
        "peer": "PEFT on transformers",
        "measured": ratio,
        "unit": "x",
        "bar": BAR_LORA,
        "details": f"{1000 * our_seconds:.0f} against {1000 * their_seconds:.0f} ms; theirs adapts "
        "seven matrices of a block, ours the same weights as four",
    }


def adapted(model: Decoder) -> Decoder:
    """Return the model with adapters on all matrices of its blocks."""
    torch.manual_seed(0)
    return add_lora(model, RANK, ALPHA)


def nf4_row() -> dict:
    """Compare the floats that four-bit codes stand for: the same, and how fast they are made."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    weight = torch.randn(SIZE, generator=generator(0))
    codes, scales = quantize_nf4(weight)
    theirs, state = quantize_4bit(weight, blocksize=64, quant_type="nf4")
    gap = (dequantize_nf4(codes, scales, SIZE) - dequantize_4bit(theirs, state)).abs().max().item()
    assert gap < 1e-6, f"other floats, by {gap:.2g}"
    our_seconds, their_seconds, ratio = in_turns(
        lambda: dequantize_nf4(codes, scales, SIZE),
        lambda: dequantize_4bit(theirs, state),
        N_TURNS,
    )
    return {
        "row": f"NF4: floats of {SIZE[0]:,} x {SIZE[1]:,} codes",
        "peer": "bitsandbytes",
        "measured": ratio,
        "unit": "x",
        "bar": BAR_NF4,
        "details": f"{1000 * our_seconds:.1f} against {1000 * their_seconds:.1f} ms; equal floats",
    }


def rows() -> Iterator[dict]:
    """Yield the rows of tuning."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    yield sft_row()
    yield lora_row()
    yield nf4_row()
