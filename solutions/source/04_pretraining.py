# %% [markdown]
# # Lab 04: Pretraining
#
# **165 minutes**, and 25 for the bonus · after the lecture `notebooks/04_pretraining.ipynb`
#
# You write the parts of a training run in the order in which the run meets them:
# finding near-copies, packing, the loss, the update, the rate, the clip, the
# checkpoint, and the law that says what a larger run would bring. Each exercise has a
# check that answers at once; after each, an experiment runs *your* function, and at
# the end all of them train a model together. An exercise that you skip only switches
# off its own experiments.
#
# Letters for shapes: B batch, T tokens, V vocabulary, N rows.

# %%
import json
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import cache, partial
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from utils.labs.api import check, done, hint, start_lab
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.runtime import generator, start
from utils.text.corpora import python_reference, world_corpus
from utils.text.duplicates import (
    N_BANDS,
    N_HASHES,
    PRIME,
    THRESHOLD,
    item_number,
    jaccard,
    multipliers,
    shingles,
)
from utils.text.raw import edit
from utils.tokens.batches import block_batches, pack_documents, shift_targets
from utils.train.checkpoints import (
    UNFINISHED,
    CorruptCheckpoint,
    content_hash,
    flush_folder,
    load_checkpoint,
    write_flushed,
)
from utils.train.loop import train
from utils.train.losses import IGNORE_INDEX, check_targets
from utils.train.optimizers import adamw
from utils.train.scaling import (
    ScalingLaw,
    check_runs,
    descend,
    distance_of,
    starts,
)
from utils.train.schedules import check_schedule
from utils.zoo.load import load_base
from utils.zoo.scaling import load_sweep

start_lab("04_pretraining")
plots.use_style()
tier = start(seed=0)

# %% [markdown]
# ## 1. A page in 64 numbers
#
# **Goal**: the smallest number of a set's items, under each of 64 numberings.
#
# **Why it matters**: comparing each page of a crawl with each other is out of the
# question. Sixty-four numbers for a page make it a matter of sorting.
#
# `item_number(item)` gives the number of a shingle, `multipliers(n_hashes, seed)` the
# pairs (a, b); both are imported, as is `PRIME`.

# %%
# exercise: utils.text.duplicates.minhash_signature points=4 minutes=20 difficulty=1

# %% [markdown]
# **Experiment.** A page of 120 words, and three more with some of its words
# replaced. A shingle has five words. If six words in the middle of the page are
# replaced, what share of all shingles do both pages still hold?

# %%
my_share_left = None  # your number

# %% tags=["needs:minhash_signature"]
words = [f"word{k}" for k in range(120)]
rows = []
for n_changed in (0, 6, 24, 60):
    new_words = [f"new{k}" for k in range(n_changed)]
    other = words[:20] + new_words + words[20 + n_changed :]
    sets = [shingles(" ".join(words)), shingles(" ".join(other))]
    one, two = (minhash_signature(items) for items in sets)
    agreeing = sum(a == b for a, b in zip(one, two, strict=True)) / 64
    rows.append([n_changed, f"{jaccard(*sets):.2f}", f"{agreeing:.2f}"])
compare(my_share_left, float(rows[1][1]), "{:.2f}", of="six words replaced")
print(text_table(["words replaced", "exact", "by your signatures"], rows))

# %% [markdown] tags=["result"]
# Ten of 116 runs go and ten others come, so both pages together hold 126, of which
# 106 are shared. Copies with a small change stay near-copies, as they should.

# %% [markdown]
# ## 2. Pairs of near-copies
#
# A bonus: the longest exercise of the lab, and nothing below needs it.
#
# **Goal**: the pairs of documents whose signatures agree, without comparing all.
#
# **Why it matters**: what stands in a crawl many times is learned by heart. This
# function decides what does not.

# %%
# exercise: utils.text.duplicates.near_duplicates points=5 minutes=25 difficulty=3 bonus

# %% [markdown]
# **Experiment.** Two hundred pages, and near-copies of every fourth of them. Does
# your function find them, and how many comparisons would all pairs have been?

