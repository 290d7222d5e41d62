"""Likelihoods of given answers against one row at a time, and what the length does to a choice."""

import pytest
import torch

from utils.evaluate.choices import Scored, choose, continuation_logprobs
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Decoder(TransformerConfig(vocab_size=11, context_length=12, d_model=16, n_layers=2))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_batch_scores_as_each_row_alone(model, batch_size):
    prompts = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10]]
    ends = [[4, 5], [1, 2, 3, 4, 5], [], [6]]
    alone = []
    for prompt, end in zip(prompts, ends, strict=True):
        logprobs = model.eval()(torch.tensor([prompt + end]))[0].log_softmax(-1)
        alone.append(sum(logprobs[len(prompt) - 1 + k, t].item() for k, t in enumerate(end)))
    together = continuation_logprobs(model.train(), prompts, ends, batch_size)
    assert together.tolist() == pytest.approx(alone, abs=1e-5)
    assert model.training


def test_scores_refuse(model):
    with pytest.raises(ValueError, match="a prompt is empty"):
        continuation_logprobs(model, [[]], [[1]])
    with pytest.raises(ValueError, match="2 prompts and 1"):
        continuation_logprobs(model, [[1], [2]], [[1]])
    with pytest.raises(ValueError, match="per must be one of"):
        choose([Scored(-1.0, 1, 1)], "word")
    with pytest.raises(ValueError, match="no answer"):
        choose([])


def test_what_is_divided_by_decides():
    answers = [Scored(-4.0, 4, 4), Scored(-5.0, 5, 20), Scored(-3.9, 2, 3)]
    assert [choose(answers, per) for per in ("answer", "token", "character")] == [2, 0, 1]
