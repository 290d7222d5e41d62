"""Where a learner's code runs when graded: bubblewrap, without rights, network or a view of files.

Inside are, read-only, the Python environment, the system's libraries and the lab's kit; /tmp is a
file system in memory with a size. Process numbers, network, IPC, host name and cgroups are its own;
all processes die with the grader. Started by root, the code runs as a user without rights, in a
second bubblewrap that allows no further namespaces. Limits here are per process; `grade` watches
time and the memory of all processes together.

Not covered: faults of the kernel; what a machine leaks by its speed or load; what is measured next
to the learner's code and can be forged by it: `largest_tensor` (`within` can't), and the calls that
a `File` notes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import psutil

MB = 1 << 20
N_FILES_TIGHT = 32
FIRST_USER, N_USERS = 200_000, 60_000  # without rights: one for each sandbox, so none can meet
SCRATCH = ("tmp", "dev/shm")  # file systems in memory, which a submission may write
INSTALL = "sudo apt-get install bubblewrap util-linux"
# Calls of the kernel that are refused: memory that no limit counts (segments, queues, semaphores of
# System V and POSIX), and what no exercise needs. machine: number of its calling convention, then
# the number of each call.
NAMES = ("shmget", "msgget", "semget", "mq_open", "memfd_create", "memfd_secret")
NAMES += ("io_uring_setup", "userfaultfd", "bpf", "perf_event_open", "add_key", "keyctl")
REFUSED = {
    "x86_64": (0xC000003E, 29, 68, 64, 240, 319, 447, 425, 323, 321, 298, 248, 250),
    "aarch64": (0xC00000B7, 194, 186, 190, 180, 279, 447, 425, 282, 280, 241, 217, 219),
}
# Calls that are allowed with some first or second arguments: socket, socketpair, fcntl.
CHECKED = {"x86_64": (41, 53, 72), "aarch64": (198, 199, 25)}
FAMILIES = (1, 2)  # AF_UNIX, AF_INET: there is no network, and every other family is a way out
NETLINK, NETLINK_ROUTE = 16, 0  # a family, and its one protocol that lists interfaces
SET_PIPE_SIZE = 1031  # a command of fcntl: the memory of a pipe is counted nowhere
OTHER_CONVENTION = 0x40000000  # numbers from here on are the same calls by another name
ERROR, ALLOW = 0x00050000, 0x7FFF0000
NOT_PERMITTED, NO_SUCH_FAMILY = ERROR | 1, ERROR | 97  # EPERM, EAFNOSUPPORT
# Where the kernel has for a filter: the call, the convention, and the arguments' lower halves.
CALL, CONVENTION, FIRST, SECOND, THIRD = 0, 4, 16, 24, 32
START = "import sys; sys.path.insert(0, {kit!r}); from utils.grading.worker import main; main()"


@dataclass(frozen=True)
class Limits:
    """What a submission may use."""

    call_seconds: float = 10.0
    grace_seconds: float = 3.0  # beyond call_seconds, for the worker to say so itself
    load_seconds: float = 60.0
    submission_seconds: float = 300.0
    memory_mb: int = 3072  # of all processes together
    scratch_mb: int = 128
    file_mb: int = 32
    n_processes: int = 64  # threads count
    n_files: int = 128


class NoSandbox(RuntimeError):
    """Submissions can't be run safely on this machine; the text says what to do."""


