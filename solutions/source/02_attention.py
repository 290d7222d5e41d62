# %% [markdown]
# # Lab 02: Attention
#
# **140 minutes** · after the lecture `notebooks/02_attention.ipynb`
#
# You write attention in six functions, from a triangle of True to an algorithm
# that never holds the table of scores. Each exercise has a check that answers at
# once; after each, an experiment runs *your* function. At the end your attention
# sits in the base model and answers questions. An exercise that you skip only
# switches off its own experiments.
#
# Letters for shapes: B batch, T query tokens, S key tokens, D width of the
# model, H heads, K width of a head. A mask is True where a query may see a key.

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from utils.labs.api import check, done, hint, start_lab
from utils.report import plots
from utils.report.guesses import compare
from utils.report.memory import peak_bytes
from utils.runtime import generator, start
from utils.zoo.load import load_base

start_lab("02_attention")
plots.use_style()
tier = start(seed=0)

# %% [markdown]
# ## 1. The causal mask
#
# **Goal**: a table of True and False: which token may see which.
#
# **Why it matters**: a language model predicts every token of a text at once. If
# a position sees its successor, training looks splendid and the model is
# useless. One step to the side is all it takes.

# %%
# exercise: utils.model.attention.causal_mask points=2 minutes=6 difficulty=1

# %% [markdown]
# **Experiment.** How many keys do queries see on average? Before you run it:
# about what share of a table of 1,000 by 1,000?

# %%
my_guess = None  # share of True in the mask, from 0 to 1: your number

# %% tags=["needs:causal_mask"]
share = causal_mask(1000).float().mean().item()
compare(my_guess, share, "{:.0%}")

# %% [markdown] tags=["result"]
# Half of the table is computed for nothing. Kernels that skip hidden blocks save
# almost a factor of two.

# %% [markdown]
# ## 2. Scaled dot-product attention
#
# **Goal**: for each query the average of the values, weighted by the softmax of
# the scaled scores.
#
# **Why it matters**: this is the one formula of the transformer. Everything else
# in this lab puts it to use.
#
# The docstring asks for one thing that most implementations lack: a query that
# may see no key at all has no average. Returning NaN would poison everything
# downstream without a word, so say it.

# %%
# exercise: utils.model.attention.scaled_dot_product_attention points=8 minutes=20 difficulty=2

# %% [markdown]
# **Experiment.** Sharpness. The same query and keys, scores multiplied by a
# factor before your function sees them. At which factor does the query look at
# one key only? And which factor undoes the division by the square root?

