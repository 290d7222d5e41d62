"""Ray at hand: the cluster that runs already, or one started for the work and ended with it.

One place for all that runs on Ray, since a start on a busy machine needs patience: Ray gives the
processes of a node a few seconds to report, and ends the node where one of them is late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from utils.settings import environment

N_TRIES = 3
PATIENCE_MS = "120000"  # for a node's agent, in place of Ray's 30 seconds
LATE = "timed out during startup"  # what Ray says of a node that was too slow


@contextmanager
def ray_cluster(address: str | None = None, n_cpus: int | None = None) -> Iterator[None]:
    """Yield with Ray started: that of this process, of RAY_ADDRESS, of this machine, or a new one.

    That is Ray's own rule. What is started here is ended here; nothing is reported to anybody.

    Args:
        address: "local" starts a cluster in any case.
        n_cpus: how many tasks of one core a new cluster runs at once; by default the cores at hand.

    Raises:
        ImportError: where Ray is not installed.
        Exception: Ray's own, where a cluster can't be reached or does not start in `N_TRIES` tries.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    with environment(RAY_USAGE_STATS_ENABLED="0", RAY_agent_register_timeout_ms=PATIENCE_MS):
        for n_left in reversed(range(N_TRIES)):
            try:
                ray.init(
                    address,
                    num_cpus=n_cpus,
                    log_to_driver=False,
                    logging_level="error",
                    include_dashboard=False,
                )
                break
            except Exception as error:
                ray.shutdown()
                if LATE not in str(error) or not n_left:
                    raise
    try:
        yield
    finally:
        ray.shutdown()
