# %% [markdown]
# # Lab 11: PPO
#
# **110 minutes** · after the lecture `notebooks/11_ppo.ipynb`
#
# You write what lies between a number for a whole answer and an update of each
# token's probability: the rewards of tokens, their advantages, the two losses and the
# thermostat that holds the policy near its reference. Each exercise has a check that
# answers at once; after each, an experiment runs *your* code on the assistant. At the
# end all of it trains. An exercise that you skip only switches off its own experiments.
#
# Letters for shapes: B responses, T targets. Everything is aligned to the targets:
# [b, t] belongs to the token `targets[b, t]`.

# %%
import math
from copy import deepcopy

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from utils.align.advantages import cut_rewards, explained_variance
from utils.align.kl import FixedKLController
from utils.align.logprobs import masked_mean, token_logprobs
from utils.align.policy_losses import approximate_kl
from utils.align.ppo import ActorCritic
from utils.align.reward import score_rollouts
from utils.align.rollouts import draw_rollouts, response_logprobs
from utils.assistants.chat_models import load_assistant, question_prompt
from utils.assistants.reward_models import load_reward_model, own_answers
from utils.evaluate.world_qa import answer_questions, judge_answers, share
from utils.labs.api import check, done, hint, start_lab
from utils.model.hidden import logits_and_hidden
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.runtime import generator, progress, start
from utils.train.optimizers import clip_gradients
from utils.world.facts import build_world
from utils.world.preferences import is_held_out
from utils.world.questions import questions

start_lab("11_ppo")
plots.use_style()
tier = start(seed=0)
world = build_world()
assistant, tokenizer = load_assistant()
reward_model, _ = load_reward_model()
pad_id, end_id = tokenizer.pad_id, tokenizer.end_id

rollouts = own_answers(assistant, tokenizer, world, 64)  # at temperature 1
rewards = score_rollouts(reward_model, rollouts, pad_id, end_id)
mask = rollouts.response_mask
print(tokenizer.decode(rollouts.responses[0]))
print(f"reward {rewards[0]:.1f}, {rollouts.lengths[0]} tokens")

# %% [markdown]
# ## 1. What a token earns
#
# **Goal**: for each token of a response the price of leaving the reference, and at its
# last token the reward of the whole.
#
# **Why it matters**: this is where most broken runs are broken. A reward one place too
# far right stands on padding, and the mask removes it without a word.

# %%
# exercise: utils.align.advantages.kl_rewards points=4 minutes=18 difficulty=2

# %% [markdown]
# **Experiment.** The assistant writes at temperature 0.7, which makes another policy of
# it: a surer one. The reference is the assistant at temperature 1. How far apart are
# the two, in nats per response?

# %%
my_nats = None  # nats per response: your number

# %% tags=["needs:kl_rewards"]
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
    at_one = response_logprobs(assistant, *batch, temperature=1.0)
nothing = torch.zeros(64)
price = kl_rewards(nothing, cool.logprobs, at_one, cool.response_mask, 1.0)
compare(my_nats, -price.sum(1).mean().item(), "{:.1f} nats")
forgotten = kl_rewards(nothing, at_one, at_one, cool.response_mask, 1.0)
print(f"with the temperature left out: {forgotten.abs().sum():.1f} nats")

# %% [markdown] tags=["result"]
# Two different policies, and with the temperature left out of the log-probabilities
# they look like one and the same.

# %% [markdown]
# ## 2. From rewards to advantages
#
# **Goal**: the generalised advantage estimates of all tokens, and their returns.
#
# **Why it matters**: a reward that stands at the end must reach the tokens that earned
# it. GAE says how far it reaches, and how much of it the value head may explain away.

# %%
# exercise: utils.align.advantages.gae points=6 minutes=25 difficulty=3

# %% [markdown]
# **Experiment.** A value head that knows nothing says 0 everywhere, and a response of
# 41 tokens earns a reward of 1 at its end. With `lam=0.95`, what is the advantage of
# its first token?

# %%
my_first = None  # from 0 to 1: your number

# %% tags=["needs:gae"]
whole = torch.ones(1, 41, dtype=torch.bool)
at_end = torch.zeros(1, 41)
at_end[0, -1] = 1.0
curves = {}
for lam in (0.8, 0.95, 1.0):
    advantages, _ = gae(at_end, torch.zeros(1, 41), whole, 1.0, lam)
    curves[f"lam {lam}"] = (range(1, 42), advantages[0].tolist())
