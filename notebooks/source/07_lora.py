# %% [markdown]
# # 07 LoRA and QLoRA
#
# **110 minutes** · before this: unit 06 · after this: `work/07_lora.ipynb`,
# a lab of 120 minutes · the machine needs about two minutes
#
# A model of eight billion weights fits on a card of 24 gigabytes. Tuning it does not,
# by far. This unit shows what fills the memory, and two ways to need a small part of
# it: learn a small update beside frozen weights (**LoRA**), and keep the frozen
# weights in four bits (**QLoRA**). Both have a price, and both have traps in which a
# tuning is lost without an error message.

# %%
import copy
import statistics

import matplotlib.pyplot as plt
import torch
from torch import nn

from utils.model.finetune_memory import finetune_memory
from utils.model.lora import LoRALinear, add_lora, count_trainable, lora_layers
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
from utils.report.show import show
from utils.report.tables import text_table
from utils.runtime import generator, start
from utils.world.facts import build_world
from utils.zoo.load import load_base

plots.use_style()
tier = start(seed=0)
claims = Claims()
world = build_world(0)
base, tokenizer = load_base()

# %% [markdown]
# ## What a step holds
#
# Take Llama-3.1's 8B model in **bfloat16**, two bytes for each weight: 16 GB. You want
# to tune all of it (**full fine-tuning**), with AdamW, on one row of 512 tokens at a
# time. How many gigabytes does one step need?

# %%
my_guess = None  # gigabytes: your number

# %% tags=["reveals"]
from utils.model.accounting import LLAMA_8B, sizes_of

sizes = {k: v for k, v in sizes_of(LLAMA_8B).items() if k != "qk_norm"}


def memory(**way):
    """Return the terms of a step on the 8B model, one row of 512 tokens, in GB."""
    told = finetune_memory(
        **sizes, batch_size=1, n_tokens=512, float_bytes=2, **way
    )
    return {name: n / 1e9 for name, n in told.items() if n}


full_step = memory()
compare(my_guess, sum(full_step.values()), "{:.0f} GB")
for name, size in full_step.items():
    print(f"  {name:12} {size:5.1f} GB")

# %% [markdown]
# Eight times the model, before anything has been said about speed. For each weight
# there are 16 bytes: two for itself, two for its gradient, four for each of AdamW's two
# moments, and four for a float32 copy, because a step is often smaller than what a
# bfloat16 can add. Count it for one matrix of the model:

# %%
n = 4096 * 4096
for what, n_bytes in {
    "weight": 2,
    "gradient": 2,
    "two moments": 2 * 4,
    "float32 copy": 4,
}.items():
    print(f"{what:13} {n * n_bytes / 1e6:5.0f} MB")
print(
    f"{'together':13} {n * 16 / 1e6:5.0f} MB for one matrix of 4,096 by 4,096"
)

# %% [markdown]
# All but the first line is there because the weight *learns*. What doesn't learn has no
# gradient and no moments. That is the first idea: freeze the model, and learn something
# small beside it. The field calls all such ways **parameter-efficient fine-tuning**
# (PEFT). Then the frozen weights are the largest term, and the second idea is to keep
# them in fewer bits. You will write this sum in the lab (its `rank` says how small the
# update is; the next section says of what):

# %%
show(finetune_memory)

# %%
ways = {
    "full": memory(),
    "LoRA, rank 16": memory(rank=16),
    "QLoRA, rank 16": memory(rank=16, is_quantized=True),
}
terms = list(finetune_memory(**sizes, batch_size=1, n_tokens=1))
axes = plots.new_axes()
for row, told in enumerate(ways.values()):
    left = 0.0
    for term, colour in zip(terms, plots.PALETTE, strict=True):
        axes.barh(row, told.get(term, 0), left=left, color=colour, height=0.6)
        left += told.get(term, 0)
    axes.annotate(f" {left:.1f} GB", (left, row), va="center")
