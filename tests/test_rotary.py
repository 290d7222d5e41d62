"""Rotary positions: the table, the turn, that scores depend on distances alone, exact tables."""

import copy
import io
import math

import pytest
import torch

from utils.model.cache import KVCache
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder, decoder_of
from utils.model.decoding import Step
from utils.model.induction import AttentionOnly
from utils.model.rope_scaling import RopeScaling
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


LONG = TransformerConfig(
    vocab_size=23, context_length=8192, d_model=32, n_layers=2, n_heads=2, rope_theta=1e5
)
SCALED = TransformerConfig(
    **{**vars(LONG), "rope_scaling": RopeScaling("yarn", 4.0, original_context=2048)}
)
FAR = torch.tensor([0, 1, 255, 256, 257, 1000, 4095, 4097, 7001, 7998, 7999, 8000])


def long_decoder(config=LONG, kind=Decoder):
    torch.manual_seed(0)
    model = kind(config).eval()
    for weight in model.parameters():  # rounded, so that a cast to bfloat16 and back is exact
        weight.data.copy_((weight + 0.2 * torch.randn_like(weight)).bfloat16())
    return model


def by_state_dict(model):
    file = io.BytesIO()
    torch.save(model.bfloat16().state_dict(), file)
    file.seek(0)
    other = type(model)(model.config)
    other.load_state_dict(torch.load(file, weights_only=True))
    return other.bfloat16()


def within_another_module(model):
    torch.nn.Sequential(model).to(torch.bfloat16)
    return model


PATHS = {
    "half": lambda model: model.half(),
    "bfloat16": lambda model: model.bfloat16(),
    "double": lambda model: model.double(),
    "to dtype": lambda model: model.to(torch.bfloat16),
    "to dtype and device": lambda model: model.to("cpu", torch.float16),
    "to like a tensor": lambda model: model.to(torch.zeros(1, dtype=torch.bfloat16)),
    "type": lambda model: model.type(torch.bfloat16),
    "twice": lambda model: model.half().bfloat16(),
    "deepcopy": lambda model: copy.deepcopy(model.bfloat16()),
    "state dict": by_state_dict,
    "within another module": within_another_module,
    "assigned weights": lambda model: decoder_of(
        model.config, {name: w.bfloat16() for name, w in model.named_parameters()}
    ),
}


@pytest.mark.parametrize("config", [LONG, SCALED], ids=["plain", "yarn"])
@pytest.mark.parametrize("path", PATHS)
def test_tables_stay_exact_on_every_path_and_logits_come_back(path, config):
    """In half precision position 8,000 is told from 7,999, and a cast back is the model itself."""
    model = long_decoder(config)
    cos, sin = model.cos.clone(), model.sin.clone()
    token_ids = torch.arange(12)[None]
    with torch.inference_mode():
        want = model(token_ids, positions=FAR[None])
    cast = PATHS[path](model)
    assert cast.embedding.weight.dtype != torch.float32
    assert cast.cos.dtype == cast.sin.dtype == torch.float32
    assert torch.equal(cast.cos, cos) and torch.equal(cast.sin, sin)
    with torch.inference_mode():
        assert cast(token_ids, positions=FAR[None]).dtype == cast.embedding.weight.dtype
        if path not in ("half", "to dtype and device", "twice"):  # float16 rounds the weights anew
            assert torch.equal(cast.float().eval()(token_ids, positions=FAR[None]), want)


def test_the_model_of_attention_alone_keeps_its_tables_too():
    model = long_decoder(kind=AttentionOnly)
    cos, sin = rope_table(8192, 16, 1e5)
    for cast in (model.half(), model.bfloat16(), copy.deepcopy(model.to(torch.bfloat16))):
        assert torch.equal(cast.cos[:, 0], cos) and torch.equal(cast.sin[:, 0], sin)


