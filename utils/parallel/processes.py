"""Real processes from a notebook cell: start n ranks, stream what they print, return their values.

Each rank is a process with a default process group (gloo over the loopback interface; on a machine
with a GPU for each rank, nccl for tensors on GPUs). Processes come from a server that has imported
torch already, so that a rank starts in a hundredth of a second. Whatever a function does,
`run_ranks` comes back and no process is left: where one rank raises or dies, or all of them wait
for each other, the others are ended and the error names the rank and the line.
"""

from __future__ import annotations

import contextlib
import datetime
import dis
import importlib
import io
import linecache
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection

import cloudpickle
import psutil
import torch
import torch.distributed as dist

from utils.settings import environment

PRELOADED = (
    "torch",
    "torch.distributed",
    "torch.distributed.fsdp",
    "torch.distributed.pipelining",
    "torch.distributed.tensor.parallel",
    "torch.nn.parallel",
    "utils.parallel.processes",
)
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
TICK = 0.25  # seconds between two looks at what the ranks do
AT_REST = 6  # looks in a row without work in any rank: they wait for each other
READ = "LOAD_NAME"  # the instruction by which the body of a class reads a name
LAST_WORDS = 1.0  # seconds that other ranks have to say more, after one has lost its connection
LOST = ("connection closed by peer", "connection reset", "broken pipe", "connectfullmesh")
LOST += ("timed out",)


class RankError(RuntimeError):
    """A run that did not end well; the text names the ranks and their lines.

    Args:
        text: what happened.
        rank: of the process in which it began, or None where all wait.
        error: what that rank raised, where it can travel.
    """

    def __init__(self, text: str, rank: int | None = None, error: BaseException | None = None):
        super().__init__(text)
        self.rank, self.error = rank, error


@dataclass(frozen=True)
class Frame:
    """A place in a rank's code: file, number of the line, function."""

    file: str
    line: int
    function: str

    def describe(self) -> str:
        """Return the place in words, with its line of code where this process knows the file."""
        code = linecache.getline(self.file, self.line).strip()
        return f"line {self.line} of {self.function}" + (f": {code}" if code else "")


@dataclass
class Rank:
    """What the parent knows of a rank."""

    number: int
    process: multiprocessing.process.BaseProcess
    pipe: connection.Connection
    is_ready: bool = False  # the process group is there: before, a slow name service is no deadlock
    has_returned: bool = False
    result: object = None
    failure: tuple[str, BaseException | None, list[Frame]] | None = None
    stands: str = ""
    is_asleep: bool = False
    work: float = -1.0
    watched: psutil.Process | None = field(default=None)


