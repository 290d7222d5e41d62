"""RMSNorm: function and module against torch, gradients, half precision, the zero vector."""

import pytest
import torch
from torch import nn

from utils.model.norm import RMSNorm, rms_norm


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 3, 4, 16)])
@pytest.mark.parametrize("eps", [1e-6, 1e-2])
def test_function_and_module_equal_torch(shape, eps):
    x, gain = random(*shape), random(shape[-1], seed=1)
    want = nn.functional.rms_norm(x, shape[-1:], gain, eps)
    module = RMSNorm(shape[-1], eps)
    module.weight.data.copy_(gain)
    torch.testing.assert_close(rms_norm(x, gain, eps), want, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(module(x), want, atol=1e-6, rtol=1e-6)


def test_gradients_of_the_module_equal_those_of_torch():
    torch.manual_seed(0)
    ours, theirs = RMSNorm(8, 1e-3), nn.RMSNorm(8, 1e-3)
    theirs.weight.data.copy_(random(8, seed=1))
    ours.weight.data.copy_(theirs.weight.data)
    grads = []
    for module in (ours, theirs):
        x = random(2, 3, 8).requires_grad_()
        loss = (module(x) * random(2, 3, 8, seed=2)).sum()
        grads.append(torch.autograd.grad(loss, (x, module.weight)))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_the_scale_of_the_input_is_taken_out():
    x = random(4, 16)
    gain = torch.ones(16)
    torch.testing.assert_close(rms_norm(1000 * x, gain, 0.0), rms_norm(x, gain, 0.0))


def test_a_zero_vector_stays_zero():
    assert torch.equal(rms_norm(torch.zeros(2, 4), torch.ones(4)), torch.zeros(2, 4))


def test_half_precision_is_kept_and_does_not_overflow():
    x = torch.full((1, 4), 300.0, dtype=torch.float16)  # 300 ** 2 exceeds float16
    got = rms_norm(x, torch.ones(4, dtype=torch.float16))
    assert got.dtype == torch.float16
    torch.testing.assert_close(got, torch.ones_like(got))
