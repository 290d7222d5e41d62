"""SwiGLU: the readable function against torch's parts, the fused module against the function."""

import pytest
import torch
from torch.nn import functional as F

from utils.model.feedforward import FeedForward, swiglu


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 5, 6)])
def test_swiglu_equals_torch(shape):
    x, gate, up, down = random(*shape), random(10, 6), random(10, 6, seed=1), random(6, 10, seed=2)
    want = F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)
    torch.testing.assert_close(swiglu(x, gate, up, down), want, atol=1e-5, rtol=1e-5)


def test_the_fused_module_equals_the_function_gradients_too():
    torch.manual_seed(0)
    module = FeedForward(6, 10)
    x = random(2, 5, 6).requires_grad_()
    gate, up = module.gate_up.weight.chunk(2)
    got, want = module(x), swiglu(x, gate, up, module.down.weight)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)
    wanted = (x, module.gate_up.weight, module.down.weight)
    signal = random(2, 5, 6, seed=3)
    for a, b in zip(
        torch.autograd.grad((got * signal).sum(), wanted),
        torch.autograd.grad((want * signal).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
