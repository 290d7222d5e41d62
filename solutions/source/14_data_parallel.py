# %% [markdown]
# # Lab 14: Data parallel
#
# **125 minutes** · after the lecture `notebooks/14_data_parallel.ipynb`
#
# You write what several processes need to train one model: a sum over all of them, made
# of messages alone; a training step; and the shards in which ZeRO and FSDP keep what
# does not fit on one device. Each exercise has a check that answers at once and calls
# *your* function in up to four real processes; so does the experiment behind it. An
# exercise that you skip only switches off its own experiments.
#
# Letters for shapes: n ranks, P numbers in all, S = ceil(P / n) in a shard, B rows,
# T tokens, V vocabulary. Inside a rank, `dist` is `torch.distributed`.

# %%
import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from utils.labs.api import check, done, hint, start_lab
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.parallel.collectives import ring_all_gather, ring_reduce_scatter
from utils.parallel.data_parallel import rows_of_rank
from utils.parallel.processes import run_ranks
from utils.parallel.wire import bytes_sent, traffic
from utils.parallel.zero import Sharded, shard_of
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.runtime import start
from utils.text.corpora import world_corpus
from utils.tokens.batches import block_batches, pack_documents
from utils.train.losses import IGNORE_INDEX
from utils.train.optimizers import adamw_step, clip_gradients
from utils.zoo.load import load_base

start_lab("14_data_parallel")
plots.use_style()
tier = start(seed=0)
_, tokenizer = load_base()
texts = [tokenizer.encode(text) for text in world_corpus(400, seed=3)]
batches = block_batches(
    pack_documents(texts, tokenizer.end_id), batch_size=12, context_length=32
)
CONFIG = TransformerConfig(
    vocab_size=tokenizer.vocab_size,
    context_length=32,
    d_model=48,
    n_layers=4,
    n_heads=4,
)


def fresh_model():
    """Return the model as it is before the first step, the same in every process."""
    torch.manual_seed(0)
    return Decoder(CONFIG)


def my_rows(step):
    """Return this rank's rows of a step's batch."""
    return rows_of_rank(batches(step), dist.get_rank(), dist.get_world_size())


n_weights = sum(weight.numel() for weight in fresh_model().parameters())
print(f"a model of {n_weights:,} weights")

# %% [markdown]
# ## 1. A sum over all ranks
#
# **Goal**: every rank gets the sum of all ranks' tensors, and no rank sends more than
# about twice its own.
#
# **Why it matters**: this is the operation that data parallel training waits for. Sent
# to one rank and back, it would cost that rank n times as much with n ranks.

# %%
# exercise: utils.parallel.collectives.ring_all_reduce points=6 minutes=32 difficulty=3

# %% [markdown]
# **Experiment.** The gradients of this model, summed by your ring over 2, 4 and 8
# ranks. With 8 ranks, how many times its own gradient does a rank send?

# %%
my_times = None  # times the payload: your number


# %% tags=["needs:ring_all_reduce"]
def sent_by_ring(n_numbers):
    """Return the bytes that this rank sends in one all-reduce."""
    with traffic() as operations:
        ring_all_reduce(torch.ones(n_numbers))
    return bytes_sent(operations)


