"""Checks of lab 16: memory, time, layouts, checkpoints, goodput and money of a large run.

Oracles: Korthikanti's formula and ZeRO's bytes worked out term by term, layouts refused by a table,
the loss of time minimised by search, failures drawn by chance, prices by hand.
"""

from __future__ import annotations

import math

import numpy as np

from utils.labs.checking import (
    Check,
    apart,
    asked,
    brief,
    close,
    collector,
    in_case,
    not_the_mistake,
    recognise,
    refused,
    require,
    resembles,
    same,
    sole,
)
from utils.labs.student import describe_call

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

HINTS = {
    "memory_per_gpu": (
        "Two kinds of bytes: those of the parameters, which ZeRO divides, and those of the "
        "activations, which recompute saves. Work out each term by itself and add at the end.",
        "By hand: 1000 parameters, dp 4, stage 2. Which of 2, 2 and 12 bytes are divided by 4? "
        "Then one layer: 4 tokens, width 8, replicated 10, sharded 24, tp 2: how many bytes, with "
        "and without sequence parallelism?",
        "Refuse what the docstring refuses. weights 2 * n_params, divided by dp in stage 3; "
        "gradients gradient_bytes * n_params, divided from stage 2 on; optimizer 12 * n_params, "
        "divided from stage 1 on. elements = seq_len * micro_batch * d_model; split = tp if "
        "sequence_parallel else 1; layer = elements * (replicated / split + sharded / tp); kept = "
        "in_flight * n_layers. none: kept * (layer + scores). selective: kept * layer + scores. "
        "full: kept * 2 * elements / split + layer + scores. total is the sum of the four.",
    ),
    "step_time": (
        "Time is work over rate, for each resource by itself. What one micro-batch needs is "
        "multiplied by the number of micro-batches; what comes once a step is not.",
        "By hand: 6 TFLOP at 3 TFLOP/s, 4 micro-batches, two stages. How long does a stage work? "
        "How many of its micro-batches' times does it wait while the pipeline fills and drains? "
        "And with two chunks a stage?",
        "Refuse what the docstring refuses. one = flops / flops_per_second + moved_bytes / "
        "memory_per_second + fixed_seconds; compute = n_micro * one; tensor = n_micro * tp_bytes / "
        "nvlink_per_second; bubble = (compute + tensor) * (pp - 1) / (vp * n_micro); pipeline = "
        "n_micro * pp_bytes / network_per_second; data = max(0.0, dp_bytes / network_per_second - "
        "overlap * compute). total is the sum of the five.",
    ),
    "choose_layout": (
        "Go through the candidates one by one and give each the first reason that holds, or none. "
        "Then look at those without a reason alone.",
        "By hand: 8 GPUs, nodes of 4, 4 heads, 6 layers, a batch of 8. What is said against tp 8, "
        "pp 1, dp 1? Against tp 2, pp 4, dp 1: do 6 layers divide by 4, do 8 (embedding and head "
        "count)? Against tp 1, pp 2, dp 4, micro_batch 2?",
        "Refuse n_gpus > gpus_per_node with n_gpus % gpus_per_node. For each candidate test in "
        "order: tp * pp * dp != n_gpus 'world'; tp > gpus_per_node 'node'; n_heads % tp 'heads'; "
        "n_layers % pp and (n_layers + 2) % pp 'layers'; batch % (dp * micro_batch) 'batch'; "
        "batch // (dp * micro_batch) < pp 'bubble'; bytes > bytes_limit 'memory'; else ''. best: "
        "of the indices with '' the one with the least seconds (min keeps the first), None where "
        "there is none. Return best, reasons.",
    ),
    "checkpoint_interval": (
        "Save often and you pay for saving; save seldom and a failure costs more. Both formulas "
        "stand in the docstring: write the first order first.",
        "By hand: 50 s to save, 10,000 s between failures: what is 2 s m, and its root? What is "
        "s / (2 m), and its root, a third of it? Which small number is taken off at the end?",
        "Refuse seconds that are not above 0, then an unknown method. With s and m for the two: "
        "first = math.sqrt(2 * s * m); young: first. half = s / (2 * m); where half >= 1 return m; "
        "else first * (1 + math.sqrt(half) / 3 + half / 9) - s.",
    ),
    "goodput": (
        "The docstring gives the time that an interval takes on average, failures and all. What "
        "share of that time is the interval?",
        "By hand: m 10,000, interval 1000, save 50, restart 0. What is exp(1050 / 10000) - 1, "
        "times 10,000? And what does a restart of 1000 s multiply it by?",
        "Refuse what the docstring refuses. expected = m * math.exp(restart / m) * "
        "math.expm1((interval + save) / m), in a try; except OverflowError return 0.0. Return "
        "interval / expected.",
    ),
    "run_cost": (
        "One chain: tokens over speed are seconds, over goodput more seconds, times GPUs are "
        "GPU-hours. From there everything is a product, once with the low and once with the high "
        "numbers.",
        "By hand: 3.6e9 tokens at 1e5 a second on 10 GPUs: how many hours, how many GPU-hours? At "
        "500 W a GPU and a PUE of 2, how many MWh? At 100 g a kWh, how many tonnes?",
        "Refuse what the docstring refuses. hours = n_tokens / tokens_per_second / goodput / 3600; "
        "gpu_hours = hours * n_gpus; days = hours / 24. usd = tuple(gpu_hours * p for p in "
        "usd_per_gpu_hour); mwh = tuple(gpu_hours * w * p / 1e6 for w, p in zip(watts_per_gpu, "
        "pue)); tonnes_co2 = tuple(e * g / 1000 for e, g in zip(mwh, grams_per_kwh)).",
    ),
}


