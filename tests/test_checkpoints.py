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
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from utils.runtime import generator
from utils.settings import project_root
from utils.train import checkpoints
from utils.train.checkpoints import (
    CorruptCheckpoint,
    checkpoints_in,
    content_hash,
    load_checkpoint,
    load_run,
    read_metadata,
    save_checkpoint,
    save_run,
)
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import cosine


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
    path = save_run(tmp_path, model, optimizer, 3, records)
    want = torch.rand(3)
    other, its_optimizer = trained(seed=1, steps=1)
    assert not same(model, other)
    got = load_run(tmp_path, other, its_optimizer)
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


def test_one_safetensors_file_holds_it_all(tmp_path):
    path = save_run(tmp_path, *trained(), 3)
    assert list(tmp_path.iterdir()) == [path] and path.suffix == ".safetensors"
    with safe_open(path, "pt") as file:
        parts = {name.split("/")[0] for name in file.keys()}  # noqa: SIM118
    assert parts == {"model", "optimizer", "random"}


def test_model_alone_can_be_loaded_and_leaves_the_generator(tmp_path):
    model, optimizer = trained()
    save_run(tmp_path, model, optimizer, 3)
    other, _ = trained(seed=1)
    before = torch.get_rng_state()
    load_run(tmp_path, other)
    assert same(model, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.Adagrad])
def test_other_optimizers_too(tmp_path, make):
    model, other = trained()[0], trained(seed=1)[0]
    optimizer, its = make(model.parameters(), lr=0.1), make(other.parameters(), lr=0.1)
    step_once(model, optimizer)
    step_once(model, optimizer)
    save_run(tmp_path, model, optimizer, 2)
    load_run(tmp_path, other, its)
    step_once(model, optimizer)
    step_once(other, its)
    assert same(model, other)


def test_two_newest_are_kept(tmp_path):
    model, optimizer = trained()
    for step in (1, 2, 3, 4):
        save_run(tmp_path, model, optimizer, step)
    assert [path.name[:13] for path in checkpoints_in(tmp_path)] == [
        "step-00000003",
        "step-00000004",
    ]


def test_the_same_step_can_be_saved_again(tmp_path):
    model, optimizer = trained()
    paths = [save_run(tmp_path, model, optimizer, 1, [{"n": n}]) for n in (1, 1, 2)]
    assert checkpoints_in(tmp_path) == [paths[2]] == [paths[0]]
    assert load_run(tmp_path, model, optimizer).records == [{"n": 2}]


def test_a_damaged_checkpoint_is_replaced_by_one_of_the_same_name(tmp_path):
    path = save_run(tmp_path, *trained(), 3)
    damage(path, "flipped")
    assert save_run(tmp_path, *trained(), 3) == path
    assert load_run(tmp_path, *trained(seed=1)).step == 3


@pytest.mark.parametrize("kind", ["truncated", "empty", "flipped"])
def test_damage_is_noticed_and_the_one_before_is_used(tmp_path, kind):
    good, optimizer = trained(steps=2)
    save_run(tmp_path, good, optimizer, 2)
    newer = save_run(tmp_path, *trained(steps=3), 3)
    damage(newer, kind)
    other, its_optimizer = trained(seed=1)
    with pytest.warns(UserWarning, match="step-00000003.*damaged.*going on from step-00000002"):
        assert load_run(tmp_path, other, its_optimizer).step == 2
    assert same(good, other)


def test_a_missing_newest_checkpoint_leaves_the_one_before(tmp_path):
    save_run(tmp_path, *trained(steps=2), 2)
    damage(save_run(tmp_path, *trained(), 3), "missing")
    assert load_run(tmp_path, *trained(seed=1)).step == 2


def test_no_good_one_left_says_what_to_do_and_changes_nothing(tmp_path):
    path = save_run(tmp_path, *trained(), 3)
    damage(path, "truncated")
    model, optimizer = trained(seed=1)
    untouched, _ = trained(seed=1)
    with pytest.raises(CorruptCheckpoint, match=r"step-00000003.* is damaged.*delete .*resume"):
        load_run(tmp_path, model, optimizer)
    assert same(model, untouched)


def test_nothing_to_load_is_named(tmp_path):
    model, optimizer = trained()
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        load_run(tmp_path / "nowhere", model, optimizer)


