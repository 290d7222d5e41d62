"""What lab 05 gives its learners as `utils.model.generate.generate`, when it is graded.

The course's own `generate` is built on functions that the lab asks for: the cache and the sampler.
This one has neither: it reads the whole text anew for each token, takes the most likely one, and
draws any token at all where the settings leave a choice. So it can't stand for an answer, and what
a greedy response must be is the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def generate(
    model: nn.Module,
    token_ids: Tensor,
    max_new_tokens: int,
    *,
    end_id: int | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    generator: torch.Generator | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Return the prompt followed by the tokens that the model writes, without sampling from it.

    Args:
        model: a decoder.
        token_ids: (B, T) prompts of one length, or padded on the left with `attention_mask`.
        max_new_tokens: most tokens to write; less where every row has written `end_id`.
        end_id: a row that has written it is filled with it.
        temperature: 0 for the most likely token each time.
        top_k: 1 for the most likely token each time.
        top_p: close to 0 for the most likely token each time.
        min_p: 1 for the most likely token each time.
        generator: source of randomness, where the settings leave a choice.
        attention_mask: (B, T) bool, False at padding.

    Returns:
        (B, T + new) int64.

    Raises:
        ValueError: where prompt and new tokens together exceed the context.
    """
    B, T = token_ids.shape
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    if T + max_new_tokens - 1 > model.config.context_length:
        raise ValueError(f"prompt and new tokens exceed a context of {model.config.context_length}")
    keep = torch.ones(B, T, dtype=torch.bool) if attention_mask is None else attention_mask
    is_greedy = (
        temperature == 0
        or top_k == 1
        or (top_p is not None and top_p < 1e-3)
        or (min_p is not None and min_p >= 1)
    )
    finished = torch.zeros(B, dtype=torch.bool)
    for _ in range(max_new_tokens):
        positions = (keep.cumsum(dim=-1) - 1).clamp(min=0)  # (B, T)
        with torch.inference_mode():
            logits = model(token_ids, positions=positions, attention_mask=keep)[:, -1]  # (B, V)
        token = logits.argmax(dim=-1)  # (B,)
        if not is_greedy:
            token = torch.randint(logits.shape[-1], (B,), generator=generator)
        if end_id is not None:
            token = token.masked_fill(finished, end_id)
            finished |= token == end_id
        token_ids = torch.cat([token_ids, token[:, None]], dim=1)
        keep = torch.cat([keep, keep.new_ones(B, 1)], dim=1)
        if bool(finished.all()):
            break
    return token_ids
