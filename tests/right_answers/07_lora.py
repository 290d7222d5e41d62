"""Lab 07: right answers of another shape than the course's own."""

RIGHT = {
    "LoRALinear": [
        # one product with the weight as it would be merged, linear kept apart from the parameters
        """
class LoRALinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        O, I = linear.weight.shape
        if rank not in range(1, min(O, I) + 1) or not alpha > 0:
            raise ValueError(f"rank {rank}, alpha {alpha}")
        for parameter in linear.parameters():
            parameter.requires_grad = False
        self.linear, self.scale, self.is_merged = linear, alpha / rank, False
        start = (torch.rand(rank, I) * 2 - 1) / math.sqrt(I)
        self.down = nn.Parameter(start.to(linear.weight))
        self.up = nn.Parameter(linear.weight.new_zeros(O, rank))

    def update(self):
        return torch.einsum("or,ri->oi", self.up, self.down) * self.scale

    def forward(self, x):
        y = self.linear(x)
        return y if self.is_merged else y + x @ self.update().T

    def merge(self):
        if self.is_merged or not isinstance(self.linear, nn.Linear):
            raise ValueError("can't be merged")
        self.linear.weight.data = self.linear.weight.data + self.update().detach()
        self.is_merged = True

    def unmerge(self):
        if not self.is_merged:
            raise ValueError("not merged")
        self.linear.weight.data = self.linear.weight.data - self.update().detach()
        self.is_merged = False
""",
        # is_merged as a property of a counter; the input scaled first, sums over ranks in a loop
        """
class LoRALinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        if rank < 1 or rank > linear.in_features or rank > linear.out_features:
            raise ValueError("rank")
        if alpha <= 0 or alpha != alpha:
            raise ValueError("alpha")
        self.linear = linear
        self.linear.requires_grad_(False)
        self.scale = float(alpha) / rank
        other = nn.Linear(linear.in_features, rank, bias=False, dtype=linear.weight.dtype)
        self.down = other.weight
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank, dtype=other.weight.dtype))
        self.n_merges = 0

    @property
    def is_merged(self):
        return self.n_merges == 1

    def update(self):
        total = 0
        for r in range(len(self.down)):
            total = total + self.up[:, r, None] * self.down[r]
        return total * self.scale

    def forward(self, x):
        if self.is_merged:
            return self.linear(x)
        return (x * self.scale) @ self.down.t() @ self.up.t() + self.linear(x)

    def change(self, sign):
        with torch.no_grad():
            self.linear.weight.add_(self.update(), alpha=sign)
        self.n_merges += sign

    def merge(self):
        if self.is_merged:
            raise ValueError("twice")
        if type(self.linear) is not nn.Linear:
            raise ValueError("four bits")
        self.change(1)

    def unmerge(self):
        if not self.is_merged:
            raise ValueError("nothing")
        self.change(-1)
""",
    ],
    "quantize_nf4": [
        # plain loops over lists
        """
def quantize_nf4(weight, block_size=BLOCK):
    numbers = weight.detach().double().reshape(-1).tolist()
    if block_size < 1 or not numbers or len(numbers) % 2:
        raise ValueError("sizes")
    if any(abs(w) == float("inf") or w != w for w in numbers):
        raise ValueError("NaN or infinity")
    levels, codes, scales = nf4_levels().tolist(), [], []
    for start in range(0, len(numbers), block_size):
        block = numbers[start : start + block_size]
        scale = max(abs(w) for w in block)
        scales.append(scale)
        for w in block:
            unit = w / scale if scale else 0.0
            codes.append(min(range(16), key=lambda k: abs(levels[k] - unit)))
    pairs = zip(codes[::2], codes[1::2])
    return torch.tensor([a << 4 | b for a, b in pairs], dtype=torch.uint8), torch.tensor(scales)
""",
        # all distances at once, in float64, with a row of blocks that is padded with NaN
        """
def quantize_nf4(weight, block_size=BLOCK):
    n = weight.numel()
    if block_size <= 0 or n == 0 or n % 2 == 1:
        raise ValueError("sizes")
    if not torch.isfinite(weight).all():
        raise ValueError("finite numbers")
    n_blocks = -(-n // block_size)
    padded = torch.zeros(n_blocks * block_size, dtype=torch.float64)
    padded[:n] = weight.reshape(-1).double()
    rows = padded.reshape(n_blocks, block_size)
    scales = torch.maximum(rows.max(1).values, -rows.min(1).values)
    units = rows / torch.where(scales == 0, torch.ones_like(scales), scales)[:, None]
    codes = (units[..., None] - nf4_levels().double()).abs().argmin(-1).reshape(-1)[:n]
    both = codes.reshape(-1, 2)
    return (16 * both[:, 0] + both[:, 1]).byte(), scales.float()
""",
    ],
    "dequantize_nf4": [
        # a table of pairs, one for each byte
        """
def dequantize_nf4(codes, scales, shape, block_size=BLOCK):
    levels = nf4_levels()
    n = 1
    for size in shape:
        n *= size
    if n != 2 * len(codes) or len(scales) * block_size < n or (len(scales) - 1) * block_size >= n:
        raise ValueError("they do not belong together")
    table = torch.stack([levels.repeat_interleave(16), levels.repeat(16)], dim=1)  # (256, 2)
    values = table[codes.long()].reshape(-1)
    places = torch.arange(n) // block_size
    return (values * scales.to(torch.float32)[places]).reshape(shape)
""",
        # block by block, halves written into their places
        """
def dequantize_nf4(codes, scales, shape, block_size=BLOCK):
    flat = torch.empty(2 * codes.numel())
    flat[0::2] = nf4_levels()[(codes // 16).long()]
    flat[1::2] = nf4_levels()[(codes % 16).long()]
    if torch.empty(shape, device="meta").numel() != flat.numel():
        raise ValueError("shape")
    parts = flat.split(block_size)
    if len(parts) != len(scales):
        raise ValueError("scales")
    done = [part * float(scale) for part, scale in zip(parts, scales)]
    return torch.cat(done).reshape(shape)
""",
    ],
    "double_quantize": [
        # plain loops over lists
        """
def double_quantize(scales, block_size=SCALES_BLOCK):
    if scales.ndim != 1 or scales.numel() == 0 or block_size <= 0:
        raise ValueError("one row")
    if scales.isnan().any() or scales.isinf().any():
        raise ValueError("finite")
    numbers = scales.double().tolist()
    mean = sum(numbers) / len(numbers)
    codes, steps = [], []
    for start in range(0, len(numbers), block_size):
        block = [s - mean for s in numbers[start : start + block_size]]
        step = max(map(abs, block)) / 127 or 1.0
        steps.append(step)
        codes += [round(s / step) for s in block]
    return QuantizedScales(
        torch.tensor(codes, dtype=torch.int8), torch.tensor(steps), torch.tensor(mean)
    )
""",
        # a plain tuple, the largest distance by scatter_reduce
        """
def double_quantize(scales, block_size=SCALES_BLOCK):
    if scales.dim() != 1 or len(scales) < 1 or block_size < 1 or not scales.isfinite().all():
        raise ValueError("scales")
    wide = scales.float()
    away = wide - wide.mean()
    block = torch.arange(len(wide)) // block_size
    largest = torch.zeros(int(block[-1]) + 1).scatter_reduce(0, block, away.abs(), "amax")
    steps = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return torch.round(away / steps[block]).to(torch.int8), steps, wide.mean()
""",
    ],
    "finetune_memory": [
        # tensors listed on the meta device
        """
import torch


def finetune_memory(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, tie_embeddings, *,
    batch_size, n_tokens, rank=None, is_quantized=False, float_bytes=4,
):
    if (is_quantized and rank is None) or (rank is not None and rank <= 0):
        raise ValueError("rank")
    if float_bytes != 2 and float_bytes != 4:
        raise ValueError("float_bytes")
    a, z = n_heads * d_head, n_kv_heads * d_head
    matrices, adapters, others = [], [], []
    for _ in range(n_layers):
        for shape in ((a + z + z, d_model), (d_model, a), (2 * d_ff, d_model), (d_model, d_ff)):
            matrices.append(torch.empty(shape, device="meta"))
            if rank:
                adapters.append(torch.empty(rank, shape[1], device="meta"))
                adapters.append(torch.empty(shape[0], rank, device="meta"))
        others += [torch.empty(d_model, device="meta")] * 2
    others.append(torch.empty(d_model, device="meta"))
    others += [torch.empty(vocab_size, d_model, device="meta")] * (1 if tie_embeddings else 2)

    def count(tensors):
        return sum(t.numel() for t in tensors)

    learn = count(adapters) if rank else count(matrices + others)
    told = {"weights": count(others) * float_bytes, "codes": 0, "scales": 0}
    if is_quantized:
        for matrix in matrices:
            n = matrix.numel()
            scales = (n + 63) // 64
            told["codes"] += n // 2
            told["scales"] += scales + 4 * ((scales + 255) // 256) + 4
    else:
        told["weights"] += count(matrices) * float_bytes
    told["adapters"] = count(adapters) * float_bytes
    told["gradients"] = learn * float_bytes
    told["optimizer"] = learn * 8 + (learn * 4 if float_bytes == 2 else 0)
    per_token = 0
    for _ in range(n_layers):
        per_token += 3 * a + 3 * z + 4 * d_ff + n_heads + 2
        per_token += 6 * d_model if rank is None else 4 * (d_model + rank)
    per_token += 2 * vocab_size
    told["activations"] = per_token * batch_size * n_tokens * float_bytes
    return told
""",
        # closed forms
        """
def finetune_memory(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, tie_embeddings, *,
    batch_size, n_tokens, rank=None, is_quantized=False, float_bytes=4,
):
    if rank is None:
        if is_quantized:
            raise ValueError("codes can't learn")
    elif rank < 1:
        raise ValueError("rank")
    if float_bytes not in {2, 4}:
        raise ValueError("float_bytes")
    D, A, Z, F, L, r = d_model, n_heads * d_head, n_kv_heads * d_head, d_ff, n_layers, rank or 0
    per_block = D * (2 * A + 2 * Z + 3 * F)
    rest = vocab_size * D + D + 2 * L * D + (0 if tie_embeddings else vocab_size * D)
    n_adapters = L * r * (2 * A + 2 * Z + 3 * F + 4 * D)
    n_learn = n_adapters if r else L * per_block + rest
    sizes = [D * (A + 2 * Z), D * A, 2 * F * D, F * D]
    bytes_of_scales = sum(-(-n // 64) + 4 * -(-n // (64 * 256)) + 4 for n in sizes) * L
    token = L * (3 * (A + Z) + 4 * (F + r) + n_heads + 2 + (4 if r else 6) * D) + 2 * vocab_size
    return dict(
        weights=float_bytes * (rest + (1 - is_quantized) * L * per_block),
        codes=is_quantized * L * per_block // 2,
        scales=is_quantized * bytes_of_scales,
        adapters=float_bytes * n_adapters,
        gradients=float_bytes * n_learn,
        optimizer={4: 8, 2: 12}[float_bytes] * n_learn,
        activations=float_bytes * batch_size * n_tokens * token,
    )
""",
    ],
}
