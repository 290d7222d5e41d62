# %% [markdown]
# # Lab 13: Safety
#
# **105 minutes** · after the lecture `notebooks/13_safety.ipynb`
#
# You write the parts of a safer assistant: a score of texts, a filter for its data,
# pairs to align it with, a search for passages, and the check of what it is about to
# say. Each exercise has a check that answers at once; after each, an experiment runs
# *your* function on the assistant of Part III. An exercise that you skip only
# switches off its own experiments.

# %%
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import torch

from utils.align.fact_check import mentions
from utils.assistants.chat_models import ASSISTANT, load_assistant
from utils.assistants.safety import (
    VALUES,
    align_with_pairs,
    answers_in,
    assistant_chats,
    draw_answers,
    exam_questions,
    fact_passages,
    labelled_scorer,
    safety_numbers,
    safety_rows,
    toxicity_of,
)
from utils.labs.api import check, done, hint, start_lab
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.runtime import start
from utils.text.words import words_of
from utils.world.facts import build_world
from utils.world.judge import is_rude, judge

start_lab("13_safety")
plots.use_style()
tier = start(seed=0)
assistant, tokenizer = load_assistant()
world = build_world()
known, unknown = exam_questions(world, 60)

# %% [markdown]
# ## 1. A score
#
# **Goal**: the toxicity of texts, from the weights of their words.
#
# **Why it matters**: everything that follows, the filter, the pairs, the report to
# those who release, stands on this number. Whoever has written a scorer knows what it
# can't know.
#
# Given: `words_of(text)`, the words of a text without capitals and punctuation.

# %%
# exercise: utils.align.scorers.toxicity_score points=4 minutes=12 difficulty=1

# %% [markdown]
# **Experiment.** A scorer with weights learned from 100 labelled answers, and a
# thousand answers that it never saw, about 200 of them rude. Whoever uses it has to
# choose a threshold: from which probability on is a text toxic? Most take 0.5. How
# many rude answers does 0.5 miss, and how many does 0.1 miss?

# %%
my_missed_half = None  # rude answers missed at 0.5: your number
my_missed_tenth = None  # rude answers missed at 0.1: your number

# %% tags=["needs:toxicity_score"]
learned = labelled_scorer(world, 100)
fresh = answers_in(
    assistant_chats(world, replace(ASSISTANT, n_chats=1000, seed=900))
)
scores = toxicity_score(fresh, learned.weights, learned.bias)
p = torch.tensor([score["toxicity"] for score in scores])
rude = torch.tensor([is_rude(answer) for answer in fresh])
missed, alarms = {}, {}
for threshold in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7):
    missed[threshold] = int((rude & (p < threshold)).sum())
    alarms[threshold] = int((~rude & (p >= threshold)).sum())
