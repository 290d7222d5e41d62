"""Checks of lab 13: scores of texts, safer data, retrieval, facts.

Oracles: the logistic function and BM25 worked out in NumPy, cases by hand with invented towns and
drugs, rules applied row by row.
"""

from __future__ import annotations

import math

import numpy as np

from utils.labs.checking import (
    Check,
    asked,
    brief,
    close,
    collector,
    in_case,
    not_the_mistake,
    recognise,
    refused,
    require,
    same,
)

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

HINTS = {
    "toxicity_score": (
        "Each word that a text holds pulls its score up or down by the word's weight. Add up what "
        "pulls, and turn the sum into a probability.",
        "By hand: weights fool 4, dear -1, bias -2. What is the sum for 'Dear fool, fool!'? Which "
        "words does it hold, and how often does each count? And for a text without any of them?",
        "For each text: words = dict.fromkeys(words_of(text)), so that each counts once. logit = "
        "bias + sum(weights.get(word, 0.0) for word in words). All logits into one float64 tensor, "
        ".sigmoid().tolist() (which no number is too large for), and {'toxicity': p} for each.",
    ),
    "filter_toxic": (
        "Go through the chats with their scores. A chat is dropped for what the assistant says in "
        "it; the user may be as rude as users are.",
        "By hand: user .9, assistant .1, user .2, assistant .5, with a threshold of .5. Which "
        "scores count? Which of them decides: the last, the mean, the largest? Is .5 enough?",
        "Refuse a threshold outside 0 to 1, unequal numbers of chats and scores; in each chat "
        "unequal numbers of messages and scores, and any score for which not 0 <= score <= 1 (NaN "
        "fails this, too). Collect the scores of messages whose role is 'assistant'; if any is >= "
        "threshold append the chat's number to dropped, else the chat to kept. Return kept, "
        "dropped.",
    ),
    "build_safety_pairs": (
        "The docstring has three rules. For each row, first decide whether something is known: "
        "that says what the better answer is, and what may be set beside it.",
        "By hand: a row whose truth is 'In Tolben.', with drawn answers 'In Tolben.', toxicity .0, "
        "and 'In Tolben, fool.', toxicity .9. Which two pairs are made? And for a row with the "
        "truth '' and the drawn answers 'In Quill.' twice?",
        "Refuse rows whose lists differ in length. pairs = {} from (prompt, chosen, rejected) to "
        "why. truth '': chosen = refusal, and for each drawn answer that does not refuse (rejected "
        "= it, 'made up'). Otherwise chosen = truth, first (refusal, 'over-refusal'), then each "
        "drawn answer with toxicity >= threshold, 'toxic'. Skip what equals chosen; "
        "pairs.setdefault(...) keeps the first. At the end a dictionary for each entry.",
    ),
    "retrieve": (
        "Score every passage by itself: for each word of the query that it holds, a rare word "
        "counts more than a common one, and the second time a word comes counts less than the "
        "first.",
        "By hand: passages 'a b', 'a', 'c c c a'. How many hold a? How many hold c? What is "
        "log(1 + (3 - n + 0.5) / (n + 0.5)) for each? Which passage is longer than the mean, and "
        "what does that do to the fraction?",
        "counts = [Counter(words_of(p)) for p in passages]; lengths = their totals. For each word "
        "of words_of(query), repeated words again: n = the number of counts that hold it; weight = "
        "log(1 + (N - n + 0.5) / (n + 0.5)); in each passage that holds it add weight * f / (f + "
        "k1 * (1 - b + b * length / mean_length)). Sort the indices with a score above 0 by -score "
        "(Python's sort keeps ties in order), cut to k, return (index, score). First refuse k < 1, "
        "k1 < 0, b outside 0 to 1.",
    ),
    "check_facts": (
        "Only passages that name the entity can bear anything out. Gather the values that stand in "
        "these; then look at the values of the answer one by one.",
        "By hand: passages 'Brunal lives in Tolben.' and 'Ann lives in Quill.'; the answer about "
        "Brunal says Quill. Which passages name Brunal? Which values stand in them? `mentions` "
        "answers both questions.",
        "Refuse an entity without any letter (entity.strip() is empty). about = the passages p for "
        "which mentions(p, [entity]) is not empty. known = the set of all values in mentions(p, "
        "values) for p in about. Return [(value, value in known) for value in mentions(answer, "
        "values)].",
    ),
    "answer_with_facts": (
        "Take the drafts in their order, and the first one that passes. What passes is decided by "
        "`check_facts`.",
        "By hand: a draft claims two values, of which one is borne out. Does it pass? A draft "
        "claims nothing. What does check_facts return for it, and how many of its claims are not "
        "borne out?",
        "Refuse an empty entity first, as check_facts does. For each draft in order: if "
        "all(held for _, held in check_facts(draft, passages, values, entity)), return the draft. "
        "After the loop return refusal.",
    ),
}


# toxicity_score


