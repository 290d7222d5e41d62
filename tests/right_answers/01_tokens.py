"""Right answers of lab 01 that take another way than the course's."""

RIGHT = {
    "count_pairs": [
        """
def count_pairs(words):
    from collections import Counter

    counts = Counter()
    for ids, n in words.items():
        for pair, times in Counter(zip(ids, ids[1:])).items():
            counts[pair] += n * times
    return counts
""",
        """
def count_pairs(words):
    counts = defaultdict(int)
    for ids in sorted(words, reverse=True):
        for i in range(1, len(ids)):
            counts[ids[i - 1], ids[i]] += words[ids]
    return counts
""",
    ],
    "merge_pair": [
        """
def merge_pair(ids, pair, new_id):
    merged = []
    ids = list(ids)[::-1]
    while ids:
        merged.append(ids.pop())
        if ids and (merged[-1], ids[-1]) == tuple(pair):
            ids.pop()
            merged[-1] = new_id
    return tuple(merged)
""",
        """
def merge_pair(ids, pair, new_id):
    merged, joined = (), False
    for i, one in enumerate(ids):
        if joined:
            joined = False
        elif tuple(ids[i : i + 2]) == pair:
            merged, joined = (*merged, new_id), True
        else:
            merged = (*merged, one)
    return merged
""",
        """
def merge_pair(ids, pair, new_id):
    text = "".join(chr(i) for i in ids)
    return tuple(ord(c) for c in text.replace(chr(pair[0]) + chr(pair[1]), chr(new_id)))
""",
    ],
    "train_bpe": [
        # A sorted row in the place of a heap, words as lists, and an index by numbers of words.
        """
def train_bpe(words, vocab_size):
    import bisect

    if vocab_size < 256:
        raise ValueError("vocab_size")
    rows, numbers = [list(word) for word in words], list(words.values())
    counts, holders = {}, {}
    for k, row in enumerate(rows):
        for pair in zip(row, row[1:]):
            counts[pair] = counts.get(pair, 0) + numbers[k]
            holders.setdefault(pair, set()).add(k)
    order = sorted((count, -a, -b) for (a, b), count in counts.items())
    merges = []
    while order and len(merges) < vocab_size - 256:
        _, a, b = order[-1]
        best = (-a, -b)
        changes = {}
        for k in holders[best]:
            row = rows[k]
            for pair in zip(row, row[1:]):
                changes[pair] = changes.get(pair, 0) - numbers[k]
            row = rows[k] = list(merge_pair(row, best, 256 + len(merges)))
            for pair in zip(row, row[1:]):
                changes[pair] = changes.get(pair, 0) + numbers[k]
                holders.setdefault(pair, set()).add(k)
        for pair, change in changes.items():
            before = counts.get(pair, 0)
            if before > 0:
                del order[bisect.bisect_left(order, (before, -pair[0], -pair[1]))]
            counts[pair] = before + change
            if counts[pair] > 0:
                bisect.insort(order, (counts[pair], -pair[0], -pair[1]))
        merges.append(best)
    return merges
""",
        # The pairs of each count in a set; the highest count only goes down.
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError("vocab_size")
    words = [(word, n) for word, n in words.items()]
    counts, holders, of_count = defaultdict(int), defaultdict(set), {}
    for k, (word, n) in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += n
            holders[pair].add(k)
    for pair, count in counts.items():
        of_count.setdefault(count, set()).add(pair)
    levels = [-count for count in of_count]
    heapq.heapify(levels)
    merges = []
    while len(merges) < vocab_size - 256:
        while levels and not of_count.get(-levels[0]):
            heapq.heappop(levels)
        if not levels:
            break
        best = min(of_count[-levels[0]])
        change = defaultdict(int)
        for k in holders.pop(best):
            word, n = words[k]
            for pair in pairwise(word):
                change[pair] -= n
            word = merge_pair(word, best, 256 + len(merges))
            for pair in pairwise(word):
                change[pair] += n
                if pair != best:
                    holders[pair].add(k)
            words[k] = word, n
        for pair, more in change.items():
            of_count.get(counts[pair], set()).discard(pair)
            counts[pair] += more
            if counts[pair]:
                if not of_count.get(counts[pair]):
                    heapq.heappush(levels, -counts[pair])
                of_count.setdefault(counts[pair], set()).add(pair)
        merges.append(best)
    return merges
""",
    ],
    "encode": [
        # Merge after merge over each word.
        """
def encode(text, merges):
    ids = []
    for word in split_words(text):
        row = tuple(word.encode())
        for k, pair in enumerate(merges):
            row = merge_pair(row, tuple(pair), 256 + k)
        ids += row
    return ids
""",
        # Words remembered, a recursion on the pair of the lowest rank, its first place alone.
        """
def encode(text, merges):
    rank = {tuple(pair): k for k, pair in enumerate(merges)}
    known = {}

    def joined(row):
        places = [(rank[pair], i) for i, pair in enumerate(zip(row, row[1:])) if pair in rank]
        if not places:
            return row
        k, i = min(places)
        return joined([*row[:i], 256 + k, *row[i + 2 :]])

    ids = []
    for word in split_words(text):
        if word not in known:
            known[word] = joined(list(bytearray(word, "utf-8")))
        ids.extend(known[word])
    return ids
""",
    ],
    "decode": [
        """
def decode(token_ids, merges):
    def spell(i):
        if not 0 <= i < 256 + len(merges):
            raise ValueError("outside")
        return bytes([i]) if i < 256 else b"".join(map(spell, merges[i - 256]))

    return str(b"".join(spell(i) for i in token_ids), "utf-8", "replace")
""",
        """
def decode(token_ids, merges):
    import codecs

    table = {i: bytes([i]) for i in range(256)}
    for k, (a, b) in enumerate(merges):
        table[256 + k] = table[a] + table[b]
    reader = codecs.getincrementaldecoder("utf-8")(errors="replace")
    try:
        text = "".join(reader.decode(table[i]) for i in token_ids)
    except KeyError as error:
        raise ValueError("not in the vocabulary") from error
    return text + reader.decode(b"", final=True)
""",
    ],
    "bits_per_byte": [
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens == 0 or n_bytes == 0:
        raise ValueError("nothing there")
    return loss_nats * (n_tokens / n_bytes) * math.log2(math.e)
""",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    import numpy as np

    if not n_tokens or not n_bytes:
        raise ValueError("nothing there")
    return float(np.log2(np.exp(1.0)) * n_tokens * loss_nats) / n_bytes
""",
    ],
}
