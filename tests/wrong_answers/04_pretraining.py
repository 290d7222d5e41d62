"""Wrong answers of lab 04, each with words that the hint must hold."""

from tests.wrong_answers import Wrong, slips

MINHASH = """def minhash_signature(items, n_hashes=64, seed=0):
    if not items:
        raise ValueError("empty")
    numbers = [item_number(item) for item in items]
    return [min((a * x + b) % PRIME for x in numbers) for a, b in multipliers(n_hashes, seed)]
"""
NEAR = """def near_duplicates(signatures, threshold=0.7, n_bands=16):
    lengths = {len(s) for s in signatures}
    if n_bands < 1 or 0 in lengths or len(lengths) > 1 or any(n % n_bands for n in lengths):
        raise ValueError(lengths)
    boxes = defaultdict(list)
    for number, s in enumerate(signatures):
        width = len(s) // n_bands
        for band in range(n_bands):
            boxes[(band, *s[band * width : (band + 1) * width])].append(number)
    found = set()
    for members in boxes.values():
        for i, j in combinations(members, 2):
            a, b = signatures[i], signatures[j]
            if sum(x == y for x, y in zip(a, b)) / len(a) >= threshold:
                found.add((i, j))
    return sorted(found)
"""
PACK = """def pack_sequences(documents, context_length, end_id):
    ids, places = [], []
    for document in documents:
        ids += [*document, end_id]
        places += range(len(document) + 1)
    n = (len(ids) - 1) // context_length
    if n < 1:
        raise ValueError("too short")
    cut = [slice(r * context_length, (r + 1) * context_length + 1) for r in range(n)]
    return torch.tensor([ids[c] for c in cut]), torch.tensor([places[c] for c in cut])
"""
LOSS = """def cross_entropy(logits, targets):
    kept = check_targets(logits, targets)
    logits = logits.float() if logits.dtype == torch.float16 else logits
    index = targets.masked_fill(~kept, 0).long().unsqueeze(-1)
    logprobs = logits.log_softmax(-1).gather(-1, index).squeeze(-1)
    return -logprobs[kept].mean()
"""
ADAM = """def adamw_step(parameter, gradient, first_moment, second_moment, step, *, lr,
               betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    if step < 1:
        raise ValueError("step")
    beta1, beta2 = betas
    first_moment = beta1 * first_moment + (1 - beta1) * gradient
    second_moment = beta2 * second_moment + (1 - beta2) * gradient**2
    mean = first_moment / (1 - beta1**step)
    scale = (second_moment / (1 - beta2**step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * mean / scale
    return parameter, first_moment, second_moment
"""
RATE = """def learning_rate(step, *, peak, n_steps, warmup_steps=0, final=0.1):
    check_schedule(n_steps, warmup_steps, final)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    rest = n_steps - warmup_steps
    done = min(1.0, (step - warmup_steps) / rest) if rest else 1.0
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done)))
"""
CLIP = """def clip_gradients(parameters, max_norm):
    if not max_norm > 0:
        raise ValueError("max_norm")
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return 0.0
    norm = torch.sqrt(sum((g.float() ** 2).sum() for g in gradients)).item()
    if norm > max_norm and math.isfinite(norm):
        for g in gradients:
            g.mul_(max_norm / norm)
    return norm
"""
SAVE = """def save_checkpoint(path, tensors, info):
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(info)
    data = save(tensors, metadata={"info": text, "sha256": content_hash(tensors, text)})
    other = path.with_name(UNFINISHED + path.name)
    try:
        write_flushed(other, data)
        os.replace(other, path)
    finally:
        other.unlink(missing_ok=True)
    flush_folder(path.parent)
"""
FIT = """def fit_scaling_law(n_parameters, n_tokens, losses):
    check_runs(n_parameters, n_tokens, losses)
    columns = [n_parameters, n_tokens, losses]
    n, d, target = (torch.tensor(list(c), dtype=torch.float64).log() for c in columns)
    ends = []
    for start in starts(n, d, target):
        x = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([x], max_iter=400, line_search_fn="strong_wolfe")

        def closure(x=x, optimizer=optimizer):
            optimizer.zero_grad()
            distance = 1e6 * distance_of(x, n, d, target)
            distance.backward()
            return distance

        optimizer.step(closure)
        ends.append((distance_of(x, n, d, target).item(), x.tolist()))
    floor, log_a, alpha, log_b, beta = min(e for e in ends if math.isfinite(e[0]))[1]
    return ScalingLaw(math.exp(floor), math.exp(log_a), alpha, math.exp(log_b), beta)
"""


def edited(exercise: str, code: str, why: str, old: str, new: str, words: str) -> Wrong:
    """Return a right answer with one place made wrong."""
    assert code.count(old) >= 1, (exercise, why, old)
    return Wrong(exercise, why, code.replace(old, new), words)


def minhash(why, old, new, words):
    return edited("minhash_signature", MINHASH, why, old, new, words)


def near(why, old, new, words):
    return edited("near_duplicates", NEAR, why, old, new, words)


def pack(why, old, new, words):
    return edited("pack_sequences", PACK, why, old, new, words)


def loss(why, old, new, words):
    return edited("cross_entropy", LOSS, why, old, new, words)


def adam(why, old, new, words):
    return edited("adamw_step", ADAM, why, old, new, words)


def rate(why, old, new, words):
    return edited("learning_rate", RATE, why, old, new, words)


def clip(why, old, new, words):
    return edited("clip_gradients", CLIP, why, old, new, words)


def saved(why, old, new, words):
    return edited("save_checkpoint", SAVE, why, old, new, words)


def fit(why, old, new, words):
    return edited("fit_scaling_law", FIT, why, old, new, words)


