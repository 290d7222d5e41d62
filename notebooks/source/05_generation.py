# %% [markdown]
# # 05 Generation
#
# **90 minutes** · before this: unit 04 · after this: `work/05_generation.ipynb`,
# a lab of 130 minutes · the machine needs about a minute
#
# A trained model gives a score to every possible next token, and that is all it
# does. Text comes from choosing one, appending it, and asking again. How you
# choose decides whether the model raves, repeats itself, or tells the truth. How
# you ask again decides what an answer costs.

# %%
import matplotlib.pyplot as plt
import torch

from utils.evaluate.world_qa import plain_prompt
from utils.model.generate import generate, generate_batch
from utils.model.sampling import sample_next_token
from utils.report import plots
from utils.report.claims import Claims
from utils.report.guesses import compare
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
my_guess = None  # times that a token is read, on average: your number

# %% tags=["reveals"]
reading_all = sum(range(16, 16 + 256))
print(f"{reading_all:,} tokens are read to write 256")
compare(my_guess, reading_all / (16 + 255), "{:.0f} times")

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
# Asked for anything it likes, the model soon asks the same question again and again.
# How likely is that question? Multiply the probabilities of its tokens.


# %%
def chance_of(line, row):
    """Return the probability that a model goes on after a row with a line."""
    new = torch.tensor([tokenizer.encode(line)])  # (1, T)
    with torch.inference_mode():
        shares = model(torch.cat([row, new], dim=1))[0].softmax(-1)
    return shares[row.shape[1] - 1 : -1].gather(1, new.T).prod().item()


line = "Question: What is 14+14?\n"
assert line in tokenizer.decode(by_hand[0].tolist())
document = tokenizer.encode(line + "Answer: 14+14=28.") + [tokenizer.end_id]
twice_before = torch.tensor([[tokenizer.end_id] + 2 * document])
once, again = chance_of(line, nothing), chance_of(line, twice_before)
print(f"from nothing: {once:.0e}, where it stands twice: {again:.0e}")
assert once < 1e-3 and again < 2 * once

# %% [markdown]
# Each of its tokens is the likeliest where it stands, and the line is rarer than one in
# a thousand. **The likeliest tokens don't make a typical text.** Nor is it what it has
# written that holds the model fast: a third time is hardly likelier than the first. It
# has learned that a document owes nothing to the one before. So each document begins
# from nearly the same place, and the likeliest way on from there hardly changes. Large
# models have that trouble, too, and one more: a phrase becomes likelier each time it is
# repeated (Holtzman et al., figure 4).
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
plots.grouped_bars(
    {
        tokenizer.decode([int(i)]): {
            f"T = {T}": float((next_logits / T).softmax(-1)[i])
            for T in (0.5, 1.0, 2.0)
        }
        for i in order
    },
    title="The temperature decides how much of a choice is left",
    ylabel="probability after 'Trestex'",
    text="",
)
plt.show()

# %% [markdown]
# *Figure 1. Three bars for each of the eight likeliest tokens. At a temperature of a
# half the first stands far above the others, at two it is less than twice the eighth.*
#
# So a knob between dull and mad, and where should it stand? In the world of this
# course truth can be counted. Two hundred questions, each answered once at each
# temperature: how many answers are true? And two hundred documents from nothing:
# how many different ones?

# %%
world = build_world(0)
asked = questions(world, "trained", 200, seed=9)
prompts = [plain_prompt(tokenizer, question) for question in asked]
stops = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}


def true_share(**settings):
    """Return the share of true answers to the questions."""
    settings = stops | settings | {"generator": generator(0)}
    answers = generate_batch(model, prompts, 40, **settings)
    right = [
        judge(world, question, tokenizer.decode(ids)).correct
        for question, ids in zip(asked, answers, strict=True)
    ]
    return sum(right) / len(right)


def different_share(**settings):
    """Return the share of documents from nothing that are different."""
    settings = stops | settings | {"generator": generator(0)}
    free = generate_batch(model, nothing.tolist() * 200, 60, **settings)
    return len({tuple(ids) for ids in free}) / len(free)


# %%
print(f"chance moves a share by up to {1.96 * (0.25 / 200) ** 0.5:.2f}")
temperatures = [0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0]
true = [true_share(temperature=T) for T in temperatures]
different = [different_share(temperature=T) for T in temperatures]
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
# What goes wrong in the heat? Take two places: one where the model is sure, since it
# has learned how answers begin, and one where a name comes that may be anybody's.

# %%
texts = {
    "sure": "Question: Where does Trestex live?\nAnswer:",
    "unsure": "One morning",
}
places = {}
with torch.inference_mode():
    for name, text in texts.items():
        ids = torch.tensor([[tokenizer.end_id, *tokenizer.encode(text)]])
        places[name] = model(ids)[0, -1]  # (V,)