# %% tags=["needs:minhash_signature,near_duplicates"]
import random

records = world_corpus(800, seed=4)
pages = ["\n".join(records[k : k + 4]) for k in range(0, 800, 4)]
rng = random.Random(0)
copies = {k: edit(pages[k], rng) for k in range(0, 200, 4)}
signatures = [
    minhash_signature(shingles(p)) for p in [*pages, *copies.values()]
]
found = near_duplicates(signatures)
planted = {(k, 200 + place) for place, k in enumerate(copies)}
print(f"all pairs: {len(signatures) * (len(signatures) - 1) // 2:,}")
print(f"planted copies found: {len(planted & set(found))} of {len(planted)}")

# %% [markdown]
# Nobody planted anything in Python's own language reference, which came with your
# Python. Are there near-copies among its topics? (What you see depends a little on
# your version of Python.)

# %% tags=["needs:minhash_signature,near_duplicates", "nbval-ignore-output"]
topics = python_reference()
pairs = near_duplicates([minhash_signature(shingles(t)) for t in topics])
print(f"{len(pairs)} of {len(topics) * (len(topics) - 1) // 2:,} pairs")
for i, j in pairs[:2]:
    print(repr(topics[i][:60]), repr(topics[j][:60]), sep="\n")

# %% [markdown]
# ## 3. Packing
#
# **Goal**: documents of all lengths into full rows, with each token's position in
# its own document.
#
# **Why it matters**: padded rows would be mostly empty, and an empty place costs as
# much as a token.

# %%
# exercise: utils.tokens.packing.pack_sequences points=4 minutes=20 difficulty=2

# %% [markdown]
# **Experiment.** Documents of the world in rows of 65. (All are short; the lecture's
# mix held long pages of Python as well.) Before you run it: if each document were
# padded to the longest, what share of all places would hold a token?

# %%
my_share = None  # between 0 and 1: your number

# %% tags=["needs:pack_sequences"]
base, tokenizer = load_base()
documents = tokenizer.encode_batch(world_corpus(3000, seed=3))
token_ids, positions = pack_sequences(documents, 64, tokenizer.end_id)
lengths = [len(document) + 1 for document in documents]
share = sum(lengths) / (len(lengths) * max(lengths))
print(f"{tuple(token_ids.shape)} ids in full rows")
compare(my_share, share, "{:.0%}", of="padded")

# %% [markdown]
# ## 4. The loss
#
# **Goal**: the mean of -log p over the targets that count.
#
# **Why it matters**: it is the one number that training obeys. A version that forgets a
# case (a huge logit, an ignored target, a batch without any) gives NaN, and one NaN
# destroys every weight.
#
# `check_targets(logits, targets)` is imported: it returns the mask of targets that
# count, and refuses what has none.

# %%
# exercise: utils.train.losses.cross_entropy points=4 minutes=15 difficulty=2

# %% [markdown]
# **Experiment.** Your loss in the real loop, on rows that you packed. A fresh model
# should begin near $\ln 1024 = 6.9$.

# %% tags=["needs:pack_sequences,cross_entropy", "nbval-ignore-output"]
shape = TransformerConfig(1024, 64, d_model=64, n_layers=2, n_heads=4)


def my_batches(step):
    """Return eight of your rows, in a fixed order."""
    first = 8 * step % (len(token_ids) - 8)
    return shift_targets(token_ids[first : first + 8])


torch.manual_seed(0)
model = Decoder(shape)
my_losses = train(model, my_batches, cross_entropy, adamw(model, lr=5e-3), 60)

# %% tags=["needs:pack_sequences,cross_entropy"]
plots.loss_curve(
    {"your loss": my_losses}, title="Your loss trains a model on your rows"
)
plt.show()
print(f"first {my_losses[0]['loss']:.1f}, after 60 steps under 4.5:", end=" ")
print(sum(r["loss"] for r in my_losses[-10:]) / 10 < 4.5)

# %% [markdown] tags=["result"]
# *Figure 1. A falling line: loss over 60 steps, from nearly seven to about three and a
# half.*

