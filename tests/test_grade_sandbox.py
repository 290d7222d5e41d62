"""What the sandbox refuses: the kernel's filter, run here by hand and there by the kernel."""

import platform
import socket
import struct
import threading

import psutil
import pytest

from tests.learners import defined_in
from utils.grading import sandbox

needs_sandbox = pytest.mark.skipif(bool(sandbox.refusal()), reason=str(sandbox.refusal()))


def verdict(program, call, convention, *arguments):
    """Return what a filter says of a call, one instruction after the other."""
    data = {sandbox.CALL: call, sandbox.CONVENTION: convention}
    data |= {16 + 8 * k: value & 0xFFFFFFFF for k, value in enumerate((*arguments, 0, 0))}
    steps = [struct.unpack("<HBBI", program[k : k + 8]) for k in range(0, len(program), 8)]
    place = held = 0
    while True:
        code, yes, no, number = steps[place]
        place += 1
        if code == 0x06:
            return number
        if code == 0x20:
            held = data[number]
        elif code == 0x05:
            place += number
        else:
            assert code in (0x15, 0x35)
            place += yes if (held == number if code == 0x15 else held >= number) else no


@pytest.mark.parametrize("has_ranks", [False, True])
@pytest.mark.parametrize("machine", sandbox.REFUSED)
def test_the_filter_refuses_what_it_says_and_nothing_else(machine, has_ranks):
    program = sandbox.call_filter(machine, has_ranks)
    convention, *refused = sandbox.REFUSED[machine]
    *makers, control = sandbox.CHECKED[machine]
    assert len(refused) == len(sandbox.NAMES) and len(set(refused)) == len(refused)
    for call in range(700):
        for family in (0, 1, 2, 10, 16, 40, 1031):
            want = sandbox.ALLOW
            if call in refused:
                want = sandbox.NOT_PERMITTED
            elif call in makers and family not in (1, 2):
                want = sandbox.NO_SUCH_FAMILY
            assert verdict(program, call, convention, family, 3, 12) == want, (call, family)
            if has_ranks and call in makers and family == sandbox.NETLINK:
                want = sandbox.ALLOW
            assert verdict(program, call, convention, family, 3, 0) == want, (call, family)
    assert verdict(program, control, convention, 5, sandbox.SET_PIPE_SIZE) == sandbox.NOT_PERMITTED
    for call in (0, makers[0], refused[0]):  # another convention, or the same by another name
        assert verdict(program, call, convention ^ 4, 1) == sandbox.NOT_PERMITTED
        number = call | sandbox.OTHER_CONVENTION
        assert verdict(program, number, convention, 1) == sandbox.NOT_PERMITTED


def test_another_machine_is_named_in_the_report(monkeypatch):
    assert sandbox.lacking() == [] or platform.machine() not in sandbox.REFUSED
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert sandbox.call_filter("riscv64") == b"" and "riscv64" in sandbox.lacking()[0]
    with sandbox.filter_file() as file:
        assert file is None


INSIDE = """
    import ctypes, errno, fcntl, os, socket
    def families():
        open_ones = []
        for family in range(1, 46):
            for make in (socket.socket, socket.socketpair):
                try: make(family, socket.SOCK_DGRAM)
                except OSError as error:
                    if error.errno == errno.EAFNOSUPPORT: continue
                open_ones.append(family)
        return sorted(set(open_ones))
    def numbers(calls):
        libc, found = ctypes.CDLL(None, use_errno=True), []
        for call in calls:
            ctypes.set_errno(0)
            got = libc.syscall(call, 0, 0, 0, 0, 0)
            found.append((got, ctypes.get_errno()))
        return found
    def pipe_size():
        try: return fcntl.fcntl(os.pipe()[1], 1031, 1 << 20)
        except PermissionError: return -1
    def who(): return os.getuid()
    def write(n_bytes):
        for k in range(n_bytes >> 20):
            with open(f"/dev/shm/{k}", "wb") as file: file.write(bytes(1 << 20))
        return n_bytes
"""


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """Return the proxy of the functions above, in the sandbox."""
    yield from defined_in("sandbox", "02_attention", INSIDE, tmp_path_factory)


@pytest.mark.slow
@needs_sandbox
@pytest.mark.skipif(platform.machine() not in sandbox.REFUSED, reason="no filter on this machine")
def test_the_kernel_refuses_families_queues_and_large_pipes(student):
    assert set(student.families()) <= {1, 2}
    _, *refused = sandbox.REFUSED[platform.machine()]
    assert student.numbers(refused) == [(-1, 1)] * len(refused)
    assert student.pipe_size() == -1


@pytest.mark.slow
@needs_sandbox
def test_files_in_memory_count_as_memory(student):
    number = student._backend.worker.process.pid
    before = sandbox.memory_of(number)
    student.write(24 << 20)
    assert sandbox.memory_of(number) - before > 20 << 20


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or not psutil.LINUX, reason="for Linux")
def test_no_two_sandboxes_have_one_user():
    held, lock = [], threading.Lock()

    def claim():
        user = sandbox.User()
        with lock:
            held.append(user)

    threads = [threading.Thread(target=claim) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [user.number for user in held]
    assert len(set(numbers)) == 40
    assert set(numbers) <= set(range(sandbox.FIRST_USER, sandbox.FIRST_USER + sandbox.N_USERS))
    for user in held:
        user.release()


@pytest.mark.skipif(not psutil.LINUX, reason="for Linux")
def test_a_user_that_is_held_or_at_work_is_passed_over(monkeypatch):
    monkeypatch.setattr(sandbox, "N_USERS", 3)
    first = sandbox.User()
    others = set(range(sandbox.FIRST_USER, sandbox.FIRST_USER + 3)) - {first.number}
    busy = min(others)
    monkeypatch.setattr(sandbox, "users_at_work", lambda: {busy})
    second = sandbox.User()
    assert {second.number} == others - {busy}
    with pytest.raises(sandbox.NoSandbox, match="in use"):
        sandbox.User()
    first.release()
    third = sandbox.User()
    assert third.number == first.number
    second.release()
    third.release()