@functools.cache
def refusal() -> str | None:
    """Return why learners' code can't be sandboxed on this machine, or None where it can."""
    trust = "To grade files that you wrote yourself, add --trust."
    if sys.platform != "linux":
        return (
            "Submissions are graded in a sandbox that needs Linux. On Windows use WSL 2, on macOS "
            f"a Linux virtual machine or a container, and there: {INSTALL}. {trust}"
        )
    missing = [name for name in ("bwrap", "setpriv") if not shutil.which(name)]
    if os.geteuid() != 0:
        missing = [name for name in missing if name == "bwrap"]
    if missing:
        return f"Submissions are graded in a sandbox that needs {missing[0]}: {INSTALL}. {trust}"
    try:
        with filter_file() as file:
            command = arguments(Path("/nowhere"), Limits(), FIRST_USER, file)
            tried = subprocess.run(
                [*command, sys.executable, "-I", "-c", "print(7)"],
                capture_output=True,
                timeout=60,
                stdin=subprocess.DEVNULL,
                env=environment(),
                pass_fds=[] if file is None else [file],
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"The sandbox does not start ({error}). {trust}"
    if tried.returncode or tried.stdout.strip() != b"7":
        said = tried.stderr.decode("utf-8", "replace").strip()[-300:]
        return (
            f"The sandbox does not start: {said or tried.returncode}. In a container, allow user "
            f"namespaces (for docker: --security-opt seccomp=unconfined). {trust}"
        )
    return None


@functools.cache
def inner_options() -> tuple[str, ...]:
    """Return the options that take rights away, as far as this bubblewrap knows them."""
    told = subprocess.run(["bwrap", "--help"], capture_output=True, text=True).stdout
    forbid = ("--disable-userns",) if "--disable-userns" in told else ()
    return ("--unshare-user", *forbid, "--cap-drop", "ALL")


def call_filter(machine: str, has_ranks: bool = False) -> bytes:
    """Return the program by which the kernel refuses some calls; empty for an unknown machine.

    With `has_ranks` a process may ask the kernel for the interfaces of its own network, which is
    the loopback: processes that train together find each other there.

    Classic BPF: an instruction is a code, two distances to jump, for yes and for no, and a number.
    `load` brings 32 bits at an offset, `equal` and `at_least` compare them, `give` ends with a
    verdict.

    >>> len(call_filter("x86_64")) // 8, call_filter("abacus")
    (31, b'')
    """
    if machine not in REFUSED:
        return b""
    convention, *numbers = REFUSED[machine]
    open_one, open_pair, control = CHECKED[machine]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    program = [(load, 0, 0, CONVENTION), (equal, 1, 0, convention), (give, 0, 0, NOT_PERMITTED)]
    program += [(load, 0, 0, CALL), (at_least, 0, 1, OTHER_CONVENTION)]
    program.append((give, 0, 0, NOT_PERMITTED))
    for k, number in enumerate(numbers):
        program.append((equal, len(numbers) - k, 0, number))  # to `give` after the jump below
    program += [(0x05, 0, 0, 1), (give, 0, 0, NOT_PERMITTED)]  # 0x05: jump over the next
    # socket and socketpair: the family is the first argument, of 32 bits.
    program += [
        (equal, 1, 0, open_one),
        (equal, 0, 2 + len(FAMILIES) + (3 if has_ranks else 0), open_pair),
        (load, 0, 0, FIRST),
    ]
    for k, family in enumerate(FAMILIES):
        program.append((equal, len(FAMILIES) - k + (3 if has_ranks else 0), 0, family))
    if has_ranks:  # AF_NETLINK with protocol 0, and no other protocol of that family
        program += [(equal, 0, 2, NETLINK), (load, 0, 0, THIRD), (equal, 1, 0, NETLINK_ROUTE)]
    program += [(give, 0, 0, NO_SUCH_FAMILY)]
    # Here the number of the call stands again, or the family of a socket that is allowed; neither
    # 1 nor 2 is the number of `fcntl`.
    program += [(equal, 0, 3, control), (load, 0, 0, SECOND), (equal, 0, 1, SET_PIPE_SIZE)]
    program += [(give, 0, 0, NOT_PERMITTED), (give, 0, 0, ALLOW)]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def lacking() -> list[str]:
    """Return what the sandbox can't offer on this machine, in words."""
    machine = platform.machine()
    if call_filter(machine):
        return []
    return [
        f"calls of the kernel are not filtered on {machine}: sockets of other families, and memory "
        "in segments and queues that no limit counts, are open to submissions"
    ]


@contextlib.contextmanager
def filter_file(has_ranks: bool = False):
    """Yield the number of an open file with the kernel's filter, or None where there is none."""
    program = call_filter(platform.machine(), has_ranks)
    if not program:
        yield None
        return
    reading, writing = os.pipe()
    try:
        os.write(writing, program)
        os.close(writing)
        yield reading
    finally:
        os.close(reading)


def bound(kit: Path) -> list[str]:
    """Return the folders and files of the host that the sandbox shows, read-only."""
    shown = [sys.prefix, os.path.realpath(sys.prefix), os.path.realpath(sys.executable)]
    shown += [sysconfig.get_path("stdlib"), os.path.realpath(sysconfig.get_path("stdlib"))]
    if sys.base_prefix not in ("/usr", "/"):
        shown += [sys.base_prefix, os.path.realpath(sys.base_prefix)]
    shown += ["/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"]
    shown += [found for name in ("setpriv", "bwrap") if (found := shutil.which(name))]
    shown += [str(kit)] if kit.exists() else []
    there = sorted({path for path in shown if os.path.exists(path)}, key=len)
    result: list[str] = []
    for path in there:
        if not any(path.startswith(above + "/") for above in result):
            result.append(path)
    return result


class User:
    """A user without rights that no other sandbox on this machine has, while this is held.

    A name in the kernel's table of sockets is taken by one process at a time and given back when
    that process ends, however it does; and a user that still has processes is passed over.
    """

    def __init__(self):
        self.held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        first = secrets.randbelow(N_USERS)
        busy = users_at_work()
        for k in range(N_USERS):
            self.number = FIRST_USER + (first + k) % N_USERS
            if self.number not in busy:
                with contextlib.suppress(OSError):
                    self.held.bind(f"\0course-grading-user-{self.number}")
                    if self.number not in users_at_work():
                        return
                    self.held.close()
                    self.held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        raise NoSandbox(f"all {N_USERS:,} users for sandboxes are in use on this machine")

    def release(self) -> None:
        """Let another sandbox have the user."""
        self.held.close()


def users_at_work() -> set[int]:
    """Return the numbers of all users that have processes on this machine."""
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.add(entry.stat().st_uid)
    return found


def arguments(kit: Path, limits: Limits, user: int, filtered: int | None) -> list[str]:
    """Return the bubblewrap command up to the command that it runs.

    Args:
        kit: folder with the `utils` that a submission may import.
        limits: sizes of the scratch file systems.
        user: number of the user that root becomes.
        filtered: open file with the kernel's filter.
    """
    root = os.geteuid() == 0
    command = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
    ]
    command += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv"]
    command += ["--hostname", "grading"]
    if filtered is not None:
        command += ["--seccomp", str(filtered)]
    if root:  # what setpriv needs to become another user, and the inner bubblewrap to start
        command += ["--cap-drop", "ALL"]
        for right in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            command += ["--cap-add", right]
    else:
        command += inner_options()
    command += ["--proc", "/proc", "--dev", "/dev"]
    for path in SCRATCH:
        command += ["--perms", "1777", "--size", str(limits.scratch_mb * MB), "--tmpfs", f"/{path}"]
    for name in ("lib", "lib64", "lib32", "bin"):
        if os.path.islink(f"/{name}"):
            command += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif name.startswith("lib") and os.path.isdir(f"/{name}"):
            command += ["--ro-bind", f"/{name}", f"/{name}"]
    made = {"/", "/tmp"}
    for path in bound(kit):
        for above in [str(p) for p in reversed(Path(path).parents) if str(p) not in made]:
            command += ["--perms", "0755", "--dir", above]
            made.add(above)
        command += ["--ro-bind", path, path]
    command += ["--chdir", "/tmp", "--remount-ro", "/dev", "--remount-ro", "/"]
    for name, value in environment().items():
        command += ["--setenv", name, value]
    if root:
        command += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        command += ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
        command += ["bwrap", *inner_options(), "--die-with-parent", "--dev-bind", "/", "/"]
    return command


