"""Checks of lab 04: the data, the update, the checkpoint and the law.

Oracles: brute force over sets and lists, torch's loss, optimizer and clipping, safetensors' own
reader, synthetic runs from known laws.
"""

from __future__ import annotations

import builtins
import json
import math
from functools import cache

import numpy as np
import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch.nn import functional as F

from utils.labs.checking import (
    Check,
    asked,
    brief,
    close,
    collector,
    in_case,
    require,
    resembles,
    same,
)
from utils.labs.student import LearnerError
from utils.labs.values import File, Once, Weight
from utils.text.duplicates import PRIME, item_number, multipliers
from utils.train.checkpoints import UNFINISHED, content_hash
from utils.train.scaling import ScalingLaw, descend, distance_of, starts

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

EXAMPLES_NOT_TRIED = {  # the checks try the like with plain values
    "minhash_signature": "its example passes a set",
    "save_checkpoint": "its example reads the file with the course's load_checkpoint",
    "clip_gradients": "its example looks at a parameter's gradient after the call",
    "fit_scaling_law": "its example asks the result for a method",
}

HINTS = {
    "minhash_signature": (
        "One place of the signature is a minimum: give each item its number under one numbering, "
        "keep the smallest. Then the next numbering.",
        "By hand: three items with the item numbers 4, 7 and 9, the numberings (1, 0) and (3, 1), "
        "and 11 in place of PRIME. Write the three numbers of each numbering. Which stays? (The "
        "signature is 4, 0.) Does anything depend on the order of the items, or on repetition?",
        "Refuse no items. numbers = [item_number(item) ...] once; then a list that holds for each "
        "(a, b) of multipliers(n_hashes, seed) the smallest (a * x + b) % PRIME over the numbers "
        "x, in whole numbers of Python.",
    ),
    "near_duplicates": (
        "Sort documents into boxes, one box for each band and each content of that band. Only "
        "those that share a box are compared, place by place.",
        "By hand: signatures (1, 2, 3, 4) and (3, 4, 1, 2) with two bands. Which boxes does each "
        "go into? They must not share one: what belongs into the name of a box beside the ids? "
        "Then (1, 2, 3, 4) and (1, 2, 5, 6): they share a box. In how many places do they agree?",
        "Refuse n_bands below 1 and signatures that are empty, of several lengths, or not divided "
        "by n_bands. width = length // n_bands; the key of a box is (band number, the ids of the "
        "band); from each box all pairs (i, j) with i < j go into a set; keep those whose share of "
        "equal places is at least the threshold; sorted list.",
    ),
    "pack_sequences": (
        "Join everything into one long list first, with the end token after each document. Count "
        "positions beside it. Then cut.",
        "By hand: documents (1, 2) and (3,), end token 9, context length 2. Write the stream of "
        "five tokens and under each its place in its document. Each token but the first is the "
        "target of one place: at which token does the second row begin?",
        "Row r starts at r * context_length and has context_length + 1 ids, so neighbours share "
        "one; there are (length - 1) // context_length rows, and fewer than one are refused. "
        "Positions are cut in the same way; both are int64.",
    ),
    "cross_entropy": (
        "A softmax in logarithms, the entry of the target, its negative, and the mean over the "
        "targets that count.",
        "By hand: one position, logits (0, 0, 0), target 2. What is the probability of the target, "
        "and the loss? (ln 3.) Then two positions, of which one is ignored: by what is the sum "
        "divided?",
        "kept = check_targets(logits, targets). Half precision (float16, bfloat16) is turned into "
        "float32. log_softmax over the last axis; gather with the targets as int64, ignored ones "
        "filled with 0 in a copy, and unsqueeze(-1); minus the mean over [kept].",
    ),
    "adamw_step": (
        "Two running means, each kept by its beta. Undo their pull towards zero at the start. "
        "The step is their ratio; the decay is taken off the weight itself.",
        "By hand: weight 1, gradient 5, moments 0, step 1, betas (0.9, 0.84). The new moments are "
        "0.5 and 4. Divided by 1 - beta ** 1 they are 5 and 25. What is the first over the root of "
        "the second, and so the step for lr = 0.1?",
        "Refuse a step below 1. New m = beta1 * m + (1 - beta1) * gradient, new v likewise with "
        "the squared gradient; m / (1 - beta1**step) over sqrt(v / (1 - beta2**step)) + eps, times "
        "lr, is taken off weight * (1 - lr * weight_decay). Return weight, m, v, all new tensors.",
    ),
    "learning_rate": (
        "Three stretches: a straight rise, half a cosine, and a floor that stays.",
        "By hand: peak 1, six steps, two of them warm-up, final 0.1. Step 0 has 1/2, step 1 has 1. "
        "At step 2 nothing of the descent is done, at step 6 all of it: which share is done at "
        "step 4, and what is (1 + cos(pi * share)) / 2 there? Which share is done at step 9?",
        "check_schedule(n_steps, warmup_steps, final) first. Below warmup_steps: "
        "peak * (step + 1) / warmup_steps. Else the share done is 1 from n_steps on and "
        "(step - warmup_steps) / (n_steps - warmup_steps) before; peak * (final + "
        "(1 - final) * (1 + cos(pi * done)) / 2).",
    ),
    "clip_gradients": (
        "All gradients together are one long vector. Measure its length before anything is scaled.",
        "By hand: two parameters with the gradients (3, 0) and (0, 4). How long is (3, 0, 0, 4)? "
        "For max_norm = 1, by which one factor must both be multiplied? And for max_norm = 10?",
        "Refuse a max_norm that is not above 0 (NaN is not). List the gradients that are not None. "
        "The norm is the root of the sum of all squares, taken in float32 for half precision, as a "
        "float; if it is finite and above max_norm, multiply every gradient in place (mul_) by "
        "max_norm / norm. Return the norm; 0.0 without gradients.",
    ),
    "save_checkpoint": (
        "Whoever looks for the file must find the old one or the whole new one, never a part. So "
        "write somewhere else first.",
        "Go through your lines and kill the program after each in thought. What stands in the "
        "folder then, under which names? And if a line raises instead: which line still runs, and "
        "takes the other name away?",
        "path = Path(path). Each tensor detached and contiguous; text = json.dumps(info); data = "
        'save(tensors, metadata={"info": text, "sha256": content_hash(tensors, text)}). Another '
        "name in the same folder: path.with_name(UNFINISHED + path.name). try: "
        "write_flushed(other, data), os.replace(other, path); finally: "
        "other.unlink(missing_ok=True).",
    ),
    "fit_scaling_law": (
        "It is an optimisation like training: five numbers, a distance, and steps downhill, from "
        "several starts since there are several valleys. The descent is given.",
        "By hand: three ends have the distances 3e-5, 1e-5 and nan. Which point is the law? Its "
        "five numbers are log E, log a, alpha, log b, beta: which of them does exp turn back, and "
        "in which order does ScalingLaw take them?",
        "check_runs first. n, d and target are the logarithms of the three lists, float64. "
        "descend(lambda x: distance_of(x, n, d, target), start) gives distance and point for each "
        "of starts(n, d, target); take the point with the least distance that is finite; exp of "
        "log floor, log a and log b, alpha and beta as they are: ScalingLaw(floor, a, alpha, b, "
        "beta) of floats.",
    ),
}


def words(rng: np.random.Generator, n: int) -> list[str]:
    """Return n different invented words."""
    return [f"w{i}" for i in rng.choice(10_000, size=n, replace=False)]


def rejects(student, name: str, *args, hint: str, kind: type = Exception, **kwargs) -> None:
    """Require that a call raises an error of a kind; without one, any that the learner likes."""
    try:
        getattr(student, name)(*args, **kwargs)
    except LearnerError as error:
        raised = getattr(builtins, str(error).split(":")[0], None)
        known = isinstance(raised, type) and issubclass(raised, kind)
        require(kind is Exception or known, f"{hint}, got {error}")
        return
    require(False, hint)


def refused(student, name: str, *args, why: str, **kwargs) -> None:
    """Require that a call raises the ValueError that the docstring names.

    Args:
        student: proxy of the learner's functions.
        name: of the function.
        args, kwargs: of the call.
        why: what is wrong with the arguments, such as "a step of 0".
    """
    try:
        getattr(student, name)(*args, **kwargs)
    except LearnerError as error:
        require("ValueError" in str(error), f"{why}: raise a ValueError, got {error}")
    else:
        require(False, f"{why}: raise a ValueError; nothing was raised")


def unchanged(student, *before, what: str) -> None:
    """Require that the first arguments of the last call are what they were."""
    for argument, old in zip(student.arguments_after, before, strict=False):
        equal = np.array_equal(argument, old) if isinstance(old, np.ndarray) else argument == old
        require(equal, f"{what} changed in place by your function: work on a copy")


