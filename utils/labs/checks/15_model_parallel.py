"""Checks of lab 15: a pipeline's schedule and its bubble, checkpointing, layers cut over ranks.

Oracles: schedules written down by hand and a simulation second by second, idle cells counted on a
grid, NumPy in float64 by the formulas of the whole layer. The layers run in two and three real
processes.
"""

from __future__ import annotations

import numpy as np

from utils.labs.checking import (
    Check,
    brief,
    close,
    collector,
    in_case,
    left_alone,
    not_the_mistake,
    recognise,
    refused,
    require,
    resembles,
    same,
    sole,
)
from utils.labs.ranks import in_ranks
from utils.labs.values import Linear

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

EXAMPLES_NOT_TRIED = {  # the checks try the like on ranks of their own
    "checkpoint_block": "its example passes a function",
    "column_parallel_linear": "its example starts two ranks",
    "row_parallel_linear": "its example starts two ranks",
    "vocab_parallel_cross_entropy": "its example starts two ranks",
}

HINTS = {
    "schedule_1f1b": (
        "Ask of each stage how many forwards it must send on before a first gradient can come "
        "back to it. After that it does one of each in turn.",
        "By hand, 3 stages and 4 micro-batches. The last stage can do B0 right after F0: F0 B0 F1 "
        "B1 F2 B2 F3 B3. The one before it has one stage behind it: F0 first, then F1 B0 F2 B1 F3 "
        "B2, and B3 is left. What does stage 0 begin with? And with 1 micro-batch?",
        "Refuse fewer than one stage or micro-batch. For each stage: n_warm = min(n_stages - 1 - "
        "stage, n_micro_batches). First ('F', stage, k) for k below n_warm; then for k from n_warm "
        "to the end ('F', stage, k) and ('B', stage, k - n_warm); then ('B', stage, k) for the "
        "last n_warm micro-batches.",
    ),
    "bubble_fraction": (
        "Two numbers: how long all ranks work, all operations together, and how much time there "
        "is, which is the number of ranks times the length of the whole timeline.",
        "By hand: rank 0 works from 10 to 11 and from 14 to 16, rank 1 from 11 to 14. The timeline "
        "goes from 10 to 16, for two ranks. How much of these 12 is work? And what if there were a "
        "third rank with nothing to do?",
        "Put all operations of all ranks into one list; refuse an empty one, and an end before its "
        "start. busy = the sum of end - start. span = the largest end minus the smallest start; "
        "refuse 0. Return 1 - busy / (len(timeline) * span).",
    ),
    "checkpoint_block": (
        "It takes a torch.autograd.Function: its forward runs the block, where autograd records "
        "nothing, and saves the inputs alone; its backward runs the block again, recording, and "
        "asks autograd for the gradients of that run.",
        "What does the second run need to be the first one again? The same tensors "
        "(ctx.save_for_backward), detached, so that its graph ends at them; gradients switched on "
        "(torch.enable_grad); and the state of the generator from before the first run "
        "(torch.get_rng_state), put back for this run alone.",
        "Define a Function inside. forward(ctx, *tensors): ctx.state = torch.get_rng_state(); "
        "ctx.save_for_backward(*tensors); return block(*tensors). backward(ctx, gradient): inputs "
        "= each saved tensor .detach().requires_grad_(is_wanted), with ctx.needs_input_grad. "
        "Within torch.random.fork_rng(devices=[]) and torch.enable_grad(): "
        "torch.set_rng_state(ctx.state); result = block(*inputs). torch.autograd.grad(result, "
        "those inputs that require it, gradient, allow_unused=True); return them in their places, "
        "None elsewhere. Return the Function's apply(*tensors).",
    ),
    "column_parallel_linear": (
        "Forward, each rank multiplies by its own rows and is done. Backward, the input was read "
        "by every rank, and the gradient of something that is read n times is a sum of n parts.",
        "By hand: x = (1, 2), rank 0 holds the row (3, 4), rank 1 the row (5, 6), and a gradient "
        "of 1 arrives at each. What does each rank alone get for the gradient of x, and what is "
        "it for the whole layer? A torch.autograd.Function may do one thing forward and another "
        "backward: does it stand before the product, or behind it?",
        "Refuse x and weight of unequal last axes. Define Copy(torch.autograd.Function) inside: "
        "forward(ctx, x) returns x.view_as(x); backward(ctx, gradient) returns "
        "sum_over_ranks(gradient, group). Return Copy.apply(x) @ weight.T.",
    ),
    "row_parallel_linear": (
        "What a rank's product gives is not an output yet. Ask forward and backward alike: what "
        "does a rank have that the others need, and what does it need from them?",
        "Let rank 0 hold 1 * 3 and rank 1 hold 2 * 4, and the bias be 10 on both. If each rank "
        "adds the bias to its summand, what do you get in place of 21? And what would come back if "
        "the gradient were added up over two ranks as well?",
        "Refuse unequal last axes, and a bias that is not (O,). Define inside "
        "Sum(torch.autograd.Function): forward(ctx, summand) returns sum_over_ranks(summand, "
        "group); backward(ctx, gradient) returns gradient. y = Sum.apply(x @ weight.T); return y, "
        "or y + bias where there is one.",
    ),
    "vocab_parallel_cross_entropy": (
        "The loss of a position is log(sum of exp(logits)) minus the target's logit. The sum is a "
        "sum over ranks of sums; the target's logit is known to one rank, and the others say 0.",
        "Three numbers a position travel: the largest logit (so that exp stays finite; it needs no "
        "gradient, since it cancels), the sum of exp, the target's logit. On two ranks with two "
        "ids each, which rank holds target 3, and in which column? What must the other rank do, "
        "for which that column would be 3 too?",
        "Refuse what the docstring says. largest = logits.detach().amax(-1), dist.all_reduce with "
        "ReduceOp.MAX. shifted = logits - largest.unsqueeze(-1). local = targets - rank * V/n; "
        "is_mine = counts and 0 <= local < V/n. chosen = shifted.gather at local (at 0 where it "
        "is not mine), and 0 in its place there. Add up shifted.exp().sum(-1) and chosen over the "
        "ranks, each by reduce_from_ranks(..., group). Return (total.log() - "
        "chosen)[counts].mean().",
    ),
}


