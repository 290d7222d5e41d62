"""A learner's project: a folder with parameters, raw text, and the graph of stages for DVC.

DVC needs no git here: it keeps versions in a folder of the project, and takes the result of a run
that it has seen before from there. In a project that is a git repository (see `repository`) its
experiments work too. Without DVC the stages run in order, and one whose record fits its inputs is
left as it is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from utils.capstone.clusters import ENGINES, run_if_needed
from utils.capstone.models import check_model
from utils.capstone.params import (
    BUDGETS,
    PARAMS,
    WORLDS,
    Params,
    WrongParams,
    params_from,
    params_text,
    read_params,
)
from utils.capstone.records import RECORD, read_json, write_json
from utils.capstone.repository import check_git, first_commit, init_repository
from utils.capstone.sources import files_of, folder_of, write_world
from utils.capstone.stages import STAGES, is_up_to_date, records_of, run_stage
from utils.evidence.facts import FOLDER as REPORT
from utils.evidence.facts import STAGES as MEASURED
from utils.evidence.governance import EXAMPLE, GOVERNANCE
from utils.report.tables import text_table
from utils.settings import environment, project_root
from utils.world.facts import build_world
from utils.zoo.files import write_atomically

GRAPH, SIZES, RUNS, REMOTE = "dvc.yaml", "budgets.yaml", "runs", "store"
DVC_FILES = (".dvcignore", ".dvc/config", ".dvc/.gitignore")
COLUMNS = {  # of the table of runs -> metric of the stage `evaluate`
    "right": "{part}: right, {stage}",
    "made up": "unknown: made up, {stage}",
    "rude": "known: rude, {stage}",
    "words": "known: words, {stage}",
    "bits per byte": "bits per byte, {stage}",
}


EXPERIMENTS = (  # what `dvc exp show` shows of hundreds of columns
    'dvc exp show --drop ".*" '
    '--keep "Exp|method|seed|.*(domain: right|unknown: made up), safety.value"'
)


class StageFailed(RuntimeError):
    """A stage stopped with an error, which it has said itself."""


def graph_text() -> str:
    """Return the text of `dvc.yaml`: each stage with its command, needs, parameters and results.

    >>> print(graph_text().splitlines()[3])
        cmd: python -m utils.capstone text
    """
    lines = ["# Made by course capstone init; `dvc repro` runs what a change makes necessary."]
    lines += ["stages:"]
    for name, stage in STAGES.items():
        needs = ["${domain}"] if name == "text" else list(stage.needs)
        lines += [f"  {name}:", f"    cmd: python -m utils.capstone {name}", "    deps:"]
        lines += [f"      - {path}" for path in needs]
        lines += ["    params:", *(f"      - {key}" for key in stage.params)]
        lines += [f"      - {SIZES}:", "          - ${budget}", "          - course"]
        lines += ["    outs:", *(f"      - {path}" for path in stage.makes)]
        lines += ["    metrics:", f"      - {name}/{RECORD}"]
    return "\n".join(lines) + "\n"


def sizes_text() -> str:
    """Return the text of `budgets.yaml`, by which DVC notices that a budget stands for other sizes.

    >>> [line.partition(":")[0] for line in sizes_text().splitlines()[1:]]
    ['course', 'smoke', 'small', 'full']
    """
    lines = ["# What the budgets stand for; written by course capstone run, and read by DVC alone."]
    lines.append(f"course: {json.dumps(version('llm-workbook'))}")
    lines += [
        f"{name}: {json.dumps({model: asdict(sizes) for model, sizes in of_models.items()})}"
        for name, of_models in BUDGETS.items()
    ]
    return "\n".join(lines) + "\n"


def init_project(root: Path, say: Callable[[str], None] = print, git: bool = False) -> None:
    """Make a project in a new or empty folder.

    Args:
        root: the folder.
        say: told what was made.
        git: make it a git repository of its own, which `dvc exp run` needs.

    Raises:
        WrongParams: where the folder holds other files, or `git` is asked for without git or DVC.
        ChildProcessError: where git fails.
        StageFailed: where DVC fails.
    """
    if git:
        check_git()
        if not has_dvc():
            raise WrongParams(
                "--git is for dvc exp run, and DVC is not installed: install the extra `ops`, or "
                "leave --git out"
            )
    if root.is_file() or root.is_dir() and any(root.iterdir()):
        raise WrongParams(f"{root} is not empty: give the name of a new folder")
    root.mkdir(parents=True, exist_ok=True)
    world = build_world()
    for domain in WORLDS:
        write_world(root / domain, world, domain)
    write_atomically(root / GRAPH, graph_text().encode("utf-8"))
    write_sizes(root)
    write_governance(root)
    if git:
        init_repository(root)
    if has_dvc():
        dvc(root, "init", "--quiet", *([] if git else ["--no-scm"]))
        dvc(root, "remote", "add", "--quiet", "--default", "local", str(Path("..") / REMOTE))
        with open(root / ".dvcignore", "a", encoding="utf-8") as file:
            file.write(f"/{REMOTE}\n/{RUNS}\n")
    write_atomically(root / PARAMS, params_text(Params()).encode("utf-8"))  # last: now it is one
    if git:
        for setting in ("core.analytics", "core.check_update"):  # the learner calls DVC: no network
            dvc(root, "config", "--quiet", setting, "false")
        first_commit(root, [PARAMS, GRAPH, SIZES, GOVERNANCE, *DVC_FILES, *WORLDS])
    say(f"{root} holds {PARAMS}, {GRAPH} and the raw text of {' and '.join(WORLDS)}.")
    if not has_dvc():
        say("DVC is not installed (extra `ops`): the stages will run in order without it.")
    say(f"Run it: course capstone run {root}")
    if git:
        say("Or try settings inside it, each by its name: dvc exp run --temp -n ppo -S method=ppo")
        say(f"Compare them: {EXPERIMENTS}")


def write_sizes(root: Path) -> None:
    """Write what the budgets stand for, which a newer library may have changed."""
    write_atomically(root / SIZES, sizes_text().encode("utf-8"))


def write_governance(root: Path) -> None:
    """Write a file for people's answers to open points, unless it is there."""
    if not (root / GOVERNANCE).exists():
        write_atomically(root / GOVERNANCE, EXAMPLE.encode("utf-8"))