def in_64_bits(number: int) -> int:
    """Return what is left of a number in an int64."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def numberings(items: list[str], n_hashes: int, seed: int) -> list[list[int]]:
    """Return for each place of a signature the numbers of all items, not yet modulo PRIME."""
    numbers = [item_number(item) for item in items]
    return [[a * x + b for x in numbers] for a, b in multipliers(n_hashes, seed)]


def same_signature(got: object, want: list[int], hint: str) -> None:
    """Reject another signature, with the first place that differs."""
    if type(got) is list and len(got) == len(want):
        wrong = [k for k, pair in enumerate(zip(got, want, strict=True)) if pair[0] != pair[1]]
        if wrong:
            k = wrong[0]
            told = f"{len(wrong)} of {len(want)} places differ{'s' * (len(wrong) == 1)}"
            told += f"; place {k}: expected {want[k]}, got {brief(got[k], 60)}"
            require(False, f"{asked(hint, got)} ({told})")
    same(got, want, hint)


@exercise_check("minhash_signature", points=2, title="what a signature is")
def _(student, rng):
    items = words(rng, 30)
    got = student.minhash_signature(items, 8, 3)
    unchanged(student, items, what="items were")
    require(isinstance(got, list), f"return a list of whole numbers, got {type(got).__name__}")
    require(len(got) == 8, f"n_hashes=8 asks for 8 numbers, got {len(got)}")
    require(all(type(x) is int for x in got), f"the numbers are Python ints, got {brief(got, 80)}")
    rows = numberings(items, 8, 3)
    want = [min(x % PRIME for x in row) for row in rows]
    for wrong, hint in (
        (
            [max(x % PRIME for x in row) for row in rows],
            "your signature holds the largest numbers: keep the smallest",
        ),
        (
            [min(row) for row in rows],
            "your smallest numbers are taken before the remainder by PRIME: take each number "
            "modulo PRIME first",
        ),
        (
            [min(in_64_bits(x) % PRIME for x in row) for row in rows],
            "in your signature a * x is cut to 64 bits, as a tensor does: whole numbers of Python "
            "keep all",
        ),
        (
            [min(x % PRIME for x in r) for r in numberings(items, 8, 0)],
            "your signature for seed 3 is that for seed 0: pass seed to multipliers",
        ),
        (
            sorted(want),
            "your signature is sorted: place k belongs to numbering k, so keep their order",
        ),
    ):
        require(got != wrong or got == want, f"30 items, n_hashes=8, seed=3: {hint}")
    same_signature(
        got, want, "each place is the smallest (a * item_number + b) % PRIME over all items"
    )
    shuffled = [items[i] for i in rng.permutation(30)]
    same_signature(
        student.minhash_signature(shuffled, 8, 3),
        got,
        "the same items in another order have the same signature",
    )
    capitals = ["A rose is A Rose", "ROSE", "\u00c9t\u00e9"]
    want = [min(x % PRIME for x in row) for row in numberings(capitals, 8, 3)]
    hint = "items are taken as they are, with capitals and accents"
    same_signature(student.minhash_signature(capitals, 8, 3), want, hint)
    twice = items + items[:7]
    same_signature(
        student.minhash_signature(twice, 8, 3), got, "an item that stands twice counts once"
    )


@exercise_check("minhash_signature", points=1, title="agreement estimates the Jaccard similarity")
def _(student, rng):
    errors = []
    for _ in range(6):
        pool = words(rng, 60)
        n_shared = int(rng.integers(10, 40))
        a, b = pool[:40], pool[40 - n_shared :]
        truth = len(set(a) & set(b)) / len(set(a) | set(b))
        seed = int(rng.integers(1, 1000))
        one, two = (student.minhash_signature(s, 256, seed) for s in (a, b))
        require(len(one) == len(two) == 256, f"n_hashes=256 asks for 256 numbers, got {len(one)}")
        errors.append(sum(x == y for x, y in zip(one, two, strict=True)) / 256 - truth)
    error = max(abs(e) for e in errors)
    require(
        error < 5 * 0.5 / 256**0.5,
        "six pairs of sets, 256 numbers each: the share of equal places is off from the Jaccard "
        f"similarity by up to {error:.2f}, expected {5 * 0.5 / 256**0.5:.2f} at most; see that "
        "each place is the smallest number over all items under one numbering (a, b)",
    )


@exercise_check(
    "minhash_signature", points=1, title="any collection, defaults, no items", is_core=False
)
def _(student, rng):
    items = words(rng, 12)
    want = [min(x % PRIME for x in row) for row in numberings(items, 64, 0)]
    for collection in (items, tuple(items), dict.fromkeys(items)):
        kind = type(collection).__name__
        with in_case(f"items are a {kind}: any Collection will do"):
            got = student.minhash_signature(collection)
        require(
            len(got) == 64, f"n_hashes is not given, so 64 numbers are asked for, got {len(got)}"
        )
        same_signature(got, want, f"seed is not given, so it is 0; items are a {kind}")
    row = numberings(["x"], 1, 5)[0]
    same_signature(
        student.minhash_signature(["x"], 1, 5), [row[0] % PRIME], "one item and one numbering"
    )
    for nothing in ([], {}):
        refused(student, "minhash_signature", nothing, 8, why="no items have no smallest")


def brute_pairs(signatures, threshold, n_bands):
    """Return the pairs with a band in common and enough equal places, by comparing all."""
    pairs = []
    for i in range(len(signatures)):
        for j in range(i + 1, len(signatures)):
            a, b = signatures[i], signatures[j]
            width = len(a) // n_bands
            meet = any(
                a[k * width : (k + 1) * width] == b[k * width : (k + 1) * width]
                for k in range(n_bands)
            )
            equal = sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
            if meet and equal >= threshold:
                pairs.append((i, j))
    return pairs


def as_pairs(got) -> list:
    """Return a result as a list of pairs of ints, or reject what is none."""
    require(isinstance(got, list), f"return a list of pairs, got {type(got).__name__}")
    require(
        all(isinstance(p, tuple) and len(p) == 2 for p in got),
        f"each entry is a pair (i, j) of document numbers, a tuple, got {brief(got, 80)}",
    )
    return got


@exercise_check("near_duplicates", points=2, title="by hand")
def _(student, rng):
    signatures = [[1, 2, 3, 4], [5, 6, 7, 8], [1, 2, 3, 9], [1, 2, 3, 4]]
    got = as_pairs(student.near_duplicates(signatures, 0.75, 2))
    unchanged(student, signatures, what="signatures were")
    right = [(0, 2), (0, 3), (2, 3)]
    near = f"documents 0 and 2 agree in 3 of 4 places and share a band, and your pairs are {got}"
    if got == [(0, 3)]:
        below = as_pairs(student.near_duplicates(signatures, 0.74, 2))
        require(
            (0, 2) in below, f"{near}, at threshold 0.75 as at 0.74: count the places that agree"
        )
    for wrong, hint in (
        (sorted((j, i) for i, j in right), "your pairs have the larger number first: write i < j"),
        ([(j, i) for i, j in right], "your pairs have the larger number first: write i < j"),
        (
            [(0, 3)],
            "documents 0 and 2 agree in 3 of 4 places and share a band, and yours leaves them out "
            "at threshold 0.75: a share equal to the threshold counts",
        ),
    ):
        require(got != wrong, f"{hint} (expected {right}, got {got})")
    require(
        (0, 0) not in got,
        "your pairs hold (0, 0), and a document is no near-copy of itself: take pairs with i < j",
    )
    require(
        len(got) == len(set(got)), f"a pair that meets in two bands is to count once, got {got}"
    )
    same(got, right, "signatures (1,2,3,4), (5,6,7,8), (1,2,3,9), (1,2,3,4) in two bands")
    same(
        as_pairs(student.near_duplicates(signatures, 0.8, 2)),
        [(0, 3)],
        "the same signatures at threshold 0.8, for which three of four equal places are too few",
    )
    got = as_pairs(student.near_duplicates([[1, 2]] * 4, 0.5, 1))
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    same(got, pairs, "four equal signatures in one box make six pairs, each with each")


@exercise_check("near_duplicates", points=1, title="only bands at the same place meet")
def _(student, rng):
    a = [int(x) for x in rng.choice(1000, 8, replace=False)]
    both = as_pairs(student.near_duplicates([a, list(a)], 0.5, 4))
    same(both, [(0, 1)], "two equal signatures of 8 numbers in four bands make a pair")
    spoiled = [x if k % 2 else -x - 1 for k, x in enumerate(a)]  # half equal, no band of 2 equal
    got = as_pairs(student.near_duplicates([a, spoiled], 0.5, 4))
    same(
        got,
        [],
        "two signatures with half of their places equal and no whole band in common are no "
        "candidates",
    )
    turned = a[:2] + a[3:] + a[2:3]  # one band equal, the same numbers elsewhere
    same(
        as_pairs(student.near_duplicates([a, turned], 0.5, 4)),
        [],
        "two signatures with a band in common and the other numbers at other places: 2 of 8 "
        "places agree",
    )
    moved = a[4:] + a[:4]
    same(
        as_pairs(student.near_duplicates([a, moved], 0.0, 2)),
        [],
        "two signatures whose bands are equal and stand in another order share no box, since the "
        "band's number is a part of its name",
    )
    for band in range(4):  # the first, the last and those between
        lone = [x if k // 2 == band else -1 for k, x in enumerate(a)]
        hint = f"band {band} of four in common and 2 of 8 places equal"
        got = as_pairs(student.near_duplicates([a, lone], 0.25, 4))
        same(got, [(0, 1)], f"{hint}: a pair at threshold 0.25")
        got = as_pairs(student.near_duplicates([a, lone], 0.5, 4))
        same(got, [], f"{hint}: a candidate, and no copy at threshold 0.5")


@exercise_check("near_duplicates", points=1, title="many documents")
def _(student, rng):
    base = rng.integers(0, 4, size=(30, 16))
    signatures = [[int(x) for x in row] for row in base]
    for k in range(0, 30, 3):
        copy = list(signatures[k])
        copy[int(rng.integers(16))] = -1
        signatures.append(copy)
    for threshold, n_bands in ((0.6, 4), (0.9, 8), (0.3, 16)):
        same(
            as_pairs(student.near_duplicates(signatures, threshold, n_bands)),
            brute_pairs(signatures, threshold, n_bands),
            f"forty signatures of 16 numbers, threshold={threshold}, n_bands={n_bands}: the "
            "sorted pairs",
        )


@exercise_check("near_duplicates", points=1, title="defaults and refusals", is_core=False)
def _(student, rng):
    base = [int(x) for x in rng.choice(9000, 64, replace=False)]
    less = [x if k < 44 else -1 for k, x in enumerate(base)]  # 44 of 64 equal, 0.69
    more = [x if k < 46 else -1 for k, x in enumerate(base)]  # 46 of 64, 0.72
    same(
        as_pairs(student.near_duplicates([base, less, more])),
        [(0, 2), (1, 2)],
        "threshold is not given, so it is 0.7: 46 of 64 equal places are enough, 44 are not",
    )
    spread = [x if k % 8 else -1 for k, x in enumerate(base)]  # in each band of 8 one differs
    same(
        as_pairs(student.near_duplicates([base, spread])),
        [(0, 1)],
        "n_bands is not given, so it is 16 and bands are 4 wide",
    )
    spread = [x if k % 4 else -1 for k, x in enumerate(base)]
    got = as_pairs(student.near_duplicates([base, spread]))
    same(got, [], "n_bands is not given, so it is 16 and bands are 4 wide")
    eight = [1] * 8
    for why, signatures, n_bands in (
        ("signatures of 10 numbers, which 4 bands do not divide", [[1] * 10] * 2, 4),
        ("more bands than numbers", [eight] * 2, 16),
        ("a last signature of different length", [eight, eight, [1] * 4], 4),
        ("a first signature of different length", [[1] * 4, eight, eight], 4),
        ("empty signatures", [[], []], 1),
        ("one empty signature among others", [eight, []], 4),
        ("n_bands=0", [eight, eight], 0),
        ("n_bands=-1", [eight, eight], -1),
    ):
        refused(student, "near_duplicates", signatures, 0.5, n_bands, why=why)


def packed(documents, T, end_id):
    """Return rows and positions, one token at a time."""
    flat = [(t, k) for doc in documents for k, t in enumerate([*doc, end_id])]
    n = (len(flat) - 1) // T
    rows = [flat[r * T : r * T + T + 1] for r in range(n)]
    return (np.array([[pair[i] for pair in row] for row in rows]) for i in (0, 1))


def as_two(got) -> tuple:
    """Return the two parts of a packing, or reject what is none."""
    require(
        isinstance(got, tuple | list)
        and len(got) == 2
        and all(isinstance(part, np.ndarray) for part in got),
        f"return two tensors, token_ids and positions, got {brief(got, 80)}",
    )
    return got[0], got[1]


@exercise_check("pack_sequences", points=2, title="rows")
def _(student, rng):
    documents = [[1, 2], [3], [4, 5, 6]]
    token_ids, _ = as_two(student.pack_sequences(documents, 3, 9))
    case = f"documents {documents}, context_length=3, end_id=9"
    unchanged(student, documents, what="documents were")
    for wrong, hint in (
        ([[1, 2, 3, 4]], "your row has no end_id in it, here 9: close each document with it"),
        (
            [[1, 2, 9, 3], [9, 4, 5, 6]],
            "your second row goes on at 9, behind the first: neighbouring rows share one token, "
            "so begin it at 3",
        ),
        ([[1, 2, 9], [3, 9, 4]], "your rows have context_length ids: give them one more, here 4"),
        ([[9, 1, 2, 9], [9, 3, 9, 4]], "your end token stands before each document: put it behind"),
        (
            [[0, 1, 2, 0], [0, 1, 0, 1]],
            "your positions come first: return token_ids, then positions",
        ),
    ):
        require(not resembles(token_ids, wrong), f"{case}: {hint} (got {brief(token_ids)})")
    rest = (
        "there is one row more than full ones: leave out a rest that fills no row, without padding"
    )
    require(np.shape(token_ids) != (3, 4), rest)
    same(token_ids, np.array([[1, 2, 9, 3], [3, 9, 4, 5]]), "the rows of three short documents")
    T, end = int(rng.integers(4, 8)), 99
    documents = [[int(x) for x in rng.integers(0, 50, n)] for n in rng.integers(0, 9, 12)]
    documents[0] = documents[3] = documents[-1] = []  # an end token alone
    documents[5] = [*documents[5], end]  # a document that ends with the end token is closed, too
    want, _ = packed(documents, T, end)
    got, _ = as_two(student.pack_sequences(documents, T, end))
    require(np.shape(got) != (len(want) + 1, T + 1), rest)
    require(
        np.shape(got) != (len(want) - 1, T + 1),
        f"a row is missing at the end, expected {len(want)} rows: there are (length - 1) // "
        "context_length of them",
    )
    same(
        got,
        want,
        f"{len(documents)} documents, context_length={T}, end_id={end}; some are empty, one ends "
        "with the end token, and each is closed by one more",
    )


@exercise_check("pack_sequences", points=1, title="positions")
def _(student, rng):
    _, positions = as_two(student.pack_sequences([[1, 2], [3], [4, 5, 6]], 3, 9))
    for wrong, hint in (
        (
            [[0, 1, 2, 3], [0, 1, 2, 3]],
            "your positions restart with each row: let them restart with each document",
        ),
        (
            [[0, 1, 2, 3], [3, 4, 5, 6]],
            "your positions go on over documents: let them restart with each",
        ),
        (
            [[0, 1, 0, 0], [0, 0, 0, 1]],
            "your end token has position 0: it is the last of its document, so it counts on",
        ),
        ([[1, 2, 3, 1], [1, 2, 1, 2]], "your positions count from 1: count from 0"),
        (
            [[0, 0, 0, 1], [1, 1, 2, 2]],
            "your positions are numbers of documents: take the place within the document",
        ),
    ):
        case = "documents [[1, 2], [3], [4, 5, 6]], context_length=3"
        require(not resembles(positions, wrong), f"{case}: {hint} (got {brief(positions)})")
    hint = "the place of each token in its own document, from 0, the end token included"
    same(positions, np.array([[0, 1, 2, 0], [0, 1, 0, 1]]), hint)
    T = int(rng.integers(3, 6))
    documents = [[int(x) for x in rng.integers(0, 50, n)] for n in rng.integers(1, 20, 9)]
    documents[4] = list(range(3 * T + 1))  # goes over three rows at least
    _, want = packed(documents, T, 77)
    _, got = as_two(student.pack_sequences(documents, T, 77))
    rows = f"the documents and their end tokens fill {len(want)} rows of {T + 1}, which share an id"
    require(
        np.shape(got) == want.shape,
        f"{rows}: expected positions of shape {want.shape}, got {np.shape(got)}",
    )
    same(got, want, "a document that is cut goes on counting in the next row")


@exercise_check("pack_sequences", points=1, title="types, one row, too little", is_core=False)
def _(student, rng):
    T = int(rng.integers(3, 7))
    large = [[70_000 + k for k in range(T)]]  # T + 1 ids with the end token: one full row
    with in_case(f"{T} tokens and their end token, context_length={T}: one row, nothing left"):
        token_ids, positions = as_two(student.pack_sequences(large, T, (1 << 31) + 5))
    require(
        np.shape(token_ids) == (1, T + 1),
        f"{T} tokens and their end token, context_length={T}: expected one row, shape (1, "
        f"{T + 1}), got {np.shape(token_ids)}",
    )
    for name, part in (("token_ids", token_ids), ("positions", positions)):
        require(part.dtype == np.int64, f"{name} are to be int64, got {part.dtype}")
    want = np.array([[*large[0], (1 << 31) + 5]])
    same(token_ids, want, "ids above 32767 and above 2**31 are kept")
    token_ids, _ = as_two(student.pack_sequences(((4, 5), (6,)), 1, 9))
    same(token_ids, np.array([[4, 5], [5, 9], [9, 6], [6, 9]]), "documents as tuples, rows of two")
    for why, documents in (
        (f"{T} ids with the end token and context_length={T} fill no row", [[1] * (T - 1)]),
        ("no documents", []),
        ("one empty document", [[]]),
    ):
        refused(student, "pack_sequences", documents, T, 9, why=why)


def draw_logits(rng: np.random.Generator, *shape: int, scale: float = 3.0) -> np.ndarray:
    """Return normal random logits in float32."""
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def loss_by_torch(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return torch's loss of logits (..., V) in float64."""
    wide = torch.from_numpy(logits).double().flatten(0, -2)
    return F.cross_entropy(wide, torch.from_numpy(targets).long().flatten()).numpy()


