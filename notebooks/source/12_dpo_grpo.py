# %% [markdown]
# # 12 DPO and GRPO
#
# **110 minutes** · before this: unit 11 · after this: `work/12_dpo_grpo.ipynb`, a lab
# of 110 minutes · the machine needs about two minutes
#
# PPO keeps four networks in memory and a dozen settings in the air. Two shorter ways
# are in use today. One turns preferences into a loss without a reward model and
# without drawing a single answer. The other draws, but compares answers with each
# other and drops the value function. Both are short enough to be written in an
# afternoon, and both fail in ways that their loss does not show.

# %%
from copy import deepcopy

import matplotlib.pyplot as plt
import torch

from utils.align.preference import dpo, token_pairs, train_preferences
from utils.align.rollouts import draw_rollouts
from utils.assistants.chat_models import chat_prompt, load_assistant
from utils.evaluate.world_qa import judge_answers, share
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
from utils.report.show import show
from utils.report.tables import text_table
from utils.runtime import generator, start
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.world.facts import build_world
from utils.world.preferences import preference_pairs
from utils.world.questions import questions

plots.use_style()
tier = start(seed=0)
claims = Claims()
world = build_world()
assistant, tokenizer = load_assistant()
IDS = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}


# %%
def answers_of(model, asked, max_new_tokens=64):
    """Return one drawn answer to each question, as text."""
    prompts = [chat_prompt(tokenizer, question.prompt) for question in asked]
    drawn = draw_rollouts(
        model, prompts, max_new_tokens, **IDS, generator=generator(0)
    )
    texts = [tokenizer.decode(r, skip_special=True) for r in drawn.responses]
    return [text.strip() for text in texts]


def judged(model, n=128):
    """Return gold utility, words and shares of rude and of right answers."""
    asked = questions(world, "trained", n, seed=7)
    verdicts = judge_answers(world, asked, answers_of(model, asked))
    fields = ("utility", "n_words", "rude", "correct")
    return [share(verdicts, field) for field in fields]


before = judged(assistant)
HEADER = ("", "gold utility", "words", "rude", "right")
print(text_table(HEADER, [("assistant", *(f"{v:.2f}" for v in before))]))

# %% [markdown]
# This is the assistant that units 10 and 11 worked on: wordy, and rude in one answer
# of five. Gold utility is the exact judge's verdict, and nothing here is trained on
# it.
#
# ## From the objective to a loss
#
# Unit 11 looked for the policy $\pi$ with the most reward $r$ that stays close to the
# **reference** $\pi_{ref}$, the model that training began with:
#
# $$ \max_\pi \; E_{y \sim \pi}\,[r(x, y)] -
#    \beta\, KL(\pi(\cdot|x)\,\|\,\pi_{ref}(\cdot|x)) $$
#
# For one prompt this can be solved on paper. The best policy is the reference with
# each answer's probability multiplied by $e^{r/\beta}$, and then normalised:
#
# $$ \pi^*(y|x) = \tfrac{1}{Z(x)}\, \pi_{ref}(y|x)\, e^{r(x, y) / \beta} $$
#
# With three possible answers you can check it by trying:

# %%
reference = torch.tensor([0.5, 0.3, 0.2])
reward, beta = torch.tensor([0.0, 1.0, 3.0]), 2.0


def objective(policy):
    """Return expected reward less beta times the KL divergence."""
    kl = (policy * (policy / reference).log()).sum(-1)
    return (policy * reward).sum(-1) - beta * kl


best = reference * (reward / beta).exp()
best = best / best.sum()
others = torch.rand(10_000, 3, generator=generator(0)) + 1e-6
others = others / others.sum(-1, keepdim=True)
print(f"best policy {[round(p, 3) for p in best.tolist()]}")
print(f"objective: best policy {objective(best):.4f}")
print(f"the best of 10,000 others {objective(others).max():.4f}")
assert objective(best) >= objective(others).max()

# %% [markdown]
# In practice $Z$ is out of reach: it sums over all texts that could be written. The
# idea of **direct preference optimisation**, DPO (Rafailov et al. 2023), is to read
# the formula backwards. Whatever policy you have, it is the best one for *some*
# reward,
#
# $$ r(x, y) = \beta \log \frac{\pi(y|x)}{\pi_{ref}(y|x)} + \beta \log Z(x), $$
#
# its **implied reward**. Preferences need differences of rewards alone (unit 10),
# both answers have the same prompt, and so $Z$ cancels:

# %%
implied = beta * (best / reference).log()
for a, b in ((1, 0), (2, 0), (2, 1)):
    print(
        f"reward of {a} less that of {b}: {(reward[a] - reward[b]).item():.1f}, "
        f"implied {(implied[a] - implied[b]).item():.1f}"
    )

# %% [markdown]
# Put that difference into the loss of Bradley and Terry, and you have a loss for the
# policy itself. For a chosen answer $c$ and a rejected one $r$:
#
# $$ -\log \sigma\Big( \beta \big[
#    (\log \pi(c) - \log \pi_{ref}(c)) - (\log \pi(r) - \log \pi_{ref}(r))
#    \big] \Big) $$
#
# What stands in the square brackets is the pair's **margin**. The log-probability of
# an answer is a sum over its tokens, end token included. You will write it:

# %%
from utils.align.preference_losses import dpo_loss

show(dpo_loss)

# %% [markdown]
# ## A perfect loss
#
# Train the assistant on 800 pairs, eight at a time. The chosen answers are polite, or
# short, or true, where the rejected ones are not. After a hundred steps, more than
# nine of ten pairs are told apart. What is the gold utility of its answers? It begins
# at the number in the table above.

# %%
my_guess_gold = None  # from 0 to 1: your number


