"""Byte-pair encoding: start from bytes, join the most frequent pair of neighbours again and again.

Token ids: 0 to 255 are the bytes themselves; merge number k makes token 256 + k. Words are counted
once with their frequency, since a pair never crosses a word's border.
Left out on purpose: special tokens (`tokenizer.py`) and dropout.
Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units",
algorithm 1; bytes instead of characters: Radford et al. 2019 (GPT-2), section 2.2.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from utils.tokens.pretokenize import split_words

Pair = tuple[int, int]
N_BYTES = 256


def to_bytes(text: str) -> bytes:
    """Return the UTF-8 bytes of a text.

    Raises:
        ValueError: for a lone surrogate (half of a character), which has no bytes.

    >>> list(to_bytes("é"))
    [195, 169]
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text has a lone surrogate {text[error.start]!r} at position {error.start}, half of a "
            "character: decode the source with errors='replace', or remove it"
        ) from None


def count_words(texts: Iterable[str]) -> dict[tuple[int, ...], int]:
    """Return each distinct word as its bytes, with how often it occurs.

    >>> count_words(["aa b", "aa"])
    {(97, 97): 2, (32, 98): 1}
    """
    counts = Counter(word for text in texts for word in split_words(text))
    return {tuple(to_bytes(word)): n for word, n in counts.items()}


def count_pairs(words: dict[tuple[int, ...], int]) -> dict[Pair, int]:
    """Return how often each pair of neighbouring ids occurs in the words.

    Args:
        words: distinct words as ids, each with its number of occurrences.

    Returns:
        Pair -> count over all occurrences; overlapping pairs count each: (1, 1, 1) holds (1, 1)
        twice. Pairs that don't occur are left out.

    >>> count_pairs({(1, 2, 1, 2): 1, (1, 2): 3})
    {(1, 2): 5, (2, 1): 1}

    Source: Sennrich et al. 2016, algorithm 1, get_stats.
    """
    counts: dict[Pair, int] = {}
    for ids, n in words.items():
        for pair in zip(ids, ids[1:], strict=False):
            counts[pair] = counts.get(pair, 0) + n
    return counts


def merge_pair(ids: Sequence[int], pair: Pair, new_id: int) -> tuple[int, ...]:
    """Return the ids with each occurrence of the pair replaced by one id, from the left.

    Args:
        ids: a word; it is not changed.
        pair: two neighbouring ids.
        new_id: what stands for them.

    >>> merge_pair((1, 2, 3, 1, 2), (1, 2), 9)
    (9, 3, 9)
    >>> merge_pair((1, 1, 1), (1, 1), 9)
    (9, 1)

    Source: Sennrich et al. 2016, algorithm 1, merge_vocab.
    """
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)


def train_bpe_by_hand(words: dict[tuple[int, ...], int], vocab_size: int) -> list[Pair]:
    """Return the merges, counting all pairs anew in each round: easy to read, slow.

    >>> train_bpe_by_hand({(97, 98): 2, (97, 98, 99): 1}, 258)
    [(97, 98), (256, 99)]
    """
    merges: list[Pair] = []
    while N_BYTES + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        new_id = N_BYTES + len(merges)
        merges.append(best)
        merged: dict[tuple[int, ...], int] = {}
        for ids, n in words.items():
            ids = merge_pair(ids, best, new_id)
            merged[ids] = merged.get(ids, 0) + n
        words = merged
    return merges


def train_bpe(words: dict[tuple[int, ...], int], vocab_size: int) -> list[Pair]:
    """Return the merges, most frequent pair first, updating counts only where a word changes.

    A round looks at the words that hold the chosen pair and at no others: an index leads from each
    pair to its words, and a heap to the pair with the highest count.

    Args:
        words: distinct words as ids (bytes 0 to 255), each with its number of occurrences.
        vocab_size: 256 bytes and the merges together.

    Returns:
        Pairs in the order of merging; pair k becomes token 256 + k. Of pairs with equal counts the
        smaller one goes first. Fewer than asked for where no pair is left.

    Raises:
        ValueError: for a vocabulary smaller than the 256 bytes.

    >>> train_bpe({(97, 98): 2, (97, 98, 99): 1}, 258)
    [(97, 98), (256, 99)]

    Source: Sennrich et al. 2016, algorithm 1.
    """
    if vocab_size < 256:
        raise ValueError(f"vocab_size must be at least 256, one for each byte, got {vocab_size}")
    ids_of, frequency = list(words), list(words.values())
    counts: dict[Pair, int] = count_pairs(words)
    where: dict[Pair, set[int]] = defaultdict(set)  # pair -> numbers of the words that hold it
    for number, ids in enumerate(ids_of):
        for pair in zip(ids, ids[1:], strict=False):
            where[pair].add(number)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)

    merges: list[Pair] = []
    while heap and 256 + len(merges) < vocab_size:
        negative, best = heapq.heappop(heap)
        if counts.get(best, 0) != -negative:
            continue  # an entry from before the count changed; the newer one is in the heap
        new_id = 256 + len(merges)
        merges.append(best)
        changed = set()
        for number in where.pop(best):
            ids, n = ids_of[number], frequency[number]
            merged = merge_pair(ids, best, new_id)
            for pair in zip(ids, ids[1:], strict=False):
                counts[pair] -= n
                changed.add(pair)
            for pair in zip(merged, merged[1:], strict=False):
                counts[pair] = counts.get(pair, 0) + n
                where[pair].add(number)
                changed.add(pair)
            ids_of[number] = merged
        for pair in changed:
            if counts[pair] > 0:
                heapq.heappush(heap, (-counts[pair], pair))
            else:
                del counts[pair]
    return merges


def encode(text: str, merges: list[Pair]) -> list[int]:
    """Return the token ids of a text: its words' bytes, merged in the order of training.

    Args:
        text: any Unicode text without lone surrogates.
        merges: pair k becomes token 256 + k.

    Raises:
        ValueError: for a lone surrogate.

    >>> encode("ab abc", [(97, 98), (256, 99)])
    [256, 32, 257]

    Source: Sennrich et al. 2016, section 3.2.
    """
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    token_ids: list[int] = []
    for word in split_words(text):
        ids = list(to_bytes(word))
        while len(ids) > 1:
            pairs = zip(ids, ids[1:], strict=False)
            best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
            if best not in ranks:
                break
            ids = list(merge_pair(ids, best, 256 + ranks[best]))
        token_ids += ids
    return token_ids


def decode(token_ids: Sequence[int], merges: list[Pair]) -> str:
    """Return the text of token ids.

    Args:
        token_ids: ids that `encode` gives, or any others of this vocabulary.
        merges: pair k is token 256 + k.

    Returns:
        The text; bytes that are no valid UTF-8 (a character cut in half) become U+FFFD.

    Raises:
        ValueError: for an id outside the vocabulary.

    >>> decode([256, 32, 257], [(97, 98), (256, 99)])
    'ab abc'
    """
    table = [bytes([i]) for i in range(256)]
    for left, right in merges:
        table.append(table[left] + table[right])
    for token_id in token_ids:
        if not 0 <= token_id < len(table):
            raise ValueError(
                f"token id {token_id} is outside this vocabulary of {len(table)}: the ids come "
                "from another tokenizer"
            )
    return b"".join(table[token_id] for token_id in token_ids).decode("utf-8", errors="replace")