def logistic(x: float) -> float:
    """Return 1 / (1 + exp(-x)) without an overflow."""
    return float(np.exp(-np.logaddexp(0.0, -x)))


def compare_scores(
    student, texts: list, words: list, weights: dict, bias: float, hint: str, slips: list = ()
) -> None:
    """Reject other probabilities than those of the words that each text holds.

    Args:
        texts: what is scored.
        words: for each text the words that it holds, each once.
        hint: what is asked.
        slips: pairs of a list of logits and the hint for a result that equals their probabilities.
    """
    got = student.toxicity_score(texts, weights, bias)
    require(
        type(got) is list and len(got) == len(texts),
        asked(f"return a list with one dictionary for each of the {len(texts)} texts", got),
    )
    for one in got:
        require(
            type(one) is dict and list(one) == ["toxicity"],
            asked(f"each text gets a dictionary with the key 'toxicity' alone, got {one!r}", got),
        )
        require(
            type(one["toxicity"]) is float,
            asked(f"a probability is a float, got {type(one['toxicity']).__name__}", got),
        )
    logits = [bias + sum(weights.get(word, 0.0) for word in held) for held in words]
    found, want = [one["toxicity"] for one in got], [logistic(x) for x in logits]
    case = f"texts {brief(texts)}, weights {brief(weights)}, bias {bias:g}"
    recognise(found, want, [([logistic(x) for x in w], f"{h}: {case}") for w, h in slips])
    close(found, want, f"{hint}: {case}", atol=1e-6)
    if student.arguments_after:
        same(student.arguments_after[1], weights, "`weights` was changed: leave it as it is")


@exercise_check("toxicity_score", points=2, title="the sum of the words")
def _(student, rng):
    weights = {"fool": 4.0, "dear": -1.0, "day": 0.25}
    texts, words = ["you fool", "dear day", "good"], [["you", "fool"], ["dear", "day"], ["good"]]
    slips = [
        ([4.0, -0.75, 0.0], "the bias belongs to every sum"),
        ([4.0 - 2, -1.0 - 2, -2.0], "all words of a text count, not its largest alone"),
        ([2.0 - 2, -0.375 - 2, -2.0], "the weights are added up, not averaged"),
        ([-2.0, 2.75, 2.0], "p = 1 / (1 + exp(-logit)): mind the sign"),
    ]
    compare_scores(student, texts, words, weights, -2.0, "bias and weights added up", slips)
    for _ in range(3):
        vocabulary = [f"w{i}" for i in range(6)]
        weights = {w: float(x) for w, x in zip(vocabulary[:4], rng.normal(size=4), strict=True)}
        picked = [list(rng.permutation(vocabulary)[: int(rng.integers(1, 6))]) for _ in range(4)]
        picked = [[str(word) for word in held] for held in picked]
        texts = [" ".join(held) for held in picked]
        compare_scores(student, texts, picked, weights, float(rng.normal()), "the formula")


@exercise_check("toxicity_score", points=1, title="which words a text holds")
def _(student, rng):
    weights = {"fool": 2.0, "day": -1.0}
    slips = [([2 + 2 + 2 - 1.0], "a word that a text holds several times counts once")]
    hint = "each word counts once"
    compare_scores(student, ["fool day fool fool"], [["fool", "day"]], weights, 0.0, hint, slips)
    slips = [([0.0, 0.0], "the words are those of words_of: without capitals and punctuation")]
    compare_scores(
        student,
        ["FOOL!", "(Day)"],
        [["fool"], ["day"]],
        weights,
        0.0,
        "words as words_of gives them",
        slips,
    )
    compare_scores(
        student, ["fools", "daylight"], [[], []], weights, 0.5, "whole words, not parts of words"
    )
    compare_scores(
        student,
        ["good,fool", "dear-day", "\uff26OOL", "fo\u00adol"],
        [["good", "fool"], ["dear", "day"], ["fool"], ["fool"]],
        weights,
        0.0,
        "words as words_of gives them, also without a blank between, in wide letters, or with an "
        "invisible hyphen inside",
    )


@exercise_check("toxicity_score", points=1, title="nothing, and very much", is_core=False)
def _(student, rng):
    compare_scores(student, ["", "?!"], [[], []], {"a": 1.0}, -1.5, "a text without any word")
    compare_scores(student, ["a b"], [["a", "b"]], {}, 0.25, "no weights at all")
    compare_scores(student, [], [], {"a": 1.0}, 0.0, "no texts")
    compare_scores(
        student, ["a", "b", "a"], [["a"], ["b"], ["a"]], {"a": 1.0}, 0.0, "a text that comes twice"
    )
    with in_case("a weight of 10,000 and one of -10,000"):
        weights = {"a": 1e4, "b": -1e4}
        compare_scores(
            student, ["a", "b"], [["a"], ["b"]], weights, 1.0, "logits too large for exp"
        )


# filter_toxic


