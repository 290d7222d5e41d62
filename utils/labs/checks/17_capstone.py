"""Checks of lab 17: what a change makes stale, lineage, claims, ranges, agreement, reduction.

Oracles: the first valid one of all orders and reachability by powers of a matrix, closures found by
repetition, decimals rounded both ways, all corners of a box, a table of pairs of grades, and the
normal distribution of Python's own statistics.
"""

from __future__ import annotations

import itertools
import math
from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal
from statistics import NormalDist

import numpy as np

from utils.labs.checking import (
    Check,
    asked,
    brief,
    close,
    collector,
    in_case,
    not_the_mistake,
    recognise,
    refused,
    require,
    same,
    sole,
)

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

HINTS = {
    "stages_to_run": (
        "Walk through a whole run in your head. Keep a set of what has changed: it begins with "
        "`changed` and grows by what stale stages make.",
        "By hand: `base` needs corpus and steps, `card` needs weights, and base makes weights. "
        "Changed: steps. What is in the set before base, after base, and is card stale? Then put "
        "card first in `needs`: which of the two comes next?",
        "Map each file to its maker; where a second stage makes it, raise ValueError that names "
        "the file. stale = set(changed); waiting = list(needs). While stages wait: ready are those "
        "none of whose needs has a maker that waits; none ready: ValueError that names all of "
        "waiting. Take the first ready one out of waiting; where one of its needs is in stale, "
        "append it to the order and add what it makes to stale.",
    ),
    "trace_lineage": (
        "Turn the records round: file -> stage that made it. Then go back from the artefact, and "
        "let a stage follow those that it read from.",
        "By hand: weights were made by base, which read rows (hash 22); rows were made by text, "
        "which wrote hash 22 and read raw/a.txt. Where do you compare the two hashes, and which "
        "file goes into raw? What if base had read hash 21?",
        "maker = {file: stage} from all outputs; KeyError where path has none. visit(stage): "
        "return if it is in stages; for each (file, hash) of its inputs: without a maker put it "
        "into raw, and the stage into reader (where another hash stands there, ValueError that "
        "names file, stage and reader[file]); else, where the hash differs from that in its "
        "maker's outputs, ValueError that names file, stage and maker, and visit(maker). Then "
        "append the stage. Visit the maker of path; return Lineage(tuple(stages), raw).",
    ),
    "reason_against": (
        "Five questions in the order of the docstring; each has its own return. The last two are "
        "about the number as printed: how many decimals, and does it stand by itself?",
        'By hand: the record says 0.8349. Which of "0.83", "0.84", "0.8", "0.80" may a claim '
        'print? And does "0.8" stand by itself in "0.83", in "10.8", in "-0.8", in "0.8."?',
        "Unpack the claim. No such record: 'no record ...'. Follow path through mappings; a key "
        "that is not there: 'no entry ...'. A bool, no int or float, or NaN (entry != entry): 'not "
        "a number ...'. d = len(number.partition('.')[2]); abs(entry - float(number)) > 0.5 * "
        "10 ** -d * (1 + 1e-9): 'differs ...'. re.search of "
        r"rf'(?<![\d.\-]){re.escape(number)}(?!\.?\d)' finds nothing in text: 'not in the "
        "sentence ...'. Else ''.",
    ),
    "product_of": (
        "The best guess is a product either way. What differs is how the ranges combine: all at "
        "their worst together, or each by its own luck.",
        "By hand: 10 (5 to 20) times 10 (5 to 20). Together: 25 to 400. Independent: each side is "
        "a factor of 2, log 2; the root of the sum of two squares is log 2 times the root of 2. "
        "What is 100 divided by, and multiplied by, its exponential?",
        "Refuse no factors and any without 0 < low <= value <= high. value = product of values. "
        "Not independent: the products of lows and of highs. Independent: down = root of the sum "
        "of log(value / low) ** 2 over factors, up = root of the sum of log(high / value) ** 2; "
        "low = value * exp(-down), high = value * exp(up). Return Estimate(value, low, high).",
    ),
    "weighted_kappa": (
        "Two means of squared differences: of the pairs that were seen, and of the pairs that "
        "chance would make of the same grades.",
        "By hand: 0, 1 and 1, 1 on 2 levels. Seen: one difference of 1 in two answers. Chance: "
        "pair each grade of the first with each of the second, four pairs. What is 1 minus the "
        "ratio of the two means?",
        "Refuse lists of two lengths, empty ones, n_levels below 2, and a grade that is not whole "
        "or not in 0 to n_levels - 1. seen = mean of (a - b) ** 2 over answers; chance = mean of "
        "(a - b) ** 2 over all pairs of one a and one b. chance 0: float('nan'), else 1 - seen / "
        "chance.",
    ),
    "relative_reduction": (
        "Work with the logarithm of the ratio of the two shares: its spread is known. Turn it "
        "back into a reduction at the end, when the two ends change places.",
        "By hand: 80 of 200 and 40 of 200. The ratio is 0.5, the variance of its logarithm 1/80 - "
        "1/200 + 1/40 - 1/200. For 95 % go 1.96 of its roots to each side. Which end of the ratio "
        "gives the low end of the reduction?",
        "Refuse counts that are not 1 <= flags <= n, and a level not inside 0 to 1. ratio = "
        "(flags_after / n_after) / (flags_before / n_before); variance as in the docstring; spread "
        "= exp(normal_quantile(0.5 + level / 2) * sqrt(variance)). Return Reduction(1 - ratio, 1 - "
        "ratio * spread, 1 - ratio / spread).",
    ),
}


def named(got: object, want: object, slips: dict[str, object], case: str) -> None:
    """Reject a result that equals what one known mistake gives, with that mistake's hint."""
    if got == want:
        return
    found = {hint for hint, wrong in slips.items() if wrong == got and wrong != want}
    told = f"(expected {brief(in_order(want))}, got {brief(in_order(got))})"
    not_the_mistake(not sole(found), f"{sole(found)}; {case} {told}")


