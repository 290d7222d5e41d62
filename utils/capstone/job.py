"""What a stage of the capstone is given, and what several of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils.capstone.models import LEARNING, Learning, adapted
from utils.capstone.params import Budget, Params
from utils.capstone.records import CHECKPOINTS, read_rows
from utils.train.schedules import cosine
from utils.zoo.files import load_model

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Job:
    """What a stage's function is given."""

    root: Path
    folder: Path
    params: Params

    @property
    def sizes(self) -> Budget:
        """What the budget stands for."""
        return self.params.sizes

    @property
    def learning(self) -> Learning:
        """How the model of this run learns."""
        return LEARNING[self.params.model]

    @property
    def checkpoint(self) -> dict:
        """Arguments of the library's loops: where to write checkpoints, and how often."""
        every = self.sizes.checkpoint_every
        return {"checkpoint": self.folder / CHECKPOINTS, "checkpoint_every": every}

    def rows(self, name: str) -> list[dict]:
        """Return the rows of a file of the text stage."""
        return read_rows(self.root / "text" / name)

    def model(self, stage: str) -> tuple[Decoder, Tokenizer]:
        """Return the model that a stage wrote, after verifying it."""
        return load_model(self.root / stage)

    def learner(self, model: Decoder) -> Decoder:
        """Return a model with what learns of it; `merged` makes it whole again."""
        return adapted(model, self.params.model, self.params.seed)


def chosen_by_hash(text: str, every: int) -> bool:
    """Return whether a text is one of every few, by its own hash: other rows don't matter."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") % every == 0


def warm_cosine(n_steps: int) -> Callable[[int], float]:
    """Return a cosine schedule whose warm-up is a tenth of the steps."""
    return cosine(n_steps, warmup_steps=max(1, n_steps // 10))


def interval(value: float, low: float, high: float) -> dict[str, float]:
    """Return a metric with its interval of 95 %, as records hold it.

    >>> interval(0.5, 0.25, 0.75)
    {'value': 0.5, 'low': 0.25, 'high': 0.75}
    """
    return {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}
