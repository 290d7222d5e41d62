"""Lab 15: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "schedule_1f1b": """
def schedule_1f1b(n_stages, n_micro_batches):
    if n_stages < 1 or n_micro_batches < 1:
        raise ValueError("at least one stage and micro-batch")
    schedule = []
    for stage in range(n_stages):
        n_warm = min(n_stages - 1 - stage, n_micro_batches)
        order = [("F", stage, k) for k in range(n_warm)]
        for k in range(n_warm, n_micro_batches):
            order.append(("F", stage, k))
            order.append(("B", stage, k - n_warm))
        order += [("B", stage, k) for k in range(n_micro_batches - n_warm, n_micro_batches)]
        schedule.append(order)
    return schedule
""",
    "bubble_fraction": """
def bubble_fraction(timeline):
    operations = [operation for order in timeline for operation in order]
    if not operations:
        raise ValueError("no operation")
    if any(end < start for _, _, _, start, end in operations):
        raise ValueError("an end before its start")
    busy = sum(end - start for _, _, _, start, end in operations)
    span = max(op[4] for op in operations) - min(op[3] for op in operations)
    if span == 0:
        raise ValueError("no time")
    return 1 - busy / (len(timeline) * span)
""",
    "checkpoint_block": """
def checkpoint_block(*tensors, block=example_block):
    class Checkpoint(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.state = torch.get_rng_state()
            ctx.save_for_backward(*tensors)
            return block(*tensors)

        @staticmethod
        def backward(ctx, gradient):
            wanted = ctx.needs_input_grad
            inputs = [
                tensor.detach().requires_grad_(is_wanted)
                for tensor, is_wanted in zip(ctx.saved_tensors, wanted)
            ]
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                torch.set_rng_state(ctx.state)
                result = block(*inputs)
            those = [tensor for tensor in inputs if tensor.requires_grad]
            found = list(torch.autograd.grad(result, those, gradient, allow_unused=True))
            return tuple(found.pop(0) if is_wanted else None for is_wanted in wanted)

    return Checkpoint.apply(*tensors)
""",
    "column_parallel_linear": """
def column_parallel_linear(x, weight, group=None):
    if x.shape[-1] != weight.shape[-1]:
        raise ValueError("unequal last axes")

    class Copy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, gradient):
            return sum_over_ranks(gradient, group)

    return Copy.apply(x) @ weight.T
""",
    "row_parallel_linear": """
def row_parallel_linear(x, weight, bias=None, group=None):
    if x.shape[-1] != weight.shape[-1]:
        raise ValueError("unequal last axes")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError("the bias is not (O,)")

    class Sum(torch.autograd.Function):
        @staticmethod
        def forward(ctx, summand):
            return sum_over_ranks(summand, group)

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    y = Sum.apply(x @ weight.T)
    return y if bias is None else y + bias
""",
    "vocab_parallel_cross_entropy": """
def vocab_parallel_cross_entropy(logits, targets, group=None):
    if logits.shape[:-1] != targets.shape:
        raise ValueError("shapes")
    counts = targets != -100
    size = logits.shape[-1]
    if not counts.any():
        raise ValueError("no position counts")
    asked = targets[counts]
    if (asked < 0).any() or (asked >= size * dist.get_world_size(group)).any():
        raise ValueError("no id")

    largest = logits.detach().amax(-1)
    dist.all_reduce(largest, dist.ReduceOp.MAX, group=group)
    shifted = logits - largest.unsqueeze(-1)
    local = targets - dist.get_rank(group) * size
    is_mine = counts & (local >= 0) & (local < size)
    index = torch.where(is_mine, local, 0)
    chosen = shifted.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    chosen = torch.where(is_mine, chosen, 0.0)
    total = reduce_from_ranks(shifted.exp().sum(-1), group)
    return (total.log() - reduce_from_ranks(chosen, group))[counts].mean()
""",
}
