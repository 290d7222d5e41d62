"""Lab 12: right answers of another shape than the course's own."""

RIGHT = {
    "dpo_loss": [
        # softplus of minus the margin, terms in another order
        """
def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
    stacked = (chosen, rejected, ref_chosen, ref_rejected)
    if not all(t.ndim == 1 and t.shape == chosen.shape and t.numel() for t in stacked):
        raise ValueError("expected (B,)")
    if beta <= 0 or beta != beta:
        raise ValueError("beta")
    policy, reference = chosen - rejected, ref_chosen - ref_rejected
    return F.softplus(beta * (reference - policy)).sum() / len(chosen)
""",
        # a classifier of two responses: cross-entropy over the two implied rewards
        """
def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
    if beta <= 0 or not beta < float("inf"):
        raise ValueError("beta")
    for t in (chosen, rejected, ref_chosen, ref_rejected):
        if t.dim() != 1 or t.size(0) != chosen.size(0) or t.size(0) == 0:
            raise ValueError("shape")
    rewards = torch.stack([chosen - ref_chosen, rejected - ref_rejected], dim=1) * beta
    return F.cross_entropy(rewards, torch.zeros(len(chosen), dtype=torch.long))
""",
    ],
    "ipo_loss": [
        # torch's mean squared error to a constant target
        """
def ipo_loss(chosen, rejected, ref_chosen, ref_rejected, n_chosen, n_rejected, beta=0.1):
    everything = [chosen, rejected, ref_chosen, ref_rejected, n_chosen, n_rejected]
    if chosen.dim() != 1 or chosen.numel() == 0 or {t.shape for t in everything} != {chosen.shape}:
        raise ValueError("shapes")
    if not beta > 0 or min(n_chosen.min(), n_rejected.min()) < 1:
        raise ValueError("beta or lengths")
    per_token = chosen / n_chosen - ref_chosen / n_chosen
    per_token = per_token - (rejected / n_rejected - ref_rejected / n_rejected)
    return F.mse_loss(per_token, torch.full_like(per_token, 0.5 / beta))
""",
        # pair by pair
        """
def ipo_loss(chosen, rejected, ref_chosen, ref_rejected, n_chosen, n_rejected, beta=0.1):
    everything = (chosen, rejected, ref_chosen, ref_rejected, n_chosen, n_rejected)
    if any(t.dim() != 1 or len(t) != len(chosen) or len(t) == 0 for t in everything):
        raise ValueError("shapes")
    if not beta > 0:
        raise ValueError("beta")
    total = 0.0
    for c, r, rc, rr, n, m in zip(*everything):
        if n <= 0 or m <= 0:
            raise ValueError("length")
        total = total + ((c - rc) / n - (r - rr) / m - 0.5 / beta) ** 2
    return total / len(chosen)
""",
    ],
    "kto_loss": [
        # 1 - sigmoid(x) is sigmoid(-x); signs and weights as tensors
        """
def kto_loss(x, ref, wanted, other, ref_other, beta=0.1, up=1.0, down=1.0):
    if wanted.dtype is not torch.bool or x.dim() != 1 or other.dim() != 1:
        raise ValueError("dtype or dimensions")
    if x.shape != ref.shape or x.shape != wanted.shape or other.shape != ref_other.shape:
        raise ValueError("shapes")
    if 0 in (x.numel(), other.numel()) or not beta > 0:
        raise ValueError("nothing there, or beta")
    with torch.no_grad():
        point = torch.relu((other - ref_other).mean())
    sign = wanted.to(x.dtype) * 2 - 1
    weight = wanted.to(x.dtype) * (up - down) + down
    return (weight * torch.sigmoid(-sign * beta * ((x - ref) - point))).mean()
""",
        # two groups and one denominator
        """
def kto_loss(x, ref, wanted, other, ref_other, beta=0.1, up=1.0, down=1.0):
    if len({x.shape, ref.shape, wanted.shape}) > 1 or other.shape != ref_other.shape:
        raise ValueError("shapes")
    if x.ndim != 1 or other.ndim != 1 or not len(x) or not len(other):
        raise ValueError("empty")
    if wanted.dtype != torch.bool:
        raise ValueError("bool")
    if beta != beta or beta <= 0:
        raise ValueError("beta")
    z = max(0.0, (other - ref_other).mean().item())
    ratio = x - ref
    good = up * (1 - torch.sigmoid(beta * (ratio[wanted] - z)))
    bad = down * (1 - torch.sigmoid(beta * (z - ratio[~wanted])))
    return (good.sum() + bad.sum()) / len(x)
""",
    ],
    "group_advantages": [
        # group by group
        """
def group_advantages(rewards, group_size, divide_by_std=True, eps=1e-4):
    if rewards.ndim != 1 or group_size <= 0 or not rewards.numel():
        raise ValueError("shape")
    if rewards.numel() % group_size or not torch.all(rewards.isfinite()):
        raise ValueError("groups or values")
    parts = []
    for group in rewards.detach().double().split(group_size):
        if bool((group == group[0]).all()):
            parts.append(torch.zeros_like(group))
            continue
        away = group - group.mean()
        parts.append(away / (group.std() + eps) if divide_by_std else away)
    return torch.cat(parts).float()
""",
        # columns
        """
def group_advantages(rewards, group_size, divide_by_std=True, eps=1e-4):
    if rewards.dim() != 1 or group_size < 1 or len(rewards) < group_size:
        raise ValueError("shape")
    if len(rewards) % group_size:
        raise ValueError("groups")
    if torch.isnan(rewards).any() or torch.isinf(rewards).any():
        raise ValueError("values")
    with torch.no_grad():
        table = rewards.to(torch.float32).reshape(-1, group_size).t()
        centred = table - table.mean(0)
        spread = (centred**2).sum(0).div(max(group_size - 1, 1)).sqrt() + eps
        out = centred / spread if divide_by_std else centred
        out = torch.where(table.max(0).values > table.min(0).values, out, torch.zeros(()))
        return out.t().reshape(-1)
""",
    ],
    "grpo_loss": [
        # row by row over the kept tokens alone
        """
def grpo_loss(
    logprobs, old, advantages, mask, lengths=None, ref=None, kl_coef=0.0, clip_eps=0.2
):
    if mask.dtype != torch.bool or mask.dim() != 2 or not len(mask) or clip_eps < 0:
        raise ValueError("mask or clip_eps")
    for t in (logprobs, old) if ref is None else (logprobs, old, ref):
        if t.shape != mask.shape:
            raise ValueError("shape")
    if advantages.dim() != 1 or len(advantages) != len(mask):
        raise ValueError("advantages")
    if lengths is not None and tuple(torch.as_tensor(lengths).shape) not in [(), (len(mask),)]:
        raise ValueError("lengths")
    rows = []
    for n in range(len(mask)):
        keep = mask[n]
        if not keep.any():
            raise ValueError("empty row")
        if lengths is None:
            length = keep.sum()
        else:
            length = lengths[n] if torch.is_tensor(lengths) and lengths.dim() else lengths
        if not length > 0:
            raise ValueError("length")
        x = logprobs[n][keep]
        ratio = torch.exp(x - old[n][keep])
        A = advantages[n]
        limit = torch.where(A > 0, 1 + clip_eps, 1 - clip_eps)
        kept = torch.minimum(ratio, limit) if A > 0 else torch.maximum(ratio, limit)
        loss = -(kept * A)
        if ref is not None:
            d = ref[n][keep] - x
            loss = loss + kl_coef * (torch.expm1(d) - d)
        rows.append(loss.sum() / length)
    return torch.stack(rows).mean()
""",
        # torch.where, and a maximum of losses
        """
def grpo_loss(
    logprobs, old, advantages, mask, lengths=None, ref=None, kl_coef=0.0, clip_eps=0.2
):
    if mask.ndim != 2 or mask.numel() == 0 or mask.dtype != torch.bool:
        raise ValueError("mask")
    if logprobs.shape != mask.shape or old.shape != mask.shape or clip_eps < 0:
        raise ValueError("shape")
    if advantages.shape != mask.shape[:1] or (ref is not None and ref.shape != mask.shape):
        raise ValueError("shape")
    if (mask.sum(1) == 0).any():
        raise ValueError("empty row")
    per_row = mask.sum(1) if lengths is None else torch.as_tensor(lengths)
    if per_row.ndim > 1 or (per_row.ndim == 1 and per_row.shape != mask.shape[:1]):
        raise ValueError("lengths")
    if (per_row <= 0).any():
        raise ValueError("length")
    zero = torch.zeros(())
    x = torch.where(mask, logprobs, zero)
    ratio = (x - torch.where(mask, old, zero)).exp()
    A = advantages[:, None]
    loss = torch.maximum(-A * ratio, -A * torch.clip(ratio, 1 - clip_eps, 1 + clip_eps))
    if ref is not None:
        d = torch.where(mask, ref, zero) - x
        loss = loss + kl_coef * (d.exp() - 1 - d)
    return (torch.where(mask, loss, zero).sum(-1) / per_row).sum() / len(mask)
""",
    ],
    "verify_answer": [
        # fractions, and finditer
        r"""
def verify_answer(response, answer):
    from fractions import Fraction

    pattern = r"((?<![A-Za-z0-9])[+-])?([0-9]{1,3}(,[0-9]{3})+(?![0-9])|[0-9]+)([.][0-9]+)?"
    if not re.match(r"^(" + pattern + r")\Z", answer.strip()):
        raise ValueError("answer")
    last = None
    for match in re.finditer(pattern, response):
        last = match.group()
    if last is None:
        return 0.0
    a, b = (Fraction(text.replace(",", "").strip()) for text in (last, answer))
    return 1.0 if a == b else 0.0
""",
        # by hand for the sign: numbers first, then a look at what stands before
        r"""
def verify_answer(response, answer):
    bare = re.compile("(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:[.][0-9]+)?")

    def numbers(text):
        for match in bare.finditer(text):
            start = match.start()
            sign = text[start - 1] if start and text[start - 1] in "+-" else ""
            before = text[start - 2] if start > 1 else ""
            if sign and before.isascii() and before.isalnum():
                sign = ""
            yield sign + match.group(), Decimal(sign + match.group().replace(",", ""))

    answer = answer.strip()
    right = list(numbers(answer))
    if len(right) != 1 or right[0][0] != answer:
        raise ValueError("answer")
    written = [value for _, value in numbers(response)]
    return float(bool(written) and written[-1] == right[0][1])
""",
    ],
}
