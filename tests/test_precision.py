"""Whether bfloat16 pays: the best time of each dtype counts, whatever the machine."""

import pytest
import torch

from utils.train import precision
from utils.train.precision import bfloat16_speedup


def test_best_times_are_compared(monkeypatch):
    durations = iter([9.0, 6.0, 8.0, 3.0, 7.0, 2.0])  # three of float32, three of bfloat16
    times = [0.0]

    def clock():
        if len(times) % 2 == 0:
            times.append(times[-1] + next(durations))
        else:
            times.append(times[-1])
        return times[-1]

    monkeypatch.setattr(precision.time, "perf_counter", clock)
    assert bfloat16_speedup(size=4, n_times=3) == pytest.approx(3.0)


def test_it_measures_something_on_this_machine():
    assert 0.01 < bfloat16_speedup(size=64) < 100
    assert torch.get_default_dtype() is torch.float32
