"""Reading inside a decoder: what it would say if it stopped after each layer, and induction heads.

Shapes: B batch, T tokens, D d_model, V vocabulary, L layers, H heads.
Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

from __future__ import annotations

import torch
from torch import Tensor

from utils.model.decoder import Decoder


def residual_streams(model: Decoder, token_ids: Tensor) -> Tensor:
    """Return the residual stream before the first block and after each: (L + 1, B, T, D)."""
    model.check_token_ids(token_ids)
    T = token_ids.shape[1]
    x = model.embedding(token_ids)  # (B, T, D)
    cos, sin = model.cos[:T].to(x.dtype), model.sin[:T].to(x.dtype)
    streams = [x]
    for block in model.blocks:
        x = block(x, cos, sin)
        streams.append(x)
    return torch.stack(streams)


def logit_lens(model: Decoder, token_ids: Tensor) -> Tensor:
    """Return the logits that the model would give if it stopped after 0, 1, ..., L blocks.

    Args:
        model: a decoder.
        token_ids: (B, T) int64.

    Returns:
        (L + 1, B, T, V); the last equals `model(token_ids)`.

    >>> from utils.model.config import TransformerConfig
    >>> model = Decoder(TransformerConfig(vocab_size=5, context_length=4, d_model=8, n_layers=2))
    >>> logit_lens(model, torch.tensor([[1, 2, 3]])).shape
    torch.Size([3, 1, 3, 5])
    """
    return model.unembedding(model.norm(residual_streams(model, token_ids)))


def induction_scores(maps: Tensor, period: int) -> Tensor:
    """Return how much each head looks at what followed the current token one period ago.

    Args:
        maps: (..., T, T) attention of tokens that repeat with the period; rows are queries.
        period: distance of equal tokens.

    Returns:
        (...): mean share, over queries from the second period on, of the key at t - period + 1.

    >>> induction_scores(torch.eye(4), period=1)
    tensor(1.)
    """
    # Entry [t, t - period + 1] lies on the diagonal 1 - period; its first query is period - 1.
    return maps.diagonal(1 - period, dim1=-2, dim2=-1)[..., 1:].mean(-1)