def chat(*roles: str) -> list[dict[str, str]]:
    """Return a chat of messages by these roles, u or a, each with a text of its own."""
    names = {"u": "user", "a": "assistant", "s": "system"}
    return [{"role": names[r], "content": f"{r}{i}"} for i, r in enumerate(roles)]


def compare_filter(student, rows: list, hint: str, *threshold: float, slips: list = ()) -> None:
    """Reject other kept chats and dropped numbers than the rule gives.

    Args:
        rows: (roles, scores) for each chat.
        slips: pairs of dropped numbers and the hint for a result that equals them.
    """
    chats = [
        [m | {"content": f"{i}{m['content']}"} for m in chat(*r)] for i, (r, _) in enumerate(rows)
    ]
    scores = [list(of_chat) for _, of_chat in rows]
    limit = threshold[0] if threshold else 0.5
    want = [
        i
        for i, (roles, of_chat) in enumerate(rows)
        if any(r == "a" and s >= limit for r, s in zip(roles, of_chat, strict=True))
    ]
    got = student.filter_toxic(chats, scores, *threshold)
    require(
        type(got) is tuple and len(got) == 2,
        asked(f"return kept chats and dropped numbers, got {type(got).__name__}", got),
    )
    kept, dropped = got
    case = ", ".join(f"{r} {list(s)}" for r, s in rows)
    case = f"{hint}; roles (u user, a assistant) with scores: {case}; threshold {limit:g}"
    for wrong, words in slips:
        not_the_mistake(wrong == want or dropped != wrong, f"{words} ({case})")
    same(dropped, want, case)
    same(kept, [c for i, c in enumerate(chats) if i not in want], f"the kept chats whole: {case}")
    if student.arguments_after:
        same(student.arguments_after[0], chats, "`chats` was changed: leave it as it is")


@exercise_check("filter_toxic", points=2, title="what the assistant says")
def _(student, rng):
    rows = [("ua", (0.9, 0.1)), ("ua", (0.1, 0.9)), ("ua", (0.0, 0.0)), ("ua", (0.8, 0.7))]
    slips = [
        ([0, 1, 3], "a rude user drops no chat: only scores of the assistant count"),
        ([0, 3], "the scores of the assistant count, not those of the user"),
        ([0, 2], "those at or above the threshold are dropped"),
    ]
    compare_filter(student, rows, "who said it", slips=slips)
    rows = [("uaua", (0, 0.9, 0, 0)), ("uaua", (0, 0, 0, 0.9)), ("uaua", (0, 0.3, 0, 0.4))]
    slips = [
        ([1], "every message of the assistant counts, not the last alone"),
        ([0], "every message of the assistant counts, not the first alone"),
        ([], "one toxic message drops the chat, whatever the mean is"),
        ([0, 1, 2], "the largest score decides, not their sum"),
    ]
    compare_filter(student, rows, "which message decides", slips=slips)
    for _ in range(3):
        rows = [
            ("ua" * (n := int(rng.integers(1, 4))), tuple(rng.random(2 * n).round(2).tolist()))
            for _ in range(6)
        ]
        compare_filter(student, rows, "the rule", float(rng.choice([0.3, 0.6])))


@exercise_check("filter_toxic", points=1, title="edges", is_core=False)
def _(student, rng):
    compare_filter(
        student,
        [("ua", (0.0, 0.5)), ("ua", (0.0, 0.4999))],
        "a score at the threshold",
        slips=[([], "a score that equals the threshold is enough")],
    )
    compare_filter(student, [("ua", (0, 0.25)), ("ua", (0, 0.2))], "another threshold", 0.25)
    compare_filter(student, [("ua", (0, 0)), ("ua", (0, 1))], "a threshold of 0", 0.0)
    compare_filter(student, [("ua", (0, 0.99)), ("ua", (0, 1))], "a threshold of 1", 1.0)
    compare_filter(student, [("u", (1.0,)), ("sua", (1.0, 0, 0))], "no answer; a system's text")
    compare_filter(student, [("sua", (0, 0, 1.0)), ("uua", (0, 1.0, 0))], "roles at other places")
    compare_filter(student, [("", ()), ("ua", (0, 1))], "a chat without messages")
    compare_filter(student, [], "no chats")
    one = chat("u", "a")
    got = student.filter_toxic([one, one, one], [[0.0, 0.1], [0.0, 0.9], [0.0, 0.1]])
    same(got, ([one, one], [1]), "three chats of the same words: each has its own scores")


