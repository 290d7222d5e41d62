"""Checks of lab 12: the losses of DPO, IPO and KTO, advantages and loss of GRPO, a verifier.

Oracles: NumPy in float64 by the formulas, row by row and token by token; gradients and tables
worked out by hand. Where a gradient is asked for, constants come as whole numbers: an answer may
stop the gradient there or not.
"""

from __future__ import annotations

import numpy as np

from utils.labs.checking import (
    Check,
    as_array,
    brief,
    close,
    collector,
    in_case,
    left_alone,
    not_the_mistake,
    recognise,
    refused,
    require,
)
from utils.labs.student import LearnerError

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

HINTS = {
    "dpo_loss": (
        "How much likelier does the policy make each response than the reference does? That "
        "difference of log-probabilities, times beta, is the response's implied reward. Two "
        "rewards and a preference: you know the loss from reward models.",
        "By hand, beta 0.5: the policy gives the chosen response -1 and the rejected one -3, the "
        "reference -2 to both. The implied rewards are 0.5 * (-1 + 2) and 0.5 * (-3 + 2). What is "
        "their difference, and what is -log sigmoid of it? And why would log(sigmoid(-1000)) be "
        "-infinity?",
        "Refuse shapes that are not all (B,) with B from 1, and a beta that is not positive. "
        "margin = beta * ((chosen - ref_chosen) - (rejected - ref_rejected)); the loss of a pair "
        "is -F.logsigmoid(margin), which stays finite; return the mean over pairs.",
    ),
    "ipo_loss": (
        "The same two log-ratios as in DPO, but each per token of its own response, and another "
        "function of their difference: a square around a target, so that a margin can be too "
        "large as well.",
        "By hand, beta 0.25: the chosen response of 2 tokens is at -2, the reference's -4, so 1 "
        "per token. The rejected one is at the reference, so 0. The target is 1 / (2 * 0.25). How "
        "far off is the margin, and what is the square of that?",
        "Refuse what dpo_loss refuses, with six tensors, and lengths below 1. score = (logprobs - "
        "ref_logprobs) / lengths for chosen and for rejected; the loss of a pair is (chosen score "
        "- rejected score - 1 / (2 * beta)) squared; return the mean over pairs.",
    ),
    "kto_loss": (
        "Each response has its log-ratio. A wanted one should lie above a reference point, an "
        "unwanted one below. The reference point is a mean of other log-ratios, and it is a "
        "number, not something to be learned from.",
        "By hand, beta 1: log-ratios 1 (wanted) and -1 (unwanted), reference point 0. Satisfaction "
        "is sigmoid(1 - 0) for the wanted one and sigmoid(0 - (-1)) for the other. What is 1 minus "
        "it? What does the point become where the mismatched log-ratios have the mean -3? And 3?",
        "Refuse shapes, dtype and beta as the docstring says. point = (mismatched - "
        "ref_mismatched).mean().clamp(min=0).detach(). gain = beta * (logprobs - ref_logprobs - "
        "point). A wanted response loses desirable_weight * (1 - sigmoid(gain)), an unwanted one "
        "undesirable_weight * (1 - sigmoid(-gain)): torch.where. Return the mean over all B.",
    ),
    "group_advantages": (
        "Put the rewards into a table with one row for each group. What a response is worth is "
        "what it has more than its row's mean. Then look for rows where dividing goes wrong.",
        "By hand, a group 1, 0, 0, 0: the mean is 1/4, so 3/4 and three times -1/4. The squares "
        "add up to 3/4, divided by 3 gives 1/4: the standard deviation is 1/2. What comes out for "
        "5, 5, 5, 5? For a group of one, whose standard deviation divides by 0? And which rows "
        "does rewards.view(-1, group_size) put together?",
        "Refuse what is not (B,) in whole groups, and rewards that are not finite. groups = "
        "rewards.detach().float().view(-1, group_size); advantages = groups - groups.mean(dim=1, "
        "keepdim=True); with divide_by_std and group_size > 1 divide by groups.std(dim=1, "
        "keepdim=True) + eps. Where a row's amax equals its amin, masked_fill with 0: a mean of "
        "equal numbers may be rounded. Flatten.",
    ),
    "grpo_loss": (
        "Three steps: a loss for every token (clipped, with its row's advantage), a sum over the "
        "response tokens of each row divided by the row's length, and a mean over rows. Whatever "
        "stands outside of the mask has to be gone before you compute with it.",
        "By hand: ratios 1 and e, advantage 1, clip_eps 0.2. Unclipped 1 and 2.718, clipped 1 and "
        "1.2; the smaller ones are 1 and 1.2, so the row is -(1 + 1.2) / 2. And with advantage "
        "-1? Which of -2.718 and -1.2 is smaller? What does 0 * NaN give in a gradient?",
        "Refuse as the docstring says. lengths = response_mask.sum(1) where they are None; as a "
        "tensor (B,). logprobs = logprobs.masked_fill(~response_mask, 0.0), the same for "
        "old_logprobs; ratio = exp(difference). A = advantages.unsqueeze(1). loss = "
        "-torch.minimum(ratio * A, ratio.clamp(1 - clip_eps, 1 + clip_eps) * A). With "
        "ref_logprobs: d = ref (filled, too) - logprobs, add kl_coef * (exp(d) - d - 1). "
        "masked_fill the loss once more, sum over dim 1, divide by lengths, mean.",
    ),
    "verify_answer": (
        "Find all numbers in the response, take the last, compare it with the answer as a number. "
        "A regular expression finds them; all the care is in what a number is.",
        "By hand: which numbers are in '7-5=2.'? The minus stands behind a digit, so it is no "
        "sign; the full stop has no digit behind it, so it is no decimal point. And in 'x=-5', "
        "'1,234.50', 'on May 3,2024'? Is float('12.0000000000000000001') == 12.0?",
        "number = r'(?:(?<![0-9A-Za-z])[-+])?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
        "(?:\\.[0-9]+)?' : a sign that no digit or letter stands before; groups of three, or "
        "digits; decimals. re.fullmatch of answer.strip(), or a ValueError. found = "
        "re.findall(number, response); 0.0 where it is empty. Take the commas out of found[-1] "
        "and of the answer, make a Decimal of each, return float(a == b).",
    ),
}


