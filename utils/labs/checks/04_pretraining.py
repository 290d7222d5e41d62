"""Checks of lab 04: the data, the update, the checkpoint and the law.

Oracles: brute force over sets and lists, torch's loss, optimizer and clipping, safetensors' own
reader, synthetic runs from known laws.
"""

from __future__ import annotations

import json
import math

import numpy as np
import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch.nn import functional as F

from utils.labs.checking import Check, close, collector, in_case, require, resembles, same
from utils.labs.student import LearnerError
from utils.labs.values import File, Once, Weight
from utils.text.duplicates import PRIME, item_number, multipliers
from utils.train.checkpoints import content_hash
from utils.train.scaling import ScalingLaw

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
        "numbers = [item_number(item) ...] once; for each (a, b) of multipliers(n_hashes, seed) "
        "the smallest (a * x + b) % PRIME.",
    ),
    "near_duplicates": (
        "Sort documents into boxes, one box for each band and each content of that band. Only "
        "those that share a box are compared, place by place.",
        "width = length // n_bands; the key of a box is (band number, the ids of the band); from "
        "each box all pairs go into a set; keep those whose share of equal places is at least the "
        "threshold; sort.",
    ),
    "pack_sequences": (
        "Join everything into one long list first, with the end token after each document. Count "
        "positions beside it. Then cut.",
        "Row r starts at r * context_length and has context_length + 1 ids, so neighbours share "
        "one; there are (length - 1) // context_length rows.",
    ),
    "cross_entropy": (
        "A softmax in logarithms, the entry of the target, its negative, and the mean over the "
        "targets that count.",
        "log_softmax over the last axis, gather with targets.unsqueeze(-1); ignored targets need "
        "some valid index for gather and are left out of the mean.",
    ),
    "adamw_step": (
        "Two running means, each kept by its beta. Undo their pull towards zero at the start. "
        "The step is their ratio; the decay is taken off the weight itself.",
        "m / (1 - beta1**step) over sqrt(v / (1 - beta2**step)) + eps, times lr; weight times "
        "(1 - lr * weight_decay).",
    ),
    "learning_rate": (
        "Three stretches: a straight rise, half a cosine, and a floor that stays.",
        "peak * (step + 1) / warmup_steps; then with the share done of what is left, peak * "
        "(final + (1 - final) * (1 + cos(pi * done)) / 2), done at most 1.",
    ),
    "clip_gradients": (
        "All gradients together are one long vector. Measure its length before anything is scaled.",
        "sqrt of the sum over parameters of the sum of squares; if it exceeds max_norm, multiply "
        "every gradient in place by max_norm / norm.",
    ),
    "save_checkpoint": (
        "Whoever looks for the file must find the old one or the whole new one, never a part. So "
        "write somewhere else first.",
        "save(tensors, metadata={...}) gives bytes; write_flushed them to another name in the same "
        "folder; os.replace(other, path); remove the other name if anything fails.",
    ),
    "fit_scaling_law": (
        "It is an optimisation like training: five numbers, a distance, and steps downhill, from "
        "several starts since there are several valleys. The descent is given.",
        "descend(lambda x: distance_of(x, n, d, target), start) gives distance and point for each of "
        "starts(n, d, target), all in logarithms; take the point with the least distance that is "
        "finite; exp of log floor, log a and log b, alpha and beta as they are.",
    ),
}


def words(rng: np.random.Generator, n: int) -> list[str]:
    """Return n different invented words."""
    return [f"w{i}" for i in rng.choice(10_000, size=n, replace=False)]


def rejects(student, name: str, *args, hint: str, **kwargs) -> None:
    """Require that a call raises; what it raises is the learner's business."""
    try:
        getattr(student, name)(*args, **kwargs)
    except LearnerError:
        return
    require(False, hint)


