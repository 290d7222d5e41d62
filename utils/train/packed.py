"""Packed rows through a decoder: each token sees its own example alone.

The blocks are the decoder's own; only the mask and the positions differ from its `forward`. With
`is_isolated=False` the mask is left causal, which is the mistake that the course shows: positions
that restart do not keep a token from looking at the example before its own.

Left out on purpose: kernels that skip the hidden part of the table (FlexAttention on a GPU).
"""

from __future__ import annotations

from torch import Tensor

from utils.model.decoder import Decoder
from utils.tokens.packing import PackedRows, document_mask


def packed_logits(model: Decoder, rows: PackedRows, is_isolated: bool = True) -> Tensor:
    """Return the logits of packed rows, those of each example as if it stood alone.

    Args:
        model: the decoder.
        rows: (B, T) each, from `pack_examples` or `packed_batches`; on the model's device.
        is_isolated: hide the examples of a row from each other; False shows the leak.

    Returns:
        (B, T, V); those at padding mean nothing, and `rows.targets` ignores them.

    Raises:
        ValueError: where ids have the wrong dtype or shape, or a row exceeds the context.

    >>> import torch
    >>> from utils.model.config import TransformerConfig
    >>> from utils.tokens.packing import pack_examples
    >>> model = Decoder(TransformerConfig(vocab_size=11, context_length=8, d_model=16, n_layers=2))
    >>> example = ([3, 4, 5], [False, True, True])
    >>> logits = packed_logits(model, pack_examples([example, example], 8, pad_id=0))
    >>> torch.allclose(logits[:, :2], logits[:, 2:4], atol=1e-5)  # twice the same, packed
    True

    Source: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination", sec. 3.2.
    """
    model.check_token_ids(rows.token_ids)
    x = model.embedding(rows.token_ids)  # (B, T, D)
    cos = model.cos[rows.positions].to(x.dtype)  # (B, T, 1, K/2)
    sin = model.sin[rows.positions].to(x.dtype)
    mask = document_mask(rows.document_ids).unsqueeze(1) if is_isolated else None  # (B, 1, T, T)
    for block in model.blocks:
        x = block(x, cos, sin, mask)
    return model.unembedding(model.norm(x))
