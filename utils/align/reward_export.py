"""A reward model as `transformers` and TRL know it: a sequence classifier with one label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from utils.align.reward import RewardModel
from utils.model.pretrained import save_hugging_face

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def reward_model_in_transformers(
    reward_model: RewardModel, folder: Path | str, *, pad_id: int, end_id: int
) -> PreTrainedModel:
    """Return the same model as an AutoModelForSequenceClassification.

    Its score is the raw one: their head has no bias and no standardisation, which pairs don't need.

    Args:
        folder: where the weights are written on the way; made if missing.
        pad_id: by this id the library finds the last token, so it may not stand in a text.
    """
    from transformers import AutoModelForSequenceClassification

    save_hugging_face(reward_model.decoder, folder, pad_id=pad_id, end_id=end_id)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32
    )
    with torch.no_grad():
        model.score.weight.copy_(reward_model.head.weight)
    return model.eval()
