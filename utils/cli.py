"""The `course` command: open the course, prepare a real model, see progress, find faults, grade.

Each subcommand is one function of `utils`; heavy modules are imported when a command needs them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the parser of the `course` command."""
    top = argparse.ArgumentParser(prog="course", description=__doc__.splitlines()[0])
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    lab = commands.add_parser("lab", help="copy the labs to work/ and open JupyterLab")
    lab.add_argument("--port", type=int, default=8888, help="first port to try (8888)")
    doctor = commands.add_parser("doctor", help="check this machine and say how to mend a fault")
    doctor.add_argument("--hub", action="store_true", help="try to reach the hub as well")
    model = commands.add_parser("model", help="prepare a real model once (93 MB), for the lectures")
    model.add_argument(
        "wanted", nargs="?", default="smollm2", help="smollm2 (default), a folder or a hub id"
    )
    chat = commands.add_parser("chat", help="talk to a model in this terminal")
    chat.add_argument("--model", help="smollm2 (default), base, a folder or a hub id")
    chat.add_argument("--system", help="what the model is told first; the template's own otherwise")
    chat.add_argument("--temperature", type=float, default=0.0, help="0 (default) is greedy")
    chat.add_argument("--top-p", type=float, help="draw from the likeliest that make this share")
    chat.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    tune = commands.add_parser(
        "tune",
        help="tune a model on questions and answers",
        argument_default=argparse.SUPPRESS,  # what is not said is as in `utils.zoo.tuning.Tuning`
    )
    tune.add_argument("--model", help="smollm2 (default), base or a folder")
    tune.add_argument(
        "--data",
        help="medquad (default), legal_plain_english, qiaojin/PubMedQA, world, or a file: on each "
        "line a JSON object with question and answer",
    )
    tune.add_argument("--method", choices=("full", "lora", "qlora"), help="lora (default)")
    tune.add_argument("--tokens", dest="n_tokens", type=int, help="tokens to read (200,000)")
    tune.add_argument(
        "--context", dest="context_length", type=int, help="most tokens of an example (256)"
    )
    tune.add_argument("--batch-size", type=int, help="examples in an update (4)")
    tune.add_argument("--learning-rate", type=float, help="the peak; by method otherwise")
    tune.add_argument("--rank", type=int, help="of the adapters (16)")
    tune.add_argument("--alpha", type=float, help="their scale times the rank (32)")
    tune.add_argument("--seed", type=int, help="of order and adapters (0)")
    tune.add_argument(
        "--out", type=Path, default=None, help="a new folder, or that of a run to go on with"
    )
    align = commands.add_parser(
        "align",
        help="align the assistant with a preference: fewer words, no insults",
        argument_default=argparse.SUPPRESS,  # as in `utils.assistants.alignment.Alignment`
    )
    align.add_argument("--model", help="base (default): the course's assistant")
    align.add_argument("--method", choices=("dpo", "ppo", "grpo"), help="dpo (default)")
    align.add_argument(
        "--prefer", choices=("brevity", "politeness", "all"), help="brevity (default)"
    )
    align.add_argument(
        "--steps", dest="n_steps", type=int, help="updates (dpo: 100) or iterations (40, 30)"
    )
    align.add_argument("--kl", dest="kl_coef", type=float, help="price of a nat in ppo (0.3)")
    align.add_argument(
        "--likelihood", dest="likelihood_coef", type=float, help="beside dpo's loss (1)"
    )
    align.add_argument("--seed", type=int, help="of pairs, draws and order (0)")
    align.add_argument(
        "--out", type=Path, default=None, help="a new folder, or that of a run to go on with"
    )
    commands.add_parser("progress", help="show which exercises are done")
    unit = commands.add_parser("unit", help="list what a unit owns: notebooks, checks, claims")
    unit.add_argument("number", help="number of the unit, for example 05")
    reset = commands.add_parser("reset", help="make a fresh copy of a lab beside your own")
    reset.add_argument("number", help="number of the lab, for example 01")
    grade = commands.add_parser("grade", help="grade submissions to a lab in a sandbox")
    grade.add_argument("lab", help="name of the lab, for example 02_attention")
    grade.add_argument(
        "submissions", nargs="+", type=Path, help="notebooks, or folders of notebooks or learners"
    )
    grade.add_argument("--out", type=Path, required=True, help="folder for grades and feedback")
    grade.add_argument("--secret", type=Path, help="file with the class's secret (one in OUT)")
    grade.add_argument(
        "--engine",
        choices=("local", "ray", "slurm"),
        default="local",
        help="this machine (default), a Ray cluster, or an array job of SLURM",
    )
    grade.add_argument(
        "--jobs",
        type=int,
        help="submissions at once (one per core but one; Ray: all cores; SLURM: 16 tasks)",
    )
    grade.add_argument("--seconds", type=float, default=300.0, help="per submission (300)")
    grade.add_argument("--call-seconds", type=float, default=10.0, help="per call (10)")
    grade.add_argument("--memory", type=int, default=3072, help="MB per submission (3072)")
    grade.add_argument(
        "--trust", action="store_true", help="no sandbox: only for files that you wrote yourself"
    )
    export = commands.add_parser("export-nbgrader", help="write a lab as a release for nbgrader")
    export.add_argument("lab", help="name of the lab, for example 02_attention")
    export.add_argument("--out", type=Path, required=True, help="course folder to write to")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    chosen = parser().parse_args(arguments)
    if chosen.command == "lab":
        from utils.jupyter import open_lab

        return open_lab(chosen.port)
    if chosen.command == "doctor":
        from utils.doctor import main as doctor

        return doctor(["--hub"] if chosen.hub else [])
    if chosen.command == "model":
        from utils.commands.model import main as model

        return model(chosen.wanted)
    if chosen.command == "chat":
        from utils.commands.chat import main as chat

        return chat(chosen.model, chosen.system, chosen.temperature, chosen.top_p, chosen.seed)
    if chosen.command == "tune":
        return tune_from(chosen)
    if chosen.command == "align":
        return align_from(chosen)
    if chosen.command == "progress":
        from utils.labs.board import progress_text

        print(progress_text())
        return 0
    if chosen.command == "unit":
        from utils.units import unit_text

        return print_or_say(unit_text, chosen.number)
    if chosen.command == "grade":
        from utils.grading.gradebook import grade_and_report
        from utils.grading.sandbox import Limits

        return grade_and_report(
            chosen.lab,
            chosen.submissions,
            chosen.out,
            limits=Limits(
                call_seconds=chosen.call_seconds,
                submission_seconds=chosen.seconds,
                memory_mb=chosen.memory,
            ),
            trusted=chosen.trust,
            secret=chosen.secret,
            n_jobs=chosen.jobs,
            engine=chosen.engine,
        )
    if chosen.command == "export-nbgrader":
        from utils.build.export import main as export

        return export(chosen.lab, chosen.out)
    from utils.jupyter import reset_lab

    told = "A fresh copy: {}; your own copies are as they were."
    return print_or_say(lambda number: told.format(reset_lab(number)), chosen.number)


def tune_from(chosen: argparse.Namespace) -> int:
    """Tune as the arguments say; return the exit status."""
    from utils.commands.tune import main as tune
    from utils.zoo.tuning import Tuning

    return run_with(Tuning, tune, chosen)


def align_from(chosen: argparse.Namespace) -> int:
    """Align as the arguments say; return the exit status."""
    from utils.assistants.alignment import Alignment
    from utils.commands.align import main as align

    return run_with(Alignment, align, chosen)


def run_with(kind: type, run, chosen: argparse.Namespace) -> int:
    """Run a command with settings of a kind, made of what was said; return the exit status."""
    try:
        settings = kind(
            **{f.name: getattr(chosen, f.name) for f in fields(kind) if f.name in chosen}
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return run(settings, chosen.out)


def print_or_say(page, number: str) -> int:
    """Print a page about a number; say what there is instead where there is none."""
    try:
        print(page(number))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
