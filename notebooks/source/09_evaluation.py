# %% [markdown]
# # 09 Evaluation
#
# **95 minutes** · before this: unit 05 (06 to 08 help) · after this:
# `work/09_evaluation.ipynb`, a lab of 105 minutes · the machine needs about two
# minutes
#
# A model answers, and somebody has to say how well. Every number that does it
# leaves something out, every sample is too small, every judge has habits. In the
# world of this course each answer can be checked against the facts, so here you can
# measure the measures themselves.

# %%
import matplotlib.pyplot as plt
import torch

from utils.evaluate.world_qa import (
    answer_questions,
    judge_answers,
    plain_prompt,
    share,
)
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
from utils.report.show import show
from utils.report.tables import text_table
from utils.runtime import generator, start
from utils.world.documents import plain_question
from utils.world.facts import build_world
from utils.world.judge import judge
from utils.world.questions import questions
from utils.zoo.load import load_base

plots.use_style()
tier = start(seed=0)
claims = Claims()
model, tokenizer = load_base()
world = build_world(0)

# %% [markdown]
# ## Four points better
#
# The old model answers 74 of 100 questions right, the new one 78. Is it better?
# Suppose that it truly is, by just that much. To find such a difference four times
# in five, and to be fooled by equal models one time in twenty: how many questions
# must each model answer, if each gets its own? Guess.

# %%
my_guess = None  # questions for each model: your number

# %% tags=["reveals"]
from utils.evaluate.ab import ab_sample_size

compare(my_guess, ab_sample_size(0.74, 0.78), "{:,.0f} questions")

# %% [markdown]
# Many published differences are smaller than that, on fewer questions. Where the
# number comes from, and what can be done with a hundred questions, is the second
# half of this unit. First: what does "right" mean?
#
# ## What is a right answer?
#
# A question, the course's own answer as the **reference**, and two answers of which
# one is of use:

# %%
asked = questions(world, "held_out_phrasing", 200, seed=5)
question = next(q for q in asked if q.attribute == "dose")
number = int(question.value.split()[0])
other_words = f"Give {number} mg a day."
wrong_dose = question.answer.replace(str(number), str(10 * number))
for name, text in {
    "question": question.prompt,
    "reference": question.answer,
    "other words": other_words,
    "wrong dose": wrong_dose,
}.items():
    print(f"{name:11s}  {text}")

# %% [markdown]
# **Exact match** asks whether the answer is the reference, letter by letter. **F1**
# of words counts the words in common: **precision** is their share of the answer,
# **recall** their share of the reference, and F1 is the harmonic mean
# $2 P R / (P + R)$, which is near the smaller of the two. By hand:


# %%
def f1_by_hand(answer, reference):
    """Return F1 of the words that two texts share in any order."""
    ours, theirs = answer.lower().split(), reference.lower().split()
    common = sum(min(ours.count(w), theirs.count(w)) for w in set(ours))
    if common == 0:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


for name, text in (("other words", other_words), ("wrong dose", wrong_dose)):
    print(f"{name}: F1 {f1_by_hand(text, question.answer):.2f}")

# %% [markdown]
# Words in any order: "the dog bites the man" and "the man bites the dog" get full
# marks. **ROUGE-L** asks for the order as well. It takes the **longest common
# subsequence**: the most words that stand in both texts in the same order, with
# gaps allowed. Of `the dog bites the man` and `the man bites the dog` that is `the
# bites the`, three words of five. Precision, recall and F1 follow as above. (A word is
# a run of letters and digits here, so that `mg.` and `mg` are one; the split at spaces
# above took them for two.)

# %%
from utils.evaluate.rouge import rouge_l

show(rouge_l)

# %% [markdown]
# Now the world's judge reads the same two answers. It finds what is claimed,
# compares it with the facts, and says what the answer is worth to the asker, from 0
# to 1: the **gold utility**. Which answer does ROUGE-L prefer, and which the judge?

# %%
my_rouge_choice = None  # "other words" or "wrong dose"
my_gold_choice = None  # "other words" or "wrong dose"

# %% tags=["reveals"]
scored = {
    name: (rouge_l(text, question.answer).f1, judge(world, question, text))
    for name, text in (("other words", other_words), ("wrong dose", wrong_dose))
}
by_rouge = max(scored, key=lambda name: scored[name][0])
by_gold = max(scored, key=lambda name: scored[name][1].utility)
compare(my_rouge_choice, by_rouge, "{}", of="ROUGE-L")
compare(my_gold_choice, by_gold, "{}", of="gold")
for name, (f1, verdict) in scored.items():
    print(f"{name}: ROUGE-L {f1:.2f}, worth {verdict.utility:.1f}")
claims.add(
    "a pair where ROUGE-L prefers the answer that is worth nothing",
    measured=f"prefers {by_rouge}, gold {by_gold}",
    bar="they differ",
    holds=by_rouge != by_gold
    and scored[by_rouge][1].utility == 0 < scored[by_gold][1].utility,
)

# %% [markdown]
# Ten times the dose differs from the reference in one word, and a score that counts
# words can't know that it is the one that counts. Such scores are fit for comparing
# versions of one system that write alike, and unfit for saying that an answer is
# true.
#
# What do they say of the base model? Beside it stand two systems that are made of
# it: one wraps each answer in polite sentences, one replaces each value by a false
# one.

# %%
import random

from utils.world.styles import false_answer, verbose

rng = random.Random(0)
answers = {"base model": answer_questions(model, tokenizer, asked)}
answers["talkative"] = [verbose(rng, a) for a in answers["base model"]]
answers["liar"] = [
    false_answer(rng, q.entity, q.attribute, q.value) for q in asked
]
rows, table = [], {}
for name, texts in answers.items():
    pairs = [(t, q.answer) for t, q in zip(texts, asked, strict=True)]
    verdicts = judge_answers(world, asked, texts)
    table[name] = {
        "exact match": sum(a == b for a, b in pairs) / len(pairs),
        "F1": sum(f1_by_hand(*pair) for pair in pairs) / len(pairs),
        "ROUGE-L": sum(rouge_l(*pair).f1 for pair in pairs) / len(pairs),
        "true": share(verdicts, "correct"),
        "worth": share(verdicts, "utility"),
    }
    rows.append((name, *(f"{value:.2f}" for value in table[name].values())))
print(text_table(("system", *table["liar"]), rows))
assert table["liar"]["ROUGE-L"] > table["talkative"]["ROUGE-L"]

# %% [markdown]
# No score of words agrees with the last column. Exact match cannot tell a talkative
# answer from a lie; F1 and ROUGE-L put the liar far above the talkative one, who is
# right. Even "true" leaves something out, the time of whoever reads.
#
# A fifth number needs no answer at all. **Perplexity**, the exponential of the loss
# per token, says among how many tokens the model in effect chooses where a given
# text stands. `continuation_logprobs` adds up the logarithms of the probabilities
# of a text's tokens after a prompt; here for the references, and for the liar's
# answers:

# %%
from utils.evaluate.choices import continuation_logprobs
from utils.evaluate.metrics import perplexity

heads = [plain_prompt(tokenizer, q) for q in asked]
for name, texts in {
    "references": [q.answer for q in asked],
    "lies": answers["liar"],
}.items():
    ends = tokenizer.encode_batch([" " + text for text in texts])
    total = continuation_logprobs(model, heads, ends).sum().item()
    per_token = -total / sum(map(len, ends))
    print(f"{name}: perplexity {perplexity(per_token):.2f}")

