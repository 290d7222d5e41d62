"""An sbatch script that starts a job on several nodes, and again after it was stopped or broke.

SLURM sends SIGTERM before the time is over: the job saves and ends (`utils.parallel.job`), and the
script puts itself back into the queue. The same happens when a process or a node dies.

Source: SLURM's manual pages of sbatch (--signal, --requeue) and scontrol (requeue).
"""

from __future__ import annotations

from utils.parallel.job import PREEMPTED
from utils.parallel.launch.torchrun import ENVIRONMENT, shell, torchrun_command

SCRIPT = """\
#!/bin/bash
{options}
set -u
{environment}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(scontrol show node "$head" | sed -n 's/.*NodeAddr=\\([^ ]*\\).*/\\1/p')
attempt=${{SLURM_RESTART_COUNT:-0}}
echo "attempt $attempt on $SLURM_JOB_NODELIST, first node at $address"

# One task on each node starts its processes; where one of them dies, all tasks end.
srun --kill-on-bad-exit=1 {command}
status=$?

# {preempted} after a SIGTERM, anything else but 0 for what broke: the newest checkpoint is there.
if [ $status -ne 0 ] && [ "$attempt" -lt {max_requeues} ]; then
    echo "attempt $attempt ended with status $status: back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
    sleep 60  # SLURM ends this script when it takes the job back
fi
exit $status
"""
VARIABLES = ("$address", "$SLURM_JOB_ID", "$attempt")


def sbatch_script(
    command: list[str],
    n_nodes: int,
    gpus_per_node: int = 0,
    processes_per_node: int | None = None,
    name: str = "course",
    hours: float = 24.0,
    grace_seconds: int = 120,
    max_requeues: int = 20,
    port: int = 29500,
    cpus_per_task: int | None = None,
    python: str = "python",
    output: str = "%x-%j.log",
) -> str:
    """Return an sbatch script for a command that torchrun starts.

    Args:
        command: what each process runs: a script or `-m module`, and its arguments.
        n_nodes: how many.
        gpus_per_node: to ask for; 0 for a cluster without.
        processes_per_node: None for one for each GPU.
        name: of the job; `output` may use it as %x.
        hours: until SLURM ends an attempt.
        grace_seconds: before that end, in which the job saves.
        max_requeues: attempts after the first.
        port: where the processes meet on the first node.
        cpus_per_task: for the processes of a node together; None leaves it to the cluster.
        python: the interpreter on the nodes.
        output: file for what the job prints; attempts follow each other in it.

    Raises:
        ValueError: where there would be no process on a node, no node or no time.

    >>> print(sbatch_script(["-m", "utils.parallel.job"], 2, 8, name="tiny").splitlines()[1])
    #SBATCH --job-name=tiny
    """
    n_processes = gpus_per_node if processes_per_node is None else processes_per_node
    if n_nodes < 1 or n_processes < 1:
        raise ValueError(
            f"{n_nodes} nodes with {n_processes} processes each: give gpus_per_node or "
            "processes_per_node, at least 1"
        )
    minutes = int(hours * 60)
    if minutes * 60 <= grace_seconds:
        raise ValueError(f"{hours:g} hours leave no time before the {grace_seconds} s for saving")
    asked = {
        "job-name": name,
        "nodes": n_nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": gpus_per_node or None,
        "cpus-per-task": cpus_per_task,
        "time": f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        "signal": f"TERM@{grace_seconds}",
        "requeue": "",
        "open-mode": "append",
        "output": output,
    }
    options = [
        f"#SBATCH --{option}" + (f"={value}" if value != "" else "")
        for option, value in asked.items()
        if value is not None
    ]
    started = torchrun_command(
        command,
        n_processes,
        n_nodes,
        address=f"$address:{port}",
        run_id="$SLURM_JOB_ID.$attempt",
        python=python,
    )
    return SCRIPT.format(
        options="\n".join(options),
        environment="\n".join(f"export {k}={v}" for k, v in ENVIRONMENT.items()),
        command=shell(started, kept=VARIABLES),
        max_requeues=max_requeues,
        preempted=PREEMPTED,
    )
