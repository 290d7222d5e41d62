# %% [markdown]
# # 11 PPO
#
# **100 minutes** · before this: unit 10 · after this: `work/11_ppo.ipynb`,
# a lab of 110 minutes · the machine needs about four minutes
#
# Unit 10 made a number out of people's preferences. This unit trains a model to raise
# that number: the method that turned language models into assistants, **reinforcement
# learning from human feedback**, RLHF. It works within two minutes here. It also fails
# within one, in a way that looks like success, and you will learn to see it.

# %%
from copy import deepcopy
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch

from utils.align.reward import score_rollouts
from utils.align.rollouts import draw_rollouts, response_logprobs
from utils.assistants.chat_models import load_assistant, question_prompt
from utils.assistants.reward_models import load_reward_model, own_answers
from utils.evaluate.world_qa import answer_questions, judge_answers, share
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
from utils.report.show import show
from utils.report.tables import text_table
from utils.runtime import generator, start
from utils.world.facts import build_world
from utils.world.preferences import is_held_out
from utils.world.questions import questions

plots.use_style()
tier = start(seed=0)
claims = Claims()
world = build_world()
assistant, tokenizer = load_assistant()
reward_model, _ = load_reward_model()
pad_id, end_id = tokenizer.pad_id, tokenizer.end_id

# %% [markdown]
# ## The task
#
# The assistant knows the town, and answers like somebody who is paid by the word, and
# is rude to one in five. The reward model of unit 10 has learned from pairs that people
# like short and polite answers; of facts it knows little. Its **score**, the **proxy
# reward**, has mean 0 and spread 1 over the assistant's own answers. The **gold
# utility** is what the exact judge says: right, short and polite is worth 1. We may
# look at it and never train on it, as with real users, whom nobody can ask a million
# times.


# %%
def held_out(n, seed):
    """Return questions about entities that no preference was about."""
    drawn = questions(world, "trained", 12 * n, seed)
    return [q for q in drawn if is_held_out(world, q.entity)][:n]


def gold(policy, n=100, seed=5):
    """Return what the judge says of greedy answers to held-out questions."""
    asked = held_out(n, seed)
    answers = answer_questions(
        policy, tokenizer, asked, render=question_prompt, max_new_tokens=64
    )
    verdicts = judge_answers(world, asked, answers)
    names = {"gold": "utility", "words": "n_words", "right": "correct"}
    return {name: share(verdicts, field) for name, field in names.items()}


before = gold(assistant)
print({name: round(value, 2) for name, value in before.items()})

# %%
rollouts = own_answers(assistant, tokenizer, world, 64)
scores = score_rollouts(reward_model, rollouts, pad_id, end_id)
order = scores.argsort()
for k in (order[0], order[32], order[-1]):
    text = tokenizer.decode(rollouts.responses[k])
    print(f"score {scores[k]:+.1f}: {text}\n")

# %% [markdown]
# These 64 answers are **rollouts**: drawn from the model as it is, at temperature 1, so
# that each comes up as often as the model means it to. The model that draws is called
# the **policy**.
#
# ## What to maximise
#
# Not the reward alone. The objective of RLHF (Ziegler et al. 2019, equation 2) is
#
# $$ J(\pi) = \mathbb{E}_{y \sim \pi}\big[\, r(y) \,\big]
#    - \beta \; \mathrm{KL}(\pi \,\|\, \pi_{ref}) $$
#
# $\pi_{ref}$ is the **reference**, the model as it was before, and $\beta$, in code
# `kl_coef`, the price of a nat of distance from it. Why pay for distance? Take a
# question with four possible answers. The reward model was trained on answers like the
# first three. The fourth is a jumble that the reference hardly ever writes, so nobody
# ever compared it with anything, and its score is an accident:
#
# | answer | reference | proxy | gold |
# | --- | --- | --- | --- |
# | right, wordy and rude | .30 | -1 | 0.1 |
# | right and wordy | .60 | 0 | 0.5 |
# | right and short | .0999 | 1 | 1.0 |
# | a short jumble | .0001 | 2 | 0.0 |
#
# With so few answers the best policy is a formula: $\pi^*(y) \propto \pi_{ref}(y)\,
# e^{r(y)/\beta}$. How does it change as the price falls?

# %%
reference = torch.tensor([0.30, 0.60, 0.0999, 0.0001])
proxy_of = torch.tensor([-1.0, 0.0, 1.0, 2.0])
gold_of = torch.tensor([0.1, 0.5, 1.0, 0.0])
kl, proxy, worth = [], [], []
for beta in np.geomspace(10, 0.06, 80):
    best = (reference.log() + proxy_of / beta).softmax(-1)
    kl.append((best * (best / reference).clamp(min=1e-30).log()).sum().item())
    proxy.append((best @ proxy_of).item())
    worth.append((best @ gold_of).item())
plots.lines(
    {"proxy reward": (kl, proxy), "gold utility": (kl, worth)},
    title="The reward always rises with the distance; what it stood for turns over",
    xlabel="KL of the best policy from the reference (nats)",
    ylabel="mean",
)
plt.show()
top = int(np.argmax(worth))
print(f"gold is highest, {worth[top]:.2f}, at {kl[top]:.1f} nats")

