"""Lab 16: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "memory_per_gpu": """
def memory_per_gpu(n_params, n_layers, d_model, seq_len, micro_batch, in_flight, *, tp=1, dp=1,
                   zero_stage=1, recompute="none", sequence_parallel=False, gradient_bytes=2,
                   replicated=10, sharded=24, scores=0):
    if n_params < 0 or min(n_layers, d_model, seq_len, micro_batch, in_flight, tp, dp) < 1:
        raise ValueError("a count below 1")
    if zero_stage not in (0, 1, 2, 3):
        raise ValueError("no such stage")
    if recompute not in ("none", "selective", "full"):
        raise ValueError("no such recompute")
    weights = 2 * n_params
    if zero_stage == 3:
        weights = weights / dp
    gradients = gradient_bytes * n_params
    if zero_stage >= 2:
        gradients = gradients / dp
    optimizer = 12 * n_params
    if zero_stage >= 1:
        optimizer = optimizer / dp
    elements = seq_len * micro_batch * d_model
    split = tp if sequence_parallel else 1
    layer = elements * (replicated / split + sharded / tp)
    kept = in_flight * n_layers
    if recompute == "none":
        activations = kept * (layer + scores)
    elif recompute == "selective":
        activations = kept * layer + scores
    else:
        activations = kept * 2 * elements / split + layer + scores
    return {
        "weights": weights,
        "gradients": gradients,
        "optimizer": optimizer,
        "activations": activations,
        "total": weights + gradients + optimizer + activations,
    }
""",
    "step_time": """
def step_time(flops, moved_bytes, tp_bytes, pp_bytes, dp_bytes, n_micro, *, pp=1, vp=1,
              flops_per_second, memory_per_second, nvlink_per_second, network_per_second,
              fixed_seconds=0.0, overlap=0.0):
    rates = (flops_per_second, memory_per_second, nvlink_per_second, network_per_second)
    if min(rates) <= 0 or n_micro < 1 or pp < 1 or vp < 1 or not 0 <= overlap <= 1:
        raise ValueError("what the docstring refuses")
    one = flops / flops_per_second + moved_bytes / memory_per_second + fixed_seconds
    compute = n_micro * one
    tensor = n_micro * tp_bytes / nvlink_per_second
    bubble = (compute + tensor) * (pp - 1) / (vp * n_micro)
    pipeline = n_micro * pp_bytes / network_per_second
    data = max(0.0, dp_bytes / network_per_second - overlap * compute)
    return {
        "compute": compute,
        "tensor": tensor,
        "bubble": bubble,
        "pipeline": pipeline,
        "data": data,
        "total": compute + tensor + bubble + pipeline + data,
    }
""",
    "choose_layout": """
def choose_layout(candidates, *, n_gpus, gpus_per_node, n_heads, n_layers, batch, bytes_limit):
    if n_gpus > gpus_per_node and n_gpus % gpus_per_node:
        raise ValueError("nodes that are not full")
    reasons = []
    for c in candidates:
        tp, pp, dp, micro_batch = c["tp"], c["pp"], c["dp"], c["micro_batch"]
        if tp * pp * dp != n_gpus:
            reasons.append("world")
        elif tp > gpus_per_node:
            reasons.append("node")
        elif n_heads % tp:
            reasons.append("heads")
        elif n_layers % pp and (n_layers + 2) % pp:
            reasons.append("layers")
        elif batch % (dp * micro_batch):
            reasons.append("batch")
        elif batch // (dp * micro_batch) < pp:
            reasons.append("bubble")
        elif c["bytes"] > bytes_limit:
            reasons.append("memory")
        else:
            reasons.append("")
    left = [k for k in range(len(candidates)) if reasons[k] == ""]
    best = min(left, key=lambda k: candidates[k]["seconds"]) if left else None
    return best, reasons
""",
    "checkpoint_interval": """
def checkpoint_interval(save_seconds, mean_seconds_between, method="daly"):
    s, m = save_seconds, mean_seconds_between
    if not (s > 0 and m > 0):
        raise ValueError("seconds are above 0")
    if method not in ("young", "daly"):
        raise ValueError("unknown method")
    first = math.sqrt(2 * s * m)
    if method == "young":
        return first
    half = s / (2 * m)
    if half >= 1:
        return m
    return first * (1 + math.sqrt(half) / 3 + half / 9) - s
""",
    "goodput": """
def goodput(interval_seconds, save_seconds, mean_seconds_between, restart_seconds):
    interval, save, m, restart = (
        interval_seconds, save_seconds, mean_seconds_between, restart_seconds
    )
    if interval <= 0 or m <= 0 or save < 0 or restart < 0:
        raise ValueError("what the docstring refuses")
    try:
        expected = m * math.exp(restart / m) * math.expm1((interval + save) / m)
    except OverflowError:
        return 0.0
    return interval / expected
""",
    "run_cost": """
def run_cost(n_tokens, tokens_per_second, n_gpus, *, goodput=1.0, usd_per_gpu_hour,
             watts_per_gpu, pue, grams_per_kwh):
    if n_tokens <= 0 or tokens_per_second <= 0 or n_gpus <= 0 or not 0 < goodput <= 1:
        raise ValueError("what the docstring refuses")
    for pair in (usd_per_gpu_hour, watts_per_gpu, pue, grams_per_kwh):
        if pair[0] < 0 or pair[0] > pair[1]:
            raise ValueError("low, high")
    if pue[0] < 1:
        raise ValueError("a PUE below 1")
    hours = n_tokens / tokens_per_second / goodput / 3600
    gpu_hours = hours * n_gpus
    days = hours / 24
    usd = tuple(gpu_hours * p for p in usd_per_gpu_hour)
    mwh = tuple(gpu_hours * w * p / 1e6 for w, p in zip(watts_per_gpu, pue))
    tonnes_co2 = tuple(e * g / 1000 for e, g in zip(mwh, grams_per_kwh))
    return {"days": days, "gpu_hours": gpu_hours, "usd": usd, "mwh": mwh, "tonnes_co2": tonnes_co2}
""",
}
