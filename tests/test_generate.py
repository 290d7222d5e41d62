"""Writing text: equal to the loop without a cache, end tokens, the border of the context."""

import pytest
import torch

from tests.test_decoder import decoder, every_variant, ids
from utils.model.generate import generate, generate_batch


def greedy_by_hand(model, token_ids, n):
    """The most likely token n times, the whole text read anew each time."""
    with torch.no_grad():
        for _ in range(n):
            token = model(token_ids)[:, -1].argmax(-1, keepdim=True)
            token_ids = torch.cat([token_ids, token], dim=1)
    return token_ids


@every_variant
@pytest.mark.parametrize("B, T", [(1, 1), (1, 7), (3, 5)])
def test_greedy_equals_the_loop_without_cache(config, B, T):
    model = decoder(config)
    got = generate(model, ids(B, T), 8)
    assert got.dtype == torch.int64
    assert torch.equal(got, greedy_by_hand(model, ids(B, T), 8))


def test_weights_that_change_between_calls_are_seen():
    model = decoder()
    generate(model, ids(), 4)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(generate(model, ids(), 8), greedy_by_hand(model, ids(), 8))


def test_new_tokens_may_fill_the_context_exactly():
    model = decoder()
    got = generate(model, ids(2, 9), 11)
    assert torch.equal(got, greedy_by_hand(model, ids(2, 9), 11)) and got.shape == (2, 20)
    assert generate(model, ids(2, 20), 1).shape == (2, 21)  # the last token need not be read


def test_more_than_the_context_is_refused_before_any_work():
    model = decoder()
    calls = []
    model.embedding.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(ValueError, match="context of 20"):
        generate(model, ids(2, 9), 13)
    assert not calls


@pytest.mark.parametrize("n", [0, -1])
def test_no_new_tokens_is_refused(n):
    with pytest.raises(ValueError, match="max_new_tokens"):
        generate(decoder(), ids(), n)


def test_a_row_that_has_ended_is_filled_with_the_end_token():
    model = decoder()
    free = generate(model, ids(4, 5), 10)
    end = free[1, 7].item()  # written by row 1 as its third token, perhaps earlier
    got = generate(model, ids(4, 5), 10, end_id=end)
    for row, its_free in zip(got[:, 5:].tolist(), free[:, 5:].tolist(), strict=True):
        length = its_free.index(end) + 1 if end in its_free else len(its_free)
        assert row[:length] == its_free[: min(length, len(row))]
        assert all(token == end for token in row[length:])


def test_writing_stops_when_all_rows_have_ended():
    model = decoder()
    free = generate(model, ids(1, 5), 10)[0, 5:].tolist()
    end = free[2]
    got = generate(model, ids(1, 5), 10, end_id=end)[0, 5:].tolist()
    assert got == free[: free.index(end) + 1]


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_restored(training):
    model = decoder().train(training)
    generate(model, ids(), 2)
    assert model.training is training
    with pytest.raises(IndexError):
        generate(model, torch.tensor([[99]]), 2)
    assert model.training is training


def test_the_result_is_a_normal_tensor_and_the_prompt_stays():
    prompt = ids()
    got = generate(decoder(), prompt, 2)
    assert torch.equal(prompt, ids()) and torch.equal(got[:, :9], prompt)
    assert not got.is_inference() and not got.requires_grad


def test_sampling_follows_the_generator():
    model = decoder()

    def sample(seed):
        generator = torch.Generator().manual_seed(seed)
        return generate(model, ids(), 11, temperature=1.0, top_k=20, generator=generator)

    assert torch.equal(sample(0), sample(0)) and not torch.equal(sample(0), sample(1))


def test_filters_reach_the_choice_of_each_token():
    model, greedy = decoder(), generate(decoder(), ids(), 8)
    prompts = [row.tolist() for row in ids()]
    for only_the_best in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        hot = {"temperature": 5.0, "generator": torch.Generator().manual_seed(0)}
        assert not torch.equal(generate(model, ids(), 8, **hot), greedy)
        assert torch.equal(generate(model, ids(), 8, **hot, **only_the_best), greedy)
        got = generate_batch(model, prompts, 8, pad_id=0, end_id=-1, **hot, **only_the_best)
        assert got == greedy[:, 9:].tolist()