# %% [markdown]
# *Figure 1. Two lines over the divergence. The proxy reward rises all the way. The gold
# utility rises with it for about two nats and then falls to zero.*
#
# This is Goodhart's law with numbers (Gao et al. 2023 measured the same shape on real
# reward models). No optimiser has made a mistake here: at the right end stands the
# exact optimum of the wrong number. The price of the divergence is the only term that
# knows which answers the reward model can be trusted on.
#
# ## Measuring the distance
#
# A sum over all answers can't be had in a language model. But the policy's own draws
# can: with $x = \log\pi(y) - \log\pi_{ref}(y)$, the mean of $x$ *over draws from the
# policy* is the divergence. Schulman (2020) names three estimators:
#
# $$ k_1 = x \qquad k_2 = \tfrac12 x^2 \qquad k_3 = e^{-x} - 1 + x $$
#
# For a small vocabulary the truth about all three is a sum:

# %%
from utils.align.kl import k1, k2, k3

source = generator(0)
logits = torch.randn(20, generator=source)
rows = []
for distance in (0.1, 1.0, 2.0):
    other = logits + distance * torch.randn(20, generator=source)
    p, q = logits.log_softmax(-1), other.log_softmax(-1)
    true = (p.exp() * (p - q)).sum()
    for estimator in (k1, k2, k3):
        values = estimator(p, q)
        mean = (p.exp() * values).sum()
        spread = (p.exp() * (values - mean) ** 2).sum().sqrt()
        below = p.exp()[values < 0].sum()
        cells = (true, mean, spread, below)
        rows.append((estimator.__name__, *(f"{v:.3f}" for v in cells)))
print(text_table(("", "true KL", "mean", "spread", "below 0"), rows))

# %% [markdown]
# $k_1$ is right on average and noisy; near the reference about half of its values are
# negative. $k_3$ is right on average, too, never negative, and far quieter *near the
# reference*; far from it hardly, and where the policy has all but given up what the
# reference often writes, a single value can be huge. $k_2$ is biased. So you may well
# meet a run that is trained with one and reported with another. Here both are $k_1$:
# what the dashboard shows is the very sum that was paid. A batch of it may dip below
# zero. If it *stays* there, something is broken, since a divergence can't be negative:
# the tokens were not drawn from the policy whose log-probabilities you hold. The
# classic is a forgotten temperature:

# %%
cool = draw_rollouts(
    assistant,
    rollouts.prompts,
    64,
    pad_id=pad_id,
    end_id=end_id,
    temperature=0.7,
    generator=generator(1),
)
batch = (cool.token_ids, cool.targets, cool.response_mask)
with torch.inference_mode():
    at_one = response_logprobs(assistant, *batch)
for name, policy, other in (
    ("drawn and scored at 0.7, against 1", cool.logprobs, at_one),
    ("drawn at 0.7, scored at 1, against 1", at_one, at_one),
    ("drawn at 0.7, scored at 1, against 0.7", at_one, cool.logprobs),
):
    print(f"{name}: {(policy - other).sum(1).mean():+.1f} nats per response")

# %% [markdown]
# The first is right. In the second two different policies look like one. The third is
# a divergence below zero. A rollout that was drawn by another engine, in another dtype,
# or with top-p on, is wrong in the same way, often by less.
#
# One more trap lies in the gradient. We *pay* $k_1$ as part of the reward, which is
# right. If you put an estimator into the loss instead and differentiate it, $k_1$ gives
# a gradient with mean zero, $k_2$ the right one and $k_3$ that of the other divergence,
# $\mathrm{KL}(\pi_{ref}\|\pi)$ (`tests/test_kl.py` works all three out).
#
# ## From one number to every token
#
# The reward is for the whole answer, the update is for each token's probability.
# Everything is aligned to the **targets**, the tokens that the model predicts:
# `response_mask` says which of them the policy chose. Each chosen token pays its share
# of the divergence, and the last one, the end token, gets the reward:

# %%
from utils.align.advantages import kl_rewards

show(kl_rewards)

# %% [markdown]
# Take the shortest of the cool answers, with the assistant at temperature 1 as its
# reference and a price of 0.3:

# %%
mask = cool.response_mask
cool_scores = score_rollouts(reward_model, cool, pad_id, end_id)
earned = kl_rewards(cool_scores, cool.logprobs, at_one, mask, 0.3)
row = int(cool.lengths.argmin())
first = int(mask[row].nonzero()[0])
rows = []
for t in range(first - 2, min(int(cool.last[row]) + 3, mask.shape[1])):
    token = repr(tokenizer.decode([int(cool.targets[row, t])]))
    kept = "yes" if mask[row, t] else ""
    rows.append((t, token, kept, f"{earned[row, t]:+.2f}"))
print(text_table(("place", "target", "response", "earns"), rows))

# %% [markdown]
# Look at the borders. The first place of the response is where the *prompt's last
# token* predicts. The last is where the end token is predicted; behind it stands
# padding. Put the reward one place further right, which is what an index into the
# *input* gives you, and see what arrives:

# %%
nothing = torch.zeros(mask.shape)
right = kl_rewards(cool_scores, nothing, nothing, mask, 0.0)
for name, rewards in (
    ("right place", right),
    ("one further", right.roll(1, 1)),
):
    n = int((rewards * mask).ne(0).any(1).sum())
    print(f"{name}: a reward arrives in {n} of 64 responses")

# %% [markdown]
# The shapes fit, no error is raised, and the reward is logged before it is placed, so
# the log looks healthy. The run then learns one thing: to stay where it is.
#
# And a response that was **cut** at the limit of tokens? Its last token is no end. The
# reward model never saw half an answer, and its score there means nothing. One may let
# the value of the last state stand in for what would have come (*bootstrapping*), as is
# right for a game that goes on. An answer does not go on: the reader gets the half. So
# we pay a fixed poor reward, -1, whatever the score was (Huang et al. 2024 call it the
# EOS trick), and the dashboard shows the share of cut responses.
#
# ## Advantages
#
# "This answer got 1.3" does not say whether its seventh token was a good choice. A
# **value head**, one linear layer on the model's features, learns to predict what is
# still to come from here on: $V_t$. The surprise of one step is
# $\delta_t = r_t + \gamma V_{t+1} - V_t$. The **discount** $\gamma$ is what a reward
# one step later is worth; for answers it is 1. The **advantage** adds up the surprises
# from here on, each weighted by $\gamma\lambda$ times the weight of the one before,
# with $\lambda$ from 0 to 1 (**generalised advantage estimation**, GAE; Schulman et al.
# 2016, equation 16):
#
# $$ A_t = \delta_t + \gamma\lambda\, A_{t+1} \qquad\qquad R_t = A_t + V_t $$
#
# $R_t$, the **return**, is what the value head learns. By hand, for one answer of three
# tokens, $\gamma = 1$ and $\lambda = 0.95$:

# %%
earns, values = [-0.1, 0.0, 1.2], [0.4, 0.5, 0.9]
last = earns[2] + 0 - values[2]  # nothing comes behind the end
middle = earns[1] + values[2] - values[1]
begin = earns[0] + values[1] - values[0]
print(f"surprises: {begin:+.2f}, {middle:+.2f}, {last:+.2f}")
middle_sum = middle + 0.95 * last
print(
    f"advantages: {begin + 0.95 * middle_sum:+.2f}, {middle_sum:+.2f}, {last:+.2f}"
)

# %% [markdown]
# The middle token is the best one: it led to a state that promises .9 where .5 was
# expected. With $\lambda = 0$ each token is judged by the next value alone, quiet and
# as wrong as the value head; with $\lambda = 1$ by all that came, right on average and
# noisy. Two mistakes are common. *Rewards where returns belong*: train the value head
# on $r_t$, and it learns that nothing is ever to come, until the last token. And
# *padding behind the end*: if the last token sees the value that the head gives to a
# padding token, every answer seems to go on. Both run without an error.

# %%
from utils.align.advantages import gae

show(gae)

# %%
draws = np.random.default_rng(0)
largest = 0.0
for _ in range(20):
    n, lam = int(draws.integers(1, 9)), float(draws.uniform())
    r, v = draws.standard_normal((2, n))
    ours, _ = gae(
        *(torch.tensor(a)[None] for a in (r, v)), torch.ones(1, n) > 0, 1.0, lam
    )
    delta = r + np.append(v[1:], 0) - v
    for t in range(n):
        brute = sum(lam ** (k - t) * delta[k] for k in range(t, n))
        largest = max(largest, abs(brute - ours[0, t].item()))
claims.add(
    "GAE equals the sum of later surprises",
    measured="below 1e-9" if largest < 1e-9 else f"{largest:.0e}",
    bar="1e-9",
    holds=largest < 1e-9,
)

# %% [markdown]
# Advantages are then brought to mean 0 and variance 1, **whitened**, so that the step
# does not depend on the reward model's scale. Over which places? Over the tokens of all
# responses of the batch, and no others. Whiten inside small minibatches, and one that
# happens to hold good answers only is told that half of them are bad:

# %%
from utils.align.advantages import whiten

show(whiten)

# %%
good, poor = torch.tensor([1.5, 2.0, 2.5]), torch.tensor([-2.5, -2.0, -1.5])
keep = torch.ones(3, dtype=torch.bool)
together = whiten(torch.cat([good, poor]), torch.cat([keep, keep]))
apart = torch.cat([whiten(good, keep), whiten(poor, keep)])
for name, white in (("whole batch", together), ("minibatches", apart)):
    print(f"{name}: " + ", ".join(f"{v:+.1f}" for v in white.tolist()))

# %% [markdown]
# ## A step that is not too large
#
# **Policy gradient** raises the log-probability of a token in proportion to its
# advantage. That is right for the policy that drew the token, for one step. Rollouts
# are dear, so we would like several steps on the same ones, and after the first the
# policy is another one. With the **ratio** $\rho = \pi(y_t) / \pi_{old}(y_t)$, PPO
# (*proximal policy optimisation*, Schulman et al. 2017, equation 7) maximises
#
# $$ \min\big(\rho A,\; \mathrm{clip}(\rho,\, 1-\epsilon,\, 1+\epsilon)\, A\big) $$