def recognise_terms(got: list, want: list, names: list, slips: list, case: str) -> None:
    """Reject numbers that equal what one known mistake gives, with the first that differs.

    As `recognise`, for numbers that have names.

    Args:
        got, want: the numbers.
        names: theirs.
        slips: pairs of numbers and the hint.
        case: what was called.
    """
    if resembles(got, want, 2e-5):
        return
    found = {
        text
        for wrong, text in slips
        if resembles(got, wrong, 2e-5) and not resembles(wrong, want, 2e-4)
    }
    differing = (k for k in range(len(want)) if not resembles(got[k], want[k], 2e-5))
    first = next(differing, 0)
    expected, came = apart(float(want[first]), float(got[first]))
    told = f"{names[first]}: expected {expected}, got {came}"
    not_the_mistake(not sole(found), f"{sole(found)}; {case} ({told})")


def compare_terms(got: object, want: dict, case: str, slips: list = ()) -> None:
    """Reject another dictionary of numbers; `slips` are (dictionary, hint)."""
    require(type(got) is dict, asked(f"return a dictionary, got {type(got).__name__}", got))
    require(
        set(got) == set(want),
        asked(f"expected the keys {sorted(want)}, got {sorted(map(str, got))}", got),
    )
    for key in want:
        number = type(got[key]) in (int, float)
        require(number, asked(f"{key!r}: expected a number, got {type(got[key]).__name__}", got))
    values, right = list(map(got.get, want)), list(want.values())
    case = asked(case, got)
    known = [(list(map(w.get, want)), text) for w, text in slips]
    recognise_terms(values, right, list(map(repr, want)), known, case)
    for key, number in want.items():
        scale = 1e-9 * max(1.0, abs(number))
        close(got[key], number, f"{key!r}: {case}", atol=scale, rtol=1e-6)


# memory_per_gpu

PLACES = "n_params n_layers d_model seq_len micro_batch in_flight".split()


def memory_by_hand(case: dict, slip: str = "") -> dict:
    """Return the bytes by term, each by its own sentence; `slip` names a mistake."""
    n, stage, dp, tp = (
        case["n_params"],
        case.get("zero_stage", 1),
        case.get("dp", 1),
        case.get("tp", 1),
    )
    g = case.get("gradient_bytes", 2)
    over = {name: dp if stage >= first else 1 for name, first in zip("ogw", (1, 2, 3), strict=True)}
    if slip == "one stage early":
        over = {
            name: dp if stage >= first else 1 for name, first in zip("ogw", (1, 1, 2), strict=True)
        }
    if slip == "all from 1":
        over = dict.fromkeys("ogw", dp if stage >= 1 else 1)
    if slip == "never":
        over = dict.fromkeys("ogw", 1)
    adam = {"8": 8, "4": 4}.get(slip, 12)
    each = case["seq_len"] * case["micro_batch"] * case["d_model"]
    if slip == "no micro":
        each = case["seq_len"] * case["d_model"]
    split = tp if case.get("sequence_parallel") else 1
    if slip == "all split":
        split = tp
    whole, part = case.get("replicated", 10), case.get("sharded", 24)
    layer = each * whole / split + each * part / (1 if slip == "no tp" else tp)
    scores, kept = case.get("scores", 0), case["in_flight"] * case["n_layers"]
    if slip == "scores split":
        scores /= tp
    if case.get("recompute", "none") != "none":
        times = {"all": kept, "layers": case["n_layers"], "flights": case["in_flight"]}
        scores *= times.get(slip.removeprefix("scores of "), 1)
    if slip == "one in flight":
        kept = case["n_layers"]
    kind = case.get("recompute", "none")
    if kind == "none":
        activations = kept * layer + kept * scores
    elif kind == "selective":
        activations = kept * layer + (0 if slip == "no scores" else scores)
    else:
        inputs = kept * 2 * each / (1 if slip == "whole inputs" else split)
        if slip == "1 byte":
            inputs /= 2
        activations = (
            inputs
            + (0 if slip == "no layer" else layer)
            + (0 if slip in ("no layer", "no scores") else scores)
        )
    found = {
        "weights": 2 * n / over["w"],
        "gradients": g * n / over["g"],
        "optimizer": adam * n / over["o"],
        "activations": activations,
    }
    total = sum(found.values())
    if slip == "total of states":
        total -= activations
    return {**found, "total": total}


MEMORY_SLIPS = {
    "one stage early": (
        "your ZeRO divides one stage early: stage 1 divides the optimizer alone, stage 2 the "
        "gradients as well"
    ),
    "all from 1": (
        "your stage 1 divides everything: it divides the optimizer alone, gradients wait for stage"
        " 2 and weights for stage 3"
    ),
    "never": "your parts are not divided by dp: ZeRO divides each from its stage on",
    "8": "your optimizer takes 8 bytes a parameter: it holds a float32 copy of the weight beside "
    "the two moments, 12 bytes",
    "4": "your optimizer takes 4 bytes a parameter: it holds three float32 numbers, 12 bytes",
    "no micro": "your activations are those of one sequence: multiply by micro_batch",
    "all split": "your replicated part is divided by tp: divide it with sequence_parallel only",
    "no tp": "your sharded part is not divided by tp: divide it",
    "one in flight": (
        "your activations are those of one micro-batch in flight: multiply by in_flight"
    ),
    "no scores": "your activations have no scores: one layer's are there while it is worked on",
    "scores split": "your scores are divided by tp: those that are passed are this GPU's already",
    **dict.fromkeys(
        ("scores of all", "scores of layers", "scores of flights"),
        "your scores count for several layers or micro-batches: with recompute they are there for "
        "one layer and one micro-batch only",
    ),
    "whole inputs": (
        "your rank keeps each layer's whole input: with sequence_parallel it keeps its part"
    ),
    "1 byte": "your input that full recompute keeps takes 1 byte a number: it takes 2",
    "no layer": "your activations have no whole layer: with full recompute one is there at a time",
    "total of states": "your total leaves out the activations: add all four",
}