def softplus(x: np.ndarray) -> np.ndarray:
    """Return log(1 + exp(x)), without overflow."""
    return np.logaddexp(0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x))."""
    return np.exp(-softplus(-x))


def drawn(rng: np.random.Generator, n: int, n_arrays: int = 4) -> list[np.ndarray]:
    """Return arrays (n,) like log-probabilities of whole responses, near each other by rows."""
    level = -20 * rng.random(n) - 5
    return [(level + 4 * rng.standard_normal(n)).astype(np.float32) for _ in range(n_arrays)]


def whole(*arrays: np.ndarray) -> list[np.ndarray]:
    """Return arrays as whole numbers: constants, to which no gradient could flow."""
    return [np.round(array).astype(np.int64) for array in arrays]


# dpo_loss


def dpo(chosen, rejected, ref_chosen, ref_rejected, beta: float) -> np.ndarray:
    """Return the loss of each pair."""
    chosen, rejected, ref_chosen, ref_rejected = (
        np.asarray(a, np.float64) for a in (chosen, rejected, ref_chosen, ref_rejected)
    )
    return softplus(-beta * ((chosen - ref_chosen) - (rejected - ref_rejected)))


def dpo_slips(four: list[np.ndarray], beta: float) -> list[tuple[float, str]]:
    """Return what mistakes would give."""
    c, r, rc, rr = (np.asarray(a, np.float64) for a in four)
    each = dpo(*four, beta)
    margin = beta * ((c - rc) - (r - rr))
    return [
        (
            softplus(margin).mean(),
            "in your loss the sign of the margin is turned round: take chosen less rejected",
        ),
        (-each.mean(), "the loss has the wrong sign: it is minus the log of the sigmoid"),
        (dpo(*four, 1.0).mean(), "in your loss beta is left out: multiply the margin by it"),
        (dpo(*four, 0.1).mean(), "in your loss beta is always 0.1: use the argument"),
        (
            softplus(r - rr - beta * (c - rc)).mean(),
            "you multiply the chosen log-ratio alone by beta: multiply both",
        ),
        (dpo(*four, beta**2).mean(), "in your loss beta is used twice: multiply by it once"),
        (
            dpo(*four, 1 / beta).mean(),
            "in your loss the margin is divided by beta: multiply by it",
        ),
        (
            beta * dpo(*four, 1.0).mean(),
            "you multiply the loss by beta: multiply the margin, inside the sigmoid",
        ),
        (dpo(c, r, 0, 0, beta).mean(), "in your loss the reference is left out: take it off"),
        (
            dpo(c, r, rr, rc, beta).mean(),
            "your reference's two tensors are swapped, or it is added and not taken off",
        ),
        (softplus(-beta * (c - rc)).mean(), "in your loss the rejected responses are left out"),
        (
            softplus(-beta * (c - rc + r - rr)).mean(),
            "you add up the two rewards: take the rejected one's off the chosen one's",
        ),
        (each.sum(), "that is the sum over pairs: take the mean"),
        (
            softplus(-margin.mean()),
            "in your loss the mean is taken inside: each pair has its own loss",
        ),
        ((1 - sigmoid(margin)).mean(), "in your loss the logarithm is left out"),
        (each.mean() / np.log(2), "that is a logarithm of base 2: take the natural one"),
        (
            dpo(np.exp(c), np.exp(r), np.exp(rc), np.exp(rr), beta).mean(),
            "you take differences of probabilities: take them of the log-probabilities",
        ),
    ]


@exercise_check("dpo_loss", points=1, title="one pair")
def _(student, rng):
    one = [np.array([v], np.float32) for v in (-1.0, -3.0, -2.25, -2.875)]
    tried = "chosen -1, rejected -3, reference -2.25 and -2.875, beta 0.5: the margin is 0.6875"
    got = student.dpo_loss(*one, 0.5)
    recognise(got, softplus(-0.6875), [(w, f"{h} ({tried})") for w, h in dpo_slips(one, 0.5)])
    close(got, softplus(-0.6875), f"{tried}, the loss -log of its sigmoid")
    same = [np.array([v], np.float32) for v in (-4.0, -9.0, -4.0, -9.0)]
    close(student.dpo_loss(*same), np.log(2), "policy and reference agree: log 2")
    close(student.dpo_loss(*one), softplus(-0.1375), "beta is 0.1 where none is given")


@exercise_check("dpo_loss", points=1, title="many pairs")
def _(student, rng):
    for n, beta in ((2, 0.1), (5, 0.3), (1, 2.0)):
        four = drawn(rng, n)
        got, want = student.dpo_loss(*four, beta), dpo(*four, beta).mean()
        recognise(got, want, dpo_slips(four, beta))
        close(got, want, f"{n} pairs, beta {beta}: the mean over pairs of -log sigmoid(margin)")
    names = ("chosen_logprobs", "rejected_logprobs", "ref_chosen_logprobs", "ref_rejected_logprobs")
    left_alone(student, **dict(zip(names, four, strict=True)))


@exercise_check("dpo_loss", points=1, title="far apart")
def _(student, rng):
    for gap, want in ((-800.0, 800.0), (800.0, 0.0)):
        four = [np.array([v], np.float32) for v in (gap, 0.0, 0.0, 0.0)]
        tried, got = f"a margin of {gap:.0f} gives {want:.0f}", student.dpo_loss(*four, 1.0)
        if not np.isfinite(as_array(got, tried)).all():
            tried += ": the log of a sigmoid must not run over"
        close(got, want, tried, atol=1e-3)
        with in_case(f"the gradient at a margin of {gap:.0f}"):
            (got,) = student.gradients("dpo_loss", four[0], *whole(*four[1:]), 1.0)
        slope = [-1.0] if gap < 0 else [0.0]
        close(got, slope, f"the gradient of chosen_logprobs at a margin of {gap:.0f}")


@exercise_check("dpo_loss", points=1, title="the gradient")
def _(student, rng):
    chosen, rejected, *refs = drawn(rng, 4)
    refs = whole(*refs)
    with in_case("the gradient for the policy's log-probabilities"):
        got = student.gradients("dpo_loss", chosen, rejected, *refs, 0.3)
    margin = 0.3 * ((chosen - refs[0]) - (rejected - refs[1])).astype(np.float64)
    want = -0.3 * sigmoid(-margin) / 4
    close(got[0], want, "chosen: -beta * sigmoid(-margin) / B", atol=1e-4, rtol=1e-3)
    close(got[1], -want, "rejected: beta * sigmoid(-margin) / B", atol=1e-4, rtol=1e-3)


@exercise_check("dpo_loss", points=1, title="what is refused", is_core=False)
def _(student, rng):
    four = drawn(rng, 3)
    with in_case("three pairs, which are not refused"):
        student.dpo_loss(*four, 0.2)
    for beta in (0.0, -0.1, float("nan")):
        refused(lambda b=beta: student.dpo_loss(*four, b), f"a beta of {beta}")
    refused(lambda: student.dpo_loss(*(a[:0] for a in four)), "no pairs")
    tokens = [np.repeat(a[:, None], 2, axis=1) for a in four]
    refused(lambda: student.dpo_loss(*tokens), "log-probabilities of single tokens, (B, T)")
    refused(lambda: student.dpo_loss(*(np.asarray(a[0]) for a in four)), "scalars")
    for k in range(4):
        less = [a[:1] if i == k else a for i, a in enumerate(four)]
        refused(lambda bad=less: student.dpo_loss(*bad), "3 pairs in three tensors, 1 in the other")
        column = [a[:, None] if i == k else a for i, a in enumerate(four)]
        refused(lambda bad=column: student.dpo_loss(*bad), "three tensors (3,), the other (3, 1)")


# ipo_loss


def ipo(c, r, rc, rr, n, m, target: float) -> np.ndarray:
    """Return the loss of each pair, for a target margin."""
    c, r, rc, rr, n, m = (np.asarray(a, np.float64) for a in (c, r, rc, rr, n, m))
    return ((c - rc) / n - (r - rr) / m - target) ** 2


def ipo_slips(six: list[np.ndarray], beta: float) -> list[tuple[float, str]]:
    """Return what mistakes would give."""
    c, r, rc, rr, n, m = (np.asarray(a, np.float64) for a in six)
    target = 1 / (2 * beta)
    each, plain = ipo(*six, target), np.ones_like(n)
    return [
        (
            ipo(c, r, rc, rr, plain, plain, target).mean(),
            "your log-ratios are sums over tokens: divide by the lengths",
        ),
        (ipo(c, r, rc, rr, m, n, target).mean(), "in your loss the two lengths are swapped"),
        (
            ipo(c, r, rc, rr, n + m, n + m, target).mean(),
            "divide each by its own length, not by both",
        ),
        (ipo(c, r, rc, rr, n, n, target).mean(), "rejected responses have their own lengths"),
        (ipo(c, r, rc, rr, m, m, target).mean(), "chosen responses have their own lengths"),
        (ipo(*six, 1 / beta).mean(), "the target is 1 / (2 beta), not 1 / beta"),
        (ipo(*six, beta).mean(), "the target is 1 / (2 beta), not beta"),
        (ipo(*six, 2 / beta).mean(), "the target is 1 / (2 beta), not 2 / beta"),
        (ipo(*six, beta / 2).mean(), "the target is 1 / (2 beta), not beta / 2"),
        (
            ipo(*six, -target).mean(),
            "in your loss the target is added, or the margin is rejected less chosen: one sign is "
            "wrong",
        ),
        (
            ipo(*six, 0.0).mean(),
            "in your loss there is no target: take 1 / (2 beta) off the margin",
        ),
        (ipo(*six, 5.0).mean(), "in your loss beta is always 0.1: use the argument"),
        (each.mean() / 2, "that is half of the square: take all of it"),
        (
            (np.minimum((c - rc) / n - (r - rr) / m - target, 0.0) ** 2).mean(),
            "in your loss a margin beyond the target costs nothing: it is pulled back",
        ),
        (np.sqrt(each).mean(), "the difference is squared, not only made positive"),
        (each.sum(), "that is the sum over pairs: take the mean"),
        (
            ipo(c, r, 0, 0, n, m, target).mean(),
            "in your loss the reference is left out: take it off",
        ),
        (
            (((c - rc) / n - (r - rr) / m).mean() - target) ** 2,
            "in your loss the mean is taken inside: each pair has its own square",
        ),
        (
            (((beta * ((c - rc) / n - (r - rr) / m)) - target) ** 2).mean(),
            "beta comes in once, in the target",
        ),
    ]


def pairs_with_lengths(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    """Return six arrays of a batch."""
    return [*drawn(rng, n), rng.integers(1, 6, n), rng.integers(6, 20, n)]


@exercise_check("ipo_loss", points=1, title="one pair")
def _(student, rng):
    values = (-2.0, -5.5, -5.0, -4.0)
    one = [*(np.array([v], np.float32) for v in values), np.array([3]), np.array([4])]
    tried = "log-ratios 3 over 3 tokens and -1.5 over 4, beta 0.25: (1 + 0.375 - 2) squared"
    got = student.ipo_loss(*one, 0.25)
    recognise(got, 0.390625, [(w, f"{h} ({tried})") for w, h in ipo_slips(one, 0.25)])
    close(got, 0.390625, tried)
    close(student.ipo_loss(*one), (1.375 - 5) ** 2, "beta is 0.1 where none is given")


@exercise_check("ipo_loss", points=1, title="many pairs")
def _(student, rng):
    for n, beta in ((2, 0.35), (5, 0.15), (1, 1.0)):
        six = pairs_with_lengths(rng, n)
        got, want = student.ipo_loss(*six, beta), ipo(*six, 1 / (2 * beta)).mean()
        recognise(got, want, ipo_slips(six, beta))
        close(got, want, f"{n} pairs, beta {beta}: the mean over pairs")
    left_alone(
        student,
        chosen_logprobs=six[0],
        rejected_logprobs=six[1],
        ref_chosen_logprobs=six[2],
        ref_rejected_logprobs=six[3],
        chosen_lengths=six[4],
        rejected_lengths=six[5],
    )


@exercise_check("ipo_loss", points=1, title="the gradient stops at the target")
def _(student, rng):
    ref, four = np.array([-4, -4]), np.array([4, 4])
    chosen, rejected = np.array([4.0, 8.0], np.float32), np.array([-4.0, -4.0], np.float32)
    with in_case("margins of 2 and 3 per token where 2 is the target (beta 0.25)"):
        got = student.gradients("ipo_loss", chosen, rejected, ref, ref, four, four, 0.25)
    close(got[0], [0.0, 0.25], "chosen: 0 at the target, and positive beyond it: it pulls back")
    close(got[1], [0.0, -0.25], "rejected: 0 at the target, and negative beyond it")


@exercise_check("ipo_loss", points=1, title="what is refused", is_core=False)
def _(student, rng):
    six = pairs_with_lengths(rng, 3)
    with in_case("three pairs, which are not refused"):
        student.ipo_loss(*six)
    short = [*six[:4], np.array([1, 1, 1]), np.array([1, 2, 1])]
    with in_case("responses of one token, which are not refused"):
        close(student.ipo_loss(*short), ipo(*short, 5.0).mean(), "responses of one token")
    for beta in (0.0, -0.1, float("nan")):
        refused(lambda b=beta: student.ipo_loss(*six, b), f"a beta of {beta}")
    refused(lambda: student.ipo_loss(*(a[:0] for a in six)), "no pairs")
    tokens = [np.repeat(a[:, None], 2, axis=1) for a in six]
    refused(lambda: student.ipo_loss(*tokens), "log-probabilities of single tokens, (B, T)")
    for k in range(6):
        less = [a[:1] if i == k else a for i, a in enumerate(six)]
        refused(lambda bad=less: student.ipo_loss(*bad), "3 pairs in five tensors, 1 in the other")
        column = [a[:, None] if i == k else a for i, a in enumerate(six)]
        refused(lambda bad=column: student.ipo_loss(*bad), "five tensors (3,), the other (3, 1)")
    for k in (4, 5):
        none = [np.array([2, 0, 2]) if i == k else a for i, a in enumerate(six)]
        refused(lambda bad=none: student.ipo_loss(*bad), "a response of 0 tokens")


# kto_loss


def kto(x, ref, wanted, other, ref_other, beta, up=1.0, down=1.0, point=None) -> np.ndarray:
    """Return the loss of each response."""
    x, ref, other, ref_other = (np.asarray(a, np.float64) for a in (x, ref, other, ref_other))
    point = max(0.0, (other - ref_other).mean()) if point is None else point
    gain = beta * (x - ref - point)
    return np.where(wanted, up * (1 - sigmoid(gain)), down * (1 - sigmoid(-gain)))


def kto_slips(given: tuple, beta: float, up: float, down: float) -> list[tuple[float, str]]:
    """Return what mistakes would give."""
    x, ref, wanted, other, ref_other = given
    x, ref, other, ref_other = (np.asarray(a, np.float64) for a in (x, ref, other, ref_other))
    right = (x, ref, wanted, other, ref_other, beta, up, down)
    each, raw = kto(*right), (other - ref_other).mean()
    point = max(0.0, raw)
    gain = beta * (x - ref - point)
    kinds = [
        each[wanted].mean() if wanted.any() else 0,
        each[~wanted].mean() if (~wanted).any() else 0,
    ]
    clamped_each = np.maximum(other - ref_other, 0).mean()
    return [
        (kto(*right, point=raw).mean(), "a negative reference point becomes 0"),
        (
            kto(*right, point=0.0).mean(),
            "in your loss the reference point is left out, or is 0 where its mean is positive",
        ),
        (kto(*right, point=clamped_each).mean(), "the mean is cut at 0, not each of its terms"),
        (kto(*right, point=-point).mean(), "the reference point is taken off, not added"),
        (kto(*right, point=(other - ref_other).sum()).mean(), "the point is a mean, not a sum"),
        (
            kto(*right, point=max(0.0, (x - ref).mean())).mean(),
            "the reference point is made of the mismatched responses, not of these",
        ),
        (
            kto(*right, point=beta * point).mean(),
            "beta comes in once, behind the reference point",
        ),
        (
            kto(x, ref, ~wanted, *right[3:]).mean(),
            "in your loss wanted and unwanted are swapped",
        ),
        (kto(*right[:6], down, up).mean(), "in your loss the two weights are swapped"),
        (kto(*right[:6]).mean(), "in your loss the weights are left out"),
        (kto(*right[:5], 1.0, up, down).mean(), "in your loss beta is left out"),
        (
            kto(*right[:5], 0.1, up, down).mean(),
            "in your loss beta is always 0.1: use the argument",
        ),
        (kto(*right, point=abs(raw)).mean(), "a negative reference point becomes 0, not positive"),
        (
            kto(*right, point=point / beta).mean(),
            "in your loss beta leaves the reference point out: it multiplies the whole difference",
        ),
        (
            each.sum() / np.where(wanted, up, down).sum(),
            "your sum is divided by that of the weights: divide by the number of responses",
        ),
        (kto(x, 0 * ref, *right[2:]).mean(), "in your loss the reference is left out"),
        (sum(kinds) / 2, "the mean runs over all responses, not over the means of both kinds"),
        (sum(kinds), "the mean runs over all responses, not over each kind apart"),
        (each.sum(), "that is the sum over responses: take the mean"),
        (
            np.where(wanted, up * softplus(-gain), down * softplus(gain)).mean(),
            "1 less the sigmoid, with no logarithm",
        ),
        (
            np.where(wanted, up * sigmoid(gain), down * sigmoid(-gain)).mean(),
            "that is the satisfaction: the loss is 1 less that",
        ),
        (
            np.where(wanted, up * (1 - sigmoid(gain)), down * (1 - sigmoid(gain))).mean(),
            "your loss pushes unwanted responses up: one is to lie below the reference point",
        ),
    ]


@exercise_check("kto_loss", points=1, title="two responses")
def _(student, rng):
    two = (
        np.array([-1.0, -5.0], np.float32),
        np.array([-3.0, -4.5], np.float32),
        np.array([True, False]),
        np.array([-2.0], np.float32),
        np.array([-2.5], np.float32),
    )
    tried = "log-ratios 2 (wanted) and -0.5 (unwanted), reference point 0.5, beta 1"
    got, want = student.kto_loss(*two, 1.0), (2 - sigmoid(1.5) - sigmoid(1.0)) / 2
    recognise(got, want, [(w, f"{h} ({tried})") for w, h in kto_slips(two, 1.0, 1.0, 1.0)])
    close(got, want, tried)
    agree = (two[0], two[0], two[2], two[3], two[3])
    close(student.kto_loss(*agree), 0.5, "policy and reference agree: 0.5")
    got, want = student.kto_loss(*two), kto(*two, 0.1).mean()
    recognise(got, want, kto_slips(two, 0.1, 1.0, 1.0))
    close(got, want, "beta is 0.1 where none is given")


@exercise_check("kto_loss", points=2, title="many responses")
def _(student, rng):
    for n, n_wanted, m, beta, shift in (
        (5, 2, 3, 0.3, 3.0),
        (6, 1, 4, 0.2, -4.0),
        (3, 3, 2, 0.5, 1.0),
    ):
        x, ref = drawn(rng, n, 2)
        x = (x - (x - ref).mean() + 1.5).astype(np.float32)
        other, ref_other = drawn(rng, m, 2)
        other = (other - (other - ref_other).mean() + shift).astype(np.float32)
        wanted = rng.permutation(np.arange(n) < n_wanted)
        given = (x, ref, wanted, other, ref_other)
        got = student.kto_loss(*given, beta, 1.5, 0.75)
        want = kto(*given, beta, 1.5, 0.75).mean()
        recognise(got, want, kto_slips(given, beta, 1.5, 0.75))
        close(got, want, f"{n} responses, {n_wanted} wanted, weights 1.5 and 0.75, point {shift}")
    left_alone(
        student,
        logprobs=x,
        ref_logprobs=ref,
        is_desirable=wanted,
        mismatched_logprobs=other,
        ref_mismatched_logprobs=ref_other,
    )
    undesired = (x, ref, ~wanted, other, ref_other)
    close(student.kto_loss(*undesired), kto(*undesired, 0.1).mean(), "no wanted response at all")


def without_mismatched(student, given: tuple, beta: float) -> list | None:
    """Return the gradients of all but the mismatched responses, which are passed by name.

    None where a learner's arguments have other names than the docstring's.
    """
    named = {"mismatched_logprobs": given[3], "ref_mismatched_logprobs": given[4], "beta": beta}
    try:
        reply = student._backend.call("kto_loss", given[:3], named, with_gradients=True)
    except LearnerError as error:
        if "unexpected keyword" in str(error):
            return None
        raise
    found = [gradient for gradient in reply["gradients"] if isinstance(gradient, np.ndarray)]
    require(len(found) == 1, "the logprobs have a gradient")
    return found


@exercise_check("kto_loss", points=1, title="where the gradient goes, and where not")
def _(student, rng):
    x, level = drawn(rng, 4, 2)
    ref, base = whole(x + 1, level - 2)
    wanted = np.array([True, False, True, False])
    given = (x, ref, wanted, level, base)
    close(student.kto_loss(*given, 0.4), kto(*given, 0.4).mean(), "4 responses and 4 mismatched")
    try:
        found = student.gradients("kto_loss", *given, 0.4)
    except LearnerError as error:
        # What stops the gradient at the reference point leaves none for the mismatched ones.
        is_second = "no gradient reaches" in str(error) and "float tensor 2 of" in str(error)
        require(is_second, str(error))
        found = without_mismatched(student, given, 0.4)
    else:
        not_the_mistake(
            not np.abs(found[1]).max() > 1e-6,
            "in your loss a gradient flows through the reference point, so it falls by making "
            "mismatched responses likelier: the point is a number, stop the gradient there",
        )
    if found is None:
        return
    gain = 0.4 * (x.astype(np.float64) - ref - max(0.0, (level - base).mean()))
    slope = 0.4 * sigmoid(gain) * sigmoid(-gain) / 4
    want = np.where(wanted, -slope, slope)
    close(found[0], want, "-beta s (1 - s) / B for wanted ones, the reverse for others", atol=1e-4)


@exercise_check("kto_loss", points=1, title="what is refused", is_core=False)
def _(student, rng):
    x, ref = drawn(rng, 3, 2)
    other, ref_other = drawn(rng, 2, 2)
    wanted = np.array([True, False, True])
    with in_case("3 responses and 2 mismatched ones, which are not refused"):
        student.kto_loss(x, ref, wanted, other, ref_other)
    bad = (
        ((x, ref, wanted.astype(np.int64), other, ref_other), "whole numbers in is_desirable"),
        ((x, ref, wanted.astype(np.float32), other, ref_other), "numbers in is_desirable"),
        ((x, ref[:1], wanted, other, ref_other), "3 responses, 1 of the reference"),
        ((x[:1], ref, wanted, other, ref_other), "1 response, 3 of the reference"),
        ((x, ref, wanted[:1], other, ref_other), "3 responses, 1 mark"),
        ((x, ref, wanted, other, ref_other[:1]), "2 mismatched, 1 of the reference"),
        ((x, ref, wanted, other[:1], ref_other), "1 mismatched, 2 of the reference"),
        ((x, ref, wanted, other[:0], ref_other[:0]), "no mismatched responses"),
        ((x[:0], ref[:0], wanted[:0], other, ref_other), "no responses"),
        ((*(np.asarray(a[0]) for a in (x, ref, wanted)), other, ref_other), "scalars"),
        ((x, ref, wanted, np.asarray(other[0]), np.asarray(ref_other[0])), "one mismatched scalar"),
        ((x[None], ref[None], wanted[None], other, ref_other), "tensors (1, B)"),
        ((x, ref[:, None], wanted, other, ref_other), "responses (3,), the reference (3, 1)"),
        ((x, ref, wanted[:, None], other, ref_other), "responses (3,), marks (3, 1)"),
    )
    for given, why in bad:
        refused(lambda g=given: student.kto_loss(*g), why)
    for beta in (0.0, -0.1, float("nan")):
        refused(
            lambda b=beta: student.kto_loss(x, ref, wanted, other, ref_other, b), f"beta {beta}"
        )


# group_advantages


def advantages_of(rewards, size: int, by_std: bool = True, eps: float = 1e-4) -> np.ndarray:
    """Return the advantages, group by group."""
    found = []
    for start in range(0, len(rewards), size):
        group = np.asarray(rewards[start : start + size], np.float64)
        away = group - group.mean()
        if group.max() == group.min():
            away = 0 * away
        elif by_std:
            away = away / (np.sqrt((away**2).sum() / (size - 1)) + eps)
        found.append(away)
    return np.concatenate(found)


def advantage_slips(rewards: np.ndarray, size: int, by_std: bool) -> list[tuple]:
    """Return what mistakes would give."""
    x = np.asarray(rewards, np.float64)
    groups = x.reshape(-1, size)
    away = groups - groups.mean(1, keepdims=True)
    with np.errstate(all="ignore"):
        std = groups.std(1, ddof=1, keepdims=True) if size > 1 else 0 * away
        population = groups.std(1, keepdims=True)
        mixed = x.reshape(size, -1)
        mixed_away = mixed - mixed.mean(0, keepdims=True)
        mixed_std = mixed.std(0, ddof=1, keepdims=True) + 1e-4 if by_std else 1.0
        batch_std = x.std(ddof=1) + 1e-4 if by_std else 1.0
        by = std + 1e-4 if by_std else 1.0
        slips = [
            (
                away if by_std else away / (std + 1e-4),
                "in your result the choice divide_by_std is turned round",
            ),
            (away / (population + 1e-4), "the standard deviation divides by group_size - 1"),
            (away / (std**2 + 1e-4), "that is divided by the variance: divide by its root"),
            (away / std, "in your result eps is not added to the standard deviation: add it"),
            (away / np.sqrt(std**2 + 1e-4), "eps is added to the standard deviation, not inside"),
            ((groups - x.mean()) / by, "your mean is that of the whole batch: take each group's"),
            (
                away / batch_std,
                "your standard deviation is that of the whole batch: take each group's",
            ),
            (
                (x - x.mean()) / batch_std,
                "in your result groups play no part: each has its own mean",
            ),
            (mixed_away / mixed_std, "rows come group after group: row n is of group n // size"),
            (
                -away / by,
                "in your result the sign is turned round: better than the group is positive",
            ),
            (groups / by, "in your result the mean is not taken off: take off each group's"),
            (
                away * size / max(size - 1, 1) / by,
                "the mean is that of the whole group, not of the others alone",
            ),
            (
                (groups - np.median(groups, 1, keepdims=True)) / by,
                "you take a median off: take the mean",
            ),
        ]
    return [(np.ravel(w), h) for w, h in slips]


@exercise_check("group_advantages", points=1, title="two groups")
def _(student, rng):
    rewards = np.array([1.0, 0.0, 0.0, 0.0, 2.0, 6.0, 4.0, 8.0], np.float32)
    for by_std in (False, True):
        got, want = student.group_advantages(rewards, 4, by_std), advantages_of(rewards, 4, by_std)
        tried = f"rewards {rewards.tolist()}, groups of 4, divide_by_std={by_std}"
        slips = [(w, f"{h} ({tried})") for w, h in advantage_slips(rewards, 4, by_std)]
        recognise(got, want, slips)
        close(got, want, tried)
    close(student.group_advantages(rewards, 4), want, "divide_by_std is True where nothing is said")
    left_alone(student, rewards=rewards)


@exercise_check("group_advantages", points=2, title="any size")
def _(student, rng):
    for n_groups, size in ((3, 5), (1, 7), (6, 2), (4, 3)):
        rewards = rng.standard_normal((n_groups, 1)) * 3 + rng.standard_normal((n_groups, size))
        rewards = rewards.ravel().astype(np.float32)
        for by_std in (True, False):
            got = student.group_advantages(rewards, size, by_std)
            want = advantages_of(rewards, size, by_std)
            recognise(got, want, advantage_slips(rewards, size, by_std))
            close(got, want, f"{n_groups} groups of {size}, divide_by_std={by_std}")
    high = np.zeros(32, np.float32)
    high[[5, 20]] = 3.0
    for by_std in (True, False):
        got, want = student.group_advantages(high, 16, by_std), advantages_of(high, 16, by_std)
        close(got, want, f"two groups with a 3 among fifteen 0, divide_by_std={by_std}")
    got = student.group_advantages(rewards, size, True, 0.5)
    close(got, advantages_of(rewards, size, True, 0.5), "eps=0.5: added to the standard deviation")
    marks = rng.permutation(np.array([1, 0, 1, 0, 0, 1]))
    got = student.group_advantages(marks, 6)
    close(got, advantages_of(marks, 6), "rewards that are whole numbers")
    require(got.dtype.kind == "f", f"advantages are floating point, got {got.dtype}")


@exercise_check("group_advantages", points=1, title="groups without spread")
def _(student, rng):
    for value in (0.0, 1.0, 0.1, -2.3, 1e6 + 0.3):
        for size in (1, 3, 7):
            rewards = np.full(2 * size, value, np.float32)
            rewards[size:] = 0.7
            for by_std in (True, False):
                got = student.group_advantages(rewards, size, by_std)
                tried = f"two groups of {size} with equal rewards, {value} and 0.7"
                tried += f", divide_by_std={by_std}"
                close(got, np.zeros(2 * size), f"{tried}: exactly 0, not NaN", atol=0, rtol=0)
    rewards = np.array([1.0, 1.0, 1.0, 0.0], np.float32)
    got = student.group_advantages(rewards, 2)
    close(got, advantages_of(rewards, 2), "a group without spread beside one with spread")
    rewards = np.array([0.5, 0.501, 0.0, 1e-6], np.float32)
    for by_std in (True, False):
        got, want = student.group_advantages(rewards, 2, by_std), advantages_of(rewards, 2, by_std)
        tried = f"groups whose rewards are nearly equal, {rewards.tolist()}, divide_by_std={by_std}"
        close(got, want, tried, atol=1e-8, rtol=1e-3)


@exercise_check(
    "group_advantages", points=1, title="no gradient, and what is refused", is_core=False
)
def _(student, rng):
    rewards = rng.standard_normal(6).astype(np.float32)
    with in_case("6 rewards in groups of 3, which are not refused"):
        student.group_advantages(rewards, 3)
    try:
        student.gradients("group_advantages", rewards, 3)
    except LearnerError as error:
        require("cuts the gradient" in str(error), str(error))
    else:
        not_the_mistake(
            False,
            "in your result a gradient flows to the rewards: advantages are numbers, detach them",
        )
    for size, why in ((4, "6 rewards in groups of 4"), (0, "groups of 0"), (-3, "groups of -3")):
        refused(lambda s=size: student.group_advantages(rewards, s), why)
    refused(lambda: student.group_advantages(rewards[:0], 3), "no rewards")
    refused(lambda: student.group_advantages(rewards.reshape(6, 1), 3), "rewards (6, 1)")
    refused(lambda: student.group_advantages(rewards.reshape(3, 2), 3), "rewards (3, 2)")
    for bad in (float("nan"), float("inf"), -float("inf")):
        spoilt = rewards.copy()
        spoilt[4] = bad
        refused(lambda r=spoilt: student.group_advantages(r, 3), f"a reward of {bad}")


# grpo_loss


def grpo(x, old, adv, mask, lengths=None, ref=None, kl=0.0, eps=0.2, token=None) -> float:
    """Return the loss, token by token; `token(ratio, advantage)` replaces the clipped loss."""
    rows = []
    for n in range(len(x)):
        total = 0.0
        for t in np.flatnonzero(mask[n]):
            ratio, a = np.exp(float(x[n, t]) - float(old[n, t])), float(adv[n])
            clipped = min(max(ratio, 1 - eps), 1 + eps)
            total += -min(ratio * a, clipped * a) if token is None else token(ratio, a, clipped)
            if ref is not None:
                d = float(ref[n, t]) - float(x[n, t])
                total += kl * (np.exp(d) - d - 1)
        own = mask[n].sum() if lengths is None else np.broadcast_to(lengths, len(x))[n]
        rows.append(total / own)
    return float(np.mean(rows))


def grpo_slips(x, old, adv, mask, lengths, eps) -> list[tuple[float, str]]:
    """Return what mistakes would give, without the reference's term."""
    given = (x, old, adv, mask, lengths)
    own, T = mask.sum(1), mask.shape[1]
    everywhere = np.ones_like(mask)
    zero = np.where(mask, x, 0), np.where(mask, old, 0)
    token = {
        "in your result the sign is turned round: it is a loss": lambda r, a, c: min(r * a, c * a),
        "in your loss the larger of the two is taken: take the smaller": lambda r, a, c: (
            -max(r * a, c * a)
        ),
        "in your loss the ratio is not clipped: take the smaller of both": lambda r, a, c: -r * a,
        "in your loss only the clipped ratio is used: take the smaller of both": lambda r, a, c: (
            -c * a
        ),
        "in your loss the ratio is upside down: take new over old": lambda r, a, c: (
            -min(a / r, min(max(1 / r, 1 - eps), 1 + eps) * a)
        ),
        "you multiply the advantage by a logarithm: multiply by the ratio": lambda r, a, c: (
            -min(np.log(r) * a, min(max(np.log(r), 1 - eps), 1 + eps) * a)
        ),
        "you take the min of the ratios: take it of the products": lambda r, a, c: -min(r, c) * a,
        "in your loss the advantage is left out": lambda r, a, c: -min(r, c),
    }
    slips = [(grpo(*given, eps=eps, token=f), words) for words, f in token.items()]
    by_row = np.ones(len(x))
    batch = own.mean()
    slips += [
        (
            grpo(*given[:4], T, eps=eps),
            "your rows are divided by T, padding and prompt included",
        ),
        (
            grpo(*given[:4], batch, eps=eps),
            "you divide all rows by their mean length: each by its own",
        ),
        (grpo(*given[:4], own[0], eps=eps), "you divide all rows by the first one's length"),
        (grpo(*given, eps=0.2), "in your loss clip_eps is always 0.2: use the argument"),
        (grpo(*given[:4], own, eps=eps), "in your loss `lengths` is not used"),
        (
            grpo(*given[:4], by_row, eps=eps),
            "in your loss the rows' sums are not divided by a length",
        ),
        (grpo(*given, eps=eps) * len(x), "that is the sum over rows: take the mean"),
        (
            grpo(*zero, adv, everywhere, own if lengths is None else lengths, eps=eps),
            "in your loss tokens outside of the mask count as well, with a ratio of 1",
        ),
    ]
    return slips


