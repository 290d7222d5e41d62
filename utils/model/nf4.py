"""Weights in four bits: sixteen levels that fit a normal distribution, one scale for each block.

Trained weights are nearly normal, so the levels stand at quantiles of a normal distribution: close
together where most weights are. Two codes share a byte. The scales can be quantised again.

Left out on purpose: products in four bits (the weights are put back into floats first), training
of the codes, paged optimizers.

Shapes: N weights in all, b block_size, N/b blocks.
Source: Dettmers et al. 2023, "QLoRA", section 3.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.model.linear import linear

OUTERMOST = 0.9677083  # share of the normal distribution below the largest level, from bitsandbytes
BLOCK, SCALES_BLOCK = 64, 256


@cache
def nf4_levels() -> Tensor:
    """Return the sixteen levels: quantiles of a normal distribution from -1 to 1, zero among them.

    Eight levels are above zero and seven below, so that zero itself is exact.

    >>> nf4_levels()[[0, 7, 8, 15]]
    tensor([-1.0000,  0.0000,  0.0796,  1.0000])

    Source: Dettmers et al. 2023, "QLoRA", section 3 and appendix E.
    """
    quantile = torch.distributions.Normal(0.0, 1.0).icdf
    above = quantile(torch.linspace(OUTERMOST, 0.5, 9, dtype=torch.float64)[:-1])
    below = -quantile(torch.linspace(OUTERMOST, 0.5, 8, dtype=torch.float64)[:-1])
    levels = torch.cat([above, above.new_zeros(1), below]).sort().values
    return (levels / levels.max()).float()  # (16,)


def quantize_nf4(weight: Tensor, block_size: int = BLOCK) -> tuple[Tensor, Tensor]:
    """Return weights as four-bit codes, two in a byte, and a scale for each block.

    The weights are read row by row. A block's scale is its largest absolute value; each weight
    becomes the number, 0 to 15, of the level of `nf4_levels` nearest to weight / scale. A block of
    zeros has scale 0 and codes 7, whose level is 0.

    Args:
        weight: any shape and float dtype, N numbers in all; N is even.
        block_size: b, weights that share a scale; the last block may be shorter.

    Returns:
        codes (N/2,) uint8, the earlier weight in the high four bits, and float32 scales, one for
        each block: N/b of them, or the next whole number where b does not divide N.

    Raises:
        ValueError: for NaN or infinity, no weights or an odd number, or a block below 1.

    >>> codes, scales = quantize_nf4(torch.tensor([1.0, -0.5, 0.0, 0.25]), block_size=2)
    >>> [f"{code:08b}" for code in codes.tolist()], scales
    (['11110010', '01111111'], tensor([1.0000, 0.2500]))

    Source: Dettmers et al. 2023, "QLoRA", section 3, equation 1 and "4-bit NormalFloat".
    """
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    flat = weight.detach().float().flatten()  # (N,)
    if len(flat) % 2 or len(flat) == 0:
        raise ValueError(f"two codes share a byte, and {len(flat)} weights are no pairs: pad them")
    if not bool(flat.isfinite().all()):
        raise ValueError("weight holds NaN or infinity, for which there is no scale: mend it first")
    rest = -len(flat) % block_size
    blocks = F.pad(flat, (0, rest)).view(-1, block_size)  # (N/b, b)
    scales = blocks.abs().amax(dim=1)  # (N/b,)
    # 1 / scale and then a product, as bitsandbytes has it: ties fall on the same side.
    unit = blocks * scales.clamp(min=torch.finfo(torch.float32).tiny).reciprocal().unsqueeze(1)
    levels = nf4_levels().to(flat.device)
    borders = (levels[1:] + levels[:-1]) / 2  # (15,)
    codes = torch.bucketize(unit, borders).flatten()[: len(flat)].to(torch.uint8)  # (N,)
    return codes[0::2] << 4 | codes[1::2], scales


def dequantize_nf4(
    codes: Tensor, scales: Tensor, shape: tuple[int, ...], block_size: int = BLOCK
) -> Tensor:
    """Return the weights that codes and scales stand for.

    Args:
        codes: (N/2,) uint8, two codes in each.
        scales: (N/b,) floats, one for each block; the last block may be shorter.
        shape: of the weights, N in all.
        block_size: b, as it was quantised with.

    Returns:
        Float32 weights of `shape`, level times scale.

    Raises:
        ValueError: where codes, scales, shape and block size do not belong together.

    >>> codes, scales = quantize_nf4(torch.tensor([[1.0, -0.5], [0.0, 0.25]]), block_size=2)
    >>> dequantize_nf4(codes, scales, (2, 2), block_size=2)
    tensor([[ 1.0000, -0.5251],
            [ 0.0000,  0.2500]])

    Source: Dettmers et al. 2023, "QLoRA", equation 2.
    """
    n = 2 * len(codes)
    size = torch.Size(shape)
    if size.numel() != n or len(scales) != -(-n // block_size):
        raise ValueError(
            f"{n} codes and {len(scales)} scales do not make weights of shape {tuple(size)} in "
            f"blocks of {block_size}"
        )
    both = torch.stack([codes >> 4, codes & 15], dim=1).flatten().long()  # (N,)
    values = nf4_levels().to(codes.device)[both]
    return (values * scales.float().repeat_interleave(block_size)[:n]).view(size)


class QuantizedScales(NamedTuple):
    """Scales in one byte each: `codes * steps + mean`, a step for each block of them."""

    codes: Tensor  # (n,) int8
    steps: Tensor  # (n / block,) float32
    mean: Tensor  # () float32

    @property
    def n_bytes(self) -> int:
        """Memory of codes, steps and mean."""
        return sum(part.numel() * part.element_size() for part in self)


def double_quantize(scales: Tensor, block_size: int = SCALES_BLOCK) -> QuantizedScales:
    """Return scales as whole numbers of one byte, around their mean.

    No scale is negative, so their mean is taken off first. Each block of `block_size` has a
    step, its largest distance from the mean over 127; each scale becomes the nearest whole number
    of steps from the mean. The mean is that of all scales. A block in which all scales are the mean
    has step 1.

    Args:
        scales: (n,) floats, of `quantize_nf4`.
        block_size: scales that share a step; the last block may be shorter.

    Returns:
        codes (n,) int8, steps, one float32 for each block, and the mean, a float32 scalar.

    Raises:
        ValueError: for scales that are no row, an empty row, NaN or infinity, or a block below 1.

    >>> double_quantize(torch.tensor([1.0, 3.0, 2.0]))
    QuantizedScales(codes=tensor([-127,  127,    0], dtype=torch.int8), steps=tensor([0.0079]),
        mean=tensor(2.))

    Source: Dettmers et al. 2023, "QLoRA", section 3, "Double Quantization" (8-bit floats there).
    """
    if scales.ndim != 1 or len(scales) == 0 or block_size < 1:
        raise ValueError(
            f"scales must be one row and block_size at least 1, got {tuple(scales.shape)} and "
            f"{block_size}"
        )
    if not bool(scales.isfinite().all()):
        raise ValueError("scales hold NaN or infinity: the weights that they came from do too")
    scales = scales.float()
    mean = scales.mean()
    blocks = F.pad(scales - mean, (0, -len(scales) % block_size)).view(-1, block_size)
    steps = blocks.abs().amax(dim=1) / 127  # (n / block,)
    steps = steps.masked_fill(steps == 0, 1.0)
    codes = (blocks / steps.unsqueeze(1)).round().clamp(-127, 127).to(torch.int8)
    return QuantizedScales(codes.flatten()[: len(scales)], steps, mean)


def restore_scales(quantized: QuantizedScales, block_size: int = SCALES_BLOCK) -> Tensor:
    """Return the scales (n,) that `double_quantize` kept, in float32.

    >>> restore_scales(double_quantize(torch.tensor([1.0, 3.0, 2.0])))
    tensor([1., 3., 2.])
    """
    steps = quantized.steps.repeat_interleave(block_size)[: len(quantized.codes)]
    return quantized.codes * steps + quantized.mean


class FromCodes(torch.autograd.Function):
    """x @ weight.T for weights in four bits, whose floats are made afresh for the gradient.

    Kept from forward to backward, the floats of all layers would cost what the codes save.
    """

    @staticmethod
    def forward(ctx, x: Tensor, layer: NF4Linear) -> Tensor:
        ctx.layer = layer
        return linear(x, layer.weight.to(x.dtype))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.weight.to(gradient.dtype), None  # (..., I)


class NF4Linear(nn.Module):
    """A linear layer whose weights are held in four bits; gradients pass through to the input.

    >>> layer = NF4Linear(torch.eye(64))
    >>> layer(torch.ones(64)).sum(), layer.n_bytes  # 2048 bytes of codes, 64 scales of a byte, 8
    (tensor(64.), 2120)
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        codes, scales = quantize_nf4(weight)
        quantized = double_quantize(scales)
        self.register_buffer("codes", codes)  # (N/2,) uint8
        self.register_buffer("scale_codes", quantized.codes)  # (N/b,) int8
        self.register_buffer("steps", quantized.steps)
        self.register_buffer("mean", quantized.mean)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    @property
    def n_bytes(self) -> int:
        """Memory of the weights: codes, scales, and the scales of scales."""
        parts = (self.codes, self.scale_codes, self.steps, self.mean)
        return sum(part.numel() * part.element_size() for part in parts)

    @property
    def weight(self) -> Tensor:
        """The weights (O, I) that the codes stand for, made afresh at each call."""
        scales = restore_scales(QuantizedScales(self.scale_codes, self.steps, self.mean))
        return dequantize_nf4(self.codes, scales, (self.out_features, self.in_features))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's answer (..., O) to `x` (..., I)."""
        answer = FromCodes.apply(x, self)
        return answer if self.bias is None else answer + self.bias


