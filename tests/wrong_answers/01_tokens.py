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
        "the count of an earlier word is lost, add to it",
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
        "got None",
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
        "was changed by your function",
    ),
    Wrong(
        "count_pairs",
        "keeps its counts from call to call",
        """
def count_pairs(words, counts={}):
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] = counts.get(pair, 0) + n
    return counts
""",
        "hold one pair each",
    ),
    Wrong(
        "count_pairs",
        "misses the last pair of each word",
        """
def count_pairs(words):
    counts = Counter()
    for ids, n in words.items():
        for i in range(len(ids) - 2):
            counts[ids[i], ids[i + 1]] += n
    return dict(counts)
""",
        "the words (1, 2) and (3, 4), once each, hold one pair each",
    ),
    Wrong(
        "count_pairs",
        "goes on by two",
        """
def count_pairs(words):
    counts = Counter()
    for ids, n in words.items():
        for i in range(0, len(ids) - 1, 2):
            counts[ids[i], ids[i + 1]] += n
    return dict(counts)
""",
        "every place begins a pair",
    ),
    Wrong(
        "count_pairs",
        "counts all pairs of a word, neighbours or not",
        """
def count_pairs(words):
    counts = Counter()
    for ids, n in words.items():
        for i in range(len(ids)):
            for j in range(i + 1, len(ids)):
                counts[ids[i], ids[j]] += n
    return dict(counts)
""",
        "an id and one further away are counted as well",
    ),
    Wrong(
        "count_pairs",
        "lists pairs that don't occur",
        """
def count_pairs(words):
    letters = {i for ids in words for i in ids}
    counts = {(a, b): 0 for a in letters for b in letters}
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] += n
    return counts
""",
        "a pair with a count of 0 is in your answer",
    ),
    Wrong(
        "count_pairs",
        "gives shares, not counts",
        """
def count_pairs(words):
    counts = Counter()
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] += n
    return {pair: n / counts.total() for pair, n in counts.items()}
""",
        "the words (1, 2) and (3, 4), once each, hold one pair each",
    ),
    Wrong(
        "count_pairs",
        "returns floats",
        """
def count_pairs(words):
    counts = defaultdict(float)
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] += n
    return dict(counts)
""",
        "whole numbers",
    ),
    Wrong(
        "count_pairs",
        "turns ids into bytes, which end at 255",
        """
def count_pairs(words):
    counts = Counter()
    for ids, n in words.items():
        word = bytes(ids)
        for i in range(len(word) - 1):
            counts[word[i], word[i + 1]] += n
    return dict(counts)
""",
        "ids of 0, and of 256 and more",
    ),
    Wrong(
        "count_pairs",
        "returns a list of pairs and counts",
        """
def count_pairs(words):
    counts = Counter()
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] += n
    return counts.most_common()
""",
        "return a dictionary",
    ),
    Wrong(
        "count_pairs",
        "leaves out pairs that occur once",
        """
def count_pairs(words):
    counts = Counter()
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] += n
    return {pair: n for pair, n in counts.items() if n > 1}
""",
        "the words (1, 2) and (3, 4), once each, hold one pair each",
    ),
    Wrong(
        "count_pairs",
        "remembers the answer for dictionaries of one size",
        """
SEEN = {}
def count_pairs(words):
    if len(words) not in SEEN:
        counts = Counter()
        for ids, n in words.items():
            for pair in pairwise(ids):
                counts[pair] += n
        SEEN[len(words)] = dict(counts)
    return SEEN[len(words)]
""",
        "in {(1, 2, 1, 2): 2, (1, 2): 5} the pair (1, 2) occurs 2 * 2 + 5 = 9 t",
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
        "where the first occurrence alone is merged",
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
        "the last id is lost",
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
        "9, 9), where the middle id takes part in both merges",
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
        "was changed by your function",
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
        "merge_pair",
        "looks for numbers in a text",
        """
def merge_pair(ids, pair, new_id):
    text = " ".join(map(str, ids)).replace(f"{pair[0]} {pair[1]}", str(new_id))
    return tuple(map(int, text.split()))
""",
        "not their digits",
    ),
    Wrong(
        "merge_pair",
        "works with bytes, which end at 255",
        """
def merge_pair(ids, pair, new_id):
    return tuple(bytes(ids).replace(bytes(pair), bytes([new_id])))
""",
        "ids of 0, and of 256 and more",
    ),
    Wrong(
        "merge_pair",
        "looks at the left half alone",
        """
def merge_pair(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if ids[i] == pair[0] and i + 1 < len(ids):
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)
""",
        "nothing to merge",
    ),
    Wrong(
        "merge_pair",
        "takes the pair out and puts nothing in",
        """
def merge_pair(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)
""",
        "the new id is missing",
    ),
    Wrong(
        "merge_pair",
        "compares a list with a tuple",
        """
def merge_pair(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if ids[i : i + 2] == [pair[0], pair[1]]:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)
""",
        "nothing is merged",
    ),
    Wrong(
        "merge_pair",
        "makes up the new id",
        """
def merge_pair(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(256)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)
""",
        "(1, 2, 3) with (1, 2) -> 9",
    ),
    Wrong(
        "merge_pair",
        "swallows the id after the pair",
        """
def merge_pair(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
            i += 3
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)
""",
        "the last id is lost",
    ),
    Wrong(
        "merge_pair",
        "gives up where the left half is followed by something else",
        """
def merge_pair(ids, pair, new_id):
    ids, start = list(ids), 0
    while pair[0] in ids[start:]:
        i = ids.index(pair[0], start)
        if ids[i : i + 2] != list(pair):
            break
        ids[i : i + 2] = [new_id]
        start = i
    return tuple(ids)
""",
        "look at every place",
    ),
    Wrong(
        "merge_pair",
        "remembers a word whatever the pair",
        """
MERGED = {}
def merge_pair(ids, pair, new_id):
    ids = tuple(ids)
    if ids not in MERGED:
        merged, i = [], 0
        while i < len(ids):
            if ids[i : i + 2] == pair:
                merged.append(new_id)
                i += 2
            else:
                merged.append(ids[i])
                i += 1
        MERGED[ids] = tuple(merged)
    return MERGED[ids]
""",
        "the answer of another pair",
    ),
    Wrong(
        "merge_pair",
        "keeps the length: the new id stands twice",
        """
def merge_pair(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged += [new_id, new_id]
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)
""",
        "9, 9, 3), the new id twice",
    ),
    Wrong(
        "merge_pair",
        "joins the parts of a word anew after each merge",
        """
def merge_pair(ids, pair, new_id):
    ids = tuple(ids)
    for i in range(len(ids) - 1):
        if ids[i : i + 2] == pair:
            return merge_pair(ids[:i] + (new_id,) + ids[i + 2 :], (new_id, pair[1]), new_id)
    return ids
""",
        "where the first occurrence alone is merged",
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
        "yours counts each word once",
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
        "yours takes the larger",
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
        "train_bpe",
        "stops one merge early",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    merges = []
    while 256 + len(merges) < vocab_size - 1:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return merges
""",
        "vocab_size - 256",
    ),
    Wrong(
        "train_bpe",
        "fails where no pair is left",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    merges = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return merges
""",
        "then none is left",
    ),
    Wrong(
        "train_bpe",
        "refuses a vocabulary of the bytes alone",
        """
def train_bpe(words, vocab_size):
    if vocab_size <= 256:
        raise ValueError(vocab_size)
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
        "leaves no room for a merge",
    ),
    Wrong(
        "train_bpe",
        "returns a dictionary of ids",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    merges = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return {pair: 256 + k for k, pair in enumerate(merges)}
""",
        "return a list of pairs",
    ),
    Wrong(
        "train_bpe",
        "returns counts beside the pairs",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    merges = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append((best, counts[best]))
    return merges
""",
        "a tuple of two ids",
    ),
    Wrong(
        "train_bpe",
        "ignores vocab_size",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    merges = []
    while len(merges) < 200:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return merges
""",
        "vocab_size counts the 256 bytes",
    ),
    Wrong(
        "train_bpe",
        "chooses by count over the counts of the parts",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    merges = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        times = Counter()
        for ids, n in words.items():
            for i in set(ids):
                times[i] += n
        best = min(counts, key=lambda p: (-counts[p] / (times[p[0]] * times[p[1]]), p))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return merges
""",
        "merges differ",
    ),
    Wrong(
        "train_bpe",
        "merges in the caller's dictionary",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    merges = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        for ids in list(words):
            words[merge_pair(ids, best, 256 + len(merges))] = words.pop(ids)
        merges.append(best)
    return merges
""",
        "was changed by your function",
    ),
    Wrong(
        "train_bpe",
        "breaks ties by the bytes that a pair spells",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    merges, pieces = [], [bytes([i]) for i in range(256)]
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda p: (-counts[p], pieces[p[0]] + pieces[p[1]]))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
        pieces.append(pieces[best[0]] + pieces[best[1]])
    return merges
