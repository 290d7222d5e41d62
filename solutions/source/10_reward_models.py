# %% [markdown]
# # Lab 10: Reward models
#
# **100 minutes** · after the lecture `notebooks/10_reward_models.ipynb`
#
# You write what makes a reward out of people's choices, and what tells you how far
# to trust it: the loss of preferences, the place where a score is read, the
# accuracy on pairs, the pay for length, and what happens when you choose the best of
# many. Each exercise has a check that answers at once; after each, an experiment
# runs *your* function on the shipped reward model or on the assistant's answers. An
# exercise that you skip only switches off its own experiments.
#
# Letters for shapes: P pairs, B texts, T tokens, D features, Q questions, S answers.

# %%
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.align.reward import score_responses, score_rollouts
from utils.align.rollouts import draw_rollouts
from utils.assistants.chat_models import load_assistant, question_prompt
from utils.assistants.reward_models import load_reward_model, world_pairs
from utils.evaluate.intervals import wilson_interval
from utils.labs.api import check, done, hint, start_lab
from utils.report import plots
from utils.report.guesses import compare
from utils.runtime import generator, start
from utils.world.facts import build_world
from utils.world.judge import judge
from utils.world.preferences import is_held_out, preference_pairs
from utils.world.questions import questions

start_lab("10_reward_models")
plots.use_style()
tier = start(seed=0)
assistant, tokenizer = load_assistant()
reward_model, _ = load_reward_model()
world = build_world(0)

# %% [markdown]
# ## 1. The loss of preferences
#
# **Goal**: how surprised the scores are by what people chose.
#
# **Why it matters**: this line is all that a reward model learns from. The margin
# and the centring are what large reward models add to it.

# %%
# exercise: utils.align.bradley_terry.bradley_terry_loss points=5 minutes=15 difficulty=1

# %% [markdown]
# **Experiment.** Ten answers have true worths from 0 to 1.8, and people compare
# random pairs of them, 20,000 times, by the Bradley-Terry model. Your loss fits ten
# scores to these choices, beginning at 0. The largest true gap between two
# answers is 1.8. What will be the gap between the same two fitted scores? And if
# people toss a coin in every second comparison?

# %%
my_gap = None  # fitted gap, honest people: your number
my_noisy_gap = None  # fitted gap, half of the choices by coin: your number


# %% tags=["needs:bradley_terry_loss"]
def fitted_gap(share_of_coins, seed=0):
    """Return the gap of the outermost scores, fitted to simulated choices."""
    draws, worth = generator(seed), torch.arange(10) * 0.2
    first, second = torch.randint(10, (2, 20000), generator=draws)
    honest = torch.sigmoid(worth[first] - worth[second])
    chance = torch.where(
        torch.rand(20000, generator=draws) < share_of_coins, 0.5, honest
    )
    wins = torch.rand(20000, generator=draws) < chance
    chosen = torch.where(wins, first, second)
    rejected = torch.where(wins, second, first)
    scores = torch.zeros(10, requires_grad=True)
    for _ in range(300):
        loss = bradley_terry_loss(scores[chosen], scores[rejected])
        (gradient,) = torch.autograd.grad(loss, scores)
        scores = (scores - 5 * gradient).detach().requires_grad_()
    return (scores[9] - scores[0]).item()


gap, noisy_gap = fitted_gap(0.0), fitted_gap(0.5)
compare(my_gap, gap, "{:.1f}", of="honest people")
compare(my_noisy_gap, noisy_gap, "{:.1f}", of="every second choice by coin")

# %% [markdown] tags=["result"]
# Scores come back in the unit of the choices: the loss recovers the gap of honest
# people. Noise does not change the order of the scores, it shrinks them: the model
# is less sure, as it should be.

# %% [markdown]
# ## 2. Where the score is read
#
# **Goal**: one number for each text, from the features of its last token.
#
# **Why it matters**: a batch holds texts of different lengths. A score read at the
# padding depends on who shares the batch, and nothing raises an error.

# %%
# exercise: utils.align.reward.score_at_last points=5 minutes=12 difficulty=2

# %% [markdown]
# **Experiment.** The shipped reward model scores 60 pairs that differ in length or
# tone, all in one batch, padded on the right. It orders all of them right if
# the score is read at the last token. What if it is read at the last *place* of
# the batch, padding or not?

