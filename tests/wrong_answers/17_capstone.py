"""Wrong answers of lab 17, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

STAGES = """def stages_to_run(needs, makes, changed):
    maker = {}
    for stage, paths in makes.items():
        for path in paths:
            if maker.setdefault(path, stage) != stage:
                raise ValueError(path)
    stale, order, waiting = set(changed), [], list(needs)
    while waiting:
        ready = [s for s in waiting if not any(maker.get(path) in waiting for path in needs[s])]
        if not ready:
            raise ValueError(waiting)
        stage = ready[0]
        waiting.remove(stage)
        if stale.intersection(needs[stage]):
            order.append(stage)
            stale.update(makes[stage])
    return order
"""
LINEAGE = """def trace_lineage(records, path):
    maker = {made: stage for stage, record in records.items() for made in record["outputs"]}
    if path not in maker:
        raise KeyError(path)
    stages, raw, reader = [], {}, {}
    def visit(stage):
        if stage in stages:
            return
        for used, digest in records[stage]["inputs"].items():
            if used not in maker:
                if raw.setdefault(used, digest) != digest:
                    raise ValueError(used, stage, reader[used])
                reader.setdefault(used, stage)
                continue
            before = maker[used]
            if records[before]["outputs"][used] != digest:
                raise ValueError(used, stage, before)
            visit(before)
        stages.append(stage)
    visit(maker[path])
    return tuple(stages), raw
"""
REASON = """def reason_against(claim, records):
    text, number, record, path = claim
    if record not in records:
        return "no record"
    entry = records[record]
    for key in path:
        if not isinstance(entry, Mapping) or key not in entry:
            return "no entry"
        entry = entry[key]
    if isinstance(entry, bool) or not isinstance(entry, (int, float)) or entry != entry:
        return "not a number"
    decimals = len(number.partition(".")[2])
    if abs(entry - float(number)) > 0.5 * 10**-decimals * (1 + 1e-9):
        return "differs"
    if not re.search(rf"(?<![\\d.\\-]){re.escape(number)}(?!\\.?\\d)", text):
        return "not in the sentence"
    return ""
"""
DIFFERS = "abs(entry - float(number)) > 0.5 * 10**-decimals * (1 + 1e-9)"
FOUND = 're.search(rf"(?<![\\d.\\-]){re.escape(number)}(?!\\.?\\d)", text)'
PRODUCT = """def product_of(factors, independent=False):
    if not factors:
        raise ValueError("no factors")
    for value, low, high in factors:
        if not 0 < low <= value <= high:
            raise ValueError("range")
    value = math.prod(v for v, _, _ in factors)
    if not independent:
        return value, math.prod(low for _, low, _ in factors), math.prod(h for _, _, h in factors)
    down = math.sqrt(sum(math.log(v / low) ** 2 for v, low, _ in factors))
    up = math.sqrt(sum(math.log(high / v) ** 2 for v, _, high in factors))
    return value, value * math.exp(-down), value * math.exp(up)
"""
TOGETHER = (
    "return value, math.prod(low for _, low, _ in factors), math.prod(h for _, _, h in factors)"
)
APART = "return value, value * math.exp(-down), value * math.exp(up)"
KAPPA = """def weighted_kappa(first, second, n_levels):
    if len(first) != len(second) or not first or n_levels < 2:
        raise ValueError("grades")
    for grade in (*first, *second):
        if grade != int(grade) or not 0 <= grade < n_levels:
            raise ValueError("outside")
    seen = sum((a - b) ** 2 for a, b in zip(first, second)) / len(first)
    chance = sum((a - b) ** 2 for a in first for b in second) / len(first) ** 2
    return 1 - seen / chance if chance else float("nan")
"""
SEEN = "sum((a - b) ** 2 for a, b in zip(first, second)) / len(first)"
CHANCE = "sum((a - b) ** 2 for a in first for b in second) / len(first) ** 2"
END = 'return 1 - seen / chance if chance else float("nan")'
REDUCTION = """def relative_reduction(flags_before, n_before, flags_after, n_after, level=0.95):
    for flags, n in ((flags_before, n_before), (flags_after, n_after)):
        if not 1 <= flags <= n:
            raise ValueError("flags")
    if not 0 < level < 1:
        raise ValueError("level")
    ratio = (flags_after / n_after) / (flags_before / n_before)
    variance = 1 / flags_before - 1 / n_before + 1 / flags_after - 1 / n_after
    z = normal_quantile(0.5 + level / 2)
    spread = math.exp(z * math.sqrt(variance))
    return 1 - ratio, 1 - ratio * spread, 1 - ratio / spread
