"""adamw_step and clip_gradients against torch, and which parameters decay."""

import math

import pytest
import torch
from torch import nn

from utils.runtime import generator
from utils.train.optimizers import adamw, adamw_step, clip_gradients


def test_adamw_step_equals_torch_over_many_steps_with_a_changing_rate():
    g = generator(0)
    start = torch.randn(4, 3, generator=g)
    settings = dict(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    weight = nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([weight], lr=1.0, **settings)
    parameter, first, second = start, torch.zeros(4, 3), torch.zeros(4, 3)
    for step in range(1, 301):
        gradient = torch.randn(4, 3, generator=g) * 10 ** float(torch.randn(1, generator=g))
        lr = 0.01 * min(1, step / 20)
        optimizer.param_groups[0]["lr"] = lr
        weight.grad = gradient.clone()
        optimizer.step()
        parameter, first, second = adamw_step(
            parameter, gradient, first, second, step, lr=lr, **settings
        )
    assert (parameter - start).abs().max() > 0.1
    torch.testing.assert_close(parameter, weight.data, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(first, optimizer.state[weight]["exp_avg"], atol=1e-6, rtol=1e-5)


def test_adamw_step_changes_none_of_its_arguments():
    tensors = [torch.full((2,), value) for value in (1.0, 2.0, 0.5, 0.25)]
    copies = [tensor.clone() for tensor in tensors]
    adamw_step(*tensors, 3, lr=0.1)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, copies, strict=True))


def test_first_step_moves_by_the_rate_whatever_the_gradient_s_size():
    for size in (1e-3, 1.0, 1e3):
        zero = torch.zeros(1)
        moved, _, _ = adamw_step(
            zero, torch.tensor([size]), zero, zero, 1, lr=0.1, weight_decay=0.0
        )
        assert moved.item() == pytest.approx(-0.1, rel=1e-3)


def test_adamw_step_counts_from_one():
    zero = torch.zeros(1)
    with pytest.raises(ValueError, match="from 1, got 0"):
        adamw_step(zero, zero, zero, zero, 0, lr=0.1)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.norm = nn.LayerNorm(3)
        self.frozen = nn.Linear(3, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.embed.weight
        self.frozen.requires_grad_(False)


def test_adamw_decays_matrices_only_and_takes_each_trainable_parameter_once():
    model = Tied()
    decayed, plain = adamw(model, lr=1e-3, weight_decay=0.2).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.2, 0.0)
    assert [id(p) for p in decayed["params"]] == [id(model.embed.weight)]
    assert {id(p) for p in plain["params"]} == {id(model.norm.weight), id(model.norm.bias)}


def test_adamw_is_the_formula_of_adamw_step():
    model = nn.Linear(3, 2)
    optimizer = adamw(model, lr=0.05, weight_decay=0.3)
    decays = {"weight": 0.3, "bias": 0.0}
    ours = {n: (p.detach().clone(), 0 * p, 0 * p) for n, p in model.named_parameters()}
    for step in range(1, 31):
        optimizer.zero_grad()
        model(torch.randn(4, 3, generator=generator(step))).square().mean().backward()
        for name, p in model.named_parameters():
            ours[name] = adamw_step(
                ours[name][0], p.grad, *ours[name][1:], step, lr=0.05, weight_decay=decays[name]
            )
        optimizer.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(ours[name][0], p, atol=1e-6, rtol=1e-5)


def test_nothing_to_train_is_an_error():
    with pytest.raises(ValueError, match="no trainable parameters"):
        adamw(nn.Linear(2, 2).requires_grad_(False), lr=1e-3)


@pytest.mark.parametrize("max_norm", [0.5, 1e3, math.inf])
def test_clip_gradients_equals_torch(max_norm):
    ours, theirs = ([nn.Parameter(torch.zeros(s)) for s in (3, (2, 4), 1)] for _ in range(2))
    for k, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        mine.grad = torch.randn(mine.shape, generator=generator(k))
        other.grad = mine.grad.clone()
    ours.append(nn.Parameter(torch.zeros(2)))  # no gradient: passed over
    norm = clip_gradients(ours, max_norm)
    want = nn.utils.clip_grad_norm_(theirs, max_norm)
    assert norm == pytest.approx(want.item(), rel=1e-6)
    for mine, other in zip(ours, theirs, strict=False):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-5)


def test_clip_gradients_leaves_a_norm_that_is_not_finite_and_refuses_zero():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([math.inf, 1.0])
    assert clip_gradients([weight], 1.0) == math.inf
    assert weight.grad.tolist() == [math.inf, 1.0]
    with pytest.raises(ValueError, match="max_norm must be positive, got 0"):
        clip_gradients([weight], 0)
