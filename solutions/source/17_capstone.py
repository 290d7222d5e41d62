# %% [markdown]
# # Lab 17: From raw text to an aligned, documented model
#
# **260 minutes** · after the lecture `notebooks/17_capstone.ipynb`
#
# You write what a pack of evidence rests on: what a change makes stale, where a model's
# weights come from, which sentences of a report no record supports, energy with its
# range, how far two graders agree, and what "50 % fewer" takes to be shown. Each has a
# check that answers at once; after each, an experiment runs *your* function on a run of
# the pipeline. Then two design reviews, graded by rubric, and at the end a run of your
# own. An exercise that you skip only switches off its own experiments.

# %%
import json
import math
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import matplotlib.pyplot as plt

from utils.capstone.claims import Claim
from utils.capstone.energy import Estimate
from utils.capstone.lineage import Lineage
from utils.capstone.stages import STAGES, records_of
from utils.capstone.trial import pipeline_graph, trial_run
from utils.evaluate.agreement import cohen_kappa
from utils.evaluate.intervals import normal_quantile
from utils.evaluate.relative_risk import Reduction
from utils.labs.api import check, done, hint, start_lab
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.reviews.rubric import levels_of, rubrics_of
from utils.runtime import start

start_lab("17_capstone")
plots.use_style()
tier = start(seed=0)

# %% [markdown]
# A run of all eight stages in a folder that goes when the notebook ends. At this budget
# a stage takes three steps and the model learns next to nothing; what it leaves behind
# is what a real run leaves. It takes ten seconds.

# %% tags=["nbval-ignore-output"]
scratch = tempfile.TemporaryDirectory()
root = Path(scratch.name)
print("ran:", ", ".join(trial_run(root)))
records = records_of(root)
print(json.dumps(records["sft"], indent=1)[:600])

# %% [markdown]
# ## 1. What a change makes stale
#
# **Goal**: the stages that must run again after a change, in an order that works.
#
# **Why it matters**: run too few stages and the report describes a model that no longer
# exists. Run all of them and nobody runs them.

# %%
# exercise: utils.capstone.graph.stages_to_run points=4 minutes=25 difficulty=2

# %% [markdown]
# **Experiment.** The eight stages of the capstone with what each needs and makes. You
# change the method of alignment. How many of the eight run again?

# %%
my_stages = None  # stages that run again after another method: your number

# %% tags=["needs:stages_to_run"]
needs, makes = pipeline_graph()
changes = ("domain", "model", "method", "text/chats.jsonl", "text/exam.jsonl")
rows = []
for change in changes:
    stale = stages_to_run(needs, makes, [change])
    rows.append((change, len(stale), " > ".join(stale)))
compare(my_stages, float(rows[2][1]), "{:.0f}")
print(text_table(("changed", "stages", "which"), rows))

# %% [markdown] tags=["result"]
# A changed row of `chats.jsonl` costs six stages, since two of them read it and the rest
# read those. A changed exam costs two, and trains nothing. That is the danger: it is so
# cheap that one is tempted to change it until the number is right. The pack records its
# hash.

# %% [markdown]
# ## 2. Where the weights come from
#
# **Goal**: from a file of weights back to the raw text, by hashes.
#
# **Why it matters**: "trained on our leaflets" is a sentence. A chain of hashes is
# evidence, and it breaks where somebody ran half of a pipeline again.

# %%
# exercise: utils.capstone.lineage.trace_lineage points=4 minutes=25 difficulty=2

# %% [markdown]
# **Experiment.** The final weights of the run above. From how many raw files do they
# come? Then somebody trains the base model again with another seed and goes home.

# %%
my_raw = None  # raw files behind the final weights: your number

# %% tags=["needs:trace_lineage"]
stages, raw = trace_lineage(records, "safety/model.safetensors")
compare(my_raw, len(raw), "{:.0f}")
print(" > ".join(stages))
print("\n".join(sorted(raw)))
after = deepcopy(records)
after["base"]["outputs"]["base/model.safetensors"] = "0" * 64
try:
    trace_lineage(after, "safety/model.safetensors")
except ValueError as error:
    print(f"after another base: {error}")

