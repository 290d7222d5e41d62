"""Byte-pair encoding: start from bytes, join the most frequent pair of neighbours again and again.

Token ids: 0 to 255 are the bytes themselves; merge number k makes token 256 + k. Words are counted
once with their frequency, since a pair never crosses a word's border.
Left out on purpose: special tokens (`tokenizer.py`), and dropout of merges.
Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units",
algorithm 1; bytes instead of characters: Radford et al. 2019 (GPT-2), section 2.2.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from utils.tokens.pretokenize import split_words


def count_words(texts: Iterable[str]) -> dict[tuple[int, ...], int]:
    """Return each distinct word of the texts as its UTF-8 bytes, with how often it occurs.

    Raises:
        TypeError: for one string instead of a list of strings.
        ValueError: for a lone surrogate.

    >>> count_words(["aa b", "aa"])
    {(97, 97): 2, (32, 98): 1}
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a list of strings, got one string: write [text]")
    spelled: Counter[str] = Counter()
    for text in texts:
        spelled.update(split_words(text))
    return {tuple(word.encode("utf-8")): n for word, n in spelled.items()}


def count_pairs(words: dict[tuple[int, ...], int]) -> dict[tuple[int, int], int]:
    """Return how often each pair of neighbouring ids occurs in the words.

    Args:
        words: distinct words as ids, each with its number of occurrences.

    Returns:
        Pair -> count over all occurrences of all words. Overlapping pairs count each: (1, 1, 1)
        holds (1, 1) twice. Pairs that don't occur are left out.

    >>> count_pairs({(1, 2, 1, 2): 1, (1, 2): 3})
    {(1, 2): 5, (2, 1): 1}

    Source: Sennrich et al. 2016, algorithm 1, get_stats.
    """
    counts: dict[tuple[int, int], int] = {}
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] = counts.get(pair, 0) + n
    return counts


def merge_pair(ids: Sequence[int], pair: tuple[int, int], new_id: int) -> tuple[int, ...]:
    """Return the ids with each occurrence of the pair replaced by one id, from left to right.

    Args:
        ids: a word; it is not changed.
        pair: two neighbouring ids.
        new_id: the id that stands for them.

    >>> merge_pair((1, 2, 3, 1, 2), (1, 2), 9)
    (9, 3, 9)
    >>> merge_pair((1, 1, 1), (1, 1), 9)
    (9, 1)

    Source: Sennrich et al. 2016, algorithm 1, merge_vocab.
    """
    left, right = pair
    merged = []
    i, last = 0, len(ids) - 1
    while i <= last:
        if ids[i] == left and i < last and ids[i + 1] == right:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)


def train_bpe_by_hand(words: dict[tuple[int, ...], int], vocab_size: int) -> list[tuple[int, int]]:
    """Return the merges, counting all pairs anew in each round: easy to read, and slow.

    >>> train_bpe_by_hand(count_words(["ab ab abc"]), 258)
    [(97, 98), (32, 256)]
    """
    merges: list[tuple[int, int]] = []
    while 256 + len(merges) < vocab_size:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in words.items()}
        merges.append(best)
    return merges


def train_bpe(words: dict[tuple[int, ...], int], vocab_size: int) -> list[tuple[int, int]]:
    """Return the merges, most frequent pair first, updating counts only where a word changes.

    A round visits the words that hold the chosen pair and no others: an index leads from each pair
    to its words, and a heap to the pair with the highest count.

    Args:
        words: distinct words as bytes, each with its number of occurrences (`count_words`); the
            dictionary is not changed.
        vocab_size: the 256 bytes and the merges together.

    Returns:
        Pairs in the order of merging; pair k makes token 256 + k. Of pairs with equal counts the
        smaller goes first. Fewer merges than asked for where no pair is left.

    Raises:
        ValueError: for a vocabulary smaller than the 256 bytes.

    >>> train_bpe({(97, 98): 1, (32, 97, 98): 1, (32, 97, 98, 99): 1}, 258)
    [(97, 98), (32, 256)]

    Source: Sennrich et al. 2016, algorithm 1.
    """
    if vocab_size < 256:
        raise ValueError(f"vocab_size must be at least 256, one id for each byte, got {vocab_size}")
    spelled, times = list(words), list(words.values())
    counts = count_pairs(words)
    holders: dict[tuple[int, int], set[int]] = defaultdict(set)  # pair -> places in `spelled`
    for place, ids in enumerate(spelled):
        for pair in pairwise(ids):
            holders[pair].add(place)
    heap = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(heap)

    merges: list[tuple[int, int]] = []
    while heap and 256 + len(merges) < vocab_size:
        negative, best = heapq.heappop(heap)
        if -negative != counts[best]:
            continue  # stale: the count changed later, and was pushed again
        change: dict[tuple[int, int], int] = defaultdict(int)
        for place in holders.pop(best):
            old, n = spelled[place], times[place]
            new = spelled[place] = merge_pair(old, best, 256 + len(merges))
            for pair in pairwise(old):
                change[pair] -= n
            for pair in pairwise(new):
                change[pair] += n
                holders[pair].add(place)
        merges.append(best)
        for pair, difference in change.items():
            counts[pair] = counts.get(pair, 0) + difference
            if difference and counts[pair]:
                heapq.heappush(heap, (-counts[pair], pair))
    return merges


def encode(text: str, merges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the token ids of a text: the bytes of its words, merged in the order of training.

    Args:
        text: any Unicode text without lone surrogates.
        merges: pair k makes token 256 + k; the earlier pair goes first.

    Raises:
        ValueError: for a lone surrogate (`split_words` refuses it).

    >>> encode("ab abc", [(97, 98), (32, 256)])
    [256, 257, 99]

    Source: Sennrich et al. 2016, section 3.2.
    """
    new_ids = {pair: 256 + k for k, pair in enumerate(merges)}
    token_ids: list[int] = []
    for word in split_words(text):
        ids = tuple(word.encode("utf-8"))
        while known := [pair for pair in pairwise(ids) if pair in new_ids]:
            first = min(known, key=new_ids.__getitem__)
            ids = merge_pair(ids, first, new_ids[first])
        token_ids += ids
    return token_ids


def decode(token_ids: Sequence[int], merges: Sequence[tuple[int, int]]) -> str:
    """Return the text of token ids.

    Args:
        token_ids: ids that `encode` gives, or any others of this vocabulary.
        merges: pair k makes token 256 + k.

    Returns:
        The text. Bytes that are no valid UTF-8, such as half a character, become U+FFFD.

    Raises:
        ValueError: for an id outside the vocabulary.

    >>> decode([256, 257, 99], [(97, 98), (32, 256)])
    'ab abc'
    """
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    for token_id in token_ids:
        if not 0 <= token_id < len(pieces):
            raise ValueError(
                f"token id {token_id} is outside this vocabulary of {len(pieces)}: the ids come "
                "from another tokenizer"
            )
    return b"".join(pieces[token_id] for token_id in token_ids).decode("utf-8", errors="replace")