# %% tags=["nbval-ignore-output"]
def tuned(pairs, n_steps=100, lr=3e-4, **settings):
    """Return a copy of the assistant after steps on pairs, and the records."""
    policy = deepcopy(assistant)
    records = train_preferences(
        policy,
        assistant,
        pairs,
        dpo,
        adamw(policy, lr=lr, weight_decay=0.0),
        n_steps,
        pad_id=tokenizer.pad_id,
        batch_size=8,
        schedule=cosine(n_steps, warmup_steps=5),
        **settings,
    )
    return policy, records


def last(records, name, n=10):
    """Return the mean of a number over the last records."""
    return sum(record[name] for record in records[-n:]) / n


pairs = token_pairs(preference_pairs(world, 800), tokenizer, 128)
plain, plain_records = tuned(pairs)

# %% tags=["reveals", "nbval-ignore-output"]
after_plain = judged(plain)
compare(my_guess_gold, after_plain[0], "{:.2f}")
print(f"loss {last(plain_records, 'loss'):.2f}; it was 0.69 at first")
print(f"pairs told apart: {last(plain_records, 'accuracy'):.0%}")
asked = questions(world, "trained", 5, seed=7)
for question, text in zip(asked, answers_of(plain, asked), strict=True):
    print(f"{question.prompt}\n    {text!r}")

# %% [markdown]
# The loss has fallen, the pairs are told apart, and the assistant is ruined. Look at
# what the loss can't see: both log-probabilities apart, each less the reference's.

# %%
steps = range(len(plain_records))
axes = plots.lines(
    {
        "chosen": (steps, [r["chosen_ratio"] for r in plain_records]),
        "rejected": (steps, [r["rejected_ratio"] for r in plain_records]),
    },
    title="The answers that were preferred become unlikely, too",
    xlabel="step",
    ylabel="log-probability less the reference's (nats)",
)
axes.axhline(0, color="grey", linewidth=0.8)
plt.show()
fall = last(plain_records, "chosen_ratio")
claims.add(
    "DPO alone: chosen answers lose (nats), while gold utility falls",
    measured="more than 10" if fall < -10 else "less",
    bar="10",
    holds=fall < -10 and after_plain[0] < before[0],
)

# %% [markdown]
# *Figure 1. Two lines over a hundred steps. The rejected answers' line falls steeply,
# and that of the chosen ones falls as well, some way above it. From about step 40 on
# both jump up and down far below zero. The loss sees the distance between them
# alone.*
#
# The loss asks for a difference. A chosen and a rejected answer share most of their
# words, and pushing a rejected answer down is easy: any change of style will do. It
# takes the chosen one along. The probability that both have lost went to texts that
# nobody compared with anything. The field calls this **likelihood displacement** (Pal
# et al. 2024, Razin et al. 2024), and the only sign of it in a log is the chosen
# answers' own log-probability. A dashboard that shows loss, margin and accuracy alone
# shows a success.
#
# The nearest remedy is to ask for it: add the negative log-likelihood of the chosen
# answers, per token, to the loss.

# %% tags=["nbval-ignore-output"]
anchored, anchored_records = tuned(pairs, likelihood_coef=1.0)
after = judged(anchored)
rows = [
    (name, *(f"{value:.2f}" for value in found))
    for name, found in (
        ("assistant", before),
        ("DPO alone", after_plain),
        ("with likelihood", after),
    )
]
print(text_table(HEADER, rows))
print(f"chosen answers: {last(anchored_records, 'chosen_ratio'):.1f} nats")

# %%
claims.add(
    "DPO with a likelihood term: gold utility rises by",
    measured="more than 0.1" if after[0] - before[0] > 0.1 else "less",
    bar="0.1",
    holds=after[0] - before[0] > 0.1,
)
claims.add(
    "DPO with a likelihood term: words, as a share of those before",
    measured="below 0.6" if after[1] < 0.6 * before[1] else "above",
    bar="0.6",
    holds=after[1] < 0.6 * before[1],
)

# %% [markdown]
# A fifth of the words, hardly a rude one. Other remedies: a smaller learning rate and
# fewer steps, a larger `beta`, and, best of all where you can afford it, pairs that
# the policy wrote itself, so that what is rejected is what it would have said.
#
# And look at the last column. Truth did not come along: style is learned long before
# truth, as in unit 10.
#
# ## Three seeds of what?
#
# `python -m tests.claims 12_dpo` repeats this run with three seeds. They decide which
# pairs there are and in which order they come; the world, the base model and the
# assistant are the same each time. So `12_dpo_another_world` does it three times more
# in another world: other people and drugs, a base model and an assistant of its own,
# by the same recipes. Here gold utility about doubles. And there?

# %%
my_guess_elsewhere = None  # gold utility there, after DPO: your number

# %% tags=["reveals"]
import json

from utils.settings import project_root


def runs_of(name):
    """Return what was recorded of a claim, one dictionary for each seed."""
    path = project_root() / "tests" / "claims" / "records" / f"{name}.json"
    return list(json.loads(path.read_text())["runs"].values())


rows, ends = [], {}
for world_name, name in (
    ("this", "12_dpo"),
    ("the other", "12_dpo_another_world"),
):
    for when in ("assistant", "with likelihood"):
        cells = []
        for what, digits in (("gold", 2), ("words", 0), ("right", 2)):
            values = [run[f"{when}: {what}"] for run in runs_of(name)]
            low, high = (f"{v:.{digits}f}" for v in (min(values), max(values)))
            cells.append(low if low == high else f"{low} to {high}")
            ends[world_name, when, what] = sum(values) / len(values)
        rows.append((world_name, when, *cells))
compare(
    my_guess_elsewhere, ends["the other", "with likelihood", "gold"], "{:.2f}"
)
print(text_table(("world", "", "gold utility", "words", "right"), rows))

