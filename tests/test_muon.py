"""Muon: against singular values, torch.optim.Muon and torch.optim.AdamW; loop and checkpoints."""

import pytest
import torch
from torch import nn

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.runtime import generator
from utils.tokens.batches import block_batches
from utils.train.checkpoints import load_run, save_run
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.muon import Muon, muon, orthogonalise
from utils.train.schedules import cosine

SHAPES = [(6, 6), (12, 5), (5, 12), (1, 7), (64, 24)]


def random_matrix(shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_directions_stay_and_lengths_become_alike(shape, scale):
    matrix = random_matrix(shape) * scale
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    got = orthogonalise(matrix)
    turned = left.T @ got @ right.T  # diagonal where the singular vectors are the same
    lengths = turned.diagonal()
    torch.testing.assert_close(turned, torch.diag(lengths), atol=1e-4, rtol=0)
    assert 0.6 < lengths.min() and lengths.max() < 1.3
    assert values.max() / values.min() > lengths.max() / lengths.min() or min(shape) == 1


def test_each_singular_value_goes_through_the_polynomial():
    values = torch.tensor([0.8, 0.5, 0.3, 0.1], dtype=torch.float64)
    values /= values.norm()  # as the first line of `orthogonalise` scales them
    left, _ = torch.linalg.qr(random_matrix((7, 4)).double())
    right, _ = torch.linalg.qr(random_matrix((4, 4), seed=1).double())
    want = values.clone()
    for n_steps in range(4):
        got = orthogonalise(left @ values.diag() @ right.T, n_steps)
        torch.testing.assert_close(got, left @ want.diag() @ right.T)
        want = 3.4445 * want - 4.7750 * want**3 + 2.0315 * want**5


def test_zero_stays_zero_and_other_shapes_are_refused():
    assert torch.equal(orthogonalise(torch.zeros(2, 3)), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="two axes"):
        orthogonalise(torch.zeros(3))


def test_it_changes_nothing_that_it_was_given():
    matrix = random_matrix((4, 3))
    before = matrix.clone()
    orthogonalise(matrix)
    assert torch.equal(matrix, before)


def stepped(make, shapes=SHAPES, n_steps=8, dtype=torch.float32):
    """Return how far an optimizer moves parameters by the same random gradients."""
    parameters = [nn.Parameter(random_matrix(s, seed=9).to(dtype)) for s in shapes]
    before = [p.detach().clone() for p in parameters]
    optimizer = make(parameters)
    for step in range(n_steps):
        for k, parameter in enumerate(parameters):
            parameter.grad = random_matrix(parameter.shape, seed=100 * step + k).to(dtype)
        optimizer.step()
    return [p.detach() - b for p, b in zip(parameters, before, strict=True)]


def our_muon(parameters, lr=0.02, weight_decay=0.1, momentum=0.95):
    settings = {"momentum": momentum, "n_steps": 5, "weight_decay": weight_decay}
    return Muon([{"kind": "muon", "lr": lr, "params": parameters} | settings])


def distance(moves, others):
    pairs = zip(moves, others, strict=True)
    return max(((a - b).norm() / b.norm()).item() for a, b in pairs)


def test_equals_torch_muon():
    theirs = stepped(lambda p: torch.optim.Muon(p, lr=0.02, weight_decay=0.1, momentum=0.95))
    # torch's steps run in bfloat16 (8 bits), ours in the dtype of the weights.
    assert distance(stepped(our_muon), theirs) < 0.02
    for wrong in ({"lr": 0.021}, {"weight_decay": 0.0}, {"momentum": 0.9}):
        assert distance(stepped(lambda p, w=wrong: our_muon(p, **w)), theirs) > 0.03


def test_the_rest_equals_torch_adamw():
    settings = {"lr": 0.02, "betas": (0.8, 0.97), "eps": 1e-6, "weight_decay": 0.3}
    ours = stepped(lambda p: Muon([{"kind": "adamw", "params": p} | settings]), [(4, 3), (5,)])
    theirs = stepped(lambda p: torch.optim.AdamW(p, **settings), [(4, 3), (5,)])
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-6, rtol=1e-5)


def small(seed=0, **changes):
    torch.manual_seed(seed)
    return Decoder(TransformerConfig(32, 16, d_model=16, n_layers=2, n_heads=2, **changes))


def run(model, n_steps, **settings):
    stream = torch.randint(32, (2000,), generator=generator(3))
    return train(
        model,
        block_batches(stream, 4, 16),
        cross_entropy,
        muon(model, 0.02),
        n_steps,
        schedule=cosine(12, warmup_steps=2),
        **settings,
    )


def test_groups_hold_each_parameter_once():
    for tie in (True, False):
        model = small(tie_embeddings=tie)
        groups = muon(model, 0.02).param_groups
        held = [id(p) for group in groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in model.parameters())
        assert [group["kind"] for group in groups] == ["muon", "adamw", "adamw"]
        assert all(p.ndim == 2 for p in groups[0]["params"])
        assert not {id(model.embedding.weight), id(model.unembedding.weight)} & {
            id(p) for p in groups[0]["params"]
        }


def test_frozen_parameters_are_left_out():
    model = small()
    for parameter in model.blocks[0].parameters():
        parameter.requires_grad_(False)
    before = [p.clone() for p in model.blocks[0].parameters()]
    run(model, 2)
    assert all(map(torch.equal, before, model.blocks[0].parameters()))
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable matrix"):
        muon(model, 0.02)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="kind must be 'muon' or 'adamw', got 'sgd'"):
        Muon([{"kind": "sgd", "params": [nn.Parameter(torch.ones(1))]}])


def test_loop_resumes_it_bit_for_bit(tmp_path):
    whole = run(small(), 12)
    run(small(), 7, checkpoint=tmp_path)
    rest = run(small(seed=5), 12, checkpoint=tmp_path)
    assert [r["loss"] for r in rest] == [r["loss"] for r in whole]
    assert whole[-1]["loss"] < whole[0]["loss"]


def test_state_goes_through_a_checkpoint_and_through_state_dict(tmp_path):
    model, other = small(), small(seed=1)
    optimizer, its = muon(model, 0.02), muon(other, 0.02)
    for _ in range(3):
        model(torch.arange(16)[None]).square().mean().backward()
        optimizer.step()
    save_run(tmp_path, model, optimizer, 3)
    load_run(tmp_path, other, its)
    again = muon(other, 0.5)
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[0]["lr"] == 0.02
    for wanted in (its, again):
        mine, theirs = optimizer.state_dict()["state"], wanted.state_dict()["state"]
        assert mine.keys() == theirs.keys()
        for index, slots in mine.items():
            for name, value in slots.items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs[index][name]))
