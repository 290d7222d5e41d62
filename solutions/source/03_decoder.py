# %% [markdown]
# # Lab 03: The decoder
#
# **140 minutes** · after the lecture `notebooks/03_decoder.ipynb`
#
# You write what stands around attention: the norm, the gated feed-forward part, and the
# block that adds them to the stream. Of your own parts you build a whole model, which
# loads the weights of the course's base model and writes. Then you count what a model
# costs before anyone trains it, and route tokens to experts. Each exercise has a check
# that answers at once; after each, an experiment runs *your* function. An exercise that
# you skip only switches off its own experiments.
#
# Letters for shapes: B batch, T tokens, D width of the stream, K width of a
# head, F width of the feed-forward part, E experts.

# %%
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from utils.labs.api import check, done, hint, start_lab
from utils.model.accounting import LLAMA_8B, MODELS, sizes_of
from utils.model.attention import multi_head_attention
from utils.model.rotary import rope_table
from utils.model.tiny import tiny_weights
from utils.report import plots
from utils.report.guesses import compare
from utils.runtime import generator, start
from utils.zoo.load import load_base

start_lab("03_decoder")
plots.use_style()
tier = start(seed=0)

# %% [markdown]
# ## 1. The norm
#
# **Goal**: scale each token's vector to unit mean square, then apply a gain.
#
# **Why it matters**: the stream grows as layers add to it. Without a norm, deep
# layers read numbers of a size they never learned to read. Every large open
# model of today has two norms per layer, most of them this one.

# %%
# exercise: utils.model.norm.rms_norm points=4 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** The base model's stream, layer by layer, before and after your norm.
# By what factor does the stream grow from before the first layer to behind the last?

# %%
my_guess = None  # times: your number

# %% tags=["needs:rms_norm"]
from utils.model.lens import residual_streams

model, tokenizer = load_base()
ids = torch.tensor([tokenizer.encode("Question: Write r5m1 again.\nAnswer:")])
with torch.inference_mode():
    streams = residual_streams(model, ids)[:, 0]  # (L + 1, T, D)
sizes = streams.square().mean((1, 2)).sqrt()
ones = torch.ones(streams.shape[-1])
after = rms_norm(streams, ones).square().mean((1, 2)).sqrt()
compare(my_guess, (sizes[-1] / sizes[0]).item(), "{:.1f} times")
print("before:", " ".join(f"{size:.2f}" for size in sizes))
print("after: ", " ".join(f"{size:.2f}" for size in after))

# %% [markdown]
# ## 2. The gated feed-forward part
#
# **Goal**: two projections up, one of them a gate for the other, one projection
# down.
#
# **Why it matters**: two thirds of a model's weights sit here, and with them
# most of what it knows.

# %%
# exercise: utils.model.feedforward.swiglu points=4 minutes=8 difficulty=1

# %% [markdown]
# **Experiment.** One input, one gate, one channel: what does your function look
# like beside the ReLU of older networks?