def in_64_bits(number: int) -> int:
    """Return what is left of a number in an int64."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


@exercise_check("minhash_signature", points=2, title="what a signature is")
def _(student, rng):
    items = words(rng, 30)
    got = student.minhash_signature(items, 8, 3)
    require(isinstance(got, list), f"return a list of whole numbers, got {type(got).__name__}")
    require(len(got) == 8, f"n_hashes=8 asks for 8 numbers, got {len(got)}")
    require(all(type(x) is int for x in got), "the numbers are Python ints, smaller than PRIME")
    require(len(set(got)) > 1, "every place has its own numbering (a, b): all are the same here")
    require(all(0 <= x < PRIME for x in got), "each number is taken modulo PRIME")
    same(student.arguments_after[0], items, "items were changed in place: they are the caller's")
    numbers = [item_number(item) for item in items]
    want = [min((a * x + b) % PRIME for x in numbers) for a, b in multipliers(8, 3)]
    largest = [max((a * x + b) % PRIME for x in numbers) for a, b in multipliers(8, 3)]
    cut = [min(in_64_bits(a * x + b) % PRIME for x in numbers) for a, b in multipliers(8, 3)]
    shuffled = [items[i] for i in rng.permutation(30)]
    same(student.minhash_signature(shuffled, 8, 3), got, "the order of the items does not matter")
    twice = items + items[:7]
    same(student.minhash_signature(twice, 8, 3), got, "an item that stands twice counts once")
    with in_case("items may be any collection, a set too: go through it, it has no places"):
        keys = student.minhash_signature(dict.fromkeys(items), 8, 3)
    same(keys, got, "another collection of the same items has the same signature")
    require(got != largest, "keep the smallest number of the items, not the largest")
    require(
        got != cut,
        "a * x needs more than 64 bits: a tensor cuts them off, whole numbers of Python don't",
    )
    require(
        got == want or sorted(got) != sorted(want),
        "place k belongs to numbering k: do not sort, or places can't be compared",
    )
    other = student.minhash_signature(items, 8, 4)
    require(other != got, "seed is not used: pass it to multipliers")
    hint = "each place is the smallest (a * item_number + b) % PRIME over all items"
    same(got, want, hint)
    rejects(student, "minhash_signature", [], 8, hint="no items have no smallest: raise ValueError")


@exercise_check("minhash_signature", points=2, title="agreement estimates the Jaccard similarity")
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
    single = student.minhash_signature(["x"])
    require(len(single) == 64, f"n_hashes is 64 where it is not given, got {len(single)}")
    x = item_number("x")
    want = [(a * x + b) % PRIME for a, b in multipliers(64, 0)]
    same(single, want, "seed is 0 where it is not given")


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
        all(isinstance(p, tuple | list) and len(p) == 2 for p in got),
        "each entry is a pair (i, j) of document numbers",
    )
    return [tuple(pair) for pair in got]


@exercise_check("near_duplicates", points=2, title="by hand")
def _(student, rng):
    signatures = [[1, 2, 3, 4], [5, 6, 7, 8], [1, 2, 3, 9], [1, 2, 3, 4]]
    got = as_pairs(student.near_duplicates(signatures, 0.75, 2))
    require((2, 0) not in got and (3, 0) not in got, "write the smaller number first: i < j")
    require(len(got) == len(set(got)), "a pair that meets in two bands counts once: use a set")
    require((0, 0) not in got, "a document is no near-copy of itself")
    require(
        (0, 2) in got,
        "documents 0 and 2 agree in 3 of 4 places and share a band: a share equal to the "
        "threshold counts",
    )
    same(got, [(0, 2), (0, 3), (2, 3)], "the pairs differ")
    same(
        as_pairs(student.near_duplicates(signatures, 0.8, 2)),
        [(0, 3)],
        "with threshold 0.8 three of four places are too few",
    )
    same(student.near_duplicates([], 0.5, 2), [], "no documents, no pairs")
    got = as_pairs(student.near_duplicates([[1, 2]] * 4, 0.5, 1))
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    same(got, pairs, "four copies of one page in one box make six pairs, each with each")


@exercise_check("near_duplicates", points=2, title="only bands at the same place meet")
def _(student, rng):
    a = [int(x) for x in rng.choice(1000, 8, replace=False)]
    both = as_pairs(student.near_duplicates([a, list(a)], 0.5, 4))
    same(both, [(0, 1)], "two equal signatures make a pair")
    spoiled = [x if k % 2 else -x - 1 for k, x in enumerate(a)]  # half equal, no band of 2 equal
    got = as_pairs(student.near_duplicates([a, spoiled], 0.5, 4))
    require(
        got != [(0, 1)],
        "two documents without a whole band in common are not even compared: you seem to compare "
        "all pairs, which is what the bands avoid",
    )
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
    same(
        as_pairs(student.near_duplicates([a, a[:2] + [-1] * 6], 0.5, 4)),
        [],
        "a band in common makes a candidate, not a copy: compare all places with the threshold",
    )


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
            f"threshold={threshold}, n_bands={n_bands}: the sorted pairs differ",
        )
    hint = "signatures that n_bands does not divide: raise ValueError instead of dropping a rest"
    rejects(student, "near_duplicates", [[1] * 10, [1] * 10], 0.5, 4, hint=hint)
    hint = "signatures of different length can't be compared: raise ValueError"
    rejects(student, "near_duplicates", [[1] * 8, [1] * 4], 0.5, 4, hint=hint)


def packed(documents, T, end_id):
    """Return rows and positions, one token at a time."""
    flat = [(t, k) for doc in documents for k, t in enumerate([*doc, end_id])]
    n = (len(flat) - 1) // T
    rows = [flat[r * T : r * T + T + 1] for r in range(n)]
    return (np.array([[pair[i] for pair in row] for row in rows]) for i in (0, 1))


def as_two(got) -> tuple:
    """Return the two parts of a packing, or reject what is none."""
    require(
        isinstance(got, tuple | list) and len(got) == 2,
        "return two tensors: token_ids and positions",
    )
    return got[0], got[1]


@exercise_check("pack_sequences", points=2, title="rows")
def _(student, rng):
    token_ids, _ = as_two(student.pack_sequences([[1, 2], [3], [4, 5, 6]], 3, 9))
    for wrong, hint in (
        ([[1, 2, 3, 4]], "each document is closed by end_id, here 9"),
        ([[1, 2, 9, 3], [9, 4, 5, 6]], "neighbouring rows share one token: go on at 3, not at 4"),
        ([[1, 2, 9], [3, 9, 4]], "a row has context_length + 1 ids, here 4"),
        ([[9, 1, 2, 9], [9, 3, 9, 4]], "the end token comes after a document, not before"),
    ):
        require(not resembles(token_ids, wrong), hint)
    rest = "a rest that fills no row is left out: no padding, no short row"
    require(np.shape(token_ids) != (3, 4), rest)
    same(token_ids, np.array([[1, 2, 9, 3], [3, 9, 4, 5]]), "the rows differ")
    require(token_ids.dtype == np.int64, f"token ids are int64, got {token_ids.dtype}")
    after = student.arguments_after[0]
    hint = "a document was changed in place: append to a list of your own, not to the caller's"
    same(after, [[1, 2], [3], [4, 5, 6]], hint)
    T, end = int(rng.integers(4, 8)), 99
    documents = [[int(x) for x in rng.integers(0, 50, n)] for n in rng.integers(0, 9, 12)]
    documents[3] = []  # an empty document is an end token alone
    want, _ = packed(documents, T, end)
    got, _ = as_two(student.pack_sequences(documents, T, end))
    require(np.shape(got) != (len(want) + 1, T + 1), rest)
    require(
        np.shape(got) != (len(want) - 1, T + 1),
        "a row is missing at the end: there are (length - 1) // context_length of them",
    )
    same(got, want, f"the rows differ for {len(documents)} documents, context_length={T}")
    exact = [[1] * T]  # T + 1 ids with the end token: one full row and nothing left
    with in_case("a row is missing: T + 1 ids are exactly one"):
        got, _ = as_two(student.pack_sequences(exact, T, end))
    require(np.shape(got) == (1, T + 1), "a row is missing: T + 1 ids are exactly one")
    hint = "documents that fill no row: raise ValueError, since nothing could be learned"
    rejects(student, "pack_sequences", [[1] * (T - 1)], T, end, hint=hint)
    rejects(student, "pack_sequences", [], T, end, hint=hint)


@exercise_check("pack_sequences", points=2, title="positions")
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
    same(positions, np.array([[0, 1, 2, 0], [0, 1, 0, 1]]), "the positions differ")
    T = int(rng.integers(3, 6))
    documents = [[int(x) for x in rng.integers(0, 50, n)] for n in rng.integers(1, 20, 9)]
    _, want = packed(documents, T, 77)
    _, got = as_two(student.pack_sequences(documents, T, 77))
    same(got, want, "a document that is cut goes on counting in the next row")


def draw_logits(rng: np.random.Generator, *shape: int, scale: float = 3.0) -> np.ndarray:
    """Return normal random logits in float32."""
    return (rng.standard_normal(shape) * scale).astype(np.float32)


@exercise_check("cross_entropy", points=2, title="values")
def _(student, rng):
    logits, targets = draw_logits(rng, 3, 5, 7), rng.integers(0, 7, (3, 5))
    logits_t, targets_t = torch.from_numpy(logits), torch.from_numpy(targets)
    want = F.cross_entropy(logits_t.flatten(0, 1), targets_t.flatten())
    logprobs = logits_t.log_softmax(-1).gather(-1, targets_t[..., None])[..., 0]
    got = student.cross_entropy(logits, targets)
    for wrong, hint in (
        (-want, "the sign: the loss is minus the log-probability"),
        (want * 15, "take the mean over the targets, not the sum"),
        (want * 5, "divide by all counted targets, not by the rows"),
        (want / math.log(2), "natural logarithm: the loss is in nats, not in bits"),
        (-logprobs.exp().mean(), "the logarithm is missing: it is taken before the mean"),
        (-logprobs.exp().mean().log(), "the mean of logarithms, not the logarithm of the mean"),
        (
            -logits_t.gather(-1, targets_t[..., None]).mean(),
            "logits are no log-probabilities: subtract the log of the sum of exponentials",
        ),
    ):
        require(not resembles(got, wrong.numpy()), hint)
    hint = "the loss differs: the softmax runs over the vocabulary, the last axis"
    close(got, want.numpy(), hint)
    got = student.cross_entropy(np.zeros((1, 1, 2), np.float32), np.array([[1]]))
    close(got, np.log(2), "two equal logits: the loss is ln 2, about 0.69")
    flat = student.cross_entropy(logits[0], targets[0])
    want = F.cross_entropy(logits_t[0], targets_t[0])
    close(flat, want.numpy(), "any leading shape does: here logits (T, V)")
    require(np.array_equal(student.arguments_after[0], logits[0]), "logits were changed in place")
    require(np.array_equal(student.arguments_after[1], targets[0]), "targets were changed in place")
    double = student.cross_entropy(logits.astype(np.float64), targets)
    require(
        getattr(double, "dtype", None) == np.float64,
        "float64 logits give a float64 loss: only half precision is turned into float32",
    )


@exercise_check("cross_entropy", points=1, title="targets that do not count")
def _(student, rng):
    logits, targets = draw_logits(rng, 2, 6, 5), rng.integers(0, 5, (2, 6))
    targets[0, 1] = targets[1, 2] = targets[1, 5] = -100
    want = F.cross_entropy(
        torch.from_numpy(logits).flatten(0, 1), torch.from_numpy(targets).flatten()
    )
    with in_case("a target of -100 is no index: replace it before gather"):
        got = student.cross_entropy(logits, targets)
    require(
        not resembles(got, (want * 9 / 12).numpy()),
        "divide by the number of targets that count, not by all",
    )
    close(got, want.numpy(), "targets of IGNORE_INDEX must not count")
    require(
        np.array_equal(student.arguments_after[1], targets),
        "targets were changed in place: masked_fill, without the underscore, makes a copy",
    )
    hint = "all targets ignored: a mean over nothing is NaN; raise ValueError"
    rejects(student, "cross_entropy", logits, np.full((2, 6), -100), hint=hint)
    hint = "a target outside the vocabulary: raise ValueError, check_targets does it"
    for outside in (5, -1):
        spoiled = targets.copy()
        spoiled[0, 0] = outside
        rejects(student, "cross_entropy", logits, spoiled, hint=hint)
    hint = "targets of another shape than the logits' rows: raise ValueError, check_targets does it"
    rejects(student, "cross_entropy", logits, targets[:, :5], hint=hint)


@exercise_check("cross_entropy", points=1, title="large logits, gradients, half precision")
def _(student, rng):
    logits = draw_logits(rng, 2, 3, 5) * 1000
    targets = rng.integers(0, 5, (2, 3))
    logits_t, targets_t = torch.from_numpy(logits), torch.from_numpy(targets)
    want = F.cross_entropy(logits_t.flatten(0, 1), targets_t.flatten())
    hint = "logits in the thousands overflow: subtract the largest first, as log_softmax does"
    close(student.cross_entropy(logits, targets), want.numpy(), hint, rtol=1e-4, atol=1e-2)
    logits = draw_logits(rng, 2, 3, 5)
    leaf = torch.from_numpy(logits).requires_grad_()
    F.cross_entropy(leaf.flatten(0, 1), targets_t.flatten()).backward()
    got = student.gradients("cross_entropy", logits, targets)[0]
    close(got, leaf.grad.numpy(), "the gradient differs from the softmax less the target's one")
    half = draw_logits(rng, 2, 8, 200, scale=2.0).astype(np.float16)
    targets = rng.integers(0, 200, (2, 8))
    want = F.cross_entropy(
        torch.from_numpy(half).float().flatten(0, 1), torch.from_numpy(targets).flatten()
    )
    got = student.cross_entropy(half, targets)
    hint = "half precision rounds the sum over the vocabulary: turn logits into float32 first"
    close(got, want.numpy(), hint, rtol=1e-5, atol=1e-5)


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


@exercise_check("adamw_step", points=2, title="the first step, by hand")
def _(student, rng):
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    settings = {"lr": 0.1, "betas": (0.9, 0.96), "eps": 1e-8, "weight_decay": 0.0}
    weight, first, second = as_three(student.adamw_step(one, 5 * one, zero, zero, 1, **settings))
    for wrong, hint in (
        (1 - 0.1 * 0.1 / 0.04**0.5, "bias correction: divide the means by 1 - beta**step"),
        (1 - 0.1 * 0.5, "both means need their bias correction: divide by 1 - beta**step"),
        (1 - 0.1 * 0.5 / 5, "the first mean needs its bias correction: divide by 1 - beta1**step"),
        (1 - 0.1 * 5, "the step is the ratio of the means, not the gradient"),
        (1 - 0.1 * 0.2, "divide by the root of the second mean, not by the mean itself"),
        (1.1, "step downhill: the update is subtracted"),
    ):
        require(not resembles(weight, [wrong], atol=1e-3), hint)
    close(weight, [0.9], "the first step has the size of lr, whatever the gradient", rtol=1e-5)
    close(first, [0.5], "first moment: beta1 of the old, 1 - beta1 of the gradient")
    close(second, [1.0], "second moment: beta2 of the old, 1 - beta2 of the squared gradient")
    decayed = as_three(
        student.adamw_step(one, zero, zero, zero, 1, **(settings | {"weight_decay": 0.5}))
    )[0]
    require(
        not resembles(decayed, [0.9]),
        "decay is decoupled: it is taken off the weight and does not go through the means",
    )
    require(not resembles(decayed, [0.5]), "the decay is multiplied by lr")
    close(decayed, [0.95], "a weight of 1 without gradient falls by lr * weight_decay")
    hint = "step counts from 1: at 0 the correction divides by zero; raise ValueError"
    rejects(student, "adamw_step", one, one, zero, zero, 0, hint=hint, **settings)


@exercise_check("adamw_step", points=3, title="twelve steps against torch")
def _(student, rng):
    start = rng.standard_normal((3, 4)).astype(np.float32)
    scales = 10.0 ** rng.uniform(-3, 2, (3, 4))
    gradients = [(rng.standard_normal((3, 4)) * scales).astype(np.float32) for _ in range(12)]
    settings = {"lr": 0.03, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2}
    want = adamw_by_torch(start, gradients, 0.03, (0.8, 0.9), 1e-3, 0.2)
    weight, first, second = start, np.zeros_like(start), np.zeros_like(start)
    for step, gradient in enumerate(gradients, 1):
        before = weight, gradient, first, second
        weight, first, second = as_three(
            student.adamw_step(weight, gradient, first, second, step, **settings)
        )
        for argument, old in zip(student.arguments_after, before, strict=False):
            require(np.array_equal(argument, old), "an argument was changed in place: return new")
        hint = f"step {step}: the weights differ from torch's"
        if step > 1:
            hint += ": is the correction by this step's number, are both moments carried on?"
        close(weight, want[step - 1], hint, atol=2e-5, rtol=1e-4)
    tiny = [gradient * 1e-8 / scales.astype(np.float32) for gradient in gradients[:2]]
    for few in (gradients[:2], tiny):
        want = adamw_by_torch(start, few, 0.1, (0.9, 0.95), 1e-8, 0.1)
        weight, first, second = start, np.zeros_like(start), np.zeros_like(start)
        for step, gradient in enumerate(few, 1):
            weight, first, second = as_three(
                student.adamw_step(weight, gradient, first, second, step, lr=0.1)
            )
        hint = "without settings: betas (0.9, 0.95), eps 1e-8, weight_decay 0.1"
        close(weight, want[1], hint, 1e-4)


def rate(step, peak, n_steps, warmup, final):
    """Return the learning rate of a step in float64."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, n_steps - warmup))
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)


