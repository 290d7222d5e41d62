# %% [markdown]
# # 05 Generation
#
# **75 minutes** · before this: unit 04 · after this: `work/05_generation.ipynb`,
# a lab of 90 minutes · the machine needs about a minute
#
# A trained model gives a score to every possible next token, and that is all it
# does. Text comes from choosing one, appending it, and asking again. How you
# choose decides whether the model raves, repeats itself, or tells the truth. How
# you ask again decides what it costs, and most of the money that language models
# cost is spent here.

# %%
import matplotlib.pyplot as plt
import torch

from utils.evaluate.world_qa import plain_prompt
from utils.model.generate import generate, generate_batch
from utils.model.sampling import sample_next_token
from utils.report import plots
from utils.report.claims import Claims
from utils.report.show import show
from utils.report.widgets import draw_sampling, sampling_explorer
from utils.runtime import generator, start
from utils.world.facts import build_world
from utils.world.judge import judge
from utils.world.questions import questions
from utils.zoo.load import load_base

plots.use_style()
tier = start(seed=0)
claims = Claims()
model, tokenizer = load_base()

# %% [markdown]
# ## The same work, over and over
#
# The model reads a prompt of 16 tokens and then writes 256. To get each new
# token it has to read everything before it. Suppose that it starts from the
# first token each time, as the formula says. How many tokens go through the
# model in all, for each token of the text? Guess.

# %%
my_guess = 5  # times that a token is read, on average; change it to yours

# %%
reading_all = sum(range(16, 16 + 256))
print(f"{reading_all:,} tokens are read to write 256")
print(f"you guessed {my_guess}, it is {reading_all / (16 + 255):.0f}")

# %% [markdown]
# All but one part in 136 of that work was done before. The second half of this
# unit gets rid of it. First the choice.
#
# ## Greedy
#
# The plainest choice is the likeliest token each time. By hand it is a loop:


# %%
def greedy_by_hand(model, token_ids, n_new):
    """Return a row with n_new tokens appended, the likeliest each time."""
    with torch.inference_mode():
        for _ in range(n_new):
            logits = model(token_ids)[:, -1]  # (B, V), after the last token
            best = logits.argmax(dim=-1, keepdim=True)  # (B, 1)
            token_ids = torch.cat([token_ids, best], dim=1)
    return token_ids


nothing = torch.tensor([[tokenizer.end_id]])  # a document is about to begin
by_hand = greedy_by_hand(model, nothing, 90)
assert torch.equal(by_hand, generate(model, nothing, 90))
print(tokenizer.decode(by_hand[0].tolist()).replace("<|end|>", "\n"))

# %% [markdown]
# Asked for anything it likes, the model finds a question that it likes, and then
# the same question again. Each token is the likeliest; the text is not like any
# that it read. A page in which every word is the most probable one is a very
# improbable page. And once a line stands there twice, a third time is what the
# pattern asks for.
#
# For a question with one right answer greedy is fine. For anything else one has to
# **sample**: draw the next token at random, by its probability.
#
# ## Temperature
#
# The softmax turns logits $z$ into probabilities. Dividing the logits by a
# **temperature** $T$ first changes how sure the model acts:
# $p_i \propto e^{z_i / T}$. Below one, the gaps between the logits grow and the
# likely gets likelier. Above one they shrink. At zero only the best is left,
# which is greedy.

# %%
ids = torch.tensor([[tokenizer.end_id, *tokenizer.encode("Trestex")]])
with torch.inference_mode():
    next_logits = model(ids)[0, -1]  # (V,)
order = next_logits.argsort(descending=True)[:8]
names = [tokenizer.decode([int(i)]) for i in order]
plots.grouped_bars(
    {
        name: {
            f"T = {T}": float((next_logits / T).softmax(-1)[i])
            for T in (0.5, 1.0, 2.0)
        }
        for name, i in zip(names, order, strict=True)
    },
    title="The temperature decides how much of a choice is left",
    ylabel="probability after 'Trestex'",
    text="",
)
plt.show()

# %% [markdown]
# *Figure 1. Three bars for each of the eight likeliest tokens. At a temperature
# of a half the first stands far above the others, at two they are nearly level.*
#
# So a knob between dull and mad, and where should it stand? Here the world helps,
# since we can count. Two hundred questions, each answered once at each
# temperature: how many answers are true? And two hundred documents from nothing:
# how many different ones?

