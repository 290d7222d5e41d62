"""Checks of lab 05: writing text with a model.

Oracles: NumPy in float64 (filters by sorted lists, rounding by distance), counts of many draws
against exact shares, a real decoder read row by row without padding or cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from utils.labs.checking import (
    Check,
    brief,
    close,
    collector,
    in_case,
    refused,
    require,
    resembles,
    same,
)
from utils.labs.values import Seed, SmallModel, TableModel
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

EXAMPLES_NOT_TRIED = {  # the checks try the like with plain values
    "update_cache": "its example looks at a buffer after the call",
    "generate_batch": "its example passes a model",
    "speculative_decode": "its example passes functions as models",
}
N_DRAWS = 2_000

HINTS = {
    "sample_next_token": (
        "Divide the logits by the temperature, take away what each filter leaves out, and draw "
        "from what is left. A filter leaves tokens out by their probability, so turn scores into "
        "probabilities first, and renormalise before the next filter looks at them.",
        "By hand: probabilities 0.5, 0.3, 0.2. What does top_k=2 leave, scaled to a sum of 1? "
        "Which of the two does top_p=0.6 keep of that? What is min_p=0.5 compared with? And near "
        "temperature 0: subtract the row's largest logit first; which logit is then divided into "
        "minus infinity, and which stays 0?",
        "check_settings; refuse logits that are not (B, V), and rows whose largest logit is not "
        "finite (amax is NaN where there is one). Temperature 0: argmax. Else logits less their "
        "row's largest, over max(temperature, 1e-30). top-k, if it is above 0: topk of the logits, "
        "all others -inf. Then softmax, (B, V). top-p: sort descending; leave out a token where "
        "cumsum - its own probability >= top_p; scatter back to the old order. min-p: leave out "
        "what is below min_p times the row's largest. torch.multinomial with the generator gives "
        "(B, 1) and does not mind weights that sum to less than one.",
    ),
    "update_cache": (
        "The buffers have room for all tokens there will ever be. Write the new ones behind those "
        "that are held, and give back the part that is filled now.",
        "By hand: room for four tokens, two are held, one is new. At which place does it go, from "
        "0? How many are held then? Which slice of the third axis is that, and what is refused "
        "when three are new?",
        "Tokens are the third axis. First refuse length + T beyond keys.shape[2]. Then "
        "keys[:, :, length : length + T] = new_keys, and the same for values; return "
        "keys[:, :, : length + T], values[:, :, : length + T].",
    ),
    "generate_batch": (
        "A model goes on from the last column. So the last column has to hold each row's last "
        "token, and the padding has to stand where it can be ignored.",
        "By hand: prompts (5, 6, 7) and (8,), pad 0. Write both rows of three, and under each a "
        "row of True and False. At which column does each response begin? Cut (4, 9, 9, 4) at end "
        "token 9: what is left?",
        "Refuse an empty prompt. Rows [pad_id] * (T - len(prompt)) + prompt, (B, T); a mask of the "
        "same shape that is False at padding; generate(...) with that attention_mask, end_id and "
        "all settings; of each row, as a list, the columns from T on, up to the first end token.",
    ),
    "speculative_decode": (
        "The draft proposes a few tokens, one after the other. One pass of the target over all of "
        "them gives the target's distribution at every place. Keep proposals from the left while "
        "they are accepted; at the first that is not, draw anew from what the draft had too "
        "little of; where all were kept, the same pass gives one more token.",
        "By hand: two tokens, the target's p = (0.8, 0.2), the draft's q = (0.5, 0.5). How often "
        "is a proposal of each kept? What is max(0, p - q)? Add up how often the first token comes "
        "out: it must be 0.8. And: after a prompt of two tokens and three proposals, which "
        "positions of the target's logits are those of the proposals, and which is the one after?",
        "Refuse what the docstring names. While tokens are to be written and the last new one is "
        "not end_id: draw up to n_draft proposals, at most those to be written less one, each from "
        "q = probabilities(draft, row, 1, temperature)[0] of the row so far. Then p = "
        "probabilities(target, row, number of proposals + 1, temperature), one pass. Keep proposal "
        "x while torch.rand((), generator=generator) * q[x] < p[x], and stop for good if it is "
        "end_id; at the first refusal draw from (p - q).clamp(min=0) and leave the round; if all "
        "were kept, draw from the last p. Count passes and kept proposals; return Speculation.",
    ),
    "quantize_int8": (
        "Each row gets its own step, such that the row's largest number is 127 steps from zero. "
        "A code is a number of steps, rounded to the nearest.",
        "By hand: the row (0.5, -1.27, 0.204). Which number is the largest without its sign? What "
        "is that over 127? How many such steps is 0.5, and 0.204? What happens with a row of "
        "zeros?",
        "Refuse what is no matrix, and NaN or infinity. weight in float32; scale (N, 1) = largest "
        "magnitude of each row / 127, with 1 for a row of zeros; codes = (weight / scale).round(), "
        "as int8. Return codes, scale.",
    ),
}


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return a softmax over the last axis in float64."""
    weights = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


WRONG, NAMED = 5.61, 2.33  # standard deviations that chance exceeds once in 1e8, once in 100 times


def limit(n_free: int, deviations: float = WRONG) -> float:
    """Return the chi-square that draws exceed as seldom as a normal number some deviations.

    Source: Wilson and Hilferty 1931.
    """
    return n_free * (1 - 2 / (9 * n_free) + deviations * (2 / (9 * n_free)) ** 0.5) ** 3


def fits(counts: np.ndarray, wanted: np.ndarray, deviations: float = WRONG) -> bool:
    """Whether counts are those of draws from the wanted shares, by chi-square."""
    expected = counts.sum() * np.asarray(wanted, dtype=np.float64)
    possible = expected > 0
    if counts[~possible].any():
        return False
    misfit = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    return bool(misfit <= limit(max(1, int(possible.sum()) - 1), deviations))


def compare_draws(
    counts: np.ndarray, wanted: np.ndarray, mistakes: Sequence[tuple[np.ndarray, str]], hint: str
) -> None:
    """Reject counts that do not fit the wanted shares, naming the mistake whose shares they fit."""
    if fits(counts, wanted):
        return
    expected, got = (
        ", ".join(f"{share:.3f}" for share in shares) for shares in (wanted, counts / counts.sum())
    )
    case = f"(expected shares {expected}; got {got})"
    for shares, words in mistakes:
        is_it = fits(counts, shares, NAMED) and not fits(wanted * counts.sum(), shares)
        require(not is_it, f"{words} {case}")
    require(False, f"{hint} {case}")


