"""Right answers of lab 03 that take another way than the course's."""

HEAD = """def decoder_block(
    x, attention_gain, w_q, w_k, w_v, w_o, feed_forward_gain, w_gate, w_up, w_down,
    n_heads, n_kv_heads, cos, sin,
):
"""

RIGHT = {
    "rms_norm": [
        # In float64, by the length of the vector.
        """
def rms_norm(x, weight, eps=1e-5):
    wide = x.double()
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    size = (length.pow(2) / x.shape[-1] + eps).sqrt()
    return (weight.double() * wide / size).to(x.dtype)
""",
        # By torch's own function, in float32 at least.
        """
def rms_norm(x, weight, eps=1e-5):
    wide = x if x.dtype == torch.float64 else x.to(torch.float32)
    return torch.nn.functional.rms_norm(
        wide, (x.shape[-1],), weight.to(wide.dtype), eps
    ).to(x.dtype)
""",
        # The gain as the last thing, after rounding, as in Llama.
        """
def rms_norm(x, weight, eps=1e-5):
    wide = x if x.dtype == torch.float64 else x.float()
    square = torch.einsum("...d,...d->...", wide, wide)[..., None] / wide.shape[-1]
    return weight.to(x.dtype) * (wide * (square + eps) ** -0.5).to(x.dtype)
""",
    ],
    "swiglu": [
        """
def swiglu(x, w_gate, w_up, w_down):
    from torch.nn import functional as F

    return F.linear(F.silu(F.linear(x, w_gate)) * F.linear(x, w_up), w_down)
""",
        """
def swiglu(x, w_gate, w_up, w_down):
    gate, up = (x @ torch.cat([w_gate, w_up]).T).chunk(2, dim=-1)
    return torch.einsum("df,...f->...d", w_down, gate * gate.sigmoid() * up)
""",
    ],
    "decoder_block": [
        # Every formula in its place, without the other exercises.
        HEAD
        + """    from torch.nn import functional as F

    def heads(y, w, n):
        return (y @ w.T).unflatten(-1, (n, -1)).transpose(-2, -3)

    def turn(y):
        a, b = y.chunk(2, -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    import torch

    y = F.rms_norm(x, x.shape[-1:], attention_gain, 1e-5)
    q, k, v = heads(y, w_q, n_heads), heads(y, w_k, n_kv_heads), heads(y, w_v, n_kv_heads)
    y = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True, enable_gqa=True)
    x = y.transpose(-2, -3).flatten(-2) @ w_o.T + x
    y = F.rms_norm(x, x.shape[-1:], feed_forward_gain, 1e-5)
    return (F.silu(y @ w_gate.T) * (y @ w_up.T)) @ w_down.T + x
""",
        # The answers summed up at the end.
        HEAD
        + """    answer = multi_head_attention(
        rms_norm(x, attention_gain), w_q, w_k, w_v, w_o, n_heads, n_kv_heads, sin=sin, cos=cos
    )
    normed = rms_norm(answer + x, feed_forward_gain)
    second = swiglu(normed, w_gate=w_gate, w_up=w_up, w_down=w_down)
    return sum([x, answer, second])
""",
    ],
    "count_parameters": [
        """
def count_parameters(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, tie_embeddings, qk_norm
):
    shapes = [(vocab_size, d_model)] * (2 - tie_embeddings) + [(d_model,)]
    for _ in range(n_layers):
        shapes += [(n_heads * d_head, d_model)] * 2 + [(n_kv_heads * d_head, d_model)] * 2
        shapes += [(d_ff, d_model)] * 3 + [(d_model,)] * 2 + [(d_head,)] * 2 * qk_norm
    import math

    return sum(math.prod(shape) for shape in shapes)
""",
        """
def count_parameters(*sizes, **named):
    names = "vocab_size d_model n_layers n_heads n_kv_heads d_head d_ff tie_embeddings qk_norm"
    s = dict(zip(names.split(), sizes)) | named
    norms = s["n_layers"] * (2 * s["d_model"] + bool(s["qk_norm"]) * 2 * s["d_head"]) + s["d_model"]
    heads = 2 * s["n_heads"] + 2 * s["n_kv_heads"]
    columns = s["n_layers"] * (heads * s["d_head"] + 3 * s["d_ff"])
    columns += s["vocab_size"] + (0 if s["tie_embeddings"] else s["vocab_size"])
    return columns * s["d_model"] + norms
""",
    ],
    "count_flops": [
        # Product by product.
        """
def count_flops(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, batch_size, n_tokens,
    is_training=False,
):
    def product(m, k, n):
        return 2 * m * k * n

    rows, total = batch_size * n_tokens, 0
    for _ in range(n_layers):
        total += product(rows, d_model, n_heads * d_head)
        total += 2 * product(rows, d_model, n_kv_heads * d_head)
        for _ in range(batch_size * n_heads):
            total += product(n_tokens, d_head, n_tokens) + product(n_tokens, n_tokens, d_head)
        total += product(rows, n_heads * d_head, d_model)
        total += 2 * product(rows, d_model, d_ff) + product(rows, d_ff, d_model)
    total += product(rows, d_model, vocab_size)
    return total * (3 if is_training else 1)
""",
        # By the weights that `count_parameters` finds, less the gains.
        """
def count_flops(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, batch_size, n_tokens,
    is_training=False,
):
    all_weights = count_parameters(
        vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, True, False
    )
    in_products = all_weights - d_model * (2 * n_layers + 1)
    scores = 4 * n_layers * n_heads * d_head * n_tokens**2 * batch_size
    once = 2 * batch_size * n_tokens * in_products + scores
    return once + 2 * once * int(is_training)
""",
    ],
    "route_top_k": [
        # All sorted; ties as they come.
        """
def route_top_k(router_logits, k):
    if k not in range(1, router_logits.shape[-1] + 1):
        raise ValueError("k")
    ordered, numbers = router_logits.sort(dim=-1, descending=True, stable=True)
    best = ordered[..., :k]
    shares = (best - best[..., :1]).exp()
    return [numbers[..., :k], shares / shares.sum(-1, keepdim=True)]
""",
        # A softmax over all, renormalised over the chosen; the last of equal scores first.
        """
def route_top_k(router_logits, k):
    E = router_logits.shape[-1]
    if not 0 < k <= E:
        raise ValueError("k")
    order = torch.argsort(router_logits.flip(-1), dim=-1, descending=True, stable=True)
    numbers = E - 1 - order[..., :k]
    hidden = torch.full_like(router_logits, -torch.inf).scatter(
        -1, numbers, router_logits.gather(-1, numbers)
    )
    return numbers, hidden.softmax(-1).gather(-1, numbers)
""",
    ],
}

