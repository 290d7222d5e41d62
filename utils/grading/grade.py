"""Points for a notebook whose author is not trusted: `grade_one`.

This process draws the inputs, compares, and gives points; a learner's code runs in a `worker` in a
`sandbox`, and only plain data comes back. Inputs are drawn from a secret of the class and the lab:
the same for all learners, reproducible, and unknown to them. A submission that breaks costs itself
only. `classroom` grades a whole class, on one of the `engines`.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import re
import subprocess
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from utils.grading import needed, sandbox, submission, wire
from utils.grading.kit import RANKS, modules_of_checks
from utils.grading.reaches import MAX_FOUND, reaches
from utils.grading.unproven import UNCOUNTED, WEIGHTLESS
from utils.labs import ranks, run
from utils.labs.student import LearnerError, NotStarted, Student, TooSlow, Undefined, time_limit
from utils.settings import project_root

WATCH_SECONDS = 0.05
WEIGH_SECONDS = 0.2
START_SECONDS = 60.0  # for a process of ours, before it sees any of the learner's code
MAX_RESTARTS = 6
MAX_PROBLEMS = 40
MAX_SKIPPED = 3000
LOADED_MB = 64  # that a notebook may have imported and assigned
SPARE_MEMORY = 512 << 20  # the machine itself must keep
NO_MEMORY = "the machine ran out of memory meanwhile: grade again, with fewer --jobs"
GRADED, UNREADABLE, FAILED = "graded", "unreadable", "failed"
PARTS = {"result", "arguments", "shared", "gradients"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class MachineFull(BaseException):
    """Raised through a check, which may blame the learner for ordinary errors alone."""


@dataclass(frozen=True)
class Job:
    """One submission to grade, and all that decides its points."""

    lab: str
    learner: str
    path: str | None
    seed: int
    limits: sandbox.Limits = field(default_factory=sandbox.Limits)
    trusted: bool = False
    problem: str = ""  # why there is no file, or what else was handed in
    only: tuple[str, ...] = ()  # exercises to grade; none for all
    kit: str = ""  # folder with the `utils` that the submission may import
    identity: str = ""  # what tells the learner's marks from all others'; empty for the name

    def exercises(self) -> list[str]:
        """Return the exercises to grade, in the order of the lab."""
        return [e for e in run.exercises_of(self.lab) if not self.only or e in self.only]


class Worker:
    """A process with a learner's code, and a watch over its time and memory."""

    def __init__(self, job: Job, cells: tuple[str, ...], scratch: Path):
        self.job, self.cells, self.scratch = job, list(cells), scratch
        self.process: subprocess.Popen | None = None
        self.opened = self.only_definitions = False
        self.starts, self.fatal = 0, ""
        self.problems: list[str] = []
        self.skipped = ""
        self.end = time.monotonic() + job.limits.submission_seconds
        self.deadline = self.end
        self.verdict = ""
        self.limit = job.limits.memory_mb * sandbox.MB
        self.base_data = self.base_memory = 0  # of the process, before it saw a learner's code
        self.over = threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        """End the process when it is over time or memory; runs in a thread of its own."""
        weighed = 0.0
        while not self.over.wait(WATCH_SECONDS):
            process = self.process
            if process is None or self.verdict:
                continue
            if time.monotonic() > self.deadline:
                self.verdict = "your code took too long, and did not stop when told to"
            elif time.monotonic() < weighed + WEIGH_SECONDS:
                continue
            elif sandbox.memory_of(process.pid) > self.limit:
                self.verdict = "your code used more memory than is allowed here"
                if self.limit == self.job.limits.memory_mb * sandbox.MB:
                    self.verdict = f"your code used more than {self.limit >> 20} MB of memory"
            elif psutil.virtual_memory().available < SPARE_MEMORY:
                self.verdict = NO_MEMORY
            weighed = time.monotonic()
            if self.verdict:
                with contextlib.suppress(psutil.Error, OSError):
                    for member in [*sandbox.family(process.pid), psutil.Process(process.pid)]:
                        member.kill()

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        if self.starts > MAX_RESTARTS + len(self.job.exercises()):
            self.fatal = "your code ended the Python process too many times"
            raise LearnerError(self.fatal)
        self.starts += 1
        job = self.job
        self.verdict, self.opened = "", False
        self.deadline = time.monotonic() + START_SECONDS
        has_ranks = RANKS in modules_of_checks(job.lab)
        self.process = sandbox.start(
            Path(job.kit), job.limits, job.trusted, self.scratch, has_ranks
        )
        used = [name for name in preloads(job.lab) if any(name in cell for cell in self.cells)]
        preload = {"do": "preload", "modules": used}
        if self.exchange(preload, START_SECONDS).get("ready") is not True:
            self.lose("the worker did not start")
        self.base_data = sandbox.data_of(self.process.pid)
        self.base_memory = sandbox.memory_of(self.process.pid)

    def tighten(self, megabytes: int) -> None:
        """Let what runs now, until the process is ended, hold little more than it did at first."""
        if not self.opened:
            self.fresh()
        room = (LOADED_MB + megabytes) * sandbox.MB
        self.limit = 2 * self.base_memory + room  # counted for the worker and for its child
        sandbox.limit_data(self.process.pid, self.base_data + room)

    def retire(self) -> None:
        """End the process, and with it the limits that were set; the next call starts another."""
        process, self.process, self.opened = self.process, None, False
        if process is not None:
            sandbox.stop(process)
        self.limit = self.job.limits.memory_mb * sandbox.MB

    def lose(self, why: str) -> None:
        """End the process and blame the learner's code."""
        process, self.process, self.opened = self.process, None, False
        if process is not None:
            sandbox.stop(process)
        why, self.verdict = self.verdict or why, ""
        if why == NO_MEMORY:
            raise MachineFull(why)
        raise LearnerError(why)

    def exchange(self, request: dict | None, seconds: float) -> dict:
        """Send a request, if any, and return the reply, which is a dictionary of plain values."""
        if self.process is None:
            raise LearnerError("your code ended the Python process")
        self.deadline = min(time.monotonic() + seconds, self.end)
        try:
            if request is not None:
                content = wire.encode(request)
                self.write(wire.SIZE.pack(len(content)) + content)
            (length,) = wire.SIZE.unpack(self.read(wire.SIZE.size))
            if length > wire.MAX_REPLY:
                self.lose("your code returned more data than can be graded")
            reply = wire.decode(self.read(length))
        except wire.WireError as error:
            self.lose(f"your code returned something malformed ({error})")
        except (EOFError, OSError):
            self.lose("your code ended the Python process (exit, a crash, or too much memory)")
        finally:
            self.deadline = self.end
        if not isinstance(reply, dict):
            self.lose("your code wrote something of its own to the grader")
        return reply

    def write(self, content: bytes) -> None:
        """Send bytes; ends with an error when the process ends."""
        view = memoryview(content)
        while view:
            view = view[self.process.stdin.write(view) :]

    def read(self, n: int) -> bytes:
        """Return n bytes of the process."""
        pieces = []
        while n:
            piece = self.process.stdout.read(min(n, 1 << 20))
            if not piece:
                raise EOFError
            pieces.append(piece)
            n -= len(piece)
        return b"".join(pieces)

    def fresh(self) -> None:
        """Make a fresh group of calls: the notebook is loaded anew, in a process of its own."""
        if self.fatal:
            raise LearnerError(self.fatal)
        if self.opened:
            self.opened = False
            with contextlib.suppress(LearnerError):
                if "closed" not in self.exchange({"do": "close"}, self.job.limits.grace_seconds):
                    self.lose("")
        try:
            self.open()
        except LearnerError as error:
            if self.only_definitions:
                self.fatal = f"the notebook could not be loaded: {error}"
                raise LearnerError(self.fatal) from None
            self.note([f"while the notebook was loaded: {error}; what calls anything was left out"])
            self.only_definitions = True
            self.fresh()

    def look(self) -> list[str]:
        """Return what in the submission's code reaches further than an exercise needs."""
        try:
            self.start()
            reply = self.exchange({"do": "look", "cells": self.cells}, self.job.limits.load_seconds)
            if "closed" in reply or "closed" not in self.exchange(
                None, self.job.limits.grace_seconds
            ):
                self.lose("reading it ended the process")
            lines = list(reply["reaches"])[:MAX_FOUND]
            return [clean(line, 200) for line in lines if type(line) is str]
        except (LearnerError, KeyError, TypeError) as error:
            return [f"the code can't be read: {clean(str(error), 200)}"]

    def open(self) -> None:
        """Load the notebook."""
        if self.process is None:
            self.start()
        limits = self.job.limits
        request = {
            "do": "open",
            "cells": self.cells,
            "seconds": limits.call_seconds,
            "only_definitions": self.only_definitions,
            "wanted": run.exercises_of(self.job.lab),
            "total": limits.load_seconds / 2,
        }
        reply = self.exchange(request, limits.load_seconds)
        if "closed" in reply:
            raise LearnerError("your code ended the Python process")
        self.opened = True
        problems = reply.get("problems")
        if isinstance(problems, list):
            self.note([line for line in problems[:MAX_PROBLEMS] if type(line) is str])
        if type(reply.get("skipped")) is str:
            self.skipped = clean(reply["skipped"], MAX_SKIPPED)

    def note(self, problems: list[str]) -> None:
        """Keep what went wrong while the notebook was read, once and not endlessly."""
        new = [clean(line, 300) for line in problems]
        self.problems = list(dict.fromkeys([*self.problems, *new]))[:MAX_PROBLEMS]

    def request(self, do: str, *args, **kwargs) -> object:
        """Have the worker do something with the learner's code, and return what came of it.

        Processes that talk to each other have time of their own (`ranks.SECONDS`) to find an end.
        """
        if time.monotonic() > self.end:
            self.fatal = "the time for grading this notebook is used up"
        if self.fatal:
            raise LearnerError(self.fatal)
        if not self.opened:
            self.fresh()
        message = {"do": do, "args": args, "kwargs": kwargs}
        limits = self.job.limits
        more = ranks.SECONDS if do == "in_ranks" else 0.0
        reply = self.exchange(message, limits.call_seconds + more + limits.grace_seconds)
        if "closed" in reply:
            self.opened = False
            raise LearnerError("your code ended the Python process (exit or a crash)")
        if "reply" in reply:
            return reply["reply"]
        text = reply.get("text")
        text = clean(text) if type(text) is str else "your code wrote something of its own"
        if reply.get("raised") == "not started":
            raise NotStarted
        if reply.get("raised") == "undefined":
            raise Undefined(text)
        raise LearnerError(text, reply.get("arguments"))

    def close(self) -> None:
        """End the process for good."""
        self.over.set()
        process, self.process = self.process, None
        if process is not None:
            sandbox.stop(process)