# schedule_1f1b


def in_turn(p: int, m: int) -> list:
    """Return the order in which stages work that never wait without need, second by second.

    A forward takes one second and a backward two. A free stage does a backward where one has come;
    else a forward, unless it holds as many micro-batches as there are stages from it to the end.
    """
    orders: list[list] = [[] for _ in range(p)]
    ends: dict[tuple, int] = {}
    free = [0] * p
    for now in range(6 * (p + m)):
        for s in range(p):
            if free[s] > now:
                continue
            n_forward = sum(kind == "F" for kind, _, _ in orders[s])
            n_backward = len(orders[s]) - n_forward
            before = ("B", s + 1, n_backward) if s < p - 1 else ("F", s, n_backward)
            if ends.get(before, now + 1) <= now:
                done, length = ("B", s, n_backward), 2
            elif (
                n_forward < m
                and n_forward - n_backward < p - s
                and (s == 0 or ends.get(("F", s - 1, n_forward), now + 1) <= now)
            ):
                done, length = ("F", s, n_forward), 1
            else:
                continue
            orders[s].append(done)
            ends[done] = free[s] = now + length
    return orders


def with_warm_up(p: int, m: int, n_warm, reverse: bool = False, swapped: bool = False) -> list:
    """Return a schedule with another number of forwards at the beginning, for known mistakes."""
    orders = []
    for s in range(p):
        n = n_warm(s)
        backs = list(reversed(range(m))) if reverse else list(range(m))
        order = [("F", s, k) for k in range(min(n, m))]
        for k in range(n, m):
            pair = [("F", s, k), ("B", s, backs[k - n])]
            order += pair[::-1] if swapped else pair
        order += [("B", s, k) for k in backs[max(m - n, 0) :]]
        orders.append(order)
    return orders


def schedule_slips(p: int, m: int) -> list:
    """Return what known mistakes give, with their names."""
    gpipe = [("F", k) for k in range(m)] + [("B", k) for k in range(m)]
    back = [("F", k) for k in range(m)] + [("B", k) for k in reversed(range(m))]
    right = in_turn(p, m)
    short = with_warm_up(p, m, lambda s: min(p - 1 - s, m))
    return [
        (
            [[(kind, s, k) for kind, k in order] for s in range(p)],
            "in your schedule all forwards come before the first backward, as in GPipe: let each "
            "stage do a backward as soon as one can come",
        )
        for order in (gpipe, back)
    ] + [
        (
            with_warm_up(p, m, lambda s: min(p - s, m)),
            "your warm-up has a forward too many: do as many as there are stages behind, not "
            "counting the stage itself",
        ),
        (
            with_warm_up(p, m, lambda s: min(s, m)),
            "your warm-up counts the stages before: count those behind, which must be reached "
            "first",
        ),
        (
            with_warm_up(p, m, lambda s: min(p - 1, m)),
            "your stages all have the warm-up of the first: let it get shorter towards the end",
        ),
        (
            with_warm_up(p, m, lambda s: 0),
            "your schedule has no warm-up, and stage 0 would wait for a gradient that nobody can "
            "send yet",
        ),
        (
            with_warm_up(p, m, lambda s: min(p - 1 - s, m), reverse=True),
            "your backwards go from the last micro-batch to the first: let them go in order",
        ),
        (
            with_warm_up(p, m, lambda s: min(p - 1 - s, m), swapped=True),
            "in the steady part of your schedule a backward comes before its forward: put the "
            "forward first",
        ),
        (
            [order[: 2 * m - min(p - 1 - s, m)] for s, order in enumerate(short)],
            "your schedule ends without a cool-down: do the backwards that are left",
        ),
        (
            [[(kind, k) for kind, _, k in order] for order in right],
            "your operations have two parts: write (kind, stage, micro_batch)",
        ),
        (
            [[(kind, k, s) for kind, s, k in order] for order in right],
            "your stage and micro-batch are swapped: write (kind, stage, micro_batch)",
        ),
        (right[::-1], "your stages come in the other order: make stage 0 the first list"),
        (
            [[(kind, s, k + 1) for kind, s, k in order] for order in right],
            "your micro-batches count from 1: count from 0",
        ),
    ]


def in_words(order: object) -> str:
    """Return a stage's operations as a short text, whatever they are.

    >>> in_words([("F", 0, 0), ("B", 0, 0)])
    'F0 B0'
    """
    try:
        return " ".join(f"{kind}{k}" for kind, _, k in order)
    except (TypeError, ValueError):
        return brief(order)


def parted(mine: object, right: list) -> str:
    """Return what a stage should do and what it does, of a long one the part where they differ.

    >>> parted([("F", 0, 0), ("B", 0, 0)], [("B", 0, 0), ("F", 0, 0)])
    'expected B0 F0, got F0 B0'
    """
    expected, got = in_words(right).split(), in_words(mine).split()
    if expected == got:  # what differs is the number of the stage
        return f"expected {brief(right, 80)}, got {brief(mine, 80)}"
    if len(expected) > 12:
        pairs = zip(expected, got, strict=False)
        first = next(
            (k for k, (a, b) in enumerate(pairs) if a != b), min(map(len, (expected, got)))
        )
        start = max(0, first - 2)
        expected, got = expected[start : first + 4], got[start : first + 4]
        return f"from operation {start} on expected {' '.join(expected)}, got {' '.join(got)}"
    return f"expected {' '.join(expected)}, got {' '.join(got)}"


