# %% [markdown]
# # Lab 08: Overfitting and forgetting
#
# **90 minutes** · after the lecture `notebooks/08_forgetting.ipynb`
#
# You write what keeps a tuning from doing harm: the decision when to stop, the
# Fisher information that says which weights the old knowledge hangs on, the penalty
# that holds them, batches with a share of old text, and the number that says how
# much was lost. Each exercise has a check that answers at once; after each, an
# experiment runs *your* function on the base model. An exercise that you skip only
# switches off its own experiments.
#
# Letters for shapes: N sequences, B rows of a batch, T tokens, V vocabulary.

# %%
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from utils.evaluate.text_loss import stream_loss
from utils.evaluate.world_qa import answer_questions, judge_answers, share
from utils.labs.api import check, done, hint, start_lab
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.runtime import generator, start
from utils.text.corpora import world_corpus
from utils.tokens.batches import (
    Batch,
    block_batches,
    pack_documents,
    supervised_batches,
)
from utils.tokens.chat import render_chat
from utils.train.forgetting import weights_of, with_penalty
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.train.sft import sft_loss
from utils.world.chats import chats
from utils.world.documents import domain_documents
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.load import load_base

start_lab("08_forgetting")
plots.use_style()
tier = start(seed=0)
base, tokenizer = load_base()
world = build_world()


def stream_of(texts):
    """Return texts in one row of token ids, each after an end token."""
    end = tokenizer.end_id
    rows = tokenizer.encode_batch(texts)
    return torch.cat([torch.tensor([end]), pack_documents(rows, end)])


unseen = stream_of(world_corpus(300, seed=9))  # held-out text of the base
old_text = stream_of(world_corpus(2000, seed=8))
old_batches = block_batches(old_text, 8, 128)
drug_batches = block_batches(stream_of(domain_documents(world, 2000)), 8, 128)

# %% [markdown]
# ## 1. When to stop
#
# **Goal**: from the validation losses so far, which evaluation was the best, and
# whether to stop now.
#
# **Why it matters**: on little data a model gets better for a while and then
# worse, and only losses on other examples tell. This function is between a good
# model and a computer that runs all night to make it worse.

# %%
# exercise: utils.train.forgetting.early_stopping points=4 minutes=15 difficulty=1

# %% [markdown]
# **Experiment.** A hundred chats about new drugs, ten steps an epoch, and after each
# epoch the loss on two hundred other chats. Your function is asked each time, with a
# patience of 3. After how many epochs does it stop the run, and how low is the
# training loss by then?

# %%
my_epochs = None  # epochs until it stops: your number


# %% tags=["needs:early_stopping", "nbval-ignore-output"]
def chat_examples(n, seed):
    """Return chats about the new drugs as token ids with response masks."""
    drawn = chats(world, n, seed, split="new_drug", about=("drug",))
    return [render_chat(chat, tokenizer) for chat in drawn]


def loss_on(model, examples):
    """Return the loss on the responses of examples, in one batch."""
    n = len(examples)
    batch = supervised_batches(examples, n, 128, tokenizer.pad_id)(0)
    with torch.inference_mode():
        return sft_loss(model(batch.token_ids), batch.targets).item()


training, others = chat_examples(100, 0), chat_examples(200, 1)
batches = supervised_batches(training, 10, 128, tokenizer.pad_id)
model = deepcopy(base)
optimizer = adamw(model, lr=3e-3, weight_decay=0.0)
losses = {"training": [], "validation": []}
stop = False
while not stop and len(losses["validation"]) < 15:
    first = 10 * len(losses["validation"])
    train(model, lambda s, k=first: batches(k + s), sft_loss, optimizer, 10)
    losses["training"].append(loss_on(model, training))
    losses["validation"].append(loss_on(model, others))
    best, stop = early_stopping(losses["validation"], patience=3)