def compare_memory(student, what: str, **case) -> None:
    """Reject other bytes than those worked out by hand."""
    places = [case[name] for name in PLACES]
    named = {name: value for name, value in case.items() if name not in PLACES}
    with in_case(what):
        got = student.memory_per_gpu(*places, **named)
    slips = [(memory_by_hand(case, slip), text) for slip, text in MEMORY_SLIPS.items()]
    compare_terms(got, memory_by_hand(case), what, slips)


SMALL = dict(zip(PLACES, (1000, 2, 8, 4, 1, 1), strict=True))


@exercise_check("memory_per_gpu", points=2, title="parameters and ZeRO")
def _(student, rng):
    compare_memory(student, "one GPU", **SMALL)
    for stage in (0, 1, 2, 3):
        compare_memory(student, f"ZeRO stage {stage}", **SMALL, dp=4, zero_stage=stage)
    compare_memory(student, "the stage by default is 1", **SMALL, dp=5)
    case = SMALL | {"gradient_bytes": 6, "n_params": int(rng.integers(10, 99)) * 100}
    compare_memory(student, "gradients with a float32 sum", **case, dp=2, zero_stage=2)
    compare_memory(student, "a part that does not divide", **SMALL | {"n_params": 7}, dp=5)


@exercise_check("memory_per_gpu", points=2, title="activations and recompute")
def _(student, rng):
    case = dict(zip(PLACES, (1000, 3, 8, 4, 2, 5), strict=True))
    compare_memory(student, "micro-batches in flight", **case)
    for recompute in ("none", "selective", "full"):
        compare_memory(student, f"recompute {recompute}", **case, recompute=recompute, scores=70.0)
    for sp in (False, True):
        for recompute in ("none", "full"):
            named = {"tp": 4, "sequence_parallel": sp, "recompute": recompute}
            compare_memory(student, "tensor parallel", **case, **named)
    drawn = dict(zip(PLACES, (int(n) for n in rng.integers(1, 9, 6)), strict=True))
    named = {"tp": 2, "sequence_parallel": True, "replicated": 8.0, "sharded": 30.5, "scores": 9.0}
    for recompute in ("none", "selective", "full"):
        compare_memory(student, "another recipe", **drawn, **named, recompute=recompute)


@exercise_check("memory_per_gpu", points=1, title="what can't be", is_core=False)
def _(student, rng):
    compare_memory(student, "no parameters, which may be", **SMALL | {"n_params": 0})

    def call(**case):
        case = SMALL | case
        places = [case.pop(name) for name in PLACES]
        return student.memory_per_gpu(*places, **case)

    for name in PLACES[1:]:
        refused(lambda name=name: call(**{name: 0}), f"{name} 0")
    for named in ({"n_params": -1}, {"tp": 0}, {"dp": 0}, {"zero_stage": 4}, {"zero_stage": -1}):
        refused(lambda named=named: call(**named), f"{named}")
    refused(lambda: call(recompute="all"), "recompute 'all'")


# step_time

RATES = ("flops_per_second", "memory_per_second", "nvlink_per_second", "network_per_second")
WORK = ("flops", "moved_bytes", "tp_bytes", "pp_bytes", "dp_bytes", "n_micro")


def time_by_hand(case: dict, slip: str = "") -> dict:
    """Return the seconds by term; the bubble by counting slots; `slip` names a mistake."""
    f, mem, nv, net = (case[name] for name in RATES)
    m, pp, vp = case["n_micro"], case.get("pp", 1), case.get("vp", 1)
    parts = [case["flops"] / f, case["moved_bytes"] / mem, case.get("fixed_seconds", 0.0)]
    one = max(parts[0], parts[1]) + parts[2] if slip == "roofline" else sum(parts)
    if slip == "no fixed":
        one = parts[0] + parts[1]
    compute = (1 if slip == "once" else m) * one
    tensor = (1 if slip == "tensor once" else m) * case["tp_bytes"] / nv
    busy = compute if slip == "bubble of compute" else compute + tensor
    slots = {"pp": pp, "of all": pp - 1}.get(slip, pp - 1)
    share = slots / (m * (1 if slip == "no vp" else vp))
    if slip == "of all":  # share of the whole time in place of share of the busy time
        share = (pp - 1) / (vp * m + pp - 1)
    sent = case["dp_bytes"] / net
    hidden = case.get("overlap", 0.0) * compute
    data = sent - hidden if slip == "negative" else max(0.0, sent - hidden)
    if slip == "of data":
        data = sent * (1 - case.get("overlap", 0.0))
    if slip == "data each":
        data = max(0.0, m * sent - hidden)
    if slip == "no overlap":
        data = sent
    found = {
        "compute": compute,
        "tensor": tensor,
        "bubble": busy * share,
        "pipeline": (1 if slip == "sent once" else m)
        * case["pp_bytes"]
        / (nv if slip == "nvlink" else net),
        "data": data,
    }
    return {**found, "total": sum(found.values())}


TIME_SLIPS = {
    "roofline": "your compute takes the longer of two times: kernels run one after the other, so "
    "add them",
    "no fixed": "your micro-batches do without fixed_seconds: each takes them as well",
    "once": "your compute is that of one micro-batch: multiply by n_micro",
    "tensor once": "your tensor time is that of one micro-batch: multiply by n_micro",
    "bubble of compute": (
        "your bubble is a share of compute alone: a stage waits for compute and tensor together"
    ),
    "pp": "your bubble has pp slots: a pipeline of pp stages fills in pp - 1",
    "no vp": "your bubble is not divided by vp: interleaving divides it",
    "of all": (
        "your bubble is a share of the whole time: it is (pp - 1) / (vp * n_micro) of the busy time"
    ),
    "negative": "your data time is below 0: no more can be hidden than there is, so stop at 0",
    "of data": "your overlap is a share of the gradients' time: it is a share of compute, behind "
    "which they can hide",
    "data each": "your gradients are reduced for each micro-batch: count them once a step",
    "no overlap": "your gradients' time has nothing hidden: take off overlap times compute",
    "sent once": "your pipeline time is that of one micro-batch: multiply by n_micro",
    "nvlink": "your activations go to the next stage over NVLink: divide by network_per_second",
}


