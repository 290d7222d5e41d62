"""Reading inside a decoder: what it would say if it stopped after each layer, where its heads look,
and what each of them is worth.

Shapes: B batch, T tokens, D d_model, V vocabulary, L layers, H heads.
Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from utils.model.attention import Attention
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


def previous_token_scores(maps: Tensor) -> Tensor:
    """Return how much each head looks at the token just before the current one.

    Args:
        maps: (..., T, T) attention; rows are queries.

    Returns:
        (...): mean share of the key at t - 1, over queries from the second on.

    >>> previous_token_scores(torch.tensor([[1.0, 0.0], [0.25, 0.75]]))
    tensor(0.2500)
    """
    return maps.diagonal(-1, dim1=-2, dim2=-1).mean(-1)


def head_costs(attentions: Sequence[Attention], loss: Callable[[], float]) -> Tensor:
    """Return what each head is worth: how much the loss rises when its answer is left out.

    Args:
        attentions: the attention of each layer of a model.
        loss: computes the model's loss in nats with the weights as they are.

    Returns:
        (L, H); the weights are as before.

    >>> from utils.model.config import TransformerConfig
    >>> attention = Attention(TransformerConfig(5, 4, d_model=8, n_heads=2))
    >>> head_costs([attention], lambda: float((attention.output.weight == 0).sum()))
    tensor([[32., 32.]])
    """
    whole = loss()
    costs = torch.zeros(len(attentions), attentions[0].n_heads)
    for layer in range(costs.shape[0]):
        for head in range(costs.shape[1]):
            with heads_left_out(attentions, [(layer, head)]):
                costs[layer, head] = loss() - whole
    return costs


@contextmanager
def heads_left_out(
    attentions: Sequence[Attention], heads: Sequence[tuple[int, int]]
) -> Iterator[None]:
    """Let heads answer nothing inside: the columns of the output that read them are zero.

    Args:
        attentions: the attention of each layer of a model.
        heads: (layer, head) of each head to leave out.

    >>> from utils.model.config import TransformerConfig
    >>> attention = Attention(TransformerConfig(5, 4, d_model=8, n_heads=2))
    >>> with heads_left_out([attention], [(0, 1)]):
    ...     int((attention.output.weight == 0).sum())
    32
    """
    kept = []
    try:
        for layer, head in dict.fromkeys(heads):
            attention = attentions[layer]
            weight = attention.output.weight.detach()  # (D, H * K)
            columns = weight.split(attention.d_head, dim=1)[head]
            kept.append((columns, columns.clone()))
            columns.zero_()
        yield
    finally:
        for columns, values in kept:
            columns.copy_(values)