"""
ENDS = "return 1 - ratio, 1 - ratio * spread, 1 - ratio / spread"
CODES = {
    "stages_to_run": STAGES,
    "trace_lineage": LINEAGE,
    "reason_against": REASON,
    "product_of": PRODUCT,
    "weighted_kappa": KAPPA,
    "relative_reduction": REDUCTION,
}


def wrong(exercise, why, words, *changes):
    return Wrong(exercise, why, replaced(CODES[exercise], changes), words)


def replaced(code, changes):
    for old, new in changes:
        before, *after = code.split(old)
        assert len(after) == 1, (old, code)
        code = before + new + after[0]
    return code


def lazy(exercise, why, words, body):
    head = CODES[exercise].split(":\n")[0]
    return Wrong(exercise, why, f"{head}:\n    {body}\n", words)


S, L, R, P, K, D = CODES
WRONG = [
    lazy(S, "everything", "your list has every stage", "return list(needs)"),
    lazy(S, "nothing", "the last stage alone", "return []"),
    lazy(
        S,
        "a set",
        "return a sorted list",
        "return {s for s in needs if set(needs[s]) & set(changed)}",
    ),
    wrong(
        S,
        "only who reads the change itself",
        "what a stale stage makes is stale",
        ("            stale.update(makes[stage])\n", ""),
    ),
    wrong(
        S,
        "all that comes later",
        "only where it depends",
        ("if stale.intersection(needs[stage]):", "if order or stale.intersection(needs[stage]):"),
    ),
    wrong(
        S, "in the order of needs", "before its maker", ("stage = ready[0]", "stage = waiting[0]")
    ),
    wrong(
        S,
        "found one after another, told as written",
        "your stages stand in the order of `needs`",
        ("    return order", "    return [s for s in needs if s in order]"),
    ),
    wrong(S, "the last ready one", "the right ones in another order", ("ready[0]", "ready[-1]")),
    wrong(
        S,
        "backwards",
        "your stages stand before what they need",
        ("    return order", "    return order[::-1]"),
    ),
    wrong(
        S,
        "the maker of what was edited",
        "not its maker",
        (
            "if stale.intersection(needs[stage]):",
            "if stale.intersection(needs[stage]) or set(changed) & set(makes[stage]):",
        ),
    ),
    wrong(
        S,
        "made files are never changed",
        "can change, too",
        ("set(changed), []", "set(changed) - set(maker), []"),
    ),
    wrong(
        S,
        "a file that no stage needs is an error",
        "a file that no stage needs",
        (
            "    stale, order",
            "    for c in changed:\n"
            "        [s for s in needs if c in needs[s]][0]\n"
            "    stale, order",
        ),
    ),
    wrong(
        S,
        "two makers, the last counts",
        "weights made by base and tune",
        ("raise ValueError(path)", "maker[path] = stage"),
    ),
    wrong(
        S,
        "two makers of a file without its name",
        "the message names weights",
        ("raise ValueError(path)", "raise ValueError(stage, maker[path])"),
    ),
    wrong(
        S,
        "a circle without names",
        "the message names draft, review",
        ("raise ValueError(waiting)", 'raise ValueError("a circle")'),
    ),
    wrong(
        S,
        "a circle that names one stage",
        "the message names draft, review",
        ("raise ValueError(waiting)", "raise ValueError(waiting[0])"),
    ),
    wrong(
        S,
        "the order among those that run",
        "a stage also waits for makers that are up to date",
        (
            "    return order\n",
            """    left, alone = [s for s in needs if s in order], []
    while left:
        ready = [s for s in left if not any(maker.get(path) in left for path in needs[s])]
        alone.append(ready[0])
        left.remove(ready[0])
    return alone
