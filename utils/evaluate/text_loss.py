"""How well a model predicts text: the loss of a stream, and bits per byte of texts.

Left out on purpose: a sliding window. Text is read in blocks of the context's length, and the first
tokens of a block see little of what came before; so a longer context reads better here.

Shapes: N tokens in a stream, B blocks at a time, T tokens (context length).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from utils.evaluate.metrics import bits_per_byte
from utils.model.generate import evaluating
from utils.tokens.batches import pack_documents, shift_targets
from utils.tokens.tokenizer import Tokenizer
from utils.train.losses import cross_entropy


def stream_loss(
    model: nn.Module, stream: Tensor, context_length: int, batch_size: int = 64
) -> float:
    """Return the mean loss of a stream in nats per token, each token but the first predicted once.

    Args:
        model: `model(token_ids) -> logits`; its mode is restored.
        stream: (N,) token ids.
        context_length: T, tokens in a block.
        batch_size: B, blocks in one forward pass.

    Raises:
        ValueError: for a stream of fewer than two tokens.

    >>> _ = torch.manual_seed(0)
    >>> guess = nn.Embedding.from_pretrained(torch.zeros(4, 4))  # all of four tokens equally likely
    >>> round(stream_loss(guess, torch.tensor([0, 1, 2, 3, 0, 1]), context_length=2), 4)  # ln 4
    1.3863
    """
    if stream.ndim != 1 or len(stream) < 2:
        raise ValueError(f"stream must be one row of at least 2 ids, got {tuple(stream.shape)}")
    n_blocks = (len(stream) - 1) // context_length
    starts = torch.arange(n_blocks).unsqueeze(-1) * context_length  # (n_blocks, 1)
    rows = stream[starts + torch.arange(context_length + 1)]  # (n_blocks, T + 1)
    pieces = [*rows.split(batch_size)] if n_blocks else []
    rest = stream[n_blocks * context_length :].unsqueeze(0)  # (1, less than T + 1)
    pieces += [rest] if rest.shape[1] > 1 else []
    device, total = next(model.parameters()).device, 0.0
    with evaluating(model):
        for piece in pieces:
            batch = shift_targets(piece.to(device))
            total += cross_entropy(model(batch.token_ids), batch.targets).item() * (
                batch.targets.numel()
            )
    return total / (len(stream) - 1)


def text_bits_per_byte(
    model: nn.Module,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    context_length: int | None = None,
    batch_size: int = 64,
) -> float:
    """Return how many bits a model needs for each byte of texts.

    Args:
        model: a decoder with a `config` that knows its context length.
        tokenizer: the model's own.
        texts: documents, each closed by the end token, which is counted and has no bytes.
        context_length: T, tokens in a block; None for the model's whole context.
        batch_size: B, blocks in one forward pass; B * T logits for each id are held at once.

    Raises:
        ValueError: where there is no text.
    """
    stream = pack_documents(tokenizer.encode_batch(texts), tokenizer.end_id)
    stream = torch.cat([stream.new_tensor([tokenizer.end_id]), stream])  # predicts the first token
    loss = stream_loss(model, stream, context_length or model.config.context_length, batch_size)
    return bits_per_byte(loss, len(stream) - 1, sum(len(text.encode()) for text in texts))
