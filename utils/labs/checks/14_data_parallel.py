"""Checks of lab 14: the ring, one data parallel step, and the shards of ZeRO, in real processes.

Oracles: NumPy sums and slices in float64, torch's AdamW and autograd in one process that holds
everything, and a ring that is played in NumPy, with and without mistakes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from utils.labs.checking import (
    Check,
    brief,
    close,
    collector,
    in_case,
    not_the_mistake,
    recognise,
    refused,
    require,
)
from utils.labs.ranks import RankReply, in_ranks
from utils.labs.values import Lookup

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

EXAMPLES_NOT_TRIED = {  # the checks try the like on ranks of their own
    "ring_all_reduce": "its example starts two ranks",
    "ddp_step": "its example starts two ranks",
    "shard_optimizer": "its example starts two ranks",
    "fsdp_gather": "its example starts two ranks",
    "fsdp_reduce": "its example starts two ranks",
}

HINTS = {
    "ring_all_reduce": (
        "Cut the tensor into n parts. In each round a rank sends one part to the next rank and "
        "takes one from the rank before. First the parts collect the numbers of all ranks, then "
        "the finished sums go round.",
        "By hand, three ranks with parts a, b, c: in round 0 rank 0 sends its a, rank 1 its b, "
        "rank 2 its c. Rank 1 now has the a of two ranks. Which part does it send in round 1? "
        "After two rounds, which rank has the whole a? What changes in rounds 2 and 3? And if all "
        "ranks call send at the same time, who receives?",
        "n = dist.get_world_size(group); rank = dist.get_rank(group). total = "
        "tensor.detach().flatten().clone(); parts = total.tensor_split(n), which are views. For "
        "step in range(2 * (n - 1)): leaving = parts[(rank - step) % n]; kept = parts[(rank - step "
        "- 1) % n]; arrived = torch.empty_like(kept); sending = dist.isend(leaving, group=group, "
        "group_dst=(rank + 1) % n); dist.recv(arrived, group=group, group_src=(rank - 1) % n); "
        "sending.wait(); kept.copy_(kept + arrived if step < n - 1 else arrived). Return "
        "total.view(tensor.shape).",
    ),
    "ddp_step": (
        "Each rank adds up, over its micro-batches, the gradient of the sum of its losses. One "
        "all-reduce makes the sum of all ranks of it, one more the number of tokens of all ranks. "
        "Then divide, then clip.",
        "By hand: rank 0 has one token with gradient 6, rank 1 has three tokens with gradients 2, "
        "2 and 2. What is the mean over the four tokens? And the mean of the two ranks' means? "
        "What does a rank without a micro-batch hand to the all-reduce for which the others wait?",
        "weights = [w for w in model.parameters() if w.requires_grad]; set each w.grad = None. For "
        "each micro-batch: nats = functional.cross_entropy(model(token_ids).flatten(0, 1), "
        "targets.flatten(), ignore_index=IGNORE_INDEX, reduction='sum'); nats.backward(); add "
        "nats.item() and the number of counted targets to counted, a float64 tensor of two. "
        "dist.all_reduce(counted, group=group); raise where no token counts. A w.grad of None "
        "becomes torch.zeros_like(w). bucket = torch.cat of all w.grad.flatten(); "
        "dist.all_reduce(bucket, group=group); split it by w.numel() and w.grad.copy_(part.view_as"
        "(w) / n_tokens). norm = clip_gradients(weights, math.inf if max_norm is None else "
        "max_norm). Return nats / n_tokens of the sums, and norm.",
    ),
    "shard_optimizer": (
        "Cut out your shard of the weights and of the gradient. Take the step on it, with the "
        "state that you alone have. Then all ranks put their shards together.",
        "By hand: 5 weights, 3 ranks: S = 2, and rank 2 has one weight and one zero. Which numbers "
        "does rank 1 update? What are its moments before the first step? What must be cut off "
        "after the gathering?",
        "Refuse other shapes. n, rank as in the ring. mine = shard_of(weights, rank, n); slope = "
        "shard_of(gradient, rank, n). first = state.get('first_moment', mine * 0), second alike; "
        "step = state.get('step', 0) + 1. mine, first, second = adamw_step(mine, slope, first, "
        "second, step, lr=lr, weight_decay=weight_decay). Return ring_all_gather(mine, "
        "group)[: weights.numel()] and the dictionary of step, first_moment and second_moment.",
    ),
    "fsdp_gather": (
        "All shards one after the other are the numbers of the weight, with zeros behind them. "
        "Cut these off and give it its shape.",
        "By hand: a weight of shape (5,) on 2 ranks has shards of 3: [1, 2, 3] and [4, 5, 0]. What "
        "does the gathering give, and what is left after the cut? How many numbers has a weight of "
        "shape (2, 3)?",
        "n = dist.get_world_size(group); n_numbers = math.prod(shape). Raise unless shard.shape is "
        "(math.ceil(n_numbers / n),). Return ring_all_gather(shard, group)[:n_numbers]"
        ".view(tuple(shape)).",
    ),
    "fsdp_reduce": (
        "Make the gradient flat and as long as n equal shards, with zeros. Then each rank needs "
        "the sum of its own part alone: a reduce-scatter. Divide by the number of ranks.",
        "By hand: gradients [1, 2, 3] and [3, 4, 5] on 2 ranks. How many zeros make them even? "
        "What gets rank 0, what rank 1? What is 40000 + 40000 in float16, whose largest number "
        "is 65504?",
        "n = dist.get_world_size(group); flat = gradient.detach().flatten(); wide = "
        "flat.to(torch.promote_types(flat.dtype, torch.float32)); padded = functional.pad(wide, "
        "(0, -len(wide) % n)). Return (ring_reduce_scatter(padded, group) / n)"
        ".to(gradient.dtype).",
    ),
}
MESSAGES = ("send", "isend", "recv", "irecv")


GROUP = (1, 3)  # two of four ranks
IN_GROUP = "`group` is ranks 1 and 3 of four"


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return normal random numbers in float32."""
    return rng.standard_normal(shape).astype(np.float32)


