"""Lab 17: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "stages_to_run": """
def stages_to_run(needs, makes, changed):
    maker = {}
    for stage in makes:
        for file in makes[stage]:
            if file in maker:
                raise ValueError(f"{file} is made twice")
            maker[file] = stage
    stale = set(changed)
    waiting = list(needs)
    order = []
    while waiting:
        ready = []
        for stage in waiting:
            if not any(file in maker and maker[file] in waiting for file in needs[stage]):
                ready.append(stage)
        if not ready:
            raise ValueError(f"none is ready: {waiting}")
        first = ready[0]
        waiting.remove(first)
        if any(need in stale for need in needs[first]):
            order.append(first)
            for file in makes[first]:
                stale.add(file)
    return order
""",
    "trace_lineage": """
def trace_lineage(records, path):
    maker = {}
    for stage, record in records.items():
        for file in record["outputs"]:
            maker[file] = stage
    if path not in maker:
        raise KeyError(path)
    stages = []
    raw = {}
    reader = {}

    def visit(stage):
        if stage in stages:
            return
        for file, digest in records[stage]["inputs"].items():
            if file not in maker:
                if file in raw and raw[file] != digest:
                    raise ValueError(f"{file}: {stage}, {reader[file]}")
                raw[file] = digest
                reader[file] = stage
            else:
                if digest != records[maker[file]]["outputs"][file]:
                    raise ValueError(f"{file}: {stage}, {maker[file]}")
                visit(maker[file])
        stages.append(stage)

    visit(maker[path])
    return Lineage(tuple(stages), raw)
""",
    "reason_against": """
def reason_against(claim, records):
    text, number, record, path = claim
    if record not in records:
        return "no record " + record
    entry = records[record]
    for key in path:
        if not isinstance(entry, Mapping) or key not in entry:
            return "no entry " + str(key)
        entry = entry[key]
    if isinstance(entry, bool) or not isinstance(entry, (int, float)) or entry != entry:
        return "not a number " + repr(entry)
    d = len(number.partition(".")[2])
    if abs(entry - float(number)) > 0.5 * 10**-d * (1 + 1e-9):
        return "differs from " + repr(entry)
    if not re.search(rf"(?<![\\d.\\-]){re.escape(number)}(?!\\.?\\d)", text):
        return "not in the sentence " + number
    return ""
""",
    "product_of": """
def product_of(factors, independent=False):
    if not factors:
        raise ValueError("no factors")
    value = 1
    for v, low, high in factors:
        if not 0 < low <= v <= high:
            raise ValueError("a factor outside its range")
        value = value * v
    if not independent:
        lows = math.prod(low for _, low, _ in factors)
        highs = math.prod(high for _, _, high in factors)
        return Estimate(value, lows, highs)
    down = math.sqrt(sum(math.log(v / low) ** 2 for v, low, _ in factors))
    up = math.sqrt(sum(math.log(high / v) ** 2 for v, _, high in factors))
    return Estimate(value, value * math.exp(-down), value * math.exp(up))
""",
    "weighted_kappa": """
def weighted_kappa(first, second, n_levels):
    if len(first) != len(second) or len(first) == 0 or n_levels < 2:
        raise ValueError("lists or levels")
    for grade in list(first) + list(second):
        if grade != int(grade) or grade < 0 or grade > n_levels - 1:
            raise ValueError("grade")
    n = len(first)
    seen = 0
    for a, b in zip(first, second):
        seen += (a - b) ** 2 / n
    chance = 0
    for a in first:
        for b in second:
            chance += (a - b) ** 2 / n**2
    if chance == 0:
        return float("nan")
    return 1 - seen / chance
""",
    "relative_reduction": """
def relative_reduction(flags_before, n_before, flags_after, n_after, level=0.95):
    if not 1 <= flags_before <= n_before or not 1 <= flags_after <= n_after:
        raise ValueError("counts")
    if not 0 < level < 1:
        raise ValueError("level")
    ratio = (flags_after / n_after) / (flags_before / n_before)
    variance = 1 / flags_before - 1 / n_before + 1 / flags_after - 1 / n_after
    spread = math.exp(normal_quantile(0.5 + level / 2) * math.sqrt(variance))
    return Reduction(1 - ratio, 1 - ratio * spread, 1 - ratio / spread)
""",
}
