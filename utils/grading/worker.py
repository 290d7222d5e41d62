"""The sandboxed end of grading: runs a learner's code and answers calls over a pipe.

Nothing here is trusted: a learner's code shares this process and may change all of it. What it
sends back is plain data that the scorer compares with its own. Checks, expected values, seeds and
the other end's memory are not here.

Messages are a length of 8 bytes and a value of `wire`. The process reads the submission's cells,
imports torch once, and forks for each group of calls, so that a crash costs one exercise.
"""

from __future__ import annotations
import __future__

import ast
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import os
import signal
import sys
import time
import types

from utils.grading import wire
from utils.grading.needed import is_stub, parsed, places, split, step_of
from utils.grading.reaches import reaches
from utils.labs.student import (
    LearnerError,
    LocalBackend,
    NotStarted,
    TooSlow,
    Undefined,
    time_limit,
)

MAX_PROBLEMS = 40
MIN_SECONDS = 0.5  # for a statement in a cell whose time is up
REPLIES = {NotStarted: "not started", Undefined: "undefined", LearnerError: "error"}


class NotThere:
    """A name of utils that is not there when graded; using it says so."""

    def __init__(self, name: str):
        self.__dict__["name"] = name

    def refuse(self, *args, **kwargs):
        """Raise, with the name."""
        raise RuntimeError(
            f"`{self.__dict__['name']}` belongs to the course and is not there when graded: "
            "an answer is your own code"
        )

    __call__ = __getattr__ = __getitem__ = __iter__ = refuse


class NotThereModule(types.ModuleType):
    """A module of utils that is not there when graded: it can be imported, not used."""

    def __getattr__(self, name: str) -> NotThere:
        if name.startswith("__"):
            raise AttributeError(name)
        return NotThere(f"{self.__name__}.{name}")


class NotThereFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module of utils that the folder of the lab does not hold."""

    def find_spec(self, name, path=None, target=None):
        """Return a specification for a name under utils."""
        if name.split(".")[0] != "utils":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        """Return an empty stand-in."""
        return NotThereModule(spec.name)

    def exec_module(self, module):
        """Run nothing."""


def nothing(*args, **kwargs) -> bool:
    """Stand in for what a notebook calls beside the learner's functions: check, done, display."""
    return False


class Pipe:
    """Messages over two file descriptors."""

    def __init__(self, reading: int, writing: int):
        self.reading, self.writing = reading, writing

    def read(self) -> object:
        """Return the next message, or None at the end."""
        head = self.exactly(wire.SIZE.size)
        if head is None:
            return None
        (length,) = wire.SIZE.unpack(head)
        content = self.exactly(length)
        return None if content is None else wire.decode(content, from_scorer=True)

    def exactly(self, n: int) -> bytes | None:
        """Return n bytes, or None where the other end has closed."""
        pieces = []
        while n:
            piece = os.read(self.reading, min(n, 1 << 20))
            if not piece:
                return None
            pieces.append(piece)
            n -= len(piece)
        return b"".join(pieces)

    def write(self, value: object) -> None:
        """Send a message."""
        content = wire.encode(value)
        view = memoryview(wire.SIZE.pack(len(content)) + content)
        while view:
            view = view[os.write(self.writing, view) :]


def load_cells(
    cells: list[str],
    only_definitions: bool,
    seconds: float = 10.0,
    wanted: list[str] | None = None,
    total: float = 30.0,
) -> tuple[dict, list[str], str]:
    """Run what a notebook's answers need; return its names, its problems, and what was left out.

    A statement that fails costs itself. A stub does not replace an answer given further up. Slow
    statements share a time, and when it is over each one still gets a moment: enough for a
    constant or a definition, wherever it stands.

    Args:
        cells: sources of the code cells.
        only_definitions: run nothing that calls anything, after it ended or held up the process.
        seconds: that a cell may take.
        wanted: names of the functions that are asked for; None for all that are defined.
        total: seconds that all cells together may take.
    """
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    names = main.__dict__
    names.update(get_ipython=lambda: None, display=nothing)
    for k, source in enumerate(cells, 1):
        file = f"<cell {k}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    found, problems = parsed(cells)
    steps = [step_of(k, statement) for k, statement in found]
    if wanted is None:
        wanted = [name for step in steps for name in step.binds]
    run, skipped = split(steps, wanted)
    answered: set[str] = set()
    spent: dict[int, float] = {}
    for step in run:
        name = getattr(step.node, "name", None)
        if name in answered and is_stub(step.node):
            continue
        if only_definitions and not (step.is_definition or step.is_constant):
            skipped.append(step)
            continue
        left = min(seconds - spent.get(step.cell, 0.0), total - sum(spent.values()))
        late = f"cell {step.cell} took more than {seconds:.0f} s"
        if left < 0 and late not in problems:
            problems.append(late)
        begin = time.monotonic()
        ours = problems if step.is_needed else []
        file = f"<cell {step.cell}>"
        if run_statement(step.node, file, names, ours, step.cell, max(left, MIN_SECONDS)) and name:
            answered.add(name)
        spent[step.cell] = spent.get(step.cell, 0.0) + time.monotonic() - begin
    skipped.sort(key=lambda step: (step.cell, step.node.lineno))
    return names, problems[:MAX_PROBLEMS], places(skipped)


