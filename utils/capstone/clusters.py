"""The same stages on a cluster: a job of SLURM, or a task of Ray, for each of them.

Every machine must see the project's folder and the course under the same path. A stage starts when
those that make what it needs have ended well, and does nothing where its record holds already.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from utils.capstone.params import read_params
from utils.capstone.stages import STAGES, is_up_to_date, run_stage
from utils.ray_cluster import ray_cluster
from utils.settings import project_root

LOGS = "logs"
POLL_SECONDS = 1.0
MEMORY_MB = 4096  # of a job; a stage needs about 1.5 GB
UNDER_WAY = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED")
MAX_TRIES = 3


class ClusterFailed(RuntimeError):
    """A stage failed on a cluster, or a cluster did not take it; the message says what to do."""


def makers_of(name: str) -> list[str]:
    """Return the stages that make what a stage needs.

    >>> makers_of("text"), makers_of("sft")
    ([], ['text', 'base'])
    """
    needs = STAGES[name].needs
    return [
        other
        for other in STAGES
        if other != name and any(path.partition("/")[0] == other for path in needs)
    ]


def run_if_needed(root: Path, name: str, say: Callable[[str], None] = print) -> str:
    """Run a stage where its record does not hold; return in words what was done."""
    if is_up_to_date(name, root, read_params(root)):
        return f"{name}: nothing has changed"
    return f"{name}: {run_stage(name, root, say)['seconds']:.1f} s"


def sbatch_command(root: Path, name: str, after: Mapping[str, str]) -> list[str]:
    """Return the command that hands a stage to SLURM.

    Partition, account and the like come from the environment, as for any job: SBATCH_PARTITION. A
    job whose node dies is put back, and goes on from its last checkpoint.

    Args:
        root: the project.
        name: of the stage.
        after: stage -> number of its job, for all stages before it.

    >>> sbatch_command(Path("/p"), "sft", {"text": "7", "base": "8"})[-3]
    '--dependency=afterok:7:8'
    """
    task = [sys.executable, "-m", "utils.capstone.clusters", str(root), name]
    command = ["sbatch", "--parsable", f"--job-name=capstone-{name}", "--cpus-per-task=1"]
    command += [f"--mem={MEMORY_MB}M", f"--chdir={project_root()}", "--requeue"]
    command += [f"--output={root / LOGS / name}.log", "--open-mode=truncate"]
    command += ["--kill-on-invalid-dep=yes"]
    if waits_for := [after[other] for other in makers_of(name)]:
        command += [f"--dependency=afterok:{':'.join(waits_for)}"]
    return [*command, "--wrap", f"exec {shlex.join(task)}"]


def on_slurm(root: Path, say: Callable[[str], None] = print) -> None:
    """Run all stages as jobs of SLURM and wait for them.

    Raises:
        ClusterFailed: where SLURM is not there, does not take a job, or a stage failed.
    """
    if not shutil.which("sbatch"):
        raise ClusterFailed("there is no sbatch: run this on a login node of a SLURM cluster")
    root = root.resolve()
    (root / LOGS).mkdir(exist_ok=True)
    numbers: dict[str, str] = {}
    try:
        for name in STAGES:
            (root / LOGS / f"{name}.log").unlink(missing_ok=True)
            done = subprocess.run(
                sbatch_command(root, name, numbers), capture_output=True, text=True
            )
            if done.returncode:
                raise ClusterFailed(f"SLURM did not take the stage {name}: {done.stderr.strip()}")
            numbers[name] = done.stdout.strip().partition(";")[0]
        wait_for_jobs(numbers, root, say)
    except BaseException:
        subprocess.run(["scancel", *numbers.values()], capture_output=True)
        raise


def wait_for_jobs(numbers: Mapping[str, str], root: Path, say: Callable[[str], None]) -> None:
    """Wait until every job has ended, and say what each stage said last."""
    waiting = dict(numbers)
    while waiting:
        for name, number in list(waiting.items()):
            told = subprocess.run(
                ["scontrol", "show", "job", number], capture_output=True, text=True
            )
            state = told.stdout.partition("JobState=")[2].partition(" ")[0]
            if state in UNDER_WAY:
                continue
            log = root / LOGS / f"{name}.log"
            said = log.read_text("utf-8", "replace").strip() if log.is_file() else ""
            if state != "COMPLETED":
                raise ClusterFailed(
                    f"the stage {name} ended as {state or 'an unknown job'}; {log} says: "
                    f"{last_line(said) or 'nothing'}. Mend it and run the same command: what is "
                    "finished is not run again"
                )
            say(last_line(said))
            del waiting[name]
        if waiting:
            time.sleep(POLL_SECONDS)


def last_line(text: str) -> str:
    """Return the last line of a text, as progress bars leave it.

    >>> last_line("sft: 10 %\\rsft: 20 %\\nsft: done")
    'sft: done'
    """
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def on_ray(root: Path, say: Callable[[str], None] = print) -> None:
    """Run all stages as tasks of Ray: on the cluster of RAY_ADDRESS, or on one started for this.

    A task whose process dies is started again, and goes on from its last checkpoint.

    Raises:
        ClusterFailed: where a stage failed, or Ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise ClusterFailed("Ray is not installed: python -m utils.bootstrap cluster") from None
    with ray_cluster():

        @ray.remote(num_cpus=1, max_retries=MAX_TRIES - 1)
        def task(folder: str, name: str, *before: str) -> str:
            return run_if_needed(Path(folder), name)

        begun: dict[str, ray.ObjectRef] = {}
        for name in STAGES:
            before = [begun[other] for other in makers_of(name)]
            begun[name] = task.remote(str(root.resolve()), name, *before)
        for name, reference in begun.items():
            try:
                say(ray.get(reference))
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                raise ClusterFailed(f"the stage {name} failed: {last_line(str(cause))}") from None


ENGINES = {"slurm": on_slurm, "ray": on_ray}


def main(arguments: list[str]) -> int:
    """Run a stage of a project where needed, as a job does: `ROOT STAGE`."""
    try:
        print(run_if_needed(Path(arguments[0]), arguments[1]))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"{arguments[1]}: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