@exercise_check("learning_rate", points=3, title="warm-up, cosine, floor")
def _(student, rng):
    peak, warmup = float(rng.uniform(0.5, 2)), int(rng.integers(4, 9))
    n_steps, final = warmup + 2 * int(rng.integers(20, 40)), float(rng.uniform(0.1, 0.3))
    settings = {"peak": peak, "n_steps": n_steps, "warmup_steps": warmup, "final": final}
    got = {s: student.learning_rate(s, **settings) for s in (0, 1, warmup - 1, warmup)}
    require(got[0] != 0, "step 0 would learn nothing: the warm-up begins at peak / warmup_steps")
    close(got[0], peak / warmup, "step 0 has peak / warmup_steps")
    close(got[1], 2 * peak / warmup, "the warm-up is a straight line: step 1 has twice step 0's")
    close(got[warmup - 1], peak, "the last step of the warm-up has the peak")
    close(got[warmup], peak, "the cosine starts at the peak, right after the warm-up")
    end = student.learning_rate(n_steps, **settings)
    require(not resembles(end, 0.0), "the cosine ends at final * peak, not at zero")
    require(not resembles(end, final) or abs(peak - 1) < 1e-3, "final is a share of the peak")
    close(end, final * peak, "at n_steps the rate is final * peak")
    half = (warmup + n_steps) // 2
    middle = student.learning_rate(half, **settings)
    require(
        not resembles(middle, rate(half, peak, n_steps, 0, final)),
        "the cosine runs over the steps after the warm-up, not over all",
    )
    close(middle, peak * (1 + final) / 2, "half way down the rate is half way to final * peak")
    close(
        student.learning_rate(3 * n_steps, **settings),
        final * peak,
        "past n_steps the rate stays: a cosine would rise again",
    )
    for step in range(0, n_steps, 5):
        want = rate(step, peak, n_steps, warmup, final)
        close(student.learning_rate(step, **settings), want, f"step {step} differs")
    with in_case("without a warm-up there is nothing to divide by"):
        got = student.learning_rate(0, peak=peak, n_steps=10)
    close(got, peak, "without a warm-up step 0 has the peak")
    close(student.learning_rate(10, peak=peak, n_steps=10), 0.1 * peak, "final is 0.1 if not given")
    middle = student.learning_rate(5, peak=peak, n_steps=10)
    close(middle, 0.55 * peak, "no warm-up if none is given: half way down at step 5 of 10")
    end = student.learning_rate(6, peak=peak, n_steps=6, warmup_steps=5)
    close(end, 0.1 * peak, "one step after a long warm-up the run is over: final * peak")
    student.learning_rate(5, peak=peak, n_steps=5, warmup_steps=5)  # all warm-up: no division by 0
    hint = "a warm-up longer than the run: raise ValueError, check_schedule does it"
    rejects(student, "learning_rate", 0, peak=1.0, n_steps=3, warmup_steps=4, hint=hint)
    hint = "final is a share of the peak, in 0..1: raise ValueError, check_schedule does it"
    rejects(student, "learning_rate", 0, peak=1.0, n_steps=3, final=1.5, hint=hint)


