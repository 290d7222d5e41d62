"""Checks of lab 11: rewards of tokens, advantages, PPO's two losses, whitening and KL control.

Oracles: tables worked out by hand and NumPy in float64, token by token in plain loops; gradients by
finite differences of these.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from utils.labs.checking import (
    Check,
    close,
    collector,
    in_case,
    left_alone,
    recognise,
    refused,
    require,
)
from utils.labs.student import Handle, LearnerError

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

EXAMPLES_NOT_TRIED = {"AdaptiveKLController": "its example makes an object"}

HINTS = {
    "kl_rewards": (
        "Two things are paid. Every token of the response costs kl_coef times the difference of "
        "the two log-probabilities. And the last token of the response earns the reward.",
        "By hand: the mask is (False, True, True, False), the logarithms (-1, -2) against (-2, -1) "
        "at the kept places, kl_coef 0.5, reward 5. What do the two tokens get? Which column is "
        "the last kept one, and which one is the last of the row?",
        "Refuse rewards of another shape than (B,), or not finite, and a row of the mask without "
        "True. per_token = (-kl_coef * (logprobs - ref_logprobs)).masked_fill(~response_mask, 0). "
        "places = torch.arange(T); last = places.where(response_mask, -1).amax(dim=1). Add "
        "(places == last.unsqueeze(1)) * rewards.unsqueeze(1), which makes a new tensor.",
    ),
    "gae": (
        "Walk through the tokens from the last to the first. What you know of the token behind "
        "(its value, its advantage) is all that you need for this one.",
        "By hand: two tokens, rewards (0, 1), values (0.5, 0.75), discount 1, lam 0.5. The last "
        "one first: nothing comes behind it, so delta is 1 - 0.75. What is the delta of the first "
        "one, and what is added to it? What must the walk hold when it steps from the padding "
        "into the response?",
        "Refuse unequal shapes, a mask that is not bool, settings outside 0 to 1. Fill rewards and "
        "values with 0 where the mask is False. next_value = next_advantage = zeros (B,). For t "
        "from T - 1 down to 0: delta = rewards[:, t] + discount * next_value - values[:, t]; "
        "next_advantage = (delta + discount * lam * next_advantage) * response_mask[:, t]; "
        "next_value = values[:, t]; keep next_advantage in column t. Return the advantages, and "
        "the advantages plus the filled values.",
    ),
    "ppo_clip_loss": (
        "For each token two numbers: ratio times advantage, and the same with the ratio kept near "
        "1. The smaller one counts. The loss is the negative of their mean over the response.",
        "By hand: ratios (1.5, 0.5), advantages (1, -1), clip_eps 0.2. The two products are 1.5 "
        "and -0.5, with the bounded ratios 1.2 and -0.8. Which ones count? What is the mean, and "
        "which sign has the loss? What does exp make of a NaN in the padding?",
        "Refuse a clip_eps not above 0 and a mask without True. log_ratio = (logprobs - "
        "old_logprobs).masked_fill(~response_mask, 0), and advantages filled with 0 alike. ratio = "
        "log_ratio.exp(). free = ratio * advantages; clipped = ratio.clamp(1 - clip_eps, 1 + "
        "clip_eps) * advantages. Return -torch.minimum(free, clipped).sum() / response_mask.sum().",
    ),
    "value_loss": (
        "Two squared errors for each token: that of the value, and that of the value kept near "
        "the old one. The larger one counts, half of it.",
        "By hand: value 2, old value 0.5, return 2, clip_range 0.5. The value has no error; kept "
        "near the old one it is 1, with an error of 1. Which one counts, and what is half of it?",
        "Refuse a clip_range not above 0 and a mask without True. Fill values, old_values and "
        "returns with 0 where the mask is False. clipped = old_values + (values - "
        "old_values).clamp(-clip_range, clip_range). Return 0.5 * torch.maximum((values - returns) "
        "** 2, (clipped - returns) ** 2).sum() / response_mask.sum().",
    ),
    "whiten": (
        "Mean and variance are those of the kept places alone. Take these out first, then bring "
        "the whole tensor to mean 0 and variance 1, and put 0 where nothing is kept.",
        "By hand: values 1 and 3 are kept, 99 is not. What is the mean of the two, and the mean "
        "of their squared distances from it? What becomes of 1 and of 3? What becomes of a single "
        "kept 5, where the variance is 0, or has no n - 1 to be divided by?",
        "Refuse a mask that is not bool, has another shape, or keeps nothing. kept = values[mask]; "
        "mean = kept.mean(); variance = kept.var(unbiased=False). white = (values - mean) / "
        "(variance + 1e-8).sqrt(). Without shift_mean add mean again. Return "
        "white.masked_fill(~mask, 0).",
    ),
    "AdaptiveKLController": (
        "A thermostat: above the target the weight rises, below it falls, a little at a time.",
        "By hand: target 4, divergence 4.4: the error is 0.1. After half a horizon of responses "
        "the weight is multiplied by 1 + 0.1 / 2. And with a divergence of 40, where the error "
        "would be 9?",
        "In __init__ refuse what is not above 0 and finite (math.isfinite); keep kl_coef, target "
        "and horizon on self. In update refuse a kl that is not finite and an n outside 0 to "
        "horizon, before anything changes; error = kl / target - 1, bounded by min and max to -0.2 "
        "and 0.2; self.kl_coef = self.kl_coef * (1 + error * n / horizon).",
    ),
}


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return normal random numbers in float32."""
    return rng.standard_normal(shape).astype(np.float32)


def runs(T: int, *spans: tuple[int, int]) -> np.ndarray:  # noqa: N803
    """Return a mask (B, T) that is True from start to stop, one span for each row."""
    places = np.arange(T)
    return np.stack([(places >= start) & (places < stop) for start, stop in spans])


SPANS = ((2, 5), (0, 7), (3, 4), (1, 3))  # of 7 places; one whole row, one with a single token


# kl_rewards


