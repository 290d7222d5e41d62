"""Wrong answers of lab 07, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

LORA = """class LoRALinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        O, I = linear.weight.shape
        if rank < 1 or rank > min(O, I):
            raise ValueError("rank")
        if not alpha > 0:
            raise ValueError("alpha")
        self.linear = linear
        self.linear.requires_grad_(False)
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, I, dtype=linear.weight.dtype))
        self.up = nn.Parameter(torch.zeros(O, rank, dtype=linear.weight.dtype))
        nn.init.uniform_(self.down, -1 / I**0.5, 1 / I**0.5)
        self.is_merged = False

    def update(self):
        return self.scale * (self.up @ self.down)

    def forward(self, x):
        if self.is_merged:
            return self.linear(x)
        return self.linear(x) + self.scale * (x @ self.down.T @ self.up.T)

    def merge(self):
        if self.is_merged:
            raise ValueError("merged")
        if not isinstance(self.linear, nn.Linear):
            raise ValueError("four bits")
        with torch.no_grad():
            self.linear.weight += self.update()
        self.is_merged = True

    def unmerge(self):
        if not self.is_merged:
            raise ValueError("not merged")
        with torch.no_grad():
            self.linear.weight -= self.update()
        self.is_merged = False
"""
START = "nn.init.uniform_(self.down, -1 / I**0.5, 1 / I**0.5)"
ADDED = "return self.linear(x) + self.scale * (x @ self.down.T @ self.up.T)"
ADD = "self.linear.weight += self.update()"
TAKE = "self.linear.weight -= self.update()"

QUANTIZE = """def quantize_nf4(weight, block_size=64):
    if block_size < 1:
        raise ValueError("block_size")
    flat = weight.float().flatten()
    if len(flat) % 2 or not len(flat):
        raise ValueError("pairs")
    if not flat.isfinite().all():
        raise ValueError("NaN")
    levels, numbers, scales = nf4_levels(), [], []
    for block in flat.split(block_size):
        scale = block.abs().max()
        unit = block / (scale if scale > 0 else 1.0)
        scales.append(scale)
        numbers.append((unit[:, None] - levels).abs().argmin(dim=1))
    codes = torch.cat(numbers)
    packed = codes[0::2] * 16 + codes[1::2]
    return packed.to(torch.uint8), torch.stack(scales)
"""
SCALE = "scale = block.abs().max()"
UNIT = "unit = block / (scale if scale > 0 else 1.0)"
NEAREST = "(unit[:, None] - levels).abs().argmin(dim=1)"
PACK = "packed = codes[0::2] * 16 + codes[1::2]"

BACK = """import math