def each_close(replies: list[RankReply], of: Callable, want: Callable, hint: str, **more) -> None:
    """Reject unless on each rank a part of the reply is what is wanted there.

    Args:
        replies: of the ranks.
        of: the part of a reply.
        want: the wanted value and the slips (see `recognise`) for a rank.
        hint: what is asked.
        more: `atol` and `rtol`.
    """
    for rank, reply in enumerate(replies):
        got, (wanted, slips) = of(reply), want(rank)
        where = f"on rank {rank} of {len(replies)}"
        recognise(got, wanted, [(w, f"{h} ({where})") for w, h in slips])
        close(got, wanted, f"{hint} ({where})", **more)


def given_back(replies: list[RankReply], place: int, before: Sequence[np.ndarray], name: str):
    """Reject where an array among the arguments was changed."""
    for reply, array in zip(replies, before, strict=True):
        not_the_mistake(
            np.array_equal(reply.arguments[place], array),
            f"`{name}` was changed in place by your function: make new tensors",
        )


def handed_over(reply: RankReply) -> int:
    """Return the bytes of the largest tensor that a rank handed to an operation."""
    return max([o.n_bytes for o in reply.operations if not o.name.endswith("recv")], default=0)


def shard_by_hand(array: np.ndarray, rank: int, n: int) -> np.ndarray:
    """Return a rank's shard of an array, in float64."""
    size = math.ceil(array.size / n)
    padded = np.zeros(size * n)
    padded[: array.size] = array.ravel()
    return padded[rank * size : rank * size + size]


# ring_all_reduce

BOTH_RINGS = tuple(
    f"utils.parallel.collectives.{name}" for name in ("ring_reduce_scatter", "ring_all_gather")
)


def played(arrays: list[np.ndarray], n_rounds: int, adding: int, first: int = 0) -> list:
    """Return what each rank has after rounds in a ring, of which the first ones add.

    Args:
        arrays: of the ranks.
        n_rounds: how many.
        adding: in how many of them a rank adds what arrives; then it replaces.
        first: how far the part that a rank sends first is from its own number.
    """
    n = len(arrays)
    ranks = [np.array_split(a.ravel().astype(np.float64), n) for a in arrays]
    for step in range(n_rounds):
        sent = [ranks[r][(r + first - step) % n].copy() for r in range(n)]
        for r in range(n):
            kept = ranks[r][(r + first - step - 1) % n]
            if kept.shape == sent[r - 1].shape:
                kept[:] = (kept if step < adding else 0) + sent[r - 1]
    return [np.concatenate(parts).reshape(arrays[0].shape) for parts in ranks]


def ring_slips(arrays: list[np.ndarray], rank: int) -> list:
    """Return what known mistakes give on a rank, with their names."""
    n = len(arrays)
    wide = [a.astype(np.float64) for a in arrays]
    total = sum(wide)
    return [
        (
            wide[rank],
            "your result is the rank's own tensor, and nothing has arrived from the others",
        ),
        (total / n, "your result is the mean: return the sum"),
        (wide[rank] * n, "your result is n times the rank's own numbers: add what arrives"),
        (
            wide[rank] + wide[rank - 1],
            "your result has the rank before added, and no other: go on for 2 (n - 1) rounds",
        ),
        (total - wide[rank], "your result lacks the rank's own numbers: begin with them"),
        (np.max(wide, axis=0), "your result holds the largest numbers: add"),
        (
            sum(a.astype(np.float32) for a in arrays),
            "your numbers went through float32, which can't hold them: keep the dtype",
        ),
        (
            played(arrays, n - 1, n - 1)[rank],
            "your result is where a ring stands after n - 1 rounds, each sum on one rank only: "
            "pass them on in n - 1 more",
        ),
        (
            played(arrays, 2 * (n - 1), 2 * (n - 1))[rank],
            "your ring adds in the last n - 1 rounds, too: what arrives there is a finished sum, "
            "so let it replace",
        ),
        (
            played(arrays, 2 * (n - 1) - 1, n - 1)[rank],
            "your ring ends a round early: there are 2 (n - 1)",
        ),
        (
            played(arrays, 2 * n, n)[rank],
            "your ring adds for n rounds: n - 1 are enough, since a rank has its own numbers "
            "already",
        ),
    ]


