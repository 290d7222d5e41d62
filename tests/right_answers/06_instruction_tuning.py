"""Lab 06: right answers of another shape than the course's own."""

RIGHT = {
    "response_mask": [
        # from marker to marker, by slices
        """
def response_mask(token_ids, assistant_id, end_id):
    mask = [False] * len(token_ids)
    place = 0
    while assistant_id in token_ids[place:]:
        start = token_ids.index(assistant_id, place) + 1
        rest = token_ids[start:]
        stop = start + rest.index(end_id) + 1 if end_id in rest else len(token_ids)
        mask[start:stop] = [True] * (stop - start)
        place = stop
    return mask
""",
        # which marker came last before each place
        """
def response_mask(token_ids, assistant_id, end_id):
    last, found = end_id, []
    for token in token_ids:
        found.append(last == assistant_id)
        last = token if token in (assistant_id, end_id) else last
    return found
""",
    ],
    "render_chat": [
        # turns first, then joined; the class of the course
        """
def render_chat(messages, tokenizer, add_prompt=False):
    if len(messages) == 0:
        raise ValueError("there is no message")

    def turn(message):
        content = message.get("content")
        if message.get("role") not in ("user", "assistant") or type(content) is not str:
            raise ValueError(f"what is {message}?")
        text = tokenizer.encode(content)
        if message["role"] == "user":
            return [tokenizer.user_id] + text
        return [tokenizer.assistant_id] + text + [tokenizer.end_id]

    token_ids = sum([turn(message) for message in fold_system(messages)], [])
    token_ids += [tokenizer.assistant_id] * add_prompt
    return ChatTokens(
        token_ids, response_mask(token_ids, tokenizer.assistant_id, tokenizer.end_id)
    )
""",
        # the mask as it goes along, the system text by hand
        """
def render_chat(messages, tokenizer, add_prompt=False):
    if not messages:
        raise ValueError("empty")
    messages = [dict(message) for message in messages]
    if messages[0].get("role") == "system":
        first = messages.pop(0)
        if not messages or messages[0].get("role") != "user":
            raise ValueError("a user's message follows a system text")
        messages[0]["content"] = first["content"] + "\\n\\n" + messages[0]["content"]
    ids, mask = [], []
    for message in messages:
        text = message.get("content")
        if not isinstance(text, str):
            raise ValueError("content")
        text = list(tokenizer.encode(text))
        if message.get("role") == "user":
            ids += [tokenizer.user_id] + text
            mask += [False] * (1 + len(text))
        elif message.get("role") == "assistant":
            ids += [tokenizer.assistant_id] + text + [tokenizer.end_id]
            mask += [False] + [True] * (len(text) + 1)
        else:
            raise ValueError("role")
    if add_prompt:
        ids, mask = ids + [tokenizer.assistant_id], mask + [False]
    return ChatTokens(ids, mask)
""",
    ],
    "sft_loss": [
        # torch's own, over what is kept
        """
def sft_loss(logits, targets, response_mask=None):
    kept = targets != -100
    if response_mask is not None:
        if response_mask.dtype is not torch.bool:
            raise ValueError("a mask is bool")
        if response_mask.shape != targets.shape:
            raise ValueError("a mask has the shape of the targets")
        kept = kept & response_mask
    if int(kept.sum()) == 0:
        raise ValueError("nothing counts")
    return torch.nn.functional.cross_entropy(logits[kept].float(), targets[kept])
""",
        # a weighted sum of logprobs
        """
def sft_loss(logits, targets, response_mask=None):
    weight = (targets != -100).to(logits.dtype)
    if response_mask is not None:
        if response_mask.dtype != torch.bool or response_mask.shape != targets.shape:
            raise ValueError("mask")
        weight = weight * response_mask
    if weight.sum() == 0:
        raise ValueError("no response")
    logprobs = logits - logits.logsumexp(-1, keepdim=True)
    picked = logprobs.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return -(picked * weight).sum() / weight.sum()
""",
    ],
    "pack_examples": [
        # lists that grow, turned into tensors at the end
        """
def pack_examples(examples, context_length, pad_id):
    check_examples(examples, context_length)
    columns = ([], [], [], [])
    for numbers in fit_rows([len(e[0]) - 1 for e in examples], context_length):
        row = ([], [], [], [])
        for place, number in enumerate(numbers):
            ids, mask = examples[number]
            row[0].extend(ids[:-1])
            row[1].extend(i if m else -100 for i, m in zip(ids[1:], mask[1:]))
            row[2].extend(range(len(ids) - 1))
            row[3].extend([place] * (len(ids) - 1))
        for column, values, fill in zip(columns, row, (pad_id, -100, 0, -1)):
            column.append(values + [fill] * (context_length - len(values)))
    return PackedRows(*(torch.tensor(column, dtype=torch.int64) for column in columns))
""",
        # a packing of one's own: each into the fullest row that has room, by looking at all
        """
def pack_examples(examples, context_length, pad_id):
    check_examples(examples, context_length)
    rows = []
    for ids, mask in sorted(examples, key=lambda e: len(e[0]), reverse=True):
        n = len(ids) - 1
        open_rows = [row for row in rows if sum(map(len, row["ids"])) + n <= context_length]
        row = max(open_rows, key=lambda r: sum(map(len, r["ids"])), default=None)
        if row is None:
            row = {"ids": [], "targets": []}
            rows.append(row)
        row["ids"].append(ids[:-1])
        row["targets"].append([i if m else -100 for i, m in zip(ids[1:], mask[1:])])
    out = torch.tensor([pad_id, -100, 0, -1]).repeat(len(rows), context_length, 1)
    for r, row in enumerate(rows):
        start = 0
        for d, (ids, targets) in enumerate(zip(row["ids"], row["targets"])):
            for k, (i, t) in enumerate(zip(ids, targets)):
                out[r, start + k] = torch.tensor([i, t, k, d])
            start += len(ids)
    return PackedRows(*(part.contiguous() for part in out.unbind(-1)))
""",
    ],
    "filter_examples": [
        # a list of reasons, one for each row
        """
def filter_examples(
    rows, columns=COLUMNS, *, topic=(), conflicts="drop", test_questions=(), fits=None,
    too_long="refuse",
):
    check_choices(rows, tuple(columns) + tuple(topic), conflicts, too_long)
    question, answer = columns
    why = [find_fault(row, columns) for row in rows]

    def left():
        return [n for n, reason in enumerate(why) if reason is None]

    def note(found):
        for n, reason in found.items():
            why[n] = reason

    now = left()
    texts = [rows[n][question] + " " + rows[n][answer] for n in now]
    hits = find_contamination(texts, test_questions, N_TEST_WORDS)
    note({now[hit.document]: ("in the test set", "") for hit in hits})
    plain = {n: (plain_form(rows[n][question]), plain_form(rows[n][answer])) for n in left()}
    more = {
        n: tuple((key, repr(value)) for key, value in rows[n].items() if key not in columns)
        for n in left()
    }
    note(duplicates({n: plain[n] + more[n] for n in left()}))
    asked = {n: topic_of(rows[n], topic) or plain[n][0] for n in left()}
    losers = contradictions({n: (asked[n], plain[n][1]) for n in left()}, conflicts)
    note({} if conflicts == "keep" else losers)
    note(duplicates({n: plain[n] for n in left()}))
    fitted = {}
    for n in left():
        fitted[n] = fit_answer(rows[n][question], rows[n][answer], fits, too_long)
        if fitted[n] == "":
            why[n] = ("too long", "")
    kept = [dict(rows[n], **{answer: fitted[n]}) for n in left()]
    return kept, FilterReport(
        n_rows=len(rows),
        dropped=tuple(Dropped(n, *reason) for n, reason in enumerate(why) if reason),
        shortened=tuple(n for n in left() if fitted[n] != rows[n][answer]),
        conflicting=tuple(n for n in losers if why[n] is None),
    )
""",
        # each stage a small function over the numbers that are left
        """
def filter_examples(
    rows, columns=COLUMNS, *, topic=(), conflicts="drop", test_questions=(), fits=None,
    too_long="refuse",
):
    check_choices(rows, (*columns, *topic), conflicts, too_long)
    q, a = columns
    dropped, conflicting = [], []
    alive = dict(enumerate(rows))

    def drop(numbers, reason):
        for n in list(numbers):
            dropped.append(Dropped(n, reason, ""))
            del alive[n]

    for n, row in list(alive.items()):
        if fault := find_fault(row, columns):
            drop([n], fault[0])
    order = list(alive)
    texts = [f"{alive[n][q]}\\n{alive[n][a]}" for n in order]
    found = {order[h.document] for h in find_contamination(texts, test_questions, N_TEST_WORDS)}
    drop(sorted(found), "in the test set")

    def pair(n):
        return plain_form(alive[n][q]), plain_form(alive[n][a])

    def rest(n):
        return str({key: value for key, value in alive[n].items() if key not in columns})

    drop(duplicates({n: (*pair(n), rest(n)) for n in alive}), "duplicate")
    voters = {n: (topic_of(alive[n], topic) or pair(n)[0], pair(n)[1]) for n in alive}
    losers = contradictions(voters, conflicts)
    if conflicts == "keep":
        conflicting = list(losers)
    else:
        drop(losers, "contradiction")
    drop(duplicates({n: pair(n) for n in alive}), "duplicate")
    short = {n: fit_answer(row[q], row[a], fits, too_long) for n, row in alive.items()}
    drop([n for n, text in short.items() if not text], "too long")
    kept = [{**row, a: short[n]} for n, row in alive.items()]
    return kept, FilterReport(
        len(rows),
        tuple(sorted(dropped)),
        tuple(n for n in alive if short[n] != alive[n][a]),
        tuple(n for n in conflicting if n in alive),
    )
""",
    ],
}