SAVE_LINE = SAVE[SAVE.index("    data = ") : SAVE.index("    other = ")]
TORCH_SAVE = """    import io
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    data = buffer.getvalue()
"""
HASHES = "for a, b in multipliers(n_hashes, seed)]"
WRONG = [
    minhash("the largest", "min(", "max(", "smallest"),
    minhash("seed ignored", "multipliers(n_hashes, seed)", "multipliers(n_hashes, 0)", "seed"),
    minhash("always 64", "multipliers(n_hashes, seed)", "multipliers(64, seed)", "n_hashes=8"),
    minhash(
        "first item alone",
        "for x in numbers)",
        "for x in numbers[:1])",
        "each place is the smallest",
    ),
    minhash(
        "the last numbering for all", "(a * x + b)", "(3 * x + 5)", "each place is the smallest"
    ),
    minhash("not modulo", " % PRIME", "", "modulo"),
    minhash("sum instead of minimum", "min((a", "sum((a", "each place is the smallest"),
    minhash("a tuple", "return [min", "return tuple([min", "list")._replace(
        code=MINHASH.replace("return [", "return tuple([").replace("seed)]", "seed)])")
    ),
    minhash("empty gives zeros", 'raise ValueError("empty")', "return [0] * n_hashes", "no items"),
    minhash("python's hash", "item_number(item)", "hash(item)", "item_number"),
    minhash("length of the item", "item_number(item)", "len(item)", "item_number"),
    minhash(
        "smallest item, numbered after",
        "min((a * x + b) % PRIME for x in numbers)",
        "(a * min(numbers) + b) % PRIME",
        "one numbering",
    ),
    minhash(
        "sorted numbers",
        "return [min((a * x + b) % PRIME for x in numbers) " + HASHES,
        "return sorted(min((a * x + b) % PRIME for x in numbers) " + HASHES[:-1] + ")",
        "off from the Jaccard",
    ),
    near("above, not at, the threshold", ">= threshold", "> threshold", "counts"),
    near(
        "pairs the wrong way round",
        "found.add((i, j))",
        "found.add((j, i))",
        "two equal signatures of 8 numbers in four bands make a pair",
    ),
    near("each band again", "found = set()", "found = []", "once")._replace(
        code=NEAR.replace("found = set()", "found = []").replace("found.add(", "found.append(")
    ),
    near(
        "band number left out",
        "boxes[(band, *s",
        "boxes[(0, *s",
        "two signatures whose bands are equal and stand in another order share no box, since the "
        "band's number is a part of its name",
    ),
    near(
        "no comparison",
        "if sum(x == y for x, y in zip(a, b)) / len(a) >= threshold:",
        "if True:",
        "too few",
    ),
    near(
        "all pairs compared",
        "for members in boxes.values():",
        "for members in [range(len(signatures))]:",
        "two signatures with half of their places equal and no whole band in common are no "
        "candidates",
    ),
    near(
        "first band alone",
        "for band in range(n_bands):",
        "for band in range(1):",
        "of four in common and",
    ),
    near("unsorted", "return sorted(found)", "return sorted(found, reverse=True)", "signatures"),
    near("a set", "return sorted(found)", "return tuple(found)", "list"),
    near("counts instead of a share", " / len(a) >= threshold", " >= threshold", "too few"),
    near("rest dropped", "or any(n % n_bands for n in lengths)", "", "signatures of"),
    near("lengths not compared", "len(lengths) > 1 or", "", "different length"),
    near(
        "with itself",
        "combinations(members, 2)",
        "[(i, j) for i in members for j in members]",
        "two equal signatures of 8 numbers in four bands make a pair",
    ),
    near("bands one number wide", "width = len(s) // n_bands", "width = 1", "whole band"),
    pack(
        "no end token", "[*document, end_id]", "[*document]", "the place of each token in its own"
    )._replace(
        code=PACK.replace("[*document, end_id]", "[*document]").replace(
            "len(document) + 1", "len(document)"
        )
    ),
    pack("end token first", "[*document, end_id]", "[end_id, *document]", "ids above"),
    pack(
        "rows without a shared token",
        "slice(r * context_length, (r + 1) * context_length + 1)",
        "slice(r * (context_length + 1), (r + 1) * (context_length + 1))",
        "the place of each token in its own",
    )._replace(
        code=PACK.replace(
            "slice(r * context_length, (r + 1) * context_length + 1)",
            "slice(r * (context_length + 1), (r + 1) * (context_length + 1))",
        ).replace("(len(ids) - 1) // context_length", "len(ids) // (context_length + 1)")
    ),
    pack(
        "rows one short",
        "(r + 1) * context_length + 1)",
        "(r + 1) * context_length)",
        "the place of each token in its own",
    ),
    pack(
        "one row too few",
        "(len(ids) - 1) // context_length",
        "(len(ids) - 2) // context_length",
        "one row, nothing left",
    ),
    pack(
        "rest padded",
        "n = (len(ids) - 1) // context_length",
        "rest = -(len(ids) - 1) % context_length\n    if len(ids) > context_length:\n"
        "        ids, places = ids + [end_id] * rest, places + [0] * rest\n"
        "    n = (len(ids) - 1) // context_length",
        "the place of each token in its own",
    ),
    pack(
        "positions of rows",
        "torch.tensor([places[c] for c in cut])",
        "torch.arange(context_length + 1).expand(n, -1)",
        "your positions restart with each row",
    ),
    pack(
        "positions of the stream",
        "places += range(len(document) + 1)",
        "places += range(len(places), len(places) + len(document) + 1)",
        "restart",
    ),
    pack(
        "numbers of documents",
        "places += range(len(document) + 1)",
        "places += [places[-1] + 1 if places else 0] * (len(document) + 1)",
        "your positions are numbers of documents",
    ),
    pack(
        "positions from one",
        "places += range(len(document) + 1)",
        "places += range(1, len(document) + 2)",
        "from 0",
    ),
    pack(
        "end token has position zero",
        "places += range(len(document) + 1)",
        "places += [*range(len(document)), 0]",
        "your end token has position 0",
    ),
    pack(
        "empty documents skipped",
        "    for document in documents:\n",
        "    for document in documents:\n        if not document:\n            continue\n",
        "documents, context_length=",
    ),
    pack(
        "nothing said where too short",
        'raise ValueError("too short")',
        "return torch.zeros(0, context_length + 1), torch.zeros(0, context_length + 1)",
        "fill no row",
    ),
    pack(
        "one tensor",
        "torch.tensor([ids[c] for c in cut]), torch",
        "torch.tensor([ids[c] for c in cut])  #",
        "two tensors",
    ),
    loss("plus", "return -logprobs", "return logprobs", "the mean over the"),
    loss("sum", ".mean()", ".sum()", "your loss is the sum over the targets"),
    loss("bits", ".mean()", ".mean() / 0.6931471805599453", "the mean over the"),
    loss("no logarithm", "log_softmax", "softmax", "the mean over the"),
    loss("no softmax", "logits.log_softmax(-1)", "logits", "the mean over the"),
    loss("softmax over tokens", "log_softmax(-1)", "log_softmax(-2)", "the mean over the"),
    loss(
        "unstable",
        "logits.log_softmax(-1)",
        "(logits.exp() / logits.exp().sum(-1, keepdim=True)).log()",
        "overflow",
    ),
    loss("ignored targets count", "logprobs[kept].mean()", "logprobs.mean()", "count"),
    loss(
        "divided by all",
        "logprobs[kept].mean()",
        "logprobs[kept].sum() / targets.numel()",
        "your sum is divided by the number of all targets",
    ),
    loss("targets filled in place", "targets.masked_fill(", "targets.masked_fill_(", "in place"),
    loss(
        "half precision",
        "logits.float() if logits.dtype == torch.float16 else logits",
        "logits",
        "float16 logits over 200 tokens",
    ),
    loss("by rows", "-logprobs[kept].mean()", "-logprobs[kept].sum() / len(targets)", "rows"),
    loss("detached", "-logprobs[kept].mean()", "-logprobs[kept].mean().detach()", "gradient"),
    loss(
        "not refused",
        "kept = check_targets(logits, targets)",
        "kept = targets != -100",
        "all targets are ignored",
    ),
    loss(
        "log of the mean",
        "-logprobs[kept].mean()",
        "-logprobs[kept].exp().mean().log()",
        "your loss is the logarithm of a mean",
    ),
    loss(
        "target off by one",
        "gather(-1, index)",
        "gather(-1, (index + 1) % logits.shape[-1])",
        "the mean of -ln",
    ),
    adam(
        "no correction",
        "first_moment / (1 - beta1**step)",
        "first_moment",
        "the weights of torch's AdamW",
    ),
    adam(
        "neither correction",
        "first_moment / (1 - beta1**step)",
        "first_moment",
        "the weights of torch's AdamW",
    )._replace(
        code=ADAM.replace("first_moment / (1 - beta1**step)", "first_moment").replace(
            "second_moment / (1 - beta2**step)", "second_moment"
        )
    ),
    adam(
        "correction of the first step always",
        "1 - beta1**step",
        "1 - beta1",
        "the weights of torch's AdamW",
    ),
    adam("no root", ".sqrt()", "", "the weights of torch's AdamW"),
    adam(
        "eps inside the root",
        "(second_moment / (1 - beta2**step)).sqrt() + eps",
        "(second_moment / (1 - beta2**step) + eps).sqrt()",
        "your eps is added inside the root",
    ),
    adam("uphill", "- lr * mean", "+ lr * mean", "the weights of torch's AdamW"),
    adam(
        "plain descent",
        "lr * mean / scale",
        "lr * gradient",
        "the weights of torch's AdamW",
    ),
    adam(
        "decay through the means",
        "    beta1, beta2 = betas\n",
        "    beta1, beta2 = betas\n    gradient = gradient + weight_decay * parameter\n",
        "take it off the weight itself",
    )._replace(
        code=ADAM.replace(
            "    beta1, beta2 = betas\n",
            "    beta1, beta2 = betas\n    gradient = gradient + weight_decay * parameter\n",
        ).replace("parameter * (1 - lr * weight_decay)", "parameter")
    ),
    adam("decay without lr", "1 - lr * weight_decay", "1 - weight_decay", "multiplied by lr"),
    adam("no decay", "parameter * (1 - lr * weight_decay)", "parameter", "falls by"),
    adam("betas swapped", "beta1, beta2 = betas", "beta2, beta1 = betas", "moment"),
    adam(
        "second moment of the mean",
        "(1 - beta2) * gradient**2",
        "(1 - beta2) * first_moment**2",
        "the weights of torch's AdamW",
    ),
    adam(
        "in place",
        "    first_moment = beta1 * first_moment + (1 - beta1) * gradient\n",
        "    first_moment.mul_(beta1).add_((1 - beta1) * gradient)\n",
        "in place",
    ),
    adam(
        "two returned",
        "return parameter, first_moment, second_moment",
        "return parameter, mean",
        "three tensors",
    ),
    adam(
        "corrected moments returned",
        "return parameter, first_moment,",
        "return parameter, mean,",
        "first moment",
    ),
    adam("step zero", 'raise ValueError("step")', "step = 1", "a step of"),
    adam("eps ignored", ".sqrt() + eps", ".sqrt() + 1e-8", "your step is the one with eps 1e-8"),
    rate(
        "starts at zero",
        "(step + 1) / warmup_steps",
        "step / warmup_steps",
        "the warm-up fills the run of",
    ),
    rate(
        "cosine over all steps",
        "(step - warmup_steps) / rest",
        "step / n_steps",
        "the cosine starts at the peak, right after the warm-up",
    ),
    rate("ends at zero", "final + (1 - final) * 0.5", "0.5", "if not given"),
    rate(
        "rises again",
        "min(1.0, (step - warmup_steps) / rest)",
        "(step - warmup_steps) / rest",
        "is past n_steps=",
    ),
    rate(
        "a straight line", "0.5 * (1 + math.cos(math.pi * done))", "(1 - done)", "the rate of step"
    ),
    rate("full cosine", "math.pi * done", "2 * math.pi * done", "if not given"),
    rate("peak missing", "return peak * (final", "return (final", "peak"),
    rate(
        "final absolute",
        "peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done)))",
        "final + (peak - final) * 0.5 * (1 + math.cos(math.pi * done))",
        "share of the peak",
    ),
    rate("no warm-up", "if step < warmup_steps:", "if False:", "warmup_steps"),
    rate(
        "one step late",
        "if step < warmup_steps:",
        "if step <= warmup_steps:",
        "no warm-up: warmup_steps is",
    ),
    rate(
        "divides by the warm-up",
        "    if step < warmup_steps:",
        "    slope = peak / warmup_steps\n    if step < warmup_steps:",
        "no warm-up: warmup_steps is",
    ),
    rate(
        "all warm-up",
        " if rest else 1.0",
        "",
        "division by zero",
    ),
    rate(
        "not refused",
        "    check_schedule(n_steps, warmup_steps, final)\n",
        "",
        "longer than the run",
    ),
    rate("multiplier", "return peak * (step + 1)", "return (step + 1)", "peak"),
    clip(
        "each by itself",
        "        for g in gradients:\n            g.mul_(max_norm / norm)\n",
        "        for g in gradients:\n            g.mul_(max_norm / g.norm())\n",
        "direction",
    ),
    clip("copies scaled", "g.mul_(max_norm / norm)", "g = g * max_norm / norm", "in place"),
    clip(
        "norm after",
        "    return norm\n",
        "    return min(norm, max_norm)\n",
        "the norm after clipping",
    ),
    clip("a tensor", ".item()", "", "float"),
    clip(
        "sum of norms",
        "torch.sqrt(sum((g.float() ** 2).sum() for g in gradients)).item()",
        "sum(g.norm() for g in gradients).item()",
        "add squares",
    ),
    clip(
        "largest norm",
        "torch.sqrt(sum((g.float() ** 2).sum() for g in gradients)).item()",
        "max(g.norm() for g in gradients).item()",
        "got 4, the largest of their norms",
    ),
    clip(
        "no root",
        "torch.sqrt(sum((g.float() ** 2).sum() for g in gradients)).item()",
        "sum((g**2).sum() for g in gradients).item()",
        "root",
    ),
    clip(
        "scaled up",
        "if norm > max_norm and math.isfinite(norm):",
        "if math.isfinite(norm):",
        "only scale down",
    ),
    clip("elementwise", "g.mul_(max_norm / norm)", "g.clamp_(-max_norm, max_norm)", "direction"),
    clip("None not passed over", " if p.grad is not None]", "]", "passed over"),
    clip(
        "weights scaled", "g.mul_(max_norm / norm)", "g.mul_(max_norm / norm)", "weights"
    )._replace(
        code=CLIP.replace(
            "        for g in gradients:\n            g.mul_(max_norm / norm)\n",
            "        for p in parameters:\n            p.data.add_(1.0)\n"
            "            if p.grad is not None:\n                p.grad.mul_(max_norm / norm)\n",
        ),
        words="your function changed the weights",
    ),
    clip("broken ones scaled", " and math.isfinite(norm)", "", "not finite"),
    clip("not refused", 'raise ValueError("max_norm")', "return 0.0", "positive"),
    clip(
        "no gradient at all",
        "    if not gradients:\n        return 0.0\n",
        "    if not gradients:\n        return math.nan\n",
        "where no parameter has a gradient, the norm",
    ),
    saved(
        "written in place",
        "        write_flushed(other, data)\n        os.replace(other, path)\n",
        "        path.write_bytes(data)\n",
        "in place",
    ),
    saved(
        "copied over",
        "os.replace(other, path)",
        "path.write_bytes(other.read_bytes()); other.unlink()",
        "in place",
    ),
    saved(
        "other name left",
        "os.replace(other, path)",
        "os.replace(other, path); Path(str(path) + '.bak').write_bytes(data)",
        "left",
    ),
    saved("never renamed", "        os.replace(other, path)\n", "", "no file"),
    saved("torch.save", SAVE_LINE, TORCH_SAVE, "safetensors"),
    saved("no info", '"info": text, ', "", "info"),
    saved("info as Python", "json.dumps(info)", "str(info)", "JSON"),
    saved("no hash", ', "sha256": content_hash(tensors, text)', "", "sha256"),
    saved(
        "hash without the info",
        "content_hash(tensors, text)",
        'content_hash(tensors, "")',
        "very text",
    ),
    saved(
        "hash of names", "content_hash(tensors, text)", "str(hash(tuple(tensors)))", "content_hash"
    ),
    saved(
        "as float32",
        "tensor.detach().cpu().contiguous()",
        "tensor.detach().float().contiguous()",
        "after saving: tensor",
    ),
    saved(
        "one tensor lost",
        "for name, tensor in tensors.items()}",
        "for name, tensor in tensors.items() if tensor.dim() != 1}",
        "names",
    ),
    saved(
        "kept where one is there",
        "    path = Path(path)\n",
        "    path = Path(path)\n    if path.exists():\n        return\n",
        "old",
    ),
    saved("default=str", "json.dumps(info)", "json.dumps(info, default=str)", "which JSON can't"),
    fit(
        "no logarithm undone",
        "math.exp(floor), math.exp(log_a)",
        "floor, math.exp(log_a)",
        "exponential",
    ),
    fit("a as logarithm", "math.exp(log_a)", "log_a", "a is still a logarithm"),
    fit(
        "swapped",
        "ScalingLaw(math.exp(floor), math.exp(log_a), alpha, math.exp(log_b), beta)",
        "ScalingLaw(math.exp(floor), math.exp(log_b), beta, math.exp(log_a), alpha)",
        "are those of the tokens",
    ),
    fit(
        "the start returned",
        "        optimizer.step(closure)\n",
        "",
        "runs without noise of the law irreducible=",
    ),
    fit(
        "worst end",
        "min(e for e in ends if math.isfinite(e[0]))[1]",
        "starts(n, d, target)[-1].tolist()",
        "runs without noise of the law irreducible=",
    ),
    fit(
        "a few steps of plain descent",
        "        optimizer.step(closure)\n",
        "        optimizer = torch.optim.SGD([x], lr=1e-9)\n"
        "        [optimizer.step(closure) for _ in range(50)]\n",
        "runs without noise of the law irreducible=",
    ),
    fit(
        "squares instead of Huber",
        "1e6 * distance_of(x, n, d, target)",
        "1e6 * (torch.stack([x[0].expand_as(n), x[1] - x[2] * n, x[3] - x[4] * d]).logsumexp(0)"
        " - target).square().mean()",
        "Huber",
    ),
    fit(
        "losses not in logarithms",
        "optimizer.step(closure)\n",
        "optimizer.step(closure)\n",
        "runs without noise of the law irreducible=",
    )._replace(code=FIT.replace("    ends = []\n", "    target = target.exp()\n    ends = []\n")),
    fit(
        "no floor",
        "return ScalingLaw(math.exp(floor)",
        "return ScalingLaw(0.0 * floor",
        "runs without noise of the law irreducible=",
    ),
    fit("a list of four", "return ScalingLaw(math.exp(floor), ", "return (", "five finite floats"),
    fit("not refused", "    check_runs(n_parameters, n_tokens, losses)\n", "", "four runs"),
    fit(
        "fixed exponents",
        "alpha, math.exp(log_b), beta)",
        "0.5, math.exp(log_b), 0.5)",
        "runs without noise of the law irreducible=",
    ),
    minhash(
        "in a tensor's 64 bits",
        "    return [min((a * x + b) % PRIME for x in numbers) " + HASHES,
        "    import torch\n    x = torch.tensor(numbers)\n"
        "    return [int((a * x + b).remainder(PRIME).min()) " + HASHES,
        "64 bits",
    ),
    minhash(
        "items by place",
        "[item_number(item) for item in items]",
        "[item_number(items[i]) for i in range(len(items))]",
        "any collection",
    ),
    minhash(
        "items sorted in place",
        "    numbers =",
        "    if isinstance(items, list):\n        items.sort()\n    numbers =",
        "in place",
    ),
    minhash(
        "grows from call to call",
        "    return [min",
        "    kept = minhash_signature.__dict__.setdefault('kept', [])\n    kept += [min",
        "asks for 8",
    )._replace(
        code=MINHASH.replace(
            "    return [min",
            "    kept = minhash_signature.__dict__.setdefault('kept', [])\n    kept += [min",
        )
        + "    return kept\n",
        words="order",
    ),
    minhash(
        "two numberings mixed",
        "(a * x + b) % PRIME for x in numbers) " + HASHES,
        "(a * x + b) % PRIME for x in numbers for a, b in multipliers(n_hashes, seed))\n"
        "            for _ in range(n_hashes)]",
        "each place is the smallest",
    ),
    near(
        "shares of sets",
        "sum(x == y for x, y in zip(a, b)) / len(a)",
        "len(set(a) & set(b)) / len(set(a))",
        "2 of 8 places agree",
    ),
    near(
        "neighbours in a box alone",
        "combinations(members, 2)",
        "zip(members, members[1:])",
        "each with each",
    ),
    near(
        "first of a box with the others",
        "combinations(members, 2)",
        "[(members[0], j) for j in members[1:]]",
        "signatures",
    ),
    near(
        "boxes shared between calls",
        "    boxes = defaultdict(list)\n",
        "    boxes = near_duplicates.__dict__.setdefault('boxes', defaultdict(list))\n",
        "differ",
    )._replace(words="IndexError"),
    near("threshold ignored", ">= threshold", ">= 0.7", "too few"),
    near("bands ignored", "range(n_bands)", "range(len(s))", "whole band")._replace(
        code=NEAR.replace(
            "    boxes =", "    n_bands = len(signatures[0]) if signatures else 1\n    boxes ="
        )
    ),
    pack(
        "appends to the documents",
        "        ids += [*document, end_id]\n        places += range(len(document) + 1)\n",
        "        document.append(end_id)\n        ids += document\n"
        "        places += range(len(document))\n",
        "in place",
    ),
    pack(
        "short integers",
        "torch.tensor([ids[c] for c in cut]), torch",
        "torch.tensor([ids[c] for c in cut], dtype=torch.int32), torch",
        "tokens and their end token, context_length=",
    ),
    pack(
        "as decimal numbers",
        "torch.tensor([ids[c] for c in cut]), torch",
        "torch.tensor([ids[c] for c in cut]).float(), torch",
        "int64",
    ),
    pack(
        "each document in rows of its own",
        "    n = (len(ids) - 1) // context_length\n",
        "    ids, places = ids[::-1], places[::-1]\n    n = (len(ids) - 1) // context_length\n",
        "the place of each token in its own",
    ),
    pack(
        "empty list of documents",
        '        raise ValueError("too short")\n',
        '        if documents:\n            raise ValueError("too short")\n',
        "no documents: raise a ValueError",
    ),
    pack(
        "stream kept between calls",
        "ids, places = [], []",
        "ids, places = KEPT",
        "the rows of three short documents",
    )._replace(
        code="KEPT = ([], [])\n" + PACK.replace("ids, places = [], []", "ids, places = KEPT")
    ),
    pack(
        "swapped",
        "    return torch.tensor([ids",
        "    return torch.tensor([places",
        "the place of each token in its own",
    )._replace(
        code=PACK.replace(
            "torch.tensor([ids[c] for c in cut]), torch.tensor([places[c] for c in cut])",
            "torch.tensor([places[c] for c in cut]), torch.tensor([ids[c] for c in cut])",
        )
    ),
    loss(
        "logits changed in place",
        "    index = ",
        "    logits -= logits.amax(-1, keepdim=True)\n    index = ",
        "in place",
    ),
    loss(
        "largest of all subtracted",
        "logits.log_softmax(-1)",
        "((logits - logits.max()) - (logits - logits.max()).exp().sum(-1, keepdim=True).log())",
        "overflow",
    ),
    loss(
        "always float32",
        "logits.float() if logits.dtype == torch.float16 else logits",
        "logits.float()",
        "float64",
    ),
    loss(
        "any negative ignored", "check_targets(logits, targets)", "targets >= 0", "outside"
    )._replace(
        code=LOSS.replace(
            "    kept = check_targets(logits, targets)\n",
            "    kept = targets >= 0\n    if not kept.any():\n        raise ValueError\n",
        )
    ),
    loss(
        "shapes not compared",
        "check_targets(logits, targets)",
        "",
        ") is outside the vocabulary of",
    )._replace(
        code=LOSS.replace(
            "    kept = check_targets(logits, targets)\n",
            "    kept = targets != -100\n"
            "    if not kept.any() or not (0 <= targets[kept]).all():\n        raise ValueError\n",
        )
    ),
    loss(
        "three axes only",
        "    index = ",
        "    B, T, V = logits.shape\n    index = ",
        "not enough values",
    ),
    loss("a number", "-logprobs[kept].mean()", "-logprobs[kept].mean().item()", "float64"),
    adam(
        "decay after the step",
        "parameter * (1 - lr * weight_decay) - lr * mean / scale",
        "(parameter - lr * mean / scale) * (1 - lr * weight_decay)",
        "your weight is decayed after the step",
    ),
    adam(
        "one length for all weights",
        "(1 - beta2) * gradient**2",
        "(1 - beta2) * gradient.square().mean()",
        "the weights of torch's AdamW",
    ),
    adam("betas ignored", "beta1, beta2 = betas", "beta1, beta2 = 0.9, 0.95", "moment"),
    adam(
        "counts its own steps",
        "    beta1, beta2 = betas\n",
        "    beta1, beta2 = betas\n    adamw_step.n = step = getattr(adamw_step, 'n', 0) + 1\n",
        "the first step has the size of lr, whatever",
    ),
    adam(
        "moments of its own",
        "    beta1, beta2 = betas\n",
        "    beta1, beta2 = betas\n"
        "    first_moment, second_moment = getattr(adamw_step, 'held', (0.0, 0.0))\n",
        "moment",
    )._replace(
        code=ADAM.replace(
            "    beta1, beta2 = betas\n",
            "    beta1, beta2 = betas\n"
            "    first_moment, second_moment = getattr(adamw_step, 'held', (0.0, 0.0))\n",
        ).replace(
            "    return parameter",
            "    adamw_step.held = first_moment, second_moment\n    return parameter",
        ),
        words="differ",
    ),
    rate(
        "counts its own calls",
        "    if step < warmup_steps:",
        "    learning_rate.n = getattr(learning_rate, 'n', -1) + 1\n    step = learning_rate.n\n"
        "    if step < warmup_steps:",
        "straight line",
    )._replace(words="after other calls it has"),
    rate("final ignored", "final + (1 - final) * 0.5", "0.1 + 0.9 * 0.5", "final * peak"),
    rate(
        "warm-up by squares",
        "(step + 1) / warmup_steps",
        "((step + 1) / warmup_steps) ** 2",
        "peak",
    ),
    rate("degrees", "math.pi * done", "180 * done", "n_steps"),
    rate(
        "final not checked",
        "check_schedule(n_steps, warmup_steps, final)",
        "check_schedule(n_steps, warmup_steps, 0.0)",
        "0..1",
    ),
    clip(
        "parameters gone through twice",
        "    gradients = [p.grad for p in parameters if p.grad is not None]\n"
        "    if not gradients:\n        return 0.0\n"
        "    norm = torch.sqrt(sum((g.float() ** 2).sum() for g in gradients)).item()\n"
        "    if norm > max_norm and math.isfinite(norm):\n"
        "        for g in gradients:\n            g.mul_(max_norm / norm)\n",
        "    squares = [(p.grad**2).sum() for p in parameters if p.grad is not None]\n"
        "    if not squares:\n        return 0.0\n"
        "    norm = torch.sqrt(sum(squares)).item()\n"
        "    if norm > max_norm and math.isfinite(norm):\n"
        "        for p in parameters:\n"
        "            if p.grad is not None:\n                p.grad.mul_(max_norm / norm)\n",
        "gone through once",
    ),
    clip(
        "divides by zero",
        "    if norm > max_norm and math.isfinite(norm):\n        for g in gradients:\n"
        "            g.mul_(max_norm / norm)\n",
        "    factor = max_norm / norm\n    if factor < 1 and math.isfinite(norm):\n"
        "        for g in gradients:\n            g.mul_(factor)\n",
        "all gradients are zero",
    ),
    clip("scaled to one", "max_norm / norm)", "1 / norm)", "same factor"),
    clip("by the first alone", "for g in gradients)", "for g in gradients[:1])", "joint norm"),
    clip(
        "mean of squares", "(g.float() ** 2).sum() for", "(g.float() ** 2).mean() for", "joint norm"
    ),
    clip(
        "the sum of absolute values",
        "(g.float() ** 2).sum()",
        "g.abs().sum() ** 2",
        "the norm: the root of the sum of all",
    ),
    clip("gradients set to None", "g.mul_(max_norm / norm)", "g.zero_()", "max_norm / norm"),
    saved(
        "the old one removed first",
        "        os.replace(other, path)",
        "        path.unlink(missing_ok=True)\n        os.rename(other, path)",
        "no file at all",
    ),
    saved(
        "removed before anything else",
        "    text = json.dumps(info)",
        "    path.unlink(missing_ok=True)\n    text = json.dumps(info)",
        "is lost",
    ),
    saved("not flushed", "write_flushed(other, data)", "other.write_bytes(data)", "flushed"),
    saved(
        "flushed after the rename",
        "        write_flushed(other, data)\n        os.replace(other, path)\n",
        "        other.write_bytes(data)\n        os.replace(other, path)\n"
        "        with open(path, 'rb+') as file:\n            os.fsync(file.fileno())\n",
        "flushed",
    ),
    saved(
        "other name in another folder",
        "    other = path.with_name(UNFINISHED + path.name)",
        "    other = path.parent.with_suffix('.other')",
        "folder of path",
    ),
    saved(
        "nothing cleaned up",
        "    try:\n        write_flushed(other, data)\n        os.replace(other, path)\n"
        "    finally:\n        other.unlink(missing_ok=True)\n",
        "    write_flushed(other, data)\n    os.replace(other, path)\n",
        "finally",
    ),
    saved(
        "errors swallowed",
        "    finally:\n        other.unlink(missing_ok=True)\n",
        "    except OSError:\n        other.unlink(missing_ok=True)\n",
        "OSError",
    ),
    saved(
        "a backup beside it",
        "        os.replace(other, path)",
        "        if path.exists():\n            os.replace(path, str(path) + '.old')\n"
        "        os.replace(other, path)",
        "other name",
    ),
    saved("info beside the tensors", '"info": text', '"step": text', "info"),
    saved("names cut", "{name: tensor.detach", "{name[:4]: tensor.detach", "names"),
    fit(
        "tokens ignored",
        "    ends = []\n",
        "    d = torch.zeros_like(d)\n    ends = []\n",
        "runs without noise of the law irreducible=",
    ),
    fit(
        "sizes and tokens exchanged",
        "columns = [n_parameters, n_tokens, losses]",
        "columns = [n_tokens, n_parameters, losses]",
        "are those of the tokens",
    ),
    fit(
        "rounded",
        "math.exp(floor), ",
        "round(math.exp(floor), 0), ",
        "runs without noise of the law irreducible=",
    ),
    fit(
        "a constant",
        "math.exp(floor), math",
        "1.69, math",
        "runs without noise of the law irreducible=",
    ),
    fit(
        "one size allowed",
        "check_runs(",
        "len(losses) < 5 and check_runs(",
        "n_parameters of another length: raise a",
    ),
    fit(
        "exponents positive by sign",
        "alpha, math.exp(log_b), beta)",
        "-alpha, math.exp(log_b), -beta)",
        "runs without noise of the law irreducible=",
    ),
]
WRONG += [
    minhash("128 places if not told", "n_hashes=64", "n_hashes=128", "64"),
    minhash("another seed if not told", "seed=0", "seed=1", "seed is not given"),
    minhash("another error for no items", 'ValueError("empty")', 'KeyError("empty")', "ValueError"),
    minhash(
        "PRIME itself stays",
        "(a * x + b) % PRIME for",
        "(a * x + b) % (PRIME + 1) for",
        "item_number",
    ),
    minhash("the offset left out", "(a * x + b)", "(a * x)", "item_number"),
    minhash("numbers as text", "[min((a", "[str(min((a", "ints")._replace(
        code=MINHASH.replace("[min((a", "[str(min((a").replace(
            "in numbers) for", "in numbers)) for"
        )
    ),
    minhash(
        "one generator for all calls",
        "    return [min",
        "    kept = minhash_signature.__dict__.setdefault('kept', [0])\n"
        "    kept[0] += 1\n    seed = kept[0]\n    return [min",
        "each place is the smallest",
    ),
    minhash(
        "equal items weigh more",
        "    return [min",
        "    numbers = [x - sum(y == x for y in numbers) for x in numbers]\n    return [min",
        "each place is the smallest",
    ),
    near("no threshold if not told", "threshold=0.7", "threshold=0.0", "threshold is not given"),
    near("another number of bands if not told", "n_bands=16", "n_bands=8", "n_bands is not given"),
    near("lists of two", "found.add((i, j))", "found.add((i, j))", "tuple")._replace(
        code=NEAR.replace("return sorted(found)", "return [list(pair) for pair in sorted(found)]")
    ),
    near(
        "no bands at all is fine",
        "    lengths =",
        "    if n_bands < 1:\n        return []\n    lengths =",
        "n_bands=0",
    ),
    near("empty signatures are fine", "0 in lengths or ", "", "empty signatures"),
    near("another error", "ValueError(lengths)", "KeyError(lengths)", "ValueError"),
    near(
        "last band left out",
        "for band in range(n_bands):",
        "for band in range(n_bands - 1):",
        "four equal signatures in one box make six pairs, each with each",
    ),
    near(
        "joined as text",
        "(band, *s[",
        "(band, ''.join(map(str, s[",
        "the same signatures at threshold 0.8, for which three of four equal places are too few",
    )._replace(
        code=NEAR.replace(
            "boxes[(band, *s[band * width : (band + 1) * width])]",
            "boxes[band, ''.join(map(str, s[band * width : (band + 1) * width]))]",
        ).replace("if sum(x == y for x, y in zip(a, b)) / len(a) >= threshold:", "if True:")
    ),
    near(
        "only even numbers of copies",
        "combinations(members, 2)",
        "zip(members[::2], members[1::2])",
        "signatures",
    ),
    pack(
        "positions in half the width",
        "torch.tensor([places[c] for c in cut])",
        "torch.tensor([places[c] for c in cut], dtype=torch.int32)",
        "int64",
    ),
    pack(
        "positions as decimal numbers",
        "torch.tensor([places[c] for c in cut])",
        "torch.tensor([places[c] for c in cut]).float()",
        "int64",
    ),
    pack("another error", 'ValueError("too short")', 'IndexError("too short")', "ValueError"),
    pack(
        "at most 8 rows",
        "    if n < 1:",
        "    n = min(n, 8)\n    if n < 1:",
        "and their end tokens fill",
    ),
    pack(
        "ends at 32767",
        "torch.tensor([ids[c] for c in cut])",
        "torch.tensor([ids[c] for c in cut]).to(torch.int16).long()",
        "ids above",
    ),
    pack(
        "a list of tensors",
        "torch.tensor([ids[c] for c in cut]), torch",
        "[torch.tensor(ids[c]) for c in cut], torch",
        "tensor",
    ),
    pack(
        "end id of a document closes nothing twice",
        "        ids += [*document, end_id]\n        places += range(len(document) + 1)\n",
        "        closed = [*document, end_id]\n        if closed[-2:] == [end_id, end_id]:\n"
        "            closed.pop()\n        ids += closed\n        places += range(len(closed))\n",
        "documents, context_length=",
    ),
    pack("one row is an error", "if n < 1:", "if n < 2:", "one"),
    pack(
        "cut at the document's end",
        "places += range(len(document) + 1)",
        "places += [k % context_length for k in range(len(document) + 1)]",
        "goes on counting",
    ),
    loss(
        "label smoothing",
        "-logprobs[kept].mean()",
        "0.9 * -logprobs[kept].mean() - 0.1 * logits.log_softmax(-1).mean(-1)[kept].mean()",
        "the mean of -ln(share of the target)",
    ),
    loss(
        "a small number in the logarithm",
        "logits.log_softmax(-1)",
        "(logits.softmax(-1) + 1e-6).log()",
        "the mean of -ln",
    ),
    loss(
        "clamped",
        "logits.log_softmax(-1)",
        "logits.log_softmax(-1).clamp(min=-20)",
        "logits in the thousands, whose exponentials overflow and whose loss does not",
    ),
    loss(
        "log of the softmax",
        "logits.log_softmax(-1)",
        "logits.softmax(-1).log()",
        "logits in the thousands, whose exponentials overflow and whose loss does not",
    ),
    loss(
        "gradient through the largest alone",
        "logits.log_softmax(-1)",
        "(logits - logits.detach().logsumexp(-1, keepdim=True))",
        "gradient",
    ),
    loss(
        "no gradient of the targets' logits",
        "logits.log_softmax(-1).gather(-1, index)",
        "(logits.detach().gather(-1, index) - logits.logsumexp(-1, keepdim=True))",
        "gradient",
    ),
    loss(
        "bfloat16 only if asked",
        "logits.float() if logits.dtype == torch.float16 else logits",
        "logits.float() if logits.dtype == torch.bfloat16 else logits",
        "float16 logits over 200 tokens",
    ),
    loss(
        "result in half precision",
        "return -logprobs[kept].mean()",
        "return -logprobs[kept].mean().to(torch.float16)",
        "the mean over the",
    ),
    loss(
        "int64 targets alone",
        "    index =",
        "    if targets.dtype != torch.int64:\n        raise TypeError('int64')\n    index =",
        "int32",
    ),
    loss(
        "fewer axes than three are fine",
        "    index =",
        "    if logits.dim() == 4:\n        raise TypeError('axes')\n    index =",
        "leading",
    ),
    loss(
        "the first place never counts",
        "logprobs[kept].mean()",
        "logprobs[..., 1:][kept[..., 1:]].mean() if logprobs.shape[-1] > 1 else logprobs.mean()",
        "the mean over the",
    ),
    loss(
        "ignored means of rows",
        "logprobs[kept].mean()",
        "torch.stack([r[k].mean() for r, k in zip(logprobs, kept) if k.any()]).mean()",
        "every",
    ),
    loss(
        "the last target never counts",
        "    return",
        "    kept[..., -1] = False\n    return",
        "the mean of -ln",
    ),
    loss(
        "error of another kind",
        "kept = check_targets(logits, targets)",
        "kept = targets != -100\n    assert kept.any()\n"
        "    assert logits.shape[:-1] == targets.shape\n"
        "    assert targets[kept].min() >= 0 and targets[kept].max() < logits.shape[-1]",
        "ValueError",
    ),
    adam(
        "parameter changed in place",
        "    parameter = parameter * (1 - lr * weight_decay) - lr * mean / scale\n",
        "    parameter.mul_(1 - lr * weight_decay).sub_(lr * mean / scale)\n",
        "in place",
    ),
    adam(
        "second moment changed in place",
        "    second_moment = beta2 * second_moment + (1 - beta2) * gradient**2\n",
        "    second_moment.mul_(beta2).add_((1 - beta2) * gradient**2)\n",
        "in place",
    ),
    adam(
        "gradient changed in place",
        "    beta1, beta2 = betas\n",
        "    beta1, beta2 = betas\n    gradient.mul_(1.0 + 1e-3)\n",
        "in place",
    ),
    adam(
        "gradient of each element clipped",
        "    beta1, beta2 = betas\n",
        "    beta1, beta2 = betas\n    gradient = gradient.clamp(-1, 1)\n",
        "first moment: beta",
    ),
    adam(
        "amsgrad",
        "scale = (second",
        "second_moment = torch.maximum(second_moment, second_moment * 1.01)\n    scale = (second",
        "the weights of torch's AdamW",
    ),
    adam("weights as float32", "    return parameter,", "    return parameter.float(),", "float64"),
    adam(
        "decay of the new weight",
        "parameter * (1 - lr * weight_decay) - lr * mean / scale",
        "(parameter - lr * mean / scale) / (1 + lr * weight_decay)",
        "a weight of",
    ),
    adam(
        "eps added before the correction",
        "(second_moment / (1 - beta2**step)).sqrt() + eps",
        "(second_moment.sqrt() + eps) / (1 - beta2**step) ** 0.5",
        "your eps is added before the second mean is corrected",
    ),
    adam("a negative step is fine", "if step < 1:", "if step == 0:", "below 1"),
    adam("another error", 'ValueError("step")', 'ZeroDivisionError("step")', "ValueError"),
    adam(
        "a list for a matrix",
        "gradient**2",
        "(gradient * gradient.mean())",
        "the weights of torch's AdamW",
    ),
    adam(
        "nesterov",
        "mean = first_moment / (1 - beta1**step)",
        "mean = (beta1 * first_moment + (1 - beta1) * gradient) / (1 - beta1**step)",
        "the weights of torch's AdamW",
    ),
    rate(
        "a rate at n_steps in a run that is all warm-up",
        " if rest else 1.0",
        " if rest else 0.0",
        "warm-up fills",
    ),
    rate(
        "rounded",
        "    if step < warmup_steps:",
        "    peak = round(peak, 3)\n    if step < warmup_steps:",
        "which is rounded",
    ),
    rate(
        "a tensor", "math.cos(math.pi * done)", "torch.cos(torch.tensor(math.pi * done))", "float"
    )._replace(
        code="import torch\n"
        + RATE.replace("math.cos(math.pi * done)", "torch.cos(torch.tensor(math.pi * done))")
    ),
    rate(
        "another error",
        "    check_schedule(n_steps, warmup_steps, final)\n",
        "    assert 0 <= warmup_steps <= n_steps and 0 <= final <= 1\n",
        "ValueError",
    ),
    rate(
        "a negative warm-up is fine",
        "check_schedule(n_steps, warmup_steps, final)",
        "check_schedule(n_steps, abs(warmup_steps), final)",
        "negative",
    ),
    rate(
        "a negative final is fine",
        "check_schedule(n_steps, warmup_steps, final)",
        "check_schedule(n_steps, warmup_steps, abs(final))",
        "0..1",
    ),
    rate(
        "final of 0 taken for none",
        "    check_schedule(n",
        "    final = final or 0.1\n    check_schedule(n",
        "final=0",
    ),
    rate(
        "one step short",
        "rest = n_steps - warmup_steps",
        "rest = max(0, n_steps - 1 - warmup_steps)",
        "no warm-up if none is given: half way down",
    ),
    rate(
        "warm-up from a tenth",
        "peak * (step + 1) / warmup_steps",
        "peak * (0.1 + 0.9 * (step + 1) / warmup_steps)",
        "step 0 has peak / warmup_steps",
    ),
    rate("final is 0 if not told", "final=0.1", "final=0.0", "0.1"),
    clip(
        "squares in half precision",
        "g.float() ** 2",
        "g**2",
        "half precision",
    ),
    clip(
        "a small number added",
        "max_norm / norm)",
        "max_norm / (norm + 1e-2))",
        ") times max_norm / norm =",
    ),
    clip(
        "gradients replaced by new ones",
        "g.mul_(max_norm / norm)",
        "",
        "your function put a new tensor in the gradient's place",
    )._replace(
        code=CLIP.replace(
            "        for g in gradients:\n            g.mul_(max_norm / norm)\n",
            "        for p in kept:\n            p.grad = p.grad * (max_norm / norm)\n",
        ).replace(
            "    gradients = [p.grad for p in parameters if p.grad is not None]\n",
            "    kept = [p for p in parameters if p.grad is not None]\n"
            "    gradients = [p.grad for p in kept]\n",
        )
    ),
    clip("a negative limit is fine", "if not max_norm > 0:", "if max_norm == 0:", "-1"),
    clip("NaN as a limit is fine", "if not max_norm > 0:", "if max_norm <= 0:", "NaN"),
    clip("another error", 'ValueError("max_norm")', 'AssertionError("max_norm")', "ValueError"),
    clip(
        "NaN becomes zero",
        "    norm = torch",
        "    for g in gradients:\n        g.nan_to_num_()\n    norm = torch",
        "a gradient that holds inf: a norm that is",
    ),
    clip(
        "a gradient for all",
        "gradients = [p.grad for p in parameters if p.grad is not None]",
        "parameters = list(parameters)\n    for p in parameters:\n        if p.grad is None:\n"
        "            p.grad = torch.zeros_like(p)\n    gradients = [p.grad for p in parameters]",
        "without",
    ),
    clip(
        "the first two alone",
        "for p in parameters if",
        "for p, _ in zip(parameters, (1, 2)) if",
        "the norm: the root of the sum of all",
    ),
    clip(
        "no gradients is an error",
        "        return 0.0\n",
        "        raise ValueError('none')\n",
        "parameters of which none has a gradient",
    ),
    clip(
        "one dimension alone",
        "(g.float() ** 2).sum()",
        "(g.norm(dim=-1) ** 2).sum().clamp(max=1e4)",
        "gradients",
    ),
    saved("a path as text is refused", "    path = Path(path)\n", "", "text"),
    saved(
        "at the folder of the process",
        "    path = Path(path)\n",
        "    path = Path(Path(path).name)\n",
        "no file",
    ),
    saved(
        "tensors that are no block of memory",
        ".contiguous()",
        "",
        "five tensors, of which `weight` is a",
    ),
    saved(
        "keys as numbers",
        '"info": text,',
        '"info": text, "time": str(id(text)),',
        "the info in the header, read as JSON",
    )._replace(
        code=SAVE.replace(
            "json.dumps(info)",
            "json.dumps({k: float(v) if isinstance(v, int) else v for k, v in info.items()})",
        )
    ),
    saved(
        "only float tensors",
        "for name, tensor in tensors.items()}",
        "for name, tensor in tensors.items() if tensor.is_floating_point()}",
        "names",
    ),
    saved(
        "info sorted into the tensors",
        "    data = save",
        "    info['saved'] = True\n    data = save",
        "info",
    ),
    saved(
        "tensors changed",
        "    text = json",
        "    [t.zero_() for t in tensors.values()]\n    text = json",
        "your function changed tensor",
    ),
    saved(
        "errors of writing swallowed",
        "    try:\n        write_flushed(other, data)\n        os.replace(other, path)\n"
        "    finally:\n        other.unlink(missing_ok=True)\n",
        "    try:\n        write_flushed(other, data)\n        os.replace(other, path)\n"
        "    except IsADirectoryError:\n        pass\n"
        "    finally:\n        other.unlink(missing_ok=True)\n",
        "OSError",
    ),
    saved(
        "grows the file",
        "        write_flushed(other, data)\n        os.replace(other, path)\n",
        "        with open(path, 'ab') as file:\n            file.write(data)\n",
        "the old file was written over in place: a",
    ),
]

