"""Wrong answers of lab 06, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

MASK = """def response_mask(token_ids, assistant_id, end_id):
    mask, is_answer = [], False
    for token_id in token_ids:
        mask.append(is_answer)
        if token_id == assistant_id:
            is_answer = True
        elif token_id == end_id:
            is_answer = False
    return mask
"""

CHAT = """def render_chat(messages, tokenizer, add_prompt=False):
    if not messages:
        raise ValueError("empty")
    ids = []
    for message in fold_system(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise ValueError("message")
        if role == "user":
            ids += [tokenizer.user_id, *tokenizer.encode(content)]
        else:
            ids += [tokenizer.assistant_id, *tokenizer.encode(content), tokenizer.end_id]
    if add_prompt:
        ids.append(tokenizer.assistant_id)
    return ChatTokens(ids, response_mask(ids, tokenizer.assistant_id, tokenizer.end_id))
"""
USER_TURN = "ids += [tokenizer.user_id, *tokenizer.encode(content)]"
ANSWER = "ids += [tokenizer.assistant_id, *tokenizer.encode(content), tokenizer.end_id]"
MASKED = "response_mask(ids, tokenizer.assistant_id, tokenizer.end_id)"

LOSS = """def sft_loss(logits, targets, response_mask=None):
    if response_mask is not None:
        if response_mask.dtype != torch.bool or response_mask.shape != targets.shape:
            raise ValueError("mask")
        targets = targets.masked_fill(~response_mask, -100)
    if not (targets != -100).any():
        raise ValueError("nothing to learn")
    return cross_entropy(logits, targets)
"""
HIDE = "targets = targets.masked_fill(~response_mask, -100)"
EACH = """    kept = targets != -100
    each = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none"
    ).view(targets.shape)
"""

PACK = """def pack_examples(examples, context_length, pad_id):
    check_examples(examples, context_length)
    rows = fit_rows([len(ids) - 1 for ids, _ in examples], context_length)
    shape = (len(rows), context_length)
    token_ids = torch.full(shape, pad_id, dtype=torch.int64)
    targets = torch.full(shape, -100, dtype=torch.int64)
    positions = torch.zeros(shape, dtype=torch.int64)
    documents = torch.full(shape, -1, dtype=torch.int64)
    for row, numbers in enumerate(rows):
        start = 0
        for document, number in enumerate(numbers):
            ids, mask = examples[number]
            batch = shift_targets(torch.tensor(ids), torch.tensor(mask))
            stop = start + len(ids) - 1
            token_ids[row, start:stop] = batch.token_ids
            targets[row, start:stop] = batch.targets
            positions[row, start:stop] = torch.arange(stop - start)
            documents[row, start:stop] = document
            start = stop
    return PackedRows(token_ids, targets, positions, documents)
"""
SHIFT = "batch = shift_targets(torch.tensor(ids), torch.tensor(mask))"
ROWS = "fit_rows([len(ids) - 1 for ids, _ in examples], context_length)"

FILTER = """def filter_examples(
    rows, columns=COLUMNS, *, topic=(), conflicts="drop", test_questions=(), fits=None,
    too_long="refuse",
):
    check_choices(rows, (*columns, *topic), conflicts, too_long)
    q, a = columns
    gone = {}
    for number, row in enumerate(rows):
        fault = find_fault(row, columns)
        if fault:
            gone[number] = fault
    left = [n for n in range(len(rows)) if n not in gone]
    texts = [f"{rows[n][q]} {rows[n][a]}" for n in left]
    for hit in find_contamination(texts, test_questions, N_TEST_WORDS):
        gone[left[hit.document]] = ("in the test set", "")
    left = [n for n in left if n not in gone]
    pairs = {n: (plain_form(rows[n][q]), plain_form(rows[n][a])) for n in left}
    others = {n: repr([i for i in rows[n].items() if i[0] not in columns]) for n in left}
    gone |= duplicates({n: (*pairs[n], others[n]) for n in pairs})
    pairs = {n: pair for n, pair in pairs.items() if n not in gone}
    losers = contradictions(
        {n: (topic_of(rows[n], topic) or pairs[n][0], pairs[n][1]) for n in pairs}, conflicts
    )
    if conflicts != "keep":
        gone |= losers
    gone |= duplicates({n: pair for n, pair in pairs.items() if n not in gone})
    kept, cut = [], []
    for n, row in enumerate(rows):
        if n in gone:
            continue
        text = fit_answer(row[q], row[a], fits, too_long)
        if not text:
            gone[n] = ("too long", "")
            continue
        kept.append({**row, a: text})
        if text != row[a]:
            cut.append(n)
    dropped = tuple(Dropped(n, *gone[n]) for n in sorted(gone))
    stay = tuple(n for n in losers if n not in gone)
    return kept, FilterReport(len(rows), dropped, tuple(cut), stay)
