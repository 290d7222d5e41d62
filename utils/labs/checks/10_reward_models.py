"""Checks of lab 10: the loss of preferences, the place of a score, accuracy, length, best of n.

Oracles: torch's binary cross-entropy, NumPy loops, the normal quantiles of Python's `statistics`,
a regression by least squares, and every draw of n answers listed one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from statistics import NormalDist

import numpy as np
import torch
import torch.nn.functional as F

from utils.labs.checking import (
    Check,
    Rejected,
    as_array,
    asked,
    brief,
    close,
    collector,
    in_case,
    left_alone,
    recognise,
    refused,
    require,
    resembles,
    same_gradients,
    sole,
)

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

HINTS = {
    "bradley_terry_loss": (
        "The pair's label says: chosen beats rejected. How likely was that, by the model? The loss "
        "is how surprised it is, averaged over pairs.",
        "By hand: scores 2 and 0. sigmoid(2) is 0.88; what is -log of it? And for 1 and 1? And "
        "with a margin of 2 for the first pair, which gap goes into the sigmoid? What does "
        "log(sigmoid(-200)) give if you compute the sigmoid first?",
        "Raise a ValueError unless chosen has one dimension, and rejected and margin (if any) have "
        "its shape; for no pairs; unless center >= 0. gap = chosen - rejected, less margin if it "
        "is not None. loss = -F.logsigmoid(gap).mean(). Add center times "
        "(chosen + rejected).square().mean(), and return it.",
    ),
    "score_at_last": (
        "For each text find the number of its last kept token, take that token's features, and "
        "only then apply the head.",
        "By hand: keep is [True, True, False] and [False, True, True]. Which two numbers do you "
        "need? Why does keep.sum() - 1 give one of them and not the other? And argmax of keep?",
        "Raise a ValueError unless keep.dtype is torch.bool and keep.shape is features.shape[:2], "
        "and unless keep.any(dim=1) is True for all. numbers = torch.arange(T); last = "
        "torch.where(keep, numbers, -1).amax(dim=1). picked = features[torch.arange(B), last]. "
        "Return picked @ weight + bias.",
    ),
    "preference_accuracy": (
        "Count the pairs in the right order, ties as half, and divide. Then ask "
        "wilson_interval for the range that this count allows.",
        "By hand: four pairs, one of them a tie, two right. How many are right if a tie counts "
        "half? Which share is that? wilson_interval takes the count, not the share: which two "
        "numbers do you give it, and which level?",
        "Raise a ValueError unless chosen has one dimension, at least one pair and the shape of "
        "rejected, and where any score is not finite. n_right = ((chosen > rejected).double() + "
        "0.5 * (chosen == rejected).double()).sum().item(); n = len(chosen); low, high = "
        "wilson_interval(n_right, n, level); return n_right / n, low, high.",
    ),
    "length_bias": (
        "Two answers are compared only if they have the same group number. First the share over "
        "pairs; then the slope, from what is left of lengths and scores when each group's own mean "
        "is taken off.",
        "By hand: lengths 10, 20 and scores 1, 2 in group 0; lengths 10, 30 and scores 5, 4 in "
        "group 1. How many pairs are there, and in how many does the longer win? Group 0's means "
        "are 15 and 1.5: what are its two products, its two squares? And group 1's? What is their "
        "ratio, all added?",
        "Raise a ValueError unless all three have one dimension and one shape, and unless scores "
        "are finite. In float64: loop over groups.unique(); s and l are scores and lengths there; "
        "longer = l[:, None] > l[None, :]; higher = (s[:, None] > s[None, :]).double() + 0.5 * "
        "(s[:, None] == s[None, :]).double(); wins += higher[longer].sum(); pairs += "
        "longer.sum(); top += ((l - l.mean()) * (s - s.mean())).sum(); bottom += (l - "
        "l.mean()).square().sum(). No pairs: ValueError. Return "
        "float(wins / pairs), float(top / bottom).",
    ),
    "best_of_n": (
        "Instead of drawing n answers again and again, ask of each answer: in what share of all "
        "draws of n is it the best? Weigh its value by that.",
        "By hand: scores 1, 2, 3 and n = 2. The draws are {1,2}, {1,3}, {2,3}. How often is each "
        "score the top? In general, the top of a draw is at most the k-th lowest score in "
        "C(k, n) of C(S, n) draws. With that, how often is it exactly the k-th? And if two scores "
        "tie at the top, how is their share split?",
        "Raise a ValueError unless scores has two dimensions and the shape of values, n is from 1 "
        "to S, and scores are finite. share = float64 tensor of math.comb(k, n) / math.comb(S, n) "
        "for k = 0..S. own = scores.unsqueeze(2), others = scores.unsqueeze(1); below = (others < "
        "own).sum(2), tied = (others == own).sum(2). weights = (share[below + tied] - "
        "share[below]) / tied. Return (weights * values).sum(1) in the dtype of the values.",
    ),
}


def floats(got: object, n: int, what: str) -> np.ndarray:
    """Return a result as n floats, or reject what is none."""
    require(
        isinstance(got, tuple) and len(got) == n and all(type(x) is float for x in got),
        asked(f"return {what}, {n} Python floats (.item() of a tensor); got {brief(got)}", got),
    )
    return np.array(got)


# bradley_terry_loss


def loss_by_torch(a, b, margin=None, center=0.0) -> torch.Tensor:
    """Return the loss as torch's cross-entropy of the label "chosen"."""
    gap = a - b if margin is None else a - b - margin
    loss = F.binary_cross_entropy_with_logits(gap, torch.ones_like(gap))
    return loss + center * ((a + b) ** 2).mean()


