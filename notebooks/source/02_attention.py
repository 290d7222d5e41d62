# %% [markdown]
# # 02 Attention
#
# **105 minutes** · before this: unit 01 · after this: `work/02_attention.ipynb`,
# a lab of 140 minutes · the machine needs about a minute
#
# Tokens are numbers, and each becomes a vector. So far no token knows of any
# other. Attention is the part of a transformer in which they look at each
# other: the only part. You build it here from a look-up in a dictionary, see
# where it breaks, and compute it without the table that makes it expensive.

# %%
import math
import random
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaConfig

from utils.labs.quiz import ask
from utils.model import attention, rotary
from utils.model.attention import causal_mask, scaled_dot_product_attention
from utils.model.decoder import Block, Decoder
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
from utils.report.memory import peak_bytes
from utils.report.show import show
from utils.report.widgets import attention_explorer
from utils.runtime import generator, start
from utils.text.corpora import world_corpus
from utils.tokens.batches import block_batches, pack_documents
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.world.skills import code
from utils.zoo.load import load_base

tier = start(seed=0)

# %% [markdown]
# ## One division
#
# A token compares itself with 64 others by a number for each, its **score**.
# The scores are turned into shares that sum to one. If they are all random,
# with nothing to tell the others apart, the token should look at all of them
# about equally.
#
# A transformer divides the scores by the square root of the vectors' width
# before it takes shares. Leave that division out, at width 64. How many of the
# 64 tokens does it look at, effectively? (If it looks at $n$ tokens with equal
# shares and at no others, the answer is $n$.)

# %%
claims = Claims()


# %%
def random_vectors(*shape, seed=0):
    """Return independent normal numbers, the same on each run."""
    return torch.randn(*shape, generator=generator(seed))


def effective_number(weights):
    """Return exp(entropy) of shares over the last axis, averaged."""
    entropy = -(weights * weights.clamp_min(1e-30).log()).sum(-1)  # (...,)
    return entropy.exp().mean().item()


# %% [markdown]
# How spread out shares are is measured by their **entropy**, the mean of
# -log(share). Its exponential is a number of tokens: 64 for equal shares, 1 if one
# token has everything. Here are 500 queries, each with 64 keys of its own. The string
# `"nk,nsk->ns"` names the axes for `torch.einsum`: multiply along those with the same
# letter, and sum over the letter that is missing on the right, here `k`. Put down
# your guess first.

# %%
my_guess = None  # tokens, between 1 and 64: your number

# %% tags=["reveals"]
q, k = random_vectors(500, 64), random_vectors(500, 64, 64, seed=1)
scores = torch.einsum("nk,nsk->ns", q, k)  # (500 queries, 64 keys)
divided = effective_number((scores / math.sqrt(64)).softmax(-1))
undivided = effective_number(scores.softmax(-1))
compare(my_guess, undivided, "{:.1f} tokens", of="without the division")
print(f"with the division: {divided:.0f} tokens")

# %% [markdown]
# Two of sixty-four, and which two is chance. These vectors have entries of variance
# one. A fresh model's are smaller, so it does not start blind; but as training makes
# them grow, a model without the division loses sight of all keys but one. The rest
# of this unit explains each word of that sentence, beginning with the look-up.
#
# ## A dictionary that answers in shares
#
# A Python dictionary compares your query with its keys, finds the one that is
# equal, and returns its value. If no key is equal you get an error. Attention is
# a dictionary that is never at a loss: it compares the **query** with every
# **key**, and returns an average of all **values**, weighted by how well their
# keys fit. Query, key and value are vectors. The fit is their dot product: large
# if two vectors point the same way.
#
# To turn scores into shares, take the exponential of each and divide by the
# sum: the **softmax**. Shares are positive, sum to one, and favour the largest
# score. Papers call them **probabilities**, or attention weights. By hand, for one
# query and three keys:

# %%
query = torch.tensor([2.0, 0.0])
keys = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0]])  # (3, 2)
values = torch.tensor([[10.0], [20.0], [30.0]])  # (3, 1)


def attend_by_hand(query, keys, values):
    """Return one query's answer, one key at a time."""
    scores = [sum(query * key) / math.sqrt(len(query)) for key in keys]
    exponentials = [math.exp(score) for score in scores]
    shares = [e / sum(exponentials) for e in exponentials]
    return sum(
        share * value for share, value in zip(shares, values, strict=True)
    )


# %%
answer = attend_by_hand(query, keys, values)
same = scaled_dot_product_attention(query[None], keys, values)[0]
print(f"by hand {answer.item():.3f}, utils {same.item():.3f}")
assert torch.allclose(answer, same)

# %% [markdown]
# The query points along the first key, so the answer lies near the first value,
# 10. It is pulled a little towards the others. Because the answer is a smooth
# function of all vectors, gradients tell every key how to fit better. A real
# dictionary can't learn; this one can.
#
# In practice many queries ask at once. Put them into the rows of a matrix $Q$
# (`T` queries), keys and values into those of $K$ and $V$ (`S` of each). Scores
# become a table with a row for each query and a column for each key, the softmax
# runs along each row, and the loops become two matrix products:
#
# $$\mathrm{attention}(Q, K, V) =
# \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d}}\right) V$$
#
# with $d$ the width of queries and keys (`K` among our letters for shapes). You
# write it in the lab; this is what it has to keep to:

# %%
show(scaled_dot_product_attention)

# %% [markdown]
# ## Why the square root
#
# A dot product of two vectors with `K` independent entries is a sum of `K`
# terms. Each has mean 0 and variance 1, so the sum has variance `K`: scores grow
# with the width, for no reason in the data. Exponentials turn a difference of 8
# into a factor of nearly three thousand ($e^8$). Dividing by $\sqrt{K}$ brings the
# variance back to 1 at any width.

