"""Whether constraints.txt fits Windows and macOS, by resolution: nothing is installed.

`python -m tests.wheels` asks uv, which reads the markers of packages as the other system would (pip
takes those of the machine that it runs on). Only wheels count, but for packages that are plain
Python and publish none. It needs the network, and so is no part of `make test`; a weekly job runs
it. Exit status: 0 all there, 1 something is missing, 2 it can't be asked here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[1]
PLATFORMS = {"win_amd64": "x86_64-pc-windows-msvc", "macosx_arm64": "aarch64-apple-darwin"}
# 3.11.9 is the last 3.11 with installers for both systems.
PYTHONS = ("3.11.9", "3.12", "3.13")
MACOS = "14.0"  # the oldest that the pinned bitsandbytes has wheels for
EXTRAS = ("test", "ops")  # what `make lab` installs besides the course itself
PLAIN_PYTHON = ("antlr4-python3-runtime", "rouge-score")
OPEN = ("setuptools",)  # every environment has one already, older or newer
INDEX = "https://pypi.org/simple/pip/"
SECONDS = 300.0


def uv_command() -> list[str] | None:
    """Return how uv is called here, or None where it is not installed."""
    if find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    return [found] if found else None


def why_not() -> str | None:
    """Return why nothing can be resolved here, or None where it can."""
    if uv_command() is None:
        return "needs uv: python -m pip install uv"
    try:
        requests.head(INDEX, timeout=10).raise_for_status()
    except requests.RequestException:
        return "needs the package index, which can't be reached from here"
    return None


def declared() -> list[str]:
    """Return the requirements of the environment that `make lab` makes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return sum((project["optional-dependencies"][name] for name in EXTRAS), project["dependencies"])


def name_of(requirement: str) -> str:
    """Return the normal name of a package in a line such as `Py_Yaml==6.0`.

    >>> name_of("ruamel.yaml==0.18 ; python_version < '3.13'")
    'ruamel-yaml'
    """
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def resolve(
    platform: str, python: str, requirements: list[str] | None = None, constraints: str = ""
) -> list[str]:
    """Return what would be installed, as lines `name==version`.

    Args:
        platform: a key of PLATFORMS.
        python: version.
        requirements: None for those of the course.
        constraints: text of the pins; "" for constraints.txt.

    Raises:
        ValueError: where there is no such set of wheels, with uv's own reason.
    """
    wanted = declared() if requirements is None else requirements
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "requirements.in").write_text("\n".join(wanted) + "\n", encoding="utf-8")
        text = constraints or (ROOT / "constraints.txt").read_text("utf-8")
        (folder / "constraints.txt").write_text(text, encoding="utf-8")
        command = [*uv_command(), "pip", "compile", "--no-config", "--quiet", "--no-header"]
        command += ["--no-annotate", "--python-platform", PLATFORMS[platform]]
        command += ["--python-version", python, "--only-binary", ":all:"]
        for name in PLAIN_PYTHON:
            command += ["--no-binary", name]
        done = subprocess.run(
            [*command, "--constraint", "constraints.txt", "requirements.in"],
            cwd=folder,
            env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": MACOS},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    if done.returncode:
        raise ValueError(f"{platform}, Python {python}: {done.stderr.strip()}")
    return [line.strip() for line in done.stdout.splitlines() if "==" in line]


def unpinned(lines: list[str]) -> list[str]:
    """Return the resolved packages that constraints.txt leaves open."""
    text = (ROOT / "constraints.txt").read_text("utf-8")
    pinned = {name_of(line) for line in text.splitlines() if "==" in line}
    return [line for line in lines if name_of(line) not in pinned.union(OPEN)]


def main() -> int:
    """Resolve for each system and Python, and print a line for each."""
    if reason := why_not():
        print(f"Nothing was checked: it {reason}.", file=sys.stderr)
        return 2
    worst = 0
    for platform in PLATFORMS:
        for python in PYTHONS:
            try:
                found = resolve(platform, python)
            except ValueError as error:
                print(error)
                worst = 1
                continue
            left = unpinned(found)
            told = f"; without a pin: {', '.join(left)}" if left else ", all pinned"
            print(f"{platform}, Python {python}: {len(found)} packages{told}")
            worst = max(worst, int(bool(left)))
    return worst


if __name__ == "__main__":
    sys.exit(main())
