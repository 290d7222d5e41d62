"""Supervised fine-tuning: the loss over the tokens of responses.

It is the cross-entropy of pretraining, counted at other places. The mean runs over all response
tokens of a batch, so a long answer weighs more than a short one; `train` weighs the micro-batches
of an update by their response tokens, so that how a batch is cut changes nothing.

Shapes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from utils.train.losses import IGNORE_INDEX, cross_entropy


def sft_loss(logits: Tensor, targets: Tensor, response_mask: Tensor | None = None) -> Tensor:
    """Return the mean negative log-probability of the response tokens, in nats per token.

    Args:
        logits: (B, T, V) of the model at each token.
        targets: (B, T) the token after each; IGNORE_INDEX where none counts.
        response_mask: (B, T) bool aligned to `targets`, True where the target belongs to a
            response; None where `targets` say it by IGNORE_INDEX alone, as those of
            `supervised_batches` do.

    Returns:
        A scalar: the sum over the response tokens of the batch, divided by their number.

    Raises:
        ValueError: where no target belongs to a response (a mean over nothing would be NaN), or
            the mask is not bool or has another shape.

    >>> logits = torch.tensor([[[9.0, -9.0], [0.0, 0.0]]])
    >>> round(sft_loss(logits, torch.tensor([[1, 1]]), torch.tensor([[False, True]])).item(), 4)
    0.6931

    Source: Ouyang et al. 2022, "Training language models to follow instructions", section 3.5;
    Touvron et al. 2023, "Llama 2", section 3.1 (loss on answer tokens only).
    """
    if response_mask is not None:
        if response_mask.dtype != torch.bool or response_mask.shape != targets.shape:
            raise ValueError(
                f"response_mask must be bool of the targets' shape {tuple(targets.shape)}, got "
                f"{response_mask.dtype} of shape {tuple(response_mask.shape)}: shift it with the "
                "targets, see shift_targets"
            )
        targets = targets.masked_fill(~response_mask, IGNORE_INDEX)  # (B, T)
    if not bool((targets != IGNORE_INDEX).any()):
        raise ValueError(
            f"none of the {targets.numel()} targets belongs to a response, so there is nothing to "
            "learn: an answer may have been cut off by the context, or the mask belongs to other "
            "ids. Leave such examples out before they are batched"
        )
    return cross_entropy(logits, targets)
