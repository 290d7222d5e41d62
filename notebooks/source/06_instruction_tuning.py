# %% [markdown]
# # 06 Instruction tuning
#
# **90 minutes** · before this: units 03 to 05 · after this:
# `work/06_instruction_tuning.ipynb`, a lab of 130 minutes · the machine needs about
# two minutes
#
# The base model knows who lives where. Ask it as you would ask a person, and it
# goes on with your sentence instead of answering. Conversations, given as examples,
# change that. How many does it take? Do they teach it facts as well, and what do
# they teach if some of them are wrong? This unit is about those conversations: how
# they become tokens, which of the tokens count, how many fit into a row, and which
# of them should never have been used.

# %%
import re
from copy import deepcopy

import matplotlib.pyplot as plt
import torch

from utils.evaluate.world_qa import judge_answers, plain_prompt, share
from utils.model.generate import generate_batch
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
from utils.report.show import show
from utils.report.tables import text_table
from utils.runtime import start
from utils.tokens.batches import shift_targets, supervised_batches
from utils.tokens.chat import render_chat, response_mask
from utils.train.loop import train
from utils.train.schedules import constant
from utils.train.sft import sft_loss
from utils.world.chats import chats
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.load import load_base

plots.use_style()
tier = start(seed=0)
claims = Claims()
base, tokenizer = load_base()
world = build_world(0)

# %% [markdown]
# ## It knows, and does not answer
#
# A hundred questions about the town, asked in two ways. First in the form that the
# base model has read a thousand times: a line "Question: ..." and a line "Answer:".
# Then as a **chat**: a marker that says that the user speaks, the question, and a
# marker that says that the assistant is to speak now. The base model's vocabulary
# has both markers, and it has never seen either. The world's judge counts which
# answers are right. A second count asks for the form alone: one whole sentence, and
# then the end token, so that the model stops by itself.

# %%
asked = questions(world, "trained", 100, seed=9)
reworded = questions(world, "held_out_phrasing", 100, seed=9)


def chat_prompt(question):
    """Return a question as the prompt of a chat: it ends where an answer begins."""
    message = {"role": "user", "content": question.prompt}
    return render_chat([message], tokenizer, add_prompt=True).token_ids


def answers_of(model, asked, prompt_of=chat_prompt, n_new=40):
    """Return the model's greedy answers as token ids, each up to its end token."""
    prompts = [prompt_of(question) for question in asked]
    ids = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}
    return generate_batch(model, prompts, n_new, **ids)


def right(asked, answers):
    """Return the share of right answers."""
    texts = [
        tokenizer.decode(ids, skip_special=True).strip() for ids in answers
    ]
    return share(judge_answers(world, asked, texts), "correct")


# %%
def in_form(answers, n_new=40):
    """Return the share of answers that are one whole sentence and end by themselves."""
    sentence = re.compile(r"[A-Z][^.?!]*\.")
    return sum(
        len(ids) < n_new and bool(sentence.fullmatch(tokenizer.decode(ids)))
        for ids in answers
    ) / len(answers)


# %%
plain = answers_of(base, asked, lambda q: plain_prompt(tokenizer, q))
as_chat = answers_of(base, asked)
for name, answers in (("plain form", plain), ("as a chat", as_chat)):
    print(f"{name}: {right(asked, answers):.2f} right; for example")
    print(f"   {asked[0].prompt} -> {tokenizer.decode(answers[0])!r}")

# %% [markdown]
# What the model knows has not changed between the two lines. What it lacks is a
# habit: after this marker comes an answer, one sentence of it, and then the end. So
# show it the habit. Two thousand chats, each with one question and one short, true
# answer; most are about facts that the base model has read, a fifth are small
# exercises. Sixteen of them make a batch. How many batches will it take until nine
# of ten answers are in form? (Tried are 4, 8, 16, 32 and 125.) Guess.

# %%
my_guess = None  # batches of 16 chats: your number

# %%
talks = chats(world, 2000, seed=1)
examples = [render_chat(talk, tokenizer) for talk in talks]
marks = [0, 4, 8, 16, 32, 125]


def tuned(examples, n_steps=125):
    """Return a copy of the base model, tuned on examples for some steps."""
    model = deepcopy(base)
    batches = supervised_batches(examples, 16, 128, tokenizer.pad_id)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, weight_decay=0.01
    )
    train(
        model,
        batches,
        sft_loss,
        optimizer,
        n_steps,
        schedule=constant(warmup_steps=10),
    )
    return model


# %% tags=["reveals", "nbval-ignore-output"]
form, truth = [], []
for n_steps in marks:
    model = tuned(examples, n_steps) if n_steps else base
    answers = answers_of(model, asked)
    form.append(in_form(answers))
    truth.append(right(asked, answers))
chat_model = model
first = next(n for n, f in zip(marks, form, strict=True) if f >= 0.9)
compare(my_guess, first, "{:.0f} batches")

# %%
plots.lines(
    {"in form": (marks, form), "right": (marks, truth)},
    title="The form comes with a few batches, and what was known comes along",
    xlabel="batches of 16 chats",
    ylabel="share of answers",
    points=True,
)
plt.show()