def in_order(value: object) -> object:
    """Return a set of names as a sorted list, and any other value as it is."""
    return sorted(map(str, value)) if isinstance(value, set) else value


def in_short(needs: dict, makes: dict) -> str:
    """Return what stages need and make as a short text.

    >>> in_short({"a": ["x", "y"]}, {"a": ["z"]})
    'a: x, y -> z'
    """
    stages = (f"{s}: {', '.join(needs[s])} -> {', '.join(makes[s])}" for s in needs)
    return "; ".join(stages) or "no stages"


# stages_to_run


def reached(needs: dict, makes: dict, changed: list) -> tuple[set, np.ndarray]:
    """Return the stale stages, by powers of the matrix of who reads from whom, and that matrix."""
    stages = list(needs)
    reads = np.array(
        [[bool(set(needs[later]) & set(makes[first])) for first in stages] for later in stages]
    ).reshape(len(stages), len(stages))
    hit = np.array([bool(set(needs[stage]) & set(changed)) for stage in stages], dtype=bool)
    for _ in stages:
        hit = hit | (reads.astype(int) @ hit.astype(int) > 0)
    return {stage for stage, is_hit in zip(stages, hit, strict=True) if is_hit}, reads


def whole_order(needs: dict, reads: np.ndarray) -> list:
    """Return the first of all orders in which each stage stands after those that it reads from."""
    for order in itertools.permutations(range(len(needs))):
        place = {stage: k for k, stage in enumerate(order)}
        if all(place[a] < place[b] for b, a in zip(*np.nonzero(reads), strict=True)):
            return [list(needs)[k] for k in order]
    raise AssertionError("no order")


def compare_stages(student, needs: dict, makes: dict, changed: list, what: str) -> None:
    """Reject another list of stages."""
    with in_case(what):
        got = student.stages_to_run(needs, makes, changed)
    require(type(got) is list, asked(f"return a list, got {type(got).__name__}", got))
    stale, reads = reached(needs, makes, changed)
    order = whole_order(needs, reads)
    want = [stage for stage in order if stage in stale]
    direct = [stage for stage in order if set(needs[stage]) & set(changed)]
    first = min((order.index(stage) for stage in stale), default=len(order))
    once, files = [], set(changed)
    for stage in needs:
        if files & set(needs[stage]):
            once.append(stage)
            files |= set(makes[stage])
    rows = [k for k, stage in enumerate(needs) if stage in stale]
    alone = whole_order({s: needs[s] for s in needs if s in stale}, reads[np.ix_(rows, rows)])
    edited = {stage for stage in needs if set(makes[stage]) & set(changed)}
    inner = {path for paths in makes.values() for path in paths}
    outer = {stage for stage in needs if set(needs[stage]) & set(changed) - inner}
    upstream = {
        stage
        for stage in needs
        if stage in stale or reached(needs, makes, makes[stage])[0] & set(direct)
    }
    slips = {
        "your list has the stages that read a change directly: what a stale stage makes "
        "is stale, too, so go on from it": direct,
        "your list has all stages from the first stale one on: a later one is stale only "
        "where it depends on the change": order[first:],
        "your list has every stage: take those that depend on the change": order,
        "your stages stand in the order of `needs`: put each after those it depends on": [
            stage for stage in needs if stage in stale
        ],
        "your list is that of one pass over `needs`, which misses a stage that stands "
        "before its maker": once,
        "your order is that of the stale stages alone: in a whole run a stage also waits "
        "for makers that are up to date": alone,
        "your stages stand before what they need: put each after it": want[::-1],
        "your list has stages that a change depends on: these stay as they were": [
            s for s in order if s in upstream
        ],
        "your list has the maker of a file that was changed by hand: its readers are stale, not "
        "its maker": [
            stage
            for stage in order
            if stage
            in stale | edited | reached(needs, makes, [p for s in edited for p in makes[s]])[0]
        ],
        "your list passes over a changed file that a stage makes: such files can change, too": [
            stage
            for stage in order
            if stage in reached(needs, makes, [p for p in changed if p not in inner])[0] | outer
        ],
    }
    case = f"{what}, changed {changed}, needs -> makes: {in_short(needs, makes)}"
    named(got, want, slips, case)
    is_order = got == want or sorted(map(str, got)) != sorted(want)
    told = f"(expected {want}, got {brief(got)})"
    require(is_order, f"your stages are the right ones in another order; {case} {told}")
    same(list(got), want, case)


CHAIN = {"text": ["raw"], "base": ["corpus", "steps"], "tune": ["weights", "chats"]}
MADE = {"text": ["corpus"], "base": ["weights"], "tune": ["tuned"]}
# Written in no order: what comes last in a run stands first.
MIXED = {
    "report": ["answers", "card"],
    "ask": ["tuned", "exam"],
    "tune": ["weights", "chats"],
    "base": ["corpus", "steps"],
    "describe": ["corpus"],
    "text": ["raw"],
}
MIXED_MADE = {
    "report": ["page"],
    "ask": ["answers"],
    "tune": ["tuned"],
    "base": ["weights"],
    "describe": ["card"],
    "text": ["corpus", "chats"],
}


def drawn_graph(rng: np.random.Generator) -> tuple[dict, dict, list]:
    """Return needs, makes and changed of a random pipeline whose stages stand in any order."""
    n = 6
    makes = {f"s{k}": [f"f{k}", f"g{k}"] for k in range(n)}
    needs = {f"s{k}": [f"p{k}"] for k in range(n)}
    for later in range(n):
        for first in range(later):
            if rng.random() < 0.3:
                needs[f"s{later}"].append(f"{'fg'[int(rng.integers(2))]}{first}")
    names = [f"s{k}" for k in rng.permutation(n)]
    changed = [f"p{int(rng.integers(3))}", f"f{int(rng.integers(3, 5))}"]
    return {s: needs[s] for s in names}, {s: makes[s] for s in names}, changed