# %% [markdown]
# It takes no judge and no sampling. The one false word shows here because this
# model is certain of all the others; every token counts alike, the word "the" as
# much as the dose, and in a long text a false one drowns among the rest. It
# compares models on one text with one tokenizer (unit 04: bits per byte for others)
# and does not say what a model would have answered.
#
# ## How sure, and rightly so?
#
# Ask the model to choose: for each value that an attribute can have, how likely is
# the sentence with it? The likeliest of the sentences is the choice, and its share of
# their whole probability is the model's **confidence**.

# %%
from utils.world.attributes import BY_NAME
from utils.world.phrasings import answer_sentence


def choices_of(asked):
    """Return for each question the log-probability of each value's sentence."""
    rows, ends, sizes = [], [], []
    for q in asked:
        values = BY_NAME[q.attribute].values
        texts = [answer_sentence(q.attribute, q.entity, v) for v in values]
        rows += [plain_prompt(tokenizer, q)] * len(values)
        ends += tokenizer.encode_batch([" " + text for text in texts])
        sizes.append(len(values))
    return continuation_logprobs(model, rows, ends).split(sizes)


def sure_and_right(asked, found, temperature=1.0):
    """Return how sure the choices are, and which are right."""
    shares = [(logprobs / temperature).softmax(-1) for logprobs in found]
    right = [
        BY_NAME[q.attribute].values[int(one.argmax())] == q.value
        for q, one in zip(asked, shares, strict=True)
    ]
    return torch.stack([one.max() for one in shares]), torch.tensor(right)


# %% [markdown]
# Two hundred questions about what the model has read, in phrasings that it has not,
# and two hundred about the same people and drugs, but about facts that no text ever
# told. There it can only guess among about nine values. How sure will it be, on
# average, of those guesses?

# %%
my_sure = None  # mean confidence in facts it never read, 0 to 1: your number

# %% tags=["reveals"]
never_told = questions(world, "untold", 200, seed=5)
found_known, found_unknown = choices_of(asked), choices_of(never_told)
known = sure_and_right(asked, found_known)
unknown = sure_and_right(never_told, found_unknown)
compare(my_sure, unknown[0].mean().item(), "{:.2f}")
for name, (sure, right) in {"read": known, "never read": unknown}.items():
    print(
        f"{name}: mean confidence {sure.mean():.2f}, "
        f"right {right.float().mean():.2f}"
    )
assert unknown[0].mean() > 3 * unknown[1].float().mean()

# %% [markdown]
# Half sure on average, and right no more often than chance. A model is
# **calibrated** if of the answers that it gives with a confidence of 0.8 eight in
# ten are right. To look at it, sort the answers into bins by confidence, and
# compare in each bin the mean confidence with the share that is right. The
# **expected calibration error** (ECE) is the mean distance of the two, each of the
# K bins weighted by its number of answers $n_k$ of N:
#
# $$\text{ECE} = \sum_{k=1}^{K} \frac{n_k}{N}\,
# \bigl|\text{accuracy}_k - \text{confidence}_k\bigr|$$
#
# Two bins by hand: three answers at 0.9, two of them right, and one at 0.4, wrong.
# The gaps are 0.9 - 0.67 = 0.23 and 0.4, so the error is 3/4 of 0.23 and 1/4 of
# 0.4.

# %%
from utils.evaluate.calibration import expected_calibration_error, reliability

sure = torch.tensor([0.9, 0.9, 0.9, 0.4])
right = torch.tensor([True, True, False, False])
by_hand = 3 / 4 * (0.9 - 2 / 3) + 1 / 4 * 0.4
assert abs(expected_calibration_error(sure, right, 2) - by_hand) < 1e-6
print(f"{by_hand:.3f}, by hand and by the function")
show(expected_calibration_error)

# %%
together = [torch.cat(pair) for pair in zip(known, unknown, strict=True)]
bins = reliability(*together)
plots.lines(
    {
        "as right as sure": ([0.0, 1.0], [0.0, 1.0]),
        "base model": (
            [one.confidence for one in bins],
            [one.accuracy for one in bins],
        ),
    },
    title="Anything short of certainty is a guess, and the model doesn't say so",
    xlabel="confidence",
    ylabel="share of right choices",
    points=True,
)
plt.show()
print(
    f"expected calibration error: {expected_calibration_error(*together):.2f}"
)

# %% [markdown]
# *Figure 1. A reliability diagram. The diagonal is where a calibrated model lies.
# Apart from a hump at a confidence of a quarter, the base model's line stays near zero
# up to about nine tenths and leaps up in the last bin, where what it has read is.*
#
# The usual repair is a single number. Divide the logits by a temperature above one,
# chosen on questions that are kept for it: the order of the answers stays, their
# confidence shrinks (Guo et al., section 4.2). Fit on half, measured on the other
# half:

# %%
half = slice(0, None, 2), slice(1, None, 2)
errors = {}
for T in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0):
    pair = [
        torch.cat(two)
        for two in zip(
            sure_and_right(asked, found_known, T),
            sure_and_right(never_told, found_unknown, T),
            strict=True,
        )
    ]
    errors[T] = [
        expected_calibration_error(pair[0][part], pair[1][part])
        for part in half
    ]
best = min(errors, key=lambda T: errors[T][0])
print(f"temperature {best}: {errors[1.0][1]:.2f} becomes {errors[best][1]:.2f}")
assert errors[best][1] < errors[1.0][1]

# %% [markdown]
# Better, and not well: one number cannot make a sure answer surer and a guess less
# sure. Later in this unit the confidence is put to another use.
#
# ## Short answers win
#
# Many benchmarks are scored in the way above: the likeliest of the given answers is
# taken as the model's. But each token multiplies the probability by something below
# one, so a longer answer is less likely, right or wrong. **lm-evaluation-harness**,
# the tool that many published numbers come from, reports two: `acc` compares sums
# of log-probabilities, `acc_norm` divides each by the number of *characters* of its
# answer. Others divide by tokens. Which is right?
#
# Four values for each question, each in one of several wordings, so that lengths
# differ. The model has read all the facts.

# %%
from utils.evaluate.choices import Scored, choose
from utils.world.phrasings import fill
from utils.world.wordings import PHRASINGS

told = questions(world, "trained", 400, seed=5)
rng, cases = random.Random(0), []
for q in told:
    values = [v for v in BY_NAME[q.attribute].values if v != q.value]
    values = [q.value, *rng.sample(values, 3)]
    templates = PHRASINGS[q.attribute].statements
    cases.append([fill(rng.choice(templates), q.entity, v) for v in values])
rows = [plain_prompt(tokenizer, q) for q in told for _ in range(4)]
ends = tokenizer.encode_batch([" " + t for texts in cases for t in texts])
logprobs = continuation_logprobs(model, rows, ends).tolist()
scored = [
    Scored(logprob, len(ids), len(text))
    for logprob, ids, text in zip(
        logprobs, ends, (t for texts in cases for t in texts), strict=True
    )
]
places = [sum(len(o) < len(texts[0]) for o in texts[1:]) for texts in cases]

# %% [markdown]
# Where the right answer is the *longest* of the four, how often is it chosen by the
# plain sum? (Chance is 0.25.)

# %%
my_longest = None  # share of right choices, by the sum: your number

# %% tags=["reveals"]
by_length = {}
for per in ("answer", "token", "character"):
    chosen = [choose(scored[4 * k : 4 * k + 4], per) for k in range(len(cases))]
    by_length[per] = [
        sum(c == 0 for c, at in zip(chosen, places, strict=True) if at == place)
        / places.count(place)
        for place in range(4)
    ]
    right_share = chosen.count(0) / len(chosen)
    print(f"log-probability per {per}: {right_share:.2f} right")
compare(my_longest, by_length["answer"][3], "{:.2f}", of="longest, by the sum")

