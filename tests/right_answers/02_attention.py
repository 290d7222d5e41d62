"""Right answers of lab 02 that take another way than the course's."""

RIGHT = {
    "causal_mask": [
        """
def causal_mask(n_tokens):
    place = torch.arange(n_tokens)
    return place[None, :] <= place[:, None]
""",
        """
def causal_mask(n_tokens):
    return torch.ones(n_tokens, n_tokens).triu().T.bool()
""",
        """
def causal_mask(n_tokens, device=None):
    rows = [[j <= i for j in range(n_tokens)] for i in range(n_tokens)]
    return torch.tensor(rows, device=device)
""",
    ],
    "scaled_dot_product_attention": [
        # Queries divided first, the exponentials by hand.
        """
def scaled_dot_product_attention(q, k, v, mask=None):
    scores = torch.einsum("...tk,...sk->...ts", q / q.shape[-1] ** 0.5, k)
    if mask is not None:
        if mask.dtype is not torch.bool or (~mask).all(-1).any():
            raise ValueError("a query sees nothing")
        scores = scores + torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, -torch.inf)
    weights = (scores - scores.amax(-1, keepdim=True).detach()).exp()
    return (weights @ v) / weights.sum(-1, keepdim=True)
""",
        # With logarithms, and a result that is the transpose of what was computed.
        """
def scaled_dot_product_attention(q, k, v, mask=None):
    scores = k @ q.mT * q.shape[-1] ** -0.5
    if mask is not None:
        if mask.dtype in (torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8):
            raise ValueError("numbers are no mask")
        mask = torch.broadcast_to(mask, torch.broadcast_shapes(mask.shape, scores.mT.shape)).mT
        if not mask.any(-2).all():
            raise ValueError("a query sees nothing")
        scores = torch.where(mask, scores, torch.full_like(scores, -torch.inf))
    shares = (scores - scores.logsumexp(-2, keepdim=True)).exp()
    return (v.mT @ shares).mT
""",
    ],
    "apply_rope": [
        # Half-turned copies, as in Hugging Face's models.
        """
def apply_rope(x, cos, sin):
    half = x.shape[-1] // 2
    if cos.shape != sin.shape or tuple(cos.shape[-2:]) != (x.shape[-2], half):
        raise ValueError("shapes")
    other = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    twice = [torch.cat((t, t), dim=-1) for t in (cos, sin)]
    return (x * twice[0] + other * twice[1]).to(x.dtype)
""",
        # Complex numbers, and two axes that are flattened at the end.
        """
def apply_rope(x, cos, sin):
    pairs = x.to(cos.dtype).unflatten(-1, (2, -1))
    if cos.shape != sin.shape or cos.shape[-2:] != (x.shape[-2], pairs.shape[-1]):
        raise ValueError("shapes")
    points = torch.complex(pairs[..., 0, :], pairs[..., 1, :]) * torch.complex(cos, sin)
    return torch.stack((points.real, points.imag), dim=-2).flatten(-2).type_as(x)
""",
    ],
    "multi_head_attention": [
        # Head by head.
        """
def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, cos=None, sin=None):
    heads = []
    keys, values = w_k.chunk(n_kv_heads), w_v.chunk(n_kv_heads)
    for h, own in enumerate(w_q.chunk(n_heads)):
        shared = h * n_kv_heads // n_heads
        q, k, v = x @ own.T, x @ keys[shared].T, x @ values[shared].T
        if cos is not None:
            q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
        heads.append(scaled_dot_product_attention(q, k, v, causal_mask(x.shape[1])))
    return torch.cat(heads, dim=-1) @ w_o.T
""",
        # Groups as an axis of their own, which broadcasts: nothing is repeated.
        """
def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, cos=None, sin=None):
    group = n_heads // n_kv_heads
    q = torch.einsum("btd,gjkd->bgjtk", x, w_q.unflatten(0, (n_kv_heads, group, -1)))
    k = torch.einsum("btd,gkd->bgtk", x, w_k.unflatten(0, (n_kv_heads, -1))).unsqueeze(2)
    v = torch.einsum("btd,gkd->bgtk", x, w_v.unflatten(0, (n_kv_heads, -1))).unsqueeze(2)
    if cos is not None:
        q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
    heads = scaled_dot_product_attention(q, k, v, causal_mask(x.shape[1]))
    return torch.einsum("bgjtk,egjk->bte", heads, w_o.unflatten(1, (n_kv_heads, group, -1)))
""",
        # One head's sum at a time: joining and projecting is a sum over heads.
        """
def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, cos=None, sin=None):
    K = w_q.shape[0] // n_heads
    out = 0
    for h in range(n_heads):
        own = slice(h * K, (h + 1) * K)
        other = slice(h // (n_heads // n_kv_heads) * K, (h // (n_heads // n_kv_heads) + 1) * K)
        q, k, v = x @ w_q[own].T, x @ w_k[other].T, x @ w_v[other].T
        if cos is not None:
            q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
        scores = q @ k.mT / math.sqrt(K)
        scores = scores.masked_fill(~causal_mask(x.shape[1]), float("-inf"))
        out = out + scores.softmax(-1) @ v @ w_o[:, own].T
    return out
""",
    ],
    "streaming_attention": [
        # FlashAttention-2: blocks of queries outside, hidden blocks are never touched.
        """
def streaming_attention(q, k, v, block_size=128, is_causal=True):
    T, S, K = q.shape[-2], k.shape[-2], q.shape[-1]
    if is_causal and T != S:
        raise ValueError("T and S")
    if block_size < 1:
        raise ValueError("block_size")
    rows = []
    for first in range(0, T, block_size):
        own = q[..., first : first + block_size, :] / K**0.5
        n = own.shape[-2]
        top = own.new_full((*own.shape[:-1], 1), -1e30)
        total, output = torch.zeros_like(top), own.new_zeros(*own.shape[:-1], v.shape[-1])
        for start in range(0, first + n if is_causal else S, block_size):
            keys = k[..., start : start + block_size, :]
            values = v[..., start : start + block_size, :]
            scores = own @ keys.mT
            if is_causal and start + keys.shape[-2] > first:
                i = first + torch.arange(n)[:, None]
                j = start + torch.arange(keys.shape[-2])
                scores = torch.where(j <= i, scores, -torch.inf)
            new = torch.maximum(top, scores.amax(-1, keepdim=True))
            weights, scale = (scores - new).exp(), (top - new).exp()
            total = total * scale + weights.sum(-1, keepdim=True)
            output = output * scale + weights @ values
            top = new
        rows.append(output / total)
    return torch.cat(rows, dim=-2)
""",
        # An average that is kept normalised, with logarithms of the sums; only queries that see
        # a block take part in it.
        """
def streaming_attention(q, k, v, block_size=128, is_causal=True):
    if is_causal and q.shape[-2] != k.shape[-2]:
        raise ValueError("T and S")
    if block_size <= 0:
        raise ValueError("block_size")
    T, S = q.shape[-2], k.shape[-2]
    size = q.new_full((*q.shape[:-1], 1), -torch.inf)
    average = q.new_zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, S, block_size):
        keys, values = k[..., start : start + block_size, :], v[..., start : start + block_size, :]
        first = start if is_causal else 0
        scores = q[..., first:, :] @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5
        if is_causal:
            hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(hidden, -torch.inf)
        own = scores.logsumexp(-1, keepdim=True)
        new = torch.logaddexp(size[..., first:, :], own)
        rest = average[..., first:, :] * (size[..., first:, :] - new).exp()
        rest = rest + (scores - new).exp() @ values
        average = torch.cat([average[..., :first, :], rest], dim=-2)
        size = torch.cat([size[..., :first, :], new], dim=-2)
    return average
""",
    ],
}

RIGHT["rope_table"] = [
    # Speeds by repeated multiplication, angles by broadcasting, in double precision.
    """
def rope_table(n_positions, d_head, theta=10000.0):
    if d_head <= 0 or d_head % 2 == 1:
        raise ValueError(f"no pairs in {d_head} channels")
    step, speeds = theta ** (-2.0 / d_head), []
    for i in range(d_head // 2):
        speeds.append(1.0 if i == 0 else speeds[-1] * step)
    angles = torch.arange(n_positions)[:, None] * torch.tensor(speeds, dtype=torch.float64)
    return torch.cos(angles).float(), torch.sin(angles).float()
""",
    # The powers of a rotation, as complex numbers.
    """
def rope_table(n_positions, d_head, theta=10000.0):
    if d_head % 2 or d_head < 1:
        raise ValueError("d_head is odd or too small")
    i = torch.arange(d_head // 2)
    speeds = torch.exp(-2 * i / d_head * torch.log(torch.tensor(theta)))
    angles = torch.arange(n_positions).unsqueeze(-1) * speeds
    turns = torch.polar(torch.ones(n_positions, len(i)), angles)
    return turns.real, turns.imag
""",
]