class RemoteBackend:
    """What `Student` calls: the worker's `LocalBackend`, at the other end of the pipe."""

    def __init__(self, worker: Worker):
        self.worker = worker

    def call(self, *args, megabytes: int | None = None, **kwargs) -> dict:
        """Call a function of the learner's; with `megabytes`, in a process that can't hold more."""
        if megabytes is None:
            return replied(self.worker.request("call", *args, **kwargs))
        if self.worker.job.trusted:  # then what the worker itself counts must do
            return replied(self.worker.request("call", *args, megabytes=megabytes, **kwargs))
        self.worker.tighten(megabytes)
        try:
            return replied(self.worker.request("call", *args, megabytes=megabytes, **kwargs))
        finally:
            self.worker.retire()

    def clock(self) -> float:
        """Return the worker's seconds of processor time: a busy machine costs nobody a point."""
        process = self.worker.process
        return 0.0 if process is None else sandbox.work_of(process.pid)

    def in_ranks(self, *args) -> list:
        """Call a function of the learner's in several processes, all of them in the sandbox."""
        replies = self.worker.request("in_ranks", *args)
        if type(replies) is not list or len(replies) != len(args[1]):
            raise LearnerError("your code wrote something of its own to the grader")
        return replies

    def make(self, *args, **kwargs) -> int:
        """Construct a class of the learner's; return the number of the object."""
        number = self.worker.request("make", *args, **kwargs)
        if type(number) is not int:
            raise LearnerError("your code wrote something of its own to the grader")
        return number

    def use(self, *args, **kwargs) -> dict:
        """Call a method of an object that was made."""
        return replied(self.worker.request("use", *args, **kwargs))