# %% tags=["needs:scaled_dot_product_attention"]
q = torch.randn(200, 64, generator=generator(0))
k = torch.randn(32, 64, generator=generator(1))
factors = [0.25, 0.5, 1, 2, 4, 8, 16, 32]
largest_share = [
    scaled_dot_product_attention(q * f, k, torch.eye(32)).amax(-1).mean().item()
    for f in factors
]
plots.lines(
    {"mean largest share": (factors, largest_share)},
    title="At thirty times the score, attention is nearly a plain look-up",
    xlabel="factor on the scores (log scale)",
    ylabel="share of the best key",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. A rising line: the share of the best key over the factor, from about a
# twentieth at small factors to nearly one at large ones. A factor of 8 undoes the
# division by the square root of 64: there one key has over four fifths of the share.*

# %% [markdown]
# ## 3. The table of angles
#
# **Goal**: cosines and sines of the angles by which rotary positions turn: a row
# for each position, a column for each pair of channels.
#
# **Why it matters**: attention alone knows no order. These two tables are all that a
# model of today has instead, and one number in them, theta, decides how far it can
# tell positions apart. A table made with another exponent or another theta than the
# checkpoint's has the right shape and ruins the model.
#
# Of the K/2 pairs of a head, pair $i$ turns by
# $\theta_i = \theta^{-2i/K}$ radians per position, so its angle at position $t$ is
# $t \cdot \theta_i$: position times speed.

# %%
# exercise: utils.model.rotary.rope_table points=4 minutes=15 difficulty=2

# %% [markdown]
# **Experiment.** The hands of the clock. The slowest pair of a head of width 64 is
# back where it started after how many tokens, with theta 10,000? And with 500,000, as
# in Llama 3? A guess for the first.

# %%
my_round = None  # tokens: your number

# %% tags=["needs:rope_table"]
rounds = {}
for theta in (10_000.0, 500_000.0):
    cos, sin = rope_table(2, 64, theta)
    slowest = torch.atan2(sin, cos)[1, -1].item()  # its angle at position 1
    rounds[theta] = 2 * math.pi / slowest
compare(my_round, rounds[10_000.0], "{:,.0f} tokens")
print(f"with theta 500,000: {rounds[500_000.0]:,.0f} tokens")
cos, sin = rope_table(200, 64)
plots.lines(
    {
        f"pair {i}": (list(range(200)), cos[:, i].tolist())
        for i in (0, 8, 16, 31)
    },
    title="Fast pairs tell neighbours apart, slow ones far positions",
    xlabel="position",
    ylabel="cosine of the angle",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 2. Cosines of four pairs over 200 positions. Pair 0 goes up and down every
# six tokens, pair 8 every 63. Pair 16 falls once from one to about minus 0.4, and the
# last stays near one.*

# %% [markdown]
# ## 4. Rotary positions
#
# **Goal**: turn each pair of channels of a query or key by the angle of its
# position.
#
# **Why it matters**: it is how nearly all open models of today know order. And
# it is where imports of checkpoints fail most often, because there are two
# conventions for what a pair is. Ours pairs channel i with channel i + K/2.

# %%
# exercise: utils.model.rotary.apply_rope points=5 minutes=15 difficulty=2

# %% [markdown]
# **Experiment.** A key that equals the query, at growing distance. With vectors
# of ones and the tables that the base model reads, how does your rotation let the
# score fade? Does it go on falling?

# %% tags=["needs:apply_rope"]
base, _ = load_base()
cos, sin = base.cos[:, 0], base.sin[:, 0]  # (T, K/2)
ones = apply_rope(torch.ones(len(cos), 2 * cos.shape[1]), cos, sin)  # (T, K)
fading = ones @ ones[0]  # (T,)
for distance in (0, 4, 10, 20, 40, 85, 120):
    print(f"distance {distance:3}: score {fading[distance]:4.1f}")
plots.lines(
    {"score with position 0": (list(range(len(cos))), fading.tolist())},
    title="The score of equal vectors falls at once, then wavers",
    xlabel="distance in tokens",
    ylabel="score",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 3. The score starts at 32, loses a quarter within four tokens, and then
# drifts downwards in waves: it does not fall steadily. It is lowest at a distance of
# 85, and twice as high again at 120.*
#
# So a model can't read distance off the height of one score. Each pair has
# a wave of its own, and what the waves add up to depends on the query and the key.

# %% [markdown]
# ## 5. Several heads
#
# **Goal**: causal self-attention with several heads, groups of which share keys
# and values.
#
# **Why it matters**: this is the function that runs in Llama and Qwen3. With
# sharing, the memory for keys and values, which limits how many users a server
# holds, shrinks by the size of the groups.
#
# Use your mask, your attention and your rotation. Mind the order of axes: cut the
# width into heads by `view`, then swap tokens and heads by `transpose`.

# %%
# exercise: utils.model.attention.multi_head_attention points=7 minutes=30 difficulty=3

# %% [markdown]
# **Experiment.** Your attention in the base model, in place of ours. The model
# was trained by `utils`; if your function is right, it will not notice.

# %% tags=["needs:multi_head_attention"]
model, tokenizer = load_base()
config = model.config


def my_model(token_ids):
    """Return the base model's logits, with your attention in every layer."""
    x = model.embedding(token_ids)  # (B, T, D)
    T, width = token_ids.shape[1], config.n_heads * config.d_head
    cos, sin = model.cos[:T, 0], model.sin[:T, 0]  # (T, K/2)
    for block in model.blocks:
        w_q, w_k, w_v = block.attention.qkv.weight.split(
            [width, *2 * [config.n_kv_heads * config.d_head]]
        )
        normed = block.attention_norm(x)
        heads = config.n_heads, config.n_kv_heads
        w_o = block.attention.output.weight
        x = x + multi_head_attention(
            normed, w_q, w_k, w_v, w_o, *heads, cos, sin
        )
        x = x + block.feed_forward(block.feed_forward_norm(x))
    return model.unembedding(model.norm(x))


# %% tags=["needs:multi_head_attention"]
ids = torch.tensor([tokenizer.encode("Question: Write r5m1 again.\nAnswer:")])
with torch.inference_mode():
    difference = (my_model(ids) - model(ids)).abs().max().item()
    for _ in range(8):
        ids = torch.cat([ids, my_model(ids)[:, -1:].argmax(-1)], dim=1)
        if ids[0, -1] == tokenizer.end_id:
            break
print(f"logits differ by less than 1e-3: {difference < 1e-3}")
print(tokenizer.decode(ids[0].tolist()).removesuffix("<|end|>"))

# %% [markdown]
# ## 6. Streaming attention
#
# **Goal**: the same result as exercise 2, going through the keys block by block,
# without ever holding all scores.
#
# **Why it matters**: it is the idea inside FlashAttention, and the reason why
# models can read a hundred thousand tokens. The check holds you to it: a tensor
# with all scores is rejected, even if the numbers are right.

# %%
# exercise: utils.model.attention.streaming_attention points=8 minutes=30 difficulty=3

# %% [markdown]
# **Experiment.** What does the size of a block cost, in memory, at 2,048 tokens?
# A block of all keys is the table again.

# %% tags=["needs:streaming_attention"]
q, k, v = (torch.randn(2048, 32, generator=generator(s)) for s in range(3))
sizes = [16, 64, 256, 1024, 2048]
megabytes = [
    peak_bytes(lambda size=size: streaming_attention(q, k, v, size)) / 1e6
    for size in sizes
]
plots.lines(
    {"your function": (sizes, megabytes)},
    title="Memory follows the block, not the text",
    xlabel="keys per block (log scale)",
    ylabel="peak memory, MB (log scale)",
    log_x=True,
    log_y=True,
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 4. A rising line: peak memory over the size of a block. Small blocks
# need about a megabyte, the largest one dozens.*

# %% [markdown]
# ## 7. Written answer (3 points)
#
# A colleague shows you a new model. After a day of training its loss is 0.02
# nats per token, where others of its size stand at 2. "The data must be very
# clean", she says. The text that it writes is one word over and over.
#
# In four to seven sentences: (a) what do you suspect, and why do a loss so low
# and text so bad fit together? (b) Which test would you run first, what exactly
# would you change and compare, and how close must the numbers be? (c) Why would
# a longer training run not have shown it?
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* I suspect that the mask lets each position see the token that it
# has to predict, most likely by one step. In training that token is there to be
# read, so copying it gives a loss near zero; when the model writes, nothing
# stands at that place yet, and it has learned nothing else. I would test
# causality: take one sequence, compute the outputs, change all tokens after some
# position, compute again, and compare the outputs up to that position, for every
# position. They must be equal bit for bit, not merely close, since the same
# numbers enter the same sums; any difference is a leak. A longer run would only
# bring the loss closer to zero, because training and validation loss are both
# computed with the leak: the curve gets better while the model stays useless.
#
# *Rubric.* 1 point: names the leak and explains both symptoms by it. 1 point: a
# test that changes the future and compares the past, with exact equality. 1
# point: sees that training and validation share the fault.
# <!-- END SOLUTION -->