# %% [markdown]
# From here on, the experiments train on rows of the world with the course's own
# loss, so that they run whether or not you solved what stands above.

# %%
from utils.train.losses import cross_entropy as course_loss


def small_model():
    """Return an untrained model, the same one each time."""
    torch.manual_seed(0)
    shape = TransformerConfig(1024, 64, d_model=32, n_layers=1, n_heads=2)
    return Decoder(shape)


@cache
def world_rows():
    """Return what gives rows of the world by the number of the step."""
    tokenizer = load_base()[1]
    ids = tokenizer.encode_batch(world_corpus(1000, seed=3))
    stream = pack_documents(ids, tokenizer.end_id)
    return block_batches(stream, batch_size=8, context_length=64, seed=0)


# %% [markdown]
# ## 5. The update
#
# **Goal**: one step of AdamW for one tensor.
#
# **Why it matters**: nearly every large model was trained by these five lines. Two
# of them are easy to forget and cost a run: the correction of the first steps, and
# decay that goes around the means.

# %%
# exercise: utils.train.optimizers.adamw_step points=5 minutes=20 difficulty=2

# %% [markdown]
# **Experiment.** A small model, trained three times from the same start on rows of
# the world: by your step, by `torch.optim.AdamW`, and by plain gradient descent.
# How far apart will your losses and torch's be at most, over 60 steps? (Plain
# descent has the best of six rates from 0.05 to 1.)


# %% tags=["needs:adamw_step", "nbval-ignore-output"]
def losses_with(make_update):
    """Return 60 losses of a small model; make_update(weights) gives the update."""
    model = small_model()
    weights = list(model.parameters())
    update, found = make_update(weights), []
    for step in range(1, 61):
        batch = world_rows()(step - 1)
        loss = course_loss(model(batch.token_ids), batch.targets)
        model.zero_grad()
        loss.backward()
        update(step)
        found.append(loss.item())
    return found


def by_my_step(weights):
    """Return an update that calls your function for each weight."""
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]

    @torch.no_grad()
    def update(step):
        for k, w in enumerate(weights):
            new, *moments[k] = adamw_step(w, w.grad, *moments[k], step, lr=0.01)
            w.copy_(new)

    return update


def by_torch(optimizer_of):
    """Return what makes an update by one of torch's optimizers."""

    def make_update(weights):
        optimizer = optimizer_of(weights)
        return lambda step: optimizer.step()

    return make_update


# %% tags=["needs:adamw_step", "nbval-ignore-output"]
settings = {"lr": 0.01, "betas": (0.9, 0.95), "weight_decay": 0.1}
by_name = {
    "your AdamW": by_my_step,
    "torch's AdamW": by_torch(partial(torch.optim.AdamW, **settings)),
    "plain descent": by_torch(partial(torch.optim.SGD, lr=0.2)),
}
losses_by = {name: losses_with(update) for name, update in by_name.items()}

# %%
my_gap = None  # nats: your number

# %% tags=["needs:adamw_step"]
gap = max(
    abs(a - b)
    for a, b in zip(
        losses_by["your AdamW"], losses_by["torch's AdamW"], strict=True
    )
)
plots.lines(
    {name: (range(60), found) for name, found in losses_by.items()},
    title="Your step is torch's step, and both leave plain descent behind",
    xlabel="step",
    ylabel="loss (nats per token)",
)
plt.show()
compare(my_gap, math.ceil(1e4 * gap) / 1e4, "at most {} nats")

# %% [markdown] tags=["result"]
# *Figure 2. Three falling lines from nearly seven. Your losses and torch's lie on
# one another and end more than a nat below plain descent.*

# %% [markdown]
# ## 6. The learning rate
#
# **Goal**: warm-up, cosine, floor, as a function of the step alone.
#
# **Why it matters**: a schedule without state survives any restart. One that counts
# its own calls does not.

# %%
# exercise: utils.train.schedules.learning_rate points=3 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** Your function as the schedule of a real run. The loop multiplies
# the optimizer's rate by what the schedule returns, so `peak` is 1 here. What part
# of the peak is the rate at step 65, half way down from step 10 to step 120?

