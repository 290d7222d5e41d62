# %% [markdown]
# # Lab 12: DPO and GRPO
#
# **110 minutes** · after the lecture `notebooks/12_dpo_grpo.ipynb`
#
# You write the losses that align a model without a value function: DPO, IPO and KTO,
# which need no reward model either, and GRPO, which compares several responses to one
# prompt. And you write a reward that cannot be talked into anything, a checker. Each
# exercise has a check that answers at once; after each, an experiment runs *your*
# function in the real loop, on the assistant. An exercise that you skip only switches
# off its own experiments.
#
# Letters for shapes: B pairs or responses, T tokens.

# %%
import re
from copy import deepcopy
from decimal import Decimal

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.align.group_losses import LENGTHS, row_lengths
from utils.align.grpo import train_grpo
from utils.align.preference import token_pairs, train_preferences
from utils.align.rollouts import draw_rollouts
from utils.assistants.chat_models import chat_prompt, load_assistant
from utils.evaluate.world_qa import judge_answers, share
from utils.labs.api import check, done, hint, start_lab
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.runtime import generator, start
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.world.facts import build_world
from utils.world.preferences import preference_pairs
from utils.world.questions import questions

start_lab("12_dpo_grpo")
plots.use_style()
tier = start(seed=0)
world = build_world()
assistant, tokenizer = load_assistant()
IDS = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}
pairs = token_pairs(preference_pairs(world, 480), tokenizer, 128)


def answers_of(model, asked, max_new_tokens=64):
    """Return one drawn answer to each question, as text."""
    drawn = draw_rollouts(
        model,
        [chat_prompt(tokenizer, question.prompt) for question in asked],
        max_new_tokens,
        generator=generator(0),
        **IDS,
    )
    return [
        tokenizer.decode(response, skip_special=True).strip()
        for response in drawn.responses
    ]


def judged(model, n=128):
    """Return what the exact judge says of a model's answers."""
    asked = questions(world, "trained", n, seed=7)
    verdicts = judge_answers(world, asked, answers_of(model, asked))
    names = {"utility": "utility", "words": "n_words", "rude": "rude"}
    return {name: share(verdicts, field) for name, field in names.items()}


def tuned(loss_of_pairs, n_steps=60, likelihood_coef=1.0, mismatched=False):
    """Return a copy of the assistant after some steps on pairs, and the records."""
    policy = deepcopy(assistant)
    records = train_preferences(
        policy,
        assistant,
        pairs,
        loss_of_pairs,
        adamw(policy, lr=3e-4, weight_decay=0.0),
        n_steps,
        pad_id=tokenizer.pad_id,
        batch_size=8,
        likelihood_coef=likelihood_coef,
        mismatched=mismatched,
        schedule=cosine(n_steps, warmup_steps=5),
    )
    return policy, records


# %% [markdown]
# ## 1. DPO
#
# **Goal**: the loss of direct preference optimisation, from four log-probabilities for
# each pair.
#
# **Why it matters**: it replaces reward model, value function and sampling by one line.
# Many open models of the last years were aligned by it or by one of its cousins.

# %%
# exercise: utils.align.preference_losses.dpo_loss points=5 minutes=15 difficulty=2

# %% [markdown]
# **Experiment.** Sixty steps of eight pairs, with your loss and nothing else. The
# answers that the pairs prefer are short. The assistant's answers have about 30 words.
# How many words do they have afterwards?

# %%
my_words = None  # mean number of words: your number