def paid(rewards, logprobs, ref_logprobs, mask, kl_coef: float, at=lambda places: places[-1]):
    """Return rewards of tokens in float64; `at` picks the place of the reward."""
    out = np.zeros(mask.shape)
    for b, row in enumerate(mask):
        places = np.flatnonzero(row)
        for t in places:
            out[b, t] = -kl_coef * (float(logprobs[b, t]) - float(ref_logprobs[b, t]))
        place = at(places)
        if place < mask.shape[1]:
            out[b, place] += rewards[b]
    return out


def slips_of_paid(rewards, logprobs, ref_logprobs, mask, kl_coef: float) -> list:
    """Return what known mistakes give, with their names."""
    case = (rewards, logprobs, ref_logprobs, mask, kl_coef)
    T = mask.shape[1]
    want, free = paid(*case), paid(0 * rewards, *case[1:])
    earned = want - free
    difference = logprobs.astype(np.float64) - ref_logprobs
    at_end = free.sum(1, keepdims=True) * (earned != 0)
    return [
        (
            paid(*case, at=lambda p: p[-1] + 1),
            "your reward stands one place behind the last token, on the first padding",
        ),
        (
            paid(*case, at=lambda p: T - 1),
            "your reward stands in the last column: rows are padded, their last token is sooner",
        ),
        (
            paid(*case, at=lambda p: len(p) - 1),
            "your reward stands at the number of tokens: a response begins behind its prompt",
        ),
        (
            paid(*case, at=lambda p: p[-1] - 1),
            "your reward stands one place before the last token",
        ),
        (
            paid(*case, at=lambda p: p[0]),
            "your reward stands at the first token of the response: it belongs to the last",
        ),
        (
            free + rewards[:, None] * mask,
            "you give every token the whole reward: the last one alone gets it",
        ),
        (
            free + rewards[:, None] * mask / mask.sum(1, keepdims=True),
            "your reward is spread over the tokens: the last one gets it all",
        ),
        (
            free,
            "no token of yours has the reward: is it left out, or on padding where a mask removes "
            "it?",
        ),
        (earned, "the price of the divergence is missing in your result"),
        (earned - free, "you pay the divergence out: it costs, with a minus"),
        (
            np.where(earned != 0, earned, free),
            "in your result the last token's own divergence is lost: the reward comes on top of it",
        ),
        (
            earned + at_end,
            "in your result the divergence of all tokens is charged at the last one: each has its "
            "own",
        ),
        (earned + free / kl_coef, "kl_coef is missing in your price: multiply by it"),
        (
            kl_coef * earned + free,
            "in your result kl_coef weighs the reward as well: it weighs the price alone",
        ),
        (
            earned - kl_coef * difference,
            "in your result places outside the response have their price: they get 0",
        ),
        (
            earned - kl_coef * np.exp(logprobs) * difference * mask,
            "you weigh each difference by its probability: that is done by the draw",
        ),
        (earned - kl_coef * np.abs(difference) * mask, "the price is the difference, not its size"),
        (
            earned - kl_coef * difference**2 / 2 * mask,
            "the price is the difference itself (k1), not half its square (k2)",
        ),
        (
            earned - kl_coef * (np.exp(-difference) - 1 + difference) * mask,
            "the price is the difference itself (k1), not k3",
        ),
    ]


@exercise_check("kl_rewards", points=2, title="the price and the reward")
def _(student, rng):
    for spans, T, kl_coef in (  # noqa: N806
        (((2, 6),), 9, 0.5),
        (SPANS, 7, 0.25),
        (((0, 1), (4, 6)), 6, 2.0),
    ):
        mask = runs(T, *spans)
        rewards = normal(rng, len(mask)) + 3
        given = (rewards, -1 - normal(rng, *mask.shape) ** 2, -1 - normal(rng, *mask.shape) ** 2)
        with in_case(f"a mask of {len(mask)} rows, True from start to stop: {spans}, T = {T}"):
            got = student.kl_rewards(*given, mask, kl_coef)
        want = paid(*given, mask, kl_coef)
        tried = f"responses from start to stop {spans} of {T} places, kl_coef {kl_coef}"
        slips = [(w, f"{h} ({tried})") for w, h in slips_of_paid(*given, mask, kl_coef)]
        recognise(got, want, slips)
        close(got, want, f"-kl_coef * (logprobs - ref_logprobs), the reward at the end ({tried})")
        left_alone(
            student, rewards=given[0], logprobs=given[1], ref_logprobs=given[2], response_mask=mask
        )


@exercise_check("kl_rewards", points=1, title="padding and prompt", is_core=False)
def _(student, rng):
    mask = runs(7, *SPANS)
    rewards = normal(rng, 4)
    logprobs, ref_logprobs = (-(normal(rng, 4, 7) ** 2) for _ in range(2))
    want = paid(rewards, logprobs, ref_logprobs, mask, 0.5)
    close(
        student.kl_rewards(rewards, logprobs, ref_logprobs, mask, 0.5), want, "prices and rewards"
    )
    for value in (np.nan, -np.inf):
        odd = [np.where(mask, a, value).astype(np.float32) for a in (logprobs, ref_logprobs)]
        with in_case(f"outside the response the arguments hold {value}"):
            got = student.kl_rewards(rewards, *odd, mask, 0.5)
        close(got, want, f"outside the response the arguments hold {value}: there the result is 0")
    got = student.kl_rewards(rewards, logprobs, ref_logprobs, mask, 0.0)
    close(got, paid(rewards, logprobs, ref_logprobs, mask, 0.0), "kl_coef 0: the reward alone")
    got = student.kl_rewards(0 * rewards, logprobs, ref_logprobs, mask, 0.5)
    close(got, paid(0 * rewards, logprobs, ref_logprobs, mask, 0.5), "rewards of 0: prices alone")
    double = [a.astype(np.float64) for a in (rewards, logprobs, ref_logprobs)]
    got = student.kl_rewards(*double, mask, 0.5)
    close(got, paid(*double, mask, 0.5), "arguments in float64", atol=1e-10)