def same_schedule(got: object, want: list, p: int, m: int) -> None:
    """Reject another schedule, with the first stage that differs."""
    tried = f"schedule_1f1b({p}, {m})"
    found = {hint for wrong, hint in schedule_slips(p, m) if got == wrong and wrong != want}
    stages = zip(got, want, strict=False) if type(got) is list else ()
    differs = next((f"; stage {s} {parted(*p)}" for s, p in enumerate(stages) if p[0] != p[1]), "")
    not_the_mistake(not sole(found), f"{tried}: {sole(found)}{differs}")
    require(
        type(got) is list and len(got) == p,
        f"{tried} is a list with one list for each of {p} stages, got {brief(got)}",
    )
    for s, (mine, right) in enumerate(zip(got, want, strict=True)):
        require(
            mine == right,
            f"stage {s} of {tried}: {parted(mine, right)}",
        )
    same(got, want, f"{tried}: a list of lists of tuples (kind, stage, micro_batch)")


HAND = {  # worked out with a pencil
    (3, 4): ("F0 F1 F2 B0 F3 B1 B2 B3", "F0 F1 B0 F2 B1 F3 B2 B3", "F0 B0 F1 B1 F2 B2 F3 B3"),
    (1, 3): ("F0 B0 F1 B1 F2 B2",),
}


@exercise_check("schedule_1f1b", points=2, title="three stages, four micro-batches")
def _(student, rng):
    for (p, m), rows in HAND.items():
        want = [[(word[0], s, int(word[1:])) for word in row.split()] for s, row in enumerate(rows)]
        same_schedule(student.schedule_1f1b(p, m), want, p, m)


@exercise_check("schedule_1f1b", points=2, title="any size")
def _(student, rng):
    sizes = [(4, 8), (2, 2), (5, 5), (6, 7), (int(rng.integers(2, 8)), int(rng.integers(9, 20)))]
    for p, m in sizes:
        same_schedule(student.schedule_1f1b(p, m), in_turn(p, m), p, m)


@exercise_check(
    "schedule_1f1b", points=1, title="few micro-batches, and what is none", is_core=False
)
def _(student, rng):
    for p, m in ((4, 2), (5, 1), (8, 3), (3, 2)):
        same_schedule(student.schedule_1f1b(p, m), in_turn(p, m), p, m)
    for p, m in ((0, 4), (4, 0), (-1, 2), (2, -1)):
        refused(lambda p=p, m=m: student.schedule_1f1b(p, m), f"{p} stages, {m} micro-batches")


# bubble_fraction


def counted(timeline: list, cells_per_second: int = 4) -> float:
    """Return the idle share of a timeline by counting cells of a grid that its times lie on."""
    times = [t for order in timeline for op in order for t in op[3:]]
    first = min(times)
    grid = np.zeros((len(timeline), round((max(times) - first) * cells_per_second)), bool)
    for row, order in zip(grid, timeline, strict=True):
        for *_, start, end in order:
            row[
                round((start - first) * cells_per_second) : round((end - first) * cells_per_second)
            ] = 1
    return float(1 - grid.mean())


def bubble_slips(timeline: list) -> list:
    """Return what known mistakes give, with their names."""
    orders = [order for order in timeline if order]
    flat = [op for order in orders for op in order]
    busy = sum(op[4] - op[3] for op in flat)
    last = max(op[4] for op in flat)
    span = last - min(op[3] for op in flat)
    n = len(timeline)
    own = [max(o[4] for o in order) - min(o[3] for o in order) for order in orders]
    works = [sum(o[4] - o[3] for o in order) for order in orders]
    listed = max(order[-1][4] for order in orders) - min(order[0][3] for order in orders)
    slips = [
        (busy / (n * span), "your result is the share of work: take it from 1"),
        (n * span - busy, "your result is the idle time: divide it by the time there is"),
        (
            (n * span - busy) / busy,
            "your idle time is divided by the work: divide it by the time there is, idle included",
        ),
        (1 - busy / span, "your time there is counts once: count it for each rank"),
        (
            1 - busy / (n * last) if last else -1.0,
            "your time is counted from 0: count from the earliest start, since a clock may start "
            "anywhere",
        ),
        (
            1 - busy / (len(orders) * span),
            "your ranks leave out one without any operation: it waits all the time, and counts",
        ),
        (
            1 - sum(works) / sum(own) if sum(own) else -1.0,
            "your ranks are each measured from their own first start to their own last end: take "
            "the timeline of all",
        ),
        (
            1 - busy / (n * listed) if listed else -1.0,
            "your time goes from the first of a list to the last: these need not be the earliest "
            "and the latest",
        ),
        (
            1 - len(flat) / (n * span),
            "your operations count as if each took one second: add up end - start",
        ),
    ]
    return [(np.float64(wrong), hint) for wrong, hint in slips]


def same_bubble(student, timeline: list, tried: str) -> None:
    """Reject another share than the one that is counted."""
    with in_case(tried):
        got = student.bubble_fraction(timeline)
    want = counted(timeline)
    recognise(got, want, [(w, f"{h} ({tried})") for w, h in bubble_slips(timeline)], atol=1e-9)
    close(got, np.float64(want), f"the idle share of {tried}", atol=1e-9, rtol=1e-9)


