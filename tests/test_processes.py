"""Ranks from a cell: they end whatever a function does; the error names the rank and the line."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
import types

import psutil
import pytest
import torch
import torch.distributed as dist

from utils.parallel.processes import RankError, run_ranks
from utils.parallel.wire import bytes_on_wire, traffic

needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


def all_ranks():
    """Return the processes that the server of this one has started and that still run."""
    family = psutil.Process().children(recursive=True)
    return [p for p in family if p.ppid() != os.getpid() and p.status() != psutil.STATUS_ZOMBIE]


def behave(how):
    me, n = dist.get_rank(), dist.get_world_size()
    x = torch.full((2,), float(me + 1))
    last = me == n - 1
    if how == "raise" and last:
        raise ValueError("of my own")
    if how == "early" and last:
        return x
    if how == "kill" and last:
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit" and last:
        os._exit(0)
    if how == "leave" and last:
        raise SystemExit(0)
    if how == "order":
        dist.recv(x, (me + 1) % n)
        dist.send(x, (me + 1) % n)
    if how == "shape":
        x = torch.zeros(2 + me)
    if how == "collective" and last:
        dist.barrier()
    if how == "no result" and last:
        return (y for y in x)
    if how == "child" and last:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if how == "thread" and last:
        import threading

        threading.Thread(target=time.sleep, args=(600,)).start()
    dist.all_reduce(x)
    return x


BROKEN = {
    "raise": r"rank 1: ValueError: of my own \(line \d+ of behave: raise ValueError",
    "early": r"every rank waits.*rank 0 at line \d+ of behave: dist.all_reduce\(x\); rank 1 has r",
    "kill": "rank 1: its process ended .killed by SIGKILL",
    "exit": "rank 1: its process ended .exit code 0",
    "leave": "rank 1: SystemExit: 0",
    "order": "every rank waits.*rank 0 at .*dist.recv.*; rank 1 at .*dist.recv",
    "shape": "gloo does where ranks pass other shapes|every rank waits|Connection closed",
    "no result": "rank 1: TypeError",
}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_run_gives_what_each_rank_returns(n):
    want = torch.full((2,), float(n * (n + 1) / 2))
    assert all(torch.equal(x, want) for x in run_ranks(behave, n, "well", show=False))


@needs_signals
@pytest.mark.parametrize("how", BROKEN)
def test_broken_functions_are_named_and_leave_nothing(how):
    with pytest.raises(RankError, match=BROKEN[how]):
        run_ranks(behave, 2, how, show=False)
    assert all_ranks() == []


def test_ranks_that_call_other_collectives_come_to_an_end():
    with contextlib.suppress(RankError):  # an error, a wrong answer or nothing: but it ends
        run_ranks(behave, 2, "collective", show=False, seconds=30)
    assert all_ranks() == []


@pytest.mark.parametrize("how", ["thread", "child"])
def test_what_a_rank_starts_ends_with_it(how):
    before = set(psutil.pids())
    run_ranks(behave, 2, how, show=False)
    assert all_ranks() == []
    end = time.monotonic() + 20
    while (left := sleepers(before)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def sleepers(before):
    """Return the processes of the test above that still run."""
    found = []
    for number in set(psutil.pids()) - before:
        with contextlib.suppress(psutil.Error):
            if "time.sleep(600)" in " ".join(psutil.Process(number).cmdline()):
                found.append(number)
    return found


def test_a_rank_that_only_sleeps_is_not_taken_for_a_deadlock():
    def nap():
        if dist.get_rank() == 0:
            time.sleep(2.5)
        dist.barrier()
        return "rested"

    assert run_ranks(nap, 2, show=False) == ["rested"] * 2


def test_the_time_is_over_for_a_loop_without_end():
    def spin():
        while dist.get_rank() == 1:
            pass
        dist.barrier()

    with pytest.raises(
        RankError, match=r"within 3 s: rank 0 at .*barrier.*; rank 1 at line \d+ of"
    ):
        run_ranks(spin, 2, seconds=3, show=False)
    assert all_ranks() == []


def test_errors_travel_where_they_can():
    def fail():
        if dist.get_rank() == 1:
            raise KeyError("x")

    with pytest.raises(RankError) as caught:
        run_ranks(fail, 2, show=False)
    assert caught.value.rank == 1 and isinstance(caught.value.error, KeyError)


config = {"a global name": "that torch has a module of"}
Tensor = torch.Tensor


def test_what_a_function_uses_travels_with_it():
    def nested(x):
        class Double(torch.autograd.Function):
            @staticmethod
            def forward(ctx, y: Tensor) -> Tensor:
                return 2 * y

        dist.barrier()
        return Double.apply(x), config

    space = {"torch": torch, "dist": dist, "Tensor": Tensor, "config": config}
    typed = types.FunctionType(nested.__code__, space | {"__name__": "__main__"})
    for value, found in run_ranks(typed, 2, torch.ones(1), show=False):
        assert value.item() == 2.0 and found == config


def test_lines_carry_their_rank_and_are_whole(capsys):
    def talk():
        print("one", end="")
        print(" line\nand a last")
        print("without end", end="")

    run_ranks(talk, 2)
    lines = capsys.readouterr().out.splitlines()
    for rank in (0, 1):
        mine = [line for line in lines if line.startswith(f"[rank {rank}]")]
        assert [m.split("] ")[1] for m in mine] == ["one line", "and a last", "without end"]


def test_arguments_of_each_rank_and_bad_numbers():
    assert run_ranks(lambda a, b: a + b, 2, 10, each=[(1,), (2,)], show=False) == [11, 12]
    with pytest.raises(ValueError, match="holds 1 tuples for 2 ranks"):
        run_ranks(len, 2, each=[("a",)])
    with pytest.raises(ValueError, match="at least 1"):
        run_ranks(len, 0)


def test_operations_and_bytes_are_counted():
    def count():
        me, n = dist.get_rank(), dist.get_world_size()
        x = torch.zeros(1000)
        before = bytes_on_wire()
        with traffic() as operations:
            requests = dist.batch_isend_irecv(
                [
                    dist.P2POp(dist.isend, x, (me + 1) % n),
                    dist.P2POp(dist.irecv, torch.zeros(1000), (me - 1) % n),
                ]
            )
            for request in requests:
                request.wait()
            dist.all_reduce(x)
        dist.barrier()
        time.sleep(0.1)
        sent = None if before is None else bytes_on_wire()[0] - before[0]
        return [tuple(o) for o in operations], sent

    for rank, (operations, sent) in enumerate(run_ranks(count, 3, show=False)):
        names = [("isend", 4000, (rank + 1) % 3), ("irecv", 4000, (rank - 1) % 3)]
        assert operations == [*names, ("all_reduce", 4000, None)]
        if sent is not None:  # a message and 4/3 of one for the sum, and the talk around them
            assert 9333 <= sent < 12000


KERNEL = """
import os, time
from utils.parallel.processes import run_ranks
def slow():
    import os, time
    print("pid", os.getpid(), flush=True)
    time.sleep(600)
if __name__ == "__main__":
    run_ranks(slow, 2, seconds=300)
"""


@needs_signals
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_rank_outlives_the_process_that_started_it(tmp_path, how):
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(KERNEL))
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    numbers = [int(parent.stdout.readline().split()[-1]) for _ in range(2)]
    parent.send_signal(how)
    parent.wait(30)
    end = time.monotonic() + 30
    while any(map(psutil.pid_exists, numbers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, numbers))
