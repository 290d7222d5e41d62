# %% [markdown]
# # 15 Model parallel
#
# **110 minutes** · before this: unit 14 · after this: `work/15_model_parallel.ipynb`,
# a lab of 130 minutes · the machine needs about two minutes
#
# Unit 14 gave every rank the whole model and a part of the data. A model of 70 billion
# weights has 140 GB in 16 bits before it has learned anything, so no GPU holds it. This
# unit cuts the model itself: between its layers, inside its matrices, and what is left
# of its activations. Everything runs in real processes, and everything is held to what
# one process computes.

# %%
import time
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
from torch import nn

from utils.model.decoder import Decoder
from utils.parallel.processes import RankError, run_ranks
from utils.parallel.schedules import (
    bubble_fraction,
    ideal_bubble,
    most_alive,
    replay,
    schedule_1f1b,
    schedule_gpipe,
    schedule_interleaved,
)

# %%
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
from utils.report.show import show
from utils.report.tables import text_table
from utils.report.timelines import (
    draw_schedule,
    draw_timeline,
    schedule_explorer,
)
from utils.runtime import generator, start
from utils.train.losses import cross_entropy
from utils.zoo.load import load_base

# %%
plots.use_style()
tier = start(seed=0)
claims = Claims()

# %% [markdown]
# ## Cut between layers
#
# The obvious cut: a quarter of the layers on each of four ranks. A rank with its layers
# is a **stage**, and the four are a **pipeline**. A batch goes forward through all of
# them, and its gradient comes back. Take a forward through a stage as one unit of time
# and a backward, which has twice the products, as two:

# %%
draw_schedule("GPipe", 4, 1)
plt.title("Four ranks, and at any time three of them wait", loc="left")
plt.show()

# %% [markdown]
# *Figure 1. Four rows, one for each rank. A stair of four forwards down, a stair of
# four backwards up, nothing else.*
#
# Four GPUs do the work of one. The idle part is called the **bubble**. GPipe (Huang et
# al. 2019) cuts the batch into **micro-batches** and sends them in one after the other,
# adding up their gradients, so that the first stage starts on the second one while the
# second stage has the first. A guess before you look: eight ranks, a batch cut into
# eight micro-batches. Which share of the time is a rank idle?

# %%
my_bubble = None  # from 0 to 1: your number

# %% tags=["reveals"]
compare(my_bubble, ideal_bubble(8, 8), "{:.0%}")

# %%
draw_schedule("GPipe", 4, 8)
plt.title("Micro-batches fill the middle; the corners stay empty", loc="left")
plt.show()

# %% [markdown]
# *Figure 2. Four ranks and eight micro-batches. A block of forwards leans to the right,
# a block of backwards leans to the left; between and around them are empty triangles.*
#
# Count along the last rank: it waits for $p - 1$ forwards, works through $m$
# micro-batches, and waits for $p - 1$ backwards. Every rank waits as long in all, so
#
# $$ \text{bubble} = \frac{p - 1}{m + p - 1} $$
#
# whatever forward and backward cost. Papers of Megatron divide by the ideal time
# instead and write $(p-1)/m$: the same idle time, another number. Ask which one it is.

# %%
rows = []
for m in (1, 4, 8, 32, 128):
    replayed = [
        bubble_fraction(replay(schedule_gpipe(p, m))) for p in (4, 8, 16)
    ]
    formula = [ideal_bubble(p, m) for p in (4, 8, 16)]
    assert all(
        abs(a - b) < 1e-9 for a, b in zip(replayed, formula, strict=True)
    )
    rows.append((m, *(f"{share:.0%}" for share in formula)))
print(text_table(("micro-batches", "4 ranks", "8 ranks", "16 ranks"), rows))

# %% [markdown]
# `replay` gave each number of the table a second way: it takes a **schedule**, the list
# of what each rank does in which order, and plays it by a **logical clock**. An
# operation starts when its rank is free and its input is there. For the same bubble
# twice as many ranks need about twice as many micro-batches, and a micro-batch has at
# least one sequence. That, with the largest batch that still trains well, bounds the
# depth of a pipeline.
#
# ## One forward, one backward
#
# GPipe has a price in memory. A micro-batch's activations are held from its forward to
# its backward, and GPipe's first backward comes after its last forward. Nothing forces
# that: the last stage can begin a backward as soon as it has done a forward. **1F1B**
# (Narayanan et al. 2021) lets each stage do just as many forwards as it takes for a
# first gradient to come back, and then one of each in turn:

# %%
draw_schedule("1F1B", 4, 8)
plt.title("The same corners, and half as much to remember", loc="left")
plt.show()

# %% [markdown]
# *Figure 3. The same four ranks and eight micro-batches. Forwards and backwards
# alternate; the first rank begins with four forwards, the last with one.*
#
# You write this schedule in the lab. What it has to keep to:

# %%
from utils.parallel.schedules import schedule_1f1b

show(schedule_1f1b)

