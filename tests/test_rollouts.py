"""Rollouts: what was drawn, what counts as response, and how likely the policy found it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical
from torch.nn import functional as F

from utils.align.logprobs import masked_mean, token_entropy, token_logprobs
from utils.align.rollouts import draw_rollouts, response_batch, response_logprobs
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.hidden import logits_and_hidden

PAD, END = 1, 0
CONFIG = TransformerConfig(vocab_size=9, context_length=16, d_model=16, n_layers=2, n_heads=2)


def policy(seed=0):
    torch.manual_seed(seed)
    return Decoder(CONFIG)


def drawn(seed=0, temperature=1.0, max_new_tokens=6, pad_id=PAD):
    return draw_rollouts(
        policy(),
        [[2, 3, 4], [5], [6, 7], [2]],
        max_new_tokens,
        pad_id=pad_id,
        end_id=END,
        temperature=temperature,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("pad_id", [PAD, END])
def test_masks_keep_the_response_and_its_end_and_nothing_else(seed, pad_id):
    found = drawn(seed, pad_id=pad_id)
    for row, (prompt, response) in enumerate(zip(found.prompts, found.responses, strict=True)):
        ended = bool(found.ended[row])
        written = response + [END] * ended
        assert ended == (len(response) < 6) and END not in response
        assert found.targets[row][found.response_mask[row]].tolist() == written
        assert found.lengths[row] == len(written)
        assert found.last[row] == len(prompt) + len(written) - 2
        assert found.targets[row, found.last[row]] == written[-1]
        n = len(prompt)
        assert found.token_ids[row, :n].tolist() == prompt
        assert not found.response_mask[row, : n - 1].any()
    assert found.logprobs[~found.response_mask].eq(0).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_logprobs_are_those_of_each_row_alone_at_the_temperature_of_the_draw(temperature):
    found, model = drawn(3, temperature), policy()
    for row, prompt in enumerate(found.prompts):
        written = found.targets[row][found.response_mask[row]]
        ids = torch.tensor([prompt + written.tolist()])
        logits = model(ids)[0, len(prompt) - 1 : -1] / temperature
        expected = Categorical(logits=logits).log_prob(written)
        got = found.logprobs[row][found.response_mask[row]]
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_ratios_before_the_first_update_are_exactly_one():
    found, model = drawn(1), policy()
    again = response_logprobs(model, found.token_ids, found.targets, found.response_mask)
    assert torch.equal(again, found.logprobs) and again.requires_grad


def test_draws_are_those_of_the_generator_and_leave_the_policy_in_its_mode():
    model = policy().train()
    arguments = dict(pad_id=PAD, end_id=END)
    first, second = (
        draw_rollouts(model, [[2]] * 5, 5, generator=torch.Generator().manual_seed(s), **arguments)
        for s in (4, 4)
    )
    assert first.responses == second.responses and model.training
    assert not first.logprobs.requires_grad and not first.logprobs.is_inference()


def test_frequencies_of_drawn_tokens_are_the_probabilities():
    n, model = 4000, policy()
    found = draw_rollouts(
        model, [[2]] * n, 1, pad_id=PAD, end_id=END, generator=torch.Generator().manual_seed(0)
    )
    counts = torch.bincount(found.targets[found.response_mask], minlength=9) / n
    probabilities = model(torch.tensor([[2]]))[0, -1].softmax(-1)
    assert (counts - probabilities).abs().max() < 5 * math.sqrt(0.25 / n)


def test_right_padding_changes_no_score():
    model = policy()
    short = response_logprobs(model, *response_batch([[2, 3]], [[4, END]], PAD))
    both = response_logprobs(model, *response_batch([[2, 3], [5]], [[4, END], [6] * 8], PAD))
    torch.testing.assert_close(both[0, :3], short[0], atol=1e-6, rtol=0)
    assert both[0, 3:].eq(0).all()


@pytest.mark.parametrize(
    "prompts, responses, words",
    [
        ([], [], "one at least"),
        ([[1]], [[2], [3]], "as many of one"),
        ([[]], [[2]], "prompt 0 is empty"),
        ([[1], [1]], [[2], []], "response 1 is empty"),
    ],
)
def test_rows_that_can_not_be_scored_are_refused(prompts, responses, words):
    with pytest.raises(ValueError, match=words):
        response_batch(prompts, responses, PAD)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_greedy_policy_has_no_rollouts(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        drawn(temperature=temperature)
    with pytest.raises(ValueError, match="temperature must be positive"):
        token_logprobs(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.int64), temperature)


def test_no_prompts_are_refused():
    with pytest.raises(ValueError, match="prompts is empty"):
        draw_rollouts(policy(), [], 3, pad_id=PAD, end_id=END)


@given(seed=st.integers(0, 1000), temperature=st.floats(0.2, 5))
@settings(max_examples=25, deadline=None)
def test_token_logprobs_and_entropy_are_those_of_torch(seed, temperature):
    draws = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 5, generator=draws) * 4
    targets = torch.randint(-1, 5, (2, 3), generator=draws)
    targets[targets < 0] = -100
    expected = -F.cross_entropy(
        (logits / temperature).flatten(0, 1), targets.flatten(), reduction="none"
    ).view(2, 3)
    got = token_logprobs(logits, targets, temperature)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        token_entropy(logits, temperature),
        Categorical(logits=logits / temperature).entropy(),
        atol=1e-5,
        rtol=1e-4,
    )


def test_logprobs_are_float32_whatever_the_logits_are():
    logits = torch.randn(1, 2, 4).bfloat16()
    assert token_logprobs(logits, torch.tensor([[1, 2]])).dtype == torch.float32


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        token_logprobs(torch.zeros(1, 2, 4), torch.zeros(1, 3, dtype=torch.int64))


def test_what_a_mask_hides_never_counts():
    values = torch.tensor([[1.0, math.nan], [3.0, math.inf]], requires_grad=True)
    mean = masked_mean(values, torch.tensor([[True, False], [True, False]]))
    mean.backward()
    assert mean == 2 and values.grad.tolist() == [[0.5, 0.0], [0.5, 0.0]]
    with pytest.raises(ValueError, match="keeps no token"):
        masked_mean(torch.ones(2), torch.zeros(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="must be bool"):
        masked_mean(torch.ones(2), torch.ones(2))


def test_features_carry_gradients_and_leave_no_hook_behind():
    model = policy()
    logits, hidden = logits_and_hidden(model, torch.tensor([[2, 3]]))
    assert torch.equal(logits, model(torch.tensor([[2, 3]])))
    assert torch.equal(model.unembedding(hidden), logits)
    hidden.sum().backward()
    assert model.blocks[0].attention.qkv.weight.grad is not None
    with pytest.raises(ValueError, match="token_ids"):
        logits_and_hidden(model, torch.zeros(1, 0, dtype=torch.int64))
    assert not model.norm._forward_hooks
