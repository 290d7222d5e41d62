"""Lab 17: right answers of another shape than the course's own."""

RIGHT = {
    "stages_to_run": [
        # the whole order first, then what is stale
        """
def stages_to_run(needs, makes, changed):
    made_by = {}
    for stage in makes:
        for path in makes[stage]:
            if path in made_by:
                raise ValueError(f"{path} has two makers")
            made_by[path] = stage
    before = {s: {made_by[p] for p in needs[s] if p in made_by} for s in needs}
    whole = []
    while len(whole) < len(needs):
        for stage in needs:
            if stage not in whole and before[stage] <= set(whole):
                whole.append(stage)
                break
        else:
            raise ValueError("a circle: " + " ".join(s for s in needs if s not in whole))
    stale = set()
    for stage in whole:
        if before[stage] & stale or any(path in changed for path in needs[stage]):
            stale.add(stage)
    return [stage for stage in whole if stage in stale]
""",
        # counts of makers that have not run
        """
def stages_to_run(needs, makes, changed):
    paths = [path for some in makes.values() for path in some]
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise ValueError(f"two makers: {twice}")
    reads = {s: [o for o in needs if set(makes[o]) & set(needs[s])] for s in needs}
    done, dirty, order = [], set(changed), []
    names = list(needs)
    while names:
        for k, name in enumerate(names):
            if all(other in done for other in reads[name]):
                break
        else:
            raise ValueError(f"{names} wait in a circle")
        names.pop(k)
        done.append(name)
        if any(path in dirty for path in needs[name]):
            order += [name]
            dirty |= set(makes[name])
    return order
""",
    ],
    "trace_lineage": [
        # a stack in place of a function that calls itself
        """
def trace_lineage(records, path):
    def maker_of(file):
        for stage, record in records.items():
            if file in record["outputs"]:
                return stage
        return None

    if maker_of(path) is None:
        raise KeyError(f"nobody made {path}")
    found, waiting, raw = [], [maker_of(path)], {}
    links, seen_by = {}, {}
    while waiting:
        stage = waiting.pop()
        if stage in found:
            continue
        found.append(stage)
        links[stage] = set()
        for file, digest in records[stage]["inputs"].items():
            other = maker_of(file)
            if other is None:
                if raw.get(file, digest) != digest:
                    raise ValueError(f"{file} in two versions: {stage}, {seen_by[file]}")
                raw[file], seen_by[file] = digest, stage
            elif records[other]["outputs"][file] != digest:
                raise ValueError(f"{stage} and {other} disagree on {file}")
            else:
                links[stage].add(other)
                waiting.append(other)
    order = []
    while len(order) < len(found):
        order += [s for s in found if s not in order and links[s] <= set(order)]
    return Lineage(tuple(order), raw)
""",
        # stages sorted by how far back they reach
        """
def trace_lineage(records, path):
    made = {}
    for stage, record in records.items():
        made.update(dict.fromkeys(record["outputs"], stage))
    depth = {}

    def reach(stage):
        if stage not in depth:
            own = [made[f] for f in records[stage]["inputs"] if f in made]
            for f, h in records[stage]["inputs"].items():
                if f in made and records[made[f]]["outputs"][f] != h:
                    raise ValueError(f"{f} of {made[f]} was read by {stage} in another version")
            depth[stage] = 1 + max(map(reach, own), default=0)
        return depth[stage]

    reach(made[path])
    raw = {}
    for stage in depth:
        for f, h in records[stage]["inputs"].items():
            if f not in made:
                if raw.setdefault(f, h) != h:
                    readers = [s for s in depth if f in records[s]["inputs"]]
                    raise ValueError(f"{f} in two versions: {readers}")
    return tuple(sorted(depth, key=depth.get)), raw
""",
    ],
    "reason_against": [
        # decimals, rounded both ways
        """
def reason_against(claim, records):
    from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal

    text, number, record, path = claim
    if record not in records:
        return "no record of that name"
    found = records[record]
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return f"no entry {key}"
        found = found[key]
    if type(found) not in (int, float) or found != found:
        return f"not a number: {found}"
    places = len(number.split(".")[1]) if "." in number else 0
    step = Decimal(1).scaleb(-places)
    both = [Decimal(str(found)).quantize(step, way) for way in (ROUND_HALF_UP, ROUND_HALF_DOWN)]
    if Decimal(number) not in both:
        return f"differs: {found}"
    for start in range(len(text)):
        if text.startswith(number, start):
            before, after = text[:start][-1:], text[start + len(number):]
            joined = after[:1].isdigit() or after[:1] == "." and after[1:2].isdigit()
            if not (before.isdigit() or before in (".", "-") and before) and not joined:
                return ""
    return "not in the sentence"
""",
        # an inner function for the path; numbers cut out of the sentence
        """
def reason_against(claim, records):
    text, number, record, path = claim

    def follow(entry, keys):
        for key in keys:
            entry = entry[key] if isinstance(entry, Mapping) else {}[key]
        return entry

    if records.get(record) is None:
        return "no record"
    try:
        value = follow(records[record], path)
    except KeyError:
        return "no entry"
    if isinstance(value, (bool, str, Mapping)) or value is None or not value == value:
        return "not a number"
    half = 0.5 / 10 ** len(number.partition(".")[2])
    low, high = float(number) - half, float(number) + half
    if not low - 1e-12 * abs(low) <= value <= high + 1e-12 * abs(high):
        return "differs"
    stand = [n.rstrip(".") for n in re.findall(r"-?[0-9]+(?:\\.[0-9]+)*", text)]
    return "" if number in stand else "not in the sentence"
""",
    ],
    "product_of": [
        # logarithms throughout
        """
def product_of(factors, independent=False):
    if len(factors) == 0 or any(not 0 < f[1] <= f[0] <= f[2] for f in factors):
        raise ValueError("no such factors")
    middle = sum(math.log(f[0]) for f in factors)
    down = [math.log(f[0]) - math.log(f[1]) for f in factors]
    up = [math.log(f[2]) - math.log(f[0]) for f in factors]
    if independent:
        far = [sum(d * d for d in side) ** 0.5 for side in (down, up)]
    else:
        far = [sum(side) for side in (down, up)]
    return Estimate(math.exp(middle), math.exp(middle - far[0]), math.exp(middle + far[1]))
""",
        # one factor after another
        """
def product_of(factors, independent=False):
    value = low = high = 1.0
    squares = [0.0, 0.0]
    if not list(factors):
        raise ValueError("nothing to multiply")
    for v, a, b in factors:
        if a <= 0 or v < a or b < v:
            raise ValueError((v, a, b))
        value, low, high = value * v, low * a, high * b
        squares[0] += math.log(a / v) ** 2
        squares[1] += math.log(b / v) ** 2
    if independent:
        low = value / math.exp(math.sqrt(squares[0]))
        high = value * math.exp(math.sqrt(squares[1]))
    return (value, low, high)
""",
    ],
    "weighted_kappa": [
        # a table of pairs
        """
def weighted_kappa(first, second, n_levels):
    n = len(first)
    if n != len(second) or n == 0 or n_levels < 2:
        raise ValueError("grades")
    if any(g not in range(n_levels) for g in list(first) + list(second)):
        raise ValueError("a grade outside")
    levels = range(n_levels)
    seen = chance = 0.0
    for a in levels:
        for b in levels:
            w = (a - b) ** 2
            both = sum(x == a and y == b for x, y in zip(first, second))
            seen += w * both / n
            chance += w * list(first).count(a) / n * (list(second).count(b) / n)
    return float("nan") if chance == 0 else (chance - seen) / chance
""",
        # moments: E'[d ** 2] is both variances and the square of the means' difference
        """
def weighted_kappa(first, second, n_levels):
    if not len(first) == len(second) > 0 or n_levels <= 1:
        raise ValueError("grades")
    for g in [*first, *second]:
        if g % 1 or g < 0 or g > n_levels - 1:
            raise ValueError(g)
    n = len(first)
    x, y = sum(first) / n, sum(second) / n
    vx, vy = sum((a - x) ** 2 for a in first) / n, sum((b - y) ** 2 for b in second) / n
    cov = sum((a - x) * (b - y) for a, b in zip(first, second)) / n
    below = vx + vy + (x - y) ** 2
    return 2 * cov / below if below > 0 else float("nan")
""",
    ],
    "relative_reduction": [
        # on the logarithm to the end
        """
def relative_reduction(flags_before, n_before, flags_after, n_after, level=0.95):
    if not (0 < flags_before <= n_before and 0 < flags_after <= n_after and 0 < level < 1):
        raise ValueError("counts or level")
    middle = math.log(flags_after * n_before / (n_after * flags_before))
    wide = normal_quantile((1 + level) / 2) * (
        (1 - flags_before / n_before) / flags_before + (1 - flags_after / n_after) / flags_after
    ) ** 0.5
    return Reduction(*(1 - math.exp(middle + k * wide) for k in (0, 1, -1)))
""",
        # both sides by a helper
        """
def relative_reduction(flags_before, n_before, flags_after, n_after, level=0.95):
    def part(flags, n):
        if flags < 1 or flags > n:
            raise ValueError("flags")
        return flags / n, 1 / flags - 1 / n

    if level <= 0 or level >= 1:
        raise ValueError("level")
    (p, u), (q, v) = part(flags_before, n_before), part(flags_after, n_after)
    step = math.exp(-normal_quantile(0.5 - level / 2) * math.sqrt(u + v))
    return (p - q) / p, 1 - q / p * step, 1 - q / p / step
""",
    ],
}
