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
import shutil
import struct
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import psutil

MB = 1 << 20
FIRST_USER = 200_000  # users without rights: one for each sandbox, so that they can't meet
INSTALL = "sudo apt-get install bubblewrap util-linux"
# Calls of the kernel that are refused: memory that no limit counts, and what no exercise needs.
# machine: (number of its calling convention, shmget, memfd_create, io_uring_setup, userfaultfd,
# bpf, perf_event_open, add_key, keyctl, memfd_secret)
REFUSED = {
    "x86_64": (0xC000003E, 29, 319, 425, 323, 321, 298, 248, 250, 447),
    "aarch64": (0xC00000B7, 194, 279, 425, 282, 280, 241, 217, 219, 447),
}
OTHER_CONVENTION = 0x40000000  # numbers from here on are the same calls by another name
REFUSE, ALLOW = 0x00050001, 0x7FFF0000  # refuse: "operation not permitted"
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
            command = arguments(Path("/nowhere"), Limits(), 0, file)
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


def call_filter(machine: str) -> bytes:
    """Return the program by which the kernel refuses some calls; empty for an unknown machine.

    An instruction is a code, two distances to jump, for yes and for no, and a number.

    >>> len(call_filter("x86_64")) // 8, call_filter("abacus")
    (16, b'')
    """
    if machine not in REFUSED:
        return b""
    convention, *numbers = REFUSED[machine]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    program = [(load, 0, 0, 4), (equal, 1, 0, convention), (give, 0, 0, REFUSE), (load, 0, 0, 0)]
    tests = [(at_least, OTHER_CONVENTION), *[(equal, number) for number in numbers]]
    for k, (code, number) in enumerate(tests):
        program.append((code, len(tests) - k, 0, number))
    program += [(give, 0, 0, ALLOW), (give, 0, 0, REFUSE)]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


@contextlib.contextmanager
def filter_file():
    """Yield the number of an open file with the kernel's filter, or None where there is none."""
    program = call_filter(platform.machine())
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


def arguments(kit: Path, limits: Limits, number: int, filtered: int | None) -> list[str]:
    """Return the bubblewrap command up to the command that it runs.

    Args:
        kit: folder with the `utils` that a submission may import.
        limits: sizes of the scratch file systems.
        number: of the sandbox, for a user of its own.
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
    for path, size in (("/tmp", limits.scratch_mb), ("/dev/shm", limits.scratch_mb)):
        command += ["--perms", "1777", "--size", str(size * MB), "--tmpfs", path]
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
        user = str(FIRST_USER + number % 60_000)
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
    ):
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))


def start(kit: Path, limits: Limits, number: int, trusted: bool, scratch: Path) -> subprocess.Popen:
    """Start a worker; messages go over its standard input and output.

    Args:
        kit: folder with the `utils` that a submission may import.
        limits: what it may use.
        number: of the sandbox on this machine, for a user of its own.
        trusted: run without a sandbox.
        scratch: folder to run in, where there is no sandbox.

    Raises:
        NoSandbox: where there is none on this machine.
    """
    command = [sys.executable, "-I", "-c", START.format(kit=str(kit))]
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
    with filter_file() as file:
        return subprocess.Popen(
            [*arguments(kit, limits, number, file), *command],
            **pipes,
            cwd="/",
            env=environment(),  # bubblewrap's own can be read from inside, as that of process 1
            start_new_session=True,
            pass_fds=[] if file is None else [file],
            preexec_fn=functools.partial(set_limits, limits, threads_of_user()),
        )


def stop(process: subprocess.Popen) -> None:
    """End a worker with all that it started; a sandbox dies whole with its first process."""
    for member in family(process.pid):
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        pipe.close()


def family(number: int) -> list[psutil.Process]:
    """Return the processes that a process started, and those that they started."""
    try:
        return psutil.Process(number).children(recursive=True)
    except psutil.Error:
        return []


def memory_of(number: int) -> int:
    """Return the bytes that the family of a process holds, files that it has mapped left out.

    Memory that processes share is counted for each of them.
    """
    return sum(status_bytes(member, "RssAnon", "RssShmem") for member in family(number))


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
    """Let no process of a family grow beyond so many bytes, or write more than a page of a file."""
    for member in family(number):
        with contextlib.suppress(psutil.Error):
            member.rlimit(psutil.RLIMIT_DATA, (n_bytes, n_bytes))
            member.rlimit(psutil.RLIMIT_FSIZE, (4096, 4096))