# %% [markdown] tags=["result"]
# `evaluate` is not in the way of the weights, and `reward` is, since the stage `align`
# names it among its inputs, whatever the method. Lineage says what *could* have had an
# influence, which is what an officer has to know.

# %% [markdown]
# ## 3. Sentences without support
#
# **Goal**: for a sentence with a number, why its record does not support it.
#
# **Why it matters**: reports are edited by hand, the day before the meeting, by people
# who remember last week's run.

# %%
# exercise: utils.capstone.claims.reason_against points=4 minutes=25 difficulty=2

# %% [markdown]
# **Experiment.** Six sentences of a report about the run above. How many does *your*
# function let stand?

# %%
my_supported = None  # of six sentences: your number

# %% tags=["needs:reason_against"]
tokens = records["base"]["tokens"]
steps = ("metrics", "steps")
report = [
    Claim(
        f"The base model read {tokens} tokens.",
        str(tokens),
        "base",
        ("tokens",),
    ),
    Claim("It was tuned in 3 steps.", "3", "sft", steps),
    Claim("It was aligned in 3 steps.", "3", "align", steps),
    Claim(
        "Nothing was made up: 0.0.", "0.0", "evaluate", ("metrics", "made up")
    ),
    Claim("Users prefer it by 0.61.", "0.61", "ab_test", ("preferred",)),
    Claim("It was tuned in 30 steps.", "3", "sft", steps),
]
reasons = [reason_against(claim, records) for claim in report]
compare(my_supported, reasons.count(""), "{:.0f}")
for claim, reason in zip(report, reasons, strict=True):
    print(f"{claim.text:36} {reason or 'supported'}")

# %% [markdown] tags=["result"]
# The third sentence was copied from the second. The fifth may well be true; no record
# says so. The last is the mean one: its number is in the record, and the sentence says
# ten times as much.

# %% [markdown]
# ## 4. Energy, with its range
#
# **Goal**: a product of things that are known within ranges.
#
# **Why it matters**: energy is hours times watts times what the building adds, and CO2
# is that times the grid. Each factor is a guess; a product without a range hides four.

# %%
# exercise: utils.capstone.energy.product_of points=3 minutes=15 difficulty=1

# %% [markdown]
# **Experiment.** GPT-3: 10,000 GPUs for 14.8 days at 330 W with an overhead of 1.1, and
# 429 g of CO2 a kilowatt-hour, which makes the published 1,287 MWh and 552 t (Patterson
# et al. 2021, table 4). Suppose that you knew the power, the overhead and the grid only
# within the ranges below. Up to how many tonnes might it have been, if the errors are
# independent?

# %%
my_tonnes = None  # tonnes of CO2, the upper end: your number

# %% tags=["needs:product_of"]
hours = 10_000 * 14.8 * 24
factors = {
    "GPU-hours": Estimate(hours, hours, hours),
    "kW of a GPU": Estimate(0.33, 0.25, 0.4),
    "overhead": Estimate(1.1, 1.05, 1.6),
    "kg a kWh": Estimate(0.429, 0.05, 0.7),
}
found = {
    name: product_of([*factors.values(), Estimate(1e-3, 1e-3, 1e-3)], alone)
    for name, alone in (("together", False), ("independent", True))
}
compare(my_tonnes, found["independent"][2], "{:.0f} t")
for name, (value, low, high) in found.items():
    print(f"errors {name:12} {value:.0f} t, {low:.0f} to {high:.0f}")

# %% [markdown] tags=["result"]
# The range hangs on the grid. A factor that is known within 10 % hardly matters beside
# one that is known within a factor of ten: find out where the machine stands before you
# measure its watts.

# %% [markdown]
# ## 5. Two graders
#
# **Goal**: agreement on points, where one off is better than two off.
#
# **Why it matters**: a rubric that two people read differently grades the grader.

# %%
# exercise: utils.evaluate.weighted_kappa.weighted_kappa points=3 minutes=13 difficulty=1

# %% [markdown]
# **Experiment.** The sample answers of the two design reviews below: 30 criteria, each
# graded none, half or full by two graders. (The answers and the grades were written by
# the course as examples.) They agree in most: what is the kappa with
# quadratic weights?

# %%
my_kappa = None  # quadratic weights: your number