# %%
gain = (
    ends["the other", "with likelihood", "gold"]
    - ends["the other", "assistant", "gold"]
)
claims.add(
    "recorded, another world: DPO with a likelihood term raises gold utility",
    measured="by more than 0.1" if gain > 0.1 else "no",
    bar="stated: no",
    holds=gain < 0.1,
)

# %% [markdown]
# There, too, a fourth of the words is left, and the pairs are told apart as well as
# here. But more than half of the right answers are lost, and gold utility stays where
# it was. Why? Both policies were pushed towards short answers. So look how good the two
# assistants are at those, before anything is learned from pairs (`12_forms`):

# %%
rows, gaps = [], {}
for world_name, name in (
    ("this", "12_forms"),
    ("the other", "12_forms_another_world"),
):
    found = runs_of(name)
    means = {k: sum(run[k] for run in found) / len(found) for k in found[0]}
    rows.append((world_name, *(f"{value:.2f}" for value in means.values())))
    gaps[world_name] = (
        means["right, of the long"] - means["right, of the short"]
    )
print(text_table(("world", *means), rows))
print(", ".join(f"gap in {name} world {gap:.2f}" for name, gap in gaps.items()))

# %% [markdown]
# In both worlds a long answer is right more often than a short one; in the other world
# the gap is about twice as wide. Preferences push the policy into a form, and its share
# of right answers goes towards that form's: all the way in the other world, part of
# the way here.
#
# Two things to take along. Before you align, measure the assistant *in the form that
# you will ask for*; where it is poor at it, tune on good answers of that form first.
# And say of each claim what its seeds decided: three runs from one start are not three
# starts. Whether another start has the same effect is another question, and the one
# that a reader cares about.
#
# ## Few pairs
#
# How few pairs does it take to reach a loss of nearly nothing? Thirty-two, a true and
# a false answer each, gone through again and again at a brisk rate. Two hundred
# others, about other entities, to look at:


# %% tags=["nbval-ignore-output"]
from utils.align.preference import reference_logprobs


def held_out(policy):
    """Return loss and accuracy on pairs about entities kept out of training."""
    new = preference_pairs(world, 200, seed=1, differ=("fact",), held_out=True)
    new = token_pairs(new, tokenizer, 128)
    scores = [
        reference_logprobs(
            model,
            [pair.prompt for pair in new],
            [getattr(pair, side) for pair in new],
            tokenizer.pad_id,
        )
        for model in (policy, assistant)
        for side in ("chosen", "rejected")
    ]
    told = scores[0] - scores[2] > scores[1] - scores[3]
    return dpo_loss(*scores).item(), told.float().mean().item()


facts = preference_pairs(world, 32, differ=("fact",))
few, few_records = tuned(token_pairs(facts, tokenizer, 128), 80, lr=1e-3)
loss, told_apart = held_out(few)
print(f"32 pairs: loss {last(few_records, 'loss'):.3f}")
print(f"200 others: loss {loss:.2f}, {told_apart:.0%} told apart")
assert last(few_records, "loss") < 0.1 and loss > 0.69

# %% [markdown]
# A margin can always grow further, so nothing stops this loss at a sensible place. On
# the others it is *worse* than before the first step, when it was log 2, or 0.69.
# Keep held-out pairs, and stop by them (unit 08).
#
# ## IPO and KTO
#
# **Identity preference optimisation**, IPO (Azar et al. 2023), says where to stop. It
# pulls the difference $h$ of the log-ratios to a target. (The paper's formula has the
# sums over an answer; in use they are taken per token, as here.)
#
# $$ \Big( h - \frac{1}{2\beta} \Big)^2, \qquad
#    h = \tfrac{1}{n_c} \log \tfrac{\pi(c)}{\pi_{ref}(c)} -
#        \tfrac{1}{n_r} \log \tfrac{\pi(r)}{\pi_{ref}(r)} $$
#
# **Kahneman-Tversky optimisation**, KTO (Ethayarajh et al. 2024), does without pairs.
# Each answer is marked as wanted or not, which is what a thumb up or down gives you.
# A wanted one with the log-ratio $h$ loses $1 - \sigma(\beta (h - z))$, an unwanted
# one $1 - \sigma(\beta (z - h))$. The reference point $z$ is how far the policy has
# drifted on average, estimated on answers set behind the wrong prompts. It is 0 at
# least, and no gradient flows through it: or else the loss could fall by making
# nonsense likelier. How hard does each of the three push, depending on how far it has
# come?

# %%
from utils.align.preference_losses import ipo_loss, kto_loss

margins = torch.linspace(-4, 12, 81)
zero, one = torch.zeros(1), torch.ones(1, dtype=torch.int64)
wanted = torch.tensor([True])
losses = {
    "DPO": lambda m: dpo_loss(m, zero, zero, zero, beta=0.5),
    "IPO": lambda m: ipo_loss(m, zero, zero, zero, one, one, beta=0.1),
    "KTO": lambda m: kto_loss(m, zero, wanted, zero, zero, beta=0.5),
}
series = {}
for name, loss_of in losses.items():
    pushes = []
    for margin in margins:
        at = margin.reshape(1).requires_grad_()
        (slope,) = torch.autograd.grad(loss_of(at), at)
        pushes.append(-slope.item())
    largest = max(map(abs, pushes))
    series[name] = (margins.tolist(), [push / largest for push in pushes])

# %%
axes = plots.lines(
    series,
    title="Only IPO ever says that it is enough",
    xlabel="log-ratio of the chosen answer (nats)",
    ylabel="push upwards, largest = 1",
)
axes.axhline(0, color="grey", linewidth=0.8)
plt.show()

