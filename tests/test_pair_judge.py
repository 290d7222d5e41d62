"""The trained judge of pairs: labels as stated, batches that score the choice alone."""

from collections import Counter

import pytest
import torch

from utils.evaluate.pair_judge import (
    MAX_TOKENS,
    Comparison,
    as_function,
    choice_ids,
    hasty_labels,
    judged_pairs,
    label_batches,
    pair_choices,
    render,
    train_pair_judge,
    without_repeats,
)
from utils.world.facts import build_world
from utils.zoo.load import load_base


@pytest.fixture(scope="module")
def base():
    return load_base()


@pytest.fixture(scope="module")
def pairs(base):
    return judged_pairs(build_world(), base[1], 1500, seed=3)


def test_pairs_fit_and_differ_in_all_ways(base, pairs):
    longest = max(
        len(render(base[1], Comparison(p.prompt, *order)))
        for p in pairs
        for order in ((p.chosen, p.rejected), (p.rejected, p.chosen))
    )
    assert longest < MAX_TOKENS
    assert set(Counter(p.differs_in for p in pairs)) == {"tone", "length", "fact"}


def test_labels_have_the_shares_that_are_asked_for(pairs):
    chosen = {frozenset((p.chosen, p.rejected)): p for p in pairs}

    def share_right(labelled, kind):
        rows = [x for x in labelled if chosen[frozenset(x.shown[1:])].differs_in == kind]
        right = [
            (x.shown.one if x.choice == "first" else x.shown.other)
            == chosen[frozenset(x.shown[1:])].chosen
            for x in rows
        ]
        return sum(right) / len(right)

    honest = hasty_labels(pairs, 0, share_unread=0, share_impressed=0)
    assert all(share_right(honest, kind) == 1 for kind in ("tone", "length", "fact"))
    unread = hasty_labels(pairs, 0, share_unread=1)
    assert {x.choice for x in unread} == {"first"}
    hasty = hasty_labels(pairs, 0)
    assert 0.82 < share_right(hasty, "fact") < 0.92  # 1 - .25 / 2
    assert share_right(hasty, "length") < 0.45  # .25 / 2 + .75 * .3
    assert 0.56 < sum(x.choice == "first" for x in hasty) / len(hasty) < 0.69


def test_batches_score_the_choice_after_the_last_token(base, pairs):
    _, tokenizer = base
    labelled = hasty_labels(pairs[:20], 0)
    batch = label_batches(tokenizer, labelled, batch_size=8, seed=0)
    counted = 0
    for k in range(3):
        token_ids, targets = batch(k)
        assert token_ids.shape == targets.shape
        assert ((targets != -100).sum(1) == 1).all()
        counted += len(targets)
        assert set(targets[targets != -100].tolist()) <= set(choice_ids(tokenizer))
    assert counted == 20 and torch.equal(batch(0).token_ids, batch(3).token_ids)


def test_choices_do_not_depend_on_the_batch(base, pairs):
    model, tokenizer = base
    shown = [Comparison(p.prompt, p.chosen, p.rejected) for p in pairs[:30]]
    assert pair_choices(model, tokenizer, shown) == pair_choices(model, tokenizer, shown, 1)


def test_the_judge_as_a_function_knows_both_orders_of_each_pair_once(base, pairs):
    model, tokenizer = base
    some = without_repeats(pairs[:200])
    assert len(some) <= 200
    judge = as_function(model, tokenizer, some)
    for pair in some[:5]:
        assert judge(pair.chosen, pair.rejected) in ("first", "second")
        assert judge(pair.rejected, pair.chosen) in ("first", "second")
    with pytest.raises(ValueError, match="keep one"):
        as_function(model, tokenizer, [some[0], some[0]])
    with pytest.raises(ValueError, match="labelled is empty"):
        train_pair_judge(model, tokenizer, [])
