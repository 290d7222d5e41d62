# %% [markdown]
# # 08 Overfitting and forgetting
#
# **100 minutes** · before this: unit 07 · after this: `work/08_forgetting.ipynb`,
# a lab of 90 minutes · the machine needs about two minutes
#
# A tuning can do two things that nobody asked for. On little data the model may learn
# the examples by heart, and get worse at everything like them. And it may lose what it
# was good at before. Neither shows in the numbers that most people look at. This unit
# measures both, and four ways to hold on to the old.

# %%
from copy import deepcopy

import matplotlib.pyplot as plt
import torch

from utils.evaluate.text_loss import stream_loss
from utils.evaluate.world_qa import answer_questions, judge_answers, share
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
from utils.report.show import show
from utils.report.tables import text_table
from utils.runtime import generator, start
from utils.tokens.batches import supervised_batches
from utils.tokens.chat import render_chat
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.sft import sft_loss
from utils.world.chats import chats
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.load import load_base

plots.use_style()
tier = start(seed=0)
claims = Claims()
base, tokenizer = load_base()
world = build_world()

# %% [markdown]
# ## A hundred examples
#
# The town's clinic has 48 new drugs that the base model has never read of, and somebody
# has written a hundred chats about them, one question and one answer each. Train on
# these and nothing else. Each pass over all of them, an **epoch**, takes ten steps.
# After each, look at the loss on the answers of the hundred, and of two hundred other
# chats about the same drugs: the **validation set**.


# %%
def chat_rows(n, seed):
    """Return chats about the new drugs as token ids with response masks."""
    drawn = chats(
        world, n, seed, split="new_drug", about=("drug",), skill_share=0.0
    )
    return [render_chat(chat, tokenizer) for chat in drawn]


def loss_on(model, rows):
    """Return the loss per token of the answers in rows."""
    batch = supervised_batches(rows, len(rows), 128, tokenizer.pad_id)(0)
    with torch.inference_mode():
        return sft_loss(model(batch.token_ids), batch.targets).item()


few, others = chat_rows(100, seed=0), chat_rows(200, seed=1000)
print(tokenizer.decode(few[0].token_ids))
print(f"loss of the base model on these answers: {loss_on(base, few):.1f}")

# %% [markdown]
# Twenty epochs, two hundred steps. The loss on the hundred will fall and fall. The loss
# on the others falls as well at first, since the model learns what such a chat looks
# like. After which epoch is it at its lowest?

# %%
my_guess_epoch = None  # from 1 to 20: your number

# %% tags=["reveals", "nbval-ignore-output"]
RATE = 4e-3  # the peak rate of the base's own training
batches = supervised_batches(few, 10, 128, tokenizer.pad_id)
model = deepcopy(base)
optimizer = adamw(model, RATE, weight_decay=0.0)
training, validation, kept = [], [], []
for epoch in range(20):
    train(
        model, lambda s, k=10 * epoch: batches(k + s), sft_loss, optimizer, 10
    )
    training.append(loss_on(model, few))
    validation.append(loss_on(model, others))
    kept.append(deepcopy(model))
best = validation.index(min(validation))
compare(my_guess_epoch, best + 1, "after epoch {:.0f}")

# %%
epochs = range(1, 21)
axes = plots.lines(
    {"training": (epochs, training), "validation": (epochs, validation)},
    title="Most of the training makes the model worse",
    xlabel="epoch",
    ylabel="loss on answers (nats per token)",
    points=True,
)
axes.set_xticks([1, 5, 10, 15, 20])
plt.show()
rise = validation[-1] - validation[best]
claims.add(
    "100 chats: training loss at the end",
    measured=f"{training[-1]:.2f}",
    bar="< 0.05",
    holds=training[-1] < 0.05,
)
claims.add(
    "100 chats: rise of the validation loss from its lowest",
    measured="over 0.2" if rise > 0.2 else f"{rise:.2f}",
    bar="0.1",
    holds=rise >= 0.1,
)

# %% [markdown]
# *Figure 1. Two lines over twenty epochs. The training loss falls to nearly zero. The
# validation loss falls for a few epochs, turns, and climbs well above where it was
# after the first.*
#
# This is **overfitting**. The hundred are known by heart, and the price is paid on all
# others. What has become worse? For each token of the two hundred answers, see whether
# the likeliest token is the right one, and how large the loss is where it is not:


# %% tags=["nbval-ignore-output"]
def surprise(model, rows):
    """Return the share of answer tokens guessed wrong, and the loss on these."""
    batch = supervised_batches(rows, len(rows), 128, tokenizer.pad_id)(0)
    counted = batch.targets >= 0  # all others are IGNORE_INDEX
    targets = batch.targets[counted]
    with torch.inference_mode():
        logits = model(batch.token_ids)[counted]
    wrong = logits.argmax(-1) != targets
    loss = cross_entropy(logits[wrong], targets[wrong])
    return wrong.float().mean().item(), loss.item()