def has_dvc() -> bool:
    """Return whether DVC is installed."""
    return importlib.util.find_spec("dvc") is not None


def dvc(root: Path, *words: str) -> subprocess.CompletedProcess:
    """Run a command of DVC in a project; what it says goes where this process's words go.

    Raises:
        StageFailed: where it fails.
    """
    paths = [str(Path(sys.executable).parent), *os.get_exec_path()]
    values = {
        "PATH": os.pathsep.join(paths),
        "PYTHONPATH": str(project_root()),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(root.resolve() / ".dvc" / "tmp" / "site"),
    }
    sys.stdout.flush()
    with environment(**values):
        done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root)
    if done.returncode != 0:
        raise StageFailed(
            f"dvc {words[0]} ended with {done.returncode}; the reason stands above. Mend it and "
            "run the same command: what is finished is not run again"
        )
    return done


def report_project(root: Path, say: Callable[[str], None] = print) -> Path:
    """Make the evidence pack of a finished run again, and return its folder.

    Raises:
        FileNotFoundError: where a stage has not run.
        WrongParams: where a stage has to run again, since the pack would tell of another run.
        StageFailed: where the stage failed under DVC.
    """
    params = read_params(root)
    records = records_of(root)
    missing = [name for name in MEASURED if name not in records]
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} has not run: course capstone run {root}")
    stale = [name for name in MEASURED if not is_up_to_date(name, root, params)]
    if stale:
        raise WrongParams(
            f"{', '.join(stale)}: parameters, inputs or results have changed since the stage ran; "
            f"course capstone run {root} runs what is needed and makes the pack"
        )
    write_governance(root)
    if has_dvc() and (root / ".dvc").is_dir():
        dvc(root, "repro", "--single-item", "--force", REPORT)
    else:
        run_stage(REPORT, root, say)
    return root / REPORT