@exercise_check("kl_rewards", points=1, title="what does not fit", is_core=False)
def _(student, rng):
    mask = runs(4, (1, 3), (0, 2))
    zeros = np.zeros((2, 4), np.float32)
    got = student.kl_rewards(np.array([1, -2], np.float32), zeros, zeros, mask, 0.1)
    close(got, [[0, 0, 1, 0], [0, -2, 0, 0]], "rewards 1 and -2, no divergence")
    for rewards, why in (
        ([1.0, np.nan], "a reward of NaN"),
        ([np.inf, 1.0], "a reward of infinity"),
        ([1.0, -np.inf], "a reward of minus infinity"),
        ([1.0], "one reward for two responses"),
        ([1.0, 2.0, 3.0], "three rewards for two responses"),
        ([[1.0, 2.0]], "rewards of shape (1, 2)"),
        ([[1.0], [2.0]], "rewards of shape (2, 1)"),
    ):
        array = np.array(rewards, np.float32)
        refused(lambda a=array: student.kl_rewards(a, zeros, zeros, mask, 0.1), why)
    for empty in (runs(4, (1, 3), (2, 2)), runs(4, (0, 0), (1, 2))):
        rewards = np.ones(2, np.float32)
        refused(
            lambda m=empty, r=rewards: student.kl_rewards(r, zeros, zeros, m, 0.1),
            "a row of the mask without any True",
        )


# gae


def estimated(rewards, values, mask, discount: float, lam: float) -> tuple[np.ndarray, np.ndarray]:
    """Return advantages and returns in float64, each advantage as its own sum over what follows."""
    advantages, returns = np.zeros(mask.shape), np.zeros(mask.shape)
    for b, row in enumerate(mask):
        places = np.flatnonzero(row)
        r, v = rewards[b, places].astype(np.float64), values[b, places].astype(np.float64)
        deltas = r + discount * np.append(v[1:], 0.0) - v
        for k, t in enumerate(places):
            later = deltas[k:]
            advantages[b, t] = ((discount * lam) ** np.arange(len(later)) * later).sum()
            returns[b, t] = advantages[b, t] + v[k]
    return advantages, returns


def walked(
    rewards, values, mask, delta_of: Callable, keep: float, masked: bool = True, forward=False
) -> np.ndarray:
    """Return advantages of a walk with another delta, weight, mask or direction: for mistakes."""
    B, T = mask.shape
    out, before = np.zeros((B, T)), np.zeros(B)
    kept = mask if masked else np.ones_like(mask)
    for t in range(T) if forward else reversed(range(T)):
        following = values[:, t + 1] if t + 1 < T else np.zeros(B)
        before = (delta_of(rewards[:, t], following, values[:, t]) + keep * before) * kept[:, t]
        out[:, t] = before
    return out


def slips_of_gae(rewards, values, mask, discount: float, lam: float) -> list:
    """Return advantages that known mistakes give, with their names."""
    r, v = (a.astype(np.float64) for a in (rewards, values))
    inside = (r * mask, v * mask, mask)

    def usual(reward, following, value):
        return reward + discount * following - value

    both = discount * lam
    return [
        (
            walked(r, v, mask, usual, both),
            "your last token sees the value of the padding behind it: there it is 0",
        ),
        (
            walked(*inside, usual, both, masked=False),
            "in your result places outside the response have advantages: they get 0",
        ),
        (walked(*inside, usual, lam), "discount is missing in front of the next advantage"),
        (walked(*inside, usual, discount), "lam is missing in front of the next advantage"),
        (walked(*inside, usual, 0.0), "that is delta alone: the next advantage is missing"),
        (
            walked(*inside, lambda a, b, c: a + b - c, both),
            "discount is missing in front of the next value",
        ),
        (
            walked(*inside, lambda a, b, c: a + both * b - c, both),
            "lam belongs to the next advantage, not to the next value",
        ),
        (walked(*inside, lambda a, b, c: a - c, both), "the next value is missing in delta"),
        (
            walked(*inside, lambda a, b, c: a + discount * b, both),
            "in your delta the token's own value is not taken off: take it off",
        ),
        (
            walked(*inside, usual, both, forward=True),
            "you walk from the first token to the last: walk from the last to the first",
        ),
        (-estimated(*inside, discount, lam)[0], "the sign is the other way round"),
        (estimated(*inside, discount, lam)[1], "those are the returns: take the values off"),
    ]


@exercise_check("gae", points=2, title="advantages")
def _(student, rng):
    for spans, T, discount, lam in (  # noqa: N806
        (((0, 2),), 2, 1.0, 0.5),
        (((1, 4),), 6, 0.5, 0.75),
        (SPANS, 7, 0.9, 0.8),
        (SPANS, 7, 1.0, 0.95),
    ):
        mask = runs(T, *spans)
        rewards, values = normal(rng, *mask.shape), normal(rng, *mask.shape)
        values = np.abs(values) * np.where(np.arange(T) % 2, 1, -1).astype(np.float32)  # both signs
        with in_case(f"responses from start to stop {spans}, discount {discount}, lam {lam}"):
            got = pair_of(student.gae(rewards, values, mask, discount, lam))[0]
        want = estimated(rewards, values, mask, discount, lam)[0]
        tried = f"responses from start to stop {spans} of {T}, discount {discount}, lam {lam}"
        slips = slips_of_gae(rewards, values, mask, discount, lam)
        recognise(got, want, [(w, f"{h} ({tried})") for w, h in slips])
        close(got, want, f"advantages, from each response's last token to its first ({tried})")
        left_alone(student, rewards=rewards, values=values, response_mask=mask)


def pair_of(got: object) -> tuple:
    """Return advantages and returns, or reject another type."""
    require(
        isinstance(got, tuple | list) and len(got) == 2,
        f"return two tensors, advantages and returns, got {type(got).__name__}",
    )
    return tuple(got)


