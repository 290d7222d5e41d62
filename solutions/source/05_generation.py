# %% [markdown]
# # Lab 05: Generation
#
# **130 minutes** · after the lecture `notebooks/05_generation.ipynb`
#
# You write what turns a model's logits into text: the choice of a token, the
# memory that makes each token cheap, a batch of unequal prompts, a second model
# that guesses ahead, and weights of one byte. Each exercise has a check that
# answers at once; after each, an experiment runs *your* function on the base
# model. An exercise that you skip only switches off its own experiments.
#
# Letters for shapes: B batch, T tokens, V vocabulary, S room in a cache, K width
# of a head, N outputs and M inputs of a matrix.

# %%
import math
import re
from copy import deepcopy

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from utils.evaluate.text_loss import stream_loss
from utils.evaluate.world_qa import judge_answers, plain_prompt, share
from utils.labs.api import check, done, hint, start_lab
from utils.model.cache import KVCache
from utils.model.decoder import Decoder
from utils.model.generate import generate
from utils.model.sampling import (
    check_logits,
    check_settings,
    over_temperature,
)
from utils.model.speculative import Model, Speculation, probabilities
from utils.report import plots
from utils.report.guesses import compare
from utils.report.tables import text_table
from utils.runtime import generator, start
from utils.text.corpora import world_corpus
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.load import load_base

start_lab("05_generation")
plots.use_style()
tier = start(seed=0)
base, tokenizer = load_base()
end_id = tokenizer.end_id
corpus = world_corpus(4000, seed=3)

# %% [markdown]
# ## 1. The next token
#
# **Goal**: draw one token for each row of logits, at a temperature, from what up
# to three filters leave.
#
# **Why it matters**: a model gives shares, not words. The same model writes dull
# or lively, sound or garbled text, by these four numbers alone, and every
# service of language models asks its users for them.
#
# Given: `check_settings(temperature, top_k, top_p, min_p)` refuses settings out of
# range, `check_logits(logits)` rows from which no token can be drawn, and
# `over_temperature(logits, temperature)` divides so that nothing overflows near zero.

# %%
# exercise: utils.model.sampling.sample_next_token points=8 minutes=30 difficulty=2

# %% [markdown]
# **Experiment.** The base model writes 64 texts from nothing, with your sampler.
# It is told to be bold: temperature 1.5. What share of its words will be words
# that its training text does not have, and which filter helps most?

# %%
my_share = None  # of words, at temperature 1.5: your number

# %% tags=["needs:sample_next_token"]
SMALL_WORD = re.compile(r"\b[a-z]+\b")  # without names, which may be new
known = {word for text in corpus for word in SMALL_WORD.findall(text)}


def texts_at(**settings):
    """Return 64 texts of up to 32 tokens, written with your sampler."""
    chance, cache = generator(0), KVCache(base.config, 64, 33)
    ids = torch.full((64, 1), end_id)  # a new document
    with torch.inference_mode():
        for _ in range(32):
            logits = base(ids[:, -1:], cache)[:, -1]  # (B, V)
            token = sample_next_token(logits, generator=chance, **settings)
            ids = torch.cat([ids, token[:, None]], dim=1)
    rows = [row[1:].tolist() + [end_id] for row in ids]
    return [tokenizer.decode(row[: row.index(end_id)]) for row in rows]


rows, new_words = [], {}
for settings in (
    {"temperature": 0.0},
    {"temperature": 1.0},
    {"temperature": 1.5},
    {"temperature": 1.5, "top_k": 20},
    {"temperature": 1.5, "top_p": 0.9},
    {"temperature": 1.5, "min_p": 0.1},
):
    texts = texts_at(**settings)
    words = [w for text in texts for w in SMALL_WORD.findall(text)]
    name = ", ".join(f"{key} {value}" for key, value in settings.items())
    new_words[name] = sum(word not in known for word in words) / len(words)
    first = " ".join(texts[0].split())[:34]
    rows.append((name, len(set(texts)), f"{new_words[name]:.2f}", first))
compare(my_share, new_words["temperature 1.5"], "{:.2f}")
print(text_table(("settings", "different", "new words", "first text"), rows))

