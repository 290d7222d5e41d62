"""DPO, IPO and KTO by hand and as properties; the traps of the loop; what bad input gets."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from utils.align.preference import (
    PairLogprobs,
    TokenPair,
    dpo,
    ipo,
    kto,
    reference_logprobs,
    rows_of_step,
    token_pairs,
    train_preferences,
)
from utils.align.preference_losses import dpo_loss, ipo_loss, kto_loss
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.runtime import generator
from utils.tokens.tokenizer import Tokenizer
from utils.train.loop import NonFiniteLoss

PAD = 0


def tiny(seed=0, vocab_size=12, dropout=0.0):
    torch.manual_seed(seed)
    config = TransformerConfig(vocab_size, 24, d_model=16, n_layers=1, n_heads=2)
    model = Decoder(config)
    if dropout:
        model.norm = nn.Sequential(model.norm, nn.Dropout(dropout))
    return model


def drawn_pairs(n, seed=0):
    g = generator(seed)

    def row(low, high):
        length = int(torch.randint(low, high, (1,), generator=g))
        return torch.randint(1, 12, (length,), generator=g).tolist()

    found = [TokenPair(row(2, 5), row(1, 4), row(4, 9)) for _ in range(n)]
    return [p for p in found if p.chosen != p.rejected]


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr)


def run(policy, pairs=None, loss_fn=dpo, n_steps=4, optimizer=None, **settings):
    ref = tiny()
    optimizer = optimizer or sgd(policy)
    pairs = pairs or drawn_pairs(10)
    settings = {"pad_id": PAD, "batch_size": 4} | settings
    return train_preferences(policy, ref, pairs, loss_fn, optimizer, n_steps, **settings)


def test_dpo_sees_a_difference_alone_so_a_fall_of_both_costs_nothing():
    ref = torch.tensor([-10.0, -20.0])
    healthy = dpo_loss(ref, ref - 30, ref, ref)
    assert torch.equal(dpo_loss(ref - 100, ref - 130, ref, ref), healthy)


def test_dpo_prefers_a_growing_margin_for_ever_and_ipo_does_not():
    zero, one = torch.zeros(1), torch.ones(1, dtype=torch.int64)
    dpo_values, ipo_values = (
        [loss(torch.tensor([m])).item() for m in (0.0, 5.0, 10.0)]
        for loss in (
            lambda m: dpo_loss(m, zero, zero, zero),
            lambda m: ipo_loss(m, zero, zero, zero, one, one),  # the target is 5
        )
    )
    assert dpo_values == sorted(dpo_values, reverse=True)
    assert ipo_values[1] == 0 < ipo_values[0] == pytest.approx(ipo_values[2])


def test_kto_has_no_gradient_through_its_reference_point():
    x, other = torch.zeros(2, requires_grad=True), torch.ones(3, requires_grad=True)
    loss = kto_loss(x, torch.zeros(2), torch.tensor([True, False]), other, torch.zeros(3))
    loss.backward()
    assert other.grad is None and x.grad.abs().min() > 0


@pytest.mark.parametrize("loss_fn", [dpo, ipo, kto])
def test_a_run_begins_at_the_loss_of_agreement_and_tells_pairs_apart(loss_fn):
    policy = tiny()
    records = run(policy, loss_fn=loss_fn, n_steps=30, mismatched=loss_fn is kto)
    wanted = {"dpo": math.log(2), "ipo": 25.0, "kto": 0.5}[loss_fn.__name__]
    assert records[0]["loss"] == pytest.approx(wanted, abs=1e-5)
    assert records[0]["margin"] == pytest.approx(0.0, abs=1e-5)
    assert records[-1]["margin"] > 0.1 and records[-1]["accuracy"] > 0.7
    assert records[-1]["margin"] == pytest.approx(
        records[-1]["chosen_ratio"] - records[-1]["rejected_ratio"], abs=1e-4
    )


def test_few_pairs_are_learned_by_heart_and_others_are_not():
    policy, pairs = tiny(), drawn_pairs(4)
    records = run(policy, pairs, n_steps=150, optimizer=torch.optim.Adam(policy.parameters(), 0.01))
    assert records[-1]["loss"] < 0.01
    others, ref = drawn_pairs(40, seed=9), tiny()
    four = [
        reference_logprobs(m, [p.prompt for p in others], [getattr(p, s) for p in others], PAD)
        for m in (policy, ref)
        for s in ("chosen", "rejected")
    ]
    assert dpo_loss(*four) > 0.2


def test_the_likelihood_term_keeps_the_chosen_answers():
    ends = []
    for coef in (0.0, 1.0):
        policy = tiny()
        optimizer = torch.optim.Adam(policy.parameters(), 0.01)
        ends.append(run(policy, optimizer=optimizer, n_steps=60, likelihood_coef=coef)[-1])
    assert ends[1]["chosen_ratio"] > ends[0]["chosen_ratio"]
    assert ends[1]["chosen_ratio"] > 0


def test_the_reference_is_read_without_dropout_and_left_in_its_mode():
    ref = tiny(dropout=0.5).train()
    pairs = drawn_pairs(6)
    sides = [p.prompt for p in pairs], [p.chosen for p in pairs]
    first, second = (reference_logprobs(ref, *sides, PAD) for _ in range(2))
    assert torch.equal(first, second) and ref.training
    one_by_one = [reference_logprobs(ref, [a], [b], PAD) for a, b in zip(*sides, strict=True)]
    torch.testing.assert_close(torch.cat(one_by_one), first, atol=1e-5, rtol=0)


def test_a_long_prompt_is_cut_once_at_its_beginning_for_both_answers():
    tokenizer = Tokenizer([])
    pair = SimpleNamespace(prompt="abcdefghijkl", chosen="x", rejected="yyyyyy")
    (whole,) = token_pairs([pair], tokenizer, 64)
    (cut,) = token_pairs([pair], tokenizer, 12)
    assert cut.prompt == whole.prompt[-5:] and (cut.chosen, cut.rejected) == (
        whole.chosen,
        whole.rejected,
    )
    assert len(cut.prompt) + len(cut.rejected) == 12
    assert cut.chosen[-1] == cut.rejected[-1] == tokenizer.end_id


def test_every_epoch_reads_every_pair_once_in_another_order():
    orders = [sum((rows_of_step(3 * e + s, 12, 4, 0) for s in range(3)), []) for e in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(12)) and orders[0] != orders[1]
    assert rows_of_step(1, 12, 4, 0) == orders[0][4:8] != rows_of_step(1, 12, 4, 1)


def test_numbers_of_a_batch_do_not_depend_on_its_padding():
    policy, ref, seen = tiny(3), tiny(), []
    pairs = drawn_pairs(5)

    def note(scores: PairLogprobs):
        seen.append(scores)
        return dpo(scores)

    for size in (5, 1):
        train_preferences(
            policy, ref, pairs, note, sgd(policy, 0.0), 5 // size, pad_id=PAD, batch_size=size
        )
    together = torch.stack(list(seen[0][:4]))
    apart = torch.stack([torch.cat([s[k] for s in seen[1:]]) for k in range(4)])
    torch.testing.assert_close(apart.sort(dim=1).values, together.sort(dim=1).values)
    assert seen[0].chosen_lengths.sum() == sum(len(p.chosen) for p in pairs)


BAD_TEXTS = {
    "pair 1: chosen and rejected are equal": ("q", "same", "same"),
    "pair 1: the chosen answer is empty": ("q", " ", "b"),
    "pair 1: the rejected answer is empty": ("q", "a", ""),
    "pair 1: an answer of 31 tokens leaves no room": ("q", "a", "b" * 30),
}


@pytest.mark.parametrize("words", BAD_TEXTS)
def test_a_pair_that_teaches_nothing_is_named(words):
    rows = [("q", "a", "b"), BAD_TEXTS[words]]
    pairs = [SimpleNamespace(prompt=p, chosen=c, rejected=r) for p, c, r in rows]
    with pytest.raises(ValueError, match=words):
        token_pairs(pairs, Tokenizer([]), 24)


def test_what_does_not_fit_is_refused_before_the_first_step():
    policy = tiny()
    before = copy.deepcopy(policy.state_dict())
    with pytest.raises(ValueError, match="vocabulary of 12 tokens and the reference one of 13"):
        train_preferences(
            policy, tiny(vocab_size=13), drawn_pairs(3), dpo, sgd(policy), 1, pad_id=PAD
        )
    with pytest.raises(ValueError, match="one model"):
        train_preferences(policy, policy, drawn_pairs(3), dpo, sgd(policy), 1, pad_id=PAD)
    with pytest.raises(ValueError, match="pairs is empty"):
        train_preferences(policy, tiny(), [], dpo, sgd(policy), 1, pad_id=PAD)
    with pytest.raises(ValueError, match="pair 0 has an empty"):
        run(policy, [TokenPair([1], [], [2])])
    with pytest.raises(ValueError, match="pair 1: chosen and rejected are equal"):
        run(policy, [TokenPair([1], [1], [2]), TokenPair([1], [2], [2])])
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())


def test_a_loss_that_is_not_finite_stops_before_the_weights_change():
    policy = tiny()
    before = copy.deepcopy(policy.state_dict())
    with pytest.raises(NonFiniteLoss, match="step 0"):
        run(policy, loss_fn=lambda s: dpo(s) * float("nan"))
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())


def plain_records(records):
    clocks = ("seconds", "tokens_per_second")
    return [{k: v for k, v in r.items() if k not in clocks} for r in records]


def test_a_resumed_run_is_the_run_that_was_never_stopped(tmp_path):
    whole = tiny()
    adam = torch.optim.Adam(whole.parameters(), 0.01)
    wanted = run(whole, optimizer=adam, n_steps=9, likelihood_coef=0.5)
    for n in (4, 9):
        policy = tiny()
        adam = torch.optim.Adam(policy.parameters(), 0.01)
        records = run(policy, optimizer=adam, n_steps=n, likelihood_coef=0.5, checkpoint=tmp_path)
    assert plain_records(records) == plain_records(wanted)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), policy.parameters(), strict=True)
    )
    with pytest.raises(ValueError, match="seed=0"):
        run(policy, optimizer=adam, n_steps=12, seed=1, likelihood_coef=0.5, checkpoint=tmp_path)


def test_measure_is_called_now_and_then_and_goes_into_the_record():
    records = run(tiny(), n_steps=5, measure=lambda policy: {"gold": 1.0}, measure_every=2)
    assert [k for k, r in enumerate(records) if "gold" in r] == [1, 3, 4]