# %%
rows = []
for name, schedule in (
    ("GPipe", schedule_gpipe(4, 32)),
    ("1F1B", schedule_1f1b(4, 32)),
):
    held = [most_alive(order) for order in schedule]
    rows.append((name, f"{bubble_fraction(replay(schedule)):.1%}", *held))
header = ("32 micro-batches", "bubble", *(f"rank {k} holds" for k in range(4)))
print(text_table(header, rows))

# %% [markdown]
# The bubble is the same to the last digit. What changes is what a rank holds: with
# GPipe all $m$ micro-batches, with 1F1B at most as many as there are stages from it to
# the end. So $m$ may grow until the bubble is small and the memory stays. Note that the
# first rank holds the most.
#
# ## Interleaved
#
# One more idea lowers the bubble itself. Give each rank several thinner stages,
# **chunks**, so that a micro-batch goes round the ranks $v$ times. Filling the pipe now
# takes $p - 1$ *thin* forwards: the bubble is $(p-1)/(v m + p - 1)$. Each micro-batch
# crosses between ranks $v$ times as often, and a rank holds more than with 1F1B:

# %%
rows = []
for v in (1, 2, 4):
    schedule = schedule_interleaved(4, 8, v) if v > 1 else schedule_1f1b(4, 8)
    held = max(most_alive(order) for order in schedule) / v
    crossings = 2 * (4 * v - 1)  # there and back
    bubble = bubble_fraction(replay(schedule))
    assert abs(bubble - ideal_bubble(4, 8, v)) < 1e-9
    rows.append((v, f"{bubble:.1%}", f"{held:g}", crossings))
header = ("chunks a rank", "bubble", "micro-batches held", "messages each")
print(text_table(header, rows))

# %% [markdown]
# Held is counted in micro-batches through all of a rank's layers. Try it: the number of
# ranks, micro-batches and chunks, and what each schedule does with them. Where it is
# not possible, the widget says why.

# %% tags=["nbval-ignore-output"]
schedule_explorer()

# %% [markdown]
# ## A pipeline in real ranks
#
# A timeline from a formula is a drawing. Here four processes run 1F1B: `run_schedule`
# walks through a rank's list, receives what a forward or a backward needs, and sends on
# what comes out. Their stages do not compute, they *sleep*, 30 ms forward and 60
# backward, since four processes on two cores would fight for them. Each notes when it
# began and ended, by one clock.


# %%
from utils.parallel.pipeline import run_schedule


class Sleep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        time.sleep(0.03)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(0.06)
        return gradient


# %%
def sleeping_pipeline(schedule, n_stages):
    """Run a schedule whose stages sleep; return what this rank did when."""
    rank, n_ranks = dist.get_rank(), dist.get_world_size()
    weight = torch.ones(1, requires_grad=True)

    def stage(x):
        return Sleep.apply(
            x * weight if x.dim() == 3 else x[..., None] * weight
        )

    stages = {k: stage for k in range(rank, n_stages, n_ranks)}
    ids = torch.ones(8, 2, dtype=torch.int64)
    for _ in range(2):  # the first round opens the connections
        dist.barrier()
        _, events = run_schedule(
            schedule, stages, ids, ids, 1, None, lambda y, t: y.mean()
        )
    return events


# %% tags=["nbval-ignore-output"]
measured = run_ranks(sleeping_pipeline, 4, schedule_1f1b(4, 8), 4)
wall, formula = bubble_fraction(measured), ideal_bubble(4, 8)
draw_timeline(
    measured,
    title=f"Four real processes: bubble {wall:.0%}, by the formula {formula:.0%}",
    xlabel="time (s)",
)
plt.show()

# %% [markdown]
# *Figure 4. The picture of Figure 3, with small gaps between the boxes: what it takes
# to send, and to be woken up.*
#
# By how much the wall clock is off depends on what else the machine does, so no claim
# rests on it. The *order* in which the processes really did things is exact. Replay it
# with lengths of 1 and 2:

# %%
cases = {
    "GPipe": (schedule_gpipe(4, 8), 4, 1),
    "1F1B": (schedule_1f1b(4, 8), 4, 1),
    "interleaved, 2 chunks": (schedule_interleaved(4, 8, 2), 8, 2),
}
worst, rows = 0.0, []
for name, (schedule, n_stages, v) in cases.items():
    events = run_ranks(sleeping_pipeline, 4, schedule, n_stages)
    order = [[operation[:3] for operation in rank] for rank in events]
    found, formula = bubble_fraction(replay(order)), ideal_bubble(4, 8, v)
    worst = max(worst, abs(found / formula - 1))
    rows.append((name, f"{found:.4f}", f"{formula:.4f}"))
print(text_table(("what the ranks did", "replayed", "formula"), rows))
claims.add(
    "measured schedules, replayed: bubble against the formula",
    measured="the same" if worst < 1e-9 else f"{worst:.1%} off",
    bar="within 10 %",
    holds=worst < 0.1,
)

# %% [markdown]
# ## The base model on two ranks
#
# Now with layers that compute. Two ranks with two blocks of the base model each, three
# micro-batches of a batch of eight sequences. Two things are easily got wrong.
#
# **The last micro-batch is smaller**, since 3 does not divide 8, and here some targets
# do not count. The loss of the batch is a mean over *targets*. Averaging the means of
# the micro-batches weighs the few targets of a small one as much as the many of others:

# %%
base, tokenizer = load_base()
shape = base.config
weights = {name: w.detach().clone() for name, w in base.named_parameters()}
source = generator(0)
text = "The clinic opens at nine. " * 60
token_ids = torch.tensor(tokenizer.encode(text))[: 8 * 33].view(8, 33)
drawn = torch.randint(shape.vocab_size, token_ids.shape, generator=source)
token_ids = torch.where(
    torch.rand(8, 33, generator=source) < 0.3, drawn, token_ids
)
inputs, targets = token_ids[:, :-1].contiguous(), token_ids[:, 1:].clone()
targets[6:, 4:] = -100  # the last two are short, as answers are

loss = cross_entropy(base(inputs), targets)
loss.backward()
gradients = {name: w.grad.clone() for name, w in base.named_parameters()}
parts = [slice(0, 3), slice(3, 6), slice(6, 8)]
means = [cross_entropy(base(inputs[k]), targets[k]).item() for k in parts]
counts = [(targets[k] != -100).sum().item() for k in parts]
weighed = sum(a * b for a, b in zip(means, counts, strict=True)) / sum(counts)
print(f"targets that count: {counts}")
print(f"loss of the batch {loss.item():.4f}, by count {weighed:.4f}")
print(f"mean of the three means {sum(means) / 3:.4f}")

# %% [markdown]
# Nothing fails with the mean of means; the run learns from another weighing of the data
# with each number of micro-batches. `run_schedule` divides by the count of the whole
# batch.
#
# **The embedding is tied.** The first stage reads the table, the last one multiplies by
# it, and each holds a copy. Each copy gets the gradient of its own use. One process
# adds them up without being asked; in a pipeline the two ranks have to send theirs to
# each other:


# %%
from utils.parallel.pipeline import cut_decoder, run_stage, sum_tied


def pipelined(weights, inputs, targets, is_summed, n_steps=12):
    """Train the base model on two stages; return this rank's copy of the table."""
    rank = dist.get_rank()
    model = Decoder(shape)
    model.load_state_dict(weights, strict=False)
    model.unembedding.weight = model.embedding.weight
    part = cut_decoder(model, rank, 2)
    table = part.embedding.weight if rank == 0 else part.unembedding.weight
    optimizer = torch.optim.SGD(part.parameters(), lr=0.2)
    stages = {rank: lambda x: run_stage(part, x, inputs.shape[1])}
    schedule, losses, tables = schedule_1f1b(2, 3), [], []
    for _ in range(n_steps):
        optimizer.zero_grad()
        value, _ = run_schedule(
            schedule, stages, inputs, targets, shape.d_model
        )
        if is_summed:
            sum_tied(table, 2)
        optimizer.step()
        losses.append(value)
        tables.append(table.detach().clone())
    return losses, tables


# %% tags=["nbval-ignore-output"]
curves, lost = {}, []
for name, is_summed in (("summed", True), ("not summed", False)):
    (_, first), (losses, last) = run_ranks(
        pipelined, 2, weights, inputs, targets, is_summed
    )
    apart = [
        (a - b).abs().max().item() for a, b in zip(first, last, strict=True)
    ]
    curves[name] = (range(1, 13), apart)
    lost.append((name, f"{losses[0]:.3f}", f"{losses[-1]:.3f}"))
plots.lines(
    curves,
    title="Without the sum one table is two from the first step on",
    xlabel="step",
    ylabel="largest difference of the copies",
)
plt.show()
print(f"apart after 12 steps: summed {curves['summed'][1][-1]:.1g}")
print(text_table(("", "loss at step 1", "at step 12"), lost))

# %% [markdown]
# *Figure 5. Two lines over twelve steps. With the sum the copies stay bit for bit the
# same. Without it they are apart at once, and stay apart.*
#
# Nothing in a training loop compares the copies, and the loss hardly tells: it ends
# about a hundredth of a nat higher. What is wrong shows when the checkpoint is saved,
# with one of the two tables.
#
# ## Activation checkpointing
#
# A pipeline makes the weights of a rank few. Its activations are another matter. A
# block leaves behind what its backward needs: both normalised inputs, queries, keys,
# values, the attention's result, the wide inner tensors of the feed-forward part.
# autograd can be asked what it keeps, tensor by tensor:

# %%
from utils.parallel.checkpointing import SavedBytes, block_numbers, kept_bytes

small = replace(shape, n_layers=8)
deep = Decoder(small)
with SavedBytes(deep) as saved:
    loss = cross_entropy(deep(inputs), targets)
n_tokens = inputs.numel()
print(
    f"kept for the backward: {saved.now / 2**20:.2f} MB for {n_tokens} tokens"
)
print(f"by the formula: {kept_bytes(small, n_tokens) / 2**20:.2f} MB")
print(f"a block leaves {block_numbers(small)} numbers a token,")
print(f"its input has {small.d_model}")