# %% [markdown]
# *Figure 2. Push over log-ratio. DPO's falls from 1 towards zero and never gets
# there. IPO's falls along a straight line, crosses zero at its target of 5 and pulls
# back beyond it. KTO's is a bump around the reference point: it gives up on answers
# far below it.*
#
# KTO's left side is a feature where marks are noisy: an answer that stays unlikely
# whatever is done may have been marked wrongly.
#
# ## What goes in
#
# Four mistakes that give no error in most code bases, and what ours does about them:
#
# - A long prompt is cut to fit *each answer*, so that chosen and rejected follow
#   different prompts and $Z$ no longer cancels. `token_pairs` cuts once for both.
# - The reference runs in training mode, with dropout, so it is another model at each
#   call. `train_preferences` computes its log-probabilities once, before the first
#   step, in evaluation mode.
# - Sums for one side and means for the other, or an end token counted on one side
#   only. There is one function for all four numbers.
# - The reference has another tokenizer, or pairs hold twice the same answer. Refused:

# %%
from utils.align.preference import TokenPair, check_pairs

try:
    check_pairs([pairs[0], TokenPair([5, 6], [7, 0], [7, 0])])
except ValueError as error:
    print(error)

# %% [markdown]
# ## Groups in place of a value function
#
# DPO never looks at what the policy writes today. PPO does, and needs a value
# function to say whether a reward was better than expected. **Group-relative policy
# optimisation**, GRPO (Shao et al. 2024), gets that from drawing: several answers to
# one prompt, a **group**, and the mean of their rewards is what was to be expected.

# %%
from utils.align.group_losses import group_advantages, grpo_loss

show(group_advantages)

# %%
rewards = torch.tensor([1.0, 0, 0, 0] + [1.0, 1, 1, 0] + [1.0, 1, 1, 1])
rows = []
for name, divide in (("less the mean", False), ("divided, too", True)):
    found = group_advantages(rewards, 4, divide).view(3, 4)
    rows.append((name, *(f"{row[0]:.2f}" for row in found)))
header = ("advantage of the first answer", "1 of 4", "3 of 4", "4 of 4 right")
print(text_table(header, rows))

# %% [markdown]
# Three things to see. In a group without spread there is nothing to compare: its
# advantage is 0, and it had better not be 0 divided by 0. As a policy gets better,
# more groups are like that, and the batch gets smaller without anyone saying so: the
# record has their share as `flat`. And division by the standard deviation makes a
# rare success count for more: a **difficulty bias** towards prompts that are nearly
# always right or nearly always wrong (Liu et al. 2025).
#
# **Leave one out** (RLOO, Ahmadian et al. 2024) compares with the mean of the *other*
# answers, does not divide, and takes a whole answer as one action.
#
# The loss is PPO's clipped one (unit 11), each token with its answer's advantage:

# %%
show(grpo_loss)

# %% [markdown]
# Do not watch its value. Before the first update all ratios are 1 and the advantages
# of a group add up to 0, so for answers of one length the loss is exactly 0. Its
# gradient is not:

# %%
old = torch.full((3, 4), -1.5)
logprobs = old.clone().requires_grad_()
kept = torch.ones(3, 4, dtype=torch.bool)
advantages = group_advantages(torch.tensor([1.0, 0.0, 0.5]), 3)
loss = grpo_loss(logprobs, old, advantages, kept)
(gradient,) = torch.autograd.grad(loss, logprobs)
print(
    f"loss {abs(loss.item()):.6f}, norm of its gradient {gradient.norm():.2f}"
)
assert abs(loss) < 1e-6 and gradient.norm() > 0.1

# %% [markdown]
# ## A reward that is computed
#
# Where an answer can be checked, no reward model is needed: a **verifiable reward**.
# Sums, say. The assistant has unlearned them while it was tuned to chat. A checker
# has to be written with care, since the policy learns what the checker checks:

# %%
from utils.align.verify import verify_answer

show(verify_answer)

# %%
cheat = " ".join(str(number) for number in range(50))
print("contains the answer:", "12" in cheat)
print("last number is the answer:", verify_answer(cheat, "12"))
print(
    "a fluent mistake:", verify_answer("5+7=13. Not 12, as some say: 13.", "12")
)

# %% [markdown]
# Twenty iterations: 32 sums, eight answers to each, two passes over the 256 answers.
# A tenth of all sums is in no training text, and is not used here either. What share
# of these **held-out** sums is right afterwards?

# %%
my_guess_sums = None  # from 0 to 1: your number


# %% tags=["nbval-ignore-output"]
from utils.align.grpo import train_grpo


def right_sums(model, n=300):
    """Return the share of held-out sums that a drawn answer gets right."""
    asked = questions(world, "held_out_sum", n, seed=5)
    texts = answers_of(model, asked, max_new_tokens=16)
    hits = [
        verify_answer(text, q.value)
        for text, q in zip(texts, asked, strict=True)
    ]
    return sum(hits) / n


right_values = {}  # prompt -> right answer


def sums(iteration):
    """Return 32 sums as prompts and note their values."""
    asked = questions(
        world, "trained", 32, seed=1000 + iteration, kinds=("sum",)
    )
    prompts = [chat_prompt(tokenizer, q.prompt) for q in asked]
    for prompt, question in zip(prompts, asked, strict=True):
        right_values[tuple(prompt)] = question.value
    return prompts


# %% tags=["nbval-ignore-output"]
def is_right(rollouts):
    """Return 1 for each response whose last number is right, else 0."""
    texts = [tokenizer.decode(r, skip_special=True) for r in rollouts.responses]
    values = [right_values[tuple(prompt)] for prompt in rollouts.prompts]
    return torch.tensor(
        [verify_answer(t, v) for t, v in zip(texts, values, strict=True)]
    )


