"""The GPU path without a GPU: the rehearsal runs the same code, and says what it is."""

import json

import pytest
import torch

from tests import gpu
from tests.bench.gpu import FULL, rows
from utils.model.accounting import count_parameters, sizes_of
from utils.runtime import TIERS, pick_tier
from utils.settings import environment


def test_the_rehearsal_tier_is_the_gpu_tier_on_the_cpu_and_not_on_the_list():
    tier = pick_tier("rehearsal")
    assert tier.device == "cpu" and tier.dtype == TIERS["gpu"].dtype == torch.bfloat16
    assert "rehearsal" not in TIERS


def test_the_model_of_the_pretraining_row_has_124_million_weights():
    assert 120e6 < count_parameters(**sizes_of(FULL)) < 130e6


def test_rows_rehearse_on_the_cpu():
    measured = list(rows(rehearsal=True))
    assert len(measured) == 3
    assert all(row["measured"] > 0 and row["details"] for row in measured)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_and_measures_nothing(capsys):
    assert gpu.main([]) == 1
    assert "--dry-run" in capsys.readouterr().out
    assert [row["skipped"] for row in rows()] == ["no CUDA device"]


@pytest.mark.slow
def test_dry_run_writes_a_record_that_says_that_it_is_a_rehearsal(tmp_path, capsys):
    with environment(COURSE_ARTIFACTS=str(tmp_path)):
        assert gpu.main(["--dry-run", "--only", "notebooks/00"]) == 0
    record = json.loads((tmp_path / "gpu-rehearsal.json").read_text())
    assert record["rehearsal"] and record["tier"] == "rehearsal"
    assert [n["fault"] for n in record["notebooks"]] == [None]
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_rows_on_the_gpu_write_the_same_tokens_as_the_peer():
    assert all("failed" not in row for row in rows())
