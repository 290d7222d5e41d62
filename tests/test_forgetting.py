"""Stopping, Fisher information, EWC, replay and the measure of forgetting, against plain sums."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.tokens.batches import Batch
from utils.train.forgetting import (
    early_stopping,
    ewc_penalty,
    fisher_diagonal,
    forgetting,
    mix_replay,
    weights_of,
    with_penalty,
)
from utils.train.loop import train
from utils.train.losses import cross_entropy

LOSSES = st.lists(st.floats(0, 10, allow_nan=False), min_size=1, max_size=20)


@given(LOSSES, st.integers(1, 5))
def test_the_best_is_the_first_minimum_and_stopping_counts_what_came_after(losses, patience):
    best, stop = early_stopping(losses, patience)
    assert best == losses.index(min(losses))
    assert stop == (len(losses) - 1 - best >= patience)


def test_small_improvements_do_not_count_and_nan_never_does():
    assert early_stopping([3.0, 2.95, 2.9, 2.85], 3, min_delta=0.1) == (3, False)
    assert early_stopping([3.0, 2.95, 2.92, 2.91], 3, min_delta=0.1) == (0, True)
    assert early_stopping([2.0, math.nan, math.nan], 2) == (0, True)
    assert early_stopping([math.nan, 2.0], 1) == (1, False)
    for bad in ({"patience": 0}, {"patience": 1, "min_delta": -1}):
        with pytest.raises(ValueError, match="patience must be at least 1"):
            early_stopping([1.0], **bad)
    with pytest.raises(ValueError, match="evaluate once"):
        early_stopping([], 1)


class Linear(nn.Module):
    """Logits of the next token from one vector for each token: gradients are easy by hand."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, token_ids):
        return self.weight[token_ids]


def test_fisher_is_the_expectation_over_the_models_own_targets():
    model, ids = Linear(), torch.tensor([[0, 1], [1, 1]])
    probs = model.weight.detach().softmax(-1)  # (3, 4): d log p(y) / d logits = onehot - p
    expected = torch.zeros(3, 4)
    for token in ids.flatten().tolist():
        expected[token] += probs[token] * (1 - probs[token]) / 4  # sum_y p(y) (1[y] - p)^2
    many = fisher_diagonal(model, ids.repeat(1500, 1), torch.Generator().manual_seed(1))
    assert (many["weight"] - expected).abs().max() < 0.01
    assert torch.equal(many["unused"], torch.zeros(2))


def test_fisher_leaves_gradients_and_mode_alone_and_skips_frozen_weights():
    torch.manual_seed(0)
    model = Decoder(TransformerConfig(11, 8, d_model=8, n_layers=1, n_heads=2))
    model.embedding.weight.requires_grad_(False)
    fisher = fisher_diagonal(model, torch.randint(11, (3, 5)), torch.Generator().manual_seed(0))
    assert all(weight.grad is None for weight in model.parameters())
    assert set(fisher) == set(weights_of(model)) and "embedding.weight" not in fisher
    assert all(bool((f >= 0).all()) for f in fisher.values())
    with pytest.raises(ValueError, match="token_ids must be"):
        fisher_diagonal(model, torch.tensor([1, 2]))


def test_the_penalty_is_the_sum_and_its_gradient_pulls_back():
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    start = weights_of(model)
    fisher = {name: torch.rand_like(w) for name, w in start.items()}
    assert ewc_penalty(model, start, fisher) == 0
    with torch.no_grad():
        for weight in model.parameters():
            weight += torch.randn_like(weight)
    moved = weights_of(model)
    penalty = ewc_penalty(model, start, fisher)
    by_hand = sum(0.5 * (fisher[n] * (moved[n] - start[n]) ** 2).sum() for n in start)
    torch.testing.assert_close(penalty.detach(), by_hand)
    penalty.backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, fisher[name] * (moved[name] - start[name]))
    with pytest.raises(KeyError, match="bias learns and is missing"):
        ewc_penalty(model, {"weight": start["weight"]}, fisher)


def test_in_the_real_loop_the_penalty_holds_the_weights():
    torch.manual_seed(0)
    block = torch.randint(11, (4, 9))

    def distance(strength: float) -> float:
        torch.manual_seed(1)
        model = Decoder(TransformerConfig(11, 8, d_model=8, n_layers=1, n_heads=2))
        start = weights_of(model)
        ones = {name: torch.ones_like(w) for name, w in start.items()}
        loss = with_penalty(cross_entropy, lambda: ewc_penalty(model, start, ones), strength)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        train(model, lambda step: Batch(block[:, :-1], block[:, 1:]), loss, optimizer, 30)
        return sum((w - start[n]).square().sum().item() for n, w in weights_of(model).items())

    free, held = distance(0.0), distance(5.0)
    assert held < 0.2 * free
    with pytest.raises(ValueError, match="strength must be 0 or more"):
        with_penalty(cross_entropy, lambda: torch.zeros(()), -1)


def rows(value: int, n_rows: int = 8, n_tokens: int = 3):
    def batch(step: int) -> Batch:
        ids = torch.full((n_rows, n_tokens), value * 100 + step)
        return Batch(ids, -ids)

    return batch


@pytest.mark.parametrize("share", [0, 0.1, 0.25, 0.5, 1])
def test_replay_takes_its_share_of_rows_with_their_targets(share):
    batch = mix_replay(rows(1), rows(2), share)(7)
    n_old = round(share * 8)
    assert batch.token_ids[:, 0].tolist() == [107] * (8 - n_old) + [207] * n_old
    assert torch.equal(batch.targets, -batch.token_ids)


def test_replay_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="share must be from 0 to 1"):
        mix_replay(rows(1), rows(2), 1.5)
    with pytest.raises(ValueError, match="4 rows of 3 tokens are wanted"):
        mix_replay(rows(1), rows(2, n_tokens=5), 0.5)(0)
    with pytest.raises(ValueError, match="4 rows of 3 tokens are wanted"):
        mix_replay(rows(1), rows(2, n_rows=2), 0.5)(0)


def test_forgetting_compares_with_the_best_before():
    history = [{"a": 0.5}, {"a": 0.9, "b": 0.2}, {"a": 0.6, "b": 0.3, "c": 1.0}]
    assert forgetting(history) == pytest.approx({"a": 0.3, "b": -0.1})
    with pytest.raises(ValueError, match="one stage"):
        forgetting([{"a": 1.0}])
    with pytest.raises(ValueError, match=r"no score for \['a'\]"):
        forgetting([{"a": 1.0}, {"b": 1.0}])
