# %% [markdown]
# # 17 From raw text to an aligned, documented model
#
# **120 minutes** · before this: units 06 to 13 · after this: `work/17_capstone.ipynb`,
# a lab of 260 minutes · the machine needs about one minute
#
# *Here is a model. It was aligned, it is safe, its card says so. Would you sign?* The
# officer who is asked this did not train the model and can't. What she can do is ask of
# each number where it comes from. This unit runs the whole way once more, from raw text
# to an evaluated model, and looks at what it leaves behind for her.

# %%
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from utils.capstone.baseline import BASELINE
from utils.capstone.claims import Claim, unsupported_claims
from utils.capstone.energy import Estimate, product_of, training_energy
from utils.capstone.graph import stages_to_run
from utils.capstone.lineage import trace_lineage
from utils.capstone.records import hashes, read_rows, write_rows
from utils.capstone.stages import STAGES, records_of
from utils.capstone.trial import pipeline_graph, trial_run
from utils.evaluate.agreement import cohen_kappa
from utils.evaluate.relative_risk import relative_reduction
from utils.evaluate.weighted_kappa import weighted_kappa
from utils.evidence.check import check_pack
from utils.evidence.pack import read_pack
from utils.evidence.page import claims_of, open_points
from utils.report import plots
from utils.report.claims import Claims
from utils.report.flow import draw_flow
from utils.report.guesses import compare
from utils.report.show import show
from utils.report.tables import text_table
from utils.reviews.rubric import levels_of, rubrics_of
from utils.runtime import start

# %%
plots.use_style()
tier = start(seed=0)
claims = Claims()

# %% [markdown]
# ## The question
#
# The clinic's assistant was trained by the course's own pipeline at the budget `small`:
# a base model that read the clinic's documents, tuning on chats, a reward model, DPO,
# safety. It was measured before alignment and after safety on 100 questions of each
# kind, over three seeds, and recorded. The release note says: *made-up answers about
# drugs and people that do not exist fell from 80 to 53 of 100.* It is true.
#
# What does the note not say? Of 100 questions about the clinic's own drugs, in
# phrasings that no training text holds, some 86 were answered right before. How many
# points did the model give up?

# %%
my_guess_lost = None  # points of right answers about the domain: your number

# %% tags=["reveals"]
clinic = BASELINE["clinic"]
names = {
    "domain: right": "right, own drugs",
    "domain: made up": "made up, own drugs",
    "unknown: made up": "made up, strangers",
}
by_seed = {
    told: {
        when: clinic[f"{name}, {stage}"]
        for when, stage in (("before", "sft"), ("after", "safety"))
    }
    for name, told in names.items()
}
means = {
    told: {when: float(np.mean(values)) for when, values in found.items()}
    for told, found in by_seed.items()
}
lost = 100 * (
    means["right, own drugs"]["before"] - means["right, own drugs"]["after"]
)
compare(my_guess_lost, lost, "{:.0f} points")

# %% tags=["reveals"]
axes = plots.grouped_bars(
    means,
    title=f"Fewer inventions about strangers cost {lost:.0f} points at home",
    ylabel="share of 100 answers, mean of 3 seeds",
)
plots.dots_on_bars(axes, by_seed)
plt.show()
claims.add(
    "recorded: right answers about the domain fall at every seed, mean points",
    measured=f"{lost:.0f}",
    bar=">= 5",
    holds=lost >= 5
    and all(
        np.less(clinic["domain: right, safety"], clinic["domain: right, sft"])
    ),
)

# %% [markdown]
# *Figure 1. Three pairs of bars with the three seeds as dots: right answers about the
# clinic's own drugs fall, made-up ones about them rise, and made-up ones about
# strangers fall.*
#
# Nobody lied. The note reports what was worked on. A person who signs asks for the
# other column, and then for the rule by which somebody decided, before the run,
# that the trade was worth it. This is the recorded baseline that your own run, at the
# end of the lab, has to beat on both counts.
#
# ## Eight stages, eight records
#
# `course capstone init FOLDER` makes a project, `course capstone run FOLDER` runs what
# a change makes necessary, by **DVC** where it is installed: it keeps the graph of
# stages in `dvc.yaml`, and a version of each file by its hash. In a project made with
# `--git`, `dvc exp run` tries several settings and `dvc exp show` compares them in a
# table; the end of the lab has the commands. Here all eight stages run in a temporary
# folder at the budget of the tests. The model learns next to nothing. The records are
# those of any run, and so is the pack of evidence that the last stage writes.