# %% [markdown] tags=["result"]
# At temperature 0 all texts are one. At 1.5 they differ, and about one word in fourteen
# exists nowhere: a tail of a thousand unlikely tokens is hit now and then, and one hit
# spoils a word. Filters cut that tail, min-p most of it at these settings, and the
# texts still differ. They have their own ways to find where the tail begins: a number
# of tokens, a sum of shares, or a share of the best.

# %% [markdown]
# ## 2. The cache
#
# **Goal**: write new keys and values behind those that are held, and return
# what is held now, without copying the past.
#
# **Why it matters**: with it, a new token costs one token of work. Without it,
# each new token costs the whole text again.

# %%
# exercise: utils.model.cache.update_cache points=4 minutes=11 difficulty=1

# %% [markdown]
# **Experiment.** The base model continues a prompt of 20 tokens by 100. How many
# times as many tokens go through the model without a cache?

# %%
my_ratio = None  # times: your number


# %% tags=["needs:update_cache"]
class MyCache(KVCache):
    """The course's cache with your function inside."""

    def update(self, layer, k, v):
        """Write into the buffers of one layer."""
        buffers = self.keys[layer], self.values[layer]
        return update_cache(*buffers, k, v, self.length)


prompt = [end_id, *tokenizer.encode("\n".join(corpus[:4]))][:20]
ids, n_with, n_without, gaps = torch.tensor([prompt]), 0, 0, []
cache = MyCache(base.config, 1, 120)
with torch.inference_mode():
    for _ in range(100):
        new = ids[:, cache.length :]
        cached, plain = base(new, cache)[:, -1], base(ids)[:, -1]  # (1, V)
        n_with, n_without = n_with + new.shape[1], n_without + ids.shape[1]
        gaps.append((cached - plain).abs().max().item())
        ids = torch.cat([ids, cached.argmax(-1, keepdim=True)], dim=1)
compare(my_ratio, n_without / n_with, "{:.1f} times")
print(f"tokens read: {n_with} with the cache, {n_without} without")
print(f"the largest difference of logits is below 1e-4: {max(gaps) < 1e-4}")
print(f"the cache takes {cache.n_bytes:,} bytes")

# %% [markdown]
# ## 3. A batch
#
# **Goal**: continue prompts of unequal lengths together, each as if it were
# alone.
#
# **Why it matters**: a step for one row reads all weights of the model from
# memory, and a step for 64 rows reads them once as well. Batches are what makes
# answers cheap. A mistake in padding does not crash: answers just get worse.
#
# `generate` is given: it continues rows of one length, and ignores what its
# `attention_mask` hides; `help(generate)` shows its arguments. (When your lab is graded,
# the course's cache is not there, since it is an answer to exercise 2; `generate` is.)

# %%
# exercise: utils.model.generate.generate_batch points=6 minutes=25 difficulty=2

# %% [markdown]
# **Experiment.** Sixty questions about the town in one batch, together with one
# long text. Many tokenizers have no padding token and pad with the end token,
# so we do here. How many answers stay right where padding is left visible, and
# how many where it stands on the right?

# %%
my_visible = None  # share of right answers with visible padding
my_right = None  # and with padding on the right: your numbers

# %% tags=["needs:generate_batch"]
world = build_world()
asked = questions(world, "trained", 60, seed=1)
long_text = [end_id, *tokenizer.encode("\n".join(corpus[:12]))][:88]
prompts = [long_text] + [plain_prompt(tokenizer, q) for q in asked]


def accuracy(responses):
    """Return the share of right answers to the questions."""
    rows = [row + [end_id] for row in responses[1:]]
    answers = [tokenizer.decode(r[: r.index(end_id)]).strip() for r in rows]
    return share(judge_answers(world, asked, answers), "correct")


T = len(long_text)
on_left = torch.tensor([[end_id] * (T - len(p)) + p for p in prompts])
on_right = torch.tensor([p + [end_id] * (T - len(p)) for p in prompts])
ids = {"pad_id": end_id, "end_id": end_id}
mine = accuracy(generate_batch(base, prompts, 32, **ids))
visible = accuracy(generate(base, on_left, 32)[:, T:].tolist())
right = accuracy(generate(base, on_right, 32)[:, T:].tolist())
print(f"your function:        {mine:.2f}")
compare(my_visible, visible, "{:.2f}", of="padding visible")
compare(my_right, right, "{:.2f}", of="padding on the right")

