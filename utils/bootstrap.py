"""Make the course's environment: `python3 -m utils.bootstrap`; make lab and make test call it.

Standard library alone, since it runs before anything is installed. Makes `.venv`, installs the
packages of pyproject.toml at the versions of constraints.txt, and writes a stamp, so that a second
run takes a fraction of a second. Changes nothing outside `.venv`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

SUPPORTED = [(3, 13), (3, 12), (3, 11)]
ROOT = Path(__file__).resolve().parents[1]


def venv_python(venv: Path) -> Path:
    """Return the interpreter of a virtual environment, on Windows or elsewhere."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def find_interpreter() -> str:
    """Return a Python that the course supports: this one, or the newest that PATH offers.

    Raises:
        SystemExit: where there is none, with the versions that would do.
    """
    if sys.version_info[:2] in SUPPORTED:
        return sys.executable
    for major, minor in SUPPORTED:
        found = shutil.which(f"python{major}.{minor}")
        if found:
            return found
    wanted = ", ".join(f"{major}.{minor}" for major, minor in reversed(SUPPORTED))
    raise SystemExit(
        f"The course needs Python {wanted}; this is {sys.version.split()[0]} and PATH holds no "
        "other. Install one of them, then run the same command again."
    )


def wanted_stamp(interpreter: str) -> str:
    """Return what the environment should be: a hash of the pins, the ranges and the interpreter."""
    text = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    return hashlib.sha256(text + str(ROOT).encode() + interpreter.encode()).hexdigest()


def run(command: list[str]) -> None:
    """Run one step of the installation; stop with the command where it fails."""
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise SystemExit(
            "\nThe step above failed: " + " ".join(command) + "\nMend what it says (often: no "
            "network, or a full disk) and run the same command again; what is done is kept."
        )


def main() -> None:
    """Bring `.venv` up to date, or say nothing where it already is."""
    venv = ROOT / ".venv"
    stamp = venv / "course-stamp.txt"
    interpreter = find_interpreter()
    wanted = wanted_stamp(interpreter)
    if stamp.is_file() and stamp.read_text() == wanted and venv_python(venv).exists():
        return
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if free_gb < 4:
        raise SystemExit(f"The environment needs 4 GB of disk; {free_gb:.1f} GB are free here.")
    print(f"Making the environment in {venv.name} (once; one to five minutes) ...", flush=True)
    made_by = venv / "course-interpreter.txt"
    if not made_by.is_file() or made_by.read_text() != interpreter:
        run([interpreter, "-m", "venv", "--clear", str(venv)])
        made_by.write_text(interpreter)
    pip = [str(venv_python(venv)), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--constraint", "constraints.txt"]
    run(pip + ["torch"])  # first and alone, so that nothing else can choose its version
    run(pip + ["--editable", ".[test,ops]"])
    stamp.write_text(wanted)
    print("The environment is ready.", flush=True)


def add_grading() -> None:
    """Make `.venv/grading`, where the tests of the export find nbgrader; without it they skip.

    It sees the packages of `.venv` and adds six. In `.venv` itself nbgrader would put menus into
    every learner's JupyterLab, and nearly a second into its start.
    """
    add_beside("grading", ["nbgrader"], "nbgrader")


def add_serving() -> None:
    """Make `.venv/serving`, where a test finds what `transformers serve` needs, or skips.

    It sees the packages of `.venv` and adds five, which no part of the course imports.
    """
    add_beside("serving", ["fastapi", "openai", "uvicorn"], "the packages of a chat server")


def add_ragas() -> None:
    """Make `.venv/ragas`, where a test finds Ragas, or skips.

    It sees nothing of `.venv`: Ragas needs older releases of packages that the course has, too. All
    of its versions are in `tests/ragas.txt`.
    """
    wanted = ["--requirement", "tests/ragas.txt"]
    add_beside("ragas", wanted, "Ragas", sees_course=False)


def add_beside(name: str, wanted: list[str], what: str, sees_course: bool = True) -> None:
    """Make an environment inside `.venv`, once; go on where that fails.

    Args:
        name: of its folder.
        wanted: what pip is asked for.
        what: the same in words.
        sees_course: it sees the packages of `.venv`, and what it adds keeps to constraints.txt.
    """
    course = ROOT / ".venv"
    venv = course / name
    stamp, known = venv / "course-stamp.txt", wanted_stamp(find_interpreter())
    if stamp.is_file() and stamp.read_text() == known:
        return
    print(f"Adding {what} for the tests (once; less than a minute) ...", flush=True)
    pip = [str(venv_python(venv)), "-m", "pip", "install", "--quiet"]
    pip.append("--disable-pip-version-check")
    try:
        run([str(venv_python(course)), "-m", "venv", "--clear", str(venv)])
        if sees_course:
            shared, own = packages_of(course), packages_of(venv)
            Path(own, "course.pth").write_text(f"import site; site.addsitedir({shared!r})\n")
            pip += ["--constraint", "constraints.txt"]
        run([*pip, *wanted])
    except SystemExit as error:
        print(f"{error}\nThe course works without: the tests that need {what} are skipped.")
    else:
        stamp.write_text(known)


def add_book() -> None:
    """Add Sphinx, Typst and reveal.js to `.venv`, for `make book` and its tests."""
    add_extra("book", "the builders of the book")


def add_cluster() -> None:
    """Add Ray to `.venv`, for the tests that grade on it; without it they skip."""
    add_extra("cluster", "Ray")


def add_evaluate() -> None:
    """Add lm-evaluation-harness to `.venv`, for the tests that run it; without it they skip."""
    add_extra("evaluate", "lm-evaluation-harness")


def add_parallel() -> None:
    """Add DeepSpeed and Megatron-Core to `.venv`, for the tests that run them beside the course."""
    add_extra("parallel", "DeepSpeed and Megatron-Core")


def add_tracking() -> None:
    """Add TensorBoard to `.venv`, for the test that logs to it; without it that is skipped."""
    add_extra("tracking", "TensorBoard")


def add_extra(extra: str, what: str) -> None:
    """Add an extra of pyproject.toml to `.venv`, once; go on where that fails."""
    venv = ROOT / ".venv"
    stamp, wanted = venv / f"{extra}-stamp.txt", wanted_stamp(find_interpreter())
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print(f"Adding {what} for the tests (once; less than a minute) ...", flush=True)
    pip = [str(venv_python(venv)), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--constraint", "constraints.txt"]
    try:
        run([*pip, "--editable", f".[{extra}]"])
    except SystemExit as error:
        print(f"{error}\nThe course works without: the tests that need {what} are skipped.")
    else:
        stamp.write_text(wanted)


def packages_of(venv: Path) -> str:
    """Return the folder of a virtual environment's packages."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    told = subprocess.run([str(venv_python(venv)), "-c", code], capture_output=True, text=True)
    return told.stdout.strip()


if __name__ == "__main__":
    main()
    if "book" in sys.argv[1:]:
        add_book()
    if "cluster" in sys.argv[1:]:
        add_cluster()
    if "evaluate" in sys.argv[1:]:
        add_evaluate()
    if "parallel" in sys.argv[1:]:
        add_parallel()
    if "tracking" in sys.argv[1:]:
        add_tracking()
    if "grading" in sys.argv[1:]:
        add_grading()
    if "serving" in sys.argv[1:]:
        add_serving()
    if "ragas" in sys.argv[1:]:
        add_ragas()