# %% tags=["needs:weighted_kappa"]
rubrics = rubrics_of("17")
first, second = (levels_of(rubrics, grader) for grader in "AB")
kappa = weighted_kappa(first, second, 3)
compare(my_kappa, kappa)
equal = sum(a == b for a, b in zip(first, second, strict=True))
print(
    f"equal in {equal} of {len(first)}, plain kappa {cohen_kappa(first, second):.2f}"
)
harsh = [max(0, level - 1) for level in first]
print(
    f"against a grader who gives one level less: {weighted_kappa(first, harsh, 3):.2f}"
)
lucky = first[1:] + first[:1]
print(
    f"against grades moved on by one place: {weighted_kappa(first, lucky, 3):.2f}"
)

# %% [markdown] tags=["result"]
# All that differs differs by one level, which quadratic weights forgive: their kappa is
# above the plain one. A grader who is one level harsher everywhere ranks the answers
# nearly as the first does, and gets less than half: kappa asks for the same points, not
# for the same order. And grades that were moved on by one place agree hardly less,
# since neighbours in the list belong to one answer, weak or strong. Chance, as kappa
# takes it, knows nothing of that: with three samples a high kappa is cheap.

# %% [markdown]
# ## 6. Fifty per cent fewer
#
# **Goal**: a relative reduction with its interval.
#
# **Why it matters**: "50 % fewer made-up answers" is what was promised. From how many
# questions on is it more than a wish?

# %%
# exercise: utils.evaluate.relative_risk.relative_reduction points=2 minutes=12 difficulty=1

# %% [markdown]
# **Experiment.** 40 of 100 answers are made up before, 16 of 100 after: 60 % fewer. From
# how many questions on, before and as many after, is "at least 50 % fewer" shown, with
# the interval of 95 %?

# %%
my_questions = None  # on each side: your number

