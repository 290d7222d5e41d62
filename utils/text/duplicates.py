"""Near-copies of documents: shingles, MinHash signatures, and bands that make pairs few.

Hashes are portable: the same text has the same signature on every machine and Python.
Left out on purpose: suffix arrays, which find repeated passages inside documents.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import combinations

from utils.text.words import pieces

PRIME = (1 << 61) - 1
N_WORDS, N_HASHES, THRESHOLD, N_BANDS = 5, 64, 0.7, 16
N_COMPARED = 32  # earlier texts of a band that a new one is compared with


def shingles(text: str, n_words: int = N_WORDS) -> set[str]:
    """Return all runs of `n_words` words of a text; of a shorter text, the whole.

    In scripts without spaces, such as Chinese, each character counts as a word.

    Raises:
        ValueError: for `n_words` below 1: the empty run would make all texts equal.

    >>> sorted(shingles("a rose is a rose", n_words=2))
    ['a rose', 'is a', 'rose is']
    """
    if n_words < 1:
        raise ValueError(f"n_words must be at least 1, got {n_words}")
    words = pieces(text)
    last = max(1, len(words) - n_words + 1)
    return {" ".join(words[i : i + n_words]) for i in range(last)}


def jaccard(a: set[str], b: set[str]) -> float:
    """Return what two sets share over what they hold together; 1.0 for two empty sets.

    >>> jaccard({"x", "y"}, {"y", "z", "x"})
    0.6666666666666666
    """
    return len(a & b) / len(a | b) if a or b else 1.0


def item_number(item: str) -> int:
    """Return a number below PRIME for a shingle, the same on every machine.

    >>> item_number("a rose") == item_number("a rose") != item_number("a nose")
    True
    """
    data = item.encode("utf-8", "surrogatepass")  # raw pages may hold half a character
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") % PRIME


@lru_cache
def multipliers(n_hashes: int, seed: int = 0) -> tuple[tuple[int, int], ...]:
    """Return pairs (a, b); each gives items another order by (a * item_number + b) % PRIME."""
    rng = random.Random(seed)
    return tuple((rng.randrange(1, PRIME), rng.randrange(PRIME)) for _ in range(n_hashes))


def minhash_signature(items: Collection[str], n_hashes: int = N_HASHES, seed: int = 0) -> list[int]:
    """Return the smallest number of a set's items under each of `n_hashes` random numberings.

    Numbering (a, b) gives an item the number (a * item_number(item) + b) % PRIME. Two signatures
    agree at a place with a probability that is the Jaccard similarity of the sets.

    Args:
        items: shingles of a document; order and repetition do not matter.
        n_hashes: length of the signature: one place for each of `multipliers(n_hashes, seed)`.
        seed: another seed gives other numberings.

    Raises:
        ValueError: for no items, which have no smallest.

    >>> minhash_signature(["a", "b"], n_hashes=3) == minhash_signature({"b", "a"}, n_hashes=3)
    True

    Source: Broder 1997, "On the Resemblance and Containment of Documents", section 3.
    """
    if not items:
        raise ValueError("items is empty: a document without shingles has no signature")
    numbers = [item_number(item) for item in items]
    return [min((a * x + b) % PRIME for x in numbers) for a, b in multipliers(n_hashes, seed)]


def near_duplicates(
    signatures: Sequence[Sequence[int]], threshold: float = THRESHOLD, n_bands: int = N_BANDS
) -> list[tuple[int, int]]:
    """Return the pairs of documents whose signatures agree in at least a share of their places.

    Not all pairs are compared. Each signature is cut into `n_bands` equal bands, and only documents
    with one whole band in common, at the same place, are candidates. Every pair is named, so n
    equal documents give n (n - 1) / 2 of them; `without_near_duplicates` makes no such list.

    Args:
        signatures: one for each document, all of one length that `n_bands` divides.
        threshold: share of agreeing places from which on a pair counts.
        n_bands: more bands find more pairs below the threshold, and compare more.

    Returns:
        Pairs (i, j) with i < j, sorted, each once.

    Raises:
        ValueError: where lengths differ, are zero, or can't be cut into that many bands.

    >>> near_duplicates([[1, 2, 3, 4], [5, 6, 7, 8], [1, 2, 3, 9]], threshold=0.7, n_bands=2)
    [(0, 2)]

    Source: Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4.
    """
    lengths = {len(signature) for signature in signatures}
    uneven = len(lengths) > 1 or not all(lengths)
    if n_bands < 1 or uneven or any(length % n_bands for length in lengths):
        raise ValueError(
            f"signatures must have one length that n_bands={n_bands} divides, got {lengths}"
        )
    buckets: dict[tuple, list[int]] = defaultdict(list)
    for number, signature in enumerate(signatures):
        width = len(signature) // n_bands
        for band in range(n_bands):
            key = (band, *signature[band * width : (band + 1) * width])
            buckets[key].append(number)
    candidates = {pair for members in buckets.values() for pair in combinations(members, 2)}

    def agreement(i: int, j: int) -> float:
        equal = sum(a == b for a, b in zip(signatures[i], signatures[j], strict=True))
        return equal / len(signatures[i])

    return sorted(pair for pair in candidates if agreement(*pair) >= threshold)


def without_near_duplicates(
    texts: Sequence[str], threshold: float = THRESHOLD, n_words: int = N_WORDS
) -> list[int]:
    """Return the numbers of the texts that stay when of each group of near-copies the first does.

    Copies of copies count: where A is like B and B like C, only A stays. The cost grows with the
    number of texts, not of pairs: equal texts are put together at once, and of the texts that share
    a band a new one is compared with the N_COMPARED latest.

    Args:
        texts: documents.
        threshold: estimated Jaccard similarity from which on two are copies.
        n_words: length of a shingle.

    >>> without_near_duplicates(["one two three four five six", "x", "one two three four five six"])
    [0, 1]
    """
    first = list(range(len(texts)))  # number of the first text of the group, by union-find
    signatures: dict[tuple[int, ...], int] = {}  # each with the first text that has it
    seen: dict[str, int] = {}
    latest: dict[tuple, deque[int]] = defaultdict(lambda: deque(maxlen=N_COMPARED))
    kept: list[tuple[int, ...]] = []
    for number, text in enumerate(texts):
        same = seen.setdefault(text, number)
        signature = (
            kept[same] if same < number else tuple(minhash_signature(shingles(text, n_words)))
        )
        kept.append(signature)
        same = signatures.setdefault(signature, number)
        if same < number:
            join(first, same, number)
            continue
        for other in sharing_a_band(signature, number, latest):
            if root(first, other) != root(first, number):
                equal = sum(a == b for a, b in zip(signature, kept[other], strict=True))
                if equal / len(signature) >= threshold:
                    join(first, other, number)
    return [i for i in range(len(texts)) if root(first, i) == i]


def sharing_a_band(
    signature: tuple[int, ...], number: int, latest: dict[tuple, deque[int]]
) -> set[int]:
    """Return the latest texts that share one of N_BANDS bands with a signature, and note it there.

    Args:
        signature: of the text.
        number: of the text.
        latest: band with its place -> numbers of texts; the text is put in.
    """
    width = len(signature) // N_BANDS
    found: set[int] = set()
    for band in range(N_BANDS):
        members = latest[band, signature[band * width : (band + 1) * width]]
        found.update(members)
        members.append(number)
    return found


def root(first: list[int], i: int) -> int:
    """Return the first text of the group of text i, and shorten the way there."""
    while first[i] != i:
        first[i] = first[first[i]]
        i = first[i]
    return i


def join(first: list[int], i: int, j: int) -> None:
    """Make one group of two; the earlier of their first texts stays first."""
    low, high = sorted((root(first, i), root(first, j)))
    first[high] = low
