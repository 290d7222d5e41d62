"""A run of all stages in seconds, at the budget of the tests: the model learns next to nothing.

For looking at what a run leaves behind. `course capstone` makes and runs a project that learns.
"""

from __future__ import annotations

from pathlib import Path

from utils.capstone.params import PARAMS, Params, params_text
from utils.capstone.project import write_governance
from utils.capstone.sources import write_world
from utils.capstone.stages import STAGES, is_up_to_date, run_stage
from utils.world.facts import build_world
from utils.zoo.files import write_atomically


def trial_run(root: Path, **values: object) -> list[str]:
    """Run what a change of parameters makes necessary; return the stages that ran, in order.

    Args:
        root: a folder, which becomes a project; a later run in it keeps what is up to date.
        values: of parameters, such as method="grpo"; the rest are the defaults.

    Raises:
        WrongParams: for a parameter that nothing can be done with.
    """
    params = Params(**{"budget": "smoke"} | values)
    if not (root / params.domain).is_dir():
        write_world(root / params.domain, build_world(), params.domain)
    write_atomically(root / PARAMS, params_text(params).encode("utf-8"))
    write_governance(root)
    stale = []
    for name in STAGES:
        if not is_up_to_date(name, root, params):
            run_stage(name, root, say=str)
            stale.append(name)
    return stale


def pipeline_graph() -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return what each stage needs (files and parameters), and what it makes.

    >>> needs, makes = pipeline_graph()
    >>> needs["sft"][:4], makes["evaluate"]
    (('model', 'budget', 'seed', 'text/chats.jsonl'), ('evaluate/answers.jsonl',))
    """
    needs = {name: (*stage.params, *stage.needs) for name, stage in STAGES.items()}
    return needs, {name: stage.makes for name, stage in STAGES.items()}
