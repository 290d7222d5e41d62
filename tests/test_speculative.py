"""Speculative decoding: the target's distribution, its greedy text, fewer passes of it."""

import math

import pytest
import torch

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.generate import generate
from utils.model.speculative import CachedReader, speculative_decode
from utils.runtime import generator

V, DRAWS = 5, 10_000


def tables(seed=0):
    """Return logits of a target and a draft in which each token decides the next."""
    target = torch.randn(V, V, generator=generator(seed))
    return target, 0.5 * target + torch.randn(V, V, generator=generator(seed + 1))


def chi_square_p_value(counts, shares):
    """Return the chance of a larger chi-square statistic, with V * V * V - 1 degrees of freedom."""
    expected = shares * counts.sum()
    statistic = ((counts - expected) ** 2 / expected).sum()
    degrees = counts.numel() - 1
    half = torch.tensor([degrees / 2, statistic / 2], dtype=torch.float64)
    return torch.special.gammaincc(*half).item()


def three_tokens(decode):
    """Return how often each row of three tokens is written after token 0."""
    counts, g = torch.zeros(V, V, V, dtype=torch.float64), generator(7)
    for _ in range(DRAWS):
        counts[tuple(decode(g)[1:].tolist())] += 1
    return counts


def exact(target):
    """Return the probability of each row of three tokens after token 0."""
    p = target.double().softmax(-1)
    return p[0][:, None, None] * p[:, :, None] * p[None, :, :]


def test_ten_thousand_draws_follow_the_target():
    target, draft = tables()

    def decode(g):
        start = torch.tensor([0])
        return speculative_decode(
            lambda ids: target[ids], lambda ids: draft[ids], start, 3, n_draft=2, generator=g
        ).token_ids

    p_value = chi_square_p_value(three_tokens(decode), exact(target))
    assert 1e-3 < p_value, p_value


def test_the_same_test_refuses_the_draft_and_a_naive_rule():
    target, draft = tables()
    p, q = target.softmax(-1), draft.softmax(-1)

    def drafted(g):
        row = [0]
        for _ in range(3):
            row.append(int(torch.multinomial(q[row[-1]], 1, generator=g)))
        return torch.tensor(row)

    def redrawn_from_p(g):  # a refused token is drawn from p again instead of from the rest
        row = [0]
        for _ in range(3):
            token = int(torch.multinomial(q[row[-1]], 1, generator=g))
            if torch.rand((), generator=g) * q[row[-1], token] >= p[row[-1], token]:
                token = int(torch.multinomial(p[row[-1]], 1, generator=g))
            row.append(token)
        return torch.tensor(row)

    for wrong in (drafted, redrawn_from_p):
        assert chi_square_p_value(three_tokens(wrong), exact(target)) < 1e-6


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    shape = {"vocab_size": 11, "context_length": 40, "d_model": 16, "n_heads": 2}
    models = [Decoder(TransformerConfig(n_layers=n, **shape)).eval() for n in (2, 1)]
    for model in models:  # large weights, so that texts are not one token over and over
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    return models


@pytest.mark.parametrize("n_draft", [1, 3, 8])
@pytest.mark.parametrize("cached", [False, True])
def test_at_temperature_zero_it_is_the_greedy_text_of_the_target(pair, n_draft, cached):
    target, draft = [CachedReader(m) for m in pair] if cached else pair
    prompt = torch.tensor([3, 1, 4, 1])
    with torch.inference_mode():
        got = speculative_decode(target, draft, prompt, 20, n_draft=n_draft, temperature=0.0)
    assert got.token_ids.tolist() == generate(pair[0], prompt[None], 20)[0].tolist()
    assert got.n_target_passes <= 20
    assert got.n_target_passes + got.n_accepted == 20  # each pass adds one token of its own


def test_a_perfect_draft_saves_all_but_one_in_five_passes(pair):
    prompt = torch.tensor([3, 1])
    got = speculative_decode(pair[0], pair[0], prompt, 20, n_draft=4, generator=generator(0))
    assert (got.n_target_passes, got.n_accepted) == (4, 16)


@pytest.mark.parametrize("n_draft", [1, 2, 3, 8])
def test_it_stops_at_the_end_token_and_keeps_it(n_draft):
    count_up = 9.0 * torch.eye(V).roll(1, dims=1)  # after 3 comes 4, after 4 comes 0
    wrong = 9.0 * torch.eye(V)
    for draft in (count_up, wrong):
        got = speculative_decode(
            lambda ids: count_up[ids],
            lambda ids, draft=draft: draft[ids],
            torch.tensor([4]),  # a prompt may be the end token alone
            20,
            n_draft=n_draft,
            temperature=0.0,
            end_id=4,
        )
        assert got.token_ids.tolist() == [4, 0, 1, 2, 3, 4]


def test_the_cached_reader_answers_as_the_model_does(pair):
    model, reader = pair[0], CachedReader(pair[0])
    g = generator(0)
    row = torch.randint(11, (1, 30), generator=g)
    with torch.inference_mode():
        for length in (5, 9, 4, 4, 20, 19, 30, 2):
            asked = row[:, :length].clone()
            asked[0, -1] = int(torch.randint(11, (), generator=g))
            assert torch.allclose(reader(asked), model(asked), atol=1e-5)
    assert reader.n_run < 60


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"token_ids": torch.zeros(1, 3, dtype=torch.long)}, "row"),
        ({"token_ids": torch.zeros(0, dtype=torch.long)}, "row"),
        ({"n_draft": 0}, "n_draft"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
    ],
)
def test_bad_arguments_are_named(pair, change, words):
    arguments = {"token_ids": torch.tensor([1]), "max_new_tokens": 2, "n_draft": 2} | change
    with pytest.raises(ValueError, match=words):
        speculative_decode(*pair, **arguments)


def test_expected_accepted_length_is_that_of_the_paper():
    # Leviathan et al. 2023, equation 1: a round of G proposals gives (1 - a^(G+1)) / (1 - a) tokens
    # where each is kept with chance a, independently. Tables with one row for all tokens are that.
    p, q = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    a = torch.minimum(p, q).sum().item()
    got = speculative_decode(
        lambda ids: p.log().expand(1, ids.shape[1], 3),
        lambda ids: q.log().expand(1, ids.shape[1], 3),
        torch.tensor([0]),
        4000,
        n_draft=3,
        generator=generator(0),
    )
    per_pass = 4000 / got.n_target_passes
    assert math.isclose(per_pass, (1 - a**4) / (1 - a), rel_tol=0.05)


def test_near_a_temperature_of_zero_it_is_the_greedy_text():
    target, draft = tables()
    read, start = (lambda ids: target[ids], lambda ids: draft[ids]), torch.tensor([0])
    want = speculative_decode(*read, start, 6, temperature=0.0).token_ids
    for temperature in (5e-324, 1e-45, 1e-38, 1e-6):
        got = speculative_decode(*read, start, 6, temperature=temperature).token_ids
        assert torch.equal(got, want)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("which", [0, 1])
def test_a_model_that_gives_no_numbers_is_named(which, temperature):
    both = list(tables())
    both[which] = torch.full_like(both[which], math.nan)
    with pytest.raises(ValueError, match="nan"):
        speculative_decode(
            lambda ids: both[0][ids],
            lambda ids: both[1][ids],
            torch.tensor([0]),
            3,
            temperature=temperature,
        )
