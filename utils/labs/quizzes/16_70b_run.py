"""Quiz of unit 16: bytes, links, bubbles, utilisation, failures and money of a large run."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_states() -> str:
    """Return the option for what ZeRO stage 1 over many ranks leaves of 16 bytes."""
    from utils.parallel.planner.memory import memory_per_gpu

    found = memory_per_gpu(1e6, 1, 1, 1, 1, 1, dp=1000, zero_stage=1)
    states = sum(found[name] for name in ("weights", "gradients", "optimizer")) / 1e6
    return {0: "a", 4: "b", 12: "c"}[round(states)]


def prove_sharded() -> str:
    """Return the option for what eight tensor-parallel ranks leave of a layer's activations."""
    from utils.parallel.planner.memory import memory_per_gpu

    whole, part = (memory_per_gpu(0, 1, 64, 64, 1, 1, tp=tp)["activations"] for tp in (1, 8))
    share = part / whole
    return "a" if share < 0.2 else "b" if share < 0.5 else "c"


def prove_bubble() -> str:
    """Return the option for the bubble of 8 stages with 8 micro-batches, of the whole step."""
    from utils.parallel.planner.time import step_time

    rates = dict.fromkeys(
        ("flops_per_second", "memory_per_second", "nvlink_per_second", "network_per_second"), 1.0
    )
    found = step_time(1.0, 0, 0, 0, 0, 8, pp=8, **rates)
    share = found["bubble"] / found["total"]
    return {0.12: "a", 0.47: "b", 0.88: "c"}[round(share, 2)]


def prove_utilisation() -> str:
    """Return the option for what full recompute does to MFU and HFU at the same speed."""
    from utils.parallel.planner.models import find_model
    from utils.parallel.planner.time import utilisation

    model = find_model("llama3-70b")
    none, full = (utilisation(model, 8192, 800, 1e15, kind) for kind in ("none", "full"))
    assert none[0] == full[0]
    return "c" if full[1] > full[0] else "a"


def prove_inside() -> str:
    """Return the option for the first reason against 16 tensor-parallel ranks on nodes of 8."""
    from utils.parallel.planner.layout import choose_layout

    one = {"tp": 16, "pp": 1, "dp": 4, "micro_batch": 1, "bytes": 1.0, "seconds": 1.0}
    room = dict(n_gpus=64, gpus_per_node=8, n_heads=64, n_layers=80, batch=64, bytes_limit=80.0)
    _, (reason,) = choose_layout([one], **room)
    return {"node": "b", "heads": "a", "memory": "c"}[reason]


def prove_interval() -> str:
    """Return the option for what four times the GPUs do to the interval."""
    from utils.parallel.planner.failures import checkpoint_interval

    ratio = checkpoint_interval(10, 4e4, "young") / checkpoint_interval(10, 1e4, "young")
    return {4: "a", 2: "b", 1: "c"}[round(ratio)]


def prove_twice() -> str:
    """Return the option for the price of an interval that is twice too long."""
    from utils.parallel.planner.failures import checkpoint_interval, goodput

    best = checkpoint_interval(40, 11_000)
    lost = goodput(best, 40, 11_000, 600) - goodput(2 * best, 40, 11_000, 600)
    return "a" if lost < 0.05 else "b" if lost < 0.3 else "c"


def prove_bill() -> str:
    """Return the option for what a goodput of one half does to the bill."""
    from utils.parallel.planner.cost import run_cost

    named = dict.fromkeys(("usd_per_gpu_hour", "watts_per_gpu", "pue", "grams_per_kwh"), (1.0, 1.0))
    whole, half = (run_cost(1e9, 1e3, 2, goodput=g, **named)["usd"][0] for g in (1.0, 0.5))
    return {2: "c", 1: "a"}[round(half / whole)]


QUIZ = [
    Question(
        "states",
        "Weights, gradients and optimizer of a parameter take 2 + 2 + 12 bytes. What does ZeRO "
        "stage 1 leave of the 16 on each of very many ranks?",
        {
            "a": ("next to nothing", "That is stage 3: weights and gradients are shared, too."),
            "b": ("4 bytes", "The 12 of the optimizer are shared; 2 + 2 stay whole."),
            "c": ("12 bytes", "The optimizer's 12 bytes are what is shared: 2 + 2 stay whole."),
        },
        "b",
        prove_states,
    ),
    Question(
        "sharded",
        "Eight tensor-parallel ranks without sequence parallelism: what is left of a GPT layer's "
        "activations on each?",
        {
            "a": ("an eighth", "Norms, residuals and masks, 10 of 34 bytes, stay whole."),
            "b": ("more than a third, less than half", "(10 + 24 / 8) of 34 bytes."),
            "c": ("all of them", "Attention and the feed-forward part are split."),
        },
        "b",
        prove_sharded,
    ),
    Question(
        "bubble",
        "A pipeline of 8 stages, a step of 8 micro-batches, one chunk a stage. Which share of the "
        "step does a stage wait?",
        {
            "a": ("an eighth", "It would take many more micro-batches than stages."),
            "b": ("nearly half", "7 slots of waiting beside 8 of work."),
            "c": ("seven eighths", "That is the waiting over the work, 7 / 8, not over the step."),
        },
        "b",
        prove_bubble,
    ),
    Question(
        "utilisation",
        "Two runs have the same tokens per second; one recomputes everything, the other nothing. "
        "What do their reports say?",
        {
            "a": ("the same MFU and the same HFU", "The first did a third more operations."),
            "b": (
                "the first has a higher MFU",
                "MFU counts what the model needs: no progress, no credit.",
            ),
            "c": (
                "the same MFU, and the first a higher HFU",
                "HFU counts what was done, MFU what the model needs.",
            ),
        },
        "c",
        prove_utilisation,
    ),
    Question(
        "inside",
        "64 GPUs in nodes of 8, a model of 64 heads. Why is a layout with 16 tensor-parallel ranks "
        "refused?",
        {
            "a": ("64 heads do not divide by 16", "They do: four for each."),
            "b": (
                "its all-reduces cross nodes",
                "Several in every layer of every micro-batch, over a link nine times slower.",
            ),
            "c": ("it does not fit", "More ranks need less memory each."),
        },
        "b",
        prove_inside,
    ),
    Question(
        "interval",
        "A job grows to four times the GPUs; saving takes as long as before. What becomes of the "
        "best interval between checkpoints?",
        {
            "a": ("a quarter", "Failures come four times as often, and the interval is a root."),
            "b": ("half", "The root of a quarter."),
            "c": ("it stays", "It depends on the time between failures."),
        },
        "b",
        prove_interval,
    ),
    Question(
        "twice",
        "Failures come every three hours, saving takes 40 s. You save half as often as would be "
        "best. What share of the time does it cost?",
        {
            "a": ("less than 5 points", "Around the best interval the loss is flat."),
            "b": ("10 to 30 points", "The loss is flat around its least value."),
            "c": ("half", "Not even nearly: a third interval lost at each failure is minutes."),
        },
        "a",
        prove_twice,
    ),
    Question(
        "bill",
        "Only half of the time is kept. What happens to the bill?",
        {
            "a": ("nothing: lost work is not billed", "Every hour is, kept or not."),
            "b": ("half as much", "The GPUs run longer, not shorter."),
            "c": ("twice as much", "The run takes twice as long, and so do money and energy."),
        },
        "c",
        prove_bill,
    ),
]