# %%
widths = [2, 4, 8, 16, 32, 64, 128, 256]
with_root, without_root = [], []
for width in widths:
    q, k = random_vectors(500, width), random_vectors(500, 64, width, seed=1)
    scores = torch.einsum("nk,nsk->ns", q, k)
    with_root.append(effective_number((scores / width**0.5).softmax(-1)))
    without_root.append(effective_number(scores.softmax(-1)))

# %%
plots.lines(
    {
        "divided by √K": (widths, with_root),
        "as they are": (widths, without_root),
    },
    title="The wider the vectors, the fewer keys are seen without the division",
    xlabel="width K of queries and keys (log scale)",
    ylabel="keys looked at, of 64",
    log_x=True,
    points=True,
)
plt.show()
claims.add(
    "without 1/sqrt(K) attention collapses (K = 256)",
    measured=f"{without_root[-1]:.1f} keys, with it {with_root[-1]:.0f}",
    bar="under 2, over 30",
    holds=without_root[-1] < 2 and with_root[-1] > 30,
)

# %% [markdown]
# *Figure 1. Two lines over the width, from 2 to 256. Divided scores keep about
# forty of 64 keys in view at every width. Undivided scores start higher than
# thirty and fall towards one.*
#
# A softmax that has collapsed is also hard to mend. Its gradient is a product of
# a share and one minus that share, and both factors near 0 or 1 make it vanish.
# A model that has got there must unlearn its blindness through a gradient that is not
# there.
#
# ## No peeking: the causal mask
#
# A language model is trained on all positions of a text at once: position 5
# predicts token 6, position 6 predicts token 7. Position 5 must therefore not
# see token 6. A **mask** says which query may see which key: True for itself and
# everything before, False for what comes after. Where it is False, the score
# becomes minus infinity, whose exponential is zero.

# %%
print(causal_mask(4).int())
q, k, v = (random_vectors(4, 8, seed=s) for s in range(3))
print(attention.attention_weights(q, k, causal_mask(4)))

# %% [markdown]
# Each row sums to one; the first token sees only itself. Why minus infinity and
# not zero? A score of zero still earns exp(0) = 1, a share as good as any. Why
# not set the *shares* to zero afterwards? Then rows no longer sum to one, and
# how much is missing leaks how well the future fits.
#
# Causality is a claim about *every* future token, so test it that way. Change
# the tokens after a position, all at once, and compare what came before, bit by
# bit.

# %%
x = random_vectors(1, 33, 32)  # (B, T, D); an odd length on purpose
weights = [random_vectors(32, 32, seed=s) / 32**0.5 for s in range(4)]
cos, sin = rotary.rope_table(33, 8)
settings = {"n_heads": 4, "n_kv_heads": 4, "cos": cos, "sin": sin}
before = attention.multi_head_attention(x, *weights, **settings)
leaks = 0
for position in range(1, 33):
    changed = x.clone()
    changed[:, position:] = 100.0
    after = attention.multi_head_attention(changed, *weights, **settings)
    leaks += not torch.equal(after[:, :position], before[:, :position])
claims.add(
    "a changed future changes nothing before it, bit for bit",
    measured=f"{leaks} of 32 positions leak",
    bar="0",
    holds=leaks == 0,
)
print(f"{leaks} of 32 positions leak")

# %% [markdown]
# ## One head on a sentence
#
# So far queries, keys and values fell from the sky. In a model all three are made
# from the token's vector $x$ by three small matrices, which training finds:
# $q = W_q x$ says what the token looks for, $k = W_k x$ what it offers to be found
# by, $v = W_v x$ what it hands over. Three matrices and the look-up are a **head**.
#
# Take a sentence, cut into tokens, and the vectors that the base model of this
# course keeps for them (each scaled to the same length). The matrices shall be
# random, but for one thing: $W_k$ is the same as $W_q$. Before you look at the
# picture: what does such a head look for?

# %%
model, tokenizer = load_base()
sentence_ids = torch.tensor(
    tokenizer.encode("The dog sees the cat and the cat sees the dog.")
)
words = tokenizer.tokens(sentence_ids)
with torch.no_grad():
    vectors = model.embedding(sentence_ids)  # (T, D)
vectors = vectors / vectors.square().mean(-1, keepdim=True).sqrt()
width = vectors.shape[-1]
w_q, w_v = (random_vectors(16, width, seed=s) / width**0.5 for s in (2, 3))
w_k = w_q
q, k, v = (vectors @ w.T for w in (w_q, w_k, w_v))  # (T, K) each
shares = attention.attention_weights(q, k, causal_mask(len(words)))  # (T, T)
answers = shares @ v  # (T, K): each token's average of what it may see

# %%
plots.heat_map(
    shares.numpy(),
    title="A head whose keys are made like its queries looks for its own kind",
    x_names=words,
    y_names=words,
    axes=plots.new_axes((plots.FULL[0], 5.0)),
    value_label="share",
    limits=(0, 1),
)
plt.show()
row = [i for i, word in enumerate(words) if word == " cat"][1]
twin = words.index(" cat")
print(
    f"the second cat: {shares[row, twin]:.0%} on the first, {shares[row, row]:.0%}"
)
print(
    f"on itself, {1 - shares[row, [twin, row]].sum():.0%} on the other {row - 1} tokens"
)

