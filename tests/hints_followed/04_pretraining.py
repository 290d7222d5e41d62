"""Lab 04: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "minhash_signature": """
def minhash_signature(items, n_hashes=64, seed=0):
    if len(items) == 0:
        raise ValueError("no items")
    numbers = [item_number(item) for item in items]
    signature = []
    for a, b in multipliers(n_hashes, seed):
        signature.append(min((a * x + b) % PRIME for x in numbers))
    return signature
""",
    "near_duplicates": """
def near_duplicates(signatures, threshold=0.7, n_bands=16):
    if n_bands < 1:
        raise ValueError("n_bands")
    for signature in signatures:
        length = len(signature)
        if length == 0 or length != len(signatures[0]) or length % n_bands:
            raise ValueError("length")
    boxes = {}
    for i, signature in enumerate(signatures):
        width = len(signature) // n_bands
        for band in range(n_bands):
            key = (band, tuple(signature[band * width : (band + 1) * width]))
            boxes.setdefault(key, []).append(i)
    pairs = set()
    for box in boxes.values():
        for i in box:
            for j in box:
                if i < j:
                    pairs.add((i, j))
    kept = []
    for i, j in pairs:
        equal = sum(a == b for a, b in zip(signatures[i], signatures[j]))
        if equal / len(signatures[i]) >= threshold:
            kept.append((i, j))
    return sorted(kept)
""",
    "pack_sequences": """
def pack_sequences(documents, context_length, end_id):
    ids, positions = [], []
    for document in documents:
        ids.extend([*document, end_id])
        positions.extend(range(len(document) + 1))
    n = (len(ids) - 1) // context_length
    if n < 1:
        raise ValueError("too little")
    rows, places = [], []
    for r in range(n):
        start = r * context_length
        rows.append(ids[start : start + context_length + 1])
        places.append(positions[start : start + context_length + 1])
    return torch.tensor(rows, dtype=torch.int64), torch.tensor(places, dtype=torch.int64)
""",
    "cross_entropy": """
def cross_entropy(logits, targets):
    kept = check_targets(logits, targets)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    filled = targets.masked_fill(~kept, 0).to(torch.int64)
    found = logits.log_softmax(dim=-1).gather(-1, filled.unsqueeze(-1)).squeeze(-1)
    return -found[kept].mean()
""",
    "adamw_step": """
def adamw_step(parameter, gradient, first_moment, second_moment, step, *, lr,
               betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    if step < 1:
        raise ValueError("step")
    beta1, beta2 = betas
    m = beta1 * first_moment + (1 - beta1) * gradient
    v = beta2 * second_moment + (1 - beta2) * gradient * gradient
    ratio = m / (1 - beta1**step) / (torch.sqrt(v / (1 - beta2**step)) + eps)
    return parameter * (1 - lr * weight_decay) - lr * ratio, m, v
""",
    "learning_rate": """
def learning_rate(step, *, peak, n_steps, warmup_steps=0, final=0.1):
    check_schedule(n_steps, warmup_steps, final)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if step >= n_steps:
        done = 1.0
    else:
        done = (step - warmup_steps) / (n_steps - warmup_steps)
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)
""",
    "clip_gradients": """
def clip_gradients(parameters, max_norm):
    if not max_norm > 0:
        raise ValueError("max_norm")
    gradients = [p.grad for p in parameters if p.grad is not None]
    total = 0.0
    for gradient in gradients:
        wide = gradient.float() if gradient.dtype in (torch.float16, torch.bfloat16) else gradient
        total += (wide**2).sum().item()
    norm = math.sqrt(total)
    if math.isfinite(norm) and norm > max_norm:
        for gradient in gradients:
            gradient.mul_(max_norm / norm)
    return norm
""",
    "save_checkpoint": """
def save_checkpoint(path, tensors, info):
    path = Path(path)
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(info)
    data = save(tensors, metadata={"info": text, "sha256": content_hash(tensors, text)})
    other = path.with_name(UNFINISHED + path.name)
    try:
        write_flushed(other, data)
        os.replace(other, path)
    finally:
        other.unlink(missing_ok=True)
""",
    "fit_scaling_law": """
def fit_scaling_law(n_parameters, n_tokens, losses):
    check_runs(n_parameters, n_tokens, losses)
    n = torch.tensor(n_parameters, dtype=torch.float64).log()
    d = torch.tensor(n_tokens, dtype=torch.float64).log()
    target = torch.tensor(losses, dtype=torch.float64).log()
    best = None
    for start in starts(n, d, target):
        distance, x = descend(lambda x: distance_of(x, n, d, target), start)
        if math.isfinite(distance) and (best is None or distance < best[0]):
            best = distance, x
    floor, log_a, alpha, log_b, beta = best[1].tolist()
    return ScalingLaw(math.exp(floor), math.exp(log_a), alpha, math.exp(log_b), beta)
""",
}
