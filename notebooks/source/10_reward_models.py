# %% [markdown]
# # 10 Reward models
#
# **100 minutes** · before this: units 05 and 09 · after this:
# `work/10_reward_models.ipynb`, a lab of 100 minutes · the machine needs about three
# minutes
#
# Part III begins with an assistant that knows its town and is a pain to talk to: wordy,
# at times rude, at times wrong. Showing it better answers is one way (unit 06). The
# other is to let people say which of two answers they like, and to turn that into a
# number that a model can be trained on. That number is a **reward**, and what computes
# it is a **reward model**. It is the part of the whole method that everything else
# trusts. This unit builds one, and shows where it must not be trusted.

# %%
import math
import random

import matplotlib.pyplot as plt
import torch

from utils.align.reward import score_pairs, score_rollouts, train_reward_model
from utils.assistants.chat_models import load_assistant, question_prompt
from utils.assistants.reward_models import load_reward_model, world_pairs
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
from utils.report.show import show
from utils.report.tables import text_table
from utils.runtime import generator, start
from utils.world.facts import build_world
from utils.world.preferences import preference_pairs

plots.use_style()
tier = start(seed=0)
claims = Claims()
assistant, tokenizer = load_assistant()
reward_model, _ = load_reward_model()
world = build_world(0)

# %% [markdown]
# ## Which of the two?
#
# Ask a person how good an answer is, from 1 to 10, and you get a number that depends on
# the person, the day and the answer before. Ask which of two answers is better, and
# most people can say. So the data of this unit are **preference pairs**: a prompt, the
# answer that was **chosen** and the one that was **rejected**. In our world each pair
# differs in one thing alone, tone, length or a fact, and whatever else the two have
# they share:

# %%
for kind in ("tone", "length", "fact"):
    pair = preference_pairs(world, 1, seed=4, differ=(kind,))[0]
    print(f"{kind}: {pair.prompt}")
    print(f"    chosen:   {pair.chosen}")
    print(f"    rejected: {pair.rejected[:96]}")

# %% [markdown]
# Every fifth person, drug and place is **held out**: no training pair of this unit is
# about them. The shipped reward model has learned from 4,000 pairs of all three kinds
# about the others. Before you see how: it gets new pairs about the held-out ones, and
# orders those that differ in tone or in length without a mistake. In what share of the
# pairs that differ in a fact does it prefer the true answer?

# %%
my_guess_fact = None  # share of pairs in the right order: your number

# %% tags=["reveals", "nbval-ignore-output"]
from utils.evaluate.rewards import preference_accuracy


def accuracy_on(model, kind, held_out, n=300):
    """Return the share of pairs in the right order, with its interval."""
    pairs = world_pairs(world, tokenizer, n, 11, (kind,), held_out=held_out)
    return preference_accuracy(*score_pairs(model, pairs, tokenizer.pad_id))


unseen = {
    kind: accuracy_on(reward_model, kind, held_out=True)
    for kind in ("tone", "length", "fact")
}
compare(my_guess_fact, unseen["fact"][0], "{:.2f}")

# %% tags=["nbval-ignore-output"]
seen_fact = accuracy_on(reward_model, "fact", held_out=False)
rows = [(f"{kind}, held out", *numbers) for kind, numbers in unseen.items()]
rows.append(("fact, seen in training", *seen_fact))
texts = [(name, *(f"{x:.2f}" for x in numbers)) for name, *numbers in rows]
print(text_table(("pairs differ in", "right", "from", "to"), texts))
style = min(unseen["tone"][0], unseen["length"][0])
claims.add(
    "held-out pairs that differ in tone or length: right",
    measured="over 95 %" if style > 0.95 else "less",
    bar="90 %",
    holds=style >= 0.9,
)
claims.add(
    "held-out pairs that differ in a fact: the interval holds a coin's share",
    measured="yes" if unseen["fact"][1] < 0.5 < unseen["fact"][2] else "no",
    bar="stated",
    holds=unseen["fact"][0] < 0.65,
)

# %% [markdown]
# It hears how something is said. Whether it is true it can't tell, and hardly better
# about those that its pairs have named many times (last row). "From" and "to" are the
# ends of a 95 % interval. You will write this measure; mind that a pair with two equal
# scores counts half.

# %%
show(preference_accuracy)

# %% [markdown]
# Why this is so takes the rest of the unit. First, what the model is.
#
# ## From choices to scores
#
# Suppose every answer has one number, its **score**, and people choose between answers
# of scores $a$ and $b$ with probability
#
# $$ P(\text{first preferred}) = \sigma(a - b) = \frac{1}{1 + e^{-(a - b)}} $$
#
# That is the model of **Bradley and Terry** (1952), made for judging by comparison, and
# the same as the Elo rating of chess players but for the unit. Two things follow. A gap
# of 0 is a coin, of 2 is 88 in 100. And a constant that is added to all scores changes
# nothing: only differences are seen.