# %%
from utils.align.policy_losses import ppo_clip_loss

show(ppo_clip_loss)

# %%
ratios = torch.linspace(0.4, 1.8, 141)
one, lines = torch.ones(1, 1, dtype=torch.bool), {}
for sign in (1.0, -1.0):
    paid = [
        -ppo_clip_loss(
            ratio.log().view(1, 1),
            torch.zeros(1, 1),
            torch.tensor([[sign]]),
            one,
        ).item()
        for ratio in ratios
    ]
    lines[f"advantage {sign:+.0f}"] = (ratios.tolist(), paid)
axes = plots.lines(
    lines,
    title="Going its way stops to pay at 0.2; going back always does",
    xlabel="ratio of the new probability to the old one",
    ylabel="what is maximised",
)
axes.axvline(1.0, color="grey", linewidth=0.8)
plt.show()

# %% [markdown]
# *Figure 2. Two bent lines over the ratio. For a good token the line rises up to 1.2
# and is flat beyond. For a bad one it is flat below 0.8 and falls from there on. On the
# wrong side of 1 neither is ever flat.*
#
# Flat means no gradient: such a token has moved far enough. The minimum matters on the
# other side. A good token whose probability has *fallen*, because other tokens' steps
# dragged it along, is never clipped: it may always come back.
#
# Two numbers say what an update did. The **clip fraction** is the share of tokens whose
# ratio has left 0.8 to 1.2, the **approximate KL** how far the new policy is from the
# old one, by $k_3$. Both are exactly zero before the first step. If they aren't, the
# old log-probabilities are those of another policy: dropout was on, the dtype was
# another, the temperature was left out. That check costs nothing: make it first.
#
# The value head has a loss of its own, half the squared error to the return, and its
# own learning rate: it starts from zero, and at the policy's small rate it would learn
# too late. Its gradient stops before the trunk.

# %%
from utils.align.policy_losses import value_loss

show(value_loss)

# %% [markdown]
# ## The loop
#
# All parts are there. One iteration: draw 64 responses, score them, work out
# advantages, take two passes of steps over them, record.

# %%
from utils.align.kl import FixedKLController
from utils.align.ppo import ActorCritic, compute_advantages, ppo, update

show(compute_advantages)

# %%
show(update)

# %% [markdown]
# Forty iterations at a price of 0.3: one nat costs a third of the reward model's
# spread. The prompts ask about entities that are not held out. Greedy answers had, as
# printed above, about 35 words. How many will they have?

# %%
my_guess_words = None  # mean words of an answer: your number


# %% tags=["nbval-ignore-output"]
def prompts(iteration):
    """Return the 64 prompts of an iteration, always the same for its number."""
    drawn = questions(world, "trained", 128, seed=1000 + iteration)
    drawn = [q for q in drawn if not is_held_out(world, q.entity)]
    return [question_prompt(tokenizer, q) for q in drawn[:64]]


def trained(kl_coef, description):
    """Return the policy after forty iterations, and its records."""
    agent = ActorCritic(deepcopy(assistant))
    records = ppo(
        agent,
        assistant,
        prompts,
        partial(score_rollouts, reward_model, pad_id=pad_id, end_id=end_id),
        FixedKLController(kl_coef),
        40,
        pad_id=pad_id,
        end_id=end_id,
        measure=partial(gold, n=50, seed=6),
        measure_every=8,
        description=description,
    )
    return agent.policy, records


moderate, records = trained(0.3, "price 0.3")

# %% tags=["reveals", "nbval-ignore-output"]
after = gold(moderate)
compare(my_guess_words, after["words"], "{:.0f} words")
rows = [
    (name, *(f"{found[key]:.2f}" for key in ("gold", "words", "right")))
    for name, found in (("before", before), ("after", after))
]
print(text_table(("", "gold utility", "words", "right"), rows))

# %%
shorter = 1 - after["words"] / before["words"]
claims.add(
    "moderate price: answers shorter",
    measured="over 60%" if shorter > 0.6 else f"{shorter:.0%}",
    bar="40%",
    holds=shorter >= 0.4,
)
gain = after["gold"] - before["gold"]
claims.add(
    "moderate price: gain of gold utility (greedy)",
    measured="over 0.2" if gain >= 0.2 else f"{gain:.2f}",
    bar="0.2",
    holds=gain >= 0.2,
)

# %% [markdown]
# Shorter by far, and worth more. And right less often. The reward model can
# hardly tell a true fact from a false one, so nothing in the reward holds on to the
# truth, and the noise of the updates wears it away. What is left of it has been held by
# the price alone: leaving the reference costs, wherever one goes. Keep that in mind for
# unit 13; an alignment that is blind to facts loses some.
#
# ## The same without the price
#
# Now set `kl_coef` to 0 and change nothing else. The proxy reward will end higher than
# in the run above. And the gold utility?

# %%
my_guess_free = None  # gold utility, from 0 to 1: your number

# %% tags=["nbval-ignore-output"]
free, free_records = trained(0.0, "price 0")