def test_another_model_or_setting_is_refused_before_anything_changes(tmp_path):
    save_run(tmp_path, *trained(), 3)
    model, optimizer = trained(seed=1, width=5)
    untouched, _ = trained(seed=1, width=5)
    with pytest.raises(ValueError, match=r"another model: embed.weight is \(6, 4\) .* \(6, 5\)"):
        load_run(tmp_path, model, optimizer)
    assert same(model, untouched)
    model, _ = trained(seed=1)
    untouched, _ = trained(seed=1)
    with pytest.raises(ValueError, match="weight_decay=0.1 in the optimizer, here it is 0.5"):
        load_run(tmp_path, model, adamw(model, 1e-2, weight_decay=0.5))
    assert same(model, untouched)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch, share):
    model, optimizer = trained(steps=2)
    save_run(tmp_path, model, optimizer, 2)

    def full(path, data):
        path.write_bytes(data[: int(share * len(data))])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_flushed", full)
    with pytest.raises(OSError, match="disk is full; kept: step-00000002.*Free some") as error:
        save_run(tmp_path, *trained(steps=3), 3)
    assert error.value.errno == errno.ENOSPC
    assert len(list(tmp_path.iterdir())) == 1  # nothing half-written stays and takes space
    other, its_optimizer = trained(seed=1)
    assert load_run(tmp_path, other, its_optimizer).step == 2
    assert same(model, other)


def test_full_disk_for_real(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root on Linux to mount a small disk")
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a small disk")
    try:
        model, optimizer = trained(steps=2)
        save_run(tmp_path, model, optimizer, 2)
        big = Small(width=4000)
        with pytest.raises(OSError, match="disk is full; kept: step-00000002"):
            save_run(tmp_path, big, adamw(big, 1e-2), 3)
        other, its_optimizer = trained(seed=1)
        assert load_run(tmp_path, other, its_optimizer).step == 2
        assert same(model, other)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="not written.*kept: none before it"):
        save_run(tmp_path / "file" / "run", *trained(), 1)


TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3).T,  # not contiguous
    "half": torch.ones(3, dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "none": torch.zeros(0, 4),
}
INFO = {"step": 3, "loss": 0.1 + 0.2, "text": "Größe", "list": [1, None, True]}


