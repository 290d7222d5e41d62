"""The state of an optimizer as tensors and plain numbers, as checkpoints hold it.

Left out on purpose: states that are neither, such as closures or nested lists.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from utils.train.same_run import WHAT_TO_DO, refuse_difference


def split_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict]:
    """Return the optimizer's tensors under flat names, and its settings and plain numbers."""
    state = optimizer.state_dict()
    tensors, values = {}, {}
    for index, slots in state["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            elif value is None or isinstance(value, bool | int | float):
                values[f"{index}.{name}"] = value
            else:
                raise TypeError(
                    f"optimizer state {name!r} is a {type(value).__name__}; checkpoints hold "
                    "tensors and numbers: use an optimizer whose state is made of these"
                )
    # Through JSON, so that what is compared on loading has the types that JSON gives back.
    numbers = {"kind": type(optimizer).__name__, "values": values, "groups": state["param_groups"]}
    return tensors, json.loads(json.dumps(numbers))


def check_optimizer(optimizer: torch.optim.Optimizer, numbers: dict, path: Path) -> None:
    """Raise a ValueError where an optimizer or its settings are not those of the run."""
    own = split_optimizer(optimizer)[1]
    if numbers.get("kind", own["kind"]) != own["kind"]:
        raise ValueError(
            f"{path} was written with the optimizer {numbers['kind']}, here it is {own['kind']}: "
            f"{WHAT_TO_DO}"
        )
    for mine, saved in zip(own["groups"], numbers["groups"], strict=False):
        refuse_difference(saved, mine, " in the optimizer", path)
    if len(own["groups"]) != len(numbers["groups"]):
        raise ValueError(
            f"{path} was written with {len(numbers['groups'])} parameter groups, the optimizer "
            f"has {len(own['groups'])}: use the same optimizer, or resume=False to train again"
        )


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], numbers: dict
) -> None:
    """Load the state of the optimizer."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict] = {}
    for flat_name, value in {**tensors, **numbers["values"]}.items():
        index, name = flat_name.split(".", 1)
        like = parameters[int(index)]
        if isinstance(value, Tensor) and value.shape == like.shape:
            # Fused updates walk raw memory: the state must lie as its parameter lies.
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    own_groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": own_groups})
