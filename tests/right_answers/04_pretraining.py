"""Lab 04: right answers of another shape than the course's own."""

RIGHT = {
    "minhash_signature": [
        # all places kept up to date, one item after the other
        """
def minhash_signature(items, n_hashes=64, seed=0):
    signature = None
    for item in set(items):
        x = item_number(item)
        row = [(a * x + b) % PRIME for a, b in multipliers(n_hashes, seed)]
        signature = row if signature is None else [min(p) for p in zip(signature, row)]
    if signature is None:
        raise ValueError("nothing")
    return signature
""",
        """
def minhash_signature(items, n_hashes=64, seed=0):
    numbers = sorted({item_number(item) for item in items})
    pairs = multipliers(n_hashes, seed)
    return [min(map(lambda x: (a * x + b) % PRIME, numbers)) for a, b in pairs]
""",
    ],
    "near_duplicates": [
        # the pairs of each new document with those before it in its boxes
        """
def near_duplicates(signatures, threshold=0.7, n_bands=16):
    if n_bands < 1 or len({len(s) for s in signatures}) > 1:
        raise ValueError("bands or lengths")
    boxes, found = {}, []
    for j, signature in enumerate(signatures):
        width, rest = divmod(len(signature), n_bands)
        if rest or not width:
            raise ValueError("length")
        earlier = set()
        for band in range(n_bands):
            part = tuple(signature[band * width : (band + 1) * width])
            box = boxes.setdefault((band, part), [])
            earlier.update(box)
            box.append(j)
        for i in earlier:
            agree = sum(map(int.__eq__, signatures[i], signature))
            if agree >= threshold * len(signature) - 1e-9:
                found.append((i, j))
    found.sort()
    return found
""",
        # band by band, neighbours in the sorted order
        """
def near_duplicates(signatures, threshold=0.7, n_bands=16):
    from itertools import groupby
    length = len(signatures[0]) if signatures else 0
    if n_bands < 1 or any(len(s) != length for s in signatures):
        raise ValueError("signatures")
    if signatures and (length == 0 or length % n_bands):
        raise ValueError("bands")
    pairs, width = set(), length // n_bands
    for start in range(0, length, width or 1):
        def part(i):
            return list(signatures[i][start : start + width])
        for _, box in groupby(sorted(range(len(signatures)), key=part), key=part):
            pairs.update(combinations(sorted(box), 2))
    def share(i, j):
        return sum(a == b for a, b in zip(signatures[i], signatures[j])) / length
    return sorted(p for p in pairs if share(*p) >= threshold)
""",
    ],
    "pack_sequences": [
        """
def pack_sequences(documents, context_length, end_id):
    parts = [torch.tensor([*d, end_id], dtype=torch.int64) for d in documents]
    if sum(map(len, parts)) < context_length + 1:
        raise ValueError("too few tokens")
    ids = torch.cat(parts)
    places = torch.cat([torch.arange(len(part)) for part in parts])
    return (
        ids.unfold(0, context_length + 1, context_length),
        places.unfold(0, context_length + 1, context_length),
    )
""",
        # one token at a time
        """
def pack_sequences(documents, context_length, end_id):
    rows, places, row, place = [], [], [], []
    for document in documents:
        for k, token in enumerate(list(document) + [end_id]):
            row.append(token)
            place.append(k)
            if len(row) == context_length + 1:
                rows.append(row)
                places.append(place)
                row, place = [token], [k]
    if not rows:
        raise ValueError("no row")
    return [torch.tensor(rows), torch.tensor(places)]
""",
    ],
    "cross_entropy": [
        """
def cross_entropy(logits, targets):
    kept = check_targets(logits, targets)
    some = logits[kept]
    some = some if some.dtype == torch.float64 else some.float()
    largest = some.max(-1, keepdim=True).values.detach()
    total = (some - largest).exp().sum(-1).log() + largest.squeeze(-1)
    chosen = some[torch.arange(len(some)), targets[kept].long()]
    return (total - chosen).sum() / len(some)
""",
        """
def cross_entropy(logits, targets):
    kept = targets != -100
    if logits.shape[:-1] != targets.shape or not kept.any():
        raise ValueError("shapes, or nothing to learn")
    if targets[kept].min() < 0 or targets[kept].max() >= logits.shape[-1]:
        raise ValueError("vocabulary")
    wide = logits.double() if logits.dtype == torch.float64 else logits.to(torch.float32)
    return torch.nn.functional.cross_entropy(
        wide.reshape(-1, logits.shape[-1]), targets.reshape(-1).long()
    )
""",
    ],
    "adamw_step": [
        """
def adamw_step(parameter, gradient, first_moment, second_moment, step, *, lr,
               betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    if step < 1:
        raise ValueError("step")
    m = torch.lerp(gradient, first_moment, betas[0])
    v = second_moment.mul(betas[1]).addcmul(gradient, gradient, value=1 - betas[1])
    root = (1 - betas[1] ** step) ** 0.5
    size = lr / (1 - betas[0] ** step)
    new = parameter - lr * weight_decay * parameter
    return [new.addcdiv(m, v.sqrt() / root + eps, value=-size), m, v]
""",
        """
def adamw_step(parameter, gradient, first_moment, second_moment, step, *, lr,
               betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    if step <= 0:
        raise ValueError("step")
    parameter, m, v = parameter.clone(), first_moment.clone(), second_moment.clone()
    m += (gradient - m) * (1 - betas[0])
    v += (gradient * gradient - v) * (1 - betas[1])
    parameter *= 1 - lr * weight_decay
    parameter -= lr * (m / (1 - betas[0] ** step)) / ((v / (1 - betas[1] ** step)) ** 0.5 + eps)
    return parameter, m, v
""",
    ],
    "learning_rate": [
        """
def learning_rate(step, *, peak, n_steps, warmup_steps=0, final=0.1):
    if warmup_steps < 0 or warmup_steps > n_steps or not 0 <= final <= 1:
        raise ValueError("schedule")
    low = final * peak
    if step >= n_steps:
        return low
    if step < warmup_steps:
        return peak / warmup_steps * (step + 1)
    angle = math.pi * (step - warmup_steps) / (n_steps - warmup_steps)
    return low + (peak - low) * math.cos(angle / 2) ** 2
""",
        """
def learning_rate(step, *, peak, n_steps, warmup_steps=0, final=0.1):
    check_schedule(n_steps, warmup_steps, final)
    if step + 1 <= warmup_steps:
        return peak * ((step + 1) / warmup_steps)
    left = max(0, n_steps - step) / max(1, n_steps - warmup_steps)
    return peak * (final + (1 - final) * (1 - math.cos(math.pi * left)) / 2)
""",
    ],
    "clip_gradients": [
        """
def clip_gradients(parameters, max_norm):
    if not max_norm > 0:
        raise ValueError("max_norm")
    gradients = [p.grad.detach() for p in parameters if p.grad is not None]
    flat = [g.reshape(-1).double() for g in gradients]
    norm = float(torch.cat(flat).norm()) if flat else 0.0
    if max_norm < norm < float("inf"):
        for g in gradients:
            g *= max_norm / norm
    return norm
""",
        # squares divided by the largest number, so that they fit any precision
        """
def clip_gradients(parameters, max_norm):
    if math.isnan(max_norm) or max_norm <= 0:
        raise ValueError("max_norm")
    held = [p for p in parameters if p.grad is not None]
    largest = max((float(p.grad.abs().max()) for p in held), default=0.0)
    if largest == 0.0:
        return 0.0
    total = sum(float(((p.grad.double() / largest) ** 2).sum()) for p in held)
    norm = largest * math.sqrt(total)
    if math.isfinite(norm) and norm > max_norm:
        for p in held:
            p.grad.copy_(p.grad * (max_norm / norm))
    return norm
""",
    ],
    "save_checkpoint": [
        """
def save_checkpoint(path, tensors, info):
    import tempfile
    held = {k: t.detach().clone(memory_format=torch.contiguous_format) for k, t in tensors.items()}
    text = json.dumps(info, sort_keys=True)
    data = save(held, metadata={"sha256": content_hash(held, text), "info": text})
    folder = os.path.dirname(os.path.abspath(path))
    handle, other = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(other, path)
    except BaseException:
        os.remove(other)
        raise
""",
        """
def save_checkpoint(path, tensors, info):
    text = json.dumps(info)
    held = {k: torch.empty(t.shape, dtype=t.dtype).copy_(t.detach()) for k, t in tensors.items()}
    metadata = {"info": text, "sha256": content_hash(held, text)}
    other = Path(f"{path}.part")
    try:
        write_flushed(other, save(held, metadata))
        other.replace(path)
    finally:
        if other.exists():
            other.unlink()
""",
    ],
    "fit_scaling_law": [
        """
def fit_scaling_law(n_parameters, n_tokens, losses):
    check_runs(n_parameters, n_tokens, losses)
    n, d, target = torch.tensor(
        [list(n_parameters), list(n_tokens), list(losses)], dtype=torch.float64
    ).log()

    def distance(x):
        return distance_of(x, n, d, target)

    ends = sorted(
        (descend(distance, start) for start in starts(n, d, target)),
        key=lambda end: (not math.isfinite(end[0]), end[0]),
    )
    x = ends[0][1]
    return ScalingLaw(*torch.stack([x[0].exp(), x[1].exp(), x[2], x[3].exp(), x[4]]).tolist())
""",
        # the loop of the optimizer written out, from more starts
        """
def fit_scaling_law(n_parameters, n_tokens, losses):
    check_runs(n_parameters, n_tokens, losses)
    n, d, target = (
        torch.as_tensor(c, dtype=torch.float64).log() for c in (n_parameters, n_tokens, losses)
    )
    best = math.inf, None
    for start in starts(n, d, target, n_best=4):
        x = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([x], max_iter=400, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            scaled = 1e6 * distance_of(x, n, d, target)
            scaled.backward()
            return scaled

        optimizer.step(closure)
        best = min(best, (distance_of(x, n, d, target).item(), x.tolist()), key=lambda e: e[0])
    e, a, alpha, b, beta = best[1]
    return (math.exp(e), math.exp(a), alpha, math.exp(b), beta)
""",
    ],
}
