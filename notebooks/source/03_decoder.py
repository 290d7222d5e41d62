# %% [markdown]
# # 03 The decoder
#
# **105 minutes** · before this: unit 02 · after this: `work/03_decoder.ipynb`,
# a lab of 140 minutes · the machine needs about two minutes
#
# Attention lets tokens look at each other. A language model is a stack of it,
# with a few parts around that decide whether the stack trains at all. You put
# these parts together, load checkpoints of other people's models into them,
# count what a model of 405 billion weights costs without having one, and look
# inside to see where a word is decided.

# %%
import math

import matplotlib.pyplot as plt
import torch

from utils.model.accounting import (
    LLAMA_8B,
    MODELS,
    cache_bytes,
    count_flops,
    count_parameters,
    sizes_of,
    weight_bytes,
)
from utils.model.block import decoder_block
from utils.model.config import TransformerConfig
from utils.model.decoder import Block, Decoder
from utils.model.feedforward import FeedForward, swiglu
from utils.model.norm import rms_norm
from utils.model.rotary import rope_table
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
from utils.report.show import show
from utils.runtime import generator, start
from utils.zoo.load import load_base

plots.use_style()
tier = start(seed=0)
claims = Claims()

# %% [markdown]
# ## Where is the model?
#
# Unit 02 was all about attention, and the name of the paper says that attention
# is all you need. In a model of eight billion weights, what share of them
# belongs to attention? Put down a guess.

# %%
my_guess = None  # between 0 and 1: your number

# %% tags=["reveals"]
with torch.device("meta"):  # shapes without content, more below
    large = Decoder(LLAMA_8B)
parts = {"attention.": 0, "feed_forward.": 0, "embedding": 0, "norm": 0}
for name, weight in large.named_parameters():
    part = next(word for word in parts if word in name)
    parts[part] += weight.numel()
names = "attention", "feed-forward", "tables", "norms"
parts = dict(zip(names, parts.values(), strict=True))
total = sum(parts.values())
compare(my_guess, parts["attention"] / total, "{:.0%}")

# %%
plots.bars(
    {name: 100 * n / total for name, n in parts.items()},
    title="Seven in ten weights of an 8B model are in the feed-forward parts",
    xlabel="share of the weights, percent",
    text="{:.2g}",
)
plt.show()

# %% [markdown]
# *Figure 1. Four horizontal bars. Feed-forward parts hold 70 percent of the
# weights, attention 17, the tables of tokens 13, the norms almost nothing.*
#
# The smallest bar is not the least important: without it the other three do not
# train. The unit goes through the parts in the order in which a token meets them.
#
# ## The residual stream
#
# A token enters as a row of a table, the **embedding**: a vector of width `D`.
# From there on each part of the model does the same thing. It reads the vector,
# computes something, and *adds* the result to it. Nothing is ever replaced. The
# vector that is added to, from the embedding to the last layer, is the
# **residual stream**.
#
# Why add? Suppose that every layer multiplied what it gets by a matrix instead.
# The gradient of the first layer would then be a product of all matrices above,
# and such a product vanishes or explodes. In a sum, the gradient has a way past every
# layer, with a factor of one.
#
# That is half of the story. Take 48 layers whose matrices shorten a vector to about
# 0.7 of its length, and let each *add* what it makes to the stream. How large is the
# gradient at the input, if it is 1 at the output?

# %%
my_guess_gradient = None  # times as large as at the output: your number

# %% tags=["reveals"]
width, depth = 64, 48
matrices = torch.randn(depth, width, width, generator=generator(0))
matrices = 0.7 * matrices / width**0.5  # each shortens a vector to about 0.7


def gradient_sizes(layer):
    """Return how large the gradient of the input is after 1 to depth layers."""
    found = []
    for n in range(1, depth + 1):
        x = torch.ones(width, requires_grad=True)
        y = x
        for matrix in matrices[:n]:
            y = layer(y, matrix)
        y.sum().backward()
        found.append(x.grad.norm().item() / width**0.5)
    return found


replaced = gradient_sizes(lambda y, matrix: matrix @ y)
added = gradient_sizes(lambda y, matrix: y + matrix @ y)
smaller = gradient_sizes(lambda y, matrix: y + matrix @ y / depth**0.5)
compare(my_guess_gradient, added[-1], "{:,.0f} times", of="added")
print(f"replaced: {replaced[-1]:.0e}, added and divided: {smaller[-1]:.1f}")

# %%
layers = list(range(1, depth + 1))
plots.lines(
    {
        "added": (layers, added),
        "added, divided by √48": (layers, smaller),
        "replaced": (layers, replaced),
    },
    title="A sum keeps the gradient alive; small parts keep it in bounds",
    xlabel="layers between output and input",
    ylabel="size of the gradient (log scale)",
    log_y=True,
)
plt.show()
claims.add(
    "48 layers that add: gradient as it is, and with parts divided by √48",
    measured=f"over 1,000: {added[-1] > 1000}, {smaller[-1]:.1f}",
    bar="over 1,000; under 3",
    holds=added[-1] > 1000 and smaller[-1] < 3,
)

# %% [markdown]
# *Figure 2. Size of the gradient over the number of layers, logarithmic. Where
# layers replace their input, it falls along a straight line by many powers of
# ten. Where they add to it, it rises along another, to more than ten thousand. Where
# what they add is divided by the root of the number of layers, it stays near one.*
#
# So adding keeps the gradient from vanishing, and by itself lets it explode. Random
# parts add up like steps of a random walk: `n` of them are as long as the *root* of `n`
# steps. Divide each by that root, and the sum of all is as large as one. This is how a
# fresh model is made, as you will see below; the norm, which comes next, does the rest.
#
# ## The norm
#
# A sum has a price: it grows. Each layer adds its part, and deep layers would
# read larger and larger numbers. So each part reads a **normalised** copy. The
# older recipe, LayerNorm, subtracts the mean of the channels and divides by
# their spread. **RMSNorm** leaves the mean alone and divides by the root of the
# mean square. It loses nothing in practice and is cheaper. A learned **gain** $g$
# per channel lets the model make some of them louder. Over the $D$ channels of a token,
#
# $$y_i = \frac{x_i}{\sqrt{\frac{1}{D} \sum_j x_j^2 + \epsilon}} \; g_i .$$
#
# By hand, for two channels:

# %%
x = torch.tensor([3.0, 4.0])
by_hand = x / ((3.0**2 + 4.0**2) / 2) ** 0.5
print("by hand", by_hand, "utils", rms_norm(x, torch.ones(2), eps=0.0))
print("divided by its length instead:", x / (3.0**2 + 4.0**2) ** 0.5)
half = torch.tensor([300.0, 400.0], dtype=torch.float16)
print("300 and 400 squared, in float16:", half * half)
assert torch.allclose(by_hand, rms_norm(x, torch.ones(2), eps=0.0))

# %%
show(rms_norm)

# %% [markdown]
# Two details decide whether it works at two bytes a number. The mean square is
# taken in float32, since 300 squared is more than float16 can hold: above it became
# infinity. And $\epsilon$ stands under the root, so that a vector of zeros stays zero.
#
# ## The feed-forward part
#
# Attention moves information between tokens. The **feed-forward part** then works
# on each token alone: up to a wide layer, through a function that is not linear,
# and down again. Today's models use a gated form, **SwiGLU**. Two projections go
# up; one of them, after $\mathrm{silu}(z) = z\,\sigma(z)$, multiplies the other,
# channel by channel. So a channel of the wide layer can be switched off by what
# the token is, and set by something else. With $\odot$ for that product,
#
# $$\mathrm{swiglu}(x) =
# W_{down} \left( \mathrm{silu}(W_{gate}\, x) \odot W_{up}\, x \right).$$
#
# By hand for one channel, where gate and up are plain numbers:


# %%
def silu_by_hand(z):
    """Return z times its sigmoid."""
    return z / (1 + math.exp(-z))


for gate in (-6.0, -1.0, 0.0, 6.0):
    opened = silu_by_hand(gate) * 5.0
    other = gate * silu_by_hand(5.0)  # silu on the wrong one of the two
    print(f"gate {gate:4}, up 5: {opened:6.2f}; silu on up: {other:6.2f}")

# %%
show(swiglu)

# %% [markdown]
# A closed gate (-6) lets nearly nothing through, an open one six times the five. With
# silu on the other side nothing is ever closed by the gate: it only scales.
#
# Three matrices instead of two; to keep the number of weights, the wide layer is
# taken as 8/3 of `d_model` instead of 4 times.
#
# ## One block
#
# A block is attention, then feed-forward, each with a norm before it and a plus
# after it. This arrangement, **pre-norm**, leaves the stream itself untouched by
# any norm from the first layer to the last. The first transformers did it the
# other way round. You will see at the end what that costs. With $N_1$ and $N_2$ for the
# two norms,
#
# $$x' = x + \mathrm{attention}(N_1(x)), \qquad
# \mathrm{block}(x) = x' + \mathrm{feedforward}(N_2(x')).$$
#
# A stream of one number shows where it goes wrong. Let the first part answer 10 to
# anything, and the second double what it reads (no norms here):

# %%
stream = 3
after_first = stream + 10
print("as it should be:            ", after_first + 2 * after_first)
print("second reads the old stream:", after_first + 2 * stream)
print("second forgets the first:   ", stream + 2 * after_first)
print("nothing is added, replaced: ", 2 * 10)

# %%
show(decoder_block)

# %%
config = TransformerConfig(23, 16, d_model=16, n_layers=1, n_kv_heads=2)
block = Block(config)
x = torch.randn(2, 7, 16, generator=generator(0))  # (B, T, D)
cos, sin = rope_table(7, 4)
with torch.no_grad():
    by_function = decoder_block(
        x,
        block.attention_norm.weight,
        *block.attention.qkv.weight.split([16, 8, 8]),
        block.attention.output.weight,
        block.feed_forward_norm.weight,
        *block.feed_forward.gate_up.weight.chunk(2),
        block.feed_forward.down.weight,
        *(4, 2, cos, sin),
    )
    by_module = block(x, cos[:, None], sin[:, None])
print("equal:", torch.allclose(by_function, by_module, atol=1e-5))
assert torch.allclose(by_function, by_module, atol=1e-5)

# %% [markdown]
# The module `Block` does the same, with queries, keys and values in one product
# and gate and up in another. The function is for reading, the module for running.
#
# ## From blocks to a model
#
# Blocks in a row, one last norm, and a projection to the vocabulary: a score for
# each possible next token, the **logits**. The projection has the shape of the
# embedding table, turned round. Small models use the same matrix for both,
# **tied embeddings**: a token is then predicted by pointing the stream at the
# vector with which it is read. With $E$ the table, $t$ the tokens, $L$ layers and $N$
# the last norm:
#
# $$x_0 = E[t], \qquad x_{l+1} = \mathrm{block}_l(x_l), \qquad
# \mathrm{logits} = N(x_L)\, E^\top .$$
#
# In the lab you write this as a module of your own. This is what it has to keep to:

# %%
from utils.model.tiny import TinyDecoder

show(TinyDecoder)

# %% [markdown]
# At the start, weights are small random numbers, with a standard deviation of
# 0.02. Those that write into the stream, attention's output and the feed-forward
# part's way down, are smaller still, by the root of the number of writers, two in
# each layer: that is the division of Figure 2. The stream then grows as little with
# many layers as with few. A fresh model should then know nothing: all tokens
# equally likely, a loss of $\ln V$.

# %%
from utils.train.losses import cross_entropy

torch.manual_seed(0)
fresh = Decoder(TransformerConfig(1024, 64, d_model=128, n_layers=4))
token_ids = torch.randint(1024, (8, 64), generator=generator(1))  # (B, T)
with torch.inference_mode():
    first_loss = cross_entropy(fresh(token_ids[:, :-1]), token_ids[:, 1:])
print(f"first loss {first_loss:.2f}, ln 1024 = {math.log(1024):.2f}")
assert abs(first_loss - math.log(1024)) < 0.1

# %% [markdown]
# Look at the first loss of every model that you train. If it is not $\ln V$,
# something is wrong before anything is learned.
#
# ## Is it the real thing?
#
# If these few lines are a Llama, they must compute what a Llama computes. Let
# `transformers` make a Llama and a Qwen3 with small random weights and write
# them to disk; read them with our code, and compare the logits. Then the other
# way round. (Qwen3 differs by a norm on queries and keys, `qk_norm`.)

# %%
import tempfile

from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from utils.model.pretrained import load_hugging_face, save_hugging_face

shape_of_both = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,  # large weights, so that mistakes show
}