def score_rows(rng: np.random.Generator, n: int, k: int = 2) -> list[np.ndarray]:
    """Return k rows of n scores."""
    return [(2 * rng.standard_normal(n)).astype(np.float32) for _ in range(k)]


def doubles(*rows: np.ndarray) -> list[torch.Tensor]:
    """Return arrays as tensors of float64."""
    return [torch.from_numpy(np.asarray(row)).double() for row in rows]


@exercise_check("bradley_terry_loss", points=2, title="how surprised by the preferences")
def _(student, rng):
    for n in (2, 1, 6):
        a, b = score_rows(rng, n)
        with in_case(f"{n} pair(s)"):
            got = student.bradley_terry_loss(a, b)
        x, y = doubles(a, b)
        gap = x - y
        slips = [
            (loss_by_torch(y, x), "in your loss chosen and rejected are exchanged: the chosen one "
             "should be the higher"),
            (-loss_by_torch(x, y), "the sign is wrong: a loss is a negative log-probability"),
            (-F.logsigmoid(gap).sum(), "that is the sum: take the mean over the pairs"),
            (-torch.sigmoid(gap).mean(), "the logarithm is missing: -log(sigmoid(...))"),
            ((1 - torch.sigmoid(gap)).mean(), "that is one minus the probability: take -log of it"),
            (-gap.mean(), "that is the mean gap: it goes through log(sigmoid(...))"),
            (-F.logsigmoid(gap.mean()), "in your loss the mean is taken over the gaps: take "
             "it over the pairs' losses"),
            (F.relu(1 - gap).mean(), "that is the hinge loss: take -log sigmoid of the gap"),
            (gap.square().mean(), "that is a squared gap: take -log sigmoid of the gap"),
            (-F.logsigmoid(gap).mean() / np.log(2), "that is the loss in bits: take the natural "
             "logarithm"),
        ]  # fmt: skip
        want = loss_by_torch(x, y).numpy()
        recognise(got, want, [(wrong.numpy(), asked(words, got)) for wrong, words in slips])
        close(got, want, "the mean over pairs of -log sigmoid(chosen - rejected)")
        left_alone(student, chosen=a, rejected=b)


@exercise_check("bradley_terry_loss", points=1, title="margin and centring")
def _(student, rng):
    a, b, m = score_rows(rng, 5, 3)
    m = np.abs(m)
    x, y, z = doubles(a, b, m)
    got = student.bradley_terry_loss(a, b, m)
    slips = [
        (loss_by_torch(x, y).numpy(), "the margin changes nothing in your loss: take "
         "it off the gap"),
        (loss_by_torch(x, y, -z).numpy(), "you add the margin to the gap: take it off"),
        (F.relu(z - (x - y)).mean().numpy(), "that is a hinge: the gap less the margin goes "
         "through the sigmoid"),
    ]  # fmt: skip
    want = loss_by_torch(x, y, z).numpy()
    recognise(got, want, slips)
    close(got, want, "with a margin: -log sigmoid(chosen - rejected - margin)")
    left_alone(student, chosen=a, rejected=b, margin=m)
    for center, margin in ((0.1, None), (0.5, m)):
        got = student.bradley_terry_loss(a, b, margin, center=center)
        rest = loss_by_torch(x, y, None if margin is None else z)
        want = (rest + center * ((x + y) ** 2).mean()).numpy()
        slips = [
            (rest.numpy(), "center changes nothing in your loss: it weighs a second term"),
            ((rest + center * ((x - y) ** 2).mean()).numpy(), "in your second term the squares are "
             "those of the differences: it squares chosen + rejected"),
            ((rest + center * (x + y).mean() ** 2).numpy(), "in your second term the mean is "
             "squared: take the mean of the squares"),
            ((rest + ((x + y) ** 2).mean()).numpy(), "your second term is not multiplied by "
             "center: multiply it"),
            ((rest + center * ((x + y) ** 2).sum()).numpy(), "your second term is a sum: take the "
             "mean"),
            ((rest + center * ((x + y) / 2).square().mean()).numpy(), "the second term squares the "
             "sum chosen + rejected, not their mean"),
            ((rest - center * ((x + y) ** 2).mean()).numpy(), "you take the second term off: "
             "add it"),
            ((rest + center * (x**2 + y**2).mean()).numpy(), "you add up the two squares: the "
             "second term squares the sum chosen + rejected"),
        ]  # fmt: skip
        recognise(got, want, slips)
        close(got, want, f"center={center} adds center * mean((chosen + rejected)^2)")
    got = student.bradley_terry_loss(a[:1], b[:1], m[:1], center=0.5)
    want = loss_by_torch(x[:1], y[:1], z[:1], 0.5).numpy()
    close(got, want, "one pair, with a margin and center=0.5")