# %% tags=["nbval-ignore-output"]
scratch = tempfile.TemporaryDirectory()
root = Path(scratch.name)
ran = trial_run(root)
records = records_of(root)
print("ran:", ", ".join(ran))
record = records["align"]
shown = ("command", "params", "metrics", "tokens", "cpu_seconds", "energy_wh")
print(json.dumps({name: record[name] for name in shown}, indent=1))
print("inputs: ", len(record["inputs"]), "outputs:", len(record["outputs"]))

# %% [markdown]
# A record is written last, after the outputs are whole. It names what went in and
# came out by SHA-256, the parameters, the versions, the cost. A folder without one
# holds an unfinished stage, and a stage that was killed goes on from its checkpoint.
#
# Now one parameter changes: GRPO in place of DPO. How many of the eight stages run?

# %%
my_guess_again = None  # stages that run again: your number

# %% tags=["reveals"]
again = trial_run(root, method="grpo")
compare(my_guess_again, len(again), "{:.0f}")
print("ran:", ", ".join(again))
needs, makes = pipeline_graph()
planned = stages_to_run(needs, makes, ["method"])
claims.add(
    "stages that ran after another method are those that the graph says",
    measured=f"{len(again)} of {len(STAGES)}",
    bar="the same",
    holds=again == planned,
)

# %% [markdown]
# You will write the function that predicts it, from what each stage needs and makes:

# %%
show(stages_to_run)

# %% tags=["reveals"]
changes = {
    "raw text": ["domain"],
    "a chat": ["text/chats.jsonl"],
    "a pair": ["text/pairs.jsonl"],
    "the method": ["method"],
    "the exam": ["text/exam.jsonl"],
}
stale = {name: stages_to_run(needs, makes, c) for name, c in changes.items()}
grid = np.array([[stage in s for stage in STAGES] for s in stale.values()])
plots.heat_map(
    grid.astype(float),
    title=f"A changed chat costs {len(stale['a chat'])} stages, a changed exam "
    f"{len(stale['the exam'])}",
    xlabel="stage that runs again (bright)",
    ylabel="what has changed",
    x_names=list(STAGES),
    y_names=list(stale),
    axes=plots.new_axes((5.4, 3.0)),
)
plt.show()

# %% [markdown]
# *Figure 2. Five changes and eight stages; bright cells run again. Each row is bright
# from some stage to the end: changed raw text from the first stage, a changed exam in
# the last two alone.*
#
# What it costs to change the exam is worth a thought: nothing is trained again. Nothing
# in the machinery stops a person who changes the questions until the answers fit. The
# hash of the exam in the record does not stop him either. It makes him visible.
#
# ## Where the weights come from
#
# An artefact's **lineage** is the chain from its hash back to files that no stage made.
# Each record names the hashes that it read; each must be the hash that its maker wrote.

# %%
show(trace_lineage)

# %% tags=["nbval-ignore-output"]
final = "safety/model.safetensors"
records = records_of(root)
way = trace_lineage(records, final)
made = {path: name for name, r in records.items() for path in r["outputs"]}
links = {
    name: sorted({made.get(p, "raw text") for p in records[name]["inputs"]})
    for name in STAGES
}
weights = {
    name: records[name]["outputs"].get(f"{name}/model.safetensors", "")
    for name in STAGES
}
draw_flow(
    links,
    title=f"The final weights come from {len(way.stages)} stages and "
    f"{len(way.raw)} raw files",
    marked=(*way.stages, "raw text"),
    below={name: digest[:8] for name, digest in weights.items() if digest},
)
plt.show()

# %%
print(" > ".join(way.stages))
print("\n".join(sorted(way.raw)))
claims.add(
    "raw files behind the final weights, all three of the project's folder",
    measured=len(way.raw),
    bar="= 3",
    holds=set(way.raw)
    == {f"clinic/{n}.jsonl" for n in ("chats", "documents", "pairs")},
)

# %% [markdown]
# *Figure 3. Boxes from left to right: raw text, then the stages with the first letters
# of their weights' hash, arrows from each to those that read it. The stages evaluate
# and report stand at the end and are grey: they are no ancestors of the weights.*
#
# Read what the chain does not say. It proves which files were read, and not that they
# may be used: whose text is it, under which licence, with whose consent? Those are
# rows of a data sheet that a person fills in. The chain makes the sheet's question
# finite: three files.
#
# ### Break it: a row is changed
#
# Somebody opens `text/chats.jsonl` after the run and improves one answer. No stage
# runs. The records look as before, and lineage by records alone would pass. Compare
# the files with their hashes:

# %%
chats = read_rows(root / "text" / "chats.jsonl")
changed = [chats[0] | {"answer": "Twice the usual dose."}, *chats[1:]]
write_rows(root / "text" / "chats.jsonl", changed)


def tampered(root, records):
    """Return the files that are not what their maker's record says."""
    return [
        path
        for record in records.values()
        for path, digest in record["outputs"].items()
        if hashes(root, [root / path])[path] != digest
    ]


found = tampered(root, records)
print("not as recorded:", ", ".join(found))

# %% [markdown]
# One byte would have done. Which stages run, if you now ask for all that is stale? The
# stage `text` must, since its output does not fit its record. And those that read it?

# %%
my_guess_mended = None  # stages that run: your number

# %% tags=["reveals"]
mended = trial_run(root, method="grpo")
compare(my_guess_mended, len(mended), "{:.0f}")
print(
    "ran:",
    ", ".join(mended),
    "| not as recorded:",
    tampered(root, records_of(root)),
)
claims.add(
    "one changed row is found by its hash, and made again from the raw text",
    measured=f"{len(found)} file found; ran: {', '.join(mended)}",
    bar="no training",
    holds=found == ["text/chats.jsonl"] and mended == ["text", "report"],
)

# %% [markdown]
# `text` makes the same bytes again, so for the models nothing has changed; the report
# is written anew, since it reads the record of `text`, which is new. This works because
# every draw has a seed. Where a stage is not reproducible, one touched file costs
# everything behind it.
#
# ## Sentences and their records
#
# The report is prose, and prose is edited. A number in it is a **claim**: this number,
# in this sentence, from this entry of this record.

# %%
tokens = records["base"]["tokens"]
report = [
    Claim(f"It read {tokens} tokens.", str(tokens), "base", ("tokens",)),
    Claim("It was aligned in 5 steps.", "5", "align", ("metrics", "steps")),
    Claim("Users prefer it by 0.61.", "0.61", "ab_test", ("preferred",)),
]
for line in unsupported_claims(report, records):
    print(line)
n_without = len(unsupported_claims(report, records))
claims.add(
    "sentences of three that no record supports",
    measured=n_without,
    bar="= 2",
    holds=n_without == 2,
)

# %% [markdown]
# The second is last week's number. The third may be true: perhaps somebody did ask
# users. It has no record, so the pack does not hold it.
#
# The stage `report` has written such a pack for the run above: ten documents from the
# front page for the signer to the licences, as one HTML file, a PDF where Typst is
# installed, a model card, and `pack.json`, from which they are printed. What is in it,
# and what does its check say?

# %%
pack, pages = read_pack(root / "report" / "pack.json")
for page in pages:
    n_claims = len(claims_of([page]))
    n_open = len(open_points([page]))
    print(f"{page.title:44} {n_claims:4} numbers {n_open:3} open points")
print("open in all:", len(open_points(pages)))
print("faults:", check_pack(root))

# %% [markdown]
# An open point is a question that no record answers, with the name of the role that
# owes the answer: the legal basis, the hours of human oversight, the grid that fed the
# machine. Now somebody opens `pack.json` and writes one number a little better. How
# many faults does the check report?

# %%
my_guess_faults = None  # faults: your number

# %% tags=["reveals"]
path = root / "report" / "pack.json"
before = path.read_text("utf-8")
better = claims_of(pages)[0]
path.write_text(before.replace(f'"{better.number}"', '"0.99"', 1), "utf-8")
faults = check_pack(root)
path.write_text(before, "utf-8")
compare(my_guess_faults, len(faults), "{:.0f} faults")
for fault in faults:
    print("-", fault[:92])
claims.add(
    "a number changed in the pack is found",
    measured=f"{len(faults)} faults",
    bar=">= 1, and 0 before",
    holds=len(faults) >= 1 and check_pack(root) == [],
)

# %% [markdown]
# `course capstone check FOLDER` is this check, `course capstone report FOLDER` writes
# the pack again, and `course capstone sign FOLDER --name ... --role ...` puts a name
# under it: it refuses a pack with faults, lists the open points that are accepted, and
# a later change of any file ends the signature. What the check can't tell is whether a
# record is true. A person who forges all records consistently passes it.
#
# ## What it cost
#
# Energy is device hours times power times what the building adds. Our records estimate
# it from processor time and 10 watts a busy core, 4 to 20, and say so. For large runs
# hours are published, and mostly not the power or the grid. BLOOM published all: its
# hours, 400 W for a GPU, and 57 g of CO2 for a kilowatt-hour in France. How many tonnes
# is that?

