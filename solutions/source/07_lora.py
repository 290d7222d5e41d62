# %% [markdown]
# # Lab 07: LoRA and QLoRA
#
# **120 minutes** · after the lecture `notebooks/07_lora.ipynb`
#
# You write what lets a large model be tuned on a small card: the adapter, the four
# bits in which the frozen weights wait, the bytes in which their scales wait, and
# the sum that says beforehand whether a tuning fits. Each exercise has a check that
# answers at once; after each, an experiment runs *your* code on the base model. An
# exercise that you skip only switches off its own experiments.
#
# Letters for shapes: B batch, T tokens, I inputs, O outputs, R rank, N weights of a
# matrix in all, b weights in a block.

# %%
import math
from copy import deepcopy
from functools import partial

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.evaluate.text_loss import stream_loss
from utils.evaluate.world_qa import answer_questions, judge_answers, share
from utils.labs.api import check, done, hint, start_lab
from utils.model.accounting import LLAMA_8B, sizes_of
from utils.model.lora import ALL_LAYERS, count_trainable
from utils.model.nf4 import (
    BLOCK,
    SCALES_BLOCK,
    QuantizedScales,
    nf4_levels,
    restore_scales,
)
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.runtime import start
from utils.text.corpora import world_corpus
from utils.tokens.batches import pack_documents, supervised_batches
from utils.tokens.chat import render_chat
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.schedules import constant
from utils.train.sft import sft_loss
from utils.world.chats import chats
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.load import load_base

start_lab("07_lora")
plots.use_style()
tier = start(seed=0)
world = build_world(0)
base, tokenizer = load_base()

# %% [markdown]
# ## 1. The adapter
#
# **Goal**: a layer that answers as the frozen one does, plus a low-rank update that
# learns; the update can be put into the weight and taken out again.
#
# **Why it matters**: this class is what people mean when they say that they have tuned
# a model of seven billion weights on one card. The frozen weights need no gradient and
# no moments; one copy of them serves a hundred tunings; and merged, a tuning costs
# nothing when the model runs.
#
# The attributes have the names of the docstring: a saved adapter is found by them.

# %%
# exercise: utils.model.lora.LoRALinear points=10 minutes=30 difficulty=2

# %% [markdown]
# **Experiment.** Sixty steps on chats, with your layer in the place of all sixteen
# matrices of the base model. It has 935,040 weights. Which share of them learns at
# rank 8, and in which share of its answers does the model then close its turn?

# %%
my_share = None  # of the model's weights: your number, 0 to 1
my_form = None  # share of answers that end by themselves: your number


# %% tags=["needs:LoRALinear"]
def adapted_base(rank, alpha):
    """Return the base model with your layers, all else frozen."""
    model, _ = load_base()
    model.requires_grad_(False)
    for block in model.blocks:
        for name in ALL_LAYERS:
            parent, _, child = name.rpartition(".")
            layer = LoRALinear(block.get_submodule(name), rank, alpha)
            setattr(block.get_submodule(parent), child, layer)
    return model


def my_layers(model):
    """Return your layers in a model."""
    return [part for part in model.modules() if isinstance(part, LoRALinear)]


torch.manual_seed(0)
model = adapted_base(rank=8, alpha=16)
examples = [render_chat(chat, tokenizer) for chat in chats(world, 1000)]
learn = count_trainable(model.parameters())
all_of_them = sum(weight.numel() for weight in base.parameters())
records = train(
    model,
    supervised_batches(examples, 16, 127, tokenizer.pad_id),
    sft_loss,
    adamw(model, lr=3e-3, weight_decay=0.01),
    60,
    schedule=constant(warmup_steps=10),
)
compare(my_share, learn / all_of_them, "{:.1%}", of="learns")


# %% tags=["needs:LoRALinear"]
def as_chat(tokenizer, question):
    """Return the prompt of a question in chat form."""
    message = {"role": "user", "content": question.prompt}
    return render_chat([message], tokenizer, add_prompt=True).token_ids


asked = questions(world, "trained", 60, seed=1)


def right_and_short(model):
    """Return the answers, the share that is right and the share that ends."""
    answers = answer_questions(
        model, tokenizer, asked, render=as_chat, max_new_tokens=30
    )
    right = share(judge_answers(world, asked, answers), "correct")
    ends = [len(tokenizer.encode(answer)) < 29 for answer in answers]
    return answers, right, sum(ends) / len(ends)


before = right_and_short(base)
unmerged = right_and_short(model)
compare(my_form, unmerged[2], "{:.2f}", of="answers that end")
for layer in my_layers(model):
    layer.merge()
merged = right_and_short(model)
rows = [
    (name, f"{right:.2f}", f"{ends:.2f}")
    for name, (_, right, ends) in (
        ("the base model", before),
        ("with your adapters", unmerged),
        ("and merged", merged),
    )
]
print(text_table(("asked in chat form", "right", "ends"), rows))
same = sum(a == b for a, b in zip(unmerged[0], merged[0], strict=True))
print(f"merged and unmerged give the same answer to {same} of {len(asked)}")