@exercise_check("gae", points=1, title="returns")
def _(student, rng):
    mask = runs(7, *SPANS)
    for discount, lam in ((0.9, 0.8), (1.0, 0.95)):
        rewards, values = normal(rng, 4, 7), normal(rng, 4, 7)
        got = pair_of(student.gae(rewards, values, mask, discount, lam))[1]
        advantages, want = estimated(rewards, values, mask, discount, lam)
        recognise(
            got,
            want,
            [
                (advantages, "those are the advantages: add the values"),
                (advantages - values * mask, "in your returns the values are taken off: add them"),
                (advantages + values, "outside the response the returns are 0"),
                (rewards * mask, "those are the rewards: returns are what is still to come"),
                (advantages + rewards * mask, "add the values, not the rewards"),
                (
                    estimated(rewards, 0 * values, mask, discount, 1.0)[0],
                    "that is the sum of the rewards: returns are advantages plus values",
                ),
            ],
        )
        close(got, want, f"returns are advantages plus values (discount {discount}, lam {lam})")


@exercise_check("gae", points=2, title="the ends of lam and discount, and one row")
def _(student, rng):
    mask = runs(7, *SPANS)
    rewards, values = normal(rng, 4, 7), normal(rng, 4, 7)
    for discount, lam in ((1.0, 1.0), (1.0, 0.0), (0.0, 0.5), (0.0, 0.0), (0.5, 1.0)):
        got = pair_of(student.gae(rewards, values, mask, discount, lam))
        for name, g, w in zip(
            ("advantages", "returns"),
            got,
            estimated(rewards, values, mask, discount, lam),
            strict=True,
        ):
            close(g, w, f"{name} at discount {discount}, lam {lam}")
    got = pair_of(student.gae(rewards, values, mask))
    for g, w in zip(got, estimated(rewards, values, mask, 1.0, 0.95), strict=True):
        close(g, w, "without settings: discount 1, lam 0.95")
    for b in range(4):
        with in_case("a batch of one response"):
            alone = pair_of(student.gae(*(a[b : b + 1] for a in (rewards, values, mask)), 0.9, 0.8))
        for g, w in zip(alone, estimated(rewards, values, mask, 0.9, 0.8), strict=True):
            close(g, w[b : b + 1], f"row {b} alone (span {SPANS[b]} of 7)")
    double = [a.astype(np.float64) for a in (rewards, values)]
    got = pair_of(student.gae(*double, mask, 0.9, 0.8))
    require(got[0].dtype == np.float64, f"arguments in float64, the result in {got[0].dtype}")
    close(got[0], estimated(*double, mask, 0.9, 0.8)[0], "arguments in float64", atol=1e-10)


@exercise_check("gae", points=1, title="what stands outside, and what does not fit", is_core=False)
def _(student, rng):
    mask = runs(7, *SPANS)
    rewards, values = normal(rng, 4, 7), normal(rng, 4, 7)
    want = estimated(rewards, values, mask, 0.9, 0.8)
    odd = [np.where(mask, a, np.nan).astype(np.float32) for a in (rewards, values)]
    with in_case("outside the response rewards and values are NaN"):
        got = pair_of(student.gae(*odd, mask, 0.9, 0.8))
    for g, w in zip(got, want, strict=True):
        close(g, w, "outside the response rewards and values are NaN")
    zeros = np.zeros((2, 3), np.float32)
    keep = np.ones((2, 3), bool)
    for case, why in (
        ((zeros, zeros[:, :2], keep), "values of another shape than the rewards"),
        ((zeros, zeros, keep[:, :2]), "a mask of another shape"),
        ((zeros, zeros[:1], keep), "values of one row for rewards of two"),
        ((zeros, zeros, keep.astype(np.float32)), "a mask of floats"),
        ((zeros, zeros, keep.astype(np.int64)), "a mask of whole numbers"),
        *(
            ((zeros, zeros, keep, *pair), f"discount {pair[0]}, lam {pair[1]}")
            for pair in (
                (-0.1, 0.9),
                (1.1, 0.9),
                (0.9, -0.1),
                (0.9, 1.1),
                (np.nan, 0.9),
                (0.9, np.nan),
            )
        ),
    ):
        refused(lambda c=case: student.gae(*c), why)


# The two losses


def clipped_loss(new, old, advantages, mask, eps: float) -> float:
    """Return PPO's loss in float64, token by token."""
    total = 0.0
    for b, t in np.argwhere(mask):
        ratio = np.exp(float(new[b, t]) - float(old[b, t]))
        a = float(advantages[b, t])
        total -= min(ratio * a, min(max(ratio, 1 - eps), 1 + eps) * a)
    return total / mask.sum()


def squared_loss(values, old, returns, mask, room: float) -> float:
    """Return the loss of the value head in float64, token by token."""
    total = 0.0
    for b, t in np.argwhere(mask):
        v, o, r = (float(a[b, t]) for a in (values, old, returns))
        near = o + min(max(v - o, -room), room)
        total += 0.5 * max((v - r) ** 2, (near - r) ** 2)
    return total / mask.sum()


def mean_slips(loss: np.ndarray, mask: np.ndarray) -> list:
    """Return wrong means of a token's losses (0 outside the mask), with their names."""
    rows = loss.sum(1) / mask.sum(1)
    return [
        (
            loss.sum() / mask.size,
            "your mean goes over all places, padding and prompt too: take it over the response",
        ),
        (rows.mean(), "that is the mean of the rows' means: take one mean over all tokens"),
        (loss.sum(), "that is the sum: it is the mean over the tokens of the response"),
        (loss.sum() / len(mask), "that is the sum divided by the rows: divide by the tokens"),
    ]