n_numbers = n_weights - n_weights % 8
sizes = [2, 4, 8]
sent = [max(run_ranks(sent_by_ring, n, n_numbers)) for n in sizes]
times = [n_bytes / (4 * n_numbers) for n_bytes in sent]
compare(my_times, times[-1], "{:.2f} times")
plots.lines(
    {
        "the rank that sums for all": (sizes, [n - 1 for n in sizes]),
        "your ring, any rank": (sizes, times),
    },
    title="In a ring no rank sends more than twice its own",
    xlabel="ranks",
    ylabel="bytes that a rank sends / payload",
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. Two lines over 2, 4 and 8 ranks. A rank that adds for all others and sends
# the sum back needs one payload for each of them. In the ring the line stays below 2.*

# %% [markdown]
# ## 2. One step
#
# **Goal**: the gradient of all ranks' tokens in every rank's weights, and what it takes
# to clip it.
#
# **Why it matters**: from here on a run on many devices is the run on one device. All
# the classic mistakes (averages of averages, a norm for each rank, a gradient that is
# sent too often) are made within these few lines, and none raises an error.

# %%
# exercise: utils.parallel.data_parallel.ddp_step points=7 minutes=25 difficulty=3

# %% [markdown]
# **Experiment.** Twelve steps with your function, on one rank and on three, which share
# the same batches. How many zeros follow the point in the largest difference between
# their losses? (0.02 has one.)

# %%
my_zeros = None  # zeros behind the point: your number


# %% tags=["needs:ddp_step"]
def train_together(n_steps):
    """Return the losses of a run in which all ranks make one gradient."""
    model = fresh_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(n_steps):
        losses.append(ddp_step(model, [my_rows(step)], max_norm=1.0)[0])
        optimizer.step()
    return losses


alone = run_ranks(train_together, 1, 12)[0]
together = run_ranks(train_together, 3, 12)[0]
gap = max(abs(a - b) for a, b in zip(alone, together, strict=True))
zeros = math.floor(-math.log10(max(gap, 1e-12)))
compare(my_zeros, min(zeros, 5), "{:.0f}", of="zeros (5: five or more)")
print(f"loss {alone[0]:.2f} at the first step, {alone[-1]:.2f} at the last")

# %% [markdown] tags=["result"]
# The three ranks add in another order than one process does, and float32 rounds. There
# is no other difference.

# %% [markdown]
# **Experiment.** Now a batch with padding, as in unit 06: rank 0 has responses of 30
# tokens, rank 1 of 3. If each rank took the mean over its own tokens, and the ranks the
# mean of these, how many times the weight of a token of rank 0 would one of rank 1 have?

# %%
my_weight = None  # times: your number


# %% tags=["needs:ddp_step"]
def gradient_with(average_of_averages):
    """Return this step's gradient where rank 0 has ten times as many tokens."""
    model = fresh_model()
    ids, targets = my_rows(0)
    n_kept = 3 if dist.get_rank() else 30
    targets = targets.masked_fill(torch.arange(32) >= n_kept, IGNORE_INDEX)
    if not average_of_averages:
        ddp_step(model, [(ids, targets)])
        return torch.cat([w.grad.flatten() for w in model.parameters()])
    logits = model(ids).flatten(0, 1)
    functional.cross_entropy(logits, targets.flatten()).backward()
    flat = torch.cat([w.grad.flatten() for w in model.parameters()])
    dist.all_reduce(flat)
    return flat / dist.get_world_size()


yours, theirs = (
    run_ranks(gradient_with, 2, average)[0] for average in (False, True)
)
compare(my_weight, 30 / 3, "{:.0f} times")
apart = (yours - theirs).norm() / yours.norm()
print(f"the two gradients differ by {apart:.0%} of yours")

# %% [markdown] tags=["result"]
# Short responses would count ten times as much because of the rank that they happened
# to be on. The loss would fall all the same.

# %% [markdown]
# ## 3. Each rank keeps a part of the optimizer
#
# **Goal**: a step of AdamW of whose state each rank has only its own shard.
#
# **Why it matters**: AdamW keeps two more numbers for each weight, and in data parallel
# training every device keeps all of them, which are the same everywhere. This is the
# first thing that nobody needs n times.
#
# Given: `shard_of(tensor, rank, n_ranks)`, a rank's shard of a tensor that every rank
# has, flat and with zeros behind its end, and `ring_all_gather(tensor, group=None)`,
# the ranks' tensors one behind the other.

# %%
# exercise: utils.parallel.zero.shard_optimizer points=5 minutes=18 difficulty=2

# %% [markdown]
# **Experiment.** Ten steps on one rank and on four. How many kilobytes of state does
# each of the four keep? (One keeps two numbers of 4 bytes for each weight.)

# %%
my_kilobytes = None  # kB for each of four ranks: your number


# %% tags=["needs:shard_optimizer"]
def train_sharded_state(n_steps):
    """Return the losses, and how many bytes of state this rank has kept."""
    model, state, losses = fresh_model(), {}, []
    for step in range(n_steps):
        loss = functional.cross_entropy(
            model(batches(step).token_ids).flatten(0, 1),
            batches(step).targets.flatten(),
        )
        model.zero_grad()
        loss.backward()
        flat = parameters_to_vector(model.parameters()).detach()
        slope = torch.cat([w.grad.flatten() for w in model.parameters()])
        flat, state = shard_optimizer(flat, slope, state, 3e-3)
        vector_to_parameters(flat, model.parameters())
        losses.append(loss.item())
    moments = (state["first_moment"], state["second_moment"])
    return losses, sum(moment.numel() * 4 for moment in moments)


one = run_ranks(train_sharded_state, 1, 10)
four = run_ranks(train_sharded_state, 4, 10)
compare(my_kilobytes, four[0][1] / 1000, "{:.0f} kB")
rows = [(1, f"{one[0][1] / 1000:,.0f} kB", f"{one[0][0][-1]:.4f}")]
rows += [(4, f"{four[0][1] / 1000:,.0f} kB", f"{four[0][0][-1]:.4f}")]
print(text_table(("ranks", "state on each", "last loss"), rows))

# %% [markdown]
# ## 4. A weight that is whole only while it is used
#
# **Goal**: from everybody's shard to the whole weight.
#
# **Why it matters**: a layer computes with whole weights, for a moment. Between two
# such moments a shard is enough. This is what FSDP and ZeRO's third stage do to every
# layer, twice a step.

# %%
# exercise: utils.parallel.zero.fsdp_gather points=4 minutes=12 difficulty=1

# %% [markdown]
# **Experiment.** Four ranks keep shards of all four blocks, and gather one block at a
# time. At most, what share of the blocks' weights does a rank hold at any time?

# %%
my_share = None  # from 0 to 1: your number


# %% tags=["needs:fsdp_gather"]
def most_held():
    """Return the largest share of the blocks' weights on this rank at any time."""
    rank, n = dist.get_rank(), dist.get_world_size()
    blocks = [
        parameters_to_vector(block.parameters()).detach()
        for block in fresh_model().blocks
    ]
    shards = [shard_of(block, rank, n) for block in blocks]
    kept, most = sum(len(shard) for shard in shards), 0
    for block, shard in zip(blocks, shards, strict=True):
        whole = fsdp_gather(shard, block.shape)
        assert torch.equal(whole, block)
        most = max(most, kept + whole.numel())
    return most / sum(len(block) for block in blocks)


compare(my_share, run_ranks(most_held, 4)[0], "{:.2f}")

# %% [markdown] tags=["result"]
# A quarter in shards, and one block of four. With 32 ranks and 80 layers the whole
# block, not the shards, decides how much memory the weights need.

# %% [markdown]
# ## 5. The way back
#
# **Goal**: of the average of all gradients each rank its own shard.
#
# **Why it matters**: the shard of the optimizer needs the shard of the gradient, and
# nothing else. A rank that takes part in a sum of everything sends twice as much and
# keeps n times as much.
#
# Given: `ring_reduce_scatter(flat, group=None)`: the sum of all ranks' flat tensors, cut
# into equal parts, of which each rank gets the one with its number. The ranks must
# divide their length.

# %%
# exercise: utils.parallel.zero.fsdp_reduce points=5 minutes=16 difficulty=2

# %% [markdown]
# **Experiment.** All together: every block and the rest of the model in shards on three
# ranks, gathered by your `fsdp_gather`, reduced by your `fsdp_reduce`. How many times
# its weights' bytes does a rank send in a step? (The all-reduce of exercise 1 would
# send 1.33 times the weights on three ranks.)

# %%
my_bytes = None  # times the weights: your number


# %% tags=["needs:fsdp_gather,fsdp_reduce"]
def train_in_shards(n_steps):
    """Return losses, weights kept on this rank, and numbers sent in a step."""
    model, n = fresh_model(), dist.get_world_size()
    moves = {"gather": fsdp_gather, "reduce": fsdp_reduce}
    for k, block in enumerate(model.blocks):
        model.blocks[k] = Sharded(block, **moves)
    model = Sharded(model, **moves)
    shards = [w for w in model.parameters() if w.requires_grad]
    optimizer, losses = torch.optim.AdamW(shards, lr=3e-3), []
    for step in range(n_steps):
        ids, targets = my_rows(step)
        with traffic() as operations:
            loss = functional.cross_entropy(
                model(ids).flatten(0, 1), targets.flatten()
            )
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        everyone = loss.detach().clone()
        dist.all_reduce(everyone)
        losses.append(everyone.item() / n)
    n_sent = bytes_sent(operations) / 4
    return losses, sum(shard.numel() for shard in shards), n_sent


ranks = run_ranks(train_in_shards, 3, 12)
whole = run_ranks(train_in_shards, 1, 12)[0]
compare(my_bytes, ranks[0][2] / n_weights, "{:.2f} times")
gap = max(abs(a - b) for a, b in zip(whole[0], ranks[0][0], strict=True))
print(f"weights kept: {ranks[0][1]:,} of {n_weights:,}")
print("the losses are those of one process:", "yes" if gap < 1e-5 else "no")

# %% tags=["needs:fsdp_gather,fsdp_reduce"]
plots.lines(
    {
        "one process": (range(12), whole[0]),
        "three ranks in shards": (range(12), ranks[0][0]),
    },
    title="Nobody has the whole model, and it learns the same",
    xlabel="step",
    ylabel="loss (nats per token)",
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 2. Two lines of losses over twelve steps, one on top of the other.*
#
# One gathering and one reduce-scatter send as much as one all-reduce, since an
# all-reduce *is* these two. So shards of state and gradients are free on the wire.
# Weights that are thrown away after the forward pass and gathered again for the
# backward pass cost half as much more.

# %% [markdown]
# ## 6. Written answer (3 points)
#
# A colleague moves an instruction tuning run from one GPU to eight with hand-written
# data parallel code. The run is fast and raises no error. Its loss falls, but to a
# worse value than on one GPU with the same batch, and after 500 steps the eight ranks
# have saved eight *different* checkpoints. The code: each rank seeds its sampler with
# 0; takes the mean loss over its own response tokens; clips its gradient; all-reduces;
# divides by eight; and steps. Each rank made its model after `torch.manual_seed(rank)`.
# In five to eight sentences: which mistakes are there, which of them explains the
# different checkpoints, and by which measurement would each have been found at the
# first step?
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* The different checkpoints come from the different starts: with
# `manual_seed(rank)` the ranks begin with eight models and then apply the same
# gradients to them; weights have to be broadcast from rank 0. Found by a hash of the
# weights on each rank, before the first step and after it. All samplers have seed 0,
# so all ranks see the same rows and the batch is an eighth of what it should be; found
# by a hash of the token ids on each rank, which must differ. The mean over the rank's
# own tokens makes tokens of short responses weigh more; found by comparing the
# gradient with that of one process on the whole batch, with unequal lengths. Clipping
# before the all-reduce scales each rank's part by another factor, so the sum points
# elsewhere and is no longer bounded as asked; found by the same comparison, or by
# printing the norm on each rank, which must be the same number. The comparison with
# one process on one batch, within 1e-6, finds all but the first.
#
# *Rubric.* 1 point: the different starts explain the different checkpoints, broadcast
# or hash of weights. 1 point: same rows on every rank and the average of averages, each
# with what it does. 1 point: clipping before the sum, and a measurement at the first
# step (the gradient against one process, hashes, equal norms).
# <!-- END SOLUTION -->