@exercise_check("stages_to_run", points=2, title="what is stale")
def _(student, rng):
    branch = CHAIN | {"card": ["corpus"], "other": ["steps"]}
    made = MADE | {"card": ["card.md"], "other": []}
    compare_stages(student, branch, made, ["chats"], "the last stage alone")
    compare_stages(student, CHAIN, MADE, ["raw"], "a chain from its beginning")
    compare_stages(student, CHAIN, MADE, ["steps"], "from the middle on")
    compare_stages(student, CHAIN, MADE, [], "nothing has changed")
    compare_stages(student, CHAIN, MADE, ["nobody"], "a file that no stage needs")
    compare_stages(student, CHAIN, MADE, ["weights"], "a file that a stage made, edited by hand")
    compare_stages(student, CHAIN, MADE, ["tuned"], "a result that nobody reads")
    compare_stages(student, branch, made, ["chats", "steps"], "a branch that does not depend on it")
    compare_stages(student, branch, made, ["raw", "steps"], "two changes at once")
    compare_stages(student, {}, {}, ["raw"], "no stages")


@exercise_check("stages_to_run", points=1, title="in which order")
def _(student, rng):
    late = {stage: CHAIN[stage] for stage in ("tune", "text", "base")}
    compare_stages(student, late, MADE, ["raw"], "the last stage written first")
    compare_stages(student, MIXED, MIXED_MADE, ["raw"], "stages written in no order")
    compare_stages(student, MIXED, MIXED_MADE, ["corpus"], "two ways to the report")
    compare_stages(student, MIXED, MIXED_MADE, ["exam"], "the end of it")
    for _ in range(6):
        compare_stages(student, *drawn_graph(rng), "a drawn pipeline")
    free = {"c": ["z"], "b": ["x", "of a"], "a": ["x"], "d": ["y"], "e": ["x"]}
    made = {"c": [], "b": [], "a": ["of a"], "d": ["z"], "e": []}
    compare_stages(student, free, made, ["x", "z"], "c waits for d, which is up to date")


@exercise_check("stages_to_run", points=1, title="what can't be", is_core=False)
def _(student, rng):
    compare_stages(student, CHAIN, MADE, ["raw"], "a pipeline that can run")
    twice = MADE | {"tune": ["tuned", "weights"]}
    refused(
        lambda: student.stages_to_run(CHAIN, twice, ["raw"]),
        "weights made by base and tune",
        names=("weights",),
    )
    refused(lambda: student.stages_to_run(CHAIN, twice, []), "weights made twice, nothing changed")
    both = {"a": ["f"], "b": ["g", "f"]}
    refused(lambda: student.stages_to_run({"a": ["x"], "b": ["x"]}, both, ["x"]), "two makers of f")
    circle = {"draft": ["remarks"], "review": ["pages"], "card": ["x"]}
    made = {"draft": ["pages"], "review": ["remarks"], "card": ["card.md"]}
    for changed in (["remarks"], ["x"], []):
        refused(
            lambda changed=changed: student.stages_to_run(circle, made, changed),
            f"draft and review wait for each other, changed {changed}",
            names=("draft", "review"),
        )
    refused(lambda: student.stages_to_run({"a": ["f"]}, {"a": ["f"]}, []), "a waits for itself")


# trace_lineage


def record(inputs: dict, outputs: dict) -> dict:
    """Return the part of a stage's record that lineage reads."""
    return {"stage": "any", "inputs": dict(inputs), "outputs": dict(outputs), "seconds": 1.0}


def pipeline(**changes: dict) -> dict:
    """Return records of seven stages, in no order; `changes` replace inputs of a stage."""
    records = {
        "evaluate": record({"tuned": "t1", "exam": "e1"}, {"answers": "a1"}),
        "tune": record({"weights": "w1", "chats": "c1"}, {"tuned": "t1"}),
        "base": record({"corpus": "k1"}, {"weights": "w1", "vocabulary": "v1"}),
        "text": record({"raw/a": "r1", "raw/b": "r2"}, {"corpus": "k1", "chats": "c1"}),
        "reward": record({"pairs": "p1", "tuned": "t1"}, {"reward": "m1"}),
        "align": record({"tuned": "t1", "reward": "m1", "weights": "w1"}, {"aligned": "l1"}),
        "draw": record({"raw/c": "r3"}, {"exam": "e1"}),
    }
    for stage, inputs in changes.items():
        records[stage]["inputs"] |= inputs
    return records


def way(records: dict, path: str) -> tuple[set, dict]:
    """Return the stages and raw files behind an artefact: what is read, again and again."""
    files = {path}
    while True:
        stages = {s for s, r in records.items() if files & set(r["outputs"])}
        more = files | {f for s in stages for f in records[s]["inputs"]}
        if more == files:
            break
        files = more
    made = {f for r in records.values() for f in r["outputs"]}
    raw = {f: h for s in stages for f, h in records[s]["inputs"].items() if f not in made}
    return stages, raw


