# %% [markdown]
# # 14 Data parallel
#
# **100 minutes** · before this: unit 13 · after this: `work/14_data_parallel.ipynb`,
# a lab of 125 minutes · the machine needs about two minutes
#
# A model that takes a year on one device takes a week on fifty, if the fifty can be
# made to behave like one. The oldest way is to give each of them other rows of the
# batch and the same weights. This unit does that with real processes on your machine,
# counts every byte that travels, and then takes away what each process keeps for
# nothing.

# %%
import time

import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
from torch.nn import functional

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.parallel.data_parallel import rows_of_rank
from utils.parallel.processes import RankError, run_ranks
from utils.parallel.wire import bytes_on_wire, bytes_sent, traffic
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
from utils.report.show import show
from utils.report.tables import text_table
from utils.runtime import start
from utils.text.corpora import world_corpus
from utils.tokens.batches import block_batches, pack_documents
from utils.zoo.load import load_base

plots.use_style()
tier = start(seed=0)
claims = Claims()
_, tokenizer = load_base()

# %% [markdown]
# ## A step, made by four
#
# One training step adds up the gradient over the tokens of its batch. Each device could
# take some of the rows, and the sums be added: that is all of **data parallel**
# training. The sum is as long as the model, and every device needs it at every step.
# With 1000 devices, how many times the size of its own gradient must a device send, so
# that everybody has the sum of all 1000? Type your guess. The answer comes below.

# %%
my_guess = None  # times the size of the gradient: your number

# %% [markdown]
# First the model, the batches, and four processes:

# %%
texts = [tokenizer.encode(text) for text in world_corpus(400, seed=3)]
stream = pack_documents(texts, tokenizer.end_id)
batches = block_batches(stream, batch_size=12, context_length=32)
CONFIG = TransformerConfig(
    vocab_size=tokenizer.vocab_size,
    context_length=32,
    d_model=48,
    n_layers=4,
    n_heads=4,
)


def fresh_model(seed=0):
    """Return the model as it is before the first step."""
    torch.manual_seed(seed)
    return Decoder(CONFIG)


def mean_loss(model, batch):
    """Return the mean loss over a batch in nats."""
    ids, targets = batch
    return functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten())


n_weights = sum(weight.numel() for weight in fresh_model().parameters())
print(f"{n_weights:,} weights, {len(stream):,} tokens")


# %%
def say_hello():
    """Print what this process is, and the loss of its rows."""
    rank, n = dist.get_rank(), dist.get_world_size()
    mine = rows_of_rank(batches(0), rank, n)
    loss = mean_loss(fresh_model(), mine).item()
    print(f"one of {n}, {len(mine[0])} rows, loss {loss:.4f}")
    return loss


losses = run_ranks(say_hello, 4, show=False)
for rank, loss in enumerate(losses):
    print(f"rank {rank}: loss {loss:.4f}")
print(f"mean {sum(losses) / 4:.4f}")
print(f"one process {mean_loss(fresh_model(), batches(0)).item():.4f}")

# %% [markdown]
# `run_ranks` starts four processes, calls the function in each, and returns what they
# return. Each process is a **rank**, with a number from 0; how many there are is the
# **world size**. They share no memory, only messages: over a **backend**, which is gloo
# (TCP) here, and nccl between GPUs. An operation that all ranks call together, like
# adding up a tensor, is a **collective**.
#
# In the simplest case all ranks have as many tokens. Then the mean of the ranks'
# gradients is the gradient of the whole batch:


# %%
def gradient_together():
    """Return the gradient of the batch, of which this rank has seen its rows."""
    rank, n = dist.get_rank(), dist.get_world_size()
    model = fresh_model()
    mean_loss(model, rows_of_rank(batches(0), rank, n)).backward()
    flat = torch.cat([w.grad.flatten() for w in model.parameters()])
    own = flat.clone()
    dist.all_reduce(flat)  # in place: now the sum of all ranks
    return own, flat / n


model = fresh_model()
mean_loss(model, batches(0)).backward()
alone = torch.cat([w.grad.flatten() for w in model.parameters()])
gaps = [
    (ours - alone).abs().max() for _, ours in run_ranks(gradient_together, 4)
]
own_gap = (run_ranks(gradient_together, 4)[0][0] - alone).abs().max()
print(f"largest difference of rank 0's own gradient: {own_gap:.3f}")
claims.add(
    "gradients of four real processes, against one process",
    measured="below 1e-6" if max(gaps) < 1e-6 else f"{max(gaps):.0e}",
    bar="1e-6",
    holds=max(gaps) < 1e-6,
)
print(f"after the average, below 1e-6 on every rank: {bool(max(gaps) < 1e-6)}")

