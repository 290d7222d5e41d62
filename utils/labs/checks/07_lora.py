"""Checks of lab 07: adapters, weights in four bits, and what a fine-tuning holds in memory.

Oracles: torch's own functions in float64, NumPy by brute force over sixteen levels from Python's
`statistics`, a list of all tensors of a fine-tuning on the meta device.
"""

from __future__ import annotations

import statistics
from contextlib import suppress

import numpy as np
import torch

from utils.labs.checking import (
    Check,
    close,
    collector,
    in_case,
    left_alone,
    not_the_mistake,
    recognise,
    refused,
    require,
    resembles,
    same,
    sole,
)
from utils.labs.student import LearnerError
from utils.labs.values import BFloat16, Linear

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

EXAMPLES_NOT_TRIED = {  # the checks try the like with plain values
    "LoRALinear": "its example makes a module, which stays with the learner",
    "double_quantize": "its example shows the type of the result",
}

HINTS = {
    "LoRALinear": (
        "Keep the layer that you get and never let it learn. Beside it stand two thin matrices: "
        "one leads from the inputs down to rank numbers, the other from those up to the outputs. "
        "The answer is the layer's own plus what comes through the thin ones, scaled.",
        "By hand with one input, one output, rank 1, alpha 3: the weight is 2, down is 0.5, up is "
        "4. What is scale? What does the layer answer to x = 10? What is the one number that the "
        "weight becomes when all that is merged, and what does the merged layer answer to 10? "
        "And why must up start at zero and down must not?",
        "__init__: refuse a rank that is not in 1..min(O, I) and an alpha that is not above 0; "
        "self.linear = linear.requires_grad_(False); scale; down = nn.Parameter(torch.empty(rank, "
        "I)), filled by nn.init.kaiming_uniform_(down, a=math.sqrt(5)); up = nn.Parameter("
        "torch.zeros(O, rank)), both with dtype and device of linear.weight; is_merged = False. "
        "update: scale * (up @ down). forward: linear(x) if merged, else linear(x) + scale * "
        "F.linear(F.linear(x, down), up). merge, under torch.no_grad(): refuse if merged, or if "
        "linear is no nn.Linear; linear.weight += update(); is_merged = True. unmerge is the "
        "reverse, and refuses if nothing is merged.",
    ),
    "quantize_nf4": (
        "Cut the row of all weights into blocks, divide each block by its largest absolute value, "
        "and give each weight the number of the nearest of sixteen levels. Then put two numbers "
        "of four bits into one byte.",
        "By hand: weights (1, -0.5, 0, 0.25) in blocks of two. What are the two scales? Which "
        "numbers between -1 and 1 are left, and which levels of `nf4_levels()` are nearest? Codes "
        "15 and 2 in one byte are 15 * 16 + 2. How would you find the nearest level if you knew "
        "the fifteen points half-way between neighbours?",
        "Refuse a block below 1, no or an odd number of weights, NaN and infinity. flat = "
        "weight.float().flatten(); pad with zeros to whole blocks and view as (N/b, b); scales = "
        "blocks.abs().amax(dim=1); unit = blocks / scales, with 1 for a scale of 0; borders = "
        "(levels[1:] + levels[:-1]) / 2; codes = torch.bucketize(unit, borders), flattened, the "
        "first N, as uint8. Return codes[0::2] << 4 | codes[1::2], scales.",
    ),
    "dequantize_nf4": (
        "Take both numbers out of each byte, look up their levels, and multiply by the scale of "
        "the block in which each weight stands.",
        "By hand: the byte 242 is 15 * 16 + 2. Which level is code 15, which is code 2? With scale "
        "3, which two weights are that? With 5 weights in blocks of 2, which scale has the fifth?",
        "Refuse where shape has not twice as many numbers as there are bytes, or where there are "
        "not ceil(N / block_size) scales. High codes are codes >> 4, low ones codes & 15; "
        "torch.stack([high, low], dim=1).flatten().long() has them in order; "
        "nf4_levels()[that] * scales.float().repeat_interleave(block_size)[:N], with "
        ".view(shape).",
    ),
    "double_quantize": (
        "Scales are numbers like any others: a block of them gets a step, and each becomes a "
        "whole number of steps. Since all are positive, half of the whole numbers would stay "
        "unused, so count from their mean.",
        "By hand: scales (1, 3, 2). What is their mean, how far from it is each, which distance "
        "is the largest, and what is that over 127? How many such steps is each scale away?",
        "Refuse what is no row, an empty row, NaN or infinity, a block below 1. mean = "
        "scales.float().mean(); pad scales - mean with zeros to whole blocks and view as blocks; "
        "steps = blocks.abs().amax(dim=1) / 127, and 1 where that is 0; codes = (blocks / "
        "steps[:, None]).round() as int8, flattened, the first n. Return QuantizedScales(codes, "
        "steps, mean).",
    ),
    "finetune_memory": (
        "Count numbers first, bytes last: how many weights stand in matrices of the blocks, how "
        "many elsewhere, how many learn? Each term is one of these counts, times the bytes of "
        "one number.",
        "By hand for the docstring's example: A = 4, Z = 2, so the four matrices are (8, 4), "
        "(4, 4), (16, 4) and (4, 8). How many weights have they? And the table with three gains? "
        "Together 196, of 4 bytes. The sums of outputs and inputs of the four are 12, 8, 20 and "
        "12: those are the 52 weights of adapters of rank 1.",
        "Refuse first. n_matrices = n_layers * sum(O * I), n_adapters = n_layers * rank * "
        "sum(O + I) or 0, n_other = tables + (2 * n_layers + 1) * D. n_learn = n_adapters with a "
        "rank, else all. weights: float_bytes * (n_other, plus n_matrices if not quantised). "
        "codes: n_matrices // 2. scales: n_layers times the sum over the four matrices of s + "
        "4 * ceil(s / 256) + 4 with s = ceil(O * I / 64). gradients: float_bytes * n_learn. "
        "optimizer: 8 * n_learn, with float_bytes 2 it is 12. activations: float_bytes * B * T * "
        "(n_layers * kept + 2 * V), kept as the docstring lists it. All are whole numbers: use //.",
    ),
}


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Return normal random numbers in float32."""
    return (rng.standard_normal(shape) * scale).astype(np.float32)


# LoRALinear: W (O, I), x (..., I), down A (R, I), up B (O, R).


def adapted(student, rng: np.random.Generator, rank: int, alpha: float, O=5, I=7, bias=True):  # noqa: E741, N803
    """Return a learner's layer with random weights of all kinds, and these weights in float64."""
    weight, offset = normal(rng, O, I), normal(rng, O) if bias else None
    layer = student.make("LoRALinear", Linear(weight, offset), rank, alpha)
    weights = {"down": normal(rng, rank, I), "up": normal(rng, O, rank), "linear.weight": weight}
    if bias:
        weights["linear.bias"] = offset
    has_places(layer.state_dict(), weights)
    layer.load(weights)
    return layer, {name: value.astype(np.float64) for name, value in weights.items()}


def has_places(state: object, weights: dict) -> None:
    """Reject a layer whose weights have other names or shapes."""
    require(
        isinstance(state, dict) and set(state) == set(weights),
        f"the weights of the layer are to be {sorted(weights)} (linear is the layer that was "
        f"given, down and up are nn.Parameter), got {sorted(state) if state else state}",
    )
    for name, value in weights.items():
        require(
            np.shape(state[name]) == value.shape,
            f"{name} has shape {value.shape} for a layer of {weights['linear.weight'].shape[1]} "
            f"inputs and {weights['linear.weight'].shape[0]} outputs, got {np.shape(state[name])}",
        )