def left(
    p: np.ndarray,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> np.ndarray:
    """Return the shares of one row's tokens after the filters, one token at a time."""
    kept = sorted(range(len(p)), key=lambda i: -p[i])[: top_k or len(p)]
    if top_p is not None:
        total, mass, nucleus = sum(p[i] for i in kept), 0.0, []
        for i in kept:
            if mass >= top_p * total:
                break
            nucleus.append(i)
            mass += p[i]
        kept = nucleus
    if min_p is not None:
        kept = [i for i in kept if p[i] >= min_p * p[kept[0]]]
    return only(p, kept)


def only(p: np.ndarray, kept: Sequence[int]) -> np.ndarray:
    """Return the shares where just these tokens are kept."""
    out = np.zeros(len(p))
    out[list(kept)] = p[list(kept)]
    return out / (out.sum() or 1.0)


def draws(student, rng: np.random.Generator, p: np.ndarray, **settings) -> np.ndarray:
    """Return how often each token is drawn from many equal rows with these probabilities."""
    with np.errstate(divide="ignore"):
        logits = np.log(p).astype(np.float32)
    seed = Seed(int(rng.integers(1 << 31)))
    got = student.sample_next_token(np.tile(logits, (N_DRAWS, 1)), generator=seed, **settings)
    return np.bincount(tokens(got, N_DRAWS, len(p)), minlength=len(p))


def tokens(got: object, n_rows: int, n_tokens: int) -> np.ndarray:
    """Return a result as token ids, or reject what can't be any."""
    require(isinstance(got, np.ndarray), f"return a tensor, got {type(got).__name__}")
    require(
        got.shape == (n_rows,),
        f"{n_rows} rows of logits: expected shape ({n_rows},), one token for each, got "
        f"{got.shape}{', which squeeze(-1) makes of it' if got.shape == (n_rows, 1) else ''}",
    )
    require(got.dtype == np.int64, f"token ids are to be int64, got {got.dtype}")
    require(
        ((got >= 0) & (got < n_tokens)).all(),
        f"{n_tokens} tokens have the ids 0 to {n_tokens - 1}, got {got.min()} to {got.max()}",
    )
    return got


def of_generators(equal_ones_agree: bool, what: str) -> str:
    """Return what is wrong where two equal generators differ, or two different ones do not."""
    if equal_ones_agree:
        return f"two different generators gave equal {what}"
    return f"two equal generators gave different {what}"


def mixed(rng: np.random.Generator, *shares: float) -> np.ndarray:
    """Return shares in another order, the smallest first, so that no place is its token's rank."""
    first, *others = sorted(shares)
    p = np.array([first, *rng.permutation(others)])
    return p / p.sum()


@exercise_check("sample_next_token", points=1, title="temperature")
def _(student, rng):
    p = mixed(rng, 0.42, 0.27, 0.16, 0.09, 0.06)
    even, best = np.full(5, 0.2), only(p, [int(p.argmax())])
    for temperature in (1.0, 0.5, 2.0):
        hot, cold = left(p ** (1 / temperature)), left(p**temperature)
        counts = draws(student, rng, p, temperature=temperature)
        if counts.max() == counts.sum():  # another generator tells whether it is always this token
            others = [draws(student, rng, p, temperature=temperature).argmax() for _ in range(9)]
            require(
                {counts.argmax()} == set(others),
                "2,000 equal rows all got one and the same token, and another one with another "
                "generator: draw for each row by itself",
            )
        compare_draws(
            counts,
            hot,
            [
                (
                    best,
                    "your rows all have the most likely token: draw for each row, as the shares "
                    "say",
                ),
                (
                    even,
                    "your tokens are drawn alike, whatever their shares: see that the softmax "
                    "runs over tokens, the last axis",
                ),
                (
                    p,
                    "your shares are those of temperature 1: divide the logits by the temperature "
                    "before the softmax",
                ),
                (cold, "your logits are multiplied by the temperature: divide them by it"),
                (left(1 / p), "your unlikely tokens are drawn most often: look for a wrong sign"),
            ],
            f"at temperature {temperature} the shares are softmax(logits / temperature)",
        )
    p = mixed(rng, 0.4, 0.385, 0.215)
    best, cold = only(p, [int(p.argmax())]), left(p**20)
    hint = (
        "at temperature 0.05 you draw the most likely token alone: it is low, not 0, so those "
        "nearly as likely are drawn, too"
    )
    compare_draws(
        draws(student, rng, p, temperature=0.05), cold, [(best, hint)], "temperature 0.05"
    )


@exercise_check("sample_next_token", points=1, title="rows of their own, extremes")
def _(student, rng):
    for n_rows in (5, 1):
        rows = np.full((n_rows, 7), -40.0, np.float32)
        wanted = rng.integers(0, 7, n_rows)
        rows[np.arange(n_rows), wanted] = 500.0
        with in_case(f"{n_rows} rows of logits, one of 500 among others of -40"):
            got = student.sample_next_token(rows)
        same(
            tokens(got, n_rows, 7),
            wanted,
            f"{n_rows} rows, each with one logit of 500 among others of -40, which decides the "
            "draw",
        )
    p = mixed(rng, 0.42, 0.27, 0.16, 0.09, 0.06)
    counts = draws(student, rng, np.append(p, 0.0))
    hint = "one logit of six is -infinity: that token is never drawn, and the others are as before"
    compare_draws(counts, np.append(p, 0.0), [], hint)
    rows = rng.standard_normal((6, 9)).astype(np.float32)
    rows[0] *= 1000
    rows[2, 3] = -np.inf
    for cold in (1e-6, 1e-30, 1e-45, 1e-300):
        for settings in ({}, {"top_k": 4, "top_p": 0.9, "min_p": 0.2}):
            with in_case(f"temperature {cold}, near zero, {settings or 'no filter'}"):
                got = student.sample_next_token(rows, temperature=cold, **settings)
            hint = (
                f"temperature {cold}, {settings or 'no filter'}: nothing but the most likely token "
                "of each row is left"
            )
            same(tokens(got, 6, 9), rows.argmax(-1), hint)


@exercise_check("sample_next_token", points=1, title="temperature 0")
def _(student, rng):
    logits = rng.standard_normal((40, 9)).astype(np.float32)
    best = logits.argmax(-1)
    for settings in ({}, {"top_k": 3, "top_p": 0.5, "min_p": 0.1}):
        with in_case(f"temperature 0, {settings or 'no filter'}"):
            got = student.sample_next_token(logits, temperature=0.0, **settings)
        got = tokens(got, 40, 9)
        require(
            not np.array_equal(got, logits.argmin(-1)),
            "at temperature 0 you take the least likely token of each row: take the most likely "
            "one",
        )
        require(
            np.array_equal(student.arguments_after[0], logits),
            "your function changed the logits in place: work on a copy",
        )
        same(got, best, "temperature 0 takes the most likely token of each row")
    close_by = np.ones((40, 9), np.float32)
    close_by[np.arange(40), best] = np.nextafter(np.float32(1), np.float32(2))
    got = tokens(student.sample_next_token(close_by, temperature=0.0), 40, 9)
    hint = "temperature 0 takes the largest logit, though it is ahead by the last bit alone"
    same(got, best, f"{hint}: nothing is drawn")
    a, b = (
        student.sample_next_token(np.ones((40, 9), np.float32), 0.0, generator=Seed(int(seed)))
        for seed in rng.integers(0, 1 << 31, 2)
    )
    same(
        tokens(a, 40, 9),
        tokens(b, 40, 9),
        "nine equal logits at temperature 0, with two generators, which decide nothing",
    )


@exercise_check("sample_next_token", points=1, title="top-k")
def _(student, rng):
    p = mixed(rng, 0.4, 0.25, 0.15, 0.12, 0.08)
    order = np.argsort(-p)
    for k in (2, 3):
        compare_draws(
            draws(student, rng, p, top_k=k),
            left(p, top_k=k),
            [
                (
                    p,
                    f"your draws come from all tokens, with top_k={k}: leave out all but the {k} "
                    "most likely",
                ),
                (left(p, top_k=k + 1), f"with top_k={k} you keep one token more: keep {k}"),
                (left(p, top_k=k - 1), f"with top_k={k} you keep one token less: keep {k}"),
                (
                    only(p, order[-k:]),
                    f"with top_k={k} you keep the least likely tokens: keep the most likely",
                ),
                (
                    np.bincount(np.arange(k), left(p, top_k=k)[order[:k]], minlength=5),
                    "your draws are places in the sorted row: map them back to token ids",
                ),
                (
                    np.bincount(order[:k], minlength=5) / k,
                    f"with top_k={k} your tokens are drawn alike: let them keep their own "
                    "proportions",
                ),
            ],
            f"top_k={k}: only the {k} most likely tokens, in their own proportions",
        )
    counts = draws(student, rng, mixed(rng, 0.25, 0.25, 0.25, 0.25), top_k=2)
    require(
        (counts > 0).sum() == 2,
        "four tokens with equal logits, top_k=2: expected draws of two tokens, got "
        f"{(counts > 0).sum()}; comparing with the k-th largest would keep all its equals",
    )
    for k, why in ((99, "beyond the vocabulary"), (5, "the whole vocabulary"), (0, "no filter")):
        with in_case(f"top_k={k} of 5 tokens, {why}"):
            counts = draws(student, rng, p, top_k=k)
        compare_draws(counts, p, [], f"top_k={k} of 5 tokens, {why}: keeps every token")
    rows = np.log(np.array([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6], [0.3, 0.6, 0.1]], np.float32))
    got = student.sample_next_token(rows, top_k=1)
    same(
        tokens(got, 3, 3),
        np.array([0, 2, 1]),
        "three rows with top_k=1: each has its own most likely token",
    )