@exercise_check("clip_gradients", points=2, title="one norm for all")
def _(student, rng):
    zero = np.zeros(2, np.float32)
    weights = [Weight(zero, np.array([3.0, 0.0], np.float32))]
    weights += [Weight(zero, np.array([0.0, 4.0], np.float32)), Weight(zero, None)]
    with in_case("parameters whose grad is None are passed over"):
        norm = student.clip_gradients(weights, 1.0)
    require(isinstance(norm, float), f"return the norm as a float, got {type(norm).__name__}")
    require(norm != 1.0, "return the norm before clipping, not after")
    require(norm != 4.0, "the norm is over all gradients together, not the largest of them")
    require(norm != 7.0, "norms do not add up: add squares, take the root once")
    require(norm != 25.0, "the root of the sum of squares is missing")
    close(norm, 5.0, "3 and 4 have the joint norm 5")
    after = student.arguments_after[0]
    (value, first), (_, second), (_, none) = after
    require(
        not resembles(first, [3.0, 0.0]),
        "gradients are scaled in place: gradient.mul_(...), so that the optimizer sees it",
    )
    require(
        not (resembles(first, [1.0, 0.0]) and resembles(second, [0.0, 1.0])),
        "each gradient was clipped by itself: one factor for all keeps the direction",
    )
    require(np.array_equal(value, zero), "the weights changed: only gradients are scaled")
    require(none is None, "a parameter without a gradient must stay without one")
    close(first, [0.6, 0.0], "the gradients must be scaled by max_norm / norm")
    close(second, [0.0, 0.8], "the gradients must be scaled by max_norm / norm")