# %%
my_guess_tonnes = None  # tonnes of CO2 of 1,082,990 GPU-hours: your number

# %% tags=["reveals"]
bloom = 1_082_990
kwh = training_energy(
    Estimate(bloom, bloom, bloom),
    Estimate(0.4, 0.3, 0.4),
    Estimate(1.0, 1.0, 1.2),
)
grid = Estimate(57e-6, 50e-6, 65e-6)  # tonnes a kWh
tonnes = product_of([kwh, grid], independent=True)
compare(my_guess_tonnes, tonnes.value, "{:.1f} t")
print(f"{kwh.value:,.0f} kWh; {tonnes.low:.0f} to {tonnes.high:.0f} t")
print(
    f"with idle machines and their making, published: {50.5 / 24.7:.1f} times"
)
claims.add(
    "BLOOM by the formula, against the published 24.7 t",
    measured=f"{tonnes.value:.1f} t",
    bar="within 1%",
    holds=abs(tonnes.value / 24.7 - 1) <= 0.01,
)

# %% [markdown]
# The formula gives the published number back, since that is how it was made: hours
# times the power on the data sheet. What BLOOM's authors add is what others leave out,
# machines that wait and machines that had to be built, and with them it is twice as
# much. The report of Llama 2 gives hours, power and tonnes for four sizes, and no grid.
# It can be worked back:

# %%
llama_2 = (  # GPU-hours, watts, tonnes, as published
    ("7B", 184_320, 400, 31.22),
    ("13B", 368_640, 400, 62.44),
    ("34B", 1_038_336, 350, 153.90),
    ("70B", 1_720_320, 400, 291.42),
)
implied = {
    size: tonnes * 1e6 / (hours * watts / 1000)
    for size, hours, watts, tonnes in llama_2
}
rows = [
    (size, f"{hours:,}", watts, tonnes, f"{implied[size]:.0f}")
    for size, hours, watts, tonnes in llama_2
]
print(text_table(("size", "GPU-hours", "W", "t CO2", "g a kWh, implied"), rows))
spread = max(implied.values()) - min(implied.values())
claims.add(
    "the grid that Llama 2's table implies, spread over four sizes",
    measured=f"{spread:.1f} g a kWh",
    bar="<= 1",
    holds=spread <= 1,
)

# %% [markdown]
# One factor for all: somebody multiplied by a constant. What is not in it the report
# says in two ways: its text leaves out the network, the rest of the servers and the
# cooling, and the note to its table calls the power adjusted for the building's
# overhead, though 400 W and 350 W are the limits that its two clusters set for a GPU
# alone. So the question to a report is not "how many tonnes", but "which factors, from
# where, and what is not in it".
#
# And our own run?

# %% tags=["nbval-ignore-output"]
wh = {
    name: sum(r["energy_wh"][name] for r in records.values())
    for name in ("value", "low", "high")
}
print(
    "this notebook's run: {value:.3f} Wh, {low:.3f} to {high:.3f}".format(**wh)
)

# %% [markdown]
# ## Fifty per cent fewer
#
# "We promise 50 % fewer made-up answers." Suppose that it is exactly so: 20 of 100
# before, 10 of 100 after. You ask 50 questions before and 50 after and count an exact
# halving, 10 and 5. Down to which reduction does the interval of 95 % reach?

# %%
my_guess_low = (
    None  # low end of the reduction, 0.5 being a halving: your number
)

