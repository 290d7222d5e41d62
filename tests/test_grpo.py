"""Group advantages, the loss and its four normalisations, the checker; the loop and bad input."""

import copy
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from utils.align.group_losses import (
    LENGTHS,
    group_advantages,
    grpo_loss,
    leave_one_out_advantages,
    rloo_loss,
    row_lengths,
)
from utils.align.grpo import train_grpo, update
from utils.align.rollouts import draw_rollouts
from utils.align.verify import verify_answer
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.runtime import generator
from utils.settings import project_root
from utils.train.checkpoints import checkpoints_in

IDS = {"pad_id": 0, "end_id": 1}
LIMIT = 6


def tiny(seed=0, vocab_size=12):
    torch.manual_seed(seed)
    return Decoder(TransformerConfig(vocab_size, 16, d_model=16, n_layers=1, n_heads=2))


def prompts(iteration):
    return [[2 + (iteration + k) % 9, 3] for k in range(4)]


def fives(rollouts):
    """Return the share of fives in each response."""
    return torch.tensor([r.count(5) / max(len(r), 1) for r in rollouts.responses])


def adam(model, lr=0.01):
    return torch.optim.Adam(model.parameters(), lr)


def run(policy, n=3, reward=fives, optimizer=None, **settings):
    settings = {"group_size": 4, "max_new_tokens": LIMIT, "minibatch_size": 8} | IDS | settings
    return train_grpo(policy, prompts, reward, optimizer or adam(policy), n, **settings)


# advantages


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, -3.3, 1e8 + 0.3])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_equal_rewards_give_exactly_zero_and_no_nan(value, size):
    rewards = torch.full((2 * size,), value)
    for found in (
        group_advantages(rewards, size),
        group_advantages(rewards, size, False),
        leave_one_out_advantages(rewards, size),
    ):
        assert torch.equal(found, torch.zeros(2 * size))


def test_division_by_the_standard_deviation_weighs_hard_and_easy_prompts_more():
    """Without it a group's absolute advantages add up to 2 n p (1 - p); with it, to its root."""
    totals = {True: [], False: []}
    for n_right in range(1, 8):
        rewards = torch.tensor([1.0] * n_right + [0.0] * (8 - n_right))
        for divide in totals:
            totals[divide].append(group_advantages(rewards, 8, divide).abs().sum().item())
    even = {divide: values[0] / values[3] for divide, values in totals.items()}
    assert even[False] == pytest.approx(7 / 16, abs=1e-3)
    assert even[True] == pytest.approx((7 / 16) ** 0.5, abs=1e-3)


def test_leave_one_out_is_the_mean_of_the_others():
    rewards = torch.randn(12, generator=generator(0))
    groups = rewards.view(3, 4).numpy()
    want = [row[k] - np.delete(row, k).mean() for row in groups for k in range(4)]
    np.testing.assert_allclose(leave_one_out_advantages(rewards, 4), want, atol=1e-6)


# the loss


def case(B=4, T=7, seed=0):
    g = generator(seed)
    old = -3 * torch.rand(B, T, generator=g)
    logprobs = old + 0.3 * torch.randn(B, T, generator=g)
    mask = torch.arange(T) < torch.randint(1, T + 1, (B, 1), generator=g)
    return logprobs, old, torch.randn(B, generator=g), mask


def test_on_policy_the_loss_is_zero_and_its_gradient_is_that_of_the_policy_gradient():
    _, old, _, mask = case()
    x = old.clone().requires_grad_()
    advantages = group_advantages(torch.tensor([1.0, 0.0, 0.0, 1.0]), 4)
    loss = grpo_loss(x, old, advantages, mask)
    (got,) = torch.autograd.grad(loss, x)
    assert abs(loss.item()) < 1e-6 and got.abs().sum() > 0.1
    want = -(advantages[:, None] * mask / mask.sum(1, keepdim=True)) / 4
    torch.testing.assert_close(got, want)


def gradients(how, rows, batch_mask, x, old, advantages):
    lengths = row_lengths(how, batch_mask[rows], batch_mask, max_new_tokens=9)
    loss = grpo_loss(x[rows], old[rows], advantages[rows], batch_mask[rows], lengths)
    return loss * len(rows) / len(x)


