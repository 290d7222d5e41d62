"""A project as a git repository of its own, for DVC's experiments, which are commits beside it.

The repository takes nothing from a person's git settings, and needs no network: it has its own name
and address for commits. Folders of stages stay out of it, since DVC keeps their versions.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from utils.capstone.params import WrongParams
from utils.capstone.sources import OWN_FOLDERS
from utils.settings import environment

IGNORED, ATTRIBUTES = ".gitignore", ".gitattributes"
# Raw text is known by its hash: the same bytes in every copy, whatever a person's core.autocrlf is.
# In a copy, the files that come before this one have been changed by then, and are changed back.
AS_IT_IS = "* -text\n" + "".join(
    f"/{name} text eol=lf\n" for name in (".dvc/*", ".dvcignore", ATTRIBUTES)
)
LOCAL = {  # settings of this repository alone, which DVC reads before a person's own
    "user.name": "capstone",
    "user.email": "capstone@localhost",
    "core.excludesFile": "",  # DVC refuses a graph that git ignores
}


def check_git() -> None:
    """Refuse to go on where there is no git.

    Raises:
        WrongParams: that says what to do.
    """
    if shutil.which("git") is None:
        raise WrongParams(
            "--git needs the program git, and there is none on the PATH: install it "
            "(https://git-scm.com/downloads), or make the project without --git and compare "
            "settings with course capstone run --set and table"
        )


def ignore_text() -> str:
    """Return the text of `.gitignore`: the folders that stages write, runs and DVC's remote.

    >>> ignore_text().splitlines()[1:3]
    ['/text/', '/base/']
    """
    lines = ["# Written by stages and kept by DVC."]
    return "\n".join([*lines, *(f"/{name}/" for name in OWN_FOLDERS)]) + "\n"


def git(root: Path, *words: str) -> str:
    """Run git on the repository of a project, and on no other; return what it printed.

    Raises:
        ChildProcessError: where it fails; the message holds its reason.
    """
    root = root.resolve()
    values = {
        "GIT_DIR": str(root / ".git"),  # a hook of another repository is run with its own
        "GIT_WORK_TREE": str(root),
        "GIT_INDEX_FILE": str(root / ".git" / "index"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    with environment(**values):
        done = subprocess.run(
            ["git", *words], cwd=root, capture_output=True, text=True, encoding="utf-8"
        )
    if done.returncode != 0:
        raise ChildProcessError(
            f"git {words[0]} ended with {done.returncode}: {done.stderr.strip() or 'no reason'}. "
            f"Mend it, remove {root} and make the project again"
        )
    return done.stdout


def init_repository(root: Path) -> None:
    """Make a folder a git repository without commits."""
    git(root, "init", "--quiet")
    for name, value in LOCAL.items():
        git(root, "config", name, value)
    (root / IGNORED).write_bytes(ignore_text().encode("utf-8"))
    (root / ATTRIBUTES).write_bytes(AS_IT_IS.encode("utf-8"))


def first_commit(root: Path, names: Sequence[str]) -> None:
    """Commit files and folders, which DVC's experiments start from."""
    git(root, "add", "--", IGNORED, ATTRIBUTES, *names)
    git(root, "commit", "--quiet", "--message", "Made by course capstone init")