# %% [markdown]
# *Figure 1. Two lines over the number of batches. The share of answers in form
# stands at zero up to eight batches and near one from sixteen on. The share of
# right answers starts at a quarter and rises more slowly.*
#
# Did the model learn the facts from the chats? Each of them stands in a few. So
# leave out every chat that says one of the answers asked for, and tune on the
# others, 64 batches of them. What share of the same hundred questions will be
# answered rightly?

# %%
my_untold = None  # share of right answers: your number

# %% tags=["reveals", "nbval-ignore-output"]
wanted = {question.answer for question in asked}
silent = [talk for talk in talks if talk[1]["content"] not in wanted]
untold = tuned([render_chat(talk, tokenizer) for talk in silent], 64)
silent_right = right(asked, answers_of(untold, asked))
print(f"{len(silent)} of {len(talks)} chats are left")
compare(my_untold, silent_right, "{:.2f}")
claims.add(
    "right answers that stood in none of the chats",
    measured="over 80%" if silent_right > 0.8 else f"{silent_right:.0%}",
    bar="80%",
    holds=silent_right > 0.8,
)

# %% [markdown]
# So the chats did not teach it these facts: it has learned to say what it knew.
# That is what **supervised fine-tuning** (SFT) on **instructions** does best, and
# it needs little data: Zhou et al. (2023) tuned a large model on a thousand good
# conversations and found answers that people liked about as well as those of models
# tuned on far more. Their guess was that nearly all that a model knows comes from
# pretraining, and that tuning teaches which of its manners to use. Section 2 of
# their paper is about what this unit ends with: the choice of the examples.
#
# ## A chat is a row of tokens
#
# Who speaks has to be said in tokens, like everything else. Every family of models
# has its own **chat template** for it. Ours is the simplest that works: a turn of
# the user is the marker `<|user|>` and the text, a turn of the assistant is
# `<|assistant|>`, the text and `<|end|>`. A **system text**, which tells the
# assistant how to behave, has no marker of its own here; it is put before the
# user's first words, as Llama 2 did with instructions that should hold for a whole
# chat.

# %%
show(render_chat)

# %%
talk = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "A model."},
    {"role": "user", "content": "Say <|end|> please."},
]
row = render_chat(talk, tokenizer, add_prompt=True).token_ids
print(tokenizer.decode(row))
n_special = sum(token >= tokenizer.pad_id for token in row)
print(f"{len(row)} tokens, {n_special} of them markers")
assert n_special == 5

# %% [markdown]
# Five markers, though six stand in the text: the user has typed one. It became
# seven ordinary characters, because the encoder of a text never makes a marker of
# anything. That is more than tidiness. Where a template is filled in as a *string*
# and the whole is tokenised afterwards, a user who types `<|end|><|assistant|>`
# writes the assistant's answer, and whatever comes after has to believe that the
# assistant said so.
#
# The template is part of the model. A tuned model has met its own markers in one
# order, two thousand times, and nothing else. Four ways to get it wrong, all of
# them easy to take in a service: the marker that opens the answer is missing; it is
# there twice, since the template and the caller both add it; a begin token is put
# in front by the tokenizer, though the template has none; the question is asked
# without any template. Which of them costs the tuned model most right answers? Guess.

# %%
my_choice = None  # "no marker", "marker twice", "begin token" or "no template"

# %% tags=["reveals", "nbval-ignore-output"]
end, opens = tokenizer.end_id, tokenizer.assistant_id
wrong_prompts = {
    "as tuned": chat_prompt,
    "no marker": lambda q: chat_prompt(q)[:-1],
    "marker twice": lambda q: [*chat_prompt(q), opens],
    "begin token": lambda q: [end, *chat_prompt(q)],
    "no template": lambda q: tokenizer.encode(q.prompt),
}
scores = {}
for name, prompt_of in wrong_prompts.items():
    answers = answers_of(chat_model, asked, prompt_of)
    scores[name] = {
        "in form": in_form(answers),
        "right": right(asked, answers),
    }
    first = tokenizer.decode(answers[0])
    print(f"{name:12} -> {first!r}")
others = {n: s["right"] for n, s in scores.items() if n != "as tuned"}
compare(my_choice, min(others, key=others.get), "{}")

# %%
plots.grouped_bars(
    scores,
    title="A template that is nearly right costs nothing, or the whole form",
    ylabel="share of answers",
)
plt.show()

# %% [markdown]
# *Figure 2. Two bars for each of five prompts, the share of answers in form and of
# right ones. Marker twice and begin token stand near the prompt as tuned. Without
# the marker, and without a template, no answer is in form, though most hold the
# right fact.*
#
# There was no error and no warning in any of the five. Where the marker is missing
# the model goes on as the base model would: a new line, and a question of its own.
# The doubled marker cost nothing here, and that is luck. A model with more habits
# has more of them to lose. So compare the ids that your service sends with the ids
# that training saw, one example by eye; the lab's `render_chat` makes both from one
# function.
#
# ## Which tokens count
#
# Training on a chat as on a page would teach the model to write the user's turns as
# well. It is to answer, not to ask. So a **response mask** says of each token
# whether it is one that the assistant wrote, and the loss runs over those alone.
# With one question and one answer this is simple: all that follows the marker.

# %%
ids, mask = render_chat(chats(world, 1, seed=3)[0], tokenizer)
by_hand = [False] * len(ids)
for place in range(ids.index(opens) + 1, len(ids)):
    by_hand[place] = True
