"""A SLURM cluster on this machine: `python -m tests.slurm COMMAND ...`.

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
SlurmdPort={node_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={n_cpus} RealMemory={memory_mb}
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
def cluster(n_cpus: int = 2) -> Iterator[dict[str, str]]:
    """Yield the environment in which sbatch finds a cluster of one node.

    Raises:
        RuntimeError: where the cluster does not start, with what its daemons say.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)  # clients of other users reach munge's socket
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        configuration = CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            control_port=free_port(),
            node_port=free_port(),
            folder=folder,
            n_cpus=n_cpus,
            memory_mb=psutil.virtual_memory().total >> 20,
        )
        (folder / "slurm.conf").write_text(configuration)
        environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
        munge += [f"--socket={folder / 'munge.socket'}", f"--log-file={folder / 'munged.log'}"]
        munge += [f"--pid-file={folder / 'munged.pid'}", f"--seed-file={folder / 'munged.seed'}"]
        commands = [munge, ["slurmctld", "-D", "-c"], ["slurmd", "-D"]]
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
            wait_for(lambda: "idle" in said("sinfo", environment), folder)
            yield environment
        finally:
            for process in reversed(started):
                process.terminate()
            for process in reversed(started):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
                process.wait()


def said(command: str, environment: dict[str, str]) -> str:
    """Return what a command of SLURM's prints."""
    return subprocess.run([command], env=environment, capture_output=True, text=True).stdout


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
    with cluster(n_cpus=os.cpu_count() or 2) as environment:
        return subprocess.run(arguments or ["bash"], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
