"""Lab 15: right answers of another shape than the course's own."""

RIGHT = {
    "schedule_1f1b": [
        # walks through each stage's operations and counts what it holds
        """
def schedule_1f1b(n_stages, n_micro_batches):
    if min(n_stages, n_micro_batches) < 1:
        raise ValueError("at least one")
    schedule = []
    for s in range(n_stages):
        order, f, b = [], 0, 0
        while b < n_micro_batches:
            if f < n_micro_batches and f - b < n_stages - s:
                order.append(("F", s, f))
                f += 1
            else:
                order.append(("B", s, b))
                b += 1
        schedule.append(order)
    return schedule
""",
        # two sorted streams put together
        """
def schedule_1f1b(n_stages, n_micro_batches):
    if n_stages <= 0 or n_micro_batches <= 0:
        raise ValueError("stages or micro-batches")
    rows = []
    for s in range(n_stages):
        behind = n_stages - 1 - s
        keyed = [(2 * k, ("F", s, k)) for k in range(n_micro_batches)]
        keyed += [(2 * (k + behind) + 1, ("B", s, k)) for k in range(n_micro_batches)]
        rows.append([op for _, op in sorted(keyed)])
    return rows
""",
    ],
    "bubble_fraction": [
        # idle time rank by rank
        """
def bubble_fraction(timeline):
    starts = [op[3] for order in timeline for op in order]
    ends = [op[4] for order in timeline for op in order]
    if len(starts) == 0:
        raise ValueError("nothing")
    for a, b in zip(starts, ends):
        if b < a:
            raise ValueError("backwards")
    length = max(ends) - min(starts)
    if not length > 0:
        raise ValueError("no time")
    idle = 0.0
    for order in timeline:
        idle += length - sum(end - start for _, _, _, start, end in order)
    return idle / (length * len(timeline))
""",
        # tensors
        """
def bubble_fraction(timeline):
    import torch

    times = torch.tensor(
        [op[3:] for order in timeline for op in order], dtype=torch.float64
    ).reshape(-1, 2)
    if times.numel() == 0 or bool((times[:, 1] < times[:, 0]).any()):
        raise ValueError("no timeline")
    span = (times[:, 1].max() - times[:, 0].min()).item()
    if span == 0:
        raise ValueError("no time")
    return 1.0 - (times[:, 1] - times[:, 0]).sum().item() / span / len(timeline)
""",
    ],
    "checkpoint_block": [
        # torch's own
        """
def checkpoint_block(*tensors, block=example_block):
    from torch.utils.checkpoint import checkpoint

    return checkpoint(block, *tensors, use_reentrant=False)
""",
        # the generator's state put back by hand, gradients for everything that has one
        """
def checkpoint_block(*tensors, block=example_block):
    state = torch.get_rng_state()

    class Later(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            with torch.no_grad():
                return block(*inputs)

        @staticmethod
        def backward(ctx, upstream):
            copies = []
            for tensor in ctx.saved_tensors:
                copy = tensor.detach()
                copy.requires_grad = tensor.requires_grad
                copies.append(copy)
            now = torch.get_rng_state()
            torch.set_rng_state(state)
            with torch.enable_grad():
                (block(*copies) * upstream).sum().backward()
            torch.set_rng_state(now)
            return tuple(copy.grad for copy in copies)

    return Later.apply(*tensors)
""",
    ],
    "column_parallel_linear": [
        # a hook on the gradient in place of a Function
        """
def column_parallel_linear(x, weight, group=None):
    if x.size(-1) != weight.size(1):
        raise ValueError("inputs")
    x = x.view_as(x)
    if x.requires_grad:

        def add_up(gradient):
            gradient = gradient.contiguous().clone()
            dist.all_reduce(gradient, group=group)
            return gradient

        x.register_hook(add_up)
    return torch.nn.functional.linear(x, weight)
""",
        # one Function for the whole layer
        """
def column_parallel_linear(x, weight, group=None):
    if x.shape[-1] != weight.shape[-1]:
        raise ValueError("inputs")

    class Layer(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return x @ weight.T

        @staticmethod
        def backward(ctx, up):
            x, weight = ctx.saved_tensors
            of_x = (up @ weight).contiguous()
            dist.all_reduce(of_x, op=dist.ReduceOp.SUM, group=group)
            return of_x, up.reshape(-1, up.shape[-1]).T @ x.reshape(-1, x.shape[-1])

    return Layer.apply(x, weight)
""",
    ],
    "row_parallel_linear": [
        # the sum of the others is a constant that is added
        """
def row_parallel_linear(x, weight, bias=None, group=None):
    if x.shape[-1] != weight.shape[-1]:
        raise ValueError("inputs")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ValueError("bias")
    mine = torch.nn.functional.linear(x, weight)
    total = mine.detach().clone()
    dist.all_reduce(total, group=group)
    y = mine + (total - mine.detach())
    return y if bias is None else y + bias
""",
        # the parts are gathered and added
        """
def row_parallel_linear(x, weight, bias=None, group=None):
    if x.shape[-1] != weight.shape[-1] or (
        bias is not None and (bias.dim() != 1 or len(bias) != len(weight))
    ):
        raise ValueError("widths")
    mine = x @ weight.T
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, mine.detach().contiguous(), group=group)
    parts[dist.get_rank(group)] = mine
    y = torch.stack(parts).sum(0)
    return y if bias is None else y + bias
""",
    ],
    "vocab_parallel_cross_entropy": [
        # probabilities and gradient by hand
        """
def vocab_parallel_cross_entropy(logits, targets, group=None):
    if logits.shape[:-1] != targets.shape:
        raise ValueError("shapes")
    counts = targets != -100
    n_ids = logits.shape[-1] * dist.get_world_size(group)
    asked = targets[counts]
    if len(asked) == 0 or bool((asked < 0).any()) or bool((asked >= n_ids).any()):
        raise ValueError("targets")
    first = dist.get_rank(group) * logits.shape[-1]
    ids = torch.arange(first, first + logits.shape[-1])
    is_target = (targets.unsqueeze(-1) == ids) & counts.unsqueeze(-1)

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            top = z.amax(-1, keepdim=True)
            dist.all_reduce(top, dist.ReduceOp.MAX, group=group)
            powers = (z - top).exp()
            sums = torch.stack(
                [powers.sum(-1), ((z - top) * is_target).sum(-1)]
            )
            dist.all_reduce(sums, group=group)
            ctx.save_for_backward(powers / sums[0].unsqueeze(-1))
            return (sums[0].log() - sums[1])[counts].mean()

        @staticmethod
        def backward(ctx, up):
            (p,) = ctx.saved_tensors
            return up * (p - is_target.to(p)) * counts.unsqueeze(-1) / counts.sum()

    return Loss.apply(logits)
""",
        # only the positions that count, logsumexp of logsumexps
        """
def vocab_parallel_cross_entropy(logits, targets, group=None):
    if logits.shape[:-1] != targets.shape:
        raise ValueError("shapes")
    kept = targets != -100
    z, t = logits[kept], targets[kept]
    size, n, rank = z.shape[-1], dist.get_world_size(group), dist.get_rank(group)
    if t.numel() == 0 or t.min() < 0 or t.max() >= size * n:
        raise ValueError("targets")
    own = z.logsumexp(-1)
    alls = [torch.empty_like(own) for _ in range(n)]
    dist.all_gather(alls, own.detach(), group=group)
    alls[rank] = own
    total = torch.stack(alls).logsumexp(0)
    here = (t // size) == rank
    picked = torch.where(here, z.gather(-1, (t % size)[:, None])[:, 0], 0.0)
    summed = picked.detach().clone()
    dist.all_reduce(summed, group=group)
    return (total - (picked + summed - picked.detach())).mean()
""",
    ],
}
