"""A check calls a learner's function in several real processes, here or in the grader's sandbox."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch.distributed as dist

from utils.labs.student import LearnerError, LocalBackend, NotStarted, Student, Undefined
from utils.parallel.processes import RankError, run_ranks
from utils.parallel.wire import Operation, traffic

SECONDS = 20.0


class RankReply(NamedTuple):
    """What a call in one rank gave."""

    result: object
    arguments: list
    gradients: list
    operations: list[Operation]
    shared: list  # for each tensor of the result: the argument it is a view of


def in_ranks(
    student: Student,
    name: str,
    args: list[tuple],
    kwargs: dict | None = None,
    upstream: list | None = None,
    with_gradients: bool = False,
    members: tuple[int, ...] | None = None,
    without: tuple[str, ...] = (),
) -> list[RankReply]:
    """Call one of the learner's functions in as many processes as there are tuples of arguments.

    Args:
        student: whose function it is.
        name: of the function.
        args: for each rank its arguments, plain values and arrays.
        kwargs: the same for all ranks.
        upstream: for each rank what its result's gradient is multiplied with.
        with_gradients: give the gradients for the float arrays among the arguments.
        members: numbers of the ranks that are called, ascending, as the process group that the
            function gets as `group`; the other ranks below the last of them call nothing.
        without: functions of the course, such as "utils.parallel.collectives.ring_all_gather", that
            its lab gives for other exercises and that refuse to be a part of this answer.

    Raises:
        NotStarted, Undefined: as for any call.
        LearnerError: where a rank raises, ends, or all wait for each other; names the rank.
    """
    backend, kwargs = student._backend, kwargs or {}
    if members is not None:
        places = {rank: place for place, rank in enumerate(members)}
        world = [places.get(rank) for rank in range(max(members) + 1)]
        args = [() if place is None else args[place] for place in world]
        if upstream is not None:
            upstream = [None if place is None else upstream[place] for place in world]
        kwargs = kwargs | {"group": list(members)}  # `one_call` makes a process group of them
    request = (name, [list(a) for a in args], kwargs, upstream, with_gradients, list(without))
    if isinstance(backend, LocalBackend):
        replies = call_in_ranks(backend, *request)
    else:
        replies = backend.in_ranks(*request)
    called = range(len(args)) if members is None else members
    return [read_reply(replies[rank], name) for rank in called]


def call_in_ranks(
    backend: LocalBackend,
    name: str,
    args: list,
    kwargs: dict,
    upstream: list | None,
    with_gradients: bool,
    without: list[str],
    method: str | None = None,
) -> list[dict]:
    """Call a function of a backend's namespace in ranks that this process starts.

    Args:
        method: how processes start, see `run_ranks`.
    """
    function = backend.find(name)
    each = [(tuple(a), None if upstream is None else upstream[rank]) for rank, a in enumerate(args)]
    try:
        return run_ranks(
            one_call,
            len(args),
            function,
            name,
            kwargs,
            with_gradients,
            without,
            each=each,
            seconds=SECONDS,
            show=False,
            method=method,
        )
    except RankError as error:
        if isinstance(error.error, NotStarted | Undefined):
            raise error.error from None
        if isinstance(error.error, LearnerError):
            text = f"in rank {error.rank} of {len(args)}: {error.error}"
            raise LearnerError(text, error.error.arguments) from None
        raise LearnerError(f"in {len(args)} ranks, {error}") from None


def one_call(
    function,
    name: str,
    kwargs: dict,
    with_gradients: bool,
    without: list[str],
    args: tuple,
    upstream: object,
) -> dict:
    """Call a function in this rank as a check does in one process; return plain values.

    Where `kwargs` names ranks as the group, the others call nothing.
    """
    backend, members = LocalBackend({name: function}, SECONDS), kwargs.get("group")
    if members is not None:
        kwargs = kwargs | {"group": dist.new_group(members)}  # all ranks take part in making it
        if dist.get_rank() not in members:
            parts = ("arguments", "gradients", "operations", "shared")
            return {"result": None} | {part: [] for part in parts}
    with traffic() as operations, without_parts(function, without):
        reply = backend.call(name, args, kwargs, upstream, with_gradients)
    return reply | {"operations": [tuple(operation) for operation in operations]}


@contextlib.contextmanager
def without_parts(function: Callable, parts: list[str]) -> Iterator[None]:
    """Let functions of the course refuse while a learner's function runs, by whatever name."""

    def refusing(part: str) -> Callable:
        def refuse(*args, **kwargs):
            raise RuntimeError(
                f"`{part}` is given for other exercises and is a part of this one's answer: send "
                "and receive yourself"
            )

        return refuse

    changed = []
    for place, _, part in (part.rpartition(".") for part in parts):
        module = vars(importlib.import_module(place))
        own = module[part]
        for names in (module, getattr(function, "__globals__", {})):
            changed += [(names, key, own) for key, value in names.items() if value is own]
    for names, key, own in changed:
        names[key] = refusing(own.__name__)
    try:
        yield
    finally:
        for names, key, own in changed:
            names[key] = own


def read_reply(reply: object, name: str) -> RankReply:
    """Return a rank's reply; what comes from a learner's process may be anything.

    Raises:
        LearnerError: where it is no such reply.
    """
    parts = ("result", "arguments", "gradients", "operations", "shared")
    if type(reply) is not dict or any(part not in reply for part in parts):
        raise LearnerError(f"the process of `{name}` wrote something of its own")
    noted = reply["operations"]
    is_log = type(noted) is list and all(is_operation(entry) for entry in noted)
    lists = (reply["arguments"], reply["gradients"], reply["shared"])
    if not is_log or any(type(part) is not list for part in lists):
        raise LearnerError(f"the process of `{name}` wrote something of its own")
    operations = [Operation(*entry) for entry in noted]
    return RankReply(*(reply[part] for part in parts[:3]), operations, reply["shared"])


def is_operation(entry: object) -> bool:
    """Return whether an entry is (name, bytes, peer or None).

    >>> is_operation(("send", 4, 1)), is_operation(("send", "4", 1)), is_operation(3)
    (True, False, False)
    """
    if type(entry) is not tuple or len(entry) != 3:
        return False
    name, n_bytes, peer = entry
    return type(name) is str and type(n_bytes) is int and (peer is None or type(peer) is int)