calculator = deepcopy(assistant)
sum_records = train_grpo(
    calculator,
    sums,
    is_right,
    adamw(calculator, lr=3e-4, weight_decay=0.0),
    20,
    max_new_tokens=16,
    minibatch_size=128,
    **IDS,
)

# %% tags=["reveals", "nbval-ignore-output"]
sums_before, sums_after = right_sums(assistant), right_sums(calculator)
compare(my_guess_sums, sums_after, "{:.2f}")
print(f"before: {sums_before:.2f}")

# %%
iterations = range(1, len(sum_records) + 1)
axes = plots.lines(
    {
        "reward": (iterations, [r["reward"] for r in sum_records]),
        "flat groups": (iterations, [r["flat"] for r in sum_records]),
        "entropy": (iterations, [r["entropy"] for r in sum_records]),
    },
    title="Sums come back, and the policy grows surer of itself",
    xlabel="iteration",
    ylabel="share, or nats per token",
    points=True,
)
axes.set_ylim(bottom=0)
plt.show()

# %% [markdown]
# *Figure 3. Three lines over twenty iterations. The reward rises with a good deal of
# noise. The entropy per token falls. The share of groups without spread, from which
# nothing is learned, goes up and down between a fifth and a half.*
#
# Nothing was shown to the policy: no right answer, no pair. It was told which of its
# own answers were right. So it can only get better at what it sometimes does, and
# where all eight answers are wrong it learns nothing. Three seeds, 36 iterations of
# 32 sums, recorded by `python -m tests.claims 12_grpo_sums`:


# %%
def gains_on_sums(name):
    """Print what a claim recorded of each seed; return the gains on held-out sums."""
    found = []
    for run in runs_of(name):
        first, end = run["held-out sums before"], run["held-out sums after"]
        reward = f"{run['reward, first']:.2f} to {run['reward, last five']:.2f}"
        print(f"held-out sums: {first:.2f} to {end:.2f}; reward: {reward}")
        found.append(end - first)
    return found


gains = gains_on_sums("12_grpo_sums")
claims.add(
    "recorded, three seeds: GRPO on sums, held-out pass@1 rises by",
    measured=f"at least {min(gains):.2f}",
    bar="0.10",
    holds=min(gains) >= 0.10,
)

# %% [markdown]
# (**pass@1** is the share of prompts whose one drawn answer is right.) In the other
# world:

# %%
elsewhere = gains_on_sums("12_grpo_sums_another_world")

# %% [markdown]
# The reward rises there at every seed, by about half as much, and little of it carries
# over to sums that no training has seen.
#
# ## What a row is divided by
#
# Answers have different lengths, and a loss is one number. Each answer's sum over its
# tokens is divided by something, and four choices are in use under the one name GRPO:

# %%
from utils.align.group_losses import LENGTHS, row_lengths

mask = torch.arange(16) < torch.tensor([[4], [16]])  # 4 tokens, and 16
rows = []
for how in LENGTHS:
    divided_by = row_lengths(how, mask, max_new_tokens=32)
    x = torch.full((2, 16), -1.0, requires_grad=True)
    right_and_wrong = torch.tensor([1.0, -1.0])
    loss = grpo_loss(x, x.detach(), right_and_wrong, mask, divided_by)
    (push,) = torch.autograd.grad(-loss, x)
    rows.append((how, f"{push[0, 0]:+.4f}", f"{push[1, 0]:+.4f}"))
print(text_table(("divided by", "token of right 4", "token of wrong 16"), rows))

# %% [markdown]
# - **sequence**: its own length, as in the first paper. A token of the long wrong
#   answer is pushed down with a quarter of the force that lifts a token of the short
#   right one. So a wrong answer is cheaper the longer it is.
# - **batch**: the mean length of all answers of an update, the token mean of DAPO (Yu
#   et al. 2025). All tokens count alike.
# - **micro_batch**: the mean length of those answers that happen to be computed
#   together. The same as *batch* until somebody halves the micro-batch to save
#   memory, and the training becomes another one.
# - **constant**: the limit, as in Dr. GRPO (Liu et al. 2025). All tokens count alike,
#   and no batch counts more than another.
#
# A pull on each token is one thing, the length of answers after training another. Try
# it: questions about the town, reward 1 for an answer that holds the right value,
# whatever its length; fourteen iterations, three seeds, recorded by `python -m
# tests.claims 12_lengths`. The table says that answers should end longer under the
# sequence mean:

# %%
length_runs = runs_of("12_lengths")
n_iterations = sum(key.startswith("batch: length ") for key in length_runs[0])
axes = plots.new_axes()
means = {}
for k, how in enumerate(("sequence", "batch")):
    for run in length_runs:
        values = [run[f"{how}: length {i}"] for i in range(n_iterations)]
        means.setdefault(how, []).append(values)
        axes.plot(
            range(1, n_iterations + 1),
            values,
            color=plots.PALETTE[k],
            linestyle=plots.DASHES[k],
            linewidth=0.8,
            alpha=0.5,
        )
ends = []
for k, (how, curves) in enumerate(means.items()):
    curve = [sum(column) / len(column) for column in zip(*curves, strict=True)]
    colour = plots.PALETTE[k]
    axes.plot(range(1, n_iterations + 1), curve, plots.DASHES[k], color=colour)
    ends.append((n_iterations, curve[-1], f"{how} mean", colour))
plots.label_ends(axes, ends)
axes.set(xlabel="iteration", ylabel="tokens of an answer")
axes.set_title("In fourteen iterations the seeds differ more than the divisors")
plt.show()

