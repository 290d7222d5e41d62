"""Lab 02: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "causal_mask": """
def causal_mask(n_tokens):
    return torch.tril(torch.ones(n_tokens, n_tokens, dtype=torch.bool))
""",
    "scaled_dot_product_attention": """
def scaled_dot_product_attention(q, k, v, mask=None):
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError("not bool")
    if mask is not None and not mask.any(dim=-1).all():
        raise ValueError("a row without True")
    scores = q @ k.transpose(-1, -2)
    scores = scores / q.shape[-1] ** 0.5
    if mask is not None:
        scores = torch.where(mask, scores, float("-inf"))
    return torch.softmax(scores, dim=-1) @ v
""",
    "apply_rope": """
def apply_rope(x, cos, sin):
    T, K = x.shape[-2:]
    if cos.shape[-2:] != (T, K // 2) or cos.shape != sin.shape:
        raise ValueError("cos does not fit x")
    a, b = x[..., : K // 2], x[..., K // 2 :]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)
""",
    "multi_head_attention": """
def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, cos=None, sin=None):
    B, T, D = x.shape
    K = w_q.shape[0] // n_heads
    q = (x @ w_q.T).view(B, T, n_heads, K).transpose(1, 2)
    k = (x @ w_k.T).view(B, T, n_kv_heads, K).transpose(1, 2)
    v = (x @ w_v.T).view(B, T, n_kv_heads, K).transpose(1, 2)
    if cos is not None:
        q = apply_rope(q, cos, sin)
        k = apply_rope(k, cos, sin)
    k = k.repeat_interleave(n_heads // n_kv_heads, dim=1)
    v = v.repeat_interleave(n_heads // n_kv_heads, dim=1)
    out = scaled_dot_product_attention(q, k, v, causal_mask(T))
    return out.transpose(1, 2).reshape(B, T, n_heads * K) @ w_o.T
""",
    "streaming_attention": """
def streaming_attention(q, k, v, block_size=128, is_causal=True):
    T, K = q.shape[-2:]
    S = k.shape[-2]
    if is_causal and T != S:
        raise ValueError("which query sees which key?")
    if block_size < 1:
        raise ValueError("no blocks")
    maximum = torch.full((*q.shape[:-1], 1), float("-inf"))
    total = torch.zeros(*q.shape[:-1], 1)
    average = torch.zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, S, block_size):
        keys = k[..., start : start + block_size, :]
        scores = q @ keys.transpose(-1, -2) / K**0.5
        if is_causal:
            positions = torch.arange(start, start + keys.shape[-2])
            scores = scores.masked_fill(positions > torch.arange(T)[:, None], float("-inf"))
        new = torch.maximum(maximum, scores.max(dim=-1, keepdim=True).values)
        weights = torch.exp(scores - new)
        scale = torch.exp(maximum - new)
        total = total * scale + weights.sum(dim=-1, keepdim=True)
        average = average * scale + weights @ v[..., start : start + block_size, :]
        maximum = new
    return average / total
""",
}

FOLLOWED["rope_table"] = """
def rope_table(n_positions, d_head, theta=10000.0):
    if d_head < 2 or d_head % 2:
        raise ValueError("channels can't be paired")
    exponents = torch.arange(0, d_head, 2) / d_head
    speeds = 1 / theta**exponents
    angles = torch.outer(torch.arange(n_positions).float(), speeds)
    return angles.cos(), angles.sin()
"""