def reference_slips(x, old, adv, mask, ref, kl_coef: float) -> list[tuple[float, str]]:
    """Return what mistakes in the reference's term would give."""
    plain, (x, old, ref) = grpo(x, old, adv, mask), (a.astype(np.float64) for a in (x, old, ref))
    d, far = ref - x, ref - old
    term = np.exp(d) - d - 1
    terms = {
        "d has the wrong sign: ref_logprobs less logprobs": np.exp(-d) + d - 1,
        "that is -d alone, which may be negative: exp(d) - d - 1": -d,
        "that is half of the square of d: exp(d) - d - 1": d**2 / 2,
        "in your loss the reference's term is taken off: it is a cost": -term,
        "in your term the 1 is left out: it is 0 where both agree": np.exp(d) - d,
        "in your loss the reference's term is not multiplied by kl_coef": term / kl_coef,
        "your d holds old_logprobs: take ref_logprobs less logprobs": np.exp(far) - far - 1,
        "you multiply the reference's term by the ratio: it stands alone": term * np.exp(x - old),
        "in your loss the reference plays no part": 0 * d,
    }
    each = {w: (np.where(mask, v, 0).sum(1) / mask.sum(1)).mean() for w, v in terms.items()}
    return [(plain + kl_coef * value, words) for words, value in each.items()]