# %% [markdown]
# *Figure 2. The table of shares of one head, a row for each token of the sentence
# (query) and a column for each token (key). Above the diagonal it is dark: that is
# the mask. On the diagonal each token finds itself. Lighter cells off the diagonal
# stand where a token meets an earlier token of the same name: "the" and
# "the", "cat" and "cat", the pieces of "dog" and of "sees".*
#
# Read a row as a sentence: "I, the second *cat*, take most from the first *cat* and
# from myself". Equal tokens have equal vectors, so query and key point the same way
# and their score is the largest. With a $W_k$ of its own a head can look for
# something else than itself: a verb for its subject, a pronoun for its name. What
# is worth finding, training decides. And note what the head does *not* know: both
# *dog*s look the same to it, wherever they stand.
#
# ## Several heads
#
# One look-up answers one question. A token usually has several: what is the noun
# before me, where did this name occur last, does this sentence ask. So the width
# is cut into **heads**, each with queries, keys and values of its own, made from
# the token's vector by learned matrices. Every head looks where it likes; their
# answers are put side by side and mixed by one more matrix. With $X$ the vectors
# of all tokens in rows,
#
# $$\mathrm{head}_h =
# \mathrm{attention}(X W_{q,h}^\top,\; X W_{k,h}^\top,\; X W_{v,h}^\top),
# \qquad \mathrm{output} = [\mathrm{head}_1, \ldots, \mathrm{head}_H]\; W_o^\top .$$
#
# The small matrices of all heads are kept as one, one below the other: rows 0 to
# $K - 1$ belong to head 0, the next $K$ to head 1. One product makes all queries, and
# then its columns have to be dealt out to the heads. That is where most people go
# wrong. Two heads, three tokens, four numbers each:

# %%
numbers = torch.arange(12).view(3, 4)  # (T, H * K): row t holds token t
print(numbers)
print("head 0 is to see", numbers[:, :2].tolist())
print("head 1 is to see", numbers[:, 2:].tolist())
reshaped = numbers.view(2, 3, 2)  # (H, T, K), straight to the wanted shape
print("a view to (H, T, K) gives head 0", reshaped[0].tolist())

# %% [markdown]
# The last axis of width `H * K` holds head 0, then head 1, and so on: it may be cut
# into two axes as it stands. To bring heads to the front, axes must then change
# places. A `view` straight to the wanted shape only counts numbers: here head 0 gets
# *all* of token 0 and half of token 1. The shape is right, no error, no warning, and a
# model that learns badly. The way back, from heads to one row, has the same trap.
#
# Keys and values of all earlier tokens have to be kept while a model writes
# (the *cache* of unit 05). To shrink them, heads can share: in **grouped-query
# attention** groups of query heads read the same keys and values; with one group
# it is **multi-query attention**. For 8,192 tokens in a model with 32 layers,
# 32 heads of width 128 and two bytes a number:

# %%
for n_kv_heads, name in (
    (32, "multi-head"),
    (8, "grouped"),
    (1, "multi-query"),
):
    n_bytes = (
        2 * 32 * 8192 * n_kv_heads * 128 * 2
    )  # keys and values, layers, ...
    print(f"{name:12} {n_kv_heads:2} key-value heads  {n_bytes / 1e9:5.2f} GB")

# %% [markdown]
# Which key-value head does a query head read? Neighbours share: with four heads and
# two groups, heads 0 and 1 read group 0, heads 2 and 3 read group 1. Dealt out in turn
# (0, 1, 0, 1) the shapes are right as well, and a checkpoint gives rubbish.

# %%
show(attention.multi_head_attention)

# %% [markdown]
# ## Is it right?
#
# Two oracles, both independent of ours: torch's own function, and the
# Llama attention of `transformers`, with our weights in it. All three kinds of
# sharing, with and without a mask, odd lengths.

