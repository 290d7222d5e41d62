"""What a check reads at the learner's side, where the learner's code could change it.

Results are compared outside, so a forged result earns nothing. But what became of an argument,
which memory a result shares, or how often a model was read, is noted in the process that runs the
learner's code. Parts that rest on such a note alone have no weight when graded (`WEIGHTLESS`);
where a note only adds to a result that must be right as well, the instructor's guide lists the
exercise. `python -m utils.grading.unproven` prints that list.
"""

from __future__ import annotations

import ast
import inspect
import textwrap

from utils.labs import checking, run
from utils.labs.checking import Check
from utils.settings import project_root

WEIGHTLESS = {  # (lab, exercise, title of the part) -> what is noted beside the learner's code
    ("04_pretraining", "save_checkpoint", "whole or not at all"): "the order of calls on a file",
    ("05_generation", "generate_batch", "one pass for all rows"): "how often a model was read",
    ("05_generation", "speculative_decode", "passes of the target"): "how often a model was read",
}
NOTED = {  # what a check asks its `student` for -> what that is
    "arguments_after": "what became of the arguments",
    "shared_memory": "which memory a result shares",
    "gradients": "gradients",
}
UNCOUNTED = "counts in the notebook and not here, since it is noted beside your code"


def noted_by(check: Check) -> list[str]:
    """Return which of `NOTED` a check reads, itself or in functions that it calls for it."""
    rooms = {inspect.getmodule(check.run), checking}
    found: set[str] = set()
    waiting, seen = [check.run], set()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        found |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} & set(NOTED)
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - {"_"}  # any check
        ours = [function.__globals__.get(name) for name in sorted(names)]
        waiting += [f for f in ours if inspect.isfunction(f) and inspect.getmodule(f) in rooms]
    return sorted(found)


def guide_lines() -> list[str]:
    """Return the guide's list: the parts without weight, then what else is noted, by exercise."""
    lines = [
        f'- no weight: lab {lab[:2]}, `{exercise}`, "{title}" ({what});'
        for (lab, exercise, title), what in WEIGHTLESS.items()
    ]
    for kind, words in NOTED.items():
        labs = []
        for path in sorted((project_root() / "labs").glob("*.ipynb")):
            checks = run.checks_of(path.stem)
            noted = dict.fromkeys(c.exercise for c in checks if kind in noted_by(c))
            if noted:
                labs.append(f"lab {path.stem[:2]} {', '.join(f'`{e}`' for e in noted)}")
        lines.append(f"- {words}: {'; '.join(labs)}.")
    return lines


if __name__ == "__main__":
    print("\n".join(guide_lines()))