# %%
plots.lines(
    {f"per {per}": ([1, 2, 3, 4], shares) for per, shares in by_length.items()},
    title="By the sum, a right answer is believed if it is short",
    xlabel="place of the right answer by length, 1 for the shortest of four",
    ylabel="share of right choices",
    points=True,
).set_xticks([1, 2, 3, 4])
plt.show()
assert by_length["answer"][0] - by_length["answer"][3] > 0.25
spread = {per: max(s) - min(s) for per, s in by_length.items()}
assert max(spread["token"], spread["character"]) < spread["answer"]

# %% [markdown]
# *Figure 2. Three lines over the place of the right answer by length. The one of plain
# sums falls from about 0.8 to a third; those per token and per character fall less and
# end a little below a half.*
#
# Some of the fall stays under every rule; short wordings may be those that it is
# used to. The gap between the lines is the rule alone: model, questions and facts
# are the same in all three. There is no right rule: sums punish length, means
# forgive a long answer that begins badly and then is easy to go on with. So state
# the rule, use the same for all systems, and when a number of yours differs from a
# paper's, look here first: a tokenizer with longer tokens changes every score that
# divides by tokens, and none that divides by characters.
#
# ## Examples from the test
#
# A **few-shot** prompt shows a few questions with answers before the one that is
# asked. It has to take them from somewhere, and the test file is at hand. Questions
# about new drugs, of which the base model knows nothing: alone, after two examples
# about other drugs, and after two of which one is the very question, with its
# answer.

# %%
test = questions(world, "new_drug", 200, seed=5)


def shots(asked, chosen):
    """Return the share of right answers after examples in the prompt."""

    def render(tokenizer, q):
        shown = "".join(
            f"{plain_question(e.prompt)} {e.answer}\n" for e in chosen(q)
        )
        text = shown + plain_question(q.prompt)
        return [tokenizer.end_id, *tokenizer.encode(text)]

    texts = answer_questions(model, tokenizer, asked, render=render)
    first = [text.split("\n")[0] for text in texts]
    return share(judge_answers(world, asked, first), "correct")


for name, chosen in {
    "no examples": lambda q: [],
    "two about others": lambda q: [e for e in test[:9] if e != q][:2],
    "the question itself": lambda q: [test[0], q],
}.items():
    print(f"base model, {name}: {shots(test, chosen):.2f} right")

# %% [markdown]
# It takes no notice: it has never read a text where an example helps. So take a
# system that uses nothing else. It finds the example whose question shares most
# words with the one asked, and gives its answer.

# %%
from utils.text.words import words_of


def nearest(question, pool):
    """Return the answer of the example with the most similar question."""
    words = set(words_of(question.prompt))

    def similar(example):
        others = set(words_of(example.prompt))
        return len(words & others) / len(words | others)

    return max(pool, key=similar).answer


in_test = {(q.entity, q.attribute) for q in test}
elsewhere = [
    q
    for q in questions(world, "new_drug", 200, seed=6)
    if (q.entity, q.attribute) not in in_test
]
few_shot = {}
for name, pool in {"other facts": elsewhere, "the test file": test}.items():
    texts = [nearest(q, pool) for q in test]
    few_shot[name] = share(judge_answers(world, test, texts), "correct")
    print(f"examples from {name}: {few_shot[name]:.2f} right")
assert few_shot["the test file"] > 0.95 > 0.2 > few_shot["other facts"]

# %% [markdown]
# A system that knows nothing gets everything right. Large models do the same with
# less ado: an answer that stands in the prompt is copied. It is the smallest case
# of **contamination**: the test has been in what the system has read. Unit 04
# looked for shared runs of words between training text and test; on the web the
# test file itself is often in the training text, with its answers. A sign of it:
# the model does worse when the same facts are asked for in other words.

# %%
phrasings = {}
for split in ("trained", "held_out_phrasing"):
    group = questions(world, split, 400, seed=5)
    texts = answer_questions(model, tokenizer, group)
    phrasings[split] = share(judge_answers(world, group, texts), "correct")
    print(f"{split}: {phrasings[split]:.2f} right")
assert phrasings["trained"] > phrasings["held_out_phrasing"]

# %% [markdown]
# The same facts, and the base model loses some in words that it never read. A
# benchmark of "trained" questions alone would have called it perfect.
#
# ## How far off a number may be
#
# "78 of 100" is what came out with these hundred questions. Others would have given
# another number. An **interval** says how far off it may be. The **bootstrap**
# takes the hundred answers as a picture of all that could be asked: it draws a
# hundred of them *with replacement* (some come twice, some not at all), takes the
# mean, and does so two thousand times. The middle 95 % of these means are the
# interval. One such **resample** by hand:

# %%
from utils.evaluate.intervals import bootstrap_interval, wilson_interval

right = torch.tensor([1.0] * 78 + [0.0] * 22)
picked = torch.randint(100, (100,), generator=generator(3))
print(f"{len(picked.unique())} of 100 questions are in it, some repeatedly")
print(f"its mean is {right[picked].mean():.2f}")
low, high = bootstrap_interval(right, generator=generator(0))
print(f"the interval: {low:.2f} to {high:.2f}")
show(bootstrap_interval)

# %% [markdown]
# What does the 95 % promise? Not that the truth lies in *this* interval with that
# probability, but that of many such intervals 95 in 100 hold the truth. That can be
# tried: a system that is right 80 times in 100, by construction, is evaluated 2,000
# times with 200 questions each.

# %%
N_RUNS, TRUE_SHARE, draws = 2000, 0.8, generator(7)
intervals = []
for _ in range(N_RUNS):
    right = (torch.rand(200, generator=draws) < TRUE_SHARE).double()
    intervals.append(
        bootstrap_interval(right, n_resamples=500, generator=draws)
    )
held = [low <= TRUE_SHARE <= high for low, high in intervals]
coverage = sum(held) / N_RUNS
claims.add(
    "95 % intervals that hold the truth, 200 questions each",
    measured=f"{coverage:.0%}",
    bar="95 % +- 2",
    holds=0.93 <= coverage <= 0.97,
)
axes = plots.new_axes()
for k, ((low, high), ok) in enumerate(zip(intervals[:60], held, strict=False)):
    axes.plot([k, k], [low, high], color=plots.PALETTE[0 if ok else 1])
axes.axhline(TRUE_SHARE, color="black", linewidth=1)
axes.set(
    xlabel="evaluation, 200 questions each", ylabel="share of right answers"
)
axes.set_title(
    "About one interval in twenty misses the truth, as promised", loc="left"
)
plt.show()

# %% [markdown]
# *Figure 3. Sixty vertical bars around a level line at 0.8. They are about 0.11
# high and jump up and down; a few, in another colour, don't reach the line.*
#
# Look at the heights: with 200 questions the number is good to about five or six
# points either way. The promise also has a limit: it is made for many questions, and
# the lab tries few. For a plain share of few questions, above all near 0 or 1,
# use **Wilson's interval**, a formula:

# %%
low, high = bootstrap_interval(torch.ones(20), generator=generator(0))
print(f"20 of 20 right, bootstrap: {low:.2f} to {high:.2f}")
low, high = wilson_interval(20, 20)
print(f"20 of 20 right, Wilson:    {low:.2f} to {high:.2f}")

# %% [markdown]
# ## Two systems, the same questions
#
# Two intervals side by side are a poor way to compare two systems, since part of
# what makes both jump is the same: this sample happens to have easy questions. If
# both answer the *same* questions, look at the difference question by question.
# Here the base model and itself with weights of four bits (unit 07 does that well,
# this is the crude way) on 300 questions of three kinds. How wide is an interval
# for the difference of their shares, with questions of their own, and with the same
# ones?

# %%
from copy import deepcopy