for name, logits in places.items():
    for T in (1.0, 2.5):
        ordered = (logits / T).softmax(-1).sort(descending=True).values
        tail = ordered[20:].sum()
        print(
            f"{name}, T = {T}: the likeliest {ordered[0]:.2f}, "
            f"all but the first 20 together {tail:.1f}"
        )

# %% [markdown]
# The likeliest tokens are not the trouble. A thousand others have next to nothing
# each and, at 2.5, about half of the whole. An answer of a dozen tokens draws a
# dozen times, and one draw from the tail is enough. So cut the tail off.
#
# - **top-k** keeps the k likeliest tokens, wherever the model is sure or unsure.
# - **top-p** keeps the fewest tokens that together reach the probability p, so few
#   where the model is sure and many where it is not.
# - **min-p** keeps those at least p times as likely as the likeliest. It looks
#   at the top alone, so a long tail cannot vote itself in.
#
# By hand, the tokens that top-p and min-p leave, and then what the course's
# function draws from at the same settings:


# %%
def kept_by_hand(logits, T, rule, p):
    """Return the set of tokens that a rule keeps at a temperature."""
    shares = (logits / T).softmax(-1)
    if rule == "min_p":
        return {i for i, s in enumerate(shares) if s >= p * shares.max()}
    kept, total = set(), 0.0
    for i in shares.argsort(descending=True):  # top-p
        if total < p:
            kept.add(int(i))
        total += shares[i]
    return kept


for logits in places.values():
    for rule, p in (("top_p", 0.9), ("min_p", 0.1)):
        drawn = sample_next_token(
            logits.expand(5000, -1), generator=generator(0), **{rule: p}
        )
        assert set(drawn.tolist()) == kept_by_hand(logits, 1.0, rule, p)
print("the function draws from just these tokens")

# %% [markdown]
# Here is that function, and then what the rules keep as the temperature rises.

# %%
show(sample_next_token)

# %%
heats = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
plots.lines(
    {
        f"{rule.replace('_', '-')} {p}, {name}": (
            heats,
            [len(kept_by_hand(logits, T, rule, p)) for T in heats],
        )
        for rule, p in (("top_p", 0.9), ("min_p", 0.1))
        for name, logits in places.items()
    }
    | {"top-k 5": (heats, [5] * len(heats))},
    title="In the heat top-p lets hundreds of tokens in, min-p does not",
    xlabel="temperature",
    ylabel="tokens kept, of 1,024 (log scale)",
    log_y=True,
    points=True,
)
plt.show()
assert len(kept_by_hand(places["sure"], 2.5, "top_p", 0.9)) > 100
assert len(kept_by_hand(places["sure"], 2.5, "min_p", 0.1)) < 5

# %% [markdown]
# *Figure 3. Five lines over the temperature. At one, top-p and min-p both keep one
# token where the model is sure and over ten where it is not; top-k keeps five at both.
# From two on, both lines of top-p stand at hundreds, those of min-p at one and at
# twenty to fifty.*
#
# Let them try a temperature of 2.5, at which hardly anything that the model says is
# true any more. Before you run it: which of the three saves most?

# %%
my_choice = None  # "top-k", "top-p" or "min-p"

# %% tags=["reveals"]
filters = {
    "none": {},
    "top-k, 5": {"top_k": 5},
    "top-p, 0.9": {"top_p": 0.9},
    "min-p, 0.1": {"min_p": 0.1},
}
hot = {
    name: {
        f"T = {T}": true_share(temperature=T, **kept) for T in (1.0, 1.5, 2.5)
    }
    for name, kept in filters.items()
}
plots.grouped_bars(
    hot,
    title="Heat first, then a cut: measured from the top, it saves most",
    ylabel="share of true answers",
)
plt.show()
saved = {name: shares["T = 2.5"] for name, shares in hot.items()}
compare(my_choice, max(saved, key=saved.get), "{}")
assert saved["min-p, 0.1"] > saved["top-k, 5"] > saved["top-p, 0.9"]

# %% [markdown]
# *Figure 4. Share of true answers in four groups, three temperatures each. Without
# a filter it falls to almost nothing, with top-p as well. Top-k saves some of them
# at the highest temperature, min-p most.*
#
# These are single settings of each; a stricter one keeps more truth and leaves less
# of a choice. Nor is top-p bad: at a temperature of one it does what it should. But
# filters and temperature act one after the other, and the order matters. Here
# temperature comes first, as in `transformers`, and top-p meets the tail when it
# has grown already.
#
# Try it on one distribution. Move the temperature up and watch the right half
# of the picture fill, then pull min-p up. (Where widgets are not shown, look at
# Figure 5, which is one setting of it.)

# %% tags=["nbval-ignore-output"]
vocabulary = tokenizer.tokens(range(tokenizer.vocab_size))
sampling_explorer(next_logits, vocabulary)

# %%
settings = {"temperature": 2.0, "top_p": 1.0, "min_p": 0.1}
draw_sampling(next_logits, vocabulary, settings, seed=0, n_draws=2000)
plt.show()