# %%
world = build_world(0)
asked = questions(world, "trained", 200, seed=9)
prompts = [plain_prompt(tokenizer, question) for question in asked]
stops = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}


def measure(**settings):
    """Return the share of true answers, and of documents that are different."""
    settings = stops | settings | {"generator": generator(0)}
    answers = generate_batch(model, prompts, 40, **settings)
    true = sum(
        judge(world, question, tokenizer.decode(ids)).correct
        for question, ids in zip(asked, answers, strict=True)
    )
    free = generate_batch(model, nothing.tolist() * 200, 60, **settings)
    return true / 200, len({tuple(ids) for ids in free}) / 200


# %%
temperatures = [0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0]
measured = [measure(temperature=T) for T in temperatures]
true, different = zip(*measured, strict=True)
plots.lines(
    {
        "different documents": (temperatures, different),
        "true answers": (temperatures, true),
    },
    title="Variety comes early, nonsense late; there is room between",
    xlabel="temperature",
    ylabel="share",
    points=True,
)
plt.show()

# %% [markdown]
# *Figure 2. Two lines over the temperature. The share of different documents leaps
# from almost none at zero to nearly all at a half. The share of true answers stays
# near one up to a temperature of one and then falls to nothing at three.*
#
# Between a half and one this model is both various and true. Where that window
# lies, and whether there is one, depends on the model and the question. It has to
# be measured, and by whoever sets the knob.
#
# ## Cutting off the tail
#
# What goes wrong at two? Not the likely tokens. There are a thousand others, each
# with next to no probability, and all together with a lot. A text of forty tokens
# draws forty times, and one draw from the tail is enough. So cut the tail off.
#
# - **top-k** keeps the k likeliest tokens, wherever the model is sure or unsure.
# - **top-p** keeps the fewest tokens that together reach the probability p, so few
#   where the model is sure and many where it is not.
# - **min-p** keeps those at least p times as likely as the likeliest. It looks
#   at the top alone, so a long tail cannot vote itself in.

# %%
show(sample_next_token)

# %% [markdown]
# Let them try a temperature of 2.5, at which nothing that the model says is true
# any more. Before you run it: which of the three saves most?

# %%
my_choice = "top-p"  # top-k, top-p or min-p; change it to yours

# %%
filters = {
    "none": {},
    "top-k, 5": {"top_k": 5},
    "top-p, 0.9": {"top_p": 0.9},
    "min-p, 0.1": {"min_p": 0.1},
}
hot = {
    name: {
        f"T = {T}": measure(temperature=T, **kept)[0] for T in (1.0, 1.5, 2.5)
    }
    for name, kept in filters.items()
}
plots.grouped_bars(
    hot,
    title="Heat first, then a cut: only the cut by the top survives it",
    ylabel="share of true answers",
)
plt.show()
saved = {name: shares["T = 2.5"] for name, shares in hot.items()}
print(f"you chose {my_choice}, best is {max(saved, key=saved.get)}")
assert saved["min-p, 0.1"] > saved["top-k, 5"] > saved["top-p, 0.9"]

# %% [markdown]
# *Figure 3. Share of true answers in four groups, three temperatures each. Without
# a filter it falls to nothing, with top-p as well. Top-k keeps less than half of
# them at the highest temperature, min-p most.*
#
# At that heat nine tenths of the probability lie in hundreds of tokens, so top-p
# keeps hundreds. It isn't that top-p is bad; at a temperature of one it does
# what it should. Filters and temperature act one after the other, and the order
# matters: here temperature comes first, as in most libraries.
#
# Try it on one distribution. Move the temperature up and watch the right half
# of the picture fill, then pull min-p up. (Where widgets are not shown, look at
# Figure 4, which is one setting of it.)

# %% tags=["nbval-ignore-output"]
names = tokenizer.tokens(range(tokenizer.vocab_size))
sampling_explorer(next_logits, names)

# %%
settings = {"temperature": 2.0, "top_p": 1.0, "min_p": 0.1}
draw_sampling(next_logits, names, settings, seed=0, n_draws=2000)
plt.show()