def test_the_same_data_give_four_gradients_and_one_depends_on_the_micro_batch():
    x, old, advantages, mask = case(B=6, T=8, seed=3)
    found, split = {}, {}
    for how in LENGTHS:
        for parts, into in (([range(6)], found), ([range(2), range(2, 6)], split)):
            leaf = x.clone().requires_grad_()
            loss = sum(
                gradients(how, torch.tensor(list(p)), mask, leaf, old, advantages) for p in parts
            )
            (into[how],) = torch.autograd.grad(loss, leaf)
    for how in ("sequence", "batch", "constant"):
        torch.testing.assert_close(split[how], found[how])
    assert not torch.allclose(split["micro_batch"], found["micro_batch"], atol=1e-3)
    torch.testing.assert_close(found["micro_batch"], found["batch"])
    for one, other in (("sequence", "batch"), ("batch", "constant"), ("sequence", "constant")):
        assert not torch.allclose(found[one], found[other], atol=1e-3)


def test_what_each_normalisation_does_to_a_long_wrong_answer():
    """A token of it costs a quarter of a short one's by the sequence, the same by all others."""
    mask = torch.arange(16) < torch.tensor([[4], [16]])
    for how in LENGTHS:
        x = torch.full((2, 16), -1.0, requires_grad=True)
        lengths = row_lengths(how, mask, max_new_tokens=32)
        grpo_loss(x, x.detach(), torch.tensor([-1.0, -1.0]), mask, lengths).backward()
        ratio = (x.grad[1, 0] / x.grad[0, 0]).item()
        assert ratio == pytest.approx(0.25 if how == "sequence" else 1.0)


def test_rloo_clips_a_whole_answer_where_grpo_clips_a_token():
    old = torch.full((1, 10), -1.0)
    x = old + 0.1  # each token's ratio is 1.105, the answer's is e
    mask = torch.ones(1, 10, dtype=torch.bool)
    one = torch.tensor([1.0])
    assert grpo_loss(x, old, one, mask).item() == pytest.approx(-1.1052, abs=1e-4)
    assert rloo_loss(x, old, one, mask).item() == pytest.approx(-1.2, abs=1e-6)


def test_unknown_lengths_are_refused():
    mask = torch.ones(1, 2, dtype=torch.bool)
    for how, limit in (("tokens", 4), ("constant", None), ("constant", 0)):
        with pytest.raises(ValueError, match="how must be one of"):
            row_lengths(how, mask, max_new_tokens=limit)


# the checker


def test_the_checker_cannot_be_won_by_listing():
    listed = " ".join(map(str, range(100)))
    assert sum(verify_answer(listed, str(n)) for n in range(100)) == 1  # the last one alone


# the loop


def test_the_reward_rises():
    policy = tiny()
    records = run(policy, 25)
    assert sum(r["reward"] for r in records[-3:]) > 3 * records[0]["reward"] + 0.3
    assert records[-1]["entropy"] < records[0]["entropy"]


@pytest.mark.parametrize("advantage_fn, loss_fn", [(leave_one_out_advantages, rloo_loss)])
def test_rloo_runs_in_the_same_loop(advantage_fn, loss_fn):
    records = run(tiny(), 20, advantage_fn=advantage_fn, loss_fn=loss_fn)
    assert sum(r["reward"] for r in records[-3:]) > 3 * records[0]["reward"]


def test_before_the_first_update_every_ratio_is_one_at_any_temperature():
    for temperature in (1.0, 0.7):
        record = run(
            tiny(),
            1,
            temperature=temperature,
            n_epochs=1,
            minibatch_size=16,
            ref_policy=tiny(),
            lengths="sequence",  # divided by another length, long answers weigh more
        )[0]
        assert record["approx_kl"] == pytest.approx(0.0, abs=1e-6)
        assert record["clip_fraction"] == 0 and abs(record["kl"]) < 1e-5
        assert abs(record["loss"]) < 1e-5 and record["gradient_norm"] > 1e-3


def test_a_temperature_that_is_left_out_gives_ratios_that_are_not_one():
    policy = tiny()
    with torch.no_grad():
        for weight in policy.parameters():
            weight *= 3
    rollouts = draw_rollouts(
        policy, prompts(0), LIMIT, **IDS, temperature=0.5, generator=generator(0)
    )
    settings = {"lengths": "batch", "max_new_tokens": LIMIT, "n_epochs": 1, "order_seed": 0}
    settings |= {"minibatch_size": 4, "micro_batch_size": None, "clip_norm": 1.0}
    found = [
        update(
            policy,
            torch.optim.SGD(policy.parameters(), lr=0.0),
            rollouts,
            torch.ones(4),
            grpo_loss,
            temperature=temperature,
            **settings,
        )["approx_kl"]
        for temperature in (0.5, 1.0)
    ]
    assert found[0] == pytest.approx(0.0, abs=1e-6) and found[1] > 1e-3