def try_ring(
    student, arrays: list[np.ndarray], hint: str, members: tuple | None = None, **more
) -> list[RankReply]:
    """Sum arrays and return the replies."""
    with in_case(hint):
        args = [(a,) for a in arrays]
        replies = in_ranks(student, "ring_all_reduce", args, members=members, without=BOTH_RINGS)
    total = sum(a.astype(np.float64) for a in arrays)
    each_close(
        replies,
        lambda reply: reply.result,
        lambda rank: (total, [(w, f"{h}; {hint}") for w, h in ring_slips(arrays, rank)]),
        f"the sum of all ranks' tensors, {hint}",
        **more,
    )
    for reply in replies:
        got = reply.result.dtype
        require(
            got == arrays[0].dtype,
            f"{hint}: expected {arrays[0].dtype}, the dtype of `tensor`, got {got}",
        )
    given_back(replies, 0, arrays, "tensor")
    return replies


@exercise_check("ring_all_reduce", points=3, title="the sum")
def _(student, rng):
    for n, shape in ((2, (2, 3)), (4, (3, 8)), (3, (7,))):
        arrays = [rng.integers(-9, 10, shape).astype(np.float32) for _ in range(n)]
        try_ring(student, arrays, f"{n} ranks with tensors of shape {shape}")
    arrays = [normal(rng, 10) * 1000 for _ in range(3)]
    try_ring(student, arrays, "3 ranks with float32", atol=1e-3, rtol=2e-6)


@exercise_check("ring_all_reduce", points=2, title="what travels")
def _(student, rng):
    n = 4
    arrays = [normal(rng, 2, 20) for _ in range(n)]  # fewer rows than ranks
    replies = try_ring(student, arrays, "4 ranks with tensors of shape (2, 20)")
    rows = [part.nbytes for part in np.array_split(arrays[0], n)]
    by_rows = [2 * sum(rows) - rows[(r + 1) % n] - rows[(r + 2) % n] for r in range(n)]
    all_sent = [
        sum(o.n_bytes for o in r.operations if o.name in ("send", "isend")) for r in replies
    ]
    not_the_mistake(
        all_sent != by_rows,
        f"four ranks with tensors of shape (2, 20) send {all_sent} bytes, as where rows are cut "
        "into parts: flatten first, and cut the numbers",
    )
    for rank, reply in enumerate(replies):
        where = f"on rank {rank} of {n}"
        other = sorted({o.name for o in reply.operations} - set(MESSAGES))
        require(
            not other, f"your function called `dist.{'`, `'.join(other)}`: send and receive alone"
        )
        sent = [o for o in reply.operations if o.name in ("send", "isend")]
        received = [o for o in reply.operations if o.name in ("recv", "irecv")]
        for what, found, peer in (
            ("sends to", sent, (rank + 1) % n),
            ("receives from", received, (rank - 1) % n),
        ):
            peers = sorted({o.peer for o in found}, key=str)
            require(
                peers == [peer],
                f"in the ring a rank {what} one other: expected [{peer}], got {peers}, {where}",
            )
        n_bytes, payload = sum(o.n_bytes for o in sent), arrays[0].nbytes
        not_the_mistake(
            n_bytes != (n - 1) * payload,
            f"{n_bytes} bytes were sent {where}, as where whole tensors of {payload} bytes go "
            "round: send parts",
        )
        require(
            n_bytes == 2 * (n - 1) * payload // n,
            f"a rank sends 2 (n - 1) / n times the {payload} bytes of its tensor: expected "
            f"{2 * (n - 1) * payload // n}, got {n_bytes} {where}",
        )


@exercise_check("ring_all_reduce", points=1, title="odd sizes, types, a group", is_core=False)
def _(student, rng):
    arrays = [normal(rng, 3, 2).T for _ in GROUP]  # its numbers lie in another order
    hint = f"{IN_GROUP}, with transposed tensors"
    try_ring(student, arrays, hint, members=GROUP, atol=1e-6)
    for n, shape, dtype in (
        (3, (2,), np.float64),
        (1, (2, 2), np.float32),
        (2, (5, 1), np.int64),
        (2, (1,), np.float32),
    ):
        arrays = [(100 * normal(rng, *shape)).astype(dtype) for _ in range(n)]
        if dtype == np.int64:  # of which float32 holds every 131072nd
            arrays = [a + s * 2**40 for a, s in zip(arrays, (1, -1), strict=True)]
        case = f"{n} ranks with tensors of shape {shape}, {np.dtype(dtype)}"
        replies = try_ring(student, arrays, case)
        if n == 1:
            not_the_mistake(
                replies[0].shared != [0],
                "with one rank your result is `tensor` itself: return a copy",
            )


# ddp_step


V = 5


def tokens_of(rng: np.random.Generator, rows: int, counted: Sequence[int]) -> tuple:
    """Return (token_ids, targets) with some counted targets in each row."""
    T = max(*counted, 3)  # noqa: N806
    ids, targets = rng.integers(0, V, (2, rows, T))
    places = np.arange(T)
    kept = np.stack([places < c for c in counted])
    return ids, np.where(kept, targets, -100)