"""
TEST_SET = """    for hit in find_contamination(texts, test_questions, N_TEST_WORDS):
        gone[left[hit.document]] = ("in the test set", "")
    left = [n for n in left if n not in gone]
"""
COPIES = "    gone |= duplicates({n: (*pairs[n], others[n]) for n in pairs})\n"
AT_THE_END = "    gone |= duplicates({n: pair for n, pair in pairs.items() if n not in gone})\n"

WRONG = [
    Wrong(
        "render_chat",
        "a prompt behind a question alone",
        CHAT.replace("if add_prompt:", "if add_prompt and role == 'user':"),
        "add_prompt=True changes nothing",
    ),
    Wrong(
        "render_chat",
        "blanks made one",
        CHAT.replace("encode(content)", "encode(' '.join(content.split(' ')).replace('  ', ' '))"),
        "each of its characters",
    ),
    Wrong(
        "pack_examples",
        "room for the last id",
        PACK.replace("[len(ids) - 1 for", "[len(ids) for"),
        "where fit_rows needs 2",
    ),
    Wrong(
        "filter_examples",
        "shortened by place in what is kept",
        FILTER.replace("cut.append(n)", "cut.append(len(kept) - 1)"),
        "numbers of the rows that came in",
    ),
    # response_mask
    Wrong(
        "response_mask",
        "the marker counts",
        MASK.replace("        mask.append(is_answer)\n", "").replace(
            "            is_answer = False\n    return",
            "            is_answer = False\n        mask.append(is_answer)\n    return",
        ),
        "the marker",
    ),
    Wrong(
        "response_mask",
        "no end token",
        MASK.replace("mask.append(is_answer)", "mask.append(is_answer and token_id != end_id)"),
        "the end token of an answer is False here",
    ),
    Wrong(
        "response_mask",
        "never closed",
        MASK.replace("is_answer = False\n    return", "pass\n    return"),
        "the end token closes an answer",
    ),
    Wrong(
        "response_mask",
        "the first answer alone",
        """def response_mask(token_ids, assistant_id, end_id):
    if assistant_id not in token_ids:
        return [False] * len(token_ids)
    start = token_ids.index(assistant_id) + 1
    stop = token_ids.index(end_id, start) + 1 if end_id in token_ids[start:] else len(token_ids)
    return [start <= i < stop for i in range(len(token_ids))]
""",
        "answers",
    ),
    Wrong(
        "response_mask",
        "the last answer alone",
        """def response_mask(token_ids, assistant_id, end_id):
    if assistant_id not in token_ids:
        return [False] * len(token_ids)
    start = len(token_ids) - token_ids[::-1].index(assistant_id)
    stop = token_ids.index(end_id, start) + 1 if end_id in token_ids[start:] else len(token_ids)
    return [start <= i < stop for i in range(len(token_ids))]
""",
        "answers",
    ),
    Wrong(
        "response_mask",
        "every end token",
        MASK.replace("mask.append(is_answer)", "mask.append(is_answer or token_id == end_id)"),
        "padded with the end token",
    ),
    Wrong(
        "response_mask",
        "padding by the last end token",
        """def response_mask(token_ids, assistant_id, end_id):
    mask, inside = [], False
    last = max((i for i, t in enumerate(token_ids) if t == end_id), default=len(token_ids))
    for i, t in enumerate(token_ids):
        mask.append(inside and i <= last)
        inside = inside or t == assistant_id
    return mask