def case_of(rng: np.random.Generator, B: int, T: int, spread: float = 0.4) -> list[np.ndarray]:
    """Return logprobs, old_logprobs, advantages and a mask with rows of unlike lengths."""
    old = -3 * rng.random((B, T)) - 0.1
    x = old + spread * rng.standard_normal((B, T))
    mask = np.zeros((B, T), bool)
    for n in range(B):
        start = int(rng.integers(0, T - 1))
        mask[n, start : int(rng.integers(start + 1, T + 1))] = True
    adv = rng.standard_normal(B) + np.where(np.arange(B) % 2, 1, -1)
    return [x.astype(np.float32), old.astype(np.float32), adv.astype(np.float32), mask]


@exercise_check("grpo_loss", points=2, title="by hand")
def _(student, rng):
    ratios = np.array([[1.0, 2.0, 0.5, 1.1, 1.3], [1.0, 2.0, 0.5, 1.1, 1.3]])
    old = np.full((2, 5), -2.0, np.float32)
    x = (old + np.log(ratios)).astype(np.float32)
    mask = np.array([[True, True, True, True, False], [False, True, True, False, False]])
    for adv, want in (
        ((1.0, 0.0), -(1 + 1.2 + 0.5 + 1.1) / 4 / 2),
        ((-1.0, 0.0), (1 + 2 + 0.8 + 1.1) / 4 / 2),
        ((0.0, 1.0), -(1.2 + 0.5) / 2 / 2),
        ((0.0, -3.0), 3 * (2 + 0.8) / 2 / 2),
    ):
        adv = np.array(adv, np.float32)
        tried = "ratios 1, 2, 0.5, 1.1, 1.3 in both rows, the first keeps four, the second its "
        tried += f"second and third; advantages {adv.tolist()}"
        got = student.grpo_loss(x, old, adv, mask)
        slips = grpo_slips(x, old, adv, mask, None, 0.2)
        recognise(got, want, [(w, f"{h} ({tried})") for w, h in slips])
        close(got, want, tried)
    left_alone(student, logprobs=x, old_logprobs=old, advantages=adv, response_mask=mask)


