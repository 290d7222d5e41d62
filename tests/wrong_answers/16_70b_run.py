"""Wrong answers of lab 16, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

MEMORY = """def memory_per_gpu(n_params, n_layers, d_model, seq_len, micro_batch, in_flight, *,
                   tp=1, dp=1, zero_stage=1, recompute="none", sequence_parallel=False,
                   gradient_bytes=2, replicated=10, sharded=24, scores=0):
    if n_params < 0 or min(n_layers, d_model, seq_len, micro_batch, in_flight, tp, dp) < 1:
        raise ValueError("counts")
    if zero_stage not in (0, 1, 2, 3) or recompute not in ("none", "selective", "full"):
        raise ValueError("stage or recompute")
    weights = 2 * n_params / (dp if zero_stage >= 3 else 1)
    gradients = gradient_bytes * n_params / (dp if zero_stage >= 2 else 1)
    optimizer = 12 * n_params / (dp if zero_stage >= 1 else 1)
    elements = seq_len * micro_batch * d_model
    split = tp if sequence_parallel else 1
    layer = elements * (replicated / split + sharded / tp)
    kept = in_flight * n_layers
    activations = kept * (layer + scores)
    if recompute == "selective":
        activations = kept * layer + scores
    if recompute == "full":
        activations = kept * 2 * elements / split + layer + scores
    terms = {"weights": weights, "gradients": gradients, "optimizer": optimizer,
             "activations": activations}
    return {**terms, "total": sum(terms.values())}
"""
TIME = """def step_time(flops, moved_bytes, tp_bytes, pp_bytes, dp_bytes, n_micro, *, pp=1, vp=1,
              flops_per_second, memory_per_second, nvlink_per_second, network_per_second,
              fixed_seconds=0.0, overlap=0.0):
    rates = (flops_per_second, memory_per_second, nvlink_per_second, network_per_second)
    if min(rates) <= 0 or min(n_micro, pp, vp) < 1 or not 0 <= overlap <= 1:
        raise ValueError("no such step")
    one = flops / flops_per_second + moved_bytes / memory_per_second + fixed_seconds
    compute = n_micro * one
    tensor = n_micro * tp_bytes / nvlink_per_second
    bubble = (compute + tensor) * (pp - 1) / (vp * n_micro)
    pipeline = n_micro * pp_bytes / network_per_second
    data = max(0.0, dp_bytes / network_per_second - overlap * compute)
    terms = {"compute": compute, "tensor": tensor, "bubble": bubble, "pipeline": pipeline,
             "data": data}
    return {**terms, "total": sum(terms.values())}
"""
LAYOUT = """def choose_layout(candidates, *, n_gpus, gpus_per_node, n_heads, n_layers, batch,
                  bytes_limit):
    if n_gpus > gpus_per_node and n_gpus % gpus_per_node:
        raise ValueError("nodes")
    reasons, best = [], None
    for k, c in enumerate(candidates):
        step = c["dp"] * c["micro_batch"]
        if c["tp"] * c["pp"] * c["dp"] != n_gpus:
            reason = "world"
        elif c["tp"] > gpus_per_node:
            reason = "node"
        elif n_heads % c["tp"]:
            reason = "heads"
        elif n_layers % c["pp"] and (n_layers + 2) % c["pp"]:
            reason = "layers"
        elif batch % step:
            reason = "batch"
        elif batch // step < c["pp"]:
            reason = "bubble"
        elif c["bytes"] > bytes_limit:
            reason = "memory"
        else:
            reason = ""
        reasons.append(reason)
        if not reason and (best is None or c["seconds"] < candidates[best]["seconds"]):
            best = k
    return best, reasons
"""
INTERVAL = """def checkpoint_interval(save_seconds, mean_seconds_between, method="daly"):
    s, m = save_seconds, mean_seconds_between
    if s <= 0 or m <= 0:
        raise ValueError("seconds")
    if method not in ("young", "daly"):
        raise ValueError("method")
    first = math.sqrt(2 * s * m)
    if method == "young":
        return first
    if s >= 2 * m:
        return m
    half = s / (2 * m)
    return first * (1 + math.sqrt(half) / 3 + half / 9) - s
