"""Loads the shipped models, after verifying them.

A damaged model is never loaded: it is reported, and rebuilt by its recipe under `artifacts/`. The
shipped files themselves are left as they are, so that git can bring them back.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from utils.settings import artifacts_dir
from utils.zoo.build import build_base
from utils.zoo.files import CorruptModel, load_model, read_record
from utils.zoo.recipe import BASE, Recipe

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.tokenizer import Tokenizer

SHIPPED = Path(__file__).parent / "base"


def load_base(
    folder: Path | str | None = None, *, rebuild: bool = True, recipe: Recipe = BASE
) -> tuple[Decoder, Tokenizer]:
    """Return the base model, in evaluation mode, and its tokenizer.

    The shipped copy is tried first, then the one under `artifacts/zoo/base`. Where both are missing
    or damaged, a warning says what is wrong and the model is trained again into the latter, which
    takes minutes.

    Args:
        folder: another place; it is the only one tried, and the one rebuilt into.
        rebuild: False to raise instead of training again.
        recipe: what a rebuilt model is made by.

    Raises:
        CorruptModel: where no whole copy is found and `rebuild` is False.
    """
    places = [SHIPPED, artifacts_dir() / "zoo" / "base"] if folder is None else [Path(folder)]
    damage = []
    for place in places:
        try:
            return load_model(place)
        except CorruptModel as error:
            damage.append(str(error))
    message = "; ".join(damage)
    if not rebuild:
        raise CorruptModel(
            f"{message}. Restore the file (git checkout), or call load_base() with rebuild=True "
            "to train it again"
        )
    warnings.warn(f"{message}. Training the base model again into {places[-1]}", stacklevel=2)
    build_base(places[-1], recipe)
    return load_model(places[-1])


def base_record(folder: Path | str | None = None) -> dict:
    """Return what is recorded of the base model: recipe, data, metrics, replicas, hashes.

    Raises:
        CorruptModel: where the record is missing or was changed.
    """
    return read_record(SHIPPED if folder is None else folder)
