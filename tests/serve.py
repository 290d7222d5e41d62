"""A chat server on this machine: `transformers serve` with one model, and nothing left afterwards.

The server needs FastAPI, Uvicorn and openai's types, which nothing else of the course does; they
are in the extra `serving`. `make test` puts them into an environment beside the course's.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import requests

from tests.side import python_with
from tests.slurm import free_port

NEEDED = ("fastapi", "uvicorn", "openai")
SECONDS = 180.0  # that a start may take on a busy machine
MISSING = "the server's packages are not installed: python -m utils.bootstrap serving"


def serving_python() -> str | None:
    """Return the interpreter that can serve a model, or None."""
    return python_with("serving", NEEDED)


@contextlib.contextmanager
def served(folder: Path, log: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield the address of a server with one model, and the numbers of its processes.

    Args:
        folder: a checkpoint of Hugging Face's form, with its tokenizer.
        log: gets what the server says, and stays.

    Raises:
        RuntimeError: where it does not start, with the end of its log.
    """
    python, port = serving_python(), free_port()
    if python is None:
        raise RuntimeError(MISSING)
    address = f"http://127.0.0.1:{port}"
    command = [python, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    command += ["--log-level", "info"]
    variables = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with open(log, "wb") as said:
        process = subprocess.Popen(
            command,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    family = [process.pid]
    try:
        end = time.monotonic() + SECONDS
        while not answers(address):
            if process.poll() is not None or time.monotonic() > end:
                told = log.read_text("utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"the server did not start:\n{told}")
            time.sleep(0.2)
        family += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        yield address, family
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for number in family:
            with contextlib.suppress(psutil.Error):
                psutil.Process(number).kill()
        process.wait()


def answers(address: str) -> bool:
    """Return whether a server says that it is there."""
    session = requests.Session()
    session.trust_env = False
    try:
        return session.get(f"{address}/health", timeout=2).ok
    except requests.RequestException:
        return False