def nats_and_slope(table: np.ndarray, micro_batches: list) -> tuple[float, np.ndarray, int, int]:
    """Return sum of losses, its gradient, counted targets and all targets, in float64."""
    weight = torch.tensor(table, dtype=torch.float64, requires_grad=True)
    total, n_counted, n_all = torch.zeros((), dtype=torch.float64) * weight.sum(), 0, 0
    for ids, targets in micro_batches:
        scores = weight[torch.from_numpy(ids)].log_softmax(-1)
        for score, target in zip(
            scores.reshape(-1, table.shape[1]), targets.ravel().tolist(), strict=True
        ):
            n_all += 1
            if target != -100:
                total, n_counted = total - score[target], n_counted + 1
    total.backward()
    return total.item(), weight.grad.numpy(), n_counted, n_all


class Step:
    """A case of `ddp_step`: what the ranks have, what is right, and what mistakes would give."""

    def __init__(self, rng: np.random.Generator, batches: list[list], stale: bool = True):
        self.batches, self.n = batches, len(batches)
        self.weights = {
            "gain": normal(rng, 3),
            "table": normal(rng, V, V),
            "bias": np.zeros(V, np.float32),  # its gradient is the sum of the table's rows
            "fixed": normal(rng, 2),
        }
        self.before = {"table": normal(rng, V, V)} if stale else None
        parts = [nats_and_slope(self.weights["table"], b) for b in batches]
        self.nats, self.slopes, self.counts, self.alls = zip(*parts, strict=True)
        self.total, self.n_tokens = sum(self.slopes), sum(self.counts)
        self.means = [s / max(1, c) for s, c in zip(self.slopes, self.counts, strict=True)]

    def call(
        self, student, case: str, max_norm: float | None = None, members: tuple | None = None
    ) -> list[RankReply]:
        """Call the learner's function."""
        model = Lookup(self.weights, frozen=("fixed",), gradients=self.before)
        args = [(model, batches) for batches in self.batches]
        with in_case(case):
            replies = in_ranks(student, "ddp_step", args, {"max_norm": max_norm}, members=members)
        for reply in replies:
            require(
                isinstance(reply.result, tuple) and len(reply.result) == 2,
                f"return the loss and the norm, got {brief(reply.result)} ({case})",
            )
        return replies

    def slips(self, rank: int) -> list:
        """Return gradients that known mistakes give."""
        micro = [nats_and_slope(self.weights["table"], [b]) for b in self.batches[rank]]
        of_micro = sum((m[1] / max(1, m[2]) for m in micro), np.zeros((V, V)))
        found = [
            (
                self.means[rank],
                "your gradient is that of the rank's own tokens: sum over the ranks",
            ),
            (
                self.slopes[rank],
                "your gradient is the rank's own sum: sum over the ranks, and divide by their "
                "tokens",
            ),
            (
                self.total,
                "your gradient is the sum of all ranks: divide it by the number of their tokens",
            ),
            (
                self.total / self.n,
                "your sum is divided by the number of ranks: divide it by that of all their tokens",
            ),
            (
                sum(self.means) / self.n,
                "your gradient is the mean of the ranks' means: ranks have different numbers of "
                "tokens, and each token counts the same",
            ),
            (
                sum(self.means),
                "your gradient adds the ranks' means: sum over tokens, and divide once",
            ),
            (
                self.total / max(1, self.counts[rank]),
                "your sum of all ranks is divided by the rank's own tokens: divide it by those of "
                "all",
            ),
            (
                self.total / sum(self.alls),
                "your number of tokens counts targets that are ignored: leave them out",
            ),
            (
                self.slopes[rank] / self.n_tokens,
                "your gradient is of the rank's own tokens: sum over the ranks, and divide by all "
                "their tokens",
            ),
            (
                self.total / self.n_tokens / self.n,
                "your sum is divided by the ranks as well as by the tokens: divide by the tokens "
                "alone",
            ),
            (
                of_micro,
                "your gradient is of the rank's own tokens: sum over the ranks, and divide by all "
                "their tokens",
            ),
        ]
        if len(self.batches[rank]) > 1:
            text = "your gradient is that of each rank's last micro-batch: add up over all of them"
            last = [nats_and_slope(self.weights["table"], b[-1:])[1] for b in self.batches]
            found += [(last[rank], text), (sum(last) / self.n_tokens, text)]
        if self.before:
            for scale in (1, 1 / self.n_tokens, self.n, self.n / self.n_tokens):
                stale = self.total / self.n_tokens + scale * self.before["table"]
                found.append(
                    (
                        stale,
                        "your gradient has that of the step before in it: set each w.grad to None "
                        "first",
                    )
                )
        return found

    def scaled_slips(self, rank: int, scale: float) -> list:
        """Return gradients that known mistakes give, where the norm is clipped to a share."""
        return [(scale * wrong, hint) for wrong, hint in self.slips(rank)]

    def check(self, replies: list[RankReply], case: str, scale: float = 1.0, more=()) -> None:
        """Reject unless gradient and loss are right on each rank."""
        each_close(
            replies,
            lambda reply: reply.arguments[0]["gradients"]["table"],
            lambda rank: (
                scale * self.total / self.n_tokens,
                [(w, f"{h}; {case}") for w, h in (*self.scaled_slips(rank, scale), *more)],
            ),
            f"the gradient of the mean loss over the tokens of all ranks, {case}",
            atol=1e-6,
        )
        for reply in replies:
            close(
                reply.arguments[0]["gradients"]["bias"],
                scale * self.total.sum(0) / self.n_tokens,
                f"the gradient of a second weight, {case}",
                atol=1e-6,
            )
        loss = sum(self.nats) / self.n_tokens
        for rank, reply in enumerate(replies):
            own = self.nats[rank] / max(1, self.counts[rank])
            where = f"({case}, rank {rank})"
            hint = f"the mean loss over the tokens of all ranks {where}"
            recognise(
                reply.result[0],
                loss,
                [(own, f"your loss is that of the rank's own tokens: sum over the ranks {where}")],
            )
            close(reply.result[0], np.float64(loss), hint)


