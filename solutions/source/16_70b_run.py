# %% [markdown]
# # Lab 16: A 70B run
#
# **105 minutes** · after the lecture `notebooks/16_70b_run.ipynb`
#
# You write the arithmetic of a run that nobody can afford to try twice: the memory of a
# GPU, the time of a step, the choice of a layout, how often to save, what failures
# cost, and the bill. All six are pure functions of numbers. Each has a check that
# answers at once; after each, an experiment runs *your* function on published runs or
# on a 70B model. An exercise that you skip only switches off its own experiments.

# %%
import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from utils.labs.api import check, done, hint, start_lab
from utils.parallel.planner.failures import (
    FAILURES_PER_GPU_DAY,
    mean_time_between,
)
from utils.parallel.planner.hardware import find_gpu
from utils.parallel.planner.memory import RECOMPUTE
from utils.parallel.planner.models import find_model, n_parameters
from utils.parallel.planner.plan import Job, search
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.runtime import start

start_lab("16_70b_run")
plots.use_style()
tier = start(seed=0)
llama = find_model("llama3-70b")
h100 = find_gpu("h100")
job = Job(llama, h100, n_gpus=512, n_tokens=2e12, seq_len=8192, batch=512)

# %% [markdown]
# ## 1. Memory
#
# **Goal**: the bytes that one GPU holds at the peak of a step.
#
# **Why it matters**: a layout that does not fit costs a night in the queue. Every
# framework has such a function, and the people who can work it out on paper need not
# wait for the queue to learn what it says.

# %%
# exercise: utils.parallel.planner.memory.memory_per_gpu points=5 minutes=20 difficulty=2

# %% [markdown]
# **Experiment.** Llama-3-70B on 64 GPUs, 8 of them tensor-parallel and 8
# data-parallel, one sequence of 8,192 tokens at a time. Without recompute and with
# ZeRO stage 1, how many GiB does a GPU hold?

# %%
my_gib = None  # GiB on one GPU: your number

# %% tags=["needs:memory_per_gpu"]
rows, held = [], {}
for stage in (0, 1, 2, 3):
    for recompute in ("none", "full"):
        terms = memory_per_gpu(
            n_parameters(llama) / 8,
            llama.n_layers,
            llama.d_model,
            8192,
            1,
            1,
            tp=8,
            dp=8,
            zero_stage=stage,
            recompute=recompute,
            sequence_parallel=True,
            gradient_bytes=4,
            replicated=8,
            sharded=25.5,
        )
        held[stage, recompute] = terms["total"] / 2**30
        rows.append(
            (stage, recompute, *(f"{n / 2**30:.1f}" for n in terms.values()))
        )
compare(my_gib, held[1, "none"], "{:.0f} GiB")
print(text_table(("ZeRO", "recompute", *terms), rows))

# %% [markdown] tags=["result"]
# 80 GiB are on the card, and the framework wants some 10 of them for itself. What
# stage 0 asks for is out of reach; the optimizer is the first thing to share. Note how
# little full recompute leaves of the activations: one input a layer.

# %% [markdown]
# ## 2. Time
#
# **Goal**: the seconds of a step, by what they are spent on.
#
# **Why it matters**: the sum tells you the bill. The terms tell you what to change.

# %%
# exercise: utils.parallel.planner.time.step_time points=5 minutes=16 difficulty=2

# %% [markdown]
# **Experiment.** A pipeline of 8 stages, more and more micro-batches, always the same
# number of tokens. With 8 micro-batches, which share of the step is bubble?

# %%
my_bubble = None  # share of the step with 8 micro-batches, 0 to 1: your number

# %% tags=["needs:step_time"]
shares = {}
for chunks in (1, 5):
    counts = (8, 16, 32, 64, 128)
    shares[f"{chunks} chunk{'s' * (chunks > 1)} a stage"] = (counts, [])
    for n_micro in counts:
        seconds = step_time(
            1e17 / n_micro,
            0,
            0,
            0,
            0,
            n_micro,
            pp=8,
            vp=chunks,
            flops_per_second=6e14,
            memory_per_second=1e12,
            nvlink_per_second=3e11,
            network_per_second=2e10,
        )
        shares[f"{chunks} chunk{'s' * (chunks > 1)} a stage"][1].append(
            seconds["bubble"] / seconds["total"]
        )
