"""Wrong answers of lab 02, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

MASK = "def causal_mask(n_tokens):\n    return "

SDPA = """def scaled_dot_product_attention(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError("numbers")
        if not mask.any(dim=-1).all():
            raise ValueError("mask hides every key")
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1) @ v
"""

ROPE = """def apply_rope(x, cos, sin):
    if cos.shape != sin.shape or cos.shape[-2:] != (x.shape[-2], x.shape[-1] // 2):
        raise ValueError("cos does not fit x")
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)
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
    if is_causal and T != S:
        raise ValueError("who may see whom?")
    if block_size < 1:
        raise ValueError("no blocks")
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
        ("nothing hidden", "torch.ones(n_tokens, n_tokens, dtype=torch.bool)", "hides nothing"),
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
            "4) is of dtype bool",
        ),
        (
            "a list of lists",
            "[[j <= i for j in range(n_tokens)] for i in range(n_tokens)]",
            "return a tensor",
        ),
        (
            "an axis too many",
            "torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()[None]",
            "and yours (1,",
        ),
        (
            "a slice of one fixed mask",
            "torch.ones(64, 64, dtype=torch.bool).tril()[:n_tokens, :n_tokens]",
            "row i is True i + 1 times",
        ),
        (
            "a window of 16",
            "torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril().triu(-15)",
            "row i is True i + 1 times",
        ),
        ("one row", "torch.ones(n_tokens, dtype=torch.bool)", "the mask is ("),
        ("one size for all", "torch.ones(4, 4, dtype=torch.bool).tril()", "the mask is ("),
    ),
    *variants(
        "scaled_dot_product_attention",
        SDPA,
        ("unscaled", " / math.sqrt(q.shape[-1])", "", "not scaled"),
        ("scaled by K", "math.sqrt(q.shape[-1])", "q.shape[-1]", "not by K"),
        ("scaled by keys", "q.shape[-1]", "k.shape[-2]", "yours is that of the number of keys"),
        ("softmax over queries", "softmax(dim=-1)", "softmax(dim=-2)", "runs over the queries"),
        ("no softmax", ".softmax(dim=-1)", "", "your result has no softmax in it"),
        ("hidden scores are 0", 'float("-inf")', "0.0", "exp(0) is 1"),
        ("mask inverted", "masked_fill(~mask", "masked_fill(mask", "wrong way round"),
        (
            "mask ignored",
            "if mask is not None:",
            "if False:",
            "your result is the one without a mask",
        ),
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
        ("two dimensions only", "k.transpose(-2, -1)", "k.T", "batch and heads in front"),
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
            "5 queries and values of width 3 give (5, 3)",
        ),
        (
            "no mask not expected",
            "    if mask is not None:\n",
            "    if True:\n",
            "no mask (None)",
        ),
        (
            "mean of the values",
            "scores.softmax(dim=-1) @ v",
            "v.mean(-2, keepdim=True).expand(*scores.shape[:-1], v.shape[-1])",
            "softmax(q k^T / sqrt(K)) times v",
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
        ("hidden by a large number", 'float("-inf")', "-100.0", "several thousand"),
        (
            "changes the mask",
            "masked_fill(~mask, ",
            "masked_fill(mask.logical_not_(), ",
            "`mask` was changed in place",
        ),
        ("axis 1, whatever the shape", "softmax(dim=-1)", "softmax(dim=1)", "axes (B, H) in front"),
        ("returns a pair", " @ v\n", " @ v, scores\n", "return a tensor"),
        (
            "double precision",
            "return scores.softmax(dim=-1) @ v",
            "return scores.double().softmax(dim=-1) @ v.double()",
            "float64",
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
        (
            "positions ignored",
            "a, b = x",
            "cos, sin = cos[:1], sin[:1]\n    a, b = x",
            "x came out as it went in",
        ),
        (
            "not turned",
            "return torch.cat",
            "return x\n    return torch.cat",
            "x came out as it went in",
        ),
        ("minus forgotten", "a * cos - b * sin", "a * cos + b * sin", "(-2, 1)"),
        (
            "halves swapped",
            "[a * cos - b * sin, a * sin + b * cos]",
            "[a * sin + b * cos, a * cos - b * sin]",
            "the pair (1, 2) turned by 90 degrees is (-2, 1)",
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
        (
            "only cosines",
            "[a * cos - b * sin, a * sin + b * cos]",
            "[a * cos, b * cos]",
            "the pair (1, 2) turned by 90 degrees is (-2, 1)",
        ),
        (
            "positions backwards",
            "a, b = x",
            "cos, sin = cos.flip(-2), sin.flip(-2)\n    a, b = x",
            "token t is turned by row t",
        ),
        (
            "speeds backwards",
            "a, b = x",
            "cos, sin = cos.flip(-1), sin.flip(-1)\n    a, b = x",
            "token t is turned by row t",
        ),
        (
            "any shape taken",
            "if cos.shape != sin.shape or cos.shape[-2:] !=",
            "if False and cos.shape[-2:] !=",
            "ValueError",
        ),
        (
            "sine of the sine",
            "a, b = x",
            "cos, sin = cos.cos(), sin.sin()\n    a, b = x",
            "the pair (1, 2) turned by 90 degrees is (-2, 1)",
        ),
    ),
    *variants(
        "multi_head_attention",
        HEADS,
        (
            "no causal mask",
            ", causal_mask(T))",
            ")",
            "your result is the one without a causal mask",
        ),
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
            "4 heads and 2 key-value heads",
        ),
        (
            "positions ignored",
            "if cos is not None:",
            "if False:",
            "your result is the one without positions",
        ),
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
            "turned by their positions",
        ),
        (
            "width of a head from the model",
            "w_q.shape[0] // n_heads",
            "x.shape[-1] // n_heads",
            "4 heads and 2 key-value heads",
        ),
        ("keys for values", "x @ w_v.T", "x @ w_k.T", "attention head by head"),
        ("output not projected", " @ w_o.T", "", "your result is the one without w_o"),
        ("projected untransposed", "@ w_o.T", "@ w_o", "multiply by w_o.T"),
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
            "in your result each block has a softmax of its own",
        ),
        (
            "last block only",
            "output = output * rescale + weights",
            "total = weights.sum(dim=-1, keepdim=True)\n        output = weights",
            "your result is that of the last block alone",
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
            "share one running maximum",
        ),
        (
            "maximum starts at zero",
            'q.new_full((*q.shape[:-1], 1), float("-inf"))',
            "q.new_zeros(*q.shape[:-1], 1)",
            "your running maximum starts at 0",
        ),
        (
            "maximum over hidden keys",
            STREAM[STREAM.index("        if is_causal") : STREAM.index("        weights")],
            """        new_maximum = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        if is_causal:
            future = torch.arange(start, stop) > torch.arange(T).unsqueeze(-1)
            scores = scores.masked_fill(future, float("-inf"))
""",
            "your running maximum is that of a hidden key with a large score",
        ),
        ("gradient cut", "return output / total", "return (output / total).detach()", "gradient"),
        (
            "never divided",
            "return output / total",
            "return output",
            "12 keys in blocks of 4: the same as attention over all at once",
        ),
        (
            "rescaled the wrong way",
            "(maximum - new_maximum).exp()",
            "(new_maximum - maximum).exp()",
            "12 keys in blocks of 4: the same as attention over all at once",
        ),
        (
            "ignores the block size",
            "    T, S = q.shape[-2], k.shape[-2]\n",
            "    T, S = q.shape[-2], k.shape[-2]\n    block_size = 128\n",
            "one block of scores",
        ),
        ("not causal", "if is_causal:", "if False:", "query i sees keys 0 to i"),
        ("always causal", "if is_causal:", "if True:", "over all at once"),
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
            "in your mask key j of a block stands at position j",
        ),
        ("leaks by one", "> torch.arange(T)", "> torch.arange(1, T + 1)", "leaks by one"),
        (
            "the whole table after all",
            "    T, S = q.shape[-2], k.shape[-2]\n",
            "    T, S = q.shape[-2], k.shape[-2]\n    block_size = S\n",
            "one block of scores",
        ),
        ("two dimensions only", ".transpose(-2, -1)", ".T", "batch and heads in front"),
    ),
]