def rounded_to(bits):
    """Return a copy of the model with matrices of few bits."""
    small, most = deepcopy(model), 2 ** (bits - 1) - 1
    for weight in small.blocks.parameters():
        if weight.dim() == 2:
            step = weight.data.abs().amax(1, keepdim=True) / most
            weight.data = (weight.data / step).round() * step
    return small


def right_of(system, group):
    """Return 1 for each question that a system answers right, else 0."""
    texts = answer_questions(system, tokenizer, group)
    verdicts = judge_answers(world, group, texts)
    return torch.tensor([float(verdict.correct) for verdict in verdicts])


# %%
four_bits, widths, scores = rounded_to(4), {}, {}
for name, group in {
    "sums": questions(world, "trained", 300, seed=9, kinds=("sum",)),
    "sums never read": questions(world, "held_out_sum", 300, seed=9),
    "other phrasings": questions(world, "held_out_phrasing", 300, seed=9),
}.items():
    a, b = right_of(model, group), right_of(four_bits, group)
    scores[name] = a, b
    apart = ((a.var() + b.var()) / 300) ** 0.5
    paired = ((a - b).var() / 300) ** 0.5
    widths[name] = {
        "own questions": 2 * 1.96 * apart.item(),
        "the same questions": 2 * 1.96 * paired.item(),
    }
plots.grouped_bars(
    widths,
    title="The same questions for both systems: a narrower interval for nothing",
    ylabel="width of the interval",
)
plt.show()
assert all(
    w["the same questions"] < w["own questions"] for w in widths.values()
)

# %% [markdown]
# *Figure 4. Three pairs of bars. Where both systems answer the same questions, the
# interval of the difference is narrower, by a quarter in the first pair and by about
# half or more in the others.*
#
# Is the difference more than chance? The **paired permutation test** asks what
# chance alone would give. If the systems were alike, each question's difference
# could as well have the other sign. Five questions on which they differ, all five
# for the new system: of the $2^5$ = 32 ways to choose signs, two are as lopsided,
# all for one or all for the other. So the **p-value** is 2/32, about 0.06: as far
# as this or further happens to equal systems six times in a hundred. Questions on
# which both agree say nothing at all.

# %%
from utils.evaluate.paired import paired_permutation_test

print(paired_permutation_test(torch.ones(5), torch.zeros(5)), 2 / 32)
show(paired_permutation_test)

# %%
for name, (a, b) in scores.items():
    p = paired_permutation_test(a, b, generator=generator(0))
    n = int((a != b).sum())
    print(f"{name}: {a.mean():.2f} and {b.mean():.2f}, {n} differ, p = {p:.3f}")

# %% [markdown]
# On sums that it has read four bits cost the model something, and on phrasings
# there is nothing to see. On sums that it has *never* read, four bits are *better*,
# with a small p-value. Before you write a paper about it: there were three
# comparisons here, and with enough of them one succeeds. Twenty systems, all
# exactly as good as the old one (right 80 times in 100), 200 questions each. How
# often is at least one of them "significantly" better or worse, at 5 %?

# %%
my_luck = None  # share of such searches with a find, 0 to 1: your number

# %% tags=["reveals"]
z = torch.empty(4000, 20)
shares = (
    torch.binomial(
        torch.full((4000, 21), 200.0), torch.tensor(0.8), generator=generator(0)
    )
    / 200
)
old, new = shares[:, :1], shares[:, 1:]
middle = (old + new) / 2
z = (new - old) / (2 * middle * (1 - middle) / 200).sqrt()
compare(my_luck, (z.abs() > 1.96).any(1).float().mean().item(), "{:.2f}")
best_of = new.max(1).values.mean().item()
print(f"the best of the twenty scores {best_of:.2f} on average, and is 0.80")

# %% [markdown]
# Whoever tries twenty settings and reports the best reports luck. Choose on one set
# of questions and measure on another; or ask for p below 0.05 over the number of
# comparisons (**Bonferroni**). The p-value of the four bits is below even a third of
# 0.05. Still, a find that nobody had looked for is worth just one thing: a second
# sample, drawn for it.
#
# ## More than one number
#
# What is asked of a system is rarely one thing. **HELM** (Liang et al. 2023) is a
# way of reporting that takes this seriously: a table of **scenarios** (what is
# asked, of whom) against **metrics**, several for each, with every system in every
# cell. Here are three systems: the base model; the base model that says "I do not
# know that" wherever the probability of its own answer is below 0.8; and the base
# model in three bits.

# %%
from utils.world.styles import refusal


def careful(group, texts, least=0.8):
    """Return the answers, refusals in place of those that are not sure."""
    rows = [plain_prompt(tokenizer, q) for q in group]
    ends = [[*tokenizer.encode(" " + text), tokenizer.end_id] for text in texts]
    sure = continuation_logprobs(model, rows, ends).exp()
    return [
        text if s > least else refusal(rng, q.entity)
        for q, text, s in zip(group, texts, sure, strict=True)
    ]


# %%
three_bits, rng, cells = rounded_to(3), random.Random(0), {}
for split in ("trained", "held_out_phrasing", "untold", "unknown_entity"):
    group = questions(world, split, 200, seed=5)
    base_texts = answer_questions(model, tokenizer, group)
    by_system = {
        "base": base_texts,
        "careful": careful(group, base_texts),
        "three bits": answer_questions(three_bits, tokenizer, group),
    }
    for system, texts in by_system.items():
        verdicts = judge_answers(world, group, texts)
        cells[system, split] = {
            name: share(verdicts, name)
            for name in ("correct", "hallucinated", "utility")
        }
names = {"correct": "right", "hallucinated": "made up", "utility": "worth"}
rows = [
    (
        split,
        names[metric],
        *(f"{cells[s, split][metric]:.2f}" for s in by_system),
    )
    for split in ("trained", "held_out_phrasing", "untold", "unknown_entity")
    for metric in names
]
print(text_table(("scenario", "metric", *by_system), rows))
assert cells["careful", "untold"]["hallucinated"] < 0.3
assert cells["base", "untold"]["hallucinated"] > 0.8

# %% [markdown]
# Where everything is known the careful system loses nothing. Where nothing is known
# it makes up a fifth of what the base makes up, or next to nothing. In one
# scenario, phrasings, it pays with a few right answers. A leaderboard that counts
# right answers to "trained" questions puts all three within a point; one that
# asks about people who do not exist tells them apart at a glance. That is what the
# table is for: *which* cells matter is a decision about users, and it is better
# made before the numbers are seen.
#
# A confidence much like the one that was so badly calibrated did this. It can't say
# "0.7"; it can say "this is not like what I have read".
#
# > **Governance box.** A number in a report is a promise. *Record* with it: the
# > questions and their hash, how they were chosen, the prompt with its examples,
# > the rule that scores (normalised by what?), the generation settings, the judge
# > and its version, the interval. *Who signs*: somebody who did not build the
# > system. *What an auditor asks*: how many other settings were tried? Has the
# > model read the test? On which group of users is it worst?
#
# ## Answers from documents
#
# Many systems answer from documents that a search brings up: **retrieval-augmented
# generation** (RAG). Then an answer can be wrong in new ways. The search brought
# the wrong page; the page was right and the model ignored it; the answer is true
# and beside the question. **Ragas** (Es et al. 2024) is the library whose names for
# this are in use:
#
# - **faithfulness**: the share of the answer's claims that the context supports,
#   true or not;
# - **answer relevancy**: whether the answer speaks to the question (Ragas has a
#   model write questions that the answer would answer, and compares them with the
#   one that was asked; here, the share of its claims that are about what was
#   asked);
# - **context precision**: whether the pages that matter stand at the top of the
#   list. At each place where one stands, the share of pages so far that matter;
#   then the mean of these.
#
# Ragas has a large model find the claims and judge them. In the world, claims are
# found exactly:


# %%
from utils.world.claims import find_claims


