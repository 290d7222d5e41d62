"""LoRA: a frozen matrix and, beside it, a product of two thin ones that learns.

The layer gives W x + (alpha / rank) B A x. B starts at zero, so that a fresh adapter changes
nothing. `add_lora` puts such layers into a decoder and freezes the rest.

Left out on purpose: dropout, biases, a rank of its own for each layer, DoRA.

Shapes: I inputs, O outputs, R rank. Source: Hu et al. 2021, "LoRA", section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ATTENTION = ("attention.qkv", "attention.output")
FEED_FORWARD = ("feed_forward.gate_up", "feed_forward.down")
ALL_LAYERS = ATTENTION + FEED_FORWARD


class LoRALinear(nn.Module):
    """A linear layer that is frozen, with a low-rank update that learns.

    Args:
        linear: the layer to adapt, with weight (O, I); its bias, if any, stays as it is. Usually an
            nn.Linear; a layer in four bits has the same `weight`, `in_features`, `out_features`.
        rank: R, at least 1 and at most the smaller of I and O.
        alpha: the update is scaled by alpha / rank.

    Attributes:
        linear: the layer that was given; its own parameters don't learn any more.
        down: nn.Parameter (R, I), the paper's A; it starts as the weight of an nn.Linear(I, R).
        up: nn.Parameter (O, R), the paper's B; it starts at zero.
        scale: the float alpha / rank.
        is_merged: whether the update is in the weight of `linear` at present; False at the start.

    `down` and `up` have the dtype and the device of the layer's weight.

    Raises:
        ValueError: where the rank does not fit the matrix, or alpha is not above 0.

    >>> layer = LoRALinear(nn.Linear(4, 3, bias=False), rank=2, alpha=4)
    >>> x = torch.ones(1, 4)
    >>> torch.equal(layer(x), layer.linear(x)), layer.down.shape, layer.up.shape
    (True, torch.Size([2, 4]), torch.Size([3, 2]))

    Source: Hu et al. 2021, "LoRA", equation 3.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float):
        super().__init__()
        n_outputs, n_inputs = linear.out_features, linear.in_features
        if not 1 <= rank <= min(n_outputs, n_inputs):
            raise ValueError(
                f"rank must be from 1 to {min(n_outputs, n_inputs)} for a matrix of {n_outputs} "
                f"by {n_inputs}, got {rank}"
            )
        if not alpha > 0:
            raise ValueError(f"alpha must be above 0, got {alpha}: 0 would switch the update off")
        self.linear = linear.requires_grad_(False)
        self.scale = alpha / rank
        weight = linear.weight  # of four-bit layers, the floats that their codes stand for
        like = {"device": weight.device, "dtype": weight.dtype}
        self.down = nn.Parameter(torch.empty(rank, n_inputs, **like))  # (R, I)
        self.up = nn.Parameter(torch.zeros(n_outputs, rank, **like))  # (O, R)
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # what nn.Linear starts with
        self.is_merged = False

    def update(self) -> Tensor:
        """Return what the adapter adds to the weight: scale * up @ down, (O, I)."""
        return self.scale * (self.up @ self.down)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's answer (..., O) to `x` (..., I), the update included once.

        That is linear(x), bias included, plus scale times (x through `down`, then through `up`);
        where the update is merged, linear(x) alone.
        """
        if self.is_merged:
            return self.linear(x)
        return self.linear(x) + self.scale * F.linear(F.linear(x, self.down), self.up)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the update to the weight of `linear` in place: the layer then costs what it did.

        `down` and `up` stay as they are.

        Raises:
            ValueError: where it is merged already, or `linear` is no nn.Linear, such as a layer in
                four bits, whose weight can't be written.
        """
        if self.is_merged:
            raise ValueError("the update is merged already: adding it twice would double it")
        if not isinstance(self.linear, nn.Linear):
            raise ValueError(
                "the weight is held in four bits, whose steps are larger than the update: make "
                "floats of it first (`floats_of`), and merge into those"
            )
        self.linear.weight += self.update().to(self.linear.weight.dtype)
        self.is_merged = True

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the update out of the weight again, up to rounding.

        Raises:
            ValueError: where it is not merged.
        """
        if not self.is_merged:
            raise ValueError("the update is not merged: there is nothing to take out")
        self.linear.weight -= self.update().to(self.linear.weight.dtype)
        self.is_merged = False


def add_lora(
    model: nn.Module,
    rank: int,
    alpha: float,
    *,
    targets: Sequence[str] = ALL_LAYERS,
    also_train: Sequence[str] = (),
) -> nn.Module:
    """Adapt the layers of a model in place, freeze all else, and return the model.

    Args:
        model: a decoder, or any module with linear layers.
        rank, alpha: as in `LoRALinear`.
        targets: ends of the names of the layers to adapt.
        also_train: ends of the names of parameters that learn whole, such as "embedding.weight".

    Raises:
        ValueError: where a target or a name of `also_train` fits nothing, or the model has
            adapters already.

    >>> from utils.model.config import TransformerConfig
    >>> from utils.model.decoder import Decoder
    >>> model = Decoder(TransformerConfig(vocab_size=7, context_length=9, d_model=8, n_layers=1))
    >>> _ = add_lora(model, rank=2, alpha=4, targets=["attention.qkv"])
    >>> [name for name, weight in model.named_parameters() if weight.requires_grad]
    ['blocks.0.attention.qkv.down', 'blocks.0.attention.qkv.up']
    """
    if lora_layers(model):
        raise ValueError("the model has adapters already: merge them, or load the model afresh")
    chosen = {
        target: [
            name
            for name, layer in model.named_modules()
            if is_linear(layer) and ends_with(name, target)
        ]
        for target in targets
    }
    whole = {
        wanted: [name for name, _ in model.named_parameters() if ends_with(name, wanted)]
        for wanted in also_train
    }
    for wanted, names in {**chosen, **whole}.items():
        if not names:
            linear = [n for n, layer in model.named_modules() if is_linear(layer)]
            raise ValueError(f"{wanted!r} fits no layer of this model; it has {linear[:8]}")
    model.requires_grad_(False)
    for name in dict.fromkeys(name for names in chosen.values() for name in names):
        parent, _, child = name.rpartition(".")
        layer = LoRALinear(model.get_submodule(name), rank, alpha)
        setattr(model.get_submodule(parent), child, layer)
    for names in whole.values():
        for name in names:
            model.get_parameter(name).requires_grad_(True)
    return model


def is_linear(layer: nn.Module) -> bool:
    """Return whether a layer can be adapted: nn.Linear, or one that holds its weight otherwise."""
    return isinstance(layer, nn.Linear) or (
        isinstance(getattr(type(layer), "weight", None), property) and hasattr(layer, "in_features")
    )


def ends_with(name: str, end: str) -> bool:
    """Return whether a dotted name is `end` or ends with it, part for part.

    >>> ends_with("blocks.0.attention.qkv", "qkv"), ends_with("a.qkv", "kv")
    (True, False)
    """
    return f".{name}".endswith(f".{end}")


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the adapted layers of a model by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}


def merge_lora(model: nn.Module) -> nn.Module:
    """Merge all adapters into their weights in place and put the plain layers back.

    The model then has the names that it had before `add_lora`, so that it can be saved as any
    other, and everything learns again.

    >>> layers = nn.Sequential(nn.Linear(4, 4, bias=False))
    >>> _ = add_lora(layers, rank=1, alpha=1, targets=["0"])
    >>> type(merge_lora(layers)[0]).__name__
    'Linear'
    """
    for name, layer in lora_layers(model).items():
        if not layer.is_merged:
            layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.linear)
    return model.requires_grad_(True)


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what a tuning changed: the adapters, and the parameters that learn whole, by name.

    An adapter that was trained together with the embeddings is not complete without them.
    """
    return {
        name: weight.detach().clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def load_adapter_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put a tuning into a model that was adapted in the same way.

    Raises:
        ValueError: where names or shapes are not those of the model's adapters.
    """
    own = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if own.keys() != state.keys():
        odd = sorted(own.keys() ^ state.keys())
        raise ValueError(
            f"the adapter is of a model that was adapted in another way: {len(odd)} names differ, "
            f"such as {odd[0]!r}; use the same targets and the same parameters that learn whole"
        )
    for name, weight in own.items():
        if weight.shape != state[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(state[name].shape)} in the adapter and "
                f"{tuple(weight.shape)} here: use the same rank and the same model"
            )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(state[name])


def count_trainable(parameters: Iterable[nn.Parameter]) -> int:
    """Return how many weights learn.

    >>> count_trainable(nn.Linear(3, 2).requires_grad_(False).parameters())
    0
    """
    return sum(weight.numel() for weight in parameters if weight.requires_grad)