# %% tags=["reveals", "nbval-ignore-output"]
hacked = gold(free)
compare(my_guess_free, hacked["gold"], "{:.2f}")
for question in held_out(4, seed=7):
    print(f"\n{question.prompt}")
    for name, policy in (("price 0.3", moderate), ("price 0", free)):
        (answer,) = answer_questions(
            policy,
            tokenizer,
            [question],
            render=question_prompt,
            max_new_tokens=64,
        )
        print(f"    {name}: {answer}")


# %%
def end_of(run, key):
    """Return the mean of a key over the last five iterations."""
    return sum(record[key] for record in run[-5:]) / 5


higher = end_of(free_records, "reward") > end_of(records, "reward")
claims.add(
    "price 0: proxy reward above the moderate run's",
    measured="yes" if higher else "no",
    bar="yes",
    holds=higher,
)
claims.add(
    "price 0: gold utility (greedy)",
    measured="below 0.2" if hacked["gold"] < 0.2 else f"{hacked['gold']:.2f}",
    bar="0.2",
    holds=hacked["gold"] < 0.2,
)

# %% [markdown]
# This is **reward hacking**. The reward model saw pairs of answers to one question, in
# whole sentences, and never a fragment or an answer to another question, so it has no
# opinion on either. It likes what is short and polite: a single word, or one short
# sentence for all questions, is both. The optimiser found what nobody had thought of,
# within a minute.
#
# ## Told apart without a judge
#
# You will have no gold utility. What would have told you?

# %%
plots.rlhf_dashboard(
    {"price 0.3": records, "price 0": free_records},
    title="The reward alone does not say which run has gone wrong",
)
plt.show()

# %% [markdown]
# *Figure 3. Nine panels with two lines each. Proxy reward: both rise within a few
# iterations, the run without a price to the higher value. Gold: with a price it rises
# and stays, without one it falls to nearly zero. KL: with a price it levels off at a
# few nats, after one early spike; without, it climbs far above. Entropy: without a
# price it climbs to several times its beginning; where the policy settles on one
# sentence for all questions it falls again, below the other line. Length: both fall.
# Explained variance: around 0 with a price, mostly far below without.*
#
# Cover the second panel and read the rest:
#
# | what you see | says |
# | --- | --- |
# | reward rises | nothing: it is what was optimised |
# | KL levels off at a few nats | the price has found its balance |
# | KL climbs on where the reward is flat | it walks off with nothing to gain |
# | KL per token of 1 nat and more | hardly a sentence of the reference is left |
# | entropy at several times its beginning | the language itself comes apart |
# | entropy near 0 | the same answer to everything |
# | all responses of one length | one pattern for all prompts |
# | explained variance far below 0 | rewards hardly differ any more |
# | clip fraction or approximate KL jump | steps too large: lower the rate |
# | share of cut responses rises | it puts off the end |
#
# No single line is proof. The KL is the best of them, and its size is no matter of
# taste: dropping a wordy opening is one choice, and a choice that the reference makes
# one time in twenty costs $\log 20$, three nats.

# %% tags=["nbval-ignore-output"]
rows = []
for name, run in (("price 0.3", records), ("price 0", free_records)):
    kl, length = end_of(run, "kl"), end_of(run, "length")
    half = sum(record["kl"] for record in run[18:23]) / 5
    explained = end_of(run, "explained_variance")
    rows.append(
        (
            name,
            f"{half:.0f}",
            f"{kl:.0f}",
            f"{kl / length:.1f}",
            f"{explained:.1f}",
        )
    )
header = ("", "KL half-way", "KL at the end", "KL per token", "explained")
print(text_table(header, rows))

# %%
apart = end_of(free_records, "kl") > 2 * end_of(records, "kl")
claims.add(
    "the two runs' KL, one more than twice the other's",
    measured="yes" if apart else "no",
    bar="yes",
    holds=apart,
)
keys = {"reward", "kl", "entropy", "length", "truncated"}
keys |= {"clip_fraction", "approx_kl", "explained_variance", "loss"}
complete = all(keys <= set(record) for record in records + free_records)
claims.add(
    "every diagnostic is recorded at every iteration",
    measured="yes" if complete else "no",
    bar="yes",
    holds=complete,
)

# %% [markdown]
# Then read twenty answers. It takes a minute, and nothing above replaces it.
#
# ## Three seeds
#
# One run proves little. `python -m tests.claims 11_ppo` ran both with three seeds,
# which decide prompts, draws and minibatches. Gold utility is measured on greedy
# answers, which is how the assistant is used, and on drawn ones, at temperature 1:


# %%
import json

from utils.settings import project_root


def recorded(name):
    """Return the numbers of a claim's runs, one dictionary for each seed."""
    path = project_root() / "tests" / "claims" / "records" / f"{name}.json"
    return list(json.loads(path.read_text())["runs"].values())


runs = recorded("11_ppo")
columns = ("gold", "gold, drawn", "words", "reward", "KL", "CPU seconds")
rows = []
for name in ("before", "moderate", "KL 0"):
    cells = []
    for what in columns:
        values = [
            run[f"{name}: {what}"] for run in runs if f"{name}: {what}" in run
        ]
        digits = 0 if what in ("words", "CPU seconds") else 2
        cells.append(
            f"{np.mean(values):.{digits}f} ({min(values):.{digits}f}-"
            f"{max(values):.{digits}f})"
            if values
            else ""
        )
    rows.append((name, *cells))