""",
        "ids",
    ),
    Wrong(
        "response_mask",
        "the first token of an answer is missing",
        MASK.replace(
            "mask, is_answer = [], False", "mask, is_answer, last = [], False, False"
        ).replace(
            "mask.append(is_answer)", "mask.append(is_answer and last)\n        last = is_answer"
        ),
        "the first token of an answer",
    ),
    Wrong(
        "response_mask",
        "exchanged",
        MASK.replace("mask.append(is_answer)", "mask.append(not is_answer)"),
        "True and False are exchanged",
    ),
    Wrong(
        "response_mask",
        "a tuple",
        MASK.replace("return mask", "return tuple(mask)"),
        "return a list",
    ),
    Wrong(
        "response_mask",
        "ones and zeros",
        MASK.replace("mask.append(is_answer)", "mask.append(int(is_answer))"),
        "bool",
    ),
    Wrong(
        "response_mask",
        "an answer that is not closed does not count",
        MASK.replace(
            "return mask",
            "return [m and end_id in token_ids[i:] for i, m in enumerate(mask)]",
        ),
        "without its end token",
    ),
    Wrong(
        "response_mask",
        "the list is emptied",
        MASK.replace(
            "for token_id in token_ids:", "while token_ids:\n        token_id = token_ids.pop(0)"
        ),
        "was changed",
    ),
    Wrong(
        "response_mask",
        "does no work: everything",
        "def response_mask(token_ids, assistant_id, end_id):\n    return [True] * len(token_ids)\n",
        "each token is True here",
    ),
    Wrong(
        "response_mask",
        "does no work: nothing",
        "def response_mask(token_ids, *ids):\n    return [False] * len(token_ids)\n",
        "expected",
    ),
    # render_chat
    Wrong(
        "render_chat",
        "answers are not closed",
        CHAT.replace(ANSWER, "ids += [tokenizer.assistant_id, *tokenizer.encode(content)]"),
        "closed by the end token",
    ),
    Wrong(
        "render_chat",
        "every turn is closed",
        CHAT.replace(USER_TURN, USER_TURN[:-1] + ", tokenizer.end_id]"),
        "the end token closes answers alone",
    ),
    Wrong(
        "render_chat",
        "no marker of the user",
        CHAT.replace(USER_TURN, "ids += tokenizer.encode(content)"),
        "the user's marker is missing",
    ),
    Wrong(
        "render_chat",
        "no marker of the assistant",
        CHAT.replace(ANSWER, "ids += [*tokenizer.encode(content), tokenizer.end_id]"),
        "the assistant's marker is missing",
    ),
    Wrong(
        "render_chat",
        "roles exchanged",
        CHAT.replace('role == "user"', 'role != "user"'),
        "expected",
    ),
    Wrong(
        "render_chat",
        "a begin token in front",
        CHAT.replace("ids = []", "ids = [tokenizer.end_id]"),
        "nothing stands before the first turn",
    ),
    Wrong(
        "render_chat",
        "always a prompt",
        CHAT.replace("if add_prompt:", "if True:"),
        "add_prompt is False unless it is passed",
    ),
    Wrong(
        "render_chat",
        "never a prompt",
        CHAT.replace("if add_prompt:", "if False:"),
        "add_prompt=True changes nothing",
    ),
    Wrong(
        "render_chat",
        "a closed prompt",
        CHAT.replace(
            "ids.append(tokenizer.assistant_id)",
            "ids += [tokenizer.assistant_id, tokenizer.end_id]",
        ),
        "stays open",
    ),
    Wrong(
        "render_chat",
        "markers looked for in the text",
        CHAT.replace(
            "    return ChatTokens(ids,",
            """    marks = {"<|end|>": tokenizer.end_id, "<|assistant|>": tokenizer.assistant_id}
    for text, mark in marks.items():
        plain = tokenizer.encode(text)
        i = 0
        while i <= len(ids) - len(plain):
            if ids[i : i + len(plain)] == plain:
                ids[i : i + len(plain)] = [mark]
            i += 1
    return ChatTokens(ids,""",
        ),
        "what a text spells stays text",
    ),
    Wrong(
        "render_chat",
        "blanks taken off",
        CHAT.replace('message.get("content")', '(message.get("content") or "").strip()'),
        "blanks at its ends stay",
    ),
    Wrong(
        "render_chat",
        "the mask counts all",
        CHAT.replace(MASKED, "[True] * len(ids)"),
        "each token is True here",
    ),
    Wrong(
        "render_chat",
        "the mask counts markers of answers",
        CHAT.replace(
            MASKED,
            f"[m or i == tokenizer.assistant_id for i, m in zip(ids, {MASKED})]",
        ),
        "the marker that opens an answer",
    ),
    Wrong(
        "render_chat",
        "two messages alone",
        CHAT.replace("fold_system(messages):", "fold_system(messages)[:2]:"),
        "only the first two messages",
    ),
    Wrong(
        "render_chat",
        "a system text is dropped",
        CHAT.replace(
            "fold_system(messages):",
            '[m for m in messages if m.get("role") != "system"]:',
        ),
        "expected",
    ),
    Wrong(
        "render_chat",
        "unknown roles are the assistant's",
        CHAT.replace("role not in ROLES or ", ""),
        "a role that there is not",
    ),
    Wrong(
        "render_chat",
        "no look at the content",
        CHAT.replace(" or not isinstance(content, str)", " or content is None").replace(
            "*tokenizer.encode(content)", "*tokenizer.encode(str(content))"
        ),
        "content that is a list",
    ),
    Wrong(
        "render_chat",
        "an empty chat is nothing",
        CHAT.replace('raise ValueError("empty")', "return [], []"),
        "an empty chat",
    ),
    Wrong(
        "render_chat",
        "ids of bytes",
        CHAT.replace("tokenizer.encode(content)", 'content.encode("utf-8")'),
        "a tokenizer with merges",
    ),
    Wrong(
        "render_chat",
        "does no work: nothing",
        "def render_chat(messages, tokenizer, add_prompt=False):\n    return [], []\n",
        "expected",
    ),
    Wrong(
        "render_chat",
        "does no work: the text of the messages alone",
        """def render_chat(messages, tokenizer, add_prompt=False):
    ids = [i for message in messages for i in tokenizer.encode(message["content"])]
    return ids, [False] * len(ids)
""",
        "expected",
    ),
    # sft_loss
    Wrong("sft_loss", "the mask is not used", LOSS.replace(HIDE, "pass"), "the mask is not used"),
    Wrong(
        "sft_loss",
        "the mask turned round",
        LOSS.replace("~response_mask", "response_mask"),
        "turned round",
    ),
    Wrong(
        "sft_loss",
        "a mean of the rows' means",
        LOSS.replace(
            "    return cross_entropy(logits, targets)\n",
            EACH + "    n = kept.sum(1)\n    rows = (each * kept).sum(1)[n > 0] / n[n > 0]\n"
            "    return rows.mean()\n",
        ),
        "mean of the rows' means",
    ),
    Wrong(
        "sft_loss",
        "divided by all places",
        LOSS.replace(
            "    return cross_entropy(logits, targets)\n",
            EACH + "    return (each * kept).mean()\n",
        ),
        "divided by all places",
    ),
    Wrong(
        "sft_loss",
        "a sum",
        LOSS.replace(
            "    return cross_entropy(logits, targets)\n",
            EACH + "    return (each * kept).sum()\n",
        ),
        "that is the sum",
    ),
    Wrong(
        "sft_loss",
        "divided by the rows",
        LOSS.replace(
            "    return cross_entropy(logits, targets)\n",
            EACH + "    return (each * kept).sum() / len(targets)\n",
        ),
        "the number of rows",
    ),
    Wrong(
        "sft_loss",
        "no sign",
        LOSS.replace("return cross", "return -cross"),
        "the sign is wrong",
    ),
    Wrong(
        "sft_loss",
        "targets change in place",
        LOSS.replace("targets = targets.masked_fill(", "targets.masked_fill_("),
        "changed in place",
    ),
    Wrong(
        "sft_loss",
        "cut from the graph",
        LOSS.replace("cross_entropy(logits, targets)", "cross_entropy(logits.detach(), targets)"),
        "gradient",
    ),
    Wrong(
        "sft_loss",
        "the softmax by hand, without care",
        LOSS.replace(
            "    return cross_entropy(logits, targets)\n",
            "    kept = targets != -100\n    p = logits.exp() / logits.exp().sum(-1)[..., None]\n"
            "    return -p[kept].gather(-1, targets[kept][:, None]).log().mean()\n",
        ),
        "logits up to 1500",
    ),
    Wrong(
        "sft_loss",
        "the mask decides alone",
        LOSS.replace(
            "    return cross_entropy(logits, targets)\n",
            "    kept = targets != -100 if response_mask is None else response_mask\n"
            "    index = targets.clamp(min=0)[..., None]\n"
            "    return -logits.log_softmax(-1).gather(-1, index)[..., 0][kept].mean()\n",
        ).replace(HIDE, "pass"),
        "read as token 0",
    ),
    Wrong(
        "sft_loss",
        "nothing to learn is zero",
        LOSS.replace('raise ValueError("nothing to learn")', "return logits.sum() * 0"),
        "False everywhere",
    ),
    Wrong(
        "sft_loss",
        "nothing to learn is NaN",
        LOSS.replace('raise ValueError("nothing to learn")', "pass").replace(
            "cross_entropy(logits, targets)",
            "torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())",
        ),
        "False everywhere",
    ),
    Wrong(
        "sft_loss",
        "a smaller mask is spread out",
        LOSS.replace(" or response_mask.shape != targets.shape", ""),
        "a mask of another shape",
    ),
    Wrong(
        "sft_loss",
        "a mask of numbers is taken",
        LOSS.replace("response_mask.dtype != torch.bool or ", "").replace(
            "~response_mask", "~response_mask.bool()"
        ),
        "a mask of whole numbers",
    ),
    Wrong(
        "sft_loss",
        "shifted once more",
        LOSS.replace(
            "cross_entropy(logits, targets)", "cross_entropy(logits[:, :-1], targets[:, 1:])"
        ),
        "the mean of -log p",
    ),
    Wrong(
        "sft_loss",
        "does no work: zero",
        "def sft_loss(logits, targets, response_mask=None):\n    return logits.sum() * 0\n",
        "the mean of -log p",
    ),
    Wrong(
        "sft_loss",
        "does no work: all places",
        "def sft_loss(logits, targets, response_mask=None):\n"
        "    return cross_entropy(logits, targets)\n",
        "the mask is not used",
    ),
    # pack_examples
    Wrong(
        "pack_examples",
        "targets are not shifted",
        PACK.replace(
            "targets[row, start:stop] = batch.targets",
            "targets[row, start:stop] = torch.tensor(\n"
            "                [i if m else -100 for i, m in zip(ids, mask)][:-1])",
        ),
        "targets are not shifted",
    ),
    Wrong(
        "pack_examples",
        "the mask is not used",
        PACK.replace(SHIFT, "batch = shift_targets(torch.tensor(ids))"),
        "the mask is not used",
    ),
    Wrong(
        "pack_examples",
        "the mask of the inputs",
        PACK.replace(
            SHIFT,
            "batch = shift_targets(torch.tensor(ids), torch.tensor([False] + mask[:-1]))",
        ),
        "the mask belongs to the targets",
    ),
    Wrong(
        "pack_examples",
        "joined and then shifted",
        """def pack_examples(examples, context_length, pad_id):
    check_examples(examples, context_length)
    rows = fit_rows([len(ids) - 1 for ids, _ in examples], context_length)
    found = []
    for numbers in rows:
        joined = [(i, m, d, p) for d, n in enumerate(numbers)
                  for p, (i, m) in enumerate(zip(*examples[n]))]
        joined += [(pad_id, False, -1, 0)] * (context_length + 1)
        joined = joined[: context_length + 1]
        ids, mask, documents, positions = (list(part) for part in zip(*joined))
        targets = [i if m else -100 for i, m in zip(ids[1:], mask[1:])]
        found.append((ids[:-1], targets, positions[:-1], documents[:-1]))
    return PackedRows(*(torch.tensor(part) for part in zip(*found)))
""",
        "inputs",
    ),
    Wrong(
        "pack_examples",
        "positions count on",
        PACK.replace("torch.arange(stop - start)", "torch.arange(start, stop)"),
        "positions count on",
    ),
    Wrong(
        "pack_examples",
        "positions from one",
        PACK.replace("torch.arange(stop - start)", "torch.arange(stop - start) + 1"),
        "count from 0",
    ),
    Wrong(
        "pack_examples",
        "documents are numbered over all rows",
        PACK.replace("= document\n", "= number\n"),
        "numbered from 0",
    ),
    Wrong(
        "pack_examples",
        "documents from one",
        PACK.replace("= document\n", "= document + 1\n"),
        "numbered from 0",
    ),
    Wrong(
        "pack_examples",
        "padding is document 0",
        PACK.replace(
            "torch.full(shape, -1, dtype=torch.int64)", "torch.zeros(shape, dtype=torch.int64)"
        ),
        "document_ids",
    ),
    Wrong(
        "pack_examples",
        "padding is a target",
        PACK.replace(
            "targets = torch.full(shape, -100, dtype=torch.int64)",
            "targets = torch.full(shape, pad_id, dtype=torch.int64)",
        ),
        "targets of padding are -100",
    ),
    Wrong(
        "pack_examples",
        "padding is zero",
        PACK.replace("torch.full(shape, pad_id,", "torch.full(shape, 0,"),
        "padding is pad_id",
    ),
    Wrong(
        "pack_examples",
        "padding is known by its token",
        PACK.replace(
            "    return PackedRows",
            "    documents[token_ids == pad_id] = -1\n    return PackedRows",
        ),
        "hold the padding token itself",
    ),
    Wrong(
        "pack_examples",
        "a row each",
        PACK.replace(ROWS, "[[n] for n in range(len(examples))]"),
        "a row of its own",
    ),
    Wrong(
        "pack_examples",
        "in the order in which they come",
        PACK.replace(
            f"    rows = {ROWS}\n",
            """    rows, room = [], 0
    for n, (ids, _) in enumerate(examples):
        if len(ids) - 1 > room:
            rows.append([])
            room = context_length
        rows[-1].append(n)
        room -= len(ids) - 1
""",
        ),
        "fit_rows needs",
    ),
    Wrong(
        "pack_examples",
        "room for all ids",
        PACK.replace(
            ROWS, "fit_rows([min(len(ids), context_length) for ids, _ in examples], context_length)"
        ),
        "rows",
    ),
    Wrong(
        "pack_examples",
        "long examples are cut",
        PACK.replace(
            "    check_examples(examples, context_length)\n",
            "    examples = [(i[: context_length + 1], m[: context_length + 1])"
            " for i, m in examples]\n    check_examples(examples, context_length)\n",
        ),
        "an example of 7 ids",
    ),
    Wrong(
        "pack_examples",
        "nothing is refused",
        PACK.replace("    check_examples(examples, context_length)\n", ""),
        "no examples: raise",
    ),
    Wrong(
        "pack_examples",
        "a list for each",
        PACK.replace(
            "PackedRows(token_ids, targets, positions, documents)",
            "[token_ids, targets, positions, documents]",
        ),
        "four tensors",
    ),
    Wrong(
        "pack_examples",
        "half the bytes",
        PACK.replace("torch.int64", "torch.int32"),
        "int64",
    ),
    Wrong(
        "pack_examples",
        "does no work: empty rows",
        """def pack_examples(examples, context_length, pad_id):
    empty = torch.full((1, context_length), pad_id)
    none = torch.full((1, context_length), -100)
    return PackedRows(empty, none, torch.zeros_like(empty), torch.full_like(empty, -1))
""",
        "inputs",
    ),
    Wrong(
        "pack_examples",
        "does no work: the first example alone",
        PACK.replace(f"rows = {ROWS}", "rows = [[0]]"),
        "of an example are there 0 times",
    ),
    # filter_examples
    Wrong(
        "filter_examples",
        "faults are not looked for",
        FILTER.replace("if fault:", "if fault and fault[0] == 'missing column':")
        .replace("plain_form(rows[n][q])", "plain_form(str(rows[n][q]))")
        .replace("plain_form(rows[n][a])", "plain_form(str(rows[n][a]))"),
        "goes as 'no question'",
    ),
    Wrong(
        "filter_examples",
        "cut answers stay",
        FILTER.replace("if fault:", "if fault and fault[0] != 'answer cut off':"),
        "goes as 'answer cut off'",
    ),
    Wrong(
        "filter_examples",
        "no plain form",
        FILTER.replace("plain_form(rows[n][q])", "rows[n][q]").replace(
            "plain_form(rows[n][a])", "rows[n][a]"
        ),
        "plain form",
    ),
    Wrong(
        "filter_examples",
        "the last duplicate stays",
        FILTER.replace(
            COPIES, COPIES.replace("for n in pairs}", "for n in reversed(pairs)}")
        ).replace(AT_THE_END, AT_THE_END.replace("pairs.items()", "reversed(pairs.items())")),
        "the first of equal rows stays",
    ),
    Wrong(
        "filter_examples",
        "duplicates by their answers",
        FILTER.replace(COPIES, COPIES.replace("(*pairs[n], others[n])", "(pairs[n][1],)")),
        "two questions may have one answer",
    ),
    Wrong(
        "filter_examples",
        "no duplicates at the end",
        FILTER.replace(AT_THE_END, ""),
        "differ in another column only",
    ),
    Wrong(
        "filter_examples",
        "copies vote",
        FILTER.replace(COPIES, ""),
        "goes as 'duplicate'",
    ),
    Wrong(
        "filter_examples",
        "duplicates in question and answer before the vote",
        FILTER.replace("(*pairs[n], others[n])", "pairs[n]"),
        "goes as",
    ),
    Wrong(
        "filter_examples",
        "a tie is a majority",
        FILTER.replace(
            '    if conflicts != "keep":\n',
            """    if conflicts == "majority":
        seen = {}
        for n in pairs:
            asked = topic_of(rows[n], topic) or pairs[n][0]
            seen.setdefault(asked, []).append(pairs[n][1])
        losers = {
            n: fault for n, fault in losers.items()
            if pairs[n][1] != max(
                dict.fromkeys(seen[topic_of(rows[n], topic) or pairs[n][0]]),
                key=seen[topic_of(rows[n], topic) or pairs[n][0]].count,
            )
        }
    if conflicts != "keep":
""",
        ),
        "stays",
    ),
    Wrong(
        "filter_examples",
        "majority drops all",
        FILTER.replace(
            "pairs[n][1]) for n in pairs}, conflicts", "pairs[n][1]) for n in pairs}, 'drop'"
        ),
        "keeps the answer that more rows give",
    ),
    Wrong(
        "filter_examples",
        "keep drops",
        FILTER.replace('if conflicts != "keep":', "if True:"),
        "conflicts='keep'",
    ),
    Wrong(
        "filter_examples",
        "conflicting is left empty",
        FILTER.replace("stay = tuple(n for n in losers if n not in gone)", "stay = ()"),
        "another row contradicts them",
    ),
    Wrong(
        "filter_examples",
        "the topic is not used",
        FILTER.replace("topic_of(rows[n], topic) or pairs[n][0]", "pairs[n][0]"),
        "topic",
    ),
    Wrong(
        "filter_examples",
        "the first topic column alone",
        FILTER.replace("topic_of(rows[n], topic)", "topic_of(rows[n], topic[:1])"),
        "only the first column",
    ),
    Wrong(
        "filter_examples",
        "rows without a topic share one",
        FILTER.replace(
            "topic_of(rows[n], topic) or pairs[n][0]",
            "topic_of(rows[n], topic) if topic else pairs[n][0]",
        ).replace(
            "plain_form(rows[n][a])) for n in left}", "plain_form(rows[n][a])) for n in left}"
        ),
        "goes as 'contradiction'",
    ),
    Wrong(
        "filter_examples",
        "test questions are not used",
        FILTER.replace(TEST_SET, "    left = [n for n in left if n not in gone]\n"),
        "test_questions is not used",
    ),
    Wrong(
        "filter_examples",
        "places and numbers are mixed up",
        FILTER.replace("gone[left[hit.document]]", "gone[hit.document]"),
        "goes as",
    ),
    Wrong(
        "filter_examples",
        "test questions in questions alone",
        FILTER.replace('f"{rows[n][q]} {rows[n][a]}"', "rows[n][q]"),
        "an answer may hold a test question",
    ),
    Wrong(
        "filter_examples",
        "long answers stay",
        FILTER.replace("fit_answer(row[q], row[a], fits, too_long)", "row[a]"),
        "goes as 'too long'",
    ),
    Wrong(
        "filter_examples",
        "always cut",
        FILTER.replace("row[a], fits, too_long)", "row[a], fits, 'cut')"),
        "too_long='refuse'",
    ),
    Wrong(
        "filter_examples",
        "rows are shortened in place",
        FILTER.replace("kept.append({**row, a: text})", "kept.append(row)").replace(
            "            cut.append(n)", "            cut.append(n)\n            row[a] = text"
        ),
        "was changed",
    ),
    Wrong(
        "filter_examples",
        "other columns are lost",
        FILTER.replace("kept.append({**row, a: text})", "kept.append({q: row[q], a: text})"),
        "unchanged",
    ),
    Wrong(
        "filter_examples",
        "shortened is not told",
        FILTER.replace("tuple(cut), stay", "(), stay"),
        "shortened holds the numbers",
    ),
    Wrong(
        "filter_examples",
        "dropped in the order of the stages",
        FILTER.replace("for n in sorted(gone)", "for n in gone"),
        "in the order of the rows",
    ),
    Wrong(
        "filter_examples",
        "the number of kept rows",
        FILTER.replace("FilterReport(len(rows)", "FilterReport(len(kept)"),
        "n_rows",
    ),
    Wrong(
        "filter_examples",
        "nothing is refused",
        FILTER.replace("    check_choices(rows, (*columns, *topic), conflicts, too_long)\n", ""),
        "raise a ValueError",
    ),
    Wrong(
        "filter_examples",
        "does no work: everything stays",
        """def filter_examples(rows, columns=COLUMNS, **choices):
    return list(rows), FilterReport(len(rows), ())
""",
        "goes as",
    ),
    Wrong(
        "filter_examples",
        "does no work: everything goes",
        """def filter_examples(rows, columns=COLUMNS, **choices):
    return [], FilterReport(len(rows), tuple(Dropped(n, "no", "") for n in range(len(rows))))
""",
        "yours",
    ),
    Wrong(
        "response_mask",
        "ids compared with `is`",
        MASK.replace("token_id == ", "token_id is "),
        "compare them with ==",
    ),
    Wrong(
        "response_mask",
        "lists alone",
        MASK.replace("in token_ids:", "in token_ids + []:"),
        "a tuple of ids",
    ),
    Wrong(
        "render_chat",
        "a pair without names",
        CHAT.replace("ChatTokens(ids, ", "(ids, "),
        "return ChatTokens",
    ),
    Wrong(
        "render_chat",
        "the system text taken out of the caller's list",
        CHAT.replace(
            "    for message in fold_system(messages):",
            "    folded = fold_system(messages)\n    if messages[0].get('role') == 'system':\n"
            "        messages.pop(0)\n    for message in folded:",
        ),
        "`messages` was changed",
    ),
    Wrong(
        "render_chat",
        "roles in any capitals",
        CHAT.replace('message.get("role")', 'str(message.get("role")).lower()'),
        "the role 'User'",
    ),
    Wrong(
        "sft_loss",
        "each row must have a response",
        LOSS.replace("if not (targets != -100).any():", "if not (targets != -100).any(1).all():"),
        "nowhere in the second of three rows",
    ),
    Wrong(
        "sft_loss",
        "a mask of as many numbers in another shape",
        LOSS.replace(
            "response_mask.shape != targets.shape",
            "len(response_mask.flatten()) != len(targets.flatten())",
        ).replace("~response_mask", "~response_mask.reshape(targets.shape)"),
        "a mask (4, 2) for targets (2, 4)",
    ),
    Wrong(
        "pack_examples",
        "a target that is the padding token is hidden",
        PACK.replace(
            "    return PackedRows(",
            "    targets = targets.masked_fill(targets == pad_id, -100)\n    return PackedRows(",
        ),
        "a token of the response counts",
    ),
    Wrong(
        "pack_examples",
        "four tensors without names",
        PACK.replace("return PackedRows(", "return ("),
        "return PackedRows",
    ),
    Wrong(
        "pack_examples",
        "the caller's lists grow",
        PACK.replace(
            "            start = stop\n",
            "            start = stop\n            ids.append(pad_id)\n",
        ),
        "`examples` was changed",
    ),
    Wrong(
        "filter_examples",
        "hands in plain form",
        FILTER.replace("others = {n: repr(", "others = {n: plain_form(repr(").replace(
            "not in columns]) for n in left}", "not in columns])) for n in left}"
        ),
        "compared as they stand",
    ),
    Wrong(
        "filter_examples",
        "a part of a test question counts as the question",
        FILTER.replace("N_TEST_WORDS)", "5)"),
        "stays; yours goes as 'in the test set'",
    ),
    Wrong(
        "filter_examples",
        "what has gone for the test set contradicts others",
        FILTER.replace("    left = [n for n in left if n not in gone]\n", "")
        .replace(COPIES, COPIES.replace("gone |= ", "gone |= {} if test_questions else "))
        .replace(
            "pairs = {n: pair for n, pair in pairs.items() if n not in gone}\n",
            "pairs = {n: pair for n, pair in pairs.items() if test_questions or n not in gone}\n",
        )
        .replace("gone |= losers", "gone = losers | gone"),
        "contradicts nobody",
    ),
    Wrong(
        "filter_examples",
        "answers that are cut off contradict others",
        FILTER.replace(
            "        if fault:\n", "        if fault and fault[0] != 'answer cut off':\n"
        ).replace(
            "    dropped = tuple(",
            "    for n, row in enumerate(rows):\n        if find_fault(row, columns):\n"
            "            gone[n] = find_fault(row, columns)\n"
            "    kept = [row for row in kept if not find_fault(row, columns)]\n"
            "    dropped = tuple(",
        ),
        "15 mg.",
    ),
    Wrong(
        "filter_examples",
        "a topic of the columns that are there",
        FILTER.replace(
            "topic_of(rows[n], topic) or",
            "tuple(plain_form(rows[n][t]) for t in topic if t in rows[n]) or",
        ),
        "stays; yours goes as 'contradiction'",
    ),
    Wrong(
        "filter_examples",
        "fits asked with the answer first",
        FILTER.replace(
            "fit_answer(row[q], row[a], fits, too_long)",
            "fit_answer(row[q], row[a], fits and (lambda q, a: fits(a, q)), too_long)",
        ),
        "fits(question, answer)",
    ),
    Wrong(
        "response_mask",
        "token 0 of an answer is left out",
        MASK.replace("append(is_answer)", "append(is_answer and (token_id != 0 or end_id == 0))"),
        "one question, one answer",
    ),
    Wrong(
        "sft_loss",
        "a little is added to each share",
        LOSS.replace(
            "return cross_entropy(logits, targets)",
            "return cross_entropy((logits.softmax(-1) + 1e-9).log(), targets)",
        ),
        "logits up to 1500",
    ),
]

EQUIVALENT = {
    ("render_chat", "Sub -> Add in `len(messages) - len(folded)`"): (
        "the number of a message stands in the words of an error alone"
    ),
    ("sft_loss", "delete `if not bool((targets != IGNORE_INDEX).any()):`"): (
        "cross_entropy refuses targets that are all ignored, too, in other words"
    ),
    ("filter_examples", "1 -> -1 in `pairs[k][1]`"): "a pair's second value is its last",
}