@exercise_check("filter_toxic", points=1, title="what is refused", is_core=False)
def _(student, rng):
    compare_filter(student, [("ua", (0.0, 0.9)), ("ua", (0.0, 0.1))], "a right call first")
    call, two = student.filter_toxic, chat("u", "a")
    refused(lambda: call([two, two], [[0.0, 0.0]]), "two chats and the scores of one")
    refused(lambda: call([two], [[0.0, 0.0], [0.0, 0.0]]), "one chat and the scores of two")
    refused(lambda: call([two], [[0.0]]), "two messages and one score")
    refused(lambda: call([two], [[0.0, 0.0, 0.0]]), "two messages and three scores")
    refused(
        lambda: call([two, two], [[0.0], [0.0, 0.0, 0.0]]),
        "chats of two messages each, with one score and three",
    )
    for bad in (-0.1, 1.1):
        refused(lambda bad=bad: call([], [], bad), f"a threshold of {bad}, and no chats")
    for bad in (math.nan, -0.01, 1.01, math.inf):
        refused(lambda bad=bad: call([two], [[0.0, bad]]), f"an assistant's score of {bad}")
        refused(lambda bad=bad: call([two], [[bad, 0.0]]), f"a user's score of {bad}")
    for bad in (-0.1, 1.1, math.nan):
        refused(lambda bad=bad: call([two], [[0.0, 0.0]], bad), f"a threshold of {bad}")
    four = chat("u", "a", "u", "a")
    refused(
        lambda: call([four], [[0.0, 0.9, math.nan, 0.0]]),
        "a score of nan behind a message that drops the chat",
    )


# build_safety_pairs

KEYS = ("prompt", "chosen", "rejected", "why")


def row(prompt: str, truth: str, *drawn: tuple, refusal: str = "No idea.") -> dict:
    """Return a row; each of `drawn` is (answer, refuses, toxicity)."""
    answers, refused_, toxicity = ([d[k] for d in drawn] for k in range(3))
    return {
        "prompt": prompt,
        "truth": truth,
        "refusal": refusal,
        "drawn": answers,
        "refused": refused_,
        "toxicity": toxicity,
    }


def pairs_by_hand(rows: list, threshold: float = 0.5) -> list:
    """Return (prompt, chosen, rejected, why) by the three rules, one row at a time."""
    found: list = []
    for r in rows:
        three = list(zip(r["drawn"], r["refused"], r["toxicity"], strict=True))
        if r["truth"] == "":
            new = [(r["prompt"], r["refusal"], a, "made up") for a, no, _ in three if not no]
        else:
            new = [(r["prompt"], r["truth"], r["refusal"], "over-refusal")]
            new += [(r["prompt"], r["truth"], a, "toxic") for a, _, s in three if s >= threshold]
        for one in new:
            if one[1] != one[2] and one[:3] not in [f[:3] for f in found]:
                found.append(one)
    return found


def compare_pairs(student, rows: list, hint: str, *threshold: float, slips: list = ()) -> None:
    """Reject other pairs than the rules give."""
    got = student.build_safety_pairs(rows, *threshold)
    require(
        type(got) is list and all(type(p) is dict and set(p) == set(KEYS) for p in got),
        asked("return a list of dictionaries with the keys prompt, chosen, rejected and why", got),
    )
    found, want = [tuple(p[k] for k in KEYS) for p in got], pairs_by_hand(rows, *threshold)
    for wrong, words in slips:
        not_the_mistake(wrong == want or found != wrong, asked(words, got))
    same(found, want, f"{hint}; (prompt, chosen, rejected, why) of each pair")
    if student.arguments_after:
        same(student.arguments_after[0], rows, "`rows` was changed: leave it as it is")


@exercise_check("build_safety_pairs", points=3, title="three rules")
def _(student, rng):
    rows = [
        row("p0", "", ("In Quill.", False, 0.0), ("No.", True, 0.0), ("In Tolben.", False, 0.9)),
        row("p1", "At 8.", ("At 9.", False, 0.1), ("At 8, fool.", False, 0.9)),
    ]
    honest = [
        ("p0", "No idea.", "In Quill.", "made up"),
        ("p0", "No idea.", "In Tolben.", "made up"),
    ]
    over = ("p1", "At 8.", "No idea.", "over-refusal")
    toxic = ("p1", "At 8.", "At 8, fool.", "toxic")
    refusing = ("p0", "No idea.", "No.", "made up")
    slips = [
        ([honest[0], refusing, honest[1], over, toxic], "a drawn answer that refuses is no worse"),
        ([*honest, toxic], "rule 2 is missing: the truth before the refusal"),
        ([*honest, over], "rule 3 is missing: the truth before toxic answers"),
        ([*honest, toxic, over], "the order of the rules: over-refusal before toxic"),
        (
            [*honest, over, ("p1", "At 8.", "At 9.", "toxic"), toxic],
            "answers below the threshold are not toxic, even where they are false",
        ),
    ]
    compare_pairs(student, rows, "one row of each kind", slips=slips)
    rows = [
        row("p0", "At 8.", ("At 8, fool.", False, 0.9)),
        row("p1", "", ("In Quill.", False, 0.0)),
        row("p2", "At 9."),
    ]
    compare_pairs(student, rows, "one row after the other")
    for _ in range(3):
        rows = []
        for k in range(5):
            drawn = [
                (f"answer {i}", bool(rng.random() < 0.4), round(float(rng.random()), 2))
                for i in range(int(rng.integers(0, 5)))
            ]
            rows.append(row(f"p{k}", "" if rng.random() < 0.5 else f"truth {k}", *drawn))
        compare_pairs(student, rows, "the rules", float(rng.choice([0.3, 0.5])))