@exercise_check("sample_next_token", points=1, title="top-p")
def _(student, rng):
    p = mixed(rng, 0.4, 0.25, 0.15, 0.12, 0.08)
    order = np.argsort(-p)
    for top_p, n in ((0.5, 2), (0.7, 3), (0.05, 1), (0.97, 5), (1.0, 5)):
        hint = f"top_p={top_p} of shares 0.4, 0.25, 0.15, 0.12, 0.08 keeps {n}"
        with in_case(hint):
            counts = draws(student, rng, p, top_p=top_p)
        compare_draws(
            counts,
            only(p, order[:n]),
            [
                (p, f"your draws come from all tokens, with top_p={top_p}: leave tokens out"),
                (
                    only(p, order[: max(1, n - 1)]),
                    f"{hint}, and yours one less: let the one with which the sum reaches top_p "
                    "stay",
                ),
                (
                    only(p, order[: n + 1]),
                    f"{hint}, and yours one more: stop where the sum has reached top_p",
                ),
                (
                    only(p, [i for i in order if p[p < p[i]].sum() < top_p]),
                    f"with top_p={top_p} you begin with the least likely tokens: sort descending",
                ),
                (
                    left(p, min_p=top_p),
                    "your draws are those of min-p: top_p looks at the sum of shares",
                ),
                (
                    np.bincount(np.arange(n), only(p, order[:n])[order[:n]], minlength=5),
                    "your draws are places in the sorted row: map them back to token ids",
                ),
            ],
            hint,
        )
    # Exact in floating point: shares of 1/4 each.
    counts = draws(student, rng, mixed(rng, 0.25, 0.25, 0.25, 0.25), top_p=0.5)
    require(
        (counts > 0).sum() == 2,
        "four equal tokens, top_p=0.5: expected draws of two tokens, which have exactly half of "
        f"the mass, got {(counts > 0).sum()}; leave a token out where the mass before it is >= "
        "top_p",
    )
    p = mixed(rng, 0.5, 0.3, 0.17, 0.026, 0.004)
    counts = sum(draws(student, rng, p, top_p=1.0) for _ in range(3))
    compare_draws(counts, p, [], "top_p=1 keeps every token")
    require(
        counts[p.argmin()] > 0,
        "top_p=1: the token with a share of 0.004 never came in 6,000 draws; keep every token",
    )
    wanted = left(p, top_p=0.96)
    hint = "top_p=0.96 of shares 0.5, 0.3, 0.17, 0.026, 0.004 keeps 3"
    counts = draws(student, rng, p, top_p=0.96)
    compare_draws(counts, wanted, [], hint)
    require((counts[wanted == 0] == 0).all(), f"{hint}, got {(counts > 0).sum()}")
    rows = np.log(np.array([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6], [0.3, 0.6, 0.1]], np.float32))
    got = student.sample_next_token(rows, top_p=0.5)
    same(
        tokens(got, 3, 3),
        np.array([0, 2, 1]),
        "three rows with top_p=0.5: each has an order of its own",
    )


@exercise_check("sample_next_token", points=1, title="min-p")
def _(student, rng):
    p = mixed(rng, 0.4, 0.25, 0.15, 0.12, 0.08)
    for min_p in (0.14, 0.33, 0.5):
        with in_case(f"min_p={min_p} of shares 0.4, 0.25, 0.15, 0.12, 0.08"):
            counts = draws(student, rng, p, min_p=min_p)
        compare_draws(
            counts,
            left(p, min_p=min_p),
            [
                (p, f"your draws come from all tokens, with min_p={min_p}: leave tokens out"),
                (
                    only(p, np.flatnonzero(p >= min_p) if (p >= min_p).any() else [p.argmax()]),
                    f"you compare shares with min_p={min_p} itself: it is a share of the largest "
                    "probability in the row",
                ),
                (
                    only(p, np.flatnonzero(p < min_p * p.max())),
                    f"with min_p={min_p} you keep the tokens that are to be left out: keep the "
                    "others",
                ),
                (
                    only(p, [int(p.argmax())]),
                    f"with min_p={min_p} the most likely token alone is left, as by top-p or by "
                    "comparing logits: look at each share by itself",
                ),
                (
                    left(p, top_p=min_p),
                    "your draws are those of top-p: min_p looks at each share by itself",
                ),
            ],
            f"min_p={min_p} keeps tokens with at least {min_p} times the largest share",
        )
    with in_case("min_p=1, two tokens of five being the most likely, and equally so"):
        counts = draws(student, rng, only(np.ones(5), [1, 3]) + 1e-9, min_p=1.0)
    require(
        (counts > 0).tolist() == [False, True, False, True, False],
        "five tokens, of which 1 and 3 are equally likely, min_p=1: expected draws of both and no "
        f"others, got {np.flatnonzero(counts).tolist()}",
    )
    p = mixed(rng, 0.5, 0.3, 0.17, 0.026, 0.004)
    counts = sum(draws(student, rng, p, min_p=0.0) for _ in range(3))
    compare_draws(counts, p, [], "min_p=0 keeps every token")
    require(
        counts[p.argmin()] > 0,
        "min_p=0: the token with a share of 0.004 never came in 6,000 draws; keep every token",
    )
    rows = np.log(np.array([[0.5, 0.3, 0.2], [0.9, 0.06, 0.04]], np.float32))
    got = student.sample_next_token(np.tile(rows, (400, 1)), min_p=0.3)
    got = tokens(got, 800, 3).reshape(400, 2)
    require(
        (got[:, 1] == 0).all() and len(set(got[:, 0].tolist())) == 3,
        "rows with the largest shares 0.5 and 0.9, min_p=0.3: expected draws of tokens 0, 1, 2 "
        f"and of 0 alone, got {sorted(set(got[:, 0].tolist()))} and "
        f"{sorted(set(got[:, 1].tolist()))}; compare with the row's own largest share",
    )


@exercise_check("sample_next_token", points=1, title="filters together")
def _(student, rng):
    # After top_k=3 the shares are 0.5, 0.3, 0.2: the second crosses top_p=0.7. Of the whole, not.
    p = mixed(rng, 0.4, 0.24, 0.16, 0.12, 0.08)
    compare_draws(
        draws(student, rng, p, top_k=3, top_p=0.7),
        left(p, top_k=3, top_p=0.7),
        [
            (
                left(p, top_k=3),
                "your top_p looks at shares of the whole row: let it look at what top_k has left, "
                "renormalised",
            ),
        ],
        "first top_k, then top_p on what is left, renormalised",
    )
    # At temperature 2 shares are flatter, and each filter keeps more.
    flat = left(p**0.5)
    for settings in ({"top_p": 0.6}, {"min_p": 0.5}):
        sharp = left(p, **settings)
        late = left(sharp**0.5, top_k=int((sharp > 0).sum()))
        compare_draws(
            draws(student, rng, p, temperature=2.0, **settings),
            left(flat, **settings),
            [
                (
                    late,
                    "your filter looks at shares from before the temperature: divide the logits "
                    "first",
                )
            ],
            f"the shares at temperature 2 with {settings}",
        )
    # top_p=0.8 keeps 0.4, 0.24, 0.16; of these min_p=0.5 leaves 0.16 out. The other way round
    # min_p leaves 0.4 and 0.24, of which top_p=0.6 keeps the first alone.
    compare_draws(
        draws(student, rng, p, top_p=0.6, min_p=0.5),
        left(p, top_p=0.6, min_p=0.5),
        [
            (left(p, top_p=0.6 * 0.64), "your min_p comes first: let top_p come before it"),
            (
                left(p, top_p=0.6),
                "your result is the one of top_p alone: apply min_p to what it keeps",
            ),
        ],
        "first top_p, then min_p",
    )
    compare_draws(
        draws(student, rng, p, top_p=0.9, min_p=0.5),
        left(p, top_p=0.9, min_p=0.5),
        [
            (
                left(p, top_p=0.9),
                "your result is the one of top_p alone: apply min_p to what it keeps",
            )
        ],
        "min_p leaves out what top_p has kept",
    )


@exercise_check(
    "sample_next_token", points=1, title="generator, arguments, refusals", is_core=False
)
def _(student, rng):
    logits = rng.standard_normal((64, 8)).astype(np.float32)
    a, b = (int(rng.integers(1 << 30)) * 2 + k for k in (0, 1))
    first, again, other = (
        student.sample_next_token(logits, 1.0, None, None, Seed(s)) for s in (a, a, b)
    )
    require(
        np.array_equal(first, again) and not np.array_equal(first, other),
        f"64 rows: {of_generators(np.array_equal(first, again), 'draws')}; pass the generator to "
        "torch.multinomial",
    )
    for temperature in (0.5, 1.0):
        student.sample_next_token(logits, temperature, 4, 0.9, Seed(a), 0.1)
        require(
            np.array_equal(student.arguments_after[0], logits),
            f"your function changed the logits in place, at temperature {temperature}: work on a "
            "copy",
        )
    for settings, why in (
        ({"temperature": -0.5}, "a negative temperature"),
        ({"temperature": float("nan")}, "a temperature of NaN"),
        ({"top_k": -1}, "a negative top_k"),
        ({"top_p": 0.0}, "top_p=0 keeps no token"),
        ({"top_p": 1.5}, "top_p above 1"),
        ({"min_p": -0.1}, "min_p below 0"),
        ({"min_p": 1.5}, "min_p above 1"),
        ({"temperature": 0.0, "top_k": -1}, "top_k=-1 at temperature 0, where it is not used,"),
    ):
        refused(lambda s=settings: student.sample_next_token(logits, **s), why)
    refused(lambda: student.sample_next_token(logits[0]), "logits (V,) without rows")
    refused(lambda: student.sample_next_token(logits[None]), "logits (A, B, V)")
    for bad in (np.nan, np.inf):
        for row, column in ((0, 7), (30, 0), (63, 4)):
            spoiled = logits.copy()
            spoiled[row, column] = bad
            for settings in ({}, {"temperature": 0.0}, {"top_k": 2}):
                refused(
                    lambda a=spoiled, s=settings: student.sample_next_token(a, **s),
                    f"row {row} of 64 holds {bad}, {settings or 'no filter'}",
                )
    for row in (0, 63):
        spoiled = logits.copy()
        spoiled[row] = -np.inf
        for temperature in (0.0, 1.0):
            refused(
                lambda a=spoiled, t=temperature: student.sample_next_token(a, t),
                f"row {row} of 64 holds nothing above -infinity, temperature {temperature}",
            )


