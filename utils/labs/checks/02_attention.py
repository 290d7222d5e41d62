"""Checks of lab 02: attention by hand.

Oracles: NumPy in float64, row by row; torch's scaled_dot_product_attention for several heads.
Mistakes that learners make are recognised by what they would give.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from utils.labs.checking import Check, close, collector, in_case, require, resembles, same
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
        "Refuse a mask with a row without True. scores (..., T, S) from q and the transpose of k's "
        "last two axes, divided by sqrt(K); -inf where the mask is False; softmax over the last "
        "axis; times v.",
    ),
    "apply_rope": (
        "A pair (a, b) turned by an angle t becomes (a cos t - b sin t, a sin t + b cos t). Pair i "
        "is made of channel i and channel i + K/2.",
        "By hand: one token with the channels (1, 2, 3, 4) has two pairs. Which two? Turn the first "
        "by 90 degrees (cos 0, sin 1) and leave the second (cos 1, sin 0). Where do the four "
        "results stand?",
        "Refuse cos that does not end in (T, K/2), or differs from sin in shape. Split x into its "
        "first and second half along the last axis, each (..., T, K/2); turn them with cos and "
        "sin, which broadcast; put the halves together again.",
    ),
    "multi_head_attention": (
        "Project, cut the last axis into heads, attend in each head alone, put the heads side by "
        "side, project back. Query head h reads key-value head h // (n_heads / n_kv_heads).",
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


@exercise_check("causal_mask", points=1, title="shape and dtype")
def _(student, rng):
    mask = student.causal_mask(4)
    require(isinstance(mask, np.ndarray), "return a tensor")
    require(mask.shape == (4, 4), f"for 4 tokens the mask is (4, 4), got {mask.shape}")
    require(
        mask.dtype == np.bool_,
        f"the mask must be of dtype bool (True = may see), got {mask.dtype}: a mask of numbers "
        "can't be inverted with ~",
    )


@exercise_check("causal_mask", points=1, title="who may see whom")
def _(student, rng):
    n = int(rng.integers(5, 12))
    mask = np.asarray(student.causal_mask(n)).astype(bool)
    require(mask.shape == (n, n), f"for {n} tokens the mask is ({n}, {n}), got {mask.shape}")
    require(not mask.all(), "nothing is hidden: a token must not see those after it")
    require(
        not np.array_equal(mask, ~lower(n)),
        "inverted: True means that the query may see the key, and it may see itself and the past",
    )
    require(
        not np.array_equal(mask, lower(n).T),
        "transposed: row i is the query; it sees columns 0 to i, the lower triangle",
    )
    require(
        not np.array_equal(mask, lower(n, -1)),
        "the diagonal is missing: a token sees itself too",
    )
    require(
        not np.array_equal(mask, lower(n, 1)),
        "it leaks by one: a token sees its successor, the very token that it should predict",
    )
    same(mask, lower(n), "row i must be True for columns 0 to i and False after")
    same(np.asarray(student.causal_mask(1)), lower(1), "one token sees itself")
    n += 70
    same(
        np.asarray(student.causal_mask(n)).sum(-1),
        np.arange(1, n + 1),
        "at any length row i is True i + 1 times: no window, no largest size",
    )


@exercise_check("scaled_dot_product_attention", points=1, title="shapes")
def _(student, rng):
    q, k, v = normal(rng, 5, 8), normal(rng, 7, 8), normal(rng, 7, 3)
    with in_case("5 queries, 7 keys, and no mask (None)"):
        out = student.scaled_dot_product_attention(q, k, v)
    require(isinstance(out, np.ndarray), "return a tensor, the average of the values alone")
    require(
        out.shape == (5, 3),
        f"5 queries and values of width 3 give (5, 3), got {out.shape}: one row per query",
    )
    require(out.dtype == np.float32, f"float32 in, float32 out, got {out.dtype}")


@exercise_check("scaled_dot_product_attention", points=2, title="values without a mask")
def _(student, rng):
    T, S, K = int(rng.integers(3, 8)), int(rng.integers(9, 14)), 16
    q, k, v = normal(rng, T, K), normal(rng, S, K), normal(rng, S, 5)
    out = student.scaled_dot_product_attention(q, k, v)
    require(
        not resembles(out, attend(q, k, v, scale=1.0)),
        "the scores are not scaled: divide them by sqrt(K), the width of a query",
    )
    require(not resembles(out, attend(q, k, v, scale=K)), "divide by sqrt(K), not by K")
    require(
        not resembles(out, attend(q, k, v, scale=np.sqrt(S))),
        "divide by the square root of the width K of a query, not of the number of keys",
    )
    scores = q @ k.T / np.sqrt(K)
    require(
        not resembles(out, softmax(scores, axis=0) @ v),
        "the softmax runs over the queries: each query's weights must sum to one, so take the "
        "last axis, the keys",
    )
    require(not resembles(out, scores @ v), "the softmax is missing: scores are no weights yet")
    close(out, attend(q, k, v), "the weighted averages differ", atol=1e-5)
    k, v = k[:T], v[:T]  # as many keys as queries, and still no mask
    out = student.scaled_dot_product_attention(q, k, v)
    close(out, attend(q, k, v), "without a mask nothing is hidden, also where T = S", atol=1e-5)
    wide = [a.astype(np.float64) for a in (q, k, v)]
    out = student.scaled_dot_product_attention(*wide)
    close(out, attend(*wide), "float64 in, float64 precision out", atol=1e-12, rtol=1e-9)
    gradients = student.gradients("scaled_dot_product_attention", q, k, v)
    require(
        all(np.abs(gradient).max() > 0 for gradient in gradients),
        "the gradient of q, k or v is zero: without it nothing can be learned",
    )


@exercise_check("scaled_dot_product_attention", points=2, title="values with a mask")
def _(student, rng):
    T = int(rng.integers(4, 9))
    q, k, v = normal(rng, T, 8), normal(rng, T, 8), normal(rng, T, 6)
    out = student.scaled_dot_product_attention(q, k, v, lower(T))
    require(not resembles(out, attend(q, k, v)), "the mask is not used")
    require(
        not resembles(out, attend(q, k, v, lower(T), hidden=0.0)),
        "hidden scores are set to 0, and exp(0) is 1: set them to -inf before the softmax",
    )
    inverted = ~lower(T)
    inverted[-1] = True
    require(
        not resembles(np.asarray(out)[: T - 1], attend(q, k, v, inverted)[: T - 1]),
        "the mask is used the wrong way round: True means that the query may see the key",
    )
    unscaled = np.where(lower(T), softmax(q @ k.T / np.sqrt(8)), 0.0) @ v
    require(
        not resembles(out, unscaled),
        "weights are hidden after the softmax, so that they no longer sum to one: hide the scores",
    )
    close(out, attend(q, k, v, lower(T)), "the weighted averages differ", atol=1e-5)
    any_mask = rng.random((T, T)) < 0.5
    any_mask[np.arange(T), rng.integers(0, T, T)] = True
    out = student.scaled_dot_product_attention(q, k, v, any_mask)
    close(out, attend(q, k, v, any_mask), "right for a causal mask, wrong for another one")


@exercise_check("scaled_dot_product_attention", points=2, title="batches, large scores, arguments")
def _(student, rng):
    q, k, v = (normal(rng, 2, 3, 5, 4) for _ in range(3))
    with in_case("q, k, v with axes for batch and heads in front: (2, 3, 5, 4)"):
        out = student.scaled_dot_product_attention(q, k, v, lower(5))
    want = F.scaled_dot_product_attention(*map(torch.from_numpy, (q, k, v)), is_causal=True)
    close(out, want.numpy(), "with leading axes (B, H) the result differs: use the last two axes")
    padding = np.ones((2, 1, 1, 5), bool)
    padding[1, ..., :2] = False  # the second row of the batch starts with two padding tokens
    with in_case("a mask of shape (B, 1, 1, S), which broadcasts to (B, H, T, S)"):
        out = student.scaled_dot_product_attention(q, k, v, padding)
    want = F.scaled_dot_product_attention(*map(torch.from_numpy, (q, k, v, padding)))
    close(out, want.numpy(), "with a mask of shape (B, 1, 1, S) the result differs")
    q, k = q * 60, k * 60
    out = student.scaled_dot_product_attention(q, k, v, lower(5))
    after = student.arguments_after
    require(
        np.array_equal(after[0], q) and np.array_equal(after[1], k) and np.array_equal(after[2], v),
        "an argument was changed in place: write s = s / x, not s /= x",
    )
    require(np.array_equal(after[3], lower(5)), "the mask was changed in place: make a new tensor")
    want = F.scaled_dot_product_attention(
        *(torch.from_numpy(a).double() for a in (q, k, v)), is_causal=True
    )
    close(
        out,
        want.numpy(),
        "large scores break the softmax: subtract each row's maximum, or use torch.softmax",
        atol=1e-2,
    )


@exercise_check("scaled_dot_product_attention", points=1, title="a query that may see nothing")
def _(student, rng):
    q = normal(rng, 2, 4)
    close(student.scaled_dot_product_attention(q, q, q), attend(q, q, q), "without a mask")
    try:
        out = student.scaled_dot_product_attention(q, q, q, np.array([[True, False], [False] * 2]))
    except LearnerError as error:
        require(
            str(error).startswith("ValueError"),
            f"raise a ValueError for a query that may see no key, got {error}",
        )
        return
    require(
        np.isfinite(np.asarray(out)).all(),
        "a query that may see no key gives NaN, which spreads unseen: raise a ValueError instead",
    )
    require(False, "a query that may see no key has no average: raise a ValueError, as documented")


def turned(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return rotary positions in float64: complex numbers, halves convention."""
    half = x.shape[-1] // 2
    pairs = x[..., :half].astype(np.float64) + 1j * x[..., half:]
    pairs = pairs * np.exp(1j * angles)
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