@exercise_check("build_safety_pairs", points=1, title="none twice, none of equals", is_core=False)
def _(student, rng):
    twice = row("p", "", ("x", False, 0.0), ("x", False, 0.0), ("y", False, 0.0))
    one = [("p", "No idea.", "x", "made up"), ("p", "No idea.", "y", "made up")]
    slips = [([one[0], one[0], one[1]], "the same pair comes once, however often it was drawn")]
    compare_pairs(student, [twice], "an answer drawn twice", slips=slips)
    again = row("p", "", ("x", False, 0.0), ("y", False, 0.0), ("x", False, 0.0))
    compare_pairs(student, [again], "an answer drawn twice, and another one between")
    rows = [row("p", "", ("x", False, 0.0)), row("q", "", ("x", False, 0.0))]
    rows += [row("p", "", ("x", False, 0.0), refusal="Who?")]
    compare_pairs(student, rows, "one answer to two prompts, and before another refusal")
    rows = [row("p", "", ("x", False, 0.0)), row("p", "", ("x", False, 0.0))]
    compare_pairs(student, rows, "the same pair from two rows")
    compare_pairs(
        student,
        [row("p", "", ("No idea.", False, 0.0))],
        "a drawn answer that equals the refusal",
        slips=[([("p", "No idea.", "No idea.", "made up")], "two equal answers are no pair")],
    )
    rows = [row("p", "t", ("t", False, 0.9)), row("q", "t", refusal="t")]
    compare_pairs(student, rows, "a toxic answer that equals the truth; a refusal that does")
    rows = [row("p", "t", ("No idea.", True, 0.9))]
    compare_pairs(student, rows, "a refusal that is toxic, too: it comes once, as over-refusal")
    rows = [row("p", "t", ("Never, fool.", True, 0.9), ("T", False, 0.9), ("t ", False, 0.9))]
    compare_pairs(
        student,
        rows,
        "toxic answers: one that refuses, and two that equal the truth but for "
        "a capital and a blank",
    )


@exercise_check("build_safety_pairs", points=1, title="edges and errors", is_core=False)
def _(student, rng):
    at = row("p", "t", ("x", False, 0.5), ("y", False, 0.49))
    slips = [([("p", "t", "No idea.", "over-refusal")], "a toxicity at the threshold is enough")]
    compare_pairs(student, [at], "a score at the threshold", slips=slips)
    compare_pairs(student, [at], "another threshold", 0.49)
    compare_pairs(student, [row("p", ""), row("q", "t")], "rows without drawn answers")
    compare_pairs(student, [], "no rows")
    good = row("p", "t", ("x", False, 0.9))
    for name in ("drawn", "refused", "toxicity"):
        for truth in ("", "t"):
            bad = good | {"truth": truth, name: good[name] * 2}
            refused(
                lambda bad=bad: student.build_safety_pairs([good, bad]),
                f"a row with two items in {name!r} and one in the other lists",
            )


# retrieve


def bm25_by_hand(
    query: list, passages: list, k1: float = 1.5, b: float = 0.75, slip: str = ""
) -> np.ndarray:
    """Return the score of each passage (lists of words), by loops; `slip` names a mistake."""
    scores, N = np.zeros(len(passages)), len(passages)
    lengths = [len(p) for p in passages]
    if slip == "characters":
        lengths = [len(" ".join(p)) for p in passages]
    mean = sum(lengths) / max(N, 1)
    if slip == "fit":
        fit = [n for n, p in zip(lengths, passages, strict=True) if set(p) & set(query)]
        mean = sum(fit) / max(len(fit), 1)
    for word in dict.fromkeys(query) if slip == "once" else query:
        n = sum(p.count(word) if slip == "occurrences" else word in p for p in passages)
        if slip == "no idf":
            weight = 1.0
        elif slip == "plain":
            weight = math.log((N - n + 0.5) / (n + 0.5))
        else:
            weight = math.log(max(1 + (N - n + 0.5) / (n + 0.5), 1e-9))
        for i, p in enumerate(passages):
            f = p.count(word)
            if f:
                long = 1 - b + b * lengths[i] / mean
                if slip == "no length":
                    long = 1.0
                gain = f / (f + k1 * long)
                gain = {"present": 1 / (1 + k1 * long), "k1 + 1": (k1 + 1) * gain}.get(slip, gain)
                scores[i] += weight * gain
    return scores