# %% [markdown]
# **Activation checkpointing** (Chen et al. 2016; here "checkpoint" has nothing to do
# with files) keeps a block's input and forgets what is inside. When the gradient
# arrives, the block runs once more, now with its inner tensors, and they live until its
# own backward is done. How many times less does a model of eight blocks keep, if every
# block is checkpointed?

# %%
my_factor = None  # times: your number

# %%
from utils.parallel.checkpointing import checkpoint_block

show(checkpoint_block)

# %%
from utils.parallel.checkpointing import decoder_logits


def kept(model, n_checkpointed):
    """Return the bytes kept after a forward, the most in a step, and the gradients."""
    model.zero_grad()
    with SavedBytes(model) as saved:
        logits = decoder_logits(model, inputs, lambda k: k < n_checkpointed)
        loss = cross_entropy(logits, targets)
        after_forward = saved.now
        loss.backward()
    return (
        after_forward,
        saved.most,
        [w.grad.clone() for w in model.parameters()],
    )


# %% tags=["reveals"]
none, _, plain = kept(deep, 0)
every, most, again = kept(deep, 8)
factor = none / every
predicted = kept_bytes(small, n_tokens) / kept_bytes(small, n_tokens, 8)
compare(my_factor, factor, "{:.1f} times")
print(f"predicted {predicted:.1f} times")
difference = max(
    (a - b).abs().max().item() for a, b in zip(plain, again, strict=True)
)
claims.add(
    "checkpointing: memory of activations falls by the predicted factor",
    measured=f"{factor:.1f} of {predicted:.1f}",
    bar="within 10 %",
    holds=abs(factor / predicted - 1) < 0.1,
)
claims.add(
    "checkpointing: gradients against those without",
    measured="the same bits" if difference == 0 else f"{difference:.0e}",
    bar="the same",
    holds=difference == 0,
)

# %%
series = {"checkpointed": [], "plain": []}
depths = (2, 4, 8, 12)
for n_layers in depths:
    model = Decoder(replace(shape, n_layers=n_layers))
    series["checkpointed"].append(kept(model, n_layers)[1] / 2**20)
    series["plain"].append(kept(model, 0)[1] / 2**20)
plots.lines(
    {name: (depths, values) for name, values in series.items()},
    title="A checkpointed block costs one residual stream, a plain one twenty-three",
    xlabel="blocks",
    ylabel="most that is kept in a step (MB)",
    points=True,
)
plt.show()
print(
    f"a block against its input: {block_numbers(small) / small.d_model:.1f} times"
)

# %% [markdown]
# *Figure 6. Two straight lines over the number of blocks. The plain one is steep. The
# other starts with one whole block, which is there while its own backward runs, and
# rises slowly.*
#
# The price is a second forward: three units of work become four, a third more. Keeping
# only some blocks plain, or recomputing attention alone (**selective** recomputation,
# Korthikanti et al. 2022), lies between. The trap is randomness. **Dropout** draws in
# the second run as in the first, and if the draws differ, the gradient belongs to a
# result that nobody got. So the state of the generator is part of what is kept.
#
# ## Cut inside a matrix
#
# One layer of a 70B model in training takes gigabytes, and pipelines have their
# bubble. **Tensor parallel** (Shoeybi et al. 2019) gives every rank a part of each
# matrix. In $Y = XA$ there are two ways to cut $A$. By its columns, that is, by
# outputs: each rank has all of $X$ and makes some of the outputs. By its rows, by
# inputs: each has some of the inputs and makes a *summand* of every output. Our weights
# lie as (outputs, inputs), so "column parallel" cuts their first axis.
#
# By hand, for a feed-forward part of two matrices with a bend between them:

# %%
x = torch.randn(5, 8, generator=source)
up = torch.randn(16, 8, generator=source)
down = torch.randn(8, 16, generator=source)
whole = torch.relu(x @ up.T) @ down.T
halves = [torch.relu(x @ up[half].T) for half in (slice(0, 8), slice(8, 16))]
summands = [
    inner @ down[:, half].T
    for inner, half in zip(halves, (slice(0, 8), slice(8, 16)), strict=True)
]
print(f"column, then row: off by {(sum(summands) - whole).abs().max():.0e}")
first = [x[:, half] @ up[:, half].T for half in (slice(0, 4), slice(4, 8))]
bent = sum(torch.relu(part) for part in first) @ down.T
print(
    f"row first, bent before the sum: off by {(bent - whole).abs().max():.0f}"
)

# %% [markdown]
# Column first: the bend works on whole outputs, and the halves go straight into the row
# parallel matrix. Only the end needs a sum over the ranks, one all-reduce for two
# matrices. Row first would need one before the bend, too. Attention splits the same
# way: each rank has some of the heads.
#
# The backward is the mirror. The gradient of $X$ is a sum over the ranks, since each of
# them read $X$. Megatron's paper writes this as two functions: **f** passes its input
# on and sums the *gradients*; **g** sums its inputs and passes the *gradient* on.

# %%
from utils.parallel.tensor_parallel import (
    column_parallel_linear,
    row_parallel_linear,
)

