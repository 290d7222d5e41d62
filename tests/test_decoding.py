"""The fast step of generation: the decoder's logits and cache, and when it is left alone."""

import pytest
import torch
from torch import nn

from tests.test_decoder import CONFIG, VARIANTS, decoder, every_variant, ids
from utils.model.cache import KVCache
from utils.model.decoding import Step, is_plain
from utils.model.generate import generate


def after_prompt(model, token_ids, capacity, **settings):
    cache = KVCache(model.config, len(token_ids), capacity)
    model(token_ids, cache, **settings)
    return cache


@every_variant
@pytest.mark.parametrize("B", [1, 3, 20])  # 20 rows take the other way to multiply
def test_steps_give_the_logits_and_the_cache_of_the_decoder(config, B):
    model, token_ids = decoder(config), ids(B, 12)
    with torch.inference_mode():
        cache = after_prompt(model, token_ids[:, :5], 12)
        step, want = Step(model, cache), model(token_ids)
        for t in range(5, 12):
            torch.testing.assert_close(step(token_ids[:, t]), want[:, t], atol=1e-5, rtol=1e-5)
        whole = after_prompt(model, token_ids, 12)
    assert cache.length == 12
    torch.testing.assert_close(cache.keys, whole.keys, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cache.values, whole.values, atol=1e-5, rtol=1e-5)


@every_variant
def test_steps_of_padded_rows_equal_the_decoder(config):
    model, token_ids = decoder(config), ids(3, 12)
    keep = torch.ones(3, 12, dtype=torch.bool)
    keep[0, :3] = keep[2, :1] = False
    places = (keep.cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        want = model(token_ids, positions=places, attention_mask=keep)
        prompt = {"positions": places[:, :5], "attention_mask": keep[:, :5]}
        step = Step(model, after_prompt(model, token_ids[:, :5], 12, **prompt), keep)
        for t in range(5, 12):
            got = step(token_ids[:, t], places[:, t])
            torch.testing.assert_close(got, want[:, t], atol=1e-5, rtol=1e-5)


def test_a_full_cache_is_an_error_before_any_work():
    model = decoder()
    cache = after_prompt(model, ids(2, 5), 5)
    with pytest.raises(ValueError, match="do not fit"):
        Step(model, cache)(ids(2, 1)[:, 0])
    assert cache.length == 5


class Doubled(nn.Module):
    """A layer that computes something else than the one it replaces."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return 2 * self.layer(x)


def test_generate_uses_what_a_changed_model_computes():
    model = decoder(VARIANTS["grouped"])
    assert is_plain(model)
    before = generate(model, ids(), 10)
    model.blocks[1].feed_forward.down = Doubled(model.blocks[1].feed_forward.down)
    assert not is_plain(model)
    with torch.no_grad():
        want = ids()
        for _ in range(10):
            want = torch.cat([want, model(want)[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(generate(model, ids(), 10), want) and not torch.equal(before, want)


def test_hooks_are_called():
    model = decoder(CONFIG)
    calls = []
    model.blocks[0].register_forward_hook(lambda *_: calls.append(1))
    generate(model, ids(), 4)
    assert len(calls) == 4


def test_half_precision_generates():
    assert generate(decoder().bfloat16(), ids(), 4).shape == (2, 13)