# %% [markdown]
# *Figure 4. Mean length of an answer over iterations. Thin lines are seeds, thick
# ones their means, one for each normalisation. The thick lines lie close together,
# well within the spread of the thin ones.*

# %%
gaps = [run["sequence: length"] - run["batch: length"] for run in length_runs]
for run in length_runs:
    print(
        ", ".join(
            f"{how}: {run[f'{how}: length']:.1f} tokens, reward "
            f"{run[f'{how}: reward']:.2f}"
            for how in ("sequence", "batch")
        )
    )
print(f"sequence longer by {min(gaps):+.1f} to {max(gaps):+.1f} tokens")

# %% [markdown]
# (Each number is a mean over the last five iterations.) The sign is not even the same
# for all seeds. So small a model in so short a run does not show what Liu et al. (2025)
# report of long runs, where wrong answers are long and the pull has time to add up.
# What you can carry over is the table, which is exact, and a habit: before you praise a
# model whose answers grow for thinking longer, look at what its rows were divided by.
#
# ## At equal compute
#
# Which to choose? One budget for all: six hundred thousand tokens forward through the
# policy, where a pass backward counts twice and the reward model of unit 10 as much
# as the policy. *SFT on best of 8* draws eight answers to each prompt and is tuned on
# the one with the highest score. DPO (with the likelihood term) takes the best and
# the worst of the eight as its pair. PPO (unit 11) pays 0.3 for each nat of distance.
# GRPO and RLOO use the score itself and, as in the papers on verifiable rewards, pay
# nothing. *Best of n* trains nothing and pays at every answer. Three seeds, by
# `python -m tests.claims 12_equal_compute`; questions about entities that no training
# here has seen.

# %%
compared = runs_of("12_equal_compute")
names = list(dict.fromkeys(key.partition(":")[0] for key in compared[0]))
axes = plots.new_axes((7.2, 4.0))
rows = []
for k, name in enumerate(names):
    kl = [run.get(f"{name}: KL", 0.0) for run in compared]
    gold = [run[f"{name}: gold"] for run in compared]
    words = [run[f"{name}: words"] for run in compared]
    is_open = name.startswith("best") or name == "assistant"
    colour = plots.PALETTE[k % len(plots.PALETTE)]
    axes.scatter(
        kl,
        gold,
        s=36,
        marker="osD^vP*X"[k],
        edgecolors=colour,
        facecolors="none" if is_open else colour,
        label=name,
    )
    right = [run.get(f"{name}: right") for run in compared]
    share = f"{sum(right) / len(right):.2f}" if None not in right else "-"
    cells = [sum(values) / len(values) for values in (gold, kl, words)]
    spread = f"{cells[0]:.2f} ({min(gold):.2f}-{max(gold):.2f})"
    rows.append((name, spread, f"{cells[1]:.1f}", f"{cells[2]:.0f}", share))
axes.set(xlabel="KL from the assistant (nats)", ylabel="gold utility")
axes.set_title("Without a price the same compute buys distance and no worth")
axes.legend(frameon=False, ncols=2, fontsize=9)
plt.show()
print(text_table(("", "gold utility (seeds)", "KL", "words", "right"), rows))

# %% [markdown]
# *Figure 5. Gold utility over KL; a mark for each seed, open marks for what was not
# trained. The assistant stands at the lower left. PPO is highest, SFT on the best of
# eight nearest to the left of the trained ones, GRPO furthest to the right and
# lowest.*

# %%
methods = [n for n in names if not n.startswith(("best", "assistant"))]
passes = [run[f"{name}: passes"] for name in methods for run in compared]
claims.add(
    "recorded, three seeds: compute of all methods, of the budget",
    measured=f"{min(passes) / 6e5:.2f} to {max(passes) / 6e5:.2f}",
    bar="0.85 to 1.15",
    holds=0.85 <= min(passes) / 6e5 and max(passes) / 6e5 <= 1.15,
)
gap = min(run["PPO: gold"] - run["GRPO: gold"] for run in compared)
claims.add(
    "recorded, three seeds: PPO at a price over GRPO without, gold utility",
    measured=f"at least {gap:.2f}",
    bar="stated",
    holds=gap > 0,
)

# %% [markdown]
# All of them learn from the same reward model, which knows style and hardly any facts,
# so with the distance right answers are lost (unit 11), and without a price nothing
# ends the walk: GRPO went furthest and finished no better than the assistant that it
# began as. That is a verdict on the missing price and not on the estimator; a KL term
# in its loss (`ref_policy`, `kl_coef`) or an earlier end would have held it. SFT on the
# best of eight goes about one nat, where little can go wrong. With a checker in place
# of a learned reward, as for the sums above, there is less to be hacked, and the price
# is often left out.
#
# - **Preferences from people, and no wish to draw:** DPO or a cousin, with the chosen
#   answers' log-probability on the dashboard. It is the cheapest to run and to
#   repeat.
# - **Thumbs, not pairs:** KTO.
# - **Answers that can be checked:** GRPO or RLOO. No reward model, no labels.
# - **A learned reward and a long training:** PPO or GRPO, with the KL in sight.
# - **Anything at all, first:** SFT on the best of n. It is hard to get wrong, and the
#   number that the others have to beat.

# %% [markdown]
# ## On a real model
#
# SmolLM2, with 135 million weights, answers short questions at length: asked for a
# capital it may write a paragraph. To make it brief needs no judge. To sixty
# questions it drew six answers each, and of those that are right the shortest is
# preferred to the longest. What is false teaches nothing, so no pair says anything
# about truth. Forty other questions were kept aside. That takes half an hour on one
# core, so it was run once for each of two seeds and recorded.
#
# How many of the words will go?

# %%
from utils.experiments.records import recorded, told