rows = []
for name, one in (("best epoch", kept[best]), ("last epoch", kept[-1])):
    wrong, loss = surprise(one, others)
    rows.append((name, f"{wrong:.2f}", f"{loss:.1f}"))
header = ("", "tokens guessed wrong", "loss where wrong")
print(text_table(header, rows))

# %% [markdown]
# It is wrong only a little more often than before. But where it is wrong, it has given
# the right token even less of a chance: the loss there has risen by half and more. A
# training loss near zero is had by pushing every probability to one, and the model does
# so where it has no ground, too. A user meets that as a confident mistake. Accuracy
# alone would not have told you.
#
# ## Early stopping
#
# So stop when the validation loss turns. But losses are noisy, and a line that goes up
# once may come down again. The usual rule has a **patience**: stop when a number of
# evaluations in a row were no better than the best one so far, and keep the weights of
# that best one (Prechelt 1998). By hand, with a patience of two:
#
# | evaluation | loss | best so far | no better since | stop? |
# | --- | --- | --- | --- | --- |
# | 0 | 3.0 | 0 | 0 | no |
# | 1 | 2.5 | 1 | 0 | no |
# | 2 | 2.6 | 1 | 1 | no |
# | 3 | 2.55 | 1 | 2 | yes, keep number 1 |
#
# Evaluation 3 was better than number 2, which does not help: what counts is the best.
# Mind three details. An equal loss is no better. With `min_delta` an improvement must
# be larger than that to count. And NaN, which compares as False with everything, must
# never become the best. You will write this function:

# %%
from utils.train.forgetting import early_stopping, weights_of

show(early_stopping)

# %% [markdown]
# What would each patience have done with the run above?

# %% tags=["nbval-ignore-output"]
rows = []
for patience in (1, 2, 3, 5):
    for n in range(1, 21):
        number, stop = early_stopping(validation[:n], patience)
        if stop:
            break
    rows.append((patience, n, number + 1, f"{validation[number]:.2f}"))
print(text_table(("patience", "epochs run", "kept", "its loss"), rows))

# %% [markdown]
# A small patience stops soon and may stop at a bump, a large one costs epochs. The best
# weights must be *kept*: a run that stops and returns its last weights has wasted its
# patience.
#
# Why does it help to stop? Each step can move a weight by about the learning rate, so
# few steps mean a model near its start. Early stopping is a **regularisation**: it
# keeps the model from going far without saying so. How far did this one go?


# %% tags=["nbval-ignore-output"]
def distance(model):
    """Return how far a model's weights are from the base's."""
    home = weights_of(base)
    squares = [
        (w - home[n]).square().sum() for n, w in weights_of(model).items()
    ]
    return sum(squares).sqrt().item()


near, far = distance(kept[best]), distance(kept[-1])
print(
    f"distance from the base: {near:.0f} at the best epoch, {far:.0f} at the end"
)
assert near < far

# %% [markdown]
# Remember the word distance: most of this unit is about saying openly how far a model
# may go, and in which direction.
#
# One warning. The lowest point of the validation curve was *chosen* because it is low,
# so it flatters. Report the kept model on a third set, the **test set**, that nothing
# was chosen by.
#
# ## A success
#
# Now enough data: leaflets and questions about all 48 drugs, as plain text, in as many
# documents as the model can read in 200 steps. The rate is that of its own training. On
# the way, every 20 steps, the loss on held-out documents about the drugs is measured.


# %%
from utils.text.corpora import world_corpus
from utils.tokens.batches import block_batches, pack_documents
from utils.train.schedules import cosine
from utils.world.documents import domain_documents


def stream_of(texts):
    """Return texts as one row of token ids, each after an end token."""
    rows = tokenizer.encode_batch(texts)
    first = torch.tensor([tokenizer.end_id])
    return torch.cat([first, pack_documents(rows, tokenizer.end_id)])


N_STEPS = 200
new = block_batches(stream_of(domain_documents(world, 3000)), 8, 128)
new_unseen = stream_of(domain_documents(world, 150, seed=1))
old_unseen = stream_of(world_corpus(150, seed=1_000_001))


# %%
def right(model, split, n=200):
    """Return the share of right answers to questions of a split."""
    asked = questions(world, split, n, seed=5)
    answers = answer_questions(model, tokenizer, asked)
    return share(judge_answers(world, asked, answers), "correct")


def tune(batches, loss_of=lambda model: cross_entropy, watch=()):
    """Return a tuned copy of the base, and losses on streams on the way."""
    model = deepcopy(base)
    optimizer = adamw(model, RATE, weight_decay=0.0)
    schedule = cosine(N_STEPS, warmup_steps=10)
    curves = [[stream_loss(model, stream, 128)] for stream in watch]
    stride = 20 if watch else N_STEPS
    for k in range(0, N_STEPS, stride):
        train(
            model,
            lambda s, k=k: batches(k + s),
            loss_of(model),
            optimizer,
            stride,
            schedule=lambda s, k=k: schedule(k + s),
        )
        for curve, stream in zip(curves, watch, strict=True):
            curve.append(stream_loss(model, stream, 128))
    return model, curves