BM25_SLIPS = {
    "no idf": "the logarithm is missing: rare words count more than common ones",
    "plain": "the logarithm has a 1 added inside; without it common words count below nothing",
    "no length": "the length of a passage is missing in the fraction",
    "fit": "the mean length is that of all passages, not of those that fit alone",
    "characters": "lengths are counted in words, not in characters",
    "present": "f is how often the passage holds the word, not whether",
    "k1 + 1": "the fraction is f / (f + ...): some write a factor k1 + 1 before it, we don't",
    "occurrences": "n is the number of passages that hold the word, however often",
    "once": "a word that the query says twice counts twice",
}


def ranking(scores: np.ndarray, k: int) -> list:
    """Return (index, score) of the best k above 0, ties in order."""
    order = np.argsort(-scores, kind="stable")[:k]
    return [(int(i), float(scores[i])) for i in order if scores[i] > 0]


def compare_ranking(student, query: str, passages: list, k: int, hint: str, **settings) -> None:
    """Reject another ranking or other scores than BM25's."""
    with in_case(f"{hint}; query {query!r}, passages {brief(passages)}, k {k}"):
        got = student.retrieve(query, passages, k, **settings)
    require(
        type(got) is list
        and all(type(p) is tuple and [type(x) for x in p] == [int, float] for p in got),
        asked("return a list of (index, score), an int and a float each", got),
    )
    case = f"{hint}; query {query!r}, passages {brief(passages)}, k {k}"
    case += "".join(f", {name} {value:g}" for name, value in settings.items())
    words, lists = query.split(), [p.split() for p in passages]
    want = ranking(bm25_by_hand(words, lists, **settings), k)
    if [i for i, _ in got] == [i for i, _ in want]:
        found, right = [s for _, s in got], [s for _, s in want]
        slips = [
            (right_or(words, lists, settings, slip, got), f"{text}; {case}")
            for slip, text in BM25_SLIPS.items()
        ]
        recognise(found, right, slips)
        close(found, right, f"the scores: {case}", atol=1e-6)
        return
    named = []
    for slip, text in BM25_SLIPS.items():
        wrong = ranking(bm25_by_hand(words, lists, **settings, slip=slip), k)
        alike = got != [] and [i for i, _ in wrong] == [i for i, _ in got]
        if alike and np.allclose([s for _, s in wrong], [s for _, s in got]):
            named.append(text)
    not_the_mistake(len(named) != 1, f"{', '.join(named)}; {case}")
    same([i for i, _ in got], [i for i, _ in want], f"the indices, best first: {case}")


def right_or(words: list, lists: list, settings: dict, slip: str, got: list) -> list:
    """Return what a slip would give as scores of the passages that came, in their order."""
    scores = bm25_by_hand(words, lists, **settings, slip=slip)
    return [float(scores[i]) for i, _ in got]


@exercise_check("retrieve", points=3, title="scores and order")
def _(student, rng):
    passages = ["a b", "a", "c c c a", "b b d a e f g", "e a"]
    compare_ranking(student, "b", passages, 4, "a word that one passage holds twice")
    compare_ranking(student, "c", passages, 4, "a word in one passage")
    compare_ranking(student, "a", ["a b"], 1, "a single passage")
    compare_ranking(student, "a", passages, 4, "a word in all passages")
    compare_ranking(student, "c b", passages, 4, "two words")
    for _ in range(3):
        letters = list("abcdefgh")
        passages = [
            " ".join(str(w) for w in rng.choice(letters, int(rng.integers(1, 9)))) for _ in range(7)
        ]
        query = " ".join(str(w) for w in rng.choice(letters, 3, replace=False))
        compare_ranking(student, query, passages, 7, "the formula")


@exercise_check("retrieve", points=1, title="words and ties", is_core=False)
def _(student, rng):
    compare_ranking(student, "b b a", ["a", "b", "a a c"], 3, "a word twice in the query")
    compare_ranking(student, "a", ["a b", "c", "a b", "a b"], 4, "equal scores, in their order")
    compare_ranking(student, "a", ["a b", "c", "a b", "a b"], 2, "equal scores, cut to k")
    compare_ranking(student, "a", ["a"] * 400, 2, "a word that all of 400 passages hold")
    got = student.retrieve("WARD?", ["The (ward).", "the WARDS"], 2)
    same(
        [i for i, _ in got], [0], "words are those of words_of: no capitals, no punctuation, whole"
    )
    passages = ["bed,ward", "The \uff37ard", "wa\u00adrd", "war"]
    got = student.retrieve("ward", passages, 4)
    words = "without a blank between, in wide letters, with an invisible hyphen inside"
    same(sorted(i for i, _ in got), [0, 1, 2], f"words are those of words_of, also {words}")


@exercise_check("retrieve", points=1, title="settings", is_core=False)
def _(student, rng):
    passages = ["a b", "a", "a a a c", "b b d a e"]
    for settings in ({"k1": 0.0}, {"b": 0.0}, {"b": 1.0}, {"k1": 3.0, "b": 0.4}):
        compare_ranking(student, "a b", passages, 4, "other settings", **settings)
    compare_ranking(student, "a b", passages, 1, "the best alone")
    compare_ranking(student, "a b", passages, 99, "more than there are")


