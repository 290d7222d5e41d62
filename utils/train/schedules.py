"""Learning-rate schedules: small functions of the step, so that a resumed run needs no state.

A schedule is called with the number of the step (from 0) and returns what the peak learning rate
is multiplied by. All begin with a linear warm-up that never gives zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def learning_rate(
    step: int, *, peak: float, n_steps: int, warmup_steps: int = 0, final: float = 0.1
) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine down to `final` x `peak`.

    Args:
        step: number of the step, from 0; steps past `n_steps` keep the last rate.
        peak: the rate at the end of the warm-up.
        n_steps: length of the whole run in steps, warm-up included.
        warmup_steps: the first step has peak / warmup_steps, the last of the warm-up has peak.
        final: share of the peak that is left at step `n_steps`.

    Raises:
        ValueError: where the warm-up is longer than the run or negative, or `final` is not in 0..1.

    >>> [round(learning_rate(s, peak=1.0, n_steps=6, warmup_steps=2), 3) for s in (0, 1, 2, 4, 6)]
    [0.5, 1.0, 1.0, 0.55, 0.1]

    Source: Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts.
    """
    check_schedule(n_steps, warmup_steps, final)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = 1.0 if step >= n_steps else (step - warmup_steps) / (n_steps - warmup_steps)
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done)))


def cosine(n_steps: int, *, warmup_steps: int = 0, final: float = 0.1) -> Schedule:
    """Return the schedule of `learning_rate` as a multiplier: warm-up, then a cosine.

    >>> cosine(10)(0), round(cosine(10)(5), 3), round(cosine(10)(10), 3)
    (1.0, 0.55, 0.1)
    """
    check_schedule(n_steps, warmup_steps, final)

    def multiplier(step: int) -> float:
        return learning_rate(
            step, peak=1.0, n_steps=n_steps, warmup_steps=warmup_steps, final=final
        )

    return multiplier


def warmup_stable_decay(
    n_steps: int, *, warmup_steps: int = 0, decay_steps: int | None = None, final: float = 0.0
) -> Schedule:
    """Return a multiplier that warms up, stays at 1, and falls in a straight line at the end.

    Args:
        n_steps: length of the whole run in steps.
        warmup_steps: steps of the linear warm-up.
        decay_steps: steps of the fall; where it is not given a fifth of the run, or what the
            warm-up leaves of it.
        final: multiplier at step `n_steps`.

    >>> [warmup_stable_decay(10, warmup_steps=2, decay_steps=4)(s) for s in (0, 1, 5, 8, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]

    Source: Hu et al. 2024, "MiniCPM", section 4 (WSD; there the fall is exponential).
    """
    check_schedule(n_steps, warmup_steps, final)
    if decay_steps is None:
        decay_steps = min(n_steps // 5, n_steps - warmup_steps)
    if not 0 <= decay_steps <= n_steps - warmup_steps:
        raise ValueError(
            f"decay_steps must lie in 0..{n_steps - warmup_steps} (n_steps - warmup_steps), "
            f"got {decay_steps}"
        )

    def multiplier(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        left = n_steps - step
        if left <= 0:
            return final
        return 1.0 if left >= decay_steps else final + (1 - final) * left / decay_steps

    return multiplier


def linear(n_steps: int, *, warmup_steps: int = 0, final: float = 0.0) -> Schedule:
    """Return a multiplier that warms up and then falls in a straight line to `final`.

    >>> [round(linear(10)(step), 2) for step in (0, 5, 10)]
    [1.0, 0.5, 0.0]
    """
    return warmup_stable_decay(
        n_steps, warmup_steps=warmup_steps, decay_steps=n_steps - warmup_steps, final=final
    )


def constant(*, warmup_steps: int = 0) -> Schedule:
    """Return a multiplier that warms up and stays at 1.

    >>> [constant(warmup_steps=4)(step) for step in (0, 3, 1000)]
    [0.25, 1.0, 1.0]
    """
    return lambda step: min(1.0, (step + 1) / max(1, warmup_steps))


def check_schedule(n_steps: int, warmup_steps: int, final: float) -> None:
    """Raise a ValueError where the numbers of a schedule do not fit together."""
    if not 0 <= warmup_steps <= n_steps:
        raise ValueError(f"warmup_steps must lie in 0..n_steps ({n_steps}), got {warmup_steps}")
    if not 0 <= final <= 1:
        raise ValueError(f"final is a share of the peak in 0..1, got {final}")