def gradient_by_torch(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the gradient of torch's loss of logits (B, T, V), in float64."""
    leaf = torch.from_numpy(logits).double().requires_grad_()
    F.cross_entropy(leaf.flatten(0, -2), torch.from_numpy(targets).flatten()).backward()
    return leaf.grad.numpy()


NOTHING_ELSE = "the mean of -ln(share of the target) over the targets"


@exercise_check("cross_entropy", points=1, title="values")
def _(student, rng):
    small = np.array([[[1, 2, 0], [0, -1, 3]], [[2, 0, 0], [0, 1, 1]]], np.float32)
    large = draw_logits(rng, 3, 5, 7), rng.integers(0, 7, (3, 5))
    for logits, targets in ((small, np.array([[1, 0], [0, 2]])), large):
        got = student.cross_entropy(logits, targets)
        require(
            np.array_equal(student.arguments_after[0], logits),
            "your function changed the logits in place: work on a copy",
        )
        require(
            np.array_equal(student.arguments_after[1], targets), "targets were changed in place"
        )
        logits_t, targets_t = torch.from_numpy(logits).double(), torch.from_numpy(targets)
        want = loss_by_torch(logits, targets)
        logprobs = logits_t.log_softmax(-1).gather(-1, targets_t[..., None])[..., 0]
        other_axis = logits_t.log_softmax(-2).gather(-1, targets_t[..., None])
        for wrong, hint in (
            (-want, "your loss has the other sign: it is minus the log-probability"),
            (want * targets.size, "your loss is the sum over the targets: take the mean"),
            (
                want * targets.shape[1],
                "your sum is divided by the number of rows: divide by that of all counted targets",
            ),
            (want / math.log(2), "your loss is in bits: take the natural logarithm, for nats"),
            (
                -logprobs.exp().mean(),
                "your loss is a mean of probabilities: take the logarithm of each before the mean",
            ),
            (
                -logprobs.exp().mean().log(),
                "your loss is the logarithm of a mean: take the mean of logarithms",
            ),
            (
                -other_axis.mean(),
                "your softmax runs over another axis: let it run over the vocabulary, the last "
                "axis",
            ),
            (
                -logits_t.gather(-1, targets_t[..., None]).mean(),
                "your loss takes logits for log-probabilities: subtract the log of the sum of "
                "exponentials",
            ),
        ):
            wrong = float(wrong)
            apart = abs(wrong - float(want)) > 1e-3
            case = f"logits {logits.shape}: expected {float(want):.3g}, got {wrong:.3g}"
            require(not (apart and resembles(got, wrong, atol=2e-5)), f"{hint} ({case})")
        close(got, want, NOTHING_ELSE, atol=1e-5, rtol=1e-5)
    got = student.cross_entropy(np.zeros((1, 1, 2), np.float32), np.array([[1]]))
    close(got, np.log(2), "two equal logits: the loss is ln 2")
    for shape in ((4,), (2, 3, 2)):
        logits, targets = draw_logits(rng, *shape, 6), rng.integers(0, 6, shape)
        with in_case(f"logits {(*shape, 6)}, targets {shape}: any leading shape does"):
            got = student.cross_entropy(logits, targets)
        close(got, loss_by_torch(logits, targets), f"logits {(*shape, 6)}, targets {shape}")


@exercise_check("cross_entropy", points=1, title="targets that do not count")
def _(student, rng):
    logits, targets = draw_logits(rng, 3, 6, 5), rng.integers(0, 5, (3, 6))
    targets[0, 0] = targets[0, 1] = targets[1, 3] = targets[2, 5] = -100
    for some in (targets, np.where(np.arange(3)[:, None] == 1, -100, targets)):
        want, n = loss_by_torch(logits, some), int((some != -100).sum())
        with in_case(f"{some.size - n} of {some.size} targets are IGNORE_INDEX, -100"):
            got = student.cross_entropy(logits, some)
        require(
            np.array_equal(student.arguments_after[1], some),
            "your function changed the targets in place: masked_fill, without the underscore, "
            "makes a copy",
        )
        require(
            not resembles(got, want * n / some.size, atol=2e-5),
            f"your sum is divided by the number of all targets, {some.size}: divide by that of "
            f"those that count, {n}",
        )
        filled = np.where(some == -100, 0, some)
        require(
            not resembles(got, loss_by_torch(logits, filled), atol=2e-5),
            "your loss counts ignored targets as if they were token 0: leave them out",
        )
        close(
            got,
            want,
            f"the mean over the {n} targets that count, every one with the same weight",
        )


@exercise_check("cross_entropy", points=1, title="gradients, large logits")
def _(student, rng):
    logits, targets = draw_logits(rng, 2, 4, 5), rng.integers(0, 5, (2, 4))
    got = student.gradients("cross_entropy", logits, targets)[0]
    want = gradient_by_torch(logits, targets)
    hint = "the gradient at each position is (softmax less 1 at the target) / number of targets"
    close(got, want, hint, atol=1e-6)
    targets[0, 0] = targets[1, 2] = targets[1, 3] = -100
    with in_case("the gradient where three of eight targets are ignored"):
        got = student.gradients("cross_entropy", logits, targets)[0]
    close(
        got, gradient_by_torch(logits, targets), f"{hint} that count, 0 where one is ignored", 1e-6
    )
    large = draw_logits(rng, 2, 3, 5) * 1000
    large[0, 1] += 20_000  # where the largest logit is another for each position
    targets = rng.integers(0, 5, (2, 3))
    hint = "logits in the thousands, whose exponentials overflow and whose loss does not"
    got = student.cross_entropy(large, targets)
    close(got, loss_by_torch(large, targets), hint, rtol=1e-4, atol=1e-2)
    with in_case("the gradient for logits in the thousands"):
        got = student.gradients("cross_entropy", large, targets)[0]
    close(got, gradient_by_torch(large, targets), f"gradient for {hint}", atol=1e-5)


@exercise_check("cross_entropy", points=1, title="types and refusals", is_core=False)
def _(student, rng):
    logits, targets = draw_logits(rng, 2, 6, 5), rng.integers(0, 5, (2, 6))
    double = student.cross_entropy(logits.astype(np.float64), targets)
    require(
        getattr(double, "dtype", None) == np.float64,
        "float64 logits: expected a float64 loss, got "
        f"{getattr(double, 'dtype', type(double).__name__)}; turn only half precision into float32",
    )
    half = draw_logits(rng, 2, 8, 200, scale=2.0).astype(np.float16)
    some = rng.integers(0, 200, (2, 8))
    got = student.cross_entropy(half, some)
    hint = "float16 logits over 200 tokens, the loss of the same logits in float32"
    close(got, loss_by_torch(half.astype(np.float32), some), hint, rtol=1e-5, atol=1e-5)
    dtype = getattr(got, "dtype", None)
    require(dtype == np.float32, f"float16 logits: expected a float32 loss, got {dtype}")
    targets[1, 1] = -100
    for kind in (np.int32, np.int16, np.int8):
        with in_case(f"targets of type {np.dtype(kind)}: any integer dtype does"):
            got = student.cross_entropy(logits, targets.astype(kind))
        close(got, loss_by_torch(logits, targets), f"targets of type {np.dtype(kind)}")
    refused(
        student,
        "cross_entropy",
        logits,
        np.full((2, 6), -100),
        why="all targets are ignored, so that there is nothing to take a mean over",
    )
    for outside in (5, -1, 1 << 40):
        for place in ((0, 0), (1, 2), (1, 5)):
            spoiled = targets.copy()
            spoiled[place] = outside
            why = f"target {outside} at {place} is outside the vocabulary of 5"
            refused(student, "cross_entropy", logits, spoiled, why=why)
    for shape, some in (((2, 5), targets[:, :5]), ((12,), targets.reshape(-1))):
        why = f"targets of another shape, {shape}, for logits (2, 6, 5)"
        refused(student, "cross_entropy", logits, some, why=why)


def adamw_by_torch(weight, gradients, lr, betas, eps, decay):
    """Return the weight after each step of torch's AdamW in float64."""
    parameter = torch.nn.Parameter(torch.from_numpy(weight).double())
    optimizer = torch.optim.AdamW([parameter], lr=lr, betas=betas, eps=eps, weight_decay=decay)
    found = []
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient).double()
        optimizer.step()
        found.append(parameter.detach().numpy().copy())
    return found


