"""A small training job that any launcher can run, stop, kill and start again.

    torchrun --nproc-per-node 2 -m utils.parallel.job --folder runs/tiny --steps 12

Weights, gradients and optimizer state are sharded over the ranks (FSDP2). The batch of a step is a
function of its number, and each rank takes its rows of it, so that the data stay the same at any
world size. Every few steps all ranks save; a job that starts in a folder goes on from the newest
whole checkpoint there. SIGTERM, which a cluster sends before the time is over, ends the job after
the step at work, with a checkpoint and the status `PREEMPTED`: start it again and it goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.parallel.data_parallel import rows_of_rank
from utils.parallel.reshard import (
    STATE,
    Box,
    Piece,
    checkpoints,
    chunk,
    load_boxes,
    save_pieces,
    with_state,
)
from utils.runtime import progress
from utils.train.checkpoints import CorruptCheckpoint
from utils.train.losses import cross_entropy

PREEMPTED = 75  # exit status "try again later" (EX_TEMPFAIL of sysexits.h)
LOSSES = "losses.jsonl"
DONE = "done.json"


@dataclass(frozen=True)
class JobConfig:
    """What decides the losses of a job, and where it keeps its files.

    `die_at` and `die_rank` are for trying it out: that rank kills itself before that step, once.
    """

    folder: str
    steps: int = 12
    save_every: int = 3
    batch_size: int = 8  # sequences of all ranks together
    n_tokens: int = 32
    d_model: int = 32
    n_layers: int = 2
    vocab_size: int = 64
    learning_rate: float = 3e-3
    seed: int = 0
    pause: float = 0.0  # seconds after each step
    die_at: int | None = None
    die_rank: int = 1
    track: str = ""  # what rank 0 alone logs to, offline: names of TRACKERS, with commas between


class JobError(RuntimeError):
    """The job can't go on; the text says what to do."""


def batch_of(config: JobConfig, step: int) -> tuple[Tensor, Tensor]:
    """Return token_ids and targets (batch_size, n_tokens) of a step, the same on every rank.

    Each row counts on by a step of its own, so the next token can be learned from the last two.

    >>> ids, targets = batch_of(JobConfig(""), 0)
    >>> ids.shape, bool((ids[:, 1:] == targets[:, :-1]).all())
    (torch.Size([8, 32]), True)
    """
    draws = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    start = torch.randint(config.vocab_size, (config.batch_size, 1), generator=draws)
    stride = torch.randint(1, 5, (config.batch_size, 1), generator=draws)
    rows = (start + stride * torch.arange(config.n_tokens + 1)) % config.vocab_size
    return rows[:, :-1], rows[:, 1:]


def train(config: JobConfig) -> str:
    """Train in the process group that stands; return "done" or "preempted".

    Raises:
        ValueError: where the batch can't be shared evenly, or a tracker is unknown.
        JobError: where another job is at work in the folder, it holds another job's run, or a
            tracker is not installed.
    """
    rank, n_ranks = dist.get_rank(), dist.get_world_size()
    if config.batch_size % n_ranks:
        raise ValueError(
            f"a batch of {config.batch_size} sequences can't be shared by {n_ranks} ranks: choose "
            f"a multiple of {n_ranks}, or another number of ranks"
        )
    names = tracker_names(config.track)
    folder = Path(config.folder)
    with only_job(folder), noting_sigterm() as stopped, contextlib.ExitStack() as logs:
        model, optimizer = build(config)
        first = resume(config, model, optimizer)
        log_fns = []
        if rank == 0:  # a run that all ranks log is there as often as there are ranks
            log_fns = [logs.enter_context(TRACKERS[name](config, first)) for name in names]
        steps = range(first, config.steps)
        bar = progress(steps, description="training") if rank == 0 else steps
        for step in bar:
            if step == config.die_at and rank == config.die_rank:
                die_once(folder)
            loss = train_step(config, model, optimizer, step, rank, n_ranks)
            if rank == 0:
                bar.set_postfix_str(f"loss {loss:.3f}")
                note_loss(folder, {"step": step, "loss": loss, "n_ranks": n_ranks})
                for log in log_fns:
                    log({"loss": loss}, step)
            time.sleep(config.pause)
            stop = agreed(bool(stopped))
            is_last = step + 1 == config.steps
            if (step + 1) % config.save_every == 0 or is_last or stop:
                save(config, model, optimizer, step + 1)
            if stop and not is_last:
                return "preempted"
        if rank == 0:
            told = asdict(config) | {"n_ranks": n_ranks, "losses": losses_of(folder)}
            (folder / DONE).write_text(json.dumps(told), encoding="utf-8")
    return "done"