@functools.cache
def preloads(lab: str) -> list[str]:
    """Return the modules, other than the course's, that a lab's own cells import.

    The worker imports those that a submission names once, before it forks.
    """
    given = submission.read_submission(project_root() / "labs" / f"{lab}.ipynb")
    found: set[str] = set()
    for _, statement in needed.parsed(given.code)[0]:
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            found.add(statement.module)
    return sorted(name for name in found if name.split(".")[0] != "utils")


@functools.cache
def given_reaches(lab: str) -> frozenset[str]:
    """Return what the cells of a lab itself reach for, less the places."""
    given = submission.read_submission(project_root() / "labs" / f"{lab}.ipynb")
    return frozenset(line.partition(": ")[2] for line in reaches(given.code))


def replied(reply: object) -> dict:
    """Return a reply that has the parts that `Student` reads."""
    if not isinstance(reply, dict) or not PARTS <= set(reply):
        raise LearnerError("your code wrote something of its own to the grader")
    return reply


def clean(text: str, limit: int = 2000) -> str:
    """Return a learner's text without control characters and lone surrogates.

    >>> clean("a\\x00b\\ud800")
    'ab?'
    """
    return CONTROL.sub("", text[:limit]).encode("utf-8", "replace").decode("utf-8")


def grade_one(job: Job) -> dict:
    """Grade one submission and return its record; never raises for what is in the submission."""
    record = {"lab": job.lab, "learner": job.learner, "status": GRADED, "note": ""}
    record["identity"] = job.identity or job.learner
    checks: list[run.CheckResult] = []
    try:
        if job.path is None:
            raise submission.Unreadable(job.problem)
        found = submission.read_submission(Path(job.path))
        record["written"] = written(job.lab, found)
        with tempfile.TemporaryDirectory() as scratch:
            worker = Worker(job, found.code, Path(scratch))
            try:
                record["look at"] = [
                    line
                    for line in worker.look()
                    if line.partition(": ")[2] not in given_reaches(job.lab)
                ]
                with time_limit(job.limits.submission_seconds + 60, waiting=1):
                    for exercise in job.exercises():
                        checks += check_exercise(job, worker, exercise)
            except TooSlow:
                record["note"] = "comparing this submission's results took too long"
            finally:
                worker.close()
        notes = [record["note"] or worker.fatal, unlike(job, found), job.problem]
        record["note"] = clean("; ".join(note for note in notes if note))
        record["problems"], record["skipped"] = worker.problems, worker.skipped
    except submission.Unreadable as error:
        record |= {"status": UNREADABLE, "note": clean(str(error))}
    except sandbox.NoSandbox:
        raise
    except (Exception, MachineFull) as error:  # not the learner's fault: go on with the others
        record |= {"status": FAILED, "note": clean(f"{type(error).__name__}: {error}")}
    known = {(c.exercise, c.title): c for c in checks}
    record["checks"] = []
    for check in [c for c in run.checks_of(job.lab) if c.exercise in job.exercises()]:
        result = known.get((check.exercise, check.title))
        if result is None:
            result = run.CheckResult(check.exercise, check.title, check.points, "not graded")
        entry = asdict(result) | {"earned": result.earned, "hint": clean(result.hint)}
        if (job.lab, check.exercise, check.title) in WEIGHTLESS:
            entry |= {"points": 0, "earned": 0, "note": UNCOUNTED}
        record["checks"].append(entry)
    return record


def check_exercise(job: Job, worker: Worker, exercise: str) -> list[run.CheckResult]:
    """Run the checks of one exercise against a fresh process of the learner's code."""
    try:
        with contextlib.suppress(LearnerError):  # each check says so again, with its title
            worker.fresh()
        return run.run_checks(job.lab, Student(RemoteBackend(worker)), job.seed, only=exercise)
    except Exception as error:
        hint = f"the check can't work with what your code returns ({type(error).__name__})"
        return [
            run.CheckResult(c.exercise, c.title, c.points, run.FAILED, hint)
            for c in run.checks_of(job.lab)
            if c.exercise == exercise
        ]


def unlike(job: Job, found: submission.Submission) -> str:
    """Return that a notebook holds nothing that the lab asks for, or an empty text."""
    if any(name in source for name in job.exercises() for source in found.code):
        return ""
    return f"none of the functions of {job.lab} stands in this notebook: is it another lab's?"


def written(lab: str, found: submission.Submission) -> list[dict]:
    """Return the written answers of a submission, in the order of the lab."""
    given = submission.read_submission(project_root() / "labs" / f"{lab}.ipynb")
    answers = submission.written_answers(found.text, given.text)
    return [{"points": points, "text": clean(text, 20_000)} for points, text in answers]