# %% [markdown]
# *Figure 4. Two bars for each of sixteen tokens: the model's probability, and how
# often the token is drawn at a temperature of two with a min-p of 0.1. The first
# nine, all of them verbs, share the draws almost evenly, two more get a few, and
# the rest get none.*
#
# > **Governance box.** Temperature, filters and seed are part of what a product
# > says to people. *Record* them with each answer that may matter later, with the
# > hash of the weights and the versions. *Who signs*: whoever may change a setting
# > in production. *What an auditor asks*: can you produce the same answer again?
# > And was your evaluation run with the settings that your users get?
#
# ## The cache
#
# Now the cost. Why can the model not go on where it stopped? Because of
# attention: the new token looks at the keys and values of all earlier ones. But
# those do not change. A causal mask means that token 5 never learns of token 6,
# so whatever was computed for token 5 stays. Keep its keys and values in a
# **cache**, and for a new token only that one token goes through the model.

# %%
from utils.model.attention import scaled_dot_product_attention
from utils.model.cache import KVCache, update_cache

show(update_cache)

# %%
q, k, v = (torch.randn(1, 1, 6, 8, generator=generator(s)) for s in range(3))
whole = scaled_dot_product_attention(
    q, k, v, torch.ones(6, 6, dtype=torch.bool).tril()
)
keys, values = torch.zeros(1, 1, 6, 8), torch.zeros(1, 1, 6, 8)  # (B, H, S, K)
steps = []
for t in range(6):
    new = slice(t, t + 1)
    held_k, held_v = update_cache(keys, values, k[:, :, new], v[:, :, new], t)
    steps.append(scaled_dot_product_attention(q[:, :, new], held_k, held_v))
assert torch.allclose(torch.cat(steps, dim=2), whole, atol=1e-6)
print("one token at a time, without a mask: same as all at once with one")

# %% [markdown]
# The mask is gone: what a token may not see isn't there yet. In the decoder each
# layer has its own keys and values, and `KVCache` holds them all. Read a text in
# pieces of several sizes, and compare the logits with those of one long pass:

# %%
text = "Question: Write k4t9 again.\nAnswer: k4t9. Trestex lives in Quill."
row = torch.tensor([tokenizer.encode(text)])
cache = KVCache(model.config, batch_size=1, capacity=row.shape[1])
with torch.inference_mode():
    pieces = row.split([1, 5, 1, 1, row.shape[1] - 8], dim=1)
    in_pieces = torch.cat([model(piece, cache) for piece in pieces], dim=1)
    at_once = model(row)
gap = ((in_pieces - at_once).abs().max() / at_once.abs().max()).item()
claims.add(
    "logits with a cache equal those without, over the largest logit",
    measured="below 1e-5" if gap < 1e-5 else f"{gap:.0e}",
    bar="1e-5",
    holds=gap < 1e-5,
)

# %% [markdown]
# And the time? A fresh model of the base's shape, with a longer context; what it
# says does not matter here. A guess first: by what factor is it faster for 256
# tokens? (136 is what is saved in tokens. A pass over one token is not that much
# cheaper than a pass over 200, so expect less.)

# %%
my_factor = 50  # change it to yours

# %% tags=["nbval-ignore-output"]
import time
from dataclasses import replace

from utils.model.decoder import Decoder

torch.manual_seed(0)
long = Decoder(replace(model.config, context_length=320)).eval()
prompt = torch.randint(1024, (1, 16), generator=generator(0))


def seconds(write, n_new):
    """Return the seconds of the quicker of two runs."""
    found = []
    for _ in range(2):
        begin = time.perf_counter()
        write(long, prompt, n_new)
        found.append(time.perf_counter() - begin)
    return min(found)


lengths = [32, 64, 128, 256]
without = [seconds(greedy_by_hand, n) for n in lengths]
with_cache = [seconds(generate, n) for n in lengths]
factor = without[-1] / with_cache[-1]
print(f"factor at 256 tokens: you guessed {my_factor}, it is {factor:.0f}")

# %%
plots.lines(
    {
        "from the start each time": (lengths, without),
        "with a cache": (lengths, with_cache),
    },
    title="With a cache the time grows with the length, not with its square",
    xlabel="new tokens",
    ylabel="seconds",
    points=True,
)
plt.show()
claims.add(
    "256 tokens with a cache against without",
    measured="over 5 times as fast" if factor >= 5 else f"{factor:.1f} times",
    bar="5 times",
    holds=factor >= 5,
)