# %% tags=["needs:dpo_loss", "nbval-ignore-output"]
plain, plain_records = tuned(
    lambda scores: dpo_loss(*scores[:4], beta=0.1), likelihood_coef=0.0
)
before, after = judged(assistant), judged(plain)
compare(my_words, after["words"], "{:.0f} words")
last = plain_records[-1]
print(f"loss {last['loss']:.2f}, pairs told apart {last['accuracy']:.0%}")
print(
    f"gold utility {before['utility']:.2f} before, {after['utility']:.2f} after"
)
steps = range(len(plain_records))
plots.lines(
    {
        "chosen": (steps, [r["chosen_ratio"] for r in plain_records]),
        "rejected": (steps, [r["rejected_ratio"] for r in plain_records]),
    },
    title="Both fall, and their difference is all that the loss can see",
    xlabel="step",
    ylabel="log-probability, less the reference's",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. Two lines over sixty steps. The rejected answers' log-probability falls
# steeply, and that of the chosen ones falls as well.*
#
# The pairs are told apart, and the answers that were preferred have become unlikely.
# The lecture's remedy was a likelihood term. The experiments with IPO and KTO use it.

# %% [markdown]
# ## 2. IPO
#
# **Goal**: the loss that pulls each margin to a target, and no further.
#
# **Why it matters**: on pairs that are always decided the same way, DPO's margins grow
# without end. A target is the simplest way to say how far is enough.

# %%
# exercise: utils.align.preference_losses.ipo_loss points=4 minutes=10 difficulty=2

# %% [markdown]
# **Experiment.** DPO and IPO on the same pairs; a beta of 1 for IPO, which then wants a
# margin of half a nat per token. How large is its mean margin of a whole answer in the
# end, as a share of DPO's?

# %%
my_share = None  # IPO's margin divided by DPO's: your number

# %% tags=["needs:dpo_loss,ipo_loss", "nbval-ignore-output"]
short_dpo, dpo_records = tuned(lambda scores: dpo_loss(*scores[:4], beta=0.1))
short_ipo, ipo_records = tuned(lambda scores: ipo_loss(*scores[:6], beta=1.0))
margins = [
    sum(r["margin"] for r in records[-10:]) / 10
    for records in (dpo_records, ipo_records)
]
compare(my_share, margins[1] / margins[0], "{:.1f}")
rows = []
for name, model in (
    ("assistant", assistant),
    ("DPO", short_dpo),
    ("IPO", short_ipo),
):
    found = judged(model)
    rows.append((name, *(f"{value:.2f}" for value in found.values())))
print(text_table(("", "gold utility", "words", "rude"), rows))

# %% [markdown] tags=["result"]
# IPO stopped far short of DPO's margin, and its answers have most of the gain: polite,
# and nearly as short. What lies beyond the target buys little.

# %% [markdown]
# ## 3. KTO
#
# **Goal**: a loss on single responses that are marked as wanted or not.
#
# **Why it matters**: a thumb up or down is what users give. Pairs have to be made.

# %%
# exercise: utils.align.preference_losses.kto_loss points=5 minutes=18 difficulty=2

# %% [markdown]
# **Experiment.** The same answers, but nobody says which belong together. Of the
# assistant's answers, about one in five is rude. What share is rude afterwards?

# %%
my_rude = None  # share of rude answers afterwards, from 0 to 1: your number


# %% tags=["needs:kto_loss", "nbval-ignore-output"]
def loss_of_marks(scores):
    """Return your loss of a batch: first all wanted answers, then the others."""
    n = len(scores.chosen)
    return kto_loss(
        torch.cat([scores.chosen, scores.rejected]),
        torch.cat([scores.ref_chosen, scores.ref_rejected]),
        torch.arange(2 * n) < n,
        scores.mismatched,
        scores.ref_mismatched,
    )


marked, _ = tuned(loss_of_marks, mismatched=True)
start_numbers, end_numbers = judged(assistant), judged(marked)
compare(my_rude, end_numbers["rude"], "{:.2f}")
print(f"before {start_numbers['rude']:.2f}")

# %% [markdown] tags=["result"]
# Marks on single answers, without a pair among them, take away most of the rudeness.

# %% [markdown]
# ## 4. Compared with the group
#
# **Goal**: how much better each response is than the others to its prompt.
#
# **Why it matters**: this replaces PPO's value function, with its own network, its own
# learning rate and its own ways to fail.

# %%
# exercise: utils.align.group_losses.group_advantages points=5 minutes=10 difficulty=2

# %% [markdown]
# **Experiment.** Groups of eight right or wrong answers. With the division by the
# standard deviation, what is the one right answer of a hard question worth, as a
# multiple of what each is worth where four of the eight are right?

# %%
my_multiple = (
    None  # advantage at 1 of 8, divided by that at 4 of 8: your number
)

# %% tags=["needs:group_advantages"]
worth = {True: [], False: []}
for n_right in range(1, 8):
    rewards = torch.tensor([1.0] * n_right + [0.0] * (8 - n_right))
    for divide in worth:
        found = group_advantages(rewards, 8, divide)
        worth[divide].append(found[0].item())
compare(my_multiple, worth[True][0] / worth[True][3], "{:.1f}")
plots.lines(
    {
        "divided": (range(1, 8), worth[True]),
        "not divided": (range(1, 8), worth[False]),
    },
    title="Division makes rare successes count for more",
    xlabel="right answers in a group of eight",
    ylabel="advantage of a right answer",
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 2. Two falling lines. Without the division the advantage is the share of wrong
# answers. With it, it is larger everywhere, most of all where a single answer is
# right.*

# %% [markdown]
# ## 5. GRPO
#
# **Goal**: the clipped loss over tokens, with its row's advantage, and a length to
# divide each row by; where a reference is given, its pull comes on top of each token.
#
# **Why it matters**: models that reason were trained with this loss. What a row is
# divided by looks like a detail, and decides whether answers grow.

# %%
# exercise: utils.align.group_losses.grpo_loss points=7 minutes=20 difficulty=3

# %% [markdown]
# **Experiment.** Two responses to one prompt, of 4 and of 16 tokens; the long one is
# wrong. By how much does each normalisation push at a single token of the wrong one?
# With the sequence mean as the unit, how hard does the token mean ("batch") push?

# %%
my_push = None  # a multiple of the sequence mean's push: your number

# %% tags=["needs:grpo_loss"]
mask = torch.arange(16) < torch.tensor([[4], [16]])
advantages = torch.tensor([1.0, -1.0])
pushes = {}
for how in LENGTHS:
    logprobs = torch.full((2, 16), -1.0, requires_grad=True)
    lengths = row_lengths(how, mask, max_new_tokens=32)
    loss = grpo_loss(logprobs, logprobs.detach(), advantages, mask, lengths)
    (push,) = torch.autograd.grad(loss, logprobs)
    pushes[how] = push[1, 0].item()
compare(my_push, pushes["batch"] / pushes["sequence"], "{:.1f} times")
print(
    text_table(
        ("divided by", "push"), [(k, f"{v:.4f}") for k, v in pushes.items()]
    )
)

# %% [markdown] tags=["result"]
# The long answer's own length, 16, is larger than the mean length of the two, 10: under
# the sequence mean each of its tokens is pushed less.

# %% [markdown]
# ## 6. A checker
#
# **Goal**: 1.0 where the last number of a response is the right one, else 0.0.
#
# **Why it matters**: a learned reward can be flattered. A checker can be gamed only
# where it has a hole, and a policy will find every hole that pays.

# %%
# exercise: utils.align.verify.verify_answer points=4 minutes=16 difficulty=2

# %% [markdown]
# **Experiment.** The assistant is bad at sums: it was tuned to chat. Fifteen iterations
# of 32 prompts with eight responses each, on sums that training may use, rewarded by
# your checker. What share of its drawn answers is right in the last iterations?

# %%
my_right = None  # share of right answers, from 0 to 1: your number


# %% tags=["needs:group_advantages,grpo_loss,verify_answer", "nbval-ignore-output"]
values = {}  # prompt -> right answer


def sums(iteration):
    """Return 32 sums as prompts, and note their answers."""
    asked = questions(
        world, "trained", 32, seed=100 + iteration, kinds=("sum",)
    )
    found = [chat_prompt(tokenizer, question.prompt) for question in asked]
    values.update(
        {tuple(p): q.value for p, q in zip(found, asked, strict=True)}
    )
    return found


def reward(rollouts):
    """Return your checker's verdict on each response."""
    texts = [tokenizer.decode(r, skip_special=True) for r in rollouts.responses]
    return torch.tensor(
        [
            verify_answer(text, values[tuple(prompt)])
            for text, prompt in zip(texts, rollouts.prompts, strict=True)
        ]
    )


calculator = deepcopy(assistant)
records = train_grpo(
    calculator,
    sums,
    reward,
    adamw(calculator, lr=3e-4, weight_decay=0.0),
    15,
    max_new_tokens=16,
    advantage_fn=group_advantages,
    loss_fn=grpo_loss,
    **IDS,
)
shares = [record["reward"] for record in records]
compare(my_right, sum(shares[-3:]) / 3, "{:.2f}")
plots.lines(
    {
        "right": (range(1, 16), shares),
        "without spread": (range(1, 16), [r["flat"] for r in records]),
    },
    title="What it is told is right, it does more often",
    xlabel="iteration",
    ylabel="share of answers, of groups",
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 3. Two lines over fifteen iterations. The share of right answers rises, with
# ups and downs. The share of groups in which all answers got the same reward, and from
# which nothing was learned, lies above a third nearly all the time.*

# %% [markdown]
# ## 7. Written answer (3 points)
#
# A team aligns its assistant by DPO on ten thousand pairs that were bought from a data
# vendor. After an hour the loss is 0.02 and every pair is told apart; the release is
# planned for tomorrow. A colleague proposes GRPO instead, with the reward "the answer
# contains the right number".
#
# In four to seven sentences: which numbers would you ask the team for before the
# release, and what would each tell? What will the colleague's reward teach the model,
# and what would you change about it?
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* A loss near zero says that the pairs are told apart, not that the
# preferred answers are likely: I would ask for the log-probabilities of chosen and of
# rejected answers, each beside the reference's. If both have fallen, probability has
# gone to answers that nobody has seen, and a few dozen drawn answers will show which.
# I would ask for the KL divergence from the reference, and for the same margins on
# held-out pairs, since ten thousand pairs can be learned by heart. And I would ask for
# the answers' quality and length on prompts from outside, judged by people or a judge
# whose agreement with people is known. The colleague's reward pays for a number
# anywhere, so the model will learn to write many numbers. I would check the last number
# alone, compare it as a number, count an answer that was cut at the limit as wrong, and
# read a sample of rewarded answers every few iterations.
#
# *Rubric.* 1 point: asks for chosen and rejected log-probabilities apart, and says
# what a fall of both means. 1 point: asks for a measure outside of the training pairs
# (held-out pairs, KL, judged samples). 1 point: names listing numbers as what the
# reward pays for, and a check that gives one guess.
# <!-- END SOLUTION -->