# %% tags=["needs:learning_rate", "nbval-ignore-output"]
model = small_model()
record = train(
    model,
    world_rows(),
    course_loss,
    adamw(model, lr=4e-3),
    130,
    schedule=lambda step: learning_rate(
        step, peak=1.0, n_steps=120, warmup_steps=10
    ),
)

# %%
my_part = None  # of the peak: your number

# %% tags=["needs:learning_rate"]
rates = [row["learning_rate"] for row in record]
plots.lines(
    {"rate in the run": (range(130), rates)},
    title="Up in ten steps, down in 110, and a floor",
    xlabel="step",
    ylabel="learning rate",
)
plt.show()
compare(my_part, rates[65] / 4e-3, "{:.2f}")

# %% [markdown] tags=["result"]
# *Figure 3. A line that rises steeply to 0.004, falls along a cosine to a tenth of
# it at step 120, and stays there.*

# %% [markdown]
# ## 7. Clipping
#
# **Goal**: scale all gradients by one factor where their joint norm is too large.
#
# **Why it matters**: one bad page in a million can undo a day. Clipping bounds what
# a single batch may do.

# %%
# exercise: utils.train.optimizers.clip_gradients points=3 minutes=10 difficulty=2

# %% [markdown]
# **Experiment.** A weight follows small gradients, and at step 30 comes one that is
# 200 times as large. Without a clip, for how many steps after that will the weight
# be more than 1 away from its place? Each step takes back a tenth of the distance.

# %%
my_steps = None  # your number

# %% tags=["needs:clip_gradients"]
paths = {}
for name, max_norm in (("clipped", 1.0), ("not clipped", math.inf)):
    weight = torch.nn.Parameter(torch.zeros(4))
    sgd = torch.optim.SGD([weight], lr=0.1)
    noise, place = generator(0), []
    for step in range(80):
        weight.grad = (
            weight.detach() - 1 + 0.2 * torch.randn(4, generator=noise)
        )
        if step == 30:
            weight.grad = weight.grad + 200.0
        clip_gradients([weight], max_norm)
        sgd.step()
        place.append((weight - 1).norm().item())  # it belongs at 1
    paths[name] = (range(80), place)