def compare_time(student, what: str, **case) -> None:
    """Reject other seconds than those worked out by hand."""
    places = [case[name] for name in WORK]
    named = {name: value for name, value in case.items() if name not in WORK}
    with in_case(what):
        got = student.step_time(*places, **named)
    slips = [(time_by_hand(case, slip), text) for slip, text in TIME_SLIPS.items()]
    compare_terms(got, time_by_hand(case), what, slips)


PLAIN = dict(zip(WORK, (6e12, 0.0, 0.0, 0.0, 0.0, 4), strict=True))
PLAIN |= dict(zip(RATES, (3e12, 1e12, 1e11, 1e9), strict=True))


@exercise_check("step_time", points=2, title="compute, links and what is hidden")
def _(student, rng):
    compare_time(student, "matrix products alone", **PLAIN)
    compare_time(student, "kernels that move memory", **PLAIN | {"moved_bytes": 5e11})
    compare_time(student, "a fixed part", **PLAIN | {"fixed_seconds": 0.25})
    compare_time(student, "all-reduces inside the node", **PLAIN | {"tp_bytes": 3e10})
    data = PLAIN | {"dp_bytes": 7e9}
    compare_time(student, "gradients", **data)
    compare_time(student, "gradients, a part hidden", **data, overlap=0.5)
    compare_time(student, "gradients, all hidden", **data, overlap=1.0)


@exercise_check("step_time", points=2, title="pipelines")
def _(student, rng):
    compare_time(student, "two stages", **PLAIN, pp=2)
    compare_time(student, "as many micro-batches as stages", **PLAIN, pp=4)
    compare_time(student, "two chunks a stage", **PLAIN, pp=4, vp=2)
    compare_time(student, "stages that hand on", **PLAIN | {"pp_bytes": 2e8}, pp=2)
    compare_time(student, "stages with all-reduces", **PLAIN | {"tp_bytes": 3e10}, pp=4)
    for _ in range(3):
        work = rng.uniform(1, 9, 5).round(2).tolist()
        drawn = dict(zip(WORK, (*work, int(rng.integers(2, 9))), strict=True))
        drawn |= dict(zip(RATES, rng.uniform(0.5, 4, 4).round(2).tolist(), strict=True))
        named = {"pp": int(rng.integers(2, 5)), "vp": int(rng.integers(1, 4)), "overlap": 0.1}
        compare_time(student, "drawn numbers", **drawn, **named, fixed_seconds=0.3)


@exercise_check("step_time", points=1, title="what can't be", is_core=False)
def _(student, rng):
    compare_time(student, "all of the overlap, one of each", **PLAIN | {"n_micro": 1}, overlap=1.0)

    def call(**case):
        case = PLAIN | case
        places = [case.pop(name) for name in WORK]
        return student.step_time(*places, **case)

    for name in RATES:
        refused(lambda name=name: call(**{name: 0.0}), f"{name} 0")
    refused(lambda: call(network_per_second=-1.0), "a negative rate")
    for named in ({"n_micro": 0}, {"pp": 0}, {"vp": 0}, {"overlap": -0.1}, {"overlap": 1.1}):
        refused(lambda named=named: call(**named), f"{named}")


# choose_layout

ROOM = dict(n_gpus=8, gpus_per_node=4, n_heads=4, n_layers=6, batch=8, bytes_limit=80.0)


def one(tp=1, pp=1, dp=8, micro_batch=1, n_bytes=50.0, seconds=3.0) -> dict:
    """Return a candidate."""
    return {
        "tp": tp,
        "pp": pp,
        "dp": dp,
        "micro_batch": micro_batch,
        "bytes": n_bytes,
        "seconds": seconds,
    }


def in_short(candidate: dict) -> str:
    """Return a candidate as a short text.

    >>> in_short({"tp": 2, "seconds": 3.0})
    'tp 2, seconds 3'
    """
    return ", ".join(f"{name} {value:g}" for name, value in candidate.items())


def compare_choice(student, candidates: list, want: tuple, what: str, slips=(), **changes) -> None:
    """Reject another choice or other reasons; `slips` are ((index, reasons), hint)."""
    room = ROOM | changes
    with in_case(what):
        got = student.choose_layout(candidates, **room)
    require(
        type(got) in (tuple, list)
        and len(got) == 2
        and type(got[1]) is list
        and all(type(reason) is str for reason in got[1]),
        asked(f"return (index or None, a list of reasons, a text each), got {brief(got)}", got),
    )
    differ = (k for k, pair in enumerate(zip(got[1], want[1], strict=False)) if len({*pair}) > 1)
    k = next(differ, None)
    case = asked(what if k is None else f"{what}; candidate {k}: {in_short(candidates[k])}", got)
    for wrong, text in slips:
        not_the_mistake(
            tuple(wrong) == tuple(want) or tuple(got) != tuple(wrong),
            f"{text}; {case} (expected {want}, got {brief(tuple(got))})",
        )
    same(got[1], want[1], f"the reasons, '' for none: {case}")
    told = ", ".join(f"{c['seconds']:g}" for c in candidates)
    case = asked(f"{what}; candidates of {told} seconds" if candidates else what, got)
    same(got[0], want[0], f"the index of the fastest that is not refused: {case}")


