"""Wrong answers of lab 03, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

NORM = """def rms_norm(x, weight, eps=1e-5):
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale * weight).to(x.dtype)
"""

GATED = """def swiglu(x, w_gate, w_up, w_down):
    gate = x @ w_gate.T
    return (gate * torch.sigmoid(gate) * (x @ w_up.T)) @ w_down.T
"""

HEAD = (
    "def decoder_block(x, attention_gain, w_q, w_k, w_v, w_o, feed_forward_gain, w_gate, w_up, "
    "w_down, n_heads, n_kv_heads, cos, sin):\n"
)
BLOCK = (
    HEAD
    + """    weights = (w_q, w_k, w_v, w_o, n_heads, n_kv_heads, cos, sin)
    start = x
    x = x + multi_head_attention(rms_norm(x, attention_gain), *weights)
    return x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, w_down)
"""
)

COUNT = """def count_parameters(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, tie_embeddings, qk_norm
):
    attention = 2 * d_model * d_head * (n_heads + n_kv_heads)
    feed_forward = 3 * d_model * d_ff
    gains = 2 * d_model + (2 * d_head if qk_norm else 0)
    tables = vocab_size * d_model * (1 if tie_embeddings else 2)
    return tables + n_layers * (attention + feed_forward + gains) + d_model
"""

FLOPS = """def count_flops(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff,
    batch_size, n_tokens, is_training=False,
):
    attention = 2 * d_model * d_head * (n_heads + n_kv_heads)
    weights = n_layers * (attention + 3 * d_model * d_ff) + vocab_size * d_model
    pairs = n_layers * 2 * n_heads * d_head * n_tokens
    forward = 2 * batch_size * n_tokens * (weights + pairs)
    return 3 * forward if is_training else forward
"""

ROUTE = """def route_top_k(router_logits, k):
    if not 1 <= k <= router_logits.shape[-1]:
        raise ValueError("k does not fit")
    scores, experts = router_logits.topk(k, dim=-1)
    return experts, scores.softmax(dim=-1)
