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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3, 4)])
def test_adamw_step_keeps_dtype_and_shape_and_survives_a_gradient_of_zero(dtype, shape):
    zero = torch.zeros(shape, dtype=dtype)
    for gradient in (zero, zero + 1):
        new = adamw_step(zero + 1, gradient, zero, zero, 1, lr=0.1, weight_decay=0.5)
        assert all(t.dtype == dtype and t.shape == shape and t.isfinite().all() for t in new)
        want = 0.95 - 0.1 * bool(gradient.any())
        assert new[0].flatten()[0].item() == pytest.approx(want, abs=5e-3)


def test_adamw_step_refuses_each_step_below_one_and_changes_nothing():
    for step in (0, -1):
        tensors = [torch.full((2,), value) for value in (1.0, 2.0, 0.5, 0.25)]
        copies = [tensor.clone() for tensor in tensors]
        with pytest.raises(ValueError, match=f"from 1, got {step}"):
            adamw_step(*tensors, step, lr=0.1)
        assert all(map(torch.equal, tensors, copies))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_clip_gradients_in_every_dtype_scales_in_place(dtype):
    weight = nn.Parameter(torch.zeros(100, 400, dtype=dtype))
    weight.grad = torch.full((100, 400), 600.0, dtype=dtype)  # a norm that float16 can't hold
    place, gradient = weight.grad.data_ptr(), weight.grad
    assert clip_gradients([weight], 50.0) == pytest.approx(120_000.0, rel=1e-4)
    assert weight.grad is gradient and gradient.data_ptr() == place and gradient.dtype == dtype
    assert gradient.double().norm().item() == pytest.approx(50.0, rel=1e-2)


def test_clip_gradients_takes_dtypes_together_an_iterator_and_nothing():
    one, two = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    one.grad, two.grad = torch.tensor([3.0]), torch.tensor([4.0], dtype=torch.bfloat16)
    assert clip_gradients(iter([one, two]), 2.5) == 5.0
    assert (one.grad.item(), two.grad.item()) == (1.5, 2.0)
    assert clip_gradients([], 1.0) == clip_gradients([nn.Parameter(torch.zeros(2))], 1.0) == 0.0


def test_clip_gradients_leaves_a_norm_exactly_at_the_limit():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([weight], 5.0) == 5.0
    assert weight.grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_clip_gradients_changes_nothing_anywhere_where_one_entry_is_not_finite(bad):
    weights = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    weights[0].grad, weights[1].grad = torch.tensor([1e6, 1.0]), torch.tensor([bad, 0.0])
    assert not math.isfinite(clip_gradients(weights, 1.0))
    assert weights[0].grad.tolist() == [1e6, 1.0]


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_clip_gradients_refuses_each_limit_that_is_not_positive_before_it_changes_anything(
    max_norm,
):
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    with pytest.raises(ValueError, match="must be positive"):
        clip_gradients([weight], max_norm)
    assert weight.grad.tolist() == [3.0, 4.0]
