"""Wrong answers of lab 05, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

SAMPLE = """def sample_next_token(
    logits, temperature=1.0, top_k=None, top_p=None, generator=None, min_p=None
):
    if not temperature >= 0:
        raise ValueError("temperature")
    if top_k is not None and top_k < 0:
        raise ValueError("top_k")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError("top_p")
    if min_p is not None and not 0 <= min_p <= 1:
        raise ValueError("min_p")
    if logits.dim() != 2:
        raise ValueError("logits")
    if not bool(logits.amax(-1).isfinite().all()):
        raise ValueError("rows")
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits - logits.amax(-1, keepdim=True)
    logits = logits / max(temperature, 1e-30)
    if top_k:
        values, places = logits.topk(min(top_k, logits.shape[-1]))
        logits = torch.full_like(logits, -torch.inf).scatter(-1, places, values)
    p = logits.softmax(-1)
    if top_p is not None:
        ordered, order = p.sort(descending=True, dim=-1)
        before = ordered.cumsum(-1) - ordered
        ordered = ordered.masked_fill(before >= top_p, 0)
        p = torch.zeros_like(p).scatter(-1, order, ordered)
    if min_p is not None:
        p = p.masked_fill(p < min_p * p.amax(-1, keepdim=True), 0)
    return torch.multinomial(p, 1, generator=generator).squeeze(-1)
"""

TOP_K = """        values, places = logits.topk(min(top_k, logits.shape[-1]))
        logits = torch.full_like(logits, -torch.inf).scatter(-1, places, values)
"""
TOP_P = """        ordered, order = p.sort(descending=True, dim=-1)
        before = ordered.cumsum(-1) - ordered
        ordered = ordered.masked_fill(before >= top_p, 0)
        p = torch.zeros_like(p).scatter(-1, order, ordered)
"""
MIN_P = """    if min_p is not None:
        p = p.masked_fill(p < min_p * p.amax(-1, keepdim=True), 0)
"""
FINITE = """    if not bool(logits.amax(-1).isfinite().all()):
        raise ValueError("rows")
"""
GREEDY = """    if temperature == 0:
        return logits.argmax(-1)
"""
DRAW = "torch.multinomial(p, 1, generator=generator).squeeze(-1)"

UPDATE = """def update_cache(keys, values, new_keys, new_values, length):
    end = length + new_keys.shape[2]
    if end > keys.shape[2]:
        raise ValueError("no room")
    keys[:, :, length:end] = new_keys
    values[:, :, length:end] = new_values
    return keys[:, :, :end], values[:, :, :end]
"""
WRITE = """    keys[:, :, length:end] = new_keys
    values[:, :, length:end] = new_values
"""
GIVE = "return keys[:, :, :end], values[:, :, :end]"

SIGNATURE = """def generate_batch(
    model, prompts, max_new_tokens, *, pad_id, end_id,
    temperature=0.0, top_k=None, top_p=None, min_p=None, generator=None,
):
"""
BATCH = (
    SIGNATURE
    + """    if not all(prompts):
        raise ValueError("an empty prompt")
    T = max(map(len, prompts))
    token_ids = torch.tensor([[pad_id] * (T - len(p)) + p for p in prompts])
    keep = torch.tensor([[False] * (T - len(p)) + [True] * len(p) for p in prompts])
    out = generate(
        model, token_ids, max_new_tokens, end_id=end_id, temperature=temperature,
        top_k=top_k, top_p=top_p, min_p=min_p, generator=generator, attention_mask=keep,
    )
    rows = out[:, T:].tolist()
    return [r[: r.index(end_id)] if end_id in r else r for r in rows]
"""
)
CUT = "return [r[: r.index(end_id)] if end_id in r else r for r in rows]"

# The same without `generate`: a loop of one's own that reads the whole batch anew.
LOOP = (
    SIGNATURE
    + """    if not all(prompts):
        raise ValueError("an empty prompt")
    T = max(map(len, prompts))
    token_ids = torch.tensor([[pad_id] * (T - len(p)) + p for p in prompts])
    keep = torch.tensor([[False] * (T - len(p)) + [True] * len(p) for p in prompts])
    done = torch.zeros(len(prompts), dtype=torch.bool)
    for _ in range(max_new_tokens):
        positions = (keep.cumsum(-1) - 1).clamp(min=0)
        logits = model(token_ids, positions=positions, attention_mask=keep)[:, -1]
        token = sample_next_token(logits, temperature, top_k, top_p, generator, min_p)
        token_ids = torch.cat([token_ids, token[:, None]], dim=1)
        keep = torch.cat([keep, keep.new_ones(len(prompts), 1)], dim=1)
        done |= token == end_id
        if done.all():
            break
    rows = token_ids[:, T:].tolist()
    return [r[: r.index(end_id)] if end_id in r else r for r in rows]
"""
)

SPECULATE = """def speculative_decode(
    target, draft, token_ids, max_new_tokens, *,
    n_draft=4, temperature=1.0, generator=None, end_id=None,
):
    if token_ids.dim() != 1 or len(token_ids) < 1 or n_draft < 1 or max_new_tokens < 1:
        raise ValueError("settings")
    if not temperature >= 0:
        raise ValueError("temperature")

    def shares(logits):
        if not bool(logits.amax(-1).isfinite().all()):
            raise ValueError("bad")
        if temperature == 0:
            return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        return (logits / temperature).softmax(-1)

    def draw(p):
        return torch.multinomial(p, 1, generator=generator)

    ids, end = token_ids, len(token_ids) + max_new_tokens
    n_passes = n_accepted = 0
    while len(ids) < end:
        start, qs = len(ids), []
        for _ in range(min(n_draft, end - start - 1)):
            q = shares(draft(ids[None])[0, -1])
            ids = torch.cat([ids, draw(q)])
            qs.append(q)
        p = shares(target(ids[None])[0, start - 1 :])
        n_passes += 1
        rest = p[-1]
        for k, q in enumerate(qs):
            token = ids[start + k]
            if torch.rand((), generator=generator) >= p[k, token] / q[token]:
                ids, rest = ids[: start + k], (p[k] - q).clamp(min=0)
                break
            n_accepted += 1
            if token == end_id:
                return Speculation(ids[: start + k + 1], n_passes, n_accepted)
        ids = torch.cat([ids, draw(rest)])
        if ids[-1] == end_id:
            break
    return Speculation(ids, n_passes, n_accepted)