def quantize_model_nf4(model: nn.Module) -> nn.Module:
    """Return a copy of a model in which all linear layers of its blocks are NF4Linear, frozen.

    The table of tokens and the norms stay as they are, as in QLoRA.

    >>> from utils.model.config import TransformerConfig
    >>> from utils.model.decoder import Decoder
    >>> small = Decoder(TransformerConfig(vocab_size=7, context_length=9, d_model=8, n_layers=1))
    >>> sum(isinstance(part, NF4Linear) for part in quantize_model_nf4(small).modules())
    4
    """
    model = copy.deepcopy(model).requires_grad_(False)
    for block in model.blocks:
        for name, layer in list(block.named_modules()):
            if isinstance(layer, nn.Linear):
                parent, _, child = name.rpartition(".")
                setattr(block.get_submodule(parent), child, NF4Linear(layer.weight, layer.bias))
    return model


def floats_of(layer: NF4Linear) -> nn.Linear:
    """Return a linear layer with the float32 weights that the codes stand for.

    An adapter that was trained beside the codes belongs to these weights, and not to those from
    before they were quantised.

    >>> floats_of(NF4Linear(torch.eye(64))).weight.shape
    torch.Size([64, 64])
    """
    plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
        if layer.bias is not None:
            plain.bias.copy_(layer.bias)
    return plain