for card in (16, 24, 80):
    axes.axvline(card, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(f"{card}", (card, 2.55), ha="center", fontsize=8)
axes.set_yticks(range(len(ways)), list(ways))
axes.invert_yaxis()
axes.set(xlabel="GB; dotted: cards of 16, 24 and 80 GB", xlim=(0, 150))
handles = [plt.Rectangle((0, 0), 1, 1, color=c) for c in plots.PALETTE]
axes.legend(handles, terms, frameon=False, fontsize=8, loc="lower right")
axes.set_title("What learns fills the memory, then what is frozen", loc="left")
plt.show()

# %% [markdown]
# *Figure 1. One row of 512 tokens on the 8B model, in bfloat16. Full tuning takes 131.9
# GB, most of it AdamW's moments and copies, more than a card of 80 GB has. With LoRA
# the weights themselves are the largest part, and 24 GB are just enough for 19.8. QLoRA
# takes 9.5.*
#
# A formula about memory is worth what a measurement says. Our base model has under a
# million weights, and tensors can be counted while a step runs: all that is made on the
# way to the loss and still held when the backward pass begins.

# %%
from utils.report.memory import LiveBytes
from utils.train.losses import cross_entropy

its_sizes = {k: v for k, v in sizes_of(base.config).items() if k != "qk_norm"}
ids = torch.randint(1024, (16, 129), generator=generator(0))
off = {}
for name, rank in (("full", None), ("LoRA, rank 8", 8)):
    model, _ = load_base()
    if rank:
        add_lora(model, rank, alpha=16)
    with LiveBytes() as live:
        loss = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
        held = sum(n_bytes for _, n_bytes in live.held.values())
    told = finetune_memory(**its_sizes, batch_size=16, n_tokens=128, rank=rank)
    off[name] = told["activations"] / held - 1
    print(f"{name:13} held {held / 1e6:.1f} MB, by the sum {1 + off[name]:.2f}")
claims.add(
    "activations by the sum, against those counted in a step",
    measured=f"at most {100 * max(map(abs, off.values())):.0f} % off",
    bar="10 %",
    holds=max(map(abs, off.values())) < 0.10,
)

# %% [markdown]
# On a GPU the measured peak has two more parts, which the sum leaves out: buffers
# inside single operations (a matrix of QLoRA that is put back into floats for its
# product) and what the allocator can't use. Leave a tenth of the card free.
#
# ## An update has few directions
#
# What does a tuning change? Take one and look. The base model is tuned whole, on
# chats in the style of the house: each answer begins with "Note from the clinic:".

# %%
from utils.tokens.batches import supervised_batches
from utils.tokens.chat import render_chat
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.schedules import constant
from utils.train.sft import sft_loss
from utils.world.chats import chats

STYLE = "Note from the clinic: "


def house_chats(n, seed):
    """Return chats as examples, each answer in the style of the house."""
    found = []
    for asked, answer in chats(world, n, seed=seed):
        answer = {**answer, "content": STYLE + answer["content"]}
        found.append(render_chat([asked, answer], tokenizer))
    return found


def tune(model, examples, lr, n_steps):
    """Tune what learns of a model; return the losses of the steps."""
    batches = supervised_batches(examples, 16, 127, tokenizer.pad_id)
    optimizer = adamw(model, lr=lr, weight_decay=0.01)
    warm_up = constant(warmup_steps=10)
    records = train(
        model, batches, sft_loss, optimizer, n_steps, schedule=warm_up
    )
    return [record["loss"] for record in records]


# %%
examples, unseen = house_chats(2000, seed=0), house_chats(200, seed=99)
full, _ = load_base()
full_losses = tune(full, examples, lr=1e-3, n_steps=150)


def loss_of(model, examples=unseen):
    """Return the mean loss of unseen examples."""
    batches = supervised_batches(examples, 50, 127, tokenizer.pad_id)
    with torch.inference_mode():
        parts = [
            sft_loss(model(b.token_ids), b.targets)
            for b in map(batches, range(4))
        ]
    return sum(parts).item() / len(parts)


print(f"loss {loss_of(base):.2f} before, {loss_of(full):.2f} after")

# %% [markdown]
# The **update** of a matrix is what it is now less what it was. It is a matrix of the
# same size, and its **singular values** tell along how many independent directions it
# changes what comes in. If all are of one size, every direction counts. If the first
# few are large, most of the update could be written as a product of two thin matrices:
# a tall one times a flat one, whose common side is called the **rank**.


# %%
def matrices(model):
    """Return the matrices of a model's blocks by name."""
    return {n: w for n, w in model.blocks.named_parameters() if w.dim() == 2}


def cumulated(matrix):
    """Return the share of a matrix's squared length in its first k directions."""
    squares = torch.linalg.svdvals(matrix) ** 2
    return squares.cumsum(0)[:64] / squares.sum()


with torch.no_grad():
    updates = {
        name: weight - matrices(base)[name]
        for name, weight in matrices(full).items()
    }
of_updates = torch.stack([cumulated(u) for u in updates.values()]).mean(0)
noise = [torch.randn(u.shape, generator=generator(0)) for u in updates.values()]
of_noise = torch.stack([cumulated(u) for u in noise]).mean(0)
k = list(range(1, 65))
plots.lines(
    {"updates": (k, of_updates.tolist()), "noise": (k, of_noise.tolist())},
    title="A tuning's updates lie along a few directions, noise does not",
    xlabel="directions, the largest first",
    ylabel="share of the squared length",
)
plt.show()
print(f"first 8: updates {of_updates[7]:.1f}, noise {of_noise[7]:.1f}")

# %% [markdown]
# *Figure 2. The share of the squared length that lies in the first k of 128 directions,
# a mean over sixteen matrices. The line of the updates rises steeply, that of random
# matrices of the same shapes almost straight.*
#
# More than half of the squared length in eight directions is not all. But length is not
# what a tuning is for. Keep only the first k directions of each update, throw the rest
# away, put back the old table of tokens and the old gains as well, and measure the
# loss again. How many directions of 128 does it take until 98 % of the fall of the
# loss is there again? (Tried are 1, 2, 4 and so on.)

# %%
my_directions = None  # of 128, for each matrix: your number


# %% tags=["reveals"]
def only_first(k):
    """Return the base model with the first k directions of each update."""
    model = copy.deepcopy(base)
    with torch.no_grad():
        for name, weight in matrices(model).items():
            u, s, v = torch.linalg.svd(updates[name], full_matrices=False)
            weight += (u[:, :k] * s[:k]) @ v[:k]
    return model


kept = [0, 1, 2, 4, 8, 16, 32]
losses = [loss_of(only_first(k)) for k in kept]
won = [(losses[0] - loss) / (losses[0] - loss_of(full)) for loss in losses]
enough = next(k for k, share in zip(kept, won, strict=True) if share > 0.98)
compare(my_directions, enough, "{}")
plots.lines(
    {"cut to k directions": (kept, losses)},
    title="A few directions of each update carry nearly all that it taught",
    xlabel="directions kept of 128",
    ylabel="loss (nats per token)",
    points=True,
)
plt.show()

# %% [markdown]
# *Figure 3. The loss on unseen chats over the number of directions kept. It falls
# steeply from none to two and is almost flat from eight on.*
#
# That is the bet of LoRA: if the update that you will find has a low rank anyway, then
# look for one of low rank from the start, and spare the memory for all others. It is
# a bet about the *task*. A new form is a small change of what the model does
# everywhere. Whether new facts are, we shall see.
#
# ## The adapter
#
# A frozen matrix $W$ of $O$ outputs and $I$ inputs gets two thin ones beside it: $A$
# leads from the inputs down to $R$ numbers, $B$ up from those to the outputs.
#
# $$y = W x + \frac{\alpha}{R}\, B A x$$
#
# $W$ stays, $A$ and $B$ learn. $R$ is the rank, $\alpha$ ("alpha") a number that you
# choose. On one vector, by hand:

# %%
W = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # (O, I) = (3, 2)
A = torch.tensor([[1.0, -1.0]])  # (R, I) = (1, 2)
B = torch.tensor([[0.5], [0.0], [2.0]])  # (O, R) = (3, 1)
x, alpha, rank = torch.tensor([3.0, 1.0]), 2.0, 1
inner = A @ x  # (R,): one number
print("W x =", (W @ x).tolist(), "  A x =", inner.tolist())
y = W @ x + alpha / rank * (B @ inner)
print("y =", y.tolist())

# %% [markdown]
# The order of the products is the point. $A x$ is a vector of $R$ numbers, and $BA$,
# a matrix as large as $W$, is never made while training. It is made once, at the end:
# add it to $W$ (**merge**), and the tuned model is a plain one that costs what it did
# before.

# %%
show(LoRALinear)

# %%
layer = LoRALinear(nn.Linear(2, 3, bias=False), rank=1, alpha=2.0)
layer.load_state_dict({"linear.weight": W, "down": A, "up": B})
assert torch.allclose(layer(x), y)
layer.merge()
print("merged weight:", layer.linear.weight.tolist())
assert torch.allclose(layer.linear.weight @ x, y)

# %% [markdown]
# In the base model each block has four matrices. `add_lora` puts such a layer in the
# place of all sixteen, or of those that you name. How many weights learn?

# %%
adapted, _ = load_base()
add_lora(adapted, rank=8, alpha=16)
n_all = sum(weight.numel() for weight in base.parameters())
n_learn = count_trainable(adapted.parameters())
ids = torch.randint(1024, (4, 60), generator=generator(1))
with torch.inference_mode():
    same = torch.equal(adapted(ids), base(ids))
print(f"{n_learn:,} of {n_all:,} weights learn: {n_learn / n_all:.1%}")
claims.add(
    "a fresh adapter changes no logit",
    measured="bit for bit" if same else "differs",
    bar="equal",
    holds=same,
)

# %% [markdown]
# Nothing changes at first because $B$ starts at zero. $A$ does not: with both at zero
# the gradient of each would be zero for ever, since each is multiplied by the other.
#
# > **Break it: B not zero at the start.** Draw $B$ as well, once with `torch.randn` and
# > once as small as the weights of a fresh linear layer. What is left of what the base
# > model knew, before the first step and after sixty?


# %%
from utils.evaluate.text_loss import stream_loss
from utils.text.corpora import world_corpus
from utils.tokens.batches import pack_documents

documents = tokenizer.encode_batch(world_corpus(200, seed=77))
general = pack_documents(documents, tokenizer.end_id)  # (N,) of the town's text


def fresh_adapters(rank=8, alpha=16, **settings):
    """Return the base model with adapters, from the same draw each time."""
    model, _ = load_base()
    torch.manual_seed(0)
    return add_lora(model, rank, alpha, **settings)


general_loss = {}
for name, spread in (("B zero", 0), ("B small", 0.2), ("B by randn", 1)):
    model = fresh_adapters()
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.up.normal_(generator=generator(0)).mul_(spread)
    start_loss = stream_loss(model, general, 128)
    own = tune(model, examples, 3e-3, 60)
    end_loss = stream_loss(model, general, 128)
    general_loss[name] = {"before": start_loss, "after 60 steps": end_loss}
    last = statistics.mean(own[-10:])
    print(f"{name}: the tuning's own loss ends below 0.5: {last < 0.5}")

# %%
plots.grouped_bars(
    general_loss,
    title="With B drawn the model is damaged before the first step",
    ylabel="loss on the town's text (nats per token)",
)
plt.show()
assert general_loss["B by randn"]["before"] > 5
assert general_loss["B by randn"]["after 60 steps"] > 2

# %% [markdown]
# *Figure 4. The loss on general text, before the tuning and after it. With B at zero it
# begins at the base model's. A small draw costs a little. Drawn by randn the model is
# destroyed, and sixty steps of chats do not bring back what it knew.*
#
# Sixteen random changes were added to a trained model, and the tuning has no examples
# that would repair them. With the small draw the tuning's own loss ends low as well:
# who watches that alone does not see the damage.
#
# ## Rank, alpha, and which layers
#
# Alpha looks like one more number to tune. Its use is to keep the update's size apart
# from the rank. Each row of $A$ with its column of $B$ adds one matrix of rank one, and
# AdamW moves each of them by about the learning rate, however small its gradient. With
# four times the rank four times as many are added up. Divided by $R$ the sum should
# stay of one size, and a rate that was found at rank 4 serve at rank 64. Setting alpha
# in proportion to the rank, a widespread habit, undoes the division. Both, at one rate:

# %%
ranks = [1, 4, 16, 64]
found = {"alpha = 16": [], "alpha = 16 R": []}
for rank in ranks:
    for name, alpha in zip(found, (16, 16 * rank), strict=True):
        losses = tune(fresh_adapters(rank, alpha), examples, 3e-3, 40)
        found[name].append(statistics.mean(losses[-10:]))
plots.lines(
    {name: (ranks, losses) for name, losses in found.items()},
    title="Divided by the rank, one learning rate serves all ranks",
    xlabel="rank (log scale)",
    ylabel="loss of steps 31 to 40",
    log_x=True,
    points=True,
)
plt.show()
assert found["alpha = 16 R"][-1] > 2 * found["alpha = 16"][-1]

# %% [markdown]
# *Figure 5. The loss after 40 steps at one learning rate. With a fixed alpha the line
# is nearly flat from rank 1 to 64. Where alpha grows with the rank it stays beside it
# up to 16 and then leaps: the steps have become too long.*
#
# (For ranks in the hundreds $\alpha / \sqrt{R}$ is said to be better: Kalajdzievski
# 2023 calls it **rank-stabilised LoRA**.) The figure says one more thing: for this
# task rank 1 is nearly as good as 64. More rank is no remedy where the loss has
# stopped for another reason.
#
# And which matrices should get an adapter? Three choices at about the same number of
# weights that learn:

# %%
from utils.model.lora import ALL_LAYERS, ATTENTION, FEED_FORWARD

ends = {}
for name, targets, rank in (
    ("attention, rank 22", ATTENTION, 22),
    ("feed-forward, rank 13", FEED_FORWARD, 13),
    ("all four, rank 8", ALL_LAYERS, 8),
):
    model = fresh_adapters(rank, 16, targets=targets)
    print(f"{name}: {count_trainable(model.parameters()):,} weights learn")
    ends[name] = statistics.mean(tune(model, examples, 3e-3, 60)[-10:])
plots.bars(
    ends,
    title="At equal size, adapters on all matrices do best",
    xlabel="loss of steps 51 to 60",
    text="{:.3f}",
)
plt.show()

# %% [markdown]
# *Figure 6. Three bars at about the same number of weights that learn. All four
# matrices at rank 8 end lowest, attention alone and feed-forward alone a little
# higher.*
#
# The gap is small here, from one run each. Dettmers et al. (section 4) found a larger
# one on models of 7B: adapters on every matrix were needed to match full tuning, and
# the rank hardly mattered then.
#
# ## Where it is as good: form
#
# How far does the small update reach? First the task from above: a chat's form (the
# answer ends by itself) and the style of the house. The rate is three times as high as
# that of the full tuning: LoRA wants more, usually up to ten times.

# %%
from utils.evaluate.world_qa import judge_answers, share
from utils.model.generate import generate_batch
from utils.world.questions import questions

asked = questions(world, "trained", 100, seed=7)
prompts = [
    render_chat(
        [{"role": "user", "content": question.prompt}],
        tokenizer,
        add_prompt=True,
    ).token_ids
    for question in asked
]
stops = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}


