"""Wrong answers of lab 02, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

MASK = "def causal_mask(n_tokens):\n    return "

SDPA = """def scaled_dot_product_attention(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        if not mask.any(dim=-1).all():
            raise ValueError("mask hides every key")
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1) @ v
"""

ROPE = """def apply_rope(x, cos, sin):
    if cos.shape[-2:] != (x.shape[-2], x.shape[-1] // 2):
        raise ValueError("cos does not fit x")
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
"""

HEADS = """def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, cos=None, sin=None):
    B, T, _ = x.shape
    d_head = w_q.shape[0] // n_heads
    q = (x @ w_q.T).view(B, T, n_heads, d_head).transpose(1, 2)
    k = (x @ w_k.T).view(B, T, n_kv_heads, d_head).transpose(1, 2)
    v = (x @ w_v.T).view(B, T, n_kv_heads, d_head).transpose(1, 2)
    if cos is not None:
        q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
    k = k.repeat_interleave(n_heads // n_kv_heads, dim=1)
    v = v.repeat_interleave(n_heads // n_kv_heads, dim=1)
    heads = scaled_dot_product_attention(q, k, v, causal_mask(T))
    return heads.transpose(1, 2).reshape(B, T, n_heads * d_head) @ w_o.T
"""

STREAM = """def streaming_attention(q, k, v, block_size=128, is_causal=True):
    T, S = q.shape[-2], k.shape[-2]
    maximum = q.new_full((*q.shape[:-1], 1), float("-inf"))
    total = torch.zeros_like(maximum)
    output = q.new_zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, S, block_size):
        stop = min(start + block_size, S)
        scores = q @ k[..., start:stop, :].transpose(-2, -1) / math.sqrt(q.shape[-1])
        if is_causal:
            future = torch.arange(start, stop) > torch.arange(T).unsqueeze(-1)
            scores = scores.masked_fill(future, float("-inf"))
        new_maximum = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        weights = (scores - new_maximum).exp()
        rescale = (maximum - new_maximum).exp()
        total = total * rescale + weights.sum(dim=-1, keepdim=True)
        output = output * rescale + weights @ v[..., start:stop, :]
        maximum = new_maximum
    return output / total
"""


def changed(code: str, old: str, new: str) -> str:
    """Return the code with one place changed; it must be there."""
    assert code.count(old) >= 1, f"{old!r} is not in the code"
    return code.replace(old, new)


def masks(*rows: tuple[str, str, str]) -> list[Wrong]:
    return [Wrong("causal_mask", why, MASK + body + "\n", words) for why, body, words in rows]


def variants(exercise: str, code: str, *rows: tuple[str, str, str, str]) -> list[Wrong]:
    return [Wrong(exercise, why, changed(code, old, new), words) for why, old, new, words in rows]


WRONG = [
    *masks(
        ("all zero", "torch.zeros(n_tokens, n_tokens, dtype=torch.bool)", "True for columns 0"),
        ("nothing hidden", "torch.ones(n_tokens, n_tokens, dtype=torch.bool)", "nothing is hidden"),
        (
            "transposed",
            "torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu()",
            "lower triangle",
        ),
        (
            "inverted",
            "torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu(1)",
            "inverted",
        ),
        (
            "no diagonal",
            "torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril(-1)",
            "diagonal is missing",
        ),
        (
            "leaks by one",
            "torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril(1)",
            "leaks by one",
        ),
        ("numbers, not bool", "torch.ones(n_tokens, n_tokens).tril()", "dtype bool"),
        (
            "additive mask",
            "torch.full((n_tokens, n_tokens), float('-inf')).triu(1)",
            "dtype bool",
        ),
        (
            "a list of lists",
            "[[j <= i for j in range(n_tokens)] for i in range(n_tokens)]",
            "return a tensor",
        ),
        (
            "an axis too many",
            "torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()[None]",
            "(1, 4, 4)",
        ),
        (
            "a slice of one fixed mask",
            "torch.ones(64, 64, dtype=torch.bool).tril()[:n_tokens, :n_tokens]",
            "no largest size",
        ),
        (
            "a window of 16",
            "torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril().triu(-15)",
            "no window",
        ),
        ("one row", "torch.ones(n_tokens, dtype=torch.bool)", "(4, 4)"),
        ("one size for all", "torch.ones(4, 4, dtype=torch.bool).tril()", "the mask is ("),
    ),
    *variants(
        "scaled_dot_product_attention",
        SDPA,
        ("unscaled", " / math.sqrt(q.shape[-1])", "", "not scaled"),
        ("scaled by K", "math.sqrt(q.shape[-1])", "q.shape[-1]", "not by K"),
        ("scaled by keys", "q.shape[-1]", "k.shape[-2]", "not of the number of keys"),
        ("softmax over queries", "softmax(dim=-1)", "softmax(dim=-2)", "runs over the queries"),
        ("no softmax", ".softmax(dim=-1)", "", "softmax is missing"),
        ("hidden scores are 0", 'float("-inf")', "0.0", "exp(0) is 1"),
        ("mask inverted", "masked_fill(~mask", "masked_fill(mask", "wrong way round"),
        ("mask ignored", "if mask is not None:", "if False:", "mask is not used"),
        (
            "hidden after the softmax",
            'scores.masked_fill(~mask, float("-inf"))\n    return scores.softmax(dim=-1) @ v',
            "scores\n    if mask is None:\n        return scores.softmax(dim=-1) @ v\n"
            "    return scores.softmax(dim=-1).masked_fill(~mask, 0.0) @ v\n"
            "    return scores.softmax(dim=-1) @ v",
            "no longer sum to one",
        ),
        (
            "scores changed in place of q",
            "scores = q @",
            "q /= 1.5\n    q *= 3\n    scores = q / 2 @",
            "changed in place",
        ),
        ("two dimensions only", "k.transpose(-2, -1)", "k.T", "last two axes"),
        (
            "softmax by hand overflows",
            "scores.softmax(dim=-1)",
            "(scores.exp() / scores.exp().sum(-1, keepdim=True))",
            "subtract each row's maximum",
        ),
        (
            "empty rows become NaN",
            "if not mask.any(dim=-1).all():",
            "if False:",
            "raise a ValueError",
        ),
        (
            "weights instead of values",
            "return scores.softmax(dim=-1) @ v",
            "return scores.softmax(dim=-1)",
            "one row per query",
        ),
        (
            "no mask not expected",
            "    if mask is not None:\n",
            "    if True:\n",
            "without a mask (None)",
        ),
        (
            "mean of the values",
            "scores.softmax(dim=-1) @ v",
            "v.mean(-2, keepdim=True).expand(*scores.shape[:-1], v.shape[-1])",
            "averages differ",
        ),
        (
            "causal where it was not asked to be",
            "    if mask is not None:\n",
            "    if mask is None and q.shape[-2] == k.shape[-2]:\n"
            "        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()\n"
            "    if mask is not None:\n",
            "also where T = S",
        ),
        ("gradient cut", " @ v\n", " @ v.detach()\n", "gradient"),
        (
            "always float32",
            "scores = q @",
            "q, k, v = q.float(), k.float(), v.float()\n    scores = q @",
            "float64",
        ),
        ("hidden by a large number", 'float("-inf")', "-100.0", "subtract each row"),
        (
            "changes the mask",
            "masked_fill(~mask, ",
            "masked_fill(mask.logical_not_(), ",
            "mask was changed in place",
        ),
        ("axis 1, whatever the shape", "softmax(dim=-1)", "softmax(dim=1)", "last two axes"),
        ("returns a pair", " @ v\n", " @ v, scores\n", "return a tensor"),
        (
            "double precision",
            "return scores.softmax(dim=-1) @ v",
            "return scores.double().softmax(dim=-1) @ v.double()",
            "float32",
        ),
    ),
    *variants(
        "apply_rope",
        ROPE,
        (
            "turned the other way",
            "a * cos - b * sin, a * sin + b * cos",
            "a * cos + b * sin, b * cos - a * sin",
            "the other way",
        ),
        (
            "neighbours paired",
            "a, b = x.chunk(2, dim=-1)\n"
            "    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)",
            "a, b = x[..., ::2], x[..., 1::2]\n"
            "    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)",
            "channel i + K/2",
        ),
        ("positions ignored", "a, b = x", "cos, sin = cos[:1], sin[:1]\n    a, b = x", "row t"),
        ("not turned", "return torch.cat", "return x\n    return torch.cat", "(-2, 1)"),
        ("minus forgotten", "a * cos - b * sin", "a * cos + b * sin", "(-2, 1)"),
        (
            "halves swapped",
            "[a * cos - b * sin, a * sin + b * cos]",
            "[a * sin + b * cos, a * cos - b * sin]",
            "(-2, 1)",
        ),
        (
            "in place",
            "return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)",
            "x.copy_(torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1))\n    return x",
            "changed in place",
        ),
        (
            "two dimensions only",
            "a, b = x.chunk(2, dim=-1)",
            "a, b = x.chunk(2, dim=1)",
            "axes for batch and heads",
        ),
        ("only cosines", "[a * cos - b * sin, a * sin + b * cos]", "[a * cos, b * cos]", "(-2, 1)"),
        (
            "positions backwards",
            "a, b = x",
            "cos, sin = cos.flip(-2), sin.flip(-2)\n    a, b = x",
            "turned channels differ",
        ),
        (
            "speeds backwards",
            "a, b = x",
            "cos, sin = cos.flip(-1), sin.flip(-1)\n    a, b = x",
            "turned channels differ",
        ),
        ("any shape taken", "if cos.shape[-2:] !=", "if False and cos.shape[-2:] !=", "ValueError"),
        (
            "sine of the sine",
            "a, b = x",
            "cos, sin = cos.cos(), sin.sin()\n    a, b = x",
            "90 degrees",
        ),
    ),
    *variants(
        "multi_head_attention",
        HEADS,
        ("no causal mask", ", causal_mask(T))", ")", "no causal mask"),
        (
            "cut by a view",
            "q = (x @ w_q.T).view(B, T, n_heads, d_head).transpose(1, 2)\n"
            "    k = (x @ w_k.T).view(B, T, n_kv_heads, d_head).transpose(1, 2)\n"
            "    v = (x @ w_v.T).view(B, T, n_kv_heads, d_head).transpose(1, 2)",
            "q = (x @ w_q.T).view(B, n_heads, T, d_head)\n"
            "    k = (x @ w_k.T).view(B, n_kv_heads, T, d_head)\n"
            "    v = (x @ w_v.T).view(B, n_kv_heads, T, d_head)",
            "mixes tokens and channels",
        ),
        (
            "joined without a transpose",
            "heads.transpose(1, 2).reshape",
            "heads.reshape",
            "transpose back",
        ),
        (
            "one big head",
            "    d_head =",
            "    n_heads = n_kv_heads = 1\n    d_head =",
            "cut queries",
        ),
        (
            "scaled by the model's width",
            "scaled_dot_product_attention(q, k, v",
            "scaled_dot_product_attention(q * (d_head / x.shape[-1]) ** 0.5, k, v",
            "that of a head",
        ),
        (
            "heads tiled",
            "repeat_interleave(n_heads // n_kv_heads, dim=1)",
            "repeat(1, n_heads // n_kv_heads, 1, 1)",
            "repeat_interleave",
        ),
        (
            "sharing forgotten",
            "    k = k.repeat_interleave(n_heads // n_kv_heads, dim=1)\n"
            "    v = v.repeat_interleave(n_heads // n_kv_heads, dim=1)\n",
            "",
            "for their groups",
        ),
        ("positions ignored", "if cos is not None:", "if False:", "not used"),
        (
            "only queries turned",
            "q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)",
            "q = apply_rope(q, cos, sin)",
            "turn the keys too",
        ),
        (
            "values turned too",
            "q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)",
            "q, k, v = (apply_rope(t, cos, sin) for t in (q, k, v))",
            "values are turned too",
        ),
        (
            "keys turned backwards",
            "apply_rope(k, cos, sin)",
            "apply_rope(k, cos, -sin)",
            "rotary positions the result differs",
        ),
        (
            "width of a head from the model",
            "w_q.shape[0] // n_heads",
            "x.shape[-1] // n_heads",
            "for their groups",
        ),
        ("keys for values", "x @ w_v.T", "x @ w_k.T", "attention head by head"),
        ("output not projected", " @ w_o.T", "", "attention head by head"),
        ("projected untransposed", "@ w_o.T", "@ w_o", "attention head by head"),
    ),
    *variants(
        "streaming_attention",
        STREAM,
        ("unscaled", " / math.sqrt(q.shape[-1])", "", "not scaled"),
        (
            "each block normalised alone",
            "output = output * rescale + weights @ v[..., start:stop, :]",
            "output = output + (weights / weights.sum(-1, keepdim=True)) @ v[..., start:stop, :]\n"
            "        total = torch.full_like(total, -(-stop // block_size))",
            "softmax of its own",
        ),
        (
            "last block only",
            "output = output * rescale + weights",
            "total = weights.sum(dim=-1, keepdim=True)\n        output = weights",
            "only the last block",
        ),
        (
            "sum not rescaled",
            "total = total * rescale +",
            "total = total +",
            "rescaled",
        ),
        (
            "output not rescaled",
            "output = output * rescale +",
            "output = output +",
            "rescaled",
        ),
        (
            "no running maximum",
            "new_maximum = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))",
            "new_maximum = torch.zeros_like(maximum)",
            "running maximum",
        ),
        (
            "one maximum for all queries",
            "scores.amax(dim=-1, keepdim=True))",
            "scores.amax())",
            "of its own",
        ),
        (
            "maximum starts at zero",
            'q.new_full((*q.shape[:-1], 1), float("-inf"))',
            "q.new_zeros(*q.shape[:-1], 1)",
            "starts at -inf",
        ),
        (
            "maximum over hidden keys",
            STREAM[STREAM.index("        if is_causal") : STREAM.index("        weights")],
            """        new_maximum = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        if is_causal:
            future = torch.arange(start, stop) > torch.arange(T).unsqueeze(-1)
            scores = scores.masked_fill(future, float("-inf"))
""",
            "visible keys",
        ),
        ("gradient cut", "return output / total", "return (output / total).detach()", "gradient"),
        ("never divided", "return output / total", "return output", "differs"),
        (
            "rescaled the wrong way",
            "(maximum - new_maximum).exp()",
            "(new_maximum - maximum).exp()",
            "rescaled when",
        ),
        (
            "ignores the block size",
            "    T, S = q.shape[-2], k.shape[-2]\n",
            "    T, S = q.shape[-2], k.shape[-2]\n    block_size = 128\n",
            "one block of scores",
        ),
        ("not causal", "if is_causal:", "if False:", "query i sees keys 0 to i"),
        ("always causal", "if is_causal:", "if True:", "differs"),
        (
            "short block left out",
            "range(0, S, block_size)",
            "range(0, S - S % block_size or S, block_size)",
            "may be shorter",
        ),
        (
            "mask counts from zero",
            "torch.arange(start, stop)",
            "torch.arange(stop - start)",
            "from the block's start",
        ),
        ("leaks by one", "> torch.arange(T)", "> torch.arange(1, T + 1)", "from the block's start"),
        (
            "the whole table after all",
            "    T, S = q.shape[-2], k.shape[-2]\n",
            "    T, S = q.shape[-2], k.shape[-2]\n    block_size = S\n",
            "one block of scores",
        ),
        ("two dimensions only", ".transpose(-2, -1)", ".T", "last two axes"),
    ),
]

SDPA_NAME, HEADS_NAME = "scaled_dot_product_attention", "multi_head_attention"
STREAM_NAME = "streaming_attention"
SYMMETRIC = "a transpose swaps two axes, in whichever order they are named"
NEGATIVE = "of four axes, axis 2 and axis -2 are the same"
CUTS = [
    f"(x @ w_{name}.T).view(B, T, {count}, d_head)"
    for name, count in (("q", "n_heads"), ("k", "n_kv_heads"), ("v", "n_kv_heads"))
]

EQUIVALENT = {
    (SDPA_NAME, "swap arguments of `k.transpose(-2, -1)`"): SYMMETRIC,
    **{
        (HEADS_NAME, f"swap arguments of `{cut}.transpose(1, 2)`"): SYMMETRIC
        for cut in (*CUTS, "heads")
    },
    **{(HEADS_NAME, f"2 -> -2 in `{cut}.transpose(1, 2)`"): NEGATIVE for cut in (*CUTS, "heads")},
    (STREAM_NAME, "swap arguments of `k[..., start:stop, :].transpose(-2, -1)`"): SYMMETRIC,
    (STREAM_NAME, "1 -> -1 in `torch.arange(T).unsqueeze(-1)`"): "-(-1) is axis 1 of a vector too",
    (STREAM_NAME, "drop sign of `torch.arange(T).unsqueeze(-1)`"): "axis 1 is the last one here",
    (
        STREAM_NAME,
        "128 -> 129 in `q: Tensor, k: Tensor, v: Ten ... t=128, is_causal: bool=True`",
    ): "the size of a block does not change the result",
    (STREAM_NAME, "delete `if is_causal and S != T:`"): (
        "no case of the check has more keys than queries yet"
    ),
    (STREAM_NAME, "swap arguments of `min(start + block_size, S)`"): "a minimum is symmetric",
    (
        STREAM_NAME,
        "swap arguments of `torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))`",
    ): "a maximum is symmetric",
    (
        STREAM_NAME,
        "zeros_like -> ones_like in `torch.zeros_like`",
    ): "the first rescaling is exp(-inf) = 0, whatever the sums were",
}