# %% [markdown]
# *Figure 5. Seconds over the number of new tokens. Without a cache the line bends
# upwards; with one it stays flat along the bottom.*
#
# Time is bought with memory. Each token needs a key and a value of width `d_head`
# in every layer and for each key-value head: the formula of unit 03, and now you
# can weigh it. How much memory does one chat of 128,000 tokens hold in a model of
# 70 billion weights?

# %%
my_gigabytes = 1.0  # change it to yours

# %%
from utils.model.accounting import LLAMA_70B, cache_bytes

ours = KVCache(model.config, batch_size=1, capacity=128)
assert ours.n_bytes == cache_bytes(model.config, 128, bytes_each=4)
chat = cache_bytes(LLAMA_70B, 128_000) / 1e9
alone = cache_bytes(replace(LLAMA_70B, n_kv_heads=64), 128_000) / 1e9
print(f"you guessed {my_gigabytes} GB, it is {chat:.0f} GB")
print(f"with 64 key-value heads instead of 8: {alone:.0f} GB")

# %% [markdown]
# Half of a large accelerator, for one user. That is why keys and values are
# shared among heads (unit 02), and why services that sell long contexts think
# about little else.
#
# ## Many at once
#
# A pass over one token reads every weight of the model once and does little
# with it. Reading the same weights for 64 users at once costs hardly more, so
# prompts are put together into a **batch**. They have different lengths, and all
# rows must end at the same place, since that is where the next token comes. So
# the padding stands on the **left**. Two things must be told to the model: the
# padding is not to be looked at, and each row counts its positions from its own
# first token.

# %%
show(generate_batch)

# %%
together = generate_batch(model, prompts, 40, **stops)
single = [generate_batch(model, [p], 40, **stops)[0] for p in prompts[:50]]
same = sum(a == b for a, b in zip(together, single, strict=False))
claims.add(
    "greedy answers in a batch of 200 equal those alone",
    measured=f"{same} of 50",
    bar="all",
    holds=same == 50,
)

# %% [markdown]
# ## Break it: padding on the wrong side
#
# The same batch, padded on the left and on the right, with a mask and without one.
# Which of the four will answer as well as each prompt alone?


# %%
def answer(pad_left, with_mask):
    """Return the share of true answers for a way of padding."""
    T = max(map(len, prompts))
    gaps = [T - len(prompt) for prompt in prompts]
    rows, keep = [], []
    for prompt, gap in zip(prompts, gaps, strict=True):
        padding, seen = [tokenizer.pad_id] * gap, [True] * len(prompt)
        rows.append(padding + prompt if pad_left else prompt + padding)
        keep.append([False] * gap + seen if pad_left else seen + [False] * gap)
    out = generate(
        model,
        torch.tensor(rows),
        40,
        end_id=tokenizer.end_id,
        attention_mask=torch.tensor(keep) if with_mask else None,
    )
    texts = [
        tokenizer.decode(row[T:].tolist(), skip_special=True) for row in out
    ]
    right = [
        judge(world, question, text).correct
        for question, text in zip(asked, texts, strict=True)
    ]
    return sum(right) / len(right)


# %%
padded = {
    f"{side}, {'mask' if with_mask else 'no mask'}": answer(left, with_mask)
    for side, left in (("left", True), ("right", False))
    for with_mask in (True, False)
}
plots.bars(
    {name: 100 * share for name, share in padded.items()},
    title="On the right, padding stands between the question and its answer",
    xlabel="true answers, percent",
    text="{:.0f}",
)
plt.show()
assert padded["left, mask"] > 0.95 > 0.5 > padded["right, mask"]
assert padded["right, mask"] > padded["right, no mask"]

# %% [markdown]
# *Figure 6. Four bars. On the left nearly all answers are true, on the right about
# a third with a mask and hardly any without.*
#
# The next token is read off the last place of a row. On the right, that is a
# padding token, and the model is asked what follows *it*. No exception, fluent
# text, wrong answers, and rows of the longest prompts are right, which makes the
# mistake hard to find.
#
# The second bar is the treacherous one. Without a mask the model looks at padding,
# and here it gets away with it: this padding token was never trained on, and
# rotary positions care for distances alone. Pad with a token that means something
# to the model, the end token say, as many checkpoints without a padding token
# do, and ask in words that it has not met:

# %%
hard = questions(world, "held_out_phrasing", 400, seed=9)
hard_prompts = [plain_prompt(tokenizer, question) for question in hard]
longest = max(map(len, hard_prompts))
rows = torch.tensor(
    [[tokenizer.end_id] * (longest - len(p)) + p for p in hard_prompts]
)
kept = torch.tensor(
    [[False] * (longest - len(p)) + [True] * len(p) for p in hard_prompts]
)
right = {}
for name, mask in (("with a mask", kept), ("without", None)):
    out = generate(
        model, rows, 40, end_id=tokenizer.end_id, attention_mask=mask
    )
    texts = [
        tokenizer.decode(r.tolist(), skip_special=True)
        for r in out[:, longest:]
    ]
    right[name] = sum(
        judge(world, question, text).correct
        for question, text in zip(hard, texts, strict=True)
    )
    print(f"{name}: {right[name] / 4:.0f} % true")
assert right["with a mask"] > right["without"]

# %% [markdown]
# A few answers in a hundred, lost without a word.
#
# ## Guess, then check: speculative decoding
#
# One token at a time is slow even with a cache, because each waits for the one
# before. But *checking* several tokens takes one pass: the model gives its
# probabilities at every place of a row at once. So let something small and quick,
# the **draft**, propose four tokens, and let the large model, the **target**,
# read them all in one pass.
#
# Which of them may stay? Greedy is easy: those up to the first at which the target
# would have said something else. With sampling it must be a matter of chance, and
# this is the rule. A token $x$ that the draft drew with probability $q(x)$ stays
# with probability $\min(1, p(x)/q(x))$, where $p$ is the target's. If it
# goes, draw anew from what the draft gave too little of,
# $\max(0, p - q)$, scaled to a sum of one.
#
# Why is that exact? A token is written in two ways. Proposed and kept:
# $q \cdot \min(1, p/q) = \min(p, q)$. Or drawn anew: the share that was not
# kept is $1 - \sum \min(p, q)$, which is just what $\max(0, p - q)$ sums to,
# so this adds $\max(0, p - q)$. Together $p$, for every token, whatever the draft
# is.

# %%
from utils.model.speculative import CachedReader, speculative_decode

show(speculative_decode)

# %% [markdown]
# A claim about probabilities needs counting. Take a vocabulary of five, a target
# and a draft that disagree, and write two tokens, 10,000 times. The **chi-square**
# statistic adds up the squared differences of counted and expected, each over the
# expected; if the rule is right, it exceeds its p-value's threshold as rarely as
# chance does.

# %%
tables = [torch.randn(5, 5, generator=generator(s)) for s in (0, 1)]


def as_model(table):
    """Return a model in which each token decides the next."""
    return lambda token_ids: table[token_ids]


def p_value(draft, target, n_draws=10_000):
    """Return how often chance alone gives counts at least this far off."""
    counts, g = torch.zeros(5, 5, dtype=torch.float64), generator(1)
    for _ in range(n_draws):
        start = torch.tensor([0])
        written = speculative_decode(
            as_model(target), as_model(draft), start, 2, generator=g
        ).token_ids
        counts[written[1], written[2]] += 1
    p = tables[0].double().softmax(-1)
    expected = n_draws * p[0].unsqueeze(-1) * p  # (5, 5)
    statistic = ((counts - expected) ** 2 / expected).sum()
    return torch.special.gammaincc(torch.tensor(24 / 2.0), statistic / 2).item()


# %%
by_rule = p_value(draft=tables[1], target=tables[0])
by_draft = p_value(draft=tables[1], target=tables[1])  # the draft's own text
print(f"the rule: p over 0.001: {by_rule > 0.001}")
print(f"the draft alone: p over 0.001: {by_draft > 0.001}")
claims.add(
    "speculative text follows the target (chi-square, 10,000 draws)",
    measured="p > 0.001" if by_rule > 0.001 else f"p = {by_rule:.1e}",
    bar="p > 0.001, the draft's own refused",
    holds=by_rule > 0.001 > by_draft,
)