@exercise_check("choose_layout", points=2, title="the fastest of those that can run")
def _(student, rng):
    slow, fast = one(seconds=3.0), one(seconds=2.0)
    compare_choice(student, [slow], (0, [""]), "one candidate")
    compare_choice(
        student,
        [slow, fast],
        (1, ["", ""]),
        "two that can run",
        [((0, ["", ""]), "your choice has the most seconds: the fastest has the fewest")],
    )
    over = one(n_bytes=90.0, seconds=1.0)
    compare_choice(
        student,
        [over, slow, fast],
        (2, ["memory", "", ""]),
        "the fastest does not fit",
        [
            (
                (0, ["memory", "", ""]),
                "your choice is a candidate that is refused: choose among those without a reason",
            )
        ],
    )
    compare_choice(student, [over], (None, ["memory"]), "none that fits")
    compare_choice(student, [], (None, []), "no candidates")
    slips = [
        (
            (2, ["", "", ""]),
            "your choice is the last of two that are equally fast: choose the first",
        )
    ]
    compare_choice(student, [slow, fast, dict(fast)], (1, ["", "", ""]), "two equally fast", slips)
    compare_choice(student, [one(n_bytes=80.0)], (0, [""]), "exactly as many bytes as there are")
    seconds = rng.permutation(6).astype(float) + 1
    drawn = [one(seconds=float(s), n_bytes=float(rng.choice([70, 90]))) for s in seconds]
    left = [k for k, c in enumerate(drawn) if c["bytes"] <= 80]
    reasons = ["" if c["bytes"] <= 80 else "memory" for c in drawn]
    best = min(left, key=lambda k: seconds[k]) if left else None
    compare_choice(student, drawn, (best, reasons), "drawn seconds and bytes")


REASONS = [
    # candidate, reason, what, changes of the room
    (one(tp=2, dp=8), "world", "twice as many ranks as GPUs", {}),
    (one(tp=1, dp=4), "world", "half as many ranks as GPUs", {}),
    (one(tp=8, dp=1), "node", "tp over two nodes", {"n_heads": 8}),
    (one(tp=4, dp=2), "", "tp as large as a node", {}),
    (one(tp=3, dp=4), "", "tp of 3 in nodes of 4", {"n_gpus": 12, "n_heads": 6}),
    (one(tp=4, dp=2), "heads", "6 heads on 4 ranks", {"n_heads": 6}),
    (one(pp=4, dp=2), "", "8 layers with embedding and head on 4 stages", {}),
    (one(pp=2, dp=4), "", "6 layers on 2 stages", {}),
    (one(pp=3, dp=4), "", "6 layers on 3 stages", {"n_gpus": 12, "batch": 12}),
    (one(pp=8, dp=1), "", "8 layers with embedding and head on 8 stages", {}),
    (one(pp=4, dp=2), "layers", "neither 5 nor 7 layers on 4 stages", {"n_layers": 5}),
    (one(dp=8), "batch", "12 sequences on 8 ranks", {"batch": 12}),
    (one(dp=8, micro_batch=2), "batch", "8 sequences, two for each of 8 ranks", {}),
    (one(pp=2, dp=4, micro_batch=2), "bubble", "one micro-batch for two stages", {}),
    (one(pp=2, dp=4), "", "two micro-batches for two stages", {}),
    (one(n_bytes=80.5), "memory", "more bytes than there are", {}),
]


@exercise_check("choose_layout", points=2, title="why not")
def _(student, rng):
    for candidate, reason, what, changes in REASONS:
        want = (None if reason else 0, [reason])
        compare_choice(student, [candidate], want, what, **changes)
    for k in rng.permutation(len(REASONS))[:3]:
        candidate, reason, what, changes = REASONS[k]
        want = (None if reason else 1, [reason, reason])
        second = candidate | {"seconds": 1.0}
        compare_choice(student, [candidate, second], want, f"{what}, twice", **changes)


@exercise_check("choose_layout", points=1, title="the first reason, and nodes", is_core=False)
def _(student, rng):
    all_wrong = one(tp=8, pp=4, dp=3, micro_batch=3, n_bytes=99.0)
    order = [
        ({}, "world"),
        ({"dp": 1, "n_gpus": 32}, "node"),
        ({"dp": 1, "n_gpus": 32, "gpus_per_node": 8, "n_heads": 6}, "heads"),
        ({"dp": 1, "n_gpus": 32, "gpus_per_node": 8, "n_heads": 8, "n_layers": 5}, "layers"),
        ({"dp": 1, "n_gpus": 32, "gpus_per_node": 8, "n_heads": 8}, "batch"),
        ({"dp": 1, "n_gpus": 32, "gpus_per_node": 8, "n_heads": 8, "batch": 9}, "bubble"),
        ({"dp": 1, "n_gpus": 32, "gpus_per_node": 8, "n_heads": 8, "batch": 12}, "memory"),
    ]
    for changes, reason in order:
        room = dict(changes)
        candidate = all_wrong | {"dp": room.pop("dp", 3)}
        compare_choice(student, [candidate], (None, [reason]), "several reasons: the first", **room)
    compare_choice(student, [one(dp=3)], (0, [""]), "a part of one node", n_gpus=3, batch=3)
    refused(lambda: student.choose_layout([one()], **ROOM | {"n_gpus": 6}), "6 GPUs, nodes of 4")
    refused(lambda: student.choose_layout([], **ROOM | {"n_gpus": 9}), "9 GPUs, no candidates")


# checkpoint_interval


