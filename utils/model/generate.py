"""Writing text: one token at a time, with the key-value cache.

`generate` continues sequences of one length; `generate_batch` pads prompts of different lengths on
the left, so that all rows end at the same place. Left out on purpose: beam search, streaming.

Shapes: B batch, T prompt tokens, V vocabulary.
"""

from __future__ import annotations

from contextlib import contextmanager
from numbers import Integral

import torch
from torch import Tensor, nn

from utils.model.cache import KVCache
from utils.model.decoder import Decoder, padding_mask
from utils.model.decoding import Step, is_plain
from utils.model.sampling import sample_next_token


@contextmanager
def evaluating(model: nn.Module):
    """Switch a model to evaluation without gradients, and back to the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def generate(
    model: Decoder,
    token_ids: Tensor,
    max_new_tokens: int,
    *,
    end_id: int | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    attention_mask: Tensor | None = None,
    min_p: float | None = None,
) -> Tensor:
    """Return the prompt followed by the tokens that the model writes.

    Args:
        model: a decoder.
        token_ids: (B, T) prompts of one length, or padded on the left with `attention_mask`.
        max_new_tokens: most tokens to write; less where every row has written `end_id`.
        end_id: a row that has written it is filled with it.
        temperature, top_k, top_p, min_p: as in `sample_next_token`; temperature 0 takes the most
            likely token each time.
        attention_mask: (B, T) bool or 0 and 1, False at padding.

    Returns:
        (B, T + new) int64.

    Raises:
        ValueError: where prompt and new tokens together exceed the context, the mask is none of
            padding on the left, `end_id` is not one id, or a setting is out of range.

    >>> from utils.model.config import TransformerConfig
    >>> model = Decoder(TransformerConfig(vocab_size=7, context_length=9, d_model=8, n_layers=1))
    >>> generate(model, torch.tensor([[1, 2]]), 3).shape
    torch.Size([1, 5])
    """
    model.check_token_ids(token_ids)
    B, T = token_ids.shape
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    if end_id is not None and not isinstance(end_id, Integral):
        raise ValueError(f"end_id must be one token id, got {end_id}: one token ends a text here")
    weight = model.embedding.weight
    cache = KVCache(  # the last new token is never read, so it needs no room
        model.config, B, T + max_new_tokens - 1, dtype=weight.dtype, device=weight.device
    )
    positions, keep = None, None  # None where no row is padded
    if attention_mask is not None:
        attention_mask = padding_mask(attention_mask, B, T)
        if not bool(attention_mask[:, -1].all()):
            raise ValueError("a row ends with padding: pad on the left, so that all end alike")
    if attention_mask is not None and not bool(attention_mask.all()):
        keep = attention_mask.new_ones(B, cache.capacity)
        keep[:, :T] = attention_mask
        positions = (attention_mask.cumsum(dim=-1) - 1).clamp(min=0)  # (B, T)
    out = token_ids.new_empty(B, T + max_new_tokens)
    out[:, :T] = token_ids
    finished = torch.zeros(B, dtype=torch.bool, device=token_ids.device)
    with evaluating(model):
        logits = model(token_ids, cache, positions, attention_mask, last_only=True)[:, -1]
        step = Step(model, cache, keep) if is_plain(model) else None
        for end in range(T, T + max_new_tokens):
            if end > T:  # read the token written last
                token = out[:, end - 1]
                positions = None if positions is None else positions[:, -1:] + 1
                if step is not None:
                    logits = step(token, None if positions is None else positions[:, 0])  # (B, V)
                else:
                    mask = None if keep is None else keep[:, :end]
                    logits = model(token.unsqueeze(-1), cache, positions, mask)[:, -1]
            token = sample_next_token(logits, temperature, top_k, top_p, generator, min_p)  # (B,)
            if end_id is not None:
                token = token.masked_fill(finished, end_id)
                finished |= token == end_id
            out[:, end] = token
            if end_id is not None and bool(finished.all()):
                return out[:, : end + 1].clone()
    return out.clone()  # a normal tensor, not one of inference mode


def generate_batch(
    model: Decoder,
    prompts: list[list[int]],
    max_new_tokens: int,
    *,
    pad_id: int,
    end_id: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    min_p: float | None = None,
) -> list[list[int]]:
    """Return the model's response to each prompt, without prompt, padding and end token.

    Prompts are padded on the left and keep their own positions, so that a greedy response is the
    same in a batch as alone.

    Args:
        model: a decoder.
        prompts: token ids of each prompt, one at least; lengths may differ.
        max_new_tokens: most tokens of a response.
        pad_id: stands before shorter prompts; it is hidden by a mask, so any id will do.
        end_id: ends a response and is not part of it.
        temperature, top_k, top_p, generator, min_p: as in `generate`.

    Returns:
        Token ids of each response, in the order of the prompts.

    Raises:
        ValueError: for an empty prompt, or where a prompt and its response exceed the context.

    >>> from utils.model.config import TransformerConfig
    >>> model = Decoder(TransformerConfig(vocab_size=7, context_length=9, d_model=8, n_layers=1))
    >>> len(generate_batch(model, [[1, 2, 3], [4]], 2, pad_id=0, end_id=6))
    2
    """
    if not prompts:
        return []
    for row, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompt {row} is empty: give it one token at least")
    device = model.embedding.weight.device
    T = max(len(prompt) for prompt in prompts)
    token_ids = torch.tensor([[pad_id] * (T - len(p)) + list(p) for p in prompts], device=device)
    keep = torch.tensor([[False] * (T - len(p)) + [True] * len(p) for p in prompts], device=device)
    out = generate(
        model,
        token_ids,
        max_new_tokens,
        end_id=end_id,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        generator=generator,
        attention_mask=keep,
        min_p=min_p,
    )
    responses = out[:, T:].tolist()
    return [row[: row.index(end_id)] if end_id in row else row for row in responses]