# %% [markdown]
# *Figure 5. Two bars for each of sixteen tokens: the model's probability, and how
# often the token is drawn at a temperature of two with a min-p of 0.1. The first
# nine, all of them verbs, share the draws more evenly than their probabilities,
# two more get a few, and the rest get none.*
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
# **cache**, and for a new token only that one token goes through the model. The
# field calls the one pass over the prompt **prefill**, and the passes over one token
# each that follow **decode**.
#
# A list to which each token's key and value are appended would do, and copies
# everything at every token. So buffers of the full length are made once, and each
# new key and value is written at its place:

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
# layer has its own keys and values, and `KVCache` holds them all. Read texts in
# pieces of several sizes, and compare the logits with those of one long pass. At
# four bytes a number both carry rounding errors; at eight bytes only a true
# difference would be left.

# %%
from copy import deepcopy

from utils.text.corpora import world_corpus
from utils.tokens.batches import pack_documents

unseen = tokenizer.encode_batch(world_corpus(600, seed=501))
unseen = pack_documents(unseen, tokenizer.end_id)  # one row of tokens
batch = unseen[: 32 * 128].view(32, 128)  # (B, T)
bars, gaps = {torch.float32: 1e-5, torch.float64: 1e-12}, {}
for dtype, bar in bars.items():
    exact = deepcopy(model).to(dtype)
    cache = KVCache(model.config, batch_size=32, capacity=128, dtype=dtype)
    with torch.inference_mode():
        pieces = batch.split([1, 5, 1, 1, 120], dim=1)
        in_pieces = torch.cat([exact(piece, cache) for piece in pieces], dim=1)
        at_once = exact(batch)
    gaps[dtype] = (in_pieces - at_once).abs().max() / at_once.abs().max()
    print(f"{dtype}: gap below {bar:.0e}: {bool(gaps[dtype] < bar)}")
claims.add(
    "logits with a cache equal those without, over the largest logit",
    measured="below" if all(gaps[d] < bars[d] for d in bars) else f"{gaps}",
    bar="1e-5, in float64 1e-12",
    holds=all(gaps[d] < bars[d] for d in bars),
)

# %% [markdown]
# So writing by hand, with a cache, is the loop from above in which only the new
# token is read:


# %%
def write_with_cache(model, ids, n_new, temperature=0.0, chance=None):
    """Return rows with n_new tokens appended; each token is read once."""
    cache = KVCache(model.config, len(ids), ids.shape[1] + n_new)
    new = ids
    with torch.inference_mode():
        for _ in range(n_new):
            logits = model(new, cache)[:, -1]  # (B, V)
            new = sample_next_token(logits, temperature, generator=chance)
            new = new.unsqueeze(-1)  # (B, 1)
            ids = torch.cat([ids, new], dim=1)
    return ids


assert torch.equal(by_hand, write_with_cache(model, nothing, 90))

# %% [markdown]
# And the work? A fresh model of the base's shape, with a longer context; what it says
# does not matter here. Count the operations of all its products, with and without, and
# run the clock beside it. A guess first: by what factor is the work less for 256
# tokens? (In tokens it was 136.)

# %% tags=["nbval-ignore-output"]
import time
from dataclasses import replace

from utils.model.decoder import Decoder
from utils.report.work import operations
from utils.runtime import one_thread

torch.manual_seed(0)
long = Decoder(replace(model.config, context_length=512)).eval()
prompt = torch.randint(1024, (1, 16), generator=generator(0))


def seconds(write, *arguments):
    """Return the seconds of the quickest of three runs, or of all in a second."""
    found, end = [], time.perf_counter() + 1
    with one_thread():
        while len(found) < 3 or time.perf_counter() < end:
            begin = time.perf_counter()
            write(*arguments)
            found.append(time.perf_counter() - begin)
    return min(found)


def work(write, *arguments):
    """Return the operations of all matrix products, in billions."""
    return operations(lambda: write(*arguments)) / 1e9


# %%
my_factor = None  # times less work for 256 tokens: your number

# %% tags=["reveals"]
lengths = [32, 64, 128, 256]
without, with_cache = (
    [work(write, long, prompt, n) for n in lengths]
    for write in (greedy_by_hand, write_with_cache)
)
factor = without[-1] / with_cache[-1]
compare(my_factor, factor, "{:.0f} times", of="at 256 tokens")
plots.lines(
    {
        "from the start each time": (lengths, without),
        "with a cache": (lengths, with_cache),
    },
    title="With a cache the work grows with the length, not with its square",
    xlabel="new tokens",
    ylabel="billions of operations",
    points=True,
)
plt.show()
claims.add(
    "256 tokens with a cache: operations without over operations with",
    measured="over 5" if factor >= 5 else f"{factor:.1f}",
    bar="5",
    holds=factor >= 5,
)