# %% tags=["reveals"]
at_50 = relative_reduction(10, 50, 5, 50)
compare(my_guess_low, at_50.low, "{:.2f}")
sizes = (50, 100, 200, 500, 1000, 5000)
ends = [relative_reduction(n // 5, n, n // 10, n) for n in sizes]
shown_at = next(n for n, e in zip(sizes, ends, strict=True) if e.low > 0)
plots.lines(
    {
        "high end": (sizes, [e.high for e in ends]),
        "counted": (sizes, [e.value for e in ends]),
        "low end": (sizes, [e.low for e in ends]),
    },
    title=f"With 50 questions a halving may be nothing; from {shown_at} on it is not",
    xlabel="questions before, and as many after (log scale)",
    ylabel="relative reduction",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown]
# *Figure 4. A flat line at one half between two ends that come together with more
# questions. The low end begins below zero and never reaches one half.*
#
# At 50 questions the halving is true and not shown. At 5,000 it is shown that *nearly*
# half are gone. Whoever wants to show "at least 50 %" has to be better than 50 %. Our
# recorded runs, seed by seed, and the same recipe on the contracts beside the clinic:

# %%
rows = []
for domain, runs in BASELINE.items():
    pairs = zip(
        runs["unknown: made up, sft"],
        runs["unknown: made up, safety"],
        strict=True,
    )
    for seed, (before, after) in enumerate(pairs):
        counts = round(100 * before), 100, round(100 * after), 100
        found = relative_reduction(*counts)
        told = (f"{before:.2f}", f"{after:.2f}", *(f"{x:.0%}" for x in found))
        rows.append((domain, seed, *told))
head = ("domain", "seed", "before", "after", "fewer", "low", "high")
print(text_table(head, rows))
fewer = {
    domain: 1
    - np.divide(runs["unknown: made up, safety"], runs["unknown: made up, sft"])
    for domain, runs in BASELINE.items()
}

# %%
claims.add(
    "an exact halving on 50 questions: the low end is below zero",
    measured=f"{at_50.low:.2f}",
    bar="< 0",
    holds=at_50.low < 0,
)
claims.add(
    "recorded: the best seed on the clinic has fewer made-up answers by",
    measured=f"{fewer['clinic'].max():.0%}",
    bar="< 50%, so not promised",
    holds=fewer["clinic"].max() < 0.5,
)
claims.add(
    "recorded: the same recipe takes away less on the contracts, means",
    measured=f"{fewer['contracts'].mean():.0%}, {fewer['clinic'].mean():.0%}",
    bar="less",
    holds=fewer["contracts"].mean() < fewer["clinic"].mean(),
)

# %% [markdown]
# No seed of either domain halves them. On the clinic the best seed takes away almost
# half and the worst an eighth, on the contracts the best does less than the clinic's
# mean. A sentence such as "our safety stage cuts made-up answers by 48 %" names one
# seed of one domain; it needs the words "up to", and somebody who ran the others.
#
# The interval takes the two sets of answers for independent draws. Here the same
# questions were asked twice, so a paired test (unit 09) would see more; across seeds
# the spread is larger than either. Report all three seeds.
#
# ## Two graders
#
# Not everything is a number. The lab ends with two design reviews, graded by rubric:
# five criteria each, none, half or full. The course ships three sample answers to each
# with the points of two graders, all written by the course as examples. How far do the
# two agree?

# %%
my_guess_kappa = None  # kappa with quadratic weights, 1 being full: your number

# %% tags=["reveals"]
first, second = (levels_of(rubrics_of("17"), grader) for grader in "AB")
equal = sum(a == b for a, b in zip(first, second, strict=True))
quadratic, plain = weighted_kappa(first, second, 3), cohen_kappa(first, second)
compare(my_guess_kappa, quadratic)
print(f"equal in {equal} of {len(first)} criteria")


def linear_kappa(first, second):
    """Return kappa where two levels off are twice as bad as one."""
    seen = np.abs(np.subtract(first, second)).mean()
    return 1 - seen / np.abs(np.subtract.outer(first, second)).mean()


linear = linear_kappa(first, second)
for name, value in (
    ("plain", plain),
    ("linear", linear),
    ("quadratic", quadratic),
):
    print(f"{name:10} {value:.2f}")

# %%
far = [0 if level == 2 else 2 if level == 0 else 1 for level in first]
worse = list(first)
worse[: len(first) // 5] = far[: len(first) // 5]
table = [
    ("grader B", cohen_kappa(first, second), linear, quadratic),
    (
        "a fifth turned round",
        cohen_kappa(first, worse),
        linear_kappa(first, worse),
        weighted_kappa(first, worse, 3),
    ),
]
cells = [(name, *(f"{x:.2f}" for x in row)) for name, *row in table]
print(text_table(("against grader A", "plain", "linear", "quadratic"), cells))
claims.add(
    "graders who are off by one: quadratic above linear above plain",
    measured=f"{quadratic:.2f}, {linear:.2f}, {plain:.2f}",
    bar="falling",
    holds=quadratic > linear > plain,
)

# %% [markdown]
# The two differ by one level at most, and the more a weighting forgives that, the
# higher its kappa. In the second row none and full change places among the first fifth
# of the grades. There the order of the three turns round, too: quadratic weights
# forgive a step and punish a leap. Report the kind beside the number; a kappa without
# it can't be compared.
#
# `course review 17 --question 1 --samples` prints the samples with their points and
# reasons. With `--judge URL` a model on your machine proposes points for an answer. It
# is asked for one JSON object on the rubric's scale, and anything else is refused; but
# no form of the reply tells you whether the answer *talked* the judge into it. So a
# proposal is shown, and a person types the points.
#
# ## What she asks
#
# The officer goes through the stages, and for each has one question that a machine
# can't answer alone, and a place where the answer has to lie.
#
# | stage | question | where the answer lies |
# | --- | --- | --- |
# | raw text | Whose is it, and may we? | data sheet: sources, licences, consent |
# | text | What was thrown out, and who decided? | record: counts by reason |
# | base | What did it read, in which version? | lineage: hashes to raw text |
# | sft | Who wrote the answers, told what? | data sheet: authors, instructions |
# | reward | Whose preference is it? | record: held-out accuracy; labellers |
# | align | What was given up, who agreed before? | evaluation: both columns, bar |
# | safety | How often does it refuse what it knows? | evaluation: over-refusal |
# | evaluate | Has anybody changed the exam? | record: its hash in every run |
# | report | Which sentence has no record? | `course capstone check` |
# | release | Who turns it off, at which number? | risk register: owner, trigger |
#
# Frameworks ask the same in other words. The NIST AI RMF sorts by what an organisation
# does: *govern* (who decides), *map* (for whom, what can go wrong), *measure* (these
# numbers, with intervals), *manage* (what follows). Annex IV of the EU's AI Act sorts
# by what a file must hold: description, data, training, validation, risks, changes. One
# pack can answer both, since both ask for what a careful run writes down anyway.
#
# > **Governance box.** *Decide before the run* the bars, the price that a gain may
# > have, and who may change either. *Record* every run, the bad ones as well: three
# > seeds of which one is shown are a choice, not a result. *Who signs*: somebody who
# > could refuse. *What an auditor asks*: show me a release that this process stopped.
#
# ## Claims

# %%
claims.table()
scratch.cleanup()

# %% [markdown]
# ## Check yourself
#
# Put your letter, in quotes, in place of `None` and run the cell again.

# %%
from utils.labs.quiz import ask

my_answer_1 = None  # "a", "b" or "c"
ask("17_capstone", "exam", my_answer_1)

# %%
my_answer_2 = None
ask("17_capstone", "halving", my_answer_2)

# %%
my_answer_3 = None
ask("17_capstone", "judge", my_answer_3)

# %%
my_answer_4 = None
ask("17_capstone", "lineage", my_answer_4)

# %%
my_answer_5 = None
ask("17_capstone", "claim", my_answer_5)

# %%
my_answer_6 = None
ask("17_capstone", "energy", my_answer_6)

# %%
my_answer_7 = None
ask("17_capstone", "harsh", my_answer_7)

# %%
my_answer_8 = None
ask("17_capstone", "baseline", my_answer_8)

# %% [markdown]
# ## What to remember
#
# - A gain is half a sentence. Ask for the column that fell, and for the bar that was
#   set before.
# - Hashes in records make a chain; it proves what was read, not that it was allowed.
# - A number without a record is an opinion. A tonne without its parts is, too.
# - "50 % fewer" needs hundreds of questions, and more than 50 %.
# - A judge proposes, a person signs.
#
# ## Sources
#
# - Mitchell et al. 2019, *Model Cards for Model Reporting* (arXiv:1810.03993), section
#   4. Gebru et al. 2021, *Datasheets for Datasets* (arXiv:1803.09010), section 3.
# - Luccioni, Viguier and Ligozat 2023, *Estimating the Carbon Footprint of BLOOM*
#   (arXiv:2211.02001), section 4: 1,082,990 GPU-hours, 24.7 t and 50.5 t.
# - Touvron et al. 2023, *Llama 2* (arXiv:2307.09288), section 2.2.1 and table 2: hours,
#   watts, tonnes, and what is left out. Patterson et al. 2021 (arXiv:2104.10350),
#   section 2: the formula.
# - Katz et al. 1978, *Obtaining Confidence Intervals for the Risk Ratio in Cohort
#   Studies*. Cohen 1968, *Weighted Kappa*.
# - Zheng et al. 2023, *Judging LLM-as-a-Judge* (arXiv:2306.05685), section 3.3.
# - NIST 2023, *AI Risk Management Framework* (AI 100-1), part 2. Regulation (EU)
#   2024/1689, Annex IV.
#
# **Next**: `work/17_capstone.ipynb`: six functions, two reviews, and a run of your own.
