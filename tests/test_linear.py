"""The linear layer: torch's product, gradients too, whichever way it is computed."""

import pytest
import torch
from torch.nn import functional as F

import utils.model.linear as module
from utils.model.linear import MIN_ROWS, Linear, has_onednn, linear


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True, params=["the faster way here", "oneDNN", "nn.Linear"])
def way(request, monkeypatch):
    """Every test runs each way, whatever the processor has."""
    if request.param == "oneDNN" and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this build of torch has no oneDNN")
    if request.param != "the faster way here":
        monkeypatch.setattr(module, "has_onednn", lambda: request.param == "oneDNN")
        monkeypatch.setattr(module, "MIN_ROWS", 16)
    return request.param


SHAPES = [(1, 6), (15, 6), (16, 6), (MIN_ROWS - 1, 6), (MIN_ROWS, 6), (2, 3, 200, 6), (6,), (0, 6)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_gradients", [True, False])
def test_product_equals_torch(shape, with_gradients):
    x, weight = random(*shape), random(10, 6, seed=1)
    with torch.set_grad_enabled(with_gradients):
        got = linear(x, weight)
    torch.testing.assert_close(got, F.linear(x, weight), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_kept(dtype):
    x, weight = random(40, 6).to(dtype), random(10, 6, seed=1).to(dtype)
    assert torch.equal(linear(x, weight), F.linear(x, weight))


def test_transposed_arguments_are_read_rightly():
    x, weight = random(6, 40).T, random(6, 10, seed=1).T
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("n_outputs", [3, 10])  # fewer than inputs, and more
@pytest.mark.parametrize("shape", [(4, 6), (40, 6), (3, 20, 6), (MIN_ROWS, 6)])
def test_gradients_equal_those_of_torch(shape, n_outputs):
    x, weight = random(*shape).requires_grad_(), random(n_outputs, 6, seed=1).requires_grad_()
    signal = random(*shape[:-1], n_outputs, seed=2)
    got = torch.autograd.grad((linear(x, weight) * signal).sum(), (x, weight))
    want = torch.autograd.grad((F.linear(x, weight) * signal).sum(), (x, weight))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-5)


def test_a_frozen_weight_gets_no_gradient():
    layer = Linear(6, 10).requires_grad_(False)
    x = random(40, 6).requires_grad_()
    layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(40, 6))


def test_gradients_have_gradients():
    x, weight = random(40, 6).requires_grad_(), random(10, 6, seed=1).requires_grad_()

    def second(product):
        (first,) = torch.autograd.grad(product(x, weight).pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(first.pow(2).sum(), weight)[0]

    torch.testing.assert_close(second(linear), second(F.linear), atol=1e-2, rtol=1e-4)


def test_autocast_is_followed():
    layer = Linear(6, 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(random(40, 6)).dtype == torch.bfloat16


def test_without_avx512_it_is_the_default_of_torch_to_the_last_bit(way):
    if way == "oneDNN" or (way == "the faster way here" and module.has_onednn()):
        pytest.skip("this way is oneDNN")
    x, weight = random(600, 64), random(96, 64, seed=1).requires_grad_()
    assert torch.equal(linear(x, weight), F.linear(x, weight))
    got = torch.autograd.grad(linear(x, weight).sum(), weight)[0]
    assert torch.equal(got, torch.autograd.grad(F.linear(x, weight).sum(), weight)[0])


@pytest.mark.parametrize("capability", ["DEFAULT", "AVX2", "AVX512"])
def test_the_way_depends_on_what_the_processor_has(monkeypatch, capability):
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    is_there = torch.backends.mkldnn.is_available()
    assert has_onednn.__wrapped__() == (capability == "AVX512" and is_there)


def test_rows_are_computed_apart():
    x, weight = random(40, 6), random(10, 6, seed=1)
    changed = x.clone()
    changed[20:] += 1
    assert torch.equal(linear(x, weight)[:20], linear(changed, weight)[:20])


def test_wrong_widths_are_an_error():
    with pytest.raises(RuntimeError):
        linear(random(40, 5), random(10, 6))


def test_the_layer_has_a_weight_and_no_bias():
    assert {name: tuple(w.shape) for name, w in Linear(6, 10).state_dict().items()} == {
        "weight": (10, 6)
    }
