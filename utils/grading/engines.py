"""Where submissions are graded: on this machine, on Ray, or as an array job of SLURM.

An engine takes jobs and yields their records as they are done, in any order. A record depends on
its job alone, so all engines give the same records. A worker that dies is replaced, and what it had
not finished is graded again; what no worker survives, `MAX_TRIES` times, is a fault of the grader
and says so.

Every node needs the course at the same version, bubblewrap, and with SLURM the folders of the
submissions and of the grades, on a file system that all share.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import multiprocessing
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path

from utils.grading import grade, kit, sandbox, submission
from utils.grading.grade import FAILED, Job
from utils.grading.records import fingerprint, load_record, record_name, save_record, write_whole
from utils.ray_cluster import ray_cluster
from utils.settings import project_root

MAX_TRIES = 4
SLURM_TASKS = 16
SLURM_MEMORY_MB = 1536  # of a grading process, beside what a submission may use
POLL_SECONDS = 0.5
REFUSED = "refused: "  # how the log of a task begins that can't work on its node
Jobs = dict[str, tuple[Job, str]]  # learner -> job and key


class Refused(RuntimeError):
    """A node can't grade; the text says what to do."""


def require(engine: str, trusted: bool) -> None:
    """Return where an engine can work.

    Raises:
        ValueError: for an engine that is unknown or not installed, with what to do.
        NoSandbox: where this machine has to run learners' code, and has no sandbox.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: choose one of {', '.join(ENGINES)}")
    if engine == "ray":
        try:
            import ray  # noqa: F401
        except ImportError:
            raise ValueError(
                "--engine ray needs Ray: .venv/bin/python -m pip install -c constraints.txt "
                "-e '.[cluster]'"
            ) from None
    if engine == "slurm" and not shutil.which("sbatch"):
        raise ValueError(
            "--engine slurm needs SLURM's sbatch, which is not on PATH here: run the command on a "
            "machine from which you submit jobs to the cluster"
        )
    if engine == "local" and not trusted and (why_not := sandbox.refusal()):
        raise sandbox.NoSandbox(why_not)


def lost(job: Job) -> dict:
    """Return the record of a submission whose grading process died again and again."""
    problem = "the grader itself was stopped"
    return grade.grade_one(replace(job, path=None, problem=problem)) | {"status": FAILED}


def local(waiting: Jobs, n_jobs: int | None, out: Path) -> Iterator[tuple[str, dict]]:
    """Grade in processes of this machine, one for each core but one."""
    n_jobs = n_jobs or max(1, (os.cpu_count() or 2) - 1)
    with tempfile.TemporaryDirectory() as folder:
        jobs = {}
        for learner, (job, _) in waiting.items():
            if not jobs:
                kit.make_kit(job.lab, Path(folder))
            jobs[learner] = replace(job, kit=folder)
        if n_jobs == 1 or len(jobs) <= 1:
            for learner, job in jobs.items():
                yield learner, grade.grade_one(job)
            return
        for _ in range(MAX_TRIES):
            context = multiprocessing.get_context("spawn")
            try:
                with ProcessPoolExecutor(min(n_jobs, len(jobs)), mp_context=context) as pool:
                    futures = {pool.submit(grade.grade_one, job): k for k, job in jobs.items()}
                    for future in as_completed(futures):
                        record = future.result()
                        del jobs[futures[future]]
                        yield futures[future], record
                return
            except BrokenProcessPool:
                continue
        for learner, job in jobs.items():
            yield learner, lost(job)


@functools.cache
def kit_here(lab: str) -> str:
    """Return the lab's kit on this node, made once in a process and removed at its end."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(kit.make_kit(lab, Path(folder)))


def grade_here(job: Job, key: str) -> dict:
    """Grade one submission on another node than the one that sent it.

    Raises:
        Refused: where this node has another version of the course, or no sandbox.
    """
    where = platform.node()
    if not job.trusted and (why_not := sandbox.refusal()):
        raise Refused(f"node {where}: {why_not}")
    if fingerprint(job) != key:
        raise Refused(
            f"node {where} has another version of the course, or the submission of {job.learner} "
            "was changed meanwhile: install the same commit on every node and run it again"
        )
    return grade.grade_one(replace(job, kit=kit_here(job.lab)))