def draw_cache(rng: np.random.Generator, held: int, new: int, B: int = 2, H: int = 3) -> list:
    """Return the arguments of update_cache: heads of width 4, buffers full of 9 tokens' numbers."""
    sizes = (9, 9, new, new)
    return [*(rng.standard_normal((B, H, n, 4)).astype(np.float32) for n in sizes), held]


def written(buffer: np.ndarray, new: np.ndarray, at: int) -> np.ndarray:
    """Return a buffer with the new tokens written at a place, one number at a time."""
    out = buffer.copy()
    for row, head, token, channel in np.ndindex(*new.shape):
        if 0 <= at + token < buffer.shape[2]:
            out[row, head, at + token, channel] = new[row, head, token, channel]
    return out


@exercise_check("update_cache", points=2, title="what the buffers hold afterwards")
def _(student, rng):
    for held, new, B, H in ((3, 1, 2, 3), (0, 4, 2, 3), (2, 3, 1, 3), (5, 4, 3, 1), (8, 1, 1, 1)):
        arguments = draw_cache(rng, held, new, B, H)
        k, v, new_k, new_v, _ = arguments
        with in_case(f"{new} new tokens behind {held}, buffers (B, H_kv, S, K) = {k.shape}"):
            student.update_cache(*arguments)
        after_k, after_v, *after_new, _ = student.arguments_after
        require(
            not (np.array_equal(after_k, k) and np.array_equal(after_v, v)),
            "the buffers are as they were: write into keys[:, :, ...] itself, since torch.cat "
            "makes a copy",
        )
        require(
            not np.array_equal(after_k, written(k, new_v, held))
            or not np.array_equal(after_v, written(v, new_k, held)),
            "your function wrote the new keys to the values, and the new values to the keys: swap "
            "them",
        )
        for name, after, before, other in (
            ("your function wrote new_values to the keys: write new_keys there", after_k, k, new_v),
            (
                "your function wrote new_keys to the values: write new_values there",
                after_v,
                v,
                new_k,
            ),
        ):
            require(not np.array_equal(after, written(before, other, held)), name)
        for name, after, before, fresh in (
            ("keys", after_k, k, new_k),
            ("values", after_v, v, new_v),
        ):
            require(
                not np.array_equal(after, before),
                f"your function left the {name} as they were: write the new ones into them",
            )
            for at, hint in (
                (0, "your new tokens overwrite the first ones: write them at `length`"),
                (held + 1, "you leave one place empty: the first free one is `length`, from 0"),
                (
                    held - 1,
                    "your new tokens overwrite the last one that was held: write them at `length`",
                ),
                (9 - new, "your new tokens stand at the end of the room: write them at `length`"),
            ):
                wrong = written(before, fresh, at)
                require(at == held or not np.array_equal(after, wrong), f"{name}: {hint}")
            cleared = written(before, fresh, held)
            cleared[:, :, held + new :] = 0
            require(
                held + new == 9 or not np.array_equal(after, cleared),
                f"{name}: you cleared what is not filled yet: leave it as it is",
            )
            same(
                after, written(before, fresh, held), f"{name} after {new} new tokens behind {held}"
            )
        same(after_new[0], new_k, "new_keys after the call, which are the caller's")
        same(after_new[1], new_v, "new_values after the call, which are the caller's")


@exercise_check("update_cache", points=1, title="what comes back")
def _(student, rng):
    for held, new in ((3, 1), (0, 2), (4, 5)):
        arguments = draw_cache(rng, held, new)
        k, v, new_k, new_v, _ = arguments
        with in_case(f"{new} new tokens behind {held}, buffers (B, H_kv, S, K) = {k.shape}"):
            pair = student.update_cache(*arguments)
        require(
            isinstance(pair, tuple | list) and len(pair) == 2,
            f"return two tensors, the keys and the values that are held now, got {brief(pair, 60)}",
        )
        wanted = [written(b, n, held)[:, :, : held + new] for b, n in ((k, new_k), (v, new_v))]
        require(
            not resembles(pair[0], wanted[1]),
            "your values come first: return the keys, then the values",
        )
        for got, want, fresh, name in zip(
            pair, wanted, (new_k, new_v), ("keys", "values"), strict=True
        ):
            shape = getattr(got, "shape", None)
            require(
                held + new == 9 or shape != k.shape,
                f"{name}: you return the whole buffer, with places that nothing was written to: "
                f"cut it behind {held + new} tokens",
            )
            require(
                held == 0 or shape != fresh.shape,
                f"{name}: you return the new tokens alone: return the earlier ones as well",
            )
            require(
                held == 0 or shape != want[:, :, :held].shape,
                f"{name}: you return what was held before: return the new tokens as well",
            )
            same(got, want, f"{name}: all {held + new} tokens that are held now, oldest first")
        require(
            student.shared_memory == [0, 1],
            "you return copies, which move the whole past at each token: return views of the "
            "buffers, slices",
        )


@exercise_check("update_cache", points=1, title="no room left", is_core=False)
def _(student, rng):
    for held, new in ((9, 1), (8, 2), (0, 10), (7, 4)):
        arguments = draw_cache(rng, held, new)
        hint = f"{held} tokens held and {new} new ones need more than room for 9"
        refused(lambda a=arguments: student.update_cache(*a), hint)
        for name, after, before in zip(
            ("keys", "values"), student.arguments_after, arguments, strict=False
        ):
            hint = f"{held} held and {new} new tokens are refused, yet {name} were written to"
            require(np.array_equal(after, before), f"{hint}: leave them as before")
    for held, new in ((8, 1), (0, 9)):
        with in_case(f"{new} new tokens behind {held} in room for 9: exactly full"):
            student.update_cache(*draw_cache(rng, held, new))


CONFIG = {
    "vocab_size": 24,
    "context_length": 40,
    "d_model": 16,
    "n_layers": 2,
    "n_heads": 2,
    "d_ff": 32,
}
PAD = 5


def small_model(rng: np.random.Generator) -> tuple[SmallModel, Decoder]:
    """Return a small decoder with large random weights, to send and to read here."""
    model = Decoder(TransformerConfig(**CONFIG)).eval()
    weights = {}
    for name, value in model.state_dict().items():
        drawn = rng.standard_normal(tuple(value.shape)) * (0.7 if value.dim() > 1 else 0.2)
        weights[name] = (drawn + (value.dim() == 1)).astype(np.float32)
    if "unembedding.weight" in weights:  # one tensor by two names
        weights["unembedding.weight"] = weights["embedding.weight"]
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return SmallModel(CONFIG, weights), model


@torch.inference_mode()
def written_alone(model: Decoder, prompt: list[int], n: int) -> tuple[list[int], float]:
    """Return n greedy tokens after a prompt, and the smallest lead of a chosen token."""
    row, lead = list(prompt), float("inf")
    for _ in range(n):
        best, second = model(torch.tensor([row]))[0, -1].topk(2).values.tolist()
        row.append(int(model(torch.tensor([row]))[0, -1].argmax()))
        lead = min(lead, best - second)
    return row[len(prompt) :], lead


@torch.inference_mode()
def written_padded(
    model: Decoder, prompts: list[list[int]], n: int, side: str, masked: bool, shift: str
) -> list[list[int]]:
    """Return what mistakes in padding lead to, the whole batch read anew for each token.

    Args:
        model: the decoder.
        prompts: of several lengths.
        n: tokens to write.
        side: where padding stands, "left" or "right".
        masked: hide padding.
        shift: whose positions count from a row's first token: "all", "prompt" or "none".
    """
    T = max(map(len, prompts))
    gaps = [[PAD] * (T - len(p)) for p in prompts]
    rows = [g + p if side == "left" else p + g for g, p in zip(gaps, prompts, strict=True)]
    token_ids = torch.tensor(rows)
    keep = torch.tensor(
        [
            [side == "right"] * len(g if side == "left" else p)
            + [side == "left"] * len(p if side == "left" else g)
            for g, p in zip(gaps, prompts, strict=True)
        ]
    )
    for _ in range(n):
        counted = (keep.cumsum(-1) - 1).clamp(min=0)
        plain = torch.arange(token_ids.shape[1]).expand_as(counted)
        is_new = plain >= T
        positions = {"all": counted, "none": plain, "prompt": torch.where(is_new, plain, counted)}
        logits = model(
            token_ids, positions=positions[shift], attention_mask=keep if masked else None
        )
        token_ids = torch.cat([token_ids, logits[:, -1:].argmax(-1)], dim=1)
        keep = torch.cat([keep, keep.new_ones(len(rows), 1)], dim=1)
    return token_ids[:, T:].tolist()


