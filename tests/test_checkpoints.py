"""Checkpoints: round trip, damage, full disks, and processes killed at random moments."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from utils.runtime import generator, project_root
from utils.train import checkpoints
from utils.train.checkpoints import (
    CorruptCheckpoint,
    checkpoints_in,
    load_checkpoint,
    save_checkpoint,
)
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import cosine

WEIGHTS = "model.safetensors"


class Small(nn.Module):
    """Tied weights, a buffer and a tensor that is not contiguous: what a checkpoint must carry."""

    def __init__(self, width=4):
        super().__init__()
        self.embed = nn.Embedding(6, width)
        self.out = nn.Linear(width, 6, bias=False)
        self.out.weight = self.embed.weight
        self.gain = nn.Parameter(torch.randn(width, 3).T)
        self.register_buffer("count", torch.tensor(7))

    def forward(self, token_ids):
        return self.out(self.embed(token_ids)) * self.gain.cumsum(0).cumsum(1).square().mean()


def trained(seed=0, steps=3, width=4):
    torch.manual_seed(seed)
    model = Small(width)
    optimizer = adamw(model, 1e-2)
    for _ in range(steps):
        step_once(model, optimizer)
    return model, optimizer


def step_once(model, optimizer):
    optimizer.zero_grad()
    model(torch.arange(6)).square().mean().backward()
    optimizer.step()


def same(model, other):
    pairs = zip(model.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == its and torch.equal(a, b) for (name, a), (its, b) in pairs)


def damage(path, kind):
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-7])
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def test_round_trip_restores_everything(tmp_path):
    model, optimizer = trained()
    records = [{"step": 2, "loss": 0.1 + 0.2}]
    draws = torch.get_rng_state()
    path = save_checkpoint(tmp_path, model, optimizer, 3, records)
    want = torch.rand(3)
    other, its_optimizer = trained(seed=1, steps=1)
    assert not same(model, other)
    got = load_checkpoint(tmp_path, other, its_optimizer)
    assert (got.step, got.records, got.path) == (3, records, path)
    assert same(model, other)
    assert torch.equal(torch.get_rng_state(), draws) and torch.equal(torch.rand(3), want)
    assert other.out.weight is other.embed.weight
    mine, its = optimizer.state_dict()["state"], its_optimizer.state_dict()["state"]
    assert mine.keys() == its.keys() == {0, 1}
    for index in mine:
        assert mine[index].keys() == its[index].keys() == {"step", "exp_avg", "exp_avg_sq"}
        for name, value in mine[index].items():
            assert torch.equal(value, its[index][name])
    step_once(model, optimizer)
    step_once(other, its_optimizer)
    assert same(model, other)


def test_files_are_safetensors_and_json_alone(tmp_path):
    path = save_checkpoint(tmp_path, *trained(), 3)
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}
    assert list(tmp_path.iterdir()) == [path]
    assert set(json.loads((path / "manifest.json").read_text())["files"]) == {
        file.name for file in path.iterdir()
    } - {"manifest.json"}


def test_model_alone_can_be_loaded_and_leaves_the_generator(tmp_path):
    model, optimizer = trained()
    save_checkpoint(tmp_path, model, optimizer, 3)
    other, _ = trained(seed=1)
    before = torch.get_rng_state()
    load_checkpoint(tmp_path, other)
    assert same(model, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.Adagrad])
def test_other_optimizers_too(tmp_path, make):
    model, other = trained()[0], trained(seed=1)[0]
    optimizer, its = make(model.parameters(), lr=0.1), make(other.parameters(), lr=0.1)
    step_once(model, optimizer)
    step_once(model, optimizer)
    save_checkpoint(tmp_path, model, optimizer, 2)
    load_checkpoint(tmp_path, other, its)
    step_once(model, optimizer)
    step_once(other, its)
    assert same(model, other)


def test_two_newest_are_kept(tmp_path):
    model, optimizer = trained()
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, model, optimizer, step)
    assert [path.name[:13] for path in checkpoints_in(tmp_path)] == [
        "step-00000003",
        "step-00000004",
    ]


def test_the_same_step_can_be_saved_again(tmp_path):
    model, optimizer = trained()
    paths = [save_checkpoint(tmp_path, model, optimizer, 1, [{"n": n}]) for n in (1, 1, 2)]
    assert paths[0] == paths[1] != paths[2]
    assert checkpoints_in(tmp_path) == [paths[2]]


def test_a_damaged_checkpoint_is_replaced_by_one_of_the_same_name(tmp_path):
    path = save_checkpoint(tmp_path, *trained(), 3)
    damage(path / WEIGHTS, "flipped")
    torch.manual_seed(0)
    assert save_checkpoint(tmp_path, *trained(), 3) == path
    assert load_checkpoint(tmp_path, *trained(seed=1)).step == 3


@pytest.mark.parametrize("kind", ["missing", "truncated", "empty", "flipped"])
@pytest.mark.parametrize(
    "name",
    [WEIGHTS, "optimizer.safetensors", "random.safetensors", "records.json", "manifest.json"],
)
def test_damage_is_noticed_and_the_one_before_is_used(tmp_path, name, kind):
    good, optimizer = trained(steps=2)
    save_checkpoint(tmp_path, good, optimizer, 2)
    newer = save_checkpoint(tmp_path, *trained(steps=3), 3)
    damage(newer / name, kind)
    other, its_optimizer = trained(seed=1)
    with pytest.warns(UserWarning, match=f"{name}.*(damaged|missing).*going on from step-00000002"):
        assert load_checkpoint(tmp_path, other, its_optimizer).step == 2
    assert same(good, other)


def test_no_good_one_left_says_what_to_do_and_changes_nothing(tmp_path):
    path = save_checkpoint(tmp_path, *trained(), 3)
    damage(path / WEIGHTS, "truncated")
    model, optimizer = trained(seed=1)
    untouched, _ = trained(seed=1)
    with pytest.raises(CorruptCheckpoint, match=r"model.safetensors is damaged.*delete .*resume"):
        load_checkpoint(tmp_path, model, optimizer)
    assert same(model, untouched)


def test_nothing_to_load_is_named(tmp_path):
    model, optimizer = trained()
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        load_checkpoint(tmp_path / "nowhere", model, optimizer)


def test_another_model_or_setting_is_refused_before_anything_changes(tmp_path):
    save_checkpoint(tmp_path, *trained(), 3)
    model, optimizer = trained(seed=1, width=5)
    untouched, _ = trained(seed=1, width=5)
    with pytest.raises(ValueError, match=r"another model: embed.weight is \(6, 4\) .* \(6, 5\)"):
        load_checkpoint(tmp_path, model, optimizer)
    assert same(model, untouched)
    model, _ = trained(seed=1)
    untouched, _ = trained(seed=1)
    with pytest.raises(ValueError, match="weight_decay=0.1 in the optimizer, here it is 0.5"):
        load_checkpoint(tmp_path, model, adamw(model, 1e-2, weight_decay=0.5))
    assert same(model, untouched)


@pytest.mark.parametrize("file_number", range(5))
def test_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch, file_number):
    model, optimizer = trained(steps=2)
    save_checkpoint(tmp_path, model, optimizer, 2)
    write, written = checkpoints._write, []

    def full(path, data):
        if len(written) == file_number:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        write(path, data)

    monkeypatch.setattr(checkpoints, "_write", full)
    with pytest.raises(OSError, match="disk is full; kept: step-00000002.*Free some") as error:
        save_checkpoint(tmp_path, *trained(steps=3), 3)
    assert error.value.errno == errno.ENOSPC
    assert len(list(tmp_path.iterdir())) == 1  # nothing half-written stays and takes space
    other, its_optimizer = trained(seed=1)
    assert load_checkpoint(tmp_path, other, its_optimizer).step == 2
    assert same(model, other)


def test_full_disk_for_real(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root on Linux to mount a small disk")
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a small disk")
    try:
        model, optimizer = trained(steps=2)
        save_checkpoint(tmp_path, model, optimizer, 2)
        big = Small(width=4000)
        with pytest.raises(OSError, match="disk is full; kept: step-00000002"):
            save_checkpoint(tmp_path, big, adamw(big, 1e-2), 3)
        other, its_optimizer = trained(seed=1)
        assert load_checkpoint(tmp_path, other, its_optimizer).step == 2
        assert same(model, other)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="not written.*kept: none before it"):
        save_checkpoint(tmp_path / "file" / "run", *trained(), 1)


N_STEPS = 200


def batches(step):
    ids = torch.randint(50, (8, 32), generator=generator(step))
    return SimpleNamespace(token_ids=ids, targets=(7 * ids + 3) % 50)


def tiny_run(folder=None, every=0, n_steps=N_STEPS):
    """Train a tiny model with dropout; return what must come out the same, bit for bit."""
    torch.manual_seed(0)
    layers = [nn.Linear(64, 64), nn.Dropout(0.1), nn.LayerNorm(64)] * 3
    model = nn.Sequential(nn.Embedding(50, 64), *layers, nn.Linear(64, 50))
    schedule = cosine(N_STEPS, warmup_steps=5)
    records = train(
        model,
        batches,
        cross_entropy,
        adamw(model, 3e-3),
        n_steps,
        schedule=schedule,
        checkpoint=folder,
        checkpoint_every=every,
    )
    names = ("step", "loss", "learning_rate", "gradient_norm", "tokens")
    return [[record[name] for name in names] for record in records]


def newest_step(folder):
    paths = checkpoints_in(folder)
    return int(paths[-1].name[5:13]) if paths else 0


def kill_at_random(process_id, folder, rng):
    """Wait until a run has written one more checkpoint, and kill it soon after, at any moment."""
    before = newest_step(folder)
    while newest_step(folder) == before:
        if os.waitpid(process_id, os.WNOHANG)[0]:
            return False  # finished, or broken: then the last run tells
        time.sleep(0.001)
    time.sleep(rng.uniform(0.0, 0.02))
    os.kill(process_id, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process_id, 0)[1])


def child(folder, output, every, n_steps, n_kills, seed):
    """What a subprocess does: fork and kill `n_kills` runs, then let one finish."""
    torch.set_num_threads(1)
    rng, n_killed = random.Random(seed), 0
    tiny_run(n_steps=1)  # what torch imports late is there before the first fork
    for _ in range(n_kills):
        process_id = os.fork()
        if process_id == 0:
            tiny_run(folder, every, n_steps)
            os._exit(0)
        n_killed += kill_at_random(process_id, folder, rng)
    result = {"killed_at": newest_step(folder), "n_killed": n_killed}
    result["records"] = tiny_run(folder, every, n_steps)
    Path(output).write_text(json.dumps(result))


def start_child(tmp_path, every, n_steps=N_STEPS, n_kills=0, seed=0):
    paths = (str(tmp_path / "run"), str(tmp_path / "result.json"))
    arguments = (*paths, every, n_steps, n_kills, seed)
    code = f"from tests.test_checkpoints import child; child(*{arguments!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=project_root(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def result_of(process, tmp_path):
    assert process.wait(timeout=120) == 0
    return json.loads((tmp_path / "result.json").read_text())


@pytest.fixture(scope="module")
def never_killed():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tiny_run()
    torch.set_num_threads(n_threads)


def test_killed_in_mid_training_and_resumed_gives_the_very_same_losses(tmp_path, never_killed):
    process = start_child(tmp_path, every=10)
    deadline = time.monotonic() + 60
    while not checkpoints_in(tmp_path / "run"):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    time.sleep(random.uniform(0.0, 0.05))  # any moment will do; the claim holds for all
    process.kill()
    process.wait()
    assert not (tmp_path / "result.json").exists()
    assert 0 < newest_step(tmp_path / "run") < N_STEPS
    assert result_of(start_child(tmp_path, every=10), tmp_path)["records"] == never_killed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the children that it kills")
def test_killed_many_times_while_every_step_writes_a_checkpoint(tmp_path, never_killed):
    process = start_child(tmp_path, every=1, n_steps=80, n_kills=5, seed=time.time_ns())
    result = result_of(process, tmp_path)
    assert result["records"] == never_killed[:80]
    assert result["n_killed"] >= 3 and result["killed_at"] >= 3