# %% [markdown] tags=["result"]
# Nothing crashed, and no warning came: a team that only looks at whether text
# comes out would not notice. A comparison of batched with single answers does. The
# lecture lost only some answers in a hundred this way: there all prompts were about
# as long, here one long text puts dozens of padding tokens before each question.

# %% [markdown]
# ## 4. Guessing ahead
#
# **Goal**: let a cheap model propose tokens and the large one check them in one
# pass, so that the text follows the large model's shares exactly.
#
# **Why it matters**: a pass over five tokens takes a large model hardly longer
# than a pass over one, since reading the weights takes the time. Each accepted
# proposal is a pass saved.
#
# Each pass gives one token of the target's own besides the proposals that are kept; so
# a round proposes at most one token fewer than are still to be written.
#
# `probabilities(model, token_ids, n_last, temperature)` is given: the model's shares
# after each of the last `n_last` tokens of a row, (n_last, V), at temperature 0 all on
# one token. `Speculation` holds the three results.

# %%
# exercise: utils.model.speculative.speculative_decode points=8 minutes=35 difficulty=3

# %% [markdown]
# **Experiment.** The draft is the simplest of all language models: a table that
# says which token followed which how often. It knows one token of context. How
# many tokens does the base model write per pass with it, at best?

# %%
my_tokens = None  # tokens per pass of the base model: your number

# %% tags=["needs:speculative_decode"]
V = base.config.vocab_size
rows = [[end_id, *row] for row in tokenizer.encode_batch(corpus)]
stream = torch.tensor([token for row in rows for token in row])
pairs = torch.bincount(stream[:-1] * V + stream[1:], minlength=V * V)
table = (pairs.view(V, V) + 0.02).log()  # (V, V) logits after each token


def tokens_per_pass(n_draft, temperature):
    """Return how much a pass of the base model gives, over eight texts."""
    n_tokens = n_passes = 0
    for seed in range(8):
        told = speculative_decode(
            base,
            lambda ids: table[ids],
            torch.tensor([end_id, *tokenizer.encode(corpus[seed])])[:8],
            40,
            n_draft=n_draft,
            temperature=temperature,
            generator=generator(seed),
        )
        n_tokens += len(told.token_ids) - 8
        n_passes += told.n_target_passes
    return n_tokens / n_passes


with torch.inference_mode():
    sizes = [1, 2, 4, 8]
    greedy = [tokens_per_pass(n, 0.0) for n in sizes]
    drawn = [tokens_per_pass(n, 1.0) for n in sizes]
