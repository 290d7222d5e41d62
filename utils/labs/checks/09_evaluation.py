"""Checks of lab 09: scores, intervals, tests, agreement, judges.

Oracles: subsequences by brute force, NumPy loops, exact distributions (binomial, all sign
patterns in whole numbers), tables by hand, the normal quantiles of Python's `statistics`.
"""

from __future__ import annotations

import math
import re
from functools import cache
from itertools import combinations
from statistics import NormalDist

import numpy as np

from utils.labs.checking import (
    Check,
    asked,
    brief,
    close,
    collector,
    compare_cases,
    in_case,
    left_alone,
    recognise,
    refused,
    require,
    same,
)
from utils.labs.values import Judge, Largest, Seed

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

EXAMPLES_NOT_TRIED = {  # the checks try the like with plain values
    "bootstrap_interval": "its example passes a generator",
    "judge_position_bias": "its example passes a function as the judge",
}
SURE = 5.61  # standard deviations that chance exceeds once in 1e8

HINTS = {
    "rouge_l": (
        "A subsequence keeps the order and may leave words out. You need only the length of the "
        "longest one that both texts have; precision and recall are that length over the number "
        "of words of each text.",
        "By hand: 'a b c' and 'b a c'. Which words can you keep in both, in the same order? Now a "
        "table: L[i][j] is the answer for the first i words of one text and the first j of the "
        "other. If the last words are equal, which smaller entry grows by one? If not, which two "
        "smaller entries are candidates?",
        "Words: WORD.findall(text.lower()). L = a table of zeros, (n + 1) by (m + 1); for each i "
        "and j from 1: L[i][j] = L[i-1][j-1] + 1 where word i equals word j, else "
        "max(L[i-1][j], L[i][j-1]). common = L[n][m]; if it is 0, return Rouge(0.0, 0.0, 0.0). "
        "precision = common / n of the prediction, recall = common / m of the reference, f1 = "
        "2 * precision * recall / (precision + recall).",
    ),
    "expected_calibration_error": (
        "Put each answer into a bin by its confidence. In each bin compare two means: how sure, "
        "and how often right. Average the distances, each bin counting as much as it has answers.",
        "By hand, two bins: confidences 0.5, 0.6, 1.0 with right, wrong, right. Which bin does 0.5 "
        "belong to if a bin holds its upper border? What are both means in each bin, and what is "
        "the average distance with weights 1/3 and 2/3?",
        "check_answers first. confidence and correct as float64; bin of each: "
        "ceil(confidence * n_bins) - 1, and at least 0. For each bin that is not empty: "
        "n * abs(mean of correct - mean of confidence); return their sum over N as a float.",
    ),
    "bootstrap_interval": (
        "Your examples stand in for all examples there could be. Draw as many from them as you "
        "have, with replacement, many times; how much the statistic differs from draw to draw is "
        "how much it may be off.",
        "By hand: values 0, 0, 1. Write down three draws of three with replacement, and their "
        "means. With 2,000 such means sorted and a level of 0.9, which share of them lies below "
        "the lower end? Which share below the upper end?",
        "check_values first. picked = torch.randint(N, (n_resamples, N), generator=generator); "
        "resamples = values.double()[picked], (R, N). found = statistic(resamples), or "
        "resamples.mean(dim=-1) where statistic is None. The ends are the (1 - level) / 2 and the "
        "(1 + level) / 2 quantile of found; return both as floats.",
    ),
    "paired_permutation_test": (
        "If the two systems were alike, swapping their scores on any example would change nothing "
        "but the sign of that difference. So ask: among all choices of signs, how many give a mean "
        "as far from zero as yours?",
        "By hand: differences 1, 1, -1. There are eight choices of signs; write the eight sums. "
        "How many are at least as far from zero as 1 + 1 - 1? And with 40 differences, which you "
        "can't list: of 99 drawn patterns none is as far; why is 1 / 100 a better p-value than 0?",
        "check_pairs first. differences = a.double() - b.double(), without those that are 0; none "
        "left: return 1.0. least = abs(sum of differences) * (1 - 1e-12), so that a tie counts. Up "
        "to 12: all 2**n rows of signs (itertools.product), the share whose abs(sum) >= least. "
        "More: signs = 1 - 2 * torch.randint(2, (n_permutations, n), generator=generator); count "
        "those with abs(sum) >= least; return (count + 1) / (n_permutations + 1).",
    ),
    "cohen_kappa": (
        "Two labellers who toss coins agree half of the time. Kappa asks how much of the room "
        "above that chance agreement they fill.",
        "By hand: the first says good 3 of 4 times, the second good 2 of 4 times. If neither had "
        "looked at the items, how often would both say good? And both bad? What do these two add "
        "up to?",
        "Refuse unequal lengths and no items. seen = the share of places where both labels are "
        "equal. expected = sum over all labels of (share of that label in first) * (share in "
        "second). If expected is 1, raise ValueError. Return (seen - expected) / (1 - expected).",
    ),
    "judge_position_bias": (
        "Show each pair twice, the second time swapped. A judge that looks at the answers changes "
        "its word when the places change; one that looks at the place does not.",
        "By hand: the judge says 'first' for (a, b). Which word must it say for (b, a) if it means "
        "the same answer? What does 'first' mean there? And 'tie' then 'first'?",
        "Refuse no pairs. For each pair: forth = checked(choose(one, other)), back = "
        "checked(choose(other, one)). first-second, second-first and tie-tie are consistent; "
        "otherwise one tie is mixed; otherwise both words are equal and name the place. Divide "
        "the four counts by the number of pairs: PositionBias(consistent, first, second, mixed).",
    ),
    "ab_sample_size": (
        "The docstring has the formula. z(share) is the number below which that share of a "
        "standard normal distribution lies: normal_quantile gives it.",
        "By hand for 0.5 and 0.6: what is m? Which share goes into the first z for alpha = 0.05 "
        "two-sided, 0.95 or 0.975? What does the sum get squared with, before or after dividing "
        "by the difference of the shares?",
        "check_plan first. m = (p_a + p_b) / 2; top = normal_quantile(1 - alpha / 2) * "
        "sqrt(2 * m * (1 - m)) + normal_quantile(power) * sqrt(p_a * (1 - p_a) + p_b * (1 - p_b)); "
        "return math.ceil((top / (p_a - p_b)) ** 2).",
    ),
    "sequential_test": (
        "Work out L_n for every n at once from running sums, in logarithms so that nothing "
        "overflows. The p-value is the smallest 1 / L so far, and never above 1.",
        "By hand: differences 1, 0, 1. What are the means after each? With v = 1 and tau = 1, what "
        "is L_1? If 1 / L goes 1.4, 0.9, 1.1, which three p-values do you return? And which "
        "variance does a single observation have?",
        "check_stream first. y = differences.double(); n = 1..N; mean = y.cumsum(0) / n. v: the "
        "given variance, or (cumsum of y^2 - n * mean^2) / (n - 1). s = v + n * tau^2. log L = "
        "0.5 * log(v / s) + n^2 * tau^2 * mean^2 / (2 * v * s). p = exp(-log L), at most 1, and 1 "
        "where n is 1 without a given variance or v is 0 up to rounding (at most 1e-12). Return "
        "p.cummin(0).values.",
    ),
}