def compare_lineage(student, records: dict, path: str, what: str) -> None:
    """Reject another lineage; any order in which makers come first is right."""
    with in_case(what):
        got = student.trace_lineage(records, path)
    require(
        type(got) is tuple and len(got) == 2 and type(got[0]) is tuple and type(got[1]) is dict,
        asked("return Lineage(stages, raw): a tuple of names, and path -> hash", got),
    )
    stages, raw = got
    want, wanted = way(records, path)
    made = {f: s for s, r in records.items() for f in r["outputs"]}
    own = made[path]
    nearest = {own} | {made[f] for f in records[own]["inputs"] if f in made}
    every = {f: h for r in records.values() for f, h in r["inputs"].items()}
    behind = {s: r for s, r in records.items() if s in want}
    read, wrote = ({s: list(r[k]) for s, r in behind.items()} for k in ("inputs", "outputs"))
    case = f"{what}; behind {path!r} (inputs -> outputs): {in_short(read, wrote)}"
    once = f"a stage of yours stands twice, got {brief(stages)}: let each stand once; {case}"
    not_the_mistake(len(set(stages)) == len(stages), once)
    slips = {
        "your stages leave out the one that made the artefact: it is in its lineage": want - {own},
        "your stages end one step back: go on from each to those that it read from": nearest,
        "your stages are all that are recorded: take those behind the artefact": set(records),
        "your stages are the maker of the artefact alone: the makers of what it read belong to "
        "it, too": {own},
        "your stages go forward: take what the artefact came from, not what read it": {
            s for s in records if own in way(records, next(iter(records[s]["outputs"])))[0]
        },
    }
    named(set(stages), want, slips, case)
    told = f"expected the stages {sorted(want)}, got {sorted(map(str, stages))}"
    require(set(stages) == want, f"{told}; {case}")
    place = {stage: k for k, stage in enumerate(stages)}
    before = [(made[f], s) for s in want for f in records[s]["inputs"] if f in made]
    require(
        all(place[first] < place[later] for first, later in before),
        f"your stages stand in the order {list(stages)}: put each after those that it built on; "
        f"{case}",
    )
    slips = {
        "your raw holds files that a stage made: leave them out": {
            f: h for s in want for f, h in records[s]["inputs"].items()
        },
        "your raw holds what other artefacts come from: take that of this one alone": {
            f: h for f, h in every.items() if f not in made
        },
        "your raw is that of the last stage alone: that of the stages before counts as well": {
            f: h for f, h in records[own]["inputs"].items() if f not in made
        },
    }
    named(raw, wanted, slips, case)
    same(dict(raw), wanted, f"raw: path -> hash of what no stage made; {case}")


@exercise_check("trace_lineage", points=2, title="the way back")
def _(student, rng):
    chain = {
        "base": record({"rows": "22"}, {"weights": "33"}),
        "text": record({"raw/a.txt": "11", "raw/b.txt": "12"}, {"rows": "22"}),
    }
    compare_lineage(student, chain, "weights", "two stages")
    compare_lineage(student, chain, "rows", "the first of them")
    for path in ("tuned", "vocabulary", "aligned", "answers", "exam"):
        compare_lineage(student, pipeline(), path, "seven stages")
    names = [f"s{k}" for k in rng.permutation(7)]
    drawn = {}
    for k, name in enumerate(names):
        read = {f"{other}.out": f"h{other}" for other in names[:k] if rng.random() < 0.4}
        read |= {f"raw{int(rng.integers(4))}": "r"}
        drawn[name] = record(read, {f"{name}.out": f"h{name}"})
    records = {name: drawn[name] for name in sorted(drawn)}
    compare_lineage(student, records, f"{names[-1]}.out", "a drawn pipeline")
    compare_lineage(student, records, f"{names[4]}.out", "a drawn pipeline")


@exercise_check("trace_lineage", points=1, title="a link that is broken")
def _(student, rng):
    compare_lineage(student, pipeline(), "aligned", "all links hold")
    for stage, read in (("tune", {"weights": "w0"}), ("base", {"corpus": "k0"})):
        (file,) = read
        refused(
            lambda stage=stage, read=read: student.trace_lineage(
                pipeline(**{stage: read}), "tuned"
            ),
            f"{stage} read another version of {file} than the one that was written",
        )
    broken = pipeline(base={"corpus": "k0"})
    refused(lambda: student.trace_lineage(broken, "aligned"), "a broken link three stages back")
    broken = pipeline(align={"weights": "w0"})
    refused(
        lambda: student.trace_lineage(broken, "aligned"),
        "align read another version of weights than tune did, which was visited before",
    )
    compare_lineage(student, broken, "answers", "a broken link that is not on the way")
    broken = pipeline(evaluate={"tuned": "t0"})
    compare_lineage(student, broken, "aligned", "what broke comes after the artefact")


@exercise_check("trace_lineage", points=1, title="raw text and errors", is_core=False)
def _(student, rng):
    shared = pipeline(tune={"raw/a": "r1"}, draw={"raw/b": "r2"})
    compare_lineage(student, shared, "answers", "raw files that two stages read")
    other = pipeline(tune={"raw/a": "r9"})
    refused(
        lambda: student.trace_lineage(other, "tuned"),
        "text and tune read two versions of raw/a",
        names=("raw/a", "text", "tune"),
    )
    refused(
        lambda: student.trace_lineage(pipeline(tune={"weights": "w0"}), "tuned"),
        "tune read another version of weights than base wrote",
        names=("weights", "tune", "base"),
    )
    compare_lineage(student, other, "vocabulary", "two versions of raw/a, one on the way")
    for path in ("nothing", "raw/a", "tune"):
        refused(
            lambda path=path: student.trace_lineage(pipeline(), path),
            f"{path!r}, which no stage has made",
            "KeyError",
        )


# reason_against

KINDS = ("no record", "no entry", "not a number", "differs", "not in the sentence")
RECORDS = {
    "evaluate": {
        "metrics": {
            "right": 0.8349,
            "made up": 0.0512,
            "half": 0.125,
            "loss": -0.25,
            "n": 12,
            "is better": True,
            "broken": math.nan,
            "name": "0.83",
            "not measured": None,
            "interval": {"low": 0.78, "high": 0.88},
        },
        "seconds": 61.5,
    },
    "base": {"tokens": 256000, "metrics": {}},
}
M = "metrics"


def rounds_to(entry: float, number: str) -> bool:
    """Return whether a number, rounded up or down at the half, is the one that is printed."""
    printed = Decimal(number)
    step = Decimal(1).scaleb(printed.as_tuple().exponent)
    return printed in {
        Decimal(repr(entry)).quantize(step, rounding)
        for rounding in (ROUND_HALF_UP, ROUND_HALF_DOWN)
    }