"""
DALY = "return first * (1 + math.sqrt(half) / 3 + half / 9) - s"
GOODPUT = """def goodput(interval_seconds, save_seconds, mean_seconds_between, restart_seconds):
    t, s, m, r = interval_seconds, save_seconds, mean_seconds_between, restart_seconds
    if t <= 0 or m <= 0 or s < 0 or r < 0:
        raise ValueError("seconds")
    try:
        expected = m * math.exp(r / m) * math.expm1((t + s) / m)
    except OverflowError:
        return 0.0
    return t / expected
"""
EXPECTED = "m * math.exp(r / m) * math.expm1((t + s) / m)"
COST = """def run_cost(n_tokens, tokens_per_second, n_gpus, *, goodput=1.0, usd_per_gpu_hour,
             watts_per_gpu, pue, grams_per_kwh):
    if min(n_tokens, tokens_per_second, n_gpus) <= 0 or not 0 < goodput <= 1 or pue[0] < 1:
        raise ValueError("no such run")
    for pair in (usd_per_gpu_hour, watts_per_gpu, pue, grams_per_kwh):
        if pair[0] < 0 or pair[1] < pair[0]:
            raise ValueError("low, high")
    hours = n_tokens / tokens_per_second / goodput / 3600
    gpu_hours = hours * n_gpus
    mwh = tuple(gpu_hours * w * p / 1e6 for w, p in zip(watts_per_gpu, pue))
    return {"days": hours / 24, "gpu_hours": gpu_hours,
            "usd": tuple(gpu_hours * usd for usd in usd_per_gpu_hour), "mwh": mwh,
            "tonnes_co2": tuple(e * g / 1000 for e, g in zip(mwh, grams_per_kwh))}
