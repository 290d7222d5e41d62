# %% [markdown]
# # Lab 09: Evaluation
#
# **105 minutes** · after the lecture `notebooks/09_evaluation.ipynb`
#
# You write what turns answers into a number, and what says how far that number can
# be trusted: a score of texts, a measure of confidence, an interval, a test, the
# agreement of two people, the bias of a judge, the size of an experiment. Each
# exercise has a check that answers at once; after each, an experiment runs *your*
# function on the base model or in a simulation where the truth is known. An
# exercise that you skip only switches off its own experiments.
#
# Letters for shapes: N examples, R resamples or patterns of signs.

# %%
import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from copy import deepcopy

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from utils.evaluate.ab import check_plan, check_stream
from utils.evaluate.calibration import check_answers, reliability
from utils.evaluate.choices import continuation_logprobs
from utils.evaluate.intervals import CHUNK, check_values, normal_quantile
from utils.evaluate.judging import PositionBias, checked, swapped_choice
from utils.evaluate.pair_judge import (
    as_function,
    hasty_labels,
    judged_pairs,
    train_pair_judge,
    without_repeats,
)
from utils.evaluate.paired import MAX_EXACT, check_pairs
from utils.evaluate.rouge import WORD, Rouge
from utils.evaluate.world_qa import (
    answer_questions,
    judge_answers,
    plain_prompt,
    share,
)
from utils.labs.api import check, done, hint, start_lab
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.runtime import generator, start
from utils.world.attributes import BY_NAME
from utils.world.facts import build_world
from utils.world.judge import judge
from utils.world.phrasings import answer_sentence, fill
from utils.world.questions import questions
from utils.world.styles import false_answer, verbose
from utils.world.wordings import PHRASINGS
from utils.zoo.load import load_base

start_lab("09_evaluation")
plots.use_style()
tier = start(seed=0)
base, tokenizer = load_base()
world = build_world(0)

# %% [markdown]
# ## 1. Words in common
#
# **Goal**: precision, recall and F1 of the longest common subsequence of words.
#
# **Why it matters**: ROUGE-L is still what summaries and answers are compared by
# where no one can read them all. Whoever has written it knows what it can't see.
#
# Given: `WORD`, the pattern of a word, and `Rouge(precision, recall, f1)`.

# %%
# exercise: utils.evaluate.rouge.rouge_l points=5 minutes=20 difficulty=2

# %% [markdown]
# **Experiment.** Four kinds of answers to 200 questions about the town: the
# course's own short answer, which is also the reference; a true answer in other
# words; a true one between two long sentences that say nothing; and a false one.
# The world knows what each is worth, from 0 to 1. Which kind gets the second
# highest mean ROUGE-L?

# %%
my_second = None  # "other words", "long" or "false"

# %% tags=["needs:rouge_l"]
rng = random.Random(0)
asked = questions(world, "trained", 200, seed=4)


def variants(question):
    """Return four answers to a question, by kind."""
    about = (question.entity, question.attribute, question.value)
    other = rng.choice(PHRASINGS[question.attribute].statements[1:])
    return {
        "reference": question.answer,
        "other words": fill(other, question.entity, question.value),
        "long": verbose(rng, question.answer),
        "false": false_answer(rng, *about),
    }


scores = {}
for question in asked:
    for kind, answer in variants(question).items():
        _, _, f1 = rouge_l(answer, question.answer)
        worth = judge(world, question, answer).utility
        scores.setdefault(kind, []).append((f1, worth))
means = {
    kind: {
        "ROUGE-L": sum(f1 for f1, _ in rows) / len(rows),
        "worth": sum(worth for _, worth in rows) / len(rows),
    }
    for kind, rows in scores.items()
}
plots.grouped_bars(
    means,
    title="Second by ROUGE-L are the answers that are worth nothing",
    ylabel="mean over 200 questions",
)
plt.show()
others = [kind for kind in means if kind != "reference"]
compare(my_second, max(others, key=lambda k: means[k]["ROUGE-L"]), "{}")

# %% [markdown] tags=["result"]
# *Figure 1. Two bars for each kind of answer. The false answers have a high score
# and no worth; true answers in other words have a low score and full worth.*
#
# One word differs in a false answer, and it is the only one that counts. A score
# that counts words can't know which.