print(text_table(("", *columns), rows))

# %%
axes = plots.new_axes()
for k, name in enumerate(("moderate", "KL 0")):
    for run in runs:
        steps = [s for s in range(40) if f"{name}: gold at {s}" in run]
        axes.plot(
            [run[f"{name}: KL at {s}"] for s in steps] + [run[f"{name}: KL"]],
            [run[f"{name}: gold at {s}"] for s in steps]
            + [run[f"{name}: gold"]],
            color=plots.PALETTE[k],
            linestyle=plots.DASHES[k],
            marker="os"[k],
            markersize=4,
            alpha=0.7,
            label=name if run is runs[0] else None,
        )
axes.set(xlabel="KL to the reference (nats)", ylabel="gold utility (greedy)")
axes.set_title(
    "With a price the walk ends where answers are good; without, it goes on"
)
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# *Figure 4. Gold utility over the divergence, six paths from one start. Those with a
# price rise, and stay within a few nats. Those without go on to the right, and fall,
# one of them after a first rise.*

# %%
best = [
    max(v for key, v in run.items() if key.startswith("KL 0: gold at"))
    for run in runs
]
ends = [run["moderate: gold"] for run in runs]
print(f"best place without a price: {np.mean(best):.2f}")
print(f"end with a price: {np.mean(ends):.2f}")

# %% [markdown]
# A **price** ends the walk, and needs no judge. **Early stopping** on a held-out
# judgement keeps the best checkpoint of the path, if you can afford to judge every few
# iterations; without a price the path has no very good place to stop at, as the two
# numbers say.
#
# The column of drawn answers is a warning of another kind. PPO draws at temperature 1,
# where each token may be a poor one, and there the gain is far smaller than in the
# greedy answers. Say with each number how the answers were made.
#
# ## A worse reward, and cures for it
#
# That reward knew manners and length. Unit 10 had a worse one: its labels came from
# pairs in which the better answer tends to be the longer, and it likes length for its
# own sake. Best of $n$ pressed on it, a **length penalty** (a word costs a tenth of a
# standard deviation of the reward) and an **ensemble** (three models of other seeds,
# their mean less their spread) held for a while. PPO presses harder. The answers are
# drawn by a policy that moves wherever the reward points, and the penalty or the
# disagreement of three models is all that stands in its way.
#
# `python -m tests.claims 11_cures` ran each of the three rewards with three seeds,
# without a price and with 0.3 a nat. Without any cure the policy ends at a gold utility
# of nothing. Where does it end with the ensemble, if the divergence costs nothing?

# %%
my_guess_ensemble = None  # gold utility: your number

# %% tags=["reveals"]
cured, better = recorded("11_cures"), recorded("11_ppo")


def over_seeds(name, what="gold"):
    """Return a number of a run at each seed; "better data" is the reward above."""
    if name.startswith("better data"):
        same = {"no price": "KL 0", "price": "moderate"}[name.split(", ")[1]]
        return [run[f"{same}: {what}"] for run in better]
    return [run[f"{name}: {what}"] for run in cured]


compare(my_guess_ensemble, np.mean(over_seeds("ensemble, no price")), "{:.2f}")

# %%
rewards = ("habit", "penalty", "ensemble", "better data")
prices = ("no price", "price")
ends_of = {
    reward: {price: over_seeds(f"{reward}, {price}") for price in prices}
    for reward in rewards
}
axes = plots.grouped_bars(
    {
        reward: {price: np.mean(ends) for price, ends in by_price.items()}
        for reward, by_price in ends_of.items()
    },
    title="No reward here survives PPO without a price on the divergence",
    ylabel="gold utility (greedy), mean of 3 seeds",
)
plots.dots_on_bars(axes, ends_of)
begun = np.mean([run["before: gold"] for run in cured])
axes.axhline(begun, color="0.4", linewidth=1, linestyle=":", zorder=0)
axes.text(-0.5, begun, "start", va="bottom", ha="left", fontsize=9)
plt.show()

# %%
rows = []
for reward in rewards:
    for price in prices:
        name = f"{reward}, {price}"
        values = [
            np.mean(over_seeds(name, w)) for w in ("words", "right", "KL")
        ]
        words, right, kl = values
        rows.append((name, f"{words:.0f}", f"{right:.2f}", f"{kl:.1f}"))
print(text_table(("three seeds", "words", "right", "KL"), rows))
stopped = [run["early stopping: gold"] for run in cured]
when = [run["early stopping: iteration"] for run in cured]
print(
    f"early stopping of the habit without a price: gold {np.mean(stopped):.2f},"
)
print(f"at iterations {', '.join(f'{place:.0f}' for place in when)}")
pairs_of_gold = [
    pair
    for by_price in ends_of.values()
    for pair in zip(*by_price.values(), strict=True)
]
n_better = sum(priced > free for free, priced in pairs_of_gold)
claims.add(
    "recorded: gold with a price above gold without, runs of twelve",
    measured=f"{n_better}",
    bar="12",
    holds=n_better == len(pairs_of_gold) == 12,
)