""",
        ),
    ),
    wrong(S, "a circle is left out", "raise a ValueError", ("raise ValueError(waiting)", "break")),
    wrong(
        S,
        "a circle counts where it is stale",
        "raise a ValueError",
        (
            "raise ValueError(waiting)",
            "if stale & {p for s in waiting for p in needs[s]}:\n"
            "                raise ValueError(waiting)\n"
            "            break",
        ),
    ),
    lazy(L, "nothing", "expected the stages", "return (), {}"),
    lazy(L, "a list of files", "return Lineage(stages, raw)", "return list(records)"),
    wrong(
        L,
        "stages in a list",
        "a tuple of names",
        ("return tuple(stages), raw", "return stages, raw"),
    ),
    wrong(
        L,
        "one step back",
        "your stages end one step back",
        (
            "            visit(before)\n",
            "            stages.append(before) if before not in stages else None\n",
        ),
    ),
    wrong(
        L,
        "every stage of the records",
        "your stages are all that are recorded",
        (
            "return tuple(stages), raw",
            "return tuple(stages) + tuple(s for s in records if s not in stages), raw",
        ),
    ),
    wrong(
        L,
        "without its own stage",
        "that made the artefact",
        ("return tuple(stages), raw", "return tuple(stages[:-1]), raw"),
    ),
    wrong(
        L,
        "the maker before its inputs",
        "after those that it built on",
        ("        stages.append(stage)\n", ""),
        ("            return\n", "            return\n        stages.append(stage)\n"),
    ),
    wrong(
        L,
        "backwards",
        "after those that it built on",
        ("tuple(stages), raw", "tuple(stages[::-1]), raw"),
    ),
    wrong(
        L,
        "visited twice",
        "a stage of yours stands twice",
        ("        if stage in stages:\n            return\n", ""),
    ),
    wrong(
        L,
        "all that was read is raw",
        "your raw holds files that a stage made",
        (
            "            before = maker[used]",
            "            raw[used] = digest\n            before = maker[used]",
        ),
    ),
    wrong(
        L,
        "raw of the last stage",
        "of the stages before counts",
        (
            "return tuple(stages), raw",
            "own = records[maker[path]]['inputs']\n"
            "    return tuple(stages), {k: v for k, v in raw.items() if k in own}",
        ),
    ),
    wrong(
        L,
        "raw of all records",
        "your raw holds what other artefacts come from",
        (
            "return tuple(stages), raw",
            "return tuple(stages), {k: v for r in records.values() for k, v in "
            "r['inputs'].items() if k not in maker}",
        ),
    ),
    wrong(
        L,
        "names without hashes",
        "path -> hash",
        ("return tuple(stages), raw", "return tuple(stages), dict.fromkeys(raw, True)"),
    ),
    wrong(
        L,
        "two versions of raw text, one reader named",
        "the message names raw/a, text, tune",
        ("raise ValueError(used, stage, reader[used])", "raise ValueError(used, stage)"),
    ),
    wrong(
        L,
        "another version, one stage named",
        "the message names weights, tune, base",
        ("raise ValueError(used, stage, before)", "raise ValueError(used, stage)"),
    ),
    wrong(
        L,
        "another version, no file named",
        "the message names weights, tune, base",
        ("raise ValueError(used, stage, before)", "raise ValueError(stage, before)"),
    ),
    wrong(
        L,
        "hashes not compared",
        "read another version",
        ("raise ValueError(used, stage, before)", "pass"),
    ),
    wrong(
        L,
        "compared where a stage is new only",
        "visited before",
        ("if records[before]", "if before not in stages and records[before]"),
    ),
    wrong(
        L,
        "every link of the records is looked at",
        "not on the way",
        (
            "    stages, raw, reader = [], {}, {}\n",
            "    stages, raw, reader = [], {}, {}\n    for r in records.values():\n"
            "        for f, h in r['inputs'].items():\n"
            "            if f in maker and records[maker[f]]['outputs'][f] != h:\n"
            "                raise ValueError('broken')\n",
        ),
    ),
    wrong(
        L,
        "the last version of raw text",
        "two versions of raw/a",
        (
            "if raw.setdefault(used, digest) != digest:",
            "raw[used] = digest\n                if False:",
        ),
    ),
    wrong(
        L,
        "nothing for what nobody made",
        "raise a KeyError",
        ("raise KeyError(path)", "return (), {}"),
    ),
    wrong(
        L, "another error", "raise a KeyError", ("raise KeyError(path)", "raise ValueError(path)")
    ),
    lazy(R, "all is well", "begins with", "return ''"),
    lazy(R, "a verdict", "return a text", "return True"),
    lazy(
        R,
        "by its names",
        "a plain tuple here",
        "return '' if claim.record in records else 'no record'",
    ),
    wrong(
        R,
        "a reason of one's own",
        "a reason begins with",
        ('return "differs"', 'return "wrong number"'),
    ),
    wrong(
        R,
        "cut off in place of rounded",
        "the claim 0.835: expected an empty text",
        (DIFFERS, "int(entry * 10**decimals) != int(float(number) * 10**decimals)"),
    ),
    wrong(R, "the same digits", "rounded to what is printed", (DIFFERS, "entry != float(number)")),
    wrong(
        R,
        "near enough",
        "the claim 0.8: expected an empty text",
        (DIFFERS, "abs(entry - float(number)) > 0.01"),
    ),
    wrong(
        R,
        "rounded to the even digit",
        "exactly between two",
        (DIFFERS, "round(entry, decimals) != float(number)"),
    ),
    wrong(
        R,
        "the half is out",
        "exactly between two",
        (DIFFERS, "abs(entry - float(number)) >= 0.5 * 10**-decimals * (1 - 1e-9)"),
    ),
    wrong(
        R,
        "a whole last digit",
        "not what it rounds to",
        (DIFFERS, "abs(entry - float(number)) > 10**-decimals"),
    ),
    wrong(
        R,
        "two decimals always",
        "the claim 0.8",
        (DIFFERS, "round(abs(entry - float(number)), 9) > 0.005"),
    ),
    wrong(
        R,
        "size without sign",
        "a negative number",
        (DIFFERS, "abs(abs(entry) - abs(float(number))) > 0.5 * 10**-decimals * (1 + 1e-9)"),
    ),
    wrong(
        R,
        "no such record",
        "another record",
        ('    if record not in records:\n        return "no record"\n', ""),
    ),
    wrong(
        R,
        "the first key only",
        "a path through a number",
        ("    for key in path:", "    for key in path[:2]:"),
    ),
    wrong(
        R,
        "keys in whatever is there",
        "a path through",
        ("not isinstance(entry, Mapping) or key not in entry", "key not in entry"),
    ),
    wrong(
        R,
        "None is not there",
        "is there, and is None",
        (
            "        entry = entry[key]\n",
            "        entry = entry[key]\n"
            "        if entry is None:\n            return 'no entry'\n",
        ),
    ),
    wrong(R, "True is one", "which Python takes for 1", ("isinstance(entry, bool) or ", "")),
    wrong(R, "NaN agrees with all", "NaN, which equals nothing", (" or entry != entry", "")),
    wrong(
        R,
        "a text is read as a number",
        "looks like a number",
        (
            "    if isinstance(entry, bool)",
            "    if isinstance(entry, str):\n"
            "        entry = float(entry)\n"
            "    if isinstance(entry, bool)",
        ),
    ),
    wrong(
        R,
        "an interval stands for its middle",
        "with an interval",
        (
            "    if isinstance(entry, bool)",
            "    if isinstance(entry, dict) and 'low' in entry:\n"
            "        entry = 0.83\n"
            "    if isinstance(entry, bool)",
        ),
    ),
    wrong(R, "anywhere in the sentence", "does not stand by itself", (FOUND, "number in text")),
    wrong(R, "a word of its own", "stands by itself in", (FOUND, "number in text.split()")),
    wrong(R, "a dot is any sign", "0x8", ("re.escape(number)", "number")),
    wrong(R, "the sign is not seen", "-0.8", ("(?<![\\d.\\-])", "(?<![\\d.])")),
    wrong(R, "the end is not seen", "'It was 0.83", ("(?!\\.?\\d)", "")),
    wrong(
        R,
        "the sentence first",
        "two reasons",
        (
            "    if record not in records:",
            "    if number not in text:\n"
            '        return "not in the sentence"\n'
            "    if record not in records:",
        ),
    ),
    lazy(P, "the best guess alone", "three numbers", "return math.prod(f[0] for f in factors)"),
    lazy(
        P,
        "no range",
        "value, low, high",
        "value = math.prod(f[0] for f in factors)\n    return value, value, value",
    ),
    lazy(
        P,
        "by name",
        "a plain tuple (value, low, high)",
        "return math.prod(f.value for f in factors), 0.0, 0.0",
    ),
    lazy(
        P,
        "added",
        "your result adds the factors",
        "return tuple(float(sum(x)) for x in zip(*factors))",
    ),
    wrong(
        P,
        "always independent",
        "all may be at their worst",
        ("    if not independent:", "    if False:"),
    ),
    wrong(
        P,
        "never independent",
        "your ends are those of all errors at their worst at once",
        ("    if not independent:", "    if True:"),
    ),
    wrong(
        P,
        "distances added",
        "distances of independent ones add in quadrature",
        ("math.sqrt(sum(math.log(v / low) ** 2 for", "(sum(math.log(v / low) for"),
        ("math.sqrt(sum(math.log(high / v) ** 2 for", "(sum(math.log(high / v) for"),
    ),
    wrong(
        P,
        "the widest factor",
        "your ends are those of the widest range alone",
        ("math.sqrt(sum(math.log(v / low) ** 2 for", "(max(math.log(v / low) for"),
        ("math.sqrt(sum(math.log(high / v) ** 2 for", "(max(math.log(high / v) for"),
    ),
    wrong(
        P,
        "no root",
        "your distances are the sums of squares",
        ("math.sqrt(sum(math.log(v", "(sum(math.log(v"),
        ("math.sqrt(sum(math.log(high", "(sum(math.log(high"),
    ),
    wrong(
        P,
        "one distance for both sides",
        "your two sides have the same distance",
        (
            APART,
            "far = math.sqrt(sum(max(math.log(v / low), math.log(high / v)) ** 2 for v, "
            "low, high in factors))\n"
            "    return value, value * math.exp(-far), value * math.exp(far)",
        ),
    ),
    wrong(
        P,
        "shares in place of logarithms",
        "your distances are shares of the value",
        (
            APART,
            "down = math.sqrt(sum((1 - low / v) ** 2 for v, low, _ in factors))\n"
            "    up = math.sqrt(sum((high / v - 1) ** 2 for v, _, high in factors))\n"
            "    return value, value * (1 - down), value * (1 + up)",
        ),
    ),
    wrong(
        P,
        "logarithms to ten",
        "your logarithm and your exponential have different bases",
        ("math.log(v / low)", "math.log10(v / low)"),
        ("math.log(high / v)", "math.log10(high / v)"),
    ),
    wrong(
        P,
        "sides changed",
        "the lows decide the low end",
        (APART, "return value, value * math.exp(-up), value * math.exp(down)"),
    ),
    wrong(
        P,
        "averaged",
        "your distances are averaged",
        (
            APART,
            "down = sum(math.log(v / low) for v, low, _ in factors) / len(factors)\n"
            "    up = sum(math.log(high / v) for v, _, high in factors) / len(factors)\n"
            "    return value, value * math.exp(-down), value * math.exp(up)",
        ),
    ),
    wrong(
        P,
        "low, high, value",
        "your three numbers stand in another order",
        (
            TOGETHER,
            "return (math.prod(f[1] for f in factors), math.prod(f[2] for f in factors), value)",
        ),
    ),
    wrong(
        P,
        "the middle of the range",
        "your best guess is the middle of low and high",
        (
            TOGETHER,
            "low, high = (math.prod(f[k] for f in factors) for k in (1, 2))\n"
            "        return (low + high) / 2, low, high",
        ),
    ),
    wrong(
        P,
        "tiny numbers rounded away",
        "tiny numbers",
        (
            APART,
            "return tuple(round(x, 9) for x in (value, value * math.exp(-down), value * "
            "math.exp(up)))",
        ),
    ),
    wrong(
        P, "no factors", "no factors", ('raise ValueError("no factors")', "return 1.0, 1.0, 1.0")
    ),
    wrong(
        P,
        "zero may be",
        "a factor (0.0, 0.0, 1.0)",
        ("0 < low", "0 <= low"),
        (
            "math.log(v / low) ** 2 for v, low, _ in factors",
            "math.log(v / max(low, 1e-9)) ** 2 for v, low, _ in factors",
        ),
    ),
    wrong(P, "ranges not looked at", "its range", ("0 < low <= value <= high", "0 < low")),
    lazy(K, "always one", "by hand", "return 1.0"),
    lazy(K, "a verdict", "return a number", "return 'good'"),
    lazy(
        K,
        "the share that is equal",
        "yours is the share of equal grades",
        "return sum(a == b for a, b in zip(first, second)) / len(first)",
    ),
    wrong(
        K,
        "linear weights",
        "your weights are the differences",
        (SEEN, "sum(abs(a - b) for a, b in zip(first, second)) / len(first)"),
        (CHANCE, "sum(abs(a - b) for a in first for b in second) / len(first) ** 2"),
    ),
    wrong(
        K,
        "plain kappa",
        "one off is better",
        (SEEN, "sum(a != b for a, b in zip(first, second)) / len(first)"),
        (CHANCE, "sum(a != b for a in first for b in second) / len(first) ** 2"),
    ),
    wrong(
        K,
        "the first grader's habits twice",
        "your chance pairs grades of the first with one another",
        ("for a in first for b in second", "for a in first for b in first"),
    ),
    wrong(
        K,
        "all grades alike",
        "your chance gives all grades alike",
        (
            CHANCE,
            "sum((a - b) ** 2 for a in range(n_levels) for b in range(n_levels)) / n_levels ** 2",
        ),
    ),
    wrong(
        K,
        "against the largest difference",
        "divide by what chance",
        (END, "return 1 - seen / (n_levels - 1) ** 2 if chance else float('nan')"),
    ),
    wrong(
        K,
        "no pair with itself",
        "your chance leaves out pairs of an answer with itself",
        (
            CHANCE,
            "sum((a - b) ** 2 for i, a in enumerate(first) for j, b in enumerate(second) "
            "if i != j) / max(1, len(first) * (len(first) - 1))",
        ),
    ),
    wrong(
        K,
        "the ratio",
        "1 minus the ratio",
        (END, "return seen / chance if chance else float('nan')"),
    ),
    wrong(
        K,
        "a sum for a mean",
        "your seen is the sum over answers",
        (SEEN, "sum((a - b) ** 2 for a, b in zip(first, second))"),
    ),
    lazy(
        K,
        "the correlation",
        "yours is the correlation, by which a grader who always gives more would agree fully",
        "n = len(first)\n"
        "    x, y = sum(first) / n, sum(second) / n\n"
        "    s = sum((a - x) * (b - y) for a, b in zip(first, second))\n"
        "    v = sum((a - x) ** 2 for a in first) * sum((b - y) ** 2 for b in second)\n"
        "    return s / v ** 0.5 if v else 0.0",
    ),
    wrong(
        K,
        "1.0 where nothing can be said",
        "both give one and the same grade to everything",
        ('else float("nan")', "else 1.0"),
    ),
    wrong(
        K, "the shorter list decides", "two grades and one", ("len(first) != len(second) or ", "")
    ),
    wrong(
        K,
        "never below 0",
        "is below 0",
        ("return 1 - seen / chance if", "return max(0.0, 1 - seen / chance) if"),
    ),
    wrong(
        K,
        "grades of both in one heap",
        "your chance pairs any two of all grades",
        (
            CHANCE,
            "sum((a - b) ** 2 for a in (*first, *second) for b in (*first, *second)) "
            "/ (2 * len(first)) ** 2",
        ),
    ),
    wrong(K, "empty lists", "no grades", ("not first or ", "first == second == [] and 1 / 0 or ")),
    wrong(K, "one level", "one level", (" or n_levels < 2", "")),
    wrong(K, "grades not looked at", "grade 3 on 3 levels", ("not 0 <= grade < n_levels", "False")),
    wrong(K, "the first grader's alone", "by the second", ("(*first, *second)", "first")),
    wrong(K, "halves may be", "grade 1.5", ("grade != int(grade) or ", "")),
    wrong(
        K,
        "one level too many",
        "grade 3 on 3 levels",
        ("< n_levels:\n            raise", "<= n_levels:\n            raise"),
    ),
    lazy(D, "always a half", "value, low, high", "return 0.5, 0.4, 0.6"),
    lazy(
        D,
        "the reduction alone",
        "three numbers",
        "return 1 - flags_after / n_after / (flags_before / n_before)",
    ),
    wrong(
        D,
        "from after to before",
        "from before to after",
        (
            "    ratio =",
            "    flags_before, n_before, flags_after, n_after = flags_after, n_after, "
            "flags_before, n_before\n"
            "    ratio =",
        ),
    ),
    wrong(
        D,
        "counts without n",
        "your variance lacks a term",
        (
            "1 / flags_before - 1 / n_before + 1 / flags_after - 1 / n_after",
            "1 / flags_before + 1 / flags_after",
        ),
    ),
    wrong(
        D,
        "all added",
        "your variance has the terms 1 / n added",
        ("- 1 / n_before", "+ 1 / n_before"),
        ("- 1 / n_after", "+ 1 / n_after"),
    ),
    wrong(
        D,
        "the variance for the spread",
        "your spread is the variance itself",
        ("math.sqrt(variance)", "variance"),
    ),
    wrong(
        D,
        "95 % always",
        "take the quantile of the level",
        ("normal_quantile(0.5 + level / 2)", "normal_quantile(0.975)"),
    ),
    wrong(
        D,
        "one side",
        "your quantile is that of the level itself, on one side",
        ("normal_quantile(0.5 + level / 2)", "normal_quantile(level)"),
    ),
    wrong(
        D,
        "one standard error",
        "yours goes one standard error to each side",
        ("normal_quantile(0.5 + level / 2)", "1.0"),
    ),
    wrong(
        D,
        "symmetrical",
        "your interval is made on the ratio",
        (
            ENDS,
            "wide = z * ratio * math.sqrt(variance)\n"
            "    return 1 - ratio, 1 - ratio - wide, 1 - ratio + wide",
        ),
    ),
    wrong(
        D,
        "points of per cent",
        "yours is the difference of the shares",
        (
            ENDS,
            "a, b = flags_before / n_before, flags_after / n_after\n"
            "    wide = z * math.sqrt(a * (1 - a) / n_before + b * (1 - b) / n_after)\n"
            "    return a - b, a - b - wide, a - b + wide",
        ),
    ),
    wrong(
        D,
        "the ratio itself",
        "1 minus the ratio",
        (ENDS, "return ratio, ratio / spread, ratio * spread"),
    ),
    wrong(
        D,
        "ends changed",
        "the low end of the reduction",
        (ENDS, "return 1 - ratio, 1 - ratio / spread, 1 - ratio * spread"),
    ),
    wrong(
        D, "no flags", "raise a ValueError", ("if not 1 <= flags <= n:", "if not 0 <= flags <= n:")
    ),
    wrong(
        D,
        "more flags than answers",
        "raise a ValueError",
        ("if not 1 <= flags <= n:", "if not 1 <= flags:"),
    ),
    wrong(
        D,
        "all flagged is refused",
        "all answers flagged",
        ("if not 1 <= flags <= n:", "if not 1 <= flags < n:"),
    ),
    wrong(D, "any level", "raise a ValueError", ('raise ValueError("level")', "level = 0.95")),
]

EQUIVALENT: dict[tuple[str, str], str] = {
    (L, "delete `if path not in maker:`"): "looking its maker up raises a KeyError as well",
    (R, "Gt -> GtE in `abs(entry - float(number)) > ... * (-decimals) * (1 + 1e-09)`"): (
        "the bar is a hair above the half, where no number of a record lies"
    ),
    (P, "delete `if not factors:`"): "nothing can't be unpacked into three: a ValueError as well",
    (P, "swap arguments of `zip(values, lows, strict=True)`"): "the sign goes when it is squared",
    (P, "swap arguments of `zip(values, highs, strict=True)`"): "the sign goes when it is squared",
    (K, "delete `if len(first) != len(second):`"): "zip is strict: a ValueError as well",
    (K, "swap arguments of `zip(first, second, strict=True)`"): "a difference is squared",
}