@exercise_check("bradley_terry_loss", points=1, title="large scores and the gradient")
def _(student, rng):
    a = np.array([300.0, -300.0, 20000.0, -4000.0], np.float32)
    b = np.array([-300.0, 300.0, 0.0, 4000.0], np.float32)
    got = student.bradley_terry_loss(a, b)
    want, tried = loss_by_torch(*doubles(a, b)).numpy(), "scores of hundreds and of thousands"
    if np.isfinite(as_array(got, tried)).all():
        tried += ": the mean over pairs of -log sigmoid(chosen - rejected), without any bound"
    else:
        tried += " give finite losses: compute the logarithm of the sigmoid in one step"
    close(got, want, tried)
    far, zeros = np.array([600.0, -600.0, -20000.0], np.float32), np.zeros(3, np.int64)
    tried = "the gradient of `chosen` at gaps of 600, -600 and -20000"
    with in_case(tried):
        (got,) = student.gradients("bradley_terry_loss", far, zeros)
    close(got, [0, -1 / 3, -1 / 3], f"{tried}: 0, -1/3 and -1/3")
    chosen, rejected = score_rows(rng, 5)
    margin = rng.permutation(np.array([0, 1, -2, 1, 3]))  # whole numbers, which have no gradient

    def formula(x, y, z, center):
        return loss_by_torch(x, y, torch.from_numpy(z), center)

    given = {"chosen": chosen, "rejected": rejected}
    same_gradients(student, "bradley_terry_loss", formula, rng, (margin, 0.2), **given)


@exercise_check("bradley_terry_loss", points=1, title="what is refused", is_core=False)
def _(student, rng):
    call = student.bradley_terry_loss
    a, b = score_rows(rng, 4)
    with in_case("center=0.0 and a margin, which are not refused"):
        call(a, b, b, 0.0)
    refused(lambda: call(a, b[:3]), "four chosen scores and three rejected ones")
    refused(lambda: call(a, b[:1]), "four chosen scores and one rejected one, which would be "
            "broadcast")  # fmt: skip
    refused(lambda: call(a[:, None], b), "chosen of shape (4, 1), rejected of shape (4,): their "
            "difference would be (4, 4)")  # fmt: skip
    refused(lambda: call(a[:, None], b[:, None]), "scores of shape (4, 1)")
    refused(lambda: call(a, b[:, None]), "chosen of shape (4,), rejected of shape (4, 1)")
    refused(lambda: call(a, b, b[:1]), "a margin of length 1 for four pairs")
    refused(lambda: call(a, b, b[:, None]), "a margin of shape (4, 1): the gaps would be (4, 4)")
    refused(lambda: call(a[:0], b[:0]), "no pairs")
    refused(lambda: call(a, b, center=-0.1), "center=-0.1")


# score_at_last


def text_case(rng: np.random.Generator, keep: list) -> tuple[np.ndarray, ...]:
    """Return features, a mask, a head's weight and its bias, all different at every place."""
    mask = np.array(keep, bool)
    B, T = mask.shape
    features = rng.standard_normal((B, T, 4)).astype(np.float32)
    weight = rng.standard_normal(4).astype(np.float32)
    return features, mask, weight, np.array(rng.standard_normal() + 3, np.float32)


def last_by_hand(features, mask, weight, bias) -> np.ndarray:
    """Return the score at the last True of each row, one by one."""
    return np.array(
        [
            float(features[b][max(t for t in range(len(m)) if m[t])] @ weight + bias)
            for b, m in enumerate(mask)
        ]
    )


RIGHT_PADDED = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]
LEFT_PADDED = [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]]
RESPONSES = [[0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0], [0, 1, 0, 1, 0, 0]]


