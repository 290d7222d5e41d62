"""Check this machine for the course and say how to mend each fault: `python -m utils.doctor`.

A finding is "ok", "note" (the course runs, something is slower or left out) or "fault" (mend it
first), and every fault names its mend. Each check takes what it judges as arguments and reads
nothing itself, so that tests can show it any machine; `examine` gathers the facts.

Nothing is downloaded. The hub is tried only when asked (`--hub`) or where a setting needs it, in
the background and for a few seconds at most: a machine without a network never waits.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import shutil
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from utils.runtime import TIERS, n_threads
from utils.settings import artifacts_dir, data_dir, project_root, setting
from utils.zoo.real import NONE, SOURCES, real_folder

PROJECT = "llm-workbook"
MEMORY_GB = 3.0  # what the largest notebook of the cpu tier may use
DISK_GB = 1.0  # checkpoints and caches of the whole course on the cpu tier
INSTALL = "run `make lab` in the course's folder, which installs what is missing"
CPU_TIER = "unset COURSE_TIER to work on the CPU"

SHOWN = ("torch", "transformers", "tokenizers", "jupyterlab")
OPTIONAL = {"triton": "torch.compile (units 04, 05) is left out"}  # package -> what lacks without
UNWANTED = {  # package -> what goes wrong beside it
    "torchvision": "a build that does not fit torch breaks the import of transformers",
    "torchao": "writes to the error stream at the first model load",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `mend` says what to do and is empty where all is well."""

    name: str
    state: str  # "ok", "note" or "fault"
    detail: str
    mend: str = ""


def check_python(version: str, wanted: str) -> Finding:
    """Judge the version of Python against the declared range.

    >>> check_python("3.9.1", ">=3.11,<3.14").state
    'fault'
    """
    if SpecifierSet(wanted).contains(version):
        return Finding("python", "ok", version)
    mend = f"install a Python in {wanted}, remove .venv and run `make lab`"
    return Finding("python", "fault", f"{version}, the course needs {wanted}", mend)


def check_package(requirement: str, installed: str | None) -> Finding:
    """Judge the installed version of a package against its declared range.

    Args:
        requirement: as in pyproject.toml, for example "torch>=2.11".
        installed: its version, or None where it is missing.

    >>> check_package("torch>=2.11", "2.13.0+cpu")
    Finding(name='torch', state='ok', detail='2.13.0+cpu', mend='')
    """
    wanted = Requirement(requirement)
    if installed is None:
        return Finding(wanted.name, "fault", "missing", INSTALL)
    if wanted.specifier.contains(installed, prereleases=True):
        return Finding(wanted.name, "ok", installed)
    detail = f"{installed}, the course needs {wanted.specifier}"
    return Finding(wanted.name, "fault", detail, f'{INSTALL}, or `pip install "{requirement}"`')


def check_unwanted(name: str, installed: str | None) -> Finding | None:
    """Warn of a package that does harm beside the course's; None where it is not there."""
    if installed is None:
        return None
    detail = f"{installed} is installed: {UNWANTED[name]}"
    return Finding(name, "note", detail, f"if an import fails: `pip uninstall {name}`")


def check_device(tier: str | None, cuda: str | None, cuda_gb: float = 0.0) -> Finding:
    """Judge whether the device that the tier asks for is there.

    Args:
        tier: value of COURSE_TIER, or None for the default.
        cuda: name of the GPU that torch sees, or None.
        cuda_gb: its memory.

    >>> check_device(None, None).detail
    'tier cpu; no CUDA GPU, none is needed'
    """
    name = tier or "cpu"
    if name not in TIERS:
        mend = f"set COURSE_TIER to one of {', '.join(TIERS)}, or unset it for cpu"
        return Finding("device", "fault", f"COURSE_TIER is {name!r}, which is no tier", mend)
    if TIERS[name].device != "cuda":
        gpu = "no CUDA GPU, none is needed" if cuda is None else f"{cuda} is there and idle"
        return Finding("device", "ok", f"tier {name}; {gpu}")
    if cuda is None:
        mend = f"{CPU_TIER}, or install a driver and a CUDA build of torch"
        return Finding("device", "fault", f"tier {name} needs a CUDA GPU, torch sees none", mend)
    if cuda_gb < 15:
        detail = f"tier {name}; {cuda} has {cuda_gb:.0f} GB, the tier is made for 16 GB and up"
        return Finding("device", "note", detail, f"if memory runs out: {CPU_TIER}")
    return Finding("device", "ok", f"tier {name}; {cuda}, {cuda_gb:.0f} GB")


def check_memory(free_gb: float, wanted_gb: float = MEMORY_GB) -> Finding:
    """Judge the memory that is free now.

    >>> check_memory(0.5).state, check_memory(2.0).state, check_memory(8.0).state
    ('fault', 'note', 'ok')
    """
    if free_gb >= wanted_gb:
        return Finding("memory", "ok", f"{free_gb:.1f} GB free")
    detail = f"{free_gb:.1f} GB free, notebooks use up to {wanted_gb:.0f} GB"
    mend = "close other programs, and shut down notebooks that you have finished (Kernel menu)"
    return Finding("memory", "fault" if free_gb < wanted_gb / 2 else "note", detail, mend)