def compare_reason(student, claim: tuple, kind: str, what: str, records: dict = RECORDS) -> None:
    """Reject another reason than the expected kind; "" is a claim that is supported."""
    with in_case(f"{what}; a claim is a plain tuple here: text, number, record, path = claim"):
        got = student.reason_against(claim, records)
    require(type(got) is str, asked(f"return a text, got {type(got).__name__}", got))
    told = next((k for k in KINDS if got.startswith(k)), None)
    require(
        not got or told,
        asked(
            f"{what}: a reason begins with one of {', '.join(map(repr, KINDS))}, got {got!r}", got
        ),
    )
    wanted = f"a reason that begins with {kind!r}" if kind else "an empty text (it is supported)"
    require((told or "") == kind, asked(f"{what}: expected {wanted}, got {got!r}", got))


def compare_number(student, name: str, number: str, what: str) -> None:
    """Reject another answer to a claim whose sentence holds the number."""
    entry = RECORDS["evaluate"][M][name]
    kind = "" if rounds_to(entry, number) else "differs"
    claim = (f"It was {number} in the end.", number, "evaluate", (M, name))
    compare_reason(student, claim, kind, f"{what}: the record says {entry}, the claim {number}")


@exercise_check("reason_against", points=2, title="the number of the record")
def _(student, rng):
    for number in ("0.83", "0.8", "0.835", "0.8349", "1"):
        compare_number(student, "right", number, "rounded to what is printed")
    for number in ("0.84", "0.80", "0.834", "0.9", "0", "0.82"):
        compare_number(student, "right", number, "not what it rounds to")
    for number in ("0.05", "0.1", "0.06", "0.051", "0.052"):
        compare_number(student, "made up", number, "a small number")
    for number in ("0.12", "0.13", "0.125", "0.14", "0.1"):
        compare_number(student, "half", number, "exactly between two")
    for number in ("12", "12.0", "13", "11"):
        compare_number(student, "n", number, "a whole number")
    for number in ("-0.25", "0.25", "-0.2", "-0.3", "-0.4"):
        compare_number(student, "loss", number, "a negative number")
    entry = round(float(rng.uniform(0.2, 0.8)), 6)
    records = {"drawn": {"value": entry}}
    for number in (f"{entry:.3f}", f"{entry + 0.0011:.3f}", f"{entry - 0.0011:.3f}"):
        kind = "" if rounds_to(entry, number) else "differs"
        claim = (f"We saw {number}.", number, "drawn", ("value",))
        compare_reason(
            student, claim, kind, f"the record says {entry}, the claim {number}", records
        )


@exercise_check("reason_against", points=1, title="what the record holds")
def _(student, rng):
    def claim(*path, record="evaluate", number="0.83", text="It was 0.83."):
        return (text, number, record, path)

    compare_reason(student, claim(M, "right"), "", "all is there")
    compare_reason(student, claim(M, "right", record="ask"), "no record", "another record")
    compare_reason(student, claim(M, "wrong"), "no entry", "a key that is not there")
    compare_reason(student, claim("right"), "no entry", "the key without the one above it")
    compare_reason(student, claim(M, "right", "low"), "no entry", "a path through a number")
    compare_reason(student, claim(M, "name", "0"), "no entry", "a path through a text")
    compare_reason(student, claim(M, record="base"), "not a number", "a dictionary")
    compare_reason(student, claim(M, "interval"), "not a number", "a number with an interval")
    compare_reason(
        student, claim(M, "interval", "low", number="0.78", text="0.78"), "", "its low end"
    )
    compare_reason(student, claim(M, "name"), "not a number", "a text that looks like a number")
    none = claim(M, "not measured")
    compare_reason(student, none, "not a number", "an entry that is there, and is None")
    yes = claim(M, "is better", number="1", text="Better in 1 case.")
    compare_reason(student, yes, "not a number", "True, which Python takes for 1")
    compare_reason(student, claim(M, "broken"), "not a number", "NaN, which equals nothing")
    lost = claim(M, "right", record="ask", text="Nothing.")
    compare_reason(student, lost, "no record", "two reasons: the first counts")


IN_THE_SENTENCE = [
    ("It was 0.8 of all.", "0.8", True),
    ("It was 0.8.", "0.8", True),
    ("0.8 of all", "0.8", True),
    ("(0.8)", "0.8", True),
    ("right: 0.8, wrong: 0.2", "0.8", True),
    ("between 0.83 and 0.8", "0.8", True),
    ("It was 0.83 of all.", "0.8", False),
    ("It was 10.8 of all.", "0.8", False),
    ("It was -0.8 of all.", "0.8", False),
    ("It was 2.0.8 of all.", "0.8", False),
    ("It was about four fifths.", "0.8", False),
    ("It was 0x8 of all.", "0.8", False),
    ("It was 1 of all.", "1", True),
    ("It was 12 of all.", "1", False),
    ("It was 1.5 of all.", "1", False),
    ("It was 0.1 of all.", "1", False),
    ("In the end 1.", "1", True),
]


@exercise_check("reason_against", points=1, title="the number in the sentence", is_core=False)
def _(student, rng):
    for text, number, stands in IN_THE_SENTENCE:
        claim = (text, number, "r", ("x",))
        what = f"{number} {'stands' if stands else 'does not stand'} by itself in {text!r}"
        records = {"r": {"x": float(number)}}
        compare_reason(student, claim, "" if stands else "not in the sentence", what, records)
    claim = ("It fell by -0.8 points.", "-0.8", "r", ("x",))
    compare_reason(student, claim, "", "a negative number with its sign", {"r": {"x": -0.8}})
    claim = ("It was 0.7 of all.", "0.8", "r", ("x",))
    compare_reason(student, claim, "differs", "two reasons: the first counts", {"r": {"x": 0.7}})


# product_of

POWER, HOURS, CENTRE = (0.4, 0.2, 0.8), (100.0, 90.0, 150.0), (1.2, 1.0, 1.5)