""",
        "merges differ",
    ),
    Wrong(
        "train_bpe",
        "goes on with the merges of the call before",
        """
def train_bpe(words, vocab_size, merges=[]):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return merges
""",
        "merges differ",
    ),
    Wrong(
        "train_bpe",
        "believes stale entries of the heap",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    spelled, counts, merges = dict(words), Counter(count_pairs(words)), []
    heap = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(heap)
    while heap and 256 + len(merges) < vocab_size:
        _, best = heapq.heappop(heap)
        if best in merges or not any(best in pairwise(ids) for ids in spelled):
            continue
        spelled = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in spelled.items()}
        for pair, n in count_pairs(spelled).items():
            if 256 + len(merges) in pair:
                heapq.heappush(heap, (-n, pair))
        merges.append(best)
    return merges
""",
        "merges differ",
    ),
    Wrong(
        "train_bpe",
        "pairs the words' ends with the next word's start",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError(vocab_size)
    flat = tuple(i for ids, n in words.items() for _ in range(n) for i in ids)
    merges = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs({flat: 1})
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        flat = merge_pair(flat, best, 256 + len(merges))
        merges.append(best)
    return merges
""",
        "crosses a word's border",
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
        "got [256, 97], where the merge crosses a word's border",
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
        "'é' without merges",
    ),
    Wrong(
        "encode",
        "returns bytes without merging",
        """
def encode(text, merges):
    return [byte for word in split_words(text) for byte in word.encode()]
""",
        "got [97, 98, 99], the bytes as they were",
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
        "encode",
        "takes letters it can't spell for question marks",
        """
def encode(text, merges):
    token_ids = []
    for word in split_words(text):
        ids = tuple(word.encode("ascii", errors="replace"))
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids += ids
    return token_ids
""",
        "is its bytes",
    ),
    Wrong(
        "encode",
        "writes Latin-1",
        """
def encode(text, merges):
    token_ids = []
    for word in split_words(text):
        ids = tuple(word.encode("latin-1", errors="replace"))
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids += ids
    return token_ids
""",
        "'é' without merges",
    ),
    Wrong(
        "encode",
        "makes capitals small",
        """
def encode(text, merges):
    token_ids = []
    for word in split_words(text.lower()):
        ids = tuple(word.encode())
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids += ids
    return token_ids
""",
        "capitals and spaces",
    ),
    Wrong(
        "encode",
        "strips the text",
        """
def encode(text, merges):
    token_ids = []
    for word in split_words(text.strip()):
        ids = tuple(word.encode())
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids += ids
    return token_ids
""",
        "capitals and spaces",
    ),
    Wrong(
        "encode",
        "puts a start token in front",
        """
def encode(text, merges):
    token_ids = [256 + len(merges)]
    for word in split_words(text):
        ids = tuple(word.encode())
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids += ids
    return token_ids
""",
        "which has more than 'abc' in it",
    ),
    Wrong(
        "encode",
        "numbers merges from 257",
        """
def encode(text, merges):
    token_ids = []
    for word in split_words(text):
        ids = tuple(word.encode())
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 257 + k)
        token_ids += ids
    return token_ids
