"""What may cross between a check and a learner's code: plain data and arrays, nothing else.

The same values travel within a notebook and, in the sandboxed grader, over a pipe; so a check never
holds an object of the learner's, whose methods could answer anything.
Plain: None, bool, int, float, str, bytes, list, tuple, dict, NumPy arrays. At the learner's end
arrays are torch tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

MAX_DEPTH = 20
SCALARS = (type(None), bool, int, float, str, bytes)


class NotPlain(TypeError):
    """A value that may not cross; the message says what to return instead."""


def to_plain(value: object, depth: int = 0) -> object:
    """Return a copy of a learner's value as plain data; tensors become NumPy arrays.

    Raises:
        NotPlain: for any other type, or for data nested too deeply.

    >>> to_plain((torch.ones(2), {"a": 1}))
    (array([1., 1.], dtype=float32), {'a': 1})
    """
    if depth > MAX_DEPTH:
        raise NotPlain(f"the result is nested more than {MAX_DEPTH} levels deep")
    kind = type(value)
    if kind in SCALARS:
        return value
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu().resolve_conj().resolve_neg()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype == object:
            raise NotPlain("the result is a NumPy array of objects; return numbers")
        return np.array(value)
    if isinstance(value, tuple):
        return tuple(to_plain(item, depth + 1) for item in value)
    if kind is list:
        return [to_plain(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {to_plain(k, depth + 1): to_plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, bool | int | float | str | bytes):  # a subclass: its plain value
        base = next(k for k in (bool, int, float, str, bytes) if isinstance(value, k))
        return base(value)
    advice = {"generator": "list(...) of it", "set": "a sorted list", "map": "list(...) of it"}
    wanted = advice.get(kind.__name__, "a tensor, a number, a text, a list, a tuple or a dict")
    raise NotPlain(f"the result is of type {kind.__name__}; return {wanted}")


def to_learner(value: object) -> object:
    """Return a fresh copy of plain data for the learner; arrays become torch tensors.

    >>> to_learner([np.ones(2, np.float32), "a"])
    [tensor([1., 1.]), 'a']
    """
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    if isinstance(value, list):
        return [to_learner(item) for item in value]
    if isinstance(value, tuple):
        return tuple(to_learner(item) for item in value)
    if isinstance(value, dict):
        return {to_learner(k): to_learner(v) for k, v in value.items()}
    return value