@exercise_check("grpo_loss", points=1, title="what each row is divided by")
def _(student, rng):
    for B, T in ((3, 6), (1, 4), (5, 9), (4, 4)):
        given = case_of(rng, B, T)
        choices = {
            "None": None,
            "7.0": 7.0,
            "3": 3,
            "(B,)": (1 + 5 * rng.random(B)).astype(np.float32),
            "whole (B,)": rng.integers(1, 9, B),
        }
        for name, lengths in choices.items():
            got = student.grpo_loss(*given, lengths, None, 0.0, 0.3)
            want = grpo(*given, lengths, eps=0.3)
            recognise(got, want, grpo_slips(*given, lengths, 0.3))
            close(got, want, f"{B} rows of {T} places, lengths {name}, clip_eps 0.3")


@exercise_check("grpo_loss", points=1, title="outside of the mask")
def _(student, rng):
    for spoil in (float("nan"), float("inf"), 500.0):
        x, old, adv, mask = case_of(rng, 4, 7)
        ref = (x + 0.5).astype(np.float32)
        want = grpo(x, old, adv, mask, None, ref, 0.1)
        got = student.grpo_loss(x, old, adv, mask, None, ref, 0.1)
        recognise(got, want, reference_slips(x, old, adv, mask, ref, 0.1))
        close(got, want, "the loss with ref_logprobs and kl_coef 0.1")
        for array in (x, old, ref):
            array[~mask] = spoil
        tried = f"what stands outside of the mask is {spoil}, and must not matter"
        close(student.grpo_loss(x, old, adv, mask, None, ref, 0.1), want, tried)
        constant = [np.where(mask, a, 0) for a in (old, adv[:, None] * 3, ref)]
        whole_old, whole_adv, whole_ref = whole(*constant)
        with in_case(f"the gradient for logprobs where {tried}"):
            (got,) = student.gradients(
                "grpo_loss", x, whole_old, whole_adv.max(1) + 2, mask, None, whole_ref, 0.1
            )
        close(got[~mask], np.zeros((~mask).sum()), f"no gradient where {tried}")