def as_three(got) -> tuple:
    """Return the three parts of an update, or reject what is none."""
    require(
        isinstance(got, tuple | list) and len(got) == 3,
        f"return three tensors, parameter, first moment, second moment, got {brief(got, 80)}",
    )
    return tuple(got)


def updated(student, *args, **settings) -> tuple:
    """Return the three parts of an update whose arguments stayed as they were."""
    got = as_three(student.adamw_step(*args, **settings))
    names = ("parameter", "gradient", "first_moment", "second_moment")
    for name, after, before in zip(names, student.arguments_after, args, strict=False):
        require(
            np.array_equal(after, before),
            f"{name} was changed in place by your function: return new tensors",
        )
    return got


@exercise_check("adamw_step", points=2, title="the first step, by hand")
def _(student, rng):
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    settings = {"lr": 0.1, "betas": (0.9, 0.84), "eps": 1e-8, "weight_decay": 0.0}
    weight, first, second = updated(student, one, 5 * one, zero, zero, 1, **settings)
    for wrong, hint in (
        (1 - 0.1 * 0.5 / 2, "your means are not corrected: divide both by 1 - beta**step"),
        (1 - 0.1 * 0.5 / 5, "your first mean is not corrected: divide it by 1 - beta1**step"),
        (1 - 0.1 * 5 / 2, "your second mean is not corrected: divide it by 1 - beta2**step"),
        (1 - 0.1 * 5, "your step is lr times the gradient: take the ratio of the means"),
        (
            1 - 0.1 * 5 / 25,
            "your first mean is divided by the second: divide by the root of the second",
        ),
        (1.1, "your update is added: subtract it, to step downhill"),
        (0.89, "your weight is decayed by 0.1, as where none is given: weight_decay is 0 here"),
    ):
        case = f"weight 1, gradient 5, lr 0.1, step 1: expected 0.9, got {wrong:.3g}"
        require(not resembles(weight, [wrong], atol=1e-5), f"{hint} ({case})")
    close(weight, [0.9], "the first step has the size of lr, whatever the gradient", rtol=1e-5)
    for wrong_first, wrong_second, hint in (
        (
            5.0,
            25.0,
            "your means come back corrected: correct them for this step alone, and return them as "
            "they are",
        ),
        (
            4.0,
            0.5,
            "your two moments are swapped: the order is parameter, first moment, second moment",
        ),
    ):
        found = resembles(first, [wrong_first]) and resembles(second, [wrong_second])
        require(not found, hint)
    close(first, [0.5], "first moment: beta1 of the old, 1 - beta1 of the gradient")
    close(second, [4.0], "second moment: beta2 of the old, 1 - beta2 of the squared gradient")
    decayed, *_ = updated(student, one, zero, zero, zero, 1, **(settings | {"weight_decay": 0.5}))
    require(
        not resembles(decayed, [0.9]),
        "weight 1, gradient 0, lr 0.1, weight_decay 0.5: got 0.9, where the decay goes through "
        "the means; take it off the weight itself",
    )
    require(
        not resembles(decayed, [0.5]),
        "weight 1, gradient 0, lr 0.1, weight_decay 0.5: got 0.5, where the decay is not "
        "multiplied by lr; take off lr * weight_decay",
    )
    close(decayed, [0.95], "a weight of 1 without gradient falls by lr * weight_decay")