def mixed_x(rng: np.random.Generator, shape: tuple, down: np.ndarray) -> np.ndarray:
    """Return inputs (..., I) that `down` leads to numbers of both signs."""
    while True:
        x = normal(rng, *shape)
        through = x @ down.T
        if through.min() < -0.1 and through.max() > 0.1:
            return x


def answer(w: dict, x: np.ndarray, scale: float) -> np.ndarray:
    """Return W x + b + scale B A x in float64."""
    return (
        x @ w["linear.weight"].T + w.get("linear.bias", 0) + scale * (x @ w["down"].T @ w["up"].T)
    )


def starts_as_linear(down: np.ndarray) -> None:
    """Reject unless a matrix (R, I) starts as the weight of an nn.Linear does."""
    require(
        down.any(),
        "down starts at zero, as up does: then no gradient reaches either, and nothing is learned",
    )
    rank, n_inputs = down.shape
    bound = 1 / n_inputs**0.5
    require(
        0.98 < np.abs(down).max() / bound < 1.0001 and abs(down.std() * 3**0.5 / bound - 1) < 0.15,
        f"down starts as the weight of nn.Linear({n_inputs}, {rank}) does, even between "
        f"-{bound:.3f} and {bound:.3f}; yours has a standard deviation of {down.std():.3f} "
        f"(expected {bound / 3**0.5:.3f}) and reaches {np.abs(down).max():.3f}",
    )