"""


def changed(code: str, old: str, new: str) -> str:
    """Return the code with one place changed; it must be there."""
    assert code.count(old) >= 1, f"{old!r} is not in the code"
    return code.replace(old, new)


def variants(exercise: str, code: str, *rows: tuple[str, str, str, str]) -> list[Wrong]:
    return [Wrong(exercise, why, changed(code, old, new), words) for why, old, new, words in rows]


FIRST = "    x = x + multi_head_attention(rms_norm(x, attention_gain), *weights)\n"
SECOND = "    return x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, w_down)\n"

WRONG = [
    *variants(
        "rms_norm",
        NORM,
        ("length, not mean", ".mean(", ".sum(", "yours is divided by the length"),
        ("root forgotten", "torch.rsqrt(", "1 / (", "yours is divided by the mean square itself"),
        (
            "layer norm",
            "    scale",
            "    wide = wide - wide.mean(-1, keepdim=True)\n    scale",
            "LayerNorm",
        ),
        ("gain forgotten", " * weight)", ")", "your result is the one without weight"),
        ("eps forgotten", " + eps", "", "your result is the one without eps"),
        (
            "eps outside the root",
            "torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)",
            "1 / (wide.square().mean(-1, keepdim=True).sqrt() + eps)",
            "inside the root",
        ),
        (
            "mean over everything",
            ".mean(-1, keepdim=True)",
            ".mean()",
            "over all tokens",
        ),
        (
            "half precision squared",
            "x.float() if x.dtype in (torch.float16, torch.bfloat16) else x",
            "x",
            "float16 can hold",
        ),
        ("stays in float32", ".to(x.dtype)", "", "expected float16, the dtype of x"),
        ("in place", "wide = x.float() if", "x.mul_(1.5)\n    wide = x.float() if", "in place"),
        ("another eps", "eps=1e-5", "eps=1e-6", "1e-5 where none"),
    ),
    *variants(
        "swiglu",
        GATED,
        ("gate and up swapped", "x @ w_gate.T", "x @ w_up.T", "sigmoid(2) times 6"),
        (
            "silu on the wrong one",
            "gate * torch.sigmoid(gate) * (x @ w_up.T)",
            "gate * (x @ w_up.T) * torch.sigmoid(x @ w_up.T)",
            "your silu acts on w_up's projection",
        ),
        (
            "sigmoid alone",
            "gate * torch.sigmoid(gate)",
            "torch.sigmoid(gate)",
            "your gate is sigmoid",
        ),
        ("relu", "gate * torch.sigmoid(gate)", "torch.relu(gate)", "ReLU"),
        ("gelu", "gate * torch.sigmoid(gate)", "torch.nn.functional.gelu(gate)", "GELU"),
        ("added", "(gate) * (x", "(gate) + (x", "your gate is added to the other projection"),
        ("no up", " * (x @ w_up.T)", "", "your result is the one without w_up"),
        ("no silu", "gate * torch.sigmoid(gate) *", "gate *", "not passed through silu"),
        ("not transposed", "w_down.T", "w_down", "(outputs, inputs)"),
        (
            "silu of the product",
            "(gate * torch.sigmoid(gate) * (x @ w_up.T))",
            "torch.nn.functional.silu(gate * (x @ w_up.T))",
            "before the product",
        ),
    ),
    *variants(
        "decoder_block",
        BLOCK,
        (
            "no residual around attention",
            "x = x + multi",
            "x = multi",
            "add to the stream",
        ),
        ("no residual around feed-forward", "return x + swiglu", "return swiglu", "add to the"),
        (
            "post-norm",
            FIRST + SECOND,
            "    x = rms_norm(x + multi_head_attention(x, *weights), attention_gain)\n"
            "    return rms_norm(x + swiglu(x, w_gate, w_up, w_down), feed_forward_gain)\n",
            "normalise only what the parts read",
        ),
        (
            "the stream itself normalised",
            FIRST,
            "    x = rms_norm(x, attention_gain)\n    x = x + multi_head_attention(x, *weights)\n",
            "normalise only what the parts read",
        ),
        ("no feed-forward", SECOND, "    return x\n", "your result ends behind attention"),
        ("no attention", FIRST, "", "your result is the one without attention"),
        (
            "parallel",
            "rms_norm(x, feed_forward_gain)",
            "rms_norm(start, feed_forward_gain)",
            "from before attention",
        ),
        ("no second norm", "rms_norm(x, feed_forward_gain)", "x", "feed-forward part reads the"),
        ("no first norm", "rms_norm(x, attention_gain)", "x", "attention reads the stream"),
        (
            "one gain",
            "rms_norm(x, feed_forward_gain)",
            "rms_norm(x, attention_gain)",
            "both of your norms use the first gain",
        ),
        (
            "gate and up swapped",
            "w_gate, w_up, w_down)\n",
            "w_up, w_gate, w_down)\n",
            "your w_gate and w_up are swapped",
        ),
        (
            "no positions",
            "n_kv_heads, cos, sin)\n    start",
            "n_kv_heads)\n    start",
            "cos and sin",
        ),
        (
            "other order",
            FIRST + SECOND,
            "    x = x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, w_down)\n"
            "    return x + multi_head_attention(rms_norm(x, attention_gain), *weights)\n",
            "your feed-forward part comes first",
        ),
        ("in place", "    start = x\n", "    start = x.mul_(1.0001)\n", "in place"),
    ),
    Wrong(
        "decoder_block",
        "gains swapped",
        BLOCK.replace("(x, attention_gain)", "(x, GAIN)")
        .replace("(x, feed_forward_gain)", "(x, attention_gain)")
        .replace("(x, GAIN)", "(x, feed_forward_gain)"),
        "gains are swapped",
    ),
    *variants(
        "count_parameters",
        COUNT,
        ("no final norm", " + d_model\n", "\n", "final norm"),
        (
            "two matrices",
            "3 * d_model * d_ff",
            "2 * d_model * d_ff",
            "you count two matrices of the feed-forward part",
        ),
        (
            "no sharing",
            "(n_heads + n_kv_heads)",
            "(n_heads + n_heads)",
            "you count n_heads heads of keys and values",
        ),
        (
            "head width guessed",
            "    attention",
            "    d_head = d_model // n_heads\n    attention",
            "you take d_model / n_heads for the width of a head",
        ),
        ("no gains", "gains = 2 * d_model +", "gains =", "gains of the two norms"),
        ("one gain", "gains = 2 * d_model", "gains = d_model", "you count one norm for each block"),
        ("one layer", "n_layers * (", "1 * (", "you count one layer"),
        ("tied counted twice", "(1 if tie_embeddings else 2)", "2", "counts once"),
        ("always tied", "(1 if tie_embeddings else 2)", "1", "two tables twice"),
        ("no table", "return tables +", "return", "you leave out the embedding table"),
        ("no qk gains", "(2 * d_head if qk_norm else 0)", "0", "two gains of d_head"),
        ("a float", "+ d_model\n", "+ d_model / 1\n", "return an int"),
    ),
    *variants(
        "count_flops",
        FLOPS,
        ("additions forgotten", "2 * batch_size", "batch_size", "you count one operation"),
        (
            "no scores",
            "(weights + pairs)",
            "weights",
            "you leave out the products of queries and keys",
        ),
        (
            "scores alone",
            "n_layers * 2 * n_heads",
            "n_layers * n_heads",
            "you count one product of attention without weights, or scores that the mask lets "
            "through",
        ),
        ("linear scores", "* d_head * n_tokens\n", "* d_head\n", "squared"),
        (
            "no output projection",
            " + vocab_size * d_model",
            "",
            "you leave out the projection to the vocabulary",
        ),
        ("look-up counted", "+ vocab_size", "+ 2 * vocab_size", "takes no operation"),
        ("batch ignored", "2 * batch_size *", "2 *", "your count is that of one row"),
        ("one layer", "n_layers * (", "1 * (", "you count one layer"),
        (
            "no sharing",
            "(n_heads + n_kv_heads)",
            "(n_heads + n_heads)",
            "you count n_heads heads of keys and values",
        ),
        (
            "training as inference",
            "3 * forward if is_training else forward",
            "forward",
            "your training takes what a forward pass takes",
        ),
        ("backward alone", "3 * forward", "2 * forward", "yours is twice the forward pass"),
        ("always training", "if is_training else forward", "", "False where"),
    ),
    *variants(
        "route_top_k",
        ROUTE,
        (
            "softmax over all",
            "scores, experts = router_logits.",
            "scores, experts = router_logits.softmax(-1).",
            "differ",
        ),
        (
            "not renormalised",
            "return experts, scores.softmax(dim=-1)",
            "return experts, router_logits.softmax(-1).gather(-1, experts)",
            "over all experts",
        ),
        ("no softmax", "scores.softmax(dim=-1)", "scores", "your shares are the scores"),
        ("softmax over tokens", "softmax(dim=-1)", "softmax(dim=0)", "over tokens"),
        (
            "swapped",
            "experts, scores.softmax(dim=-1)",
            "scores.softmax(dim=-1), experts",
            "your shares come first",
        ),
        ("lowest", "topk(k, dim=-1)", "topk(k, dim=-1, largest=False)", "lowest"),
        (
            "worst first",
            "return experts, scores",
            "return experts.flip(-1), scores.flip(-1)",
            "first",
        ),
        ("one too many", "topk(k,", "topk(min(k + 1, router_logits.shape[-1]),", "experts each"),
        (
            "even shares",
            "scores.softmax(dim=-1)",
            "torch.full_like(scores, 1 / k)",
            "your shares are all 1 / k",
        ),
        (
            "no experts is fine",
            "if not 1 <= k",
            "if not 0 <= k",
            "raise a ValueError",
        ),
        ("no words", 'raise ValueError("k does not fit")', "pass", "ValueError"),
        ("two axes alone", ".topk(k, dim=-1)", ".topk(k, dim=1)", "Dimension out of range"),
    ),
]

WRONG += [
    *variants(
        "rms_norm",
        NORM,
        (
            "mean over the tokens",
            ".mean(-1, keepdim=True)",
            ".mean(-2, keepdim=True)",
            "runs over tokens",
        ),
        (
            "mean of the sizes",
            "torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)",
            "1 / (wide.abs().mean(-1, keepdim=True) + eps)",
            "yours is divided by the mean of 3 and 4",
        ),
        ("axis not kept", ".mean(-1, keepdim=True)", ".mean(-1)", "two axes before the last"),
        (
            "standard deviation",
            "wide.square().mean(-1, keepdim=True)",
            "wide.var(-1, keepdim=True)",
            "yours is divided by a standard deviation",
        ),
        ("one more than the gain", "* weight)", "* (1 + weight))", "your gain is 1 + weight"),
        (
            "gain before the mean",
            NORM.split("\n", 1)[1],
            "    wide = (x * weight).float()\n"
            "    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)\n"
            "    return (wide * scale).to(x.dtype)\n",
            "your mean square is that of x times the gain",
        ),
        (
            "eps as a lower bound",
            "torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)",
            "torch.rsqrt(wide.square().mean(-1, keepdim=True).clamp_min(eps))",
            "add it to the mean square",
        ),
        (
            "divided twice",
            "wide * scale",
            "wide * scale * scale",
            "yours is divided by the mean square itself",
        ),
        (
            "three axes out",
            "* weight)",
            "* weight.view(1, 1, -1))",
            "3 and 4 have the mean square 12.5",
        ),
        (
            "one channel less",
            ".mean(-1, keepdim=True)",
            ".sum(-1, keepdim=True) / (x.shape[-1] - 1)",
            "not by one less",
        ),
        (
            "gradient cut at the scale",
            "scale = torch.rsqrt(wide",
            "scale = torch.rsqrt(wide.detach()",
            "every step from `x`",
        ),
        (
            "gradient cut",
            "wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x",
            "wide = x.detach().float()",
            "no gradient reaches",
        ),
        (
            "gain outside its place",
            " * weight)",
            " + weight)",
            "your gain is added",
        ),
    ),
    *variants(
        "swiglu",
        GATED,
        ("tanh", "torch.sigmoid(gate)", "torch.tanh(gate)", "your gate is z * tanh"),
        (
            "silu twice",
            "gate = x @ w_gate.T",
            "gate = torch.nn.functional.silu(x @ w_gate.T)",
            "your silu is applied twice",
        ),
        (
            "down before the product",
            "(gate * torch.sigmoid(gate) * (x @ w_up.T)) @ w_down.T",
            "((gate * torch.sigmoid(gate)) @ w_down.T) * (x @ w_up.T @ w_down.T)",
            "multiply first",
        ),
        (
            "silu before the gate",
            "gate = x @ w_gate.T\n    return (gate * torch.sigmoid(gate)",
            "gate = torch.nn.functional.silu(x) @ w_gate.T\n    return (gate",
            "your silu acts on x",
        ),
        (
            "silu on the way out too",
            "    return (gate * torch.sigmoid(gate) * (x @ w_up.T)) @ w_down.T",
            "    out = (gate * torch.sigmoid(gate) * (x @ w_up.T)) @ w_down.T\n"
            "    return torch.nn.functional.silu(out)",
            "your result is passed through silu once more",
        ),
        ("stream added", "@ w_down.T\n", "@ w_down.T + x\n", "your result has x added to it"),
        (
            "tokens in one row",
            "    gate",
            "    x = x.reshape(-1, x.shape[-1])\n    gate",
            "expected the same shape, got",
        ),
        (
            "three axes alone",
            "x @ w_gate.T",
            "torch.einsum('btd,fd->btf', x, w_gate)",
            "number of dimensions",
        ),
        (
            "quick gelu",
            "torch.sigmoid(gate)",
            "torch.sigmoid(1.702 * gate)",
            "without a factor inside",
        ),
        (
            "softmax as gate",
            "gate * torch.sigmoid(gate)",
            "gate.softmax(-1)",
            "your gate is a softmax",
        ),
        (
            "both gated",
            "(x @ w_up.T)",
            "torch.nn.functional.silu(x @ w_up.T)",
            "your silu acts on both projections",
        ),
        (
            "overflow",
            "gate * torch.sigmoid(gate)",
            "gate * gate.exp() / (1 + gate.exp())",
            "a gate of 200 gave NaN, since exp",
        ),
        (
            "in place",
            "    return (gate * torch.sigmoid(gate) * (x @ w_up.T)) @ w_down.T\n",
            "    out = (gate * torch.sigmoid(gate) * (x @ w_up.T)) @ w_down.T\n"
            "    x.zero_()\n"
            "    return out\n",
            "in place",
        ),
        (
            "gradient of the gate cut",
            "torch.sigmoid(gate)",
            "torch.sigmoid(gate.detach())",
            "every step from `x`",
        ),
    ),
    *variants(
        "decoder_block",
        BLOCK,
        (
            "answers normalised",
            FIRST + SECOND,
            "    x = x + rms_norm(multi_head_attention(x, *weights), attention_gain)\n"
            "    return x + rms_norm(swiglu(x, w_gate, w_up, w_down), feed_forward_gain)\n",
            "your norms stand behind the parts",
        ),
        (
            "attention forgotten on the way",
            "    return x + swiglu",
            "    return start + swiglu",
            "is lost",
        ),
        (
            "stream added twice",
            "x = x + multi",
            "x = x + x + multi",
            "with w_o and w_down zero nothing is added",
        ),
        (
            "keys and values swapped",
            "(w_q, w_k, w_v,",
            "(w_q, w_v, w_k,",
            "keys and values are swapped",
        ),
        (
            "cos and sin swapped",
            "cos, sin)\n    start",
            "sin, cos)\n    start",
            "cos and sin are swapped",
        ),
        (
            "mean of stream and answer",
            "x = x + multi_head_attention(rms_norm(x, attention_gain), *weights)",
            "x = (x + multi_head_attention(rms_norm(x, attention_gain), *weights)) / 2",
            "with w_o and w_down zero nothing is added",
        ),
        (
            "a norm at the end",
            "return x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, w_down)",
            "x = x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, w_down)\n"
            "    return rms_norm(x, feed_forward_gain)",
            "with w_o and w_down zero nothing is added",
        ),
        (
            "norm of the norm",
            "rms_norm(x, attention_gain)",
            "rms_norm(rms_norm(x, attention_gain), attention_gain)",
            "your attention reads the stream normalised twice",
        ),
        (
            "layer norm",
            "rms_norm(x, attention_gain)",
            "rms_norm(x - x.mean(-1, keepdim=True), attention_gain)",
            "your norm subtracts the mean",
        ),
        (
            "gains forgotten",
            "rms_norm(x, attention_gain)",
            "rms_norm(x, attention_gain * 0 + 1)",
            "gain of the first norm",
        ),
        (
            "second gain forgotten",
            "rms_norm(x, feed_forward_gain)",
            "rms_norm(x, feed_forward_gain * 0 + 1)",
            "gain of the second norm",
        ),
        ("attention twice", FIRST, FIRST + FIRST, "added twice"),
        (
            "heads swapped",
            "n_heads, n_kv_heads, cos, sin)\n    start",
            "n_kv_heads, n_heads, cos, sin)\n    start",
            "is invalid for input",
        ),
        (
            "gradient of the stream cut",
            "x = x + multi",
            "x = x.detach() + multi",
            "every step from `x`",
        ),
        (
            "a tuple",
            "    return x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, w_down)",
            "    return x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, w_down), None",
            "return the stream alone",
        ),
        (
            "first of the batch alone",
            FIRST,
            "    x = x + multi_head_attention(rms_norm(x[:1], attention_gain), *weights)\n",
            "your attention gives every row of the batch the first row's answer",
        ),
    ),
    *variants(
        "count_parameters",
        COUNT,
        (
            "biases counted",
            "attention = ",
            "attention = d_head * (n_heads + 2 * n_kv_heads) + d_model + ",
            "you count biases of the projections",
        ),
        (
            "no output projection",
            "2 * d_model * d_head * (n_heads + n_kv_heads)",
            "d_model * d_head * (n_heads + 2 * n_kv_heads)",
            "you count one matrix for queries and the output projection",
        ),
        (
            "gains for each head",
            "2 * d_head if",
            "d_head * (n_heads + n_kv_heads) if",
            "shared by all heads",
        ),
        (
            "one gain for queries and keys",
            "2 * d_head if",
            "d_head if",
            "one for queries and one for keys",
        ),
        (
            "tables in every layer",
            "return tables + n_layers * (attention",
            "return n_layers * (tables + attention",
            "they stand outside the blocks and count once",
        ),
        (
            "final norm in every layer",
            "+ gains) + d_model",
            "+ gains + d_model)",
            "it stands outside the blocks and counts once",
        ),
        (
            "d_ff guessed",
            "    feed_forward",
            "    d_ff = 4 * d_model\n    feed_forward",
            "as given",
        ),
        (
            "values forgotten",
            "2 * d_model * d_head * (n_heads + n_kv_heads)",
            "d_model * d_head * (2 * n_heads + n_kv_heads)",
            "you count one matrix for keys and values",
        ),
        (
            "tied inverted",
            "(1 if tie_embeddings else 2)",
            "(2 if tie_embeddings else 1)",
            "a tied table counts once",
        ),
        (
            "qk_norm inverted",
            "if qk_norm else 0",
            "if not qk_norm else 0",
            "you take qk_norm the other way round",
        ),
        (
            "qk gains once",
            "gains = 2 * d_model + (2 * d_head if qk_norm else 0)",
            "gains = 2 * d_model",
            "two gains of d_head",
        ),
        ("one layer more", "n_layers * (att", "(n_layers + 1) * (att", "one layer too many"),
        (
            "thousands",
            "    return tables + n_layers * (attention + feed_forward + gains) + d_model",
            "    return (tables + n_layers * (attention + feed_forward + gains) + d_model) // 1000",
            "you count in thousands or millions",
        ),
        (
            "a tensor",
            "    return tables + n_layers * (attention + feed_forward + gains) + d_model",
            "    import torch\n"
            "    total = tables + n_layers * (attention + feed_forward + gains) + d_model\n"
            "    return torch.tensor(total)",
            "return an int",
        ),
        (
            "padded vocabulary",
            "tables = vocab_size",
            "tables = -(-vocab_size // 64) * 64",
            "you round vocab_size up to a multiple of 64",
        ),
        (
            "a bias of the vocabulary",
            "tables = ",
            "tables = vocab_size + ",
            "you count a bias of the output",
        ),
        (
            "qk gains outside the blocks",
            "gains = 2 * d_model + (2 * d_head if qk_norm else 0)\n    tables =",
            "gains = 2 * d_model\n    tables = (2 * d_head if qk_norm else 0) +",
            "you count the gains of qk_norm once",
        ),
    ),
    *variants(
        "count_flops",
        FLOPS,
        (
            "scores of one layer",
            "pairs = n_layers *",
            "pairs =",
            "you count the products of queries and keys once",
        ),
        ("six for each weight", "forward = 2 *", "forward = 6 *", "your count is that of training"),
        ("four times in training", "3 * forward", "4 * forward", "nothing is computed again"),
        (
            "head width guessed",
            "    attention",
            "    d_head = d_model // n_heads\n    attention",
            "you take d_model / n_heads for the width of a head",
        ),
        (
            "two matrices",
            "3 * d_model * d_ff",
            "2 * d_model * d_ff",
            "you count two matrices of the feed-forward part",
        ),
        (
            "no output projection of attention",
            "2 * d_model * d_head * (n_heads + n_kv_heads)",
            "d_model * d_head * (n_heads + 2 * n_kv_heads)",
            "you count one product for queries",
        ),
        ("a float", "    forward = 2 *", "    forward = 2.0 *", "return an int"),
        (
            "tokens ignored",
            "batch_size * n_tokens",
            "batch_size",
            "your count is that of one token",
        ),
        ("flag inverted", "if is_training", "if not is_training", "your count is that of training"),
        (
            "scores of the shared heads",
            "2 * n_heads * d_head * n_tokens",
            "2 * n_kv_heads * d_head * n_tokens",
            "you count scores for n_kv_heads heads",
        ),
        (
            "training of the weights alone",
            "    return 3 * forward if is_training else forward",
            "    trained = 2 * batch_size * n_tokens * (3 * weights + pairs)\n"
            "    return trained if is_training else forward",
            "you leave out the backward pass of products without weights",
        ),
        (
            "softmax counted",
            "2 * n_heads * d_head * n_tokens",
            "2 * n_heads * d_head * n_tokens + 5 * n_heads * n_tokens",
            "batch_size=",
        ),
        (
            "vocabulary in every layer",
            "weights = n_layers * (attention + 3 * d_model * d_ff) + vocab_size * d_model",
            "weights = n_layers * (attention + 3 * d_model * d_ff + vocab_size * d_model)",
            "outside the blocks",
        ),
        (
            "one layer more",
            "    attention",
            "    n_layers += 1\n    attention",
            "one layer too many",
        ),
        (
            "values forgotten",
            "2 * d_model * d_head * (n_heads + n_kv_heads)",
            "d_model * d_head * (2 * n_heads + n_kv_heads)",
            "you count one product for keys and values",
        ),
        (
            "scores over the batch",
            "* d_head * n_tokens\n",
            "* d_head * n_tokens * batch_size\n",
            "you let tokens attend to other rows",
        ),
        (
            "no vocabulary in training",
            "return 3 * forward",
            "return 3 * (forward - 2 * batch_size * n_tokens * vocab_size * d_model)",
            "is trained as well",
        ),
    ),
    *variants(
        "route_top_k",
        ROUTE,
        (
            "sorted by number",
            "    return experts, scores.softmax(dim=-1)",
            "    experts, order = experts.sort(dim=-1)\n"
            "    return experts, scores.gather(-1, order).softmax(dim=-1)",
            "your experts are sorted by their number",
        ),
        (
            "shares in the order of the numbers",
            "scores.softmax(dim=-1)",
            "scores.gather(-1, experts.argsort(-1)).softmax(dim=-1)",
            "another order than their experts",
        ),
        (
            "best tokens of each expert",
            "router_logits.topk(k, dim=-1)",
            "router_logits.topk(k, dim=-2)",
            "3 experts each",
        ),
        (
            "sigmoid",
            "scores.softmax(dim=-1)",
            "scores.sigmoid() / scores.sigmoid().sum(-1, keepdim=True)",
            "your shares are sigmoids over their sum",
        ),
        (
            "scores over their sum",
            "scores.softmax(dim=-1)",
            "scores / scores.sum(-1, keepdim=True)",
            "can be negative",
        ),
        (
            "a temperature of k",
            "scores.softmax",
            "(scores / k).softmax",
            "your scores are divided by k before the softmax",
        ),
        ("numbers as floats", "return experts,", "return experts.float(),", "are integers"),
        (
            "shares for all experts",
            "scores.softmax(dim=-1)",
            "torch.zeros_like(router_logits).scatter(-1, experts, scores.softmax(dim=-1))",
            "twice, got",
        ),
        (
            "one tensor",
            "return experts, scores.softmax(dim=-1)",
            "return torch.stack([experts.to(scores.dtype), scores.softmax(dim=-1)])",
            "return two tensors",
        ),
        (
            "as many as there are",
            'raise ValueError("k does not fit")',
            "k = min(max(k, 1), router_logits.shape[-1])",
            "raise a ValueError",
        ),
        ("another error", "ValueError", "IndexError", "raise a ValueError"),
        (
            "largest in size",
            "scores, experts = router_logits.topk(k, dim=-1)",
            "experts = router_logits.abs().topk(k, dim=-1).indices\n"
            "    scores = router_logits.gather(-1, experts)",
            "your experts are those with the scores furthest from 0",
        ),
        ("two always", "topk(k,", "topk(2,", "twice, got"),
        (
            "overflow",
            "scores.softmax(dim=-1)",
            "scores.exp() / scores.exp().sum(-1, keepdim=True)",
            "scores 900, 1000 and -1000 gave NaN, since exp",
        ),
        (
            "the best one k times",
            "router_logits.topk(k, dim=-1)",
            "router_logits.max(-1, keepdim=True)\n"
            "    scores, experts = (t.repeat_interleave(k, -1) for t in (scores, experts))",
            "k different ones",
        ),
        (
            "too many is fine",
            "if not 1 <= k <= router_logits.shape[-1]",
            "if k < 1",
            "raise a ValueError",
        ),
        (
            "scores changed in place",
            "    return",
            "    router_logits.scatter_(-1, experts, float('-inf'))\n    return",
            "changed in place",
        ),
        ("logarithms", "scores.softmax", "scores.log_softmax", "not log_softmax"),
    ),
]

WRONG += [
    *variants(
        "rms_norm",
        NORM,
        (
            "the gain's dtype",
            "(wide * scale * weight).to(x.dtype)",
            "(wide * scale).to(x.dtype) * weight",
            "the dtype of x",
        ),
        (
            "bfloat16 left wide",
            "(wide * scale * weight).to(x.dtype)",
            "(wide * scale * weight).to(torch.float16 if x.dtype == torch.float16 else wide.dtype)",
            "x in bfloat16, the gain in float32",
        ),
        (
            "float64 narrowed",
            "wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x\n",
            "wide = x.float()\n    x = wide.to(torch.float16) if x.dtype == torch.float16 else "
            "wide.bfloat16() if x.dtype == torch.bfloat16 else wide\n",
            "expected float64, got",
        ),
        ("gradient of the gain cut", "* weight)", "* weight.detach())", "gradient"),
        (
            "squeezed",
            "(wide * scale * weight)",
            "(wide * scale * weight).squeeze()",
            "keeps its shape",
        ),
        (
            "squeezed in front",
            "(wide * scale * weight)",
            "(wide * scale * weight).squeeze(0)",
            "keeps its shape",
        ),
        (
            "gain changed",
            "    scale",
            "    weight.mul_(2); weight = weight / 2\n    scale",
            "changed in place",
        ),
        (
            "mean over two axes",
            ".mean(-1, keepdim=True)",
            ".mean(tuple(range(x.dim()))[-2:], keepdim=True)",
            "x / sqrt(mean(x * x) + eps)",
        ),
        (
            "eps of the size",
            " + eps)",
            " + eps * wide.square().mean(-1, keepdim=True))",
            "x / sqrt(mean(x * x) + eps)",
        ),
        ("eps twice", " + eps)", " + 2 * eps)", "x / sqrt(mean(x * x) + eps)"),
        (
            "median",
            "wide.square().mean(-1, keepdim=True)",
            "wide.square().median(-1, keepdim=True).values",
            "mean",
        ),
        ("positive alone", "wide * scale", "wide.abs() * scale", "x / sqrt(mean(x * x) + eps)"),
        (
            "gradient NaN at zero",
            "torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)",
            "1 / (wide.square().mean(-1, keepdim=True).sqrt().square() + eps).sqrt()",
            "finite",
        ),
    ),
    *variants(
        "swiglu",
        GATED,
        ("gradient of up cut", "x @ w_up.T", "x @ w_up.detach().T", "gradient"),
        ("gradient of down cut", "@ w_down.T", "@ w_down.detach().T", "gradient"),
        ("gradient of x partly cut", "x @ w_up.T", "x.detach() @ w_up.T", "gradient of `x`"),
        ("gradient NaN", "torch.sigmoid(gate)", "(1 / (1 + (-gate).exp()))", "not finite"),
        (
            "a gate changed",
            "    gate",
            "    w_gate.mul_(2); w_gate = w_gate / 2\n    gate",
            "in place",
        ),
        (
            "w_down changed",
            "    gate",
            "    w_down.mul_(2); w_down = w_down / 2\n    gate",
            "in place",
        ),
        ("squeezed", "@ w_down.T\n", "@ w_down.T.squeeze()\n", "RuntimeError"),
        (
            "result squeezed",
            "    return (gate * torch.sigmoid(gate) * (x @ w_up.T)) @ w_down.T",
            "    return ((gate * torch.sigmoid(gate) * (x @ w_up.T)) @ w_down.T).squeeze(0)",
            "shape",
        ),
        (
            "two axes at least",
            "gate = x @ w_gate.T",
            "gate = torch.cat([x[..., :1, :], x[..., 1:, :]], dim=-2) @ w_gate.T",
            "of shape (6,)",
        ),
        ("hard", "torch.sigmoid(gate)", "torch.nn.functional.hardsigmoid(gate)", "silu"),
        ("softplus", "gate * torch.sigmoid(gate)", "torch.nn.functional.softplus(gate)", "silu"),
        ("scaled", ") @ w_down.T", ") / x.shape[-1] ** 0.5 @ w_down.T", "silu"),
        (
            "negative gates dropped",
            "gate * torch.sigmoid(gate)",
            "gate.relu() * torch.sigmoid(gate)",
            "silu",
        ),
        (
            "a batch norm",
            "    return",
            "    gate = gate - gate.mean(-1, keepdim=True)\n    return",
            "silu",
        ),
    ),
    *variants(
        "decoder_block",
        BLOCK,
        ("w_down cut", "w_up, w_down)\n", "w_up, w_down.detach())\n", "gradient"),
        ("w_q cut", "weights = (w_q,", "weights = (w_q.detach(),", "gradient"),
        (
            "second part cut",
            "rms_norm(x, feed_forward_gain)",
            "rms_norm(x.detach(), feed_forward_gain)",
            "gradient of `x`",
        ),
        (
            "first gain cut",
            "rms_norm(x, attention_gain)",
            "rms_norm(x, attention_gain.detach())",
            "gradient",
        ),
        ("answer of attention cut", "*weights)\n", "*weights).detach()\n", "gradient"),
        (
            "no gradient at all",
            "    start = x\n",
            "    start = x\n    torch = __import__('torch')\n    with torch.no_grad():\n        "
            "return x + multi_head_attention(rms_norm(x, attention_gain), *weights)\n",
            "your result ends behind attention",
        ),
        (
            "squeezed",
            "    return x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, w_down)",
            "    return (x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, "
            "w_down)).squeeze(0)",
            "shape",
        ),
        ("halved", "return x + swiglu", "return x + 0.5 * swiglu", "that plus feed-forward"),
        (
            "gain of one more",
            "rms_norm(x, attention_gain)",
            "rms_norm(x, 1 + attention_gain)",
            "that plus feed-forward",
        ),
        (
            "the norm's answer added",
            "x = x + multi_head_attention(rms_norm(x, attention_gain), *weights)",
            "n = rms_norm(x, attention_gain)\n    x = n + multi_head_attention(n, *weights)",
            "with w_o and w_down zero nothing is added",
        ),
        ("x added to in place", "    x = x + multi", "    x += multi", "in place"),
        (
            "a weight changed",
            "    start = x\n",
            "    w_q.mul_(2); w_q = w_q / 2\n    weights = (w_q, *weights[1:])\n    start = x\n",
            "in place",
        ),
        ("first token alone", "    return x", "    x = x[:, :1]\n    return x", "shape"),
        (
            "tokens turned round",
            "    return x",
            "    x = x.flip(1)\n    return x",
            "with w_o and w_down zero nothing is added",
        ),
        (
            "down and up swapped",
            "w_gate, w_up, w_down)\n",
            "w_gate, w_down.T, w_up.T)\n",
            "that plus feed-forward",
        ),
        (
            "two outputs of attention",
            "x = x + multi_head_attention(rms_norm(x, attention_gain), *weights)",
            "x = x + multi_head_attention(rms_norm(x, attention_gain), *weights) * n_heads",
            "that plus feed-forward",
        ),
    ),
    *variants(
        "count_parameters",
        COUNT,
        (
            "output of d_model squared",
            "2 * d_model * d_head * (n_heads + n_kv_heads)",
            "d_model * d_head * (n_heads + 2 * n_kv_heads) + d_model * d_model",
            "you count d_model times d_model weights for queries or for the output projection",
        ),
        (
            "floats on the way",
            "attention = 2 * d_model",
            "attention = 2.0 * d_model",
            "return an int",
        ),
        (
            "rounded floats",
            "    return tables + n_layers * (attention + feed_forward + gains) + d_model",
            "    import numpy as np\n    return int(np.float32(tables) + np.float32(n_layers) * "
            "(attention + feed_forward + gains) + d_model)",
            "a real size",
        ),
        (
            "32 bits",
            "    return tables + n_layers * (attention + feed_forward + gains) + d_model",
            "    total = tables + n_layers * (attention + feed_forward + gains) + d_model\n    "
            "return (total + 2**31) % 2**32 - 2**31",
            "70,553,706,496",
        ),
        (
            "positions counted",
            "tables = vocab",
            "tables = 2048 * d_model + vocab",
            "outside the blocks",
        ),
        ("norm for the embedding", ") + d_model\n", ") + 2 * d_model\n", "outside the blocks"),
        ("one layer less", "n_layers * (att", "(n_layers - 1) * (att", "layer"),
        ("kv forgotten in qk gains", "2 * d_head if", "2 * d_head * n_kv_heads if", "qk_norm"),
        (
            "gains of the wide layer",
            "gains = 2 * d_model",
            "gains = d_ff + d_model",
            "the weights of one block (",
        ),
        (
            "four matrices",
            "3 * d_model * d_ff",
            "4 * d_model * d_ff",
            "you count four matrices of the feed-forward part",
        ),
    ),
    *variants(
        "count_flops",
        FLOPS,
        (
            "tokens before",
            "* d_head * n_tokens\n",
            "* d_head * (n_tokens + 1) // 2\n",
            "without weights",
        ),
        ("floats", "return 3 * forward", "return 3.0 * forward", "int"),
        (
            "rounded",
            "    return 3",
            "    forward = int(float(forward) * 1.0)\n    return 3",
            "real",
        ),
        (
            "divided and rounded",
            "forward = 2 * batch_size * n_tokens * (weights + pairs)",
            "forward = int(2e0 * batch_size * n_tokens * (weights + pairs))",
            "real",
        ),
        (
            "32 bits",
            "    return 3",
            "    forward = (forward + 2**31) % 2**32 - 2**31\n    return 3",
            "real",
        ),
        (
            "embedding in training",
            "return 3 * forward",
            "return 3 * forward + 2 * batch_size * n_tokens * vocab_size * d_model",
            "three times",
        ),
        (
            "norms counted",
            "+ vocab_size * d_model",
            "+ vocab_size * d_model + 2 * n_layers * d_model",
            "all products",
        ),
        (
            "head by head keys",
            "2 * n_heads * d_head * n_tokens",
            "(n_heads + n_kv_heads) * d_head * n_tokens",
            "without weights",
        ),
        (
            "flag taken for a number",
            "3 * forward if is_training else forward",
            "forward * (1 + is_training)",
            "three times",
        ),
        (
            "scores of d_model",
            "2 * n_heads * d_head * n_tokens",
            "2 * d_model * n_tokens",
            "without weights",
        ),
    ),
    *variants(
        "route_top_k",
        ROUTE,
        ("gradient cut", "scores.softmax", "scores.detach().softmax", "gradient"),
        (
            "gradient partly cut",
            "scores.softmax(dim=-1)",
            "(scores - scores[..., :1].detach()).exp() / (scores - scores[..., "
            ":1].detach()).exp().sum(-1, keepdim=True).detach()",
            "gradient of `router_logits`",
        ),
        (
            "at least the score of the last",
            "    scores, experts = router_logits.topk(k, dim=-1)\n",
            "    last = router_logits.topk(k, dim=-1).values[..., -1:]\n    kept = "
            "router_logits.masked_fill(router_logits < last, float('-inf'))\n    scores, experts "
            "= kept.topk(max(int((kept > float('-inf')).sum(-1).max()), k), dim=-1)\n",
            "2 experts each",
        ),
        (
            "ties lost",
            "    scores, experts = router_logits.topk(k, dim=-1)\n",
            "    scores, experts = router_logits.topk(k, dim=-1)\n    experts = "
            "(router_logits.unsqueeze(-2) == scores.unsqueeze(-1)).int().argmax(-1)\n",
            "different",
        ),
        (
            "squeezed",
            "return experts, scores.softmax(dim=-1)",
            "return experts.squeeze(-1), scores.softmax(dim=-1).squeeze(-1)",
            "(1,)",
        ),
        (
            "a batch of one squeezed",
            "return experts, scores.softmax(dim=-1)",
            "return experts.squeeze(0), scores.softmax(dim=-1).squeeze(0)",
            "twice, got",
        ),
        (
            "unsorted",
            "topk(k, dim=-1)",
            "topk(k, dim=-1)\n    scores, experts = scores.flip(-1), experts.flip(-1)",
            "first",
        ),
        (
            "negative k",
            "not 1 <= k <= router_logits.shape[-1]",
            "k == 0 or k > router_logits.shape[-1]",
            "k = -1",
        ),
        ("more than there are", "<= router_logits.shape[-1]:", "<= 99:", "k = 7"),
        ("one below", "<= router_logits.shape[-1]", "< router_logits.shape[-1]", "k = E"),
        ("tokens compared", "router_logits.shape[-1]:", "router_logits.shape[0]:", "k"),
        (
            "softmax twice",
            "scores.softmax(dim=-1)",
            "scores.softmax(dim=-1).softmax(dim=-1)",
            "taken twice",
        ),
        ("squared", "scores.softmax", "scores.square().softmax", "shares"),
        (
            "largest alone",
            "return experts, scores.softmax(dim=-1)",
            "return experts, (scores == scores[..., :1]).float()",
            "shares",
        ),
        (
            "shares of the size of k",
            "scores.softmax(dim=-1)",
            "scores.softmax(dim=-1) * k",
            "shares",
        ),
    ),
]

EQUIVALENT = {}


TINY = """class TinyDecoder(nn.Module):
    def __init__(self, vocab_size, context_length, d_model, n_layers, n_heads, d_ff):
        super().__init__()
        self.n_heads = n_heads
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.layers = nn.ModuleList(self.layer(d_model, d_ff) for _ in range(n_layers))
        self.gain = nn.Parameter(torch.ones(d_model))
        self.cos, self.sin = rope_table(context_length, d_model // n_heads)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                writes = name.endswith("w_o") or name.endswith("w_down")
                nn.init.normal_(weight, std=0.02 / (2 * n_layers) ** 0.5 if writes else 0.02)

    def layer(self, d_model, d_ff):
        names = dict(w_q=d_model, w_k=d_model, w_v=d_model, w_o=d_model, w_gate=d_ff, w_up=d_ff)
        layer = nn.ParameterDict({k: torch.empty(n, d_model) for k, n in names.items()})
        layer["w_down"] = torch.empty(d_model, d_ff)
        layer["attention_gain"] = torch.ones(d_model)
        layer["feed_forward_gain"] = torch.ones(d_model)
        return layer

    def forward(self, token_ids):
        T = token_ids.shape[1]
        x = self.embedding(token_ids)
        heads = {"n_heads": self.n_heads, "n_kv_heads": self.n_heads}
        for layer in self.layers:
            x = decoder_block(x, **layer, **heads, cos=self.cos[:T], sin=self.sin[:T])
        return rms_norm(x, self.gain) @ self.embedding.weight.T
"""
RETURN = "        return rms_norm(x, self.gain) @ self.embedding.weight.T\n"
WRONG += variants(
    "TinyDecoder",
    TINY,
    ("no last norm", "rms_norm(x, self.gain) @", "x @", "the one without the last norm"),
    (
        "no last gain",
        "(x, self.gain)",
        "(x, torch.ones_like(self.gain))",
        "your result is the one without the gain of the last norm",
    ),
    ("no layers", "in self.layers:", "in []:", "your result is the one without any layer"),
    (
        "one layer",
        "in self.layers:",
        "in self.layers[:1]:",
        "your result is that of the first layer alone",
    ),
    (
        "one layer too few",
        "in self.layers:",
        "in self.layers[:-1]:",
        "your result is the one without the last layer",
    ),
    ("the first thrice", "in self.layers:", "in [self.layers[0]] * 3:", "again and again"),
    ("in reverse", "in self.layers:", "in reversed(self.layers):", "run in reverse"),
    ("no positions", "cos=self.cos[:T], sin=self.sin[:T]", "cos=None, sin=None", "position 0"),
    ("tables not cut", "[:T], sin=self.sin[:T]", ", sin=self.sin", "The case: token_ids"),
    (
        "embedding scaled",
        "self.embedding(token_ids)",
        "self.embedding(token_ids) * self.embedding.weight.shape[1] ** 0.5",
        "your embedding is multiplied by sqrt",
    ),
    (
        "probabilities",
        RETURN,
        RETURN.replace("return ", "x = ") + "        return x.softmax(-1)\n",
        "your result is a softmax",
    ),
    (
        "last token alone",
        RETURN,
        RETURN.replace("(x,", "(x[:, -1],"),
        "give (2, 6, 30)",
    ),
    (
        "a table of its own",
        "        self.gain =",
        "        self.unembedding = nn.Linear(d_model, vocab_size, bias=False)\n"
        "        self.gain =",
        "no checkpoint brings",
    ),
    (
        "tables saved",
        "        self.cos, self.sin = rope_table(context_length, d_model // n_heads)\n",
        "        cos, sin = rope_table(context_length, d_model // n_heads)\n"
        "        self.register_buffer('cos', cos)\n"
        "        self.register_buffer('sin', sin)\n",
        "saved with the weights",
    ),
    (
        "layers in a list",
        "nn.ModuleList(self.layer(d_model, d_ff) for _ in range(n_layers))",
        "[self.layer(d_model, d_ff) for _ in range(n_layers)]",
        "have no place in the model",
    ),
    (
        "one layer n times",
        "nn.ModuleList(self.layer(d_model, d_ff) for _ in range(n_layers))",
        "nn.ModuleList([self.layer(d_model, d_ff)] * n_layers)",
        "the same numbers",
    ),
    ("torch's start", "if weight.dim() > 1:", "if weight.dim() > 2:", "standard deviation of"),
    ("writers as all", "(2 * n_layers) ** 0.5 if writes", "1 if writes", "writes into the stream"),
    ("one writer a layer", "(2 * n_layers)", "n_layers", "two writers"),
    (
        "gains at zero",
        "nn.Parameter(torch.ones(",
        "nn.Parameter(torch.zeros(",
        "is a gain and does not start at one",
    ),
    (
        "no parameters",
        "self.gain = nn.Parameter(torch.ones(d_model))",
        "self.register_buffer('gain', torch.ones(d_model))",
        "to be an nn.Parameter",
    ),
    (
        "the table cut at one end",
        "self.embedding.weight.T",
        "self.embedding.weight.detach().T",
        "nothing on the way may be cut",
    ),
    (
        "no gradients",
        "        T = token_ids",
        "        torch.set_grad_enabled(False)\n        T = token_ids",
        "cuts the gradient",
    ),
)
EQUIVALENT["TinyDecoder", "1 -> -1 in `token_ids.shape[1]`"] = "of two axes, 1 and -1 are the same"

NORMAL = "nn.init.normal_(weight, std=0.02 / (2 * n_layers) ** 0.5 if writes else 0.02)"
SPREAD = "s = 3**0.5 * (0.02 / (2 * n_layers) ** 0.5 if writes else 0.02)"  # ends of an interval
WRONG += [
    *variants(
        "rms_norm",
        NORM,
        (
            "over one number less",
            ".mean(-1, keepdim=True)",
            ".sum(-1, keepdim=True) / max(1, x.shape[-1] - 1)",
            "not by one less",
        ),
        ("over the first axis", ".mean(-1, keepdim=True)", ".mean(0)", "over the first axis"),
    ),
    Wrong(
        "decoder_block",
        "heads and key-value heads swapped",
        """
def decoder_block(x, attention_gain, w_q, w_k, w_v, w_o, feed_forward_gain, w_gate, w_up, w_down,
                  n_heads, n_kv_heads, cos, sin):
    four = w_q, w_k, w_v, w_o
    read = rms_norm(x, attention_gain)
    x = x + multi_head_attention(read, *four, n_kv_heads, n_heads, cos, sin)
    return x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, w_down)
""",
        "n_heads 4 and n_kv_heads 2",
    ),
    *variants(
        "count_flops",
        FLOPS,
        (
            "pairs of one row",
            "2 * batch_size * n_tokens * (weights + pairs)",
            "2 * n_tokens * (batch_size * weights + pairs)",
            "each of the batch_size rows",
        ),
    ),
    *variants(
        "TinyDecoder",
        TINY,
        (
            "drawn evenly",
            NORMAL,
            f"{SPREAD}; nn.init.uniform_(weight, -s, s)",
            "draw it with nn.init.normal_",
        ),
        ("drawn above zero", NORMAL, f"{NORMAL}; weight.data.abs_()", "drawn around zero"),
        (
            "the gain without the norm",
            "rms_norm(x, self.gain)",
            "(x * self.gain)",
            "your result has the gain of the last norm and not the norm",
        ),
        (
            "logits scaled",
            "self.embedding.weight.T",
            "self.embedding.weight.T / x.shape[-1] ** 0.5",
            "your logits are divided by sqrt",
        ),
    ),
]