# %%
def largest_gaps(model_class, config_class):
    """Return the largest difference of logits, reading theirs, writing ours."""
    torch.manual_seed(0)
    theirs = model_class(config_class(**shape_of_both)).eval()
    ids = torch.randint(61, (2, 33), generator=generator(0))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        theirs.save_pretrained(f"{folder}/theirs")
        ours = load_hugging_face(f"{folder}/theirs")
        save_hugging_face(ours, f"{folder}/ours")
        again = AutoModelForCausalLM.from_pretrained(f"{folder}/ours")
        reading = (ours(ids) - theirs(ids).logits).abs().max().item()
        writing = (again(ids).logits - ours(ids)).abs().max().item()
    return reading, writing


# %% tags=["nbval-ignore-output"]
from transformers.utils import logging as their_logging

their_logging.disable_progress_bar()
gaps = {
    "Llama": largest_gaps(LlamaForCausalLM, LlamaConfig),
    "Qwen3": largest_gaps(Qwen3ForCausalLM, Qwen3Config),
}
for name, (reading, writing) in gaps.items():
    print(f"{name}: reading {reading:.0e}, writing {writing:.0e}")

# %%
largest = max(gap for pair in gaps.values() for gap in pair)
claims.add(
    "Llama and Qwen3 checkpoints, read and written: same logits",
    measured="below 1e-4" if largest < 1e-4 else f"{largest:.0e}",
    bar="1e-4",
    holds=largest < 1e-4,
)

# %% [markdown]
# ## Counting weights
#
# Nine numbers decide how many weights a decoder has. Write down the shapes of
# all its matrices and add. For one small layer, with 2 heads of width 8 that share one
# key-value head:

# %%
layer = Block(TransformerConfig(23, 16, d_model=16, n_heads=2, n_kv_heads=1))
for name, weight in layer.named_parameters():
    print(f"{name:27} {tuple(weight.shape)!s:9} {weight.numel():5} weights")
print(f"together {sum(weight.numel() for weight in layer.parameters()):,}")

# %% [markdown]
# `qkv` holds three matrices one below the other, 16 rows of queries, 8 of keys, 8
# of values; `gate_up` holds two. Outside the layers stand a last norm and the table
# of tokens, once if it is tied, else twice. A norm forgotten makes the sum wrong by
# a few thousand in billions: small, but then it is no longer exact, and a sum that
# is only nearly right can't tell a misread configuration.

# %%
show(count_parameters)

# %% [markdown]
# To be sure, build the models. Not in memory: on torch's **meta device** a tensor
# has a shape and no content, so 405 billion weights take no room.

# %%
exact = {}
for name, config in MODELS.items():
    with torch.device("meta"):
        model = Decoder(config)
    built = sum(weight.numel() for weight in model.parameters())
    exact[name] = built == count_parameters(**sizes_of(config))
    print(
        f"{name:15} {built:15,} weights, formula exact: {exact[name]}, "
        f"{weight_bytes(config) / 1e9:6.1f} GB"
    )
claims.add(
    "parameter formula for Qwen3 0.6B, Llama 3.1 8B, 70B, 405B",
    measured=f"{sum(exact.values())} of {len(exact)} exact",
    bar="all exact",
    holds=all(exact.values()),
)

# %% [markdown]
# The last column is at two bytes a weight. While a model writes, it also keeps
# the keys and values of everything before (unit 05). For the 8B model and a text
# of 8,192 tokens:

# %%
print(f"{cache_bytes(LLAMA_8B, 8192) / 1e9:.2f} GB for each text")

# %% [markdown]
# > **Governance box.** Size is a legal quantity. The European AI Act presumes a
# > systemic risk for a general-purpose model trained with more than $10^{25}$
# > operations (Article 51). *Record* the configuration, tokens and formula, not
# > a rounded size. *Who signs*: the person who is accountable for the training
# > run. *What an auditor asks*: how many operations, counted how, with which
# > share for experiments and restarts?
#
# ## Counting operations
#
# A product of matrices $(m, k)$ and $(k, n)$ takes $2mkn$ operations: one
# multiplication and one addition for each of $k$ terms in $mn$ sums. So each
# weight costs two operations per token. Attention adds two products without
# weights, queries with keys and shares with values, which grow with the square
# of the length. Going backwards costs twice as much: each product has two
# arguments, and each of them a gradient that is again a product.

# %%
from torch.utils.flop_counter import FlopCounterMode