assert by_hand == mask
pieces = tokenizer.tokens(ids)
print("".join(f"[{p}]" if m else p for p, m in zip(pieces, mask, strict=True)))

# %% [markdown]
# In brackets what the model learns to write. Two borders matter. The marker
# `<|assistant|>` is not in brackets: it ends the prompt, and whoever asks puts it
# there. The token `<|end|>` is: nobody else would write it.
#
# Chats of several turns have several answers in them, and all of them count.
# Between them the user speaks, and that doesn't. After the last there may be
# padding, and many tokenizers pad with the end token. So the rule has to know where
# it is:

# %%
show(response_mask)

# %% [markdown]
# Here is what happens to those who don't. The padding token of a tokenizer is the
# end token; padding should not be learned; so somebody writes one line that takes
# every target equal to the padding token out of the loss. It looks right. What
# share of the answers will stop by themselves, after that line?

# %%
my_stops = None  # share of answers that end by themselves: your number

# %% tags=["reveals", "nbval-ignore-output"]
no_end = [
    (ids, [m and token != end for token, m in zip(ids, mask, strict=True)])
    for ids, mask in examples
]
everything = [(ids, [True] * len(ids)) for ids, _ in examples]
told = {}
for name, some in (
    ("responses", examples),
    ("all but end tokens", no_end),
    ("all tokens", everything),
):
    model = tuned(some, 64)
    answers = answers_of(model, asked)
    stops = sum(len(ids) < 40 for ids in answers) / len(answers)
    told[name] = {"stop": stops, "right": right(asked, answers)}
    if name == "all but end tokens":
        endless = tokenizer.decode(answers[0])
compare(my_stops, told["all but end tokens"]["stop"], "{:.2f}")
print(endless)
plots.grouped_bars(
    told,
    title="A model that never learned to end an answer does not end it",
    ylabel="share of answers",
)
plt.show()

# %% [markdown]
# *Figure 3. Two bars for each of three masks: the share of answers that stop, and
# of those that hold the right fact. Trained on responses, all stop. Without end
# tokens a fifth does; of the facts nearly as many are right. Trained on all tokens,
# all stop and slightly fewer are right.*
#
# The model says the right thing and can't stop saying things. Its makers see long,
# rambling answers and blame the sampling. (A fifth still stops, probably since the
# base model has seen end tokens after documents.) The cause stands in one line of the
# data's preparation, and a test for it takes one line as well: the end token of an
# answer is a target, whatever padding is.
#
# Leaving the mask out costs less than you might have thought. Whether to learn from
# the user's turns as well is an open question where prompts are long and answers
# short (Shi et al., 2024, section 4); here most of a model's effort would go into
# guessing questions.
#
# ## The loss
#
# It is the cross-entropy of unit 04, over fewer places:
#
# $$L = -\frac{1}{\sum_{b,t} m_{b,t}}
# \sum_{b,t} m_{b,t} \log p(x_{b,t+1} \mid x_{b,\le t})$$
#
# with $m$ the mask, shifted with the targets: $m_{b,t}$ says whether the token
# *after* place $t$ is one of a response.

# %%
show(sft_loss)

# %% [markdown]
# The fraction in front divides by the number of response tokens in the whole batch.
# So a long answer weighs more than a short one. With one batch that is a choice,
# with several **micro-batches** (unit 04: gradients added up before one update) it
# is a trap: the mean of the micro-batches' means is another number, in which each
# token of a short answer weighs more. By hand, eight chats in two micro-batches of
# four, the short answers first:

# %%
some = sorted(examples[:8], key=lambda example: sum(example[1]))
whole = supervised_batches(some, 8, 128, tokenizer.pad_id)(0)


def loss_of(examples):
    """Return the base model's mean loss over responses, and their tokens."""
    n = len(examples)
    batch = supervised_batches(examples, n, 128, tokenizer.pad_id)(0)
    with torch.inference_mode():
        loss = sft_loss(base(batch.token_ids), batch.targets).item()
    return loss, int((batch.targets != -100).sum())


parts = [loss_of(some[:4]), loss_of(some[4:])]
of_means = sum(loss for loss, _ in parts) / 2
weighted = sum(loss * n for loss, n in parts) / sum(n for _, n in parts)
at_once, n_tokens = loss_of(some)
print(f"response tokens in the two parts: {parts[0][1]} and {parts[1][1]}")
print(f"mean of means {of_means:.3f}, weighted {weighted:.3f}")
claims.add(
    "micro-batches weighed by their response tokens: loss of the batch",
    measured="below 1e-5" if abs(weighted - at_once) < 1e-5 else "above",
    bar="1e-5",
    holds=abs(weighted - at_once) < 1e-5,
)
assert abs(of_means - at_once) > 0.01

# %% [markdown]
# Widely used libraries had this wrong until users compared the two losses in 2024.
# Ours, `train`, weighs by tokens. One more thing can go wrong with a mean: there
# may be nothing to take it of. A chat is longer than the context, somebody cuts it
# off at the right, and what is left is the question.

# %%
long_talk = [
    {"role": "user", "content": "Please copy this code. " + "KX4 " * 60},
    {"role": "assistant", "content": "KX4 " * 60},
]
ids, mask = render_chat(long_talk, tokenizer)
cut = torch.tensor([ids[:129]]), torch.tensor([mask[:129]])
batch = shift_targets(*cut)
naive = torch.nn.functional.cross_entropy(
    base(batch.token_ids)[0], batch.targets[0]
)
print(f"{len(ids)} tokens, cut at 129; torch's own loss: {naive.item()}")
try:
    sft_loss(base(batch.token_ids), batch.targets)
