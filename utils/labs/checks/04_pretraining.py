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

from utils.labs.checking import Check, close, collector, in_case, require, resembles, same
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
        require(kind is Exception or known, f"{hint}; yours raised {error}")
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
        require("ValueError" in str(error), f"{why}: raise a ValueError; yours raised {error}")
    else:
        require(False, f"{why}: raise a ValueError; yours raised nothing")


def unchanged(student, *before, what: str) -> None:
    """Require that the first arguments of the last call are what they were."""
    for argument, old in zip(student.arguments_after, before, strict=False):
        equal = np.array_equal(argument, old) if isinstance(old, np.ndarray) else argument == old
        require(equal, f"{what} changed in place: arguments are the caller's")


def in_64_bits(number: int) -> int:
    """Return what is left of a number in an int64."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def numberings(items: list[str], n_hashes: int, seed: int) -> list[list[int]]:
    """Return for each place of a signature the numbers of all items, not yet modulo PRIME."""
    numbers = [item_number(item) for item in items]
    return [[a * x + b for x in numbers] for a, b in multipliers(n_hashes, seed)]


@exercise_check("minhash_signature", points=2, title="what a signature is")
def _(student, rng):
    items = words(rng, 30)
    got = student.minhash_signature(items, 8, 3)
    unchanged(student, items, what="items were")
    require(isinstance(got, list), f"return a list of whole numbers, got {type(got).__name__}")
    require(len(got) == 8, f"n_hashes=8 asks for 8 numbers, got {len(got)}")
    require(all(type(x) is int for x in got), "the numbers are Python ints, smaller than PRIME")
    rows = numberings(items, 8, 3)
    want = [min(x % PRIME for x in row) for row in rows]
    for wrong, hint in (
        (
            [max(x % PRIME for x in row) for row in rows],
            "keep the smallest number, not the largest",
        ),
        (
            [min(row) for row in rows],
            "each number is taken modulo PRIME before the smallest is kept",
        ),
        (
            [min(in_64_bits(x) % PRIME for x in row) for row in rows],
            "a * x needs more than 64 bits: a tensor cuts them off, whole numbers of Python don't",
        ),
        ([min(x % PRIME for x in r) for r in numberings(items, 8, 0)], "seed is not used"),
        (sorted(want), "place k belongs to numbering k: sorted, places can't be compared"),
    ):
        require(got != wrong or got == want, hint)
    same(got, want, "each place is the smallest (a * item_number + b) % PRIME over all items")
    shuffled = [items[i] for i in rng.permutation(30)]
    same(student.minhash_signature(shuffled, 8, 3), got, "the order of the items does not matter")
    capitals = ["A rose is A Rose", "ROSE", "\u00c9t\u00e9"]
    want = [min(x % PRIME for x in row) for row in numberings(capitals, 8, 3)]
    hint = "items are taken as they are, with capitals and accents"
    same(student.minhash_signature(capitals, 8, 3), want, hint)
    twice = items + items[:7]
    same(student.minhash_signature(twice, 8, 3), got, "an item that stands twice counts once")


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
        f"the share of equal places is off from the Jaccard similarity by {error:.2f}: each place "
        "must be the smallest number over all items under one numbering (a, b)",
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
        require(len(got) == 64, f"n_hashes is 64 where it is not given, got {len(got)}")
        same(got, want, f"seed is 0 where it is not given; items are a {kind}")
    row = numberings(["x"], 1, 5)[0]
    same(student.minhash_signature(["x"], 1, 5), [row[0] % PRIME], "one item and one numbering")
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
        "each entry is a pair (i, j) of document numbers, a tuple",
    )
    return got


@exercise_check("near_duplicates", points=2, title="by hand")
def _(student, rng):
    signatures = [[1, 2, 3, 4], [5, 6, 7, 8], [1, 2, 3, 9], [1, 2, 3, 4]]
    got = as_pairs(student.near_duplicates(signatures, 0.75, 2))
    unchanged(student, signatures, what="signatures were")
    right = [(0, 2), (0, 3), (2, 3)]
    near = f"documents 0 and 2 agree in 3 of 4 places and share a band: got {got}"
    if got == [(0, 3)]:
        below = as_pairs(student.near_duplicates(signatures, 0.74, 2))
        require((0, 2) in below, f"{near} at thresholds 0.75 and 0.74: count the places that agree")
    for wrong, hint in (
        (sorted((j, i) for i, j in right), "write the smaller number first: i < j"),
        ([(j, i) for i, j in right], "write the smaller number first: i < j"),
        (
            [(0, 3)],
            "documents 0 and 2 agree in 3 of 4 places and share a band: a share equal to the "
            "threshold counts",
        ),
    ):
        require(got != wrong, hint)
    require((0, 0) not in got, "a document is no near-copy of itself: pairs (i, j) have i < j")
    require(len(got) == len(set(got)), f"a pair that meets in two bands counts once; got {got}")
    same(got, right, "signatures (1,2,3,4), (5,6,7,8), (1,2,3,9), (1,2,3,4) in two bands")
    same(
        as_pairs(student.near_duplicates(signatures, 0.8, 2)),
        [(0, 3)],
        "with threshold 0.8 three of four equal places are too few",
    )
    got = as_pairs(student.near_duplicates([[1, 2]] * 4, 0.5, 1))
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    same(got, pairs, "four copies of one page in one box make six pairs, each with each")


@exercise_check("near_duplicates", points=1, title="only bands at the same place meet")
def _(student, rng):
    a = [int(x) for x in rng.choice(1000, 8, replace=False)]
    both = as_pairs(student.near_duplicates([a, list(a)], 0.5, 4))
    same(both, [(0, 1)], "two equal signatures make a pair")
    spoiled = [x if k % 2 else -x - 1 for k, x in enumerate(a)]  # half equal, no band of 2 equal
    got = as_pairs(student.near_duplicates([a, spoiled], 0.5, 4))
    same(got, [], "two documents without a whole band in common are no candidates, however alike")
    turned = a[:2] + a[3:] + a[2:3]  # one band equal, the same numbers elsewhere
    same(
        as_pairs(student.near_duplicates([a, turned], 0.5, 4)),
        [],
        "the same number at another place is no agreement: compare place by place",
    )
    moved = a[4:] + a[:4]
    same(
        as_pairs(student.near_duplicates([a, moved], 0.0, 2)),
        [],
        "the same numbers in another band are another box: put the band's number into the key",
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
            f"threshold={threshold}, n_bands={n_bands}: the sorted pairs",
        )


@exercise_check("near_duplicates", points=1, title="defaults and refusals", is_core=False)
def _(student, rng):
    base = [int(x) for x in rng.choice(9000, 64, replace=False)]
    less = [x if k < 44 else -1 for k, x in enumerate(base)]  # 44 of 64 equal, 0.69
    more = [x if k < 46 else -1 for k, x in enumerate(base)]  # 46 of 64, 0.72
    same(
        as_pairs(student.near_duplicates([base, less, more])),
        [(0, 2), (1, 2)],
        "threshold is 0.7 where it is not given: 46 of 64 equal places are enough, 44 are not",
    )
    spread = [x if k % 8 else -1 for k, x in enumerate(base)]  # in each band of 8 one differs
    same(
        as_pairs(student.near_duplicates([base, spread])),
        [(0, 1)],
        "n_bands is 16 where it is not given, so that bands are 4 wide",
    )
    spread = [x if k % 4 else -1 for k, x in enumerate(base)]
    got = as_pairs(student.near_duplicates([base, spread]))
    same(got, [], "n_bands is 16 where it is not given, so that bands are 4 wide")
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
        "return two tensors: token_ids and positions",
    )
    return got[0], got[1]


@exercise_check("pack_sequences", points=2, title="rows")
def _(student, rng):
    documents = [[1, 2], [3], [4, 5, 6]]
    token_ids, _ = as_two(student.pack_sequences(documents, 3, 9))
    unchanged(student, documents, what="documents were")
    for wrong, hint in (
        ([[1, 2, 3, 4]], "each document is closed by end_id, here 9"),
        ([[1, 2, 9, 3], [9, 4, 5, 6]], "neighbouring rows share one token: go on at 3, not at 4"),
        ([[1, 2, 9], [3, 9, 4]], "a row has context_length + 1 ids, here 4"),
        ([[9, 1, 2, 9], [9, 3, 9, 4]], "the end token comes after a document, not before"),
        ([[0, 1, 2, 0], [0, 1, 0, 1]], "the order is token_ids first, then positions"),
    ):
        require(not resembles(token_ids, wrong), hint)
    rest = "a rest that fills no row is left out: no padding, no short row"
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
        "a row is missing at the end: there are (length - 1) // context_length of them",
    )
    same(
        got,
        want,
        f"{len(documents)} documents, context_length={T}, end_id={end}; three are empty, and one "
        "has the end token as its last: each is closed by one more",
    )


@exercise_check("pack_sequences", points=1, title="positions")
def _(student, rng):
    _, positions = as_two(student.pack_sequences([[1, 2], [3], [4, 5, 6]], 3, 9))
    for wrong, hint in (
        ([[0, 1, 2, 3], [0, 1, 2, 3]], "positions restart with each document, not with each row"),
        ([[0, 1, 2, 3], [3, 4, 5, 6]], "positions restart with each document"),
        ([[0, 1, 0, 0], [0, 0, 0, 1]], "the end token counts on: it is the last of its document"),
        ([[1, 2, 3, 1], [1, 2, 1, 2]], "positions count from 0"),
        ([[0, 0, 0, 1], [1, 1, 2, 2]], "a position is a place within the document, not its number"),
    ):
        require(not resembles(positions, wrong), hint)
    hint = "the place of each token in its own document, from 0, the end token included"
    same(positions, np.array([[0, 1, 2, 0], [0, 1, 0, 1]]), hint)
    T = int(rng.integers(3, 6))
    documents = [[int(x) for x in rng.integers(0, 50, n)] for n in rng.integers(1, 20, 9)]
    documents[4] = list(range(3 * T + 1))  # goes over three rows at least
    _, want = packed(documents, T, 77)
    _, got = as_two(student.pack_sequences(documents, T, 77))
    rows = f"the documents and their end tokens fill {len(want)} rows of {T + 1}, which share an id"
    require(np.shape(got) == want.shape, f"{rows}: got positions of shape {np.shape(got)}")
    same(got, want, "a document that is cut goes on counting in the next row")


@exercise_check("pack_sequences", points=1, title="types, one row, too little", is_core=False)
def _(student, rng):
    T = int(rng.integers(3, 7))
    large = [[70_000 + k for k in range(T)]]  # T + 1 ids with the end token: one full row
    with in_case(f"{T} tokens and their end token, context_length={T}: one row, nothing left"):
        token_ids, positions = as_two(student.pack_sequences(large, T, (1 << 31) + 5))
    require(np.shape(token_ids) == (1, T + 1), "a row is missing: T + 1 ids are exactly one")
    for name, part in (("token_ids", token_ids), ("positions", positions)):
        require(part.dtype == np.int64, f"{name} are int64, got {part.dtype}")
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


NOTHING_ELSE = "the mean of -ln(share of the target) over the targets, and nothing else"


@exercise_check("cross_entropy", points=1, title="values")
def _(student, rng):
    small = np.array([[[1, 2, 0], [0, -1, 3]], [[2, 0, 0], [0, 1, 1]]], np.float32)
    large = draw_logits(rng, 3, 5, 7), rng.integers(0, 7, (3, 5))
    for logits, targets in ((small, np.array([[1, 0], [0, 2]])), large):
        got = student.cross_entropy(logits, targets)
        require(np.array_equal(student.arguments_after[0], logits), "logits were changed in place")
        require(
            np.array_equal(student.arguments_after[1], targets), "targets were changed in place"
        )
        logits_t, targets_t = torch.from_numpy(logits).double(), torch.from_numpy(targets)
        want = loss_by_torch(logits, targets)
        logprobs = logits_t.log_softmax(-1).gather(-1, targets_t[..., None])[..., 0]
        other_axis = logits_t.log_softmax(-2).gather(-1, targets_t[..., None])
        for wrong, hint in (
            (-want, "the sign: the loss is minus the log-probability"),
            (want * targets.size, "take the mean over the targets, not the sum"),
            (want * targets.shape[1], "divide by all counted targets, not by the rows"),
            (want / math.log(2), "natural logarithm: the loss is in nats, not in bits"),
            (-logprobs.exp().mean(), "the logarithm is missing: it is taken before the mean"),
            (-logprobs.exp().mean().log(), "the mean of logarithms, not the logarithm of the mean"),
            (-other_axis.mean(), "the softmax runs over the vocabulary, the last axis"),
            (
                -logits_t.gather(-1, targets_t[..., None]).mean(),
                "logits are no log-probabilities: subtract the log of the sum of exponentials",
            ),
        ):
            wrong = float(wrong)
            apart = abs(wrong - float(want)) > 1e-3
            require(not (apart and resembles(got, wrong, atol=2e-5)), hint)
        close(got, want, NOTHING_ELSE, atol=1e-5, rtol=1e-5)
    got = student.cross_entropy(np.zeros((1, 1, 2), np.float32), np.array([[1]]))
    close(got, np.log(2), "two equal logits: the loss is ln 2, about 0.69")
    for shape in ((4,), (2, 3, 2)):
        logits, targets = draw_logits(rng, *shape, 6), rng.integers(0, 6, shape)
        with in_case(f"logits {(*shape, 6)}, targets {shape}: any leading shape does"):
            got = student.cross_entropy(logits, targets)
        close(got, loss_by_torch(logits, targets), f"any leading shape does: logits {(*shape, 6)}")


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
            "targets were changed in place: masked_fill, without the underscore, makes a copy",
        )
        require(
            not resembles(got, want * n / some.size, atol=2e-5),
            "divide by the number of targets that count, not by all",
        )
        filled = np.where(some == -100, 0, some)
        require(
            not resembles(got, loss_by_torch(logits, filled), atol=2e-5),
            "ignored targets are counted as if they were token 0",
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
    hint = "logits in the thousands: their exponentials overflow, the loss does not"
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
        "float64 logits give a float64 loss: only half precision is turned into float32",
    )
    half = draw_logits(rng, 2, 8, 200, scale=2.0).astype(np.float16)
    some = rng.integers(0, 200, (2, 8))
    got = student.cross_entropy(half, some)
    hint = "half precision rounds the sum over the vocabulary: turn logits into float32 first"
    close(got, loss_by_torch(half.astype(np.float32), some), hint, rtol=1e-5, atol=1e-5)
    dtype = getattr(got, "dtype", None)
    require(dtype == np.float32, f"float16 logits give a float32 loss, got {dtype}")
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
        why="all targets are ignored, and a mean over nothing is NaN",
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
        "return three tensors: parameter, first moment, second moment",
    )
    return tuple(got)


def updated(student, *args, **settings) -> tuple:
    """Return the three parts of an update whose arguments stayed as they were."""
    got = as_three(student.adamw_step(*args, **settings))
    names = ("parameter", "gradient", "first_moment", "second_moment")
    for name, after, before in zip(names, student.arguments_after, args, strict=False):
        require(
            np.array_equal(after, before),
            f"{name} was changed in place: the arguments stay as they are, return new tensors",
        )
    return got


@exercise_check("adamw_step", points=2, title="the first step, by hand")
def _(student, rng):
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    settings = {"lr": 0.1, "betas": (0.9, 0.84), "eps": 1e-8, "weight_decay": 0.0}
    weight, first, second = updated(student, one, 5 * one, zero, zero, 1, **settings)
    for wrong, hint in (
        (1 - 0.1 * 0.5 / 2, "bias correction: divide both means by 1 - beta**step"),
        (1 - 0.1 * 0.5 / 5, "the first mean needs its bias correction: divide by 1 - beta1**step"),
        (1 - 0.1 * 5 / 2, "the second mean needs its bias correction: divide by 1 - beta2**step"),
        (1 - 0.1 * 5, "the step is the ratio of the means, not the gradient"),
        (1 - 0.1 * 5 / 25, "divide by the root of the second mean, not by the mean itself"),
        (1.1, "step downhill: the update is subtracted"),
        (0.89, "weight_decay is 0 here, and the weight is decayed by 0.1, as where none is given"),
    ):
        require(not resembles(weight, [wrong], atol=1e-5), hint)
    close(weight, [0.9], "the first step has the size of lr, whatever the gradient", rtol=1e-5)
    for wrong_first, wrong_second, hint in (
        (5.0, 25.0, "the means are returned corrected: correct them for this step alone"),
        (4.0, 0.5, "the order is parameter, first moment, second moment"),
    ):
        found = resembles(first, [wrong_first]) and resembles(second, [wrong_second])
        require(not found, hint)
    close(first, [0.5], "first moment: beta1 of the old, 1 - beta1 of the gradient")
    close(second, [4.0], "second moment: beta2 of the old, 1 - beta2 of the squared gradient")
    decayed, *_ = updated(student, one, zero, zero, zero, 1, **(settings | {"weight_decay": 0.5}))
    require(
        not resembles(decayed, [0.9]),
        "decay is decoupled: it is taken off the weight and does not go through the means",
    )
    require(not resembles(decayed, [0.5]), "the decay is multiplied by lr")
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
                    "the weight is decayed after the step, not before it",
                ),
                (
                    start * kept - 0.03 * wide / np.sqrt(size**2 + 1e-3),
                    "eps is added to the root, not inside of it",
                ),
                (
                    start * kept - 0.03 * wide / (size + late),
                    "eps is added after the second mean is corrected",
                ),
                (usual, "eps is not used: this is the step with 1e-8"),
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
        require(dtype == np.float64, f"{name}: float64 stays float64, got {dtype}")
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
    peak, warmup = float(rng.uniform(0.5, 0.9)), int(rng.integers(4, 9))
    n_steps, final = warmup + 2 * int(rng.integers(20, 40)), float(rng.uniform(0.1, 0.3))
    settings = {"peak": peak, "n_steps": n_steps, "warmup_steps": warmup, "final": final}
    got = {s: student.learning_rate(s, **settings) for s in (0, 1, warmup - 1, warmup)}
    require(got[0] != 0, "step 0 would learn nothing: the warm-up begins at peak / warmup_steps")
    close(got[0], peak / warmup, "step 0 has peak / warmup_steps")
    ninth = student.learning_rate(0, peak=1 / 3, n_steps=9, warmup_steps=3)
    again = student.learning_rate(0, **settings)
    state = "step 0 has another rate after other calls: the rate follows from the arguments alone"
    require(resembles(again, got[0]), state)
    require(
        not resembles(ninth, got[0]) or resembles(1 / 9, got[0]),
        "other settings, and the "
        "rate of step 0 is still that of the first call: keep nothing between calls",
    )
    rounded = any(float(ninth) == round(1 / 9, places) for places in range(1, 9))
    require(not rounded, f"peak 1/3 and 3 steps of warm-up: step 0 has 1/9, and {ninth} is rounded")
    close(ninth, 1 / 9, "peak 1/3 and 3 steps of warm-up: step 0 has 1/9", rtol=1e-6)
    close(got[1], 2 * peak / warmup, "the warm-up is a straight line: step 1 has twice step 0's")
    close(got[warmup - 1], peak, "the last step of the warm-up has the peak")
    close(got[warmup], peak, "the cosine starts at the peak, right after the warm-up")
    end = student.learning_rate(n_steps, **settings)
    require(not resembles(end, 0.0), "the cosine ends at final * peak, not at zero")
    require(not resembles(end, final), "final is a share of the peak: final * peak at the end")
    close(end, final * peak, "at n_steps the rate is final * peak")
    half = (warmup + n_steps) // 2
    middle = student.learning_rate(half, **settings)
    require(
        not resembles(middle, rate(half, peak, n_steps, 0, final)),
        "the cosine runs over the steps after the warm-up, not over all",
    )
    close(middle, peak * (1 + final) / 2, "half way down the rate is half way to final * peak")
    for step in (n_steps + 1, 3 * n_steps):
        close(
            student.learning_rate(step, **settings),
            final * peak,
            f"step {step} is past n_steps={n_steps}: the rate stays, it does not rise again",
        )
    for step in (*range(0, n_steps, 5), n_steps - 1):
        want = rate(step, peak, n_steps, warmup, final)
        close(
            student.learning_rate(step, **settings), want, f"the rate of step {step} of {n_steps}"
        )


@exercise_check("learning_rate", points=1, title="no warm-up, all warm-up, refusals", is_core=False)
def _(student, rng):
    peak = float(rng.uniform(0.5, 2))
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
        (1.0, "return the norm before clipping, not after"),
        (4.0, "the norm is over all gradients together, not the largest of them"),
        (7.0, "norms do not add up: add squares, take the root once"),
        (25.0, "the root of the sum of squares is missing"),
    ):
        require(abs(norm - wrong) > 1e-5, hint)
    close(norm, 5.0, "gradients (3, 0) and (0, 4) have the joint norm 5")
    (value, first, kept), (_, second, _), (_, none, _) = student.arguments_after[0]
    require(np.array_equal(value, zero), "the weights changed: only gradients are scaled")
    require(none is None, "a parameter without a gradient must stay without one")
    require(
        not resembles(first, [3.0, 0.0]),
        "gradients are scaled in place: gradient.mul_(...), so that the optimizer sees it",
    )
    require(
        not (resembles(first, [1.0, 0.0]) and resembles(second, [0.0, 1.0])),
        "each gradient, or each number of it, was clipped by itself: one factor for all keeps the "
        "direction",
    )
    close(first, [0.6, 0.0], "gradient (3, 0) of (3, 0), (0, 4) times max_norm / norm = 1 / 5")
    close(second, [0.0, 0.8], "gradient (0, 4) of (3, 0), (0, 4) times max_norm / norm = 1 / 5")
    require(
        resembles(kept, first),
        "the gradient was replaced by a new tensor: scale it in place, its own memory",
    )


@exercise_check("clip_gradients", points=1, title="small ones stay, large ones are scaled")
def _(student, rng):
    shapes = [(3, 2), (4,), (2, 2, 2), (5,)]
    drawn = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    total = float(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in drawn)))

    def weights():
        return [Weight(np.zeros(g.shape, np.float32), g) for g in drawn]

    with in_case("parameters are an iterator, as model.parameters() is: no list"):
        got = student.clip_gradients(Once(weights()), total / 2)
    close(got, total, "the norm: the root of the sum of all squares, of four gradients")
    after = student.arguments_after[0]
    require(
        not all(resembles(a[1], old) for a, old in zip(after, drawn, strict=True)),
        "nothing was scaled; parameters are an iterator here, as model.parameters() is one, which "
        "can be gone through once",
    )
    for max_norm, factor in ((total / 3, 1 / 3), (2 * total, 1), (math.inf, 1)):
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
    require(gradients[0].dtype == np.float16, "gradients in half precision stay in it")
    for bad in (np.inf, np.nan):
        for place in (0, 1):
            broken = np.array([1.0, 2.0], np.float32)
            broken[place] = bad
            weights = [Weight(np.zeros(2, np.float32), g) for g in (np.ones(2, np.float32), broken)]
            with in_case(f"a gradient that holds {bad}: nothing is changed, and nothing raised"):
                norm = student.clip_gradients(weights, 1.0)
            require(not math.isfinite(norm), f"a gradient that holds {bad}: the norm is not finite")
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
    except Exception as error:
        require(False, f"{what}: the file is no safetensors file ({type(error).__name__})")


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
        require(np.array_equal(held, tensors.get(name)), f"tensor {name!r} was changed in place")
    same(student.arguments_after[2], info, "info was changed in place")
    same_tensors(after["content"], tensors, "after saving")
    header = json.loads(after["content"][8 : 8 + int.from_bytes(after["content"][:8], "little")])
    metadata = header.get("__metadata__") or {}
    require("info" in metadata, "the header must hold the info: metadata={'info': ..., ...}")
    try:
        read = json.loads(metadata["info"])
    except ValueError:
        require(False, "the info in the header is no JSON: json.dumps, not str")
    hint = "the info in the header, read as JSON"
    same(json.dumps(read, sort_keys=True), json.dumps(info, sort_keys=True), hint)
    held = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
    require("sha256" in metadata, "the header must hold a sha256: content_hash(tensors, text)")
    same(
        metadata["sha256"],
        content_hash(held, metadata["info"]),
        "the sha256 must be content_hash over the tensors and the very text in the header",
    )
    same(after["names"], ["checkpoint"], "nothing but the file itself may be left in the folder")


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
    same(after["names"], ["checkpoint"], "the other name must be gone after os.replace")
    require(
        all(there for _, _, there in after["calls"]),
        "for a moment there was no file at all: don't remove or move the old one, os.replace puts "
        "the new one in its place in a single step",
    )
    names = [name for name, _, _ in after["calls"]]
    moved = next((k for k, name in enumerate(names) if name in ("replace", "rename")), len(names))
    require(
        "fsync" in names[:moved],
        "the bytes are not flushed before the rename: after a power failure the new name could "
        "hold nothing. write_flushed does it",
    )
    require(
        all(len(beside) > 1 for name, beside, _ in after["calls"][moved : moved + 1]),
        "write the other name into the folder of path: from another disk a rename is a slow copy",
    )


@exercise_check("save_checkpoint", points=1, title="what a failure leaves behind", is_core=False)
def _(student, rng):
    tensors = draw_tensors(rng)
    before = file_of(tensors, {"step": 1})
    with in_case("an old file is there and nothing is in the way"):
        student.save_checkpoint(File(before), tensors, {"step": 2})
    require(student.arguments_after[0]["content"] != before, "a new save leaves the old file there")
    hint = "info that is no JSON must raise, not be written in some other form"
    rejects(student, "save_checkpoint", File(before), tensors, {"step": b"no JSON"}, hint=hint)
    after = student.arguments_after[0]
    require(
        after["content"] == before,
        "saving failed, and the old file is lost: touch it only when the new one is whole",
    )
    hint = "saving failed and left something in the folder: remove the other name in a finally"
    same(after["names"], ["checkpoint"], hint)
    hint = "path is a folder, so os.replace raises an OSError: let it through"
    blocked = File(blocked=True)
    rejects(student, "save_checkpoint", blocked, tensors, {"step": 2}, hint=hint, kind=OSError)
    hint = "the rename failed and the other name is still there: remove it in a finally"
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
        "return ScalingLaw(irreducible, a, alpha, b, beta): five finite floats",
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
    logs = "the point holds logarithms of floor, a and b: return their exponentials"
    for wrong, hint in (
        ((floor, b, beta, a, alpha), "a and alpha belong to N, b and beta to the tokens: swapped"),
        ((log_floor, a, alpha, b, beta), f"the floor is still a logarithm; {logs}"),
        ((floor, log_a, alpha, b, beta), f"a is still a logarithm; {logs}"),
        ((floor, a, alpha, log_b, beta), f"b is still a logarithm; {logs}"),
        ((floor, log_a, alpha, log_b, beta), f"a and b are still logarithms; {logs}"),
        ((log_floor, log_a, alpha, log_b, beta), logs),
        (
            (floor, a, math.exp(alpha), b, math.exp(beta)),
            "alpha and beta stand in the point as they are: no exponential for them",
        ),
        ((floor, a, b, alpha, beta), "ScalingLaw takes irreducible, a, alpha, b, beta"),
    ):
        require(not all(abs(x - y) < 0.01 * abs(y) for x, y in zip(got, wrong, strict=True)), hint)


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
        f"one bad run of {len(losses)} moves the prediction by {error:.1%}: the Huber loss, as "
        "distance_of computes it, lets it pull in a straight line only, and hardly moves",
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
            f"six runs with noise whose starts end in different valleys, the nearest at a distance "
            f"of {nearest:.3g}, the farthest at {farthest:.3g}: yours is at {distance:.3g}. Return "
            "the end with the least distance",
        )