# %% [markdown]
# Now for real. The draft needn't be a network. Count, in documents of the world,
# which token follows which two: a table of some ten thousand rows, made in a
# second, that knows nothing of meaning. How many tokens does each pass of the base
# model then yield, of five at most?

# %%
my_yield = 1.2  # tokens a pass; change it to yours

# %%
from collections import Counter, defaultdict

from utils.text.corpora import world_corpus
from utils.tokens.batches import pack_documents

documents = tokenizer.encode_batch(world_corpus(20_000, seed=5))
stream = pack_documents(documents, tokenizer.end_id).tolist()
follows = defaultdict(Counter)
for first, second, third in zip(stream, stream[1:], stream[2:], strict=False):
    follows[first, second][third] += 1
print(f"{len(follows):,} pairs of tokens")


def table_draft(token_ids):
    """Return logits after the last two tokens of a row, from counts."""
    shares = torch.full((tokenizer.vocab_size,), 1e-4)  # anything may come
    for token, n in follows[tuple(token_ids[0, -2:].tolist())].items():
        shares[token] += n
    return shares.log()[None, None]  # (1, 1, V)


# %%
def spend(draft, temperature, n_texts=12):
    """Return tokens written for each pass of the base model."""
    reader, g, passes = CachedReader(model), generator(0), 0
    for _ in range(n_texts):
        passes += speculative_decode(
            reader,
            draft,
            nothing[0],
            100,
            temperature=temperature,
            generator=g,
        ).n_target_passes
    return 100 * n_texts / passes


yields = {f"T = {T}": spend(table_draft, T) for T in (0.5, 1.0)}
print(f"you guessed {my_yield}, it is about {yields['T = 1.0']:.0f}")
for name, tokens in yields.items():
    print(f"{name}: {tokens:.1f} tokens a pass")
claims.add(
    "tokens for each pass of the target, drafted by a table of counts",
    measured="over 1.5" if min(yields.values()) > 1.5 else f"{yields}",
    bar="over 1",
    holds=min(yields.values()) > 1,
)

# %% [markdown]
# Fewer than half of the passes, same distribution. Whether that saves *time*
# depends on what the draft costs and on whether a pass over five tokens is as
# quick as a pass over one. On a GPU with one user it is, because the pass waits
# for weights. On this processor, or with many users, arithmetic is what is
# waited for, and the gain shrinks or is gone.
#
# ## Weights in one byte
#
# If the pass waits for weights, make them smaller. In **int8** each row of a matrix
# becomes whole numbers from -127 to 127 and one scale, the largest absolute value
# of the row over 127.

# %%
from utils.model.int8 import dequantize_int8, quantize_int8, quantize_model

show(quantize_int8)

# %%
from utils.evaluate.metrics import perplexity
from utils.evaluate.text_loss import stream_loss

small = quantize_model(model)
unseen = tokenizer.encode_batch(world_corpus(600, seed=501))
unseen = pack_documents(unseen, tokenizer.end_id)
before, after = (
    perplexity(stream_loss(one, unseen, 128)) for one in (model, small)
)
n_bytes = [
    sum(t.numel() * t.element_size() for t in one.blocks.state_dict().values())
    for one in (model, small)
]
print(f"the blocks: {n_bytes[0] / n_bytes[1]:.1f} times smaller")
claims.add(
    "int8 weights: change of perplexity on unseen text",
    measured="below 0.1 %" if abs(after / before - 1) < 1e-3 else "above 0.1 %",
    bar="1 %",
    holds=abs(after / before - 1) < 0.01,
)

# %% [markdown]
# A quarter of the memory and no visible loss. Why a scale for each row, and not
# one for the whole matrix? Because of outliers. Make one weight of a row a hundred
# times as large, as happens in large models, and measure how far all weights are
# moved by the rounding:

# %%
weight = model.blocks[0].feed_forward.down.weight.detach().clone()  # (N, M)
weight[3, 7] = 100 * weight.abs().max()
per_row = dequantize_int8(*quantize_int8(weight)) - weight
whole_codes, whole_scale = quantize_int8(weight.view(1, -1))
per_matrix = dequantize_int8(whole_codes, whole_scale).view_as(weight) - weight
typical = weight.abs().median()
lost = {
    "a scale for each row": (per_row.abs().median() / typical).item(),
    "one scale for all": (per_matrix.abs().median() / typical).item(),
}
plots.bars(
    {name: 100 * share for name, share in lost.items()},
    title="One large weight and one scale for all: every other weight is zero",
    xlabel="typical error, percent of a typical weight",
    text="{:.1f}",
)
plt.show()
assert lost["one scale for all"] > 0.9 > 0.1 > lost["a scale for each row"]

