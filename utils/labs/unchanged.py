"""A notebook stays as it was while a learner's function is tried, whatever the function does.

Around each `check`: the state of the process that other cells build on is noted, put back, and
named where a learner would wonder later. Each call takes care of torch's generator, dtype, threads
and gradients, of warnings and of what is printed (see `student`).

Left out: what a function changes of the notebook's own names, which are the learner's; functions of
libraries that are replaced; `os.environ`.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class State:
    """One thing that a process has one of: how to note it, and how to put it back."""

    name: str  # empty: put back without a word, since drawing a number is no fault
    note: Callable
    put_back: Callable


def numpy_state() -> tuple:
    """Return the state of NumPy's global generator as a tuple that can be compared."""
    kind, keys, *rest = np.random.get_state()
    return kind, keys.tobytes(), *rest


def set_numpy_state(state: tuple) -> None:
    """Set NumPy's global generator to a state noted before."""
    kind, keys, *rest = state
    np.random.set_state((kind, np.frombuffer(keys, dtype=np.uint32), *rest))


def folder() -> str | None:
    """Return the current folder, or None where it was removed."""
    with contextlib.suppress(OSError):
        return os.getcwd()
    return None


def handlers() -> dict:
    """Return the signal handlers that Python has set, by number."""
    return {n: signal.getsignal(n) for n in signal.valid_signals() if signal.getsignal(n)}


def set_handlers(before: dict) -> None:
    """Set the signal handlers that differ; only the main thread can."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)


def streams() -> tuple:
    """Return where prints go and where input comes from."""
    return sys.stdin, sys.stdout, sys.stderr, sys.displayhook, sys.excepthook


def set_streams(before: tuple) -> None:
    """Let prints go where they went."""
    sys.stdin, sys.stdout, sys.stderr, sys.displayhook, sys.excepthook = before


def set_builtins(before: dict) -> None:
    """Give the functions that are always there their names again."""
    now = vars(builtins)
    for name in set(now) - set(before):
        del now[name]
    now.update(before)


def pyplot():
    """Return matplotlib's pyplot where the notebook has imported it, or None."""
    return sys.modules.get("matplotlib.pyplot")


def figure_style() -> dict | None:
    """Return matplotlib's settings."""
    return None if pyplot() is None else dict(pyplot().rcParams)


def set_figure_style(before: dict | None) -> None:
    """Set matplotlib's settings back."""
    if pyplot() is not None and before is not None:
        changed = {k: v for k, v in before.items() if pyplot().rcParams[k] != v}
        pyplot().rcParams.update(changed)


def figures() -> list[int] | None:
    """Return the numbers of the open figures."""
    return None if pyplot() is None else pyplot().get_fignums()


def close_figures(before: list[int] | None) -> None:
    """Close the figures that were not open before."""
    for number in set(figures() or ()) - set(before or ()):
        pyplot().close(number)


def set_deterministic(before: tuple[bool, bool]) -> None:
    """Set whether torch may use operations whose results differ from run to run."""
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def set_default_device(before: torch.device) -> None:
    """Set the device of new tensors; that of the start is set by saying nothing."""
    torch.set_default_device(None if before == torch.device("cpu") else before)


STATES = (
    State("", random.getstate, random.setstate),
    State("", numpy_state, set_numpy_state),
    State("the current folder", folder, lambda path: path and os.chdir(path)),
    State("where prints go", streams, set_streams),
    State("a function that Python itself defines", lambda: dict(vars(builtins)), set_builtins),
    State("how signals are handled", handlers, set_handlers),
    State("the trace function", sys.gettrace, sys.settrace),
    State("the limit of recursion", sys.getrecursionlimit, sys.setrecursionlimit),
    State("how NumPy treats errors", np.geterr, lambda before: np.seterr(**before)),
    State("how NumPy prints", np.get_printoptions, lambda before: np.set_printoptions(**before)),
    State("torch's default device", torch.get_default_device, set_default_device),
    State(
        "torch's precision of products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    State(
        "torch's choice of deterministic operations",
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        set_deterministic,
    ),
    State(
        "torch's search for anomalies",
        torch.is_anomaly_enabled,
        torch.autograd.set_detect_anomaly,
    ),
    State("the style of figures", figure_style, set_figure_style),
    State("", figures, close_figures),
)


def differs(now: object, before: object) -> bool:
    """Return whether a state has changed; one that can't be compared has."""
    try:
        return bool(now != before)
    except Exception:
        return True


@contextlib.contextmanager
def unchanged() -> Iterator[list[str]]:
    """Put the state of this process back at the end; yield a list that then names what changed.

    >>> with unchanged() as changed:
    ...     _ = np.seterr(all="raise")
    >>> changed, np.geterr()["divide"]
    (['how NumPy treats errors'], 'warn')
    """
    before = [state.note() for state in STATES]
    changed: list[str] = []
    try:
        yield changed
    finally:
        for state, was in zip(STATES, before, strict=True):
            if differs(state.note(), was):
                with contextlib.suppress(OSError, ValueError):
                    state.put_back(was)
                if state.name:
                    changed.append(state.name)