@exercise_check("clip_gradients", points=1, title="small ones stay, broken ones are left alone")
def _(student, rng):
    shapes = [(3, 2), (4,), (2, 2, 2)]
    drawn = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    total = float(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in drawn)))

    def weights():
        return [Weight(np.zeros(g.shape, np.float32), g) for g in drawn]

    got = student.clip_gradients(Once(weights()), total / 2)
    close(got, total, "the norm differs: the root of the sum of all squares")
    for (_, gradient), old in zip(student.arguments_after[0], drawn, strict=True):
        require(
            not resembles(gradient, old),
            "model.parameters() can be gone through once, and then nothing is left to scale: keep "
            "the gradients in a list first",
        )
        close(gradient, old / 2, "all gradients are scaled by the same factor")
    got = student.clip_gradients(weights(), 2 * total)
    close(got, total, "the norm differs")
    for (_, gradient), old in zip(student.arguments_after[0], drawn, strict=True):
        close(gradient, old, "a norm below max_norm changes nothing: only scale down")
    student.clip_gradients(weights(), total / 3)
    for (_, gradient), old in zip(student.arguments_after[0], drawn, strict=True):
        close(gradient, old / 3, "all gradients are scaled by the same factor")
    close(student.clip_gradients(weights(), math.inf), total, "max_norm=inf only measures")
    for (_, gradient), old in zip(student.arguments_after[0], drawn, strict=True):
        close(gradient, old, "max_norm=inf must change nothing")
    broken = [Weight(np.zeros(2, np.float32), np.array([np.inf, 1.0], np.float32))]
    norm = student.clip_gradients(broken, 1.0)
    require(not math.isfinite(norm), "an infinite gradient has an infinite norm")
    (_, gradient) = student.arguments_after[0][0]
    same(gradient, np.array([np.inf, 1.0], np.float32), "a norm that is not finite changes nothing")
    close(student.clip_gradients([Weight(np.zeros(2, np.float32), None)], 1.0), 0.0, "no gradient")
    with in_case("gradients of zero have the norm 0: divide only where the norm is too large"):
        norm = student.clip_gradients([Weight(np.zeros(2), np.zeros(2))], 1.0)
    close(norm, 0.0, "gradients of zero have the norm 0")
    same(student.arguments_after[0][0][1], np.zeros(2), "gradients of zero stay zero")
    hint = "max_norm must be positive: raise ValueError"
    rejects(student, "clip_gradients", weights(), 0.0, hint=hint)