# %% [markdown]
# ## 2. How sure, how right
#
# **Goal**: the mean distance between confidence and accuracy, in bins.
#
# **Why it matters**: a model that knows when it guesses can be asked to say so. One
# that is as sure of its guesses as of its knowledge can't.
#
# Given: `check_answers(confidence, correct, n_bins)` refuses what is no row of
# answers.

# %%
# exercise: utils.evaluate.calibration.expected_calibration_error points=4 minutes=12 difficulty=1

# %% [markdown]
# **Experiment.** The base model chooses among all values that an attribute can
# have, by likelihood; its confidence is the share of the best one. It gets 150
# questions of each of three kinds: facts that it has read; facts about the same
# people and drugs that no text ever told; and facts about drugs whose very names it
# has never read. On the last two it can only guess, one in about nine. The lecture
# measured the second. How far off is its confidence in the third?

# %%
my_error = None  # calibration error on unknown drugs: your number


# %% tags=["needs:expected_calibration_error"]
def sure_and_right(asked, temperature=1.0):
    """Return confidence and correctness of the base model's choices."""
    rows, ends, sizes = [], [], []
    for question in asked:
        values = BY_NAME[question.attribute].values
        about = (question.attribute, question.entity)
        texts = [" " + answer_sentence(*about, value) for value in values]
        rows += [plain_prompt(tokenizer, question)] * len(values)
        ends += tokenizer.encode_batch(texts)
        sizes.append(len(values))
    found = continuation_logprobs(base, rows, ends).split(sizes)
    shares = [(logprobs / temperature).softmax(-1) for logprobs in found]
    right = [
        BY_NAME[question.attribute].values[int(one.argmax())] == question.value
        for question, one in zip(asked, shares, strict=True)
    ]
    return torch.stack([one.max() for one in shares]), torch.tensor(right)


told = questions(world, "trained", 150, seed=5)
never_told = questions(world, "untold", 150, seed=5)
new_drugs = questions(world, "new_drug", 150, seed=5)
found = {
    "facts it has read": sure_and_right(told),
    "facts that no text told": sure_and_right(never_told),
    "drugs it never heard of": sure_and_right(new_drugs),
}
errors = {
    name: expected_calibration_error(*pair) for name, pair in found.items()
}
compare(my_error, errors["drugs it never heard of"], "{:.2f}")
for name, error in errors.items():
    sure = found[name][0].mean().item()
    print(f"{name}: confidence {sure:.2f}, error of calibration {error:.2f}")