def claims_in(question, text):
    """Return what a text claims: (entity, attribute, value)."""
    return {
        (*about, value)
        for about, found in find_claims(world, question, text).items()
        for value in found.affirmed
    }


def faithfulness(question, answer, context):
    """Return the share of an answer's claims that stand in the context."""
    said = claims_in(question, answer)
    return len(said & claims_in(question, context)) / len(said) if said else 0.0


# %%
def relevancy(question, answer):
    """Return the share of an answer's claims that are about what was asked."""
    said = claims_in(question, answer)
    about = (question.entity, question.attribute)
    return sum(c[:2] == about for c in said) / len(said) if said else 0.0


def context_precision(question, pages):
    """Return the mean precision at the places of the pages that matter."""
    wanted = (question.entity, question.attribute, question.value)
    matters = [wanted in claims_in(question, page) for page in pages]
    at = [sum(matters[: k + 1]) / (k + 1) for k, m in enumerate(matters) if m]
    return sum(at) / len(at) if at else 0.0


# %%
name = world.new_drugs[0]
dose, route = world.facts[name]["dose"], world.facts[name]["route"]
asked_dose = next(
    q
    for q in questions(world, "new_drug", 900, seed=1)
    if (q.entity, q.attribute) == (name, "dose")
)
wrong = next(v for v in BY_NAME["dose"].values if v != dose)
page = answer_sentence("dose", name, dose)
old_page = answer_sentence("dose", name, wrong)
other = answer_sentence("route", name, route)
cases = {
    "right, from the page": (page, page),
    "false page, faithful answer": (old_page, old_page),
    "right page, made-up answer": (old_page, page),
    "from memory, true": (page, other),
    "true, beside the question": (other, other),
}

# %%
rows = [
    (
        what,
        f"{faithfulness(asked_dose, answer, context):.0f}",
        f"{relevancy(asked_dose, answer):.0f}",
        f"{context_precision(asked_dose, [other, context]):.1f}",
        f"{judge(world, asked_dose, answer).utility:.0f}",
    )
    for what, (answer, context) in cases.items()
]
head = ("case", "faithful", "relevant", "context", "worth")
print("pages in order: one about the form, then the context\n")
print(text_table(head, rows))

# %% [markdown]
# No column can stand for another. The second row is the case to remember: an outdated
# page, repeated faithfully and to the point, is worth nothing and has two full
# marks. The fourth is the opposite: true, and unsupported by what was retrieved, so
# that nobody could check it. Faithfulness measures whether an answer can be traced,
# not whether it is true.
#
# The same for a whole system: a search by words in common, rare ones counting more,
# over notes about all new drugs; the answer repeats the first note.

# %%
import math
from collections import Counter

notes = [
    answer_sentence(attribute, drug, value)
    for drug in world.new_drugs
    for attribute, value in world.facts[drug].items()
]
n_with = Counter(word for note in notes for word in set(words_of(note)))


def search(question, n=3):
    """Return the notes that share most with a question."""
    words = set(words_of(question.prompt))

    def score(note):
        common = words & set(words_of(note))
        # In the order of a set, a plain sum would differ from run to run, and ties too.
        return math.fsum(math.log(len(notes) / n_with[word]) for word in common)

    return sorted(notes, key=score, reverse=True)[:n]


# %%
quoted = []
for q in test:
    pages = search(q)
    quoted.append(
        (
            faithfulness(q, pages[0], " ".join(pages)),
            relevancy(q, pages[0]),
            context_precision(q, pages),
            judge(world, q, pages[0]).correct,
        )
    )
heads = ("faithful", "relevant", "context precision", "right")
for head, column in zip(heads, zip(*quoted, strict=True), strict=True):
    print(f"{head}: {sum(column) / len(column):.2f}")

# %% [markdown]
# A system that only quotes is perfectly faithful. What it lacks shows in the other
# two: the search finds the drug and, half of the time, the wrong note about it.
#
# ## A judge that is a model
#
# People are slow, so a model is asked: here is a question, here are two answers,
# which is better? A large model does that by instruction. Ours is small, so it is
# trained, on what such judges are made of in the end, labels of people. Of people
# in a hurry: one time in four they name the first answer without reading on; and
# where one answer is much longer they are impressed, seven times in ten. Otherwise
# they name the better one. The judge then sees pairs about people and drugs of
# which it saw no label. Each pair differs in one thing: a rude word, two long
# sentences that say nothing, or a false fact.
#
# Guess: of the pairs where one answer is false, in how many does the judge name the
# first answer *in both orders*, whichever it is?

# %%
my_place = None  # share of pairs, 0 to 1: your number

# %% tags=["nbval-ignore-output"]
from utils.evaluate.pair_judge import (
    as_function,
    hasty_labels,
    judged_pairs,
    train_pair_judge,
    without_repeats,
)

labelled = hasty_labels(judged_pairs(world, tokenizer, 6000, seed=1), seed=1)
judge_model = deepcopy(model)
records = train_pair_judge(judge_model, tokenizer, labelled)
print(f"{len(labelled)} labels; loss {records[-1]['loss']:.2f} at the end")

# %% tags=["reveals", "nbval-ignore-output"]
from utils.evaluate.judging import judge_position_bias, swapped_choice

tested = judged_pairs(world, tokenizer, 900, seed=2, held_out=True)
tested = without_repeats(tested)
choose_between = as_function(judge_model, tokenizer, tested)
by_kind = {
    kind: [(p.chosen, p.rejected) for p in tested if p.differs_in == kind]
    for kind in ("tone", "length", "fact")
}
places = {
    kind: judge_position_bias(pairs, choose_between)
    for kind, pairs in by_kind.items()
}
compare(my_place, places["fact"].first, "{:.2f}")
plots.grouped_bars(
    {
        f"differ in {kind}": {
            "same answer": p.consistent,
            "first place": p.first,
            "second place": p.second,
        }
        for kind, p in places.items()
    },
    title="Where the judge can't tell, the first place wins",
    ylabel="share of pairs, judged in both orders",
)
plt.show()

# %% [markdown]
# *Figure 5. Three groups of three bars. Of pairs that differ in a fact nearly all
# go to whichever stands first; of those that differ in tone or in length more than
# half go to the same answer in both orders, and the rest to the first place.*
#
# The place of an answer decides wherever the answers don't, and a benchmark that
# always shows the new system first finds the new system better. The remedy is old:
# ask in both orders, and count a win only where the same answer wins both.

# %%
show(judge_position_bias)

# %% tags=["nbval-ignore-output"]
swapped = {
    kind: Counter(swapped_choice(*pair, choose_between) for pair in pairs)
    for kind, pairs in by_kind.items()
}
for kind, counts in swapped.items():
    n = counts.total()
    print(
        f"{kind}: better answer {counts['first'] / n:.2f}, "
        f"worse answer {counts['second'] / n:.2f}, tie {counts['tie'] / n:.2f}"
    )

# %% [markdown]
# Asked like this, the judge says the same of a pair whichever way it is given; the
# cell below this text checks it. What is left of the place is the ties. But look at
# the line of length: wherever the judge decides there, it decides for the *longer*
# answer, and the world holds the shorter one for better. No swap takes that out,
# since the long answer is long in both orders. It has to be measured, as here, with
# pairs of which one knows which should win, or avoided, by showing answers of like
# length.

