# %% [markdown]
# # Lab 01: Tokens
#
# **80 minutes** · after the lecture `notebooks/01_tokens.ipynb`
#
# You write a byte-pair tokenizer in six functions, and with it you tokenise the
# documentation of the Python language. Each exercise has a check that answers
# at once; each is followed by an experiment that runs *your* function. An
# exercise that you skip only switches off its own experiments.
#
# The convention throughout: a **token id** from 0 to 255 is that byte, and merge
# number `k` (from 0) makes the id `256 + k`.

# %%
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt

from utils.report import plots
from utils.runtime import start
from utils.text.corpora import python_reference, world_corpus
from utils.tokens import bpe
from utils.tokens.pretokenize import split_words

LAB = "01_tokens"
tier = start(seed=0)

# %% [markdown]
# ## 1. Count pairs
#
# **Goal**: count how often each pair of neighbouring ids occurs in a list of
# distinct words, each with its number of occurrences.
#
# **Why it matters**: this count is all that BPE ever knows about language. A
# word that occurs a thousand times must weigh a thousand times, though it is
# stored once.

# %%
# exercise: utils.tokens.bpe.count_pairs points=2 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** The most frequent pairs of the language reference, by your
# count, before any merge. Which of them would you have guessed?

# %% tags=["needs:count_pairs", "nbval-ignore-output"]
reference = python_reference()
spelled = Counter(word for text in reference for word in split_words(text))
words = {tuple(word.encode()): n for word, n in spelled.items()}
counts = count_pairs(words)
for pair in sorted(counts, key=lambda p: (-counts[p], p))[:8]:
    print(f"{bytes(pair).decode()!r:6} {counts[pair]:6,}")

# %% [markdown]
# ## 2. Merge a pair
#
# **Goal**: replace every occurrence of a pair in a word by a new id, from left
# to right.
#
# **Why it matters**: overlaps are where tokenizers differ. In `a a a` the pair
# `(a, a)` occurs twice by the count of exercise 1, but only one merge fits.

# %%
# exercise: utils.tokens.bpe.merge_pair points=2 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** Five rounds of training by your two functions, on five words.
# Watch the words grow shorter.

# %% tags=["needs:count_pairs,merge_pair"]
small = {tuple(w): n for w, n in ((b"fever", 5), (b"never", 2), (b"feet", 1))}
for new_id in range(256, 260):
    counts = count_pairs(small)
    best = min(counts, key=lambda p: (-counts[p], p))
    small = {merge_pair(w, best, new_id): n for w, n in small.items()}
    print(f"{new_id} = {best}: {[list(w) for w in small]}")

# %% [markdown]
# ## 3. Train
#
# **Goal**: learn merges until the vocabulary has `vocab_size` ids, without
# recounting all words in each round.
#
# **Why it matters**: a real training text has millions of distinct words. The
# trainer that recounts is right and useless. Getting the same merges from
# counts that are only updated is the heart of every real implementation.
#
# A plan that works: keep the count of every pair, and for every pair the words
# that hold it. Each round: take the best pair, visit only its words, subtract
# the pairs of the old word from the counts, merge, add the pairs of the new
# one. For the best pair, a heap of `(-count, pair)` is quick; entries go stale
# when counts change, so compare with the current count before you believe one.

# %%
# exercise: utils.tokens.bpe.train_bpe points=5 minutes=25 difficulty=3

# %% [markdown]
# **Experiment.** Your trainer on the whole language reference, and what it
# learned first and last.

# %% tags=["needs:train_bpe", "nbval-ignore-output"]
my_merges = train_bpe(python_reference(), 2048)
pieces = [bpe.decode([256 + k], my_merges) for k in range(len(my_merges))]
print("first:", pieces[:12])
print("last: ", pieces[-12:])

# %% [markdown]
# ## 4. Encode
#
# **Goal**: turn a text into ids with a list of merges.
#
# **Why it matters**: encoding must do what training did, in the same order.
# Joining the longest piece first, or going through the text once from left to
# right, gives ids that look right and that the model has never seen.