def norm_of(gradient: np.ndarray) -> float:
    """Return the norm of the gradients of table and bias, from the table's."""
    return float(np.sqrt((gradient**2).sum() + (gradient.sum(0) ** 2).sum()))


@exercise_check("ddp_step", points=3, title="the gradient of all tokens")
def _(student, rng):
    for case, batches in (
        (
            "2 ranks, one with 3 tokens, one with 10",
            [[tokens_of(rng, 1, (3,))], [tokens_of(rng, 3, (3, 5, 2))]],
        ),
        (
            "3 ranks with 2, 1 and 3 micro-batches",
            [
                [tokens_of(rng, 2, (1, 3)), tokens_of(rng, 2, (4, 2))],
                [tokens_of(rng, 2, (2, 2))],
                [tokens_of(rng, 1, (3,)), tokens_of(rng, 2, (1, 1)), tokens_of(rng, 1, (5,))],
            ],
        ),
        (
            "2 ranks with as many tokens",
            [[tokens_of(rng, 2, (3, 3))] for _ in range(2)],
        ),
    ):
        step = Step(rng, batches)
        replies = step.call(student, case)
        step.check(replies, case)
        for reply in replies:
            for name, before in step.weights.items():
                after = reply.arguments[0]["weights"][name]
                hint = (
                    f"`{name}` was changed by your function: leave that to the optimizer's step, "
                    "which comes behind it"
                )
                not_the_mistake(np.array_equal(after, before), hint)


@exercise_check("ddp_step", points=2, title="clipping")
def _(student, rng):
    batches = [[tokens_of(rng, 1, (2,))], [tokens_of(rng, 2, (4, 3))]]
    step = Step(rng, batches)
    right = norm_of(step.total / step.n_tokens)
    for max_norm, scale in ((0.3 * right, 0.3), (3.0 * right, 1.0)):
        case = f"2 ranks, max_norm {max_norm / right:.1f} times the norm"
        replies = step.call(student, case, max_norm)
        more = []
        if scale < 1:
            kept = [g * min(1.0, max_norm / norm_of(g)) for g in step.means]
            by_tokens = sum(g * c for g, c in zip(kept, step.counts, strict=True)) / step.n_tokens
            sums = [g * min(1.0, max_norm / norm_of(g)) for g in step.slopes]
            apart = (
                "your ranks have each clipped their own gradient: sum first, then clip the whole"
            )
            mean = step.total / step.n_tokens
            alone = min(1.0, max_norm / float(np.sqrt((mean**2).sum())))
            more = [
                (
                    mean * alone,
                    "your weights are each clipped by their own norm: take that of all together",
                ),
                (sum(kept) / step.n, apart),
                (by_tokens, apart),
                (sum(sums) / step.n_tokens, apart),
                (mean, "your gradient is not clipped: scale it to max_norm"),
            ]
        step.check(replies, case, scale, more)
        for rank, reply in enumerate(replies):
            slips = [
                (
                    scale * right,
                    f"your norm is that after clipping: return the one before ({case})",
                ),
                (
                    norm_of(step.means[rank]),
                    "your norm is that of the rank's own gradient: take that of the whole "
                    f"({case})",
                ),
            ]
            recognise(reply.result[1], right, slips)
            close(reply.result[1], np.float64(right), f"the norm of the whole gradient ({case})")


@exercise_check("ddp_step", points=1, title="once a step")
def _(student, rng):
    batches = [[tokens_of(rng, 1, (2,)) for _ in range(4)] for _ in range(2)]
    step, case = Step(rng, batches), "2 ranks with 4 micro-batches each"
    replies = step.call(student, case)
    step.check(replies, case)
    right = norm_of(step.total / step.n_tokens)
    for reply in replies:
        hint = f"the norm of the whole gradient, without clipping ({case})"
        close(reply.result[1], np.float64(right), hint)
    payload = sum(step.weights[name].nbytes for name in ("gain", "table", "bias"))
    for reply in replies:
        sent = sum(o.n_bytes for o in reply.operations if not o.name.endswith("recv"))
        not_the_mistake(
            sent < 3.5 * payload,
            f"{case}: a rank hands over {sent} bytes for gradients of {payload}; let them cross "
            "the wire once a step, behind the last micro-batch, and not after each",
        )
        require(
            sent <= 2 * payload + 64,  # in float64, with the numbers of loss and tokens
            f"{case}: a rank hands over {sent} bytes for gradients of {payload}, of "
            f"{2 * payload + 64} allowed",
        )