""",
        "makes id 256 + k",
    ),
    Wrong(
        "encode",
        "composes accents first",
        """
def encode(text, merges):
    token_ids = []
    for word in split_words(__import__("unicodedata").normalize("NFC", text)):
        ids = tuple(word.encode())
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids += ids
    return token_ids
""",
        "don't compose",
    ),
    Wrong(
        "encode",
        "loses what stands between words",
        """
def encode(text, merges):
    token_ids = []
    for word in text.split():
        ids = tuple(word.encode())
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids += ids
    return token_ids
""",
        "'b a' is two words",
    ),
    Wrong(
        "encode",
        "returns a list of lists",
        """
def encode(text, merges):
    token_ids = []
    for word in split_words(text):
        ids = tuple(word.encode())
        for k, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + k)
        token_ids.append(list(ids))
    return token_ids
""",
        "got [[258]], a list for each word",
    ),
    Wrong(
        "encode",
        "takes the longest token it knows, from the left",
        """
def encode(text, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    known = {piece: k for k, piece in enumerate(pieces)}
    token_ids = []
    for word in split_words(text):
        rest = word.encode()
        while rest:
            length = max(n for n in range(1, len(rest) + 1) if rest[:n] in known)
            token_ids.append(known[rest[:length]])
            rest = rest[length:]
    return token_ids
""",
        "bc was learned first",
    ),
    Wrong(
        "encode",
        "remembers a word whatever the merges",
        """
KNOWN = {}
def encode(text, merges):
    token_ids = []
    for word in split_words(text):
        if word not in KNOWN:
            ids = tuple(word.encode())
            for k, pair in enumerate(merges):
                ids = merge_pair(ids, pair, 256 + k)
            KNOWN[word] = ids
        token_ids += KNOWN[word]
    return token_ids
""",
        "the call before",
    ),
    Wrong(
        "encode",
        "uses up the merges",
        """
def encode(text, merges):
    words, k = [tuple(word.encode()) for word in split_words(text)], 0
    while merges:
        pair = merges.pop(0)
        words = [merge_pair(ids, pair, 256 + k) for ids in words]
        k += 1
    return [i for ids in words for i in ids]
""",
        "merges were changed",
    ),
    Wrong(
        "encode",
        "merges a pair once in a word",
        """
def encode(text, merges):
    token_ids = []
    for word in split_words(text):
        ids = list(word.encode())
        for k, pair in enumerate(merges):
            for i in range(len(ids) - 1):
                if (ids[i], ids[i + 1]) == pair:
                    ids[i : i + 2] = [256 + k]
                    break
        token_ids += ids
    return token_ids
""",
        "every dd",
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
        "got 'Ã©', each id read as a code point",
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
        "with other spaces",
    ),
    Wrong(
        "decode",
        "reads Latin-1",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for i in token_ids:
        if not 0 <= i < len(pieces):
            raise ValueError(i)
    return b"".join(pieces[i] for i in token_ids).decode("latin-1")
""",
        "got 'Ã©', each id read as a code point",
    ),
    Wrong(
        "decode",
        "strips the end",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for i in token_ids:
        if not 0 <= i < len(pieces):
            raise ValueError(i)
    return b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="replace").strip()
