"""cross_entropy against torch's own, and what bad input gets."""

import ast
import inspect
import math

import pytest
import torch
import torch.nn.functional as F

from utils.runtime import generator
from utils.tokens import batches
from utils.train import losses
from utils.train.losses import IGNORE_INDEX, cross_entropy


def random_case(shape=(3, 5), vocab_size=7, seed=0, ignored=0.3):
    g = generator(seed)
    logits = 4 * torch.randn(*shape, vocab_size, generator=g)
    targets = torch.randint(vocab_size, shape, generator=g)
    targets[torch.rand(shape, generator=g) < ignored] = IGNORE_INDEX
    return logits, targets


@pytest.mark.parametrize("seed", range(5))
def test_equals_torch_with_and_without_ignored_targets(seed):
    for ignored in (0.0, 0.5):
        logits, targets = random_case(seed=seed, ignored=ignored)
        want = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX)
        torch.testing.assert_close(cross_entropy(logits, targets), want, atol=1e-6, rtol=1e-6)


def test_gradient_equals_torch_and_is_zero_at_ignored_targets():
    logits, targets = random_case()
    ours = logits.clone().requires_grad_()
    theirs = logits.clone().requires_grad_()
    cross_entropy(ours, targets).backward()
    F.cross_entropy(theirs.flatten(0, 1), targets.flatten()).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-7, rtol=1e-5)
    assert ours.grad[targets == IGNORE_INDEX].count_nonzero() == 0


def test_worked_example():
    # Scores ln 1, ln 2, ln 5 are probabilities 1/8, 2/8, 5/8; targets 2 and 0 cost ln 8/5 and ln 8.
    scores = torch.tensor([1.0, 2.0, 5.0]).log()
    loss = cross_entropy(scores.expand(1, 2, 3), torch.tensor([[2, 0]]))
    assert loss.item() == pytest.approx((math.log(8 / 5) + math.log(8)) / 2)


def test_shift_of_all_scores_changes_nothing_even_when_huge():
    logits, targets = random_case()
    for shift in (100.0, 1e4):
        torch.testing.assert_close(
            cross_entropy(logits + shift, targets),
            cross_entropy(logits, targets),
            atol=1e-2 if shift > 1e3 else 1e-4,
            rtol=0,
        )
    assert cross_entropy(torch.tensor([[[1e30, 0.0]]]), torch.tensor([[0]])).item() == 0.0


def test_uniform_scores_cost_the_log_of_the_vocabulary():
    assert cross_entropy(torch.zeros(2, 3, 50), torch.ones(2, 3).long()).item() == pytest.approx(
        math.log(50)
    )


def test_half_precision_scores_are_summed_in_float32():
    logits, targets = random_case(vocab_size=2000)
    half = logits.bfloat16()
    loss = cross_entropy(half, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(half.float(), targets), atol=0, rtol=0)


def test_all_ignored_is_an_error_not_nan():
    logits, targets = random_case()
    with pytest.raises(ValueError, match="all 15 targets are ignored"):
        cross_entropy(logits, torch.full_like(targets, IGNORE_INDEX))


def test_wrong_shape_and_unknown_targets_are_named():
    logits, targets = random_case()
    with pytest.raises(ValueError, match=r"need targets of shape \(3, 5\), got \(3, 4\)"):
        cross_entropy(logits, targets[:, 1:])
    for wrong in (7, -1):
        with pytest.raises(ValueError, match=rf"0\.\.6 .* got {wrong}"):
            cross_entropy(logits, targets.masked_fill(targets == targets[0, 0], wrong))


def test_the_ignored_target_is_the_one_of_the_batches():
    assert IGNORE_INDEX == batches.IGNORE_INDEX == -100  # losses import nothing of the course


def test_losses_import_torch_alone():
    tree = ast.parse(inspect.getsource(losses))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    assert names == {"torch", "__future__"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (2, 3), (2, 1, 4)])
def test_any_leading_shape_and_dtype_with_a_gradient_of_the_logits_dtype(dtype, shape):
    logits = torch.randn(*shape, 7, generator=generator(1)).to(dtype).requires_grad_()
    targets = torch.randint(7, shape, generator=generator(2))
    loss = cross_entropy(logits, targets)
    assert loss.shape == ()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    wide = logits.detach().double().requires_grad_()
    want = F.cross_entropy(wide.reshape(-1, 7), targets.reshape(-1))
    torch.testing.assert_close(loss.double(), want, atol=1e-6, rtol=1e-6)
    loss.backward()
    want.backward()
    assert logits.grad.dtype == dtype and logits.grad.abs().sum() > 0
    torch.testing.assert_close(logits.grad.double(), wide.grad, atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_targets_of_any_integer_dtype(dtype):
    logits, targets = random_case()
    assert cross_entropy(logits, targets.to(dtype)) == cross_entropy(logits, targets)


def test_an_exact_tie_costs_the_log_of_two_and_nothing_is_changed():
    logits, targets = torch.tensor([[[3.0, 3.0, -math.inf]]]), torch.tensor([[1]])
    before = logits.clone(), targets.clone()
    assert cross_entropy(logits, targets).item() == pytest.approx(math.log(2))
    assert torch.equal(logits, before[0]) and torch.equal(targets, before[1])


def test_an_empty_batch_is_an_error_too():
    with pytest.raises(ValueError, match="all 0 targets"):
        cross_entropy(torch.zeros(0, 3, 5), torch.zeros(0, 3, dtype=torch.int64))


def test_first_and_last_id_of_the_vocabulary_are_targets():
    logits = torch.randn(1, 2, 5, generator=generator(0))
    want = F.cross_entropy(logits[0], torch.tensor([0, 4]))
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([[0, 4]])), want)