@exercise_check("ddp_step", points=1, title="nothing to learn from, a group", is_core=False)
def _(student, rng):
    step = Step(rng, [[tokens_of(rng, 1, (2,))], [tokens_of(rng, 2, (4, 3))]])
    step.check(step.call(student, IN_GROUP, members=GROUP), IN_GROUP)
    nothing = tokens_of(rng, 2, (0, 0))
    for case, idle in (("no micro-batch", []), ("no target that counts", [nothing])):
        step = Step(rng, [[tokens_of(rng, 2, (3, 1))], idle], stale=case == "no micro-batch")
        replies = step.call(student, f"rank 1 has {case}")
        step.check(replies, f"rank 1 has {case}")
        for reply in replies:
            found = reply.arguments[0]["gradients"]
            require(
                isinstance(found["gain"], np.ndarray),
                "`gain` learns and took no part: expected a gradient of zeros, got "
                f"{brief(found['gain'])}",
            )
            close(found["gain"], np.zeros(3), "`gain` took no part, so its gradient is zeros")
            require(
                found["fixed"] is None,
                "`fixed` does not learn, and has a gradient after your function: give it none",
            )
    step = Step(rng, [[tokens_of(rng, 1, (2,))], [nothing]])
    step.batches = [[nothing], []]
    refused(lambda: step.call(student, "no rank has a target"), "no rank has a target that counts")


# shard_optimizer


def adamw_alone(weights: np.ndarray, gradients: list, lr: float, decay: float) -> list[tuple]:
    """Return (weights, first moment, second moment) of torch's AdamW after each step."""
    parameter = torch.nn.Parameter(torch.tensor(weights, dtype=torch.float64))
    optimizer = torch.optim.AdamW([parameter], lr=lr, betas=(0.9, 0.95), weight_decay=decay)
    found = []
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        kept = optimizer.state[parameter]
        tensors = (parameter.detach(), kept["exp_avg"], kept["exp_avg_sq"])
        found.append(tuple(tensor.numpy().copy() for tensor in tensors))
    return found


def try_steps(student, rng, n: int, n_numbers: int, n_steps: int, **settings) -> list[RankReply]:
    """Take steps, each with the state that the last one returned; return the last replies."""
    lr, decay = settings.get("lr", 0.1), settings.get("weight_decay", 0.1)
    members = settings.get("members")
    weights = normal(rng, n_numbers)
    gradients = [normal(rng, n_numbers) for _ in range(n_steps)]
    states: list[dict] = [{} for _ in range(n)]
    before, want = weights, adamw_alone(weights, gradients, lr, decay)
    for step, gradient in enumerate(gradients):
        ranks = IN_GROUP if members else f"{n} ranks"
        case = f"{ranks} with {n_numbers} weights, step {step + 1}"
        more = {"weight_decay": decay} if "weight_decay" in settings else {}
        args = [(before, gradient, state, lr) for state in states]
        with in_case(case):
            replies = in_ranks(student, "shard_optimizer", args, more, members=members)
        new = want[step][0]

        def with_slips(rank: int, new=new, before=before, gradient=gradient, case=case):
            size = math.ceil(n_numbers / n)
            mine = slice(rank * size, rank * size + size)
            own = before.astype(np.float64)
            own[mine] = new[mine]
            again = adamw_alone(before, [gradient], lr, decay)[0][0]
            slips = [
                (
                    own,
                    "in your weights only this rank's own shard is new: put all shards together "
                    f"({case})",
                ),
                (before, f"your weights are as they were: take a step ({case})"),
            ]
            if size * n != n_numbers:
                padded = np.concatenate([new, np.zeros(size * n - n_numbers)])
                slips.append(
                    (padded, f"your weights have the padding behind them: cut it off ({case})")
                )
            if case.endswith("step 2"):
                text = (
                    "your step is that of an empty state: go on from the one that is passed "
                    f"({case})"
                )
                slips.append((again, text))
            return new, slips

        for reply in replies:
            require(
                isinstance(reply.result, tuple) and len(reply.result) == 2,
                f"return the weights and the state, got {brief(reply.result)} ({case})",
            )
        each_close(
            replies,
            lambda reply: reply.result[0],
            with_slips,
            f"the weights after a step of AdamW, {case}",
        )
        given_back(replies, 0, [before] * n, "weights")
        given_back(replies, 1, [gradient] * n, "gradient")
        for reply, state in zip(replies, states, strict=True):
            after = reply.arguments[2]
            not_the_mistake(
                isinstance(after, dict)
                and after.keys() == state.keys()
                and all(np.array_equal(after[name], state[name]) for name in state),
                f"`state` was changed in place by your function: return a new dictionary ({case})",
            )
        for rank, reply in enumerate(replies):
            check_state(reply.result[1], want[step], step + 1, rank, n, case)
        states = [reply.result[1] for reply in replies]
        before = replies[0].result[0]
    return replies


