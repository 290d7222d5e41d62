"""Lab 05: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "sample_next_token": """
def sample_next_token(
    logits, temperature=1.0, top_k=None, top_p=None, generator=None, min_p=None
):
    check_settings(temperature, top_k, top_p, min_p)
    if logits.dim() != 2:
        raise ValueError("logits are (B, V)")
    largest = logits.amax(-1, keepdim=True)
    if not largest.isfinite().all():
        raise ValueError("a row has no finite largest logit")
    if temperature == 0:
        return logits.argmax(-1)
    logits = (logits - largest) / max(temperature, 1e-30)
    if top_k is not None and top_k > 0:
        found = logits.topk(min(top_k, logits.shape[-1]))
        logits = torch.full_like(logits, float("-inf")).scatter(-1, found.indices, found.values)
    p = logits.softmax(-1)
    if top_p is not None:
        ordered, order = p.sort(dim=-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
        p = torch.zeros_like(p).scatter(-1, order, ordered)
    if min_p is not None:
        p[p < min_p * p.amax(-1, keepdim=True)] = 0
    return torch.multinomial(p, 1, generator=generator).squeeze(-1)
""",
    "update_cache": """
def update_cache(keys, values, new_keys, new_values, length):
    T = new_keys.shape[2]
    if length + T > keys.shape[2]:
        raise ValueError("no room")
    keys[:, :, length : length + T] = new_keys
    values[:, :, length : length + T] = new_values
    return keys[:, :, : length + T], values[:, :, : length + T]
""",
    "generate_batch": """
def generate_batch(
    model, prompts, max_new_tokens, *, pad_id, end_id,
    temperature=0.0, top_k=None, top_p=None, generator=None, min_p=None,
):
    if any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("an empty prompt")
    T = max(len(prompt) for prompt in prompts)
    rows = [[pad_id] * (T - len(prompt)) + prompt for prompt in prompts]
    mask = [[False] * (T - len(prompt)) + [True] * len(prompt) for prompt in prompts]
    out = generate(
        model, torch.tensor(rows), max_new_tokens, attention_mask=torch.tensor(mask),
        end_id=end_id, temperature=temperature, top_k=top_k, top_p=top_p,
        generator=generator, min_p=min_p,
    )
    responses = []
    for row in out[:, T:].tolist():
        responses.append(row[: row.index(end_id)] if end_id in row else row)
    return responses
""",
    "speculative_decode": """
def speculative_decode(
    target, draft, token_ids, max_new_tokens, *,
    n_draft=4, temperature=1.0, generator=None, end_id=None,
):
    if token_ids.dim() != 1 or len(token_ids) == 0:
        raise ValueError("no row")
    if n_draft < 1 or max_new_tokens < 1:
        raise ValueError("below 1")
    row, left, n_passes, n_kept, ended = token_ids, max_new_tokens, 0, 0, False
    while left > 0 and not ended:
        start, qs, proposed = len(row), [], row
        for _ in range(min(n_draft, left - 1)):
            q = probabilities(draft, proposed, 1, temperature)[0]
            x = torch.multinomial(q, 1, generator=generator)
            proposed = torch.cat([proposed, x])
            qs.append(q)
        p = probabilities(target, proposed, len(qs) + 1, temperature)
        n_passes += 1
        all_kept = True
        for k, q in enumerate(qs):
            x = proposed[start + k]
            if torch.rand((), generator=generator) * q[x] < p[k][x]:
                row = torch.cat([row, x[None]])
                n_kept += 1
                if x == end_id:
                    ended, all_kept = True, False
                    break
            else:
                rest = (p[k] - q).clamp(min=0)
                row = torch.cat([row, torch.multinomial(rest, 1, generator=generator)])
                all_kept = False
                break
        if all_kept:
            row = torch.cat([row, torch.multinomial(p[-1], 1, generator=generator)])
        ended = ended or row[-1] == end_id
        left = max_new_tokens - (len(row) - len(token_ids))
    return Speculation(row, n_passes, n_kept)
""",
    "quantize_int8": """
def quantize_int8(weight):
    if weight.dim() != 2:
        raise ValueError("no matrix")
    if not weight.isfinite().all():
        raise ValueError("NaN or infinity")
    weight = weight.float()
    scale = weight.abs().max(dim=1, keepdim=True).values / 127
    scale[scale == 0] = 1.0
    codes = (weight / scale).round().to(torch.int8)
    return codes, scale
""",
}
