"""Quiz of unit 15: bubbles and memory, checkpointing, cut matrices, copies that drift, meshes."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_memory() -> str:
    """Return the option for what 1F1B changes against GPipe."""
    from utils.parallel.schedules import (
        bubble_fraction,
        most_alive,
        replay,
        schedule_1f1b,
        schedule_gpipe,
    )

    bubbles, held = [], []
    for schedule in (schedule_gpipe(4, 16), schedule_1f1b(4, 16)):
        bubbles.append(bubble_fraction(replay(schedule)))
        held.append(max(most_alive(order) for order in schedule))
    return "b" if bubbles[0] == bubbles[1] and held[1] < held[0] else "a"


def prove_more() -> str:
    """Return the option for eight stages in place of four, with the bubble as it was."""
    from utils.parallel.schedules import ideal_bubble

    for letter, m in (("a", 16), ("b", 24), ("c", 37)):
        if abs(ideal_bubble(8, m) - ideal_bubble(4, 16)) < 0.002:
            return letter
    return "none"


def prove_drift() -> str:
    """Return the option for norms whose gradients are not summed with sequence parallel."""
    import torch

    gains = [torch.ones(4), torch.ones(4)]
    gradients = [torch.tensor([1.0, 2, 3, 4]), torch.tensor([2.0, 1, 4, 3])]  # other tokens
    stepped = [gain - 0.1 * g for gain, g in zip(gains, gradients, strict=True)]
    return "c" if not torch.equal(*stepped) else "a"


def prove_bend() -> str:
    """Return the option for what may stand between a column and a row parallel layer."""
    import torch

    x, up = torch.tensor([[1.0, -2.0]]), torch.tensor([[1.0, 1.0], [2.0, 1.0]])
    whole = torch.relu(x @ up.T)
    by_outputs = torch.cat([torch.relu(x @ up[k : k + 1].T) for k in range(2)], dim=1)
    by_inputs = sum(torch.relu(x[:, k : k + 1] @ up[:, k : k + 1].T) for k in range(2))
    return "a" if torch.equal(whole, by_outputs) and not torch.equal(whole, by_inputs) else "b"


def prove_means() -> str:
    """Return the option for the mean of micro-batch means, of 100 and 4 targets."""
    means, counts = (2.0, 5.0), (100, 4)
    right = sum(a * b for a, b in zip(means, counts, strict=True)) / sum(counts)
    return "b" if sum(means) / 2 > right else "a"


def prove_recompute() -> str:
    """Return the option for the work of a step with every block checkpointed."""
    forward, backward = 1, 2
    more = (2 * forward + backward) / (forward + backward) - 1
    return {1.0: "a", 0.5: "b"}.get(round(more, 2), "c" if 0.3 < more < 0.35 else "none")


def prove_place() -> str:
    """Return the option for the ranks that share a matrix in a mesh of 4 x 2 x 8."""
    from utils.parallel.mesh import group_members

    first = group_members((4, 2, 8), "tp")[0]
    return "a" if first == list(range(8)) else "b"


def prove_vocabulary() -> str:
    """Return the option for what ranks send for the loss of a position."""
    numbers = {"a": 128_256, "b": 3, "c": 0}
    return min((k for k in numbers if numbers[k]), key=numbers.get)


QUIZ = [
    Question(
        "memory",
        "Four stages, sixteen micro-batches. You change GPipe for 1F1B. What gets better?",
        {
            "a": (
                "the bubble: no stage waits for all forwards to end",
                "The corners are as large as before: the last stage still waits for p - 1 "
                "forwards and p - 1 backwards.",
            ),
            "b": (
                "memory: a stage holds at most 4 micro-batches, not 16",
                "So the number of micro-batches may grow, and that lowers the bubble.",
            ),
            "c": (
                "traffic: each stage sends less",
                "Every activation and every gradient crosses as before, in another order.",
            ),
        },
        "b",
        prove_memory,
    ),
    Question(
        "more",
        "A pipeline of 4 stages runs 16 micro-batches. You go to 8 stages. How many micro-batches "
        "keep the bubble where it was?",
        {
            "a": ("16, as before", "The bubble goes from 3/19 to 7/23."),
            "b": ("24", "7/31 is still larger than 3/19."),
            "c": ("about 37", "7 / (m + 7) = 3 / 19: m grows with p - 1, from 3 to 7."),
        },
        "c",
        prove_more,
    ),
    Question(
        "drift",
        "Tensor parallel with sequence parallel. Somebody forgot to sum the gradients of the norms "
        "over the ranks. What do you see?",
        {
            "a": (
                "nothing is wrong: every rank computes the same gradient",
                "Without sequence parallel that would be so. Here each has seen its own tokens.",
            ),
            "b": (
                "the loss turns into NaN within a few steps",
                "The steps are plausible ones, each by a part of the gradient.",
            ),
            "c": (
                "a loss that looks as usual, and gains that differ from rank to rank",
                "The lecture's Figure 7. Only a comparison of the copies shows it.",
            ),
        },
        "c",
        prove_drift,
    ),
    Question(
        "bend",
        "Why does a feed-forward part begin with the column parallel layer?",
        {
            "a": (
                "each rank then has whole inner numbers, which the bend between the layers needs",
                "Summands would have to be added up before the bend, with one more all-reduce.",
            ),
            "b": (
                "the first matrix has more columns than rows",
                "The other order would fit as well, and be wrong or dearer.",
            ),
            "c": (
                "row parallel layers have no gradient for their input",
                "They have: each rank gets that of its own part.",
            ),
        },
        "a",
        prove_bend,
    ),
    Question(
        "means",
        "Two micro-batches: 100 targets with a mean loss of 2, and 4 with a mean loss of 5. You "
        "report the mean of the two means. It is ...",
        {
            "a": ("the loss of the batch", "That is 2.12: 4 targets are not as many as 100."),
            "b": (
                "too high, and the gradient weighs each of the 4 targets like 25 others",
                "Sum over targets, and divide once.",
            ),
            "c": ("too low", "The small micro-batch is the one with the high loss."),
        },
        "b",
        prove_means,
    ),
    Question(
        "recompute",
        "Every block is checkpointed. By how much does the work of a step grow?",
        {
            "a": ("it doubles", "Only the forward is done twice, and a backward costs two."),
            "b": ("by a half", "A second forward is one unit, beside three."),
            "c": (
                "by a third",
                "One unit of forward more, beside one forward and a backward of two.",
            ),
        },
        "c",
        prove_recompute,
    ),
    Question(
        "place",
        "A mesh of 4 x 2 x 8 (pipeline, data, tensor) on nodes of 8 GPUs. Which ranks share a "
        "matrix?",
        {
            "a": (
                "0 to 7: a node",
                "Tensor parallel sends the most, at moments that nothing hides.",
            ),
            "b": ("0, 8, 16, ...: one of each node", "Each all-reduce would cross the slow links."),
            "c": ("all 64", "Then there would be no stages and no replicas."),
        },
        "a",
        prove_place,
    ),
    Question(
        "vocabulary",
        "The logits of 128,256 ids are cut over 8 ranks. What must travel for the loss of one "
        "position?",
        {
            "a": ("all its logits", "4 GB for 8,192 positions, for one number each."),
            "b": (
                "three numbers: a maximum, a sum and the target's logit",
                "The maximum keeps exp finite; sum and logit make the loss.",
            ),
            "c": (
                "nothing: each rank has a loss of its own",
                "A softmax over a part of the vocabulary is another model.",
            ),
        },
        "b",
        prove_vocabulary,
    ),
]
