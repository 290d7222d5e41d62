"""Quiz of unit 12: implied rewards, displacement, IPO, KTO, groups, lengths, checkers."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_implied() -> str:
    """Return the option for what a constant added to all rewards of a prompt changes."""
    import torch

    reference = torch.tensor([0.5, 0.3, 0.2])

    def best(reward: torch.Tensor) -> torch.Tensor:
        weights = reference * reward.exp()
        return weights / weights.sum()

    reward = torch.tensor([0.0, 1.0, 3.0])
    return "b" if torch.allclose(best(reward), best(reward + 7.0)) else "a"


def prove_dashboard() -> str:
    """Return the option for a loss that is the same where both log-probabilities fell."""
    import torch

    from utils.align.preference_losses import dpo_loss

    ref = torch.tensor([-10.0])
    healthy = dpo_loss(ref, ref - 20, ref, ref)
    displaced = dpo_loss(ref - 60, ref - 80, ref, ref)
    return "c" if torch.equal(healthy, displaced) else "a"


def prove_start() -> str:
    """Return the option for DPO's loss before the first step."""
    import math

    import torch

    from utils.align.preference_losses import dpo_loss

    same = torch.tensor([-3.0, -40.0])
    loss = dpo_loss(same, same - 5, same, same - 5).item()
    return "b" if abs(loss - math.log(2)) < 1e-6 else "a" if abs(loss) < 1e-6 else "c"


def prove_kto() -> str:
    """Return the option for which of the losses can be called without pairs."""
    from inspect import signature

    from utils.align.preference_losses import dpo_loss, ipo_loss, kto_loss

    options = {"a": dpo_loss, "b": ipo_loss, "c": kto_loss}
    (letter,) = (k for k, f in options.items() if "is_desirable" in signature(f).parameters)
    return letter


def prove_zero() -> str:
    """Return the option for a loss of 0 at the first update of an iteration."""
    import torch

    from utils.align.group_losses import group_advantages, grpo_loss

    old = torch.full((2, 3), -1.0)
    logprobs = old.clone().requires_grad_()
    advantages = group_advantages(torch.tensor([1.0, 0.0]), 2)
    loss = grpo_loss(logprobs, old, advantages, torch.ones(2, 3, dtype=torch.bool))
    loss.backward()
    return "a" if abs(loss.item()) < 1e-6 and logprobs.grad.abs().min() > 0 else "b"


def prove_flat() -> str:
    """Return the option for a group whose eight answers are all wrong."""
    import torch

    from utils.align.group_losses import group_advantages

    return "b" if not group_advantages(torch.zeros(8), 8).any() else "a"


def prove_lengths() -> str:
    """Return the option for which normalisation spares tokens of long wrong answers."""
    import torch

    from utils.align.group_losses import grpo_loss, row_lengths

    mask = torch.arange(8) < torch.tensor([[2], [8]])
    options = {"sequence": "a", "batch": "b", "constant": "c"}
    shares = {}
    for how in options:
        x = torch.full((2, 8), -1.0, requires_grad=True)
        lengths = row_lengths(how, mask, max_new_tokens=16)
        loss = grpo_loss(x, x.detach(), torch.tensor([-1.0, -1.0]), mask, lengths)
        loss.backward()
        shares[how] = (x.grad[1, 0] / x.grad[0, 0]).item()
    return options[min(shares, key=shares.get)]


def prove_checker() -> str:
    """Return the option for a response that lists all candidates."""
    from utils.align.verify import verify_answer

    listed = " ".join(str(n) for n in range(100))
    return "b" if "41" in listed and not verify_answer(listed, "41") else "a"


QUIZ = [
    Question(
        "implied",
        "Somebody adds 7 to the reward of every answer to one prompt. What happens to the best "
        "policy for that prompt?",
        {
            "a": (
                "all answers become likelier",
                "Probabilities add up to 1: what multiplies all of them cancels.",
            ),
            "b": (
                "nothing",
                "The factor e^(7/beta) is in every term of Z, too. So preferences, which fix "
                "rewards up to a constant for each prompt, are enough.",
            ),
        },
        "b",
        prove_implied,
    ),
    Question(
        "start",
        "What is DPO's loss before the first step?",
        {
            "a": (
                "0, since policy and reference agree",
                "The margin is 0, and the loss is minus the logarithm of sigmoid(0).",
            ),
            "b": (
                "log 2, whatever the pairs are",
                "Policy and reference are one model, so every margin is 0. Another number at the "
                "first step means that the reference is not the model that you train.",
            ),
            "c": (
                "it depends on how well the model tells the pairs apart",
                "Only differences from the reference count, and there are none yet.",
            ),
        },
        "b",
        prove_start,
    ),
    Question(
        "dashboard",
        "DPO's loss is 0.1 and all pairs are told apart. Which number says whether the chosen "
        "answers have become unlikely?",
        {
            "a": (
                "the margin",
                "It is a difference: both may have fallen, one further than the other.",
            ),
            "b": (
                "the accuracy on held-out pairs",
                "That is a difference, too, on other pairs.",
            ),
            "c": (
                "the chosen answers' log-probability, less the reference's",
                "It is the only one of the three that is no difference of two answers.",
            ),
        },
        "c",
        prove_dashboard,
    ),
    Question(
        "kto",
        "Users press thumb up or thumb down under single answers. Which loss can use that as it "
        "comes in?",
        {
            "a": ("DPO", "It needs two answers to one prompt."),
            "b": ("IPO", "It needs two answers to one prompt."),
            "c": (
                "KTO",
                "It takes single answers with a mark, and a reference point in place of the other "
                "answer.",
            ),
        },
        "c",
        prove_kto,
    ),
    Question(
        "zero",
        "The loss of the first update of every GRPO iteration is 0.0000. What do you do?",
        {
            "a": (
                "nothing: that is as it should be",
                "Ratios are 1 and advantages of a group add up to 0. The gradient is not 0: look "
                "at its norm, and at the reward.",
            ),
            "b": (
                "look for the error: nothing is learned",
                "The value is 0, the gradient is not.",
            ),
            "c": (
                "raise the learning rate",
                "The size of this loss says nothing about the size of the step.",
            ),
        },
        "a",
        prove_zero,
    ),
    Question(
        "flat",
        "A prompt is so hard that all eight answers are wrong, reward 0. What does GRPO learn "
        "from it?",
        {
            "a": (
                "to make all eight less likely",
                "That would need a baseline from elsewhere. Each is as good as its group.",
            ),
            "b": (
                "nothing",
                "Each advantage is 0. Such prompts cost as much as others: filter them, or draw "
                "more answers.",
            ),
        },
        "b",
        prove_flat,
    ),
    Question(
        "lengths",
        "Wrong answers grow longer and longer in training. Which normalisation do you suspect?",
        {
            "a": (
                "each row divided by its own length",
                "A token of a wrong answer costs less the longer the answer is.",
            ),
            "b": (
                "the mean length of the batch",
                "There all tokens count alike, in short and in long answers.",
            ),
            "c": (
                "a constant",
                "There all tokens count alike, in every batch.",
            ),
        },
        "a",
        prove_lengths,
    ),
    Question(
        "checker",
        'The reward is 1 where the answer contains the right number, "41". What will pay?',
        {
            "a": (
                "computing 41",
                "It pays, and so does something easier.",
            ),
            "b": (
                "writing many numbers",
                "One of them will be 41. A checker of the last number gives one guess.",
            ),
        },
        "b",
        prove_checker,
    ),
]