@exercise_check("grpo_loss", points=1, title="loss 0, and a gradient")
def _(student, rng):
    x = -np.round(1 + 4 * rng.random((4, 5))).astype(np.float32)
    old, mask = x.astype(np.int64), np.ones((4, 5), bool)
    adv = np.array([2, -2, 1, -1])
    close(student.grpo_loss(x, old, adv, mask), 0.0, "old and new agree, advantages add up to 0")
    with in_case("the gradient for logprobs where they equal old_logprobs"):
        (got,) = student.gradients("grpo_loss", x, old, adv, mask)
    want = np.repeat(-adv[:, None] / 5 / 4, 5, axis=1)
    close(got, want, "where ratios are 1 it is -A / length / B at each token, though the loss is 0")
    x = np.array([[-1.0, -1.0, -1.0]], np.float32)
    old, mask = np.array([[-1, -3, 1]]), np.ones((1, 3), bool)
    for adv, want in (([1], [-1, 0, -np.exp(-2)]), ([-1], [1, np.exp(2), 0])):
        with in_case(f"the gradient at ratios 1, 7.4 and 0.14, advantage {adv[0]}"):
            (got,) = student.gradients("grpo_loss", x, old, np.array(adv), mask)
        close(got[0], np.array(want) / 3, f"a clipped token pulls no further; advantage {adv[0]}")