# %%
my_share = None  # pairs in the right order, read at the last place: your number

# %% tags=["needs:score_at_last"]
pairs = world_pairs(world, tokenizer, 60, 3, ("tone", "length"), held_out=True)
texts = [p.prompt + p.chosen for p in pairs]
texts += [p.prompt + p.rejected for p in pairs]
longest = max(len(text) for text in texts)
keep = torch.tensor(
    [[place < len(text) for place in range(longest)] for text in texts]
)
token_ids = torch.tensor(
    [text + [tokenizer.pad_id] * (longest - len(text)) for text in texts]
)
with torch.no_grad():
    features = reward_model.decoder(token_ids)
    head = reward_model.head.weight[0], reward_model.head.bias[0]
    right = score_at_last(features, keep, *head)
    wrong = score_at_last(features, torch.ones_like(keep), *head)


def share_in_order(scores):
    """Return the share of pairs whose chosen answer has the higher score."""
    chosen, rejected = scores.chunk(2)
    return (chosen > rejected).float().mean().item()


print(f"read at the last token: {share_in_order(right):.0%}")
compare(my_share, share_in_order(wrong), "{:.0%}")

# %% [markdown] tags=["result"]
# Nothing fails, and a number comes out that still looks like skill: what the
# features hold at the padding is some memory of the text before. Trained that way,
# the model would even learn it, and then change its scores with the batch.

# %% [markdown]
# ## 3. How often it is right
#
# **Goal**: the share of pairs in the right order, with its interval.
#
# **Why it matters**: "71 % against 68 %" on 300 pairs is the usual table of reward
# models. With the interval beside it, most such tables say "we don't know".
#
# Given: `wilson_interval(n_right, n, level)`; the count may hold a half.

# %%
# exercise: utils.evaluate.rewards.preference_accuracy points=4 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** The shipped reward model on 200 pairs of each kind, about entities
# that its training never named. Pairs that differ in tone or in length it orders
# right. What is its accuracy on pairs that differ in a fact alone?

# %%
my_fact = None  # accuracy on pairs that differ in a fact, unseen entities

# %% tags=["needs:preference_accuracy"]
from utils.align.reward import score_pairs

accuracies = {}
for kind in ("tone", "length", "fact"):
    drawn = world_pairs(world, tokenizer, 200, 11, (kind,), held_out=True)
    scores = score_pairs(reward_model, drawn, tokenizer.pad_id)
    accuracies[kind] = preference_accuracy(*scores)
compare(my_fact, accuracies["fact"][0], "{:.2f}")
for kind, (accuracy, low, high) in accuracies.items():
    print(f"{kind:7} {accuracy:.2f}, between {low:.2f} and {high:.2f}")

# %% [markdown] tags=["result"]
# The interval of the facts holds 0.5, what a coin gets. A reward model whose test
# set mixes all three kinds would report about 0.83, and nobody would know that it
# can't tell true from false.

# %% [markdown]
# ## 4. Does it pay for length?
#
# **Goal**: how often the longer of two answers of equal worth scores higher, and
# how much a word earns.
#
# **Why it matters**: length is the bias that is found in nearly every reward model.
# To see it, answers of the same worth must be compared; over all answers together,
# a model that rightly prefers thorough ones would look biased.

# %%
# exercise: utils.evaluate.rewards.length_bias points=4 minutes=18 difficulty=2

# %% [markdown]
# **Experiment.** The assistant answers 30 questions 32 times each. All answers
# to one question that are equally right and equally polite form a group. The
# shipped reward model learned from pairs in which the shorter answer was preferred.
# In what share of pairs of one group does it score the longer higher?

# %%
my_longer = None  # share of pairs in which the longer wins: your number