compare(my_bubble, shares["1 chunk a stage"][1][0], "{:.0%}")
plots.lines(
    shares,
    title="Micro-batches fill a pipeline, and so do chunks",
    xlabel="micro-batches in a step (log scale)",
    ylabel="share of the step that is bubble",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. Bubble over micro-batches; the line of 5 chunks a stage runs far below that
# of one.*
#
# The more GPUs share a batch, the fewer micro-batches each pipeline gets, and the
# larger the bubble. This is why pipelines stop scaling at a fixed batch.

# %% [markdown]
# ## 3. A layout
#
# **Goal**: the fastest of many layouts that can run, and a reason for each that can't.
#
# **Why it matters**: a search that only says "no" gets overruled. One that says why
# gets its batch size changed.

# %%
# exercise: utils.parallel.planner.layout.choose_layout points=5 minutes=20 difficulty=2

# %% [markdown]
# **Experiment.** All layouts of the planner's search for Llama-3-70B on 512 H100s,
# weighed by its model of time and memory. *Your* function picks. How many seconds does
# a step of 4 million tokens take in its choice?

# %%
my_seconds = None  # of a step on 512 H100s: your number

# %% tags=["needs:choose_layout"]
_, options, _ = search(job)
candidates = [option.candidate for option in options]
rows = []
for limit in (80, 76, 60, 40, 20):
    best, reasons = choose_layout(
        candidates,
        n_gpus=512,
        gpus_per_node=8,
        n_heads=llama.n_heads,
        n_layers=llama.n_layers,
        batch=512,
        bytes_limit=limit * 2**30,
    )
    found = options[best] if best is not None else None
    rows.append(
        (
            limit,
            reasons.count("memory"),
            f"{found.seconds['total']:.2f}" if found else "-",
            found.layout if found else "none fits",
        )
    )
compare(my_seconds, float(rows[1][2]), "{:.1f} s")
print(text_table(("GiB", "refused", "seconds", "layout"), rows))

# %% [markdown] tags=["result"]
# Less memory is paid for with time: first every layer is computed twice (recompute
# full), then tensor parallelism comes on top of it. The difference between the first
# and the last line is what the memory of a newer GPU is worth.

# %% [markdown]
# ## 4. When to save
#
# **Goal**: after how many seconds to write a checkpoint.
#
# **Why it matters**: "every 1,000 steps" is a habit. The best interval follows from two
# numbers that every cluster has.

# %%
# exercise: utils.parallel.planner.failures.checkpoint_interval points=4 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** Saving takes 40 s, and failures come at the rate that was counted in
# the run of Llama 3.1 405B. After how many minutes should a job on 16,384 GPUs save?

# %%
my_minutes = None  # on 16,384 GPUs: your number

# %% tags=["needs:checkpoint_interval"]
rate, origin = FAILURES_PER_GPU_DAY["usual"]
rows = []
for n_gpus in (512, 2048, 16384, 131072):
    between = mean_time_between(rate, n_gpus)
    first = checkpoint_interval(40, between, "young")
    second = checkpoint_interval(40, between)
    rows.append(
        (
            f"{n_gpus:,}",
            f"{between / 60:.0f}",
            f"{first / 60:.1f}",
            f"{second / 60:.1f}",
        )
    )
compare(my_minutes, float(rows[2][3]), "{:.0f} minutes")
print(origin)
print(text_table(("GPUs", "minutes between", "Young", "Daly"), rows))

# %% [markdown] tags=["result"]
# Four times the GPUs, half the interval: that is the root. The two formulas part where
# saving is no longer short against the time between failures.

# %% [markdown]
# ## 5. Goodput
#
# **Goal**: which share of the time is training whose result is kept.
#
# **Why it matters**: a step that is 3 % faster is a month of work for a team. A
# restart that takes 10 minutes less may be worth as much.

# %%
# exercise: utils.parallel.planner.failures.goodput points=3 minutes=12 difficulty=2

# %% [markdown]
# **Experiment.** 16,384 GPUs that save every 20 minutes, near the best interval of the
# exercise before. With a restart of 10 minutes, what share is kept?

# %%
my_kept = None  # share that is kept, 0 to 1: your number

# %% tags=["needs:goodput"]
between = mean_time_between(FAILURES_PER_GPU_DAY["usual"][0], 16384)
minutes = (2, 5, 10, 20, 30, 60, 120)
kept = {
    f"restart {restart} min": (
        minutes,
        [goodput(60 * t, 40, between, 60 * restart) for t in minutes],
    )
    for restart in (1, 10, 30)
}
compare(my_kept, kept["restart 10 min"][1][3], "{:.0%}")
plots.lines(
    kept,
    title="Around the best interval goodput is flat; a slow restart costs more",
    xlabel="minutes between checkpoints (log scale)",
    ylabel="share of the time that is kept",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 2. Goodput over the interval for restarts of 1, 10 and 30 minutes: three flat
# tops, one below the other.*
#
# Being wrong by a factor of two about the interval costs little. Being slow to come
# back costs at every failure.

# %% [markdown]
# ## 6. The bill
#
# **Goal**: days, dollars, megawatt-hours and tonnes, as ranges.
#
# **Why it matters**: someone signs for this. One number would be believed; a range
# tells them what is not known.

# %%
# exercise: utils.parallel.planner.cost.run_cost points=3 minutes=11 difficulty=1

# %% [markdown]
# **Experiment.** Two trillion tokens through Llama-3-70B on 512 H100s, by your
# function. Between which numbers of millions of dollars? Guess the middle.

# %%
my_millions = None  # million dollars, the middle of the range: your number

# %% tags=["needs:run_cost"]
from utils.parallel.planner.plan import make_plan

plan = make_plan(job)
bill = run_cost(
    2e12,
    plan.tokens_per_second,
    512,
    goodput=plan.goodput["usual"],
    usd_per_gpu_hour=(2.0, 5.0),
    watts_per_gpu=(880, 1260),
    pue=(1.09, 1.57),
    grams_per_kwh=(57, 475),
)
compare(my_millions, sum(bill["usd"]) / 2e6, "{:.1f} million")
for name, value in bill.items():
    pair = value if isinstance(value, tuple) else (value,)
    print(f"{name:12}", " to ".join(f"{x:,.0f}" for x in pair))

# %% [markdown] tags=["result"]
# Look at which range is widest, and why: the price of a GPU-hour spans a factor of 2.5,
# the CO2 of a kilowatt-hour one of 8. Where a cluster stands decides more about its
# emissions than how well its code runs.
#
# `course plan --model llama3-70b --gpus 512 --explain` prints the whole arithmetic that
# you have written here, with units.

# %% [markdown]
# ## 7. Written answer (3 points)
#
# A vendor offers to pretrain a dense 70B model on 2 trillion tokens: 1,024 H100s, twelve
# days, a fixed price of 1.3 million dollars for the GPU-hours used, a checkpoint every
# four hours, "no interruptions expected". In five to eight sentences for the person who
# must sign: which model FLOPs utilisation do twelve days imply and is it believable,
# how often will such a job be interrupted, what do you say about the checkpoints, which
# duration and which price (as ranges) do you expect, and which two measurements in the
# first day would you write into the contract? Use your functions for the numbers.
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* About 6 times 70e9 times 2e12, 8.4e23 operations, in twelve days on
# 1,024 GPUs of 989e12 a second mean a utilisation of 80 %; published dense runs of this
# size on such GPUs reach 35 to 50 %. At 35 to 45 % the arithmetic alone takes 21 to 27
# days. At the rate of failures that was published for Llama 3.1 405B, a job on 1,024
# GPUs is interrupted about every two days, ten times or more in the run. With a
# checkpoint every four hours each loses two hours on average, 4 % of all work; where a
# save takes 40 seconds, Daly's interval is an hour, and saves and lost work together
# take 2 %. Twelve days are 295,000 GPU-hours, so the price is 4.4 dollars an hour; 22 to
# 30 days with restarts are 540,000 to 740,000 hours, at this rate 2.4 to 3.3 million
# dollars: a price for "hours used" is not fixed, and these words must go. In the
# contract: tokens per second after the first thousand steps, averaged over some hours
# with checkpoints in them; and the time from a worker killed on purpose to the first
# step after it, with the loss that follows equal to that of an unbroken run.
#
# *Rubric.* 1 point: the utilisation that twelve days imply, 75 to 85 %, and why it is
# not believable. 1 point: interruptions every one to four days, and an interval of
# checkpoints by Young or Daly instead of four hours. 1 point: duration and price as
# ranges that follow from these numbers, and two measurements that can fail on the
# first day.
# <!-- END SOLUTION -->