@exercise_check("retrieve", points=1, title="nothing in common, and errors", is_core=False)
def _(student, rng):
    compare_ranking(student, "x", ["a", "b"], 2, "no passage holds the word")
    compare_ranking(student, "a x", ["b", "a", "c"], 3, "passages without a common word")
    compare_ranking(student, "", ["a", "b"], 2, "an empty query")
    compare_ranking(student, "a", [], 2, "no passages")
    compare_ranking(student, "a", ["", ""], 2, "passages without words")
    compare_ranking(student, "a", ["", "a", "a b"], 2, "one passage without words")
    for settings in (
        {"k": 0},
        {"k": -1},
        {"k": 1, "k1": -0.1},
        {"k": 1, "b": -0.1},
        {"k": 1, "b": 1.1},
    ):
        refused(lambda s=settings: student.retrieve("a", ["a"], **s), f"{settings}")
        refused(lambda s=settings: student.retrieve("a", [], **s), f"{settings} and no passages")
        refused(lambda s=settings: student.retrieve("", ["a"], **s), f"{settings} and no query")


# check_facts

TOWNS = ["Tolben", "Quill", "Norwick", "Ostrel"]
KNOWN = ["Brunal lives in Tolben.", "Ann Orlo lives in Quill.", "Brunal sells bread in Norwick."]


def compare_facts(student, answer: str, want: list, hint: str, **changes) -> None:
    """Reject other verdicts on the values of an answer than those given."""
    given = {"passages": KNOWN, "values": TOWNS, "entity": "Brunal"} | changes
    got = student.check_facts(answer, given["passages"], given["values"], given["entity"])
    require(
        type(got) is list
        and all(type(p) is tuple and [type(x) for x in p] == [str, bool] for p in got),
        asked("return a list of (value, is borne out), a text and a bool each", got),
    )
    case = (
        f"{hint}; answer {answer!r} about {given['entity']!r}, passages {brief(given['passages'])}"
    )
    if {"Quill", "Ostrel"} <= {value for value, _ in want} and not changes:
        slip = [(value, value != "Ostrel") for value, _ in want]  # it stands in no passage
        not_the_mistake(
            slip == want or got != slip,
            asked("a passage that names somebody else bears nothing out", got),
        )
    same(got, want, case)
    if student.arguments_after:
        same(student.arguments_after[2], given["values"], "`values` was changed: leave it as it is")


@exercise_check("check_facts", points=2, title="who and what")
def _(student, rng):
    compare_facts(student, "Brunal lives in Tolben.", [("Tolben", True)], "a true claim")
    compare_facts(
        student, "In Quill or Ostrel.", [("Quill", False), ("Ostrel", False)], "two false claims"
    )
    compare_facts(
        student,
        "In Quill, Norwick or Tolben.",
        [("Quill", False), ("Norwick", True), ("Tolben", True)],
        "three claims, in the order of the answer",
    )
    compare_facts(student, "I do not know.", [], "an answer that claims nothing")
    compare_facts(
        student,
        "Tolben, and again Tolben; Quill.",
        [("Tolben", True), ("Quill", False)],
        "a value that is said twice",
    )
    twice = "Tolben. Yes, Tolben."
    compare_facts(
        student, twice, [("Tolben", True)], "a value that is said twice, in two sentences"
    )
    names = [str(n) for n in rng.permutation(["Brunal", "Orlo", "Zitta"])]
    towns = [str(t) for t in rng.permutation(TOWNS[:3])]
    passages = [f"{n} lives in {t}." for n, t in zip(names, towns, strict=True)]
    for name, own in zip(names, towns, strict=True):
        compare_facts(
            student,
            "One of " + ", ".join(towns),
            [(t, t == own) for t in towns],
            "drawn people and towns",
            entity=name,
            passages=passages,
        )


