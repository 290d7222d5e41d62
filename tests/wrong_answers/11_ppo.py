"""Wrong answers of lab 11, each with words that the hint must hold."""

from tests.wrong_answers import Wrong, changed, slips

PAID = """def kl_rewards(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    B, T = response_mask.shape
    if rewards.shape != (B,) or not rewards.isfinite().all():
        raise ValueError("rewards")
    if not response_mask.any(dim=1).all():
        raise ValueError("a row without a token")
    price = (kl_coef * (logprobs - ref_logprobs)).masked_fill(~response_mask, 0)
    last = torch.arange(T).where(response_mask, -1).amax(dim=1)
    out = -price
    out[torch.arange(B), last] += rewards
    return out
"""
PRICE = "(kl_coef * (logprobs - ref_logprobs)).masked_fill(~response_mask, 0)"
LAST = "torch.arange(T).where(response_mask, -1).amax(dim=1)"
EARN = "out[torch.arange(B), last] += rewards"
FINITE = " or not rewards.isfinite().all()"
EMPTY = """    if not response_mask.any(dim=1).all():
        raise ValueError("a row without a token")
"""

GAE = """def gae(rewards, values, response_mask, discount=1.0, lam=0.95):
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
"""
DELTA = "delta = rewards[:, t] + discount * next_value - values[:, t]"
STEP = "next_advantage = (delta + discount * lam * next_advantage) * response_mask[:, t]"
FILLED = "    values = values.masked_fill(~response_mask, 0)\n"
FILLED_REWARDS = "    rewards = rewards.masked_fill(~response_mask, 0)\n"
GIVE = "return advantages, advantages + values"

CLIP = """def ppo_clip_loss(logprobs, old_logprobs, advantages, response_mask, clip_eps=0.2):
    if not clip_eps > 0 or not response_mask.any():
        raise ValueError("clip_eps or response_mask")
    log_ratio = (logprobs - old_logprobs).masked_fill(~response_mask, 0)
    advantages = advantages.masked_fill(~response_mask, 0)
    ratio = log_ratio.exp()
    free = ratio * advantages
    clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps) * advantages
    return -torch.minimum(free, clipped).sum() / response_mask.sum()
"""
RATIO = "ratio = log_ratio.exp()"
SMALLER = "-torch.minimum(free, clipped).sum() / response_mask.sum()"
BOUND = "ratio.clamp(1 - clip_eps, 1 + clip_eps) * advantages"

VALUE = """def value_loss(values, old_values, returns, response_mask, clip_range=0.2):
    if not clip_range > 0 or not response_mask.any():
        raise ValueError("clip_range or response_mask")
    values = values.masked_fill(~response_mask, 0)
    old_values = old_values.masked_fill(~response_mask, 0)
    returns = returns.masked_fill(~response_mask, 0)
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    larger = torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)
    return 0.5 * larger.sum() / response_mask.sum()
"""
NEAR = "old_values + (values - old_values).clamp(-clip_range, clip_range)"
LARGER = "torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)"
HALF = "0.5 * larger.sum() / response_mask.sum()"

WHITE = """def whiten(values, mask, shift_mean=True):
    if mask.dtype != torch.bool or mask.shape != values.shape or not mask.any():
        raise ValueError("mask")
    kept = values[mask]
    mean = kept.mean()
    variance = kept.var(unbiased=False)
    white = (values - mean) / (variance + 1e-8).sqrt()
    if not shift_mean:
        white = white + mean
    return white.masked_fill(~mask, 0)
"""
SCALE = "(values - mean) / (variance + 1e-8).sqrt()"
BACK = """    if not shift_mean:
        white = white + mean
"""

CONTROL = """class AdaptiveKLController:
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
"""
ERROR = "min(max(kl / self.target - 1, -0.2), 0.2)"
CHANGE = "self.kl_coef = self.kl_coef * (1 + error * n / self.horizon)"
REFUSE = """        if not math.isfinite(kl) or n < 0 or n > self.horizon:
            raise ValueError("kl or n")
"""


