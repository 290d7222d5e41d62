"""The loop: records, equality with a loop by hand, accumulation, stops, NaN."""

import _thread
import math
import signal
import threading
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from utils.runtime import generator
from utils.train.checkpoints import checkpoints_in
from utils.train.loop import NonFiniteLoss, TrainingInterrupted, train
from utils.train.losses import IGNORE_INDEX, cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import cosine


class Pair(NamedTuple):
    token_ids: Tensor
    targets: Tensor


def tiny_model(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Embedding(11, 8), nn.Linear(8, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 11)
    )


def batches(step, rows=4):
    ids = torch.randint(11, (rows, 6), generator=generator(step))
    return Pair(ids, (3 * ids + 1) % 11)


def run(model=None, n_steps=6, lr=1e-2, **settings):
    model = model or tiny_model()
    source = settings.pop("batches", batches)
    loss_fn = settings.pop("loss_fn", cross_entropy)
    return train(model, source, loss_fn, adamw(model, lr), n_steps, **settings)


def losses(records):
    return [record["loss"] for record in records]


def test_equals_a_loop_written_by_hand_with_torch_s_own_parts():
    schedule = cosine(30, warmup_steps=5)
    model, by_hand = tiny_model(), tiny_model()
    records = run(model, 30, schedule=schedule, clip_norm=0.3)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in by_hand.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in by_hand.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
    )
    for step in range(30):
        batch = batches(step)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * schedule(step)
        loss = nn.functional.cross_entropy(
            by_hand(batch.token_ids).flatten(0, 1), batch.targets.flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(by_hand.parameters(), 0.3)
        optimizer.step()
        assert records[step]["loss"] == pytest.approx(loss.item(), abs=1e-5)
        assert records[step]["gradient_norm"] == pytest.approx(norm.item(), abs=1e-4)
        assert records[step]["learning_rate"] == pytest.approx(1e-2 * schedule(step))
    assert losses(records)[-1] < losses(records)[0] - 0.5


def test_records_hold_what_is_promised():
    records = run(n_steps=3, accumulate=2)
    names = "step loss learning_rate gradient_norm tokens seconds tokens_per_second"
    assert all(list(record) == names.split() for record in records)
    assert [record["step"] for record in records] == [0, 1, 2]
    assert [record["tokens"] for record in records] == [48, 96, 144]
    seconds = [record["seconds"] for record in records]
    assert 0 < seconds[0] < seconds[1] < seconds[2]


def test_zero_steps_change_nothing():
    model = tiny_model()
    before = model[0].weight.clone()
    assert run(model, 0) == []
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("k", [2, 4])
def test_accumulated_micro_batches_equal_the_large_batch(k):
    whole = {}

    def large(step):
        if step not in whole:
            batch = batches(step, rows=4)
            targets = batch.targets.clone()
            targets[0] = IGNORE_INDEX  # uneven counts: a mean of means would differ
            targets[1, 1:] = IGNORE_INDEX
            targets[0, 0] = 3
            whole[step] = Pair(batch.token_ids, targets)
        return whole[step]

    def small(index):
        batch, rows = large(index // k), slice(index % k * 4 // k, (index % k + 1) * 4 // k)
        return Pair(batch.token_ids[rows], batch.targets[rows])

    one, other = tiny_model(), tiny_model()
    together = run(one, 8, batches=large)
    in_parts = run(other, 8, batches=small, accumulate=k)
    assert losses(in_parts) == pytest.approx(losses(together), abs=1e-6)
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, its, atol=1e-5, rtol=0)


def test_mode_and_peak_rate_are_what_they_were():
    for training in (True, False):
        model = tiny_model().train(training)
        optimizer = adamw(model, 1e-2)
        train(model, batches, cross_entropy, optimizer, 2, schedule=cosine(2))
        assert model.training is training
        assert {group["lr"] for group in optimizer.param_groups} == {1e-2}
        with pytest.raises(ZeroDivisionError):
            run(model, 2, loss_fn=lambda logits, targets: 1 / 0)
        assert model.training is training


def test_loss_function_is_the_one_given():
    def doubled(logits, targets):
        return 2 * cross_entropy(logits, targets)

    assert losses(run(n_steps=1, loss_fn=doubled))[0] == 2 * losses(run(n_steps=1))[0]


def test_mixed_precision_is_asked_for():
    seen = []

    def loss_fn(logits, targets):
        seen.append(logits.dtype)
        return cross_entropy(logits, targets)

    run(n_steps=1, loss_fn=loss_fn)
    run(n_steps=1, loss_fn=loss_fn, autocast_dtype=torch.bfloat16)
    assert seen == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_anything_changes(tmp_path, bad):
    calls = []

    def loss_fn(logits, targets):
        calls.append(1)
        return cross_entropy(logits, targets) * (bad if len(calls) == 6 else 1.0)

    model = tiny_model()
    with pytest.raises(NonFiniteLoss) as error:
        run(model, 9, loss_fn=loss_fn, checkpoint=tmp_path, checkpoint_every=2)
    kept = checkpoints_in(tmp_path)
    assert [path.name[:13] for path in kept] == ["step-00000002", "step-00000004"]
    text = str(error.value)
    assert f"loss {bad}" in text and "at step 5" in text and "learning rate 0.01" in text
    assert str(kept[-1]) in text
    assert all(p.isfinite().all() for p in model.parameters())
    other = tiny_model()
    run(other, 5)
    assert torch.equal(other[0].weight, model[0].weight)
    # Mended, the run goes on from the checkpoint to where an unbroken one arrives.
    with pytest.warns(UserWarning, match="goes on with cross_entropy"):
        again = run(tiny_model(), 9, checkpoint=tmp_path)
    assert losses(again) == losses(run(n_steps=9))


def test_a_gradient_that_is_not_finite_stops_too():
    def loss_fn(logits, targets):
        return cross_entropy(logits, targets) + (logits - logits.detach()).abs().sum().sqrt()

    model = tiny_model()
    before = model[0].weight.clone()
    with pytest.raises(NonFiniteLoss, match="gradient norm nan at step 0.*there is no checkpoint"):
        run(model, 2, loss_fn=loss_fn)
    assert torch.equal(model[0].weight, before)


def test_stop_button_finishes_the_step_saves_and_resumes_bit_for_bit(tmp_path):
    def pressed(step):
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return batches(step)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted, match="stopped after 4 of 8 steps.*run again") as error:
        run(n_steps=8, batches=pressed, checkpoint=tmp_path)
    assert isinstance(error.value, KeyboardInterrupt)
    assert len(error.value.records) == 4
    assert signal.getsignal(signal.SIGINT) is handler
    model, whole = tiny_model(seed=5), tiny_model()
    records = run(model, 8, checkpoint=tmp_path)
    assert losses(records) == losses(run(whole, 8))
    assert torch.equal(model[0].weight, whole[0].weight)