def changed(params: Params, changes: Mapping[str, object]) -> Params:
    """Return parameters with some of them changed.

    >>> changed(Params(), {"seed": 3}).seed
    3
    """
    return params_from(asdict(params) | dict(changes))


def read_change(words: str) -> tuple[str, object]:
    """Return the name and the value of "name=value".

    >>> read_change("seed=3")
    ('seed', 3)
    """
    name, sign, value = words.partition("=")
    if not sign:
        raise WrongParams(f"{words!r} is no change: write name=value, such as method=ppo")
    return name.strip(), int(value) if value.strip().isdigit() else value.strip()


def run_project(
    root: Path,
    changes: Mapping[str, object] | None = None,
    say: Callable[[str], None] = print,
    engine: str = "here",
) -> dict:
    """Run all stages that are not up to date, and return the summary of the run, which is kept.

    Args:
        root: a project.
        changes: of parameters; they are written to `params.yaml`.
        say: told what happens.
        engine: "here" (by DVC where it is installed), "slurm" or "ray".

    Raises:
        WrongParams: before the first stage, where a parameter or the raw text can't be used.
        StageFailed: where a stage failed under DVC.
        ClusterFailed: where one failed on a cluster.
    """
    before = read_params(root)
    params = changed(before, changes or {})
    check_model(params.model)
    files_of(folder_of(root, params))
    if params != before:
        write_atomically(root / PARAMS, params_text(params).encode("utf-8"))
    write_sizes(root)
    write_governance(root)
    if engine in ENGINES:
        ENGINES[engine](root, say)
    elif has_dvc() and (root / ".dvc").is_dir():
        dvc(root, "repro")
    else:
        for name in STAGES:
            say(run_if_needed(root, name, say))
    return keep_run(root, params)


def keep_run(root: Path, params: Params) -> dict:
    """Write what a finished run was and reached into `runs/`, named by what decides it."""
    records = records_of(root)
    missing = [name for name in STAGES if name not in records]
    if missing:
        raise FileNotFoundError(f"there is no record of {', '.join(missing)}: run the project")
    summary = {"params": asdict(params), "records": records}
    decides = json.dumps([summary["params"], records["text"]["inputs"]], sort_keys=True)
    name = hashlib.sha256(decides.encode("utf-8")).hexdigest()[:12]
    (root / RUNS).mkdir(exist_ok=True)
    write_json(root / RUNS / f"{name}.json", summary)
    return summary


def runs_table(root: Path) -> str:
    """Return a table of all runs of a project that were finished: settings, results, costs.

    Results are those of the tuned model and of the final one.

    Raises:
        WrongParams: where there is none.
    """
    found = [read_json(path) for path in sorted((root / RUNS).glob("*.json"))]
    runs = [run for run in found if run is not None]
    if not runs:
        raise WrongParams(f"{root} holds no finished run: course capstone run {root}")
    names = ("domain", "model", "method", "budget", "seed")
    runs.sort(key=lambda run: [str(run["params"][name]) for name in names])
    rows = []
    for run in runs:
        metrics = run["records"]["evaluate"]["metrics"]
        part = "domain" if "domain: right, sft" in metrics else "known"
        cells = [
            " > ".join(
                number(metrics[metric.format(part=part, stage=stage)])
                for stage in ("sft", "safety")
            )
            for metric in COLUMNS.values()
        ]
        seconds = sum(record["seconds"] for record in run["records"].values())
        energy = sum(record["energy_wh"]["value"] for record in run["records"].values())
        rows.append(
            [*(run["params"][name] for name in names), *cells, f"{seconds:.0f}", f"{energy:.2f}"]
        )
    return text_table([*names, *COLUMNS, "seconds", "Wh"], rows)


def number(metric: float | dict) -> str:
    """Return a metric in two decimals.

    >>> number({"value": 0.5, "low": 0.25, "high": 0.75})
    '0.50'
    """
    return f"{metric['value'] if isinstance(metric, dict) else metric:.2f}"
