"""The command that starts a process for each GPU of a node, and all again when one dies."""

from __future__ import annotations

import shlex

# Without it the addresses of a dead attempt stay in the store that the next one reads, and half of
# the restarts fail once or twice (torch 2.13, gloo).
ENVIRONMENT = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}


def torchrun_command(
    command: list[str],
    n_processes: int,
    n_nodes: int = 1,
    address: str | None = None,
    run_id: str = "job",
    max_restarts: int = 0,
    python: str = "python",
) -> list[str]:
    """Return the words of a torchrun command for one node.

    Args:
        command: what each process runs: a script or `-m module`, and its arguments.
        n_processes: on each node, one for each GPU.
        n_nodes: that meet at `address`.
        address: host:port of the first node; None where there is one node alone.
        run_id: the same on all nodes, another one for each attempt.
        max_restarts: how often all processes are started again after one has died.
        python: the interpreter.

    Raises:
        ValueError: for several nodes without an address, or a number below 1.

    >>> " ".join(torchrun_command(["train.py"], 2))
    'python -m torch.distributed.run --standalone --nproc-per-node=2 --max-restarts=0 train.py'
    """
    if n_processes < 1 or n_nodes < 1:
        raise ValueError(f"{n_nodes} nodes with {n_processes} processes: both must be at least 1")
    if n_nodes > 1 and address is None:
        raise ValueError(f"{n_nodes} nodes need an address (host:port of the first) to meet at")
    words = [python, "-m", "torch.distributed.run"]
    if address is None:
        words.append("--standalone")
    else:
        words += [f"--nnodes={n_nodes}", "--rdzv-backend=c10d"]
        words += [f"--rdzv-id={run_id}", f"--rdzv-endpoint={address}"]
    words += [f"--nproc-per-node={n_processes}", f"--max-restarts={max_restarts}"]
    return words + command


def shell(words: list[str], kept: tuple[str, ...] = ()) -> str:
    """Return words as a line of a shell, quoted, but for the shell's own variables in `kept`.

    >>> shell(["echo", "a b", "$N"], kept=("$N",))
    "echo 'a b' $N"
    """
    return " ".join(w if any(k in w for k in kept) else shlex.quote(w) for w in words)
