"""What a decoder holds after its last norm, beside or in place of its logits.

A value head or a reward head reads these features; the decoder itself stays as it is.

Shapes: B batch, T tokens, D d_model, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor

from utils.model.decoder import Decoder


def logits_and_hidden(model: Decoder, token_ids: Tensor, **arguments) -> tuple[Tensor, Tensor]:
    """Return the logits and the features that they were computed from, in one pass.

    Args:
        model: a decoder.
        token_ids: (B, T) int64.
        arguments: as the decoder takes them, such as `attention_mask`.

    Returns:
        logits (B, T, V) and hidden (B, T, D), the output of the last norm; gradients flow through
        both.

    >>> import torch
    >>> from utils.model.config import TransformerConfig
    >>> model = Decoder(TransformerConfig(vocab_size=5, context_length=4, d_model=8, n_layers=1))
    >>> logits, hidden = logits_and_hidden(model, torch.tensor([[1, 2, 3]]))
    >>> torch.allclose(model.unembedding(hidden), logits)
    True
    """
    kept: list[Tensor] = []
    handle = model.norm.register_forward_hook(lambda module, given, output: kept.append(output))
    try:
        logits = model(token_ids, **arguments)
    finally:
        handle.remove()
    return logits, kept[0]
