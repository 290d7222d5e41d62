"""Bridges of unit 04: the same run in transformers.Trainer, and its records in W&B, offline."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from utils.model.decoder import Decoder
from utils.model.pretrained import save_hugging_face
from utils.report.records import import_wandb, log_to_wandb, read_wandb
from utils.settings import environment
from utils.text.corpora import world_corpus
from utils.tokens.batches import block_batches, pack_documents
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import linear
from utils.zoo.load import load_base

N_STEPS, RATE = 20, 3e-3


@pytest.fixture(scope="module")
def fresh():
    """Return an untrained decoder and batches of the world's text."""
    base, tokenizer = load_base()
    documents = tokenizer.encode_batch(world_corpus(2000, seed=3))
    batches = block_batches(pack_documents(documents, tokenizer.end_id), 8, 64, seed=0)
    torch.manual_seed(0)
    return Decoder(replace(base.config, d_model=64, d_head=16, d_ff=192)), batches


def trainer_losses(folder, batches, scratch, **changes):
    """Return the losses of transformers.Trainer on the batches in their order."""
    from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, TrainingArguments

    rows = []
    for step in range(N_STEPS):
        batch = batches(step)
        ids = torch.cat([batch.token_ids, batch.targets[:, -1:]], dim=1)  # (B, T + 1)
        rows += [{"input_ids": row, "labels": row} for row in ids]  # the model shifts the labels
    settings = {
        "max_steps": N_STEPS,
        "per_device_train_batch_size": 8,
        "train_sampling_strategy": "sequential",
        "learning_rate": RATE,
        "lr_scheduler_type": "linear",
        "weight_decay": 0.1,
        "adam_beta2": 0.95,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        args=TrainingArguments(output_dir=str(scratch), **settings | changes),
        train_dataset=rows,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def furthest(ours, theirs):
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.slow
def test_transformers_trainer_gives_the_same_losses_step_by_step(fresh, tmp_path):
    model, batches = fresh
    save_hugging_face(model, tmp_path / "fresh")
    optimizer = adamw(model, RATE)
    records = train(model, batches, cross_entropy, optimizer, N_STEPS, schedule=linear(N_STEPS))
    ours = [record["loss"] for record in records]
    theirs = trainer_losses(tmp_path / "fresh", batches, tmp_path / "out")
    print(f"largest distance of {N_STEPS} losses: {furthest(ours, theirs):.1e}")
    assert furthest(ours, theirs) < 1e-4
    assert ours[-1] < ours[0] - 1
    # A setting that differs shows: beta2, decay and clipping are what makes the two agree.
    other = trainer_losses(tmp_path / "fresh", batches, tmp_path / "out", adam_beta2=0.999)
    assert furthest(ours, other) > 1e-3


@pytest.fixture(scope="module")
def wandb():
    with environment(WANDB_ERROR_REPORTING="false"):
        return pytest.importorskip("wandb")


RECORDS = [
    {"step": step, "loss": math.exp(-step / 7), "tokens": 512 * (step + 1), "note": "x"}
    for step in range(300)
]


def test_wandb_reads_our_records_offline(wandb, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.chdir(tmp_path)
    paths = [log_to_wandb(RECORDS[:n], tmp_path / "runs", f"{n} steps") for n in (300, 1)]
    assert paths[0] != paths[1]
    for path, n in zip(paths, (300, 1), strict=True):
        rows = read_wandb(path)
        assert [row["_step"] for row in rows] == list(range(n))
        for row, record in zip(rows, RECORDS[:n], strict=True):
            assert row["loss"] == record["loss"] and row["tokens"] == record["tokens"]
            assert "note" not in row
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}  # no stray folder
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"wandb"}
    assert wandb.run is None


def test_settings_are_kept_with_the_run(wandb, tmp_path):
    path = log_to_wandb(RECORDS[:2], tmp_path, "one", config={"lr": 0.004, "d_model": 128})
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(path)]
    with environment(WANDB_ERROR_REPORTING="false"):
        summary = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert summary["config"]["lr"] == 0.004 and summary["config"]["d_model"] == 128


def test_values_that_are_no_numbers_are_left_out(wandb, tmp_path):
    record = {"step": 0, "loss": math.nan, "norm": math.inf, "ok": True, "rate": 1e-3}
    (row,) = read_wandb(log_to_wandb([record], tmp_path, "one"))
    assert {name for name in row if not name.startswith("_")} == {"step", "rate"}


def test_nothing_to_log_and_a_file_of_something_else_are_named(wandb, tmp_path):
    with pytest.raises(ValueError, match="records is empty"):
        log_to_wandb([], tmp_path, "none")
    (tmp_path / "other").write_text("no run")
    with pytest.raises(ValueError, match="other can't be read as a run of wandb"):
        read_wandb(tmp_path / "other")


def test_a_missing_wandb_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import then fails as if it were missing
    with pytest.raises(ModuleNotFoundError, match=r"extra `ops`.*pip install.*\[ops\]"):
        import_wandb()