START = """
class TinyDecoder(nn.Module):
    def __init__(self, vocab_size, context_length, d_model, n_layers, n_heads, d_ff):
        super().__init__()
        D, n = d_model, n_layers
        self.heads, self.width = n_heads, d_model // n_heads
        self.embedding = nn.Embedding(vocab_size, D)
        nn.init.normal_(self.embedding.weight, std=0.02)
        shapes = {k: (D, D) for k in ("w_q", "w_k", "w_v", "w_o")}
        shapes.update(w_gate=(d_ff, D), w_up=(d_ff, D), w_down=(D, d_ff))
        made = []
        for _ in range(n):
            layer = {k: 0.02 * torch.randn(*shape) for k, shape in shapes.items()}
            for k in ("w_o", "w_down"):
                layer[k] /= (2 * n) ** 0.5
            layer["attention_gain"], layer["feed_forward_gain"] = torch.ones(2, D)
            made.append(nn.ParameterDict({k: nn.Parameter(v.clone()) for k, v in layer.items()}))
        self.layers = nn.ModuleList(made)
        self.gain = nn.Parameter(torch.ones(D))
"""
RIGHT["TinyDecoder"] = [
    # Tables made anew in every call, arguments in their order, the way out by torch's linear.
    START
    + """
    def forward(self, token_ids):
        cos, sin = rope_table(token_ids.shape[-1], self.width)
        x = torch.nn.functional.embedding(token_ids, self.embedding.weight)
        order = "attention_gain w_q w_k w_v w_o feed_forward_gain w_gate w_up w_down".split()
        for n in range(len(self.layers)):
            weights = [self.layers[n][name] for name in order]
            x = decoder_block(x, *weights, self.heads, self.heads, cos, sin)
        return torch.nn.functional.linear(rms_norm(x, self.gain), self.embedding.weight)
""",
    # Positions counted from 5 (only distances matter), each row of the batch by itself.
    START
    + """
    def forward(self, token_ids):
        return torch.stack([self.one(row) for row in token_ids])

    def one(self, row):
        cos, sin = (t[5:] for t in rope_table(len(row) + 5, self.width))
        x = self.embedding.weight[row][None]
        for layer in self.layers:
            rest = {"n_heads": self.heads, "n_kv_heads": self.heads, "cos": cos, "sin": sin}
            x = decoder_block(x=x, **rest, **dict(layer.items()))
        return torch.einsum("td,vd->tv", rms_norm(x, self.gain)[0], self.embedding.weight)
""",
]