def combined(factors: list, independent: bool, slip: str = "") -> list:
    """Return value, low, high: by all corners of the box, or in logarithms; `slip` is a mistake."""
    table = np.array(factors, float)  # (N, 3)
    value = np.exp(np.log(table[:, 0]).sum())
    corners = [math.prod(corner) for corner in itertools.product(*table[:, 1:])]
    if slip == "sum":
        return list(table.sum(0))
    if not independent:
        return [value, min(corners), max(corners)]
    down, up = np.log(table[:, 0] / table[:, 1]), np.log(table[:, 2] / table[:, 0])
    sides = [np.sqrt(np.square(side).sum()) for side in (down, up)]
    if slip == "sum of logs":
        sides = [down.sum(), up.sum()]
    if slip == "widest":
        sides = [down.max(), up.max()]
    if slip == "no root":
        sides = [np.square(side).sum() for side in (down, up)]
    if slip == "one side":
        sides = [np.sqrt(np.square(np.maximum(down, up)).sum())] * 2
    if slip == "mean":
        sides = [side.mean() for side in (down, up)]
    if slip == "shares":
        shares = [1 - table[:, 1] / table[:, 0], table[:, 2] / table[:, 0] - 1]
        low, high = (np.sqrt(np.square(share).sum()) for share in shares)
        return [value, value * (1 - low), value * (1 + high)]
    if slip == "tens":
        sides = [side / math.log(10) for side in sides]
    if slip == "sides":
        sides = sides[::-1]
    return [value, value * np.exp(-sides[0]), value * np.exp(sides[1])]


RANGE_SLIPS = {
    "sum": "your result adds the factors: multiply them",
    "sum of logs": (
        "your ends are those of all errors at their worst at once: distances of independent ones "
        "add in quadrature"
    ),
    "widest": "your ends are those of the widest range alone: every factor's range counts",
    "no root": "your distances are the sums of squares: take their root",
    "one side": (
        "your two sides have the same distance: take low from the lows, high from the highs"
    ),
    "mean": "your distances are averaged: they add in quadrature",
    "shares": "your distances are shares of the value: take those of logarithms",
    "tens": "your logarithm and your exponential have different bases: take the same",
    "sides": "your two sides are swapped: the lows decide the low end, the highs the high end",
}


def compare_range(student, factors: list, independent: bool | None, what: str) -> None:
    """Reject another range."""
    with in_case(f"{what}; each factor is a plain tuple (value, low, high)"):
        if independent is None:
            got = student.product_of(factors)
        else:
            got = student.product_of(factors, independent)
    require(
        type(got) is tuple and len(got) == 3 and all(type(x) in (int, float) for x in got),
        asked("return Estimate(value, low, high), three numbers", got),
    )
    want = combined(factors, bool(independent))
    case = f"{what}; factors {factors}, independent {bool(independent)}"
    if not independent:
        quadrature = combined(factors, True)
        slips = [
            (combined(factors, False, "sum"), f"{RANGE_SLIPS['sum']}; {case}"),
            (
                quadrature,
                "your ends are those of independent errors: where they may go together, all may "
                f"be at their worst; {case}",
            ),
            (
                [want[0], want[2], want[1]],
                f"your three numbers stand in another order: return value, low, high; {case}",
            ),
            (
                want[1:] + want[:1],
                f"your three numbers stand in another order: return value, low, high; {case}",
            ),
            (
                [(want[1] + want[2]) / 2, *want[1:]],
                "your best guess is the middle of low and high: take the product of the values; "
                f"{case}",
            ),
        ]
    else:
        slips = [(combined(factors, True, s), f"{t}; {case}") for s, t in RANGE_SLIPS.items()]
    recognise(list(got), want, slips, atol=1e-7)
    close(list(got), want, f"value, low, high: {case}", atol=1e-12, rtol=1e-8)


def drawn_factors(rng: np.random.Generator, n: int) -> list:
    """Return factors with ranges that are not symmetrical."""
    values = rng.uniform(0.5, 3, n).tolist()
    return [
        tuple(round(v * f, 3) for f in (1.0, rng.uniform(0.4, 0.9), rng.uniform(1.2, 2.5)))
        for v in values
    ]


@exercise_check("product_of", points=1, title="errors that go together")
def _(student, rng):
    compare_range(student, [POWER], None, "one factor")
    compare_range(student, [HOURS, POWER], None, "two factors, by default")
    compare_range(student, [HOURS, POWER, CENTRE], False, "three factors")
    compare_range(student, drawn_factors(rng, 4), False, "drawn factors")
    compare_range(student, [(5, 5, 5), (2, 1, 3)], None, "a factor that is known exactly")


@exercise_check("product_of", points=1, title="independent errors")
def _(student, rng):
    compare_range(student, [POWER], True, "one factor: its own range")
    compare_range(student, [HOURS, POWER, CENTRE], True, "sides that differ")
    compare_range(student, [(10, 5, 20), (10, 5, 20)], True, "two factors of 10 (5 to 20)")
    compare_range(student, drawn_factors(rng, 4), True, "drawn factors")
    compare_range(student, [(5, 5, 5), (2, 1, 3)], True, "a factor that is known exactly")
    compare_range(student, [(2e-9, 1e-9, 4e-9), (3.0, 2.0, 4.0)], True, "tiny numbers")


@exercise_check("product_of", points=1, title="what can't be", is_core=False)
def _(student, rng):
    compare_range(student, [CENTRE, HOURS], None, "what can be")
    for independent in (False, True):
        for bad, what in (
            ((2.0, 3.0, 4.0), "below its range"),
            ((5.0, 3.0, 4.0), "above its range"),
            ((0.0, 0.0, 1.0), "zero"),
            ((1.0, 0.0, 2.0), "with 0 as its lowest"),
            ((-1.0, -2.0, -0.5), "negative"),
        ):
            for factors in ([bad], [POWER, bad], [bad, POWER]):
                refused(
                    lambda factors=factors, i=independent: student.product_of(factors, i),
                    f"a factor {bad}, {what}, independent {independent}",
                )
        refused(lambda i=independent: student.product_of([], i), "no factors")