@every_variant
def test_padded_prompts_get_the_responses_they_get_alone(config):
    model = decoder(config)
    prompts = [ids(1, T, seed=T)[0].tolist() for T in (1, 4, 9, 6)]
    got = generate_batch(model, prompts, 8, pad_id=0, end_id=22)
    for prompt, response in zip(prompts, got, strict=True):
        alone = greedy_by_hand(model, torch.tensor([prompt]), 8)[0, len(prompt) :].tolist()
        assert response == (alone[: alone.index(22)] if 22 in alone else alone)


def test_responses_hold_no_end_token():
    model = decoder()
    free = generate_batch(model, [[3, 4], [5]], 10, pad_id=0, end_id=-1)
    end = free[0][0]
    got = generate_batch(model, [[3, 4], [5]], 10, pad_id=0, end_id=end)
    assert got[0] == [] and end not in got[1]


def test_a_prompt_that_holds_the_end_token_is_answered():
    model = decoder()
    prompt = [7, 3, 7]
    free = greedy_by_hand(model, torch.tensor([prompt]), 6)[0, 3:].tolist()
    want = free[: free.index(7)] if 7 in free else free
    assert generate_batch(model, [prompt], 6, pad_id=0, end_id=7) == [want]


def test_empty_prompts():
    assert generate_batch(decoder(), [], 3, pad_id=0, end_id=1) == []
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        generate_batch(decoder(), [[1], []], 3, pad_id=0, end_id=1)


def padded():
    token_ids = torch.tensor([[0, 0, 3, 4], [1, 2, 3, 4]])
    return token_ids, torch.tensor([[False, False, True, True], [True] * 4])


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_masks_of_ones_and_zeros_are_masks(dtype):
    model, (token_ids, keep) = decoder(), padded()
    want = generate(model, token_ids, 3, attention_mask=keep)
    assert torch.equal(generate(model, token_ids, 3, attention_mask=keep.to(dtype)), want)
    assert torch.equal(
        model(token_ids, attention_mask=keep), model(token_ids, attention_mask=keep.to(dtype))
    )


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda keep: keep.float(), "float32"),
        (lambda keep: torch.zeros(2, 4).masked_fill(~keep, -torch.inf), "float32"),
        (lambda keep: 2 * keep.long(), "1 and 0"),
        (lambda keep: keep[:, None].expand(2, 4, 4), "shape"),
        (lambda keep: keep[:1], "shape"),
        (lambda keep: keep[:, 1:], "shape"),
        (lambda keep: keep & torch.tensor([[True], [False]]), "row 1 of attention_mask is all"),
    ],
)
def test_other_masks_are_refused_in_words(change, words):
    model, (token_ids, keep) = decoder(), padded()
    for call in (model, lambda ids, **mask: generate(model, ids, 3, **mask)):
        with pytest.raises(ValueError, match=words):
            call(token_ids, attention_mask=change(keep))


def test_padding_on_the_right_is_refused():
    token_ids, keep = padded()
    with pytest.raises(ValueError, match="pad on the left"):
        generate(decoder(), token_ids, 3, attention_mask=keep.flip(1))


def test_a_list_of_end_tokens_is_refused_in_words():
    for call in (
        lambda end: generate(decoder(), torch.tensor([[1]]), 2, end_id=end),
        lambda end: generate_batch(decoder(), [[1]], 2, pad_id=0, end_id=end),
    ):
        with pytest.raises(ValueError, match="one token id"):
            call([1, 2])


@pytest.mark.parametrize("temperature", [0.0, 1e-45, 1.0])
def test_a_model_that_gives_no_numbers_is_named(temperature):
    model = decoder()
    model.norm.weight.data[0] = torch.nan
    with pytest.raises(ValueError, match="row 0 is nan"):
        generate(model, torch.tensor([[1, 2]]), 2, temperature=temperature)