# %% [markdown]
# What is left is the order in which float32 numbers were added. The optimizer then does
# on each rank what it would do on one, and as all ranks begin with the same weights
# (rank 0 sends its own to all, a **broadcast**), they stay the same. Nothing ever
# compares them.
#
# ## What the sum costs
#
# The obvious way: all send to rank 0, it adds, it sends the sum to all. Rank 0 then
# sends its gradient's size n - 1 times, while the others wait. In a **ring** each rank
# sends only to the next one, and everybody sends all the time. The tensor is cut into n
# parts. Three ranks with parts a, b, c; the numbers say whose parts are in the sum:
#
# | round | rank 0 has | rank 1 has | rank 2 has | then 0 sends, 1 sends, 2 sends |
# | --- | --- | --- | --- | --- |
# | 0 | a0 b0 c0 | a1 b1 c1 | a2 b2 c2 | a0, b1, c2 |
# | 1 | a0 b0 c02 | a01 b1 c1 | a2 b12 c2 | c02, a01, b12 |
# | 2 | a0 **b012** c02 | a01 b1 **c012** | **a012** b12 c2 | b012, c012, a012 |
# | 3 | **a012 b012** c02 | a01 **b012 c012** | **a012** b12 **c012** | sums a, b, c |
# | 4 | all | all | all | |
#
# After n - 1 rounds each sum is complete somewhere: a **reduce-scatter**. In n - 1 more
# rounds the sums go round: an **all-gather**. Both together are an **all-reduce**. In
# each of the 2(n - 1) rounds a rank sends one n-th of the tensor, so in all
#
# $$ \frac{2(n-1)}{n} \times \text{payload} $$
#
# Does the network agree? The kernel counts what each process's sockets have really
# sent:

# %%
from utils.parallel.collectives import ring_all_reduce

show(ring_all_reduce)