def run_ranks(
    function: Callable,
    n_ranks: int,
    *args: object,
    each: Sequence[tuple] | None = None,
    seconds: float = 60.0,
    show: bool = True,
    method: str | None = None,
) -> list:
    """Call a function in n processes that share a process group; return what each returned.

    Inside, `torch.distributed` is ready: `dist.get_rank()`, `dist.get_world_size()`, collectives.
    Each rank has one thread. The function and its arguments travel by value, so it may be defined
    in a notebook cell and use names of that notebook.

    Args:
        function: is called as function(*args, *each[rank]).
        n_ranks: how many processes.
        args: the same for all ranks.
        each: one tuple of further arguments for each rank.
        seconds: that the run may take.
        show: print what the ranks print, each line with its rank.
        method: how processes start (a name of `multiprocessing`); None for the best one here.

    Raises:
        ValueError: for fewer than one rank, or another number of tuples in `each`.
        RankError: where a rank raises, ends its process, or does not come back: because all wait
            for each other, or because the time is over. No rank is left running.

    >>> def total(x):
    ...     mine = torch.tensor([x * (dist.get_rank() + 1)])
    ...     dist.all_reduce(mine)
    ...     return mine.item()
    >>> run_ranks(total, 2, 10.0)
    [30.0, 30.0]
    """
    if n_ranks < 1:
        raise ValueError(f"n_ranks must be at least 1, got {n_ranks}")
    if each is not None and len(each) != n_ranks:
        raise ValueError(f"`each` holds {len(each)} tuples for {n_ranks} ranks")
    files = files_of(function, *args)
    sources = {file: linecache.getlines(file) for file in set(files.values())}
    names = names_in_classes(function, *args)
    payloads = [
        packed((function, (*args, *(each[rank] if each else ())), files, sources, names))
        for rank in range(n_ranks)
    ]
    ctx = context(method)
    # Where ranks find each other: a file. The store over TCP asks a name service for its own
    # addresses, which takes five seconds each time where there is none, as on a train.
    folder = tempfile.mkdtemp(prefix="course-ranks-")
    ranks: list[Rank] = []
    try:
        for number in range(n_ranks):
            here, there = ctx.Pipe()
            process = ctx.Process(
                target=serve, args=(there, number, n_ranks, f"{folder}/store", seconds), daemon=True
            )
            with no_main_module():
                process.start()
            there.close()
            ranks.append(Rank(number, process, here))
        for rank, payload in zip(ranks, payloads, strict=True):
            with contextlib.suppress(OSError):  # it died: `follow` says so
                rank.pipe.send_bytes(payload)
        follow(ranks, seconds, show)
        return [rank.result for rank in ranks]
    finally:
        for rank in ranks:
            end(rank)
        for rank in ranks:
            rank.process.join()
            rank.pipe.close()
            rank.process.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def no_main_module() -> Iterator[None]:
    """Hide this process's main module, which each rank would import again at its start.

    Nothing of it is needed there, since functions travel by value; and where it is pytest or a
    script with imports of its own, that takes longer than all else.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def context(method: str | None = None) -> multiprocessing.context.BaseContext:
    """Return how processes are started: by a server that has torch already, where there is one."""
    if method is None:
        there = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in there else "spawn"
    ctx = multiprocessing.get_context(method)
    if method == "forkserver":
        ctx.set_forkserver_preload(
            list(PRELOADED)
        )  # counts before the server starts: once a kernel
    return ctx


class Carrier(cloudpickle.Pickler):
    """Pickles by value what a notebook defines, and by name what an installed module does."""

    def reducer_override(self, thing: object) -> object:
        """Return how a thing is made again; modules of a class of their own have no other way."""
        if isinstance(thing, types.ModuleType) and type(thing) is not types.ModuleType:
            if sys.modules.get(thing.__name__) is thing:
                return importlib.import_module, (thing.__name__,)
        return super().reducer_override(thing)


def packed(value: object) -> bytes:
    """Return a value as bytes that another process of this one's makes it again from.

    >>> pickle.loads(packed(lambda x: x + 1))(2)
    3
    """
    content = io.BytesIO()
    Carrier(content, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return content.getvalue()


def names_in_classes(*things: object) -> dict[str, object]:
    """Return the module's names that class bodies inside of functions read, such as annotations.

    They are looked up in another way than those of functions, which is why they would stay behind.

    >>> def local():
    ...     class Inner:
    ...         kind = types.CodeType
    ...     return Inner
    >>> names_in_classes(local) == {"types": types}
    True
    """
    found: dict[str, object] = {}
    for thing, code in code_of(things):
        waiting = [code]
        while waiting:
            inner = [c for c in waiting.pop().co_consts if isinstance(c, types.CodeType)]
            waiting += inner
            read = [i.argval for c in inner for i in dis.get_instructions(c) if i.opname == READ]
            names = {name for name in read if name in thing.__globals__ and name[:2] != "__"}
            found |= {name: thing.__globals__[name] for name in names}
    return found


def code_of(things: Sequence[object]) -> Iterator[tuple[object, types.CodeType]]:
    """Yield each function among things, and each that it uses by a name of its module, with code.

    Those of installed modules are left out: they travel by name.
    """
    waiting, seen = list(things), set()
    while waiting:
        thing = waiting.pop()
        code = getattr(thing, "__code__", None)
        if not isinstance(code, types.CodeType) or id(thing) in seen:
            continue
        if getattr(sys.modules.get(thing.__module__), thing.__name__, None) is thing:
            if thing.__module__ != "__main__":
                continue
        seen.add(id(thing))
        yield thing, code
        names = getattr(thing, "__globals__", {})
        waiting += [names[name] for name in code.co_names if name in names]


def files_of(*things: object) -> dict[str, str]:
    """Return name -> file of functions that travel by value, which leaves the file's name behind.

    >>> def local(): pass
    >>> list(files_of(local))
    ['local']
    """
    return {code.co_name: code.co_filename for _, code in code_of(things)}


def with_file(code: types.CodeType, file: str) -> types.CodeType:
    """Return code, and the code inside of it, as coming from a file."""
    inner = tuple(
        with_file(c, file) if isinstance(c, types.CodeType) else c for c in code.co_consts
    )
    return code.replace(co_filename=file, co_consts=inner)


def follow(ranks: list[Rank], seconds: float, show: bool) -> None:
    """Hear the ranks until all have returned.

    Raises:
        RankError: see `run_ranks`.
    """
    end = time.monotonic() + seconds
    quiet_looks = 0
    while not all(rank.has_returned for rank in ranks):
        waiting = {rank.pipe: rank for rank in ranks if not rank.has_returned}
        ready = connection.wait(waiting, timeout=max(0.0, min(TICK, end - time.monotonic())))
        for pipe in ready:
            hear(waiting[pipe], show)
        if any(rank.failure for rank in ranks):
            raise first_failure(ranks, show)
        is_busy = ready or anyone_works(ranks) or not all(rank.is_ready for rank in ranks)
        quiet_looks = 0 if is_busy else quiet_looks + 1
        if time.monotonic() > end or quiet_looks >= AT_REST:
            where_they_stand(ranks, show)
            if any(rank.failure for rank in ranks):
                continue
            if time.monotonic() > end:
                raise RankError(f"the ranks did not end within {seconds:g} s: {standing(ranks)}")
            if not any(rank.is_asleep for rank in ranks):
                raise RankError(f"every rank waits, and none will go on: {standing(ranks)}")
            quiet_looks = 0


def end(rank: Rank) -> None:
    """End a rank with all that it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(OSError):
            os.killpg(rank.process.pid, signal.SIGKILL)
    rank.process.kill()  # before it has a group of its own, and on Windows


