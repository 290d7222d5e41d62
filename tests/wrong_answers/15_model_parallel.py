"""Wrong answers of lab 15, each with words that the hint must hold."""

from tests.wrong_answers import Wrong, slips

ORDER = """def schedule_1f1b(n_stages, n_micro_batches):
    if n_stages < 1 or n_micro_batches < 1:
        raise ValueError("at least one of each")
    p, m = n_stages, n_micro_batches
    schedule = []
    for s in range(p):
        warm = min(p - 1 - s, m)
        order = [("F", s, k) for k in range(warm)]
        for k in range(warm, m):
            order += [("F", s, k), ("B", s, k - warm)]
        order += [("B", s, k) for k in range(m - warm, m)]
        schedule.append(order)
    return schedule
"""
WARM = "min(p - 1 - s, m)"
PAIR = '[("F", s, k), ("B", s, k - warm)]'
COOL = '        order += [("B", s, k) for k in range(m - warm, m)]\n'
COUNTS = "n_stages < 1 or n_micro_batches < 1"

BUBBLE = """def bubble_fraction(timeline):
    ops = [op for order in timeline for op in order]
    if not ops or any(op[4] < op[3] for op in ops):
        raise ValueError("no timeline")
    busy = sum(op[4] - op[3] for op in ops)
    first, last = min(op[3] for op in ops), max(op[4] for op in ops)
    if first == last:
        raise ValueError("no time")
    n = len(timeline)
    return 1 - busy / (n * (last - first))
"""
IDLE = "1 - busy / (n * (last - first))"
EMPTY = "not ops or any(op[4] < op[3] for op in ops)"

CHECKPOINT = """def checkpoint_block(*tensors, block=example_block):
    class Again(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.state = torch.get_rng_state()
            ctx.save_for_backward(*tensors)
            return block(*tensors)

        @staticmethod
        def backward(ctx, gradient):
            wanted = ctx.needs_input_grad
            inputs = [
                t.detach().requires_grad_(w) for t, w in zip(ctx.saved_tensors, wanted)
            ]
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                torch.set_rng_state(ctx.state)
                y = block(*inputs)
            leaves = [t for t in inputs if t.requires_grad]
            found = iter(torch.autograd.grad(y, leaves, gradient, allow_unused=True))
            return tuple(next(found) if w else None for w in wanted)

    return Again.apply(*tensors)
"""
SIGNATURE = "def checkpoint_block(*tensors, block=example_block):\n"
PUT_BACK = "                torch.set_rng_state(ctx.state)\n"

COLUMN = """def column_parallel_linear(x, weight, group=None):
    if x.shape[-1] != weight.shape[-1]:
        raise ValueError("widths")

    class Copy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, gradient):
            gradient = gradient.clone()
            dist.all_reduce(gradient, group=group)
            return gradient

    return Copy.apply(x) @ weight.T
"""
SUM_BACK = "            dist.all_reduce(gradient, group=group)\n"
WIDTHS = """    if x.shape[-1] != weight.shape[-1]:
        raise ValueError("widths")
"""

ROW = """def row_parallel_linear(x, weight, bias=None, group=None):
    if x.shape[-1] != weight.shape[-1]:
        raise ValueError("widths")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError("bias")

    class Sum(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            y = y.clone()
            dist.all_reduce(y, group=group)
            return y

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    y = Sum.apply(x @ weight.T)
    return y if bias is None else y + bias
"""
APPLY = """    y = Sum.apply(x @ weight.T)
    return y if bias is None else y + bias
"""
SUM = "            dist.all_reduce(y, group=group)\n"
BIAS = """    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError("bias")
"""