# %% [markdown]
# *Figure 6. Billions of operations over the number of new tokens. Without a cache
# the line bends upwards; with one it rises slowly along the bottom.*
#
# The factor is somewhat above 136, since attention saves more than the rest: a table of
# scores each time becomes one row of it. The clock saves less than the count, since a
# pass over one token is not that much cheaper than a pass over 200: at one token the
# calls cost more than the arithmetic. The course's `generate` joins small operations
# into fewer. All on one thread, since a product this small is done before a second
# thread wakes up:

# %% tags=["nbval-ignore-output"]
slow = seconds(greedy_by_hand, long, prompt, 256)
for name, write in (("by hand", write_with_cache), ("generate", generate)):
    print(
        f"{name}: {slow / seconds(write, long, prompt, 256):.0f} times as fast"
    )

# %% [markdown]
# Time is bought with memory. Each token needs a key and a value of width `d_head` in
# every layer and for each key-value head:
# $2 \cdot n_{layers} \cdot n_{kv} \cdot d_{head}$ numbers, the formula of unit 03.
# The base model's cache can be weighed. How much memory does one chat of 128,000 tokens
# hold in a model of 70 billion weights, at two bytes a number?

# %%
my_gigabytes = None  # your number

# %% tags=["reveals"]
from utils.model.accounting import LLAMA_70B, cache_bytes

ours = KVCache(model.config, batch_size=1, capacity=128)
weighed = ours.keys.nbytes + ours.values.nbytes
shape = model.config
numbers = 2 * shape.n_layers * shape.n_kv_heads * shape.d_head  # for each token
assert weighed == numbers * 128 * 4  # tokens, bytes of a float32
assert weighed == cache_bytes(shape, 128, bytes_each=4)
print(f"the base model's cache of 128 tokens: {weighed:,} bytes")
chat = cache_bytes(LLAMA_70B, 128_000) / 1e9
alone = cache_bytes(replace(LLAMA_70B, n_kv_heads=64), 128_000) / 1e9
compare(my_gigabytes, chat, "{:.0f} GB")
print(f"with 64 key-value heads instead of 8: {alone:.0f} GB")

# %% [markdown]
# Half of what a large GPU holds, for one user. That is why keys and values are
# shared among heads (unit 02), and why long contexts cost more than short ones.
#
# ## Many at once
#
# A pass over one token reads every weight of the model once and does little with
# it. The same weights, once read, can serve many users, so prompts are put
# together into a **batch**. They have different lengths, and all rows must end at
# the same place, since that is where the next token comes. So the padding stands
# on the **left**. Two things must be told to the model: the padding is not to be
# looked at, and each row counts its **positions** from its own first token.

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
# The same batch, padded on the left with a mask and without one, and padded on the
# right. Which of the three will answer as well as each prompt alone?


# %%
def share_true(asked, pad_left=True, with_mask=True, pad=tokenizer.pad_id):
    """Return the share of true answers for a way of padding."""
    prompts = [plain_prompt(tokenizer, question) for question in asked]
    T = max(map(len, prompts))
    rows, seen = [], []
    for prompt in prompts:
        padding, kept = [pad] * (T - len(prompt)), [True] * len(prompt)
        hidden = [False] * len(padding)
        rows.append(padding + prompt if pad_left else prompt + padding)
        seen.append(hidden + kept if pad_left else kept + hidden)
    out = generate(
        model,
        torch.tensor(rows),
        40,
        end_id=tokenizer.end_id,
        attention_mask=torch.tensor(seen) if with_mask else None,
    )[:, T:]
    answers = [tokenizer.decode(row, skip_special=True) for row in out.tolist()]
    right = [
        judge(world, question, text).correct
        for question, text in zip(asked, answers, strict=True)
    ]
    return sum(right) / len(right)


# %%
padded = {
    "left, mask": share_true(asked),
    "left, no mask": share_true(asked, with_mask=False),
    "right, no mask": share_true(asked, pad_left=False, with_mask=False),
}
plots.bars(
    {name: 100 * share for name, share in padded.items()},
    title="On the right, padding stands between the question and its answer",
    xlabel="true answers, percent",
    text="{:.0f}",
)
plt.show()
assert padded["left, mask"] > 0.95 > 0.5 > padded["right, no mask"]

# %% [markdown]
# *Figure 7. Three bars. On the left nearly all answers are true, on the right hardly
# any.*
#
# The next token is read off the last place of a row. On the right, that is a
# padding token, and the model is asked what follows *it*. No exception, no
# warning, wrong answers. The rows of the longest prompts have no padding and come
# out right, so whoever looks at one example may see nothing. With a mask the fault
# can be seen, and the course's `generate` looks:

# %% tags=["raises-exception"]
share_true(asked[:4], pad_left=False)

# %% [markdown]
# The second bar is the treacherous one. Without a mask the model looks at padding,
# and here it gets away with it: this padding token was never trained on, and
# rotary positions care for distances alone. Many checkpoints have no padding token
# and pad with the end token, which does mean something to the model. Do that, and
# ask in words that it has not met:

