"""Schedules of a pipeline as data: which rank does what in which order.

An operation is a tuple (kind, stage, micro_batch), kind "F" for a forward and "B" for a backward. A
schedule is a list with one list of operations for each rank, in the order in which the rank does
them. It says nothing about time: `replay` gives every operation a length, lets it start when its
rank is free and its input is there, and returns the timeline. `pipeline.py` runs the same lists.

Left out on purpose: schedules that split the backward in two (zero bubble), and costs of sending.
Letters: p ranks, m micro-batches, v stages (chunks) on each rank.
"""

from __future__ import annotations

Operation = tuple[str, int, int]
Schedule = list[list[Operation]]
Timeline = list[list[tuple[str, int, int, float, float]]]


def check_counts(n_ranks: int, n_micro_batches: int, n_chunks: int = 1) -> None:
    """Refuse what is no pipeline.

    Raises:
        ValueError: for fewer than one stage, micro-batch or chunk.
    """
    for name, value in (
        ("stage", n_ranks),
        ("micro-batch", n_micro_batches),
        ("chunk", n_chunks),
    ):
        if value < 1:
            raise ValueError(f"a pipeline needs at least one {name}, got {value}")


def schedule_gpipe(n_stages: int, n_micro_batches: int) -> Schedule:
    """Return the schedule of GPipe: all forwards, then all backwards, the last micro-batch first.

    Raises:
        ValueError: for fewer than one stage or micro-batch.

    >>> schedule_gpipe(1, 2)
    [[('F', 0, 0), ('F', 0, 1), ('B', 0, 1), ('B', 0, 0)]]

    Source: Huang et al. 2019, "GPipe", figure 2c.
    """
    check_counts(n_stages, n_micro_batches)
    micro_batches = range(n_micro_batches)
    return [
        [("F", stage, k) for k in micro_batches]
        + [("B", stage, k) for k in reversed(micro_batches)]
        for stage in range(n_stages)
    ]


def schedule_1f1b(n_stages: int, n_micro_batches: int) -> Schedule:
    """Return the schedule "one forward, one backward" for stages on ranks of their own.

    Each stage has three parts, and its micro-batches go in order both ways.

    1. Warm-up: as many forwards as there are stages behind it, or all, where there are fewer
       micro-batches than that.
    2. Steady: one forward and one backward in turn, until every forward is done.
    3. Cool-down: the backwards that are left.

    Args:
        n_stages: p; stage s runs on rank s.
        n_micro_batches: m, which may be fewer than the stages.

    Returns:
        A list of p lists, one for each stage, of 2 m tuples (kind, stage, micro_batch), kind "F"
        for a forward and "B" for a backward.

    Raises:
        ValueError: for fewer than one stage or micro-batch.

    >>> [" ".join(f"{kind}{k}" for kind, _, k in order) for order in schedule_1f1b(2, 3)]
    ['F0 F1 B0 F2 B1 B2', 'F0 B0 F1 B1 F2 B2']

    Source: Narayanan et al. 2021, "Efficient Large-Scale Language Model Training on GPU Clusters
    Using Megatron-LM", section 2.2 (PipeDream-Flush).
    """
    check_counts(n_stages, n_micro_batches)
    schedule = []
    for stage in range(n_stages):
        n_warm = min(n_stages - 1 - stage, n_micro_batches)
        order = [("F", stage, k) for k in range(n_warm)]
        for k in range(n_warm, n_micro_batches):
            order += [("F", stage, k), ("B", stage, k - n_warm)]
        order += [("B", stage, k) for k in range(n_micro_batches - n_warm, n_micro_batches)]
        schedule.append(order)
    return schedule