def hear(rank: Rank, show: bool) -> None:
    """Take one message of a rank."""
    try:
        kind, *content = pickle.loads(rank.pipe.recv_bytes())
    except (EOFError, OSError):
        rank.process.join(5)
        rank.failure = (f"its process ended ({ending(rank.process.exitcode)})", None, [])
        return
    if kind == "line" and show:
        print(f"[rank {rank.number}] {content[0]}", flush=True)
    elif kind == "ready":
        rank.is_ready = True
    elif kind == "result":
        rank.has_returned = True
        try:
            rank.result = pickle.loads(content[0])
        except Exception as error:
            rank.failure = (f"its result can't be read here: {error}", None, [])
    elif kind == "error":
        text, error, frames = content
        rank.failure = (text, None if error is None else pickle.loads(error), frames)
    elif kind == "stands":
        frames, rank.is_asleep = content
        rank.stands = frames[-1].describe() if frames else "outside your function"


def ending(code: int | None) -> str:
    """Return how a process ended.

    >>> ending(0), ending(-9)
    ('exit code 0, before the function returned', 'killed by SIGKILL')
    """
    if code == -signal.SIGABRT:
        return "it gave up with SIGABRT, as gloo does where ranks pass other shapes or types"
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}, before the function returned"


def first_failure(ranks: list[Rank], show: bool) -> RankError:
    """Return the error of the rank in which it began.

    A rank whose peer is gone fails as well: it gives way to one that has another reason.
    """
    end = time.monotonic() + LAST_WORDS
    while time.monotonic() < end and all(is_lost(r) for r in ranks if r.failure):
        open_pipes = {r.pipe: r for r in ranks if not r.has_returned and not r.failure}
        for pipe in connection.wait(open_pipes, timeout=0.05) if open_pipes else ():
            hear(open_pipes[pipe], show)
        if not open_pipes:
            break
    failed = sorted((rank for rank in ranks if rank.failure), key=is_lost)
    text, error, frames = failed[0].failure
    place = f" ({frames[-1].describe()})" if frames else ""
    gone = [rank.number for rank in ranks if rank.has_returned]
    hint = f"; rank {gone[0]} had returned already" if gone and is_lost(failed[0]) else ""
    return RankError(f"rank {failed[0].number}: {text}{place}{hint}", failed[0].number, error)


def is_lost(rank: Rank) -> bool:
    """Return whether a rank failed because another one was gone."""
    return any(word in rank.failure[0].lower() for word in LOST)


def anyone_works(ranks: list[Rank]) -> bool:
    """Return whether a rank used the processor since the last look, or could run."""
    works = False
    for rank in ranks:
        try:
            rank.watched = rank.watched or psutil.Process(rank.process.pid)
            used = sum(rank.watched.cpu_times()[:2])
            works |= used != rank.work or rank.watched.status() == psutil.STATUS_RUNNING
            rank.work = used
        except psutil.Error:
            works = True  # it is ending, and its pipe will say so
    return works


def where_they_stand(ranks: list[Rank], show: bool) -> None:
    """Ask each rank that has not returned for its line."""
    asked = [rank for rank in ranks if not rank.has_returned and not rank.failure]
    for rank in asked:
        rank.stands = ""
        with contextlib.suppress(OSError):
            rank.pipe.send_bytes(b"where")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        silent = {r.pipe: r for r in asked if not r.stands and not r.has_returned and not r.failure}
        if not silent:
            break
        for pipe in connection.wait(silent, timeout=0.1):
            hear(silent[pipe], show)