def draw_batch(rng: np.random.Generator, n: int) -> tuple[SmallModel, Decoder, list, list]:
    """Return a model, prompts of several lengths, and what it writes after each of them alone.

    Drawn again until no choice is close and the rows differ, so that rounding decides nothing.
    """
    while True:
        sent, model = small_model(rng)
        lengths = [(4, 1, 9, 6), (6, 9, 1, 4), (1, 9, 4, 6)][int(rng.integers(3))]  # not sorted
        prompts = [[int(i) for i in rng.integers(6, 24, length)] for length in lengths]
        rows, leads = zip(*(written_alone(model, p, n) for p in prompts), strict=True)
        if min(leads) > 0.01 and len({tuple(r) for r in rows}) == len(rows):
            return sent, model, prompts, list(rows)


def unused(rows: list[list[int]]) -> int:
    """Return a token id that stands in none of the rows."""
    return next(i for i in range(23, 0, -1) if all(i not in row for row in rows))


def responses(got: object, prompts: list) -> list[list[int]]:
    """Return a result as responses, or reject its form."""
    require(isinstance(got, list | tuple), f"return a list of lists, got {type(got).__name__}")
    require(
        len(got) == len(prompts), f"{len(prompts)} prompts, and you return {len(got)} responses"
    )
    for r in got:
        require(
            type(r) is list and all(type(i) is int for i in r),
            "a response is a list of token ids of type int, which .tolist() makes; got "
            f"{type(r).__name__} {brief(r, 60)}",
        )
    return list(got)


@exercise_check("generate_batch", points=2, title="each row as if alone")
def _(student, rng):
    n = 8
    sent, model, prompts, rows = draw_batch(rng, n)
    end_id = unused([*rows, *prompts])
    got = student.generate_batch(sent, prompts, n, pad_id=PAD, end_id=end_id)
    got = responses(got, prompts)
    with_prompt = [p + r for p, r in zip(prompts, rows, strict=True)]
    T = max(map(len, prompts))
    padded = [[PAD] * (T - len(p)) + p + r for p, r in zip(prompts, rows, strict=True)]
    by_length = [r for _, r in sorted(zip(map(len, prompts), rows, strict=True))]
    for wrong, hint in (
        (with_prompt, "your responses begin with their prompts: return what comes behind them"),
        (padded, "your responses begin with padding and prompt: return what comes behind them"),
        (
            [row[len(p) :] for row, p in zip(padded, prompts, strict=True)],
            "your responses are cut at the length of their own prompt: rows are padded to one "
            "length T, so each response starts at column T",
        ),
        (
            by_length,
            "your responses stand in the order of their prompts' lengths: return them in the "
            "order of the prompts",
        ),
        (
            by_length[::-1],
            "your responses stand in the order of their prompts' lengths: return them in the "
            "order of the prompts",
        ),
        (
            written_padded(model, prompts, n, "left", False, "none"),
            "your responses are those of rows that attend to padding: give attention_mask, False "
            "at padding",
        ),
        (
            written_padded(model, prompts, n, "left", False, "all"),
            "your responses are those of rows that attend to padding: give attention_mask, False "
            "at padding",
        ),
        (
            written_padded(model, prompts, n, "right", True, "all"),
            "your responses are those of rows padded on the right, where the last column of a "
            "short row is padding: pad on the left",
        ),
        (
            written_padded(model, prompts, n, "right", False, "none"),
            "your responses are those of rows padded on the right, where the last column of a "
            "short row is padding: pad on the left",
        ),
        (
            written_padded(model, prompts, n, "left", True, "prompt"),
            "in your responses the positions of new tokens do not follow those of their prompt: "
            "let them go on",
        ),
    ):
        require(got != wrong, hint)
    require(
        student.arguments_after[1] == prompts,
        "your function changed the prompts in place: make new lists",
    )
    for prompt, response, want in zip(prompts, got, rows, strict=True):
        require(
            len(response) <= n,
            f"max_new_tokens={n}, and a response of yours has {len(response)} tokens",
        )
        lengths = [len(p) for p in prompts]
        hint = (
            f"the prompt of {len(prompt)} tokens among prompts of {lengths} is answered otherwise"
        )
        same(response, want, f"{hint} than alone")
    for some in (prompts[:1], [prompts[1]] * 2):  # nothing to pad
        got = responses(student.generate_batch(sent, some, n, pad_id=PAD, end_id=end_id), some)
        want = [rows[prompts.index(p)] for p in some]
        same(got, want, f"{len(some)} prompts of {len(some[0])} tokens, so that nothing is padded")


@exercise_check("generate_batch", points=1, title="one pass for all rows")
def _(student, rng):
    n = 6
    sent, _, prompts, rows = draw_batch(rng, n)
    got = student.generate_batch(sent, prompts, n, pad_id=PAD, end_id=unused([*rows, *prompts]))
    require(
        isinstance(got, list) and [len(response) for response in got] == [n] * len(prompts),
        f"{n} tokens are asked for after each of {len(prompts)} prompts, got {brief(got, 100)}",
    )
    shapes = student.arguments_after[0]
    require(
        all(shape[0] == len(prompts) for shape in shapes) and len(shapes) <= n,
        f"{n} tokens for {len(prompts)} prompts need at most {n} passes over all rows at once, got "
        f"{len(shapes)} passes of {sorted({shape[0] for shape in shapes})} rows",
    )


@exercise_check("generate_batch", points=1, title="the end token")
def _(student, rng):
    n, ends = 9, []
    while not ends:
        sent, _, prompts, rows = draw_batch(rng, n)
        ends = [e for e in range(6, 24) if any(e in r[1:-1] for r in rows)]
        ends = [e for e in ends if not all(e in r for r in rows)]
        ends = [e for e in ends if not any(e in p for p in prompts)]
    end_id = ends[int(rng.integers(len(ends)))]
    cut = [r[: r.index(end_id)] if end_id in r else r for r in rows]
    got = responses(student.generate_batch(sent, prompts, n, pad_id=PAD, end_id=end_id), prompts)
    require(
        got != [r[: r.index(end_id) + 1] if end_id in r else r for r in rows],
        "your responses end with the end token: leave it out",
    )
    require(
        not any(end_id in r for r in got),
        "your response goes on behind its end token: cut it at the first one",
    )
    require(
        got != [[i for i in r if i != end_id] for r in rows],
        "your responses leave out the end token and go on behind it: cut them there",
    )
    require(
        got != [r[: r.index(end_id)] if end_id in r else r[:-1] for r in rows],
        "your responses without an end token lose their last token: keep it",
    )
    same(got, cut, f"each response up to its first end token, here {end_id}, without it")
    first = rows[0][0]  # the whole response of one row is cut away
    got = responses(student.generate_batch(sent, prompts, n, pad_id=PAD, end_id=first), prompts)
    cut = [r[: r.index(first)] if first in r else r for r in rows]
    same(got, cut, f"end token {first} comes first in one row: its response is empty")


@exercise_check("generate_batch", points=1, title="padding with the end token")
def _(student, rng):
    # Tokenizers often pad with the end token, and a prompt may hold it.
    leads = [0.0]
    while min(leads) < 0.01:
        sent, model, prompts, _ = draw_batch(rng, 3)
        end_id = int(rng.integers(6, 24))
        held = [p[:-1] + [end_id] + p[-1:] for p in prompts]
        free, leads = zip(*(written_alone(model, p, 3) for p in held), strict=True)
    alone = [r[: r.index(end_id)] if end_id in r else r for r in free]
    got = responses(student.generate_batch(sent, held, 3, pad_id=end_id, end_id=end_id), held)
    same(
        got,
        alone,
        "pad_id equal to end_id, and end tokens in prompts, where each is answered as alone",
    )