def draw_tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return tensors of several shapes and dtypes."""
    return {
        "weight": np.asfortranarray(rng.standard_normal((3, 4)).astype(np.float32)),
        "step": rng.integers(0, 99, 1),
        "half": rng.standard_normal(5).astype(np.float16),
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


@exercise_check("save_checkpoint", points=2, title="what stands in the file")
def _(student, rng):
    tensors, info = draw_tensors(rng), {"step": int(rng.integers(1, 99)), "losses": [1.5, 0.25]}
    student.save_checkpoint(File(), tensors, info)
    after = student.arguments_after[0]
    found = read_back(after["content"], "after saving")
    same(sorted(found), sorted(tensors), "the names of the tensors differ")
    for name, array in tensors.items():
        same(found[name], array, f"tensor {name!r} differs")
    header = json.loads(after["content"][8 : 8 + int.from_bytes(after["content"][:8], "little")])
    metadata = header.get("__metadata__") or {}
    require("info" in metadata, "the header must hold the info: metadata={'info': ..., ...}")
    try:
        same(json.loads(metadata["info"]), info, "the info in the header differs")
    except ValueError:
        require(False, "the info in the header is no JSON: json.dumps, not str")
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
    found = read_back(after["content"], "after saving over an old file")
    same(found["weight"], new["weight"], "the file still holds the old tensors")
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


@exercise_check("save_checkpoint", points=1, title="what a failure leaves behind")
def _(student, rng):
    tensors = draw_tensors(rng)
    before = file_of(tensors, {"step": 1})
    with in_case("saving fails where nothing is in its way"):
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
    rejects(student, "save_checkpoint", File(blocked=True), tensors, {"step": 2}, hint=hint)
    hint = "the rename failed and the other name is still there: remove it in a finally"
    same(student.arguments_after[0]["names"], ["checkpoint"], hint)


def draw_law(rng: np.random.Generator) -> ScalingLaw:
    """Return a law whose parts all matter over the sizes that the checks use."""
    alpha, beta = (float(rng.uniform(0.3, 0.6)) for _ in range(2))
    a, b = (float(rng.uniform(0.5, 1.5)) for _ in range(2))
    return ScalingLaw(float(rng.uniform(0.8, 1.5)), a * 1e5**alpha, alpha, b * 1e6**beta, beta)


def runs_of(law: ScalingLaw) -> tuple[list, list, list]:
    """Return sizes, tokens and losses of twenty runs of a law."""
    runs = [(n, d) for n in (2e4, 5e4, 1e5, 3e5, 1e6) for d in (2e5, 6e5, 2e6, 8e6)]
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


@exercise_check("fit_scaling_law", points=3, title="a known law is found")
def _(student, rng):
    for _ in range(2):
        law = draw_law(rng)
        fitted = as_law(student.fit_scaling_law(*runs_of(law)))
        at = (1e6, 8e6)
        swapped = ScalingLaw(fitted.irreducible, fitted.b, fitted.beta, fitted.a, fitted.alpha)
        require(
            abs(swapped.loss(*at) / law.loss(*at) - 1) > 1e-3 or abs(law.alpha - law.beta) < 0.02,
            "a and alpha belong to the number of weights, b and beta to the tokens: swapped",
        )
        require(
            abs(fitted.irreducible - math.log(law.irreducible)) > 1e-2 or law.irreducible < 0.4,
            "the floor is fitted as a logarithm: return its exponential, and those of a and b",
        )
        for n, d in (*zip(*runs_of(law)[:2], strict=True), (4e6, 3e7)):
            error = abs(fitted.loss(n, d) / law.loss(n, d) - 1)
            require(
                error < 0.01,
                f"the fitted law misses the loss at N={n:.0e}, D={d:.0e} by {error:.0%}: is the "
                "best of all starts returned, and did the optimizer arrive?",
            )


@exercise_check("fit_scaling_law", points=2, title="noise, an outlier, too little")
def _(student, rng):
    law = draw_law(rng)
    n, d, losses = runs_of(law)
    noisy = [loss * float(np.exp(0.003 * rng.standard_normal())) for loss in losses]
    fitted = as_law(student.fit_scaling_law(n, d, noisy))
    error = abs(fitted.loss(3e6, 2e7) / law.loss(3e6, 2e7) - 1)
    require(error < 0.05, f"with 0.3 % noise the prediction is off by {error:.0%}")
    spoiled = list(losses)
    spoiled[int(rng.integers(20))] *= 1.3
    fitted = as_law(student.fit_scaling_law(n, d, spoiled))
    error = abs(fitted.loss(3e6, 2e7) / law.loss(3e6, 2e7) - 1)
    require(
        error < 0.005,
        f"one bad run of twenty moves the prediction by {error:.1%}: a Huber loss, as distance_of "
        "computes it, lets it pull in a straight line only",
    )
    rejects(
        student, "fit_scaling_law", n[:4], d[:4], losses[:4], hint="four runs: raise ValueError"
    )
    hint = "one size only can't tell its part from the floor: raise ValueError"
    rejects(student, "fit_scaling_law", [1e5] * 20, d, losses, hint=hint)
