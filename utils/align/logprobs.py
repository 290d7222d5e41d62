"""Log-probabilities of the tokens that were written, and the entropy of what might have been.

Shapes: B batch, T tokens, V vocabulary. All are aligned to the targets: [b, t] belongs to the token
that `logits[b, t]` predicts.
"""

from __future__ import annotations

import torch
from torch import Tensor


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the log-probability of each target, under the distribution that it was drawn from.

    Args:
        logits: (B, T, V) of the model.
        targets: (B, T) token ids; negative ones, such as IGNORE_INDEX, give 0.
        temperature: that of the sampling. Logits are divided by it before the softmax; leaving it
            out gives the log-probabilities of another policy than the one that wrote the tokens.

    Returns:
        (B, T) in nats, at most 0.

    Raises:
        ValueError: for a temperature that is not positive, or shapes that do not fit.

    >>> logits = torch.tensor([[[0.0, 0.0], [0.0, 2.0]]])
    >>> token_logprobs(logits, torch.tensor([[1, 1]])).exp().round(decimals=3)
    tensor([[0.5000, 0.8810]])
    >>> token_logprobs(logits, torch.tensor([[1, 1]]), temperature=2.0).exp().round(decimals=3)
    tensor([[0.5000, 0.7310]])

    Source: Ouyang et al. 2022, "Training language models to follow instructions", equation 2.
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature must be positive, got {temperature}: a greedy policy has no "
            "log-probabilities to learn from"
        )
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} do not fit: the "
            "first must have the second's shape and the vocabulary after it"
        )
    if temperature != 1.0:
        logits = logits / temperature
    logits = logits.float()
    chosen = logits.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)  # (B, T)
    logprobs = chosen - logits.logsumexp(dim=-1)
    return logprobs.masked_fill(targets < 0, 0.0)


def token_entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the entropy of the next token's distribution at each place, in nats.

    Args:
        logits: (..., V).
        temperature: that of the sampling.

    Returns:
        (...), from 0 to log V.

    >>> token_entropy(torch.zeros(4)).item() == torch.tensor(4.0).log().item()
    True
    """
    logprobs = (logits.float() / temperature).log_softmax(dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values where the mask is True; what stands elsewhere never counts.

    Args:
        values: any shape; NaN or infinity where the mask is False changes nothing.
        mask: bool of the same shape.

    Raises:
        ValueError: where no place is kept, or the mask is not bool of the values' shape.

    >>> masked_mean(torch.tensor([1.0, 3.0, float("nan")]), torch.tensor([True, True, False]))
    tensor(2.)
    """
    if mask.dtype != torch.bool or mask.shape != values.shape:
        raise ValueError(
            f"mask must be bool of shape {tuple(values.shape)}, got {mask.dtype} of shape "
            f"{tuple(mask.shape)}"
        )
    if not bool(mask.any()):
        raise ValueError(
            "the mask keeps no token, so there is no mean: a response needs one token at least"
        )
    return values.masked_fill(~mask, 0.0).sum() / mask.sum()