def number(got: object, what: str) -> float:
    """Return a result as a float, or reject what is none."""
    require(
        type(got) is float,
        asked(f"return {what} as a float (.item() of a tensor), got {type(got).__name__}", got),
    )
    return got


# rouge_l


def longest_by_hand(a: list[str], b: list[str]) -> int:
    """Return the length of the longest common subsequence: try the subsequences, longest first."""
    for length in range(min(len(a), len(b)), 0, -1):
        theirs = {*combinations(b, length)}
        if any(part in theirs for part in combinations(a, length)):
            return length
    return 0


def longest_by_thought(a: list[str], b: list[str]) -> int:
    """Return the same for longer texts, by cases on the first words."""

    @cache
    def longest(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        if a[i] == b[j]:
            return 1 + longest(i + 1, j + 1)
        return max(longest(i + 1, j), longest(i, j + 1))

    return longest(0, 0)


def shares(common: int, n: int, m: int) -> list[float]:
    """Return precision, recall and F1 of `common` words of n and m."""
    precision, recall = common / n, common / m
    return [precision, recall, 2 * precision * recall / (precision + recall) if common else 0.0]


def three(got: object) -> np.ndarray:
    """Return a result as three floats, or reject what is none."""
    require(
        isinstance(got, tuple) and len(got) == 3 and all(type(x) is float for x in got),
        asked(f"return Rouge(precision, recall, f1), three floats; got {brief(got)}", got),
    )
    return np.array(got)


def compare_rouge(results: list[tuple[object, int, list[str], list[str]]]) -> None:
    """Reject a wrong score, naming the mistake that all scores equal.

    Args:
        results: what came, the number of common words, and both texts' words, for each call.
    """
    cases = []
    for got, common, a, b in results:
        n, m = len(a), len(b)
        precision, recall, f1 = want = shares(common, n, m)
        slips = [
            ([recall, precision, f1], "precision and recall are exchanged"),
            (
                [precision, recall, (precision + recall) / 2],
                "yours is the plain mean of precision and recall: f1 is 2 p r / (p + r)",
            ),
            *slips_of(a, b),
        ]
        hint = f"the longest common subsequence has {common} words, of {n} and {m}"
        cases.append((three(got), want, slips, asked(hint, got)))
    compare_cases(cases, atol=1e-9)


def run_of(a: list[str], b: list[str]) -> int:
    """Return the length of the longest common run without gaps."""
    return max(
        (k for i in range(len(a)) for j in range(len(b)) for k in range(1, 1 + min(len(a), len(b)))
         if i + k <= len(a) and j + k <= len(b) and a[i : i + k] == b[j : j + k]),
        default=0,
    )  # fmt: skip


def bag(a: list[str], b: list[str]) -> int:
    """Return how many words two texts share in any order."""
    return sum(min(a.count(word), b.count(word)) for word in {*a})


def slips_of(a: list[str], b: list[str]) -> list:
    """Return what known mistakes about the common words give."""
    n, m = len(a), len(b)
    run, words, kinds = run_of(a, b), bag(a, b), len({*a} & {*b})
    places = sum(x == y for x, y in zip(a, b, strict=False))
    return [
        (shares(run, n, m), "words with gaps between them are a subsequence, too: not just a run"),
        (shares(words, n, m), "the order counts: these are the words shared in any order"),
        (shares(kinds, n, m), "the order counts: these are the kinds of words shared in any order"),
        (shares(places, n, m), "equal words may stand at other places in the two texts"),
    ]


@exercise_check("rouge_l", points=2, title="common words in their order")
def _(student, rng):
    fixed = [
        ("a b c d", "b a c e d f"),
        ("the dose of zolpar is 15 mg", "zolpar has the dose 15 mg"),
        ("a x b y c", "a b c"),
        ("b a", "a b"),
        ("a a a b", "a b a"),
        ("drugs and words", "drug and word"),
    ]
    texts = [(prediction.split(), reference.split()) for prediction, reference in fixed]
    for n, m in ((7, 5), (4, 8), (1, 1), (1, 6)):
        a = [str(w) for w in rng.choice(list("abcd"), n)]
        texts.append((a, [str(w) for w in rng.choice(list("abcd"), m)] + [a[-1]]))
    results = []
    for a, b in texts:
        with in_case(f"the texts {' '.join(a)!r} and {' '.join(b)!r}"):
            got = student.rouge_l(" ".join(a), " ".join(b))
        results.append((got, longest_by_hand(a, b), a, b))
    compare_rouge(results)


@exercise_check("rouge_l", points=1, title="what a word is")
def _(student, rng):
    want = shares(3, 3, 4)
    cases = [
        ("Dose 15 MG", "dose is 15 mg", "letters count alike, large or small"),
        ("dose, 15mg-a", "(dose) of 15mg a!", "all but a to z and digits separates words"),
        ("one\ntwo\tsix", "one - two ... six, ten", "line ends and tabs separate words"),
        ("x1 y_2", "x1 and y 2", "an underscore is no letter: it separates words"),
        ("caf\u00e9 a", "caf a b d", "an \u00e9 is none of a to z: it separates words"),
        ("stra\u00dfe", "stra e b d", "an \u00df, as lower() leaves it, separates words"),
    ]
    expected = [want, want, want, want, shares(2, 2, 4), shares(2, 2, 4)]
    for (prediction, reference, rule), wanted in zip(cases, expected, strict=True):
        got = student.rouge_l(prediction, reference)
        other = [[split(text) for text in (prediction, reference)] for split in OTHER_WORDS]
        slips = [(shares(longest_by_hand(a, b), len(a), len(b)), rule) for a, b in other]
        recognise(three(got), wanted, [(w, asked(h, got)) for w, h in slips], atol=1e-9)
        words = [re.findall("[a-z0-9]+", text.lower()) for text in (prediction, reference)]
        hint = f"precision, recall and f1 of the words {words[0]} and {words[1]}"
        close(three(got), wanted, asked(hint, got), atol=1e-9, rtol=0)


OTHER_WORDS = (  # what else is taken for the words of a text
    lambda text: text.lower().split(),
    lambda text: re.findall("[a-z0-9]+", text),
    lambda text: re.findall(r"\w+", text.lower()),
    lambda text: re.findall("[a-z0-9]+", text.casefold()),
    lambda text: re.findall("[a-z0-9-]+", text.lower()),
    lambda text: re.findall("[a-z0-9_]+", text.lower()),
)


@exercise_check("rouge_l", points=1, title="nothing in common", is_core=False)
def _(student, rng):
    for prediction, reference in (("", "a b"), ("a", ""), ("", ""), ("...", "a"), ("a b", "c d")):
        with in_case(f"the texts {prediction!r} and {reference!r}"):
            got = student.rouge_l(prediction, reference)
        hint = "no word, or none in common: three zeros"
        close(three(got), [0.0, 0.0, 0.0], asked(hint, got), atol=1e-12, rtol=0)
    got = student.rouge_l("a b", "b c d")
    close(three(got), shares(1, 2, 3), asked("one word in common", got), atol=1e-9, rtol=0)


@exercise_check("rouge_l", points=1, title="texts of hundreds of words")
def _(student, rng):
    a = [str(w) for w in rng.integers(0, 30, 170)]
    b = [str(w) for w in rng.integers(0, 30, 140)]
    with in_case("texts of 170 and 140 words: fill a table, don't try all subsequences"):
        got = student.rouge_l(" ".join(a), " ".join(b))
    want = longest_by_thought(a, b)
    hint = f"the longest common subsequence has {want} words, of {len(a)} and {len(b)}"
    close(three(got), shares(want, len(a), len(b)), asked(hint, got), atol=1e-9, rtol=0)


# expected_calibration_error


def bins_by_hand(confidence: np.ndarray, n_bins: int) -> list[int]:
    """Return the bin of each confidence: the first whose upper border is not below it."""
    return [next(k for k in range(n_bins) if c <= (k + 1) / n_bins) for c in confidence]


def error_by_hand(
    confidence: np.ndarray, correct: np.ndarray, n_bins: int, weight: str = "answers"
) -> float:
    """Return the error of calibration, bin by bin; `weight` for what a mistake would weigh by."""
    place, total, used = bins_by_hand(confidence, n_bins), 0.0, 0
    signed = 0.0
    for k in range(n_bins):
        here = [i for i, p in enumerate(place) if p == k]
        if not here:
            continue
        gap = np.mean([float(correct[i]) for i in here]) - np.mean([confidence[i] for i in here])
        total += abs(gap) * (len(here) if weight == "answers" else 1)
        signed += gap * len(here)
        used += 1
    if weight == "signed":
        return abs(signed) / len(confidence)
    return total / {"answers": len(confidence), "used bins": used, "all bins": n_bins}[weight]


ECE = "expected_calibration_error"


def compare_error(results: list[tuple[object, np.ndarray, np.ndarray, int]]) -> None:
    """Reject a wrong error of calibration, naming the mistake that all of them equal.

    Args:
        results: what came, confidences, correctness and the number of bins, for each call.
    """
    cases = []
    for got, confidence, correct, n_bins in results:
        correct = np.asarray(correct, dtype=float)
        want = error_by_hand(confidence, correct, n_bins)
        hint = f"{n_bins} bins: mean distance of confidence and accuracy, weighted by answers, of "
        hint += f"confidences {brief(confidence)}, correct {brief(correct)}"
        slips = error_slips(confidence, correct, n_bins)
        cases.append((number(got, "the error"), want, slips, hint))
    compare_cases(cases, atol=1e-6)


def error_slips(confidence: np.ndarray, correct: np.ndarray, n_bins: int) -> list:
    """Return what known mistakes give for the error of calibration."""
    gaps = confidence - correct
    want = error_by_hand(confidence, correct, n_bins)
    return [
        (error_by_hand(confidence, correct, n_bins, "used bins"), "in yours each bin counts alike; "
         "weigh it by its number of answers"),
        (error_by_hand(confidence, correct, n_bins, "all bins"), "in yours each bin counts alike; "
         "weigh it by its number of answers"),
        (error_by_hand(confidence, correct, n_bins, "signed"), "in yours gaps of different signs "
         "cancel, as in one bin for all answers: take the absolute value in each of n_bins bins"),
        (-float(gaps.mean()), "in yours gaps of different signs cancel: take the absolute value in "
         "each bin"),
        (float(gaps.mean()), "in yours gaps of different signs cancel: take the absolute value in "
         "each of n_bins bins"),
        (float(np.mean(np.abs(gaps))), "in yours the gap is taken answer by answer: take the means "
         "of a bin first"),
        (float(np.mean(gaps**2)), "that is the Brier score, the mean squared gap, without bins"),
        (want * len(confidence), "the sum over bins is not divided by the number of answers"),
    ]  # fmt: skip


@exercise_check(ECE, points=2, title="distance in bins")
def _(student, rng):
    call = student.expected_calibration_error
    confidence = np.array([0.95, 0.85, 0.85, 0.3, 0.35, 0.1])
    correct = np.array([True, True, False, False, True, False])
    results = [(call(confidence, correct), confidence, correct, 10)]
    for n, n_bins in ((200, 10), (40, 5), (60, 15), (7, 1), (1, 10)):
        confidence = rng.uniform(0.001, 0.999, n)
        correct = rng.uniform(size=n) < confidence**2
        with in_case(f"{n} confidences, {n_bins} bins"):
            got = call(confidence, correct, n_bins)
        results.append((got, confidence, correct, n_bins))
        left_alone(student, confidence=confidence, correct=correct)
    compare_error(results)
    single = confidence.astype(np.float32)
    with in_case("`confidence` in float32 and `correct` in whole numbers"):
        got = call(single, correct.astype(np.int64), 4)
    compare_error([(got, single.astype(np.float64), correct, 4)])


@exercise_check(ECE, points=1, title="borders, zero and one")
def _(student, rng):
    confidence = np.array([0.0, 0.25, 0.25, 0.5, 0.75, 1.0])
    cases = []
    for correct in ([1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 1, 1], [0, 1, 1, 1, 0, 1]):
        correct = np.array(correct)
        want = error_by_hand(confidence, correct.astype(float), 4)
        above = np.array([0, 1, 1, 2, 3, 3])  # a border in the bin above
        other = sum(
            abs((correct - confidence)[above == k].sum()) for k in range(4)
        ) / len(confidence)  # fmt: skip
        with in_case(f"confidences {confidence.tolist()} in four bins"):
            got = student.expected_calibration_error(confidence, correct, 4)
        slip = (other, "a border belongs to the bin below: bin k holds confidences above "
                "k / n_bins and up to (k + 1) / n_bins")  # fmt: skip
        hint = f"confidences {confidence.tolist()}, correct {correct.tolist()}, in four bins"
        cases.append((number(got, "the error"), want, [slip], hint))
    compare_cases(cases, 1e-6)
    got = student.expected_calibration_error(np.ones(3), np.ones(3, bool))
    close(number(got, "the error"), 0.0, "always sure and always right", 1e-9, 0)
    got = student.expected_calibration_error(np.zeros(3), np.ones(3, bool))
    close(number(got, "the error"), 1.0, "never sure and always right", 1e-9, 0)


@exercise_check(ECE, points=1, title="what is refused", is_core=False)
def _(student, rng):
    half = np.array([0.55, 0.65])
    got = student.expected_calibration_error(half, np.array([True, False]))
    compare_error([(got, half, np.array([True, False]), 10)])
    call = student.expected_calibration_error
    refused(lambda: call(np.ones(0), np.ones(0)), "no answers")
    refused(lambda: call(half, np.array([True])), "two confidences and one answer")
    refused(lambda: call(half[None], np.ones((1, 2))), "a table in place of a row")
    refused(lambda: call(np.array([0.5, 1.5]), np.ones(2)), "a confidence of 1.5")
    refused(lambda: call(np.array([-0.1, 0.5]), np.ones(2)), "a confidence of -0.1")
    refused(lambda: call(np.array([0.5, np.nan]), np.ones(2)), "a confidence of NaN")


# bootstrap_interval


def binomial_quantiles(n: int, share: float, tail: float) -> tuple[int, int]:
    """Return the counts of a binomial distribution at the tail and at 1 - tail."""
    cumulative, ends = 0.0, []
    for k in range(n + 1):
        cumulative += math.comb(n, k) * share**k * (1 - share) ** (n - k)
        if len(ends) == 0 and cumulative >= tail:
            ends.append(k)
        if cumulative >= 1 - tail:
            return ends[0], k
    return ends[0], n


def two_ends(got: object) -> list[float]:
    """Return a result as two floats, or reject what is none."""
    require(
        isinstance(got, tuple) and len(got) == 2 and all(type(x) is float for x in got),
        asked(f"return (low, high), two floats; got {brief(got)}", got),
    )
    return list(got)


def within(got: list[float], want: list[float], slack: float) -> bool:
    """Return whether both ends are as near as draws allow."""
    return all(abs(g - w) <= slack for g, w in zip(got, want, strict=True))


def share_interval(
    student, rng: np.random.Generator, n: int, n_right: int, level: float, n_resamples: int
) -> None:
    """Reject an interval of a share whose ends are not those of the binomial distribution."""
    values = rng.permutation(np.r_[np.ones(n_right), np.zeros(n - n_right)])
    seed = Seed(int(rng.integers(1 << 31)))
    got = student.bootstrap_interval(values, level=level, n_resamples=n_resamples, generator=seed)
    left_alone(student, values=values)
    ends = two_ends(got)
    share = n_right / n
    want = [k / n for k in binomial_quantiles(n, share, (1 - level) / 2)]
    # A count at the border may be drawn a little more or less often: one step either way, up to
    # the rounding of float32.
    slack = 1 / n + 1e-6
    if within(ends, want, slack):
        return
    one_sided = [k / n for k in binomial_quantiles(n, share, 1 - level)]
    mistakes = {
        "the ends are exchanged: first the lower one": want[::-1],
        "the tails are too large: (1 - level) / 2 below and as much above": one_sided,
        "that is the whole range of the values, not of their mean": [0.0, 1.0],
        "in yours all resamples are alike: draw with replacement, each anew": [share, share],
    }
    named = [
        words for words, wrong in mistakes.items()
        if within(ends, wrong, slack / 2) and not within(wrong, want, 1.5 * slack)
    ]  # fmt: skip
    hint = named[0] if named else "the middle part of the means of the resamples"
    case = f"{n_right} ones and {n - n_right} zeros, level {level}, {n_resamples} resamples"
    require(False, f"{hint} ({case}: expected about {brief(want)}, got {brief(ends)})")


@exercise_check("bootstrap_interval", points=2, title="the interval of a share")
def _(student, rng):
    for n, n_right, level in ((100, 70, 0.95), (60, 30, 0.9), (400, 200, 0.5), (100, 3, 0.95)):
        share_interval(student, rng, n, n_right, level, 4000)
    share_interval(student, rng, 100, 50, 0.95, 4000)
    for values in (np.r_[np.ones(2), np.zeros(28)], np.r_[np.zeros(28), np.ones(2)]):
        got = student.bootstrap_interval(values, generator=Seed(int(rng.integers(1 << 31))))
        require(
            within(two_ends(got), [0.0, 5 / 30], 1 / 30 + 1e-9),
            f"two ones among 30, at the first or last places: about [0, 0.167], got {brief(got)}",
        )
    got = student.bootstrap_interval(np.full(7, 2.5), generator=Seed(1))
    close(two_ends(got), [2.5, 2.5], "seven equal values", 1e-9, 0)
    values = 1000 + rng.permutation(np.r_[np.zeros(50), np.ones(50)]).astype(np.float32)
    got = two_ends(student.bootstrap_interval(values, generator=Seed(int(rng.integers(1 << 31)))))
    require(
        within(got, [1000.4, 1000.6], 0.021),
        asked(f"50 values of 1000 and 50 of 1001: about [1000.4, 1000.6], got {brief(got)}", got),
    )


@exercise_check("bootstrap_interval", points=1, title="draws from the generator")
def _(student, rng):
    values = rng.standard_normal(50)
    seeds = [int(s) for s in rng.choice(10_000, 3, replace=False)]
    call = student.bootstrap_interval
    first = two_ends(call(values, n_resamples=300, generator=Seed(seeds[0])))
    again = two_ends(call(values, n_resamples=300, generator=Seed(seeds[0])))
    same(again, first, "the same generator state gives the same interval: draw from `generator`")
    others = [two_ends(call(values, n_resamples=300, generator=Seed(s))) for s in seeds[1:]]
    require(
        any(other != first for other in others),
        "three generators in different states gave one and the same interval: draw every resample "
        f"from `generator`, with no seed of your own; got {brief(first)} each time",
    )
    two_ends(call(values, n_resamples=300))  # None: any draws
    few = [two_ends(call(values, n_resamples=20, generator=Seed(s))) for s in range(30)]
    many = [two_ends(call(values, n_resamples=2000, generator=Seed(s))) for s in range(8)]
    spread = [float(np.std([low for low, _ in group])) for group in (few, many)]
    require(
        spread[0] > 2 * spread[1],
        "n_resamples decides how steady the ends are: with 20 resamples the lower end should "
        f"vary more from draw to draw than with 2000 (standard deviations {spread[0]:.3f} and "
        f"{spread[1]:.3f})",
    )


@exercise_check("bootstrap_interval", points=1, title="any statistic")
def _(student, rng):
    n, level, n_resamples = 20, 0.9, 3000
    values = np.sort(rng.standard_normal(n).round(3))
    got = student.bootstrap_interval(
        rng.permutation(values), level=level, n_resamples=n_resamples, statistic=Largest(),
        generator=Seed(int(rng.integers(1 << 31))),
    )  # fmt: skip
    ends = two_ends(got)
    # The largest of a resample is at most values[k] with probability ((k + 1) / n) ** n.
    below = [((k + 1) / n) ** n for k in range(n)]
    slack = SURE * math.sqrt(0.05 * 0.95 / n_resamples)
    allowed = [
        k for k in range(n) if below[k] >= 0.05 - slack and (k == 0 or below[k - 1] < 0.05 + slack)
    ]  # noqa: E501
    low_ok = (
        min(values[k] for k in allowed) - 1e-6 <= ends[0] <= max(values[k] for k in allowed) + 1e-6
    )  # noqa: E501
    case = "the statistic is the largest value of each row of (R, N)"
    require(
        low_ok and abs(ends[1] - values[-1]) < 1e-6,
        f"{case}: the upper end is the largest value, {values[-1]}, and the lower one of "
        f"{[float(values[k]) for k in allowed]}; got {brief(ends)}",
    )


@exercise_check("bootstrap_interval", points=1, title="what is refused", is_core=False)
def _(student, rng):
    call = student.bootstrap_interval
    for values in (np.array([1.0, 2.0]), np.array([1, 2])):
        with in_case(f"two values, 1 and 2, in {values.dtype}"):
            got = two_ends(call(values, level=0.5, n_resamples=500, generator=Seed(3)))
        require(1 <= got[0] <= got[1] <= 2, asked("two values, 1 and 2: ends between them", got))
    refused(lambda: call(np.array([1.0])), "a single value")
    refused(lambda: call(np.ones(0)), "no values")
    refused(lambda: call(np.ones((3, 2))), "a table in place of a row")
    for bad in (np.nan, np.inf):
        refused(lambda bad=bad: call(np.array([1.0, bad, 2.0])), f"a value of {bad}")
    for level in (0.0, 1.0, 95):
        refused(lambda level=level: call(np.array([1.0, 2.0]), level=level), f"a level of {level}")


# paired_permutation_test


def whole_patterns(numbers: list[int]) -> np.ndarray:
    """Return the sums of all patterns of signs of whole numbers."""
    sums = np.zeros(1, dtype=np.int64)
    for x in numbers:
        sums = np.concatenate([sums + x, sums - x])
    return sums


def exact_p(numbers: list[int]) -> float:
    """Return the exact p-value of differences in whole numbers, all patterns counted."""
    numbers = [x for x in numbers if x]
    if not numbers:
        return 1.0
    return float((np.abs(whole_patterns(numbers)) >= abs(sum(numbers))).mean())


PAIRED = "paired_permutation_test"


def exact_case(student, numbers: list[int], scale: float, rng: np.random.Generator) -> tuple:
    """Return the p-value of differences numbers * scale, the right one, slips and a hint."""
    b = rng.integers(0, 5, len(numbers)) * scale
    a = np.array(numbers) * scale + b
    if scale != int(scale):  # exact differences, so that only the learner's sums round
        a, b = np.array(numbers) * scale, np.zeros(len(numbers))
    shown = f"{brief(numbers)}" + (f" times {scale:g}" if scale != 1 else "")
    with in_case(f"differences {shown}"):
        got = student.paired_permutation_test(a, b)
    left_alone(student, a=a, b=b)
    number(got, "the p-value")
    want = exact_p(numbers)
    used = [x for x in numbers if x]
    sums = whole_patterns(used)
    seen = sum(used)
    one_sided = float((sums * np.sign(seen) >= abs(seen)).mean())
    strict = float((np.abs(sums) > abs(seen)).mean())
    slips = [
        (one_sided, "two-sided: a mean as far below zero counts as well as one above"),
        (float((sums >= seen).mean()), "two-sided: a mean as far below zero counts as well as one "
         "above"),
        (strict, "a pattern that is as far as what was seen counts, too, the one that was seen "
         "among them"),
        ((want * len(sums) + 1) / (len(sums) + 1), "where all patterns are listed, the one that "
         "was seen is among them: add none"),
        (1 - want, "the share is that of patterns at least as far, not of those nearer"),
    ]  # fmt: skip
    hint = (
        f"differences {shown}: the share of all {len(sums)} patterns of signs that are at least as "
        "far from zero"
    )
    return got, want, slips, hint


@exercise_check(PAIRED, points=2, title="all patterns of a few differences")
def _(student, rng):
    few = [[1, 1, -1], [1, 1, 1, 1, 1], [3, 1, -1, 2], [-2, -1, -4], [1], [-1, 1]]
    few += [[200, 1], [20_000, 1]]  # 199 is near 201, and nearer to zero: no rounding
    for n in (6, 9, 12):
        few.append([int(x) for x in rng.integers(1, 5, n) * rng.choice([-1, 1, 1], n)])
    compare_cases([exact_case(student, numbers, 1.0, rng) for numbers in few], atol=1e-7)
    with in_case("scores in whole numbers, torch.int64"):
        got = student.paired_permutation_test(np.array([3, 2, 2]), np.array([1, 1, 1]))
    hint = "scores in whole numbers, with differences 2, 1, 1: 2 of 8 patterns are as far"
    close(number(got, "the p-value"), 0.25, hint, atol=1e-7, rtol=0)


@exercise_check(PAIRED, points=1, title="zeros, ties and rounding")
def _(student, rng):
    cases = [([0, 2, 0, 1, 0, -1, 3], 1.0), ([0, 0, 0], 1.0), ([*[1] * 12, *[0] * 30], 1.0)]
    for numbers in ([1, 2, -3, 6], [3, -1, 1, 2, -4, 6], [7, 1, -2, 3, -6, 4, 1]):
        cases.append((numbers, 0.1))
    cases.append(([3, 1, -1, 2], 2.0**-30))
    compare_cases([exact_case(student, *case, rng) for case in cases], atol=1e-7)
    with in_case("500 differences of 1, n_permutations=99"):
        got = student.paired_permutation_test(np.ones(500), np.zeros(500), 99, generator=Seed(5))
    hint = "500 differences of 1: no pattern drawn is as far; 99 drawn and the one that was seen"
    number(got, "the p-value")
    slips = [
        (0.0, "the one that was seen counts as one more: never 0"),
        (1 / 99, "divide by the number of drawn patterns and one"),
    ]
    recognise(got, 0.01, slips, 1e-9)
    close(got, 0.01, hint, atol=1e-9, rtol=0)
    got = student.paired_permutation_test(np.ones(40), np.zeros(40))
    hint = "40 differences of 1, with n_permutations as the docstring has it"
    close(number(got, "the p-value"), 1 / 10_001, hint, atol=1e-9, rtol=0)
    got = student.paired_permutation_test(np.ones(13), np.zeros(13), 99, generator=Seed(5))
    whole = number(got, "the p-value") * 100
    require(
        whole > 0.99 and abs(whole - round(whole)) < 1e-6,
        "13 differences other than zero: patterns are drawn, 99 of them, so that the p-value is a "
        f"whole number of hundredths, got {got}",
    )


@exercise_check(PAIRED, points=1, title="drawn patterns of many differences")
def _(student, rng):
    found = []
    for n, ups, n_permutations in ((14, 10, 4000), (16, 11, 3000), (30, 18, 3000)):
        signs = rng.permutation(np.r_[np.ones(ups), -np.ones(n - ups)])
        seen = abs(2 * ups - n)
        want = sum(math.comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= seen) / 2**n
        seed = Seed(int(rng.integers(1 << 31)))
        a, b = (1 + signs) / 2, (1 - signs) / 2
        with in_case(f"{ups} differences of 1 and {n - ups} of -1"):
            got = student.paired_permutation_test(a, b, n_permutations, generator=seed)
        number(got, "the p-value")
        slack = SURE * math.sqrt(want * (1 - want) / n_permutations) + 2 / n_permutations
        upper = sum(math.comb(n, k) for k in range(n + 1) if 2 * k - n >= seen) / 2**n
        hint = f"{ups} differences of 1 and {n - ups} of -1: {want:.3f} of all patterns are as far"
        found.append((got, want, slack, (upper, 1 - want), asked(f"{hint}, got {got:.3f}", got)))
    words = ["two-sided: a mean as far below zero counts as well. ", "count the patterns that are "
             "at least as far, not the nearer ones. "]  # fmt: skip
    for slip in range(2):  # named where all three are what the mistake would give
        if not all(abs(got - slips[slip]) < slack / 2 for got, _, slack, slips, _ in found):
            words[slip] = ""
    for got, want, slack, _, hint in found:
        require(abs(got - want) <= slack, "".join(words) + hint)
    balanced = np.r_[np.ones(10), -np.ones(10)]
    got = student.paired_permutation_test(balanced, np.zeros(20), 200, generator=Seed(2))
    close(number(got, "the p-value"), 1.0, "a mean of zero: every pattern is as far", 1e-9, 0)


@exercise_check(PAIRED, points=1, title="the generator, and what is refused", is_core=False)
def _(student, rng):
    a, b = rng.standard_normal(40), np.zeros(40)
    a += 0.16 * a.std() - a.mean()  # a standard error from zero: p about 0.3
    call = student.paired_permutation_test
    seeds = [int(s) for s in rng.choice(10_000, 6, replace=False)]
    found = [number(call(a, b, 200, generator=Seed(s)), "the p-value") for s in seeds]
    again = [call(a, b, 200, generator=Seed(s)) for s in seeds]
    same(again, found, "the same generator state gives the same p-value: draw from `generator`")
    require(
        len({*found}) > 1,
        "six generators in different states gave one and the same p-value: draw the signs from "
        f"`generator`, with no seed of your own; got {found[0]:.4g} each time",
    )
    require(
        all(abs(p * 201 - round(p * 201)) < 1e-6 and 1 <= round(p * 201) <= 201 for p in found),
        f"with 200 patterns drawn a p-value is a whole number of 201sts, got {found[0]}",
    )
    refused(lambda: call(np.ones(3), np.ones(2)), "scores of three and of two examples")
    refused(lambda: call(np.ones(0), np.ones(0)), "no examples")
    refused(lambda: call(np.ones((2, 2)), np.ones((2, 2))), "tables in place of rows")
    refused(lambda: call(np.array([1.0, np.nan]), np.ones(2)), "a score of NaN")
    refused(lambda: call(np.ones(2), np.array([1.0, np.inf])), "a score of infinity")


# cohen_kappa


def kappa_by_table(first: list, second: list) -> tuple[float, float, float]:
    """Return kappa, seen and expected agreement from the table of label against label."""
    labels = list(dict.fromkeys([*first, *second]))
    table = np.zeros((len(labels), len(labels)))
    for a, b in zip(first, second, strict=True):
        table[labels.index(a), labels.index(b)] += 1
    table /= table.sum()
    seen = float(np.trace(table))
    expected = float((table.sum(0) * table.sum(1)).sum())
    return (seen - expected) / (1 - expected), seen, expected


def compare_kappas(student, *pairs: tuple[list, list]) -> None:
    """Reject another kappa than the table's, naming the mistake that all of them equal."""
    compare_cases([kappa_case(student, first, second) for first, second in pairs], atol=1e-9)


def kappa_case(student, first: list, second: list) -> tuple:
    """Return the kappa of two labellers, the right one, slips and a hint."""
    with in_case(f"the labels {brief(first)} and {brief(second)}"):
        got = student.cohen_kappa(first, second)
    same(student.arguments_after[:2], [first, second], "the labels were changed: leave them alone")
    want, seen, expected = kappa_by_table(first, second)
    number(got, "kappa")
    k = len({*first, *second})
    pooled = sum((([*first, *second].count(x)) / (2 * len(first))) ** 2 for x in {*first, *second})
    slips = [
        (seen, "that is the agreement itself: take out what chance gives"),
        (expected, "that is the agreement that chance gives, not kappa"),
        (seen - expected, "divide by the room above chance, 1 - expected"),
        ((seen - 1 / k) / (1 - 1 / k) if k > 1 else 9, "chance is not 1 / number of labels: it "
         "follows from how often each labeller uses each label"),
        ((seen - pooled) / (1 - pooled) if pooled < 1 else 9, "that pools both labellers' shares "
         "(Scott's pi): multiply the share of the first with that of the second"),
        ((seen - expected) / (1 + expected), "the room above chance is 1 - expected"),
    ]  # fmt: skip
    hint = f"seen {seen:.4g}, expected {expected:.4g}: (seen - expected) / (1 - expected), of "
    return got, want, slips, hint + f"the labels {brief(first)} and {brief(second)}"


@exercise_check("cohen_kappa", points=2, title="beyond chance")
def _(student, rng):
    pairs = [(["good"] * 4 + ["bad"], ["good", "bad", "good", "good", "bad"])]
    pairs.append((["a", "b", "c", "a", "b", "a"], ["a", "b", "a", "a", "c", "b"]))
    for n, k in ((30, 2), (50, 3), (25, 4)):
        first = [str(x) for x in rng.choice(list("abcd")[:k], n, p=skewed(k))]
        second = [x if rng.uniform() < 0.7 else str(rng.choice(list("abcd")[:k])) for x in first]
        pairs.append(([*first, "a", "b"], [*second, "b", "b"]))
    compare_kappas(student, *pairs)


def skewed(k: int) -> np.ndarray:
    """Return shares of k labels, the first the most frequent."""
    weights = 2.0 ** -np.arange(k)
    return weights / weights.sum()


@exercise_check("cohen_kappa", points=1, title="labels of all kinds, all and nothing in common")
def _(student, rng):
    compare_kappas(
        student,
        ([1, 2, 2, 3], [1, 2, 3, 3]),
        ([1, "1", "2", 2], ["1", "1", "2", 2]),  # a number is no text
        ([True, False, True], [True, True, False]),
        (("x", None, ("a", 1)), ("x", "y", ("a", 1))),
        (["a", "b", "a"], ["a", "b", "a"]),
        (["a", "b"], ["b", "a"]),
        (["a", "a", "a"], ["a", "b", "a"]),
        (["a", "a"], ["b", "b"]),
    )


@exercise_check("cohen_kappa", points=1, title="what is refused", is_core=False)
def _(student, rng):
    compare_kappas(student, (["a", "b", "b"], ["a", "b", "a"]))
    call = student.cohen_kappa
    refused(lambda: call(["a", "b", "a"], ["a", "b", "b", "a"]), "three labels and four")
    refused(lambda: call(["a", "b", "a", "b"], ["a", "b", "b"]), "four labels and three")
    refused(lambda: call(["a"], ["a", "b"]), "one label and two")
    refused(lambda: call(["a", "b"], ["a"]), "two labels and one")
    refused(lambda: call([], []), "no items")
    refused(lambda: call([], ["a"]), "no label and one")
    refused(lambda: call(["a", "a", "a"], ["a", "a", "a"]), "both labelled every item 'a'")
    refused(lambda: call(["a"], ["a"]), "one item, labelled alike")


# judge_position_bias

TURNED = {"first": "second", "second": "first", "tie": "tie"}


def judge_of(rows: list[tuple[str, str, str, str]]) -> Judge:
    """Return a judge with its choice for each pair as it stands and swapped."""
    choices = {}
    for one, other, forth, back in rows:
        choices[one, other], choices[other, one] = forth, back
    return Judge(choices)


def compare_bias(student, *tables: list[tuple[str, str, str, str]]) -> None:
    """Reject other shares than those counted by hand, naming the mistake that all of them equal."""
    compare_cases([bias_case(student, rows) for rows in tables], atol=1e-9)


def bias_case(student, rows: list[tuple[str, str, str, str]]) -> tuple:
    """Return the shares of a judge, the right ones, slips and a hint."""
    pairs = [(one, other) for one, other, _, _ in rows]
    with in_case(f"the pairs {brief(pairs)}"):
        got = student.judge_position_bias(pairs, judge_of(rows))
    after, asked_pairs = student.arguments_after
    same(after, pairs, "`pairs` was changed: leave it as it is")
    kinds = [kind_of(forth, back) for *_, forth, back in rows]
    want = [kinds.count(name) / len(rows) for name in ("consistent", "first", "second", "mixed")]
    require(
        isinstance(got, tuple) and len(got) == 4 and all(type(x) is float for x in got),
        f"return PositionBias(consistent, first, second, mixed), four floats; got {brief(got)}",
    )
    literal = ["consistent" if f == b else "mixed" if "tie" in (f, b) else f for *_, f, b in rows]
    swapped = [{"first": "second", "second": "first"}.get(kind, kind) for kind in kinds]
    no_ties = ["mixed" if f == b == "tie" else kind_of(f, b) for *_, f, b in rows]
    merged = [{"mixed": "consistent"}.get(kind, kind) for kind in kinds]
    winner = [f if "tie" in (f, b) and f != "tie" else b if b != f == "tie" else kind_of(f, b)
              for *_, f, b in rows]  # fmt: skip

    def counted(names: list[str], over: int) -> list[float]:
        order = ("consistent", "first", "second", "mixed")
        return [names.count(name) / over for name in order]

    slips = [
        (counted(literal, len(rows)), "the same word in both orders names the same place, not the "
         "same answer"),
        (counted(swapped, len(rows)), "first and second are exchanged"),
        (counted(no_ties, len(rows)), "a tie in both orders is consistent"),
        (counted(merged, len(rows)), "a tie in one order and a winner in the other is mixed"),
        (counted(winner, len(rows)), "a tie in one order and a winner in the other is mixed"),
        (counted(kinds, 1), "these are counts: divide by the number of pairs"),
        (counted(kinds, 2 * len(rows)), "divide by the number of pairs, not of questions asked"),
    ]  # fmt: skip
    told = ", ".join(f"{forth}/{back}" for *_, forth, back in rows[:8])
    tail = f" (choices in both orders: {told}{' ...' if len(rows) > 8 else ''})"
    wanted = sorted([*pairs, *[(other, one) for one, other in pairs]])
    same(
        sorted(asked_pairs),
        wanted,
        "the judge is asked once about each pair as it stands, and once swapped",
    )
    return np.array(got), want, slips, f"shares of consistent, first, second, mixed{tail}"


def kind_of(forth: str, back: str) -> str:
    """Return what two choices about one pair, the second with its places swapped, amount to."""
    if TURNED[forth] == back:
        return "consistent"
    return "mixed" if "tie" in (forth, back) else forth


@exercise_check("judge_position_bias", points=2, title="both orders")
def _(student, rng):
    tables = [
        [
            ("a", "b", "first", "second"),
            ("c", "d", "first", "first"),
            ("e", "f", "first", "first"),
            ("g", "h", "second", "second"),
            ("i", "j", "second", "first"),
        ]
    ]
    words = ("first", "second")
    for n in (1, 12, 20):
        tables.append(
            [
                (f"one {i}", f"other {i}", str(rng.choice(words)), str(rng.choice(words)))
                for i in range(n)
            ]
        )
    # Pairs that are alike count each, and so does one of two equal answers.
    alike = ("c", "d", "first", "second")
    tables.append([("a", "b", "first", "first"), alike, alike, alike])
    tables.append([("a", "a", "first", "first"), alike])
    compare_bias(student, *tables)


@exercise_check("judge_position_bias", points=1, title="ties")
def _(student, rng):
    compare_bias(
        student,
        [("a", "b", "tie", "tie")],
        [("a", "b", "tie", "first"), ("c", "d", "second", "second")],
        [
            ("a", "b", "tie", "tie"),
            ("c", "d", "first", "tie"),
            ("e", "f", "tie", "second"),
            ("g", "h", "second", "tie"),
            ("i", "j", "first", "first"),
            ("k", "l", "second", "first"),
            ("m", "n", "first", "first"),
        ],
    )


@exercise_check("judge_position_bias", points=1, title="what is refused", is_core=False)
def _(student, rng):
    compare_bias(student, [("a", "b", "first", "second"), ("c", "d", "first", "first")])
    call = student.judge_position_bias
    refused(lambda: call([], judge_of([])), "no pairs")
    good = ("c", "d", "first", "second")
    for bad in ("I prefer the first", "", "FIRST", "both"):
        for row in (("a", "b", bad, "first"), ("a", "b", "second", bad)):
            rows = [good, row]
            pairs = [(one, other) for one, other, _, _ in rows]
            refused(
                lambda pairs=pairs, rows=rows: call(pairs, judge_of(rows)),
                f"a judge that answers {bad!r}, which is none of first, second, tie",
            )


# ab_sample_size


def sample_size_by_hand(
    p_a: float, p_b: float, alpha: float, power: float, slip: str = ""
) -> float:
    """Return the number of people before rounding; `slip` names a mistake to make."""
    z = NormalDist().inv_cdf
    m = (p_a + p_b) / 2
    one = z(1 - alpha / (1 if slip == "one-sided" else 2)) * math.sqrt(2 * m * (1 - m))
    two = z(power) * math.sqrt(p_a * (1 - p_a) + p_b * (1 - p_b))
    if slip == "no power":
        two = 0.0
    if slip == "beta":
        two = z(1 - power) * math.sqrt(p_a * (1 - p_a) + p_b * (1 - p_b))
    if slip == "no two":
        one = z(1 - alpha / 2) * math.sqrt(m * (1 - m))
    n = ((one + two) / (p_a - p_b)) ** 2
    return 2 * n if slip == "both" else n


SIZE_SLIPS = {
    "one-sided": "a two-sided test: z(1 - alpha / 2)",
    "no power": "the second term is missing: the difference would be found half of the time",
    "beta": "z(power), not z(1 - power)",
    "no two": "the first root holds 2 m (1 - m), the variance of a difference of two shares",
    "both": "people in each arm, not in both",
}


def compare_size(student, p_a: float, p_b: float, **settings: float) -> None:
    """Reject another number of people than the formula's, naming the mistake that it equals."""
    got = student.ab_sample_size(p_a, p_b, **settings)
    full = {"alpha": 0.05, "power": 0.8} | settings
    exact = sample_size_by_hand(p_a, p_b, **full)
    want = math.ceil(exact)
    require(
        type(got) is int, asked(f"a whole number of people, int; got {type(got).__name__}", got)
    )
    slips = [
        (math.ceil(sample_size_by_hand(p_a, p_b, **full, slip=slip)), words)
        for slip, words in SIZE_SLIPS.items()
    ]
    slips.append((math.floor(exact), "rounded up, so that the power is reached"))
    recognise(got, want, slips, atol=1e-3)
    same(got, want, "the docstring's formula, rounded up")


@exercise_check("ab_sample_size", points=2, title="the formula")
def _(student, rng):
    for p_a, p_b in ((0.5, 0.55), (0.6, 0.5), (0.02, 0.04), (0.0, 0.1), (0.8, 1.0), (0.1, 0.9)):
        compare_size(student, p_a, p_b)
    for alpha, power in ((0.01, 0.8), (0.05, 0.95), (0.1, 0.6), (0.05, 0.5), (0.2, 0.3)):
        compare_size(student, 0.3, 0.37, alpha=alpha, power=power)
    p_a = round(float(rng.uniform(0.1, 0.5)), 3)
    compare_size(student, p_a, round(p_a + float(rng.uniform(0.03, 0.2)), 3), power=0.9)


@exercise_check("ab_sample_size", points=1, title="what is refused", is_core=False)
def _(student, rng):
    call = student.ab_sample_size
    same(call(0.4, 0.5), 388, "shares of 0.4 and 0.5, which are not refused")
    for p_a, p_b in ((0.5, 0.5), (-0.1, 0.5), (0.5, 1.1), (1.2, 0.5), (0.5, -0.2), (0.0, 0.0)):
        refused(lambda p_a=p_a, p_b=p_b: call(p_a, p_b), f"shares of {p_a} and {p_b}")
    for name in ("alpha", "power"):
        for value in (0.0, 1.0, 80):
            refused(
                lambda name=name, value=value: call(0.4, 0.5, **{name: value}), f"{name} {value}"
            )


# sequential_test


def p_by_hand(y: np.ndarray, tau: float, variance: float | None, slip: str = "") -> np.ndarray:
    """Return the p-values one observation at a time; `slip` names a mistake to make."""
    found, smallest = [], 1.0
    for n in range(1, len(y) + 1):
        seen = [float(x) for x in y[:n]]
        mean = math.fsum(seen) / n
        v = variance
        if v is None:
            gaps = math.fsum((x - mean) ** 2 for x in seen)
            v = gaps / (n if slip == "n" else max(1, n - 1))
        if v <= 1e-12:
            p = 1.0
        else:
            spread = v + n * tau**2
            root = 0.5 if slip != "no root" else 1.0
            log_ratio = root * math.log(v / spread)
            log_ratio += n**2 * tau**2 * mean**2 / ((1 if slip == "no 2" else 2) * v * spread)
            p = min(1.0, math.exp(-log_ratio))
        smallest = p if slip == "now" else min(smallest, p)
        found.append(smallest)
    return np.array(found)


SEQUENTIAL_SLIPS = {
    "n": "the estimated variance divides by n - 1",
    "no root": "the factor sqrt(v / (v + n tau^2)): in logarithms a half",
    "no 2": "the exponent is divided by 2 v (v + n tau^2)",
    "now": "the smallest so far: a p-value never rises",
}


def compare_p(student, y: np.ndarray, tau: float, variance: float | None) -> None:
    """Reject other p-values than those worked out one by one, naming the mistake they equal."""
    got = student.sequential_test(y, tau, variance)
    left_alone(student, differences=y)
    want = p_by_hand(y, tau, variance)
    slips = [(p_by_hand(y, tau, variance, slip), words) for slip, words in SEQUENTIAL_SLIPS.items()]
    recognise(got, want, slips, atol=1e-7)
    close(got, want, "the smallest 1 / L_n so far, at most 1", atol=1e-7, rtol=1e-5)


@exercise_check("sequential_test", points=2, title="a variance that is known")
def _(student, rng):
    compare_p(student, np.array([1.0, 0.0, 1.0]), 1.0, 1.0)
    compare_p(student, np.array([2.0, 2.0, -1.0, -3.0, 0.0]), 0.7, 0.8)
    for n, tau, variance in ((60, 0.3, 0.5), (200, 0.1, 0.25), (40, 1.5, 3.0), (1, 0.5, 0.1)):
        y = rng.choice([-1.0, 0.0, 1.0], n, p=[0.2, 0.3, 0.5]) + 0.1
        compare_p(student, y, tau, variance)
    single = rng.choice([-1.0, 0.0, 1.0], 50).astype(np.float32)
    compare_p(student, single, 0.5, 1.0)
    compare_p(student, np.array([-1.0, -1.0, 0.0, -1.0]), 1.0, 0.5)  # b worse than a
    with in_case("differences in whole numbers, torch.int64"):
        compare_p(student, np.array([1, 0, -1, 1, 1, 1]), 1.0, 0.5)


@exercise_check("sequential_test", points=2, title="a variance that is estimated")
def _(student, rng):
    compare_p(student, np.array([1.0, 0.0, 1.0, 1.0, -1.0]), 1.0, None)
    for n, tau in ((40, 0.3), (150, 0.1), (1, 0.5)):
        compare_p(student, rng.choice([-1.0, 0.0, 1.0], n, p=[0.1, 0.2, 0.7]), tau, None)
    compare_p(student, np.ones(9), 1.0, None)
    compare_p(student, np.full(12, 0.1), 1.0, None)
    compare_p(student, np.r_[np.ones(4), 0.0, np.ones(4)], 0.5, None)
    compare_p(student, np.zeros(5), 1.0, None)


@exercise_check("sequential_test", points=1, title="what is refused", is_core=False)
def _(student, rng):
    compare_p(student, np.array([1.0, -1.0, 1.0, 1.0]), 0.5, 1.0)
    call = student.sequential_test
    refused(lambda: call(np.ones(0), 1.0), "no differences")
    refused(lambda: call(np.ones((3, 2)), 1.0), "a table in place of a row")
    for tau in (0.0, -1.0):
        refused(lambda tau=tau: call(np.ones(3), tau), f"tau {tau}")
    for variance in (0.0, -0.5):
        refused(lambda v=variance: call(np.ones(3), 1.0, v), f"variance {variance}")