def test_rounded_tables_would_be_noticed():
    """What the tests above guard against: tables in bfloat16 make logits wrong in float32, too."""
    model = long_decoder()
    token_ids = torch.arange(12)[None]
    with torch.inference_mode():
        want = model(token_ids, positions=FAR[None])
        model.cos, model.sin = model.cos.bfloat16().float(), model.sin.bfloat16().float()
        assert (model(token_ids, positions=FAR[None]) - want).abs().max() > 1e-2


def test_under_autocast_angles_are_turned_in_float32():
    model, seen = long_decoder(), []
    for block in model.blocks:
        block.attention.register_forward_pre_hook(lambda _, given: seen.append(given[1:3]))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        model(torch.arange(12)[None], positions=FAR[None])
    assert len(seen) == 2
    for cos, sin in seen:
        assert torch.equal(cos, model.cos[FAR[None]]) and torch.equal(sin, model.sin[FAR[None]])


def test_a_compiled_model_keeps_its_tables():
    model = long_decoder()
    cos = model.cos.clone()
    compiled = torch.compile(model, backend="eager").bfloat16()
    assert torch.equal(model.cos, cos) and model.cos.dtype == torch.float32
    with torch.inference_mode():
        got = compiled(torch.arange(12)[None], positions=FAR[None])
        assert torch.equal(got, model(torch.arange(12)[None], positions=FAR[None]))


@pytest.mark.parametrize("config", [LONG, SCALED], ids=["plain", "yarn"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_written_out_step_turns_by_the_same_angles_at_position_8000(dtype, config):
    model = long_decoder(config).to(dtype)
    token_ids = torch.arange(12)[None]
    cache = KVCache(config, 1, 12, dtype=dtype)
    with torch.inference_mode():
        want = model(token_ids, positions=FAR[None])[:, -1]
        model(token_ids[:, :11], cache, positions=FAR[None, :11])
        got = Step(model, cache)(token_ids[:, 11], FAR[None, 11:][0])
    tolerance = 1e-4 if dtype == torch.float32 else 0.1 * want.abs().max().item()
    assert (got - want).abs().max() <= tolerance


def test_in_bfloat16_a_turn_is_that_of_the_checkpoints_library_bit_for_bit():
    """Both round cosines of exact angles to the dtype of x, then multiply and add in it."""
    import transformers
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    sizes = {"hidden_size": 32, "num_attention_heads": 2, "rope_theta": 1e5}
    x = random(1, 2, 12, 16).bfloat16()
    theirs = LlamaRotaryEmbedding(transformers.LlamaConfig(**sizes))(x, FAR[None])
    want, _ = apply_rotary_pos_emb(x, x, *theirs)
    model = long_decoder().bfloat16()
    cos, sin = (table[FAR, 0] for table in (model.cos, model.sin))  # (T, K/2) float32
    assert torch.equal(apply_rope(x, cos.bfloat16(), sin.bfloat16()), want)
    # With tables in float32 it is the exact turn, rounded once: nearer, and as far at any position.
    exact = apply_rope(x.double(), cos.double(), sin.double())
    assert torch.equal(apply_rope(x, cos, sin), exact.float().bfloat16())
    errors = (want - exact).abs().amax(dim=(0, 1, 3))  # (T,)
    assert errors.max() < 2**-6 * x.abs().max() and errors[-3:].max() < 3 * errors[:6].max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_in_half_precision_are_as_near_as_those_of_the_checkpoints_library(dtype, tmp_path):
    import transformers

    from utils.model.pretrained import load_hugging_face, save_hugging_face

    exact = long_decoder()
    save_hugging_face(exact, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype).eval()
    ours = load_hugging_face(tmp_path).to(dtype).eval()
    positions = torch.arange(7989, 8001)[None]
    with torch.inference_mode():
        want = exact(torch.arange(12)[None], positions=positions)
        error = (ours(torch.arange(12)[None], positions=positions) - want).abs()
        their_error = (theirs(torch.arange(12)[None], position_ids=positions).logits - want).abs()
    assert error.mean() < 1.5 * their_error.mean() and error.max() < 2 * their_error.max()
