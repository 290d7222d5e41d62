"""Grading many small submissions in few sandboxes, for tests.

A sandbox with its torch takes one to two seconds to start, the check of a submission a few
hundredths. Here one sandbox serves one submission after the other, each in processes of its own,
as long as it survives them. In a class every submission has a sandbox to itself, and so has here
what is made to harm its neighbours.
"""

from __future__ import annotations

import ast
import contextlib
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.hostile.corpus import Hostile
from utils.grading import grade, kit, sandbox
from utils.grading.grade import Job


class Kept(grade.Worker):
    """A worker whose process is passed on to the next submission, where it is as good as new."""

    passed_on: list = []

    def start(self) -> None:
        """Take a process that waits, or start one."""
        if not self.passed_on or self.starts:
            super().start()
            return
        self.starts += 1
        self.process, self.base_data, self.base_memory = self.passed_on.pop()
        self.verdict, self.opened = "", False

    def close(self) -> None:
        """Leave the process to the next submission, if it answers as it should."""
        try:
            if self.process is not None and self.opened:
                self.opened = False
                if "closed" not in self.exchange({"do": "close"}, self.job.limits.grace_seconds):
                    self.lose("")
            alone = self.process is not None and len(sandbox.family(self.process.pid)) <= PROCESSES
            if alone and not self.verdict:
                self.passed_on.append((self.process, self.base_data, self.base_memory))
                self.process = None
        except grade.LearnerError:
            pass  # it did not survive, and the next submission starts another
        finally:
            super().close()


@contextlib.contextmanager
def one_parser_at_a_time() -> Iterator[None]:
    """Let one thread parse at a time: two confuse Python 3.11, which then raises SystemError.

    `course grade` has a process for each submission at work, and no such trouble.
    """
    parse, lock = ast.parse, threading.Lock()

    def parse_alone(*args, **settings):
        with lock:
            return parse(*args, **settings)

    ast.parse = parse_alone
    try:
        yield
    finally:
        ast.parse = parse


PROCESSES = 3  # of an idle sandbox: two of bubblewrap, and the worker


def grade_together(
    lab: str, everyone: list[Hostile], limits: sandbox.Limits, only: tuple[str, ...], n_threads=2
) -> dict[str, dict]:
    """Grade submissions and return name -> record; as `grade_class` does, less files of its own."""
    Kept.passed_on = []
    worker, grade.Worker = grade.Worker, Kept
    try:
        with tempfile.TemporaryDirectory() as place:
            folder = kit.make_kit(lab, Path(place) / "kit")
            jobs = []
            for k, one in enumerate(everyone):
                path = Path(place) / f"{k}.ipynb"
                path.write_bytes(one.content)
                name = f"{one.family} - {one.name}"
                job = Job(lab, name, str(path), 7, limits, only=only, kit=str(folder))
                jobs.append(replace(job, identity=name))
            with one_parser_at_a_time(), ThreadPoolExecutor(n_threads) as pool:
                records = list(pool.map(grade.grade_one, jobs))
    finally:
        grade.Worker = worker
        for process, *_ in Kept.passed_on:
            sandbox.stop(process)
    return {record["learner"]: record for record in records}


def wrong_ones(everyone: list[Hostile], records: dict[str, dict]) -> list[tuple]:
    """Return submissions that got other points than they state, with what was said."""
    found = []
    for one in everyone:
        record = records[f"{one.family} - {one.name}"]
        earned = sum(check["earned"] for check in record["checks"])
        fits = earned <= one.points if one.may_lose else earned == one.points
        if not fits or record["status"] == grade.FAILED:
            hints = [(check["title"], check["hint"]) for check in record["checks"]]
            found.append((one.name, earned, one.points, record["status"], record["note"], hints))
    return found