# %% tags=["needs:swiglu"]
x = torch.linspace(-6, 6, 120)[:, None]  # (120, 1), without zero
one = torch.ones(1, 1)
gate_alone = swiglu(x, one, one / 6, 6 * one) / x  # up and down cancel the rest
plots.lines(
    {
        "your gate, silu": (x[:, 0].tolist(), gate_alone[:, 0].tolist()),
        "ReLU": (x[:, 0].tolist(), x[:, 0].relu().tolist()),
    },
    title="silu is a ReLU without the corner, and dips below zero",
    xlabel="gate before silu",
    ylabel="gate after silu",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. Two lines. The ReLU is zero to the left of zero and the diagonal to
# the right. silu follows it smoothly and falls a little below zero on the left.*

# %% [markdown]
# ## 3. The block
#
# **Goal**: one layer of the decoder: attention and feed-forward part, each with
# its norm, each added to the stream.
#
# **Why it matters**: this function, some dozens of times in a row, is a language
# model. Where the norm stands decides whether a deep one trains at all.

# %%
# exercise: utils.model.block.decoder_block points=6 minutes=16 difficulty=2

# %% [markdown]
# **Experiment.** The base model, layer by layer. Your block gets the stream as it was
# before a layer, and should give what the layer gave.

# %% tags=["needs:decoder_block"]
from utils.model.lens import residual_streams

base, its_tokenizer = load_base()
row = torch.tensor(
    [its_tokenizer.encode("Question: Write r5m1 again.\nAnswer:")]
)
cos, sin = base.cos[: row.shape[1], 0], base.sin[: row.shape[1], 0]  # (T, K/2)
heads = {"n_heads": base.config.n_heads, "n_kv_heads": base.config.n_kv_heads}
with torch.inference_mode():
    stream = residual_streams(base, row)  # (L + 1, B, T, D)
yours = []
for n in range(base.config.n_layers):
    nine = {
        name.rpartition(".")[2]: weight
        for name, weight in tiny_weights(base).items()
        if name.startswith(f"layers.{n}.")
    }
    with torch.inference_mode():
        yours.append(
            decoder_block(stream[n], **nine, **heads, cos=cos, sin=sin)
        )
gap = max(
    (y - x).abs().max().item() for y, x in zip(yours, stream[1:], strict=True)
)
print(f"equal in every layer, within 1e-3: {gap < 1e-3}")

# %% [markdown]
# By the way you can see how much a layer adds. Which of the four adds most, measured by
# the length of what it reads?

# %%
my_layer = None  # from 0 to 3: your number

# %% tags=["needs:decoder_block"]
added = [
    ((y - x).norm() / x.norm()).item()
    for y, x in zip(yours, stream[:-1], strict=True)
]
compare(my_layer, added.index(max(added)), "layer {}")
print("what is added, by what is read:", " ".join(f"{x:.1f}" for x in added))

# %% [markdown] tags=["result"]
# The first layer adds sixty times what it reads: the vectors of the table are short,
# and the stream gets its length from what the layers write. Without norms each layer
# would read numbers of another size.

# %% [markdown]
# ## 4. The whole model
#
# **Goal**: a language model of your own parts: embedding, blocks, last norm, and the
# embedding once more as the way out.
#
# **Why it matters**: from here on there is nothing in a language model that you have
# not written. Whether it is right, a checkpoint tells: weights that somebody else has
# trained must give the same logits in your model.
#
# Write `__init__` and `forward`. Your `decoder_block` takes nine weights by name; keep
# those of a layer in an `nn.ParameterDict`, and `**layer` hands them over. Layers stand
# in an `nn.ModuleList`, because torch does not look for weights in a plain list. The
# embedding is used at both ends: there is no second table.

# %%
# exercise: utils.model.tiny.TinyDecoder points=9 minutes=35 difficulty=3

# %% [markdown]
# **Experiment.** First your model as it is made. Which loss should it have before it
# has learned anything? Then it gets the base model's weights: the same logits, and it
# writes.

# %%
my_first_loss = None  # nats per token, of 1,024 tokens: your number

# %% tags=["needs:TinyDecoder"]
base, its_tokenizer = load_base()
config = base.config
torch.manual_seed(0)
mine = TinyDecoder(
    config.vocab_size,
    config.context_length,
    config.d_model,
    config.n_layers,
    config.n_heads,
    config.d_ff,
)
drawn = torch.randint(
    config.vocab_size, (8, 65), generator=generator(0)
)  # (B, T)
with torch.inference_mode():
    logits = mine(drawn[:, :-1]).flatten(0, 1)
    first_loss = nn.functional.cross_entropy(
        logits, drawn[:, 1:].flatten()
    ).item()
compare(my_first_loss, first_loss)

# %% tags=["needs:TinyDecoder"]
mine.load_state_dict(tiny_weights(base))
prompt = its_tokenizer.encode("Question: Write r5m1 again.\nAnswer:")
with torch.inference_mode():
    row = torch.tensor([prompt])
    gap = (mine(row) - base(row)).abs().max().item()
    for _ in range(8):
        row = torch.cat([row, mine(row)[:, -1:].argmax(-1)], dim=1)
        if row[0, -1] == its_tokenizer.end_id:
            break
print(f"logits differ by less than 1e-4: {gap < 1e-4}")
print(its_tokenizer.decode(row[0].tolist()).removesuffix("<|end|>"))

# %% [markdown] tags=["result"]
# The first loss is close to ln 1024 = 6.93: all tokens are equally likely. With the
# checkpoint's weights the model copies the code: it is the base model.

# %% [markdown]
# ## 5. How many weights?
#
# **Goal**: the number of weights, from nine numbers, without building the model.
#
# **Why it matters**: whether a model fits into a machine is known before the
# download, to the byte. An exact count also finds misread configurations: one
# norm forgotten, and the number is off by a few thousand.

# %%
# exercise: utils.model.accounting.count_parameters points=5 minutes=15 difficulty=2

# %% [markdown]
# **Experiment.** Published models, by your formula. The last column is the
# memory for weights alone, at two bytes each.

# %% tags=["needs:count_parameters"]
for name, shape in MODELS.items():
    n_weights = count_parameters(**sizes_of(shape))
    print(f"{name:15} {n_weights:15,} weights {2 * n_weights / 1e9:7.1f} GB")

# %% [markdown]
# ## 6. How many operations?
#
# **Goal**: the multiplications and additions of one pass, forward or training.
#
# **Why it matters**: operations divided by what a machine does in a second are
# the time that a training run can't fall below. Budgets are written in them.

# %%
# exercise: utils.model.accounting.count_flops points=5 minutes=20 difficulty=2

# %% [markdown]
# **Experiment.** From which length of text on does an 8B model spend more on
# comparing tokens than on its weights? Put down a guess.

# %%
my_length = None  # tokens: your number

# %% tags=["needs:count_flops"]
shape = sizes_of(LLAMA_8B)
del shape["tie_embeddings"], shape["qk_norm"]
lengths = [2**k for k in range(10, 18)]
per_token = [
    count_flops(**shape, batch_size=1, n_tokens=n) / n / 1e9 for n in lengths
]
weights_alone = count_flops(**shape, batch_size=1, n_tokens=1) / 1e9
even = next(
    n for n, f in zip(lengths, per_token, strict=True) if f > 2 * weights_alone
)
compare(my_length, even, "{:,} tokens", of="the first power of two")
plots.lines(
    {
        "all": (lengths, per_token),
        "weights alone": (lengths, [weights_alone] * len(lengths)),
    },
    title="Long texts cost more by their pairs than by the weights",
    xlabel="tokens in the text (log scale)",
    ylabel="10⁹ operations per token",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 2. A flat line, the operations with weights, and a curve that leaves it
# at a few thousand tokens and stands at several times its height on the right.*

# %% [markdown]
# ## 7. Routing
#
# **Goal**: for each token the best experts and their shares.
#
# **Why it matters**: a mixture of experts holds many times the weights that a
# token uses. The router is a small matrix and a choice; this is the choice.

# %%
# exercise: utils.model.experts.route_top_k points=5 minutes=12 difficulty=2

# %% [markdown]
# **Experiment.** A fresh router, and one whose first expert has a head start of
# two. How many of a thousand tokens choose each expert?

# %% tags=["needs:route_top_k"]
router_logits = torch.randn(1000, 8, generator=generator(0))
favoured = router_logits + 2.0 * torch.eye(8)[0]
load = {}
for name, scores in (("fresh", router_logits), ("head start", favoured)):
    experts, _ = route_top_k(scores, 2)
    counts = torch.bincount(experts.flatten(), minlength=8)
    load[name] = counts
plots.grouped_bars(
    {
        str(e): {name: float(counts[e]) for name, counts in load.items()}
        for e in range(8)
    },
    title="Nearly nine tokens in ten choose the expert with a head start",
    ylabel="tokens of 1,000",
    text="{:.0f}",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 3. Two bars for each of eight experts. Fresh, each gets about 250
# tokens. With the head start the first gets almost 900 and the others about 160.*
#
# More tokens mean more training, and more training means more tokens: left
# alone, a router feeds its favourites. That is why `utils/model/experts.py` has
# a loss that pulls it back to even.

# %% [markdown]
# ## 8. Written answer (3 points)
#
# A team has a machine with 24 GB of memory. It wants to run an 8B model of two
# bytes per weight for texts of 8,192 tokens, for as many users at once as it
# can. Somebody proposes a mixture with 47 billion weights of which each token
# uses 13 billion, "since it costs little more than the 8B model".
#
# In four to seven sentences: (a) how many users does the 8B model serve, by your
# arithmetic (32 layers, 8 key-value heads of width 128)? (b) What does the
# mixture save, and what does it not? (c) What would you measure before you
# decide?
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* The weights of the 8B model take 16.1 GB. Keys and values of one
# text take 2 times 32 layers times 8 heads times 128 channels times 8,192 tokens
# times two bytes, 1.07 GB, so about seven users fit into the remaining 7.9 GB,
# less what activations need. The mixture does the arithmetic of a 13B model for
# each token, which is about one and a half times the 8B model's. It saves no
# memory: any token may choose any expert, so all 47 billion weights, 94 GB, must
# be there. It does not fit, not even at four bits with room for users. I would
# measure the quality of both on the team's own task, the memory at its peak with
# a full batch, and tokens per second with as many users as are expected.
#
# *Rubric.* 1 point: weights and cache with numbers, six to seven users. 1 point:
# a mixture saves operations, not memory. 1 point: measures quality on the task
# together with memory or speed at the load that is expected.
# <!-- END SOLUTION -->