def form_of(model):
    """Return the shares of answers that end, have the style, and are right."""
    rows = generate_batch(model, prompts, 40, **stops)
    texts = [tokenizer.decode(row, skip_special=True).strip() for row in rows]
    right = share(judge_answers(world, asked, texts), "correct")
    ends = sum(len(row) < 40 for row in rows) / len(rows)
    styled = sum(text.startswith(STYLE) for text in texts) / len(texts)
    return {"ends": ends, "style": styled, "right": right}


# %%
lora = fresh_adapters()
lora_losses = tune(lora, examples, lr=3e-3, n_steps=150)
shares = {
    name: form_of(model)
    for name, model in (("base", base), ("full", full), ("LoRA", lora))
}
for name, told in shares.items():
    print(name, {key: f"{value:.1f}" for key, value in told.items()})
worst = min(shares["LoRA"][key] / shares["full"][key] for key in told)
claims.add(
    "form, style and right answers: LoRA's share of full tuning's",
    measured=f"above 95 % with {n_learn / n_all:.0%} of the weights"
    if worst >= 0.95
    else f"{worst:.2f}",
    bar="95 % with 10 %",
    holds=worst >= 0.95 and n_learn <= 0.10 * n_all,
)

# %% [markdown]
# So it is with three seeds (recorded as claim `07_form` in `tests/claims/`). For a
# style, a format, a tone, a routine, LoRA is as good as tuning everything.
#
# ## Where it is not: new facts
#
# Now 48 new drugs, 240 facts that the base model has never read. They are asked in the
# plain form that it knows, so nothing but the facts is new. Two things are measured:
# the share of right answers on the new drugs (**gained**), and on the town that it knew
# before (**kept**). Beside them the table has what was gained in phrasings that stand
# in no training text, what is kept of the small exercises, and the loss on the town's
# text. Some runs tune the table of tokens as well, some have one old question for every
# four new ones mixed in (**replay**). All take 200 steps of 16 questions, at the same
# rate unless the name says otherwise. Guess the share of the new facts that LoRA gains
# where full tuning gains nearly all.

