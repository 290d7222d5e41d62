"""Reward models: the loss, the place of the score, training, bad input, TRL as oracle."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from utils.align.bradley_terry import bradley_terry_loss, preference_probability
from utils.align.labellers import with_label_noise, with_length_habit
from utils.align.reward import (
    EncodedPair,
    RewardModel,
    check_scores,
    encode_pairs,
    pair_batches,
    score_at_last,
    score_pairs,
    score_responses,
    score_rollouts,
    train_reward_model,
)
from utils.align.rollouts import draw_rollouts
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.tokens.tokenizer import Tokenizer
from utils.train.loop import NonFiniteLoss, TrainingInterrupted
from utils.world.facts import build_world
from utils.world.preferences import preference_pairs

CONFIG = TransformerConfig(vocab_size=12, context_length=16, d_model=16, n_layers=2, n_heads=2)
Pair = namedtuple("Pair", "prompt chosen rejected")


def decoder(seed=0):
    torch.manual_seed(seed)
    return Decoder(CONFIG)


def scorer(seed=0):
    model = RewardModel(decoder(seed))
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


PAIRS = [
    EncodedPair([3, 4], [5, 6, 0], [7, 0]),
    EncodedPair([3], [5, 0], [7, 8, 9, 0]),
    EncodedPair([4, 4, 4], [5, 0], [7, 0]),
    EncodedPair([3, 8], [5, 5, 0], [7, 7, 0]),
]


def test_loss_is_that_of_numpy_with_and_without_margin_and_centre():
    rng = np.random.default_rng(0)
    a, b, m = (rng.normal(size=7).astype(np.float32) for _ in range(3))
    want = np.mean(np.log1p(np.exp(-(a.astype(float) - b - m)))) + 0.3 * np.mean((a + b) ** 2.0)
    rows = [torch.from_numpy(row) for row in (a, b, m)]
    assert bradley_terry_loss(*rows, center=0.3).item() == pytest.approx(want, abs=1e-6)
    loss = bradley_terry_loss(torch.tensor([-1e4, 1e4]), torch.tensor([1e4, -1e4]))
    assert loss.item() == pytest.approx(1e4)


def test_loss_refuses_what_would_be_broadcast_or_nothing():
    four = torch.zeros(4)
    for rejected in (torch.zeros(4, 1), torch.zeros(1), torch.zeros(3)):
        with pytest.raises(ValueError, match="one score for each"):
            bradley_terry_loss(four, rejected)
    with pytest.raises(ValueError, match="no pairs"):
        bradley_terry_loss(torch.zeros(0), torch.zeros(0))
    with pytest.raises(ValueError, match="center"):
        bradley_terry_loss(four, four, center=-1.0)
    assert preference_probability(four, four).tolist() == [0.5] * 4


def test_score_is_read_at_the_last_kept_token_and_nothing_else_counts():
    torch.manual_seed(0)
    features = torch.randn(3, 5, 4)
    keep = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 0]]).bool()
    features[~keep] = float("nan")
    features.requires_grad_()
    weight, bias = torch.randn(4), torch.tensor(0.5)
    scores = score_at_last(features, keep, weight, bias)
    want = torch.stack([features[0, 2], features[1, 4], features[2, 3]]) @ weight + 0.5
    torch.testing.assert_close(scores, want)
    scores.sum().backward()
    assert features.grad.isfinite().all() and int((features.grad != 0).any(-1).sum()) == 3


def test_score_refuses_a_mask_that_is_none_and_a_text_without_tokens():
    features, weight = torch.zeros(2, 3, 4), torch.zeros(4)
    for keep in (torch.ones(2, 3), torch.ones(2, 2).bool(), torch.ones(3).bool()):
        with pytest.raises(ValueError, match="keep must be bool"):
            score_at_last(features, keep, weight, torch.zeros(()))
    keep = torch.tensor([[True, True, True], [False] * 3])
    with pytest.raises(ValueError, match="text 1 has no kept token"):
        score_at_last(features, keep, weight, torch.zeros(()))


@pytest.mark.parametrize("pad_id", [0, 1, 5])
def test_padding_and_company_change_no_score(pad_id):
    model = scorer()
    prompts = [[3, 4], [3], [4, 4, 4]]
    responses = [[5, 6, 0], [7, 8, 9, 9, 0], [5]]
    together = score_responses(model, prompts, responses, pad_id)
    alone = [
        score_responses(model, [p], [r], pad_id).item()
        for p, r in zip(prompts, responses, strict=True)
    ]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)
    assert score_responses(model, prompts, responses, pad_id, batch_size=2).tolist() == (
        pytest.approx(alone, abs=1e-5)
    )
    assert not together.requires_grad and not together.is_inference()


def test_rollouts_are_scored_with_their_end_token_where_they_ended():
    policy, model = decoder(3), scorer()
    draws = torch.Generator().manual_seed(0)
    found = draw_rollouts(policy, [[3], [4, 5]] * 6, 5, pad_id=1, end_id=0, generator=draws)
    assert 0 < int(found.ended.sum()) < 12
    got = score_rollouts(model, found, pad_id=1, end_id=0)
    for row in range(12):
        ids = torch.cat([found.token_ids[row, :1], found.targets[row]])[: int(found.last[row]) + 2]
        want = model(ids[None], torch.ones(1, len(ids), dtype=torch.bool))
        assert got[row].item() == pytest.approx(want.item(), abs=1e-5)


def test_standardising_twice_is_standardising_once_and_needs_spread():
    model = scorer()
    args = ([[3, 4]] * 4, [[5, 0], [6, 0], [7, 8, 0], [9]], 1)
    raw = score_responses(model, *args)
    model.standardise(raw)
    first = score_responses(model, *args)
    assert first.mean().item() == pytest.approx(0, abs=1e-5)
    assert first.std().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(first * model.std + model.mean, raw)
    model.standardise(first)
    torch.testing.assert_close(score_responses(model, *args), first, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="without spread"):
        model.standardise(torch.ones(3))
    with pytest.raises(ValueError, match="nan"):
        model.standardise(torch.tensor([0.0, float("nan")]))


@pytest.mark.parametrize(
    ("prompts", "responses", "words"),
    [
        ([], [], "0 prompts and 0 responses"),
        ([[3]], [[4], [5]], "1 prompts and 2 responses"),
        ([[3]], [[]], "response 0 is empty"),
        ([[3], []], [[4], [5]], "the prompt of response 1 is empty"),
        ([[3] * 10], [[4] * 7], "17 tokens, more than the context of 16"),
    ],
)
def test_bad_responses_are_refused_in_words(prompts, responses, words):
    with pytest.raises(ValueError, match=words):
        score_responses(scorer(), prompts, responses, 1)


def test_a_score_that_is_no_number_never_leaves_as_a_reward():
    model = scorer()
    torch.nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(ValueError, match="the score of answer 0 is nan"):
        score_responses(model, [[3]], [[4]], 1)
    with pytest.raises(ValueError, match="is inf"):
        check_scores(torch.tensor([1.0, float("inf")]), 2)
    with pytest.raises(ValueError, match="for 3 answers"):
        check_scores(torch.zeros(2), 3)


def test_pairs_that_teach_nothing_are_refused_with_their_number():
    tokenizer = Tokenizer([])
    good = Pair("a?", "b", "c")
    assert encode_pairs([good], tokenizer, 16)[0].chosen[-1] == tokenizer.end_id
    for bad, words in (
        (Pair("a?", "b", "b"), "pair 1 has the same answer twice"),
        (Pair("a?", " ", "b"), "the chosen answer of pair 1 is empty"),
        (Pair("a?", "b", ""), "the rejected answer of pair 1 is empty"),
        (Pair("a?", "b", "c" * 20), "the rejected answer of pair 1 and its prompt have 25 tokens"),
    ):
        with pytest.raises(ValueError, match=words):
            encode_pairs([good, bad], tokenizer, 16)


def test_batches_hold_the_chosen_then_the_rejected_and_every_pair_once_an_epoch():
    batches = pair_batches(PAIRS, 2, seed=3)
    seen = []
    for step in (0, 1):
        batch = batches(step)
        assert batch.token_ids.shape[0] == 4 and batch.targets.tolist() == [1] * 4
        rows = [[i for i in row if i >= 0] for row in batch.token_ids.tolist()]
        for chosen, rejected in zip(rows[:2], rows[2:], strict=True):
            seen.append((chosen, rejected))
    want = [(p.prompt + p.chosen, p.prompt + p.rejected) for p in PAIRS]
    assert sorted(seen) == sorted(want)
    with pytest.raises(ValueError, match="batch_size"):
        pair_batches(PAIRS, 5)


def test_training_orders_the_pairs_and_leaves_the_start_as_it_is():
    start = decoder()
    before = {name: w.clone() for name, w in start.named_parameters()}
    model, records = train_reward_model(
        start, PAIRS, 40, batch_size=4, learning_rate=1e-2, warmup_steps=2
    )
    chosen, rejected = score_pairs(model, PAIRS)
    assert (chosen > rejected).all() and records[-1]["loss"] < 0.1
    assert records[0]["loss"] == pytest.approx(np.log(2), abs=1e-6)  # the head begins at 0
    assert all(torch.equal(w, before[name]) for name, w in start.named_parameters())


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path):
    settings = {"batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 1}
    whole, _ = train_reward_model(decoder(), PAIRS, 6, **settings)

    calls = iter(range(9))

    def stops(chosen, rejected):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return bradley_terry_loss(chosen, rejected)

    stops.__qualname__ = bradley_terry_loss.__qualname__
    keep = {"checkpoint": tmp_path / "run", "checkpoint_every": 1}
    with pytest.raises((KeyboardInterrupt, TrainingInterrupted)):
        train_reward_model(decoder(), PAIRS, 6, **settings, **keep, loss_fn=stops)
    resumed, records = train_reward_model(decoder(), PAIRS, 6, **settings, **keep)
    assert len(records) == 6
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_loss_that_is_no_number_stops_the_training():
    with pytest.raises(NonFiniteLoss, match="step 0"):
        train_reward_model(
            decoder(), PAIRS, 2, batch_size=2, loss_fn=lambda a, b: (a - b).mean() * float("nan")
        )


def test_habits_and_noise_change_what_they_say_and_nothing_else():
    pairs = preference_pairs(build_world(0), 400, differ=("fact",))
    noisy = with_label_noise(pairs, 0.25, seed=1)
    n_swapped = sum(a.chosen == b.rejected for a, b in zip(pairs, noisy, strict=True))
    assert 75 <= n_swapped <= 125
    assert all(
        {a.chosen, a.rejected} == {b.chosen, b.rejected} for a, b in zip(pairs, noisy, strict=True)
    )
    wordy = with_length_habit(pairs, 0.9, seed=1)
    assert all(
        a.chosen in b.chosen and a.rejected in b.rejected for a, b in zip(pairs, wordy, strict=True)
    )
    longer = [len(b.chosen) > len(b.rejected) + 60 for b in wordy]
    assert 0.5 < sum(longer) / len(longer) < 0.72  # .81 of the three quarters that were short
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="share"):
            with_label_noise(pairs, share)
        with pytest.raises(ValueError, match="share"):
            with_length_habit(pairs, share)


@pytest.mark.slow
def test_the_loss_is_that_of_trl_on_the_same_batch(tmp_path):
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    from utils.align.reward_export import reward_model_in_transformers
    from utils.assistants.reward_models import load_reward_model, world_pairs

    ours, tokenizer = load_reward_model()
    pairs = world_pairs(build_world(0), tokenizer, 8, seed=5, held_out=True)
    theirs = reward_model_in_transformers(
        ours, tmp_path / "model", pad_id=tokenizer.pad_id, end_id=tokenizer.end_id
    )
    chosen, rejected = (scores * ours.std for scores in score_pairs(ours, pairs, tokenizer.pad_id))
    rows = [
        {"chosen_ids": p.prompt + p.chosen, "rejected_ids": p.prompt + p.rejected} for p in pairs
    ]
    for center in (None, 0.01):
        config = RewardConfig(
            output_dir=str(tmp_path / "out"),
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=8,
            max_length=128,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            center_rewards_coefficient=center,
        )
        trainer = RewardTrainer(
            model=theirs,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer.to_hugging_face(),
        )
        batch = trainer.data_collator([dict(row) for row in rows])
        with torch.no_grad():
            loss = trainer.compute_loss(theirs.eval(), batch)
        shift = ours.mean - ours.head.bias[0]  # their scores are raw and have no bias
        want = bradley_terry_loss(chosen + shift, rejected + shift, center=center or 0.0)
        assert loss.item() == pytest.approx(want.item(), abs=1e-5)
    assert F.logsigmoid(chosen - rejected).mean().item() < 0