FOLLOWS = """def fit_scaling_law(n_parameters, n_tokens, losses):
    check_runs(n_parameters, n_tokens, losses)
    columns = [n_parameters, n_tokens, losses]
    n, d, target = (torch.tensor(list(c), dtype=torch.float64).log() for c in columns)
    ends = [descend(lambda x: distance_of(x, n, d, target), s) for s in starts(n, d, target)]
    x = min((end for end in ends if math.isfinite(end[0])), key=lambda end: end[0])[1]
    floor, log_a, alpha, log_b, beta = x.tolist()
    return ScalingLaw(math.exp(floor), math.exp(log_a), alpha, math.exp(log_b), beta)
"""


def fitted(why, old, new, words):
    return edited("fit_scaling_law", FOLLOWS, why, old, new, words)


BEST = "min((end for end in ends if math.isfinite(end[0])), key=lambda end: end[0])[1]"
WRONG += [
    fitted("the first end", BEST, "ends[0][1]", "six runs with noise whose starts end in"),
    fitted("the last end", BEST, "ends[-1][1]", "six runs with noise whose starts end in"),
    fitted(
        "the farthest end",
        BEST,
        "max(ends, key=lambda end: end[0])[1]",
        "six runs with noise whose starts end in",
    ),
    fitted(
        "one start",
        "starts(n, d, target)]",
        "starts(n, d, target)[:1]]",
        "six runs with noise whose starts end in",
    ),
    fitted("no logarithms", ".log() for c", " for c", "runs without noise of the law irreducible="),
    fitted(
        "base 10", ".log() for c", ".log10() for c", "runs without noise of the law irreducible="
    ),
    fitted(
        "losses alone in logarithms",
        "(torch.tensor(list(c), dtype=torch.float64).log() for c in columns)",
        "(torch.tensor(list(c), dtype=torch.float64) for c in columns)\n    target = target.log()",
        "runs without noise of the law irreducible=",
    ),
    fitted("b kept as logarithm", "math.exp(log_b)", "log_b", "b is still a logarithm"),
    fitted(
        "nothing undone",
        "ScalingLaw(math.exp(floor), math.exp(log_a), alpha, math.exp(log_b), beta)",
        "ScalingLaw(floor, log_a, alpha, log_b, beta)",
        "the point holds logarithms of floor, a and",
    ),
    fitted(
        "exponents undone as well",
        "alpha, math.exp(log_b), beta)",
        "math.exp(alpha), math.exp(log_b), math.exp(beta))",
        "your alpha and beta are exponentials",
    ),
    fitted(
        "in the order of the point",
        "math.exp(log_a), alpha, math.exp(log_b), beta)",
        "math.exp(log_a), math.exp(log_b), alpha, beta)",
        "ScalingLaw takes irreducible, a, alpha, b,",
    ),
    fitted("a point of tensors", ".tolist()", ".unbind()", "return ScalingLaw"),
    fitted(
        "four runs are enough",
        "    check_runs(n_parameters, n_tokens, losses)\n",
        "    if len(losses) >= 5:\n        check_runs(n_parameters, n_tokens, losses)\n",
        "runs",
    ),
    fitted(
        "lengths not compared",
        "    check_runs(n_parameters, n_tokens, losses)\n",
        "    k = min(len(n_parameters), len(n_tokens), len(losses))\n"
        "    n_parameters, n_tokens, losses = n_parameters[:k], n_tokens[:k], losses[:k]\n"
        "    check_runs(n_parameters, n_tokens, losses)\n",
        "length",
    ),
    fitted(
        "another error",
        "    check_runs(n_parameters, n_tokens, losses)\n",
        "    try:\n        check_runs(n_parameters, n_tokens, losses)\n"
        "    except ValueError as error:\n        raise KeyError(str(error))\n",
        "ValueError",
    ),
    fitted(
        "one number of tokens allowed",
        "    check_runs(n_parameters, n_tokens, losses)\n",
        "    if len(set(n_tokens)) > 1:\n        check_runs(n_parameters, n_tokens, losses)\n",
        "tokens",
    ),
    fitted(
        "zero taken for small",
        "    check_runs(n_parameters, n_tokens, losses)\n",
        "    losses = [max(loss, 1e-3) for loss in losses]\n"
        "    check_runs(n_parameters, n_tokens, losses)\n",
        "positive",
    ),
    fitted(
        "runs sorted apart",
        "    n, d, target",
        "    columns = [sorted(c) for c in columns]\n    n, d, target",
        "runs without noise of the law irreducible=",
    ),
]
SAME_NUMBERS = "without the squeeze, the mask picks the same numbers out of (B, T, 1)"
EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "cross_entropy",
        "0 -> 1 in `targets.masked_fill(~kept, 0)`",
    ): "any valid index does for targets that do not count",
    (
        "cross_entropy",
        "1 -> 2 in `logits.log_softmax(-1).gather(-1, index).squeeze(-1)`",
    ): SAME_NUMBERS,
    (
        "cross_entropy",
        "1 -> -1 in `logits.log_softmax(-1).gather(-1, index).squeeze(-1)`",
    ): SAME_NUMBERS,
    (
        "cross_entropy",
        "drop sign of `logits.log_softmax(-1).gather(-1, index).squeeze(-1)`",
    ): SAME_NUMBERS,
    (
        "minhash_signature",
        "delete `if not items:`",
    ): "the minimum of nothing raises a ValueError, too",
    (
        "near_duplicates",
        "swap arguments of `zip(signatures[i], signatures[j], strict=True)`",
    ): "agreement does not depend on the order of the two",
    (
        "pack_sequences",
        "1 -> -1 in `torch.arange(n_rows).unsqueeze(-1)`",
    ): "a row of numbers has the same last and second axis",
    (
        "pack_sequences",
        "drop sign of `torch.arange(n_rows).unsqueeze(-1)`",
    ): "a row of numbers has the same last and second axis",
    (
        "fit_scaling_law",
        "swap arguments of `check_runs(n_parameters, n_tokens, losses)`",
    ): "sizes and tokens are looked at alike; only the words of the error differ",
    (
        "fit_scaling_law",
        "swap arguments of `starts(n, d, target)`",
    ): "other starts, from which the descent finds the same law",
    (
        "learning_rate",
        "1.0 -> -1.0 in `1.0 if step >= n_steps else  ...  / (n_steps - warmup_steps)`",
    ): "the cosine of minus pi is that of pi",
    (
        "clip_gradients",
        "swap arguments of `torch.promote_types(gradient.dtype, torch.float32)`",
    ): "the wider of two dtypes does not depend on their order",
    ("clip_gradients", "Gt -> GtE in `norm > max_norm`"): "at the limit the factor is one",
    (
        "save_checkpoint",
        "delete `flush_folder(path.parent)`",
    ): "only a power failure right after the rename would show it",
}