def table(n: int, d_head: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return angles, cosines and sines of n positions."""
    angles = np.arange(n)[:, None] * 100.0 ** (-np.arange(0, d_head, 2) / d_head)
    return angles, np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@exercise_check("apply_rope", points=1, title="a quarter turn by hand")
def _(student, rng):
    x = np.array([[1.0, 2.0]], np.float32)
    zero, one = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)
    out = student.apply_rope(x, zero, one)
    require(
        not resembles(out, [[2.0, -1.0]]),
        "turned the other way: (a, b) becomes (a cos - b sin, a sin + b cos)",
    )
    close(out, np.array([[-2.0, 1.0]]), "the pair (1, 2) turned by 90 degrees is (-2, 1)")
    close(student.apply_rope(x, one, zero), x, "turned by nothing, the pair stays as it is")


@exercise_check("apply_rope", points=2, title="positions and pairs")
def _(student, rng):
    T, K = int(rng.integers(4, 9)), 8
    angles, cos, sin = table(T, K)
    x = normal(rng, T, K)
    out = student.apply_rope(x, cos, sin)
    require(
        not resembles(out, x), "nothing is turned: row t of cos and sin belongs to token t of x"
    )
    neighbours = np.empty_like(x)
    a, b = x[:, ::2], x[:, 1::2]
    neighbours[:, ::2], neighbours[:, 1::2] = a * cos - b * sin, a * sin + b * cos
    require(
        not resembles(out, neighbours),
        "neighbouring channels are paired: pair i is channel i and channel i + K/2",
    )
    require(
        not resembles(out, turned(x, angles[:1])) and not resembles(out, turned(x, angles[1:2])),
        "all tokens are turned alike: row t of cos and sin belongs to token t",
    )
    require(not resembles(out, turned(x, -angles)), "turned the other way: check the signs of sin")
    close(out, turned(x, angles), "the turned channels differ")
    require(np.array_equal(student.arguments_after[0], x), "x was changed in place: make a new one")


@exercise_check("apply_rope", points=1, title="heads, lengths, and what must stay")
def _(student, rng):
    T, K = int(rng.integers(3, 7)), 6
    angles, cos, sin = table(T, K)
    x = normal(rng, 2, 3, T, K)
    with in_case(f"x with axes for batch and heads in front: (2, 3, {T}, {K})"):
        out = student.apply_rope(x, cos, sin)
    require(np.shape(out) == x.shape, f"x (2, 3, {T}, {K}) keeps its shape, got {np.shape(out)}")
    close(out, turned(x, angles), "with axes for batch and heads in front the result differs")
    with in_case("cos and sin with axes in front that broadcast: (1, 1, T, K/2)"):
        again = student.apply_rope(x, cos[None, None], sin[None, None])
    close(again, turned(x, angles), "with cos and sin of shape (1, 1, T, K/2) the result differs")
    lengths = np.linalg.norm(np.asarray(out), axis=-1)
    close(lengths, np.linalg.norm(x, axis=-1), "turning must not change a vector's length")


@exercise_check("apply_rope", points=1, title="wrong shapes are refused")
def _(student, rng):
    angles, cos, sin = table(4, 8)
    x = normal(rng, 4, 8)
    close(student.apply_rope(x, cos, sin), turned(x, angles), "with shapes that fit")
    try:
        student.apply_rope(normal(rng, 1, 8), cos, sin)
    except LearnerError as error:
        require(
            str(error).startswith("ValueError"),
            f"raise a ValueError where cos does not fit x, got {error}",
        )
        return
    require(
        False,
        "one token with four rows of cos must raise a ValueError: broadcasting would make four "
        "tokens of it",
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
    share = share or (lambda h: h // (n_heads // n_kv_heads))
    out = []
    for row in x.astype(np.float64):
        q, k, v = row @ w_q.T, row @ w_k.T, row @ w_v.T
        heads = []
        for h in range(n_heads):
            own, other = slice(h * d_head, (h + 1) * d_head), share(h)
            other = slice(other * d_head, (other + 1) * d_head)
            q_h, k_h = q[:, own], k[:, other]
            if angles is not None:
                q_h, k_h = turned(q_h, angles), turned(k_h, angles)
            mask = lower(len(row)) if options.get("causal", True) else None
            heads.append(attend(q_h, k_h, v[:, other], mask, options.get("scale")))
        out.append(np.concatenate(heads, axis=-1) @ w_o.T)
    return np.stack(out)


@exercise_check("multi_head_attention", points=2, title="as many key-value heads as heads")
def _(student, rng):
    B, T, D, H, K = 2, int(rng.integers(4, 8)), 12, 3, 4
    x, w = normal(rng, B, T, D), weights(rng, D, H, H, K)
    out = student.multi_head_attention(x, *w, H, H)
    require(np.shape(out) == x.shape, f"x {x.shape} gives the same shape, got {np.shape(out)}")
    require(not resembles(out, many_heads(x, *w, H, H, causal=False)), "no causal mask is used")
    require(
        not resembles(out, many_heads(x, *w, H, H, scale=np.sqrt(D))),
        "the scale is that of a head: sqrt(K) with K = d_head, not sqrt(d_model)",
    )
    require(
        not resembles(out, many_heads(x, *w, 1, 1)),
        "all heads are one: cut queries, keys and values into heads before you attend",
    )
    q, k, v = (np.einsum("btd,ed->bte", x, m).reshape(B, H, T, K) for m in w[:3])
    mixed = F.scaled_dot_product_attention(*map(torch.from_numpy, (q, k, v)), is_causal=True)
    for joined in (mixed.transpose(1, 2).reshape(B, T, -1), mixed.reshape(B, T, -1)):
        require(
            not resembles(out, joined.numpy() @ w[3].T),
            "heads are cut by a view to (B, H, T, K): that mixes tokens and channels; view to "
            "(B, T, H, K), then transpose",
        )
    heads = many_heads(x, *w[:3], np.eye(H * K), H, H).reshape(B, T, H, K).transpose(0, 2, 1, 3)
    require(
        not resembles(out, heads.reshape(B, T, H * K) @ w[3].T),
        "heads are joined without a transpose back: (B, H, T, K) -> (B, T, H, K) -> (B, T, H * K)",
    )
    close(out, many_heads(x, *w, H, H), "the result differs from attention head by head", atol=1e-5)


@exercise_check("multi_head_attention", points=2, title="shared key-value heads")
def _(student, rng):
    B, T, D, H, K = 2, 5, 16, 4, 6
    for n_kv_heads in (2, 1):
        x, w = normal(rng, B, T, D), weights(rng, D, H, n_kv_heads, K)
        with in_case(f"{H} heads of width {K}, {n_kv_heads} key-value heads, d_model {D}"):
            out = student.multi_head_attention(x, *w, H, n_kv_heads)
        if n_kv_heads == 2:
            tiled = many_heads(x, *w, H, 2, share=lambda h: h % 2)
            require(
                not resembles(out, tiled),
                "key-value heads are shared in turn (0, 1, 0, 1): neighbours share, 0, 0, 1, 1, so "
                "use repeat_interleave, not repeat",
            )
        want = many_heads(x, *w, H, n_kv_heads)
        close(out, want, f"with {n_kv_heads} key-value heads for {H} heads it differs", atol=1e-5)


@exercise_check("multi_head_attention", points=2, title="positions")
def _(student, rng):
    B, T, D, H, K = 1, int(rng.integers(5, 9)), 8, 2, 4
    x, w = normal(rng, B, T, D), weights(rng, D, H, 1, K)
    angles, cos, sin = table(T, K)
    out = student.multi_head_attention(x, *w, H, 1, cos, sin)
    want = many_heads(x, *w, H, 1, angles)
    require(not resembles(out, many_heads(x, *w, H, 1)), "cos and sin are not used")
    q = [np.einsum("btd,ed->bte", x, m).reshape(B, T, -1, K).swapaxes(1, 2) for m in w[:3]]
    only_q = F.scaled_dot_product_attention(
        *(torch.from_numpy(a.astype(np.float32)) for a in (turned(q[0], angles), q[1], q[2])),
        is_causal=True,
        enable_gqa=True,
    )
    only_q = only_q.transpose(1, 2).reshape(B, T, -1).numpy() @ w[3].T
    require(not resembles(out, only_q), "only queries are turned: turn the keys too")
    values = turned(q[2], angles)
    all_three = F.scaled_dot_product_attention(
        *(torch.from_numpy(a.astype(np.float32)) for a in map(turned, q[:2], [angles] * 2)),
        torch.from_numpy(values.astype(np.float32)),
        is_causal=True,
        enable_gqa=True,
    )
    all_three = all_three.transpose(1, 2).reshape(B, T, -1).numpy() @ w[3].T
    require(not resembles(out, all_three), "values are turned too: only queries and keys are")
    close(out, want, "with rotary positions the result differs", atol=1e-5)


@exercise_check("multi_head_attention", points=1, title="the future changes nothing before it")
def _(student, rng):
    B, T, D, H, K = 1, 7, 8, 2, 4
    x, w = normal(rng, B, T, D), weights(rng, D, H, H, K)
    before = student.multi_head_attention(x, *w, H, H)
    require(not resembles(before, x), "x comes out as it went in: tokens are to be mixed")
    changed = x.copy()
    changed[:, 4:] += 1.0
    after = student.multi_head_attention(changed, *w, H, H)
    close(
        np.asarray(after)[:, :4],
        np.asarray(before)[:, :4],
        "tokens 4 to 6 were changed, and the results of tokens 0 to 3 changed with them",
        atol=1e-6,
    )
    require(
        not np.allclose(np.asarray(after)[:, 4:], np.asarray(before)[:, 4:]),
        "the results of changed tokens did not change",
    )


@exercise_check("streaming_attention", points=2, title="several blocks, all keys seen")
def _(student, rng):
    T, S, K = int(rng.integers(3, 7)), 12, 8
    q, k, v = normal(rng, T, K, scale=2), normal(rng, S, K, scale=2), normal(rng, S, 5)
    out = student.streaming_attention(q, k, v, 4, False)
    require(np.shape(out) == (T, 5), f"{T} queries give ({T}, 5), got {np.shape(out)}")
    blocks = [attend(q, k[i : i + 4], v[i : i + 4]) for i in (0, 4, 8)]
    require(
        not resembles(out, np.mean(blocks, axis=0)) and not resembles(out, np.sum(blocks, axis=0)),
        "each block has a softmax of its own: blocks must share one normaliser",
    )
    require(not resembles(out, blocks[-1]), "only the last block counts: add to what was before")
    require(not resembles(out, blocks[0]), "only the first block counts")
    require(
        not resembles(out, attend(q, k, v, scale=1.0)),
        "the scores are not scaled: divide them by sqrt(K)",
    )
    close(
        out, attend(q, k, v), "the result differs: are both sums rescaled when the maximum grows?"
    )


@exercise_check("streaming_attention", points=2, title="causal, with a shorter last block")
def _(student, rng):
    T = int(rng.choice([7, 10, 11, 13]))
    q, k, v = normal(rng, T, 8), normal(rng, T, 8), normal(rng, T, 6)
    for block_size in (3, 4, 1, T, T + 5):
        if block_size != 1 and block_size < T and T % block_size == 0:
            continue
        out = student.streaming_attention(q, k, v, block_size)
        require(
            not resembles(out, attend(q, k, v)),
            "nothing is hidden: with is_causal, query i sees keys 0 to i",
        )
        full = T - T % block_size
        if 0 < full < T and block_size > 1:
            require(
                not resembles(out, attend(q, k[:full], v[:full], lower(T)[:, :full])),
                f"the last {T % block_size} keys are left out: the last block may be shorter",
            )
        close(
            out,
            attend(q, k, v, lower(T)),
            f"{T} tokens in blocks of {block_size}: the mask of a block counts keys from the "
            "block's start",
        )


@exercise_check("streaming_attention", points=2, title="large scores, heads, arguments")
def _(student, rng):
    q, k, v = (normal(rng, 2, 2, 9, 4) for _ in range(3))
    with in_case("q, k, v with axes for batch and heads in front: (2, 2, 9, 4)"):
        out = student.streaming_attention(q, k, v, 4)
    want = F.scaled_dot_product_attention(*map(torch.from_numpy, (q, k, v)), is_causal=True)
    close(out, want.numpy(), "with leading axes (B, H) the result differs: use the last two axes")
    longer = [normal(rng, 150, 4) for _ in range(3)]
    out = student.streaming_attention(*longer)
    close(out, attend(*longer, lower(150)), "without block_size and is_causal the result differs")
    order = np.sort(normal(rng, 9, 1), axis=0)  # scores that grow from block to block
    q, k = np.full((9, 1), 20.0, np.float32), order * 20
    out = student.streaming_attention(q, k, v[0, 0], 2, False)
    require(
        np.isfinite(np.asarray(out)).all(),
        "large scores overflow: subtract the running maximum before exp",
    )
    close(out, attend(q, k, v[0, 0]), "scores that grow: rescale the sums at each block", atol=1e-4)
    q = np.array([[0.0], [0.1], [20.0]], np.float32)  # queries whose scores differ by hundreds
    k = np.linspace(-30, 30, 9, dtype=np.float32)[:, None]
    out = student.streaming_attention(q, k, v[0, 0], 2, False)
    require(
        np.isfinite(np.asarray(out)).all(),
        "each query needs a running maximum of its own: with one for all, exp underflows to 0 for "
        "queries with small scores",
    )
    close(out, attend(q, k, v[0, 0]), "queries with scores of very different size", atol=1e-4)
    q, k = np.full((4, 1), 20.0, np.float32), np.full((4, 1), -20.0, np.float32)
    low = "a running maximum starts at -inf: from 0 on, very low scores underflow to 0 / 0"
    close(
        student.streaming_attention(q, k, v[0, 0, :4], 2), attend(q, k, v[0, 0, :4], lower(4)), low
    )
    k = np.array([[0.0], [0.0], [0.0], [20.0]], np.float32)
    hidden = (
        "the running maximum is that of visible keys: a hidden key with a large score spoils it"
    )
    out = student.streaming_attention(q, k, v[0, 0, :4], 2)
    close(out, attend(q, k, v[0, 0, :4], lower(4)), hidden, atol=1e-4)
    (q, k) = normal(rng, 5, 4), normal(rng, 5, 4)
    gradients = student.gradients("streaming_attention", q, k, v[0, 0, :5])
    require(
        all(np.abs(gradient).max() > 0 for gradient in gradients),
        "the gradient of q, k or v is zero: without it nothing can be learned",
    )
    student.streaming_attention(q, k, v[0, 0, :5], 2)
    unchanged = [
        np.array_equal(a, b) for a, b in zip(student.arguments_after, (q, k), strict=False)
    ]
    require(all(unchanged), "an argument was changed in place: make new tensors")


@exercise_check("streaming_attention", points=2, title="never a table of all scores")
def _(student, rng):
    # A budget that is checked: with T = 700 the whole table would hold 490,000 scores.
    T = 700
    q, k, v = normal(rng, T, 4), normal(rng, T, 4), normal(rng, T, 2)
    largest = student.largest_tensor("streaming_attention", q, k, v, 20)
    require(
        largest <= T * 24,
        f"a tensor of {largest:,} numbers is made for {T} tokens in blocks of 20: keep to one "
        f"block of scores, {T * 20:,} numbers, at a time",
    )
    T = 8000
    q, k, v = normal(rng, T, 4), normal(rng, T, 4), normal(rng, T, 2)
    with in_case("8,000 tokens in blocks of 64: the running sums and one block's scores fit"):
        out = student.within(48, "streaming_attention", q, k, v, 64)
    require(np.shape(out) == (T, 2), "for 8,000 tokens the result has another shape")
    rows = rng.integers(0, T, 3)
    for row in rows:
        want = attend(q[row : row + 1], k[: row + 1], v[: row + 1])
        close(np.asarray(out)[row : row + 1], want, "for 8,000 tokens the values differ", atol=1e-4)
