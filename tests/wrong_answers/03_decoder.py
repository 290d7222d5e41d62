"""Wrong answers of lab 03, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

NORM = """def rms_norm(x, weight, eps=1e-5):
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale).to(x.dtype) * weight
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
        ("length, not mean", ".mean(", ".sum(", "division by the length"),
        ("root forgotten", "torch.rsqrt(", "1 / (", "the root is missing"),
        (
            "layer norm",
            "    scale",
            "    wide = wide - wide.mean(-1, keepdim=True)\n    scale",
            "LayerNorm",
        ),
        ("gain forgotten", ".to(x.dtype) * weight", ".to(x.dtype)", "is not used"),
        ("eps forgotten", " + eps", "", "eps is not used"),
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
        ("stays in float32", ".to(x.dtype) * weight", " * weight.float()", "float16 out"),
        ("in place", "wide = x.float() if", "x.mul_(1.5)\n    wide = x.float() if", "in place"),
        ("another eps", "eps=1e-5", "eps=1e-6", "1e-5 where none"),
    ),
    *variants(
        "swiglu",
        GATED,
        ("gate and up swapped", "x @ w_gate.T", "x @ w_up.T", "the result differs"),
        (
            "silu on the wrong one",
            "gate * torch.sigmoid(gate) * (x @ w_up.T)",
            "gate * (x @ w_up.T) * torch.sigmoid(x @ w_up.T)",
            "not on the other",
        ),
        ("sigmoid alone", "gate * torch.sigmoid(gate)", "torch.sigmoid(gate)", "as a factor"),
        ("relu", "gate * torch.sigmoid(gate)", "torch.relu(gate)", "ReLU"),
        ("gelu", "gate * torch.sigmoid(gate)", "torch.nn.functional.gelu(gate)", "GELU"),
        ("added", "(gate) * (x", "(gate) + (x", "not added"),
        ("no up", " * (x @ w_up.T)", "", "w_up is not used"),
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
        ("no feed-forward", SECOND, "    return x\n", "feed-forward part is missing"),
        ("no attention", FIRST, "", "attention is missing"),
        (
            "parallel",
            "rms_norm(x, feed_forward_gain)",
            "rms_norm(start, feed_forward_gain)",
            "from before attention",
        ),
        ("no second norm", "rms_norm(x, feed_forward_gain)", "x", "feed-forward part reads the"),
        ("no first norm", "rms_norm(x, attention_gain)", "x", "attention reads the stream"),
        ("one gain", "rms_norm(x, feed_forward_gain)", "rms_norm(x, attention_gain)", "both norms"),
        (
            "gate and up swapped",
            "w_gate, w_up, w_down)\n",
            "w_up, w_gate, w_down)\n",
            "gate and up",
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
            "attention first",
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
        ("two matrices", "3 * d_model * d_ff", "2 * d_model * d_ff", "three matrices"),
        ("no sharing", "(n_heads + n_kv_heads)", "(n_heads + n_heads)", "n_kv_heads heads"),
        (
            "head width guessed",
            "    attention",
            "    d_head = d_model // n_heads\n    attention",
            "need not be",
        ),
        ("no gains", "gains = 2 * d_model +", "gains =", "gains of the two norms"),
        ("one gain", "gains = 2 * d_model", "gains = d_model", "not one"),
        ("one layer", "n_layers * (", "1 * (", "every layer"),
        ("tied counted twice", "(1 if tie_embeddings else 2)", "2", "counts once"),
        ("always tied", "(1 if tie_embeddings else 2)", "1", "two tables twice"),
        ("no table", "return tables +", "return", "table is missing"),
        ("no qk gains", "(2 * d_head if qk_norm else 0)", "0", "two gains of d_head"),
        ("a float", "+ d_model\n", "+ d_model / 1\n", "return an int"),
    ),
    *variants(
        "count_flops",
        FLOPS,
        ("additions forgotten", "2 * batch_size", "batch_size", "two operations"),
        ("no scores", "(weights + pairs)", "weights", "are missing"),
        ("scores alone", "n_layers * 2 * n_heads", "n_layers * n_heads", "two products without"),
        ("linear scores", "* d_head * n_tokens\n", "* d_head\n", "squared"),
        ("no output projection", " + vocab_size * d_model", "", "vocabulary is missing"),
        ("look-up counted", "+ vocab_size", "+ 2 * vocab_size", "takes no operation"),
        ("batch ignored", "2 * batch_size *", "2 *", "batch_size is not used"),
        ("one layer", "n_layers * (", "1 * (", "differs"),
        ("no sharing", "(n_heads + n_kv_heads)", "(n_heads + n_heads)", "n_kv_heads heads"),
        ("training as inference", "3 * forward if is_training else forward", "forward", "not used"),
        ("backward alone", "3 * forward", "2 * forward", "counted as well"),
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
        ("no softmax", "scores.softmax(dim=-1)", "scores", "need a softmax"),
        ("softmax over tokens", "softmax(dim=-1)", "softmax(dim=0)", "over tokens"),
        ("swapped", "experts, scores.softmax(dim=-1)", "scores.softmax(dim=-1), experts", "order"),
        ("lowest", "topk(k, dim=-1)", "topk(k, dim=-1, largest=False)", "lowest"),
        (
            "worst first",
            "return experts, scores",
            "return experts.flip(-1), scores.flip(-1)",
            "first",
        ),
        ("one too many", "topk(k,", "topk(min(k + 1, router_logits.shape[-1]),", "experts each"),
        ("even shares", "scores.softmax(dim=-1)", "torch.full_like(scores, 1 / k)", "not evenly"),
        (
            "no experts is fine",
            "if not 1 <= k",
            "if not 0 <= k",
            "raise a ValueError",
        ),
        ("no words", 'raise ValueError("k does not fit")', "pass", "ValueError"),
        ("two axes alone", ".topk(k, dim=-1)", ".topk(k, dim=1)", "last axis"),
    ),
]

EQUIVALENT = {}
