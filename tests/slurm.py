"""A SLURM cluster on this machine: `python -m tests.slurm [--nodes 3] COMMAND ...`.

Starts the daemons of Debian's packages slurmctld, slurmd and munge in a folder of their own, on
the loopback interface, as root, runs the command with SLURM_CONF set, and stops them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

DAEMONS = ("munged", "slurmctld", "slurmd")
INSTALL = "apt-get install slurmctld slurmd slurm-client munge"
START_SECONDS = 30
CONFIGURATION = """\
ClusterName=course
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=1
MessageTimeout=60
BatchStartTimeout=120
SlurmdParameters=config_overrides
{nodes}
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def missing() -> str | None:
    """Return why there can be no cluster on this machine, or None where there can."""
    absent = [name for name in (*DAEMONS, "sbatch") if not shutil.which(name)]
    if absent:
        return f"needs {', '.join(absent)}: {INSTALL}"
    return None if os.geteuid() == 0 else "SLURM's daemons are started by root"


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def cluster(n_cpus: int = 2, n_nodes: int = 1) -> Iterator[dict[str, str]]:
    """Yield the environment in which sbatch finds a cluster; its nodes all share this machine.

    Args:
        n_cpus: that each node says it has.
        n_nodes: named n1, n2 and so on.

    Raises:
        RuntimeError: where the cluster does not start, with what its daemons say.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)  # clients of other users reach munge's socket
        names = [f"n{number}" for number in range(1, n_nodes + 1)]
        for name in ("state", *(f"spool.{name}" for name in names)):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        host = socket.gethostname().split(".")[0]
        memory_mb = (psutil.virtual_memory().total >> 20) // n_nodes
        configuration = CONFIGURATION.format(
            host=host,
            control_port=free_port(),
            folder=folder,
            nodes="\n".join(
                f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} "
                f"CPUs={n_cpus} RealMemory={memory_mb}"
                for name in names
            ),
        )
        (folder / "slurm.conf").write_text(configuration)
        environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
        munge += [f"--socket={folder / 'munge.socket'}", f"--log-file={folder / 'munged.log'}"]
        munge += [f"--pid-file={folder / 'munged.pid'}", f"--seed-file={folder / 'munged.seed'}"]
        commands = [munge, ["slurmctld", "-D", "-c"]]
        commands += [["slurmd", "-D", "-N", name] for name in names]
        started = []
        try:
            for command in commands:
                started.append(
                    subprocess.Popen(
                        command,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )
                if command is munge:
                    wait_for((folder / "munge.socket").exists, folder)
            wait_for(lambda: idle_nodes(environment) == n_nodes, folder)
            yield environment
        finally:
            end_jobs(environment)
            for process in reversed(started):
                process.terminate()
            for process in reversed(started):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
                process.wait()
            kill_survivors(environment)


def end_jobs(environment: dict[str, str], seconds: float = 20.0) -> None:
    """Cancel what still runs, and wait until the nodes are rid of it."""
    subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True)
    deadline = time.monotonic() + seconds
    while said(environment, "squeue", "-h").strip() and time.monotonic() < deadline:
        time.sleep(0.1)


def kill_survivors(environment: dict[str, str]) -> None:
    """End the processes of this cluster's jobs that its daemons left behind."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SLURM_CONF") == environment["SLURM_CONF"]:
                process.kill()


def said(environment: dict[str, str], *command: str) -> str:
    """Return what a command of SLURM's prints."""
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def idle_nodes(environment: dict[str, str]) -> int:
    """Return how many nodes wait for work."""
    return len(said(environment, "sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split())


def story(environment: dict[str, str], job: str) -> str:
    """Return what the cluster says of a job and of its nodes, for a test that waits in vain."""
    control = Path(environment["SLURM_CONF"]).with_name("slurmctld.log")
    return "\n".join(
        (
            said(environment, "scontrol", "show", "job", job),
            said(environment, "sinfo", "-N", "-o", "%N %T %E"),
            control.read_text("utf-8", "replace")[-3000:],
        )
    )


def wait_for(condition, folder: Path) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            logs = [log.read_text("utf-8", "replace")[-500:] for log in folder.glob("*.log")]
            raise RuntimeError("the SLURM cluster does not start:\n" + "\n".join(logs))
        time.sleep(0.1)


def main(arguments: list[str]) -> int:
    """Run a command beside a cluster; return its exit status."""
    if why_not := missing():
        print(why_not, file=sys.stderr)
        return 2
    n_nodes = 1
    if arguments[:1] == ["--nodes"]:
        n_nodes, arguments = int(arguments[1]), arguments[2:]
    with cluster(n_cpus=os.cpu_count() or 2, n_nodes=n_nodes) as environment:
        return subprocess.run(arguments or ["bash"], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