@exercise_check("adamw_step", points=2, title="twelve steps against torch")
def _(student, rng):
    start = rng.standard_normal((3, 4)).astype(np.float32)
    scales = 10.0 ** rng.uniform(-3, 2, (3, 4))
    gradients = [(rng.standard_normal((3, 4)) * scales).astype(np.float32) for _ in range(12)]
    settings = {"lr": 0.03, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2}
    want = adamw_by_torch(start, gradients, 0.03, (0.8, 0.9), 1e-3, 0.2)
    weight, first, second = start, np.zeros_like(start), np.zeros_like(start)
    for step, gradient in enumerate(gradients, 1):
        weight, first, second = updated(student, weight, gradient, first, second, step, **settings)
        hint = f"update {step} of a (3, 4) matrix, fed with what the one before returned"
        if step == 1:  # the corrected means are the gradient and its square
            wide = gradient.astype(np.float64)
            size, kept, late = np.abs(wide), 1 - 0.03 * 0.2, 1e-3 / (1 - 0.9) ** 0.5
            usual = start * kept - 0.03 * wide / (size + 1e-8)
            slips = [
                (
                    kept * (start - 0.03 * wide / (size + 1e-3)),
                    "your weight is decayed after the step: decay it before",
                ),
                (
                    start * kept - 0.03 * wide / np.sqrt(size**2 + 1e-3),
                    "your eps is added inside the root: add it to the root",
                ),
                (
                    start * kept - 0.03 * wide / (size + late),
                    "your eps is added before the second mean is corrected: add it to the root of "
                    "the corrected one",
                ),
                (usual, "your step is the one with eps 1e-8: use the eps that is passed, 1e-3"),
            ]
            for wrong, slip in slips:
                told_apart = not np.allclose(wrong, want[0], rtol=1e-4, atol=1e-4)
                require(not (told_apart and resembles(weight, wrong, 1e-6)), f"{hint}: {slip}")
        close(weight, want[step - 1], f"{hint}: the weights of torch's AdamW", atol=2e-5, rtol=1e-4)
    tiny = [gradient * 1e-8 / scales.astype(np.float32) for gradient in gradients[:2]]
    for few in (gradients[:2], tiny):
        want = adamw_by_torch(start, few, 0.1, (0.9, 0.95), 1e-8, 0.1)
        weight, first, second = start, np.zeros_like(start), np.zeros_like(start)
        for step, gradient in enumerate(few, 1):
            weight, first, second = updated(student, weight, gradient, first, second, step, lr=0.1)
        hint = "without settings: betas (0.9, 0.95), eps 1e-8, weight_decay 0.1"
        close(weight, want[1], hint, 1e-4)


@exercise_check("adamw_step", points=1, title="float64, and steps from 1", is_core=False)
def _(student, rng):
    start, gradient = rng.standard_normal(3), rng.standard_normal(3)
    zero = np.zeros(3)
    weight, first, second = updated(student, start, gradient, zero, zero, 1, lr=0.1)
    for name, part in (("parameter", weight), ("first", first), ("second", second)):
        dtype = getattr(part, "dtype", None)
        require(
            dtype == np.float64, f"{name}: all arguments are float64, expected float64, got {dtype}"
        )
    want = adamw_by_torch(start, [gradient], 0.1, (0.9, 0.95), 1e-8, 0.1)[0]
    close(weight, want, "one update in float64", atol=1e-10, rtol=1e-9)
    for step in (0, -1):
        why = f"a step of {step} is below 1, and the correction has no value"
        refused(student, "adamw_step", start, gradient, zero, zero, step, lr=0.1, why=why)