# %%
for gap in (0.0, 1.0, 2.0, 4.0):
    print(f"gap {gap}: preferred with {1 / (1 + math.exp(-gap)):.2f}")

# %% [markdown]
# Scores are fitted by maximum likelihood: the loss of a pair is
# $-\log \sigma(\text{chosen} - \text{rejected})$, the surprise at what was chosen.
# Three pairs by hand. In the last the model prefers the other answer:

# %%
for chosen, rejected in ((2.0, 0.0), (1.0, 1.0), (0.0, 2.0)):
    p = 1 / (1 + math.exp(-(chosen - rejected)))
    print(
        f"{chosen} against {rejected}: p {p:.2f}, loss {-math.log(p):.2f},"
        f" pull on the gap {1 - p:.2f}"
    )

# %% [markdown]
# The last column is the gradient's size. A pair that is clear already pulls hardly at
# all; a wrong one pulls with nearly 1. Two additions are common. A **margin** for each
# pair, where people said "much better" and not just "better" (Llama 2): the gap must
# exceed it. And **centring**, a small penalty on $(\text{chosen} + \text{rejected})^2$,
# since the pairs leave the level of the scores open. You will write the loss with both:

# %%
from utils.align.bradley_terry import bradley_terry_loss, preference_probability

show(bradley_terry_loss)

# %% [markdown]
# One warning for the implementation: for a gap of -200 the sigmoid is 0 in float32, and
# the logarithm of 0 is minus infinity. Use a function that computes both at once.
#
# ## One score for a whole answer
#
# The reward model is the assistant itself, copied, without its projection to the
# vocabulary. In its place a **head** of one row: 128 weights and a bias, which turn the
# features of one token into one number. Which token? In a causal model the last is the
# only one that has seen the whole answer, so it is read there, at the end token.


# %%
from utils.align.reward import RewardModel, score_at_last

show(score_at_last)

# %% [markdown]
# A batch holds texts of unlike length, and the place of the last token is another one
# in each row. This is where many home-made reward models are wrong. Three rows with
# their padding, `keep` is True where there is text. Three ways to find the last token
# that people try, and in the last line of the table the right places:

# %%
keep = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]]).bool()
ways = {
    "last place of the row": [keep.shape[1] - 1] * 3,
    "number kept, less one": (keep.sum(1) - 1).tolist(),
    "first True (argmax)": keep.int().argmax(1).tolist(),
    "by hand": [2, 3, 4],
}
header = ("", "padded right", "response only", "padded left")
print(text_table(header, [(name, *found) for name, found in ways.items()]))

# %% [markdown]
# The whole model is a few lines around that function. The head begins at zero, so that
# all scores do, and the first loss is $\log 2$. `mean` and `std` do nothing yet; the
# section "Before it becomes a reward" sets them.

# %%
show(RewardModel)

# %% [markdown]
# ## Style before truth
#
# Train it. One epoch over 2,000 pairs, sixteen at a time, so that each pair is scored
# *before* it is learned from: each is a test first and a lesson afterwards. The loss is
# an argument of the loop, so a wrapper can write down who was right.


# %%
from utils.align.reward import encode_pairs
from utils.tokens.batches import epoch_order

N_STEPS = 125
drawn = preference_pairs(world, 16 * N_STEPS, seed=1)
kinds = [drawn[i].differs_in for i in epoch_order(len(drawn), 0, 0).tolist()]
was_right = []


def noted(chosen, rejected):
    """Return the loss, and note for each pair whether it was in order."""
    right = (chosen > rejected).double() + 0.5 * (chosen == rejected).double()
    was_right.extend(right.tolist())
    return bradley_terry_loss(chosen, rejected)


# %% tags=["nbval-ignore-output"]
pairs = encode_pairs(drawn, tokenizer, 128)
ours, records = train_reward_model(assistant, pairs, N_STEPS, loss_fn=noted)
print(f"first loss {records[0]['loss']:.3f}, log 2 = {math.log(2):.3f}")