def operations(thing, *inputs):
    """Return how many operations PyTorch counts while a function runs."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        thing(*inputs)
    return counter.get_total_flops()


tokens_in, matrix = torch.zeros(5, 16), torch.zeros(48, 16)  # 5 tokens, 48 rows
print(
    "5 tokens through 48 x 16 weights:",
    operations(torch.matmul, tokens_in, matrix.T),
)
print("2 * 5 * 48 * 16 =", 2 * 5 * 48 * 16)
q, k = torch.zeros(5, 8), torch.zeros(5, 8)
print("scores of 5 tokens, one head of 8:", operations(torch.matmul, q, k.T))

# %% [markdown]
# The same count for whole models, forwards and in training, beside the formula that
# you write in the lab:


# %%
def flops_counted(config, n_tokens, is_training):
    """Return what PyTorch counts while a model of shapes runs."""
    with torch.device("meta"):
        model, ids = Decoder(config), torch.zeros(2, n_tokens, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        logits = model(ids)
        if is_training:
            cross_entropy_of_shapes = logits.float().logsumexp(-1).sum()
            cross_entropy_of_shapes.backward()
    return counter.get_total_flops()


# %%
worst = 0.0
for name, config in MODELS.items():
    numbers = sizes_of(config)
    del numbers["tie_embeddings"], numbers["qk_norm"]
    for is_training in (False, True):
        counted = flops_counted(config, 2048, is_training)
        formula = count_flops(
            **numbers, batch_size=2, n_tokens=2048, is_training=is_training
        )
        worst = max(worst, abs(formula / counted - 1))
    print(f"{name:15} {formula / 4096:.2e} operations to train on a token")
claims.add(
    "operations: formula against PyTorch's counter",
    measured="within 0.01 %" if worst < 1e-4 else f"{worst:.2%}",
    bar="1 %",
    holds=worst < 0.01,
)

# %% [markdown]
# For a large model and short texts all this is nearly *six times the number of weights*
# per token: two forwards, four backwards. (For the smallest of the four, attention adds
# two fifths to that.) The rule of thumb is enough for a budget on the back of an
# envelope. Llama 3.1 405B saw 15.6 trillion tokens:

# %%
budget = 6 * count_parameters(**sizes_of(MODELS["Llama 3.1 405B"])) * 15.6e12
print(
    f"{budget:.1e} operations; {budget / 4e14 / 3600 / 1e6:.0f} million hours"
)
print("of one GPU that does 4e14 a second")

# %% [markdown]
# ## Mixture of experts
#
# Seven in ten weights sit in feed-forward parts, and every token pays for all of
# them. Must it? In a **mixture of experts** there are several feed-forward parts,
# and a small matrix, the **router**, gives each of them a score for each token.
# The best `k` run; their answers are added, weighted by a softmax over their
# scores:
#
# $$y = \sum_{e \,\in\, \text{best } k} p_e \, \mathrm{expert}_e(x), \qquad
# p_e = \frac{e^{s_e}}{\sum_{e' \,\in\, \text{best } k} e^{s_{e'}}} .$$
#
# One token, four scores, the best two:

# %%
from utils.model.experts import MixtureOfExperts, balance_loss, route_top_k

scores_of_one = [0.2, 2.0, -1.0, 1.0]
chosen = math.exp(2.0) + math.exp(1.0)  # experts 1 and 3
print(f"shares {math.exp(2.0) / chosen:.2f} and {math.exp(1.0) / chosen:.2f}")
everyone = sum(math.exp(score) for score in scores_of_one)
kept = chosen / everyone
print(
    f"softmax before the choice: the two shares add up to {kept:.2f}, not to 1"
)

# %%
show(route_top_k)

# %%
torch.manual_seed(0)
dense, mixture = FeedForward(64, 192), MixtureOfExperts(64, 192, 8, k=2)
tokens = torch.randn(512, 64, generator=generator(0))  # (N, D)
held = sum(w.numel() for w in mixture.parameters())
one = sum(w.numel() for w in dense.parameters())
with torch.no_grad():
    experts, shares = route_top_k(mixture.router(tokens), k=2)
    by_hand = torch.stack(
        [
            sum(s * mixture.experts[e](t) for e, s in zip(es, ss, strict=True))
            for t, es, ss in zip(tokens, experts.tolist(), shares, strict=True)
        ]
    )
    assert torch.allclose(mixture(tokens), by_hand, atol=1e-5)
few = tokens[:256]
work = operations(mixture, few) / operations(dense, few)
print(
    f"eight experts of this size: {held / one:.1f} times the weights of one part"
)
print(f"two of them for each token: {work:.2f} times its operations")
claims.add(
    "8 experts, 2 for each token: weights and operations against one part",
    measured=f"{held / one:.1f} times and {work:.1f} times",
    bar="8 and 2, within 5 %",
    holds=abs(held / one / 8 - 1) < 0.05 and abs(work / 2 - 1) < 0.05,
)

# %% [markdown]
# Weights grow with the number of experts, operations with the number that a token uses
# (the little on top is the router). It is not free: two experts of full size cost twice
# the work of one. So the experts of large models are made smaller than the one part
# that they replace; then a token costs no more, and memory still has to hold them all.
#
# The difficulty is the router. An expert that is chosen is trained, gets better,
# and is chosen more. Left alone, a few experts take all. A second loss measures
# how uneven the choice is: 1 if even, more if not. Where a token uses one expert, and
# all use the same one, it is the number of experts:

# %%
with torch.no_grad():
    scores = mixture.router(tokens)
    for bias in (0.0, 1.0, 3.0):
        uneven = scores + bias * torch.eye(8)[0]
        loss = balance_loss(uneven, route_top_k(uneven, k=2)[0])
        print(f"head start {bias:.0f} for one expert: {loss:.2f}")

# %% [markdown]
# ## Reading inside: the logit lens
#
# All layers write into one stream, and the last norm and projection read it. So
# nobody stops you from reading it earlier: after each layer, norm, project, and
# see which token the model would say. This is the **logit lens**. The base model
# has to write the letters of a code that stands in the question.

# %%
from utils.model.lens import logit_lens

model, tokenizer = load_base()
text = "Question: Write k4t9 again.\nAnswer: k4t9"
ids = torch.tensor([tokenizer.encode(text)])
with torch.inference_mode():
    lens = logit_lens(model, ids)[:, 0].softmax(-1)  # (L + 1, T, V)
names = tokenizer.tokens(ids[0])
last = range(
    len(names) - 4, len(names) - 1
)  # k, 4, t, whose successors are known
right = torch.stack([lens[:, t, ids[0, t + 1]] for t in last], dim=1)
best = [tokenizer.decode([int(i)]) for i in lens[:, last[0]].argmax(-1)]
print("after k, layer by layer:", best)

# %%
plots.heat_map(
    right.numpy(),
    title="The next letter is found in the upper layers",
    xlabel="letter read, and letter that follows",
    ylabel="layers passed",
    x_names=[f"{names[t].strip()}, {names[t + 1]}" for t in last],
    y_names=[str(n) for n in range(len(right))],
    axes=plots.new_axes(plots.FULL),
    value_label="probability of the right letter",
    limits=(0, 1),
)
plt.show()
claims.add(
    "logit lens: the right letter before any layer, and after all",
    measured=f"{right[0].max():.2f} at most, {right[-1].min():.2f} at least",
    bar="under 0.1, over 0.5",
    holds=right[0].max() < 0.1 and right[-1].min() > 0.5,
)

# %% [markdown]
# *Figure 3. Probability of the letter that comes next, for three letters of the
# code (columns) and after 0 to 4 layers (rows). At the top it is near zero, at
# the bottom near one.*
#
# ## Reading inside: induction
#
# How does a model find what comes next in a text that it has never seen, of tokens
# in any order? If the text repeats itself, it can look for the place where the current
# token stood before, and read what followed. One layer of attention
# can't do it. The key of a token is made from that token alone, so a query can
# ask "where is a *k*?", but not "what stands behind a *k*?". Two layers can. A
# **previous-token head** in the first writes into each token's stream which token came
# before it; an **induction head** in the second asks for that.
#
# If this is right, then a model with two layers of attention and nothing else
# learns to continue random tokens that repeat, and a model with one does not.
# Loss is counted where the row has begun to repeat; a guess among 64 costs
# $\ln 64 = 4.16$ nats.

# %%
from utils.model.induction import AttentionOnly
from utils.tokens.repeated import repeated_batches
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.schedules import cosine

# %% tags=["nbval-ignore-output"]
attention_only, induction = {}, {}
for n_layers, name in ((1, "one layer"), (2, "two layers")):
    torch.manual_seed(0)
    config = TransformerConfig(64, 48, d_model=64, n_layers=n_layers)
    attention_only[name] = AttentionOnly(config)
    induction[name] = train(
        attention_only[name],
        repeated_batches(32, 48, 64, seed=0),
        cross_entropy,
        adamw(attention_only[name], lr=1e-2, weight_decay=0.0),
        n_steps=300,
        schedule=cosine(300, warmup_steps=20),
        description=name,
    )

# %%
plots.loss_curve(
    induction, title="Two layers learn to look up what followed, one does not"
)
plt.show()
unseen = repeated_batches(256, 48, 64, seed=1000)(0)
with torch.inference_mode():
    one, two = (
        cross_entropy(m(unseen.token_ids), unseen.targets).item()
        for m in attention_only.values()
    )
claims.add(
    "induction: two layers below one, on unseen rows, equal steps",
    measured="over 2 nats" if one - two > 2 else f"{one - two:.2f} nats",
    bar="1 nat",
    holds=one - two >= 1,
)
print(f"one layer {one:.1f} nats, two layers {two:.1f}")

# %% [markdown]
# *Figure 4. Loss over 300 steps. One layer falls slowly to about three nats. Two
# layers follow it at first, then drop within a few dozen steps to nearly zero.*
#
# The sudden drop is typical: half of the pair is worth nothing without the other
# half. In large models the same drop shows as a bend in the loss curve, and at
# that moment the model begins to learn from examples in its prompt.
#
# ## Both halves, one by one
#
# If the story is true, both halves can be seen. Give the two-layer model random tokens
# twice, and ask each head of each layer how much it looks at the token just before, and
# how much at the one that followed last time.

# %%
from utils.model.lens import head_costs, induction_scores, previous_token_scores

pair = attention_only["two layers"]
half = torch.randint(64, (8, 24), generator=generator(0))  # (B, T / 2)
with torch.inference_mode():
    maps = pair.attention_maps(torch.cat([half, half], dim=1))
before = previous_token_scores(maps).mean(1)  # (L, H)
followed = induction_scores(maps, period=24).mean(1)  # (L, H)
plots.heat_map(
    torch.cat([before, followed]).numpy(),
    title="The first layer looks one back, the second at what followed",
    xlabel="head",
    ylabel="",
    x_names=[str(head) for head in range(before.shape[1])],
    y_names=[
        f"{what}, layer {n}"
        for what in ("one back", "what followed")
        for n in (0, 1)
    ],
    axes=plots.new_axes(plots.FULL),
    value_label="share",
    limits=(0, 1),
)
plt.show()

# %% [markdown]
# *Figure 5. Four rows of four heads. Heads of the first layer look one token back,
# some of them with more than half of their attention; none of the second does. Heads of
# the second look at what followed the last time; none of the first does.*

# %%
ratios = (
    before[0].max() / before[1].max(),
    followed[1].max() / followed[0].max(),
)
claims.add(
    "previous-token heads in the first layer, induction heads in the second",
    measured=f"over 4 times: {bool(ratios[0] > 4)} and {bool(ratios[1] > 4)}",
    bar="each over 4 times the other layer's",
    holds=min(ratios) > 4,
)

# %% [markdown]
# A map shows where a head looks, not that it matters. To see that, leave a head
# out: set what it answers to zero and measure the loss. Guess: how much does it
# rise, in nats, without the most useful of the eight? And without *all* of the
# second layer?

# %%
my_guess_one = None  # nats: your number
my_guess_layer = None  # nats: your number


# %% tags=["reveals", "nbval-ignore-output"]
def loss_of_pair():
    """Return the two-layer model's loss on unseen rows that repeat."""
    with torch.inference_mode():
        return cross_entropy(pair(unseen.token_ids), unseen.targets).item()