def rate(step, peak, n_steps, warmup, final):
    """Return the learning rate of a step in float64."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, n_steps - warmup))
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)


@exercise_check("learning_rate", points=2, title="warm-up, cosine, floor")
def _(student, rng):
    peak, final = (round(float(rng.uniform(*ends)), 3) for ends in ((0.5, 0.9), (0.1, 0.3)))
    warmup = int(rng.integers(4, 9))
    n_steps = warmup + 2 * int(rng.integers(20, 40))
    settings = {"peak": peak, "n_steps": n_steps, "warmup_steps": warmup, "final": final}
    got = {s: student.learning_rate(s, **settings) for s in (0, 1, warmup - 1, warmup)}
    require(
        got[0] != 0,
        f"step 0 of {warmup} steps of warm-up: got 0, so that it would learn nothing; begin at "
        "peak / warmup_steps",
    )
    close(got[0], peak / warmup, "step 0 has peak / warmup_steps")
    ninth = student.learning_rate(0, peak=1 / 3, n_steps=9, warmup_steps=3)
    again = student.learning_rate(0, **settings)
    state = (
        f"step 0 had the rate {float(got[0]):.3g}, and after other calls it has "
        f"{brief(again, 40)}: let it follow from the arguments alone"
    )
    require(resembles(again, got[0]), state)
    require(
        not resembles(ninth, got[0]) or resembles(1 / 9, got[0]),
        "with other settings your rate of step 0 is still that of the first call: keep nothing "
        "between calls",
    )
    rounded = any(float(ninth) == round(1 / 9, places) for places in range(1, 9))
    require(
        not rounded,
        f"peak 1/3 and 3 steps of warm-up: step 0 has 1/9, got {ninth}, which is rounded",
    )
    close(ninth, 1 / 9, "peak 1/3 and 3 steps of warm-up: step 0 has 1/9", rtol=1e-6)
    close(got[1], 2 * peak / warmup, "the warm-up is a straight line: step 1 has twice step 0's")
    close(got[warmup - 1], peak, "the last step of the warm-up has the peak")
    close(got[warmup], peak, "the cosine starts at the peak, right after the warm-up")
    end = student.learning_rate(n_steps, **settings)
    require(
        not resembles(end, 0.0), "at n_steps your rate is 0: let the cosine end at final * peak"
    )
    require(
        not resembles(end, final),
        "at n_steps your rate is final itself: it is a share of the peak, so end at final * peak",
    )
    close(end, final * peak, "at n_steps the rate is final * peak")
    half = (warmup + n_steps) // 2
    middle = student.learning_rate(half, **settings)
    require(
        not resembles(middle, rate(half, peak, n_steps, 0, final)),
        "your cosine runs over all steps: let it run over those after the warm-up",
    )
    close(middle, peak * (1 + final) / 2, "half way down the rate is half way to final * peak")
    for step in (n_steps + 1, 3 * n_steps):
        close(
            student.learning_rate(step, **settings),
            final * peak,
            f"step {step} is past n_steps={n_steps}, where the rate stays",
        )
    for step in (*range(0, n_steps, 5), n_steps - 1):
        want = rate(step, peak, n_steps, warmup, final)
        close(
            student.learning_rate(step, **settings), want, f"the rate of step {step} of {n_steps}"
        )


@exercise_check("learning_rate", points=1, title="no warm-up, all warm-up, refusals", is_core=False)
def _(student, rng):
    peak = round(float(rng.uniform(0.5, 2)), 3)
    with in_case("no warm-up: warmup_steps is 0"):
        got = student.learning_rate(0, peak=peak, n_steps=10)
    require(isinstance(got, float), f"return a float, got {type(got).__name__}")
    close(got, peak, "without a warm-up step 0 has the peak")
    close(student.learning_rate(10, peak=peak, n_steps=10), 0.1 * peak, "final is 0.1 if not given")
    middle = student.learning_rate(5, peak=peak, n_steps=10)
    close(middle, 0.55 * peak, "no warm-up if none is given: half way down at step 5 of 10")
    end = student.learning_rate(10, peak=peak, n_steps=10, final=0.0)
    close(end, 0.0, "final=0 is a share, too: the rate ends at zero")
    end = student.learning_rate(10, peak=peak, n_steps=10, final=1.0)
    close(end, peak, "final=1: the rate stays at the peak")
    end = student.learning_rate(6, peak=peak, n_steps=6, warmup_steps=5)
    close(end, 0.1 * peak, "one step after a long warm-up the run is over: final * peak")
    for step, want in ((4, peak), (5, 0.1 * peak), (6, 0.1 * peak)):
        with in_case(f"step {step} of 5, where the warm-up fills the run: warmup_steps=5"):
            got = student.learning_rate(step, peak=peak, n_steps=5, warmup_steps=5)
        close(got, want, "the warm-up fills the run of 5 steps: peak at 4, final * peak from 5 on")
    for why, settings in (
        ("a warm-up of 4 that is longer than the run of 3", {"warmup_steps": 4}),
        ("a negative warm-up", {"warmup_steps": -1}),
        ("final=1.5, a share of the peak in 0..1", {"final": 1.5}),
        ("final=-0.1, a share of the peak in 0..1", {"final": -0.1}),
    ):
        refused(student, "learning_rate", 0, peak=1.0, n_steps=3, why=why, **settings)


@exercise_check("clip_gradients", points=1, title="one norm for all")
def _(student, rng):
    zero = np.zeros(2, np.float32)
    weights = [Weight(zero, np.array([3.0, 0.0], np.float32))]
    weights += [Weight(zero, np.array([0.0, 4.0], np.float32)), Weight(zero, None)]
    with in_case("gradients (3, 0), (0, 4) and None, which is passed over"):
        norm = student.clip_gradients(weights, 1.0)
    require(isinstance(norm, float), f"return the norm as a float, got {type(norm).__name__}")
    for wrong, hint in (
        (
            1.0,
            "gradients (3, 0) and (0, 4), max_norm 1: got 1, the norm after clipping; return the "
            "one before",
        ),
        (
            4.0,
            "gradients (3, 0) and (0, 4): got 4, the largest of their norms; take that of all "
            "together",
        ),
        (
            7.0,
            "gradients (3, 0) and (0, 4): got 7, the sum of their norms; add squares, and take "
            "the root once",
        ),
        (25.0, "gradients (3, 0) and (0, 4): got 25, the sum of squares; take its root"),
    ):
        require(abs(norm - wrong) > 1e-5, hint)
    close(norm, 5.0, "gradients (3, 0) and (0, 4) have the joint norm 5")
    (value, first, kept), (_, second, _), (_, none, _) = student.arguments_after[0]
    require(np.array_equal(value, zero), "your function changed the weights: scale gradients only")
    require(
        none is None, "a parameter without a gradient has one after your function: leave it without"
    )
    require(
        not resembles(first, [3.0, 0.0]),
        "the gradient (3, 0) is as it was: scale it in place, gradient.mul_(...), so that the "
        "optimizer sees it",
    )
    require(
        not (resembles(first, [1.0, 0.0]) and resembles(second, [0.0, 1.0])),
        "your gradients are (1, 0) and (0, 1), each or each number clipped by itself: multiply "
        "all by one factor, which keeps the direction",
    )
    close(first, [0.6, 0.0], "gradient (3, 0) of (3, 0), (0, 4) times max_norm / norm = 1 / 5")
    close(second, [0.0, 0.8], "gradient (0, 4) of (3, 0), (0, 4) times max_norm / norm = 1 / 5")
    require(
        resembles(kept, first),
        "your function put a new tensor in the gradient's place: scale the one that is there, in "
        "its own memory",
    )


@exercise_check("clip_gradients", points=1, title="small ones stay, large ones are scaled")
def _(student, rng):
    shapes = [(3, 2), (4,), (2, 2, 2), (5,)]
    drawn = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    total = float(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in drawn)))

    def weights():
        return [Weight(np.zeros(g.shape, np.float32), g) for g in drawn]

    with in_case("parameters are an iterator, as model.parameters() is: no list"):
        got = student.clip_gradients(Once(weights()), round(total / 2, 3))
    close(got, total, "the norm: the root of the sum of all squares, of four gradients")
    after = student.arguments_after[0]
    require(
        not all(resembles(a[1], old) for a, old in zip(after, drawn, strict=True)),
        "max_norm is half of the norm, and no gradient was scaled; parameters are an iterator "
        "here, as model.parameters() is, which can be gone through once",
    )
    third, twice = round(total / 3, 3), round(2 * total, 3)
    for max_norm, factor in ((third, third / total), (twice, 1), (math.inf, 1)):
        with in_case(f"max_norm={max_norm:.3g}, the norm is {total:.3g}"):
            norm = student.clip_gradients(weights(), max_norm)
        close(norm, total, "the norm before clipping")
        for (_, gradient, _), old in zip(student.arguments_after[0], drawn, strict=True):
            hint = (
                "a norm above max_norm: all gradients times the same factor max_norm / norm"
                if factor < 1
                else f"a norm below max_norm={max_norm:.3g} changes nothing: only scale down"
            )
            close(gradient, old * factor, hint, atol=1e-7)


@exercise_check(
    "clip_gradients", points=1, title="half precision, zeros, broken ones, refusals", is_core=False
)
def _(student, rng):
    half = [np.array([300.0, 0.0], np.float16), np.array([0.0, 400.0], np.float16)]
    weights = [Weight(np.zeros(2, np.float16), g) for g in half]
    close(
        student.clip_gradients(weights, 5.0),
        500.0,
        "gradients (300, 0) and (0, 400) in half precision, whose squares it can't hold: norm 500",
        rtol=1e-3,
    )
    gradients = [gradient for _, gradient, _ in student.arguments_after[0]]
    close(gradients[0], [3.0, 0.0], "the same gradients, scaled to a joint norm of 5", 1e-2)
    require(
        gradients[0].dtype == np.float16,
        f"gradients in float16: expected float16, got {gradients[0].dtype}",
    )
    for bad in (np.inf, np.nan):
        for place in (0, 1):
            broken = np.array([1.0, 2.0], np.float32)
            broken[place] = bad
            weights = [Weight(np.zeros(2, np.float32), g) for g in (np.ones(2, np.float32), broken)]
            with in_case(f"a gradient that holds {bad}: nothing is changed, and nothing raised"):
                norm = student.clip_gradients(weights, 1.0)
            require(
                not math.isfinite(norm),
                f"a gradient that holds {bad}: the norm is not finite, got {norm}",
            )
            for (_, gradient, _), old in zip(student.arguments_after[0], weights, strict=True):
                hint = f"a gradient that holds {bad}: a norm that is not finite changes nothing"
                require(np.array_equal(gradient, old.gradient, equal_nan=True), hint)
    for weights in ([], [Weight(np.zeros(2, np.float32), None)]):
        with in_case("parameters of which none has a gradient"):
            norm = student.clip_gradients(weights, 1.0)
        close(norm, 0.0, "where no parameter has a gradient, the norm is 0")
    with in_case("all gradients are zero"):
        norm = student.clip_gradients([Weight(np.zeros(2), np.zeros(2))], 1.0)
    close(norm, 0.0, "gradients of zero have the norm 0")
    same(student.arguments_after[0][0][1], np.zeros(2), "gradients of zero stay zero")
    for bad in (0.0, -1.0, math.nan):
        weights = [Weight(np.zeros(2), np.ones(2))]
        why = f"max_norm={bad}".replace("nan", "NaN") + ", which is not positive"
        refused(student, "clip_gradients", weights, bad, why=why)


def draw_tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return tensors of several shapes and dtypes; the first is no block of memory."""
    return {
        "weight": np.asfortranarray(rng.standard_normal((3, 4)).astype(np.float32)),
        "step": rng.integers(0, 99, 1),
        "half": rng.standard_normal(5).astype(np.float16),
        "scalar": np.array(rng.standard_normal()),
        "mask": rng.random(6) < 0.5,
    }