def ppo_slips(new, old, advantages, mask, eps: float) -> list:
    """Return what known mistakes give, with their names."""
    new, old, a = (x.astype(np.float64) for x in (new, old, advantages))
    ratio = np.exp(new - old)
    near = np.clip(ratio, 1 - eps, 1 + eps)
    token = np.minimum(ratio * a, near * a)

    def mean(x: np.ndarray) -> float:
        return -(x * mask).sum() / mask.sum()

    other = np.exp(old - new)
    inverted = np.minimum(other * a, np.clip(other, 1 - eps, 1 + eps) * a)
    log_near = np.exp(np.clip(new - old, -eps, eps))
    return [
        (-mean(token), "the sign is missing: a loss falls where the objective rises"),
        (
            mean(np.maximum(ratio * a, near * a)),
            "in your loss the larger one counts: take the smaller one",
        ),
        (
            mean(ratio * a),
            "that comes out where the ratio is never clipped: take the smaller of the two",
        ),
        (
            mean(near * a),
            "that comes out where the clipped one always counts: take the smaller of the two",
        ),
        (mean(inverted), "the ratio is new over old, not old over new"),
        (mean((new - old) * a), "the ratio is the exp of the difference"),
        (mean(new * a), "that is the plain policy gradient: the ratio is missing"),
        (
            mean(np.minimum(ratio * a, log_near * a)),
            "in your loss the difference of the logarithms is clipped: clip the ratio",
        ),
        (
            mean(np.minimum(ratio, near) * a),
            "the smaller product counts, not the smaller ratio",
        ),
        (
            mean(np.minimum(ratio * a, np.clip(ratio * a, 1 - eps, 1 + eps))),
            "in your loss the product is clipped: clip the ratio, then multiply",
        ),
        (mean(np.minimum(-ratio * a, -near * a)), "the minus belongs in front of the smaller one"),
        *mean_slips(-token * mask, mask),
    ]


def value_slips(values, old, returns, mask, room: float) -> list:
    """Return what known mistakes give, with their names."""
    v, o, r = (x.astype(np.float64) for x in (values, old, returns))
    plain, near = (v - r) ** 2, (o + np.clip(v - o, -room, room) - r) ** 2
    token = 0.5 * np.maximum(plain, near)

    def mean(x: np.ndarray) -> float:
        return (x * mask).sum() / mask.sum()

    return [
        (2 * mean(token), "the half is missing"),
        (
            0.5 * mean(np.minimum(plain, near)),
            "in your loss the smaller one counts: take the larger one",
        ),
        (
            0.5 * mean(plain),
            "that comes out where the value is never clipped: at each token the larger "
            "error counts",
        ),
        (
            0.5 * mean(near),
            "that comes out where the clipped one always counts: at each token the larger error "
            "counts",
        ),
        (
            0.5 * mean(np.maximum(plain, (np.clip(v, -room, room) - r) ** 2)),
            "in your loss the value is kept near 0: keep it near the old value",
        ),
        (
            0.5 * mean(np.maximum(plain, (np.clip(v - o, -room, room) - r) ** 2)),
            "the clipped difference is added to the old value",
        ),
        (-mean(token), "the sign is wrong: squares are no loss below 0"),
        (0.5 * mean(np.maximum(np.abs(v - r), near**0.5)), "squares, not sizes"),
        *mean_slips(token * mask, mask),
    ]


def loss_case(rng: np.random.Generator, spans: tuple, T: int, scale: float) -> tuple:  # noqa: N803
    """Return three arrays (B, T) and a mask; the first two are near each other."""
    mask = runs(T, *spans)
    second = normal(rng, *mask.shape)
    first = second + scale * normal(rng, *mask.shape)
    return first.astype(np.float32), second, normal(rng, *mask.shape), mask


MEANS = {
    "ppo_clip_loss": "minus the mean over the kept tokens of the smaller product",
    "value_loss": "half of the mean over the kept tokens of the larger squared error",
}


def try_loss(student, name: str, formula: Callable, slips_of: Callable, case: tuple, room: float):
    """Compare a loss with the formula; name what a known mistake gives."""
    tried = f"{len(case[3])} rows, {int(case[3].sum())} of {case[3].size} places kept, range {room}"
    with in_case(tried):
        got = getattr(student, name)(*case, room)
    want = formula(*case, room)
    slips = [(w, f"{h} ({tried})") for w, h in slips_of(*case, room)]
    fixed = f"in your loss the range is always 0.2: use the argument ({tried})"
    recognise(got, want, [*slips, (formula(*case, 0.2), fixed)], atol=1e-5)
    close(got, want, f"{MEANS[name]} ({tried})")
    names = {
        "ppo_clip_loss": ("logprobs", "old_logprobs", "advantages", "response_mask"),
        "value_loss": ("values", "old_values", "returns", "response_mask"),
    }[name]
    left_alone(student, **dict(zip(names, case, strict=True)))


ROWS = (((0, 3),), ((1, 4), (0, 6), (2, 3)), SPANS)


def try_loss_shapes(student, rng, name: str, formula: Callable, slips_of: Callable, scale: float):
    """Try a loss on batches of one row and of more."""
    for spans in ROWS:
        T = max(stop for _, stop in spans) + (len(spans) == 3)  # noqa: N806
        for room in (0.2, 0.5):
            case = loss_case(rng, spans, T, scale)
            try_loss(student, name, formula, slips_of, case, room)


def try_loss_gradient(student, rng, name: str, formula: Callable, rooms=(0.25, 0.5)):
    """Compare the gradient of the first argument with finite differences of the formula.

    The others are constants: they travel as whole numbers, which can't have gradients.
    """
    mask = runs(6, (1, 5), (0, 6), (2, 3))
    for room in rooms:
        old, third = rng.integers(-3, 0, mask.shape), rng.integers(-3, 4, mask.shape)
        # Kept away from the bend at the end of the range, where there is no derivative.
        moves = np.array([-0.9, -0.6, -0.1, 0.1, 0.35, 0.7, 0.8])
        first = old + rng.choice(moves, mask.shape) + 0.01
        with in_case("the gradient of the first argument; the next two are of whole numbers"):
            (got,) = student.gradients(name, first, old, third, mask, room)
        want, step = np.zeros(mask.shape), 1e-6
        for place in np.argwhere(mask):
            sides = []
            for sign in (1, -1):
                moved = first.copy()
                moved[tuple(place)] += sign * step
                sides.append(formula(moved, old, third, mask, room))
            want[tuple(place)] = (sides[0] - sides[1]) / (2 * step)
        recognise(
            got,
            want,
            [
                (-want, "the gradient has the other sign"),
                (want * mask.sum(), "the gradient is that of the sum, not of the mean"),
            ],
        )
        hint = f"the gradient of the first argument, by small steps of the formula (range {room})"
        close(got, want, hint, atol=1e-4, rtol=1e-3)