def build(config: JobConfig) -> tuple[Decoder, torch.optim.Optimizer]:
    """Return the model, sharded over all ranks, and its optimizer; the same start on every rank."""
    torch.manual_seed(config.seed)
    model = Decoder(
        TransformerConfig(
            vocab_size=config.vocab_size,
            context_length=config.n_tokens,
            d_model=config.d_model,
            n_layers=config.n_layers,
        )
    )
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(kind)
    mesh = dist.init_device_mesh(kind, (dist.get_world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model, torch.optim.AdamW(model.parameters(), lr=config.learning_rate)


def train_step(
    config: JobConfig,
    model: Decoder,
    optimizer: torch.optim.Optimizer,
    step: int,
    rank: int,
    n_ranks: int,
) -> float:
    """Do one step on this rank's rows; return the loss of the whole batch."""
    device = next(model.parameters()).device
    mine = rows_of_rank(batch_of(config, step), rank, n_ranks)
    ids, targets = (part.to(device) for part in mine)
    loss = cross_entropy(model(ids), targets)
    loss.backward()  # FSDP2 averages the gradients over the ranks
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # by the norm of all shards together
    optimizer.step()
    optimizer.zero_grad()
    total = loss.detach().clone()
    dist.all_reduce(total)
    return total.item() / n_ranks


def pieces_of(model: Decoder, optimizer: torch.optim.Optimizer) -> dict[str, list[Piece]]:
    """Return what this rank holds of weights and optimizer state, with its place in the whole."""
    found = {}
    for name, weight in model.named_parameters():
        held = [weight, *(optimizer.state[weight][key] for key in STATE)]
        for part, tensor in zip(with_state(name), held, strict=True):
            piece = Piece(tensor.to_local(), box_of(weight).offset, tuple(weight.shape))
            found[part] = [piece]
    return found


def box_of(weight: DTensor) -> Box:
    """Return the part of a weight that this rank holds: rows, as FSDP2 cuts them."""
    first, size = chunk(weight.shape[0], dist.get_world_size(), dist.get_rank())
    rest = tuple(weight.shape[1:])
    return Box((first, *(0 for _ in rest)), (size, *rest))


def save(config: JobConfig, model: Decoder, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Save a checkpoint after so many steps, on all ranks together.

    Raises:
        JobError: on every rank, where one of them could not write.
    """
    rank, n_ranks = dist.get_rank(), dist.get_world_size()
    problem: OSError | None = None
    info = {"step": step, "run": run_facts(config)}

    def wait() -> None:
        if agreed(problem is not None):
            raise JobError("a rank could not write its part of the checkpoint")

    folder = Path(config.folder) / f"step-{step:06d}"
    try:
        save_pieces(folder, rank, n_ranks, pieces_of(model, optimizer), info, wait)
    except OSError as error:
        problem = error
        agreed(True)
        raise JobError(f"rank {rank} can't save to {folder}: {error}; older ones stay") from error


def resume(config: JobConfig, model: Decoder, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest whole checkpoint; return the number of finished steps.

    A damaged checkpoint is named and passed over for the one before.

    Raises:
        JobError: where the folder holds a run with other settings.
    """
    for folder in reversed(checkpoints(config.folder)):
        wanted = {}
        for name, weight in model.named_parameters():
            for part in with_state(name):
                wanted[part] = [box_of(weight)]
        try:
            tensors, info = load_boxes(folder, wanted)
        except CorruptCheckpoint as error:
            tensors, info = {}, {}
            print(f"{error}: going on from the checkpoint before", flush=True)
        if agreed(not tensors):
            continue
        if info["run"] != run_facts(config):
            raise JobError(
                f"{config.folder} holds a run with {info['run']}, and this one has "
                f"{run_facts(config)}: choose another folder"
            )
        for name, weight in model.named_parameters():
            weight.data.to_local().copy_(tensors[name][0])
            state = {"step": torch.tensor(float(info["step"]))}
            for key in STATE:
                state[key] = torch.zeros_like(weight.data)
                state[key].to_local().copy_(tensors[f"{name}/{key}"][0])
            optimizer.state[weight] = state
        return info["step"]
    return 0


def run_facts(config: JobConfig) -> dict:
    """Return the settings that decide a run's losses."""
    names = {field.name for field in fields(config)}
    names -= {"folder", "steps", "save_every", "pause", "die_at", "die_rank", "track"}
    return {name: value for name, value in asdict(config).items() if name in names}


def agreed(mine: bool) -> bool:
    """Return whether it is so on any rank; all ranks must ask."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    flag = torch.tensor([int(mine)], device=kind)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


@contextlib.contextmanager
def only_job(folder: Path) -> Iterator[None]:
    """Hold a folder while this job is at work in it; a job that dies lets go.

    Raises:
        JobError: on every rank, where another job holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, is_held = None, False
    if dist.get_rank() == 0 and os.name == "posix":
        import fcntl

        file = open(folder / "job.lock", "w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            is_held = True
    try:
        if agreed(is_held):
            raise JobError(f"another job is at work in {folder}: wait for it, or choose another")
        yield
    finally:
        if file is not None:
            file.close()


@contextlib.contextmanager
def noting_sigterm() -> Iterator[list[int]]:
    """Yield a list that is empty until this process is told to end."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # a worker of Ray's
        yield noted
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGTERM, before)


def die_once(folder: Path) -> None:
    """Kill this process as a broken machine would, unless it has been done in this folder."""
    mark = folder / "killed"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def note_loss(folder: Path, line: dict) -> None:
    """Append a line to the losses; a step that is done again gets another line."""
    with open(folder / LOSSES, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def losses_of(folder: Path | str) -> list[float]:
    """Return the loss of each step, that of the last time where it was done twice."""
    lines = (Path(folder) / LOSSES).read_text(encoding="utf-8").splitlines()
    by_step = {told["step"]: told["loss"] for told in map(json.loads, lines)}
    return [by_step[step] for step in sorted(by_step)]


@contextlib.contextmanager
def logging_to_wandb(config: JobConfig, first: int) -> Iterator[Callable[[dict, int], None]]:
    """Yield what logs the numbers of a step to an offline run of W&B in the job's folder."""
    import wandb

    run = wandb.init(
        project="course",
        mode="offline",  # `wandb sync` sends it, for those who have an account
        dir=config.folder,
        config=asdict(config) | {"first_step": first},
        settings=wandb.Settings(silent=True, console="off"),
    )
    try:
        yield lambda numbers, step: run.log(numbers, step=step)
    finally:
        run.finish()


@contextlib.contextmanager
def logging_to_tensorboard(config: JobConfig, first: int) -> Iterator[Callable[[dict, int], None]]:
    """Yield what logs the numbers of a step to TensorBoard's files in the job's folder.

    What an attempt that died has logged of `first` and later steps is shown no more.
    """
    from torch.utils.tensorboard import SummaryWriter

    folder = Path(config.folder) / "tensorboard"
    with SummaryWriter(folder, purge_step=first) as writer:

        def log(numbers: dict, step: int) -> None:
            for name, value in numbers.items():
                writer.add_scalar(name, value, step)

        yield log


TRACKERS = {"wandb": logging_to_wandb, "tensorboard": logging_to_tensorboard}
EXTRAS = {"wandb": "ops", "tensorboard": "tracking"}


def tracker_names(track: str) -> list[str]:
    """Return the names of what is logged to, each known and installed.

    Raises:
        ValueError: for a name that is none of TRACKERS.
        JobError: for one that is not installed.

    >>> tracker_names("")
    []
    >>> tracker_names("paper")
    Traceback (most recent call last):
    ...
    ValueError: there is no tracker 'paper'; choose among wandb, tensorboard
    """
    names = [name.strip() for name in track.split(",") if name.strip()]
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"there is no tracker {name!r}; choose among {', '.join(TRACKERS)}")
        if importlib.util.find_spec(name) is None:
            raise JobError(
                f"--track {name} needs what is not installed: the extra `{EXTRAS[name]}`"
            )
    return names


def main(arguments: list[str] | None = None) -> int:
    """Run the job as one rank of a launcher's; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for field in fields(JobConfig):
        name = "--" + field.name.replace("_", "-")
        kind = {"folder": str, "die_at": int}.get(field.name, type(field.default))
        required = field.name == "folder"
        parser.add_argument(
            name, type=kind, required=required, default=None if required else field.default
        )
    config = JobConfig(**vars(parser.parse_args(arguments)))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(dist.get_node_local_rank(fallback_rank=0)))
    else:
        torch.set_num_threads(1)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        outcome = train(config)
        dist.barrier()
    except (JobError, ValueError) as error:
        print(f"rank {dist.get_rank()}: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        dist.destroy_process_group()
    return PREEMPTED if outcome == "preempted" else 0


if __name__ == "__main__":
    sys.exit(main())