compare(my_tokens, max(greedy + drawn), "{:.1f} tokens a pass")
plots.lines(
    {"temperature 0": (sizes, greedy), "temperature 1": (sizes, drawn)},
    title="Even a table of pairs saves up to half of the passes",
    xlabel="tokens proposed in a round",
    ylabel="tokens per pass of the base model",
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 1. Two lines rise from about one and a half tokens per pass to nearly
# two at temperature 0 and 1.7 at temperature 1, and flatten: later proposals are
# reached more and more seldom.*

# %% tags=["needs:speculative_decode"]
row = torch.tensor([end_id, *tokenizer.encode("Question: ")])
with torch.inference_mode():
    told = speculative_decode(
        base, lambda ids: table[ids], row, 40, temperature=0.0
    )
alone = generate(base, row[None], 40)[0]
print(f"the same text as without a draft: {told.token_ids.equal(alone)}")
print(f"passes: {told.n_target_passes} in place of 40")

# %% [markdown]
# ## 5. One byte per weight
#
# **Goal**: a matrix as whole numbers from -127 to 127 and one scale for each row.
#
# **Why it matters**: writing text reads every weight once per token, so half the
# bytes means up to twice the speed, and a model that did not fit may fit.

# %%
# exercise: utils.model.int8.quantize_int8 points=4 minutes=10 difficulty=1

# %% [markdown]
# **Experiment.** All matrices of the base model's blocks through your function.
# By how many percent does its perplexity rise?

# %%
my_rise = None  # percent: your number


# %% tags=["needs:quantize_int8"]
def perplexity_with(rounding):
    """Return the base model's perplexity, its matrices passed through it."""
    model = deepcopy(base)
    for weight in model.blocks.parameters():
        if weight.dim() == 2:
            weight.data = rounding(weight.data)
    rows = tokenizer.encode_batch(world_corpus(400, seed=4))
    stream = torch.tensor([i for row in rows for i in [end_id, *row]])
    return math.exp(stream_loss(model, stream, base.config.context_length))


def through_int8(weight):
    """Return what your codes and scales stand for."""
    codes, scale = quantize_int8(weight)
    return codes.float() * scale


def steps_of(bits, by_row):
    """Return a rounding to fewer bits, by rows or with one scale for all."""
    most = 2 ** (bits - 1) - 1

    def rounding(weight):
        size = (
            weight.abs().amax(1, keepdim=True) if by_row else weight.abs().max()
        )
        return (weight / (size / most)).round() * (size / most)

    return rounding


whole = perplexity_with(lambda weight: weight)
rise = 100 * (perplexity_with(through_int8) / whole - 1)
matrices = [w for w in base.blocks.parameters() if w.dim() == 2]
n_bytes = sum(w.numel() + 4 * len(w) for w in matrices)  # codes and scales
ratio = n_bytes / sum(4 * w.numel() for w in matrices)
compare(my_rise, abs(rise), "{:.1f} %")
print(f"bytes of these matrices: {ratio:.2f} of before")

# %% [markdown]
# Was a scale for each row worth the trouble? At eight bits this model would not
# tell. With fewer bits, each step is wider.

# %% tags=["needs:quantize_int8"]
bits = [4, 5, 6, 8]
rises = {
    name: [
        100 * (perplexity_with(steps_of(b, by_row)) / whole - 1) for b in bits
    ]
    for name, by_row in (("one per matrix", False), ("one per row", True))
}
plots.lines(
    {name: (bits, values) for name, values in rises.items()},
    title="Fewer bits cost more, and less with a scale for each row",
    xlabel="bits per weight",
    ylabel="rise of perplexity, percent",
    points=True,
)
plt.show()

# %% [markdown] tags=["result"]
# *Figure 2. Two falling lines that meet near zero at six bits. At four bits the
# line of one scale per matrix stands at several times the height of the other.*

# %% [markdown]
# ## 6. Written answer (3 points)
#
# A clinic's assistant answers staff from leaflets, on one GPU, with a model of
# two bytes per weight. Three changes are proposed for the next version.
#
# 1. "Temperature 1.3 with top-p 0.95, so that answers sound less stiff."
# 2. "Speculative decoding with a small draft model. It was trained on web chats
#    and knows nothing of drugs, so answers get faster and somewhat worse."
# 3. "int8 weights. Perplexity on our leaflets rises by 0.2 %, so we can switch
#    without further tests."
#
# In four to seven sentences: say for each whether you agree, why, and what you
# would measure before it goes to staff.
#
# <!-- BEGIN SOLUTION -->
# *Model answer.* (1) I disagree. A dose is a fact, and above temperature 1 less
# likely tokens, among them wrong numbers, are drawn more often; top-p at 0.95
# still leaves one draw in twenty to the lower end of what is kept wherever the
# model is unsure. I would answer at temperature 0 or close to it, and compare
# the share of right answers at both settings, many draws for each question. (2)
# The reason is wrong: accepted and redrawn tokens together follow the large
# model's shares exactly, whatever the draft, so quality stays. A draft that
# knows nothing of drugs is refused more often, and each refused proposal is time
# lost; I would measure the share that is accepted and seconds per answer on our
# own questions. (3) The change is likely to be good, but perplexity is a mean
# over all tokens, and the few that matter, names and numbers, may be the ones
# that change. I would compare answers before and after on a fixed set of
# questions, count the ones that change, and look at doses among them.
#
# *Rubric.* 1 point: temperature draws unlikely tokens more often, and facts
# want the likely one; measured by right answers, not by taste. 1 point: the
# draft changes speed alone, never the shares; measured by accepted tokens or
# seconds. 1 point: a mean such as perplexity can hide changes in rare, important
# tokens; measured on answers themselves.
# <!-- END SOLUTION -->