def compare_scores(student, case: tuple, name: str) -> None:
    """Reject wrong scores of one case, naming the mistake that they equal."""
    features, mask, weight, bias = case
    with in_case(f"features {features.shape}, keep {brief(mask.astype(int))} (1 for True)"):
        got = student.score_at_last(features, mask, weight, bias)
    every = features @ weight + bias  # (B, T)
    rows, n = np.arange(len(mask)), mask.sum(1)
    kept = np.where(mask, every, 0)
    want = last_by_hand(features, mask, weight, bias)
    T = mask.shape[1]
    last = [max(t for t in range(T) if m[t]) for m in mask]
    slips = [
        (every[:, -1], "your scores are read at the last place, padding or not: read them at the "
         "last True of keep"),
        (every[rows, n - 1], "you read at the number of kept tokens less one: that is the last "
         "place only where padding stands on the right"),
        (every[rows, mask.argmax(1)], "you read at the first kept token, not the last: argmax of "
         "keep gives the first"),
        (every[:, 0], "your scores are read at the first token, which has seen nothing else"),
        (every[rows, np.minimum(n, T - 1)], "you read one too far to the right"),
        (want - bias, "the bias is missing: add it"),
        (want - 2 * bias, "you take the bias off: add it"),
        (kept.sum(1) / n, "that is the mean over the kept tokens: the last one alone counts"),
        (kept.sum(1) - bias * (n - 1), "that is the sum over the kept tokens: the last one "
         "alone counts"),
        (np.where(mask, every, -np.inf).max(1), "that is the highest score of the kept tokens"),
        (every[rows, np.array(last) - 1], "you read one too far to the left"),
        (every[:, last[0]], "you read all texts where the first one ends: each has its own end"),
        (every[:, max(last)], "you read all texts where the longest one ends: each has its own "
         "end"),
    ]  # fmt: skip
    if resembles(got, want[:, None]):
        raise Rejected(f"{name}: one score for each text, shape (B,), not (B, 1)")
    recognise(got, want, [(wrong, f"{name}: {words}") for wrong, words in slips])
    close(got, want, f"{name}: weight . features + bias at the last True of each row of keep "
          f"{brief(mask.astype(int))}")  # fmt: skip
    left_alone(student, features=features, keep=mask, weight=weight, bias=bias)


@exercise_check("score_at_last", points=2, title="the last token of each text")
def _(student, rng):
    compare_scores(student, text_case(rng, [[1, 1, 1, 0, 0]]), "one text")
    compare_scores(student, text_case(rng, RIGHT_PADDED), "padding on the right")
    compare_scores(student, text_case(rng, [[1]]), "a text of one token")


@exercise_check("score_at_last", points=1, title="padding on the left, a mask of the response")
def _(student, rng):
    compare_scores(student, text_case(rng, LEFT_PADDED), "padding on the left")
    compare_scores(student, text_case(rng, RESPONSES), "a mask of the response alone")


@exercise_check("score_at_last", points=1, title="nothing else counts: values and gradient")
def _(student, rng):
    for keep in (RIGHT_PADDED, RESPONSES):
        features, mask, weight, bias = text_case(rng, keep)
        want = last_by_hand(features, mask, weight, bias)
        got = student.score_at_last(features, mask, weight, bias)
        close(got, want, "the scores of the last kept tokens")
        with_nan = np.where(mask[..., None], features, np.float32("nan"))
        got = student.score_at_last(with_nan, mask, weight, bias)
        close(got, want, "features of NaN where keep is False: the scores of the last kept "
              "tokens as without them (no product with 0 removes a NaN)")  # fmt: skip
    double = [a.astype(np.float64) for a in (features, weight, bias)]
    got = student.score_at_last(double[0], mask, *double[1:])
    close(got, last_by_hand(double[0], mask, *double[1:]), "features, weight and bias in float64")
    require(
        isinstance(got, np.ndarray) and got.dtype == np.float64,
        f"scores have the dtype of the features, float64, got "
        f"{getattr(got, 'dtype', type(got).__name__)}",
    )
    features, mask, weight, bias = text_case(rng, RESPONSES)
    upstream = rng.standard_normal(len(mask)).astype(np.float32)
    found = student.gradients("score_at_last", features, mask, weight, bias, upstream=upstream)
    last = [max(t for t in range(len(m)) if m[t]) for m in mask]
    of_features = np.zeros_like(features)
    of_features[np.arange(len(mask)), last] = upstream[:, None] * weight
    picked = features[np.arange(len(mask)), last]
    wanted = {"features": of_features, "weight": upstream @ picked, "bias": upstream.sum()}
    for (name, want), gradient in zip(wanted.items(), found, strict=True):
        close(gradient, want, f"the gradient of `{name}`: through the last kept tokens alone",
              1e-4, 1e-4)  # fmt: skip
    with_nan = np.where(mask[..., None], features, np.float32("nan"))
    with in_case("the gradient where features are NaN at all places that keep leaves out"):
        spoilt = student.gradients("score_at_last", with_nan, mask, weight, bias)
    require(
        all(np.isfinite(gradient).all() for gradient in spoilt),
        "features of NaN where keep is False: the scores are right, and a gradient holds NaN, "
        "since 0 times NaN is NaN in it; pick the last kept features first, then apply the head",
    )


@exercise_check("score_at_last", points=1, title="what is refused", is_core=False)
def _(student, rng):
    features, mask, weight, bias = text_case(rng, RIGHT_PADDED)
    call = student.score_at_last
    with in_case("every token kept, which is not refused"):
        call(features, np.ones_like(mask), weight, bias)
    refused(lambda: call(features, mask.astype(np.int64), weight, bias), "keep of whole numbers")
    refused(lambda: call(features, mask.astype(np.float32), weight, bias), "keep of floats")
    refused(lambda: call(features, mask[:, :4], weight, bias), "keep with a column less")
    refused(lambda: call(features, mask[:1], weight, bias), "keep with one row for three texts")
    for row in range(3):
        none = mask.copy()
        none[row] = False
        refused(lambda none=none: call(features, none, weight, bias),
                f"keep is False for all tokens of text {row}")  # fmt: skip