except ValueError as error:
    print(f"sft_loss: {str(error)[:76]} ...")

# %% [markdown]
# The first is a NaN. Where the mean is written by hand, as a sum divided by the number
# of counted tokens, its gradient is NaN as well, and one step later so are all
# weights. (The gradient of torch's own happens to be zero: the step teaches nothing,
# and the NaN spoils every mean of the record.) The second is a sentence. What to do
# with a long chat is for you to say, before training: leave it out, or shorten the
# answer at the end of a sentence; `filter_examples`, at the end of this unit, does
# either and reports it.
#
# Is our loss the one that others compute? **TRL** is the library in which most
# people tune models. Its `SFTTrainer` gets the same base model, written out as a
# Llama, and the same eight chats, with its own template, masks and collation.

# %% tags=["nbval-ignore-output"]
import logging
import tempfile
import warnings

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=FutureWarning)

from datasets import Dataset
from transformers import AutoModelForCausalLM
from transformers.utils import logging as their_logging
from trl import SFTConfig, SFTTrainer

from utils.model.pretrained import save_hugging_face

# %% tags=["nbval-ignore-output"]
their_logging.disable_progress_bar()
scratch = tempfile.TemporaryDirectory()
ids = {"end_id": tokenizer.end_id, "pad_id": tokenizer.pad_id}
save_hugging_face(base, scratch.name, **ids)
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(
        scratch.name, dtype=torch.float32
    ),
    args=SFTConfig(
        output_dir=f"{scratch.name}/run",
        assistant_only_loss=True,
        per_device_train_batch_size=8,
        max_length=128,
        use_cpu=True,
        bf16=False,
        report_to=[],
        disable_tqdm=True,
    ),
    train_dataset=Dataset.from_list([{"messages": t} for t in talks[:8]]),
    processing_class=tokenizer.to_hugging_face(),
)

# %%
batch = next(iter(trainer.get_train_dataloader()))
n_theirs = int((batch["labels"] != -100).sum())
theirs = trainer.compute_loss(trainer.model, dict(batch)).item()
ours, n_ours = loss_of(examples[:8])
print(f"response tokens: TRL {n_theirs}, ours {n_ours}")
claims.add(
    "loss of eight chats, ours against TRL's SFTTrainer",
    measured="below 1e-5" if abs(ours - theirs) < 1e-5 else "above",
    bar="1e-5",
    holds=abs(ours - theirs) < 1e-5 and n_ours == n_theirs,
)
scratch.cleanup()

# %% [markdown]
# ## Rows that hold several chats
#
# Chats are short. In a batch all rows are as long as the longest, and the rest is
# padding, which costs as much as text. Guess: in batches of sixteen of our chats,
# what share of the places holds a token of a chat? And if each row had the full
# context of 128, as it has where a GPU is to see the same shape at every step?

# %%
my_share = None  # in batches as long as their longest: your number
my_full = None  # in rows of 128: your number

# %% tags=["reveals"]
batches = supervised_batches(examples, 16, 128, tokenizer.pad_id)
lengths = [len(ids) - 1 for ids, _ in examples]
places = sum(batches(step).token_ids.numel() for step in range(125))
compare(my_share, sum(lengths) / places, "{:.2f}", of="as the longest")
compare(my_full, sum(lengths) / (128 * 2000), "{:.2f}", of="rows of 128")

# %% [markdown]
# **Packing** puts several examples into one row. In what order? That is the problem
# of packing boxes into trucks: take the longest first, and put each into the
# fullest row that still has room.

# %%
from utils.tokens.packing import document_mask, fit_rows, pack_examples

show(fit_rows)

# %%
rows = pack_examples(examples, 128, tokenizer.pad_id)
full = sum(lengths) / rows.token_ids.numel()
print(f"{len(examples)} chats in {len(rows.token_ids)} rows, {full:.1%} full")
claims.add(
    "rows of 128 filled with chats",
    measured=f"{full:.1%}",
    bar="95%",
    holds=full > 0.95,
)

# %% [markdown]
# A fifth of the rows, and the same tokens. But now several chats stand in one row,
# and a causal model sees what comes before. Two things have to be put right. Each
# chat's **positions** must begin at 0, as they would alone. And no token may look
# at another chat. It is often said that the first does the second. Does it? A chat
# stands alone, and the same chat behind another one, with its positions restarted.
# Compare the logits.

# %%
from utils.train.packed import packed_logits

show(pack_examples)

# %%
pair = pack_examples(examples[1:3], 128, tokenizer.pad_id)
with torch.inference_mode():
    leaking = packed_logits(base, pair, is_isolated=False)[0]  # (T, V)
    apart = packed_logits(base, pair)[0]
far = {"positions restarted": [], "and kept apart by the mask": []}
numbers = pair.document_ids[0]
for number in (0, 1):
    inside = numbers == number
    with torch.inference_mode():
        alone = base(pair.token_ids[:, inside])[0]
    for name, logits in zip(far, (leaking, apart), strict=True):
        gap = (logits[inside] - alone).abs().amax(-1)
        far[name] += gap.tolist()