# %% tags=["nbval-ignore-output"]
hard = questions(world, "held_out_phrasing", 400, seed=9)
pads = {"padding token": tokenizer.pad_id, "end token": tokenizer.end_id}
right = {
    (name, with_mask): share_true(hard, with_mask=with_mask, pad=pad)
    for name, pad in pads.items()
    for with_mask in (True, False)
}
for (name, with_mask), correct in right.items():
    shown = "mask" if with_mask else "no mask"
    print(f"{name}, {shown}: {correct:.1%} true")

# %%
lost = {name: right[name, True] - right[name, False] for name in pads}
assert right["padding token", True] == right["end token", True]
assert lost["end token"] > 0.01
print("lost without a mask, with the end token: more than one in a hundred")

# %% [markdown]
# With a mask it makes no difference which token stands in the gap. Without one, some
# answers in a hundred are lost without a word, and only a comparison with the same
# prompts one by one would show it. Here the questions are of about one length, so the
# gaps are short. The lab puts one long text into the batch, and you measure what wide
# gaps do.
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
# expected. Even a right rule misses the expected a little; the **p-value** says
# how often chance alone would miss it by at least as much. Beside the rule stand
# two that look right: keep all that is proposed, or draw a refused token from $p$
# itself.

# %%
p_logits, q_logits = (torch.randn(5, 5, generator=generator(s)) for s in (0, 1))


def by_rule(chance):
    """Return two tokens after token 0 by the rule."""
    return speculative_decode(
        lambda ids: p_logits[ids],  # a model in which a token decides the next
        lambda ids: q_logits[ids],
        torch.tensor([0]),
        2,
        generator=chance,
    ).token_ids[1:]


def by_wrong_rule(chance, keeps_all):
    """Return two tokens: all proposed are kept, or the refused drawn from p."""
    row = [0]
    for _ in range(2):
        p, q = (logits[row[-1]].softmax(-1) for logits in (p_logits, q_logits))
        token = int(torch.multinomial(q, 1, generator=chance))
        refused = torch.rand((), generator=chance) * q[token] >= p[token]
        if refused and not keeps_all:
            token = int(torch.multinomial(p, 1, generator=chance))
        row.append(token)
    return row[1:]


# %%
def p_value(write, n_texts=10_000):
    """Return how often chance alone gives counts at least this far off."""
    counts, chance = torch.zeros(5, 5, dtype=torch.float64), generator(1)
    for _ in range(n_texts):
        first, second = write(chance)
        counts[first, second] += 1
    p = p_logits.double().softmax(-1)
    expected = n_texts * p[0].unsqueeze(-1) * p  # (5, 5)
    statistic = ((counts - expected) ** 2 / expected).sum()
    n_free = counts.numel() - 1  # the last count follows from the others
    half = torch.tensor([n_free / 2, statistic / 2])
    return torch.special.gammaincc(*half).item()


found = {
    "the rule": p_value(by_rule),
    "refused ones drawn from p": p_value(lambda g: by_wrong_rule(g, False)),
    "all proposals kept": p_value(lambda g: by_wrong_rule(g, True)),
}
for name, p in found.items():
    print(f"{name}: p-value {'over' if p > 0.001 else 'under'} 0.001")
rule, *wrong = found.values()
claims.add(
    "speculative text follows the target (chi-square, 10,000 draws)",
    measured="p > 0.001" if rule > 0.001 else f"p = {rule:.1e}",
    bar="p > 0.001, two wrong rules refused",
    holds=rule > 0.001 > max(wrong),
)

# %% [markdown]
# Now for real. The draft needn't be a network. Count, in documents of the world,
# which token follows which two: a table of some ten thousand rows that knows
# nothing of meaning. How many tokens does each pass of the base model then yield,
# of five at most?

# %%
from collections import Counter, defaultdict

documents = tokenizer.encode_batch(world_corpus(20_000, seed=5))
stream = pack_documents(documents, tokenizer.end_id).tolist()
follows = defaultdict(Counter)
for first, second, third in zip(stream, stream[1:], stream[2:], strict=False):
    follows[first, second][third] += 1
print(f"{len(follows):,} pairs of tokens")


def table_draft(token_ids):
    """Return logits after the last two tokens of a row, from counts."""
    shares = torch.full((tokenizer.vocab_size,), 1e-4)  # anything may come
    seen = follows.get(tuple(token_ids[0, -2:].tolist()), {})
    for token, n in seen.items():
        shares[token] += n
    return shares.log()[None, None]  # (1, 1, V)


# %% [markdown]
# The target reads through `CachedReader`, which keeps a cache and runs only what
# is new since the row that it read last. The prompts are documents drawn afresh, by
# kind: of a question the part up to its answer, of a story two words.

# %%
import re

