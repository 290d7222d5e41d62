"""Lab 07: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "LoRALinear": """
class LoRALinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        O, I = linear.out_features, linear.in_features
        if rank not in range(1, min(O, I) + 1):
            raise ValueError("rank")
        if not alpha > 0:
            raise ValueError("alpha")
        self.linear = linear.requires_grad_(False)
        self.scale = alpha / rank
        like = {"dtype": linear.weight.dtype, "device": linear.weight.device}
        self.down = nn.Parameter(torch.empty(rank, I, **like))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.up = nn.Parameter(torch.zeros(O, rank, **like))
        self.is_merged = False

    def update(self):
        return self.scale * (self.up @ self.down)

    def forward(self, x):
        if self.is_merged:
            return self.linear(x)
        return self.linear(x) + self.scale * F.linear(F.linear(x, self.down), self.up)

    @torch.no_grad()
    def merge(self):
        if self.is_merged or not isinstance(self.linear, nn.Linear):
            raise ValueError("merge")
        self.linear.weight += self.update()
        self.is_merged = True

    @torch.no_grad()
    def unmerge(self):
        if not self.is_merged:
            raise ValueError("unmerge")
        self.linear.weight -= self.update()
        self.is_merged = False
""",
    "quantize_nf4": """
def quantize_nf4(weight, block_size=BLOCK):
    flat = weight.float().flatten()
    N, b = len(flat), block_size
    if b < 1 or N == 0 or N % 2 or not flat.isfinite().all():
        raise ValueError("refused")
    blocks = F.pad(flat, (0, -N % b)).view(-1, b)
    scales = blocks.abs().amax(dim=1)
    unit = blocks / torch.where(scales == 0, 1.0, scales)[:, None]
    levels = nf4_levels()
    borders = (levels[1:] + levels[:-1]) / 2
    codes = torch.bucketize(unit, borders).flatten()[:N].to(torch.uint8)
    return codes[0::2] << 4 | codes[1::2], scales
""",
    "dequantize_nf4": """
def dequantize_nf4(codes, scales, shape, block_size=BLOCK):
    N = 2 * len(codes)
    if torch.Size(shape).numel() != N or len(scales) != -(-N // block_size):
        raise ValueError("refused")
    high, low = codes >> 4, codes & 15
    order = torch.stack([high, low], dim=1).flatten().long()
    return (nf4_levels()[order] * scales.float().repeat_interleave(block_size)[:N]).view(shape)
""",
    "double_quantize": """
def double_quantize(scales, block_size=SCALES_BLOCK):
    if scales.dim() != 1 or len(scales) == 0 or block_size < 1 or not scales.isfinite().all():
        raise ValueError("refused")
    n, mean = len(scales), scales.float().mean()
    blocks = F.pad(scales.float() - mean, (0, -n % block_size)).view(-1, block_size)
    steps = blocks.abs().amax(dim=1) / 127
    steps = torch.where(steps == 0, 1.0, steps)
    codes = (blocks / steps[:, None]).round().to(torch.int8)
    return QuantizedScales(codes.flatten()[:n], steps, mean)
""",
    "finetune_memory": """
def finetune_memory(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, tie_embeddings, *,
    batch_size, n_tokens, rank=None, is_quantized=False, float_bytes=4,
):
    if is_quantized and rank is None or rank is not None and rank < 1:
        raise ValueError("rank")
    if float_bytes not in (2, 4):
        raise ValueError("float_bytes")
    D, A, Z, V = d_model, n_heads * d_head, n_kv_heads * d_head, vocab_size
    four = [(A + 2 * Z, D), (D, A), (2 * d_ff, D), (D, d_ff)]
    n_matrices = n_layers * sum(o * i for o, i in four)
    n_adapters = n_layers * rank * sum(o + i for o, i in four) if rank else 0
    n_other = V * D * (1 if tie_embeddings else 2) + (2 * n_layers + 1) * D
    n_learn = n_adapters if rank else n_matrices + n_other
    scales = 0
    for o, i in four:
        s = -(-o * i // 64)
        scales += s + 4 * -(-s // 256) + 4
    kept = (4 * D + 4 * rank if rank else 6 * D) + 3 * A + 3 * Z + 4 * d_ff + n_heads + 2
    return {
        "weights": float_bytes * (n_other + (0 if is_quantized else n_matrices)),
        "codes": n_matrices // 2 if is_quantized else 0,
        "scales": n_layers * scales if is_quantized else 0,
        "adapters": float_bytes * n_adapters,
        "gradients": float_bytes * n_learn,
        "optimizer": (12 if float_bytes == 2 else 8) * n_learn,
        "activations": float_bytes * batch_size * n_tokens * (n_layers * kept + 2 * V),
    }
""",
}
