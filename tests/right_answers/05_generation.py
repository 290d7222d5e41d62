"""Lab 05: right answers of another shape than the course's own."""

RIGHT = {
    "sample_next_token": [
        # row by row, in plain loops over lists
        """
def sample_next_token(
    logits, temperature=1.0, top_k=None, top_p=None, generator=None, min_p=None
):
    check_settings(temperature, top_k, top_p, min_p)
    if logits.ndim != 2:
        raise ValueError("logits must be (B, V)")
    chosen = []
    for number, row in enumerate(logits.double()):
        if row.isnan().any() or row.max() in (float("inf"), float("-inf")):
            raise ValueError(f"row {number} can't be drawn from")
        if temperature == 0:
            chosen.append(int(row.argmax()))
            continue
        weights = torch.exp((row - row.max()) / max(temperature, 1e-200))
        order = sorted(range(len(row)), key=lambda i: -weights[i].item())
        kept = order[:top_k] if top_k else order
        if top_p is not None:
            total, mass, some = sum(weights[i].item() for i in kept), 0.0, []
            for i in kept:
                some.append(i)
                mass += weights[i].item() / total
                if mass >= top_p - 1e-7:
                    break
            kept = some
        if min_p:
            kept = [i for i in kept if weights[i] >= min_p * weights[kept[0]]]
        place = torch.multinomial(weights[kept].float(), 1, generator=generator)
        chosen.append(kept[int(place)])
    return torch.tensor(chosen)
""",
        # sorted once, filters in the sorted order, drawn by the inverse of the cumulative sum
        """
def sample_next_token(
    logits, temperature=1.0, top_k=0, top_p=1.0, generator=None, min_p=0.0
):
    check_settings(temperature, top_k, top_p, min_p)
    if logits.dim() != 2 or not bool(torch.isfinite(logits.max(dim=1).values).all()):
        raise ValueError("logits")
    if temperature == 0:
        return logits.max(dim=1).indices
    ordered, order = logits.double().sort(dim=1, descending=True)
    p = torch.softmax((ordered - ordered[:, :1]) / max(temperature, 1e-30), dim=1)
    if top_k:
        p[:, top_k:] = 0
        p = p / p.sum(dim=1, keepdim=True)
    if top_p is not None and top_p < 1:
        p = torch.where(p.cumsum(1) - p < top_p - 1e-9, p, 0.0)
    p = torch.where(p >= (min_p or 0.0) * p[:, :1] * (1 - 1e-6), p, 0.0)
    edges = p.cumsum(1)
    drawn = torch.rand(len(p), 1, generator=generator, dtype=torch.float64) * edges[:, -1:]
    place = torch.searchsorted(edges, drawn, right=True).clamp(max=p.shape[1] - 1)
    return order.gather(1, place)[:, 0]
""",
    ],
    "update_cache": [
        """
def update_cache(keys, values, new_keys, new_values, length):
    T = new_keys.shape[2]
    if length + T > keys.shape[2]:
        raise ValueError("full")
    keys.narrow(2, length, T).copy_(new_keys)
    values.narrow(2, length, T).copy_(new_values)
    return keys.narrow(2, 0, length + T), values.narrow(2, 0, length + T)
""",
        """
def update_cache(keys, values, new_keys, new_values, length):
    room = keys.size(-2) - length
    if new_keys.size(-2) > room:
        raise ValueError(f"room for {room}")
    for offset in range(new_keys.size(-2)):
        keys[..., length + offset, :] = new_keys[..., offset, :]
        values[..., length + offset, :] = new_values[..., offset, :]
    held = slice(0, length + new_keys.size(-2))
    return [keys[..., held, :], values[..., held, :]]
""",
    ],
    "generate_batch": [
        # a loop of its own without a cache
        """
def generate_batch(
    model, prompts, max_new_tokens, *, pad_id, end_id,
    temperature=0.0, top_k=None, top_p=None, generator=None, min_p=None,
):
    lengths = [len(prompt) for prompt in prompts]
    if min(lengths) == 0:
        raise ValueError("an empty prompt")
    T = max(lengths)
    if T + max_new_tokens > model.config.context_length:
        raise ValueError("too long")
    ids = torch.full((len(prompts), T), pad_id)
    keep = torch.zeros(len(prompts), T, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, T - len(prompt) :] = torch.tensor(prompt)
        keep[row, T - len(prompt) :] = True
    finished = torch.zeros(len(prompts), dtype=torch.bool)
    with torch.no_grad():
        for _ in range(max_new_tokens):
            positions = (keep.long().cumsum(1) - 1).clamp(min=0)
            logits = model(ids, positions=positions, attention_mask=keep)[:, -1]
            new = sample_next_token(logits, temperature, top_k, top_p, generator, min_p)
            ids = torch.cat([ids, new.unsqueeze(1)], dim=1)
            keep = torch.cat([keep, torch.ones(len(prompts), 1, dtype=torch.bool)], dim=1)
            finished |= new == end_id
            if finished.all():
                break
    responses = []
    for row in ids[:, T:].tolist():
        response = []
        for token in row:
            if token == end_id:
                break
            response.append(token)
        responses.append(response)
    return responses
""",
        # padded to more than is needed, the mask by comparing places
        """
def generate_batch(
    model, prompts, max_new_tokens, *, pad_id, end_id,
    temperature=0.0, top_k=None, top_p=None, generator=None, min_p=None,
):
    n = torch.tensor([len(p) for p in prompts])
    if (n == 0).any():
        raise ValueError("an empty prompt")
    T = int(n.max())
    keep = torch.arange(T) >= (T - n)[:, None]
    ids = torch.full(keep.shape, pad_id)
    ids[keep] = torch.tensor([i for p in prompts for i in p])
    out = generate(
        model, ids, max_new_tokens, end_id=end_id, temperature=temperature, top_k=top_k,
        top_p=top_p, generator=generator, attention_mask=keep.long(), min_p=min_p,
    )[:, T:]
    ended = (out == end_id).long().cumsum(1) > 0
    return [row[~cut].tolist() for row, cut in zip(out, ended)]
""",
    ],
    "speculative_decode": [
        # lists, shares in float64 without the helper, one random number a proposal drawn at once
        """
def speculative_decode(
    target, draft, token_ids, max_new_tokens, *,
    n_draft=4, temperature=1.0, generator=None, end_id=None,
):
    if token_ids.dim() != 1 or not len(token_ids) or n_draft < 1 or max_new_tokens < 1:
        raise ValueError("settings")
    if not temperature >= 0:
        raise ValueError("temperature")

    def shares(model, ids):
        logits = model(torch.tensor([ids]))[0].double()
        if not torch.isfinite(logits.max(-1).values).all():
            raise ValueError("logits")
        if temperature == 0:
            return (logits == logits.max(-1, keepdim=True).values).double()
        return ((logits - logits.max(-1, keepdim=True).values) / temperature).softmax(-1)

    def draw(weights):
        return int(torch.multinomial(weights, 1, generator=generator))

    ids, first = token_ids.tolist(), len(token_ids)
    n_passes = n_accepted = 0
    while True:
        left = max_new_tokens - (len(ids) - first)
        if left == 0:
            break
        guess, q = list(ids), []
        while len(q) < min(n_draft, left - 1):
            q.append(shares(draft, guess)[-1])
            guess.append(draw(q[-1]))
        p = shares(target, guess)[len(ids) - 1 :]
        n_passes += 1
        chances = torch.rand(len(q), generator=generator, dtype=torch.float64)
        k = 0
        while k < len(q) and chances[k] * q[k][guess[len(ids)]] < p[k][guess[len(ids)]]:
            ids.append(guess[len(ids)])
            n_accepted, k = n_accepted + 1, k + 1
            if ids[-1] == end_id:
                return Speculation(torch.tensor(ids), n_passes, n_accepted)
        ids.append(draw((p[k] - q[k]).clamp(min=0) if k < len(q) else p[k]))
        if ids[-1] == end_id:
            break
    return Speculation(torch.tensor(ids), n_passes, n_accepted)
""",
        # proposals without one that could end the text, and drawn through noise
        """
def speculative_decode(
    target, draft, token_ids, max_new_tokens, *,
    n_draft=4, temperature=1.0, generator=None, end_id=None,
):
    if token_ids.ndim != 1 or token_ids.numel() == 0:
        raise ValueError("prompt")
    if min(n_draft, max_new_tokens) < 1:
        raise ValueError("numbers")

    def draw(p):
        noise = -torch.rand(p.shape, generator=generator).clamp(min=1e-20).log()
        return (p / noise.clamp(min=1e-20)).argmax().reshape(1)

    text = token_ids.clone()
    passes = accepted = 0
    end = len(token_ids) + max_new_tokens
    while len(text) < end:
        G = min(n_draft, end - len(text) - 1)
        rows, q = text, []
        for _ in range(G):
            q.append(probabilities(draft, rows, 1, temperature).squeeze(0))
            rows = torch.cat((rows, draw(q[-1])))
        p = probabilities(target, rows, G + 1, temperature)
        passes += 1
        proposals = rows[len(text) :]
        for k in range(G):
            token = proposals[k]
            if torch.rand(1, generator=generator).item() >= min(1, (p[k, token] / q[k][token])):
                text = torch.cat((text, draw(torch.relu(p[k] - q[k]))))
                break
            text = torch.cat((text, token.view(1)))
            accepted += 1
            if end_id is not None and int(token) == end_id:
                return Speculation(text, passes, accepted)
        else:
            text = torch.cat((text, draw(p[G])))
        if end_id is not None and int(text[-1]) == end_id:
            break
    return Speculation(text, passes, accepted)
""",
    ],
    "quantize_int8": [
        """
def quantize_int8(weight):
    if weight.ndim != 2 or bool((weight - weight).isnan().any()):
        raise ValueError("weight")
    codes, scales = [], []
    for row in weight.to(torch.float32):
        scale = float(row.abs().max()) / 127 or 1.0
        scales.append([scale])
        codes.append(torch.floor(row.double() / scale + 0.5).clamp(-127, 127))
    return torch.stack(codes).to(torch.int8), torch.tensor(scales)
""",
        """
def quantize_int8(weight):
    N, M = weight.shape
    if not torch.isfinite(weight).all():
        raise ValueError("weight")
    wide = weight.double()
    largest = torch.maximum(wide.amax(1), -wide.amin(1)).unsqueeze(1)
    scales = torch.where(largest == 0, 127.0, largest) / 127
    return (wide / scales).round().to(torch.int8).t().contiguous().t(), scales.float()
""",
    ],
}