# %%
places = list(range(len(far["positions restarted"])))
plots.lines(
    {
        name: (places, [max(g, 1e-7) for g in gaps])
        for name, gaps in far.items()
    },
    title="Positions that restart keep nobody apart; the mask does",
    xlabel="place in the row",
    ylabel="largest difference of a logit",
    log_y=True,
)
plt.show()
worst = max(far["and kept apart by the mask"])
claims.add(
    "logits of a packed chat are those of the chat alone",
    measured="below 1e-4" if worst < 1e-4 else f"{worst:.0e}",
    bar="1e-4",
    holds=worst < 1e-4,
)
assert max(far["positions restarted"]) > 1

# %% [markdown]
# *Figure 4. Two lines over the places of a row with two chats, on a logarithmic
# scale. With restarted positions alone the difference leaps from rounding errors to
# several logits where the second chat begins. With the mask it stays at rounding
# errors throughout.*
#
# So the mask it is, made from the numbers of the documents: a block for each chat,
# causal inside.

# %%
show(document_mask)

# %%
plots.heat_map(
    document_mask(pair.document_ids)[0].float().numpy()[:64, :64],
    title="A packed row's mask is one causal triangle for each chat",
)
plt.show()

# %% [markdown]
# *Figure 5. A square of queries and keys with two triangles along the diagonal, one
# for each chat, and a third for the padding. All else is empty.*
#
# Does the leak matter? In pretraining documents often see each other, since a model
# soon learns that an end token changes the subject. In tuning, a chat may begin in
# the middle of a row in training, and begins at the start of one in use. So train
# for one epoch of packed rows with the mask and without it, and ask both models in
# the usual way, but **reworded**: a hundred questions in phrasings that stand in no
# training text. Which share will the second get right?

# %%
my_leak = None  # share of right answers after training with the leak

# %%
from utils.tokens.packing import packed_batches