# %% [markdown] tags=["result"]
# A fourteenth of the weights is enough to teach a form. Merging changes no answer, up
# to rounding of float32. In the lecture you have seen two places where that breaks:
# weights of four bits, and a table of tokens that was trained and not saved.

# %% [markdown]
# ## 2. Four bits
#
# **Goal**: the codes and scales of a matrix: each weight becomes the nearest of sixteen
# levels that lie where normally distributed weights lie.
#
# **Why it matters**: the frozen weights are the largest part of a tuning's memory. At
# four bits seven billion of them take 3.5 gigabytes in place of 14.
#
# `nf4_levels()` is given: the sixteen levels in order, (16,), from -1 to 1.

# %%
# exercise: utils.model.nf4.quantize_nf4 points=6 minutes=22 difficulty=2

# %% [markdown]
# ## 3. And back
#
# **Goal**: the weights that codes and scales stand for.
#
# **Why it matters**: no common processor multiplies four-bit levels. Each product puts
# a layer's weights back into floats first, and drops them afterwards.

# %%
# exercise: utils.model.nf4.dequantize_nf4 points=4 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** The matrices of the base model through your two functions, and beside
# them through sixteen even steps with the same blocks (fifteen of them used: from -7 to
# 7). By how many percent does each make the perplexity rise?

# %%
my_rise = None  # percent, with your NF4: your number


# %% tags=["needs:quantize_nf4", "needs:dequantize_nf4"]
def through_nf4(weight, block_size=BLOCK):
    """Return what your codes and scales stand for."""
    codes, scales = quantize_nf4(weight, block_size)
    return dequantize_nf4(codes, scales, tuple(weight.shape), block_size)


def through_even_steps(weight, block_size=BLOCK):
    """Return a weight rounded to fifteen even steps in each block."""
    blocks = weight.reshape(-1, block_size)  # (N/b, b)
    step = blocks.abs().amax(dim=1, keepdim=True) / 7
    return ((blocks / step).round() * step).view_as(weight)


documents = tokenizer.encode_batch(world_corpus(400, seed=4))
stream = pack_documents(documents, tokenizer.end_id)  # (N,)


def perplexity_with(rounding):
    """Return the base model's perplexity, its matrices passed through it."""
    model = deepcopy(base).requires_grad_(False)
    for weight in model.blocks.parameters():
        if weight.dim() == 2:
            weight.copy_(rounding(weight))
    return math.exp(stream_loss(model, stream, base.config.context_length))


