"""What decides a run of the capstone: five lines of `params.yaml`, and what a budget stands for.

A wrong key or value is refused in one sentence before anything is computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path

PARAMS = "params.yaml"
BASE, REAL = MODELS = ("base", "smollm2")
WORLDS = {"clinic": "drug", "contracts": "contract"}  # folder of raw text -> kind of its entities
METHODS = ("ppo", "dpo", "grpo")
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Budget:
    """How much of each thing a run may use.

    Args:
        from_scratch: train the base model and its tokenizer by the recipe of the shipped one;
            otherwise a trained one is trained on, which spares the 3400 steps of the shipped one.
        n_general: documents of the world beside those of the domain, against forgetting.
        most_bytes: of a folder's own text that is learned from; more is thinned out evenly.
        n_chats: general chats beside those of the folder.
        align_steps: updates of DPO, iterations of PPO and GRPO.
        n_prompts: responses drawn in an iteration of PPO and GRPO.
        n_safety: questions from which safety pairs are made.
        n_asked: questions of each split of the exam.
    """

    from_scratch: bool
    n_general: int
    most_bytes: int
    n_chats: int
    base_steps: int
    sft_steps: int
    reward_steps: int
    align_steps: Mapping[str, int]
    n_prompts: int
    n_safety: int
    safety_steps: int
    n_asked: int
    checkpoint_every: int


BUDGETS = {  # budget -> model -> sizes
    # For tests: every stage does its work, and none has learned anything after it.
    "smoke": {
        BASE: Budget(
            from_scratch=False,
            n_general=60,
            most_bytes=60_000,
            n_chats=40,
            base_steps=3,
            sft_steps=3,
            reward_steps=3,
            align_steps={"dpo": 2, "ppo": 1, "grpo": 1},
            n_prompts=8,
            n_safety=16,
            safety_steps=2,
            n_asked=8,
            checkpoint_every=1,
        ),
        REAL: Budget(
            from_scratch=False,
            n_general=60,
            most_bytes=60_000,
            n_chats=40,
            base_steps=2,
            sft_steps=2,
            reward_steps=2,
            align_steps={"dpo": 1, "ppo": 1, "grpo": 1},
            n_prompts=8,
            n_safety=16,
            safety_steps=1,
            n_asked=4,
            checkpoint_every=100,
        ),
    },
    "small": {
        BASE: Budget(
            from_scratch=False,
            n_general=4000,
            most_bytes=1_000_000,
            n_chats=2000,
            base_steps=250,
            sft_steps=240,
            reward_steps=100,
            align_steps={"dpo": 60, "ppo": 8, "grpo": 6},
            n_prompts=32,
            n_safety=160,
            safety_steps=45,
            n_asked=100,
            checkpoint_every=10,
        ),
        REAL: Budget(
            from_scratch=False,
            n_general=500,
            most_bytes=300_000,
            n_chats=500,
            base_steps=240,
            sft_steps=160,
            reward_steps=60,
            align_steps={"dpo": 40, "ppo": 4, "grpo": 4},
            n_prompts=16,
            n_safety=120,
            safety_steps=80,
            n_asked=50,
            checkpoint_every=40,
        ),
    },
    "full": {
        BASE: Budget(
            from_scratch=True,
            n_general=124_000,
            most_bytes=4_000_000,
            n_chats=4800,
            base_steps=4500,  # the shipped recipe's 3400, and a third more for the domain's quarter
            sft_steps=300,
            reward_steps=250,
            align_steps={"dpo": 100, "ppo": 40, "grpo": 30},
            n_prompts=64,
            n_safety=400,
            safety_steps=60,
            n_asked=300,
            checkpoint_every=50,
        ),
        REAL: Budget(
            from_scratch=False,
            n_general=4000,
            most_bytes=4_000_000,
            n_chats=2000,
            base_steps=2000,
            sft_steps=1000,
            reward_steps=400,
            align_steps={"dpo": 200, "ppo": 40, "grpo": 30},
            n_prompts=32,
            n_safety=400,
            safety_steps=160,
            n_asked=300,
            checkpoint_every=200,
        ),
    },
}
OFFERED = ("small", "full")


class WrongParams(ValueError):
    """A line of `params.yaml` that nothing can be done with; the message says which, and why."""


@dataclass(frozen=True)
class Params:
    """All that decides a run.

    Args:
        domain: a folder of raw text, relative to the project or absolute; "clinic" and "contracts"
            are written there when the project is made.
        method: of alignment: "ppo", "dpo" or "grpo".
        model: that the run begins from: "base", the course's own, or "smollm2", the real one, which
            knows nothing of the course's world but what the run teaches it.
        budget: "small" or "full" ("smoke" is for tests).
        seed: of order, draws and new weights.

    >>> Params(method="dpoo")
    Traceback (most recent call last):
    ...
    utils.capstone.params.WrongParams: method: 'dpoo' is none of ppo, dpo, grpo (dpo is closest)
    """

    domain: str = "clinic"
    method: str = "dpo"
    model: str = BASE
    budget: str = "small"
    seed: int = 0

    def __post_init__(self):
        for name in ("domain", "method", "model", "budget"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise WrongParams(
                    f"{name} must be text, got {value!r}: YAML takes yes, no and numbers for "
                    "something else, so put quotes around it"
                )
        check_choice("method", self.method, METHODS)
        check_choice("budget", self.budget, OFFERED, also=("smoke",))
        check_choice("model", self.model, MODELS)
        seed = self.seed
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= LARGEST_SEED:
            raise WrongParams(f"seed must be a whole number from 0 to {LARGEST_SEED}, got {seed!r}")

    @property
    def sizes(self) -> Budget:
        """What the budget stands for, for this model."""
        return BUDGETS[self.budget][self.model]


def check_choice(
    name: str, value: str, choices: tuple[str, ...], also: tuple[str, ...] = ()
) -> None:
    """Refuse a value that is not among some choices, and name the closest one."""
    if value not in choices + also:
        raise WrongParams(
            f"{name}: {value!r} is none of {', '.join(choices)}{closest(value, choices)}"
        )


def closest(value: str, choices: Sequence[str]) -> str:
    """Return a hint at the choice that is spelt most like a value, or nothing.

    >>> closest("dpoo", ["ppo", "dpo"]), closest("x", ["ppo"])
    (' (dpo is closest)', '')
    """
    near = get_close_matches(value, choices, 1)
    return f" ({near[0]} is closest)" if near else ""


def params_from(found: object) -> Params:
    """Return the parameters that a mapping holds; each must be there, and no other.

    >>> params_from({"metod": "dpo"})
    Traceback (most recent call last):
    ...
    utils.capstone.params.WrongParams: 'metod' is no parameter (method is closest): ...
    """
    names = [field.name for field in fields(Params)]
    if not isinstance(found, dict):
        raise WrongParams(
            f"{PARAMS} must hold lines such as 'method: dpo' for {', '.join(names)}, and it holds "
            f"{'nothing' if found is None else type(found).__name__}"
        )
    for key in found:
        if key not in names:
            raise WrongParams(
                f"{key!r} is no parameter{closest(str(key), names)}: the parameters are "
                f"{', '.join(names)}"
            )
    for name in names:
        if name not in found:
            raise WrongParams(
                f"{PARAMS} has no line for {name}: add '{name}: {getattr(Params, name)}'"
            )
    return Params(**found)


def read_params(root: Path) -> Params:
    """Return the parameters of a project.

    Raises:
        WrongParams: for a file that is missing or no YAML, a wrong key or a wrong value.
    """
    import yaml

    path = root / PARAMS
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WrongParams(
            f"{path} is missing: course capstone init FOLDER makes a project, and its commands run "
            "inside it"
        ) from None
    except UnicodeDecodeError as error:
        raise WrongParams(f"{path} is not UTF-8 text (byte {error.start})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise WrongParams(
            f"{path} can't be read as YAML{where}: write 'name: value' lines"
        ) from None
    return params_from(found)


def params_text(params: Params) -> str:
    """Return the text of `params.yaml`.

    >>> print(params_text(Params()).splitlines()[1])
    domain: "clinic"
    """
    told = {
        "domain": "clinic, contracts, or a folder with your own text",
        "method": "ppo, dpo or grpo",
        "model": "base, the course's own, or smollm2, the real one (course model prepares it)",
        "budget": "small (minutes) or full (the base model from scratch)",
        "seed": "of order, draws and new weights",
    }
    return "".join(
        f"# {told[name]}\n{name}: {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in asdict(params).items()
    )