VOCAB = """def vocab_parallel_cross_entropy(logits, targets, group=None):
    n, rank, size = dist.get_world_size(group), dist.get_rank(group), logits.shape[-1]
    if logits.shape[:-1] != targets.shape:
        raise ValueError("shapes")
    counts = targets != -100
    if not counts.any():
        raise ValueError("no target")
    asked = targets[counts]
    if asked.min() < 0 or asked.max() >= n * size:
        raise ValueError("id")

    class Sum(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            y = y.clone()
            dist.all_reduce(y, group=group)
            return y

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    largest = logits.detach().amax(-1)
    dist.all_reduce(largest, dist.ReduceOp.MAX, group=group)
    shifted = logits - largest.unsqueeze(-1)
    local = targets - rank * size
    mine = counts & (local >= 0) & (local < size)
    index = torch.where(mine, local, 0).unsqueeze(-1)
    chosen = torch.where(mine, shifted.gather(-1, index).squeeze(-1), 0.0)
    total = Sum.apply(shifted.exp().sum(-1))
    chosen = Sum.apply(chosen)
    return (total.log() - chosen)[counts].mean()
"""
LARGEST = "    dist.all_reduce(largest, dist.ReduceOp.MAX, group=group)\n"
TOTAL = "Sum.apply(shifted.exp().sum(-1))"
CHOSEN = "    chosen = Sum.apply(chosen)\n"
END = "(total.log() - chosen)[counts].mean()"
LOCAL = "targets - rank * size"
MINE = "torch.where(mine, shifted.gather(-1, index).squeeze(-1), 0.0)"