# %%
largest = 0.0
for n_kv_heads in (4, 2, 1):  # MHA, GQA, MQA
    for T, mask in (
        (1, None),
        (7, None),
        (7, causal_mask(7)),
        (33, causal_mask(33)),
    ):
        q = random_vectors(2, 4, T, 8)
        k, v = (random_vectors(2, n_kv_heads, T, 8, seed=s) for s in (1, 2))
        theirs = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
        k, v = (t.repeat_interleave(4 // n_kv_heads, dim=1) for t in (k, v))
        ours = scaled_dot_product_attention(q, k, v, mask)
        largest = max(largest, (ours - theirs).abs().max().item())
print(f"largest difference from torch below 1e-5: {largest < 1e-5}")


# %%
def llama_attention(x, weights, n_kv_heads, cos, sin):
    """Return what Llama's attention of `transformers` gives with our weights."""
    config = LlamaConfig(
        hidden_size=32, num_attention_heads=4, num_key_value_heads=n_kv_heads
    )
    config._attn_implementation = "sdpa"
    module = LlamaAttention(config, layer_idx=0)
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    module.load_state_dict(
        {f"{name}.weight": w for name, w in zip(names, weights, strict=True)}
    )
    both = (torch.cat([cos, cos], -1)[None], torch.cat([sin, sin], -1)[None])
    with torch.no_grad():
        return module(x, position_embeddings=both, attention_mask=None)[0]


# %% [markdown]
# Fewer key-value heads need fewer rows in the matrices of keys and values.

# %%
largest_llama = 0.0
for n_kv_heads in (4, 2, 1):
    shared = (
        [weights[0]] + [w[: n_kv_heads * 8] for w in weights[1:3]] + weights[3:]
    )
    ours = attention.multi_head_attention(x, *shared, 4, n_kv_heads, cos, sin)
    theirs = llama_attention(x, shared, n_kv_heads, cos, sin)
    largest_llama = max(largest_llama, (ours - theirs).abs().max().item())
claims.add(
    "equal to torch and to Llama's attention, MHA, GQA, MQA",
    measured="below 1e-5" if max(largest, largest_llama) < 1e-5 else "above",
    bar="1e-5",
    holds=max(largest, largest_llama) < 1e-5,
)
print(f"largest difference from Llama below 1e-5: {largest_llama < 1e-5}")

# %% [markdown]
# ## Where am I? Rotary positions
#
# But for the mask, nothing so far depends on a token's place in the row, its
# **position**. Shuffle the keys a query may see, together with their values, and its
# answer stays the same; *dog bites man* is *man bites dog*. **Rotary positions**
# (RoPE) put the order into the score itself. Take the channels of a query in pairs and
# read each pair as a point in the plane. Turn it by an angle that grows with the
# token's position. Do the same to keys. The dot product of two turned points depends
# only on the angle between them, that is, on how far apart the tokens are.
#
# One pair by hand. Turned by an angle $a$, the point $(x, y)$ becomes
# $(x \cos a - y \sin a,\; x \sin a + y \cos a)$. A query at position 7 and a key at
# position 4, then both moved on by a hundred:


# %%
def turn_by_hand(point, angle):
    """Return a point of the plane, turned round the origin."""
    x, y = point
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos - y * sin, x * sin + y * cos


speed = 0.5  # radians per position
for shift in (0, 100):
    q_turned = turn_by_hand((1.0, 2.0), (7 + shift) * speed)
    k_turned = turn_by_hand((3.0, 1.0), (4 + shift) * speed)
    score = q_turned[0] * k_turned[0] + q_turned[1] * k_turned[1]
    print(f"positions {7 + shift:3} and {4 + shift:3}: score {score:.4f}")

# %% [markdown]
# The same score: only the difference of the angles is left, three positions times the
# speed. But one speed is not enough. A pair that turns fast is back where it was after
# a few tokens, as a hand that shows seconds can't tell one minute from the next; one
# that turns slowly can't tell neighbours apart. So each pair has its own, like the
# hands of a clock. Of the $K/2$ pairs of a head, pair $i$ turns by
#
# $$\theta_i = \theta^{-2i/K} \quad (i = 0, 1, \ldots, K/2 - 1)
# \qquad \text{radians per position, so by } t\,\theta_i \text{ at position } t,$$
#
# where $\theta$ is one number for the whole model, usually 10,000: the first pair turns
# by one radian per token, each next one slower by the same factor. For a head of
# width 16:

# %%
cos16, sin16 = rotary.rope_table(2, 16)
speeds = torch.atan2(sin16, cos16)[1]  # (K/2,): the angles at position 1
print("radians per token: ", " ".join(f"{x:.4f}" for x in speeds.tolist()))
print(
    "tokens for a round:",
    " ".join(f"{2 * math.pi / x:.0f}" for x in speeds.tolist()),
)
print(
    f"the slowest pair turns at 1/{1 / speeds[-1]:.0f} of the fastest one's speed"
)

# %% [markdown]
# Not a ten-thousandth: the exponent of the last pair is $-14/16$, not $-1$. A larger
# $\theta$ slows the hands down and so reaches further. Models for long texts raise it:
# Llama 3 has 500,000. A checkpoint read with another $\theta$ than it was trained with
# looks at the wrong distances, and says nothing.

# %%
show(rotary.rope_table)

# %%
show(rotary.apply_rope)

# %% [markdown]
# If that is right, then one query and one key, put at all pairs of positions,
# give a table of scores in which every diagonal is constant.

# %%
T, K = 48, 16
cos48, sin48 = rotary.rope_table(T, K)
q_everywhere = rotary.apply_rope(
    random_vectors(1, K).expand(T, K), cos48, sin48
)
k_everywhere = rotary.apply_rope(
    random_vectors(1, K, seed=1).expand(T, K), cos48, sin48
)
by_position = q_everywhere @ k_everywhere.T  # (T, T)
spread = max(
    (by_position.diagonal(d).max() - by_position.diagonal(d).min()).item()
    for d in range(-T + 1, T)
)

# %%
plots.heat_map(
    by_position.numpy(),
    title="The score depends on the distance alone",
    xlabel="position of the key",
    ylabel="position of the query",
    value_label="score",
)
plt.show()
claims.add(
    "rotary scores depend on the offset alone",
    measured="spread below 1e-4" if spread < 1e-4 else f"spread {spread:.1e}",
    bar="1e-4",
    holds=spread < 1e-4,
)

# %% [markdown]
# *Figure 3. A map of scores, positions of the query downwards and of the key
# across. The colours form straight stripes along the diagonals: the same value
# wherever the distance is the same.*
#
# The pairing is a convention. The paper pairs channel 0 with 1; Llama and our
# code pair channel 0 with the first of the second half. Weights trained for one
# are nonsense under the other, which is a classic way to import a checkpoint
# and get fluent rubbish.
#
# ## The price, and how not to pay it
#
# The table of scores has `T` times `T` entries. Twice the text, four times the
# table. At 4,096 tokens one head needs:

# %%
T = 4096
q, k, v = (random_vectors(T, 32, seed=s) for s in range(3))
mask = causal_mask(T)
naive = peak_bytes(lambda: scaled_dot_product_attention(q, k, v, mask))
print(f"{T * T:,} scores; at its peak {naive / 1e6:.0f} MB for one head")
print(f"the answer itself: {T * 32 * 4 / 1e6:.1f} MB")
for n in (T, 2 * T):
    print(f"{n:5} tokens: {2 * n * n * 32 / 1e9:.1f} billion multiplications")

# %% [markdown]
# Time goes the same way. Each score takes `K` multiplications, and each share as
# many again for the values: twice the text, four times the work. That part stays.
# Memory need not. The answer is tiny; the table is thrown away. Can we do without
# it? The obstacle is the softmax, which must know all scores of a row before it
# can give the first share. Or so it seems.
#
# Go through the keys in blocks, and keep three things per query: the largest
# score so far, $m$; the sum of $e^{score - m}$; and the sum of $e^{score - m}$
# times value. When a block brings a larger maximum $m'$, everything summed so
# far was measured from the wrong base. One factor, $e^{m - m'}$, puts it right: with
# $\ell$ the first sum, $o$ the second, and the block's scores $s_j$ and values $v_j$,
#
# $$\ell' = e^{m - m'} \ell + \sum_j e^{s_j - m'}, \qquad
# o' = e^{m - m'} o + \sum_j e^{s_j - m'} v_j .$$
#
# At the end, the answer is $o / \ell$. This is the **online softmax**, the idea inside
# FlashAttention. One query, four scores, two blocks of two, by hand:

# %%
first_sum = math.exp(1 - 3) + math.exp(3 - 3)  # scores 1 and 3: m is 3
first_output = math.exp(1 - 3) * 10 + math.exp(3 - 3) * 20  # values 10, 20
factor = math.exp(3 - 6)  # the second block, 2 and 6, raises m to 6
second_sum = factor * first_sum + math.exp(2 - 6) + math.exp(6 - 6)
second_output = factor * first_output + math.exp(2 - 6) * 30 + 40
shares_at_once = torch.tensor([1.0, 3, 2, 6]).softmax(0)
at_once = shares_at_once @ torch.tensor([10.0, 20, 30, 40])
print(f"in two blocks {second_output / second_sum:.4f}, at once {at_once:.4f}")
without = first_output + math.exp(2 - 6) * 30 + 40
without /= first_sum + math.exp(2 - 6) + math.exp(6 - 6)
print(
    f"the factor forgotten: {without:.4f}, "
    f"the first block {1 / factor:.0f} times too heavy"
)
assert abs(second_output / second_sum - at_once.item()) < 1e-4

# %% [markdown]
# Without the factor the result is still a plausible average. Nothing but a comparison
# shows that it is wrong.

# %%
show(attention.streaming_attention)

# %%
streaming = peak_bytes(
    lambda: attention.streaming_attention(q, k, v, block_size=128)
)
exact = scaled_dot_product_attention(q, k, v, mask)
difference = (
    (attention.streaming_attention(q, k, v, block_size=128) - exact).abs().max()
)
claims.add(
    "streaming attention at T = 4096: memory against the table's",
    measured=f"1/{naive / streaming:.0f}, same result: {bool(difference < 1e-5)}",
    bar="1/8",
    holds=streaming <= naive / 8 and difference < 1e-5,
)
print(f"table {naive / 1e6:.0f} MB, streaming {streaming / 1e6:.1f} MB")

# %% [markdown]
# How do the two grow?

# %%
lengths = [256, 512, 1024, 2048, 4096]
table, blocks = [], []
for n in lengths:
    part = [t[:n] for t in (q, k, v)]
    hide = causal_mask(n)
    table.append(
        peak_bytes(lambda p=part, m=hide: scaled_dot_product_attention(*p, m))
        / 1e6
    )
    blocks.append(
        peak_bytes(lambda p=part: attention.streaming_attention(*p)) / 1e6
    )

# %%
plots.lines(
    {"whole table": (lengths, table), "blocks of 128 keys": (lengths, blocks)},
    title="The table grows with the square of the length, blocks do not",
    xlabel="tokens (log scale)",
    ylabel="peak memory, MB (log scale)",
    log_x=True,
    log_y=True,
    points=True,
)
plt.show()

# %% [markdown]
# *Figure 4. Peak memory over the number of tokens, both axes logarithmic. The
# line of the whole table is twice as steep as that of the blocks and ends more
# than ten times higher.*
#
# The arithmetic is the same, even a little more. FlashAttention is nevertheless
# faster on a GPU, since the time there goes into moving the table to memory and
# back, and a block fits into the chip.
#
# ## Looking inside a trained model
#
# The base model of this course, a decoder of about a million weights, learned to
# copy codes, among other things. Where does it look while it copies? Choose a
# layer, a head and a token. Rows are queries; a bright cell is a large share.

# %%
text = "Question: Write k4t9 again.\nAnswer: k4t9"
token_ids = torch.tensor([tokenizer.encode(text)])
with torch.inference_mode():
    maps = model.attention_maps(token_ids)[:, 0].numpy()  # (L, H, T, T)
tokens = tokenizer.tokens(token_ids[0])

# %% tags=["nbval-ignore-output"]
attention_explorer(maps, tokens)

# %% [markdown]
# You need not search by eye. Copying needs a head that, from a letter of the
# answer, looks back to where the same letter stood in the question, or one place
# further, at the letter to write next. Ask each head how much it does the
# second.

# %%
first = next(i for i, t in enumerate(tokens) if t.strip() == "k")
second = next(i for i, t in enumerate(tokens) if t.strip() == "k" and i > first)
steps = range(3)  # from k to 4, from 4 to t, from t to 9
ahead = sum(maps[:, :, second + s, first + s + 1] for s in steps) / 3  # (L, H)
layer, head = divmod(int(ahead.argmax()), ahead.shape[1])
print(
    f"layer {layer}, head {head}: {ahead.max():.0%} on the letter to write next"
)

# %%
shown = slice(first - 1, None)
plots.heat_map(
    maps[layer, head][second:, shown],
    title=f"Layer {layer}, head {head} reads the next letter of the code",
    x_names=[repr(t)[1:-1] for t in tokens[shown]],
    y_names=[repr(t)[1:-1] for t in tokens[second:]],
    axes=plots.new_axes(plots.FULL),
    value_label="share",
    limits=(0, 1),
)
plt.show()

# %% [markdown]
# *Figure 5. The shares of one head, for the letters of the answer (rows) over
# the text (columns). The first three rows are brightest one place after the same
# letter in the question: on the letter that has to come next. The last letter has
# no successor, and its row falls back to others.*
#
# Nobody wrote that rule. It was learned because copying codes was in the training
# text. But which rule is it? Two would give this very picture. The head may **search**:
# find the same letter and take what followed. Or it may go **by place**: the second
# letter of the answer is the second letter of the code, whatever the letters are. The
# map can't tell them apart, since both look at the same cell.
#
# An experiment can. Begin the answer with the code's *third* letter: after `t`, a
# searcher goes on with `9`, which followed `t`; who goes by place writes the second
# letter of the code, `4`. Over 64 codes, how often does the model write what
# followed?

# %%
my_guess_search = None  # share of 64 codes, between 0 and 1: your number

# %% tags=["reveals"]
draws = random.Random(0)
codes = [c for c in (code(draws) for _ in range(200)) if len(set(c)) == 4][:64]
found = {"what followed": 0, "by place": 0}
for one in codes:
    prompt = f"Question: Write {one} again.\nAnswer: {one[2]}"
    with torch.inference_mode():
        logits = model(torch.tensor([tokenizer.encode(prompt)]))[0, -1]
    written = tokenizer.decode([int(logits.argmax())])
    found["what followed"] += written == one[3]
    found["by place"] += written == one[1]
compare(my_guess_search, found["what followed"] / len(codes), "{:.0%}")
print(
    f"the letter that has its place next: {found['by place'] / len(codes):.0%}"
)
claims.add(
    "the base model copies by place, not by search",
    measured=f"{found['by place']} of {len(codes)} by place",
    bar="at least 56",
    holds=found["by place"] >= 56,
)

# %% [markdown]
# It goes by place. So this is a **copying head**, and no more: it serves *Write ...
# again*, where place and letter always agreed, and training never had a reason to
# prefer the search. The head that does search, for any tokens whatever, is called
# an **induction head**; unit 03 grows one, takes it apart, and finds out which of
# this model's heads the copying can't do without.
#
# > **Governance box.** An attention map shows where a head looked, not why the
# > model answered. Other maps can give the same answer (Jain and Wallace 2019).
# > *Record* maps as diagnostics, with layer, head and model version. *Who
# > signs*: nobody should sign a decision about a person on the ground of a map.
# > *What an auditor asks*: which evidence, other than the map, supports the
# > explanation that you gave?
#
# ## Break it: a mask that leaks by one
#
# The commonest mistake in this unit's lab is a triangle shifted by one, so that
# each position sees the token that it should predict. Train two small models on
# the world, alike but for the mask. Which loss will look better?


# %%
class LeakyBlock(Block):
    """A block whose mask lets each token see its successor."""

    def forward(self, x, cos, sin, mask=None, cache=None, layer=0):
        T = x.shape[1]
        leaky = causal_mask(T + 1)[1:, :T]  # each row is that of the next token
        return super().forward(x, cos, sin, leaky)


def build(config, kind):
    """Return a decoder of blocks of a kind, with the same first weights each time."""
    decoder = Decoder(config)
    decoder.blocks = torch.nn.ModuleList(
        kind(config) for _ in range(config.n_layers)
    )
    torch.manual_seed(0)
    decoder.reset_parameters()
    return decoder


# %%
small = replace(model.config, d_model=64, n_layers=2, d_head=16, d_ff=192)
documents = tokenizer.encode_batch(world_corpus(4000, seed=3))
stream = pack_documents(documents, tokenizer.end_id)
batches = block_batches(stream, batch_size=8, context_length=64, seed=0)

# %% [markdown]
# Same text, same first weights, 300 steps each.

# %% tags=["nbval-ignore-output"]
records, trained = {}, {}
for name, kind in (("causal", Block), ("leaks by one", LeakyBlock)):
    trained[name] = build(small, kind)
    records[name] = train(
        trained[name],
        batches,
        cross_entropy,
        adamw(trained[name], lr=5e-3),
        n_steps=300,
        schedule=cosine(300, warmup_steps=20),
        description=name,
    )

# %% [markdown]
# Compare the mean loss of the last twenty steps.

# %%
leaked, honest = (
    sum(r["loss"] for r in records[name][-20:]) / 20
    for name in ("leaks by one", "causal")
)
plots.loss_curve(
    records, title="The model that peeks looks far better in training"
)
plt.show()

# %% [markdown]
# *Figure 6. Training loss of two models over 300 steps. The causal one falls
# slowly and stays above one nat. The leaky one dives towards zero.*
#
# Figure 1 was the first break of this unit: drop the scale. This is the second, and
# the worse one, for nothing looks broken. If you judged by the loss, you would ship
# the leaky model. Let both write, one
# token at a time, where there is no successor to peek at:

# %% tags=["nbval-ignore-output"]
prompt = tokenizer.encode("Question: Write the letters")
for name, one in trained.items():
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(12):
            ids.append(int(one(torch.tensor([ids]))[0, -1].argmax()))
    print(f"{name:13} {tokenizer.decode(ids)!r}")

# %%
claims.add(
    "a mask that leaks by one: training loss against the honest one's",
    measured="under a tenth" if leaked < honest / 10 else "over a tenth",
    bar="under a tenth",
    holds=leaked < honest / 10,
)

# %% [markdown]
# A loss that is too good is a bug until proven otherwise. The test of causality
# above is cheap. Run it on every model whose code you touch.
#
# ## The bridge
#
# At work you will call `F.scaled_dot_product_attention`. It chooses a **back
# end**: plain mathematics, or a **kernel**, one program that does the whole formula
# in one go, such as FlashAttention; which one depends on device, dtype and mask. All
# give the same answer up to rounding; memory and speed differ. You can insist on one:

# %%
from torch.nn.attention import SDPBackend, sdpa_kernel

q, k, v = (random_vectors(1, 4, 65, 16, seed=s) for s in range(3))
ours = scaled_dot_product_attention(q, k, v, causal_mask(65))
for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
    with sdpa_kernel(backend):
        theirs = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    print(
        f"{backend.name:16} equal to ours: {torch.allclose(ours, theirs, atol=1e-5)}"
    )

# %% [markdown]
# For masks that are neither full nor causal (sliding windows, several documents
# in one row) there is **FlexAttention**: you write the mask as a function of
# positions, and a compiler makes the kernel. Uncompiled it runs everywhere,
# forwards only on a CPU; it is meant for GPUs, compiled.

# %%
import warnings

from torch.nn.attention.flex_attention import create_block_mask, flex_attention

document_of = torch.tensor([0] * 20 + [1] * 45)  # (T,): two texts in one row


def same_document(batch, head, query, key):
    """Let each query see its own text alone."""
    return document_of[query] == document_of[key]


allowed = document_of[:, None] == document_of[None]  # (T, T)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns that it is not compiled
    seen = create_block_mask(same_document, None, None, 65, 65, device="cpu")
    flexible = flex_attention(q, k, v, block_mask=seen)
ours = scaled_dot_product_attention(q, k, v, allowed)
print(
    "two documents in one row, equal to ours:",
    torch.allclose(ours, flexible, atol=1e-5),
)

# %% [markdown]
# ## On a real model
#
# The base model is small and its town invented. How does attention look in a model
# that has read a good part of the web? `course model` fetches one once,
# **SmolLM2-135M-Instruct**: 135 million weights, 30 layers of 9 heads, and read by the
# very decoder that you have met. Where it is not prepared, the cells of this
# section say so, and their stored outputs show what they found.

# %% tags=["real"]
from utils.zoo.real import has_real, how_to_get_real, load_real

if has_real():
    real, real_tokenizer = load_real()
    n_heads = real.config.n_layers * real.config.n_heads
    print(f"{n_heads} heads in {real.config.n_layers} layers")
else:
    print(how_to_get_real())

# %% [markdown]
# Here is a plain English sentence. Change it to one of your own if you like, then
# choose layers and heads above the tenth layer and watch the first column.

# %% tags=["real"]
my_sentence = (
    "The clinic opens at eight in the morning. Patients who come early wait in the "
    "hall, where a nurse writes down their names and asks how they slept."
)
real_ids = torch.tensor([real_tokenizer.encode(my_sentence)])  # (1, T)
with torch.inference_mode():
    real_maps = real.attention_maps(real_ids)[:, 0]  # (L, H, T, T)

# %% tags=["nbval-ignore-output", "real"]
attention_explorer(
    real_maps.float().numpy(), real_tokenizer.tokens(real_ids[0])
)

# %% [markdown]
# The sentence begins with `The`, a word that says next to nothing. A token with 19
# others before it would give the first one a share of a twentieth, if it had no
# preference. What share does it give, on average over the heads of layers 12 to 29?

# %%
my_guess_first = None  # a share between 0 and 1: your number

# %% tags=["real", "reveals"]
to_first = real_maps[:, :, 8:, 0].mean((1, 2))  # (L,) queries from the ninth on
even = (1 / torch.arange(9, real_ids.shape[1] + 1)).mean()
compare(my_guess_first, to_first[12:].mean().item(), "{:.0%}")
layers = list(range(real.config.n_layers))
plots.lines(
    {
        "the first token": (layers, to_first.tolist()),
        "an even share": (layers, [even.item()] * len(layers)),
    },
    title="Upper layers give half of their attention to a word that says nothing",
    xlabel="layer",
    ylabel="share of attention",
)
plt.show()

# %% [markdown]
# *Figure 7. Share of attention that goes to the first token of a sentence, by layer,
# beside an even share. About that much in the first two layers, a fifth to a third in
# layers 2 to 9, little again in 10 and 11, half and more in most layers from 12 on.*
#
# Is it the word or the place? Put other tokens in front of the same sentence:

# %% tags=["real"]
rest = real_tokenizer.encode(my_sentence)[1:]
for opening in ("The", " zebra", "7", "\n"):
    (first_id,) = real_tokenizer.encode(opening)
    with torch.inference_mode():
        maps = real.attention_maps(torch.tensor([[first_id, *rest]]))[:, 0]
    print(f"{opening!r:8} {maps[12:, :, 8:, 0].mean():.0%}")

# %% [markdown]
# The place. The shares of a softmax add up to one, so a head that finds nothing to
# look for has to put its attention *somewhere*. The first token is the only one that
# every query can see, and training made it the place for that: an **attention
# sink**. What is fetched there is nearly nothing, too. Measure the values' lengths at
# the first token against those at the others:

# %% tags=["real"]
from utils.model.cache import KVCache

read = KVCache(real.config, batch_size=1, capacity=real_ids.shape[1])
with torch.inference_mode():
    real(real_ids, cache=read)  # keeps keys and values, (L, B, H_kv, T, K)
lengths = read.values[12:, 0].norm(dim=-1)  # (L - 12, H_kv, T)
share = lengths[..., 0].mean() / lengths[..., 1:].mean()
print(f"a value at the first token is {share:.0%} as long as one elsewhere")

# %% [markdown]
# A token that says nothing, whose values are short. So it can be forgotten? Let the
# model read 64 tokens of Python's reference, then take keys and values of some of them
# away (how a model keeps them is unit 05) and let it read on. Guess how much the
# loss on the next 63 tokens rises, in nats a token, without the first of the 64.
# And without all *but* the first?

# %%
my_guess_without_first = None  # nats a token: your number
my_guess_first_alone = None  # nats a token: your number


# %% tags=["real"]
def loss_after_keeping(ids, kept, n_read=64):
    """Return the loss of what follows n_read tokens of which some are kept."""
    cache = KVCache(real.config, batch_size=1, capacity=ids.shape[1])
    with torch.inference_mode():
        real(ids[:, :n_read], cache=cache)
        for buffer in (cache.keys, cache.values):
            buffer[:, :, :, : len(kept)] = buffer[:, :, :, kept].clone()
        cache.length = len(kept)
        places = torch.arange(n_read, ids.shape[1] - 1).unsqueeze(0)  # (1, T)
        logits = real(ids[:, n_read:-1], cache=cache, positions=places)
    return cross_entropy(logits, ids[:, n_read + 1 :]).item()


# %% tags=["real", "reveals"]
from utils.text.corpora import python_reference

pages = [page for page in python_reference() if len(page) > 3000][:32:8]
places = list(range(64))
choices = {
    "all 64": places,
    "without the first": places[1:],
    "without the 31st": places[:30] + places[31:],
    "without the 11th to the 20th": places[:10] + places[20:],
    "the first alone": places[:1],
}
losses = {
    name: [
        loss_after_keeping(
            torch.tensor([real_tokenizer.encode(page)[:128]]), kept
        )
        for page in pages
    ]
    for name, kept in choices.items()
}
means = {name: sum(values) / len(values) for name, values in losses.items()}
rises = {name: mean - means["all 64"] for name, mean in means.items()}
compare(my_guess_without_first, rises["without the first"], of="without it")
compare(my_guess_first_alone, rises["the first alone"], of="it alone")

# %% tags=["real"]
plots.bars(
    means,
    title="The one word that says nothing is worth more than 63 that say something",
    xlabel="loss on the tokens that follow (nats per token)",
    text="{:.2f}",
)
plt.show()

# %% tags=["real"]
real_claims = Claims()
real_claims.add(
    "the first token: share of attention in layers 12 to 29",
    measured=f"{to_first[12:].mean():.0%}",
    bar="over 5 even shares",
    holds=to_first[12:].mean() > 5 * even,
)
n_dearer = sum(
    a > b
    for a, b in zip(
        losses["without the first"], losses["the first alone"], strict=True
    )
)
real_claims.add(
    "forgetting it costs more than forgetting all others",
    measured=f"on {n_dearer} of {len(pages)} pages",
    bar="on each",
    holds=n_dearer == len(pages),
)
real_claims.table()

# %% [markdown]
# *Figure 8. Loss on what follows, with keys and values of 64 tokens or of some of
# them, mean of four pages. Without the 31st token, or ten in the middle, the bar is as
# long as with all. Without the first it is the longest, longer than with the first
# alone.*
#
# Whoever keeps only the newest tokens of a long conversation, to save memory, throws
# the first one out at once, and the model falls apart although nothing that matters is
# gone. The mend is as odd as the fault: keep the first tokens for good, and the newest
# ones (Xiao et al. 2023). Maps of real models are read with this in mind: a bright
# first column says that a head has nothing to do.
#
# ## Claims

# %%
claims.table()

# %% [markdown]
# ## Check yourself
#
# Put your letter, in quotes, in place of `None` and run the cell again.

# %%
my_answer_1 = None  # "a", "b" or "c"
ask("02_attention", "softmax-axis", my_answer_1)

# %% [markdown]
# The second is about memory.

# %%
my_answer_2 = None
ask("02_attention", "kv-heads", my_answer_2)

# %% [markdown]
# The third is about positions.

# %%
my_answer_3 = None
ask("02_attention", "rope-values", my_answer_3)

# %% [markdown]
# ## What to remember
#
# - Attention is a look-up that answers in shares: softmax of scores, times values.
# - Divide by the square root of the width, or each query sees one key.
# - The mask acts on scores, before the softmax. Test causality, bit for bit.
# - Rotary positions turn queries and keys; scores depend on distance alone.
# - The table of scores is never needed whole: a running maximum and two sums do.
# - In real models much attention rests on the first token. It says nothing, and they
#   can't do without it.
#
# ## Sources
#
# - Vaswani et al., *Attention Is All You Need*, NeurIPS 2017, sections 3.2.1 to
#   3.2.3: the formula, the division, heads, the mask.
# - Su et al., *RoFormer*, 2021, section 3.2.2: rotary positions. Dubey et al., *The
#   Llama 3 Herd of Models*, 2024, section 3.2: the larger theta.
# - Shazeer, *Fast Transformer Decoding*, 2019, section 3: multi-query attention.
#   Ainslie et al., *GQA*, EMNLP 2023, section 2.2: grouped queries.
# - Milakov and Gimelshein, *Online normalizer calculation for softmax*, 2018,
#   algorithm 3. Dao et al., *FlashAttention*, NeurIPS 2022, section 3.1.
# - Jain and Wallace, *Attention is not Explanation*, NAACL 2019, section 4. Olsson et
#   al., *In-context Learning and Induction Heads*, 2022: heads that search.
# - Xiao et al., *Efficient Streaming Language Models with Attention Sinks*, ICLR
#   2024, section 3: the first token, and keeping it. Allal et al., *SmolLM2*, 2025.
#
# **Next**: `work/02_attention.ipynb`. You write all six functions and put your
# attention into the base model. Then unit 03, the rest of the decoder.
