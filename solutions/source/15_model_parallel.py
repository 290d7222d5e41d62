# %% [markdown]
# # Lab 15: Model parallel
#
# **130 minutes** · after the lecture `notebooks/15_model_parallel.ipynb`
#
# You write the parts that cut a model over several processes: the order in which a
# pipeline works, what its bubble is, a block that forgets its activations, and three
# layers that no rank holds whole. Each exercise has a check that answers at once; the
# last three run *your* function in two and three real processes. After each, an
# experiment uses it. An exercise that you skip only switches off its own experiments.
#
# In an exercise on layers, your function runs in every rank at the same time. `dist` is
# `torch.distributed`: `dist.get_rank(group)` says which rank this is,
# `dist.get_world_size(group)` how many there are. `dist.all_reduce(tensor,
# group=group)` replaces a tensor by its sum over all ranks, in place;
# `sum_over_ranks(tensor, group)` of the course returns the sum as a new tensor, through
# which no gradient passes.

# %%
from collections.abc import Callable

import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
from torch import Tensor, nn

from utils.labs.api import check, done, hint, start_lab
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.linear import linear
from utils.parallel.checkpointing import SavedBytes, checkpointed, example_block
from utils.parallel.pipeline import cut_decoder, run_schedule, run_stage
from utils.parallel.processes import run_ranks
from utils.parallel.schedules import Schedule, Timeline, check_counts, replay
from utils.parallel.tensor_parallel import Group, check_widths, sum_over_ranks
from utils.report import plots
from utils.report.guesses import compare
from utils.report.timelines import draw_timeline
from utils.runtime import generator, start
from utils.train.losses import IGNORE_INDEX, cross_entropy

start_lab("15_model_parallel")
plots.use_style()
tier = start(seed=0)
shape = TransformerConfig(
    vocab_size=512, context_length=32, d_model=64, n_layers=4, n_heads=4
)
model = Decoder(shape)
weights = {name: w.detach().clone() for name, w in model.named_parameters()}
token_ids = torch.randint(512, (8, 33), generator=generator(1))
inputs, targets = token_ids[:, :-1].contiguous(), token_ids[:, 1:].contiguous()

# %% [markdown]
# ## 1. The order of work
#
# **Goal**: for each stage of a pipeline the list of its forwards and backwards, "one
# forward, one backward".
#
# **Why it matters**: a schedule is a list, and a wrong one does not raise. It holds too
# much, or it waits for ever.

# %%
# exercise: utils.parallel.schedules.schedule_1f1b points=5 minutes=20 difficulty=2

# %% [markdown]
# **Experiment.** Your schedule runs a decoder, cut into two stages, in two real
# processes, with four micro-batches. The guess is about a longer pipeline: with four
# stages and eight micro-batches, how many forwards does the first stage do before its
# first backward?

# %%
my_forwards = None  # your number


# %% tags=["needs:schedule_1f1b"]
def two_stages(schedule, weights):
    """Run a step of a pipeline; return this rank's loss and what it did when."""
    rank = dist.get_rank()
    whole = Decoder(shape)
    whole.load_state_dict(weights, strict=False)
    part = cut_decoder(whole, rank, 2)
    stages = {rank: lambda x: run_stage(part, x, 32)}
    return run_schedule(schedule, stages, inputs, targets, shape.d_model)


