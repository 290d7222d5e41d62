"""Checks of lab 03: the parts of a decoder, and what they cost.

Oracles: NumPy in float64, torch's functions, a list of the shapes of all weights, PyTorch's counter
of operations on the meta device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import bmm_flop, mm_flop

from utils.labs.checking import Check, close, collector, in_case, require, resembles, same
from utils.labs.student import LearnerError

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
        "Draw it: a line from left to right, which is x, and two boxes beside it. From where on the "
        "line does each box read, through which norm, and where does its answer join the line? If "
        "both boxes answer 0, what comes out?",
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


GRADIENT = "the gradient differs: nothing on the way may be cut with detach, item or no_grad"


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Return normal random numbers in float32."""
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return a softmax over the last axis in float64."""
    weights = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


@exercise_check("rms_norm", points=1, title="by hand")
def _(student, rng):
    out = student.rms_norm(np.array([3.0, 4.0], np.float32), np.ones(2, np.float32), 0.0)
    require(
        not resembles(out, [0.6, 0.8]),
        "that is division by the length: divide by the root of the mean of squares, not their sum",
    )
    require(
        not resembles(out, [3 / 12.5, 4 / 12.5]), "the root is missing: take it of the mean square"
    )
    require(not resembles(out, [-1.0, 1.0]), "no mean is subtracted: that would be LayerNorm")
    require(not resembles(out, [3 / 3.5, 4 / 3.5]), "square before the mean: 3 and 4 become 9, 16")
    for spread in (0.25, 0.5):  # of all channels, or of one less
        require(
            not resembles(out, [3 / spread**0.5, 4 / spread**0.5]),
            "a variance subtracts the mean first: take the mean of the squares as they are",
        )
    require(
        not resembles(out, [6 / 12.5**0.5, 8 / 12.5**0.5]), "the gain is weight, not 1 + weight"
    )
    close(out, [3 / 12.5**0.5, 4 / 12.5**0.5], "3 and 4 have the mean square 12.5")


@exercise_check("rms_norm", points=2, title="shapes, gain and eps")
def _(student, rng):
    x, weight = normal(rng, 3, 4, 6, scale=2.0) + 1, normal(rng, 6)
    with in_case("x of shape (3, 4, 6): two axes before the last"):
        out = student.rms_norm(x, weight, 0.5)
    square = (x.astype(np.float64) ** 2).mean(-1, keepdims=True)
    require(not resembles(out, x / np.sqrt(square + 0.5)), "the gain, weight, is not used")
    require(
        not resembles(out, x / np.sqrt(square) * weight),
        "eps is not used: add it to the mean square",
    )
    require(
        not resembles(out, x / (np.sqrt(square) + 0.5) * weight),
        "eps is added to the root: add it to the mean square, inside the root",
    )
    every = np.sqrt((x.astype(np.float64) ** 2).mean() + 0.5)
    require(
        not resembles(out, x / every * weight),
        "the mean runs over all tokens: take the last axis, so that each token has its own",
    )
    tokens = (x.astype(np.float64) ** 2).mean(-2, keepdims=True)
    first = x.astype(np.float64) * weight
    for wrong, hint in (
        (x / np.sqrt(tokens + 0.5) * weight, "the mean runs over tokens: take the last axis"),
        (
            x / np.sqrt(square * 6 / 5 + 0.5) * weight,
            "the mean divides by the number of channels, not by one less",
        ),
        (
            first / np.sqrt((first**2).mean(-1, keepdims=True) + 0.5),
            "the gain comes last: the mean square is that of x",
        ),
        (x / np.sqrt(square + 0.5) + weight, "the gain multiplies; it is not added"),
    ):
        require(not resembles(out, wrong), hint)
    close(out, x / np.sqrt(square + 0.5) * weight, "the normalised vectors differ")
    small = normal(rng, 5, 6, scale=0.003)
    square = (small.astype(np.float64) ** 2).mean(-1, keepdims=True)
    wanted = small / np.sqrt(square + 1e-5)
    close(
        student.rms_norm(small, np.ones(6, np.float32)), wanted, "eps is 1e-5 where none is given"
    )
    zero = np.zeros((2, 6), np.float32)
    close(student.rms_norm(zero, np.ones(6, np.float32)), zero, "a zero vector stays zero")


@exercise_check("rms_norm", points=1, title="half precision, arguments")
def _(student, rng):
    x = (normal(rng, 4, 8) * 100 + 300).astype(np.float16)
    out = student.rms_norm(x, np.ones(8, np.float16))
    require(
        out.dtype == np.float16, f"float16 in, float16 out, got {out.dtype}: convert it back at end"
    )
    square = (x.astype(np.float64) ** 2).mean(-1, keepdims=True)
    close(
        out,
        x / np.sqrt(square),
        "300 squared exceeds what float16 can hold: take the mean square in float32",
        atol=2e-3,
        rtol=2e-3,
    )
    x = normal(rng, 2, 8)
    student.rms_norm(x, np.ones(8, np.float32))
    require(
        np.array_equal(student.arguments_after[0], x),
        "x was changed in place: write a = a * b, not a *= b",
    )
    weight, upstream = normal(rng, 8), normal(rng, 2, 8)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, weight)]
    want = torch.autograd.grad(
        (F.rms_norm(leaves[0], (8,), leaves[1], 1e-5) * torch.from_numpy(upstream)).sum(), leaves
    )
    got = student.gradients("rms_norm", x, weight, upstream=upstream)
    for gradient, wanted in zip(got, want, strict=True):
        close(gradient, wanted.numpy(), GRADIENT, atol=1e-4)


@exercise_check("swiglu", points=1, title="by hand")
def _(student, rng):
    one = np.ones((1, 1), np.float32)
    out = student.swiglu(2 * one, one, 3 * one, 5 * one)
    close(out, [[2 / (1 + np.exp(-2)) * 6 * 5]], "2 sigmoid(2) times 6 times 5 is expected")


@exercise_check("swiglu", points=3, title="values and shapes")
def _(student, rng):
    x, gate, up, down = (normal(rng, *n) for n in ((2, 3, 6), (9, 6), (9, 6), (6, 9)))
    x_t, gate_t, up_t, down_t = map(torch.from_numpy, (x, gate, up, down))
    a, b = x_t @ gate_t.T, x_t @ up_t.T
    with in_case("x (2, 3, 6), w_gate and w_up (9, 6), w_down (6, 9): (outputs, inputs), as in nn.Linear"):
        out = student.swiglu(x, gate, up, down)
    for wrong, hint in (
        (F.silu(b) * a, "silu acts on the gate, not on the other projection"),
        (torch.sigmoid(a) * b, "silu is z * sigmoid(z): the gate itself is missing as a factor"),
        (torch.relu(a) * b, "that is a ReLU gate: silu is z * sigmoid(z)"),
        (F.gelu(a) * b, "that is a GELU gate: silu is z * sigmoid(z)"),
        (F.silu(a) + b, "the gate multiplies the other projection; it is not added"),
        (F.silu(a * b), "silu acts on the gate alone, before the product"),
        (F.silu(a), "w_up is not used"),
        (torch.tanh(a) * a * b, "silu is z * sigmoid(z), not z * tanh(z)"),
        (a * torch.sigmoid(1.702 * a) * b, "silu is z * sigmoid(z), without a factor inside"),
        (F.silu(F.silu(a)) * b, "silu is applied once"),
        (F.silu(a) * F.silu(b), "only one of the two is the gate: silu acts on it alone"),
        (a.softmax(-1) * b, "silu acts on each number alone: no softmax"),
        (F.linear(F.silu(x_t), gate_t) * b, "silu acts on what w_gate gives, not on x"),
        (a * b, "the gate is not passed through silu"),
    ):
        require(not resembles(out, (wrong @ down_t.T).numpy(), atol=1e-3), hint)
    want = F.linear(F.silu(a) * b, down_t)
    for wrong, hint in (
        (F.linear(F.silu(a), down_t) * F.linear(b, down_t), "multiply first, then go down once"),
        (F.silu(want), "nothing follows the projection down"),
        (want + x_t, "x is not added here: the block does that"),
    ):
        require(not resembles(out, wrong.numpy(), atol=1e-3), hint)
    require(
        np.size(out) != x.size or np.shape(out) == x.shape,
        f"the axes before the last stay as they are: expected {x.shape}, got {np.shape(out)}",
    )
    close(out, want.numpy(), "the result differs", atol=1e-4, rtol=1e-3)
    require(
        np.array_equal(student.arguments_after[0], x), "x was changed in place: make new tensors"
    )
    one = np.ones((1, 1), np.float32)
    out = student.swiglu(200 * one, one, one, one)
    close(out, [[40000.0]], "a large gate overflows: 1 / (1 + exp(-z)), or torch.sigmoid, does not")
    upstream = normal(rng, 2, 3, 6)
    leaves = [t.clone().requires_grad_() for t in (x_t, gate_t, up_t, down_t)]
    result = F.linear(
        F.silu(F.linear(leaves[0], leaves[1])) * F.linear(leaves[0], leaves[2]), leaves[3]
    )
    wanted = torch.autograd.grad((result * torch.from_numpy(upstream)).sum(), leaves)
    got = student.gradients("swiglu", x, gate, up, down, upstream=upstream)
    for gradient, t in zip(got, wanted, strict=True):
        close(gradient, t.numpy(), GRADIENT, atol=1e-3, rtol=1e-3)


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
    out = student.decoder_block(*silent)
    close(
        out,
        block[0],
        "with w_o and w_down zero nothing is added, and x must come out as it went in: add to the "
        "stream, and normalise only what the parts read",
    )
    out = student.decoder_block(*block)
    require(not resembles(out, block[0]), "nothing is added to the stream")
    require(
        np.array_equal(student.arguments_after[0], block[0]),
        "x was changed in place: write x = x + y, not x += y",
    )


@exercise_check("decoder_block", points=4, title="values")
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
    require(isinstance(out, np.ndarray), "return the stream alone, one tensor (B, T, D)")
    for wrong, hint in (
        (x + feed_forward(norm(middle, gain_2)), "what attention added to the stream is lost"),
        (rest(twice), "attention is added twice"),
        (
            after + norm(feed_forward(after), gain_2),
            "normalise only what the parts read; their answers are added as they are",
        ),
        (rest(centred), "no mean is subtracted: use rms_norm, not LayerNorm"),
        (rest(plain), "the gain of the first norm is not used"),
        (rest(middle, torch.ones_like(gain_2)), "the gain of the second norm is not used"),
        (rest(again), "attention reads the stream normalised once, not twice"),
        (rest(one_row), "every row of the batch attends to itself, not to the first row"),
        (rest(mixed), "keys and values are swapped: the order is w_q, w_k, w_v, w_o"),
        (rest(wheel), "cos and sin are swapped"),
        (x + attention(norm(x, gain_1)), "the feed-forward part is missing"),
        (first, "attention is missing"),
        (
            middle + feed_forward(norm(x, gain_2)),
            "the feed-forward part reads the stream from before attention: it reads the sum",
        ),
        (middle + feed_forward(middle), "the feed-forward part reads the stream without a norm"),
        (
            x + attention(x) + feed_forward(norm(x + attention(x), gain_2)),
            "attention reads the stream without a norm",
        ),
        (
            swapped + feed_forward(norm(swapped, gain_1)),
            "the two gains are swapped: attention has the first",
        ),
        (
            middle + feed_forward(norm(middle, gain_1)),
            "both norms use the first gain: the feed-forward part has its own",
        ),
        (
            middle + feed_forward(norm(middle, gain_2), up, gate),
            "gate and up are swapped: swiglu takes x, w_gate, w_up, w_down",
        ),
        (
            first + attention(norm(first, gain_1)),
            "the order is attention first, then the feed-forward part",
        ),
    ):
        require(not resembles(out, wrong.numpy(), atol=1e-3), hint)
    still = x + attention(norm(x, gain_1), torch.ones_like(cos), torch.zeros_like(sin))
    still = still + feed_forward(norm(still, gain_2))
    require(
        not resembles(out, still.numpy(), atol=1e-3),
        "cos and sin are not used: pass them to the attention",
    )
    close(out, rest(middle).numpy(), "the stream differs", atol=1e-3, rtol=1e-3)
    x = x.clone().requires_grad_()
    middle = x + attention(norm(x, gain_1))
    upstream = normal(rng, *x.shape)
    (want,) = torch.autograd.grad((rest(middle) * torch.from_numpy(upstream)).sum(), x)
    got = student.gradients("decoder_block", *block, upstream=upstream)[0]
    close(got, want.numpy(), GRADIENT, atol=1e-2, rtol=1e-2)


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


def explain_weights(got: int, s: dict, tie: bool, qk: bool) -> None:
    """Reject a wrong number of weights with the mistake that would give it."""
    want, d, layers = weights_listed(s, tie, qk), s["d_model"], s["n_layers"]
    table = s["vocab_size"] * d
    square = weights_listed({**s, "d_head": d // s["n_heads"]}, tie, qk)
    q, kv, head = s["n_heads"] * s["d_head"], s["n_kv_heads"] * s["d_head"], s["d_head"]
    outside = weights_listed({**s, "n_layers": 0}, tie, qk)
    for wrong, hint in (
        (want + layers * (q + 2 * kv), "these projections have no biases"),
        (want + layers * (q + 2 * kv + d), "these projections have no biases"),
        (want + s["vocab_size"], "the output has no bias"),
        (want - layers * d * kv, "keys and values are two matrices"),
        (want + (layers - 1) * (outside - d), "tables stand outside the blocks and count once"),
        (want + (layers - 1) * d, "the final norm stands outside the blocks and counts once"),
        (weights_listed({**s, "n_layers": layers + 1}, tie, qk), "there is one layer too many"),
        (
            weights_listed({**s, "d_ff": 4 * d}, tie, qk),
            "the wide layer has d_ff channels, as given",
        ),
        (
            weights_listed({**s, "d_ff": 8 * d // 3}, tie, qk),
            "the wide layer has d_ff channels, as given",
        ),
        (
            weights_listed({**s, "vocab_size": -(-s["vocab_size"] // 64) * 64}, tie, qk),
            "the vocabulary is not padded",
        ),
        (want // 1000, "the number itself is asked for, not thousands or millions"),
        (want // 1_000_000, "the number itself is asked for, not thousands or millions"),
        (
            want - layers * head * qk,
            "qk_norm: two gains, one for queries and one for keys",
        ),
        (
            want + layers * (q + kv - 2 * head),
            "qk_norm: a gain of d_head is shared by all heads",
        ),
        (
            want - (layers - 1) * 2 * head,
            "qk_norm: every layer has gains of its own",
        ),
        (want - d, "the gain of the final norm is missing"),
        (want - layers * d * s["d_ff"], "the feed-forward part has three matrices, not two"),
        (
            weights_listed({**s, "n_kv_heads": s["n_heads"]}, tie, qk),
            "keys and values have n_kv_heads heads, fewer than queries",
        ),
        (square, "the width of a head is d_head, which need not be d_model / n_heads"),
        (want - 2 * layers * d, "the gains of the two norms in each block are missing"),
        (want - layers * d, "each block has two norms with a gain of d_model, not one"),
        (weights_listed({**s, "n_layers": 1}, tie, qk), "count every layer, not one"),
        (want + table if tie else want - table, "a tied table counts once, two tables twice"),
        (want - table, "the embedding table is missing"),
        (weights_listed(s, tie, not qk), "qk_norm: two gains of d_head in each block where set"),
        (
            want - layers * d * s["n_heads"] * s["d_head"],
            "queries and the output projection both have n_heads * d_head times d_model weights",
        ),
    ):
        require(got != wrong or got == want, f"{hint} (expected {want:,}, got {got:,})")
    same(got, want, f"the number differs for {s}, tie_embeddings={tie}, qk_norm={qk}")


@exercise_check("count_parameters", points=3, title="tied, without norms of queries and keys")
def _(student, rng):
    s = draw_sizes(rng)
    got = student.count_parameters(**s, tie_embeddings=True, qk_norm=False)
    require(type(got) is int, f"return an int, got {type(got).__name__}: nothing is divided")
    explain_weights(got, s, True, False)


@exercise_check("count_parameters", points=2, title="untied, and with norms of queries and keys")
def _(student, rng):
    s = draw_sizes(rng)
    for tie, qk in ((False, False), (True, True), (False, True)):
        got = student.count_parameters(**s, tie_embeddings=tie, qk_norm=qk)
        require(type(got) is int, f"return an int, got {type(got).__name__}: nothing is divided")
        explain_weights(got, s, tie, qk)


def flops_counted(s: dict, B: int, T: int) -> int:
    """Return the operations of one forward pass, each product by PyTorch's own formula.

    The formulas alone: the counter that applies them imports torch's compiler first, over a second.
    """
    heads, table = (B * s["n_heads"], T, s["d_head"]), (B * s["n_heads"], T, T)
    layer = sum(mm_flop((B * T, n_in), (n_in, n_out)) for n_out, n_in in matrices(s))
    layer += bmm_flop(heads, (heads[0], heads[2], T)) + bmm_flop(table, heads)
    output = mm_flop((B * T, s["d_model"]), (s["d_model"], s["vocab_size"]))
    return s["n_layers"] * layer + output


@exercise_check("count_flops", points=3, title="one forward pass")
def _(student, rng):
    s, B, T = draw_sizes(rng), int(rng.integers(2, 5)), int(rng.integers(70, 90))
    got = student.count_flops(**s, batch_size=B, n_tokens=T)
    require(type(got) is int, f"return an int, got {type(got).__name__}: nothing is divided")
    want = flops_counted(s, B, T)
    pairs = 4 * B * T * T * s["n_layers"] * s["n_heads"] * s["d_head"]
    output = 2 * B * T * s["vocab_size"] * s["d_model"]
    layers = s["n_layers"]
    per_token = 2 * B * T * layers
    q = per_token * s["n_heads"] * s["d_head"] * s["d_model"]
    for wrong, hint in (
        (want // 2, "a multiplication and an addition are two operations: 2 m k n"),
        (want - pairs, "the products of queries and keys, and of shares and values, are missing"),
        (
            want - pairs // 2,
            "attention has two products without weights, not one, and scores that the mask hides "
            "are computed as well",
        ),
        (want - pairs + pairs // layers, "every layer has products of queries and keys"),
        (
            want - pairs + pairs * s["n_kv_heads"] // s["n_heads"],
            "each of the n_heads query heads has scores of its own",
        ),
        (want - pairs + pairs * B, "tokens attend within their own row: B tables of T by T"),
        (
            want + (layers - 1) * output,
            "the projection to the vocabulary stands outside the blocks",
        ),
        (want - per_token * s["d_model"] * s["d_ff"], "the feed-forward part has three matrices"),
        (
            want - per_token * s["d_model"] * s["n_kv_heads"] * s["d_head"],
            "keys and values are two products",
        ),
        (
            flops_counted({**s, "d_head": s["d_model"] // s["n_heads"]}, B, T),
            "the width of a head is d_head, which need not be d_model / n_heads",
        ),
        (flops_counted({**s, "n_layers": layers + 1}, B, T), "there is one layer too many"),
        (want - pairs + pairs // T, "every token has T scores: those products grow with T squared"),
        (want - output, "the projection to the vocabulary is missing"),
        (want + output, "looking up an embedding takes no operation"),
        (want // B, "batch_size is not used"),
        (want // T, "n_tokens is not used"),
        (want - q, "queries and the output projection are two products"),
        (
            flops_counted({**s, "n_kv_heads": s["n_heads"]}, B, T),
            "keys and values have n_kv_heads heads",
        ),
        (flops_counted({**s, "n_layers": 1}, B, T), "count every layer, not one"),
        (
            3 * want,
            "that is training: a forward pass takes two operations for each weight and token, and "
            "is_training is False where it is not given",
        ),
    ):
        require(got != wrong or got == want, f"{hint} (expected {want:,}, got {got:,})")
    same(
        got,
        want,
        "the number differs; count products of matrices alone, 2 m k n each "
        f"({s}, batch_size={B}, n_tokens={T})",
    )


@exercise_check("count_flops", points=2, title="training")
def _(student, rng):
    s, B, T = draw_sizes(rng), 2, int(rng.integers(70, 90))
    got = student.count_flops(**s, batch_size=B, n_tokens=T, is_training=True)
    want = flops_counted(s, B, T)
    output = 2 * B * T * s["vocab_size"] * s["d_model"]
    pairs = 4 * B * T * T * s["n_layers"] * s["n_heads"] * s["d_head"]
    require(got != want, "is_training is not used")
    for wrong, hint in (
        (4 * want, "forward once, backward twice its cost: nothing is computed again"),
        (3 * want - 2 * pairs, "products without weights have a backward pass as well"),
        (3 * (want - output), "the projection to the vocabulary is trained as well"),
    ):
        require(got != wrong, hint)
    require(
        got != 2 * want,
        "the backward pass takes twice the forward pass, which has to be counted as well",
    )
    same(got, 3 * want, "training takes three times the forward pass")


@exercise_check("route_top_k", points=3, title="who is chosen, and for which share")
def _(student, rng):
    E, k = int(rng.integers(5, 9)), int(rng.integers(2, 4))
    logits = normal(rng, 6, E, scale=1.5)
    pair = student.route_top_k(logits, k)
    require(
        isinstance(pair, tuple | list) and len(pair) == 2,
        "return two tensors: numbers of the experts, then their shares",
    )
    experts, shares = map(np.asarray, pair)
    order = np.argsort(-logits, axis=-1)
    require(
        experts.dtype.kind == "i" or shares.dtype.kind != "i",
        "the order is experts first, then shares",
    )
    require(
        experts.shape == shares.shape == (6, k),
        f"6 tokens with {k} experts each give (6, {k}) twice, got {experts.shape}, {shares.shape}",
    )
    require(experts.dtype.kind == "i", f"numbers of experts are integers, got {experts.dtype}")
    require(not np.array_equal(experts, order[:, ::-1][:, :k]), "those are the lowest scores")
    require(not np.array_equal(experts, order[:, :k][:, ::-1]), "the highest score comes first")
    by_size = np.argsort(-np.abs(logits), axis=-1)[:, :k]
    for wrong, hint in (
        (np.sort(order[:, :k], -1), "experts are sorted by number: the highest score comes first"),
        (by_size, "a score of -3 is low, not large: take the scores as they are, not their size"),
        (order[:, :1].repeat(k, 1), "the same expert k times: choose k different ones"),
    ):
        require(not np.array_equal(experts, wrong) or np.array_equal(wrong, order[:, :k]), hint)
    same(experts, order[:, :k], "each token gets the experts of its k highest scores, best first")
    chosen = np.take_along_axis(logits, order[:, :k], -1)
    everyone = np.take_along_axis(softmax(logits), order[:, :k], -1)
    require(not resembles(shares, chosen), "those are scores: shares need a softmax")
    require(
        not resembles(shares, everyone),
        "the softmax ran over all experts and shares don't sum to one: take it over the chosen",
    )
    require(not resembles(shares, np.full((6, k), 1 / k)), "shares follow the scores, not evenly")
    require(
        not resembles(shares, softmax(chosen.T).T),
        "the softmax runs over tokens: a token's shares sum to one over its experts, the last axis",
    )
    sizes = 1 / (1 + np.exp(-chosen))
    by_number = np.take_along_axis(chosen, np.argsort(order[:, :k], -1), -1)
    for wrong, hint in (
        (sizes / sizes.sum(-1, keepdims=True), "the shares are a softmax, not sigmoids"),
        (chosen / chosen.sum(-1, keepdims=True), "scores over their sum can be negative: softmax"),
        (softmax(chosen / k), "nothing divides the scores before the softmax"),
        (np.log(softmax(chosen)), "those are logarithms: softmax, not log_softmax"),
        (softmax(by_number), "shares stand in another order than their experts"),
    ):
        require(not resembles(shares, wrong) or resembles(shares, softmax(chosen)), hint)
    close(shares, softmax(chosen), "the shares differ")
    require(
        np.array_equal(student.arguments_after[0], logits),
        "the scores were changed in place: make new tensors",
    )
    large = np.array([900.0, 1000.0, -1000.0], np.float32)
    close(
        np.asarray(student.route_top_k(large, 2)[1]),
        [1.0, 0.0],
        "large scores overflow in exp: torch.softmax subtracts their maximum first",
    )


@exercise_check("route_top_k", points=2, title="leading axes and a k that does not fit")
def _(student, rng):
    logits = normal(rng, 2, 3, 6)
    with in_case("router_logits of shape (2, 3, 6): axes for batch and tokens in front"):
        experts, shares = student.route_top_k(logits, 6)
    order = np.argsort(-logits, axis=-1)
    same(np.asarray(experts), order, "with axes (B, T, E) in front and k = E the order differs")
    close(shares, softmax(np.take_along_axis(logits, order, -1)), "with k = E the shares differ")
    experts, shares = student.route_top_k(logits[0, 0], 1)
    close(shares, [1.0], "a single expert gets a share of one")
    for k in (0, 7):
        try:
            student.route_top_k(logits, k)
        except LearnerError as error:
            require(
                "ValueError" in str(error),
                f"k = {k} of 6 experts must raise a ValueError that says so, got: {error}",
            )
        else:
            require(False, f"k = {k} of 6 experts can't be served: raise a ValueError")
