"""Parts of the experiment with a reward head that need no model: texts, split, fit, and counts."""

from types import SimpleNamespace

import pytest
import torch

from utils.experiments import unit10
from utils.experiments.registry import Run
from utils.text.preference_rows import Conversations
from utils.tokens.chat import render_chat
from utils.tokens.tokenizer import Tokenizer


def pair(question, chosen="yes, do", rejected="no"):
    return Conversations(({"role": "user", "content": question},), chosen, rejected)


def with_chat(tokenizer):
    """Return a byte tokenizer with the face of a pretrained one."""
    return SimpleNamespace(
        chat=lambda messages, add_prompt: render_chat(messages, tokenizer, add_prompt=add_prompt),
        encode=tokenizer.encode,
        end_id=tokenizer.end_id,
    )


def test_no_first_message_is_on_both_sides_of_the_split():
    pairs = [pair(f"Question {k // 2}?") for k in range(40)] + [pair("QUESTION  3?")]
    for seed in range(3):
        learned, aside = unit10.split_by_prompt(pairs, 0.3, seed)
        sides = [{pairs[k].about for k in some.tolist()} for some in (learned, aside)]
        assert not sides[0] & sides[1] and len(learned) + len(aside) == len(pairs)
        assert len(sides[1]) == 6
    splits = [unit10.split_by_prompt(pairs, 0.3, seed)[1].tolist() for seed in range(3)]
    assert splits[0] != splits[1] and splits[0] == unit10.split_by_prompt(pairs, 0.3, 0)[1].tolist()


def test_both_answers_of_a_pair_stay_behind_the_same_tokens():
    tokenizer = Tokenizer([])
    pairs = [pair("ab"), pair("x" * 300), pair("ab", chosen="y" * 500)]
    texts, n_cut = unit10.texts_of(pairs, with_chat(tokenizer))
    chosen, rejected = texts[:3], texts[3:]
    assert n_cut == 2 and all(len(text) <= unit10.N_TOKENS for text in texts)
    assert len(chosen[1]) == unit10.N_TOKENS and chosen[0][-1] == tokenizer.end_id
    for a, b, one in zip(chosen, rejected, pairs, strict=True):
        n = len(tokenizer.encode(one.rejected)) + 1
        assert b[:-n] == a[: len(b) - n]
    assert chosen[2][-1] != tokenizer.end_id, "an answer that was cut did not end"


class Positions(torch.nn.Module):
    """A model whose feature at a place is the sum of the tokens up to it."""

    config = SimpleNamespace(d_model=1)

    def forward(self, token_ids):
        return token_ids.cumsum(1).unsqueeze(2).to(torch.bfloat16)


def test_features_are_those_of_the_last_token_in_the_order_of_the_texts():
    texts = [[1] * n for n in (5, 2, 9, 1, 7, 3, 4, 6, 8)]
    features = unit10.features_of(Positions(), texts, pad_id=100)
    assert features.flatten().tolist() == [len(text) for text in texts]


def test_a_head_finds_the_direction_that_orders_the_pairs(tmp_path):
    draws = torch.Generator().manual_seed(0)
    features = torch.randn(2, 200, 4, generator=draws)
    features[0, :, 2] += 1.5
    head, records = unit10.fitted_head(features, Run(tmp_path, seed=0, n_steps=60))
    assert head.weight[0].argmax() == 2 and records[-1]["loss"] < records[0]["loss"]
    right = unit10.is_ordered(*head(features).detach().squeeze(2))
    assert right.mean() > 0.8


def test_ties_count_one_half():
    scores = torch.tensor([2.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 2.0])
    assert unit10.is_ordered(*scores).tolist() == [1.0, 0.5, 0.0]


def test_the_bar_can_break():
    unit10.above_chance([{"head": {"interval": [0.51, 0.6]}}])
    with pytest.raises(AssertionError, match="may be 0.490, which is not above chance"):
        unit10.above_chance([{"head": {"interval": [i, 0.6]}} for i in (0.51, 0.49)])