def check_state(state: object, want: tuple, step: int, rank: int, n: int, case: str) -> None:
    """Reject unless a state is this rank's shard of AdamW's."""
    names = {"step", "first_moment", "second_moment"}
    require(
        isinstance(state, dict) and set(state) == names,
        f"the state is a dictionary with {', '.join(sorted(names))}, got {brief(state)} ({case})",
    )
    require(
        state["step"] == step,
        f"`step` counts the steps: expected {step}, got {brief(state['step'])} ({case})",
    )
    for name, whole in (("first_moment", want[1]), ("second_moment", want[2])):
        moment = state[name]
        not_the_mistake(
            not (isinstance(moment, np.ndarray) and moment.shape == whole.shape and n > 1),
            f"your rank keeps `{name}` whole, {whole.size} numbers: let it keep its own shard of "
            f"it ({case})",
        )
        shard, where = shard_by_hand(whole, rank, n), f"({name} of rank {rank}, {case})"
        divided = (
            shard / n,
            "your moment is divided by n: the gradient is the average already, so do not divide "
            f"again {where}",
        )
        summed = (
            shard * n,
            "your moment is n times too large: the gradient is the average already, so do not sum "
            f"again {where}",
        )
        recognise(moment, shard, [divided, summed], atol=1e-6)
        close(moment, shard, f"`{name}` of rank {rank}, {case}")


@exercise_check("shard_optimizer", points=3, title="steps")
def _(student, rng):
    try_steps(student, rng, 2, 6, 3)
    try_steps(student, rng, 3, 7, 2, lr=0.01, weight_decay=0.5)


@exercise_check("shard_optimizer", points=1, title="what travels")
def _(student, rng):
    for reply in try_steps(student, rng, 4, 40, 1):
        largest = handed_over(reply)
        require(
            largest <= 40,
            f"4 ranks with 40 weights: a shard has 40 bytes, and yours handed {largest} to one "
            "operation; hand over shards alone",
        )


@exercise_check("shard_optimizer", points=1, title="few weights, a group, what does not fit")
def _(student, rng):
    try_steps(student, rng, len(GROUP), 5, 1, members=GROUP)
    try_steps(student, rng, 3, 2, 1)
    try_steps(student, rng, 1, 5, 1)
    for shapes in (((4,), (5,)), ((2, 2), (2, 2)), ((4,), (4, 1))):
        args = [(*(normal(rng, *shape) for shape in shapes), {}, 0.1)]  # one rank: nothing is sent
        refused(
            lambda a=args: in_ranks(student, "shard_optimizer", a),
            f"weights of shape {shapes[0]} with a gradient of shape {shapes[1]}",
        )


# fsdp_gather


def try_gather(
    student, rng, n: int, shape: tuple, dtype=np.float32, members: tuple | None = None
) -> list[RankReply]:
    """Gather a weight and return the replies."""
    weight = normal(rng, *shape).astype(dtype)
    if weight.size > 2:
        weight.flat[1] = 0  # a number as any other
    shards = [shard_by_hand(weight, rank, n).astype(dtype) for rank in range(n)]
    case = f"{IN_GROUP if members else f'{n} ranks'}, a {weight.dtype} weight of shape {shape}"
    args = [(shard, shape) for shard in shards]
    with in_case(case):
        replies = in_ranks(student, "fsdp_gather", args, members=members)
    whole = np.concatenate(shards)

    def of(order: list) -> np.ndarray:
        return np.concatenate(order)[: weight.size].reshape(shape)

    def with_slips(rank: int):
        slips = [
            (
                of([shards[rank]] * n),
                "your weight has this rank's own shard in every part: gather the others'",
            ),
            (of(shards[::-1]), "your shards stand in the reverse order: put rank 0's first"),
            (
                of(shards[rank:] + shards[:rank]),
                "your shards begin with this rank's own: put rank 0's first",
            ),
            (
                of([s if r == rank else 0 * s for r, s in enumerate(shards)]),
                "in your weight the other ranks' shards are zeros: gather them",
            ),
        ]
        dropped = np.zeros_like(whole)
        dropped[: np.count_nonzero(whole)] = whole[whole != 0]
        text = (
            "your weight has lost zeros wherever they stood: cut off those behind the last number "
            "alone"
        )
        slips.append((of([dropped]), text))
        if weight.size > 1:
            slips.append((whole[: weight.size], "your weight is flat: give it its shape"))
        if whole.size > weight.size:
            slips.append(
                (
                    whole,
                    "your weight has the padding behind it: cut it off, and give the weight its "
                    "shape",
                )
            )
        return weight, [(wrong, f"{hint}; {case}") for wrong, hint in slips]

    each_close(replies, lambda reply: reply.result, with_slips, f"the weight, {case}")
    for rank, reply in enumerate(replies):
        got = reply.result.dtype
        require(
            got == weight.dtype,
            f"expected {weight.dtype}, the dtype of the shard, got {got} ({case})",
        )
        require(
            handed_over(reply) <= shards[rank].nbytes,
            f"a shard has {shards[rank].nbytes} bytes, and yours handed {handed_over(reply)} to "
            f"one operation: hand over the shard alone ({case})",
        )
    given_back(replies, 0, shards, "shard")
    return replies


@exercise_check("fsdp_gather", points=3, title="the weight")
def _(student, rng):
    # Three ranks first: with two, "its own first" and "reversed" are one mistake.
    for n, shape in ((3, (5,)), (2, (4, 3)), (4, (2, 1, 3))):
        try_gather(student, rng, n, shape)