# %%
turned = {
    kind: Counter(swapped_choice(b, a, choose_between) for a, b in pairs)
    for kind, pairs in by_kind.items()
}
same_either_way = all(
    (swapped[k]["first"], swapped[k]["second"])
    == (turned[k]["second"], turned[k]["first"])
    for k in by_kind
)
claims.add(
    "the trained judge: facts decided by the first place",
    measured="most" if places["fact"].first > 0.5 else "fewer",
    bar="over half of the pairs",
    holds=places["fact"].first > 0.5,
)
claims.add(
    "asked in both orders, its verdict does not depend on the order",
    measured="never" if same_either_way else "it does",
    bar="never",
    holds=same_either_way,
)
lengths = swapped["length"]
claims.add(
    "where it decides between short and long, it is for the long one",
    measured="nearly always"
    if lengths["second"] > 9 * lengths["first"]
    else "not so",
    bar="9 of 10",
    holds=lengths["second"] > 9 * lengths["first"],
)

# %% [markdown]
# Trained three times on other labels (recorded by `make claims`), it gave between
# 0.92 and 0.99 of the false-fact pairs to the first place. How often it dared to
# decide between a short and a long answer differed widely, from 0.02 to 0.75 of
# those pairs, and it was for the long one each time. The judge has learned its
# labellers' habits along with their judgement. In another world
# (`09_judge_another_world`) the place wins, too, and with one set of labels it wins all
# pairs of a short and a long answer; none was decided for the short one. A large model
# that is asked to judge has learned ours: Zheng et al. (section 3.3) measured place and
# length, and saw signs that some models prefer their own answers.
#
# ## People
#
# In the end people decide, so two people label the same pairs. They agree on 90 in
# a hundred. Is that good? It depends on what they would agree on by chance, which
# **Cohen's kappa** takes out:
#
# $$\kappa = \frac{p_\text{seen} - p_\text{expected}}{1 - p_\text{expected}}$$
#
# where $p_\text{expected}$ is how often two people would agree who label at random,
# each with their own shares. Two tables by hand, both with 90 of 100 on the
# diagonal:

# %%
from utils.evaluate.agreement import cohen_kappa

tables = {"even": (45, 5, 5, 45), "skewed": (90, 5, 5, 0)}
for name, (both_good, first_only, second_only, both_bad) in tables.items():
    n = both_good + first_only + second_only + both_bad
    good_first = (both_good + first_only) / n
    good_second = (both_good + second_only) / n
    seen = (both_good + both_bad) / n
    by_chance = good_first * good_second + (1 - good_first) * (1 - good_second)
    print(
        f"{name}: agree {seen:.2f}, by chance {by_chance:.3f}, "
        f"kappa {(seen - by_chance) / (1 - by_chance):.2f}"
    )
show(cohen_kappa)

# %% [markdown]
# The same agreement, and once it is worth 0.8 and once less than nothing: in the
# second table these two never once named the same item as bad. That is the use of
# kappa, and its trap: where a label is rare, kappa is low even for careful people,
# and a threshold such as "above 0.6 is good" says more about the items than about
# the people. Report both numbers, and the table.
#
# The course has a widget for labelling pairs. It hides which system wrote which
# answer, shuffles order and sides anew for each labeller, takes a button or a key,
# takes labels back, and writes each label to a file before it shows the next pair,
# so whoever stops half-way goes on there. Try it: base model against the talkative
# one.

# %% tags=["nbval-ignore-output"]
from utils.evaluate.labelling import Labelling, Pair, agreement, hash_of
from utils.report.labelling import labelling_widget
from utils.settings import artifacts_dir

pairs = [
    Pair(q.prompt, one, other)
    for q, one, other in zip(
        asked, answers["base model"], answers["talkative"], strict=True
    )
]
path = artifacts_dir() / "labels" / f"09_{hash_of(pairs[:20])}.jsonl"
labelling_widget(Labelling(pairs[:20], path, labeller="me"))

# %% [markdown]
# Two invented labellers in its place: both prefer the shorter answer, and one of
# them presses the wrong key one time in ten. The second stops after 60 of 100
# pairs, comes back, and goes on.

# %%
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    files = [Path(folder) / f"{name}.jsonl" for name in ("ann", "ben")]
    for file, slip, stops in (
        (files[0], 0.0, [100]),
        (files[1], 0.1, [60, 40]),
    ):
        rng = random.Random(0)
        for n in stops:  # a new session each time, on the same file
            session = Labelling(pairs[:100], file, file.stem)
            for _ in range(n):
                shown = session.current()
                shorter = len(shown.left) < len(shown.right)
                pressed = shorter != (rng.random() < slip)
                session.label("left" if pressed else "right")
    found = agreement(*files)
    print(f"pairs labelled by both: {found.n_pairs}, agree {found.seen:.2f}")
    print(f"kappa {found.kappa:.2f}")

# %% [markdown]
# Here is the trap at once: one of them prefers the same system throughout, so the
# labels are skewed, chance alone would agree as often, and kappa is zero although the
# two agree on nearly all.
#
# ## Experiments on users
#
# An **A/B test** shows the old system to half of the users and the new one to the
# others, and compares a share, such as "was that of help?". Two ways to be wrong
# have names: a **false alarm** (no difference, and one is reported; its probability
# is **alpha**) and a miss; the probability of finding a true difference is the
# **power**. The number of people follows from both and from the size of the
# difference:

# %%
show(ab_sample_size)

# %%
for gain in (0.10, 0.05, 0.02, 0.01):
    n = ab_sample_size(0.60, 0.60 + gain)
    print(f"60 % against {100 * (0.6 + gain):.0f} %: {n:,} people in each arm")

# %% [markdown]
# Half the difference, four times the people. That is the first guess of this unit,
# too.
#
# The plan says: look once, at the end. But numbers come in every day, and people
# look. Suppose that both systems are alike, 2,000 pairs of users come, and somebody
# looks after each hundred and stops when the usual test says "significant at 5 %".
# How often does that report a difference which is not there?

# %%
my_alarms = None  # share of experiments, 0 to 1: your number

# %% tags=["reveals"]
from utils.evaluate.ab import sequential_test

