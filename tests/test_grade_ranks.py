"""A learner's functions in several processes, in the sandbox: right, wrong, broken and hostile."""

import contextlib
import time

import numpy as np
import psutil
import pytest

from utils.grading import grade, kit, sandbox
from utils.labs.ranks import in_ranks
from utils.labs.student import LearnerError, NotStarted, Student

needs_sandbox = pytest.mark.skipif(bool(sandbox.refusal()), reason=str(sandbox.refusal()))
# `causal_mask` is a name that lab 02 asks for: here it is any function of the learner's.
START = "import os, time\nimport torch\nimport torch.distributed as dist\n"
RING = (
    "def causal_mask(x):\n"
    "    me, n = dist.get_rank(), dist.get_world_size()\n"
    "    y = torch.empty_like(x)\n"
    "    sending = dist.isend(x, (me + 1) % n)\n"
    "    dist.recv(y, (me - 1) % n)\n"
    "    sending.wait()\n"
    "    return x + y\n"
)


@pytest.fixture
def graded(tmp_path, monkeypatch):
    """Return a function that opens a submission and gives its student."""
    monkeypatch.setattr(grade, "modules_of_checks", lambda lab: {kit.RANKS})
    monkeypatch.setattr(kit, "modules_of_checks", lambda lab: {kit.RANKS})
    folder = kit.make_kit("02_attention", tmp_path / "kit")
    workers = []

    def open_one(source):
        job = grade.Job("02_attention", "someone", None, 3, kit=str(folder))
        workers.append(grade.Worker(job, (START + source,), tmp_path))
        return Student(grade.RemoteBackend(workers[-1]))

    tmp_path.chmod(0o755)
    yield open_one
    for worker in workers:
        worker.close()


def rows(n):
    return [(np.full(3, float(rank), np.float32),) for rank in range(n)]


@needs_sandbox
@pytest.mark.parametrize("n", [2, 4])
def test_ranks_talk_to_each_other_in_the_sandbox(graded, n):
    replies = in_ranks(graded(RING), "causal_mask", rows(n), with_gradients=False)
    for rank, reply in enumerate(replies):
        np.testing.assert_array_equal(reply.result, np.full(3, rank + (rank - 1) % n))
        sent = [o for o in reply.operations if o.name == "isend"]
        assert [(o.n_bytes, o.peer) for o in sent] == [(12, (rank + 1) % n)]


@needs_sandbox
def test_what_goes_wrong_is_said_and_the_next_call_works(graded):
    def answer(body):
        return graded(f"def causal_mask(x):\n    {body}\n")

    with pytest.raises(NotStarted):
        in_ranks(answer("raise NotImplementedError"), "causal_mask", rows(2))
    with pytest.raises(LearnerError, match="rank 1 of 2: IndexError.*line 5"):
        in_ranks(answer("return x[5 * dist.get_rank()]"), "causal_mask", rows(2))
    with pytest.raises(LearnerError, match="every rank waits.*rank 0 at line 5.*recv.*rank 1 at"):
        in_ranks(answer("dist.recv(x, 1 - dist.get_rank())"), "causal_mask", rows(2))
    with pytest.raises(LearnerError, match="rank 1: its process ended .exit code 0"):
        in_ranks(answer("os._exit(0) if dist.get_rank() else 1"), "causal_mask", rows(2))
    student = graded("def causal_mask(x):\n    return x * 2\n")
    assert in_ranks(student, "causal_mask", rows(2))[1].result.tolist() == [2.0, 2.0, 2.0]


@needs_sandbox
def test_nothing_is_left_of_ranks_that_start_others_and_hide(graded):
    body = (
        "def causal_mask(x):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        time.sleep(600)\n"
        "    os._exit(1)\n"
    )
    before = set(psutil.pids())
    student = graded(body)
    with pytest.raises(LearnerError):
        in_ranks(student, "causal_mask", rows(2))
    student._backend.worker.close()
    end = time.monotonic() + 30
    while (left := hidden_since(before)) and time.monotonic() < end:
        time.sleep(0.1)  # the kernel ends them together with the sandbox's first process
    assert not left


def hidden_since(before):
    found = []
    for number in set(psutil.pids()) - before:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(number)
            if process.uids().real >= sandbox.FIRST_USER:
                found.append(process.cmdline())
    return found
