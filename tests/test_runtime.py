"""The one dial: tiers, threads, folders, and what a wrong setting is told."""

import pytest
import torch

from utils import runtime, settings


def test_default_tier_is_the_cpu(monkeypatch):
    monkeypatch.delenv("COURSE_TIER", raising=False)
    assert runtime.pick_tier().name == "cpu"


def test_unknown_tier_names_the_tiers(monkeypatch):
    monkeypatch.setenv("COURSE_TIER", "laptop")
    with pytest.raises(ValueError, match="unknown tier 'laptop'.*cpu, gpu, full"):
        runtime.pick_tier()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpu_tier_without_a_gpu_says_how_to_go_on():
    with pytest.raises(RuntimeError, match="unset COURSE_TIER"):
        runtime.pick_tier("gpu")


@pytest.mark.parametrize("wrong", ["0", "-2", "many", "1.5"])
def test_wrong_number_of_threads_is_refused(monkeypatch, wrong):
    monkeypatch.setenv("COURSE_THREADS", wrong)
    with pytest.raises(ValueError, match="COURSE_THREADS"):
        runtime.n_threads()


def test_threads_are_at_most_four_by_default(monkeypatch):
    monkeypatch.delenv("COURSE_THREADS", raising=False)
    assert 1 <= runtime.n_threads() <= 4
    monkeypatch.setenv("COURSE_THREADS", "7")
    assert runtime.n_threads() == 7


def test_missing_data_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="COURSE_DATA_DIR"):
        settings.data_dir()
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    assert settings.data_dir() == tmp_path
    monkeypatch.setenv("COURSE_DATA_DIR", "")
    assert settings.data_dir() is None


def test_artifacts_folder_is_made_where_the_setting_says(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path / "a" / "b"))
    assert settings.artifacts_dir().is_dir()


def test_generators_are_independent_of_the_global_seed():
    first = torch.rand(4, generator=runtime.generator(1))
    torch.manual_seed(99)
    torch.rand(10)
    assert torch.equal(first, torch.rand(4, generator=runtime.generator(1)))
    assert not torch.equal(first, torch.rand(4, generator=runtime.generator(2)))


def test_tier_cannot_be_changed():
    with pytest.raises(AttributeError):
        runtime.pick_tier("cpu").n_steps = 3
