"""Lab 14: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "ring_all_reduce": """
def ring_all_reduce(tensor, group=None):
    n = dist.get_world_size(group)
    rank = dist.get_rank(group)
    total = tensor.detach().flatten().clone()
    parts = total.tensor_split(n)
    for step in range(2 * (n - 1)):
        leaving = parts[(rank - step) % n]
        kept = parts[(rank - step - 1) % n]
        arrived = torch.empty_like(kept)
        sending = dist.isend(leaving, group=group, group_dst=(rank + 1) % n)
        dist.recv(arrived, group=group, group_src=(rank - 1) % n)
        sending.wait()
        kept.copy_(kept + arrived if step < n - 1 else arrived)
    return total.view(tensor.shape)
""",
    "ddp_step": """
def ddp_step(model, micro_batches, max_norm=None, group=None):
    weights = [w for w in model.parameters() if w.requires_grad]
    for w in weights:
        w.grad = None
    counted = torch.zeros(2, dtype=torch.float64)
    for token_ids, targets in micro_batches:
        nats = functional.cross_entropy(
            model(token_ids).flatten(0, 1),
            targets.flatten(),
            ignore_index=IGNORE_INDEX,
            reduction="sum",
        )
        nats.backward()
        counted[0] += nats.item()
        counted[1] += (targets != IGNORE_INDEX).sum()
    dist.all_reduce(counted, group=group)
    nats, n_tokens = counted.tolist()
    if n_tokens == 0:
        raise ValueError("no token counts")
    for w in weights:
        if w.grad is None:
            w.grad = torch.zeros_like(w)
    bucket = torch.cat([w.grad.flatten() for w in weights])
    dist.all_reduce(bucket, group=group)
    parts = bucket.split([w.numel() for w in weights])
    for w, part in zip(weights, parts):
        w.grad.copy_(part.view_as(w) / n_tokens)
    norm = clip_gradients(weights, math.inf if max_norm is None else max_norm)
    return nats / n_tokens, norm
""",
    "shard_optimizer": """
def shard_optimizer(weights, gradient, state, lr, weight_decay=0.1, group=None):
    if weights.dim() != 1 or weights.shape != gradient.shape:
        raise ValueError("shapes")
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    mine = shard_of(weights, rank, n)
    slope = shard_of(gradient, rank, n)
    first = state.get("first_moment", mine * 0)
    second = state.get("second_moment", mine * 0)
    step = state.get("step", 0) + 1
    mine, first, second = adamw_step(
        mine, slope, first, second, step, lr=lr, weight_decay=weight_decay
    )
    whole = ring_all_gather(mine, group)[: weights.numel()]
    return whole, {"step": step, "first_moment": first, "second_moment": second}
""",
    "fsdp_gather": """
def fsdp_gather(shard, shape, group=None):
    n = dist.get_world_size(group)
    n_numbers = math.prod(shape)
    if shard.shape != (math.ceil(n_numbers / n),):
        raise ValueError("shard")
    return ring_all_gather(shard, group)[:n_numbers].view(tuple(shape))
""",
    "fsdp_reduce": """
def fsdp_reduce(gradient, group=None):
    n = dist.get_world_size(group)
    flat = gradient.detach().flatten()
    wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
    padded = functional.pad(wide, (0, -len(wide) % n))
    return (ring_reduce_scatter(padded, group) / n).to(gradient.dtype)
""",
}