def daly(s: float, m: float, slip: str = "") -> float:
    """Return Daly's interval in the form of his paper, sqrt(2 s m) [1 + ... ] - s."""
    x = (s / (2 * m)) ** 0.5
    if slip == "no save off":
        return (2 * s * m) ** 0.5 * (1 + x / 3 + x * x / 9)
    if slip == "young less save":
        return (2 * s * m) ** 0.5 - s
    if slip == "s over m":
        y = (s / m) ** 0.5
        return (2 * s * m) ** 0.5 * (1 + y / 3 + y * y / 9) - s
    if slip == "no ninth":
        return (2 * s * m) ** 0.5 * (1 + x / 3) - s
    if slip == "ninth of root":
        return (2 * s * m) ** 0.5 * (1 + x / 3 + x / 9) - s
    if s >= 2 * m and slip != "no limit":
        return s if slip == "save" else m
    return (2 * s * m) ** 0.5 * (1 + x / 3 + x * x / 9) - s


DALY_SLIPS = {
    "no save off": "yours is Daly's without the time to save taken off at the end",
    "young less save": "yours is Young's less the time to save: Daly's has two terms beside the 1",
    "s over m": "your terms are of s / m: take those of s / (2 m)",
    "no ninth": "yours is Daly's without the third term, (s / (2 m)) / 9",
    "no limit": "yours is the formula's value: where saving takes 2 m or longer, it is m instead",
    "save": "yours is the time to save: where saving takes 2 m or longer it is m",
    "ninth of root": "your third term has the root of s / (2 m): it has s / (2 m) itself",
}


def compare_interval(student, s: float, m: float, method: str | None, what: str) -> None:
    """Reject another interval."""
    args = (s, m) if method is None else (s, m, method)
    with in_case(what):
        got = student.checkpoint_interval(*args)
    require(type(got) in (int, float), asked(f"return a number, got {type(got).__name__}", got))
    case = f"{what}; {s:g} s to save, {m:g} s between failures"
    if method == "young":
        want = (2 * s * m) ** 0.5
        slips = [
            ([(s * m) ** 0.5], f"yours is the root of s m: a 2 belongs under the root; {case}"),
            ([daly(s, m)], f"yours is Daly's: Young's is the first order alone; {case}"),
            (
                [2 * (s * m) ** 0.5],
                f"yours has the 2 before the root: it belongs under the root; {case}",
            ),
            ([2 * s * m], f"yours is 2 s m: take the root; {case}"),
            (
                [want - s],
                f"yours has the time to save taken off: Young's takes nothing off; {case}",
            ),
        ]
    else:
        want = daly(s, m)
        slips = [([daly(s, m, slip)], f"{text}; {case}") for slip, text in DALY_SLIPS.items()]
        slips.append(([(2 * s * m) ** 0.5], f"yours is Young's: Daly's is asked for; {case}"))
    recognise([got], [want], slips, atol=1e-6)
    close(got, want, case, atol=1e-9, rtol=1e-6)


@exercise_check("checkpoint_interval", points=1, title="Young")
def _(student, rng):
    compare_interval(student, 50.0, 10_000.0, "young", "by hand: the root of a million")
    compare_interval(student, 2.0, 9.0, "young", "frequent failures")
    compare_interval(student, 1.0, 0.125, "young", "saving takes longer than failures wait")
    s, m = (round(float(x), 1) for x in (rng.uniform(10, 99), rng.uniform(2000, 9000)))
    compare_interval(student, s, m, "young", "drawn seconds")


@exercise_check("checkpoint_interval", points=2, title="Daly")
def _(student, rng):
    compare_interval(student, 50.0, 10_000.0, "daly", "rare failures")
    compare_interval(student, 600.0, 1_000.0, None, "frequent failures, the method by default")
    compare_interval(student, 300.0, 100.0, "daly", "saving takes more than twice as long")
    compare_interval(student, 200.0, 100.0, "daly", "saving takes exactly twice as long")
    compare_interval(student, 199.0, 100.0, "daly", "just below that")
    s, m = (round(float(x), 1) for x in (rng.uniform(10, 99), rng.uniform(200, 900)))
    compare_interval(student, s, m, None, "drawn seconds")
    # against the loss itself: no interval of a grid keeps more
    s, m = (round(float(x), 1) for x in (rng.uniform(20, 60), rng.uniform(2_000, 9_000)))
    got = student.checkpoint_interval(s, m)
    grid = np.linspace(20, 3000, 20_000)
    kept = grid / (m * np.expm1((grid + s) / m))
    own = got / (m * math.expm1((got + s) / m))
    best = f"an interval of {grid[kept.argmax()]:.4g} s keeps {kept.max():.4%} of the time"
    least = kept.max() * (1 - 1e-5)
    require(own >= least, asked(f"{best}, yours of {got:.4g} s {own:.4%}", got))


@exercise_check("checkpoint_interval", points=1, title="what can't be", is_core=False)
def _(student, rng):
    compare_interval(student, 50.0, 10_000.0, None, "what can be")
    for method in ("young", "daly"):
        for s, m in ((0, 10.0), (-1.0, 10.0), (10.0, 0), (10.0, -1.0)):
            refused(
                lambda s=s, m=m, method=method: student.checkpoint_interval(s, m, method),
                f"{s} s to save, {m} s between, {method}",
            )
    for s in (1.0, 300.0):
        refused(
            lambda s=s: student.checkpoint_interval(s, 100.0, "Daly's"), f"an unknown method, {s}"
        )


# goodput


def goodput_by_hand(t: float, s: float, m: float, r: float, slip: str = "") -> float:
    """Return the share; `slip` names a mistake."""
    if slip == "first order":
        return 1 - s / t - t / (2 * m)
    if slip == "restart added":
        return t / (r + m * math.expm1((t + s) / m))
    if slip == "restart inside":
        return t / (m * math.expm1((t + s + r) / m))
    if slip == "no restart":
        return t / (m * math.expm1((t + s) / m))
    if slip == "no save":
        return t / (m * math.exp(r / m) * math.expm1(t / m))
    if slip == "no minus 1":
        return t / (m * math.exp(r / m) * math.exp((t + s) / m))
    if slip == "save is kept":
        return (t + s) / (m * math.exp(r / m) * math.expm1((t + s) / m))
    if slip == "upside down":
        return m * math.exp(r / m) * math.expm1((t + s) / m) / t
    if slip == "no m":
        return t / (math.exp(r / m) * math.expm1((t + s) / m))
    return t / (m * math.exp(r / m) * math.expm1((t + s) / m))


