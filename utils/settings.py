"""The course's settings and folders: what the environment says, without torch.

The only module that reads the environment. Kept apart from `runtime`, so that commands that need no
tensor start at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETTINGS = {
    "COURSE_TIER": "cpu (default), gpu or full: how much machine a notebook may use",
    "COURSE_MODEL": "real model of the lectures: smollm2 (default), a folder, a hub id, or none",
    "COURSE_DATA_DIR": "folder with real data sets in the hub's columns, instead of the hub",
    "COURSE_ARTIFACTS": "folder for checkpoints and progress (default: artifacts/ of the course)",
    "COURSE_THREADS": "number of CPU threads for torch (default: up to 4)",
}


def setting(name: str) -> str | None:
    """Return the course setting `name` from the environment, or None where it is unset or empty.

    Raises:
        KeyError: for a name that is not a setting of the course.

    >>> setting("COURSE_COLOUR")
    Traceback (most recent call last):
    ...
    KeyError: "no setting 'COURSE_COLOUR'; the settings are COURSE_TIER, COURSE_MODEL, ..."
    """
    if name not in SETTINGS:
        raise KeyError(f"no setting {name!r}; the settings are {', '.join(SETTINGS)}")
    return os.environ.get(name) or None


SECRETS = {"COURSE_SCORER_KEY": "key of a service that scores texts (unit 13)"}


def secret(name: str) -> str | None:
    """Return a key from the environment, or None where it is unset or empty; never print it.

    Raises:
        KeyError: for a name that is no secret of the course.

    >>> secret("COURSE_COLOUR")
    Traceback (most recent call last):
    ...
    KeyError: "no secret 'COURSE_COLOUR'; the secrets are COURSE_SCORER_KEY"
    """
    if name not in SECRETS:
        raise KeyError(f"no secret {name!r}; the secrets are {', '.join(SECRETS)}")
    return os.environ.get(name) or None


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables of the environment for libraries that read no other settings, then undo it.

    >>> with environment(COURSE_TIER="gpu"):
    ...     setting("COURSE_TIER")
    'gpu'
    """
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def notebook_path() -> Path | None:
    """Return the file of the notebook that is running, where Jupyter's server tells it."""
    told = os.environ.get("JPY_SESSION_NAME")
    path = Path(told) if told else None
    return path if path is not None and path.suffix == ".ipynb" and path.is_file() else None


def has_display() -> bool:
    """Return whether this machine has a screen that a browser could open on."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def project_root() -> Path:
    """Return the folder of the course: the one that holds `utils/` and `notebooks/`."""
    return Path(__file__).resolve().parents[1]


def artifacts_dir() -> Path:
    """Return the folder for checkpoints, progress and caches, made if it is missing."""
    wanted = setting("COURSE_ARTIFACTS")
    folder = Path(wanted).expanduser() if wanted else project_root() / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def models_dirs() -> list[Path]:
    """Return the folders where prepared real models are looked for, the one to write to first.

    A run with an artifacts folder of its own still finds what was prepared for the course.
    """
    places = [artifacts_dir() / "models", project_root() / "artifacts" / "models"]
    return list(dict.fromkeys(places))


def data_dir() -> Path | None:
    """Return the folder that COURSE_DATA_DIR names, or None where it is unset.

    Raises:
        FileNotFoundError: where the setting names a folder that is not there.
    """
    wanted = setting("COURSE_DATA_DIR")
    if wanted is None:
        return None
    folder = Path(wanted).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"COURSE_DATA_DIR names {wanted!r}, which is not a folder: correct the setting, "
            "or unset it to use the hub"
        )
    return folder