first = [kind for kind, *_ in schedule_1f1b(4, 8)[0]]
compare(my_forwards, first.index("B"), "{:.0f}")
losses, events = zip(
    *run_ranks(two_stages, 2, schedule_1f1b(2, 4), weights), strict=True
)
alone = cross_entropy(model(inputs), targets).item()
print(f"loss of two ranks {sum(losses):.4f}, of one process {alone:.4f}")
draw_timeline(
    replay([[operation[:3] for operation in rank] for rank in events]),
    title="What two processes did, in the order in which they did it",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. Two rows. The first rank begins with two forwards, the second with one;
# then each alternates.*

# %% [markdown]
# ## 2. The bubble
#
# **Goal**: the share of all ranks' time in which they have nothing to do.
#
# **Why it matters**: it is what a pipeline costs. Measured the wrong way (each rank from
# its own first start, or without those that never start) it looks better than it is.

# %%
# exercise: utils.parallel.schedules.bubble_fraction points=4 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** The formula says 27 % for four ranks and eight micro-batches, whatever
# forward and backward cost, if all stages are alike. Real ones are not: the last one
# has the unembedding. Let its operations take half as long again. How much is idle?

# %%
my_idle = None  # from 0 to 1: your number


# %% tags=["needs:schedule_1f1b,bubble_fraction"]
def with_slow_last(schedule, factor):
    """Return the timeline where the last stage's operations take a factor longer."""
    timeline, ends = [[] for _ in schedule], {}
    while any(len(a) < len(b) for a, b in zip(timeline, schedule, strict=True)):
        for order, done_ in zip(schedule, timeline, strict=True):
            while len(done_) < len(order):
                kind, stage, k = order[len(done_)]
                needed = (
                    ("F", stage - 1, k) if kind == "F" else ("B", stage + 1, k)
                )
                if 0 <= needed[1] < len(schedule) and needed not in ends:
                    break
                begin = max(
                    done_[-1][4] if done_ else 0.0, ends.get(needed, 0.0)
                )
                length = {"F": 1.0, "B": 2.0}[kind]
                length *= factor if stage == len(schedule) - 1 else 1.0
                ends[kind, stage, k] = begin + length
                done_.append((kind, stage, k, begin, begin + length))
    return timeline


slow = with_slow_last(schedule_1f1b(4, 8), 1.5)
compare(my_idle, bubble_fraction(slow), "{:.0%}")
print(
    f"all alike: {bubble_fraction(with_slow_last(schedule_1f1b(4, 8), 1.0)):.0%}"
)
draw_timeline(slow, title="Everybody waits for the slowest stage")
plt.show()

# %% [markdown] tags=["result"]
# *Figure 2. Four rows. The last rank has no gap in its middle, all others have one
# after each pair of boxes.*
#
# This is why the last stage gets fewer blocks than the others in practice.

# %% [markdown]
# ## 3. A block that forgets
#
# **Goal**: run a block so that only its inputs are kept, and give the gradients of the
# plain block, dropout and all.
#
# **Why it matters**: activations are what fills a GPU at long contexts. This is the
# most used trade of time for memory, in every library by another name.
#
# A forward and a backward of your own are a `torch.autograd.Function` with two static
# methods; so they are in the next two exercises.

# %%
# exercise: utils.parallel.checkpointing.checkpoint_block points=6 minutes=32 difficulty=3

# %% [markdown]
# **Experiment.** The decoder above, each of its four blocks through *your* function.
# How many times less is kept after the forward?

# %%
my_times = None  # times: your number


# %% tags=["needs:checkpoint_block"]
def kept(is_checkpointed):
    """Return bytes that are kept after the forward, and the gradients."""
    model.zero_grad()
    with SavedBytes(model) as saved:
        x = model.embedding(inputs)
        for block in model.blocks:
            if is_checkpointed:
                others = model.cos, model.sin
                x = checkpointed(block, x, *others, checkpoint=checkpoint_block)
            else:
                x = block(x, model.cos, model.sin)
        loss = cross_entropy(model.unembedding(model.norm(x)), targets)
        after = saved.now
        loss.backward()
    return after, [w.grad.clone() for w in model.parameters()]


plain, gradients = kept(False)
less, again = kept(True)
compare(my_times, plain / less, "{:.1f} times")
same = all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))
print(f"gradients are the same bits: {same}")

# %% [markdown] tags=["result"]
# With more blocks the factor grows: the logits, which are kept either way, weigh less.

# %% [markdown]
# ## 4. Cut by outputs
#
# **Goal**: a linear layer of which each rank holds some outputs.
#
# **Why it matters**: it is the first half of every cut feed-forward part and of every
# cut attention. Its mistake hides in the backward: the loss is right without it.

# %%
# exercise: utils.parallel.tensor_parallel.column_parallel_linear points=5 minutes=13 difficulty=2

# %% [markdown]
# ## 5. Cut by inputs
#
# **Goal**: a linear layer of which each rank holds some inputs, with a bias.
#
# **Why it matters**: here stands the one all-reduce of the forward, and here biases are
# counted n times.

# %%
# exercise: utils.parallel.tensor_parallel.row_parallel_linear points=5 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** A feed-forward part of your two layers learns to copy another one's
# answers, on two ranks and in one process. How far apart are the losses after 20 steps?

# %%
my_apart = None  # 0.1, 0.001 or 0.00001: the nearest power of ten

# %% tags=["needs:column_parallel_linear,row_parallel_linear"]
source = generator(2)
x = torch.randn(64, 16, generator=source)
goal = torch.relu(x @ torch.randn(16, 16, generator=source))
up, down = (
    0.2 * torch.randn(*size, generator=source) for size in ((32, 16), (16, 32))
)


def learn(x, goal, up, down, layers):
    """Return the losses of 20 steps with these layers for this rank's parts."""
    rank, n = dist.get_rank(), dist.get_world_size()
    first, second = layers
    a = nn.Parameter(up.chunk(n)[rank].clone())
    b = nn.Parameter(down.chunk(n, 1)[rank].clone())
    optimizer, losses = torch.optim.Adam([a, b], lr=0.01), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (second(torch.relu(first(x, a)), b) - goal).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# %% tags=["needs:column_parallel_linear,row_parallel_linear"]