def grade_content(job: Job, key: str, content: bytes) -> dict:
    """Grade a submission that came as bytes, on a node that may not see its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "submission.ipynb"
        path.write_bytes(content)
        return grade_here(replace(job, path=str(path)), key)


def on_ray(waiting: Jobs, n_jobs: int | None, out: Path) -> Iterator[tuple[str, dict]]:
    """Grade on a Ray cluster: that of RAY_ADDRESS, one that runs here, or one started for this.

    That is Ray's own rule; RAY_ADDRESS=local starts one in any case.
    """
    with ray_cluster():
        yield from as_tasks(waiting, n_jobs)


def as_tasks(waiting: Jobs, n_jobs: int | None) -> Iterator[tuple[str, dict]]:
    """Grade each submission as a task of the cluster that Ray is connected to."""
    import ray

    task = ray.remote(num_cpus=1, max_retries=MAX_TRIES - 1)(grade_content)
    at_once = n_jobs or 2 * int(ray.cluster_resources().get("CPU", 1))  # each holds its file
    queue, running = list(waiting.items()), {}
    try:
        while queue or running:
            while queue and len(running) < at_once:
                learner, (job, key) = queue.pop(0)
                try:
                    content = submission.read_bytes(Path(job.path or ""))
                except submission.Unreadable:
                    yield learner, grade.grade_one(job)  # says why; nothing of it is run
                    continue
                running[task.remote(job, key, content)] = learner
            done, _ = ray.wait(list(running), num_returns=1) if running else ([], [])
            for reference in done:
                learner = running.pop(reference)
                try:
                    record = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                except ray.exceptions.RayError:
                    record = lost(waiting[learner][0])
                yield learner, record
    finally:
        for reference in running:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.cancel(reference, force=True)


def on_slurm(waiting: Jobs, n_jobs: int | None, out: Path) -> Iterator[tuple[str, dict]]:
    """Grade as an array job, each task a share of the submissions.

    Partition, account and the like come from the environment, as for any job: SBATCH_PARTITION.
    Tasks write records into `out/slurm/done`, so that nothing is lost when one of them dies.
    """
    folder = (out / "slurm").absolute()
    done = folder / "done"
    done.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # the jobs hold the seed of the class
    left = dict(waiting)
    for learner, (_, key) in waiting.items():  # what an earlier run left, killed on this side
        record = load_record(done, learner, key)
        if record is None:
            (done / f"{record_name(learner)}.json").unlink(missing_ok=True)
        else:
            del left[learner]
            yield learner, record
    for _ in range(MAX_TRIES):
        if left:
            jobs = [{"job": asdict(job), "key": key} for job, key in left.values()]
            write_whole(folder / "jobs.json", json.dumps(jobs))
            for learner, record in run_array(dict(left), n_jobs or SLURM_TASKS, folder):
                del left[learner]
                yield learner, record
    for learner, (job, _) in left.items():
        yield learner, lost(job)
    shutil.rmtree(folder, ignore_errors=True)


def run_array(left: Jobs, n_tasks: int, folder: Path) -> Iterator[tuple[str, dict]]:
    """Run one array job over `folder/jobs.json`; yield records as they appear.

    Raises:
        ValueError: where SLURM does not take the job.
        Refused: where a node can't grade.
    """
    job = next(iter(left.values()))[0]
    command = ["sbatch", "--parsable", "--wait", f"--job-name=grade-{job.lab}"]
    command += [f"--array=0-{min(n_tasks, len(left)) - 1}", "--cpus-per-task=1"]
    command += [f"--mem={job.limits.memory_mb + SLURM_MEMORY_MB}M", f"--chdir={project_root()}"]
    command += [f"--output={folder / '%a.log'}", "--no-requeue", "--wrap"]
    task = [sys.executable, "-m", "utils.grading.engines", str(folder / "jobs.json")]
    command.append(f"exec {shlex.join(task)} $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    for log in folder.glob("*.log"):  # of an earlier round
        log.unlink()
    over = False
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:
        number = process.stdout.readline().strip().split(";")[0]
        try:
            if not number:
                raise ValueError(f"SLURM did not take the job: {process.stderr.read().strip()}")
            while left and not over:
                over = process.poll() is not None  # before looking: then nothing can be missed
                for learner, (_, key) in list(left.items()):
                    record = load_record(folder / "done", learner, key, failed=True)
                    if record is not None:
                        del left[learner]
                        yield learner, record
                if not over:
                    time.sleep(POLL_SECONDS)
        finally:
            if number and left and not over:  # stopped from this side
                subprocess.run(["scancel", number])
            process.terminate()  # it looks for the end of the job ever more seldom
    for log in sorted(folder.glob("*.log")):
        said = log.read_text("utf-8", "replace")
        if REFUSED in said:
            raise Refused(said.split(REFUSED, 1)[1].strip())


def main(arguments: list[str]) -> int:
    """Grade the share of a task of an array job: `FILE NUMBER N_TASKS`, every n-th of the jobs."""
    file, number, n_tasks = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    for entry in json.loads(file.read_text("utf-8"))[number::n_tasks]:
        fields, key = entry["job"], entry["key"]
        limits = sandbox.Limits(**fields.pop("limits"))
        job = Job(**fields | {"only": tuple(fields["only"])}, limits=limits)
        try:
            save_record(file.parent / "done", grade_here(job, key), key)
        except Refused as refused:
            print(f"{REFUSED}{refused}")
            return 1
    return 0


ENGINES = {"local": local, "ray": on_ray, "slurm": on_slurm}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