"""
ACCEPT = "torch.rand((), generator=generator) >= p[k, token] / q[token]"

QUANTIZE = """def quantize_int8(weight):
    if weight.dim() != 2:
        raise ValueError("weight must be (N, M)")
    if not weight.isfinite().all():
        raise ValueError("weight holds NaN")
    weight = weight.float()
    largest = weight.abs().amax(1, keepdim=True)
    scale = torch.where(largest > 0, largest / 127, 1.0)
    codes = (weight / scale).round()
    return codes.to(torch.int8), scale
"""


def changed(code: str, old: str, new: str) -> str:
    """Return the code with one place changed; it must be there."""
    assert code.count(old) >= 1, f"{old!r} is not in the code"
    return code.replace(old, new)


def variants(exercise: str, code: str, *rows: tuple[str, str, str, str]) -> list[Wrong]:
    return [Wrong(exercise, why, changed(code, old, new), words) for why, old, new, words in rows]


WRONG = [
    *variants(
        "sample_next_token",
        SAMPLE,
        ("multiplied", "logits / max(temperature, 1e-30)", "logits * temperature", "multiplied"),
        (
            "no temperature",
            "    logits = logits / max(temperature, 1e-30)\n",
            "",
            "your shares are those of temperature 1",
        ),
        (
            "temperature after the softmax",
            "    logits = logits / max(temperature, 1e-30)\n",
            "    logits = (logits.softmax(-1) / temperature).log()\n",
            "your shares are those of temperature 1",
        ),
        ("softmax over rows", "softmax(-1)", "softmax(0)", "last axis"),
        ("always the best", DRAW, "p.argmax(-1)", "the most likely token: draw"),
        ("a sign", "logits = logits - logits.amax(", "logits = -logits - (-logits).amax(", "sign"),
        ("overflow", "logits.softmax(-1)", "logits.exp()", "of shares"),
        ("a column", ".squeeze(-1)", "", "squeeze"),
        ("temperature 0: the first row", "argmax(-1)", "argmax(0)", "rows of logits"),
        ("temperature 0: the least likely", "argmax(-1)", "argmin(-1)", "least likely"),
        (
            "temperature 0 draws",
            "        return logits.argmax(-1)\n",
            "        temperature = 1.0\n",
            "takes the most likely",
        ),
        (
            "top_k ignored",
            "top_k:\n        v",
            "False:\n        v",
            "your draws come from all tokens, with top_k=",
        ),
        ("one too many", "topk(min(top_k, ", "topk(min(top_k + 1, ", "you keep one token more"),
        (
            "one too few",
            "topk(min(top_k, ",
            "topk(min(max(1, top_k - 1), ",
            "you keep one token less",
        ),
        (
            "the smallest k",
            "topk(min(top_k, logits.shape[-1]))",
            "topk(min(top_k, logits.shape[-1]), largest=False)",
            "least likely",
        ),
        (
            "places, not ids",
            TOP_K,
            "        logits = logits.topk(min(top_k, logits.shape[-1])).values\n",
            "places in the sorted row",
        ),
        (
            "even shares",
            "scatter(-1, places, values)",
            "scatter(-1, places, torch.zeros_like(values))",
            "your tokens are drawn alike",
        ),
        (
            "equals kept",
            TOP_K,
            "        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]\n"
            "        logits = logits.masked_fill(logits < least, -torch.inf)\n",
            "all its equals",
        ),
        ("k beyond V", "min(top_k, logits.shape[-1])", "top_k", "beyond the vocabulary"),
        (
            "top_p ignored",
            "top_p is not None:\n        o",
            "False:\n        o",
            "your draws come from all tokens, with top_p=",
        ),
        (
            "top_p one too few",
            "ordered.cumsum(-1) - ordered\n",
            "ordered.cumsum(-1)\n        before[:, 0] = 0\n",
            "and yours one less",
        ),
        (
            "nothing left",
            "ordered.cumsum(-1) - ordered",
            "ordered.cumsum(-1)",
            "reaches top_p stay",
        ),
        (
            "top_p one too many",
            "before >= top_p",
            "before - ordered >= top_p",
            "and yours one more",
        ),
        ("border", "before >= top_p", "before > top_p", "exactly half"),
        ("ascending", "sort(descending=True, dim=-1)", "sort(dim=-1)", "sort descending"),
        (
            "never put back",
            "torch.zeros_like(p).scatter(-1, order, ordered)",
            "ordered",
            "places in the sorted row",
        ),
        (
            "put back the wrong way",
            "torch.zeros_like(p).scatter(-1, order, ordered)",
            "ordered.gather(-1, order)",
            "keeps",
        ),
        (
            "one order for all rows",
            "scatter(-1, order, ordered)",
            "scatter(-1, order[:1].expand_as(order), ordered)",
            "order of its own",
        ),
        ("top_p as min_p", "before >= top_p", "ordered < top_p * ordered[:, :1]", "min-p"),
        ("min_p ignored", MIN_P, "", "your draws come from all tokens, with min_p="),
        (
            "min_p of one",
            "min_p * p.amax(-1, keepdim=True)",
            "min_p",
            "you compare shares with min_p=",
        ),
        ("min_p border", "p < min_p", "p <= min_p", "two tokens of five being the most likely,"),
        (
            "largest of the batch",
            "p.amax(-1, keepdim=True)",
            "p.amax()",
            "rows with the largest shares 0.5 and 0.9, min_p=0.3",
        ),
        ("min_p of the smallest", "p.amax(", "p.amin(", "min_p"),
        ("min_p reversed", "p < min_p", "p >= min_p", "temperature"),
        (
            "min_p before top_p",
            "    if top_p is not None:\n        ordered",
            MIN_P
            + "        p = p / p.sum(-1, keepdim=True)\n    if top_p is not None:\n        ordered",
            "your min_p comes first",
        ),
        (
            "temperature last",
            "    logits = logits / max(temperature, 1e-30)\n",
            "    heat, temperature = temperature, 1.0\n",
            "your shares are those of temperature 1",
        ),
        ("generator ignored", "1, generator=generator", "1", "two equal generators gave different"),
        (
            "a generator of its own",
            "generator=generator",
            "generator=torch.Generator().manual_seed(0)",
            "two different generators gave equal",
        ),
        ("in place", "logits = logits - logits.amax", "logits -= logits.amax", "in place"),
        ("negative is fine", "not temperature >= 0", "False", "temperature"),
        ("NaN is fine", "not temperature >= 0", "temperature < 0", "NaN"),
        ("top_k=-1 is fine", "top_k < 0", "top_k < -1", "a negative top_k"),
        ("top_p=0 is fine", "not 0 < top_p", "not 0 <= top_p", "top_p=0"),
        ("top_p above 1", "top_p <= 1", "top_p <= 2", "above 1"),
        ("min_p above 1", "min_p <= 1", "min_p <= 2", "above 1"),
        ("min_p below 0", "not 0 <= min_p", "not -1 <= min_p", "below 0"),
        ("one row without axis", "if logits.dim() != 2", "if False", "without rows"),
        ("wrong error", 'ValueError("top_k")', 'TypeError("top_k")', "raise a ValueError"),
    ),
    Wrong(
        "sample_next_token",
        "the filter before the temperature",
        SAMPLE.replace("    logits = logits / max(temperature, 1e-30)\n", "").replace(
            "    return torch", "    p = p ** (1 / temperature)\n    return torch"
        ),
        "from before the temperature",
    ),
    Wrong(
        "sample_next_token",
        "top_p of the whole",
        SAMPLE.replace(
            "    if top_k:\n        v",
            "    whole = logits.softmax(-1)\n    if top_k:\n        v",
        ).replace(
            TOP_P,
            TOP_P.replace("ordered, order = p.sort", "ordered, order = whole.sort").replace(
                "p = torch.zeros_like(p).scatter(-1, order, ordered)",
                "p = p * (torch.zeros_like(p).scatter(-1, order, ordered) > 0)",
            ),
        ),
        "what top_k has left",
    ),
    Wrong(
        "sample_next_token",
        "one filter only",
        SAMPLE.replace(
            "    if min_p is not None:\n        p", "    elif min_p is not None:\n        p"
        ),
        "your result is the one of top_p alone",
    ),
    *variants(
        "update_cache",
        UPDATE,
        (
            "copies",
            WRITE,
            "    keys = torch.cat([keys[:, :, :length], new_keys], 2)\n"
            "    values = torch.cat([values[:, :, :length], new_values], 2)\n",
            "torch.cat makes a copy",
        ),
        (
            "writes into a clone",
            WRITE,
            "    keys, values = keys.clone(), values.clone()\n" + WRITE,
            "the buffers are as they were",
        ),
        ("overwrites the first", "length:end] = ", ": end - length] = ", "overwrite the first"),
        ("overwrites the last", "length:end] = ", "length - 1 : end - 1] = ", "at `length`"),
        (
            "leaves one empty",
            WRITE,
            "    at = slice(min(length + 1, keys.shape[2] - end + length), None)\n"
            "    keys[:, :, at][:, :, : end - length] = new_keys\n"
            "    values[:, :, at][:, :, : end - length] = new_values\n",
            "you leave one place empty",
        ),
        ("at the end", "length:end] = ", "length - end :] = ", "end of the room"),
        ("wrong axis", "[:, :, length:end] = ", "[:, length:end] = ", "new tokens behind"),
        (
            "keys alone",
            "    values[:, :, length:end] = new_values\n",
            "",
            "left the values as they were",
        ),
        (
            "swapped in writing",
            WRITE,
            WRITE.replace("new_keys", "x")
            .replace("new_values", "new_keys")
            .replace("x", "new_values"),
            "your function wrote the new keys to the values",
        ),
        (
            "values hold keys",
            "] = new_values",
            "] = new_keys",
            "your function wrote new_keys to the values",
        ),
        (
            "only the first new token",
            "length:end] = new_keys",
            "length] = new_keys[:, :, 0]",
            "keys after",
        ),
        (
            "clears the rest",
            WRITE,
            WRITE + "    keys[:, :, end:] = 0\n    values[:, :, end:] = 0\n",
            "you cleared what is not filled yet",
        ),
        ("the whole buffer", GIVE, "return keys, values", "whole buffer"),
        ("the new ones alone", GIVE, "return new_keys, new_values", "alone"),
        (
            "the earlier ones alone",
            GIVE,
            "return keys[:, :, :length], values[:, :, :length]",
            "you return what was held before",
        ),
        (
            "returned swapped",
            GIVE,
            "return values[:, :, :end], keys[:, :, :end]",
            "your values come first",
        ),
        ("returns copies", GIVE, GIVE.replace(":end]", ":end].clone()"), "views"),
        (
            "values are copied",
            GIVE,
            GIVE + ".contiguous().clone()",
            "views",
        ),
        ("returns keys", GIVE, "return keys[:, :, :end]", "return two tensors"),
        ("returns nothing", GIVE, "return None", "return two tensors"),
        ("no refusal", "if end > keys.shape[2]", "if False", "need more than room"),
        ("refuses the last place", "end > keys", "end >= keys", "no room"),
        ("refuses too late", "end > keys.shape[2]", "length > keys.shape[2]", "need more than"),
        ("wrong error", "ValueError", "IndexError", "raise a ValueError"),
        (
            "new ones changed",
            WRITE,
            WRITE + "    new_keys.zero_()\n",
            "new_keys after the call",
        ),
    ),
    *variants(
        "generate_batch",
        BATCH,
        (
            "padding attended",
            ", attention_mask=keep",
            "",
            "your responses are those of rows that attend to padding",
        ),
        (
            "padded on the right",
            "[pad_id] * (T - len(p)) + p",
            "p + [pad_id] * (T - len(p))",
            "otherwise",
        ),
        (
            "all on the right",
            "[pad_id] * (T - len(p)) + p for p in prompts])\n"
            "    keep = torch.tensor([[False] * (T - len(p)) + [True] * len(p)",
            "p + [pad_id] * (T - len(p)) for p in prompts])\n"
            "    keep = torch.tensor([[True] * len(p) + [False] * (T - len(p))",
            "pad on the left",
        ),
        (
            "mask upside down",
            "[[False] * (T - len(p)) + [True] * len(p)",
            "[[True] * (T - len(p)) + [False] * len(p)",
            "ValueError: row",
        ),
        (
            "mask from the padding's id",
            "keep = torch.tensor([[False] * (T - len(p)) + [True] * len(p) for p in prompts])",
            "keep = token_ids != pad_id",
            "pad_id equal to end_id",
        ),
        (
            "with prompts",
            "out[:, T:].tolist()",
            "[o[T - len(p):].tolist() for o, p in zip(out, prompts)]",
            "your responses begin with their prompts",
        ),
        ("with padding", "out[:, T:]", "out", "your responses begin with padding and prompt"),
        (
            "from the prompt's length on",
            "out[:, T:].tolist()",
            "[o[len(p):].tolist() for o, p in zip(out, prompts)]",
            "starts at column T",
        ),
        (
            "sorted by length",
            "    T = max",
            "    prompts = sorted(prompts, key=len)\n    T = max",
            "in the order",
        ),
        (
            "the end token kept",
            "r.index(end_id)]",
            "r.index(end_id) + 1]",
            "your responses end with the end token",
        ),
        (
            "goes on after the end",
            CUT,
            "return rows",
            "behind its end token",
        ),
        (
            "the last one dropped",
            CUT,
            "return [r[: r.index(end_id)] if end_id in r else r[:-1] for r in rows]",
            "otherwise",
        ),
        (
            "cut at the last end",
            "r.index(end_id)]",
            "len(r) - 1 - r[::-1].index(end_id)]",
            "behind its end token",
        ),
        ("tensors", "return [r[", "return [torch.tensor(r)[", "list of token ids"),
        (
            "temperature lost",
            "temperature=temperature,",
            "",
            "at temperature 50, where almost any token may come, your responses are the most "
            "likely ones",
        ),
        ("generator lost", "generator=generator, ", "", "pass the generator on"),
        ("top_k lost", "top_k=top_k, ", "", "pass top_k on"),
        ("top_p lost", "top_p=top_p, ", "", "pass top_p on"),
        ("min_p lost", "min_p=min_p, ", "", "pass min_p on"),
        ("one too many", "token_ids, max_new_tokens,", "token_ids, max_new_tokens + 1,", "max_new"),
        (
            "one too few",
            "token_ids, max_new_tokens,",
            "token_ids, max(1, max_new_tokens - 1),",
            "otherwise",
        ),
        (
            "prompts changed",
            "    T = max",
            "    [p.append(end_id) for p in prompts]\n    T = max",
            "your function changed the prompts in place",
        ),
    ),
    Wrong(
        "generate_batch",
        "one row at a time",
        SIGNATURE
        + """    rows = []
    for p in prompts:
        if not p:
            raise ValueError("an empty prompt")
        out = generate(
            model, torch.tensor([p]), max_new_tokens, end_id=end_id, temperature=temperature,
            top_k=top_k, top_p=top_p, min_p=min_p, generator=generator,
        )
        r = out[0, len(p):].tolist()
        rows.append(r[: r.index(end_id)] if end_id in r else r)
    return rows