def environment() -> dict[str, str]:
    """Return the environment of a learner's code: nothing of the grader's own."""
    return {
        "PATH": "/usr/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUDA_VISIBLE_DEVICES": "",
        "MPLBACKEND": "Agg",
        "HF_HUB_OFFLINE": "1",
    }


def threads_of_user() -> int:
    """Return how many threads run as this user, which the kernel's limit counts along.

    0 for root, since the code then runs as a user of its own.
    """
    if os.geteuid() == 0:
        return 0
    total = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().effective == os.geteuid():
                total += process.num_threads()
    return total


def set_limits(limits: Limits, n_threads: int) -> None:
    """Limit this process and its children; runs between fork and exec."""
    import resource

    cpu = int(limits.submission_seconds) + 30
    for name, value in (
        ("RLIMIT_CPU", cpu),
        ("RLIMIT_DATA", limits.memory_mb * MB),  # CUDA would reserve more addresses than any limit
        ("RLIMIT_FSIZE", limits.file_mb * MB),
        ("RLIMIT_NOFILE", limits.n_files),
        ("RLIMIT_NPROC", n_threads + limits.n_processes),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_MSGQUEUE", 0),
    ):
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))


def start(
    kit: Path,
    limits: Limits,
    trusted: bool,
    scratch: Path,
    has_ranks: bool = False,
    program: str = "",
) -> subprocess.Popen:
    """Start a worker; messages go over its standard input and output.

    Args:
        kit: folder with the `utils` that a submission may import.
        limits: what it may use.
        trusted: run without a sandbox.
        scratch: folder to run in, where there is no sandbox.
        has_ranks: its code runs in several processes that talk over the sandbox's own loopback.
        program: Python code to run; "" for the worker of a lab.

    Raises:
        NoSandbox: where there is none on this machine.
    """
    command = [sys.executable, "-I", "-c", program or START.format(kit=str(kit))]
    pipes = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.DEVNULL,
        "bufsize": 0,
    }
    if trusted:
        return subprocess.Popen(command, cwd=scratch, **pipes)
    why_not = refusal()
    if why_not:
        raise NoSandbox(why_not)
    user = User() if os.geteuid() == 0 else None
    with filter_file(has_ranks) as file:
        process = subprocess.Popen(
            [*arguments(kit, limits, user.number if user else 0, file), *command],
            **pipes,
            cwd="/",
            env=environment(),  # bubblewrap's own can be read from inside, as that of process 1
            start_new_session=True,
            pass_fds=[] if file is None else [file],
            preexec_fn=functools.partial(set_limits, limits, threads_of_user()),
        )
    process.user = user  # held as long as the process, see `stop`
    return process