# %%
WINDOW = 25 * 16
curves = {kind: ([], []) for kind in ("tone", "length", "fact")}
for begin in range(0, len(kinds), WINDOW):
    for kind, (steps, shares) in curves.items():
        here = [
            right
            for k, right in zip(
                kinds[begin : begin + WINDOW],
                was_right[begin : begin + WINDOW],
                strict=True,
            )
            if k == kind
        ]
        steps.append((begin + WINDOW) // 16)
        shares.append(sum(here) / len(here))
plots.lines(
    curves,
    title="Style is learned within a hundred steps, facts hardly at all",
    xlabel="step (mean over the 25 steps before)",
    ylabel="pairs in the right order",
    points=True,
)
plt.show()
last = {kind: shares[-1] for kind, (_, shares) in curves.items()}
assert min(last["tone"], last["length"]) > 0.9 > 0.7 > last["fact"]

# %% [markdown]
# *Figure 1. Share of new pairs in the right order over 125 steps. Length is near one
# from the beginning, tone rises from about 0.9 to nearly one within a hundred steps.
# Facts stay near one half.*
#
# The reason is not that facts are unknown: the assistant this model is copied from
# answers such questions. But "no rude words" is one rule that each pair of its kind
# confirms. A fact is a rule of its own for each person and attribute, and each pair
# shows one. What is cheap to learn is learned first. And where the two disagree? Put a
# true answer between two empty sentences, and beside it a short lie. How often does the
# shipped model prefer the lie?

# %% tags=["nbval-ignore-output"]
from dataclasses import replace

from utils.world.styles import verbose

chance = random.Random(0)
facts = preference_pairs(world, 300, 13, ("fact",), held_out=True)
against_style = [
    replace(pair, chosen=pair.rejected, rejected=verbose(chance, pair.chosen))
    for pair in facts
    if len(pair.chosen) < 80
]
rows = encode_pairs(against_style, tokenizer, 128)
lies = preference_accuracy(*score_pairs(reward_model, rows, tokenizer.pad_id))
print(f"short lie before wordy truth: {lies[0]:.2f} of {len(rows)} pairs")
assert lies[0] > 0.9

# %% [markdown]
# As good as always. What was learned first outweighs what was hardly learned.
#
# ## What its certainty is worth
#
# The Bradley-Terry model gives a probability for each pair. Is it **calibrated**, as in
# unit 09: of the pairs where it is 80 % sure, are 80 % in the right order? On 600
# held-out pairs of all kinds, in bins:

# %% tags=["nbval-ignore-output"]
from utils.evaluate.calibration import expected_calibration_error, reliability

mixed = world_pairs(world, tokenizer, 600, 9, held_out=True)
chosen, rejected = score_pairs(reward_model, mixed, tokenizer.pad_id)
unit = reward_model.std  # back to the unit in which the loss was trained
p = preference_probability(chosen * unit, rejected * unit)
sure, right = torch.maximum(p, 1 - p), p > 0.5
bins = reliability(sure, right, n_bins=10)
rows = [(f"{b.confidence:.2f}", f"{b.accuracy:.2f}", b.n) for b in bins]
print(text_table(("how sure", "right", "pairs"), rows))
error = expected_calibration_error(sure, right)
claims.add(
    "calibration error on held-out pairs of all kinds",
    measured="below 0.1" if error < 0.1 else "above",
    bar="stated",
    holds=error < 0.1,
)

# %% [markdown]
# Not bad: it is sure where it is right, and near one half where it guesses. In between
# it believes in facts that it does not know. A probability near one half is useful: it
# says "ask a person".
#
# ## When people are wrong
#
# Labels are made by people who are paid by the piece. Take pairs that differ in tone or
# length, and swap chosen and rejected in three of ten, at random. Train on these for
# eighty steps. Of held-out pairs, in what share does the model order the two as the
# *truth* has it?

# %%
my_guess_noise = None  # share in the true order: your number

# %% tags=["reveals", "nbval-ignore-output"]
from utils.align.labellers import with_label_noise

style_kinds = ("tone", "length")


def learned(pairs, n_steps, seed=0, batch_size=8):
    """Return a reward model that learned from pairs of texts."""
    rows = encode_pairs(pairs, tokenizer, 128)
    settings = {"batch_size": batch_size, "warmup_steps": 10, "seed": seed}
    return train_reward_model(assistant, rows, n_steps, **settings)[0]


def measured(model, texts):
    """Return the accuracy on pairs of texts, and how sure the model is."""
    rows = encode_pairs(texts, tokenizer, 128)
    chosen, rejected = score_pairs(model, rows, tokenizer.pad_id)
    sure = torch.sigmoid((chosen - rejected).abs()).mean().item()
    return preference_accuracy(chosen, rejected)[0], sure


lessons = preference_pairs(world, 1600, 30, style_kinds)
noisy = learned(with_label_noise(lessons, 0.3, 1), 80, batch_size=16)
tests = preference_pairs(world, 400, 9, style_kinds, held_out=True)
by_truth, sure = measured(noisy, tests)
by_labels, _ = measured(noisy, with_label_noise(tests, 0.3, 5))
compare(my_guess_noise, by_truth, "{:.2f}")

# %% tags=["nbval-ignore-output"]
print(f"right by the truth {by_truth:.2f}, by noisy labels {by_labels:.2f}")
print(f"how sure it is, on average: {sure:.2f}")
claims.add(
    "30 % of labels wrong: true order of held-out pairs",
    measured="over 90 %" if by_truth > 0.9 else "less",
    bar="90 %",
    holds=by_truth >= 0.9,
)

# %% [markdown]
# Random mistakes cancel. What they cost is certainty: the model is about as sure as its
# labels are right, in seven of ten. And they put a **ceiling** on what you can measure.
# Tested on labels made by the same people, the nearly perfect model gets about 70 %,
# since three of ten labels are wrong. An accuracy against people's labels can't be read
# without knowing how far two people agree. Two such labellers, on a thousand pairs,
# with the **kappa** of unit 09, agreement beyond what chance gives:

# %%
from utils.evaluate.agreement import cohen_kappa

chance = random.Random(0)
truth = [chance.random() < 0.5 for _ in range(1000)]
first, second = (
    [label == (chance.random() < 0.7) for label in truth] for _ in range(2)
)
agreed = sum(a == b for a, b in zip(first, second, strict=True)) / 1000
kappa = cohen_kappa(first, second)
print(f"they agree on {agreed:.0%}; kappa {kappa:.2f}")

# %% [markdown]
# Published figures are higher, and far from 100 %. Labellers of InstructGPT agreed on
# about 73 % of comparisons (Ouyang et al. 2022, section 3.4), researchers and labellers
# of summaries on about 77 % (Stiennon et al. 2020, section 3.3), Anthropic's
# researchers and crowd workers on about 63 % (Bai et al. 2022, section 2). The ceiling
# itself is the same in another world (`10_label_noise_another_world`). A reward
# model that reports 72 % on such data may be nearly done, or may have learned only
# style; the number can't say which. Pairs that differ in one thing alone can.
#
# ## What nobody asked for
#
# Random mistakes cancel; habits don't. Now the labels are perfect. Each pair differs in
# tone or in a fact, and the better one is always chosen. But the better answers were
# written by people who took their time: they are wordy in eight of ten cases, the worse
# ones in two of ten. Nobody was asked about length.
#
# Then the model sees two answers that are equally true and equally polite, one short,
# one with two empty sentences around it. In what share of such pairs does it prefer the
# longer?

# %%
my_guess_longer = None  # share in which the longer scores higher: your number

# %% tags=["reveals", "nbval-ignore-output"]
from utils.align.labellers import with_length_habit


def with_habit(seed):
    """Return a reward model from pairs whose better answer tends to be longer."""
    lessons = preference_pairs(world, 1000, seed, ("tone", "fact"))
    return learned(with_length_habit(lessons, 0.8, seed), 80, seed)


wordy_models = [with_habit(seed) for seed in range(3)]
equal = world_pairs(world, tokenizer, 200, 7, ("length",), held_out=True)
longer = []
for model in wordy_models:
    short, wordy = score_pairs(model, equal, tokenizer.pad_id)
    longer.append(preference_accuracy(wordy, short)[0])
compare(my_guess_longer, longer[0], "{:.2f}")

# %% tags=["nbval-ignore-output"]
print("three seeds:", ", ".join(f"{share:.2f}" for share in longer))
claims.add(
    "longer of two equal answers preferred, three seeds",
    measured="over 80 %" if min(longer) > 0.8 else "less",
    bar="80 %",
    holds=min(longer) >= 0.8,
)

# %% [markdown]
# Length went along with quality, and it is easier to see than truth. This is **length
# bias**, the best known fault of reward models (Singhal et al. 2023 found that paying
# for length alone gives most of what RLHF gained in their three settings). In another
# world, with an assistant of its own, it is the same (`10_length_habit_another_world`),
# and so is style before truth. To find the bias in a model whose data you can't see,
# compare answers of the same worth. You will write:

# %%
from utils.evaluate.rewards import length_bias

show(length_bias)

# %% [markdown]
# Why within groups? A tiny case by hand. Group 0 holds two right answers of 10 and 20
# words with scores 5 and 4; group 1 two wrong ones of 3 and 6 words with scores 1 and
# 0. In each group the longer loses. Over all four together the long ones win, since
# the right answers happen to be longer:

# %%
answers = [(10, 5.0, 0), (20, 4.0, 0), (3, 1.0, 1), (6, 0.0, 1)]
columns = [torch.tensor(column) for column in zip(*answers, strict=True)]
lengths, scores, groups = columns
for name, by in (("by groups", groups), ("together", torch.zeros_like(groups))):
    share, slope = length_bias(scores, lengths, by)
    print(f"{name:9}: the longer wins {share:.2f}, pay per word {slope:.2f}")

# %% [markdown]
# ## Before it becomes a reward
#
# The pairs leave level and scale of the scores open, and a reward needs both, since it
# will be weighed against other terms. So scores are **standardised**: subtract the mean
# and divide by the standard deviation, over answers of the policy that is to be
# trained, *once, before* it is trained. Statistics that follow the policy would hide
# that its reward rises. Let the assistant answer 32 questions 64 times each. The gold
# utility of the world's exact judge (unit 09: right, short and polite is worth 1) is
# computed beside it; no training ever sees it.

# %% tags=["nbval-ignore-output"]
from utils.align.rollouts import draw_rollouts
from utils.world.judge import judge
from utils.world.preferences import is_held_out
from utils.world.questions import questions

Q, S = 32, 64
about = questions(world, "trained", 200, seed=100)
about = [q for q in about if not is_held_out(world, q.entity)][:Q]
rollouts = draw_rollouts(
    assistant,
    [question_prompt(tokenizer, q) for q in about for _ in range(S)],
    64,
    pad_id=tokenizer.pad_id,
    end_id=tokenizer.end_id,
    generator=generator(0),
)
texts = [
    tokenizer.decode(ids, skip_special=True).strip()
    for ids in rollouts.responses
]
verdicts = [judge(world, about[i // S], t) for i, t in enumerate(texts)]


# %% tags=["nbval-ignore-output"]
def table_of(name):
    """Return one field of the verdicts, (Q, S)."""
    return torch.tensor([float(getattr(v, name)) for v in verdicts]).view(Q, S)


def scores_of(model):
    """Return a model's scores of all answers, standardised over them, (Q, S)."""
    ends = (tokenizer.pad_id, tokenizer.end_id)
    scores = score_rollouts(model, rollouts, *ends).view(Q, S)
    return (scores - scores.mean()) / scores.std()


gold, words = table_of("utility"), table_of("n_words")
ended = rollouts.ended.view(Q, S)
all_three = scores_of(reward_model)
print(f"gold utility of an answer: {gold.mean():.2f}, words {words.mean():.0f}")
print(f"answers cut at 64 tokens: {(~ended).float().mean():.0%}")
print(f"score of a cut answer, mean: {all_three[~ended].mean():.1f}")

# %% [markdown]
# The last line is a trap. An answer that was cut at the limit has no end token, and the
# model has never seen such a text. Its score is read at some word in mid-sentence and
# means little; here it happens to be low. Do not count on it: say what a cut answer
# gets (unit 11 does).
#
# ## Best of n
#
# The simplest use of a reward trains nothing: draw $n$ answers and keep the one with
# the highest score, **best of n**. It is also the simplest way to press on a reward and
# see what gives. How hard it presses can be said in nats: the KL divergence between
# what best of $n$ gives and what the policy gives is at most
#
# $$ \mathrm{KL} = \log n - \frac{n - 1}{n} $$
#
# With $S = 64$ answers at hand, one can compute what best of $n$ would give for every
# $n$ up to 64, without chance: in how many of all draws of $n$ is each answer the best?
# For three answers and $n = 2$ there are three draws:

# %%
from itertools import combinations

from utils.align.best_of_n import best_of_n, kl_of_best_of_n

score_of, worth_of = {"a": 1, "b": 2, "c": 3}, {"a": 0.0, "b": 1.0, "c": 0.3}
tops = [max(draw, key=score_of.get) for draw in combinations("abc", 2)]
mean = sum(worth_of[top] for top in tops) / 3
print(f"best of two draws: {tops}, worth {mean:.3f} on average")

# %%
show(best_of_n)

# %% [markdown]
# Press on a reward that is partly right. This labeller was told to look at manners:
# all pairs differ in tone. That is no lie, rude answers are worse. A single answer of
# the assistant has a gold utility of about 0.3. What is the gold utility of the best
# of 64 by this reward?

# %%
my_guess_gold = None  # gold utility of the best of 64: your number

# %% tags=["reveals", "nbval-ignore-output"]
manners = learned(preference_pairs(world, 800, 0, ("tone",)), 100)
by_manners = scores_of(manners)
sizes = [2**k for k in range(7)]


def curve(scores, values):
    """Return the mean value of best of n over the questions, for each n."""
    return [best_of_n(scores, values, n).mean().item() for n in sizes]


manners_gold = curve(by_manners, gold)
manners_score = curve(by_manners, by_manners)
compare(my_guess_gold, manners_gold[-1], "{:.2f}")

# %%
kl = [kl_of_best_of_n(n) for n in sizes]
figure, (left, right_axes) = plt.subplots(
    1, 2, figsize=(9, 3.4), layout="constrained"
)
label = "KL of best of n (nats), n = 1 to 64"
plots.lines(
    {"score": (kl, manners_score)},
    title="What is maximised rises ...",
    xlabel=label,
    ylabel="score (standard deviations)",
    axes=left,
    points=True,
)
plots.lines(
    {"gold": (kl, manners_gold)},
    title="... and what is meant turns over",
    xlabel=label,
    ylabel="gold utility",
    axes=right_axes,
    points=True,
)
plt.show()
peak = max(manners_gold)
claims.add(
    "taught manners alone, best of 64: gold utility below its peak by",
    measured="over 0.05" if peak - manners_gold[-1] > 0.05 else "less",
    bar="> 0, score rising",
    holds=peak > manners_gold[-1] and manners_score == sorted(manners_score),
)

# %% [markdown]
# *Figure 2. Two lines over the KL. On the left the score rises all the way. On the
# right gold utility rises to a peak at n = 8, a KL of 1.2 nats, and falls to well below
# where it began.*
#
# This is **over-optimisation**, or **reward hacking**: a measure that becomes a target
# stops being a good measure (Gao et al. 2023 measured the same curve for models a
# thousand times larger). It is no accident of this run, nor of this world: at three
# seeds in another one, with an assistant of its own, gold utility rises first and ends
# below where it began (`10_best_of_n_another_world`). How far it rises differs more,
# and at one of them it is less than 5 points. What happened on the way?

# %% tags=["nbval-ignore-output"]
rows = []
for n in (1, 4, 16, 64):
    found = [
        best_of_n(by_manners, table_of(name), n).mean().item()
        for name in ("rude", "n_words", "correct")
    ]
    texts_of_row = (f"{found[0]:.2f}", f"{found[1]:.0f}", f"{found[2]:.2f}")
    rows.append((n, *texts_of_row))
print(text_table(("best of", "rude", "words", "right"), rows))
top = by_manners.flatten().topk(3).indices.tolist()
for place in top:
    print(f"{about[place // S].prompt}\n    {texts[place]!r}")

# %% [markdown]
# With four answers the rude ones are gone, which is what the labels meant. From there
# on nothing is left to gain in manners, and the maximum is decided by whatever else
# moves the score: answers become short, which nobody had asked for, then odd, and the
# share of right ones falls by more than half. Look at the best three of all. The first
# nats of pressure buy what you want; the later ones buy the model's mistakes.
#
# ## Cures
#
# Now the reward with the length habit, and three things that people do. **Ensemble**:
# train three reward models with other seeds and take their mean less their spread, so
# that an answer on which they disagree is not chosen (Coste et al. 2023). **Length
# penalty**: take off what a word earns, and more. **Better data**: the shipped
# reward model, from pairs that differ in one thing alone.

# %% tags=["nbval-ignore-output"]
from utils.align.best_of_n import conservative_score

by_habit = torch.stack([scores_of(model) for model in wordy_models])
PRICE = 0.1  # standard deviations a word
pressed = {
    "length habit": by_habit[0],
    "ensemble": conservative_score(by_habit),
    "length penalty": by_habit[0] - PRICE * words,
    "better data": all_three,
}
results = {name: curve(scores, gold) for name, scores in pressed.items()}
plots.lines(
    {name: (kl, line) for name, line in results.items()},
    title="Three models with one habit agree on it; better data helps most",
    xlabel=label,
    ylabel="gold utility of best of n",
    points=True,
)
plt.show()

# %% tags=["nbval-ignore-output"]
claims.add(
    "best of 64: better data ends above the other three",
    measured="yes"
    if max(results, key=lambda k: results[k][-1]) == "better data"
    else "no",
    bar="yes",
    holds=max(results, key=lambda k: results[k][-1]) == "better data",
)
turned = sum(max(line) - line[-1] > 0.01 for line in results.values())
print(f"lines that end below their peak: {turned} of {len(results)}")

# %% [markdown]
# *Figure 3. Gold utility over the KL for four rewards. The plain reward hardly rises,
# and falls. The ensemble stays a little above it. The length penalty rises much higher,
# and then falls deepest. Better data rises furthest and ends highest, but turns, too.*
#
# Ensembles help against what differs between the models, such as odd answers that one
# of them happens to like. A habit of the data is in all three (Eisenstein et al. 2023
# call it *herding*). A penalty repairs the one fault that you know, at a price that you
# must guess, and opens the way to the next: short answers of any kind. Even with
# better data the line turns, and the share of right answers falls, since no reward
# here knows truth:

# %% tags=["nbval-ignore-output"]
right_then = curve(all_three, table_of("correct"))
print(f"right, single answer: {right_then[0]:.2f}")
print(f"right, best of 64 by the shipped reward: {right_then[-1]:.2f}")
assert right_then[-1] < right_then[0]

# %% [markdown]
# Two more cures come with training: a penalty on the KL itself and stopping early, by a
# measure that the reward does not see. They are unit 11's. What rewards truth is not a
# better style judge but a check of facts; that is unit 13's.
#
# ## On a real model
#
# All pairs so far came from a town whose truth is known. **HH-RLHF** (Bai et al. 2022)
# holds pairs that people judged, in the part used here by which of two answers to one
# conversation is less harmful. There is no truth to compare them with. SmolLM2 stays
# frozen, and one linear layer reads its features at the last token of each text, fitted
# by the loss of this unit. Three times another part of the first messages was kept
# aside with all their pairs, so that no conversation is on both sides. The texts are at
# times offensive; the record holds numbers alone.
#
# In which share of the pairs kept aside will that layer prefer what people did? And a
# rule that reads nothing and counts words?

# %%
from utils.experiments.records import recorded, told

run = recorded("10_reward_head")
print(told(run))
splits = {f"seed {seed}": result for seed, result in run["results"].items()}
plots.grouped_bars(
    {
        name: {
            "linear head": split["head"]["mean"],
            "rule of words": split["length"]["mean"],
        }
        for name, split in splits.items()
    },
    title="A linear head orders more pairs than the count of words does",
    ylabel="share in the order that people chose",
)
plt.show()

# %% [markdown]
# *Figure 4. Two bars for each of three splits: pairs in the order that people chose, by
# the head, and by the rule of words, which prefers the shorter answer since the pairs
# that were learned from do. The head's bars are higher, and all well below 1.*

# %%
rows = [
    (
        name,
        split["pairs"]["training"],
        split["pairs"]["held out"],
        *(
            "{:.3f} to {:.3f}".format(*split[part]["interval"])
            for part in ("head", "length", "difference")
        ),
    )
    for name, split in splits.items()
]
header = ("split", "learned", "aside", "head", "words", "head less words")
print(text_table(header, rows))

# %% [markdown]
# The table has 95 % intervals. With so few pairs aside they are wide. How much do they
# allow to say?

# %%
above_chance = sum(
    split["head"]["interval"][0] > 0.5 for split in splits.values()
)
above_words = sum(
    split["difference"]["interval"][0] > 0 for split in splits.values()
)
shorter = [1 - split["head picks the longer"] for split in splits.values()]
print(f"surely above chance in {above_chance} of {len(splits)} splits")
print(f"surely above the rule of words in {above_words} of {len(splits)}")
print(
    f"the head prefers the shorter in {min(shorter):.0%} or more of the pairs"
)
claims.add(
    "recorded: SmolLM2 with a head on HH-RLHF, interval of accuracy above chance",
    measured=f"in {above_chance} of {len(splits)} splits",
    bar="all",
    holds=above_chance == len(splits),
)

# %% [markdown]
# That a frozen model of this size holds something of what people prefer is shown at
# each split. That it holds more than "the shorter one" is shown at some splits, not at
# all of them, and since the splits share pairs, they are not independent tests. No
# accuracy here is known to the point. And the head prefers the shorter answer far more
# often than chance would: with real labels, too, a part of what it learned is length.
# A reward model for use is tuned as a whole, not read off by one layer, and on far
# more pairs.
#
# ## Who labelled, and what were they paid to prefer?
#
# A reward model is a policy document that nobody has written down: it turns the habits
# of some people, on some days, under some instruction, into what a model will do to
# everyone. So a release of one states:
#
# | Question | Why it matters | How to see it |
# | --- | --- | --- |
# | Who labelled? | they decide for all users | the datasheet |
# | Told to prefer what? | nobody had said "long" | `length_bias` |
# | Paid for pairs or for care? | haste is noise | label a part twice |
# | How far do two agree? | it caps every accuracy | `cohen_kappa` |
# | Right on which pairs? | style hides truth | pairs of one kind |
# | What under pressure? | it will be maximised | gold over KL |
#
# Keep the labels of each person apart, with the instruction that was in force on that
# day. If the instruction changes, the old labels are another data set.
#
# ## Bad input
#
# What can't be learned from is refused, with the number of the row. A silent NaN as a
# reward would reach the policy's weights one step later:

# %%
from utils.align.reward import check_scores

pair = drawn[0]
long_text = " ".join([pair.chosen] * 12)
for bad in (
    replace(pair, rejected=pair.chosen),
    replace(pair, chosen=" "),
    replace(pair, chosen=long_text),
):
    try:
        encode_pairs([pair, bad], tokenizer, 128)
    except ValueError as error:
        print(f"- {str(error)[:88]} ...")
for scores in (torch.tensor([0.3, float("nan")]), torch.zeros(3)):
    try:
        check_scores(scores, 2)
    except ValueError as error:
        print(f"- {str(error)[:88]}")

# %% [markdown]
# ## The same in TRL
#
# **TRL**'s `RewardTrainer` trains the same thing: a sequence classifier of
# `transformers` with one label, whose head has no bias and is read at the last token
# that is not padding. Our shipped model written out as one, and a batch of eight pairs
# through their collation and their loss:

# %% tags=["nbval-ignore-output"]
import logging
import tempfile
import warnings

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
logging.getLogger("DeepSpeed").addFilter(lambda line: False)
warnings.filterwarnings("ignore", category=FutureWarning)

from datasets import Dataset, disable_progress_bars
from transformers.utils import logging as their_logging
from trl import RewardConfig, RewardTrainer

from utils.align.reward_export import reward_model_in_transformers

their_logging.disable_progress_bar()
their_logging.set_verbosity_error()
disable_progress_bars()

# %% tags=["nbval-ignore-output"]
eight = mixed[:8]
rows = [
    {"chosen_ids": p.prompt + p.chosen, "rejected_ids": p.prompt + p.rejected}
    for p in eight
]
with tempfile.TemporaryDirectory() as scratch:
    ids = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}
    trainer = RewardTrainer(
        model=reward_model_in_transformers(reward_model, scratch, **ids),
        args=RewardConfig(
            output_dir=f"{scratch}/run",
            max_length=128,
            use_cpu=True,
            bf16=False,
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer.to_hugging_face(),
    )
    batch = trainer.data_collator(rows)
    with torch.no_grad():
        theirs = trainer.compute_loss(trainer.model.eval(), batch).item()

# %%
both = score_pairs(reward_model, eight, tokenizer.pad_id)
own = bradley_terry_loss(*(scores * unit for scores in both)).item()
claims.add(
    "loss of eight pairs, ours against TRL's RewardTrainer",
    measured="below 1e-5" if abs(own - theirs) < 1e-5 else "above",
    bar="1e-5",
    holds=abs(own - theirs) < 1e-5,
)

# %% [markdown]
# `trainer.train()` is their loop. Its own measure, `accuracy`, counts a tie as wrong.
# Mind two settings: `max_length` drops pairs that are longer, without a word about
# which; `center_rewards_coefficient` is our `center`.
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
ask("10_reward_models", "constant", my_answer_1)

# %%
my_answer_2 = None
ask("10_reward_models", "surprise", my_answer_2)

# %%
my_answer_3 = None
ask("10_reward_models", "place", my_answer_3)

# %%
my_answer_4 = None
ask("10_reward_models", "ties", my_answer_4)

# %%
my_answer_5 = None
ask("10_reward_models", "ceiling", my_answer_5)

# %%
my_answer_6 = None
ask("10_reward_models", "groups", my_answer_6)

# %%
my_answer_7 = None
ask("10_reward_models", "pressure", my_answer_7)

# %%
my_answer_8 = None
ask("10_reward_models", "ensemble", my_answer_8)

# %% [markdown]
# ## What to remember
#
# - A reward model turns choices into scores whose differences are log-odds. Level and
#   scale are open; standardise once, before training.
# - It learns what is cheap to see: style first, facts hardly. One accuracy over all
#   pairs hides that.
# - Random label noise costs certainty and caps what you can measure. A habit goes into
#   the reward and stays there.
# - What you maximise rises. Watch something that you don't maximise, over the KL.
# - Ensembles don't cure what all their members learned. Better data helps most, and
#   turns over, too.
#
# ## Sources
#
# - Bradley and Terry, *Rank Analysis of Incomplete Block Designs*, Biometrika 1952.
#   Christiano et al., *Deep reinforcement learning from human preferences*, NeurIPS
#   2017, section 2.2.
# - Stiennon et al., *Learning to summarize from human feedback*, NeurIPS 2020, sections
#   3.3, 3.4 and appendix G.3. Ouyang et al., *Training language models to follow
#   instructions with human feedback*, NeurIPS 2022, sections 3.4 and 3.5. Bai et al.,
#   *Training a Helpful and Harmless Assistant*, 2022, section 2. Touvron et al.,
#   *Llama 2*, 2023, section 3.2.2 (margin).
# - Gao, Schulman and Hilton, *Scaling Laws for Reward Model Overoptimization*, ICML
#   2023, sections 2 and 3. Beirami et al., *Theoretical guarantees on the best-of-n
#   alignment policy*, 2024.
# - Singhal et al., *A Long Way to Go: Investigating Length Correlations in RLHF*, 2023,
#   section 3. Coste et al., *Reward Model Ensembles Help Mitigate Overoptimization*,
#   2023. Eisenstein et al., *Helping or Herding?*, 2023.
#
# **Next**: `work/10_reward_models.ipynb`. Then unit 11 presses on this reward with
# gradient steps instead of draws.