WRONG = [
    Wrong(
        "kl_rewards",
        "does no work: zeros",
        "def kl_rewards(rewards, logprobs, ref_logprobs, response_mask, kl_coef):\n"
        "    return torch.zeros_like(logprobs)\n",
        "kl_coef * (logprobs - ref_logprobs)",
    ),
    Wrong(
        "kl_rewards",
        "does no work: the reward everywhere",
        "def kl_rewards(rewards, logprobs, ref_logprobs, response_mask, kl_coef):\n"
        "    return rewards[:, None] * response_mask\n",
        "kl_coef * (logprobs - ref_logprobs)",
    ),
    *slips(
        "kl_rewards",
        PAID,
        (
            "on the first padding",
            EARN,
            "place = last + 1\n    inside = place < T\n"
            "    out[torch.arange(B)[inside], place[inside]] += rewards[inside]",
            "one place behind the last token",
        ),
        (
            "on the first padding, and masked",
            f"{EARN}\n    return out",
            "place = last + 1\n    inside = place < T\n"
            "    out[torch.arange(B)[inside], place[inside]] += rewards[inside]\n"
            "    return out * response_mask",
            "where a mask removes it",
        ),
        ("in the last column", LAST, "torch.full((B,), T - 1)", "in the last column"),
        ("at the number of tokens", LAST, "response_mask.sum(1) - 1", "behind its prompt"),
        ("one too soon", LAST, f"{LAST} - 1", "one place before the last token"),
        ("at the first token", LAST, "response_mask.int().argmax(1)", "at the first token"),
        ("every token earns", EARN, "out += rewards[:, None] * response_mask", "the whole reward"),
        (
            "spread over the tokens",
            EARN,
            "out += rewards[:, None] * response_mask / response_mask.sum(1, keepdim=True)",
            "is spread over the tokens",
        ),
        ("paid for leaving", "out = -price", "out = price", "it costs, with a minus"),
        (
            "the reward replaces the price",
            EARN,
            "out[torch.arange(B), last] = rewards",
            "the reward comes on top of it",
        ),
        (
            "all is charged at the end",
            "out = -price",
            "out = torch.zeros_like(price)\n    out[torch.arange(B), last] = -price.sum(1)",
            "is charged at the last one",
        ),
        ("without kl_coef", "(kl_coef * (logprobs", "(1.0 * (logprobs", "kl_coef is missing"),
        ("kl_coef weighs all", EARN, f"{EARN[:-7]}kl_coef * rewards", "weighs the reward as well"),
        ("no mask", PRICE, PRICE.partition(".masked")[0], "they get 0"),
        ("zeros by a product", ".masked_fill(~response_mask, 0)", " * response_mask", "hold nan"),
        (
            "k3",
            PRICE,
            "(kl_coef * (torch.exp(ref_logprobs - logprobs) - 1 + logprobs - ref_logprobs))"
            ".masked_fill(~response_mask, 0)",
            "not k3",
        ),
        (
            "k2",
            PRICE,
            "(kl_coef * (logprobs - ref_logprobs) ** 2 / 2).masked_fill(~response_mask, 0)",
            "not half its square",
        ),
        ("NaN let in", FINITE, "", "a reward of NaN"),
        ("infinity let in", FINITE, " or rewards.isnan().any()", "a reward of infinity"),
        ("no token let in", EMPTY, "", "a row of the mask without any True"),
        (
            "one column of rewards let in",
            "    if rewards.shape != (B,)",
            "    rewards = rewards.flatten()\n    if rewards.shape != (B,)",
            "rewards of shape",
        ),
        (
            "in place",
            "price = (kl_coef * (logprobs - ref_logprobs))",
            "price = kl_coef * logprobs.sub_(ref_logprobs)\n    price = price",
            "changed in place",
        ),
    ),
    Wrong(
        "gae",
        "does no work: rewards and values",
        "def gae(rewards, values, response_mask, discount=1.0, lam=0.95):\n"
        "    return rewards, values\n",
        "advantages",
    ),
    Wrong(
        "gae",
        "does no work: zeros",
        "def gae(rewards, values, response_mask, discount=1.0, lam=0.95):\n"
        "    return torch.zeros_like(rewards), torch.zeros_like(rewards)\n",
        "advantages",
    ),
    *slips(
        "gae",
        GAE,
        (
            "padding's value behind the end",
            FILLED,
            "",
            "sees the value of the padding behind it",
        ),
        (
            "no mask in the walk",
            STEP,
            STEP.partition(" * response")[0],
            "they get 0",
        ),
        ("no lam", STEP, STEP.replace("discount * lam", "discount"), "lam is missing"),
        ("no discount", STEP, STEP.replace("discount * lam", "lam"), "discount is missing"),
        ("delta alone", STEP, "next_advantage = delta * response_mask[:, t]", "delta alone"),
        (
            "no discount in delta",
            DELTA,
            DELTA.replace("discount * ", ""),
            "in front of the next value",
        ),
        (
            "lam in delta",
            DELTA,
            DELTA.replace("discount *", "discount * lam *"),
            "not to the next value",
        ),
        ("no next value", DELTA, "delta = rewards[:, t] - values[:, t]", "missing in delta"),
        ("no own value", DELTA, DELTA.partition(" - values")[0], "own value is not taken off"),
        ("forward", "range(T - 1, -1, -1)", "range(T)", "advantages"),
        (
            "the sign",
            GIVE,
            "return -advantages, advantages + values",
            "the sign is the other way round",
        ),
        ("returns for advantages", GIVE, "return advantages + values, values", "the returns"),
        ("advantages twice", GIVE, "return advantages, advantages", "add the values"),
        ("values taken off", GIVE, "return advantages, advantages - values", "taken off: add"),
        (
            "rewards for returns",
            GIVE,
            "return advantages, rewards",
            "returns are what is still to come",
        ),
        (
            "Monte Carlo returns",
            GIVE,
            "out, g = torch.zeros_like(values), torch.zeros(B)\n"
            "    for t in reversed(range(T)):\n"
            "        g = (rewards[:, t] + discount * g) * response_mask[:, t]\n"
            "        out[:, t] = g\n"
            "    return advantages, out",
            "the sum of the rewards",
        ),
        (
            "the next value of the wrong token",
            "        next_value = values[:, t]\n        advantages",
            "        next_value = values[:, min(t + 1, T - 1)]\n        advantages",
            "advantages",
        ),
        ("NaN rewards of the padding", FILLED_REWARDS, "", "outside the response"),
        ("filled by a product", ".masked_fill(~response_mask, 0)", " * response_mask", "NaN"),
        (
            "any mask",
            '    if response_mask.dtype != torch.bool:\n        raise ValueError("mask")\n',
            "    response_mask = response_mask.bool()\n",
            "a mask of",
        ),
        ("any settings", "if not (0 <= discount <= 1 and 0 <= lam <= 1)", "if False", "discount"),
        (
            "lam of NaN",
            "if not (0 <= discount <= 1 and 0 <= lam <= 1)",
            "if not 0 <= discount <= 1 or lam < 0 or lam > 1",
            "lam nan",
        ),
        (
            "broadcast shapes",
            "if rewards.shape != values.shape or rewards.shape != response_mask.shape:",
            "values = values.expand_as(rewards)\n    if False:",
            "another shape than the rewards",
        ),
        ("always float32", "torch.zeros_like(values)", "torch.zeros(B, T)", "float64"),
        (
            "one list",
            GIVE,
            "return advantages + 0 * values",
            "return two tensors",
        ),
    ),
    Wrong(
        "ppo_clip_loss",
        "does no work: zero",
        "def ppo_clip_loss(logprobs, old_logprobs, advantages, response_mask, clip_eps=0.2):\n"
        "    return logprobs.sum() * 0\n",
        "places kept",
    ),
    Wrong(
        "ppo_clip_loss",
        "does no work: minus the mean advantage",
        "def ppo_clip_loss(logprobs, old_logprobs, advantages, response_mask, clip_eps=0.2):\n"
        "    return -(advantages * response_mask).sum() / response_mask.sum()\n",
        "cuts the gradient",
    ),
    *slips(
        "ppo_clip_loss",
        CLIP,
        (
            "one range for all",
            "1 - clip_eps, 1 + clip_eps",
            "0.8, 1.2",
            "the range is always 0.2",
        ),
        ("no range above 1", "not clip_eps > 0", "not 0 < clip_eps < 1", "range 2"),
        (
            "the log ratio cut",
            RATIO,
            "ratio = log_ratio.clamp(-1, 1).exp()",
            "one token, arguments",
        ),
        (
            "bounded below, too",
            SMALLER,
            "-torch.where(advantages < 0, torch.minimum(free, clipped).maximum(3 * advantages), "
            "torch.minimum(free, clipped)).sum() / response_mask.sum()",
            "one token, arguments 3",
        ),
        (
            "no row without a token",
            "not response_mask.any()",
            "not response_mask.any(1).all()",
            "one has no token",
        ),
        ("no minus", SMALLER, SMALLER[1:], "the sign is missing"),
        ("the larger", "torch.minimum", "torch.maximum", "the larger one counts"),
        ("no clip", BOUND, "free", "never clipped"),
        (
            "always clipped",
            "torch.minimum(free, clipped)",
            "clipped",
            "the clipped one always counts",
        ),
        ("old over new", RATIO, "ratio = (-log_ratio).exp()", "new over old"),
        ("no exp", RATIO, "ratio = log_ratio", "ppo_clip_loss"),
        (
            "clips the logarithms",
            BOUND,
            "log_ratio.clamp(-clip_eps, clip_eps).exp() * advantages",
            "clip the ratio",
        ),
        (
            "clips positive advantages alone",
            BOUND,
            "torch.where(advantages > 0, ratio.clamp(max=1 + clip_eps), ratio) * advantages",
            "2 rows, 5 of 8 places kept",
        ),
        (
            "clips one side",
            BOUND,
            "ratio.clamp(max=1 + clip_eps) * advantages",
            "learning is over",
        ),
        (
            "the smaller ratio",
            "torch.minimum(free, clipped)",
            "(torch.minimum(ratio, ratio.clamp(1 - clip_eps, 1 + clip_eps)) * advantages)",
            "the smaller product counts",
        ),
        (
            "clips the product",
            BOUND,
            "free.clamp(1 - clip_eps, 1 + clip_eps)",
            "then multiply",
        ),
        ("all places", "/ response_mask.sum()", "/ response_mask.numel()", "padding and prompt"),
        (
            "mean of means",
            SMALLER,
            "-(torch.minimum(free, clipped).sum(1) / response_mask.sum(1)).mean()",
            "the rows' means",
        ),
        ("the sum", " / response_mask.sum()", "", "that is the sum"),
        ("by rows", "/ response_mask.sum()", "/ len(response_mask)", "divided by the rows"),
        (
            "no mask",
            "(logprobs - old_logprobs).masked_fill(~response_mask, 0)",
            "logprobs - old_logprobs",
            "outside the response",
        ),
        ("cut", RATIO, "ratio = log_ratio.detach().exp()", "cuts the gradient"),
        ("any clip_eps", "not clip_eps > 0 or ", "", "a range of 0.0"),
        ("clip_eps of NaN", "not clip_eps > 0", "clip_eps <= 0", "a range of nan"),
        ("an empty mask", " or not response_mask.any()", "", "without any True"),
        (
            "in place",
            "(logprobs - old_logprobs)",
            "old_logprobs.neg_().add(logprobs)",
            "changed in place",
        ),
    ),
    Wrong(
        "ppo_clip_loss",
        "masks at the end alone",
        changed(
            changed(
                CLIP,
                "torch.minimum(free, clipped).sum()",
                "(torch.minimum(free, clipped) * response_mask).sum()",
            ),
            "(logprobs - old_logprobs).masked_fill(~response_mask, 0)",
            "logprobs - old_logprobs",
        ),
        "outside the response",
    ),
    Wrong(
        "value_loss",
        "does no work: zero",
        "def value_loss(values, old_values, returns, response_mask, clip_range=0.2):\n"
        "    return values.sum() * 0\n",
        "places kept",
    ),
    Wrong(
        "value_loss",
        "does no work: the mean return",
        "def value_loss(values, old_values, returns, response_mask, clip_range=0.2):\n"
        "    return (returns * response_mask).sum() / response_mask.sum()\n",
        "cuts the gradient",
    ),
    *slips(
        "value_loss",
        VALUE,
        (
            "one range for all",
            ".clamp(-clip_range, clip_range)",
            ".clamp(-0.2, 0.2)",
            "the range is always 0.2",
        ),
        (
            "a range of 1 at most",
            ".clamp(-clip_range, clip_range)",
            ".clamp(-min(clip_range, 1.0), min(clip_range, 1.0))",
            "one token, arguments",
        ),
        (
            "no row without a token",
            "not response_mask.any()",
            "not response_mask.any(1).all()",
            "one has no token",
        ),
        ("no half", "0.5 * ", "", "the half is missing"),
        ("the smaller", "torch.maximum", "torch.minimum", "the smaller one counts"),
        ("no clip", LARGER, "(values - returns) ** 2", "never clipped"),
        ("always clipped", LARGER, "(clipped - returns) ** 2", "the clipped one always counts"),
        ("kept near 0", NEAR, "values.clamp(-clip_range, clip_range)", "kept near 0"),
        (
            "kept near the return",
            LARGER,
            "torch.maximum((values - returns) ** 2, "
            "(values - returns).clamp(-clip_range, clip_range) ** 2)",
            "by small steps of the formula",
        ),
        (
            "without the old value",
            NEAR,
            "(values - old_values).clamp(-clip_range, clip_range)",
            "is added to the old value",
        ),
        (
            "the larger of the means",
            HALF,
            "0.5 * torch.maximum(((values - returns) ** 2).sum(), ((clipped - returns) ** 2).sum())"
            " / response_mask.sum()",
            "at each token the larger",
        ),
        ("the wrong sign", HALF, f"-{HALF}", "squares are no loss below 0"),
        ("sizes", LARGER, LARGER.replace(") ** 2", ").abs()"), "squares, not sizes"),
        ("all places", "/ response_mask.sum()", "/ response_mask.numel()", "padding and prompt"),
        (
            "mean of means",
            HALF,
            "0.5 * (larger.sum(1) / response_mask.sum(1)).mean()",
            "the rows' means",
        ),
        ("the sum", " / response_mask.sum()", "", "that is the sum"),
        (
            "the padding of values",
            "    values = values.masked_fill(~response_mask, 0)\n",
            "",
            "the mean over the kept tokens",
        ),
        (
            "the padding of old values",
            "    old_values = old_values.masked_fill(~response_mask, 0)\n",
            "",
            "the mean over the kept tokens",
        ),
        (
            "cut",
            "values.masked_fill(~response_mask, 0)\n    old",
            "values.detach().masked_fill(~response_mask, 0)\n    old",
            "cuts the gradient",
        ),
        (
            "no gradient through the clipped value",
            NEAR,
            f"({NEAR}).detach()",
            "the gradient",
        ),
        ("any range", "not clip_range > 0 or ", "", "a range of 0.0"),
        ("an empty mask", " or not response_mask.any()", "", "without any True"),
    ),
    Wrong(
        "whiten",
        "does no work: the values",
        "def whiten(values, mask, shift_mean=True):\n    return values\n",
        "the mean stays",
    ),
    Wrong(
        "whiten",
        "does no work: zeros",
        "def whiten(values, mask, shift_mean=True):\n    return torch.zeros_like(values)\n",
        "mean 0 and variance 1",
    ),
    *slips(
        "whiten",
        WHITE,
        ("cut at three deviations", SCALE, f"({SCALE}).clamp(-3, 3)", "thirty values of 0"),
        ("all places", "values[mask]", "values", "count all places"),
        (
            "zeros count",
            "values[mask]",
            "values * mask",
            "as zeros",
        ),
        ("not masked", ".masked_fill(~mask, 0)", "", "places outside the mask become 0"),
        ("no division", SCALE, "values - mean", "the variance stays"),
        ("by the variance", SCALE, "(values - mean) / (variance + 1e-8)", "the root"),
        ("multiplies", SCALE, "(values - mean) * (variance + 1e-8).sqrt()", "do not multiply"),
        ("unbiased", "unbiased=False", "unbiased=True", "the number of places less one"),
        ("never back", BACK, "", "shift_mean is False"),
        ("always back", BACK, "    white = white + mean\n", "shift_mean is True"),
        ("no mean", SCALE, "values / (variance + 1e-8).sqrt()", "the mean is not taken off"),
        ("the sign", SCALE, f"-{SCALE}", "the sign is the other way round"),
        (
            "squares less the squared mean",
            "kept.var(unbiased=False)",
            "kept.square().mean() - mean.square()",
            "values around 5000",
        ),
        ("eps outside the root", "(variance + 1e-8).sqrt()", "(variance.sqrt() + 1e-8)", "1e-8"),
        ("no eps", "(variance + 1e-8)", "variance", "a single kept"),
        (
            "row by row",
            SCALE,
            "(values - mean) / (variance + 1e-8).sqrt()\n"
            "    if values.dim() == 2 and mask.any(1).all():\n"
            "        m = (values * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)\n"
            "        d = (values - m) * mask\n"
            "        white = d / ((d**2).sum(1, keepdim=True) / mask.sum(1, keepdim=True) + "
            "1e-8).sqrt()",
            "each row is whitened alone",
        ),
        ("outside by a product", "white.masked_fill(~mask, 0)", "white * mask", "outside the mask"),
        ("nothing kept", " or not mask.any()", "", "keeps nothing"),
        (
            "any dtype",
            "    if mask.dtype != torch.bool or ",
            "    mask = mask.bool()\n    if ",
            "a mask of",
        ),
        (
            "in place",
            "    kept = values[mask]\n",
            "    values *= 1.0 + 1e-3\n    kept = values[mask]\n",
            "changed in place",
        ),
    ),
    Wrong(
        "AdaptiveKLController",
        "does no work: stays",
        changed(CONTROL, CHANGE, "pass"),
        "nothing has changed",
    ),
    Wrong(
        "AdaptiveKLController",
        "does no work: keeps nothing",
        "class AdaptiveKLController:\n    def __init__(self, kl_coef, target, horizon):\n"
        "        self.kl_coef = 0.0\n\n    def update(self, kl, n):\n        pass\n",
        "begins there",
    ),
    *slips(
        "AdaptiveKLController",
        CONTROL,
        ("the sign", "1 + error * n", "1 - error * n", "the sign is the other way round"),
        ("not bounded", ERROR, "kl / self.target - 1", "not bounded"),
        ("bounded above", ERROR, "min(kl / self.target - 1, 0.2)", "not bounded below"),
        ("bounded below", ERROR, "max(kl / self.target - 1, -0.2)", "not bounded above"),
        ("no share", "error * n / self.horizon", "error", "n / horizon is missing"),
        ("no horizon", "error * n / self.horizon", "error * n", "the horizon is missing"),
        ("no n", "error * n / self.horizon", "error / self.horizon", "n is missing"),
        ("added", CHANGE, "self.kl_coef += error * n / self.horizon", "it multiplies"),
        ("difference", ERROR, "min(max(kl - self.target, -0.2), 0.2)", "not kl - target"),
        ("no 1", "(1 + error * n / self.horizon)", "(error * n / self.horizon)", "1 + is missing"),
        (
            "from the beginning each time",
            CHANGE,
            "self.first = getattr(self, 'first', self.kl_coef)\n"
            "        self.kl_coef = self.first * (1 + error * n / self.horizon)",
            "each builds on the one before",
        ),
        ("any settings", "not math.isfinite(value) or value <= 0", "False", "a kl_coef of 0.0"),
        (
            "bounds the product",
            CHANGE,
            "change = min(max((kl / self.target - 1) * n / self.horizon, -0.2), 0.2)\n"
            "        self.kl_coef = self.kl_coef * (1 + change)",
            "after update(40.0, 50)",
        ),
        ("settings of NaN", "not math.isfinite(value) or value <= 0", "value <= 0", "of nan"),
        ("NaN let in", "not math.isfinite(kl) or ", "", "a kl of NaN"),
        ("any n", " or n < 0 or n > self.horizon", "", "n = -1"),
        (
            "the target moves",
            CHANGE,
            f"{CHANGE}\n        self.target *= 1 + 0.01 * error",
            "each builds on the one before",
        ),
        (
            "n refused too late",
            f"{REFUSE}        error = {ERROR}\n        {CHANGE}\n",
            "        if not math.isfinite(kl):\n            raise ValueError('kl')\n"
            f"        error = {ERROR}\n        {CHANGE}\n{REFUSE}",
            "with a kl above its target",
        ),
        (
            "refused too late",
            f"{REFUSE}        error = {ERROR}\n        {CHANGE}\n",
            f"        error = {ERROR}\n        {CHANGE}\n{REFUSE}",
            "the weight is what it was",
        ),
    ),
]
ROW = "of two axes, the second is the last"
EITHER = "the smaller and the larger of two don't depend on their order"
EQUIVALENT: dict[tuple[str, str], str] = {
    ("kl_rewards", "1 -> -1 in `last.unsqueeze(1)`"): ROW,
    ("kl_rewards", "1 -> -1 in `places.where(response_mask, -1).amax(dim=1)`"): ROW,
    ("kl_rewards", "1 -> -1 in `response_mask.any(dim=1)`"): ROW,
    ("kl_rewards", "1 -> -1 in `rewards.unsqueeze(1)`"): ROW,
    ("kl_rewards", "1 -> 2 in `places.where(response_mask, -1)`"): (
        "any number below all places does"
    ),
    ("gae", "0.0 -> 1.0 in `rewards.masked_fill(~response_mask, 0.0)`"): (
        "what is outside is multiplied by the mask in the walk"
    ),
    ("gae", "zeros_like -> ones_like in `torch.zeros_like`"): "every column is written over",
    (
        "ppo_clip_loss",
        "0.0 -> 1.0 in `(logprobs - old_logprobs).masked_fill(~response_mask, 0.0)`",
    ): "the advantage there is 0, whatever the ratio is",
    ("ppo_clip_loss", "swap arguments of `torch.minimum(free, clipped)`"): EITHER,
    ("value_loss", "0.0 -> 1.0 in `tensor.masked_fill(~response_mask, 0.0)`"): (
        "value and return are filled alike, so the error there is 0"
    ),
    (
        "value_loss",
        "swap arguments of `torch.maximum((values - retu ... lipped - returns).square())`",
    ): EITHER,
    ("AdaptiveKLController", "swap arguments of `max(kl / self.target - 1, -0.2)`"): EITHER,
    (
        "AdaptiveKLController",
        "swap arguments of `min(max(kl / self.target - 1, -0.2), 0.2)`",
    ): EITHER,
}