# %%
# exercise: utils.tokens.bpe.encode points=3 minutes=15 difficulty=2

# %% [markdown]
# **Experiment.** Your tokenizer reads the page about the `for` statement. One
# line, cut into the tokens that a model would get.

# %% tags=["needs:train_bpe,encode", "nbval-ignore-output"]
page = next(t for t in python_reference() if 'The "for" statement' in t)
line = next(row for row in page.splitlines() if "sequence" in row)
print(" | ".join(bpe.decode([i], my_merges) for i in encode(line, my_merges)))
print(f"{len(page.encode()):,} bytes, {len(encode(page, my_merges)):,} tokens")

# %% [markdown]
# ## 5. Decode
#
# **Goal**: turn ids back into text.
#
# **Why it matters**: it is how a model's output becomes readable, and the only
# proof that encoding lost nothing.

# %%
# exercise: utils.tokens.bpe.decode points=2 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** The whole language reference, there and back through your
# three functions.

# %% tags=["needs:train_bpe,encode,decode", "nbval-ignore-output"]
pages = python_reference()
ids = [encode(page, my_merges) for page in pages]
assert [decode(tokens, my_merges) for tokens in ids] == pages
print(f"{len(pages)} pages, {sum(map(len, ids)):,} tokens, all came back")

# %% [markdown]
# ## 6. Bits per byte
#
# **Goal**: turn a model's mean loss per token into bits per byte of text.
#
# **Why it matters**: it is the one number by which models with different
# tokenizers can be compared.

# %%
# exercise: utils.evaluate.metrics.bits_per_byte points=1 minutes=5 difficulty=1

# %% [markdown]
# **Experiment.** Vocabulary size against sequence length and against the loss
# of a model that knows only how frequent each token is, all by your functions,
# with the reference tokenizer of `utils` beside it.

# %% tags=["needs:train_bpe,encode,bits_per_byte"]
held_out, rest = pages[::5], [p for i, p in enumerate(pages) if i % 5]
n_bytes = sum(len(page.encode()) for page in held_out)
mine = train_bpe(rest, 2048)
theirs = bpe.train_bpe(rest, 2048)


def measure(encoder, merges, vocab_size):
    """Return tokens per byte and bits per byte of the held-out pages."""
    kept = merges[: vocab_size - 256]
    seen = Counter(i for page in rest for i in encoder(page, kept))
    test = [i for page in held_out for i in encoder(page, kept)]
    total = seen.total() + vocab_size
    nats = -sum(math.log((seen[i] + 1) / total) for i in test) / len(test)
    return len(test) / n_bytes, bits_per_byte(nats, len(test), n_bytes)


# %% [markdown]
# ## 7. Written answer (3 points)
#
# A hospital serves patients in English and in Hindi. Its assistant uses a model
# whose tokenizer was trained on English alone, and pays per token. The vendor
# offers: *we give you a discount on Hindi*.
#
# In five to eight sentences: (a) name two harms to the Hindi-speaking patients
# that the discount does not remove, and say by which measurement of this unit
# each could be shown; (b) say what you would change about the tokenizer, and
# what that change costs.
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* The discount changes the bill and nothing else. First, the
# context is counted in tokens: if Hindi needs four times the tokens for the same
# message, a Hindi patient can tell the model a quarter as much before it
# forgets. Tokens per byte, or better the tokens of the same message in both
# languages, shows it. Second, answers are generated token by token, so the same
# answer takes about four times as long; the same ratio shows it, times the
# seconds per token. Quality suffers too: the model gets bytes where English
# gives it words, and bits per byte on Hindi text against English would measure
# that. I would train a tokenizer on a mixture in which Hindi has a share that
# fits its users, with a larger vocabulary so that English does not lose. That
# costs rows in the embedding, some tokens in English if the size stays, and
# above all it means training the model again, at least its embeddings.
#
# *Rubric.* 1 point: two harms other than price (context, time, quality). 1
# point: a measurement of this unit for each, that would really show it. 1 point:
# a change to the tokenizer's training mixture or size, with its cost named.
# <!-- END SOLUTION -->