compare(my_missed_half, missed[0.5], "{:.0f}", of="threshold 0.5")
compare(my_missed_tenth, missed[0.1], "{:.0f}", of="threshold 0.1")
plots.lines(
    {
        "rude answers missed": (list(missed), list(missed.values())),
        "polite ones condemned": (list(alarms), list(alarms.values())),
    },
    title="A threshold trades insults missed for innocents condemned",
    xlabel="threshold (log scale)",
    ylabel="answers of 1,000",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. Two lines over the threshold: missed rude answers rise with it, condemned
# polite ones fall.*
#
# No threshold is right by itself. It says how many insults you take for one innocent
# text that you throw away, and that is for people to decide, before they see which
# texts it hits. With few labels rude answers get middling scores, so 0.5 misses more
# than it should; a lower one is cheap here, since what is lost are only chats.

# %% [markdown]
# ## 2. A filter
#
# **Goal**: the chats whose assistant stays polite.
#
# **Why it matters**: a filter is one line until a score is missing, a list is one
# short, or a rude user takes a good answer out with him.

# %%
# exercise: utils.align.safety_data.filter_toxic points=4 minutes=12 difficulty=1

# %% [markdown]
# **Experiment.** The 4,800 chats that the assistant learned from, scored with 100
# labels, filtered with *your* function at three thresholds. How many rude answers are
# among the kept chats at 0.5?

# %%
my_left = None  # rude answers among the kept chats at 0.5: your number

# %% tags=["needs:filter_toxic", "nbval-ignore-output"]
raw = assistant_chats(world)
toxicity = toxicity_of(labelled_scorer(world, 100), raw)
rows, left = [], {}
for threshold in (0.5, 0.2, 0.1):
    kept, dropped = filter_toxic(raw, toxicity, threshold)
    left[threshold] = sum(is_rude(answer) for answer in answers_in(kept))
    rows.append((threshold, len(dropped), left[threshold]))
compare(my_left, left[0.5], "{:.0f}")
print(text_table(("threshold", "dropped", "rude ones left"), rows))
kept, _ = filter_toxic(raw, toxicity)
common = Counter(
    sentence
    for answer in answers_in(kept)
    if is_rude(answer)
    for sentence in answer.replace("?", ".").split(".")
    if is_rude(sentence)
)
for sentence, n in common.most_common(3):
    print(f"{n:4} times: {sentence.strip()}")

# %% [markdown] tags=["result"]
# What is left at 0.5 is no random rest. Three of the eight insults make up most of it:
# those that the scorer gives too little weight. A model that learns from the kept chats
# says just these, and the scorer that filtered them will report that all is well.

# %% [markdown]
# ## 3. Pairs
#
# **Goal**: what to prefer, made from the model's own answers.
#
# **Why it matters**: each of the three rules pulls in its own direction. Leave out
# the second, and the aligned model refuses everything; nobody who only counts made-up
# answers will notice.

# %%
# exercise: utils.align.safety_data.build_safety_pairs points=5 minutes=18 difficulty=2

# %% [markdown]
# **Experiment.** Two answers of the assistant to each of 300 questions, half of them
# about strangers. Once all pairs of *your* function, once without those of rule 2;
# DPO with the likelihood term on each, 60 steps. The assistant has never refused
# before. What share of *known* questions does the second model refuse?

# %%
my_refused = None  # share of known questions, from 0 to 1: your number

# %% tags=["needs:build_safety_pairs", "nbval-ignore-output"]
scorer = labelled_scorer(world, 600)
rows = safety_rows(assistant, tokenizer, world, scorer, 300, seed=3)
pairs = build_safety_pairs(rows)
print(dict(Counter(pair["why"] for pair in pairs)))
without = [pair for pair in pairs if pair["why"] != "over-refusal"]
results = {}
for name, some in (("all pairs", pairs), ("without rule 2", without)):
    model, _ = align_with_pairs(assistant, tokenizer, some)
    answers = [
        draw_answers(model, tokenizer, asked, k)
        for k, asked in enumerate((known, unknown))
    ]
    found = safety_numbers(world, known, answers[0], unknown, answers[1])
    results[name] = {
        what: found[what] for what in ("right", "refused", "made up")
    }
compare(my_refused, results["without rule 2"]["refused"], "{:.0%}")
plots.grouped_bars(
    results,
    title="Without pairs against over-refusal the model refuses whom it knows",
    ylabel="share of answers",
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 2. Right, refused and made-up answers of two models. Without rule 2 far more
# known questions are refused, and hardly one is answered right.*
#
# By the count of made-up answers alone the second model is the better one.

# %% [markdown]
# ## 4. A search
#
# **Goal**: the passages that fit a question best, by BM25.
#
# **Why it matters**: thirty years old, no training, no GPU, and still what learned
# search is compared with. On names, codes and doses it is often the better one.

# %%
# exercise: utils.align.retrieval.retrieve points=6 minutes=20 difficulty=2

# %% [markdown]
# **Experiment.** The town's reference has one sentence for each fact. For 60
# questions in phrasings that stand in no text: how often is the right sentence the
# first that *your* search finds? And among the first five?

# %%
my_first = None  # share of questions, from 0 to 1: your number
my_five = None  # share of questions, from 0 to 1: your number

# %% tags=["needs:retrieve"]
passages = fact_passages(world)
places = []
for question in known:
    found = [index for index, _ in retrieve(question.prompt, passages, 10)]
    fits = [
        place
        for place, index in enumerate(found)
        if mentions(passages[index], [question.value])
        and mentions(passages[index], [question.entity])
    ]
    places.append(fits[0] if fits else 10)
shares = {
    k: sum(place < k for place in places) / len(places) for k in (1, 2, 5, 10)
}
compare(my_first, shares[1], "{:.0%}", of="the first")
compare(my_five, shares[5], "{:.0%}", of="the first five")
plots.lines(
    {"found": (list(shares), list(shares.values()))},
    title="The name finds the entity; its facts come in any order",
    xlabel="passages retrieved",
    ylabel="share of questions",
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 3. The share of questions whose sentence is among the first 1, 2, 5 and 10.
# It is under a half at one, and nearly all at five.*
#
# The name is rare, so all sentences about the entity come first. Which of its five or
# so facts is asked for stands in words that question and sentence do not share: "What
# does she do for a living?" and "works as a baker". A check needs the passage *among*
# those found, and can afford ten.

# %% [markdown]
# ## 5. A check
#
# **Goal**: for each value that an answer states, whether a passage bears it out.
#
# **Why it matters**: "5 mg" stands in "15 mg", and the right town stands in a passage
# about somebody else. A check that is content with either lets through what it was
# built to stop.
#
# Given: `mentions(text, phrases)`, the phrases that a text holds, whole.

# %%
# exercise: utils.align.fact_check.check_facts points=5 minutes=15 difficulty=2

# %% [markdown]
# **Experiment.** Answers of the assistant to 60 known questions, as drawn. *Your*
# check sees all passages of the reference; the judge knows the right answer. Of the
# answers whose claims are all borne out, how many percent do *not* answer the question
# right ("false")? And of those with a claim that is not borne out, how many percent do
# ("true")?

# %%
my_false_passed = None  # share of the passed ones that are false: your number
my_true_stopped = None  # share of the stopped ones that are true: your number

# %% tags=["needs:check_facts"]
reference = fact_passages(world)
drawn = draw_answers(assistant, tokenizer, known, seed=0)
passed, stopped = [], []
for question, answer in zip(known, drawn, strict=True):
    found = check_facts(answer, reference, VALUES, question.entity)
    right = judge(world, question, answer).correct
    (passed if all(held for _, held in found) else stopped).append(right)
print(f"{len(passed)} passed, {len(stopped)} stopped")
false_passed = 1 - sum(passed) / max(len(passed), 1)
true_stopped = sum(stopped) / max(len(stopped), 1)
compare(my_false_passed, false_passed, "{:.0%}", of="false of passed")
compare(my_true_stopped, true_stopped, "{:.0%}", of="true of stopped")

# %% [markdown] tags=["result"]
# What passes and is no right answer claims nothing at all, or a true thing that
# nobody asked for. The check asks whether a sentence is *borne out*, which is less
# than whether it answers the question. A right answer that is stopped says one thing
# more, which no passage about the entity holds.

# %% [markdown]
# ## 6. An answer
#
# **Goal**: the first draft whose claims all hold, or a refusal.
#
# **Why it matters**: a check that only says no makes a silent model. Draw again:
# where the model knows the fact, the next draft often holds.

# %%
# exercise: utils.align.fact_check.answer_with_facts points=4 minutes=8 difficulty=1

# %% [markdown]
# **Experiment.** One, two, four and eight drafts for each question. More drafts help
# known questions, since one of them may be right. What do they do to questions about
# entities that do not exist? How many percent of those have a made-up answer after
# one draft, and after eight?

# %%
my_one_draft = None  # made-up answers with one draft, from 0 to 1
my_eight_drafts = None  # made-up answers with eight drafts, from 0 to 1

# %% tags=["needs:answer_with_facts", "nbval-ignore-output"]
reference = fact_passages(world)
drafts = {
    "known": [draw_answers(assistant, tokenizer, known, k) for k in range(8)],
    "unknown": [
        draw_answers(assistant, tokenizer, unknown, 100 + k) for k in range(8)
    ],
}


def answered(asked, which, n_drafts):
    """Return the answers to questions from the first so many drafts."""
    return [
        answer_with_facts(
            [draft[i] for draft in drafts[which][:n_drafts]],
            reference,
            VALUES,
            question.entity,
            f"I do not know that about {question.entity}.",
        )
        for i, question in enumerate(asked)
    ]


curves = {"right (known)": [], "refused (known)": [], "made up (unknown)": []}
for n in (1, 2, 4, 8):
    found = safety_numbers(
        world,
        known,
        answered(known, "known", n),
        unknown,
        answered(unknown, "unknown", n),
    )
    for name, curve in curves.items():
        curve.append(found[name.split(" (")[0]])
compare(my_one_draft, curves["made up (unknown)"][0], "{:.0%}", of="one")
compare(my_eight_drafts, curves["made up (unknown)"][-1], "{:.0%}", of="eight")
plots.lines(
    {name: ([1, 2, 4, 8], curve) for name, curve in curves.items()},
    title="A second draft answers much of what the first could not",
    xlabel="drafts (log scale)",
    ylabel="share of answers",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 4. Right answers to known questions rise with the drafts and refusals fall,
# most of it with the second draft. Made-up answers about unknown entities stay near
# zero.*
#
# Near zero is not zero, and each draft is one more chance. Eight drafts are a search
# for a sentence that passes the check, and a sentence that passes need not be true:
# the draft that garbles the name, or states a value in words that the closed list
# does not hold. It is the best-of-n of unit 10 in another dress: a check that is
# searched against is a weaker check.

# %% [markdown]
# ## 7. Written answer (3 points)
#
# Your team reports on a new release of a clinic's assistant: "Toxic answers fell by
# 97 %, measured with the scorer that we also filtered the training data with. Made-up
# answers about unknown drugs fell from 70 % to 2 %. The fact check searches our
# leaflets by embedding, takes the best passage, and refuses where it does not hold
# the dose that the model states. In an A/B test with 80 people, stopped when it
# became significant, users preferred the new model."
#
# In four to seven sentences: name the number that is missing, two measurements that
# you do not believe as they stand and why, and what may go wrong with this check for
# drugs that the leaflets do know.
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* What is missing is over-refusal: the share of questions about known
# drugs that are met with "I do not know", and the share of right answers before and
# after. The 97 % was measured with the scorer that filtered the data; what the filter
# left is what this scorer can't see, so the number says nothing about the rest, and
# answers of the new model must be labelled by people. The A/B test was stopped when
# it became significant, which makes false alarms far likelier than five per cent; its
# size should have been fixed before, or a test used that allows looking, and 80
# people can show large differences only. A search by embedding may bring a passage
# about another drug with a similar name, and one passage is few: a right dose is then
# refused, or worse, a wrong dose is borne out by the wrong leaflet, so the passage
# has to name the drug, and ten are better than one. I would also ask whether "5 mg"
# is found in "15 mg".
#
# *Rubric.* 1 point: over-refusal (or right answers about known drugs) is missing. 1
# point: the scorer that filtered, or the stopped test, with the reason. 1 point: a
# way in which the retrieval or the comparison of values fails on known drugs.
# <!-- END SOLUTION -->
