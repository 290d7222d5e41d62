"""The stages of the capstone: what each needs, makes and depends on, and how one is run.

A stage reads files that earlier ones wrote, calls functions of the library that the units have
built, and writes files under their final names when they are whole. What it trains goes on from a
checkpoint after a kill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from utils.capstone import aligning, making
from utils.capstone.job import Job
from utils.capstone.params import Params, read_params
from utils.capstone.records import RECORD, Result, is_done, read_json, record_stage
from utils.capstone.sources import files_of, folder_of
from utils.evidence.facts import FOLDER as REPORT
from utils.evidence.facts import STAGES as MEASURED
from utils.evidence.governance import GOVERNANCE
from utils.evidence.pack import FILES, write_pack
from utils.runtime import start
from utils.zoo.files import MODEL, RECIPE, TOKENIZER

MODEL_FILES = (MODEL, TOKENIZER, RECIPE)


@dataclass(frozen=True)
class Stage:
    """What a stage needs and makes: parameters, and files relative to the project."""

    params: tuple[str, ...]
    needs: tuple[str, ...]
    makes: tuple[str, ...]


def files_in(stage: str, names: Iterable[str] = MODEL_FILES) -> tuple[str, ...]:
    """Return files of a stage's folder relative to the project.

    >>> files_in("base", ["model.safetensors"])
    ('base/model.safetensors',)
    """
    return tuple(f"{stage}/{name}" for name in names)


TEXTS = ("documents.jsonl", "held_out.jsonl", "chats.jsonl", "pairs.jsonl", "exam.jsonl")
STAGES = {
    "text": Stage(("domain", "model", "budget", "seed"), (), files_in("text", TEXTS)),
    "base": Stage(
        ("model", "budget", "seed"),
        files_in("text", ("documents.jsonl", "held_out.jsonl")),
        files_in("base"),
    ),
    "sft": Stage(
        ("model", "budget", "seed"), ("text/chats.jsonl", *files_in("base")), files_in("sft")
    ),
    "reward": Stage(
        ("model", "budget", "seed"), ("text/pairs.jsonl", *files_in("sft")), files_in("reward")
    ),
    "align": Stage(
        ("method", "model", "budget", "seed"),
        ("text/pairs.jsonl", *files_in("sft"), *files_in("reward")),
        files_in("align"),
    ),
    "safety": Stage(
        ("model", "budget", "seed"),
        ("text/chats.jsonl", *files_in("align")),
        files_in("safety", ("pairs.jsonl", *MODEL_FILES)),
    ),
    "evaluate": Stage(
        ("model", "budget", "seed"),
        (
            *files_in("text", ("exam.jsonl", "held_out.jsonl")),
            *files_in("base"),
            *files_in("sft"),
            *files_in("safety"),
        ),
        ("evaluate/answers.jsonl",),
    ),
    "report": Stage(
        (),
        (
            GOVERNANCE,
            *(f"{name}/{RECORD}" for name in MEASURED),
            *files_in("text", ("exam.jsonl",)),
            *files_in("safety", ("pairs.jsonl", MODEL, RECIPE)),
            "evaluate/answers.jsonl",
        ),
        files_in(REPORT, FILES),
    ),
}


def report(job: Job) -> Result:
    """Write the evidence pack from the records of all other stages."""
    return Result(write_pack(job.root, job.folder))


# Apart from the report, whose words may change without a new measurement of the models.
MODELLING: dict[str, Callable[[Job], Result]] = {
    "text": making.text,
    "base": making.base,
    "sft": making.sft,
    "reward": making.reward,
    "align": aligning.align,
    "safety": aligning.safety,
    "evaluate": aligning.evaluate,
}
FUNCTIONS = MODELLING | {"report": report}


def run_stage(name: str, root: Path, say: Callable[[str], None] = print) -> dict:
    """Run one stage of a project and return its record, which is written last.

    Raises:
        WrongParams: where a parameter or the raw text can't be used.
        FileNotFoundError: where an earlier stage has not run.
    """
    return run_work(name, root, FUNCTIONS[name], say)


def run_work(
    name: str, root: Path, work: Callable[[Job], Result], say: Callable[[str], None] = print
) -> dict:
    """Do the work of a stage of a project and return its record, as `run_stage` does."""
    root = root.resolve()
    params = read_params(root)
    start(params.seed)
    return record_stage(
        name,
        root,
        params_of(name, params),
        asdict(params.sizes),
        inputs_of(name, root, params),
        [root / path for path in STAGES[name].makes],
        lambda folder: work(Job(root, folder, params)),
        say,
    )


def params_of(name: str, params: Params) -> dict:
    """Return the parameters that a stage depends on."""
    return {key: getattr(params, key) for key in STAGES[name].params}


def inputs_of(name: str, root: Path, params: Params) -> list[Path]:
    """Return the files that a stage reads."""
    if name == "text":
        return files_of(folder_of(root, params))
    return [root / path for path in STAGES[name].needs]


def is_up_to_date(name: str, root: Path, params: Params) -> bool:
    """Return whether a stage was finished with these parameters and inputs, and stands."""
    inputs = inputs_of(name, root, params)
    return is_done(root, name, params_of(name, params), asdict(params.sizes), inputs)


def records_of(root: Path) -> dict[str, dict]:
    """Return the records of the stages that are finished, by name."""
    found = {name: read_json(root / name / RECORD) for name in STAGES}
    return {name: record for name, record in found.items() if record is not None}
