"""Lab 01: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "count_pairs": """
def count_pairs(words):
    counts = {}
    for word, n in words.items():
        for pair in pairwise(word):
            if pair not in counts:
                counts[pair] = 0
            counts[pair] += n
    return counts
""",
    "merge_pair": """
def merge_pair(ids, pair, new_id):
    merged = []
    i = 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)
""",
    "train_bpe": """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError("too small")
    words = dict(words)
    counts = count_pairs(words)
    holders = {}
    for word in words:
        for pair in pairwise(word):
            holders.setdefault(pair, set()).add(word)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    merges = []
    while len(merges) < vocab_size - 256:
        best = None
        while heap and best is None:
            count, pair = heapq.heappop(heap)
            if -count == counts[pair] and counts[pair] > 0:
                best = pair
        if best is None:
            break
        changed = set()
        for word in holders[best]:
            if word not in words:
                continue
            n = words.pop(word)
            for pair in pairwise(word):
                counts[pair] -= n
                changed.add(pair)
            word = merge_pair(word, best, 256 + len(merges))
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + n
                holders.setdefault(pair, set()).add(word)
                changed.add(pair)
            words[word] = n
        merges.append(best)
        for pair in changed:
            heapq.heappush(heap, (-counts[pair], pair))
    return merges
""",
    "encode": """
def encode(text, merges):
    new_ids = {}
    for k, pair in enumerate(merges):
        new_ids[pair] = 256 + k
    ids = []
    for word in split_words(text):
        word = tuple(word.encode("utf-8"))
        while True:
            there = [pair for pair in pairwise(word) if pair in new_ids]
            if not there:
                break
            pair = min(there, key=new_ids.get)
            word = merge_pair(word, pair, new_ids[pair])
        ids.extend(word)
    return ids
""",
    "decode": """
def decode(token_ids, merges):
    pieces = [bytes([b]) for b in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for i in token_ids:
        if i < 0 or i >= len(pieces):
            raise ValueError("no such id")
    return b"".join([pieces[i] for i in token_ids]).decode("utf-8", errors="replace")
""",
    "bits_per_byte": """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError("nothing to divide")
    return loss_nats / math.log(2) * n_tokens / n_bytes
""",
}