def try_loss_padding(student, rng, name: str, formula: Callable):
    """Outside the response stand NaN and infinity, and give neither loss nor gradient."""
    first, second, third, mask = loss_case(rng, ((1, 4), (0, 6), (2, 3)), 7, 0.4)
    want = formula(first, second, third, mask, 0.2)
    got = getattr(student, name)(first, second, third, mask, 0.2)
    close(got, want, MEANS[name])
    for value in (np.nan, np.inf, 1e30):
        odd = [np.where(mask, a, value).astype(np.float32) for a in (first, second, third)]
        with in_case(f"outside the response the arguments hold {value}"):
            got = getattr(student, name)(*odd, mask, 0.2)
        close(got, want, f"{value} outside the response changes nothing: fill it with 0 first")
    ints = [rng.integers(-3, 0, mask.shape) for _ in range(2)]
    for value in (np.nan, 400.0):  # exp(400) is infinity
        odd = np.where(mask, ints[0] + 0.1, value).astype(np.float32)
        with in_case(f"the gradient where {value} stands outside the response"):
            (got,) = student.gradients(name, odd, *ints, mask, 0.2)
        require(
            np.isfinite(got).all() and not got[~mask].any(),
            f"where {value} stands outside the response the gradient there is 0, got "
            f"{got[~mask][:4].tolist()}: fill it with 0 before exp or squares, not after",
        )
        require(got[mask].any(), "no gradient reaches the response")


def try_loss_far(student, rng, name: str, formula: Callable):
    """Try moves far out of the range, wide ranges, and a batch with a row that has no token."""
    one = np.ones((1, 1), bool)
    for move in (3.0, -3.0):
        for third in (6.0, -6.0):
            case = [np.full((1, 1), x, np.float32) for x in (move, 0.0, third)]
            for room in (0.5, 2.0, 1000.0):
                tried = f"one token, arguments {move:g}, 0 and {third:g}, range {room:g}"
                with in_case(tried):
                    got = getattr(student, name)(*case, one, room)
                close(got, formula(*case, one, room), f"{MEANS[name]} ({tried})")
    case = loss_case(rng, ((1, 3), (2, 2), (0, 4)), 5, 0.5)
    tried = "three rows, of which one has no token: the mean over the tokens of the others"
    with in_case(tried):
        got = getattr(student, name)(*case, 0.2)
    close(got, formula(*case, 0.2), tried)


def try_loss_refusals(student, rng, name: str):
    """Refuse an empty mask and a range that is not above 0."""
    case = loss_case(rng, ((1, 3), (0, 2)), 4, 0.1)
    case[0][0, 1] = case[1][0, 1] + 1  # out of any range, by default too
    function = getattr(student, name)
    for room in (0.0, -0.2, np.nan):
        refused(lambda r=room: function(*case, r), f"a range of {room}")
    refused(lambda: function(*case[:3], np.zeros((2, 4), bool)), "a mask without any True")
    double = [a.astype(np.float64) for a in case[:3]]
    got = function(*double, case[3])
    want = (clipped_loss if name == "ppo_clip_loss" else squared_loss)(*double, case[3], 0.2)
    close(got, want, "arguments in float64, and the range left at 0.2", atol=1e-9, rtol=1e-9)


@exercise_check("ppo_clip_loss", points=3, title="the loss")
def _(student, rng):
    mask = runs(4, (0, 2), (1, 4))
    ratio = np.array([[1.5, 0.5, 9, 9], [9, 1.1, 0.6, 1.4]])
    old = np.array([[-1, -2, 0, 0], [0, -1, -3, -2]], np.float32)
    advantages = np.array([[1, -1.25, 5, 5], [5, 2, 1.75, -0.7]], np.float32)
    hand = ((old + np.log(ratio)).astype(np.float32), old, advantages, mask)
    try_loss(student, "ppo_clip_loss", clipped_loss, ppo_slips, hand, 0.2)
    try_loss_shapes(student, rng, "ppo_clip_loss", clipped_loss, ppo_slips, 0.5)
    try_loss_far(student, rng, "ppo_clip_loss", clipped_loss)


@exercise_check("ppo_clip_loss", points=2, title="what learns")
def _(student, rng):
    for advantage, ratio, learns in (
        (1, 1.4, False),
        (1, 0.6, True),
        (-1, 0.6, False),
        (-1, 1.4, True),
        (1, 1.1, True),
        (-1, 0.9, True),
    ):
        one, mask = np.full((1, 1), np.log(ratio)), np.ones((1, 1), bool)
        zero, a = np.zeros((1, 1), np.int64), np.full((1, 1), advantage)
        tried = f"ratio {ratio}, advantage {advantage}, clip_eps 0.25"
        with in_case(f"the gradient at {tried}"):
            (got,) = student.gradients("ppo_clip_loss", one, zero, a, mask, 0.25)
        want = -advantage * ratio if learns else 0.0
        why = "goes on" if learns else "is over: the token has moved far enough its way"
        close(got, np.full((1, 1), want), f"{tried}: learning {why}", atol=1e-4)
    try_loss_gradient(student, rng, "ppo_clip_loss", clipped_loss)


@exercise_check("ppo_clip_loss", points=1, title="padding and refusals", is_core=False)
def _(student, rng):
    try_loss_padding(student, rng, "ppo_clip_loss", clipped_loss)
    try_loss_refusals(student, rng, "ppo_clip_loss")