# %%
asked = [
    question
    for question in questions(world, "trained", 80, seed=21)
    if not is_held_out(world, question.entity)
][:30]
N_ANSWERS = 32
rollouts = draw_rollouts(
    assistant,
    [question_prompt(tokenizer, q) for q in asked for _ in range(N_ANSWERS)],
    64,
    pad_id=tokenizer.pad_id,
    end_id=tokenizer.end_id,
    generator=generator(21),
)
ends = (tokenizer.pad_id, tokenizer.end_id)
proxy = score_rollouts(reward_model, rollouts, *ends).view(30, N_ANSWERS)
texts = [
    tokenizer.decode(ids, skip_special=True).strip()
    for ids in rollouts.responses
]
verdicts = [
    judge(world, asked[i // N_ANSWERS], text) for i, text in enumerate(texts)
]
gold = torch.tensor([v.utility for v in verdicts]).view(30, N_ANSWERS)
words = torch.tensor([v.n_words for v in verdicts])

# %% tags=["needs:length_bias"]
kind = torch.tensor([2 * v.correct + v.rude for v in verdicts])
groups = 4 * torch.arange(30).repeat_interleave(N_ANSWERS) + kind
longer, slope = length_bias(proxy.flatten(), words, groups)
compare(my_longer, longer, "{:.2f}")
print(f"a word more changes the score by {slope:.3f}")

# %% [markdown] tags=["result"]
# It was taught to prefer the short one, and does, in about three of four pairs. Ten
# words more cost about 0.6 standard deviations. Whether that is a bias or a
# virtue, no formula knows: that depends on what the labellers were told to prefer.

# %% [markdown]
# ## 5. Best of n
#
# **Goal**: the expected worth of the best-scored of n answers, from S answers, for
# every n at once and without chance.
#
# **Why it matters**: it is what you would get from the reward if you optimised
# against it, without training anything. Whoever looks at the score alone sees it
# rise for ever.

# %%
# exercise: utils.align.best_of_n.best_of_n points=6 minutes=25 difficulty=3

# %% [markdown]
# **Experiment.** From the same answers: the best of n by the reward model, n from 1
# to 32. The mean gold utility of a single answer is about a third. What is it for the
# best of 32?

# %%
my_gold = None  # gold utility of the best of 32: your number

# %% tags=["needs:best_of_n"]
sizes = [1, 2, 4, 8, 16, 32]
by_gold = [best_of_n(proxy, gold, n).mean().item() for n in sizes]
by_proxy = [best_of_n(proxy, proxy, n).mean().item() for n in sizes]
right = torch.tensor([float(v.correct) for v in verdicts]).view(30, N_ANSWERS)
by_right = [best_of_n(proxy, right, n).mean().item() for n in sizes]
compare(my_gold, by_gold[-1], "{:.2f}")
plots.lines(
    {
        "gold utility": (sizes, by_gold),
        "share of right answers": (sizes, by_right),
    },
    title="Shorter and politer, so worth more, but hardly more often right",
    xlabel="n (log scale)",
    ylabel="mean over 30 questions",
    log_x=True,
    points=True,
)
plt.show()
print("score:", ", ".join(f"{score:.1f}" for score in by_proxy))

# %% [markdown] tags=["result"]
# *Figure 1. Two lines over n. Gold utility doubles; the share of right answers stays
# about where it was.*
#
# The reward buys manners and brevity, for which it was taught, and no truth, of which
# it knows next to nothing. With 64 answers to other questions, in the lecture, the
# share of right ones fell. Look at both lines before you call the first a gain.

# %% [markdown]
# ## 6. Written answer (3 points)
#
# A vendor sells you a reward model: "Accuracy 84 % on our held-out comparisons.
# The labels are from our own staff, who were told to prefer thorough and friendly
# answers; each pair was seen by one person. We use it to choose the best of 64
# answers, and its average score rises from 0.1 to 2.3."
#
# In four to seven sentences: name the gravest things that you don't know yet, what
# each may hide, and what you would measure before you let it train a model.
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* The 84 % may be made of style alone: I would ask for the accuracy
# on pairs that differ in nothing but a fact, with its interval, about things that
# training has not named. "Thorough" pays for length: I would compare answers of
# equal worth and look at how often the longer one scores higher, and what a word
# earns. With one label a pair nobody knows how far two people agree; without that I
# can't say whether 84 % is poor or already the ceiling, so a part must be labelled
# twice and kappa reported. The score of the best of 64 must rise, since it is what
# is maximised; what counts is a measure that was not, such as people or exact truth
# on a sample, over n from 1 to 64, to see where it turns. And the labels say what
# this staff was told to like, which may not be what my users need.
#
# *Rubric.* 1 point: what the accuracy may hide (kinds of pairs, unseen entities,
# interval, agreement as the ceiling). 1 point: length or friendliness as what is
# paid for, with a way to measure it. 1 point: the rising score proves nothing;
# an independent measure over n.
# <!-- END SOLUTION -->