def schedule_interleaved(n_ranks: int, n_micro_batches: int, n_chunks: int) -> Schedule:
    """Return the interleaved 1F1B schedule, with several stages on each rank.

    Rank r holds stages r, p + r, 2 p + r, ...: a micro-batch goes round all ranks v times. Micro-
    batches go in groups of p through a rank's chunks, which is why p must divide their number.

    Raises:
        ValueError: for fewer than one rank, micro-batch or chunk, or where the ranks do not divide
            the micro-batches.

    >>> schedule_interleaved(1, 1, 2)
    [[('F', 0, 0), ('F', 1, 0), ('B', 1, 0), ('B', 0, 0)]]

    Source: Narayanan et al. 2021, section 2.2.
    """
    check_counts(n_ranks, n_micro_batches, n_chunks)
    if n_micro_batches % n_ranks:
        raise ValueError(
            f"the interleaved schedule sends micro-batches in groups of {n_ranks}, one for each "
            f"rank; {n_micro_batches} do not divide into such groups"
        )
    n_units, round_trip = n_micro_batches * n_chunks, n_ranks * n_chunks
    schedule = []
    for rank in range(n_ranks):

        def unit(kind: str, k: int, rank: int = rank) -> Operation:
            chunk = k % round_trip // n_ranks
            if kind == "B":
                chunk = n_chunks - 1 - chunk
            micro_batch = k // round_trip * n_ranks + k % n_ranks
            return kind, chunk * n_ranks + rank, micro_batch

        n_warm = min(2 * (n_ranks - 1 - rank) + (n_chunks - 1) * n_ranks, n_units)
        order = [unit("F", k) for k in range(n_warm)]
        for k in range(n_warm, n_units):
            order += [unit("F", k), unit("B", k - n_warm)]
        schedule.append(order + [unit("B", k) for k in range(n_units - n_warm, n_units)])
    return schedule


class PipelineDeadlock(ValueError):
    """No rank can go on: each waits for an operation that comes later on another rank."""


def replay(schedule: Schedule, forward: float = 1.0, backward: float = 2.0) -> Timeline:
    """Return when each operation starts and ends by a logical clock.

    An operation starts as soon as its rank is free and what it needs has ended: a forward the
    forward of the stage before, a backward the backward of the stage behind, and the backward of
    the last stage its own forward. Sending takes no time.

    Args:
        schedule: one list of operations for each rank.
        forward: length of a forward.
        backward: length of a backward.

    Returns:
        The same lists with (kind, stage, micro_batch, start, end).

    Raises:
        PipelineDeadlock: where the order lets no rank go on; names what each one waits for.

    >>> replay([[("F", 0, 0), ("B", 0, 0)], [("F", 1, 0), ("B", 1, 0)]])[0]
    [('F', 0, 0, 0.0, 1.0), ('B', 0, 0, 4.0, 6.0)]
    """
    last_stage = max((stage for order in schedule for _, stage, _ in order), default=0)
    ends: dict[Operation, float] = {}
    timeline: Timeline = [[] for _ in schedule]
    n_left = sum(len(order) for order in schedule)
    while n_left:
        n_before = n_left
        for order, done in zip(schedule, timeline, strict=True):
            while len(done) < len(order):
                kind, stage, micro_batch = operation = order[len(done)]
                needed = needs(operation, last_stage)
                if needed is not None and needed not in ends:
                    break
                start = max(done[-1][4] if done else 0.0, ends.get(needed, 0.0))
                ends[operation] = start + (forward if kind == "F" else backward)
                done.append((kind, stage, micro_batch, start, ends[operation]))
                n_left -= 1
        if n_left == n_before:
            raise PipelineDeadlock(waiting(schedule, timeline, last_stage))
    return timeline


def needs(operation: Operation, last_stage: int) -> Operation | None:
    """Return the operation whose result an operation needs, or None.

    >>> needs(("B", 3, 0), last_stage=3), needs(("F", 0, 1), last_stage=3)
    (('F', 3, 0), None)
    """
    kind, stage, micro_batch = operation
    if kind == "F":
        return ("F", stage - 1, micro_batch) if stage else None
    return ("B", stage + 1, micro_batch) if stage < last_stage else ("F", stage, micro_batch)