# weighted_kappa

GRADES = [([0, 1, 2, 3], [1, 2, 3, 3], 4), ([0, 0, 2, 2, 1], [0, 2, 2, 0, 1], 3)]


def kappa_by_table(first: list, second: list, n: int, slip: str = "") -> float:
    """Return kappa from the table of pairs of grades; `slip` names a mistake."""
    table = np.zeros((n, n))
    for a, b in zip(first, second, strict=True):
        table[int(a), int(b)] += 1 / len(first)
    far = np.abs(np.subtract.outer(np.arange(n), np.arange(n))).astype(float)
    weights = {"linear": far, "plain": (far > 0).astype(float)}.get(slip, far**2)
    expected = np.outer(table.sum(1), table.sum(0))
    if slip == "first twice":
        expected = np.outer(table.sum(1), table.sum(1))
    if slip == "uniform":
        expected = np.full((n, n), 1 / n**2)
    seen, chance = (weights * table).sum(), (weights * expected).sum()
    if slip == "other pairs":  # pairs of two answers, none with itself
        chance = (chance * len(first) ** 2 - seen * len(first)) / (len(first) * (len(first) - 1))
    if slip == "share":
        return float(np.trace(table))
    if slip == "scaled":
        return float(1 - seen / (n - 1) ** 2)
    if slip == "ratio":
        return float(seen / chance)
    if slip == "correlation" and min(np.std(first), np.std(second)) > 0:
        return float(np.corrcoef(first, second)[0, 1])
    if slip == "clipped":
        return max(0.0, float(1 - seen / chance))
    if slip == "pooled":
        both = (table.sum(0) + table.sum(1)) / 2
        return float(1 - seen / (weights * np.outer(both, both)).sum())
    if slip == "seen summed":
        return float(1 - seen * len(first) / chance)
    return float(1 - seen / chance)


KAPPA_SLIPS = {
    "linear": "your weights are the differences: square them",
    "plain": "your weights are 1 for any difference: one off is better than three off, so weigh "
    "by the square of the difference",
    "first twice": (
        "your chance pairs grades of the first with one another: pair them with those of the second"
    ),
    "uniform": "your chance gives all grades alike: let each grader keep their own habits",
    "other pairs": "your chance leaves out pairs of an answer with itself: take all pairs",
    "share": "yours is the share of equal grades: take the agreement beyond chance",
    "scaled": "yours is divided by the largest difference: divide by what chance would give",
    "ratio": "yours is the ratio: kappa is 1 minus the ratio",
    "correlation": "yours is the correlation, by which a grader who always gives more would agree "
    "fully: take 1 minus the ratio of the two means",
    "clipped": "yours stops at 0: less agreement than chance would give is below 0",
    "pooled": "your chance pairs any two of all grades: pair one of the first with one of the "
    "second",
    "seen summed": "your seen is the sum over answers: take the mean",
}


