"""The lens ends at the model's own logits; induction scores by hand; the block as a function."""

import pytest
import torch

from utils.model.block import decoder_block
from utils.model.config import TransformerConfig
from utils.model.decoder import Block, Decoder
from utils.model.induction import AttentionOnly
from utils.model.lens import (
    head_costs,
    induction_scores,
    logit_lens,
    previous_token_scores,
    residual_streams,
)
from utils.model.rotary import rope_table
from utils.tokens.repeated import repeated_rows

CONFIG = TransformerConfig(23, 16, 16, n_layers=3, n_heads=4, n_kv_heads=2)


def model():
    torch.manual_seed(0)
    return Decoder(CONFIG)


def ids(*shape):
    return torch.randint(23, shape, generator=torch.Generator().manual_seed(0))


def test_the_last_layer_of_the_lens_is_the_model():
    decoder, token_ids = model(), ids(2, 9)
    lens = logit_lens(decoder, token_ids)
    assert lens.shape == (4, 2, 9, 23)
    torch.testing.assert_close(lens[-1], decoder(token_ids))


def test_the_first_layer_of_the_lens_knows_the_current_token_alone():
    decoder, token_ids = model(), ids(2, 9)
    assert torch.equal(residual_streams(decoder, token_ids)[0], decoder.embedding(token_ids))
    changed = token_ids.clone()
    changed[:, :-1] = 0
    first = logit_lens(decoder, token_ids)[0], logit_lens(decoder, changed)[0]
    assert torch.equal(first[0][:, -1], first[1][:, -1])


def test_induction_scores_of_maps_made_by_hand():
    period, T = 3, 9
    perfect, previous = torch.zeros(T, T), torch.zeros(T, T)
    for t in range(T):
        perfect[t, max(0, t - period + 1)] = 1
        previous[t, max(0, t - 1)] = 1
    scores = induction_scores(torch.stack([perfect, previous]), period)
    assert scores.tolist() == [1.0, 0.0]


def test_rows_repeat_with_periods_of_their_own():
    rows, known = repeated_rows(64, 24, 50, torch.Generator().manual_seed(0))
    periods = 23 - known.sum(1)
    assert periods.min() >= 6 and periods.max() <= 12 and len(set(periods.tolist())) > 3
    for row, mask, period in zip(rows, known, periods.tolist(), strict=True):
        assert torch.equal(row[period:], row[:-period])
        assert not mask[: period + 1].any() and mask[period + 1 :].all()


def test_attention_only_is_causal_and_has_no_other_parts():
    torch.manual_seed(0)
    small, token_ids = AttentionOnly(CONFIG), ids(2, 9)
    before = small(token_ids)
    changed = token_ids.clone()
    changed[:, 5:] = 0
    assert torch.equal(small(changed)[:, :5], before[:, :5])
    assert not any("feed_forward" in name for name, _ in small.named_parameters())


def test_maps_of_attention_only_are_causal_shares():
    torch.manual_seed(0)
    maps = AttentionOnly(CONFIG).attention_maps(ids(2, 9))
    assert maps.shape == (3, 2, 4, 9, 9)
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 2, 4, 9))
    assert (maps.triu(1) == 0).all()


def test_decoder_block_equals_the_module():
    torch.manual_seed(0)
    block, x = Block(CONFIG), torch.randn(2, 7, 16)
    for weight in block.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    cos, sin = rope_table(7, 4)
    w_q, w_k, w_v = block.attention.qkv.weight.split([16, 8, 8])
    got = decoder_block(
        x,
        block.attention_norm.weight,
        *(w_q, w_k, w_v, block.attention.output.weight),
        block.feed_forward_norm.weight,
        *block.feed_forward.gate_up.weight.chunk(2),
        block.feed_forward.down.weight,
        *(4, 2, cos, sin),
    )
    want = block(x, cos[:, None], sin[:, None])
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_previous_token_scores_of_maps_made_by_hand():
    maps = torch.stack([torch.eye(5).roll(1, dims=0), torch.eye(5)])
    assert previous_token_scores(maps).tolist() == [1.0, 0.0]


def test_a_head_that_is_left_out_costs_what_the_model_without_it_loses():
    decoder, token_ids = model(), ids(2, 9)
    before = [weight.clone() for weight in decoder.parameters()]

    def loss():
        with torch.inference_mode():
            return decoder(token_ids).square().mean().item()

    costs = head_costs([block.attention for block in decoder.blocks], loss)
    assert costs.shape == (3, 4)
    assert all(torch.equal(a, b) for a, b in zip(before, decoder.parameters(), strict=True))
    whole, d_head = loss(), CONFIG.d_head
    with torch.no_grad():  # the second head of the last layer answers nothing: its values are zero
        decoder.blocks[2].attention.output.weight[:, d_head : 2 * d_head] = 0
    assert loss() - whole == costs[2, 1].item() != 0


def test_weights_are_put_back_where_the_loss_fails():
    decoder = model()
    before = decoder.blocks[0].attention.output.weight.clone()
    calls = iter([0.0])
    with pytest.raises(StopIteration):
        head_costs([decoder.blocks[0].attention], lambda: next(calls))
    assert torch.equal(before, decoder.blocks[0].attention.output.weight)