@exercise_check("generate_batch", points=1, title="settings and refusals", is_core=False)
def _(student, rng):
    n = 6
    sent, _, prompts, rows = draw_batch(rng, n)
    end_id = unused([*rows, *prompts])
    ids = {"pad_id": PAD, "end_id": end_id}

    def write(**settings):
        return responses(student.generate_batch(sent, prompts, n, **ids, **settings), prompts)

    a = int(rng.integers(1 << 30)) * 2
    first, again, other = (write(temperature=50.0, generator=Seed(k)) for k in (a, a, a + 1))
    require(
        first != rows,
        "at temperature 50, where almost any token may come, your responses are the most likely "
        "ones: pass temperature on",
    )
    require(
        first == again and first != other,
        f"{of_generators(first == again, 'responses')}: pass the generator on",
    )
    for name, value in (("top_k", 1), ("top_p", 1e-6), ("min_p", 1.0)):
        got = write(temperature=5.0, generator=Seed(int(rng.integers(1 << 30))), **{name: value})
        same(got, rows, f"{name}={value} leaves the most likely token alone: pass {name} on")
    for place in (0, 1, 2):
        some = [prompts[0], prompts[1]]
        some.insert(place, [])
        refused(
            lambda some=some: student.generate_batch(sent, some, n, **ids),
            f"prompt {place} of 3 is empty and gives the model nothing to read",
        )
    refused(
        lambda: student.generate_batch(sent, prompts, 40, **ids),
        "prompt and 40 new tokens exceed the context of 40",
    )
    long = [prompts[0], (prompts[0] * 40)[:38]]
    refused(
        lambda: student.generate_batch(sent, long, 5, **ids),
        "a prompt of 38 tokens and 5 new ones exceed the context of 40",
    )


# Shares of the target and of the draft after each of three tokens. No mistake of `mistaken` leads
# to the target's shares or to those of another mistake: 2,000 tokens tell them apart.
P = np.array([[0.25, 0.53, 0.22], [0.52, 0.11, 0.37], [0.53, 0.09, 0.38]])
Q = np.array([[0.07, 0.07, 0.86], [0.07, 0.52, 0.41], [0.10, 0.16, 0.74]])


def chain(rng: np.random.Generator, sharp: float = 1.4, V: int = 5) -> np.ndarray:
    """Return a table of logits: row i holds those of the token after i; no share is tiny."""
    return np.clip(rng.standard_normal((V, V)) * sharp, -1.5, 1.5).astype(np.float32)


def steps(got: Sequence[int], V: int) -> np.ndarray:
    """Return how often each token follows each in a text, (V, V)."""
    counts = np.zeros((V, V), dtype=np.int64)
    np.add.at(counts, (np.asarray(got[:-1]), np.asarray(got[1:])), 1)
    return counts


def distance(counts: np.ndarray, shares: np.ndarray) -> float:
    """Return the chi-square of counts of steps against the shares after each token."""
    expected = counts.sum(-1, keepdims=True) * shares
    return float(((counts - expected) ** 2 / np.maximum(expected, 1e-3)).sum())


def same_chain(counts: np.ndarray, shares: np.ndarray, deviations: float = WRONG) -> bool:
    """Whether the tokens after each token were drawn from the rows of `shares`; as `fits`."""
    return distance(counts, shares) <= limit(shares.size - len(shares), deviations)