# %% [markdown]
# *Figure 5. Four pairs of bars with the three seeds as dots, one pair for each reward,
# and a dotted line where the assistant began. Without a price the habit and the
# ensemble end at zero, and so, nearly, does better data; the length penalty ends above
# zero and far below the start. With a price habit and ensemble stand where they began;
# the penalty's seeds lie on both sides of the line, and better data stands far above.*
#
# Without a price PPO finds answers that all three models like and no person would: they
# were trained on the same kind of text, and know nothing of what the policy writes
# now. The ensemble's disagreement is a price of a kind, and much too low. The penalty
# was made against length and leaves everything else open. Even with a price one of its
# three runs ends far below the start.
#
# With a price the habit does no harm, and no good either: the policy stays close, since
# a reward for length has little to offer to an assistant that is wordy already. What
# is *gained* depends on the reward, and better data gains most. So the two are not
# rivals. The price limits the loss when the reward is wrong, and the reward decides
# what there is to gain. **Early stopping** would have saved the run without a price as
# well, by never beginning: judged every five iterations, the start was the best place
# on the path at every seed.
#
# ## What price?
#
# The claims above hold for one assistant and one reward model. `make claims` measured
# them in another world, too, with its own base model, assistant and reward model, by
# the same recipes, and in both worlds at more than three times the price:

# %%
rows = []
for where, suffix in (("this world", ""), ("the other", "_another_world")):
    usual = recorded(f"11_ppo{suffix}")
    higher = recorded(f"11_higher_price{suffix}")
    for name, runs_there in (
        ("before", usual),
        ("moderate", usual),
        ("price 1", higher),
    ):
        means = [
            np.mean([run.get(f"{name}: {what}", 0.0) for run in runs_there])
            for what in ("gold", "words", "right", "KL")
        ]
        digits = (2, 0, 2, 1)
        cells = (f"{m:.{d}f}" for m, d in zip(means, digits, strict=True))
        rows.append((where, name.replace("moderate", "price 0.3"), *cells))
print(text_table(("", "", "gold", "words", "right", "KL"), rows))

# %% [markdown]
# At a price of 1 the right answers are kept in both worlds, gold utility rises in both,
# and the answers stay long. At 0.3 they become short in both. Here that is a gain;
# there every second right answer is lost on the way, and nothing is gained (unit 12
# looks for the reason). A price that was good for one reward model says little about
# the next. What finds it is a judge that training never sees, at two or three prices,
# before anything is released.
#
# A fixed price suits the beginning of a run and not its end, either. The **adaptive
# controller** of Ziegler et al. takes a target in nats instead and moves the price: by
# at most a fifth in a horizon, up where the divergence is above the target, down where
# it is below.

# %%
from utils.align.kl import AdaptiveKLController

show(AdaptiveKLController)

# %% [markdown]
# ## Break it: a mask that is off by one
#
# Shift `response_mask` by one place to the right. The first token of each response no
# longer counts, and the first padding does. Nothing else changes, no shape is wrong.
# One token of forty: how bad can it be? Look at where in its response the policy has a
# choice, as entropy, place by place:

# %%
from utils.align.logprobs import token_entropy

mask = rollouts.response_mask
with torch.inference_mode():
    logits = assistant(rollouts.token_ids)
choice = token_entropy(logits).masked_fill(~mask, 0.0)
begin = mask.int().argmax(1)
by_place = []
for place in range(12):
    columns = (begin + place).clamp(max=mask.shape[1] - 1)
    by_place.append(choice[torch.arange(64), columns].mean().item())
axes = plots.lines(
    {"assistant": (range(1, 13), by_place)},
    title="No place holds as much choice as the first",
    xlabel="place in the response",
    ylabel="entropy (nats)",
    points=True,
)
plt.show()
first_share = choice[torch.arange(64), begin].mean() / choice.sum(1).mean()
print(f"the first token holds {first_share:.0%} of a response's entropy")

# %%
padded = rollouts.last + 1 < mask.shape[1]
behind = (torch.arange(64)[padded], rollouts.last[padded] + 1)
of_padding = logits.log_softmax(-1)[behind][
    torch.arange(int(padded.sum())), rollouts.targets[behind]
]
print(
    f"log-probability of the first padding: {of_padding.mean():.0f} on average"
)

# %% [markdown]
# *Figure 6. Entropy over the first twelve places. It is far higher at the first place
# than at any other.*
#
# Nearly a third of all choice lies in one token of forty: wordy or short is decided
# where the answer begins. A mask that is off by one leaves out the very token that has
# to change. What it counts instead is a padding token that the policy would never
# write, and whatever the two models happen to say of it goes into the divergence. The
# loss is as smooth as ever. So test a mask by what it keeps: decode
# `targets[response_mask]` of one row, and read that it is the response with its end
# token.
#
# ## What else goes wrong
#
# - **A reward that is no number.** One NaN in 64 rewards makes every advantage NaN, and
#   after one step every weight. The loop refuses it, names the response, and the
#   checkpoint before it stands. The same for a reward function that raises or gives
#   the wrong number of values.
# - **Scores standardised on the way.** If mean and spread of the scores are taken from
#   the run itself, a policy that gets better sees its reward stay at 0, and the price
#   of a nat changes under your hands. Fix them before the run, on the reference's own
#   answers, as `load_reward_model` does.
# - **A kill at night.** Policy, value head, optimizer, controller *and the generator of
#   the draws* belong into the checkpoint. With all of them a killed and resumed run is
#   the run never killed, bit for bit (`tests/test_ppo.py`).
#
# ## At work: TRL
#
# The library that most people use, TRL, has dropped its PPO trainer. For learning from
# a reward while drawing, it has `RLOOTrainer` and `GRPOTrainer`, which do without a
# value head: they draw several responses to each prompt and compare each with the
# others of its group. Unit 12 builds that. The same prompts and the same reward model,
# one step:

# %% tags=["nbval-ignore-output"]
import logging
import tempfile
import warnings

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")

from datasets import Dataset
from transformers import AutoModelForCausalLM
from transformers.utils import logging as their_logging
from trl import RLOOConfig, RLOOTrainer

from utils.align.reward import score_responses
from utils.model.pretrained import save_hugging_face

their_logging.disable_progress_bar()


def their_reward(prompts, completions, completion_ids, **rest):
    """Return our reward model's scores of TRL's completions."""
    asked = [tokenizer.encode(prompt) for prompt in prompts]
    return score_responses(reward_model, asked, completion_ids, pad_id).tolist()


# %% tags=["nbval-ignore-output"]
scratch = tempfile.TemporaryDirectory()
save_hugging_face(assistant, scratch.name, end_id=end_id, pad_id=pad_id)
texts = [tokenizer.decode(prompt) for prompt in prompts(0)[:8]]
trainer = RLOOTrainer(
    model=AutoModelForCausalLM.from_pretrained(
        scratch.name, dtype=torch.float32
    ),
    reward_funcs=their_reward,
    args=RLOOConfig(
        output_dir=f"{scratch.name}/run",
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=64,
        beta=0.3,
        learning_rate=5e-4,
        max_steps=1,
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        report_to=[],
        disable_tqdm=True,
    ),
    train_dataset=Dataset.from_list([{"prompt": text} for text in texts]),
    processing_class=tokenizer.to_hugging_face(),
)
trainer.train()
wanted = ("reward", "kl", "entropy", "completions/mean_length")
for log in trainer.state.log_history[:1]:
    print({key: round(float(log[key]), 2) for key in wanted if key in log})
scratch.cleanup()

# %% [markdown]
# The names of its log are those of our dashboard. What you have learned to read there,
# you can read here.
#
# > **Governance box.** A reward is a specification, and this one was met by answers
# > that nobody wanted. *Record* the reward model with its data, the price or target and
# > who chose it before the run, the dashboard of the whole run, and twenty answers of
# > the released checkpoint. *Who signs*: somebody who has read these answers and did
# > not train the model. *What an auditor asks*: by what, that training never saw, was
# > the released model judged? And why this checkpoint and no later one?
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
ask("11_ppo", "padding", my_answer_1)

# %%
my_answer_2 = None
ask("11_ppo", "clip", my_answer_2)

# %%
my_answer_3 = None
ask("11_ppo", "estimator", my_answer_3)

# %%
my_answer_4 = None
ask("11_ppo", "whiten", my_answer_4)

# %%
my_answer_5 = None
ask("11_ppo", "lam", my_answer_5)

# %%
my_answer_6 = None
ask("11_ppo", "thermostat", my_answer_6)

# %%
my_answer_7 = None
ask("11_ppo", "cut", my_answer_7)

# %%
my_answer_8 = None
ask("11_ppo", "explained", my_answer_8)

# %% [markdown]
# ## What to remember
#
# - The reward of a run says nothing about its quality: it is what was optimised.
# - The price of the divergence is the term that keeps the policy where the reward model
#   can be trusted. Report the divergence that you charge, by the same estimator.
# - Before the first step every ratio is 1. If not, the old log-probabilities are those
#   of another policy.
# - A reward belongs on the last token of the response, not behind it; means, variances
#   and losses go over response tokens alone.
# - Read the KL with its trend, the entropy, the lengths, the explained variance; then
#   read twenty answers.
#
# ## Sources
#
# - Ziegler et al., *Fine-Tuning Language Models from Human Preferences*, 2019, sections
#   2.1 and 2.2. Ouyang et al., *Training language models to follow instructions with
#   human feedback*, 2022, section 3.5.
# - Schulman et al., *Proximal Policy Optimization Algorithms*, 2017, section 3.
# - Schulman et al., *High-Dimensional Continuous Control Using Generalized Advantage
#   Estimation*, 2016, section 3.
# - Schulman, *Approximating KL Divergence*, 2020 (joschu.net/blog/kl-approx.html).
# - Gao et al., *Scaling Laws for Reward Model Overoptimization*, ICML 2023, section 3.
# - Huang et al., *The N+ Implementation Details of RLHF with PPO*, 2024, section 2.
#
# **Next**: `work/11_ppo.ipynb`. You write the rewards of tokens, the advantages, both
# losses and the thermostat, and train with them. Then unit 12: the same objective
# without a reward model, and without a value head.