# %% tags=["needs:relative_reduction"]
sizes = (50, 100, 200, 500, 1000, 2000, 5000)
ends = [relative_reduction(2 * n // 5, n, 4 * n // 25, n) for n in sizes]
enough = next(n for n, found in zip(sizes, ends, strict=True) if found[1] > 0.5)
compare(my_questions, enough, "{:,.0f}")
plots.lines(
    {
        "high end": (sizes, [found[2] for found in ends]),
        "measured": (sizes, [found[0] for found in ends]),
        "low end": (sizes, [found[1] for found in ends]),
        "promised": (sizes, [0.5 for _ in sizes]),
    },
    title=f"60 % fewer show at least 50 % with {enough:,} questions a side",
    xlabel="questions on each side (log scale)",
    ylabel="relative reduction",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. The measured reduction is a flat line; the low end of its interval comes up
# to it and crosses the line of what was promised far to the right.*
#
# An exact halving would never get there, as the lecture shows. Whoever promises "at
# least 50 %" has to be better than that, and to pay for the questions; or to promise
# what the interval of an affordable test can hold.

# %% [markdown]
# ## 7. Written answer (10 points)
#
# *Design review: a model for a domain.*
#
# A clinic wants an assistant that answers staff questions about its own drugs and
# rules. You have a pretrained model of general text, 3,000 documents of the clinic,
# 1,000 question-and-answer pairs that two nurses wrote, and two weeks. Walk the
# review through it: which stages, which choices and why, where it can fail, and how
# you will know.
#
# Write 200 to 350 words. Name at least one failure of the data, of overfitting, of
# forgetting and of the metric, each with what would show it.
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* I begin with what release would mean: on questions whose phrasing
# and drugs were kept apart, right answers with an interval, made-up answers, and
# refusals of what is known, with bars that the head of nursing sets before I train.
#
# Data. Documents are cleaned, near-copies removed (a leaflet in ten versions would be
# learned ten times and leak into the test), personal data taken out, the licence
# noted. I split by drug and by document, not by row; each held-out question is
# searched for in the training text.
#
# Method. First I go on with pretraining on the documents, mixed with general text,
# because tuning on answers teaches a form more easily than facts. Then tuning on the
# pairs, loss on responses alone, adapters against full training at the same budget;
# the cheaper one stays unless the held-out questions say otherwise.
#
# Overfitting. 1,000 pairs by two authors have two styles. After two or three passes
# the training loss still falls while the held-out loss rises: I stop there, and have
# questions rephrased in place of more passes.
#
# Forgetting. Bits per byte on general text and fifty general questions before and
# after. If they get worse by more than we agreed, a tenth of the batches becomes
# general text, or the rate goes down; both cost some of the new facts, so I show the
# curve of one against the other.
#
# Metrics. Held-out loss can fall while doses get worse: it is an average over words,
# and a dose is one of them. So answers are judged by fact, 200 of them by two nurses
# who do not see which model wrote which, with their agreement. The whole run is one
# pipeline with records, three seeds, so that the next drug list needs a command and
# not two weeks.
#
# *Rubric.* Data: where it comes from, how it is cleaned and split. 2: cleaning or
# near-copies with a reason, and a split that keeps entities or whole documents apart,
# so that no held-out fact stands in the training text; 1: cleaning or a held-out
# part, without saying what may leak between the parts; 0: the data is taken as it is.
#
# Method: stages in order, choices with reasons. 2: reading the documents before
# tuning on answers (or a reason to leave one out), the loss on responses alone, and a
# reason for full training or adapters; 1: stages in order, with at most one reason;
# 0: one word such as fine-tune, or stages that contradict each other.
#
# Overfitting to 1,000 pairs: what shows it, what is done. 2: a held-out measure
# during training that shows it, and a remedy that fits (stop early, fewer passes,
# smaller rank, more phrasings); 1: a remedy without what would show it, or the other
# way round; 0: not mentioned.
#
# Forgetting: what is lost, measured how, bought back with what. 2: a general measure
# before and after, a remedy (replay, a lower rate, adapters, a penalty), and that it
# costs something; 1: forgetting is named with a remedy, and nothing is measured; 0:
# not mentioned.
#
# Metrics: a number that can look good while the goal is missed. 2: names such a
# number and what is counted in its place (right, made up, refused, on new questions,
# with an interval), and who decides by which bar, set before; 1: several metrics, or
# people who read answers, without saying what the first number misses; 0: loss or
# perplexity alone.
#
# *Three sample answers* with the points that each earns and why: `course review 17
# --question 1 --samples`. Two graders gave weak 2 and 1, middling 7 and 6, strong 10
# and 9 of 10.
# <!-- END SOLUTION -->

# %% [markdown]
# ## 8. Written answer (10 points)
#
# *Design review: a deployed model that is rude and makes things up.*
#
# The assistant has been in use for three months. Complaints say that it insults
# people and states doses of drugs that do not exist. Management asks for "50 % fewer
# made-up answers, proven" in six weeks. What do you change, in which order, and how
# do you prove it?
#
# Write 200 to 350 words. Say what each change may cost, and which result would make
# you take it back.
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* Week 1, nothing changes. I draw 500 questions at random from the
# logs and have two people label the answers: insult, value that no leaflet bears out,
# refusal of something known. That gives base rates (say 4 % and 20 %), slices (new
# drugs, angry users), and an agreement between labellers that tells me whether the
# words mean anything. Whether the proof is possible follows: 20 % to 10 % takes about
# 200 answers in each arm; a halving of 4 % takes over a thousand.
#
# Fastest first: a fact check before an answer is shown. Search passages, compare
# every dose as a whole value with a passage that names the drug; none found: draw
# again, then refuse. It fails on names that are nearly the same and on answers
# without values, and it costs a second.
#
# Then the cause. The chats that the model learned from are scored, insults go, and
# admissions about invented names are added. What a filter leaves is what its scorer
# can't see, so that scorer judges nothing later.
#
# Then DPO on the model's own answers: polite above rude, admission above invention
# for unknown names, and, so that it does not learn to refuse everybody, right answer
# above refusal for known ones, with a likelihood term. I look at what falls: in our
# pipeline domain accuracy pays for it.
#
# Proof. Each change by itself and all together on the labelled questions; then an A/B
# test on fresh traffic, its size and end fixed before, labels blind. I report the
# reduction with its interval: "50 % fewer" only where the interval's low end says so;
# otherwise what it says. Guards: right answers at most two points down, refusals of
# known drugs at most five per cent. Either broken: the change goes back, and the
# check stays alone.
#
# *Rubric.* Diagnosis: what is wrong, how often, for whom. 2: a random sample of real
# questions is labelled before anything changes, toxic and made up are defined and
# counted apart, with rates or slices; 1: logs or complaints are looked at, without a
# rate that the later proof can be compared with; 0: begins with the remedy.
#
# Data: filter and augment. 2: filters what was learned and adds examples (polite
# ones, admissions of not knowing), and says what a filter leaves or that its scorer
# can't be the judge as well; 1: filters or adds, and no word on what that leaves or
# costs; 0: not mentioned.
#
# Preferences: pairs and DPO (or another method) against both faults. 2: pairs of the
# model's own answers, among them pairs against over-refusal, and a guard against
# drift (KL, likelihood, a look at what is lost); 1: preference training with pairs,
# one of these missing; 0: a method's name alone, or nothing.
#
# Fact check in the loop: find, compare, draft again or refuse. 2: each stated value
# is compared with a passage about the right entity before it is shown, with what
# follows when none is found, and a way in which the check fails; 1: retrieval or a
# check, and not what follows or how it fails; 0: not mentioned.
#
# Proof: 50 % fewer, shown. 2: A/B with a size from the base rate fixed before, an
# interval for the reduction, people who label blindly, and a guard metric (right
# answers, over-refusal) with a bar that stops the release; 1: an A/B test or human
# evaluation with one of these missing: size, interval or guard; 0: scores before and
# after on a set that was used to build the change.
#
# *Three sample answers* with the points that each earns and why: `course review 17
# --question 2 --samples`. Two graders gave weak 2 and 1, middling 6 and 5, strong 10
# and 10 of 10.
# <!-- END SOLUTION -->

# %% [markdown]
# ## 9. Your own run
#
# **Goal**: a run that beats the recorded baseline on the hidden split.
#
# In a terminal, with a folder of your choice:
#
# ```
# course capstone init my-model
# course capstone run my-model --set domain=contracts --set method=grpo
# course capstone table my-model
# python -m utils.capstone.baseline my-model
# course capstone report my-model
# course capstone check my-model
# ```
#
# A run at the budget `small` takes two to five minutes. The fourth line compares it with
# three recorded seeds, and asks for both: right answers about the domain as the best of
# them or more, and fewer made-up ones about strangers than their mean. What you may
# change: the raw text in the project's folder (documents, chats, pairs), the method, the
# seed. What you may not change: the exam. Then let somebody who was not there read the
# pack and try to sign it.
#
# `--set model=smollm2` takes the real model through the same stages, where `course
# model` has prepared it: its tokens get ids in the order of the course's format, and
# adapters learn, which are merged at the end of each stage. It takes about half an hour
# on two cores, 5 GB of memory and as much on the disk. There is no baseline for it. It
# has never read a word about the course's world: compare what it knows of the domain,
# of that world and of strangers, in the evaluation report, with what you taught it.
#
# Or let DVC keep the settings apart, where git and DVC (the extra `ops`) are installed:
#
# ```
# course capstone init my-settings --git
# cd my-settings
# dvc exp run --temp -n dpo -S method=dpo
# dvc exp run --temp -n ppo -S method=ppo
# dvc exp run --temp -n grpo -S method=grpo
# dvc exp show --drop ".*" \
#   --keep "Exp|method|seed|.*(domain: right|unknown: made up), safety.value"
# dvc exp apply grpo
# ```
#
# `--git` makes the folder a git repository of its own. Each `dvc exp run` works in a
# copy of it, takes the stages that an earlier one has done from DVC's cache, and keeps
# the result under its name; the folder itself stays as it is. `dvc exp show` prints a
# table of them, and `dvc exp apply` brings one into the folder, where `course capstone
# report` and `course capstone check` go on with it. A copy holds what git knows: tell it
# of a folder with your own text by `git add` before.

# %%
from utils.capstone.baseline import BASELINE, MADE_UP, RIGHT

rows = []
for domain, recorded in BASELINE.items():
    for what in (RIGHT, MADE_UP):
        values = ", ".join(f"{value:.2f}" for value in recorded[what])
        rows.append((domain, what, values))
print(text_table(("domain", "what", "three seeds"), rows))
scratch.cleanup()