@pytest.mark.parametrize("how", ["sequence", "batch", "constant"])
def test_micro_batches_change_memory_and_not_the_policy(how):
    ends = []
    for size in (None, 3):
        policy = tiny()
        run(
            policy,
            2,
            optimizer=torch.optim.SGD(policy.parameters(), 0.1),
            lengths=how,
            micro_batch_size=size,
        )
        ends.append(policy)
    for a, b in zip(*(m.parameters() for m in ends), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_dropout_of_the_reference_is_off_and_its_mode_is_kept():
    ref = tiny()
    ref.norm = nn.Sequential(ref.norm, nn.Dropout(0.5))
    ref.train()
    policy = tiny()
    records = run(policy, 1, n_epochs=1, minibatch_size=16, ref_policy=ref)
    assert records[0]["kl"] == pytest.approx(0.0, abs=1e-5) and ref.training


def broken(rollouts):
    raise KeyError("no such prompt")


BAD_REWARDS = {
    "failed in iteration 0: KeyError": (broken, RuntimeError),
    r"gave shape \(15,\) in iteration 0, expected \(16,\)": (lambda r: torch.zeros(15), ValueError),
    r"gave shape \(\) ": (lambda r: 1.0, ValueError),
    "reward of response 3 in iteration 0 is nan": (
        lambda r: torch.tensor([float("nan") if k == 3 else 0.0 for k in range(16)]),
        ValueError,
    ),
    "reward of response 0 in iteration 0 is inf": (
        lambda r: torch.full((16,), float("inf")),
        ValueError,
    ),
}


@pytest.mark.parametrize("words", BAD_REWARDS)
def test_a_bad_reward_function_gets_a_clear_sentence_and_changes_no_weight(words):
    reward, kind = BAD_REWARDS[words]
    policy = tiny()
    before = copy.deepcopy(policy.state_dict())
    with pytest.raises(kind, match=words):
        run(policy, reward=reward)
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())


def test_iterations_before_a_failure_are_kept(tmp_path):
    calls = []

    def fails_later(rollouts):
        calls.append(1)
        return fives(rollouts) if len(calls) < 4 else torch.full((16,), float("nan"))

    with pytest.raises(ValueError, match="iteration 3"):
        run(tiny(), 6, reward=fails_later, checkpoint=tmp_path)
    policy, whole = tiny(), tiny()
    records, wanted = run(policy, 6, checkpoint=tmp_path), run(whole, 6)
    assert [r["reward"] for r in records] == [r["reward"] for r in wanted]
    assert all(
        torch.equal(a, b) for a, b in zip(policy.parameters(), whole.parameters(), strict=True)
    )


def test_groups_of_one_and_another_vocabulary_are_refused():
    with pytest.raises(ValueError, match="group_size must be at least 2"):
        run(tiny(), group_size=1)
    with pytest.raises(ValueError, match="vocabulary of 12 tokens and the reference one of 13"):
        run(tiny(), ref_policy=tiny(vocab_size=13))


def test_groups_without_spread_leave_the_policy_as_it_is():
    policy = tiny()
    before = copy.deepcopy(policy.state_dict())
    optimizer = torch.optim.SGD(policy.parameters(), 0.1)
    records = run(policy, 2, reward=lambda r: torch.full((16,), 0.1), optimizer=optimizer)
    assert records[0]["flat"] == 1.0 and records[0]["gradient_norm"] == 0.0
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())


RUN = """
import sys, torch
from tests.test_grpo import adam, run, tiny
torch.set_num_threads(1)
policy = tiny()
run(policy, 400, checkpoint=sys.argv[1], checkpoint_every=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        cwd=project_root(),
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    while len(checkpoints_in(tmp_path)) < 2 and time.monotonic() < end:
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = int(checkpoints_in(tmp_path)[-1].stem.removeprefix("step-"))
    policy, whole = tiny(), tiny()
    n = done + 4
    records, wanted = run(policy, n, checkpoint=tmp_path), run(whole, n)
    clocks = ("seconds", "tokens_per_second")
    for a, b in zip(records, wanted, strict=True):
        assert {k: v for k, v in a.items() if k not in clocks} == {
            k: v for k, v in b.items() if k not in clocks
        }
    assert all(
        torch.equal(a, b) for a, b in zip(policy.parameters(), whole.parameters(), strict=True)
    )