def standing(ranks: list[Rank]) -> str:
    """Return in words where each rank is."""
    return "; ".join(
        f"rank {r.number} " + ("has returned" if r.has_returned else f"at {r.stands or '?'}")
        for r in ranks
    )


# From here on: what runs in a rank.


class Lines(io.TextIOBase):
    """Sends what is printed to the parent, a line at a time."""

    def __init__(self, send: Callable):
        self.send, self.rest = send, ""

    def write(self, text: str) -> int:
        """Keep a text until its line is whole."""
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.send("line", line)
        return len(text)

    def flush_rest(self) -> None:
        """Send a last line that has no end."""
        if self.rest:
            self.write("\n")


def serve(pipe, rank: int, n_ranks: int, path: str, seconds: float) -> None:
    """Run one function in this process, which is a rank of a process group, and end with it."""
    if hasattr(os, "setsid"):
        os.setsid()  # a group of its own, so that what it starts ends with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends the ranks
    torch.set_num_threads(1)
    sending = threading.Lock()

    def send(kind: str, *content: object) -> None:
        with sending:
            pipe.send_bytes(pickle.dumps((kind, *content)))

    sleeping = note_sleep()
    payload = pipe.recv_bytes()
    main = threading.get_ident()
    threading.Thread(target=answer, args=(pipe, send, main, sleeping), daemon=True).start()
    printed = Lines(send)
    sys.stdout = sys.stderr = printed
    settings = contextlib.ExitStack()
    try:
        limit = datetime.timedelta(seconds=seconds + 60)
        settings.enter_context(environment(GLOO_SOCKET_IFNAME=LOOPBACK))
        store = dist.FileStore(path, n_ranks)
        backend = "gloo"
        if torch.cuda.is_available() and torch.cuda.device_count() >= n_ranks:
            torch.cuda.set_device(rank)
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, store=store, rank=rank, world_size=n_ranks, timeout=limit)
        send("ready")
        function, args, files, sources, names = pickle.loads(payload)
        for file, lines in sources.items():
            linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
        for thing, code in list(code_of([function, *args])):
            for name, value in names.items():
                thing.__globals__.setdefault(name, value)
            if code.co_name in files:
                thing.__code__ = with_file(code, files[code.co_name])
        result = packed(function(*args))
        printed.flush_rest()
        send("result", result)
    except BaseException as error:
        printed.flush_rest()
        send("error", *describe(error))
    threading.Event().wait()  # its sockets stay open for the others until the parent ends it


def answer(pipe, send: Callable, main: int, sleeping: list[bool]) -> None:
    """Tell the parent where the function is when it asks; end this process when it is gone."""
    while True:
        try:
            pipe.recv_bytes()
        except (EOFError, OSError):
            os._exit(1)
        frame = sys._current_frames().get(main)
        stack = traceback.extract_stack(frame) if frame else []
        with contextlib.suppress(OSError):
            send("stands", own_frames(stack), sleeping[0])


def note_sleep() -> list[bool]:
    """Have `time.sleep` note that it sleeps: a rank that sleeps goes on by itself."""
    sleeping, sleep = [False], time.sleep

    def noted(seconds: float) -> None:
        sleeping[0] = True
        try:
            sleep(seconds)
        finally:
            sleeping[0] = False

    time.sleep = noted
    return sleeping


def describe(error: BaseException) -> tuple[str, bytes | None, list[Frame]]:
    """Return an error in words, as bytes where it can travel, and the lines that led to it."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = own_frames(traceback.extract_tb(error.__traceback__))
    try:
        content = packed(error.with_traceback(None))
        pickle.loads(content)
    except Exception:
        content = None
    return text[:4000], content, frames


def own_frames(stack: traceback.StackSummary) -> list[Frame]:
    """Return the frames of a stack that belong to the function, less those of what it calls."""
    skipped = tuple(os.path.dirname(m.__file__) + os.sep for m in (torch, multiprocessing))
    skipped += (__file__, threading.__file__)
    names = [frame.name for frame in stack]
    first = names.index("serve") + 1 if "serve" in names else 0
    own = [
        frame
        for frame in list(stack)[first:]
        if not frame.filename.startswith(skipped) and "site-packages" not in frame.filename
    ]
    course = os.path.dirname(os.path.dirname(__file__)) + os.sep
    written = [f for f in own if not f.filename.startswith(course)]  # in a notebook, by its reader
    return [Frame(f.filename, f.lineno or 0, f.name) for f in written or own]