def check_disk(free_gb: float, wanted_gb: float = DISK_GB) -> Finding:
    """Judge the free space where checkpoints and progress are kept."""
    if free_gb >= wanted_gb:
        return Finding("disk", "ok", f"{free_gb:.0f} GB free")
    detail = f"{free_gb:.2f} GB free, checkpoints need {wanted_gb:.0f} GB"
    mend = "free some space, or set COURSE_ARTIFACTS to a folder on another disk"
    return Finding("disk", "fault", detail, mend)


def check_folder(make: Callable[[], Path]) -> Finding:
    """Judge whether the folder for checkpoints and progress can be written; `make` returns it."""
    try:
        folder = make()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0" * 4096)
    except OSError as error:
        reason = error.strerror or str(error)
        mend = "set COURSE_ARTIFACTS to a folder in which you may write"
        return Finding("artifacts", "fault", f"the folder can't be written: {reason}", mend)
    return Finding("artifacts", "ok", "the folder can be written")


def check_threads(make: Callable[[], int], cores: int) -> Finding:
    """Judge how many threads torch may use; `make` reads the setting and returns the number."""
    try:
        wanted = make()
    except ValueError as error:
        return Finding("threads", "fault", str(error), "unset COURSE_THREADS")
    if wanted > cores:
        detail = f"{wanted} threads on {cores} cores: they wait for each other"
        return Finding("threads", "note", detail, f"set COURSE_THREADS to {cores} or fewer")
    return Finding("threads", "ok", f"{wanted} of {cores} cores")


def check_data(find: Callable[[], Path | None]) -> Finding:
    """Judge COURSE_DATA_DIR; `find` returns the folder, None, or raises where it is missing."""
    try:
        folder = find()
    except FileNotFoundError as error:
        mend = "correct COURSE_DATA_DIR, or unset it: no unit needs it on the cpu tier"
        return Finding("data", "fault", str(error), mend)
    if folder is None:
        return Finding("data", "ok", "the course's own world; COURSE_DATA_DIR is not set")
    return Finding("data", "ok", f"COURSE_DATA_DIR holds {len(list(folder.iterdir()))} entries")


def check_model(wanted: str | None, folder: Path | None) -> Finding:
    """Judge whether the real model of the lectures is prepared; it is wanted where it is named."""
    if folder is not None:
        return Finding("real model", "ok", f"{folder.name} is prepared")
    if wanted in (None, NONE):
        return Finding("real model", "ok", "none; `course model` fetches one for the lectures")
    detail = f"COURSE_MODEL names {wanted!r}, which is not prepared"
    return Finding("real model", "note", detail, f"`course model {wanted}`, or unset COURSE_MODEL")


def check_shadow(root: Path) -> Finding:
    """Look for a file that would be imported in place of the course's `utils`."""
    folders = [root / name for name in ("notebooks", "labs", "work", "solutions")]
    found = [f for folder in folders for f in (folder / "utils.py", folder / "utils") if f.exists()]
    if not found:
        return Finding("utils", "ok", "nothing hides the course's library")
    names = ", ".join(f.relative_to(root).as_posix() for f in found)
    detail = f"{names} would be imported in place of the course's utils"
    return Finding("utils", "fault", detail, f"rename {names}")


def check_hub(result: str | None, tried: bool, needed: bool) -> Finding:
    """Judge the answer of the hub.

    Args:
        result: None where it answered, else the reason why it did not.
        tried: whether it was asked at all.
        needed: whether a setting asks for models or data from it.
    """
    if not tried:
        return Finding("hub", "ok", "not tried: the cpu tier needs no network")
    if result is None:
        return Finding("hub", "ok", "answers")
    mend = (
        "give COURSE_MODEL and COURSE_DATA_DIR folders on this machine, or set HF_ENDPOINT to a "
        "mirror; without either, sections on real models are left out"
    )
    return Finding("hub", "fault" if needed else "note", f"does not answer: {result}", mend)


def hub_address() -> str | None:
    """Return the address of the hub as its client is set up, or None where it is set offline."""
    from huggingface_hub import constants  # here: a machine that never asks need not import it

    return None if constants.HF_HUB_OFFLINE else constants.ENDPOINT


