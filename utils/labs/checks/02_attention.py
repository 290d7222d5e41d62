"""Checks of lab 02: attention by hand.

Oracles: NumPy in float64, row by row; torch's scaled_dot_product_attention for several heads.
Mistakes that learners make are recognised by what they would give.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

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
    same_gradients,
)
from utils.labs.student import LearnerError

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

HINTS = {
    "causal_mask": (
        "Row i is a query at position i, column j a key at position j. Which j may i see? Compare "
        "positions, or take one triangle of a square of True.",
        "By hand for 3 tokens: write the three rows as True and False. What do all places that are "
        "True have in common, if you look at the numbers of their row and column?",
        "A (T, T) tensor of dtype bool: torch.ones(..., dtype=torch.bool) and its lower triangle, "
        "diagonal included.",
    ),
    "scaled_dot_product_attention": (
        "Three steps: a score for every query and key, a softmax that turns each query's scores "
        "into weights, and the weighted average of the values.",
        "By hand: one query (2, 0, 0, 0), two keys (1, 0, 0, 0) and (0, 1, 0, 0), values 10 and "
        "20. What are the two scores, what are they divided by, what do the two weights sum to? "
        "And which score must a hidden key have, so that its weight is 0?",
        "Refuse a mask that is not bool, or has a row without True. scores (..., T, S) from q and "
        "the transpose of k's last two axes, divided by sqrt(K); -inf where the "
        "mask is False; softmax over the last axis; times v.",
    ),
    "apply_rope": (
        "The two channels of a pair are an arrow on paper, and they stand K/2 apart. Turning it "
        "makes two new numbers of the old two: which slices of x hold the first of all pairs, and "
        "which the second?",
        "By hand: one token with the channels (1, 2, 3, 4) has two pairs. Which two? Turn the "
        "first by 90 degrees (cos 0, sin 1) and leave the second (cos 1, sin 0). Where do the four "
        "results stand?",
        "Refuse cos that does not end in (T, K/2), or differs from sin in shape. Split x into its "
        "first and second half along the last axis, each (..., T, K/2); turn them with cos and "
        "sin, which broadcast; put the halves together again, in the dtype of x.",
    ),
    "multi_head_attention": (
        "Project, cut the last axis into heads, attend in each head alone, put the heads side by "
        "side, project back. Where query heads share keys and values, neighbours share them.",
        "On paper: B = 1, T = 2, two heads of width 3. Number the six channels of each token's "
        "query. Which belong to head 1? Which reshape brings them together, and which would mix "
        "two tokens? With 4 heads and 2 key-value heads: which does head 1 read, which head 2?",
        "K = w_q.shape[0] // n_heads. (B, T, H * K) -> view (B, T, H, K) -> transpose to "
        "(B, H, T, K), keys and values likewise with n_kv_heads; apply_rope to queries and keys "
        "where cos is given; repeat_interleave keys and values along the heads to H of them; "
        "attend with causal_mask(T); transpose back before you join the heads; times w_o.T.",
    ),
    "streaming_attention": (
        "Keep three things per query: the largest score so far, the sum of exp(score - largest), "
        "and the sum of exp(score - largest) * value. What happens to the sums when a new block "
        "holds a larger score?",
        "By hand: one query whose scores come in two blocks, (0, 1) and (3). After the first the "
        "largest is 1 and the sum is exp(-1) + exp(0). After both it must be exp(-3) + exp(-2) + "
        "exp(0). By which factor do you get from the old part to the new?",
        "Start with a maximum of -inf and sums of 0. Per block: scores divided by sqrt(K), -inf "
        "for keys after the query (their positions begin at the block's start); new_max = "
        "maximum(old_max, block's max); scale both sums by exp(old_max - new_max), add the "
        "block's share with weights exp(score - new_max); divide at the end.",
    ),
}


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Return normal random numbers in float32."""
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def softmax(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return a softmax in float64."""
    scores = scores.astype(np.float64)
    weights = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


def attend(q, k, v, mask=None, scale=None, hidden=-np.inf) -> np.ndarray:
    """Return attention in float64 for (T, K), (S, K), (S, K_v)."""
    scores = q.astype(np.float64) @ k.T.astype(np.float64)
    scores = scores / (np.sqrt(q.shape[-1]) if scale is None else scale)
    if mask is not None:
        scores = np.where(mask, scores, hidden)
    return softmax(scores) @ v


def lower(n: int, offset: int = 0) -> np.ndarray:
    """Return which of n keys each of n queries may see."""
    return np.tri(n, k=offset, dtype=bool)


def torch_attention(q, k, v, mask=None, is_causal=False):
    """Return attention by torch's function."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)


def by_torch(*arrays: np.ndarray, is_causal: bool = False) -> np.ndarray:
    """Return attention by torch's function in float64, for arrays q, k, v and maybe a mask."""
    wide = [
        torch.from_numpy(a) if a.dtype == bool else torch.from_numpy(a).double() for a in arrays
    ]
    return torch_attention(*wide, is_causal=is_causal).numpy()


@exercise_check("causal_mask", points=1, title="shape and dtype")
def _(student, rng):
    mask = student.causal_mask(4)
    require(isinstance(mask, np.ndarray), f"return a tensor, got {type(mask).__name__}")
    require(mask.shape == (4, 4), f"causal_mask(4) has the shape (4, 4), and yours {mask.shape}")
    require(
        mask.dtype == np.bool_,
        f"causal_mask(4) is of dtype bool (True = may see), and yours of {mask.dtype}: a mask of "
        "numbers can't be inverted with ~",
    )


@exercise_check("causal_mask", points=1, title="who may see whom")
def _(student, rng):
    n = int(rng.integers(5, 12))
    mask = np.asarray(student.causal_mask(n)).astype(bool)
    require(mask.shape == (n, n), f"for {n} tokens the mask is ({n}, {n}), got {mask.shape}")
    not_the_mistake(
        not mask.all(), f"your causal_mask({n}) hides nothing: hide from each token those after it"
    )
    not_the_mistake(
        not np.array_equal(mask, ~lower(n)),
        f"your causal_mask({n}) is inverted: True means that the query may see the key, and it may "
        "see itself and the past",
    )
    not_the_mistake(
        not np.array_equal(mask, lower(n).T),
        f"your causal_mask({n}) is transposed: row i is the query, and it sees columns 0 to i, the "
        "lower triangle",
    )
    not_the_mistake(
        not np.array_equal(mask, lower(n, -1)),
        f"in your causal_mask({n}) the diagonal is missing: let a token see itself too",
    )
    not_the_mistake(
        not np.array_equal(mask, lower(n, 1)),
        f"your causal_mask({n}) leaks by one: it lets a token see its successor, the very token "
        "that it should predict",
    )
    same(mask, lower(n), f"{n} tokens: row i must be True for columns 0 to i and False after")
    same(np.asarray(student.causal_mask(1)), lower(1), "one token sees itself: the mask is (1, 1)")
    for n in (80, 1100):
        same(
            np.asarray(student.causal_mask(n)).sum(-1),
            np.arange(1, n + 1),
            f"for {n} tokens row i is True i + 1 times",
        )


SDPA = "scaled_dot_product_attention"


@exercise_check(SDPA, points=1, title="shapes")
def _(student, rng):
    q, k, v = normal(rng, 5, 8), normal(rng, 7, 8), normal(rng, 7, 3)
    with in_case("5 queries, 7 keys, and no mask (None)"):
        out = student.scaled_dot_product_attention(q, k, v)
    require(
        isinstance(out, np.ndarray),
        f"return one tensor, the average of the values, got {type(out).__name__}",
    )
    require(
        out.shape == (5, 3),
        f"5 queries and values of width 3 give (5, 3), got {out.shape}: one row per query",
    )
    require(out.dtype == np.float32, f"float32 in, float32 out, got {out.dtype}")
    for shape in ((1, 4), (1, 1, 4), (1, 1, 1, 1), (1, 3, 2, 4), (2, 1, 1, 3)):
        q = normal(rng, *shape)
        out = student.scaled_dot_product_attention(q, q, q)
        require(
            np.shape(out) == shape,
            f"q, k and v of shape {shape} give the same shape, axes of one included, "
            f"got {np.shape(out)}",
        )


@exercise_check(SDPA, points=2, title="values without a mask")
def _(student, rng):
    T, S, K = int(rng.choice([3, 4, 6, 7])), int(rng.integers(9, 14)), 16
    q, k, v = normal(rng, T, K), normal(rng, S, K), normal(rng, S, 5)
    out, want = student.scaled_dot_product_attention(q, k, v), attend(q, k, v)
    scores = q @ k.T / np.sqrt(K)
    of_keys = "divide by the square root of the width K of a query: yours is that of the number of"
    recognise(
        out,
        want,
        [
            (attend(q, k, v, scale=1.0), "your scores are not scaled: divide them by sqrt(K)"),
            (attend(q, k, v, scale=K), "your scores are divided by K: divide by sqrt(K), not by K"),
            (attend(q, k, v, scale=np.sqrt(S)), f"{of_keys} keys"),
            (attend(q, k, v, scale=np.sqrt(T)), f"{of_keys} queries"),
            (
                attend(q, k, v, scale=np.sqrt(5)),
                "divide by the square root of K, the width of a query: yours is that of the width "
                "of the values",
            ),
            (
                softmax(scores, axis=0) @ v,
                "your softmax runs over the queries: each query's weights must sum to one, so take "
                "the last axis, the keys",
            ),
            (scores @ v, "your result has no softmax in it: scores are no weights yet"),
        ],
    )
    close(out, want, "each row is softmax(q k^T / sqrt(K)) times v", atol=2e-5)
    k, v = k[:T], v[:T]  # as many keys as queries, and still no mask
    out, want = student.scaled_dot_product_attention(q, k, v), attend(q, k, v)
    recognise(
        out,
        want,
        [
            (
                attend(q, k, v, lower(T)),
                "your result has later keys hidden, and no mask was given: hide nothing then, also "
                "where T = S",
            )
        ],
    )
    close(out, want, "as many queries as keys, without a mask", atol=2e-5)
    wide = [a.astype(np.float64) for a in (q, k, v)]
    out = student.scaled_dot_product_attention(*wide)
    close(out, attend(*wide), "float64 in, float64 precision out", atol=1e-12, rtol=1e-9)


@exercise_check(SDPA, points=2, title="values with a mask")
def _(student, rng):
    T = int(rng.integers(4, 9))
    q, k, v = normal(rng, T, 8), normal(rng, T, 8), normal(rng, T, 6)
    out, want = student.scaled_dot_product_attention(q, k, v, lower(T)), attend(q, k, v, lower(T))
    inverted = ~lower(T)
    inverted[-1] = True
    not_the_mistake(
        not resembles(np.asarray(out)[: T - 1], attend(q, k, v, inverted)[: T - 1]),
        "your result has the mask the wrong way round: True means that the query may see the key",
    )
    unscaled = np.where(lower(T), softmax(q @ k.T / np.sqrt(8)), 0.0) @ v
    recognise(
        out,
        want,
        [
            (
                attend(q, k, v),
                "your result is the one without a mask: hide the scores where the mask is False",
            ),
            (
                attend(q, k, v, lower(T), hidden=0.0),
                "your hidden scores are set to 0, and exp(0) is 1: set them to -inf before the "
                "softmax",
            ),
            (
                unscaled,
                "your weights are hidden after the softmax, so that they no longer sum to one: "
                "hide the scores before it",
            ),
        ],
    )
    close(out, want, "attention with a causal mask", atol=2e-5)
    any_mask = rng.random((T, T)) < 0.5
    any_mask[np.arange(T), rng.integers(0, T, T)] = True
    any_mask[0, -1] = True  # the first query sees the last key, which a causal mask would hide
    out = student.scaled_dot_product_attention(q, k, v, any_mask)
    close(out, attend(q, k, v, any_mask), "another mask, which is not causal", atol=2e-5)
    low = np.full((3, 4), -100.0, np.float32)
    low[2] = 0  # a hidden key of score 0 beside two of -20,000 that are seen
    out = student.scaled_dot_product_attention(
        np.full((2, 4), 100, np.float32), low, v[:3], np.array([[True, True, False]] * 2)
    )
    want = np.stack([v[:2].mean(0, dtype=np.float64)] * 2)
    recognise(
        out,
        want,
        [
            (
                np.stack([v[2]] * 2),
                "your result is the value of the hidden key alone, where all others have scores of "
                "-20,000: hide it by -inf, not by a number that a score may fall below",
            )
        ],
    )
    close(out, want, "two keys of score -20,000 that are seen, one of 0 that is not", atol=1e-2)


@exercise_check(SDPA, points=1, title="axes in front, and what must stay")
def _(student, rng):
    q, k, v = (normal(rng, 2, 3, 5, 4) for _ in range(3))
    with in_case("q, k, v with axes for batch and heads in front: (2, 3, 5, 4)"):
        out = student.scaled_dot_product_attention(q, k, v, lower(5))
    left_alone(student, q=q, k=k, v=v, mask=lower(5))
    want = by_torch(q, k, v, is_causal=True)
    close(out, want, "q, k, v with axes (B, H) in front, causal", atol=2e-5)
    padding = np.ones((2, 1, 1, 5), bool)
    padding[1, ..., :2] = False  # the second row of the batch starts with two padding tokens
    with in_case("a mask of shape (B, 1, 1, S), which broadcasts to (B, H, T, S)"):
        out = student.scaled_dot_product_attention(q, k, v, padding)
    left_alone(student, q=q, k=k, v=v, mask=padding)
    close(
        out,
        by_torch(q, k, v, padding),
        "a mask of shape (B, 1, 1, S), which hides padding",
        atol=2e-5,
    )


@exercise_check(SDPA, points=1, title="gradients, and large scores")
def _(student, rng):
    q, k, v = (normal(rng, 2, 5, 4) for _ in range(3))
    same_gradients(student, SDPA, torch_attention, rng, q=q, k=k, v=v)
    mask = lower(5)
    got = student.gradients(SDPA, q, k, v, mask)
    for name, gradient in zip("qkv", got, strict=False):
        require(
            np.isfinite(gradient).all(), f"with a causal mask the gradient of {name} is not finite"
        )
    q, k = q * 60, k * 60
    out = student.scaled_dot_product_attention(q, k, v, mask)
    want = by_torch(q, k, v, is_causal=True)
    scores = torch.from_numpy(q) @ torch.from_numpy(k).mT / 2
    bare = scores.masked_fill(torch.from_numpy(~mask), -torch.inf).exp()
    bare = (bare / bare.sum(-1, keepdim=True)) @ torch.from_numpy(v)
    late = (scores.exp() / scores.exp().sum(-1, keepdim=True)).nan_to_num(7e7)
    recognise(
        out,
        want,
        [
            (
                naive.numpy(),
                "in your result exp has overflown at large scores: subtract each row's maximum "
                "first, or use torch.softmax",
            )
            for naive in (bare, late)
        ],
    )
    close(out, want, "scores of several thousand, with a causal mask", atol=1e-2)
    for name, gradient in zip("qkv", student.gradients(SDPA, q, k, v, mask), strict=False):
        require(
            np.isfinite(gradient).all(),
            f"scores of several thousand: the gradient of {name} is not finite",
        )


@exercise_check(SDPA, points=1, title="masks that are refused", is_core=False)
def _(student, rng):
    q = normal(rng, 2, 3, 3, 4)
    attention = student.scaled_dot_product_attention
    close(attention(q, q, q), by_torch(q, q, q), "without a mask", atol=2e-5)
    for row in (0, 1, 2):
        mask = lower(3)
        mask[row] = False
        refused(
            lambda mask=mask: attention(q[0, 0], q[0, 0], q[0, 0], mask),
            f"query {row} of 3 may see no key, so that nothing can be averaged",
        )
    mask = np.tile(lower(3), (2, 1, 1, 1))
    mask[1, 0, 2] = False
    refused(
        lambda: attention(q, q, q, mask),
        "a query of the second row of the batch may see no key (mask (B, 1, T, S))",
    )
    for kind in (np.float32, np.int64):
        refused(
            lambda kind=kind: attention(q[0, 0], q[0, 0], q[0, 0], lower(3).astype(kind)),
            f"a mask that holds numbers ({np.dtype(kind)}) instead of True and False",
        )


def turned(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return rotary positions in float64: complex numbers, halves convention."""
    half = x.shape[-1] // 2
    pairs = x[..., :half].astype(np.float64) + 1j * x[..., half:]
    pairs = pairs * np.exp(1j * angles)
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


def torch_turned(x, cos, sin):
    """Return rotary positions as complex numbers, in torch."""
    points = torch.complex(*x.chunk(2, -1)) * torch.complex(cos, sin)
    return torch.cat([points.real, points.imag], dim=-1)


def table(n: int, d_head: int, first: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return angles, cosines and sines of n positions."""
    speeds = 100.0 ** (-np.arange(0, d_head, 2) / d_head)
    angles = np.arange(first, first + n)[:, None] * speeds
    return angles, np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@exercise_check("apply_rope", points=1, title="a quarter turn by hand")
def _(student, rng):
    x = np.array([[1.0, 2.0]], np.float32)
    zero, one = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)
    out = student.apply_rope(x, zero, one)
    left_alone(student, x=x, cos=zero, sin=one)
    want = np.array([[-2.0, 1.0]])
    other = "your pair is turned the other way: (a, b) becomes (a cos - b sin, a sin + b cos)"
    recognise(out, want, [([[2.0, -1.0]], other)])
    close(out, want, "the pair (1, 2) turned by 90 degrees is (-2, 1)")
    close(student.apply_rope(x, one, zero), x, "turned by nothing, the pair stays as it is")


@exercise_check("apply_rope", points=2, title="positions and pairs")
def _(student, rng):
    T, K = int(rng.integers(4, 9)), 8
    angles, cos, sin = table(T, K)
    x = normal(rng, T, K)
    out = student.apply_rope(x, cos, sin)
    left_alone(student, x=x, cos=cos, sin=sin)
    want = turned(x, angles)
    neighbours = np.empty_like(x)
    a, b = x[:, ::2], x[:, 1::2]
    neighbours[:, ::2], neighbours[:, 1::2] = a * cos - b * sin, a * sin + b * cos
    apart = want.reshape(T, 2, K // 2).swapaxes(1, 2).reshape(T, K)
    recognise(
        out,
        want,
        [
            (x, "x came out as it went in: turn its pairs"),
            (
                neighbours,
                "you pair neighbouring channels: pair i is channel i and channel i + K/2",
            ),
            (
                np.concatenate([neighbours[:, ::2], neighbours[:, 1::2]], axis=-1),
                "you pair neighbouring channels, x[..., ::2] with x[..., 1::2]: pair i is channel "
                "i and channel i + K/2",
            ),
            (
                apart,
                "you put the halves together pair by pair: the results of pair i belong to channel "
                "i and channel i + K/2, as they were",
            ),
            (
                turned(x, angles[1:2]),
                "your tokens are all turned alike: row t of cos and sin belongs to token t",
            ),
            (turned(x, -angles), "your pairs are turned the other way: check the signs of sin"),
        ],
    )
    close(out, want, "token t is turned by row t of cos and sin", atol=2e-5)


@exercise_check("apply_rope", points=1, title="axes in front, lengths and gradients")
def _(student, rng):
    T, K = int(rng.integers(3, 7)), 6
    angles, cos, sin = table(T, K)
    x = normal(rng, 2, 3, T, K)
    with in_case(f"x with axes for batch and heads in front: (2, 3, {T}, {K})"):
        out = student.apply_rope(x, cos, sin)
    require(np.shape(out) == x.shape, f"x (2, 3, {T}, {K}) keeps its shape, got {np.shape(out)}")
    close(out, turned(x, angles), "axes for batch and heads in front of (T, K)", atol=2e-5)
    with in_case("cos and sin with axes in front that broadcast: (1, 1, T, K/2)"):
        again = student.apply_rope(x, cos[None, None], sin[None, None])
    close(again, turned(x, angles), "cos and sin of shape (1, 1, T, K/2)", atol=2e-5)
    later = [
        np.stack(pair)[:, None] for pair in zip((angles, cos, sin), table(T, K, 5), strict=True)
    ]
    with in_case("cos and sin with rows of their own for each row of the batch: (2, 1, T, K/2)"):
        again = student.apply_rope(x, later[1], later[2])
    close(
        again,
        turned(x, later[0]),
        "cos and sin of shape (2, 1, T, K/2): each row of the batch has positions of its own",
        atol=2e-5,
    )
    lengths = np.linalg.norm(np.asarray(out), axis=-1)
    close(
        lengths,
        np.linalg.norm(x, axis=-1),
        "the length of each vector, which turning does not change",
    )
    one = student.apply_rope(x[:1, :1, :1], cos[:1], sin[:1])
    require(np.shape(one) == (1, 1, 1, K), f"(1, 1, 1, {K}) keeps its shape, got {np.shape(one)}")
    half = student.apply_rope(x.astype(np.float16), cos, sin)
    require(
        half.dtype == np.float16,
        f"the result has the dtype of x: float16 in, float16 out, got {half.dtype}",
    )
    same_gradients(student, "apply_rope", torch_turned, rng, x=x[0], cos=cos, sin=sin)


@exercise_check("apply_rope", points=1, title="wrong shapes are refused", is_core=False)
def _(student, rng):
    angles, cos, sin = table(4, 8)
    x = normal(rng, 4, 8)
    close(student.apply_rope(x, cos, sin), turned(x, angles), "with shapes that fit", atol=2e-5)
    for x_shape, c, s in (
        ((1, 8), cos, sin),
        ((4, 8), cos[:1], sin[:1]),
        ((3, 8), cos, sin),
        ((4, 8), cos[:, :1], sin[:, :1]),
        ((4, 8), cos.repeat(2, -1), sin.repeat(2, -1)),
        ((4, 8), cos, sin[:1]),
    ):
        refused(
            lambda x=x[: x_shape[0]], c=c, s=s: student.apply_rope(x, c, s),
            f"x {x_shape} with cos {c.shape} and sin {s.shape} disagrees on tokens or channels",
        )


def weights(rng, d_model: int, n_heads: int, n_kv_heads: int, d_head: int) -> list[np.ndarray]:
    """Return w_q, w_k, w_v, w_o."""
    kv = n_kv_heads * d_head
    shapes = [(n_heads * d_head, d_model), (kv, d_model), (kv, d_model)]
    shapes.append((d_model, n_heads * d_head))
    return [normal(rng, *shape, scale=d_model**-0.5) for shape in shapes]


def many_heads(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, angles=None, share=None, **options):
    """Return multi-head attention head by head in float64; options spoil it as learners do."""
    d_head = w_q.shape[0] // n_heads
    group = n_heads // n_kv_heads
    share, shared = share or (lambda h: h // group), options.get("shared", "kv")
    who = options.get("turned", "qk")
    out = []
    for row in x.astype(np.float64):
        parts = {"q": row @ w_q.T, "k": row @ w_k.T, "v": row @ w_v.T}
        heads = []
        for h in range(n_heads):
            cut = {}
            for name, part in parts.items():
                at = h if name == "q" else share(h) if name in shared else h // group
                cut[name] = part[:, at * d_head : (at + 1) * d_head]
                if angles is not None and name in who:
                    cut[name] = turned(cut[name], angles)
            mask = lower(len(row)) if options.get("causal", True) else None
            heads.append(attend(cut["q"], cut["k"], cut["v"], mask, options.get("scale")))
        out.append(np.concatenate(heads, axis=-1) @ w_o.T)
    return np.stack(out)


def torch_heads(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads):
    """Return multi-head attention without positions by torch's functions."""
    q, k, v = (
        F.linear(x, w).unflatten(-1, (n, -1)).transpose(1, 2)
        for w, n in ((w_q, n_heads), (w_k, n_kv_heads), (w_v, n_kv_heads))
    )
    heads = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return F.linear(heads.transpose(1, 2).flatten(-2), w_o)


HEAD_BY_HEAD = "the result is attention head by head, joined and projected"


@exercise_check("multi_head_attention", points=2, title="as many key-value heads as heads")
def _(student, rng):
    B, T, D, H, K = 2, int(rng.integers(4, 8)), 12, 3, 4
    x, w = normal(rng, B, T, D), weights(rng, D, H, H, K)
    with in_case(f"x (2, {T}, {D}), {H} heads, and no cos and sin (None)"):
        out = student.multi_head_attention(x, *w, H, H)
    left_alone(student, x=x, w_q=w[0], w_k=w[1], w_v=w[2], w_o=w[3])
    require(np.shape(out) == x.shape, f"x {x.shape} gives the same shape, got {np.shape(out)}")
    want = many_heads(x, *w, H, H)
    q, k, v = (np.einsum("btd,ed->bte", x, m).reshape(B, H, T, K) for m in w[:3])
    mixed = F.scaled_dot_product_attention(*map(torch.from_numpy, (q, k, v)), is_causal=True)
    heads = many_heads(x, *w[:3], np.eye(H * K), H, H).reshape(B, T, H, K).transpose(0, 2, 1, 3)
    by_view = (
        "your heads are cut by a view to (B, H, T, K), which mixes tokens and channels: view to "
        "(B, T, H, K), then transpose"
    )
    recognise(
        out,
        want,
        [
            (x, "x came out as it went in: project it, attend, and project back"),
            (
                many_heads(x, *w, H, H, causal=False),
                "your result is the one without a causal mask: pass causal_mask(T)",
            ),
            (
                many_heads(x, *w, H, H, scale=np.sqrt(D)),
                "your scores are divided by sqrt(d_model): the scale is that of a head, sqrt(K) "
                "with K = d_head",
            ),
            (
                many_heads(x, *w, H, H, scale=K),
                "your scores are scaled twice: scaled_dot_product_attention divides by sqrt(K) "
                "already",
            ),
            (
                many_heads(x, *w, 1, 1),
                "your heads are all one: cut queries, keys and values into heads before you attend",
            ),
            *(
                (joined.numpy() @ w[3].T, by_view)
                for joined in (mixed.transpose(1, 2).reshape(B, T, -1), mixed.reshape(B, T, -1))
            ),
            (
                heads.reshape(B, T, H * K) @ w[3].T,
                "your heads are joined without a transpose back: (B, H, T, K) -> (B, T, H, K) -> "
                "(B, T, H * K)",
            ),
            (want + x, "your result has x added to it: leave that to the block"),
            (
                many_heads(x, *w[:3], np.eye(D), H, H),
                "your result is the one without w_o: project the joined heads",
            ),
            *(
                (
                    many_heads(x, *(m.T if n == k else m for k, m in enumerate(w)), H, H),
                    f"you multiply by {name} as it is: that of nn.Linear is turned, so multiply by "
                    f"{name}.T",
                )
                for n, name in enumerate(("w_q", "w_k", "w_v", "w_o"))
            ),
            (
                many_heads(x, *(m.T for m in w), H, H),
                "you multiply by the four matrices as they are: those of nn.Linear are turned, so "
                "x @ w_q.T",
            ),
        ],
    )
    close(out, want, HEAD_BY_HEAD, atol=2e-5)


@exercise_check("multi_head_attention", points=2, title="shared key-value heads")
def _(student, rng):
    B, T, D, H, K = 2, 5, 16, 4, 6
    for n_kv_heads in (2, 1):
        x, w = normal(rng, B, T, D), weights(rng, D, H, n_kv_heads, K)
        case = f"d_model {D}, {H} heads and {n_kv_heads} key-value heads of width {K}"
        with in_case(f"{case}: w_q {w[0].shape}, w_k {w[1].shape}"):
            out = student.multi_head_attention(x, *w, H, n_kv_heads)
        want = many_heads(x, *w, H, n_kv_heads)
        tiled, keys, values = (
            many_heads(x, *w, H, n_kv_heads, share=lambda h, n=n_kv_heads: h % n, shared=which)
            for which in ("kv", "k", "v")
        )
        in_turn = (
            "your query heads take the key-value heads in turn (0, 1, 0, 1): neighbours share one, "
            "0, 0, 1, 1, so use repeat_interleave, not repeat"
        )
        one = "are taken in turn (0, 1, 0, 1), as your {} are not: neighbours share one, 0, 0, 1, 1"
        slips = [(tiled, in_turn), (keys, f"your keys {one.format('values')}")]
        recognise(out, want, [*slips, (values, f"your values {one.format('keys')}")])
        close(out, want, f"{case}: {HEAD_BY_HEAD}", atol=2e-5)


@exercise_check("multi_head_attention", points=1, title="positions")
def _(student, rng):
    B, T, D, H, K = 2, int(rng.integers(5, 9)), 8, 2, 4
    x, w = normal(rng, B, T, D), weights(rng, D, H, 1, K)
    angles, cos, sin = table(T, K)
    out = student.multi_head_attention(x, *w, H, 1, cos, sin)
    want = many_heads(x, *w, H, 1, angles)
    recognise(
        out,
        want,
        [
            (
                many_heads(x, *w, H, 1),
                "your result is the one without positions: turn queries and keys with cos and sin",
            ),
            (
                many_heads(x, *w, H, 1, angles, turned="q"),
                "your queries alone are turned: turn the keys too",
            ),
            (
                many_heads(x, *w, H, 1, angles, turned="k"),
                "your keys alone are turned: turn the queries too",
            ),
            (
                many_heads(x, *w, H, 1, angles, turned="qkv"),
                "your values are turned too: turn queries and keys alone",
            ),
            (
                many_heads(x, *w, H, 1, -angles),
                "your queries and keys are turned the other way: apply_rope(..., cos, sin) turns "
                "by plus the angle",
            ),
        ],
    )
    close(out, want, "queries and keys turned by their positions, then attention", atol=2e-5)


@exercise_check("multi_head_attention", points=1, title="the future changes nothing before it")
def _(student, rng):
    B, T, D, H, K = 1, 7, 8, 2, 4
    x, w = normal(rng, B, T, D), weights(rng, D, H, H, K)
    before = student.multi_head_attention(x, *w, H, H)
    require(
        not resembles(before, x),
        "x came out as it went in: let each token attend to those before it",
    )
    changed = x.copy()
    changed[:, 4:] += 1.0
    after = student.multi_head_attention(changed, *w, H, H)
    close(
        np.asarray(after)[:, :4],
        np.asarray(before)[:, :4],
        "tokens 4 to 6 were changed, and the results of tokens 0 to 3 changed with them",
        atol=1e-5,
    )
    require(
        not np.allclose(np.asarray(after)[:, 4:], np.asarray(before)[:, 4:]),
        "tokens 4 to 6 were changed, and their results did not change with them",
    )


@exercise_check("multi_head_attention", points=1, title="gradients, and a batch of one token")
def _(student, rng):
    D, H, K = 8, 4, 4
    w = dict(zip(("w_q", "w_k", "w_v", "w_o"), weights(rng, D, H, 2, K), strict=True))
    x = normal(rng, 1, 1, D)
    out = student.multi_head_attention(x, *w.values(), H, 2)
    require(np.shape(out) == (1, 1, D), f"x (1, 1, {D}) keeps its shape, got {np.shape(out)}")
    close(out, many_heads(x, *w.values(), H, 2), "one token attends to itself", atol=2e-5)
    x = normal(rng, 2, 5, D)
    same_gradients(student, "multi_head_attention", torch_heads, rng, others=(H, 2), x=x, **w)


def streamed(q, k, v, size, is_causal=True, seen=None, rescale="both", top="own", start_at=-np.inf):
    """Return streaming attention in float32, spoilt by the options as learners do.

    Args:
        q, k, v: (T, K), (S, K), (S, K_v).
        size: keys per block.
        is_causal: hide later keys.
        seen: function (start, place in the block, query) -> may be seen; None for causal.
        rescale: which sums are scaled when the maximum grows: both, total, output or none.
        top: maximum of a block: own for each query, shared by all, none (0), or of hidden keys too.
        start_at: running maximum before the first block.
    """
    seen = seen or (lambda start, j, i: start + j <= i)
    q, k, v = (np.asarray(a, np.float32) for a in (q, k, v))
    T, S = len(q), len(k)
    maximum = np.full((T, 1), start_at, np.float32)
    total, output = np.zeros((T, 1), np.float32), np.zeros((T, v.shape[1]), np.float32)
    with np.errstate(all="ignore"):
        for start in range(0, S, size):
            bare = q @ k[start : start + size].T / np.float32(np.sqrt(q.shape[1]))
            places = np.arange(bare.shape[1])
            keep = seen(start, places[None], np.arange(T)[:, None]) if is_causal else True
            scores = np.where(keep, bare, np.float32(-np.inf))
            own = (bare if top == "hidden" else scores).max(-1, keepdims=True)
            own = np.full_like(own, own.max()) if top == "shared" else own
            new = np.zeros_like(maximum) if top == "none" else np.maximum(maximum, own)
            factor, shares = np.exp(maximum - new), np.exp(scores - new)
            total = (
                total * (factor if rescale in ("both", "total") else 1) + shares.sum(-1)[:, None]
            )
            output = output * (factor if rescale in ("both", "output") else 1)
            output = output + shares @ v[start : start + size]
            maximum = new
        return output / total


NOT_SCALED = {
    "none": "your sums are not rescaled when a block raises the maximum: rescale both",
    "output": "your sum of exponentials is not rescaled when a block raises the maximum, as that "
    "of values is",
    "total": "your sum of weighted values is not rescaled when a block raises the maximum, as that "
    "of exponentials is",
}


@exercise_check("streaming_attention", points=2, title="several blocks, all keys seen")
def _(student, rng):
    T, S, K = int(rng.integers(3, 7)), 12, 8
    q, k, v = normal(rng, T, K, scale=2), normal(rng, S, K, scale=2), normal(rng, S, 5)
    with in_case(f"{T} queries and 12 keys in blocks of 4, is_causal=False"):
        out, want = student.streaming_attention(q, k, v, 4, False), attend(q, k, v)
    left_alone(student, q=q, k=k, v=v)
    require(np.shape(out) == (T, 5), f"{T} queries give ({T}, 5), got {np.shape(out)}")
    blocks = [attend(q, k[i : i + 4], v[i : i + 4]) for i in (0, 4, 8)]
    alone = (
        "in your result each block has a softmax of its own: let all blocks share one sum of "
        "exponentials"
    )
    recognise(
        out,
        want,
        [
            (np.mean(blocks, axis=0), alone),
            (np.sum(blocks, axis=0), alone),
            (blocks[-1], "your result is that of the last block alone: add to what was before"),
            (blocks[0], "your result is that of the first block alone: go on to the next ones"),
            (attend(q, k, v, scale=1.0), "your scores are not scaled: divide them by sqrt(K)"),
            *((streamed(q, k, v, 4, False, rescale=r), h) for r, h in NOT_SCALED.items()),
        ],
    )
    close(out, want, "12 keys in blocks of 4: the same as attention over all at once", atol=5e-5)
    q = normal(rng, 12, K, scale=2)
    out, want = student.streaming_attention(q, k, v, 4, False), attend(q, k, v)
    hides = (
        "your result has later keys hidden, with is_causal=False, where there are as many queries "
        "as keys: hide none"
    )
    recognise(out, want, [(attend(q, k, v, lower(12)), hides)])
    close(out, want, "12 queries and 12 keys in blocks of 4, is_causal=False", atol=5e-5)


@exercise_check("streaming_attention", points=2, title="causal, with a shorter last block")
def _(student, rng):
    T = int(rng.choice([7, 10, 11, 13]))
    q, k, v = normal(rng, T, 8), normal(rng, T, 8), normal(rng, T, 6)
    want = attend(q, k, v, lower(T))
    for size in (3, 4, 1, T, T + 5):
        if size != 1 and size < T and T % size == 0:
            continue
        with in_case(f"{T} tokens in blocks of {size}"):
            out = student.streaming_attention(q, k, v, size)
        full = T - T % size
        short = attend(q, k[:full], v[:full], lower(T)[:, :full]) if 0 < full < T else want
        recognise(
            out,
            want,
            [
                (
                    attend(q, k, v),
                    "your result has nothing hidden: with is_causal, query i sees keys 0 to i",
                ),
                (
                    short,
                    f"your result leaves out the keys behind the last full block, {T % size} of "
                    f"{T}: the last block may be shorter",
                ),
                (
                    streamed(q, k, v, size, seen=lambda start, j, i: j <= i),
                    "in your mask key j of a block stands at position j: let it stand at start + j",
                ),
                (
                    streamed(q, k, v, size, seen=lambda start, j, i: start + j <= i + 1),
                    "your mask leaks by one: it lets query i see key i + 1",
                ),
                (
                    streamed(q, k, v, size, seen=lambda start, j, i: start + j < i),
                    "in your result a query does not see itself: let query i see keys 0 to i, i "
                    "included",
                ),
                *((streamed(q, k, v, size, rescale=r), h) for r, h in NOT_SCALED.items()),
            ],
        )
        close(out, want, f"{T} tokens in blocks of {size}: query i sees keys 0 to i", atol=5e-5)


@exercise_check("streaming_attention", points=1, title="axes in front, defaults, gradients")
def _(student, rng):
    q, k, v = (normal(rng, 2, 2, 9, 4) for _ in range(3))
    with in_case("q, k, v with axes for batch and heads in front: (2, 2, 9, 4)"):
        out = student.streaming_attention(q, k, v, 4)
    left_alone(student, q=q, k=k, v=v)
    want = by_torch(q, k, v, is_causal=True)
    close(out, want, "q, k, v with axes (B, H) in front, causal", atol=5e-5)
    longer = [normal(rng, 150, 4) for _ in range(3)]
    out = student.streaming_attention(*longer)
    close(
        out, attend(*longer, lower(150)), "150 tokens without block_size and is_causal", atol=5e-5
    )
    for shape in ((1, 4), (1, 1, 1, 4), (1, 2, 3, 4)):
        one = normal(rng, *shape)
        out = student.streaming_attention(one, one, one, 2)
        require(
            np.shape(out) == shape,
            f"q, k and v of shape {shape} give the same shape, got {np.shape(out)}",
        )
    q, k, v = (normal(rng, 7, 4, scale=2) for _ in range(3))

    def formula(q, k, v, size, is_causal):
        return torch_attention(q, k, v, is_causal=is_causal)

    for is_causal in (True, False):
        others = (3, is_causal)
        same_gradients(student, "streaming_attention", formula, rng, others=others, q=q, k=k, v=v)


@exercise_check("streaming_attention", points=1, title="scores of any size")
def _(student, rng):
    v = normal(rng, 9, 4)
    grow = np.sort(normal(rng, 9, 1), axis=0) * 20  # scores that grow from block to block
    spread = np.array([[0.0], [0.1], [20.0]], np.float32)
    steps = np.linspace(-30, 30, 9, dtype=np.float32)[:, None]
    twenty, last = np.full((9, 1), 20.0, np.float32), np.zeros((4, 1), np.float32)
    last[-1] = 20
    some, first = normal(rng, 9, 1), twenty[:4].copy()
    first[-1] = 0  # the last query gives the last key a score of 0; all others may not see it
    slips = {
        "none": "in your result exp has overflown or vanished: subtract the running maximum first",
        "shared": "your queries share one running maximum, and exp vanishes for those with small "
        "scores: keep one for each query",
        "start": "your running maximum starts at 0, and very low scores vanish: start it at -inf",
        "hidden": "your running maximum is that of a hidden key with a large score: hide keys "
        "before you take the maximum",
    }
    for case, q, k, is_causal, slip in (
        ("scores between -3 and 3", some, some, True, None),
        ("scores that grow to several hundred from block to block", twenty, grow, False, "none"),
        ("queries whose scores differ by hundreds", spread, steps, False, "shared"),
        ("scores of -400 alone", twenty[:4], -twenty[:4], True, "start"),
        ("a hidden key that would have a score of 400", first, last, True, "hidden"),
    ):
        values = v[: len(k)]
        out = student.streaming_attention(q, k, values, 2, is_causal)
        want = attend(q, k, values, lower(len(k)) if is_causal else None)
        if slip is not None:
            options = {"start_at": 0.0} if slip == "start" else {"top": slip}
            spoilt = streamed(q, k, values, 2, is_causal, **options)
            recognise(out, want, [(spoilt, slips[slip])], atol=1e-4)
        close(out, want, case, atol=2e-4)


@exercise_check("streaming_attention", points=1, title="never a table of all scores")
def _(student, rng):
    # A budget that is checked: with T = 700 the whole table would hold 490,000 scores.
    T = 700
    q, k, v = normal(rng, T, 4), normal(rng, T, 4), normal(rng, T, 2)
    largest = student.largest_tensor("streaming_attention", q, k, v, 20)
    require(
        largest <= T * 24,
        f"{T} tokens in blocks of 20: you make a tensor of {largest:,} numbers, where one block of "
        f"scores has {T * 20:,}: keep to one block at a time",
    )
    T = 8000
    q, k, v = normal(rng, T, 4), normal(rng, T, 4), normal(rng, T, 2)
    with in_case("8,000 tokens in blocks of 64, where one block of scores takes 1.3 MB"):
        out = student.within(48, "streaming_attention", q, k, v, 64)
    require(
        np.shape(out) == (T, 2), f"8,000 tokens: expected the shape (8000, 2), got {np.shape(out)}"
    )
    for row in (0, *rng.integers(0, T, 2), T - 1):
        want = attend(q[row : row + 1], k[: row + 1], v[: row + 1])
        close(np.asarray(out)[row : row + 1], want, f"8,000 tokens, query {row}", atol=1e-4)


@exercise_check(
    "streaming_attention", points=1, title="what can't be answered is refused", is_core=False
)
def _(student, rng):
    q, k, v = normal(rng, 4, 4), normal(rng, 6, 4), normal(rng, 6, 2)
    out = student.streaming_attention(q, k, v, 4, False)
    close(out, attend(q, k, v), "4 queries and 6 keys, not causal", atol=5e-5)
    for n_queries, n_keys in ((4, 6), (4, 3)):
        refused(
            lambda n=n_queries, s=n_keys: student.streaming_attention(q[:n], k[:s], v[:s], 4),
            f"causal, with {n_queries} queries and {n_keys} keys: who may see whom is not said",
        )
    for size in (0, -1):
        refused(
            lambda size=size: student.streaming_attention(q, q, v[:4], size),
            f"block_size {size}",
        )


HINTS["rope_table"] = (
    "An angle is position times speed. Each pair of channels has a speed of its own; the first "
    "turns by 1 radian per position, each next one slower by the same factor.",
    "By hand for 3 positions, width 4 and theta 100: the two speeds are 100 to the power of 0 and "
    "of -2/4. What are they? Write the six angles, position times speed, a row for each position. "
    "Which product of two vectors makes such a table?",
    "exponents = torch.arange(0, d_head, 2) / d_head, speeds = 1 / theta ** exponents, angles = "
    "torch.outer(positions as floats, speeds); return angles.cos(), angles.sin(). Refuse an odd "
    "d_head first.",
)


def tables_of(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and sines of angles (T, K/2)."""
    return np.cos(angles), np.sin(angles)


def wrong_tables(T: int, K: int, theta: float) -> list[tuple[np.ndarray, np.ndarray, str]]:
    """Return the tables that slips in the formula give, each with what the slip is."""
    t, i = np.arange(T)[:, None], np.arange(K // 2)
    right = t * theta ** (-2 * i / K)
    slips = [
        (t * theta ** (-i / K), "your exponent is -i/K: it is -2i/K, twice as much"),
        (t * theta ** (2 * i / K), "your exponent is +2i/K: it is -2i/K, so that speeds fall"),
        (
            t * theta ** -(i / (K // 2 - 1)),
            "your last exponent is -1: it is -(K - 2)/K, since i runs from 0 to K/2 - 1 and is "
            "divided by K/2",
        ),
        (
            t * theta ** (-2 * (i + 1) / K),
            "your i starts at 1: start it at 0, so that pair 0 turns by 1 radian",
        ),
        (t * theta ** (-2 * i[::-1] / K), "your pairs stand in reverse: pair 0 is the fastest"),
        (t * theta ** (-4 * i / K), "your exponent is -4i/K: it is -2i/K, half as much"),
        ((t + 1) * theta ** (-2 * i / K), "your positions count from 1: the first position is 0"),
        (right * 2 * np.pi, "your angles are 2 pi times too large: a speed is in radians"),
        (np.deg2rad(right), "your angles are taken for degrees: they are radians"),
        (
            t + 0.0 * right,
            "your pairs all turn at the same speed: that of pair i is theta ** (-2i/K)",
        ),
    ]
    found = [(*tables_of(angles), hint) for angles, hint in slips]
    cos, sin = tables_of(right)
    found.append(
        (right, right, "your tables hold the angles: return their cosines and their sines")
    )
    found.append((sin, cos, "your cosines and sines are swapped: return the cosines first"))
    found.append((cos, -sin, "your sines have the wrong sign: angles grow with the position"))
    if theta != 10000.0:
        usual = tables_of(t * 10000.0 ** (-2 * i / K))
        found.append(
            (*usual, "your tables are those of theta 10000, and another theta was given: use it")
        )
    return found


def two_tables(got: object, T: int, K: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what came as two arrays of the right shape, or reject it."""
    require(
        isinstance(got, tuple | list) and len(got) == 2,
        f"return two tensors, the cosines and the sines, got {type(got).__name__}",
    )
    for name, part in zip(("cosines", "sines"), got, strict=True):
        require(
            isinstance(part, np.ndarray),
            f"the {name} are of type {type(part).__name__}: return a tensor",
        )
        require(
            part.shape != (T, K),
            f"your {name} have K = {K} columns, one for each channel: make one for each pair, K/2 "
            f"= {K // 2}",
        )
        require(
            part.shape == (T, K // 2),
            f"{T} positions and a head of width {K} give {name} of shape ({T}, {K // 2}), got "
            f"{part.shape}",
        )
    return got[0], got[1]


@exercise_check("rope_table", points=1, title="two tables, a row for each position")
def _(student, rng):
    cos, sin = two_tables(student.rope_table(3, 4, 100.0), 3, 4)
    slow = np.array([[0.0, 0.0], [1.0, 0.1], [2.0, 0.2]])
    close(
        cos, np.cos(slow), "3 positions, width 4, theta 100: the angles are 0, 1, 2 and 0, 0.1, 0.2"
    )
    close(
        sin, np.sin(slow), "3 positions, width 4, theta 100: the angles are 0, 1, 2 and 0, 0.1, 0.2"
    )


@exercise_check("rope_table", points=2, title="speeds at other widths and thetas")
def _(student, rng):
    T, K = int(rng.integers(5, 12)), 2 * int(rng.integers(4, 12))
    for theta in (float(rng.integers(200, 2000)), 500000.0, None):
        arguments = (T, K) if theta is None else (T, K, theta)
        theta = theta or 10000.0
        with in_case(f"{T} positions and a head of width {K}"):
            cos, sin = two_tables(student.rope_table(*arguments), T, K)
        for wrong_cos, wrong_sin, hint in wrong_tables(T, K, theta):
            is_it = resembles(cos, wrong_cos) and resembles(sin, wrong_sin)
            not_the_mistake(not is_it, f"rope_table{arguments}: {hint}")
        angles = np.arange(T)[:, None] * theta ** (-np.arange(0, K, 2) / K)
        close(
            cos, np.cos(angles), f"the cosines of rope_table{arguments}, cos(t * theta ** (-2i/K))"
        )
        close(sin, np.sin(angles), f"the sines of rope_table{arguments}, sin(t * theta ** (-2i/K))")
    with in_case("one position and a head of width 2"):
        one = two_tables(student.rope_table(1, 2), 1, 2)
    close(one[0], [[1.0]], "one position, one pair: position 0 is not turned")
    close(one[1], [[0.0]], "one position, one pair: position 0 is not turned")


@exercise_check("rope_table", points=1, title="far positions, float32, widths that can't be paired")
def _(student, rng):
    T, K = 1025, 8
    cos, sin = two_tables(student.rope_table(T, K), T, K)
    require(
        cos.dtype == np.float32 and sin.dtype == np.float32,
        f"the tables are float32, got {cos.dtype} and {sin.dtype}",
    )
    angles = np.arange(T)[:, None] * 10000.0 ** (-np.arange(0, K, 2) / K)
    far = "positions 0 to 1,024 at width 8, in float32: the angle is t * theta ** (-2i/K)"
    close(cos, np.cos(angles), far, atol=2e-3)
    close(sin, np.sin(angles), far, atol=2e-3)
    for width in (5, 1, 0):
        try:
            student.rope_table(3, width)
        except LearnerError as error:
            require(
                str(error).startswith("ValueError"),
                f"raise a ValueError for d_head = {width}, got {error}",
            )
        else:
            require(
                False,
                f"d_head = {width} can't be cut into pairs: raise a ValueError that says so; "
                "nothing was raised",
            )