def file_of(tensors: dict[str, np.ndarray], info: dict) -> bytes:
    """Return the file that these tensors and facts belong into, by safetensors' own writer."""
    text = json.dumps(info)
    held = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
    return write_tensors(held, metadata={"info": text, "sha256": content_hash(held, text)})


def read_back(content: bytes | None, what: str) -> dict[str, np.ndarray]:
    """Return the tensors of a file, or reject one that is none."""
    require(content is not None, f"{what}: there is no file at path")
    try:
        return {name: tensor.numpy() for name, tensor in read_tensors(content).items()}
    except Exception:
        require(False, f"{what}: the file is no safetensors file")


def same_tensors(content: bytes | None, tensors: dict[str, np.ndarray], what: str) -> None:
    """Require that a file holds these tensors."""
    found = read_back(content, what)
    same(sorted(found), sorted(tensors), f"{what}: the names of the tensors")
    for name, array in tensors.items():
        same(found[name], array, f"{what}: tensor {name!r}, {array.dtype} {array.shape}")


@exercise_check("save_checkpoint", points=1, title="what stands in the file")
def _(student, rng):
    tensors, info = draw_tensors(rng), {"step": int(rng.integers(1, 99)), "losses": [1.5, 0.25]}
    with in_case("five tensors, of which `weight` is a transposed view"):
        student.save_checkpoint(File(), tensors, info)
    after = student.arguments_after[0]
    for name, held in student.arguments_after[1].items():
        require(
            np.array_equal(held, tensors.get(name)),
            f"your function changed tensor {name!r} in place: write a copy of it",
        )
    same(student.arguments_after[2], info, "your function changed info in place")
    same_tensors(after["content"], tensors, "after saving")
    header = json.loads(after["content"][8 : 8 + int.from_bytes(after["content"][:8], "little")])
    metadata = header.get("__metadata__") or {}
    require("info" in metadata, "the header holds no info: pass metadata={'info': ..., ...}")
    try:
        read = json.loads(metadata["info"])
    except ValueError:
        require(False, "the info in the header is no JSON: make it by json.dumps, not by str")
    hint = "the info in the header, read as JSON"
    same(json.dumps(read, sort_keys=True), json.dumps(info, sort_keys=True), hint)
    held = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
    require("sha256" in metadata, "the header holds no sha256: pass content_hash(tensors, text)")
    same(
        metadata["sha256"],
        content_hash(held, metadata["info"]),
        "the sha256 in the header, content_hash over the tensors and the very text that the "
        "header holds",
    )
    same(
        after["names"],
        ["checkpoint"],
        "what your function left in the folder",
    )


@exercise_check("save_checkpoint", points=1, title="whole or not at all")
def _(student, rng):
    old, new = draw_tensors(rng), draw_tensors(rng)
    before = file_of(old, {"step": 1})
    student.save_checkpoint(File(before), new, {"step": 2})
    after = student.arguments_after[0]
    require(
        after["kept"] == before,
        "the old file was written over in place: a kill in the middle would leave half of each. "
        "Write to another name in the folder, then os.replace",
    )
    same_tensors(after["content"], new, "after saving over an old file")
    same(
        after["names"],
        ["checkpoint"],
        "what your function left in the folder: os.replace takes the other name away",
    )
    require(
        all(there for _, _, there in after["calls"]),
        "for a moment your function left no file at all: don't remove or move the old one, "
        "os.replace puts the new one in its place in a single step",
    )
    names = [name for name, _, _ in after["calls"]]
    moved = next((k for k, name in enumerate(names) if name in ("replace", "rename")), len(names))
    require(
        "fsync" in names[:moved],
        "your bytes are not flushed before the rename, and after a power failure the new name "
        "could hold nothing: write_flushed flushes them",
    )
    require(
        all(len(beside) > 1 for name, beside, _ in after["calls"][moved : moved + 1]),
        "your other name was not in the folder of path: write it there, since from another disk a "
        "rename is a slow copy",
    )


@exercise_check("save_checkpoint", points=1, title="what a failure leaves behind", is_core=False)
def _(student, rng):
    tensors = draw_tensors(rng)
    before = file_of(tensors, {"step": 1})
    with in_case("an old file is there and nothing is in the way"):
        student.save_checkpoint(File(before), tensors, {"step": 2})
    require(
        student.arguments_after[0]["content"] != before,
        "a new save over an old file left the old one there",
    )
    hint = "info holds bytes, which JSON can't: let json.dumps raise"
    rejects(student, "save_checkpoint", File(before), tensors, {"step": b"no JSON"}, hint=hint)
    after = student.arguments_after[0]
    require(
        after["content"] == before,
        "saving failed, since info is no JSON, and the old file is lost: touch it only when the "
        "new one is whole",
    )
    hint = "saving failed, and this is left in the folder: remove the other name in a finally"
    same(after["names"], ["checkpoint"], hint)
    hint = "path is a folder, so os.replace raises an OSError: let it through"
    blocked = File(blocked=True)
    rejects(student, "save_checkpoint", blocked, tensors, {"step": 2}, hint=hint, kind=OSError)
    hint = "the rename failed, and this is left in the folder: remove the other name in a finally"
    same(student.arguments_after[0]["names"], ["checkpoint"], hint)
    other = UNFINISHED + "checkpoint"  # where this name is used, nothing can be written
    try:
        student.save_checkpoint(File(before, in_the_way=other), tensors, {"step": 2})
    except LearnerError:
        kept = student.arguments_after[0]["content"]
        require(
            kept == before,
            "the other name could not be written, and the old file is lost: leave it alone, remove "
            "the other name only",
        )