KINDS = {
    "copy a code": r"^Question: Copy|^Question:.*(again|once more)",
    "sort letters": r"^Question:.*letters",
    "add numbers": r"^Question:.*\d\+\d",
    "state a fact": r"^Question:(?!.*(letters|again|more|Copy|\+))",
    "tell a story": r"^(?!Question)(?!.*\n)",
}
texts_by_kind = {
    kind: [t for t in world_corpus(3000, seed=501) if re.search(pattern, t)]
    for kind, pattern in KINDS.items()
}


def begin(text):
    """Return the token ids of the beginning of a document."""
    head = re.match(r"(?s).*?Answer:|\S+ \S+", text)[0]
    return torch.tensor([tokenizer.end_id, *tokenizer.encode(head)])


for kind, texts in texts_by_kind.items():
    print(f"{kind}: {tokenizer.decode(begin(texts[0]).tolist()[1:])!r}")


# %%
def tokens_per_pass(texts, temperature):
    """Return tokens written for each pass of the base model."""
    reader, chance, n_new, n_passes = CachedReader(model), generator(0), 0, 0
    for text in texts:
        head = begin(text)
        result = speculative_decode(
            reader,
            table_draft,
            head,
            40,
            temperature=temperature,
            generator=chance,
            end_id=tokenizer.end_id,
        )
        n_new += len(result.token_ids) - len(head)
        n_passes += result.n_target_passes
    return n_new / n_passes


yields = {
    kind: {f"T = {T}": tokens_per_pass(texts[:40], T) for T in (0.0, 1.0)}
    for kind, texts in texts_by_kind.items()
}

# %% [markdown]
# Each kind of text at two temperatures. Your guess first:

# %%
my_yield = None  # tokens a pass, for stories: your number

# %% tags=["nbval-ignore-output", "reveals"]
plots.grouped_bars(
    yields,
    title="A draft saves passes where text is a formula, not where it is news",
    ylabel="tokens for each pass of the target",
    text="{:.1f}",
)
plt.show()
least = {kind: min(both.values()) for kind, both in yields.items()}
story = least["tell a story"]
compare(my_yield, story, "{:.1f} tokens a pass", of="stories")
assert story > 2 > 1.3 > least["copy a code"]
claims.add(
    "tokens for each pass of the target, stories, drafted by a table",
    measured="over 2" if story > 2 else f"{story:.2f}",
    bar="over 1",
    holds=story > 1,
)

# %% [markdown]
# *Figure 8. Tokens for each pass of the base model in five kinds of text, at
# temperatures of zero and one. Copying a code and sorting letters stay near one,
# sums reach about one and a half, facts two or more, stories most.*
#
# The text is the target's, whatever the draft is. What the draft decides is how
# many passes it takes. Stories and the wording of answers can be guessed from two
# tokens; which letter of a code comes next can't. So measure acceptance on *your*
# texts.
#
# And are fewer passes less time? Three stories of 100 tokens, one by one and with
# the draft, and the cost of a pass over five tokens:


# %% tags=["nbval-ignore-output"]
def with_draft():
    """Write three stories of 100 tokens by speculation."""
    for seed, text in enumerate(texts_by_kind["tell a story"][:3]):
        speculative_decode(
            CachedReader(model),
            table_draft,
            begin(text),
            100,
            generator=generator(seed),
        )


def one_by_one():
    """Write three stories of 100 tokens, a pass for each."""
    for seed, text in enumerate(texts_by_kind["tell a story"][:3]):
        write_with_cache(model, begin(text)[None], 100, 1.0, generator(seed))


print(
    f"one by one {seconds(one_by_one):.2f} s, draft {seconds(with_draft):.2f} s"
)


# %% tags=["nbval-ignore-output"]
def read(n):
    """Read n tokens, 100 times, each time after the same 64."""
    cache = KVCache(model.config, 1, 128)
    with torch.inference_mode():
        for _ in range(100):
            cache.length = 64
            model(batch[:1, :n], cache)


def propose():
    """Draw four tokens from the draft, 100 times."""
    for _ in range(400):
        shares = table_draft(batch[:1, :5])[0, -1].softmax(-1)
        torch.multinomial(shares, 1, generator=generator(0))


one = seconds(read, 1)
print(f"a pass over one token: 1, over five: {seconds(read, 5) / one:.1f}")
print(f"four proposals of the draft: {seconds(propose) / one:.1f}")

# %% [markdown]
# Here nothing is won to speak of. Five tokens cost little more than one, but the
# target is so small that the proposals take a good part of a pass of it, and the
# comparisons the rest. Beside a target of billions of weights they cost next to
# nothing: with 70 billion, Chen et al. wrote 2 to 2.5 times as fast. That holds for
# one user, where a pass waits for weights to arrive from memory: the **memory
# bandwidth** is the limit. With many users at once arithmetic is waited for, five
# tokens cost about five times one, and the gain is gone.
#
# ## Weights in one byte
#
# If the pass waits for weights, make them smaller. In **int8** each row of a matrix
# becomes whole numbers from -127 to 127 and one scale, the largest absolute value
# of the row over 127. (Our `Int8Linear` turns them back into floats for the
# product, so it saves memory alone; the time is saved by kernels that read bytes.)
# What it costs is read off the **perplexity**, the exponential of the loss: the
# number of equally likely tokens among which the model in effect chooses.