GOODPUT_SLIPS = {
    "first order": "yours is the first order: take the expected time with exponentials",
    "restart added": "your restart is added: multiply by exp(restart / m), since it can fail, too",
    "restart inside": (
        "your restart stands inside the exponential from which 1 is taken: take 1 off before "
        "exp(restart / m) multiplies"
    ),
    "no restart": "yours leaves out the restart, which takes its time after a failure",
    "no save": (
        "your exponential is of the interval alone: a failure while saving loses it as well, so "
        "interval + save"
    ),
    "no minus 1": "your exponential of interval + save lacks the - 1",
    "save is kept": "yours keeps interval and save: only the interval is training",
    "upside down": "yours is the expected time over the interval: turn it round",
    "no m": "your expected time lacks the factor m",
}


def compare_goodput(student, t, s, m, r, what: str) -> None:
    """Reject another goodput."""
    with in_case(what):
        got = student.goodput(t, s, m, r)
    require(type(got) in (int, float), asked(f"return a number, got {type(got).__name__}", got))
    case = f"{what}; interval {t:g}, save {s:g}, between {m:g}, restart {r:g}"
    want = goodput_by_hand(t, s, m, r)
    slips = [([goodput_by_hand(t, s, m, r, k)], f"{x}; {case}") for k, x in GOODPUT_SLIPS.items()]
    recognise([got], [want], slips, atol=0.0)  # some are tiny, and no two of these are one
    close(got, want, case, atol=1e-12, rtol=1e-7)


def drawn_goodput(rng, t, s, m, r, n: int = 4000) -> tuple[float, float]:
    """Return the mean share of a job whose failures are drawn, and its standard error."""
    spent = np.zeros(n)
    need, waiting = np.full(n, t + s), np.arange(n)
    while len(waiting):
        failure = rng.exponential(m, len(waiting))
        is_done = failure >= need[waiting]
        spent[waiting] += np.where(is_done, need[waiting], failure)
        waiting = waiting[~is_done]
        need[waiting] = r + t + s
    return t / spent.mean(), t / spent.mean() ** 2 * spent.std() / n**0.5


@exercise_check("goodput", points=2, title="the share that is kept")
def _(student, rng):
    compare_goodput(student, 1000.0, 50.0, 10_000.0, 0.0, "no time to restart")
    compare_goodput(student, 1000.0, 0.0, 10_000.0, 0.0, "saving takes no time")
    compare_goodput(student, 1000.0, 50.0, 10_000.0, 600.0, "with a restart")
    compare_goodput(student, 1000.0, 50.0, 1_000.0, 600.0, "frequent failures")
    drawn = rng.uniform((500, 20, 2000, 100), (900, 60, 9000, 400)).round(1)
    t, s, m, r = drawn.tolist()
    compare_goodput(student, t, s, m, r, "drawn seconds")
    got = student.goodput(700.0, 50.0, 1500.0, 0.0)
    mean, error = drawn_goodput(rng, 700.0, 50.0, 1500.0, 0.0)
    require(
        abs(got - mean) < 6 * error,
        asked(f"jobs with drawn failures keep {mean:.3f} of their time, got {got:.3f}", got),
    )


@exercise_check("goodput", points=1, title="edges and errors", is_core=False)
def _(student, rng):
    compare_goodput(student, 1e-3, 0.0, 1e9, 0.0, "a tiny interval, where exp(x) - 1 loses digits")
    got = student.goodput(1e6, 50.0, 100.0, 60.0)
    same(got, 0.0, "an expected time that is too large for a float keeps 0.0")
    same(student.goodput(10.0, 5.0, 1.0, 1e4), 0.0, "a restart that never succeeds keeps 0.0")
    for bad in ((0.0, 5.0, 9.0, 5.0), (9.0, -1.0, 9.0, 5.0), (9.0, 5.0, 0.0, 5.0)):
        refused(lambda bad=bad: student.goodput(*bad), f"{bad}")
    refused(lambda: student.goodput(9.0, 5.0, 9.0, -1.0), "a negative restart")


# run_cost

PAIRS = ("usd_per_gpu_hour", "watts_per_gpu", "pue", "grams_per_kwh")
BILL = dict(zip(PAIRS, ((2.0, 4.0), (500.0, 1000.0), (1.0, 2.0), (100.0, 500.0)), strict=True))


def cost_by_hand(tokens, speed, gpus, keep, pairs: dict, slip: str = "") -> dict:
    """Return the bill, unit by unit; `slip` names a mistake."""
    seconds = tokens / speed * (keep if slip == "times goodput" else 1 / keep)
    if slip == "no goodput":
        seconds = tokens / speed
    if slip == "speed of one":
        seconds /= gpus
    hours = seconds / 3600
    gpu_hours = hours * gpus
    usd, watts, pue, grams = (pairs[name] for name in PAIRS)
    kwh = [
        gpu_hours * w / 1000 * (1 if slip == "no pue" else p)
        for w, p in zip(watts, pue, strict=True)
    ]
    if slip == "crossed":
        pairs_of = zip(watts, reversed(pue), strict=True)
        kwh = [gpu_hours * w / 1000 * p for w, p in pairs_of]
    if slip == "node hours":
        kwh = [hours * w / 1000 * p for w, p in zip(watts, pue, strict=True)]
    mwh = tuple(k if slip == "kwh" else k / 1000 for k in kwh)
    kilos = [k * g / 1000 for k, g in zip(kwh, grams, strict=True)]
    if slip == "pue twice":
        kilos = [k * p for k, p in zip(kilos, pue, strict=True)]
    paid = keep if slip == "kept alone" else 1
    money = tuple(paid * (hours if slip == "one gpu" else gpu_hours) * u for u in usd)
    return {
        "days": hours / 24,
        "gpu_hours": gpu_hours,
        "usd": money,
        "mwh": mwh,
        "tonnes_co2": tuple(k if slip == "kilos" else k / 1000 for k in kilos),
    }


