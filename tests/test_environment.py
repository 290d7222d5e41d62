"""Pins, ranges and the conda file say the same; a second installation has nothing to do."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from utils import bootstrap
from utils.settings import project_root

ROOT = project_root()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonical(r.name): str(r.specifier).removeprefix("==") for r in found}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*others: str) -> list[Requirement]:
    """Return what the environment of the tests holds, and what other extras add."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [project["optional-dependencies"][name] for name in ("test", "ops", *others)]
    return [Requirement(text) for text in sum(extras, project["dependencies"])]


def test_every_declared_range_admits_its_pin():
    others = ("book", "cluster", "evaluate", "grading", "parallel", "serving", "tracking")
    for requirement in declared(*others):
        pin = pins().get(canonical(requirement.name))
        assert pin is not None, f"{requirement.name} is declared and not pinned"
        assert requirement.specifier.contains(pin), f"{requirement} refuses the pin {pin}"


@pytest.mark.parametrize("name, version", [("torch", "2.11.0"), ("transformers", "5.17.0")])
def test_ranges_admit_the_oldest_releases_that_gpu_machines_have(name, version):
    (requirement,) = [r for r in declared() if r.name == name]
    assert requirement.specifier.contains(version)


def conda_file() -> tuple[list[str], list[str]]:
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [d for d in content["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in content["dependencies"] if isinstance(d, dict)]
    return conda, pip


def test_conda_file_carries_the_same_pins():
    _, pip = conda_file()
    listed = {canonical(r.split("==")[0]): r.split("==")[1] for r in pip if "==" in r}
    assert listed == {name: pins()[name] for name in listed}
    missing = {canonical(r.name) for r in declared()} - set(listed)
    assert not missing, f"environment.yml lacks {sorted(missing)}"
    assert "--editable ." in pip


def test_conda_specs_parse_and_admit_the_supported_pythons():
    from rattler import MatchSpec

    conda, _ = conda_file()
    specs = [MatchSpec(text) for text in conda]
    assert {"python", "pip"} <= {spec.name.normalized for spec in specs}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = next(text for text in conda if text.startswith("python"))
    assert python.split(" ", 1)[1] == project["requires-python"]


@pytest.mark.pinned
def test_the_installed_versions_are_the_pins():
    for requirement in declared():
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        name = canonical(requirement.name)
        installed = importlib.metadata.version(name).split("+")[0]
        assert installed == pins()[name], f"{name} {installed} is installed; run make env"


def test_second_installation_does_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    commands = []

    def pretend(command):
        commands.append(command)
        python = bootstrap.venv_python(tmp_path / ".venv")
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(bootstrap, "run", pretend)
    bootstrap.main()
    assert [c[-1] for c in commands][1:] == ["torch", ".[test,ops]"]
    commands.clear()
    bootstrap.main()
    assert commands == []
    (tmp_path / "constraints.txt").write_text("torch==2.13.1\n")
    bootstrap.main()
    assert [c[-1] for c in commands] == ["torch", ".[test,ops]"]


def test_an_unsupported_python_says_which_versions_would_do(monkeypatch):
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="3.11, 3.12, 3.13"):
        bootstrap.find_interpreter()


def test_a_full_disk_is_said_before_anything_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    usage = type("Usage", (), {"free": 10**9})
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(SystemExit, match="needs 4 GB of disk; 1.0 GB are free"):
        bootstrap.main()


def test_bootstrap_needs_nothing_but_the_standard_library():
    command = [sys.executable, "-S", "-c", "import utils.bootstrap"]
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["grading", "serving", "ragas"])
def test_an_environment_beside_is_made_of_what_is_declared(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    for file in ("pyproject.toml", "constraints.txt"):
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    commands, added = [], getattr(bootstrap, f"add_{name}")

    def pretend(command):
        commands.append(command)
        (tmp_path / ".venv" / name).mkdir(parents=True, exist_ok=True)
        if "pip" in command and not (tmp_path / "online").exists():
            raise SystemExit("no network")

    monkeypatch.setattr(bootstrap, "run", pretend)
    monkeypatch.setattr(bootstrap, "packages_of", lambda venv: str(tmp_path))
    added()
    assert "The course works without" in capsys.readouterr().out and len(commands) == 2
    (tmp_path / "online").touch()
    added()
    added()
    assert len(commands) == 4, "a second time there is nothing to do"
    pip = commands[-1]
    if name == "ragas":
        assert (ROOT / pip[-1]).is_file() and "constraints.txt" not in pip
        assert not (tmp_path / "course.pth").exists(), "its versions are not the course's"
    else:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        listed = map(Requirement, project["optional-dependencies"][name])
        wanted = sorted(requirement.name for requirement in listed)
        assert pip[pip.index("constraints.txt") + 1 :] == wanted
        assert str(tmp_path) in (tmp_path / "course.pth").read_text()


def test_the_environment_of_ragas_is_pinned_whole():
    lines = (ROOT / "tests/ragas.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    assert {"ragas", "langchain-community", "openai"} <= {one.name for one in found}
    assert all(str(one.specifier).startswith("==") for one in found)


@pytest.mark.parametrize("extra", ["book", "cluster", "evaluate", "parallel", "tracking"])
def test_an_extra_is_added_once_and_a_failure_is_no_end(extra, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    (tmp_path / ".venv").mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    commands = []

    def fail(command):
        raise SystemExit("The step above failed")

    add = getattr(bootstrap, f"add_{extra}")
    monkeypatch.setattr(bootstrap, "run", fail)
    add()
    assert "The course works without" in capsys.readouterr().out
    monkeypatch.setattr(bootstrap, "run", commands.append)
    add()
    add()
    assert [command[-1] for command in commands] == [f".[{extra}]"]
    assert commands[0][-4:-2] == ["--constraint", "constraints.txt"]