show(column_parallel_linear)

# %%
show(row_parallel_linear)

# %% [markdown]
# Two ways to get it wrong have one symptom each. With f's sum left out, forward and
# loss are right, the weights of the layer get their gradients, and everything *before*
# the layer learns from a part of its gradient. A sum in g's backward, which is what an
# all-reduce that differentiates itself does, makes every gradient before it $n$ times
# too large, and Adam, which does not see scale, hides it.
#
# The whole decoder then: `split_decoder` cuts heads, feed-forward width and vocabulary.
# How many all-reduces does one block need for forward and backward together?

# %%
my_reduces = None  # your number

# %% tags=["reveals"]
from utils.parallel.tensor_parallel import split_decoder
from utils.parallel.vocabulary import vocab_parallel_cross_entropy
from utils.parallel.wire import traffic


def counted(weights, n_layers, sequence_parallel=False):
    """Return the operations of one step on this rank, by name, with their bytes."""
    model = Decoder(replace(shape, n_layers=n_layers))
    model.load_state_dict(weights, strict=False)
    split_decoder(model, None, sequence_parallel)
    with traffic() as operations:
        vocab_parallel_cross_entropy(model(inputs), targets).backward()
    return [(operation.name, operation.n_bytes) for operation in operations]


two, three = (run_ranks(counted, 2, weights, n)[0] for n in (2, 3))
compare(my_reduces, len(three) - len(two), "{:.0f}")
stream = inputs.numel() * shape.d_model * 4
print(
    f"each of {stream:,} bytes, one residual stream: {three[-2][1] == stream}"
)

# %% [markdown]
# They stand between a block's parts, where nothing else can be done meanwhile. That is
# why tensor parallel stays inside a node, where GPUs are linked by NVLink.
#
# ## A loss over a cut vocabulary
#
# The last matrix is the widest: 128,256 outputs for Llama 3. Cut by its outputs, each
# rank has the logits of its own token ids. Putting them together would send them all.
# A cross-entropy needs less:
#
# $$ -\log p_y = \log \sum_r \sum_{j \in V_r} e^{z_j - M} \; - (z_y - M), \qquad
#    M = \max_r \max_{j \in V_r} z_j $$

# %%
show(vocab_parallel_cross_entropy)

# %%
logits_bytes = 8192 * 128_256 * 4
numbers_bytes = 8192 * 3 * 4
print(f"8,192 positions: logits {logits_bytes / 1e9:.1f} GB, ", end="")
print(f"three numbers each {numbers_bytes / 1e3:.0f} kB")

# %% [markdown]
# The number of ranks must divide the vocabulary. Where it does not, the vocabulary is
# padded with ids that no text has, and their logits must be kept out of the sum.
#
# ## Sequence parallel
#
# Between the pairs of matrices stand norms, residual sums and dropout, and there every
# tensor-parallel rank holds the same stream and does the same work. **Sequence
# parallel** (Korthikanti et al. 2022) cuts the stream along its tokens there. The
# all-reduce is then parted into its two halves: a reduce-scatter where the row parallel
# layer ends, an all-gather where the next column parallel one begins. The ring of unit
# 14 does just these two, so the bytes are the same, and these parts keep an n-th of
# their tensors.

