"""Lab 03: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "rms_norm": """
def rms_norm(x, weight, eps=1e-5):
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    square = (wide * wide).mean(dim=-1, keepdim=True)
    return (wide / torch.sqrt(square + eps) * weight).to(x.dtype)
""",
    "swiglu": """
def swiglu(x, w_gate, w_up, w_down):
    gate, up = x @ w_gate.T, x @ w_up.T
    return (gate * torch.sigmoid(gate) * up) @ w_down.T
""",
    "decoder_block": """
def decoder_block(
    x, attention_gain, w_q, w_k, w_v, w_o, feed_forward_gain, w_gate, w_up, w_down,
    n_heads, n_kv_heads, cos, sin,
):
    x = x + multi_head_attention(
        rms_norm(x, attention_gain), w_q, w_k, w_v, w_o, n_heads, n_kv_heads, cos, sin
    )
    return x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, w_down)
""",
    "count_parameters": """
def count_parameters(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, tie_embeddings, qk_norm
):
    layer = 2 * n_heads * d_head * d_model
    layer += 2 * n_kv_heads * d_head * d_model
    layer += 3 * d_model * d_ff
    layer += 2 * d_model
    if qk_norm:
        layer += 2 * d_head
    tables = vocab_size * d_model
    if not tie_embeddings:
        tables *= 2
    return n_layers * layer + tables + d_model
""",
    "count_flops": """
def count_flops(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, batch_size, n_tokens,
    is_training=False,
):
    B, T = batch_size, n_tokens
    layer = 2 * n_heads * d_head * d_model + 2 * n_kv_heads * d_head * d_model
    layer += 3 * d_model * d_ff
    weights = n_layers * layer + vocab_size * d_model
    products = n_layers * 2 * (2 * T * T * d_head) * B * n_heads
    total = 2 * B * T * weights + products
    return 3 * total if is_training else total
""",
    "route_top_k": """
def route_top_k(router_logits, k):
    if k < 1 or k > router_logits.shape[-1]:
        raise ValueError("no such k")
    scores, numbers = torch.topk(router_logits, k, dim=-1)
    return numbers, torch.softmax(scores, dim=-1)
""",
}

FOLLOWED["TinyDecoder"] = """
class TinyDecoder(nn.Module):
    def __init__(self, vocab_size, context_length, d_model, n_layers, n_heads, d_ff):
        super().__init__()
        self.n_heads = n_heads
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList()
        for _ in range(n_layers):
            layer = nn.ParameterDict()
            for name in ("w_q", "w_k", "w_v", "w_o"):
                layer[name] = torch.empty(d_model, d_model)
            layer["w_gate"] = torch.empty(d_ff, d_model)
            layer["w_up"] = torch.empty(d_ff, d_model)
            layer["w_down"] = torch.empty(d_model, d_ff)
            for name in layer:
                nn.init.normal_(layer[name], std=0.02)
            for name in ("w_o", "w_down"):
                nn.init.normal_(layer[name], std=0.02 / (2 * n_layers) ** 0.5)
            layer["attention_gain"] = torch.ones(d_model)
            layer["feed_forward_gain"] = torch.ones(d_model)
            self.layers.append(layer)
        self.gain = nn.Parameter(torch.ones(d_model))
        self.cos, self.sin = rope_table(context_length, d_model // n_heads)

    def forward(self, token_ids):
        T = token_ids.shape[1]
        x = self.embedding(token_ids)
        for layer in self.layers:
            x = decoder_block(
                x,
                **layer,
                n_heads=self.n_heads,
                n_kv_heads=self.n_heads,
                cos=self.cos[:T],
                sin=self.sin[:T],
            )
        return rms_norm(x, self.gain) @ self.embedding.weight.T
"""