def drawn_timeline(rng, n_ranks: int) -> list:
    """Return a timeline of operations with drawn lengths and gaps, on a grid of quarters."""
    timeline = []
    for rank in range(n_ranks):
        now, order = int(rng.integers(1, 9)), []
        for k in range(int(rng.integers(2, 6))):
            start = now + int(rng.integers(1, 5))
            now = start + int(rng.integers(1, 9))
            order.append(("FB"[k % 2], rank, k // 2, start / 4, now / 4))
        timeline.append(order)
    return timeline


FOUR = [  # two stages, two micro-batches, forward 1 and backward 2
    [("F", 0, 0, 0.0, 1.0), ("F", 0, 1, 1.0, 2.0), ("B", 0, 0, 4.0, 6.0), ("B", 0, 1, 7.0, 9.0)],
    [("F", 1, 0, 1.0, 2.0), ("B", 1, 0, 2.0, 4.0), ("F", 1, 1, 4.0, 5.0), ("B", 1, 1, 5.0, 7.0)],
]


@exercise_check("bubble_fraction", points=2, title="idle of all")
def _(student, rng):
    same_bubble(student, FOUR, "two stages with two micro-batches, which take 9 seconds")
    same_bubble(
        student, [[("F", 0, 0, 0.0, 1.0), ("B", 0, 0, 1.0, 3.0)]], "a rank that never waits"
    )
    for n_ranks in (2, 3, 5):
        same_bubble(student, drawn_timeline(rng, n_ranks), f"a drawn timeline of {n_ranks} ranks")


@exercise_check("bubble_fraction", points=1, title="clocks and orders")
def _(student, rng):
    moved = [[(*op[:3], op[3] + 5000.25, op[4] + 5000.25) for op in order] for order in FOUR]
    same_bubble(student, moved, "times that begin at 5000.25")
    same_bubble(student, [order[::-1] for order in moved], "lists that are not sorted")
    same_bubble(student, [*FOUR, []], "a third rank without any operation")
    same_bubble(student, [[], FOUR[1]], "a first rank without any operation")
    drawn = drawn_timeline(rng, 4)
    same_bubble(student, [order[1:] + order[:1] for order in drawn], "lists that are not sorted")
    still = [[("F", 0, 0, 2.0, 2.0), ("B", 0, 0, 2.0, 5.0)], [("F", 1, 0, 2.0, 3.0)]]
    same_bubble(student, still, "an operation that takes no time, among others")


@exercise_check("bubble_fraction", points=1, title="what is no timeline", is_core=False)
def _(student, rng):
    same_bubble(student, drawn_timeline(rng, 2), "a drawn timeline of 2 ranks")
    for wrong, why in (
        ([], "no rank"),
        ([[], []], "two ranks without any operation"),
        ([[("F", 0, 0, 1.0, 2.0), ("B", 0, 0, 4.0, 3.0)]], "an end before its start"),
        ([[("F", 0, 0, 3.0, 3.0)]], "operations that take no time at all"),
    ):
        refused(lambda w=wrong: student.bubble_fraction(w), why)


# checkpoint_block


def block_case(rng, n_rows: int, d: int = 4, f: int = 32) -> tuple:
    """Return x, w_up and w_down whose inner numbers are all above 0, and a place for the calls."""
    x = rng.uniform(0.5, 1.5, (n_rows, d)).astype(np.float32)
    w_up = rng.uniform(0.2, 1.0, (d, f)).astype(np.float32)
    w_down = rng.normal(size=(f, d)).astype(np.float32)
    return x, w_up, w_down, np.zeros(2, np.int64)


def called(student, case: tuple, upstream: np.ndarray) -> tuple:
    """Return the result of a call, the gradients for its three arrays, how often the block ran.

    And whether the backward has moved torch's generator.
    """
    reply = student._backend.call(
        "checkpoint_block", case, {}, upstream=upstream, with_gradients=True
    )
    gradients = [g for g in reply["gradients"] if isinstance(g, np.ndarray)]
    require(
        len(gradients) == 3, f"x, w_up and w_down are to have a gradient each, got {len(gradients)}"
    )
    calls = reply["arguments"][3]
    return reply["result"], gradients, calls, reply.get("is_moved")


def block_gradients(case: tuple, kept: np.ndarray, upstream: np.ndarray) -> list:
    """Return the gradients of the example block with a dropout mask, in float64."""
    x, w_up, w_down = (a.astype(np.float64) for a in case[:3])
    inner = x @ w_up
    behind = upstream @ w_down.T * 2 * kept * (inner > 0)
    return [
        upstream + behind @ w_up.T,
        x.T @ behind,
        (np.maximum(inner, 0) * 2 * kept).T @ upstream,
    ]


def mask_of_result(case: tuple, result: np.ndarray) -> np.ndarray:
    """Return which inner numbers a result was made of; w_down must be invertible.

    Raises:
        Rejected: where the result is none of the example block's.
    """
    x, w_up, w_down = (a.astype(np.float64) for a in case[:3])
    want = (
        "your result is not block(*tensors), which is x + dropout(relu(x w_up)) w_down, with half "
        "dropped"
    )
    require(isinstance(result, np.ndarray) and result.shape == x.shape, want)
    inner = np.linalg.solve(w_down.T, (result.astype(np.float64) - x).T).T
    ratio = inner / (x @ w_up)
    kept = ratio > 1
    require(kept.any() and np.allclose(ratio, 2.0 * kept, atol=5e-3), want)
    return kept


def square_case(rng, n_rows: int, d: int = 16) -> tuple:
    """Return a case whose w_down is turned and scaled alone, so that its result can be read."""
    x, w_up, _, calls = block_case(rng, n_rows, d, d)
    w_down = np.linalg.qr(rng.normal(size=(d, d)))[0].astype(np.float32)
    return x, w_up, w_down, calls


@exercise_check("checkpoint_block", points=1, title="the result")
def _(student, rng):
    for n_rows in (1, 5):
        case = square_case(rng, n_rows)
        result = student.checkpoint_block(*case)
        calls = student.arguments_after[3]
        mask_of_result(case, result)
        left_alone(student, **dict(zip(("x", "w_up", "w_down"), case, strict=False)))
        require(
            calls.sum() == 1,
            f"{n_rows} rows, and no backward: expected one run of the block, got {calls.sum()}",
        )
    again = student.checkpoint_block(*case)
    not_the_mistake(
        not np.array_equal(again, result),
        "two calls of yours drop the same numbers: let the block draw from torch's generator as "
        "it stands, without a seed of your own",
    )
    x, weight, bias = case[0], *(rng.normal(size=size).astype(np.float32) for size in ((3, 16), 3))
    with in_case("another block, a linear layer"):
        result = student.checkpoint_block(x, block=Linear(weight, bias))
    close(result, x @ weight.T + bias, "the result of another block, a linear layer", atol=1e-4)


@exercise_check("checkpoint_block", points=2, title="the gradients")
def _(student, rng):
    for n_rows in (1, 6):
        case = square_case(rng, n_rows)
        upstream = rng.normal(size=case[0].shape).astype(np.float32)
        result, got, *_ = called(student, case, upstream)
        kept = mask_of_result(case, result)
        for name, gradient in zip(("x", "w_up", "w_down"), got, strict=True):
            not_the_mistake(
                gradient.any(),
                f"no gradient reaches `{name}`, it is 0 everywhere: run the block again where "
                "autograd records",
            )
        if n_rows == 1 and got[2].shape == case[2].shape:
            kept = got[2].any(axis=1)[None]  # the mask of the second run
        for name, gradient, want in zip(
            ("x", "w_up", "w_down"), got, block_gradients(case, kept, upstream), strict=True
        ):
            if n_rows > 1 and name != "x":
                continue  # the next part compares them, with the first run's mask
            if n_rows > 1:
                require(
                    gradient.shape == want.shape,
                    f"{n_rows} rows: expected a gradient of x of shape {want.shape}, got "
                    f"{gradient.shape}",
                )
                continue
            if name == "x":
                slips = [
                    (
                        want - upstream,
                        "your gradient of x leaves out the way around the block, x + ...: let the "
                        "whole block run again",
                    ),
                    (
                        upstream,
                        "your gradient passes the block by, as if only x + 0 was recorded: switch "
                        "recording on for the second run",
                    ),
                ]
                recognise(gradient, want, slips, atol=1e-4)
            ones = block_gradients(case, kept, np.ones_like(upstream))
            index = ("x", "w_up", "w_down").index(name)
            recognise(
                gradient,
                want,
                [
                    (
                        ones[index],
                        f"your gradient of `{name}` leaves out the gradient that arrives: it "
                        "weighs the result",
                    ),
                    (np.zeros_like(want), f"no gradient reaches `{name}`"),
                ],
                atol=1e-4,
            )
            close(gradient, want, f"the gradient of `{name}`, one row", atol=1e-4, rtol=1e-3)


@exercise_check("checkpoint_block", points=2, title="the same draws")
def _(student, rng):
    for n_rows in (1, 6):
        case = square_case(rng, n_rows)
        upstream = rng.normal(size=case[0].shape).astype(np.float32)
        result, got, _, is_moved = called(student, case, upstream)
        kept = mask_of_result(case, result)
        want = block_gradients(case, kept, upstream)
        if n_rows == 1 and got[2].shape == want[2].shape:
            other = got[2].any(axis=1)[None]
            is_another = resembles(got[2], block_gradients(case, other, upstream)[2])
            not_the_mistake(
                not is_another or (other == kept).all(),
                "your second run drops other numbers than the first, so the gradient belongs to a "
                "result that nobody got: put torch's generator back to where it was",
            )
        for name, gradient, right in zip(("x", "w_up", "w_down"), got, want, strict=True):
            close(
                gradient,
                right,
                f"the gradient of `{name}` for the numbers that the first run dropped, {n_rows} "
                "rows",
                atol=1e-4,
                rtol=1e-3,
            )
        not_the_mistake(
            not is_moved,
            "your backward moves torch's generator: put it back afterwards to where it was before "
            "the second run, whatever was drawn between the two runs",
        )


@exercise_check("checkpoint_block", points=1, title="what is kept")
def _(student, rng):
    case = block_case(rng, 3)
    upstream = rng.normal(size=case[0].shape).astype(np.float32)
    result, _, calls, _ = called(student, case, upstream)
    require(
        isinstance(result, np.ndarray) and result.shape == case[0].shape,
        f"expected a result of x's shape {case[0].shape}, got {brief(np.shape(result))}",
    )
    not_the_mistake(
        calls.sum() != 1,
        "the block ran once, before the backward, so that whatever is inside it was kept all the "
        "time: run it again in the backward",
    )
    require(
        calls.sum() == 2,
        f"a result and its gradient: expected two runs of the block, got {calls.sum()}",
    )
    student.checkpoint_block(*case)
    first = student.arguments_after[3]
    require(
        first.sum() == 1,
        f"a call without a backward: expected one run of the block, got {first.sum()}",
    )


# column_parallel_linear


GROUP = (1, 3)  # two of four ranks
IN_GROUP = "`group` is ranks 1 and 3 of four"


def normal(rng, *shape: int) -> np.ndarray:
    """Return numbers in float32."""
    return rng.normal(size=shape).astype(np.float32)


def operations_of(replies: list) -> str:
    """Return in words what rank 0 sent."""
    return ", ".join(f"{o.name} of {o.n_bytes} bytes" for o in replies[0].operations) or "nothing"


@exercise_check("column_parallel_linear", points=2, title="each rank's outputs")
def _(student, rng):
    hand = (
        np.array([[1, 2]], np.float32),
        [np.array([row], np.float32) for row in ([3, 4], [5, 6])],
    )
    drawn = (normal(rng, 2, 3, 4), [normal(rng, 2, 4) for _ in range(3)])
    for x, weights in (hand, drawn):
        n = len(weights)
        tried = f"{n} ranks, x {x.shape}, weight {weights[0].shape} on each"
        replies = in_ranks(student, "column_parallel_linear", [(x, w) for w in weights])
        parts = [x.astype(np.float64) @ w.T for w in weights]
        for rank, (reply, want) in enumerate(zip(replies, parts, strict=True)):
            recognise(
                reply.result,
                want,
                [
                    (
                        np.concatenate(parts, axis=-1),
                        "your result puts the outputs of all ranks together: return the rank's own",
                    ),
                    (
                        sum(parts),
                        "your result is the sum of the ranks' outputs: return the rank's own",
                    ),
                ],
            )
            close(reply.result, want, f"rank {rank}: x @ weight.T of its own weight ({tried})")
            require(
                all(
                    np.array_equal(a, b)
                    for a, b in zip(reply.arguments, (x, weights[rank]), strict=True)
                ),
                "an argument was changed in place by your function: work on a copy",
            )
        require(
            not replies[0].operations,
            f"the forward is to send nothing, and rank 0 sent {operations_of(replies)} ({tried})",
        )


def same_rank_gradient(got, want, slips: list, hint: str) -> None:
    """Reject another gradient, with a mistake's name where it is that one's."""
    recognise(got, want, [(wrong, f"{words} ({hint})") for wrong, words in slips])
    close(got, want, hint, atol=1e-4)


@exercise_check("column_parallel_linear", points=2, title="the gradients")
def _(student, rng):
    hand = (
        np.array([[1, 2]], np.float32),
        [np.array([row], np.float32) for row in ([3, 4], [5, 6])],
    )
    drawn = (normal(rng, 2, 3, 4), [normal(rng, 2, 4) for _ in range(3)])
    for case, (x, weights) in (("the docstring's case", hand), ("a drawn case", drawn)):
        n = len(weights)
        ups = [
            np.ones((*x.shape[:-1], len(w)), np.float32) if x is hand[0] else normal(rng, 2, 3, 2)
            for w in weights
        ]
        replies = in_ranks(
            student,
            "column_parallel_linear",
            [(x, w) for w in weights],
            upstream=ups,
            with_gradients=True,
        )
        own = [up.astype(np.float64) @ w for up, w in zip(ups, weights, strict=True)]
        of_weight = [np.tensordot(up, x, (range(x.ndim - 1),) * 2) for up in ups]
        for rank, reply in enumerate(replies):
            where = f"rank {rank} of {n}, {case}"
            same_rank_gradient(
                reply.gradients[0],
                sum(own),
                [
                    (own[rank], "your gradient is the part of this rank alone: sum over the ranks"),
                    (sum(own) / n, "your parts are averaged: sum them"),
                    (n * sum(own), "your sum over the ranks is taken twice: take it once"),
                    (
                        n * own[rank],
                        "your gradient is n times this rank's part, and the others count not at "
                        "all: sum over the ranks",
                    ),
                ],
                f"the gradient of x, {where}",
            )
            same_rank_gradient(
                reply.gradients[1],
                of_weight[rank],
                [
                    (
                        sum(of_weight),
                        "your gradients of the weights are summed over the ranks: let each keep "
                        "its own",
                    ),
                ],
                f"the gradient of the weight, {where}",
            )
        n_bytes = sum(o.n_bytes for o in replies[0].operations)
        require(
            n_bytes <= x.nbytes,
            f"one all_reduce of the gradient of x is enough, {x.nbytes} bytes, and rank 0 sent "
            f"{operations_of(replies)} ({case})",
        )


@exercise_check(
    "column_parallel_linear", points=1, title="a group, what does not fit", is_core=False
)
def _(student, rng):
    x, weights, up = normal(rng, 2, 3), [normal(rng, 1, 3) for _ in GROUP], normal(rng, 2, 1)
    args, ups = [(x, w) for w in weights], [up for _ in GROUP]
    with in_case(IN_GROUP):
        replies = in_ranks(
            student, "column_parallel_linear", args, None, ups, with_gradients=True, members=GROUP
        )
    want = sum(up.astype(np.float64) @ w for w in weights)
    for reply in replies:
        close(reply.gradients[0], want, f"the gradient of x, summed over the group ({IN_GROUP})")
    x, weight = normal(rng, 3), normal(rng, 2, 3)
    (reply,) = in_ranks(student, "column_parallel_linear", [(x, weight)])
    close(reply.result, weight @ x, "one rank, x of one axis: the plain layer")
    wide = normal(rng, 2, 5)
    refused(
        lambda: in_ranks(student, "column_parallel_linear", [(x, wide), (x, wide)]),
        "x (3) and a weight (2, 5)",
    )


# row_parallel_linear


@exercise_check("row_parallel_linear", points=2, title="the sum of all ranks")
def _(student, rng):
    hand = (
        [np.array([[v]], np.float32) for v in (1, 2)],
        [np.array([[v]], np.float32) for v in (3, 4)],
    )
    drawn = ([normal(rng, 2, 3, 2) for _ in range(3)], [normal(rng, 4, 2) for _ in range(3)])
    for (xs, weights), bias in (
        (hand, np.array([10], np.float32)),
        (drawn, None),  # the next part has three ranks with a bias
    ):
        n = len(xs)
        tried = f"{n} ranks, x {xs[0].shape}, weight {weights[0].shape} on each, "
        tried += "no bias" if bias is None else "a bias"
        given = [(x, w) if bias is None else (x, w, bias) for x, w in zip(xs, weights, strict=True)]
        replies = in_ranks(student, "row_parallel_linear", given)
        parts = [x.astype(np.float64) @ w.T for x, w in zip(xs, weights, strict=True)]
        add = 0.0 if bias is None else bias
        for rank, reply in enumerate(replies):
            slips = [
                (
                    sum(parts) + n * add,
                    f"your bias counts {n} times, once for each rank: add it once",
                ),
                (sum(parts), "your result is the one without the bias: add it once"),
                (
                    parts[rank] + add,
                    "your result is the summand of this rank alone: sum over the ranks",
                ),
                (sum(parts) / n + add, "your summands are averaged: sum them"),
                (sum(parts) + add / n, "your bias is divided by the number of ranks: add it whole"),
                (np.concatenate(parts, -1), "your summands are put side by side: sum them"),
                ((sum(parts) + add) * n, "your sum over the ranks is taken twice: take it once"),
            ]
            hint = f"rank {rank}: the sum of all ranks' x @ weight.T, and the bias once ({tried})"
            same_rank_gradient(reply.result, sum(parts) + add, slips, hint)
            require(
                all(
                    np.array_equal(a, b) for a, b in zip(reply.arguments, given[rank], strict=True)
                ),
                "an argument was changed in place by your function: work on a copy",
            )


@exercise_check("row_parallel_linear", points=2, title="the gradients")
def _(student, rng):
    n = 3
    xs, weights = [normal(rng, 2, 2) for _ in range(n)], [normal(rng, 4, 2) for _ in range(n)]
    bias, up = normal(rng, 4), normal(rng, 2, 4)
    replies = in_ranks(
        student,
        "row_parallel_linear",
        [(x, w, bias) for x, w in zip(xs, weights, strict=True)],
        upstream=[up] * n,
        with_gradients=True,
    )
    total = sum(x.astype(np.float64) @ w.T for x, w in zip(xs, weights, strict=True)) + bias
    for rank, reply in enumerate(replies):
        close(reply.result, total, f"rank {rank} of {n}: the sum of all ranks', and the bias once")
        own = up.astype(np.float64)
        of_x, of_weight, of_bias = own @ weights[rank], own.T @ xs[rank], own.sum(0)
        for name, got, want in zip(
            ("x", "the weight", "the bias"),
            reply.gradients,
            (of_x, of_weight, of_bias),
            strict=True,
        ):
            same_rank_gradient(
                got,
                want,
                [
                    (
                        n * want,
                        "your gradient is summed over the ranks: that of a sum is the same for "
                        "each summand, so leave it as it arrives",
                    ),
                    (
                        want / n,
                        "your gradient is divided by the number of ranks: leave it as it is",
                    ),
                ],
                f"the gradient of {name}, rank {rank} of {n}",
            )
    n_bytes = sum(o.n_bytes for o in replies[0].operations)
    require(
        n_bytes <= up.nbytes,
        f"one all_reduce of the output is enough, {up.nbytes} bytes forward and none backward, "
        f"and rank 0 sent {operations_of(replies)}",
    )


@exercise_check("row_parallel_linear", points=1, title="a group, what does not fit", is_core=False)
def _(student, rng):
    args = [(normal(rng, 2, 3), normal(rng, 4, 3)) for _ in GROUP]
    with in_case(IN_GROUP):
        replies = in_ranks(student, "row_parallel_linear", args, members=GROUP)
    want = sum(x.astype(np.float64) @ w.T for x, w in args)
    for reply in replies:
        close(reply.result, want, f"the sum over the group ({IN_GROUP})")
    x, weight, bias = normal(rng, 3), normal(rng, 2, 3), normal(rng, 2)
    (reply,) = in_ranks(student, "row_parallel_linear", [(x, weight, bias)])
    close(reply.result, weight @ x + bias, "one rank, x of one axis: the plain layer")
    for given, why in (
        ((x, normal(rng, 2, 5)), "x (3) and a weight (2, 5)"),
        ((x, weight, normal(rng, 1)), "a bias (1) for two outputs"),
        ((x, weight, normal(rng, 2, 1)), "a bias (2, 1) for two outputs"),
    ):
        refused(lambda g=given: in_ranks(student, "row_parallel_linear", [g]), why)


# vocab_parallel_cross_entropy


def whole_loss(parts: list, targets: np.ndarray) -> tuple:
    """Return loss and gradient of the whole logits, in float64."""
    logits = np.concatenate(parts, -1).astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
    kept = targets != -100
    places = np.nonzero(kept)
    chosen = shifted[*places, targets[kept]] - np.log(np.exp(shifted).sum(-1))[kept]
    gradient = np.where(kept[..., None], probabilities, 0.0)
    gradient[*places, targets[kept]] -= 1
    return -chosen.mean(), gradient / kept.sum()


def vocab_slips(parts: list, targets: np.ndarray, rank: int) -> list:
    """Return the losses that known mistakes give on a rank, with their names."""
    n_local, n = parts[0].shape[-1], len(parts)
    parts = [part.astype(np.float64) for part in parts]
    largest = np.stack([part.max(-1) for part in parts])
    highest = largest.max(0)
    parts = [part - highest[..., None] for part in parts]  # as all do who stay finite
    logits, kept = np.concatenate(parts, -1), targets != -100
    total = np.log(np.exp(logits).sum(-1))
    at = np.where(kept, targets, 0)
    chosen = np.take_along_axis(logits, at[..., None], -1)[..., 0]
    of_rank = at // n_local
    mine = of_rank == rank
    own = np.log(np.exp(parts[rank]).sum(-1))
    drawn = sum(np.take_along_axis(p, (at % n_local)[..., None], -1)[..., 0] for p in parts)
    each = (total - chosen)[kept]
    offsets = largest - highest
    apart = np.log(
        sum(np.exp(p - o[..., None]).sum(-1) for p, o in zip(parts, offsets, strict=True))
    )
    below = np.take_along_axis(offsets, of_rank[None], 0)[0]
    return [
        (each.sum(), "your loss is the sum: take the mean over the targets that count"),
        (each.sum() / kept.size, "your mean counts positions with the target -100: leave them out"),
        (
            (total - np.where(mine, chosen, 0.0))[kept].mean(),
            "your loss lacks the target's logit where another rank holds it: add it up over the "
            "ranks",
        ),
        (
            (own - np.where(mine, chosen, 0.0))[kept].mean(),
            "your sum of exponentials has this rank's part of the vocabulary alone: add it up "
            "over the ranks",
        ),
        (
            (total - drawn)[kept].mean(),
            "your ranks each add a logit: let the target's rank alone add one, and the others 0",
        ),
        (
            (own - chosen)[kept].mean(),
            "your sum of exponentials has this rank's part of the vocabulary alone: add it up "
            "over the ranks",
        ),
        (
            (total - n * chosen)[kept].mean(),
            "your loss counts the target's logit n times: let its rank alone add it",
        ),
        (
            (apart - chosen + below)[kept].mean(),
            "your ranks each take off their own largest logit, and such exponentials can't be "
            "added: take off the largest of all",
        ),
        (
            (total - chosen)[kept].mean() / n,
            "your loss is divided by the number of ranks: every rank returns the whole loss",
        ),
        (
            (total - chosen)[kept].mean() * n,
            "your loss is summed over the ranks: every rank has the whole loss already",
        ),
    ]


def ask_loss(student, parts: list, targets: np.ndarray, **more) -> list:
    """Return the replies of all ranks."""
    given = [(part, targets) for part in parts]
    return in_ranks(student, "vocab_parallel_cross_entropy", given, **more)


HAND_LOGITS = [np.zeros((2, 2), np.float32)] * 2, np.array([3, -100])
SMALL = (  # four positions, two ranks with two ids each
    [
        np.array([[1, 0], [2, 0.5], [-1, 1], [3, 3]], np.float32),
        np.array([[-1, 0.25], [0, 1], [0.5, 2], [2, 4]], np.float32),
    ],
    np.array([3, 0, 2, -100]),
)


@exercise_check("vocab_parallel_cross_entropy", points=2, title="the loss")
def _(student, rng):
    targets = rng.permutation(np.arange(15))[:8].reshape(2, 4)
    targets[0, 1] = targets[1, 3] = -100
    targets[0, 0], targets[1, 1] = 0, 14  # the first id and the last
    drawn = [2 * normal(rng, 2, 4, 5) for _ in range(3)], targets
    narrow = [normal(rng, 2, 1) for _ in range(3)], np.array([2, 0])
    for parts, targets in (SMALL, drawn, narrow):
        want, _ = whole_loss(parts, targets)
        n, n_local = len(parts), parts[0].shape[-1]
        tried = f"{n} ranks with {n_local} ids each, targets {targets.tolist()}"
        for rank, reply in enumerate(ask_loss(student, parts, targets)):
            slips = [(w, f"{h} ({tried})") for w, h in vocab_slips(parts, targets, rank)]
            recognise(reply.result, want, slips)
            close(reply.result, want, f"the mean cross-entropy on rank {rank} ({tried})")
            require(
                np.array_equal(reply.arguments[0], parts[rank])
                and np.array_equal(reply.arguments[1], targets),
                "an argument was changed in place by your function: work on a copy",
            )


@exercise_check("vocab_parallel_cross_entropy", points=2, title="the gradient")
def _(student, rng):
    drawn = [normal(rng, 5, 4) for _ in range(2)], np.array([0, -100, 7, 4, 3])
    for case, (parts, targets), up in (
        ("the docstring's case", HAND_LOGITS, 1.0),
        ("a drawn case", drawn, 1.5),
    ):
        loss, want = whole_loss(parts, targets)
        n_local = parts[0].shape[-1]
        replies = ask_loss(
            student, parts, targets, upstream=[np.float32(up)] * 2, with_gradients=True
        )
        for rank, reply in enumerate(replies):
            mine = up * want[..., rank * n_local : (rank + 1) * n_local]
            slips = [
                (
                    2 * mine,
                    "your gradient is summed over the ranks: each has the same loss, so leave it "
                    "as it is",
                ),
                (mine / 2, "your gradient is divided by the number of ranks: leave it as it is"),
                (
                    mine * 0,
                    "your gradient of the logits is 0 everywhere: see that nothing cuts it on its "
                    "way from the loss",
                ),
            ]
            close(reply.result, loss, f"the mean cross-entropy on rank {rank}, {case}")
            same_rank_gradient(
                reply.gradients[0], mine, slips, f"the gradient of the logits, rank {rank}, {case}"
            )


@exercise_check("vocab_parallel_cross_entropy", points=1, title="large logits")
def _(student, rng):
    targets = np.array([1, 4, 3, -100])
    parts = [normal(rng, 4, 3) for _ in range(2)]
    parts[0][0, 1] += 3000
    parts[1][1, 2] += 3000
    parts[0][2] -= 3000
    parts[1][2] -= 3000
    parts[1][3] = 1e30
    want, gradient = whole_loss(parts, targets)
    replies = ask_loss(student, parts, targets, with_gradients=True)
    for rank, reply in enumerate(replies):
        hint = f"logits around 3000 and -3000, one row of 1e30 that does not count, rank {rank}"
        close(reply.result, want, hint, atol=1e-3)
        close(
            reply.gradients[0], gradient[:, 3 * rank : 3 * rank + 3], f"gradient: {hint}", atol=1e-3
        )


@exercise_check("vocab_parallel_cross_entropy", points=1, title="what is sent")
def _(student, rng):
    parts, targets = [normal(rng, 6, 64) for _ in range(2)], rng.integers(0, 128, 6)
    want, _ = whole_loss(parts, targets)
    replies = ask_loss(student, parts, targets, with_gradients=True)
    close(replies[0].result, want, "the loss with 64 ids on each of two ranks")
    n_bytes = sum(o.n_bytes for o in replies[0].operations)
    require(
        n_bytes <= 8 * 6 * 8,
        "6 positions with 64 ids on each of two ranks: let a few numbers travel for each "
        f"position, never the logits themselves; rank 0 sent {operations_of(replies)}",
    )


@exercise_check(
    "vocab_parallel_cross_entropy", points=1, title="a group, what does not fit", is_core=False
)
def _(student, rng):
    with in_case(IN_GROUP):
        replies = ask_loss(student, *SMALL, members=GROUP)
    for reply in replies:
        close(reply.result, whole_loss(*SMALL)[0], f"the mean cross-entropy ({IN_GROUP})")
    parts, good = [normal(rng, 2, 3) for _ in range(2)], np.array([5, 0])
    close(
        ask_loss(student, parts, good)[1].result, whole_loss(parts, good)[0], "the last id counts"
    )
    refused(lambda: ask_loss(student, parts, np.array([1, 6])), "a target of 6 with six ids")
    for targets, why in (
        (np.array([-1, 2]), "a target of -1"),
        (np.array([-100, -100]), "no target that counts"),
        (np.array([1]), "one target for two rows"),
    ):
        refused(lambda t=targets: ask_loss(student, parts[:1], t), why)
