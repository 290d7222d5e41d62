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
    """Return the merges, most frequent pair first, updating counts only where a pair is joined.

    A round visits the places where the chosen pair stands and no others: an index leads from each
    pair to its places, and a heap to the pair with the highest count. So a word of any length, such
    as a page of Chinese, costs no more than many short ones.

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
    ids: list[int | None] = []  # all words in one row, each with None behind it
    times: list[int] = []  # how often the word of each place occurs
    for word, n in words.items():
        ids += [*word, None]
        times += [n] * (len(word) + 1)
    before = [place - 1 for place in range(len(ids))]  # before the first comes None, the last
    after = [place + 1 for place in range(len(ids))]
    counts = count_pairs(words)
    places: dict[tuple[int, int], list[int]] = defaultdict(list)  # of each pair, left to right
    for place, pair in enumerate(pairwise(ids)):
        places[pair].append(place)
    heap = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(heap)

    merges: list[tuple[int, int]] = []
    while heap and 256 + len(merges) < vocab_size:
        negative, best = heapq.heappop(heap)
        if -negative != counts[best]:
            continue  # stale: the count changed later, and was pushed again
        new_id = 256 + len(merges)
        merges.append(best)
        changed = set()
        for place in places.pop(best):
            second = after[place]
            if (ids[place], ids[second]) != best:
                continue  # one of the two has been joined to another token since
            first, last = before[place], after[second]
            for pair, n in (
                ((ids[first], ids[place]), -times[place]),
                ((ids[second], ids[last]), -times[place]),
                ((ids[first], new_id), times[place]),
                ((new_id, ids[last]), times[place]),
            ):
                counts[pair] = counts.get(pair, 0) + n
                changed.add(pair)
            ids[place], ids[second] = new_id, None
            after[place], before[last] = last, place
            places[ids[first], new_id].append(first)
            places[new_id, ids[last]].append(place)
        counts[best] = 0  # joined everywhere
        for pair in changed:
            if counts[pair] > 0 and None not in pair:
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
    # Each id is written as one character, so that joining a pair is replacing in a string.
    border = chr(0x10FFFF)  # between words: no id is that large
    row = border.join(word.encode("utf-8").decode("latin-1") for word in split_words(text))
    for k, (left, right) in enumerate(merges):
        row = row.replace(chr(left) + chr(right), chr(256 + k))
    return [ord(sign) for sign in row if sign != border]


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
