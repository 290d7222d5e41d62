"""The Bradley-Terry model of preferences: one score for each answer, and the loss that fits it.

An answer of score a is preferred to one of score b with probability sigmoid(a - b). Only
differences count, so a constant added to all scores changes nothing.

Shapes: P pairs. Source: Bradley and Terry 1952, "Rank Analysis of Incomplete Block Designs".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bradley_terry_loss(
    chosen: Tensor,
    rejected: Tensor,
    margin: Tensor | None = None,
    center: float = 0.0,
) -> Tensor:
    """Return the mean negative log-probability of the preferences that were given.

    loss = mean(-log sigmoid(chosen - rejected - margin)) + center * mean((chosen + rejected)^2)

    Args:
        chosen: (P,) scores of the answers that were preferred.
        rejected: (P,) scores of the others.
        margin: (P,) by how much each pair's scores should differ before it is done with; None for
            no margin.
        center: weight of the second term, which holds the scores of a pair around 0; the
            preferences alone leave their level open.

    Returns:
        A scalar with a gradient for both; the two are finite even for scores thousands apart.

    Raises:
        ValueError: for no pairs, for scores or margins that are not rows of one length (no
            broadcasting), or a negative `center`.

    >>> chosen, rejected = torch.tensor([2.0, 1.0]), torch.tensor([0.0, 1.0])
    >>> round(bradley_terry_loss(chosen, rejected).item(), 4)  # (0.1269 + 0.6931) / 2
    0.41
    >>> round(bradley_terry_loss(chosen, rejected, margin=torch.tensor([2.0, 0.0])).item(), 4)
    0.6931

    Source: Ouyang et al. 2022, "Training language models to follow instructions", equation 1;
    margin: Touvron et al. 2023, "Llama 2", equation 2; centring: Eisenstein et al. 2023, "Helping
    or Herding?", section 2.
    """
    rows = {"chosen": chosen, "rejected": rejected}
    if margin is not None:
        rows["margin"] = margin
    if chosen.ndim != 1 or any(row.shape != chosen.shape for row in rows.values()):
        shapes = ", ".join(f"{name} {tuple(row.shape)}" for name, row in rows.items())
        raise ValueError(f"give one score for each answer of each pair, got {shapes}")
    if len(chosen) == 0:
        raise ValueError("no pairs: the mean over nothing would be NaN")
    if not center >= 0:
        raise ValueError(f"center must be 0 or more, got {center}")
    gaps = chosen - rejected if margin is None else chosen - rejected - margin
    loss = -F.logsigmoid(gaps).mean()
    return loss + center * (chosen + rejected).square().mean() if center else loss


def preference_probability(first: Tensor, second: Tensor) -> Tensor:
    """Return with what probability the first answer is preferred: sigmoid(first - second).

    Args:
        first, second: scores of one shape, in the unit that the loss was trained in: multiply
            standardised ones by `reward_model.std`.

    >>> preference_probability(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 0.0]))
    tensor([0.5000, 0.8808])
    """
    return torch.sigmoid(first - second)
