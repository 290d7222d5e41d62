# %% [markdown]
# # Lab 01: Tokens
#
# **140 minutes** · after the lecture `notebooks/01_tokens.ipynb`
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
from collections.abc import Sequence
from itertools import pairwise

import matplotlib.pyplot as plt

from utils.labs.api import check, done, hint, start_lab
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.runtime import start
from utils.text.corpora import python_reference
from utils.tokens import bpe
from utils.tokens.pretokenize import split_words

start_lab("01_tokens")
tier = start(seed=0)
plots.use_style()

# %% [markdown]
# The text of this lab is the language reference that ships with Python, as
# pages, and as distinct words with their counts. A word is a tuple of bytes.

# %% tags=["nbval-ignore-output"]
pages = python_reference()
words = bpe.count_words(pages)
print(f"{len(pages)} pages, {len(words):,} distinct words")

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
pair_counts = count_pairs(words)
for pair, n in Counter(pair_counts).most_common(8):
    print(f"{bytes(pair).decode()!r:6} {n:7,}")

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
# **Experiment.** Four rounds of training by your two functions, on three words.
# Watch the words grow shorter.

# %% tags=["needs:count_pairs,merge_pair"]
small = {tuple(w): n for w, n in ((b"fever", 5), (b"never", 2), (b"feet", 1))}
for new_id in range(256, 260):
    seen = count_pairs(small)
    top = sorted(seen.items(), key=lambda item: (-item[1], item[0]))[0][0]
    small = {merge_pair(w, top, new_id): n for w, n in small.items()}
    print(f"{new_id} = {top}: {[list(w) for w in small]}")

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
# A plan that works: keep the count of every pair, and for every pair the words that
# hold it. Each round: take the best pair, visit only its words, subtract the pairs of
# the old word from the counts, merge, add the pairs of the new one. For the best pair,
# a heap of `(-count, pair)` is quick; entries go stale when counts change, so compare
# with the current count before you believe one. The check asks for a thirtieth of the
# time that recounting takes. (The course's own keeps places where the plan keeps words,
# for texts without spaces; you needn't.)
#
# Not done with 1 or 2? Call `bpe.count_pairs` and `bpe.merge_pair`, the course's
# own, inside your trainer, and come back to them later.

# %%
# exercise: utils.tokens.bpe.train_bpe points=5 minutes=60 difficulty=3

# %% [markdown]
# **Experiment.** Your trainer on the whole language reference, and what it
# learned first and last.

# %% tags=["needs:train_bpe", "nbval-ignore-output"]
my_merges = train_bpe(words, 2048)
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
#
# `split_words(text)` is given: the words of a text as strings, which joined are the
# text.

# %%
# exercise: utils.tokens.bpe.encode points=3 minutes=20 difficulty=2

# %% [markdown]
# **Experiment.** Your tokenizer reads the page about the `for` statement. One
# line, cut into the tokens that a model would get.

# %% tags=["needs:train_bpe,encode", "nbval-ignore-output"]
page = next(text for text in pages if text.startswith('The "for"'))
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
# **Experiment.** One page in five is held out, and another one in five is read, to be
# quick. For four vocabulary sizes, by your functions: how long the held-out text
# becomes, and how well the simplest model predicts it, the one that knows only how
# frequent each token was. The dots are the tokenizer of `utils` on the same pages; they
# should lie on your line.
#
# First your prediction: with a vocabulary of 2,048, how many tokens does a byte of
# this text cost?

# %%
my_guess = None  # tokens per byte: your number


# %% tags=["needs:train_bpe,encode,bits_per_byte", "nbval-ignore-output"]
def measure(merges, encoder):
    """Return tokens per byte and bits per byte of the held-out pages."""
    held_out, read = "\n".join(pages[::5]), "\n".join(pages[1::5])
    test, seen = encoder(held_out, merges), Counter(encoder(read, merges))
    total = seen.total() + 256 + len(merges)
    nats = sum(-math.log((seen[i] + 1) / total) for i in test) / len(test)
    n_bytes = len(held_out.encode())
    return len(test) / n_bytes, bits_per_byte(nats, len(test), n_bytes)


sizes = [256, 512, 1024, 2048]
read_words = bpe.count_words(pages[1::5])
mine = train_bpe(read_words, 2048)
theirs = bpe.train_bpe(read_words, 2048)
results = [measure(mine[: size - 256], encode) for size in sizes]
references = [measure(theirs[: size - 256], bpe.encode) for size in sizes]
assert results == references
compare(my_guess, results[-1][0], "{:.2f} tokens per byte")

# %% [markdown]
# And the whole curve:

# %% tags=["needs:train_bpe,encode,bits_per_byte"]
figure, panels = plt.subplots(1, 2, figsize=plots.FULL, layout="constrained")
names = ("tokens per byte", "bits per byte")
titles = ("Shorter sequences", "and easier to predict")
for k, (name, title) in enumerate(zip(names, titles, strict=True)):
    curve = {"yours": (sizes, [result[k] for result in results])}
    axes = plots.lines(
        curve,
        title=title,
        xlabel="vocabulary size (log scale)",
        ylabel=name,
        axes=panels[k],
        log_x=True,
    )
    axes.plot(sizes, [pair[k] for pair in references], "o", color="black")
    axes.set_xticks(sizes, sizes)
    axes.minorticks_off()
plt.show()

# %% [markdown] tags=["result"]
# *Two panels over the vocabulary size, 256 to 2048. Left, tokens per byte fall
# from 1; right, bits per byte fall as well. Black dots of the reference
# tokenizer lie on your lines.*

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
# context is counted in tokens: if Hindi needs five times the tokens for the same
# message, a Hindi patient can tell the model a fifth as much before it
# forgets. Tokens per byte, or better the tokens of the same message in both
# languages, shows it. Second, answers are generated token by token, so the same
# answer takes about five times as long; the same ratio shows it, times the
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