WRONG += [
    *masks(
        ("bytes", "torch.ones(n_tokens, n_tokens, dtype=torch.uint8).tril()", "dtype bool"),
        (
            "a largest size of 1024",
            "torch.ones(1024, 1024, dtype=torch.bool).tril()[:n_tokens, :n_tokens]",
            "for 1100 tokens",
        ),
        (
            "the successor alone hidden",
            "~torch.diag(torch.ones(max(n_tokens - 1, 0)), 1).bool()[:n_tokens, :n_tokens]",
            "True for columns 0",
        ),
        (
            "the first key hidden from all others",
            "torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril().index_fill("
            "1, torch.tensor([0]), False) | torch.eye(n_tokens, dtype=torch.bool)",
            "True for columns 0",
        ),
        (
            "the last row sees less",
            "torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril() & "
            "((torch.arange(n_tokens) > 0)[None] |"
            " (torch.arange(n_tokens) < n_tokens - 1)[:, None])"
            " | torch.eye(n_tokens, dtype=torch.bool)",
            "True for columns 0",
        ),
        (
            "one token has no row",
            "torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril().squeeze()",
            "one token",
        ),
        ("a vector of lengths", "torch.arange(1, n_tokens + 1)", "the mask is ("),
        (
            "in pairs",
            "(torch.arange(n_tokens) // 2)[None] <= (torch.arange(n_tokens) // 2)[:, None]",
            "True for columns 0",
        ),
    ),
    *variants(
        "scaled_dot_product_attention",
        SDPA,
        (
            "gradient partly cut",
            "return scores.softmax(dim=-1) @ v",
            "e = (scores - scores.amax(-1, keepdim=True)).exp()\n"
            "    return (e / e.sum(-1, keepdim=True).detach()) @ v",
            "gradient of `q`",
        ),
        ("gradient of the weights cut", "(dim=-1) @ v", "(dim=-1).detach() @ v", "gradient"),
        (
            "gradient of the keys partly cut",
            "scores = q @ k",
            "scores = q @ (k + k.detach()).div(2)",
            "gradient of `k`",
        ),
        (
            "no gradient for scores",
            "    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])\n",
            "    with torch.no_grad():\n"
            "        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])\n",
            "gradient",
        ),
        (
            "gradient of large scores is NaN",
            "return scores.softmax(dim=-1) @ v",
            "e = torch.where(scores < 60, scores.exp(), (scores - scores.amax(-1, True)).exp())\n"
            "    big = scores.amax(-1, True) >= 60\n"
            "    e = torch.where(big, (scores - scores.amax(-1, True)).exp(), scores.exp())\n"
            "    return (e / e.sum(-1, keepdim=True)) @ v",
            "several thousand",
        ),
        ("scaled by the values' width", "q.shape[-1])", "v.shape[-1])", "width of the values"),
        (
            "scaled by the queries",
            "q.shape[-1])",
            "q.shape[-2])",
            "yours is that of the number of queries",
        ),
        (
            "softmax of the divided",
            ".softmax(dim=-1) @ v",
            ".softmax(dim=-1) @ v / math.sqrt(q.shape[-1])",
            "softmax(q k^T / sqrt(K)) times v",
        ),
        ("values turned round", "@ v\n", "@ v.flip(-2)\n", "softmax(q k^T / sqrt(K)) times v"),
        ("squeezed", "@ v\n", "@ v.squeeze()\n", "RuntimeError"),
        (
            "result squeezed",
            "return scores.softmax(dim=-1) @ v",
            "return (scores.softmax(dim=-1) @ v).squeeze()",
            "q, k and v of shape (1, 4) give the same shape, axes of one included",
        ),
        (
            "result squeezed in front",
            "return scores.softmax(dim=-1) @ v",
            "return (scores.softmax(dim=-1) @ v).squeeze(0)",
            "axes of one included",
        ),
        (
            "rows of the whole mask",
            "if not mask.any(dim=-1).all():",
            "if not mask.any():",
            "raise a ValueError",
        ),
        ("any row", "mask.any(dim=-1).all()", "mask.any(dim=-1).any()", "raise a ValueError"),
        ("first row", "mask.any(dim=-1).all()", "mask[..., 0, :].any(-1).all()", "ValueError"),
        ("last row", "mask.any(dim=-1).all()", "mask[..., -1, :].any(-1).all()", "ValueError"),
        (
            "two axes of the mask",
            "mask.any(dim=-1).all()",
            "mask.reshape(-1, *mask.shape[-2:])[0].any(-1).all()",
            "ValueError",
        ),
        ("any key unseen", "mask.any(dim=-1).all()", "mask.any(dim=-2).all()", "ValueError"),
        ("an assertion", 'raise ValueError("mask hides every key")', "assert False", "ValueError"),
        (
            "zeros for a query that sees nothing",
            'raise ValueError("mask hides every key")',
            "return (scores.masked_fill(~mask, -1e9).softmax(-1) * mask) @ v",
            "raise a ValueError",
        ),
        (
            "a mask of numbers taken",
            "    if mask is not None:\n",
            "    if mask is not None:\n        mask = mask.bool()\n",
            "numbers",
        ),
        (
            "a mask of numbers added",
            "    if mask is not None:\n",
            "    if mask is not None and mask.dtype != torch.bool:\n"
            "        scores = scores + mask\n"
            "    elif mask is not None:\n",
            "numbers",
        ),
        (
            "integers taken",
            "    if mask is not None:\n",
            "    if mask is not None and mask.is_floating_point():\n"
            "        raise ValueError('numbers')\n"
            "    if mask is not None:\n        mask = mask != 0\n",
            "numbers",
        ),
        (
            "axes of the mask lost",
            "    if mask is not None:\n",
            "    if mask is not None:\n        mask = mask.reshape(-1, *mask.shape[-2:])[0]\n",
            "(B, 1, 1, S)",
        ),
        ("k changed", "scores = q @", "k.div_(2); k = k * 2\n    scores = q @", "in place"),
        ("v changed", "scores = q @", "v.mul_(2); v = v / 2\n    scores = q @", "in place"),
        (
            "softmax over everything",
            "scores.softmax(dim=-1)",
            "scores.flatten(-2).softmax(-1).view(scores.shape)",
            "softmax(q k^T / sqrt(K)) times v",
        ),
        (
            "hidden above the diagonal, whatever the mask",
            "masked_fill(~mask",
            "masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1)",
            "another",
        ),
    ),
    *variants(
        "apply_rope",
        ROPE,
        ("gradient cut", "a, b = x.chunk", "a, b = x.detach().chunk", "gradient"),
        ("gradient partly cut", "a * sin + b * cos]", "a.detach() * sin + b * cos]", "gradient"),
        (
            "wide",
            ".to(x.dtype)",
            ".double()",
            "the result has the dtype of x: float16 in, float16 out",
        ),
        ("in the dtype of the table", ".to(x.dtype)", "", "float16 out"),
        ("sines of any shape", "cos.shape != sin.shape or ", "", "disagrees"),
        (
            "half precision widened",
            ".to(x.dtype)",
            ".float()",
            "float16 in, float16 out",
        ),
        (
            "one table for the batch",
            "    a, b = x",
            "    cos = cos.reshape(-1, *cos.shape[-2:])[0]\n"
            "    sin = sin.reshape(-1, *sin.shape[-2:])[0]"
            "\n    a, b = x",
            "each row of the batch",
        ),
        (
            "tokens alone compared",
            "cos.shape[-2:] != (x.shape[-2], x.shape[-1] // 2)",
            "cos.shape[-2] != x.shape[-2]",
            "ValueError",
        ),
        (
            "channels alone compared",
            "cos.shape[-2:] != (x.shape[-2], x.shape[-1] // 2)",
            "cos.shape[-1] != x.shape[-1] // 2",
            "ValueError",
        ),
        (
            "more rows are fine",
            "cos.shape[-2:] != (x.shape[-2], x.shape[-1] // 2)",
            "cos.shape[-1] != x.shape[-1] // 2 or cos.shape[-2] < x.shape[-2]",
            "ValueError",
        ),
        (
            "cut to fit",
            'raise ValueError("cos does not fit x")',
            "cos, sin = cos[: x.shape[-2]], sin[: x.shape[-2]]",
            "ValueError",
        ),
        ("an assertion", 'raise ValueError("cos does not fit x")', "assert False", "ValueError"),
        (
            "squeezed",
            "a * sin + b * cos], dim=-1)",
            "a * sin + b * cos], dim=-1).squeeze(0)",
            "the pair (1, 2) turned by 90 degrees is (-2, 1)",
        ),
        (
            "stacked, not joined",
            "torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)",
            "torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)",
            "channel i + K/2",
        ),
        (
            "in place in half of x",
            "    return torch",
            "    b = b.clone()\n    new = a * sin + b * cos\n"
            "    a.copy_(a * cos - b * sin)\n    return torch.cat([a, new], -1)\n    return torch",
            "changed in place",
        ),
        (
            "first pair alone",
            "    return torch",
            "    a, b = x.chunk(2, dim=-1)\n"
            "    keep = torch.zeros_like(cos); keep[..., 0] = 1\n"
            "    cos, sin = cos * keep + (1 - keep), sin * keep\n    return torch",
            "differ",
        ),
        ("same sign twice", "a * sin + b * cos", "b * cos - a * sin", "(-2, 1)"),
    ),
    *variants(
        "multi_head_attention",
        HEADS,
        ("gradient of w_v cut", "x @ w_v.T", "x @ w_v.T.detach()", "gradient"),
        ("gradient partly cut", "k = (x @ w_k.T)", "k = (x.detach() @ w_k.T)", "gradient"),
        ("gradient of the output cut", "@ w_o.T", "@ w_o.detach().T", "gradient"),
        (
            "values tiled",
            "v = v.repeat_interleave(n_heads // n_kv_heads, dim=1)",
            "v = v.repeat(1, n_heads // n_kv_heads, 1, 1)",
            "your values are taken in turn",
        ),
        (
            "first key-value head for all",
            "k = k.repeat_interleave(n_heads // n_kv_heads, dim=1)",
            "k = k[:, :1].expand_as(q)",
            "head by head",
        ),
        (
            "result squeezed",
            "    return heads.transpose(1, 2).reshape(B, T, n_heads * d_head) @ w_o.T",
            "    out = heads.transpose(1, 2).reshape(B, T, n_heads * d_head) @ w_o.T\n"
            "    return out.squeeze(0)",
            "tokens 4 to 6 were changed, and the results of tokens 0 to 3 changed w",
        ),
        (
            "stream added",
            "@ w_o.T",
            "@ w_o.T + x",
            "your result has x added to it",
        ),
        ("x changed", "    B, T, _", "    x.mul_(2); x = x / 2\n    B, T, _", "in place"),
        (
            "leaks by one",
            "causal_mask(T)",
            "torch.ones(T, T, dtype=torch.bool).tril(1)",
            "head by head",
        ),
        (
            "the rows of the batch are one text",
            "heads = scaled_dot_product_attention(q, k, v, causal_mask(T))",
            "q, k, v = (t.transpose(0, 1).flatten(1, 2)[None] for t in (q, k, v))\n"
            "    heads = scaled_dot_product_attention(q, k, v, causal_mask(B * T))[0]\n"
            "    heads = heads.unflatten(1, (B, T)).transpose(0, 1)",
            "head by head",
        ),
        (
            "positions backwards",
            "q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)",
            "q, k = (apply_rope(t.flip(2), cos, sin).flip(2) for t in (q, k))",
            "turned the other way",
        ),
        (
            "only keys turned",
            "q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)",
            "k = apply_rope(k, cos, sin)",
            "turn the queries too",
        ),
        (
            "cos and sin swapped",
            "q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)",
            "q, k = apply_rope(q, sin, cos), apply_rope(k, sin, cos)",
            "turned the other way",
        ),
        (
            "the first row of the batch for all",
            "k = (x @ w_k.T)",
            "k = (x[:1].expand_as(x) @ w_k.T)",
            "head by head",
        ),
        (
            "scaled twice",
            "scaled_dot_product_attention(q, k, v",
            "scaled_dot_product_attention(q / math.sqrt(d_head), k, v",
            "scaled twice",
        ),
        ("weights by x", "x @ w_q.T", "(w_q @ x.mT).mT * 1.0 + 0.1", "head by head"),
        (
            "no heads for values",
            "v = v.repeat_interleave(n_heads // n_kv_heads, dim=1)",
            "v = v.mean(1, keepdim=True).expand_as(q)",
            "head by head",
        ),
    ),
    *variants(
        "streaming_attention",
        STREAM,
        (
            "gradient partly cut",
            "return output / total",
            "return output / total.detach()",
            "gradient of `",
        ),
        (
            "gradient of old blocks cut",
            "output = output * rescale",
            "output = output.detach() * rescale",
            "gradient of",
        ),
        (
            "gradient of the values cut",
            "weights @ v[..., start:stop, :]",
            "weights @ v[..., start:stop, :].detach()",
            "gradient",
        ),
        ("hides itself", "> torch.arange(T)", ">= torch.arange(T)", "does not see itself"),
        ("only the last block hidden", "if is_causal:", "if is_causal and stop == S:", "0 to i"),
        ("only the first block hidden", "if is_causal:", "if is_causal and start == 0:", "0 to i"),
        (
            "keys scaled up",
            "k[..., start:stop, :].transpose(-2, -1)",
            "k[..., start:stop, :].transpose(-2, -1) * 1.1",
            "over all at once",
        ),
        (
            "scaled by the block",
            "math.sqrt(q.shape[-1])",
            "math.sqrt(stop - start)",
            "over all at once",
        ),
        (
            "blocks of keys seen by blocks of queries",
            "torch.arange(start, stop) > torch.arange(T)",
            "torch.arange(start, stop) // block_size > torch.arange(T).div(block_size, "
            "rounding_mode='floor')",
            "0 to i",
        ),
        (
            "whole blocks hidden",
            "torch.arange(start, stop) > torch.arange(T)",
            "(torch.arange(start, stop) * 0 + stop - 1) > torch.arange(T)",
            "0 to i",
        ),
        (
            "exponentials without a maximum for the sum",
            "weights.sum(dim=-1, keepdim=True)",
            "(scores - scores.amax(-1, keepdim=True)).exp().sum(dim=-1, keepdim=True)",
            "12 keys in blocks of 4: the same as attention over all at once",
        ),
        (
            "neither rescaled",
            "rescale = (maximum - new_maximum).exp()",
            "rescale = torch.ones_like(maximum)",
            "not rescaled",
        ),
        (
            "maximum not kept",
            "        maximum = new_maximum\n",
            "        maximum = scores.amax(dim=-1, keepdim=True)\n",
            "over all at once",
        ),
        (
            "maximum never stored",
            "        maximum = new_maximum\n",
            "",
            "your result is that of the last block alone",
        ),
        (
            "a result for each block",
            "    return output / total",
            "    return (output / total).squeeze(0)",
            "give the same shape",
        ),
        ("q changed", "    T, S", "    q.div_(2); q = q * 2\n    T, S", "in place"),
        ("v changed", "    T, S", "    v.div_(2); v = v * 2\n    T, S", "in place"),
        (
            "all scores block by block",
            STREAM[STREAM.index("    T, S") :],
            "    T, S = q.shape[-2], k.shape[-2]\n"
            "    scores = [q @ k[..., i : i + block_size, :].transpose(-2, -1) / math.sqrt("
            "q.shape[-1])\n        for i in range(0, S, block_size)]\n"
            "    if is_causal:\n"
            "        scores = [s.masked_fill(torch.arange(i * block_size, i * block_size + "
            "s.shape[-1]) > torch.arange(T)[:, None], float('-inf'))\n"
            "            for i, s in enumerate(scores)]\n"
            "    top = scores[0].amax(-1, keepdim=True)\n"
            "    for s in scores:\n"
            "        top = torch.maximum(top, s.amax(-1, keepdim=True))\n"
            "    total = sum((s - top).exp().sum(-1, keepdim=True) for s in scores)\n"
            "    out = sum((s - top).exp() @ v[..., i * block_size : (i + 1) * block_size, :]\n"
            "        for i, s in enumerate(scores))\n"
            "    return out / total\n",
            "MB of tensors",
        ),
    ),
]
WRONG += [
    *variants(
        "streaming_attention",
        STREAM,
        ("more keys taken", "T != S", "T > S", "6 keys: who may see whom"),
        ("more queries taken", "T != S", "T < S", "3 keys: who may see whom"),
        ("any block size taken", "if block_size < 1", "if block_size == 0", "block_size -1"),
        ("an assertion", 'raise ValueError("who may see whom?")', "assert T == S", "ValueError"),
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


TABLE = """def rope_table(n_positions, d_head, theta=10000.0):
    if d_head < 2 or d_head % 2:
        raise ValueError("d_head must be even")
    exponents = torch.arange(0, d_head, 2) / d_head
    angles = torch.outer(torch.arange(n_positions).float(), theta ** -exponents)
    return angles.cos(), angles.sin()
"""
WRONG += variants(
    "rope_table",
    TABLE,
    (
        "half the exponent",
        "d_head, 2) / d_head",
        "d_head, 2) / (2 * d_head)",
        "your exponent is -i/K",
    ),
    ("speeds that rise", "theta ** -exponents", "theta ** exponents", "speeds fall"),
    (
        "evenly to a ten-thousandth",
        "torch.arange(0, d_head, 2) / d_head",
        "torch.linspace(0, 1, d_head // 2)",
        "your last exponent is -1",
    ),
    ("pairs from 1", "torch.arange(0, d_head, 2)", "torch.arange(2, d_head + 2, 2)", "i starts at"),
    ("reversed", "theta ** -exponents", "theta ** -exponents.flip(0)", "in reverse"),
    (
        "twice the exponent",
        "d_head, 2) / d_head",
        "d_head, 2) / (d_head // 2)",
        "your exponent is -4i/K",
    ),
    (
        "positions from 1",
        "torch.arange(n_positions)",
        "torch.arange(1, n_positions + 1)",
        "count from 1",
    ),
    (
        "rounds, not radians",
        "angles.cos(), angles.sin()",
        "(6.283185307179586 * angles).cos(), (6.283185307179586 * angles).sin()",
        "is in radians",
    ),
    ("degrees", "    return", "    angles = angles.deg2rad()\n    return", "taken for degrees"),
    ("one speed", "theta ** -exponents", "torch.ones(d_head // 2)", "at the same speed"),
    (
        "swapped",
        "angles.cos(), angles.sin()",
        "angles.sin(), angles.cos()",
        "your cosines and sines are swapped",
    ),
    ("backwards", "angles.sin()", "-angles.sin()", "wrong sign"),
    ("theta ignored", "theta ** -", "10000.0 ** -", "your tables are those of theta 10000"),
    ("the angles", "angles.cos(), angles.sin()", "angles, angles", "your tables hold the angles"),
    ("one table", "angles.cos(), angles.sin()", "angles.cos()", "return two tensors"),
    (
        "a column a channel",
        "    return",
        "    angles = torch.cat([angles, angles], dim=-1)\n    return",
        "columns, one for each channel",
    ),
    (
        "an axis for heads",
        "    return",
        "    angles = angles[:, None]\n    return",
        "give cosines of shape (",
    ),
    ("bfloat16", "n_positions).float()", "n_positions).bfloat16().float()", "positions 0 to 1,024"),
    ("float64", "n_positions).float()", "n_positions).double()", "the tables are float32"),
    ("odd widths", "d_head % 2", "False", "can't be cut into pairs"),
    ("another error", "ValueError", "IndexError", "raise a ValueError"),
    ("another usual theta", "theta=10000.0", "theta=100000.0", "the cosines of rope_table("),
)
EQUIVALENT["rope_table", "2 -> -2 in `d_head % 2`"] = "a remainder is 0 for 2 where it is for -2"

WRONG += [
    *variants(
        SDPA_NAME,
        SDPA,
        ("hidden by -10,000", 'float("-inf")', "-1e4", "a number that a score may fall below"),
    ),
    *variants(
        "apply_rope",
        ROPE,
        (
            "neighbours are taken, halves returned",
            "x.chunk(2, dim=-1)",
            "x[..., ::2], x[..., 1::2]",
            "x[..., ::2] with x[..., 1::2]",
        ),
    ),
    *variants(
        HEADS_NAME,
        HEADS,
        ("w_q not turned", "x @ w_q.T", "x @ w_q", "multiply by w_q.T"),
        ("w_k not turned", "x @ w_k.T", "x @ w_k", "multiply by w_k.T"),
        (
            "positions are asked for",
            "if cos is not None",
            "if True",
            "no cos and sin (None)",
        ),
        (
            "keys shared in turn",
            "k = k.repeat_interleave(n_heads // n_kv_heads, dim=1)",
            "k = k.repeat(1, n_heads // n_kv_heads, 1, 1)",
            "your keys are taken in turn",
        ),
    ),
    *variants(
        STREAM_NAME,
        STREAM,
        (
            "causal wherever lengths are equal",
            "        if is_causal:\n",
            "        if T == S:\n",
            "your result has later keys hidden, with is_causal=False, where there are as many "
            "queries as keys",
        ),
        ("lengths that differ refused", "if is_causal and T", "if T", "12 keys in blocks of 4"),
        ("blocks of one refused", "block_size < 1", "block_size < 2", "tokens in blocks of 1"),
    ),
    *variants("rope_table", TABLE, ("a width of 2 refused", "d_head < 2", "d_head < 3", "width 2")),
]