def ask_hub(address: str | None, seconds: float = 3.0) -> str | None:
    """Return None where `address` answers within `seconds`, else the reason; never takes longer.

    The request runs in a background thread, since looking up a name has no time limit of its own.

    >>> ask_hub(None)
    'HF_HUB_OFFLINE is set'
    """
    if address is None:
        return "HF_HUB_OFFLINE is set"
    answer: list[str | None] = [f"no answer within {seconds:g} s"]

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds):
                answer[0] = None
        except urllib.error.HTTPError:  # it answered, if only to refuse this request
            answer[0] = None
        except (OSError, ValueError) as error:
            answer[0] = str(getattr(error, "reason", error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0]


def declared_requirements() -> list[str]:
    """Return the packages of the course with their ranges, for this platform, without extras."""
    found = []
    for text in importlib.metadata.requires(PROJECT) or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found.append(f"{requirement.name}{requirement.specifier}")
    return sorted(found)


def declared_python() -> str:
    """Return the range of Python that the course declares; any where it is not installed."""
    try:
        return importlib.metadata.metadata(PROJECT)["Requires-Python"] or ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def installed_version(name: str) -> str | None:
    """Return the version of an installed package, or None; nothing is imported.

    >>> installed_version("no-such-package") is None
    True
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def free_disk_gb() -> float:
    """Return the free space where checkpoints go, in GB."""
    try:
        return shutil.disk_usage(artifacts_dir()).free / 1e9
    except OSError:  # the folder is judged by a check of its own
        return shutil.disk_usage(project_root()).free / 1e9


def free_memory_gb() -> float:
    """Return the memory that can still be used, in GB; a container's own limit counts too."""
    free = psutil.virtual_memory().available
    limit = Path("/sys/fs/cgroup/memory.max")
    used = Path("/sys/fs/cgroup/memory.current")
    try:
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # not Linux, no container, or no limit ("max")
        pass
    return max(0, free) / 1e9


def check_packages(on_gpu: bool = False) -> list[Finding]:
    """Judge every declared package, then those that do harm and, on a GPU, the optional ones."""
    try:
        declared = declared_requirements()
    except importlib.metadata.PackageNotFoundError:
        return [Finding("packages", "fault", "the course is not installed in this Python", INSTALL)]
    found = [check_package(text, installed_version(Requirement(text).name)) for text in declared]
    shown = [f"{f.name} {f.detail}" for f in found if f.state == "ok" and f.name in SHOWN]
    n_well = sum(f.state == "ok" for f in found)
    detail = f"{', '.join(shown)}; {n_well} of {len(found)} are there and in their ranges"
    findings = [Finding("packages", "ok", detail)] + [f for f in found if f.state != "ok"]
    for name, purpose in OPTIONAL.items() if on_gpu else ():
        if installed_version(name) is None:
            findings.append(Finding(name, "note", f"absent: {purpose}", f"`pip install {name}`"))
    unwanted = [check_unwanted(name, installed_version(name)) for name in UNWANTED]
    return findings + [finding for finding in unwanted if finding is not None]


def examine(hub: bool = False) -> list[Finding]:
    """Look at this machine and return what was found.

    Args:
        hub: try the hub even where no setting needs it.
    """
    tier, model = setting("COURSE_TIER"), setting("COURSE_MODEL")
    on_gpu = tier in TIERS and TIERS[tier].device == "cuda"
    needed = on_gpu or (model not in (None, NONE, *SOURCES) and real_folder() is None)
    tried = hub or needed
    cuda, cuda_gb = None, 0.0
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        cuda, cuda_gb = properties.name, properties.total_memory / 1e9
    return [
        check_python(platform.python_version(), declared_python()),
        *check_packages(on_gpu),
        check_device(tier, cuda, cuda_gb),
        check_memory(free_memory_gb()),
        check_disk(free_disk_gb()),
        check_folder(artifacts_dir),
        check_threads(n_threads, psutil.cpu_count() or 1),
        check_data(data_dir),
        check_model(model, real_folder()),
        check_shadow(project_root()),
        check_hub(ask_hub(hub_address()) if tried else None, tried, needed),
    ]


def report(findings: Iterable[Finding]) -> str:
    """Return the findings as text: a line for what is well, then each fault with its mend.

    >>> print(report([check_python("3.11.7", ">=3.11"), check_disk(0.25)]))
    ok     python: 3.11.7
    fault  disk: 0.25 GB free, checkpoints need 1 GB
           mend: free some space, or set COURSE_ARTIFACTS to a folder on another disk
    One fault: mend it before you go on.
    """
    findings = sorted(findings, key=lambda finding: ("ok", "note", "fault").index(finding.state))
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<6} {finding.name}: {finding.detail}")
        if finding.mend:
            lines.append(f"       mend: {finding.mend}")
    n_faults = sum(finding.state == "fault" for finding in findings)
    if n_faults == 0:
        return "\n".join(lines + ["No faults: this machine is ready for the course."])
    what = "One fault: mend it" if n_faults == 1 else f"{n_faults} faults: mend them"
    return "\n".join(lines + [f"{what} before you go on."])


def main(arguments: list[str] | None = None) -> int:
    """Print the report; return 0 where there is no fault, else 1."""
    parser = argparse.ArgumentParser(prog="python -m utils.doctor", description=__doc__)
    parser.add_argument("--hub", action="store_true", help="also try the hub, for 3 s at most")
    chosen = parser.parse_args([] if arguments is None else arguments)
    findings = examine(hub=chosen.hub)
    print(report(findings))
    return int(any(finding.state == "fault" for finding in findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