@exercise_check("grpo_loss", points=1, title="the reference's pull")
def _(student, rng):
    x, old, adv, mask = case_of(rng, 3, 6)
    ref = (x + rng.standard_normal(x.shape)).astype(np.float32)
    for kl_coef in (0.5, 0.04):
        got = student.grpo_loss(x, old, adv, mask, None, ref, kl_coef)
        plain, want = grpo(x, old, adv, mask), grpo(x, old, adv, mask, None, ref, kl_coef)
        recognise(got, want, reference_slips(x, old, adv, mask, ref, kl_coef))
        close(got, want, f"with ref_logprobs and kl_coef {kl_coef}")
    close(
        student.grpo_loss(x, old, adv, mask, None, ref), plain, "kl_coef is 0 where none is given"
    )
    old, adv, near = np.round(x).astype(np.int64), np.array([0, 0, 0]), np.round(x).astype(np.int64)
    with in_case("the gradient for logprobs with advantages of 0: the reference alone pulls"):
        (got,) = student.gradients("grpo_loss", x, old, adv, mask, None, near, 1.0)
    gap = near - x.astype(np.float64)
    want = np.where(mask, 1 - np.exp(gap), 0) / mask.sum(1, keepdims=True) / 3
    close(got, want, "the term's slope is 1 - exp(d): towards the reference", atol=1e-4)


@exercise_check("grpo_loss", points=1, title="what is refused", is_core=False)
def _(student, rng):
    x, old, adv, mask = case_of(rng, 3, 5)
    with in_case("3 rows of 5 places, which are not refused"):
        student.grpo_loss(x, old, adv, mask)
        student.grpo_loss(x, old, adv, mask, None, None, 0.0, 0.0)
    empty = mask.copy()
    empty[1] = False
    bad = (
        ((x, old, adv, empty), "a row without a response token"),
        ((x, old, adv, empty, 5.0), "a row without a response token, though lengths are given"),
        ((x, old, adv, mask.astype(np.int64)), "a mask of whole numbers"),
        ((x, old[:, :4], adv, mask), "old_logprobs (3, 4), the others (3, 5)"),
        ((x, old[:, :1], adv, mask), "old_logprobs (3, 1), the others (3, 5)"),
        ((x[:1], old, adv, mask), "logprobs (1, 5), the others (3, 5)"),
        ((x, old, adv[:1], mask), "one advantage for three rows"),
        ((x, old, np.repeat(adv[:, None], 5, 1), mask), "advantages (B, T)"),
        ((x, old, adv[:, None], mask), "advantages (B, 1)"),
        ((x[0], old[0], adv, mask[0]), "tensors (T,)"),
        ((x[:0], old[:0], adv[:0], mask[:0]), "no rows"),
        ((x, old, adv, mask, None, x[:, :1], 0.1), "ref_logprobs (3, 1)"),
        ((x, old, adv, mask, 0.0), "a length of 0"),
        ((x, old, adv, mask, np.array([2.0, -1.0, 2.0], np.float32)), "a negative length"),
        ((x, old, adv, mask, np.array([2, 0, 2])), "a length of 0 in one row"),
        ((x, old, adv, mask, np.array([2, 3])), "two lengths for three rows"),
        ((x, old, adv, mask, mask.sum(1, keepdims=True)), "lengths (B, 1)"),
        ((x, old, adv, mask, None, None, 0.0, -0.1), "a clip_eps of -0.1"),
    )
    for given, why in bad:
        refused(lambda g=given: student.grpo_loss(*g), why)


