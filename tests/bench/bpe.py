"""Our byte-pair trainer against the naive one and against the library `tokenizers`.

One megabyte (Python's language reference, then documents of the world), vocabulary 1024, all in
one process by turns, so that a busy machine slows them alike; each time is the best of its turns.
Against the naive trainer the words are counted before; against the library both go from text to
merges. That the merges are the same is measured, too: a faster trainer of other merges is none.
A text without spaces is one long word: 60,000 Chinese characters are trained on to a vocabulary of
4,000, and 40,000 others encoded, by us and by the library with the same merges.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from utils.text.corpora import python_reference, world_corpus
from utils.tokens.bpe import count_words, encode, train_bpe, train_bpe_by_hand
from utils.tokens.pretokenize import WORD_PATTERN, split_words
from utils.tokens.tokenizer import Tokenizer

N_BYTES, VOCAB_SIZE = 1_000_000, 1024
TURNS = 3
LETTERS = [chr(256 + byte) for byte in range(256)]  # byte b as one letter, in the order of bytes


def megabyte() -> list[str]:
    """Return documents of N_BYTES together, the last one cut."""
    texts, room = [], N_BYTES
    for text in [*python_reference(), *world_corpus(12_000, seed=1)]:
        piece = text.encode("utf-8")[:room].decode("utf-8", errors="ignore")
        texts.append(piece)
        room -= len(piece.encode("utf-8"))
        if room < 4:
            return texts
    raise AssertionError(f"the corpora are {room} bytes too short")


def library(texts: list[str]) -> None:
    """Train `tokenizers` as people do: from text, with its own cutting into words and bytes."""
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(WORD_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    peer.train_from_iterator(texts, trainer)


def library_merges(texts: list[str]) -> list[tuple[int, int]]:
    """Return the merges of `tokenizers` with bytes numbered as ours, which decides ties."""
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, initial_alphabet=LETTERS, show_progress=False
    )
    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    spelled = (
        " ".join("".join(LETTERS[byte] for byte in word.encode()) for word in split_words(text))
        for text in texts
    )
    peer.train_from_iterator(spelled, trainer)
    ids = peer.get_vocab()
    pairs = json.loads(peer.to_str())["model"]["merges"]
    return [(ids[left], ids[right]) for left, right in pairs]


def chinese(n_characters: int, seed: int) -> str:
    """Return a text of Chinese characters without spaces: words of 1 to 3, some far more often."""
    makes_words, rng = random.Random(0), random.Random(seed)
    signs = [chr(0x4E00 + k) for k in range(3000)]
    often = [1 / (k + 1) for k in range(4000)]  # Zipf's law, of characters and of words
    words = [
        "".join(makes_words.choices(signs, often[:3000], k=makes_words.randint(1, 3)))
        for _ in range(4000)
    ]
    return "".join(rng.choices(words, often, k=n_characters))[:n_characters]


def long_word_rows() -> Iterator[dict]:
    """Yield the cost of one word of 60,000 characters, in training and in encoding."""
    text, other = chinese(60_000, seed=1), chinese(40_000, seed=2)
    merges: list[tuple[int, int]] = []

    def train() -> None:
        merges[:] = train_bpe(count_words([text]), 4000)

    (seconds,) = best_times(train)
    yield {
        "row": "BPE training, 60,000 Chinese characters, vocabulary 4,000",
        "peer": "a limit",
        "measured": seconds,
        "unit": "s",
        "bar": 5.0,
        "at_least": False,
        "details": f"{len(text.encode()):,} bytes in one word, {len(merges):,} merges",
    }
    backend = Tokenizer(merges).to_hugging_face().backend_tokenizer
    theirs, ours, by_rounds = best_times(
        lambda: backend.encode(other),
        lambda: Tokenizer(merges).encode(other),
        lambda: encode(other, merges),
    )
    same = Tokenizer(merges).encode(other) == encode(other, merges) == backend.encode(other).ids
    yield {
        "row": "BPE encoding, 40,000 Chinese characters",
        "peer": "tokenizers",
        "measured": max(ours, by_rounds) / theirs if same else float("inf"),
        "unit": "x the time",
        "bar": 10.0,
        "at_least": False,
        "details": f"Tokenizer {ours:.3f} s, encode {by_rounds:.3f} s, tokenizers {theirs:.3f} s",
    }


def best_times(*calls: Callable) -> list[float]:
    """Return for each call the least wall-clock seconds, all of them by turns."""
    times = [[] for _ in calls]
    for _ in range(TURNS):
        for call, seconds in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begin)
    return [min(seconds) for seconds in times]


def rows() -> Iterator[dict]:
    """Yield the speed-up over the naive trainer, the time against the library, and the merges."""
    texts = megabyte()
    words = count_words(texts)
    merges = train_bpe(words, VOCAB_SIZE)
    naive, ours = best_times(
        lambda: train_bpe_by_hand(words, VOCAB_SIZE), lambda: train_bpe(words, VOCAB_SIZE)
    )
    yield {
        "row": "BPE training, 1 MB, vocabulary 1024",
        "peer": "naive trainer",
        "measured": naive / ours,
        "unit": "x",
        "bar": 20.0,
        "at_least": True,
        "details": f"ours {ours:.3f} s, naive {naive:.2f} s, {len(words):,} distinct words",
    }
    theirs, whole = best_times(
        lambda: library(texts), lambda: train_bpe(count_words(texts), VOCAB_SIZE)
    )
    yield {
        "row": "BPE training from text, 1 MB",
        "peer": "tokenizers",
        "measured": whole / theirs,
        "unit": "x the time",
        "bar": 5.0,
        "at_least": False,
        "details": f"ours {whole:.3f} s, tokenizers {theirs:.3f} s, in {len(texts):,} documents",
    }
    by_hand = train_bpe_by_hand(words, VOCAB_SIZE)
    by_library = library_merges(texts)
    same = sum(a == b == c for a, b, c in zip(merges, by_hand, by_library, strict=True))
    yield {
        "row": "BPE merges that are the same",
        "peer": "naive and tokenizers",
        "measured": same / len(merges),
        "unit": "of all",
        "bar": 1.0,
        "at_least": True,
        "details": f"{same} of {len(merges)} merges, in order",
    }
    yield from long_word_rows()