def long_run(p: np.ndarray, q: np.ndarray, chance: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return the shares of tokens after each token in a long text with one proposal a round.

    Args:
        p, q: (V, V) of target and draft.
        chance: (V, V) that a proposal is accepted, after a token (row) and for a token (column).
        rest: (V, V) what is drawn from after a refusal.
    """
    accepted = q * np.minimum(chance, 1)
    total = rest.sum(-1, keepdims=True)
    replaced = (1 - accepted.sum(-1, keepdims=True)) * rest / np.where(total > 0, total, 1)
    start = np.full(len(p), 1 / len(p))
    for _ in range(60):  # where rounds begin, in the long run
        start = start @ (accepted @ p + replaced)
    seen = start[:, None] * (accepted + replaced) + (start @ accepted)[:, None] * p
    return seen / np.maximum(seen.sum(-1, keepdims=True), 1e-9)


def mistaken(p: np.ndarray, q: np.ndarray) -> list[tuple[np.ndarray, str]]:
    """Return what mistakes lead to in a long text with one proposal a round."""
    right, rest = p / q, np.maximum(p - q, 0)
    best = (p == p.max(-1, keepdims=True)).astype(float)
    return [
        (long_run(p, q, chance, drawn), hint)
        for chance, drawn, hint in (
            (
                1 + 0 * p,
                p,
                "your text follows the draft where a proposal stands, as if none were refused: "
                "keep one by chance p / q",
            ),
            (
                right,
                p,
                "after a refusal you draw from p, which counts twice what both like: draw from "
                "max(0, p - q)",
            ),
            (right, q, "after a refusal you draw from the draft again: draw from max(0, p - q)"),
            (q / p, rest, "you accept by chance q / p: accept by p / q of the token"),
            (p, rest, "you accept by chance p alone: accept by p / q of the token"),
            (0.0 + (p >= q), rest, "you never accept where p < q: accept by chance p / q there"),
            (
                best,
                rest,
                "you accept the target's most likely token alone, as at temperature 0: accept by "
                "chance p / q",
            ),
            (
                0.5 + 0 * p,
                rest,
                "you accept every second proposal, whatever the token: accept by chance p / q of "
                "it",
            ),
            (
                right,
                np.abs(p - q),
                "after a refusal you draw from |p - q|: what the draft had too little of is "
                "max(0, p - q)",
            ),
            (
                right,
                np.maximum(q - p, 0),
                "after a refusal you draw from max(0, q - p), what the draft had too much of: "
                "draw from max(0, p - q)",
            ),
        )
    ]


def check_chain(
    student, rng: np.random.Generator, n_draft: int, temperature: float, n_texts: int
) -> None:
    """Reject unless long texts follow the target's shares at each step."""
    order = rng.permutation(3)
    p, q = (shares[order][:, order] for shares in (P, Q))
    target, draft = ((np.log(x) * temperature).astype(np.float32) for x in (p, q))
    V, counts = 3, 0
    for _ in range(n_texts):
        got = student.speculative_decode(
            TableModel(target),
            TableModel(draft),
            np.array([1, 0]),
            200,
            n_draft=n_draft,
            generator=Seed(int(rng.integers(1 << 31))),
            **({} if temperature == 1.0 else {"temperature": temperature}),
        )
        counts = counts + steps(parts(got, [1, 0], 200, V)[0][1:], V)
    if same_chain(counts, p):
        return
    if temperature != 1.0:
        plain, times = softmax(target), softmax(target * temperature)
        require(
            not same_chain(counts, plain, NAMED),
            f"at temperature {temperature:g} your text is that of temperature 1: divide the logits "
            "by the temperature",
        )
        require(
            not same_chain(counts, times, NAMED),
            "your logits are multiplied by the temperature: divide them by it",
        )
    require(
        not same_chain(counts, q, NAMED),
        f"with n_draft={n_draft} your text has the draft's own distribution: keep a proposal by "
        "chance p / q",
    )
    if n_draft == 1:
        shares, hint = min(mistaken(p, q), key=lambda known: distance(counts, known[0]))
        case = f"one proposal a round, {200 * n_texts:,} tokens"
        require(not same_chain(counts, shares, NAMED), f"{case}: {hint}")
    worst = np.abs(counts / counts.sum(-1, keepdims=True).clip(1) - p).max(-1).argmax()
    several = (
        "; see that each proposal has a random number of its own and the p and q of its own place, "
        "and that a refusal ends the round"
    )
    require(
        False,
        f"with n_draft={n_draft} your text does not follow the target: after token {worst} the "
        f"shares are to be {np.round(p[worst], 3).tolist()}, got "
        f"{np.round(counts[worst] / max(1, counts[worst].sum()), 3).tolist()} in "
        f"{200 * n_texts:,} tokens{several if n_draft > 1 else ''}",
    )


def parts(
    got: object, prompt: list[int], n: int, V: int, may_end: bool = False
) -> tuple[list[int], int, int]:
    """Return token ids, passes and accepted tokens of a result, or reject its form."""
    require(
        isinstance(got, tuple | list) and len(got) == 3,
        f"return Speculation(token_ids, n_target_passes, n_accepted), got {brief(got, 80)}",
    )
    ids, n_passes, n_accepted = got
    require(
        isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype == np.int64,
        f"token_ids is to be a tensor (T + new,) of int64, got {brief(ids, 60)}",
    )
    require(
        type(n_passes) is int and type(n_accepted) is int,
        f"n_target_passes and n_accepted are to be of type int, got {type(n_passes).__name__} and "
        f"{type(n_accepted).__name__}",
    )
    ids = ids.tolist()
    require(
        ids[: len(prompt)] == prompt,
        f"token_ids is to begin with the prompt {prompt}, got {brief(ids[:8])}",
    )
    require(
        len(ids) <= len(prompt) + n,
        f"max_new_tokens={n}, got {len(ids) - len(prompt)} new tokens: near the end propose fewer",
    )
    require(
        may_end or len(ids) == len(prompt) + n,
        f"max_new_tokens={n}, got {len(ids) - len(prompt)} new tokens",
    )
    require(
        all(0 <= i < V for i in ids), f"a vocabulary of {V}, got the token ids {brief(ids, 80)}"
    )
    return ids, n_passes, n_accepted


@exercise_check("speculative_decode", points=1, title="temperature 0")
def _(student, rng):
    V, n = 12, 17
    for n_draft in (1, 3, 5):
        target = rng.standard_normal((V, V)).astype(np.float32)
        # The draft agrees with the target after most tokens.
        draft = np.where(rng.random((V, 1)) < 0.7, 2 * target, rng.standard_normal((V, V)))
        prompt = rng.integers(0, V, 3).tolist()
        want = list(prompt)
        for _ in range(n):
            want.append(int(target[want[-1]].argmax()))
        with in_case(f"temperature 0, n_draft={n_draft}, {n} tokens"):
            got = student.speculative_decode(
                TableModel(target),
                TableModel(draft.astype(np.float32)),
                np.array(prompt),
                n,
                n_draft=n_draft,
                temperature=0.0,
            )
        ids, *_ = parts(got, prompt, n, V)
        guessed = prompt[-1:]
        for _ in range(n):
            guessed.append(int(draft[guessed[-1]].argmax()))
        require(
            ids[len(prompt) :] != guessed[1:] or guessed[1:] == want[3:],
            f"at temperature 0, n_draft={n_draft}, your text is the draft's: replace a proposal "
            "that is not the target's choice",
        )
        same(
            ids,
            want,
            f"temperature 0, n_draft={n_draft}: the target's own choices, whatever the draft "
            "proposes",
        )
        same(
            student.arguments_after[2].tolist(),
            prompt,
            "the prompt after the call, which is the caller's",
        )
    table = chain(rng, V=6)
    got = student.speculative_decode(
        TableModel(table), TableModel(table), np.array([2]), 30, n_draft=4, temperature=0.0
    )
    made = parts(got, [2], 30, 6)[1]
    same(
        made,
        6,
        "n_target_passes at temperature 0 with a draft equal to the target: each pass keeps 4 "
        "proposals and adds a token, for 30 tokens",
    )


def without_last(n: int, n_draft: int) -> tuple[int, int]:
    """Return the passes where no token of the target follows proposals that were all accepted."""
    passes, to_write = 0, n
    while to_write > 0:
        to_write -= max(1, min(n_draft, to_write - 1))
        passes += 1
    return passes, -(-n // n_draft)


@exercise_check("speculative_decode", points=2, title="passes of the target")
def _(student, rng):
    V, n = 6, 30
    table = chain(rng, V=V)
    for n_draft in (4, 1, 9):
        seed = Seed(int(rng.integers(1 << 31)))
        settings = {} if n_draft == 4 else {"n_draft": n_draft}
        with in_case(f"a draft equal to the target, {n} tokens, {settings or 'n_draft not given'}"):
            got = student.speculative_decode(
                TableModel(table), TableModel(table), np.array([2]), n, generator=seed, **settings
            )
        ids, n_passes, n_accepted = parts(got, [2], n, V)
        made, drafted = map(len, student.arguments_after[:2])
        want = n // (n_draft + 1)
        note = (
            f"a draft equal to the target, whose proposals are all accepted: with n_draft={n_draft}"
        )
        require(
            made != n,
            f"{note} the target read {made} times for {n} tokens: let one pass serve all proposals",
        )
        require(
            made not in without_last(n, n_draft) or made == want,
            f"{note} a pass gives {n_draft + 1} tokens, and you made {made} passes for {n}: where "
            "all proposals are accepted, draw one more from the target's last logits",
        )
        require(
            made == want,
            f"{note} {n} tokens take {want} passes, and you made {made}: see that the draft reads "
            "each proposal before it makes the next",
        )
        require(
            drafted <= n_accepted + want and drafted <= n,
            f"{note} the draft read {drafted} times for {n} tokens: let it read once for each "
            "proposal",
        )
        same(n_passes, want, f"n_target_passes counts the calls of the target, {made} here")
        require(
            n_accepted != n,
            f"{note} your n_accepted is {n}, all new tokens: count the proposals that were kept, "
            "without those that the target adds",
        )
        same(n_accepted, n - want, f"{note} n_accepted is the {n} tokens less one for each pass")
    far = np.full((V, V), -30.0, np.float32)
    unlike = far.copy()
    far[:, 1], unlike[:, 3] = 0.0, 0.0
    with in_case("a draft that proposes token 3 where the target writes token 1, always"):
        got = student.speculative_decode(
            TableModel(far), TableModel(unlike), np.array([2, 4]), 7, n_draft=3
        )
    ids, n_passes, n_accepted = parts(got, [2, 4], 7, V)
    same(ids, [2, 4] + [1] * 7, "a draft that is always wrong changes nothing in the text")
    same((n_passes, n_accepted), (7, 0), "each refusal costs a pass: (n_target_passes, n_accepted)")
    for n in (1, 5, 8, 11):
        with in_case(f"a draft unlike the target, {n} tokens, n_draft=3"):
            got = student.speculative_decode(
                TableModel(table), TableModel(chain(rng, V=V)), np.array([2]), n, n_draft=3
            )
        ids, n_passes, n_accepted = parts(got, [2], n, V)
        same(n_passes + n_accepted, n, "each pass adds one token beside those accepted")


@exercise_check("speculative_decode", points=1, title="the end token")
def _(student, rng):
    V = 9
    ring = np.full((V, V), -30.0, np.float32)
    ring[np.arange(V), (np.arange(V) + 1) % V] = 0.0
    for end_id in (3, 4, 5, 6):
        got = student.speculative_decode(
            TableModel(ring), TableModel(ring), np.array([7, 0]), 12, n_draft=4, end_id=end_id
        )
        ids, _, n_accepted = parts(got, [7, 0], 12, V, may_end=True)
        require(
            ids != [7, *range(end_id)],
            f"your text stops before end token {end_id}: keep it, as the last one",
        )
        same(ids, [7, *range(end_id + 1)], f"the text stops after end token {end_id}")
        want = end_id - (end_id > 4)  # the target itself adds token 5 behind four proposals
        case = f"tokens 1 to {end_id}, the end: the draft's that stand in the result"
        require(
            n_accepted != want - 1 or end_id == 5,
            f"{case} are {want}, got {want - 1}: count an end token that the draft proposed",
        )
        same(n_accepted, want, case)
    for end_id, hint in (
        (7, "an end token of the prompt ends nothing"),
        (8, "an end token ends nothing where it is the prompt's last, as at a text's beginning"),
    ):
        got = student.speculative_decode(
            TableModel(ring), TableModel(ring), np.array([7, 8]), 4, n_draft=2, end_id=end_id
        )
        same(parts(got, [7, 8], 4, V, may_end=True)[0], [7, 8, 0, 1, 2, 3], hint)


@exercise_check("speculative_decode", points=1, title="generator, refusals", is_core=False)
def _(student, rng):
    target, draft = TableModel(chain(rng)), TableModel(chain(rng))
    a = int(rng.integers(1 << 30)) * 2
    first, again, other = (
        student.speculative_decode(target, draft, np.array([0]), 40, generator=Seed(s))[0].tolist()
        for s in (a, a, a + 1)
    )
    require(
        first == again and first != other,
        f"{of_generators(first == again, 'texts')}: give the generator to each draw, torch.rand "
        "as well",
    )
    for change, why in (
        ({"n_draft": 0}, "n_draft=0"),
        ({"n_draft": -1}, "n_draft=-1"),
        ({"temperature": -1.0}, "a negative temperature"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"token_ids": np.zeros(0, np.int64)}, "an empty prompt"),
        ({"token_ids": np.array([[1, 2]])}, "token_ids (1, T) in place of (T,)"),
    ):
        settings = {"token_ids": np.array([1, 2]), "max_new_tokens": 3} | change
        refused(lambda s=settings: student.speculative_decode(target, draft, **s), why)
    for bad in (np.nan, np.inf):
        for token in (0, 1, 4):
            spoiled = chain(rng)
            spoiled[1, token] = bad
            for models in ((TableModel(spoiled), draft), (target, TableModel(spoiled))):
                which = "draft" if models[0] is target else "target"
                for temperature in (1.0, 0.0):
                    refused(
                        lambda m=models, t=temperature: student.speculative_decode(
                            *m, np.array([0, 1]), 3, temperature=t
                        ),
                        f"the {which}'s logits after the prompt hold {bad}, temperature "
                        f"{temperature}",
                    )


@exercise_check("speculative_decode", points=1, title="the target's distribution, one proposal")
def _(student, rng):
    check_chain(student, rng, n_draft=1, temperature=1.0, n_texts=10)


@exercise_check("speculative_decode", points=1, title="the target's distribution, four proposals")
def _(student, rng):
    check_chain(student, rng, n_draft=4, temperature=1.0, n_texts=8)


@exercise_check("speculative_decode", points=1, title="at another temperature")
def _(student, rng):
    check_chain(student, rng, n_draft=3, temperature=3.0, n_texts=5)


def draw_weight(rng: np.random.Generator, N: int = 6, M: int = 40) -> np.ndarray:
    """Return a matrix whose rows differ in size, and whose largest numbers are negative in some."""
    weight = rng.standard_normal((N, M)) * 10.0 ** rng.integers(-3, 2, (N, 1))
    weight[0] = -np.abs(weight[0])
    return weight.astype(np.float32)


def codes_and_scale(got: object, N: int, M: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the two tensors of a result, or reject its form."""
    require(
        isinstance(got, tuple | list)
        and len(got) == 2
        and all(isinstance(part, np.ndarray) for part in got),
        f"return two tensors, codes and scale, got {brief(got, 80)}",
    )
    codes, scale = got
    require(scale.dtype != np.int8, "your scale comes first: return codes, then scale")
    require(
        codes.dtype == np.int8,
        f"codes are to be int8, got {codes.dtype}, which saves less or nothing",
    )
    require(
        codes.shape == (N, M),
        f"a weight ({N}, {M}): expected codes of that shape, got {codes.shape}",
    )
    require(
        scale.shape != (),
        f"you give one scale for the whole matrix: give each row its own, ({N}, 1)",
    )
    require(
        (N, 1) == (1, M) or scale.shape != (1, M),
        f"you give one scale for each column: give each row its own, ({N}, 1)",
    )
    require(
        scale.shape == (N, 1),
        f"a weight ({N}, {M}): expected scale of shape ({N}, 1), so that codes * scale works, got "
        f"{scale.shape}; keepdim=True keeps the axis",
    )
    require(scale.dtype == np.float32, f"scale is to be float32, got {scale.dtype}")
    return codes, scale


def explain_scale(scale: np.ndarray, weight: np.ndarray) -> None:
    """Reject scales (N, 1) that a known mistake would give."""
    wide = weight.astype(np.float64)
    size = np.abs(wide)
    largest = size.max(1, keepdims=True)
    for wrong, hint in (
        (
            size.max() / 127 + 0 * largest,
            "your rows all have the scale of the whole matrix: give each its own",
        ),
        (
            wide.max(1, keepdims=True) / 127,
            "your scale is that of the largest number: take the largest magnitude, with abs()",
        ),
        (largest, "your scale is the largest magnitude: divide it by 127"),
        (
            largest / 128,
            "your scale is the largest magnitude / 128, which does not fit into int8: divide by "
            "127",
        ),
        (
            largest / 255,
            "your scale is the largest magnitude / 255: int8 has half of that on each side, so "
            "divide by 127",
        ),
        (127 / largest, "you return 1 / scale: scale times code is the weight"),
        (
            size.mean(1, keepdims=True) / 127,
            "your scale is that of the mean magnitude: take the largest",
        ),
        (
            wide.std(1, keepdims=True) / 127,
            "your scale is that of the standard deviation: take the largest magnitude",
        ),
    ):
        is_right = np.allclose(wrong, largest / 127, rtol=1e-3, atol=0)
        require(is_right or not np.allclose(scale, wrong, rtol=1e-3, atol=0), hint)


def explain_codes(codes: np.ndarray, steps: np.ndarray) -> None:
    """Reject codes that are not the nearest to the exact numbers of steps."""
    off = codes - steps
    if np.abs(off).max() <= 0.5 + 1e-3:
        return
    within = np.abs(off).max() <= 1 + 1e-3
    require(
        not (within and (np.abs(codes) <= np.abs(steps) + 1e-3).all()),
        "your codes have their fractions cut off: round to the nearest before the cast to int8",
    )
    require(
        not (within and (off <= 1e-3).all()), "your codes are rounded down: round to the nearest"
    )
    require(
        not (within and (off >= -1e-3).all()), "your codes are rounded up: round to the nearest"
    )
    worst = int(np.abs(off).argmax())
    require(
        False,
        f"your code of {steps.flat[worst]:.4g} steps is {codes.flat[worst]}: a code is weight / "
        "scale, rounded to the nearest",
    )


@exercise_check("quantize_int8", points=2, title="scale and codes")
def _(student, rng):
    by_hand = np.array([[0.5, -1.27, 0.0, 0.204, -0.308, 0.116, -0.532]], np.float32)
    codes, scale = codes_and_scale(student.quantize_int8(by_hand), 1, 7)
    explain_scale(scale, by_hand)
    close(scale, [[0.01]], "the largest magnitude 1.27 is 127 steps, so a step is 0.01", atol=1e-7)
    explain_codes(codes, by_hand / 0.01)
    same(
        codes.astype(np.int64),
        np.array([[50, -127, 0, 20, -31, 12, -53]]),
        "numbers of steps of 0.01",
    )
    weight = draw_weight(rng)
    N, M = weight.shape
    codes, scale = codes_and_scale(student.quantize_int8(weight), N, M)
    explain_scale(scale, weight)
    largest = np.abs(weight).max(1, keepdims=True)
    close(scale, largest / 127, "scale is the row's largest magnitude / 127", atol=0, rtol=1e-5)
    explain_codes(codes, weight.astype(np.float64) / scale)


@exercise_check("quantize_int8", points=1, title="rows of zeros, and borders")
def _(student, rng):
    weight = draw_weight(rng)
    weight[2] = 0.0
    N, M = weight.shape
    with in_case("row 2 of the weight holds zeros alone"):
        codes, scale = codes_and_scale(student.quantize_int8(weight), N, M)
    require(
        np.isfinite(scale).all(),
        f"row 2 of the weight holds zeros alone: got the scale {float(scale[2, 0])}, expected 1",
    )
    require(
        (codes[2] == 0).all(),
        f"row 2 of the weight holds zeros alone: expected codes of 0, got {codes[2].tolist()[:4]} "
        "...",
    )
    close(scale[2], [1.0], "a row of zeros has the scale 1")
    others = np.arange(N) != 2
    close(
        scale[others, 0],
        np.abs(weight[others]).max(1) / 127,
        "a row of zeros changes nothing for the others",
        atol=0,
        rtol=1e-5,
    )
    require(
        (np.abs(codes.astype(int)).max(1)[others] == 127).all(),
        "the largest magnitude of a row has the code 127 or -127, and the largest codes of yours "
        f"are {np.abs(codes.astype(int)).max(1).tolist()}",
    )
    same(student.arguments_after[0], weight, "the weight after the call, which is the caller's")


@exercise_check("quantize_int8", points=1, title="tiny rows, other types, refusals", is_core=False)
def _(student, rng):
    weight = draw_weight(rng, 3, 8)
    weight[1] *= 1e-12 / np.abs(weight[1]).max()
    codes, scale = codes_and_scale(student.quantize_int8(weight), 3, 8)
    close(
        codes[1] * scale[1].astype(np.float64) * 1e12,
        weight[1] * 1e12,
        "a row of tiny numbers is not a row of zeros: its scale is tiny as well",
        atol=5e-3,
    )
    double = rng.standard_normal((2, 5))
    codes, scale = codes_and_scale(student.quantize_int8(double), 2, 5)
    close(codes * scale, double, "float64 weights", atol=0.02)
    half = rng.standard_normal((2, 5)).astype(np.float16)
    with in_case("float16 weights"):
        codes, scale = codes_and_scale(student.quantize_int8(half), 2, 5)
    off = np.abs(codes * scale.astype(np.float64) - half).max() / scale.max()
    require(off < 0.51, f"float16 weights: codes * scale are {off:.2f} scales off, half is allowed")
    for N, M in ((1, 7), (7, 1), (1, 1)):
        weight = draw_weight(rng, N, M)
        with in_case(f"a matrix of {N} rows and {M} columns"):
            codes, scale = codes_and_scale(student.quantize_int8(weight), N, M)
        wanted = np.abs(weight).max(1, keepdims=True) / 127
        close(scale, wanted, f"a matrix ({N}, {M}): each row's scale", atol=0, rtol=1e-5)
        explain_codes(codes, weight.astype(np.float64) / wanted)
    weight = draw_weight(rng, 3, 8)
    refused(lambda: student.quantize_int8(weight[0]), "a weight (M,) without rows")
    refused(lambda: student.quantize_int8(weight[None]), "a weight of three axes")
    for bad in (np.nan, np.inf, -np.inf):
        for place in ((0, 0), (1, 3), (2, 7)):
            spoiled = weight.copy()
            spoiled[place] = bad
            hint = f"a weight that holds {bad} at {place}"
            refused(lambda a=spoiled: student.quantize_int8(a), hint)
