"""Rotary positions: the table, the turn, and that scores depend on distances alone."""

import math

import pytest
import torch

from utils.model.rotary import apply_rope, rope_table


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_table_holds_the_angles_of_the_paper():
    cos, sin = rope_table(5, 6, theta=50.0)
    assert cos.shape == sin.shape == (5, 3)
    for t in range(5):
        for i in range(3):
            angle = t * 50.0 ** (-2 * i / 6)
            assert math.isclose(cos[t, i].item(), math.cos(angle), abs_tol=1e-6)
            assert math.isclose(sin[t, i].item(), math.sin(angle), abs_tol=1e-6)


def test_odd_head_width_is_refused():
    with pytest.raises(ValueError, match="even"):
        rope_table(4, 7)


def test_turning_is_multiplication_of_complex_numbers():
    x = random(2, 3, 7, 8)
    cos, sin = rope_table(7, 8)
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.complex(cos, sin)
    want = torch.cat([turned.real, turned.imag], dim=-1)
    torch.testing.assert_close(apply_rope(x, cos, sin), want, atol=1e-5, rtol=0)


def test_lengths_stay_and_position_zero_is_not_turned():
    x = random(2, 7, 8)
    turned = apply_rope(x, *rope_table(7, 8))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, 0], x[:, 0])


@pytest.mark.parametrize("shift", [1, 17, 90])
def test_scores_depend_on_the_distance_alone(shift):
    cos, sin = rope_table(100, 8)
    q, k = random(1, 8), random(1, 8, seed=1)

    def score(at_q, at_k):
        turned_q = apply_rope(q, cos[at_q : at_q + 1], sin[at_q : at_q + 1])
        turned_k = apply_rope(k, cos[at_k : at_k + 1], sin[at_k : at_k + 1])
        return (turned_q * turned_k).sum()

    torch.testing.assert_close(score(5, 2), score(5 + shift, 2 + shift), atol=1e-5, rtol=0)
    assert abs(score(5, 2) - score(5 + shift, 2)) > 1e-3


@pytest.mark.parametrize("rows, width", [(6, 4), (7, 8)])
def test_a_table_of_another_size_is_refused(rows, width):
    with pytest.raises(ValueError, match="needs cos and sin"):
        apply_rope(random(2, 7, 8), torch.ones(rows, width), torch.ones(rows, width))


@pytest.mark.parametrize("d_head", [2, 16, 64, 128])
@pytest.mark.parametrize("theta", [10000, 500000.0, 1e6, 77.7])
def test_the_table_is_that_of_the_checkpoints_library_to_the_last_bit(d_head, theta):
    import transformers
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    sizes = {"hidden_size": 2 * d_head, "num_attention_heads": 2, "rope_theta": theta}
    theirs = LlamaRotaryEmbedding(transformers.LlamaConfig(**sizes))
    cos, sin = theirs(torch.zeros(1), torch.arange(300)[None])  # (1, T, K), halves alike
    ours = rope_table(300, d_head, theta)
    assert torch.equal(ours[0], cos[0, :, : d_head // 2])
    assert torch.equal(ours[1], sin[0, :, : d_head // 2])