def run_statement(statement, file: str, names: dict, problems: list[str], k: int, seconds) -> bool:
    """Run one statement of a cell; return whether it ended well."""
    try:
        with time_limit(seconds, waiting=1):
            code = compile(
                ast.Module([statement], []),
                file,
                "exec",
                flags=__future__.annotations.compiler_flag,  # a type that is missing costs nothing
                dont_inherit=True,
            )
            exec(code, names)
        return True
    except BaseException as error:
        text = "it took too long" if isinstance(error, TooSlow) else describe(error)
        problems.append(f"cell {k}, line {statement.lineno}: {text}"[:300])
        return False


def describe(error: BaseException) -> str:
    """Return an error in words; a class of the learner's own may have none."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:
        return type(error).__name__


def serve(pipe: Pipe, backend: LocalBackend) -> None:
    """Answer calls until the other end says "close"."""
    while (request := pipe.read()) is not None and request["do"] != "close":
        try:
            methods = {"call": backend.call, "make": backend.make, "use": backend.use}
            method = methods.get(request["do"]) or functools.partial(call_in_ranks, backend)
            reply = {"reply": method(*request["args"], **request["kwargs"])}
        except (NotStarted, Undefined, LearnerError) as error:
            reply = {"raised": REPLIES[type(error)], "text": str(error)[:2000]}
            reply["arguments"] = getattr(error, "arguments", [])
        try:
            pipe.write(reply)
        except wire.WireError as error:
            pipe.write({"raised": "error", "text": f"the result can't be sent: {error}"})


def call_in_ranks(backend: LocalBackend, *args) -> list[dict]:
    """Call a function in several processes; those that this one forks have torch already."""
    # By name, since the kits of other labs don't hold this module.
    ranks = importlib.import_module("utils.labs.ranks")
    return ranks.call_in_ranks(backend, *args, method="fork" if hasattr(os, "fork") else None)


def open_and_serve(pipe: Pipe, request: dict) -> None:
    """Load the notebook and answer calls; or read it only, before any of it runs."""
    if request["do"] == "look":
        pipe.write({"reaches": reaches(request["cells"])})
        return
    names, problems, skipped = load_cells(
        request["cells"],
        request["only_definitions"],
        request["seconds"],
        request["wanted"],
        request["total"],
    )
    pipe.write({"opened": True, "problems": problems, "skipped": skipped})
    serve(pipe, LocalBackend(names, request["seconds"]))


def main() -> None:
    """Serve the scorer at the other end of standard input and output."""
    if os.name == "nt":  # or line ends in messages would be changed
        import msvcrt

        for descriptor in (0, 1):
            msvcrt.setmode(descriptor, os.O_BINARY)
    pipe = Pipe(os.dup(0), os.dup(1))
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silent, descriptor)
    import torch

    torch.set_num_threads(1)
    paths = sys.meta_path.index(importlib.machinery.PathFinder)
    sys.meta_path.insert(paths + 1, NotThereFinder())  # before finders of installed packages
    while (request := pipe.read()) is not None:
        if request["do"] == "preload":
            for name in request["modules"]:
                importlib.import_module(name)
            pipe.write({"ready": True})
        if request["do"] not in ("open", "look"):
            continue
        if not hasattr(os, "fork"):
            open_and_serve(pipe, request)
            return
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                open_and_serve(pipe, request)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        pipe.write({"closed": os.waitstatus_to_exitcode(status)})


if __name__ == "__main__":
    main()