yours = column_parallel_linear, row_parallel_linear
plain = nn.functional.linear, nn.functional.linear
(two, _), (one,) = (
    run_ranks(learn, n, x, goal, up, down, layers)
    for n, layers in ((2, yours), (1, plain))
)
apart = max(abs(a - b) for a, b in zip(two, one, strict=True))
compare(my_apart, 1e-5 if apart < 1e-4 else apart, "{:.5f}")
print(f"loss from {one[0]:.2f} to {one[-1]:.2f}, on one and on two ranks")

# %% [markdown] tags=["result"]
# The same numbers but for the order of a sum (what is below 0.0001 counts as 0.00001
# here). That is the whole promise of tensor parallel: another place, the same model.

# %% [markdown]
# ## 6. A loss over a cut vocabulary
#
# **Goal**: the mean cross-entropy where each rank has the logits of its own token ids.
#
# **Why it matters**: the logits are the largest tensor of a training step. They need not
# travel, and need not even be put together.

# %%
# the g of exercise 5: it sums forward and hands the gradient on
from utils.parallel.tensor_parallel import reduce_from_ranks

# %%
# exercise: utils.parallel.vocabulary.vocab_parallel_cross_entropy points=7 minutes=22 difficulty=3

# %% [markdown]
# **Experiment.** The decoder's logits, cut over four ranks: the loss, and the bytes that
# a rank puts into its operations, against the bytes of its logits. What share is it?

# %%
my_share = None  # from 0 to 1: your number


# %% tags=["needs:vocab_parallel_cross_entropy"]
def cut_loss(loss_of, logits, targets):
    """Return loss, bytes sent, and bytes of this rank's logits."""
    from utils.parallel.wire import traffic

    mine = logits.chunk(dist.get_world_size(), -1)[dist.get_rank()].clone()
    with traffic() as operations:
        loss = loss_of(mine.requires_grad_(), targets)
        loss.backward()
    return loss.item(), sum(o.n_bytes for o in operations), mine.numel() * 4


with torch.no_grad():
    logits = model(inputs)
replies = run_ranks(cut_loss, 4, vocab_parallel_cross_entropy, logits, targets)
compare(my_share, replies[0][1] / replies[0][2], "{:.3f}")
print(
    f"four ranks {replies[0][0]:.4f}, one {cross_entropy(logits, targets):.4f}"
)

# %% [markdown] tags=["result"]
# A few numbers for each position, whatever the vocabulary. With 128,256 ids in place of
# 512 the share would be 250 times smaller.

# %% [markdown]
# ## 7. Written answer (3 points)
#
# A team trains a 30B model (hidden width 6,656, vocabulary 128,256) with a context of
# 8,192 on two nodes of eight GPUs. Fast links join the eight GPUs of a node; between
# the nodes the network is twenty times slower. Their layout: 16 tensor-parallel ranks,
# no pipeline. For the loss each rank gathers all logits and calls `cross_entropy` in
# float32. The GPUs work a fifth of the time, and memory runs out at the end of the
# forward pass although weights and activations would fit. In five to eight sentences:
# what takes the time, what takes the memory (with a number), which layout and which
# loss would you try, what does that layout cost in its turn, and how do you show that
# the change is an improvement and still the same training?
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* Each layer adds up its activations over all 16 ranks twice in the
# forward pass and twice in the backward pass, and the next product waits for the sum,
# so every layer waits for the slow network. The gathered logits of one sequence are
# 8,192 times 128,256 numbers of 4 bytes, 4.2 GB, and their gradient as much again, on
# every rank. I would cut tensors over the 8 GPUs of a node alone and put two pipeline
# stages on the two nodes: then one activation of 8,192 times 6,656 numbers for each
# micro-batch crosses the network forwards and its gradient backwards, instead of sums
# in every layer. The loss becomes the vocabulary-parallel one: each rank keeps an
# eighth of the logits, about half a gigabyte, and sends three numbers a position. The
# price is the pipeline's bubble, (p - 1) / (m + p - 1): a ninth of the time with 8
# micro-batches, so the batch must be cut into many; the loss sits on the last stage
# alone, so the stages must be balanced. To show it: bytes per step over each kind of
# link, tokens per second and peak memory of every rank before and after; and the losses
# of the first steps on the same rows from the same weights, equal up to rounding.
#
# *Rubric.* 1 point: sums in every layer, on the critical path, over the slow network;
# and tensor parallel inside a node, pipeline between nodes. 1 point: the memory of the
# logits with its number, and the loss over a cut vocabulary. 1 point: the bubble (or
# unequal stages) as the price, and a proof with both a measurement of speed or bytes
# and equal losses.
# <!-- END SOLUTION -->
