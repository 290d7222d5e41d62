"""Wrong answers to the exercises of lab 01, with words that their hints must hold."""

from tests.wrong_answers import Wrong

WRONG = [
    Wrong(
        "count_pairs",
        "counts distinct words, not occurrences",
        """
def count_pairs(words):
    counts = defaultdict(int)
    for ids in words:
        for pair in pairwise(ids):
            counts[pair] += 1
    return counts
""",
        "weigh a word by its number",
    ),
    Wrong(
        "count_pairs",
        "counts a pair once in a word",
        """
def count_pairs(words):
    counts = {}
    for ids, n in words.items():
        for pair in set(pairwise(ids)):
            counts[pair] = counts.get(pair, 0) + n
    return counts
""",
        "twice in one word",
    ),
    Wrong(
        "count_pairs",
        "skips overlapping pairs",
        """
def count_pairs(words):
    counts = {}
    for ids, n in words.items():
        i = 0
        while i + 1 < len(ids):
            pair = (ids[i], ids[i + 1])
            counts[pair] = counts.get(pair, 0) + n
            i += 2 if ids[i] == ids[i + 1] else 1
    return counts
""",
        "overlapping pairs count each",
    ),
    Wrong(
        "count_pairs",
        "takes (1, 2) and (2, 1) for the same pair",
        """
def count_pairs(words):
    counts = {}
    for ids, n in words.items():
        for a, b in pairwise(ids):
            pair = (min(a, b), max(a, b))
            counts[pair] = counts.get(pair, 0) + n
    return counts
""",
        "pairs are ordered",
    ),
    Wrong(
        "count_pairs",
        "lets pairs cross the border of words",
        """
def count_pairs(words):
    counts = {}
    flat = [(i, n) for ids, n in words.items() for i in ids]
    for (a, n), (b, _) in pairwise(flat):
        counts[a, b] = counts.get((a, b), 0) + n
    return counts
""",
        "no pair crosses a word's border",
    ),
    Wrong(
        "count_pairs",
        "wraps around to the first id",
        """
def count_pairs(words):
    counts = {}
    for ids, n in words.items():
        neighbours = [(ids[i - 1], ids[i]) for i in range(len(ids))]
        for pair in neighbours:
            counts[pair] = counts.get(pair, 0) + n
    return counts
""",
        "do not wrap around",
    ),
    Wrong(
        "count_pairs",
        "keeps the count of the last word only",
        """
def count_pairs(words):
    counts = {}
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] = n
    return counts
""",
        "do not replace it",
    ),
    Wrong(
        "count_pairs",
        "forgets to return",
        """
def count_pairs(words):
    counts = {}
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] = counts.get(pair, 0) + n
""",
        "return its counts",
    ),
    Wrong(
        "count_pairs",
        "empties the dictionary while it counts",
        """
def count_pairs(words):
    counts = {}
    while words:
        ids, n = words.popitem()
        for pair in pairwise(ids):
            counts[pair] = counts.get(pair, 0) + n
    return counts
""",
        "belongs to the caller",
    ),
    Wrong(
        "merge_pair",
        "merges the first occurrence only",
        """
def merge_pair(ids, pair, new_id):
    ids = tuple(ids)
    for i in range(len(ids) - 1):
        if ids[i : i + 2] == tuple(pair):
            return ids[:i] + (new_id,) + ids[i + 2 :]
    return ids
""",
        "not the first",
    ),
    Wrong(
        "merge_pair",
        "leaves the right half in place",
        """
def merge_pair(ids, pair, new_id):
    ids = tuple(ids)
    return tuple(new_id if ids[i : i + 2] == pair else ids[i] for i in range(len(ids)))
""",
        "go on by 2",
    ),
    Wrong(
        "merge_pair",
        "loses the last id",
        """
def merge_pair(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)
""",
        "is the last id lost",
    ),
    Wrong(
        "merge_pair",
        "goes from right to left",
        """
def merge_pair(ids, pair, new_id):
    merged, i = [], len(ids) - 1
    while i >= 0:
        if i > 0 and (ids[i - 1], ids[i]) == pair:
            merged.append(new_id)
            i -= 2
        else:
            merged.append(ids[i])
            i -= 1
    return tuple(merged[::-1])
""",
        "start from the left",
    ),
    Wrong(
        "merge_pair",
        "merges an id twice where pairs overlap",
        """
def merge_pair(ids, pair, new_id):
    ids = tuple(ids)
    hits = {i for i in range(len(ids) - 1) if ids[i : i + 2] == pair}
    kept = range(len(ids))
    return tuple(new_id if i in hits else ids[i] for i in kept if i in hits or i - 1 not in hits)
""",
        "takes part in one merge",
    ),
    Wrong(
        "merge_pair",
        "returns a list",
        """
def merge_pair(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged
""",
        "return a tuple",
    ),
    Wrong(
        "merge_pair",
        "merges the reversed pair, too",
        """
def merge_pair(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if sorted(ids[i : i + 2]) == sorted(pair):
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)
""",
        "a pair is ordered",
    ),
    Wrong(
        "merge_pair",
        "changes the list that it was given",
        """
def merge_pair(ids, pair, new_id):
    i = 0
    while i + 1 < len(ids):
        if (ids[i], ids[i + 1]) == pair:
            if isinstance(ids, tuple):
                ids = list(ids)
            ids[i : i + 2] = [new_id]
        i += 1
    return tuple(ids)
""",
        "belongs to the caller",
    ),
    Wrong(
        "merge_pair",
        "looks past the end",
        """
def merge_pair(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)
""",
        "IndexError",
    ),
    Wrong(
        "train_bpe",
        "counts distinct words, not occurrences",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    return train_bpe_by_hand(dict.fromkeys(words, 1), vocab_size)
""",
        "weigh each word",
    ),
    Wrong(
        "train_bpe",
        "takes the larger pair of equal counts",
        """
def train_bpe(words, vocab_size):
    merges = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return merges
""",
        "you take the larger",
    ),
    Wrong(
        "train_bpe",
        "takes the pair seen first of equal counts",
        """
def train_bpe(words, vocab_size):
    merges = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        best = max(counts, key=counts.get)
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return merges
""",
        "the one seen first",
    ),
    Wrong(
        "train_bpe",
        "never counts again",
        """
def train_bpe(words, vocab_size):
    counts = count_pairs(words)
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[: vocab_size - 256]
""",
        "from before the first",
    ),
    Wrong(
        "train_bpe",
        "makes vocab_size merges",
        """
def train_bpe(words, vocab_size):
    return train_bpe_by_hand(words, vocab_size + 256)
""",
        "vocab_size counts the 256 bytes",
    ),
    Wrong(
        "train_bpe",
        "numbers merges from 257",
        """
def train_bpe(words, vocab_size):
    merges = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = {merge_pair(ids, best, 257 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return merges
""",
        "yours is one off",
    ),
    Wrong(
        "train_bpe",
        "recounts in each round",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    return train_bpe_by_hand(words, vocab_size)
""",
        "visit only the words",
    ),
    Wrong(
        "train_bpe",
        "stops when the best pair occurs once",
        """
def train_bpe(words, vocab_size):
    merges = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts or max(counts.values()) < 2:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return merges
""",
        "until none is left",
    ),
    Wrong(
        "train_bpe",
        "does not take the old pairs out of the counts",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    counts, spelled, merges = Counter(count_pairs(words)), dict(words), []
    while counts and 256 + len(merges) < vocab_size:
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        del counts[best]
        for ids in [ids for ids in spelled if best in pairwise(ids)]:
            new = merge_pair(ids, best, 256 + len(merges))
            spelled[new] = spelled.pop(ids)
            for pair in pairwise(new):
                if 256 + len(merges) in pair:
                    counts[pair] += spelled[new]
        merges.append(best)
    return merges
""",
        "merges differ",
    ),
    Wrong(
        "train_bpe",
        "accepts a vocabulary smaller than the bytes",
        """
def train_bpe(words, vocab_size):
    merges = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return merges
""",
        "too small for the bytes",
    ),
    Wrong(
        "encode",
        "merges the leftmost pair, not the first learned",
        """
def encode(text, merges):
    new_ids = {pair: 256 + k for k, pair in enumerate(merges)}
    token_ids = []
    for word in split_words(text):
        ids = list(word.encode())
        i = 0
        while i + 1 < len(ids):
            if (ids[i], ids[i + 1]) in new_ids:
                ids[i : i + 2] = [new_ids[ids[i], ids[i + 1]]]
                i = 0
            else:
                i += 1
        token_ids += ids
    return token_ids
""",
        "bc was learned first",
    ),
    Wrong(
        "encode",
        "merges the last learned first",
        """
def encode(text, merges):
    token_ids = []
    for word in split_words(text):
        ids = tuple(word.encode())
        for k in reversed(range(len(merges))):
            ids = merge_pair(ids, merges[k], 256 + k)
        token_ids += ids
    return token_ids
""",
        "learned first goes first",
    ),
    Wrong(
        "encode",
        "goes through once and stops",
        """
def encode(text, merges):
    new_ids = {pair: 256 + k for k, pair in enumerate(merges)}
    token_ids = []
    for word in split_words(text):
        ids = tuple(word.encode())
        known = [pair for pair in pairwise(ids) if pair in new_ids]
        if known:
            first = min(known, key=new_ids.__getitem__)
            ids = merge_pair(ids, first, new_ids[first])
        token_ids += ids
    return token_ids
""",
        "go on until",
    ),
    Wrong(
        "encode",
        "does not split into words",
        """
def encode(text, merges):
    ids = tuple(text.encode())
    for k, pair in enumerate(merges):
        ids = merge_pair(ids, pair, 256 + k)
    return list(ids)
""",
        "no merge crosses a word's border",
    ),
    Wrong(
        "encode",
        "takes code points for bytes",
        """
def encode(text, merges):
    token_ids = []
    for word in split_words(text):
        ids = tuple(map(ord, word))
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids += ids
    return token_ids
""",
        "two bytes in UTF-8",
    ),
    Wrong(
        "encode",
        "returns bytes without merging",
        """
def encode(text, merges):
    return [byte for word in split_words(text) for byte in word.encode()]
""",
        "is any merge applied",
    ),
    Wrong(
        "encode",
        "returns the number of the merge as id",
        """
def encode(text, merges):
    token_ids = []
    for word in split_words(text):
        ids = tuple(word.encode())
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids += [i - 256 if i >= 256 else i for i in ids]
    return token_ids
""",
        "makes id 256 + k",
    ),
    Wrong(
        "encode",
        "drops what it can't read",
        """
def encode(text, merges):
    text = text.encode("utf-8", errors="ignore").decode()
    token_ids = []
    for word in split_words(text):
        ids = tuple(word.encode())
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids += ids
    return token_ids
""",
        "lone surrogate",
    ),
    Wrong(
        "encode",
        "splits at spaces alone",
        """
def encode(text, merges):
    token_ids = []
    for word in text.split(" "):
        ids = tuple((" " + word if token_ids else word).encode())
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids += ids
    return token_ids
""",
        "digits stand alone",
    ),
    Wrong(
        "decode",
        "decodes each token alone",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    return "".join(pieces[i].decode("utf-8", errors="replace") for i in token_ids)
""",
        "join the bytes of all ids",
    ),
    Wrong(
        "decode",
        "takes bytes for code points",
        """
def decode(token_ids, merges):
    pieces = [chr(byte) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    return "".join(pieces[i] for i in token_ids)
""",
        "no code points",
    ),
    Wrong(
        "decode",
        "returns bytes",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    return b"".join(pieces[i] for i in token_ids)
""",
        "got bytes",
    ),
    Wrong(
        "decode",
        "stops at broken bytes",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    return b"".join(pieces[i] for i in token_ids).decode("utf-8")
""",
        "UnicodeDecodeError",
    ),
    Wrong(
        "decode",
        "drops broken bytes",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    return b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="ignore")
""",
        "show it as U+FFFD",
    ),
    Wrong(
        "decode",
        "counts negative ids from the end",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    if any(i >= len(pieces) for i in token_ids):
        raise ValueError(token_ids)
    return b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="replace")
""",
        "outside the vocabulary",
    ),
    Wrong(
        "decode",
        "lets an IndexError out",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    return b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="replace")
""",
        "outside the vocabulary",
    ),
    Wrong(
        "decode",
        "strips spaces",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    return b"".join(pieces[i].strip() for i in token_ids).decode("utf-8", errors="replace")
""",
        "spaces are in the tokens",
    ),
    Wrong(
        "bits_per_byte",
        "forgets to change nats to bits",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    return loss_nats * n_tokens / n_bytes
""",
        "that is nats",
    ),
    Wrong(
        "bits_per_byte",
        "gives bits per token",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    return loss_nats / math.log(2)
""",
        "the loss is per token",
    ),
    Wrong(
        "bits_per_byte",
        "takes bytes per token",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    return loss_nats * n_bytes / n_tokens / math.log(2)
""",
        "not the reverse",
    ),
    Wrong(
        "bits_per_byte",
        "multiplies by ln 2",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    return loss_nats * math.log(2) * n_tokens / n_bytes
""",
        "not times",
    ),
    Wrong(
        "bits_per_byte",
        "takes the mean for the sum",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    return loss_nats / math.log(2) / n_bytes
""",
        "the loss is a mean",
    ),
    Wrong(
        "bits_per_byte",
        "returns 0 for an empty text",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        return 0.0
    return loss_nats * n_tokens / (math.log(2) * n_bytes)
""",
        "raise ValueError",
    ),
    Wrong(
        "bits_per_byte",
        "rounds",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    return round(loss_nats * n_tokens / (math.log(2) * n_bytes), 2)
""",
        "one token of one byte",
    ),
]

# (exercise, mutant): why no check can tell it from the reference.
EQUIVALENT: dict[tuple[str, str], str] = {}