# verify_answer

PLAIN = (  # response, answer, right?, what it shows
    ("12", "12", 1.0, "the bare number"),
    ("13", "12", 0.0, "another number"),
    ("7+5=12.", "12", 1.0, "the last of three numbers, with a full stop behind it"),
    ("It is 12, no, 13.", "12", 0.0, "the right number is not the last one"),
    ("It is 13, no, 12.", "12", 1.0, "the last number counts"),
    ("The answer is 120.", "12", 0.0, "12 is a part of 120"),
    ("112", "12", 0.0, "12 is a part of 112"),
    ("12\n", "12", 1.0, "a line end"),
    ("Of 12, all.", "12", 1.0, "a comma behind the number"),
    ("5 of 12!", "12", 1.0, "a mark behind the number"),
    ("", "3", 0.0, "an empty response"),
    ("I do not know.", "3", 0.0, "no number"),
    ("three", "3", 0.0, "a word is no number"),
    ("It weighs 12kg.", "12", 1.0, "a letter behind the number"),
    ("x12", "12", 1.0, "a letter before the number"),
    ("1e3", "3", 1.0, "a letter parts two numbers"),
    ("12 = x", "12", 1.0, "the last number stands before the sign of equality"),
    ("12\nThat is all.", "12", 1.0, "the last number does not stand in the last line"),
)
SIGNS = (
    ("x=-5", "-5", 1.0, "a sign belongs to the number"),
    ("-5", "5", 0.0, "minus five is not five"),
    ("5", "-5", 0.0, "five is not minus five"),
    ("7-5", "5", 1.0, "a minus behind a digit is no sign"),
    ("7-5", "-5", 0.0, "a minus behind a digit is no sign"),
    ("7 -5", "-5", 1.0, "a minus behind a blank is a sign"),
    ("x_-5", "-5", 1.0, "a minus behind an underscore, which is no letter, is a sign"),
    ("vitamin B-12", "12", 1.0, "a minus behind a letter is no sign"),
    ("vitamin b-12", "-12", 0.0, "a minus behind a letter is no sign"),
    ("Z-9 a-9", "9", 1.0, "a minus behind a letter is no sign"),
    ("z+0", "0", 1.0, "a plus behind a letter"),
    ("0-9", "9", 1.0, "a minus behind a digit is no sign"),
    ("9-8", "8", 1.0, "a minus behind a digit is no sign"),
    ("A-1", "1", 1.0, "a minus behind a letter is no sign"),
    ("(-5)", "-5", 1.0, "a minus behind a bracket is a sign"),
    ("- 5", "5", 1.0, "a minus that does not stand straight before it"),
    ("= +5", "5", 1.0, "a plus sign"),
    ("5", "+5", 1.0, "a plus sign in the answer"),
)
FORMS = (
    ("12.0", "12", 1.0, "12.0 is 12"),
    ("012", "12", 1.0, "012 is 12"),
    ("0.10", "0.1", 1.0, "0.10 is 0.1"),
    ("1,234.50", "1234.5", 1.0, "commas before every three digits"),
    ("1234.5", "1,234.50", 1.0, "commas in the answer"),
    ("1,234,567", "1234567", 1.0, "commas before every three digits"),
    ("123,456", "123456", 1.0, "commas before every three digits"),
    ("12,345", "12345", 1.0, "commas before every three digits"),
    ("3,14", "14", 1.0, "a comma with two digits behind it parts two numbers"),
    ("3,1415", "1415", 1.0, "a comma with four digits behind it parts two numbers"),
    ("1234,567", "567", 1.0, "four digits before a comma: two numbers"),
    ("2,000.", "2000", 1.0, "a full stop behind commas"),
    ("-1,000.5", "-1000.5", 1.0, "sign, comma and decimals"),
    ("12.5", "12", 0.0, "decimals count"),
    ("12.5", "5", 0.0, "decimals are no number of their own"),
    ("0.3", " 0.3 ", 1.0, "blanks around the answer"),
    ("12.0000000000000000001", "12", 0.0, "compared exactly"),
    ("100000000000000000001", "100000000000000000000", 0.0, "compared exactly"),
    (f"0.{'3' * 40}", f"0.{'3' * 39}", 0.0, "compared exactly, all forty digits"),
    ("\u0661\u0662", "12", 0.0, "digits other than 0 to 9 are none"),
    ("12 \u0663", "12", 1.0, "digits other than 0 to 9 are none"),
)


def try_answers(student, cases: tuple) -> None:
    """Reject the first response that is judged otherwise."""
    for response, answer, want, why in cases:
        tried = f"verify_answer({response!r}, {answer!r}), {why}"
        with in_case(tried):
            got = student.verify_answer(response, answer)
        require(isinstance(got, float), f"{tried}: return a float, got {brief(got)}")
        require(got == want, f"{tried}: expected {want}, got {got}")


@exercise_check("verify_answer", points=1, title="the last number")
def _(student, rng):
    try_answers(student, PLAIN)
    a, b = (int(v) for v in rng.integers(10, 99, 2))
    try_answers(
        student,
        (
            (f"{a}+{b}={a + b}.", str(a + b), 1.0, "a sum"),
            (f"{a}+{b}={a + b + 1}.", str(a + b), 0.0, "a wrong sum"),
            (" ".join(str(n) for n in range(250)), str(a + b), 0.0, "all candidates in a row"),
        ),
    )


@exercise_check("verify_answer", points=1, title="signs")
def _(student, rng):
    try_answers(student, SIGNS)


@exercise_check("verify_answer", points=1, title="forms of one number")
def _(student, rng):
    try_answers(student, FORMS)


@exercise_check("verify_answer", points=1, title="what is refused", is_core=False)
def _(student, rng):
    for answer in ("12", " 12\n", "-3.5", "1,234"):
        with in_case(f"the answer {answer!r}, which is one number"):
            student.verify_answer("1", answer)
    words = ("", "  ", "twelve", "12 apples", "3 4", "12.", "1,23", "--3", "x3", "3,", "nan")
    for answer in (*words, "1e3", "1_000", "1/2", "0x10", "\u0661\u0662"):
        refused(lambda a=answer: student.verify_answer("12", a), f"the answer {answer!r}")
    refused(lambda: student.verify_answer("", "no"), "the answer 'no' to an empty response")