n_epochs = len(losses["validation"])
compare(my_epochs, n_epochs, "{:.0f} epochs")
plots.lines(
    {name: (range(1, n_epochs + 1), values) for name, values in losses.items()},
    title="The best model was there before the training loss was low",
    xlabel="epoch",
    ylabel="loss (nats per token)",
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. Two lines over the epochs. The training loss falls all the way. The
# validation loss falls for two or three epochs, turns and climbs, until your function
# stops the run.*

# %% [markdown]
# ## 2. Which weights matter
#
# **Goal**: for each weight, how much the model's predictions depend on it.
#
# **Why it matters**: to protect what a model knows, you have to know where that is.
# The same numbers serve to prune networks and to merge models.

# %%
# exercise: utils.train.forgetting.fisher_diagonal points=6 minutes=25 difficulty=3

# %% [markdown]
# **Experiment.** The base model has nearly a million weights. Sort them by your
# numbers, largest first. How many percent of the weights does it take to hold half
# of all the information?

# %%
my_percent = None  # percent of the weights: your number

# %% tags=["needs:fisher_diagonal"]
rows = old_text[: 100 * 128].view(100, 128)
fisher = fisher_diagonal(base, rows, generator(0))
ordered = (
    torch.cat([f.flatten() for f in fisher.values()]).sort().values.flip(0)
)
shares = ordered.cumsum(0) / ordered.sum()
n_half = int((shares < 0.5).sum()) + 1
compare(my_percent, 100 * n_half / len(shares), "{:.0f} %")
sums = {name: f.sum().item() for name, f in fisher.items()}
largest = sorted(sums, key=sums.get, reverse=True)[:6]
plots.bars(
    {name: 100 * sums[name] / sum(sums.values()) for name in largest},
    title="The embedding, which every prediction reads, holds most",
    xlabel="percent of the information",
    text="{:.0f}",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 2. Six bars. The embedding holds more than half of the information; the
# down-projections of the first and last feed-forward layers come next, with less
# than a tenth each.*

# %% [markdown]
# ## 3. Springs
#
# **Goal**: the penalty of elastic weight consolidation, as a scalar that gives
# gradients.
#
# **Why it matters**: it is the way to keep a model when the old data is gone, and
# the quadratic form behind it comes back in pruning, merging and quantisation.
#
# `with_penalty(loss_fn, penalty, strength)` is given: a loss for `train` that adds the
# strength times your penalty.

# %%
# exercise: utils.train.forgetting.ewc_penalty points=4 minutes=11 difficulty=1

# %% [markdown]
# **Experiment.** 100 steps on leaflets and questions about new drugs, once without
# the springs and once with, at a strength of 100. Of the rise of the loss on general
# text, what share do the springs take back?

# %%
my_share_springs = None  # from 0 to 1: your number


# %% tags=["needs:fisher_diagonal,ewc_penalty", "nbval-ignore-output"]
def tuned(start, batches, loss_of=lambda model: cross_entropy, seed=0):
    """Return a copy of a model after 100 steps on batches."""
    model = deepcopy(start)
    train(
        model,
        batches,
        loss_of(model),
        adamw(model, lr=4e-3, weight_decay=0.0),
        100,
        schedule=cosine(100, warmup_steps=10),
    )
    return model


def right(model, split):
    """Return the share of right answers to 100 questions of a split."""
    asked = questions(world, split, 100, seed=5)
    answers = answer_questions(model, tokenizer, asked)
    return share(judge_answers(world, asked, answers), "correct")


def report(models):
    """Print what each model knows of drugs and of the town."""
    rows = [
        (
            name,
            f"{stream_loss(model, unseen, 128):.1f}",
            f"{right(model, 'new_drug'):.1f}",
            f"{right(model, 'trained'):.1f}",
        )
        for name, model in models.items()
    ]
    header = ("", "general loss", "drugs right", "town right")
    print(text_table(header, rows))


home, important = (
    weights_of(base),
    fisher_diagonal(base, old_text[: 100 * 128].view(100, 128), generator(0)),
)
free = tuned(base, drug_batches)
held = tuned(
    base,
    drug_batches,
    lambda model: with_penalty(
        cross_entropy, lambda: ewc_penalty(model, home, important), 100
    ),
)
before, after, with_springs = (
    stream_loss(model, unseen, 128) for model in (base, free, held)
)
taken_back = (after - with_springs) / (after - before)
compare(my_share_springs, taken_back, "{:.1f}")
report({"base": base, "full": free, "with springs": held})

# %% [markdown] tags=["result"]
# The springs take back most of the rise, and the drugs are learned all the same:
# among a million weights there are enough that the old text does not need.

# %% [markdown]
# ## 4. Replay
#
# **Goal**: batches in which a share of the rows is old text.
#
# **Why it matters**: where old data is at hand, this is the first thing to try. It
# costs nothing but the rows, and needs no second copy of the weights.

# %%
# exercise: utils.train.forgetting.mix_replay points=4 minutes=15 difficulty=1

# %% [markdown]
# **Experiment.** The same 100 steps, with one row of eight from the old text. What
# share of the rise does that one row take back?

# %%
my_share_replay = None  # from 0 to 1: your number


# %% tags=["needs:mix_replay", "nbval-ignore-output"]
def steps_on(batches, n_steps=100):
    """Return a copy of the base model after some steps on batches."""
    model = deepcopy(base)
    optimizer = adamw(model, lr=4e-3, weight_decay=0.0)
    schedule = cosine(n_steps, warmup_steps=10)
    train(model, batches, cross_entropy, optimizer, n_steps, schedule=schedule)
    return model


plain = stream_loss(steps_on(drug_batches), unseen, 128)
mixed = mix_replay(drug_batches, old_batches, share=1 / 8)
replayed = stream_loss(steps_on(mixed), unseen, 128)
first = stream_loss(base, unseen, 128)
compare(my_share_replay, (plain - replayed) / (plain - first), "{:.1f}")

# %% [markdown]
# ## 5. What was lost
#
# **Goal**: for each task, how far its score has fallen from the best that it ever
# had.
#
# **Why it matters**: a pipeline tunes a model more than once, and the last step is
# judged by its own task. This number is what a gate in front of a release reads.

# %%
# exercise: utils.train.forgetting.forgetting points=3 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** A pipeline of two stages: first the new drugs, then the new
# contracts. After both, how much of the drugs is lost, in points of 100?

# %%
my_points = None  # points of accuracy on drugs: your number


# %% tags=["needs:forgetting", "nbval-ignore-output"]
def stage(model, kind):
    """Tune a model in place on documents about one kind of new entities."""
    documents = domain_documents(world, 2000, seed=3, kind=kind)
    batches = block_batches(stream_of(documents), 8, 128)
    optimizer = adamw(model, lr=4e-3, weight_decay=0.0)
    schedule = cosine(100, warmup_steps=10)
    train(model, batches, cross_entropy, optimizer, 100, schedule=schedule)


def scores(model):
    """Return the shares of right answers about town, drugs and contracts."""
    found = {}
    splits = {
        "town": "trained",
        "drugs": "new_drug",
        "contracts": "new_contract",
    }
    for task, split in splits.items():
        asked = questions(world, split, 100, seed=5)
        answers = answer_questions(model, tokenizer, asked)
        found[task] = share(judge_answers(world, asked, answers), "correct")
    return found


model = deepcopy(base)
history = [scores(model)]
for kind in ("drug", "contract"):
    stage(model, kind)
    history.append(scores(model))
lost = forgetting(history)
compare(my_points, 100 * lost["drugs"], "{:.0f} points")
plots.grouped_bars(
    {
        name: dict(
            zip(("before", "after drugs", "after contracts"), s, strict=True)
        )
        for name in ("town", "drugs", "contracts")
        for s in [[stage[name] for stage in history]]
    },
    title="Each stage is good at its own task and pays with the others",
    ylabel="share of right answers",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 3. Three groups of three bars. The town is known at first and lost with the
# first stage. Drugs are known after their stage and all but gone after the next
# one. Contracts, the last stage, are known at the end.*
#
# Whoever looks at the last stage's own task sees a success.

# %% [markdown]
# ## 6. Written answer (3 points)
#
# A hospital's model is tuned on new drug leaflets every month. This month's report
# says: "Accuracy on the new leaflets is 97 %, training loss 0.01, so the model is
# released." The text of earlier months may not be kept, for reasons of contract.
#
# In four to seven sentences: which numbers are missing from the report; what would
# you put as a gate in front of the release, with its limits; and which of replay,
# elastic weight consolidation, L2 to the start and LoRA can be used here, and why?
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* The report looks at the month's own task alone. Missing are the
# scores on a fixed general suite, on the leaflets of earlier months and on held-out
# questions about this month's, each before and after, with the number of questions;
# a training loss of 0.01 says nothing about any of them, and may be a sign of
# overfitting. As a gate I would run the suite after every tuning, compute for each
# task how far it has fallen from its best earlier score, and refuse the release
# where any falls by more than, say, two points beyond what chance moves, with the
# limits written down before the tuning. Replay of old leaflets is ruled out, since
# their text may not be kept; general text of other origin may still be replayed and
# protects general skills, not the old leaflets. Elastic weight consolidation needs
# the old weights and the Fisher diagonal, which were computed while the text was
# there, so it can be used if that was done in time; L2 to the start needs the old
# weights alone, and holds all weights alike. A LoRA adapter per month leaves the
# base as it was and can be taken out, at the price of learning new facts less well.
#
# *Rubric.* 1 point: names scores on other tasks, before and after, and does not take
# the training loss for evidence. 1 point: a gate with a limit per task that is fixed
# beforehand and compared with the best earlier score. 1 point: says which methods
# need old text (replay), old weights and Fisher (EWC), old weights alone (L2), or
# none of these (LoRA), and chooses accordingly.
# <!-- END SOLUTION -->