def loss_without(attention):
    """Return the loss with the answers of a whole layer left out."""
    weight = attention.output.weight.detach()
    kept = weight.clone()
    weight.zero_()
    loss = loss_of_pair()
    weight.copy_(kept)
    return loss


costs = head_costs(pair.attentions, loss_of_pair)  # (L, H)
layer_costs = [loss_without(a) - loss_of_pair() for a in pair.attentions]
compare(my_guess_one, costs.max().item(), "{:.1f} nats", of="one head")
compare(my_guess_layer, layer_costs[1], "{:.1f} nats", of="second layer")
print(f"first layer: {layer_costs[0]:.1f} nats")
print(f"dearest head of the second layer: {costs[1].max():.2f} nats")
claims.add(
    "induction needs both halves: loss without either layer",
    measured="over 2 nats each" if min(layer_costs) > 2 else str(layer_costs),
    bar="over 2 nats each",
    holds=min(layer_costs) > 2,
)

# %% [markdown]
# Without either half the model is worse than one that guesses. Yet no single head
# of the second layer matters much: all of them do the same thing, and three do
# nearly as well as four. That is why *the head that does X* has to be tested in
# company: a head that can be spared may still do the work.
#
# ## And the base model?
#
# It copies codes; unit 02 found a head that looks at the letter to write next. Is
# that induction? Show it random tokens twice, and then leave its heads out one by
# one while it copies:

# %%
import random

from utils.world.skills import code

with torch.inference_mode():
    base_maps = model.attention_maps(torch.cat([half, half], dim=1) + 300)
base_heads = induction_scores(base_maps, period=24).mean(1)  # (L, H)
print(f"random tokens twice, its best head: {base_heads.max():.2f}")
draws = random.Random(0)
rows = [
    tokenizer.encode(f"Question: Write {one} again.\nAnswer: {one}")
    for one in (code(draws) for _ in range(120))
]
rows = torch.tensor([row for row in rows if len(row) == 16][:64])  # (B, T)


def loss_of_copying():
    """Return the base model's loss on the letters that can be copied."""
    with torch.inference_mode():
        return cross_entropy(model(rows)[:, -4:-1], rows[:, -3:]).item()


copying = head_costs(
    [block.attention for block in model.blocks], loss_of_copying
)