WRONG += [
    *slips(
        "minhash_signature",
        MINHASH,
        ("small letters", "item_number(item)", "item_number(item.lower())", "with capitals"),
    ),
    *slips(
        "near_duplicates",
        NEAR,
        (
            "similarity of the sets of numbers",
            "sum(x == y for x, y in zip(a, b)) / len(a) >=",
            "len(set(a) & set(b)) / len(set(a) | set(b)) >=",
            "count the places that agree",
        ),
    ),
    *slips(
        "pack_sequences",
        PACK,
        (
            "the last document is not closed",
            "    n = (len",
            "    ids.pop(), places.pop()\n    n = (len",
            "and their end tokens fill",
        ),
    ),
    *slips(
        "adamw_step",
        ADAM,
        (
            "corrected means returned",
            "return parameter, first_moment, second_moment",
            "return parameter, mean, second_moment / (1 - beta2**step)",
            "for this step alone",
        ),
        ("weight_decay ignored", "lr * weight_decay)", "lr * 0.1)", "weight_decay is 0 here"),
    ),
    Wrong(
        "learning_rate",
        "the first settings are kept",
        "kept = {}\n"
        + RATE.replace(
            "    check_schedule(",
            "    kept.setdefault(0, (peak, n_steps, warmup_steps, final))\n"
            "    peak, n_steps, warmup_steps, final = kept[0]\n    check_schedule(",
        ),
        "keep nothing between calls",
    ),
    Wrong(
        "learning_rate",
        "calls are counted",
        "calls = []\n"
        + RATE.replace(
            "    check_schedule(",
            "    calls.append(step)\n    step = len(calls) - 1\n    check_schedule(",
        ),
        "after other calls",
    ),
    *slips(
        "clip_gradients",
        CLIP,
        ("infinity refused", "not max_norm > 0", "not 0 < max_norm < math.inf", "max_norm=inf"),
        (
            "a broken gradient raises",
            "    if norm > max_norm",
            "    if not math.isfinite(norm):\n        raise ValueError\n    if norm > max_norm",
            "and nothing raised",
        ),
        (
            "a list asked for",
            "    gradients = [",
            "    len(parameters)\n    gradients = [",
            "no list",
        ),
    ),
    *slips(
        "save_checkpoint",
        SAVE,
        (
            "another error",
            "    finally:\n        other",
            "    except OSError as error:\n        raise RuntimeError('not written') from error\n"
            "    finally:\n        other",
            "got RuntimeError",
        ),
        (
            "the old file removed on failure",
            "    finally:\n        other",
            "    except OSError:\n        path.unlink(missing_ok=True)\n        raise\n"
            "    finally:\n        other",
            "remove the other name only",
        ),
    ),
]