def compare_kappa(student, first: list, second: list, n: int, what: str) -> None:
    """Reject another kappa."""
    with in_case(what):
        got = student.weighted_kappa(first, second, n)
    require(type(got) in (int, float), asked(f"return a number, got {type(got).__name__}", got))
    case = f"{what}; {brief(first)} and {brief(second)} on {n} levels"
    want = kappa_by_table(first, second, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        slips = [
            ([kappa_by_table(first, second, n, slip)], f"{text}; {case}")
            for slip, text in KAPPA_SLIPS.items()
        ]
    recognise([got], [want], slips, atol=1e-7)
    close(got, want, case, atol=1e-9, rtol=1e-7)


def drawn_grades(rng: np.random.Generator, n: int, levels: int) -> tuple[list, list]:
    """Return grades of two graders who mostly agree; neither gives one grade alone."""
    first = [0, levels - 1, *map(int, rng.integers(0, levels, n - 2))]
    noise = [0, 0, *map(int, rng.integers(-1, 2, n - 2))]
    second = [min(max(a + d, 0), levels - 1) for a, d in zip(first, noise, strict=True)]
    second[2] = 0 if first[2] else levels - 1
    return first, second


@exercise_check("weighted_kappa", points=2, title="agreement beyond chance")
def _(student, rng):
    for first, second, n in GRADES:
        compare_kappa(student, first, second, n, "by hand")
    compare_kappa(student, [0, 1, 2], [0, 1, 2], 3, "full agreement")
    compare_kappa(student, [0, 0, 1, 2], [2, 2, 1, 0], 3, "the opposite")
    compare_kappa(student, [0, 1, 2, 3], [2, 3, 4, 5], 6, "always two points more")
    compare_kappa(student, [0, 0, 5, 5], [0, 1, 5, 4], 11, "levels that nobody gave")
    compare_kappa(student, [1, 1, 1], [0, 1, 2], 3, "one grader gives one grade alone")
    for levels in (3, 6):
        compare_kappa(student, *drawn_grades(rng, 12, levels), levels, "drawn grades")


@exercise_check("weighted_kappa", points=1, title="edges and errors", is_core=False)
def _(student, rng):
    for first, second, n in GRADES:
        compare_kappa(student, first, second, n, "by hand")
    got = student.weighted_kappa([1, 1], [1, 1], 3)
    require(
        type(got) is float and math.isnan(got),
        asked(
            "both give one and the same grade to everything, so that nothing can be said: "
            f"expected NaN, got {got}",
            got,
        ),
    )
    compare_kappa(student, [0, 0], [1, 1], 2, "one grade each, and not the same")
    compare_kappa(student, [0], [1], 2, "one answer")
    compare_kappa(student, [0.0, 1.0, 2.0], [0.0, 2.0, 2.0], 3, "whole numbers with a point")
    for first, second, n, what in (
        ([0, 1], [0], 2, "two grades and one"),
        ([0], [0, 1], 2, "one grade and two"),
        ([], [], 3, "no grades"),
        ([0, 0], [0, 0], 1, "one level"),
        ([0, 3], [0, 1], 3, "grade 3 on 3 levels, by the first"),
        ([0, 1], [0, 3], 3, "grade 3 on 3 levels, by the second"),
        ([0, -1], [0, 1], 3, "grade -1, by the first"),
        ([0, 1], [-1, 1], 3, "grade -1, by the second"),
        ([0, 1.5], [0, 1], 3, "grade 1.5"),
    ):
        refused(lambda a=first, b=second, n=n: student.weighted_kappa(a, b, n), what)


# relative_reduction


def reduction_by_hand(counts: tuple, level: float, slip: str = "") -> list:
    """Return value, low, high in logarithms with Python's own normal; `slip` names a mistake."""
    x1, n1, x2, n2 = counts
    if slip == "swapped":
        x1, n1, x2, n2 = x2, n2, x1, n1
    log_ratio = math.log(x2) - math.log(n2) - math.log(x1) + math.log(n1)
    spread = math.sqrt((n1 - x1) / (x1 * n1) + (n2 - x2) / (x2 * n2))
    if slip == "no shares":
        spread = math.sqrt(1 / x1 + 1 / x2)
    if slip == "all added":
        spread = math.sqrt(1 / x1 + 1 / n1 + 1 / x2 + 1 / n2)
    if slip == "variance":
        spread = spread**2
    z = NormalDist().inv_cdf((1 + level) / 2)
    z = {"1.96": NormalDist().inv_cdf(0.975), "one side": NormalDist().inv_cdf(level)}.get(slip, z)
    z = 1.0 if slip == "no z" else z
    ratio = math.exp(log_ratio)
    if slip == "linear":
        return [1 - ratio, 1 - ratio - z * ratio * spread, 1 - ratio + z * ratio * spread]
    if slip == "difference":
        a, b = x1 / n1, x2 / n2
        wide = z * math.sqrt(a * (1 - a) / n1 + b * (1 - b) / n2)
        return [a - b, a - b - wide, a - b + wide]
    ends = [math.exp(log_ratio + z * spread), math.exp(log_ratio - z * spread)]
    if slip == "ratio":
        return [ratio, *ends[::-1]]
    if slip == "ends":
        return [1 - ratio, 1 - ends[1], 1 - ends[0]]
    return [1 - ratio, 1 - ends[0], 1 - ends[1]]


REDUCTION_SLIPS = {
    "swapped": "yours is the change from after to before: measure it from before to after",
    "no shares": "your variance lacks a term: take off 1 / n for each side",
    "all added": "your variance has the terms 1 / n added: take them off",
    "variance": "your spread is the variance itself: take its root",
    "1.96": "yours goes 1.96 roots to each side, for a level of 0.95: take the quantile of the "
    "level",
    "one side": (
        "your quantile is that of the level itself, on one side: take that of 0.5 + level / 2, for"
        " both"
    ),
    "no z": "yours goes one standard error to each side: go as many as the level asks for",
    "linear": "your interval is made on the ratio: make it on the logarithm, then turn it back",
    "difference": "yours is the difference of the shares: take the relative reduction",
    "ratio": "yours is the ratio: a reduction is 1 minus the ratio",
    "ends": "your two ends are swapped: the large end of the ratio is the low end of the reduction",
}


def compare_reduction(student, counts: tuple, level: float | None, what: str) -> None:
    """Reject another reduction or interval."""
    with in_case(what):
        got = student.relative_reduction(*counts, *([] if level is None else [level]))
    require(
        type(got) is tuple and len(got) == 3 and all(type(x) in (int, float) for x in got),
        asked("return Reduction(value, low, high), three numbers", got),
    )
    level = 0.95 if level is None else level
    case = f"{what}; {counts[0]} of {counts[1]}, then {counts[2]} of {counts[3]}, level {level}"
    want = reduction_by_hand(counts, level)
    slips = [
        (reduction_by_hand(counts, level, s), f"{t}; {case}") for s, t in REDUCTION_SLIPS.items()
    ]
    recognise(list(got), want, slips, atol=1e-6)
    close(list(got), want, f"value, low, high: {case}", atol=1e-6, rtol=1e-6)


@exercise_check("relative_reduction", points=1, title="the reduction and its interval")
def _(student, rng):
    compare_reduction(student, (80, 200, 40, 200), None, "a halving")
    compare_reduction(student, (80, 200, 40, 200), 0.8, "a halving, another level")
    compare_reduction(student, (8, 20, 4, 20), None, "the same with few questions")
    compare_reduction(student, (30, 100, 45, 300), 0.9, "groups of two sizes")
    compare_reduction(student, (20, 100, 35, 90), None, "it became worse")
    n = int(rng.integers(50, 150))
    drawn = (int(rng.integers(20, 40)), n, int(rng.integers(5, 20)), n + 7)
    compare_reduction(student, drawn, 0.99, "drawn counts")


@exercise_check("relative_reduction", points=1, title="edges and errors", is_core=False)
def _(student, rng):
    compare_reduction(student, (1, 9, 1, 12), None, "one flag on either side")
    compare_reduction(student, (10, 10, 4, 10), None, "all answers flagged before")
    compare_reduction(student, (4, 10, 10, 10), 0.5, "all answers flagged after")
    for counts in ((0, 9, 3, 9), (3, 9, 0, 9), (10, 9, 3, 9), (3, 9, 10, 9), (0, 0, 3, 9)):
        refused(lambda c=counts: student.relative_reduction(*c), f"flags and answers {counts}")
    refused(lambda: student.relative_reduction(-1, 9, 3, 9), "-1 flags")
    for level in (0.0, 1.0, 1.5, -0.5):
        refused(lambda level=level: student.relative_reduction(4, 9, 3, 9, level), f"level {level}")