# %% [markdown]
# *Figure 7. Two bars. With a scale for each row the typical error is a percent or
# so of a weight; with one scale it is the whole weight.*
#
# Unit 07 goes down to four bits, where the choice of the numbers themselves begins
# to matter.
#
# ## The bridge
#
# At work you will call `model.generate` of `transformers`. Write the base model
# out as a Llama, read it with their code, and let both answer. If the model, the
# cache, the padding and the stop are all right, the texts are equal.

# %% tags=["nbval-ignore-output"]
import tempfile

from transformers import AutoModelForCausalLM
from transformers.utils import logging as their_logging

from utils.model.pretrained import save_hugging_face

their_logging.disable_progress_bar()
with tempfile.TemporaryDirectory() as folder:
    save_hugging_face(model, folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder)

# %%
longest = max(map(len, prompts[:50]))
rows = [[tokenizer.pad_id] * (longest - len(p)) + list(p) for p in prompts[:50]]
keep = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts[:50]]
out = theirs.generate(
    torch.tensor(rows),
    attention_mask=torch.tensor(keep),
    max_new_tokens=40,
    do_sample=False,
    pad_token_id=tokenizer.pad_id,
    eos_token_id=tokenizer.end_id,
)
written = [
    tokenizer.decode(r[longest:].tolist(), skip_special=True) for r in out
]
same = sum(
    text == tokenizer.decode(ids)
    for text, ids in zip(written, together, strict=False)
)
claims.add(
    "model.generate on the exported checkpoint: same greedy answers",
    measured=f"{same} of 50",
    bar="all",
    holds=same == 50,
)
print(written[0])

# %% [markdown]
# Mind the defaults: many published checkpoints come with a file of generation
# settings, and `generate` follows it. If an evaluation gives other numbers than
# the paper, compare those settings first.
#
# ## Claims

# %%
claims.table()

# %% [markdown]
# ## Check yourself
#
# Put a letter between the quotes and run the cell.

# %%
from utils.grading.quiz import ask

my_answer_1 = None  # "a", "b" or "c"
ask("05_generation", "top-p", my_answer_1)

# %%
my_answer_2 = None
ask("05_generation", "cache-bytes", my_answer_2)

# %%
my_answer_3 = None
ask("05_generation", "speculative", my_answer_3)

# %% [markdown]
# ## What to remember
#
# - The likeliest token each time is not the likeliest text. Greedy is for questions
#   with one answer.
# - Temperature and filters act in an order. Measure truth and variety at the
#   settings that your users get.
# - Keys and values never change, so keep them: time for memory.
# - Batches are padded on the left, with a mask and with positions of their own.
# - A draft can save passes without changing the distribution at all.
#
# ## Sources
#
# - Holtzman et al., *The Curious Case of Neural Text Degeneration*, ICLR 2020,
#   sections 3 and 4: repetition, and top-p. Fan et al., *Hierarchical Neural Story
#   Generation*, ACL 2018, section 5.1: top-k. Nguyen et al., *Turning Up the Heat:
#   Min-p Sampling for Creative and Coherent LLM Outputs*, ICLR 2025, section 3.
# - Shazeer, *Fast Transformer Decoding*, 2019, section 2.4: what one token costs.
#   Pope et al., *Efficiently Scaling Transformer Inference*, 2022, section 2.
# - Leviathan et al., *Fast Inference from Transformers via Speculative Decoding*,
#   ICML 2023, algorithm 1 and appendix A.1. Chen et al., *Accelerating Large
#   Language Model Decoding with Speculative Sampling*, 2023, section 3.
# - Dettmers et al., *LLM.int8()*, NeurIPS 2022, sections 2.1 and 4: scales and
#   outliers.
#
# **Next**: `work/05_generation.ipynb`. You write the choice, the cache, the batch
# and the check of a draft. Then Part II: a model that answers, on purpose.