def waiting(schedule: Schedule, timeline: Timeline, last_stage: int) -> str:
    """Return in words what each rank waits for."""
    parts = []
    for rank, (order, done) in enumerate(zip(schedule, timeline, strict=True)):
        if len(done) < len(order):
            operation = order[len(done)]
            parts.append(
                f"rank {rank} before {name_of(operation)} for "
                f"{name_of(needs(operation, last_stage))}"
            )
    return "every rank waits: " + ", ".join(parts)


def name_of(operation: Operation | None) -> str:
    """Return an operation as a short text.

    >>> name_of(("B", 2, 5))
    'B5 of stage 2'
    """
    return (
        "nothing" if operation is None else f"{operation[0]}{operation[2]} of stage {operation[1]}"
    )


def bubble_fraction(timeline: Timeline) -> float:
    """Return the share of the ranks' time in which they have nothing to do.

    The time is that of all ranks from the first start to the last end anywhere in the timeline:
    a rank that starts late or ends early waits, and a rank without any operation waits all the
    time. Times may start anywhere: a wall clock does not start at 0.

    Args:
        timeline: one list for each rank of (kind, stage, micro_batch, start, end), as `replay`
            returns it or a real run noted it. Operations of a rank do not overlap. The lists need
            not be sorted.

    Returns:
        A number from 0 (nobody ever waits) to 1.

    Raises:
        ValueError: where there is no operation at all, one ends before it starts, or all of them
            together take no time.

    >>> bubble_fraction([[("F", 0, 0, 0.0, 1.0), ("B", 0, 0, 4.0, 6.0)], [("F", 1, 0, 1.0, 4.0)]])
    0.5

    Source: Huang et al. 2019, "GPipe", section 2.3.
    """
    operations = [operation for order in timeline for operation in order]
    if not operations:
        raise ValueError("the timeline holds no operation")
    if any(end < start for *_, start, end in operations):
        raise ValueError("an operation ends before it starts")
    busy = sum(end - start for *_, start, end in operations)
    span = max(end for *_, end in operations) - min(start for *_, start, _ in operations)
    if span == 0:
        raise ValueError("the operations take no time")
    return 1 - busy / (len(timeline) * span)


def ideal_bubble(n_ranks: int, n_micro_batches: int, n_chunks: int = 1) -> float:
    """Return the bubble of a pipeline of equal stages, by the formula (p - 1) / (v m + p - 1).

    >>> ideal_bubble(8, 8), round(ideal_bubble(8, 64), 3)
    (0.4666666666666667, 0.099)
    """
    check_counts(n_ranks, n_micro_batches, n_chunks)
    return (n_ranks - 1) / (n_chunks * n_micro_batches + n_ranks - 1)


def most_alive(order: list[Operation]) -> int:
    """Return how many micro-batches a rank holds at most between their forward and backward.

    >>> [most_alive(order) for order in schedule_1f1b(3, 8)]
    [3, 2, 1]
    """
    alive = most = 0
    for kind, _, _ in order:
        alive += 1 if kind == "F" else -1
        most = max(most, alive)
    return most


SCHEDULES = ("GPipe", "1F1B", "interleaved")


def schedule_of(name: str, n_ranks: int, n_micro_batches: int, n_chunks: int = 2) -> Schedule:
    """Return a schedule by its name; only the interleaved one has several chunks on a rank.

    Raises:
        ValueError: for a name that is none of `SCHEDULES`.

    >>> schedule_of("1F1B", 2, 3) == schedule_1f1b(2, 3)
    True
    """
    if name == "GPipe":
        return schedule_gpipe(n_ranks, n_micro_batches)
    if name == "1F1B":
        return schedule_1f1b(n_ranks, n_micro_batches)
    if name == "interleaved":
        return schedule_interleaved(n_ranks, n_micro_batches, n_chunks)
    raise ValueError(f"no schedule {name!r}; there are {', '.join(SCHEDULES)}")