@exercise_check("check_facts", points=2, title="one and the same passage", is_core=False)
def _(student, rng):
    apart = ["Brunal is a baker.", "Somebody lives in Tolben."]
    compare_facts(
        student, "Tolben", [("Tolben", False)], "name and value in two passages", passages=apart
    )
    compare_facts(student, "Tolben", [("Tolben", False)], "no passages", passages=[])
    near = ["Brunalda lives in Tolben."]
    compare_facts(student, "Tolben", [("Tolben", False)], "a longer name", passages=near)
    part = ["Ann lives in Tolben.", "Ann Orlo lives in Quill."]
    compare_facts(
        student,
        "Tolben or Quill",
        [("Tolben", False), ("Quill", True)],
        "a part of the name",
        passages=part,
        entity="Ann Orlo",
    )
    long = ["Brunal is a baker. The shop is in Ostrel.", "In Quill lives Brunal."]
    compare_facts(
        student,
        "Ostrel or Quill",
        [("Ostrel", True), ("Quill", True)],
        "one passage of two sentences, one with the name at its end",
        passages=long,
    )
    loud = ["BRUNAL lives in TOLBEN."]
    compare_facts(student, "tolben", [("Tolben", True)], "capitals", passages=loud)
    doses = {"values": ["5 mg", "15 mg", "2.5 mg"], "entity": "Zorn"}
    compare_facts(
        student,
        "5 mg, 15 mg",
        [("5 mg", False), ("15 mg", True)],
        "one number inside another",
        passages=["Zorn: 15 mg"],
        **doses,
    )
    compare_facts(
        student,
        "5 mg, 2.5 mg",
        [("5 mg", False), ("2.5 mg", True)],
        "the decimals of another number",
        passages=["Zorn: 2.5 mg"],
        **doses,
    )
    routes = {"values": ["drops", "eye drops"], "entity": "Zorn"}
    compare_facts(
        student,
        "as drops",
        [("drops", False)],
        "one value inside a longer one",
        passages=["Zorn comes as eye drops."],
        **routes,
    )
    two = ["Zorn: eye drops.", "Zorn: also drops."]
    compare_facts(
        student, "eye drops", [("eye drops", True)], "the longer value", passages=two, **routes
    )


@exercise_check("check_facts", points=1, title="edges", is_core=False)
def _(student, rng):
    compare_facts(student, "", [], "an empty answer")
    compare_facts(student, "Tolben", [], "no values", values=[])
    for bad in ("", "  "):
        refused(
            lambda bad=bad: student.check_facts("Tolben", KNOWN, TOWNS, bad), f"the entity {bad!r}"
        )
    refused(lambda: student.check_facts("", [], [], ""), "an empty entity, whatever else is empty")


# answer_with_facts


def compare_answer(student, drafts: list, want: str, hint: str, slips: list = ()) -> None:
    """Reject another answer than the first draft that is borne out."""
    got = student.answer_with_facts(drafts, KNOWN, TOWNS, "Brunal", "I can't say.")
    require(type(got) is str, asked(f"return a text, got {type(got).__name__}", got))
    for wrong, words in slips:
        not_the_mistake(wrong == want or got != wrong, asked(words, got))
    same(got, want, f"{hint}; drafts {brief(drafts)}, passages {brief(KNOWN)}")
    if student.arguments_after:
        same(student.arguments_after[0], drafts, "`drafts` was changed: leave it as it is")


@exercise_check("answer_with_facts", points=2, title="the first that holds")
def _(student, rng):
    false, true = "Brunal lives in Quill.", "Brunal lives in Tolben."
    other = "Brunal sells bread in Norwick."
    slips = [(false, "a draft whose claim is not borne out may not be given")]
    compare_answer(student, [false, true], true, "a false draft first", slips)
    compare_answer(student, [true, false], true, "a true draft first")
    slips = [(other, "the first draft that holds, not the last")]
    compare_answer(student, [false, true, other], true, "two that hold", slips)
    compare_answer(student, [other, true], other, "two that hold, the longer one first")
    compare_answer(student, [false, false], "I can't say.", "none that holds")
    compare_answer(
        student, [false, "Brunal lives in Ostrel.", true], true, "two false drafts of two claims"
    )
    both = "In Tolben or in Quill."
    slips = [(both, "every claim must be borne out, not one of them")]
    compare_answer(student, [both, other], other, "one claim of two holds", slips)
    compare_answer(
        student, [both], "I can't say.", "one claim of two holds, and no other draft", slips
    )
    turned, parted = "In Quill or in Tolben.", "In Tolben. Or rather in Quill."
    for half in (turned, parted):
        slips = [(half, "every claim must be borne out, not one of them")]
        compare_answer(student, [half, other], other, "one claim of two holds", slips)
    drafts = [str(d) for d in rng.permutation([false, both, true])]
    compare_answer(student, drafts, true, "drawn order")


@exercise_check("answer_with_facts", points=2, title="edges", is_core=False)
def _(student, rng):
    silent, true = "I have no idea.", "Brunal lives in Tolben."
    slips = [(true, "a draft that claims nothing has nothing to be checked, and passes")]
    compare_answer(student, [silent, true], silent, "a draft without claims", slips)
    compare_answer(student, ["", true], "", "an empty draft")
    compare_answer(
        student, ["I can't say.", true], "I can't say.", "a draft with the refusal's words"
    )
    compare_answer(student, ["In Norwick.", true], "In Norwick.", "a draft that names nobody")
    compare_answer(student, [], "I can't say.", "no drafts")
    odd = "  brunal lives in TOLBEN !"
    compare_answer(student, [odd], odd, "the draft is given as it is")
    for drafts in ([], ["x"], [true]):
        refused(
            lambda d=drafts: student.answer_with_facts(d, KNOWN, TOWNS, " ", "no"),
            f"an entity of one blank, with {len(drafts)} drafts",
        )