def test_stop_button_without_a_checkpoint_keeps_model_and_records():
    def pressed(step):
        if step == 2:
            _thread.interrupt_main()
        return batches(step)

    with pytest.raises(TrainingInterrupted, match="Pass checkpoint=PATH") as error:
        run(n_steps=8, batches=pressed)
    assert losses(error.value.records) == losses(run(n_steps=3))


def test_second_press_stops_at_once():
    def pressed(step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    with pytest.raises(KeyboardInterrupt):
        run(n_steps=2, batches=pressed)


def test_trains_in_a_thread_that_gets_no_signals():
    result = []
    thread = threading.Thread(target=lambda: result.extend(run(n_steps=2)))
    thread.start()
    thread.join()
    assert losses(result) == losses(run(n_steps=2))


def test_resume_with_dropout_gives_the_same_losses(tmp_path):
    model = tiny_model(dropout=0.5)
    whole = losses(run(model, 10))
    first = run(tiny_model(dropout=0.5), 6, checkpoint=tmp_path)
    torch.manual_seed(99)
    rest = run(tiny_model(seed=1, dropout=0.5), 10, checkpoint=tmp_path)
    assert losses(first) == whole[:6]
    assert losses(rest) == whole


def test_a_finished_run_returns_its_records_without_training(tmp_path):
    first = run(n_steps=4, checkpoint=tmp_path)
    assert run(n_steps=4, checkpoint=tmp_path, batches=None) == first


def test_resume_false_starts_anew_and_keeps_the_old_run_aside(tmp_path):
    folder = tmp_path / "run"
    run(n_steps=4, checkpoint=folder)
    records = run(n_steps=2, checkpoint=folder, resume=False)
    assert len(records) == 2
    assert [path.name[:13] for path in checkpoints_in(folder)] == ["step-00000002"]
    assert [path.name[:13] for path in checkpoints_in(tmp_path / "run.old")] == ["step-00000004"]


def test_settings_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(ValueError, match="accumulate must be at least 1, got 0"):
        run(accumulate=0)
    with pytest.raises(ValueError, match="checkpoint_every=5 needs a folder"):
        run(checkpoint_every=5)
    run(n_steps=4, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="has 4 steps, more than n_steps=3"):
        run(n_steps=3, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="written with lr=0.01 in the optimizer, here it is 0.03"):
        run(n_steps=6, lr=0.03, checkpoint=tmp_path)