# %%
plots.heat_map(
    copying.numpy(),
    title="Two heads carry the copying; the others can be spared",
    xlabel="head",
    ylabel="layer",
    x_names=[str(h) for h in range(copying.shape[1])],
    y_names=[str(n) for n in range(copying.shape[0])],
    axes=plots.new_axes(plots.HALF),
    value_label="rise of the loss, nats",
)
plt.show()
dearest = copying.flatten().topk(3)
for cost, where in zip(dearest.values, dearest.indices.tolist(), strict=True):
    layer, head = divmod(where, copying.shape[1])
    print(f"without head {head} of layer {layer}: +{cost:.2f} nats")
print(
    f"without the head of unit 02's map, 1 of layer 1: {copying[1, 1]:+.2f} nats"
)
print(f"loss with all heads: {loss_of_copying():.3f} nats")
assert base_heads.max() < 0.3 < copying.max()

# %% [markdown]
# *Figure 6. A map of the base model's heads, layers downwards: what the loss on
# copied letters rises by when a head is left out. One cell of layer 2 is bright,
# one of layer 3 less than half as bright, all others dark.*
#
# On random tokens its best head gets next to nothing. It has **copying heads**,
# which go by place, as unit 02 showed, and only where its texts asked for it, after
# *Write ... again*. And the head whose map looked best there, in layer 1, is not
# among the dearest: another does the same. What a head does depends on what it was
# shown; what it is worth you know when you have left it out.
#
# ## Break it: where the norm stands, and how large the start is
#
# Two small mistakes. The first transformers normalised *after* the sum, so that
# the norm sits in the stream. And somebody starts with weights ten times too
# large. Both models have the same parts and the same number of weights as ours.
# Nobody warms up: the **learning rate**, which says how far a step of training
# moves the weights and is the subject of unit 04, is at its peak from the first step.
# Which rate? That is the point: try four.


