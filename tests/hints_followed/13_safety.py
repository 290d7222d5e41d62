"""Lab 13: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "toxicity_score": """
def toxicity_score(texts, weights, bias):
    logits = []
    for text in texts:
        words = dict.fromkeys(words_of(text))
        logit = bias + sum(weights.get(word, 0.0) for word in words)
        logits.append(logit)
    probabilities = torch.tensor(logits, dtype=torch.float64).sigmoid().tolist()
    return [{"toxicity": p} for p in probabilities]
""",
    "filter_toxic": """
def filter_toxic(chats, scores, threshold=0.5):
    if not 0 <= threshold <= 1:
        raise ValueError("threshold must be from 0 to 1")
    if len(chats) != len(scores):
        raise ValueError("unequal numbers of chats and scores")
    kept, dropped = [], []
    for number, chat in enumerate(chats):
        of_chat = scores[number]
        if len(chat) != len(of_chat):
            raise ValueError("unequal numbers of messages and scores")
        for score in of_chat:
            if not 0 <= score <= 1:
                raise ValueError("a score outside 0 to 1")
        said = [s for m, s in zip(chat, of_chat) if m["role"] == "assistant"]
        if any(s >= threshold for s in said):
            dropped.append(number)
        else:
            kept.append(chat)
    return kept, dropped
""",
    "build_safety_pairs": """
def build_safety_pairs(rows, threshold=0.5):
    pairs = {}
    for row in rows:
        drawn, refused, toxicity = row["drawn"], row["refused"], row["toxicity"]
        if len(drawn) != len(refused) or len(drawn) != len(toxicity):
            raise ValueError("lists of different lengths")
        if row["truth"] == "":
            chosen = row["refusal"]
            beside = [(a, "made up") for a, no in zip(drawn, refused) if not no]
        else:
            chosen = row["truth"]
            beside = [(row["refusal"], "over-refusal")]
            beside += [(a, "toxic") for a, s in zip(drawn, toxicity) if s >= threshold]
        for rejected, why in beside:
            if rejected == chosen:
                continue
            pairs.setdefault((row["prompt"], chosen, rejected), why)
    return [
        {"prompt": prompt, "chosen": chosen, "rejected": rejected, "why": why}
        for (prompt, chosen, rejected), why in pairs.items()
    ]
""",
    "retrieve": """
def retrieve(query, passages, k, *, k1=1.5, b=0.75):
    if k < 1 or k1 < 0 or not 0 <= b <= 1:
        raise ValueError("k, k1 or b is out of range")
    counts = [Counter(words_of(p)) for p in passages]
    lengths = [sum(count.values()) for count in counts]
    N = len(passages)
    mean_length = sum(lengths) / max(N, 1)
    scores = [0.0] * N
    for word in words_of(query):
        n = sum(word in count for count in counts)
        weight = math.log(1 + (N - n + 0.5) / (n + 0.5))
        for i, count in enumerate(counts):
            if word in count:
                f, length = count[word], lengths[i]
                scores[i] += weight * f / (f + k1 * (1 - b + b * length / mean_length))
    indices = [i for i in range(N) if scores[i] > 0]
    indices.sort(key=lambda i: -scores[i])
    return [(index, scores[index]) for index in indices[:k]]
""",
    "check_facts": """
def check_facts(answer, passages, values, entity):
    if not entity.strip():
        raise ValueError("name whom the question is about")
    about = [p for p in passages if mentions(p, [entity])]
    known = set()
    for p in about:
        known.update(mentions(p, values))
    return [(value, value in known) for value in mentions(answer, values)]
""",
    "answer_with_facts": """
def answer_with_facts(drafts, passages, values, entity, refusal):
    if not entity.strip():
        raise ValueError("name whom the question is about")
    for draft in drafts:
        if all(held for _, held in check_facts(draft, passages, values, entity)):
            return draft
    return refusal
""",
}