# %%
my_gain = None  # share of right answers on new drugs, LoRA: your number

# %% tags=["reveals"]
import json

from utils.settings import project_root

record = project_root() / "tests" / "claims" / "records" / "07_new_facts.json"
runs = list(json.loads(record.read_text("utf-8"))["runs"].values())
methods = [key.removeprefix("gained, ") for key in runs[0]]
methods = [way for way in methods if f"kept, {way}" in runs[0]]


def mean_of(what, way):
    """Return the mean of a number over the three seeds."""
    return statistics.mean(run[f"{what}, {way}"] for run in runs)


compare(my_gain, mean_of("gained", "LoRA"), "{:.2f}")
kinds = ("gained", "gained, other words", "kept", "kept, skills", "loss")
rows = [
    (way, *(f"{mean_of(kind, way):.2f}" for kind in kinds)) for way in methods
]
print(text_table(("means of three seeds", *kinds), rows))

# %%
axes = plots.new_axes((7.2, 4.2))
for way, colour in zip(methods, plots.PALETTE, strict=True):
    x = [run[f"gained, {way}"] for run in runs]
    y = [run[f"kept, {way}"] for run in runs]
    marker = "s" if "replay" in way else "o"
    axes.scatter(x, y, color=colour, marker=marker, s=28, label=way)
axes.set(
    xlabel="gained: right answers on new drugs",
    ylabel="kept: right answers on the town",
)
axes.legend(frameon=False, fontsize=8, loc="lower left")
axes.set_title(
    "LoRA learns fewer of the new facts and forgets fewer of the old",
    loc="left",
)
plt.show()

# %% [markdown]
# *Figure 7. Seven ways of tuning, three seeds each, recorded beforehand. To the right:
# more of the new facts. Up: more of the old. Full tuning stands far right and low, LoRA
# up and to the left. Squares are runs with replay.*
#
# Biderman et al. (2024) found this on code and mathematics with a model of 7B: *LoRA
# learns less and forgets less*. Read the figure with care, though:
#
# - **Full tuning at a third of the rate** (top right) keeps nearly as much as LoRA and
#   gains far more in the same number of steps. Part of what looks like a virtue of LoRA
#   is a smaller step. Compare methods each at its own best rate.
# - **With the table of tokens** LoRA gains most of the rest, and forgets nearly as full
#   tuning does. A likely reason: the names of new drugs are built of tokens that the
#   base model has met seldom, and LoRA alone can't move their vectors.
# - **Replay** takes back most of what was forgotten of the town and costs some of the
#   gain, of LoRA's more than of full tuning's. LoRA alone had little to take back. Unit
#   08 is about it.
#
# All of it is the same in another world, with a base model of its own
# (`07_new_facts_another_world`).
#
# So for new facts in quantity: tune more of the model, with replay and a low rate, or
# do not tune facts at all: look them up and put them into the prompt (unit 13 does the
# looking up).
#
# > **Governance box.** A tuned model is a new model. *Record*: the hash of the base,
# > rank, alpha, which matrices, what else learned, rate, data and its version. *Who
# > signs*: whoever owns the old abilities, not only the new ones. *What an auditor
# > asks*: which general suite was measured before and after, and on the very weights
# > that are served?
#
# ## What has to be saved
#
# An adapter is small, and that changes how models are served: one copy of the base
# stays in memory, and a request brings its adapter along.

# %%
from utils.model.lora import adapter_state, load_adapter_state


def megabytes(state):
    """Return the size of tensors in MB."""
    return sum(t.numel() * t.element_size() for t in state.values()) / 1e6


state = adapter_state(lora)
print(f"model {4 * n_all / 1e6:.2f} MB, adapter {megabytes(state):.2f} MB")
print(
    f"100 tunings: {400 * n_all / 1e6:.0f} MB whole, "
    f"{4 * n_all / 1e6 + 100 * megabytes(state):.0f} MB as adapters"
)

# %% [markdown]
# The trap is what else was trained. New words need vectors, so the table is often tuned
# beside the adapters, and a script that saves "the adapters" saves all names with
# `lora` in them. Train both on the new drugs, save one, load it, and measure: no error
# comes. Which share of what the tuning gained is left?

# %%
from utils.evaluate.world_qa import plain_prompt


def facts(n, seed):
    """Return questions about new drugs with answers, in the plain form."""
    found = []
    for question in questions(world, "new_drug", n, seed=seed):
        prompt = plain_prompt(tokenizer, question)
        answer = [*tokenizer.encode(f" {question.answer}"), tokenizer.end_id]
        mask = [False] * len(prompt) + [True] * len(answer)
        found.append((prompt + answer, mask))
    return found


drugs = facts(200, seed=5)
my_share_left = None  # share of the gain, the table forgotten: your number

# %% tags=["reveals"]
TABLE = ("embedding.weight",)
both = fresh_adapters(also_train=TABLE)
tune(both, facts(2400, seed=100), 3e-3, 100)
state = adapter_state(both)
without = {name: t for name, t in state.items() if name not in TABLE}
again = fresh_adapters(also_train=TABLE)
load_adapter_state(again, state)
half = fresh_adapters()
load_adapter_state(half, without)
assert loss_of(again, drugs) == loss_of(both, drugs)
start_loss = loss_of(base, drugs)
left = (start_loss - loss_of(half, drugs)) / (start_loss - loss_of(both, drugs))
compare(my_share_left, left, "{:.1f}")
assert left < 0.8

