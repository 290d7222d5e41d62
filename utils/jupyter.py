"""Open the course: copies of the labs under `work/`, then JupyterLab at the first notebook.

A learner's copy is made once and never overwritten; `course reset` makes a fresh one beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import webbrowser
from pathlib import Path

from utils.settings import has_display, project_root, setting
from utils.zoo.real import has_real

FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"
NEWS_EXTENSION = "@jupyterlab/apputils-extension:announcements"


def copy_labs(root: Path | None = None) -> list[Path]:
    """Copy every lab that `work/` lacks from `labs/`; return the new files.

    What stands in `work/` is the learner's and is never touched.
    """
    root = root or project_root()
    work = root / "work"
    work.mkdir(exist_ok=True)
    new = []
    for lab in sorted((root / "labs").glob("*.ipynb")):
        target = work / lab.name
        if not target.exists():
            shutil.copyfile(lab, target)
            new.append(target)
    return new


def reset_lab(number: str, root: Path | None = None) -> Path:
    """Make a fresh copy of lab `number` ("01" or "1") beside the learner's own; return it.

    Raises:
        FileNotFoundError: where the course has no such lab.
    """
    root = root or project_root()
    found = sorted((root / "labs").glob(f"{number.zfill(2)}_*.ipynb"))
    if not found:
        there = ", ".join(p.stem for p in sorted((root / "labs").glob("*.ipynb"))) or "none yet"
        raise FileNotFoundError(f"there is no lab {number!r}; the labs are: {there}")
    work = root / "work"
    work.mkdir(exist_ok=True)
    target, k = work / found[0].name, 1
    while target.exists():
        k += 1
        target = work / f"{found[0].stem}_fresh{k}.ipynb"
    shutil.copyfile(found[0], target)
    return target


def free_port(wanted: int = 8888, tries: int = 50) -> int:
    """Return the first free port of this machine from `wanted` on.

    Raises:
        OSError: where none of `tries` ports is free.
    """
    for port in range(wanted, wanted + tries):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(
        f"ports {wanted} to {wanted + tries - 1} are all in use: stop a server, or name another "
        "with `course lab --port`"
    )


def has_browser() -> bool:
    """Return whether a browser can be opened on this machine."""
    if not has_display():
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def disable_news(prefix: Path | None = None) -> None:
    """Tell this environment's JupyterLab not to ask about news, since the course works offline."""
    folder = (prefix or Path(sys.prefix)) / "etc" / "jupyter" / "labconfig"
    path = folder / "page_config.json"
    if path.exists():
        return  # somebody's own settings, or ours from before
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"disabledExtensions": {NEWS_EXTENSION: True}}) + "\n")
    except OSError as error:
        print(f"JupyterLab may ask about news: {path} can't be written ({error}).")


def lab_command(port: int, browser: bool, root: Path | None = None) -> list[str]:
    """Return the command that starts JupyterLab on `port` at the first notebook."""
    root = root or project_root()
    command = [sys.executable, "-m", "jupyterlab", f"--port={port}", f"--notebook-dir={root}"]
    command += [f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # containers; a learner's own account is not root
    return command


def open_lab(port: int = 8888) -> int:
    """Copy the labs, say where they are, and run JupyterLab until it is stopped."""
    new = copy_labs()
    if new:
        print(f"Your copies of {len(new)} labs are in work/: they stay yours through updates.")
    disable_news()
    chosen, browser = free_port(port), has_browser()
    if chosen != port:
        print(f"Port {port} is in use; taking {chosen}.")
    if not browser:
        print("No browser found: open the URL that is printed below.")
    if setting("COURSE_MODEL") is None and not has_real():
        print("Lectures can show a real model, too: `course model` fetches it once (93 MB).")
    print("Stop with Ctrl-C; your notebooks are saved by JupyterLab as you work.", flush=True)
    try:
        return subprocess.run(lab_command(chosen, browser)).returncode
    except KeyboardInterrupt:
        return 0