""",
        "none is stripped",
    ),
    Wrong(
        "decode",
        "writes broken bytes as escapes",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for i in token_ids:
        if not 0 <= i < len(pieces):
            raise ValueError(i)
    return b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="backslashreplace")
""",
        "becomes U+FFFD",
    ),
    Wrong(
        "decode",
        "writes a question mark",
        r"""
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for i in token_ids:
        if not 0 <= i < len(pieces):
            raise ValueError(i)
    text = b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="replace")
    return text.replace("\ufffd", "?")
""",
        "becomes U+FFFD",
    ),
    Wrong(
        "decode",
        "leaves out ids that it does not know",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    known = [i for i in token_ids if 0 <= i < len(pieces)]
    return b"".join(pieces[i] for i in known).decode("utf-8", errors="replace")
""",
        "raise ValueError",
    ),
    Wrong(
        "decode",
        "looks at the first id alone",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for i in token_ids[:1]:
        if not 0 <= i < len(pieces):
            raise ValueError(i)
    return b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="replace")
""",
        "raise ValueError",
    ),
    Wrong(
        "decode",
        "swaps the halves",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[right] + pieces[left])
    for i in token_ids:
        if not 0 <= i < len(pieces):
            raise ValueError(i)
    return b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="replace")
""",
        "the left half comes first",
    ),
    Wrong(
        "decode",
        "puts spaces between tokens",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for i in token_ids:
        if not 0 <= i < len(pieces):
            raise ValueError(i)
    return b" ".join(pieces[i] for i in token_ids).decode("utf-8", errors="replace")
""",
        "[258, 259, 98] is 'abc ab'",
    ),
    Wrong(
        "decode",
        "allows one id too many",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for i in token_ids:
        if not 0 <= i <= len(pieces):
            raise ValueError(i)
    return b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="replace")
""",
        "outside the vocabulary",
    ),
    Wrong(
        "decode",
        "asserts",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for i in token_ids:
        assert 0 <= i < len(pieces)
    return b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="replace")
""",
        "raise ValueError",
    ),
    Wrong(
        "decode",
        "makes one line end of two characters",
        r"""
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for i in token_ids:
        if not 0 <= i < len(pieces):
            raise ValueError(i)
    text = b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="replace")
    return text.replace("\r\n", "\n")
""",
        "ends of lines",
    ),
    Wrong(
        "decode",
        "expands a merge once",
        """
def decode(token_ids, merges):
    spelled = []
    for i in token_ids:
        if not 0 <= i < 256 + len(merges):
            raise ValueError(i)
        spelled += [i] if i < 256 else merges[i - 256]
    return bytes(spelled).decode("utf-8", errors="replace")
""",
        "bytes must be in range",
    ),
    Wrong(
        "decode",
        "remembers the pieces of the first merges",
        """
PIECES = []
def decode(token_ids, merges):
    if not PIECES:
        PIECES.extend(bytes([byte]) for byte in range(256))
        for left, right in merges:
            PIECES.append(PIECES[left] + PIECES[right])
    for i in token_ids:
        if not 0 <= i < len(PIECES):
            raise ValueError(i)
    return b"".join(PIECES[i] for i in token_ids).decode("utf-8", errors="replace")
""",
        "got 'ab�': these are the merges of an earlier call",
    ),
    Wrong(
        "decode",
        "empties the list of ids",
        """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    spelled = b""
    while token_ids:
        i = token_ids.pop(0)
        if not 0 <= i < len(pieces):
            raise ValueError(i)
        spelled += pieces[i]
    return spelled.decode("utf-8", errors="replace")
""",
        "changed its arguments",
    ),
    Wrong(
        "bits_per_byte",
        "forgets to change nats to bits",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    return loss_nats * n_tokens / n_bytes
""",
        "divide by ln 2",
    ),
    Wrong(
        "bits_per_byte",
        "gives bits per token",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    return loss_nats / math.log(2)
""",
        "the loss of a token in bits",
    ),
    Wrong(
        "bits_per_byte",
        "takes bytes per token",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    return loss_nats * n_bytes / n_tokens / math.log(2)
""",
        "the bits of the whole text, or of bytes over tokens",
    ),
    Wrong(
        "bits_per_byte",
        "multiplies by ln 2",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    return loss_nats * math.log(2) * n_tokens / n_bytes
""",
        "multiplied by ln 2",
    ),
    Wrong(
        "bits_per_byte",
        "takes the mean for the sum",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    return loss_nats / math.log(2) / n_bytes
""",
        "the loss counted once",
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
    Wrong(
        "bits_per_byte",
        "divides by ln 10",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(n_tokens, n_bytes)
    return loss_nats * n_tokens / (math.log(10) * n_bytes)
""",
        "divided by ln 10",
    ),
    Wrong(
        "bits_per_byte",
        "takes the logarithm of the loss",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(n_tokens, n_bytes)
    return math.log2(loss_nats + 1e-12) * n_tokens / (1 * n_bytes)
""",
        "the logarithm of a logarithm",
    ),
    Wrong(
        "bits_per_byte",
        "divides without rest",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(n_tokens, n_bytes)
    return loss_nats * n_tokens // (math.log(2) * n_bytes)
""",
        "keeps fractions",
    ),
    Wrong(
        "bits_per_byte",
        "ignores the bytes",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(n_tokens, n_bytes)
    return loss_nats * n_tokens / (math.log(2))
""",
        "the bits of the whole text, or of bytes over tokens",
    ),
    Wrong(
        "bits_per_byte",
        "takes bytes for bits",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(n_tokens, n_bytes)
    return loss_nats * n_tokens / (math.log(2) * 8 * n_bytes)
""",
        "divided by 8 once more",
    ),
    Wrong(
        "bits_per_byte",
        "returns a perplexity",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(n_tokens, n_bytes)
    return math.exp(loss_nats * n_tokens / n_bytes)
""",
        "2 to the bits of a byte",
    ),
    Wrong(
        "bits_per_byte",
        "never gives more than 8",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(n_tokens, n_bytes)
    return min(8.0, loss_nats * n_tokens / (math.log(2) * n_bytes))
""",
        "can be worse",
    ),
    Wrong(
        "bits_per_byte",
        "returns text",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(n_tokens, n_bytes)
    return f"{loss_nats * n_tokens / (math.log(2) * n_bytes):.6f}"
""",
        "return a number",
    ),
    Wrong(
        "bits_per_byte",
        "puts one byte where there is none",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    n_bytes, n_tokens = max(n_bytes, 1), max(n_tokens, 1)
    return loss_nats * n_tokens / (math.log(2) * n_bytes)
""",
        "raise ValueError",
    ),
    Wrong(
        "bits_per_byte",
        "asserts",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    assert n_tokens > 0 and n_bytes > 0
    return loss_nats * n_tokens / (math.log(2) * n_bytes)
""",
        "raise ValueError",
    ),
    Wrong(
        "bits_per_byte",
        "minds the bytes alone",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_bytes < 1:
        raise ValueError(n_tokens, n_bytes)
    return loss_nats * n_tokens / (math.log(2) * n_bytes)
""",
        "raise ValueError",
    ),
    Wrong(
        "bits_per_byte",
        "refuses a loss of 0",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if loss_nats <= 0 or n_tokens < 1 or n_bytes < 1:
        raise ValueError(n_tokens, n_bytes)
    return loss_nats * n_tokens / (math.log(2) * n_bytes)
""",
        "a loss of 0",
    ),
    Wrong(
        "bits_per_byte",
        "knows ln 2 to four digits",
        """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(n_tokens, n_bytes)
    return loss_nats * n_tokens / (0.6931 * n_bytes)
""",
        "4 bits in 16 bytes",
    ),
]

# (exercise, mutant): why no check can tell it from the reference.
PAIRS = """
def count_pairs(words):
    counts = {}
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] = counts.get(pair, 0) + n
    return counts