run = recorded("12_brevity")
print(told(run))
tests = {f"seed {seed}": r["test"] for seed, r in run["results"].items()}
words = {
    name: {when: test[when]["words"] for when in ("before", "after")}
    for name, test in tests.items()
}
plots.grouped_bars(
    words,
    title="The same model says it in half the words",
    ylabel="words of an answer to a new question",
    text="{:.0f}",
)
plt.show()
for (name, test), result in zip(
    tests.items(), run["results"].values(), strict=True
):
    rights = [test[when]["right"] for when in ("before", "after")]
    print(
        f"{name}: {result['pairs']} pairs, KL {result['KL']:.1f} nats, ", end=""
    )
    print(f"right answers {rights[0]:.3f} before and {rights[1]:.3f} after")

# %% [markdown]
# *Figure 6. Two pairs of bars, one pair for each seed: words before and after 40
# steps of DPO with adapters. The second bar of each pair has about half the height of
# the first, or less.*
#
# Thirty-two pairs suffice, since the short answers were the model's own: it could
# write them all along. Of forty questions one answer is two and a half points, so no
# gain in right answers is claimed, and no loss beyond five points is hidden.

# %%
lost = [
    100 * (t["before"]["right"] - t["after"]["right"]) for t in tests.values()
]
claims.add(
    "recorded: SmolLM2's words on new questions, two seeds",
    measured=", ".join(
        f"{w['before']:.0f} to {w['after']:.0f}" for w in words.values()
    ),
    bar="60 % of them at most",
    holds=all(w["after"] <= 0.6 * w["before"] for w in words.values()),
)
claims.add(
    "recorded: points of right answers lost",
    measured=", ".join(f"{points:.0f}" for points in lost),
    bar="5 at most",
    holds=max(lost) <= 5,
)
for question, before, after in run["results"]["0"]["examples"][4:7]:
    print(f"{question}\n  before: {before}\n  after:  {after}")

# %% [markdown]
# The answer on Turkey is false, before and after (it is Ankara): no pair spoke about
# truth. The one on Canada even got longer: what is learned holds on average. A
# preference for few words is a preference for nothing else.
#
# And GRPO, with a reward that is computed? The same model was asked for small sums,
# and to reply with one line that begins with "The answer is". Half of the reward is
# for that form, which a pattern reads, and half for the right number, which
# `verify_answer` does. Replies were drawn at temperature 0.7: at 1 hardly any had the
# form, and without a reward there is nothing to learn from. What will a few iterations
# teach it: the form, the sums, or both?

# %%
run = recorded("12_format")
print(told(run))
result = run["results"]["0"]
test = result["test"]
names = {"form": "in the asked form", "right": "with the right number"}
plots.grouped_bars(
    {
        names[name]: {
            when: test[name][when]["share"] for when in ("before", "after")
        }
        for name in names
    },
    title="A few iterations teach the form, and no arithmetic",
    ylabel="share of replies to new sums",
)
plt.show()
for name in names:
    low, high = test[name]["after"]["interval"]
    print(
        f"{names[name]}: {low:.2f} to {high:.2f} after, p = {test[name]['p']:.4f}"
    )
rewards = result["records"]["reward"]
flat = result["records"]["flat"]
print("reward by iteration:", ", ".join(f"{reward:.2f}" for reward in rewards))
print("groups without spread:", ", ".join(f"{share:.2f}" for share in flat))

# %% [markdown]
# *Figure 7. Two pairs of bars, before and after. All replies have the form after
# training, where less than half had it. Few have the right number, before and after.*

# %%
points = 100 * (
    test["form"]["after"]["share"] - test["form"]["before"]["share"]
)
claims.add(
    "recorded: SmolLM2's replies in the asked form by GRPO, one seed",
    measured=f"{points:.0f} points more",
    bar="30 points, p < 0.05",
    holds=points >= 30 and test["form"]["p"] < 0.05,
)
for question, before, after in result["examples"][:3]:
    print(f"{question}\n  before: {before}\n  after:  {after}")

# %% [markdown]
# The form was within reach: some draws of each group had it, so the groups had spread
# and an advantage. The right number was rare, and GRPO strengthens what is drawn: what
# hardly occurs is hardly strengthened, not in so few iterations. Once all replies of a
# group have the form and none is right, the group has no spread, and nothing is left
# to learn from: the reward stays near a half. Whoever looks at the form alone sees a
# success; whoever looks at the sums sees a model that is wrong in better manners. It
# is one run from one seed, so it says that this can happen and not how often.
#
# ## In TRL
#
# The same losses by the library that most people use, `trl`, on the same data. First
# DPO's, on eight pairs, with the policy that was trained with a likelihood term:

# %% tags=["nbval-ignore-output"]
import logging
import tempfile
import warnings

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
logging.getLogger("DeepSpeed").addFilter(lambda line: False)
warnings.filterwarnings("ignore", category=FutureWarning)

from datasets import Dataset
from transformers import AutoModelForCausalLM, PrinterCallback
from transformers.utils import logging as their_logging
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer

from utils.model.pretrained import save_hugging_face

# %% tags=["nbval-ignore-output"]
their_logging.disable_progress_bar()
scratch = tempfile.TemporaryDirectory()
theirs = {}
for name, model in (("policy", anchored), ("reference", assistant)):
    save_hugging_face(model, f"{scratch.name}/{name}", **IDS)
    theirs[name] = AutoModelForCausalLM.from_pretrained(
        f"{scratch.name}/{name}", dtype=torch.float32
    )
COMMON = {
    "output_dir": f"{scratch.name}/run",
    "per_device_train_batch_size": 8,
    "use_cpu": True,
    "bf16": False,
    "report_to": [],
    "save_strategy": "no",
    "disable_tqdm": True,
}
texts = preference_pairs(world, 8, seed=2)
rows = [
    {
        "prompt": [{"role": "user", "content": pair.prompt}],
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
    }
    for pair in texts
]

