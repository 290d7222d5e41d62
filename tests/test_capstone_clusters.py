"""The capstone's stages as jobs of SLURM and as tasks of Ray: the same models as in order here."""

import importlib.util
import threading
import time

import psutil
import pytest

from tests import slurm
from utils.capstone.clusters import ClusterFailed, makers_of, on_ray, on_slurm, run_if_needed
from utils.capstone.params import PARAMS, Params, params_text
from utils.capstone.project import init_project
from utils.capstone.records import RECORD, read_json
from utils.capstone.stages import STAGES, records_of
from utils.ray_cluster import ray_cluster
from utils.settings import environment

needs_slurm = pytest.mark.skipif(bool(slurm.missing()), reason=str(slurm.missing()))
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra cluster)"
)
TRAINED = ("base", "sft", "reward", "align", "safety")


def new_project(folder):
    init_project(folder, say=str)
    (folder / PARAMS).write_text(params_text(Params(budget="smoke")), "utf-8")
    return folder


def weights_of(root):
    found = records_of(root)
    return {
        path: digest
        for stage in TRAINED
        for path, digest in found[stage]["outputs"].items()
        if path.endswith("safetensors")
    }


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    root = new_project(tmp_path_factory.mktemp("here") / "project")
    for name in STAGES:
        run_if_needed(root, name)
    return root


def test_a_stage_waits_for_those_that_make_what_it_needs():
    assert makers_of("text") == [] and makers_of("reward") == ["text", "sft"]
    order = list(STAGES)
    for name in STAGES:
        assert all(order.index(other) < order.index(name) for other in makers_of(name))


@needs_slurm
def test_slurm_makes_the_same_models_and_runs_nothing_twice(here, tmp_path, monkeypatch):
    root = new_project(tmp_path / "project")
    said = []
    with slurm.cluster(n_cpus=2) as found:
        monkeypatch.setenv("SLURM_CONF", found["SLURM_CONF"])
        on_slurm(root, said.append)
        assert weights_of(root) == weights_of(here) and len(weights_of(root)) == len(TRAINED)
        assert [line.partition(":")[0] for line in said] == list(STAGES)
        started = {name: record["started"] for name, record in records_of(root).items()}
        (root / "reward" / RECORD).unlink()
        said.clear()
        on_slurm(root, said.append)
        again = {name: record["started"] for name, record in records_of(root).items()}
        assert {name for name in STAGES if again[name] != started[name]} == {"reward", "report"}
        assert said[0] == "text: nothing has changed"
        rows = (root / "clinic" / "chats.jsonl").read_text("utf-8")
        (root / "clinic" / "chats.jsonl").write_text(rows + "{}\n", "utf-8")
        with pytest.raises(ClusterFailed, match="the stage text ended as FAILED.*'prompt' must be"):
            on_slurm(root, said.append)


def test_without_slurm_it_is_said_in_words(tmp_path):
    with environment(PATH=str(tmp_path)):
        with pytest.raises(ClusterFailed, match="there is no sbatch"):
            on_slurm(tmp_path)


@needs_ray
def test_ray_makes_the_same_models_though_a_worker_is_killed(here, tmp_path):
    root = new_project(tmp_path / "project")
    said, killed = [], []

    def kill():
        end = time.monotonic() + 120
        while time.monotonic() < end and not killed:
            if any((root / "sft" / "checkpoints").glob("*")):
                for process in psutil.process_iter(["name", "cmdline"]):
                    if (process.info["cmdline"] or [""])[0] == "ray::task":
                        process.kill()
                        killed.append(process.pid)
                        break
            time.sleep(0.02)

    watcher = threading.Thread(target=kill, daemon=True)
    watcher.start()
    with ray_cluster(n_cpus=2):
        on_ray(root, said.append)
    assert weights_of(root) == weights_of(here)
    assert [line.partition(":")[0] for line in said] == list(STAGES)
    assert killed, "nobody was killed"
    assert read_json(root / "sft" / RECORD)["resumed"]
