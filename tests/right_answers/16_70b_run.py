"""Lab 16: right answers of another shape than the course's own."""

RIGHT = {
    "memory_per_gpu": [
        # a table of bytes and the stage from which each is shared
        """
def memory_per_gpu(n_params, n_layers, d_model, seq_len, micro_batch, in_flight, *, tp=1, dp=1,
                   zero_stage=1, recompute="none", sequence_parallel=False, gradient_bytes=2,
                   replicated=10, sharded=24, scores=0):
    for count in (n_layers, d_model, seq_len, micro_batch, in_flight, tp, dp):
        if count < 1:
            raise ValueError("a count below 1")
    if n_params < 0 or zero_stage not in range(4) or recompute not in {"none", "selective", "full"}:
        raise ValueError("no such run")
    table = {"weights": (2, 3), "gradients": (gradient_bytes, 2), "optimizer": (12, 1)}
    held = {k: b * n_params * (1 / dp if zero_stage >= s else 1) for k, (b, s) in table.items()}
    tokens = seq_len * micro_batch
    whole = tokens * d_model / (tp if sequence_parallel else 1)
    layer = whole * replicated + tokens * d_model * sharded / tp
    n = in_flight * n_layers
    held["activations"] = {
        "none": n * layer + n * scores,
        "selective": n * layer + scores,
        "full": n * whole * 2 + layer + scores,
    }[recompute]
    held["total"] = sum(held.values())
    return held
""",
        # branches
        """
def memory_per_gpu(n_params, n_layers, d_model, seq_len, micro_batch, in_flight, *, tp=1, dp=1,
                   zero_stage=1, recompute="none", sequence_parallel=False, gradient_bytes=2,
                   replicated=10, sharded=24, scores=0):
    counts = (n_layers, d_model, seq_len, micro_batch, in_flight, tp, dp)
    if n_params < 0 or any(x < 1 for x in counts):
        raise ValueError("count")
    w, g, o = 2.0 * n_params, gradient_bytes * n_params, 12.0 * n_params
    if zero_stage == 1:
        o /= dp
    elif zero_stage == 2:
        g, o = g / dp, o / dp
    elif zero_stage == 3:
        w, g, o = w / dp, g / dp, o / dp
    elif zero_stage != 0:
        raise ValueError("stage")
    x = seq_len * micro_batch * d_model
    y = x / tp if sequence_parallel else x
    one = y * replicated + x * sharded / tp
    a = 0.0
    if recompute == "full":
        for _ in range(in_flight * n_layers):
            a += 2 * y
        a += one + scores
    elif recompute == "selective":
        a = in_flight * n_layers * one + scores
    elif recompute == "none":
        a = in_flight * n_layers * (one + scores)
    else:
        raise ValueError("recompute")
    return dict(total=w + g + o + a, activations=a, optimizer=o, gradients=g, weights=w)
""",
    ],
    "step_time": [
        # rates by name, the bubble from one slot
        """
def step_time(flops, moved_bytes, tp_bytes, pp_bytes, dp_bytes, n_micro, *, pp=1, vp=1,
              flops_per_second, memory_per_second, nvlink_per_second, network_per_second,
              fixed_seconds=0.0, overlap=0.0):
    for rate in (flops_per_second, memory_per_second, nvlink_per_second, network_per_second):
        if not rate > 0:
            raise ValueError("rate")
    if n_micro < 1 or pp < 1 or vp < 1 or overlap < 0 or overlap > 1:
        raise ValueError("count or overlap")
    work = flops / flops_per_second + moved_bytes / memory_per_second + fixed_seconds
    wait = tp_bytes / nvlink_per_second
    found = {"compute": work * n_micro, "tensor": wait * n_micro}
    found["bubble"] = (work + wait) * (pp - 1) / vp
    found["pipeline"] = pp_bytes / network_per_second * n_micro
    found["data"] = dp_bytes / network_per_second - overlap * work * n_micro
    if found["data"] < 0:
        found["data"] = 0.0
    found["total"] = sum(found.values())
    return found
""",
        # micro-batches one by one
        """
def step_time(flops, moved_bytes, tp_bytes, pp_bytes, dp_bytes, n_micro, *, pp=1, vp=1,
              flops_per_second, memory_per_second, nvlink_per_second, network_per_second,
              fixed_seconds=0.0, overlap=0.0):
    if min(flops_per_second, memory_per_second, nvlink_per_second, network_per_second) <= 0:
        raise ValueError("rate")
    if min(n_micro, pp, vp) < 1 or not 0 <= overlap <= 1:
        raise ValueError("count or overlap")
    compute = tensor = pipeline = 0.0
    for _ in range(n_micro):
        compute += flops / flops_per_second
        compute += moved_bytes / memory_per_second
        compute += fixed_seconds
        tensor += tp_bytes / nvlink_per_second
        pipeline += pp_bytes / network_per_second
    share = (pp - 1) / vp / n_micro
    left = max(dp_bytes / network_per_second, overlap * compute) - overlap * compute
    bubble = share * compute + share * tensor
    total = compute + tensor + bubble + pipeline + left
    return {"total": total, "data": left, "pipeline": pipeline, "bubble": bubble,
            "tensor": tensor, "compute": compute}
""",
    ],
    "choose_layout": [
        # a function for the reason, then a sort
        """
def choose_layout(candidates, *, n_gpus, gpus_per_node, n_heads, n_layers, batch, bytes_limit):
    def reason(c):
        if c["tp"] * c["pp"] * c["dp"] != n_gpus:
            return "world"
        if c["tp"] > gpus_per_node:
            return "node"
        if n_heads % c["tp"] != 0:
            return "heads"
        if all((n_layers + more) % c["pp"] for more in (0, 2)):
            return "layers"
        n_micro, rest = divmod(batch, c["dp"] * c["micro_batch"])
        if rest:
            return "batch"
        if n_micro < c["pp"]:
            return "bubble"
        return "memory" if c["bytes"] > bytes_limit else ""

    if not (n_gpus <= gpus_per_node or n_gpus % gpus_per_node == 0):
        raise ValueError("nodes")
    reasons = [reason(c) for c in candidates]
    left = sorted((c["seconds"], k) for k, c in enumerate(candidates) if reasons[k] == "")
    return (left[0][1] if left else None), reasons
""",
        # a table of tests, a loop for the best
        """
def choose_layout(candidates, *, n_gpus, gpus_per_node, n_heads, n_layers, batch, bytes_limit):
    if n_gpus % gpus_per_node and n_gpus > gpus_per_node:
        raise ValueError("nodes")
    names = ["world", "node", "heads", "layers", "batch", "bubble", "memory", ""]
    best, least, reasons = None, float("inf"), []
    for k, c in enumerate(candidates):
        step = c["dp"] * c["micro_batch"]
        fails = [
            n_gpus != c["tp"] * c["pp"] * c["dp"],
            gpus_per_node < c["tp"],
            n_heads // c["tp"] * c["tp"] != n_heads,
            n_layers % c["pp"] != 0 and (n_layers + 2) % c["pp"] != 0,
            batch % step != 0,
            batch < c["pp"] * step,
            bytes_limit < c["bytes"],
            True,
        ]
        reasons.append(names[fails.index(True)])
        if reasons[k] == "" and c["seconds"] < least:
            best, least = k, c["seconds"]
    return best, reasons
""",
    ],
    "checkpoint_interval": [
        """
def checkpoint_interval(save_seconds, mean_seconds_between, method="daly"):
    if not save_seconds > 0 or not mean_seconds_between > 0:
        raise ValueError("seconds")
    two = 2 * save_seconds * mean_seconds_between
    if method == "young":
        return two ** 0.5
    if method != "daly":
        raise ValueError("method")
    if save_seconds >= 2 * mean_seconds_between:
        return mean_seconds_between
    x = (save_seconds / mean_seconds_between / 2) ** 0.5
    return two ** 0.5 + two ** 0.5 * x / 3 + two ** 0.5 * x ** 2 / 9 - save_seconds
""",
        """
def checkpoint_interval(save_seconds, mean_seconds_between, method="daly"):
    ways = {
        "young": lambda s, m: math.sqrt(2 * s * m),
        "daly": lambda s, m: m if s >= 2 * m else math.sqrt(2 * s * m) * (
            1 + math.sqrt(s / m / 2) / 3 + s / m / 18) - s,
    }
    if method not in ways or min(save_seconds, mean_seconds_between) <= 0:
        raise ValueError("no such interval")
    return ways[method](save_seconds, mean_seconds_between)
""",
    ],
    "goodput": [
        """
def goodput(interval_seconds, save_seconds, mean_seconds_between, restart_seconds):
    if interval_seconds <= 0 or mean_seconds_between <= 0:
        raise ValueError("interval")
    if save_seconds < 0 or restart_seconds < 0:
        raise ValueError("seconds")
    rate = 1 / mean_seconds_between
    try:
        blown = math.expm1((interval_seconds + save_seconds) * rate)
        blown *= math.exp(restart_seconds * rate)
    except OverflowError:
        return 0.0
    return interval_seconds * rate / blown
""",
        # with exponents that can't overflow
        """
def goodput(interval_seconds, save_seconds, mean_seconds_between, restart_seconds):
    t, s, m, r = interval_seconds, save_seconds, mean_seconds_between, restart_seconds
    if min(t, m) <= 0 or min(s, r) < 0:
        raise ValueError("seconds")
    x = (t + s) / m
    return t / m * math.exp(-r / m) * math.exp(-x) / -math.expm1(-x) if x + r / m < 700 else 0.0
""",
    ],
    "run_cost": [
        """
def run_cost(n_tokens, tokens_per_second, n_gpus, *, goodput=1.0, usd_per_gpu_hour,
             watts_per_gpu, pue, grams_per_kwh):
    if n_tokens <= 0 or tokens_per_second <= 0 or n_gpus <= 0:
        raise ValueError("no run")
    if goodput <= 0 or goodput > 1:
        raise ValueError("goodput")
    pairs = [tuple(p) for p in (usd_per_gpu_hour, watts_per_gpu, pue, grams_per_kwh)]
    if any(low < 0 or high < low for low, high in pairs) or pairs[2][0] < 1:
        raise ValueError("pairs")
    days = n_tokens / (tokens_per_second * goodput * 86400)
    total = days * 24 * n_gpus
    bill = {"usd": [], "mwh": [], "tonnes_co2": []}
    for usd, watts, building, grams in zip(*pairs):
        kwh = total * watts / 1000 * building
        bill["usd"].append(total * usd)
        bill["mwh"].append(kwh / 1000)
        bill["tonnes_co2"].append(kwh * grams / 1e6)
    return {"days": days, "gpu_hours": total} | {name: tuple(v) for name, v in bill.items()}
""",
        """
def run_cost(n_tokens, tokens_per_second, n_gpus, *, goodput=1.0, usd_per_gpu_hour,
             watts_per_gpu, pue, grams_per_kwh):
    def check(holds):
        if not holds:
            raise ValueError("no such run")

    check(min(n_tokens, tokens_per_second, n_gpus) > 0 and 0 < goodput <= 1 and pue[0] >= 1)
    for low, high in (usd_per_gpu_hour, watts_per_gpu, pue, grams_per_kwh):
        check(0 <= low <= high)
    gpu_seconds = n_gpus * n_tokens / tokens_per_second / goodput
    end = [
        (gpu_seconds / 3600 * usd_per_gpu_hour[k],
         gpu_seconds * watts_per_gpu[k] * pue[k] / 3.6e9,
         gpu_seconds * watts_per_gpu[k] * pue[k] / 3.6e9 * grams_per_kwh[k] / 1e3)
        for k in (0, 1)
    ]
    usd, mwh, co2 = zip(*end)
    return dict(days=gpu_seconds / n_gpus / 86400, gpu_hours=gpu_seconds / 3600, usd=usd, mwh=mwh,
                tonnes_co2=co2)
""",
    ],
}