def tuned_packed(is_isolated):
    """Return the base model after one epoch of packed rows, four at a time."""
    model, batches = deepcopy(base), packed_batches(rows, 4)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, weight_decay=0.01
    )
    for step in range(len(rows.token_ids) // 4):
        batch = batches(step)
        logits = packed_logits(model, batch, is_isolated)
        optimizer.zero_grad()
        sft_loss(logits, batch.targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


# %% tags=["reveals", "nbval-ignore-output"]
packed_scores = {
    name: right(reworded, answers_of(tuned_packed(is_isolated), reworded))
    for name, is_isolated in (("kept apart", True), ("leaking", False))
}
compare(my_leak, packed_scores["leaking"], "{:.2f}")
plots.bars(
    packed_scores,
    title="What leaks in training is missed in use",
    xlabel="share of right answers to reworded questions",
)
plt.show()
assert packed_scores["kept apart"] > packed_scores["leaking"]

# %% [markdown]
# *Figure 6. Two bars: the model that was trained with the mask is right more often
# than the one that was trained with the leak.*
#
# No error came here either. (With three seeds: claim
# `06_packing` in `tests/claims/`, measured by `make claims`.) The mask has a price
# of its own, since attention now computes a table of which most is empty. Kernels
# that skip the empty blocks exist (FlexAttention, and the variable-length kernels
# that TRL uses on a GPU); on a CPU the table stays.
#
# ## Garbage in
#
# The form came with 256 chats. The facts were there before. Then do false answers
# in the chats matter at all? Take two thousand rows, each with the page it was
# found on. Some pages are wrong, and wrong pages get copied: each of their rows
# stands there five times. Nothing in a single row tells it from a true one.

# %%
from utils.world.mistakes import TOPIC, as_chats, rows_with_mistakes

found = rows_with_mistakes(world, 2000, wrong_share=0.5, copies=5)
print(
    text_table(
        ("question", "answer", "page"),
        [(r["question"], r["answer"], r["source"]) for r in found[:4]],
    )
)

# %% [markdown]
# Half of these rows are wrong. The base model knew better: in the plain form it was
# right a hundred times in a hundred. What share of reworded questions will it answer
# rightly after tuning on them?

# %%
my_half = None  # share of right answers: your number


# %% tags=["reveals", "nbval-ignore-output"]
def score_of(rows):
    """Return the share of right answers after tuning on rows."""
    rendered = [render_chat(talk, tokenizer) for talk in as_chats(rows)]
    return right(reworded, answers_of(tuned(rendered), reworded))


wrong_shares = [0.0, 0.25, 0.5, 0.75]
data = {s: rows_with_mistakes(world, 2000, s, copies=5) for s in wrong_shares}
as_it_is = [score_of(data[s]) for s in wrong_shares]
compare(my_half, as_it_is[2], "{:.2f}")

# %% [markdown]
# So it does matter: tuning teaches the form first, and then it teaches whatever you
# feed it, true or not. Now the cure. What can be known about a row without knowing
# the truth? That it lacks something, that it breaks off, that it stands there
# already, that it stands in the test set, and that **another row contradicts it**.

# %%
from utils.text.filtering import filter_examples

show(filter_examples)

# %% [markdown]
# The order of the reasons matters. Copies go before votes are counted, or the page
# that was copied most would win. By hand, for one question: a page that was copied
# three times against two pages that agree.

# %%
said = [("the pond", 7), ("the pond", 7), ("the pond", 7)]
said += [("the mill", 8), ("the mill", 9)]
pages = {}
for answer, page in said:
    pages.setdefault(answer, set()).add(page)
print(f"rows:  pond {sum(a == 'the pond' for a, _ in said)}, mill 2")
print(f"pages: pond {len(pages['the pond'])}, mill {len(pages['the mill'])}")

# %% tags=["nbval-ignore-output"]
filtered = {
    s: filter_examples(data[s], topic=TOPIC, conflicts="majority")
    for s in wrong_shares
}
print(filtered[0.5][1].counts())
cleaned = [as_it_is[0]]
cleaned += [score_of(filtered[s][0]) for s in wrong_shares[1:]]
plots.lines(
    {"as it is": (wrong_shares, as_it_is), "filtered": (wrong_shares, cleaned)},
    title="Copied mistakes cost answers, and a vote over pages wins most back",
    xlabel="share of rows that are wrong",
    ylabel="share of right answers, reworded",
    points=True,
)
plt.show()
lost, back = as_it_is[0] - as_it_is[2], cleaned[2] - as_it_is[2]
claims.add(
    "half of the rows wrong: the filter wins back half of the loss",
    measured="over half" if back >= lost / 2 else f"{back / lost:.0%}",
    bar="half",
    holds=back >= lost / 2,
)

# %% [markdown]
# *Figure 7. Two lines over the share of wrong rows. As it is, the share of right
# answers falls with every step. Filtered, it stays near where it was until half of
# the rows are wrong, and falls by less at three quarters.*
#
# Do not read this as "a filter finds mistakes". It found *copies*, and what was
# left of them was outvoted. Let as many rows be wrong as in the last point, each on
# a page and in a way of its own:

# %% tags=["nbval-ignore-output"]
alone = rows_with_mistakes(world, 2000, wrong_share=0.75, copies=1)
voted, _ = filter_examples(alone, topic=TOPIC, conflicts="majority")
lone = {"as it is": score_of(alone), "filtered": score_of(voted)}


def wrong_share(rows):
    """Return the share of rows whose answer is not the world's."""
    facts = world.facts
    return sum(
        facts[row["entity"]][row["attribute"]] not in row["answer"]
        for row in rows
    ) / len(rows)


for name, before, after, scores in (
    ("copied", data[0.75], filtered[0.75][0], (as_it_is[3], cleaned[3])),
    ("alone", alone, voted, lone.values()),
):
    print(
        f"{name}: {wrong_share(before):.2f} of the rows wrong, "
        f"{wrong_share(after):.2f} after the filter; right answers "
        + ", then ".join(f"{value:.2f}" for value in scores)
    )

# %% [markdown]
# As it is, the model does as badly as with copies: it does not care how many pages
# a mistake stands on. The filter does. Three of four *pages* are wrong now, and of
# the rows that it keeps nearly half still are: a vote finds the truth only where
# more pages tell it than agree on any one mistake. With up to half of the pages wrong
# it still wins back most of the loss, since mistakes that differ seldom agree and the
# truth does. (The curves over three seeds: claims `06_mistakes` and
# `06_lone_mistakes` in `tests/claims/`. In another world, with a base model of its own,
# form, packing and copied mistakes come out the same way: `06_mistakes_another_world`
# and its neighbours.)
#
# Where several sources are *meant* to differ, as when two clinics explain a disease
# in their own words, `conflicts="keep"` keeps them all and reports them. Which of
# these a data set needs is a question to its makers, and the answer belongs on its
# card.
#
# ## The data set as a product
#
# A tuned model is as good as a file that somebody changes on a Tuesday. So give the
# file a version, and let a machine know what depends on it. **DVC** does for data
# what git does for code: a stage says from which files a program makes which. (It
# belongs to the extra `ops`; without it the cell says so.) Three stages: the
# cleaning, a count over what is left, and a card that does not depend on the rows
# at all.

# %% tags=["nbval-ignore-output"]
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

has_dvc = importlib.util.find_spec("dvc") is not None
home = Path(tempfile.mkdtemp())
CLEAN = """
import json
from utils.text.filtering import filter_examples
rows = [json.loads(line) for line in open("raw.jsonl", encoding="utf-8")]
topic = ("entity", "attribute")
kept, _ = filter_examples(rows, topic=topic, conflicts="majority")
open("kept.jsonl", "w").write("".join(json.dumps(row) + "\\n" for row in kept))
"""
STAGES = {
    "clean": ("python clean.py", ["clean.py", "raw.jsonl"], "kept.jsonl"),
    "count": ("python count.py", ["count.py", "kept.jsonl"], "count.txt"),
    "card": ("python card.py", ["card.py"], "card.txt"),
}


# %% tags=["nbval-ignore-output"]
def write_rows(rows):
    """Write the raw data, a row a line."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (home / "raw.jsonl").write_text(text, encoding="utf-8")


def dvc(*words):
    """Run a command of DVC in the folder and return what it says of stages."""
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    run = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=home,
        env=os.environ
        | {"PATH": os.pathsep.join(paths), "PYTHONPATH": os.getcwd()}
        | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(home / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in run.stdout.splitlines() if "tage '" in line]


# %% tags=["nbval-ignore-output"]
write_rows(data[0.5])
(home / "clean.py").write_text(CLEAN)
(home / "count.py").write_text(
    'print(sum(1 for _ in open("kept.jsonl")), file=open("count.txt", "w"))'
)
(home / "card.py").write_text('print("made up", file=open("card.txt", "w"))')
if has_dvc:
    dvc("init", "--no-scm")
    for name, (command, needs, makes) in STAGES.items():
        needed = [word for path in needs for word in ("-d", path)]
        dvc("stage", "add", "-n", name, *needed, "-o", makes, command)
    print(*dvc("repro"), sep="\n")
else:
    print("DVC is not installed: pip install -e '.[ops]'")

# %% [markdown]
# All three ran. Now somebody corrects one row of two thousand. Which stages run
# again?

# %%
my_stages = None  # how many of the three: your number

# %% tags=["reveals", "nbval-ignore-output"]
changed = [dict(row) for row in data[0.5]]
changed[0]["answer"] = "Nobody knows."
write_rows(changed)
if has_dvc:
    said = dvc("repro")
    print(*said, sep="\n")
    compare(my_stages, sum("Running" in line for line in said), "{:.0f} stages")
    assert [line for line in said if "card" in line and "skipping" in line]

# %% [markdown]
# The cleaning ran, and the count if its input came out different; the card did not.
# Had the row been changed back, DVC would have taken both results from its store
# without running anything. `dvc push` sends the versions to a remote, a folder or a
# bucket, and the small text files `dvc.yaml` and `dvc.lock` go into git, so that a
# commit names the data that it was made with.
#
# > **Governance box.** A data set for tuning has a **card** (Gebru et al., 2021; a
# > page of the data sheet of unit 04): where each source comes from and under which
# > licence, who wrote and who checked the answers, what was dropped and why, by
# > count, and what it must not be used for. *Record* the hash of the rows beside
# > the hash of the weights. *Who signs*: whoever chose the sources. *What an
# > auditor asks*: which rows taught the model this sentence, and can you train
# > without them?
#
# ## On a real model
#
# SmolLM2-135M-Instruct has been through all this (`course model` prepares it once;
# unit 02 has more). Its template is another one. Look at what it makes of a
# message:

# %% tags=["real"]
from utils.zoo.real import has_real, how_to_get_real, load_real

if has_real():
    real, real_tokenizer = load_real()
    talk = [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "The capital of France is Paris."},
    ]
    ids, mask = real_tokenizer.chat(talk)
    pieces = [real_tokenizer.decode([i]) for i in ids]
    print(
        "".join(f"[{p}]" if m else p for p, m in zip(pieces, mask, strict=True))
    )
else:
    print(how_to_get_real())

# %% [markdown]
# A system text that nobody wrote: the template puts one in where the chat has none.
# A model that is tuned further with another template, or without that text, is
# asked in a form that it was not tuned on. And two tokens of the markup, a role and
# a line break, follow the marker before the answer begins; none of them counts. How
# much does the form matter to a model with real habits? Take the loss of that
# answer under four prompts. Which makes it largest?

# %%
my_worst = (
    None  # "own template", "no system text", "no marker" or "no template"
)

# %% tags=["real", "reveals"]
answer = [i for i, m in zip(ids, mask, strict=True) if m]
question = talk[0]["content"]
own = real_tokenizer.chat(talk[:1], add_prompt=True).token_ids
starts = [k for k, piece in enumerate(pieces) if piece == "<|im_start|>"]
ways = {
    "own template": own,
    "no system text": own[starts[1] :],
    "no marker": own[: starts[2]],
    "no template": real_tokenizer.encode(question),
}
losses = {}
for name, prompt in ways.items():
    row = torch.tensor([[*prompt, *answer]])
    counted = torch.tensor([[False] * len(prompt) + [True] * len(answer)])
    batch = shift_targets(row, counted)
    with torch.inference_mode():
        losses[name] = sft_loss(real(batch.token_ids), batch.targets).item()
compare(my_worst, max(losses, key=losses.get), "{}")
plots.bars(
    losses,
    title="The same true answer is likely in one form and unlikely in another",
    xlabel="loss of the answer, nats per token",
    text="{:.2f}",
)
plt.show()

# %% [markdown]
# *Figure 8. Four bars, the loss of one answer under four prompts. Without the
# marker that opens the answer, and without any template, it is several times that
# under the model's own.*
#
# The system text made this answer less likely, not more; it is one answer, so
# conclude nothing from it but this: each part of a template changes every
# probability that comes after.
#
# And with real text? **MedQuAD** holds 16,407 questions about diseases with answers
# from institutes of health. `course tune --model smollm2 --data medquad` filters
# them, keeps one topic in twenty aside, and tunes with the adapters of the next
# unit on about 200,000 tokens. That takes too long for a notebook, so it was run
# once and recorded. What became of the rows, and of the loss on answers about
# topics that were kept aside? (The rows that "fit" are those left to learn from, the
# ones "read" those that the run came to; "shortened" counts answers cut at the end of
# a sentence, to fit into the context.)

# %%
from utils.experiments.records import recorded, told

run = recorded("06_medquad")
print(told(run))
result = run["results"]["0"]
for what, n in result["rows"].items():
    print(f"{n:7,} {what}")
fall = 1 - result["after"] / result["before"]
print(f"loss {result['before']:.2f} before, {result['after']:.2f} after")
claims.add(
    "recorded: SmolLM2 on MedQuAD, loss of held-out answers falls by",
    measured=f"{fall:.0%}",
    bar="10%",
    holds=fall >= 0.1,
)

# %% [markdown]
# The loss fell by a third. Do the answers get better? Forty questions from the
# topics that were kept aside, answered before and after, and compared with the
# answers of the data set by **ROUGE-L**, a score of common words in common order
# (unit 09 takes it apart).

# %%
before, after = result["rouge_before"], result["rouge_after"]
order = sorted(range(len(before)), key=lambda k: before[k])
plots.lines(
    {
        name: (range(len(order)), [scores[k] for k in order])
        for name, scores in (("before", before), ("after", after))
    },
    title="Most answers come nearer to the reference, some move away",
    xlabel="answer, in the order of its score before",
    ylabel="ROUGE-L",
    points=True,
)
plt.show()
means = [sum(scores) / len(scores) for scores in (before, after)]
n_up = sum(a > b for a, b in zip(after, before, strict=True))
print(f"mean {means[0]:.2f} before, {means[1]:.2f} after; {n_up} of 40 rise")
claims.add(
    "recorded: ROUGE-L of forty answers rises, paired test",
    measured=f"p = {result['p']:.4f}",
    bar="p < .05",
    holds=means[1] > means[0] and result["p"] < 0.05,
)

# %% [markdown]
# *Figure 9. Forty answers by their score before, and their scores after: most
# points lie above the first line, ten below it, and four at exactly one.*
#
# The mean has nearly doubled, by more than chance explains. But four answers agree with
# the reference word for word, and no model of this size knows medicine word for
# word. Before you release it, read what it says. Four questions of our own, not
# from the data set, and the first 150 characters of each answer:

# %%
for question, was, now in result["own"]:
    print(f"{question}\n   before: {' '.join(was.split())[:150]}")
    print(f"   after:  {' '.join(now.split())[:150]}")

# %% [markdown]
# Asked for symptoms, the untuned model sets out to speak of them. The tuned one
# repeats the question and announces the list of another source. It has learned the
# form of its data, and part of that data are pages that say just this, over and over,
# before a table that did not survive the collection. Those pages are in the held-out
# topics as well, so a score against them rises. It still makes up a mayor for a city
# that does not exist, in the tone of a reference work now. And the poem, which repeated
# a line before, repeats a word now: what a tuning takes away is the matter of unit 08.
#
# Nothing here is a failure of the training: the loss fell, the test is sound. It is
# the data. Rows that differ in a name alone are no duplicates to our filter, and
# `conflicts="keep"` was right for sources that speak in their own words. What a
# filter for such pages would look for is a good exercise.
#
# ## Claims

# %%
before = in_form(answers_of(base, asked))
claims.add(
    "answers in chat form before tuning",
    measured=f"{before:.0%}",
    bar="under 5%",
    holds=before < 0.05,
)
after = in_form(answers_of(chat_model, asked))
claims.add(
    "answers in chat form after 125 batches",
    measured="over 95%" if after >= 0.95 else f"{after:.0%}",
    bar="95%",
    holds=after >= 0.95,
)
claims.table()

# %% [markdown]
# ## Check yourself
#
# Put your letter, in quotes, in place of `None` and run the cell again.

# %%
from utils.labs.quiz import ask

my_answer_1 = None  # "a", "b" or "c"
ask("06_instruction_tuning", "end-token", my_answer_1)

# %%
my_answer_2 = None
ask("06_instruction_tuning", "forged", my_answer_2)

# %%
my_answer_3 = None
ask("06_instruction_tuning", "packing", my_answer_3)

# %%
my_answer_4 = None
ask("06_instruction_tuning", "votes", my_answer_4)

# %% [markdown]
# ## What to remember
#
# - Tuning on chats teaches a form within seconds. What the model knows comes from
#   before.
# - The template is part of the model: compare the ids of your service with those of
#   training.
# - Responses count, their end token too, and nothing else. A text can't forge a
#   marker where text and markers are encoded apart.
# - A loss is a mean over response tokens of the whole batch; a batch without any is
#   refused.
# - Packed examples are kept apart by a mask. Positions that restart don't do it.
# - Tuning teaches mistakes as readily as truth. A vote over sources finds them
#   while most sources are right; drop copies before you count.
#
# ## Sources
#
# - Ouyang et al., *Training language models to follow instructions with human
#   feedback*, NeurIPS 2022, section 3.5. Wei et al., *Finetuned Language Models Are
#   Zero-Shot Learners*, ICLR 2022, section 2. Touvron et al., *Llama 2*, 2023,
#   sections 3.1 (loss on answers alone) and 3.3 (system texts).
# - Zhou et al., *LIMA: Less Is More for Alignment*, NeurIPS 2023, section 2. Shi et
#   al., *Instruction Tuning With Loss Over Instructions*, NeurIPS 2024, section 4.
# - Krell et al., *Efficient Sequence Packing without Cross-contamination*, 2021,
#   sections 3.1 and 3.2.
# - Gebru et al., *Datasheets for Datasets*, CACM 2021.
#
# **Next**: `work/06_instruction_tuning.ipynb`. You write the mask, the template,
# the loss, the packing and the filter, and tune the base model with your own parts.
# Then unit 07: the same with a small part of the weights.
