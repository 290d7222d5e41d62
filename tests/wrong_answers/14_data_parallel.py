"""Wrong answers of lab 14, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

RING = """def ring_all_reduce(tensor, group=None):
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    total = tensor.detach().flatten().clone()
    parts = total.tensor_split(n)
    for step in range(2 * (n - 1)):
        leaving, kept = parts[(rank - step) % n], parts[(rank - step - 1) % n]
        arrived = torch.empty_like(kept)
        sending = dist.isend(leaving, group=group, group_dst=(rank + 1) % n)
        dist.recv(arrived, group=group, group_src=(rank - 1) % n)
        sending.wait()
        kept.copy_(kept + arrived if step < n - 1 else arrived)
    return total.view(tensor.shape)
"""
ROUNDS = "range(2 * (n - 1))"
COPY = "kept.copy_(kept + arrived if step < n - 1 else arrived)"
TOTAL = "total = tensor.detach().flatten().clone()"
SEND = "sending = dist.isend(leaving, group=group, group_dst=(rank + 1) % n)"
RECEIVE = "dist.recv(arrived, group=group, group_src=(rank - 1) % n)"

STEP = """def ddp_step(model, micro_batches, max_norm=None, group=None):
    weights = [w for w in model.parameters() if w.requires_grad]
    for w in weights:
        w.grad = None
    counted = torch.zeros(2, dtype=torch.float64)
    for token_ids, targets in micro_batches:
        logits = model(token_ids)
        nats = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
        )
        nats.backward()
        counted += torch.tensor([nats.item(), (targets != IGNORE_INDEX).sum()])
    own = counted.clone()
    dist.all_reduce(counted, group=group)
    nats, n_tokens = counted.tolist()
    if n_tokens == 0:
        raise ValueError("no target")
    for w in weights:
        if w.grad is None:
            w.grad = torch.zeros_like(w)
    bucket = torch.cat([w.grad.flatten() for w in weights])
    dist.all_reduce(bucket, group=group)
    for w, total in zip(weights, bucket.split([w.numel() for w in weights])):
        w.grad.copy_(total.view_as(w) / n_tokens)
    norm = clip_gradients(weights, math.inf if max_norm is None else max_norm)
    return nats / n_tokens, norm
"""
OLD = "    for w in weights:\n        w.grad = None\n"
BUCKET = "    bucket = torch.cat([w.grad.flatten() for w in weights])\n"
REDUCE = "    dist.all_reduce(bucket, group=group)\n"
DIVIDE = "total.view_as(w) / n_tokens"
CLIP = "norm = clip_gradients(weights, math.inf if max_norm is None else max_norm)"
NONE = """    for w in weights:
        if w.grad is None:
            w.grad = torch.zeros_like(w)
"""

STATE = """def shard_optimizer(weights, gradient, state, lr, weight_decay=0.1, group=None):
    if weights.dim() != 1 or weights.shape != gradient.shape:
        raise ValueError("shapes")
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    mine, slope = shard_of(weights, rank, n), shard_of(gradient, rank, n)
    first, second = (state.get(name, mine * 0) for name in ("first_moment", "second_moment"))
    step = state.get("step", 0) + 1
    mine, first, second = adamw_step(
        mine, slope, first, second, step, lr=lr, weight_decay=weight_decay
    )
    state = {"step": step, "first_moment": first, "second_moment": second}
    return ring_all_gather(mine, group)[: weights.numel()], state
"""
WHOLE = "ring_all_gather(mine, group)[: weights.numel()]"
CUT = "mine, slope = shard_of(weights, rank, n), shard_of(gradient, rank, n)"

GATHER = """def fsdp_gather(shard, shape, group=None):
    n, n_numbers = dist.get_world_size(group), math.prod(shape)
    if shard.shape != (math.ceil(n_numbers / n),):
        raise ValueError("shard")
    return ring_all_gather(shard, group)[:n_numbers].view(tuple(shape))