away = [sum(x > 1 for x in place[30:]) for _, place in paths.values()]
compare(my_steps, away[1], "{} steps", of="not clipped")
print(f"clipped: {away[0]} steps")
plots.lines(
    paths,
    title="One bad batch throws the weight far off, unless it is clipped",
    xlabel="step",
    ylabel="distance from its place",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 4. Two lines fall from two to nearly zero. At step 30 one leaps to about forty
# and needs nearly as many steps to come back; the clipped one hardly moves.*

# %% [markdown]
# ## 8. Writing a checkpoint
#
# **Goal**: tensors and facts into one file that is there whole or not at all.
#
# **Why it matters**: machines die while they write, too. The file that was good a
# minute ago must not be the one that is half written over.
#
# Imported for you: `save(tensors, metadata=...)` gives the bytes of a safetensors file;
# `content_hash(tensors, text)` the hash of the tensors and of a text;
# `write_flushed(path, data)` writes and flushes; `flush_folder(folder)` waits until the
# new name is on the disk as well; `UNFINISHED` begins the name of a file that is not
# yet whole.
#
# The course's `load_checkpoint` reads your file back. Of the metadata it asks for two
# texts: under `"info"` the facts as JSON, and under `"sha256"` the hash of the tensors
# and of that very text.

# %%
# exercise: utils.train.checkpoints.save_checkpoint points=4 minutes=25 difficulty=2

# %% [markdown]
# **Experiment.** One bit of a weight flips on the disk. A weight that is off by a
# little trains on without a word, unless somebody notices. The course's
# `load_checkpoint` computes the hash again and compares:

# %% tags=["needs:save_checkpoint"]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "run"
    save_checkpoint(path, {"weight": torch.ones(1000)}, {"step": 20})
    tensors, info = load_checkpoint(path)
    print(
        f"{len(tensors['weight']):,} weights of step {info['step']} came back"
    )
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    try:
        load_checkpoint(path)
    except CorruptCheckpoint as error:
        print(
            "after the flip:", str(error).replace(str(path), "the file")[:100]
        )

# %% [markdown]
# ## 9. The law
#
# **Goal**: the five numbers of $L(N, D) = E + a/N^\alpha + b/D^\beta$ that fit
# measured runs best.
#
# **Why it matters**: it turns an afternoon of small runs into a forecast of one that
# takes months.
#
# Imported: `starts(n, d, target)` gives starts (log E, log a, α, log b, β);
# `distance_of(x, n, d, target)` says how far a law is from the runs, all in
# logarithms; `descend(distance, start)` is the loop of the optimizer, L-BFGS, and
# returns the distance where it ended and the point; `check_runs` refuses what can't
# be fitted.

# %%
# exercise: utils.train.scaling.fit_scaling_law points=5 minutes=15 difficulty=2

# %% [markdown]
# **Experiment.** Your law on the runs of the lecture's sweep, all but those of the
# largest budget. That budget is three times as large as any that your law has seen.
# Put down by how much the worst of its predictions will be off.

# %%
my_error = None  # percent: your number

# %% tags=["needs:fit_scaling_law"]
runs = [run for run in load_sweep() if run["seed"] == 1]
dearest = max(run["flops"] for run in runs)
cheap = [run for run in runs if run["flops"] < dearest]
columns = ("n_parameters", "n_tokens", "loss")
law = fit_scaling_law(*([run[c] for run in cheap] for c in columns))
rows, errors = [], []
for run in runs:
    if run["flops"] == dearest:
        forecast = law.loss(run["n_parameters"], run["n_tokens"])
        errors.append(abs(forecast / run["loss"] - 1))
        row = [f"{run['n_parameters']:,}", f"{run['n_tokens']:,}"]
        rows.append([*row, f"{forecast:.2f}", f"{run['loss']:.2f}"])
print(text_table(["weights", "tokens", "forecast", "measured"], rows))
compare(my_error, 100 * max(errors), "{:.0f} %", of="off at worst")

# %% [markdown]
# ## 10. A training of your own parts
#
# Six of your functions make a training run: rows, loss, clip, rate, update and
# checkpoint. The loop around them is given; read it, it fits on a screen. It
# measures the loss on rows that are never trained on, every twenty steps, and
# writes a checkpoint there.


# %%
class Killed(Exception):
    """The machine died."""


ALL_PARTS = ("pack_sequences", "cross_entropy", "adamw_step")
ALL_PARTS += ("learning_rate", "clip_gradients", "save_checkpoint")


def my_step(model, moments, step, rows):
    """Change every weight once by your functions; return the loss."""
    batch = shift_targets(rows)  # (B, T)
    loss = cross_entropy(model(batch.token_ids), batch.targets)
    loss.backward()
    weights = list(model.parameters())
    clip_gradients(weights, max_norm=1.0)
    rate = learning_rate(step, peak=4e-3, n_steps=120, warmup_steps=10)
    with torch.no_grad():
        for k, w in enumerate(weights):
            new, *moments[k] = adamw_step(
                w, w.grad, *moments[k], step + 1, lr=rate
            )
            w.copy_(new)
            w.grad = None
    return loss.item()


# %%
def save_my_run(path, model, moments, step):
    """Write weights and both running means by your function."""
    tensors = {f"weight.{k}": w for k, w in enumerate(model.parameters())}
    for k, (first, second) in enumerate(moments):
        tensors |= {f"first.{k}": first, f"second.{k}": second}
    save_checkpoint(path, tensors, {"step": step})


def my_run_so_far(path):
    """Return model, moments and step of a checkpoint, or of a beginning."""
    model = small_model()
    weights = list(model.parameters())
    if not path.exists():
        zeros = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
        return model, zeros, 0
    found, info = load_checkpoint(path)
    with torch.no_grad():
        for k, w in enumerate(weights):
            w.copy_(found[f"weight.{k}"])
    kept = range(len(weights))
    moments = [(found[f"first.{k}"], found[f"second.{k}"]) for k in kept]
    return model, moments, info["step"]


# %%
def my_training(folder, rows, held_out, die_at=None):
    """Return losses by step and validation losses, going on where it stopped."""
    path = Path(folder) / "run"
    model, moments, first_step = my_run_so_far(path)
    losses, validation = {}, {}
    for step in range(first_step, 120):
        if step == die_at:
            raise Killed(f"at step {step}")
        start_row = 8 * step % (len(rows) - 8)
        batch = rows[start_row : start_row + 8]
        losses[step] = my_step(model, moments, step, batch)
        if (step + 1) % 20 == 0:
            save_my_run(path, model, moments, step + 1)
            with torch.inference_mode():
                new = shift_targets(held_out)
                value = cross_entropy(model(new.token_ids), new.targets)
            validation[step + 1] = value.item()
    return losses, validation


# %% [markdown]
# Run it twice. The second run is killed at step 67, everything in memory is thrown
# away, and it is started again. The newest checkpoint is that of step 60. Of the 60
# losses from there on, how many will be equal to the first run's, to the last bit?

# %% tags=["needs:pack_sequences,cross_entropy,adamw_step,learning_rate,clip_gradients,save_checkpoint", "nbval-ignore-output"]
my_rows, _ = pack_sequences(
    load_base()[1].encode_batch(world_corpus(3000, seed=3)),
    64,
    load_base()[1].end_id,
)
parts = my_rows[:-64], my_rows[-64:]  # to train on, to measure on
with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
    whole, validation = my_training(one, *parts)
    try:
        my_training(two, *parts, die_at=67)
    except Killed as error:
        print("killed", error)
    resumed, _ = my_training(two, *parts)
print(f"went on from step {min(resumed)}")

# %%
my_equal = None  # of 60: your number

# %% tags=["needs:pack_sequences,cross_entropy,adamw_step,learning_rate,clip_gradients,save_checkpoint"]
equal = sum(whole[step] == loss for step, loss in resumed.items())
compare(my_equal, equal, f"{{}} of {len(resumed)}", of="equal")
plots.lines(
    {
        "training": (list(whole), list(whole.values())),
        "validation": (list(validation), list(validation.values())),
    },
    title="Your parts train a model, and rows never seen get easier too",
    xlabel="step",
    ylabel="loss (nats per token)",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 5. Two falling lines, from nearly seven to about four. The validation losses
# lie on the training line: with text enough, nothing is learned by heart in 120 steps.*

# %% [markdown]
# ## 11. Written answer (3 points)
#
# A hospital wants its own model, trained on 40,000 letters of discharge. Many are
# copies with another date; each ends with the same two paragraphs and with the
# name and telephone number of the ward's doctor. A colleague proposes to train on
# everything "since more data is better", and to test with questions that she has
# taken from some of the letters.
#
# In five to eight sentences: (a) what will the model recite, and which measurement
# of this unit would show it before release? (b) Which stages would you put before
# the training, in which order, and what does each remove here? (c) What is wrong
# with the test, and what would you do instead?
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* What stands in the letters hundreds of times will be known by
# heart: the two closing paragraphs, and the names and numbers of the doctors.
# Verbatim extraction shows it: give the model the beginning of such passages and
# count how many it completes word by word, by how often they stood in the text. I
# would first clean the letters and cut off the common closing, since otherwise all
# letters look alike to the next stage; then take out names and numbers as far as
# rules can; then remove near-copies by MinHash, keeping one letter of each group;
# then decontaminate against the test questions. The test is spoilt because its
# questions come from letters that are also trained on, so it measures memory. I
# would set some patients aside entirely, before any stage, write the questions from
# their letters alone, and check that no run of eight words of a question stands in
# the training text. I would keep the table of what each stage removed, and have
# somebody read a sample of both piles.
#
# *Rubric.* 1 point: names what is recited and a measurement by extraction. 1 point:
# stages in an order with a reason, near-copies and personal data among them. 1
# point: the test is contaminated; holds out whole patients or letters and checks
# the overlap.
# <!-- END SOLUTION -->
