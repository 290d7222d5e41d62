"""PPO's loop: one update against NumPy, kills and resumes bit for bit, rewards that break."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from utils.align import ppo as module
from utils.align.kl import AdaptiveKLController, FixedKLController
from utils.align.ppo import (
    ActorCritic,
    PPOSettings,
    RewardError,
    checked_rewards,
    compute_advantages,
    ppo,
    update,
)
from utils.align.rollouts import Rollouts, draw_rollouts, response_batch
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.train.checkpoints import checkpoints_in, load_checkpoint
from utils.train.loop import NonFiniteLoss

PAD, END = 1, 0
CONFIG = TransformerConfig(vocab_size=9, context_length=16, d_model=16, n_layers=1, n_heads=2)
SHORT = PPOSettings(max_new_tokens=6, minibatch_size=3, policy_lr=3e-3, value_lr=1e-2, decays=False)
RECORDED = {
    *("iteration", "reward", "kl", "kl_coef", "entropy", "length", "truncated", "clip_fraction"),
    *("approx_kl", "explained_variance", "loss", "value_loss", "tokens_per_second"),
}


def policy(seed=0):
    torch.manual_seed(seed)
    return Decoder(CONFIG)


def prompts(iteration):
    return [[2 + (iteration + k) % 6, 3] for k in range(6)]


def short(rollouts):
    """Reward short responses that say 4."""
    said = (rollouts.targets == 4) & rollouts.response_mask
    return said.sum(1).float() - 0.2 * rollouts.lengths


def run(n_iterations=4, reward_fn=short, controller=None, agent=None, **more):
    agent = agent or ActorCritic(policy())
    controller = controller or AdaptiveKLController(0.1, target=0.01, horizon=30)
    given = {"pad_id": PAD, "end_id": END, "settings": SHORT, "seed": 5} | more
    records = ppo(agent, policy(), prompts, reward_fn, controller, n_iterations, **given)
    return agent, records, controller


def without_time(records):
    return [{k: v for k, v in r.items() if k != "tokens_per_second"} for r in records]


def equal_weights(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# The reference: a bigram policy whose gradients can be written down by hand.


class Bigram(nn.Module):
    """A policy whose next token depends on the last one alone, as the agent needs it."""

    def __init__(self, V=5, D=4, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.config = SimpleNamespace(d_model=D)
        self.embedding, self.norm = nn.Embedding(V, D), nn.Identity()
        self.unembedding = nn.Linear(D, V, bias=False)
        self.double()

    def forward(self, token_ids):
        return self.unembedding(self.norm(self.embedding(token_ids)))


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


class NumPyAgent:
    """The same agent, its gradients worked out by hand, with its own AdamW and clipping."""

    def __init__(self, agent, settings):
        self.w = {n: p.detach().numpy().copy() for n, p in agent.named_parameters()}
        self.m = {n: np.zeros_like(w) for n, w in self.w.items()}
        self.v = {n: np.zeros_like(w) for n, w in self.w.items()}
        self.settings, self.step = settings, 0

    def outputs(self, ids):
        hidden = self.w["policy.embedding.weight"][ids]
        values = hidden @ self.w["value_head.weight"][0] + self.w["value_head.bias"][0]
        return hidden, hidden @ self.w["policy.unembedding.weight"].T, values

    def one_step(self, ids, targets, mask, old, advantages, returns):
        s, n = self.settings, mask.sum()
        hidden, logits, values = self.outputs(ids)
        logp = log_softmax(logits / s.temperature)
        rows, cols = np.indices(ids.shape)
        new = logp[rows, cols, targets]
        ratio = np.exp(new - old)
        bounded = np.clip(ratio, 1 - s.clip_eps, 1 + s.clip_eps)
        free = ratio * advantages <= bounded * advantages  # else the clipped one counts
        loss = -(np.minimum(ratio * advantages, bounded * advantages) * mask).sum() / n
        d_new = -np.where(free, ratio * advantages, 0.0) * mask / n
        one_hot = np.eye(logits.shape[-1])[targets]
        d_logits = d_new[..., None] * (one_hot - np.exp(logp)) / s.temperature
        d_hidden = d_logits @ self.w["policy.unembedding.weight"]
        d_values = (values - returns) * mask / n
        grads = {name: np.zeros_like(w) for name, w in self.w.items()}
        np.add.at(grads["policy.embedding.weight"], ids, d_hidden)
        grads["policy.unembedding.weight"] = np.einsum("btv,btd->vd", d_logits, hidden)
        grads["value_head.weight"] = np.einsum("bt,btd->d", d_values, hidden)[None]
        grads["value_head.bias"] = d_values.sum(keepdims=True).reshape(1)
        self.adamw(grads)
        return loss

    def adamw(self, grads):
        self.step += 1
        for part, rate in (("policy", 1), ("value_head", 2)):
            names = [n for n in self.w if n.startswith(part)]
            norm = np.sqrt(sum((grads[n] ** 2).sum() for n in names))
            scale = min(1.0, self.settings.max_norm / norm)
            rate = self.settings.policy_lr if rate == 1 else self.settings.value_lr
            for n in names:
                g = grads[n] * scale
                self.m[n] = 0.9 * self.m[n] + 0.1 * g
                self.v[n] = 0.95 * self.v[n] + 0.05 * g**2
                mean = self.m[n] / (1 - 0.9**self.step)
                size = np.sqrt(self.v[n] / (1 - 0.95**self.step))
                self.w[n] -= rate * mean / (size + 1e-8)


def test_one_whole_update_equals_an_independent_one_in_numpy():
    settings = PPOSettings(
        temperature=0.7, minibatch_size=9, n_epochs=4, policy_lr=0.2, value_lr=0.3, cut_reward=-2.0
    )
    agent, reference = ActorCritic(Bigram()).double(), Bigram(seed=1)
    source = np.random.default_rng(0)
    said = [source.integers(2, 5, source.integers(1, 5)).tolist() for _ in range(6)]
    ended = torch.tensor([True, True, False, True, True, False])
    asked = [[2], [3, 4], [4], [2, 2], [3], [4, 3]]
    closed = [r + [END] * bool(e) for r, e in zip(said, ended, strict=True)]
    batch = response_batch(asked, closed, PAD)
    ids, targets, mask = (t.numpy() for t in batch)
    mine = NumPyAgent(agent, settings)

    rows, cols = np.indices(ids.shape)
    old = log_softmax(mine.outputs(ids)[1] / 0.7)[rows, cols, targets] * mask
    other = {n: p.detach().numpy() for n, p in reference.named_parameters()}
    ref = log_softmax(other["embedding.weight"][ids] @ other["unembedding.weight"].T / 0.7)
    rewards = np.array([1.0, -1.0, 3.0, 0.5, 2.0, 0.0])
    paid = np.where(ended.numpy(), rewards, -2.0)
    values = mine.outputs(ids)[2]
    advantages, returns = np.zeros(ids.shape), np.zeros(ids.shape)
    for b in range(6):
        places = np.flatnonzero(mask[b])
        r = -0.3 * (old - ref[rows, cols, targets])[b, places]
        r[-1] += paid[b]
        for i, t in enumerate(places):
            deltas = [
                r[j] + (values[b, places[j + 1]] if j + 1 < len(places) else 0) - values[b, p]
                for j, p in enumerate(places)
            ]
            advantages[b, t] = sum(0.95 ** (j - i) * deltas[j] for j in range(i, len(places)))
        returns[b] = advantages[b] + values[b] * mask[b]
    kept = advantages[mask]
    white = np.where(mask, (advantages - kept.mean()) / np.sqrt(kept.var() + 1e-8), 0)

    rollouts = Rollouts(asked, said, ended, *batch, torch.from_numpy(old))
    found, record = compute_advantages(
        agent, reference, rollouts, torch.from_numpy(rewards), 0.3, settings
    )
    assert np.allclose(found.advantages.numpy(), white)
    assert np.allclose(found.returns.numpy(), returns)
    assert record["kl"] == pytest.approx(((old - ref[rows, cols, targets]) * mask).sum() / 6)
    assert record["reward"] == pytest.approx(rewards.mean())
    assert record["truncated"] == pytest.approx(2 / 6)
    did = update(
        agent, agent.optimizer(0.2, 0.3), found, settings, torch.Generator().manual_seed(0)
    )
    losses = [mine.one_step(ids, targets, mask, old, white, returns) for _ in range(4)]
    assert did["loss"] == pytest.approx(losses[-1])
    assert did["clip_fraction"] > 0  # the case does use the clip
    for name, weight in agent.named_parameters():
        assert np.allclose(weight.detach().numpy(), mine.w[name], atol=1e-9), name


# What is recorded


def test_every_iteration_records_every_diagnostic():
    _, records, controller = run(3)
    assert [r["iteration"] for r in records] == [0, 1, 2]
    assert all(set(r) == RECORDED for r in records)
    assert all(np.isfinite(v) for r in records for v in r.values())
    assert records[0]["kl"] == 0.0  # the policy is its own reference
    assert controller.kl_coef != 0.1 and records[0]["kl_coef"] == 0.1


def test_what_is_measured_is_recorded_and_changes_nothing():
    asked = []

    def measure(model):
        asked.append(model)
        torch.rand(3)
        return {"gold": 0.5}

    agent, records, _ = run(4, measure=measure, measure_every=2)
    other, bare, _ = run(4)
    assert [r.get("gold") for r in records] == [0.5, None, 0.5, None]
    assert asked[0] is agent.policy
    assert equal_weights(agent, other)
    assert [r["kl"] for r in records] == [r["kl"] for r in bare]


def test_it_learns_what_is_rewarded():
    controller = FixedKLController(0.0)
    settings = replace(SHORT, n_epochs=4)
    _, records, _ = run(40, controller=controller, settings=settings)
    assert np.mean([r["reward"] for r in records[-5:]]) > records[0]["reward"] + 0.4


def test_the_value_head_leaves_the_trunk_alone_unless_it_is_let():
    sizes = []
    for share in (0.0, 0.5, 1.0):
        agent = ActorCritic(policy(), value_gradient=share)
        nn.init.ones_(agent.value_head.weight)
        agent(torch.tensor([[2, 3]]))[1].sum().backward()
        given = agent.policy.embedding.weight.grad
        sizes.append(0.0 if given is None else given.abs().max().item())
        assert agent.value_head.weight.grad.abs().max() > 0
    assert sizes[0] == 0 < sizes[1] == pytest.approx(sizes[2] / 2)


def test_ratios_begin_at_one_also_with_dropout_and_at_another_temperature():
    agent = ActorCritic(policy()).train()
    agent.policy.norm = nn.Sequential(agent.policy.norm, nn.Dropout(0.5)).train()
    frozen = replace(SHORT, policy_lr=0.0, value_lr=0.0, temperature=0.6)
    _, records, _ = run(2, agent=agent, settings=frozen)
    for record in records:
        assert record["approx_kl"] == pytest.approx(0.0, abs=1e-6)
        assert record["clip_fraction"] == 0.0
    assert agent.training


def test_what_is_behind_a_response_changes_nothing():
    """Wider padding with other tokens in it: same advantages, same step."""
    agent, reference = ActorCritic(policy()), policy(1)
    nn.init.ones_(agent.value_head.weight)
    rollouts = draw_rollouts(
        agent.policy,
        prompts(0),
        6,
        pad_id=PAD,
        end_id=END,
        generator=torch.Generator().manual_seed(0),
    )
    wider = {
        name: nn.functional.pad(getattr(rollouts, name), (0, 3), value=fill)
        for name, fill in (("token_ids", 7), ("targets", 7), ("response_mask", 0), ("logprobs", 9))
    }
    rewards, found = short(rollouts), []
    for one in (rollouts, replace(rollouts, **wider)):
        experience, record = compute_advantages(agent, reference, one, rewards, 0.2, SHORT)
        copy = ActorCritic(policy())
        nn.init.ones_(copy.value_head.weight)
        did = update(
            copy,
            copy.optimizer(1e-3, 1e-3),
            experience,
            SHORT,
            torch.Generator().manual_seed(1),
        )
        found.append((record | did, list(copy.parameters())))
    (one, first), (other, second) = found
    assert one == pytest.approx(other, rel=1e-5, abs=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(first, second, strict=True))


def test_a_batch_of_one_response_is_no_nan():
    def one(iteration):
        return [[2, 3]]

    agent = ActorCritic(policy())
    ppo(
        agent,
        policy(),
        one,
        short,
        FixedKLController(0.1),
        2,
        pad_id=PAD,
        end_id=END,
        settings=SHORT,
    )
    assert all(w.isfinite().all() for w in agent.parameters())


# Rewards that break


def raising(rollouts):
    raise KeyError("no such key")


BROKEN = {
    "raised KeyError": raising,
    "for 6 responses": lambda rollouts: torch.zeros(5),
    "one number for each": lambda rollouts: 1.0,
    "reward of response 2 of 6 is nan": lambda r: torch.tensor([0, 0, float("nan"), 0, 0, 0]),
    "is inf": lambda rollouts: torch.full((6,), torch.inf),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_broken_reward_says_so_and_the_run_goes_on_from_before(words, tmp_path):
    calls = []

    def breaks_later(rollouts):
        calls.append(1)
        return BROKEN[words](rollouts) if len(calls) == 4 else short(rollouts)

    with pytest.raises(RewardError, match=words) as raised:
        run(6, breaks_later, checkpoint=tmp_path, checkpoint_every=1)
    assert "iteration 3" in str(raised.value) and "step-00000003" in str(raised.value)
    agent, records, _ = run(6, checkpoint=tmp_path, checkpoint_every=1)
    whole, wanted, _ = run(6)
    assert without_time(records) == without_time(wanted)
    assert equal_weights(agent, whole)


def test_rewards_as_a_list_are_fine_and_give_no_gradient():
    rollouts = SimpleNamespace(responses=[[1], [2]], logprobs=torch.zeros(2, 3))
    assert checked_rewards(lambda r: [1, 2], rollouts).tolist() == [1.0, 2.0]
    weight = nn.Parameter(torch.ones(2))
    assert not checked_rewards(lambda r: weight * 2, rollouts).requires_grad


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    def broken(*arguments):
        return arguments[0].sum() * float("nan")

    agent = ActorCritic(policy())
    with pytest.raises(NonFiniteLoss, match="iteration 0.*There is no checkpoint"):
        run(2, agent=agent, policy_loss=broken)
    assert equal_weights(agent.policy, policy())


# Kill and resume


def child(folder, output):
    agent, records, controller = run(8, checkpoint=folder, checkpoint_every=1)
    weights = {n: w.flatten().tolist() for n, w in agent.named_parameters()}
    result = {"weights": weights, "records": without_time(records), "kl_coef": controller.kl_coef}
    with open(output, "w", encoding="utf-8") as file:
        json.dump(result, file)


def start(folder, output):
    code = f"from tests.test_ppo import child; child({str(folder)!r}, {str(output)!r})"
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def test_a_run_killed_and_resumed_is_the_run_never_killed_bit_for_bit(tmp_path):
    process = start(tmp_path / "killed", tmp_path / "unused")
    while process.poll() is None and len(checkpoints_in(tmp_path / "killed")) < 2:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = load_checkpoint(checkpoints_in(tmp_path / "killed")[-1])[1]["step"]
    assert 2 <= done < 8 or not (tmp_path / "unused").exists()
    for name in ("killed", "whole"):
        assert start(tmp_path / name, tmp_path / f"{name}.json").wait() == 0
    killed, whole = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("killed", "whole")
    )
    assert killed == whole


def test_a_resume_needs_every_state(tmp_path, monkeypatch):
    """Generator and controller are part of the checkpoint: without them the run is another one."""
    _, wanted, _ = run(6)
    run(3, checkpoint=tmp_path)
    _, records, _ = run(6, checkpoint=tmp_path)
    assert without_time(records) == without_time(wanted)
    for lost in ("generator", "kl_coef"):
        folder = tmp_path / lost
        run(3, checkpoint=folder)
        real = module.load_run

        def forgetful(*arguments, lost=lost, real=real):
            found = real(*arguments)
            fresh = {"generator": module._to_text(torch.Generator().manual_seed(5)), "kl_coef": 0.1}
            found.settings["state"][lost] = fresh[lost]
            return found

        with monkeypatch.context() as patched:
            patched.setattr(module, "load_run", forgetful)
            _, records, _ = run(6, checkpoint=folder)
        assert without_time(records) != without_time(wanted)


def test_rates_that_fall_come_back_with_a_resume(tmp_path):
    settings = replace(SHORT, decays=True)
    agent, records, _ = run(4, settings=settings, checkpoint=tmp_path, checkpoint_every=1)
    (tmp_path / "step-00000004.safetensors").unlink()
    again, resumed, _ = run(4, settings=settings, checkpoint=tmp_path, checkpoint_every=1)
    assert without_time(resumed) == without_time(records) and equal_weights(agent, again)


def test_a_checkpoint_of_another_run_is_refused_and_changes_nothing(tmp_path):
    run(2, checkpoint=tmp_path)
    agent = ActorCritic(policy())
    with pytest.raises(ValueError, match="lam"):
        run(4, agent=agent, checkpoint=tmp_path, settings=replace(SHORT, lam=0.5))
    with pytest.raises(ValueError, match="n_iterations"):  # the rates would fall otherwise
        run(4, checkpoint=tmp_path / "decays", settings=replace(SHORT, decays=True))
        run(5, checkpoint=tmp_path / "decays", settings=replace(SHORT, decays=True))
    with pytest.raises(ValueError, match="controller"):
        run(4, agent=agent, checkpoint=tmp_path, controller=FixedKLController(0.1))
    assert equal_weights(agent.policy, policy())
    assert len(run(2, checkpoint=tmp_path)[1]) == 2  # a finished run is read back