# %% tags=["needs:expected_calibration_error"]
together = [torch.cat(pair) for pair in zip(*found.values(), strict=True)]
bins = reliability(*together)
plots.lines(
    {
        "as right as sure": ([0.0, 1.0], [0.0, 1.0]),
        "base model": (
            [one.confidence for one in bins],
            [one.accuracy for one in bins],
        ),
    },
    title="Below a confidence of nearly one, the model knows nothing",
    xlabel="confidence",
    ylabel="share of right choices",
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 2. The diagonal, and far below it the line of the base model: near zero up
# to a confidence of nine tenths, and then a leap upwards.*
#
# On what it has read the model is right and says so. On what it has not read it
# makes up a value, surer where it knows the name: it knows much about these people,
# and takes that for knowing this. Training rewards being sure of what stands in the
# text; nothing in it says "this you have not read".

# %% [markdown]
# ## 3. An interval
#
# **Goal**: how far a mean of N examples may be from the mean of all there could be.
#
# **Why it matters**: "84.5 %" of 200 questions may as well have been 80 or 89. A
# number without an interval invites people to see progress in chance.
#
# Given: `check_values(values, level)` refuses values that no interval can be made
# of. `CHUNK` is how many numbers the course draws at once; you may draw all at
# once.

# %%
# exercise: utils.evaluate.intervals.bootstrap_interval points=5 minutes=12 difficulty=2

# %% [markdown]
# **Experiment.** A system is right 90 times in 100, and we know it, since we made
# it. Three hundred teams measure it, each with its own questions and your interval
# at 95 %. How many percent of the intervals hold the 0.9 if a team has 10
# questions? And 200?

# %%
my_ten = None  # share of intervals, 10 questions: your number
my_two_hundred = None  # share of intervals, 200 questions: your number

# %% tags=["needs:bootstrap_interval"]
held, draws = {}, generator(0)
for n in (10, 20, 50, 100, 200):
    n_held = 0
    for _ in range(300):
        right = (torch.rand(n, generator=draws) < 0.9).float()
        low, high = bootstrap_interval(right, n_resamples=500, generator=draws)
        n_held += low <= 0.9 <= high
    held[n] = n_held / 300
compare(my_ten, held[10], "{:.0%}", of="10 questions")
compare(my_two_hundred, held[200], "{:.0%}", of="200 questions")
plots.lines(
    {
        "promised": (list(held), [0.95] * len(held)),
        "held": (list(held), list(held.values())),
    },
    title="With few questions the interval holds less than it promises",
    xlabel="questions of an evaluation (log scale)",
    ylabel="share of intervals with the truth",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 3. A level line at 0.95, and a line that rises from about two thirds at 10
# questions to it.*
#
# Of ten questions all are right in every third evaluation. Resamples of ten ones
# are ten ones, so the interval is a point. A resample knows nothing but what was
# seen. For shares near 0 or 1 of few questions use `wilson_interval`, which does
# not have this hole.

# %% [markdown]
# ## 4. Two systems
#
# **Goal**: how likely a difference as large as yours would be if the systems were
# alike.
#
# **Why it matters**: both systems answer the same questions, hard ones and easy
# ones. Looking at the differences, question by question, takes that out and sees
# what two intervals side by side can't.
#
# Given: `check_pairs(a, b)` refuses scores that do not come in pairs. `MAX_EXACT`
# is 12, the number of differences up to which all patterns are listed; `CHUNK` as
# above.

# %%
# exercise: utils.evaluate.paired.paired_permutation_test points=5 minutes=18 difficulty=2

# %% [markdown]
# **Experiment.** The base model, and the same model with weights rounded to four
# bits, do 300 sums. Each has its own interval of 95 %. Do the two intervals
# overlap? And what does the paired test say?

# %%
my_overlap = None  # True or False
my_p = None  # the p-value of the paired test: your number


# %% tags=["needs:paired_permutation_test"]
def rounded_to(bits):
    """Return a copy of the base model with matrices of few bits."""
    model, most = deepcopy(base), 2 ** (bits - 1) - 1
    for weight in model.blocks.parameters():
        if weight.dim() == 2:
            step = weight.data.abs().amax(1, keepdim=True) / most
            weight.data = (weight.data / step).round() * step
    return model


def right_of(model, asked):
    """Return 1 for each question that a model answers right, else 0."""
    answers = answer_questions(model, tokenizer, asked)
    verdicts = judge_answers(world, asked, answers)
    return torch.tensor([float(verdict.correct) for verdict in verdicts])


def own_interval(right):
    """Return the interval of one system's share, from its standard error."""
    half = 1.96 * (right.var() / len(right)) ** 0.5
    return (right.mean() - half).item(), (right.mean() + half).item()


sums = questions(world, "trained", 300, seed=10, kinds=("sum",))
whole, small = right_of(base, sums), right_of(rounded_to(4), sums)
for name, right in (("base", whole), ("four bits", small)):
    low, high = own_interval(right)
    print(f"{name}: {right.mean():.2f}, between {low:.2f} and {high:.2f}")
p = paired_permutation_test(whole, small, generator=generator(0))
overlap = own_interval(small)[1] > own_interval(whole)[0]
n_changed = int((whole != small).sum())
print(f"questions on which they differ: {n_changed} of {len(sums)}")
compare(my_overlap, overlap, "{}", of="intervals overlap")
compare(my_p, p, "{:.3f}", of="p-value")

# %% [markdown] tags=["result"]
# Overlapping intervals do not mean "no difference". Nearly all questions are
# answered alike by both; only those on which they differ say anything, and they
# nearly all point the same way.

# %% [markdown]
# ## 5. Two people
#
# **Goal**: the agreement of two labellers beyond what chance would give.
#
# **Why it matters**: labels that two people don't agree on can't be predicted
# better than that by any model, and a score against them means little.

# %%
# exercise: utils.evaluate.agreement.cohen_kappa points=4 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** Two careful people read 4,000 answers for rudeness. Each is right
# 95 times in 100, whatever the answer. Where half of the answers are rude, kappa is
# about 0.81. What is it where one in a hundred is rude? The people are the same.

# %%
my_kappa = None  # kappa where one answer in a hundred is rude: your number


# %% tags=["needs:cohen_kappa"]
def two_labellers(share_rude, n=4000, seed=0):
    """Return the labels of two people who are right 95 times in 100."""
    chance = random.Random(seed)
    truth = [chance.random() < share_rude for _ in range(n)]
    return [[x == (chance.random() < 0.95) for x in truth] for _ in range(2)]


rare = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5]
kappas, agreed = [], []
for share_rude in rare:
    first, second = two_labellers(share_rude)
    kappas.append(cohen_kappa(first, second))
    same_label = sum(a == b for a, b in zip(first, second, strict=True))
    agreed.append(same_label / len(first))
compare(my_kappa, kappas[0], "{:.2f}")
plots.lines(
    {"agreement": (rare, agreed), "kappa": (rare, kappas)},
    title="The same two people: the rarer the label, the lower kappa",
    xlabel="share of rude answers (log scale)",
    ylabel="agreement of two labellers",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 4. Agreement stays level at about 0.9, whatever the share; kappa is below 0.2
# where one answer in a hundred is rude, and climbs to 0.8 where every second one is.*
#
# Neither line lies. Where rude answers are rare, most of what these two call rude
# is a slip, and the labels are of little use for finding rudeness, although people
# agree nine times in ten. Report the table of label against label, and choose items
# so that the rare label is not rare.

# %% [markdown]
# ## 6. A judge and its place
#
# **Goal**: how often a judge decides by the place of an answer, not by the answer.
#
# **Why it matters**: models judge models because people are slow. A judge that
# likes the first answer makes whoever is shown first the better system.
#
# Given: `checked(choice)` refuses what is no choice; `PositionBias(consistent,
# first, second, mixed)` holds the four shares.

# %%
# exercise: utils.evaluate.judging.judge_position_bias points=4 minutes=12 difficulty=1

# %% [markdown]
# **Experiment.** A judge is trained, in under a minute, on labels of people in a
# hurry: one time in four they named the first answer unread, and where one answer
# was much longer they were mostly impressed. Then it sees pairs about people and
# drugs of which it never saw a label. In how many pairs where *one answer is false*
# does it choose the first, whichever that is?

# %%
my_first = None  # share of those pairs: your number

# %% tags=["needs:judge_position_bias", "nbval-ignore-output"]
labelled = hasty_labels(judged_pairs(world, tokenizer, 6000, seed=1), seed=1)
judge_model = deepcopy(base)
train_pair_judge(judge_model, tokenizer, labelled)
tested = judged_pairs(world, tokenizer, 900, seed=2, held_out=True)
tested = without_repeats(tested)
choose = as_function(judge_model, tokenizer, tested)
rows, biases = [], {}
for kind in ("tone", "length", "fact"):
    pairs = [(p.chosen, p.rejected) for p in tested if p.differs_in == kind]
    biases[kind] = PositionBias(*judge_position_bias(pairs, choose))
    after = [swapped_choice(*pair, choose) for pair in pairs]
    decided = [choice for choice in after if choice != "tie"]
    good = decided.count("first") / len(decided) if decided else float("nan")
    rows.append(
        (
            kind,
            len(pairs),
            f"{biases[kind].first:.2f}",
            f"{len(decided) / len(pairs):.2f}",
            f"{good:.2f}",
        )
    )
compare(my_first, biases["fact"].first, "{:.2f}")
print(
    text_table(
        ("pairs differ in", "pairs", "first wins", "decided", "of these good"),
        rows,
    )
)

# %% [markdown] tags=["result"]
# Where the judge can't tell, it takes the first: it does not know which of two
# facts is true, so its place decides. Asked in both orders, with a winner only
# where it wins both, no place is left in the result; what remains undecided is a
# tie. But look at the pairs that differ in length: the world holds the shorter
# answer for the better one, and the judge, where it decides at all, chooses the
# longer. A swap does not cure that.

# %% [markdown]
# ## 7. How many people
#
# **Goal**: the number of people that each arm of a comparison needs.
#
# **Why it matters**: too few, and a real gain stays unseen; it is then reported as
# "no difference". The number is known before the experiment starts.
#
# Given: `check_plan(p_a, p_b, alpha, power)` refuses what has no answer, and
# `normal_quantile(share)` is z.

# %%
# exercise: utils.evaluate.ab.ab_sample_size points=3 minutes=8 difficulty=1

# %% [markdown]
# **Experiment.** The old system pleases 60 of 100 people, the new one 66. You plan
# for a power of 80 %, and then only half as many people come. How often do you find
# the difference?

# %%
my_power = None  # share of experiments that find it: your number

# %% tags=["needs:ab_sample_size"]
planned = ab_sample_size(0.60, 0.66)


def found_share(n, n_runs=4000):
    """Return how often two arms of n people differ significantly."""
    rates = torch.tensor([[0.60], [0.66]]).expand(2, n_runs)
    a, b = torch.binomial(
        torch.full((2, n_runs), float(n)), rates, generator=generator(0)
    ) / n  # fmt: skip
    middle = (a + b) / 2
    z = (b - a) / (2 * middle * (1 - middle) / n).sqrt()
    return (z.abs() > 1.96).float().mean().item()


powers = {n: found_share(n) for n in (planned, planned // 2, planned // 4)}
compare(my_power, powers[planned // 2], "{:.2f}")
for n, power in powers.items():
    print(f"{n} people in each arm: found {power:.2f} of the time")

# %% [markdown] tags=["result"]
# With half of the people the experiment is a coin toss, with a quarter it mostly
# misses. And the differences that it does find are then too large on average, since
# only large ones pass.

# %% [markdown]
# ## 8. Looking while it runs
#
# **Goal**: a p-value after every observation that stays valid however often you
# look.
#
# **Why it matters**: people look. A test that is meant for one look at the end
# raises false alarms if it is stopped at the first good moment.
#
# Given: `check_stream(differences, tau, variance)` refuses what can't be worked
# with.

# %%
# exercise: utils.evaluate.ab.sequential_test points=5 minutes=20 difficulty=3 bonus

# %% [markdown]
# **Experiment.** Two arms that are alike, 2,000 pairs of people, and a look after
# each fifty. How many percent of such experiments are at some look "significant at
# 5 %" by the usual test? And how many by yours, looked at after every single pair?

# %%
my_usual = None  # share of experiments with a false alarm: your number
my_own = None  # share with your test: your number

# %% tags=["needs:sequential_test"]
a, b = torch.rand(2, 300, 2000, generator=generator(0))
streams = (b < 0.5).double() - (a < 0.5).double()  # (300, 2000): 1, 0, -1
n = torch.arange(1, 2001)
z = streams.cumsum(1) / (0.5 * n).sqrt()  # variance of a difference: 0.5
usual = (z[:, 49::50].abs() > 1.96).any(1).double().mean().item()
own = sum(
    bool(sequential_test(row, tau=0.1, variance=0.5)[-1] < 0.05)
    for row in streams
) / len(streams)
compare(my_usual, usual, "{:.0%}", of="usual test, 40 looks")
compare(my_own, own, "{:.1%}", of="your test, 2,000 looks")

# %% [markdown] tags=["result"]
# Forty chances to be fooled are more than one. The sequential test pays for the
# right to look with a stricter bar at each look, and needs more people where the
# difference is small and you would have waited anyway.

# %% [markdown]
# ## 9. Written answer (3 points)
#
# A colleague reports: "The new model is better. On our 80 test questions it has a
# ROUGE-L of 0.62 against 0.58, and a large model as a judge prefers its answers in
# 61 % of cases; its answers come first in the prompt. We looked every evening, and
# on the fourth the difference was significant, so we stopped. The examples in the
# prompt are our best ones; they come from the test set."
#
# In four to seven sentences: name the four faults that you find gravest, what each
# may have done to the result, and what you would ask for before the model goes to
# users.
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* The examples in the prompt are test questions with their answers,
# so a part of the test is given away; both systems must get the same examples from
# elsewhere, and the run is repeated. The judge saw the new answers first, and may
# prefer the first place; each pair must be judged in both orders, with a tie where
# the verdict turns, and the lengths of both systems' answers compared, since judges
# like length and a swap does not take that out. The test was looked at each evening
# and stopped at the first success, which makes false alarms far likelier than 5 %;
# a size planned beforehand or a sequential test is needed. Eighty questions and two
# means without an interval say little about a difference of 0.04; I would ask for a
# paired test question by question. And ROUGE-L does not see whether an answer is
# true: a sample must be read by two people who don't know which system wrote which,
# with their agreement reported.
#
# *Rubric.* 1 point: the test leaks into the prompt, and what that does. 1 point: a
# fault of the statistics (peeking, no interval, no paired test, too few questions)
# with its remedy. 1 point: a fault of the measure (the judge's place or length,
# ROUGE against truth) with its remedy.
# <!-- END SOLUTION -->