compare(my_first, curves["lam 0.95"][1][0], "{:.2f}")
plots.lines(
    curves,
    title="A small lam hides the end from the beginning",
    xlabel="token of the response",
    ylabel="advantage",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. Three lines over 41 tokens, all at 1 at the last one. At lam 1 the line is
# flat. At 0.95 it falls to about an eighth at the first token, at 0.8 to nothing within
# twenty tokens.*
#
# The value head has to carry the rest of the way: where it is good, a small lam costs
# little and saves noise.

# %% [markdown]
# ## 3. One scale for all
#
# **Goal**: values with mean 0 and variance 1 over the tokens that count.
#
# **Why it matters**: the size of an advantage depends on the reward model's scale; the
# learning rate should not. And padding, if it counts, moves the zero, which decides
# whether a token is pushed up or down.

# %%
# exercise: utils.align.advantages.whiten points=4 minutes=12 difficulty=1

# %% [markdown]
# **Experiment.** The advantages of the 64 responses, whitened over the tokens of the
# responses, and once more with padding and prompts counted as zeros. At what share of
# the tokens does the sign change?

# %%
my_signs = None  # from 0 to 1: your number

# %% tags=["needs:whiten,gae"]
places = torch.arange(mask.shape[1])
per_token = (places == rollouts.last[:, None]) * (rewards[:, None] + 2.0)
raw, _ = gae(per_token, torch.zeros(mask.shape), mask, 1.0, 1.0)
right = whiten(raw, mask)
wrong = whiten(raw, torch.ones_like(mask))
flipped = masked_mean((right.sign() != wrong.sign()).float(), mask).item()
compare(my_signs, flipped, "{:.2f}")
up = [masked_mean((white > 0).float(), mask).item() for white in (right, wrong)]
print(f"share of tokens pushed up: {up[0]:.2f}, with padding {up[1]:.2f}")

# %% [markdown] tags=["result"]
# The rewards were shifted by 2 here, as those of a reward model that nobody has
# centred. With the zeros of padding and prompts in the mean, some of the poor responses
# look good.

# %% [markdown]
# ## 4. The clipped loss
#
# **Goal**: PPO's loss, as a scalar that gives gradients.
#
# **Why it matters**: it is what lets the same responses be used more than once. Without
# the clip the second use already rests on a ratio that nobody bounds.

# %%
# exercise: utils.align.policy_losses.ppo_clip_loss points=6 minutes=20 difficulty=2

# %% [markdown]
# **Experiment.** Twelve steps on the same 32 responses, at a rate of 0.001, three times
# that of the run at the end of this lab: with a clip of 0.2, and with one of 1000,
# which is none. How many times as far does the policy move without the clip, in nats
# per token?

# %%
my_times = None  # times: your number


# %% tags=["needs:ppo_clip_loss,whiten", "nbval-ignore-output"]
def moved_after(clip_eps, n_steps=12):
    """Return how far the policy has moved after each step on one batch."""
    policy = deepcopy(assistant)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3, weight_decay=0)
    rows = slice(0, 32)
    kept, old = mask[rows], rollouts.logprobs[rows]
    advantages = whiten(rewards[rows, None].expand(kept.shape), kept)
    moved = []
    for _ in range(n_steps):
        logits = policy(rollouts.token_ids[rows])
        new = token_logprobs(logits, rollouts.targets[rows])
        loss = ppo_clip_loss(new, old, advantages, kept, clip_eps)
        optimizer.zero_grad()
        loss.backward()
        clip_gradients(policy.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            moved.append(approximate_kl(new, old, kept))
    return moved


with_clip, without = moved_after(0.2), moved_after(1000.0)
compare(my_times, without[-1] / with_clip[-1], "{:.0f} times")
plots.lines(
    {
        "clip 0.2": (range(12), with_clip),
        "no clip": (range(12), without),
    },
    title="The clip is what makes one batch safe to use again",
    xlabel="step on the same responses",
    ylabel="distance from the old policy (nats per token)",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 2. Two lines over twelve steps. They part after the first few. Without the
# clip the distance shoots up; with it the line rises slowly and stays far lower.*

# %% [markdown]
# ## 5. The value head's loss
#
# **Goal**: half the squared error, the larger of the plain one and the one of the
# value kept near its old self.
#
# **Why it matters**: the value is what an advantage is measured against. If it learns
# too slowly, PPO is policy gradient with noise; if too wildly, with a moving zero.

# %%
# exercise: utils.align.policy_losses.value_loss points=4 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** A value head on the frozen features of the assistant, 60 steps on the
# rewards of the 64 responses: at the policy's rate of 0.0003, and at ten times that.
# What share of the rewards' variance does the slow one explain?

# %%
my_explained = None  # from 0 to 1: your number

# %% tags=["needs:value_loss", "nbval-ignore-output"]
to_come = rewards[:, None].expand(mask.shape)
with torch.no_grad():
    _, features = logits_and_hidden(assistant, rollouts.token_ids)
curves = {}
for rate in (3e-4, 3e-3):
    head = nn.Linear(features.shape[-1], 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate)
    explained, old_values = [], torch.zeros(mask.shape)
    for _ in range(60):
        values = head(features).squeeze(-1)
        loss = value_loss(values, old_values, to_come, mask, float("inf"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        explained.append(explained_variance(values.detach(), to_come, mask))
    curves[f"rate {rate}"] = (range(60), explained)
compare(my_explained, curves["rate 0.0003"][1][-1], "{:.2f}")
plots.lines(
    curves,
    title="At the policy's rate the value head comes too late",
    xlabel="step",
    ylabel="explained variance",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 3. Two lines over 60 steps: at the larger rate the explained variance climbs
# soon, at the policy's own rate it has come less than half as far at the end.*

# %% [markdown]
# ## 6. The thermostat
#
# **Goal**: a weight of the divergence that follows a target.
#
# **Why it matters**: the right `kl_coef` depends on the reward's scale and changes
# during a run. A target in nats is easier to choose: it says how different the policy
# may become.

# %%
# exercise: utils.align.kl.AdaptiveKLController points=4 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** A made-up policy whose divergence settles at 0.6 / kl_coef nats: a
# weight of 0.1 lets it go to 6. The target is 2, the horizon 320, and each iteration
# has 64 responses. After 40 iterations, where is the weight that began at 0.1?

# %%
my_weight = None  # your number

# %% tags=["needs:AdaptiveKLController"]
curves = {}
for first in (0.1, 1.0):
    controller, divergence, line = (
        AdaptiveKLController(first, target=2.0, horizon=320),
        0.0,
        [],
    )
    for _ in range(40):
        divergence += 0.3 * (0.6 / controller.kl_coef - divergence)
        controller.update(divergence, 64)
        line.append(divergence)
    curves[f"from {first}"] = (range(40), line)
    if first == 0.1:
        compare(my_weight, controller.kl_coef, "{:.2f}")
plots.lines(
    curves,
    title="From both sides the divergence comes to its target, slowly",
    xlabel="iteration",
    ylabel="divergence (nats)",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 4. One line shoots above the target of 2 nats and comes back, the other one
# creeps up from below. A fifth of a horizon moves the weight by 4 % at most.*

# %% [markdown]
# ## 7. All of it
#
# Fourteen iterations of PPO made of your functions: 32 questions each, two epochs. The
# loop is given, the parts are yours. How many words will the assistant's greedy answers
# have afterwards, which have about 35 now?

# %%
my_words = None  # words: your number


# %% tags=["needs:kl_rewards,gae,whiten,ppo_clip_loss,value_loss"]
def experience_of(agent, drawn, kl_coef):
    """Return advantages, returns and values of rollouts, and the divergence."""
    kept = drawn.response_mask
    scores = score_rollouts(reward_model, drawn, pad_id, end_id)
    batch = (drawn.token_ids, drawn.targets, kept)
    with torch.no_grad():
        ref_logprobs = response_logprobs(assistant, *batch)
        _, values = agent(drawn.token_ids)
    paid = cut_rewards(scores, drawn.ended, -1.0)
    token_rewards = kl_rewards(
        paid, drawn.logprobs, ref_logprobs, kept, kl_coef
    )
    advantages, returns = gae(token_rewards, values, kept)
    moved = (drawn.logprobs - ref_logprobs).masked_fill(~kept, 0).sum(1).mean()
    return whiten(advantages, kept), returns, values, scores.mean(), moved


def steps_on(agent, optimizer, drawn, experience, source):
    """Take two epochs of steps on rollouts."""
    advantages, returns, old_values, *_ = experience
    order = [torch.randperm(32, generator=source) for _ in range(2)]
    for rows in torch.cat(order).split(16):
        kept = drawn.response_mask[rows]
        logits, values = agent(drawn.token_ids[rows])
        new = token_logprobs(logits, drawn.targets[rows])
        loss = ppo_clip_loss(new, drawn.logprobs[rows], advantages[rows], kept)
        loss = loss + value_loss(
            values, old_values[rows], returns[rows], kept, float("inf")
        )
        optimizer.zero_grad()
        loss.backward()
        clip_gradients(agent.policy.parameters(), 1.0)
        optimizer.step()


# %% tags=["needs:kl_rewards,gae,whiten,ppo_clip_loss,value_loss", "nbval-ignore-output"]
N_ITERATIONS = 14
asked = [
    q
    for q in questions(world, "trained", 1000, seed=3)
    if not is_held_out(world, q.entity)
]
agent = ActorCritic(deepcopy(assistant))
optimizer = agent.optimizer(policy_lr=3e-4, value_lr=3e-3)
controller, source, records = FixedKLController(0.3), generator(0), []
with progress(total=N_ITERATIONS, description="your PPO") as bar:
    for k in range(N_ITERATIONS):
        prompts = [
            question_prompt(tokenizer, q) for q in asked[32 * k : 32 * k + 32]
        ]
        drawn = draw_rollouts(
            agent.policy,
            prompts,
            64,
            pad_id=pad_id,
            end_id=end_id,
            generator=source,
        )
        experience = experience_of(agent, drawn, controller.kl_coef)
        steps_on(agent, optimizer, drawn, experience, source)
        reward, moved = (x.item() for x in experience[3:])
        controller.update(moved, len(prompts))
        records.append((reward, moved, drawn.lengths.float().mean().item()))
        bar.set_postfix_str(f"reward {reward:.2f}, KL {moved:.2f}")
        bar.update(1)

# %% tags=["needs:kl_rewards,gae,whiten,ppo_clip_loss,value_loss", "nbval-ignore-output"]
held_out = [
    q
    for q in questions(world, "trained", 600, seed=4)
    if is_held_out(world, q.entity)
][:100]
rows, found = [], {}
for name, policy in (("before", assistant), ("after", agent.policy)):
    answers = answer_questions(
        policy, tokenizer, held_out, render=question_prompt, max_new_tokens=64
    )
    verdicts = judge_answers(world, held_out, answers)
    found[name] = [
        share(verdicts, f) for f in ("utility", "n_words", "rude", "correct")
    ]
    rows.append((name, *(f"{v:.2f}" for v in found[name])))
compare(my_words, found["after"][1], "{:.0f} words")
print(text_table(("", "gold utility", "words", "rude", "right"), rows))
plots.lines(
    {
        "reward": (range(N_ITERATIONS), [r[0] for r in records]),
        "divergence (nats)": (range(N_ITERATIONS), [r[1] for r in records]),
    },
    title="Your PPO: the reward rises, and so does its price",
    xlabel="iteration",
    ylabel="mean over responses",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 5. Two lines over fourteen iterations, both rising, the divergence with more
# noise.*
#
# Shorter and worth more, and right a little less often, as in the lecture: no part of
# this reward holds on to facts.

# %% [markdown]
# ## 8. Written answer (3 points)
#
# A colleague shows you a run: the reward has risen from 0 to 2.6 in 30 iterations and
# is still rising, the divergence is 17 nats and rising, the entropy rose and then fell
# below its first value, all responses have about 12 tokens, the value head's explained
# variance is near 0. There is no judge and nobody has read an answer. In four to seven
# sentences: what has probably happened, which of these numbers say so and which one
# says nothing, and what would you do next?
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* The policy has probably found something that the reward model likes
# and people would not: reward hacking. The divergence says so: 17 nats for 12 tokens
# is far more than it takes to drop polite phrases, and it has not levelled off. The
# lengths, all alike, and the entropy below its beginning say that many prompts get the
# same answer. The value head explains nothing, because the rewards hardly differ any
# more. That the reward rises says nothing, since it is what was optimised. Next I would
# read twenty answers to different prompts; take the last checkpoint whose divergence
# was moderate; have its answers judged by something that training never saw; and run
# again with a weight on the divergence, or a target for it, chosen before the run.
#
# *Rubric.* 1 point: names over-optimisation of the reward, and that the rising reward
# is no evidence of quality. 1 point: reads the divergence with its size and trend, and
# at least one of entropy, equal lengths, explained variance. 1 point: reads answers or
# has them judged independently, goes back to an earlier checkpoint, and restrains the
# next run.
# <!-- END SOLUTION -->