# %% [markdown]
# At work: list the names in the file, and load it into a fresh process before you
# believe in it. In PEFT the table is saved if it was named in `modules_to_save` (or
# tokens of it in `trainable_token_indices`).
#
# **Merged**, the update is in the weight, and the model is as fast as it was:

# %%
with torch.inference_mode():
    unmerged = lora(ids)
    for layer in lora_layers(lora).values():
        layer.merge()
    gap = (lora(ids) - unmerged).abs().max().item()
    most = 1e-5 * unmerged.abs().max().item()
    for layer in lora_layers(lora).values():
        layer.unmerge()
claims.add(
    "merged and unmerged logits, float32",
    measured="below 1e-5 of the largest" if gap < most else f"{gap:.1e}",
    bar="1e-5 of the largest",
    holds=gap < most,
)

# %% [markdown]
# ## Four bits, and where to spend them
#
# Four bits name one of sixteen numbers. Which sixteen? Look at what has to be stored:
# the weights of all matrices, in blocks of 64, each block divided by its largest
# absolute value (its **scale**).

# %%
from utils.model.nf4 import nf4_levels

weights = torch.cat([w.detach().flatten() for w in matrices(base).values()])
blocks = weights.view(-1, 64)  # (N/b, b)
unit = (blocks / blocks.abs().amax(dim=1, keepdim=True)).flatten()
axes = plots.new_axes()
axes.hist(unit, bins=120, color=plots.PALETTE[5], density=True)
for height, levels, colour, name in (
    (1.35, torch.linspace(-7, 7, 15) / 7, plots.PALETTE[1], "int4: even"),
    (1.5, nf4_levels(), plots.PALETTE[0], "NF4: quantiles"),
):
    axes.plot(levels, [height] * len(levels), "|", color=colour, ms=14)
    axes.annotate(name, (1.04, height), color=plots.ink(colour), va="center")
axes.set(
    xlabel="weight over the scale of its block",
    ylabel="density",
    xlim=(-1.05, 1.5),
)
axes.set_title("Weights crowd around zero, and so do NF4's levels", loc="left")
plt.show()

# %% [markdown]
# *Figure 8. A histogram of the base model's weights after scaling: a bell with small
# peaks at -1 and 1, where each block's largest weight lies. Above it the levels of
# int4 stand at even distances, those of NF4 close together in the middle.*
#
# Even steps (**int4**) spend as many levels on the empty ends as on the crowded
# middle. **NF4** ("4-bit NormalFloat") takes quantiles of a normal distribution:
# levels at such places that between two neighbours lies about the same share of it.
# Eight of them above zero, seven below, and zero itself, since exact zeros matter. By
# hand from Python's own quantile function (.9677 is where the outermost lies: the
# library that made NF4 known has it so):

# %%
quantile = statistics.NormalDist().inv_cdf
top = 0.9677083
above = [quantile(top + (0.5 - top) * k / 8) for k in range(8)]
below = [-quantile(top + (0.5 - top) * k / 7) for k in range(7)]
by_hand = torch.tensor(sorted([*above, 0.0, *below])) / above[0]
assert torch.allclose(by_hand, nf4_levels(), atol=1e-5)
print([f"{level:.2f}" for level in by_hand.tolist()])

# %% [markdown]
# One block of four weights, by hand: the scale, then for each weight the nearest level.

# %%
block = torch.tensor([0.06, -0.02, 0.0, 0.011])
scale = block.abs().max()
for weight in block:
    code = int((weight / scale - by_hand).abs().argmin())
    back = by_hand[code] * scale
    print(f"{weight:7.3f} -> code {code:2} = {code:04b} -> {back:7.4f}")

# %%
from utils.model.nf4 import (
    dequantize_nf4,
    double_quantize,
    quantize_nf4,
    restore_scales,
)

show(quantize_nf4)

# %%
codes, scales = quantize_nf4(weights)
back = dequantize_nf4(codes, scales, weights.shape)
step = blocks.abs().amax(dim=1, keepdim=True) / 7
even = ((blocks / step).round() * step).flatten()
error = {
    name: ((rounded - weights).square().mean() / weights.square().mean()).item()
    for name, rounded in (("int4", even), ("NF4", back))
}
print(
    {
        name: f"{share:.2%} of the squared length"
        for name, share in error.items()
    }
)
both_codes = torch.cat([codes >> 4, codes & 15]).long()
used = torch.bincount(both_codes, minlength=16) / len(both_codes)
print(f"levels are used by {used.min():.3f} to {used.max():.3f} of the weights")
assert error["NF4"] < error["int4"]

# %% [markdown]
# NF4 is often said to use all its levels equally often. It would, if a block were
# divided by its spread. It is divided by its *largest* weight, which lies further out
# in one block than in the next, and so the inner levels get more. The error is
# smaller all the same.
#
# Each block has its scale, a float32: half a bit for each weight. **Double
# quantisation** stores the scales themselves in a byte each, around their mean, with
# one step for each 256 of them. How many bits does a weight take then, all in all?

# %%
my_bits = None  # bits for each weight: your number

# %% tags=["reveals"]
small = double_quantize(scales)
n_bytes = codes.numel() + small.n_bytes
compare(my_bits, 8 * n_bytes / len(weights), "{:.3f} bits")
plain = 8 * (codes.numel() + 4 * len(scales)) / len(weights)
print(f"with scales in float32: {plain:.3f}")
moved = (restore_scales(small) / scales - 1).abs().median()
print(f"a typical scale moves by {moved:.1%}")

# %% [markdown]
# What does the model say to it? Perplexity on the town's text:

# %%
from utils.evaluate.metrics import perplexity
from utils.model.int8 import quantize_model
from utils.model.nf4 import NF4Linear, quantize_model_nf4


def with_matrices(model, rounding):
    """Return a copy of a model, its matrices passed through a rounding."""
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for weight in matrices(rounded).values():
            weight.copy_(rounding(weight))
    return rounded


def even_steps(weight):
    """Return a matrix rounded to even steps, blocks of 64, from -7 to 7."""
    rows = weight.reshape(-1, 64)
    step = rows.abs().amax(dim=1, keepdim=True) / 7
    return ((rows / step).round() * step).view_as(weight)


four_bits = {
    "float32": base,
    "int8": quantize_model(base),
    "NF4": quantize_model_nf4(base),
    "int4": with_matrices(base, even_steps),
}
for name, model in four_bits.items():
    print(f"{name:8} {perplexity(stream_loss(model, general, 128)):.3f}")