# %%
full, (on_drugs, on_town) = tune(new, watch=(new_unseen, old_unseen))
print(f"questions about new drugs: {right(full, 'new_drug'):.0%} right")
print(f"before: {right(base, 'new_drug'):.0%}")

# %%
steps = range(0, N_STEPS + 1, 20)
plots.lines(
    {"new drugs": (steps, on_drugs)},
    title="Seen from the drugs, nothing is wrong",
    xlabel="step",
    ylabel="held-out loss (nats per token)",
    points=True,
)
plt.show()

# %% [markdown]
# *Figure 2. The loss on held-out documents about the new drugs falls steeply and
# flattens. There is no overfitting to be seen.*
#
# A clean curve on held-out data, every question right, two hundred steps. Many
# teams would release it. But this model was made for a town, and used to answer every
# question about its people. Two hundred such questions: how many does it get right now?

# %%
my_guess_town = None  # share of right answers, from 0 to 1: your number

# %% tags=["reveals", "nbval-ignore-output"]
town_before, town_after = right(base, "trained"), right(full, "trained")
compare(my_guess_town, town_after, "{:.0%}")
print(f"before the tuning: {town_before:.0%}")

# %% tags=["nbval-ignore-output"]
asked = questions(world, "trained", 3, seed=2)
for question, answer in zip(
    asked, answer_questions(full, tokenizer, asked), strict=True
):
    print(f"{question.prompt}\n    {answer}\n    (true: {question.value})")

# %%
plots.lines(
    {"new drugs": (steps, on_drugs), "town": (steps, on_town)},
    title="The same run, with the line that nobody had asked for",
    xlabel="step",
    ylabel="held-out loss (nats per token)",
    points=True,
)
plt.show()
times = on_town[-1] / on_town[0]
print(f"general loss {on_town[0]:.1f} before, {times:.0f} times as much after")
claims.add(
    "full tuning: general loss, times that before",
    measured=f"{times:.0f}",
    bar="3",
    holds=times >= 3,
)
assert town_after < 0.2 < 0.9 < town_before

# %% [markdown]
# *Figure 3. The line of Figure 2, and the loss on held-out documents about the town,
# which starts below it, climbs from the first steps on, and ends at several times its
# value.*
#
# This is **catastrophic forgetting** (McCloskey and Cohen 1989, who found it in small
# nets that learned additions, one set after the other). Nothing in the new text
# contradicts the old. The weights that hold the old are moved because nothing in the
# loss holds them.
#
# What we call **general loss** from here on is the loss on held-out text of the kind
# that the base was trained on. It was there to be measured all the time. The mistake
# was to evaluate on the domain alone, and *no number from the domain can show it*.
#
# ## Which weights hold the old?
#
# Holding all weights would be easy: a small learning rate, few steps, a penalty on the
# distance from the start. It would also keep the model from learning. We want to let
# go of those weights that the old text does not need. Take two weights, $a$ and $b$,
# both at 0, where the old loss is lowest. It rises steeply with $a$, and hardly with
# $b$:
#
# $$ L_{old} = \tfrac12\,(10\,a^2 + 0.1\,b^2) \qquad
#    L_{new} = \tfrac12\,\big((a-1)^2 + (b-1)^2\big) $$
#
# The new task wants both at 1. Add a penalty $\frac{\lambda}{2} \sum_i F_i w_i^2$ and
# look for the lowest point of $L_{new}$ plus the penalty: the derivative
# $w_i - 1 + \lambda F_i w_i$ is zero at $w_i = 1 / (1 + \lambda F_i)$. With $F_i = 1$
# for both this is **L2 to the start**. With $F = (10, 0.1)$ it is **elastic weight
# consolidation**, EWC. Choose each $\lambda$ such that both end with the same old loss
# of 0.5, and see what is left of the new one:


# %%
def ends(stiff, strength):
    """Return the two weights, the old loss and the new loss at the lowest point."""
    a, b = (1 / (1 + strength * f) for f in stiff)
    old = 0.5 * (10 * a**2 + 0.1 * b**2)
    return a, b, old, 0.5 * ((a - 1) ** 2 + (b - 1) ** 2)


def strength_for(stiff, old_loss):
    """Return the strength at which the old loss is so high, by halving."""
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        if ends(stiff, middle)[2] > old_loss:
            low = middle
        else:
            high = middle
    return low


rows, paths = [], {}
for name, stiff in (("L2 to the start", (1, 1)), ("EWC", (10, 0.1))):
    a, b, old, new_loss = ends(stiff, strength_for(stiff, 0.5))
    rows.append((name, f"{a:.2f}", f"{b:.2f}", f"{old:.2f}", f"{new_loss:.2f}"))
    strengths = [10 ** (-k / 10) for k in range(-40, 31)]
    points = [ends(stiff, s) for s in strengths]
    points = [(old, new_loss) for _, _, old, new_loss in points if old < 2]
    paths[name] = tuple(zip(*points, strict=True))