# preference_accuracy


def wilson_by_hand(n_right: float, n: int, level: float) -> list[float]:
    """Return share, low and high by Wilson's formula."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = n_right / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return [p, max(0.0, middle - half), min(1.0, middle + half)]


def compare_accuracy(student, a: np.ndarray, b: np.ndarray, level: float | None) -> None:
    """Reject a wrong accuracy or interval of one case."""
    more = {} if level is None else {"level": level}
    with in_case(f"chosen {brief(a)}, rejected {brief(b)}, level {level or 0.95}"):
        got = student.preference_accuracy(a, b, **more)
    three = floats(got, 3, "(share, low, high)")
    n, wins, ties = len(a), int((a > b).sum()), int((a == b).sum())
    level = level or 0.95
    want = wilson_by_hand(wins + ties / 2, n, level)
    mistakes = [
        (wins, n, "in your share a tie counts as wrong: it counts half"),
        (wins + ties, n, "in your share a tie counts as right: it counts half"),
        (wins, n - ties, "you leave ties out of your share: each counts half"),
        (n - wins - ties / 2, n, "that is the share of wrong pairs: chosen should be the higher"),
    ]
    named = {
        words for right, of, words in mistakes
        if of and abs(three[0] - right / of) < 1e-7 and abs(right / of - want[0]) > 1e-6
    }  # fmt: skip
    if words := sole(named):
        raise Rejected(asked(f"{words} (expected {want[0]:.4f}, got {three[0]:.4f})", got))
    hint = f"{wins} right and {ties} tied of {n} pairs"
    close(three[0], want[0], asked(f"{hint}: the share", got), 1e-7, 0)
    slips = [
        (wilson_by_hand(wins + ties / 2, n, 0.95)[1:], "your interval does not follow `level`"),
        (wilson_by_hand(wins, n, level)[1:], "your interval is that of the right ones "
         "without the halves of the ties"),
        ([max(0.0, want[0] - s) for s in (0,)] * 2, "your interval is a point"),
        (want[:0:-1], "in your result low and high are exchanged"),
    ]  # fmt: skip
    for wrong, words in slips:
        if resembles(three[1:], wrong, 1e-6) and not resembles(want[1:], wrong, 1e-5):
            raise Rejected(asked(f"{hint}: {words} (expected {brief(want[1:])}, got "
                                 f"{brief(three[1:])})", got))  # fmt: skip
    close(three[1:], want[1:], asked(f"{hint}: Wilson's interval at {level}", got), 1e-6, 0)
    left_alone(student, chosen=a, rejected=b)


@exercise_check("preference_accuracy", points=2, title="the share, ties as half")
def _(student, rng):
    four = [2.0, 1.0, 3.0, 0.0], [1.0, 1.0, 0.0, 2.0]
    for a, b in (four, ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]), ([1.0], [3.0])):
        compare_accuracy(student, np.array(a, np.float32), np.array(b, np.float32), None)
    for n in (9, 40):
        a, b = (rng.integers(0, 3, n).astype(np.float32) for _ in range(2))
        compare_accuracy(student, a, b, None)
    one = np.ones(2, np.float32)
    got = student.preference_accuracy(one + np.float32([2e-7, -1]), one)
    close(floats(got, 3, "(share, low, high)")[0], 0.5, "a score higher by 0.0000002 is higher: a "
          "tie has two equal scores", 1e-7, 0)  # fmt: skip


@exercise_check("preference_accuracy", points=1, title="the interval at any level")
def _(student, rng):
    for level in (0.8, 0.95, 0.99):
        a, b = (rng.integers(0, 4, 25).astype(np.float32) for _ in range(2))
        compare_accuracy(student, a, b, level)
    for n in (1, 12):
        ones = np.ones(n, np.float32)
        compare_accuracy(student, ones, 0 * ones, 0.9)
        compare_accuracy(student, 0 * ones, ones, 0.9)


@exercise_check("preference_accuracy", points=1, title="what is refused", is_core=False)
def _(student, rng):
    a, b = score_rows(rng, 5)
    call = student.preference_accuracy
    with in_case("five pairs, which are not refused"):
        call(a, b)
    refused(lambda: call(a, b[:4]), "five chosen scores and four rejected ones")
    refused(lambda: call(a, b[:1]), "five chosen scores and one rejected one")
    refused(lambda: call(a[:, None], b[:, None]), "scores of shape (5, 1)")
    refused(lambda: call(a[:0], b[:0]), "no pairs")
    for bad in (np.nan, np.inf, -np.inf):
        for place in (0, 4):
            wrong = a.copy()
            wrong[place] = bad
            refused(lambda wrong=wrong: call(wrong, b), f"a chosen score of {bad}")
            refused(lambda wrong=wrong: call(b, wrong), f"a rejected score of {bad}")


# length_bias


def bias_by_hand(scores, lengths, groups) -> list[float]:
    """Return the share over pairs, one by one, and the slope of a least-squares regression."""
    wins, n = 0.0, 0
    for i, j in combinations(range(len(scores)), 2):
        if groups[i] == groups[j] and lengths[i] != lengths[j]:
            longer, shorter = (i, j) if lengths[i] > lengths[j] else (j, i)
            n += 1
            wins += float(scores[longer] > scores[shorter])
            wins += 0.5 * float(scores[longer] == scores[shorter])
    own = (np.asarray(groups)[:, None] == np.unique(groups)).astype(float)
    design = np.column_stack([np.asarray(lengths, float), own])
    slope = np.linalg.lstsq(design, np.asarray(scores, float), rcond=None)[0][0]
    return [wins / n if n else 0.5, float(slope)]


def bias_slips(scores, lengths, groups) -> list[tuple[int, float, str]]:
    """Return which of the two numbers known mistakes give, and the words that name them."""
    s, g = np.asarray(scores, float), np.asarray(groups)
    x = np.asarray(lengths, float)
    pairs = [(i, j) for i, j in combinations(range(len(s)), 2) if g[i] == g[j]]
    unequal = [(i, j) if x[i] > x[j] else (j, i) for i, j in pairs if x[i] != x[j]]
    wins = sum(s[i] > s[j] for i, j in unequal)
    ties = sum(s[i] == s[j] for i, j in unequal)
    n = max(1, len(unequal))
    one = np.zeros(len(s))
    own_x = x - np.array([x[g == k].mean() for k in g])
    own_s = s - np.array([s[g == k].mean() for k in g])
    shares = [
        np.mean([0.5 + np.sign(s[i] - s[j]) / 2 for i, j in unequal if g[i] == k])
        for k in {g[i] for i, _ in unequal}
    ]
    within = [
        np.polyfit(x[g == k], s[g == k], 1)[0] for k in np.unique(g) if len(set(x[g == k])) > 1
    ]
    return [
        (0, wins / n, "for you a tie counts as if the shorter had won: it counts half"),
        (0, (wins + ties) / n, "for you a tie counts as if the longer had won: it counts half"),
        (0, wins / max(1, n - ties), "you leave ties out: each counts half"),
        (0, bias_by_hand(s, x, one)[0], "in your share answers of different groups are "
         "compared: compare those of one group"),
        (0, (wins + ties / 2) / max(1, len(pairs)), "in your share pairs of equal length are "
         "counted: count those whose lengths differ"),
        (0, (wins + ties / 2 + (len(pairs) - len(unequal)) / 2) / max(1, len(pairs)),
         "in your share pairs of equal length are counted: count those whose lengths differ"),
        (0, float(np.mean(shares)), "in your share the groups' shares are averaged: count all "
         "pairs alike"),
        (0, 1 - (wins + ties / 2) / n, "that is how often the shorter one wins: count "
         "the longer"),
        (1, bias_by_hand(s, x, one)[1], "that is the slope with one intercept for all: "
         "take off each group's own means"),
        (1, float(np.mean(within)), "in your slope the groups' slopes are averaged: add up "
         "products and squares over all groups, then divide"),
        (1, float((own_x * own_s).sum() / (own_s**2).sum()) if own_s.any() else 0.0,
         "that is the slope of lengths over scores: divide by the squares of the lengths"),
        (1, float((own_x * own_s).sum()), "the sum of products is not divided in your "
         "slope: divide by the sum of the lengths' squares"),
        (1, float((own_x * own_s).mean()), "that is a covariance: divide by the squares of the "
         "lengths"),
        (1, float(np.corrcoef(own_x, own_s)[0, 1]) if own_s.any() else 0.0, "that is a "
         "correlation: a slope is in score per token"),
        (1, float((x * s).sum() / (x * x).sum()), "in your slope the means are not taken off: "
         "take off each group's own"),
    ]  # fmt: skip


def compare_bias(student, scores: list, lengths: list, groups: list, case: str) -> None:
    """Reject a wrong share or slope of one case, naming the mistake that it equals."""
    given = {
        "scores": np.array(scores, np.float32),
        "lengths": np.array(lengths, np.int64),
        "groups": np.array(groups, np.int64),
    }
    shown = f"{case}: scores {brief(scores)}, lengths {brief(lengths)}, groups {brief(groups)}"
    with in_case(shown):
        got = student.length_bias(*given.values())
    two = floats(got, 2, "(share, slope)")
    want = bias_by_hand(given["scores"], lengths, groups)
    slips = bias_slips(given["scores"], lengths, groups)
    for number, name in enumerate(("the share", "the slope")):
        near = 1e-4 * max(0.1, abs(want[number]))
        if abs(two[number] - want[number]) <= near:
            continue
        named = {
            words for which, wrong, words in slips
            if which == number and abs(two[number] - wrong) <= near
            and abs(wrong - want[number]) > 10 * near
        }  # fmt: skip
        hint = sole(named) or f"{name} is not that of the docstring"
        raise Rejected(
            f"{hint} ({shown}; {name}: expected {want[number]:.5g}, got {two[number]:.5g})"
        )
    left_alone(student, **given)


def drawn_answers(rng: np.random.Generator, n: int, kinds: int) -> tuple[list, list, list]:
    """Return scores, lengths and groups with ties among all of them."""
    return (
        [float(x) / 2 for x in rng.integers(0, kinds, n)],
        [int(x) for x in rng.integers(4, 10, n)],
        [int(x) for x in rng.integers(-2, 3, n)],
    )


@exercise_check("length_bias", points=2, title="does the longer of two win")
def _(student, rng):
    compare_bias(student, [1.0, 2.0], [10, 20], [0, 0], "one pair")
    compare_bias(student, [2.0, 2.0], [10, 20], [0, 0], "a tie")
    compare_bias(student, [1.0, 2.0, 5.0, 3.0], [10, 20, 10, 40], [0, 0, 1, 1], "two groups")
    compare_bias(
        student, [1.0, 2.0, 4.0, 9.0, 3.0], [5, 5, 8, 30, 20], [7, 7, 7, 3, 3], "equal lengths"
    )
    compare_bias(
        student, [1.0, 3.0, 2.0, 8.0, 9.0], [1, 2, 3, 5, 6], [0, 0, 0, 1, 1], "unlike sizes"
    )
    compare_bias(
        student, [5.0, 6.0, 0.0, 1.0], [3, 5, 20, 30], [0, 0, 1, 1], "worse answers are longer"
    )


@exercise_check("length_bias", points=1, title="any groups, pay per token")
def _(student, rng):
    for n, kinds in ((30, 5), (20, 100), (12, 3)):  # many first: no mistake looks like another
        compare_bias(student, *drawn_answers(rng, n, kinds), f"{n} answers")
    scores, lengths, groups = drawn_answers(rng, 10, 50)
    compare_bias(student, [*scores, 90.0], [*lengths, 50], [*groups, 99], "a group of one")
    far = [300.0 + x for x in scores]
    compare_bias(student, far, lengths, groups, "scores around 300")
    compare_bias(student, [1.0, 2.0, 3.0, 5.0], [4, 4, 6, 9], [0, 0, 1, 1], "one length in a group")


@exercise_check("length_bias", points=1, title="what is refused", is_core=False)
def _(student, rng):
    s = np.array([1.0, 2.0, 4.0], np.float32)
    x, g = np.array([3, 5, 9]), np.zeros(3, np.int64)
    call = student.length_bias
    with in_case("three answers of one group, which are not refused"):
        call(s, x, g)
    refused(lambda: call(s, x, np.arange(3)), "three answers, each alone in its group")
    refused(lambda: call(s, x * 0 + 4, g), "three answers of one length")
    refused(lambda: call(s[:0], x[:0], g[:0]), "no answers")
    refused(lambda: call(s, x[:2], g), "two lengths for three scores")
    refused(lambda: call(s, x, g[:1]), "one group for three scores")
    refused(lambda: call(s[:1], x, g), "one score for three lengths")
    refused(lambda: call(s[:, None], x[:, None], g[:, None]), "columns in place of rows")
    for bad in (np.nan, np.inf, -np.inf):
        refused(lambda bad=bad: call(np.array([bad, 1, 2], np.float32), x, g), f"a score of {bad}")


# best_of_n


def by_listing(
    scores: np.ndarray, values: np.ndarray, n: int, of_tied: Callable = np.mean
) -> np.ndarray:
    """Return the mean over all draws of n; at a tie the mean over the tied, or another number."""
    found = []
    for s, v in zip(scores, values, strict=True):
        tops = []
        for drawn in combinations(range(len(s)), n):
            top = max(s[i] for i in drawn)
            tops.append(of_tied([v[i] for i in drawn if s[i] == top]))
        found.append(np.mean(tops))
    return np.array(found)


def with_replacement(scores: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Return what draws with replacement would give, ties aside."""
    S = scores.shape[1]
    rank = scores.argsort(1).argsort(1) + 1
    return (((rank / S) ** n - ((rank - 1) / S) ** n) * values).sum(1)