def test_low_layer_round_trip(tmp_path):
    save_checkpoint(tmp_path / "one", TENSORS, INFO)
    tensors, info = load_checkpoint(tmp_path / "one")
    assert info == INFO and tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        torch.testing.assert_close(tensors[name], tensor, atol=0, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    save_checkpoint(str(tmp_path / "empty"), {}, {})
    assert load_checkpoint(str(tmp_path / "empty")) == ({}, {})


DTYPES = (
    "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 "
    "float8_e4m3fn complex64"
).split()


@pytest.mark.parametrize("as_type", [Path, str])
def test_low_layer_takes_every_dtype_shape_and_kind_of_path(tmp_path, as_type):
    path = as_type(tmp_path / "one")
    tensors = {}
    for name in DTYPES:
        whole = torch.tensor([[0, 1], [1, 1], [1, 0]]).to(getattr(torch, name))
        tensors |= {name: whole, f"{name}-one": whole[1, 0].clone(), f"{name}-none": whole[:0]}
    tensors["learned"] = nn.Parameter(torch.ones(2))
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    save_checkpoint(path, tensors, {})
    loaded, _ = load_checkpoint(path)
    assert loaded.keys() == copies.keys()
    for name, tensor in copies.items():
        assert loaded[name].dtype == tensor.dtype and loaded[name].shape == tensor.shape
        for other in (loaded[name], tensors[name]):
            raw, want = (t.detach().flatten().view(torch.uint8) for t in (other, tensor))
            assert torch.equal(raw, want)
    assert type(tensors["learned"]) is nn.Parameter and tensors["learned"].requires_grad


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("fault", ["folder is missing", "folder is a file", "name is a folder"])
def test_a_place_that_can_not_be_written_leaves_no_part_of_a_file(tmp_path, fault, there):
    good = tmp_path / "good"
    if there:
        save_checkpoint(good, {"weight": torch.zeros(2)}, {"n": 1})
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    place = {"folder is missing": "no/one", "folder is a file": "file/one"}.get(fault, "folder")
    with pytest.raises(OSError):
        save_checkpoint(tmp_path / place, {"weight": torch.ones(2)}, {})
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("info", [{"x": {1, 2}}, {"x": torch.ones(1)}])
def test_facts_that_fit_no_json_leave_the_file_before(tmp_path, info):
    path = tmp_path / "one"
    save_checkpoint(path, {"weight": torch.zeros(2)}, {"n": 1})
    with pytest.raises(TypeError):
        save_checkpoint(path, {"weight": torch.ones(2)}, info)
    assert load_checkpoint(path)[1] == {"n": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["one"]


def test_low_layer_is_read_by_safetensors_itself(tmp_path):
    save_checkpoint(tmp_path / "one", TENSORS, INFO)
    with safe_open(tmp_path / "one", "pt") as file:
        assert torch.equal(file.get_tensor("weight"), TENSORS["weight"])
        metadata = file.metadata()
    assert json.loads(metadata["info"]) == INFO
    assert metadata == read_metadata((tmp_path / "one").read_bytes())
    assert metadata["sha256"] == content_hash(TENSORS, metadata["info"])


def test_each_flipped_bit_and_each_cut_is_noticed(tmp_path):
    path = tmp_path / "one"
    save_checkpoint(path, {"weight": torch.arange(3.0), "step": torch.tensor(5)}, {"n": 1})
    whole = path.read_bytes()
    want = load_checkpoint(path)
    harmless = 0
    for place in range(len(whole)):
        for bit in (0, 5):
            path.write_bytes(
                whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :]
            )
            try:
                tensors, info = load_checkpoint(path)
            except CorruptCheckpoint as error:
                assert "one is damaged" in str(error)
                continue
            harmless += 1  # a flip in the header's padding, which says nothing
            assert info == want[1] and tensors.keys() == want[0].keys()
            assert all(torch.equal(tensors[name], want[0][name]) for name in tensors)
    assert harmless < 20
    for n_bytes in range(len(whole)):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(CorruptCheckpoint):
            load_checkpoint(path)


def test_a_plain_safetensors_file_is_no_checkpoint(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "plain")
    with pytest.raises(CorruptCheckpoint, match="does not have the sha256"):
        load_checkpoint(tmp_path / "plain")
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "nothing")


def test_the_file_before_is_never_written_into(tmp_path):
    path, other_name = tmp_path / "one", tmp_path / "link"
    save_checkpoint(path, {"weight": torch.zeros(2)}, {"n": 1})
    os.link(path, other_name)
    save_checkpoint(path, {"weight": torch.ones(2)}, {"n": 2})
    assert load_checkpoint(other_name)[1] == {"n": 1}
    assert load_checkpoint(path)[1] == {"n": 2}


@pytest.mark.parametrize("fails", ["write_flushed", "replace"])
def test_low_layer_leaves_what_was_there_where_it_fails(tmp_path, monkeypatch, fails):
    path = tmp_path / "one"
    save_checkpoint(path, {"weight": torch.zeros(2)}, {"n": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.os if fails == "replace" else checkpoints, fails, full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, {"weight": torch.ones(2)}, {"n": 2})
    assert [file.name for file in tmp_path.iterdir()] == ["one"]
    assert load_checkpoint(path)[1] == {"n": 1}


def test_bytes_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    calls = []

    def note(name, real):
        def called(*arguments):
            calls.append(name)
            return real(*arguments)

        return called

    monkeypatch.setattr(checkpoints.os, "fsync", note("flush", os.fsync))
    monkeypatch.setattr(checkpoints.os, "replace", note("rename", os.replace))
    save_checkpoint(tmp_path / "one", {"weight": torch.zeros(2)}, {})
    assert calls == ["flush", "rename", "flush"][: 3 if os.name == "posix" else 2]


def test_hash_changes_with_anything_that_matters():
    one = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}
    others = [
        ({"b": one["a"], "a": one["b"]}, "x"),
        ({"a": one["a"]}, "x"),
        (one | {"a": torch.tensor([2.0, 1.0])}, "x"),
        (one | {"a": torch.tensor([[1.0, 2.0]])}, "x"),
        (one | {"b": one["b"].view(torch.int32)}, "x"),
        (one, "y"),
    ]
    hashes = {content_hash(one, "x"), *(content_hash(*other) for other in others)}
    assert len(hashes) == len(others) + 1
    assert content_hash(dict(reversed(one.items())), "x") == content_hash(one, "x")


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
