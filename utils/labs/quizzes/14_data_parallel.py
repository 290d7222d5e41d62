"""Quiz of unit 14: the ring, averages, overlap, accumulation, clipping, stages, data, starts."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_ring() -> str:
    """Return the option for what a rank sends with 512 ranks instead of 8."""
    times = [2 * (n - 1) / n for n in (8, 512)]
    return "b" if times[1] < 1.2 * times[0] else "a"


def prove_means() -> str:
    """Return the option for the weight of a token where counts are 30 and 3."""
    weights = [1 / 2 / count for count in (30, 3)]
    return "c" if round(weights[1] / weights[0]) == 10 else "a"


def prove_stages() -> str:
    """Return the option for what each stage sends, in parts of an all-reduce."""
    gather = reduce = 0.5  # an all-reduce is one of each
    stage_2, stage_3 = reduce + gather, reduce + 2 * gather
    return "a" if (stage_2, stage_3) == (1.0, 1.5) else "b"


def prove_bucket() -> str:
    """Return the option for one bucket that holds the whole model."""
    from utils.parallel.data_parallel import sent_before_the_end

    share = sent_before_the_end([("gradient", 1), ("gradient", 1), ("send", 2)])
    return "b" if share == 0 else "a"


def prove_no_sync() -> str:
    """Return the option for sums that are averaged after each micro-batch, or once."""
    import torch

    gradients = torch.arange(8.0).view(2, 4)  # 2 ranks, 4 micro-batches
    each, once = gradients.mean(0).sum(), gradients.sum(1).mean()
    return "c" if torch.equal(each, once) else "a"


def prove_clip() -> str:
    """Return the option for two parts that are clipped before they are averaged."""
    import torch

    parts = torch.tensor([[8.0, 0.0], [0.0, 1.0]])
    apart = (parts / parts.norm(dim=1, keepdim=True).clamp(min=1)).mean(0)
    whole = parts.mean(0)
    same = torch.allclose(apart / apart.norm(), whole / whole.norm())
    return "a" if same else "b"


def prove_unseen() -> str:
    """Return the option for rows that nobody draws where eight ranks shuffle by themselves."""
    unseen = (1 - 1 / 8) ** 8
    return "c" if 0.3 < unseen < 0.4 else "a"


def prove_start() -> str:
    """Return the option for ranks with different weights and the same gradients."""
    import torch

    first, second, gradient = torch.ones(2), torch.zeros(2), torch.tensor([1.0, 2.0])
    apart = (first - gradient) - (second - gradient)
    return "b" if torch.equal(apart, first - second) else "a"


QUIZ = [
    Question(
        "ring",
        "You go from 8 ranks to 512, with the same model. What happens to the bytes that a rank "
        "sends in a ring all-reduce?",
        {
            "a": (
                "64 times as many: there are 64 times as many ranks to tell",
                "So it would be for a rank that sums for all.",
            ),
            "b": (
                "hardly more: from 1.75 to just under 2 times the gradient",
                "2 (n - 1) / n. The messages get smaller, and there are 64 times as many.",
            ),
            "c": (
                "fewer: each part is smaller",
                "Each part is smaller, and there are as many more rounds.",
            ),
        },
        "b",
        prove_ring,
    ),
    Question(
        "means",
        "Rank 0 has 30 response tokens, rank 1 has 3. Each takes the mean loss over its own, and "
        "DDP averages the gradients. What does a token of rank 1 count?",
        {
            "a": ("as much as one of rank 0", "That holds for equal counts alone."),
            "b": ("a tenth of one of rank 0", "It shares its rank's half with two others only."),
            "c": (
                "ten times one of rank 0",
                "Each rank has half of the weight, shared by 30 tokens there and 3 here.",
            ),
        },
        "c",
        prove_means,
    ),
    Question(
        "stages",
        "A run with an all-reduce of gradients goes to ZeRO-2, then to ZeRO-3 that gathers twice. "
        "What does it send, with collectives that cost what they should?",
        {
            "a": (
                "as much as before, then half as much more",
                "An all-reduce is a reduce-scatter and an all-gather. Stage 3 gathers once more.",
            ),
            "b": (
                "half as much, since gradients are in shards, then as much as before",
                "The new weights have to be gathered: the other half is still there.",
            ),
            "c": (
                "n times as much: shards have to come from everywhere",
                "A rank receives n - 1 shards of one n-th each.",
            ),
        },
        "a",
        prove_stages,
    ),
    Question(
        "bucket",
        "Messages are dear, so you set the bucket size above the model's. What have you lost?",
        {
            "a": (
                "nothing: one message is the best number of messages",
                "It is the fewest, and it can't start before the last gradient is there.",
            ),
            "b": (
                "the overlap: sending starts when the backward pass is over",
                "The network waits for the backward pass, and then the devices for the network.",
            ),
        },
        "b",
        prove_bucket,
    ),
    Question(
        "no_sync",
        "Four micro-batches a step, and nobody has called no_sync. What is wrong?",
        {
            "a": (
                "the gradient is four times too large",
                "Sums of parts: adding up and averaging can be done in either order.",
            ),
            "b": (
                "the ranks have different weights",
                "After each micro-batch all ranks have the same sum.",
            ),
            "c": (
                "nothing but the traffic: four all-reduces where one would do",
                "Adding up and averaging go in either order. The other mistake is worse: no_sync "
                "for the last one too, and ranks never meet.",
            ),
        },
        "c",
        prove_no_sync,
    ),
    Question(
        "clip",
        "Each rank clips its own gradient to norm 1, then they are averaged. How does that differ "
        "from clipping the average?",
        {
            "a": (
                "by a factor: the direction is the same",
                "Long parts are shortened and short ones are not, so it turns.",
            ),
            "b": (
                "in direction and in length, by more the more the ranks' norms differ",
                "A rank with an unusual batch loses its voice.",
            ),
        },
        "b",
        prove_clip,
    ),
    Question(
        "unseen",
        "Eight ranks shuffle the whole data set, each with its own seed, and read an eighth of an "
        "epoch. How much has nobody read?",
        {
            "a": (
                "nothing: eight eighths are a whole",
                "They would be a whole if they were of one order.",
            ),
            "b": ("an eighth", "Each rank's eighth is drawn without a look at the others."),
            "c": (
                "about a third, and other rows were read twice and more",
                "(1 - 1/8) to the power of 8 is 0.34.",
            ),
        },
        "c",
        prove_unseen,
    ),
    Question(
        "start",
        "Ranks begin with different weights. From then on all apply the same averaged gradient. "
        "Do they come together?",
        {
            "a": (
                "yes, as the same gradient pulls all of them to the same place",
                "The same step is added to each: the difference stays what it was.",
            ),
            "b": (
                "no: the same steps from different places end in different places",
                "That is why rank 0's weights are broadcast first.",
            ),
        },
        "b",
        prove_start,
    ),
]