# %%
def on_the_wire(n_numbers, way):
    """Return bytes sent / payload: as the ring counts them, as the kernel does."""
    x = torch.randn(n_numbers)
    n = dist.get_world_size()
    ring_all_reduce(x[:n])  # connections are made at their first use
    dist.barrier()
    before = bytes_on_wire()
    with traffic() as operations:
        if way == "ring":
            ring_all_reduce(x)
        elif way == "all_reduce":
            dist.all_reduce(x)
        else:
            dist.reduce_scatter(torch.empty(n_numbers // n), list(x.chunk(n)))
    counted = bytes_sent(operations) / (4 * n_numbers)
    dist.barrier()
    time.sleep(0.1)  # what is on its way arrives
    measured = bytes_on_wire()
    if before is None:  # a kernel that does not tell
        return counted, counted
    return counted, (measured[0] - before[0]) / (4 * n_numbers)


# %%
rows, worst = [], 0.0
for n in (2, 4, 8):
    formula = 2 * (n - 1) / n
    counted, measured = zip(
        *run_ranks(on_the_wire, n, 840_000, "ring"), strict=True
    )
    worst = max(worst, *(abs(m / formula - 1) for m in measured))
    worst = max(worst, *(abs(c - formula) for c in counted))
    rows.append(
        (n, f"{formula:.2f}", f"{max(counted):.2f}", f"{max(measured):.2f}")
    )
print(text_table(("ranks", "formula", "sent by the ring", "on the wire"), rows))
compare(my_guess, 2 * 999 / 1000, "{:.2f} times", of="with 1000 ranks")
claims.add(
    "bytes on the wire of a rank, against 2 (n - 1) / n",
    measured="within 1 %" if worst < 0.01 else f"{worst:.1%}",
    bar="1 %",
    holds=worst < 0.01,
)

# %% [markdown]
# Less than twice, with eight ranks or a thousand. This is why data parallel training
# grows so far: the bytes of a rank do not grow with the number of ranks. What does grow
# is the number of messages. With a latency of $\alpha$ seconds for each message and a
# bandwidth of $\beta$ bytes a second, a ring takes
#
# $$ 2(n-1)\,\alpha \;+\; \frac{2(n-1)}{n}\,\frac{\text{payload}}{\beta} $$
#
# so for many ranks and few bytes libraries use trees, with $2\log_2 n$ rounds. And a
# library's promise is worth a measurement. A reduce-scatter is half an all-reduce, and
# should send half as much:

# %%
rows = []
for way in ("all_reduce", "reduce_scatter"):
    measured = [m for _, m in run_ranks(on_the_wire, 4, 840_000, way)]
    formula = 1.5 if way == "all_reduce" else 0.75
    rows.append((f"gloo's {way}", f"{formula:.2f}", f"{max(measured):.2f}"))
print(text_table(("4 ranks", "a ring would send", "on the wire"), rows))

# %% [markdown]
# gloo reduces everything everywhere and throws three quarters away. nccl does not. That
# is why this unit's own reduce-scatter is a ring.
#
# ## All of them wait
#
# Why does the ring send without waiting (`isend`)? Here is one in which every rank
# first sends and then receives:


# %%
def everybody_sends_first():
    """Send to the next rank, then receive from the one before."""
    rank, n = dist.get_rank(), dist.get_world_size()
    dist.send(torch.zeros(10_000_000), (rank + 1) % n)
    dist.recv(torch.zeros(10_000_000), (rank - 1) % n)


# %% tags=["nbval-ignore-output"]
try:
    run_ranks(everybody_sends_first, 2)
except RankError as error:
    print(error)

# %% [markdown]
# A **deadlock**: each waits for the other to receive. With small tensors the same code
# runs, since the network takes a few bytes in without a receiver. The same happens when
# one rank calls another collective than the others, or skips one: "my rank had no
# tokens, so it returned early" stops a thousand GPUs. `run_ranks` notices that no
# process works any more. On a cluster a time limit does, after ten minutes or thirty.
#
# ## While the backward pass is at work
#
# The last layer's gradient is there first, while those below it are still to come. So
# DDP, torch's data parallel module, collects gradients in **buckets** as they come, and
# starts a bucket's all-reduce when it is full: communication **overlaps** with the
# backward pass. Small buckets start early, and pay the latency often. Large ones start
# late; a single one starts when there is nothing left to overlap with. A count shows it
# without a clock:

# %%
from utils.parallel.data_parallel import Buckets, sent_before_the_end


def with_buckets(bucket_bytes):
    """Return number of buckets, and the share sent before the last gradient came."""
    rank, n = dist.get_rank(), dist.get_world_size()
    model = fresh_model()
    buckets = Buckets(model, bucket_bytes)
    mean_loss(model, rows_of_rank(batches(0), rank, n)).backward()
    buckets.finish(divide_by=n)
    return len(buckets.buckets), sent_before_the_end(buckets.events)


sizes = [1 << k for k in range(12, 21)]
found = [run_ranks(with_buckets, 2, size)[0] for size in sizes]
axes = plots.lines(
    {"share under way": ([s / 1024 for s in sizes], [f[1] for f in found])},
    title="Small buckets start while there is still something to overlap with",
    xlabel="size of a bucket (kB)",
    ylabel="sent before the last gradient is there",
    log_x=True,
    points=True,
)
for size, (n_buckets, early) in zip(sizes, found, strict=True):
    axes.annotate(str(n_buckets), (size / 1024, early + 0.03))
axes.set_ylim(-0.05, 0.85)
plt.show()

# %% [markdown]
# *Figure 1. Share of all numbers whose sending began before the last gradient was
# there, over the size of the buckets; the number of buckets stands at each point. The
# share is high for small buckets, and 0 when one bucket holds the whole model.*
#
# The step never ends before the last bucket has arrived, and the last one holds the
# embedding, whose gradient comes last and is the largest. Torch's default is 25 MB: on
# a network where a message costs 20 microseconds and a gigabyte 40 milliseconds, a
# bucket of that size spends a fiftieth of its time on latency.
#
# One more thing is sent too often by mistake. With **gradient accumulation** a rank
# walks through several micro-batches before one step. Their gradients add up where they
# are; only the sum has to travel. In torch `no_sync()` says so, for all micro-batches
# *but the last*. Forgotten, it costs traffic; held one micro-batch too long, the ranks
# never hear of each other:


# %%
def accumulate(n_micro, held):
    """Return bytes handed over in a step / payload, and the largest gradient gap."""
    rank, n = dist.get_rank(), dist.get_world_size()
    model = torch.nn.parallel.DistributedDataParallel(fresh_model())
    sent = [0]

    def note(state, bucket):
        sent[0] += bucket.buffer().numel()
        work = dist.all_reduce(bucket.buffer().div_(n), async_op=True)
        return work.get_future().then(lambda f: f.value()[0])

    model.register_comm_hook(None, note)
    mine = rows_of_rank(batches(0), rank, n)
    pieces = zip(*(t.chunk(n_micro) for t in mine), strict=True)
    for k, piece in enumerate(pieces):
        model.require_backward_grad_sync = k >= held  # what no_sync() switches
        (mean_loss(model, piece) / n_micro).backward()
    flat = torch.cat([w.grad.flatten() for w in model.parameters()])
    return sent[0] / len(flat), (flat - alone).abs().max().item()


rows = []
for name, held in (("forgotten", 0), ("all but the last", 2), ("all", 3)):
    times, gap = run_ranks(accumulate, 2, 3, held)[0]
    right = "yes" if gap < 1e-6 else "no"
    rows.append((name, f"{times:.0f}", right))
print(text_table(("no_sync for", "payloads sent", "gradient right"), rows))

# %% [markdown]
# ## Averages of averages
#
# So far all ranks had as many tokens. In instruction tuning they don't: only response
# tokens count, and responses differ. DDP averages over *ranks*. Suppose rank 0 has
# responses of 30 tokens and rank 1 of 3, and each rank takes the mean over its own. A
# token of rank 1 then weighs ten times as much as one of rank 0, because of where it
# happened to be. What counts is the sum over all tokens, divided by their number on all
# ranks; so the *counts* have to travel, too. Every rank can do it before the backward
# pass, and multiply by n what DDP will divide by n.
#
# The second trap is the norm. **Clipping** bounds the norm of the gradient. Of which
# gradient? Clipped by each rank before the sum, the parts are scaled by different
# factors, and the sum is neither the right direction nor the right length. Both traps
# are measured here, on 4 ranks with 24, 12, 6 and 3 tokens in each response:

# %%
from utils.parallel.data_parallel import ddp_step

show(ddp_step)


# %%
def short_and_long():
    """Return this rank's rows, of which other numbers of tokens count."""
    rank = dist.get_rank()
    ids, targets = rows_of_rank(batches(0), rank, dist.get_world_size())
    kept = torch.arange(32) < (24, 12, 6, 3)[rank]
    return ids, targets.masked_fill(~kept, -100)


# %%
def traps(max_norm=0.5):
    """Return gradients: right, mean of means, right and clipped, clipped apart."""
    n, model, mine = dist.get_world_size(), fresh_model(), short_and_long()
    found = []
    for limit in (None, max_norm):
        ddp_step(model, [mine], limit)
        found.append(torch.cat([w.grad.flatten() for w in model.parameters()]))
    model.zero_grad()
    mean_loss(model, mine).backward()
    means = torch.cat([w.grad.flatten() for w in model.parameters()])
    n_mine = (mine[1] != -100).sum()
    n_tokens = n_mine.clone()
    dist.all_reduce(n_tokens)
    by_tokens = means * n_mine * n / n_tokens  # what DDP should average
    norm = by_tokens.norm().item()
    clipped = by_tokens * min(1.0, max_norm / norm)
    for flat in (means, clipped):
        dist.all_reduce(flat)
    return found[0], means / n, found[1], clipped / n, norm


# %%
ranks = run_ranks(traps, 4)
right, means, bounded, apart, _ = ranks[0]
rows = []
for name, ours, other in (
    ("mean of means", right, means),
    ("clipped apart", bounded, apart),
):
    cosine = functional.cosine_similarity(ours, other, dim=0)
    length = other.norm() / ours.norm()
    rows.append((name, f"{cosine:.2f}", f"{length:.2f}"))
print(text_table(("against the right one", "cosine", "length"), rows))
print("norm on each rank:", ", ".join(f"{found[-1]:.2f}" for found in ranks))

# %% [markdown]
# Each rank's part was cut to the same length, so the rank with 3 tokens in a response
# has as much say as the one with 24; the step is half as long as asked, and goes
# elsewhere. No error, no NaN, and a loss that falls. Compare
# one step with one process on the whole batch, with *unequal* rows, and both show at
# once.
#
# ## Who sees what
#
# The rows of a step should be a function of the step, and a rank should take its piece.
# Two habits break this. In the first, each rank shuffles the whole data set with a seed
# of its own. Each then takes as many rows as a quarter of an epoch, from an order of
# its own. How much of the data has nobody seen when all have finished their quarter?

# %%
my_unseen = None  # from 0 to 1, with four ranks: your number

# %% tags=["reveals"]
n_rows = 4000
seen = set()
for rank in range(4):
    order = torch.randperm(
        n_rows, generator=torch.Generator().manual_seed(rank)
    )
    seen |= set(order[: n_rows // 4].tolist())
compare(my_unseen, 1 - len(seen) / n_rows, "{:.2f}")
print(f"the formula says {(1 - 1 / 4) ** 4:.2f}")

# %% [markdown]
# In the second, each rank's position is part of its own checkpoint, and the run goes on
# with another number of ranks. If the batch depends on the step alone, there is nothing
# to restore:

# %%
for n in (1, 2, 3, 4):
    pieces = [rows_of_rank(batches(7), rank, n)[0] for rank in range(n)]
    same = torch.equal(torch.cat(pieces), batches(7).token_ids)
    sizes = ", ".join(str(len(piece)) for piece in pieces)
    print(f"world size {n}, rows {sizes}: the batch of step 7? {same}")

# %% [markdown]
# And throughput: with padded rows a rank that counts places instead of tokens reports
# how much it computes, not how much it learns from. In the batch of the section above:


# %%
def count_both():
    """Return places and counted targets of this rank."""
    _, targets = short_and_long()
    return targets.numel(), int((targets != -100).sum())


places, counted = (sum(c) for c in zip(*run_ranks(count_both, 4), strict=True))
print(
    f"{places} places, {counted} tokens: {places / counted:.1f} times too fast"
)

# %% [markdown]
# ## What everybody keeps
#
# In float32 with AdamW each weight costs 16 bytes on *every* rank: 4 for itself, 4 for
# its gradient, 8 for the two moments. With 64 ranks the moments are kept 64 times, all
# alike. **ZeRO** (*zero redundancy optimizer*, Rajbhandari et al. 2020) gives each rank
# a **shard** of them. P numbers are laid out flat, padded with zeros to n equal shards:

# %%
from utils.parallel.zero import shard_of

for rank in range(3):
    print(f"rank {rank}: {shard_of(torch.arange(1, 8), rank, 3).tolist()}")

# %% [markdown]
# The padding matters: forget it, and the last rank hands in another size than the
# others, which ends the run at best. There are three stages:
#
# | stage | in shards | a rank's step |
# | --- | --- | --- |
# | 0 | nothing | all-reduce the gradient, update all weights |
# | 1 | optimizer state | all-reduce, update its own shard, all-gather the weights |
# | 2 | and gradients | reduce-scatter instead, update, all-gather |
# | 3 | and weights | reduce-scatter, update; all-gather a layer when it computes |
#
# Stage 3 is what torch calls **FSDP**, *fully sharded data parallel*. Its core are two
# functions. One makes a whole weight from everybody's shards, the other takes the
# gradient of the whole weight and leaves on each rank its shard of the average. Each is
# the other's backward pass:

# %%
from utils.parallel.zero import (
    Gathered,
    fsdp_gather,
    shard_optimizer,
)

show(Gathered)

# %%
show(fsdp_gather)

# %% [markdown]
# `Sharded` wraps a module so that it computes with gathered weights. Wrap the blocks
# first, then the model, and only one block at a time is whole. One run tells memory
# and traffic of all stages, counted in tensors and messages:

# %%
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from utils.parallel.zero import Sharded


def sharded(again=False):
    """Return the model with weights in shards, and what learns of it."""
    model = fresh_model()
    for k, block in enumerate(model.blocks):
        model.blocks[k] = Sharded(block, gather_again=again)
    model = Sharded(model, gather_again=again)
    return model, [w for w in model.parameters() if w.requires_grad]


# %%
def our_losses(way, n_steps=12):
    """Return losses, bytes (weights, gradients, state) kept, numbers sent."""
    again, losses, state = way == "ZeRO-3, gathered again", [], {}
    model = fresh_model()
    learn = list(model.parameters())
    if way.startswith("ZeRO-3"):
        model, learn = sharded(again)
    optimizer = torch.optim.AdamW(learn, 3e-3, (0.9, 0.95), weight_decay=0.1)
    for step in range(n_steps):
        with traffic() as operations:
            state, loss = one_step(way, model, learn, optimizer, state, step)
        losses.append(loss)
    kept = [sum(w.numel() for w in learn)] * 2
    moments = [s for s in state.values() if torch.is_tensor(s)]
    for s in optimizer.state.values():
        moments += [s["exp_avg"], s["exp_avg_sq"]]
    kept.append(sum(m.numel() for m in moments))
    return losses, [4 * k for k in kept], bytes_sent(operations) / 4


# %%
def one_step(way, model, learn, optimizer, state, step):
    """Take a step in one of the ways; return the state of ZeRO-1 and the loss."""
    rank, n = dist.get_rank(), dist.get_world_size()
    mine = rows_of_rank(batches(step), rank, n)
    if way in ("data parallel", "ZeRO-1"):
        loss, _ = ddp_step(model, [mine])
        if way == "data parallel":
            optimizer.step()
            return state, loss
        slope = torch.cat([w.grad.flatten() for w in learn])
        flat = parameters_to_vector(learn).detach()
        flat, state = shard_optimizer(flat, slope, state, 3e-3)
        vector_to_parameters(flat, learn)
        return state, loss
    optimizer.zero_grad()
    part = mean_loss(model, mine)
    part.backward()
    optimizer.step()
    everyone = part.detach().clone()
    dist.all_reduce(everyone)
    return state, everyone.item() / n


# %%
reference = run_ranks(our_losses, 1, "data parallel")[0]
WAYS = ("data parallel", "ZeRO-1", "ZeRO-3", "ZeRO-3, gathered again")
runs = {way: run_ranks(our_losses, 4, way) for way in WAYS}
KEPT = ("weights", "gradients", "state")
groups = {
    way.replace(", ", ",\n"): {
        name: kept / 1e6 for name, kept in zip(KEPT, run[0][1], strict=True)
    }
    for way, run in runs.items()
}
plots.grouped_bars(
    groups,
    title="Four ranks: ZeRO-1 keeps a quarter of the state, ZeRO-3 of all",
    ylabel="MB on each rank between two steps",
)
plt.show()

# %% [markdown]
# *Figure 2. Bars of weights, gradients and optimizer state on each of four ranks. In
# data parallel training state takes twice the weights. ZeRO-1 cuts it to a quarter;
# ZeRO-3 cuts all three, whether it gathers once or twice.*

# %%
whole_state = reference[1][2]
falls = max(
    abs(4 * kept[2] / whole_state - 1)
    for way in WAYS[1:]
    for _, kept, _ in runs[way]
)
claims.add(
    "optimizer memory of each of 4 ranks, against a quarter",
    measured="within 0.1 %" if falls < 1e-3 else f"{falls:.1%}",
    bar="0.1 %",
    holds=falls < 1e-3,
)
rows = []
for way in WAYS[2:]:  # what DDP sends in C++ is not seen here
    sent = runs[way][0][2] / n_weights
    rows.append((way, f"{sent:.2f}"))
print(text_table(("4 ranks", "a step sends / weights"), rows))

# %% [markdown]
# One gathering and one reduce-scatter are 0.75 each: together what an all-reduce costs.
# So shards of state and gradients are free on the wire, if the gradient is
# reduce-scattered. (Our ZeRO-1 sums all of it everywhere and gathers the weights
# besides, which costs a gathering more.) Weights that are thrown away after the forward
# pass have to be gathered once more, half as much again: the price of never holding the
# model.
#
# Clipping has its trap here, too. A rank sees a shard of the gradient, whose norm is
# not the gradient's:

# %%
from utils.parallel.zero import clip_shards


def shard_norms():
    """Return the norm of this rank's shards, and that of the whole gradient."""
    model, learn = sharded()
    mine = rows_of_rank(batches(0), dist.get_rank(), dist.get_world_size())
    mean_loss(model, mine).backward()
    own = torch.cat([w.grad for w in learn]).norm().item()
    return own, clip_shards(learn, max_norm=1.0)


norms = run_ranks(shard_norms, 4)
print("by shards:", ", ".join(f"{own:.2f}" for own, _ in norms))
print(f"of the whole: {norms[0][1]:.2f}")

# %% [markdown]
# With a bound of 0.1, say, four ranks would scale by four factors, all of them too
# large: a shard's norm is smaller than the whole's. `clip_shards` adds up the squares
# over all ranks first. Torch's `clip_grad_norm_` does so for FSDP's own
# tensors, and can't for a shard that you hold yourself.
#
# ## At work: DDP, FSDP2, DeepSpeed
#
# In torch, data parallel training is one line, FSDP is one for each block:

# %%
from torch.distributed.fsdp import fully_shard


def their_losses(way, n_steps=12):
    """Return the losses of torch's own data parallel modules."""
    rank, n, model = dist.get_rank(), dist.get_world_size(), fresh_model()
    if way == "DDP":
        model = torch.nn.parallel.DistributedDataParallel(model)
    else:
        for block in model.blocks:
            fully_shard(block)
        fully_shard(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), 3e-3, (0.9, 0.95), weight_decay=0.1
    )
    losses = []
    for step in range(n_steps):
        loss = mean_loss(model, rows_of_rank(batches(step), rank, n))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        everyone = loss.detach().clone()
        dist.all_reduce(everyone)
        losses.append(everyone.item() / n)
    return losses


# %%
curves = {f"our {way}": runs[way][0][0] for way in WAYS}
curves |= {
    f"torch {w}": run_ranks(their_losses, 2, w)[0] for w in ("DDP", "FSDP2")
}

rows, worst = [], 0.0
for name, losses in curves.items():
    gap = max(abs(a - b) for a, b in zip(reference[0], losses, strict=True))
    worst = max(worst, gap)
    near = "below 1e-5" if gap < 1e-5 else f"{gap:.0e}"
    rows.append((name, f"{losses[0]:.3f}", f"{losses[-1]:.3f}", near))
print(text_table(("", "first loss", "last loss", "from one process"), rows))
claims.add(
    "losses of DDP, FSDP2 and our stages, against one process, 12 steps",
    measured="below 1e-5" if worst < 1e-5 else f"{worst:.0e}",
    bar="1e-5",
    holds=worst < 1e-5,
)

# %% [markdown]
# On a cluster no cell starts the processes. `torchrun --nproc-per-node 8 train.py`
# starts eight, and tells each its `RANK` and the `WORLD_SIZE`; `train.py` calls
# `dist.init_process_group()` and then what you have seen.
#
# **DeepSpeed** is where ZeRO comes from. It is told what to do by a file:
#
# ```json
# {
#   "train_micro_batch_size_per_gpu": 6,
#   "gradient_accumulation_steps": 1,
#   "gradient_clipping": 1.0,
#   "zero_optimization": {"stage": 3}
# }
# ```
#
# It was run on the CPU beside our own code, with three seeds
# (`python -m tests.claims 14_deepspeed`):

# %%
import json

from utils.settings import project_root

path = project_root() / "tests" / "claims" / "records" / "14_deepspeed.json"
deepspeed = list(json.loads(path.read_text())["runs"].values())
rows = []
for stage in (1, 2, 3):
    gap = max(run[f"stage {stage}: gap"] for run in deepspeed)
    state = max(run[f"stage {stage}: share of state"] for run in deepspeed)
    rows.append((f"ZeRO-{stage}", f"{gap:.0e}", f"{state:.2f}"))
header = ("DeepSpeed, 2 ranks", "largest gap of losses", "share of state")
print(text_table(header, rows))
gap = max(run["default clipping: gap"] for run in deepspeed)
print(f"with gradient_clipping left out of the file: {gap:.0e}")

# %% [markdown]
# The last line is a lesson about configuration files. A key that you leave out has a
# default, and DeepSpeed's for clipping is a norm of 1, not "none". Two runs that should
# be equal are not, and neither file says why. Compare losses over twenty steps before
# you compare anything else.
#
# ## A real model
#
# SmolLM2 has 135 million weights. Three steps on two ranks, copied by DDP and sharded
# by FSDP2, beside one process (`python -m utils.experiments 14_sharded`):

# %%
from utils.experiments.records import recorded, told

smollm = recorded("14_sharded")
print(told(smollm))
found = smollm["results"]["0"]
rows = []
for name, way in (
    ("one process", "alone"),
    ("DDP", "copied"),
    ("FSDP2", "sharded"),
):
    held = [f"{n / 1e6:,.0f}" for n in found["bytes"][way].values()]
    losses = found["losses of ways"].get(way, found["losses"])
    rows.append((name, *held, ", ".join(f"{loss:.3f}" for loss in losses)))
header = ("MB on a rank", "weights", "gradients", "optimizer", "losses")
print(text_table(header, rows))
gap = found["largest difference of a loss"]
print(f"largest difference of a loss: {gap:.0e}")

# %% [markdown]
# Half of everything, and the same three losses.
#
# ## Break it: no average
#
# Take away the all-reduce. Every rank trains on its own rows, the loss falls on each,
# and the mean loss over the ranks looks as it should. In a second run the average is
# there, but each rank has made its own first weights; in a third all ranks read the
# *same* rows. What would have told you?


# %%
def broken(way, n_steps=24):
    """Return for each step this rank's loss and its weights' first numbers."""
    rank, n = dist.get_rank(), dist.get_world_size()
    model = fresh_model(seed=rank if way == "other start" else 0)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses, weights = [], []
    for step in range(n_steps):
        place = 0 if way == "same rows" else rank
        mine = rows_of_rank(batches(step), place, n)
        if way == "no average":
            loss = mean_loss(model, mine)
            optimizer.zero_grad()
            loss.backward()
            losses.append(loss.item())
        else:
            losses.append(ddp_step(model, [mine])[0])
        optimizer.step()
        flat = parameters_to_vector(model.parameters())
        weights.append(flat.detach().clone())
    return losses, torch.stack(weights)


BROKEN = ("right", "no average", "other start", "same rows")
apart, falls = {}, {}
for way in BROKEN:
    (first, mine), (second, other) = run_ranks(broken, 2, way)
    distance = (mine - other).norm(dim=1) / mine.norm(dim=1)
    apart[way] = (range(24), distance.tolist())
    pairs = zip(first, second, strict=True)
    falls[way] = (range(24), [(a + b) / 2 for a, b in pairs])

# %%
_, (above, below) = plt.subplots(2, 1, figsize=(7.5, 7), layout="constrained")
plots.lines(
    falls,
    title="Four losses that look healthy",
    xlabel="step",
    ylabel="mean loss over ranks (nats)",
    axes=above,
)
plots.lines(
    {way: apart[way] for way in BROKEN if way != "same rows"},
    title="Two ranks that have become two models",
    xlabel="step",
    ylabel="distance of their weights / size",
    axes=below,
)
plt.show()

# %% [markdown]
# *Figure 3. Above: four falling losses, hard to tell apart. Below: the distance between
# the two ranks' weights. It is 0 at every step of the right run, grows without the
# average, and is large from the beginning where the starts differ.*

# %%
for way in ("right", "no average", "other start", "same rows"):
    print(f"{way}: distance after 24 steps {apart[way][1][-1]:.3f}")
claims.add(
    "without the average two ranks drift apart; with it they don't",
    measured="yes" if apart["no average"][1][-1] > 0.01 else "no",
    bar="yes",
    holds=apart["no average"][1][-1] > 0.01 and apart["right"][1][-1] == 0,
)

# %% [markdown]
# A hash of the weights on each rank, compared every hundred steps, finds the first two.
# The third has the same weights everywhere, and only a hash of the *token ids* shows
# that two ranks pay for the work of one.
#
# > **Governance box.** A run on many devices is one experiment only if the ranks were
# > one model. *Record* the world size with every change of it, the global batch in
# > tokens, the rule that gives rows to ranks, hashes of weights and of data from every
# > rank. *Who signs*: whoever compared the first steps with one process. *What an
# > auditor asks*: which documents did the model see, how often, and does the answer
# > depend on how many devices there were that week?
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
ask("14_data_parallel", "ring", my_answer_1)

# %%
my_answer_2 = None
ask("14_data_parallel", "means", my_answer_2)

# %%
my_answer_3 = None
ask("14_data_parallel", "stages", my_answer_3)

# %%
my_answer_4 = None
ask("14_data_parallel", "bucket", my_answer_4)

# %%
my_answer_5 = None
ask("14_data_parallel", "no_sync", my_answer_5)

# %%
my_answer_6 = None
ask("14_data_parallel", "clip", my_answer_6)

# %%
my_answer_7 = None
ask("14_data_parallel", "unseen", my_answer_7)

# %%
my_answer_8 = None
ask("14_data_parallel", "start", my_answer_8)

# %% [markdown]
# ## What to remember
#
# - Data parallel training is a sum. In a ring a rank sends less than twice its
#   gradient, however many ranks there are; messages, not bytes, grow with the ranks.
# - Sum over tokens, divide by the tokens of all ranks, then clip, then step.
# - Same start, same gradient, same step: nothing keeps ranks equal but that. Compare
#   hashes of weights, and of data.
# - State and gradients in shards cost nothing on the wire, where gradients are
#   reduce-scattered. Weights gathered twice cost half as much more, and train a model
#   that fits on no device.
# - The test of all of it is one process on the same batch, with rows of unequal length.
#
# ## Sources
#
# - Patarasuk and Yuan, *Bandwidth optimal all-reduce algorithms for clusters of
#   workstations*, 2009, section 3.
# - Li et al., *PyTorch Distributed: Experiences on Accelerating Data Parallel
#   Training*, VLDB 2020, sections 3 and 4.
# - Rajbhandari et al., *ZeRO: Memory Optimizations Toward Training Trillion Parameter
#   Models*, 2020, sections 5 and 7.
# - Zhao et al., *PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel*,
#   VLDB 2023, section 3.
#
# **Next**: `work/14_data_parallel.ipynb`. You write the ring, the step and the shards.
# Then unit 15: what to do when one layer is too large for a device.
