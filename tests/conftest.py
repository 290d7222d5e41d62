"""One torch thread for each test process, of which several run side by side; who runs what."""

import torch
from xdist.scheduler import LoadScopeScheduling

collect_ignore = ["ragas_worker.py"]  # runs in an environment of its own, where Ragas is
SPREAD = ("tests/test_checks.py",)  # many tests that share nothing: any process runs any of them


class ByFile(LoadScopeScheduling):
    """Gives the tests of a file to one process, since they share what is dear to make."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return nodeid if file in SPREAD else file


def pytest_configure(config):
    torch.set_num_threads(1)


def pytest_xdist_make_scheduler(config, log):
    """Return the scheduler of `--dist loadfile`, with exceptions."""
    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None
