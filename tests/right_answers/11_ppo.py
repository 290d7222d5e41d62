"""Lab 11: right answers of another shape than the course's own."""

RIGHT = {
    "kl_rewards": [
        # row by row
        """
def kl_rewards(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    if tuple(rewards.shape) != (len(response_mask),):
        raise ValueError("one reward for each response")
    out = torch.zeros_like(logprobs)
    for b in range(len(rewards)):
        if not torch.isfinite(rewards[b]):
            raise ValueError("reward")
        places = response_mask[b].nonzero().flatten()
        if len(places) == 0:
            raise ValueError("no token")
        out[b, places] = kl_coef * (ref_logprobs[b, places] - logprobs[b, places])
        out[b, places[-1]] += rewards[b]
    return out
""",
        # the last place by counting from behind
        """
def kl_rewards(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    B, T = response_mask.shape
    if rewards.dim() != 1 or len(rewards) != B or torch.isnan(rewards).any():
        raise ValueError("rewards")
    if torch.isinf(rewards).any() or (response_mask.sum(1) == 0).any():
        raise ValueError("rewards or mask")
    zero = torch.zeros((), dtype=logprobs.dtype)
    price = torch.where(response_mask, kl_coef * (logprobs - ref_logprobs), zero)
    last = T - 1 - response_mask.flip(1).int().argmax(dim=1, keepdim=True)
    return (-price).scatter_add(1, last, rewards.to(price.dtype)[:, None])
""",
    ],
    "gae": [
        # response by response, over its own run of tokens
        """
def gae(rewards, values, response_mask, discount=1.0, lam=0.95):
    if rewards.shape != values.shape or values.shape != response_mask.shape:
        raise ValueError("shapes")
    if response_mask.dtype != torch.bool:
        raise ValueError("mask")
    if not 0 <= discount <= 1 or not 0 <= lam <= 1:
        raise ValueError("settings")
    advantages, returns = torch.zeros_like(values), torch.zeros_like(values)
    for b in range(len(values)):
        at = response_mask[b].nonzero().flatten()
        start, stop = at[0].item(), at[-1].item() + 1
        following = advantage = 0.0
        for t in range(stop - 1, start - 1, -1):
            delta = rewards[b, t] + discount * following - values[b, t]
            advantage = delta + discount * lam * advantage
            following = values[b, t]
            advantages[b, t], returns[b, t] = advantage, advantage + following
    return advantages, returns
""",
        # each row alone, its own tokens, in Python lists
        """
def gae(rewards, values, response_mask, discount=1.0, lam=0.95):
    if not (rewards.shape == values.shape and values.shape == response_mask.shape):
        raise ValueError("shapes")
    if response_mask.dtype is not torch.bool:
        raise ValueError("bool")
    for setting in (discount, lam):
        if not 0 <= setting <= 1:
            raise ValueError("setting")
    advantages, returns = torch.zeros_like(values), torch.zeros_like(values)
    for b, row in enumerate(response_mask):
        a, v = 0.0, 0.0
        for t in reversed(row.nonzero().flatten().tolist()):
            a = rewards[b, t] + discount * v - values[b, t] + discount * lam * a
            v = values[b, t]
            advantages[b, t], returns[b, t] = a, a + v
    return advantages, returns
""",
        # the sum of weighted deltas as a product with a matrix
        """
def gae(rewards, values, response_mask, discount=1.0, lam=0.95):
    if rewards.shape != values.shape or rewards.shape != response_mask.shape:
        raise ValueError("shapes")
    if response_mask.dtype != torch.bool or min(discount, lam) < 0 or max(discount, lam) > 1:
        raise ValueError("mask or settings")
    if discount != discount or lam != lam:
        raise ValueError("NaN")
    zero = torch.zeros((), dtype=values.dtype)
    r, v = torch.where(response_mask, rewards, zero), torch.where(response_mask, values, zero)
    T = v.shape[1]
    after = torch.cat([v[:, 1:], torch.zeros_like(v[:, :1])], dim=1)
    deltas = (r + discount * after - v) * response_mask
    steps = torch.arange(T)[:, None] - torch.arange(T)[None, :]  # [t later, t]
    weights = (discount * lam) ** steps.clamp(min=0).to(v.dtype) * (steps >= 0)
    advantages = deltas @ weights.to(v.dtype) * response_mask
    return advantages, advantages + v
""",
    ],
    "ppo_clip_loss": [
        # the kept tokens alone
        """
def ppo_clip_loss(logprobs, old_logprobs, advantages, response_mask, clip_eps=0.2):
    if clip_eps != clip_eps or clip_eps <= 0:
        raise ValueError("clip_eps")
    if response_mask.sum() == 0:
        raise ValueError("nothing kept")
    ratio = torch.exp(logprobs[response_mask] - old_logprobs[response_mask])
    a = advantages[response_mask]
    losses = torch.max(-a * ratio, -a * torch.clamp(ratio, 1 - clip_eps, 1 + clip_eps))
    return losses.mean()
""",
        # by the sign of the advantage
        """
def ppo_clip_loss(logprobs, old_logprobs, advantages, response_mask, clip_eps=0.2):
    if not clip_eps > 0 or not bool(response_mask.any()):
        raise ValueError("refused")
    zero = torch.zeros((), dtype=logprobs.dtype)
    ratio = torch.where(response_mask, logprobs - old_logprobs.detach(), zero).exp()
    a = torch.where(response_mask, advantages.detach().to(logprobs.dtype), zero)
    good, bad = ratio.clamp(max=1 + clip_eps), ratio.clamp(min=1 - clip_eps)
    return (torch.where(a > 0, good, bad) * a).sum() / -response_mask.sum()
""",
    ],
    "value_loss": [
        """
def value_loss(values, old_values, returns, response_mask, clip_range=0.2):
    if clip_range <= 0 or clip_range != clip_range or not response_mask.any():
        raise ValueError("refused")
    v, o, r = values[response_mask], old_values[response_mask], returns[response_mask]
    near = torch.max(torch.min(v, o + clip_range), o - clip_range)
    return torch.stack([(v - r).square(), (near - r).square()]).amax(0).mean() / 2
""",
        """
def value_loss(values, old_values, returns, response_mask, clip_range=0.2):
    if not clip_range > 0:
        raise ValueError("clip_range")
    n = response_mask.sum()
    if n == 0:
        raise ValueError("empty")
    outside = torch.logical_not(response_mask)
    error = (values - returns).masked_fill(outside, 0.0)
    moved = (values - old_values).masked_fill(outside, 0.0)
    excess = moved - moved.clamp(-clip_range, clip_range)
    return torch.maximum(error**2, (error - excess) ** 2).sum() / (2 * n)
""",
    ],
    "whiten": [
        """
def whiten(values, mask, shift_mean=True):
    if mask.dtype != torch.bool or tuple(mask.shape) != tuple(values.shape):
        raise ValueError("mask")
    n = mask.sum()
    if n == 0:
        raise ValueError("nothing kept")
    zero = torch.zeros((), dtype=values.dtype)
    mean = torch.where(mask, values, zero).sum() / n
    centred = torch.where(mask, values - mean, zero)
    scaled = centred * torch.rsqrt(centred.square().sum() / n + 1e-8)
    return scaled if shift_mean else scaled + mean * mask
""",
        """
def whiten(values, mask, shift_mean=True):
    if mask.dtype != torch.bool or mask.shape != values.shape or not mask.any():
        raise ValueError("mask")
    kept = values[mask]
    spread = torch.sqrt(((kept - kept.mean()) ** 2).mean() + 1e-8)
    out = torch.zeros_like(values)
    out[mask] = (kept - kept.mean()) / spread + (0 if shift_mean else kept.mean())
    return out
""",
    ],
    "AdaptiveKLController": [
        """
class AdaptiveKLController:
    def __init__(self, kl_coef, target, horizon):
        if not (0 < kl_coef < float("inf")):
            raise ValueError("kl_coef")
        if not (0 < target < float("inf")):
            raise ValueError("target")
        if not (0 < horizon < float("inf")):
            raise ValueError("horizon")
        self.kl_coef = kl_coef
        self._settings = (target, horizon)

    def update(self, kl, n):
        target, horizon = self._settings
        if kl - kl != 0 or n < 0 or n > horizon:
            raise ValueError("kl or n")
        if kl > 1.2 * target:
            error = 0.2
        elif kl < 0.8 * target:
            error = -0.2
        else:
            error = (kl - target) / target
        self.kl_coef += self.kl_coef * error * n / horizon
""",
        """
class AdaptiveKLController:
    def __init__(self, kl_coef, target, horizon):
        if not all(math.isfinite(v) and v > 0 for v in (kl_coef, target, horizon)):
            raise ValueError("settings")
        self.weight, self.target, self.horizon = kl_coef, target, horizon

    @property
    def kl_coef(self):
        return self.weight

    def update(self, kl, n):
        if not (math.isfinite(kl) and 0 <= n <= self.horizon):
            raise ValueError("kl or n")
        error = sorted((-0.2, kl / self.target - 1, 0.2))[1]
        self.weight = self.weight * (1 + error * n / self.horizon)
""",
    ],
}