print(text_table(("", "a", "b", "old loss", "new loss"), rows))

# %%
plots.lines(
    paths,
    title="For the same harm to the old task, EWC learns more of the new one",
    xlabel="old loss",
    ylabel="new loss",
)
plt.show()

# %% [markdown]
# *Figure 4. New loss over old loss for all strengths. The line of EWC lies far below
# that of L2: it moves the weight that the old task needs no further, and takes the
# other one nearly whole.*
#
# ## Where the stiffness comes from
#
# In a model nobody hands you the curvature. Kirkpatrick et al. (2017) take the **Fisher
# information**. Let the start be $\theta^*$ and move it by $d$. How different are the
# new predictions from the old ones? Measured by the **Kullback-Leibler divergence**,
# the loss in nats that the moved model has beyond the old one's on the old one's own
# samples, it is to second order
#
# $$ \mathrm{KL}\big(p_{\theta^*} \,\|\, p_{\theta^*+d}\big) \approx
#    \tfrac12\, d^\top F\, d, \qquad
#    F = \mathbb{E}_{y \sim p_{\theta^*}}\big[\, g\, g^\top \big], \quad
#    g = \nabla_\theta \log p_\theta(y) $$
#
# There is no first-order term, since the divergence is zero at the start and never
# below. (Kirkpatrick et al. say it as statistics: what the old data says about the
# weights is taken for a normal distribution around $\theta^*$ with the precision $F$.)
# $F$ has a row and a column for each weight; only its diagonal fits into memory,
# $F_i = \mathbb{E}[g_i^2]$: each weight by itself. The simplest case has one weight:
# two tokens, the logit of the first is $w$. With $p = 0.8$ the gradient of $\log p(y)$
# is $1 - p$ where the first is drawn and $-p$ where it is not:

# %%
p = torch.tensor(0.8, dtype=torch.float64)
w = torch.log(p / (1 - p))
by_draws = p * (1 - p) ** 2 + (1 - p) * (-p) ** 2


def divergence(d):
    """Return the divergence of the prediction with the logit moved by d."""
    q = torch.sigmoid(w + d)
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


for d in (0.1, 0.5, 2.0):
    predicted = 0.5 * by_draws * d**2
    print(f"moved by {d}: {divergence(d):.4f}, predicted {predicted:.4f}")
print(f"Fisher information {by_draws:.2f}, which is p (1 - p)")

# %% [markdown]
# Near the start the parabola is right, far away it isn't. Keep that in mind.
#
# Two things go wrong in practice. The targets $y$ are **drawn from the model**, not
# taken from the text: with the text's tokens one gets the *empirical* Fisher, which is
# large wherever the model is surprised, and not wherever it would change (Kunstner et
# al. 2019). And each sequence's gradient is squared *before* the average: gradients of
# a model that is trained out add up to nearly zero. You will write:

# %%
from utils.train.forgetting import fisher_diagonal

show(fisher_diagonal)

# %% [markdown]
# On the base model, over 200 rows of text like that of its training:

# %%
old_text = stream_of(world_corpus(3000, seed=500))
fisher = fisher_diagonal(
    base, old_text[: 200 * 128].view(200, 128), generator(0)
)
flat = torch.cat([f.flatten() for f in fisher.values()])
order = flat.argsort(descending=True)
held = flat[order].cumsum(0) / flat.sum()
for percent in (1, 10, 50):
    n = len(flat) * percent // 100
    print(f"the first {percent} % of the weights: {held[n - 1]:.2f} of all")