def dequantize_nf4(codes, scales, shape, block_size=64):
    n = 2 * len(codes)
    if math.prod(shape) != n or len(scales) != -(-n // block_size):
        raise ValueError("sizes")
    both = torch.stack([codes >> 4, codes & 15], dim=1).flatten().long()
    values = nf4_levels()[both]
    return (values * scales.float().repeat_interleave(block_size)[:n]).view(shape)
"""
BOTH = "torch.stack([codes >> 4, codes & 15], dim=1)"
GIVE = "(values * scales.float().repeat_interleave(block_size)[:n]).view(shape)"

DOUBLE = """def double_quantize(scales, block_size=256):
    if scales.dim() != 1 or not len(scales) or block_size < 1:
        raise ValueError("sizes")
    if not scales.isfinite().all():
        raise ValueError("NaN")
    scales = scales.float()
    mean = scales.mean()
    codes, steps = [], []
    for block in (scales - mean).split(block_size):
        step = block.abs().max() / 127
        step = step if step > 0 else torch.tensor(1.0)
        steps.append(step)
        codes.append((block / step).round().to(torch.int8))
    return QuantizedScales(torch.cat(codes), torch.stack(steps), mean)
"""
STEP = "step = block.abs().max() / 127"
ROUND = "codes.append((block / step).round().to(torch.int8))"

MEMORY = """import math


def finetune_memory(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, tie_embeddings,
    *, batch_size, n_tokens, rank=None, is_quantized=False, float_bytes=4,
):
    if is_quantized and rank is None:
        raise ValueError("rank")
    if rank is not None and rank < 1:
        raise ValueError("rank")
    if float_bytes not in (2, 4):
        raise ValueError("float_bytes")
    A, Z, D, F = n_heads * d_head, n_kv_heads * d_head, d_model, d_ff
    shapes = [(A + 2 * Z, D), (D, A), (2 * F, D), (D, F)]
    matrices = n_layers * sum(o * i for o, i in shapes)
    others = vocab_size * D * (1 if tie_embeddings else 2) + (2 * n_layers + 1) * D
    adapters = n_layers * sum(rank * (o + i) for o, i in shapes) if rank else 0
    learn = adapters if rank else matrices + others
    scales = 0
    for o, i in shapes:
        s = math.ceil(o * i / 64)
        scales += n_layers * (s + 4 * math.ceil(s / 256) + 4)
    kept = (4 * D + 4 * rank if rank else 6 * D) + 3 * A + 3 * Z + 4 * F + n_heads + 2
    numbers = batch_size * n_tokens * (n_layers * kept + 2 * vocab_size)
    return {
        "weights": float_bytes * (others + (0 if is_quantized else matrices)),
        "codes": matrices // 2 if is_quantized else 0,
        "scales": scales if is_quantized else 0,
        "adapters": float_bytes * adapters,
        "gradients": float_bytes * learn,
        "optimizer": learn * (8 if float_bytes == 4 else 12),
        "activations": float_bytes * numbers,
    }
"""


def changed(code: str, old: str, new: str) -> str:
    """Return the code with one place changed; it must be there."""
    assert code.count(old) >= 1, f"{old!r} is not in the code"
    return code.replace(old, new)


def variants(exercise: str, code: str, *rows: tuple[str, str, str, str]) -> list[Wrong]:
    return [Wrong(exercise, why, changed(code, old, new), words) for why, old, new, words in rows]


WRONG = [
    *variants(
        "LoRALinear",
        LORA,
        (
            "up is drawn as well",
            START,
            START + "\n        nn.init.normal_(self.up)",
            "up starts at zero, so that a fresh adapter changes nothing",
        ),
        ("both are zero", START, "nn.init.zeros_(self.down)", "no gradient reaches either"),
        ("down is normal", START, "nn.init.normal_(self.down)", "even between -0.125 and 0.125"),
        (
            "down by the outputs",
            START,
            "nn.init.uniform_(self.down, -1 / O**0.5, 1 / O**0.5)",
            "even between -0.125 and 0.125",
        ),
        (
            "the same draw each time",
            START,
            "torch.manual_seed(0); " + START,
            "two layers start with the same down",
        ),
        ("alpha alone", "self.scale = alpha / rank", "self.scale = alpha", "not alpha"),
        ("turned round", "self.scale = alpha / rank", "self.scale = rank / alpha", "alpha over"),
        (
            "scale of rsLoRA",
            "self.scale = alpha / rank",
            "self.scale = alpha / rank**0.5",
            "`scale` with alpha 6.0 and rank 16",
        ),
        (
            "a scale that is shown and not used",
            ADDED,
            "return self.linear(x) + x @ self.down.T @ self.up.T",
            "the update is not scaled",
        ),
        ("no update", ADDED, "return self.linear(x)", "the update is missing"),
        (
            "the update alone",
            ADDED,
            "return self.scale * (x @ self.down.T @ self.up.T)",
            "the layer's own answer is missing",
        ),
        (
            "no bias",
            ADDED,
            "return x @ (self.linear.weight + self.update()).T",
            "the bias of the layer is left out",
        ),
        (
            "subtracted",
            ADDED,
            ADDED.replace("+", "-"),
            "the update is subtracted",
        ),
        (
            "x changed in place",
            ADDED,
            "y = self.linear(x)\n        x *= self.scale\n"
            "        return y + x @ self.down.T @ self.up.T",
            "`x` was changed in place",
        ),
        (
            "not frozen",
            "        self.linear.requires_grad_(False)\n",
            "",
            "linear.weight still learns",
        ),
        (
            "only the weight is frozen",
            "self.linear.requires_grad_(False)",
            "self.linear.weight.requires_grad_(False)",
            "linear.bias still learns",
        ),
        (
            "frozen with the input cut off",
            ADDED,
            "with torch.no_grad():\n            y = self.linear(x)\n"
            "        return y + self.scale * (x @ self.down.T @ self.up.T)",
            "the gradient of x runs through both ways",
        ),
        (
            "down is a buffer",
            "self.down = nn.Parameter(torch.empty(rank, I, dtype=linear.weight.dtype))",
            'self.register_buffer("down", torch.empty(rank, I, dtype=linear.weight.dtype))',
            "down and up learn and nothing else",
        ),
        (
            "down detached",
            ADDED,
            "return self.linear(x) + self.scale * (x @ self.down.detach().T @ self.up.T)",
            "no gradient reaches",
        ),
        (
            "added again when merged",
            "        if self.is_merged:\n            return self.linear(x)\n",
            "",
            "the update counts twice",
        ),
        ("a merge that only says so", ADD, "pass", "merge leaves the weight of `linear`"),
        (
            "merge without scale",
            ADD,
            "self.linear.weight += self.up @ self.down",
            "merge adds the update without its scale",
        ),
        ("merge takes off", ADD, TAKE, "your merge takes the update off"),
        ("unmerge adds", TAKE, ADD, "your unmerge adds the update again"),
        (
            "merged for good",
            ADD,
            ADD + "\n            self.up.zero_()",
            "merge leaves up as it is",
        ),
        (
            "merge makes the weight learn",
            ADD,
            "self.linear.weight = nn.Parameter(self.linear.weight + self.update())",
            "after merge and unmerge down and up learn and nothing else",
        ),
        (
            "merge gives the layer back",
            "        self.is_merged = True\n",
            "        self.is_merged = True\n        return self.linear.weight\n",
            "merge changes the layer and returns nothing",
        ),
        (
            "is_merged stays",
            "        self.is_merged = True\n",
            "",
            "after merge `is_merged` is True",
        ),
        (
            "merged twice",
            '        if self.is_merged:\n            raise ValueError("merged")\n',
            "",
            "a second merge: raise a ValueError",
        ),
        (
            "merged twice in silence",
            '            raise ValueError("merged")\n',
            "            return\n",
            "a second merge: raise a ValueError",
        ),
        (
            "unmerge at any time",
            '        if not self.is_merged:\n            raise ValueError("not merged")\n',
            "",
            "unmerge before any merge",
        ),
        (
            "merge into four bits",
            "        if not isinstance(self.linear, nn.Linear):\n"
            '            raise ValueError("four bits")\n',
            "",
            "merge where `linear` is no nn.Linear",
        ),
        (
            "always float32",
            ", dtype=linear.weight.dtype",
            "",
            "down has the dtype of the layer's weight",
        ),
        ("rank 0", "rank < 1 or ", "", "rank 0 for a matrix"),
        ("rank above the matrix", " or rank > min(O, I)", "", "rank 6 for a matrix"),
        ("rank below the larger side", "min(O, I)", "max(O, I)", "rank 6 for a matrix"),
        ("full rank refused", "rank > min", "rank >= min", "The case: rank 5"),
        ("alpha 0", "not alpha > 0", "alpha < 0", "alpha 0"),
        ("alpha NaN", "not alpha > 0", "alpha <= 0", "alpha nan"),
        ("alpha at any value", "not alpha > 0", "False", "alpha 0"),
        (
            "update without scale",
            "return self.scale * (self.up @ self.down)",
            "return self.up @ self.down",
            "update is scaled by alpha / rank",
        ),
        (
            "update turned",
            "return self.scale * (self.up @ self.down)",
            "return self.scale * (self.up @ self.down).T",
            "update is (O, I)",
        ),
    ),
    Wrong(
        "LoRALinear",
        "does no work: the layer itself",
        "def LoRALinear(linear, rank, alpha):\n    return linear\n",
        "the weights of the layer are to be",
    ),
    Wrong(
        "LoRALinear",
        "does no work: a module without weights",
        "class LoRALinear(nn.Module):\n"
        "    def __init__(self, linear, rank, alpha):\n"
        "        super().__init__()\n"
        "    def forward(self, x):\n"
        "        return x\n",
        "the weights of the layer are to be",
    ),
    *variants(
        "quantize_nf4",
        QUANTIZE,
        ("the low bits first", PACK, "packed = codes[0::2] + codes[1::2] * 16", "high four bits"),
        (
            "halves of the row",
            PACK,
            "half = len(codes) // 2\n    packed = codes[:half] * 16 + codes[half:]",
            "two in a byte",
        ),
        ("a byte each", PACK, "packed = codes", "put two of them into one"),
        ("without absolute values", SCALE, "scale = block.max()", "absolute values"),
        ("by the smallest", SCALE, "scale = block.abs().min()", "is its largest absolute value"),
        ("by the spread", SCALE, "scale = block.std()", "not the spread"),
        (
            "half of the range",
            SCALE,
            "scale = (block.max() - block.min()) / 2",
            "not half of the range",
        ),
        (
            "one scale for all",
            SCALE,
            "scale = flat.abs().max()",
            "each block of weights",
        ),
        (
            "divided by that of all",
            UNIT,
            "unit = block / flat.abs().max().clamp(min=1e-30)",
            "not by that of all",
        ),
        ("not divided", UNIT, "unit = block", "two in a byte"),
        ("one over it", "scales.append(scale)", "scales.append(1 / scale)", "not one over it"),
        (
            "over seven",
            "scales.append(scale)",
            "scales.append(scale / 7)",
            "the levels reach 1",
        ),
        (
            "even levels",
            NEAREST,
            "(unit[:, None] - torch.linspace(-1, 1, 16)).abs().argmin(dim=1)",
            "not even steps",
        ),
        (
            "the level below",
            NEAREST,
            "(torch.bucketize(unit, levels, right=True) - 1)",
            "not the one below it",
        ),
        (
            "the level above",
            NEAREST,
            "torch.bucketize(unit, levels).clamp(max=15)",
            "two in a byte",
        ),
        ("from the top", NEAREST, f"15 - {NEAREST}", "from the lowest level"),
        ("a block of zeros is NaN", UNIT, "unit = block / scale", "divided by a scale of 0"),
        (
            "zeros as the lowest level",
            NEAREST,
            NEAREST + " * (scale > 0)",
            "code 0 is the level -1",
        ),
        (
            "along rows of a matrix",
            "flat.split(block_size)",
            "(p for r in flat.view(-1, weight.shape[-1]) for p in r.split(block_size))",
            "(the last block may be shorter)",
        ),
        (
            "the last block is dropped",
            "flat.split(block_size)",
            "flat[: len(flat) // block_size * block_size or None].split(block_size)",
            "the last block may be shorter",
        ),
        ("blocks of 64 always", "split(block_size)", "split(64)", "each block of weights"),
        (
            "eps for a scale",
            UNIT,
            "unit = block / (scale + 1e-8)",
            "codes of weights around 1e-12",
        ),
        (
            "scales in the dtype of the weights",
            "torch.stack(scales)",
            "torch.stack(scales).to(weight.dtype)",
            "scales are float32",
        ),
        ("int codes", "packed.to(torch.uint8)", "packed", "codes"),
        (
            "the weights are divided in place",
            UNIT,
            "unit = block.div_(scale if scale > 0 else 1.0)",
            "`weight` was changed in place",
        ),
        (
            "NaN gets a code",
            '    if not flat.isfinite().all():\n        raise ValueError("NaN")\n',
            "",
            "nan at place 0",
        ),
        ("only NaN is refused", "not flat.isfinite().all()", "flat.isnan().any()", "inf at place"),
        (
            "odd numbers are cut",
            "    if len(flat) % 2 or not len(flat):\n",
            "    flat = flat[: len(flat) // 2 * 2]\n    if not len(flat):\n",
            "weights of shape (3,)",
        ),
        ("no weights", " or not len(flat)", "", "weights of shape (0,)"),
        ("block 0", "block_size < 1", "block_size < -1000", "block_size"),
        (
            "float16 throughout",
            "weight.float()",
            "weight.half()",
            "expected 0.4",
        ),
    ),
    Wrong(
        "quantize_nf4",
        "does no work: zeros of the right shape",
        "def quantize_nf4(weight, block_size=64):\n"
        "    n = weight.numel()\n"
        "    return torch.zeros(n // 2, dtype=torch.uint8), torch.zeros(-(-n // block_size))\n",
        "largest absolute value",
    ),
    Wrong(
        "quantize_nf4",
        "does no work: right scales and no codes",
        "def quantize_nf4(weight, block_size=64):\n"
        "    blocks = weight.float().flatten().split(block_size)\n"
        "    codes = torch.full((weight.numel() // 2,), 0x77, dtype=torch.uint8)\n"
        "    return codes, torch.stack([b.abs().max() for b in blocks])\n",
        "two in a byte",
    ),
    Wrong(
        "quantize_nf4",
        "a list of two",
        QUANTIZE.replace(
            "return packed.to(torch.uint8), torch.stack(scales)",
            "return [packed.to(torch.uint8), torch.stack(scales)]",
        ),
        "return two things",
    ),
    *variants(
        "dequantize_nf4",
        BACK,
        (
            "the low bits first",
            BOTH,
            "torch.stack([codes & 15, codes >> 4], dim=1)",
            "the high four bits hold the earlier",
        ),
        (
            "all high ones first",
            BOTH,
            "torch.stack([codes >> 4, codes & 15], dim=0)",
            "put them in turn",
        ),
        ("without scales", GIVE, "values.view(shape)", "these are the levels alone"),
        (
            "divided",
            GIVE,
            GIVE.replace("values * ", "values / "),
            "a weight is level times scale",
        ),
        (
            "repeat for repeat_interleave",
            "scales.float().repeat_interleave(block_size)",
            "scales.float().repeat(block_size)",
            "repeat_interleave, not repeat",
        ),
        (
            "the first scale for all",
            "scales.float().repeat_interleave(block_size)[:n]",
            "scales.float()[0]",
            "not that of the first",
        ),
        ("even steps", "nf4_levels()[both]", "torch.linspace(-1, 1, 16)[both]", "not even steps"),
        (
            "codes as weights",
            "nf4_levels()[both]",
            "both.float()",
            "bytes 242 and 112",
        ),
        ("flat", ".view(shape)", "", "has the shape that was asked for"),
        (
            "turned",
            ".view(shape)",
            ".view(shape[::-1]).permute(*range(len(shape))[::-1])",
            "yours column by column",
        ),
        ("float64", "nf4_levels()", "nf4_levels().double()", "the weights are float32"),
        ("scales keep their dtype", "scales.float()", "scales", "float32, whatever the scales are"),
        ("blocks of 64 always", "repeat_interleave(block_size)", "repeat_interleave(64)", "block"),
        (
            "any number of scales",
            " or len(scales) != -(-n // block_size)",
            "",
            "scales for 128 weights",
        ),
        ("scales rounded down", "-(-n // block_size)", "n // block_size", "ValueError"),
        ("any shape", "math.prod(shape) != n or ", "", "ValueError"),
        (
            "too few scales alone",
            "len(scales) != -(-n // block_size)",
            "len(scales) < -(-n // block_size)",
            "3 scales for 128 weights",
        ),
        (
            "scales changed in place",
            GIVE,
            "(values * scales.mul_(1.5).float().div(1.5).repeat_interleave(block_size)[:n])"
            ".view(shape)",
            "`scales` was changed in place",
        ),
        ("three bits", "codes & 15", "codes & 7", "level times scale of its block"),
    ),
    Wrong(
        "dequantize_nf4",
        "does no work: zeros",
        "def dequantize_nf4(codes, scales, shape, block_size=64):\n    return torch.zeros(shape)\n",
        "bytes 242 and 112",
    ),
    Wrong(
        "dequantize_nf4",
        "does no work: the codes",
        "def dequantize_nf4(codes, scales, shape, block_size=64):\n    return codes.float()\n",
        "bytes 242 and 112",
    ),
    *variants(
        "double_quantize",
        DOUBLE,
        (
            "a small step is none",
            "step if step > 0",
            "step if step > 1e-6",
            "/ 100,000",
        ),
        (
            "filled up before the mean is taken off",
            "(scales - mean).split(block_size)",
            "(F.pad(scales, (0, -len(scales) % block_size)) - mean).split(block_size)",
            "largest distance from the mean",
        ),
        (
            "without the mean",
            "(scales - mean).split",
            "scales.split",
            "from the mean, not from zero",
        ),
        (
            "the mean is lost",
            "torch.stack(steps), mean)",
            "torch.stack(steps), 0 * mean)",
            "is taken off first, and kept",
        ),
        ("the median", "mean = scales.mean()", "mean = scales.median()", "not the median"),
        ("the smallest", "mean = scales.mean()", "mean = scales.min()", "not the smallest"),
        (
            "the middle",
            "mean = scales.mean()",
            "mean = (scales.min() + scales.max()) / 2",
            "not the middle of the range",
        ),
        (
            "a mean for each block",
            "(scales - mean).split(block_size):\n",
            "scales.split(block_size):\n        block = block - block.mean()\n",
            "not from that of the block",
        ),
        ("over 128", STEP, STEP.replace("127", "128"), "not 128"),
        ("over 255", STEP, STEP.replace("127", "255"), "not 255"),
        ("without absolute values", STEP, "step = block.max() / 127", "absolute distances"),
        (
            "one step for all",
            STEP,
            "step = (scales - mean).abs().max() / 127",
            "each block's largest distance",
        ),
        ("rounded down", ROUND, ROUND.replace("round", "floor"), "not down"),
        ("cut", ROUND, ROUND.replace("round", "trunc"), "not towards zero"),
        ("sign", ROUND, ROUND.replace("block / step", "-block / step"), "code above zero"),
        (
            "from 0 to 254",
            ROUND,
            "codes.append((block / step).round() + 127)",
            "with 0 for the mean",
        ),
        ("float codes", ".to(torch.int8)", "", "codes are int8"),
        (
            "equal scales are NaN",
            "        step = step if step > 0 else torch.tensor(1.0)\n",
            "",
            "has step 1",
        ),
        (
            "an eps for a step",
            "step if step > 0 else torch.tensor(1.0)",
            "step + 1e-8",
            "step",
        ),
        ("float64 out", "scales = scales.float()", "scales = scales.double()", "float32"),
        ("256 always", "split(block_size)", "split(256)", "step"),
        (
            "NaN",
            '    if not scales.isfinite().all():\n        raise ValueError("NaN")\n',
            "",
            "a scale of",
        ),
        ("infinity", "not scales.isfinite().all()", "scales.isnan().any()", "a scale of inf"),
        ("no scales", "or not len(scales) ", "", "scales of shape (0,)"),
        ("a matrix", "scales.dim() != 1 or ", "", "scales of shape (2, 4)"),
        ("block 0", " or block_size < 1", "", "block_size"),
        (
            "negative blocks",
            "block_size < 1",
            "block_size == 0",
            "block_size -4",
        ),
        (
            "the scales change",
            "mean = scales.mean()",
            "mean = scales.mean()\n    scales -= mean\n    scales = scales + mean",
            "`scales` was changed in place",
        ),
        (
            "a mean of one number in a row",
            "torch.stack(steps), mean)",
            "torch.stack(steps), mean[None])",
            "one mean for all scales",
        ),
        (
            "in another order",
            "QuantizedScales(torch.cat(codes), torch.stack(steps), mean)",
            "(torch.stack(steps), torch.cat(codes), mean)",
            "3 blocks have 3 steps",
        ),
    ),
    Wrong(
        "double_quantize",
        "does no work: scales as they came",
        "def double_quantize(scales, block_size=256):\n"
        "    return QuantizedScales(scales, torch.ones(1), torch.tensor(0.0))\n",
        "is taken off first, and kept",
    ),
    Wrong(
        "double_quantize",
        "does no work: zeros and the mean",
        "def double_quantize(scales, block_size=256):\n"
        "    n = -(-len(scales) // block_size)\n"
        "    codes = torch.zeros(len(scales), dtype=torch.int8)\n"
        "    return QuantizedScales(codes, torch.ones(n), scales.float().mean())\n",
        "largest distance from the mean",
    ),
    *variants(
        "finetune_memory",
        MEMORY,
        ("tied twice", "(1 if tie_embeddings else 2)", "2", "a tied table counts once"),
        ("one table", "(1 if tie_embeddings else 2)", "1", "a tied table counts once"),
        ("no gains", " + (2 * n_layers + 1) * D\n", "\n", "the gains of the norms are missing"),
        ("no last gain", "(2 * n_layers + 1)", "2 * n_layers", "the gain of the last norm"),
        ("one norm", "(2 * n_layers + 1)", "(n_layers + 1)", "two norms"),
        ("two wide matrices", "(2 * F, D)", "(F, D)", "gate and up are two matrices"),
        ("no values", "(A + 2 * Z, D)", "(A + Z, D)", "keys and values are two matrices"),
        ("square output", "(D, A)", "(D, D)", "need not be D"),
        (
            "adapters in the weights",
            '"weights": float_bytes * (others',
            '"weights": float_bytes * (adapters + others',
            "adapters are a term of their own",
        ),
        (
            "floats stay beside the codes",
            "(0 if is_quantized else matrices)",
            "matrices",
            "quantised matrices are no floats",
        ),
        ("a byte for a code", "matrices // 2", "matrices", "not a whole one"),
        (
            "the table in four bits",
            "matrices // 2",
            "(matrices + others) // 2",
            "the tables and gains are not quantised",
        ),
        ("codes always", "matrices // 2 if is_quantized else 0", "matrices // 2", "codes"),
        ("scales always", "scales if is_quantized else 0", "scales", "scales"),
        (
            "plain scales",
            "n_layers * (s + 4 * math.ceil(s / 256) + 4)",
            "n_layers * 4 * s",
            "a byte each, and not four",
        ),
        ("no mean", "math.ceil(s / 256) + 4)", "math.ceil(s / 256))", "the mean of each"),
        (
            "no steps",
            "(s + 4 * math.ceil(s / 256) + 4)",
            "(s + 4)",
            "scales, ",
        ),
        ("whole blocks alone", "math.ceil(o * i / 64)", "o * i // 64", "scales, "),
        (
            "scales of one layer",
            "scales += n_layers * (",
            "scales += (",
            "every layer has scales",
        ),
        ("down alone", "rank * (o + i)", "rank * i", "up is missing"),
        ("up alone", "rank * (o + i)", "rank * o", "down is missing"),
        (
            "adapters of one layer",
            "adapters = n_layers * sum",
            "adapters = sum",
            "every layer has adapters",
        ),
        (
            "gradients of all",
            '"gradients": float_bytes * learn',
            '"gradients": float_bytes * (matrices + others)',
            "only what learns has a gradient",
        ),
        (
            "gradients of adapters alone",
            '"gradients": float_bytes * learn',
            '"gradients": float_bytes * adapters',
            "without a rank all weights learn",
        ),
        (
            "float32 gradients",
            '"gradients": float_bytes * learn',
            '"gradients": 4 * learn',
            "two bytes for each number, not four",
        ),
        ("one moment", "(8 if float_bytes == 4 else 12)", "4", "two moments"),
        ("no copy", "(8 if float_bytes == 4 else 12)", "8", "a float32 copy"),
        ("always a copy", "(8 if float_bytes == 4 else 12)", "12", "in float32 the weights are"),
        (
            "small moments",
            "(8 if float_bytes == 4 else 12)",
            "2 * float_bytes",
            "are float32: 12 bytes",
        ),
        ("no logits", " + 2 * vocab_size)", ")", "2 V"),
        ("logits once", " + 2 * vocab_size)", " + vocab_size)", "kept twice"),
        (
            "logits in each block",
            "(n_layers * kept + 2 * vocab_size)",
            "n_layers * (kept + 2 * vocab_size)",
            "not in each block",
        ),
        ("one row", "batch_size * n_tokens * (", "n_tokens * (", "tokens of all B rows"),
        ("one token", "batch_size * n_tokens * (", "batch_size * (", "all T tokens"),
        ("gains learn", "4 * D + 4 * rank if", "6 * D + 4 * rank if", "4 D with one"),
        ("no rank", "4 * D + 4 * rank if", "4 * D if", "4 rank are missing"),
        ("no heads", "+ n_heads + 2\n", "+ 2\n", "n_heads"),
        (
            "float32 activations",
            '"activations": float_bytes * numbers',
            '"activations": 4 * numbers',
            "two bytes for each number, not four",
        ),
        ("counts", '"weights": float_bytes * (', '"weights": (', "in bytes, not as a count"),
        ("floats", "matrices // 2", "matrices / 2", "a whole number of bytes"),
        (
            "in gigabytes",
            '"activations": float_bytes * numbers',
            '"activations": float_bytes * numbers / 1e9',
            "a whole number of bytes",
        ),
        ("another order", '"weights":', '"total": 0, "weights":', "the terms are"),
        (
            "quantised without a rank",
            '    if is_quantized and rank is None:\n        raise ValueError("rank")\n',
            "",
            "quantised weights without a rank",
        ),
        ("rank 0", "rank is not None and rank < 1", "rank is not None and rank < 0", "rank 0"),
        ("any rank", "rank is not None and rank < 1", "False", "rank 0"),
        ("any float", "float_bytes not in (2, 4)", "float_bytes > 4", "float_bytes 1"),
    ),
    Wrong(
        "finetune_memory",
        "does no work: zeros",
        "def finetune_memory(*sizes, **settings):\n"
        '    return dict.fromkeys(("weights", "codes", "scales", "adapters", "gradients",\n'
        '        "optimizer", "activations"), 0)\n',
        "weights",
    ),
    Wrong(
        "finetune_memory",
        "does no work: an empty dictionary",
        "def finetune_memory(*sizes, **settings):\n    return {}\n",
        "the terms are",
    ),
    Wrong(
        "LoRALinear",
        "merged, update is nothing",
        changed(
            changed(LORA, "return self.scale *", "return (not self.is_merged) * self.scale *"),
            '        if not self.is_merged:\n            raise ValueError("not merged")\n',
            '        if not self.is_merged:\n            raise ValueError("not merged")\n'
            "        self.is_merged = False\n",
        ),
        "update() is what it was before",
    ),
    Wrong(
        "LoRALinear",
        "up of the first call is kept",
        changed(
            LORA,
            ADDED,
            "self.first = getattr(self, 'first', self.up.clone())\n"
            "        return self.linear(x) + self.scale * (x @ self.down.T @ self.first.T)",
        ),
        "forward again",
    ),
    Wrong(
        "LoRALinear",
        "no update in evaluation",
        changed(
            LORA,
            "if self.is_merged:\n            return self",
            "if self.is_merged or not self.training:\n            return self",
        ),
        "in evaluation mode",
    ),
    Wrong(
        "quantize_nf4",
        "in the dtype of the weights",
        changed(QUANTIZE, "weight.float().flatten()", "weight.flatten()").replace(
            "torch.stack(scales)", "torch.stack(scales).float()"
        ),
        "divide in float32",
    ),
    Wrong(
        "finetune_memory",
        "steps for whole blocks of scales alone",
        changed(MEMORY, "4 * math.ceil(s / 256)", "4 * (s // 256)"),
        "256 scales share a step",
    ),
    *variants(
        "finetune_memory",
        MEMORY,
        ("A taken for D", "A, Z, D, F = n_heads * d_head,", "A, Z, D, F = d_model,", "weights"),
        (
            "the logits of one token",
            "batch_size * n_tokens * (n_layers * kept + 2 * vocab_size)",
            "batch_size * n_tokens * n_layers * kept + 2 * vocab_size",
            "2 V are kept for each",
        ),
    ),
]

LAST = "of two axes, 1 and -1 are the same"
CLAMP = "the largest of a block is 127 steps from the mean, so nothing is ever cut off"
EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "LoRALinear",
        "swap arguments of `min(n_outputs, n_inputs)`",
    ): "the smaller of two numbers, in either order",
    ("quantize_nf4", "1 -> -1 in `blocks.abs().amax(dim=1)`"): LAST,
    (
        "quantize_nf4",
        "1 -> -1 in `scales.clamp(min=torch.finfo ... ).reciprocal().unsqueeze(1)`",
    ): "of one axis, a new one at the end",
    (
        "quantize_nf4",
        "2 -> -2 in `len(flat) % 2`",
    ): "the remainder is 0 for the same numbers, and only that is asked",
    (
        "dequantize_nf4",
        "1 -> -1 in `torch.stack([codes >> 4, codes & 15], dim=1)`",
    ): "of two axes, the new one is the last",
    ("double_quantize", "1 -> -1 in `blocks.abs().amax(dim=1)`"): LAST,
    ("double_quantize", "1 -> -1 in `steps.unsqueeze(1)`"): "of one axis, a new one at the end",
    (
        "double_quantize",
        "127 -> 128 in `(blocks / steps.unsqueeze(1)).round().clamp(-127, 127)`",
    ): CLAMP,
    (
        "double_quantize",
        "127 -> 128 in `(blocks / steps.unsqueeze(1)).round().clamp(-127, 127)` #2",
    ): CLAMP,
}
