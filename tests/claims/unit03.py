"""Unit 03: induction needs two layers, and both; deep post-norm without a warm-up, by the rate."""

import statistics
from dataclasses import replace

import torch

from tests.claims.registry import claim
from utils.model.config import TransformerConfig
from utils.model.decoder import Block, Decoder
from utils.model.induction import AttentionOnly
from utils.model.lens import induction_scores, previous_token_scores
from utils.text.corpora import world_corpus
from utils.tokens.batches import block_batches, pack_documents
from utils.tokens.repeated import repeated_batches
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import constant, cosine
from utils.zoo.load import load_base


def trained(n_layers, seed):
    """Return a model of attention alone that has learned from rows that repeat."""
    torch.manual_seed(seed)
    config = TransformerConfig(64, 48, d_model=64, n_layers=n_layers, n_heads=4)
    model = AttentionOnly(config)
    train(
        model,
        repeated_batches(32, 48, 64, seed),
        cross_entropy,
        adamw(model, lr=1e-2, weight_decay=0.0),
        n_steps=300,
        schedule=cosine(300, warmup_steps=20),
    )
    return model


def loss_on_fresh_rows(model, seed):
    """Return the loss on the repeated part of fresh rows, in nats per token."""
    fresh = repeated_batches(256, 48, 64, seed=1000 + seed)(0)
    with torch.inference_mode():
        return cross_entropy(model(fresh.token_ids), fresh.targets).item()


def two_are_a_nat_below(runs):
    assert min(run["one layer"] - run["two layers"] for run in runs) >= 1.0, runs


@claim(
    "03_induction",
    "two layers of attention learn induction, at least 1 nat below one layer",
    holds=two_are_a_nat_below,
)
def induction(seed):
    models = {name: trained(n, seed) for n, name in ((1, "one layer"), (2, "two layers"))}
    return {name: loss_on_fresh_rows(model, seed) for name, model in models.items()}


def both_halves_are_there_and_needed(runs):
    for run in runs:
        assert run["one back, first layer"] > 4 * run["one back, second layer"], run
        assert run["what followed, second layer"] > 4 * run["what followed, first layer"], run
        assert min(run["cost of the first layer"], run["cost of the second layer"]) > 2, run


@claim(
    "03_both_halves",
    "previous-token heads stand in the first layer, induction heads in the second, and without "
    "either layer the loss rises by over 2 nats",
    holds=both_halves_are_there_and_needed,
    rtol=0.1,
    atol=0.15,  # shares of a model trained by another processor, whose last digits differ
)
def both_halves(seed):
    model = trained(2, seed)
    half = torch.randint(64, (8, 24), generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        maps = model.attention_maps(torch.cat([half, half], dim=1))
    back = previous_token_scores(maps).mean(1).amax(-1)  # (L,): the best head of each layer
    followed = induction_scores(maps, period=24).mean(1).amax(-1)
    whole, found = loss_on_fresh_rows(model, seed), {}
    for n, name in enumerate(("first", "second")):
        found[f"one back, {name} layer"] = back[n].item()
        found[f"what followed, {name} layer"] = followed[n].item()
        weight = model.attentions[n].output.weight.detach()
        kept = weight.clone()
        weight.zero_()
        found[f"cost of the {name} layer"] = loss_on_fresh_rows(model, seed) - whole
        weight.copy_(kept)
    return found


class PostNormBlock(Block):
    """A block that normalises the stream after each addition."""

    def forward(self, x, cos, sin, mask=None, cache=None, layer=0):
        x = self.attention_norm(x + self.attention(x, cos, sin, mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


RATES = (1e-3, 3e-3, 1e-2, 3e-2)


def depends_on_the_rate(runs):
    for run in runs:
        pre, post = ([run[f"{kind} at {lr:g}"] for lr in RATES] for kind in ("pre", "post"))
        assert min(post[2] - pre[2], post[3] - pre[3]) > 0.3, run  # stuck from 1e-2 on
        assert pre[1] - post[1] > 0.5, run  # and the better of the two at 3e-3
        assert max(pre) - min(pre) < 0.6 and max(post) - min(post) > 1.5, run


def ends(seed, rates):
    """Return the loss after 80 steps of 20 layers, in nats per token, by kind and rate."""
    base, tokenizer = load_base()
    documents = tokenizer.encode_batch(world_corpus(2000, seed=3))
    stream = pack_documents(documents, tokenizer.end_id)
    batches = block_batches(stream, batch_size=8, context_length=64, seed=0)
    config = replace(base.config, d_model=64, n_layers=20, d_head=16, d_ff=192)
    found = {}
    for name, kind in (("pre", Block), ("post", PostNormBlock)):
        for lr in rates:
            torch.manual_seed(seed)
            model = Decoder(config)
            model.blocks = torch.nn.ModuleList(kind(config) for _ in range(config.n_layers))
            model.reset_parameters()
            optimizer = adamw(model, lr=lr)
            records = train(
                model, batches, cross_entropy, optimizer, n_steps=80, schedule=constant()
            )
            found[f"{name} at {lr:g}"] = statistics.mean(r["loss"] for r in records[-10:])
    return found


def post_norm_at_one_rate(seed):
    return ends(seed, (1e-2,))


@claim(
    "03_post_norm",
    "20 layers without warm-up: post-norm ends at least 0.3 nats above pre-norm at rates of 1e-2 "
    "and 3e-2, and at least 0.5 below it at 3e-3; pre-norm varies by under 0.6 nats over the rates",
    holds=depends_on_the_rate,
    probe=post_norm_at_one_rate,
)
def post_norm(seed):
    return ends(seed, RATES)