def compare_best(student, scores: np.ndarray, values: np.ndarray, n: int, case: str) -> None:
    """Reject a wrong expectation of one case, naming the mistake that it equals."""
    shown = f"{case}: n={n}, scores {brief(scores)}, values {brief(values)}"
    with in_case(shown):
        got = student.best_of_n(scores, values, n)
    want = by_listing(scores, values, n)
    order = scores.argsort(1, kind="stable")
    top = np.take_along_axis(values, order[:, -1:], 1)[:, 0]
    slips = [
        (by_listing(-scores, values, n), "that is the worst of n: keep the highest score"),
        (by_listing(values, values, n), "for you the answers are chosen by their values: choose by "
         "the scores"),
        (by_listing(scores, scores, n), "that is the expected score: the values of the chosen "
         "answers are asked"),
        (top, "that is the best of all S answers, whatever n is"),
        (np.take_along_axis(values, scores[:, :n].argmax(1)[:, None], 1)[:, 0], "that is the best "
         "of the first n: the mean over all draws of n is asked"),
        (values.mean(1), "that is the mean of all values, as for n = 1"),
        (with_replacement(scores, values, n), "you draw with replacement: no answer may come "
         "twice"),
        (np.take_along_axis(values, order[:, -n:], 1).mean(1), "that is the mean of the n best"),
        (by_listing(scores, values, n, max), "at a tie you take the answer of the largest value: "
         "take the mean of the tied"),
        (by_listing(scores, values, n, lambda tied: tied[0]), "at a tie you take the first: take "
         "the mean of the tied"),
        (by_listing(scores, values, n, lambda tied: tied[-1]), "at a tie you take the last: take "
         "the mean of the tied"),
        (want.mean(), "return one number for each question, not their mean"),
    ]  # fmt: skip
    recognise(got, want, [(wrong, f"{words} ({shown})") for wrong, words in slips])
    close(got, want, f"the mean, over all draws of n, of the top answer's value ({shown})")
    left_alone(student, scores=scores, values=values)


