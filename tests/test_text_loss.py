"""The loss of a stream equals that of plain forward passes, and the mode of the model is kept."""

import math

import pytest
import torch
from torch.nn import functional as F

from utils.evaluate.text_loss import stream_loss, text_bits_per_byte
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.tokens.tokenizer import Tokenizer


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Decoder(TransformerConfig(300, 16, d_model=16, n_layers=1, n_heads=2))


@pytest.mark.parametrize("n_tokens", [2, 16, 17, 18, 33, 50])
def test_every_token_but_the_first_is_predicted_once(model, n_tokens):
    stream = torch.randint(300, (n_tokens,), generator=torch.Generator().manual_seed(n_tokens))
    total, count = 0.0, 0
    for start in range(0, n_tokens - 1, 16):
        row = stream[start : start + 17]
        with torch.no_grad():
            logits = model(row[:-1].unsqueeze(0))[0]
        total += F.cross_entropy(logits, row[1:], reduction="sum").item()
        count += len(row) - 1
    assert count == n_tokens - 1
    model.train()
    assert stream_loss(model, stream, 16, batch_size=2) == pytest.approx(total / count, abs=1e-5)
    assert model.training


def test_a_stream_without_a_target_is_refused(model):
    with pytest.raises(ValueError, match="at least 2"):
        stream_loss(model, torch.tensor([1]), 16)


def test_bits_per_byte_of_a_model_that_knows_nothing(model):
    tokenizer = Tokenizer.train(["some words of text"], 300)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    texts = ["some words", "of text that is longer than one block of sixteen tokens is"]
    n_tokens = sum(len(tokenizer.encode(text)) + 1 for text in texts)
    n_bytes = sum(len(text.encode()) for text in texts)
    expected = n_tokens * math.log2(300) / n_bytes
    assert text_bits_per_byte(model, tokenizer, texts) == pytest.approx(expected, rel=1e-4)