@exercise_check("LoRALinear", points=2, title="the start")
def _(student, rng):
    O, I, rank, alpha = 40, 64, 16, 6.0  # noqa: E741, N806
    weight, x = normal(rng, O, I, scale=0.1), normal(rng, 3, I)
    layers = [student.make("LoRALinear", Linear(weight), rank, alpha) for _ in range(2)]
    state = layers[0].state_dict()
    wanted = {"linear.weight": weight, "down": np.zeros((rank, I)), "up": np.zeros((O, rank))}
    has_places(state, wanted)
    require(
        not state["up"].any(),
        "up starts at zero, so that a fresh adapter changes nothing, and yours does not",
    )
    down = state["down"]
    starts_as_linear(down)
    # As many numbers in other shapes, so that memory which was used before has another spread.
    for n_inputs in rng.permutation([64, 128, 256]).tolist():
        other = normal(rng, O, n_inputs)
        made = student.make("LoRALinear", Linear(other), 1024 // n_inputs, alpha)
        starts_as_linear(made.state_dict()["down"])
    require(
        not np.array_equal(down, layers[1].state_dict()["down"]),
        "two layers start with the same down: draw it anew for each",
    )
    close(state["linear.weight"], weight, "the weight of the layer that was given is changed")
    out = layers[0].forward(x)
    close(out, x @ weight.T, "at the start the answer is that of the layer itself")
    scale = layers[0].attribute("scale")
    recognise(
        scale,
        alpha / rank,
        [(alpha, "scale is alpha / rank, not alpha"), (rank / alpha, "scale is alpha over rank")],
    )
    close(scale, alpha / rank, f"`scale` with alpha {alpha} and rank {rank}")
    require(layers[0].attribute("is_merged") is False, "`is_merged` is False at the start")


@exercise_check("LoRALinear", points=2, title="forward")
def _(student, rng):
    for rank, alpha, bias in ((3, 12.0, True), (2, 1.0, False), (5, 16, True)):
        layer, w = adapted(student, rng, rank, alpha, bias=bias)
        for shape in ((7,), (1, 7), (2, 3, 7)):
            x = mixed_x(rng, shape, w["down"])
            with in_case(f"x of shape {shape}, rank {rank}, alpha {alpha}"):
                out = layer.forward(x)
            want = answer(w, x, alpha / rank)
            plain = answer(w, x, 0.0)
            slips = [
                (plain, "the update is missing: what goes through down and up is added"),
                (want - plain, "the layer's own answer is missing"),
                (
                    plain + (want - plain) * rank,
                    "in yours the update is scaled by alpha alone: divide by rank",
                ),
                (
                    plain + (want - plain) * rank / alpha,
                    "in yours the update is not scaled: multiply by alpha / rank",
                ),
                (
                    plain + (want - plain) * (rank / alpha) ** 2,
                    "in yours the update is scaled by rank / alpha: take alpha / rank",
                ),
                (
                    plain + (want - plain) * rank**0.5,
                    "in yours the update is scaled by alpha / sqrt(rank): take alpha / rank",
                ),
                (plain - (want - plain), "in yours the update is subtracted: add it"),
                ((want - plain) * alpha / rank + plain, "in yours the update is scaled twice"),
                (2 * want - plain, "in yours the update is added twice"),
            ]
            if bias:
                slips += [(want - w["linear.bias"], "in yours the bias of the layer is left out")]
                slips += [(want + w["linear.bias"], "in yours the bias is added twice")]
            recognise(out, want, slips, atol=1e-4)
            close(
                out,
                want,
                f"x {shape}, rank {rank}, alpha {alpha}: the answer is linear(x) + alpha / rank * "
                "(x through down, then through up)",
                atol=1e-4,
            )
            require(
                np.array_equal(layer.arguments_after[0], x),
                "`x` was changed in place: make new tensors, y = x * 2 and not x *= 2",
            )
        w["up"] = normal(rng, 5, rank).astype(np.float64)  # as after a step of the optimizer
        layer.load({name: value.astype(np.float32) for name, value in w.items()})
        close(
            layer.forward(x),
            answer(w, x, alpha / rank),
            "forward again, when `up` holds other numbers: the answer is that of today's `up`",
            atol=1e-4,
        )
        with suppress(LearnerError):  # it returns the module itself, which stays with the learner
            layer.train(False)
        close(
            layer.forward(x),
            answer(w, x, alpha / rank),
            "in evaluation mode, after layer.train(False), the answer is the same",
            atol=1e-4,
        )


@exercise_check("LoRALinear", points=2, title="what learns, and its gradients")
def _(student, rng):
    rank, alpha = 3, 6.0
    layer, w = adapted(student, rng, rank, alpha)
    x, upstream = normal(rng, 2, 4, 7), normal(rng, 2, 4, 5)
    leaves = {name: torch.from_numpy(value).requires_grad_() for name, value in w.items()}
    leaves["x"] = torch.from_numpy(x).double().requires_grad_()
    out = leaves["x"] @ leaves["linear.weight"].T + leaves["linear.bias"]
    out = out + alpha / rank * (leaves["x"] @ leaves["down"].T @ leaves["up"].T)
    found = torch.autograd.grad((out * torch.from_numpy(upstream)).sum(), list(leaves.values()))
    wanted = dict(zip(leaves, found, strict=True))
    with in_case("the gradients for x (2, 4, 7), rank 3"):
        got = layer.weight_gradients(x, upstream=upstream)
    for name in ("linear.weight", "linear.bias"):
        require(
            name not in got,
            f"{name} still learns: the layer is frozen, requires_grad_(False)",
        )
    require(
        set(got) == {"down", "up"},
        f"down and up learn and nothing else, got gradients for {sorted(got)}",
    )
    for name in ("down", "up"):
        hint = f"the gradient of {name}: every step from it to the answer counts"
        close(got[name], wanted[name].numpy(), hint, atol=1e-3, rtol=1e-3)
    with in_case("the gradient of x (2, 4, 7), rank 3"):
        (through,) = layer.gradients(x, upstream=upstream)
    hint = "the gradient of x runs through both ways, the frozen layer and the update"
    close(through, wanted["x"].numpy(), hint, atol=1e-3, rtol=1e-3)


@exercise_check("LoRALinear", points=2, title="merge and unmerge")
def _(student, rng):
    for rank, alpha, bias in ((2, 6.0, True), (4, 1.0, False)):
        layer, w = adapted(student, rng, rank, alpha, bias=bias)
        x, scale = normal(rng, 2, 3, 7), alpha / rank
        want, update = answer(w, x, scale), scale * w["up"] @ w["down"]
        weight = w["linear.weight"]
        got = layer.update()
        recognise(
            got,
            update,
            [
                (update.T, "update is (O, I), as the weight: up @ down"),
                (update / scale, "update is scaled by alpha / rank"),
                (weight + update, "update is what is added, without the weight"),
            ],
        )
        close(got, update, "update() is scale * up @ down, (O, I)", atol=1e-4)
        for turn in ("the first time", "again"):
            result = layer.merge()
            require(result is None, f"merge changes the layer and returns nothing, got {result!r}")
            require(layer.attribute("is_merged") is True, "after merge `is_merged` is True")
            state = layer.state_dict()
            recognise(
                state["linear.weight"],
                weight + update,
                [
                    (
                        weight,
                        "your merge leaves the weight of `linear` as it was: add to it in place",
                    ),
                    (update, "your merge puts the update in the place of the weight: add it"),
                    (weight - update, "your merge takes the update off: add it"),
                    (weight + update / scale, "your merge adds the update without its scale"),
                    (weight + 2 * update, "your merge adds the update twice"),
                ],
                atol=1e-4,
            )
            close(
                state["linear.weight"],
                weight + update,
                f"merged {turn}, the weight is W + update()",
                atol=1e-4,
            )
            for name in ("down", "up"):
                close(state[name], w[name], f"merge leaves {name} as it is")
            close(layer.update(), update, "merged, update() is what it was before", atol=1e-4)
            out = layer.forward(x)
            not_the_mistake(
                not resembles(out, answer(w, x, 2 * scale), atol=1e-4),
                "merged, the update counts twice: the weight holds it, and forward adds it again",
            )
            close(out, want, f"merged {turn}, the answer is the same as before", atol=1e-4)
            result = layer.unmerge()
            require(result is None, f"unmerge returns nothing, got {result!r}")
            require(layer.attribute("is_merged") is False, "after unmerge `is_merged` is False")
            state = layer.state_dict()
            recognise(
                state["linear.weight"],
                weight,
                [
                    (weight + update, "your unmerge leaves the update in the weight: take it off"),
                    (weight + 2 * update, "your unmerge adds the update again: take it off"),
                    (
                        weight + update - update / scale,
                        "your unmerge takes the update off without its scale",
                    ),
                ],
                atol=1e-4,
            )
            close(
                state["linear.weight"],
                weight,
                f"unmerged {turn}, the weight is what it was before merge",
                atol=1e-4,
            )
            for name in ("down", "up"):
                close(state[name], w[name], f"unmerge leaves {name} as it is")
            close(layer.forward(x), want, "unmerged, the answer is the same again", atol=1e-4)
    got = layer.weight_gradients(x)
    require(
        set(got) == {"down", "up"},
        f"after merge and unmerge down and up learn and nothing else, got {sorted(got)}",
    )


@exercise_check("LoRALinear", points=1, title="other dtypes, and a layer in four bits")
def _(student, rng):
    layer = student.make("LoRALinear", Linear(normal(rng, 5, 7).astype(np.float64)), 2, 4)
    state = layer.state_dict()
    for name in ("down", "up"):
        require(
            state[name].dtype == np.float64,
            f"{name} has the dtype of the layer's weight, float64 here, got {state[name].dtype}",
        )
    layer.load({**state, "up": normal(rng, 5, 2).astype(np.float64)})
    x = rng.standard_normal((2, 7))
    before = layer.forward(x)
    require(
        before.dtype == np.float64,
        f"a layer and x in float64 give an answer in float64, got {before.dtype}",
    )
    layer.merge()
    hint = "in float64, the merged layer gives the answer that it gave before merge"
    close(layer.forward(x), before, hint, atol=1e-10, rtol=1e-9)

    weight = normal(rng, 6, 4)
    with in_case("a layer in four bits: no nn.Linear, with weight, in_features, out_features"):
        layer = student.make("LoRALinear", Linear(weight, is_fixed=True), 2, 4)
    w = {"linear.weight": weight, "down": normal(rng, 2, 4), "up": normal(rng, 6, 2)}
    layer.load({"linear.kept": weight, "down": w["down"], "up": w["up"]})
    x = normal(rng, 3, 4)
    close(layer.forward(x), answer(w, x, 2.0), "the answer of a layer in four bits", atol=1e-4)
    refused(layer.merge, "merge where `linear` is no nn.Linear")
    require(layer.attribute("is_merged") is False, "refused, `is_merged` stays False")
    close(layer.forward(x), answer(w, x, 2.0), "after a refused merge the answer", atol=1e-4)


@exercise_check("LoRALinear", points=1, title="what is refused", is_core=False)
def _(student, rng):
    for shape in ((5, 7), (7, 5)):
        weight = normal(rng, *shape)
        for rank in (1, 5):
            with in_case(f"rank {rank} for a matrix of {shape}"):
                layer = student.make("LoRALinear", Linear(weight), rank, 1.0)
        for rank in (0, -1, 6, 7):
            refused(
                lambda r=rank, w=weight: student.make("LoRALinear", Linear(w), r, 1.0),
                f"rank {rank} for a matrix of {shape}",
            )
    for alpha in (0, -2.0, float("nan")):
        refused(
            lambda a=alpha: student.make("LoRALinear", Linear(weight), 2, a),
            f"alpha {alpha}",
        )
    layer, w = adapted(student, rng, 2, 4.0)
    update = 2 * w["up"] @ w["down"]
    refused(layer.unmerge, "unmerge before any merge")
    close(layer.state_dict()["linear.weight"], w["linear.weight"], "refused, the weight stays")
    layer.merge()
    refused(layer.merge, "a second merge")
    close(
        layer.state_dict()["linear.weight"],
        w["linear.weight"] + update,
        "after a refused second merge the weight holds the update once",
        atol=1e-4,
    )
    layer.unmerge()
    refused(layer.unmerge, "a second unmerge")


# NF4: sixteen levels at quantiles of a normal distribution, worked out without torch.

OUTERMOST = 0.9677083


def levels_by_hand() -> np.ndarray:
    """Return the sixteen levels in float64."""
    quantile = statistics.NormalDist().inv_cdf
    above = [quantile(OUTERMOST + (0.5 - OUTERMOST) * k / 8) for k in range(8)]
    below = [-quantile(OUTERMOST + (0.5 - OUTERMOST) * k / 7) for k in range(7)]
    return np.array(sorted([*above, 0.0, *below])) / above[0]


LEVELS = levels_by_hand()
EVEN = np.linspace(-1, 1, 16)


def blocks_of(flat: np.ndarray, size: int) -> list[np.ndarray]:
    """Return a row cut into blocks, the last of them perhaps shorter."""
    return [flat[start : start + size] for start in range(0, len(flat), size)]


def nearest(weight: np.ndarray, size: int, levels: np.ndarray = LEVELS) -> tuple:
    """Return codes (N,), scales and the smallest gap between a weight's two nearest levels."""
    codes, scales, gap = [], [], np.inf
    for block in blocks_of(weight.astype(np.float64).ravel(), size):
        scale = np.abs(block).max()
        distance = np.abs(block[:, None] / (scale or 1.0) - levels)  # (b, 16)
        codes += list(distance.argmin(1))
        scales.append(scale)
        two = np.sort(distance, axis=1)[:, :2]
        gap = min(gap, (two[:, 1] - two[:, 0]).min())
    return np.array(codes), np.array(scales, np.float32), gap


def draw_weights(rng: np.random.Generator, shape: tuple, size: int) -> np.ndarray:
    """Return normal weights of which none lies half-way between two levels."""
    while True:
        weight = normal(rng, *shape) * rng.uniform(0.02, 3)
        if nearest(weight, size)[2] > 1e-5:
            return weight


def in_bytes(codes: np.ndarray) -> np.ndarray:
    """Return two codes in a byte, the earlier one in the high four bits."""
    return (codes[0::2] * 16 + codes[1::2]).astype(np.uint8)


def pair(result: object) -> tuple:
    """Return a result as codes and scales, or reject its form."""
    require(
        isinstance(result, tuple) and len(result) == 2,
        f"return two things, codes and scales, got {type(result).__name__}",
    )
    for part in result:
        require(isinstance(part, np.ndarray), "codes and scales are tensors")
    return result


def same_codes(got: np.ndarray, codes: np.ndarray, size: int, weight: np.ndarray) -> None:
    """Reject codes that differ; name what else was packed or rounded."""
    want = in_bytes(codes)
    flat = weight.astype(np.float64).ravel()
    whole = np.abs(flat).max() or 1.0
    even = nearest(weight, size, EVEN)[0]
    cut = np.concatenate(
        [
            (np.searchsorted(LEVELS, block / (np.abs(block).max() or 1), side="right") - 1)
            for block in blocks_of(flat, size)
        ]
    )
    one_scale = np.abs(flat[:, None] / whole - LEVELS).argmin(1)
    for wrong, hint in (
        (codes, "in yours each code has a byte of its own: put two of them into one"),
        (
            in_bytes(np.stack([codes[1::2], codes[0::2]], 1).ravel()),
            "the earlier weight is in the high four bits of a byte, and yours is in the low ones",
        ),
        (in_bytes(15 - codes), "codes count from the lowest level, -1, up"),
        (in_bytes(even), "the levels are those of nf4_levels(), not even steps"),
        (in_bytes(cut), "a weight becomes the nearest level, not the one below it"),
        (in_bytes(one_scale), "each block is divided by its own largest value, not by that of all"),
    ):
        not_the_mistake(not resembles(got, wrong) or resembles(want, wrong), hint)
    same(got, want, f"codes of weights {weight.shape} in blocks of {size}, two in a byte")


@exercise_check("quantize_nf4", points=2, title="by hand: one block")
def _(student, rng):
    weight = np.array([2.0, -1.0, 0.1, 0.5], np.float32)
    with in_case("the weights (2, -1, 0.1, 0.5), a block of 64 that is not full"):
        codes, scales = pair(student.quantize_nf4(weight))
    recognise(
        scales,
        [2.0],
        [
            ([0.5], "the scale is the largest absolute value, and not one over it"),
            ([2.0 / 7], "the scale is the largest absolute value itself: the levels reach 1"),
            ([2.0 / 15], "the scale is the largest absolute value itself: the levels reach 1"),
            ([3.0 / 2], "the scale is the largest absolute value, not half of the range"),
            ([weight.std()], "the scale is the largest absolute value, not the spread"),
            ([weight.std(ddof=1)], "the scale is the largest absolute value, not the spread"),
        ],
    )
    close(scales, [2.0], "the scale of (2, -1, 0.1, 0.5) is its largest absolute value")
    same_codes(codes, nearest(weight, 64)[0], 64, weight)
    weight = np.array([-3.0, 1.0], np.float32)
    codes, scales = pair(student.quantize_nf4(weight))
    recognise(
        scales, [3.0], [([1.0], "take absolute values first"), ([-3.0], "take absolute values")]
    )
    close(scales, [3.0], "the scale of (-3, 1) is its largest absolute value")
    same(codes, in_bytes(nearest(weight, 64)[0]), "(-3, 1) over 3 is (-1, 1/3)")


@exercise_check("quantize_nf4", points=2, title="blocks and shapes")
def _(student, rng):
    for shape, size in (((4, 8), 8), ((3, 10), 4), ((2, 3, 5), 7), ((70,), 64), ((6,), 1)):
        weight = draw_weights(rng, shape, size)
        wanted, scales, _ = nearest(weight, size)
        with in_case(f"weights {shape} in blocks of {size}"):
            codes, got = pair(student.quantize_nf4(weight, size))
        left_alone(student, weight=weight)
        flat = weight.ravel()
        by_row = np.abs(weight).reshape(-1, shape[-1]).max(1)
        by_column = [np.abs(block).max() for block in blocks_of(weight.T.ravel(), size)]
        recognise(
            got,
            scales,
            [
                (np.array([np.abs(flat).max()]), "each block of weights has a scale of its own"),
                (
                    np.full(len(scales), np.abs(flat).max()),
                    "each block of weights has a scale of its own, not that of all",
                ),
                (by_row, "blocks run over the row of all weights, not along each row of a matrix"),
                (by_column, "weights are read row by row, and yours column by column"),
                (
                    np.array([max(b.max(), 0) for b in blocks_of(flat, size)]),
                    "take absolute values first",
                ),
            ],
        )
        require(
            got.shape == scales.shape,
            f"{weight.size} weights in blocks of {size} have {len(scales)} scales (the last block "
            f"may be shorter), got shape {got.shape}",
        )
        close(got, scales, f"scales of weights {shape} in blocks of {size}", atol=0, rtol=1e-6)
        require(got.dtype == np.float32, f"scales are float32, got {got.dtype}")
        same_codes(codes, wanted, size, weight)
        require(codes.dtype == np.uint8, f"codes are uint8, got {codes.dtype}")
    weight = draw_weights(rng, (8, 32), 64)
    codes, got = pair(student.quantize_nf4(weight))
    wanted, scales, _ = nearest(weight, 64)
    close(got, scales, "blocks have 64 weights where nothing is said", atol=0, rtol=1e-6)
    same_codes(codes, wanted, 64, weight)


@exercise_check("quantize_nf4", points=1, title="zeros, tiny weights, other dtypes")
def _(student, rng):
    weight = np.concatenate([np.zeros(4), draw_weights(rng, (4,), 4)]).astype(np.float32)
    codes, scales = pair(student.quantize_nf4(weight, 4))
    close(scales[:1], [0.0], "a block of zeros has scale 0")
    recognise(
        codes[:2].astype(np.float64),
        [0x77, 0x77],
        [
            ([0xFF, 0xFF], "a block of zeros is divided by 0: NaN is no level; its codes are 7"),
            (
                [0.0, 0.0],
                "code 0 is the level -1, and zeros have code 7 (divided by a scale of 0 they would "
                "be NaN, which is near no level)",
            ),
            ([0x88, 0x88], "level 0 has the number 7, from 0"),
        ],
    )
    same(codes, in_bytes(nearest(weight, 4)[0]), "a block of zeros has codes 7, whose level is 0")
    weight = draw_weights(rng, (6, 4), 8) * np.float32(1e-12)
    codes, scales = pair(student.quantize_nf4(weight, 8))
    with np.errstate(all="ignore"):  # whatever the scales are
        close(scales / 1e-12, nearest(weight, 8)[1] / 1e-12, "scales of weights around 1e-12")
    same(codes, in_bytes(nearest(weight, 8)[0]), "codes of weights around 1e-12")
    for name, given in (("bfloat16", None), ("float16", np.float16), ("float64", np.float64)):
        while True:
            wide = normal(rng, 4, 8).astype(given or np.float32)
            if given is None:  # numbers that bfloat16 can hold
                wide = (wide.view(np.uint32) & 0xFFFF0000).view(np.float32)
            if nearest(wide, 8)[2] > 1e-5:
                break
        with in_case(f"weights in {name}"):
            codes, scales = pair(student.quantize_nf4(BFloat16(wide) if given is None else wide, 8))
        require(
            scales.dtype == np.float32,
            f"weights in {name}: scales are float32 all the same, got {scales.dtype}",
        )
        close(scales, nearest(wide, 8)[1], f"scales of weights in {name}", atol=0, rtol=1e-6)
        same(codes, in_bytes(nearest(wide, 8)[0]), f"codes of weights in {name}")
    # The first over the second is -0.3389, nearest to level 4, and in bfloat16 -0.3398: level 3.
    wide = np.array([-0.39453125, -1.1640625, -1.0859375, -0.73828125], np.float32)
    codes, _ = pair(student.quantize_nf4(BFloat16(wide)))
    tried = f"weights {wide.tolist()} in bfloat16"
    not_the_mistake(
        not resembles(codes, in_bytes(np.array([3, 0, 0, 1]))),
        f"{tried}: the first has code 3 in yours, as where its quotient -0.3389 is rounded to "
        "bfloat16. Divide in float32: level 4 is nearest",
    )
    same(codes, in_bytes(np.array([4, 0, 0, 1])), f"codes of {tried}")


@exercise_check("quantize_nf4", points=1, title="what is refused", is_core=False)
def _(student, rng):
    good = normal(rng, 2, 8)
    with in_case("16 weights in one block of 64"):
        pair(student.quantize_nf4(good))
    for bad in (np.nan, np.inf, -np.inf):
        for place in (0, 7, 15):
            weight = good.copy()
            weight.flat[place] = bad
            refused(lambda w=weight: student.quantize_nf4(w), f"{bad} at place {place}")
    for shape in ((3,), (3, 5), (0,)):
        refused(lambda s=shape: student.quantize_nf4(normal(rng, *s)), f"weights of shape {shape}")
    for size in (0, -64):
        refused(lambda s=size: student.quantize_nf4(good, s), f"block_size {size}")


def restored(codes: np.ndarray, scales: np.ndarray, size: int, levels=LEVELS) -> np.ndarray:
    """Return the row of weights that codes (N,) stand for."""
    parts = zip(blocks_of(levels[codes], size), scales, strict=True)
    return np.concatenate([block * scale for block, scale in parts])


@exercise_check("dequantize_nf4", points=1, title="by hand: one block")
def _(student, rng):
    codes = np.array([15 * 16 + 2, 7 * 16 + 0], np.uint8)
    with in_case("bytes 242 and 112 with one scale, a block of 64 that is not full"):
        out = student.dequantize_nf4(codes, np.array([3.0], np.float32), (4,))
    want = 3 * LEVELS[[15, 2, 7, 0]]
    recognise(
        out,
        want,
        [
            (3 * LEVELS[[2, 15, 0, 7]], "the high four bits hold the earlier weight of the two"),
            (3 * LEVELS[[15, 7, 2, 0]], "the two codes of a byte are neighbours: put them in turn"),
            (LEVELS[[15, 2, 7, 0]], "these are the levels alone: multiply by the scale"),
            (LEVELS[[15, 2, 7, 0]] / 3, "a weight is level times scale"),
            (3 * EVEN[[15, 2, 7, 0]], "levels are those of nf4_levels(), not even steps"),
        ],
    )
    close(out, want, "bytes 242 and 112 are the codes 15, 2, 7, 0; the scale is 3")


@exercise_check("dequantize_nf4", points=2, title="blocks and shapes")
def _(student, rng):
    for shape, size in (((4, 8), 8), ((3, 10), 4), ((2, 3, 5), 7), ((70,), 64), ((6,), 1)):
        n = int(np.prod(shape))
        codes = rng.integers(0, 16, n)
        scales = rng.uniform(0.5, 2, -(-n // size)).astype(np.float32)
        packed = in_bytes(codes)
        with in_case(f"weights {shape} in blocks of {size}"):
            out = student.dequantize_nf4(packed, scales, shape, size)
        left_alone(student, codes=packed, scales=scales)
        want = restored(codes, scales, size).reshape(shape)
        turned = np.stack([codes[1::2], codes[0::2]], 1).ravel()
        if isinstance(out, np.ndarray):
            require(
                out.shape == shape,
                f"the result has the shape that was asked for, {shape}, got {out.shape}",
            )
        slips = [
            (restored(turned, scales, size), "the high four bits hold the earlier weight"),
            (
                restored(np.concatenate([codes[0::2], codes[1::2]]), scales, size),
                "the two codes of a byte are neighbours: put them in turn",
            ),
            (LEVELS[codes] * scales[0], "each block has its own scale, not that of the first"),
            (
                LEVELS[codes] * np.resize(scales, n),
                "a scale serves a block of neighbours: repeat_interleave, not repeat",
            ),
            (LEVELS[codes], "these are the levels alone: multiply by the scales"),
        ]
        slips = [(wrong.reshape(shape), hint) for wrong, hint in slips]
        by_column = want.ravel().reshape(shape[::-1]).T
        slips.append((by_column, "weights stand row by row, and yours column by column"))
        recognise(out, want, slips)
        close(out, want, f"weights {shape} in blocks of {size}: level times scale of its block")
        require(out.dtype == np.float32, f"the weights are float32, got {out.dtype}")
    codes, scales = rng.integers(0, 16, 160), rng.uniform(0.5, 2, 3)
    with in_case("160 codes and three scales in float64"):
        out = student.dequantize_nf4(in_bytes(codes), scales, (160,))
    close(out, restored(codes, scales, 64), "blocks have 64 weights where nothing is said")
    require(out.dtype == np.float32, "the weights are float32, whatever the scales are")


@exercise_check("dequantize_nf4", points=1, title="what is refused", is_core=False)
def _(student, rng):
    codes = rng.integers(0, 256, 64).astype(np.uint8)  # 128 weights
    scales = np.ones(2, np.float32)
    for shape in ((128,), (2, 64), (4, 4, 8)):
        with in_case(f"64 bytes and 2 scales for weights {shape}"):
            student.dequantize_nf4(codes, scales, shape)
    for shape in ((64,), (2, 63), (130,), (3, 43)):
        refused(
            lambda s=shape: student.dequantize_nf4(codes, scales, s),
            f"64 bytes and 2 scales for weights of shape {shape}",
        )
    for n in (1, 3):
        refused(
            lambda n=n: student.dequantize_nf4(codes, np.ones(n, np.float32), (128,)),
            f"{n} scales for 128 weights in blocks of 64",
        )
    refused(
        lambda: student.dequantize_nf4(codes, scales, (128,), 32),
        "2 scales for 128 weights in blocks of 32",
    )


def steps_by_hand(scales: np.ndarray, size: int) -> tuple:
    """Return codes, steps, mean, and how near a scale is to half-way between two codes."""
    wide = scales.astype(np.float64)
    mean = wide.mean()
    codes, steps = [], []
    for block in blocks_of(wide - mean, size):
        step = np.abs(block).max() / 127 or 1.0
        steps.append(step)
        codes += list(block / step)
    exact = np.array(codes)
    margin = np.abs(np.abs(exact - np.floor(exact)) - 0.5).min()
    return np.round(exact), np.array(steps), mean, margin


def draw_scales(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Return positive scales of which none lies half-way between two codes."""
    while True:
        scales = rng.uniform(0.5, 3.0, n).astype(np.float32)
        if steps_by_hand(scales, size)[3] > 1e-3:
            return scales


def three(result: object) -> tuple:
    """Return a result as codes, steps and mean, or reject its form."""
    require(
        isinstance(result, tuple) and len(result) == 3,
        f"return QuantizedScales(codes, steps, mean), got {type(result).__name__}",
    )
    for name, part in zip(("codes", "steps", "mean"), result, strict=True):
        require(isinstance(part, np.ndarray), f"{name} is a tensor, got {type(part).__name__}")
    return result


def same_steps(result: object, scales: np.ndarray, size: int, case: str) -> None:
    """Reject codes, steps or mean that differ."""
    codes, steps, mean = three(result)
    want, wanted, middle, _ = steps_by_hand(scales, size)
    wide = scales.astype(np.float64)
    recognise(
        mean,
        middle,
        [
            (np.median(wide), "the mean is asked for, not the median"),
            ((wide.max() + wide.min()) / 2, "the mean is asked for, not the middle of the range"),
            (wide.min(), "the mean is asked for, not the smallest"),
            (0.0, "the mean of the scales is taken off first, and kept"),
            (wide[:size].mean(), "the mean is that of all scales, not of the first block"),
            (
                np.mean([block.mean() for block in blocks_of(wide, size)]),
                "the mean is that of all scales, not of the blocks' means",
            ),
            (
                wide.sum() / (-(-len(wide) // size) * size),
                "the mean is that of the scales alone, without what fills the last block",
            ),
        ],
    )
    require(mean.shape == (), f"{case}: there is one mean for all scales, got shape {mean.shape}")
    close(mean, middle, f"{case}: the mean of all scales")
    centred = blocks_of(wide - middle, size)
    recognise(
        steps,
        wanted,
        [
            (wanted * 127 / 128, "a step is the largest distance over 127, not 128"),
            (wanted * 127 / 255, "a step is the largest distance over 127, not 255"),
            (wanted * 127, "a step is the largest distance over 127"),
            (1 / wanted, "steps is asked for, not one over it"),
            (
                [np.abs(b).max() / 127 for b in blocks_of(wide, size)],
                "distances are measured from the mean, not from zero",
            ),
            ([b.max() / 127 for b in centred], "take absolute distances"),
            (
                [np.abs(b - b.mean()).max() / 127 for b in centred],
                "distances are measured from the mean of all scales, not from that of the block",
            ),
            (
                [max(np.abs(b).max(), abs(middle) if len(b) < size else 0) / 127 for b in centred],
                "in yours what fills the last block is a scale of 0: take the mean off first",
            ),
            ([np.abs(wide - middle).max() / 127], "each block of scales has a step of its own"),
        ],
        atol=1e-7,
    )
    require(
        steps.shape == wanted.shape,
        f"{case}: {len(wanted)} blocks have {len(wanted)} steps, got shape {steps.shape}",
    )
    hint = f"{case}: each block's largest distance from the mean over 127, and 1 where that is 0"
    close(steps, wanted, hint, 0, 1e-4)
    require(
        codes.shape == want.shape,
        f"{case}: one code for each of the {len(want)} scales, got shape {codes.shape}",
    )
    shifted = np.concatenate([b / s for b, s in zip(centred, wanted, strict=True)])
    if codes.shape == want.shape and not np.array_equal(codes, want):
        off = codes - shifted  # up to rounding of a step, which may move 127 to 126
        down = ((off > -1.001) & (off < 0.001)).all()
        inward = ((np.abs(off) < 1.001) & (off * np.sign(shifted) < 0.001)).all()
        not_the_mistake(not down, f"{case}: codes are rounded to the nearest, not down")
        not_the_mistake(not inward, f"{case}: codes are rounded to the nearest, not towards zero")
    recognise(
        codes.astype(np.float64),
        want,
        [
            (-want, "a scale above the mean has a code above zero"),
            (want + 127, "codes run from -127 to 127, with 0 for the mean"),
        ],
        atol=0.4,
    )
    close(codes.astype(np.float64), want, f"{case}: the nearest whole number of steps", 0.1, 0)
    require(codes.dtype == np.int8, f"codes are int8, got {codes.dtype}")
    require(steps.dtype == np.float32, f"steps are float32, got {steps.dtype}")
    require(mean.dtype == np.float32, f"the mean is float32, got {mean.dtype}")


@exercise_check("double_quantize", points=1, title="by hand: three scales")
def _(student, rng):
    scales = np.array([1.0, 3.0, 2.0], np.float32)
    with in_case("scales (1, 3, 2), a block of 256 that is not full"):
        result = student.double_quantize(scales)
    same_steps(result, scales, 256, "scales (1, 3, 2)")
    scales = np.array([0.5, 4.0, 1.0, 1.5, 3.5], np.float32)  # the mean is no member
    same_steps(student.double_quantize(scales), scales, 256, "scales (0.5, 4, 1, 1.5, 3.5)")


@exercise_check("double_quantize", points=1, title="blocks of scales")
def _(student, rng):
    for n, size in ((12, 4), (10, 4), (5, 1), (3, 8), (300, 256), (1, 256)):
        scales = draw_scales(rng, n, size)
        with in_case(f"{n} scales in blocks of {size}"):
            result = student.double_quantize(scales, size)
        left_alone(student, scales=scales)
        same_steps(result, scales, size, f"{n} scales in blocks of {size}")
    scales = draw_scales(rng, 600, 256)
    same_steps(student.double_quantize(scales), scales, 256, "600 scales, blocks of 256 as given")
    scales = draw_scales(rng, 6, 3).astype(np.float64)
    same_steps(student.double_quantize(scales, 3), scales, 3, "scales in float64")


@exercise_check("double_quantize", points=1, title="equal scales")
def _(student, rng):
    for scales, size in (
        (np.full(300, 2.5, np.float32), 256),
        (np.array([2, 2, 1, 3], np.float32), 2),
        (np.zeros(3, np.float32), 2),
    ):
        codes, steps, mean = three(student.double_quantize(scales, size))
        recognise(
            steps[:1],
            [1.0],
            [
                ([0.0], "a block in which all scales are the mean has step 1, or 0 / 0 is NaN"),
                ([np.nan], "a block in which all scales are the mean has step 1"),
            ],
        )
        same_steps((codes, steps, mean), scales, size, "a block of equal scales")

    scales = np.array([1e-5, 3e-5, 2e-5], np.float32)
    same_steps(student.double_quantize(scales), scales, 256, "scales (1, 3, 2) / 100,000")


@exercise_check("double_quantize", points=1, title="what is refused", is_core=False)
def _(student, rng):
    good = draw_scales(rng, 8, 4)
    with in_case("8 scales in blocks of 4"):
        three(student.double_quantize(good, 4))
    for bad in (np.nan, np.inf, -np.inf):
        for place in (0, 7):
            scales = good.copy()
            scales[place] = bad
            refused(lambda s=scales: student.double_quantize(s, 4), f"a scale of {bad}")
    for shape in ((0,), (2, 4), ()):
        refused(
            lambda s=shape: student.double_quantize(np.ones(s, np.float32)),
            f"scales of shape {shape}",
        )
    for size in (0, -4):
        refused(lambda s=size: student.double_quantize(good, s), f"block_size {size}")


# finetune_memory: a list of all tensors, counted on the meta device.

TERMS = ("weights", "codes", "scales", "adapters", "gradients", "optimizer", "activations")


def draw_setting(rng: np.random.Generator, **changes) -> dict:
    """Return sizes in which no two agree by chance, for full fine-tuning in float32."""
    n_kv_heads = int(rng.integers(2, 4))
    drawn = {
        "vocab_size": int(rng.integers(300, 400)),
        "d_model": 2 * int(rng.integers(20, 30)),
        "n_layers": int(rng.integers(4, 7)),
        "n_heads": n_kv_heads * int(rng.integers(3, 5)),
        "n_kv_heads": n_kv_heads,
        "d_head": 2 * int(rng.integers(5, 9)),
        "d_ff": int(rng.integers(100, 200)),
        "tie_embeddings": bool(rng.integers(2)),
        "batch_size": int(rng.integers(3, 6)),
        "n_tokens": int(rng.integers(7, 12)),
        "rank": None,
        "is_quantized": False,
        "float_bytes": 4,
    }
    return {**drawn, **changes}


def counted(shapes: list) -> int:
    """Return how many numbers tensors hold, made without memory."""
    return sum(torch.empty(shape, device="meta").numel() for shape in shapes)


def matrices_of(s: dict) -> list[tuple[int, int]]:
    """Return the shapes (O, I) of the four matrices of a block."""
    q, kv = s["n_heads"] * s["d_head"], s["n_kv_heads"] * s["d_head"]
    d, f = s["d_model"], s["d_ff"]
    return [(q + kv + kv, d), (d, q), (f + f, d), (d, f)]


def parts_of(s: dict) -> dict[str, int]:
    """Return counts from which all terms are made."""
    four = matrices_of(s) * s["n_layers"]
    r, d = s["rank"] or 0, s["d_model"]
    tables = [(s["vocab_size"], d)] * (1 if s["tie_embeddings"] else 2)
    return {
        "matrices": counted(four),
        "tables": counted(tables),
        "one table": counted(tables[:1]),
        "gains": counted([(d,)] * (2 * s["n_layers"] + 1)),
        "adapters": counted([shape for o, i in four for shape in ((r, i), (o, r))]),
    }


def scale_bytes(n_weights: int) -> int:
    """Return the bytes of a matrix's quantised scales, by filling blocks one by one."""
    n_scales = len(range(0, n_weights, 64))
    return n_scales + 4 * len(range(0, n_scales, 256)) + 4


def kept_by_block(s: dict) -> int:
    """Return the numbers that a block keeps for each token."""
    q, kv = s["n_heads"] * s["d_head"], s["n_kv_heads"] * s["d_head"]
    gains = 6 if s["rank"] is None else 4
    kept = gains * s["d_model"] + 3 * q + 3 * kv + 4 * s["d_ff"] + s["n_heads"] + 2
    return kept + 4 * (s["rank"] or 0)


def memory_listed(s: dict) -> dict[str, int]:
    """Return the seven terms from lists of tensors."""
    p, each = parts_of(s), s["float_bytes"]
    floats = p["tables"] + p["gains"] + (0 if s["is_quantized"] else p["matrices"])
    learn = p["adapters"] if s["rank"] else p["tables"] + p["gains"] + p["matrices"]
    four = matrices_of(s) * s["n_layers"]
    tokens = s["batch_size"] * s["n_tokens"]
    numbers = tokens * s["n_layers"] * kept_by_block(s) + tokens * 2 * s["vocab_size"]
    return {
        "weights": each * floats,
        "codes": p["matrices"] // 2 if s["is_quantized"] else 0,
        "scales": sum(scale_bytes(o * i) for o, i in four) if s["is_quantized"] else 0,
        "adapters": each * p["adapters"],
        "gradients": each * learn,
        "optimizer": learn * (8 if each == 4 else 12),
        "activations": each * numbers,
    }


def mistaken(term: str, s: dict) -> list[tuple[int, str]]:
    """Return what known mistakes give for a term, with their names."""
    p, each, right = parts_of(s), s["float_bytes"], memory_listed(s)
    all_weights = p["tables"] + p["gains"] + p["matrices"]
    learn = right["gradients"] // each
    tokens = s["batch_size"] * s["n_tokens"]
    d, L = s["d_model"], s["n_layers"]  # noqa: N806
    q, kv = s["n_heads"] * s["d_head"], s["n_kv_heads"] * s["d_head"]
    counts = [(right[term] // each, "the number is asked for in bytes, not as a count")]
    if each == 2:
        counts = [(right[term] * 2, "float_bytes is 2 here: two bytes for each number, not four")]
    tied = -1 if s["tie_embeddings"] else 1
    if term == "weights":
        found = [
            (right[term] + each * p["one table"] * -tied, "a tied table counts once, two twice"),
            (right[term] - each * p["gains"], "the gains of the norms are missing"),
            (right[term] - each * d, "the gain of the last norm is missing"),
            (right[term] - each * d * L, "each block has two norms with a gain of D each"),
            (right[term] - each * p["tables"], "the tables of tokens are missing"),
            (right[term] - each * L * d * s["d_ff"], "gate and up are two matrices"),
            (right[term] - each * L * d * kv, "keys and values are two matrices"),
            (
                right[term] + each * L * d * (d - q),
                "the output projection has n_heads * d_head inputs, which need not be D",
            ),
            (
                right[term] + 2 * each * L * d * (d - q),
                "queries have n_heads * d_head outputs, and so many inputs the output projection; "
                "that need not be D",
            ),
            (
                right[term] + 2 * each * L * d * (q - kv),
                "keys and values have n_kv_heads * d_head outputs each, fewer than the queries",
            ),
            (right[term] + right["adapters"], "adapters are a term of their own, not in weights"),
            (each * learn, "weights are all that are held as floats, not those that learn"),
        ]
        if s["is_quantized"]:
            found += [
                (each * all_weights, "quantised matrices are no floats any more: leave them out"),
                (0, "the tables and gains stay floats when the matrices are quantised"),
            ]
        return found + counts
    if term == "codes":
        wrong = "codes: half a byte for each weight of the blocks' matrices"
        return [
            (p["matrices"], f"{wrong}, not a whole one"),
            (p["matrices"] * 4, f"{wrong}: bytes are asked for, not bits"),
            (all_weights // 2, f"{wrong}; the tables and gains are not quantised"),
            (0, f"{wrong}, where they are quantised"),
            (p["matrices"] // 2, "nothing is quantised here, so there are no codes"),
        ]
    if term == "scales":
        four = matrices_of(s)
        n_scales = [len(range(0, o * i, 64)) for o, i in four]
        plain = L * sum(n_scales)
        seconds = L * sum(len(range(0, n, 256)) for n in n_scales)
        return [
            (4 * plain, "the scales are quantised again: a byte each, and not four"),
            (plain, "steps and means are missing: 4 bytes for each 256 scales, and 4 for the mean"),
            (plain + 4 * seconds, "the mean of each matrix's scales takes 4 bytes more"),
            (plain + 4 * 4 * L, "the steps are missing: 4 bytes for each 256 scales"),
            (
                plain + seconds + 4 * 4 * L,
                "steps are float32: 4 bytes for each 256 scales",
            ),
            (right[term] // L, "every layer has scales, not one"),
            (0, "scales belong to quantised matrices"),
            (
                L * sum(n + 4 * (n // 256) + 4 for n in n_scales),
                "256 scales share a step, and so do those that are left at the end",
            ),
            (
                L * sum(n + 4 * -(-n // 256) + 4 for n in (o * i // 64 for o, i in four)),
                "64 weights share a scale, and so do those that are left at the end",
            ),
            (plain + 4 * seconds + 4, "each matrix has a mean of its own: 4 bytes for each"),
            *(
                (
                    times * scale_bytes(L // times * sum(o * i for o, i in four)),
                    "blocks begin anew in each matrix: work out its scales by itself",
                )
                for times in (1, L)
            ),
        ]
    if term == "adapters":
        r = s["rank"] or 0
        inputs = L * r * sum(i for _, i in matrices_of(s))
        outputs = L * r * sum(o for o, _ in matrices_of(s))
        return [
            (each * inputs, "up is missing: rank * (inputs + outputs) for each matrix"),
            (each * outputs, "down is missing: rank * (inputs + outputs) for each matrix"),
            (right[term] // L, "every layer has adapters, not one"),
            (right[term] // max(r, 1), "adapters have rank times as many weights"),
            (
                each * L * r * sum(o * i for o, i in matrices_of(s)),
                "down is (rank, inputs) and up (outputs, rank): add inputs and outputs",
            ),
            (
                each * L * r * sum(o + i for o, i in matrices_of(s)[:2]),
                "gate, up and down have adapters, too: all four matrices",
            ),
            (
                right[term] + each * L * r * 2 * d,
                "queries, keys and values are one matrix here, with one adapter",
            ),
            *counts,
        ]
    if term == "gradients":
        return [
            (each * all_weights, "only what learns has a gradient: with a rank, the adapters"),
            (right["weights"] + right["adapters"], "the frozen weights have no gradients"),
            (0, "without a rank all weights learn, and each has a gradient"),
            *counts,
        ]
    if term == "optimizer":
        return [
            (
                4 * learn,
                "there are two moments for each weight that learns, not one"
                if each == 4
                else "two moments and a copy of each weight that learns are float32: 12 bytes",
            ),
            (8 * learn, "below 4 bytes per float there is a float32 copy of each weight as well"),
            (12 * learn, "in float32 the weights are no copy: two moments, 8 bytes"),
            (2 * learn, "moments have 4 bytes each"),
            (right[term] // learn * all_weights, "only what learns has moments"),
        ]
    head = tokens * 2 * s["vocab_size"]
    block = tokens * L
    numbers = right[term] // each

    def without(n: int) -> int:
        return each * (numbers - block * n)

    gains = 6 if s["rank"] is None else 4
    return counts + [
        (each * (numbers - head), "the logits' probabilities and gradient are missing: 2 V"),
        (each * (numbers - head // 2), "the logits are kept twice: 2 V"),
        (each * (numbers + (L - 1) * head), "2 V count once, not in each block"),
        (each * (numbers - head + 2 * s["vocab_size"]), "2 V are kept for each of the B T tokens"),
        (each * (block // L * kept_by_block(s) + head), "each of the blocks keeps its own numbers"),
        (
            each * (numbers + block * s["n_heads"] * (s["n_tokens"] - 1)),
            "a token keeps one number for each head, n_heads, and no row of T scores",
        ),
        (each * numbers // s["batch_size"], "count the tokens of all B rows"),
        (each * numbers // s["n_tokens"], "count all T tokens of a row"),
        (without((2 * gains - 10) * d), "6 D without a rank, 4 D with one: gains don't learn then"),
        (without(4 * (s["rank"] or 0)), "4 rank are missing: what goes down is kept too"),
        (without(2), "the last two numbers of each token and block are missing: + 2"),
        (without(s["n_heads"]), "one number for each head is missing: n_heads"),
        (without(3 * kv), "3 Z are missing, the keys and values"),
        (without(3 * kv - 3 * q), "Z = n_kv_heads * d_head, fewer than the queries' A"),
        (without(3 * q - 3 * d), "A = n_heads * d_head, which need not be D"),
    ]


def same_memory(student, s: dict, case: str, terms: tuple = TERMS) -> None:
    """Reject a term that differs; a recognised mistake is named."""
    told = student.finetune_memory(**s)
    require(isinstance(told, dict), f"return a dictionary of terms, got {type(told).__name__}")
    require(
        list(told) == list(TERMS),
        f"the terms are {', '.join(TERMS)}, in this order; got {', '.join(map(str, told))}",
    )
    wanted = memory_listed(s)
    for term in terms:
        got, want = told[term], wanted[term]
        require(
            type(got) is int,
            f"{term} is a whole number of bytes, an int; got {type(got).__name__} {got!r}",
        )
        if got == want:
            continue
        found = {hint for wrong, hint in mistaken(term, s) if wrong == got}
        not_the_mistake(
            not sole(found), f"{term}, {case}: {sole(found)} (expected {want:,}, got {got:,})"
        )
        require(False, f"{term}, {case}: expected {want:,}, got {got:,} ({s})")


@exercise_check("finetune_memory", points=1, title="full fine-tuning in float32")
def _(student, rng):
    for tie in (True, False):
        s = draw_setting(rng, tie_embeddings=tie)
        same_memory(student, s, "full fine-tuning", TERMS[:6])
    told = student.finetune_memory(**{k: v for k, v in s.items() if k not in DEFAULTS})
    want = memory_listed(s)
    for term in TERMS[:6]:
        same(told[term], want[term], f"{term}: rank, is_quantized and float_bytes have defaults")


DEFAULTS = ("rank", "is_quantized", "float_bytes")


@exercise_check("finetune_memory", points=1, title="with adapters")
def _(student, rng):
    for rank in (1, int(rng.integers(2, 9))):
        s = draw_setting(rng, rank=rank)
        same_memory(student, s, f"adapters of rank {rank}", TERMS[:6])


@exercise_check("finetune_memory", points=2, title="in four bits")
def _(student, rng):
    # More than 256 scales in a matrix: first in whole blocks, as in two of the four, then not.
    for changes in ({"d_ff": 256, "d_model": 128}, {"d_ff": 700, "d_model": 132}, {}):
        s = draw_setting(rng, rank=int(rng.integers(2, 9)), is_quantized=True, **changes)
        same_memory(student, s, f"in four bits, adapters of rank {s['rank']}", TERMS[:6])


@exercise_check("finetune_memory", points=1, title="activations, and half precision")
def _(student, rng):
    for rank, quantized, each in ((None, False, 4), (3, False, 4), (None, False, 2), (5, True, 2)):
        s = draw_setting(rng, rank=rank, is_quantized=quantized, float_bytes=each)
        case = f"{'full fine-tuning' if rank is None else f'rank {rank}'}, {each} bytes per float"
        same_memory(student, s, case)
    s = draw_setting(rng, batch_size=1, n_tokens=1, n_layers=1)
    same_memory(student, s, "one layer, one row of one token")


@exercise_check("finetune_memory", points=1, title="what is refused", is_core=False)
def _(student, rng):
    good = draw_setting(rng)
    with in_case("rank 1, four bits, 2 bytes per float"):
        student.finetune_memory(**{**good, "rank": 1, "is_quantized": True, "float_bytes": 2})
    for changes, words in (
        ({"is_quantized": True}, "quantised weights without a rank"),
        ({"rank": 0}, "rank 0"),
        ({"rank": -3}, "rank -3"),
        ({"rank": 0, "is_quantized": True}, "rank 0 with quantised weights"),
        ({"float_bytes": 1}, "float_bytes 1"),
        ({"float_bytes": 3}, "float_bytes 3"),
        ({"float_bytes": 8}, "float_bytes 8"),
    ):
        refused(lambda c=changes: student.finetune_memory(**{**good, **c}), words)