def answers(rng: np.random.Generator, Q: int, S: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores without ties, and values."""
    scores = np.stack([rng.permutation(S) for _ in range(Q)]).astype(np.float32)
    return scores - 2, rng.standard_normal((Q, S)).astype(np.float32)


@exercise_check("best_of_n", points=3, title="the mean over all draws")
def _(student, rng):
    scores = np.array([[0.0, 1.0, 2.0]], np.float32)
    compare_best(student, scores, answers(rng, 1, 3)[1], 2, "three answers")
    for Q, S, n in ((2, 4, 3), (3, 6, 2), (1, 7, 4)):
        compare_best(student, *answers(rng, Q, S), n, f"{Q} question(s), {S} answers")
    for n in (1, 5):
        compare_best(student, *answers(rng, 2, 5), n, "from one to all")
    compare_best(student, *answers(rng, 2, 1), 1, "a single answer")


@exercise_check("best_of_n", points=1, title="ties")
def _(student, rng):
    scores = np.array([[1.0, 3.0, 3.0, 3.0, 0.0]], np.float32)
    values = np.array([[2.0, -0.5, 0.75, 0.25, 1.0]], np.float32)
    compare_best(student, scores, values, 2, "three tied at the top")
    for n in (1, 2, 3):
        tied = np.full((1, 3), 2.5, np.float32)
        compare_best(student, tied, answers(rng, 1, 3)[1], n, "all tied")
    for n in (2, 3):
        scores = rng.integers(0, 3, (3, 6)).astype(np.float32)
        compare_best(student, scores, answers(rng, 3, 6)[1], n, "ties")
    near = np.array([[1.0, 1 + 2e-7, 0.0]], np.float32)
    values = np.array([[0.0, 1.0, 5.0]], np.float32)
    close(student.best_of_n(near, values, 2), [2 / 3], "a score higher by 0.0000002 is higher: a "
          "tie has two equal scores")  # fmt: skip


@exercise_check("best_of_n", points=1, title="many answers, and the dtype of the values")
def _(student, rng):
    S = 200
    scores, _ = answers(rng, 2, S)
    for n in (3, 100, 199, 200):
        got = student.best_of_n(scores, scores, n)
        want = n * (S + 1) / (n + 1) - 3  # the expected highest of n of the ranks 1 to S, less 3
        close(got, np.full(2, want), f"{S} answers, n={n}, the scores as values")
    right = (scores > 100).astype(np.float64)
    got = student.best_of_n(scores, right, 2)
    require(
        isinstance(got, np.ndarray) and got.dtype == np.float64,
        f"values in float64 give float64, got {getattr(got, 'dtype', type(got).__name__)}",
    )
    values = scores.astype(np.float32)
    got = student.best_of_n(scores.astype(np.float64), values, 2)
    require(
        isinstance(got, np.ndarray) and got.dtype == np.float32,
        f"values in float32 give float32, whatever the dtype of the scores, got "
        f"{getattr(got, 'dtype', type(got).__name__)}",
    )


@exercise_check("best_of_n", points=1, title="what is refused", is_core=False)
def _(student, rng):
    scores, values = answers(rng, 2, 4)
    call = student.best_of_n
    with in_case("n=4 of four answers, which is not refused"):
        call(scores, values, 4)
    for n in (0, 5, -1):
        refused(lambda n=n: call(scores, values, n), f"n={n} of four answers")
    refused(lambda: call(scores, values[:, :3], 2), "four scores and three values")
    refused(lambda: call(scores, values[:1], 2), "two questions' scores and one's values")
    refused(lambda: call(scores[0], values[0], 2), "a row in place of (Q, S)")
    for bad in (np.nan, np.inf, -np.inf):
        wrong = scores.copy()
        wrong[1, 2] = bad
        refused(lambda wrong=wrong: call(wrong, values, 2), f"a score of {bad}")
