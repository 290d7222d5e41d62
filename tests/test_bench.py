"""The table of `make bench`: verdicts, rows that fail or are skipped, the written record.

What the benchmarks measure is not tested here: a timed test would fail on a busy machine.
"""

import json
import sys
from types import ModuleType

import pytest
import torch

from tests.bench import __main__ as bench
from tests.bench import train as bench_train
from utils.train.losses import cross_entropy

FAST = {"row": "fast", "peer": "p", "measured": 2.0, "unit": "x", "bar": 1.3, "at_least": True}
LOSS = {"row": "loss", "peer": "p", "measured": 1.8, "unit": "nats", "bar": 1.75, "at_least": False}


def test_verdict_knows_both_directions():
    assert bench.verdict(FAST) == "holds"
    assert bench.verdict({**FAST, "measured": 1.2}) == "falls short"
    assert bench.verdict(LOSS) == "falls short"
    assert bench.verdict({**LOSS, "measured": 1.7}) == "holds"
    assert bench.verdict({"row": "a", "skipped": "no text"}) == "skipped"


def broken_rows():
    yield FAST
    raise RuntimeError("out of luck")


@pytest.fixture
def modules(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path))
    rows = {"bpe": broken_rows, "model": lambda: [LOSS], "train": lambda: [FAST]}
    rows["tune"] = lambda: [{"row": "a step", "skipped": "not now"}]
    rows["align"] = lambda: [{"row": "a pair", "skipped": "not now"}]
    rows["real"] = lambda: [{"row": "SmolLM2", "skipped": "not there"}]
    for name in bench.NAMES:
        module = ModuleType(name)
        module.rows = rows[name]
        monkeypatch.setitem(sys.modules, f"tests.bench.{name}", module)
    return tmp_path / "bench.json"


def test_a_module_that_fails_hides_no_other_row(modules, capsys):
    n_threads = torch.get_num_threads()
    assert bench.main([]) == 1
    torch.set_num_threads(n_threads)
    printed = capsys.readouterr().out
    assert "RuntimeError: out of luck" in printed and "1.80 nats" in printed
    record = json.loads(modules.read_text())
    assert [row["verdict"] for row in record["rows"]] == [
        "holds",
        "failed",
        "falls short",
        "holds",
        "skipped",
        "skipped",
        "skipped",
    ]
    assert record["torch"] == torch.__version__ and record["threads"] >= 1


def test_one_module_alone(modules):
    n_threads = torch.get_num_threads()
    assert bench.main(["--only", "train"]) == 0
    torch.set_num_threads(n_threads)
    assert len(json.loads(modules.read_text())["rows"]) == 1


def test_training_row_is_skipped_without_its_text(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    (row,) = bench_train.rows()
    assert bench_train.TEXT in row["skipped"] and "COURSE_DATA_DIR" in row["skipped"]


def test_the_peer_is_causal_and_has_the_size_of_the_recipe():
    peer = bench_train.Peer(vocab_size=65)
    assert sum(weight.numel() for weight in peer.parameters()) == 804_096
    ids = torch.arange(20)[None]
    changed = ids.clone()
    changed[0, 12:] = 0
    assert torch.equal(peer(ids)[:, :12], peer(changed)[:, :12])


def test_validation_loss_is_the_mean_over_whole_blocks():
    peer, ids = bench_train.Peer(vocab_size=65), torch.randint(65, (64 * 70 + 5,))
    whole = bench_train.validation_loss(peer, ids, 64)
    parts = [
        cross_entropy(peer(ids[None, i : i + 64]), ids[None, i + 1 : i + 65]).item()
        for i in range(0, 64 * 70, 64)
    ]
    assert whole == pytest.approx(sum(parts) / 70, abs=1e-5)


def test_our_run_trains_in_turns_as_in_one(monkeypatch):
    ids = torch.randint(65, (2000,))
    in_one, in_turns = (bench_train.OurRun(ids, 65, seed=0) for _ in range(2))
    schedule = bench_train.cosine(4)
    in_one.turn(4, schedule)
    in_turns.turn(1, schedule)
    in_turns.turn(3, schedule)
    assert in_turns.steps == 4
    weights = zip(in_one.model.parameters(), in_turns.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)