whole = perplexity_with(lambda weight: weight)
sizes = [16, 32, 64, 128]
rises = {
    name: [
        100 * (perplexity_with(partial(way, block_size=size)) / whole - 1)
        for size in sizes
    ]
    for name, way in (("even", through_even_steps), ("NF4", through_nf4))
}
compare(my_rise, rises["NF4"][2], "{:.1f} %")
plots.lines(
    {name: (sizes, values) for name, values in rises.items()},
    title="Levels where the weights are cost less than even steps",
    xlabel="weights in a block (log scale)",
    ylabel="rise of perplexity, percent",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. Two lines over the size of a block. NF4 stands below even steps at every
# size, by up to two tenths of a percent.*
#
# The base model hardly feels four bits, so the lines are not smooth; the lecture's real
# model feels them. Smaller blocks tend to cost less perplexity, and they take more
# scales.

# %% [markdown]
# ## 4. Scales in a byte
#
# **Goal**: scales as whole numbers from -127 to 127 around their mean, with one step
# for each block of them.
#
# **Why it matters**: a float for each 64 weights is half a bit for each weight. At
# seven billion weights that is 440 megabytes, for numbers that hardly differ.
#
# `QuantizedScales(codes, steps, mean)` is given, and `restore_scales`, its way back.

# %%
# exercise: utils.model.nf4.double_quantize points=4 minutes=13 difficulty=2

# %% [markdown]
# **Experiment.** All scales of the base model's matrices. How many bits does a weight
# take with float scales, and with yours? And by how many percent does rounding the
# scales move a typical weight?

# %%
my_bits = None  # bits for each weight, with scales in a byte: your number
my_move = None  # percent of the scale: your number

# %% tags=["needs:quantize_nf4", "needs:double_quantize"]
n_weights = n_plain = n_small = 0
moves = []
for weight in base.blocks.parameters():
    if weight.dim() != 2:
        continue
    codes, scales = quantize_nf4(weight.detach())
    small = double_quantize(scales)
    n_weights += weight.numel()
    n_plain += codes.numel() + 4 * scales.numel()
    n_small += codes.numel() + QuantizedScales(*small).n_bytes
    moves.append((restore_scales(QuantizedScales(*small)) / scales - 1).abs())
print(f"with scales in float32: {8 * n_plain / n_weights:.3f} bits a weight")
compare(my_bits, 8 * n_small / n_weights, "{:.3f} bits")
compare(my_move, 100 * torch.cat(moves).median().item(), "{:.2f} %")

# %% [markdown] tags=["result"]
# Three eighths of a bit for each weight are won, and a typical scale moves by less than
# half a percent. The code of a weight beside it may be off by a good part of the
# weight itself: at the scales the second rounding is lost in the noise of the first.

# %% [markdown]
# ## 5. Will it fit?
#
# **Goal**: the bytes of a fine-tuning, term by term, before anything is loaded.
#
# **Why it matters**: "CUDA out of memory" after twenty minutes of loading is the
# most common way to learn this sum. With it you choose rank, batch and bits at a desk.

# %%
# exercise: utils.model.finetune_memory.finetune_memory points=6 minutes=22 difficulty=2

# %% [markdown]
# **Experiment.** A model of Llama-3.1's 8B shape, one row at a time, rank 16. On a card
# of 24 GB: how long a row can you tune in bfloat16 with adapters, and how long in four
# bits?

# %%
my_length = None  # tokens in a row on 24 GB in four bits: your number

# %% tags=["needs:finetune_memory"]
sizes = {k: v for k, v in sizes_of(LLAMA_8B).items() if k != "qk_norm"}


def gigabytes(n_tokens, **way):
    """Return the terms of a tuning with one row of tokens, in GB."""
    told = finetune_memory(
        **sizes, batch_size=1, n_tokens=n_tokens, float_bytes=2, **way
    )
    return {name: n / 1e9 for name, n in told.items()}


ways = {
    "full": {},
    "LoRA, rank 16": {"rank": 16},
    "QLoRA, rank 16": {"rank": 16, "is_quantized": True},
}
lengths = [256, 512, 1024, 2048, 4096]
totals = {
    name: (lengths, [sum(gigabytes(n, **way).values()) for n in lengths])
    for name, way in ways.items()
}
axes = plots.lines(
    totals,
    title="On 24 GB four bits leave room for rows more than twice as long",
    xlabel="tokens in a row (log scale)",
    ylabel="GB",
    log_x=True,
    points=True,
)
for card in (24, 80):
    axes.axhline(card, color="gray", linewidth=0.8, linestyle=":")
    axes.annotate(f"{card} GB", (lengths[0], card), fontsize=8, color="#595959")
plt.show()
fits = {}
for name in ("LoRA, rank 16", "QLoRA, rank 16"):
    totals = {
        n: sum(gigabytes(n, **ways[name]).values()) for n in range(64, 8192, 64)
    }
    fits[name] = max(n for n, total in totals.items() if total < 24)
compare(my_length, fits["QLoRA, rank 16"], "{:,} tokens")
print(f"LoRA in bfloat16: {fits['LoRA, rank 16']:,} tokens")

# %% [markdown] tags=["result"]
# *Figure 2. Three lines over the length of a row. Full tuning lies above 80 GB
# everywhere. LoRA in bfloat16 starts below 24 GB and crosses it after 1,024 tokens,
# since its weights alone take 16. QLoRA has room for rows more than twice as long.*
#
# What grows with the row are activations, and adapters do nothing about those. The
# remedy is to keep one layer's input only and to compute the rest again
# (**activation checkpointing**), which your sum leaves out.

# %% [markdown]
# ## 6. Written answer (3 points)
#
# A hospital wants an assistant that (a) answers in its house style, (b) knows 3,000
# new entries of its drug list, which change each month, and (c) still answers
# everything that the base model of 8 billion weights can answer. There is one card of
# 24 GB. A colleague proposes: "QLoRA with rank 8 on the attention matrices, trained on
# the new entries until the loss is near zero, then merged into the 16-bit original and
# rounded to four bits again for serving."
#
# In five to eight sentences: what of this do you keep, what do you change and why, and
# what do you measure before it goes to the wards?
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* I keep QLoRA: by the sum of exercise 5 nothing else fits on 24 GB, and
# for style (a) a low-rank update reaches what full tuning does. For (b) rank 8 on the
# attention matrices alone is where LoRA is weakest: new facts need more of the model,
# the feed-forward matrices and perhaps the table of tokens, and training until the loss
# is near zero costs what the model knew. Since entries change each month I would rather
# look them up and put them into the prompt, and tune only the form. For (c) I mix in
# general examples (replay), and measure general questions at each evaluation and not
# only the drug list. I don't merge into the 16-bit original: the adapter was trained
# beside the de-quantised weights, so it belongs to those; and rounding again to four
# bits erases a part of an update that is smaller than a step. I serve the four-bit
# model with the adapter beside it, and save with it whatever else was trained. Before
# the wards: right answers on new entries in phrasings that were not trained, general
# questions before and after, and the served model itself, not the one from training.
#
# *Rubric.* 1 point: what LoRA is good at (form) and where it learns less (facts),
# with a remedy that fits. 1 point: forgetting is measured on general questions, and
# replay or a smaller rate is named. 1 point: what is served is what was trained: no
# merge into other weights, no second rounding, nothing trained left unsaved; measured
# on the served model.
# <!-- END SOLUTION -->