def stop(process: subprocess.Popen) -> None:
    """End a worker with all that it started; a sandbox dies whole with its first process."""
    for member in family(process.pid):
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        pipe.close()
    if user := getattr(process, "user", None):
        user.release()


def family(number: int) -> list[psutil.Process]:
    """Return the processes that a process started, and those that they started."""
    try:
        return psutil.Process(number).children(recursive=True)
    except psutil.Error:
        return []


def memory_of(number: int) -> int:
    """Return the bytes that the family of a process holds, files that it has mapped left out.

    Memory that processes share is counted for each of them; files in memory are counted, mapped by
    a process or not.
    """
    members = family(number)
    in_files = max([scratch_of(member) for member in members[:8]], default=0)
    return sum(status_bytes(member, "RssAnon", "RssShmem") for member in members) + in_files


def work_of(number: int) -> float:
    """Return the seconds of processor time that a process and its family have used.

    Those that ended count for the one that waited for them. Children that nobody waits for are
    lost: code may hide its work so, at no gain of time, and what starts processes is reported.
    """
    seconds = 0.0
    with contextlib.suppress(psutil.Error):
        for member in [psutil.Process(number), *family(number)]:
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                times = member.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def scratch_of(member: psutil.Process) -> int:
    """Return the bytes in the files in memory that a process sees; 0 for one outside a sandbox."""
    total = 0
    with contextlib.suppress(OSError, psutil.Error):
        root = f"/proc/{member.pid}/root"
        if os.path.samefile(root, "/"):
            return 0
        for path in SCRATCH:
            found = os.statvfs(f"{root}/{path}")
            total += (found.f_blocks - found.f_bfree) * found.f_frsize
    return total


def data_of(number: int) -> int:
    """Return the bytes of the largest process of a family that RLIMIT_DATA would count."""
    return max([status_bytes(member, "VmData") for member in family(number)], default=0)


def status_bytes(member: psutil.Process, *names: str) -> int:
    """Return the sum of some lines of a process's status; 0 for one that is gone."""
    total = 0
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{member.pid}/status").read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name in names:
                total += int(value.split()[0]) << 10
    return total


def limit_data(number: int, n_bytes: int) -> None:
    """Let no process of a family grow beyond so many bytes, write more than a page of a file, or
    open many files, sockets and pipes, whose buffers are the kernel's memory."""
    for member in family(number):
        with contextlib.suppress(psutil.Error):
            member.rlimit(psutil.RLIMIT_DATA, (n_bytes, n_bytes))
            member.rlimit(psutil.RLIMIT_FSIZE, (4096, 4096))
            member.rlimit(psutil.RLIMIT_NOFILE, (N_FILES_TIGHT, N_FILES_TIGHT))