"""
CODES = {
    "memory_per_gpu": MEMORY,
    "step_time": TIME,
    "choose_layout": LAYOUT,
    "checkpoint_interval": INTERVAL,
    "goodput": GOODPUT,
    "run_cost": COST,
}


def wrong(exercise, why, words, *changes):
    code = CODES[exercise]
    for old, new in changes:
        assert code.count(old) == 1, (exercise, old)
        code = code.replace(old, new)
    return Wrong(exercise, why, code, words)


def lazy(exercise, why, words, body):
    head = CODES[exercise].split(":\n")[0]
    return Wrong(exercise, why, f"{head}:\n    {body}\n", words)


M, T, L, C, G, R = CODES
WRONG = [
    lazy(
        M,
        "nothing but keys",
        "expected 2000, got 0",
        "names = ('weights', 'gradients', 'optimizer', 'activations', 'total')\n"
        "    return dict.fromkeys(names, 0)",
    ),
    lazy(M, "sixteen bytes in one number", "return a dictionary", "return 16 * n_params"),
    wrong(
        M,
        "ZeRO one stage early",
        "stage 2 the gradients",
        ("zero_stage >= 3", "zero_stage >= 2"),
        ("zero_stage >= 2 else 1)\n    optimizer", "zero_stage >= 1 else 1)\n    optimizer"),
    ),
    wrong(
        M,
        "everything shared from stage 1 on",
        "your stage 1 divides everything",
        ("zero_stage >= 3", "zero_stage >= 1"),
        ("zero_stage >= 2", "zero_stage >= 1"),
    ),
    wrong(
        M,
        "never shared",
        "from its stage on",
        ("zero_stage >= 3", "False"),
        ("zero_stage >= 2", "False"),
        ("zero_stage >= 1", "False"),
    ),
    wrong(M, "two moments without the copy", "float32 copy", ("12 * n_params", "8 * n_params")),
    wrong(M, "one float32 number", "three float32 numbers", ("12 * n_params", "4 * n_params")),
    wrong(
        M, "gradients always 2 bytes", "gradients", ("gradient_bytes * n_params", "2 * n_params")
    ),
    wrong(
        M,
        "one sequence for a micro-batch",
        "your activations are those of one sequence",
        ("seq_len * micro_batch * d_model", "seq_len * d_model"),
    ),
    wrong(
        M,
        "norms split without sequence parallelism",
        "with sequence_parallel only",
        ("tp if sequence_parallel else 1", "tp"),
    ),
    wrong(
        M,
        "nothing split by tp",
        "your sharded part is not divided by tp",
        ("sharded / tp", "sharded"),
    ),
    wrong(
        M,
        "one micro-batch in flight",
        "your activations are those of one micro-batch in flight",
        ("in_flight * n_layers", "n_layers"),
    ),
    wrong(
        M,
        "full recompute without the layer at work",
        "your activations have no whole layer",
        (" / split + layer + scores", " / split"),
    ),
    wrong(
        M,
        "full recompute without scores",
        "your activations have no scores",
        (" / split + layer + scores", " / split + layer"),
    ),
    wrong(
        M,
        "selective without scores",
        "your activations have no scores",
        ("kept * layer + scores\n", "kept * layer\n"),
    ),
    wrong(
        M,
        "inputs whole under sequence parallelism",
        "your rank keeps each layer's whole input",
        ("2 * elements / split", "2 * elements"),
    ),
    wrong(
        M,
        "inputs of one byte",
        "your input that full recompute keeps takes 1 byte a number",
        ("kept * 2 * elements", "kept * elements"),
    ),
    wrong(
        M,
        "activations not in the total",
        "your total leaves out the activations",
        ("sum(terms.values())", "weights + gradients + optimizer"),
    ),
    wrong(
        M,
        "scores divided by tp again",
        "your scores are divided by tp",
        ("kept * (layer + scores)", "kept * (layer + scores / tp)"),
    ),
    wrong(
        M,
        "selective, with the scores of every layer",
        "for one layer and one micro-batch only",
        ("kept * layer + scores\n", "kept * layer + n_layers * scores\n"),
    ),
    wrong(M, "whole bytes alone", "expected 16.8", ("12 * n_params / (dp", "12 * n_params // (dp")),
    wrong(
        M,
        "nothing refused",
        "raise a ValueError",
        ('raise ValueError("counts")', "pass"),
        ('raise ValueError("stage or recompute")', "pass"),
    ),
    lazy(
        T,
        "nothing but keys",
        "expected 8, got 0",
        "names = ('compute', 'tensor', 'bubble', 'pipeline', 'data', 'total')\n"
        "    return dict.fromkeys(names, 0.0)",
    ),
    lazy(T, "one number", "return a dictionary", "return n_micro * flops / flops_per_second"),
    wrong(
        T,
        "a roofline",
        "one after the other",
        (
            "flops / flops_per_second + moved_bytes / memory_per_second +",
            "max(flops / flops_per_second, moved_bytes / memory_per_second) +",
        ),
    ),
    wrong(
        T,
        "the fixed part forgotten",
        "your micro-batches do without fixed_seconds",
        (" + fixed_seconds\n", "\n"),
    ),
    wrong(
        T,
        "compute of one micro-batch",
        "your compute is that of one micro-batch",
        ("compute = n_micro * one", "compute = one"),
    ),
    wrong(
        T,
        "one all-reduce a step",
        "your tensor time is that of one micro-batch",
        ("n_micro * tp_bytes", "tp_bytes"),
    ),
    wrong(
        T,
        "a bubble without tensor",
        "compute and tensor together",
        ("(compute + tensor) *", "compute *"),
    ),
    wrong(T, "pp slots", "your bubble has pp slots", ("(pp - 1) / (vp", "pp / (vp")),
    wrong(T, "chunks forgotten", "your bubble is not divided by vp", ("(vp * n_micro)", "n_micro")),
    wrong(
        T,
        "the share of the whole",
        "of the busy time",
        ("(vp * n_micro)", "(vp * n_micro + pp - 1)"),
    ),
    wrong(
        T,
        "time won back",
        "your data time is below 0",
        (
            "max(0.0, dp_bytes / network_per_second - overlap * compute)",
            "dp_bytes / network_per_second - overlap * compute",
        ),
    ),
    wrong(
        T,
        "overlap as a share of the traffic",
        "share of compute",
        (
            "max(0.0, dp_bytes / network_per_second - overlap * compute)",
            "dp_bytes / network_per_second * (1 - overlap)",
        ),
    ),
    wrong(
        T,
        "gradients for each micro-batch",
        "once a step",
        ("max(0.0, dp_bytes", "max(0.0, n_micro * dp_bytes"),
    ),
    wrong(
        T, "nothing hidden", "your gradients' time has nothing hidden", (" - overlap * compute", "")
    ),
    wrong(
        T,
        "one hand-over",
        "your pipeline time is that of one micro-batch",
        ("n_micro * pp_bytes", "pp_bytes"),
    ),
    wrong(
        T,
        "stages on the fast links",
        "your activations go to the next stage over NVLink",
        ("pp_bytes / network_per_second", "pp_bytes / nvlink_per_second"),
    ),
    wrong(T, "nothing refused", "raise a ValueError", ('raise ValueError("no such step")', "pass")),
    lazy(L, "always the first", "the reasons", "return 0, [''] * len(candidates)"),
    lazy(L, "no choice", "return (index or None", "return None"),
    wrong(
        L,
        "the slowest",
        "your choice has the most seconds",
        ('c["seconds"] < candidates[best]', 'c["seconds"] > candidates[best]'),
    ),
    wrong(
        L,
        "the last of equals",
        "your choice is the last of two that are equally fast",
        ('c["seconds"] < candidates[best]', 'c["seconds"] <= candidates[best]'),
    ),
    wrong(
        L,
        "refused ones, too",
        "your choice is a candidate that is refused",
        ("if not reason and (", "if True and ("),
    ),
    wrong(
        L,
        "full memory refused",
        "exactly as many bytes",
        ('c["bytes"] > bytes_limit', 'c["bytes"] >= bytes_limit'),
    ),
    wrong(L, "ranks may be fewer", "half as many ranks", ("!= n_gpus", "> n_gpus")),
    wrong(
        L,
        "a whole node is too much",
        "as large as a node",
        ('c["tp"] > gpus_per_node', 'c["tp"] >= gpus_per_node'),
    ),
    wrong(L, "heads forgotten", "6 heads", ('n_heads % c["tp"]', "False")),
    wrong(
        L,
        "layers must divide by themselves",
        "with embedding and head",
        ('n_layers % c["pp"] and (n_layers + 2) % c["pp"]', 'n_layers % c["pp"]'),
    ),
    wrong(
        L,
        "tp must divide a node",
        "tp of 3",
        ('c["tp"] > gpus_per_node', 'gpus_per_node % c["tp"]'),
    ),
    wrong(
        L,
        "layers with embedding and head alone",
        "6 layers on 3 stages",
        ('n_layers % c["pp"] and (n_layers + 2) % c["pp"]', '(n_layers + 2) % c["pp"]'),
    ),
    wrong(
        L,
        "both must divide",
        "embedding and head",
        ('n_layers % c["pp"] and (n_layers + 2) % c["pp"]', '(n_layers + 1) % c["pp"]'),
    ),
    wrong(
        L, "a batch by ranks alone", "two for each of 8 ranks", ("batch % step", 'batch % c["dp"]')
    ),
    wrong(
        L,
        "a bubble of pp micro-batches",
        "one candidate",
        ("batch // step < c", "batch // step <= c"),
    ),
    wrong(
        L,
        "memory first",
        "several reasons",
        (
            '        if c["tp"] * c["pp"]',
            '        if c["bytes"] > bytes_limit:\n            reason = "memory"\n'
            '        elif c["tp"] * c["pp"]',
        ),
    ),
    wrong(
        L,
        "tp divides the node",
        "6 GPUs, nodes",
        ("if n_gpus > gpus_per_node and n_gpus % gpus_per_node", "if n_gpus < 0"),
    ),
    wrong(
        L,
        "a part of a node refused",
        "a part of one node",
        ("n_gpus > gpus_per_node and n_gpus % gpus_per_node", "n_gpus % gpus_per_node"),
    ),
    lazy(C, "an hour", "expected 1000, got 3600", "return 3600.0"),
    lazy(
        C,
        "the time between failures",
        "expected 1000, got 10000",
        "return float(mean_seconds_between)",
    ),
    wrong(C, "no 2 under the root", "a 2 belongs under the root", ("2 * s * m)", "s * m)")),
    wrong(
        C,
        "the 2 outside",
        "belongs under the root",
        ("math.sqrt(2 * s * m)", "2 * math.sqrt(s * m)"),
    ),
    wrong(C, "no root", "yours is 2 s m", ("math.sqrt(2 * s * m)", "2 * s * m")),
    wrong(
        C,
        "Young less the save",
        "takes nothing off",
        ("        return first\n", "        return first - s\n"),
    ),
    wrong(C, "Daly for both", "first order alone", ('if method == "young"', "if False")),
    wrong(C, "Young for both", "yours is Young's", ('if method == "young"', "if True")),
    wrong(
        C,
        "the save not taken off",
        "yours is Daly's without the time to save taken off at the end",
        (DALY, DALY.removesuffix(" - s")),
    ),
    wrong(C, "Young less the save as Daly", "two terms beside the 1", (DALY, "return first - s")),
    wrong(C, "s over m", "your terms are of s / m", ("half = s / (2 * m)", "half = s / m")),
    wrong(C, "two terms", "yours is Daly's without the third term", (" + half / 9", "")),
    wrong(
        C,
        "a root too many",
        "your third term has the root of s /",
        ("half / 9", "math.sqrt(half) / 9"),
    ),
    wrong(
        C,
        "no long saves",
        "yours is the formula's value",
        ("if s >= 2 * m:\n        return m", "if False:\n        return m"),
    ),
    wrong(C, "long saves but for 2 m", "exactly twice as long", ("if s >= 2 * m", "if s > 2 * m")),
    wrong(
        C,
        "long saves give the save",
        "yours is the time to save",
        ("        return m\n", "        return s\n"),
    ),
    wrong(C, "long saves too soon", "just below", ("if s >= 2 * m", "if s >= m")),
    wrong(C, "anything goes", "raise a ValueError", ('raise ValueError("seconds")', "return 0.0")),
    wrong(
        C, "the method not looked at", "an unknown method", ('raise ValueError("method")', "pass")
    ),
    lazy(G, "all is kept", "got 1", "return 1.0"),
    lazy(
        G, "saving alone", "expected", "return interval_seconds / (interval_seconds + save_seconds)"
    ),
    wrong(G, "the first order", "exponentials", (EXPECTED, "t / (1 - s / t - t / (2 * m))")),
    wrong(
        G, "restart added", "your restart is added", (EXPECTED, "r + m * math.expm1((t + s) / m)")
    ),
    wrong(G, "restart forgotten", "takes its time", (" * math.exp(r / m)", "")),
    wrong(G, "save forgotten", "while saving", ("(t + s) / m", "t / m")),
    wrong(
        G,
        "no minus 1",
        "your exponential of interval + save lacks the - 1",
        ("math.expm1((", "math.exp(("),
    ),
    wrong(
        G,
        "the save is training",
        "only the interval is training",
        ("return t / expected", "return (t + s) / expected"),
    ),
    wrong(
        G,
        "upside down",
        "yours is the expected time over the interval",
        ("return t / expected", "return expected / t"),
    ),
    wrong(
        G,
        "no factor m",
        "your expected time lacks the factor m",
        ("= m * math.exp(r", "= math.exp(r"),
    ),
    wrong(
        G,
        "the restart in the exponent alone",
        "before exp(restart / m) multiplies",
        (EXPECTED, "m * math.expm1((t + s + r) / m)"),
    ),
    wrong(
        G,
        "the share that is lost",
        "no time to restart",
        ("return t / expected", "return 1 - t / expected"),
    ),
    wrong(
        G, "exp less 1", "loses digits", ("math.expm1((t + s) / m)", "(math.exp((t + s) / m) - 1)")
    ),
    wrong(
        G,
        "too large for a float",
        "OverflowError",
        ("except OverflowError", "except ZeroDivisionError"),
    ),
    wrong(
        G, "nothing refused", "raise a ValueError", ('raise ValueError("seconds")', "return 0.5")
    ),
    lazy(
        R,
        "a bill of zeros",
        "expected",
        "none = (0.0, 0.0)\n"
        "    return dict(days=0.0, gpu_hours=0.0, usd=none, mwh=none, tonnes_co2=none)",
    ),
    lazy(
        R,
        "dollars alone",
        "return a dictionary",
        "return n_tokens / tokens_per_second / 3600 * n_gpus * usd_per_gpu_hour[0]",
    ),
    wrong(R, "times goodput", "so divide by goodput", ("/ goodput /", "* goodput /")),
    wrong(R, "goodput forgotten", "your run takes as long as with goodput 1", ("/ goodput /", "/")),
    wrong(
        R,
        "a speed of one GPU",
        "your time is divided by the GPUs",
        ("/ goodput / 3600", "/ goodput / 3600 / n_gpus"),
    ),
    wrong(
        R,
        "only kept hours are paid",
        "your money is for the time that is kept",
        ("gpu_hours * usd for", "goodput * gpu_hours * usd for"),
    ),
    wrong(
        R,
        "low with high",
        "low goes with all low",
        ("zip(watts_per_gpu, pue)", "zip(watts_per_gpu, pue[::-1])"),
    ),
    wrong(
        R,
        "the building twice",
        "your CO2 counts the PUE twice",
        (
            "e * g / 1000 for e, g in zip(mwh, grams",
            "e * p * g / 1000 for e, p, g in zip(mwh, pue, grams",
        ),
    ),
    wrong(
        R,
        "computers without the building",
        "PUE times",
        ("gpu_hours * w * p / 1e6", "gpu_hours * w / 1e6"),
    ),
    wrong(
        R,
        "energy of one GPU",
        "your energy is that of one GPU",
        ("gpu_hours * w * p", "hours * w * p"),
    ),
    wrong(
        R,
        "kilowatt-hours",
        "your energy is in kWh",
        ("w * p / 1e6", "w * p / 1e3"),
        ("e * g / 1000", "e * g / 1e6"),
    ),
    wrong(R, "one GPU paid", "every GPU is paid", ("gpu_hours * usd for", "hours * usd for")),
    wrong(R, "kilograms", "your CO2 is in kilograms", ("e * g / 1000", "e * g")),
    wrong(R, "hours as days", "'days'", ("hours / 24", "hours")),
    wrong(
        R,
        "the middle in place of a range",
        "a pair (low, high)",
        (
            "tuple(gpu_hours * usd for usd in usd_per_gpu_hour)",
            "gpu_hours * sum(usd_per_gpu_hour) / 2",
        ),
    ),
    wrong(
        R,
        "high before low",
        "'usd'",
        ("for usd in usd_per_gpu_hour", "for usd in usd_per_gpu_hour[::-1]"),
    ),
    wrong(
        R, "pairs not looked at", "raise a ValueError", ('raise ValueError("low, high")', "pass")
    ),
    wrong(
        R, "runs not looked at", "raise a ValueError", ('raise ValueError("no such run")', "pass")
    ),
]

EQUIVALENT: dict[tuple[str, str], str] = {
    (T, "swap arguments of `max(0.0, dp_bytes / network_per_second - overlap * compute)`"): (
        "the larger of two numbers does not depend on their order"
    ),
    (L, "Gt -> GtE in `n_gpus > gpus_per_node`"): "as many GPUs as a node has fill it",
    (R, "1 -> -1 in `pair[1]`"): "the second of two is the last",
    (R, "swap arguments of `zip(mwh, grams_per_kwh, strict=True)`"): "a product of two",
    (R, "swap arguments of `zip(watts_per_gpu, pue, strict=True)`"): "a product of two",
}
