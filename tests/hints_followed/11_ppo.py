"""Lab 11: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "kl_rewards": """
def kl_rewards(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    B, T = response_mask.shape
    if rewards.shape != (B,) or not rewards.isfinite().all():
        raise ValueError("rewards")
    if not response_mask.any(dim=1).all():
        raise ValueError("a row without a token")
    per_token = (-kl_coef * (logprobs - ref_logprobs)).masked_fill(~response_mask, 0)
    places = torch.arange(T)
    last = places.where(response_mask, -1).amax(dim=1)
    return per_token + (places == last.unsqueeze(1)) * rewards.unsqueeze(1)
""",
    "gae": """
def gae(rewards, values, response_mask, discount=1.0, lam=0.95):
    if rewards.shape != values.shape or rewards.shape != response_mask.shape:
        raise ValueError("shapes")
    if response_mask.dtype != torch.bool:
        raise ValueError("mask")
    if not (0 <= discount <= 1 and 0 <= lam <= 1):
        raise ValueError("settings")
    rewards = rewards.masked_fill(~response_mask, 0)
    values = values.masked_fill(~response_mask, 0)
    B, T = rewards.shape
    next_value = next_advantage = torch.zeros(B, dtype=values.dtype)
    advantages = torch.zeros_like(values)
    for t in range(T - 1, -1, -1):
        delta = rewards[:, t] + discount * next_value - values[:, t]
        next_advantage = (delta + discount * lam * next_advantage) * response_mask[:, t]
        next_value = values[:, t]
        advantages[:, t] = next_advantage
    return advantages, advantages + values
""",
    "ppo_clip_loss": """
def ppo_clip_loss(logprobs, old_logprobs, advantages, response_mask, clip_eps=0.2):
    if not clip_eps > 0 or not response_mask.any():
        raise ValueError("clip_eps or response_mask")
    log_ratio = (logprobs - old_logprobs).masked_fill(~response_mask, 0)
    advantages = advantages.masked_fill(~response_mask, 0)
    ratio = log_ratio.exp()
    free = ratio * advantages
    clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps) * advantages
    return -torch.minimum(free, clipped).sum() / response_mask.sum()
""",
    "value_loss": """
def value_loss(values, old_values, returns, response_mask, clip_range=0.2):
    if not clip_range > 0 or not response_mask.any():
        raise ValueError("clip_range or response_mask")
    values = values.masked_fill(~response_mask, 0)
    old_values = old_values.masked_fill(~response_mask, 0)
    returns = returns.masked_fill(~response_mask, 0)
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    larger = torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)
    return 0.5 * larger.sum() / response_mask.sum()
""",
    "whiten": """
def whiten(values, mask, shift_mean=True):
    if mask.dtype != torch.bool or mask.shape != values.shape or not mask.any():
        raise ValueError("mask")
    kept = values[mask]
    mean = kept.mean()
    variance = kept.var(unbiased=False)
    white = (values - mean) / (variance + 1e-8).sqrt()
    if not shift_mean:
        white = white + mean
    return white.masked_fill(~mask, 0)
""",
    "AdaptiveKLController": """
class AdaptiveKLController:
    def __init__(self, kl_coef, target, horizon):
        for value in (kl_coef, target, horizon):
            if not math.isfinite(value) or value <= 0:
                raise ValueError("above 0")
        self.kl_coef, self.target, self.horizon = kl_coef, target, horizon

    def update(self, kl, n):
        if not math.isfinite(kl) or n < 0 or n > self.horizon:
            raise ValueError("kl or n")
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.kl_coef = self.kl_coef * (1 + error * n / self.horizon)
""",
}
