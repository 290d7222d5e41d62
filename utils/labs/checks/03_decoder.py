"""Checks of lab 03: the parts of a decoder, and what they cost.

Oracles: NumPy in float64, torch's functions, a list of the shapes of all weights, PyTorch's counter
of operations on the meta device.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import bmm_flop, mm_flop

from utils.labs.checking import (
    Check,
    brief,
    close,
    collector,
    in_case,
    left_alone,
    not_the_mistake,
    recognise,
    require,
    resembles,
    same,
    same_gradients,
    sole,
)
from utils.labs.student import LearnerError
from utils.labs.values import BFloat16

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

HINTS = {
    "rms_norm": (
        "The root mean square is what its name says, read backwards: square the channels, take "
        "their mean, take the root. Divide by it, then apply one gain per channel.",
        "By hand: x = (3, 4). The squares, their mean, its root, x divided by it. Where does eps "
        "go, so that (0, 0) stays (0, 0) and nothing is divided by 0? And what is 300 squared in "
        "float16, whose largest number is 65504?",
        "Turn half precision into float32 first. Mean square (..., 1) over the last axis with "
        "keepdim=True; add eps before the root; the weight (D,) broadcasts. Turn the result back "
        "into the dtype of x.",
    ),
    "swiglu": (
        "Two projections go up to the wide layer. One of them, passed through silu, is the gate by "
        "which the other is multiplied; a third projection leads down.",
        "By hand with all widths 1: x = 2, w_gate = 1, w_up = 3, w_down = 5. The gate is 2, the "
        "other 6. What does silu make of 2, what is the product, what leaves below?",
        "x @ w_gate.T and x @ w_up.T are (..., F); silu(z) = z * sigmoid(z) acts on the gate "
        "alone; the product times w_down.T is (..., D).",
    ),
    "decoder_block": (
        "The stream runs straight through. Each part reads a normalised copy of it and adds its "
        "answer to the stream itself. The second part reads the stream after the first.",
        "Draw it: a line from left to right, which is x, and two boxes beside it. From where on "
        "the line does each box read, through which norm, and where does its answer join the line? "
        "If both boxes answer 0, what comes out?",
        "x = x + multi_head_attention(rms_norm(x, first gain), w_q, w_k, w_v, w_o, n_heads, "
        "n_kv_heads, cos, sin), then the same with swiglu and the second gain. All are (B, T, D).",
    ),
    "count_parameters": (
        "List the tensors of one block with their shapes, add their sizes, multiply by the number "
        "of layers. What stands outside the blocks?",
        "By hand for the docstring's example: vocabulary 10, d_model 4, one layer, 2 heads and 1 "
        "key-value head of width 2, d_ff 8, tied. Write the shapes of the table, of seven matrices "
        "and of three gains. Their sizes add up to 196.",
        "Queries and output have n_heads * d_head times d_model weights each, keys and values "
        "n_kv_heads * d_head times d_model each; three matrices d_model by d_ff; two gains of "
        "d_model, and two of d_head with qk_norm; all that n_layers times. A table of vocab_size "
        "by d_model, or two where they are not tied; one last gain of d_model.",
    ),
    "count_flops": (
        "Each weight of a matrix takes part in one multiplication and one addition for each "
        "token. Which products have no weight in them?",
        "By hand for the docstring's example, one token: a product of (1, m) and (m, n) takes "
        "2 m n. Write the seven matrices of the block, the output projection, and the two products "
        "of attention without weights. They add up to 384.",
        "2 * B * T times the weights of all matrices, the output projection included; and per "
        "layer two products, (T, K) by (K, T) and (T, T) by (T, K), each 2 * T * T * K, for each "
        "row and each of n_heads. Training takes three times the forward pass.",
    ),
    "route_top_k": (
        "Choose first, then share: the softmax sees only the scores of the chosen experts.",
        "By hand: scores (0, 3, 1, 3.5) and k = 2. Which two numbers, in which order? Take exp of "
        "those two scores alone and divide by their sum.",
        "Refuse a k below 1 or above E. torch.topk over the last axis gives scores and numbers, "
        "(..., k) each, highest first; a softmax over the last axis of those scores gives the "
        "shares. Return the numbers, then the shares.",
    ),
}


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Return normal random numbers in float32."""
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return a softmax over the last axis in float64."""
    weights = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


@exercise_check("rms_norm", points=1, title="by hand")
def _(student, rng):
    x, one = np.array([3.0, 4.0], np.float32), np.ones(2, np.float32)
    three = np.array([1.0, 2.0, 2.0], np.float32)  # their squares add up to 9
    by_less = resembles(student.rms_norm(three, np.ones(3, np.float32), 0.0), three / 4.5**0.5)
    not_the_mistake(
        not by_less,
        "(1, 2, 2) has the mean square 3, and yours is 4.5: divide by the number of channels, not "
        "by one less",
    )
    out = student.rms_norm(x, one, 0.0)
    variance = (
        "yours is divided by a standard deviation, which subtracts the mean first: take the mean "
        "of the squares as they are"
    )
    recognise(
        out,
        x / 12.5**0.5,
        [
            (
                [0.6, 0.8],
                "yours is divided by the length: divide by the root of the mean of squares, not of "
                "their sum",
            ),
            (x / 12.5, "yours is divided by the mean square itself: take its root"),
            (
                [-1.0, 1.0],
                "your result has the mean subtracted, as LayerNorm does: divide x as it is",
            ),
            (x / 3.5, "yours is divided by the mean of 3 and 4: square them first, to 9 and 16"),
            (x / 0.25**0.5, variance),  # of all channels, or of one less
            (x / 0.5**0.5, variance),
            (2 * x / 12.5**0.5, "your gain is 1 + weight: multiply by weight itself"),
        ],
    )
    close(out, x / 12.5**0.5, "3 and 4 have the mean square 12.5")


@exercise_check("rms_norm", points=1, title="shapes, gain and eps")
def _(student, rng):
    x, weight = normal(rng, 3, 4, 6, scale=2.0) + 1, normal(rng, 6)
    x[0] *= 0.1  # tokens whose mean square is below eps, too
    with in_case("x of shape (3, 4, 6): two axes before the last"):
        out = student.rms_norm(x, weight, 0.5)
    left_alone(student, x=x, weight=weight)
    wide = x.astype(np.float64)
    square, tokens = (wide**2).mean(-1, keepdims=True), (wide**2).mean(-2, keepdims=True)
    want = x / np.sqrt(square + 0.5) * weight
    first = wide * weight
    recognise(
        out,
        want,
        [
            (x / np.sqrt(square + 0.5), "your result is the one without weight: multiply by it"),
            (
                x / np.sqrt(square) * weight,
                "your result is the one without eps: add it to the mean square",
            ),
            (
                x / np.maximum(np.sqrt(square), np.sqrt(0.5)) * weight,
                "your eps is a lower bound: add it to the mean square",
            ),
            (
                x / (np.sqrt(square) + 0.5) * weight,
                "your eps is added to the root: add it to the mean square, inside the root",
            ),
            (
                x / np.sqrt((wide**2).mean() + 0.5) * weight,
                "your mean runs over all tokens: take it over the last axis, so that each token "
                "has its own",
            ),
            (
                x / np.sqrt(tokens + 0.5) * weight,
                "your mean runs over tokens: take it over the last axis",
            ),
            (
                x / np.sqrt((wide**2).mean(0) + 0.5) * weight,
                "your mean runs over the first axis: take it over the last, so that each token has "
                "its own",
            ),
            (
                x / np.sqrt(square * 6 / 5 + 0.5) * weight,
                "your mean is divided by one less than the number of channels: divide by their "
                "number",
            ),
            (
                first / np.sqrt((first**2).mean(-1, keepdims=True) + 0.5),
                "your mean square is that of x times the gain: take that of x, and let the gain "
                "come last",
            ),
            (x / np.sqrt(square + 0.5) + weight, "your gain is added: multiply by it"),
        ],
    )
    close(out, want, "each token's vector is x / sqrt(mean(x * x) + eps) * weight")
    small = normal(rng, 5, 6, scale=0.003)
    square = (small.astype(np.float64) ** 2).mean(-1, keepdims=True)
    wanted = small / np.sqrt(square + 1e-5)
    close(
        student.rms_norm(small, np.ones(6, np.float32)), wanted, "eps is 1e-5 where none is given"
    )
    zero = np.zeros((2, 6), np.float32)
    close(student.rms_norm(zero, np.ones(6, np.float32)), zero, "a zero vector stays zero")
    for shape in ((1, 6), (1, 1, 6), (2, 1, 6), (1, 1)):
        out = student.rms_norm(normal(rng, *shape), np.ones(shape[-1], np.float32))
        require(np.shape(out) == shape, f"x {shape} keeps its shape, got {np.shape(out)}")


@exercise_check("rms_norm", points=1, title="other dtypes", is_core=False)
def _(student, rng):
    x = (normal(rng, 4, 8) * 100 + 300).astype(np.float16)
    wide, weight = x.astype(np.float64), (normal(rng, 8) + 2).astype(np.float16)
    want = wide / np.sqrt((wide**2).mean(-1, keepdims=True)) * weight
    large = "float16 x around 300, whose square exceeds what float16 can hold; the mean square is "
    for gain in (weight, weight.astype(np.float32)):
        out = student.rms_norm(x, gain)
        require(
            out.dtype == np.float16,
            f"x in float16, the gain in {gain.dtype}: expected float16, the dtype of x, got "
            f"{out.dtype}",
        )
        # What float16 gives: the square is infinite, and x divided by it 0.
        recognise(
            out,
            want,
            [
                (
                    0 * want,
                    "x in float16 around 300 gave 0 everywhere, and 300 squared exceeds what "
                    "float16 can hold: square in float32",
                )
            ],
        )
        close(out, want, f"{large}taken in float32", atol=5e-3, rtol=5e-3)
    for gain in (weight, weight.astype(np.float32)):
        out = student.rms_norm(BFloat16(wide.astype(np.float32)), gain.astype(np.float32))
        rounded = out.astype(np.float32).view(np.uint32)
        require(
            not (rounded & 0xFFFF).any(),
            "x in bfloat16, the gain in float32: expected bfloat16, the dtype of x, and yours "
            "holds numbers that bfloat16 can't",
        )
        close(out, want, "x in bfloat16", atol=5e-2, rtol=3e-2)
    out = student.rms_norm(wide, weight.astype(np.float64))
    require(out.dtype == np.float64, f"x in float64: expected float64, got {out.dtype}")
    close(out, want, "x in float64, the mean in float32 at least")


def torch_norm(x, weight):
    """Return the norm by torch's function."""
    return F.rms_norm(x, weight.shape, weight, 1e-5)


