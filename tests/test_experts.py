"""Mixture of experts against one token at a time, and against the Mixtral of `transformers`."""

import pytest
import torch
from torch.nn import functional as F

from utils.model.experts import MixtureOfExperts, balance_loss, route_top_k
from utils.model.feedforward import FeedForward


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mixture(n_experts=5, k=2):
    torch.manual_seed(0)
    return MixtureOfExperts(8, 12, n_experts, k)


def test_shares_sum_to_one_and_the_best_come_first():
    logits = random(4, 7, 6)
    experts, shares = route_top_k(logits, 3)
    assert experts.shape == shares.shape == (4, 7, 3)
    torch.testing.assert_close(shares.sum(-1), torch.ones(4, 7))
    assert (shares.diff(dim=-1) <= 0).all()
    assert torch.equal(experts, logits.argsort(-1, descending=True)[..., :3])


@pytest.mark.parametrize("k", [0, 7])
def test_a_k_that_does_not_fit_is_refused(k):
    with pytest.raises(ValueError, match="k must be between 1 and 6"):
        route_top_k(random(3, 6), k)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_module_equals_one_token_at_a_time(k):
    module, x = mixture(k=k), random(3, 4, 8)
    experts, shares = route_top_k(module.router(x), k)
    want = torch.stack(
        [
            sum(
                s * module.experts[int(e)](x[b, t])
                for e, s in zip(experts[b, t], shares[b, t], strict=True)
            )
            for b in range(3)
            for t in range(4)
        ]
    ).view(3, 4, 8)
    torch.testing.assert_close(module(x), want, atol=1e-6, rtol=1e-5)


def test_the_module_equals_mixtral():
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    config = MixtralConfig(
        hidden_size=8, intermediate_size=12, num_local_experts=5, num_experts_per_tok=2
    )
    config._experts_implementation = "eager"
    theirs, ours = MixtralSparseMoeBlock(config), mixture()
    state = {
        "gate.weight": ours.router.weight,
        "experts.gate_up_proj": torch.stack([e.gate_up.weight for e in ours.experts]),
        "experts.down_proj": torch.stack([e.down.weight for e in ours.experts]),
    }
    theirs.load_state_dict(state)
    x = random(2, 6, 8)
    got = theirs(x)
    want = got[0] if isinstance(got, tuple) else got
    torch.testing.assert_close(ours(x), want, atol=1e-5, rtol=1e-4)


def test_one_expert_is_a_feed_forward_and_gradients_reach_the_router():
    single = mixture(n_experts=1, k=1)
    plain, x = FeedForward(8, 12), random(2, 3, 8)
    plain.load_state_dict(single.experts[0].state_dict())
    torch.testing.assert_close(single(x), plain(x))
    several = mixture()
    several(x).square().sum().backward()
    assert several.router.weight.grad.abs().sum() > 0


def test_balance_loss_is_one_when_even_and_grows_to_the_number_of_experts():
    crowded = torch.full((6, 3), -20.0)
    crowded[:, 1] = 20.0
    assert balance_loss(crowded, crowded.topk(1).indices).item() == pytest.approx(3.0)
    even = 40 * F.one_hot(torch.arange(6) % 3, 3).float()
    assert balance_loss(even, even.topk(1).indices).item() == pytest.approx(1.0)
