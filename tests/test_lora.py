"""LoRA against PEFT and by its properties: identity at the start, merging, what learns."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.lora import (
    ALL_LAYERS,
    LoRALinear,
    adapter_state,
    add_lora,
    count_trainable,
    load_adapter_state,
    lora_layers,
    merge_lora,
)
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw

CONFIG = TransformerConfig(vocab_size=31, context_length=16, d_model=16, n_layers=2, n_kv_heads=2)


def decoder(seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(CONFIG)


def ids(n_rows: int = 3, n_tokens: int = 9) -> torch.Tensor:
    return torch.randint(31, (n_rows, n_tokens), generator=torch.Generator().manual_seed(1))


def tuned(model: nn.Module, n_steps: int = 3) -> nn.Module:
    optimizer, block = adamw(model, lr=1e-2), ids()
    for _ in range(n_steps):
        optimizer.zero_grad()
        cross_entropy(model(block[:, :-1]), block[:, 1:]).backward()
        optimizer.step()
    return model


def test_at_the_start_nothing_changes_bit_for_bit():
    model = decoder()
    before = model(ids())
    assert torch.equal(add_lora(model, rank=4, alpha=8)(ids()), before)


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_after_tuning_merged_equals_unmerged(rank):
    model = tuned(add_lora(decoder(), rank=rank, alpha=8.0))
    with torch.no_grad():
        unmerged = model(ids())
        assert (unmerged - decoder()(ids())).abs().max() > 1e-2, "the tuning changed something"
        for layer in lora_layers(model).values():
            layer.merge()
        assert (model(ids()) - unmerged).abs().max() < 1e-5
        for layer in lora_layers(model).values():
            layer.unmerge()
        assert (model(ids()) - unmerged).abs().max() < 1e-5


def test_merged_for_good_it_is_a_plain_decoder_again():
    model = tuned(add_lora(decoder(), rank=2, alpha=4))
    wanted = model(ids()).detach()
    names = {name for name, _ in decoder().named_parameters()}
    merge_lora(model)
    assert {name for name, _ in model.named_parameters()} == names and not lora_layers(model)
    assert all(weight.requires_grad for weight in model.parameters())
    assert (model(ids()) - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("rank", "alpha"), [(1, 1), (3, 16), (8, 4)])
def test_forward_and_gradients_equal_peft(rank, alpha, bias):
    torch.manual_seed(rank)
    plain = nn.Sequential(nn.Linear(12, 9, bias=bias))
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"], lora_dropout=0.0)
    theirs = get_peft_model(copy.deepcopy(plain), config)
    layer = LoRALinear(copy.deepcopy(plain[0]), rank, alpha)
    (a,), (b,) = (
        [w for name, w in theirs.named_parameters() if part in name]
        for part in ("lora_A", "lora_B")
    )
    with torch.no_grad():
        b.normal_()
        layer.down.copy_(a)
        layer.up.copy_(b)
    x = torch.randn(2, 5, 12)
    ours_out, their_out = layer(x), theirs(x)
    assert (ours_out - their_out).abs().max() < 1e-5
    ours_out.square().sum().backward()
    their_out.square().sum().backward()
    for ours, their in ((layer.down, a), (layer.up, b)):
        torch.testing.assert_close(ours.grad, their.grad, rtol=1e-4, atol=1e-4)
    assert layer.linear.weight.grad is None


def test_only_the_chosen_layers_learn_and_the_rest_stays_bit_for_bit():
    model = add_lora(
        decoder(), rank=2, alpha=4, targets=["attention.qkv"], also_train=["embedding.weight"]
    )
    before = copy.deepcopy(model.state_dict())
    tuned(model)
    learned = {
        name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])
    }
    assert learned == {"embedding.weight"} | {
        f"blocks.{layer}.attention.qkv.{part}" for layer in (0, 1) for part in ("down", "up")
    }


def test_weights_that_learn_are_counted_by_the_formula():
    rank = 3
    model = add_lora(decoder(), rank=rank, alpha=1)
    expected = sum(rank * sum(layer.linear.weight.shape) for layer in lora_layers(model).values())
    assert len(lora_layers(model)) == len(ALL_LAYERS) * CONFIG.n_layers
    assert count_trainable(model.parameters()) == expected


def test_a_saved_adapter_gives_the_tuned_model_back():
    model = tuned(add_lora(decoder(), rank=2, alpha=4, also_train=["embedding.weight"]))
    state = adapter_state(model)
    assert "embedding.weight" in state, "an adapter is not complete without what else was trained"
    fresh = add_lora(decoder(), rank=2, alpha=4, also_train=["embedding.weight"])
    load_adapter_state(fresh, state)
    assert torch.equal(fresh(ids()), model(ids()))


def test_an_adapter_of_another_shape_is_refused_and_nothing_is_loaded():
    state = adapter_state(tuned(add_lora(decoder(), rank=2, alpha=4)))
    other = add_lora(decoder(), rank=2, alpha=4, targets=["attention.qkv"])
    with pytest.raises(ValueError, match="adapted in another way"):
        load_adapter_state(other, state)
    wider = add_lora(decoder(), rank=3, alpha=4)
    before = adapter_state(wider)
    with pytest.raises(ValueError, match="same rank"):
        load_adapter_state(wider, state)
    assert all(torch.equal(before[name], now) for name, now in adapter_state(wider).items())


@pytest.mark.parametrize(
    ("rank", "alpha", "words"),
    [(0, 1, "rank must be from 1 to 3"), (4, 1, "rank must be"), (2, 0, "alpha must be above 0")],
)
def test_ranks_and_scales_that_do_not_fit_are_refused(rank, alpha, words):
    with pytest.raises(ValueError, match=words):
        LoRALinear(nn.Linear(5, 3), rank, alpha)


def test_unknown_targets_and_second_adapters_are_refused():
    with pytest.raises(ValueError, match="'q_proj' fits no layer of this model; it has"):
        add_lora(decoder(), rank=2, alpha=4, targets=["q_proj"])
    model = add_lora(decoder(), rank=2, alpha=4)
    with pytest.raises(ValueError, match="adapters already"):
        add_lora(model, rank=2, alpha=4)


def test_merging_twice_or_unmerging_what_is_not_merged_is_refused():
    layer = LoRALinear(nn.Linear(5, 3), 2, 1)
    with pytest.raises(ValueError, match="nothing to take out"):
        layer.unmerge()
    layer.merge()
    with pytest.raises(ValueError, match="merged already"):
        layer.merge()


def test_scale_is_alpha_over_rank():
    layer = LoRALinear(nn.Linear(6, 6, bias=False), rank=4, alpha=2)
    with torch.no_grad():
        layer.up.normal_()
    x = torch.randn(3, 6)
    wanted = layer.linear(x) + 0.5 * x @ (layer.up @ layer.down).T
    torch.testing.assert_close(layer(x), wanted)