# %%
rows = []
for name, is_cut in (
    ("tensor parallel", False),
    ("with sequence parallel", True),
):
    operations = run_ranks(counted, 2, weights, 2, is_cut)[0]
    large = [kind for kind, n_bytes in operations if n_bytes >= stream // 2]
    kinds = ("all_reduce", "all_gather", "reduce_scatter")
    rows.append((name, *(large.count(kind) for kind in kinds)))
print(text_table(("two blocks, one step", *kinds), rows))

# %% [markdown]
# Four for each of the two blocks, one where the embedding ends, and one where the
# unembedding begins.
#
# One thing changes for what is *not* cut. Each rank holds all gains of the norms. With
# whole streams every rank computes the same gradient for them. With cut streams each
# has seen its own tokens, and the gradients must be summed. If they are not:


# %%
from utils.parallel.tensor_parallel import replicated, sum_replicated


def drifting(weights, is_summed, n_steps=12):
    """Train with sequence parallel; return losses, and the norms after each step."""
    model = Decoder(shape)
    model.load_state_dict(weights, strict=False)
    split_decoder(model, None, sequence_parallel=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses, gains = [], []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = vocab_parallel_cross_entropy(model(inputs), targets)
        loss.backward()
        if is_summed:
            sum_replicated(model)
        optimizer.step()
        losses.append(loss.item())
        gains.append(
            torch.cat([w.detach() for w in replicated(model).values()])
        )
    return losses, gains


# %% tags=["nbval-ignore-output"]
curves, ends = {}, {}
for name, is_summed in (("summed", True), ("not summed", False)):
    (losses, first), (_, second) = run_ranks(drifting, 2, weights, is_summed)
    apart = [
        (a - b).abs().max().item() for a, b in zip(first, second, strict=True)
    ]
    curves[name], ends[name] = (range(1, 13), apart), losses
plots.lines(
    curves,
    title="Norms that are one on paper drift apart between the ranks",
    xlabel="step",
    ylabel="largest difference of gains",
)
plt.show()
print(f"loss at the last step: summed {ends['summed'][-1]:.2f}, ", end="")
print(f"not summed {ends['not summed'][-1]:.2f}")

# %% [markdown]
# *Figure 7. Two lines over twelve steps. With the sum the gains stay the same on both
# ranks; without it they part at once and go on.*
#
# The loss does not tell. Compare a hash of what should be equal on all ranks every few
# hundred steps: it is the only alarm for this kind of mistake.
#
# ## Which generator
#
# What is cut must be drawn *apart*, what is whole must be drawn *alike*. Give both
# halves of a matrix one seed, and they are copies:


# %%
def drawn(seeds):
    """Return the rank of a matrix whose halves are drawn with these seeds."""
    halves = [torch.randn(64, 128, generator=generator(seed)) for seed in seeds]
    return int(torch.linalg.matrix_rank(torch.cat(halves)))


print(f"two seeds: rank {drawn((0, 1))} of 128; one seed: {drawn((0, 0))}")

# %% [markdown]
# Half of the width is lost from the first step, and no shape is wrong. For dropout it
# is the other way round as well: inside the cut parts every rank needs draws of its
# own; on a stream that every rank holds whole, draws that differ make the copies
# differ. `utils.parallel.mesh.seed_of` gives a rank the right seed for either.
#
# ## All at once
#
# A **mesh** is a box of ranks with an axis for each kind of parallelism. Tensor
# parallel runs fastest, so that neighbours in number, which share a node, share a
# matrix. Pipeline runs slowest: it sends least.

# %%
from utils.parallel.mesh import coordinates, group_members

rows = [(rank, *coordinates(rank, (2, 2, 2))) for rank in range(8)]
print(text_table(("rank", "stage", "replica", "part of a matrix"), rows))
for axis in ("pp", "dp", "tp"):
    print(axis, group_members((2, 2, 2), axis))


# %%
from utils.parallel.hybrid import Hybrid

show(Hybrid.step)

# %% [markdown]
# Up to eight processes, four steps of AdamW, against one process on the same batch.
# Losses alone would be weak evidence: each is one number for all gradients, and AdamW
# does not see a gradient that is twice too large. So each rank also cuts the
# *gradients* of the one process as it cuts weights, and compares them with its own.


# %%
def one_process(n_steps=4):
    """Return the losses of the plain model."""
    model = Decoder(shape)
    model.load_state_dict(weights, strict=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def on_mesh(sizes, sequence_parallel, n_steps=4):
    """Return losses on a mesh, and how far the first gradients are off."""
    hybrid = Hybrid(shape, weights, sizes, sequence_parallel)
    optimizer = torch.optim.AdamW(hybrid.part.parameters(), lr=1e-3)
    losses, worst = [], []
    for _ in range(n_steps):
        optimizer.zero_grad()
        losses.append(hybrid.step(inputs, targets, n_micro_batches=3))
        worst.append(hybrid.worst_gradient(gradients))
        optimizer.step()
    return losses, worst[0]


# %%
alone = one_process()
meshes = {
    "tensor parallel 2": ((1, 1, 2), False),
    "tensor and sequence parallel 2": ((1, 1, 2), True),
    "pipeline 2": ((2, 1, 1), False),
    "2 x 2 x 2 with sequence parallel": ((2, 2, 2), True),
}
for name, (sizes, is_cut) in meshes.items():
    replies = run_ranks(on_mesh, sizes[0] * sizes[1] * sizes[2], sizes, is_cut)
    off = max(abs(a - b) for a, b in zip(replies[0][0], alone, strict=True))
    worst = max(reply[1] for reply in replies)
    claims.add(
        f"{name}: losses and gradients of one process",
        measured="within 1e-5"
        if max(off, worst) < 1e-5
        else f"{max(off, worst):.0e}",
        bar="1e-5",
        holds=max(off, worst) < 1e-5,
    )

# %% tags=["nbval-ignore-output"]
largest = max(g.abs().max().item() for g in gradients.values())
print(f"the loss moves by {alone[0] - alone[-1]:.2f}, ", end="")
print(f"the largest gradient is {largest:.2f}")

# %% [markdown]
# Four steps are few. `python -m tests.claims 15_model_parallel` ran twenty, with three
# seeds, on a smaller model. How far the losses were off at the worst step:

# %%
import json

from utils.settings import project_root

folder = project_root() / "tests" / "claims" / "records"
record = json.loads((folder / "15_model_parallel.json").read_text())
runs = list(record["runs"].values())
rows = [
    (name.partition(":")[0], f"{max(run[name] for run in runs):.0e}")
    for name in runs[0]
    if name.endswith("losses off by")
]
print(text_table(("20 steps, 3 seeds", "off by at most"), rows))
moved = min(run["loss falls by"] for run in runs)
print(f"the loss fell by {moved:.1f} or more")

# %% [markdown]
# ## What each axis sends
#
# For one step of a model with Llama 3 70B's shape (80 layers, $D$ = 8,192) on one
# sequence of 8,192 tokens, in 16 bits, per GPU and micro-batch, tensor parallel 8,
# pipeline 4:

# %%
n_layers, D, T, tp, pp = 80, 8192, 8192, 8, 4
stream = T * D * 2
ring = 2 * (tp - 1) / tp
rows = [
    (
        "tensor",
        "4 all-reduces a layer",
        f"{n_layers / pp * 4 * ring * stream / 1e9:.1f}",
    ),
    ("pipeline", "a stream there, one back", f"{2 * stream / 1e9:.2f}"),
    (
        "data",
        "gradients, once a step",
        f"{2 * 70.6e9 * 2 / (tp * pp) / 1e9:.1f}",
    ),
]
print(text_table(("parallel", "sends", "GB a GPU"), rows))

# %% [markdown]
# The first row is due for each micro-batch and can't be hidden behind anything, the
# last one once a step and behind the backward. Hence the rule that unit 16 turns into a
# search: tensor parallel within the node, pipeline between nodes where the model does
# not fit otherwise, data parallel with all that is left.
#
# ## Break it: another order
#
# With several groups, every rank must call the collectives it shares with others in the
# same order. Two ranks and two groups; rank 1 takes them in the other order:


# %% tags=["nbval-ignore-output"]
def in_other_order():
    groups = [dist.new_group([0, 1]) for _ in range(2)]
    mine = torch.ones(4)
    for group in groups if dist.get_rank() == 0 else reversed(groups):
        dist.all_reduce(mine, group=group)


try:
    run_ranks(in_other_order, 2)
except RankError as error:
    print(error)

# %% [markdown]
# Each rank waits for the other in a call that the other has not reached. No exception
# comes from torch before its time limit, half an hour by default. What breaks the
# order in practice is a branch that only some ranks take: a log line with a reduced
# loss on rank 0, an expert without tokens, a batch that one rank has left over.
#
# A schedule can deadlock as well, and there the lists tell before anything runs. Stage
# 0 waits for its first gradient before it sends on the second micro-batch, and stage 1
# wants that one first:

# %%
from utils.parallel.schedules import PipelineDeadlock

wrong = [
    [("F", 0, 0), ("B", 0, 0), ("F", 0, 1)],
    [("F", 1, 0), ("F", 1, 1), ("B", 1, 0)],
]
try:
    replay(wrong)
except PipelineDeadlock as error:
    print(error)

# %% [markdown]
# And what does not divide should be said before the first step, by every rank alike:

# %%
from utils.parallel.pipeline import cut_batch, layers_of
from utils.parallel.tensor_parallel import check_divides

for attempt in (
    lambda: layers_of(0, 6, shape.n_layers),
    lambda: cut_batch(2, 4),
    lambda: schedule_interleaved(4, 6, 2),
    lambda: check_divides(shape, 3),
    lambda: check_divides(replace(shape, vocab_size=1023), 4),
):
    try:
        attempt()
    except ValueError as error:
        print(error)

# %% [markdown]
# ## At work: DTensor, pipelining, Megatron
#
# In torch a plan names layers and how each is cut; `parallelize_module` turns their
# weights into **DTensors**, tensors that know how they lie on a mesh. The same
# feed-forward part, ours and theirs, on two ranks:


# %%
def feed_forward_of(up, down):
    """Return the two matrices with a bend between them as a module of torch's."""
    module = nn.Sequential(
        nn.Linear(8, 16, bias=False), nn.ReLU(), nn.Linear(16, 8, bias=False)
    )
    with torch.no_grad():
        module[0].weight.copy_(up)
        module[2].weight.copy_(down)
    return module


# %%
def with_dtensor(x, up, down):
    """Return how far torch's parallel layers are from ours, result and gradient."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    rank, theirs = dist.get_rank(), feed_forward_of(up, down)
    mesh = init_device_mesh("cpu", (2,))
    parallelize_module(
        theirs, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()}
    )
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    inner = torch.relu(column_parallel_linear(inputs[0], up.chunk(2)[rank]))
    results = (
        row_parallel_linear(inner, down.chunk(2, 1)[rank]),
        theirs(inputs[1]),
    )
    for result in results:
        result.pow(2).sum().backward()
    pairs = (results, [i.grad for i in inputs])
    return max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)


# %%
off = max(run_ranks(with_dtensor, 2, x, up, down))
claims.add(
    "our column and row parallel layers against DTensor's",
    measured="within 1e-5" if off < 1e-5 else f"{off:.0e}",
    bar="1e-5 of the largest",
    holds=off < 1e-5,
)

# %% [markdown]
# Look before you cut: `ColwiseParallel` cuts a weight into equal runs of rows. Our
# `attention.qkv` holds queries, keys and values one behind the other, and half of its
# rows are no half of the heads. Megatron stores such a matrix in groups of heads for
# this reason.
#
# `torch.distributed.pipelining` runs schedules by name, among them those above:


# %%
class Stage(nn.Module):
    """A part of a decoder as torch's pipeline calls it."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return run_stage(self.part, x, 32)


def with_torch(weights):
    """Return the loss of torch's 1F1B on two stages (0 on the first)."""
    from torch.distributed.pipelining import PipelineStage, Schedule1F1B

    rank, losses = dist.get_rank(), []
    model = Decoder(shape)
    model.load_state_dict(weights, strict=False)
    stage = PipelineStage(
        Stage(cut_decoder(model, rank, 2)), rank, 2, torch.device("cpu")
    )
    runs = Schedule1F1B(stage, n_microbatches=3, loss_fn=cross_entropy)
    arguments = {"target": targets[:6], "losses": losses} if rank else {}
    runs.step(*(() if rank else (inputs[:6],)), **arguments)
    return torch.stack(losses).mean().item() if rank else 0.0


# %%
theirs = run_ranks(with_torch, 2, weights)[1]
ours = cross_entropy(base(inputs[:6]), targets[:6]).item()
claims.add(
    "torch's pipeline: the loss of one process",
    measured="within 1e-5"
    if abs(theirs - ours) < 1e-5
    else f"{abs(theirs - ours):.0e}",
    bar="1e-5",
    holds=abs(theirs - ours) < 1e-5,
)

# %% [markdown]
# Its losses are means of micro-batches, so here are six sequences without padding, in
# three equal parts. Megatron-Core calls the same things by these names:

# %% tags=["nbval-ignore-output"]
names = {
    "tensor_model_parallel_size": "ranks that share a matrix",
    "pipeline_model_parallel_size": "stages",
    "virtual_pipeline_model_parallel_size": "chunks on a rank (interleaved)",
    "sequence_parallel": "streams cut along the tokens",
    "recompute_granularity": "'full' is checkpoint_block, 'selective' attention alone",
    "recompute_num_layers": "how many blocks are checkpointed",
    "pipeline_dtype": "what travels between stages",
}
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from megatron.core.transformer import (
            TransformerConfig as MegatronConfig,
        )

    known = set(MegatronConfig.__dataclass_fields__)
except ImportError:
    known = None
    print("Megatron-Core is not installed: the names are those of version 0.16")
rows = [(n, w) for n, w in names.items() if known is None or n in known]
print(text_table(("Megatron-Core", "here"), rows))

# %% [markdown]
# > **Governance box.** A layout is part of what was run. *Record* the mesh, the
# > schedule, micro-batches and recomputation beside the seed: another layout sums in
# > another order and draws other dropout. *Who signs*: whoever has compared the first
# > steps of the layout with a smaller one, losses and gradients. *What an auditor
# > asks*: how do you know that the replicas of a weight were one weight at the end?
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
ask("15_model_parallel", "memory", my_answer_1)

# %%
my_answer_2 = None
ask("15_model_parallel", "drift", my_answer_2)

# %%
my_answer_3 = None
ask("15_model_parallel", "bend", my_answer_3)

# %%
my_answer_4 = None
ask("15_model_parallel", "more", my_answer_4)

# %%
my_answer_5 = None
ask("15_model_parallel", "means", my_answer_5)

# %%
my_answer_6 = None
ask("15_model_parallel", "recompute", my_answer_6)

# %%
my_answer_7 = None
ask("15_model_parallel", "place", my_answer_7)

# %%
my_answer_8 = None
ask("15_model_parallel", "vocabulary", my_answer_8)

# %% [markdown]
# ## What to remember
#
# - The bubble is (p - 1) / (v m + p - 1). 1F1B has GPipe's bubble and holds p
#   micro-batches where GPipe holds m. Interleaving lowers the bubble and sends more.
# - The loss is a mean over targets: sum over micro-batches, divide once. Tied tables on
#   two stages are summed.
# - Checkpointing keeps one stream a block for a third more work; the second run needs
#   the first one's draws.
# - Column, bend, row: one all-reduce forward, one backward. f sums gradients, g sums
#   outputs, and neither does both.
# - What every rank holds must be drawn alike and get the same gradient; what is cut
#   must be drawn apart. The loss does not tell, so compare the copies.
# - Tensor parallel within the node, pipeline across, data parallel with the rest.
#
# ## Sources
#
# - Huang et al., *GPipe: Efficient Training of Giant Neural Networks using Pipeline
#   Parallelism*, 2019, sections 2.2 and 2.3.
# - Narayanan et al., *Efficient Large-Scale Language Model Training on GPU Clusters
#   Using Megatron-LM*, 2021, sections 2.2, 2.3 and 3.
# - Shoeybi et al., *Megatron-LM: Training Multi-Billion Parameter Language Models Using
#   Model Parallelism*, 2019, section 3.
# - Korthikanti et al., *Reducing Activation Recomputation in Large Transformer Models*,
#   2022, sections 4 and 5.
# - Chen et al., *Training Deep Nets with Sublinear Memory Cost*, 2016, section 4.
#
# **Next**: `work/15_model_parallel.ipynb`. You write the schedule, the bubble, the
# checkpoint and three parallel layers, and run them in ranks. Then unit 16: which of
# all these layouts for 70 billion weights, how long, and at what price.