# %%
from utils.model.int8 import dequantize_int8, quantize_int8, quantize_model

show(quantize_int8)

# %%
from utils.evaluate.metrics import perplexity
from utils.evaluate.text_loss import stream_loss

small = quantize_model(model)
before, after = (
    perplexity(stream_loss(one, unseen, 128)) for one in (model, small)
)
n_bytes = [
    sum(t.numel() * t.element_size() for t in one.blocks.state_dict().values())
    for one in (model, small)
]
print(
    f"the blocks: {n_bytes[0] / n_bytes[1]:.1f} times smaller than in float32"
)
print(
    f"than in bfloat16, as large models are kept: {n_bytes[0] / 2 / n_bytes[1]:.1f}"
)
claims.add(
    "int8 weights: change of perplexity on unseen text",
    measured="below 0.1 %" if abs(after / before - 1) < 1e-3 else "above 0.1 %",
    bar="1 %",
    holds=abs(after / before - 1) < 0.01,
)

# %% [markdown]
# A quarter of the memory of four-byte weights, half of that of two-byte ones, and no
# visible loss. Why a scale for each row, and not
# one for the whole matrix? Because of outliers. Make one weight a hundred times as
# large as the largest, and measure how far the rounding moves a typical weight:

# %%
weight = model.blocks[0].feed_forward.down.weight.detach().clone()  # (N, M)
weight[3, 7] = 100 * weight.abs().max()
per_row = dequantize_int8(*quantize_int8(weight)) - weight
whole_codes, whole_scale = quantize_int8(weight.view(1, -1))
per_matrix = dequantize_int8(whole_codes, whole_scale).view_as(weight) - weight
typical = weight.abs().median()
moved = {
    "a scale for each row": (per_row.abs().median() / typical).item(),
    "one scale for all": (per_matrix.abs().median() / typical).item(),
}
plots.bars(
    {name: 100 * share for name, share in moved.items()},
    title="One large weight and one scale for all: nearly all others are lost",
    xlabel="typical error, percent of a typical weight",
    text="{:.1f}",
)
plt.show()
zeros = (whole_codes == 0).float().mean()
print(f"one scale for all: {zeros:.0%} of the weights become zero")
assert zeros > 0.95
assert moved["one scale for all"] > 0.9 > 0.1 > moved["a scale for each row"]

# %% [markdown]
# *Figure 9. Two bars. With a scale for each row the typical error is a percent or
# so of a weight; with one scale it is the whole weight.*
#
# In large models such outliers stand less in the weights than in what they are
# multiplied with, and the remedy is the same: keep them apart (Dettmers et al.,
# sections 3.2 and 4). Unit 07 goes down to four bits, where the choice of the numbers
# themselves begins to matter.
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
# ## On a real model
#
# The base model answers in one short sentence about a town that does not exist. SmolLM2
# has 135 million weights and answers in English (`course model` prepares it once; unit
# 02 has more). It runs through the very functions of this unit: our decoder, our cache,
# our batches. The oracle is `transformers` on the same folder, both greedy.

# %% tags=["real"]
from utils.zoo.real import has_real, how_to_get_real, load_real, real_folder

if has_real():
    real, real_tokenizer = load_real()
    real_oracle = AutoModelForCausalLM.from_pretrained(
        real_folder(), dtype=torch.float32
    )
else:
    print(how_to_get_real())

# %%
my_question = "What is photosynthesis? Answer in one sentence."

# %% tags=["real"]
asked = (my_question, "Name three rivers in Europe.", "What is aspirin?")
real_prompts = [
    real_tokenizer.chat(
        [{"role": "user", "content": text}], add_prompt=True
    ).token_ids
    for text in asked
]
answers = generate_batch(
    real,
    real_prompts,
    40,
    pad_id=real_tokenizer.pad_id,
    end_id=real_tokenizer.end_id,
)
for text, ids in zip(asked, answers, strict=True):
    print(f"{text}\n    {real_tokenizer.decode(ids)}")

# %% [markdown]
# Fluent, and not to be trusted: one of the rivers is on another continent, and asked
# about aspirin the model stumbles into a loop that greedy decoding can't leave. Is that
# the model, or a fault of our cache? The oracle should write the very same tokens:

# %% tags=["real"]
same = 0
for prompt, ids in zip(real_prompts, answers, strict=True):
    out = real_oracle.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
        max_new_tokens=40,
        do_sample=False,
        pad_token_id=real_tokenizer.pad_id,
        eos_token_id=real_tokenizer.end_id,
    )
    theirs = out[0, len(prompt) :].tolist()
    same += theirs[: len(ids)] == ids and len(theirs) - len(ids) in (0, 1)
