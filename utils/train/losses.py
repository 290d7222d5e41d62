"""Losses over tokens, aligned to targets: `logits[b, t]` scores `targets[b, t]`.

Nothing is shifted here; batches are shifted once, in `utils/tokens/batches.py`. Pure tensor
functions that import torch alone. Left out on purpose: label smoothing and class weights.

Shapes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

IGNORE_INDEX = -100  # a target with this value is not learned: prompts, padding


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean negative log-probability of the targets, in nats per counted target.

    Args:
        logits: (B, T, V) unnormalised scores; any leading shape does.
        targets: (B, T) token ids in any integer dtype that holds them, or IGNORE_INDEX where a
            position does not count.

    Returns:
        A scalar in float32 (float64 for float64 logits).

    Raises:
        ValueError: where shapes do not fit, a target lies outside the vocabulary, or every
            target is ignored (a mean over nothing would be NaN).

    >>> logits = torch.tensor([[[0.0, 0.0], [9.0, -9.0]]])
    >>> round(cross_entropy(logits, torch.tensor([[1, IGNORE_INDEX]])).item(), 4)  # ln 2
    0.6931

    Source: Bengio et al. 2003, "A Neural Probabilistic Language Model", section 3 (log-likelihood).
    """
    kept = check_targets(logits, targets)  # (B, T)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()  # half precision would round the sum over the vocabulary
    index = targets.masked_fill(~kept, 0).long().unsqueeze(-1)  # (B, T, 1)
    # log_softmax is logits - logsumexp(logits) in one pass: a third of the time of the two in turn.
    logprobs = logits.log_softmax(-1).gather(-1, index).squeeze(-1)  # (B, T)
    return -logprobs[kept].mean()


def check_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mask (B, T) of targets that count, or raise a ValueError that says what is wrong.

    >>> check_targets(torch.zeros(1, 2, 5), torch.tensor([[4, IGNORE_INDEX]])).tolist()
    [[True, False]]
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} need targets of shape {tuple(logits.shape[:-1])}, "
            f"got {tuple(targets.shape)}: logits are (B, T, V), targets (B, T)"
        )
    kept = targets != IGNORE_INDEX
    counted = targets[kept]
    if counted.numel() == 0:
        raise ValueError(
            f"all {targets.numel()} targets are ignored (IGNORE_INDEX = {IGNORE_INDEX}), so there "
            "is nothing to learn: check the response masks and the context length"
        )
    low, high = (int(bound) for bound in counted.aminmax())
    if low < 0 or high >= logits.shape[-1]:
        raise ValueError(
            f"targets must lie in 0..{logits.shape[-1] - 1} (the vocabulary of the logits) or be "
            f"{IGNORE_INDEX}, got {low if low < 0 else high}: check the tokenizer and vocab_size"
        )
    return kept