@exercise_check("value_loss", points=2, title="the loss")
def _(student, rng):
    mask = runs(4, (0, 2), (1, 4))
    old = np.array([[0.5, 0, 0, 0], [0, 2, -1, 1.5]], np.float32)
    values = np.array([[2, 0.25, 9, 9], [9, 1, -2, 3]], np.float32)
    returns = np.array([[2, 1, 5, 5], [5, 1.25, -3, 0.5]], np.float32)
    try_loss(student, "value_loss", squared_loss, value_slips, (values, old, returns, mask), 0.5)
    try_loss_shapes(student, rng, "value_loss", squared_loss, value_slips, 0.8)
    try_loss_far(student, rng, "value_loss", squared_loss)


@exercise_check("value_loss", points=1, title="the gradient")
def _(student, rng):
    try_loss_gradient(student, rng, "value_loss", squared_loss)
    first, second, third, mask = loss_case(rng, SPANS, 7, 0.8)
    got = student.value_loss(first, second, third, mask, float("inf"))
    want = squared_loss(first, second, third, mask, np.inf)
    close(got, want, "clip_range of infinity: half the plain squared error")


@exercise_check("value_loss", points=1, title="padding and refusals", is_core=False)
def _(student, rng):
    try_loss_padding(student, rng, "value_loss", squared_loss)
    try_loss_refusals(student, rng, "value_loss")


# whiten


def white(values, mask, shift_mean: bool = True) -> np.ndarray:
    """Return whitened values in float64."""
    kept = values[mask].astype(np.float64)
    out = np.zeros(values.shape)
    out[mask] = (kept - kept.mean()) / np.sqrt(kept.var() + 1e-8) + (not shift_mean) * kept.mean()
    return out


def white_slips(values, mask, shift_mean: bool) -> list:
    """Return what known mistakes give, with their names."""
    v = values.astype(np.float64)
    kept, want = v[mask], white(v, mask, shift_mean)
    mean, std = kept.mean(), kept.std()
    back = 0.0 if shift_mean else mean

    def inside(x: np.ndarray) -> np.ndarray:
        return np.where(mask, x, 0.0)

    slips = [
        (
            inside((v - v.mean()) / v.std() + back),
            "your mean and variance count all places: count the kept ones",
        ),
        (
            inside((v - inside(v).mean()) / inside(v).std() + back),
            "your mean and variance count the places outside the mask as zeros: leave them out",
        ),
        ((v - mean) / std + back, "places outside the mask become 0"),
        (
            inside(v - mean) + inside(np.full(v.shape, back)),
            "the variance stays in your result: divide",
        ),
        (inside((v - mean) / std**2 + back), "divide by the root of the variance"),
        (inside((v - mean) * std + back), "divide by the spread, do not multiply"),
        (
            white(v, mask, not shift_mean),
            f"shift_mean is {shift_mean}: your result is the one for {not shift_mean}",
        ),
        (
            inside(v / std),
            "in your result the mean is not taken off before the division: take it off",
        ),
        (inside((mean - v) / std + back), "the sign is the other way round"),
    ]
    if len(kept) > 1:
        unbiased = kept.std(ddof=1)
        words = "you divide the variance by the number of places less one: divide by the number"
        slips.append((inside((v - mean) / unbiased + back), words))
    if v.ndim == 2 and mask.any(1).all() and len(v) > 1:
        rows = np.stack([white(r, m, shift_mean) for r, m in zip(v, mask, strict=True)])
        slips.append(
            (rows, "in your result each row is whitened alone: take one mean and one variance")
        )
    return [(w, h) for w, h in slips if np.isfinite(w).all() and not np.allclose(w, want)]


@exercise_check("whiten", points=2, title="mean 0 and variance 1")
def _(student, rng):
    for shape, mask in (
        ((3,), np.array([True, True, False])),
        ((4, 7), runs(7, *SPANS)),
        ((1, 6), runs(6, (1, 5))),
        ((2, 3, 4), rng.permutation(24).reshape(2, 3, 4) < 11),
        ((2, 3), np.ones((2, 3), bool)),
    ):
        values = (3 * normal(rng, *shape) + 2).astype(np.float32)
        tried = f"values of shape {shape}, {int(mask.sum())} places kept"
        with in_case(tried):
            got = student.whiten(values, mask)
        want = white(values, mask)
        recognise(got, want, [(w, f"{h} ({tried})") for w, h in white_slips(values, mask, True)])
        close(got, want, f"mean 0 and variance 1 over the kept places ({tried})")
        left_alone(student, values=values, mask=mask)


@exercise_check("whiten", points=1, title="without the shift, and few places")
def _(student, rng):
    mask = runs(7, *SPANS)
    values = (3 * normal(rng, 4, 7) + 2).astype(np.float32)
    got, want = student.whiten(values, mask, False), white(values, mask, False)
    recognise(got, want, white_slips(values, mask, False))
    close(got, want, "shift_mean=False: the variance becomes 1, the mean stays")
    one = np.array([[False, True, False]])
    for shift_mean, wanted in ((True, 0.0), (False, 5.0)):
        with in_case("a single kept place"):
            got = student.whiten(np.full((1, 3), 5.0, np.float32), one, shift_mean)
        close(got, one * wanted, f"a single kept 5, shift_mean={shift_mean}")
    got = student.whiten(np.full((2, 2), 0.5, np.float32), np.ones((2, 2), bool))
    close(got, np.zeros((2, 2)), "equal values become 0")
    high, full = np.append(np.zeros(30), 10.0).astype(np.float32), np.ones(31, bool)
    close(student.whiten(high, full), white(high, full), "thirty values of 0 and one of 10")
    far = (5000 + normal(rng, 3, 8)).astype(np.float32)
    full = np.ones((3, 8), bool)
    close(student.whiten(far, full), white(far, full), "values around 5000", atol=1e-2)
    small = np.array([1e-4, -1e-4])
    close(
        student.whiten(small, np.ones(2, bool)),
        white(small, np.ones(2, bool)),
        "a variance of 1e-8, and 1e-8 is added to it before the root",
    )