# %% [markdown]
# ## Learning beside four bits
#
# **QLoRA** puts the two together: weights wait as codes, each layer makes floats of its
# own for one product and drops them, gradients pass through to the adapters. The
# paper's third ingredient, beside NF4 and double quantisation, is **paged optimizers**:
# moments live in memory that the driver moves to the computer's own when the card is
# full for a moment, and back when they are needed. With adapters the moments are small;
# it saves the step with the longest row.
#
# The trap comes at the end. The adapter was trained beside the floats *of the codes*,
# and people merge it into what lies on their disk: the 16-bit original (ours has 32
# bits, which changes nothing of this). Or they merge, and quantise again for serving.
# Take a light tuning on the new drugs, 40 steps at a low rate, and measure all three.
# Of what the tuning gained, which share is left after the merged weights went to four
# bits again?

# %%
my_left = None  # share of the gain that is left: your number

# %% tags=["nbval-ignore-output"]
from utils.model.nf4 import floats_of

torch.manual_seed(0)
qlora = add_lora(quantize_model_nf4(base), rank=8, alpha=16)
before = loss_of(qlora, drugs)
tune(qlora, facts(2400, seed=100), 3e-4, 40)


def merged_into(weight_of):
    """Return the base model with the updates added to chosen weights."""
    model = copy.deepcopy(base)
    with torch.no_grad():
        for name, layer in lora_layers(qlora).items():
            weight = model.get_submodule(name).weight
            weight.copy_(weight_of(layer, weight) + layer.update())
    return model


floats = merged_into(lambda layer, _: floats_of(layer.linear).weight)
places = {
    "adapter beside the codes": qlora,
    "merged, floats of the codes": floats,
    "merged, 16-bit original": merged_into(lambda _, weight: weight),
    "merged, four bits again": quantize_model_nf4(floats),
}
# %% tags=["reveals"]
losses = {name: loss_of(model, drugs) for name, model in places.items()}
gain = before - losses["adapter beside the codes"]
left = {name: (before - loss) / gain for name, loss in losses.items()}
compare(my_left, left["merged, four bits again"], "{:.1f}")
plots.bars(
    left,
    title="Quantised again, a light tuning is erased",
    xlabel="share of the tuning's gain that is left",
    text="{:.2f}",
)
plt.show()

# %% [markdown]
# *Figure 9. Four bars. Beside the codes and merged into the floats of the codes the
# whole gain is there. In the original it is another number. In four bits again next
# to nothing.*
#
# A weight whose update is smaller than half the distance to the next level gets the
# code that it had before. Long tunings move further: after 150 steps at ten times the
# rate a few percent of the gain are lost. And the original? It is *another model*
# than the one that was evaluated. Here it is even a little better at a light tuning,
# since the original itself is, and a little worse after the long one:

# %%
record = record.with_name("07_merging.json")
merges = json.loads(record.read_text("utf-8"))["runs"].values()
for how in ("light", "long"):
    for place in ("floats of the codes", "the original", "four bits again"):
        shares = [
            (run[f"loss before, {how}"] - run[f"{place}, {how}"])
            / (run[f"loss before, {how}"] - run[f"beside the codes, {how}"])
            for run in merges
        ]
        shown = ", ".join(f"{share:.2f}" for share in shares)
        print(f"{how:6}{place:20} left of the gain, three seeds: {shown}")

# %% [markdown]
# Serve what you measured: the codes with the adapter beside them, or the floats of the
# codes with the update in them.
#
# ## The bridge
#
# At work the adapter is PEFT's, the loop TRL's, the four bits those of bitsandbytes.
# Write the base model out as a Llama and give PEFT our weights. (Its Llama has
# queries, keys and values apart: each gets our `down`, and its own rows of our `up`.)

# %% tags=["nbval-ignore-output"]
import logging
import tempfile
import warnings

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it greets
warnings.simplefilter("ignore", FutureWarning)

from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.utils import logging as their_logging

from utils.model.pretrained import save_hugging_face

their_logging.disable_progress_bar()
folder = tempfile.TemporaryDirectory()
save_hugging_face(base, folder.name, end_id=tokenizer.end_id)
PARTS = {
    "attention.qkv": ("q_proj", "k_proj", "v_proj"),
    "attention.output": ("o_proj",),
    "feed_forward.gate_up": ("gate_proj", "up_proj"),
    "feed_forward.down": ("down_proj",),
}
targets = [name for names in PARTS.values() for name in names]
config = LoraConfig(r=8, lora_alpha=16, target_modules=targets)
theirs = get_peft_model(
    AutoModelForCausalLM.from_pretrained(folder.name, dtype=torch.float32),
    config,
).eval()

# %%
their_layers = {
    (name.split(".layers.")[1].split(".")[0], name.rpartition(".")[2]): module
    for name, module in theirs.named_modules()
    if name.endswith(tuple(targets))
}
with torch.no_grad():
    for name, layer in lora_layers(lora).items():
        _, number, part = name.split(".", 2)
        at = 0
        for their_name in PARTS[part]:
            module = their_layers[number, their_name]
            rows = slice(at, at + module.out_features)
            module.lora_A["default"].weight.copy_(layer.down)
            module.lora_B["default"].weight.copy_(layer.up[rows])
            at = rows.stop
with torch.inference_mode():
    gap = (theirs(ids).logits - lora(ids)).abs().max().item()
claims.add(
    "PEFT on the exported model with our adapters: logits",
    measured="below 1e-4" if gap < 1e-4 else f"{gap:.1e}",
    bar="1e-4",
    holds=gap < 1e-4,
)

# %% [markdown]
# And TRL's `SFTTrainer` with a `LoraConfig`, on chats of the town, offline. Its first
# loss must be ours, since a fresh adapter changes nothing.

# %% tags=["nbval-ignore-output"]
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

rows = chats(world, 16, seed=3)
with tempfile.TemporaryDirectory() as scratch:
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            folder.name, dtype=torch.float32
        ),
        args=SFTConfig(
            output_dir=scratch,
            use_cpu=True,
            bf16=False,
            max_steps=4,
            learning_rate=3e-3,
            per_device_train_batch_size=16,
            logging_steps=1,
            max_length=128,
            assistant_only_loss=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"messages": row} for row in rows]),
        processing_class=tokenizer.to_hugging_face(),
        peft_config=config,
    )
    trainer.train()

# %%
log = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
chosen = [render_chat(row, tokenizer) for row in rows]
batch = supervised_batches(chosen, 16, 127, tokenizer.pad_id)(0)
with torch.inference_mode():
    ours = sft_loss(base(batch.token_ids), batch.targets).item()
learn = sum(w.numel() for w in trainer.model.parameters() if w.requires_grad)
print(f"losses of TRL's steps: {[f'{loss:.1f}' for loss in log]}")
print(f"{learn:,} weights learn: each part has a `down` of its own")
claims.add(
    "first loss of TRL's trainer with a fresh PEFT adapter: off ours",
    measured="below 1e-4" if abs(log[0] - ours) < 1e-4 else f"{log[0] - ours}",
    bar="1e-4",
    holds=abs(log[0] - ours) < 1e-4,
)

