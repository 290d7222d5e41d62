"""Weights in one byte: each row of a matrix as whole numbers from -127 to 127 and one scale.

The products are still done in float: what is saved is memory, not arithmetic. Left out on purpose:
whole-number arithmetic and outlier columns (Dettmers et al. 2022, sections 2 and 3), 4 bits
(unit 07).

Shapes: N outputs, M inputs of a matrix.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix as whole numbers of one byte and a scale for each row.

    The scale of a row is its largest absolute value over 127; each weight becomes the nearest whole
    number of scales. A row of zeros has the scale 1.

    Args:
        weight: (N, M) floats.

    Returns:
        codes (N, M) int8 from -127 to 127, and scales (N, 1) float32; codes * scales is within half
        a scale of the weight.

    Raises:
        ValueError: where the weight is no matrix, or holds NaN or infinity.

    >>> quantize_int8(torch.tensor([[1.0, -0.25], [0.0, 0.0]]))
    (tensor([[127, -32],
            [  0,   0]], dtype=torch.int8), tensor([[0.0079],
            [1.0000]]))

    Source: Dettmers et al. 2022, "LLM.int8()", section 2.1 (absmax), one scale for each row.
    """
    if weight.ndim != 2:
        raise ValueError(f"weight must be a matrix (N, M), got shape {tuple(weight.shape)}")
    weight = weight.float()
    if not bool(weight.isfinite().all()):
        raise ValueError("weight holds NaN or infinity, for which there is no scale: mend it first")
    scales = weight.abs().amax(dim=1, keepdim=True) / 127  # (N, 1)
    scales = scales.masked_fill(scales == 0, 1.0)
    codes = (weight / scales).round().clamp(-127, 127)
    return codes.to(torch.int8), scales


def dequantize_int8(codes: Tensor, scales: Tensor) -> Tensor:
    """Return the matrix (N, M) that codes and scales stand for, in the dtype of the scales.

    >>> dequantize_int8(torch.tensor([[127, -127]], dtype=torch.int8), torch.tensor([[0.5]]))
    tensor([[ 63.5000, -63.5000]])
    """
    return codes.to(scales.dtype) * scales


class Int8Linear(nn.Module):
    """A linear layer without bias whose weights are held in one byte each; not to be trained.

    >>> layer = Int8Linear(torch.eye(3))
    >>> layer(torch.tensor([1.0, 2.0, 3.0])), layer.n_bytes  # 9 codes and 3 scales
    (tensor([1., 2., 3.]), 21)
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        codes, scales = quantize_int8(weight.detach())
        self.register_buffer("codes", codes)  # (N, M) int8
        self.register_buffer("scales", scales)  # (N, 1)

    @property
    def n_bytes(self) -> int:
        """Memory of codes and scales."""
        return sum(part.numel() * part.element_size() for part in (self.codes, self.scales))

    def forward(self, x: Tensor) -> Tensor:
        """Return x times the matrix, (..., M) to (..., N); rows are scaled after the product."""
        return F.linear(x, self.codes.to(x.dtype)) * self.scales.squeeze(-1).to(x.dtype)


def quantize_model(model: nn.Module) -> nn.Module:
    """Return a copy of a model in which all linear layers of its blocks are Int8Linear.

    The table of tokens stays: rare tokens share it with frequent ones, and a tied one is the output
    layer, too.

    >>> from utils.model.config import TransformerConfig
    >>> from utils.model.decoder import Decoder
    >>> small = Decoder(TransformerConfig(vocab_size=7, context_length=9, d_model=8, n_layers=1))
    >>> sum(isinstance(part, Int8Linear) for part in quantize_model(small).modules())
    4
    """
    model = copy.deepcopy(model).eval()
    for block in model.blocks:
        for name, layer in list(block.named_modules()):
            if isinstance(layer, nn.Linear):
                parent = block.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], Int8Linear(layer.weight))
    return model