@exercise_check(
    "fsdp_gather", points=1, title="few numbers, a group, what does not fit", is_core=False
)
def _(student, rng):
    try_gather(student, rng, len(GROUP), (3, 1), members=GROUP)
    for n, shape, dtype in ((3, (2,), np.float64), (2, (), np.float32), (1, (2, 3), np.float16)):
        try_gather(student, rng, n, shape, dtype)
    for shard, shape in (((5,), (4,)), ((3,), (4,)), ((4, 1), (4,)), ((2,), (2, 3))):
        args = [(normal(rng, *shard), shape)]  # one rank: nothing is sent
        refused(
            lambda a=args: in_ranks(student, "fsdp_gather", a),
            f"one rank, a shard of shape {shard} for a weight of shape {shape}",
        )


# fsdp_reduce


def try_reduce(
    student, gradients: list[np.ndarray], case: str, members: tuple | None = None
) -> list[RankReply]:
    """Reduce gradients and return the replies."""
    n = len(gradients)
    with in_case(case):
        replies = in_ranks(student, "fsdp_reduce", [(g,) for g in gradients], members=members)
    wide = [g.astype(np.float64) for g in gradients]
    mean = sum(wide) / n

    def with_slips(rank: int):
        size = math.ceil(mean.size / n)
        strided = np.zeros(size)
        found = mean.ravel()[rank::n]
        strided[: len(found)] = found
        slips = [
            (
                shard_by_hand(mean * n, rank, n),
                "your shard is that of the sum: divide by the number of ranks",
            ),
            (
                shard_by_hand(wide[rank], rank, n),
                "your shard is that of the rank's own gradient: sum over the ranks",
            ),
            (
                shard_by_hand(wide[rank] / n, rank, n),
                "your shard is that of the rank's own gradient: sum over the ranks",
            ),
            (
                shard_by_hand(mean, (rank + 1) % n, n),
                "your shard is that of the next rank: take the rank's own",
            ),
            (
                shard_by_hand(mean, (rank - 1) % n, n),
                "your shard is that of the rank before: take the rank's own",
            ),
            (
                shard_by_hand(np.concatenate([np.zeros(-mean.size % n), mean.ravel()]), rank, n),
                "your zeros stand in front: put them behind the last number",
            ),
            (strided, "your shard holds every n-th number: take S numbers in a row"),
            (mean, "your result is the whole average: return the rank's shard of it"),
        ]
        if size * n != mean.size:
            short = np.array_split(mean.ravel(), n)[rank]
            slips.append(
                (
                    short,
                    "your shards have unequal sizes: give all of them S numbers, with zeros "
                    "behind the last",
                )
            )
        return shard_by_hand(mean, rank, n), [(wrong, f"{h}; {case}") for wrong, h in slips]

    each_close(replies, lambda r: r.result, with_slips, f"the shard of the average, {case}")
    for reply in replies:
        got, kept = reply.result.dtype, gradients[0].dtype
        require(got == kept, f"expected {kept}, the dtype of the gradient, got {got} ({case})")
        whole = [
            o.name for o in reply.operations if o.name.startswith(("all_reduce", "all_gather"))
        ]
        require(
            not whole,
            f"your function called `{min(whole, default='')}`, which gives each rank all: a rank "
            f"needs the sum of its shard alone ({case})",
        )
    given_back(replies, 0, gradients, "gradient")
    return replies


@exercise_check("fsdp_reduce", points=3, title="the average")
def _(student, rng):
    # Two ranks last: with them the next rank and the rank before are one.
    for n, shape in ((4, (7,)), (3, (2, 4)), (2, (4, 3))):
        gradients = [normal(rng, *shape) for _ in range(n)]
        try_reduce(student, gradients, f"{n} ranks with gradients of shape {shape}")


@exercise_check("fsdp_reduce", points=1, title="half precision", is_core=False)
def _(student, rng):
    gradients = [np.full(3, 40000.0, np.float16) for _ in range(2)]
    try_reduce(student, gradients, "2 ranks with float16 gradients of 40000")
    # In each shard each rank has the large number once, whatever the order of the sum.
    small = (1.0, 1.0, 2.0)
    gradients = [
        np.array(
            [2048.0 if rank == k % 4 else small[(rank - k % 4 - 1) % 4] for k in range(16)],
            np.float16,
        )
        for rank in range(4)
    ]
    case = "4 ranks with float16 gradients, of which 2048 and 1 add up to 2048 in float16"
    try_reduce(student, gradients, case)


@exercise_check("fsdp_reduce", points=1, title="few numbers, a group", is_core=False)
def _(student, rng):
    gradients = [normal(rng, 5, 3).T for _ in GROUP]  # their numbers lie in another order
    try_reduce(student, gradients, f"{IN_GROUP}, with transposed gradients", members=GROUP)
    for n, shape, dtype in ((3, (2,), np.float64), (2, (), np.float32), (1, (2, 3), np.float32)):
        gradients = [normal(rng, *shape).astype(dtype) for _ in range(n)]
        if dtype == np.float64:  # sums of which float32 holds every 128th
            gradients[0] += 2.0**30
            gradients[1] -= 2.0**30
        try_reduce(student, gradients, f"{n} ranks with {np.dtype(dtype)} of shape {shape}")
