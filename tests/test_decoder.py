"""The decoder: shapes, refusals, causality, weights, attention maps."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from utils.model.attention import attention_weights, causal_mask, multi_head_attention
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder, count_parameters, decoder_of
from utils.model.feedforward import swiglu
from utils.model.norm import rms_norm
from utils.model.rope_scaling import RopeScaling, scaled_rope_table
from utils.model.rotary import apply_rope

CONFIG = TransformerConfig(
    vocab_size=23, context_length=20, d_model=16, n_layers=3, n_heads=4, d_ff=24
)
VARIANTS = {
    "plain": CONFIG,
    "grouped": replace(CONFIG, n_kv_heads=2),
    "multi-query": replace(CONFIG, n_kv_heads=1),
    "qk_norm": replace(CONFIG, qk_norm=True, n_kv_heads=2),
    "untied": replace(CONFIG, tie_embeddings=False),
    "wide heads": replace(CONFIG, d_head=6),
    "biases": replace(CONFIG, qkv_bias=True, n_kv_heads=2),
    "scaled": replace(CONFIG, rope_scaling=RopeScaling("yarn", 4.0, original_context=5)),
}
every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


def decoder(config=CONFIG, seed=0):
    """A decoder with large weights, gains included, so that mistakes show in the logits."""
    torch.manual_seed(seed)
    model = Decoder(config)
    for weight in model.parameters():
        weight.data.add_(0.2 * torch.randn_like(weight))
    return model


def ids(B=2, T=9, seed=0):
    return torch.randint(23, (B, T), generator=torch.Generator().manual_seed(seed))


def by_hand(model, token_ids):
    """The logits from the readable functions alone, without qk_norm and biases."""
    config = model.config
    x = F.embedding(token_ids, model.embedding.weight)
    angles = (config.d_head, config.rope_theta, config.rope_scaling)
    cos, sin = scaled_rope_table(token_ids.shape[1], *angles)
    kv = config.n_kv_heads * config.d_head
    for block in model.blocks:
        weights = block.attention.qkv.weight.split([config.n_heads * config.d_head, kv, kv])
        normed = rms_norm(x, block.attention_norm.weight, config.norm_eps)
        output, heads = block.attention.output.weight, (config.n_heads, config.n_kv_heads)
        x = x + multi_head_attention(normed, *weights, output, *heads, cos, sin)
        normed = rms_norm(x, block.feed_forward_norm.weight, config.norm_eps)
        gate, up = block.feed_forward.gate_up.weight.chunk(2)
        x = x + swiglu(normed, gate, up, block.feed_forward.down.weight)
    return rms_norm(x, model.norm.weight, config.norm_eps) @ model.unembedding.weight.T


@every_variant
@pytest.mark.parametrize("T", [1, 20])
def test_logits_have_one_row_per_token(config, T):
    assert decoder(config)(ids(3, T)).shape == (3, T, 23)


@pytest.mark.parametrize("name", [n for n in VARIANTS if n not in ("qk_norm", "biases")])
def test_logits_equal_those_of_the_readable_functions(name):
    model = decoder(VARIANTS[name])
    torch.testing.assert_close(model(ids()), by_hand(model, ids()), atol=1e-4, rtol=1e-5)


def test_gradients_equal_those_of_the_readable_functions():
    model = decoder()
    weights = list(model.parameters())
    fused = torch.autograd.grad(model(ids()).logsumexp(-1).sum(), weights)
    readable = torch.autograd.grad(by_hand(model, ids()).logsumexp(-1).sum(), weights)
    for a, b in zip(fused, readable, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)


@every_variant
def test_the_future_does_not_reach_the_past(config):
    model = decoder(config)
    changed = ids().clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % 23
    before, after = model(ids()), model(changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert (before[:, 6:] != after[:, 6:]).any(-1).all()


def test_rows_of_a_batch_do_not_mix():
    model = decoder()
    alone = torch.cat([model(ids()[:1]), model(ids()[1:])])
    torch.testing.assert_close(model(ids()), alone, atol=1e-5, rtol=1e-5)


def test_last_only_is_the_last_row():
    model = decoder()
    got = model(ids(), last_only=True)
    assert got.shape == (2, 1, 23)
    torch.testing.assert_close(got, model(ids())[:, -1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "token_ids, message",
    [
        (torch.zeros(1, 3), "int64"),
        (torch.zeros(1, 3, dtype=torch.int32), "int64"),
        (torch.zeros(3, dtype=torch.int64), r"\(B, T\)"),
        (torch.zeros(1, 0, dtype=torch.int64), "no token"),
        (torch.zeros(1, 21, dtype=torch.int64), "21 tokens exceed the context of 20"),
    ],
)
def test_unreadable_token_ids_are_refused(token_ids, message):
    with pytest.raises(ValueError, match=message):
        decoder()(token_ids)


@pytest.mark.parametrize("wrong", [-1, 23, 10**9])
def test_a_token_outside_the_vocabulary_is_an_error(wrong):
    with pytest.raises(IndexError, match="out of range"):
        decoder()(torch.tensor([[0, wrong]]))


def test_tied_embedding_is_one_parameter():
    tied, untied = decoder(), decoder(VARIANTS["untied"])
    assert tied.unembedding.weight is tied.embedding.weight
    assert count_parameters(untied) - count_parameters(tied) == 23 * 16
    tied(ids()).sum().backward()
    names = [name for name, _ in tied.named_parameters()]
    assert "embedding.weight" in names and "unembedding.weight" not in names


def test_number_of_parameters_is_the_sum_of_the_parts():
    attention, feed_forward, norms = 4 * 16 * 16, 3 * 16 * 24, 2 * 16
    assert count_parameters(decoder()) == 23 * 16 + 3 * (attention + feed_forward + norms) + 16


@every_variant
def test_state_dict_round_trip(config, tmp_path):
    model, other = decoder(config), decoder(config, seed=1)
    assert not torch.equal(model(ids()), other(ids()))
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other.load_state_dict(torch.load(tmp_path / "model.pt"))
    assert torch.equal(model(ids()), other(ids()))
    assert not any("cos" in name or "sin" in name for name in model.state_dict())


def test_initial_weights_follow_the_seed_and_start_near_uniform():
    first, second, third = (fresh(seed) for seed in (0, 0, 1))
    assert torch.equal(first(ids()), second(ids()))
    assert not torch.equal(first(ids()), third(ids()))
    loss = F.cross_entropy(first(ids()).flatten(0, 1), ids(seed=1).flatten())
    assert abs(loss.item() - torch.tensor(23.0).log().item()) < 0.1


def fresh(seed):
    torch.manual_seed(seed)
    return Decoder(CONFIG)


@every_variant
def test_attention_maps_are_rows_of_weights(config):
    maps = decoder(config).attention_maps(ids())
    assert maps.shape == (3, 2, 4, 9, 9)
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 2, 4, 9))
    assert (maps.triu(1) == 0).all() and (maps >= 0).all()


@every_variant
def test_attention_maps_are_what_the_blocks_use(config):
    model = decoder(config)
    inputs = []
    for block in model.blocks:
        block.attention.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    model(ids())
    maps = model.attention_maps(ids())
    for block, x, weights in zip(model.blocks, inputs[:3], maps, strict=True):
        cos, sin = model.cos[:9], model.sin[:9]
        q, k, v = block.attention.project(x, cos, sin)
        group = config.n_heads // config.n_kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        torch.testing.assert_close(weights, attention_weights(q, k, causal_mask(9)))
        heads = (weights @ v).transpose(1, 2).flatten(2)
        mixed = heads @ block.attention.output.weight.T
        torch.testing.assert_close(mixed, block.attention(x, cos, sin), atol=1e-5, rtol=1e-4)


def test_biases_are_added_to_queries_keys_and_values():
    model = decoder(VARIANTS["biases"])
    attention, x, turns = model.blocks[0].attention, torch.randn(2, 9, 16), (model.cos, model.sin)
    cos, sin = (table[:9] for table in turns)
    got = attention.project(x, cos, sin)
    stacked = torch.cat([attention.qkv.weight, attention.qkv_bias.weight[:, None]], dim=1)
    heads = torch.cat([x, torch.ones(2, 9, 1)], dim=-1) @ stacked.T  # a bias is one more input
    q, k, v = heads.view(2, 9, 8, 4).transpose(1, 2).split([4, 2, 2], dim=1)
    for ours, turned in zip(got[:2], (q, k), strict=True):
        want = apply_rope(turned, cos[:, 0], sin[:, 0])
        torch.testing.assert_close(ours, want, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got[2], v, atol=1e-5, rtol=1e-5)


def test_biases_start_at_zero_and_change_no_other_weight():
    torch.manual_seed(0)
    plain = Decoder(replace(CONFIG, n_kv_heads=2))
    torch.manual_seed(0)
    biased = Decoder(VARIANTS["biases"])
    assert torch.equal(plain(ids()), biased(ids()))
    biases = [w for name, w in biased.named_parameters() if "bias" in name]
    assert len(biases) == 3 and not any(bias.any() for bias in biases)


@every_variant
def test_a_decoder_made_of_weights_is_the_one_they_come_from(config):
    model, state = decoder(config), torch.get_rng_state()
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    other = decoder_of(config, weights)
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn
    assert torch.equal(other(ids()), model(ids()))
    assert [name for name, _ in other.named_parameters()] == list(weights)
    assert (other.unembedding.weight is other.embedding.weight) == config.tie_embeddings
    with pytest.raises(RuntimeError, match="norm.weight"):
        decoder_of(config, {name: w for name, w in weights.items() if name != "norm.weight"})


def test_one_step_of_learning_lowers_the_loss():
    model = decoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        loss = F.cross_entropy(model(ids())[:, :-1].flatten(0, 1), ids()[:, 1:].flatten())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_model_computes_in_the_dtype_of_its_weights(dtype):
    model = decoder()
    want = model(ids())
    got = model.to(dtype)(ids())
    assert got.dtype == dtype
    tolerance = 0.3 if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(got.float(), want, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n_heads": 3}, "not divisible"),
        ({"n_heads": 4, "n_kv_heads": 3}, "multiple"),
        ({"d_head": 5}, "even"),
        ({"n_layers": 0}, "n_layers"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**{"vocab_size": 8, "context_length": 8, "d_model": 16, **change})