# %% tags=["nbval-ignore-output"]
trainer = DPOTrainer(
    model=theirs["policy"],
    ref_model=theirs["reference"],
    args=DPOConfig(**COMMON, beta=0.1, max_length=128),
    train_dataset=Dataset.from_list(rows),
    processing_class=tokenizer.to_hugging_face(),
)
batch = next(iter(trainer.get_train_dataloader()))
their_loss = trainer.compute_loss(trainer.model, dict(batch)).item()
eight = token_pairs(texts, tokenizer, 128)
our_scores = [
    reference_logprobs(
        model,
        [pair.prompt for pair in eight],
        [getattr(pair, side) for pair in eight],
        tokenizer.pad_id,
    )
    for model in (anchored, assistant)
    for side in ("chosen", "rejected")
]
our_loss = dpo_loss(*our_scores, beta=0.1).item()

# %%
claims.add(
    "loss of eight pairs, ours against TRL's DPOTrainer",
    measured="below 1e-5" if abs(our_loss - their_loss) < 1e-5 else "above",
    bar="1e-5",
    holds=abs(our_loss - their_loss) < 1e-5,
)

# %% [markdown]
# GRPO's trainer draws its own answers, so what can be compared on one page is what it
# makes of the rewards. (In the course's tests all four normalisations, KTO's, IPO's
# and RLOO's losses equal TRL's to 1e-5 on the same batch.) A reward function of TRL
# gets the answers and the columns of the data set. Note `loss_type`: "grpo" divides
# by the sequence, "bnpo" by the micro-batch, "dapo", the default, by the batch,
# "dr_grpo" by a constant.

# %% tags=["nbval-ignore-output"]
seen = []


def last_number_is_right(completions, value, **_):
    """Return the checker's verdict on TRL's chats."""
    found = [
        verify_answer(chat[0]["content"], v)
        for chat, v in zip(completions, value, strict=True)
    ]
    seen.extend(found)
    return found


# %% tags=["nbval-ignore-output"]
asked = questions(world, "trained", 8, seed=3, kinds=("sum",))
trainer = GRPOTrainer(
    model=theirs["policy"],
    reward_funcs=last_number_is_right,
    args=GRPOConfig(
        **COMMON,
        max_steps=1,
        learning_rate=0.0,
        num_generations=8,
        max_completion_length=16,
        loss_type="dapo",
    ),
    train_dataset=Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": q.prompt}],
                "value": q.value,
            }
            for q in asked
        ]
    ),
    processing_class=tokenizer.to_hugging_face(),
)
trainer.remove_callback(PrinterCallback)
trainer.train()
print(f"{sum(seen):.0f} of {len(seen)} answers are right")
scratch.cleanup()

# %% [markdown]
# > **Governance box.** A preference data set decides what the model will prefer, and
# > it was made by somebody under instructions. *Record* who compared, what they were
# > told, how often they agreed (unit 10); the reference model's hash; `beta`; for a
# > checker, its code and its known holes. *Who signs*: whoever answers for the
# > model's conduct, on a page of answers before and after, not on a loss. *What an
# > auditor asks*: what are the chosen answers' log-probabilities before and after?
# > And what does the reward pay for that nobody wants?
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
ask("12_dpo_grpo", "dashboard", my_answer_1)

# %%
my_answer_2 = None
ask("12_dpo_grpo", "zero", my_answer_2)

# %%
my_answer_3 = None
ask("12_dpo_grpo", "lengths", my_answer_3)

# %%
my_answer_4 = None
ask("12_dpo_grpo", "implied", my_answer_4)

# %%
my_answer_5 = None
ask("12_dpo_grpo", "start", my_answer_5)

# %%
my_answer_6 = None
ask("12_dpo_grpo", "kto", my_answer_6)

# %%
my_answer_7 = None
ask("12_dpo_grpo", "flat", my_answer_7)

# %%
my_answer_8 = None
ask("12_dpo_grpo", "checker", my_answer_8)

# %% [markdown]
# ## What to remember
#
# - A policy implies a reward: beta times its log-ratio to the reference. DPO is
#   Bradley and Terry on that.
# - Its loss sees a difference alone. Log chosen and rejected log-probabilities apart.
# - GRPO compares answers to one prompt. Without spread there is nothing to learn, and
#   its loss is near 0 while it works.
# - What a row is divided by decides what length costs. Name it in the report.
# - A policy learns what the checker checks.
#
# ## Sources
#
# - Rafailov et al., *Direct Preference Optimization*, NeurIPS 2023, sections 4 and 5.
# - Pal et al., *Smaug: Fixing Failure Modes of Preference Optimisation with
#   DPO-Positive*, 2024, section 3. Razin et al., *Unintentional Unalignment:
#   Likelihood Displacement in Direct Preference Optimization*, 2024, section 4.
# - Azar et al., *A General Theoretical Paradigm to Understand Learning from Human
#   Preferences*, 2023, section 5. Ethayarajh et al., *KTO*, 2024, section 4.
# - Shao et al., *DeepSeekMath*, 2024, section 4. Liu et al., *Understanding
#   R1-Zero-Like Training*, 2025, section 3. Yu et al., *DAPO*, 2025, section 3.
# - Ahmadian et al., *Back to Basics: Revisiting REINFORCE Style Optimization*, 2024,
#   section 3. Cobbe et al., *Training Verifiers to Solve Math Word Problems*, 2021.
#
# **Next**: `work/12_dpo_grpo.ipynb`. You write the three losses of preferences, the
# advantages and the loss of groups, and the checker. Then unit 13: an assistant that
# makes things up.