real_claims = Claims()
real_claims.add(
    "greedy tokens of our batch and of model.generate, row by row",
    measured=f"{same} of {len(asked)} answers equal",
    bar="all",
    holds=same == len(asked),
)

# %% [markdown]
# Prefill reads the prompt, all tokens in one pass; decode writes, one pass for each
# token. Both run through the same 135 million weights. Guess: in the time that one
# token takes to be written, how many tokens of a prompt can be read? And if the model
# answers eight people at once instead of one, how many times the tokens per second does
# it write?

# %%
my_guess_read = None  # tokens read in the time of one written: your number
my_guess_eight = None  # times the tokens per second: your number

# %% tags=["real", "reveals", "nbval-ignore-output"]
import time


def seconds(work, n_times=2):
    """Return the shorter time of some calls."""
    times = []
    for _ in range(n_times):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


page = torch.randint(17, 49_000, (1, 256), generator=generator(0))
with torch.inference_mode():
    reading = seconds(lambda: real(page, last_only=True)) / 256
N_NEW, speeds = 16, {}
for n_rows in (1, 2, 4, 8):
    rows = page[:, :32].repeat(n_rows, 1)
    whole = seconds(lambda rows=rows: generate(real, rows, N_NEW + 1))
    first = seconds(lambda rows=rows: generate(real, rows, 1))
    speeds[n_rows] = n_rows * N_NEW / (whole - first)
compare(my_guess_read, 1 / speeds[1] / reading, "{:.0f} tokens", of="read")
compare(my_guess_eight, speeds[8] / speeds[1], "{:.1f} times", of="eight rows")

# %% tags=["real", "nbval-ignore-output"]
plots.lines(
    {
        "read": (list(speeds), [1 / reading] * len(speeds)),
        "written": (list(speeds), list(speeds.values())),
    },
    title="Reading is cheap, writing is dear, and company makes it cheaper",
    xlabel="rows in a batch",
    ylabel="tokens per second",
    log_x=True,
    points=True,
)
plt.show()

# %% [markdown]
# *Figure 10. Tokens per second over the number of rows written at once, beside the
# speed of reading a prompt of 256 tokens. Writing one row is many times slower than
# reading; with more rows the line rises, by less than the number of rows. Times are
# this machine's: yours draws its own.*
#
# A pass has to fetch every weight from memory, half a gigabyte in float32, whether it
# serves one token or 256. Reading does a lot of work with each weight, writing a single
# product. That is why services put strangers' requests into one batch, and why a token
# of the answer is priced above a token of the question.
#
# What the rows of a batch don't share is the cache. Guess its size for one row at the
# model's full context of 8,192 tokens, in megabytes. (Its numbers take four bytes each,
# like the 135 million weights.)

# %%
my_guess_cache = None  # megabytes: your number

# %% tags=["real", "reveals"]
from utils.model.accounting import cache_bytes
from utils.model.cache import KVCache

config = real.config
cache = KVCache(config, batch_size=1, capacity=config.context_length)
by_formula = cache_bytes(config, config.context_length, bytes_each=4)
all_heads = cache.n_bytes * config.n_heads // config.n_kv_heads
compare(my_guess_cache, cache.n_bytes / 1e6, "{:.0f} MB")
print(f"without grouped queries it would be {all_heads / 1e6:,.0f} MB")
real_claims.add(
    "memory of the cache by the formula",
    measured=f"{by_formula - cache.n_bytes} bytes off",
    bar="0",
    holds=by_formula == cache.n_bytes,
)
del cache

# %% [markdown]
# Last, int8. In the base model it cost nothing that you could see. Does that hold for a
# model with more than a hundred times the weights? On the first 1,500 tokens of the
# longest page of Python's reference:

# %% tags=["real"]
from utils.text.corpora import python_reference

longest_page = max(python_reference(), key=len)
stream = torch.tensor(real_tokenizer.encode(longest_page)[:1500])
real_small = quantize_model(real)
before, after = (
    perplexity(stream_loss(one, stream, 512, batch_size=2))
    for one in (real, real_small)
)
print(f"perplexity {before:.1f}, with int8 weights {after:.1f}")
real_claims.add(
    "int8 weights of the real model: change of perplexity",
    measured=f"{100 * (after / before - 1):.1f} %",
    bar="1 %",
    holds=abs(after / before - 1) < 0.01,
)
real_claims.table()

# %% [markdown]
# It does. Unit 07 asks what four bits cost, and there the answer differs.
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
# - Dettmers et al., *LLM.int8()*, NeurIPS 2022, sections 2.1, 3.2 and 4: scales and
#   outliers.
#
# **Next**: `work/05_generation.ipynb`. You write the choice, the cache, the batch
# and the check of a draft. Then Part II: a model that answers, on purpose.