@exercise_check(
    "whiten", points=1, title="what stands outside, and what does not fit", is_core=False
)
def _(student, rng):
    mask = runs(7, *SPANS)
    values = normal(rng, 4, 7)
    close(student.whiten(values, mask), white(values, mask), "mean 0 and variance 1 over the mask")
    for value in (np.nan, np.inf, 1e30):
        odd = np.where(mask, values, value).astype(np.float32)
        with in_case(f"outside the mask the values are {value}"):
            got = student.whiten(odd, mask)
        close(got, white(values, mask), f"values of {value} outside the mask change nothing")
    double = values.astype(np.float64)
    close(student.whiten(double, mask), white(double, mask), "values in float64", atol=1e-10)
    for wrong, why in (
        (np.zeros((4, 7), bool), "a mask that keeps nothing"),
        (mask.astype(np.float32), "a mask of floats"),
        (mask.astype(np.int64), "a mask of whole numbers"),
        (mask[:, :6], "a mask of another shape"),
        (mask[:1], "a mask of one row for values of four"),
    ):
        refused(lambda m=wrong: student.whiten(values, m), why)


# AdaptiveKLController


def controller_of(student, kl_coef: float, target: float, horizon: float) -> Handle:
    """Return a learner's controller whose weight is what it was given."""
    made = student.make("AdaptiveKLController", kl_coef, target, horizon)
    same_weight(made, kl_coef, f"AdaptiveKLController({kl_coef}, {target}, {horizon}) begins there")
    return made


def same_weight(made: Handle, want: float, hint: str, slips: tuple = ()) -> None:
    """Reject a controller with another weight; a slip is named where its weight came."""
    got = made.attribute("kl_coef")
    got = got.item() if isinstance(got, np.ndarray) and got.ndim == 0 else got
    require(
        isinstance(got, int | float) and not isinstance(got, bool),
        f"`kl_coef` is a number, got {type(got).__name__} ({hint})",
    )
    recognise(got, want, [(w, f"{h} ({hint})") for w, h in slips], atol=1e-9)
    close(got, want, f"`kl_coef`: {hint}", atol=1e-9, rtol=1e-9)


@exercise_check("AdaptiveKLController", points=2, title="one update")
def _(student, rng):
    for kl_coef, target, horizon, kl, n in (
        (0.3, 4.0, 100, 4.4, 40),
        (0.3, 6.0, 1000, 5.4, 100),
        (2.0, 2.0, 64, 2.0, 64),
        (0.1, 4.0, 200, 40.0, 50),
        (0.1, 4.0, 200, 0.0, 50),
        (0.2, 1.0, 128, -3.0, 64),
    ):
        made = controller_of(student, kl_coef, target, horizon)
        made.update(kl, n)
        share, error = n / horizon, min(max(kl / target - 1, -0.2), 0.2)
        want = kl_coef * (1 + error * share)
        wild, other = kl / target - 1, min(max(kl - target, -0.2), 0.2)
        slips = [
            (kl_coef, "nothing has changed"),
            (kl_coef * (1 - error * share), "the sign is the other way round"),
            (
                kl_coef * (1 + wild * share),
                f"your error is not bounded {'above' if wild > 0 else 'below'}: bound it to "
                f"{0.2 if wild > 0 else -0.2}",
            ),
            (
                kl_coef * (1 + min(max(wild * share, -0.2), 0.2)),
                "the error is bounded, and not its product with n / horizon",
            ),
            (kl_coef * (1 + error), "n / horizon is missing"),
            (kl_coef * (1 + error * n), "the horizon is missing"),
            (kl_coef * (1 + error / horizon), "n is missing: it counts how many responses"),
            (kl_coef + error * share, "you add the change: it multiplies"),
            (kl_coef * (1 + other * share), "the error is kl / target - 1, not kl - target"),
            (kl_coef * error * share, "1 + is missing"),
        ]
        tried = f"{kl_coef} with target {target} and horizon {horizon}, after update({kl}, {n})"
        same_weight(made, want, tried, slips)


@exercise_check("AdaptiveKLController", points=1, title="many updates")
def _(student, rng):
    kl_coef = want = 0.5
    one, other = (controller_of(student, kl_coef, 3.0, 256) for _ in range(2))
    for step in range(12):
        near, n = step % 2, int(rng.integers(1, 257))  # every second time the error is not cut
        kl = float(rng.uniform(2.5, 3.5) if near else rng.uniform(0, 8))
        one.update(kl, n)
        want *= 1 + min(max(kl / 3.0 - 1, -0.2), 0.2) * n / 256
        same_weight(one, want, f"update number {step + 1}, each builds on the one before")
    same_weight(other, 0.5, "another controller, which was not updated, stays")
    for n in (0, 256):
        made = controller_of(student, 0.5, 3.0, 256)
        made.update(9.0, n)
        same_weight(made, 0.5 * (1 + 0.2 * n / 256), f"n = {n}, of a horizon of 256")


@exercise_check("AdaptiveKLController", points=1, title="what does not fit", is_core=False)
def _(student, rng):
    for place, name in enumerate(("kl_coef", "target", "horizon")):
        for value in (0.0, -1.0, float("nan"), float("inf")):
            given = [0.5, 3.0, 100.0]
            given[place] = value
            refused(
                lambda g=given: student.make("AdaptiveKLController", *g), f"a {name} of {value}"
            )
    for kl, n, why in (
        (float("nan"), 10, "a kl of NaN"),
        (float("inf"), 10, "a kl of infinity"),
        (float("-inf"), 10, "a kl of minus infinity"),
        (3.0, -1, "n = -1"),
        (3.0, 101, "n = 101 with a horizon of 100"),
        (4.0, -1, "n = -1 with a kl above its target"),
        (4.0, 101, "n = 101 with a horizon of 100 and a kl above its target"),
    ):
        made = controller_of(student, 0.5, 3.0, 100)
        refused(lambda m=made, k=kl, c=n: m.update(k, c), why)
        try:
            same_weight(made, 0.5, f"{why} was refused, so the weight is what it was")
        except LearnerError as error:
            raise LearnerError(f"{error}. The case: after {why} was refused") from None