# %%
import bitsandbytes.functional as bnb

same = total = 0
for weight in matrices(base).values():
    their_codes, their_state = bnb.quantize_4bit(
        weight.detach(), blocksize=64, quant_type="nf4"
    )
    our_codes, our_scales = quantize_nf4(weight)
    same += int((our_codes == their_codes.flatten()).sum())
    same += int((our_scales == their_state.absmax).sum())
    total += our_codes.numel() + our_scales.numel()
claims.add(
    "NF4 codes and scales of bitsandbytes, all matrices",
    measured=f"{total - same} of {total:,} differ",
    bar="0",
    holds=same == total,
)

# %% [markdown]
# Two things to know about bitsandbytes on a processor. Its layers are repacked for
# inference at the first evaluation where the processor has a certain instruction
# (AVX512-BF16), and then pass no gradient on: a training that evaluates in between
# learns nothing more, with a warning as the only sign (`support_avx512bf16_for_cpu =
# False`, right after loading, prevents it). And where a row of a matrix is no
# multiple of the block, version 0.50 puts weights back with the scales of other
# blocks. Compare before you trust.
#
# ## The plan for a large model
#
# The section below quantises, adapts and takes a step on whatever `COURSE_MODEL` names,
# a hub id or a folder: SmolLM2 here, a model of 7 or 8 billion weights on a machine of
# tier `full`. (The course has not measured that step on a card; it has the sum.) What
# must come first is the plan, and a refusal with numbers where it will not fit:


# %%
def plan(config, room_gb, n_tokens, *, rank=16, batch_size=1, float_bytes=2):
    """Return the terms of a QLoRA step in GB, or refuse what does not fit."""
    its_sizes = {k: v for k, v in sizes_of(config).items() if k != "qk_norm"}
    told = finetune_memory(
        **its_sizes,
        batch_size=batch_size,
        n_tokens=n_tokens,
        rank=rank,
        is_quantized=True,
        float_bytes=float_bytes,
    )
    told = {name: n / 1e9 for name, n in told.items()}
    total = 1.1 * sum(told.values())  # a tenth for buffers and the allocator
    if total > room_gb:
        fixed = total - 1.1 * told["activations"]
        raise ValueError(
            f"{total:.1f} GB are needed and {room_gb:.0f} are there: "
            f"{fixed:.1f} whatever the rows are, {total - fixed:.1f} for "
            f"{batch_size} x {n_tokens} tokens; take shorter rows"
        )
    return told


print({k: f"{v:.1f}" for k, v in plan(LLAMA_8B, 24, 1024).items()})
for room, n_tokens in ((16, 2048), (6, 128)):
    try:
        plan(LLAMA_8B, room, n_tokens)
    except ValueError as error:
        print(f"{room} GB: {error}")

# %% [markdown]
# The weights take almost 6 GB, whatever you do: the table in bfloat16, the blocks in
# four bits. Below that no setting helps, and a plan that says so costs nothing. What
# grows with the rows are activations; **activation checkpointing** keeps one layer's
# input in place of all of them and computes the rest a second time.
#
# ## On a real model
#
# The base model's blocks have 800,000 weights, and four bits cost it hardly anything.
# Is that so where the weights have had far more to learn? SmolLM2 has 135
# million (`course model` prepares it once; the file that it comes in holds about five
# bits for each weight, and those are the floats that we start from).

# %% tags=["real"]
from utils.zoo.real import has_real, how_to_get_real, load_real

if has_real():
    real, real_tokenizer = load_real()
else:
    print(how_to_get_real())

# %% [markdown]
# Its table of 49,152 tokens stays in floats, as in QLoRA. Which part of the model's
# memory is left with NF4, and by how many percent does its perplexity rise on Python's
# reference: with NF4, with int4?

# %%
my_part = None  # of the memory in float32, NF4: your number, 0 to 1
my_nf4, my_int4 = None, None  # percent: your numbers

# %% tags=["real", "reveals"]
real_small = quantize_model_nf4(real)


def held_bytes(model):
    """Return the bytes of a model's weights, codes and scales."""
    small = [part for part in model.modules() if isinstance(part, NF4Linear)]
    floats = sum(4 * weight.numel() for weight in model.parameters())
    return floats + sum(part.n_bytes for part in small)


real_claims = Claims()
part = held_bytes(real_small) / held_bytes(real)
compare(my_part, part, "{:.2f}")
real_sizes = {k: v for k, v in sizes_of(real.config).items() if k != "qk_norm"}
told = finetune_memory(
    **real_sizes, batch_size=1, n_tokens=1, rank=8, is_quantized=True
)
by_sum = told["weights"] + told["codes"] + told["scales"]
# %% tags=["real"]
real_claims.add(
    "memory of NF4 weights, of that in float32",
    measured=f"{part:.2f}",
    bar="0.35",
    holds=part <= 0.35,
)
real_claims.add(
    "memory of NF4 weights by the sum",
    measured=f"{by_sum - held_bytes(real_small)} bytes off",
    bar="0",
    holds=by_sum == held_bytes(real_small),
)

# %% [markdown]
# A fourth rounding is that of the file itself, called Q4_1: blocks of 32, each with
# its least weight and a step, 16 levels from the least to the largest. What do you
# expect where weights that came out of such a file are rounded so once more?


# %% tags=["real"]
def q4_1(weight):
    """Return a matrix on sixteen even levels between the ends of each block of 32."""
    rows = weight.reshape(-1, 32)
    least = rows.amin(dim=1, keepdim=True)
    step = ((rows.amax(dim=1, keepdim=True) - least) / 15).clamp_min(1e-12)
    return (((rows - least) / step).round() * step + least).view_as(weight)


# %% tags=["real", "reveals"]
from utils.text.corpora import python_reference

page = max(python_reference(), key=len)
stream = torch.tensor(real_tokenizer.encode(page)[:1500])


def rise_of(model):
    """Return by how many percent a model's perplexity is above the floats'."""
    now = perplexity(stream_loss(model, stream, 512, batch_size=2))
    return 100 * (now / plain - 1)


plain = perplexity(stream_loss(real, stream, 512, batch_size=2))
print(f"perplexity in float32: {plain:.1f}")
rises = {"int8": rise_of(quantize_model(real)), "NF4": rise_of(real_small)}
rises["int4, blocks of 64"] = rise_of(with_matrices(real, even_steps))
rises["Q4_1, blocks of 32"] = rise_of(with_matrices(real, q4_1))
compare(my_nf4, rises["NF4"], "{:.0f} %", of="NF4")
compare(my_int4, rises["int4, blocks of 64"], "{:.0f} %", of="int4")
plots.bars(
    rises,
    title="On real weights four bits cost something, and even steps cost more",
    xlabel="rise of perplexity, percent",
    text="{:.1f}",
)
plt.show()
# %% tags=["real"]
real_claims.add(
    "rise of perplexity: NF4 below int4 in even steps",
    measured="below" if rises["NF4"] < rises["int4, blocks of 64"] else "above",
    bar="below",
    holds=rises["NF4"] < rises["int4, blocks of 64"],
)

