"""What may cross between a check and a learner's code: plain data and arrays, nothing else.

The same values travel within a notebook and, in the sandboxed grader, over a pipe; so a check never
holds an object of the learner's, whose methods could answer anything.
Plain: None, bool, int, float, str, bytes, list, tuple, dict, NumPy arrays. At the learner's end
arrays are torch tensors. Towards the learner more values may travel, each in place of an object
that is made there: `Seed`, `TableModel`, `SmallModel`, `Weight`, `Once`, `File`, `BFloat16`,
`Merges`, `Limit`, `Judge`, `Largest`, `Lookup`, `StepBatches`, `Linear`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

MAX_DEPTH = 20
SCALARS = (type(None), bool, int, float, str, bytes)


@dataclass(frozen=True)
class Seed:
    """Stands for a `torch.Generator` with a seed."""

    in_words: ClassVar[str] = "a generator"

    number: int

    def build(self) -> torch.Generator:
        """Return the generator."""
        return torch.Generator().manual_seed(self.number)


@dataclass(frozen=True, eq=False)
class TableModel:
    """Stands for a model that looks up its logits: those after token i are row i of `table` (V, V).

    Afterwards its place in `student.arguments_after` holds the shape of each input that it read.
    """

    in_words: ClassVar[str] = "a model"

    table: np.ndarray

    def build(self) -> Table:
        """Return the model."""
        return Table(torch.from_numpy(np.array(self.table)))


class Table:
    """A model token_ids (B, T) -> logits (B, T, V) that looks up each token's row."""

    def __init__(self, table: torch.Tensor):
        self.table = table  # (V, V)
        self.shapes_read: list[tuple[int, ...]] = []

    def __call__(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of the next token at each position.

        Raises:
            TypeError: for token ids of another shape than (B, T).
        """
        if token_ids.dim() != 2:
            raise TypeError(f"the model reads token_ids (B, T), got {tuple(token_ids.shape)}")
        self.shapes_read.append(tuple(token_ids.shape))
        return self.table[token_ids]  # (B, T, V)


@dataclass(frozen=True, eq=False)
class SmallModel:
    """Stands for a real `Decoder` in evaluation mode.

    Afterwards its place in `student.arguments_after` holds the shape of each input that it read.

    Args:
        config: what `TransformerConfig` is made from.
        weights: its state dictionary, as arrays.
    """

    in_words: ClassVar[str] = "a model"

    config: dict
    weights: dict

    def build(self) -> torch.nn.Module:
        """Return the decoder."""
        # By name, since the kits of labs without models don't hold these modules.
        config = importlib.import_module("utils.model.config").TransformerConfig(**self.config)
        model = importlib.import_module("utils.model.decoder").Decoder(config).eval()
        model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in self.weights.items()})
        model.shapes_read = []
        forward = model.forward

        def noted(token_ids: torch.Tensor, *args, **kwargs) -> torch.Tensor:
            model.shapes_read.append(tuple(token_ids.shape))
            return forward(token_ids, *args, **kwargs)

        model.forward = noted  # and no hook, past which `model.forward(token_ids)` would go
        return model


@dataclass(frozen=True, eq=False)
class Lookup:
    """Stands for an `nn.Module` that looks up its logits, and whose weights a check can name.

    The logits after token i are row i of the weight `table` (R, V), to which the weight `bias` (V,)
    is added where there is one; other weights take no part.
    Afterwards its place in `student.arguments_after` holds a dictionary with `weights` and
    `gradients` (None for none) by name, and `is_training`.

    Args:
        weights: name -> value.
        frozen: names of those that do not learn.
        gradients: name -> what is in `grad` before the call.
        is_training: the mode.
    """

    in_words: ClassVar[str] = "a model"

    weights: dict
    frozen: tuple = ()
    gradients: dict | None = None
    is_training: bool = False

    def build(self) -> LookupModule:
        """Return the module."""
        model = LookupModule()
        for name, value in self.weights.items():
            weight = torch.nn.Parameter(torch.from_numpy(np.array(value)), name not in self.frozen)
            if name in (self.gradients or {}):
                weight.grad = torch.from_numpy(np.array(self.gradients[name]))
            model.register_parameter(name, weight)
        return model.train(self.is_training)


class LookupModule(torch.nn.Module):
    """A module token_ids (B, T) -> logits (B, T, V) that looks up each token's row."""

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of the next token at each position.

        Raises:
            TypeError: for token ids of another shape than (B, T).
        """
        if token_ids.dim() != 2:
            raise TypeError(f"the model reads token_ids (B, T), got {tuple(token_ids.shape)}")
        logits = self.table[token_ids]  # (B, T, V)
        return logits + self.bias if "bias" in self._parameters else logits

    def after(self) -> dict:
        """Return its weights, their gradients and its mode."""
        weights = dict(self.named_parameters())
        gradients = {name: weight.grad for name, weight in weights.items()}
        return {"weights": weights, "gradients": gradients, "is_training": self.training}


@dataclass(frozen=True, eq=False)
class StepBatches:
    """Stands for a function from the step's number to its `Batch`, for the first S steps.

    It notices at its next call where a batch that it gave has been changed since, and raises.

    Args:
        token_ids, targets: (S, B, T).
    """

    in_words: ClassVar[str] = "..."

    token_ids: np.ndarray
    targets: np.ndarray

    def build(self) -> object:
        """Return the function."""
        # By name, since the kits of other labs don't hold this module.
        batch = importlib.import_module("utils.tokens.batches").Batch
        steps = [
            batch(torch.from_numpy(np.array(ids)), torch.from_numpy(np.array(targets)))
            for ids, targets in zip(self.token_ids, self.targets, strict=True)
        ]
        first = [batch(*(tensor.clone() for tensor in step)) for step in steps]

        def batches(step: int) -> object:
            for number, pair in enumerate(zip(steps, first, strict=True)):
                if any(not torch.equal(now, before) for now, before in zip(*pair, strict=True)):
                    raise ValueError(f"{CHANGED}: that of step {number}")
            return steps[step]

        return batches


CHANGED = "a batch that `new` or `old` gave was changed in place"


@dataclass(frozen=True, eq=False)
class Weight:
    """Stands for an `nn.Parameter` whose gradient is there (or not, for None).

    Afterwards its place in `student.arguments_after` holds (value, gradient, what the memory of the
    first gradient shows): a gradient that was replaced leaves the last one as it was.
    """

    in_words: ClassVar[str] = "a parameter"

    value: np.ndarray
    gradient: np.ndarray | None

    def build(self) -> torch.nn.Parameter:
        """Return the parameter."""
        parameter = torch.nn.Parameter(torch.from_numpy(np.array(self.value)))
        if self.gradient is not None:
            parameter.grad = torch.from_numpy(np.array(self.gradient))
        parameter.first_gradient = parameter.grad
        return parameter


@dataclass(frozen=True, eq=False)
class Once:
    """Stands for an iterator over items, which can be gone through once: `model.parameters()`.

    Afterwards its place in `student.arguments_after` holds the list of what became of the items.
    """

    in_words: ClassVar[str] = "an iterator"

    items: list

    def build(self) -> Walk:
        """Return the iterator."""
        return Walk(to_learner(list(self.items)))


class Walk:
    """An iterator that remembers its items."""

    def __init__(self, items: list):
        self.items, self.left = items, iter(items)

    def __iter__(self) -> Walk:
        return self

    def __next__(self) -> object:
        return next(self.left)


@dataclass(frozen=True, eq=False)
class BFloat16:
    """Stands for a tensor in bfloat16, which NumPy does not have.

    A result in bfloat16 comes back in float32, where the lower half of each number's bits is 0.
    """

    in_words: ClassVar[str] = "a tensor in bfloat16"

    value: np.ndarray

    def build(self) -> torch.Tensor:
        """Return the tensor."""
        return torch.from_numpy(np.array(self.value)).to(torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Linear:
    """Stands for an `nn.Linear`, or for a layer that holds its weight in another way.

    Args:
        weight: (O, I).
        bias: (O,), or None.
        is_fixed: no nn.Linear: its weight is made afresh whenever it is read, as that of a layer in
            four bits, and can't be written.
    """

    in_words: ClassVar[str] = "a linear layer"

    weight: np.ndarray
    bias: np.ndarray | None = None
    is_fixed: bool = False

    def build(self) -> torch.nn.Module:
        """Return the layer."""
        weight = torch.from_numpy(np.array(self.weight))
        if self.is_fixed:
            return FixedLinear(weight)
        n_outputs, n_inputs = weight.shape
        layer = torch.nn.Linear(n_inputs, n_outputs, self.bias is not None, dtype=weight.dtype)
        with torch.no_grad():
            layer.weight.copy_(weight)
            if self.bias is not None:
                layer.bias.copy_(torch.from_numpy(np.array(self.bias)))
        return layer


class FixedLinear(torch.nn.Module):
    """A linear layer whose weight is read-only."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.register_buffer("kept", weight)

    @property
    def weight(self) -> torch.Tensor:
        """The weight (O, I), made afresh."""
        return self.kept.clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's answer (..., O) to `x` (..., I)."""
        return x @ self.weight.T


@dataclass(frozen=True)
class Merges:
    """Stands for the course's `Tokenizer` with these merges, none for one of bytes."""

    merges: list

    def __repr__(self) -> str:
        return f"Tokenizer({self.merges!r})"

    def build(self) -> object:
        """Return the tokenizer."""
        return importlib.import_module("utils.tokens.tokenizer").Tokenizer(self.merges)


@dataclass(frozen=True)
class Limit:
    """Stands for a function that says whether two texts together have at most `n` characters."""

    in_words: ClassVar[str] = "..."

    n: int

    def build(self) -> Limit:
        """Return the function, which is this very object."""
        return self

    def __call__(self, first: str, second: str) -> bool:
        """Return whether the texts fit."""
        return len(first) + len(second) <= self.n


@dataclass(frozen=True)
class File:
    """Stands for the path of a file in a folder of its own, which is there with a content or not.

    Afterwards, even where the learner's code raised, its place in `student.arguments_after` holds a
    dictionary:

    - content: what is in the file, None where there is none;
    - names: of all that is in the folder, sorted;
    - kept: what a hard link to the first content shows: writing over a file in place changes it,
      replacing the file does not;
    - calls: (name, names in the folder before it, whether the path was there after it) for each
      call of `FILE_CALLS`, in their order.

    Args:
        content: of the file, None for no file.
        blocked: the path is a folder instead, which no file can replace.
        is_text: the learner gets the path as a text.
        in_the_way: a name beside the path under which no file can be opened, though it can be
            removed: a link that leads nowhere (left out where the system allows no links).
    """

    in_words: ClassVar[str] = "a path"

    content: bytes | None = None
    blocked: bool = False
    is_text: bool = False
    in_the_way: str | None = None

    def build(self) -> Path | TextPath:
        """Return the path; the folder goes when the call is over."""
        path = Path(tempfile.mkdtemp()) / "checkpoint"
        if self.blocked:
            (path / "inside").mkdir(parents=True)
        elif self.content is not None:
            path.write_bytes(self.content)
            os.link(path, path.with_name(LINK))
        if self.in_the_way is not None:
            with contextlib.suppress(OSError):
                path.with_name(self.in_the_way).symlink_to(path.parent / "missing" / "file")
        return TextPath(path) if self.is_text else path


class TextPath(str):
    """The path of a `File` as a text."""


TextPath.__name__ = "str"  # as Python's own messages call it


def path_of(argument: object) -> Path | None:
    """Return the path that a `File` stood for; None for any other argument."""
    return Path(argument) if isinstance(argument, Path | TextPath) else None


LINK = "link-to-the-first-content"
FILE_CALLS = (os.fsync, os.replace, os.rename, os.remove, os.unlink)


@dataclass(frozen=True, eq=False)
class Judge:
    """Stands for a judge that looks up its choice between two answers, in the order shown.

    Afterwards its place in `student.arguments_after` holds the pairs that it was asked about.
    """

    in_words: ClassVar[str] = "a judge"

    choices: dict

    def build(self) -> Choices:
        """Return the judge."""
        return Choices(dict(self.choices))


class Choices:
    """A judge that is called with two texts and remembers them."""

    def __init__(self, choices: dict):
        self.choices = choices
        self.asked: list[tuple[str, str]] = []

    def __call__(self, one: str, other: str) -> str:
        """Return the choice between two answers in this order."""
        self.asked.append((one, other))
        return self.choices[one, other]


@dataclass(frozen=True)
class Largest:
    """Stands for a statistic of resamples: the largest value of each row of (R, N)."""

    in_words: ClassVar[str] = "..."

    def build(self) -> Callable:
        """Return the function, which refuses what is no table of numbers."""
        return largest_of_rows


def largest_of_rows(resamples: torch.Tensor) -> torch.Tensor:
    """Return the largest value of each row.

    Raises:
        TypeError: for anything but (R, N).

    >>> largest_of_rows(torch.tensor([[1.0, 2.0]]))
    tensor([2.])
    """
    if not isinstance(resamples, torch.Tensor) or resamples.dim() != 2:
        raise TypeError("the statistic takes all resamples at once, a tensor (R, N)")
    return resamples.amax(dim=-1)


# All but Merges have `in_words`, for messages: a learner's function sees none of these.
STAND_INS = (
    Seed,
    TableModel,
    SmallModel,
    Weight,
    Once,
    File,
    BFloat16,
    Merges,
    Limit,
    Judge,
    Largest,
    Lookup,
    StepBatches,
    Linear,
)


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
    if isinstance(value, STAND_INS):
        return value.build()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    if isinstance(value, list):
        return [to_learner(item) for item in value]
    if isinstance(value, tuple):
        return tuple(to_learner(item) for item in value)
    if isinstance(value, dict):
        return {to_learner(k): to_learner(v) for k, v in value.items()}
    return value


def after_call(argument: object, calls: Mapping[Path, list] | None = None) -> object:
    """Return as plain data what an argument is after a call: of a model, what it has read."""
    if isinstance(argument, LookupModule):
        return to_plain(argument.after())
    if isinstance(argument, Choices):
        return to_plain(argument.asked)
    if isinstance(argument, torch.Generator) or hasattr(argument, "merges"):  # a tokenizer
        return None
    if callable(argument) and not isinstance(argument, Table | torch.nn.Module):
        return None
    if isinstance(argument, torch.nn.Linear | FixedLinear):
        return to_plain(argument.state_dict())
    if isinstance(argument, Table | torch.nn.Module):
        return to_plain(list(argument.shapes_read))
    if isinstance(argument, torch.nn.Parameter):
        return to_plain((argument, argument.grad, argument.first_gradient))
    if (path := path_of(argument)) is not None:
        return after_writing(path) | {"calls": list((calls or {}).get(path, []))}
    if isinstance(argument, Walk):
        return after_call(argument.items)
    if isinstance(argument, list):
        return [after_call(item) for item in argument]
    return to_plain(argument)


def discard_files(arguments: list) -> None:
    """Remove the folders of `File` arguments that are still there."""
    for argument in arguments:
        if (path := path_of(argument)) is not None:
            shutil.rmtree(path.parent, ignore_errors=True)


def names_beside(path: Path) -> list[str]:
    """Return what is in the folder of a `File`, less the link; nothing where the folder is gone."""
    with contextlib.suppress(OSError):
        return sorted({found.name for found in path.parent.iterdir()} - {LINK})
    return []


def after_writing(path: Path) -> dict:
    """Return what is in the folder of a `File`."""
    content, kept = (
        file.read_bytes() if file.is_file() else None for file in (path, path.with_name(LINK))
    )
    return {"content": content, "names": names_beside(path), "kept": kept}


@contextlib.contextmanager
def noting_file_calls(arguments: list) -> Iterator[dict[Path, list]]:
    """Note the calls of `FILE_CALLS` for each `File` among the arguments, while this is active."""
    paths = (path_of(argument) for argument in arguments)
    notes: dict[Path, list] = {path: [] for path in paths if path is not None}
    if not notes:
        yield notes
        return
    before = {}

    def note(frame, event: str, function: object) -> None:
        if not event.startswith("c_") or function not in FILE_CALLS:
            return
        for path in notes:
            if event == "c_call":
                before[path] = names_beside(path)
            else:  # it returned or raised
                notes[path].append((function.__name__, before.get(path, []), path.exists()))

    other = sys.getprofile()
    sys.setprofile(note)
    try:
        yield notes
    finally:
        sys.setprofile(other)


def shared_memory(result: object, arguments: list) -> list[int | None]:
    """Return for each tensor of a result the number of the argument that it is a view of.

    >>> x = torch.ones(3)
    >>> shared_memory((x[:2], x.clone()), [5, x])
    [1, None]
    """
    places = {
        argument.untyped_storage().data_ptr(): number
        for number, argument in enumerate(arguments)
        if isinstance(argument, torch.Tensor)
    }
    items = result if isinstance(result, tuple | list) else [result]
    return [
        places.get(item.untyped_storage().data_ptr())
        for item in items
        if isinstance(item, torch.Tensor)
    ]