"""

MERGE = """
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
"""

BY_WORDS = """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError("vocab_size")
    words, counts = dict(words), dict(count_pairs(words))
    holders = defaultdict(set)
    for word in words:
        for pair in pairwise(word):
            holders[pair].add(word)
    heap = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(heap)
    merges = []
    while heap and 256 + len(merges) < vocab_size:
        count, best = heapq.heappop(heap)
        if -count != counts[best] or not count:
            continue
        new_id = 256 + len(merges)
        merges.append(best)
        changed = set()
        for word in holders.pop(best):
            if word not in words:
                continue
            n = words.pop(word)
            merged = merge_pair(word, best, new_id)
            for pair in pairwise(word):
                counts[pair] -= n
                changed.add(pair)
            for pair in pairwise(merged):
                counts[pair] = counts.get(pair, 0) + n
                changed.add(pair)
                holders[pair].add(merged)
            words[merged] = n
        for pair in changed:
            heapq.heappush(heap, (-counts[pair], pair))
    return merges
"""

SEARCHED = """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError("vocab_size")
    words, counts = dict(words), dict(count_pairs(words))
    holders = defaultdict(set)
    for word in words:
        for pair in pairwise(word):
            holders[pair].add(word)
    merges = []
    while counts and 256 + len(merges) < vocab_size:
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        for word in holders.pop(best):
            if word not in words:
                continue
            n = words.pop(word)
            merged = merge_pair(word, best, new_id)
            for pair in pairwise(word):
                counts[pair] -= n
                if not counts[pair]:
                    del counts[pair]
            for pair in pairwise(merged):
                counts[pair] = counts.get(pair, 0) + n
                holders[pair].add(merged)
            words[merged] = n
    return merges
"""

ENCODE = """
def encode(text, merges):
    rank = {pair: k for k, pair in enumerate(merges)}
    ids = []
    for word in split_words(text):
        row = tuple(word.encode("utf-8"))
        while True:
            there = [pair for pair in pairwise(row) if pair in rank]
            if not there:
                break
            best = min(there, key=rank.get)
            row = merge_pair(row, best, 256 + rank[best])
        ids += row
    return ids