COST_SLIPS = {
    "times goodput": (
        "your run is shorter with a goodput below 1: it takes longer, so divide by goodput"
    ),
    "no goodput": (
        "your run takes as long as with goodput 1: only that share of the time is kept, so divide "
        "by it"
    ),
    "speed of one": (
        "your time is divided by the GPUs: the tokens per second are those of all together"
    ),
    "no pue": (
        "your energy leaves out the PUE: the building draws PUE times what its computers draw"
    ),
    "crossed": "your pairs are crossed: low goes with all low, high with all high",
    "pue twice": (
        "your CO2 counts the PUE twice: the energy has it already, so multiply by the grid's grams"
        " alone"
    ),
    "kept alone": "your money is for the time that is kept: GPUs are paid for the whole time",
    "node hours": "your energy is that of one GPU: every one draws its watts, so take GPU-hours",
    "kwh": "your energy is in kWh: divide watts times hours by a million, for MWh",
    "one gpu": "your money is that of one GPU: dollars are for a GPU-hour, and every GPU is paid",
    "kilos": "your CO2 is in kilograms: divide grams by a million, for tonnes",
}


def flat_bill(bill: dict) -> list[float]:
    """Return the numbers of a bill in order."""
    return [x for value in bill.values() for x in (value if isinstance(value, tuple) else (value,))]


def compare_cost(student, tokens, speed, gpus, what: str, keep=None, **changes) -> None:
    """Reject another bill."""
    pairs = BILL | changes
    named = {} if keep is None else {"goodput": keep}
    with in_case(what):
        got = student.run_cost(tokens, speed, gpus, **named, **pairs)
    require(type(got) is dict, asked(f"return a dictionary, got {type(got).__name__}", got))
    want = cost_by_hand(tokens, speed, gpus, keep or 1.0, pairs)
    require(
        set(got) == set(want), asked(f"expected the keys {list(want)}, got {brief(list(got))}", got)
    )
    for name, value in want.items():
        numbers = got[name] if isinstance(value, tuple) else (got[name],)
        is_pair = type(numbers) is tuple and len(numbers) == len(flat_bill({name: value}))
        require(
            is_pair and all(type(x) in (int, float) for x in numbers),
            asked(
                f"{name!r}: expected "
                f"{'a pair (low, high)' if isinstance(value, tuple) else 'a number'}, got "
                f"{brief(got[name], 60)}",
                got,
            ),
        )
    case = f"{what}; tried {describe_call('run_cost', (tokens, speed, gpus), pairs | named)}"
    numbers = flat_bill({name: got[name] for name in want})
    slips = [
        (flat_bill(cost_by_hand(tokens, speed, gpus, keep or 1.0, pairs, slip)), text)
        for slip, text in COST_SLIPS.items()
    ]
    names = [
        f"{name!r}{end}"
        for name, value in want.items()
        for end in ((", low", ", high") if isinstance(value, tuple) else ("",))
    ]
    recognise_terms(numbers, flat_bill(want), names, slips, case)
    for name, value in want.items():
        close(got[name], value, f"{name!r}: {case}", atol=1e-12, rtol=1e-7)


@exercise_check("run_cost", points=2, title="days, money, energy, CO2")
def _(student, rng):
    compare_cost(student, 3.6e9, 1e5, 10, "ten hours on ten GPUs")
    compare_cost(student, 3.6e9, 1e5, 10, "half of the time is kept", keep=0.5)
    compare_cost(student, 3.6e9, 1e5, 1, "one GPU")
    changes = {"pue": (1.1, 1.6), "grams_per_kwh": (57.0, 475.0)}
    compare_cost(student, 7.2e10, 3e6, 16, "another building and grid", keep=0.8, **changes)
    tokens, speed = rng.uniform((1e9, 1e4), (9e9, 9e4)).round(-3).tolist()
    gpus = int(rng.integers(2, 99))
    compare_cost(
        student, tokens, speed, gpus, "drawn numbers", keep=round(float(rng.uniform(0.5, 0.9)), 2)
    )


@exercise_check("run_cost", points=1, title="edges and errors", is_core=False)
def _(student, rng):
    compare_cost(student, 0.5, 0.25, 1, "half a token")
    same_twice = {name: (value[1], value[1]) for name, value in BILL.items()}
    compare_cost(student, 3.6e9, 1e5, 10, "low equals high", **same_twice)
    compare_cost(student, 3.6e9, 1e5, 10, "goodput 1", keep=1.0, usd_per_gpu_hour=(0.0, 1.0))

    def call(*args, **changes):
        return student.run_cost(*args, **BILL | changes)

    for args in ((0, 1e5, 10), (1e9, 0, 10), (1e9, 1e5, 0), (-1e9, 1e5, 10), (1e9, -1e5, 10)):
        refused(lambda args=args: call(*args), f"tokens, speed and GPUs {args}")
    refused(lambda: call(1e9, 1e5, -2), "-2 GPUs")
    for keep in (0.0, -0.5, 1.5):
        refused(lambda keep=keep: call(1e9, 1e5, 10, goodput=keep), f"goodput {keep}")
    for name in PAIRS:
        for pair in ((2.0, 1.0), (-1.0, 2.0)):
            refused(lambda n=name, p=pair: call(1e9, 1e5, 10, **{n: p}), f"{name} {pair}")
    refused(lambda: call(1e9, 1e5, 10, pue=(0.9, 1.5)), "a PUE below 1")