# %%
class PostNormBlock(Block):
    """A block that normalises the stream after each addition."""

    def forward(self, x, cos, sin, mask=None, cache=None, layer=0):
        x = self.attention_norm(x + self.attention(x, cos, sin, mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


def build(config, kind=Block, scale=1.0):
    """Return a fresh decoder of blocks of a kind, its matrices scaled."""
    torch.manual_seed(0)
    decoder = Decoder(config)
    decoder.blocks = torch.nn.ModuleList(
        kind(config) for _ in range(config.n_layers)
    )
    decoder.reset_parameters()
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.mul_(scale if weight.dim() > 1 else 1.0)
    return decoder


# %%
from dataclasses import replace

from utils.text.corpora import world_corpus
from utils.tokens.batches import block_batches, pack_documents
from utils.train.schedules import constant

deep = replace(model.config, d_model=64, n_layers=20, d_head=16, d_ff=192)
documents = tokenizer.encode_batch(world_corpus(2000, seed=3))
stream = pack_documents(documents, tokenizer.end_id)
batches = block_batches(stream, batch_size=8, context_length=64, seed=0)

# %% tags=["nbval-ignore-output"]
rates = [1e-3, 3e-3, 1e-2, 3e-2]
ends = {"pre-norm": [], "post-norm": []}
for lr in rates:
    for name, kind in (("pre-norm", Block), ("post-norm", PostNormBlock)):
        variant = build(deep, kind)
        records = train(
            variant,
            batches,
            cross_entropy,
            adamw(variant, lr=lr),
            n_steps=80,
            schedule=constant(),
            description=f"{name}, {lr:g}",
        )
        ends[name].append(sum(r["loss"] for r in records[-10:]) / 10)

# %%
plots.lines(
    {name: (rates, losses) for name, losses in ends.items()},
    title="Without a warm-up, post-norm lives or dies by the rate",
    xlabel="learning rate (log scale)",
    ylabel="loss after 80 steps (nats per token)",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown]
# *Figure 7. Loss of two models of 20 layers after 80 steps, over four learning
# rates. Pre-norm's line is nearly flat. Post-norm's starts beside it, dips far
# below at 3e-3, and from 1e-2 on stands above five nats, where a model knows how
# frequent tokens are and nothing else.*

# %%
pre, post = ends["pre-norm"], ends["post-norm"]
stuck = min(post[rates.index(lr)] - pre[rates.index(lr)] for lr in (1e-2, 3e-2))
claims.add(
    "post-norm without warm-up at 1e-2 and 3e-2: loss above pre-norm's",
    measured="over 0.3 nats" if stuck > 0.3 else f"{stuck:.2f} nats",
    bar="0.3 nats",
    holds=stuck > 0.3,
)
better = pre[rates.index(3e-3)] - post[rates.index(3e-3)]
claims.add(
    "post-norm without warm-up at 3e-3: loss below pre-norm's",
    measured="over 0.5 nats" if better > 0.5 else f"{better:.2f} nats",
    bar="0.5 nats",
    holds=better > 0.5,
)
spread = {name: max(losses) - min(losses) for name, losses in ends.items()}
claims.add(
    "from rate to rate: loss of post-norm and of pre-norm varies by",
    measured=(
        f"over 1.5: {spread['post-norm'] > 1.5}, "
        f"under 0.6: {spread['pre-norm'] < 0.6}"
    ),
    bar="over 1.5 and under 0.6 nats",
    holds=spread["post-norm"] > 1.5 and spread["pre-norm"] < 0.6,
)

# %% [markdown]
# So "post-norm does not train" is false: at one rate it is the *better* of the two, and
# so it is with three seeds (`tests/claims/unit03.py` holds the record). But three times
# that rate, and it is stuck. In post-norm the gradient passes a norm at each addition,
# and the layers near the output get the largest share; too long a step at the start
# throws them off, and the layers below never recover. A **warm-up**, a learning rate
# that rises from zero over the first steps, is the usual remedy. Pre-norm leaves a
# straight way through all layers and forgives the hurry. Who trains one large model
# can't try many rates, and that is why pre-norm won.
#
# Now the start. Here is the loss before any training, for matrices from a tenth
# to thirty times as large as they should be:

# %%
scales = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
fresh_batch = batches(0)
first = []
for scale in scales:
    with torch.inference_mode():
        logits = build(deep, scale=scale)(fresh_batch.token_ids)
        first.append(cross_entropy(logits, fresh_batch.targets).item())
even = math.log(deep.vocab_size)

# %%
plots.lines(
    {
        "before training": (scales, first),
        "all tokens alike": (scales, [even] * len(scales)),
    },
    title="Started too large, a model is sure of itself before it has learned",
    xlabel="factor on the initial weights (log scale)",
    ylabel="loss (nats per token)",
    log_x=True,
    points=True,
)
plt.show()
excess = first[scales.index(10.0)] - even
claims.add(
    "init ten times too large: first loss above ln V",
    measured="over 1 nat" if excess > 1 else f"{excess:.2f} nats",
    bar="1 nat",
    holds=excess > 1,
)
assert abs(first[scales.index(1.0)] - even) < 0.1

# %% [markdown]
# *Figure 8. Loss of an untrained model over the size of its weights. Up to the
# right size it is that of even shares. At ten times the size it stands clearly
# above, and climbs steeply from there.*
#
# Confident nonsense has to be unlearned before anything is learned. To be fair:
# in a model as small as this one AdamW unlearns it within a few dozen steps, and
# the loss afterwards shows no harm. The first loss is where you see the mistake,
# and it costs one forward pass to look.
#
# ## The bridge
#
# At work you will not write blocks. `transformers` has them, with the names that
# the checkpoints use; our `utils/model/pretrained.py` is a table between its names
# and ours. The same numbers, found there:

# %%
from utils.model.families import TRANSLATION

for name, theirs in TRANSLATION.items():
    print(f"{name:15} {theirs}")
with torch.device("meta"):
    large = LlamaForCausalLM(
        LlamaConfig(
            **{
                theirs: getattr(LLAMA_8B, ours)
                for ours, theirs in TRANSLATION.items()
            }
        )
    )
print(f"{large.num_parameters():,} weights")
assert large.num_parameters() == count_parameters(**sizes_of(LLAMA_8B))

# %% [markdown]
# ## On a real model
#
# Do lens and induction heads exist outside of toys? SmolLM2-135M has 30 layers of
# 9 heads and was trained by others on a good part of the web (`course model` prepares
# it; unit 02 has more). Its weights go into the decoder that you have just met.

# %% tags=["real"]
from utils.zoo.real import has_real, how_to_get_real, load_real

if has_real():
    real, real_tokenizer = load_real()
    print(
        f"{count_parameters(**sizes_of(real.config)):,} weights by the formula"
    )
else:
    print(how_to_get_real())

# %% [markdown]
# First the lens. `The capital of France is the city of` has one good next word. After
# how many of the 30 layers is ` Paris` the likeliest token for the first time, and
# stays it?

# %%
my_guess_layer_of_paris = None  # from 0 to 30: your number

# %% tags=["real", "reveals"]
facts = {
    "The capital of France is the city of": " Paris",
    "The author of Romeo and Juliet is William": " Shakespeare",
    "The chemical symbol of gold is": " Au",
    "The opposite of hot is": " cold",
    "Water freezes at zero degrees": " Celsius",
    "Two plus two equals": " four",
}
words, settled = {}, {}
for prompt, word in facts.items():
    (word_id,) = real_tokenizer.encode(word)
    ids = torch.tensor([real_tokenizer.encode(prompt)])
    with torch.inference_mode():
        lens = logit_lens(real, ids)[:, 0, -1].softmax(-1)  # (L + 1, V)
    first = lens.argmax(-1) == word_id  # (L + 1,)
    words[word] = lens[:, word_id]
    settled[word] = len(first) - int(first.flip(0).cumprod(0).sum())
compare(my_guess_layer_of_paris, settled[" Paris"], "{:.0f}", of="Paris")
print({word: layer for word, layer in settled.items() if layer < len(first)})

# %% tags=["real"]
plots.heat_map(
    torch.stack(list(words.values())).numpy(),
    title="The word that a person would say appears in the last four layers",
    xlabel="layers passed",
    ylabel="",
    x_names=[str(n) for n in range(len(first))],
    y_names=[word.strip() for word in words],
    axes=plots.new_axes(plots.FULL),
    value_label="probability",
    limits=(0, 1),
)
plt.show()
says = real_tokenizer.decode([int(lens[-1].argmax())])
print(
    f"'Two plus two equals': after 29 layers {lens[29, word_id]:.2f} for four,"
)
print(f"after 30 layers {lens[30, word_id]:.2f}, and the model says{says}")

# %% [markdown]
# *Figure 9. Probability of the expected word (rows) after 0 to 30 layers (columns). All
# rows are dark up to layer 26. Four become bright within the last layers, `Celsius` in
# the very last alone; `four` is brighter before the last layer than after it.*
#
# Up to layer 26 none of the six words has a share worth speaking of. Either the answer
# is decided late, or it stands in the stream in another form than the one that the
# unembedding reads. The lens can't tell which: that matrix was trained for the last
# layer's stream and for no other (Belrose et al. 2023 train a small translator for each
# layer, and find answers earlier). And the sum: the right word had nearly half of the
# shares, until the last layer took most of that away. A model of this size doesn't
# compute, it has read.
#
# Now the heads. Random tokens of its vocabulary, 32 of them, then the same 32 again: no
# text that it was trained on looks like that. Of its 270 heads, how many give more than
# 0.4 of their attention to the token that followed last time?

# %%
my_guess_n_heads = None  # heads: your number

# %% tags=["real", "reveals"]
half = torch.randint(1000, 40000, (4, 32), generator=generator(0))  # (B, T / 2)
twice = torch.cat([half, half], dim=1)
with torch.inference_mode():
    maps = real.attention_maps(twice)  # (L, B, H, T, T)
followed = induction_scores(maps, period=32).mean(1)  # (L, H)
before = previous_token_scores(maps).mean(1)
compare(my_guess_n_heads, int((followed > 0.4).sum()), "{:.0f} heads")


def best(scores, n):
    """Return the n heads with the highest scores as (layer, head)."""
    order = scores.flatten().topk(n).indices.tolist()
    return [divmod(place, scores.shape[1]) for place in order]


print("what followed:", best(followed, 5))
print("one back:     ", best(before, 5))

# %% tags=["real"]
figure, axes = plt.subplots(1, 2, figsize=(9, 5.2), layout="constrained")
for ax, scores, title in zip(
    axes,
    (before, followed),
    ("One back: from layer 1 on", "What followed: from layer 17 on"),
    strict=True,
):
    plots.heat_map(
        scores.numpy(),
        title=title,
        xlabel="head",
        ylabel="layer",
        x_names=[str(h) for h in range(scores.shape[1])],
        y_names=[str(n) for n in range(scores.shape[0])],
        axes=ax,
        value_label="share",
        limits=(0, 1),
    )
plt.show()

# %% [markdown]
# *Figure 10. Two maps of 30 layers (downwards) by 9 heads. Left: heads that look one
# token back; the brightest are in layers 1 to 22. Right: heads that look at what
# followed; a handful in layers 17, 18, 20 and 23, and nowhere below.*
#
# Both halves are there, in the order that the circuit needs: the brightest
# previous-token head, in layer 16, stands just below the brightest induction heads, in
# 17 and 18. But a map shows where a head looks. What is the pair worth? Leave out
# that one head of the 270: how far does the loss on the second 32 tokens rise, in
# nats a token? As controls: five heads drawn at random, five times, and the loss on
# ordinary pages, which do not repeat.

# %%
my_guess_one_of_270 = None  # nats: your number

# %% tags=["real"]
from utils.model.lens import heads_left_out
from utils.text.corpora import python_reference

pages = [page for page in python_reference() if len(page) > 3000][:32:8]
plain = torch.tensor([real_tokenizer.encode(page)[:64] for page in pages])
real_attentions = [block.attention for block in real.blocks]


def two_losses(heads):
    """Return the loss on the repeat and on ordinary pages, without some heads."""
    with heads_left_out(real_attentions, heads), torch.inference_mode():
        logits = real(torch.cat([twice, plain]))[:, :-1]  # (2 B, T - 1, V)
    repeat = cross_entropy(logits[:4, 32:], twice[:, 33:]).item()
    return repeat, cross_entropy(logits[4:], plain[:, 1:]).item()


# %% tags=["real", "reveals"]
draws = torch.stack(
    [torch.randperm(270, generator=generator(s))[:5] for s in range(5)]
)
at_random = [
    two_losses([divmod(place, 9) for place in row]) for row in draws.tolist()
]
left_out = {
    "none": two_losses([]),
    "5 at random (mean of 5 draws)": torch.tensor(at_random).mean(0).tolist(),
    "best induction head": two_losses(best(followed, 1)),
    "best 5 induction heads": two_losses(best(followed, 5)),
    "best previous-token head": two_losses(best(before, 1)),
}
rise = {
    name: [
        loss - whole
        for loss, whole in zip(losses, left_out["none"], strict=True)
    ]
    for name, losses in left_out.items()
}
compare(my_guess_one_of_270, rise["best previous-token head"][0], "{:.1f} nats")

# %% tags=["real"]
plots.grouped_bars(
    {
        name.replace(" (", "\n(")
        .replace("best ", "best\n")
        .replace("-", "-\n"): {
            "random tokens, said twice": losses[0],
            "ordinary pages": losses[1],
        }
        for name, losses in left_out.items()
    },
    title="One head of 270 carries the repeating, and ordinary text hardly misses it",
    ylabel="loss (nats per token)",
)
plt.show()
one, five = rise["best previous-token head"], rise["best 5 induction heads"]
real_claims = Claims()
real_claims.add(
    "without the best previous-token head: rise on the repeat",
    measured=f"{one[0]:.1f} nats",
    bar="over every random five's",
    holds=one[0] > max(loss for loss, _ in at_random) - left_out["none"][0],
)
real_claims.add(
    "both halves: the repeat is lost, ordinary pages are not",
    measured=f"{min(one[0], five[0]):.1f} at least, {max(one[1], five[1]):.2f} at most",
    bar="20 times as much",
    holds=min(one[0], five[0]) > 20 * max(one[1], five[1]),
)
real_claims.table()

# %% [markdown]
# *Figure 11. Two bars for each set of heads left out: loss on random tokens that are
# said twice, and on ordinary pages. With all heads the first is about 3 nats. Without
# the five best induction heads, or without the single best previous-token head, it is
# around 9 to 11. The second bar hardly moves.*
#
# So the story of the two-layer toy holds in a model that nobody trained for it, with a
# difference: there are several induction heads and no one of them carries the work
# alone, while just below them *one* head does carry most of the other half. On ordinary
# pages you would never have missed it, and an evaluation that averages over ordinary
# text would not have noticed the damage either.
#
# ## Claims

# %%
claims.table()

# %% [markdown]
# ## Check yourself
#
# Put your letter, in quotes, in place of `None` and run the cell again.

# %%
from utils.labs.quiz import ask

my_answer_1 = None  # "a", "b" or "c"
ask("03_decoder", "norm-scale", my_answer_1)

# %%
my_answer_2 = None
ask("03_decoder", "experts-cost", my_answer_2)

# %%
my_answer_3 = None
ask("03_decoder", "induction-layers", my_answer_3)

# %% [markdown]
# ## What to remember
#
# - Each part reads a normalised copy of the stream and adds to the stream itself.
# - Most weights sit in the feed-forward parts. With experts, memory follows how many
#   there are, work how many a token uses.
# - Nine numbers give the weights, exactly; training costs about six operations
#   per weight and token.
# - The first loss of a fresh model is ln V. Look at it.
# - Induction takes two layers: one writes down what came before, one searches for it.
#   To know what a head is worth, leave it out.
#
# ## Sources
#
# - Zhang and Sennrich, *Root Mean Square Layer Normalization*, NeurIPS 2019,
#   equation 4. Shazeer, *GLU Variants Improve Transformer*, 2020, equation 6.
# - Xiong et al., *On Layer Normalization in the Transformer Architecture*, ICML
#   2020, sections 3.2 and 3.3: pre-norm, post-norm and warm-up.
# - Radford et al., *Language Models are Unsupervised Multitask Learners*, 2019,
#   section 2.3: initialisation by depth.
# - Touvron et al., *LLaMA*, 2023, section 2.2: the parts put together. Dubey et
#   al., *The Llama 3 Herd of Models*, 2024, table 3: the configurations.
# - Kaplan et al., *Scaling Laws for Neural Language Models*, 2020, section 2.1:
#   counting operations.
# - Shazeer et al., *Outrageously Large Neural Networks*, ICLR 2017, section 2;
#   Fedus et al., *Switch Transformers*, 2021, section 2.2: experts and balance.
# - nostalgebraist, *interpreting GPT: the logit lens*, 2020. Belrose et al.,
#   *Eliciting Latent Predictions from Transformers with the Tuned Lens*, 2023. Olsson
#   et al., *In-context Learning and Induction Heads*, 2022, argument 3: ablations.
# - Regulation (EU) 2024/1689 (AI Act), Article 51.
#
# **Next**: `work/03_decoder.ipynb`. You write the parts, the counts, the choice of
# experts and a whole model, which loads the base model's weights. Then unit 04
# trains a model from nothing.