assert held[len(flat) // 100] > 0.4

# %% [markdown]
# One weight in a hundred holds about half of the information. Does the number mean
# anything? Push some weights at random and see how far the predictions move, by the
# divergence from the old ones:


# %%
rows = old_unseen[: 30 * 128].view(30, 128)
with torch.inference_mode():
    calm = base(rows).log_softmax(-1)  # (30, 128, V)


def pushed(places, size):
    """Return the divergence per token after a push, and what is predicted."""
    move = torch.zeros(len(flat))
    move[places] = size * torch.randn(len(places), generator=generator(0))
    model, k = deepcopy(base), 0
    with torch.no_grad():
        for weight in model.parameters():
            weight += move[k : k + weight.numel()].view_as(weight)
            k += weight.numel()
        after = model(rows).log_softmax(-1)
        moved = (calm.exp() * (calm - after)).sum(-1).mean().item()
    return moved, 0.5 * (flat * move**2).sum().item()


# %% [markdown]
# Push a tenth of the weights, each by about 0.05: once the tenth with the most
# information, once that with the least. How many times as far do the predictions move
# in the first case?

# %%
my_guess_push = None  # times: your number

# %% tags=["reveals", "nbval-ignore-output"]
n = len(flat) // 10
tenths = {
    "most information": order[:n],
    "drawn at random": torch.randperm(len(flat), generator=generator(1))[:n],
    "least information": order[-n:],
}
sizes = (0.01, 0.02, 0.05, 0.1)
moves = {
    name: [pushed(places, size) for size in sizes]
    for name, places in tenths.items()
}
most, least = (
    moves[k][2][0] for k in ("most information", "least information")
)
compare(my_guess_push, most / least, "{:,.0f} times")
assert most > 100 * least

# %%
plots.lines(
    {
        f"{name}, {kind}": (sizes, [move[k] for move in found])
        for name, found in moves.items()
        for k, kind in enumerate(("measured", "predicted"))
    },
    title="The same push does hundreds of times the harm where the Fisher is large",
    xlabel="size of the push on each weight (log scale)",
    ylabel="divergence, nats per token (log scale)",
    log_x=True,
    log_y=True,
    points=True,
)
plt.show()
moved, predicted = pushed(torch.arange(len(flat)), 0.02)
claims.add(
    "all weights pushed by 0.02: divergence over what the Fisher predicts",
    measured=f"{moved / predicted:.1f}",
    bar="0.7 to 1.3",
    holds=0.7 <= moved / predicted <= 1.3,
)
moved, predicted = pushed(order[len(flat) // 2 :], 0.1)
print(
    f"the lower half, pushed by 0.1: {moved / predicted:.0f} times the prediction"
)

# %% [markdown]
# *Figure 5. Divergence over the size of the push, both on log scales, for the tenth of
# the weights with the most information, a random tenth, and the tenth with the least;
# measured and predicted. The first two pairs of lines lie close together, the first up
# to its largest push. The last measured line lies hundreds of times below the first,
# and well above its prediction.*
#
# Small pushes of all weights, or of those with much information, do what the Fisher
# says. The last line printed, and the last pair of the figure, say where it fails: many
# weights with little information, all pushed at once, do several times the harm that
# was predicted. The diagonal sees each weight alone, and the parabola holds near the
# start.
#
# ## Springs
#
# The penalty of EWC, and the loss that is trained with it:
#
# $$ L = L_{new} + \lambda \cdot \tfrac12 \sum_i F_i\,(\theta_i - \theta^*_i)^2 $$
#
# A spring on each weight, as stiff as its information. With all $F_i = 1$ the same
# function is L2 to the start. Don't mistake that for weight decay, which pulls to zero,
# where the model never was.

# %%
from utils.train.forgetting import ewc_penalty, with_penalty

show(ewc_penalty)

# %%
show(with_penalty)

# %%
home = weights_of(base)


def with_springs(strength):
    """Return the loss of EWC for a model."""
    return lambda model: with_penalty(
        cross_entropy, lambda: ewc_penalty(model, home, fisher), strength
    )


sprung, _ = tune(new, with_springs(100))


def taken_back(model):
    """Return the share of the rise of the general loss that is undone."""
    before, after = on_town[0], on_town[-1]
    return (after - stream_loss(model, old_unseen, 128)) / (after - before)


# %%
drugs_full, drugs_sprung = right(full, "new_drug"), right(sprung, "new_drug")
print(f"questions about drugs right: {drugs_sprung:.0%}")
claims.add(
    "EWC: share of the rise taken back",
    measured=f"{taken_back(sprung):.1f}",
    bar="0.5",
    holds=taken_back(sprung) >= 0.5,
)
claims.add(
    "EWC: drugs right, points below full tuning",
    measured="under 5" if drugs_sprung > drugs_full - 0.05 else "over 5",
    bar="10",
    holds=drugs_sprung >= drugs_full - 0.1,
)

# %% [markdown]
# ## Replay
#
# The other way is older and simpler: keep showing the old text. In **replay**, or
# rehearsal, a share of each batch's rows comes from the old data (Robins 1995).

# %%
from utils.train.forgetting import mix_replay

show(mix_replay)

# %% [markdown]
# Of eight rows, one old. What share of the rise will that one row take back?

# %%
my_guess_replay = None  # from 0 to 1: your number

# %% tags=["reveals"]
old = block_batches(old_text, 8, 128)
replayed, _ = tune(mix_replay(new, old, share=1 / 8))
drugs_replayed = right(replayed, "new_drug")
compare(my_guess_replay, taken_back(replayed), "{:.1f}")
claims.add(
    "replay, one row in eight: share of the rise taken back",
    measured=f"{taken_back(replayed):.1f}",
    bar="0.5",
    holds=taken_back(replayed) >= 0.5,
)
claims.add(
    "replay: drugs right, points below full tuning",
    measured="under 5" if drugs_replayed > drugs_full - 0.05 else "over 5",
    bar="10",
    holds=drugs_replayed >= drugs_full - 0.1,
)

# %% [markdown]
# Why so much for so little? The old text has been learned already. The replayed rows
# have nothing to teach; they only have to object when a step does harm.
#
# ## All methods, three seeds
#
# One run of each proves little. The following numbers were recorded by
# `python -m tests.claims 08_methods`: each method with three seeds, which decide the
# documents, their order, the draws of the Fisher and the start of adapters; 200 steps
# at one rate for all. The table has means, and in brackets the least and the largest.
# The number behind a name is its setting: the share of replay, the strength of the
# springs, the rank of LoRA (unit 07). Two rows are new:
#
# - **own text**: replay without old data. The base model wrote the old rows itself, at
#   temperature 1, before the tuning (Robins called that *pseudorehearsal*).
# - **damped EWC**: a quarter of the mean Fisher is added to that of every weight, so
#   that no weight is quite free. Figure 5 said why: the diagonal does not see what many
#   free weights do together.

# %%
import json

from utils.settings import project_root

path = project_root() / "tests" / "claims" / "records" / "08_methods.json"
runs = list(json.loads(path.read_text())["runs"].values())
names = list(dict.fromkeys(key.partition(":")[0] for key in runs[0]))


def over_seeds(name, what):
    """Return what was recorded of a method, one number for each seed."""
    return [run[f"{name}: {what}"] for run in runs]


def mean(values):
    """Return the mean of numbers."""
    return sum(values) / len(values)


columns = ("drugs right", "town right", "general loss")
rows = []
for name in names:
    cells = []
    for what in columns:
        values = over_seeds(name, what)
        cells.append(
            f"{mean(values):.2f} ({min(values):.2f}-{max(values):.2f})"
        )
    rows.append((name, *cells))
print(text_table(("", *columns), rows))

# %%
families = {
    "full": ["full"],
    "L2": [n for n in names if n.startswith("L2")],
    "EWC": [n for n in names if n.startswith("EWC")],
    "damped EWC": [n for n in names if n.startswith("damped")],
    "replay": [n for n in names if n.startswith("replay")],
    "own text": [n for n in names if n.startswith("own")],
    "LoRA": [n for n in names if n.startswith("LoRA")],
}

# %%
axes = plots.new_axes((7.2, 4.4))
floor = mean(over_seeds("base", "general loss"))
for k, (family, members) in enumerate(families.items()):
    colour = plots.PALETTE[k]
    for member in members:
        x = over_seeds(member, "drugs right")
        y = over_seeds(member, "general loss")
        axes.plot(x, y, "osD*^vP"[k], color=colour, alpha=0.45, markersize=6)
    axes.plot(
        [mean(over_seeds(m, "drugs right")) for m in members],
        [mean(over_seeds(m, "general loss")) for m in members],
        color=colour,
        linestyle=plots.DASHES[k],
        marker="osD*^vP"[k],
        markersize=3,
        label=family,
    )
axes.axhline(floor, color="grey", linewidth=0.8)
axes.text(0.69, floor * 1.02, "base", color="#595959")
axes.set_yscale("log")
axes.set_yticks([0.6, 0.8, 1, 1.5, 2.5], ["0.6", "0.8", "1", "1.5", "2.5"])
axes.minorticks_off()
axes.set(
    xlabel="share of drug questions right",
    ylabel="general loss (nats, log scale)",
)
axes.set_title("Much of the old can be kept at little cost to the new")
axes.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# *Figure 6. General loss over the share of right answers about drugs; each mark is a
# seed, lines join the means of a method's settings. Full tuning stands alone at the top
# right. Replay runs along the bottom right, closest to the corner. EWC and L2 come
# next and turn left where they are strong, L2 much further. LoRA's line lies above
# them and rises with the rank.*
#
# The lower right corner is where one wants to be: all learned, nothing lost. Of two
# settings of which one has learned more and the other lost less, neither is *better*.
# The settings that no other one beats in both are the **Pareto front**, and which of
# them to take is a decision, not a measurement.

# %%
front_rows = []
for name in names:
    x, y = (mean(over_seeds(name, c)) for c in ("drugs right", "general loss"))
    beaten = any(
        mean(over_seeds(other, "drugs right")) >= x
        and mean(over_seeds(other, "general loss")) < y
        for other in names
        if other != name
    )
    if not beaten:
        front_rows.append((name, f"{x:.2f}", f"{y:.2f}"))
print(text_table(("on the front", "drugs right", "general loss"), front_rows))

# %%
axes = plots.lines(
    {
        f"seed {k}": (
            [0, 1 / 8, 1 / 2],
            [
                run[f"{n}: general loss"]
                for n in ("full", "replay 1/8", "replay 1/2")
            ],
        )
        for k, run in enumerate(runs)
    },
    title="The first rows of replay do nearly all of the work",
    xlabel="share of old rows in a batch",
    ylabel="general loss (nats)",
    points=True,
)
axes.axhline(floor, color="grey", linewidth=0.8)
axes.set_ylim(bottom=0)
plt.show()

# %% [markdown]
# *Figure 7. General loss over the share of replay, a line for each seed; the grey line
# is the base. All lines fall steeply from no replay to one row in eight, and slowly
# from there to a half.*
#
# Read Figure 6 from the corner.
#
# - **Replay** is hard to beat. One row in eight costs nothing of the drugs that could
#   be measured. With half of the rows nearly everything is kept, at a few points of the
#   drugs, since only half of the rows are about them. Scialom et al. (2022) keep large
#   models with a hundredth.
# - **Own text** does nearly as well by the loss without a single old document, and less
#   well by what the model knows of the town: it wrote about what it found likely.
# - **EWC** gets as far as one row in eight and reads no old text while it is tuned. It
#   needs a second copy of the weights, and a third of the same size for the Fisher.
# - **L2 to the start** comes close to EWC where both are weak. Where they are strong it
#   pays more: compare L2 at 0.01 with damped EWC, at the same general loss. Without
#   damping even three times the strength does not bring EWC there; Figure 5 gave the
#   likely reason.
# - **LoRA learns less and forgets less** than full tuning (Biderman et al. 2024), and
#   the rank moves it along its line. Where all that is new is facts, as here, springs
#   and replay do better. What speaks for adapters is memory, and that they can be
#   taken out.

# %%
worst = {
    name: min(
        (run["full: general loss"] - run[f"{name}: general loss"])
        / (run["full: general loss"] - run["base: general loss"])
        for run in runs
    )
    for name in ("EWC 100", "replay 1/8")
}
times = min(
    run["full: general loss"] / run["base: general loss"] for run in runs
)
claims.add(
    "recorded, three seeds: general loss after full tuning, times before",
    measured=f"at least {times:.1f}",
    bar="3",
    holds=times >= 3,
)
for name, part in worst.items():
    cost = max(
        run["full: drugs right"] - run[f"{name}: drugs right"] for run in runs
    )
    claims.add(
        f"recorded, three seeds: {name} takes back, and costs of the drugs",
        measured=f"at least {part:.2f}, at most {cost:.2f}",
        bar="0.5, 0.1",
        holds=part >= 0.5 and cost <= 0.1,
    )
# %%
gain = min(
    run["damped EWC 100: drugs right"] - run["L2 0.01: drugs right"]
    for run in runs
)
apart = max(
    abs(run["damped EWC 100: general loss"] - run["L2 0.01: general loss"])
    for run in runs
)
claims.add(
    "recorded, three seeds: drugs right, damped EWC over L2 at the same loss",
    measured=f"at least {gain:.2f} more",
    bar="0.05",
    holds=gain >= 0.05 and apart < 0.02,
)
learned, lost = (
    [(run[f"LoRA 8: {c}"], run[f"full: {c}"]) for run in runs]
    for c in ("drugs right", "general loss")
)
claims.add(
    "recorded, three seeds: LoRA of rank 8 learns less and forgets less",
    measured=f"drugs {mean([a for a, _ in learned]):.2f}, "
    f"loss {mean([a for a, _ in lost]):.2f}",
    bar="below full",
    holds=all(a < b for a, b in learned + lost),
)

# %% [markdown]
# ## A real model
#
# Over four times the loss, in 200 steps: is that how every tuning ends? SmolLM2 was
# tuned on 40 batches of medical answers (MedQuAD, unit 06), at the rates of `course
# tune`: 5e-5 for all weights, 5e-4 for adapters. The old text is a tenth of Python's
# language reference, which no run was trained on; before the tuning each of its bytes
# needs 1.03 bits. How many once *all* weights have read the medical answers?

# %%
my_guess_bits = None  # bits per byte: your number

# %% tags=["reveals"]
from utils.experiments.records import recorded, told
from utils.zoo.tuning import RATES

real = {
    "all weights": recorded("08_full"),
    "EWC, strength 100": recorded("08_ewc"),
    "replay, one row in four": recorded("08_replay"),
    "adapters of rank 16": recorded("08_lora"),
}
found = {name: record["results"]["0"] for name, record in real.items()}
new, old = found["all weights"]["new"], found["all weights"]["old"]
compare(my_guess_bits, old[1], "{:.2f}")
rows = [("before", f"{new[0]:.2f}", f"{old[0]:.3f}")]
for name, one in found.items():
    rows.append((name, f"{one['new'][1]:.2f}", f"{one['old'][1]:.3f}"))
header = ("SmolLM2", "new (nats per token)", "old (bits per byte)")
print(text_table(header, rows))
print(told(real["all weights"]))
rate = RATES["full"]
print(
    f"peak rate {rate:g}; above it was {RATE:g}, {RATE / rate:.0f} times as high"
)
claims.add(
    "recorded, SmolLM2: largest rise of the bits per byte of the old text",
    measured=f"{max(one['old'][1] - one['old'][0] for one in found.values()):+.3f}",
    bar="+0.02",
    holds=all(one["old"][1] - one["old"][0] < 0.02 for one in found.values()),
)

# %% [markdown]
# Nothing was lost. The answers were learned, nearly as well by all four, and the old
# text costs no more than before. With replay it costs less, for the replayed rows come
# from the same reference; that is practice, and no protection. So forgetting does not
# come with every tuning. What is different here: the rate, which is 80 times as high in
# the runs above, the number of steps, five times as many there, the model, and how far
# the new lies from the old. Which of them decides, these runs do not tell. The springs
# above had something to hold; here they had not.
#
# It is one seed, forty steps and one old text: that nothing else was lost, these
# numbers do not say.
#
# ## A gate
#
# None of this helps if nobody looks. So let the pipeline look: a **general suite** of
# tasks with a limit for each, fixed before the tuning, and no release where a task has
# fallen by more. The number for each task is how far it has fallen from the best score
# that it ever had (Chaudhry et al. 2018):

# %%
from utils.train.forgetting import forgetting

show(forgetting)

# %% tags=["nbval-ignore-output"]
LIMITS = {"town": 0.05, "copying": 0.05, "sums": 0.1}


def suite(model, n=100):
    """Return the scores of a model on the general suite."""
    asked = {
        "town": questions(world, "trained", n, seed=6),
        "copying": questions(world, "trained", n, seed=6, kinds=("copy",)),
        "sums": questions(world, "trained", n, seed=6, kinds=("sum",)),
    }
    found = {}
    for task, some in asked.items():
        answers = answer_questions(model, tokenizer, some)
        found[task] = share(judge_answers(world, some, answers), "correct")
    return found


# %% tags=["nbval-ignore-output"]
before, rows, refused = suite(base), [], {}
for name, one in (("full", full), ("EWC", sprung), ("replay", replayed)):
    lost = forgetting([before, suite(one)])
    refused[name] = [
        task for task, limit in LIMITS.items() if lost[task] > limit
    ]
    rows.append(
        (name, *(f"{lost[task]:.1f}" for task in LIMITS), len(refused[name]))
    )
print(text_table(("lost by", *LIMITS, "limits broken"), rows))
chance = 1.96 * (0.9 * 0.1 / 100) ** 0.5
print(f"chance moves a share of 0.9 in 100 by up to {chance:.2f}")
assert refused["full"]

# %% [markdown]
# The gate refuses all three, and with reason. By the general loss, springs and replay
# had taken back nine tenths of the harm. The suite shows what is in the last tenth:
# after replay with one row in eight, about half of the sums are gone. Few tokens of the
# old text are digits of sums, so a mean over all tokens hardly notices. Replay with
# half of the rows, or damped springs, may pass: run `tune` with them, and put them
# through.
#
# A limit has to be larger than what chance moves, and the line printed last says that
# five points on a hundred questions are not: this gate also refuses good models now and
# then. More questions make a sharper gate, and unit 09 says how many.
#
# > **Governance box.** A tuned model is a new model. *Record* for each release the
# > suite, its limits and scores before and after, the share of replayed text and where
# > it came from, and the weights that the springs were tied to. *Who signs*: the owner
# > of the general suite, who is not the team that tunes. *What an auditor asks*: which
# > tasks did you not measure? And were the limits written down before the result?
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
ask("08_forgetting", "patience", my_answer_1)

# %%
my_answer_2 = None
ask("08_forgetting", "fisher", my_answer_2)

# %%
my_answer_3 = None
ask("08_forgetting", "method", my_answer_3)

# %%
my_answer_4 = None
ask("08_forgetting", "sure", my_answer_4)

# %%
my_answer_5 = None
ask("08_forgetting", "domain", my_answer_5)

# %%
my_answer_6 = None
ask("08_forgetting", "spring", my_answer_6)

# %%
my_answer_7 = None
ask("08_forgetting", "replay", my_answer_7)

# %%
my_answer_8 = None
ask("08_forgetting", "gate", my_answer_8)

# %% [markdown]
# ## What to remember
#
# - A training loss near zero says that the examples are known by heart. Stop by
#   validation, keep the best weights, report on a third set.
# - No number from the new domain shows what was lost elsewhere.
# - The Fisher diagonal says which weights the predictions depend on; near the start.
# - A little old text in every batch is the first thing to try. Without it: springs, a
#   short distance, or adapters, and each costs something else.
# - Put the general suite and its limits in front of the release.
#
# ## Sources
#
# - Prechelt, *Early Stopping - But When?*, 1998, section 2.
# - McCloskey and Cohen, *Catastrophic Interference in Connectionist Networks*, 1989.
#   Robins, *Catastrophic Forgetting, Rehearsal and Pseudorehearsal*, 1995.
# - Kirkpatrick et al., *Overcoming catastrophic forgetting in neural networks*, PNAS
#   2017, section 2.1. Kunstner et al., *Limitations of the Empirical Fisher
#   Approximation*, NeurIPS 2019, section 2.
# - Scialom et al., *Fine-tuned Language Models are Continual Learners*, EMNLP 2022,
#   section 3: replay of a hundredth of the old data.
# - Biderman et al., *LoRA Learns Less and Forgets Less*, TMLR 2024, section 4.
# - Chaudhry et al., *Riemannian Walk for Incremental Learning*, ECCV 2018, equation 3.
#
# **Next**: `work/08_forgetting.ipynb`. You write the stop, the Fisher, the springs, the
# replay and the number for the gate. Then unit 09: how sure can a score be?