@exercise_check("save_checkpoint", points=1, title="a path as text, no tensors", is_core=False)
def _(student, rng):
    tensors = draw_tensors(rng)
    for content in (None, file_of(draw_tensors(rng), {"step": 1})):
        with in_case("path is a text, str"):
            student.save_checkpoint(File(content, is_text=True), tensors, {"step": 2})
        after = student.arguments_after[0]
        same_tensors(after["content"], tensors, "path is a text")
        same(after["names"], ["checkpoint"], "path is a text: nothing else is left in the folder")
    with in_case("no tensors and no facts: an empty dictionary each"):
        student.save_checkpoint(File(), {}, {})
    same_tensors(student.arguments_after[0]["content"], {}, "no tensors")


SIZES, TOKENS = (0.079, 0.8, 8.0, 81.0), (1.2, 14.0, 150.0, 1700.0)  # in millions


def draw_law(rng: np.random.Generator) -> ScalingLaw:
    """Return a law whose parts all matter over SIZES and TOKENS, and whose numbers differ."""
    floor, a, b = (float(rng.uniform(*bounds)) for bounds in ((1.1, 1.6), (0.8, 1.2), (1.3, 1.7)))
    alpha, beta = (float(x) for x in rng.permutation([0.4, 0.55]) + rng.uniform(-0.03, 0.03))
    return ScalingLaw(floor, a * SIZES[1] ** alpha, alpha, b * TOKENS[1] ** beta, beta)


def runs_of(law: ScalingLaw) -> tuple[list, list, list]:
    """Return sizes, tokens and losses of runs of a law, one for each size and number of tokens."""
    runs = [(n, d) for n in SIZES for d in TOKENS]
    return [n for n, _ in runs], [d for _, d in runs], [law.loss(n, d) for n, d in runs]


def as_law(got) -> ScalingLaw:
    """Return five numbers as a law, or reject what is none."""
    require(
        isinstance(got, tuple | list)
        and len(got) == 5
        and all(isinstance(x, float) and math.isfinite(x) for x in got),
        "return ScalingLaw(irreducible, a, alpha, b, beta), five finite floats, got "
        f"{brief(got, 80)}",
    )
    return ScalingLaw(*got)


def loss_at(law: ScalingLaw, n: float, d: float) -> float:
    """Return a law's loss, infinity where it is too large to be held."""
    try:
        return law.loss(n, d)
    except OverflowError:
        return math.inf


def explain_law(got: ScalingLaw, law: ScalingLaw) -> None:
    """Reject the numbers that a known mistake would give."""
    floor, a, alpha, b, beta = law
    log_floor, log_a, log_b = math.log(floor), math.log(a), math.log(b)
    logs = "the point holds logarithms of floor, a and b, so return their exponentials"
    for wrong, hint in (
        (
            (floor, b, beta, a, alpha),
            "your a and alpha are those of the tokens, b and beta those of N: swap them",
        ),
        ((log_floor, a, alpha, b, beta), f"your floor is still a logarithm: {logs}"),
        ((floor, log_a, alpha, b, beta), f"your a is still a logarithm: {logs}"),
        ((floor, a, alpha, log_b, beta), f"your b is still a logarithm: {logs}"),
        ((floor, log_a, alpha, log_b, beta), f"your a and b are still logarithms: {logs}"),
        ((log_floor, log_a, alpha, log_b, beta), logs),
        (
            (floor, a, math.exp(alpha), b, math.exp(beta)),
            "your alpha and beta are exponentials: they stand in the point as they are",
        ),
        (
            (floor, a, b, alpha, beta),
            "your numbers stand in another order: ScalingLaw takes irreducible, a, alpha, b, beta",
        ),
    ):
        is_it = all(abs(x - y) < 0.01 * abs(y) for x, y in zip(got, wrong, strict=True))
        require(not is_it, f"{hint} (expected {rounded(law)}; got {rounded(got)})")


@exercise_check("fit_scaling_law", points=2, title="a known law is found")
def _(student, rng):
    law = draw_law(rng)
    fitted = as_law(student.fit_scaling_law(*runs_of(law)))
    explain_law(fitted, law)
    for n, d in (*zip(*runs_of(law)[:2], strict=True), (4 * SIZES[-1], 4 * TOKENS[-1])):
        want, got = law.loss(n, d), loss_at(fitted, n, d)
        require(
            abs(got / want - 1) < 0.01,
            f"{len(SIZES) * len(TOKENS)} runs without noise of the law {rounded(law)}: at N={n:g}, "
            f"D={d:g} its loss is {want:.4g}, and that of yours, {rounded(fitted)}, is {got:.4g}",
        )


def rounded(law: ScalingLaw) -> str:
    """Return a law's numbers as a short text."""
    return ", ".join(f"{name}={x:.3g}" for name, x in zip(law._fields, law, strict=True))


@exercise_check("fit_scaling_law", points=1, title="one bad run")
def _(student, rng):
    law = draw_law(rng)
    n, d, losses = runs_of(law)
    losses[int(rng.integers(len(losses)))] *= 1.3
    fitted = as_law(student.fit_scaling_law(n, d, losses))
    size, tokens = 4 * SIZES[-1], 4 * TOKENS[-1]
    error = abs(loss_at(fitted, size, tokens) / law.loss(size, tokens) - 1)
    require(
        error < 0.005,
        f"one bad run of {len(losses)}, its loss 1.3 times too large: your prediction moves by "
        f"{error:.1%}, expected 0.5% at most; see that you descend by distance_of, whose Huber "
        "loss lets a bad run pull in a straight line only",
    )


@exercise_check("fit_scaling_law", points=1, title="runs that decide no law", is_core=False)
def _(student, rng):
    n, d, losses = runs_of(draw_law(rng))
    with in_case("twenty runs of a law"):
        as_law(student.fit_scaling_law(n, d, losses))  # what can be fitted is not refused
    for why, some in (
        ("four runs", (n[:4], d[:4], losses[:4])),
        ("n_parameters of another length", (n[:-1], d, losses)),
        ("n_tokens of another length", (n, d[:-1], losses)),
        ("losses of another length", (n, d, losses[:-1])),
        ("one size only, which can't tell its part from the floor", ([n[0]] * len(n), d, losses)),
        ("one number of tokens only", (n, [d[0]] * len(d), losses)),
    ):
        refused(student, "fit_scaling_law", *some, why=why)
    for bad in (0.0, -1.0, math.nan, math.inf):
        for k, name in enumerate(("n_parameters", "n_tokens", "losses")):
            columns = [list(n), list(d), list(losses)]
            columns[k][(0, 3, -1)[k]] = bad
            refused(student, "fit_scaling_law", *columns, why=f"{name} that are not all positive")


# Runs whose three starts end in different valleys. In which of them a start ends hangs on the last
# bits of a machine's arithmetic, so the ends are looked up where the check runs.
VALLEYS = (
    (
        [3e4, 6e4, 2e5, 3e5, 2e4, 1e5],
        [2e5, 2e5, 9e7, 1e5, 6e7, 2e7],
        [4.8, 4.1, 2.3, 4.7, 3.3, 2.8],
    ),
    (
        [7e4, 2e4, 1e5, 2e5, 6e4, 8e4],
        [2e7, 7e7, 7e6, 1e5, 3e6, 1e7],
        [2.7, 4.0, 2.6, 5.7, 2.9, 2.7],
    ),
)


@cache
def distances_of_ends(number: int) -> list[float]:
    """Return how far the given descent ends from the runs of `VALLEYS`, start by start."""
    columns = (torch.tensor(column, dtype=torch.float64).log() for column in VALLEYS[number])
    n, d, target = columns
    ends = [descend(lambda x: distance_of(x, n, d, target), s) for s in starts(n, d, target)]
    return [distance for distance, _ in ends if math.isfinite(distance)]


def huber_distance(law: ScalingLaw, n: list, d: list, losses: list) -> float:
    """Return the mean Huber loss, with its bend at 0.001, of the logarithms of losses."""
    runs = zip(n, d, losses, strict=True)
    off = [abs(math.log(loss_at(law, *run[:2])) - math.log(run[2])) for run in runs]
    return sum(x * x / 2 if x < 1e-3 else 1e-3 * (x - 5e-4) for x in off) / len(off)


@exercise_check("fit_scaling_law", points=1, title="the best of several ends", is_core=False)
def _(student, rng):
    for number, runs in enumerate(VALLEYS):
        nearest, farthest = min(distances_of_ends(number)), max(distances_of_ends(number))
        distance = huber_distance(as_law(student.fit_scaling_law(*runs)), *runs)
        require(
            distance < 1.05 * nearest,
            "six runs with noise whose starts end in different valleys, the nearest at a distance "
            f"of {nearest:.3g}, the farthest at {farthest:.3g}: yours is at {distance:.3g}; see "
            "that you return the end with the least distance",
        )