""",
        "at once",
    ),
    Wrong(
        "generate_batch",
        "end tokens taken out",
        changed(
            changed(BATCH, "end_id=end_id, temp", "temp"),
            CUT,
            "return [[i for i in r if i != end_id] for r in rows]",
        ),
        "leave out the end token and go on behind it",
    ),
    *variants(
        "generate_batch",
        LOOP,
        (
            "loop: new tokens at the wrong place",
            "positions = (keep.cumsum(-1) - 1).clamp(min=0)",
            "now = torch.arange(token_ids.shape[1]).expand_as(token_ids)\n"
            "        positions = (keep.cumsum(-1) - 1).clamp(min=0).where(now < T, now)",
            "positions of new tokens",
        ),
        (
            "loop: no mask",
            "keep)[:, -1]",
            "None)[:, -1]",
            "your responses are those of rows that attend to padding",
        ),
        ("loop: new tokens hidden", "keep.new_ones", "keep.new_zeros", "otherwise"),
        (
            "loop: always greedy",
            "(logits, temperature,",
            "(logits, 0.0,",
            "at temperature 50, where almost any token may come, your responses are the most "
            "likely ones",
        ),
        (
            "loop: stops with the first row",
            "if done.all()",
            "if done.any()",
            "each response up to its first end token,",
        ),
        (
            "loop: looks for the end in the prompt",
            "    rows = token_ids[:, T:].tolist()\n    " + CUT,
            "    rows = token_ids.tolist()\n"
            "    return [(r[: r.index(end_id)] if end_id in r else r)[T:] for r in rows]",
            "end tokens in prompts",
        ),
    ),
    *variants(
        "speculative_decode",
        SPECULATE,
        ("always accepts", ACCEPT, "False", "your text follows the draft where a proposal stands"),
        ("draws from p", "(p[k] - q).clamp(min=0)", "p[k]", "max(0, p - q)"),
        ("draws from q", "(p[k] - q).clamp(min=0)", "q", "from the draft again"),
        (
            "inverted",
            "p[k, token] / q[token]",
            "q[token] / p[k, token]",
            "you accept by chance q / p",
        ),
        ("no ratio", "p[k, token] / q[token]", "p[k, token]", "you accept by chance p alone"),
        ("certain", ACCEPT, "p[k, token] < q[token]", "you never accept where p < q"),
        (
            "compares with the best",
            ACCEPT,
            "token != p[k].argmax()",
            "you accept the target's most likely token alone",
        ),
        ("size of the difference", "(p[k] - q).clamp(min=0)", "(p[k] - q).abs()", "|p - q|"),
        ("too much", "(p[k] - q).clamp(min=0)", "(q - p[k]).clamp(min=0)", "too much of"),
        (
            "blind",
            "draft(ids[None])[0, -1]",
            "draft(ids[None, :start])[0, -1]",
            "see that the draft reads each proposal before it makes the next",
        ),
        ("a place too early", "[0, start - 1 :]", "[0, max(0, start - 2) : -1]", "follow"),
        (
            "no token of the target where all are kept",
            "        ids = torch.cat([ids, draw(rest)])\n",
            "        if len(ids) < start + len(qs) or not qs:\n"
            "            ids = torch.cat([ids, draw(rest)])\n",
            "one more",
        ),
        (
            "one pass for each proposal",
            "            q = shares(draft(ids[None])[0, -1])\n",
            "            q = shares(draft(ids[None])[0, -1])\n            target(ids[None])\n",
            "the target read",
        ),
        ("too many", "min(n_draft, end - start - 1)", "n_draft", "max_new_tokens"),
        ("passes not counted", "n_passes += 1", "n_passes = 1", "n_target_passes"),
        (
            "the target's tokens counted",
            "n_passes, n_accepted)\n",
            "n_passes, len(ids) - len(token_ids))\n",
            "n_accepted",
        ),
        (
            "accepted before the test",
            "            token = ids[start + k]\n",
            "            token = ids[start + k]\n            n_accepted += 1\n",
            "n_accepted",
        ),
        (
            "new tokens alone",
            "return Speculation(ids, ",
            "return Speculation(ids[len(token_ids):], ",
            "token_ids is to begin with the prompt",
        ),
        (
            "ids alone",
            "return Speculation(ids, n_passes, n_accepted)",
            "return ids",
            "return Speculation",
        ),
        (
            "a batch axis",
            "return Speculation(ids, ",
            "return Speculation(ids[None], ",
            "(T + new,)",
        ),
        (
            "counts as tensors",
            "n_passes = n_accepted = 0",
            "n_passes = n_accepted = torch.tensor(0)",
            "of type int",
        ),
        (
            "temperature lost",
            "(logits / temperature).softmax(-1)",
            "logits.softmax(-1)",
            "your text is that of temperature 1",
        ),
        ("temperature multiplied", "logits / temperature", "logits * temperature", "divide"),
        (
            "temperature 0 divides",
            "if temperature == 0",
            "if False",
            "temperature 0",
        ),
        (
            "end token dropped",
            "return Speculation(ids[: start + k + 1],",
            "return Speculation(ids[: start + k],",
            "your text stops before end token",
        ),
        ("end goes on", "if token == end_id", "if False", "stops after"),
        (
            "the target's end goes on",
            "        if ids[-1] == end_id:\n            break\n",
            "",
            "stops after",
        ),
        (
            "all proposals kept after the end",
            "ids[: start + k + 1]",
            "ids",
            "stops after",
        ),
        (
            "generator lost in the draw",
            "multinomial(p, 1, generator=generator)",
            "multinomial(p, 1)",
            "generator",
        ),
        ("no refusal", "n_draft < 1", "n_draft < 0", "n_draft=0"),
        ("no new tokens", "max_new_tokens < 1", "max_new_tokens < 0", "max_new_tokens=0"),
        ("no prompt", "len(token_ids) < 1", "False", "an empty prompt"),
        ("two axes", "token_ids.dim() != 1", "token_ids.dim() > 2", "(1, T)"),
        (
            "one too few",
            "while len(ids) < end:",
            "while len(ids) < end - 1:",
            "got 16 new tokens",
        ),
    ),
    Wrong(
        "speculative_decode",
        "one number for all",
        SPECULATE.replace(
            "        for k, q in enumerate(qs):",
            "        u = torch.rand((), generator=generator)\n        for k, q in enumerate(qs):",
        ).replace("torch.rand((), generator=generator) >=", "u >="),
        "number of its own",
    ),
    Wrong(
        "speculative_decode",
        "without the draft",
        SPECULATE.replace("min(n_draft, end - start - 1)", "0"),
        "the target read",
    ),
    Wrong(
        "speculative_decode",
        "goes on after a refusal",
        SPECULATE.replace(
            "ids, rest = ids[: start + k], (p[k] - q).clamp(min=0)\n                break\n",
            "ids[start + k] = draw((p[k] - q).clamp(min=0))[0]\n                continue\n",
        ),
        "ends the round",
    ),
    *variants(
        "quantize_int8",
        QUANTIZE,
        ("per tensor", ".amax(1, keepdim=True)", ".amax()", "whole matrix"),
        (
            "per tensor, in the right shape",
            "amax(1, keepdim=True)",
            "amax().expand(len(weight), 1)",
            "a row of zeros has the scale",
        ),
        ("per column", "amax(1, ", "amax(0, ", "each column"),
        (
            "no axis kept",
            "return codes.to(torch.int8), scale",
            "return codes.to(torch.int8), scale[:, 0]",
            "keepdim",
        ),
        ("no rounding", ".round()", "", "the largest magnitude of a row has the code"),
        ("rounded down", ".round()", ".floor()", "rounded down"),
        ("rounded up", ".round()", ".ceil()", "the largest magnitude of a row has the code"),
        ("no magnitude", "weight.abs().amax", "weight.amax", "magnitude"),
        ("128", "largest / 127", "largest / 128", "a row of zeros changes nothing for the"),
        ("255", "largest / 127", "largest / 255", "a row of zeros changes nothing for the"),
        ("no division", "largest / 127", "largest", "a row of zeros changes nothing for the"),
        (
            "mean",
            "amax(1, keepdim=True)",
            "mean(1, keepdim=True)",
            "a row of zeros changes nothing for the",
        ),
        (
            "std",
            "weight.abs().amax(1, keepdim=True)",
            "weight.std(1, keepdim=True, correction=0)",
            "a row of zeros changes nothing for the",
        ),
        (
            "inverse",
            "return codes.to(torch.int8), scale",
            "return codes.to(torch.int8), 1 / scale",
            "a row of zeros changes nothing for the",
        ),
        (
            "swapped",
            "return codes.to(torch.int8), scale",
            "return scale, codes.to(torch.int8)",
            "your scale comes first",
        ),
        ("codes in float", "codes.to(torch.int8)", "codes", "codes are to be int8, got"),
        (
            "uint8",
            "codes.to(torch.int8)",
            "(codes + 128).to(torch.uint8)",
            "codes are to be int8, got",
        ),
        ("int32", "torch.int8", "torch.int32", "codes are to be int8, got"),
        ("NaN", "torch.where(largest > 0, largest / 127, 1.0)", "largest / 127", "zeros"),
        ("zero scale", "127, 1.0)", "127, 0.0)", "zeros"),
        (
            "a floor under the scale",
            "torch.where(largest > 0, largest / 127, 1.0)",
            "(largest / 127).clamp(min=1e-8)",
            "has the scale 1",
        ),
        (
            "something added",
            "torch.where(largest > 0, largest / 127, 1.0)",
            "torch.where(largest > 1e-8, largest / 127, 1.0)",
            "tiny",
        ),
        (
            "in place",
            "codes = (weight / scale)",
            "codes = weight.div_(scale)",
            "the weight after the call",
        ),
        (
            "multiplied",
            "weight / scale",
            "weight * scale",
            "the largest magnitude of a row has the code",
        ),
        (
            "past the border",
            "(weight / scale).round()",
            "(weight / scale * 2).round()",
            "the largest magnitude of a row has the code",
        ),
        (
            "scale in float64",
            "return codes.to(torch.int8), scale",
            "return codes.to(torch.int8), scale.double()",
            "float32",
        ),
        ("any shape", "if weight.dim() != 2", "if weight.dim() < 2", "three axes"),
        ("NaN quantised", "not weight.isfinite().all()", "False", "that holds"),
        ("infinity quantised", "not weight.isfinite().all()", "weight.isnan().any()", "holds inf"),
        ("one row", "if weight.dim() != 2", "if weight.dim() > 2", "without rows"),
        (
            "dequantised",
            "return codes.to(torch.int8), scale",
            "return codes * scale, scale",
            "codes are to be int8, got",
        ),
    ),
]

WRONG += [
    *variants(
        "sample_next_token",
        SAMPLE,
        ("divides by any temperature", "max(temperature, 1e-30)", "temperature", "near zero"),
        (
            "non-finite rows are drawn from",
            FINITE,
            "",
            "of 64 holds nan",
        ),
        (
            "the first row alone is looked at",
            "logits.amax(-1).isfinite().all()",
            "logits[0].amax(-1).isfinite()",
            "of 64 holds nan",
        ),
        (
            "infinity is refused, NaN is not",
            "logits.amax(-1).isfinite().all()",
            "not logits.isposinf().any()",
            "of 64 holds nan",
        ),
        (
            "any -infinity is refused",
            "logits.amax(-1).isfinite().all()",
            "logits.isfinite().all()",
            "ValueError: rows",
        ),
        (
            "greedy takes NaN",
            FINITE + GREEDY,
            GREEDY + FINITE,
            "of 64 holds nan",
        ),
        (
            "top_k of 0 keeps one",
            "    if top_k:\n",
            "    if top_k is not None:\n        top_k = max(1, top_k)\n",
            "top_k=0",
        ),
        ("top_p of 1 keeps one", "before >= top_p", "before >= top_p % 1", "of shares"),
        (
            "min_p in logits",
            "p < min_p * p.amax(-1, keepdim=True)",
            "p.log() < min_p * p.log().amax(-1, keepdim=True)",
            "of shares",
        ),
        (
            "rows share a draw",
            DRAW,
            "torch.multinomial(p[:1], 1, generator=generator).expand(len(p), 1).squeeze(-1)",
            "2,000 equal rows",
        ),
        ("squeezes every axis", ".squeeze(-1)\n", ".squeeze()\n", "rows of logits"),
        ("int32", DRAW, DRAW + ".int()", "int64"),
        (
            "changes the logits at temperature 0",
            "        return logits.argmax(-1)\n",
            "        logits -= logits.amax(-1, keepdim=True)\n        return logits.argmax(-1)\n",
            "in place",
        ),
        ("three axes are fine", "if logits.dim() != 2", "if logits.dim() < 2", "logits (A, B, V)"),
        (
            "nucleus of the whole batch",
            "p.sort(descending=True, dim=-1)",
            "p.mean(0, keepdim=True).expand_as(p).sort(descending=True, dim=-1)",
            "temperature",
        ),
        (
            "softmax twice",
            "    p = logits.softmax(-1)\n",
            "    p = logits.softmax(-1).softmax(-1)\n",
            "at temperature",
        ),
        (
            "drawn without chance beyond the first two",
            DRAW,
            "p.where(p >= p.topk(2).values[:, 1:], 0).multinomial(1, generator=generator)[:, 0]",
            "at temperature",
        ),
    ),
    *variants(
        "update_cache",
        UPDATE,
        (
            "written before it is refused",
            UPDATE[UPDATE.index("    end =") : UPDATE.index("    return")],
            "    end = length + new_keys.shape[2]\n    room = keys.shape[2] - length\n"
            "    keys[:, :, length:end] = new_keys[:, :, :room]\n"
            "    values[:, :, length:end] = new_values[:, :, :room]\n"
            "    if end > keys.shape[2]:\n        raise ValueError('no room')\n",
            "leave them as before",
        ),
        (
            "first row alone",
            "keys[:, :, length:end] = new_keys",
            "keys[0, :, length:end] = new_keys[0]",
            "keys after",
        ),
        ("all rows as the first", "= new_values", "= new_values[:1]", "values after"),
        ("all heads as the first", "= new_keys", "= new_keys[:, :1]", "keys after"),
        (
            "one new token at a time",
            "    end = length",
            "    if new_keys.shape[2] > 1:\n        raise TypeError('one')\n    end = length",
            "new tokens behind",
        ),
        ("adds", "length:end] = new_keys", "length:end] += new_keys", "keys after"),
        ("backwards", "= new_keys", "= new_keys.flip(2)", "keys after"),
        (
            "a ring",
            '    if end > keys.shape[2]:\n        raise ValueError("no room")\n',
            "    length %= keys.shape[2]\n",
            "need more",
        ),
        (
            "contiguous copies",
            GIVE,
            "return keys[:, :, :end].contiguous(), values[:, :, :end].contiguous()",
            "views",
        ),
    ),
    *variants(
        "generate_batch",
        BATCH,
        (
            "one prompt gives nothing",
            "    T = max",
            "    if len(prompts) == 1:\n        return [[]]\n    T = max",
            "1 prompts",
        ),
        (
            "an empty response is None",
            CUT,
            "return [(r[: r.index(end_id)] if end_id in r else r) or None for r in rows]",
            "a response is a list of token ids of type",
        ),
        (
            "end tokens at the first place are kept",
            CUT,
            "return [r[: r.index(end_id, 1)] if end_id in r[1:] else r for r in rows]",
            "end token",
        ),
        (
            "prompts padded in place",
            "    token_ids = torch.tensor([[pad_id] * (T - len(p)) + p for p in prompts])\n"
            "    keep = torch.tensor([[False] * (T - len(p)) + [True] * len(p) "
            "for p in prompts])\n",
            "    keep = torch.tensor([[False] * (T - len(p)) + [True] * len(p) for p in prompts])\n"
            "    for p in prompts:\n        p[:0] = [pad_id] * (T - len(p))\n"
            "    token_ids = torch.tensor(prompts)\n",
            "changed the prompts in place",
        ),
        ("a tuple for each", "return [r[", "return [tuple(r)[", "list of token ids"),
        (
            "mask of the first row for all",
            "attention_mask=keep",
            "attention_mask=keep[:1].expand_as(keep)",
            "otherwise",
        ),
        (
            "another error for an empty prompt",
            'ValueError("an empty prompt")',
            'KeyError("an empty prompt")',
            "ValueError",
        ),
    ),
    *variants(
        "speculative_decode",
        SPECULATE,
        (
            "more proposals than are used",
            "min(n_draft, end - start - 1)",
            "min(n_draft, end - start)",
            "max_new_tokens=",
        ),
        (
            "a ratio of other tokens",
            "p[k, token] / q[token]",
            "p[k, token] / q.max()",
            "RuntimeError: invalid multinomial",
        ),
        (
            "p of the place after",
            "p[k, token] / q[token]",
            "p[k + 1, token] / q[token]",
            "temperature",
        ),
        (
            "rest of the place after",
            "(p[k] - q).clamp(min=0)",
            "(p[k + 1] - q).clamp(min=0)",
            "temperature",
        ),
        (
            "refuses too seldom",
            ACCEPT,
            "torch.rand((), generator=generator) >= 2 * p[k, token] / q[token]",
            "does not follow the target",
        ),
        (
            "the last token from the draft",
            "        rest = p[-1]\n",
            "        rest = shares(draft(ids[None])[0, -1])\n",
            "with n_draft=",
        ),
        ("the most likely of the rest", "draw(rest)", "rest.argmax()[None]", "with n_draft="),
        (
            "prompt changed",
            "    ids, end = token_ids,",
            "    token_ids[0] = 0\n    ids, end = token_ids,",
            "token_ids is to begin with the prompt",
        ),
        ("NaN is drawn from", '        raise ValueError("bad")\n', "        pass\n", "hold nan"),
        (
            "the target's logits alone are looked at",
            "        if not bool(logits",
            "        if logits.dim() > 1 and not bool(logits",
            "draft",
        ),
        (
            "negative temperatures are fine",
            "if not temperature >= 0:",
            "if False:",
            "negative temperature",
        ),
        (
            "temperature of the draft alone",
            "p = shares(target(ids[None])[0, start - 1 :])",
            "p = target(ids[None])[0, start - 1 :].softmax(-1)",
            "with n_draft=",
        ),
        ("int32", "return Speculation(ids, n", "return Speculation(ids.int(), n", "int64"),
    ),
    *variants(
        "quantize_int8",
        QUANTIZE,
        (
            "in half precision",
            "    largest = weight",
            "    weight = weight.half().float()\n    largest = weight",
            "steps",
        ),
        (
            "largest of all but the last column",
            "weight.abs().amax(1",
            "weight[:, : max(1, weight.shape[1] - 1)].abs().amax(1",
            "float64 weights",
        ),
        (
            "the first row looked at for NaN",
            "weight.isfinite().all()",
            "weight[0].isfinite().all()",
            "holds",
        ),
        ("rounded away from zero", ".round()", ".abs().ceil() * weight.sign()", "round"),
        (
            "half a step added",
            ".round()",
            ".add(0.5).trunc()",
            "the largest magnitude of a row has the code",
        ),
        (
            "codes clipped at 100",
            "codes.to(torch.int8)",
            "codes.clamp(-100, 100).to(torch.int8)",
            "the largest magnitude of a row has the code",
        ),
        ("zeros from the mean row", "127, 1.0)", "127, largest.mean() / 127)", "zeros"),
        (
            "another error",
            'ValueError("weight holds NaN")',
            'AssertionError("weight holds NaN")',
            "ValueError",
        ),
        ("one column too few", "codes = (weight", "codes = (weight[:, :-1]", "shape"),
    ),
]

LAST = "of two axes the last is number 1, so 1 and -1 name the same"
LAST_AXIS = (
    "`logits.argmax(dim=-1)`",
    "`logits.shape[-1]`",
    "`logits.softmax(dim=-1)`",
    "`ordered.cumsum(dim=-1)`",
    "`probabilities.amax(dim=-1, keepdim=True)`",
    "`probabilities.sort(descending=True, dim=-1)`",
    "`torch.full_like(logits, floa ...  best.indices, best.values)`",
    "`torch.multinomial(probabilit ... ator=generator).squeeze(-1)`",
    "`torch.zeros_like(probabilities).scatter(-1, order, ordered)`",
)
BORDER = "a row's largest magnitude is 127 steps, so that no code reaches the border"
EQUIVALENT = {
    **{("sample_next_token", f"1 -> -1 in {place}"): LAST for place in LAST_AXIS},
    **{("sample_next_token", f"drop sign of {place}"): LAST for place in LAST_AXIS},
    ("sample_next_token", "swap arguments of `min(top_k, logits.shape[-1])`"): (
        "the smaller of two numbers does not depend on their order"
    ),
    ("sample_next_token", "zeros_like -> ones_like in `torch.zeros_like`"): (
        "scatter writes every place, so nothing of the tensor stays"
    ),
    **{
        ("sample_next_token", f"{change} in `top_p < 1`"): (
            "a top_p of 1 leaves out no token but what rounding has lost, in a large vocabulary"
        )
        for change in ("1 -> 2", "Lt -> LtE")
    },
    ("generate_batch", "delete `if not prompts:`"): "no text says what an empty list gives",
    ("generate_batch", "delete `for row, prompt in enumerate(prompts):`"): (
        "generate refuses a row that is all padding, which an empty prompt is"
    ),
    ("update_cache", "2 -> -2 in `keys.shape[2]`"): "of four axes 2 and -2 name the third",
    ("update_cache", "2 -> -2 in `new_keys.shape[2]`"): "of four axes 2 and -2 name the third",
    ("speculative_decode", "Lt -> LtE in `chance * q[k][token] < p[k][token]`"): (
        "the two sides are equal once in 2 ** 24 draws"
    ),
    ("speculative_decode", "swap arguments of `min(n_draft, last - start - 1)`"): (
        "the smaller of two numbers does not depend on their order"
    ),
    ("quantize_int8", "1 -> -1 in `weight.abs().amax(dim=1, keepdim=True)`"): LAST,
    ("quantize_int8", "127 -> 128 in `(weight / scales).round().clamp(-127, 127)`"): BORDER,
    ("quantize_int8", "127 -> 128 in `(weight / scales).round().clamp(-127, 127)` #2"): BORDER,
}

WRONG += [
    *variants(
        "sample_next_token",
        SAMPLE,
        (
            "0 drawn at a low temperature",
            "        return logits.argmax(-1)\n",
            "        temperature = 1e-6\n",
            "by the last bit alone",
        ),
        (
            "greedy below 0.1",
            "temperature == 0",
            "temperature < 0.1",
            "at temperature 0.05 you draw the most likely token alone",
        ),
        (
            "one draw for all rows",
            DRAW,
            "(p.cumsum(-1) < torch.rand((), generator=generator)).sum(-1).clamp(max=len(p[0]) - 1)",
            "2,000 equal rows",
        ),
        (
            "filters written into the logits",
            "    logits = logits - logits.amax(-1, keepdim=True)\n"
            "    logits = logits / max(temperature, 1e-30)\n",
            "    if temperature != 1:\n"
            "        logits = logits - logits.amax(-1, keepdim=True)\n"
            "        logits = logits / max(temperature, 1e-30)\n"
            "    if top_k and top_k < logits.shape[-1]:\n"
            "        out = logits.topk(logits.shape[-1]).indices[:, top_k:]\n"
            "        logits.scatter_(-1, out, -torch.inf)\n",
            "changed the logits in place, at temperature 1.0",
        ),
        (
            "at least a hundredth",
            "if min_p is not None:\n        p =",
            "if min_p is not None:\n        min_p = max(min_p, 0.01)\n        p =",
            "min_p=0: the token with a share of 0.004",
        ),
        (
            "top_p at most 0.99",
            "if top_p is not None:\n        ordered,",
            "if top_p is not None:\n        top_p = min(top_p, 0.99)\n        ordered,",
            "top_p=1: the token with a share of 0.004",
        ),
        (
            "top_p from 0.95 on ignored",
            "if top_p is not None:\n        ordered,",
            "if top_p is not None and top_p < 0.95:\n        ordered,",
            "top_p=0.96 of shares",
        ),
        (
            "min_p of logits",
            "p.masked_fill(p < min_p * p.amax(-1, keepdim=True), 0)",
            "p.masked_fill(logits < min_p * logits.amax(-1, keepdim=True), 0)",
            "comparing logits",
        ),
    ),
    *variants(
        "generate_batch",
        BATCH,
        (
            "long prompts cut",
            "    T = max(",
            "    room = model.config.context_length - max_new_tokens\n"
            "    prompts = [list(p)[-room:] for p in prompts]\n    T = max(",
            "a prompt of 38 tokens",
        ),
    ),
    *variants(
        "speculative_decode",
        SPECULATE,
        (
            "the draft at temperature 1",
            "q = shares(draft(ids[None])[0, -1])",
            "q = draft(ids[None])[0, -1].softmax(-1)",
            "n_target_passes at temperature 0 with a draft equal to the target",
        ),
        (
            "the end token is not counted",
            "            n_accepted += 1\n",
            "            n_accepted += int(token != end_id)\n",
            "count an end token",
        ),
        (
            "ended by the prompt's last token",
            "    while len(ids) < end:",
            "    while len(ids) < end and int(token_ids[-1]) != end_id:",
            "the prompt's last",
        ),
        (
            "the last proposal's q for all",
            "p[k, token] / q[token]",
            "p[k, token] / qs[-1][token]",
            "The case: a draft",
        ),
    ),
]