WRONG = [
    Wrong(
        "schedule_1f1b",
        "does no work: empty lists",
        "def schedule_1f1b(n_stages, n_micro_batches):\n    return [[] for _ in range(n_stages)]\n",
        "stage 0 of",
    ),
    Wrong(
        "schedule_1f1b",
        "does no work: one micro-batch through and back",
        "def schedule_1f1b(n_stages, n_micro_batches):\n"
        "    return [[('F', s, 0), ('B', s, 0)] for s in range(n_stages)]\n",
        "stage 0 of",
    ),
    *slips(
        "schedule_1f1b",
        ORDER,
        (
            "all forwards first",
            WARM,
            "m",
            "in your schedule all forwards come before the first backward",
        ),
        ("one too many", WARM, "min(p - s, m)", "a forward too many"),
        ("mirrored", WARM, "min(s, m)", "counts the stages before"),
        ("the same for all", WARM, "min(p - 1, m)", "the warm-up of the first"),
        ("no warm-up", WARM, "0", "your schedule has no warm-up"),
        (
            "newest first",
            PAIR,
            '[("F", s, k), ("B", s, m - 1 - k + warm)]',
            "stage 0 of",
        ),
        ("backward before forward", PAIR, f"{PAIR}[::-1]", "a backward comes before its forward"),
        ("no cool-down", COOL, "", "your schedule ends without a cool-down"),
        ("swapped places", "    return schedule", "    return schedule[::-1]", "the other order"),
        (
            "micro-batch before stage",
            "    return schedule",
            "    return [[(a, c, b) for a, b, c in o] for o in schedule]",
            "are swapped",
        ),
        (
            "without the stage",
            "    return schedule",
            "    return [[(a, c) for a, b, c in o] for o in schedule]",
            "your operations have two parts",
        ),
        (
            "counts from one",
            "    return schedule",
            "    return [[(a, b, c + 1) for a, b, c in o] for o in schedule]",
            "count from 0",
        ),
        (
            "lists for tuples",
            "    return schedule",
            "    return [[[*op] for op in o] for o in schedule]",
            "stage 0 of",
        ),
        ("more warm-up than micro-batches", WARM, "p - 1 - s", "stage 0 of schedule_1f1b"),
        ("no stage", COUNTS, "n_micro_batches < 1", "0 stages"),
        ("no micro-batch", COUNTS, "n_stages < 1", "0 micro-batches"),
    ),
    Wrong(
        "bubble_fraction",
        "does no work: nothing idle",
        "def bubble_fraction(timeline):\n    return 0.0\n",
        "the idle share of",
    ),
    Wrong(
        "bubble_fraction",
        "does no work: the formula for as many micro-batches as the first rank has",
        "def bubble_fraction(timeline):\n"
        "    p, m = len(timeline), len(timeline[0]) // 2\n    return (p - 1) / (m + p - 1)\n",
        "the idle share of",
    ),
    *slips(
        "bubble_fraction",
        BUBBLE,
        ("work, not idle", IDLE, IDLE.removeprefix("1 - "), "the share of work"),
        ("of the work", IDLE, "n * (last - first) / busy - 1", "divided by the work"),
        ("not of all ranks", IDLE, "1 - busy / (last - first)", "count it for each rank"),
        ("from 0", IDLE, "1 - busy / (n * last)", "counted from 0"),
        ("idle ranks left out", "len(timeline)", "sum(map(bool, timeline))", "waits all the time"),
        (
            "each rank's own time",
            IDLE,
            "1 - busy / sum(max(x[4] for x in o) - min(x[3] for x in o) for o in timeline if o)",
            "your ranks are each measured from their own first start to their own last end",
        ),
        (
            "first and last of the lists",
            "min(op[3] for op in ops), max(op[4] for op in ops)",
            "min(o[0][3] for o in timeline if o), max(o[-1][4] for o in timeline if o)",
            "need not be the earliest",
        ),
        ("counts operations", "sum(op[4] - op[3] for op in ops)", "len(ops)", "as if each took"),
        ("idle time", IDLE, "n * (last - first) - busy", "divide it by the time"),
        ("rounded", IDLE, f"round({IDLE}, 2)", "the idle share of"),
        (
            "nothing accepted",
            "    if not ops or",
            "    if not ops:\n        return 0.0\n    if",
            "no rank",
        ),
        ("backwards accepted", EMPTY, "not ops", "an end before its start"),
        ("NaN for no time", '        raise ValueError("no time")', "        return 0.0", "no time"),
    ),
    Wrong(
        "checkpoint_block",
        "does no work: the block as it is",
        f"{SIGNATURE}    return block(*tensors)\n",
        "the block ran once",
    ),
    Wrong(
        "checkpoint_block",
        "does no work: the first tensor",
        f"{SIGNATURE}    return tensors[0]\n",
        "your result is not block",
    ),
    Wrong(
        "checkpoint_block",
        "no gradient at all",
        f"{SIGNATURE}    with torch.no_grad():\n        return block(*tensors)\n",
        "cuts the gradient",
    ),
    Wrong(
        "checkpoint_block",
        "runs twice forward",
        f"{SIGNATURE}    with torch.no_grad():\n        block(*tensors)\n"
        "    return block(*tensors)\n",
        "got 2",
    ),
    Wrong(
        "checkpoint_block",
        "the weights learn nothing",
        f"{SIGNATURE}    return ActNow.apply(*tensors)\n\n"
        "class ActNow(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, *tensors):\n        ctx.save_for_backward(*tensors)\n"
        "        ctx.state = torch.get_rng_state()\n"
        "        return example_block(*tensors)\n    @staticmethod\n"
        "    def backward(ctx, gradient):\n        x, *others = ctx.saved_tensors\n"
        "        x = x.detach().requires_grad_()\n        with torch.enable_grad():\n"
        "            torch.set_rng_state(ctx.state)\n            y = example_block(x, *others)\n"
        "        (g,) = torch.autograd.grad(y, x, gradient)\n"
        "        return (g, *[torch.zeros_like(o) if o.dtype.is_floating_point else None "
        "for o in others])\n",
        "no gradient reaches `w_up`",
    ),
    *slips(
        "checkpoint_block",
        CHECKPOINT,
        ("drawn again", PUT_BACK, "", "drops other numbers"),
        (
            "what was drawn later is drawn again",
            "with torch.random.fork_rng(devices=[]), torch.enable_grad():",
            "with torch.enable_grad():",
            "your backward moves torch's generator",
        ),
        (
            "the same numbers dropped in every call",
            "            ctx.state = torch.get_rng_state()\n",
            "            torch.manual_seed(0)\n            ctx.state = torch.get_rng_state()\n",
            "two calls of yours drop the same numbers",
        ),
        (
            "the example block alone",
            "            return block(*tensors)\n",
            "            return example_block(*tensors)\n",
            "another block, a linear layer",
        ),
        (
            "state from after the run",
            "            ctx.state = torch.get_rng_state()\n"
            "            ctx.save_for_backward(*tensors)\n"
            "            return block(*tensors)",
            "            ctx.save_for_backward(*tensors)\n"
            "            y = block(*tensors)\n"
            "            ctx.state = torch.get_rng_state()\n"
            "            return y",
            "drops other numbers",
        ),
        ("a seed of its own", "torch.set_rng_state(ctx.state)", "torch.manual_seed(0)", "drops"),
        ("gradients off", ", torch.enable_grad()", "", "does not require grad"),
        (
            "ones for the gradient",
            "leaves, gradient,",
            "leaves, torch.ones_like(y),",
            "your gradient of `",
        ),
        (
            "the block's gradient without the way around",
            "            return tuple(",
            "            found = iter([g - gradient if k == 0 else g "
            "for k, g in enumerate(found)])\n            return tuple(",
            "leaves out the way around",
        ),
        (
            "the result twice",
            "return block(*tensors)",
            "return 2 * block(*tensors)",
            "your result is not block",
        ),
        (
            "input changed",
            "            return block(*tensors)",
            "            y = block(*tensors)\n            tensors[0].data.zero_()\n"
            "            return y",
            "was changed in place",
        ),
        (
            "runs three times",
            "                y = block(*inputs)",
            "                block(*inputs)\n                torch.set_rng_state(ctx.state)\n"
            "                y = block(*inputs)",
            "got 3",
        ),
    ),
    Wrong(
        "column_parallel_linear",
        "does no work: the input",
        "def column_parallel_linear(x, weight, group=None):\n    return x\n",
        "rank 0: x @ weight.T of its own weight",
    ),
    Wrong(
        "column_parallel_linear",
        "does no work: zeros",
        "def column_parallel_linear(x, weight, group=None):\n    return (x @ weight.T) * 0\n",
        "rank 0: x @ weight.T of its own weight",
    ),
    Wrong(
        "column_parallel_linear",
        "the plain layer",
        f"def column_parallel_linear(x, weight, group=None):\n{WIDTHS}    return x @ weight.T\n",
        "the part of this rank alone",
    ),
    Wrong(
        "column_parallel_linear",
        "gathers the outputs",
        "def column_parallel_linear(x, weight, group=None):\n    y = x @ weight.T\n"
        "    parts = [torch.empty_like(y) for _ in range(dist.get_world_size(group))]\n"
        "    dist.all_gather(parts, y.detach(), group=group)\n    return torch.cat(parts, -1)\n",
        "your result puts the outputs of all ranks together",
    ),
    *slips(
        "column_parallel_linear",
        COLUMN,
        (
            "averaged",
            SUM_BACK,
            f"{SUM_BACK}            gradient /= dist.get_world_size(group)\n",
            "averaged",
        ),
        ("summed twice", SUM_BACK, SUM_BACK * 2, "your sum over the ranks is taken twice"),
        (
            "n times its own",
            SUM_BACK,
            "            gradient *= dist.get_world_size(group)\n",
            "your gradient is n times this rank's part",
        ),
        (
            "sums forward",
            "            return x.view_as(x)",
            "            y = x.clone()\n            dist.all_reduce(y, group=group)\n"
            "            return y / dist.get_world_size(group)",
            "the forward is to send nothing",
        ),
        (
            "behind the product",
            "Copy.apply(x) @ weight.T",
            "Copy.apply(x @ weight.T)",
            "the gradient of",
        ),
        (
            "weights summed too",
            "Copy.apply(x) @ weight.T",
            "Copy.apply(x) @ Copy.apply(weight).T",
            "your gradients of the weights are summed over the ranks",
        ),
        (
            "in float16",
            SUM_BACK,
            "            gradient = gradient.half()\n"
            + SUM_BACK
            + "            gradient = gradient.float()\n",
            "the gradient of x",
        ),
        (
            "the first rank keeps its own",
            SUM_BACK,
            "            before = gradient.clone()\n"
            + SUM_BACK
            + "            gradient = before if dist.get_rank(group) == 0 else gradient\n",
            "the part of this rank alone",
        ),
        ("weight not turned", "@ weight.T", "@ weight", "mat"),
        (
            "any widths",
            WIDTHS,
            "    n = min(x.shape[-1], weight.shape[-1])\n"
            "    x, weight = x[..., :n], weight[..., :n]\n",
            "x (3) and a weight (2, 5)",
        ),
        (
            "another order: one rank never joins",
            SUM_BACK,
            "            if dist.get_rank(group) == 0:\n    " + SUM_BACK,
            "rank",
        ),
    ),
    Wrong(
        "row_parallel_linear",
        "does no work: the plain layer",
        "def row_parallel_linear(x, weight, bias=None, group=None):\n"
        "    y = x @ weight.T\n    return y if bias is None else y + bias\n",
        "the summand of this rank alone",
    ),
    Wrong(
        "row_parallel_linear",
        "does no work: the bias",
        "def row_parallel_linear(x, weight, bias=None, group=None):\n"
        "    return (x @ weight.T) * 0 + (0 if bias is None else bias)\n",
        "the sum of all ranks'",
    ),
    *slips(
        "row_parallel_linear",
        ROW,
        (
            "bias on every rank",
            APPLY,
            "    y = x @ weight.T\n    return Sum.apply(y if bias is None else y + bias)\n",
            "your bias counts",
        ),
        (
            "bias of rank 0 inside the sum",
            APPLY,
            "    y = x @ weight.T\n    if bias is not None:\n"
            "        y = y + bias * (dist.get_rank(group) == 0)\n    return Sum.apply(y)\n",
            "the gradient of the bias",
        ),
        (
            "no bias",
            APPLY,
            "    return Sum.apply(x @ weight.T)\n",
            "your result is the one without the bias",
        ),
        ("averaged", SUM, f"{SUM}            y /= dist.get_world_size(group)\n", "are averaged"),
        (
            "bias divided",
            "y + bias\n",
            "y + bias / dist.get_world_size(group)\n",
            "your bias is divided by the number of ranks",
        ),
        (
            "sums backward too",
            "            return gradient\n",
            "            gradient = gradient.clone()\n"
            "            dist.all_reduce(gradient, group=group)\n            return gradient\n",
            "your gradient is summed over the ranks",
        ),
        (
            "divides backward",
            "            return gradient\n",
            "            return gradient / dist.get_world_size(group)\n",
            "divided by the number of ranks",
        ),
        ("cut", APPLY, APPLY.replace("x @ weight.T", "(x @ weight.T).detach()"), "gradient"),
        (
            "side by side",
            APPLY,
            "    y = x @ weight.T\n"
            "    parts = [torch.empty_like(y) for _ in range(dist.get_world_size(group))]\n"
            "    dist.all_gather(parts, y.detach(), group=group)\n"
            "    return torch.cat(parts, -1)\n",
            "put side by side",
        ),
        (
            "in float16",
            SUM,
            "            y = y.half()\n" + SUM + "            y = y.float()\n",
            "the sum of all ranks'",
        ),
        ("summed twice", SUM, SUM * 2, "rank 0"),
        ("any bias", BIAS, "", "a bias (1) for two outputs"),
        (
            "as many numbers",
            "bias.shape != weight.shape[:1]",
            "bias.numel() != len(weight)",
            "a bias (2, 1) for two outputs",
        ),
        (
            "any widths",
            WIDTHS,
            "    n = min(x.shape[-1], weight.shape[-1])\n"
            "    x, weight = x[..., :n], weight[..., :n]\n",
            "x (3) and a weight (2, 5)",
        ),
        ("changes the bias", "y + bias\n", "y + bias.data.mul_(2)\n", "rank 0"),
    ),
    Wrong(
        "vocab_parallel_cross_entropy",
        "does no work: zero",
        "def vocab_parallel_cross_entropy(logits, targets, group=None):\n"
        "    return logits.sum() * 0\n",
        "the mean cross-entropy on rank 0",
    ),
    Wrong(
        "vocab_parallel_cross_entropy",
        "does no work: the logarithm of the vocabulary",
        "def vocab_parallel_cross_entropy(logits, targets, group=None):\n"
        "    n = logits.shape[-1] * dist.get_world_size(group)\n"
        "    return torch.tensor(float(n)).log() + logits.sum() * 0\n",
        "the mean cross-entropy on rank 0",
    ),
    Wrong(
        "vocab_parallel_cross_entropy",
        "gathers the logits",
        "def vocab_parallel_cross_entropy(logits, targets, group=None):\n"
        "    parts = [torch.empty_like(logits) for _ in range(dist.get_world_size(group))]\n"
        "    dist.all_gather(parts, logits.detach(), group=group)\n"
        "    parts[dist.get_rank(group)] = logits\n"
        "    return torch.nn.functional.cross_entropy(torch.cat(parts, -1).flatten(0, -2), "
        "targets.flatten())\n",
        "never the logits themselves",
    ),
    *slips(
        "vocab_parallel_cross_entropy",
        VOCAB,
        (
            "only its own sum",
            TOTAL,
            "shifted.exp().sum(-1)",
            "your sum of exponentials has this rank's part of the vocabulary alone",
        ),
        (
            "target missing elsewhere",
            CHOSEN,
            "",
            "your loss lacks the target's logit where another rank holds it",
        ),
        (
            "every rank adds a logit",
            "mine = counts & (local >= 0) & (local < size)",
            "local, mine = targets.clamp(min=0) % size, counts",
            "your ranks each add a logit",
        ),
        ("own largest logit", LARGEST, "", "your ranks each take off their own largest logit"),
        ("no largest logit", "logits - largest.unsqueeze(-1)", "logits", "nan"),
        (
            "padding in the mean",
            END,
            "(total.log() - chosen).where(counts, 0).mean()",
            "your mean counts positions with the target -100",
        ),
        ("the sum", END, END.replace("mean", "sum"), "your loss is the sum"),
        ("counts from one", LOCAL, "targets - rank * size - 1", "rank 0"),
        (
            "sums backward too",
            "            return gradient\n",
            "            gradient = gradient.clone()\n"
            "            dist.all_reduce(gradient, group=group)\n            return gradient\n",
            "your gradient is summed over the ranks",
        ),
        ("divided", END, f"{END} / n", "divided by the number of ranks"),
        ("cut at the sum", TOTAL, "Sum.apply(shifted.exp().sum(-1).detach())", "gradient"),
        (
            "any id",
            "asked.min() < 0 or asked.max() >= n * size",
            "asked.min() < 0",
            "a target of 6",
        ),
        (
            "negative ids",
            "asked.min() < 0 or asked.max() >= n * size",
            "asked.max() >= n * size",
            "a target of -1",
        ),
        (
            "mean of nothing",
            '        raise ValueError("no target")',
            "        return logits.sum() * 0",
            "no target that counts",
        ),
        ("the last id left out", "(local < size)", "(local < size - 1)", "rank"),
        (
            "one more message first on rank 0",
            LARGEST,
            "    if rank == 0:\n        dist.barrier(group=group)\n" + LARGEST,
            "rank",
        ),
    ),
]

