"""Quiz of unit 09: what scores miss, what intervals promise, what a swap takes out."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_rouge() -> str:
    """Return the option for which of two answers has the higher ROUGE-L."""
    from utils.evaluate.rouge import rouge_l

    reference = "The ward opens at 8 o'clock."
    false = rouge_l("The ward opens at 9 o'clock.", reference).f1
    true = rouge_l("From 8 on.", reference).f1
    return "a" if true > false else "b" if false > true else "c"


def prove_calibration() -> str:
    """Return the option for the error of a model that is always 0.7 sure and right 7 in 10."""
    import torch

    from utils.evaluate.calibration import expected_calibration_error

    right = torch.tensor([1.0] * 7 + [0.0] * 3)
    error = expected_calibration_error(torch.full((10,), 0.7), right)
    return {0.0: "a", 0.3: "b", 0.42: "c"}[round(error, 2)]


def prove_interval() -> str:
    """Return the option for what four times the questions do to an interval's width."""
    from utils.evaluate.intervals import wilson_interval

    def width(n: int) -> float:
        low, high = wilson_interval(n // 2, n)
        return high - low

    return {1: "a", 2: "b", 4: "c"}[round(width(1000) / width(4000))]


def prove_paired() -> str:
    """Return the option for the p-value where 4 of 500 questions differ, all for one system."""
    import torch

    from utils.evaluate.paired import paired_permutation_test

    a = torch.zeros(500)
    a[:4] = 1
    p = paired_permutation_test(a, torch.zeros(500))
    return "a" if p < 0.01 else "b" if p == 2 / 16 else "c"


def prove_kappa() -> str:
    """Return the option for the kappa of two labellers who call nearly everything good."""
    from utils.evaluate.agreement import cohen_kappa

    first = ["good"] * 95 + ["bad"] * 5
    second = ["bad"] * 5 + ["good"] * 95
    kappa = cohen_kappa(first, second)
    return "a" if kappa > 0.8 else "b" if kappa > 0.3 else "c"


def prove_swap() -> str:
    """Return the option for a judge of the longer answer that is asked in both orders."""
    from utils.evaluate.judging import judge_position_bias, longer, swapped_choice

    pairs = [("short", "a much longer answer"), ("brief", "at great length")]
    consistent = judge_position_bias(pairs, longer).consistent
    picks = {swapped_choice(*pair, longer) for pair in pairs}
    return "b" if consistent == 1 and picks == {"second"} else "a"


def prove_sample_size() -> str:
    """Return the option for how the number of people grows where the difference is a third."""
    from utils.evaluate.ab import ab_sample_size

    ratio = ab_sample_size(0.50, 0.52) / ab_sample_size(0.50, 0.56)
    return {2: "a", 3: "a", 9: "b", 27: "c"}[round(ratio)]


def prove_normalise() -> str:
    """Return the option for which answer wins by the sum and which per token."""
    from utils.evaluate.choices import Scored, choose

    answers = [Scored(-3.0, 2, 6), Scored(-4.0, 5, 20)]
    found = choose(answers, "answer"), choose(answers, "token")
    return {(0, 0): "a", (0, 1): "b", (1, 0): "c"}[found]


QUIZ = [
    Question(
        "rouge",
        'The reference is "The ward opens at 8 o\'clock." Which has the higher ROUGE-L: the true '
        '"From 8 on." or the false "The ward opens at 9 o\'clock."?',
        {
            "a": ("the true one", "It shares one word with the reference, and has two others."),
            "b": (
                "the false one",
                "All words but one stand in it in the same order; that the one is the hour does "
                "not count.",
            ),
            "c": ("both have the same", "One shares a single word, the other all but one."),
        },
        "b",
        prove_rouge,
    ),
    Question(
        "calibration",
        "A model gives every answer a confidence of 0.7, and 7 of 10 are right. What is its "
        "expected calibration error?",
        {
            "a": ("0", "All answers are in one bin; mean confidence and accuracy are both 0.7."),
            "b": (
                "0.3",
                "That is the share of wrong answers, which is no fault of the confidence.",
            ),
            "c": (
                "0.42",
                "That is the mean distance answer by answer; the error compares means of bins.",
            ),
        },
        "a",
        prove_calibration,
    ),
    Question(
        "interval",
        "An evaluation with 1,000 questions has an interval six points wide. How wide is it with "
        "4,000?",
        {
            "a": ("six points still", "More questions do make it narrower."),
            "b": (
                "about three points",
                "The width falls with the root of the number of questions.",
            ),
            "c": (
                "about one and a half points",
                "For a quarter of the width it takes sixteen times the questions.",
            ),
        },
        "b",
        prove_interval,
    ),
    Question(
        "paired",
        "Two systems answer the same 500 questions and differ on four, all four for the new one. "
        "What does the paired permutation test say?",
        {
            "a": (
                "p below 0.01: with 500 questions the difference is beyond doubt",
                "The 496 questions on which they agree say nothing about which is better.",
            ),
            "b": (
                "p = 0.125: of the 16 ways to choose four signs, two are as lopsided",
                "Four tosses that all fall alike are not rare.",
            ),
            "c": (
                "nothing: four differences are too few for a test",
                "All patterns of four signs can be listed, and the p-value is exact.",
            ),
        },
        "b",
        prove_paired,
    ),
    Question(
        "kappa",
        "Two labellers each call 5 of 100 answers bad, never the same ones. They agree on 90. "
        "What is kappa?",
        {
            "a": ("about 0.9", "That is the agreement itself; chance alone gives more than that."),
            "b": ("about 0.5", "Chance alone gives an agreement of 0.905 here."),
            "c": (
                "a little below 0",
                "With 95 % good from both, chance agrees on 0.905 of the answers, and they on 0.9.",
            ),
        },
        "c",
        prove_kappa,
    ),
    Question(
        "swap",
        "A judge always prefers the longer answer. It is asked about each pair in both orders. "
        "What comes of it?",
        {
            "a": (
                "ties, since a swap takes biases out",
                "A swap takes out the place. The long answer is long in both orders.",
            ),
            "b": (
                "it is perfectly consistent, and wrong wherever the shorter is better",
                "Consistency says that the place does not decide, not that the answer does.",
            ),
        },
        "b",
        prove_swap,
    ),
    Question(
        "sample-size",
        "You planned an A/B test for a gain of six points. The gain that matters to you turns out "
        "to be two. How many times as many people does it take?",
        {
            "a": ("three times", "The number grows with the square of the difference."),
            "b": ("nine times", "A third of the difference, and the square of three."),
            "c": ("27 times", "It is the square of the difference that counts, not the cube."),
        },
        "b",
        prove_sample_size,
    ),
    Question(
        "normalise",
        "A model gives a short answer of two tokens a log-probability of -3, a long one of five "
        "tokens -4. Which is chosen?",
        {
            "a": (
                "the short one, by the sum and per token",
                "Per token it is -1.5 against -0.8, and the long one wins.",
            ),
            "b": (
                "the short one by the sum, the long one per token",
                "-3 is above -4, and -0.8 is above -1.5: the rule decides, not the model.",
            ),
            "c": ("the long one by the sum, the short one per token", "It is the other way round."),
        },
        "b",
        prove_normalise,
    ),
]