@exercise_check("rms_norm", points=1, title="gradients")
def _(student, rng):
    x, weight = normal(rng, 2, 8), normal(rng, 8)
    same_gradients(student, "rms_norm", torch_norm, rng, x=x, weight=weight)
    zero = student.gradients("rms_norm", np.zeros((1, 8), np.float32), weight)
    require(all(np.isfinite(g).all() for g in zero), "the gradient at a zero vector is not finite")


SILU = "down(silu(gate) * up), where silu(z) = z * sigmoid(z)"


@exercise_check("swiglu", points=1, title="by hand")
def _(student, rng):
    one = np.ones((1, 1), np.float32)
    out = student.swiglu(2 * one, one, 3 * one, 5 * one)
    close(
        out,
        [[2 / (1 + np.exp(-2)) * 6 * 5]],
        "x = 2, w_gate 1, w_up 3, w_down 5: that is 2 sigmoid(2) times 6 times 5",
    )


@exercise_check("swiglu", points=2, title="values and shapes")
def _(student, rng):
    x, gate, up, down = (normal(rng, *n) for n in ((2, 3, 6), (9, 6), (9, 6), (6, 9)))
    x_t, gate_t, up_t, down_t = (torch.from_numpy(a).double() for a in (x, gate, up, down))
    a, b = x_t @ gate_t.T, x_t @ up_t.T
    with in_case("x (2, 3, 6), w_gate and w_up (9, 6), w_down (6, 9): (outputs, inputs)"):
        out = student.swiglu(x, gate, up, down)
    left_alone(student, x=x, w_gate=gate, w_up=up, w_down=down)
    want = F.linear(F.silu(a) * b, down_t)
    wide = (
        (
            F.silu(b) * a,
            "your silu acts on w_up's projection: let it act on the gate, which is w_gate's",
        ),
        (
            torch.sigmoid(a) * b,
            "your gate is sigmoid(z): silu is z * sigmoid(z), the gate itself is a factor",
        ),
        (torch.relu(a) * b, "your gate is a ReLU: silu is z * sigmoid(z)"),
        (F.gelu(a) * b, "your gate is a GELU: silu is z * sigmoid(z)"),
        (F.silu(a) + b, "your gate is added to the other projection: multiply the two"),
        (
            F.silu(a * b),
            "your silu acts on the product: let it act on the gate alone, before the product",
        ),
        (F.silu(a), "your result is the one without w_up: multiply the gate by x @ w_up.T"),
        (torch.tanh(a) * a * b, "your gate is z * tanh(z): silu is z * sigmoid(z)"),
        (
            a * torch.sigmoid(1.702 * a) * b,
            "your gate is z * sigmoid(1.702 z): silu is z * sigmoid(z), without a factor inside",
        ),
        (F.silu(F.silu(a)) * b, "your silu is applied twice: apply it once"),
        (
            F.silu(a) * F.silu(b),
            "your silu acts on both projections: one of the two is the gate, let it act on that "
            "alone",
        ),
        (a.softmax(-1) * b, "your gate is a softmax: silu acts on each number alone"),
        (F.linear(F.silu(x_t), gate_t) * b, "your silu acts on x: let it act on what w_gate gives"),
        (a * b, "your gate is not passed through silu: pass x @ w_gate.T through it"),
    )
    slips = [((wrong @ down_t.T).numpy(), hint) for wrong, hint in wide]
    slips += [
        (
            (F.linear(F.silu(a), down_t) * F.linear(b, down_t)).numpy(),
            "your two projections go down each by itself: multiply first, then go down once",
        ),
        (
            F.silu(want).numpy(),
            "your result is passed through silu once more: return the projection down as it is",
        ),
        ((want + x_t).numpy(), "your result has x added to it: leave that to the block"),
    ]
    recognise(out, want.numpy(), slips, atol=1e-4)
    require(
        np.size(out) != x.size or np.shape(out) == x.shape,
        f"x of shape {x.shape}: expected the same shape, got {np.shape(out)}",
    )
    close(out, want.numpy(), SILU, atol=1e-4, rtol=1e-3)
    for one in (x[0, 0], x[:1, :1], x[:1]):
        with in_case(f"x of shape {one.shape}"):
            out = student.swiglu(one, gate, up, down)
        wanted = want.numpy().reshape(-1, 6)[: one.size // 6].reshape(one.shape)
        close(out, wanted, f"x of shape {one.shape}: {SILU}", atol=1e-4, rtol=1e-3)


def torch_swiglu(x, w_gate, w_up, w_down):
    """Return the same by torch's functions."""
    return F.linear(F.silu(F.linear(x, w_gate)) * F.linear(x, w_up), w_down)


@exercise_check("swiglu", points=1, title="gradients, and large gates")
def _(student, rng):
    x, gate, up, down = (normal(rng, *n) for n in ((2, 3, 6), (9, 6), (9, 6), (6, 9)))
    given = {"x": x, "w_gate": gate, "w_up": up, "w_down": down}
    same_gradients(student, "swiglu", torch_swiglu, rng, **given)
    one = np.ones((1, 1), np.float32)
    out = student.swiglu(200 * one, one, one, one)
    large = (
        "a gate of 200 gave NaN, since exp(200) overflows: 1 / (1 + exp(-z)), or torch.sigmoid, "
        "does not"
    )
    recognise(out, [[40000.0]], [([[np.nan]], large)])
    close(out, [[40000.0]], "a gate of 200, x 200 and w_up 1: silu(200) * 200 is 40000")
    for size in (100, -100):
        found = student.gradients("swiglu", size * one, one, one, one)
        require(
            all(np.isfinite(g).all() for g in found),
            f"the gradient at a gate of {size} is not finite (torch.sigmoid has one everywhere)",
        )


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Return pairs of channels turned, as complex numbers."""
    half = x.shape[-1] // 2
    points = torch.complex(x[..., :half], x[..., half:]) * torch.complex(cos, sin)
    return torch.cat([points.real, points.imag], dim=-1)


def attend(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, cos, sin):
    """Return causal attention by torch's function."""
    q, k, v = (
        F.linear(x, w).unflatten(-1, (n, -1)).transpose(1, 2)
        for w, n in ((w_q, n_heads), (w_k, n_kv_heads), (w_v, n_kv_heads))
    )
    q, k = turned(q, cos, sin), turned(k, cos, sin)
    heads = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return F.linear(heads.transpose(1, 2).flatten(-2), w_o)


ARGUMENTS = (
    "x attention_gain w_q w_k w_v w_o feed_forward_gain w_gate w_up w_down n_heads n_kv_heads "
    "cos sin"
).split()
ARRAYS = [name for name in ARGUMENTS if not name.startswith("n_")]


def draw_block(rng: np.random.Generator, T: int = 5, D: int = 8, K: int = 4) -> list:
    """Return the arguments of decoder_block: 4 heads, 2 key-value heads, gains that differ."""
    angles = rng.random((T, K // 2)).astype(np.float32) * 6
    shapes = ((4 * K, D), (2 * K, D), (2 * K, D), (D, 4 * K))
    return [
        normal(rng, 2, T, D, scale=2.0),
        normal(rng, D) + 2,
        *(normal(rng, *shape, scale=0.5) for shape in shapes),
        normal(rng, D) - 2,
        *(normal(rng, *shape, scale=0.3) for shape in ((12, D), (12, D), (D, 12))),
        4,
        2,
        np.cos(angles),
        np.sin(angles),
    ]


@exercise_check("decoder_block", points=2, title="the stream runs straight through")
def _(student, rng):
    block = draw_block(rng)
    silent = [0 * a if i in (5, 9) else a for i, a in enumerate(block)]
    with in_case("x (2, 5, 8), n_heads 4 and n_kv_heads 2 of width 4: w_q (16, 8), w_k (8, 8)"):
        out = student.decoder_block(*silent)
    left_alone(student, **dict(zip(ARGUMENTS, silent, strict=True)))
    not_the_mistake(
        resembles(out, block[0]),
        "with w_o and w_down zero nothing is added, and x is to come out as it went in: add to the "
        "stream, and normalise only what the parts read",
    )
    out = student.decoder_block(*block)
    left_alone(student, **dict(zip(ARGUMENTS, block, strict=True)))
    require(
        not resembles(out, block[0]),
        "x came out as it went in: add what attention and the feed-forward part answer",
    )


@exercise_check("decoder_block", points=3, title="values")
def _(student, rng):
    block = draw_block(rng)
    tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in block]
    x, gain_1, w_q, w_k, w_v, w_o, gain_2, gate, up, down, *heads, cos, sin = tensors

    def norm(x, gain):
        return F.rms_norm(x, gain.shape, gain, 1e-5)

    def attention(x, cos=cos, sin=sin, w_k=w_k, w_v=w_v):
        return attend(x, w_q, w_k, w_v, w_o, *heads, cos, sin)

    def feed_forward(x, gate=gate, up=up):
        return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)

    middle = x + attention(norm(x, gain_1))
    swapped = x + attention(norm(x, gain_2))
    first = x + feed_forward(norm(x, gain_2))
    twice = middle + attention(norm(middle, gain_1))
    after = x + norm(attention(x), gain_1)
    centred = x + attention(norm(x - x.mean(-1, keepdim=True), gain_1))
    plain = x + attention(norm(x, torch.ones_like(gain_1)))
    again = x + attention(norm(norm(x, gain_1), gain_1))
    one_row = x + attention(norm(x[:1], gain_1))
    mixed = x + attention(norm(x, gain_1), w_k=w_v, w_v=w_k)
    wheel = x + attention(norm(x, gain_1), sin, cos)

    def rest(middle, gain=gain_2):
        return middle + feed_forward(norm(middle, gain))

    out = student.decoder_block(*block)
    require(
        isinstance(out, np.ndarray),
        f"return the stream alone, one tensor (B, T, D), got {type(out).__name__}",
    )
    slips = [
        (
            x + feed_forward(norm(middle, gain_2)),
            "what attention added to the stream is lost in your result: let the feed-forward part "
            "add to the sum",
        ),
        (rest(twice), "your attention is added twice: add it once"),
        (
            after + norm(feed_forward(after), gain_2),
            "your norms stand behind the parts: normalise what they read, and add their answers as "
            "they are",
        ),
        (rest(centred), "your norm subtracts the mean, as LayerNorm does: use rms_norm"),
        (
            rest(plain),
            "your result is the one without the gain of the first norm: pass attention_gain to it",
        ),
        (
            rest(middle, torch.ones_like(gain_2)),
            "your result is the one without the gain of the second norm: pass feed_forward_gain to "
            "it",
        ),
        (rest(again), "your attention reads the stream normalised twice: normalise it once"),
        (
            rest(one_row),
            "your attention gives every row of the batch the first row's answer: each attends to "
            "itself",
        ),
        (rest(mixed), "your keys and values are swapped: the order is w_q, w_k, w_v, w_o"),
        (rest(wheel), "your cos and sin are swapped: the order is cos, sin"),
        (
            x + attention(norm(x, gain_1)),
            "your result ends behind attention: add the feed-forward part",
        ),
        (first, "your result is the one without attention: add it before the feed-forward part"),
        (
            middle + feed_forward(norm(x, gain_2)),
            "your feed-forward part reads the stream from before attention: let it read the sum",
        ),
        (
            middle + feed_forward(middle),
            "your feed-forward part reads the stream without a norm: give it rms_norm of it",
        ),
        (
            x + attention(x) + feed_forward(norm(x + attention(x), gain_2)),
            "your attention reads the stream without a norm: give it rms_norm of it",
        ),
        (
            swapped + feed_forward(norm(swapped, gain_1)),
            "your two gains are swapped: attention has the first",
        ),
        (
            middle + feed_forward(norm(middle, gain_1)),
            "both of your norms use the first gain: the feed-forward part has its own",
        ),
        (
            middle + feed_forward(norm(middle, gain_2), up, gate),
            "your w_gate and w_up are swapped: swiglu takes x, w_gate, w_up, w_down",
        ),
        (
            first + attention(norm(first, gain_1)),
            "your feed-forward part comes first: attention does, then the feed-forward part",
        ),
    ]
    still = x + attention(norm(x, gain_1), torch.ones_like(cos), torch.zeros_like(sin))
    still = still + feed_forward(norm(still, gain_2))
    slips.append(
        (still, "your result is the one without positions: pass cos and sin to the attention")
    )
    want = rest(middle).numpy()
    recognise(out, want, [(wrong.numpy(), hint) for wrong, hint in slips], atol=3e-4)
    close(
        out,
        want,
        "the stream is x + attention(norm(x)), then that plus feed-forward(norm of it)",
        atol=1e-3,
        rtol=1e-3,
    )


def after_block(
    x, attention_gain, w_q, w_k, w_v, w_o, feed_forward_gain, w_gate, w_up, w_down, cos, sin, heads
):
    """Return the stream after a block by torch's functions."""
    normed = torch_norm(x, attention_gain)
    x = x + attend(normed, w_q, w_k, w_v, w_o, *heads, cos, sin)
    return x + torch_swiglu(torch_norm(x, feed_forward_gain), w_gate, w_up, w_down)


@exercise_check("decoder_block", points=1, title="gradients, and a batch of one token")
def _(student, rng):
    block = draw_block(rng, T=1)
    block[0] = block[0][:1]
    out = student.decoder_block(*block)
    shape = block[0].shape
    require(np.shape(out) == shape, f"x {shape} keeps its shape, got {np.shape(out)}")
    arrays = [torch.from_numpy(a).double() for a in block if isinstance(a, np.ndarray)]
    close(out, after_block(*arrays, (4, 2)).numpy(), "one token", atol=1e-3, rtol=1e-3)

    block = draw_block(rng)
    upstream = normal(rng, *block[0].shape)
    leaves = [
        torch.from_numpy(a).double().requires_grad_() for a in block if isinstance(a, np.ndarray)
    ]
    total = (after_block(*leaves, (4, 2)) * torch.from_numpy(upstream)).sum()
    wanted = torch.autograd.grad(total, leaves)
    got = student.gradients("decoder_block", *block, upstream=upstream)
    for name, gradient, want in zip(ARRAYS, got, wanted, strict=False):
        size = float(want.abs().max())
        close(
            gradient / size,
            want.numpy() / size,
            f"the gradient of `{name}` is not that of the formula: every step from `{name}` to the "
            f"result counts (both divided by {size:.3g})",
            atol=2e-3,
            rtol=2e-3,
        )


def draw_sizes(rng: np.random.Generator, **changes) -> dict:
    """Return numbers of a configuration in which no two widths agree by chance."""
    n_kv_heads = int(rng.integers(2, 5))
    drawn = {
        "vocab_size": int(rng.integers(300, 400)),
        "d_model": int(rng.integers(40, 60)),
        "n_layers": int(rng.integers(5, 8)),
        "n_heads": n_kv_heads * int(rng.integers(3, 5)),
        "n_kv_heads": n_kv_heads,
        "d_head": 2 * int(rng.integers(8, 12)),
        "d_ff": int(rng.integers(100, 200)),
    }
    return {**drawn, **changes}


def sizes_of(s: dict) -> str:
    """Return sizes as they are passed.

    >>> sizes_of({"d_model": 4, "d_ff": 8})
    'd_model=4, d_ff=8'
    """
    return ", ".join(f"{name}={value}" for name, value in s.items())


def matrices(s: dict) -> list[tuple[int, int]]:
    """Return the shapes of the matrices of one block."""
    q, kv = s["n_heads"] * s["d_head"], s["n_kv_heads"] * s["d_head"]
    d, f = s["d_model"], s["d_ff"]
    return [(q, d), (kv, d), (kv, d), (d, q), (f, d), (f, d), (d, f)]


def weights_listed(s: dict, tie_embeddings: bool, qk_norm: bool) -> int:
    """Return the number of weights by listing every tensor."""
    shapes = [(s["vocab_size"], s["d_model"])] * (1 if tie_embeddings else 2) + [(s["d_model"],)]
    for _ in range(s["n_layers"]):
        shapes += [*matrices(s), (s["d_model"],), (s["d_model"],)]
        shapes += [(s["d_head"],)] * 2 if qk_norm else []
    return sum(torch.empty(shape, device="meta").numel() for shape in shapes)


Count = Callable[[dict, bool, bool], int]


def weights_by(**changes) -> Count:
    """Return the count of weights with some sizes worked out from the others."""
    return lambda s, tie, qk: weights_listed(
        {**s, **{k: f(s) for k, f in changes.items()}}, tie, qk
    )


def more_weights(extra: Count) -> Count:
    """Return the count of weights and some more, or fewer."""
    return lambda s, tie, qk: weights_listed(s, tie, qk) + extra(s, tie, qk)


def queries(s: dict) -> int:
    """Return the width of all queries."""
    return s["n_heads"] * s["d_head"]


def keys(s: dict) -> int:
    """Return the width of all keys."""
    return s["n_kv_heads"] * s["d_head"]


def tables(s: dict, tie: bool) -> int:
    """Return the weights of the tables."""
    return s["vocab_size"] * s["d_model"] * (1 if tie else 2)


WRONG_WEIGHTS: list[tuple[Count, str]] = [
    (more_weights(lambda s, t, q, n=n: s["n_layers"] * n(s)), hint)
    for n, hint in (
        (
            lambda s: queries(s) + 2 * keys(s),
            "you count biases of the projections, which have none",
        ),
        (
            lambda s: queries(s) + 2 * keys(s) + s["d_model"],
            "you count biases of the projections, which have none",
        ),
        (
            lambda s: -s["d_model"] * keys(s),
            "you count one matrix for keys and values: they have two",
        ),
        (
            lambda s: -s["d_model"] * s["d_ff"],
            "you count two matrices of the feed-forward part: it has three",
        ),
        (
            lambda s: s["d_model"] * s["d_ff"],
            "you count four matrices of the feed-forward part: it has three",
        ),
        (
            lambda s: -2 * s["d_model"],
            "you leave out the gains of the two norms in each block, d_model each",
        ),
        (
            lambda s: -s["d_model"],
            "you count one norm for each block: it has two, with a gain of d_model each",
        ),
        (
            lambda s: -s["d_model"] * queries(s),
            "you count one matrix for queries and the output projection: both have n_heads * "
            "d_head times d_model weights",
        ),
        (
            lambda s: s["d_model"] * (s["d_model"] - queries(s)),
            "you count d_model times d_model weights for queries or for the output projection: "
            "each has n_heads * d_head times d_model",
        ),
    )
]
AS_GIVEN = "you work out the width of the wide layer: it is d_ff, as given"
NOT_THOUSANDS = "you count in thousands or millions: return the number itself"
WRONG_WEIGHTS += [
    (
        more_weights(lambda s, t, q: s["vocab_size"]),
        "you count a bias of the output, which has none",
    ),
    (
        more_weights(lambda s, t, q: (s["n_layers"] - 1) * tables(s, t)),
        "you count the tables in each layer: they stand outside the blocks and count once",
    ),
    (
        more_weights(lambda s, t, q: (s["n_layers"] - 1) * s["d_model"]),
        "you count the final norm in each layer: it stands outside the blocks and counts once",
    ),
    (weights_by(n_layers=lambda s: s["n_layers"] + 1), "you count one layer too many"),
    (weights_by(n_layers=lambda s: s["n_layers"] - 1), "you count one layer too few"),
    (weights_by(n_layers=lambda s: 1), "you count one layer: count every one"),
    (weights_by(d_ff=lambda s: 4 * s["d_model"]), AS_GIVEN),
    (weights_by(d_ff=lambda s: 8 * s["d_model"] // 3), AS_GIVEN),
    (
        weights_by(vocab_size=lambda s: -(-s["vocab_size"] // 64) * 64),
        "you round vocab_size up to a multiple of 64: take it as given",
    ),
    (lambda s, t, q: weights_listed(s, t, q) // 1000, NOT_THOUSANDS),
    (lambda s, t, q: weights_listed(s, t, q) // 1_000_000, NOT_THOUSANDS),
    (
        weights_by(n_kv_heads=lambda s: s["n_heads"]),
        "you count n_heads heads of keys and values: they have n_kv_heads, fewer than queries",
    ),
    (
        weights_by(d_head=lambda s: s["d_model"] // s["n_heads"]),
        "you take d_model / n_heads for the width of a head: it is d_head",
    ),
    (more_weights(lambda s, t, q: -s["d_model"]), "you leave out the gain of the final norm"),
    (
        more_weights(lambda s, t, q: tables(s, True) * (1 if t else -1)),
        "you count two tables where they are tied, or one where they are not: a tied table counts "
        "once, two tables twice",
    ),
    (
        more_weights(lambda s, t, q: -tables(s, True) if t else 0),
        "you leave out the embedding table",
    ),
    (
        lambda s, t, q: weights_listed(s, t, not q),
        "you take qk_norm the other way round: where it is set, each block has two gains of d_head",
    ),
    (
        more_weights(lambda s, t, q: -s["n_layers"] * s["d_head"] * q),
        "you count one gain of qk_norm in each block: there are two, one for queries and one for "
        "keys",
    ),
    (
        more_weights(lambda s, t, q: s["n_layers"] * (queries(s) + keys(s) - 2 * s["d_head"]) * q),
        "you count a gain of qk_norm for each head: one of d_head is shared by all heads",
    ),
    (
        more_weights(lambda s, t, q: -(s["n_layers"] - 1) * 2 * s["d_head"] * q),
        "you count the gains of qk_norm once: every layer has its own",
    ),
]


def whole(count: Callable, s: dict) -> int:
    """Return a count as it is."""
    return count(s)


def of_a_block(count: Callable, s: dict) -> int:
    """Return by how much a count grows with one layer more."""
    return count({**s, "n_layers": s["n_layers"] + 1}) - count(s)


def outside(count: Callable, s: dict) -> int:
    """Return what is left of a count when its layers are taken away."""
    return count(s) - s["n_layers"] * of_a_block(count, s)


def the_only_one(found: list[tuple[str, bool]]) -> set[str]:
    """Return the hint of the one mistake that fits, or those of all that do.

    Args:
        found: hints of mistakes that fit in a part of a number, and whether in the whole as well.
    """
    hints = {hint for hint, _ in found}
    return hints if len(hints) == 1 else {hint for hint, fits_whole in found if fits_whole}


def same_weights(student, s: dict, tie: bool, qk: bool, part: Callable, what: str) -> None:
    """Reject unless a part of the learner's count is right; a recognised mistake is named."""

    def learners(sizes: dict) -> int:
        got = student.count_parameters(**sizes, tie_embeddings=tie, qk_norm=qk)
        require(type(got) is int, f"return an int, got {type(got).__name__}: nothing is divided")
        return got

    got = part(learners, s)
    want = part(lambda sizes: weights_listed(sizes, tie, qk), s)
    if got == want:
        return
    found = [
        (hint, wrong(s, tie, qk) == learners(s))
        for wrong, hint in WRONG_WEIGHTS
        if part(lambda sizes, wrong=wrong: wrong(sizes, tie, qk), s) == got
    ]
    found = the_only_one(found)
    case = f"expected {want:,}, got {got:,} ({sizes_of(s)}, tie_embeddings={tie}, qk_norm={qk})"
    not_the_mistake(not sole(found), f"{what}: {sole(found)}; {case}")
    require(False, f"{what}: {case}")


ONE_BLOCK = "the weights of one block (your count for n_layers + 1 less that for n_layers)"
OUTSIDE = "the weights outside the blocks (your count less n_layers blocks)"


@exercise_check("count_parameters", points=2, title="a block: its matrices and gains")
def _(student, rng):
    same_weights(student, draw_sizes(rng), True, False, of_a_block, ONE_BLOCK)


@exercise_check("count_parameters", points=1, title="outside the blocks, tied and untied")
def _(student, rng):
    s = draw_sizes(rng)
    same_weights(student, s, True, False, outside, OUTSIDE)
    same_weights(student, s, False, False, outside, OUTSIDE)


@exercise_check("count_parameters", points=1, title="norms of queries and keys")
def _(student, rng):
    s = draw_sizes(rng)
    for layers in (s["n_layers"], 1):
        for tie in (True, False):
            same_weights(student, {**s, "n_layers": layers}, tie, True, whole, "all weights")


LLAMA_70B = {  # its published number of weights is 70,553,706,496
    "vocab_size": 128256,
    "d_model": 8192,
    "n_layers": 80,
    "n_heads": 64,
    "n_kv_heads": 8,
    "d_head": 128,
    "d_ff": 28672,
}


UNEVEN = {**LLAMA_70B, "vocab_size": 151_669, "d_model": 8_191, "d_ff": 28_673}


@exercise_check("count_parameters", points=1, title="a real size", is_core=False)
def _(student, rng):
    got = student.count_parameters(**LLAMA_70B, tie_embeddings=False, qk_norm=False)
    require(type(got) is int, f"return an int, got {type(got).__name__}: nothing is divided")
    require(
        got == 70_553_706_496,
        f"Llama 3 70B, a real size: expected 70,553,706,496 weights, got {got:,} "
        f"({sizes_of(LLAMA_70B)}, untied)",
    )
    got = student.count_parameters(**UNEVEN, tie_embeddings=False, qk_norm=False)
    same(
        got,
        weights_listed(UNEVEN, False, False),
        "about 70B weights, a real size, in whole numbers, which have no rounding",
    )


def flops_counted(s: dict, B: int, T: int) -> int:
    """Return the operations of one forward pass, each product by PyTorch's own formula.

    The formulas alone: the counter that applies them imports torch's compiler first, over a second.
    """
    heads, table = (B * s["n_heads"], T, s["d_head"]), (B * s["n_heads"], T, T)
    layer = sum(mm_flop((B * T, n_in), (n_in, n_out)) for n_out, n_in in matrices(s))
    layer += bmm_flop(heads, (heads[0], heads[2], T)) + bmm_flop(table, heads)
    output = mm_flop((B * T, s["d_model"]), (s["d_model"], s["vocab_size"]))
    return s["n_layers"] * layer + output


Flops = Callable[[dict, int, int], int]


def flops_by(**changes) -> Flops:
    """Return the operations with some sizes worked out from the others."""
    return lambda s, B, T: flops_counted({**s, **{k: f(s) for k, f in changes.items()}}, B, T)


def more_flops(extra: Flops) -> Flops:
    """Return the operations and some more, or fewer."""
    return lambda s, B, T: flops_counted(s, B, T) + extra(s, B, T)


def per_weight(s: dict, B: int, T: int) -> int:
    """Return the operations of a weight in every layer."""
    return 2 * B * T * s["n_layers"]


def of_pairs(s: dict, B: int, T: int) -> int:
    """Return the operations of the products without weights."""
    return 4 * B * T * T * s["n_layers"] * queries(s)


def of_output(s: dict, B: int, T: int) -> int:
    """Return the operations of the projection to the vocabulary."""
    return 2 * B * T * s["vocab_size"] * s["d_model"]


WRONG_FLOPS: list[tuple[Flops, str]] = [
    (
        lambda s, B, T: flops_counted(s, B, T) // 2,
        "you count one operation for a multiplication and an addition: they are two, so 2 m k n",
    ),
    (
        more_flops(lambda s, B, T: -of_pairs(s, B, T)),
        "you leave out the products of queries and keys, and of shares and values",
    ),
    (
        more_flops(lambda s, B, T: -of_pairs(s, B, T) // 2),
        "you count one product of attention without weights, or scores that the mask lets through: "
        "there are two products, and hidden scores are computed as well",
    ),
    (
        more_flops(lambda s, B, T: of_pairs({**s, "n_layers": 1 - s["n_layers"]}, B, T)),
        "you count the products of queries and keys once: every layer has them",
    ),
    (
        more_flops(
            lambda s, B, T: of_pairs({**s, "n_heads": s["n_kv_heads"] - s["n_heads"]}, B, T)
        ),
        "you count scores for n_kv_heads heads: each of the n_heads query heads has its own",
    ),
    (
        more_flops(lambda s, B, T: of_pairs(s, B, T) * (B - 1)),
        "you let tokens attend to other rows: there are B tables of T by T",
    ),
    (
        more_flops(lambda s, B, T: of_pairs(s, B, T) // B - of_pairs(s, B, T)),
        "you count the scores of one row: each of the batch_size rows has a table of T by T",
    ),
    (
        more_flops(lambda s, B, T: of_pairs(s, B, T) // T - of_pairs(s, B, T)),
        "you count one score for each token: every token has T, so those products grow with T "
        "squared",
    ),
    (
        more_flops(lambda s, B, T: (s["n_layers"] - 1) * of_output(s, B, T)),
        "you count the projection to the vocabulary in each layer: it stands outside the blocks",
    ),
    (
        more_flops(lambda s, B, T: -per_weight(s, B, T) * s["d_model"] * s["d_ff"]),
        "you count two matrices of the feed-forward part: it has three",
    ),
    (
        more_flops(lambda s, B, T: -per_weight(s, B, T) * s["d_model"] * keys(s)),
        "you count one product for keys and values: they are two",
    ),
    (
        more_flops(lambda s, B, T: -per_weight(s, B, T) * s["d_model"] * queries(s)),
        "you count one product for queries and the output projection: they are two",
    ),
    (
        flops_by(d_head=lambda s: s["d_model"] // s["n_heads"]),
        "you take d_model / n_heads for the width of a head: it is d_head",
    ),
    (flops_by(n_layers=lambda s: s["n_layers"] + 1), "you count one layer too many"),
    (flops_by(n_layers=lambda s: 1), "you count one layer: count every one"),
    (
        flops_by(n_kv_heads=lambda s: s["n_heads"]),
        "you count n_heads heads of keys and values: they have n_kv_heads",
    ),
    (
        more_flops(lambda s, B, T: -of_output(s, B, T)),
        "you leave out the projection to the vocabulary",
    ),
    (
        more_flops(of_output),
        "you count the lookup of embeddings as a product: it takes no operation",
    ),
    (
        lambda s, B, T: flops_counted(s, B, T) // B,
        "your count is that of one row: multiply by batch_size",
    ),
    (
        lambda s, B, T: flops_counted(s, B, T) // T,
        "your count is that of one token: multiply by n_tokens",
    ),
    (
        lambda s, B, T: 3 * flops_counted(s, B, T),
        "your count is that of training: a forward pass takes two operations for each weight and "
        "token, and is_training is False where it is not given",
    ),
]


def all_products(count: Callable, T: int) -> int:
    """Return a count for T tokens as it is."""
    return count(T)


def with_weights(count: Callable, T: int) -> int:
    """Return twice what grows with T: f(T) = a T + b T^2 gives 4 f(T) - f(2 T) = 2 a T."""
    return 4 * count(T) - count(2 * T)


def without_weights(count: Callable, T: int) -> int:
    """Return twice what grows with T squared: f(2 T) - 2 f(T) = 2 b T^2."""
    return count(2 * T) - 2 * count(T)


def same_flops(student, s: dict, B: int, T: int, part: Callable, what: str) -> None:
    """Reject unless a part of the learner's count is right; a recognised mistake is named."""

    def learners(n_tokens: int) -> int:
        got = student.count_flops(**s, batch_size=B, n_tokens=n_tokens)
        require(type(got) is int, f"return an int, got {type(got).__name__}: nothing is divided")
        return got

    got, want = part(learners, T), part(lambda n: flops_counted(s, B, n), T)
    if got == want:
        return
    found = [
        (hint, wrong(s, B, T) == learners(T))
        for wrong, hint in WRONG_FLOPS
        if part(lambda n, wrong=wrong: wrong(s, B, n), T) == got
    ]
    found = the_only_one(found)
    case = f"expected {want:,}, got {got:,} ({sizes_of(s)}, batch_size={B}, n_tokens={T})"
    not_the_mistake(not sole(found), f"{what}: {sole(found)}; {case}")
    require(False, f"{what}: {case}")


@exercise_check("count_flops", points=2, title="products with weights")
def _(student, rng):
    s, B, T = draw_sizes(rng), int(rng.integers(2, 5)), int(rng.integers(70, 90))
    what = "the products with weights (4 f(T) - f(2 T), f being your count for n_tokens)"
    same_flops(student, s, B, T, with_weights, what)


@exercise_check("count_flops", points=1, title="products without weights")
def _(student, rng):
    s, B, T = draw_sizes(rng), int(rng.integers(3, 6)), int(rng.integers(70, 90))
    what = "the products without weights (f(2 T) - 2 f(T), f being your count for n_tokens)"
    same_flops(student, s, B, T, without_weights, what)
    same_flops(student, s, B, T, all_products, "all products")


@exercise_check("count_flops", points=1, title="training")
def _(student, rng):
    s, B, T = draw_sizes(rng), 2, int(rng.integers(70, 90))
    sizes = {**s, "batch_size": B, "n_tokens": T}
    forward = student.count_flops(**sizes)
    got = student.count_flops(**sizes, is_training=True)
    require(type(got) is int, f"return an int, got {type(got).__name__}: nothing is divided")
    times = "training takes three times the forward pass"
    right = flops_counted(s, B, T)
    for wrong, hint in (
        (forward, "your training takes what a forward pass takes"),
        (
            2 * forward,
            "yours is twice the forward pass: the backward pass takes that by itself, and the "
            "forward pass counts as well",
        ),
        (
            4 * forward,
            "yours is four times the forward pass: forward once, backward twice its cost, and "
            "nothing is computed again",
        ),
        (
            3 * right - 2 * of_pairs(s, B, T),
            "you leave out the backward pass of products without weights, which have one as well",
        ),
        (
            3 * (right - of_output(s, B, T)),
            "you leave out the projection to the vocabulary, which is trained as well",
        ),
    ):
        not_the_mistake(got != wrong, f"{hint}: {times} (forward {forward:,}, training {got:,})")
    require(
        got == 3 * forward,
        f"{times}: yours is {forward:,} forward and {got:,} in training ({sizes_of(s)})",
    )


@exercise_check("count_flops", points=1, title="a real size", is_core=False)
def _(student, rng):
    sizes = {**UNEVEN, "batch_size": 509, "n_tokens": 8191}
    got = student.count_flops(**sizes)
    require(type(got) is int, f"return an int, got {type(got).__name__}: nothing is divided")
    want = flops_counted(UNEVEN, 509, 8191)
    require(
        got == want,
        "about 70B weights, a real size, over 509 rows of 8191 tokens, in whole numbers, which "
        f"have no rounding: expected {want:,}, got {got:,}",
    )


def chosen_and_shares(student, logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the two tensors of a learner's answer, or reject what is no such pair."""
    pair = student.route_top_k(logits, k)
    left_alone(student, router_logits=logits)
    require(
        isinstance(pair, tuple | list) and len(pair) == 2,
        f"return two tensors, the numbers of the experts and their shares, got {brief(pair)}",
    )
    experts, shares = map(np.asarray, pair)
    require(
        experts.dtype.kind == "i" or shares.dtype.kind != "i",
        "your shares come first: return the experts, then their shares",
    )
    shape = (*logits.shape[:-1], k)
    require(
        experts.shape == shares.shape == shape,
        f"router_logits {logits.shape} with {k} experts each give {shape} twice, got "
        f"{experts.shape}, {shares.shape}",
    )
    require(experts.dtype.kind == "i", f"numbers of experts are integers, got {experts.dtype}")
    return experts, shares


@exercise_check("route_top_k", points=1, title="who is chosen")
def _(student, rng):
    E, k = int(rng.integers(5, 9)), int(rng.integers(2, 4))
    logits = normal(rng, 6, E, scale=1.5)
    logits[0, 0] = -9.0  # the largest in size, and the lowest
    experts, _ = chosen_and_shares(student, logits, k)
    order = np.argsort(-logits, axis=-1)
    want = order[:, :k]
    by_size = np.argsort(-np.abs(logits), axis=-1)[:, :k]
    for wrong, hint in (
        (order[:, ::-1][:, :k], "your experts are those with the lowest scores: take the highest"),
        (
            want[:, ::-1],
            "your experts stand with the lowest of their scores first: put the highest first",
        ),
        (
            np.sort(want, -1),
            "your experts are sorted by their number: put the one with the highest score first",
        ),
        (
            by_size,
            "your experts are those with the scores furthest from 0: a score of -9 is low, so take "
            "the scores as they are",
        ),
        (
            order[:, :1].repeat(k, 1),
            "your answer holds the same expert k times: choose k different ones",
        ),
    ):
        first = f"k = {k}, the first token: expected {want[0].tolist()}, got {experts[0].tolist()}"
        is_it = np.array_equal(experts, wrong) and not np.array_equal(wrong, want)
        not_the_mistake(not is_it, f"{hint} ({first})")
    same(experts, want.astype(experts.dtype), "each token gets the k experts of its highest scores")
    equal = np.array([[1.0, 3.0, 3.0, 2.0], [2.0, 2.0, 2.0, 2.0]], np.float32)
    experts, shares = chosen_and_shares(student, equal, 2)
    require(
        set(experts[0].tolist()) == {1, 2} and len(set(experts[1].tolist())) == 2,
        f"of equal scores any may come first, but they are different experts: scores (1, 3, 3, 2) "
        f"and (2, 2, 2, 2), k = 2, got {experts.tolist()}",
    )
    of_all = softmax(equal).max(-1, keepdims=True).repeat(2, 1)
    recognise(
        shares,
        np.full((2, 2), 0.5),
        [(of_all, "your softmax runs over all experts: take it over the chosen ones alone")],
    )
    close(shares, np.full((2, 2), 0.5), "two equal scores share a token in halves, 0.5 each")


@exercise_check("route_top_k", points=1, title="their shares")
def _(student, rng):
    E, k = int(rng.integers(5, 9)), int(rng.integers(2, 4))
    logits = normal(rng, 6, E, scale=1.5)
    _, shares = chosen_and_shares(student, logits, k)
    order = np.argsort(-logits, axis=-1)[:, :k]
    chosen = np.take_along_axis(logits, order, -1)
    sizes = 1 / (1 + np.exp(-chosen))
    by_number = np.take_along_axis(chosen, np.argsort(order, -1), -1)
    want = softmax(chosen)
    recognise(
        shares,
        want,
        [
            (chosen, "your shares are the scores: take a softmax of them"),
            (
                np.take_along_axis(softmax(logits), order, -1),
                "your softmax runs over all experts, so that shares don't sum to one: take it over "
                "the chosen",
            ),
            (np.full((6, k), 1 / k), "your shares are all 1 / k: let them follow the scores"),
            (
                softmax(chosen.T).T,
                "your softmax runs over tokens: a token's shares sum to one over its experts, the "
                "last axis",
            ),
            (
                sizes / sizes.sum(-1, keepdims=True),
                "your shares are sigmoids over their sum: take a softmax",
            ),
            (
                chosen / chosen.sum(-1, keepdims=True),
                "your shares are scores over their sum, which can be negative: take a softmax",
            ),
            (
                softmax(chosen / k),
                "your scores are divided by k before the softmax: take them as they are",
            ),
            (np.log(want), "your shares are logarithms: softmax, not log_softmax"),
            (softmax(want), "your softmax is taken twice: take it once"),
            (
                softmax(by_number),
                "your shares stand in another order than their experts: keep the two in one order",
            ),
        ],
    )
    close(shares, want, "the shares are the softmax over the k highest scores, highest first")


@exercise_check("route_top_k", points=1, title="large scores, and gradients")
def _(student, rng):
    large = np.array([900.0, 1000.0, -1000.0], np.float32)
    _, shares = chosen_and_shares(student, large, 2)
    overflow = (
        "scores 900, 1000 and -1000 gave NaN, since exp(900) overflows: torch.softmax subtracts "
        "their maximum first"
    )
    spoilt = [([np.nan, 0.0], overflow), ([np.nan, np.nan], overflow)]
    recognise(shares, [1.0, 0.0], spoilt)
    close(shares, [1.0, 0.0], "scores 900, 1000 and -1000, k = 2")
    logits = normal(rng, 3, 5)
    weight = normal(rng, 3, 2)
    leaf = torch.from_numpy(logits).double().requires_grad_()
    total = (leaf.topk(2, -1).values.softmax(-1) * torch.from_numpy(weight)).sum()
    (want,) = torch.autograd.grad(total, leaf)
    got = student.gradients("route_top_k", logits, 2, upstream=weight, of=1)
    close(
        got[0],
        want.numpy(),
        "the gradient of `router_logits` through the shares is not that of the formula",
    )


@exercise_check("route_top_k", points=1, title="leading axes, one expert, all experts")
def _(student, rng):
    logits = normal(rng, 2, 3, 6)
    with in_case("router_logits of shape (2, 3, 6) with k = E, all six experts"):
        experts, shares = chosen_and_shares(student, logits, 6)
    order = np.argsort(-logits, axis=-1)
    same(experts, order, "with axes (B, T, E) and k = E all experts come, best first")
    want = softmax(np.take_along_axis(logits, order, -1))
    close(shares, want, "with axes (B, T, E) and k = E: a softmax over the last axis")
    for one in (logits[0, 0], logits[:1, 0], logits[:1, :1]):
        with in_case(f"router_logits of shape {one.shape}, k = 1"):
            _, shares = chosen_and_shares(student, one, 1)
        close(shares, np.ones((*one.shape[:-1], 1)), "a single expert gets a share of one")


@exercise_check("route_top_k", points=1, title="a k that does not fit", is_core=False)
def _(student, rng):
    logits = normal(rng, 2, 3, 6)
    chosen_and_shares(student, logits, 2)
    for k in (0, 7, -1):
        hint = f"k = {k} of 6 experts can't be served: raise a ValueError"
        try:
            student.route_top_k(logits, k)
        except LearnerError as error:
            require(str(error).startswith("ValueError"), f"{hint}, got: {error}")
        else:
            require(False, f"{hint}; nothing was raised")


# A module is no plain value: the checks make one, load weights and call it.
EXAMPLES_NOT_TRIED = {"TinyDecoder": "its examples make a module, which stays with the learner"}

HINTS["TinyDecoder"] = (
    "Two halves. __init__ makes weights and draws them; forward is five steps: look up vectors, "
    "cut the tables to the length, go through the layers, norm, and meet the table again.",
    "In __init__: super().__init__() first; an nn.Embedding; an nn.ModuleList of nn.ParameterDict, "
    "made in a loop so that no two layers share; an nn.Parameter of ones. In forward: a "
    "ParameterDict opens with ** into the arguments of decoder_block.",
    "forward: x = self.embedding(token_ids); for layer in self.layers: x = decoder_block(x, "
    "**layer, n_heads=..., n_kv_heads=..., cos=self.cos[:T], sin=self.sin[:T]); return "
    "rms_norm(x, self.gain) @ self.embedding.weight.T. Draw with nn.init.normal_(weight, "
    "std=0.02), for w_o and w_down std=0.02 / (2 * n_layers) ** 0.5; gains are torch.ones.",
)

TINY = (30, 9, 8, 3, 2, 12)  # V, context, D, layers, H, F
SQUARES = ("w_q", "w_k", "w_v", "w_o")


def tiny_shapes(V: int, D: int, n_layers: int, d_ff: int) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a tiny decoder's weights."""
    layer = dict.fromkeys(SQUARES, (D, D)) | {"w_gate": (d_ff, D), "w_up": (d_ff, D)}
    layer |= {"w_down": (D, d_ff), "attention_gain": (D,), "feed_forward_gain": (D,)}
    shapes = {"embedding.weight": (V, D), "gain": (D,)}
    return shapes | {f"layers.{n}.{k}": v for n in range(n_layers) for k, v in layer.items()}


def draw_tiny(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return weights of the size of TINY, large enough for mistakes to show."""
    V, _, D, n_layers, _, d_ff = TINY
    return {
        name: normal(rng, *shape) * 0.5 + (1.5 if len(shape) == 1 else 0.0)
        for name, shape in tiny_shapes(V, D, n_layers, d_ff).items()
    }


def tiny_logits(weights: dict, token_ids: np.ndarray, layers=None, **spoil) -> torch.Tensor:
    """Return logits by torch's functions; `spoil` leaves out or changes what learners do."""
    w = {k: v if isinstance(v, torch.Tensor) else torch.from_numpy(v) for k, v in weights.items()}
    n_heads, (T, D) = TINY[4], (token_ids.shape[1], TINY[2])
    speeds = 10000.0 ** (-torch.arange(0, D // n_heads, 2) / (D // n_heads))
    angles = torch.outer(torch.arange(T), speeds) * spoil.get("turn", 1.0)

    def norm(x, gain):
        return F.rms_norm(x, gain.shape, gain, 1e-5)

    x = F.embedding(torch.from_numpy(token_ids), w["embedding.weight"]) * spoil.get("scale", 1.0)
    for n in range(TINY[3]) if layers is None else layers:
        own = {k.split(".")[2]: v for k, v in w.items() if k.startswith(f"layers.{n}.")}
        four = (own[name] for name in SQUARES)
        read = norm(x, own["attention_gain"])
        x = x + attend(read, *four, n_heads, n_heads, angles.cos(), angles.sin())
        read = norm(x, own["feed_forward_gain"])
        wide = F.silu(F.linear(read, own["w_gate"])) * F.linear(read, own["w_up"])
        x = x + F.linear(wide, own["w_down"])
    if spoil.get("gain_alone"):
        x = x * w["gain"]
    elif spoil.get("last_norm", True):
        x = norm(x, torch.ones_like(w["gain"]) if spoil.get("plain") else w["gain"])
    return F.linear(x, w["embedding.weight"])


def parts_are_right(student) -> None:
    """Reject with its name a part that TinyDecoder calls and that is wrong by itself."""
    rng = np.random.default_rng(0)
    x, gain = normal(rng, 2, 6), normal(rng, 6)
    block = draw_block(rng)
    tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in block]
    stream, gain_1, *four, gain_2, gate, up, down, n_heads, n_kv_heads, cos, sin = tensors
    read = F.rms_norm(stream, gain_1.shape, gain_1, 1e-5)
    stream = stream + attend(read, *four, n_heads, n_kv_heads, cos, sin)
    read = F.rms_norm(stream, gain_2.shape, gain_2, 1e-5)
    stream = stream + F.linear(F.silu(F.linear(read, gate)) * F.linear(read, up), down)
    want = F.rms_norm(torch.from_numpy(x), (6,), torch.from_numpy(gain), 1e-5)
    for name, arguments, wanted in (
        ("rms_norm", (x, gain), want),
        ("decoder_block", block, stream),
    ):
        try:
            got = getattr(student, name)(*arguments)
        except Exception:  # not written, not defined, or it raises: then a learner may do without
            continue
        require(
            resembles(got, wanted.numpy(), atol=1e-3),
            f"your `{name}`, which your TinyDecoder may call, fails by itself: mend it first",
        )


@exercise_check("TinyDecoder", points=3, title="the weights: names, shapes, and how they start")
def _(student, rng):
    V, context, D, n_layers, n_heads, d_ff = 300, 8, 32, 4, 4, 48
    model = student.make("TinyDecoder", V, context, D, n_layers, n_heads, d_ff)
    state, shapes = model.state_dict(), tiny_shapes(V, D, n_layers, d_ff)
    missing, extra = sorted(set(shapes) - set(state)), sorted(set(state) - set(shapes))
    require(
        not missing,
        f"{len(missing)} weights of a checkpoint have no place in the model, {missing[:3]} first; "
        f"it has {sorted(state)[:3]} ...",
    )
    require(
        not set(extra) & {"cos", "sin"},
        "your cos and sin would be saved with the weights: register_buffer(..., persistent=False)",
    )
    require(not extra, f"your model has weights that no checkpoint brings: {extra[:3]}")
    for name, shape in shapes.items():
        require(
            state[name].shape == shape,
            f"{name}: expected the shape {shape}, got {state[name].shape}",
        )
        if len(shape) == 1:
            close(state[name], np.ones(shape), f"{name} is a gain and does not start at one")
    for name in shapes:  # in a buffer an optimizer finds nothing to train
        with in_case(f"{name} is to be an nn.Parameter"):
            model.get_parameter(name)
    drawn = {n: np.stack([state[f"layers.{k}.{n}"] for k in range(n_layers)]) for n in SQUARES}
    drawn["w_down"] = np.stack([state[f"layers.{k}.w_down"] for k in range(n_layers)])
    drawn["w_gate"] = np.stack([state[f"layers.{k}.w_gate"] for k in range(n_layers)])
    drawn["w_up"] = np.stack([state[f"layers.{k}.w_up"] for k in range(n_layers)])
    require(
        not np.array_equal(drawn["w_q"][0], drawn["w_q"][1]),
        "your layers 0 and 1 hold the same numbers: make and draw each layer for itself",
    )
    for name, values in {"embedding.weight": state["embedding.weight"], **drawn}.items():
        spread, writes = values.std(), name in ("w_o", "w_down")
        want = 0.02 / (2 * n_layers) ** 0.5 if writes else 0.02
        around = f"{name} is to be drawn around zero, its mean is {values.mean():.4f}"
        require(abs(values.mean()) < max(want, spread) / 4, around)
        require(
            not 0.9 < spread < 1.1,
            f"{name} has a standard deviation of 1, torch's own start: draw it with {want:.3g}",
        )
        if writes:
            require(
                not 0.018 < spread < 0.022,
                f"{name} has the standard deviation 0.02 and writes into the stream: draw it with "
                "0.02 / sqrt(2 * n_layers)",
            )
            require(
                abs(spread * n_layers**0.5 / 0.02 - 1) > 0.1,
                f"{name} has the standard deviation 0.02 / sqrt(n_layers): each layer has two "
                "writers, so divide by sqrt(2 * n_layers)",
            )
        require(
            abs(spread / want - 1) < 0.1,
            f"the standard deviation of {name} is to be {want:.4f} with {n_layers} layers, it is "
            f"{spread:.4f}",
        )
        far = float(np.abs(values).max() / want)  # of 4,096 normal numbers a hundred are past 2.2
        require(
            far > 2.2,
            f"none of the numbers of {name} is further from 0 than {far:.2f} standard deviations, "
            "and of a normal distribution some are: draw it with nn.init.normal_",
        )


@exercise_check("TinyDecoder", points=4, title="the logits of a checkpoint")
def _(student, rng):
    weights, ids = draw_tiny(rng), rng.integers(0, TINY[0], (2, 6))
    model = student.make("TinyDecoder", *TINY)
    model.load(weights)
    out = model.forward(ids)
    require(
        isinstance(out, np.ndarray),
        f"forward returns the logits alone, one tensor (B, T, V), got {type(out).__name__}",
    )
    require(
        out.shape == (2, 6, TINY[0]),
        f"2 rows of 6 tokens and {TINY[0]} words give (2, 6, {TINY[0]}), got {out.shape}",
    )
    want = tiny_logits(weights, ids)
    for wrong, hint in (
        (
            tiny_logits(weights, ids, last_norm=False),
            "your result is the one without the last norm: call rms_norm before you return",
        ),
        (
            tiny_logits(weights, ids, gain_alone=True),
            "your result has the gain of the last norm and not the norm: call rms_norm before you "
            "return",
        ),
        (
            tiny_logits(weights, ids, plain=True),
            "your result is the one without the gain of the last norm: pass self.gain to rms_norm",
        ),
        (want / TINY[2] ** 0.5, "your logits are divided by sqrt(d_model): leave them as they are"),
        (
            tiny_logits(weights, ids, layers=[]),
            "your result is the one without any layer: go through self.layers",
        ),
        (
            tiny_logits(weights, ids, layers=[0]),
            "your result is that of the first layer alone: go through all of them",
        ),
        (
            tiny_logits(weights, ids, layers=[0, 1]),
            "your result is the one without the last layer: go through all of them",
        ),
        (
            tiny_logits(weights, ids, layers=[0, 0, 0]),
            "your result is that of the first layer, used again and again: go through all of them",
        ),
        (
            tiny_logits(weights, ids, layers=[2, 1, 0]),
            "your layers run in reverse: go from layer 0 on",
        ),
        (
            tiny_logits(weights, ids, turn=0.0),
            "your tokens all stand at position 0: token t takes row t of cos and sin",
        ),
        (
            tiny_logits(weights, ids, scale=TINY[2] ** 0.5),
            "your embedding is multiplied by sqrt(d_model): leave it as it is",
        ),
        (
            want.log_softmax(-1),
            "your result is the logarithm of a softmax: return the logits themselves",
        ),
        (want.softmax(-1), "your result is a softmax: return the logits themselves"),
    ):
        case = f"a checkpoint in TinyDecoder{TINY}, token_ids of shape (2, 6)"
        require(not resembles(out, wrong.numpy(), atol=1e-3), f"{case}: {hint}")
    if not resembles(out, want.numpy(), atol=1e-3):
        parts_are_right(student)
    close(
        out,
        want.numpy(),
        f"the logits of a checkpoint, TinyDecoder{TINY}, token_ids of shape (2, 6)",
        atol=1e-3,
        rtol=1e-3,
    )


@exercise_check("TinyDecoder", points=2, title="any length, and gradients for every weight")
def _(student, rng):
    weights = draw_tiny(rng)
    model, other = (student.make("TinyDecoder", *TINY) for _ in range(2))
    model.load(weights)
    other.load({name: 0.5 * value for name, value in weights.items()})
    for B, T in ((1, 1), (3, 4), (1, TINY[1])):
        ids = rng.integers(0, TINY[0], (B, T))
        with in_case(f"token_ids of shape ({B}, {T}), in a context of {TINY[1]}"):
            out = model.forward(ids)
        if not resembles(out, tiny_logits(weights, ids).numpy(), atol=1e-3):
            parts_are_right(student)
        hint = f"for token_ids of shape ({B}, {T}) the logits differ"
        close(out, tiny_logits(weights, ids).numpy(), hint, atol=1e-3, rtol=1e-3)
    ids, upstream = rng.integers(0, TINY[0], (2, 5)), normal(rng, 2, 5, TINY[0])
    leaves = {k: torch.from_numpy(v).requires_grad_() for k, v in weights.items()}
    loss = (tiny_logits(leaves, ids) * torch.from_numpy(upstream)).sum()
    table = torch.autograd.grad(loss, leaves["embedding.weight"])[0].numpy()
    got = [g for g in model.gradients(ids, upstream=upstream) if g.shape == table.shape]
    require(
        len(got) == 1,
        f"{len(got)} of your weights have the shape {table.shape} of the table of tokens: use one "
        "weight at both ends",
    )
    close(
        got[0],
        table,
        "the table's gradient differs: it is read at both ends, and nothing on the way may be cut",
        atol=1e-2,
        rtol=1e-2,
    )
