"""Choosing a token: greedy, the kept tokens, and the distribution of many draws."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from utils.model.sampling import sample_next_token
from utils.runtime import generator

N_DRAWS = 20_000


def draws(probabilities, n=N_DRAWS, seed=0, **settings):
    """How often each token is drawn from the logarithms of `probabilities`."""
    logits = torch.tensor(probabilities).log().expand(n, -1)
    generator = torch.Generator().manual_seed(seed)
    drawn = sample_next_token(logits, generator=generator, **settings)
    return torch.bincount(drawn, minlength=len(probabilities))


def chi_square(counts, expected):
    """The sum of (counted - expected)^2 / expected over tokens that can be drawn."""
    expected = counts.sum() * torch.tensor(expected) / sum(expected)
    possible = expected > 0
    assert counts[~possible].sum() == 0
    return ((counts - expected)[possible] ** 2 / expected[possible]).sum().item()


LIMIT = {1: 19.5, 2: 23.0, 3: 25.9, 4: 28.5}  # chance below 1e-5, by degrees of freedom


@pytest.mark.parametrize("seed", [0, 1, None])
def test_temperature_zero_takes_the_most_likely_whatever_the_generator(seed):
    logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(5))
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    got = sample_next_token(logits, temperature=0, generator=generator, top_k=3, top_p=0.5)
    assert got.dtype == torch.int64 and torch.equal(got, logits.argmax(-1))


def test_draws_follow_the_softmax():
    p = [0.4, 0.3, 0.2, 0.1]
    assert chi_square(draws(p), p) < LIMIT[3]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_the_logits(temperature):
    p = [0.5, 0.3, 0.2]
    counts = draws(p, temperature=temperature)
    assert chi_square(counts, [x ** (1 / temperature) for x in p]) < LIMIT[2]
    assert chi_square(counts, p) > 10 * LIMIT[2]


@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 99])
def test_top_k_keeps_exactly_the_k_most_likely(top_k):
    p = [0.1, 0.4, 0.2, 0.3]
    kept = [x if x in sorted(p)[-top_k:] else 0.0 for x in p]
    assert ((draws(p, top_k=top_k) > 0) == (torch.tensor(kept) > 0)).all()
    if top_k > 1:
        assert chi_square(draws(p, top_k=top_k), kept) < LIMIT[min(top_k, 4) - 1]


def test_top_k_keeps_k_tokens_where_several_are_equally_likely():
    counts = draws([0.25, 0.25, 0.25, 0.25], top_k=2)
    assert (counts > 0).sum() == 2


@pytest.mark.parametrize(
    "top_p, kept",
    [
        (0.01, [0, 1, 0, 0]),  # one at least
        (0.45, [0, 1, 0, 0]),
        (0.55, [0, 1, 0, 1]),  # 0.5 alone is too little
        (0.75, [0, 1, 0, 1]),
        (0.85, [0, 1, 1, 1]),
        (1.0, [1, 1, 1, 1]),
    ],
)
def test_top_p_keeps_the_smallest_set_with_that_mass(top_p, kept):
    p = [0.05, 0.5, 0.15, 0.3]
    counts = draws(p, top_p=top_p)
    assert (counts > 0).int().tolist() == kept
    if sum(kept) > 1:
        expected = [x * keep for x, keep in zip(p, kept, strict=True)]
        assert chi_square(counts, expected) < LIMIT[sum(kept) - 1]


def test_top_p_looks_at_what_top_k_has_left():
    # of 0.4, 0.3, 0.2, 0.1 top_k=2 leaves 4/7 and 3/7: the first alone has half of the mass
    assert (draws([0.4, 0.3, 0.2, 0.1], top_k=2, top_p=0.5) > 0).tolist() == [True] + [False] * 3


def test_each_row_is_drawn_from_its_own_logits():
    logits = torch.full((3, 4), -1e9)
    logits[[0, 1, 2], [2, 0, 3]] = 0.0
    assert sample_next_token(logits).tolist() == [2, 0, 3]


def test_equal_generators_draw_equally():
    logits = torch.zeros(64, 5)
    first, second, third = (
        sample_next_token(logits, generator=torch.Generator().manual_seed(seed))
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, second) and not torch.equal(first, third)


def test_logits_are_not_changed():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    sample_next_token(logits, temperature=0.5, top_k=2, top_p=0.5)
    assert logits.tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"temperature": 0, "top_p": 1.1}, "top_p"),
        ({"temperature": 0, "top_k": -1}, "top_k"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_next_token(torch.zeros(1, 4), **arguments)


def test_logits_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(B, V\)"):
        sample_next_token(torch.zeros(4))


def kept_by(filters, logits, n=4000):
    """Return which tokens are drawn at all."""
    draws = sample_next_token(logits.expand(n, -1), generator=generator(0), **filters)
    return set(draws.tolist())


@pytest.mark.parametrize("min_p", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_min_p_keeps_what_transformers_keeps(min_p):
    from transformers import MinPLogitsWarper

    logits = 1.5 * torch.randn(1, 12, generator=generator(3))
    theirs = MinPLogitsWarper(min_p)(None, logits.clone())[0].isfinite().nonzero().flatten()
    assert kept_by({"min_p": min_p}, logits) == set(theirs.tolist())


def test_min_p_comes_after_the_other_filters_and_is_relative_to_the_largest():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert kept_by({"min_p": 0.5}, logits) == {0, 1}
    assert kept_by({"min_p": 0.2, "top_k": 2}, logits) == {0, 1}
    assert kept_by({"min_p": 0.2, "temperature": 0.1}, logits) == {0}
    assert kept_by({"min_p": 1.0}, torch.zeros(1, 3)) == {0, 1, 2}


@pytest.mark.parametrize("min_p", [-0.1, 1.1, float("nan")])
def test_min_p_out_of_range_is_named(min_p):
    with pytest.raises(ValueError, match="min_p"):
        sample_next_token(torch.zeros(1, 3), min_p=min_p)


def shares_left(logits, temperature, top_k, top_p, min_p):
    """Return the share of each token by the definitions, one token at a time, and the narrowest
    margin by which a filter decided."""
    weights = [math.exp((x - max(logits)) / temperature) for x in logits]
    p = [w / math.fsum(weights) for w in weights]
    kept = sorted(range(len(p)), key=lambda i: -p[i])
    margin = 1.0
    if top_k is not None:
        kept = kept[:top_k]
    if top_p is not None:
        whole, sums = math.fsum(p[i] for i in kept), [0.0]
        for i in kept:
            sums.append(sums[-1] + p[i] / whole)
        margin = min(abs(total - top_p) for total in sums[1:-1]) if len(kept) > 1 else 1.0
        kept = [i for i, before in zip(kept, sums, strict=False) if before < top_p]
    if min_p is not None:
        largest = p[kept[0]]
        margin = min([margin] + [abs(p[i] / largest - min_p) for i in kept[1:]])
        kept = [i for i in kept if p[i] >= min_p * largest]
    whole = math.fsum(p[i] for i in kept)
    return [p[i] / whole if i in kept else 0.0 for i in range(len(p))], margin


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 9999),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.none() | st.integers(1, 9),
    top_p=st.none() | st.floats(0.05, 1.0),
    min_p=st.none() | st.floats(0.0, 1.0),
)
def test_all_filters_together_leave_what_the_definitions_leave(
    seed, temperature, top_k, top_p, min_p
):
    logits = 1.5 * torch.randn(8, generator=generator(seed))
    shares, margin = shares_left(logits.tolist(), temperature, top_k, top_p, min_p)
    assume(margin > 1e-5)  # nearer than that rounding decides
    drawn = sample_next_token(
        logits.expand(4000, -1), temperature, top_k, top_p, generator(seed), min_p
    )
    counts = torch.bincount(drawn, minlength=8)
    for count, share in zip(counts.tolist(), shares, strict=True):
        spread = math.sqrt(4000 * share * (1 - share))
        assert (share > 0 or count == 0) and abs(count - 4000 * share) <= 7 * spread + 7


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    "filters", [{"top_k": 3}, {"top_p": 0.6}, {"top_p": 0.95}, {"top_k": 7, "top_p": 0.8}]
)
def test_the_chain_of_transformers_keeps_the_same_tokens(filters, temperature):
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    for seed in range(5):
        logits = 1.5 * torch.randn(1, 12, generator=generator(seed))
        scores = TemperatureLogitsWarper(temperature)(None, logits.clone())
        if "top_k" in filters:
            scores = TopKLogitsWarper(filters["top_k"])(None, scores)
        if "top_p" in filters:
            scores = TopPLogitsWarper(filters["top_p"])(None, scores)
        theirs = scores[0].softmax(-1)  # (V,)
        drawn = sample_next_token(
            logits.expand(N_DRAWS, -1), temperature, generator=generator(0), **filters
        )
        counts = torch.bincount(drawn, minlength=12)
        assert not counts[theirs == 0].any()
        spread = (N_DRAWS * theirs * (1 - theirs)).sqrt()
        assert bool(((counts - N_DRAWS * theirs).abs() <= 6 * spread + 6).all())


@pytest.mark.parametrize("temperature", [0, 1e-320, 1e-45, 1e-30, 0.7, 1e30])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rows_that_hold_no_number_are_refused_by_row(temperature, bad):
    logits = torch.zeros(3, 4)
    logits[1, 2] = bad
    with pytest.raises(ValueError, match=f"row 1 is {bad}"):
        sample_next_token(logits, temperature)
    logits[1] = -math.inf
    with pytest.raises(ValueError, match="row 1 is -inf"):
        sample_next_token(logits, temperature)


@pytest.mark.parametrize("temperature", [5e-324, 1e-320, 1e-46, 1e-38, 1e-30, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_near_a_temperature_of_zero_the_most_likely_is_drawn(temperature, dtype):
    logits = torch.tensor([[5.0, 60000.0, -60000.0, -math.inf]]).to(dtype).expand(50, -1)
    got = sample_next_token(logits, temperature, top_k=3, top_p=0.9, min_p=0.1)
    assert got.tolist() == [1] * 50


def test_equal_tokens_stay_equal_near_a_temperature_of_zero():
    counts = draws([0.4, 0.4, 0.2], temperature=1e-40)
    assert counts[2] == 0 and chi_square(counts, [0.5, 0.5, 0.0]) < LIMIT[1]


@pytest.mark.parametrize("temperature", [1e-2, 1.0, 1e29, 1e30])
def test_a_token_without_a_chance_is_never_drawn(temperature):
    logits = torch.tensor([[0.0, -math.inf, 1.0]]).expand(500, -1)
    assert not (sample_next_token(logits, temperature) == 1).any()


def test_settings_that_filter_nothing_change_no_draw():
    # Rounding makes the sum of the first 50,000 exceed 1 long before the last token.
    logits = torch.randn(64, 50_000, generator=generator(0))
    want = sample_next_token(logits, generator=generator(1))
    for filters in ({"top_p": 1}, {"top_p": 1.0}, {"top_k": 0}, {"min_p": 0.0}):
        got = sample_next_token(logits, generator=generator(1), **filters)
        assert torch.equal(got, want), filters
