"""Lab 06: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "response_mask": """
def response_mask(token_ids, assistant_id, end_id):
    mask, is_answer = [], False
    for token in token_ids:
        mask.append(is_answer)
        if token == assistant_id:
            is_answer = True
        elif token == end_id:
            is_answer = False
    return mask
""",
    "render_chat": """
def render_chat(messages, tokenizer, add_prompt=False):
    if len(messages) == 0:
        raise ValueError("an empty list")
    folded = fold_system(messages)
    ids = []
    for message in folded:
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant") or not isinstance(content, str):
            raise ValueError("role or content")
        if role == "user":
            ids.append(tokenizer.user_id)
            ids += tokenizer.encode(content)
        if role == "assistant":
            ids.append(tokenizer.assistant_id)
            ids += tokenizer.encode(content)
            ids.append(tokenizer.end_id)
    if add_prompt:
        ids.append(tokenizer.assistant_id)
    return ChatTokens(ids, response_mask(ids, tokenizer.assistant_id, tokenizer.end_id))
""",
    "sft_loss": """
def sft_loss(logits, targets, response_mask=None):
    if response_mask is not None:
        if response_mask.dtype != torch.bool or response_mask.shape != targets.shape:
            raise ValueError("mask")
        targets = targets.masked_fill(~response_mask, -100)
    if not (targets != -100).any():
        raise ValueError("no target")
    return cross_entropy(logits, targets)
""",
    "pack_examples": """
def pack_examples(examples, context_length, pad_id):
    check_examples(examples, context_length)
    rows = fit_rows([len(ids) - 1 for ids, _ in examples], context_length)
    shape = (len(rows), context_length)
    token_ids = torch.full(shape, pad_id)
    targets = torch.full(shape, -100)
    positions = torch.full(shape, 0)
    document_ids = torch.full(shape, -1)
    for row, numbers in enumerate(rows):
        start = 0
        for document, number in enumerate(numbers):
            ids, mask = examples[number]
            batch = shift_targets(torch.tensor(ids), torch.tensor(mask))
            stop = start + len(batch.token_ids)
            token_ids[row, start:stop] = batch.token_ids
            targets[row, start:stop] = batch.targets
            positions[row, start:stop] = torch.arange(stop - start)
            document_ids[row, start:stop] = document
            start = stop
    return PackedRows(token_ids, targets, positions, document_ids)
""",
    "filter_examples": """
def filter_examples(
    rows, columns=COLUMNS, *, topic=(), conflicts="drop", test_questions=(), fits=None,
    too_long="refuse",
):
    check_choices(rows, (*columns, *topic), conflicts, too_long)
    question, answer = columns
    goes = {}
    for number, row in enumerate(rows):
        if find_fault(row, columns):
            goes[number] = find_fault(row, columns)

    def left():
        return [number for number in range(len(rows)) if number not in goes]

    places = left()
    texts = [rows[n][question] + "\\n" + rows[n][answer] for n in places]
    for hit in find_contamination(texts, test_questions, N_TEST_WORDS):
        goes[places[hit.document]] = ("in the test set", "")
    plain = {n: (plain_form(rows[n][question]), plain_form(rows[n][answer])) for n in left()}
    others = {n: str([(k, v) for k, v in rows[n].items() if k not in columns]) for n in left()}
    goes.update(duplicates({n: (plain[n][0], plain[n][1], others[n]) for n in left()}))
    pairs = {n: (topic_of(rows[n], topic) or plain[n][0], plain[n][1]) for n in left()}
    contradicting = contradictions(pairs, conflicts)
    if conflicts != "keep":
        goes.update(contradicting)
    goes.update(duplicates({n: plain[n] for n in left()}))
    kept, shortened = [], []
    for n in left():
        text = fit_answer(rows[n][question], rows[n][answer], fits, too_long)
        if text == "":
            goes[n] = ("too long", "")
        else:
            if text != rows[n][answer]:
                shortened.append(n)
            kept.append({**rows[n], answer: text})
    dropped = tuple(Dropped(n, *goes[n]) for n in sorted(goes))
    stay = tuple(n for n in contradicting if n not in goes)
    return kept, FilterReport(len(rows), dropped, tuple(shortened), stay)
""",
}