"""

DECODE = """
def decode(token_ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for token_id in token_ids:
        if not 0 <= token_id < len(pieces):
            raise ValueError("outside")
    return b"".join(pieces[i] for i in token_ids).decode("utf-8", errors="replace")
"""

BITS = """
def bits_per_byte(loss_nats, n_tokens, n_bytes):
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError("nothing there")
    return loss_nats * n_tokens / (math.log(2) * n_bytes)
"""


def variants(exercise: str, code: str, *rows: tuple[str, str, str, str]) -> list[Wrong]:
    """Return the code with one place changed, for each row."""
    for why, old, _, _ in rows:
        assert old in code, why
    return [Wrong(exercise, why, code.replace(old, new), words) for why, old, new, words in rows]


WRONG += [
    *variants(
        "count_pairs",
        PAIRS,
        (
            "first pair lost",
            "pairwise(ids)",
            "pairwise(ids[1:])",
            "the words (1, 2) and (3, 4), once each, hold one pair each",
        ),
        (
            "last pair lost",
            "pairwise(ids)",
            "pairwise(ids[:-1])",
            "the words (1, 2) and (3, 4), once each, hold one pair each",
        ),
        ("a list of pairs", "return counts", "return list(counts.items())", "return a dictionary"),
        (
            "fractions",
            "return counts",
            "return {p: n / 1 for p, n in counts.items()}",
            "whole numbers",
        ),
        ("as bytes", "pairwise(ids)", "pairwise(bytes(ids))", "ids of 0, and of 256"),
        (
            "bytes alone",
            "pairwise(ids):",
            "pairwise(ids):\n            if max(pair) > 255:\n                continue",
            "and of 256 and more",
        ),
        (
            "zero is no id",
            "pairwise(ids):",
            "pairwise(ids):\n            if not all(pair):\n                continue",
            "ids of 0",
        ),
        (
            "equal halves left out",
            "pairwise(ids):",
            "pairwise(ids):\n            if pair[0] == pair[1]:\n                continue",
            "(7, 7)",
        ),
        (
            "numbers of the words set to 0",
            "    return counts",
            "    for ids in words:\n        words[ids] = 0\n    return counts",
            "was changed by your function",
        ),
        (
            "pairs that occur once left out",
            "return counts",
            "return {p: n for p, n in counts.items() if n > 1}",
            "the words (1, 2) and (3, 4), once each, hold one pair each",
        ),
        (
            "pairs as text",
            "return counts",
            "return {f'{a},{b}': n for (a, b), n in counts.items()}",
            "docstring",
        ),
        (
            "sorted within",
            "counts[pair] = counts.get(pair, 0) + n",
            "counts[tuple(sorted(pair))] = counts.get(tuple(sorted(pair)), 0) + n",
            "pairs are ordered",
        ),
    ),
    *variants(
        "merge_pair",
        MERGE,
        ("first id lost", "i = 0", "i = 1", "(1, 2, 3) with (1, 2) -> 9"),
        (
            "compared by identity",
            "(ids[i], ids[i + 1]) == pair",
            "ids[i] is pair[0] and ids[i + 1] is pair[1]",
            "300, 301",
        ),
        (
            "equal halves never joined",
            "(ids[i], ids[i + 1]) == pair",
            "(ids[i], ids[i + 1]) == pair and pair[0] != pair[1]",
            "(1, 1, 1) with (1, 1) -> 9",
        ),
        (
            "stops after the first",
            "            i += 2",
            "            return (*merged, *ids[i + 2 :])",
            "where the first occurrence alone is merged",
        ),
        (
            "never at the end",
            "i + 1 < len(ids)",
            "i + 2 < len(ids)",
            "[1, 2, 3, 1, 2], a list, with (1, 2) -> 9",
        ),
        ("goes on by 3", "i += 2", "i += 3", "(1, 2, 3) with (1, 2) -> 9"),
        (
            "the word changed",
            "    merged = []\n",
            "    merged = []\n    if isinstance(ids, list):\n        ids.append(-1)\n        ids "
            "= ids[:-1]\n",
            "was changed by your function",
        ),
        ("bytes", "return tuple(merged)", "return bytes(merged)", "(1, 2, 3) with (1, 2) -> 9"),
        (
            "an id of 0 is nothing",
            "(ids[i], ids[i + 1]) == pair",
            "ids[i] and (ids[i], ids[i + 1]) == pair",
            "(0, 0, 256)",
        ),
        ("a word of two", "while i < len(ids):", "while i < len(ids) and len(ids) > 2:", "(1, 2)"),
        ("either half", "(ids[i], ids[i + 1]) == pair", "ids[i] == pair[0]", "nothing to merge in"),
    ),
    *variants(
        "train_bpe",
        BY_WORDS,
        (
            "stale counts taken",
            "if -count != counts[best] or not count:",
            "if not counts[best]:",
            "merges differ",
        ),
        ("pairs of count 0 merged", " or not count:", ":", "KeyError"),
        (
            "new pairs never pushed",
            "            for pair in pairwise(merged):\n                counts[pair] = "
            "counts.get(pair, 0) + n\n                changed.add(pair)",
            "            for pair in pairwise(merged):\n                counts[pair] = "
            "counts.get(pair, 0) + n",
            "merges",
        ),
        ("old pairs not subtracted", "counts[pair] -= n", "counts[pair] -= 0", "KeyError"),
        ("each word once", "counts[pair] -= n", "counts[pair] -= 1", "KeyError"),
        ("pairs as lists", "merges.append(best)", "merges.append(list(best))", "a tuple"),
        ("a tuple of merges", "return merges", "return tuple(merges)", "return a list"),
        (
            "with their ids",
            "return merges",
            "return {pair: 256 + k for k, pair in enumerate(merges)}",
            "return a list",
        ),
        (
            "words changed",
            "words, counts = dict(words), dict(count_pairs(words))",
            "counts = dict(count_pairs(words))",
            "was changed by your function",
        ),
        ("256 is refused", "vocab_size < 256", "vocab_size <= 256", "vocab_size 256"),
        ("negative sizes taken", "if vocab_size < 256", "if 0 < vocab_size < 256", "vocab_size 0"),
        ("an assertion", 'raise ValueError("vocab_size")', "assert False", "ValueError"),
        (
            "all words visited",
            "for word in holders.pop(best):",
            "for word in [w for w in words if best in pairwise(w)]:",
            "visit only the words",
        ),
        (
            "at most 90 merges",
            "while heap and",
            "while len(merges) < 90 and heap and",
            "150 merges",
        ),
        (
            "new id from the count of words",
            "new_id = 256 + len(merges)",
            "new_id = max(map(max, words)) + 1",
            "merges",
        ),
    ),
    *variants(
        "train_bpe",
        SEARCHED,
        (
            "all counts searched",
            "    merges = []",
            "    merges: list = []",
            "search for the highest count",
        ),
        (
            "all counts sorted",
            "min(counts, key=lambda pair: (-counts[pair], pair))",
            "sorted(counts.items(), key=lambda item: (-item[1], item[0]))[0][0]",
            "1/30 is asked for",
        ),
        (
            "all counts searched twice",
            "best = min(counts, key=lambda pair: (-counts[pair], pair))",
            "top = max(counts.values())\n        best = min(pair for pair, n in counts.items() if "
            "n == top)",
            "1/30 is asked for",
        ),
        (
            "a heap made anew",
            "best = min(counts, key=lambda pair: (-counts[pair], pair))",
            "heap = [(-n, pair) for pair, n in counts.items()]\n        "
            "heapq.heapify(heap)\n        best = heap[0][1]",
            "search for the highest count",
        ),
    ),
    *variants(
        "encode",
        ENCODE,
        (
            "one merge a word",
            "row = merge_pair(row, best, 256 + rank[best])",
            "row = merge_pair(row, best, 256 + rank[best])\n            break",
            "got [256, 99], where 256 and 99 can still be merged",
        ),
        ("smallest pair first", "key=rank.get", "key=lambda pair: pair", "learned first"),
        (
            "last learned first",
            "min(there, key=rank.get)",
            "max(there, key=rank.get)",
            "learned first",
        ),
        ("lower case", "split_words(text)", "split_words(text.lower())", "capitals"),
        (
            "composed",
            "split_words(text)",
            "split_words(__import__('unicodedata').normalize('NFC', text))",
            "don't compose the two",
        ),
        ("spaces stripped", "split_words(text)", "split_words(text.strip())", "spaces at the end"),
        (
            "merges turned round",
            "    rank =",
            "    merges.reverse()\n    merges.reverse()\n    merges.sort()\n    rank =",
            "were changed",
        ),
        (
            "first place of each pair",
            "row = merge_pair(row, best, 256 + rank[best])",
            "i = list(pairwise(row)).index(best)\n            row = (*row[:i], 256 + rank[best], "
            "*row[i + 2 :])\n            del rank[best]",
            "'dddd ddd' with dd: every dd of a word is merged, from left to right",
        ),
        (
            "a merge missing is an end",
            "{pair: k for k, pair in enumerate(merges)}",
            "{pair: k for k, pair in enumerate(merges) if k < 40}",
            "ids differ",
        ),
        (
            "ids as text",
            "return ids",
            "return [str(i) for i in ids]",
            "'abc' with the merges ab, bc, ab+c",
        ),
        ("words apart", "ids += row", "ids.append(list(row))", "a list for each word"),
        ("split at spaces", "split_words(text)", "text.split(' ')", "'b a' is two words"),
        (
            "surrogates replaced",
            "split_words(text)",
            "split_words(text.encode('utf-8', 'replace').decode())",
            "surrogate",
        ),
    ),
    *variants(
        "decode",
        DECODE,
        ("BOM stripped", '"utf-8", errors', '"utf-8-sig", errors', "U+FEFF"),
        ("strict", ', errors="replace"', "", "half a character"),
        ("ignored", '"replace"', '"ignore"', "became nothing"),
        (
            "first id checked",
            "for token_id in token_ids:",
            "for token_id in token_ids[:1]:",
            "ValueError",
        ),
        (
            "last id checked",
            "for token_id in token_ids:",
            "for token_id in token_ids[-1:]:",
            "ValueError",
        ),
        (
            "ends checked",
            "for token_id in token_ids:",
            "for token_id in [*token_ids[:1], *token_ids[-1:]]:",
            "ValueError",
        ),
        ("a key error", 'raise ValueError("outside")', 'raise KeyError("outside")', "ValueError"),
        (
            "wrong ids skipped",
            "raise ValueError",
            "continue\n            raise ValueError",
            "ValueError",
        ),
        ("one more id allowed", "< len(pieces)", "<= len(pieces)", "ValueError"),
        (
            "halves swapped",
            "pieces[left] + pieces[right]",
            "pieces[right] + pieces[left]",
            "[258, 259, 98] is 'abc ab'",
        ),
        ("stripped", 'errors="replace")', 'errors="replace").strip()', "none is stripped"),
        (
            "new lines mended",
            'errors="replace")',
            'errors="replace").replace("\\r\\n", "\\n")',
            "ends of lines",
        ),
        ("merges emptied", "    for token_id", "    merges.clear()\n    for token_id", "changed"),
        (
            "question marks",
            'errors="replace")',
            'errors="replace").replace("\\ufffd", "?")',
            "U+FFFD",
        ),
    ),
    *variants(
        "bits_per_byte",
        BITS,
        (
            "rounded",
            "    return loss",
            "    return round(loss_nats * n_tokens / (math.log(2) * n_bytes), 2)\n    return loss",
            "one token of one byte",
        ),
        ("no tokens are fine", "n_tokens < 1 or ", "", "n_tokens 0"),
        ("no bytes are fine", " or n_bytes < 1", "", "n_bytes 0"),
        ("an assertion", 'raise ValueError("nothing there")', "assert False", "ValueError"),
        (
            "a perfect model refused",
            "n_tokens < 1 or",
            "not loss_nats or n_tokens < 1 or",
            "a loss of 0",
        ),
        (
            "a word",
            "return loss_nats * n_tokens / (math.log(2) * n_bytes)",
            "return f'{loss_nats * n_tokens / (math.log(2) * n_bytes):.4f}'",
            "return a number",
        ),
        (
            "upside down",
            "n_tokens / (math.log(2) * n_bytes)",
            "n_bytes / (math.log(2) * n_tokens)",
            "tokens over bytes",
        ),
        (
            "in single precision",
            "    return loss",
            "    import numpy as np\n    return float(np.float16(loss_nats * n_tokens / "
            "(math.log(2) * n_bytes)))\n    return loss",
            "one token of one byte",
        ),
        (
            "whole tokens a byte",
            "loss_nats * n_tokens / (math.log(2) * n_bytes)",
            "loss_nats / math.log(2) * (n_tokens // n_bytes)",
            "fractions",
        ),
    ),
]

WRONG += [
    Wrong(
        "train_bpe",
        "equal counts decided by the second id first",
        BY_WORDS.replace("(-n, pair) for", "(-n, pair[::-1]) for")
        .replace("heappop(heap)\n", "heappop(heap)\n        best = best[::-1]\n")
        .replace("(-counts[pair], pair))", "(-counts[pair], pair[::-1]))"),
        "not the other way round",
    ),
    Wrong(
        "train_bpe",
        "equal counts decided by the bytes of the tokens",
        """
def train_bpe(words, vocab_size):
    if vocab_size < 256:
        raise ValueError("vocab_size")
    merges, pieces = [], [bytes([byte]) for byte in range(256)]
    while 256 + len(merges) < vocab_size and (counts := count_pairs(words)):
        best = min(counts, key=lambda pair: (-counts[pair], [pieces[i] for i in pair]))
        words = {merge_pair(word, best, 256 + len(merges)): n for word, n in words.items()}
        pieces.append(pieces[best[0]] + pieces[best[1]])
        merges.append(best)
    return merges
""",
        "not the bytes that they stand for",
    ),
    *variants(
        "merge_pair",
        MERGE,
        ("looks behind the last id", "i + 1 < len(ids) and ", "", "(1, 2, 3) with (1, 2) -> 9"),
    ),
    *variants(
        "encode",
        ENCODE,
        (
            "ends of lines of one kind",
            "split_words(text)",
            'split_words(text.replace("\\r\\n", "\\n"))',
            "ends of lines stay",
        ),
        (
            "an empty text refused",
            "    ids = []\n",
            '    ids = []\n    if not text:\n        raise ValueError("empty")\n',
            "The case: an empty text",
        ),
    ),
    *variants(
        "bits_per_byte",
        BITS,
        (
            "more tokens than bytes refused",
            "n_tokens < 1 or",
            "n_tokens > n_bytes or n_tokens < 1 or",
            "5 tokens that spell 2 bytes",
        ),
        (
            "rounded to three places",
            "return loss_nats * n_tokens / (math.log(2) * n_bytes)",
            "return round(loss_nats * n_tokens / (math.log(2) * n_bytes), 3)",
            "rounded",
        ),
        ("one token refused", "n_tokens < 1", "n_tokens < 2", "The case: a loss of 3, one token"),
    ),
]

EQUIVALENT: dict[tuple[str, str], str] = {}