a, b = torch.rand(2, 1000, 2000, generator=generator(0))
streams = (b < 0.5).double() - (a < 0.5).double()  # 1, 0 or -1 for each pair
n = torch.arange(1, 2001)
z = streams.cumsum(1) / (0.5 * n).sqrt()  # variance of a difference: 0.5
alarms = {"usual test": [], "sequential test": []}
looks = [1, 2, 5, 10, 20, 50, 100, 200]
p_values = torch.stack([sequential_test(s, 0.1, 0.5) for s in streams])
for n_looks in looks:
    at = torch.arange(1, n_looks + 1) * (2000 // n_looks) - 1
    found = (z[:, at].abs() > 1.96).any(1).double().mean().item()
    alarms["usual test"].append(found)
    found = (p_values[:, at] < 0.05).any(1).double().mean().item()
    alarms["sequential test"].append(found)
peeking = alarms["usual test"][looks.index(20)]
compare(my_alarms, peeking, "{:.2f}")

# %%
plots.lines(
    {name: (looks, shares) for name, shares in alarms.items()}
    | {"alpha": (looks, [0.05] * len(looks))},
    title="Each look is another chance to be fooled, unless the test allows for it",
    xlabel="looks at an experiment without any difference (log scale)",
    ylabel="share of experiments with a false alarm",
    log_x=True,
    points=True,
)
plt.show()
claims.add(
    "false alarms with 20 looks, usual test",
    measured=f"{peeking:.0%}",
    bar="over 15 %",
    holds=peeking > 0.15,
)
always = (p_values[:, -1] < 0.05).double().mean().item()
claims.add(
    "false alarms with 2,000 looks, sequential test",
    measured=f"{always:.0%}",
    bar="at most 5 %",
    holds=always <= 0.05,
)

# %% [markdown]
# *Figure 6. The line of the usual test starts near 0.05 at one look and climbs,
# with 200 looks, past a third. That of the sequential test stays level below 0.05:
# its p-value remembers the smallest so far, so it has looked after every pair in
# any case.*
#
# A **sequential test** is valid at every look. The one here is a **mixture
# sequential probability ratio test**. Put $L_n$ for how much more likely the n
# differences are if there is an effect (of a size drawn from a normal distribution
# with standard deviation $\tau$) than if there is none. If there is none, $L_n$ is
# a fair game: on average it stays at 1, and a fair game that starts at 1 reaches 20
# at any time whatever at most once in twenty runs. So reject where $L_n$ reaches
# $1/\alpha$. The p-value is the smallest $1/L_n$ so far.

# %%
show(sequential_test)

# %% [markdown]
# The freedom has a price: the same difference takes more people than in a plan with
# one look. In return a clear winner, or a disaster, is seen early.
#
# ## When the measure becomes the goal
#
# **Goodhart's law**: a measure that is made a goal stops being a good measure. Take
# **recall**, the share of the reference's words that the answer holds, which looks
# harmless: a complete answer should have them all. Now let a system be chosen by
# it. It soon finds that it may name several values in place of one.

# %%
about_dose = [q for q in told if q.attribute in ("dose", "town", "trade")][:100]
rng, named, recalls, worths = random.Random(0), [1, 2, 3, 5, 8, 10], [], []
for n_named in named:
    recall = worth = 0.0
    for q in about_dose:
        values = list(BY_NAME[q.attribute].values)
        values = rng.sample(values, min(n_named, len(values)))
        sentences = [answer_sentence(q.attribute, q.entity, v) for v in values]
        text = " ".join(sentences)
        recall += rouge_l(text, q.answer).recall / len(about_dose)
        worth += judge(world, q, text).utility / len(about_dose)
    recalls.append(recall)
    worths.append(worth)
plots.lines(
    {"recall of ROUGE-L": (named, recalls), "worth": (named, worths)},
    title="Chosen by recall, a system learns to say everything",
    xlabel="values named in an answer, without knowing the right one",
    ylabel="mean over 100 questions",
    points=True,
)
plt.show()
assert recalls[-1] > 0.99 and worths[-1] == 0 and worths[0] > 0.05

# %% [markdown]
# *Figure 7. Recall climbs to one where all values are named; the worth of the
# answers, small where one value is guessed, falls to zero as soon as there are
# two.*
#
# Nothing in these answers is known, and the measure says perfect. No one has to
# cheat for this: any search, by gradient or by a team that keeps what scores
# better, finds it. Unit 11 has a reward model in the place of recall. What helps is
# several measures that fail in different ways, one that is not optimised, and
# reading answers.
#
# ## On a real model
#
# SmolLM2 knows nothing about the town, so it is a clean case of a reading test: a
# question with five values to choose from, once alone and once with a page that
# holds the right sentence word for word, the easiest reading there is. Both by
# likelihood, on the same 40 questions. (`course model` prepares it once; unit 02
# has more.)

# %% tags=["real"]
from utils.zoo.real import has_real, how_to_get_real, load_real

if has_real():
    real, real_tokenizer = load_real()
else:
    print(how_to_get_real())


# %% tags=["real"]
def real_choices(heads, texts_of, per="answer"):
    """Return 1 where the real model's likeliest text is the first one."""
    rows = [real_tokenizer.encode(head) for head in heads for _ in range(5)]
    texts = [text for texts in texts_of for text in texts]
    ends = [real_tokenizer.encode(" " + text) for text in texts]
    found = continuation_logprobs(real, rows, ends, batch_size=8).tolist()
    scored = [
        Scored(logprob, len(ids), len(text))
        for logprob, ids, text in zip(found, ends, texts, strict=True)
    ]
    groups = [scored[k : k + 5] for k in range(0, len(scored), 5)]
    return torch.tensor([float(choose(g, per) == 0) for g in groups])


# %%
my_closed = None  # share of right choices without the page, 0 to 1
my_open = None  # and with the page: your numbers

# %% tags=["real", "reveals"]
rng = random.Random(0)
drawn = questions(world, "new_drug", 200, seed=3)
once = {(q.entity, q.attribute): q for q in drawn}  # no fact twice
real_asked, options = list(once.values())[:40], []
for q in real_asked:
    others = [v for v in BY_NAME[q.attribute].values if v != q.value]
    options.append([q.value, *rng.sample(others, 4)])
heads = [f"Question: {q.prompt}\nAnswer:" for q in real_asked]
pages = [f"{q.answer}\n\n{h}" for q, h in zip(real_asked, heads, strict=True)]
texts_of = [
    [answer_sentence(q.attribute, q.entity, v) for v in values]
    for q, values in zip(real_asked, options, strict=True)
]
closed, opened = real_choices(heads, texts_of), real_choices(pages, texts_of)
compare(my_closed, closed.mean().item(), "{:.2f}", of="without the page")
compare(my_open, opened.mean().item(), "{:.2f}", of="with the page")

# %% tags=["real"]
real_claims = Claims()
for name, right in (("without the page", closed), ("with the page", opened)):
    low, high = wilson_interval(int(right.sum()), len(right))
    print(f"{name}: {right.mean():.2f}, between {low:.2f} and {high:.2f}")
p = paired_permutation_test(closed, opened, generator=generator(0))
real_claims.add(
    "the real model reads: better with the page, paired test",
    measured="p below 0.001" if p < 0.001 else f"p = {p:.3f}",
    bar="p below 0.01",
    holds=p < 0.01 and bool(opened.mean() > closed.mean()),
)
real_claims.table()

# %% [markdown]
# Without the page it has nothing to go by, and chance is 0.20; see where that lies
# in the interval, which misses one time in twenty. With the page the difference is
# beyond doubt after 40 questions, since it is large and the questions are the same.
#
# Where the setting `COURSE_DATA_DIR` names a folder with
# `mmlu_medicine_law.jsonl.gz`, the next cell asks the real model what the field
# asks: multiple-choice questions of **MMLU** on medicine and law, the letters A to
# D by likelihood, with an interval. Look at the letters chosen, too: a model that
# names one of them nearly always likes a place, and its score is that letter's
# share of the right answers. Without the folder the cell says so and the notebook
# goes on.

# %% tags=["real", "nbval-ignore-output"]
import gzip
import json

from utils.settings import data_dir

N_ASKED = 60
folder, items = data_dir(), []
file = folder / "mmlu_medicine_law.jsonl.gz" if folder else None
if file is None or not file.exists():
    print("no COURSE_DATA_DIR with mmlu_medicine_law.jsonl.gz: left out")
else:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    items = [it for it in items if len(it["question"]) < 400]
    items = random.Random(0).sample(items, N_ASKED)

# %% tags=["real", "nbval-ignore-output"]
if items:
    heads = [
        it["question"]
        + "".join(
            f"\n{x}. {c}" for x, c in zip("ABCD", it["choices"], strict=True)
        )
        + "\nAnswer:"
        for it in items
    ]
    rows = [real_tokenizer.encode(head) for head in heads for _ in "ABCD"]
    ends = [real_tokenizer.encode(" " + x) for _ in items for x in "ABCD"]
    logprobs = continuation_logprobs(real, rows, ends, batch_size=4)
    chosen = logprobs.view(-1, 4).argmax(1).tolist()
    n_right = sum(
        c == it["answer"] for c, it in zip(chosen, items, strict=True)
    )
    low, high = wilson_interval(n_right, N_ASKED)
    print(f"{n_right} of {N_ASKED} right, between {low:.2f} and {high:.2f}")
    print(f"chance is 0.25; letters chosen: {sorted(Counter(chosen).items())}")

# %% [markdown]
# Would the medical tuning of unit 06 help it there? That tuning was run again, and the
# model was asked 300 of MMLU's test questions before and after it: anatomy, clinical
# knowledge, college medicine and genetics. A tool that the next section introduces
# asked them, and so did a loop that shares no code with it, which reads the four
# letters' probabilities off one pass over each question. All of it was recorded. How
# many points of a hundred are won, or lost?

# %%
my_points = None  # your number

# %% tags=["reveals"]
from utils.experiments.records import recorded, told

run = recorded("09_mmlu")
one = run["results"]["0"]
exam = one["exam"]
before, after = exam["before"], exam["after"]
compare(my_points, 100 * (after["share"] - before["share"]), "{:+.0f} points")
rows = []
for when in ("before", "after"):
    low, high = exam[when]["interval"]
    letters = exam[when]["letters"].items()
    rows.append(
        (
            when,
            f"{exam[when]['share']:.2f}",
            f"{low:.2f} to {high:.2f}",
            ", ".join(f"{letter} {n}" for letter, n in letters),
        )
    )
print(text_table(("tuning", "right", "interval", "letters chosen"), rows))
print(f"the same questions, before against after: p = {exam['p']:.2f}")
print(
    f"held-out answers: {one['before']:.2f} to {one['after']:.2f} nats a token"
)
n_asked = len(before["right"])
at_a = one["asked"]["right letters"]["A"] / n_asked
print(f"the right answer stands at A in {at_a:.2f} of the questions")
print(told(run))

# %%
n_equal = min(before["equal"], after["equal"])
claims.add(
    "recorded: the tool and our own loop on MMLU, question by question",
    measured=f"{n_equal} of {n_asked} equal",
    bar="all",
    holds=n_equal == n_asked,
)

# %% [markdown]
# A point down, which chance does more often than one time in ten. The letters tell
# more: A nearly always before the tuning, A always after it. So the share is that of
# the right answers that stand at A, and says nothing about medicine. The tuning did
# teach something, for the loss of medical answers that were held out fell by a third.
# This exam can't see it: what a model of this size has learned does not reach the
# choice of a letter. A benchmark that does not move says that *it* sees nothing. And
# that the tool and the loop agree on every question says that both count alike, not
# that the count means anything.
#
# ## At work
#
# What you have seen by hand has tools, and their numbers are what you will be
# shown. **lm-evaluation-harness** is at work here. To it, a **task** is a file that
# says where the rows are, how a row becomes a prompt, and what is counted;
# likelihood or generation is its `output_type`. Sixty questions in phrasings that
# the base model never read and forty about facts that nobody told it, with four
# sentences each to choose from, in wordings of unlike length:

# %%
from utils.evaluate.harness import harness_model, run_task, write_task

task_folder = tempfile.TemporaryDirectory()
mixed = asked[:60] + never_told[:40]
task, task_rows = write_task(task_folder.name, mixed)
print(task_rows[0])
print(task.read_text().partition("test_split")[2])

# %% [markdown]
# That is all the harness has to know about the world. Of a model it wants two
# answers: the log-probability of a text after a prompt, and a greedy continuation.
# `harness_model` wraps the base model so, with the end token before each prompt,
# since that is how its documents begin. (The harness is in the extra `evaluate`;
# where it is missing, the cell says how to get it and goes on.)

# %% tags=["nbval-ignore-output"]
outcomes = []
try:
    wrapped = harness_model(model, tokenizer, starts_with=[tokenizer.end_id])
    outcomes = run_task(task, wrapped)
    for rule in ("acc", "acc_norm"):
        n_right = sum(getattr(one, rule) for one in outcomes)
        print(f"{rule}: {n_right} of {len(outcomes)} right")
except ModuleNotFoundError as error:
    print(error)

# %% [markdown]
# The same with what this unit has used all along, by sums and by characters. Equal
# shares would prove little, since two wrongs may cancel; the verdicts have to be
# equal question by question.

# %%
options = [text for row in task_rows for text in row.choices]
ends = tokenizer.encode_batch([" " + text for text in options])
heads = [plain_prompt(tokenizer, q) for q in mixed for _ in range(4)]
logprobs = continuation_logprobs(model, heads, ends).tolist()
own = [
    Scored(logprob, len(ids), len(text))
    for logprob, ids, text in zip(logprobs, ends, options, strict=True)
]
verdicts = [
    tuple(
        choose(own[4 * k : 4 * k + 4], per) == row.label
        for per in ("answer", "character")
    )
    for k, row in enumerate(task_rows)
]
by_sum, by_character = (sum(column) for column in zip(*verdicts, strict=True))
print(f"our loop: {by_sum} right by sums, {by_character} by characters")

# %% tags=["nbval-ignore-output"]
if outcomes:
    n_equal = sum(
        (one.acc, one.acc_norm) == verdict
        for one, verdict in zip(outcomes, verdicts, strict=True)
    )
    harness_claims = Claims()
    harness_claims.add(
        "lm-evaluation-harness and our loop, question by question",
        measured=f"{n_equal} of {len(verdicts)} equal",
        bar="all",
        holds=n_equal == len(verdicts),
    )
    harness_claims.table()

# %% [markdown]
# Other tools, which this unit does not run: **HELM** fills the table of scenarios
# and metrics, and **Ragas** computes the three scores of retrieval with a model in
# place of our exact claims. `rouge_score`, scikit-learn, SciPy and statsmodels
# compute the rest, and the course's tests hold its functions to them. Whatever the
# tool, the questions to ask of its number are the same: which rule, which prompt,
# which interval, whose judge.
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
ask("09_evaluation", "rouge", my_answer_1)

# %%
my_answer_2 = None
ask("09_evaluation", "calibration", my_answer_2)

# %%
my_answer_3 = None
ask("09_evaluation", "interval", my_answer_3)

# %%
my_answer_4 = None
ask("09_evaluation", "paired", my_answer_4)

# %%
my_answer_5 = None
ask("09_evaluation", "kappa", my_answer_5)

# %%
my_answer_6 = None
ask("09_evaluation", "swap", my_answer_6)

# %%
my_answer_7 = None
ask("09_evaluation", "sample-size", my_answer_7)

# %%
my_answer_8 = None
ask("09_evaluation", "normalise", my_answer_8)

# %% [markdown]
# ## What to remember
#
# - A score of words does not see which word counts. Say what your measure can't
#   see.
# - No number without an interval; two systems on the same questions, compared pair
#   by pair.
# - State the rule that scores: normalised by what, examples from where.
# - A judge has its labellers' habits. A swap takes out the place, not the length.
# - Plan the number of people, and look as often as your test allows.
#
# ## Sources
#
# - Lin, *ROUGE*, 2004, section 3. Guo et al., *On Calibration of Modern Neural
#   Networks*, ICML 2017, sections 2 and 4.2.
# - Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, section 13.3.
#   Brown, Cai and DasGupta, *Interval Estimation for a Binomial Proportion*, 2001.
#   Fisher, *The Design of Experiments*, 1935, section 21.
# - Liang et al., *Holistic Evaluation of Language Models*, TMLR 2023, sections 1
#   and 4. Es et al., *Ragas*, EACL 2024, section 3. Biderman et al., *Lessons from
#   the Trenches on Reproducible Evaluation of Language Models*, 2024, section 3.
# - Zheng et al., *Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena*, NeurIPS
#   2023, section 3.3. Cohen, *A Coefficient of Agreement for Nominal Scales*, 1960.
#   Feinstein and Cicchetti, *High Agreement but Low Kappa*, 1990.
# - Fleiss, Levin and Paik, *Statistical Methods for Rates and Proportions*, 2003,
#   equation 4.14. Johari et al., *Peeking at A/B Tests*, KDD 2017, section 4.
#
# **Next**: `work/09_evaluation.ipynb`. You write the scores, the tests and the
# measure of a judge. Then Part III: what people prefer becomes what the model is
# trained on.
