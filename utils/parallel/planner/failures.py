"""Failures: how often to save, and how much of the time is training.

Sources: Young, "A first order approximation to the optimum checkpoint interval" (CACM 1974); Daly,
"A higher order estimate of the optimum checkpoint interval" (FGCS 2006), equations 20 and 37.
"""

from __future__ import annotations

import math

# unexpected interruptions for each GPU and day, with where they were counted
FAILURES_PER_GPU_DAY = {
    "low": (0.00037, "BLOOM, 384 A100: about one GPU a week (tr11 chronicles)"),
    "usual": (0.00047, "Llama 3.1 405B, 16,384 H100: 419 in 54 days"),
    "high": (0.00195, "OPT-175B, 992 A100: about two machines a day (OPT chronicles)"),
}


def mean_time_between(failures_per_gpu_day: float, n_gpus: int) -> float:
    """Return the mean seconds between failures of a job, which stops when any of its GPUs does.

    >>> round(mean_time_between(0.00047, 16384) / 3600, 1)
    3.1
    """
    return 86400 / (failures_per_gpu_day * n_gpus)


def checkpoint_interval(
    save_seconds: float, mean_seconds_between: float, method: str = "daly"
) -> float:
    """Return after how many seconds of training to save, so that the least time is lost.

    With s seconds to save and m between failures, Young's first order is sqrt(2 s m). Daly's is

        sqrt(2 s m) * (1 + sqrt(s / (2 m)) / 3 + (s / (2 m)) / 9) - s    for s < 2 m

    and m where saving takes 2 m or longer.

    Args:
        save_seconds: that training stands still for a checkpoint.
        mean_seconds_between: failures of the job.
        method: "young" or "daly".

    Raises:
        ValueError: for seconds that are not above 0, or another method.

    >>> checkpoint_interval(50, 10_000, "young")
    1000.0
    >>> round(checkpoint_interval(50, 10_000), 1)
    966.9
    """
    if not (save_seconds > 0 and mean_seconds_between > 0):
        raise ValueError(
            f"seconds are above 0, got {save_seconds} to save and {mean_seconds_between} between"
        )
    if method not in ("young", "daly"):
        raise ValueError(f"method is young or daly, not {method!r}")
    first = math.sqrt(2 * save_seconds * mean_seconds_between)
    if method == "young":
        return first
    half = save_seconds / (2 * mean_seconds_between)
    if half >= 1:
        return mean_seconds_between
    return first * (1 + math.sqrt(half) / 3 + half / 9) - save_seconds


def goodput(
    interval_seconds: float,
    save_seconds: float,
    mean_seconds_between: float,
    restart_seconds: float,
) -> float:
    """Return the share of the time that is training which is kept.

    Failures come by chance at a constant rate 1 / m. After each the job needs `restart_seconds`
    before it goes on from its last checkpoint, and a failure may come during that, too. The
    expected time for one interval and its save is then (Daly's equation 20)

        m * exp(restart / m) * (exp((interval + save) / m) - 1)

    and goodput is the interval over it. Where the exponent is tiny, exp(x) - 1 loses its digits:
    `math.expm1(x)` keeps them.

    Args:
        interval_seconds: of training between checkpoints.
        save_seconds: that training stands still for one.
        mean_seconds_between: failures of the job, m.
        restart_seconds: to notice, to replace, to load.

    Returns:
        a share from 0 to 1; 0.0 where the expected time is too large for a float.

    Raises:
        ValueError: for an interval or m not above 0, or other seconds below 0.

    >>> round(goodput(1000, 50, 10_000, 0), 3)
    0.903
    """
    if not (interval_seconds > 0 and mean_seconds_between > 0):
        raise ValueError("the interval and the time between failures are above 0")
    if not (save_seconds >= 0 and restart_seconds >= 0):
        raise ValueError("saving and restarting take 0 seconds or more")
    m = mean_seconds_between
    try:
        expected = (
            m * math.exp(restart_seconds / m) * math.expm1((interval_seconds + save_seconds) / m)
        )
    except OverflowError:
        return 0.0
    return interval_seconds / expected
