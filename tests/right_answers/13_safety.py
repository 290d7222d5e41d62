"""Lab 13: right answers of another shape than the course's own."""

RIGHT = {
    "toxicity_score": [
        # a set of words, a branch for each sign of the logit
        """
def toxicity_score(texts, weights, bias):
    import math

    def probability(x):
        return 1 / (1 + math.exp(-x)) if x > -700 else 0.0

    found = []
    for text in texts:
        held = set(words_of(text)) & set(weights)
        found.append({"toxicity": float(probability(bias + sum(weights[w] for w in held)))})
    return found
""",
        # a matrix of words times the weights
        """
def toxicity_score(texts, weights, bias):
    names = list(weights)
    holds = torch.tensor(
        [[float(name in words_of(text)) for name in names] for text in texts], dtype=torch.float64
    ).reshape(len(texts), len(names))
    logits = holds @ torch.tensor([weights[n] for n in names], dtype=torch.float64) + bias
    return [{"toxicity": p.item()} for p in torch.sigmoid(logits)]
""",
    ],
    "filter_toxic": [
        # numbers first, chats after
        """
def filter_toxic(chats, scores, threshold=0.5):
    if threshold != threshold or threshold < 0 or threshold > 1:
        raise ValueError(f"threshold {threshold} is outside 0 to 1")
    shapes = [[len(chat) for chat in chats], [len(of_chat) for of_chat in scores]]
    if shapes[0] != shapes[1]:
        raise ValueError(f"messages {shapes[0]}, scores {shapes[1]}")
    flat = [score for of_chat in scores for score in of_chat]
    if any(math.isnan(score) or score < 0 or score > 1 for score in flat):
        raise ValueError("a score outside 0 to 1")
    dropped = []
    for number in range(len(chats)):
        for message, score in zip(chats[number], scores[number]):
            if message["role"] == "assistant" and score >= threshold:
                dropped.append(number)
                break
    return [chats[n] for n in range(len(chats)) if n not in dropped], dropped
""",
        # the worst answer of each chat
        """
def filter_toxic(chats, scores, threshold=0.5):
    if not 0 <= threshold <= 1 or len(chats) != len(scores):
        raise ValueError("threshold or lengths")
    worst = []
    for chat, of_chat in zip(chats, scores):
        answers = [-1.0]
        for message, score in zip(chat, of_chat, strict=True):
            if not (score >= 0 and score <= 1):
                raise ValueError(f"score {score}")
            if message["role"] == "assistant":
                answers.append(score)
        worst.append(max(answers))
    kept = [chat for chat, value in zip(chats, worst) if value < threshold]
    return kept, [n for n, value in enumerate(worst) if value >= threshold]
""",
    ],
    "build_safety_pairs": [
        # a list with a set of what was seen
        """
def build_safety_pairs(rows, threshold=0.5):
    pairs, seen = [], set()

    def add(prompt, chosen, rejected, why):
        if chosen == rejected or (prompt, chosen, rejected) in seen:
            return
        seen.add((prompt, chosen, rejected))
        pairs.append(dict(prompt=prompt, chosen=chosen, rejected=rejected, why=why))

    for row in rows:
        answers = list(zip(row["drawn"], row["refused"], row["toxicity"], strict=True))
        if row["truth"]:
            add(row["prompt"], row["truth"], row["refusal"], "over-refusal")
            for answer, _, score in answers:
                if score >= threshold:
                    add(row["prompt"], row["truth"], answer, "toxic")
        else:
            for answer, refuses, _ in answers:
                if not refuses:
                    add(row["prompt"], row["refusal"], answer, "made up")
    return pairs
""",
        # all candidates first, then the filter
        """
def build_safety_pairs(rows, threshold=0.5):
    candidates = []
    for row in rows:
        n = len(row["drawn"])
        if len(row["refused"]) != n or len(row["toxicity"]) != n:
            raise ValueError("lists of different lengths")
        known = row["truth"] != ""
        better = row["truth"] if known else row["refusal"]
        if known:
            candidates.append((row["prompt"], better, row["refusal"], "over-refusal"))
        for i in range(n):
            if known and row["toxicity"][i] >= threshold:
                candidates.append((row["prompt"], better, row["drawn"][i], "toxic"))
            if not known and not row["refused"][i]:
                candidates.append((row["prompt"], better, row["drawn"][i], "made up"))
    kept = {}
    for prompt, chosen, rejected, why in reversed(candidates):
        kept[prompt, chosen, rejected] = why
    result = []
    for one in candidates:
        if one[:3] in kept and one[1] != one[2]:
            del kept[one[:3]]
            result.append(dict(zip(("prompt", "chosen", "rejected", "why"), one)))
    return result
""",
    ],
    "retrieve": [
        # passage by passage, sorted by a pair
        """
def retrieve(query, passages, k, *, k1=1.5, b=0.75):
    if k <= 0 or k1 < 0 or b < 0 or b > 1:
        raise ValueError(f"k={k}, k1={k1}, b={b}")
    held = [words_of(passage) for passage in passages]
    asked, N = words_of(query), len(held)
    total = sum(map(len, held))
    found = []
    for i, words in enumerate(held):
        score = 0.0
        for word in asked:
            f = words.count(word)
            if f == 0:
                continue
            n = len([1 for other in held if word in other])
            idf = math.log((N + 1) / (n + 0.5))
            score += idf * f / (f + k1 * (1 - b) + k1 * b * len(words) * N / total)
        if score:
            found.append((-score, i))
    return [(i, -negative) for negative, i in sorted(found)][:k]
""",
        # a matrix of counts
        """
def retrieve(query, passages, k, *, k1=1.5, b=0.75):
    import torch

    if k < 1 or not k1 >= 0 or not 0 <= b <= 1:
        raise ValueError("out of range")
    asked = words_of(query)
    if not asked or not passages:
        return []
    f = torch.tensor(
        [[float(words_of(p).count(w)) for w in asked] for p in passages], dtype=torch.float64
    )
    lengths = torch.tensor([float(len(words_of(p))) for p in passages], dtype=torch.float64)
    long = 1 - b + b * lengths / lengths.mean().clamp(min=1e-9)
    n = (f > 0).sum(0)
    idf = torch.log1p((len(passages) - n + 0.5) / (n + 0.5))
    scores = (idf * torch.where(f > 0, f / (f + k1 * long[:, None]), 0.0)).sum(1)
    order = scores.sort(descending=True, stable=True).indices[:k].tolist()
    return [(i, scores[i].item()) for i in order if scores[i] > 0]
""",
    ],
    "check_facts": [
        # value by value
        """
def check_facts(answer, passages, values, entity):
    if entity.strip() == "":
        raise ValueError("no entity")
    result = []
    for value in mentions(answer, values):
        held = any(
            mentions(passage, [entity]) and value in mentions(passage, values)
            for passage in passages
        )
        result.append((value, held))
    return result
""",
        # one dictionary, filled with False and set to True
        """
def check_facts(answer, passages, values, entity):
    if not entity or entity.isspace():
        raise ValueError("name somebody")
    found = dict.fromkeys(mentions(answer, values), False)
    for passage in passages:
        if mentions(passage, [entity]) == []:
            continue
        for value in mentions(passage, values):
            if value in found:
                found[value] = True
    return list(found.items())
""",
    ],
    "answer_with_facts": [
        """
def answer_with_facts(drafts, passages, values, entity, refusal):
    if entity.strip() == "":
        raise ValueError("no entity")
    verdicts = [dict(check_facts(d, passages, values, entity)) for d in drafts]
    good = [d for d, found in zip(drafts, verdicts) if False not in found.values()]
    return good[0] if good else refusal
""",
        """
def answer_with_facts(drafts, passages, values, entity, refusal):
    check_facts("", passages, values, entity)
    for draft in drafts:
        wrong = [v for v, held in check_facts(draft, passages, values, entity) if not held]
        if not wrong:
            return draft
    else:
        return refusal
""",
    ],
}
