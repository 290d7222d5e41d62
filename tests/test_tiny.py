"""The tiny decoder gives the logits of the real one, from the base checkpoint on."""

import pytest
import torch

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.rope_scaling import RopeScaling
from utils.model.tiny import TinyDecoder, tiny_weights
from utils.zoo.load import load_base


def tiny_of(config: TransformerConfig) -> TinyDecoder:
    return TinyDecoder(
        config.vocab_size,
        config.context_length,
        config.d_model,
        config.n_layers,
        config.n_heads,
        config.d_ff,
    )


def test_it_loads_the_base_model_and_gives_equal_logits():
    base, tokenizer = load_base(rebuild=False)
    tiny = tiny_of(base.config)
    tiny.load_state_dict(tiny_weights(base))
    token_ids = torch.tensor([tokenizer.encode("Question: Write r5m1 again.\nAnswer:")])
    with torch.inference_mode():
        assert (tiny(token_ids) - base(token_ids)).abs().max() <= 1e-4


def test_it_starts_as_the_decoder_does():
    config = TransformerConfig(200, 8, d_model=64, n_layers=3)
    torch.manual_seed(0)
    wanted, tiny = tiny_weights(Decoder(config)), tiny_of(config).state_dict()
    assert set(wanted) == set(tiny)
    for name, weight in tiny.items():
        assert weight.shape == wanted[name].shape
        if weight.dim() > 1:
            assert weight.std().item() == pytest.approx(wanted[name].std().item(), rel=0.1)
        else:
            assert torch.equal(weight, torch.ones(64))


def test_other_architectures_are_refused():
    for other in ({"n_kv_heads": 2}, {"tie_embeddings": False}, {"qk_norm": True}):
        decoder = Decoder(TransformerConfig(11, 8, d_model=16, n_layers=1, **other))
        with pytest.raises(ValueError, match="TinyDecoder"):
            tiny_weights(decoder)


@pytest.mark.parametrize(
    "extra", [{"qkv_bias": True}, {"rope_theta": 5e5}, {"rope_scaling": RopeScaling("linear", 2.0)}]
)
def test_what_a_tiny_decoder_lacks_is_refused_by_name(extra):
    config = TransformerConfig(11, 8, d_model=16, n_layers=1, **extra)
    with pytest.raises(ValueError, match=f"no other {next(iter(extra))}"):
        tiny_weights(Decoder(config))
