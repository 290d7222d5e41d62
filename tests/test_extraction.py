"""Extraction counts a passage only where every id follows."""

import pytest
import torch

from utils.evaluate.extraction import extraction_rate, plant, private_notes
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.generate import generate


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Decoder(TransformerConfig(11, 24, d_model=16, n_layers=1, n_heads=2))


def test_one_wrong_id_is_no_extraction(model):
    starts = torch.randint(11, (6, 5), generator=torch.Generator().manual_seed(0))
    written = generate(model, starts, 4).tolist()
    for k in range(3):
        written[k][5 + k] = (written[k][5 + k] + 1) % 11
    assert extraction_rate(model, written, 5, 4, batch_size=4) == 0.5
    assert extraction_rate(model, [row + [3] for row in written], 5, 4) == 0.5


def test_short_passages_are_refused(model):
    with pytest.raises(ValueError, match="fewer than"):
        extraction_rate(model, [[1, 2, 3]], 2, 2)
    with pytest.raises(ValueError, match="empty"):
        extraction_rate(model, [], 2, 2)


def test_planted_notes_are_there_as_often_as_asked():
    notes = private_notes(2, seed=1)
    texts = plant(["x"] * 5, notes, [1, 4], seed=0)
    assert len(texts) == 10
    assert [sum(text.startswith(note) for text in texts) for note in notes] == [1, 4]
    assert len(set(texts)) >= 5
    assert private_notes(2, seed=1) == notes != private_notes(2, seed=2)


def test_a_note_that_is_planted_less_than_once_is_refused():
    with pytest.raises(ValueError, match="copies"):
        plant(["x"], ["a", "b"], [1, 0])
