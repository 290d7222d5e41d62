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
    chat.add_argument(
        "--model",
        help="smollm2 (default), base, a folder (of a checkpoint or of a stage of a "
        "capstone project, such as my-project/safety) or a hub id",
    )
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
    align.add_argument("--model", help="base (default): the course's assistant; or smollm2")
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
    plan = commands.add_parser("plan", help="plan a large training run: layout, time, money")
    plan.add_argument("--model", default="llama3-70b", help="of the table (llama3-70b)")
    plan.add_argument("--config", type=Path, help="a config.json instead of a model of the table")
    plan.add_argument("--gpus", type=int, default=512, help="how many (512)")
    plan.add_argument("--gpu", default="h100", help="v100, a100, h100 (default), b200, gb200, ...")
    plan.add_argument("--gpus-per-node", type=int, help="that fast links join; by GPU otherwise")
    plan.add_argument("--network", type=float, help="Gb/s of a GPU between nodes; by GPU otherwise")
    plan.add_argument("--tokens", type=float, default=2e12, help="to train on (2e12)")
    plan.add_argument(
        "--context", dest="context_length", type=int, default=8192, help="of a sequence (8192)"
    )
    plan.add_argument("--batch", type=int, help="sequences of a step (4 million tokens' worth)")
    plan.add_argument("--tp", type=int, help="tensor-parallel ranks; searched for otherwise")
    plan.add_argument("--pp", type=int, help="pipeline stages; searched for otherwise")
    plan.add_argument("--micro-batch", type=int, help="sequences; searched for otherwise")
    plan.add_argument("--precision", choices=("bf16", "fp8"), default="bf16", help="bf16 (default)")
    plan.add_argument(
        "--price", type=float, nargs="+", help="dollars for a GPU-hour, one or a range"
    )
    plan.add_argument(
        "--save-seconds", type=float, default=40.0, help="that a checkpoint takes (40)"
    )
    plan.add_argument("--write", type=Path, help="folder for SLURM, Ray and the other tools' files")
    plan.add_argument("--explain", action="store_true", help="print the arithmetic, with units")
    plan.add_argument("--json", action="store_true", help="print all of it as JSON")
    capstone = commands.add_parser(
        "capstone", help="from raw text to an aligned model with its evidence pack, in stages"
    )
    capstone.add_argument(
        "action", choices=("init", "run", "table", "report", "check", "sign"), help="what to do"
    )
    capstone.add_argument("folder", nargs="?", type=Path, default=Path("."), help="project (.)")
    capstone.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="NAME=VALUE",
        help="for run: change a parameter first, such as method=ppo",
    )
    capstone.add_argument(
        "--on",
        choices=("here", "slurm", "ray"),
        default="here",
        help="for run: stage by stage on this machine (default), a SLURM cluster or Ray",
    )
    capstone.add_argument(
        "--git",
        action="store_true",
        help="for init: a git repository of its own, in which dvc exp run compares settings",
    )
    capstone.add_argument("--name", default="", help="for sign: who signs")
    capstone.add_argument("--role", default="", help="for sign: as what")
    review = commands.add_parser("review", help="grade a design review by its rubric")
    review.add_argument("unit", help="number of the unit, for example 17")
    review.add_argument("answer", nargs="?", type=Path, help="file with the answer to grade")
    review.add_argument("--question", type=int, help="which of the unit's reviews")
    review.add_argument("--samples", action="store_true", help="print graded sample answers")
    review.add_argument(
        "--judge",
        metavar="URL",
        help="a local chat server that proposes points, such as http://127.0.0.1:8080",
    )
    review.add_argument("--model", default="local", help="name that the judge's server knows")
    review.add_argument("--remote", action="store_true", help="the judge may be another machine")
    review.add_argument("--record", action="store_true", help="ask for your points, and keep them")
    book = commands.add_parser("book", help="build a site of all lectures to read, and a PDF")
    book.add_argument("--out", type=Path, help="folder to write to (artifacts/book)")
    book.add_argument("--no-pdf", action="store_true", help="the site alone")
    slides = commands.add_parser("slides", help="make slides of a lecture, for instructors")
    slides.add_argument("number", help="number of the unit, for example 05")
    slides.add_argument("--out", type=Path, help="folder to write to (artifacts/slides)")
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
    grade.add_argument(
        "--projects",
        action="store_true",
        help="for 17_capstone: grade folders of projects by an exam of the class",
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
    if chosen.command == "plan":
        from utils.commands.plan import main as plan

        return plan(chosen)
    if chosen.command == "capstone":
        from utils.commands.capstone import main as capstone

        return capstone(
            chosen.action,
            chosen.folder,
            chosen.changes,
            name=chosen.name,
            role=chosen.role,
            engine=chosen.on,
            git=chosen.git,
        )
    if chosen.command == "review":
        from utils.commands.review import main as review

        return review(
            chosen.unit,
            chosen.answer,
            chosen.question,
            samples=chosen.samples,
            judge=chosen.judge,
            model=chosen.model,
            remote=chosen.remote,
            record=chosen.record,
        )
    if chosen.command == "book":
        from utils.commands.book import book

        return book(chosen.out, not chosen.no_pdf)
    if chosen.command == "slides":
        from utils.commands.book import slides

        return slides(chosen.number, chosen.out)
    if chosen.command == "progress":
        from utils.labs.board import progress_text

        print(progress_text())
        return 0
    if chosen.command == "unit":
        from utils.units import unit_text

        return print_or_say(unit_text, chosen.number)
    if chosen.command == "grade":
        from utils.grading.gradebook import grade_and_report
        from utils.grading.projects import grade_and_report as grade_projects
        from utils.grading.sandbox import Limits

        limits = Limits(
            call_seconds=chosen.call_seconds,
            submission_seconds=chosen.seconds,
            memory_mb=chosen.memory,
        )
        if chosen.projects:
            return grade_projects(
                chosen.submissions,
                chosen.out,
                limits=limits,
                trusted=chosen.trust,
                secret=chosen.secret,
            )
        return grade_and_report(
            chosen.lab,
            chosen.submissions,
            chosen.out,
            limits=limits,
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