# %% [markdown]
# *Figure 10. Four bars: int8 costs next to nothing, NF4 about a third, even steps of
# four bits about half, and Q4_1 nothing that a digit shows.*
#
# The last bar says nothing about Q4_1. These weights lie on its levels already, and
# what is rounded once is not moved by the same rounding again. A format can only be
# judged on weights that have not been through it. The other bars hold with a grain of
# salt for the same reason, and 1,500 tokens of one page are a sample. Still, a model
# this small feels four bits, and feels them less where the levels follow the weights.
#
# For models of 7B to 65B Dettmers et al. (section 4) find no loss with NF4 after the
# adapters have been trained beside the codes: what rounding breaks, the tuning repairs.
# Does it here? The tuning of unit 06, SmolLM2 on 200,000 tokens of MedQuAD, was run
# once more beside NF4, with the same rows in the same order, and recorded. LoRA beside
# float32 took the loss of held-out answers down by a third. How far above LoRA's end
# will QLoRA's be, in percent?

# %%
my_gap = None  # percent: your number

# %% tags=["reveals"]
from utils.experiments import records as experiments

runs = {name: experiments.recorded(f"{name}_medquad") for name in ("06", "07")}
lora, qlora = (run["results"]["0"] for run in runs.values())
print(experiments.told(runs["07"]))
gap = 100 * (qlora["after"] / lora["after"] - 1)
compare(my_gap, gap, "{:.1f} %")
print(
    f"loss {lora['before']:.2f} before; after: {lora['after']:.2f} with LoRA, "
    f"{qlora['after']:.2f} with QLoRA"
)
fall = 1 - qlora["after"] / qlora["before"]
claims.add(
    "recorded: SmolLM2 in NF4 on MedQuAD, loss of held-out answers falls by",
    measured=f"{fall:.0%}",
    bar="10%",
    holds=fall >= 0.1,
)


# %%
def smooth(losses, n=20):
    """Return means over n steps."""
    return [sum(losses[k : k + n]) / n for k in range(len(losses) - n + 1)]


plots.lines(
    {
        name: (range(20, 211), smooth(run["losses"]))
        for name, run in (("LoRA", lora), ("QLoRA", qlora))
    },
    title="The tuning repairs most of what four bits broke, not all",
    xlabel="step",
    ylabel="training loss, mean of 20 steps (nats)",
)
plt.show()

# %% [markdown]
# *Figure 11. Two falling lines over 210 steps. QLoRA begins higher, and the lines come
# nearer to each other, and run side by side to the end.*
#
# Before the run we had set a bar of two percent, and this model misses it. The likely
# reason stands in Figure 10: NF4 takes more from 135 million weights than from seven
# billion, and 200,000 tokens did not give all of it back. Whether that matters is asked
# of the answers. The mean ROUGE-L of forty that were held out, and the memory, with the
# tables of the rotary positions counted as well:

# %%
for name, run in (("LoRA", lora), ("QLoRA", qlora)):
    means = [sum(run[k]) / 40 for k in ("rouge_before", "rouge_after")]
    print(f"{name:5} {means[0]:.2f} before, {means[1]:.2f} after")
held = qlora["bytes"]
print(
    f"memory of the weights: {held['NF4'] / held['float32']:.2f} of float32's"
)

# %% [markdown]
# Last, one step of QLoRA on SmolLM2. What is held when the backward pass begins,
# against the sum:

# %% tags=["real"]
plan(real.config, 24, 256, rank=8, batch_size=2, float_bytes=4)  # or refused
add_lora(real_small, rank=8, alpha=16)
rows = stream[:514].view(2, 257)
with LiveBytes() as live:
    loss = cross_entropy(real_small(rows[:, :-1]), rows[:, 1:])
    held = sum(n_bytes for _, n_bytes in live.held.values())
loss.backward()
learned = [w for w in real_small.parameters() if w.grad is not None]
told = finetune_memory(
    **real_sizes, batch_size=2, n_tokens=256, rank=8, is_quantized=True
)
off = told["activations"] / held - 1
real_claims.add(
    "activations of a QLoRA step by the sum, against those counted",
    measured="within 10 %" if abs(off) < 0.1 else f"{100 * off:.0f} % off",
    bar="10 %",
    holds=abs(off) < 0.1,
)
real_claims.add(
    "bytes of gradients by the sum",
    measured=f"{told['gradients'] - sum(4 * w.numel() for w in learned)} off",
    bar="0",
    holds=told["gradients"] == sum(4 * w.numel() for w in learned),
)
real_claims.table()

# %% [markdown]
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
ask("07_lora", "count", my_answer_1)

# %%
my_answer_2 = None
ask("07_lora", "start", my_answer_2)

# %%
my_answer_3 = None
ask("07_lora", "alpha", my_answer_3)

# %%
my_answer_4 = None
ask("07_lora", "levels", my_answer_4)

# %%
my_answer_5 = None
ask("07_lora", "bits", my_answer_5)

# %%
my_answer_6 = None
ask("07_lora", "saved", my_answer_6)

# %%
my_answer_7 = None
ask("07_lora", "merge", my_answer_7)

# %%
my_answer_8 = None
ask("07_lora", "fits", my_answer_8)

# %% [markdown]
# ## What to remember
#
# - A weight that learns takes 16 bytes in mixed precision, a frozen one two, in NF4
#   half a byte. Make the sum first.
# - A low-rank update is enough for form and style. New facts need more of the model,
#   a low rate, replay; or a prompt.
# - B starts at zero, alpha is divided by the rank, adapters go on all matrices.
# - An adapter belongs to the weights that it was trained beside, and to whatever else
#   was trained. Measure what you serve.
#
# ## Sources
#
# - Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, ICLR 2022, sections
#   4.1 and 7. Kalajdzievski, *A Rank Stabilization Scaling Factor for Fine-Tuning with
#   LoRA*, 2023, section 3.
# - Dettmers et al., *QLoRA: Efficient Finetuning of Quantized LLMs*, NeurIPS 2023,
#   sections 3 and 4, figure 2, appendix E.
# - Biderman et al., *LoRA Learns Less and Forgets Less*, TMLR 2024, sections 4 and 5.
# - Rajbhandari et al., *ZeRO: Memory Optimizations Toward Training Trillion Parameter
#   Models*, SC 2020, section 3: sixteen bytes.
#
# **Next**: `work/07_lora.ipynb`. You write the adapter, the four bits and the sum. Then
# unit 08: what a tuning makes a model forget, and how to keep it.
