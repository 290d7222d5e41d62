"""One torch thread for each test process: several run side by side."""

import torch


def pytest_configure(config):
    torch.set_num_threads(1)