WRONG += [
    Wrong(
        exercise,
        "the group is not used",
        code.replace("group=None):\n", "group=None):\n    group = None\n", 1),
        "`group` is ranks 1 and 3 of four",
    )
    for exercise, code in (
        ("column_parallel_linear", COLUMN),
        ("row_parallel_linear", ROW),
        ("vocab_parallel_cross_entropy", VOCAB),
    )
]
EQUIVALENT = {
    (
        "schedule_1f1b",
        "swap arguments of `check_counts(n_stages, n_micro_batches)`",
    ): "both are refused below 1; the words of the error are not graded",
    (
        "schedule_1f1b",
        "swap arguments of `min(n_stages - 1 - stage, n_micro_batches)`",
    ): "the smaller of two is the same in either order",
    (
        "bubble_fraction",
        "delete `if not operations:`",
    ): "max and min of an empty list raise a ValueError as well",
    (
        "column_parallel_linear",
        "swap arguments of `check_widths(x, weight)`",
    ): "the widths are unequal in either order",
    (
        "row_parallel_linear",
        "swap arguments of `check_widths(x, weight)`",
    ): "the widths are unequal in either order",
    (
        "row_parallel_linear",
        "1 -> -1 in `weight.shape[:1]`",
    ): "a weight has two axes: all but the last is the first",
}
