"""Lab 14: right answers of another shape than the course's own."""

RIGHT = {
    "ring_all_reduce": [
        # two loops, messages in pairs
        """
def ring_all_reduce(tensor, group=None):
    size, me = dist.get_world_size(group), dist.get_rank(group)
    pieces = [p.clone() for p in tensor.reshape(-1).tensor_split(size)]
    after, before = (me + 1) % size, (me - 1) % size

    def swap(out, like):
        box = torch.empty_like(like)
        pair = [
            dist.P2POp(dist.isend, out, group=group, group_peer=after),
            dist.P2POp(dist.irecv, box, group=group, group_peer=before),
        ]
        for request in dist.batch_isend_irecv(pair):
            request.wait()
        return box

    for k in range(size - 1):
        target = (me - k - 1) % size
        pieces[target] = pieces[target] + swap(pieces[(me - k) % size], pieces[target])
    for k in range(size - 1):
        target = (me - k) % size
        pieces[target] = swap(pieces[(me + 1 - k) % size], pieces[target])
    return torch.cat(pieces).reshape(tensor.shape)
""",
        # even ranks send first, odd ones receive first: no deadlock with blocking calls
        """
def ring_all_reduce(tensor, group=None):
    n, r = dist.get_world_size(group), dist.get_rank(group)
    total = tensor.detach().clone().flatten()
    parts = torch.tensor_split(total, n)
    for turn in range(n - 1 + n - 1):
        out, kept = parts[(r - turn) % n], parts[(r - turn - 1) % n]
        came = torch.zeros_like(kept)
        if r % 2 == 0:
            dist.send(out, group=group, group_dst=(r + 1) % n)
            dist.recv(came, group=group, group_src=(r - 1) % n)
        else:
            dist.recv(came, group=group, group_src=(r - 1) % n)
            dist.send(out, group=group, group_dst=(r + 1) % n)
        if turn < n - 1:
            kept += came
        else:
            kept[:] = came
    return total.reshape(tensor.shape)
""",
    ],
    "ddp_step": [
        # one collective for each weight, and the clip by hand
        """
def ddp_step(model, micro_batches, max_norm=None, group=None):
    learn = [p for p in model.parameters() if p.requires_grad]
    model.zero_grad()
    nats = tokens = 0.0
    for ids, targets in micro_batches:
        logprobs = model(ids).log_softmax(-1)
        kept = targets != -100
        picked = logprobs[kept].gather(-1, targets[kept].unsqueeze(-1))
        loss = -picked.sum()
        loss.backward()
        nats, tokens = nats + loss.item(), tokens + int(kept.sum())
    facts = torch.tensor([nats, tokens], dtype=torch.float64)
    dist.all_reduce(facts, group=group)
    if facts[1] == 0:
        raise ValueError("no target on any rank")
    squares = 0.0
    for p in learn:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        dist.all_reduce(p.grad, group=group)
        p.grad /= facts[1].item()
        squares += float((p.grad ** 2).sum())
    norm = squares ** 0.5
    if max_norm is not None and norm > max_norm:
        for p in learn:
            p.grad *= max_norm / norm
    return (facts[0] / facts[1]).item(), norm
""",
        # the course's ring, counts first, and each loss divided before the backward pass
        """
from utils.parallel.collectives import ring_all_reduce

def ddp_step(model, micro_batches, max_norm=None, group=None):
    micro_batches = list(micro_batches)
    mine = sum(int((t != IGNORE_INDEX).sum()) for _, t in micro_batches)
    everyone = int(ring_all_reduce(torch.tensor([mine]), group))
    if not everyone:
        raise ValueError("nothing counts")
    weights = [w for w in model.parameters() if w.requires_grad]
    for w in weights:
        w.grad = torch.zeros_like(w)
    loss = torch.zeros(1)
    for ids, targets in micro_batches:
        part = functional.cross_entropy(
            model(ids).transpose(1, 2), targets, reduction="sum"
        ) / everyone
        part.backward()
        loss += part.detach()
    flat = torch.cat([w.grad.reshape(-1) for w in weights] + [loss])
    flat = ring_all_reduce(flat, group)
    place = 0
    for w in weights:
        w.grad = flat[place : place + w.numel()].reshape(w.shape).clone()
        place += w.numel()
    limit = float("inf") if max_norm is None else max_norm
    norm = torch.nn.utils.clip_grad_norm_(weights, limit).item()
    return flat[-1].item(), norm
""",
        # one all-reduce in float64 of gradients, loss and count
        """
def ddp_step(model, micro_batches, max_norm=None, group=None):
    learn = [w for w in model.parameters() if w.requires_grad]
    model.zero_grad(set_to_none=True)
    nats, count = 0.0, 0
    for ids, targets in micro_batches:
        logp = model(ids).log_softmax(-1)
        kept = targets != -100
        loss = -(logp.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1) * kept).sum()
        loss.backward()
        nats, count = nats + loss.item(), count + int(kept.sum())
    grads = [torch.zeros_like(w) if w.grad is None else w.grad for w in learn]
    flat = torch.cat([g.reshape(-1).double() for g in grads] + [torch.tensor([nats, count])])
    dist.all_reduce(flat, group=group)
    nats, count = flat[-2:].tolist()
    if count == 0:
        raise ValueError("nothing to learn from")
    flat = flat[:-2] / count
    norm = flat.norm().item()
    if max_norm is not None and norm > max_norm:
        flat = flat * (max_norm / norm)
    for w, part in zip(learn, flat.split([w.numel() for w in learn])):
        w.grad = part.view_as(w).to(w.dtype)
    return nats / count, norm
""",
    ],
    "shard_optimizer": [
        # padded first, torch's gather, moments by hand
        """
def shard_optimizer(weights, gradient, state, lr, weight_decay=0.1, group=None):
    if weights.dim() != 1 or weights.shape != gradient.shape:
        raise ValueError("flat tensors of one shape")
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    size = -(-len(weights) // n)
    both = torch.zeros(2, n * size, dtype=weights.dtype)
    both[0, : len(weights)], both[1, : len(weights)] = weights, gradient
    w, g = both[:, rank * size : (rank + 1) * size].clone()
    step = state["step"] + 1 if state else 1
    m = state["first_moment"] if state else torch.zeros(size)
    v = state["second_moment"] if state else torch.zeros(size)
    m = 0.9 * m + 0.1 * g
    v = 0.95 * v + 0.05 * g ** 2
    w = w - lr * weight_decay * w
    w = w - lr * (m / (1 - 0.9 ** step)) / ((v / (1 - 0.95 ** step)).sqrt() + 1e-8)
    shards = [torch.empty_like(w) for _ in range(n)]
    dist.all_gather(shards, w, group=group)
    new = {"step": step, "first_moment": m, "second_moment": v}
    return torch.cat(shards)[: len(weights)], new
""",
        # every rank broadcasts its shard
        """
def shard_optimizer(weights, gradient, state, lr, weight_decay=0.1, group=None):
    if weights.ndim != 1 or gradient.shape != weights.shape:
        raise ValueError("shapes")
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    size = math.ceil(len(weights) / n)
    pad = size * n - len(weights)
    rows = functional.pad(weights, (0, pad)).view(n, size).clone()
    slopes = functional.pad(gradient, (0, pad)).view(n, size)
    nothing = torch.zeros_like(rows[0])
    old = state or {"step": 0, "first_moment": nothing, "second_moment": nothing}
    step = old["step"] + 1
    mine, m, v = adamw_step(
        rows[rank], slopes[rank], old["first_moment"], old["second_moment"], step,
        lr=lr, weight_decay=weight_decay,
    )
    rows[rank] = mine
    for source in range(n):
        dist.broadcast(rows[source], group=group, group_src=source)
    return rows.view(-1)[: len(weights)], {"step": step, "first_moment": m, "second_moment": v}
""",
    ],
    "fsdp_gather": [
        # torch's own collective
        """
def fsdp_gather(shard, shape, group=None):
    n, size = dist.get_world_size(group), 1
    for length in shape:
        size *= length
    if shard.dim() != 1 or len(shard) != -(-size // n):
        raise ValueError("not a shard of this shape")
    shards = [torch.empty_like(shard) for _ in range(n)]
    dist.all_gather(shards, shard.contiguous(), group=group)
    return torch.cat(shards)[:size].reshape(shape)
""",
        # every rank broadcasts into its place
        """
def fsdp_gather(shard, shape, group=None):
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    size = math.prod(shape)
    if tuple(shard.shape) != ((size + n - 1) // n,):
        raise ValueError("shard")
    whole = torch.empty(n, len(shard), dtype=shard.dtype)
    whole[rank] = shard
    for r in range(n):
        dist.broadcast(whole[r], group=group, group_src=r)
    return whole.flatten()[:size].reshape(tuple(shape)).contiguous()
""",
    ],
    "fsdp_reduce": [
        # one reduce for each rank's part
        """
def fsdp_reduce(gradient, group=None):
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    size = -(-gradient.numel() // n)
    dtype = torch.float64 if gradient.dtype == torch.float64 else torch.float32
    padded = torch.zeros(n, size, dtype=dtype)
    padded.view(-1)[: gradient.numel()] = gradient.reshape(-1).to(dtype)
    for r in range(n):
        dist.reduce(padded[r], group=group, group_dst=r)
    return (padded[rank] / n).to(gradient.dtype)
""",
        # parts by all-to-all, added at the end
        """
def fsdp_reduce(gradient, group=None):
    n = dist.get_world_size(group)
    flat = gradient.detach().reshape(-1)
    half = flat.dtype in (torch.float16, torch.bfloat16)
    wide = flat.float() if half else flat
    wide = torch.cat([wide, wide.new_zeros(-len(wide) % n)])
    arrived = torch.empty_like(wide)
    dist.all_to_all_single(arrived, wide, group=group)
    return arrived.view(n, -1).mean(0).to(gradient.dtype)
""",
    ],
}
