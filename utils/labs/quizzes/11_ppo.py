"""Quiz of unit 11: where the reward goes, clipping, whitening, estimators, hacking."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_padding() -> str:
    """Return the option for what is left of a reward that stands on the first padding."""
    import torch

    from utils.align.advantages import gae

    mask = torch.tensor([[True, True, False]])
    rewards = torch.tensor([[0.0, 0.0, 1.0]])  # behind the last token of the response
    advantages, _ = gae(rewards, torch.zeros(1, 3), mask)
    return "b" if not advantages.any() else "a"


def prove_clip() -> str:
    """Return the option for a token with a ratio of 0.5 and a good advantage."""
    import torch

    from utils.align.policy_losses import ppo_clip_loss

    new = torch.tensor([[0.5]]).log().requires_grad_()
    mask = torch.tensor([[True]])
    loss = ppo_clip_loss(new, torch.zeros(1, 1), torch.ones(1, 1), mask)
    (gradient,) = torch.autograd.grad(loss, new)
    return "a" if gradient.item() < 0 else "b"


def prove_whiten() -> str:
    """Return the option for two minibatches whitened apart, one good and one poor."""
    import torch

    from utils.align.advantages import whiten

    good, poor = torch.tensor([2.0, 3.0]), torch.tensor([-3.0, -2.0])
    mask = torch.ones(2, dtype=torch.bool)
    apart = [whiten(part, mask) for part in (good, poor)]
    return "c" if torch.allclose(*apart) else "a"


def prove_estimator() -> str:
    """Return the option for the estimator whose single values fall below zero."""
    import torch

    from utils.align.kl import k1, k2, k3

    p, q = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log()
    below = [name for name, f in (("a", k1), ("b", k2), ("c", k3)) if f(p, q).min() < 0]
    (letter,) = below
    return letter


def prove_lam() -> str:
    """Return the option for how much of a final reward reaches a token 60 places before it."""
    import torch

    from utils.align.advantages import gae

    rewards, mask = torch.zeros(1, 61), torch.ones(1, 61, dtype=torch.bool)
    rewards[0, -1] = 1.0
    first = gae(rewards, torch.zeros(1, 61), mask, 1.0, 0.95)[0][0, 0].item()
    return "b" if first < 0.1 else "a"


def prove_thermostat() -> str:
    """Return the option for one update at twice the target, with a whole horizon of responses."""
    from utils.align.kl import AdaptiveKLController

    controller = AdaptiveKLController(0.1, target=2.0, horizon=64)
    controller.update(4.0, 64)
    return {0.2: "a", 0.12: "b", 0.05: "c"}[round(controller.kl_coef, 3)]


def prove_cut() -> str:
    """Return the option for a response that is cut and was scored 2."""
    import torch

    from utils.align.advantages import cut_rewards

    paid = cut_rewards(torch.tensor([2.0]), torch.tensor([False]), -1.0).item()
    return {2.0: "a", -1.0: "b", 1.0: "c"}[paid]


def prove_explained() -> str:
    """Return the option for a value head that says the same everywhere."""
    import torch

    from utils.align.advantages import explained_variance

    returns, mask = torch.tensor([1.0, 2.0, 3.0]), torch.ones(3, dtype=torch.bool)
    found = explained_variance(torch.full((3,), 2.0), returns, mask)
    return "b" if abs(found) < 1e-6 else "a"


QUIZ = [
    Question(
        "padding",
        "The reward of each response stands one place behind its last token, on padding. The loss "
        "is masked. What does the run look like?",
        {
            "a": (
                "it learns more slowly, since the reward arrives one step late",
                "It never arrives: behind the response the walk of GAE holds zeros.",
            ),
            "b": (
                "nothing fails, and the policy learns nothing but to stay near the reference",
                "The advantages know only the price of the divergence. The logged reward looks "
                "as it should, and stays where it is.",
            ),
            "c": (
                "it stops with an error, since the shapes don't fit",
                "The place is inside the tensor for every row but the longest.",
            ),
        },
        "b",
        prove_padding,
    ),
    Question(
        "clip",
        "A token has a positive advantage, and by other tokens' steps its ratio has fallen to 0.5. "
        "clip_eps is 0.2. Does it still learn?",
        {
            "a": (
                "yes: the clip stops what has gone far its way, never the way back",
                "The smaller one of 0.5 A and 0.8 A is the unclipped one, which has a gradient.",
            ),
            "b": (
                "no: its ratio is outside 0.8 to 1.2",
                "That holds for a ratio above 1.2. Below, the minimum takes the unclipped one.",
            ),
        },
        "a",
        prove_clip,
    ),
    Question(
        "whiten",
        "Advantages are whitened inside each minibatch. One happens to hold good responses alone, "
        "another poor ones alone. What are they told?",
        {
            "a": (
                "the good ones are pushed up, the poor ones down",
                "That is what whitening over the whole batch does.",
            ),
            "b": (
                "nothing: without spread the advantages are zero",
                "There is spread inside each, and it is blown up to one.",
            ),
            "c": (
                "the same: in each of them half of it goes up and half goes down",
                "Each mean becomes zero, so what set the two apart is gone.",
            ),
        },
        "c",
        prove_whiten,
    ),
    Question(
        "estimator",
        "Your dashboard shows the divergence to the reference, and single values are below zero. "
        "Which estimator does it use?",
        {
            "a": (
                "k1, the difference of the log-probabilities",
                "Single values and means of few may be negative. A mean over many that stays "
                "negative says that the draws are not the policy's.",
            ),
            "b": ("k2, half the squared difference", "A square is never negative."),
            "c": ("k3, exp(-x) - 1 + x", "It is a distance from a tangent, and never negative."),
        },
        "a",
        prove_estimator,
    ),
    Question(
        "lam",
        "The value head says 0 everywhere, lam is 0.95 and the reward stands at the end. How much "
        "of it reaches a token 60 places before?",
        {
            "a": (
                "all of it, since the discount is 1",
                "With lam below 1 each step trusts the next value, which says 0.",
            ),
            "b": (
                "less than a twentieth",
                "0.95 to the power of 60 is 0.046. The value head has to carry the rest.",
            ),
        },
        "b",
        prove_lam,
    ),
    Question(
        "thermostat",
        "The target is 2 nats, the divergence 4. After a whole horizon of responses, what has "
        "become of a kl_coef of 0.1?",
        {
            "a": ("0.2: twice the divergence, twice the weight", "The error is bounded to 0.2."),
            "b": ("0.12: a fifth more, and no further", "The error of 1 is bounded to 0.2."),
            "c": ("0.05: it gives way", "Above the target the weight rises."),
        },
        "b",
        prove_thermostat,
    ),
    Question(
        "cut",
        "A response was cut at the limit of tokens, and the reward model gives its half sentence "
        "a 2. What does the run of this unit pay for it?",
        {
            "a": (
                "2: the reward model knows best",
                "It was trained on answers that end, and says nothing about half ones.",
            ),
            "b": (
                "-1, whatever it was scored",
                "A fixed poor reward for a response without an end: to end is worth learning.",
            ),
            "c": (
                "1: half, since it is half an answer",
                "There is no such rule, and a policy would learn to write twice as much.",
            ),
        },
        "b",
        prove_cut,
    ),
    Question(
        "explained",
        "The value head's explained variance is 0 from beginning to end. What does that say?",
        {
            "a": (
                "the values are all exactly right, so there is nothing left to explain",
                "That would be 1.",
            ),
            "b": (
                "it knows no more than the mean: advantages are returns with a constant off",
                "Too small a rate, features without the information, or rewards that don't vary.",
            ),
        },
        "b",
        prove_explained,
    ),
]