"""
GATHERED = "ring_all_gather(shard, group)[:n_numbers].view(tuple(shape))"

BACK = """def fsdp_reduce(gradient, group=None):
    n, rank = dist.get_world_size(group), dist.get_rank(group)
    flat = gradient.detach().flatten()
    wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
    padded = functional.pad(wide, (0, -len(wide) % n))
    return (ring_reduce_scatter(padded, group) / n).to(gradient.dtype)
"""
WIDE = "flat.to(torch.promote_types(flat.dtype, torch.float32))"
AVERAGE = "(ring_reduce_scatter(padded, group) / n)"
PADDED = "padded = functional.pad(wide, (0, -len(wide) % n))"


def of(exercise: str, code: str, *cases: tuple) -> list[Wrong]:
    """Return wrong answers from (why, words that help, old, new, ...)."""
    found = []
    for why, words, *pairs in cases:
        wrong = code
        for old, new in zip(pairs[::2], pairs[1::2], strict=True):
            assert old in wrong, old
            wrong = wrong.replace(old, new)
        found.append(Wrong(exercise, why, wrong, words))
    return found


WRONG = [
    Wrong(
        "ring_all_reduce",
        "does no work: its own tensor",
        "def ring_all_reduce(tensor, group=None):\n    return tensor.clone()\n",
        "nothing has arrived",
    ),
    Wrong(
        "ring_all_reduce",
        "does no work: its own, n times",
        "def ring_all_reduce(tensor, group=None):\n"
        "    return tensor * dist.get_world_size(group)\n",
        "your result is n times the rank's own numbers",
    ),
    Wrong(
        "ring_all_reduce",
        "torch's own all-reduce",
        "def ring_all_reduce(tensor, group=None):\n"
        "    total = tensor.clone()\n"
        "    dist.all_reduce(total, group=group)\n"
        "    return total\n",
        "your function called `dist.all_reduce`",
    ),
    Wrong(
        "ring_all_reduce",
        "put together from what later exercises are given",
        "def ring_all_reduce(tensor, group=None):\n"
        "    flat, n = tensor.detach().flatten(), dist.get_world_size(group)\n"
        "    padded = torch.nn.functional.pad(flat, (0, -len(flat) % n))\n"
        "    whole = ring_all_gather(ring_reduce_scatter(padded, group), group)\n"
        "    return whole[: len(flat)].view(tensor.shape)\n",
        "send and receive yourself",
    ),
    Wrong(
        "ring_all_reduce",
        "the whole tensor goes round",
        "def ring_all_reduce(tensor, group=None):\n"
        "    n, rank = dist.get_world_size(group), dist.get_rank(group)\n"
        "    total, passing = tensor.clone(), tensor.clone()\n"
        "    for _ in range(n - 1):\n"
        "        arrived = torch.empty_like(passing)\n"
        "        sending = dist.isend(passing, group=group, group_dst=(rank + 1) % n)\n"
        "        dist.recv(arrived, group=group, group_src=(rank - 1) % n)\n"
        "        sending.wait()\n"
        "        total, passing = total + arrived, arrived\n"
        "    return total\n",
        "bytes were sent",
    ),
    Wrong(
        "ring_all_reduce",
        "rank 0 sums for all",
        "def ring_all_reduce(tensor, group=None):\n"
        "    n, rank = dist.get_world_size(group), dist.get_rank(group)\n"
        "    total = tensor.clone()\n"
        "    for other in range(1, n):\n"
        "        if rank == other:\n"
        "            dist.send(total, group=group, group_dst=0)\n"
        "        if rank == 0:\n"
        "            arrived = torch.empty_like(total)\n"
        "            dist.recv(arrived, group=group, group_src=other)\n"
        "            total = total + arrived\n"
        "    for other in range(1, n):\n"
        "        if rank == 0:\n"
        "            dist.send(total, group=group, group_dst=other)\n"
        "        if rank == other:\n"
        "            dist.recv(total, group=group, group_src=0)\n"
        "    return total\n",
        "a rank sends to one other",
    ),
    *of(
        "ring_all_reduce",
        RING,
        ("the mean", "your result is the mean", "return total.view", "return (total / n).view"),
        (
            "half of the rounds",
            "your result is where a ring stands after n - 1 rounds, each sum on one rank only",
            ROUNDS,
            "range(n - 1)",
        ),
        ("one round too few", "your ring ends a round early", ROUNDS, "range(2 * (n - 1) - 1)"),
        (
            "adds to the end",
            "your ring adds in the last n - 1 rounds, too",
            COPY,
            "kept.copy_(kept + arrived)",
        ),
        (
            "one more round that adds",
            "your ring adds for n rounds",
            ROUNDS,
            "range(2 * n)",
            "< n - 1",
            "< n",
        ),
        ("never adds", "the sum of all ranks' tensors", COPY, "kept.copy_(arrived)"),
        (
            "the other way round",
            "sends to one other",
            SEND,
            SEND.replace("rank + 1", "rank - 1"),
            RECEIVE,
            RECEIVE.replace("rank - 1", "rank + 1"),
            "(rank - step) % n",
            "(rank + step) % n",
            "(rank - step - 1) % n",
            "(rank + step + 1) % n",
        ),
        ("all receive first", "rank", f"{SEND}\n        {RECEIVE}", f"{RECEIVE}\n        {SEND}"),
        ("in place", "`tensor` was changed in place", TOTAL, "total = tensor.flatten()"),
        (
            "sums in float16",
            "float32",
            TOTAL,
            f"{TOTAL}.half()",
            "total.view",
            "total.float().view",
        ),
        ("flat", "expected shape", "total.view(tensor.shape)", "total"),
        (
            "rows in parts",
            "four ranks with tensors of shape",
            TOTAL,
            "total = tensor.detach().clone().reshape(tensor.shape or (1,))",
        ),
        (
            "all through float32",
            "went through float32",
            TOTAL,
            "total = tensor.detach().float().flatten().clone()",
            "total.view(tensor.shape)",
            "total.view(tensor.shape).to(tensor.dtype)",
        ),
        (
            "one rank gives its tensor back",
            "with one rank your result is `tensor` itself",
            f"    {TOTAL}",
            f"    if n == 1:\n        return tensor\n    {TOTAL}",
        ),
        (
            "parts of a copy",
            "with transposed tensors",
            f"{TOTAL}\n    parts = total.",
            "total = tensor.detach().clone()\n    parts = total.flatten().",
            "total.view(tensor.shape)",
            "total",
        ),
        ("sums in float64", "the dtype of `tensor`, got", "total.view(", "total.double().view("),
        (
            "parts of equal size, the rest forgotten",
            "the sum of all ranks' tensors",
            "total.tensor_split(n)",
            "total[: len(total) // n * n].tensor_split(n)",
        ),
    ),
    Wrong(
        "ddp_step",
        "does no work: no gradient",
        "def ddp_step(model, micro_batches, max_norm=None, group=None):\n    return 0.0, 0.0\n",
        "the gradient of the mean loss",
    ),
    Wrong(
        "ddp_step",
        "does no work: zeros",
        "def ddp_step(model, micro_batches, max_norm=None, group=None):\n"
        "    for weight in model.parameters():\n"
        "        weight.grad = torch.zeros_like(weight)\n"
        "    return 0.0, 0.0\n",
        "the gradient of the mean loss",
    ),
    *of(
        "ddp_step",
        STEP,
        ("no sum", "your gradient is of the rank's own tokens", REDUCE, ""),
        ("no average", "your gradient is the sum of all ranks", DIVIDE, "total.view_as(w)"),
        (
            "divided by the ranks",
            "your sum is divided by the number of ranks",
            DIVIDE,
            f"{DIVIDE[:-8]}dist.get_world_size()",
        ),
        (
            "divided by both",
            "as well as by the tokens",
            DIVIDE,
            f"{DIVIDE} / dist.get_world_size()",
        ),
        ("divided by its own", "the rank's own tokens", DIVIDE, "total.view_as(w) / own[1].item()"),
        (
            "the mean of means",
            "the mean of the ranks' means",
            REDUCE,
            f"    bucket /= max(1.0, own[1].item())\n{REDUCE}",
            DIVIDE,
            "total.view_as(w) / dist.get_world_size()",
        ),
        (
            "a sum of means",
            "your gradient adds the ranks' means",
            REDUCE,
            f"    bucket /= max(1.0, own[1].item())\n{REDUCE}",
            DIVIDE,
            "total.view_as(w)",
        ),
        (
            "padding counts",
            "your number of tokens counts targets that are ignored",
            "(targets != IGNORE_INDEX).sum()",
            "targets.numel()",
        ),
        ("the last gradient stays", "your gradient has that of the step before in it", OLD, ""),
        (
            "clips before the sum",
            "sum first, then clip the whole",
            BUCKET,
            f"    for w in weights:\n        w.grad /= max(1.0, own[1].item())\n"
            f"    {CLIP}\n    for w in weights:\n        w.grad *= own[1].item()\n{BUCKET}",
            f"    {CLIP}\n    return",
            "    return",
        ),
        (
            "each weight is clipped alone",
            "your weights are each clipped by their own norm",
            CLIP,
            "norm = clip_gradients(weights, math.inf)\n"
            "    for w in weights:\n"
            "        clip_gradients([w], math.inf if max_norm is None else max_norm)",
        ),
        (
            "never clips",
            "your gradient is not clipped",
            CLIP,
            "norm = clip_gradients(weights, math.inf)",
        ),
        (
            "the norm afterwards",
            "your norm is that after clipping",
            CLIP,
            f"{CLIP}\n    norm = clip_gradients(weights, math.inf)",
        ),
        (
            "its own loss",
            "your loss is that of the rank's own tokens",
            "return nats / n_tokens",
            "return own[0].item() / max(1.0, own[1].item())",
        ),
        (
            "only the last micro-batch",
            "your gradient is that of each rank's last micro-batch",
            "        logits = model(token_ids)\n",
            OLD.replace("    ", "        ") + "        logits = model(token_ids)\n",
        ),
        (
            "sent after each micro-batch",
            "a rank hands over",
            "        nats.backward()\n",
            "        before = [0 if w.grad is None else w.grad.clone() for w in weights]\n"
            "        for w in weights:\n            w.grad = None\n"
            "        nats.backward()\n"
            "        for w, old in zip(weights, before):\n"
            "            w.grad = torch.zeros_like(w) if w.grad is None else w.grad\n"
            "            dist.all_reduce(w.grad, group=group)\n"
            "            w.grad += old\n",
            REDUCE,
            "",
        ),
        (
            "steps as well",
            "` was changed by your function",
            f"    {CLIP}",
            f"    {CLIP}\n    for w in weights:\n        w.data -= 0.1 * w.grad",
        ),
        ("a gradient may be missing", "AttributeError", NONE, ""),
        ("divides by no tokens", "no rank has a target", "if n_tokens == 0", "if n_tokens < 0"),
        (
            "a rank without tokens leaves",
            "rank 1",
            "    dist.all_reduce(counted, group=group)\n",
            "    if own[1] == 0:\n        raise ValueError('nothing here')\n"
            "    dist.all_reduce(counted, group=group)\n",
        ),
    ),
    Wrong(
        "shard_optimizer",
        "does no work: the weights as they were",
        "def shard_optimizer(weights, gradient, state, lr, weight_decay=0.1, group=None):\n"
        "    return weights, state\n",
        "your weights are as they were",
    ),
    Wrong(
        "shard_optimizer",
        "does no work: zeros",
        "def shard_optimizer(weights, gradient, state, lr, weight_decay=0.1, group=None):\n"
        "    return weights * 0, state\n",
        "the weights after a step of AdamW",
    ),
    Wrong(
        "shard_optimizer",
        "every rank does all of it",
        "def shard_optimizer(weights, gradient, state, lr, weight_decay=0.1, group=None):\n"
        "    m, v = (state.get(k, weights * 0) for k in ('first_moment', 'second_moment'))\n"
        "    step = state.get('step', 0) + 1\n"
        "    new, m, v = adamw_step(weights, gradient, m, v, step, lr=lr,\n"
        "                           weight_decay=weight_decay)\n"
        "    return new, {'step': step, 'first_moment': m, 'second_moment': v}\n",
        "your rank keeps `",
    ),
    *of(
        "shard_optimizer",
        STATE,
        (
            "only its own shard",
            "put all shards together",
            f"    return {WHOLE}",
            "    new, size = weights.clone(), len(mine)\n"
            "    place = slice(rank * size, rank * size + size)\n"
            "    new[place] = mine[: len(new[place])]\n    return new",
        ),
        ("padding left", "the padding behind", WHOLE, "ring_all_gather(mine, group)"),
        (
            "the state that it was given",
            "`state` was changed in place",
            'state = {"step": step, "first_moment": first, "second_moment": second}',
            "state.update(step=step, first_moment=first, second_moment=second)",
        ),
        ("no bias correction", "the weights after a step", "second, step, lr", "second, 10**6, lr"),
        ("steps not counted", "step 2", 'state.get("step", 0) + 1', "1"),
        (
            "state forgotten",
            "your step is that of an empty state",
            "first, second = (state.get(name, mine * 0) for name in "
            '("first_moment", "second_moment"))',
            "first = second = mine * 0",
            'state.get("step", 0) + 1',
            "1",
        ),
        ("divided again", "do not divide again", "mine, slope, first", "mine, slope / n, first"),
        (
            "summed again",
            "the weights after a step",
            CUT,
            f"{CUT}\n    dist.all_reduce(slope, group=group)",
        ),
        (
            "another rank's gradient",
            "the weights after a step",
            "shard_of(gradient, rank, n)",
            "shard_of(gradient, (rank + 1) % n, n)",
        ),
        (
            "no decay",
            "the weights after a step",
            "weight_decay=weight_decay\n",
            "weight_decay=0.0\n",
        ),
        ("moments swapped", "`first_moment`", '"first_moment": first', '"first_moment": second'),
        (
            "whole tensors on the wire",
            "shards alone",
            f"    return {WHOLE}",
            "    whole = torch.zeros(n * len(mine))\n"
            "    whole[rank * len(mine) : (rank + 1) * len(mine)] = mine\n"
            "    dist.all_reduce(whole, group=group)\n"
            "    return whole[: weights.numel()]",
        ),
        (
            "in place",
            "`weights` was changed in place",
            f"    return {WHOLE}",
            f"    weights.copy_({WHOLE})\n    return weights",
        ),
        (
            "refuses nothing",
            "a gradient of shape",
            "if weights.dim() != 1 or weights.shape != gradient.shape",
            "if False",
        ),
        ("refuses other shapes only", "weights of shape (2, 2)", "weights.dim() != 1 or ", ""),
        (
            "shards of unequal size",
            "3 ranks with 7 weights",
            CUT,
            "mine, slope = (t.tensor_split(n)[rank] for t in (weights, gradient))",
        ),
    ),
    Wrong(
        "fsdp_gather",
        "does no work: zeros",
        "def fsdp_gather(shard, shape, group=None):\n    return torch.zeros(shape)\n",
        "the weight",
    ),
    Wrong(
        "fsdp_gather",
        "does no work: its own shard, again and again",
        "def fsdp_gather(shard, shape, group=None):\n"
        "    n = dist.get_world_size(group)\n"
        "    return shard.repeat(n)[: math.prod(shape)].view(tuple(shape))\n",
        "this rank's own shard",
    ),
    Wrong(
        "fsdp_gather",
        "does no work: its shard",
        "def fsdp_gather(shard, shape, group=None):\n    return shard\n",
        "expected shape",
    ),
    *of(
        "fsdp_gather",
        GATHER,
        ("padding left", "the weight", GATHERED, "ring_all_gather(shard, group)"),
        ("flat", "your weight is flat", ".view(tuple(shape))", ""),
        (
            "cut at the wrong end",
            "3 ranks, a float32 weight of shape (5,)",
            "[:n_numbers]",
            "[-n_numbers:]",
        ),
        (
            "its own first",
            "begin with this rank's own",
            GATHERED,
            "torch.roll(ring_all_gather(shard, group), -dist.get_rank(group) * len(shard))"
            "[:n_numbers].view(tuple(shape))",
        ),
        (
            "reversed",
            "in the reverse order",
            GATHERED,
            "ring_all_gather(shard, group).view(n, -1).flip(0).flatten()[:n_numbers]"
            ".view(tuple(shape))",
        ),
        (
            "interleaved",
            "the weight",
            GATHERED,
            "ring_all_gather(shard, group).view(n, -1).T.flatten()[:n_numbers].view(tuple(shape))",
        ),
        (
            "only its own place",
            "the other ranks' shards are zeros",
            f"    return {GATHERED}",
            "    size, rank = len(shard), dist.get_rank(group)\n"
            "    whole = torch.zeros(n * size)\n"
            "    whole[rank * size : rank * size + size] = shard\n"
            "    return whole[:n_numbers].view(tuple(shape))",
        ),
        (
            "whole tensors on the wire",
            "the shard alone",
            f"    return {GATHERED}",
            "    size, rank = len(shard), dist.get_rank(group)\n"
            "    whole = torch.zeros(n * size)\n"
            "    whole[rank * size : rank * size + size] = shard\n"
            "    dist.all_reduce(whole, group=group)\n"
            "    return whole[:n_numbers].view(tuple(shape))",
        ),
        (
            "the average of the shards",
            "the weight",
            "ring_all_gather(shard, group)",
            "(ring_all_gather(shard, group) / n)",
        ),
        ("always float32", "expected float64, the dtype of the", GATHERED, f"{GATHERED}.float()"),
        (
            "zeros dropped",
            "your weight has lost zeros wherever they stood",
            f"    return {GATHERED}",
            "    whole = ring_all_gather(shard, group)\n"
            "    whole = whole[whole != 0]\n"
            "    whole = torch.cat([whole, whole.new_zeros(n_numbers - len(whole))])\n"
            "    return whole.view(tuple(shape))",
        ),
        (
            "refuses nothing",
            "a shard of shape",
            "if shard.shape != (math.ceil(n_numbers / n),)",
            "if False",
        ),
        (
            "takes what is too long",
            "a shard of shape (5,)",
            "shard.shape != (math.ceil(n_numbers / n),)",
            "shard.numel() * n < n_numbers",
        ),
        (
            "rank 0 gathers for itself",
            "rank 1",
            f"    return {GATHERED}",
            f"    whole = {GATHERED}\n"
            "    return whole if dist.get_rank(group) == 0 else torch.zeros(tuple(shape))",
        ),
        (
            "waits for a message that nobody sends",
            "rank",
            f"    return {GATHERED}",
            "    if dist.get_rank(group) == 0 and n > 1:\n"
            "        dist.recv(torch.empty(1), group=group, group_src=1)\n"
            f"    return {GATHERED}",
        ),
    ),
    Wrong(
        "fsdp_reduce",
        "does no work: zeros",
        "def fsdp_reduce(gradient, group=None):\n"
        "    size = -(-gradient.numel() // dist.get_world_size(group))\n"
        "    return torch.zeros(size, dtype=gradient.dtype)\n",
        "the shard of the average",
    ),
    Wrong(
        "fsdp_reduce",
        "does no work: the shard of its own gradient",
        "def fsdp_reduce(gradient, group=None):\n"
        "    return shard_of(gradient, dist.get_rank(group), dist.get_world_size(group))\n",
        "the rank's own gradient",
    ),
    Wrong(
        "fsdp_reduce",
        "does no work: its own gradient",
        "def fsdp_reduce(gradient, group=None):\n    return gradient.clone()\n",
        "expected shape",
    ),
    *of(
        "fsdp_reduce",
        BACK,
        ("the sum", "your shard is that of the sum", AVERAGE, "ring_reduce_scatter(padded, group)"),
        ("sums in half precision", "float16", WIDE, "flat"),
        (
            "divides before, in half precision",
            "2048",
            WIDE,
            "flat / n",
            AVERAGE,
            "ring_reduce_scatter(padded, group)",
        ),
        (
            "stays in float32",
            "expected float16, the dtype of the gradient",
            ".to(gradient.dtype)\n",
            "\n",
        ),
        (
            "always float32",
            "expected float64, the dtype of the",
            ".to(gradient.dtype)\n",
            ".float()\n",
        ),
        (
            "float64 through float32",
            "float64",
            "torch.promote_types(flat.dtype, torch.float32)",
            "torch.float32",
        ),
        ("a view alone", "with transposed gradients", "detach().flatten()", "detach().view(-1)"),
        ("no padding", "can't be cut into", PADDED, "padded = wide"),
        (
            "the rest forgotten",
            "expected shape",
            PADDED,
            "padded = wide[: len(wide) // n * n]",
        ),
        (
            "padding at the front",
            "your zeros stand in front",
            "(0, -len(wide) % n)",
            "(-len(wide) % n, 0)",
        ),
        (
            "the next rank's shard",
            "your shard is that of the next rank",
            PADDED,
            f"{PADDED}\n    padded = padded.view(n, -1).roll(-1, 0).flatten()",
        ),
        (
            "every n-th number",
            "your shard holds every n-th number",
            PADDED,
            f"{PADDED}\n    padded = padded.view(-1, n).T.flatten()",
        ),
        (
            "everybody sums everything",
            "`all_reduce`, which gives each rank all",
            f"    return {AVERAGE}",
            "    dist.all_reduce(padded, group=group)\n"
            "    size = len(padded) // n\n"
            "    return (padded[rank * size : rank * size + size] / n)",
        ),
        (
            "the whole average",
            "the whole average",
            f"    return {AVERAGE}",
            "    dist.all_reduce(wide, group=group)\n    return (wide.view(gradient.shape) / n)",
        ),
        (
            "in place",
            "`gradient` was changed in place",
            "    return",
            "    gradient.zero_()\n    return",
        ),
        (
            "shards of unequal size",
            "your shards have unequal sizes",
            f"    return {AVERAGE}",
            "    dist.all_reduce(wide, group=group)\n    return (wide.tensor_split(n)[rank] / n)",
        ),
    ),
]
WRONG += [
    Wrong(
        exercise,
        "the group is not used",
        code.replace("group=None):\n", "group=None):\n    group = None\n", 1),
        "`group` is ranks 1 and 3 of four",
    )
    for exercise, code in (
        ("ring_all_reduce", RING),
        ("ddp_step", STEP),
        ("shard_optimizer", STATE),
        ("fsdp_gather", GATHER),
        ("fsdp_reduce", BACK),
    )
]
EQUIVALENT: dict[tuple[str, str], str] = {
    ("fsdp_reduce", "swap arguments of `torch.promote_types(flat.dtype, torch.float32)`"): (
        "of two dtypes the wider one is the same in either order"
    ),
}
